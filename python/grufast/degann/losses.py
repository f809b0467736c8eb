"""Losses, metrics and optimizers by DEGANN's names, and the losses only it has."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grufast import _checks
from grufast._checks import Array
from grufast.losses import LOSSES, Loss
from grufast.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "MaxAbsoluteDeviation",
    "MaxAbsolutePercentageError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "RelativeAbsoluteError",
    "get_all_loss_functions",
    "get_all_metric_functions",
    "get_all_optimizers",
]


class _WholeLoss(Loss):
    """A loss of all elements at once; rows have no weights of their own."""

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        """Return the loss; the arrays have the same shape."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[0]

    def gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[1]

    def value_and_gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[float, Array]:
        """Return both."""
        if y_true.shape != y_pred.shape:
            message = f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}"
            raise ValueError(message)
        if sample_weight is not None:
            message = f"sample_weight: {type(self).__name__} takes none"
            raise ValueError(message)
        with np.errstate(divide="ignore", invalid="ignore"):
            value, gradient = self._formula(y_true, y_pred)
        return float(value), np.asarray(gradient, y_pred.dtype)

    @abstractmethod
    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]: ...


def _largest(errors: Array, slopes: Array) -> tuple[Any, Array]:
    """Return the largest error, and its slope where it is, shared among equals."""
    value = errors.max()
    where = errors == value
    return value, np.where(where, slopes, 0) / max(1, np.count_nonzero(where))


class MaxAbsoluteDeviation(_WholeLoss):
    """The largest abs(y_true - y_pred) of a batch.

    Examples
    --------
    >>> MaxAbsoluteDeviation()(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    3.0
    """

    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]:
        error = y_pred - y_true
        return _largest(np.abs(error), np.sign(error))


class MaxAbsolutePercentageError(_WholeLoss):
    """The largest 100 abs((y_true - y_pred) / y_true); infinite where y_true is 0.

    Examples
    --------
    >>> MaxAbsolutePercentageError()(np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]]))
    50.0
    """

    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]:
        error = y_pred - y_true
        scale = 100 / np.abs(y_true)
        return _largest(np.abs(error) * scale, np.sign(error) * scale)


class MeanAbsolutePercentageError(_WholeLoss):
    """The mean of 100 abs(y_true - y_pred) / max(abs(y_true), 1e-7).

    Examples
    --------
    >>> MeanAbsolutePercentageError()(np.array([[1.0], [2.0]]), np.ones((2, 1)))
    25.0
    """

    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]:
        error = y_pred - y_true
        scale = 100 / np.maximum(np.abs(y_true), 1e-7)
        return (np.abs(error) * scale).mean(), np.sign(error) * scale / error.size


class MeanSquaredLogarithmicError(_WholeLoss):
    """The mean of (ln(1 + y_true) - ln(1 + y_pred))², of values that are at least 1e-7.

    Examples
    --------
    >>> loss = MeanSquaredLogarithmicError()
    >>> round(loss(np.zeros((2, 1)), np.full((2, 1), np.e - 1)), 6)
    1.0
    """

    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]:
        shown = np.maximum(y_pred, 1e-7)
        error = np.log1p(shown) - np.log1p(np.maximum(y_true, 1e-7))
        slope = np.where(y_pred > 1e-7, 2 * error / (1 + shown), 0)
        return np.square(error).mean(), slope / error.size


class RelativeAbsoluteError(_WholeLoss):
    """The sum of abs(y_true - y_pred), over that of abs(y_true - mean(y_true)).

    Examples
    --------
    >>> RelativeAbsoluteError()(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]))
    0.5
    """

    def _formula(self, y_true: Array, y_pred: Array) -> tuple[Any, Array]:
        error = y_pred - y_true
        scale = np.abs(y_true - y_true.mean()).sum() or 1
        return np.abs(error).sum() / scale, np.sign(error) / scale


_OWN_LOSSES: tuple[type[Loss], ...] = (
    MaxAbsoluteDeviation,
    MaxAbsolutePercentageError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    RelativeAbsoluteError,
)


def get_all_loss_functions() -> dict[str, type[Loss]]:
    """Return the losses that `IModel.compile` knows, by name."""
    return {loss.__name__: loss for loss in _OWN_LOSSES} | LOSSES


def get_all_metric_functions() -> dict[str, type[Loss]]:
    """Return the metrics that `IModel.compile` knows, by name: all losses are."""
    return get_all_loss_functions()


def get_all_optimizers() -> dict[str, type[Optimizer]]:
    """Return the optimizers that `IModel.compile` knows, by name."""
    named: dict[str, Any] = dict(OPTIMIZERS)
    return {k: v for k, v in named.items() if issubclass(v, Optimizer)}


def metric(name: str) -> Callable[[Array, Array], float]:
    """Return a function of that name, which history keeps it under."""
    loss: Loss = known("metrics", name, get_all_metric_functions())()

    def measure(y_true: Array, y_pred: Array) -> float:
        return loss(y_true, y_pred)

    measure.__name__ = name
    return measure


def known(argument: str, name: object, classes: Mapping[str, Any]) -> Any:
    """Return one of `classes` by its name."""
    return classes[_checks.choice(argument, name, tuple(classes))]
