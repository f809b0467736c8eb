// The gated recurrent unit, both reset forms, in PyTorch's convention:
//   r = sigmoid(W_r x + b_ir + U_r h + b_hr)
//   z = sigmoid(W_z x + b_iz + U_z h + b_hz)
//   reset after:  n = tanh(W_n x + b_in + r (U_n h + b_hn))
//   reset before: n = tanh(W_n x + b_in + U_n (r h) + b_hn)
//   h' = (1 - z) n + z h
// Row blocks of the weights are r, z, n. Cho et al. 2014, arXiv 1406.1078.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

// The gradients that all forms share, for the arguments of n and z and for h.
template <class T>
struct GruGradients {
    Vec<T> dn, dz, carry;
};
template <class T>
GRUFAST_INLINE GruGradients<T> gru_gradients(Vec<T> dh, Activated<T> n, Activated<T> z,
                                             Vec<T> h) {
    return {dh * (1 - z.value) * n.slope, dh * (h - n.value) * z.slope, dh * z.value};
}

// Reset after. Slots: n, r, z, q with q = U_n h + b_hn; as gradients dn, dr, dz, dq. The
// product with x fills n, r, z; the product with h fills r, z, q: two overlapping windows on
// one buffer.
template <class A, bool kSeparate>
struct GruOf {
    static constexpr CellInfo info = {kSeparate ? "gru_chosen" : "gru",
                                      3,
                                      3,
                                      4,
                                      3,
                                      {2, 0, 1, -1},
                                      {-1, 0, 1, 2},
                                      1,
                                      {{1, 3, 0, 0}},
                                      1,
                                      1,
                                      0,
                                      0,
                                      {},
                                      kSeparate,
                                      false};
    static constexpr int back[] = {0};

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> q = a[2], x = load<T>(u.slots), h = load<T>(u.before[0]);
        if constexpr (kSeparate) {
            const Vec<T> r = A::template gate<T>(u.activation, a[0]);
            const Vec<T> z = A::template gate<T>(u.activation, a[1]);
            const Vec<T> v = fma(r, q, x);
            store<T>(u.after[0], fma(1 - z, A::template state<T>(u.activation, v), z * h));
            if (save) {
                store<T>(u.slots, v);
                store<T>(u.slots + lanes, a[0]);
                store<T>(u.slots + 2 * lanes, a[1]);
                store<T>(u.slots + 3 * lanes, q);
            }
        } else {
            // Two divisions serve three gates: with e_z = exp(-a_z), v = x_n + r q and
            // m = e^2|v| - 1, z = 1 / (1 + e_z) and |n| = m / (m + 2) share the denominator
            // (1 + e_z) (m + 2).
            const Vec<T> r = 1 / (1 + gate_exp<T>(a[0]));
            const Vec<T> e_z = gate_exp<T>(a[1]);
            const Vec<T> v = fma(r, q, x);
            const Vec<T> m = tanh_expm1<T>(v);
            const Vec<T> inverse = 1 / ((1 + e_z) * (m + 2));
            const Vec<T> z = (m + 2) * inverse, m_signed = with_sign_of<T>(m, v);
            store<T>(u.after[0], fma(e_z * m_signed, inverse, h * z));
            if (save) {
                store<T>(u.slots, fma(e_z, m_signed, m_signed) * inverse);
                store<T>(u.slots + lanes, r);
                store<T>(u.slots + 2 * lanes, z);
                store<T>(u.slots + 3 * lanes, q);
            }
        }
    }

    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> dh, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Activation* which = u.activation;
        const Activated<T> n = A::template saved_state<T>(which, load<T>(u.slots));
        const Activated<T> r = A::template saved_gate<T>(which, load<T>(u.slots + lanes));
        const Activated<T> z = A::template saved_gate<T>(which, load<T>(u.slots + 2 * lanes));
        const Vec<T> q = load<T>(u.slots + 3 * lanes);
        const GruGradients<T> g = gru_gradients<T>(dh, n, z, load<T>(u.before[0]));
        store<T>(u.slots, g.dn);
        store<T>(u.slots + lanes, g.dn * q * r.slope);
        store<T>(u.slots + 2 * lanes, g.dz);
        store<T>(u.slots + 3 * lanes, g.dn * r.value);
        store<T>(u.carry[0], g.carry);
    }
};

// Of the forms with the reset before the product, n, r, z being their first slots: the state
// after h, and the gradients, given that of the state (B = 0) or of r h (B = 1).
template <class A, class T>
GRUFAST_INLINE void reset_before_state(Vec<T> a_n, const ForwardUnit<T>& u, Vec<T> h,
                                       bool save) {
    const Vec<T> saved_z = load<T>(u.slots + 2 * kLanes<T>);
    const Vec<T> z = A::template saved_gate<T>(u.activation, saved_z).value;
    const Vec<T> n = A::template state<T>(u.activation, a_n);
    store<T>(u.after[0], fma(1 - z, n, z * h));
    if (save) store<T>(u.slots, A::template saved<T>(a_n, n));
}
template <class A, int B, class T>
GRUFAST_INLINE void reset_before_gradients(Vec<T> d, const BackwardUnit<T>& u, Vec<T> h) {
    T *const slot_r = u.slots + kLanes<T>, *const slot_z = slot_r + kLanes<T>;
    if constexpr (B == 0) {
        const Activated<T> n = A::template saved_state<T>(u.activation, load<T>(u.slots));
        const Activated<T> z = A::template saved_gate<T>(u.activation, load<T>(slot_z));
        const GruGradients<T> g = gru_gradients<T>(d, n, z, h);
        store<T>(u.slots, g.dn);
        store<T>(slot_z, g.dz);
        store<T>(u.carry[0], g.carry);
    } else {
        const Activated<T> r = A::template saved_gate<T>(u.activation, load<T>(slot_r));
        store<T>(slot_r, d * h * r.slope);
        store<T>(u.carry[0], fma(d, r.value, load<T>(u.carry[0])));
    }
}

// Reset before. Slots: n, r, z. The second stage multiplies r h, kept as sequence 1 because the
// gradient of U_n needs it.
template <class A, bool kSeparate>
struct GruResetBeforeOf {
    static constexpr CellInfo info = {
        kSeparate ? "gru_reset_before_chosen" : "gru_reset_before",
        3,
        3,
        3,
        3,
        {2, 0, 1},
        {2, 0, 1},
        2,
        {{1, 2, 0, 0}, {0, 1, 1, 1}},
        2,
        1,
        0,
        0,
        {},
        kSeparate,
        false};
    static constexpr int back[] = {0, 1};

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]);
        if constexpr (S == 0) {
            const Two<T> rz = A::template gates<T>(u.activation, a[0], a[1]);
            store<T>(u.after[1], rz.first * (kSeparate ? masked<T>(u, h) : h));
            store<T>(u.slots + 2 * lanes, A::template saved<T>(a[1], rz.second));
            if (save) store<T>(u.slots + lanes, A::template saved<T>(a[0], rz.first));
        } else {
            reset_before_state<A, T>(a[0], u, h, save);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of r h, which is the product of dn with U_n.
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> d, const BackwardUnit<T>& u) {
        const Vec<T> h = load<T>(u.before[0]);
        reset_before_gradients<A, B, T>(B > 0 && kSeparate ? masked<T>(u, d) : d, u, h);
    }
};

}  // namespace
}  // namespace grufast
