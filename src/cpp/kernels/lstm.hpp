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

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        constexpr Index lanes = kLanes<T>;
        const Activation* which = u.activation;
        const Vec<T> c = load<T>(u.before[1]);
        Vec<T> a_i = a[0], a_f = a[1], a_o = a[3], i, f, g, o, c_new;
        if constexpr (kPeephole) {
            a_i = fma(load<T>(u.parameters), c, a_i);
            a_f = fma(load<T>(u.parameters + lanes), c, a_f);
            const Two<T> gates = A::template gates<T>(which, a_i, a_f);
            i = gates.first;
            f = gates.second;
            g = A::template state<T>(which, a[2]);
            c_new = fma(f, c, i * g);
            a_o = fma(load<T>(u.parameters + 2 * lanes), c_new, a_o);
            o = A::template gate<T>(which, a_o);
        } else {
            const Two<T> ig = A::template gate_and_state<T>(which, a_i, a[2]);
            const Two<T> fo = A::template gates<T>(which, a_f, a_o);
            i = ig.first;
            g = ig.second;
            f = fo.first;
            o = fo.second;
            c_new = fma(f, c, i * g);
        }
        store<T>(u.after[1], c_new);
        if constexpr (kPeephole) store<T>(u.after[2], c_new);
        store<T>(u.after[0], o * A::template state<T>(which, c_new));
        if (save) {
            store<T>(u.slots, A::template saved<T>(a_i, i));
            store<T>(u.slots + lanes, A::template saved<T>(a_f, f));
            store<T>(u.slots + 2 * lanes, A::template saved<T>(a[2], g));
            store<T>(u.slots + 3 * lanes, A::template saved<T>(a_o, o));
        }
    }

    // c' is computed again, from the same numbers to the same bits.
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> dh, const BackwardUnit<T>& u) {
        constexpr Index lanes = kLanes<T>;
        const Activation* which = u.activation;
        const Activated<T> i = A::template saved_gate<T>(which, load<T>(u.slots));
        const Activated<T> f = A::template saved_gate<T>(which, load<T>(u.slots + lanes));
        const Activated<T> g = A::template saved_state<T>(which, load<T>(u.slots + 2 * lanes));
        const Activated<T> o = A::template saved_gate<T>(which, load<T>(u.slots + 3 * lanes));
        const Vec<T> c = load<T>(u.before[1]);
        const Vec<T> c_new = fma(f.value, c, i.value * g.value);
        const Activated<T> s = A::template state_and_slope<T>(which, c_new);
        const Vec<T> d_o = dh * s.value * o.slope;
        Vec<T> dc = fma(dh * o.value, s.slope, load<T>(u.carry[1]));
        if constexpr (kPeephole) dc = fma(d_o, load<T>(u.parameters + 2 * lanes), dc);
        const Vec<T> d_i = dc * g.value * i.slope, d_f = dc * c * f.slope;
        Vec<T> carry = dc * f.value;
        if constexpr (kPeephole) {
            carry = fma(d_i, load<T>(u.parameters), carry);
            carry = fma(d_f, load<T>(u.parameters + lanes), carry);
        }
        store<T>(u.slots, d_i);
        store<T>(u.slots + lanes, d_f);
        store<T>(u.slots + 2 * lanes, dc * i.value * g.slope);
        store<T>(u.slots + 3 * lanes, d_o);
        store<T>(u.carry[0], Vec<T>{});
        store<T>(u.carry[1], carry);
    }
};

}  // namespace
}  // namespace grufast
