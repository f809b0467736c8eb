// The recurrence of GRU-D: the state decays with the time since the last observations, then a
// GRU with the reset gate before the product follows. With d = W_d x + b_d, which x brings:
//   h^ = exp(-max(0, d)) h
//   r = sigmoid(W_r x + b_ir + U_r h^ + b_hr)      z likewise
//   n = tanh(W_n x + b_in + U_n (r h^) + b_hn)
//   h' = (1 - z) n + z h^
// Row blocks of weight_ih are r, z, n, d, of weight_hh r, z, n. Che et al. 2018, arXiv
// 1606.01865, where z and 1 - z change places.
#pragma once

#include "gru.hpp"

namespace grufast {
namespace {

// Slots: n, r, z, d. Sequence 1 is h^, sequence 2 is r h^.
struct GruDecay {
    static constexpr CellInfo info = {"gru_decay",
                                      4,
                                      3,
                                      4,
                                      4,
                                      {2, 0, 1, 3},
                                      {2, 0, 1, -1},
                                      3,
                                      {{0, 0, 0, 0}, {1, 2, 1, 1}, {0, 1, 2, 1}},
                                      3,
                                      1,
                                      0,
                                      0,
                                      {},
                                      true,
                                      false};
    static constexpr int back[] = {-1, 2, 1};
    using A = Usual;

    // e^-max(0, d)
    template <class V>
    static GRUFAST_INLINE V decayed_by(const V& d) {
        return V::of([&](int i) GRUFAST_ALWAYS {
            return decay<typename V::Scalar>(at_least(d, 0).v[i]);
        });
    }

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        constexpr Index lanes = V::lanes;
        if constexpr (S == 0) {
            const V gamma = decayed_by(load(u.slots + 3 * lanes));
            store(u.after[1], gamma * masked(u, load(u.before[0])));
        } else if constexpr (S == 1) {
            const Two<V> rz = A::gates(u.activation, a[0], a[1]);
            store(u.after[2], rz.first * load(u.after[1]));
            store(u.slots + lanes, rz.first);
            store(u.slots + 2 * lanes, rz.second);
        } else {
            V h = load(u.after[1]);
            if (u.mask.at[0]) h = decayed_by(load(u.slots + 3 * lanes)) * load(u.before[0]);
            reset_before_state<A>(a[0], u, h, save);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of r h^, stage 2 the gates' part of dh^.
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& dv, const BackwardUnits<V>& u) {
        constexpr Index lanes = V::lanes;
        const V h = load(u.before[0]), d = load(u.slots + 3 * lanes);
        const V gamma = decayed_by(d), decayed = gamma * h;
        if constexpr (B < 2) {
            reset_before_gradients<A, B>(B > 0 ? masked(u, dv) : dv, u, decayed);
        } else {
            const V dh = masked(u, dv) + load(u.carry[0]);
            store(u.slots + 3 * lanes, V::of([&](int i) GRUFAST_ALWAYS {
                      return d.v[i] > 0 ? (-dh * decayed).v[i] : Vec<typename V::Scalar>{};
                  }));
            store(u.carry[0], dh * gamma);
        }
    }
};

}  // namespace
}  // namespace grufast
