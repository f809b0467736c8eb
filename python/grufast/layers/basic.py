"""Layers without a state: what they do to a step does not depend on other steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Unpack

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array, Shape
from grufast._sparse import SparseRows
from grufast.layers.base import (
    AnyActivation,
    Common,
    FirstWeights,
    Initializer,
    Layer,
    Penalty,
    WeightedLayer,
    checked_activation,
    checked_initializer,
    checked_regularizer,
)

# NaN and infinities pass through as silently as in native code.
quiet = np.errstate(all="ignore")


class Dense(WeightedLayer):
    """A fully connected layer: ``activation(x weight^T + bias)``.

    Parameters
    ----------
    units : int
        Last dimension of the output.
    activation : str
        Applied to the output: one of the names that `Activation` lists.
    use_bias : bool
        Whether there is a ``bias``.
    kernel_initializer, bias_initializer : str or Initializer, optional
        First ``weight`` and ``bias``, see `grufast.initializers`; without them, what
        `initializer` says.
    kernel_regularizer, bias_regularizer : {"l1", "l2"} or Regularizer, optional
        Penalties on ``weight`` and ``bias``, see `grufast.regularizers`.
    dtype : {"float32", "float64"}
        Of input, output and weights.
    initializer : {"keras", "torch"}
        First weights as Keras makes them (Glorot-uniform, zero bias) or as PyTorch
        does (both uniform within 1 / sqrt(C)).
    seed : int, optional
        Of the first weights: same seed, same bits.
    **common
        `name` and `input_shape`: see `Layer`.

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

    dims = "N ... C"
    supports_masking = True
    stepwise = True
    roles: ClassVar[Mapping[str, str]] = {"weight": "kernel", "bias": "bias"}

    def __init__(
        self,
        units: int,
        activation: AnyActivation = "linear",
        use_bias: bool = True,
        *,
        kernel_initializer: FirstWeights | None = None,
        bias_initializer: FirstWeights | None = None,
        kernel_regularizer: Penalty = None,
        bias_regularizer: Penalty = None,
        dtype: str = "float32",
        initializer: Initializer = "keras",
        seed: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        self.units = _checks.integer("units", units, 1)
        self.activation = checked_activation("activation", activation, *_WITHOUT_CORE)
        self._behind = _behind(self.activation)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.kernel_initializer = checked_initializer(
            "kernel_initializer", kernel_initializer
        )
        self.bias_initializer = checked_initializer(
            "bias_initializer", bias_initializer
        )
        self.kernel_regularizer = checked_regularizer(
            "kernel_regularizer", kernel_regularizer
        )
        self.bias_regularizer = checked_regularizer(
            "bias_regularizer", bias_regularizer
        )
        super().__init__(dtype, initializer, seed, **common)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, ..., units) for an input of shape (N, ..., C)."""
        self._check_shape(input_shape)
        return (*input_shape[:-1], self.units)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        weight = {"weight": (self.units, input_size)}
        return weight | {"bias": (self.units,)} if self.use_bias else {**weight}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        return {
            name: self._initial(name, shape, rng, fan=input_size)
            for name, shape in self.weight_shapes(input_size).items()
        }

    def _make_native(self, input_size: int) -> _core.Dense:
        activation: Any = "linear" if self._behind else self.activation
        return _core.Dense(input_size, self.units, self.dtype, activation)

    def _pack(self) -> None:
        none = {} if self.use_bias else {"bias": np.zeros(self.units, self.dtype)}
        self._native.pack(**self._weights, **none)

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        y: Array = self._packed().forward(_rows(x))
        if self._behind:
            y = self._behind._infer(y)
        return y.reshape(*x.shape[:-1], self.units)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        rows = _rows(x)
        y, kept = self._packed().train(rows)
        own = None
        if self._behind:
            y, own = self._behind._train(y, None)
        return y.reshape(*x.shape[:-1], self.units), (x.shape, rows, kept, own)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        shape, rows, kept, own = saved
        slopes: Any = _rows(dy)
        if self._behind:
            slopes, _ = self._behind._gradients(slopes, own, True)
        dy = np.ascontiguousarray(slopes)
        dx, dweight, dbias = self._packed().backward(rows, kept, dy, need_dx)
        grads = {"weight": dweight} | ({"bias": dbias} if self.use_bias else {})
        return (dx.reshape(shape) if need_dx else None), grads


class Activation(Layer):
    """A function applied to every element, or along the last dimension.

    The names are the field's:

    ================  ==================================================================
    ``linear``        x
    ``tanh``          tanh(x)
    ``sigmoid``       1 / (1 + exp(-x))
    ``relu``          max(x, 0)
    ``hard_sigmoid``  min(max(x + 3, 0), 6) / 6
    ``softsign``      x / (1 + abs(x))
    ``elu``           x where x > 0, else exp(x) - 1
    ``gelu``          0.5 x (1 + erf(x / sqrt(2)))
    ``swish``         x / (1 + exp(-x)); ``silu`` is another name for it
    ``softplus``      log(1 + exp(x))
    ``selu``          1.0507 x where x > 0, else 1.7581 (exp(x) - 1)
    ``exponential``   exp(x)
    ``parabolic``     sign(x) sqrt(0.4 abs(x)): DEGANN's; its gradient at 0, which is
                      infinite, is taken as 0
    ``softmax``       exp(x) divided by its sum along the last dimension: see `Softmax`
    ================  ==================================================================

    None is ``linear``, as in Keras. Recurrent layers do not have the last four.

    Parameters
    ----------
    activation : str
        One of these names.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.Activation("relu")(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    supports_masking = True
    stepwise = True

    def __init__(
        self,
        activation: AnyActivation,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.activation = checked_activation("activation", activation, *_WITHOUT_CORE)
        self._behind = _behind(self.activation)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return self._behind.output_shape(input_shape) if self._behind else input_shape

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._train(x, None)[0]

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        if self._behind:
            return self._behind._train(x, rng)
        y, kept = _core.activate(self.activation, _flat(x))
        return y.reshape(x.shape), kept

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        if self._behind:
            return self._behind._gradients(dy, saved, need_dx)
        dx = _core.activate_backward(self.activation, saved, _flat(dy))
        return dx.reshape(dy.shape), {}

    def _checked_input(self, x: object) -> Array:
        x = super()._checked_input(x)
        self.output_shape(x.shape)
        return x


class _Formula(Layer):
    """A function of every element that native code does not have."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._train(x, None)[0]

    @quiet
    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return _FORMULAS[self.activation](np.ascontiguousarray(x))

    @quiet
    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy * saved, {}


# Value and slope.


def _selu(x: Array) -> tuple[Array, Array]:
    # Klambauer et al. 2017: the fixed point is mean 0 and variance 1.
    scale, below = 1.0507009873554805, 1.0507009873554805 * 1.6732632423543772
    low = np.minimum(x, 0)
    y = np.where(x > 0, scale * x, below * np.expm1(low))
    return y, np.where(x > 0, x.dtype.type(scale), below * np.exp(low))


def _exponential(x: Array) -> tuple[Array, Array]:
    y = np.exp(x)
    return y, y


def _parabolic(x: Array) -> tuple[Array, Array]:
    y = np.copysign(np.sqrt(0.4 * np.abs(x)), x)
    return y, np.where(x == 0, 0, 0.2 / np.abs(y))


_FORMULAS = {
    "selu": _selu,
    "exponential": _exponential,
    "parabolic": _parabolic,
}
_WITHOUT_CORE = (*_FORMULAS, "softmax")


def _behind(activation: str) -> Layer | None:
    """Return what computes an activation behind native code that does not have it."""
    if activation == "softmax":
        return Softmax()
    return _Formula(activation) if activation in _FORMULAS else None


class Softmax(Layer):
    """Positive numbers that sum to 1: ``exp(x)`` divided by its sum along an axis.

    Parameters
    ----------
    axis : int
        Along which the sum is 1.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.Softmax()(np.log([[1.0, 3.0]])).round(6)
    array([[0.25, 0.75]])
    """

    supports_masking = True

    def __init__(self, axis: int = -1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.axis = _checks.integer("axis", axis, -_MOST_DIMENSIONS)

    @property
    def stepwise(self) -> bool:  # type: ignore[override]
        """Whether a sequence can come in pieces: not along another axis, of steps."""
        return self.axis == -1

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        if not -len(input_shape) <= self.axis < len(input_shape):
            message = f"x: got shape {input_shape}, expected one with axis {self.axis}"
            raise ValueError(message)
        return input_shape

    @quiet
    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        highest = x.max(axis=self.axis, keepdims=True, initial=-np.inf)
        y: Array = np.exp(x - highest)
        y /= y.sum(axis=self.axis, keepdims=True)
        return y

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        y = self._infer(x)
        return y, y

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        mean = (dy * saved).sum(axis=self.axis, keepdims=True)
        return saved * (dy - mean), {}

    def _checked_input(self, x: object) -> Array:
        x = super()._checked_input(x)
        self.output_shape(x.shape)
        return x


class _Noise(Layer):
    """What changes its input in training, by random numbers, and else nothing."""

    supports_masking = True
    stepwise = True

    def __init__(self, seed: object, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.seed = _checks.seed(seed)
        self._rng = np.random.Generator(np.random.Philox(self.seed))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return x


class Dropout(_Noise):
    """Zeroes a part of its input in training and scales the rest up; else nothing.

    Parameters
    ----------
    rate : float
        Part of the elements to zero, in [0, 1); the others grow by 1 / (1 - rate), so
        that the mean stays (inverted dropout).
    seed : int, optional
        Of the masks of `forward`: same seed, same bits. In `Sequential.fit` its seed
        decides instead.
    **common
        `name` and `input_shape`: see `Layer`.

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

    def __init__(
        self, rate: float, *, seed: int | None = None, **common: Unpack[Common]
    ) -> None:
        super().__init__(seed, **common)
        self.rate = _checks.real("rate", rate, 0, 1)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        draws = (rng or self._rng).random(x.shape, np.float32)
        scale = x.dtype.type(1 / (1 - self.rate))
        kept = np.multiply(draws >= self.rate, scale, dtype=x.dtype)
        return x * kept, kept

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy * saved, {}


class GaussianNoise(_Noise):
    """Adds normal random numbers of mean 0 in training; else nothing.

    Parameters
    ----------
    stddev : float
        Their standard deviation, at least 0.
    seed : int, optional
        Of the noise of `forward`: same seed, same bits. In `Sequential.fit` its seed
        decides instead.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.GaussianNoise(0.1, seed=0)
    >>> x = np.zeros((100, 100))
    >>> y, context = layer.forward(x)
    >>> round(float(y.std()), 2), float(layer(x).std())
    (0.1, 0.0)
    """

    def __init__(
        self, stddev: float, seed: int | None = None, **common: Unpack[Common]
    ) -> None:
        super().__init__(seed, **common)
        self.stddev = _checks.real("stddev", stddev)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        dtype: Any = x.dtype
        draws = (rng or self._rng).standard_normal(x.shape, dtype)
        return x + draws * dtype.type(self.stddev), None

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy, {}


class LayerNormalization(WeightedLayer):
    """Mean 0 and variance 1 for every row, then a gain and an offset: Ba et al. 2016.

    ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, mean and variance being
    those of the last dimension.

    Parameters
    ----------
    axis : int
        -1: no other is taken.
    epsilon : float
        Added to the variance; above 0. PyTorch's is 1e-5.
    dtype : {"float32", "float64"}
        Of input, output and weights.
    **common
        `name` and `input_shape`: see `Layer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``gamma`` (C,), first 1, and ``beta`` (C,), first 0. Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.LayerNormalization(dtype="float64")
    >>> layer(np.array([[1.0, 2.0, 3.0]])).round(3)
    array([[-1.224,  0.   ,  1.224]])
    """

    dims = "N ... C"
    supports_masking = True
    stepwise = True

    def __init__(
        self,
        axis: Literal[-1] = -1,
        epsilon: float = 1e-3,
        *,
        dtype: str = "float32",
        **common: Unpack[Common],
    ) -> None:
        self.axis = _checks.choice("axis", axis, (-1,))
        self.epsilon = _checks.real("epsilon", epsilon)
        if not self.epsilon:
            message = f"epsilon: got {epsilon!r}, expected a number above 0"
            raise ValueError(message)
        super().__init__(dtype, "keras", None, **common)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        self._check_shape(input_shape)
        return input_shape

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        return {"gamma": (input_size,), "beta": (input_size,)}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        return {"gamma": np.ones(input_size), "beta": np.zeros(input_size)}

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._train(x, None)[0]

    @quiet
    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt(variance + self.epsilon)
        normal = centred * scale
        return normal * self._weights["gamma"] + self._weights["beta"], (normal, scale)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        normal, scale = saved
        dnormal = dy * self._weights["gamma"]
        along = (dnormal * normal).mean(axis=-1, keepdims=True)
        dx = scale * (dnormal - dnormal.mean(axis=-1, keepdims=True) - normal * along)
        grads = {
            name: _rows(d).sum(axis=0, dtype=np.float64).astype(self.dtype)
            for name, d in (("gamma", dy * normal), ("beta", dy))
        }
        return dx, grads


class Embedding(WeightedLayer):
    """A vector for each of so many integers: row x of ``weight``.

    As the first layer of a model it makes the model's input integers. The gradient for
    ``weight`` is kept as the rows that were looked up, so that a step costs what the
    batch holds and not what the vocabulary does.

    Parameters
    ----------
    input_dim : int
        Size V of the vocabulary: the input holds integers from 0 to V - 1.
    output_dim : int
        Size D of the vectors.
    mask_zero : bool
        Whether 0 is padding: `compute_mask` is then ``x != 0``, and the input (N, T).
        A 0 has its row of ``weight`` all the same.
    embeddings_initializer : str or Initializer, optional
        First ``weight``, see `grufast.initializers`; without it, what `initializer`
        says.
    embeddings_regularizer : {"l1", "l2"} or Regularizer, optional
        Penalty on ``weight``, see `grufast.regularizers`; its gradient is a whole
        array.
    dtype : {"float32", "float64"}
        Of output and weight.
    initializer : {"keras", "torch"}
        First weights as Keras makes them (uniform within 0.05) or as PyTorch does
        (standard normal).
    seed : int, optional
        Of the first weights: same seed, same bits.
    **common
        `name` and `input_shape`: see `Layer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight`` (V, D): that of `torch.nn.Embedding`. Read-only.

    Raises
    ------
    TypeError
        If the input is not an ndarray of int32 or int64.
    ValueError
        If it holds a number that is not in [0, V).

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Embedding(1000, 8, mask_zero=True, seed=0)
    >>> x = np.array([[3, 7, 7], [5, 0, 0]])
    >>> y, context = layer.forward(x)
    >>> y.shape
    (2, 3, 8)
    >>> layer.compute_mask(x)
    array([[ True,  True,  True],
           [ True, False, False]])
    >>> _, grads = layer.backward(np.ones_like(y), context)
    >>> grads["weight"].indices
    array([0, 3, 5, 7])
    """

    stepwise = True
    roles: ClassVar[Mapping[str, str]] = {"weight": "embeddings"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        mask_zero: bool = False,
        embeddings_initializer: FirstWeights | None = None,
        embeddings_regularizer: Penalty = None,
        dtype: str = "float32",
        initializer: Initializer = "keras",
        seed: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        self.input_dim = self.vocabulary = _checks.integer("input_dim", input_dim, 1)
        self.output_dim = _checks.integer("output_dim", output_dim, 1)
        self.mask_zero = _checks.flag("mask_zero", mask_zero)
        self.embeddings_initializer = checked_initializer(
            "embeddings_initializer", embeddings_initializer
        )
        self.embeddings_regularizer = checked_regularizer(
            "embeddings_regularizer", embeddings_regularizer
        )
        self.dims = "N T" if mask_zero else "..."
        super().__init__(dtype, initializer, seed, **common)

    def size_of(self, input_shape: Shape) -> int:
        """Return `input_dim`: the weights do not depend on the input's shape."""
        return self.input_dim

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input, and D behind it."""
        _checks.shape("x", input_shape, self.dims)
        return (*input_shape, self.output_dim)

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the input's mask, with `mask_zero` only where the input is not 0."""
        if not self.mask_zero:
            return mask
        own: Array = x != 0
        return own if mask is None else own & mask

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        return {"weight": (self.input_dim, self.output_dim)}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        # Each integer is an input: here it is (inputs, outputs).
        shape = (self.output_dim, self.input_dim)
        return {"weight": self._initial("weight", shape, rng, fan=self.input_dim).T}

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._weights["weight"][x]

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._infer(x), x

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Any]]:
        indices, rows = _summed(saved.reshape(-1), _rows(dy))
        shape = self.input_dim, self.output_dim
        return None, {"weight": SparseRows(indices, rows, shape)}

    def _checked_input(self, x: object) -> Array:
        x = _checks.integers("x", x, self.dims, self.input_dim)
        if not self.built:
            self.build(self.input_dim)
        return x


def _summed(indices: Array, rows: Array) -> tuple[Array, Array]:
    """Return the indices, each once and ascending, and the sums of their rows."""
    order = np.argsort(indices, kind="stable")
    ascending = indices[order].astype(np.int64)
    first = np.flatnonzero(np.diff(ascending, prepend=-1))
    if not len(first):
        return ascending, rows
    return ascending[first], np.add.reduceat(rows[order], first, axis=0)


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1)


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# As NumPy has it.
_MOST_DIMENSIONS = 64
