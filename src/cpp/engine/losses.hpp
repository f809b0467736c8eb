// Losses that are worth native code.
#pragma once

#include "dispatch.hpp"
#include "threads.hpp"

namespace grufast {

// Threads share the rows; a logit counts as some 30 operations.
template <class T>
void cross_entropy(const CrossEntropy<T>& all) {
    const KernelTable<T>& table = active_table<T>();
    const double size = static_cast<double>(all.rows) * static_cast<double>(all.classes);
    parallel(threads_for(30.0 * size), [&](Team& team) {
        const Range mine = team.share(all.rows, 8);
        if (mine.empty()) return;
        CrossEntropy<T> part = all;
        part.rows = mine.end - mine.begin;
        part.logits += mine.begin * all.row;
        part.losses += mine.begin;
        if (part.labels) part.labels += mine.begin;
        if (part.weights) part.weights += mine.begin;
        if (part.targets) part.targets += mine.begin * all.classes;
        if (part.gradient) part.gradient += mine.begin * all.classes;
        table.cross_entropy(part);
    });
}

}  // namespace grufast
