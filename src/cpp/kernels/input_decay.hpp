// What GRU-D does to its input before the recurrence: a value that is missing decays from the
// last observation x' to the mean. With the time since that observation,
//   gamma = exp(-max(0, w time + b))
//   x^ = x where it was observed, else gamma x' + (1 - gamma) mean
#pragma once

#include "gru_decay.hpp"
#include "pointwise.hpp"

namespace grufast {
namespace {

// A vector of variables at a step.
template <class T>
struct Decaying {
    Vec<T> times, weight, sum, gamma, mean;
    Bits<T> observed;

    GRUFAST_INLINE Decaying(const InputDecay<T>& d, Index i, Index part)
        : times(load_part<T>(d.x + 2 * d.size + i, part)),
          weight(load_part<T>(d.weight + i, part)),
          sum(fma(weight, times, load_part<T>(d.bias + i, part))),
          gamma(GruDecay::decayed_by(One<T>(sum))),
          mean(load_part<T>(d.mean + i, part)),
          observed(load_part<T>(d.x + d.size + i, part) > 0) {}
};

template <class T>
void input_decay(const InputDecay<T>& d, T* last, T* filled) noexcept {
    for_vectors<T>(d.size, [&](Index i, Index part) {
        const Decaying<T> v(d, i, part);
        const Vec<T> value = load_part<T>(d.x + i, part), before = load_part<T>(last + i, part);
        const Vec<T> missing = v.gamma * before + (1 - v.gamma) * v.mean;
        store_part<T>(filled + i, v.observed ? value : missing, part);
        store_part<T>(last + i, v.observed ? value : before, part);
    });
}

template <class T>
void input_decay_backward(const InputDecay<T>& d, const InputDecayGradients<T>& g) noexcept {
    const auto add = [](T* to, Vec<T> v, Index part) {
        store_part<T>(to, load_part<T>(to, part) + v, part);
    };
    for_vectors<T>(d.size, [&](Index i, Index part) {
        const Decaying<T> v(d, i, part);
        const Vec<T> dfilled = load_part<T>(g.dx + i, part), zero{};
        const Vec<T> dlast = load_part<T>(g.dlast + i, part);
        store_part<T>(g.dx + i, v.observed ? dfilled + dlast : zero, part);
        store_part<T>(g.dlast + i, v.observed ? zero : fma(dfilled, v.gamma, dlast), part);
        const Vec<T> distance = load_part<T>(g.last + i, part) - v.mean;
        const Vec<T> falling = v.sum > 0 ? -dfilled * distance * v.gamma : zero;
        const Vec<T> dsum = v.observed ? zero : falling;
        add(g.dx + 2 * d.size + i, dsum * v.weight, part);
        add(g.dweight + i, dsum * v.times, part);
        add(g.dbias + i, dsum, part);
    });
}

}  // namespace
}  // namespace grufast
