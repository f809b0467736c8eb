// Parameter updates: all weights of a call in one pass over memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "dispatch.hpp"
#include "threads.hpp"

namespace grufast {

// A weight, its gradient and what a rule keeps for it.
template <class T>
struct Item {
    T* weight;
    const T* gradient;
    T* kept[kMaxKept];
    std::int64_t* step;        // updates so far; null where the rule does not count them
    const std::int64_t* rows;  // the weight's rows that the gradient has; null: all of them
    Index n, width;            // elements of the gradient; of a row, if `rows`
};

struct Items {
    std::vector<Item<float>> f32;
    std::vector<Item<double>> f64;
    void add(const Item<float>& item) { f32.push_back(item); }
    void add(const Item<double>& item) { f64.push_back(item); }
};

// What all rules share; a threshold of infinity clips nothing.
struct UpdateSettings {
    double learning_rate, weight_decay;
    double clipnorm, clipvalue, global_clipnorm;
};

// The rules: their settings, and what their kernels take of them at a step (from 1).
struct SgdRule {
    double learning_rate, momentum;
    bool nesterov;
    template <class T>
    Sgd<T> at(std::int64_t) const {
        return {static_cast<T>(learning_rate), static_cast<T>(momentum), nesterov};
    }
    template <class T>
    static auto kernel(const KernelTable<T>& table) {
        return table.sgd;
    }
};

struct AdamRule {
    double learning_rate, beta_1, beta_2, epsilon;
    template <class T>
    Adam<T> at(std::int64_t step) const {
        const auto count = static_cast<double>(step);
        return {static_cast<T>(learning_rate / (1 - std::pow(beta_1, count))),
                static_cast<T>(beta_1),
                static_cast<T>(1 - beta_1),
                static_cast<T>(beta_2),
                static_cast<T>(1 - beta_2),
                static_cast<T>(1 / std::sqrt(1 - std::pow(beta_2, count))),
                static_cast<T>(epsilon)};
    }
    template <class T>
    static auto kernel(const KernelTable<T>& table) {
        return table.adam;
    }
};

struct RmsPropRule {
    double learning_rate, rho, momentum, epsilon;
    template <class T>
    RmsProp<T> at(std::int64_t) const {
        return {static_cast<T>(learning_rate), static_cast<T>(rho), static_cast<T>(1 - rho),
                static_cast<T>(momentum), static_cast<T>(epsilon)};
    }
    template <class T>
    static auto kernel(const KernelTable<T>& table) {
        return table.rmsprop;
    }
};

struct AdagradRule {
    double learning_rate, epsilon;
    template <class T>
    Adagrad<T> at(std::int64_t) const {
        return {static_cast<T>(learning_rate), static_cast<T>(epsilon)};
    }
    template <class T>
    static auto kernel(const KernelTable<T>& table) {
        return table.adagrad;
    }
};

// The sum of squares of each gradient. Chunks depend on its size only, and are added in order:
// the bits do not depend on the threads.
template <class T>
std::vector<double> sums_of_squares(const std::vector<Item<T>>& items) {
    constexpr Index kChunk = 4096;
    struct Chunk {
        std::size_t item;
        const T* x;
        Index n;
        double sum;
    };
    std::vector<Chunk> chunks;
    double elements = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        for (Index at = 0; at < items[i].n; at += kChunk) {
            chunks.push_back({i, items[i].gradient + at, std::min(kChunk, items[i].n - at), 0});
        }
        elements += static_cast<double>(items[i].n);
    }
    const KernelTable<T>& table = active_table<T>();
    parallel(threads_for(4 * elements), [&](Team& team) {
        const Range mine = team.share(static_cast<Index>(chunks.size()));
        for (Index c = mine.begin; c < mine.end; ++c) {
            Chunk& chunk = chunks[static_cast<std::size_t>(c)];
            chunk.sum = table.sum_squares(chunk.x, chunk.n);
        }
    });
    std::vector<double> sums(items.size(), 0.0);
    for (const Chunk& chunk : chunks) sums[chunk.item] += chunk.sum;
    return sums;
}

// What makes a norm of more than the threshold equal to it. NaN stays NaN.
inline double clipping_scale(double sum_of_squares, double threshold) {
    const double norm = std::sqrt(sum_of_squares);
    return norm <= threshold ? 1.0 : threshold / norm;
}

// Runs the rule over all items of a type; scales by item.
template <class T, class Rule>
void update_items(const std::vector<Item<T>>& items, const std::vector<double>& scales,
                  const Rule& rule, const UpdateSettings& settings) {
    Index total = 0;
    for (const Item<T>& item : items) {
        if (item.step) ++*item.step;
        total += item.n;
    }
    if (total == 0) return;
    const auto kernel = Rule::kernel(active_table<T>());
    const auto limit = static_cast<T>(settings.clipvalue);
    const auto decay = static_cast<T>(1 - settings.learning_rate * settings.weight_decay);

    // Elements [begin, end) of an item's gradient.
    const auto run = [&](const Item<T>& item, T scale, const auto& at, Index begin, Index end) {
        while (begin < end) {
            Index place = begin, stop = end;
            if (item.rows) {
                const Index row = begin / item.width;
                stop = std::min(end, (row + 1) * item.width);
                place += (static_cast<Index>(item.rows[row]) - row) * item.width;
            }
            Update<T> u{};
            u.weight = item.weight + place;
            u.gradient = item.gradient + begin;
            for (int k = 0; k < kMaxKept; ++k) {
                u.kept[k] = item.kept[k] ? item.kept[k] + place : nullptr;
            }
            u.n = stop - begin;
            u.scale = scale;
            u.limit = limit;
            u.decay = decay;
            kernel(at, u);
            begin = stop;
        }
    };
    // Bound by memory: an element counts as some 20 operations.
    parallel(threads_for(20.0 * static_cast<double>(total)), [&](Team& team) {
        const Range mine = team.share(total, 64);
        std::int64_t step = -1;
        decltype(rule.template at<T>(step)) at{};
        Index first = 0;  // of all items' elements, laid end to end
        for (std::size_t i = 0; i < items.size() && first < mine.end; ++i) {
            const Item<T>& item = items[i];
            const Index begin = std::max(mine.begin - first, Index{0});
            const Index end = std::min(mine.end - first, item.n);
            first += item.n;
            if (begin >= end) continue;
            if (const std::int64_t now = item.step ? *item.step : 0; now != step) {
                step = now;
                at = rule.template at<T>(step);
            }
            run(item, static_cast<T>(scales[i]), at, begin, end);
        }
    });
}

// Moves the weights. The bits depend on neither the threads nor on what else is in the call,
// a global norm aside.
template <class Rule>
void update(Items& items, const Rule& rule, const UpdateSettings& settings) {
    std::vector<double> f32(items.f32.size(), 1.0), f64(items.f64.size(), 1.0);
    const bool global = !std::isinf(settings.global_clipnorm);
    if (global || !std::isinf(settings.clipnorm)) {
        f32 = sums_of_squares(items.f32);
        f64 = sums_of_squares(items.f64);
        double all = 0;
        for (double sum : f32) all += sum;
        for (double sum : f64) all += sum;
        // As in Keras, a global norm of infinity leaves no number.
        const double shared = clipping_scale(all, settings.global_clipnorm) + (all - all);
        const auto scale = [&](double& sum) {
            sum = global ? shared : clipping_scale(sum, settings.clipnorm);
        };
        std::for_each(f32.begin(), f32.end(), scale);
        std::for_each(f64.begin(), f64.end(), scale);
    }
    update_items(items.f32, f32, rule, settings);
    update_items(items.f64, f64, rule, settings);
}

}  // namespace grufast
