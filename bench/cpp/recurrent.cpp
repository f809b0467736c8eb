// The engine on whole sequences and on streams, float, reset after, with the instruction set
// that the library chooses (or GRUFAST_ISA).
#include <map>
#include <memory>

#include "engine/dispatch.hpp"
#include "engine/stack.hpp"
#include "program.hpp"
#include "reference.hpp"

namespace grufast {
namespace {

struct Shape {
    const char* name;
    Index batch, steps, input, hidden;

    double step_flops() const {  // of one row, forward
        return 6 * static_cast<double>(hidden) * static_cast<double>(input + hidden);
    }
    double flops() const { return step_flops() * static_cast<double>(batch * steps); }
};

const Shape kShapes[] = {
    {"tiny", 32, 20, 1, 30},      {"odd", 13, 40, 7, 37},      {"middle", 32, 100, 64, 128},
    {"large", 64, 100, 256, 256}, {"wide", 128, 50, 512, 512}, {"single", 1, 100, 256, 256},
    {"small", 1, 1, 1, 16},
};

// Inputs of a shape, and the textbook's results. Those of large shapes would take seconds: then
// some rows are checked, the first and the last among them, and the other rows' gradients are
// zero, so that these rows alone make those of the weights.
struct Problem {
    const Shape shape;
    const Array<float> x, h0, weight_ih, weight_hh, bias_ih, bias_hh, dy, dh_n;
    Array<float> checked_dy, checked_dh_n;
    struct Row {
        Index index;
        Exact y, h_n, dx, dh0;
    };
    std::vector<Row> rows;
    reference::Weights gradients;

    explicit Problem(const Shape& s)
        : shape(s),
          x(s.batch * s.steps * s.input, 2.0),
          h0(s.batch * s.hidden, 1.0),
          weight_ih(3 * s.hidden * s.input, 2 / std::sqrt(static_cast<double>(s.input))),
          weight_hh(3 * s.hidden * s.hidden, 1 / std::sqrt(static_cast<double>(s.hidden))),
          bias_ih(3 * s.hidden, 1.0),
          bias_hh(3 * s.hidden, 1.0),
          dy(s.batch * s.steps * s.hidden, 1.0),
          dh_n(s.batch * s.hidden, 1.0),
          checked_dy(dy.size()),
          checked_dh_n(dh_n.size()),
          gradients{s.input,
                    s.hidden,
                    Exact(weight_ih.size()),
                    Exact(weight_hh.size()),
                    Exact(bias_ih.size()),
                    Exact(bias_hh.size())} {
        constexpr double kMostFlops = 5e8;  // some tenths of a second
        const double row_flops = 3 * s.step_flops() * static_cast<double>(s.steps);
        const Index wanted = std::max<Index>(2, static_cast<Index>(kMostFlops / row_flops));
        const Index n = std::min(s.batch, wanted);
        const reference::Weights weights = {
            s.input,          s.hidden,        exactly(weight_ih), exactly(weight_hh),
            exactly(bias_ih), exactly(bias_hh)};
        for (Index i = 0; i < n; ++i) add_row(weights, n > 1 ? i * (s.batch - 1) / (n - 1) : 0);
    }

  private:
    void add_row(const reference::Weights& weights, Index index) {
        const Index T = shape.steps, C = shape.input, H = shape.hidden;
        const auto part = [index](const Array<float>& a, Index size) {
            return Exact(a.begin() + index * size, a.begin() + (index + 1) * size);
        };
        reference::Sequence sequence{T, part(x, T * C), part(h0, H), {}};
        reference::forward(weights, sequence);
        Row row{index, {}, {}, {}, part(dh_n, H)};
        row.y.assign(sequence.h.begin() + H, sequence.h.end());
        row.h_n.assign(sequence.h.end() - H, sequence.h.end());
        reference::backward(weights, sequence, part(dy, T * H), row.dh0, row.dx, gradients);
        rows.push_back(row);
        std::copy_n(&dy[index * T * H], T * H, &checked_dy[index * T * H]);
        std::copy_n(&dh_n[index * H], H, &checked_dh_n[index * H]);
    }
};

const Problem& problem(const Shape& shape) {
    static std::map<std::string, Problem> all;
    return all.try_emplace(shape.name, shape).first->second;
}

constexpr Activation kActivations[] = {kTanh, kSigmoid};

// All use of the engine: a layer and everything that its calls read and write.
class Layer {
  public:
    Layer(const Shape& shape, int threads)
        : problem_(problem(shape)),
          layer_(std::make_shared<Recurrent<float>>(active_table<float>(), kGru, kActivations,
                                                    shape.input, shape.hidden)),
          stack_({{layer_}}, {false}),
          y_(problem_.dy.size()),
          h_n_(problem_.h0.size()),
          dx_(problem_.x.size()),
          dh0_(problem_.h0.size()),
          dweight_ih_(problem_.weight_ih.size()),
          dweight_hh_(problem_.weight_hh.size()),
          dbias_ih_(problem_.bias_ih.size()),
          dbias_hh_(problem_.bias_hh.size()) {
        set_num_threads(threads);
        pack();
    }
    const Shape& shape() const { return problem_.shape; }

    void pack() {
        layer_->pack({problem_.weight_ih.begin(), problem_.weight_hh.begin(),
                      problem_.bias_ih.begin(), problem_.bias_hh.begin(), nullptr});
    }
    void infer() { forward(Keep::kNothing); }
    void train() {
        forward(Keep::kGates);
        backward(problem_.dy, problem_.dh_n);
    }
    // The first row as a stream.
    void begin_stream() {
        stream_.emplace(*layer_);
        stream_->reset(problem_.h0.begin());
    }
    void step(Index t) {
        stream_->step(&problem_.x[t * shape().input], &y_[t * shape().hidden]);
    }

    std::string check_inference() {
        infer();
        return wrong_states();
    }
    std::string check_training() {
        forward(Keep::kGates);
        backward(problem_.checked_dy, problem_.checked_dh_n);
        const std::string wrong = wrong_states();
        return wrong.empty() ? wrong_gradients() : wrong;
    }
    std::string check_stream() {
        begin_stream();
        for (Index t = 0; t < shape().steps; ++t) step(t);
        return wrong("y", &y_[0], problem_.rows[0].y);
    }

  private:
    void forward(Keep keep) {
        const Index B = shape().batch, T = shape().steps, C = shape().input, H = shape().hidden;
        Stack<float>::Forward f;
        f.batch = B;
        f.steps = T;
        f.x = {problem_.x.begin(), T * C, C};
        f.first = {{{problem_.h0.begin()}}};
        f.y = {y_.begin(), T * H, H};
        f.last = {{{h_n_.begin()}}};
        f.selection = Selection(T);
        f.fill = Fill::kZero;
        f.recurrent_mask = {nullptr};
        f.regular = {Regular{}};
        stack_.forward(f, keep, workspace_);
    }
    void backward(const Array<float>& dy, const Array<float>& dh_n) {
        const Index B = shape().batch, T = shape().steps, C = shape().input, H = shape().hidden;
        Stack<float>::Backward b;
        b.batch = B;
        b.steps = T;
        b.x = {problem_.x.begin(), T * C, C};
        b.dy = {dy.begin(), T * H, H};
        b.dlast = {{{dh_n.begin()}}};
        b.dx = {dx_.begin(), T * C, C};
        b.grads = {{{{dh0_.begin()}},
                    {dweight_ih_.begin(), dweight_hh_.begin(), dbias_ih_.begin(),
                     dbias_hh_.begin(), nullptr}}};
        stack_.backward(b, workspace_);
    }

    // As many units of epsilon as the tests allow; the longest sums are those of the gates,
    // forward and backward, and of the weights' gradients over all rows.
    std::string wrong(const std::string& name, const float* actual, const Exact& exact,
                      double units = 3, Index longest_sum = 1) const {
        const Index gate_sum = std::max(shape().input + shape().hidden, 3 * shape().hidden);
        return difference(name, actual, exact.data(), static_cast<Index>(exact.size()), units,
                          std::max(gate_sum, longest_sum));
    }
    std::string wrong_states() const {
        const Index T = shape().steps, H = shape().hidden;
        std::string text;
        for (const Problem::Row& row : problem_.rows) {
            const std::string name = " of row " + std::to_string(row.index) + ", ";
            if (text.empty()) text = wrong("y" + name, &y_[row.index * T * H], row.y);
            if (text.empty()) text = wrong("h_n" + name, &h_n_[row.index * H], row.h_n);
        }
        return text;
    }
    std::string wrong_gradients() const {
        const Index T = shape().steps, C = shape().input, H = shape().hidden;
        std::string text;
        for (const Problem::Row& row : problem_.rows) {
            const std::string name = " of row " + std::to_string(row.index) + ", ";
            if (text.empty()) text = wrong("dx" + name, &dx_[row.index * T * C], row.dx, 5);
            if (text.empty()) text = wrong("dh0" + name, &dh0_[row.index * H], row.dh0, 5);
        }
        const reference::Weights& exact = problem_.gradients;
        const auto check = [&](const char* name, const Array<float>& dw, const Exact& exact) {
            if (text.empty()) text = wrong(name, dw.begin(), exact, 5, shape().batch * T);
        };
        check("dweight_ih", dweight_ih_, exact.weight_ih);
        check("dweight_hh", dweight_hh_, exact.weight_hh);
        check("dbias_ih", dbias_ih_, exact.bias_ih);
        check("dbias_hh", dbias_hh_, exact.bias_hh);
        return text;
    }

    const Problem& problem_;
    const std::shared_ptr<Recurrent<float>> layer_;
    const Stack<float> stack_;
    std::optional<Recurrent<float>::Stream> stream_;
    Workspace workspace_;
    const Array<float> y_, h_n_, dx_, dh0_, dweight_ih_, dweight_hh_, dbias_ih_, dbias_hh_;
};

// Where one row leaves each step nothing to do but to read its weights, at what rate it does.
// Of forward and backward these are the recurrent ones: those of x are read once for many
// steps.
void count_weights(benchmark::State& state, Index columns, Index hidden, Index times) {
    const double bytes = static_cast<double>(3 * hidden * columns * times) * sizeof(float);
    state.counters["weight_bytes_per_second"] = rate(state, bytes, benchmark::Counter::kIs1024);
}

struct Inference : Layer {
    using Layer::Layer;
    std::string check() { return check_inference(); }
    void run() { infer(); }
    void count(benchmark::State& state) const {
        const Shape& s = shape();
        state.counters["FLOPS"] = rate(state, s.flops());
        if (s.batch == 1) count_weights(state, s.hidden, s.hidden, s.steps);
    }
};

struct Training : Layer {
    using Layer::Layer;
    std::string check() { return check_training(); }
    void run() { train(); }
    void count(benchmark::State& state) const {
        const Shape& s = shape();
        state.counters["FLOPS"] = rate(state, 3 * s.flops());
        if (s.batch == 1) count_weights(state, s.hidden, s.hidden, 2 * s.steps);
    }
};

struct Streaming : Layer {
    Index t = 0;
    explicit Streaming(const Shape& shape) : Layer(shape, 1) { begin_stream(); }
    std::string check() { return check_stream(); }
    void run() {
        step(t);
        if (++t == shape().steps) t = 0;
    }
    void count(benchmark::State& state) const {
        const Shape& s = shape();
        state.counters["FLOPS"] = rate(state, s.step_flops());
        count_weights(state, s.input + s.hidden, s.hidden, 1);
    }
};

struct Packing : Layer {
    explicit Packing(const Shape& shape) : Layer(shape, 1) {}
    std::string check() { return check_training(); }  // reads all that is packed
    void run() { pack(); }
    void count(benchmark::State& state) const {
        const Index weights = 3 * shape().hidden * (shape().input + shape().hidden);
        state.SetBytesProcessed(state.iterations() * weights * Index{sizeof(float)});
    }
};

void add_all(const Shape& shape, int threads) {
    const std::string on = "/threads:" + std::to_string(threads), name = shape.name;
    add<Inference>("forward/" + name + on, shape, threads)->UseRealTime();
    add<Training>("train/" + name + on, shape, threads)->UseRealTime();
    if (threads > 1) return;
    add<Streaming>("stream/" + name, shape);
    add<Packing>("pack/" + name, shape);
}

}  // namespace
}  // namespace grufast

int main(int argc, char** argv) {
    const int most = grufast::num_threads();
    grufast::set_adaptive(false);  // two threads are two, even where one comes late
    benchmark::AddCustomContext("isa", grufast::active_isa());
    for (const grufast::Shape& shape : grufast::kShapes) {
        grufast::add_all(shape, 1);
        if (most > 1) grufast::add_all(shape, most);
    }
    return grufast::run_benchmarks(argc, argv);
}
