"""What all layers have in common: explicit forward and backward, weights in a dict."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol, TypedDict, Unpack, get_args

import numpy as np

from grufast import _checks, initializers, regularizers
from grufast._checks import Array, Shape
from grufast._config import Configured
from grufast._sparse import SparseRows

Initializer = Literal["keras", "torch"]
"""Sets of first weights, by one word: as Keras makes them, or as PyTorch does."""

ActivationName = Literal[
    "linear",
    "tanh",
    "sigmoid",
    "relu",
    "hard_sigmoid",
    "softsign",
    "elu",
    "gelu",
    "swish",
    "softplus",
]
"""Functions of a number; `grufast.layers.Activation` has their formulas."""

AnyActivation = (
    ActivationName
    | Literal["silu", "selu", "exponential", "parabolic", "softmax"]
    | None
)
"""Those, with Keras's other names for two, and what only `Dense` and the like have."""

FirstWeights = str | initializers.Initializer
"""How to draw one weight: an initializer or its name."""

Penalty = str | regularizers.Regularizer | None
"""A regularizer, its name, or none."""


class Common(TypedDict, total=False):
    """What all layers can be given; see `Layer`."""

    name: str | None
    input_shape: Shape | None


class Versioned(Protocol):
    """What counts the changes of its weights."""

    @property
    def _version(self) -> int: ...


class Context:
    """What a layer's `forward` keeps for one call of its `backward`; opaque.

    It refers to the input of `forward` without a copy: change neither that array nor
    the layer's weights before `backward`, which refuses a context of other weights, of
    another layer, or one that it has had, with a ValueError.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Dense(2, seed=0)
    >>> y, context = layer.forward(np.ones((4, 3), np.float32))
    >>> dx, grads = layer.backward(np.ones_like(y), context)
    >>> dx.shape, list(grads)
    ((4, 3), ['weight', 'bias'])
    """

    __slots__ = ("_owner", "_saved", "_version")

    def __init__(self, owner: Versioned, saved: Any) -> None:
        self._owner = owner
        self._saved = saved
        self._version = owner._version


def context_of(owner: Versioned, context: object) -> Any:
    """Return what `forward` of a layer or model saved; backward empties the context."""
    if not isinstance(context, Context):
        message = f"context: got {type(context).__name__}, expected a Context"
        raise TypeError(message)
    if context._owner is not owner:
        message = "context: it comes from another layer's forward"
        raise ValueError(message)
    if context._saved is None:
        message = "context: already used; each backward needs a forward of its own"
        raise ValueError(message)
    if context._version != owner._version:
        message = "context: the weights have changed since its forward"
        raise ValueError(message)
    return context._saved


class Layer(Configured, ABC):
    """What all layers have in common.

    Two ways through a layer: ``layer(x)`` computes the output and keeps nothing, and
    may be called from several threads at once; ``layer.forward(x)`` returns a context
    beside the output, for ``layer.backward(dy, context)``.

    Both take a mask: a bool array (N, T) that is False where a step of a sequence is
    padding. A layer that knows of steps leaves those out; `compute_mask` says which
    mask its output has.

    A subclass brings `output_shape`, `_infer`, `_train` and `_gradients`, which trust
    their arguments: the public methods here and `grufast.Sequential` check them.

    Parameters
    ----------
    name : str, optional
        For `Sequential.summary` and `Sequential.get_layer`; weights and files go by the
        layer's place in the model.
    input_shape : tuple of int or None, optional
        Of a model's first layer: what `grufast.layers.Input` says.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.layers.Flatten(name="rows")
    Flatten(name='rows')
    """

    dims = "..."
    """Sizes of the input: names, and "..." for any number of them."""

    dtype: _checks.DType | None = None
    """Of input, output and weights; None for a layer that takes either dtype."""

    vocabulary: int | None = None
    """How many integers, from 0, the input may hold; None: it holds floats."""

    supports_masking = False
    """Whether the output has the steps of the input, so that its mask holds."""

    stepwise = False
    """Whether a sequence can come in pieces: the output at a step is that of the input
    at this step, except for states, which can be carried on."""

    seed: int | None = None
    name: str | None = None
    input_shape: Shape | None = None
    built = True
    _version = 0

    @property
    def trainable(self) -> bool:
        """True, and cannot be set: no layer's weights are left out of training."""
        return True

    def __init__(self, **common: Unpack[Common]) -> None:
        if unknown := sorted(common.keys() - Common.__annotations__.keys()):
            message = f"{type(self).__name__}: unknown arguments {unknown}"
            raise TypeError(message)
        name = common.get("name")
        if name is not None:
            self.name = _checks.text("name", name)
        shape = common.get("input_shape")
        if shape is not None:
            self.input_shape = Input(shape).shape

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        # Not the input's shape: once a model is built, that is the model's to say.
        own = super()._parameters()
        return own if own.pop("common", None) is None else own | {"name": None}

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

    def get_weights(self) -> dict[str, Array]:
        """Return copies of the weights, under the names of `weights`."""
        return {name: weight.copy() for name, weight in self.weights.items()}

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

    def size_of(self, input_shape: Shape) -> int | None:
        """Return the `input_size` for `build`; None if the shape leaves it open."""
        return input_shape[-1]

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        return {}

    def build_seeded(self, input_size: int, seeds: np.random.SeedSequence) -> None:
        """Do what `build` does, with random numbers of a model's seed."""

    def adopt(self, input_size: int, weights: Mapping[str, Array]) -> None:
        """Become built, with copies of weights that have the right shapes."""

    def penalties(self) -> dict[str, regularizers.Regularizer]:
        """Return the regularizers by the names of the weights that they are for."""
        return {}

    def penalty(self) -> float:
        """Return the sum of the penalties on the weights, which is part of the loss."""
        terms = self.penalties()
        return sum((terms[k](w) for k, w in self.weights.items() if k in terms), 0.0)

    def penalize(self, grads: dict[str, Array]) -> float:
        """Add the gradients of `penalty` to `grads`, and return `penalty`."""
        total = 0.0
        for name, regularizer in self.penalties().items():
            gradient: Any = grads[name]
            if isinstance(gradient, SparseRows):
                gradient = gradient.to_dense()
            weight = self.weights[name]
            grads[name] = gradient + regularizer.gradient(weight)
            total += regularizer(weight)
        return total

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, or raise a ValueError; None is any size."""

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask of the output, given an input and its mask."""
        return mask if self.supports_masking else None

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Return the output for `x`, as at inference."""
        x = self._checked_input(x)
        return self._infer(x, _checks.mask(mask, x.shape))

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Any, Context]:
        """Return the output for `x`, as in training, and the context for `backward`."""
        x = self._checked_input(x)
        y, saved = self._train(x, None, _checks.mask(mask, x.shape))
        return y, Context(self, (saved, y.shape, y.dtype.name))

    def backward(self, dy: Array, context: Context) -> tuple[Any, dict[str, Any]]:
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
            Gradient of the loss for x; None where x holds integers.
        grads : dict of str to ndarray
            Gradients for `weights`, under the same names; that of an `Embedding` is
            the rows that are not zero, as `grufast.optimizers` takes them.
        """
        saved, shape, dtype = context_of(self, context)
        dy = _checks.like("dy", dy, dtype, shape)
        context._saved = None
        return self._gradients(dy, saved, True)

    @abstractmethod
    def _infer(self, x: Array, mask: Array | None = None) -> Array: ...

    @abstractmethod
    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        """Return the output and what `_gradients` needs.

        `rng` is where random numbers come from; None: from the layer's own seed.
        """

    @abstractmethod
    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]: ...

    def _checked_input(self, x: object) -> Array:
        return _checks.array("x", x, self.dtype, self.dims)


class Input(Configured):
    """The shape of a model's input, to stand before its layers: they are built at once.

    Parameters
    ----------
    shape : tuple of int or None
        Without N. None stands for any size, such as that of the time steps.

    Examples
    --------
    >>> import grufast as gf
    >>> model = gf.Sequential()
    >>> model.add(gf.layers.Input((None, 3)))
    >>> model.add(gf.layers.GRU(8))
    >>> model.count_params()
    312
    """

    def __init__(self, shape: Shape) -> None:
        given: object = shape
        if not isinstance(given, tuple | list) or not given:
            message = f"input_shape: got {shape!r}, expected a tuple of sizes"
            raise TypeError(message)
        self.shape: Shape = tuple(
            None if size is None else _checks.integer("input_shape", size, 0)
            for size in given
        )


class WeightedLayer(Layer):
    """A layer with weights, and a native object that holds them packed.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of input, output and weights.
    initializer : {"keras", "torch"}
        Whose first weights to draw, where no argument for one weight says otherwise.
    seed : int, optional
        Of the first weights: same seed, same bits.
    **common
        `name` and `input_shape`: see `Layer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        Read-only views; empty until the layer is built.
    input_size : int or None
        Last dimension of the input; None until the layer is built.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the layer would have too many parameters.

    Examples
    --------
    >>> import grufast as gf
    >>> layer = gf.layers.Dense(2, dtype="float64")
    >>> isinstance(layer, gf.layers.WeightedLayer), layer.weights
    (True, {})
    >>> layer.build(3)
    >>> layer.weights["weight"].shape, layer.weights["weight"].dtype
    ((2, 3), dtype('float64'))
    """

    dtype: _checks.DType
    input_size: int | None
    """Last dimension of the input; None until the layer is built."""

    roles: ClassVar[Mapping[str, str]] = {}
    """Which arguments each weight follows: "kernel" stands for `kernel_initializer` and
    `kernel_regularizer`."""

    def __init__(
        self,
        dtype: object,
        initializer: object,
        seed: object,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
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

    def _initial(
        self,
        name: str,
        shape: tuple[int, ...],
        rng: np.random.Generator,
        fan: int | None = None,
    ) -> Array:
        """Return the first weight of a name, as the arguments of its role say.

        `fan` is what PyTorch's rule divides by.
        """
        argument = f"{self.roles[name]}_initializer"
        given = getattr(self, argument) or _SETS[self.initializer][self.roles[name]]
        weight = initializers.get(given)(shape, rng, fan)
        return _checks.like(argument, weight, "float64", shape)

    def penalties(self) -> dict[str, regularizers.Regularizer]:
        """Return the regularizers by the names of the weights that they are for."""
        found = {
            name: regularizers.get(getattr(self, f"{role}_regularizer"))
            for name, role in self.roles.items()
        }
        return {
            name: r
            for name, r in found.items()
            if r is not None and name in self.weight_shapes(1)
        }

    def _make_native(self, input_size: int) -> Any:
        """Return what `_packed` returns, before it has weights."""

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

    def _check_shape(self, input_shape: Shape) -> None:
        """Hold the shape of an input to `dims`, C being the layer's input size."""
        sizes = {} if self.input_size is None else {"C": self.input_size}
        _checks.shape("x", input_shape, self.dims, **sizes)

    def _packed(self) -> Any:
        """Return the native object, with the weights of now."""
        if self._packed_version != self._version:
            with self._lock:
                version = self._version
                if self._packed_version != version:
                    self._pack()
                    self._packed_version = version
        return self._native

    def _pack(self) -> None:
        self._native.pack(**self._weights)

    def _checked_input(self, x: object) -> Array:
        return self._checked_array("x", x, self.dims)

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


def checked_activation(name: str, value: object, *more: str) -> Any:
    """Return the name of an activation; `more` are what else is one here."""
    if value is None or value == "silu":
        return "linear" if value is None else "swish"
    return _checks.choice(name, value, (*get_args(ActivationName), *more))


def checked_initializer(name: str, value: Any) -> FirstWeights | None:
    """Return an argument that chooses first weights; None: what `initializer` says."""
    if value is not None:
        initializers.get(value, name)
    return value  # type: ignore[no-any-return]


def checked_regularizer(name: str, value: Any) -> Penalty:
    """Return an argument that chooses a penalty."""
    regularizers.get(value, name)
    return value  # type: ignore[no-any-return]


_SETS: dict[Initializer, dict[str, FirstWeights]] = {
    "keras": {
        "kernel": "glorot_uniform",
        "recurrent": "orthogonal",
        "bias": "zeros",
        "embeddings": "uniform",
    },
    "torch": {
        "kernel": "torch_uniform",
        "recurrent": "torch_uniform",
        "bias": "torch_uniform",
        "embeddings": initializers.RandomNormal(0, 1),
    },
}
"""First weights by role, as each of the libraries makes them."""
