// A dense layer: y = activation(x weight^T + bias).
#pragma once

#include "../kernels/kernels.hpp"
#include "memory.hpp"
#include "threads.hpp"

namespace grufast {

template <class T>
class Dense {
  public:
    Dense(const KernelTable<T>& table, Index input_size, Index units, Activation activation);

    void pack(const T* weight, const T* bias);  // [units][C], [units], contiguous
    // x [rows][C] with any row stride; y [rows][units] contiguous, and `inputs` too, where the
    // activation's inputs go; null: not wanted.
    void forward(Index rows, const T* x, Index x_row, T* y, T* inputs) const;
    // kept: the activation's inputs if keeps_input, else y; dy contiguous; dx [rows][C]
    // contiguous or null.
    void backward(Index rows, const T* x, Index x_row, const T* kept, const T* dy, T* dx,
                  T* dweight, T* dbias) const;

    Index input_size() const { return input_; }
    Index units() const { return units_; }
    Activation activation() const { return activation_; }

  private:
    int threads(Index rows, double products) const;

    const KernelTable<T>& table_;
    Index input_, units_, panels_;
    Activation activation_;
    Buffer forward_strips_, bias_, backward_strips_;
};

}  // namespace grufast
