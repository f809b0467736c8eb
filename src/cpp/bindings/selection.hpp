// Which steps a call runs, as Python says it.
#pragma once

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../engine/selection.hpp"
#include "arrays.hpp"

namespace grufast {

// None: all steps, no resets.
struct Chosen {
    py::object lengths = py::none(), mask = py::none(), resets = py::none();

    bool all() const { return lengths.is_none() && mask.is_none() && resets.is_none(); }
    Selection selection(Index rows, Index steps) const {
        std::vector<py::array> keep;
        const bool* valid = flags(mask, "mask", rows, steps, keep);
        const bool* reset = flags(resets, "resets", rows, steps, keep);
        std::vector<Index> ends;
        if (!lengths.is_none()) {
            if (valid) throw py::value_error("lengths: expected None beside a mask");
            ends = py::cast<std::vector<Index>>(lengths);
            bool fits = static_cast<Index>(ends.size()) == rows;
            for (const Index n : ends) fits = fits && 0 <= n && n <= steps;
            if (!fits) {
                throw py::value_error("lengths: expected " + std::to_string(rows) +
                                      " integers from 0 to " + std::to_string(steps));
            }
        }
        return Selection(rows, steps, valid, ends.empty() ? nullptr : ends.data(), reset);
    }

  private:
    static const bool* flags(const py::object& object, const char* name, Index rows,
                             Index steps, std::vector<py::array>& keep) {
        if (object.is_none()) return nullptr;
        const bool fits = py::isinstance<py::array_t<bool>>(object);
        if (!fits) throw py::type_error(std::string(name) + ": expected an ndarray of bool");
        keep.push_back(py::reinterpret_borrow<py::array>(object));
        const std::vector<Index> got = shape_of(keep.back()), expected = {rows, steps};
        if (got != expected || !(keep.back().flags() & py::array::c_style)) {
            throw py::value_error(std::string(name) + ": got shape " + shape_text(got) +
                                  ", expected C-contiguous " + shape_text(expected));
        }
        return static_cast<const bool*>(keep.back().data());
    }
};

}  // namespace grufast
