// Loops over flat arrays: activations of dense layers and the optimizers' updates.
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

template <class T>
void sgd(const Sgd<T>& s, T* w, const T* g, T* velocity, Index n) noexcept {
    const Vec<T> rate = splat<T>(-s.learning_rate), momentum = splat<T>(s.momentum);
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> gradient = load_part<T>(g + i, part);
        Vec<T> step = rate * gradient;
        if (velocity) {
            const Vec<T> v = fma(momentum, load_part<T>(velocity + i, part), step);
            store_part<T>(velocity + i, v, part);
            step = s.nesterov ? fma(momentum, v, step) : v;
        }
        store_part<T>(w + i, load_part<T>(w + i, part) + step, part);
    });
}

// Kingma & Ba 2015, algorithm 1: w -= rate m^ / (sqrt(v^) + epsilon).
template <class T>
void adam(const Adam<T>& s, T* w, const T* g, T* m, T* v, Index n) noexcept {
    const Vec<T> beta_1 = splat<T>(s.beta_1), beta_2 = splat<T>(s.beta_2);
    const Vec<T> rest_1 = splat<T>(s.rest_1), rest_2 = splat<T>(s.rest_2);
    const Vec<T> correction = splat<T>(s.correction), epsilon = splat<T>(s.epsilon);
    const Vec<T> step_size = splat<T>(s.step_size);
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> gradient = load_part<T>(g + i, part);
        const Vec<T> first = fma(beta_1, load_part<T>(m + i, part), rest_1 * gradient);
        const Vec<T> second =
            fma(beta_2, load_part<T>(v + i, part), rest_2 * gradient * gradient);
        store_part<T>(m + i, first, part);
        store_part<T>(v + i, second, part);
        const Vec<T> root = fma(sqrt(second), correction, epsilon);
        store_part<T>(w + i, load_part<T>(w + i, part) - step_size * first / root, part);
    });
}

}  // namespace
}  // namespace grufast
