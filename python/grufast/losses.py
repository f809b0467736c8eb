"""Losses: how far predictions are from the truth, and the gradient of that.

The loss of a sample is a mean over the last dimension of `y_pred`. That of a batch is
the sum over its samples, each times its weight, divided by their number. In outputs
(N, T, K) every step of every sequence is a sample.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array
from grufast._config import Configured

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "LogCosh",
    "Loss",
    "MaxAbsoluteDeviation",
    "MaxAbsolutePercentageError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "RelativeAbsoluteError",
    "RelativeError",
    "RootMeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "class_weights",
    "get",
    "huber",
    "log_cosh",
    "mae",
    "mape",
    "masked_weights",
    "max_absolute_deviation",
    "max_absolute_percentage_error",
    "mse",
    "msle",
    "relative_absolute_error",
    "relative_error",
    "rmse",
    "sparse_categorical_crossentropy",
]

_EPSILON = 1e-7
"""What Keras keeps denominators and probabilities away from 0 by."""

_DTYPES = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


class Loss(Configured, ABC):
    """A weighted mean over samples, and its gradient; subclass it for one of your own.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> class FourthPower(gf.losses.Loss):
    ...     def __call__(self, y_true, y_pred, sample_weight=None):
    ...         return float(np.mean((y_pred - y_true) ** 4))
    ...
    ...     def gradient(self, y_true, y_pred, sample_weight=None):
    ...         return 4 * (y_pred - y_true) ** 3 / y_pred.size
    >>> FourthPower().value_and_gradient(np.zeros((1, 1)), np.full((1, 1), 2.0))
    (16.0, array([[32.]]))
    """

    @abstractmethod
    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        """Return the loss.

        Parameters
        ----------
        y_true : ndarray
            The truth, as `target` returns it.
        y_pred : ndarray (N, ..., K)
            Predictions, float32 or float64.
        sample_weight : ndarray (N,) or (N, T), optional
            What samples count for: one number for every row or, in outputs (N, T, K),
            for every step. The sum is divided by the number of samples all the same.
        """

    @abstractmethod
    def gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""

    def value_and_gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[float, Array]:
        """Return both; training calls this, so that they can share work."""
        return (
            self(y_true, y_pred, sample_weight),
            self.gradient(y_true, y_pred, sample_weight),
        )

    def target(
        self, y_true: object, y_pred_shape: tuple[int, ...], dtype: _checks.DType
    ) -> Array:
        """Return the truth as this loss takes it, if it fits predictions of a shape.

        Most losses take an array of the predictions' shape and dtype. Where predictions
        are (..., 1), the last dimension may be missing.

        Raises
        ------
        TypeError, ValueError
            If shape, dtype or values do not fit.
        """
        return _fitted(_checks.array("y", y_true, dtype, "..."), y_pred_shape)


def _fitted(y: Array, shape: tuple[int, ...]) -> Array:
    if y.shape != shape and (*y.shape, 1) == shape:
        return y[..., None]
    if y.shape != shape:
        message = f"y: got shape {y.shape}, expected the output's, {shape}"
        raise ValueError(message)
    return y


class _TermLoss(Loss):
    """A mean of terms, one for every element of the predictions."""

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        """Return the loss; the arrays have the same shape and dtype."""
        return self._value(*self._checked(y_true, y_pred, sample_weight))

    def gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""
        return self._gradient(*self._checked(y_true, y_pred, sample_weight))

    def value_and_gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[float, Array]:
        """Return both, with what they have in common computed once."""
        parts, weights = self._checked(y_true, y_pred, sample_weight)
        return self._value(parts, weights), self._gradient(parts, weights)

    def _checked(
        self, y_true: object, y_pred: object, sample_weight: object
    ) -> tuple[Any, Array | None]:
        truth, predictions = alike(y_true, y_pred)
        weights = element_weights(sample_weight, predictions.shape)
        return self._parts(truth, predictions), weights

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        """Return what value and gradient have in common: the error, for most."""
        return np.subtract(y_pred, y_true, order="C")

    def _value(self, parts: Any, weights: Array | None) -> float:
        return _mean(self._terms(parts), weights)

    def _gradient(self, parts: Any, weights: Array | None) -> Array:
        return _shared(self._slopes(parts), weights)

    @abstractmethod
    def _terms(self, parts: Any) -> Any: ...

    @abstractmethod
    def _slopes(self, parts: Any) -> Any:
        """Return the derivatives of the terms by the predictions."""


def _mean(terms: Array, weights: Array | None) -> float:
    if weights is not None:
        terms = weights * terms
    return float(terms.sum(dtype=np.float64)) / terms.size


def _shared(slopes: Array, weights: Array | None) -> Array:
    """Return the gradient of `_mean` from the slopes of its terms."""
    share: Any = slopes.dtype.type(1 / slopes.size)
    if weights is not None:
        share = (weights / slopes.size).astype(slopes.dtype)
    gradient: Array = np.multiply(slopes, share, order="C")
    return gradient


class MeanSquaredError(_TermLoss):
    """The mean of (y_pred - y_true)².

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.mse(np.zeros((2, 1)), np.array([[1.0], [3.0]]))
    5.0
    >>> weights = np.array([2.0, 0.0])
    >>> gf.losses.mse(np.zeros((2, 1)), np.array([[1.0], [3.0]]), weights)
    1.0
    """

    def _terms(self, parts: Any) -> Any:
        return parts * parts

    def _slopes(self, parts: Any) -> Any:
        return 2 * parts


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of (y_pred - y_true)² over all samples of a batch.

    Its gradient where all errors are 0 is taken as 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.rmse(np.zeros((2, 1)), np.array([[1.0], [7.0]]))
    5.0
    """

    def _value(self, parts: Any, weights: Array | None) -> float:
        mean = super()._value(parts, weights)
        return math.sqrt(mean) if mean >= 0 else math.nan

    def _gradient(self, parts: Any, weights: Array | None) -> Array:
        gradient = super()._gradient(parts, weights)
        root = self._value(parts, weights)
        return gradient * gradient.dtype.type(0.5 / root) if root else gradient


class MeanAbsoluteError(_TermLoss):
    """The mean of abs(y_pred - y_true).

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.mae(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    2.0
    """

    def _terms(self, parts: Any) -> Any:
        return np.abs(parts)

    def _slopes(self, parts: Any) -> Any:
        return np.sign(parts)


class Huber(_TermLoss):
    """The mean of e²/2 for errors e of at most `delta`, and linear beyond.

    There it is delta (abs(e) - delta/2), so that outliers move it less than they do the
    square (Huber 1964, Robust estimation of a location parameter).

    Parameters
    ----------
    delta : float
        Where the square ends, above 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.Huber(delta=2.0)(np.zeros((2, 1)), np.array([[1.0], [5.0]]))
    4.25
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = _checks.real("delta", delta)
        if not self.delta:
            message = f"delta: got {delta!r}, expected a number above 0"
            raise ValueError(message)

    def _terms(self, parts: Any) -> Any:
        size, delta = np.abs(parts), self.delta
        inside = 0.5 * parts * parts
        return np.where(size <= delta, inside, delta * size - 0.5 * delta**2)

    def _slopes(self, parts: Any) -> Any:
        return np.clip(parts, -self.delta, self.delta)


class LogCosh(_TermLoss):
    """The mean of log(cosh(y_pred - y_true)): e²/2 near 0, abs(e) - log 2 far away.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> round(gf.losses.log_cosh(np.zeros((1, 1)), np.array([[1.0]])), 6)
    0.433781
    """

    def _terms(self, parts: Any) -> Any:
        # In float64, because small results are differences of larger numbers.
        size = np.abs(parts).astype(np.float64)
        return size + np.log1p(np.exp(-2 * size)) - math.log(2)

    def _slopes(self, parts: Any) -> Any:
        return np.tanh(parts)


class _Percentage(_TermLoss):
    """Terms 100 abs((y_pred - y_true) / y_true), truths being at least 1e-7."""

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        scale = np.maximum(np.abs(y_true), y_true.dtype.type(_EPSILON))
        return np.subtract(y_pred, y_true, order="C"), scale

    def _terms(self, parts: Any) -> Any:
        error, scale = parts
        return np.abs(error) * (100 / scale)

    def _slopes(self, parts: Any) -> Any:
        error, scale = parts
        return np.sign(error) * (100 / scale)


class MeanAbsolutePercentageError(_Percentage):
    """The mean of 100 abs((y_pred - y_true) / y_true), in percent.

    A truth nearer to 0 than 1e-7 counts as 1e-7, as in Keras.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.mape(np.array([[4.0], [2.0]]), np.array([[3.0], [3.0]]))
    37.5
    """


class RelativeError(_TermLoss):
    """The mean of abs(y_pred / y_true - 1).

    A truth nearer to 0 than 1e-6 counts as 1: `RelativeError` of DEGANN.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.relative_error(np.array([[4.0], [2.0]]), np.array([[3.0], [3.0]]))
    0.375
    """

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        scale = np.where(np.abs(y_true) <= 1e-6, y_true.dtype.type(1), y_true)
        return y_pred / scale - 1, scale

    def _terms(self, parts: Any) -> Any:
        return np.abs(parts[0])

    def _slopes(self, parts: Any) -> Any:
        error, scale = parts
        return np.sign(error) / scale


class MeanSquaredLogarithmicError(_TermLoss):
    """The mean of (log(1 + y_pred) - log(1 + y_true))².

    What is below 1e-7 counts as 1e-7, as in Keras; the gradient there is 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> round(gf.losses.msle(np.array([[1.0]]), np.array([[3.0]])), 6)
    0.480453
    """

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        least = y_pred.dtype.type(_EPSILON)
        high = np.maximum(y_pred, least)
        error = np.log1p(high) - np.log1p(np.maximum(y_true, least))
        return error, np.where(y_pred > least, 1 / (1 + high), 0)

    def _terms(self, parts: Any) -> Any:
        return parts[0] * parts[0]

    def _slopes(self, parts: Any) -> Any:
        error, slope = parts
        return 2 * error * slope


class RelativeAbsoluteError(_TermLoss):
    """The sum of abs(y_pred - y_true), divided by that of abs(y_true - its mean).

    Mean and sums are over all samples of a batch, with their weights; a truth that is
    constant divides by 1: `RelativeAbsoluteError` of DEGANN.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_true, y_pred = np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]])
    >>> gf.losses.relative_absolute_error(y_true, y_pred)
    0.5
    """

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        return np.subtract(y_pred, y_true, order="C"), y_true

    def _terms(self, parts: Any) -> Any:
        return np.abs(parts[0])

    def _slopes(self, parts: Any) -> Any:
        return np.sign(parts[0])

    def _value(self, parts: Any, weights: Array | None) -> float:
        return super()._value(parts, weights) / self._spread(parts[1], weights)

    def _gradient(self, parts: Any, weights: Array | None) -> Array:
        gradient = super()._gradient(parts, weights)
        gradient *= gradient.dtype.type(1 / self._spread(parts[1], weights))
        return gradient

    def _spread(self, y_true: Array, weights: Array | None) -> float:
        # From the first value on: a constant truth gives 0 exactly.
        wide = y_true.astype(np.float64) - float(y_true.flat[0])
        total = 1.0 if weights is None else _mean(np.ones_like(wide), weights)
        mean = _mean(wide, weights) / total if total else 0.0
        return _mean(np.abs(wide - mean), weights) or 1 / wide.size


class MaxAbsoluteDeviation(_TermLoss):
    """The largest abs(y_pred - y_true) of a batch.

    Elements that are equally far away share the gradient. Samples of weight 0 do not
    count; other weights make no difference.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.max_absolute_deviation(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    3.0
    """

    def _terms(self, parts: Any) -> Any:
        return np.abs(parts)

    def _slopes(self, parts: Any) -> Any:
        return np.sign(parts)

    def _value(self, parts: Any, weights: Array | None) -> float:
        terms: Array = self._terms(parts)
        if weights is not None:
            terms = np.where(weights == 0, 0, terms)
        return float(np.max(terms))

    def _gradient(self, parts: Any, weights: Array | None) -> Array:
        slopes: Array = self._slopes(parts)
        # Not >=: a NaN must not vanish.
        top = ~(self._terms(parts) < self._value(parts, weights))
        if weights is not None:
            top &= weights != 0
        gradient: Array = np.where(top, slopes, 0) / max(np.count_nonzero(top), 1)
        return gradient.astype(slopes.dtype, order="C")


class MaxAbsolutePercentageError(_Percentage, MaxAbsoluteDeviation):
    """The largest 100 abs((y_pred - y_true) / y_true) of a batch, in percent.

    That of DEGANN 1.1.5, whose docstring leaves the 100 out. A truth nearer to 0 than
    1e-7 counts as 1e-7.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_true, y_pred = np.array([[4.0], [2.0]]), np.array([[3.0], [3.0]])
    >>> gf.losses.max_absolute_percentage_error(y_true, y_pred)
    50.0
    """


class BinaryCrossentropy(_TermLoss):
    """The mean of -t log p - (1 - t) log(1 - p), t being the truth.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z, p = sigmoid(z); otherwise they are p itself.
        Logits are exact for any size. A p nearer than 1e-7 to 0 or 1 counts as that
        near, as in Keras; its gradient is the one at this limit, so that a wrong
        prediction can still be corrected.
    label_smoothing : float
        s in [0, 1): the truth t counts as t (1 - s) + s / 2.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> loss = gf.losses.BinaryCrossentropy(from_logits=True)
    >>> round(loss(np.array([[1.0], [0.0]]), np.array([[0.0], [2.0]])), 6)
    1.410038
    """

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        self.label_smoothing = _checks.real("label_smoothing", label_smoothing, 0, 1)

    def target(
        self, y_true: object, y_pred_shape: tuple[int, ...], dtype: _checks.DType
    ) -> Array:
        """Return the truth in the predictions' dtype and shape.

        It has numbers from 0 to 1, or integers or bools; the last dimension may be
        missing where it is 1.
        """
        return _fitted(_probabilities(y_true, dtype), y_pred_shape)

    def _parts(self, y_true: Array, y_pred: Array) -> Any:
        smoothing = self.label_smoothing
        if smoothing:
            y_true = y_true * (1 - smoothing) + 0.5 * smoothing
        if self.from_logits:
            return y_true, y_pred, np.exp(-np.abs(y_pred))
        p = _clipped(y_pred)
        return y_true, p, 1 - p

    def _terms(self, parts: Any) -> Any:
        if self.from_logits:
            t, z, power = parts
            return np.maximum(z, 0) - z * t + np.log1p(power)
        t, p, rest = parts
        return -(t * np.log(p) + (1 - t) * np.log(rest))

    def _slopes(self, parts: Any) -> Any:
        if self.from_logits:
            t, z, power = parts
            less = power / (1 + power)  # the smaller of p and 1 - p
            return np.where(z < 0, less - t, 1 - t - less)
        t, p, rest = parts
        return (p - t) / (p * rest)


class CategoricalCrossentropy(Loss):
    """The mean of -sum(t log p) over the classes, t being the truth.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z, p = softmax(z); otherwise they are p, which is
        divided by its sum first. Logits are exact for any size, and fastest. A p nearer
        than 1e-7 to 0 or 1 counts as that near, as in Keras; its gradient is the one at
        this limit.
    label_smoothing : float
        s in [0, 1): a truth t of K classes counts as t (1 - s) + s / K.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> loss = gf.losses.CategoricalCrossentropy(from_logits=True)
    >>> y_true = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> y_pred = np.array([[0.0, 1000.0, 0.0], [0.0, 0.0, -1000.0]])
    >>> round(loss(y_true, y_pred), 6)
    500.346574
    """

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        self.label_smoothing = _checks.real("label_smoothing", label_smoothing, 0, 1)

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        """Return the loss; the truth is as `target` returns it."""
        return self._evaluated(y_true, y_pred, sample_weight, False)[0]

    def gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> Array:
        """Return the gradient for y_pred, in its shape and dtype."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[1]

    def value_and_gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[float, Array]:
        """Return both, in one pass over the logits."""
        value, gradient = self._evaluated(y_true, y_pred, sample_weight, True)
        assert gradient is not None
        return value, gradient

    def target(
        self, y_true: object, y_pred_shape: tuple[int, ...], dtype: _checks.DType
    ) -> Array:
        """Return the truth in the predictions' dtype and shape.

        It has numbers from 0 to 1, or integers or bools, such as 1 for the class and 0
        for the others.
        """
        y = _probabilities(y_true, dtype)
        if y.shape != y_pred_shape:
            message = (
                f"y: got shape {y.shape}, expected the output's, {y_pred_shape}; "
                "SparseCategoricalCrossentropy takes class indices"
            )
            raise ValueError(message)
        return y

    def _rows(self, y_true: object, y_pred: Array) -> Array:
        """Return the truth, a row for each of the predictions."""
        return _truth(y_true, y_pred).reshape(-1, y_pred.shape[-1])

    def _evaluated(
        self, y_true: object, y_pred: object, sample_weight: object, need_gradient: bool
    ) -> tuple[float, Array | None]:
        predictions = _predictions(y_pred)
        shape = predictions.shape
        if len(shape) < 2:
            message = f"y_pred: got shape {shape}, expected (N, ..., K)"
            raise ValueError(message)
        weights = element_weights(sample_weight, shape)
        if weights is not None:
            weights = np.broadcast_to(weights, (*shape[:-1], 1)).reshape(-1)
        evaluate: Any = _core.softmax_cross_entropy
        losses, gradient = (evaluate if self.from_logits else _cross_entropy)(
            _whole(self._rows(y_true, predictions)),
            predictions.reshape(-1, shape[-1]),
            None if weights is None else weights.astype(predictions.dtype),
            self.label_smoothing,
            need_gradient,
        )
        value = _mean(losses, weights)
        return value, None if gradient is None else gradient.reshape(shape)


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """`CategoricalCrossentropy` with indices of classes as truth: -log p[class].

    Parameters
    ----------
    from_logits : bool
        As in `CategoricalCrossentropy`.
    label_smoothing : float
        As in `CategoricalCrossentropy`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> loss = gf.losses.SparseCategoricalCrossentropy()
    >>> y_pred = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    >>> round(loss(np.array([1, 2]), y_pred), 6)
    1.176939
    """

    def target(
        self, y_true: object, y_pred_shape: tuple[int, ...], dtype: _checks.DType
    ) -> Array:
        """Return the truth as int64, of the predictions' shape without the last size.

        It has integers from 0 to K - 1; a last size of 1 is dropped.
        """
        classes = class_indices("y", y_true, y_pred_shape)
        check_range("y", classes, y_pred_shape[-1])
        return classes.astype(np.int64, copy=False)

    def _rows(self, y_true: object, y_pred: Array) -> Array:
        classes = class_indices("y_true", y_true, y_pred.shape)
        if not self.from_logits or classes.dtype != np.int64:
            check_range("y_true", classes, y_pred.shape[-1])
        return classes.astype(np.int64, copy=False).reshape(-1)


def _cross_entropy(
    y_true: Array,
    y_pred: Array,
    sample_weight: Array | None,
    label_smoothing: float,
    need_gradient: bool,
) -> tuple[Array, Array | None]:
    """Return what `_core.softmax_cross_entropy` does, from probabilities."""
    rows, classes = y_pred.shape
    if y_true.ndim == 1:
        target = np.zeros_like(y_pred, order="C")
        target[np.arange(rows), y_true] = 1
    else:
        target = y_true
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    total = y_pred.sum(axis=1, keepdims=True)
    p = y_pred / total
    inside = _clipped(p)
    losses = -np.sum(target * np.log(inside), axis=1)
    if not need_gradient:
        return losses, None
    slopes = -target / inside
    slopes -= np.sum(p * slopes, axis=1, keepdims=True)
    slopes /= total * rows
    if sample_weight is not None:
        slopes *= sample_weight[:, None]
    return losses, slopes


def _whole(a: Array) -> Array:
    return a if _in_rows(a) else np.array(a, order="C")


def _clipped(p: Array) -> Array:
    inside: Array = np.clip(p, p.dtype.type(_EPSILON), p.dtype.type(1 - _EPSILON))
    return inside


# Arguments


def _predictions(y_pred: object) -> Array:
    # The checks of `_checks` say what is wrong, but take longer.
    if type(y_pred) is np.ndarray and y_pred.dtype in _DTYPES and _in_rows(y_pred):
        return y_pred
    checked = _checks.array("y_pred", y_pred, None, "...")
    if not checked.size or not checked.ndim:
        message = f"y_pred: got shape {checked.shape}, expected at least one sample"
        raise ValueError(message)
    return checked


def _in_rows(a: Array) -> bool:
    return a.flags.c_contiguous and a.flags.aligned and a.ndim > 0 and a.size > 0


def _truth(y_true: object, y_pred: Array) -> Array:
    if (
        type(y_true) is np.ndarray
        and y_true.dtype == y_pred.dtype
        and y_true.shape == y_pred.shape
    ):
        return y_true
    truth = _checks.array("y_true", y_true, _checks.dtype(y_pred.dtype), "...")
    # (N,) minus (N, 1) would be (N, N), silently.
    if truth.shape != y_pred.shape:
        message = f"y_true has shape {truth.shape} and y_pred {y_pred.shape}"
        raise ValueError(message)
    return truth


def alike(y_true: object, y_pred: object) -> tuple[Array, Array]:
    """Return both as plain arrays, if they have one shape and dtype, and samples."""
    predictions = _predictions(y_pred)
    return _truth(y_true, predictions), predictions


def number_array(name: str, value: object, expected: str, kinds: str) -> Array:
    """Return value as a plain array, if its dtype is of these kinds."""
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        if value.dtype.kind in kinds:
            return np.asarray(value)
        got = f"an array of {value.dtype}"
    else:
        got = "None" if value is None else type(value).__name__
    message = f"{name}: got {got}, expected a NumPy array of {expected}"
    raise TypeError(message)


def _probabilities(y: object, dtype: _checks.DType) -> Array:
    if isinstance(y, np.ndarray) and y.dtype.kind in "biu":
        y = number_array("y", y, "", "biu")
    else:
        y = _checks.array("y", y, dtype, "...")
    if np.any((y < 0) | (y > 1)):
        worst = y[(y < 0) | (y > 1)][0]
        message = f"y: got the value {worst:g}, expected probabilities, from 0 to 1"
        raise ValueError(message)
    return y.astype(dtype, copy=False)


def class_indices(name: str, y: object, y_pred_shape: tuple[int, ...]) -> Array:
    """Return the classes of predictions, in their shape without the last size."""
    classes = number_array(name, y, "integers, the indices of classes", "biu")
    expected = y_pred_shape[:-1]
    if classes.shape == (*expected, 1):
        classes = classes[..., 0]
    if classes.shape != expected:
        message = (
            f"{name}: got shape {classes.shape}, expected {expected}: an index of a "
            "class for each of the outputs"
        )
        raise ValueError(message)
    return classes


def check_range(name: str, classes: Array, count: int) -> None:
    """Hold classes to 0 to count - 1."""
    if classes.size and not 0 <= classes.min() <= classes.max() < count:
        message = (
            f"{name}: got classes from {classes.min()} to {classes.max()}, expected "
            f"0 to {count - 1}"
        )
        raise ValueError(message)


def element_weights(sample_weight: object, shape: tuple[int, ...]) -> Array | None:
    """Return weights, float64, that broadcast to predictions of a shape."""
    if sample_weight is None:
        return None
    weights = number_array("sample_weight", sample_weight, "numbers", "biuf")
    samples = shape[:-1] or shape
    if not weights.ndim or weights.shape != samples[: weights.ndim]:
        options = " or ".join(str(samples[: i + 1]) for i in range(len(samples)))
        message = f"sample_weight: got shape {weights.shape}, expected {options}"
        raise ValueError(message)
    ones = (1,) * (len(shape) - weights.ndim)
    return weights.astype(np.float64, copy=False).reshape(weights.shape + ones)


# Weights


def masked_weights(
    mask: Array | None, sample_weight: Array | None = None, *, scaled: bool = True
) -> Array | None:
    """Return weights of samples that make a loss a mean over the valid steps.

    Parameters
    ----------
    mask : ndarray of bool (N, T), optional
        True where a step is valid, False where it is padding.
    sample_weight : ndarray (N,) or (N, T), optional
        What samples count for besides.
    scaled : bool
        Whether the weights of valid steps are multiplied by the number of all steps
        over that of the valid ones. Losses need it, because they divide by the number
        of all; metrics, which divide by the sum of the weights, do not.

    Returns
    -------
    weights : ndarray (N, T), float64
        0 for padding. Without a mask `sample_weight` as it is.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.masked_weights(np.array([[True, True], [True, False]]))
    array([[1.33333333, 1.33333333],
           [1.33333333, 0.        ]])
    """
    if mask is None:
        return sample_weight
    valid = number_array("mask", mask, "bools", "b")
    if valid.ndim != 2:
        message = f"mask: got shape {valid.shape}, expected (N, T)"
        raise ValueError(message)
    scale = valid.size / max(int(valid.sum()), 1) if scaled else 1.0
    weights: Array = valid * scale
    own = element_weights(sample_weight, (*valid.shape, 1))
    if own is not None:
        weights = weights * own[..., 0]
    return weights


def class_weights(
    y_true: Array, class_weight: Mapping[int, float], classes: int | None = None
) -> Array:
    """Return the weight of each sample's class.

    Parameters
    ----------
    y_true : ndarray
        As `Loss.target` returns it. Integers are the indices of classes. Other numbers
        are the classes' probabilities (..., K), of which the largest counts, or those
        of class 1 alone, (..., 1) or (N,), which are rounded.
    class_weight : dict of int to float
        Weights by class; a class that is not there has weight 1.
    classes : int, optional
        How many classes there are, if that is known.

    Returns
    -------
    weights : ndarray, float64
        Of the shape of the samples: (N,), or (N, T) where steps have classes.

    Raises
    ------
    TypeError, ValueError
        If a key of `class_weight` is no class, or a weight no number of at least 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.losses.class_weights(np.array([0, 1, 2]), {1: 5.0, 2: 0.5})
    array([1. , 5. , 0.5])
    """
    y = number_array("y_true", y_true, "numbers", "biuf")
    given: object = class_weight
    if not isinstance(given, Mapping):
        message = (
            f"class_weight: got {class_weight!r}, expected a dict of weights by class"
        )
        raise TypeError(message)
    if y.dtype.kind == "f" and y.ndim > 1 and y.shape[-1] > 1:
        y = y.argmax(axis=-1)
    elif y.dtype.kind == "f":
        y = np.round(y if y.ndim == 1 else y[..., 0])
    weights = np.ones(y.shape)
    for index, value in class_weight.items():
        name = f"class_weight[{index!r}]"
        weight = _checks.real(name, value)
        own = _checks.integer("class_weight: a class", index, 0)
        if classes is not None and own >= classes:
            message = f"class_weight: got the class {own}, expected 0 to {classes - 1}"
            raise ValueError(message)
        weights[y == own] = weight
    return weights


# Names

mse = MeanSquaredError()
rmse = RootMeanSquaredError()
mae = MeanAbsoluteError()
mape = MeanAbsolutePercentageError()
msle = MeanSquaredLogarithmicError()
huber = Huber()
log_cosh = LogCosh()
binary_crossentropy = BinaryCrossentropy()
categorical_crossentropy = CategoricalCrossentropy()
sparse_categorical_crossentropy = SparseCategoricalCrossentropy()
relative_error = RelativeError()
relative_absolute_error = RelativeAbsoluteError()
max_absolute_deviation = MaxAbsoluteDeviation()
max_absolute_percentage_error = MaxAbsolutePercentageError()

NAMES: dict[str, Loss] = {
    "mse": mse,
    "rmse": rmse,
    "mae": mae,
    "mape": mape,
    "msle": msle,
    "huber": huber,
    "log_cosh": log_cosh,
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
    "relative_error": relative_error,
    "relative_absolute_error": relative_absolute_error,
    "max_absolute_deviation": max_absolute_deviation,
    "max_absolute_percentage_error": max_absolute_percentage_error,
}
"""The losses by their short names."""

LOSSES: dict[str, type[Loss]] = {
    type(loss).__name__: type(loss) for loss in NAMES.values()
}
"""The losses that files can name."""


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes that of its function."""
    start_of_word = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(start_of_word, "_", name).lower()


def find(name: object) -> Loss | None:
    """Return a loss by one of its names, if it is one."""
    for short, loss in NAMES.items() if isinstance(name, str) else ():
        cls = type(loss).__name__
        if name in (short, cls, snake_case(cls)):
            return loss
    return None


def get(loss: str | Loss) -> Loss:
    """Return a loss by its name; a loss as it is.

    Parameters
    ----------
    loss : str or Loss
        Names are "mse", "rmse", "mae", "mape", "msle", "huber", "log_cosh",
        "binary_crossentropy" and so on, as the functions of this module, and Keras's:
        "mean_squared_error" or "MeanSquaredError".

    Raises
    ------
    ValueError
        If it is neither; the message lists the names.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.losses.get("sparse_categorical_crossentropy")
    SparseCategoricalCrossentropy()
    """
    if isinstance(loss, Loss):
        return loss
    given: object = loss
    found = find(given)
    if found is None:
        message = (
            f"loss: got {given!r}, expected a Loss, such as Huber(2.0), or one of "
            f"{list(NAMES)}"
        )
        if callable(given) and not isinstance(given, type):
            message += "; a function has no gradient: make it a subclass of Loss"
        raise ValueError(message)
    return found
