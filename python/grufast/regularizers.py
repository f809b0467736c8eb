"""Penalties on weights: terms of the loss that keep weights small."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from grufast import _checks
from grufast._checks import Array
from grufast._config import Configured

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]


class Regularizer(Configured, ABC):
    """A penalty on a weight, and its gradient; subclass it for one of your own.

    Examples
    --------
    >>> import grufast as gf
    >>> class FarFromOne(gf.regularizers.Regularizer):
    ...     def __call__(self, weight):
    ...         return float(((weight - 1) ** 2).sum())
    ...
    ...     def gradient(self, weight):
    ...         return 2 * (weight - 1)
    >>> layer = gf.layers.Dense(
    ...     1,
    ...     kernel_initializer=gf.initializers.Constant(3),
    ...     kernel_regularizer=FarFromOne(),
    ... )
    >>> layer.build(2)
    >>> layer.penalty()
    8.0
    """

    @abstractmethod
    def __call__(self, weight: Array) -> float:
        """Return the penalty."""

    @abstractmethod
    def gradient(self, weight: Array) -> Array:
        """Return the gradient for the weight, in its shape and dtype."""


class L1L2(Regularizer):
    """``l1`` times the sum of abs(w), plus ``l2`` times the sum of w².

    As in Keras; the ``weight_decay`` of PyTorch's SGD is twice ``l2``. The gradient of
    abs(w) at 0 is taken as 0.

    Parameters
    ----------
    l1, l2 : float
        At least 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.regularizers.L1L2(l1=0.5, l2=0.25)(np.array([2.0, -4.0]))
    8.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _checks.real("l1", l1)
        self.l2 = _checks.real("l2", l2)

    def __call__(self, weight: Array) -> float:
        """Return the penalty."""
        wide = weight.astype(np.float64)
        return float(self.l1 * np.abs(wide).sum() + self.l2 * np.square(wide).sum())

    def gradient(self, weight: Array) -> Array:
        """Return the gradient for the weight, in its shape and dtype."""
        number = weight.dtype.type
        gradient: Array = np.sign(weight) * number(self.l1)
        gradient += weight * number(2 * self.l2)
        return gradient


class L1(L1L2):
    """``l1`` times the sum of abs(w), whose gradient at 0 is taken as 0.

    Parameters
    ----------
    l1 : float
        At least 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.regularizers.L1(0.5)(np.array([2.0, -4.0]))
    3.0
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """``l2`` times the sum of w².

    Parameters
    ----------
    l2 : float
        At least 0. The ``weight_decay`` of PyTorch's SGD is twice that.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Dense(1, kernel_regularizer=gf.regularizers.L2(0.25))
    >>> layer.build(2)
    >>> layer.penalties()
    {'weight': L2(l2=0.25)}
    >>> layer.penalties()["weight"](np.array([[2.0, -4.0]]))
    5.0
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


l1, l2, l1_l2 = L1, L2, L1L2
"""The same, as Keras also writes them."""

REGULARIZERS: dict[str, type[Regularizer]] = {
    regularizer.__name__: regularizer for regularizer in (L1, L1L2, L2)
}
"""The regularizers that files can name."""


def get(
    regularizer: str | Regularizer | None, argument: str = "regularizer"
) -> Regularizer | None:
    """Return a regularizer by its name; an object or None as it is.

    Parameters
    ----------
    regularizer : Regularizer, {"l1", "l2"} or None
        A name stands for a factor of 0.01, as in Keras.
    argument : str
        What messages of errors call it.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.regularizers.get("l2")
    L2()
    """
    if regularizer is None or isinstance(regularizer, Regularizer):
        return regularizer
    name: str = _checks.choice(argument, regularizer, ("l1", "l2"))
    return L1() if name == "l1" else L2()
