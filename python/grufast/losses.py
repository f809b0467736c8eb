"""Losses: how far predictions are from the truth, and the gradient of that."""

from abc import ABC, abstractmethod

import numpy as np

from grufast import _checks
from grufast._checks import Array
from grufast._config import Configured

__all__ = ["Loss", "MeanAbsoluteError", "MeanSquaredError", "get", "mae", "mse"]


class Loss(Configured, ABC):
    """A mean over rows, and its gradient; subclass it for a loss of your own."""

    @abstractmethod
    def __call__(self, y_true: Array, y_pred: Array) -> float:
        """Return the loss."""

    @abstractmethod
    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""

    def value_and_gradient(self, y_true: Array, y_pred: Array) -> tuple[float, Array]:
        """Return both; training calls this, so that they can share work."""
        return self(y_true, y_pred), self.gradient(y_true, y_pred)


class _ErrorLoss(Loss):
    """A loss of the error y_pred - y_true alone."""

    def __call__(self, y_true: Array, y_pred: Array) -> float:
        """Return the loss; the arrays have the same shape."""
        return self._value(_error(y_true, y_pred))

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""
        return self._gradient(_error(y_true, y_pred))

    def value_and_gradient(self, y_true: Array, y_pred: Array) -> tuple[float, Array]:
        """Return both, with the error computed once."""
        error = _error(y_true, y_pred)
        return self._value(error), self._gradient(error)

    @abstractmethod
    def _value(self, error: Array) -> float: ...

    @abstractmethod
    def _gradient(self, error: Array) -> Array: ...


class MeanSquaredError(_ErrorLoss):
    """The mean of (y_pred - y_true)² over all elements.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.mse(np.zeros((2, 1)), np.array([[1.0], [3.0]]))
    5.0
    """

    def _value(self, error: Array) -> float:
        return float(np.mean(error * error, dtype=np.float64))

    def _gradient(self, error: Array) -> Array:
        gradient: Array = error * error.dtype.type(2 / error.size)
        return gradient


class MeanAbsoluteError(_ErrorLoss):
    """The mean of abs(y_pred - y_true) over all elements.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.mae(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    2.0
    """

    def _value(self, error: Array) -> float:
        return float(np.mean(np.abs(error), dtype=np.float64))

    def _gradient(self, error: Array) -> Array:
        gradient: Array = np.sign(error) * error.dtype.type(1 / error.size)
        return gradient


mse = MeanSquaredError()
mae = MeanAbsoluteError()

LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss for loss in (MeanSquaredError, MeanAbsoluteError)
}
"""The losses that files can name."""


def get(loss: str | Loss) -> Loss:
    """Return a loss by its name, "mse" or "mae"; a loss as it is."""
    if isinstance(loss, Loss):
        return loss
    name: str = _checks.choice("loss", loss, ("mse", "mae"))
    return {"mse": mse, "mae": mae}[name]


def _error(y_true: Array, y_pred: Array) -> Array:
    # (N,) minus (N, 1) would be (N, N), silently.
    if y_true.shape != y_pred.shape:
        message = f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}"
        raise ValueError(message)
    return np.subtract(y_pred, y_true, order="C")
