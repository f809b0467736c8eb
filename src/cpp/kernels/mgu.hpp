// The minimal gated unit:
//   f = sigmoid(W_f x + b_if + U_f h + b_hf)
//   n = tanh(W_n x + b_in + U_n (f h) + b_hn)
//   h' = (1 - f) h + f n
// Row blocks of the weights are f, n. Zhou et al. 2016, arXiv 1603.09420.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

// Slots: n, f, and a place for dh (n - h) in backward. Sequence 1 is f h.
struct Mgu {
    static constexpr CellInfo info = {
        "mgu", 2, 2, 3, 2,  {1, 0, -1}, {1, 0, -1}, 2, {{1, 1, 0, 0}, {0, 1, 1, 1}},
        2,     1, 0, 0, {}, true,       false};
    static constexpr int back[] = {0, 1};
    using A = Chosen;

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        constexpr Index lanes = V::lanes;
        const V h = load(u.before[0]);
        if constexpr (S == 0) {
            store(u.slots + lanes, a[0]);
            store(u.after[1], A::gate(u.activation, a[0]) * masked(u, h));
        } else {
            const V f = A::gate(u.activation, load(u.slots + lanes));
            store(u.after[0], fma(f, A::state(u.activation, a[0]) - h, h));
            if (save) store(u.slots, a[0]);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of f h, which is the product of dn with U_n.
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& d, const BackwardUnits<V>& u) {
        constexpr Index lanes = V::lanes;
        const V h = load(u.before[0]);
        const Activated<V> f = A::saved_gate(u.activation, load(u.slots + lanes));
        if constexpr (B == 0) {
            const Activated<V> n = A::saved_state(u.activation, load(u.slots));
            store(u.slots, d * f.value * n.slope);
            store(u.slots + 2 * lanes, d * (n.value - h));
            store(u.carry[0], d * (1 - f.value));
        } else {
            const V taken = masked(u, d);  // the gradient of f h
            store(u.slots + lanes, fma(taken, h, load(u.slots + 2 * lanes)) * f.slope);
            store(u.carry[0], fma(taken, f.value, load(u.carry[0])));
        }
    }
};

}  // namespace
}  // namespace grufast
