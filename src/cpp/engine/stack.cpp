#include "stack.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>

namespace grufast {
namespace {

std::unique_lock<std::mutex> locked(Workspace& workspace) {
    std::unique_lock<std::mutex> lock(workspace.mutex, std::try_to_lock);
    if (!lock) throw std::invalid_argument("workspace: another call is using it");
    return lock;
}

// Time-major memory of a level's output.
template <class T>
Sequence<T> time_major(T* data, Index batch, Index width) {
    return {data, width, batch * width};
}

template <class T>
Sequence<const T> constant(const Sequence<T>& s) {
    return {s.data, s.row, s.step};
}

// The columns of a direction in an output of both, in the order in which it runs.
template <class T>
Sequence<T> direction(const Sequence<T>& s, bool reversed, Index first, Index steps) {
    const Sequence<T> own = {s.data ? s.data + first : nullptr, s.row, s.step};
    return reversed ? own.reversed(steps) : own;
}

// Whether a team member works on a direction: both where it is alone, else its half's.
bool takes_part(const Team& team, std::size_t directions, std::size_t d) {
    return directions == 1 || team.size == 1 || team.group(2) == static_cast<int>(d);
}

// A thread's part of a wavefront: the passes of the layers it owns, a piece of the steps at a
// time, behind the thread that owns the layers before them; upwards through the stack or down.
template <class Run, class Pass, class Mine>
void follow(const Team& team, Meeting& followers, const std::vector<Pass>& passes,
            std::vector<std::optional<Run>>& runs, const Mine& mine, Index piece, bool up) {
    Team alone = team.alone();
    const Index steps = passes.front().steps;
    const int before = team.index + (up ? -1 : 1);
    const auto each = [&](const auto& f) {
        for (std::size_t n = 0; n < passes.size(); ++n) {
            const std::size_t i = up ? n : passes.size() - 1 - n;
            if (mine(i)) f(i);
        }
    };
    each([&](std::size_t i) { runs[i].emplace(passes[i], alone); });
    for (Index t = 0, round = 1; t < steps; t += piece, ++round) {
        if (before >= 0 && before < team.size) followers.wait_for(before, round);
        each([&](std::size_t i) { runs[i]->advance(std::min(piece, steps - t)); });
        followers.arrive(team.index, round);
    }
    each([&](std::size_t i) { runs[i]->finish(); });
}

}  // namespace

std::size_t Workspace::size() const {
    std::size_t sum = reversed.size();
    for (const Buffer& gradient : gradients) sum += gradient.size();
    for (const PassMemory& pass : passes) sum += pass.size();
    for (const Buffer& output : outputs) sum += output.size();
    return sum;
}

template <class T>
Stack<T>::Stack(std::vector<Level> levels, std::vector<bool> backwards)
    : levels_(std::move(levels)), backwards_(std::move(backwards)) {
    for (const Level& level : levels_) {
        width_.push_back(0);
        for (const auto& layer : level) {
            width_.back() += layer->hidden_size();
            kinds_.push_back({&layer->table(), layer->info().name, layer->input_size(),
                              layer->hidden_size()});
        }
    }
}

template <class T>
double Stack<T>::operations(Index batch, Index steps) const {
    double sum = 0;
    for (const Level& level : levels_) {
        for (const auto& layer : level) sum += layer->operations();
    }
    return sum * static_cast<double>(batch) * static_cast<double>(steps);
}

// Layers are shared out in runs, by the middle of their work.
template <class T>
int Stack<T>::owner(std::size_t level, int threads) const {
    double below = 0;
    for (std::size_t i = 0; i < level; ++i) below += levels_[i][0]->operations();
    const double middle = below + levels_[level][0]->operations() / 2;
    return static_cast<int>(middle / operations(1, 1) * threads);
}

template <class T>
typename Stack<T>::Wave Stack<T>::wave(Index batch, Index steps, int threads) const {
    const Wave none = {1, steps};
    const int most = std::min(threads, static_cast<int>(levels_.size()));
    if (most == 1 || !is_small(batch)) return none;
    double alone = 0;  // time with each layer's units shared out
    std::vector<double> share(static_cast<std::size_t>(most));
    for (std::size_t i = 0; i < levels_.size(); ++i) {
        if (levels_[i].size() > 1 || backwards_[i]) return none;
        const double work = levels_[i][0]->operations();
        alone += work / levels_[i][0]->unit_parts(batch, threads);
        share[static_cast<std::size_t>(owner(i, most))] += work;
    }
    // Short pieces keep the threads close behind each other; 8 steps fill a tile.
    const Index piece = std::clamp<Index>(steps / 12 / 8 * 8, 8, 64);
    const double behind = static_cast<double>(most - 1) * static_cast<double>(piece);
    const double time = *std::max_element(share.begin(), share.end()) *
                        (1 + behind / static_cast<double>(std::max<Index>(steps, 1)));
    return time < alone ? Wave{most, piece} : none;
}

template <class T>
typename Recurrent<T>::Call Stack<T>::call(const Workspace& w, Index batch, std::size_t level,
                                           std::size_t direction, std::size_t index) const {
    typename Recurrent<T>::Call c{};
    c.batch = batch;
    c.steps = w.selection.steps();
    const Regular& regular = w.regular[index];
    c.selection = w.selection.everything() && regular.none() ? nullptr : &w.selection;
    c.backwards = reversed(level, direction);
    c.fill = level + 1 == levels_.size() ? w.fill : Fill::kNothing;
    c.masked = regular.masked;
    for (int s = 0; s < kMaxStates; ++s) {
        c.zone.rate[s] = static_cast<T>(regular.zone.rate[s]);
    }
    c.zone.random = regular.zone.random;
    c.zone.seed = regular.zone.seed;
    c.resets_apart = w.resets_apart;
    return c;
}

template <class T>
void Stack<T>::forward(Forward f, Keep keep, Workspace& w) const {
    using Pass = typename Recurrent<T>::ForwardPass;
    using Run = typename Recurrent<T>::ForwardRun;
    const auto lock = locked(w);
    w.kinds.clear();
    w.selection = std::move(f.selection);
    w.fill = f.fill;
    w.regular = f.regular;
    w.resets_apart = !f.reset.empty();
    w.passes.resize(std::max(w.passes.size(), directions()));
    w.outputs.resize(std::max(w.outputs.size(), levels_.size() - 1));
    const int threads = threads_for(operations(f.batch, f.steps));
    std::vector<Pass> passes;
    passes.reserve(directions());
    Sequence<const T> x = f.x;
    for (std::size_t i = 0; i < levels_.size(); ++i) {
        Sequence<T> y = f.y;
        if (i + 1 < levels_.size()) {
            const Index size = elements(f.steps, f.batch, width_[i]);
            y = time_major(reserve<T>(w.outputs[i], size), f.batch, width_[i]);
        }
        Index first = 0;
        for (std::size_t d = 0; d < levels_[i].size(); ++d) {
            const Recurrent<T>& layer = *levels_[i][d];
            const std::size_t n = passes.size();
            typename Recurrent<T>::Forward pass{};
            static_cast<typename Recurrent<T>::Call&>(pass) = call(w, f.batch, i, d, n);
            pass.input_mask = i == 0 ? f.input_mask : nullptr;
            pass.recurrent_mask = f.recurrent_mask[n];
            const bool turned = pass.backwards && w.selection.whole();
            pass.x = direction(x, turned, 0, f.steps);
            pass.first = f.first[n];
            if (w.resets_apart) pass.reset = f.reset[n];
            pass.y = direction(y, turned, first, f.steps);
            pass.last = f.last[n];
            pass.keep = keep;
            passes.push_back(layer.prepare(pass, threads, w.passes[n]));
            first += layer.hidden_size();
        }
        x = constant(y);
    }

    const Wave wave = this->wave(f.batch, w.selection.steps(), threads);
    std::vector<std::optional<Run>> runs(passes.size());
    Meeting halves[2], followers;
    parallel(wave.threads > 1 ? wave.threads : threads, [&](Team& team) {
        if (wave.threads > 1 && team.size == wave.threads) {
            const auto mine = [&](std::size_t i) { return owner(i, team.size) == team.index; };
            follow(team, followers, passes, runs, mine, wave.steps, true);
            return;
        }
        Team half = team.split(2, halves);
        std::size_t n = 0;
        for (const Level& level : levels_) {
            for (std::size_t d = 0; d < level.size(); ++d, ++n) {
                if (!takes_part(team, level.size(), d)) continue;
                Run run(passes[n], level.size() == 1 ? team : half);
                run.advance(passes[n].steps);
                run.finish();
            }
            team.barrier();  // the next level reads all of y
        }
    });

    w.kinds = kinds_;
    w.batch = f.batch;
    w.steps = f.steps;
    w.keep = keep;
}

template <class T>
void Stack<T>::backward(const Backward& b, Workspace& w) const {
    using Pass = typename Recurrent<T>::BackwardPass;
    using Run = typename Recurrent<T>::BackwardRun;
    const auto lock = locked(w);
    if (w.keep == Keep::kNothing || w.kinds != kinds_ || w.batch != b.batch ||
        w.steps != b.steps) {
        throw std::invalid_argument(
            "workspace: holds no forward of this layer and shape, or a backward has used it "
            "up");
    }
    w.kinds.clear();
    const int threads = threads_for(3 * operations(b.batch, w.selection.steps()));
    const Wave wave = this->wave(b.batch, w.selection.steps(), threads);
    w.gradients.resize(std::max(w.gradients.size(), levels_.size()));
    // Each level's gradients for its input; of two directions the second's come beside and are
    // added at the end, so that the sum's order never changes.
    std::vector<Pass> passes(directions());
    std::vector<Sequence<T>> gradients(levels_.size()), beside(levels_.size());
    // Followed at once by the level below, a level's gradients serve one level only.
    const auto buffer = [&](std::size_t i) -> Buffer& {
        return w.gradients[wave.threads > 1 ? i : i % 2];
    };
    const auto input = [&](std::size_t i) { return levels_[i][0]->input_size(); };
    for (std::size_t i = 0; i < levels_.size(); ++i) {  // memory moves when it grows
        const Index size = elements(b.steps, b.batch, input(i));
        if (i > 0) reserve<T>(buffer(i), size);
        if (levels_[i].size() > 1 && (i > 0 || b.dx.data)) reserve<T>(w.reversed, size);
    }
    Sequence<const T> dy = b.dy;
    std::size_t n = directions();
    for (std::size_t i = levels_.size(); i-- > 0;) {
        const Level& level = levels_[i];
        gradients[i] = i == 0 ? b.dx : time_major(data<T>(buffer(i)), b.batch, input(i));
        if (level.size() > 1 && gradients[i].data) {
            beside[i] = time_major(data<T>(w.reversed), b.batch, input(i));
        }
        Sequence<const T> x = b.x;
        if (i > 0) x = constant(time_major(data<T>(w.outputs[i - 1]), b.batch, input(i)));
        n -= level.size();
        Index first = 0;
        for (std::size_t d = 0; d < level.size(); ++d) {
            const Gradients& g = b.grads[n + d];
            const Sequence<T>& dx = d == 0 ? gradients[i] : beside[i];
            typename Recurrent<T>::Backward pass{};
            static_cast<typename Recurrent<T>::Call&>(pass) = call(w, b.batch, i, d, n + d);
            const bool turned = pass.backwards && w.selection.whole();
            pass.x = direction(x, turned, 0, b.steps);
            pass.dy = direction(dy, turned, first, b.steps);
            pass.dlast = b.dlast[n + d];
            pass.dx = direction(dx, turned, 0, b.steps);
            pass.input_mask = i == 0 ? b.input_mask : nullptr;
            pass.dx_mask = level.size() == 1 ? pass.input_mask : nullptr;
            pass.dfirst = g.first;
            pass.gradients = g.weights;
            pass.keep = w.keep;
            passes[n + d] = level[d]->prepare(pass, threads, w.passes[n + d]);
            first += level[d]->hidden_size();
        }
        dy = constant(gradients[i]);
    }

    std::vector<std::optional<Run>> runs(passes.size());
    Meeting halves[2], followers;
    parallel(wave.threads > 1 ? wave.threads : threads, [&](Team& team) {
        if (wave.threads > 1 && team.size == wave.threads) {
            const auto mine = [&](std::size_t i) { return owner(i, team.size) == team.index; };
            follow(team, followers, passes, runs, mine, wave.steps, false);
            return;
        }
        Team half = team.split(2, halves);
        std::size_t end = passes.size();
        for (std::size_t i = levels_.size(); i-- > 0;) {
            const std::size_t count = levels_[i].size();
            end -= count;
            for (std::size_t d = 0; d < count; ++d) {
                if (!takes_part(team, count, d)) continue;
                Run run(passes[end + d], count == 1 ? team : half);
                run.advance(passes[end + d].steps);
                run.finish();
            }
            team.barrier();
            if (!beside[i].data) continue;
            const Sequence<T>&to = gradients[i], &from = beside[i];
            const Range steps = team.share(b.steps);
            for (Index t = steps.begin; t < steps.end; ++t) {
                for (Index row = 0; row < b.batch; ++row) {
                    T* sum = to.data + row * to.row + t * to.step;
                    const T* more = from.data + row * from.row + t * from.step;
                    for (Index c = 0; c < input(i); ++c) sum[c] += more[c];
                    if (i > 0 || !b.input_mask) continue;
                    const T* mask = b.input_mask + row * input(0);
                    for (Index c = 0; c < input(0); ++c) sum[c] *= mask[c];
                }
            }
            team.barrier();
        }
    });
}

template class Stack<float>;
template class Stack<double>;

}  // namespace grufast
