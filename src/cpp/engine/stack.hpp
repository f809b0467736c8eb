// Recurrent layers on top of each other, each in one direction or in both, as one call.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "recurrent.hpp"

namespace grufast {

// What is done to a direction's states in training; see Recurrent::Call.
struct Regular {
    bool masked;
    Zone<double> zone;

    bool none() const { return !masked && zone.rate[0] <= 0 && zone.rate[1] <= 0; }
};

// What a call keeps for the next one; the caller owns it and may use it again.
struct Workspace {
    // One direction of one layer, by what decides the layout of its memory.
    struct Kind {
        const void* table;
        const char* cell;
        Index input, hidden;
        bool operator==(const Kind& other) const {
            return table == other.table && cell == other.cell && input == other.input &&
                   hidden == other.hidden;
        }
    };
    std::vector<PassMemory> passes;  // of each layer's directions, first layer first
    std::vector<Buffer> outputs;     // [T][B][D * H] of each layer but the last
    std::vector<Buffer> gradients;   // of those outputs
    Buffer reversed;                 // of a layer's input, from its second direction
    std::vector<Kind> kinds;
    Index batch = 0, steps = 0;
    Keep keep = Keep::kNothing;
    Selection selection;
    Fill fill = Fill::kZero;
    std::vector<Regular> regular;  // of each direction
    bool resets_apart = false;     // as in Recurrent::Call
    std::mutex mutex;              // held during a call: two at once are an error, not a crash

    std::size_t size() const;
};

template <class T>
using FirstStates = typename Recurrent<T>::template States<const T*>;
template <class T>
using LastStates = typename Recurrent<T>::template States<T*>;

template <class T>
class Stack {
  public:
    // One direction, or two: forward, and backward over the reversed sequence.
    using Level = std::vector<std::shared_ptr<const Recurrent<T>>>;

    // Every level's input size must be the sum of the hidden sizes below it. backwards: of each
    // level with one direction, whether it runs from the sequence's end.
    Stack(std::vector<Level> levels, std::vector<bool> backwards);

    struct Forward {
        Index batch, steps;
        Sequence<const T> x;                // [B][T][C]
        const T* input_mask = nullptr;      // [B][C], times x in all steps; null: none
        std::vector<FirstStates<T>> first;  // of each direction, as in Recurrent
        std::vector<FirstStates<T>> reset;  // what resets go back to; empty: the first ones
        Sequence<T> y;  // of the last level, [B][T][D * H]; data null: not wanted
        std::vector<LastStates<T>> last;  // of each direction
        Selection selection;
        Fill fill;
        std::vector<const T*> recurrent_mask;  // of each direction; null: none
        std::vector<Regular> regular;
    };
    // Safe from several threads at once, each with a workspace of its own; throws
    // std::invalid_argument where they share one.
    void forward(Forward f, Keep keep, Workspace& workspace) const;

    struct Gradients {  // of one direction
        LastStates<T> first;
        typename Recurrent<T>::template Weights<T*> weights;
    };
    struct Backward {
        Index batch, steps;
        Sequence<const T> x;                // as in forward
        const T* input_mask = nullptr;      // as in forward
        Sequence<const T> dy;               // data null: zero
        std::vector<FirstStates<T>> dlast;  // of each direction; null: zero
        Sequence<T> dx;                     // data null: not wanted
        std::vector<Gradients> grads;       // of each direction
    };
    // Uses the workspace up. Throws std::invalid_argument if it does not hold such a forward.
    void backward(const Backward& b, Workspace& workspace) const;

    const std::vector<Level>& levels() const { return levels_; }
    std::size_t directions() const { return kinds_.size(); }

  private:
    // Where a small batch makes the layers of a stack wait for each other step by step, each
    // thread takes some layers and follows the one before it, some steps behind.
    struct Wave {
        int threads;  // 1: layer by layer instead
        Index steps;  // at a time
    };
    Wave wave(Index batch, Index steps, int threads) const;
    int owner(std::size_t level, int threads) const;
    double operations(Index batch, Index steps) const;
    bool reversed(std::size_t level, std::size_t direction) const {
        return direction == 1 || backwards_[level];
    }
    typename Recurrent<T>::Call call(const Workspace& w, Index batch, std::size_t level,
                                     std::size_t direction, std::size_t index) const;

    std::vector<Level> levels_;
    std::vector<bool> backwards_;
    std::vector<Workspace::Kind> kinds_;
    std::vector<Index> width_;  // of each level's output
};

}  // namespace grufast
