// Vectors of the instruction set this object is compiled for, through the compiler's vector
// types. Intrinsics only where the types have no word for it. Everything has internal linkage.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels.hpp"

// Between a lambda's () and {}. Not under sanitizers: their checks in code that is all inlined
// would compile for many minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GRUFAST_ALWAYS
#else
#define GRUFAST_ALWAYS __attribute__((always_inline))
#endif
#define GRUFAST_INLINE inline GRUFAST_ALWAYS

namespace grufast {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kAccumulators = 24;  // of 32 registers; the rest hold weights and a broadcast
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kAccumulators = 12;  // of 16
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kAccumulators = 24;
#else
constexpr int kVectorBytes = 16;
constexpr int kAccumulators = 12;
#endif

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(kVectorBytes)));
    typedef int bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(kVectorBytes)));
    typedef long long bits __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
using Bits = typename VectorOf<T>::bits;

template <class T>
constexpr Index kLanes = kVectorBytes / static_cast<Index>(sizeof(T));

template <class T>
GRUFAST_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
template <class T>
GRUFAST_INLINE void store(T* p, Vec<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}
template <class T>
GRUFAST_INLINE Vec<T> splat(T x) {
    return x - Vec<T>{};  // minus keeps the sign of zero
}

#if defined(__AVX512F__)
template <class Mask>
GRUFAST_INLINE Mask lane_mask(Index n) {
    return static_cast<Mask>((1u << n) - 1u);
}
#elif defined(__AVX2__)
template <class T>
GRUFAST_INLINE Bits<T> lane_mask(Index n) {
    using Lane = decltype(Bits<T>{}[0] + 0);
    Bits<T> lane;
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    return lane < (static_cast<Lane>(n) - Bits<T>{});
}
#endif

// The first n < lanes lanes; the others are zero, and memory behind them is not touched.
template <class T>
GRUFAST_INLINE Vec<T> load_some(const T* p, Index n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(lane_mask<__mmask16>(n), p);
    if constexpr (sizeof(T) == 8) return _mm512_maskz_loadu_pd(lane_mask<__mmask8>(n), p);
#elif defined(__AVX2__)
    const Bits<T> mask = lane_mask<T>(n);
    if constexpr (sizeof(T) == 4) return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(mask));
    if constexpr (sizeof(T) == 8) return _mm256_maskload_pd(p, reinterpret_cast<__m256i>(mask));
#else
    T part[kLanes<T>] = {};
    for (Index i = 0; i < n; ++i) part[i] = p[i];
    return load<T>(part);
#endif
}
template <class T>
GRUFAST_INLINE void store_some(T* p, Vec<T> v, Index n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, lane_mask<__mmask16>(n), v);
    if constexpr (sizeof(T) == 8) _mm512_mask_storeu_pd(p, lane_mask<__mmask8>(n), v);
#elif defined(__AVX2__)
    const Bits<T> mask = lane_mask<T>(n);
    if constexpr (sizeof(T) == 4) _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(mask), v);
    if constexpr (sizeof(T) == 8) _mm256_maskstore_pd(p, reinterpret_cast<__m256i>(mask), v);
#else
    T part[kLanes<T>];
    store<T>(part, v);
    for (Index i = 0; i < n; ++i) p[i] = part[i];
#endif
}

// The first min(n, lanes) lanes.
template <class T>
GRUFAST_INLINE Vec<T> load_part(const T* p, Index n) {
    return n >= kLanes<T> ? load<T>(p) : load_some<T>(p, n);
}
template <class T>
GRUFAST_INLINE void store_part(T* p, Vec<T> v, Index n) {
    if (n >= kLanes<T>) {
        store<T>(p, v);
    } else {
        store_some<T>(p, v, n);
    }
}

// a * b + c, rounded once where the instruction set can; never left to the optimiser, because a
// row's bits must not depend on the tile that computes it.
GRUFAST_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}
GRUFAST_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}
GRUFAST_INLINE Vec<float> sqrt(Vec<float> a) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_ps(0xFFFF, a);  // GCC 12 warns of the plain one
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(a);
#elif defined(__aarch64__)
    return vsqrtq_f32(a);
#else
    return _mm_sqrt_ps(a);
#endif
}
GRUFAST_INLINE Vec<double> sqrt(Vec<double> a) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_pd(0xFF, a);
#elif defined(__AVX2__)
    return _mm256_sqrt_pd(a);
#elif defined(__aarch64__)
    return vsqrtq_f64(a);
#else
    return _mm_sqrt_pd(a);
#endif
}

template <class T>
GRUFAST_INLINE Bits<T> bits_of(Vec<T> v) {
    Bits<T> bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return bits;
}
template <class T>
GRUFAST_INLINE Vec<T> from_bits(Bits<T> bits) {
    Vec<T> v;
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T>
GRUFAST_INLINE Vec<T> absolute(Vec<T> v) {
    return from_bits<T>(bits_of<T>(v) & ~bits_of<T>(splat<T>(T(-0.0))));
}
// |magnitude| must have a clear sign bit.
template <class T>
GRUFAST_INLINE Vec<T> with_sign_of(Vec<T> magnitude, Vec<T> v) {
    return from_bits<T>(bits_of<T>(magnitude) |
                        (bits_of<T>(v) & bits_of<T>(splat<T>(T(-0.0)))));
}

template <class T>
GRUFAST_INLINE double lane_sum(Vec<T> v) {
    T lanes[kLanes<T>];
    store<T>(lanes, v);
    double sum = 0;
    for (int i = 0; i < kLanes<T>; ++i) sum += static_cast<double>(lanes[i]);
    return sum;
}

// a where a > b (a < b), else b, so b where one is NaN; in one instruction on x86.
#if defined(__AVX512F__)  // GCC 12 warns of the plain ones
GRUFAST_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) {
    return _mm512_maskz_max_ps(0xFFFF, a, b);
}
GRUFAST_INLINE Vec<double> larger(Vec<double> a, Vec<double> b) {
    return _mm512_maskz_max_pd(0xFF, a, b);
}
GRUFAST_INLINE Vec<float> smaller(Vec<float> a, Vec<float> b) {
    return _mm512_maskz_min_ps(0xFFFF, a, b);
}
GRUFAST_INLINE Vec<double> smaller(Vec<double> a, Vec<double> b) {
    return _mm512_maskz_min_pd(0xFF, a, b);
}
#elif defined(__AVX2__)
GRUFAST_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
GRUFAST_INLINE Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
GRUFAST_INLINE Vec<float> smaller(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
GRUFAST_INLINE Vec<double> smaller(Vec<double> a, Vec<double> b) { return _mm256_min_pd(a, b); }
#elif defined(__x86_64__)
GRUFAST_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm_max_ps(a, b); }
GRUFAST_INLINE Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm_max_pd(a, b); }
GRUFAST_INLINE Vec<float> smaller(Vec<float> a, Vec<float> b) { return _mm_min_ps(a, b); }
GRUFAST_INLINE Vec<double> smaller(Vec<double> a, Vec<double> b) { return _mm_min_pd(a, b); }
#else
template <class V>
GRUFAST_INLINE V larger(V a, V b) {
    return a > b ? a : b;
}
template <class V>
GRUFAST_INLINE V smaller(V a, V b) {
    return a < b ? a : b;
}
#endif
// NaN in x stays NaN.
template <class V>
GRUFAST_INLINE V at_least(V x, V low) {
    return larger(low, x);
}
template <class V>
GRUFAST_INLINE V at_most(V x, V high) {
    return smaller(high, x);
}

}  // namespace
}  // namespace grufast
