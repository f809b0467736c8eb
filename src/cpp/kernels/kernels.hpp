// What the kernels offer to the engine: plain structs and one table of function pointers per
// instruction set. No SIMD here, no threads, and nothing with weak linkage: this header is
// compiled with different instruction sets, and the linker would keep any one of the copies.
//
// Words: a *vector* is `lanes` units; a *panel* is the gates of one vector of units, side by
// side; a *slot* is a gate's place in the gate buffer; a *strip* is one to three vectors of
// output columns. Strides count elements.
#pragma once

#include <cstddef>

namespace grufast {

using Index = std::ptrdiff_t;

constexpr int kMaxSlots = 8;
constexpr int kMaxWindow = 4;  // slots of one product
constexpr int kMaxStages = 3;
constexpr int kMaxSequences = 3;
constexpr int kMaxStates = 2;
constexpr int kMaxDiagonals = 3;
constexpr int kMaxCarries = 2 * kMaxStates + 1;

// Widths of the strips that n vectors are cut into: twos, and a three where n is odd, so that
// threads can share them evenly. A strip of one vector leaves the FMA units waiting for loads
// (on a Zen 4 an 8x1 tile reaches 87 % of peak, 8x2 the speed of 8x3), so it is only used where
// there is but one vector.
constexpr Index kStripGrain = 2;
static constexpr int odd_strip(Index vectors) {
    return vectors % 2 == 0 ? 0 : vectors == 1 ? 1 : 3;
}
static constexpr int strip_width(Index vectors_left) {
    return vectors_left == odd_strip(vectors_left) ? odd_strip(vectors_left) : 2;
}

enum Activation : int {
    kLinear,
    kTanh,
    kSigmoid,
    kRelu,
    kHardSigmoid,
    kSoftsign,
    kElu,
    kGelu,
    kSwish,
    kSoftplus,
    kActivationCount
};
// Whether the slope is taken from the activation's input; otherwise it follows from its value.
static constexpr bool keeps_input(Activation activation) {
    return activation == kGelu || activation == kSwish;
}

// A part of a step after which all units must be there: slots [first_slot, first_slot + slots)
// take weight_hh times sequence `operand` at time t + offset (0: the state before the step),
// then the cell's formula runs. No slots: the formula alone.
struct Stage {
    int first_slot, slots, operand, offset;
};

// A slot that takes a diagonal weight (a row of the cell's unit parameters) times a sequence.
struct Diagonal {
    int slot, sequence, offset;
};

// All that the engine knows of a cell.
struct CellInfo {
    const char* name;
    int ih_blocks, hh_blocks;  // row blocks of weight_ih and weight_hh
    int slots;                 // places in the gate buffer, per unit
    int input_slots;           // slots [0, input_slots) take the product with x
    int ih_block[kMaxSlots];   // row block of weight_ih that slot s takes
    int hh_block[kMaxSlots];   // row block of weight_hh that slot s takes
    int stages;
    Stage stage[kMaxStages];
    int sequences;  // kept over time: the states, h first, then what the cell brings besides
    int states;
    // Unit parameters besides weights and biases, [parameters][H]; where diagonals do not say
    // how, the cell adds up their gradients row by row.
    int parameters;
    int diagonals;
    Diagonal diagonal[kMaxDiagonals];
    // The formula is a pass of its own behind the product, which keeps rare cells small.
    bool separate;
    bool whole_rows;  // the formula needs all units of a row at once
};

// A in products: rows of `blocks` full blocks, then a tail cut into `tail_blocks` pieces.
// A plain matrix is one block of K; gate gradients are panels of `slots x lanes`.
template <class T>
struct BlockedRows {
    const T* data;
    Index row;  // stride between rows
    Index blocks, block_size, block;
    Index tail_blocks, tail_size, tail_block;
};

// out[row][slot] of panel p = init + sum over k of a[row][k] weight[p][k][slot], init being out
// itself for the first `accumulate` slots, else the bias.
template <class T>
struct PanelGemm {
    const T* a;
    Index a_row, k;
    const T* weight;  // [panel][k][slots][lanes]
    const T* bias;    // [panel][slots][lanes], panels bias_panel apart
    Index bias_panel;
    T* out;  // row r of panel p: out + p * out_panel + r * out_row
    Index out_panel, out_row;
    Index rows, panels;
    int slots, accumulate;
};

// out[row][column] = init + a[row] . weight[column], init being bias, out itself, or zero.
template <class T>
struct StripGemm {
    BlockedRows<T> a;
    const T* weight;  // strips of [k][width][lanes]
    const T* bias;    // [vectors][lanes] or null
    T* out;
    Index out_row, rows, columns;
    bool accumulate;  // start from out
};

// out[panel][i][slot] (+)= sum over (outer, inner) rows of a[row][i] * g[row][panel][slot].
// Work items are tiles of `kOuterTile` values of i, panel-major; [item_begin, item_end) is
// done.
constexpr Index kOuterTile = 8;
template <class T>
struct OuterGemm {
    const T* a;
    Index a_outer, a_inner;  // strides between rows of a; its columns are contiguous
    Index outer, inner;
    const Index*
        inner_of;  // how many inner rows each outer one has, where they differ; or null
    const T* g;
    Index g_outer, g_row, g_panel;
    T* out;  // [panel][k][slots][lanes]
    Index k;
    Index item_begin, item_end;
    int slots;
    bool accumulate;
};

// out[panel][slot] (+)= sum over rows of g[row][panel][slot], times a[row][panel] where given.
template <class T>
struct RowSum {
    const T* g;
    Index g_row, g_panel, rows;
    const T* a;  // null: ones; its panels are vectors side by side
    Index a_row;
    Index panel_begin, panel_end;
    T* out;  // [panel][slots][lanes], panels out_panel apart
    Index out_panel;
    int slots;
    bool accumulate;
};

// to[column][row] = from[row][column].
template <class T>
struct Transpose {
    const T* from;
    Index from_row, rows, columns;
    T* to;
    Index to_row;
    bool whole_vectors;  // zeros up to whole vectors behind the elements of each row of `to`
};

// Zoneout: units that keep their old state. Random: with probability `rate`, drawn from the
// seed, the state's number, the step, the row and the unit; else a part `rate` of it.
// Krueger et al. 2017, arXiv 1606.01305.
template <class T>
struct Zone {
    T rate[kMaxStates];
    bool random;
    unsigned seed;
    const Index*
        rows;  // the caller's row for each one here, which is drawn for; null: the same
};

// Some steps of a recurrent layer for some rows and panels.
template <class T>
struct StepForward {
    Index rows, hidden, panel_begin, panel_end;
    Index steps;
    int stage_begin, stage_end;
    T* slots;  // holds x's products; where `save`, what backward needs takes their place
    Index slots_panel, slots_row, slots_step;
    T* sequence[kMaxSequences];  // at time t: sequence + ((first + t) & mask) * sequence_step
    Index sequence_row, sequence_step, first, mask[kMaxSequences];
    const T* weight[kMaxStages];   // [panel][k][slots of the stage][lanes]
    const T* bias;                 // [panel][slots][lanes]; read where a slot takes no x
    const T* parameters;           // [panel][parameters][lanes]
    const Activation* activation;  // of the candidate (or state), of the gates
    T* y;                          // null: not wanted
    Index y_row, y_step;
    bool save;
    // For cells whose formula is separate. Products take `masked` in place of sequence 0, which
    // is the state times the mask of its row; null: they do not.
    T* masked;
    const T* row_mask;
    Zone<T> zone;
    Index time, row_first, row_stride;  // of the zones: of step 0 and row 0 here
};

// The same backwards in time: step `steps - 1` first, then down to 0.
template <class T>
struct StepBackward {
    Index rows, hidden, vector_begin, vector_end;  // both on boundaries of strips
    Index vectors;                                 // of all units: they decide the strips
    Index steps, first;                            // first: the time of step 0
    int stage_begin, stage_end;
    T* slots;             // saved gates; their gradients take their place
    const T* next_slots;  // gradients of the step after the last one here; null: none
    Index slots_panel, slots_row, slots_step;
    Index next_panel, next_row;
    const T* sequence[kMaxSequences];  // at time t: sequence + t * sequence_step
    Index sequence_row, sequence_step;
    const T* weight[kMaxStages];  // strips of [k][width][lanes], k over the stage's slots
    const T* parameters;          // as in StepForward
    const Activation* activation;
    T* dparameters;  // [row][panel][parameters][lanes], added to; for cells with whole rows
    Index dparameters_row;
    // Gradients from the later steps that skip the products, one a state; behind them, where
    // the formula is separate, a place for a product and one for what zones keep of each state.
    T* carry[kMaxCarries];
    Index carry_row;
    const T* dy;  // null: zero
    Index dy_row, dy_step;
    const T* row_mask;  // as in StepForward
    Zone<T> zone;
    Index row_first, row_stride;
};

template <class T>
struct CellKernels {
    CellInfo info;
    bool multiplies_next;  // backward stage 0 does: then so does the first step's gradient
    void (*forward)(const StepForward<T>&) noexcept;
    void (*backward)(const StepBackward<T>&) noexcept;
};

enum CellId : int {
    kGru,
    kGruResetBefore,
    kLstm,
    kGruChosen,
    kGruResetBeforeChosen,
    kLstmChosen,
    kLstmPeephole,
    kSimpleRnn,
    kMgu,
    kJordan,
    kGruDecay,
    kGruNormalized,
    kLstmNormalized,
    kLstmPeepholeNormalized,
    kCellCount
};

// n elements of a weight, of its gradient and of what the rule keeps besides (null where a
// setting has no use for it). First the gradient is scaled and then held to [-limit, limit],
// and the weight multiplied by `decay`.
constexpr int kMaxKept = 3;
template <class T>
struct Update {
    T* weight;
    const T* gradient;
    T* kept[kMaxKept];
    Index n;
    T scale, limit, decay;
};

template <class T>
struct Sgd {  // keeps velocity
    T learning_rate, momentum;
    bool nesterov;
};

template <class T>
struct Adam {          // keeps m, v, v_hat
    T step_size;       // learning_rate / (1 - beta_1^step)
    T beta_1, rest_1;  // rest = 1 - beta, taken before rounding to T
    T beta_2, rest_2;
    T correction;  // 1 / sqrt(1 - beta_2^step)
    T epsilon;
};

// Softmax and cross-entropy of rows of logits. A target t counts as keep t + spread, which is
// label smoothing.
template <class T>
struct CrossEntropy {
    const T* logits;
    Index row;  // stride between rows
    Index rows, classes;
    const Index* labels;  // [rows], or null:
    const T* targets;     // [rows][classes], contiguous
    const T* weights;     // [rows]; null: one
    T keep, spread;
    T scale;      // of the gradient, times a row's weight
    T* losses;    // [rows], without weights
    T* gradient;  // [rows][classes], contiguous; null: not wanted
};

// A step of one row of `size` variables of which some are missing; see input_decay.hpp.
template <class T>
struct InputDecay {
    const T* x;  // [3][size]: values, whether each was observed, times since the one before
    const T *weight, *bias, *mean;  // [size]
    Index size;
};
template <class T>
struct InputDecayGradients {
    const T* last;       // [size], the last observations before the step
    T* dx;               // [3][size], of the filled values, becomes that of x
    T* dlast;            // [size], of the last observations behind the step, then before it
    T *dweight, *dbias;  // [size], added to
};

template <class T>
struct RmsProp {  // keeps the mean square, the sum of steps, the mean
    T learning_rate, rho, rest, momentum, epsilon;
};

template <class T>
struct Adagrad {  // keeps the sum of squares
    T learning_rate, epsilon;
};

template <class T>
struct KernelTable {
    Index lanes;
    void (*gemm_panels)(const PanelGemm<T>&) noexcept;
    void (*gemm_strips)(const StripGemm<T>&) noexcept;
    void (*gemm_outer)(const OuterGemm<T>&) noexcept;
    void (*sum_rows)(const RowSum<T>&) noexcept;
    void (*transpose)(const Transpose<T>&) noexcept;
    CellKernels<T> cells[kCellCount];
    // y = act(a), in place or not; da = dy act'(a), where `kept` is a if keeps_input, else y
    void (*activate)(Activation, const T* a, T* y, Index n) noexcept;
    void (*activate_backward)(Activation, const T* kept, const T* dy, T* da, Index n) noexcept;
    void (*sgd)(const Sgd<T>&, const Update<T>&) noexcept;
    void (*adam)(const Adam<T>&, const Update<T>&) noexcept;
    void (*rmsprop)(const RmsProp<T>&, const Update<T>&) noexcept;
    void (*adagrad)(const Adagrad<T>&, const Update<T>&) noexcept;
    double (*sum_squares)(const T* x, Index n) noexcept;
    void (*cross_entropy)(const CrossEntropy<T>&) noexcept;
    // last: [size], the last observations before the step, then behind it; filled: [size]
    void (*input_decay)(const InputDecay<T>&, T* last, T* filled) noexcept;
    void (*input_decay_backward)(const InputDecay<T>&, const InputDecayGradients<T>&) noexcept;
};

struct Kernels {
    KernelTable<float> f32;
    KernelTable<double> f64;
};

// One per instruction set that was compiled in; see engine/dispatch.cpp.
namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace grufast
