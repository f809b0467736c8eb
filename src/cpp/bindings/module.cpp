// The native module: the only C++ that knows Python. Order of every call: check, allocate, take
// pointers, release the GIL, one engine call.
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "../engine/activations.hpp"
#include "../engine/dense.hpp"
#include "../engine/dispatch.hpp"
#include "../engine/stack.hpp"
#include "arrays.hpp"
#include "input_decay.hpp"
#include "losses.hpp"
#include "optimizers.hpp"
#include "selection.hpp"
#include "stream.hpp"

namespace grufast {
namespace {

// Keeps products of two sizes far from overflow, and far above what memory holds.
constexpr Index kMaxSize = Index{1} << 24;

constexpr const char* kDtypes[] = {"float32", "float64"};
constexpr const char* kActivations[] = {"linear",   "tanh", "sigmoid", "relu",  "hard_sigmoid",
                                        "softsign", "elu",  "gelu",    "swish", "softplus"};
static_assert(sizeof kActivations / sizeof *kActivations == kActivationCount);

template <std::size_t N>
int find_name(const char* const (&names)[N], const std::string& name, const char* argument) {
    std::string all;
    for (std::size_t i = 0; i < N; ++i) {
        if (name == names[i]) return static_cast<int>(i);
        all += (i ? ", " : "") + std::string(names[i]);
    }
    throw py::value_error(std::string(argument) + ": got '" + name +
                          "', expected one of: " + all);
}

void check_size(Index value, const char* name) {
    if (value < 1 || value > kMaxSize) {
        throw py::value_error(std::string(name) + ": got " + std::to_string(value) +
                              ", expected an integer from 1 to " + std::to_string(kMaxSize));
    }
}

template <class T>
py::array_t<T> new_array(const std::vector<Index>& shape) {
    return py::array_t<T>(shape);
}

template <class T>
Sequence<const T> sequence(const py::array& a) {
    return {data<T>(a), stride<T>(a, 0), stride<T>(a, 1)};
}

constexpr const char* kKeeps[] = {"nothing", "states", "gates"};  // as Keep

// What a call runs and what happens to its states; all None: everything, nothing.
struct Options {
    Chosen chosen = {};
    bool repeat = false;
    py::object input_mask = py::none();       // [N][C]
    py::object recurrent_masks = py::none();  // of each direction, [N][H] or None
    // Of each direction, or None: (rates of its states, whether they are random, seed).
    py::object zones = py::none();
    // What resets go back to, as the first states are given; None: those.
    std::optional<std::vector<py::object>> reset_states = std::nullopt;
};

// Layers on top of each other; the arrays of their directions come in one list, first layer
// first.
template <class T>
class StackCalls {
  public:
    StackCalls(std::vector<typename Stack<T>::Level> levels, std::vector<bool> backwards)
        : stack_(std::move(levels), std::move(backwards)) {}

    // -> y or None, the last states
    std::pair<py::object, std::vector<py::array_t<T>>> forward(
        const py::object& x_object, const std::vector<py::object>& first_objects,
        bool sequences, Keep keep, Workspace& workspace, const Options& options) const {
        const py::array x = checked<T>(x_object, "x", {-1, -1, input_size()});
        const Index B = x.shape(0), steps = x.shape(1);
        typename Stack<T>::Forward f{};
        const Chosen& chosen = options.chosen;
        const bool plain = options.recurrent_masks.is_none() && options.zones.is_none();
        f.selection = plain && chosen.all() ? Selection(steps) : chosen.selection(B, steps);
        f.fill = options.repeat ? Fill::kRepeat : Fill::kZero;
        std::vector<py::array> masks;
        f.input_mask = optional(options.input_mask, "input_mask", {B, input_size()}, masks);
        std::size_t direction = 0;
        f.batch = B;
        f.steps = steps;
        f.x = sequence<T>(x);
        std::vector<py::array> first;
        std::vector<py::array_t<T>> all_last;
        auto object = first_objects.begin();
        std::size_t state = 0;
        each([&](const Recurrent<T>& layer) {
            const Index H = layer.hidden_size();
            FirstStates<T> given{}, reset{};
            LastStates<T> last{};
            for (int s = 0; s < layer.info().states; ++s) {
                given.of[s] = optional(*object++, "h0", {B, H}, first);
                if (options.reset_states) {
                    reset.of[s] = optional((*options.reset_states)[state++], "reset_states",
                                           {B, H}, first);
                }
                all_last.push_back(new_array<T>({B, H}));
                last.of[s] = all_last.back().mutable_data();
            }
            f.first.push_back(given);
            if (options.reset_states) f.reset.push_back(reset);
            f.last.push_back(last);
            Regular regular{};
            f.recurrent_mask.push_back(nullptr);
            if (!options.recurrent_masks.is_none()) {
                const py::object mask = py::cast<py::list>(options.recurrent_masks)[direction];
                f.recurrent_mask.back() = optional(mask, "recurrent_mask", {B, H}, masks);
                regular.masked = f.recurrent_mask.back() != nullptr;
            }
            if (!options.zones.is_none()) {
                set_zone(py::cast<py::list>(options.zones)[direction], layer.info(), regular);
            }
            if (!regular.none() && !layer.info().separate) {
                throw py::value_error(std::string("cell: ") + layer.info().name +
                                      " takes neither recurrent masks nor zones");
            }
            f.regular.push_back(regular);
            ++direction;
        });
        py::object y = py::none();
        if (sequences) {
            const Index width = output_size();
            py::array_t<T> out = new_array<T>({B, steps, width});
            f.y = {out.mutable_data(), steps * width, width};
            y = std::move(out);
        }
        {
            py::gil_scoped_release nogil;
            stack_.forward(f, keep, workspace);
        }
        return {std::move(y), std::move(all_last)};
    }

    // -> dx or None, [dh0, ..., dweight_ih, dweight_hh, dbias_ih, dbias_hh, dparameters, ...]
    std::pair<py::object, std::vector<py::array_t<T>>> backward(
        Workspace& workspace, const py::object& x_object, const py::object& dy_object,
        const std::vector<py::object>& dlast_objects, bool need_dx,
        const py::object& input_mask) const {
        const Index C = input_size();
        const py::array x = checked<T>(x_object, "x", {-1, -1, C});
        const Index B = x.shape(0), steps = x.shape(1);
        typename Stack<T>::Backward b{};
        b.batch = B;
        b.steps = steps;
        b.x = sequence<T>(x);
        std::optional<py::array> dy;
        if (!dy_object.is_none()) {
            dy = checked<T>(dy_object, "dy", {B, steps, output_size()});
            b.dy = sequence<T>(*dy);
        }
        std::vector<py::array> dlast, masks;
        b.input_mask = optional(input_mask, "input_mask", {B, C}, masks);
        std::vector<py::array_t<T>> grads;
        auto object = dlast_objects.begin();
        each([&](const Recurrent<T>& layer) {
            const CellInfo& cell = layer.info();
            const Index H = layer.hidden_size();
            const auto add = [&](const std::vector<Index>& shape) {
                grads.push_back(new_array<T>(shape));
                return grads.back().mutable_data();
            };
            FirstStates<T> given{};
            typename Stack<T>::Gradients g{};
            for (int s = 0; s < cell.states; ++s) {
                given.of[s] = optional(*object++, "dh_n", {B, H}, dlast);
                g.first.of[s] = add({B, H});
            }
            g.weights.weight_ih = add({cell.ih_blocks * H, layer.input_size()});
            g.weights.weight_hh = add({cell.hh_blocks * H, H});
            g.weights.bias_ih = add({cell.ih_blocks * H});
            g.weights.bias_hh = add({cell.hh_blocks * H});
            if (cell.parameters > 0) g.weights.parameters = add({cell.parameters * H});
            b.dlast.push_back(given);
            b.grads.push_back(g);
        });
        py::object dx = py::none();
        if (need_dx) {
            py::array_t<T> out = new_array<T>({B, steps, C});
            b.dx = {out.mutable_data(), steps * C, C};
            dx = std::move(out);
        }
        {
            py::gil_scoped_release nogil;
            stack_.backward(b, workspace);
        }
        return {std::move(dx), std::move(grads)};
    }

    // States of all directions.
    std::size_t states() const {
        int sum = 0;
        each([&](const Recurrent<T>& layer) { sum += layer.info().states; });
        return static_cast<std::size_t>(sum);
    }

  private:
    static void set_zone(const py::object& object, const CellInfo& cell, Regular& regular) {
        if (object.is_none()) return;
        const auto [rates, random, seed] =
            py::cast<std::tuple<std::vector<double>, bool, unsigned>>(object);
        if (static_cast<int>(rates.size()) != cell.states) {
            throw py::value_error("zones: expected a rate for each state");
        }
        for (int s = 0; s < cell.states; ++s) {
            const double rate = rates[static_cast<std::size_t>(s)];
            if (!(rate >= 0 && rate <= 1)) {
                throw py::value_error("zones: expected rates from 0 to 1");
            }
            regular.zone.rate[s] = rate;
        }
        regular.zone.random = random;
        regular.zone.seed = seed;
    }
    template <class F>
    void each(const F& f) const {
        for (const auto& level : stack_.levels()) {
            for (const auto& layer : level) f(*layer);
        }
    }
    Index input_size() const { return stack_.levels().front()[0]->input_size(); }
    Index output_size() const {
        Index sum = 0;
        for (const auto& layer : stack_.levels().back()) sum += layer->hidden_size();
        return sum;
    }
    static const T* optional(const py::object& object, const char* name,
                             const std::vector<Index>& shape, std::vector<py::array>& keep) {
        if (object.is_none()) return nullptr;
        keep.push_back(contiguous<T>(object, name, shape));
        return data<T>(keep.back());
    }

    Stack<T> stack_;
};

// A layer's weights in one direction, at one precision; the classes that Python sees.
class PyRecurrent {
  public:
    virtual ~PyRecurrent() = default;
    virtual void pack(py::object weight_ih, py::object weight_hh, py::object bias_ih,
                      py::object bias_hh, py::object parameters) = 0;
    virtual py::tuple forward(py::object x, py::object h0, bool sequences, Workspace* workspace,
                              const std::string& keep) const = 0;
    virtual py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                               py::object dh_n, bool need_dx) const = 0;
    virtual std::shared_ptr<PyStream> stream() const = 0;
};

template <class T>
class PyRecurrentOf final : public PyRecurrent {
  public:
    PyRecurrentOf(CellId cell, const Activation (&activations)[2], Index input_size,
                  Index hidden_size)
        : layer_(std::make_shared<Recurrent<T>>(active_table<T>(), cell, activations,
                                                input_size, hidden_size)),
          calls_({{layer_}}, {false}) {}

    void pack(py::object weight_ih, py::object weight_hh, py::object bias_ih,
              py::object bias_hh, py::object parameters) override {
        const CellInfo& cell = layer_->info();
        const Index H = layer_->hidden_size();
        const Index ih_rows = cell.ih_blocks * H, hh_rows = cell.hh_blocks * H;
        const py::array w_ih =
            contiguous<T>(weight_ih, "weight_ih", {ih_rows, layer_->input_size()});
        const py::array w_hh = contiguous<T>(weight_hh, "weight_hh", {hh_rows, H});
        const py::array b_ih = contiguous<T>(bias_ih, "bias_ih", {ih_rows});
        const py::array b_hh = contiguous<T>(bias_hh, "bias_hh", {hh_rows});
        typename Recurrent<T>::template Weights<const T*> weights = {
            data<T>(w_ih), data<T>(w_hh), data<T>(b_ih), data<T>(b_hh), nullptr};
        std::optional<py::array> more;
        if (cell.parameters > 0) {
            more = contiguous<T>(parameters, "parameters", {cell.parameters * H});
            weights.parameters = data<T>(*more);
        }
        {
            py::gil_scoped_release nogil;
            layer_->pack(weights);
        }
        packed_ = true;
    }

    py::tuple forward(py::object x, py::object h0, bool sequences, Workspace* workspace,
                      const std::string& keep) const override {
        require_packed();
        Workspace none;
        const auto kept = static_cast<Keep>(find_name(kKeeps, keep, "keep"));
        auto [y, last] =
            calls_.forward(x, states(h0), sequences, workspace ? kept : Keep::kNothing,
                           workspace ? *workspace : none, Options());
        return joined(y, last);
    }

    py::tuple backward(Workspace& workspace, py::object x, py::object dy, py::object dh_n,
                       bool need_dx) const override {
        require_packed();
        auto [dx, g] = calls_.backward(workspace, x, dy, states(dh_n), need_dx, py::none());
        return joined(dx, g);
    }

    std::shared_ptr<PyStream> stream() const override {
        require_packed();
        return std::make_shared<PyStreamOf<T>>(layer_);
    }

    const std::shared_ptr<Recurrent<T>>& layer() const { return layer_; }
    void require_packed() const {
        if (!packed_) throw py::value_error("this layer has no weights yet: call pack first");
    }

  private:
    // A state, or a sequence of them where the cell has more; None: none.
    std::vector<py::object> states(const py::object& given) const {
        const std::size_t count = calls_.states();
        if (given.is_none()) return std::vector<py::object>(count, py::none());
        if (count == 1) return {given};
        auto all = py::cast<std::vector<py::object>>(given);
        if (all.size() != count) throw py::value_error("states: got another number of them");
        return all;
    }
    static py::tuple joined(const py::object& first,
                            const std::vector<py::array_t<T>>& others) {
        py::tuple all(others.size() + 1);
        all[0] = first;
        for (std::size_t i = 0; i < others.size(); ++i) all[i + 1] = others[i];
        return all;
    }

    std::shared_ptr<Recurrent<T>> layer_;
    StackCalls<T> calls_;
    bool packed_ = false;
};

class PyStack {
  public:
    virtual ~PyStack() = default;
    virtual py::tuple forward(py::object x, const std::vector<py::object>& h0, bool sequences,
                              Workspace& workspace, const std::string& keep,
                              const Options& options) const = 0;
    virtual py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                               const std::vector<py::object>& dh_n, bool need_dx,
                               py::object input_mask) const = 0;
};

template <class T>
class PyStackOf final : public PyStack {
  public:
    using Levels = std::vector<std::vector<std::shared_ptr<PyRecurrent>>>;

    PyStackOf(const Levels& levels, const std::vector<bool>& backwards)
        : calls_(stacked(levels), backwards) {
        for (const auto& level : levels) {
            for (const auto& layer : level) layers_.push_back(of(layer));
        }
    }

    py::tuple forward(py::object x, const std::vector<py::object>& h0, bool sequences,
                      Workspace& workspace, const std::string& keep,
                      const Options& options) const override {
        require(h0, "h0");
        if (options.reset_states) require(*options.reset_states, "reset_states");
        const auto kept = static_cast<Keep>(find_name(kKeeps, keep, "keep"));
        auto [y, h_n] = calls_.forward(x, h0, sequences, kept, workspace, options);
        return py::make_tuple(y, h_n);
    }

    py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                       const std::vector<py::object>& dh_n, bool need_dx,
                       py::object input_mask) const override {
        require(dh_n, "dh_n");
        auto [dx, g] = calls_.backward(workspace, x, dy, dh_n, need_dx, input_mask);
        return py::make_tuple(dx, g);
    }

  private:
    using Layer = std::shared_ptr<const PyRecurrentOf<T>>;

    static Layer of(const std::shared_ptr<PyRecurrent>& layer) {
        auto own = std::dynamic_pointer_cast<const PyRecurrentOf<T>>(layer);
        if (!own) throw py::value_error("levels: got layers of different dtypes");
        return own;
    }
    static std::vector<typename Stack<T>::Level> stacked(const Levels& levels) {
        std::vector<typename Stack<T>::Level> all;
        Index below = 0;
        for (const auto& level : levels) {
            if (level.empty() || level.size() > 2) {
                throw py::value_error("levels: got " + std::to_string(level.size()) +
                                      " layers side by side, expected 1 or 2");
            }
            typename Stack<T>::Level natives;
            Index width = 0;
            for (const auto& layer : level) {
                natives.push_back(of(layer)->layer());
                const Index input = natives.back()->input_size();
                const Index expected = all.empty() ? natives[0]->input_size() : below;
                if (input != expected) {
                    throw py::value_error("levels: got an input size of " +
                                          std::to_string(input) + ", expected " +
                                          std::to_string(expected));
                }
                width += natives.back()->hidden_size();
            }
            below = width;
            all.push_back(std::move(natives));
        }
        return all;
    }
    void require(const std::vector<py::object>& states, const char* name) const {
        if (states.size() != calls_.states()) {
            throw py::value_error(std::string(name) + ": got " + std::to_string(states.size()) +
                                  " items, expected " + std::to_string(calls_.states()));
        }
        for (const Layer& layer : layers_) layer->require_packed();
    }

    StackCalls<T> calls_;
    std::vector<Layer> layers_;
};

std::unique_ptr<PyStack> make_stack(
    const std::vector<std::vector<std::shared_ptr<PyRecurrent>>>& levels,
    std::vector<bool> backwards) {
    if (levels.empty() || levels[0].empty()) {
        throw py::value_error("levels: got none, expected at least one layer");
    }
    if (backwards.empty()) backwards.assign(levels.size(), false);
    if (backwards.size() != levels.size()) {
        throw py::value_error("backwards: got " + std::to_string(backwards.size()) +
                              " items, expected " + std::to_string(levels.size()));
    }
    for (std::size_t i = 0; i < levels.size(); ++i) {
        if (backwards[i] && levels[i].size() > 1) {
            throw py::value_error("backwards: a layer in both directions runs in both");
        }
    }
    if (std::dynamic_pointer_cast<PyRecurrentOf<float>>(levels[0][0])) {
        return std::make_unique<PyStackOf<float>>(levels, backwards);
    }
    return std::make_unique<PyStackOf<double>>(levels, backwards);
}

std::shared_ptr<PyRecurrent> make_recurrent(const std::string& cell_name, Index input_size,
                                            Index hidden_size, const std::string& dtype,
                                            const std::string& activation,
                                            const std::string& recurrent_activation) {
    const char* cells[kCellCount];
    for (int i = 0; i < kCellCount; ++i) cells[i] = active_table<float>().cells[i].info.name;
    const auto cell = static_cast<CellId>(find_name(cells, cell_name, "cell"));
    const Activation activations[] = {
        static_cast<Activation>(find_name(kActivations, activation, "activation")),
        static_cast<Activation>(
            find_name(kActivations, recurrent_activation, "recurrent_activation"))};
    check_size(input_size, "input_size");
    check_size(hidden_size, "hidden_size");
    if (find_name(kDtypes, dtype, "dtype") == 0) {
        return std::make_shared<PyRecurrentOf<float>>(cell, activations, input_size,
                                                      hidden_size);
    }
    return std::make_shared<PyRecurrentOf<double>>(cell, activations, input_size, hidden_size);
}

class PyDense {
  public:
    virtual ~PyDense() = default;
    virtual void pack(py::object weight, py::object bias) = 0;
    virtual py::object forward(py::object x) const = 0;
    virtual py::tuple train(py::object x) const = 0;
    virtual py::tuple backward(py::object x, py::object kept, py::object dy,
                               bool need_dx) const = 0;
};

template <class T>
class PyDenseOf final : public PyDense {
  public:
    PyDenseOf(Index input_size, Index units, Activation activation)
        : layer_(active_table<T>(), input_size, units, activation) {}

    void pack(py::object weight, py::object bias) override {
        const py::array w =
            contiguous<T>(weight, "weight", {layer_.units(), layer_.input_size()});
        const py::array b = contiguous<T>(bias, "bias", {layer_.units()});
        {
            py::gil_scoped_release nogil;
            layer_.pack(data<T>(w), data<T>(b));
        }
        packed_ = true;
    }

    py::object forward(py::object x) const override { return run(x, nullptr); }

    py::tuple train(py::object x) const override {
        py::object kept = py::none();
        const py::object y = run(x, &kept);
        return py::make_tuple(y, kept.is_none() ? y : kept);
    }

    py::tuple backward(py::object x_object, py::object kept_object, py::object dy_object,
                       bool need_dx) const override {
        require_packed();
        const Index C = layer_.input_size(), units = layer_.units();
        const py::array x = checked<T>(x_object, "x", {-1, C});
        const Index rows = x.shape(0);
        const py::array kept = contiguous<T>(kept_object, "kept", {rows, units});
        const py::array dy = contiguous<T>(dy_object, "dy", {rows, units});
        py::array_t<T> dweight = new_array<T>({units, C}), dbias = new_array<T>({units});
        T *dx_data = nullptr, *dweight_data = dweight.mutable_data();
        T* dbias_data = dbias.mutable_data();
        py::object dx = py::none();
        if (need_dx) {
            py::array_t<T> out = new_array<T>({rows, C});
            dx_data = out.mutable_data();
            dx = std::move(out);
        }
        {
            py::gil_scoped_release nogil;
            layer_.backward(rows, data<T>(x), stride<T>(x, 0), data<T>(kept), data<T>(dy),
                            dx_data, dweight_data, dbias_data);
        }
        return py::make_tuple(dx, dweight, dbias);
    }

  private:
    // Returns y; where the slopes need them and `inputs` is there, the activation's inputs too.
    py::array_t<T> run(const py::object& x_object, py::object* inputs) const {
        require_packed();
        const py::array x = checked<T>(x_object, "x", {-1, layer_.input_size()});
        py::array_t<T> y = new_array<T>({x.shape(0), layer_.units()});
        T *out = y.mutable_data(), *inputs_out = nullptr;
        if (inputs && keeps_input(layer_.activation())) {
            py::array_t<T> array = new_array<T>({x.shape(0), layer_.units()});
            inputs_out = array.mutable_data();
            *inputs = std::move(array);
        }
        {
            py::gil_scoped_release nogil;
            layer_.forward(x.shape(0), data<T>(x), stride<T>(x, 0), out, inputs_out);
        }
        return y;
    }
    void require_packed() const {
        if (!packed_) throw py::value_error("this layer has no weights yet: call pack first");
    }
    Dense<T> layer_;
    bool packed_ = false;
};

Activation find_activation(const std::string& name) {
    return static_cast<Activation>(find_name(kActivations, name, "activation"));
}

std::unique_ptr<PyDense> make_dense(Index input_size, Index units, const std::string& dtype,
                                    const std::string& activation_name) {
    check_size(input_size, "input_size");
    check_size(units, "units");
    const Activation activation = find_activation(activation_name);
    if (find_name(kDtypes, dtype, "dtype") == 0) {
        return std::make_unique<PyDenseOf<float>>(input_size, units, activation);
    }
    return std::make_unique<PyDenseOf<double>>(input_size, units, activation);
}

py::tuple activate_forward(const std::string& name, const py::object& x_object) {
    const Activation activation = find_activation(name);
    return with_dtype_of(x_object, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const py::array x = contiguous<T>(x_object, "x", {-1});
        py::array_t<T> y = new_array<T>({x.size()});
        T* out = y.mutable_data();
        {
            py::gil_scoped_release nogil;
            activate(activation, data<T>(x), out, x.size());
        }
        return py::make_tuple(y, keeps_input(activation) ? x : py::array(y));
    });
}

py::object activate_gradient(const std::string& name, const py::object& kept_object,
                             const py::object& dy_object) {
    const Activation activation = find_activation(name);
    return with_dtype_of(kept_object, [&](auto zero) -> py::object {
        using T = decltype(zero);
        const py::array kept = contiguous<T>(kept_object, "kept", {-1});
        const py::array dy = contiguous<T>(dy_object, "dy", {kept.size()});
        py::array_t<T> dx = new_array<T>({kept.size()});
        T* out = dx.mutable_data();
        {
            py::gil_scoped_release nogil;
            activate_backward(activation, data<T>(kept), data<T>(dy), out, kept.size());
        }
        return std::move(dx);
    });
}

void set_threads(const py::object& n) {
    const std::string got = "n: got " + std::string(py::repr(n)) + ", expected an integer";
    if (!PyIndex_Check(n.ptr()) || py::isinstance<py::bool_>(n)) throw py::type_error(got);
    const auto integer = py::reinterpret_steal<py::object>(PyNumber_Index(n.ptr()));
    if (!integer) throw py::error_already_set();
    int overflow = 0;
    const long value = PyLong_AsLongAndOverflow(integer.ptr(), &overflow);
    if (overflow != 0 || value < 1 || value > kMaxThreads) {
        throw py::value_error(got + " from 1 to " + std::to_string(kMaxThreads));
    }
    set_num_threads(static_cast<int>(value));
}

py::dict build_info() {
    py::dict info;
    info["version"] = GRUFAST_VERSION;
    info["compiler"] = GRUFAST_COMPILER;
#ifdef _OPENMP
    info["openmp"] = true;
#else
    info["openmp"] = false;
#endif
    const auto list = [](const std::vector<std::string>& names) {
        py::list all;
        for (const std::string& name : names) all.append(name);
        return all;
    };
    info["isas_built"] = list(isas_built());
    info["isas_available"] = list(isas_available());
    info["isa"] = active_isa();
    return info;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    // Wrong settings in the environment must fail here, not in the middle of a training.
    active_kernels();
    num_threads();

    m.attr("__version__") = GRUFAST_VERSION;
    m.def("build_info", &build_info);
    m.def("set_isa", &set_isa, py::arg("name"));
    m.def("set_num_threads", &set_threads, py::arg("n"));
    m.def("set_adaptive", &set_adaptive, py::arg("on"));
    m.def("get_num_threads", &num_threads);
    define_optimizers(m);
    m.def("softmax_cross_entropy", &softmax_cross_entropy, py::arg("y_true"), py::arg("y_pred"),
          py::arg("sample_weight"), py::arg("label_smoothing"), py::arg("need_gradient"));
    m.def("activate", &activate_forward, py::arg("activation"), py::arg("x"));
    m.def("activate_backward", &activate_gradient, py::arg("activation"), py::arg("kept"),
          py::arg("dy"));

    m.def("input_decay", &input_decay, py::arg("x"), py::arg("weight"), py::arg("bias"),
          py::arg("mean"), py::arg("backwards"), py::arg("keep"),
          py::arg("lengths") = py::none(), py::arg("mask") = py::none(),
          py::arg("resets") = py::none());
    m.def("input_decay_backward", &input_decay_backward, py::arg("x"), py::arg("weight"),
          py::arg("bias"), py::arg("mean"), py::arg("backwards"), py::arg("kept"),
          py::arg("dx"), py::arg("lengths") = py::none(), py::arg("mask") = py::none(),
          py::arg("resets") = py::none());

    py::class_<Workspace>(m, "Workspace")
        .def(py::init<>())
        .def_property_readonly("nbytes", &Workspace::size);
    py::class_<PyStream, std::shared_ptr<PyStream>>(m, "Stream")
        .def_property_readonly("step", &step_function)
        .def("reset", &PyStream::reset, py::arg("state"))
        .def_property_readonly("state", &PyStream::state);
    py::class_<PyRecurrent, std::shared_ptr<PyRecurrent>>(m, "Recurrent")
        .def(py::init(&make_recurrent), py::arg("cell"), py::arg("input_size"),
             py::arg("hidden_size"), py::arg("dtype"), py::arg("activation") = "tanh",
             py::arg("recurrent_activation") = "sigmoid")
        .def("pack", &PyRecurrent::pack, py::arg("weight_ih"), py::arg("weight_hh"),
             py::arg("bias_ih"), py::arg("bias_hh"), py::arg("parameters") = py::none())
        .def("forward", &PyRecurrent::forward, py::arg("x"), py::arg("h0"),
             py::arg("sequences"), py::arg("workspace").none(true), py::arg("keep") = "gates")
        .def("backward", &PyRecurrent::backward, py::arg("workspace"), py::arg("x"),
             py::arg("dy"), py::arg("dh_n"), py::arg("need_dx") = true)
        .def("stream", &PyRecurrent::stream);
    py::class_<PyStack>(m, "Stack")
        .def(py::init(&make_stack), py::arg("levels"),
             py::arg("backwards") = std::vector<bool>())
        .def(
            "forward",
            [](const PyStack& stack, py::object x, const std::vector<py::object>& h0,
               bool sequences, Workspace& workspace, const std::string& keep,
               py::object lengths, py::object mask, py::object resets, bool repeat,
               py::object input_mask, py::object recurrent_masks, py::object zones,
               std::optional<std::vector<py::object>> reset_states) {
                return stack.forward(std::move(x), h0, sequences, workspace, keep,
                                     {{lengths, mask, resets},
                                      repeat,
                                      input_mask,
                                      recurrent_masks,
                                      zones,
                                      std::move(reset_states)});
            },
            py::arg("x"), py::arg("h0"), py::arg("sequences"), py::arg("workspace"),
            py::arg("keep"), py::arg("lengths") = py::none(), py::arg("mask") = py::none(),
            py::arg("resets") = py::none(), py::arg("repeat") = false,
            py::arg("input_mask") = py::none(), py::arg("recurrent_masks") = py::none(),
            py::arg("zones") = py::none(), py::arg("reset_states") = py::none())
        .def("backward", &PyStack::backward, py::arg("workspace"), py::arg("x"), py::arg("dy"),
             py::arg("dh_n"), py::arg("need_dx"), py::arg("input_mask") = py::none());
    py::class_<PyDense>(m, "Dense")
        .def(py::init(&make_dense), py::arg("input_size"), py::arg("units"), py::arg("dtype"),
             py::arg("activation"))
        .def("pack", &PyDense::pack, py::arg("weight"), py::arg("bias"))
        .def("forward", &PyDense::forward, py::arg("x"))
        .def("train", &PyDense::train, py::arg("x"))
        .def("backward", &PyDense::backward, py::arg("x"), py::arg("kept"), py::arg("dy"),
             py::arg("need_dx") = true);
}

}  // namespace grufast
