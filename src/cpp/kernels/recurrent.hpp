// Steps of any cell: the recurrent product in a register tile, the cell's formula as its
// epilogue. A cell (gru.hpp) brings `info` and `forward<stage>`, `backward<stage>` for one
// row's vector of units.
#pragma once

#include "tile.hpp"

namespace grufast {
namespace {

// One row's vector of units, as a cell's formula sees it.
template <class T>
struct ForwardUnit {
    T* slots;                        // in: x's products; out, when saving: the cell's choice
    const T* before[kMaxSequences];  // the sequences before and after this step
    T* after[kMaxSequences];
};
template <class T>
struct BackwardUnit {
    T* slots;  // in: what forward saved; out: gradients
    const T* before[kMaxSequences];
    T* carry[kMaxSequences];
};

template <class T>
constexpr Index whole_vectors(Index n) {
    return n / kLanes<T>;
}

// Weights of more bytes than this do not stay in the second cache from step to step.
constexpr Index kFarWeights = 4 << 20;

// accumulate() for one of `tiles` tiles that go through a panel's weights in turn; each asks
// for its part of the next panel's. Otherwise the first tile alone would wait for them, at the
// speed of the third cache: 64 rows at H = 1024 gain 5 to 10 % (Zen 5). At H = 512, 3 MB of
// weights, there was no clear gain.
template <class T, int R, int N>
GRUFAST_INLINE void accumulate_ahead(Tile<T, R, N>& acc, const T* a, Index a_row, const T* b,
                                     Index size, Index tile, Index tiles) {
    constexpr Index b_k = N * kLanes<T>, line = 64 / static_cast<Index>(sizeof(T)), block = 8;
    const T* ahead = b + (size + size * tile / tiles) * b_k;
    const T* const end = b + (size + size * (tile + 1) / tiles) * b_k;
    const Index per_block = block * b_k / tiles;
    for (Index k = 0; k < size; k += block) {
        for (Index i = 0; i < per_block && ahead < end; i += line, ahead += line) {
            __builtin_prefetch(ahead, 0, 2);
        }
        const Index count = size - k < block ? size - k : block;
        accumulate<T, R, 1, N>(acc, a + k, a_row, 1, b + k * b_k, 0, b_k, count);
    }
}

template <class Cell, class T, int S, int R, int P>
GRUFAST_INLINE void forward_tile(const StepForward<T>& f, Index t, Index panel, Index row) {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    constexpr int N = stage.slots;
    const auto at = [&](int s, Index time) {
        return ((f.first + time) & f.mask[s]) * f.sequence_step;
    };
    T* slots = f.slots + panel * f.slots_panel + row * f.slots_row + t * f.slots_step;

    Tile<T, R, P * N> acc;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
            for (int j = 0; j < N; ++j) {
                const int slot = stage.first_slot + j;
                const T* init = slot < Cell::info.input_slots
                                    ? slots + p * f.slots_panel + r * f.slots_row + slot * lanes
                                    : f.bias + ((panel + p) * Cell::info.slots + slot) * lanes;
                acc.v[r][p * N + j] = load<T>(init);
            }
        }
    }
    const T* operand =
        f.sequence[stage.operand] + at(stage.operand, t + stage.offset) + row * f.sequence_row;
    const Index panel_weights = f.hidden * N * lanes;
    const T* weight = f.weight[S] + panel * panel_weights;
    const Index tiles = f.rows / R;
    bool ahead = false;
    if constexpr (R == kTileRows<N> && P == 1) {
        const Index panels = f.panel_end - f.panel_begin;
        ahead = tiles >= 4 && panel + 1 < f.panel_end &&
                panels * panel_weights * static_cast<Index>(sizeof(T)) > kFarWeights;
        if (ahead) {
            accumulate_ahead<T, R, N>(acc, operand, f.sequence_row, weight, f.hidden, row / R,
                                      tiles);
        }
    }
    if (!ahead) {
        accumulate<T, R, P, N>(acc, operand, f.sequence_row, 1, weight, panel_weights,
                               N * lanes, f.hidden);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
            const Index unit = (row + r) * f.sequence_row + (panel + p) * lanes;
            ForwardUnit<T> u;
            u.slots = slots + p * f.slots_panel + r * f.slots_row;
            for (int s = 0; s < Cell::info.sequences; ++s) {
                u.before[s] = f.sequence[s] + at(s, t) + unit;
                u.after[s] = f.sequence[s] + at(s, t + 1) + unit;
            }
            Cell::template forward<S, T>(&acc.v[r][p * N], u, f.save);
        }
    }
}

template <class Cell, class T, int S>
void forward_stage(const StepForward<T>& f, Index t) noexcept {
    for_panel_tiles<kTileRows<Cell::info.stage[S].slots>>(
        f.rows, f.panel_begin, f.panel_end, ((f.first + t) & 1) != 0,
        [&](auto rows, auto panels, Index panel, Index row) {
            forward_tile<Cell, T, S, decltype(rows)::value, decltype(panels)::value>(
                f, t, panel, row);
        });
}

template <class Cell, class T, int S>
GRUFAST_INLINE void forward_stage_if(const StepForward<T>& f, Index t) {
    if constexpr (S < Cell::info.stages) {
        if (f.stage_begin <= S && S < f.stage_end) forward_stage<Cell, T, S>(f, t);
    }
}

// y after the whole step, a row at a time. From the epilogue, among the stores of the gates to
// save, its far-away lines held up everything behind them: 12 to 22 % of a forward pass that
// saves (Zen 5, H = 128 and 256).
template <class T>
GRUFAST_INLINE void copy_state(const StepForward<T>& f, Index t) {
    constexpr Index lanes = kLanes<T>;
    const T* state = f.sequence[0] + ((f.first + t + 1) & f.mask[0]) * f.sequence_step;
    for (Index row = 0; row < f.rows; ++row) {
        const T* from = state + row * f.sequence_row;
        T* to = f.y + row * f.y_row + t * f.y_step;
        for (Index panel = f.panel_begin; panel < f.panel_end; ++panel) {
            const Index column = panel * lanes;
            store_part<T>(to + column, load<T>(from + column), f.hidden - column);
        }
    }
}

template <class Cell, class T>
void forward_steps(const StepForward<T>& f) noexcept {
    static_assert(kMaxStages == 2);
    for (Index t = 0; t < f.steps; ++t) {
        forward_stage_if<Cell, T, 0>(f, t);
        forward_stage_if<Cell, T, 1>(f, t);
        if (f.y && f.stage_end == Cell::info.stages) copy_state(f, t);
    }
}

template <class Cell, class T, int S, int R, int P, int N>
GRUFAST_INLINE void backward_tile(const StepBackward<T>& b, Index t,
                                  const BlockedRows<T>* gates, Index vector, Index row) {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    const Index depth = stage.slots * b.hidden;

    Tile<T, R, P * N> acc;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < P * N; ++j) {
            acc.v[r][j] =
                S == 0 ? load<T>(b.carry[0] + (row + r) * b.carry_row + (vector + j) * lanes)
                       : Vec<T>{};
        }
    }
    const auto unit = [&](Index r, Index j) {
        BackwardUnit<T> u;
        u.slots = b.slots + (vector + j) * b.slots_panel + r * b.slots_row + t * b.slots_step;
        for (int s = 0; s < Cell::info.sequences; ++s) {
            const Index column = (vector + j) * lanes;
            u.before[s] = b.sequence[s] + t * b.sequence_step + r * b.sequence_row + column;
            u.carry[s] = b.carry[s] + r * b.carry_row + column;
        }
        return u;
    };
    if (gates) {
        // What forward saved is far away by now. Without asking for it a
        // training step takes 5 to 12 % longer (Zen 5, H = 128 and 256).
        const auto prefetch = [&](Index block) {
            if (block >= R) return;
#pragma GCC unroll 16
            for (int j = 0; j < P * N; ++j) {
                const BackwardUnit<T> u = unit(row + block, j);
#pragma GCC unroll 16
                for (int s = 0; s < Cell::info.slots; ++s)
                    __builtin_prefetch(u.slots + s * lanes);
                for (int s = 0; s < Cell::info.sequences; ++s) __builtin_prefetch(u.before[s]);
            }
        };
        accumulate_blocks<T, R, P, N>(acc, *gates, row, b.weight[S] + vector * lanes * depth,
                                      N * lanes * depth, prefetch);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < P * N; ++j) {
            const BackwardUnit<T> u = unit(row + r, j);
            Cell::template backward<S, T>(acc.v[r][j], u);
        }
    }
}

template <class Cell, class T, int S>
void backward_stage(const StepBackward<T>& b, Index t) noexcept {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    // Stage 0 multiplies the next step's gradients, stage 1 this step's.
    const bool outside = S == 0 && t + 1 == b.steps;
    const T* slots = outside ? b.next_slots : b.slots + (S == 0 ? t + 1 : t) * b.slots_step;
    BlockedRows<T> gates;
    gates.data = slots ? slots + stage.first_slot * lanes : nullptr;
    gates.row = outside ? b.next_row : b.slots_row;
    gates.blocks = whole_vectors<T>(b.hidden);
    gates.block_size = stage.slots * lanes;
    gates.block = outside ? b.next_panel : b.slots_panel;
    gates.tail_size = b.hidden % lanes;
    gates.tail_blocks = gates.tail_size ? stage.slots : 0;
    gates.tail_block = lanes;
    const BlockedRows<T>* product = slots ? &gates : nullptr;
    const auto strips = [&](auto n, Index vector, Index count) {
        constexpr int N = decltype(n)::value;
        for_panel_tiles<kTileRows<N>>(
            b.rows, 0, count, ((b.first + t) & 1) != 0,
            [&](auto rows, auto panels, Index strip, Index row) {
                backward_tile<Cell, T, S, decltype(rows)::value, decltype(panels)::value, N>(
                    b, t, product, vector + strip * N, row);
            });
    };
    const Index last = b.vector_end == b.vectors ? odd_strip(b.vectors) : 0;
    const Index twos = (b.vector_end - last - b.vector_begin) / 2;
    strips(Constant<2>{}, b.vector_begin, twos);
    if (last == 1) strips(Constant<1>{}, b.vector_end - 1, 1);
    if (last == 3) strips(Constant<3>{}, b.vector_end - 3, 1);
}

template <class Cell, class T, int S>
GRUFAST_INLINE void backward_stage_if(const StepBackward<T>& b, Index t) {
    if constexpr (S < Cell::info.stages) {
        if (b.stage_begin <= S && S < b.stage_end) backward_stage<Cell, T, S>(b, t);
    }
}

// dy enters what is carried, a row at a time, for the same reason: 5 to 7 % of a training step.
template <class T>
GRUFAST_INLINE void add_output_gradient(const StepBackward<T>& b, Index t) {
    constexpr Index lanes = kLanes<T>;
    for (Index row = 0; row < b.rows; ++row) {
        const T* dy = b.dy + row * b.dy_row + t * b.dy_step;
        T* carry = b.carry[0] + row * b.carry_row;
        for (Index vector = b.vector_begin; vector < b.vector_end; ++vector) {
            const Index column = vector * lanes;
            store<T>(carry + column,
                     load<T>(carry + column) + load_part<T>(dy + column, b.hidden - column));
        }
    }
}

template <class Cell, class T>
void backward_steps(const StepBackward<T>& b) noexcept {
    for (Index t = b.steps; t-- > 0;) {
        if (b.dy && b.stage_begin == 0) add_output_gradient(b, t);
        backward_stage_if<Cell, T, 0>(b, t);
        backward_stage_if<Cell, T, 1>(b, t);
    }
}

}  // namespace
}  // namespace grufast
