// Losses as Python calls them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "../engine/losses.hpp"
#include "arrays.hpp"

namespace grufast {

template <>
constexpr const char* kDtypeName<Index> = "int64";

// -> losses (rows,), gradient (rows, K) or None
template <class T>
py::tuple softmax_cross_entropy_of(const py::object& y_true, const py::object& y_pred,
                                   const py::object& sample_weight, double label_smoothing,
                                   bool need_gradient) {
    const py::array logits = checked<T>(y_pred, "y_pred", {-1, -1});
    const Index rows = logits.shape(0), classes = logits.shape(1);
    if (classes < 1) throw py::value_error("y_pred: got no classes, expected at least one");
    if (!(label_smoothing >= 0 && label_smoothing < 1)) {
        throw py::value_error("label_smoothing: got " + std::to_string(label_smoothing) +
                              ", expected a number in [0, 1)");
    }
    CrossEntropy<T> c{};
    c.logits = data<T>(logits);
    c.row = stride<T>(logits, 0);
    c.rows = rows;
    c.classes = classes;
    c.keep = static_cast<T>(1 - label_smoothing);
    c.spread = static_cast<T>(label_smoothing / static_cast<double>(classes));
    c.scale = static_cast<T>(1 / static_cast<double>(rows));
    const bool labels = py::isinstance<py::array>(y_true) &&
                        py::reinterpret_borrow<py::array>(y_true).ndim() == 1;
    const py::array truth = labels ? contiguous<Index>(y_true, "y_true", {rows})
                                   : contiguous<T>(y_true, "y_true", {rows, classes});
    if (labels) {
        c.labels = data<Index>(truth);
        for (Index r = 0; r < rows; ++r) {
            if (c.labels[r] >= 0 && c.labels[r] < classes) continue;
            throw py::value_error("y_true: got the class " + std::to_string(c.labels[r]) +
                                  ", expected 0 to " + std::to_string(classes - 1));
        }
    } else {
        c.targets = data<T>(truth);
    }
    std::optional<py::array> weights;
    if (!sample_weight.is_none()) {
        weights = contiguous<T>(sample_weight, "sample_weight", {rows});
        c.weights = data<T>(*weights);
    }
    py::array_t<T> losses(std::vector<Index>{rows});
    c.losses = losses.mutable_data();
    py::object gradient = py::none();
    if (need_gradient) {
        py::array_t<T> out(std::vector<Index>{rows, classes});
        c.gradient = out.mutable_data();
        gradient = std::move(out);
    }
    {
        py::gil_scoped_release nogil;
        cross_entropy(c);
    }
    return py::make_tuple(losses, gradient);
}

inline py::tuple softmax_cross_entropy(const py::object& y_true, const py::object& y_pred,
                                       const py::object& sample_weight, double label_smoothing,
                                       bool need_gradient) {
    if (py::isinstance<py::array_t<float>>(y_pred)) {
        return softmax_cross_entropy_of<float>(y_true, y_pred, sample_weight, label_smoothing,
                                               need_gradient);
    }
    return softmax_cross_entropy_of<double>(y_true, y_pred, sample_weight, label_smoothing,
                                            need_gradient);
}

}  // namespace grufast
