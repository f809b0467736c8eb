// The input of a GRU-D over sequences; threads share the rows. See kernels/input_decay.hpp.
#pragma once

#include <algorithm>

#include "dispatch.hpp"
#include "recurrent.hpp"

namespace grufast {

template <class T>
struct GapsCall {
    Index rows, size;               // size: variables
    Sequence<const T> x;            // [rows][times][values, whether observed, times since]
    const T *weight, *bias, *mean;  // [size]
    const Selection* selection;     // of these rows
    bool backwards;

    InputDecay<T> step(Index row, Index time) const {
        return {x.data + row * x.row + time * x.step, weight, bias, mean, size};
    }
    Index steps() const { return selection->times(); }
    // What threads write stays in cache lines of their own.
    Index padded() const { return (size + 15) / 16 * 16; }
    // An element is some 30 operations.
    int threads() const {
        return threads_for(30.0 * static_cast<double>(rows) * static_cast<double>(steps()) *
                           static_cast<double>(size));
    }
    // Rows as Recurrent::Part takes them where some end early.
    template <class F>
    void for_rows(const Team& team, const F& f) const {
        for (Index b = team.index; b < rows; b += team.size) f(b, selection->row(b));
    }
};

// filled: [rows][times][3 * size], x without gaps; steps that are left out stay as they are.
// kept: [rows][times][size], the last observations before each step, for backward; or null.
template <class T>
void fill_gaps(const GapsCall<T>& call, T* filled, T* kept) {
    const KernelTable<T>& table = active_table<T>();
    const Selection& s = *call.selection;
    const Index size = call.size, steps = call.steps();
    const int threads = call.threads();
    Buffer memory;
    T* lasts = reserve<T>(memory, elements(threads, call.padded()));
    parallel(threads, [&](Team& team) {
        T* last = lasts + team.index * call.padded();
        call.for_rows(team, [&](Index b, Index row) {
            T* out = filled + row * steps * 3 * size;
            for (Index t = 0; t < steps; ++t) {
                std::copy_n(call.step(row, t).x, 3 * size, out + t * 3 * size);
            }
            std::copy_n(call.mean, size, last);
            for (Index t = 0; t < s.length(b); ++t) {
                const Index time = s.time(b, t, call.backwards);
                if (s.resets(b, t, call.backwards)) std::copy_n(call.mean, size, last);
                if (kept) std::copy_n(last, size, kept + (row * steps + time) * size);
                table.input_decay(call.step(row, time), last, out + time * 3 * size);
            }
        });
    });
}

// dx: [rows][times][3 * size], of what was filled, becomes that of x.
template <class T>
void fill_gaps_backward(const GapsCall<T>& call, const T* kept, T* dx, T* dweight, T* dbias) {
    const KernelTable<T>& table = active_table<T>();
    const Selection& s = *call.selection;
    const Index size = call.size, steps = call.steps(), lanes = table.lanes;
    const Index padded = call.padded(), vectors = padded / lanes;
    const int threads = call.threads();
    // Each row's gradients of weight and bias are added up in the order of the rows, whichever
    // thread they come from.
    Buffer memory;
    const Index sums_size = elements(call.rows + 1, 2, padded);
    T* sums = reserve<T>(memory, sums_size + elements(threads, padded));
    T *total = sums + call.rows * 2 * padded, *dlasts = sums + sums_size;
    std::fill_n(sums, sums_size, T(0));
    parallel(threads, [&](Team& team) {
        T* dlast = dlasts + team.index * call.padded();
        call.for_rows(team, [&](Index b, Index row) {
            T* own = sums + row * 2 * padded;
            std::fill_n(dlast, size, T(0));
            for (Index t = s.length(b); t-- > 0;) {
                const Index at = row * steps + s.time(b, t, call.backwards);
                table.input_decay_backward(
                    call.step(row, at - row * steps),
                    {kept + at * size, dx + at * 3 * size, dlast, own, own + padded});
                if (s.resets(b, t, call.backwards)) std::fill_n(dlast, size, T(0));
            }
        });
        team.barrier();
        const Range mine = team.share(2 * vectors);
        RowSum<T> sum{};
        sum.g = sums;
        sum.g_row = 2 * padded;
        sum.g_panel = lanes;
        sum.rows = call.rows;
        sum.panel_begin = mine.begin;
        sum.panel_end = mine.end;
        sum.out = total;
        sum.out_panel = lanes;
        sum.slots = 1;
        table.sum_rows(sum);
    });
    std::copy_n(total, size, dweight);
    std::copy_n(total + padded, size, dbias);
}

}  // namespace grufast
