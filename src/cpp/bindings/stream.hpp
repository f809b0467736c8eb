// A layer as a stream: step(x, out) from Python at the price of a plain C function.
#pragma once

#include <atomic>
#include <memory>

#include "../engine/recurrent.hpp"
#include "arrays.hpp"

namespace grufast {

// What Python sees of a stream; `step` is an attribute, a function bound to this object's
// capsule: pybind11's own dispatch would cost more than a small step.
class PyStream {
  public:
    virtual ~PyStream() = default;
    virtual void reset(const py::object& state) = 0;
    virtual py::object state() const = 0;
    virtual void step(PyObject* x, PyObject* out) = 0;
};

template <class T>
class PyStreamOf final : public PyStream {
  public:
    explicit PyStreamOf(std::shared_ptr<const Recurrent<T>> layer)
        : layer_(std::move(layer)), stream_(*layer_) {}

    void reset(const py::object& object) override {
        const Turn turn(*this);
        if (object.is_none()) return stream_.reset(nullptr);
        const int states = layer_->info().states;
        const py::array state =
            states == 1 ? contiguous<T>(object, "state", {layer_->hidden_size()})
                        : contiguous<T>(object, "state", {states, layer_->hidden_size()});
        stream_.reset(data<T>(state));
    }

    py::object state() const override {
        const Turn turn(*this);
        const Index hidden = layer_->hidden_size();
        const int states = layer_->info().states;
        std::vector<Index> shape = {hidden};
        if (states > 1) shape.insert(shape.begin(), states);
        py::array_t<T> copy(shape);
        for (int s = 0; s < states; ++s) {
            std::copy_n(stream_.state(s), hidden, copy.mutable_data() + s * hidden);
        }
        return std::move(copy);
    }

    void step(PyObject* x, PyObject* out) override {
        const T* from = quick(x, layer_->input_size(), 0);
        T* to = quick(out, layer_->hidden_size(), py::detail::npy_api::NPY_ARRAY_WRITEABLE_);
        if (!from || !to) complain(x, out);
        const Turn turn(*this);
        if (layer_->hidden_size() * (layer_->hidden_size() + layer_->input_size()) <
            kLongStep) {
            stream_.step(from, to);
        } else {
            py::gil_scoped_release nogil;
            stream_.step(from, to);
        }
    }

  private:
    // Weights from which on a step is long enough (some 2 us) to let other threads run.
    static constexpr Index kLongStep = 60000;

    // Two calls at once are an error, not a race.
    class Turn {
      public:
        explicit Turn(const PyStreamOf& stream) : busy_(stream.busy_) {
            if (busy_.test_and_set(std::memory_order_acquire)) {
                throw py::value_error("this stream is in use by another thread");
            }
        }
        ~Turn() { busy_.clear(std::memory_order_release); }
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;

      private:
        std::atomic_flag& busy_;
    };

    // The array's elements if it is what a step takes; else null.
    static T* quick(PyObject* object, Index size, int flags) {
        const auto& api = py::detail::npy_api::get();
        if (!api.PyArray_Check_(object)) return nullptr;
        const auto* array = py::detail::array_proxy(object);
        const auto* dtype = py::detail::array_descriptor_proxy(array->descr);
        constexpr int type =
            sizeof(T) == 4 ? py::detail::npy_api::NPY_FLOAT_ : py::detail::npy_api::NPY_DOUBLE_;
        constexpr int layout = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                               py::detail::npy_api::NPY_ARRAY_ALIGNED_;
        flags |= layout;
        const bool fits = array->nd == 1 && array->dimensions[0] == size &&
                          (array->flags & flags) == flags && dtype->type_num == type &&
                          dtype->byteorder == '=';
        return fits ? reinterpret_cast<T*>(array->data) : nullptr;
    }

    // Throws what is wrong with the arguments.
    void complain(PyObject* x, PyObject* out) const {
        const auto borrowed = [](PyObject* o) { return py::reinterpret_borrow<py::object>(o); };
        contiguous<T>(borrowed(x), "x", {layer_->input_size()});
        const py::array array = contiguous<T>(borrowed(out), "out", {layer_->hidden_size()});
        throw py::value_error(array.writeable() ? "x: is not in native byte order"
                                                : "out: is read-only");
    }

    std::shared_ptr<const Recurrent<T>> layer_;
    typename Recurrent<T>::Stream stream_;
    mutable std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

inline PyObject* stream_step(PyObject* capsule, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "step: got %zd arguments, expected x and out", count);
        return nullptr;
    }
    try {
        auto* stream = static_cast<PyStream*>(PyCapsule_GetPointer(capsule, nullptr));
        stream->step(arguments[0], arguments[1]);
    } catch (py::error_already_set& error) {
        error.restore();
        return nullptr;
    } catch (const py::builtin_exception& error) {
        error.set_error();
        return nullptr;
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
        return nullptr;
    }
    return Py_NewRef(arguments[1]);
}

// A function step(x, out) -> out that keeps its stream alive.
inline py::object step_function(std::shared_ptr<PyStream> stream) {
    static PyMethodDef definition = {
        "step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(stream_step)),
        METH_FASTCALL,
        "step(x, out)\n\nAdvance by the input x (C,); write the state to out (H,)."};
    PyStream* pointer = stream.get();
    auto* owner = new std::shared_ptr<PyStream>(std::move(stream));
    PyObject* capsule = PyCapsule_New(pointer, nullptr, [](PyObject* self) {
        delete static_cast<std::shared_ptr<PyStream>*>(PyCapsule_GetContext(self));
    });
    if (!capsule || PyCapsule_SetContext(capsule, owner) != 0) {
        delete owner;
        throw py::error_already_set();
    }
    const auto held = py::reinterpret_steal<py::object>(capsule);
    return py::reinterpret_steal<py::object>(PyCFunction_New(&definition, capsule));
}

}  // namespace grufast
