// Layer normalisation of any cell with one stage: the products W x and U h are normalised over
// all gates' units of a row before they meet,
//   LN(v) = gain (v - mean(v)) / sqrt(var(v) + 1e-5) + bias.
// Ba, Kiros and Hinton 2016, arXiv 1607.06450.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

template <class T>
GRUFAST_INLINE T sum_of_lanes(Vec<T> v) {
    T sum = 0;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i) sum += v[i];
    return sum;
}

// The base cell's slots for x, then those of its product with h. Unit parameters are gains of
// x's and of h's row blocks, then biases of both.
template <class Base>
struct Normalized {
    static constexpr Stage window = Base::info.stage[0];
    static constexpr int inputs = Base::info.input_slots, products = window.slots;
    static constexpr int blocks = Base::info.ih_blocks;
    static_assert(Base::info.stages == 1 && blocks == Base::info.hh_blocks);

    static constexpr CellInfo make_info(const char* name) {
        CellInfo cell = Base::info;
        cell.name = name;
        cell.slots = inputs + products;
        for (int s = 0; s < cell.slots; ++s) {
            cell.ih_block[s] = s < inputs ? Base::info.ih_block[s] : -1;
            cell.hh_block[s] =
                s < inputs ? -1 : Base::info.hh_block[window.first_slot + s - inputs];
        }
        cell.stage[0] = {inputs, products, 0, 0};
        cell.parameters = 4 * blocks;
        cell.separate = true;
        cell.whole_rows = true;
        return cell;
    }

    template <class T>
    struct Moments {
        T mean, scale;
    };
    // Of `count` slots of a row, H units each.
    template <class T>
    static GRUFAST_INLINE Moments<T> moments(const T* slots, Index panel, int count,
                                             Index hidden) {
        constexpr Index lanes = kLanes<T>;
        const auto n = static_cast<T>(hidden * count);
        T ones[lanes];
        for (T& one : ones) one = 1;
        Vec<T> sum{}, squares{};
        for (Index u = 0; u < hidden; u += lanes) {
            for (int s = 0; s < count; ++s) {
                sum += load_part<T>(slots + u / lanes * panel + s * lanes, hidden - u);
            }
        }
        const T mean = sum_of_lanes<T>(sum) / n;
        const Vec<T> all = splat<T>(mean);
        for (Index u = 0; u < hidden; u += lanes) {
            const Vec<T> units = load_part<T>(ones, hidden - u);  // not what fills the vector
            for (int s = 0; s < count; ++s) {
                const Vec<T> v = (load<T>(slots + u / lanes * panel + s * lanes) - all) * units;
                squares = fma(v, v, squares);
            }
        }
        const Vec<T> root = sqrt(splat<T>(sum_of_lanes<T>(squares) / n + T(1e-5)));
        return {mean, 1 / root[0]};
    }

    // The base cell's unit, and what its sums are made of.
    template <class T>
    struct Unit {
        T slots[kMaxSlots * kLanes<T>];
        Vec<T> sum[kMaxWindow];
        Vec<T> x[kMaxWindow], h[kMaxWindow];  // normalised, before gain and bias
    };
    template <class T>
    static GRUFAST_INLINE void normalize(Unit<T>& unit, const T* slots, const T* parameters,
                                         Moments<T> of_x, Moments<T> of_h) {
        constexpr Index lanes = kLanes<T>;
        const auto parameter = [&](int i) { return load<T>(parameters + i * lanes); };
        for (int s = 0; s < inputs; ++s) {
            const int block = Base::info.ih_block[s];
            unit.x[s] = (load<T>(slots + s * lanes) - splat<T>(of_x.mean)) * of_x.scale;
            store<T>(unit.slots + s * lanes,
                     fma(unit.x[s], parameter(block), parameter(2 * blocks + block)));
        }
        for (int j = 0; j < products; ++j) {
            const int slot = window.first_slot + j, block = Base::info.hh_block[slot];
            unit.h[j] =
                (load<T>(slots + (inputs + j) * lanes) - splat<T>(of_h.mean)) * of_h.scale;
            unit.sum[j] =
                fma(unit.h[j], parameter(blocks + block), parameter(3 * blocks + block));
            if (slot < inputs) unit.sum[j] += load<T>(unit.slots + slot * lanes);
        }
    }

    template <class T>
    static void forward_row(T* slots, Index panel, Index hidden, ForwardUnit<T> u) {
        constexpr Index lanes = kLanes<T>;
        const Moments<T> of_x = moments<T>(slots, panel, inputs, hidden);
        const Moments<T> of_h = moments<T>(slots + inputs * lanes, panel, products, hidden);
        for (Index i = 0; i < hidden; i += lanes, slots += panel) {
            Unit<T> unit;
            normalize<T>(unit, slots, u.parameters, of_x, of_h);
            u.slots = unit.slots;
            Base::template forward<0, T>(unit.sum, u, false);
            u.parameters += 4 * blocks * lanes;
            for (int s = 0; s < Base::info.sequences; ++s) {
                u.before[s] += lanes;
                u.after[s] += lanes;
            }
        }
    }

    // dparameters: of this row, [panel][parameters, then slots as a scratch][lanes].
    template <class T>
    static void backward_row(T* slots, Index panel, Index hidden, BackwardUnit<T> u,
                             T* dparameters) {
        constexpr Index lanes = kLanes<T>, own = (4 * blocks + inputs + products) * lanes;
        const Moments<T> of_x = moments<T>(slots, panel, inputs, hidden);
        const Moments<T> of_h = moments<T>(slots + inputs * lanes, panel, products, hidden);
        Vec<T> sum_x{}, sum_h{}, dot_x{}, dot_h{};
        const auto n_x = static_cast<T>(hidden * inputs);
        const auto n_h = static_cast<T>(hidden * products);
        T* d = dparameters;
        for (Index i = 0; i < hidden; i += lanes, d += own) {
            Unit<T> unit;
            const T* raw = slots + i / lanes * panel;
            normalize<T>(unit, raw, u.parameters, of_x, of_h);
            // Forward again for what it saves, then backward, on slots of their own.
            T unused[kMaxSequences * lanes];
            ForwardUnit<T> again{};
            again.slots = unit.slots;
            again.activation = u.activation;
            for (int s = 0; s < Base::info.sequences; ++s) {
                again.before[s] = u.before[s];
                again.after[s] = unused + s * lanes;
            }
            Base::template forward<0, T>(unit.sum, again, true);
            u.slots = unit.slots;
            Base::template backward<0, T>(load<T>(u.carry[0]), u);
            const auto add = [&](int index, Vec<T> more) {
                store<T>(d + index * lanes, load<T>(d + index * lanes) + more);
            };
            // Units that only fill the last vector must add nothing.
            const Index part = hidden - i;
            T* scratch = d + 4 * blocks * lanes;
            for (int s = 0; s < inputs; ++s) {
                const int block = Base::info.ih_block[s];
                const Vec<T> g = load_part<T>(unit.slots + s * lanes, part);
                add(block, g * unit.x[s]);
                add(2 * blocks + block, g);
                const Vec<T> scaled = g * load<T>(u.parameters + block * lanes);
                store<T>(scratch + s * lanes, scaled);
                sum_x += scaled;
                dot_x = fma(scaled, unit.x[s], dot_x);
            }
            for (int j = 0; j < products; ++j) {
                const int slot = window.first_slot + j, block = Base::info.hh_block[slot];
                const Vec<T> g = load_part<T>(unit.slots + slot * lanes, part);
                add(blocks + block, g * unit.h[j]);
                add(3 * blocks + block, g);
                const Vec<T> scaled = g * load<T>(u.parameters + (blocks + block) * lanes);
                store<T>(scratch + (inputs + j) * lanes, scaled);
                sum_h += scaled;
                dot_h = fma(scaled, unit.h[j], dot_h);
            }
            u.parameters += 4 * blocks * lanes;
            for (int s = 0; s < Base::info.sequences; ++s) {
                u.before[s] += lanes;
                u.carry[s] += lanes;
            }
        }
        // d v = scale (g - mean(g) - v^ mean(g v^)), g being the gradient of v^.
        const Vec<T> mean_x = splat<T>(sum_of_lanes<T>(sum_x) / n_x);
        const Vec<T> mean_h = splat<T>(sum_of_lanes<T>(sum_h) / n_h);
        const Vec<T> along_x = splat<T>(sum_of_lanes<T>(dot_x) / n_x);
        const Vec<T> along_h = splat<T>(sum_of_lanes<T>(dot_h) / n_h);
        const T* scratch = dparameters + 4 * blocks * lanes;
        for (Index i = 0; i < hidden; i += lanes, slots += panel, scratch += own) {
            for (int s = 0; s < inputs + products; ++s) {
                const bool of_input = s < inputs;
                const Moments<T> m = of_input ? of_x : of_h;
                T* slot = slots + s * lanes;
                const Vec<T> v = (load<T>(slot) - splat<T>(m.mean)) * m.scale;
                const Vec<T> g = load<T>(scratch + s * lanes) - (of_input ? mean_x : mean_h);
                const Vec<T> raw = (g - v * (of_input ? along_x : along_h)) * m.scale;
                store<T>(slot, raw);
                if (hidden - i < lanes) {
                    store<T>(slot, load_some<T>(slot, hidden - i));
                }
            }
        }
    }
};

struct GruNormalized : Normalized<GruOf<Usual, false>> {
    static constexpr CellInfo info = make_info("gru_normalized");
    static constexpr int back[] = {0};
};
struct LstmNormalized : Normalized<LstmOf<Usual, false, false>> {
    static constexpr CellInfo info = make_info("lstm_normalized");
    static constexpr int back[] = {0};
};

}  // namespace
}  // namespace grufast
