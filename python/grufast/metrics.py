"""Metrics: what training reports beside the loss.

A metric keeps sums, not means of means: its result does not depend on how the data are
cut into batches, but for rounding. In outputs (N, T, K) every step of every sequence is
a sample.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import numpy as np

from grufast import _checks, losses
from grufast._checks import Array
from grufast._config import Configured, describe
from grufast.losses import Loss, element_weights, number_array, snake_case

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "F1Score",
    "FunctionMetric",
    "LastStepMeanSquaredError",
    "LossMetric",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy",
    "f1",
    "get",
    "last_step_mse",
    "mae",
    "mape",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
]

Average = Literal["binary", "macro", "micro", "weighted"]


class Metric(Configured, ABC):
    """A number about predictions that is gathered batch by batch.

    Parameters
    ----------
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> metric = gf.metrics.MeanAbsoluteError()
    >>> metric.update_state(np.zeros((2, 1)), np.array([[1.0], [2.0]]))
    >>> metric.update_state(np.zeros((1, 1)), np.array([[6.0]]))
    >>> metric.result()
    3.0
    >>> metric(np.zeros((1, 1)), np.ones((1, 1))), metric.result()
    (1.0, 3.0)
    """

    def __init__(self, name: str) -> None:
        self.name = _checks.text("name", name)
        self.reset_state()

    @abstractmethod
    def reset_state(self) -> None:
        """Forget all batches."""

    @abstractmethod
    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account.

        Parameters
        ----------
        y_true : ndarray
            The truth.
        y_pred : ndarray (N, ..., K)
            Predictions.
        sample_weight : ndarray (N,) or (N, T), optional
            What samples count for: one number for every row or, in outputs (N, T, K),
            for every step. Means are divided by the sum of the weights.
        """

    @abstractmethod
    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the first."""

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        """Return the metric of these arrays alone, and leave the state as it is."""
        fresh = type(self)(**self.config)
        fresh.update_state(y_true, y_pred, sample_weight)
        return fresh.result()


MetricLike = (
    str | Metric | type[Metric] | Loss | type[Loss] | Callable[[Array, Array], float]
)
"""What `get` takes."""


class _Mean(Metric):
    """A mean over samples."""

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = self._count = 0.0

    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the first."""
        return self._total / self._count if self._count else math.nan

    def _add(self, mean: float, samples: tuple[int, ...], sample_weight: Any) -> None:
        """Add a loss, which is divided by the number of samples."""
        self._total += mean * math.prod(samples)
        self._count += float(np.sum(_sample_weights(sample_weight, samples)))


def _sample_weights(sample_weight: object, samples: tuple[int, ...]) -> Array:
    """Return weights of this shape: ones, if there are none."""
    weights = element_weights(sample_weight, (*samples, 1))
    return np.broadcast_to(1.0 if weights is None else weights[..., 0], samples)


def _samples(y_pred: Array) -> tuple[int, ...]:
    return y_pred.shape[:-1] or y_pred.shape


# Means of losses and functions


class LossMetric(_Mean):
    """The mean of a loss over all samples.

    What `get` makes of losses. A loss that is not a mean over samples itself, such as
    `MaxAbsoluteDeviation`, is averaged over batches by their numbers of samples.

    Parameters
    ----------
    loss : Loss
        What to average.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> list(gf.metrics.get(["huber"]).values())
    [LossMetric(Huber(), 'huber')]
    """

    def __init__(self, loss: Loss, name: str) -> None:
        self.loss = loss
        super().__init__(name)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        value = self.loss(y_true, y_pred, sample_weight)
        self._add(value, _samples(y_pred), sample_weight)


class FunctionMetric(_Mean):
    """The mean over batches, by their rows, of a function of (y_true, y_pred).

    What `get` makes of functions. With a parameter `sample_weight` the function gets
    the weights, and batches count by the sum of them.

    Parameters
    ----------
    function : callable
        ``f(y_true, y_pred) -> float``.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> def worst(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> metric = gf.metrics.FunctionMetric(worst, "worst")
    >>> metric(np.zeros((2, 1)), np.array([[1.0], [2.0]]))
    2.0
    """

    def __init__(self, function: Callable[..., float], name: str) -> None:
        self.function = function
        super().__init__(name)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        if sample_weight is None:
            value = float(self.function(y_true, y_pred))
            self._add(value, (len(y_pred),), None)
            return
        if not self._takes_weights():
            message = (
                f"the metric {self.name!r} is a function without a parameter "
                "sample_weight: it cannot take weights or masks into account"
            )
            raise TypeError(message)
        value = float(self.function(y_true, y_pred, sample_weight=sample_weight))
        weight = float(np.sum(_sample_weights(sample_weight, _samples(y_pred))))
        self._total += value * weight
        self._count += weight

    def _takes_weights(self) -> bool:
        try:
            return "sample_weight" in inspect.signature(self.function).parameters
        except ValueError:  # a builtin without a signature
            return False


class MeanSquaredError(LossMetric):
    """The mean of (y_pred - y_true)².

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.metrics.mse(np.zeros((2, 1)), np.array([[1.0], [3.0]]))
    5.0
    """

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(losses.mse, name)


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of (y_pred - y_true)².

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.metrics.rmse(np.zeros((2, 1)), np.array([[1.0], [7.0]]))
    5.0
    """

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the first."""
        mean = super().result()
        return math.sqrt(mean) if mean >= 0 else math.nan


class MeanAbsoluteError(LossMetric):
    """The mean of abs(y_pred - y_true).

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.metrics.mae(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    2.0
    """

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(losses.mae, name)


class MeanAbsolutePercentageError(LossMetric):
    """The mean of 100 abs((y_pred - y_true) / y_true), in percent.

    A truth nearer to 0 than 1e-7 counts as 1e-7, as in Keras. scikit-learn's does not
    multiply by 100.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.metrics.mape(np.array([[4.0], [2.0]]), np.array([[3.0], [3.0]]))
    37.5
    """

    def __init__(self, name: str = "mean_absolute_percentage_error") -> None:
        super().__init__(losses.mape, name)


class LastStepMeanSquaredError(_Mean):
    """The mean of (y_pred - y_true)² over the last step of each sequence, (N, T, K).

    With weights (N, T) the last step is the last one whose weight is not 0, which for
    padded sequences is their end.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[[9.0], [1.0]], [[9.0], [3.0]]])
    >>> gf.metrics.last_step_mse(np.zeros((2, 2, 1)), y_pred)
    5.0
    """

    def __init__(self, name: str = "last_step_mse") -> None:
        super().__init__(name)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        truth, predictions = losses.alike(y_true, y_pred)
        if predictions.ndim != 3 or not predictions.shape[1]:
            message = f"y_pred: got shape {predictions.shape}, expected (N, T, K)"
            raise ValueError(message)
        weights = _sample_weights(sample_weight, predictions.shape[:2])
        rows = np.arange(len(weights))
        last = weights.shape[1] - 1 - (weights[:, ::-1] != 0).argmax(axis=1)
        own = weights[rows, last]
        value = losses.mse(truth[rows, last], predictions[rows, last], own)
        self._add(value, (len(rows),), own)


class R2Score(Metric):
    """The coefficient of determination, the mean over outputs.

    1 - sum (y_pred - y_true)² / sum (y_true - its mean)², for each of the K columns. It
    is 1 for an exact prediction of a constant, 0 for another one of a constant, and NaN
    for fewer than two samples, as in scikit-learn.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_true = np.array([[1.0], [4.0], [3.0]])
    >>> round(gf.metrics.r2(y_true, np.array([[2.0], [4.0], [4.0]])), 6)
    0.571429
    """

    def __init__(self, name: str = "r2_score") -> None:
        super().__init__(name)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._rows = 0
        self._weight = 0.0
        # Of each output: the first truth, from which the others are counted, so that a
        # constant has no variance at all; their mean, and the sum of squares around it.
        self._first: Any = None
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._residual: Any = 0.0

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        truth, predictions = losses.alike(y_true, y_pred)
        samples = _samples(predictions)
        weights = _sample_weights(sample_weight, samples).reshape(-1, 1)
        wide = truth.reshape(len(weights), -1).astype(np.float64)
        error = predictions.reshape(len(weights), -1) - wide
        weight = float(weights.sum())
        if self._first is None:
            self._first = wide[0]
        self._rows += len(weights)
        if not weight:
            return
        wide = wide - self._first
        mean = (weights * wide).sum(axis=0) / weight
        squares = (weights * (wide - mean) ** 2).sum(axis=0)
        # Chan, Golub & LeVeque 1983: sums of squares of two sets together.
        total = self._weight + weight
        shift = mean - self._mean
        self._squares += squares + shift**2 * (self._weight * weight / total)
        self._mean = self._mean + shift * (weight / total)
        self._residual += (weights * error**2).sum(axis=0)
        self._weight = total

    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the second sample."""
        if self._rows < 2 or not self._weight:
            return math.nan
        varies = self._squares != 0
        ratio = self._residual / np.where(varies, self._squares, 1)
        return float(np.mean(1 - np.where(varies, ratio, self._residual != 0)))


class Perplexity(_Mean):
    """exp of the mean cross-entropy: how many classes a prediction hesitates between.

    Parameters
    ----------
    from_logits : bool
        Whether predictions (N, ..., K) are logits, otherwise probabilities. The truth
        is class indices or probabilities.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> round(gf.metrics.perplexity(np.array([0, 3]), np.full((2, 4), 0.25)), 6)
    4.0
    """

    def __init__(self, from_logits: bool = False, name: str = "perplexity") -> None:
        self.from_logits = _checks.flag("from_logits", from_logits)
        super().__init__(name)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        truth = number_array("y_true", y_true, "numbers", "biuf")
        loss = (
            losses.CategoricalCrossentropy
            if truth.dtype.kind == "f"
            else losses.SparseCategoricalCrossentropy
        )
        value = loss(self.from_logits)(truth, y_pred, sample_weight)
        self._add(value, _samples(y_pred), sample_weight)

    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the first."""
        return float(np.exp(super().result()))


# Accuracies


class _Hits(_Mean):
    """The share of samples that are right."""

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        truth = number_array("y_true", y_true, "numbers", "biuf")
        hits = self._hits(truth, number_array("y_pred", y_pred, "numbers", "biuf"))
        weights = _sample_weights(sample_weight, hits.shape)
        self._total += float(np.sum(weights * hits))
        self._count += float(np.sum(weights))

    @abstractmethod
    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        """Return how far each sample is right, from 0 to 1."""


class BinaryAccuracy(_Hits):
    """How often a prediction is on the side of the threshold where the truth is.

    Parameters
    ----------
    name : str
        Under which `History` keeps it.
    threshold : float
        Predictions above it mean 1; 0 is right for logits. The truth, in the same
        shape, has numbers from 0 to 1; above 0.5 they mean 1.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.9], [0.2], [0.6], [0.4]])
    >>> gf.metrics.BinaryAccuracy()(np.array([[1], [0], [0], [0]]), y_pred)
    0.75
    """

    def __init__(
        self, name: str = "binary_accuracy", *, threshold: float = 0.5
    ) -> None:
        self.threshold = _checks.real("threshold", threshold, -math.inf)
        super().__init__(name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        right = np.equal(*_sides(y_true, y_pred, self.threshold))
        return right if right.ndim == 1 else right.mean(axis=-1)


class CategoricalAccuracy(_Hits):
    """How often the most probable of K classes is that of the truth, (N, ..., K) both.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
    >>> gf.metrics.CategoricalAccuracy()(np.array([[0, 1, 0], [0, 0, 1]]), y_pred)
    0.5
    """

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        return np.equal(_dense_classes(y_true, y_pred), y_pred.argmax(axis=-1))


class SparseCategoricalAccuracy(_Hits):
    """How often the most probable of K classes is the one with the index in the truth.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
    >>> gf.metrics.SparseCategoricalAccuracy()(np.array([1, 2]), y_pred)
    0.5
    """

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        return np.equal(_sparse_classes(y_true, y_pred), y_pred.argmax(axis=-1))


class Accuracy(_Hits):
    """The accuracy that the shapes ask for, as Keras does where it reads "accuracy".

    That is `BinaryAccuracy` for predictions (N, ..., 1) or (N,), and otherwise
    `CategoricalAccuracy` or, where the truth has a dimension less or its last one is 1,
    `SparseCategoricalAccuracy`. Predictions that are integers or bools are classes,
    which are compared with the truth's.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.metrics.accuracy(np.array([1, 0, 2]), np.array([1, 1, 2])) == 2 / 3
    True
    >>> gf.metrics.accuracy(np.array([1, 0]), np.array([[0.1, 0.9], [0.2, 0.8]]))
    0.5
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        if y_pred.dtype.kind in "biu":
            return np.equal(*_same_shape(y_true, y_pred))
        if _is_binary(y_pred):
            return BinaryAccuracy()._hits(y_true, y_pred)
        return np.equal(_classes(y_true, y_pred), y_pred.argmax(axis=-1))


class TopKCategoricalAccuracy(_Hits):
    """How often the class of the truth is among the k most probable ones.

    Classes that are as probable as the truth's are not before it.

    Parameters
    ----------
    k : int
        How many.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
    >>> y_true = np.array([[0, 0, 1], [0, 0, 1]])
    >>> gf.metrics.TopKCategoricalAccuracy(k=2)(y_true, y_pred)
    0.5
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        self.k = _checks.integer("k", k, 1)
        super().__init__(name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        return self._among_best(_dense_classes(y_true, y_pred), y_pred)

    def _among_best(self, classes: Array, y_pred: Array) -> Array:
        own = np.take_along_axis(y_pred, classes[..., None], axis=-1)
        better = np.count_nonzero(y_pred > own, axis=-1)
        hits: Array = (better < self.k) & ~np.isnan(own[..., 0])
        return hits


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """`TopKCategoricalAccuracy` with the indices of the classes as truth.

    Parameters
    ----------
    k : int
        How many.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
    >>> gf.metrics.SparseTopKCategoricalAccuracy(k=2)(np.array([2, 2]), y_pred)
    0.5
    """

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy"
    ) -> None:
        super().__init__(k, name)

    def _hits(self, y_true: Array, y_pred: Array) -> Any:
        return self._among_best(_sparse_classes(y_true, y_pred), y_pred)


# Precision and the like


class _Counted(Metric):
    """A score of the classes' hits, predictions and occurrences."""

    average: Average
    threshold: float | None

    def __init__(self, average: Average, threshold: float | None, name: str) -> None:
        averages = ("binary", "macro", "micro", "weighted")
        self.average = _checks.choice("average", average, averages)
        self.threshold = threshold
        if threshold is not None:
            self.threshold = _checks.real("threshold", threshold, -math.inf)
        super().__init__(name)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._counts = np.zeros((4, 0))  # hits, predicted, true by weight; either

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        truth = number_array("y_true", y_true, "numbers", "biuf")
        predictions = number_array("y_pred", y_pred, "numbers", "biuf")
        if predictions.dtype.kind in "biu":
            sets = _labels(truth, predictions)
        elif _is_binary(predictions):
            threshold = 0.5 if self.threshold is None else self.threshold
            sets = _of_samples(_sides(truth, predictions, threshold))
        elif self.threshold is None:
            sets = _classes(truth, predictions), predictions.argmax(axis=-1)
        else:
            self._update_labels(truth, predictions, sample_weight)
            return
        own, seen = (np.asarray(a, np.int64).ravel() for a in sets)
        count = 2 if _is_binary(predictions) else predictions.shape[-1]
        if predictions.dtype.kind in "biu":
            count = max(2, int(own.max(initial=0)) + 1, int(seen.max(initial=0)) + 1)
        weights = _sample_weights(sample_weight, sets[0].shape).ravel()
        right = own == seen

        def counted(of: Array, weights: Array | None) -> Array:
            return np.bincount(of, weights, count)

        self._grow(
            counted(own[right], weights[right]),
            counted(seen, weights),
            counted(own, weights),
            counted(own, None) + counted(seen, None),
        )

    def _update_labels(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None
    ) -> None:
        """Count columns that are labels of their own."""
        assert self.threshold is not None
        own, seen = _sides(y_true, y_pred, self.threshold)
        weights = _sample_weights(sample_weight, own.shape[:-1]).reshape(-1, 1)
        own, seen = (a.reshape(-1, a.shape[-1]) for a in (own, seen))
        self._grow(
            *((weights * a).sum(axis=0) for a in (own & seen, seen, own)),
            np.ones(own.shape[-1]),
        )

    def _grow(self, *counts: Array) -> None:
        new = np.array(counts, np.float64)
        width = max(new.shape[1], self._counts.shape[1])
        if self.average == "binary" and width > 2:
            message = (
                f"average: 'binary' is for two classes, got {width}; expected 'macro', "
                "'micro' or 'weighted'"
            )
            raise ValueError(message)
        self._counts = _widened(self._counts, width) + _widened(new, width)

    def result(self) -> float:
        """Return the metric of all batches so far; NaN before the first."""
        *counts, either = self._counts
        if not either.any():
            return math.nan
        if self.average == "binary":
            return float(self._scores(*counts)[1])
        if self.average == "micro":
            return float(self._scores(*(a.sum(keepdims=True) for a in counts))[0])
        scores, true = self._scores(*counts), counts[2]
        if self.average == "weighted":
            return float(_ratio((scores * true).sum(), true.sum()))
        return float(scores[either > 0].mean())

    @abstractmethod
    def _scores(self, hits: Array, predicted: Array, true: Array) -> Array: ...


def _widened(a: Array, width: int) -> Array:
    """Return an array with columns of zeros behind its own, up to this width."""
    more = width - a.shape[1]
    return np.pad(a, ((0, 0), (0, more))) if more else a


def _ratio(a: Any, b: Any) -> Any:
    """Return a / b, and 0 where b is 0."""
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b))


class Precision(_Counted):
    """How many of the samples that are predicted to be of a class are.

    Parameters
    ----------
    average : {"binary", "macro", "micro", "weighted"}
        As in scikit-learn: the score of class 1 of two; the mean of those of the
        classes that occur; one score for all classes together; or the mean weighted by
        occurrences. A class that is never predicted scores 0.
    threshold : float, optional
        Where predictions are (N, ..., 1) or (N,), those above it mean 1; 0.5 if it is
        not given, and 0 is right for logits. Where they are (N, ..., K), the most
        probable class is predicted, or with a threshold all columns above it, each a
        label of its own. Predictions that are integers or bools are classes.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.9], [0.2], [0.6], [0.4]])
    >>> gf.metrics.precision(np.array([1, 0, 0, 1]), y_pred)
    0.5
    """

    def __init__(
        self,
        average: Average = "binary",
        threshold: float | None = None,
        name: str = "precision",
    ) -> None:
        super().__init__(average, threshold, name)

    def _scores(self, hits: Array, predicted: Array, true: Array) -> Array:
        scores: Array = _ratio(hits, predicted)
        return scores


class Recall(_Counted):
    """How many of the samples of a class are predicted to be.

    Parameters
    ----------
    average : {"binary", "macro", "micro", "weighted"}
        As in `Precision`. A class that has no samples scores 0.
    threshold : float, optional
        As in `Precision`.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_true, y_pred = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1])
    >>> gf.metrics.Recall("macro")(y_true, y_pred) == (1 + 1 + 0.5) / 3
    True
    """

    def __init__(
        self,
        average: Average = "binary",
        threshold: float | None = None,
        name: str = "recall",
    ) -> None:
        super().__init__(average, threshold, name)

    def _scores(self, hits: Array, predicted: Array, true: Array) -> Array:
        scores: Array = _ratio(hits, true)
        return scores


class F1Score(_Counted):
    """The harmonic mean of precision and recall.

    Parameters
    ----------
    average : {"binary", "macro", "micro", "weighted"}
        As in `Precision`.
    threshold : float, optional
        As in `Precision`.
    name : str
        Under which `History` keeps it.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> y_pred = np.array([[0.9], [0.2], [0.6], [0.4]])
    >>> gf.metrics.f1(np.array([1, 0, 0, 1]), y_pred)
    0.5
    """

    def __init__(
        self,
        average: Average = "binary",
        threshold: float | None = None,
        name: str = "f1_score",
    ) -> None:
        super().__init__(average, threshold, name)

    def _scores(self, hits: Array, predicted: Array, true: Array) -> Array:
        scores: Array = _ratio(2 * hits, predicted + true)
        return scores


# Truth and predictions of classes


def _is_binary(y_pred: Array) -> bool:
    return y_pred.ndim == 1 or y_pred.shape[-1] == 1


def _same_shape(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    if (*y_true.shape, 1) == y_pred.shape:
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape or not y_pred.ndim:
        message = f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}"
        raise ValueError(message)
    return y_true, y_pred


def _sides(y_true: Array, y_pred: Array, threshold: float) -> tuple[Array, Array]:
    """Return which of the truth are 1, and which are predicted to be."""
    y_true, y_pred = _same_shape(y_true, y_pred)
    inside = (y_true >= 0) & (y_true <= 1)
    if not inside.all():
        worst = y_true[~inside][0]
        message = f"y_true: got the value {worst:g}, expected numbers from 0 to 1"
        raise ValueError(message)
    return y_true > 0.5, y_pred > threshold


def _of_samples(sides: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return (N, ..., 1) as (N, ...)."""
    own, seen = (a if a.ndim == 1 else a[..., 0] for a in sides)
    return own, seen


def _labels(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    y_true = number_array("y_true", y_true, "integers, as y_pred", "biu")
    y_true, y_pred = _same_shape(y_true, y_pred)
    for name, classes in (("y_true", y_true), ("y_pred", y_pred)):
        if classes.min(initial=0) < 0:
            message = f"{name}: got the class {classes.min()}, expected at least 0"
            raise ValueError(message)
    return y_true, y_pred


def _dense_classes(y_true: Array, y_pred: Array) -> Array:
    y_true, y_pred = _same_shape(y_true, _scores(y_pred))
    return np.asarray(y_true.argmax(axis=-1))


def _sparse_classes(y_true: Array, y_pred: Array) -> Array:
    classes = losses.class_indices("y_true", y_true, _scores(y_pred).shape)
    losses.check_range("y_true", classes, y_pred.shape[-1])
    return classes.astype(np.int64, copy=False)


def _classes(y_true: Array, y_pred: Array) -> Array:
    one_less = y_true.ndim < y_pred.ndim
    if one_less or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1):
        return _sparse_classes(y_true, y_pred)
    return _dense_classes(y_true, y_pred)


def _scores(y_pred: Array) -> Array:
    if y_pred.ndim < 2 or not y_pred.shape[-1]:
        message = f"y_pred: got shape {y_pred.shape}, expected (N, ..., K)"
        raise ValueError(message)
    return y_pred


# Names

METRICS: dict[str, type[Metric]] = {
    metric.__name__: metric
    for metric in (
        MeanSquaredError,
        MeanAbsoluteError,
        RootMeanSquaredError,
        MeanAbsolutePercentageError,
        LastStepMeanSquaredError,
        R2Score,
        Perplexity,
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy,
        Precision,
        Recall,
        F1Score,
    )
}
"""The metrics that files can name."""

NAMES: dict[str, Callable[..., Metric]] = {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
    "mape": MeanAbsolutePercentageError,
    "last_step_mse": LastStepMeanSquaredError,
    "r2": R2Score,
    "perplexity": Perplexity,
    "accuracy": Accuracy,
    "acc": Accuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1Score,
    **{
        f"{name}_{average}": partial(metric, average)
        for name, metric in (
            ("precision", Precision),
            ("recall", Recall),
            ("f1", F1Score),
        )
        for average in ("macro", "micro", "weighted")
    },
}
"""The metrics by their short names; the others have those of their classes."""


_FUNCTION_DOC = """Return `{}` of arrays, at once.

Parameters
----------
y_true, y_pred : ndarray
    The truth and the predictions (N, ..., K), as that class takes them.
sample_weight : ndarray (N,) or (N, T), optional
    What samples count for.

Returns
-------
float

Raises
------
TypeError, ValueError
    If the arrays do not fit; the message says what would.

{}"""


def _function(name: str) -> Callable[..., float]:
    def function(
        y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        return NAMES[name]()(y_true, y_pred, sample_weight)

    function.__name__ = function.__qualname__ = name
    metric = type(NAMES[name]())
    own = inspect.getdoc(metric) or ""
    function.__doc__ = _FUNCTION_DOC.format(
        metric.__name__, own[own.find("Examples") :]
    )
    return function


mse = _function("mse")
mae = _function("mae")
rmse = _function("rmse")
mape = _function("mape")
last_step_mse = _function("last_step_mse")
r2 = _function("r2")
perplexity = _function("perplexity")
accuracy = _function("accuracy")
precision = _function("precision")
recall = _function("recall")
f1 = _function("f1")

_FUNCTIONS = (
    *(mse, mae, rmse, mape, last_step_mse, r2, perplexity),
    *(accuracy, precision, recall, f1),
)


def get(metrics: Iterable[MetricLike]) -> dict[str, Metric]:
    """Return metrics by the name under which `History` keeps them.

    Parameters
    ----------
    metrics : iterable of str, Metric or callable
        Names: "mse", "mae", "rmse", "mape", "r2", "last_step_mse", "perplexity",
        "accuracy", "precision", "recall" and "f1", the last three also as "f1_macro",
        "f1_micro" and "f1_weighted"; Keras's, such as "mean_squared_error" or
        "MeanSquaredError"; or those of losses. Metrics, called by their `name`; losses;
        or any ``f(y_true, y_pred) -> float``, called by its ``__name__``.

    Examples
    --------
    >>> import grufast as gf
    >>> def worst(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> list(gf.metrics.get(["mae", worst, gf.metrics.F1Score("macro")]))
    ['mae', 'worst', 'f1_score']
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        message = f'metrics: got {metrics!r}, expected a list such as ["mae"]'
        raise TypeError(message)
    found: dict[str, Metric] = {}
    for metric in metrics:
        made = _made(metric)
        if made.name in found or made.name == "loss":
            message = f"metrics: the name {made.name!r} is taken"
            raise ValueError(message)
        found[made.name] = made
    return found


def _made(metric: object) -> Metric:
    if isinstance(metric, type) and issubclass(metric, Metric | Loss):
        make: Callable[[], object] = metric
        metric = make()
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, Loss):
        return _of_loss(metric)
    if isinstance(metric, str):
        named = _named(metric)
        if named is not None:
            return named
    elif callable(metric):
        name = str(getattr(metric, "__name__", type(metric).__name__))
        own = NAMES[name](name=name) if metric in _FUNCTIONS else None
        return own or FunctionMetric(metric, name)
    message = (
        f"metrics: got {metric!r}, expected one of {list(NAMES)} "
        "or a function of y_true and y_pred"
    )
    raise ValueError(message)


def _named(name: str) -> Metric | None:
    """Return a new metric by one of its names, or by that of a loss."""
    if name in NAMES:
        return NAMES[name](name=name)
    for metric in METRICS.values():
        if name in (metric.__name__, snake_case(metric.__name__)):
            return partial(metric, name=name)()
    loss = losses.find(name)
    return None if loss is None else LossMetric(loss, name)


def _of_loss(loss: Loss) -> Metric:
    """Return the metric of a loss, under the loss's short name if it has one."""
    cls = type(loss)
    short = (name for name, known in losses.NAMES.items() if type(known) is cls)
    name = next(short, cls.__name__)
    if name in NAMES:
        return NAMES[name](name=name)
    return LossMetric(loss, name)


def description(metric: Metric) -> Any:
    """Return what a file says of a metric: its name, or its class and config.

    None, if it is one of the user's own.
    """
    named = _named(metric.name)
    if named is not None and repr(named) == repr(metric):
        return metric.name
    return describe(metric) if type(metric) in METRICS.values() else None
