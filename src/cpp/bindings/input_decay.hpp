// The input of a GRU-D as Python calls it.
#pragma once

#include "../engine/input_decay.hpp"
#include "arrays.hpp"
#include "selection.hpp"

namespace grufast {

// The arguments that forward and backward share, checked; refers to the arrays.
template <class T>
struct CheckedGaps {
    py::array x, weight, bias, mean;
    Selection selection;
    GapsCall<T> call;

    CheckedGaps(const py::object& x_object, const py::object& weight_object,
                const py::object& bias_object, const py::object& mean_object, bool backwards,
                const Chosen& chosen)
        : weight(contiguous<T>(weight_object, "weight", {-1})) {
        const Index size = weight.shape(0);
        x = checked<T>(x_object, "x", {-1, -1, 3 * size});
        bias = contiguous<T>(bias_object, "bias", {size});
        mean = contiguous<T>(mean_object, "mean", {size});
        selection = chosen.selection(x.shape(0), x.shape(1));
        call = {x.shape(0),      size,          {data<T>(x), stride<T>(x, 0), stride<T>(x, 1)},
                data<T>(weight), data<T>(bias), data<T>(mean),
                &selection,      backwards};
    }
    CheckedGaps(const CheckedGaps&) = delete;
    std::vector<Index> shape(Index width) const { return {x.shape(0), x.shape(1), width}; }
};

// -> filled, kept or None
inline py::tuple input_decay(const py::object& x, const py::object& weight,
                             const py::object& bias, const py::object& mean, bool backwards,
                             bool keep, const py::object& lengths, const py::object& mask,
                             const py::object& resets) {
    return with_dtype_of(weight, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const CheckedGaps<T> given(x, weight, bias, mean, backwards, {lengths, mask, resets});
        py::array_t<T> filled(given.shape(3 * given.call.size));
        T *out = filled.mutable_data(), *kept_out = nullptr;
        py::object kept = py::none();
        if (keep) {
            py::array_t<T> array(given.shape(given.call.size));
            kept_out = array.mutable_data();
            kept = std::move(array);
        }
        {
            py::gil_scoped_release nogil;
            fill_gaps(given.call, out, kept_out);
        }
        return py::make_tuple(filled, kept);
    });
}

// Changes dx; -> dweight, dbias
inline py::tuple input_decay_backward(const py::object& x, const py::object& weight,
                                      const py::object& bias, const py::object& mean,
                                      bool backwards, const py::object& kept_object,
                                      const py::object& dx_object, const py::object& lengths,
                                      const py::object& mask, const py::object& resets) {
    return with_dtype_of(weight, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const CheckedGaps<T> given(x, weight, bias, mean, backwards, {lengths, mask, resets});
        const Index size = given.call.size;
        const py::array kept = contiguous<T>(kept_object, "kept", given.shape(size));
        py::array dx = contiguous<T>(dx_object, "dx", given.shape(3 * size));
        if (!dx.writeable()) throw py::value_error("dx: is read-only");
        py::array_t<T> dweight(std::vector<Index>{size}), dbias(std::vector<Index>{size});
        T *dx_data = static_cast<T*>(dx.mutable_data()), *dweight_data = dweight.mutable_data();
        T* dbias_data = dbias.mutable_data();
        {
            py::gil_scoped_release nogil;
            fill_gaps_backward(given.call, data<T>(kept), dx_data, dweight_data, dbias_data);
        }
        return py::make_tuple(dweight, dbias);
    });
}

}  // namespace grufast
