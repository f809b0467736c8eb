// One direction of a recurrent layer over a sequence, forward and backward, for any cell of the
// kernels' table. stack.hpp puts layers and directions together.
#pragma once

#include "../kernels/kernels.hpp"
#include "memory.hpp"
#include "selection.hpp"
#include "threads.hpp"

namespace grufast {

// A matrix per time step: element (b, t, i) at data + b * row + t * step + i.
template <class T>
struct Sequence {
    T* data;
    Index row, step;

    Sequence reversed(Index steps) const {
        return {data && steps > 0 ? data + (steps - 1) * step : data, row, -step};
    }
};

// What a forward pass leaves for its backward: nothing, the states, from which the gates are
// computed again, or the gates too.
enum class Keep { kNothing, kStates, kGates };

// Outputs at steps that a selection leaves out: whatever is there, zero, or the last one again.
enum class Fill { kNothing, kZero, kRepeat };

// The memory of a forward pass and its backward.
struct PassMemory {
    Buffer gates;      // [chunk of steps][panel][step and row][slot][lane]
    Buffer sequences;  // [sequence][time][B][hidden, padded]
    Buffer scratch;    // of backward
    Buffer gathered;   // a chunk of x, and of dx, where rows or steps are left out

    std::size_t size() const {
        return gates.size() + sequences.size() + scratch.size() + gathered.size();
    }
};

// Whether a batch is too small to be shared out by rows.
bool is_small(Index batch);

template <class T>
class Recurrent {
  public:
    // activations: as in StepForward.
    Recurrent(const KernelTable<T>& table, CellId cell, const Activation (&activations)[2],
              Index input_size, Index hidden_size);

    // weight_ih [ih_blocks * H][C], weight_hh [hh_blocks * H][H], biases of as many rows, unit
    // parameters [parameters * H], all contiguous.
    template <class P>
    struct Weights {
        P weight_ih, weight_hh, bias_ih, bias_hh, parameters;
    };
    void pack(const Weights<const T*>& weights);

    template <class P>
    struct States {
        P of[kMaxStates];  // [B][H] contiguous, of each state of the cell
    };
    // What backward must be given as forward was.
    struct Call {
        Index batch, steps;          // steps: the selection's
        const Selection* selection;  // null: all
        // With a selection: how steps follow each other in time. Where it is whole, as without
        // one, the sequences are reversed besides.
        bool backwards;
        Fill fill;
        // For cells whose formula is separate: whether the state is multiplied by a mask on its
        // way into products, and zoneout, of no rate where there is none.
        bool masked;
        Zone<T> zone;
        bool resets_apart;    // whether resets go back to other states than the first ones
        const T* input_mask;  // [B][C] contiguous, times x in all steps; null: none

        // Whether steps are left out, or rows in another order.
        bool some() const { return selection && !selection->whole(); }
        // Whether products take copies of x, a chunk at a time.
        bool copies() const { return some() || input_mask; }
        Index caller_row(Index b) const { return some() ? selection->row(b) : b; }
        // Whether row b begins with what resets go back to.
        bool begins_apart(Index b) const {
            return resets_apart && selection && selection->has_resets() &&
                   selection->length(b) > 0 && selection->resets(b, 0, backwards);
        }
    };
    struct Forward : Call {
        Sequence<const T> x;      // [B][T][C]
        States<const T*> first;   // null: zero
        States<const T*> reset;   // what resets go back to, where that is not `first`
        const T* recurrent_mask;  // [B][H] contiguous, where `masked`; kept for backward
        Sequence<T> y;            // [B][T][H]; data null: not wanted
        States<T*> last;
        Keep keep;
    };
    struct Backward : Call {
        Sequence<const T> x;     // as in forward
        Sequence<const T> dy;    // data null: zero
        States<const T*> dlast;  // null: zero
        Sequence<T> dx;          // data null: not wanted
        const T* dx_mask;   // [B][C], times dx: the input mask or, for a sum yet to come, null
        States<T*> dfirst;  // where resets are apart, for what they go back to
        Weights<T*> gradients;
        Keep keep;  // as in forward
    };

  private:
    // How a call is cut. Either each part of the batch runs all steps alone, or, where the
    // batch is small or the weights are large, each thread owns some units and all meet after
    // every step.
    struct Plan {
        int parts;  // of the batch, or of the units
        bool by_units;
        Index chunk_steps, projected_steps;
    };
    // A member's rows: begin, begin + stride, ... Where rows end early, members take every so
    // many-th, which keeps them equally busy.
    struct Part {
        Range rows;
        Index stride;
        Range panels;

        Index count(Index batch) const {
            const Index end = batch < rows.end ? batch : rows.end;
            return end > rows.begin ? (end - rows.begin + stride - 1) / stride : 0;
        }
    };
    struct Gates {  // a chunk of the gate buffer
        T* data;
        Index panel, row, step;
    };
    // A sequence's place in memory: `kept` states from `start`, mask as in StepForward. Where
    // gates are computed again, states besides h are needed at every chunk's first step.
    struct Kept {
        Index start, kept, mask, at_chunks;
    };
    struct Layout {
        Index state;                    // elements of a state [B][padded]
        Index slots, chunk_steps;       // of the gate buffer
        Index chunk_size, chunk_count;  // its elements and number
        Kept sequence[kMaxSequences];
        Index first;         // of the first states, where there are resets
        Index mask, masked;  // of the recurrent mask, and h times it, kept as h is
        Index size;          // of the sequences
    };

  public:
    // A pass with its plan and its memory; made before the threads start.
    struct ForwardPass : Forward {
        const Recurrent* layer;
        Plan plan;
        Layout layout;
        T *gates, *sequences, *gathered;
        Index gathered_size;  // of a member's
    };
    struct BackwardPass : Backward {
        const Recurrent* layer;
        Plan plan;
        Layout layout;
        T *gates, *sequences, *gathered, *dgathered, *gathered_again;
        Index gathered_size;
        T *carry, *reset_carry, *reset_slots, *row_parameters;
        T *ih_sum, *hh_sum[kMaxStages], *bias_sum, *parameter_sum;
    };
    ForwardPass prepare(const Forward& f, int threads, PassMemory& memory) const;
    BackwardPass prepare(const Backward& b, int threads, PassMemory& memory) const;

    // A team member's part of a pass. All members make the same calls: some steps at a time
    // until all are done, then finish().
    class ForwardRun {
      public:
        ForwardRun(const ForwardPass& pass, Team& team);
        void advance(Index steps);
        void finish();

      private:
        void fill_outputs();

        const ForwardPass& pass_;
        const Recurrent& layer_;
        Team& team_;
        Part part_;
        bool meet_;
        Index next_ = 0;
        StepForward<T> step_;
    };
    class BackwardRun {
      public:
        BackwardRun(const BackwardPass& pass, Team& team);
        void advance(Index steps);
        void finish();

      private:
        void run_steps(Range steps, Gates g);
        void run(Index t, Index count, const Gates& g, Index begin, Index end);
        void pass_on(const Gates& g);
        void take_output_gradient(Index t, Index rows);
        template <class F>
        void for_resets(Index t, const F& f) const;
        void divert(Index t);
        void restore(Index t);
        void multiply_next(Index first, Index rows, Range units, T* out);
        void compute_again(Index chunk, Range steps, const Gates& g);
        void gather(Range steps);
        void add_weight_gradients(Range steps, const Gates& g);
        // Rows of gate gradients, in runs: of `inner` rows, or of as many as inner_of says.
        struct Runs {
            Index outer, inner;
            const Index* inner_of;
        };
        void add_products(const Gates& g, Index t, Index in_chunk, const Runs& runs,
                          const Sequence<const T>& x, bool accumulate);
        void set_input_gradient(Range steps, const Gates& g);
        void sum_row_parameters(Range panels);

        const BackwardPass& pass_;
        const Recurrent& layer_;
        Team& team_;
        Part part_;
        bool meet_;
        Index left_;         // steps
        T* next_ = nullptr;  // gate gradients of the step behind the next one to run
        StepBackward<T> step_;
    };

    // One sequence, a step a call: the state stays between calls, and step() allocates nothing.
    // Refers to the layer, whose weights must stay as they are.
    class Stream {
      public:
        explicit Stream(const Recurrent& layer);
        void reset(const T* states);      // [states][H]; null: zero
        void step(const T* x, T* out);    // [C] -> [H], the new state
        const T* state(int index) const;  // [H]

      private:
        Buffer slots_, sequences_;
        PanelGemm<T> project_;
        StepForward<T> step_;
        const KernelTable<T>& table_;
        const CellKernels<T>& kernels_;
    };

    const CellInfo& info() const { return kernels_.info; }
    const KernelTable<T>& table() const { return table_; }
    Index input_size() const { return input_; }
    Index hidden_size() const { return hidden_; }
    // Floating-point operations of the products of one row's step, forward.
    double operations() const;
    // Into how many parts the units of a small batch would be cut for so many threads.
    int unit_parts(Index batch, int threads) const;

  private:
    Plan plan(const Call& call, int threads) const;
    Part part(const Plan& plan, const Team& team, const Call& call) const;
    Range units(const Part& part) const;  // of its panels
    Layout layout(const Plan& plan, const Call& call, Keep keep) const;
    Gates gates(T* data, Index batch, Index steps, Index slots) const;
    BlockedRows<T> gate_rows(const T* data, Index row, Index panel, int first_slot,
                             int slots) const;
    StepForward<T> forward_steps(const Call& call, const Layout& layout, T* sequences,
                                 const Part& part) const;
    // Copies the states besides h between a sequence and what is kept of them at chunks.
    void keep_at_chunk(const Layout& layout, T* sequences, const Part& part, Index chunk,
                       Index time, bool back) const;
    void run_forward(StepForward<T>& step, const Part& part, Team* meeting,
                     const ForwardPass& pass, Index t, Index steps, Gates g, bool again) const;
    void project(const T* a, Index a_row, Index count, Range panels, T* out, Index out_row,
                 Index out_panel) const;
    void gather(const Call& call, const Sequence<const T>& x, const Part& part, Index t,
                T* to) const;
    void drop(const T* mask, Index row, T* x) const;
    void write_output(const StepForward<T>& step, const Part& part, const ForwardPass& pass,
                      Index t) const;
    void reset_states(const StepForward<T>& step, const Part& part, const ForwardPass& pass,
                      Index t) const;
    void mask_row(const StepForward<T>& step, Index row, Index time, Range units) const;
    int carries() const;
    Zone<T> zone(const Call& call) const;

    // Packed weights: panels for products in a step or a projection, strips for gradients.
    struct Pack {
        Buffer ih_panels, ih_bias, ih_strips;
        Buffer hh_panels[kMaxStages], hh_bias, hh_strips[kMaxStages];
        Buffer parameters;
    };

    const KernelTable<T>& table_;
    const CellKernels<T>& kernels_;
    Activation activations_[2];
    Index input_, hidden_, panels_;
    Index padded_;  // hidden_, up to whole vectors
    Pack pack_;
};

}  // namespace grufast
