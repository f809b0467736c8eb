// Activations by the names that the field has for them, and their slopes (derivatives), from
// the pre-activation a:
//   linear        a
//   tanh          tanh a
//   sigmoid       1 / (1 + e^-a)
//   relu          max(a, 0)
//   hard_sigmoid  min(max(a + 3, 0), 6) / 6
//   softsign      a / (1 + |a|)
//   elu           a where a > 0, else e^a - 1
//   gelu          a Phi(a), Phi the normal distribution: Hendrycks & Gimpel 2016, arXiv
//                 1606.08415
//   swish         a sigmoid(a)
//   softplus      log(1 + e^a)
// NaN stays NaN; at infinities the values are what the formulas give (NaN for softsign, and for
// gelu and swish at -inf), the slopes their limits. Exponentials below e^-exp_limit count as 0.
#pragma once

#include "math.hpp"

namespace grufast {
namespace {

template <class V>
struct Activated {
    V value, slope;
};

// e^-|a|.
template <class T>
GRUFAST_INLINE Vec<T> decay(Vec<T> a) {
    const Vec<T> size = absolute<T>(a), limit = splat<T>(ExpConstants<T>::exp_limit);
    const Vec<T> e = exp(One<T>(-at_most(size, limit)));
    return size > limit ? Vec<T>{} : e;
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
GRUFAST_INLINE Activated<Vec<T>> elu(Vec<T> a) {
    const Vec<T> low = splat<T>(-ExpConstants<T>::exp_limit);
    const One<T> below = at_most(at_least(a, low), Vec<T>{});
    const Vec<T> less = expm1(below), power = exp(below);
    return {a > 0 ? a : less, a > 0 ? splat<T>(1) : power};
}

// Phi(-t) = e^(-t^2 / 2) u P(w), t >= 0, u = 4 / (4 + t) and w = 2 u - 1: a Chebyshev fit
// (mpmath) of what is left, which is smooth up to t = inf; relative error float 1e-8, double
// 1e-16.
template <class T>
constexpr T kNormalTail[] = {0};
template <>
constexpr float kNormalTail<float>[] = {3.933014239614607300e-5f, 3.233142033518819376e-5f,
                                        -3.909467247066402e-4f,   -8.690419737272307e-4f,
                                        1.878057845437891294e-3f, 1.509882396748922744e-2f,
                                        4.663167771793124539e-2f, 9.678439072771227865e-2f,
                                        0.1519741009536588574f,   0.18882128178389639316f};
template <>
constexpr double kNormalTail<double>[] = {
    2.9994455078285958644e-11, -4.2216442416973633982e-10, 1.4684066912381275668e-10,
    4.0168467393327305076e-9,  -4.4612319432432334026e-9,  -1.9695900856735008579e-8,
    3.9943490355595116024e-8,  6.6183432049497931601e-8,   -2.5619627541381680696e-7,
    -1.5623877693913047695e-7, 1.4804027614809929349e-6,   1.7865053828168709037e-7,
    -8.7862779757094123161e-6, -4.7691900767977472162e-7,  5.7773754340693564374e-5,
    3.3336052290036948243e-5,  -4.0770461685247711531e-4,  -8.6992308916287565475e-4,
    1.8850472418465781387e-3,  1.5099143722590229612e-2,   4.6630464489909153038e-2,
    9.6784350185556650454e-2,  0.15197416049297307492,     0.18882128260393786287};

template <class T>
GRUFAST_INLINE Activated<Vec<T>> gelu(Vec<T> a) {
    const Vec<T> t = absolute<T>(a), u = 4 / (4 + t), w = 2 * u - 1;
    Vec<T> p = splat<T>(kNormalTail<T>[0]);
    constexpr int terms = sizeof kNormalTail<T> / sizeof kNormalTail<T>[0];
#pragma GCC unroll 32
    for (int i = 1; i < terms; ++i) p = fma(p, w, splat<T>(kNormalTail<T>[i]));
    const Vec<T> e = decay<T>(t * t / 2), tail = e * u * p;
    const Vec<T> phi = a < 0 ? tail : 1 - tail;
    const Vec<T> c = clamp<T>(a, 64);  // e is zero behind that
    return {a * phi, fma(c * splat<T>(T(0.39894228040143267794)), e, phi)};  // 1 / sqrt(2 pi)
}

template <class T>
GRUFAST_INLINE Activated<Vec<T>> swish(Vec<T> a) {
    const Logistic<T> s = logistic<T>(a);
    const Vec<T> c = clamp<T>(a, ExpConstants<T>::exp_limit);
    return {a * s.value, fma(c, s.value * s.rest, s.value)};
}

template <class T>
GRUFAST_INLINE Vec<T> softplus(Vec<T> a) {
    return at_least(a, Vec<T>{}) + Vec<T>(log1p(One<T>(decay<T>(a))));
}

template <class T>
GRUFAST_INLINE Vec<T> activation(Activation which, Vec<T> a) {
    switch (which) {
        case kTanh:
            return tanh(One<T>(a));
        case kSigmoid:
            return sigmoid(One<T>(a));
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
GRUFAST_INLINE Activated<Vec<T>> activated(Activation which, Vec<T> a) {
    const Vec<T> one = splat<T>(1), zero = {};
    switch (which) {
        case kTanh: {
            const Vec<T> y = tanh(One<T>(a));
            return {y, 1 - y * y};
        }
        case kSigmoid: {
            const Vec<T> y = sigmoid(One<T>(a));
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
            return dy *
                   -Vec<T>(expm1(One<T>(-at_most(y, splat<T>(ExpConstants<T>::exp_limit)))));
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
