// The optimizers' steps as Python calls them. A state is a tuple of arrays: the weight and what
// the rule keeps for it, None where a setting has no use for that. A gradient is an array, or
// the tuple (row numbers, rows) of those rows of a matrix that have one.
#pragma once

#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "../engine/optimizers.hpp"
#include "arrays.hpp"

namespace grufast {

// An array that a rule keeps, shaped as the weight.
struct Kept {
    const char* name;
    bool needed;
};

inline std::string gradient_name(const std::string& weight) {
    return "grads['" + weight + "']";
}

// Whether an array has the weight's dtype and shape, and these flags.
inline bool fits(const py::handle& object, const py::array& weight, int flags) {
    if (!py::isinstance<py::array>(object)) return false;
    const auto array = py::reinterpret_borrow<py::array>(object);
    return array.dtype().is(weight.dtype()) && array.ndim() == weight.ndim() &&
           std::equal(array.shape(), array.shape() + array.ndim(), weight.shape()) &&
           (array.flags() & flags) == flags;
}
constexpr int kPlain = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int kWritable = kPlain | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

template <class T>
T* elements(const py::handle& array) {
    return static_cast<T*>(const_cast<void*>(py::reinterpret_borrow<py::array>(array).data()));
}

// The elements of an array to be updated in place.
template <class T>
T* updated(const py::handle& object, const py::array& weight, const std::string& name) {
    if (!fits(object, weight, kWritable)) {
        const py::array array = contiguous<T>(py::reinterpret_borrow<py::object>(object),
                                              name.c_str(), shape_of(weight));
        if (!array.writeable()) throw py::value_error(name + ": is read-only");
    }
    return elements<T>(object);
}

// A contiguous array of int64 with so many dimensions, or null.
inline const std::int64_t* integers(const py::handle& object, Index dimensions) {
    if (!py::isinstance<py::array_t<std::int64_t>>(object)) return nullptr;
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (array.ndim() != dimensions || (array.flags() & kPlain) != kPlain) return nullptr;
    return static_cast<const std::int64_t*>(array.data());
}

// What a call works on, and the copies of gradients that were not contiguous.
struct Work {
    Items items;
    std::vector<py::object> copies;
};

template <class T>
void read_rows(const py::tuple& gradient, const py::array& weight, const std::string& name,
               Item<T>& item) {
    const std::int64_t* rows = gradient.size() == 2 ? integers(gradient[0], 1) : nullptr;
    if (!rows || weight.ndim() != 2) {
        throw py::value_error(
            name + ": expected an array, or row numbers (int64) and rows for a matrix");
    }
    const Index n = py::reinterpret_borrow<py::array>(gradient[0]).size();
    for (Index i = 0; i < n; ++i) {
        if (rows[i] < 0 || rows[i] >= weight.shape(0) || (i && rows[i] <= rows[i - 1])) {
            throw py::value_error(name + ": row numbers must ascend from 0 to " +
                                  std::to_string(weight.shape(0) - 1) + " at most");
        }
    }
    item.rows = rows;
    item.width = weight.shape(1);
    item.n = n * item.width;
    item.gradient = data<T>(contiguous<T>(gradient[1], name.c_str(), {n, item.width}));
}

template <class T>
void read_gradient(const py::handle& gradient, const py::array& weight,
                   const std::string& weight_name, Item<T>& item, Work& work) {
    if (fits(gradient, weight, kPlain)) {
        item.gradient = elements<T>(gradient);
        return;
    }
    const std::string name = gradient_name(weight_name);
    if (py::isinstance<py::tuple>(gradient)) {
        read_rows<T>(py::reinterpret_borrow<py::tuple>(gradient), weight, name, item);
        return;
    }
    py::object plain = py::reinterpret_borrow<py::object>(gradient);
    if (py::isinstance<py::array_t<T>>(gradient)) {
        plain = py::array::ensure(gradient, kPlain);
        if (!plain) throw std::bad_alloc();
    }
    item.gradient = data<T>(contiguous<T>(plain, name.c_str(), shape_of(weight)));
    work.copies.push_back(std::move(plain));
}

template <class T>
void read_item(const std::string& name, const py::tuple& state, const py::handle& gradient,
               const std::vector<Kept>& kept, bool counts, Work& work) {
    const auto weight = py::reinterpret_borrow<py::array>(state[0]);
    Item<T> item{};
    item.weight = updated<T>(weight, weight, name);
    item.n = weight.size();
    read_gradient<T>(gradient, weight, name, item, work);
    for (std::size_t k = 0; k < kept.size(); ++k) {
        const py::object array = state[k + 1];
        if (!array.is_none()) {
            item.kept[k] = updated<T>(array, weight, kept[k].name);
        } else if (kept[k].needed) {
            throw py::value_error(std::string(kept[k].name) + ": got None, expected an array");
        }
    }
    if (counts) {
        const py::object step = state[kept.size() + 1];
        const std::int64_t* count = integers(step, 0);
        if (!count || !py::reinterpret_borrow<py::array>(step).writeable() || *count < 0) {
            throw py::value_error("step: expected a writable int64 of at least 0, shape ()");
        }
        item.step = const_cast<std::int64_t*>(count);
    }
    work.items.add(item);
}

// Two weights in the same memory would race.
inline void require_apart(const py::list& states) {
    struct Place {
        const char *begin, *end;
    };
    std::vector<Place> places;
    for (const py::handle& state : states) {
        const auto weight =
            py::reinterpret_borrow<py::array>(py::reinterpret_borrow<py::tuple>(state)[0]);
        const auto* begin = static_cast<const char*>(weight.data());
        if (weight.size() > 0) places.push_back({begin, begin + weight.nbytes()});
    }
    std::sort(places.begin(), places.end(),
              [](const Place& a, const Place& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < places.size(); ++i) {
        if (places[i].begin < places[i - 1].end) {
            throw py::value_error("target: two of its weights share memory");
        }
    }
}

template <class Rule>
void take_step(const std::vector<std::string>& names, const py::list& states,
               const py::list& gradients, const Rule& rule, const UpdateSettings& settings,
               const std::vector<Kept>& kept, bool counts = false) {
    if (states.size() != names.size() || gradients.size() != names.size()) {
        throw py::value_error("names, states, gradients: expected lists of one length");
    }
    Work work;
    for (std::size_t i = 0; i < states.size(); ++i) {
        const py::object state = states[i];
        if (!py::isinstance<py::tuple>(state) ||
            py::len(state) != 1 + kept.size() + (counts ? 1 : 0)) {
            throw py::value_error("states: expected tuples of a weight and what is kept");
        }
        const auto tuple = py::reinterpret_borrow<py::tuple>(state);
        if (py::isinstance<py::array_t<float>>(tuple[0])) {
            read_item<float>(names[i], tuple, gradients[i], kept, counts, work);
        } else if (py::isinstance<py::array_t<double>>(tuple[0])) {
            read_item<double>(names[i], tuple, gradients[i], kept, counts, work);
        } else {
            throw py::type_error(names[i] + ": expected an ndarray of float32 or float64");
        }
    }
    require_apart(states);
    py::gil_scoped_release nogil;
    update(work.items, rule, settings);
}

using Threshold = std::optional<double>;

inline UpdateSettings shared_settings(double learning_rate, Threshold weight_decay,
                                      Threshold clipnorm, Threshold clipvalue,
                                      Threshold global_clipnorm) {
    constexpr double none = std::numeric_limits<double>::infinity();
    return {learning_rate, weight_decay.value_or(0), clipnorm.value_or(none),
            clipvalue.value_or(none), global_clipnorm.value_or(none)};
}

inline void sgd(const std::vector<std::string>& names, const py::list& states,
                const py::list& gradients, double learning_rate, Threshold weight_decay,
                Threshold clipnorm, Threshold clipvalue, Threshold global_clipnorm,
                double momentum, bool nesterov) {
    take_step(
        names, states, gradients, SgdRule{learning_rate, momentum, nesterov},
        shared_settings(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm),
        {{"velocity", momentum != 0}});
}

inline void adam(const std::vector<std::string>& names, const py::list& states,
                 const py::list& gradients, double learning_rate, Threshold weight_decay,
                 Threshold clipnorm, Threshold clipvalue, Threshold global_clipnorm,
                 double beta_1, double beta_2, double epsilon) {
    take_step(
        names, states, gradients, AdamRule{learning_rate, beta_1, beta_2, epsilon},
        shared_settings(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm),
        {{"m", true}, {"v", true}, {"v_hat", false}}, true);
}

inline void rmsprop(const std::vector<std::string>& names, const py::list& states,
                    const py::list& gradients, double learning_rate, Threshold weight_decay,
                    Threshold clipnorm, Threshold clipvalue, Threshold global_clipnorm,
                    double rho, double momentum, double epsilon) {
    take_step(
        names, states, gradients, RmsPropRule{learning_rate, rho, momentum, epsilon},
        shared_settings(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm),
        {{"velocity", true}, {"momentum", momentum != 0}, {"average_gradient", false}});
}

inline void adagrad(const std::vector<std::string>& names, const py::list& states,
                    const py::list& gradients, double learning_rate, Threshold weight_decay,
                    Threshold clipnorm, Threshold clipvalue, Threshold global_clipnorm,
                    double epsilon) {
    take_step(
        names, states, gradients, AdagradRule{learning_rate, epsilon},
        shared_settings(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm),
        {{"accumulator", true}});
}

inline void define_optimizers(py::module_& m) {
    const auto define = [&](const char* name, auto step, const auto&... own) {
        m.def(name, step, py::arg("names"), py::arg("states"), py::arg("gradients"),
              py::arg("learning_rate"), py::arg("weight_decay"), py::arg("clipnorm"),
              py::arg("clipvalue"), py::arg("global_clipnorm"), own...);
    };
    define("sgd_step", &sgd, py::arg("momentum"), py::arg("nesterov"));
    define("adam_step", &adam, py::arg("beta_1"), py::arg("beta_2"), py::arg("epsilon"));
    define("rmsprop_step", &rmsprop, py::arg("rho"), py::arg("momentum"), py::arg("epsilon"));
    define("adagrad_step", &adagrad, py::arg("epsilon"));
}

}  // namespace grufast
