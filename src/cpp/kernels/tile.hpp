// The register tile that every product runs through: R rows by P groups of N vectors.
//
// Each output has one accumulator and k ascends, in every tile. So a row's bits do not depend
// on the rows beside it nor on how the work is split; nothing else is needed for
// reproducibility.
#pragma once

#include "group.hpp"

namespace grufast {
namespace {

// Rows of a tile that is N vectors wide.
template <int N>
constexpr int kTileRows = kAccumulators / N < 8 ? kAccumulators / N : 8;

template <class T, int R, int V>
struct Tile {
    Vec<T> v[R][V];
};

// acc[r][p * N + j] += sum over k of a[r * a_row + k * a_k] * b[p * b_group + k * b_k + j
// lanes]. The unroll pragmas keep the accumulators in registers: without them GCC 12 spills.
template <class T, int R, int P, int N>
GRUFAST_INLINE void accumulate(Tile<T, R, P * N>& acc, const T* a, Index a_row, Index a_k,
                               const T* b, Index b_group, Index b_k, Index size) {
    for (Index k = 0; k < size; ++k) {
        Vec<T> w[P * N];
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j) w[p * N + j] = load<T>(b + p * b_group + j * kLanes<T>);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const Vec<T> x = splat<T>(a[r * a_row]);
#pragma GCC unroll 16
            for (int j = 0; j < P * N; ++j) acc.v[r][j] = fma(x, w[j], acc.v[r][j]);
        }
        a += a_k;
        b += b_k;
    }
}

// Weights of more bytes than this do not all stay in the second cache from step to step.
constexpr Index kFarWeights = 1 << 19;
// Weights of a product of this many full tiles are worth asking for.
constexpr Index kTilesAhead = 4;

// accumulate() for tile `tile` of `tiles`, which go through panel `panel` of [begin, end) in
// turn. Where the weights are far away each asks for its part of the next panel's; otherwise
// the first tile alone would wait for them. 128 rows at H = 512 gain 2 to 7 % in a forward pass
// while others use the third cache, nothing on an idle host (Zen 4); 64 rows at H = 1024 gain 5
// to 10 % (Zen 5). There own(row) asks for what the tile's rows will need after the product.
template <class T, int R, int P, int N, class F>
GRUFAST_INLINE void accumulate_ahead(Tile<T, R, P * N>& acc, const T* a, Index a_row,
                                     const T* b, Index b_group, Index size, Index tile,
                                     Index tiles, Index begin, Index panel, Index end,
                                     const F& own) {
    constexpr Index b_k = N * kLanes<T>, line = 64 / static_cast<Index>(sizeof(T)), block = 8;
    const Index weights = size * b_k;
    if constexpr (R == kTileRows<N> && P == 1) {
        if (tiles >= kTilesAhead &&
            (end - begin) * weights * static_cast<Index>(sizeof(T)) > kFarWeights) {
            const bool more = panel + 1 < end;
            const T* ahead = b + weights + (more ? weights * tile / tiles : 0);
            const T* const stop = b + weights + (more ? weights * (tile + 1) / tiles : 0);
            const Index per_block = block * b_k / tiles;
            for (Index k = 0, i = 0; k < size; k += block, ++i) {
                for (Index j = 0; j < per_block && ahead < stop; j += line, ahead += line) {
                    __builtin_prefetch(ahead, 0, 2);
                }
                if (i < R) own(i);
                const Index count = size - k < block ? size - k : block;
                accumulate<T, R, 1, N>(acc, a + k, a_row, 1, b + k * b_k, 0, b_k, count);
            }
            return;
        }
    }
    accumulate<T, R, P, N>(acc, a, a_row, 1, b, b_group, b_k, size);
}

// Rows of more bytes than this do not stay in the second cache from strip to strip.
constexpr Index kFarRows = 1 << 20;

// The same with a's rows in blocks, b packed in their order as strips of N vectors;
// between(i) runs before block i. Where the product's `rows` are far away, each block asks for
// the next: training gains 2 to 4 % at H = 512 and 1024, but loses up to 12 % where they are
// near (Zen 4).
template <class T, int R, int P, int N, class F>
GRUFAST_INLINE void accumulate_blocks(Tile<T, R, P * N>& acc, const BlockedRows<T>& a,
                                      Index row, Index rows, const T* b, Index b_group,
                                      const F& between) {
    constexpr Index b_k = N * kLanes<T>, line = 64 / static_cast<Index>(sizeof(T));
    const bool far = rows * a.blocks * a.block_size * static_cast<Index>(sizeof(T)) > kFarRows;
    const T* p = a.data + row * a.row;
    for (Index i = 0; i < a.blocks; ++i, p += a.block, b += a.block_size * b_k) {
        between(i);
        if (far && i + 1 < a.blocks) {
            for (Index r = 0; r < R; ++r) {
                const T* next = p + a.block + r * a.row;
                for (Index k = 0; k < a.block_size; k += line) __builtin_prefetch(next + k);
            }
        }
        accumulate<T, R, P, N>(acc, p, a.row, 1, b, b_group, b_k, a.block_size);
    }
    for (Index i = 0; i < a.tail_blocks; ++i, p += a.tail_block, b += a.tail_size * b_k) {
        accumulate<T, R, P, N>(acc, p, a.row, 1, b, b_group, b_k, a.tail_size);
    }
}

// f(Constant<n>) for a run-time n in [1, Max].
template <int Max, class F>
GRUFAST_INLINE void with_constant(Index n, const F& f) {
    if constexpr (Max > 1) {
        if (n < Max) return with_constant<Max - 1>(n, f);
    }
    f(Constant<Max>{});
}

// Cuts rows into tiles: f(Constant<rows of the tile>, first row).
template <int Max, class F>
GRUFAST_INLINE void for_row_tiles(Index rows, const F& f) {
    Index row = 0;
    for (; row + Max <= rows; row += Max) f(Constant<Max>{}, row);
    if (row < rows) with_constant<Max - 1>(rows - row, [&](auto r) { f(r, row); });
}

// Cuts rows x panels into tiles, panels outside: f(Constant<rows>, Constant<panels>, first
// panel, first row). One or two rows alone have too few accumulators to hide the FMA's latency,
// so they take two panels at a time; so do all rows where a panel is one vector wide
// (`Narrow`).
//
// Backwards, few rows take the last panels first: where every other step does, the weights that
// a step used last are still near when the next one begins. A single row at H = 512 gains 29 %
// (Zen 5, 3 MB of weights, 1 MB of L2); 64 rows would lose 2 to 3 %.
template <int Max, bool Narrow, class F>
GRUFAST_INLINE void for_panel_tiles(Index rows, Index begin, Index end, bool backwards,
                                    const F& f) {
    const Index rest = rows % Max, full = rows - rest;
    const Index together = Narrow || (rest > 0 && rest <= 2) ? 2 : 1;
    const Index groups = (end - begin + together - 1) / together;
    for (Index i = 0; i < groups; ++i) {
        const Index first = begin + (backwards && full == 0 ? groups - 1 - i : i) * together;
        const Index count = first + together <= end ? together : 1;
        if (Narrow && count == 2) {
            for (Index row = 0; row < full; row += Max)
                f(Constant<Max>{}, Constant < Narrow ? 2 : 1 > {}, first, row);
        } else {
            for (Index panel = first; panel < first + count; ++panel) {
                for (Index row = 0; row < full; row += Max)
                    f(Constant<Max>{}, Constant<1>{}, panel, row);
            }
        }
        if (rest > 0) {
            with_constant<Max - 1>(rest, [&](auto r) {
                if constexpr (Narrow || decltype(r)::value <= 2) {
                    if (count == 2) return f(r, Constant<2>{}, first, full);
                }
                f(r, Constant<1>{}, first, full);
            });
        }
    }
}

}  // namespace
}  // namespace grufast
