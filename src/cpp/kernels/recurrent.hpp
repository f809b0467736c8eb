// Steps of any cell: the recurrent product in a register tile, the cell's formula as its
// epilogue; or, for cells that are rarely used, as a pass of its own. A cell (gru.hpp) brings
// `info`, `forward<stage>` and `backward<stage>` for a group of rows' vectors, and `back`: the
// forward stage whose weights a backward stage multiplies first, or -1.
#pragma once

#include "cell.hpp"
#include "gemm.hpp"
#include "zoneout.hpp"

namespace grufast {
namespace {

template <class T>
constexpr Index whole_vectors(Index n) {
    return n / kLanes<T>;
}

template <class T>
GRUFAST_INLINE Index at_time(const StepForward<T>& f, int s, Index t) {
    return ((f.first + t) & f.mask[s]) * f.sequence_step;
}

// Units [first, first + V::size) of a tile that begins at `panel` and `row` and is P panels
// wide.
template <class Cell, class V, int P = 1>
GRUFAST_INLINE ForwardUnits<V> forward_units(const StepForward<typename V::Scalar>& f, Index t,
                                             Index panel, Index row, int first = 0) {
    ForwardUnits<V> u;
#pragma GCC unroll 8
    for (int i = 0; i < V::size; ++i) {
        const Index p = panel + (first + i) % P, r = row + (first + i) / P;
        const Index unit = r * f.sequence_row + p * V::lanes;
        u.slots.at[i] = f.slots + p * f.slots_panel + r * f.slots_row + t * f.slots_step;
        for (int s = 0; s < Cell::info.sequences; ++s) {
            u.before[s].at[i] = f.sequence[s] + unit + at_time(f, s, t);
            u.after[s].at[i] = f.sequence[s] + unit + at_time(f, s, t + 1);
        }
        u.parameters.at[i] = f.parameters + p * Cell::info.parameters * V::lanes;
        u.mask.at[i] = f.row_mask ? f.row_mask + unit : nullptr;
    }
    u.activation = f.activation;
    return u;
}

template <class Cell, class T, int S, int R, int P>
GRUFAST_INLINE void forward_tile(const StepForward<T>& f, Index t, Index panel, Index row) {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    constexpr int N = stage.slots;
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
    const T* operand = f.sequence[stage.operand] + at_time(f, stage.operand, t + stage.offset) +
                       row * f.sequence_row;
    const Index panel_weights = f.hidden * N * lanes;
    const T* weight = f.weight[S] + panel * panel_weights;
    accumulate_ahead<T, R, P, N>(
        acc, operand, f.sequence_row, weight, panel_weights, f.hidden, row / R, f.rows / R,
        f.panel_begin, panel, f.panel_end, [&](Index i) {
            // The formula's operands and places, which may have gone to the third cache.
            const auto u = forward_units<Cell, One<T>>(f, t, panel, row + i);
            for (int s = 0; s < Cell::info.sequences; ++s) {
                __builtin_prefetch(u.before[s].at[0]);
                __builtin_prefetch(u.after[s].at[0], 1);
            }
            for (int s = 0; f.save && s < Cell::info.slots; ++s) {
                __builtin_prefetch(u.slots.at[0] + s * lanes, 1);
            }
        });
    for_groups<R * P>([&](auto size, auto first) GRUFAST_ALWAYS {
        using V = Group<T, decltype(size)::value>;
        constexpr int from = decltype(first)::value;
        V sums[N];
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) {
            sums[j] = V::of([&](int i) GRUFAST_ALWAYS {
                return acc.v[(from + i) / P][(from + i) % P * N + j];
            });
        }
        Cell::template forward<S>(sums, forward_units<Cell, V, P>(f, t, panel, row, from),
                                  f.save);
    });
}

// The product of a stage alone, into the slots.
template <class Cell, class T, int S>
void forward_product(const StepForward<T>& f, Index t) noexcept {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    constexpr int N = stage.slots, from_x = Cell::info.input_slots - stage.first_slot;
    PanelGemm<T> g;
    g.a = (stage.operand == 0 && f.masked ? f.masked : f.sequence[stage.operand]) +
          at_time(f, stage.operand, t + stage.offset);
    g.a_row = f.sequence_row;
    g.k = f.hidden;
    g.weight = f.weight[S] + f.panel_begin * f.hidden * N * lanes;
    g.bias_panel = Cell::info.slots * lanes;
    g.bias = f.bias + f.panel_begin * g.bias_panel + stage.first_slot * lanes;
    g.out =
        f.slots + f.panel_begin * f.slots_panel + t * f.slots_step + stage.first_slot * lanes;
    g.out_panel = f.slots_panel;
    g.out_row = f.slots_row;
    g.rows = f.rows;
    g.panels = f.panel_end - f.panel_begin;
    g.slots = N;
    g.accumulate = from_x < 0 ? 0 : from_x < N ? from_x : N;
    gemm_panels<T>(g);
}

template <class Cell, class T, int S>
void forward_formula(const StepForward<T>& f, Index t) noexcept {
    constexpr Stage stage = Cell::info.stage[S];
    constexpr Index lanes = kLanes<T>;
    if constexpr (Cell::info.whole_rows) {
        for (Index row = 0; row < f.rows; ++row) {
            Cell::forward_row(f.slots_panel, f.hidden,
                              forward_units<Cell, One<T>>(f, t, 0, row));
        }
    } else {
        for (Index panel = f.panel_begin; panel < f.panel_end; ++panel) {
            for (Index row = 0; row < f.rows; ++row) {
                const auto u = forward_units<Cell, One<T>>(f, t, panel, row);
                One<T> a[kMaxWindow] = {};
                for (int j = 0; j < stage.slots; ++j) {
                    a[j] = load(u.slots + (stage.first_slot + j) * lanes);
                }
                Cell::template forward<S>(a, u, f.save);
            }
        }
    }
}

template <class Cell, class T, int S>
void forward_stage(const StepForward<T>& f, Index t) noexcept {
    if constexpr (Cell::info.separate) {
        if constexpr (Cell::info.stage[S].slots > 0) forward_product<Cell, T, S>(f, t);
        forward_formula<Cell, T, S>(f, t);
    } else {
        constexpr int slots = Cell::info.stage[S].slots;
        for_panel_tiles<kTileRows<slots>, slots == 1>(
            f.rows, f.panel_begin, f.panel_end, ((f.first + t) & 1) != 0,
            [&](auto rows, auto panels, Index panel, Index row) {
                forward_tile<Cell, T, S, decltype(rows)::value, decltype(panels)::value>(
                    f, t, panel, row);
            });
    }
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

// What comes behind a separate formula: zones, and the state that the next products take.
template <class Cell, class T>
void finish_states(const StepForward<T>& f, Index t) noexcept {
    constexpr Index lanes = kLanes<T>;
    for (int s = 0; s < Cell::info.states; ++s) {
        if (f.zone.rate[s] <= 0) continue;
        for (Index row = 0; row < f.rows; ++row) {
            for (Index panel = f.panel_begin; panel < f.panel_end; ++panel) {
                T* unit = f.sequence[s] + row * f.sequence_row + panel * lanes;
                T* after = unit + at_time(f, s, t + 1);
                const Vec<T> before = load<T>(unit + at_time(f, s, t)), now = load<T>(after);
                const Vec<T> zone = zone_of<T>(f.zone, s, f.time + t,
                                               f.row_first + row * f.row_stride, panel * lanes);
                store<T>(after, fma(zone, before - now, now));
            }
        }
    }
    if (!f.masked) return;
    for (Index row = 0; row < f.rows; ++row) {
        for (Index panel = f.panel_begin; panel < f.panel_end; ++panel) {
            const Index unit = row * f.sequence_row + panel * lanes;
            const Index at = unit + at_time(f, 0, t + 1);
            store<T>(f.masked + at, load<T>(f.sequence[0] + at) * load<T>(f.row_mask + unit));
        }
    }
}

template <class Cell, class T>
void forward_steps(const StepForward<T>& f) noexcept {
    static_assert(kMaxStages == 3);
    for (Index t = 0; t < f.steps; ++t) {
        forward_stage_if<Cell, T, 0>(f, t);
        forward_stage_if<Cell, T, 1>(f, t);
        forward_stage_if<Cell, T, 2>(f, t);
        if (f.stage_end < Cell::info.stages) continue;
        if constexpr (Cell::info.separate) finish_states<Cell, T>(f, t);
        if (f.y) copy_state(f, t);
    }
}

template <class Cell, class V, int P = 1>
GRUFAST_INLINE BackwardUnits<V> backward_units(const StepBackward<typename V::Scalar>& b,
                                               Index t, Index vector, Index row,
                                               int first = 0) {
    BackwardUnits<V> u;
#pragma GCC unroll 8
    for (int i = 0; i < V::size; ++i) {
        const Index v = vector + (first + i) % P, r = row + (first + i) / P;
        const Index column = v * V::lanes, carry = r * b.carry_row + column;
        u.slots.at[i] = b.slots + v * b.slots_panel + r * b.slots_row + t * b.slots_step;
        for (int s = 0; s < Cell::info.sequences; ++s) {
            u.before[s].at[i] =
                b.sequence[s] + t * b.sequence_step + r * b.sequence_row + column;
        }
        for (int s = 0; s < Cell::info.states; ++s) u.carry[s].at[i] = b.carry[s] + carry;
        u.parameters.at[i] = b.parameters + v * Cell::info.parameters * V::lanes;
        u.mask.at[i] = b.row_mask ? b.row_mask + carry : nullptr;
    }
    u.activation = b.activation;
    return u;
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
    if (gates) {
        // What forward saved is far away by now. Without asking for it a
        // training step takes 5 to 12 % longer (Zen 5, H = 128 and 256).
        const auto prefetch = [&](Index block) {
            if (block >= R) return;
#pragma GCC unroll 16
            for (int j = 0; j < P * N; ++j) {
                const auto u = backward_units<Cell, One<T>>(b, t, vector + j, row + block);
#pragma GCC unroll 16
                for (int s = 0; s < Cell::info.slots; ++s)
                    __builtin_prefetch(u.slots.at[0] + s * lanes);
                for (int s = 0; s < Cell::info.sequences; ++s)
                    __builtin_prefetch(u.before[s].at[0]);
            }
        };
        accumulate_blocks<T, R, P, N>(acc, *gates, row, b.rows,
                                      b.weight[S] + vector * lanes * depth, N * lanes * depth,
                                      prefetch);
    }
    for_groups<R * P * N>([&](auto size, auto first) GRUFAST_ALWAYS {
        using V = Group<T, decltype(size)::value>;
        constexpr int from = decltype(first)::value;
        const V d = V::of([&](int i) GRUFAST_ALWAYS {
            return acc.v[(from + i) / (P * N)][(from + i) % (P * N)];
        });
        Cell::template backward<S>(d, backward_units<Cell, V, P * N>(b, t, vector, row, from));
    });
}

// The gradients that backward stage S multiplies: of the next step in stage 0, else of this
// one. No data: none.
template <class Cell, class T, int S>
GRUFAST_INLINE BlockedRows<T> multiplied(const StepBackward<T>& b, Index t) {
    constexpr Stage stage = Cell::info.stage[Cell::back[S]];
    constexpr Index lanes = kLanes<T>;
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
    return gates;
}

// What zones keep of the states' gradients goes round the formula: before it, set aside; after
// it, put back.
template <class Cell, class T>
void pass_zones(const StepBackward<T>& b, Index t, bool before) noexcept {
    constexpr Index lanes = kLanes<T>;
    for (int s = 0; s < Cell::info.states; ++s) {
        if (b.zone.rate[s] <= 0) continue;
        T* aside = b.carry[Cell::info.states + 1 + s];
        for (Index row = 0; row < b.rows; ++row) {
            for (Index vector = b.vector_begin; vector < b.vector_end; ++vector) {
                const Index unit = row * b.carry_row + vector * lanes;
                const Vec<T> carry = load<T>(b.carry[s] + unit);
                if (before) {
                    const Vec<T> kept =
                        carry * zone_of<T>(b.zone, s, b.first + t,
                                           b.row_first + row * b.row_stride, vector * lanes);
                    store<T>(aside + unit, kept);
                    store<T>(b.carry[s] + unit, carry - kept);
                } else {
                    store<T>(b.carry[s] + unit, carry + load<T>(aside + unit));
                }
            }
        }
    }
}

// The product and the formula, one after the other. What stage 0 receives is in carry[0], what
// a later one does comes behind the states' carries.
template <class Cell, class T, int S>
void backward_apart(const StepBackward<T>& b, Index t) noexcept {
    constexpr Index lanes = kLanes<T>;
    const bool apart = S > 0 || b.row_mask;  // from the carry
    T* received = b.carry[S == 0 ? 0 : Cell::info.states];
    if constexpr (Cell::back[S] >= 0) {
        StripGemm<T> g{};
        g.a = multiplied<Cell, T, S>(b, t);
        const Index column = b.vector_begin * lanes;
        g.weight =
            b.weight[Cell::back[S]] + column * b.hidden * Cell::info.stage[Cell::back[S]].slots;
        T* product = apart ? b.carry[Cell::info.states] : received;
        g.out = product + column;
        g.out_row = b.carry_row;
        g.rows = b.rows;
        g.columns = (b.vector_end - b.vector_begin) * lanes;
        g.accumulate = !apart;
        if (g.a.data) gemm_strips<T>(g);
        if (S == 0 && b.row_mask && g.a.data) {
            for (Index row = 0; row < b.rows; ++row) {
                for (Index i = column; i < column + g.columns; i += lanes) {
                    const Index unit = row * b.carry_row + i;
                    store<T>(received + unit,
                             fma(load<T>(product + unit), load<T>(b.row_mask + unit),
                                 load<T>(received + unit)));
                }
            }
        }
    }
    if (S == 0) pass_zones<Cell, T>(b, t, true);
    if constexpr (Cell::info.whole_rows) {
        for (Index row = 0; row < b.rows; ++row) {
            Cell::backward_row(b.slots_panel, b.hidden,
                               backward_units<Cell, One<T>>(b, t, 0, row),
                               b.dparameters + row * b.dparameters_row);
        }
    } else {
        for (Index vector = b.vector_begin; vector < b.vector_end; ++vector) {
            for (Index row = 0; row < b.rows; ++row) {
                const auto u = backward_units<Cell, One<T>>(b, t, vector, row);
                const One<T> d = load<T>(received + row * b.carry_row + vector * lanes);
                Cell::template backward<S>(d, u);
            }
        }
    }
    if (S + 1 == Cell::info.stages) pass_zones<Cell, T>(b, t, false);
}

template <class Cell, class T, int S>
void backward_stage(const StepBackward<T>& b, Index t) noexcept {
    if constexpr (Cell::info.separate) {
        backward_apart<Cell, T, S>(b, t);
    } else {
        const BlockedRows<T> gates = multiplied<Cell, T, S>(b, t);
        const BlockedRows<T>* product = gates.data ? &gates : nullptr;
        const auto strips = [&](auto n, Index vector, Index count) {
            constexpr int N = decltype(n)::value;
            for_panel_tiles<kTileRows<N>, false>(
                b.rows, 0, count, ((b.first + t) & 1) != 0,
                [&](auto rows, auto panels, Index strip, Index row) {
                    backward_tile<Cell, T, S, decltype(rows)::value, decltype(panels)::value,
                                  N>(b, t, product, vector + strip * N, row);
                });
        };
        const Index last = b.vector_end == b.vectors ? odd_strip(b.vectors) : 0;
        const Index twos = (b.vector_end - last - b.vector_begin) / 2;
        strips(Constant<2>{}, b.vector_begin, twos);
        if (last == 1) strips(Constant<1>{}, b.vector_end - 1, 1);
        if (last == 3) strips(Constant<3>{}, b.vector_end - 3, 1);
    }
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
        backward_stage_if<Cell, T, 2>(b, t);
    }
}

}  // namespace
}  // namespace grufast
