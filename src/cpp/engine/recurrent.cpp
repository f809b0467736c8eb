#include "recurrent.hpp"

#include <algorithm>

#include "packing.hpp"

namespace grufast {
namespace {

// Rows (steps x batch) of a chunk whose weight gradients are one product. On a Zen 4, 64 to
// 1024 rows were within 3 % of each other at H = 128 to 512, 256 and 512 the best; on a Zen 5,
// 128 were no better than 256.
constexpr Index kChunkRows = 256;
// Rows projected ahead of the steps that use them; 32 to 256 made no difference.
constexpr Index kProjectedRows = 64;
// A part of the batch with fewer rows than this streams the weights for too little work.
constexpr Index kRowsPerPart = 4;
// Operations of a step that pay for meeting after it: those of B = 1, H = 128. There (Zen 5,
// C = 128) a step takes 1.9 us on one thread and 1.0 us on two, projection included.
constexpr double kOperationsPerMeeting = 9e4;
// Bytes of weight_hh that are worth reading once instead of once for every part of the batch:
// 64 rows at H = 1024 gain 2 % in inference and 4 to 7 % in training; at H = 512, 3 MB, there
// was no clear difference (Zen 5, two threads, 1 MB of L2 each).
constexpr Index kSharedWeights = 8 << 20;
// What packing a weight costs, in units of its product with a vector: it is bound by memory.
constexpr double kPackOperations = 10;

// Calls f(t, b, count, along): runs of rows that one product can take, along the batch where it
// fills register tiles, else along time.
template <class F>
void for_runs(Range steps, Range rows, const F& f) {
    const Index n = rows.end - rows.begin, length = steps.end - steps.begin;
    if (n >= 8 || length == 1) {
        for (Index t = steps.begin; t < steps.end; ++t) f(t, rows.begin, n, false);
    } else {
        for (Index b = rows.begin; b < rows.end; ++b) f(steps.begin, b, length, true);
    }
}

// Copies rows of H between a contiguous matrix and a padded one, whose padding becomes zero.
template <class T>
void copy_padded(const T* from, T* to, Range rows, Index hidden, Index padded) {
    for (Index b = rows.begin; b < rows.end; ++b) {
        T* row = to + b * padded;
        std::fill(row, row + padded, T(0));
        if (from) std::copy(from + b * hidden, from + (b + 1) * hidden, row);
    }
}
template <class T>
void copy_unpadded(const T* from, T* to, Range rows, Index hidden, Index padded) {
    for (Index b = rows.begin; b < rows.end; ++b) {
        std::copy(from + b * padded, from + b * padded + hidden, to + b * hidden);
    }
}

}  // namespace

bool is_small(Index batch) { return batch < 2 * kRowsPerPart; }

template <class T>
Recurrent<T>::Recurrent(const KernelTable<T>& table, CellId cell, Index input_size,
                        Index hidden_size)
    : table_(table),
      kernels_(table.cells[cell]),
      input_(input_size),
      hidden_(hidden_size),
      panels_((hidden_size + table.lanes - 1) / table.lanes),
      padded_(panels_ * table.lanes) {}

template <class T>
void Recurrent<T>::pack(const T* weight_ih, const T* weight_hh, const T* bias_ih,
                        const T* bias_hh) {
    const CellInfo& cell = info();
    const Index lanes = table_.lanes;
    const Slots inputs = {cell.ih_block, 0, cell.input_slots};
    const Index columns = (input_ + lanes - 1) / lanes;
    T* ih_panels = reserve<T>(pack_.ih_panels, elements(padded_, input_, inputs.count));
    T* ih_strips = reserve<T>(pack_.ih_strips, elements(columns, lanes, hidden_, inputs.count));
    Slots slots[kMaxStages];
    T *hh_panels[kMaxStages], *hh_strips[kMaxStages];
    for (int s = 0; s < cell.stages; ++s) {
        slots[s] = {cell.hh_block, cell.stage[s].first_slot, cell.stage[s].slots};
        const Index size = elements(padded_, hidden_, slots[s].count);
        hh_panels[s] = reserve<T>(pack_.hh_panels[s], size);
        hh_strips[s] = reserve<T>(pack_.hh_strips[s], size);
    }
    parallel(threads_for(kPackOperations * operations()), [&](Team& team) {
        const Range panels = team.share(panels_);
        pack_panels(table_, weight_ih, hidden_, input_, inputs, panels, ih_panels);
        pack_strips(table_, weight_ih, hidden_, input_, inputs,
                    strip_share(team.index, team.size, columns), ih_strips);
        for (int s = 0; s < cell.stages; ++s) {
            pack_panels(table_, weight_hh, hidden_, hidden_, slots[s], panels, hh_panels[s]);
            pack_strips(table_, weight_hh, hidden_, hidden_, slots[s],
                        strip_share(team.index, team.size, panels_), hh_strips[s]);
        }
    });
    // The bias of a product lands where the gate's sum starts: with x's product, or alone.
    T* ih_bias = reserve<T>(pack_.ih_bias, padded_ * cell.input_slots);
    T* hh_bias = reserve<T>(pack_.hh_bias, padded_ * cell.slots);
    for (Index u = 0; u < padded_; ++u) {
        const Index panel = u / lanes, lane = u % lanes;
        for (int s = 0; s < cell.slots; ++s) {
            const int ih = s < cell.input_slots ? cell.ih_block[s] : -1, hh = cell.hh_block[s];
            T sum = 0;
            if (u < hidden_ && ih >= 0) sum += bias_ih[ih * hidden_ + u];
            if (u < hidden_ && hh >= 0) sum += bias_hh[hh * hidden_ + u];
            if (ih >= 0) ih_bias[(panel * cell.input_slots + s) * lanes + lane] = sum;
            hh_bias[(panel * cell.slots + s) * lanes + lane] = sum;
        }
    }
}

template <class T>
double Recurrent<T>::operations() const {
    return 2.0 * info().gates * static_cast<double>(input_ + hidden_) *
           static_cast<double>(hidden_);
}

template <class T>
int Recurrent<T>::unit_parts(Index batch, int threads) const {
    const double hidden = static_cast<double>(hidden_);
    const double step = 2.0 * info().gates * hidden * hidden * static_cast<double>(batch);
    const Index most = std::min<Index>(panels_ / kStripGrain,
                                       static_cast<Index>(step / kOperationsPerMeeting) + 1);
    return static_cast<int>(std::clamp<Index>(most, 1, threads));
}

template <class T>
typename Recurrent<T>::Plan Recurrent<T>::plan(Index batch, Index steps, int threads) const {
    Plan plan;
    const Index weights = elements(padded_, hidden_, info().gates, sizeof(T));
    plan.by_units = is_small(batch) || weights >= kSharedWeights;
    plan.parts = plan.by_units
                     ? unit_parts(batch, threads)
                     : static_cast<int>(std::clamp<Index>(batch / kRowsPerPart, 1, threads));
    const Index rows = plan.by_units ? batch : batch / plan.parts;
    plan.chunk_steps =
        std::clamp<Index>(kChunkRows / std::max<Index>(batch, 1), 1, std::max<Index>(steps, 1));
    plan.projected_steps =
        std::clamp<Index>(kProjectedRows / std::max<Index>(rows, 1), 1, plan.chunk_steps);
    return plan;
}

template <class T>
typename Recurrent<T>::Part Recurrent<T>::part(const Plan& plan, const Team& team,
                                               Index batch) const {
    const int parts = std::min(plan.parts, team.size);
    if (team.index >= parts) return {{0, 0}, {0, 0}};
    if (plan.by_units) {
        return {{0, batch}, strip_share(team.index, parts, panels_)};
    }
    const Index grain = batch >= 16 * parts ? 8 : 1;
    return {Team::share_of(team.index, parts, batch, grain), {0, panels_}};
}

template <class T>
typename Recurrent<T>::Layout Recurrent<T>::layout(const Plan& plan, Index batch, Index steps,
                                                   Keep keep) const {
    const CellInfo& cell = info();
    Layout l{};
    l.state = elements(batch, padded_);
    l.slots = keep == Keep::kNothing ? cell.input_slots : cell.slots;
    l.chunk_steps = keep == Keep::kNothing ? plan.projected_steps : plan.chunk_steps;
    l.chunk_size = elements(l.chunk_steps, l.state, l.slots);
    const Index chunks = l.state == 0 ? 0 : (steps + l.chunk_steps - 1) / l.chunk_steps;
    // Of states alone, two chunks: one's first gradients serve the one before it.
    l.chunk_count = keep == Keep::kGates    ? chunks
                    : keep == Keep::kStates ? std::min<Index>(chunks, 2)
                                            : 1;
    for (int s = 0; s < cell.sequences; ++s) {
        Kept& kept = l.sequence[s];
        kept.start = l.size;
        if (keep == Keep::kGates || (keep == Keep::kStates && s == 0)) {
            kept.kept = steps + 1;
            kept.mask = ~Index{0};
        } else {
            kept.kept = keep == Keep::kStates ? plan.chunk_steps + 1 : 2;
            kept.mask = 1;
        }
        l.size += elements(kept.kept, l.state);
    }
    return l;
}

template <class T>
typename Recurrent<T>::Gates Recurrent<T>::gates(T* data, Index batch, Index steps,
                                                 Index slots) const {
    const Index row = slots * table_.lanes;
    return {data, steps * batch * row, row, batch * row};
}

// Some slots of the gate buffer as rows of a product: whole panels, then the last one's units.
template <class T>
BlockedRows<T> Recurrent<T>::gate_rows(const T* data, Index row, Index panel, int first_slot,
                                       int slots) const {
    const Index lanes = table_.lanes, tail = hidden_ % lanes;
    return {data + first_slot * lanes,
            row,
            hidden_ / lanes,
            slots * lanes,
            panel,
            tail ? slots : 0,
            tail,
            lanes};
}

template <class T>
void Recurrent<T>::project(const Sequence<const T>& x, Index t, Index steps, Part part,
                           Gates out) const {
    const Index first = part.panels.begin, size = info().input_slots * table_.lanes;
    for_runs({0, steps}, part.rows, [&](Index s, Index b, Index count, bool along_time) {
        PanelGemm<T> g;
        g.a = x.data + b * x.row + (t + s) * x.step;
        g.a_row = along_time ? x.step : x.row;
        g.k = input_;
        g.weight = data<T>(pack_.ih_panels) + first * input_ * size;
        g.bias = data<T>(pack_.ih_bias) + first * size;
        g.out = out.data + s * out.step + b * out.row + first * out.panel;
        g.out_panel = out.panel;
        g.out_row = along_time ? out.step : out.row;
        g.rows = count;
        g.panels = part.panels.end - first;
        g.slots = info().input_slots;
        table_.gemm_panels(g);
    });
}

template <class T>
StepForward<T> Recurrent<T>::forward_steps(const Layout& layout, T* sequences,
                                           const Part& part) const {
    StepForward<T> step{};
    step.rows = part.rows.end - part.rows.begin;
    step.hidden = hidden_;
    step.panel_begin = part.panels.begin;
    step.panel_end = part.panels.end;
    step.sequence_row = padded_;
    step.sequence_step = layout.state;
    step.bias = data<T>(pack_.hh_bias);
    for (int s = 0; s < info().stages; ++s) step.weight[s] = data<T>(pack_.hh_panels[s]);
    for (int s = 0; s < info().sequences; ++s) {
        step.sequence[s] = sequences + layout.sequence[s].start + part.rows.begin * padded_;
        step.mask[s] = layout.sequence[s].mask;
    }
    return step;
}

template <class T>
void Recurrent<T>::run_forward(StepForward<T>& step, const Part& part, Team* meeting,
                               const Sequence<const T>& x, Index t, Index steps, Gates g,
                               const Sequence<T>& y) const {
    project(x, t, steps, part, g);
    step.slots = g.data + part.rows.begin * g.row;
    step.slots_panel = g.panel;
    step.slots_row = g.row;
    step.slots_step = g.step;
    step.y = y.data ? y.data + part.rows.begin * y.row + t * y.step : nullptr;
    step.y_row = y.row;
    step.y_step = y.step;
    if (!meeting) {
        step.stage_begin = 0;
        step.stage_end = info().stages;
        step.steps = steps;
        kernels_.forward(step);
        step.first += steps;
        return;
    }
    step.steps = 1;
    for (Index i = 0; i < steps; ++i) {
        for (int s = 0; s < info().stages; ++s) {
            step.stage_begin = s;
            step.stage_end = s + 1;
            kernels_.forward(step);
            meeting->barrier();
        }
        ++step.first;
        step.slots += g.step;
        if (step.y) step.y += y.step;
    }
}

template <class T>
typename Recurrent<T>::ForwardPass Recurrent<T>::prepare(const Forward& f, int threads,
                                                         PassMemory& memory) const {
    ForwardPass p{f, this, plan(f.batch, f.steps, threads), {}, nullptr, nullptr};
    p.layout = layout(p.plan, f.batch, f.steps, f.keep);
    p.gates = reserve<T>(memory.gates, elements(p.layout.chunk_count, p.layout.chunk_size));
    p.sequences = reserve<T>(memory.sequences, p.layout.size);
    return p;
}

template <class T>
Recurrent<T>::ForwardRun::ForwardRun(const ForwardPass& pass, Team& team)
    : pass_(pass),
      layer_(*pass.layer),
      team_(team),
      part_(layer_.part(pass.plan, team, pass.batch)),
      meet_(pass.plan.by_units && std::min(pass.plan.parts, team.size) > 1),
      step_(layer_.forward_steps(pass.layout, pass.sequences, part_)) {
    step_.save = pass.keep == Keep::kGates;
    if (!meet_ || team.index == 0) {
        for (int s = 0; s < layer_.info().sequences; ++s) {
            copy_padded<T>(s == 0 ? pass.h0 : nullptr,
                           pass.sequences + pass.layout.sequence[s].start, part_.rows,
                           layer_.hidden_, layer_.padded_);
        }
    }
    if (meet_) team.barrier();
}

template <class T>
void Recurrent<T>::ForwardRun::advance(Index steps) {
    const Layout& l = pass_.layout;
    for (const Index end = next_ + steps; next_ < end;) {
        const Index chunk = next_ / l.chunk_steps, begin = chunk * l.chunk_steps;
        const Index length = std::min(l.chunk_steps, pass_.steps - begin);
        const Index count =
            std::min({pass_.plan.projected_steps, begin + length - next_, end - next_});
        T* data = pass_.gates + (pass_.keep == Keep::kGates ? chunk * l.chunk_size : 0);
        Gates g = layer_.gates(data, pass_.batch, length, l.slots);
        g.data += (next_ - begin) * g.step;
        layer_.run_forward(step_, part_, meet_ ? &team_ : nullptr, pass_.x, next_, count, g,
                           pass_.y);
        next_ += count;
    }
}

template <class T>
void Recurrent<T>::ForwardRun::finish() {
    if (meet_ && team_.index != 0) return;
    const Kept& states = pass_.layout.sequence[0];
    const T* last =
        pass_.sequences + states.start + (pass_.steps & states.mask) * pass_.layout.state;
    copy_unpadded(last, pass_.h_n, part_.rows, layer_.hidden_, layer_.padded_);
}

template <class T>
typename Recurrent<T>::BackwardPass Recurrent<T>::prepare(const Backward& b, int threads,
                                                          PassMemory& memory) const {
    const CellInfo& cell = info();
    BackwardPass p{};
    static_cast<Backward&>(p) = b;
    p.layer = this;
    p.plan = plan(b.batch, b.steps, threads);
    p.layout = layout(p.plan, b.batch, b.steps, b.keep);
    // Where only states were kept, the gates of a chunk at a time come here.
    p.gates = reserve<T>(memory.gates, elements(p.layout.chunk_count, p.layout.chunk_size));
    p.sequences = data<T>(memory.sequences);
    // What is carried to earlier steps, then the gradients in the weights' packed order.
    const Index carry = cell.sequences * p.layout.state;
    const Index ih_size = elements(padded_, input_, cell.input_slots);
    const Index bias_size = padded_ * cell.slots;
    Index size = carry + ih_size + bias_size;
    for (int s = 0; s < cell.stages; ++s) {
        size += elements(padded_, hidden_, cell.stage[s].slots);
    }
    p.carry = reserve<T>(memory.scratch, size);
    p.ih_sum = p.carry + carry;
    p.bias_sum = p.ih_sum + ih_size;
    T* next = p.bias_sum + bias_size;
    for (int s = 0; s < cell.stages; ++s) {
        p.hh_sum[s] = next;
        next += padded_ * hidden_ * cell.stage[s].slots;
    }
    if (p.layout.chunk_count == 0) std::fill(p.ih_sum, next, T(0));
    return p;
}

template <class T>
Recurrent<T>::BackwardRun::BackwardRun(const BackwardPass& pass, Team& team)
    : pass_(pass),
      layer_(*pass.layer),
      team_(team),
      part_(layer_.part(pass.plan, team, pass.batch)),
      meet_(pass.plan.by_units && std::min(pass.plan.parts, team.size) > 1),
      left_(pass.layout.state == 0 ? 0 : pass.steps),
      step_{} {
    const Range rows = part_.rows;
    const Index padded = layer_.padded_;
    step_.rows = rows.end - rows.begin;
    step_.hidden = layer_.hidden_;
    step_.vectors = layer_.panels_;
    step_.vector_begin = part_.panels.begin;
    step_.vector_end = part_.panels.end;
    step_.sequence_row = padded;
    step_.sequence_step = pass.layout.state;
    step_.carry_row = padded;
    step_.dy_row = pass.dy.row;
    step_.dy_step = pass.dy.step;
    for (int s = 0; s < layer_.info().stages; ++s) {
        step_.weight[s] = data<T>(layer_.pack_.hh_strips[s]);
    }
    for (int s = 0; s < layer_.info().sequences; ++s) {
        T* carry = pass.carry + s * pass.layout.state;
        if (!rows.empty() && (!meet_ || team.index == 0)) {
            copy_padded<T>(s == 0 ? pass.dh_n : nullptr, carry, rows, layer_.hidden_, padded);
        }
        step_.carry[s] = carry + rows.begin * padded;
    }
    if (meet_) team.barrier();
}

template <class T>
void Recurrent<T>::BackwardRun::run_steps(Range steps, Gates g) {
    const Range rows = part_.rows;
    const Layout& l = pass_.layout;
    const Sequence<const T>& dy = pass_.dy;
    const auto run = [&](Index t, Index count) {
        step_.steps = count;
        step_.first = t;
        step_.slots = g.data + rows.begin * g.row;
        step_.slots_panel = g.panel;
        step_.slots_row = g.row;
        step_.slots_step = g.step;
        for (int s = 0; s < layer_.info().sequences; ++s) {
            const Kept& kept = l.sequence[s];
            const Index time = pass_.keep == Keep::kStates && s > 0 ? t % l.chunk_steps : t;
            step_.sequence[s] =
                pass_.sequences + kept.start + time * l.state + rows.begin * layer_.padded_;
        }
        step_.dy = dy.data ? dy.data + rows.begin * dy.row + t * dy.step : nullptr;
        layer_.kernels_.backward(step_);
    };
    // Its first step's gradients are what an earlier step multiplies.
    const auto passed = [&] {
        step_.next_slots = step_.slots;
        step_.next_panel = step_.slots_panel;
        step_.next_row = step_.slots_row;
    };
    if (!meet_) {
        if (!rows.empty()) {
            step_.stage_end = layer_.info().stages;
            run(steps.begin, steps.end - steps.begin);
            passed();
        }
        return;
    }
    g.data += (steps.end - steps.begin) * g.step;
    for (Index t = steps.end; t-- > steps.begin;) {
        g.data -= g.step;
        for (int s = 0; s < layer_.info().stages; ++s) {
            step_.stage_begin = s;
            step_.stage_end = s + 1;
            if (!part_.panels.empty()) run(t, 1);
            team_.barrier();
        }
        passed();
    }
}

template <class T>
void Recurrent<T>::BackwardRun::add_weight_gradients(Range steps, const Gates& g) {
    const CellInfo& cell = layer_.info();
    const Layout& l = pass_.layout;
    const Index lanes = layer_.table_.lanes, B = pass_.batch, length = steps.end - steps.begin;
    OuterGemm<T> outer{};
    outer.accumulate = steps.end < pass_.steps;
    outer.g_row = g.row;
    outer.g_panel = g.panel;
    const auto run = [&](int first_slot, int slots, Index k, T* out) {
        const Range items = team_.share(layer_.panels_ * ((k + kOuterTile - 1) / kOuterTile));
        outer.g = g.data + first_slot * lanes;
        outer.out = out;
        outer.k = k;
        outer.item_begin = items.begin;
        outer.item_end = items.end;
        outer.slots = slots;
        layer_.table_.gemm_outer(outer);
    };
    const Sequence<const T>& x = pass_.x;
    outer.a = x.data + steps.begin * x.step;
    outer.a_outer = B == 1 ? 0 : x.step;
    outer.a_inner = B == 1 ? x.step : x.row;
    outer.outer = B == 1 ? 1 : length;
    outer.inner = B == 1 ? length : B;
    run(0, cell.input_slots, layer_.input_, pass_.ih_sum);
    outer.outer = 1;
    outer.inner = length * B;
    outer.a_inner = layer_.padded_;
    for (int s = 0; s < cell.stages; ++s) {
        const Stage& stage = cell.stage[s];
        const bool in_chunk = pass_.keep == Keep::kStates && stage.operand > 0;
        const Index time = (in_chunk ? 0 : steps.begin) + stage.offset;
        outer.a = pass_.sequences + l.sequence[stage.operand].start + time * l.state;
        run(stage.first_slot, stage.slots, layer_.hidden_, pass_.hh_sum[s]);
    }
    const Range mine = team_.share(layer_.panels_);
    layer_.table_.sum_rows({g.data, g.row, g.panel, length * B, mine.begin, mine.end,
                            pass_.bias_sum, cell.slots, outer.accumulate});
}

template <class T>
void Recurrent<T>::BackwardRun::set_input_gradient(Range steps, const Gates& g) {
    const Sequence<T>& dx = pass_.dx;
    const Index length = steps.end - steps.begin;
    const bool all_own_rows =
        !pass_.plan.by_units && std::min(pass_.plan.parts, team_.size) == team_.size;
    const Range times = all_own_rows ? Range{0, length} : team_.share(length);
    const Range rows = all_own_rows ? part_.rows : Range{0, pass_.batch};
    for_runs(times, rows, [&](Index s, Index b, Index count, bool along_time) {
        StripGemm<T> p{};
        p.a = layer_.gate_rows(g.data + s * g.step + b * g.row, along_time ? g.step : g.row,
                               g.panel, 0, layer_.info().input_slots);
        p.weight = data<T>(layer_.pack_.ih_strips);
        p.out = dx.data + b * dx.row + (steps.begin + s) * dx.step;
        p.out_row = along_time ? dx.step : dx.row;
        p.rows = count;
        p.columns = layer_.input_;
        layer_.table_.gemm_strips(p);
    });
}

template <class T>
void Recurrent<T>::BackwardRun::advance(Index steps) {
    const Layout& l = pass_.layout;
    for (const Index target = std::max<Index>(left_ - steps, 0); left_ > target;) {
        const Index chunk = (left_ - 1) / l.chunk_steps, begin = chunk * l.chunk_steps;
        const Index length = std::min(l.chunk_steps, pass_.steps - begin);
        const bool rebuild = pass_.keep == Keep::kStates;
        Gates g = layer_.gates(pass_.gates + (rebuild ? chunk % 2 : chunk) * l.chunk_size,
                               pass_.batch, length, l.slots);
        if (rebuild && left_ == begin + length) {
            team_.barrier();  // nobody reads the last chunk's other sequences any more
            StepForward<T> again = layer_.forward_steps(l, pass_.sequences, part_);
            again.sequence[0] += begin * l.state;
            again.save = true;
            for (Index& mask : again.mask) mask = ~Index{0};
            for (Index t = begin; t < left_; t += pass_.plan.projected_steps) {
                Gates part = g;
                part.data += (t - begin) * g.step;
                layer_.run_forward(again, part_, meet_ ? &team_ : nullptr, pass_.x, t,
                                   std::min(pass_.plan.projected_steps, left_ - t), part, {});
            }
        }
        const Range now = {std::max(begin, target), left_};
        Gates first = g;
        first.data += (now.begin - begin) * g.step;
        run_steps(now, first);
        if (!meet_) team_.barrier();  // every row's gate gradients are there
        if (now.begin == begin) add_weight_gradients({begin, begin + length}, g);
        if (pass_.dx.data) set_input_gradient(now, first);
        left_ = now.begin;
    }
}

template <class T>
void Recurrent<T>::BackwardRun::finish() {
    const CellInfo& cell = layer_.info();
    const Index lanes = layer_.table_.lanes, hidden = layer_.hidden_;
    const Index row = cell.slots * lanes;
    if (!part_.rows.empty() && (!meet_ || team_.index == 0)) {
        if (step_.next_slots) {
            StripGemm<T> last{};
            last.a = layer_.gate_rows(step_.next_slots, row, step_.next_panel,
                                      cell.stage[0].first_slot, cell.stage[0].slots);
            last.weight = step_.weight[0];
            last.out = step_.carry[0];
            last.out_row = layer_.padded_;
            last.rows = step_.rows;
            last.columns = hidden;
            last.accumulate = true;
            layer_.table_.gemm_strips(last);
        }
        copy_unpadded(pass_.carry, pass_.dh0, part_.rows, hidden, layer_.padded_);
    }
    team_.barrier();  // the sums are complete
    const Range mine = team_.share(layer_.panels_);
    unpack_panels(layer_.table_, pass_.ih_sum, hidden, layer_.input_,
                  {cell.ih_block, 0, cell.input_slots}, mine, pass_.dweight_ih);
    for (int s = 0; s < cell.stages; ++s) {
        unpack_panels(layer_.table_, pass_.hh_sum[s], hidden, hidden,
                      {cell.hh_block, cell.stage[s].first_slot, cell.stage[s].slots}, mine,
                      pass_.dweight_hh);
    }
    for (Index u = mine.begin * lanes; u < std::min(mine.end * lanes, hidden); ++u) {
        const T* sums = pass_.bias_sum + u / lanes * row + u % lanes;
        for (int s = 0; s < cell.slots; ++s) {
            if (s < cell.input_slots) {
                pass_.dbias_ih[cell.ih_block[s] * hidden + u] = sums[s * lanes];
            }
            if (cell.hh_block[s] >= 0) {
                pass_.dbias_hh[cell.hh_block[s] * hidden + u] = sums[s * lanes];
            }
        }
    }
}

template <class T>
Recurrent<T>::Stream::Stream(const Recurrent& layer)
    : project_{}, step_{}, table_(layer.table_), kernels_(layer.kernels_) {
    const CellInfo& cell = layer.info();
    const Index row = cell.input_slots * table_.lanes, panels = layer.panels_;
    project_.a_row = layer.input_;
    project_.k = layer.input_;
    project_.weight = data<T>(layer.pack_.ih_panels);
    project_.bias = data<T>(layer.pack_.ih_bias);
    project_.out = reserve<T>(slots_, elements(panels, row));
    project_.out_panel = row;
    project_.rows = 1;
    project_.panels = panels;
    project_.slots = cell.input_slots;
    step_.rows = 1;
    step_.hidden = layer.hidden_;
    step_.panel_end = panels;
    step_.steps = 1;
    step_.stage_end = cell.stages;
    step_.slots = project_.out;
    step_.slots_panel = row;
    T* sequences = reserve<T>(sequences_, elements(cell.sequences, 2, layer.padded_));
    for (int s = 0; s < cell.sequences; ++s) {
        step_.sequence[s] = sequences + 2 * s * layer.padded_;
    }
    step_.sequence_row = layer.padded_;
    step_.sequence_step = layer.padded_;
    for (Index& mask : step_.mask) mask = 1;
    for (int s = 0; s < cell.stages; ++s) step_.weight[s] = data<T>(layer.pack_.hh_panels[s]);
    step_.bias = data<T>(layer.pack_.hh_bias);
    reset(nullptr);
}

template <class T>
void Recurrent<T>::Stream::reset(const T* state) {
    step_.first = 0;
    T* padded = step_.sequence[0];
    copy_padded(state, padded, {0, 1}, step_.hidden, step_.sequence_row);
}

template <class T>
void Recurrent<T>::Stream::step(const T* x, T* out) {
    project_.a = x;
    table_.gemm_panels(project_);
    step_.y = out;
    kernels_.forward(step_);
    step_.first ^= 1;
}

template <class T>
const T* Recurrent<T>::Stream::state() const {
    return step_.sequence[0] + step_.first * step_.sequence_step;
}

template class Recurrent<float>;
template class Recurrent<double>;

}  // namespace grufast
