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
    template <class T>
    static GRUFAST_INLINE Vec<T> decayed_by(Vec<T> d) {
        return decay<T>(at_least(d, Vec<T>{}));
    }

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        if constexpr (S == 0) {
            const Vec<T> gamma = decayed_by<T>(load<T>(u.slots + 3 * lanes));
            store<T>(u.after[1], gamma * masked<T>(u, load<T>(u.before[0])));
        } else if constexpr (S == 1) {
            const Two<T> rz = A::gates<T>(u.activation, a[0], a[1]);
            store<T>(u.after[2], rz.first * load<T>(u.after[1]));
            store<T>(u.slots + lanes, rz.first);
            store<T>(u.slots + 2 * lanes, rz.second);
        } else {
            Vec<T> h = load<T>(u.after[1]);
            if (u.mask) h = decayed_by<T>(load<T>(u.slots + 3 * lanes)) * load<T>(u.before[0]);
            reset_before_state<A, T>(a[0], u, h, save);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of r h^, stage 2 the gates' part of dh^.
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> dv, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]), d = load<T>(u.slots + 3 * lanes);
        const Vec<T> gamma = decayed_by<T>(d), decayed = gamma * h;
        if constexpr (B < 2) {
            reset_before_gradients<A, B, T>(B > 0 ? masked<T>(u, dv) : dv, u, decayed);
        } else {
            const Vec<T> dh = masked<T>(u, dv) + load<T>(u.carry[0]);
            store<T>(u.slots + 3 * lanes, d > 0 ? -dh * decayed : Vec<T>{});
            store<T>(u.carry[0], dh * gamma);
        }
    }
};

}  // namespace
}  // namespace grufast
