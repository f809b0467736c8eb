// Long short-term memory, with or without peepholes:
//   i = sigmoid(W_i x + U_i h + b_i + p_i c)      f likewise
//   g = tanh(W_g x + U_g h + b_g)
//   c' = f c + i g
//   o = sigmoid(W_o x + U_o h + b_o + p_o c')
//   h' = o tanh(c')
// Row blocks of the weights are i, f, g, o, those of the peepholes i, f, o. Hochreiter and
// Schmidhuber 1997; Gers et al. 2000; Gers and Schmidhuber 2000.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

// Slots: i, f, g, o. Sequence 1 is c; with peepholes sequence 2 is c' as o sees it, before
// zoneout or a reset changes the state.
template <class A, bool kPeephole, bool kSeparate>
struct LstmOf {
    static constexpr CellInfo info = {kPeephole   ? "lstm_peephole"
                                      : kSeparate ? "lstm_chosen"
                                                  : "lstm",
                                      4,
                                      4,
                                      4,
                                      4,
                                      {0, 1, 2, 3},
                                      {0, 1, 2, 3},
                                      1,
                                      {{0, 4, 0, 0}},
                                      kPeephole ? 3 : 2,
                                      2,
                                      kPeephole ? 3 : 0,
                                      kPeephole ? 3 : 0,
                                      {{0, 1, 0}, {1, 1, 0}, {3, 2, 1}},
                                      kSeparate,
                                      false};
    static constexpr int back[] = {0};

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        constexpr Index lanes = V::lanes;
        const Activation* which = u.activation;
        const V c = load(u.before[1]);
        V a_i = a[0], a_f = a[1], a_o = a[3], i, f, g, o, c_new;
        if constexpr (kPeephole) {
            a_i = fma(load(u.parameters), c, a_i);
            a_f = fma(load(u.parameters + lanes), c, a_f);
            const Two<V> gates = A::gates(which, a_i, a_f);
            i = gates.first;
            f = gates.second;
            g = A::state(which, a[2]);
            c_new = fma(f, c, i * g);
            a_o = fma(load(u.parameters + 2 * lanes), c_new, a_o);
            o = A::gate(which, a_o);
        } else {
            const Two<V> ig = A::gate_and_state(which, a_i, a[2]);
            const Two<V> fo = A::gates(which, a_f, a_o);
            i = ig.first;
            g = ig.second;
            f = fo.first;
            o = fo.second;
            c_new = fma(f, c, i * g);
        }
        store(u.after[1], c_new);
        if constexpr (kPeephole) store(u.after[2], c_new);
        store(u.after[0], o * A::state(which, c_new));
        if (save) {
            store(u.slots, A::saved(a_i, i));
            store(u.slots + lanes, A::saved(a_f, f));
            store(u.slots + 2 * lanes, A::saved(a[2], g));
            store(u.slots + 3 * lanes, A::saved(a_o, o));
        }
    }

    // c' is computed again, from the same numbers to the same bits.
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& dh, const BackwardUnits<V>& u) {
        constexpr Index lanes = V::lanes;
        const Activation* which = u.activation;
        const Activated<V> i = A::saved_gate(which, load(u.slots));
        const Activated<V> f = A::saved_gate(which, load(u.slots + lanes));
        const Activated<V> g = A::saved_state(which, load(u.slots + 2 * lanes));
        const Activated<V> o = A::saved_gate(which, load(u.slots + 3 * lanes));
        const V c = load(u.before[1]);
        const V c_new = fma(f.value, c, i.value * g.value);
        const Activated<V> s = A::state_and_slope(which, c_new);
        const V d_o = dh * s.value * o.slope;
        V dc = fma(dh * o.value, s.slope, load(u.carry[1]));
        if constexpr (kPeephole) dc = fma(d_o, load(u.parameters + 2 * lanes), dc);
        const V d_i = dc * g.value * i.slope, d_f = dc * c * f.slope;
        V carry = dc * f.value;
        if constexpr (kPeephole) {
            carry = fma(d_i, load(u.parameters), carry);
            carry = fma(d_f, load(u.parameters + lanes), carry);
        }
        store(u.slots, d_i);
        store(u.slots + lanes, d_f);
        store(u.slots + 2 * lanes, dc * i.value * g.slope);
        store(u.slots + 3 * lanes, d_o);
        store(u.carry[0], V(0));
        store(u.carry[1], carry);
    }
};

}  // namespace
}  // namespace grufast
