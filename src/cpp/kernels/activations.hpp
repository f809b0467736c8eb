// Activations by the names that the field has for them, and their slopes (derivatives), from
// the pre-activation a:
//   linear        a
//   tanh          tanh a
//   sigmoid       1 / (1 + e^-a)
//   relu          max(a, 0)
//   hard_sigmoid  min(max(a + 3, 0), 6) / 6
//   softsign      a / (1 + |a|)
//   elu           a where a > 0, else e^a - 1
//   gelu          a sigmoid(2 sqrt(2 / pi) (a + 0.044715 a^3)): Hendrycks & Gimpel 2016,
//                 arXiv 1606.08415, in the form with tanh, 2 sigmoid(2 u) - 1 being tanh u
//   swish         a sigmoid(a)
//   softplus      log(1 + e^a)
// NaN stays NaN; at infinities the values are what the formulas give (NaN for softsign, and for
// gelu and swish at -inf), the slopes their limits. Exponentials below e^-exp_limit count as 0.
#pragma once

#include "math.hpp"

namespace grufast {
namespace {

template <class T>
struct Activated {
    Vec<T> value, slope;
};

// e^-|a|.
template <class T>
GRUFAST_INLINE Vec<T> decay(Vec<T> a) {
    const Vec<T> size = absolute<T>(a), limit = splat<T>(ExpConstants<T>::exp_limit);
    return size > limit ? Vec<T>{} : exp<T>(-at_most(size, limit));
}

// sigmoid(a) and 1 - sigmoid(a), each to full relative accuracy.
template <class T>
struct Logistic {
    Vec<T> value, rest;
};
template <class T>
GRUFAST_INLINE Logistic<T> logistic(Vec<T> a) {
    const Vec<T> e = decay<T>(a), large = 1 / (1 + e), small = e * large;
    return {a < 0 ? small : large, a < 0 ? large : small};
}

template <class T>
GRUFAST_INLINE Vec<T> clamp(Vec<T> a, T limit) {
    return at_most(at_least(a, splat<T>(-limit)), splat<T>(limit));
}

template <class T>
GRUFAST_INLINE Activated<T> elu(Vec<T> a) {
    const Vec<T> low = splat<T>(-ExpConstants<T>::exp_limit);
    const ExpParts<T> e = exp_parts<T>(at_most(at_least(a, low), Vec<T>{}));
    return {a > 0 ? a : fma(e.scale, e.q, e.scale - 1),
            a > 0 ? splat<T>(1) : fma(e.scale, e.q, e.scale)};
}

template <class T>
GRUFAST_INLINE Activated<T> gelu(Vec<T> a) {
    const Vec<T> c = clamp<T>(a, 32), square = c * c;  // the sigmoid is 0 or 1 behind that
    const Vec<T> factor = splat<T>(T(1.5957691216057307118));  // 2 sqrt(2 / pi)
    const Vec<T> cubic = splat<T>(T(0.044715)), one = splat<T>(1);
    const Logistic<T> s = logistic<T>(c * factor * fma(cubic, square, one));
    const Vec<T> inner_slope = factor * fma(3 * cubic, square, one);
    return {a * s.value, fma(c * inner_slope, s.value * s.rest, s.value)};
}

template <class T>
GRUFAST_INLINE Activated<T> swish(Vec<T> a) {
    const Logistic<T> s = logistic<T>(a);
    const Vec<T> c = clamp<T>(a, ExpConstants<T>::exp_limit);
    return {a * s.value, fma(c, s.value * s.rest, s.value)};
}

template <class T>
GRUFAST_INLINE Vec<T> softplus(Vec<T> a) {
    return at_least(a, Vec<T>{}) + log1p<T>(decay<T>(a));
}

template <class T>
GRUFAST_INLINE Vec<T> activation(Activation which, Vec<T> a) {
    switch (which) {
        case kTanh:
            return tanh<T>(a);
        case kSigmoid:
            return sigmoid<T>(a);
        case kRelu:
            return at_least(a, Vec<T>{});
        case kHardSigmoid:
            return at_most(at_least(a + 3, Vec<T>{}), splat<T>(6)) / 6;
        case kSoftsign:
            return a / (1 + absolute<T>(a));
        case kElu:
            return elu<T>(a).value;
        case kGelu:
            return gelu<T>(a).value;
        case kSwish:
            return swish<T>(a).value;
        case kSoftplus:
            return softplus<T>(a);
        case kLinear:
        case kActivationCount:
            break;
    }
    return a;
}

template <class T>
GRUFAST_INLINE Activated<T> activated(Activation which, Vec<T> a) {
    const Vec<T> one = splat<T>(1), zero = {};
    switch (which) {
        case kTanh: {
            const Vec<T> y = tanh<T>(a);
            return {y, 1 - y * y};
        }
        case kSigmoid: {
            const Vec<T> y = sigmoid<T>(a);
            return {y, y * (1 - y)};
        }
        case kRelu:
            return {at_least(a, zero), a > 0 ? one : zero};
        case kHardSigmoid:
            return {activation<T>(which, a), absolute<T>(a) < 3 ? one / 6 : zero};
        case kSoftsign: {
            const Vec<T> inverse = 1 / (1 + absolute<T>(a));
            return {activation<T>(which, a), inverse * inverse};
        }
        case kElu:
            return elu<T>(a);
        case kGelu:
            return gelu<T>(a);
        case kSwish:
            return swish<T>(a);
        case kSoftplus:
            return {softplus<T>(a), logistic<T>(a).value};
        case kLinear:
        case kActivationCount:
            break;
    }
    return {a, one};
}

// The gradient for a, given the value's and what keeps_input says: a or the value.
template <class T>
GRUFAST_INLINE Vec<T> activation_gradient(Activation which, Vec<T> kept, Vec<T> dy) {
    const Vec<T> y = kept, zero = {};
    switch (which) {
        case kTanh:
            return dy * (1 - y * y);
        case kSigmoid:
            return dy * (y * (1 - y));
        case kRelu:
            return y > 0 ? dy : zero;
        case kHardSigmoid:
            return y > 0 ? (y < 1 ? dy / 6 : zero) : zero;
        case kSoftsign: {
            const Vec<T> inverse = 1 - absolute<T>(y);
            return dy * (inverse * inverse);
        }
        case kElu:
            return y > 0 ? dy : dy * (y + 1);
        case kSoftplus:
            return dy * -expm1<T>(-at_most(y, splat<T>(ExpConstants<T>::exp_limit)));
        case kGelu:
        case kSwish:
            return dy * activated<T>(which, kept).slope;
        case kLinear:
        case kActivationCount:
            break;
    }
    return dy;
}

}  // namespace
}  // namespace grufast
