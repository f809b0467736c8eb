"""What all layers have in common: explicit forward and backward, weights in a dict."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from grufast import _checks
from grufast._checks import Array, Shape
from grufast._config import Configured

Initializer = Literal["keras", "torch"]


class Versioned(Protocol):
    """What counts the changes of its weights."""

    @property
    def _version(self) -> int: ...


class Context:
    """What a layer's `forward` keeps for one call of its `backward`; opaque.

    It refers to the input of `forward` without a copy: change neither that array nor
    the layer's weights before `backward`.
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
        saved = context_of(self, context)
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
                    self._pack()
                    self._packed_version = version
        return self._native

    def _pack(self) -> None:
        self._native.pack(**self._weights)

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


def uniform(
    rng: np.random.Generator, limit: float, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Return first weights, uniform within +-limit."""
    return {name: rng.uniform(-limit, limit, dims) for name, dims in shapes.items()}


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return a first weight as Glorot and Bengio 2010 make it, uniformly."""
    limit = math.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)
