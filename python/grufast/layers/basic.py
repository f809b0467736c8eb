"""Layers without time: fully connected, dropout, flattening."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array, Shape
from grufast.layers.base import Initializer, Layer, WeightedLayer, glorot, uniform

Activation = Literal["linear", "tanh", "sigmoid", "relu"]


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
            return uniform(rng, 1 / math.sqrt(input_size), shapes)
        weight = glorot(rng, shapes["weight"])
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


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
