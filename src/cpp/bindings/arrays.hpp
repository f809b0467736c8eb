// NumPy arrays as the engine takes them, and the checks at that border.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "../kernels/kernels.hpp"

namespace grufast {

namespace py = pybind11;

template <class T>
constexpr const char* kDtypeName = sizeof(T) == 4 ? "float32" : "float64";

inline std::string shape_text(const std::vector<Index>& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) {
        text +=
            (i ? ", " : "") + (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
    }
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::vector<Index> shape_of(const py::array& a) {
    return {a.shape(), a.shape() + a.ndim()};
}

// The array behind `object` if it is an aligned, native ndarray of T and of this shape (-1: any
// size), whose last dimension is contiguous; else a TypeError or ValueError that names it.
template <class T>
py::array checked(const py::object& object, const char* name, const std::vector<Index>& shape) {
    if (!py::isinstance<py::array>(object)) {
        throw py::type_error(std::string(name) + ": got " +
                             std::string(py::str(py::type::of(object).attr("__name__"))) +
                             ", expected an ndarray of " + kDtypeName<T>);
    }
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (!py::isinstance<py::array_t<T>>(object)) {
        throw py::type_error(std::string(name) + ": got dtype " +
                             std::string(py::str(array.dtype())) + ", expected " +
                             kDtypeName<T>);
    }
    const std::vector<Index> got = shape_of(array);
    bool fits = got.size() == shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
        fits = shape[i] < 0 || shape[i] == got[i];
    }
    if (!fits) {
        throw py::value_error(std::string(name) + ": got shape " + shape_text(got) +
                              ", expected " + shape_text(shape));
    }
    const auto item = static_cast<Index>(sizeof(T));
    bool aligned = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
    for (Index i = 0; i < array.ndim(); ++i) aligned = aligned && array.strides(i) % item == 0;
    if (!aligned) throw py::value_error(std::string(name) + ": its elements are not aligned");
    if (array.size() > 0 && array.ndim() > 0 && got.back() > 1 &&
        array.strides(array.ndim() - 1) != item) {
        throw py::value_error(std::string(name) + ": its last dimension is not contiguous");
    }
    return array;
}

// The same for arrays that must be contiguous throughout.
template <class T>
py::array contiguous(const py::object& object, const char* name,
                     const std::vector<Index>& shape) {
    py::array array = checked<T>(object, name, shape);
    if (!(array.flags() & py::array::c_style)) {
        throw py::value_error(std::string(name) + ": is not C-contiguous");
    }
    return array;
}

template <class T>
const T* data(const py::array& a) {
    return static_cast<const T*>(a.data());
}

template <class T>
Index stride(const py::array& a, int dimension) {
    return a.strides(dimension) / static_cast<Index>(sizeof(T));
}

// f(zero) with a zero of an array's dtype; what is not of float32 counts as of float64, and the
// check for that says what is wrong with anything else.
template <class F>
auto with_dtype_of(const py::object& array, const F& f) {
    return py::isinstance<py::array_t<float>>(array) ? f(float{}) : f(double{});
}

}  // namespace grufast
