"""Layers around another layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from grufast import _checks
from grufast._checks import Array, Shape
from grufast.layers.base import Common, Layer
from grufast.regularizers import Regularizer


class TimeDistributed(Layer):
    """A layer for every step by itself: (N, T, ...) in, (N, T, ...) out.

    `Dense` and the layers that act on single elements do that without it.

    Parameters
    ----------
    layer : Layer
        What is applied to each step, as to a row of a batch; not built yet. It sees no
        mask.
    **common
        `name` and `input_shape`: see `Layer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        Those of the layer. Read-only.

    Examples
    --------
    Four sequences of six pictures of 3 x 5:

    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.TimeDistributed(gf.layers.Flatten())
    >>> layer(np.ones((4, 6, 3, 5), np.float32)).shape
    (4, 6, 15)
    """

    dims = "N T ..."
    supports_masking = True
    stepwise = True

    def __init__(self, layer: Layer, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        given: object = layer
        if not isinstance(given, Layer):
            message = f"layer: got {layer!r}, expected a Layer"
            raise TypeError(message)
        if more := getattr(layer, "more_outputs", None):
            message = f"layer: {more} cannot be passed on"
            raise ValueError(message)
        if layer.built and layer.weights:
            message = f"layer: {layer!r} is built already, expected a new one"
            raise ValueError(message)
        self.layer = type(layer)(**layer.config)  # the caller may use the other
        self.dtype = layer.dtype
        self.vocabulary = layer.vocabulary
        self.seed = layer.seed

    @property
    def built(self) -> bool:  # type: ignore[override]
        """Whether the weights are there."""
        return self.layer.built

    @property
    def _version(self) -> int:  # type: ignore[override]
        return self.layer._version

    @property
    def weights(self) -> dict[str, Array]:
        """Read-only views of the weights by name; `set_weights` changes them."""
        return self.layer.weights

    def size_of(self, input_shape: Shape) -> int | None:
        """Return the `input_size` for `build`; None if the shape leaves it open."""
        return self.layer.size_of((None, *input_shape[2:]))

    def build(self, input_size: int) -> None:
        """Make the weights of the layer, for rows whose last dimension is that."""
        self.layer.build(input_size)

    def build_seeded(self, input_size: int, seeds: np.random.SeedSequence) -> None:
        """Do what `build` does, with random numbers of a model's seed."""
        self.layer.build_seeded(input_size, seeds)

    def adopt(self, input_size: int, weights: Mapping[str, Array]) -> None:
        """Become built, with copies of weights that have the right shapes."""
        self.layer.adopt(input_size, weights)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        return self.layer.weight_shapes(input_size)

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy arrays of the names, shapes and dtype of `weights` into the layer."""
        self.layer.set_weights(weights)

    def writable_weights(self) -> dict[str, Array]:
        """Return the weights themselves, to be changed in place at once.

        For optimizers and the like: the caller must be done with them before the
        layer's next call, which reads them again.
        """
        return self.layer.writable_weights()

    def penalties(self) -> dict[str, Regularizer]:
        """Return the regularizers by the names of the weights that they are for."""
        return self.layer.penalties()

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, T, and what the layer makes of a row)."""
        _checks.shape("x", input_shape, self.dims)
        try:
            inner = self.layer.output_shape((None, *input_shape[2:]))
        except ValueError as error:
            message = f"x: got shape {input_shape}; of a step alone, {error}"
            raise ValueError(message) from None
        return (*input_shape[:2], *inner[1:])

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        y = self.layer._infer(_merged(x))
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        y, saved = self.layer._train(_merged(x), rng)
        return y.reshape(*x.shape[:2], *y.shape[1:]), (x.shape, saved)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        shape, inner = saved
        dx, grads = self.layer._gradients(_merged(dy), inner, need_dx)
        return (None if dx is None else dx.reshape(shape)), grads

    def _checked_input(self, x: object) -> Array:
        if self.vocabulary is None:
            x = _checks.array("x", x, self.dtype, self.dims)
        else:
            x = _checks.integers("x", x, self.dims, self.vocabulary)
        self.output_shape(x.shape)
        self.layer._checked_input(_merged(x))  # builds it
        return x


def _merged(x: Array) -> Array:
    """Return steps as rows: (N, T, ...) as (N * T, ...)."""
    return x.reshape(math.prod(x.shape[:2]), *x.shape[2:])
