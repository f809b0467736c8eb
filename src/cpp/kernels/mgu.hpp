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

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]);
        if constexpr (S == 0) {
            store<T>(u.slots + lanes, a[0]);
            store<T>(u.after[1], A::gate<T>(u.activation, a[0]) * masked<T>(u, h));
        } else {
            const Vec<T> f = A::gate<T>(u.activation, load<T>(u.slots + lanes));
            store<T>(u.after[0], fma(f, A::state<T>(u.activation, a[0]) - h, h));
            if (save) store<T>(u.slots, a[0]);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of f h, which is the product of dn with U_n.
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> d, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]);
        const Activated<T> f = A::saved_gate<T>(u.activation, load<T>(u.slots + lanes));
        if constexpr (B == 0) {
            const Activated<T> n = A::saved_state<T>(u.activation, load<T>(u.slots));
            store<T>(u.slots, d * f.value * n.slope);
            store<T>(u.slots + 2 * lanes, d * (n.value - h));
            store<T>(u.carry[0], d * (1 - f.value));
        } else {
            const Vec<T> taken = masked<T>(u, d);  // the gradient of f h
            store<T>(u.slots + lanes, fma(taken, h, load<T>(u.slots + 2 * lanes)) * f.slope);
            store<T>(u.carry[0], fma(taken, f.value, load<T>(u.carry[0])));
        }
    }
};

}  // namespace
}  // namespace grufast
