// Loops over flat arrays: activations of dense layers.
#pragma once

#include "math.hpp"

namespace grufast {
namespace {

// Calls f(offset, lanes in use) for whole vectors, then for the rest.
template <class T, class F>
GRUFAST_INLINE void for_vectors(Index n, const F& f) {
    Index i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) f(i, kLanes<T>);
    if (i < n) f(i, n - i);
}

template <class T>
void activate(Activation activation, T* y, Index n) noexcept {
    if (activation == kLinear) return;
    for_vectors<T>(n, [&](Index i, Index part) {
        Vec<T> v = load_part<T>(y + i, part);
        switch (activation) {
            case kTanh:
                v = tanh<T>(v);
                break;
            case kSigmoid:
                v = sigmoid<T>(v);
                break;
            default:
                v = at_least(v, Vec<T>{});
        }
        store_part<T>(y + i, v, part);
    });
}

template <class T>
void activate_backward(Activation activation, const T* y, const T* dy, T* dx,
                       Index n) noexcept {
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> v = load_part<T>(y + i, part);
        Vec<T> d = load_part<T>(dy + i, part);
        switch (activation) {
            case kTanh:
                d *= 1 - v * v;
                break;
            case kSigmoid:
                d *= v * (1 - v);
                break;
            case kRelu:
                d = v > 0 ? d : Vec<T>{};
                break;
            default:
                break;
        }
        store_part<T>(dx + i, d, part);
    });
}

}  // namespace
}  // namespace grufast
