// exp, logistic and tanh on groups of vectors. Method: Cody-Waite reduction x = n ln 2 + r, |r|
// <= ln 2 / 2, and e^r = 1 + r + r^2 P(r), P a Chebyshev fit of (e^r - 1 - r) / r^2 on that
// interval (mpmath.chebyfit; error of e^r: float 8e-9, double 1.3e-17).
#pragma once

#include "group.hpp"

namespace grufast {
namespace {

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
    static constexpr float log2_e = 1.44269504088896341f;
    static constexpr float ln2_high = 0.693359375f;  // few bits: n * ln2_high is exact
    static constexpr float ln2_low = -2.12194440054690583e-4f;
    static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    static constexpr int shift = 23;
    static constexpr float poly[] = {1.3926183587713494542e-3f, 8.3631790527225773704e-3f,
                                     0.041666554617204574203f, 0.16666576989698775683f, 0.5f};
    static constexpr float gate_limit = 41.0f;  // e^41 (e^20 + 1) is finite
    static constexpr float tanh_limit = 20.0f;  // tanh(10) rounds to 1
    static constexpr float exp_limit = 87.0f;   // 2^n stays normal
};
template <>
struct ExpConstants<double> {
    static constexpr double log2_e = 1.44269504088896340736;
    static constexpr double ln2_high = 6.93145751953125e-1;
    static constexpr double ln2_low = 1.42860682030941723212e-6;
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr int shift = 52;
    static constexpr double poly[] = {2.5100385495510319078e-8, 2.7620088445409748161e-7,
                                      2.7557268459997064772e-6, 2.4801521295954375131e-5,
                                      1.9841269863053616878e-4, 1.3888888917213716901e-3,
                                      8.3333333333300618325e-3, 4.1666666666624127873e-2,
                                      0.16666666666666667453,   0.50000000000000010221};
    static constexpr double gate_limit = 340.0;
    static constexpr double tanh_limit = 40.0;
    static constexpr double exp_limit = 708.0;
};

// e^x = scale * (1 + q), |x| <= exp_limit.
template <class V>
struct ExpParts {
    V scale, q;
};
template <class V>
GRUFAST_INLINE ExpParts<V> exp_parts(const V& x) {
    using T = typename V::Scalar;
    using K = ExpConstants<T>;
    const V round = K::round;
    const V shifted = fma(x, K::log2_e, round);
    const V n = shifted - round;
    V r = fma(n, -K::ln2_high, x);
    r = fma(n, -K::ln2_low, r);
    V p = K::poly[0];
    constexpr int terms = sizeof K::poly / sizeof K::poly[0];
#pragma GCC unroll 16
    for (int i = 1; i < terms; ++i) p = fma(p, r, K::poly[i]);
    // The low bits of `shifted` are n; moved up they are the exponent of 2^n.
    const Bits<T> one = bits_of<T>(splat<T>(1));
    const V scale = V::of([&](int i) GRUFAST_ALWAYS {
        return from_bits<T>((bits_of<T>(shifted.v[i]) << K::shift) + one);
    });
    return {scale, fma(r * r, p, r)};
}
template <class V>
GRUFAST_INLINE V exp(const V& x) {
    const ExpParts<V> e = exp_parts(x);
    return fma(e.scale, e.q, e.scale);
}
// e^x - 1 with full relative accuracy near 0.
template <class V>
GRUFAST_INLINE V expm1(const V& x) {
    const ExpParts<V> e = exp_parts(x);
    return fma(e.scale, e.q, e.scale - 1);
}
// log(1 + x), 0 <= x <= 1: twice the area tangent of s = x / (2 + x) <= 1/3 by its power
// series, cut where the rest is below a tenth of a rounding error.
template <class V>
GRUFAST_INLINE V log1p(const V& x) {
    using T = typename V::Scalar;
    constexpr int terms = sizeof(T) == 4 ? 7 : 16;  // 2 s^3 / 3 is the first
    const V s = x / (2 + x), square = s * s;
    V p = 0;
#pragma GCC unroll 16
    for (int i = terms; i > 0; --i) p = fma(p, square, T(2) / static_cast<T>(2 * i + 1));
    return fma(s * square, p, s + s);
}

// e^-a as the gates use it: clamped so that products of two stay finite.
template <class V>
GRUFAST_INLINE V gate_exp(const V& a) {
    constexpr auto limit = ExpConstants<typename V::Scalar>::gate_limit;
    return exp(-at_most(at_least(a, -limit), limit));
}
// m = e^2|u| - 1, so that |tanh u| = m / (m + 2): on |u|, so that tanh is odd to the bit.
template <class V>
GRUFAST_INLINE V tanh_expm1(const V& u) {
    return expm1(at_most(absolute(u + u), ExpConstants<typename V::Scalar>::tanh_limit));
}

template <class V>
GRUFAST_INLINE V sigmoid(const V& a) {
    constexpr auto limit = ExpConstants<typename V::Scalar>::exp_limit;
    return 1 / (1 + exp(-at_most(at_least(a, -limit), limit)));
}
template <class V>
GRUFAST_INLINE V tanh(const V& u) {
    const V m = tanh_expm1(u);
    return with_sign_of(m / (m + 2), u);
}

}  // namespace
}  // namespace grufast
