// The native module: the only C++ that knows Python. Order of every call: check, allocate, take
// pointers, release the GIL, one engine call.
#include <pybind11/stl.h>

#include <cmath>
#include <memory>
#include <optional>

#include "../engine/dense.hpp"
#include "../engine/dispatch.hpp"
#include "../engine/optimizers.hpp"
#include "../engine/stack.hpp"
#include "arrays.hpp"
#include "losses.hpp"
#include "stream.hpp"

namespace grufast {
namespace {

// Keeps products of two sizes far from overflow, and far above what memory holds.
constexpr Index kMaxSize = Index{1} << 24;

constexpr const char* kDtypes[] = {"float32", "float64"};
constexpr const char* kActivations[] = {"linear", "tanh", "sigmoid", "relu"};  // as Activation

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

// Layers on top of each other; the arrays of their directions come in one list, first layer
// first.
template <class T>
class StackCalls {
  public:
    explicit StackCalls(std::vector<typename Stack<T>::Level> levels)
        : stack_(std::move(levels)) {}

    // -> y or None, [h_n, ...]
    std::pair<py::object, std::vector<py::array_t<T>>> forward(
        const py::object& x_object, const std::vector<py::object>& h0_objects, bool sequences,
        Keep keep, Workspace& workspace) const {
        const py::array x = checked<T>(x_object, "x", {-1, -1, input_size()});
        const Index B = x.shape(0), steps = x.shape(1);
        typename Stack<T>::Forward f{};
        f.batch = B;
        f.steps = steps;
        f.x = sequence<T>(x);
        std::vector<py::array> h0;
        std::vector<py::array_t<T>> h_n;
        each([&](std::size_t i, const Recurrent<T>& layer) {
            const Index H = layer.hidden_size();
            f.h0.push_back(optional(h0_objects[i], "h0", {B, H}, h0));
            h_n.push_back(new_array<T>({B, H}));
            f.h_n.push_back(h_n.back().mutable_data());
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
        return {std::move(y), std::move(h_n)};
    }

    // -> dx or None, [dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh, ...]
    std::pair<py::object, std::vector<py::array_t<T>>> backward(
        Workspace& workspace, const py::object& x_object, const py::object& dy_object,
        const std::vector<py::object>& dh_n_objects, bool need_dx) const {
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
        std::vector<py::array> dh_n;
        std::vector<py::array_t<T>> grads;
        each([&](std::size_t i, const Recurrent<T>& layer) {
            const Index H = layer.hidden_size(), rows = layer.info().gates * H;
            b.dh_n.push_back(optional(dh_n_objects[i], "dh_n", {B, H}, dh_n));
            const auto add = [&](const std::vector<Index>& shape) {
                grads.push_back(new_array<T>(shape));
                return grads.back().mutable_data();
            };
            typename Stack<T>::Gradients g{};
            g.h0 = add({B, H});
            g.weight_ih = add({rows, layer.input_size()});
            g.weight_hh = add({rows, H});
            g.bias_ih = add({rows});
            g.bias_hh = add({rows});
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

    std::size_t directions() const { return stack_.directions(); }

  private:
    template <class F>
    void each(const F& f) const {
        std::size_t i = 0;
        for (const auto& level : stack_.levels()) {
            for (const auto& layer : level) f(i++, *layer);
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
                      py::object bias_hh) = 0;
    virtual py::tuple forward(py::object x, py::object h0, bool sequences, Workspace* workspace,
                              const std::string& keep) const = 0;
    virtual py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                               py::object dh_n, bool need_dx) const = 0;
    virtual std::shared_ptr<PyStream> stream() const = 0;
};

template <class T>
class PyRecurrentOf final : public PyRecurrent {
  public:
    PyRecurrentOf(CellId cell, Index input_size, Index hidden_size)
        : layer_(
              std::make_shared<Recurrent<T>>(active_table<T>(), cell, input_size, hidden_size)),
          calls_({{layer_}}) {}

    void pack(py::object weight_ih, py::object weight_hh, py::object bias_ih,
              py::object bias_hh) override {
        const Index rows = layer_->info().gates * layer_->hidden_size();
        const py::array w_ih =
            contiguous<T>(weight_ih, "weight_ih", {rows, layer_->input_size()});
        const py::array w_hh =
            contiguous<T>(weight_hh, "weight_hh", {rows, layer_->hidden_size()});
        const py::array b_ih = contiguous<T>(bias_ih, "bias_ih", {rows});
        const py::array b_hh = contiguous<T>(bias_hh, "bias_hh", {rows});
        {
            py::gil_scoped_release nogil;
            layer_->pack(data<T>(w_ih), data<T>(w_hh), data<T>(b_ih), data<T>(b_hh));
        }
        packed_ = true;
    }

    py::tuple forward(py::object x, py::object h0, bool sequences, Workspace* workspace,
                      const std::string& keep) const override {
        require_packed();
        Workspace none;
        const auto kept = static_cast<Keep>(find_name(kKeeps, keep, "keep"));
        auto [y, h_n] = calls_.forward(x, {h0}, sequences, workspace ? kept : Keep::kNothing,
                                       workspace ? *workspace : none);
        return py::make_tuple(y, h_n[0]);
    }

    py::tuple backward(Workspace& workspace, py::object x, py::object dy, py::object dh_n,
                       bool need_dx) const override {
        require_packed();
        auto [dx, g] = calls_.backward(workspace, x, dy, {dh_n}, need_dx);
        return py::make_tuple(dx, g[0], g[1], g[2], g[3], g[4]);
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
    std::shared_ptr<Recurrent<T>> layer_;
    StackCalls<T> calls_;
    bool packed_ = false;
};

class PyStack {
  public:
    virtual ~PyStack() = default;
    virtual py::tuple forward(py::object x, const std::vector<py::object>& h0, bool sequences,
                              Workspace& workspace, const std::string& keep) const = 0;
    virtual py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                               const std::vector<py::object>& dh_n, bool need_dx) const = 0;
};

template <class T>
class PyStackOf final : public PyStack {
  public:
    using Levels = std::vector<std::vector<std::shared_ptr<PyRecurrent>>>;

    explicit PyStackOf(const Levels& levels) : calls_(stacked(levels)) {
        for (const auto& level : levels) {
            for (const auto& layer : level) layers_.push_back(of(layer));
        }
    }

    py::tuple forward(py::object x, const std::vector<py::object>& h0, bool sequences,
                      Workspace& workspace, const std::string& keep) const override {
        require(h0, "h0");
        const auto kept = static_cast<Keep>(find_name(kKeeps, keep, "keep"));
        auto [y, h_n] = calls_.forward(x, h0, sequences, kept, workspace);
        return py::make_tuple(y, h_n);
    }

    py::tuple backward(Workspace& workspace, py::object x, py::object dy,
                       const std::vector<py::object>& dh_n, bool need_dx) const override {
        require(dh_n, "dh_n");
        auto [dx, g] = calls_.backward(workspace, x, dy, dh_n, need_dx);
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
        if (states.size() != layers_.size()) {
            throw py::value_error(std::string(name) + ": got " + std::to_string(states.size()) +
                                  " items, expected " + std::to_string(layers_.size()));
        }
        for (const Layer& layer : layers_) layer->require_packed();
    }

    StackCalls<T> calls_;
    std::vector<Layer> layers_;
};

std::unique_ptr<PyStack> make_stack(
    const std::vector<std::vector<std::shared_ptr<PyRecurrent>>>& levels) {
    if (levels.empty() || levels[0].empty()) {
        throw py::value_error("levels: got none, expected at least one layer");
    }
    if (std::dynamic_pointer_cast<PyRecurrentOf<float>>(levels[0][0])) {
        return std::make_unique<PyStackOf<float>>(levels);
    }
    return std::make_unique<PyStackOf<double>>(levels);
}

std::shared_ptr<PyRecurrent> make_recurrent(const std::string& cell_name, Index input_size,
                                            Index hidden_size, const std::string& dtype) {
    const char* cells[kCellCount];
    for (int i = 0; i < kCellCount; ++i) cells[i] = active_table<float>().cells[i].info.name;
    const auto cell = static_cast<CellId>(find_name(cells, cell_name, "cell"));
    check_size(input_size, "input_size");
    check_size(hidden_size, "hidden_size");
    if (find_name(kDtypes, dtype, "dtype") == 0) {
        return std::make_shared<PyRecurrentOf<float>>(cell, input_size, hidden_size);
    }
    return std::make_shared<PyRecurrentOf<double>>(cell, input_size, hidden_size);
}

class PyDense {
  public:
    virtual ~PyDense() = default;
    virtual void pack(py::object weight, py::object bias) = 0;
    virtual py::object forward(py::object x) const = 0;
    virtual py::tuple backward(py::object x, py::object y, py::object dy,
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

    py::object forward(py::object x_object) const override {
        require_packed();
        const py::array x = checked<T>(x_object, "x", {-1, layer_.input_size()});
        py::array_t<T> y = new_array<T>({x.shape(0), layer_.units()});
        T* out = y.mutable_data();
        {
            py::gil_scoped_release nogil;
            layer_.forward(x.shape(0), data<T>(x), stride<T>(x, 0), out);
        }
        return std::move(y);
    }

    py::tuple backward(py::object x_object, py::object y_object, py::object dy_object,
                       bool need_dx) const override {
        require_packed();
        const Index C = layer_.input_size(), units = layer_.units();
        const py::array x = checked<T>(x_object, "x", {-1, C});
        const Index rows = x.shape(0);
        const py::array y = contiguous<T>(y_object, "y", {rows, units});
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
            layer_.backward(rows, data<T>(x), stride<T>(x, 0), data<T>(y), data<T>(dy), dx_data,
                            dweight_data, dbias_data);
        }
        return py::make_tuple(dx, dweight, dbias);
    }

  private:
    void require_packed() const {
        if (!packed_) throw py::value_error("this layer has no weights yet: call pack first");
    }
    Dense<T> layer_;
    bool packed_ = false;
};

std::unique_ptr<PyDense> make_dense(Index input_size, Index units, const std::string& dtype,
                                    const std::string& activation_name) {
    check_size(input_size, "input_size");
    check_size(units, "units");
    const auto activation =
        static_cast<Activation>(find_name(kActivations, activation_name, "activation"));
    if (find_name(kDtypes, dtype, "dtype") == 0) {
        return std::make_unique<PyDenseOf<float>>(input_size, units, activation);
    }
    return std::make_unique<PyDenseOf<double>>(input_size, units, activation);
}

// The arrays of an update: weight decides dtype and shape, the others must agree.
template <class T>
T* updated(const py::object& object, const char* name, const std::vector<Index>& shape) {
    py::array array = contiguous<T>(object, name, shape);
    if (!array.writeable()) throw py::value_error(std::string(name) + ": is read-only");
    return static_cast<T*>(array.mutable_data());
}

template <class F>
void with_weight_dtype(const py::object& weight, const F& f) {
    if (py::isinstance<py::array_t<float>>(weight)) return f(float{});
    f(double{});  // whose check says what is wrong with anything else
}

std::vector<Index> weight_shape(const py::object& weight) {
    if (!py::isinstance<py::array>(weight)) return {};
    return shape_of(py::reinterpret_borrow<py::array>(weight));
}

void sgd(py::object weight, py::object gradient, py::object velocity, double learning_rate,
         double momentum, bool nesterov) {
    if (momentum != 0 && velocity.is_none()) {
        throw py::value_error("velocity: got None, expected an array where momentum is not 0");
    }
    const std::vector<Index> shape = weight_shape(weight);
    with_weight_dtype(weight, [&](auto zero) {
        using T = decltype(zero);
        T* w = updated<T>(weight, "weight", shape);
        const T* g = data<T>(contiguous<T>(gradient, "gradient", shape));
        T* v = velocity.is_none() ? nullptr : updated<T>(velocity, "velocity", shape);
        const Index n = py::reinterpret_borrow<py::array>(weight).size();
        const Sgd<T> settings = {static_cast<T>(learning_rate), static_cast<T>(momentum),
                                 nesterov};
        py::gil_scoped_release nogil;
        sgd_step(settings, w, g, v, n);
    });
}

void adam(py::object weight, py::object gradient, py::object m, py::object v,
          double learning_rate, double beta_1, double beta_2, double epsilon, Index step) {
    if (step < 1) {
        throw py::value_error("step: got " + std::to_string(step) + ", expected at least 1");
    }
    const std::vector<Index> shape = weight_shape(weight);
    with_weight_dtype(weight, [&](auto zero) {
        using T = decltype(zero);
        T* w = updated<T>(weight, "weight", shape);
        const T* g = data<T>(contiguous<T>(gradient, "gradient", shape));
        T* first = updated<T>(m, "m", shape);
        T* second = updated<T>(v, "v", shape);
        const Index n = py::reinterpret_borrow<py::array>(weight).size();
        const auto count = static_cast<double>(step);
        Adam<T> settings;
        settings.step_size = static_cast<T>(learning_rate / (1 - std::pow(beta_1, count)));
        settings.beta_1 = static_cast<T>(beta_1);
        settings.rest_1 = static_cast<T>(1 - beta_1);
        settings.beta_2 = static_cast<T>(beta_2);
        settings.rest_2 = static_cast<T>(1 - beta_2);
        settings.correction = static_cast<T>(1 / std::sqrt(1 - std::pow(beta_2, count)));
        settings.epsilon = static_cast<T>(epsilon);
        py::gil_scoped_release nogil;
        adam_step(settings, w, g, first, second, n);
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
    m.def("sgd_step", &sgd, py::arg("weight"), py::arg("gradient"), py::arg("velocity"),
          py::arg("learning_rate"), py::arg("momentum"), py::arg("nesterov"));
    m.def("adam_step", &adam, py::arg("weight"), py::arg("gradient"), py::arg("m"),
          py::arg("v"), py::arg("learning_rate"), py::arg("beta_1"), py::arg("beta_2"),
          py::arg("epsilon"), py::arg("step"));
    m.def("softmax_cross_entropy", &softmax_cross_entropy, py::arg("y_true"), py::arg("y_pred"),
          py::arg("sample_weight"), py::arg("label_smoothing"), py::arg("need_gradient"));

    py::class_<Workspace>(m, "Workspace")
        .def(py::init<>())
        .def_property_readonly("nbytes", &Workspace::size);
    py::class_<PyStream, std::shared_ptr<PyStream>>(m, "Stream")
        .def_property_readonly("step", &step_function)
        .def("reset", &PyStream::reset, py::arg("state"))
        .def_property_readonly("state", &PyStream::state);
    py::class_<PyRecurrent, std::shared_ptr<PyRecurrent>>(m, "Recurrent")
        .def(py::init(&make_recurrent), py::arg("cell"), py::arg("input_size"),
             py::arg("hidden_size"), py::arg("dtype"))
        .def("pack", &PyRecurrent::pack, py::arg("weight_ih"), py::arg("weight_hh"),
             py::arg("bias_ih"), py::arg("bias_hh"))
        .def("forward", &PyRecurrent::forward, py::arg("x"), py::arg("h0"),
             py::arg("sequences"), py::arg("workspace").none(true), py::arg("keep") = "gates")
        .def("backward", &PyRecurrent::backward, py::arg("workspace"), py::arg("x"),
             py::arg("dy"), py::arg("dh_n"), py::arg("need_dx") = true)
        .def("stream", &PyRecurrent::stream);
    py::class_<PyStack>(m, "Stack")
        .def(py::init(&make_stack), py::arg("levels"))
        .def("forward", &PyStack::forward, py::arg("x"), py::arg("h0"), py::arg("sequences"),
             py::arg("workspace"), py::arg("keep"))
        .def("backward", &PyStack::backward, py::arg("workspace"), py::arg("x"), py::arg("dy"),
             py::arg("dh_n"), py::arg("need_dx"));
    py::class_<PyDense>(m, "Dense")
        .def(py::init(&make_dense), py::arg("input_size"), py::arg("units"), py::arg("dtype"),
             py::arg("activation"))
        .def("pack", &PyDense::pack, py::arg("weight"), py::arg("bias"))
        .def("forward", &PyDense::forward, py::arg("x"))
        .def("backward", &PyDense::backward, py::arg("x"), py::arg("y"), py::arg("dy"),
             py::arg("need_dx") = true);
}

}  // namespace grufast
