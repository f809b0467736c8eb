// The gated recurrent unit, both reset forms, in PyTorch's convention:
//   r = sigmoid(W_r x + b_ir + U_r h + b_hr)
//   z = sigmoid(W_z x + b_iz + U_z h + b_hz)
//   reset after:  n = tanh(W_n x + b_in + r (U_n h + b_hn))
//   reset before: n = tanh(W_n x + b_in + U_n (r h) + b_hn)
//   h' = (1 - z) n + z h
// Row blocks of the weights are r, z, n. Cho et al. 2014, arXiv 1406.1078.
#pragma once

#include "math.hpp"
#include "recurrent.hpp"

namespace grufast {
namespace {

// The gradients that both forms share.
template <class T>
struct GruGradients {
    Vec<T> dn, dz, carry;
};
template <class T>
GRUFAST_INLINE GruGradients<T> gru_gradients(Vec<T> dh, Vec<T> n, Vec<T> z, Vec<T> h) {
    const Vec<T> dh_new = dh * (1 - z);
    return {dh_new * (1 - n * n), dh_new * (h - n) * z, dh * z};
}

// Reset after. Slots: n, r, z, q with q = U_n h + b_hn; as gradients dn, dr, dz, dq. The
// product with x fills n, r, z; the product with h fills r, z, q: two overlapping windows on
// one buffer.
struct Gru {
    static constexpr CellInfo info = {
        "gru", 3, 4, 3, {2, 0, 1, -1}, {-1, 0, 1, 2}, 1, {{1, 3, 0, 0}, {}}, 1};

    // Two divisions serve three gates: with e_z = exp(-a_z), u = x_n + r q and m = e^2|u| - 1,
    // z = 1 / (1 + e_z) and |n| = m / (m + 2) share the denominator (1 + e_z) (m + 2).
    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> q = a[2];
        const Vec<T> r = 1 / (1 + gate_exp<T>(a[0]));
        const Vec<T> e_z = gate_exp<T>(a[1]);
        const Vec<T> v = fma(r, q, load<T>(u.slots));
        const Vec<T> m = tanh_expm1<T>(v);
        const Vec<T> h = load<T>(u.before[0]);
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

    template <int S, class T>
    static GRUFAST_INLINE void backward(Vec<T> dh, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> n = load<T>(u.slots), r = load<T>(u.slots + lanes);
        const Vec<T> z = load<T>(u.slots + 2 * lanes), q = load<T>(u.slots + 3 * lanes);
        const GruGradients<T> g = gru_gradients<T>(dh, n, z, load<T>(u.before[0]));
        const Vec<T> dq = g.dn * r;
        store<T>(u.slots, g.dn);
        store<T>(u.slots + lanes, dq * q * (1 - r));
        store<T>(u.slots + 2 * lanes, g.dz);
        store<T>(u.slots + 3 * lanes, dq);
        store<T>(u.carry[0], g.carry);
    }
};

// Reset before. Slots: n, r, z. The second stage multiplies r h, kept as sequence 1 because the
// gradient of U_n needs it.
struct GruResetBefore {
    static constexpr CellInfo info = {
        "gru_reset_before",           3, 3, 3, {2, 0, 1, -1}, {2, 0, 1, -1}, 2,
        {{1, 2, 0, 0}, {0, 1, 1, 1}}, 2};

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]);
        if constexpr (S == 0) {
            const Vec<T> one_e_r = 1 + gate_exp<T>(a[0]), one_e_z = 1 + gate_exp<T>(a[1]);
            const Vec<T> inverse = 1 / (one_e_r * one_e_z);
            const Vec<T> r = one_e_z * inverse;
            store<T>(u.after[1], r * h);
            store<T>(u.slots + 2 * lanes, one_e_r * inverse);
            if (save) store<T>(u.slots + lanes, r);
        } else {
            const Vec<T> z = load<T>(u.slots + 2 * lanes);
            const Vec<T> n = tanh<T>(a[0]);
            store<T>(u.after[0], fma(1 - z, n, z * h));
            if (save) store<T>(u.slots, n);
        }
    }

    // Stage 0 receives dh, stage 1 the gradient of r h, which is the product of dn with U_n.
    template <int S, class T>
    static GRUFAST_INLINE void backward(Vec<T> d, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Vec<T> h = load<T>(u.before[0]);
        if constexpr (S == 0) {
            const Vec<T> z = load<T>(u.slots + 2 * lanes);
            const GruGradients<T> g = gru_gradients<T>(d, load<T>(u.slots), z, h);
            store<T>(u.slots, g.dn);
            store<T>(u.slots + 2 * lanes, g.dz);
            store<T>(u.carry[0], g.carry);
        } else {
            const Vec<T> r = load<T>(u.slots + lanes);
            store<T>(u.slots + lanes, d * h * r * (1 - r));
            store<T>(u.carry[0], fma(d, r, load<T>(u.carry[0])));
        }
    }
};

}  // namespace
}  // namespace grufast
