// A recurrent layer over a sequence, forward and backward, for any cell of the kernels' table.
#pragma once

#include <mutex>

#include "../kernels/kernels.hpp"
#include "memory.hpp"
#include "threads.hpp"

namespace grufast {

// What a forward call keeps for its backward; the caller owns it and may use it again.
struct Workspace {
    Buffer gates;      // [chunk of steps][panel][step and row][slot][lane]
    Buffer sequences;  // [sequence][T + 1][B][hidden, padded]
    Buffer scratch;    // of backward
    const void* table = nullptr;
    CellId cell{};
    Index batch = 0, steps = 0, input = 0, hidden = 0;
    bool filled = false;
    std::mutex mutex;  // held during a call: two at once are an error, not a crash

    std::size_t size() const { return gates.size() + sequences.size() + scratch.size(); }
};

// A matrix per time step: element (b, t, i) at data + b * row + t * step + i.
template <class T>
struct Sequence {
    T* data;
    Index row, step;
};

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
    };
    // Keeps nothing without a workspace. Safe from several threads at once, each with a
    // workspace of its own; throws std::invalid_argument where they share one.
    void forward(const Forward& f, Workspace* workspace) const;

    struct Backward {
        Index batch, steps;
        Sequence<const T> x;   // as in forward
        Sequence<const T> dy;  // data null: zero
        const T* dh_n;         // [B][H] contiguous; null: zero
        Sequence<T> dx;        // data null: not wanted
        T* dh0;                // [B][H] contiguous
        T *dweight_ih, *dweight_hh, *dbias_ih, *dbias_hh;
    };
    // Uses the workspace up. Throws std::invalid_argument if it does not hold such a forward.
    void backward(const Backward& b, Workspace& workspace) const;

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
    Index input_size() const { return input_; }
    Index hidden_size() const { return hidden_; }

  private:
    // How a call is cut; every decision about threads and chunks is made in plan(). Either each
    // part of the batch runs all steps alone, or, where the batch is small, each thread owns
    // some units and all meet after every step.
    struct Plan {
        int threads;
        int parts;  // of the batch, or of the units
        bool by_units;
        Index chunk_steps, projected_steps;
    };
    struct Part {
        Range rows, panels;
    };
    Part part(const Plan& plan, const Team& team, Index batch) const;
    Plan plan(Index batch, Index steps, bool training) const;

    struct Gates {  // a chunk of the gate buffer
        T* data;
        Index panel, row, step;
    };
    Gates gates(T* data, Index batch, Index steps, Index slots) const;
    BlockedRows<T> gate_rows(const T* data, Index row, Index panel, int first_slot,
                             int slots) const;
    void project(const Sequence<const T>& x, Index t, Index steps, Part part, Gates out) const;
    void input_gradient(const Gates& g, Index t, Range steps, Range rows,
                        const Sequence<T>& dx) const;

    // Packed weights: panels for products in a step or a projection, strips for gradients.
    struct Pack {
        Buffer ih_panels, ih_bias, ih_strips;
        Buffer hh_panels[kMaxStages], hh_bias, hh_strips[kMaxStages];
    };

    const KernelTable<T>& table_;
    const CellKernels<T>& kernels_;
    CellId cell_;
    Index input_, hidden_, panels_;
    Index padded_;  // hidden_, up to whole vectors
    Pack pack_;
};

}  // namespace grufast
