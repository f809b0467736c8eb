// The matrix products outside the recurrence: projections of x, gradients of x and of weights.
#pragma once

#include "tile.hpp"

namespace grufast {
namespace {

template <class T, int N>
GRUFAST_INLINE void gemm_panels_of(const PanelGemm<T>& g) {
    constexpr Index lanes = kLanes<T>;
    const Index panel_weights = g.k * N * lanes;
    for_panel_tiles<kTileRows<N>, N == 1>(
        g.rows, 0, g.panels, false, [&](auto rows, auto panels, Index panel, Index row) {
            constexpr int R = decltype(rows)::value, P = decltype(panels)::value;
            const T* bias = g.bias + panel * g.bias_panel;
            T* out = g.out + panel * g.out_panel + row * g.out_row;
            Tile<T, R, P * N> acc;
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
                for (int j = 0; j < P * N; ++j) {
                    const int p = j / N, slot = j % N;
                    const T* init = slot < g.accumulate
                                        ? out + p * g.out_panel + r * g.out_row + slot * lanes
                                        : bias + p * g.bias_panel + slot * lanes;
                    acc.v[r][j] = load<T>(init);
                }
            }
            accumulate_ahead<T, R, P, N>(
                acc, g.a + row * g.a_row, g.a_row, g.weight + panel * panel_weights,
                panel_weights, g.k, row / R, g.rows / R, 0, panel, g.panels, [&](Index i) {
                    for (int j = 0; j < N; ++j) {
                        __builtin_prefetch(out + i * g.out_row + j * lanes, 1);
                    }
                });
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
                for (int j = 0; j < P * N; ++j) {
                    store<T>(out + j / N * g.out_panel + r * g.out_row + j % N * lanes,
                             acc.v[r][j]);
                }
            }
        });
}

template <class T>
void gemm_panels(const PanelGemm<T>& g) noexcept {
    with_constant<kMaxWindow>(g.slots,
                              [&](auto n) { gemm_panels_of<T, decltype(n)::value>(g); });
}

template <class T, int N>
GRUFAST_INLINE void gemm_strip(const StripGemm<T>& g, Index first_vector) {
    constexpr Index lanes = kLanes<T>;
    const Index depth = g.a.blocks * g.a.block_size + g.a.tail_blocks * g.a.tail_size;
    const Index column = first_vector * lanes;
    const Index last = g.columns - column - (N - 1) * lanes;  // columns of the last vector
    const T* weight = g.weight + column * depth;
    for_row_tiles<kTileRows<N>>(g.rows, [&](auto rows, Index row) {
        constexpr int R = decltype(rows)::value;
        Tile<T, R, N> acc;
        T* out = g.out + row * g.out_row + column;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j) {
                const Index n = j + 1 < N ? lanes : last;
                acc.v[r][j] = g.accumulate ? load_part<T>(out + r * g.out_row + j * lanes, n)
                              : g.bias     ? load<T>(g.bias + column + j * lanes)
                                           : Vec<T>{};
            }
        }
        accumulate_blocks<T, R, 1, N>(acc, g.a, row, g.rows, weight, 0, [](Index) {});
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j) {
                const Index n = j + 1 < N ? lanes : last;
                store_part<T>(out + r * g.out_row + j * lanes, acc.v[r][j], n);
            }
        }
    });
}

template <class T>
void gemm_strips(const StripGemm<T>& g) noexcept {
    const Index vectors = (g.columns + kLanes<T> - 1) / kLanes<T>;
    for (Index v = 0; v < vectors;) {
        const int width = strip_width(vectors - v);
        with_constant<3>(width, [&](auto n) { gemm_strip<T, decltype(n)::value>(g, v); });
        v += width;
    }
}

template <class T, int R, int N>
GRUFAST_INLINE void outer_tile(const OuterGemm<T>& g, Index panel, Index i) {
    constexpr Index lanes = kLanes<T>;
    T* out = g.out + (panel * g.k + i) * N * lanes;
    Tile<T, R, N> acc;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) {
            acc.v[r][j] = g.accumulate ? load<T>(out + (r * N + j) * lanes) : Vec<T>{};
        }
    }
    // The next tile's sums, which follow these: it would wait for them. Training gains 2 % at
    // H = 256, 3 to 5 % at 512, 5 to 8 % at 1024 (Zen 5, one thread).
#pragma GCC unroll 32
    for (int v = 0; v < R * N; ++v) __builtin_prefetch(out + (R * N + v) * lanes, 1);
    const T* a = g.a + i;
    const T* b = g.g + panel * g.g_panel;
    for (Index o = 0; o < g.outer; ++o, a += g.a_outer, b += g.g_outer) {
        accumulate<T, R, 1, N>(acc, a, 1, g.a_inner, b, 0, g.g_row,
                               g.inner_of ? g.inner_of[o] : g.inner);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) store<T>(out + (r * N + j) * lanes, acc.v[r][j]);
    }
}

template <class T, int N>
GRUFAST_INLINE void gemm_outer_of(const OuterGemm<T>& g) {
    const Index tiles = (g.k + kOuterTile - 1) / kOuterTile;
    for (Index item = g.item_begin; item < g.item_end; ++item) {
        const Index panel = item / tiles, first = item % tiles * kOuterTile;
        const Index size = g.k - first < kOuterTile ? g.k - first : kOuterTile;
        for_row_tiles<kTileRows<N>>(size, [&](auto rows, Index i) {
            outer_tile<T, decltype(rows)::value, N>(g, panel, first + i);
        });
    }
}

template <class T>
void gemm_outer(const OuterGemm<T>& g) noexcept {
    with_constant<kMaxWindow>(g.slots,
                              [&](auto n) { gemm_outer_of<T, decltype(n)::value>(g); });
}

template <class T>
void sum_rows(const RowSum<T>& s) noexcept {
    constexpr Index lanes = kLanes<T>;
    for (Index panel = s.panel_begin; panel < s.panel_end; ++panel) {
        with_constant<kMaxSlots>(s.slots, [&](auto slots) {
            constexpr int N = decltype(slots)::value;
            T* out = s.out + panel * s.out_panel;
            const T* g = s.g + panel * s.g_panel;
            const T* a = s.a ? s.a + panel * lanes : nullptr;
            Vec<T> acc[N];
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j)
                acc[j] = s.accumulate ? load<T>(out + j * lanes) : Vec<T>{};
            for (Index row = 0; row < s.rows; ++row, g += s.g_row) {
                if (s.a) {
                    const Vec<T> factor = load<T>(a + row * s.a_row);
#pragma GCC unroll 16
                    for (int j = 0; j < N; ++j)
                        acc[j] = fma(load<T>(g + j * lanes), factor, acc[j]);
                } else {
#pragma GCC unroll 16
                    for (int j = 0; j < N; ++j) acc[j] += load<T>(g + j * lanes);
                }
            }
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j) store<T>(out + j * lanes, acc[j]);
        });
    }
}

}  // namespace
}  // namespace grufast
