// What a cell's formula sees, and the activations it may have.
#pragma once

#include "activations.hpp"

namespace grufast {
namespace {

// One row's vector of units.
template <class T>
struct ForwardUnit {
    T* slots;                        // in: x's products; out, when saving: the cell's choice
    const T* before[kMaxSequences];  // the sequences before and after this step
    T* after[kMaxSequences];
    const T* parameters;
    const Activation* activation;
    const T* mask;  // of the state in products; null: none
};
template <class T>
struct BackwardUnit {
    T* slots;  // in: what forward saved; out: gradients
    const T* before[kMaxSequences];
    T* carry[kMaxStates];
    const T* parameters;
    const Activation* activation;
    const T* mask;
};

// The state as products take it.
template <class T, class U>
GRUFAST_INLINE Vec<T> masked(const U& u, Vec<T> h) {
    return u.mask ? h * load<T>(u.mask) : h;
}

template <class T>
struct Two {
    Vec<T> first, second;
};

// The logistic function and tanh: values are saved, and their slopes follow from them.
struct Usual {
    template <class T>
    static GRUFAST_INLINE Vec<T> gate(const Activation*, Vec<T> a) {
        return sigmoid<T>(a);
    }
    template <class T>
    static GRUFAST_INLINE Vec<T> state(const Activation*, Vec<T> a) {
        return tanh<T>(a);
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> state_and_slope(const Activation*, Vec<T> a) {
        return saved_state<T>(nullptr, tanh<T>(a));
    }
    // With one division.
    template <class T>
    static GRUFAST_INLINE Two<T> gates(const Activation*, Vec<T> a, Vec<T> b) {
        const Vec<T> one_e_a = 1 + gate_exp<T>(a), one_e_b = 1 + gate_exp<T>(b);
        const Vec<T> inverse = 1 / (one_e_a * one_e_b);
        return {one_e_b * inverse, one_e_a * inverse};
    }
    template <class T>
    static GRUFAST_INLINE Two<T> gate_and_state(const Activation*, Vec<T> a, Vec<T> b) {
        const Vec<T> one_e = 1 + gate_exp<T>(a), m = tanh_expm1<T>(b);
        const Vec<T> inverse = 1 / (one_e * (m + 2));
        return {(m + 2) * inverse, with_sign_of<T>(one_e * m * inverse, b)};
    }
    template <class T>
    static GRUFAST_INLINE Vec<T> saved(Vec<T>, Vec<T> value) {
        return value;
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> saved_gate(const Activation*, Vec<T> v) {
        return {v, v * (1 - v)};
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> saved_state(const Activation*, Vec<T> v) {
        return {v, 1 - v * v};
    }
};

// Any: arguments are saved, and backward computes values and slopes from them.
struct Chosen {
    template <class T>
    static GRUFAST_INLINE Vec<T> gate(const Activation* which, Vec<T> a) {
        return activation<T>(which[1], a);
    }
    template <class T>
    static GRUFAST_INLINE Vec<T> state(const Activation* which, Vec<T> a) {
        return activation<T>(which[0], a);
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> state_and_slope(const Activation* which, Vec<T> a) {
        return activated<T>(which[0], a);
    }
    template <class T>
    static GRUFAST_INLINE Two<T> gates(const Activation* which, Vec<T> a, Vec<T> b) {
        return {gate<T>(which, a), gate<T>(which, b)};
    }
    template <class T>
    static GRUFAST_INLINE Two<T> gate_and_state(const Activation* which, Vec<T> a, Vec<T> b) {
        return {gate<T>(which, a), state<T>(which, b)};
    }
    template <class T>
    static GRUFAST_INLINE Vec<T> saved(Vec<T> sum, Vec<T>) {
        return sum;
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> saved_gate(const Activation* which, Vec<T> a) {
        return activated<T>(which[1], a);
    }
    template <class T>
    static GRUFAST_INLINE Activated<T> saved_state(const Activation* which, Vec<T> a) {
        return activated<T>(which[0], a);
    }
};

}  // namespace
}  // namespace grufast
