#include "recurrent.hpp"

#include <algorithm>
#include <stdexcept>

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

std::unique_lock<std::mutex> locked(Workspace& workspace) {
    std::unique_lock<std::mutex> lock(workspace.mutex, std::try_to_lock);
    if (!lock) throw std::invalid_argument("workspace: another call is using it");
    return lock;
}

}  // namespace

template <class T>
Recurrent<T>::Recurrent(const KernelTable<T>& table, CellId cell, Index input_size,
                        Index hidden_size)
    : table_(table),
      kernels_(table.cells[cell]),
      cell_(cell),
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
    pack_panels(weight_ih, hidden_, input_, inputs, lanes,
                reserve<T>(pack_.ih_panels, elements(padded_, input_, inputs.count)));
    const Index input_columns = (input_ + lanes - 1) / lanes * lanes;
    pack_strips(weight_ih, hidden_, input_, inputs, lanes,
                reserve<T>(pack_.ih_strips, elements(input_columns, hidden_, inputs.count)));
    for (int s = 0; s < cell.stages; ++s) {
        const Slots slots = {cell.hh_block, cell.stage[s].first_slot, cell.stage[s].slots};
        const Index size = elements(padded_, hidden_, slots.count);
        pack_panels(weight_hh, hidden_, hidden_, slots, lanes,
                    reserve<T>(pack_.hh_panels[s], size));
        pack_strips(weight_hh, hidden_, hidden_, slots, lanes,
                    reserve<T>(pack_.hh_strips[s], size));
    }
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
typename Recurrent<T>::Plan Recurrent<T>::plan(Index batch, Index steps, bool training) const {
    const double size = static_cast<double>(input_ + hidden_) * static_cast<double>(hidden_);
    const double operations = (training ? 6.0 : 2.0) * info().gates * size *
                              static_cast<double>(batch) * static_cast<double>(steps);
    Plan plan;
    plan.threads = threads_for(operations);
    plan.by_units = batch < 2 * kRowsPerPart;
    if (plan.by_units) {
        const double step = 2.0 * info().gates * static_cast<double>(hidden_) *
                            static_cast<double>(hidden_) * static_cast<double>(batch);
        const Index most = std::min<Index>(
            panels_ / kStripGrain, static_cast<Index>(step / kOperationsPerMeeting) + 1);
        plan.parts = static_cast<int>(std::clamp<Index>(most, 1, plan.threads));
    } else {
        plan.parts = static_cast<int>(std::clamp<Index>(batch / kRowsPerPart, 1, plan.threads));
    }
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
        return {{0, batch}, Team::share_of(team.index, parts, panels_, kStripGrain)};
    }
    const Index grain = batch >= 16 * parts ? 8 : 1;
    return {Team::share_of(team.index, parts, batch, grain), {0, panels_}};
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
void Recurrent<T>::forward(const Forward& f, Workspace* workspace) const {
    const CellInfo& cell = info();
    const Index B = f.batch;
    const bool save = workspace != nullptr;
    const Plan plan = this->plan(B, f.steps, false);
    const Index chunk_steps = save ? plan.chunk_steps : plan.projected_steps;
    const Index slots = save ? cell.slots : cell.input_slots;
    const Index chunk_size = elements(chunk_steps, B, padded_, slots);
    const Index state = elements(B, padded_);
    const Index kept_states = save ? f.steps + 1 : 2;

    Workspace local;
    Workspace& w = save ? *workspace : local;
    const auto lock = locked(w);
    w.filled = false;
    const Index kept_rows = save ? elements(f.steps, B) : elements(chunk_steps, B);
    T* gate_data = reserve<T>(w.gates, elements(kept_rows, padded_, slots));
    T* sequences = reserve<T>(w.sequences, elements(cell.sequences, kept_states, state));

    parallel(plan.parts, [&](Team& team) {
        const Part part = this->part(plan, team, B);
        const Range rows = part.rows;
        const bool meet = plan.by_units && team.size > 1;
        const bool owns_rows = !meet || team.index == 0;
        StepForward<T> step{};
        step.rows = rows.end - rows.begin;
        step.hidden = hidden_;
        step.panel_begin = part.panels.begin;
        step.panel_end = part.panels.end;
        step.sequence_row = padded_;
        step.sequence_step = state;
        step.mask = save ? ~Index{0} : 1;
        step.bias = data<T>(pack_.hh_bias);
        step.save = save;
        step.y_row = f.y.row;
        step.y_step = f.y.step;
        for (int s = 0; s < cell.stages; ++s) {
            step.weight[s] = data<T>(pack_.hh_panels[s]);
        }
        for (int s = 0; s < cell.sequences; ++s) {
            T* start = sequences + s * kept_states * state;
            if (owns_rows) {
                copy_padded<T>(s == 0 ? f.h0 : nullptr, start, rows, hidden_, padded_);
            }
            step.sequence[s] = start + rows.begin * padded_;
        }
        if (meet) team.barrier();
        const auto run = [&](Index t, Index steps, const Gates& g) {
            step.first = t;
            step.steps = steps;
            step.slots = g.data + rows.begin * g.row;
            step.slots_panel = g.panel;
            step.slots_row = g.row;
            step.slots_step = g.step;
            step.y = f.y.data ? f.y.data + rows.begin * f.y.row + t * f.y.step : nullptr;
            kernels_.forward(step);
        };
        for (Index t = 0; t < f.steps;) {
            const Index chunk = t / chunk_steps, begin = chunk * chunk_steps;
            const Index length = std::min(chunk_steps, f.steps - begin);
            const Index steps = std::min(plan.projected_steps, begin + length - t);
            Gates g = gates(gate_data + (save ? chunk * chunk_size : 0), B, length, slots);
            g.data += (t - begin) * g.step;
            project(f.x, t, steps, part, g);
            if (!meet) {
                step.stage_end = cell.stages;
                run(t, steps, g);
            }
            for (Index i = 0; meet && i < steps; ++i, g.data += g.step) {
                for (int s = 0; s < cell.stages; ++s) {
                    step.stage_begin = s;
                    step.stage_end = s + 1;
                    run(t + i, 1, g);
                    team.barrier();
                }
            }
            t += steps;
        }
        if (owns_rows) {
            const Index last = f.steps & step.mask;
            copy_unpadded(sequences + last * state, f.h_n, rows, hidden_, padded_);
        }
    });

    w.table = &table_;
    w.cell = cell_;
    w.batch = B;
    w.steps = f.steps;
    w.input = input_;
    w.hidden = hidden_;
    w.filled = save;
}

template <class T>
void Recurrent<T>::input_gradient(const Gates& g, Index t, Range steps, Range rows,
                                  const Sequence<T>& dx) const {
    for_runs(steps, rows, [&](Index s, Index b, Index count, bool along_time) {
        StripGemm<T> p{};
        p.a = gate_rows(g.data + s * g.step + b * g.row, along_time ? g.step : g.row, g.panel,
                        0, info().input_slots);
        p.weight = data<T>(pack_.ih_strips);
        p.out = dx.data + b * dx.row + (t + s) * dx.step;
        p.out_row = along_time ? dx.step : dx.row;
        p.rows = count;
        p.columns = input_;
        table_.gemm_strips(p);
    });
}

template <class T>
void Recurrent<T>::backward(const Backward& b, Workspace& w) const {
    const CellInfo& cell = info();
    const Index lanes = table_.lanes, B = b.batch;
    const auto lock = locked(w);
    if (!w.filled || w.table != &table_ || w.cell != cell_ || w.batch != B ||
        w.steps != b.steps || w.input != input_ || w.hidden != hidden_) {
        throw std::invalid_argument(
            "workspace: holds no forward of this layer and shape, or a backward has used it "
            "up");
    }
    const Plan plan = this->plan(B, b.steps, true);
    const Index state = B * padded_, row = cell.slots * lanes;
    const Index chunk_size = plan.chunk_steps * state * cell.slots;
    const Index chunks = state == 0 ? 0 : (b.steps + plan.chunk_steps - 1) / plan.chunk_steps;
    T* gate_data = data<T>(w.gates);
    const T* sequences = data<T>(w.sequences);

    // Scratch: what is carried to earlier steps, then the gradients in the weights' packed
    // order.
    const Index ih_size = padded_ * input_ * cell.input_slots, bias_size = padded_ * cell.slots;
    Index hh_size[kMaxStages] = {}, size = cell.sequences * state + ih_size + bias_size;
    for (int s = 0; s < cell.stages; ++s) {
        hh_size[s] = padded_ * hidden_ * cell.stage[s].slots;
        size += hh_size[s];
    }
    T* carry = reserve<T>(w.scratch, size);
    T* ih_sum = carry + cell.sequences * state;
    T* bias_sum = ih_sum + ih_size;
    T* hh_sum[kMaxStages];
    T* next = bias_sum + bias_size;
    for (int s = 0; s < cell.stages; ++s) {
        hh_sum[s] = next;
        next += hh_size[s];
    }
    if (chunks == 0) std::fill(ih_sum, next, T(0));
    w.filled = false;

    parallel(plan.threads, [&](Team& team) {
        const Part part = this->part(plan, team, B);
        const Range rows = part.rows;
        const int parts = std::min(plan.parts, team.size);
        const bool meet = plan.by_units && parts > 1;
        const bool owns_rows = !rows.empty() && (!meet || team.index == 0);
        const bool all_own_rows = !plan.by_units && parts == team.size;
        StepBackward<T> step{};
        step.rows = rows.end - rows.begin;
        step.hidden = hidden_;
        step.vectors = panels_;
        step.vector_begin = part.panels.begin;
        step.vector_end = part.panels.end;
        step.sequence_row = padded_;
        step.sequence_step = state;
        step.carry_row = padded_;
        step.dy_row = b.dy.row;
        step.dy_step = b.dy.step;
        for (int s = 0; s < cell.stages; ++s) {
            step.weight[s] = data<T>(pack_.hh_strips[s]);
        }
        for (int s = 0; s < cell.sequences; ++s) {
            T* start = carry + s * state;
            if (owns_rows) {
                copy_padded<T>(s == 0 ? b.dh_n : nullptr, start, rows, hidden_, padded_);
            }
            step.carry[s] = start + rows.begin * padded_;
        }
        if (meet) team.barrier();
        const auto run = [&](Index t, Index steps, const Gates& g) {
            step.steps = steps;
            step.slots = g.data + rows.begin * g.row;
            step.slots_panel = g.panel;
            step.slots_row = g.row;
            step.slots_step = g.step;
            for (int s = 0; s < cell.sequences; ++s) {
                step.sequence[s] =
                    sequences + (s * (b.steps + 1) + t) * state + rows.begin * padded_;
            }
            step.dy = b.dy.data ? b.dy.data + rows.begin * b.dy.row + t * b.dy.step : nullptr;
            kernels_.backward(step);
        };
        // The gradients of the step after the next one to run.
        const auto passed = [&] {
            step.next_slots = step.slots;
            step.next_panel = step.slots_panel;
            step.next_row = step.slots_row;
        };
        for (Index chunk = chunks; chunk-- > 0;) {
            const Index begin = chunk * plan.chunk_steps;
            const Index length = std::min(plan.chunk_steps, b.steps - begin);
            const Gates g = gates(gate_data + chunk * chunk_size, B, length, cell.slots);
            if (!meet && !rows.empty()) {
                step.stage_end = cell.stages;
                run(begin, length, g);
                passed();
            }
            for (Index i = length; meet && i-- > 0;) {
                Gates one = g;
                one.data += i * g.step;
                for (int s = 0; s < cell.stages; ++s) {
                    step.stage_begin = s;
                    step.stage_end = s + 1;
                    if (!part.panels.empty()) run(begin + i, 1, one);
                    team.barrier();
                }
                passed();
            }
            if (!meet) team.barrier();  // every row's gate gradients are there

            OuterGemm<T> outer{};
            outer.accumulate = chunk + 1 < chunks;
            outer.g_row = row;
            outer.g_panel = g.panel;
            const auto run = [&](int first_slot, int slots, Index k, T* out) {
                const Range items = team.share(panels_ * ((k + kOuterTile - 1) / kOuterTile));
                outer.g = g.data + first_slot * lanes;
                outer.out = out;
                outer.k = k;
                outer.item_begin = items.begin;
                outer.item_end = items.end;
                outer.slots = slots;
                table_.gemm_outer(outer);
            };
            outer.a = b.x.data + begin * b.x.step;
            outer.a_outer = B == 1 ? 0 : b.x.step;
            outer.a_inner = B == 1 ? b.x.step : b.x.row;
            outer.outer = B == 1 ? 1 : length;
            outer.inner = B == 1 ? length : B;
            run(0, cell.input_slots, input_, ih_sum);
            outer.outer = 1;
            outer.inner = length * B;
            outer.a_inner = padded_;
            for (int s = 0; s < cell.stages; ++s) {
                const Stage& stage = cell.stage[s];
                const Index first = stage.operand * (b.steps + 1) + begin + stage.offset;
                outer.a = sequences + first * state;
                run(stage.first_slot, stage.slots, hidden_, hh_sum[s]);
            }
            const Range mine = team.share(panels_);
            table_.sum_rows({g.data, row, g.panel, length * B, mine.begin, mine.end, bias_sum,
                             cell.slots, outer.accumulate});
            if (b.dx.data && all_own_rows) {
                input_gradient(g, begin, {0, length}, rows, b.dx);
            } else if (b.dx.data) {
                input_gradient(g, begin, team.share(length), {0, B}, b.dx);
            }
        }
        if (owns_rows) {
            if (step.next_slots) {
                StripGemm<T> last{};
                last.a = gate_rows(step.next_slots, row, step.next_panel,
                                   cell.stage[0].first_slot, cell.stage[0].slots);
                last.weight = step.weight[0];
                last.out = step.carry[0];
                last.out_row = padded_;
                last.rows = step.rows;
                last.columns = hidden_;
                last.accumulate = true;
                table_.gemm_strips(last);
            }
            copy_unpadded(carry, b.dh0, rows, hidden_, padded_);
        }
        team.barrier();  // the sums are complete
        const Range mine = team.share(panels_);
        unpack_panels(ih_sum, hidden_, input_, {cell.ih_block, 0, cell.input_slots}, lanes,
                      mine, b.dweight_ih);
        for (int s = 0; s < cell.stages; ++s) {
            unpack_panels(hh_sum[s], hidden_, hidden_,
                          {cell.hh_block, cell.stage[s].first_slot, cell.stage[s].slots}, lanes,
                          mine, b.dweight_hh);
        }
        for (Index u = mine.begin * lanes; u < std::min(mine.end * lanes, hidden_); ++u) {
            const T* sums = bias_sum + u / lanes * row + u % lanes;
            for (int s = 0; s < cell.slots; ++s) {
                if (s < cell.input_slots)
                    b.dbias_ih[cell.ih_block[s] * hidden_ + u] = sums[s * lanes];
                if (cell.hh_block[s] >= 0)
                    b.dbias_hh[cell.hh_block[s] * hidden_ + u] = sums[s * lanes];
            }
        }
    });
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
    step_.mask = 1;
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
