// What a cell's formula sees, and the activations it may have.
#pragma once

#include "activations.hpp"

namespace grufast {
namespace {

// Rows' vectors of units.
template <class V>
struct ForwardUnits {
    using T = typename V::Scalar;
    Places<T, V::size> slots;  // in: x's products; out, when saving: the cell's choice
    Places<const T, V::size> before[kMaxSequences];  // the sequences before and after this step
    Places<T, V::size> after[kMaxSequences];
    Places<const T, V::size> parameters;
    const Activation* activation;
    Places<const T, V::size> mask;  // of the state in products; null: none
};
template <class V>
struct BackwardUnits {
    using T = typename V::Scalar;
    Places<T, V::size> slots;  // in: what forward saved; out: gradients
    Places<const T, V::size> before[kMaxSequences];
    Places<T, V::size> carry[kMaxStates];
    Places<const T, V::size> parameters;
    const Activation* activation;
    Places<const T, V::size> mask;
};

// The state as products take it.
template <class V, class U>
GRUFAST_INLINE V masked(const U& u, const V& h) {
    return u.mask.at[0] ? h * load(u.mask) : h;
}

template <class V>
struct Two {
    V first, second;
};

// The logistic function and tanh: values are saved, and their slopes follow from them.
struct Usual {
    template <class V>
    static GRUFAST_INLINE V gate(const Activation*, const V& a) {
        return sigmoid(a);
    }
    template <class V>
    static GRUFAST_INLINE V state(const Activation*, const V& a) {
        return tanh(a);
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> state_and_slope(const Activation*, const V& a) {
        return saved_state<V>(nullptr, tanh(a));
    }
    // With one division.
    template <class V>
    static GRUFAST_INLINE Two<V> gates(const Activation*, const V& a, const V& b) {
        const V one_e_a = 1 + gate_exp(a), one_e_b = 1 + gate_exp(b);
        const V inverse = 1 / (one_e_a * one_e_b);
        return {one_e_b * inverse, one_e_a * inverse};
    }
    template <class V>
    static GRUFAST_INLINE Two<V> gate_and_state(const Activation*, const V& a, const V& b) {
        const V one_e = 1 + gate_exp(a), m = tanh_expm1(b);
        const V inverse = 1 / (one_e * (m + 2));
        return {(m + 2) * inverse, with_sign_of(one_e * m * inverse, b)};
    }
    template <class V>
    static GRUFAST_INLINE V saved(const V&, const V& value) {
        return value;
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> saved_gate(const Activation*, const V& v) {
        return {v, v * (1 - v)};
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> saved_state(const Activation*, const V& v) {
        return {v, 1 - v * v};
    }
};

// Any: arguments are saved, and backward computes values and slopes from them. A vector at a
// time, which keeps the code for all of them small.
struct Chosen {
    template <class V>
    static GRUFAST_INLINE V gate(const Activation* which, const V& a) {
        return activation<typename V::Scalar>(which[1], a);
    }
    template <class V>
    static GRUFAST_INLINE V state(const Activation* which, const V& a) {
        return activation<typename V::Scalar>(which[0], a);
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> state_and_slope(const Activation* which, const V& a) {
        const auto found = activated<typename V::Scalar>(which[0], a);
        return {found.value, found.slope};
    }
    template <class V>
    static GRUFAST_INLINE Two<V> gates(const Activation* which, const V& a, const V& b) {
        return {gate(which, a), gate(which, b)};
    }
    template <class V>
    static GRUFAST_INLINE Two<V> gate_and_state(const Activation* which, const V& a,
                                                const V& b) {
        return {gate(which, a), state(which, b)};
    }
    template <class V>
    static GRUFAST_INLINE V saved(const V& sum, const V&) {
        return sum;
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> saved_gate(const Activation* which, const V& a) {
        return state_and_slope(which + 1, a);
    }
    template <class V>
    static GRUFAST_INLINE Activated<V> saved_state(const Activation* which, const V& a) {
        return state_and_slope(which, a);
    }
};

}  // namespace
}  // namespace grufast
