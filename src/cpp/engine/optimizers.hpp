// Parameter updates, each one pass over memory.
#pragma once

#include "dispatch.hpp"
#include "threads.hpp"

namespace grufast {

// Calls f(offset, count) on shares of n elements. A pass is bound by memory: an element counts
// as some 20 operations.
template <class F>
void for_elements(Index n, const F& f) {
    parallel(threads_for(20.0 * static_cast<double>(n)), [&](Team& team) {
        const Range mine = team.share(n, 64);
        if (!mine.empty()) f(mine.begin, mine.end - mine.begin);
    });
}

// velocity may be null: no momentum.
template <class T>
void sgd_step(const Sgd<T>& settings, T* weight, const T* gradient, T* velocity, Index n) {
    const KernelTable<T>& table = active_table<T>();
    for_elements(n, [&](Index i, Index count) {
        table.sgd(settings, weight + i, gradient + i, velocity ? velocity + i : nullptr, count);
    });
}

template <class T>
void adam_step(const Adam<T>& settings, T* weight, const T* gradient, T* m, T* v, Index n) {
    const KernelTable<T>& table = active_table<T>();
    for_elements(n, [&](Index i, Index count) {
        table.adam(settings, weight + i, gradient + i, m + i, v + i, count);
    });
}

}  // namespace grufast
