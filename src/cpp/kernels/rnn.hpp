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
template <class T>
GRUFAST_INLINE void activate_unit(Activation which, Vec<T> a, T* out, T* slot, bool save) {
    if (!save) return store<T>(out, activation<T>(which, a));
    const Activated<T> unit = activated<T>(which, a);
    store<T>(out, unit.value);
    store<T>(slot, unit.slope);
}

struct SimpleRnn {
    static constexpr CellInfo info = {"simple_rnn",   1, 1, 1, 1, {0}, {0},  1,
                                      {{0, 1, 0, 0}}, 1, 1, 0, 0, {},  true, false};
    static constexpr int back[] = {0};

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        activate_unit<T>(u.activation[0], a[0], u.after[0], u.slots, save);
    }
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> dh, const BackwardUnit<T>& u) {
        store<T>(u.slots, dh * load<T>(u.slots));
        store<T>(u.carry[0], Vec<T>{});
    }
};

struct Jordan {
    static constexpr CellInfo info = {
        "jordan", 1, 2, 2, 1,  {0, -1}, {0, 1}, 2, {{0, 1, 0, 0}, {1, 1, 1, 1}},
        2,        1, 0, 0, {}, true,    false};
    static constexpr int back[] = {0, 1};

    template <int S, class T>
    static GRUFAST_INLINE void forward(const Vec<T>* a, const ForwardUnit<T>& u, bool save) {
        // Stage 0 makes h, which is sequence 1, stage 1 y.
        activate_unit<T>(u.activation[S], a[0], u.after[1 - S], u.slots + S * kLanes<T>, save);
    }
    template <int B, class T>
    static GRUFAST_INLINE void backward(Vec<T> d, const BackwardUnit<T>& u) {
        T* slot = u.slots + (1 - B) * kLanes<T>;
        store<T>(slot, d * load<T>(slot));
        if constexpr (B == 0) store<T>(u.carry[0], Vec<T>{});
    }
};

}  // namespace
}  // namespace grufast
