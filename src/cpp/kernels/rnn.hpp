// The simple recurrent networks of Elman 1990 and Jordan 1986:
//   Elman:  h' = act(W x + b + U h)
//   Jordan: h = act(W x + b + U y),  y' = act_y(V h + c)
// Jordan's state is y; row blocks of its weight_hh are U and V, both as large as the larger of
// the two layers needs, the rest being zero.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

// What one unit layer saves is its slope.
template <class V, class P>
GRUFAST_INLINE void activate_unit(const Activation* which, const V& a, const P& out,
                                  const P& slot, bool save) {
    if (!save) return store(out, Chosen::state(which, a));
    const Activated<V> unit = Chosen::state_and_slope(which, a);
    store(out, unit.value);
    store(slot, unit.slope);
}

struct SimpleRnn {
    static constexpr CellInfo info = {"simple_rnn",   1, 1, 1, 1, {0}, {0},  1,
                                      {{0, 1, 0, 0}}, 1, 1, 0, 0, {},  true, false};
    static constexpr int back[] = {0};

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        activate_unit(u.activation, a[0], u.after[0], u.slots, save);
    }
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& dh, const BackwardUnits<V>& u) {
        store(u.slots, dh * load(u.slots));
        store(u.carry[0], V(0));
    }
};

struct Jordan {
    static constexpr CellInfo info = {
        "jordan", 1, 2, 2, 1,  {0, -1}, {0, 1}, 2, {{0, 1, 0, 0}, {1, 1, 1, 1}},
        2,        1, 0, 0, {}, true,    false};
    static constexpr int back[] = {0, 1};

    template <int S, class V>
    static GRUFAST_INLINE void forward(const V* a, const ForwardUnits<V>& u, bool save) {
        // Stage 0 makes h, which is sequence 1, stage 1 y.
        activate_unit(u.activation + S, a[0], u.after[1 - S], u.slots + S * V::lanes, save);
    }
    template <int B, class V>
    static GRUFAST_INLINE void backward(const V& d, const BackwardUnits<V>& u) {
        const auto slot = u.slots + (1 - B) * V::lanes;
        store(slot, d * load(slot));
        if constexpr (B == 0) store(u.carry[0], V(0));
    }
};

}  // namespace
}  // namespace grufast
