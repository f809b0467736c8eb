#include "recurrent.hpp"

#include <algorithm>
#include <utility>

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
// Operations of a step that pay for meeting after it. One row (Zen 5, two threads beside one)
// gains 1.1 to 1.3 times at H = 80, 1.2 to 1.6 from 96 to 119, nothing clear at 64.
constexpr double kOperationsPerMeeting = 3.5e4;
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

// Copies a row of H into a padded one, whose padding becomes zero; null: zeros.
template <class T>
void copy_padded(const T* from, T* to, Index hidden, Index padded) {
    std::fill(to, to + padded, T(0));
    if (from) std::copy(from, from + hidden, to);
}

}  // namespace

bool is_small(Index batch) { return batch < 2 * kRowsPerPart; }

template <class T>
Recurrent<T>::Recurrent(const KernelTable<T>& table, CellId cell,
                        const Activation (&activations)[2], Index input_size, Index hidden_size)
    : table_(table),
      kernels_(table.cells[cell]),
      activations_{activations[0], activations[1]},
      input_(input_size),
      hidden_(hidden_size),
      panels_((hidden_size + table.lanes - 1) / table.lanes),
      padded_(panels_ * table.lanes) {}

template <class T>
void Recurrent<T>::pack(const Weights<const T*>& weights) {
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
        pack_panels(table_, weights.weight_ih, hidden_, input_, inputs, panels, ih_panels);
        pack_strips(table_, weights.weight_ih, hidden_, input_, inputs,
                    strip_share(team.index, team.size, columns), ih_strips);
        for (int s = 0; s < cell.stages; ++s) {
            pack_panels(table_, weights.weight_hh, hidden_, hidden_, slots[s], panels,
                        hh_panels[s]);
            pack_strips(table_, weights.weight_hh, hidden_, hidden_, slots[s],
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
            if (u < hidden_ && ih >= 0) sum += weights.bias_ih[ih * hidden_ + u];
            if (u < hidden_ && hh >= 0) sum += weights.bias_hh[hh * hidden_ + u];
            if (ih >= 0) ih_bias[(panel * cell.input_slots + s) * lanes + lane] = sum;
            hh_bias[(panel * cell.slots + s) * lanes + lane] = sum;
        }
    }
    T* parameters = reserve<T>(pack_.parameters, padded_ * cell.parameters);
    for (int p = 0; p < cell.parameters; ++p) {
        for (Index u = 0; u < padded_; ++u) {
            parameters[(u / lanes * cell.parameters + p) * lanes + u % lanes] =
                u < hidden_ ? weights.parameters[p * hidden_ + u] : 0;
        }
    }
}

template <class T>
double Recurrent<T>::operations() const {
    return 2.0 * static_cast<double>(info().ih_blocks * input_ + info().hh_blocks * hidden_) *
           static_cast<double>(hidden_);
}

template <class T>
int Recurrent<T>::unit_parts(Index batch, int threads) const {
    const double hidden = static_cast<double>(hidden_);
    const double step = 2.0 * info().hh_blocks * hidden * hidden * static_cast<double>(batch);
    const Index most = std::min<Index>(panels_ / kStripGrain,
                                       static_cast<Index>(step / kOperationsPerMeeting) + 1);
    return static_cast<int>(std::clamp<Index>(most, 1, threads));
}

template <class T>
typename Recurrent<T>::Plan Recurrent<T>::plan(const Call& call, int threads) const {
    const Index batch = call.batch, steps = call.steps;
    Plan plan;
    const Index weights = elements(padded_, hidden_, info().hh_blocks, sizeof(T));
    plan.by_units = !info().whole_rows && (is_small(batch) || weights >= kSharedWeights);
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
                                               const Call& call) const {
    const Index batch = call.batch;
    const int parts = std::min(plan.parts, team.size);
    if (team.index >= parts) return {{0, 0}, 1, {0, 0}};
    if (plan.by_units) {
        return {{0, batch}, 1, strip_share(team.index, parts, panels_)};
    }
    if (call.some()) return {{team.index, batch}, parts, {0, panels_}};
    const Index grain = batch >= 16 * parts ? 8 : 1;
    return {Team::share_of(team.index, parts, batch, grain), 1, {0, panels_}};
}

template <class T>
typename Recurrent<T>::Layout Recurrent<T>::layout(const Plan& plan, const Call& call,
                                                   Keep keep) const {
    const CellInfo& cell = info();
    const Index batch = call.batch, steps = call.steps;
    Layout l{};
    l.state = elements(batch, padded_);
    l.slots = keep == Keep::kNothing && !cell.separate ? cell.input_slots : cell.slots;
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
        kept.at_chunks = l.size;
        if (keep == Keep::kStates && 0 < s && s < cell.states) {
            l.size += elements(chunks, l.state);
        }
    }
    if (call.selection && call.selection->has_resets()) {
        l.first = l.size;
        l.size += elements(cell.states, l.state);
    }
    if (call.masked) {
        l.mask = l.size;
        l.masked = l.mask + l.state;
        l.size += elements(l.sequence[0].kept + 1, l.state);
    }
    return l;
}

template <class T>
Range Recurrent<T>::units(const Part& part) const {
    return {part.panels.begin * table_.lanes, part.panels.end * table_.lanes};
}

template <class T>
void Recurrent<T>::keep_at_chunk(const Layout& layout, T* sequences, const Part& part,
                                 Index chunk, Index time, bool back) const {
    const Index first = part.panels.begin * table_.lanes;
    const Index count = part.panels.end * table_.lanes - first;
    for (int s = 1; s < info().states; ++s) {
        const Kept& kept = layout.sequence[s];
        T* at = sequences + kept.start + (time & kept.mask) * layout.state;
        T* mark = sequences + kept.at_chunks + chunk * layout.state;
        for (Index b = part.rows.begin; b < part.rows.end; b += part.stride) {
            const Index row = b * padded_ + first;
            const T* from = back ? mark + row : at + row;
            std::copy(from, from + count, back ? at + row : mark + row);
        }
    }
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

// Products of `count` rows of x, `a_row` apart.
template <class T>
void Recurrent<T>::project(const T* a, Index a_row, Index count, Range panels, T* out,
                           Index out_row, Index out_panel) const {
    const Index first = panels.begin, size = info().input_slots * table_.lanes;
    PanelGemm<T> g;
    g.a = a;
    g.a_row = a_row;
    g.k = input_;
    g.weight = data<T>(pack_.ih_panels) + first * input_ * size;
    g.bias = data<T>(pack_.ih_bias) + first * size;
    g.bias_panel = size;
    g.out = out + first * out_panel;
    g.out_panel = out_panel;
    g.out_row = out_row;
    g.rows = count;
    g.panels = panels.end - first;
    g.slots = info().input_slots;
    g.accumulate = 0;
    table_.gemm_panels(g);
}

// Rows of x as a step takes them, in the selection's order.
template <class T>
void Recurrent<T>::gather(const Call& call, const Sequence<const T>& x, const Part& part,
                          Index t, T* to) const {
    const Selection* s = call.some() ? call.selection : nullptr;
    const Index end = s ? std::min(part.rows.end, s->active(t)) : part.rows.end;
    for (Index b = part.rows.begin; b < end; b += part.stride) {
        const Index row = call.caller_row(b), time = s ? s->time(b, t, call.backwards) : t;
        std::copy_n(x.data + row * x.row + time * x.step, input_, to + b * input_);
        drop(call.input_mask, row, to + b * input_);
    }
}

// Multiplies x, of the caller's row, by that row of a mask.
template <class T>
void Recurrent<T>::drop(const T* mask, Index row, T* x) const {
    for (Index c = 0; mask && c < input_; ++c) x[c] *= mask[row * input_ + c];
}

template <class T>
StepForward<T> Recurrent<T>::forward_steps(const Call& call, const Layout& layout, T* sequences,
                                           const Part& part) const {
    StepForward<T> step{};
    step.rows = part.count(call.batch);
    step.hidden = hidden_;
    step.panel_begin = part.panels.begin;
    step.panel_end = part.panels.end;
    step.sequence_row = padded_ * part.stride;
    step.sequence_step = layout.state;
    step.bias = data<T>(pack_.hh_bias);
    step.parameters = data<T>(pack_.parameters);
    step.activation = activations_;
    for (int s = 0; s < info().stages; ++s) step.weight[s] = data<T>(pack_.hh_panels[s]);
    const Index rows = part.rows.begin * padded_;
    for (int s = 0; s < info().sequences; ++s) {
        step.sequence[s] = sequences + layout.sequence[s].start + rows;
        step.mask[s] = layout.sequence[s].mask;
    }
    if (call.masked) {
        step.masked = sequences + layout.masked + rows;
        step.row_mask = sequences + layout.mask + rows;
    }
    step.zone = zone(call);
    step.row_first = part.rows.begin;
    step.row_stride = part.stride;
    return step;
}

// Rows keep their draws in whatever order they are taken.
template <class T>
Zone<T> Recurrent<T>::zone(const Call& call) const {
    Zone<T> zone = call.zone;
    zone.rows = call.some() ? call.selection->rows() : nullptr;
    return zone;
}

// Steps [t, t + steps): projects x, then runs them.
template <class T>
void Recurrent<T>::run_forward(StepForward<T>& step, const Part& part, Team* meeting,
                               const ForwardPass& pass, Index t, Index steps, Gates g,
                               bool again) const {
    const Selection* s = pass.selection;
    const Sequence<T>& y = pass.y;
    Sequence<const T> x = pass.x;
    x.data += t * x.step;
    if (pass.copies()) {
        // Threads that share the rows gather them each for itself.
        T* own = pass.gathered;
        if (meeting) own += meeting->index * pass.gathered_size;
        x = {own, input_, pass.batch * input_};
        for (Index i = 0; i < steps; ++i) gather(pass, pass.x, part, t + i, own + i * x.step);
    }
    if (pass.some()) {
        for (Index i = 0; i < steps; ++i) {
            project(x.data + i * x.step + part.rows.begin * input_, part.stride * input_,
                    part.count(s->active(t + i)), part.panels,
                    g.data + i * g.step + part.rows.begin * g.row, part.stride * g.row,
                    g.panel);
        }
    } else {
        for_runs({0, steps}, part.rows, [&](Index i, Index b, Index count, bool along_time) {
            project(x.data + b * x.row + i * x.step, along_time ? x.step : x.row, count,
                    part.panels, g.data + i * g.step + b * g.row, along_time ? g.step : g.row,
                    g.panel);
        });
    }
    step.slots = g.data + part.rows.begin * g.row;
    step.slots_panel = g.panel;
    step.slots_row = g.row * part.stride;
    step.slots_step = g.step;
    const bool writes = y.data && !again;
    step.y = writes && !pass.some() ? y.data + part.rows.begin * y.row + t * y.step : nullptr;
    step.y_row = y.row;
    step.y_step = y.step;
    step.time = t;
    if (!meeting && !s) {
        step.stage_begin = 0;
        step.stage_end = info().stages;
        step.steps = steps;
        kernels_.forward(step);
        step.first += steps;
        return;
    }
    step.steps = 1;
    for (Index i = 0; i < steps; ++i) {
        if (s) step.rows = part.count(s->active(t + i));
        for (int stage = 0; stage < info().stages; ++stage) {
            step.stage_begin = stage;
            step.stage_end = stage + 1;
            kernels_.forward(step);
            if (stage + 1 == info().stages && s) {
                if (writes && pass.some()) write_output(step, part, pass, t + i);
                if (s->has_resets()) reset_states(step, part, pass, t + i + 1);
            }
            if (meeting) meeting->barrier();
        }
        ++step.first;
        ++step.time;
        step.slots += g.step;
        if (step.y) step.y += y.step;
    }
}

template <class T>
void Recurrent<T>::write_output(const StepForward<T>& step, const Part& part,
                                const ForwardPass& pass, Index t) const {
    const Selection& s = *pass.selection;
    const Index first = part.panels.begin * table_.lanes;
    const Index end = std::min(part.panels.end * table_.lanes, hidden_);
    const T* state = step.sequence[0] + ((step.first + 1) & step.mask[0]) * step.sequence_step;
    for (Index i = 0, b = part.rows.begin; i < step.rows; ++i, b += part.stride) {
        const T* from = state + i * step.sequence_row;
        std::copy(from + first, from + end,
                  pass.y.data + s.row(b) * pass.y.row +
                      s.time(b, t, pass.backwards) * pass.y.step + first);
    }
}

// States that are the first ones again before step t.
template <class T>
void Recurrent<T>::reset_states(const StepForward<T>& step, const Part& part,
                                const ForwardPass& pass, Index t) const {
    const Selection& s = *pass.selection;
    if (t >= pass.steps) return;
    const Range units = this->units(part);
    for (Index i = 0, b = part.rows.begin; b < std::min(part.rows.end, s.active(t));
         ++i, b += part.stride) {
        if (!s.resets(b, t, pass.backwards)) continue;
        for (int state = 0; state < info().states; ++state) {
            const T* first = pass.sequences + pass.layout.first + state * pass.layout.state;
            T* to = step.sequence[state] + i * step.sequence_row +
                    ((step.first + 1) & step.mask[state]) * step.sequence_step;
            std::copy(first + b * padded_ + units.begin, first + b * padded_ + units.end,
                      to + units.begin);
        }
        mask_row(step, i, step.first + 1, units);
    }
}

template <class T>
void Recurrent<T>::mask_row(const StepForward<T>& step, Index row, Index time,
                            Range units) const {
    if (!step.masked) return;
    const Index at = row * step.sequence_row + (time & step.mask[0]) * step.sequence_step;
    const T* mask = step.row_mask + row * step.sequence_row;
    for (Index u = units.begin; u < units.end; ++u) {
        step.masked[at + u] = step.sequence[0][at + u] * mask[u];
    }
}

template <class T>
typename Recurrent<T>::ForwardPass Recurrent<T>::prepare(const Forward& f, int threads,
                                                         PassMemory& memory) const {
    ForwardPass p{};
    static_cast<Forward&>(p) = f;
    p.layer = this;
    p.plan = plan(f, threads);
    p.layout = layout(p.plan, f, f.keep);
    p.gates = reserve<T>(memory.gates, elements(p.layout.chunk_count, p.layout.chunk_size));
    p.sequences = reserve<T>(memory.sequences, p.layout.size);
    if (f.copies()) {
        p.gathered_size = elements(p.plan.projected_steps, f.batch, input_);
        p.gathered = reserve<T>(memory.gathered,
                                elements(p.plan.by_units ? threads : 1, p.gathered_size));
    }
    for (int s = 0; f.selection && f.selection->has_resets() && s < info().states; ++s) {
        for (Index b = 0; b < f.batch; ++b) {
            const T* first = (f.resets_apart ? f.reset : f.first).of[s];
            copy_padded(first ? first + f.caller_row(b) * hidden_ : nullptr,
                        p.sequences + p.layout.first + s * p.layout.state + b * padded_,
                        hidden_, padded_);
        }
    }
    if (f.masked) {
        for (Index b = 0; b < f.batch; ++b) {
            copy_padded(f.recurrent_mask + f.caller_row(b) * hidden_,
                        p.sequences + p.layout.mask + b * padded_, hidden_, padded_);
        }
    }
    return p;
}

template <class T>
Recurrent<T>::ForwardRun::ForwardRun(const ForwardPass& pass, Team& team)
    : pass_(pass),
      layer_(*pass.layer),
      team_(team),
      part_(layer_.part(pass.plan, team, pass)),
      meet_(pass.plan.by_units && std::min(pass.plan.parts, team.size) > 1),
      step_(layer_.forward_steps(pass, pass.layout, pass.sequences, part_)) {
    step_.save = pass.keep == Keep::kGates;
    if (!meet_ || team.index == 0) {
        for (Index i = 0, b = part_.rows.begin; b < part_.rows.end; ++i, b += part_.stride) {
            for (int s = 0; s < layer_.info().sequences; ++s) {
                const States<const T*>& given = pass.begins_apart(b) ? pass.reset : pass.first;
                const T* first = s < layer_.info().states ? given.of[s] : nullptr;
                copy_padded(first ? first + pass.caller_row(b) * layer_.hidden_ : nullptr,
                            step_.sequence[s] + i * step_.sequence_row, layer_.hidden_,
                            layer_.padded_);
            }
            layer_.mask_row(step_, i, 0, {0, layer_.padded_});
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
        if (pass_.keep == Keep::kStates && next_ == begin) {
            layer_.keep_at_chunk(l, pass_.sequences, part_, chunk, begin, false);
        }
        g.data += (next_ - begin) * g.step;
        layer_.run_forward(step_, part_, meet_ ? &team_ : nullptr, pass_, next_, count, g,
                           false);
        next_ += count;
    }
}

// Outputs at steps that were left out.
template <class T>
void Recurrent<T>::ForwardRun::fill_outputs() {
    const Selection& s = *pass_.selection;
    const Index first = part_.panels.begin * layer_.table_.lanes;
    const Index end = std::min(part_.panels.end * layer_.table_.lanes, layer_.hidden_);
    for (Index b = part_.rows.begin; b < part_.rows.end; b += part_.stride) {
        T* row = pass_.y.data + s.row(b) * pass_.y.row;
        const T* last = nullptr;
        for (Index i = 0, t = 0; i < s.times(); ++i) {
            const Index time = pass_.backwards ? s.times() - 1 - i : i;
            T* out = row + time * pass_.y.step;
            if (t < s.length(b) && s.time(b, t, pass_.backwards) == time) {
                last = out;
                ++t;
            } else if (pass_.fill == Fill::kRepeat && last) {
                std::copy(last + first, last + end, out + first);
            } else {
                std::fill(out + first, out + end, T(0));
            }
        }
    }
}

template <class T>
void Recurrent<T>::ForwardRun::finish() {
    if (pass_.some() && pass_.y.data && pass_.fill != Fill::kNothing) fill_outputs();
    if (meet_ && team_.index != 0) return;
    const Index hidden = layer_.hidden_;
    for (int s = 0; s < layer_.info().states; ++s) {
        const Kept& states = pass_.layout.sequence[s];
        for (Index b = part_.rows.begin; b < part_.rows.end; b += part_.stride) {
            const Index steps = pass_.some() ? pass_.selection->length(b) : pass_.steps;
            const T* last = pass_.sequences + states.start +
                            (steps & states.mask) * pass_.layout.state + b * layer_.padded_;
            std::copy(last, last + hidden, pass_.last.of[s] + pass_.caller_row(b) * hidden);
        }
    }
}

template <class T>
typename Recurrent<T>::BackwardPass Recurrent<T>::prepare(const Backward& b, int threads,
                                                          PassMemory& memory) const {
    const CellInfo& cell = info();
    BackwardPass p{};
    static_cast<Backward&>(p) = b;
    p.layer = this;
    p.plan = plan(b, threads);
    p.layout = layout(p.plan, b, b.keep);
    // Where only states were kept, the gates of a chunk at a time come here.
    p.gates = reserve<T>(memory.gates, elements(p.layout.chunk_count, p.layout.chunk_size));
    p.sequences = data<T>(memory.sequences);
    // What is carried to earlier steps, then the gradients in the weights' packed order.
    const bool resets = b.selection && b.selection->has_resets();
    const Index carry = elements(carries(), p.layout.state);
    const Index reset_carry = resets ? elements(cell.states, p.layout.state) : 0;
    const Index reset_slots = resets ? elements(b.batch, padded_, cell.slots) : 0;
    const Index ih_size = elements(padded_, input_, cell.input_slots);
    const Index bias_size = padded_ * cell.slots, parameters = padded_ * cell.parameters;
    // Cells with whole rows add up their parameters' gradients for each row, beside a scratch.
    const Index own = cell.whole_rows ? elements(b.batch, parameters + bias_size) : 0;
    Index size = carry + reset_carry + reset_slots + ih_size + bias_size + parameters + own;
    for (int s = 0; s < cell.stages; ++s) {
        size += elements(padded_, hidden_, cell.stage[s].slots);
    }
    p.carry = reserve<T>(memory.scratch, size);
    p.reset_carry = p.carry + carry;
    p.reset_slots = p.reset_carry + reset_carry;
    p.row_parameters = p.reset_slots + reset_slots;
    p.ih_sum = p.row_parameters + own;
    p.bias_sum = p.ih_sum + ih_size;
    p.parameter_sum = p.bias_sum + bias_size;
    T* next = p.parameter_sum + parameters;
    for (int s = 0; s < cell.stages; ++s) {
        p.hh_sum[s] = next;
        next += padded_ * hidden_ * cell.stage[s].slots;
    }
    std::fill_n(p.reset_carry, reset_carry, T(0));
    std::fill_n(p.row_parameters, own, T(0));
    // Otherwise the first chunk's products start the sums.
    if (p.layout.chunk_count == 0 || b.some()) std::fill(p.ih_sum, next, T(0));
    if (b.copies()) {
        const Index chunk = elements(p.layout.chunk_steps, b.batch, input_);
        p.gathered_size = elements(p.plan.projected_steps, b.batch, input_);
        const Index again = b.keep == Keep::kStates
                                ? elements(p.plan.by_units ? threads : 1, p.gathered_size)
                                : 0;
        // One chunk's x is still read while the next one's comes.
        p.gathered = reserve<T>(memory.gathered, elements(3, chunk) + again);
        p.dgathered = p.gathered + 2 * chunk;
        p.gathered_again = p.dgathered + chunk;
    }
    return p;
}

template <class T>
int Recurrent<T>::carries() const {
    return info().separate ? 2 * info().states + 1 : info().states;
}

template <class T>
Recurrent<T>::BackwardRun::BackwardRun(const BackwardPass& pass, Team& team)
    : pass_(pass),
      layer_(*pass.layer),
      team_(team),
      part_(layer_.part(pass.plan, team, pass)),
      meet_(pass.plan.by_units && std::min(pass.plan.parts, team.size) > 1),
      left_(pass.layout.state == 0 ? 0 : pass.steps),
      step_{} {
    const Index first = part_.rows.begin, padded = layer_.padded_;
    step_.rows = part_.count(pass.batch);
    step_.hidden = layer_.hidden_;
    step_.vectors = layer_.panels_;
    step_.vector_begin = part_.panels.begin;
    step_.vector_end = part_.panels.end;
    step_.sequence_row = padded * part_.stride;
    step_.sequence_step = pass.layout.state;
    step_.carry_row = padded * part_.stride;
    step_.dy_row = pass.dy.row;
    step_.dy_step = pass.dy.step;
    for (int s = 0; s < layer_.info().stages; ++s) {
        step_.weight[s] = data<T>(layer_.pack_.hh_strips[s]);
    }
    step_.parameters = data<T>(layer_.pack_.parameters);
    step_.activation = layer_.activations_;
    const Index own = layer_.padded_ * (layer_.info().parameters + layer_.info().slots);
    step_.dparameters_row = own * part_.stride;
    step_.dparameters = pass.row_parameters + first * own;
    if (pass.masked) {
        step_.row_mask = pass.sequences + pass.layout.mask + first * padded;
    }
    step_.zone = layer_.zone(pass);
    step_.row_first = first;
    step_.row_stride = part_.stride;
    for (int s = 0; s < layer_.carries(); ++s) {
        T* carry = pass.carry + s * pass.layout.state;
        step_.carry[s] = carry + first * padded;
        if (s >= layer_.info().states || (meet_ && team.index != 0)) continue;
        for (Index b = first; b < part_.rows.end; b += part_.stride) {
            const T* last = pass.dlast.of[s];
            copy_padded(last ? last + pass.caller_row(b) * layer_.hidden_ : nullptr,
                        carry + b * padded, layer_.hidden_, padded);
        }
    }
    if (pass.some() && pass.dx.data) {
        const Range rows = team.share(pass.batch);
        for (Index b = rows.begin; b < rows.end; ++b) {
            for (Index t = 0; t < pass.selection->times(); ++t) {
                std::fill_n(pass.dx.data + b * pass.dx.row + t * pass.dx.step, layer_.input_,
                            T(0));
            }
        }
    }
    if (meet_) team.barrier();
}

template <class T>
void Recurrent<T>::BackwardRun::run_steps(Range steps, Gates g) {
    if (!meet_ && !pass_.selection) {
        step_.stage_end = layer_.info().stages;
        if (step_.rows > 0) run(steps.begin, steps.end - steps.begin, g, 0, step_.rows);
        pass_on(g);
        return;
    }
    g.data += (steps.end - steps.begin) * g.step;
    const int stages = layer_.info().stages;
    for (Index t = steps.end; t-- > steps.begin;) {
        g.data -= g.step;
        Index rows = step_.rows, with_next = rows;
        if (pass_.selection) {
            const Selection& s = *pass_.selection;
            rows = part_.count(s.active(t));
            with_next = t + 1 < pass_.steps ? part_.count(s.active(t + 1)) : 0;
            if (t + 1 < pass_.steps) divert(t + 1);
            if (pass_.some()) take_output_gradient(t, rows);
        }
        const auto all = [&](int begin, int end) {
            step_.stage_begin = begin;
            step_.stage_end = end;
            if (with_next > 0) run(t, 1, g, 0, with_next);
            if (rows > with_next) {  // whose last step this is: they have no next one
                T* const next = std::exchange(next_, nullptr);
                run(t, 1, g, with_next, rows);
                next_ = next;
            }
        };
        if (meet_) {
            for (int s = 0; s < stages; ++s) {
                if (!part_.panels.empty()) all(s, s + 1);
                team_.barrier();
            }
        } else {
            all(0, stages);
        }
        if (t + 1 < pass_.steps) restore(t + 1);
        pass_on(g);
    }
}

// Some steps of the rows [begin, end) of this member's.
template <class T>
void Recurrent<T>::BackwardRun::run(Index t, Index count, const Gates& g, Index begin,
                                    Index end) {
    const Layout& l = pass_.layout;
    const Sequence<const T>& dy = pass_.dy;
    StepBackward<T> step = step_;
    step.rows = end - begin;
    step.steps = count;
    step.first = t;
    step.row_first += begin * part_.stride;
    step.slots = g.data + (part_.rows.begin + begin * part_.stride) * g.row;
    step.slots_panel = g.panel;
    step.slots_row = g.row * part_.stride;
    step.slots_step = g.step;
    step.next_slots = next_ ? next_ + begin * step.next_row : nullptr;
    for (int s = 0; s < layer_.info().sequences; ++s) {
        const Kept& kept = l.sequence[s];
        const Index time = pass_.keep == Keep::kStates && s > 0 ? t % l.chunk_steps : t;
        step.sequence[s] = pass_.sequences + kept.start + time * l.state +
                           part_.rows.begin * layer_.padded_ + begin * step.sequence_row;
    }
    for (int s = 0; s < layer_.carries(); ++s) step.carry[s] += begin * step.carry_row;
    if (step.row_mask) step.row_mask += begin * step.carry_row;
    if (step.dparameters) step.dparameters += begin * step.dparameters_row;
    const bool plain = dy.data && !pass_.some();
    step.dy = plain ? dy.data + (part_.rows.begin + begin) * dy.row + t * dy.step : nullptr;
    layer_.kernels_.backward(step);
}

// The first step's gradients are what an earlier step multiplies.
template <class T>
void Recurrent<T>::BackwardRun::pass_on(const Gates& g) {
    next_ = g.data + part_.rows.begin * g.row;
    step_.next_panel = g.panel;
    step_.next_row = g.row * part_.stride;
}

// dy enters what is carried; where an output is repeated, the gradients of all of it.
template <class T>
void Recurrent<T>::BackwardRun::take_output_gradient(Index t, Index rows) {
    const Sequence<const T>& dy = pass_.dy;
    if (!dy.data) return;
    const Selection& s = *pass_.selection;
    const Index first = part_.panels.begin * layer_.table_.lanes;
    const Index end = std::min(part_.panels.end * layer_.table_.lanes, layer_.hidden_);
    const Index ahead = pass_.backwards ? -1 : 1, last = pass_.backwards ? -1 : s.times();
    for (Index i = 0, b = part_.rows.begin; i < rows; ++i, b += part_.stride) {
        T* carry = step_.carry[0] + i * step_.carry_row;
        Index time = s.time(b, t, pass_.backwards);
        const Index stop = pass_.fill != Fill::kRepeat ? time + ahead
                           : t + 1 < s.length(b)       ? s.time(b, t + 1, pass_.backwards)
                                                       : last;
        for (; time != stop; time += ahead) {
            const T* from = dy.data + s.row(b) * dy.row + time * dy.step;
            for (Index u = first; u < end; ++u) carry[u] += from[u];
        }
    }
}

// f(i, b) for this member's rows whose state is the first one again before step t.
template <class T>
template <class F>
void Recurrent<T>::BackwardRun::for_resets(Index t, const F& f) const {
    const Selection& s = *pass_.selection;
    const Index count = part_.count(s.active(t));
    for (Index i = 0, b = part_.rows.begin; i < count; ++i, b += part_.stride) {
        if (s.resets(b, t, pass_.backwards)) f(i, b);
    }
}

// Before such a step gradients go to the first state and no further. The rows' gate gradients
// are put aside, so that the step before multiplies zeros.
template <class T>
void Recurrent<T>::BackwardRun::divert(Index t) {
    const Selection& s = *pass_.selection;
    if (!s.has_resets()) return;
    const CellInfo& cell = layer_.info();
    const Range units = layer_.units(part_);
    for_resets(t, [&](Index i, Index b) {
        T* const first = pass_.reset_carry + b * layer_.padded_;
        for (int state = 0; state < cell.states; ++state) {
            T* carry = step_.carry[state] + i * step_.carry_row;
            T* sum = first + state * pass_.layout.state;
            for (Index u = units.begin; u < units.end; ++u) {
                sum[u] += std::exchange(carry[u], T(0));
            }
        }
        multiply_next(i, 1, units, first);
    });
    if (meet_) {
        bool any = false;  // the same for all members, also those that have no rows
        for (Index b = 0; b < s.active(t); ++b) any = any || s.resets(b, t, pass_.backwards);
        if (!any) return;
        team_.barrier();  // all have multiplied what is put aside
    }
    const Index row = cell.slots * layer_.table_.lanes;
    for_resets(t, [&](Index i, Index b) {
        for (Index p = part_.panels.begin; p < part_.panels.end; ++p) {
            T* slots = next_ + i * step_.next_row + p * step_.next_panel;
            std::copy_n(slots, row, pass_.reset_slots + (b * layer_.panels_ + p) * row);
            std::fill_n(slots, row, T(0));
        }
    });
    if (meet_) team_.barrier();
}
template <class T>
void Recurrent<T>::BackwardRun::restore(Index t) {
    if (!pass_.selection || !pass_.selection->has_resets()) return;
    const Index row = layer_.info().slots * layer_.table_.lanes;
    for_resets(t, [&](Index i, Index b) {
        for (Index p = part_.panels.begin; p < part_.panels.end; ++p) {
            std::copy_n(pass_.reset_slots + (b * layer_.panels_ + p) * row, row,
                        next_ + i * step_.next_row + p * step_.next_panel);
        }
    });
}

// Adds to some units of `out` what the first stage's product with the next step's gradients
// gives for some rows: the gradient of the state before that step.
template <class T>
void Recurrent<T>::BackwardRun::multiply_next(Index first, Index rows, Range units, T* out) {
    const CellInfo& cell = layer_.info();
    if (!next_ || !layer_.kernels_.multiplies_next || rows == 0 || units.empty()) return;
    const int slots = cell.stage[0].slots;
    StripGemm<T> g{};
    g.a = layer_.gate_rows(next_ + first * step_.next_row, step_.next_row, step_.next_panel,
                           cell.stage[0].first_slot, slots);
    g.weight = step_.weight[0] + units.begin * layer_.hidden_ * slots;
    T* product = step_.row_mask ? step_.carry[cell.states] + first * step_.carry_row : out;
    g.out = product + units.begin;
    g.out_row = step_.carry_row;
    g.rows = rows;
    g.columns = units.end - units.begin;
    g.accumulate = !step_.row_mask;
    layer_.table_.gemm_strips(g);
    for (Index i = 0; step_.row_mask && i < rows; ++i) {
        const T* mask = step_.row_mask + (first + i) * step_.carry_row;
        for (Index u = units.begin; u < units.end; ++u) {
            out[i * step_.carry_row + u] += product[i * step_.carry_row + u] * mask[u];
        }
    }
}

template <class T>
void Recurrent<T>::BackwardRun::add_weight_gradients(Range steps, const Gates& g) {
    const Index B = pass_.batch, length = steps.end - steps.begin, C = layer_.input_;
    const Index in_chunk = pass_.keep == Keep::kStates ? 0 : steps.begin;
    const bool accumulate = steps.end < pass_.steps || pass_.some();
    Sequence<const T> x = pass_.x;
    x.data += steps.begin * x.step;
    if (pass_.copies()) {
        const Index chunk = steps.begin / pass_.layout.chunk_steps;
        x = {pass_.gathered + chunk % 2 * pass_.layout.chunk_steps * B * C, C, B * C};
    }
    if (pass_.some()) {
        const Index* active = pass_.selection->active() + steps.begin;
        add_products(g, steps.begin, in_chunk, {length, 0, active}, {x.data, x.step, x.row},
                     accumulate);
        return;
    }
    if (B == 1) {
        add_products(g, steps.begin, in_chunk, {1, length, nullptr}, {x.data, 0, x.step},
                     accumulate);
    } else {
        add_products(g, steps.begin, in_chunk, {length, B, nullptr}, {x.data, x.step, x.row},
                     accumulate);
    }
}

// The products of the runs of gate gradients from `g` on with what their slots took: x, and the
// sequences from time t; those that only a chunk of was kept, from time `in_chunk`.
template <class T>
void Recurrent<T>::BackwardRun::add_products(const Gates& g, Index t, Index in_chunk,
                                             const Runs& runs, const Sequence<const T>& x,
                                             bool accumulate) {
    const CellInfo& cell = layer_.info();
    const Layout& l = pass_.layout;
    const Index lanes = layer_.table_.lanes;
    OuterGemm<T> outer{};
    outer.accumulate = accumulate;
    outer.inner_of = runs.inner_of;
    outer.g_outer = g.step;
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
    outer.a = x.data;
    outer.a_outer = x.row;
    outer.a_inner = x.step;
    outer.outer = runs.outer;
    outer.inner = runs.inner;
    run(0, cell.input_slots, layer_.input_, pass_.ih_sum);
    // The rows of sequences lie closely: those of equal runs are one.
    const Index together = runs.inner_of ? 1 : runs.outer;
    outer.a_outer = l.state;
    outer.a_inner = layer_.padded_;
    outer.outer = runs.outer / together;
    outer.inner = runs.inner * together;
    const auto sequence = [&](int index, int offset) -> const T* {
        const Index time = (index > 0 ? in_chunk : t) + offset;
        const bool masked = index == 0 && pass_.masked;
        return pass_.sequences + (masked ? l.masked : l.sequence[index].start) + time * l.state;
    };
    for (int s = 0; s < cell.stages; ++s) {
        const Stage& stage = cell.stage[s];
        if (stage.slots == 0) continue;
        outer.a = sequence(stage.operand, stage.offset);
        run(stage.first_slot, stage.slots, layer_.hidden_, pass_.hh_sum[s]);
    }
    const Range mine = team_.share(layer_.panels_);
    RowSum<T> sum{};
    sum.g_row = g.row;
    sum.g_panel = g.panel;
    sum.panel_begin = mine.begin;
    sum.panel_end = mine.end;
    sum.accumulate = accumulate;
    for (Index i = 0; i < outer.outer; ++i) {
        sum.rows = runs.inner_of ? runs.inner_of[i] : outer.inner;
        sum.g = g.data + i * g.step;
        sum.a = nullptr;
        sum.out = pass_.bias_sum;
        sum.out_panel = cell.slots * lanes;
        sum.slots = cell.slots;
        layer_.table_.sum_rows(sum);
        for (int d = 0; d < cell.diagonals; ++d) {
            const Diagonal& diagonal = cell.diagonal[d];
            sum.a = sequence(diagonal.sequence, diagonal.offset) + i * l.state;
            sum.a_row = layer_.padded_;
            sum.g = g.data + i * g.step + diagonal.slot * lanes;
            sum.out = pass_.parameter_sum + d * lanes;
            sum.out_panel = cell.parameters * lanes;
            sum.slots = 1;
            layer_.table_.sum_rows(sum);
        }
    }
}

template <class T>
void Recurrent<T>::BackwardRun::set_input_gradient(Range steps, const Gates& g) {
    const Sequence<T>& dx = pass_.dx;
    const Index length = steps.end - steps.begin;
    if (pass_.some()) {
        const Selection& s = *pass_.selection;
        const Range mine = team_.share(length);
        for (Index i = mine.begin; i < mine.end; ++i) {
            const Index t = steps.begin + i, rows = s.active(t);
            T* out = pass_.dgathered + i * pass_.batch * layer_.input_;
            StripGemm<T> p{};
            p.a = layer_.gate_rows(g.data + i * g.step, g.row, g.panel, 0,
                                   layer_.info().input_slots);
            p.weight = data<T>(layer_.pack_.ih_strips);
            p.out = out;
            p.out_row = layer_.input_;
            p.rows = rows;
            p.columns = layer_.input_;
            layer_.table_.gemm_strips(p);
            for (Index b = 0; b < rows; ++b, out += layer_.input_) {
                layer_.drop(pass_.dx_mask, s.row(b), out);
                std::copy_n(
                    out, layer_.input_,
                    dx.data + s.row(b) * dx.row + s.time(b, t, pass_.backwards) * dx.step);
            }
        }
        return;
    }
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
        for (Index i = 0; pass_.dx_mask && i < count; ++i) {
            layer_.drop(pass_.dx_mask, along_time ? b : b + i, p.out + i * p.out_row);
        }
    });
}

// A chunk's gates, from the states.
template <class T>
void Recurrent<T>::BackwardRun::compute_again(Index chunk, Range steps, const Gates& g) {
    const Layout& l = pass_.layout;
    ForwardPass forward{};
    static_cast<Call&>(forward) = pass_;
    forward.x = pass_.x;
    forward.layout = l;
    forward.sequences = pass_.sequences;
    forward.gathered = pass_.gathered_again;
    forward.gathered_size = pass_.gathered_size;
    layer_.keep_at_chunk(l, pass_.sequences, part_, chunk, 0, true);
    StepForward<T> again = layer_.forward_steps(pass_, l, pass_.sequences, part_);
    again.sequence[0] += steps.begin * l.state;
    if (again.masked) again.masked += steps.begin * l.state;
    again.save = true;
    for (Index& mask : again.mask) mask = ~Index{0};
    for (Index t = steps.begin; t < steps.end; t += pass_.plan.projected_steps) {
        Gates part = g;
        part.data += (t - steps.begin) * g.step;
        layer_.run_forward(again, part_, meet_ ? &team_ : nullptr, forward, t,
                           std::min(pass_.plan.projected_steps, steps.end - t), part, true);
    }
}

// A chunk of x as products take it.
template <class T>
void Recurrent<T>::BackwardRun::gather(Range steps) {
    const Index chunk = steps.begin / pass_.layout.chunk_steps;
    const Index step = pass_.batch * layer_.input_;
    T* to = pass_.gathered + chunk % 2 * pass_.layout.chunk_steps * step;
    const bool shared = pass_.plan.by_units;
    const Range mine =
        shared ? team_.share(steps.end - steps.begin) : Range{0, steps.end - steps.begin};
    const Part rows = shared ? Part{{0, pass_.batch}, 1, {}} : part_;
    for (Index i = mine.begin; i < mine.end; ++i) {
        layer_.gather(pass_, pass_.x, rows, steps.begin + i, to + i * step);
    }
}

template <class T>
void Recurrent<T>::BackwardRun::advance(Index steps) {
    const Layout& l = pass_.layout;
    const bool resets = pass_.selection && pass_.selection->has_resets();
    for (const Index target = std::max<Index>(left_ - steps, 0); left_ > target;) {
        const Index chunk = (left_ - 1) / l.chunk_steps, begin = chunk * l.chunk_steps;
        const Index length = std::min(l.chunk_steps, pass_.steps - begin);
        const bool rebuild = pass_.keep == Keep::kStates;
        Gates g = layer_.gates(pass_.gates + (rebuild ? chunk % 2 : chunk) * l.chunk_size,
                               pass_.batch, length, l.slots);
        if (rebuild && left_ == begin + length) {
            team_.barrier();  // nobody reads the last chunk's other sequences any more
            compute_again(chunk, {begin, left_}, g);
        }
        if (pass_.copies() && left_ == begin + length) gather({begin, left_});
        const Range now = {std::max(begin, target), left_};
        Gates first = g;
        first.data += (now.begin - begin) * g.step;
        run_steps(now, first);
        // Every row's gate gradients are there, and what divert() put aside is back.
        if (!meet_ || resets) team_.barrier();
        if (now.begin == begin) add_weight_gradients({begin, begin + length}, g);
        if (pass_.dx.data) set_input_gradient(now, first);
        // divert() is about to put gradients of this chunk aside, which others still read.
        if (resets) team_.barrier();
        left_ = now.begin;
    }
}

template <class T>
void Recurrent<T>::BackwardRun::finish() {
    const CellInfo& cell = layer_.info();
    const Index lanes = layer_.table_.lanes, hidden = layer_.hidden_;
    const Index row = cell.slots * lanes;
    if (step_.rows > 0 && (!meet_ || team_.index == 0)) {
        const Index first =
            pass_.some() && pass_.steps > 0 ? pass_.selection->active(0) : pass_.batch;
        multiply_next(0, part_.count(first), {0, layer_.padded_}, step_.carry[0]);
        for (int s = 0; s < cell.states; ++s) {
            const T* carry = pass_.carry + s * pass_.layout.state;
            const bool resets = pass_.selection && pass_.selection->has_resets();
            const T* more = resets ? pass_.reset_carry + s * pass_.layout.state : nullptr;
            for (Index b = part_.rows.begin; b < part_.rows.end; b += part_.stride) {
                T* out = pass_.dfirst.of[s] + pass_.caller_row(b) * hidden;
                const bool all = !pass_.resets_apart || pass_.begins_apart(b);
                for (Index u = 0; u < hidden; ++u) {
                    const Index at = b * layer_.padded_ + u;
                    out[u] = (all ? carry[at] : 0) + (more ? more[at] : 0);
                }
            }
        }
    }
    team_.barrier();  // the sums are complete
    const Range mine = team_.share(layer_.panels_);
    const Weights<T*>& out = pass_.gradients;
    unpack_panels(layer_.table_, pass_.ih_sum, hidden, layer_.input_,
                  {cell.ih_block, 0, cell.input_slots}, mine, out.weight_ih);
    for (int s = 0; s < cell.stages; ++s) {
        unpack_panels(layer_.table_, pass_.hh_sum[s], hidden, hidden,
                      {cell.hh_block, cell.stage[s].first_slot, cell.stage[s].slots}, mine,
                      out.weight_hh);
    }
    for (Index u = mine.begin * lanes; u < std::min(mine.end * lanes, hidden); ++u) {
        const T* sums = pass_.bias_sum + u / lanes * row + u % lanes;
        for (int s = 0; s < cell.slots; ++s) {
            if (s < cell.input_slots) {
                out.bias_ih[cell.ih_block[s] * hidden + u] = sums[s * lanes];
            }
            if (cell.hh_block[s] >= 0) {
                out.bias_hh[cell.hh_block[s] * hidden + u] = sums[s * lanes];
            }
        }
    }
    if (cell.whole_rows) sum_row_parameters(mine);
    for (int p = 0; p < cell.parameters; ++p) {
        for (Index u = mine.begin * lanes; u < std::min(mine.end * lanes, hidden); ++u) {
            const Index panel = u / lanes * cell.parameters + p;
            out.parameters[p * hidden + u] = pass_.parameter_sum[panel * lanes + u % lanes];
        }
    }
}

// From every row's own sums, in the order of the rows.
template <class T>
void Recurrent<T>::BackwardRun::sum_row_parameters(Range panels) {
    const CellInfo& cell = layer_.info();
    const Index lanes = layer_.table_.lanes;
    RowSum<T> sum{};
    sum.g_row = layer_.padded_ * (cell.parameters + cell.slots);
    sum.g_panel = (cell.parameters + cell.slots) * lanes;
    sum.rows = pass_.batch;
    sum.panel_begin = panels.begin;
    sum.panel_end = panels.end;
    sum.out_panel = cell.parameters * lanes;
    for (int p = 0; p < cell.parameters; p += kMaxSlots) {
        sum.g = pass_.row_parameters + p * lanes;
        sum.out = pass_.parameter_sum + p * lanes;
        sum.slots = std::min(kMaxSlots, cell.parameters - p);
        layer_.table_.sum_rows(sum);
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
    project_.bias_panel = row;
    const Index slots = (cell.separate ? cell.slots : cell.input_slots) * table_.lanes;
    project_.out = reserve<T>(slots_, elements(panels, slots));
    project_.out_panel = slots;
    project_.rows = 1;
    project_.panels = panels;
    project_.slots = cell.input_slots;
    step_.rows = 1;
    step_.hidden = layer.hidden_;
    step_.panel_end = panels;
    step_.steps = 1;
    step_.stage_end = cell.stages;
    step_.slots = project_.out;
    step_.slots_panel = slots;
    T* sequences = reserve<T>(sequences_, elements(cell.sequences, 2, layer.padded_));
    for (int s = 0; s < cell.sequences; ++s) {
        step_.sequence[s] = sequences + 2 * s * layer.padded_;
    }
    step_.sequence_row = layer.padded_;
    step_.sequence_step = layer.padded_;
    for (Index& mask : step_.mask) mask = 1;
    for (int s = 0; s < cell.stages; ++s) step_.weight[s] = data<T>(layer.pack_.hh_panels[s]);
    step_.bias = data<T>(layer.pack_.hh_bias);
    step_.parameters = data<T>(layer.pack_.parameters);
    step_.activation = layer.activations_;
    reset(nullptr);
}

template <class T>
void Recurrent<T>::Stream::reset(const T* state) {
    step_.first = 0;
    for (int s = 0; s < kernels_.info.states; ++s) {
        copy_padded(state ? state + s * step_.hidden : nullptr, step_.sequence[s], step_.hidden,
                    step_.sequence_row);
    }
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
const T* Recurrent<T>::Stream::state(int index) const {
    return step_.sequence[index] + step_.first * step_.sequence_step;
}

template class Recurrent<float>;
template class Recurrent<double>;

}  // namespace grufast
