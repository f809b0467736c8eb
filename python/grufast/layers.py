"""Layers: explicit forward and backward over one array, and weights in a dict."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array, Shape
from grufast._config import Configured

__all__ = ["GRU", "Context", "Dense", "Dropout", "Flatten", "Layer", "Stream"]

Activation = Literal["linear", "tanh", "sigmoid", "relu"]
Initializer = Literal["keras", "torch"]


class Context:
    """What a layer's `forward` keeps for one call of its `backward`; opaque.

    It refers to the input of `forward` without a copy: change neither that array nor
    the layer's weights before `backward`.
    """

    __slots__ = ("_layer", "_saved", "_version")

    def __init__(self, layer: Layer, saved: Any) -> None:
        self._layer = layer
        self._saved = saved
        self._version = layer._version


class Layer(Configured, ABC):
    """What all layers have in common.

    Two ways through a layer: ``layer(x)`` computes the output and keeps nothing, and
    may be called from several threads at once; ``layer.forward(x)`` returns a context
    beside the output, for ``layer.backward(dy, context)``.

    A subclass brings `output_shape`, `_infer`, `_train` and `_gradients`, which trust
    their arguments: the public methods here and `grufast.Sequential` check them.
    """

    dtype: _checks.DType | None = None
    """Of input, output and weights; None for a layer that takes either dtype."""

    seed: int | None = None
    built = True
    _version = 0

    @property
    def weights(self) -> dict[str, Array]:
        """Read-only views of the weights by name; `set_weights` changes them."""
        return {}

    def build(self, input_size: int) -> None:
        """Make the weights for inputs whose last dimension is `input_size`.

        The first call of the layer does it too. Once built, a layer keeps its input
        size; building it again with the same one changes nothing.
        """
        _checks.integer("input_size", input_size, 1)

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy arrays of the names, shapes and dtype of `weights` into the layer."""
        _checks.weights(weights, {})

    def writable_weights(self) -> dict[str, Array]:
        """Return the weights themselves, to be changed in place at once.

        For optimizers and the like: the caller must be done with them before the
        layer's next call, which reads them again.
        """
        return {}

    def count_params(self) -> int:
        """Return the number of parameters."""
        return sum(weight.size for weight in self.weights.values())

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, or raise a ValueError; None is any size."""

    def __call__(self, x: Array) -> Array:
        """Return the output for `x`, as at inference."""
        return self._infer(self._checked_input(x))

    def forward(self, x: Array) -> tuple[Any, Context]:
        """Return the output for `x`, as in training, and the context for `backward`."""
        y, saved = self._train(self._checked_input(x), None)
        return y, Context(self, saved)

    def backward(self, dy: Array, context: Context) -> tuple[Array, dict[str, Array]]:
        """Return the gradients for x and for the weights, given the output's.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss for the output of `forward`, of its shape and dtype.
        context : Context
            From `forward`; good for one call.

        Returns
        -------
        dx : ndarray
            Gradient of the loss for x.
        grads : dict of str to ndarray
            Gradients for `weights`, under the same names.
        """
        saved = self._opened(context)
        dy = self._checked_gradient(dy, saved)
        context._saved = None
        dx, grads = self._gradients(dy, saved, True)
        assert dx is not None
        return dx, grads

    @abstractmethod
    def _infer(self, x: Array) -> Array: ...

    @abstractmethod
    def _train(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        """Return the output and what `_gradients` needs.

        `rng` is where random numbers come from; None: from the layer's own seed.
        """

    @abstractmethod
    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]: ...

    @abstractmethod
    def _checked_input(self, x: object) -> Array: ...

    @abstractmethod
    def _checked_gradient(self, dy: object, saved: Any) -> Array: ...

    def _opened(self, context: object) -> Any:
        """Return what `forward` saved; `backward` empties the context afterwards."""
        if not isinstance(context, Context):
            message = f"context: got {type(context).__name__}, expected a Context"
            raise TypeError(message)
        if context._layer is not self:
            message = "context: it comes from another layer's forward"
            raise ValueError(message)
        if context._saved is None:
            message = "context: already used; each backward needs a forward of its own"
            raise ValueError(message)
        if context._version != self._version:
            message = "context: the weights have changed since its forward"
            raise ValueError(message)
        return context._saved


class WeightedLayer(Layer):
    """A layer with weights, and a native object that holds them packed."""

    dtype: _checks.DType
    input_size: int | None
    """Last dimension of the input; None until the layer is built."""

    def __init__(self, dtype: object, initializer: object, seed: object) -> None:
        self.dtype = _checks.dtype(dtype)
        self.initializer: Initializer = _checks.choice(
            "initializer", initializer, ("keras", "torch")
        )
        self.seed = _checks.seed(seed)
        self.input_size = None
        _checks.parameter_count(repr(self), self.weight_shapes(1))
        self._weights: dict[str, Array] = {}
        self._views: dict[str, Array] = {}
        self._packed_version = -1
        self._lock = threading.Lock()
        self._native: Any = None

    @abstractmethod
    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""

    @abstractmethod
    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]: ...

    @abstractmethod
    def _make_native(self, input_size: int) -> Any: ...

    @property
    def built(self) -> bool:  # type: ignore[override]
        """Whether the weights are there."""
        return self.input_size is not None

    @property
    def weights(self) -> dict[str, Array]:
        """Read-only views of the weights by name; `set_weights` changes them."""
        return dict(self._views)

    def build(self, input_size: int) -> None:
        """Make the weights for inputs whose last dimension is `input_size`.

        The first call of the layer does it too. Once built, a layer keeps its input
        size; building it again with the same one changes nothing.
        """
        self.build_seeded(input_size, np.random.SeedSequence(self.seed))

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy arrays of the names, shapes and dtype of `weights` into the layer."""
        self._built_size()
        checked = _checks.weights(weights, self._weights)
        for name, own in self.writable_weights().items():
            own[...] = checked[name]

    def writable_weights(self) -> dict[str, Array]:
        """Return the weights themselves, to be changed in place at once.

        For optimizers and the like: the caller must be done with them before the
        layer's next call, which reads them again.
        """
        self._version += 1
        return self._weights

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as configuration and weights; locks and packs stay here."""
        return _restored, (type(self), self.config, self.input_size, self._weights)

    def build_seeded(self, input_size: int, seeds: np.random.SeedSequence) -> None:
        """Do what `build` does, with random numbers of a model's seed."""
        size = _checks.integer("input_size", input_size, 1)
        with self._lock:
            if self.input_size is None:
                _checks.parameter_count(repr(self), self.weight_shapes(size))
                rng = np.random.Generator(np.random.Philox(seeds))
                self.adopt(size, self._initial_weights(size, rng))
            elif self.input_size != size:
                message = (
                    f"input_size: got {size}, but the layer is built for "
                    f"{self.input_size}"
                )
                raise ValueError(message)

    def adopt(self, input_size: int, weights: Mapping[str, Array]) -> None:
        """Become built, with copies of weights that have the right shapes."""
        self._weights = {
            name: np.array(weights[name], self.dtype, order="C")
            for name in self.weight_shapes(input_size)
        }
        for name, weight in self._weights.items():
            self._views[name] = weight.view()
            self._views[name].flags.writeable = False
        self._native = self._make_native(input_size)
        self.input_size = input_size

    def _built_size(self) -> int:
        if self.input_size is None:
            message = f"{self!r} is not built: call build(input_size) first"
            raise ValueError(message)
        return self.input_size

    def _packed(self) -> Any:
        """Return the native object, with the weights of now."""
        if self._packed_version != self._version:
            with self._lock:
                version = self._version
                if self._packed_version != version:
                    self._native.pack(**self._weights)
                    self._packed_version = version
        return self._native

    def _checked_array(self, name: str, value: object, dims: str) -> Array:
        """Check an input whose last dimension C is the layer's input size."""
        if self.input_size is not None:
            return _checks.array(name, value, self.dtype, dims, C=self.input_size)
        x = _checks.array(name, value, self.dtype, dims)
        self.build(x.shape[-1])
        return x


def _restored(
    cls: type[WeightedLayer],
    config: Mapping[str, Any],
    input_size: int | None,
    weights: Mapping[str, Array],
) -> WeightedLayer:
    layer = cls(**config)
    if input_size is not None:
        layer.adopt(input_size, weights)
    return layer


class GRU(WeightedLayer):
    """A gated recurrent unit over sequences.

    With gates r, z, n and the state h::

        r = sigmoid(W_r x + b_ir + U_r h + b_hr)
        z = sigmoid(W_z x + b_iz + U_z h + b_hz)
        n = tanh(W_n x + b_in + r * (U_n h + b_hn))      # reset_after=True
        n = tanh(W_n x + b_in + U_n (r * h) + b_hn)      # reset_after=False
        h = (1 - z) * n + z * h

    Parameters
    ----------
    units : int
        Size H of the state.
    return_sequences : bool
        Whether the output has the state after every step, (N, T, H), or only the last
        one, (N, H).
    return_state : bool
        Whether the last state comes beside the output: ``(y, h_n)``.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (as in PyTorch, cuDNN
        and Keras) or before it (Cho et al. 2014).
    dtype : {"float32", "float64"}
        Of input, output and weights.
    initializer : {"keras", "torch"}
        First weights nearly as Keras makes them (Glorot-uniform ``weight_ih``,
        orthogonal ``weight_hh`` for each gate, zero biases) or as PyTorch does (all
        uniform within 1 / sqrt(H)).
    seed : int, optional
        Of the first weights: same seed, same bits.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (3H, C), ``weight_hh`` (3H, H), ``bias_ih`` (3H,), ``bias_hh``
        (3H,), rows in the order r, z, n: those of `torch.nn.GRU`. Read-only.

    Raises
    ------
    TypeError
        If an array is not an ndarray of `dtype`.
    ValueError
        If a shape does not fit; the message says which one would.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.GRU(8, return_sequences=True, seed=0)
    >>> x = np.ones((4, 10, 3), np.float32)
    >>> y, context = layer.forward(x)
    >>> y.shape
    (4, 10, 8)
    >>> dx, grads = layer.backward(np.ones_like(y), context)
    >>> dx.shape, grads["weight_hh"].shape
    ((4, 10, 3), (24, 8))
    """

    def __init__(
        self,
        units: int,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        reset_after: bool = True,
        dtype: str = "float32",
        initializer: Initializer = "keras",
        seed: int | None = None,
    ) -> None:
        self.units = _checks.integer("units", units, 1)
        self.return_sequences = _checks.flag("return_sequences", return_sequences)
        self.return_state = _checks.flag("return_state", return_state)
        self.reset_after = _checks.flag("reset_after", reset_after)
        super().__init__(dtype, initializer, seed)
        # Workspaces of finished backward passes, to be used again.
        self._workspaces: list[_core.Workspace] = []

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, T, H) or (N, H) for an input of shape (N, T, C)."""
        sizes = {} if self.input_size is None else {"C": self.input_size}
        _checks.shape("x", input_shape, "N T C", **sizes)
        rows, steps, _ = input_shape
        return (
            (rows, steps, self.units) if self.return_sequences else (rows, self.units)
        )

    def __call__(self, x: Array, initial_state: Array | None = None) -> Any:
        """Return the output for sequences; keeps nothing, safe from many threads.

        Parameters
        ----------
        x : ndarray (N, T, C)
            N sequences of T steps.
        initial_state : ndarray (N, H), optional
            State before the first step; zero without it.

        Returns
        -------
        y : ndarray (N, T, H) or (N, H)
            All states or the last one; with ``return_state=True`` the tuple (y, h_n).
        """
        x = self._checked_input(x)
        h0 = self._checked_state(initial_state, x)
        y, h_n = self._packed().forward(x, h0, self.return_sequences, None)
        return self._output(y, h_n)

    def forward(
        self, x: Array, initial_state: Array | None = None
    ) -> tuple[Any, Context]:
        """Return what a call returns, and the context that `backward` needs.

        The context refers to `x`: do not change that array before `backward`.
        """
        x = self._checked_input(x)
        h0 = self._checked_state(initial_state, x)
        y, h_n, workspace = self._train_native(x, h0)
        return self._output(y, h_n), Context(self, (x, workspace, h0 is not None))

    def backward(self, dy: Any, context: Context) -> tuple[Array, dict[str, Array]]:
        """Return the gradients for x and for the weights, given the output's.

        Parameters
        ----------
        dy : ndarray (N, T, H) or (N, H)
            Gradient of the loss for the output of `forward`. With
            ``return_state=True`` a tuple (dy, dh_n), of which either may be None.
        context : Context
            From `forward`; good for one call.

        Returns
        -------
        dx : ndarray (N, T, C)
            Gradient of the loss for x.
        grads : dict of str to ndarray
            Gradients for `weights`, under the same names, and ``"initial_state"``
            (N, H) if `forward` was given one.
        """
        saved = self._opened(context)
        x, workspace, has_state = saved
        dy, dh_n = self._checked_gradients(dy, saved)
        context._saved = None
        dx, dh0, grads = self._backward_native(x, workspace, dy, dh_n, True)
        if has_state:
            grads["initial_state"] = dh0
        return dx, grads

    def stream(self) -> Stream:
        """Return a stream that runs the layer one step a call, from the zero state."""
        native = self._make_native(self._built_size())
        native.pack(**self._weights)
        return Stream(native.stream(), self.units, self.dtype)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        rows = 3 * self.units
        return {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        shapes = self.weight_shapes(input_size)
        if self.initializer == "torch":
            return _uniform(rng, 1 / math.sqrt(self.units), shapes)
        weights = {name: np.zeros(dims) for name, dims in shapes.items()}
        weights["weight_ih"] = _glorot(rng, shapes["weight_ih"])
        # Gate by gate: Keras makes the columns of all three orthonormal together; on
        # the five layers of `grufast demo` that ended with a 3 % larger error.
        square = (self.units, self.units)
        gates = [_orthogonal(rng, square) for _ in range(3)]
        weights["weight_hh"] = np.concatenate(gates)
        return weights

    def _make_native(self, input_size: int) -> _core.Recurrent:
        cell: Literal["gru", "gru_reset_before"]
        cell = "gru" if self.reset_after else "gru_reset_before"
        return _core.Recurrent(cell, input_size, self.units, self.dtype)

    def _infer(self, x: Array) -> Array:
        y, h_n = self._packed().forward(x, None, self.return_sequences, None)
        return y if self.return_sequences else h_n  # type: ignore[no-any-return]

    def _train(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        y, h_n, workspace = self._train_native(x, None)
        return y if self.return_sequences else h_n, (x, workspace)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        x, workspace = saved
        dy_all, dh_n = (dy, None) if self.return_sequences else (None, dy)
        dx, _, grads = self._backward_native(x, workspace, dy_all, dh_n, need_dx)
        return dx, grads

    def _train_native(self, x: Array, h0: Array | None) -> tuple[Any, ...]:
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = _core.Workspace()
        y, h_n = self._packed().forward(x, h0, self.return_sequences, workspace)
        return y, h_n, workspace

    def _backward_native(
        self,
        x: Array,
        workspace: _core.Workspace,
        dy: Array | None,
        dh_n: Array | None,
        need_dx: bool,
    ) -> tuple[Any, Array, dict[str, Array]]:
        dx, dh0, *grads = self._packed().backward(workspace, x, dy, dh_n, need_dx)
        self._workspaces.append(workspace)
        return dx, dh0, dict(zip(self._weights, grads, strict=True))

    def _output(self, y: Array | None, h_n: Array) -> Any:
        if not self.return_state:
            return h_n if y is None else y
        return (h_n.copy() if y is None else y), h_n

    def _checked_input(self, x: object) -> Array:
        return self._checked_array("x", x, "N T C")

    def _checked_state(self, h0: object, x: Array) -> Array | None:
        if h0 is None:
            return None
        sizes = {"N": x.shape[0], "H": self.units}
        return _checks.contiguous("initial_state", h0, self.dtype, "N H", **sizes)

    def _checked_gradient(self, dy: object, saved: Any) -> Array:
        rows, steps, _ = saved[0].shape
        if not self.return_sequences:
            return _checks.contiguous("dy", dy, self.dtype, "N H", N=rows, H=self.units)
        sizes = {"N": rows, "T": steps, "H": self.units}
        return _checks.contiguous("dy", dy, self.dtype, "N T H", **sizes)

    def _checked_gradients(
        self, dy: object, saved: Any
    ) -> tuple[Array | None, Array | None]:
        """Return the gradients for all states and for the last one."""
        dh_n = None
        if self.return_state:
            if not (isinstance(dy, tuple) and len(dy) == 2):
                message = "dy: expected the tuple (dy, dh_n), as return_state is True"
                raise TypeError(message)
            dy, dh_n = dy
            if dh_n is not None:
                sizes = {"N": saved[0].shape[0], "H": self.units}
                dh_n = _checks.contiguous("dh_n", dh_n, self.dtype, "N H", **sizes)
            if dy is None:
                return None, dh_n
        dy = self._checked_gradient(dy, saved)
        if self.return_sequences:
            return dy, dh_n
        return None, dy if dh_n is None else dy + dh_n


class Stream:
    """A GRU fed one step at a time, its state carried from call to call.

    For audio, control and the like; made by `GRU.stream`. A step allocates nothing. The
    stream keeps the weights that the layer had when it was made.

    Attributes
    ----------
    step : callable
        ``step(x, out)`` advances by one input x (C,), writes the new state to out (H,)
        and returns out; both are contiguous arrays of the layer's dtype.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.GRU(8, return_sequences=True, seed=0)
    >>> x = np.ones((1, 5, 3), np.float32)
    >>> y = layer(x)
    >>> stream, out = layer.stream(), np.empty(8, np.float32)
    >>> for t in range(5):
    ...     assert np.array_equal(stream.step(x[0, t], out), y[0, t])
    """

    __slots__ = ("_dtype", "_native", "_units", "step")

    def __init__(self, native: _core.Stream, units: int, dtype: _checks.DType) -> None:
        self._native, self._units, self._dtype = native, units, dtype
        self.step = native.step

    @property
    def state(self) -> Array:
        """A copy of the state (H,)."""
        return self._native.state

    def reset(self, state: Array | None = None) -> None:
        """Go back to a state (H,), or to zero."""
        if state is not None:
            state = _checks.contiguous("state", state, self._dtype, "H", H=self._units)
        self._native.reset(state)


class Dense(WeightedLayer):
    """A fully connected layer: ``activation(x weight^T + bias)``.

    Parameters
    ----------
    units : int
        Last dimension of the output.
    activation : {"linear", "tanh", "sigmoid", "relu"}
        Applied to every element.
    dtype : {"float32", "float64"}
        Of input, output and weights.
    initializer : {"keras", "torch"}
        First weights as Keras makes them (Glorot-uniform, zero bias) or as PyTorch
        does (both uniform within 1 / sqrt(C)).
    seed : int, optional
        Of the first weights: same seed, same bits.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight`` (units, C) and ``bias`` (units,): those of `torch.nn.Linear`.
        Read-only.

    Raises
    ------
    TypeError
        If an array is not an ndarray of `dtype`.
    ValueError
        If a shape does not fit; the message says which one would.

    Examples
    --------
    Inputs have two dimensions or more; all but the last are rows.

    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Dense(2, activation="tanh", seed=0)
    >>> layer(np.ones((4, 10, 3), np.float32)).shape
    (4, 10, 2)
    """

    def __init__(
        self,
        units: int,
        activation: Activation = "linear",
        *,
        dtype: str = "float32",
        initializer: Initializer = "keras",
        seed: int | None = None,
    ) -> None:
        self.units = _checks.integer("units", units, 1)
        self.activation: Activation = _checks.choice(
            "activation", activation, ("linear", "tanh", "sigmoid", "relu")
        )
        super().__init__(dtype, initializer, seed)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, ..., units) for an input of shape (N, ..., C)."""
        sizes = {} if self.input_size is None else {"C": self.input_size}
        _checks.shape("x", input_shape, "N ... C", **sizes)
        return (*input_shape[:-1], self.units)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        return {"weight": (self.units, input_size), "bias": (self.units,)}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        shapes = self.weight_shapes(input_size)
        if self.initializer == "torch":
            return _uniform(rng, 1 / math.sqrt(input_size), shapes)
        weight = _glorot(rng, shapes["weight"])
        return {"weight": weight, "bias": np.zeros(shapes["bias"])}

    def _make_native(self, input_size: int) -> _core.Dense:
        return _core.Dense(input_size, self.units, self.dtype, self.activation)

    def _infer(self, x: Array) -> Array:
        y: Array = self._packed().forward(_rows(x))
        return y.reshape(*x.shape[:-1], self.units)

    def _train(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        rows = _rows(x)
        y: Array = self._packed().forward(rows)
        return y.reshape(*x.shape[:-1], self.units), (x.shape, rows, y)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        shape, rows, y = saved
        dx, dweight, dbias = self._packed().backward(rows, y, _rows(dy), need_dx)
        grads = {"weight": dweight, "bias": dbias}
        return (dx.reshape(shape) if need_dx else None), grads

    def _checked_input(self, x: object) -> Array:
        return self._checked_array("x", x, "N ... C")

    def _checked_gradient(self, dy: object, saved: Any) -> Array:
        return _checks.like("dy", dy, self.dtype, (*saved[0][:-1], self.units))


class Dropout(Layer):
    """Zeroes a part of its input in training and scales the rest up; else nothing.

    Parameters
    ----------
    rate : float
        Part of the elements to zero, in [0, 1); the others grow by 1 / (1 - rate), so
        that the mean stays (inverted dropout).
    seed : int, optional
        Of the masks of `forward`: same seed, same bits. In `Sequential.fit` its seed
        decides instead.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Dropout(0.5, seed=0)
    >>> x = np.ones((1, 6), np.float32)
    >>> layer(x)
    array([[1., 1., 1., 1., 1., 1.]], dtype=float32)
    >>> y, context = layer.forward(x)
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, seed: int | None = None) -> None:
        self.rate = _checks.real("rate", rate, 0, 1)
        self.seed = _checks.seed(seed)
        self._rng = np.random.Generator(np.random.Philox(self.seed))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape

    def _infer(self, x: Array) -> Array:
        return x

    def _train(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        draws = (rng or self._rng).random(x.shape, np.float32)
        scale = x.dtype.type(1 / (1 - self.rate))
        mask = np.multiply(draws >= self.rate, scale, dtype=x.dtype)
        return x * mask, mask

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy * saved, {}

    def _checked_input(self, x: object) -> Array:
        return _checks.array("x", x, None, "...")

    def _checked_gradient(self, dy: object, saved: Any) -> Array:
        return _checks.like("dy", dy, saved.dtype.name, saved.shape)


class Flatten(Layer):
    """Makes each row of the batch one-dimensional: (N, T, C) becomes (N, T * C).

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.Flatten()(np.ones((4, 10, 3), np.float32)).shape
    (4, 30)
    """

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, all other sizes multiplied)."""
        _checks.shape("x", input_shape, "N ...")
        inner = [size for size in input_shape[1:] if size is not None]
        known = len(inner) == len(input_shape) - 1
        return input_shape[0], math.prod(inner) if known else None

    def _infer(self, x: Array) -> Array:
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def _train(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        return self._infer(x), (x.shape, x.dtype.name)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy.reshape(saved[0]), {}

    def _checked_input(self, x: object) -> Array:
        return _checks.array("x", x, None, "N ...")

    def _checked_gradient(self, dy: object, saved: Any) -> Array:
        shape, dtype = saved
        return _checks.like("dy", dy, dtype, (shape[0], math.prod(shape[1:])))


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (GRU, Dense, Dropout, Flatten)
}
"""The layers that files can name."""


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _uniform(
    rng: np.random.Generator, limit: float, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    return {name: rng.uniform(-limit, limit, dims) for name, dims in shapes.items()}


def _glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    limit = math.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Orthonormal columns, uniform over all such matrices."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.sign(np.diag(r))
