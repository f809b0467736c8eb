// Transposition, a square of vectors at a time: between the rows of weights and panels.
#pragma once

#include <utility>

#include "simd.hpp"

namespace grufast {
namespace {

// a0 b0 a1 b1 ... from the first halves of a and b, or from the second ones.
template <class T, std::size_t First, std::size_t... I>
GRUFAST_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, (First + I / 2 + I % 2 * sizeof...(I))...);
}

// Row i and column j change places when the bits of (i, j) have turned by half their number;
// each pass turns them by one.
template <class T>
GRUFAST_INLINE void transpose_square(Vec<T> (&v)[kLanes<T>]) {
    constexpr int N = kLanes<T>;
    constexpr std::make_index_sequence<N> all{};
#pragma GCC unroll 4
    for (int pass = 1; pass < N; pass *= 2) {
        Vec<T> w[N];
#pragma GCC unroll 16
        for (int i = 0; i < N / 2; ++i) {
            w[2 * i] = interleave<T, 0>(v[i], v[i + N / 2], all);
            w[2 * i + 1] = interleave<T, N / 2>(v[i], v[i + N / 2], all);
        }
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) v[i] = w[i];
    }
}

template <class T>
void transpose(const Transpose<T>& t) noexcept {
    constexpr Index lanes = kLanes<T>;
    for (Index row = 0; row < t.rows; row += lanes) {
        for (Index column = 0; column < t.columns; column += lanes) {
            const Index rows = t.rows - row, columns = t.columns - column;
            const T* from = t.from + row * t.from_row + column;
            T* to = t.to + column * t.to_row + row;
            Vec<T> v[lanes];
#pragma GCC unroll 16
            for (Index i = 0; i < lanes; ++i) {
                v[i] = i < rows ? load_part<T>(from + i * t.from_row, columns) : Vec<T>{};
            }
            transpose_square<T>(v);
#pragma GCC unroll 16
            for (Index i = 0; i < lanes; ++i) {
                if (i < columns) {
                    store_part<T>(to + i * t.to_row, v[i], t.whole_vectors ? lanes : rows);
                }
            }
        }
    }
}

}  // namespace
}  // namespace grufast
