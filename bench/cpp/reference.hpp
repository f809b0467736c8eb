// The gated recurrent unit by the textbook, in double, one sequence at a time: what the
// benchmarks compare with. PyTorch's convention, reset after; row blocks of the weights are r,
// z, n.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/kernels.hpp"

namespace grufast::reference {

// One unit's gates, with q = U_n h + b_hn; or the gradients of the sums that they are made of.
struct Gates {
    double r, z, n, q;
};

inline double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

// From the products with x and h, biases included.
inline Gates gates(double a_r, double a_z, double a_n, double q) {
    const double r = sigmoid(a_r);
    return {r, sigmoid(a_z), std::tanh(a_n + r * q), q};
}
inline double next_state(const Gates& g, double h) { return (1 - g.z) * g.n + g.z * h; }

// From dh, the gradient of the next state. What h gets besides the products is dh * g.z.
inline Gates gradients(const Gates& g, double h, double dh) {
    const double dn = dh * (1 - g.z) * (1 - g.n * g.n);
    return {dn * g.q * g.r * (1 - g.r), dh * (h - g.n) * g.z * (1 - g.z), dn, dn * g.r};
}

struct Weights {
    Index input, hidden;
    std::vector<double> weight_ih, weight_hh, bias_ih, bias_hh;
};

inline double row_times(const std::vector<double>& weight, Index row, const double* v,
                        Index size) {
    double sum = 0;
    for (Index i = 0; i < size; ++i) sum += weight[row * size + i] * v[i];
    return sum;
}

// One sequence and what forward keeps of it for backward.
struct Sequence {
    Index steps;
    std::vector<double> x, h;  // [T][C], [T + 1][H]; h[0] is given
    std::vector<Gates> gates;  // [T][H]
};

inline void forward(const Weights& w, Sequence& s) {
    const Index C = w.input, H = w.hidden;
    s.h.resize((s.steps + 1) * H);
    s.gates.resize(s.steps * H);
    for (Index t = 0; t < s.steps; ++t) {
        const double *x = &s.x[t * C], *h = &s.h[t * H];
        const auto from_x = [&](Index row) {
            return row_times(w.weight_ih, row, x, C) + w.bias_ih[row];
        };
        const auto from_h = [&](Index row) {
            return row_times(w.weight_hh, row, h, H) + w.bias_hh[row];
        };
        for (Index u = 0; u < H; ++u) {
            Gates& g = s.gates[t * H + u];
            g = gates(from_x(u) + from_h(u), from_x(H + u) + from_h(H + u), from_x(2 * H + u),
                      from_h(2 * H + u));
            s.h[(t + 1) * H + u] = next_state(g, h[u]);
        }
    }
}

// dy [T][H] and dh, the last state's gradient, which becomes the first one's. Gives dx [T][C],
// adds to the weights' gradients.
inline void backward(const Weights& w, const Sequence& s, const std::vector<double>& dy,
                     std::vector<double>& dh, std::vector<double>& dx, Weights& dw) {
    const Index C = w.input, H = w.hidden;
    dx.assign(s.steps * C, 0);
    for (Index t = s.steps; t-- > 0;) {
        std::vector<double> before(H);
        const double *x = &s.x[t * C], *h = &s.h[t * H];
        for (Index u = 0; u < H; ++u) {
            const Gates& g = s.gates[t * H + u];
            const double d_next = dh[u] + dy[t * H + u];
            const Gates d = gradients(g, h[u], d_next);
            before[u] += d_next * g.z;
            const double d_ih[] = {d.r, d.z, d.n}, d_hh[] = {d.r, d.z, d.q};
            for (int block = 0; block < 3; ++block) {
                const Index row = block * H + u;
                const double a = d_ih[block], b = d_hh[block];
                dw.bias_ih[row] += a;
                dw.bias_hh[row] += b;
                for (Index i = 0; i < C; ++i) {
                    dw.weight_ih[row * C + i] += a * x[i];
                    dx[t * C + i] += a * w.weight_ih[row * C + i];
                }
                for (Index i = 0; i < H; ++i) {
                    dw.weight_hh[row * H + i] += b * h[i];
                    before[i] += b * w.weight_hh[row * H + i];
                }
            }
        }
        dh = before;
    }
}

}  // namespace grufast::reference
