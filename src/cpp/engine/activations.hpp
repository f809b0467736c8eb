// Activations of flat arrays; threads share the elements, each of which counts as some 20
// operations.
#pragma once

#include "dispatch.hpp"
#include "threads.hpp"

namespace grufast {

template <class T>
void activate(Activation activation, const T* a, T* y, Index n) {
    const KernelTable<T>& table = active_table<T>();
    parallel(threads_for(20.0 * static_cast<double>(n)), [&](Team& team) {
        const Range mine = team.share(n, 64);
        if (mine.empty()) return;
        table.activate(activation, a + mine.begin, y + mine.begin, mine.end - mine.begin);
    });
}

template <class T>
void activate_backward(Activation activation, const T* kept, const T* dy, T* da, Index n) {
    const KernelTable<T>& table = active_table<T>();
    parallel(threads_for(20.0 * static_cast<double>(n)), [&](Team& team) {
        const Range mine = team.share(n, 64);
        if (mine.empty()) return;
        table.activate_backward(activation, kept + mine.begin, dy + mine.begin, da + mine.begin,
                                mine.end - mine.begin);
    });
}

}  // namespace grufast
