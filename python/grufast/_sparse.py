"""Gradients of matrices of which few rows were used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grufast import _checks
from grufast._checks import Array

__all__ = ["SparseRows"]


class SparseRows:
    """Some rows of a matrix (V, D) whose other rows are zero.

    Parameters
    ----------
    indices : ndarray (n,) of int64
        Numbers of the rows, ascending, each once.
    values : ndarray (n, D)
        The rows, of float32 or float64.
    shape : tuple (V, D)
        Of the matrix.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not agree, or the numbers do not ascend from 0 to V - 1.

    Examples
    --------
    >>> import numpy as np
    >>> rows = SparseRows(np.array([1, 3]), np.array([[1.0], [2.0]]), (4, 1))
    >>> rows.to_dense().T
    array([[0., 1., 0., 2.]])
    """

    __slots__ = ("indices", "shape", "values")

    def __init__(
        self, indices: NDArray[np.int64], values: Array, shape: tuple[int, int]
    ) -> None:
        sizes: object = shape
        if not (isinstance(sizes, tuple) and len(sizes) == 2):
            message = f"shape: got {shape!r}, expected the tuple (V, D)"
            raise TypeError(message)
        height = _checks.integer("shape[0]", shape[0], 0)
        width = _checks.integer("shape[1]", shape[1], 0)
        if getattr(indices, "dtype", None) != np.int64:
            kind = getattr(indices, "dtype", type(indices).__name__)
            message = f"indices: got {kind}, expected an array of int64"
            raise TypeError(message)
        _checks.shape("indices", np.shape(indices), "n")
        count = len(indices)
        if count and not (
            indices[0] >= 0
            and indices[-1] < height
            and (indices[1:] > indices[:-1]).all()
        ):
            message = (
                f"indices: expected ascending numbers from 0 to {height - 1}, each once"
            )
            raise ValueError(message)
        self.indices = np.ascontiguousarray(indices)
        self.values = _checks.like("values", values, None, (count, width))
        self.shape = height, width

    def __repr__(self) -> str:
        """Say how many rows there are."""
        dtype = self.values.dtype
        return f"<SparseRows: {len(self.indices)} rows of {self.shape}, {dtype}>"

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the values."""
        return self.values.dtype

    def to_dense(self) -> Array:
        """Return the whole matrix (V, D)."""
        dense = np.zeros(self.shape, self.dtype)
        dense[self.indices] = self.values
        return dense
