// Every kernel alone, on one thread, for each instruction set that this CPU has: products at
// the row counts that their register tiles are cut for, steps of the cell, activations.
#include <chrono>
#include <memory>

#include "engine/dispatch.hpp"
#include "engine/packing.hpp"
#include "program.hpp"
#include "reference.hpp"

namespace grufast {
namespace {

// Units of epsilon that products and steps may be off, see difference().
constexpr double kUnits = 2;
constexpr int kBlocks[kMaxSlots] = {0, 1, 2, 3};
constexpr int kSlots = 3;     // of the products: those of a GRU's
constexpr Index kPanels = 4;  // single rows take two at a time

// Gates as the kernels keep them: [panel][row][slot][lane].
struct Layout {
    Index lanes, rows, slots;
    Index row() const { return slots * lanes; }
    Index panel() const { return rows * row(); }
    Index size(Index panels) const { return panels * panel(); }
    Index at(Index r, Index slot, Index unit) const {
        return unit / lanes * panel() + r * row() + slot * lanes + unit % lanes;
    }
};

Index whole_panels(Index units, Index lanes) { return (units + lanes - 1) / lanes; }

// A product of so many rows and columns, sums being over k.
double product_flops(Index rows, Index columns, Index k) {
    return 2 * static_cast<double>(rows) * static_cast<double>(columns) *
           static_cast<double>(k);
}

// Projection of x: a [rows][k] times weights [slots * units][k].
template <class T>
struct Panels {
    const KernelTable<T>& table;
    const Index rows, k, units;
    const Layout layout;
    const Array<T> a, weight, bias, packed, out;

    Panels(const KernelTable<T>* table, Index rows, Index k)
        : table(*table),
          rows(rows),
          k(k),
          units(kPanels * table->lanes),
          layout{table->lanes, rows, kSlots},
          a(rows * k, 1.0),
          weight(kSlots * units * k, 1.0),
          bias(kSlots * units, 1.0),
          packed(weight.size()),
          out(layout.size(kPanels)) {
        pack_panels(*table, weight.begin(), units, k, {kBlocks, 0, kSlots}, {0, kPanels},
                    packed.begin());
    }
    void run() {
        PanelGemm<T> g;
        g.a = a.begin();
        g.a_row = g.k = k;
        g.weight = packed.begin();
        g.bias = bias.begin();
        g.bias_panel = layout.lanes * kSlots;
        g.accumulate = 0;
        g.out = out.begin();
        g.out_panel = layout.panel();
        g.out_row = layout.row();
        g.rows = rows;
        g.panels = kPanels;
        g.slots = kSlots;
        table.gemm_panels(g);
    }
    std::string check() {
        run();
        const Exact a = exactly(this->a), weight = exactly(this->weight);
        Exact exact(out.size());
        const Layout one_row = {layout.lanes, 1, kSlots};
        for (Index r = 0; r < rows; ++r) {
            for (Index s = 0; s < kSlots; ++s) {
                for (Index u = 0; u < units; ++u) {
                    exact[layout.at(r, s, u)] =
                        static_cast<double>(bias[one_row.at(0, s, u)]) +
                        reference::row_times(weight, s * units + u, &a[r * k], k);
                }
            }
        }
        return difference("out", out.begin(), exact.data(), out.size(), kUnits, k);
    }
    void count(benchmark::State& state) const {
        state.counters["FLOPS"] = rate(state, product_flops(rows, kSlots * units, k));
    }
};

// Gradient of x: gates of k / slots units times the transposed weights. Five vectors of columns
// make a strip of two and one of three; the last is not full, nor is the gates' last panel.
template <class T>
struct Strips {
    const KernelTable<T>& table;
    const Index rows, units, k, columns;
    const Layout layout;
    const Array<T> a, weight, packed, out;

    Strips(const KernelTable<T>* table, Index rows, Index k)
        : table(*table),
          rows(rows),
          units(k / kSlots),
          k(units * kSlots),
          columns(5 * table->lanes - 1),
          layout{table->lanes, rows, kSlots},
          a(layout.size(whole_panels(units, table->lanes)), 1.0),
          weight(this->k * columns, 1.0),
          packed(this->k * 5 * table->lanes),
          out(rows * columns) {
        pack_strips(*table, weight.begin(), units, columns, {kBlocks, 0, kSlots},
                    {0, (columns + table->lanes - 1) / table->lanes}, packed.begin());
    }
    void run() {
        const Index lanes = layout.lanes, tail = units % lanes;
        StripGemm<T> g{};
        g.a.data = a.begin();
        g.a.row = layout.row();
        g.a.blocks = units / lanes;
        g.a.block_size = layout.row();
        g.a.block = layout.panel();
        g.a.tail_blocks = tail ? kSlots : 0;
        g.a.tail_size = tail;
        g.a.tail_block = lanes;
        g.weight = packed.begin();
        g.out = out.begin();
        g.out_row = g.columns = columns;
        g.rows = rows;
        table.gemm_strips(g);
    }
    std::string check() {
        run();
        Exact exact(out.size());
        for (Index r = 0; r < rows; ++r) {
            for (Index s = 0; s < kSlots; ++s) {
                for (Index u = 0; u < units; ++u) {
                    for (Index c = 0; c < columns; ++c) {
                        exact[r * columns + c] +=
                            static_cast<double>(a[layout.at(r, s, u)]) *
                            static_cast<double>(weight[(s * units + u) * columns + c]);
                    }
                }
            }
        }
        return difference("out", out.begin(), exact.data(), out.size(), kUnits, k);
    }
    void count(benchmark::State& state) const {
        state.counters["FLOPS"] = rate(state, product_flops(rows, columns, k));
    }
};

// Gradient of weights: `rows` inputs times gates, sums over k rows of both.
template <class T>
struct Outer {
    const KernelTable<T>& table;
    const Index rows, k, units;
    const Layout gates, sums;
    const Array<T> a, g, out;

    Outer(const KernelTable<T>* table, Index rows, Index k)
        : table(*table),
          rows(rows),
          k(k),
          units(kPanels * table->lanes),
          gates{table->lanes, k, kSlots},
          sums{table->lanes, rows, kSlots},
          a(k * rows, 1.0),
          g(gates.size(kPanels), 1.0),
          out(sums.size(kPanels)) {}
    void run() {
        OuterGemm<T> p{};
        p.a = a.begin();
        p.a_inner = p.k = rows;
        p.outer = 1;
        p.inner = k;
        p.g = g.begin();
        p.g_row = gates.row();
        p.g_panel = gates.panel();
        p.out = out.begin();
        p.item_end = kPanels * ((rows + kOuterTile - 1) / kOuterTile);
        p.slots = kSlots;
        table.gemm_outer(p);
    }
    std::string check() {
        run();
        Exact exact(out.size());
        for (Index i = 0; i < k; ++i) {
            for (Index r = 0; r < rows; ++r) {
                for (Index s = 0; s < kSlots; ++s) {
                    for (Index u = 0; u < units; ++u) {
                        exact[sums.at(r, s, u)] += static_cast<double>(a[i * rows + r]) *
                                                   static_cast<double>(g[gates.at(i, s, u)]);
                    }
                }
            }
        }
        return difference("out", out.begin(), exact.data(), out.size(), kUnits, k);
    }
    void count(benchmark::State& state) const {
        state.counters["FLOPS"] = rate(state, product_flops(rows, kSlots * units, k));
    }
};

// One step of a GRU: states, weights, and the products with x, which stand for x itself. Slots
// are n, r, z, q and the second product's gates r, z, q, as gru.hpp has them.
template <class T>
struct Step {
    static constexpr int N = 0, R = 1, Z = 2, Q = 3;
    const KernelTable<T>& table;
    const CellKernels<T>& kernels = table.cells[kGru];
    const Stage& stage = kernels.info.stage[0];
    const Index rows, hidden, lanes = table.lanes, panels = whole_panels(hidden, lanes);
    const Index padded = panels * lanes;
    const Layout layout;
    const Array<T> products{layout.size(panels), 2.0};  // of x
    const Array<T> slots{products.size()};
    const Array<T> weight{3 * hidden * hidden, 1 / std::sqrt(static_cast<double>(hidden))};
    const Array<T> packed{3 * padded * hidden};
    const Array<T> bias{kernels.info.slots * padded, 1.0};
    const Array<T> states{2 * rows * padded, 1.0};  // before and after
    const Array<T> y{rows * hidden};

    Step(const KernelTable<T>* table, Index rows, Index hidden, bool save)
        : table(*table),
          rows(rows),
          hidden(hidden),
          layout{table->lanes, rows,
                 save ? table->cells[kGru].info.slots : table->cells[kGru].info.input_slots} {
        pack_panels(*table, weight.begin(), hidden, hidden, slots_of_h(),
                    {0, (hidden + lanes - 1) / lanes}, packed.begin());
        std::copy(products.begin(), products.end(), slots.begin());
    }
    Slots slots_of_h() const { return {kernels.info.hh_block, stage.first_slot, stage.slots}; }

    void forward(bool save) const {
        StepForward<T> f{};
        f.rows = rows;
        f.hidden = hidden;
        f.panel_end = panels;
        f.steps = 1;
        f.stage_end = kernels.info.stages;
        f.slots = slots.begin();
        f.slots_panel = layout.panel();
        f.slots_row = layout.row();
        f.sequence[0] = states.begin();
        f.sequence_row = padded;
        f.sequence_step = rows * padded;
        f.mask[0] = 1;
        f.weight[0] = packed.begin();
        f.bias = bias.begin();
        f.y = y.begin();
        f.y_row = hidden;
        f.save = save;
        kernels.forward(f);
    }
    double state(Index row, Index unit) const {
        return static_cast<double>(states[row * padded + unit]);
    }
    // By the textbook, of each row and unit.
    std::vector<reference::Gates> gates() const {
        const Exact weight = exactly(this->weight);
        const Layout one_row = {lanes, 1, kernels.info.slots};
        std::vector<reference::Gates> all;
        for (Index r = 0; r < rows; ++r) {
            Exact h(hidden);
            for (Index u = 0; u < hidden; ++u) h[u] = state(r, u);
            for (Index u = 0; u < hidden; ++u) {
                const auto from_x = [&](int slot) {
                    return static_cast<double>(products[layout.at(r, slot, u)]);
                };
                const auto from_h = [&](Index block) {
                    return reference::row_times(weight, block * hidden + u, h.data(), hidden);
                };
                const double b = static_cast<double>(bias[one_row.at(0, Q, u)]);
                all.push_back(reference::gates(from_x(R) + from_h(0), from_x(Z) + from_h(1),
                                               from_x(N), from_h(2) + b));
            }
        }
        return all;
    }
    void count(benchmark::State& state) const {
        state.counters["FLOPS"] = rate(state, product_flops(rows, 3 * hidden, hidden));
    }
};

template <class T>
struct ForwardStep : Step<T> {
    ForwardStep(const KernelTable<T>* table, Index rows, Index hidden)
        : Step<T>(table, rows, hidden, false) {}
    void run() { this->forward(false); }
    std::string check() {
        run();
        const std::vector<reference::Gates> gates = this->gates();
        Exact exact;
        for (Index i = 0; i < this->y.size(); ++i) {
            const double h = this->state(i / this->hidden, i % this->hidden);
            exact.push_back(reference::next_state(gates[i], h));
        }
        return difference("y", this->y.begin(), exact.data(), this->y.size(), kUnits,
                          this->hidden);
    }
};

// The kernel puts gradients where it reads gates: repeated, it reads its own. Gradients this
// small then go to zero, or to constants, within a few steps; no instruction takes longer for
// it.
template <class T>
struct BackwardStep : Step<T> {
    static constexpr double kSmall = 0.01;
    const Array<T> strips{this->packed.size()};
    const Array<T> next{this->slots.size(), kSmall};  // gradients of the next step's gates
    const Array<T> dy{this->y.size(), kSmall};
    const Array<T> carry{this->rows * this->padded, kSmall};

    BackwardStep(const KernelTable<T>* table, Index rows, Index hidden)
        : Step<T>(table, rows, hidden, true) {
        pack_strips(*table, this->weight.begin(), hidden, hidden, this->slots_of_h(),
                    {0, this->panels}, strips.begin());
        this->forward(true);
    }
    void run() {
        StepBackward<T> b{};
        b.rows = this->rows;
        b.hidden = this->hidden;
        b.vector_end = b.vectors = this->panels;
        b.steps = 1;
        b.stage_end = this->kernels.info.stages;
        b.slots = this->slots.begin();
        b.next_slots = next.begin();
        b.slots_panel = b.next_panel = this->layout.panel();
        b.slots_row = b.next_row = this->layout.row();
        b.sequence[0] = this->states.begin();
        b.sequence_row = b.carry_row = this->padded;
        b.weight[0] = strips.begin();
        b.carry[0] = carry.begin();
        b.dy = dy.begin();
        b.dy_row = this->hidden;
        this->kernels.backward(b);
    }
    std::string check() {
        const Index H = this->hidden;
        const Layout& layout = this->layout;
        const std::vector<reference::Gates> gates = this->gates();
        Exact gradients(this->slots.size()), carried(carry.size());
        for (Index r = 0; r < this->rows; ++r) {
            Exact dh(H);
            for (Index u = 0; u < H; ++u) {
                dh[u] = static_cast<double>(carry[r * this->padded + u]) +
                        static_cast<double>(dy[r * H + u]);
            }
            for (Index row = 0; row < 3 * H; ++row) {
                const Index slot = this->stage.first_slot + row / H;
                const double d = static_cast<double>(next[layout.at(r, slot, row % H)]);
                for (Index u = 0; u < H; ++u) {
                    dh[u] += d * static_cast<double>(this->weight[row * H + u]);
                }
            }
            for (Index u = 0; u < H; ++u) {
                const reference::Gates& g = gates[r * H + u];
                const reference::Gates d = reference::gradients(g, this->state(r, u), dh[u]);
                gradients[layout.at(r, this->N, u)] = d.n;
                gradients[layout.at(r, this->R, u)] = d.r;
                gradients[layout.at(r, this->Z, u)] = d.z;
                gradients[layout.at(r, this->Q, u)] = d.q;
                carried[r * this->padded + u] = dh[u] * g.z;
            }
        }
        run();
        // Units that only fill up the last panel: whatever they are, nothing reads them.
        for (Index r = 0; r < this->rows; ++r) {
            for (Index u = H; u < this->padded; ++u) {
                carry[r * this->padded + u] = 0;
                for (int s = 0; s < layout.slots; ++s) this->slots[layout.at(r, s, u)] = 0;
            }
        }
        const std::string wrong =
            difference("carry", carry.begin(), carried.data(), carry.size(), kUnits, 3 * H);
        return wrong.empty() ? difference("slots", this->slots.begin(), gradients.data(),
                                          this->slots.size(), kUnits, 3 * H)
                             : wrong;
    }
};

// The best of many short runs: others use the CPU as well.
template <class F>
double best_seconds(const F& f) {
    double best = std::numeric_limits<double>::infinity();
    for (int run = 0; run < 200; ++run) {
        const auto start = std::chrono::steady_clock::now();
        f();
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
        best = std::min(best, time.count());
    }
    return best;
}

// Cycles a second, by a chain of additions that take a cycle each. Both operands are registers:
// some CPUs add constants in no time. Found once: where the clock changes with the work,
// `cycles_per_vector` is wrong by as much.
double clock_rate() {
    constexpr int kAdditions = 64, kRounds = 2000;
    const double seconds = best_seconds([] {
        Index sum = 0, one = 1;
        for (int round = 0; round < kRounds; ++round) {
#if defined(__x86_64__)
            asm volatile(".rept 64\n add %1, %0\n .endr" : "+r"(sum) : "r"(one));
#elif defined(__aarch64__)
            asm volatile(".rept 64\n add %0, %0, %1\n .endr" : "+r"(sum) : "r"(one));
#endif
        }
    });
    return kAdditions * kRounds / seconds;
}

// The error of `value` in units of the spacing of T around the exact one. Where that is hardly
// a normal number, any as small will do: the sigmoid ends at e^-87 in float, at e^-708 in
// double.
template <class T>
double ulps(T value, long double exact) {
    using Limits = std::numeric_limits<T>;
    constexpr long double small = 2 * static_cast<long double>(Limits::min());
    const long double error = std::abs(static_cast<long double>(value) - exact);
    if (std::abs(exact) < small && error < small) return 0;
    const int exponent = std::max(std::ilogb(exact), Limits::min_exponent - 1);
    return static_cast<double>(std::ldexp(error, Limits::digits - 1 - exponent));
}

// Arguments from -20 to 20, and of each sign three in every power of two, tiny to huge.
template <class T>
Array<T> arguments() {
    std::vector<T> all;
    for (int i = -200000; i <= 200000; ++i) all.push_back(static_cast<T>(i * 1e-4));
    for (T x = std::numeric_limits<T>::denorm_min(); std::isfinite(x); x *= 2) {
        for (const T factor : {T(1), T(1.3), T(1.7)}) {
            all.insert(all.end(), {x * factor, -x * factor});
        }
    }
    Array<T> array(static_cast<Index>(all.size()));
    std::copy(all.begin(), all.end(), array.begin());
    return array;
}

// In place, on an array that fits into the first-level cache.
template <class T>
struct Activate {
    static constexpr Index kSize = 4096;
    // An exponential and a few operations on it, each rounded: 2.5 are the most that were seen.
    static constexpr double kAllowedUlp = 4;
    const KernelTable<T>& table;
    const Activation activation;
    const std::shared_ptr<double> max_ulp;  // check() finds it, once for all
    const Array<T> y{kSize, 4.0};

    Activate(const KernelTable<T>* table, Activation activation,
             std::shared_ptr<double> max_ulp)
        : table(*table), activation(activation), max_ulp(max_ulp) {}
    // What it takes does not depend on the values: let them be the results of the last run.
    void run() { table.activate(activation, y.begin(), y.begin(), kSize); }
    std::string check() {
        const Array<T> x = arguments<T>(), y = arguments<T>();
        table.activate(activation, y.begin(), y.begin(), y.size());
        for (Index i = 0; i < x.size(); ++i) {
            const long double a = x[i];
            const long double exact =
                activation == kTanh ? std::tanh(a) : 1 / (1 + std::exp(-a));
            const double error = ulps(y[i], exact);
            if (!(error <= kAllowedUlp)) {
                return "at " + std::to_string(a) + ", " + std::to_string(error) + " ULP";
            }
            *max_ulp = std::max(*max_ulp, error);
        }
        return "";
    }
    void count(benchmark::State& state) {
        constexpr int kRuns = 8;
        static const double clock = clock_rate();
        const double seconds = best_seconds([this] {
            for (int i = 0; i < kRuns; ++i) run();
        });
        const double vectors = static_cast<double>(kRuns * kSize / table.lanes);
        state.counters["cycles_per_vector"] = seconds * clock / vectors;
        state.counters["max_ulp"] = *max_ulp;
    }
};

template <class T>
void add_all(const KernelTable<T>& table, const std::string& isa_and_type) {
    const auto of = [](const char* what, Index n) { return what + std::to_string(n); };
    for (const Index rows : {1, 2, 3, 4, 5, 7, 8, 32}) {
        for (const Index k : {51, 192, 768}) {
            const std::string name = isa_and_type + of("/rows:", rows) + of("/k:", k);
            add<Panels<T>>("gemm_panels" + name, &table, rows, k);
            add<Strips<T>>("gemm_strips" + name, &table, rows, k);
            add<Outer<T>>("gemm_outer" + name, &table, rows, k);
        }
    }
    for (const Index rows : {1, 2, 8, 32}) {
        for (const Index hidden : {37, 64, 256}) {
            const std::string name = isa_and_type + of("/B:", rows) + of("/H:", hidden);
            add<ForwardStep<T>>("step_forward" + name, &table, rows, hidden);
            add<BackwardStep<T>>("step_backward" + name, &table, rows, hidden);
        }
    }
    for (const Activation activation : {kTanh, kSigmoid}) {
        add<Activate<T>>((activation == kTanh ? "tanh" : "sigmoid") + isa_and_type, &table,
                         activation, std::make_shared<double>(0));
    }
}

}  // namespace
}  // namespace grufast

int main(int argc, char** argv) {
    for (const std::string& isa : grufast::isas_available()) {
        grufast::set_isa(isa);
        grufast::add_all(grufast::active_table<float>(), "/" + isa + "/f32");
        grufast::add_all(grufast::active_table<double>(), "/" + isa + "/f64");
    }
    return grufast::run_benchmarks(argc, argv);
}
