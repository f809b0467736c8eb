// Softmax and cross-entropy of rows of logits, with the gradient: a row at a time, so that its
// bits do not depend on the others.
#pragma once

#include "pointwise.hpp"

namespace grufast {
namespace {

// v in the first n lanes, `rest` in the others.
template <class T>
GRUFAST_INLINE Vec<T> first_lanes(Vec<T> v, Vec<T> rest, Index n) {
    using Lane = decltype(Bits<T>{}[0] + 0);
    Bits<T> lane;
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    return lane < (static_cast<Lane>(n) - Bits<T>{}) ? v : rest;
}

// The largest logit; a NaN is found by the differences from it.
template <class T>
GRUFAST_INLINE T row_maximum(const T* logits, Index n) {
    const Vec<T> first = splat<T>(logits[0]);
    Vec<T> best = first;
    for_vectors<T>(n, [&](Index i, Index part) {
        Vec<T> v = load_part<T>(logits + i, part);
        if (part < kLanes<T>) v = first_lanes<T>(v, first, part);
        best = v > best ? v : best;
    });
    T lanes[kLanes<T>];
    store<T>(lanes, best);
    T maximum = lanes[0];
    for (int i = 1; i < kLanes<T>; ++i) maximum = lanes[i] > maximum ? lanes[i] : maximum;
    return maximum;
}

// With d = z - max z, S = sum e^d and a target t (labels: one at the label): the loss is
// (sum t) log S - sum t d, its gradient (sum t) e^d / S - t.
template <class T>
GRUFAST_INLINE void cross_entropy_row(const CrossEntropy<T>& c, Index r) {
    const Index n = c.classes;
    const T* logits = c.logits + r * c.row;
    const T* targets = c.targets ? c.targets + r * n : nullptr;
    T* gradient = c.gradient ? c.gradient + r * n : nullptr;
    const Index label = c.labels ? c.labels[r] : 0;
    if (label < 0 || label >= n) {  // the caller has looked, but labels may change under us
        c.losses[r] = T(__builtin_nan(""));
        for (Index i = 0; gradient && i < n; ++i) gradient[i] = c.losses[r];
        return;
    }
    const Vec<T> keep = splat<T>(c.keep), spread = splat<T>(c.spread);
    const auto target = [&](Index i, Index part) {
        Vec<T> t = spread;
        if (targets) t = fma(keep, load_part<T>(targets + i, part), t);
        return part < kLanes<T> ? first_lanes<T>(t, Vec<T>{}, part) : t;
    };
    const T maximum = row_maximum(logits, n);
    const Vec<T> top = splat<T>(maximum);
    const Vec<T> limit = splat<T>(-ExpConstants<T>::exp_limit);
    Vec<T> powers{}, weight{}, product{};
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> d = load_part<T>(logits + i, part) - top;
        // What fills the last vector may be far above 0.
        const Vec<T> inside = at_most(at_least(d, limit), Vec<T>{});
        const Vec<T> power = exp(One<T>(inside));
        Vec<T> e = d < limit ? Vec<T>{} : power;
        if (part < kLanes<T>) e = first_lanes<T>(e, Vec<T>{}, part);
        const Vec<T> t = target(i, part);
        powers += e;
        weight += t;
        product += t == 0 ? Vec<T>{} : t * d;  // 0 for a target of 0, though d may be -inf
        if (gradient) store_part<T>(gradient + i, e, part);
    });
    const double sum = lane_sum<T>(powers), log_sum = __builtin_log(sum);
    double loss, total;
    if (targets) {
        total = lane_sum<T>(weight);
        loss = total * log_sum - lane_sum<T>(product);
    } else {
        const auto own = static_cast<double>(c.keep * (logits[label] - maximum));
        total = 1;
        loss = log_sum - own - lane_sum<T>(product);
    }
    c.losses[r] = static_cast<T>(loss);
    if (!gradient) return;
    const T scale = c.weights ? c.weights[r] * c.scale : c.scale;
    const T factor = static_cast<T>(total / sum);
    const T at_label = (gradient[label] * factor - c.spread) - c.keep;
    for_vectors<T>(n, [&](Index i, Index part) {
        const Vec<T> p = load_part<T>(gradient + i, part) * splat<T>(factor);
        store_part<T>(gradient + i, splat<T>(scale) * (p - target(i, part)), part);
    });
    if (!targets) gradient[label] = scale * at_label;
}

template <class T>
void cross_entropy(const CrossEntropy<T>& c) noexcept {
    for (Index r = 0; r < c.rows; ++r) cross_entropy_row(c, r);
}

}  // namespace
}  // namespace grufast
