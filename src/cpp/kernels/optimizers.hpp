// The optimizers' rules, each one pass over a weight, its gradient and what the rule keeps.
#pragma once

#include "pointwise.hpp"

namespace grufast {
namespace {

// weight = decay * weight - step(offset, lanes in use, clipped gradient).
template <class T, class F>
GRUFAST_INLINE void update_vectors(const Update<T>& u, const F& step) {
    const Vec<T> scale = splat<T>(u.scale), limit = splat<T>(u.limit);
    const Vec<T> decay = splat<T>(u.decay);
    for_vectors<T>(u.n, [&](Index i, Index part) {
        const Vec<T> scaled = scale * load_part<T>(u.gradient + i, part);
        const Vec<T> gradient = at_least(at_most(scaled, limit), -limit);
        const Vec<T> weight = decay * load_part<T>(u.weight + i, part);
        store_part<T>(u.weight + i, weight - step(i, part, gradient), part);
    });
}

template <class T>
void sgd(const Sgd<T>& s, const Update<T>& u) noexcept {
    const Vec<T> rate = splat<T>(-s.learning_rate), momentum = splat<T>(s.momentum);
    T* velocity = u.kept[0];
    update_vectors<T>(u, [&](Index i, Index part, Vec<T> gradient) {
        const Vec<T> step = rate * gradient;
        if (!velocity) return -step;
        const Vec<T> v = fma(momentum, load_part<T>(velocity + i, part), step);
        store_part<T>(velocity + i, v, part);
        return -(s.nesterov ? fma(momentum, v, step) : v);
    });
}

// Kingma & Ba 2015, algorithm 1: w -= rate m^ / (sqrt(v^) + epsilon); with v_hat (Reddi et al.
// 2018) the largest v so far stands in for v.
template <class T>
void adam(const Adam<T>& s, const Update<T>& u) noexcept {
    const Vec<T> beta_1 = splat<T>(s.beta_1), beta_2 = splat<T>(s.beta_2);
    const Vec<T> rest_1 = splat<T>(s.rest_1), rest_2 = splat<T>(s.rest_2);
    const Vec<T> correction = splat<T>(s.correction), epsilon = splat<T>(s.epsilon);
    const Vec<T> step_size = splat<T>(s.step_size);
    T *m = u.kept[0], *v = u.kept[1], *v_hat = u.kept[2];
    update_vectors<T>(u, [&](Index i, Index part, Vec<T> gradient) {
        const Vec<T> first = fma(beta_1, load_part<T>(m + i, part), rest_1 * gradient);
        Vec<T> second = fma(beta_2, load_part<T>(v + i, part), rest_2 * gradient * gradient);
        store_part<T>(m + i, first, part);
        store_part<T>(v + i, second, part);
        if (v_hat) {
            second = at_least(second, load_part<T>(v_hat + i, part));
            store_part<T>(v_hat + i, second, part);
        }
        return step_size * first / fma(sqrt(second), correction, epsilon);
    });
}

template <class T>
void rmsprop(const RmsProp<T>& s, const Update<T>& u) noexcept {
    const Vec<T> rate = splat<T>(s.learning_rate), momentum = splat<T>(s.momentum);
    const Vec<T> rho = splat<T>(s.rho), rest = splat<T>(s.rest);
    const Vec<T> epsilon = splat<T>(s.epsilon);
    T *squares = u.kept[0], *sum = u.kept[1], *mean = u.kept[2];
    update_vectors<T>(u, [&](Index i, Index part, Vec<T> gradient) {
        Vec<T> variance = fma(rho, load_part<T>(squares + i, part), rest * gradient * gradient);
        store_part<T>(squares + i, variance, part);
        if (mean) {
            const Vec<T> average = fma(rho, load_part<T>(mean + i, part), rest * gradient);
            store_part<T>(mean + i, average, part);
            // Rounding may leave less than nothing where all gradients have been the same.
            variance = at_least(variance - average * average, Vec<T>{});
        }
        const Vec<T> step = rate * gradient / sqrt(variance + epsilon);
        if (!sum) return step;
        const Vec<T> total = fma(momentum, load_part<T>(sum + i, part), step);
        store_part<T>(sum + i, total, part);
        return total;
    });
}

template <class T>
void adagrad(const Adagrad<T>& s, const Update<T>& u) noexcept {
    const Vec<T> rate = splat<T>(s.learning_rate), epsilon = splat<T>(s.epsilon);
    T* accumulator = u.kept[0];
    update_vectors<T>(u, [&](Index i, Index part, Vec<T> gradient) {
        const Vec<T> sum = fma(gradient, gradient, load_part<T>(accumulator + i, part));
        store_part<T>(accumulator + i, sum, part);
        return rate * gradient / sqrt(sum + epsilon);
    });
}

// In double, where the squares of floats neither overflow nor vanish.
template <class T>
double sum_squares(const T* x, Index n) noexcept {
    constexpr int kSums = 4;  // so many additions are under way at a time
    constexpr Index lanes = kLanes<double>;
    typedef T Part __attribute__((vector_size(lanes * sizeof(T))));
    Vec<double> sums[kSums] = {};
    Index i = 0;
    for (; i + kSums * lanes <= n; i += kSums * lanes) {
        for (int k = 0; k < kSums; ++k) {
            Part part;
            __builtin_memcpy(&part, x + i + k * lanes, sizeof part);
            const Vec<double> wide = __builtin_convertvector(part, Vec<double>);
            sums[k] = fma(wide, wide, sums[k]);
        }
    }
    const Vec<double> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double total = 0;
    for (int lane = 0; lane < lanes; ++lane) total += sum[lane];
    for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return total;
}

}  // namespace
}  // namespace grufast
