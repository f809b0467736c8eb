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
template <class V>
struct GruGradients {
    V dn, dz, carry;
};
template <class V>
GRUFAST_INLINE GruGradients<V> gru_gradients(const V& dh, const Activated<V>& n,
                                             const Activated<V>& z, const V& h) {
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

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        constexpr Index lanes = V::lanes;
        const V q = a[2], x = load(u.slots), h = load(u.before[0]);
        if constexpr (kSeparate) {
            const V r = A::gate(u.activation, a[0]);
            const V z = A::gate(u.activation, a[1]);
            const V v = fma(r, q, x);
            store(u.after[0], fma(1 - z, A::state(u.activation, v), z * h));
            if (save) {
                store(u.slots, v);
                store(u.slots + lanes, a[0]);
                store(u.slots + 2 * lanes, a[1]);
                store(u.slots + 3 * lanes, q);
            }
        } else {
            // Two divisions serve three gates: with e_z = exp(-a_z), v = x_n + r q and
            // m = e^2|v| - 1, z = 1 / (1 + e_z) and |n| = m / (m + 2) share the denominator
            // (1 + e_z) (m + 2).
            const V r = 1 / (1 + gate_exp(a[0]));
            const V e_z = gate_exp(a[1]);
            const V v = fma(r, q, x);
            const V m = tanh_expm1(v);
            const V inverse = 1 / ((1 + e_z) * (m + 2));
            const V z = (m + 2) * inverse, m_signed = with_sign_of(m, v);
            store(u.after[0], fma(e_z * m_signed, inverse, h * z));
            if (save) {
                store(u.slots, fma(e_z, m_signed, m_signed) * inverse);
                store(u.slots + lanes, r);
                store(u.slots + 2 * lanes, z);
                store(u.slots + 3 * lanes, q);
            }
        }
    }

    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& dh, const BackwardUnits<V>& u) {
        constexpr Index lanes = V::lanes;
        const Activation* which = u.activation;
        const Activated<V> n = A::saved_state(which, load(u.slots));
        const Activated<V> r = A::saved_gate(which, load(u.slots + lanes));
        const Activated<V> z = A::saved_gate(which, load(u.slots + 2 * lanes));
        const V q = load(u.slots + 3 * lanes);
        const GruGradients<V> g = gru_gradients(dh, n, z, load(u.before[0]));
        store(u.slots, g.dn);
        store(u.slots + lanes, g.dn * q * r.slope);
        store(u.slots + 2 * lanes, g.dz);
        store(u.slots + 3 * lanes, g.dn * r.value);
        store(u.carry[0], g.carry);
    }
};

// Of the forms with the reset before the product, n, r, z being their first slots: the state
// after h, and the gradients, given that of the state (B = 0) or of r h (B = 1).
template <class A, class V>
GRUFAST_INLINE void reset_before_state(const V& a_n, const ForwardUnits<V>& u, const V& h,
                                       bool save) {
    const V saved_z = load(u.slots + 2 * V::lanes);
    const V z = A::saved_gate(u.activation, saved_z).value;
    const V n = A::state(u.activation, a_n);
    store(u.after[0], fma(1 - z, n, z * h));
    if (save) store(u.slots, A::saved(a_n, n));
}
template <class A, int B, class V>
GRUFAST_INLINE void reset_before_gradients(const V& d, const BackwardUnits<V>& u, const V& h) {
    const auto slot_r = u.slots + V::lanes, slot_z = slot_r + V::lanes;
    if constexpr (B == 0) {
        const Activated<V> n = A::saved_state(u.activation, load(u.slots));
        const Activated<V> z = A::saved_gate(u.activation, load(slot_z));
        const GruGradients<V> g = gru_gradients(d, n, z, h);
        store(u.slots, g.dn);
        store(slot_z, g.dz);
        store(u.carry[0], g.carry);
    } else {
        const Activated<V> r = A::saved_gate(u.activation, load(slot_r));
        store(slot_r, d * h * r.slope);
        store(u.carry[0], fma(d, r.value, load(u.carry[0])));
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

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        constexpr Index lanes = V::lanes;
        const V h = load(u.before[0]);
        if constexpr (S == 0) {
            const Two<V> rz = A::gates(u.activation, a[0], a[1]);
            store(u.after[1], rz.first * (kSeparate ? masked(u, h) : h));
            store(u.slots + 2 * lanes, A::saved(a[1], rz.second));
            if (save) store(u.slots + lanes, A::saved(a[0], rz.first));
        } else {
            reset_before_state<A>(a[0], u, h, save);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of r h, which is the product of dn with U_n.
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& d, const BackwardUnits<V>& u) {
        const V h = load(u.before[0]);
        reset_before_gradients<A, B>(B > 0 && kSeparate ? masked(u, d) : d, u, h);
    }
};

}  // namespace
}  // namespace grufast
