// Loops over flat arrays: activations of dense layers.
#pragma once

#include "activations.hpp"

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
void activate(Activation which, const T* a, T* y, Index n) noexcept {
    if (which == kLinear && a == y) return;
    for_vectors<T>(n, [&](Index i, Index part) {
        store_part<T>(y + i, activation<T>(which, load_part<T>(a + i, part)), part);
    });
}

template <class T>
void activate_backward(Activation which, const T* kept, const T* dy, T* da, Index n) noexcept {
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> v = load_part<T>(kept + i, part), d = load_part<T>(dy + i, part);
        store_part<T>(da + i, activation_gradient<T>(which, v, d), part);
    });
}

}  // namespace
}  // namespace grufast
