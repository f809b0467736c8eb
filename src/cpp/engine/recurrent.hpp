// One direction of a recurrent layer over a sequence, forward and backward, for any cell of the
// kernels' table. stack.hpp puts layers and directions together.
#pragma once

#include "../kernels/kernels.hpp"
#include "memory.hpp"
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

// The memory of a forward pass and its backward.
struct PassMemory {
    Buffer gates;      // [chunk of steps][panel][step and row][slot][lane]
    Buffer sequences;  // [sequence][time][B][hidden, padded]
    Buffer scratch;    // of backward

    std::size_t size() const { return gates.size() + sequences.size() + scratch.size(); }
};

// Whether a batch is too small to be shared out by rows.
bool is_small(Index batch);

template <class T>
class Recurrent {
  public:
    Recurrent(const KernelTable<T>& table, CellId cell, Index input_size, Index hidden_size);

    // weight_ih [gates * H][C], weight_hh [gates * H][H], biases [gates * H], all contiguous.
    void pack(const T* weight_ih, const T* weight_hh, const T* bias_ih, const T* bias_hh);

    struct Forward {
        Index batch, steps;
        Sequence<const T> x;  // [B][T][C]
        const T* h0;          // [B][H] contiguous; null: zero
        Sequence<T> y;        // [B][T][H]; data null: not wanted
        T* h_n;               // [B][H] contiguous
        Keep keep;
    };
    struct Backward {
        Index batch, steps;
        Sequence<const T> x;   // as in forward
        Sequence<const T> dy;  // data null: zero
        const T* dh_n;         // [B][H] contiguous; null: zero
        Sequence<T> dx;        // data null: not wanted
        T* dh0;                // [B][H] contiguous
        T *dweight_ih, *dweight_hh, *dbias_ih, *dbias_hh;
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
    struct Part {
        Range rows, panels;
    };
    struct Gates {  // a chunk of the gate buffer
        T* data;
        Index panel, row, step;
    };
    // A sequence's place in memory: `kept` states from `start`, mask as in StepForward.
    struct Kept {
        Index start, kept, mask;
    };
    struct Layout {
        Index state;                    // elements of a state [B][padded]
        Index slots, chunk_steps;       // of the gate buffer
        Index chunk_size, chunk_count;  // its elements and number
        Kept sequence[kMaxSequences];
        Index size;  // of the sequences
    };

  public:
    // A pass with its plan and its memory; made before the threads start.
    struct ForwardPass : Forward {
        const Recurrent* layer;
        Plan plan;
        Layout layout;
        T *gates, *sequences;
    };
    struct BackwardPass : Backward {
        const Recurrent* layer;
        Plan plan;
        Layout layout;
        T *gates, *sequences;
        T *carry, *ih_sum, *hh_sum[kMaxStages], *bias_sum;
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
        void add_weight_gradients(Range steps, const Gates& g);
        void set_input_gradient(Range steps, const Gates& g);

        const BackwardPass& pass_;
        const Recurrent& layer_;
        Team& team_;
        Part part_;
        bool meet_;
        Index left_;  // steps
        StepBackward<T> step_;
    };

    // One sequence, a step a call: the state stays between calls, and step() allocates nothing.
    // Refers to the layer, whose weights must stay as they are.
    class Stream {
      public:
        explicit Stream(const Recurrent& layer);
        void reset(const T* state);     // [H]; null: zero
        void step(const T* x, T* out);  // [C] -> [H], the new state
        const T* state() const;         // [H]

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
    Plan plan(Index batch, Index steps, int threads) const;
    Part part(const Plan& plan, const Team& team, Index batch) const;
    Layout layout(const Plan& plan, Index batch, Index steps, Keep keep) const;
    Gates gates(T* data, Index batch, Index steps, Index slots) const;
    BlockedRows<T> gate_rows(const T* data, Index row, Index panel, int first_slot,
                             int slots) const;
    StepForward<T> forward_steps(const Layout& layout, T* sequences, const Part& part) const;
    // Steps [t, t + steps): projects x, then runs them; the sequences are at `at`.
    void run_forward(StepForward<T>& step, const Part& part, Team* meeting,
                     const Sequence<const T>& x, Index t, Index steps, Gates g,
                     const Sequence<T>& y) const;
    void project(const Sequence<const T>& x, Index t, Index steps, Part part, Gates out) const;

    // Packed weights: panels for products in a step or a projection, strips for gradients.
    struct Pack {
        Buffer ih_panels, ih_bias, ih_strips;
        Buffer hh_panels[kMaxStages], hh_bias, hh_strips[kMaxStages];
    };

    const KernelTable<T>& table_;
    const CellKernels<T>& kernels_;
    Index input_, hidden_, panels_;
    Index padded_;  // hidden_, up to whole vectors
    Pack pack_;
};

}  // namespace grufast
