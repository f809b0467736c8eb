"""Layers that select, repeat or join what they are given."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Unpack

import numpy as np

from grufast import _checks
from grufast._checks import Array, Shape
from grufast.layers.base import Common, Layer


class _Reshaping(Layer):
    """The elements of each row in another shape, which `output_shape` says."""

    dims = "N ..."

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        shape: Any = self.output_shape(x.shape)
        return x.reshape(shape)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._infer(x), x.shape

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy.reshape(saved), {}


class Flatten(_Reshaping):
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
        _checks.shape("x", input_shape, self.dims)
        return input_shape[0], _product(input_shape[1:])


class Reshape(_Reshaping):
    """Gives each row of the batch another shape.

    Parameters
    ----------
    target_shape : sequence of int
        Sizes behind N; one of them may be -1: what the others leave.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.Reshape((-1, 2))(np.ones((4, 10), np.float32)).shape
    (4, 5, 2)
    """

    def __init__(self, target_shape: Iterable[int], **common: Unpack[Common]) -> None:
        super().__init__(**common)
        given: object = target_shape
        if not isinstance(given, Iterable):
            message = f"target_shape: got {target_shape!r}, expected sizes"
            raise TypeError(message)
        self.target_shape = tuple(
            _checks.integer("target_shape", size, -1) for size in target_shape
        )
        if self.target_shape.count(-1) > 1:
            message = f"target_shape: got {self.target_shape}, expected one -1 at most"
            raise ValueError(message)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return N and the target shape."""
        _checks.shape("x", input_shape, self.dims)
        size = _product(input_shape[1:])
        known = math.prod(s for s in self.target_shape if s != -1)
        left: int | None = None
        if size is not None:
            left = size // known if known else 0
            if known * (left if -1 in self.target_shape else 1) != size:
                message = (
                    f"x: got shape {input_shape}, of which no row "
                    f"can have the shape {self.target_shape}"
                )
                raise ValueError(message)
        return (input_shape[0], *(left if s == -1 else s for s in self.target_shape))


class RepeatVector(Layer):
    """Repeats each row as the steps of a sequence: (N, C) becomes (N, n, C).

    Parameters
    ----------
    n : int
        Number of steps.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.RepeatVector(3)(np.ones((4, 2), np.float32)).shape
    (4, 3, 2)
    """

    dims = "N C"

    def __init__(self, n: int, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.n = _checks.integer("n", n, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, n, C)."""
        _checks.shape("x", input_shape, self.dims)
        return input_shape[0], self.n, input_shape[1]

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return np.repeat(x[:, None], self.n, axis=1)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._infer(x), ()

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy.sum(axis=1), {}


class Masking(Layer):
    """Marks steps as padding, whose elements all have one value; they become 0.

    Layers above leave these steps out, and so does the loss, where the mask gets that
    far.

    Parameters
    ----------
    mask_value : float
        Of the elements of padded steps.
    **common
        `name` and `input_shape`: see `Layer`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Masking(-1.0)
    >>> x = np.array([[[5.0, 3.0], [-1.0, 3.0], [-1.0, -1.0]]])
    >>> layer.compute_mask(x)
    array([[ True,  True, False]])
    >>> layer(x)[0, 2]
    array([0., 0.])
    """

    dims = "N T C"
    stepwise = True

    def __init__(self, mask_value: float = 0.0, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.mask_value = _checks.finite("mask_value", mask_value)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        _checks.shape("x", input_shape, self.dims)
        return input_shape

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array:
        """Return which steps are not padding, here or by the mask of the input."""
        own: Array = (x != self.mask_value).any(axis=-1)
        return own if mask is None else own & mask

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._train(x, None, mask)[0]

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        valid = self.compute_mask(x, mask)[..., None]
        return np.where(valid, x, 0), valid

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return np.where(saved, dy, 0), {}


class _Pooling(Layer):
    """One row of numbers for the steps of a sequence, padding left out."""

    dims = "N T C"

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C)."""
        _checks.shape("x", input_shape, self.dims)
        return input_shape[0], input_shape[2]

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._train(x, None, mask)[0]


class GlobalAveragePooling1D(_Pooling):
    """The mean over the steps: (N, T, C) becomes (N, C).

    Padded steps do not count; a sequence without any other gives 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> gf.layers.GlobalAveragePooling1D()(x)
    array([[4.]])
    >>> gf.layers.GlobalAveragePooling1D()(x, mask=np.array([[True, True, False]]))
    array([[2.]])
    """

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        valid = np.ones(x.shape[:2], np.bool) if mask is None else mask
        count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
        share = (valid / count).astype(x.dtype)[..., None]
        return (np.where(valid[..., None], x, 0) * share).sum(axis=1), share

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy[:, None] * saved, {}


class GlobalMaxPooling1D(_Pooling):
    """The largest number of all steps: (N, T, C) becomes (N, C).

    Padded steps do not count; a sequence without any other gives 0. The gradient goes
    to the first of equal ones.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> x = np.array([[[1.0, 5.0], [3.0, 2.0]]])
    >>> gf.layers.GlobalMaxPooling1D()(x)
    array([[3., 5.]])
    """

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        rows, steps, size = x.shape
        valid = np.ones((rows, steps), np.bool) if mask is None else mask
        if not steps:
            return np.zeros((rows, size), x.dtype), (x.shape, None, None)
        candidates = np.where(valid[..., None], x, -np.inf)
        best = candidates.argmax(axis=1)[:, None]
        any_valid = valid.max(axis=1, keepdims=True)
        y = np.take_along_axis(candidates, best, axis=1)[:, 0]
        return np.where(any_valid, y, 0), (x.shape, best, any_valid)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        shape, best, any_valid = saved
        dx = np.zeros(shape, dy.dtype)
        if best is not None:
            np.put_along_axis(dx, best, (dy * any_valid)[:, None], axis=1)
        return dx, {}


def _product(sizes: Shape) -> int | None:
    """Return the product of sizes, if they are known."""
    product = 1
    for size in sizes:
        if size is None:
            return None
        product *= size
    return product
