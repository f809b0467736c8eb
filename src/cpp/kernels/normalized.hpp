// Layer normalisation of any cell with one stage: the products W x and U h are normalised over
// all gates' units of a row before they meet,
//   LN(v) = gain (v - mean(v)) / sqrt(var(v) + 1e-5) + bias.
// Ba, Kiros and Hinton 2016, arXiv 1607.06450.
#pragma once

#include "cell.hpp"

namespace grufast {
namespace {

// The base cell's slots for x, then those of its product with h. Unit parameters are gains of
// x's and of h's row blocks, then biases of both, then the base cell's own.
template <class Base>
struct Normalized {
    static constexpr Stage window = Base::info.stage[0];
    static constexpr int inputs = Base::info.input_slots, products = window.slots;
    static constexpr int blocks = Base::info.ih_blocks;
    static constexpr int normal = 4 * blocks, all = normal + Base::info.parameters;
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
        cell.parameters = all;
        cell.diagonals = 0;  // their gradients are added up here
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
        const auto n = static_cast<double>(hidden * count);
        T ones[lanes];
        for (T& one : ones) one = 1;
        Vec<T> sum{}, squares{};
        for (Index u = 0; u < hidden; u += lanes) {
            for (int s = 0; s < count; ++s) {
                sum += load_part<T>(slots + u / lanes * panel + s * lanes, hidden - u);
            }
        }
        const T mean = static_cast<T>(lane_sum<T>(sum) / n);
        const Vec<T> all = splat<T>(mean);
        for (Index u = 0; u < hidden; u += lanes) {
            const Vec<T> units = load_part<T>(ones, hidden - u);  // not what fills the vector
            for (int s = 0; s < count; ++s) {
                const Vec<T> v = (load<T>(slots + u / lanes * panel + s * lanes) - all) * units;
                squares = fma(v, v, squares);
            }
        }
        const Vec<T> root = sqrt(splat<T>(static_cast<T>(lane_sum<T>(squares) / n + 1e-5)));
        return {mean, 1 / root[0]};
    }

    // The base cell's unit, and what its sums are made of.
    template <class T>
    struct Unit {
        T slots[kMaxSlots * kLanes<T>];
        One<T> sum[kMaxWindow];
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
            Vec<T> sum =
                fma(unit.h[j], parameter(blocks + block), parameter(3 * blocks + block));
            if (slot < inputs) sum += load<T>(unit.slots + slot * lanes);
            unit.sum[j] = sum;
        }
    }

    template <class T>
    static void forward_row(Index panel, Index hidden, ForwardUnits<One<T>> u) {
        constexpr Index lanes = kLanes<T>;
        T* slots = u.slots.at[0];
        const Moments<T> of_x = moments<T>(slots, panel, inputs, hidden);
        const Moments<T> of_h = moments<T>(slots + inputs * lanes, panel, products, hidden);
        auto own = u.parameters;
        for (Index i = 0; i < hidden; i += lanes, slots += panel, own += all * lanes) {
            Unit<T> unit;
            normalize<T>(unit, slots, own.at[0], of_x, of_h);
            u.slots = {{unit.slots}};
            u.parameters = own + normal * lanes;
            Base::template forward<0>(unit.sum, u, false);
            for (int s = 0; s < Base::info.sequences; ++s) {
                u.before[s] += lanes;
                u.after[s] += lanes;
            }
        }
    }

    // dparameters: of this row, [panel][parameters, then slots as a scratch][lanes].
    template <class T>
    static void backward_row(Index panel, Index hidden, BackwardUnits<One<T>> u,
                             T* dparameters) {
        constexpr Index lanes = kLanes<T>, own = (all + inputs + products) * lanes;
        T* slots = u.slots.at[0];
        const Moments<T> of_x = moments<T>(slots, panel, inputs, hidden);
        const Moments<T> of_h = moments<T>(slots + inputs * lanes, panel, products, hidden);
        // Of the gradients before gain: their sums, and those along the normalised products.
        struct Sums {
            Vec<T> all{}, along{};
        };
        Sums of_inputs, of_products;
        T* d = dparameters;
        auto parameters = u.parameters;
        for (Index i = 0; i < hidden; i += lanes, d += own, parameters += all * lanes) {
            Unit<T> unit;
            const T* raw = slots + i / lanes * panel;
            normalize<T>(unit, raw, parameters.at[0], of_x, of_h);
            u.parameters = parameters + normal * lanes;
            // Forward again for what it saves, then backward, on slots of their own.
            T after[kMaxSequences * lanes];
            ForwardUnits<One<T>> again{};
            again.slots = {{unit.slots}};
            again.parameters = u.parameters;
            again.activation = u.activation;
            for (int s = 0; s < Base::info.sequences; ++s) {
                again.before[s] = u.before[s];
                again.after[s] = {{after + s * lanes}};
            }
            Base::template forward<0>(unit.sum, again, true);
            u.slots = {{unit.slots}};
            Base::template backward<0>(load(u.carry[0]), u);
            const auto add = [&](int index, Vec<T> more) {
                store<T>(d + index * lanes, load<T>(d + index * lanes) + more);
            };
            // The gradient of the base cell's slot is that of gain v + bias; gains and biases
            // of both sides lie 2 `blocks` apart. Units that only fill the last vector add
            // nothing.
            const auto take = [&](int base_slot, int gain, Vec<T> v, int slot, Sums& sums) {
                const Vec<T> g = load_part<T>(unit.slots + base_slot * lanes, hidden - i);
                add(gain, g * v);
                add(2 * blocks + gain, g);
                const Vec<T> scaled = g * load<T>(parameters.at[0] + gain * lanes);
                store<T>(d + (all + slot) * lanes, scaled);
                sums.all += scaled;
                sums.along = fma(scaled, v, sums.along);
            };
            for (int s = 0; s < inputs; ++s) {
                take(s, Base::info.ih_block[s], unit.x[s], s, of_inputs);
            }
            for (int j = 0; j < products; ++j) {
                const int slot = window.first_slot + j;
                take(slot, blocks + Base::info.hh_block[slot], unit.h[j], inputs + j,
                     of_products);
            }
            for (int j = 0; j < Base::info.diagonals; ++j) {
                const Diagonal w = Base::info.diagonal[j];
                const T* times =
                    w.offset ? after + w.sequence * lanes : u.before[w.sequence].at[0];
                add(normal + j,
                    load_part<T>(unit.slots + w.slot * lanes, hidden - i) * load<T>(times));
            }
            for (int s = 0; s < Base::info.sequences; ++s) u.before[s] += lanes;
            for (int s = 0; s < Base::info.states; ++s) u.carry[s] += lanes;
        }
        // d v = scale (g - mean(g) - v^ mean(g v^)), g being the gradient of v^.
        const auto mean = [&](Vec<T> v, int slots) {
            const double n = static_cast<double>(hidden * slots);
            return splat<T>(static_cast<T>(lane_sum<T>(v) / n));
        };
        const Vec<T> mean_x = mean(of_inputs.all, inputs);
        const Vec<T> mean_h = mean(of_products.all, products);
        const Vec<T> along_x = mean(of_inputs.along, inputs);
        const Vec<T> along_h = mean(of_products.along, products);
        const T* scratch = dparameters + all * lanes;
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
struct LstmPeepholeNormalized : Normalized<LstmOf<Usual, true, false>> {
    static constexpr CellInfo info = make_info("lstm_peephole_normalized");
    static constexpr int back[] = {0};
};

}  // namespace
}  // namespace grufast
