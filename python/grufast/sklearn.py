"""Estimators for scikit-learn: recurrent networks with fit, predict and score.

What X may be
-------------
A 2-D X (n, T) is n sequences of T numbers, a 3-D X (n, T, C) n sequences of T steps of
C channels, and a list of arrays (T,) or (T, C) n sequences of any lengths. Nothing is
scaled: put a `StandardScaler` before the estimator where columns differ in size. The
target of `GRURegressor` is standardised inside, and predictions are scaled back.

Sequences of unequal length are padded batch by batch, and the padding is masked.

Computing is in the dtype of X, as elsewhere in scikit-learn: float64 unless X is
float32, which takes half of the time. The parameter `dtype` decides otherwise.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from grufast import _checks, forecast, layers, losses
from grufast._checks import Array, DType
from grufast.callbacks import Callback, EarlyStopping, Logs
from grufast.data import Floats, Table
from grufast.model import Sequential, load
from grufast.optimizers import Adam

try:
    from scipy.special import softmax
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import assert_all_finite, check_array, check_random_state
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    _message = 'grufast.sklearn needs scikit-learn: pip install "grufast[sklearn]"'
    raise ImportError(_message) from error

__all__ = ["GRUClassifier", "GRUForecaster", "GRURegressor"]

Cell = Literal["gru", "lstm", "rnn"]
Layout = Literal["NTC", "NCT"]
Sequences = Array | list[Array]
"""An array (N, T, C), or N arrays (T, C) of unequal lengths."""

_CELLS: dict[str, Callable[..., Any]] = {
    "gru": layers.GRU,
    "lstm": layers.LSTM,
    "rnn": layers.SimpleRNN,
}


# --- Sequences ------------------------------------------------------------------------


def _joined(X: Any) -> Any:
    """Return sequences of one length as an array, others as a list."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if not isinstance(X, list | tuple):
        return X
    try:
        items = [np.asarray(item) for item in X]
    except ValueError:  # an item whose own items differ in length
        raise ValueError(_UNLIKE) from None
    if len({item.shape for item in items}) < 2:
        return np.array(items)
    if {item.ndim for item in items} not in ({1}, {2}):
        raise ValueError(_UNLIKE)
    return items


_UNLIKE = "X: expected a list of sequences that are all (T,) or all (T, C)"


def _ndim(X: Any) -> int:
    # Not of all array-likes: NumPy would not even ask those that only have __array__.
    return int(X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim)


def _checked_list(X: list[Any], dtype: Any, layout: Layout) -> list[Array]:
    """Return sequences (T, C) of one dtype and number of channels."""
    items = [
        check_array(item, dtype=dtype, ensure_2d=False, input_name=f"X[{index}]")
        for index, item in enumerate(X)
    ]
    common = np.result_type(*items)
    x = []
    for index, item in enumerate(items):
        steps = item[:, None] if item.ndim == 1 else item
        steps = steps.T if item.ndim == 2 and layout == "NCT" else steps
        x.append(np.asarray(steps, common, order="C"))
        if x[-1].shape[1] != x[0].shape[1]:
            message = (
                f"X[{index}]: got a sequence of shape {item.shape}, expected "
                f"steps of {x[0].shape[1]} channels, as in X[0]"
            )
            raise ValueError(message)
    return x


def _checked_array(X: Any, dtype: Any, layout: Layout) -> Array:
    """Return an array (N, T, C), given one of three dimensions."""
    x: Array = check_array(X, dtype=dtype, allow_nd=True, input_name="X")
    if 0 in x.shape:
        message = f"X: got shape {x.shape}, expected no size zero"
        raise ValueError(message)
    if layout == "NCT":
        x = x.transpose(0, 2, 1)
    return np.asarray(x, order="C")


def _take(x: Sequences, rows: Array) -> Sequences:
    return x[rows] if isinstance(x, np.ndarray) else [x[row] for row in rows]


# --- Networks -------------------------------------------------------------------------


def _network(
    estimator: Any, outputs: int, dtype: DType, seeds: np.random.RandomState
) -> Sequential:
    """Return the layers that an estimator's parameters ask for, without weights."""
    cell = _CELLS[estimator.cell]
    units = _units(estimator.units)
    stack: list[layers.Layer] = []
    for index, size in enumerate(units):
        more = index < len(units) - 1
        layer = cell(size, return_sequences=more, dtype=dtype)
        stack.append(layers.Bidirectional(layer) if estimator.bidirectional else layer)
        if estimator.dropout:
            stack.append(layers.Dropout(estimator.dropout))
    stack.append(layers.Dense(outputs, dtype=dtype))
    return Sequential(stack, seed=_seed(seeds))


def _seed(seeds: np.random.RandomState) -> int:
    return int(seeds.randint(np.iinfo(np.int32).max))


def _units(value: object) -> tuple[int, ...]:
    several = value if isinstance(value, Sequence | np.ndarray) else (value,)
    units = tuple(_checks.integer("units", size, 1) for size in several)
    if not units or isinstance(value, str):
        message = f"units: got {value!r}, expected an integer or several"
        raise ValueError(message)
    return units


def _check_network(estimator: Any) -> None:
    """Check the parameters that all estimators share."""
    _units(estimator.units)
    _checks.choice("cell", estimator.cell, tuple(_CELLS))
    _checks.flag("bidirectional", estimator.bidirectional)
    _checks.real("dropout", estimator.dropout, 0, 1)
    _checks.real("learning_rate_init", estimator.learning_rate_init)
    _checks.integer("max_iter", estimator.max_iter, 1)
    _checks.integer("n_iter_no_change", estimator.n_iter_no_change, 1)
    _checks.real("validation_fraction", estimator.validation_fraction, 0, 1)
    if not isinstance(estimator.verbose, bool | int):
        message = f"verbose: got {estimator.verbose!r}, expected True or False"
        raise TypeError(message)


def _to_bytes(model: Sequential) -> bytes:
    """Return what `Sequential.save` writes, the optimizer's state included."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.safetensors"
        model.save(path, include_optimizer=True)
        return path.read_bytes()


def _from_bytes(data: bytes) -> Sequential:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.safetensors"
        path.write_bytes(data)
        return load(path)


class _Progress(Callback):
    """Keeps the curves of an estimator, and ends its training when nothing improves.

    Parameters
    ----------
    estimator : GRURegressor or GRUClassifier
        In training.
    held : tuple (x, truth, weights), optional
        Rows to score by, instead of the loss.
    """

    def __init__(
        self, estimator: Any, held: tuple[Sequences, Array, Array] | None = None
    ) -> None:
        self._estimator = estimator
        self._held = held
        self._best = math.inf
        self._best_weights: dict[str, Array] | None = None
        self._waited = 0

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Refuse to go on with a loss that is not finite."""
        if not math.isfinite(logs["loss"]):
            message = (
                f"the loss is {logs['loss']} after {self._estimator.n_iter_} "
                "iterations: scale X, or choose a smaller learning_rate_init"
            )
            raise ValueError(message)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Note the loss and the score, and compare."""
        estimator = self._estimator
        estimator.n_iter_ = epoch + 1
        estimator.loss_ = value = logs["loss"]
        estimator.loss_curve_.append(value)
        estimator._say(f"Iteration {epoch + 1}, loss = {value:.8f}")
        if self._held is not None:
            x, truth, weights = self._held
            score = estimator._score(truth, self.model.predict(x), weights)
            estimator.validation_scores_.append(score)
            estimator._say(f"Validation score: {score:.6f}")
            value = -score
        self._waited = self._waited + 1 if value > self._best - estimator.tol else 0
        if value < self._best:
            self._best = value
            if self._held is not None:
                self._best_weights = self.model.get_weights()
        if self._waited > estimator.n_iter_no_change:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Go back to the best weights, if there are rows to score by."""
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)
            self._estimator.best_validation_score_ = -self._best


# --- Regressor and classifier ---------------------------------------------------------


class _Network(BaseEstimator):  # type: ignore[misc]
    """What `GRURegressor` and `GRUClassifier` have in common."""

    def __sklearn_tags__(self) -> Any:
        """Say what scikit-learn should know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the network as the bytes of a safetensors file."""
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = _to_bytes(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` gave."""
        super().__setstate__(state)
        if "model_" in state:
            self.model_ = _from_bytes(state["model_"])

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array (n, T) or (n, T, C), or list of arrays (T,) or (T, C)
            The sequences; a list may hold any lengths.
        y : array (n,), or for regression also (n, K)
            The targets.
        sample_weight : array (n,), optional
            Not negative; a weight of 2 counts like a row that is there twice.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _check_params(self) -> None:
        _check_network(self)
        _checks.choice("input_layout", self.input_layout, ("NTC", "NCT"))
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            _checks.integer("batch_size", self.batch_size, 1)
        if self.dtype is not None:
            _checks.dtype(self.dtype)
        _checks.real("tol", self.tol)
        for name in "shuffle", "warm_start", "early_stopping":
            _checks.flag(name, getattr(self, name))

    def _checked_x(self, X: Any, reset: bool) -> Sequences:
        """Return the sequences of X; remember their sizes, if `reset`, or check."""
        if reset:
            dtype = [np.float64, np.float32] if self.dtype is None else self.dtype
        else:
            dtype = self.model_.dtype
        X = _joined(X)
        x: Sequences
        if not isinstance(X, list) and _ndim(X) != 3:
            if reset or self._columns:
                flat = validate_data(self, X, dtype=dtype, reset=reset)
            else:
                flat = check_array(X, dtype=dtype, input_name="X")
            x, columns = flat[:, :, None], flat.shape[1]
        else:
            check = _checked_list if isinstance(X, list) else _checked_array
            x = check(X, dtype, self.input_layout)
            columns = None
        channels = x[0].shape[1]
        if reset:
            self._columns: int | None = columns
            self._channels: int = channels
            if columns is None:
                self.n_features_in_ = channels
                self.__dict__.pop("feature_names_in_", None)
        elif channels != self._channels:
            message = (
                f"X: got sequences of {channels} channels, "
                f"expected {self._channels}, as in fit"
            )
            raise ValueError(message)
        return x

    def _checked_weights(self, sample_weight: Any, n: int) -> Floats:
        if sample_weight is None:
            return np.ones(n)
        weights: Floats = check_array(
            sample_weight,
            ensure_2d=False,
            dtype=np.float64,
            input_name="sample_weight",
            copy=True,
        )
        if weights.shape != (n,):
            message = f"sample_weight: got shape {weights.shape}, expected ({n},)"
            raise ValueError(message)
        if weights.min() < 0 or not weights.any():
            message = (
                "sample_weight: expected weights that are not negative and not all zero"
            )
            raise ValueError(message)
        return weights

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        classes: Any = None,
    ) -> Any:
        self._check_params()
        goes_on = (incremental or self.warm_start) and hasattr(self, "model_")
        x = self._checked_x(X, reset=not goes_on)
        if y is None:
            name = type(self).__name__
            message = f"{name} requires y to be passed, but the target y is None"
            raise ValueError(message)
        y = self._checked_y(y)
        check_consistent_length(x, y)
        weights = self._checked_weights(sample_weight, len(y))
        outputs = self._adopt_y(y, weights, goes_on, classes)
        weights *= self._row_weights(y)
        rows = np.flatnonzero(weights)
        if not len(rows):
            message = "class_weight: every row got a weight of zero"
            raise ValueError(message)
        x, y, weights = _take(x, rows), y[rows], weights[rows]
        weights *= len(rows) / weights.sum()
        if not goes_on:
            self._start(x, outputs)
        elif self._architecture() != self._built_as:
            message = (
                f"the network was made with {self._built_as}, the parameters now "
                f"say {self._architecture()}: take these back, or fit a new one"
            )
            raise ValueError(message)
        if not (goes_on and incremental):
            self.model_.compile(Adam(), self._loss())
        assert self.model_.optimizer is not None
        self.model_.optimizer.learning_rate = self.learning_rate_init
        truth = self._truth(y)
        if incremental:
            self._train(1, x, truth, weights, _Progress(self))
        else:
            self._train_to_the_end(x, truth, weights)
        return self

    def _architecture(self) -> dict[str, Any]:
        names = ("cell", "bidirectional", "dropout", "dtype")
        own = {name: getattr(self, name) for name in names}
        return {"units": _units(self.units), **own}

    def _start(self, x: Sequences, outputs: int) -> None:
        """Make a new network."""
        seeds = check_random_state(self.random_state)
        dtype = _checks.dtype(x[0].dtype)
        self.model_ = _network(self, outputs, dtype, seeds)
        self.model_.build((None, None, self._channels))
        self._built_as = self._architecture()
        self._shuffling = _seed(seeds)
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _train(
        self, passes: int, x: Sequences, truth: Array, weights: Array, to: _Progress
    ) -> None:
        """Train on all rows so many times; what happens is reported `to`."""
        size = min(200, len(x)) if self.batch_size == "auto" else self.batch_size
        self.model_.fit(
            x,
            truth,
            sample_weight=weights,
            batch_size=size,
            initial_epoch=self.n_iter_,
            epochs=self.n_iter_ + passes,
            shuffle=self.shuffle,
            seed=self._shuffling,
            verbose=0,
            callbacks=[to],
        )

    def _train_to_the_end(self, x: Sequences, truth: Array, weights: Array) -> None:
        """Train until `max_iter`, or until nothing has improved for long enough."""
        held = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        if self.early_stopping:
            rows = self._held_out(truth)
            held = _take(x, rows), truth[rows], weights[rows]
            self.validation_scores_ = []
            others = np.setdiff1d(np.arange(len(x)), rows)
            x, truth, weights = _take(x, others), truth[others], weights[others]
        self._train(self.max_iter, x, truth, weights, _Progress(self, held))

    def _say(self, line: str) -> None:
        if self.verbose:
            sys.stdout.write(f"{line}\n")

    def _held_out(self, truth: Array) -> Array:
        """Return the rows to validate on."""
        held: Array
        _, held = train_test_split(
            np.arange(len(truth)),
            test_size=self.validation_fraction,
            random_state=self._shuffling,
            stratify=self._strata(truth),
        )
        if len(held) < 2:
            message = (
                f"validation_fraction: {self.validation_fraction:g} of {len(truth)} "
                f"rows is {len(held)}, expected two rows or more to validate on"
            )
            raise ValueError(message)
        return held

    def _predicted(self, X: Any) -> Array:
        check_is_fitted(self)
        x = self._checked_x(X, reset=False)
        return np.asarray(self.model_.predict(x), np.float64)


class GRURegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """Regression from sequences: a recurrent network with a linear output.

    Parameters
    ----------
    units : int or tuple of int
        Sizes of the recurrent layers, from the input on.
    cell : {"gru", "lstm", "rnn"}
        Of the recurrent layers: `grufast.layers.GRU`, `LSTM` or `SimpleRNN`.
    bidirectional : bool
        Whether the layers run in both directions.
    dropout : float
        Part of each recurrent layer's outputs that is dropped in training.
    learning_rate_init : float
        Step size of Adam.
    batch_size : int or "auto"
        Rows in an update; "auto" is 200, or all rows if there are fewer.
    max_iter : int
        Most passes over the rows. Reaching it is no reason for a warning: `loss_curve_`
        shows whether there was more to learn.
    tol : float
        Training ends when the loss (or with `early_stopping` the score) has not
        improved by at least `tol` for more than `n_iter_no_change` passes in a row. The
        loss is that of standardised targets.
    shuffle : bool
        Whether every pass takes the rows in another order.
    random_state : int, RandomState or None
        Of the first weights, the order of rows, dropout and the rows to validate on.
    early_stopping : bool
        Whether to put rows aside and to keep the weights with which their score was
        best.
    validation_fraction : float
        Part of the rows to put aside.
    n_iter_no_change : int
        See `tol`.
    warm_start : bool
        Whether `fit` goes on with the network of the last call.
    input_layout : {"NTC", "NCT"}
        Order of the dimensions of a 3-D X, and so of the sequences in a list: steps
        before channels, or after.
    dtype : {"float32", "float64"} or None
        To compute in; None: that of X if it is float32, else float64.
    verbose : bool
        Whether to write the loss of every pass to standard output.

    Attributes
    ----------
    model_ : grufast.Sequential
        The network; its outputs are standardised targets.
    n_features_in_ : int
        Columns of a 2-D X, channels of any other.
    n_outputs_ : int
        Number of targets.
    n_iter_ : int
        Passes over the rows so far.
    loss_, loss_curve_ : float, list of float
        Mean loss of the last pass, and of all.
    validation_scores_, best_validation_score_ : list of float, float
        R² on the rows put aside, by pass, and the best; None without `early_stopping`.

    Examples
    --------
    >>> from grufast.sklearn import GRURegressor
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((300, 12), np.float32)
    >>> y = X[:, -3:].sum(axis=1)
    >>> model = GRURegressor(units=16, random_state=0).fit(X[:200], y[:200])
    >>> model.score(X[200:], y[200:]) > 0.8
    True
    """

    def __init__(
        self,
        *,
        units: int | Sequence[int] = (32,),
        cell: Cell = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
        learning_rate_init: float = 0.01,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        input_layout: Layout = "NTC",
        dtype: DType | None = None,
        verbose: bool = False,
    ) -> None:
        self.units = units
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.input_layout = input_layout
        self.dtype = dtype
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Say what scikit-learn should know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> GRURegressor:
        """Train on these rows once more, going on from where training stands.

        The scale of the targets is that of the first call. Parameters as in `fit`.
        """
        _no_early_stopping(self)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Floats:
        """Return the predictions, (n,) or (n, K), as the targets were."""
        y = self._predicted(X) * self._scale + self._mean
        return y if self._many else y[:, 0]

    def _loss(self) -> losses.Loss:
        return losses.get("mse")

    def _checked_y(self, y: Any) -> Floats:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        return np.asarray(y)

    def _adopt_y(self, y: Floats, weights: Floats, goes_on: bool, classes: None) -> int:
        """Take up the number of targets and their scale, and return the number."""
        many, outputs = y.ndim == 2, math.prod(y.shape[1:])
        if not goes_on:
            self._many, self.n_outputs_ = many, outputs
            self._mean = np.average(y.reshape(len(y), -1), axis=0, weights=weights)
            square = (y.reshape(len(y), -1) - self._mean) ** 2
            scale = np.sqrt(np.average(square, axis=0, weights=weights))
            self._scale = np.where(scale == 0, 1.0, scale)
        elif (many, outputs) != (self._many, self.n_outputs_):
            known = f"(n, {self.n_outputs_})" if self._many else "(n,)"
            message = f"y: got shape {y.shape}, expected {known}, as before"
            raise ValueError(message)
        return outputs

    def _row_weights(self, y: Floats) -> float:
        return 1.0

    def _truth(self, y: Floats) -> Array:
        scaled = (y.reshape(len(y), -1) - self._mean) / self._scale
        return scaled.astype(self.model_.dtype)

    def _strata(self, truth: Array) -> None:
        return None

    def _score(self, truth: Array, outputs: Array, weights: Array) -> float:
        return float(r2_score(truth, outputs, sample_weight=weights))


class GRUClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """Classification of sequences: a recurrent network with a softmax output.

    Parameters
    ----------
    class_weight : "balanced", dict or None
        Weights of the classes, by label, on top of `sample_weight`; "balanced" is
        n / (number of classes * rows of the class).
    units, cell, bidirectional, dropout, learning_rate_init, batch_size, max_iter, \
tol, shuffle, random_state, early_stopping, validation_fraction, n_iter_no_change, \
warm_start, input_layout, dtype, verbose
        As in `GRURegressor`; the loss is the cross-entropy, and the score that
        `early_stopping` looks at the accuracy.

    Attributes
    ----------
    classes_ : ndarray (K,)
        The labels, sorted.
    model_ : grufast.Sequential
        The network; its outputs are logits.
    n_features_in_, n_iter_, loss_, loss_curve_, validation_scores_, \
best_validation_score_
        As in `GRURegressor`; the scores are accuracies.

    Examples
    --------
    Sequences of unequal length, which rise or fall:

    >>> from grufast.sklearn import GRUClassifier
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.array(["rises", "falls"] * 50)
    >>> X = [
    ...     np.cumsum(rng.standard_normal(rng.integers(5, 9)) + slope)
    ...     for slope in np.where(y == "rises", 2, -2)
    ... ]
    >>> model = GRUClassifier(units=8, max_iter=50, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_proba(X[:3]).shape
    (3, 2)
    """

    def __init__(
        self,
        *,
        units: int | Sequence[int] = (32,),
        cell: Cell = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
        learning_rate_init: float = 0.01,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        input_layout: Layout = "NTC",
        dtype: DType | None = None,
        verbose: bool = False,
    ) -> None:
        self.units = units
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.class_weight = class_weight
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.input_layout = input_layout
        self.dtype = dtype
        self.verbose = verbose

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> GRUClassifier:
        """Train on these rows once more, going on from where training stands.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array (K,)
            All labels that will ever come; needed in the first call.
        """
        _no_early_stopping(self)
        if isinstance(self.class_weight, str):
            message = (
                f"class_weight: {self.class_weight!r} needs all rows at once, which "
                "partial_fit does not have; give the weights as a dict"
            )
            raise ValueError(message)
        if classes is None and not hasattr(self, "classes_"):
            message = "classes: expected all labels in the first call of partial_fit"
            raise ValueError(message)
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable labels (n,)."""
        best = self._predicted(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Floats:
        """Return the probabilities (n, K) of the labels `classes_`."""
        return np.asarray(softmax(self._predicted(X), axis=1))

    def _loss(self) -> losses.Loss:
        return losses.SparseCategoricalCrossentropy(from_logits=True)

    def _checked_y(self, y: Any) -> Array:
        labels: Array = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        return labels

    def _adopt_y(self, y: Array, weights: Floats, goes_on: bool, classes: Any) -> int:
        """Take up the labels, and return their number."""
        if not goes_on:
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(
            np.unique(classes), self.classes_
        ):
            message = f"classes: got {classes}, expected {self.classes_}, as before"
            raise ValueError(message)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            message = f"y: got the labels {unknown}, expected some of {self.classes_}"
            raise ValueError(message)
        return len(self.classes_)

    def _row_weights(self, y: Array) -> Floats:
        return np.asarray(compute_sample_weight(self.class_weight, y))

    def _truth(self, y: Array) -> Array:
        return np.searchsorted(self.classes_, y)

    def _strata(self, truth: Array) -> Array:
        return truth

    def _score(self, truth: Array, outputs: Array, weights: Array) -> float:
        found = outputs.argmax(axis=1)
        return float(accuracy_score(truth, found, sample_weight=weights))


def _no_early_stopping(estimator: Any) -> None:
    if estimator.early_stopping:
        message = "early_stopping: partial_fit cannot stop early; set it to False"
        raise ValueError(message)


# --- Forecaster -----------------------------------------------------------------------


class GRUForecaster(BaseEstimator):  # type: ignore[misc]
    """Forecasts of a series: what `grufast forecast` does, for arrays.

    From a window of the last rows a network predicts the next `horizon` values at once
    (direct multi-step); see `grufast.forecast` for scaling, the base and the defaults.
    The last part of the series is not trained on: it decides when training stops. Where
    several columns are forecast, each has a network of its own, which sees all of them.

    A row is a step of one series and no sample of its own, so `predict` takes a number
    of steps. `cross_val_score` and `GridSearchCV` work with `TimeSeriesSplit`.

    Parameters
    ----------
    horizon : int
        Steps that the network predicts at once.
    window : int, optional
        Rows that it sees; by default 60 or a season, less where the series is short.
    target : int, optional
        The column to forecast, the others being inputs only; by default all columns.
    base : {"linear", "last"}
        What the network corrects: a linear autoregression on the same window, or the
        last value.
    units, cell, bidirectional, dropout
        As in `GRURegressor`.
    learning_rate_init : float
        First step size of Adam; it falls to zero along a cosine.
    batch_size : int
        Windows in an update.
    max_iter : int
        Most passes over the windows.
    validation_fraction : float
        Part of the rows, the last ones, to validate on: `horizon` rows at least.
    n_iter_no_change : int
        Training ends after so many passes without a better validation loss, and keeps
        the weights of the best.
    random_state : int, RandomState or None
        Of the first weights, the order of windows and dropout.
    verbose : bool
        Whether to write the losses of every pass to standard output.

    Attributes
    ----------
    models_ : list of grufast.Sequential
        One for each column that is forecast.
    series_ : ndarray (n, C)
        The rows given to `fit`.
    n_features_in_ : int
        Number of columns C.

    Examples
    --------
    >>> from grufast.sklearn import GRUForecaster
    >>> import numpy as np
    >>> wave = np.sin(np.arange(300) / 4) + 10
    >>> model = GRUForecaster(horizon=20, max_iter=5, random_state=0).fit(wave[:280])
    >>> model.predict(20).shape
    (20,)
    >>> model.score(wave[280:]) > 0.9
    True
    """

    def __init__(
        self,
        *,
        horizon: int = 24,
        window: int | None = None,
        target: int | None = None,
        base: forecast.Base = "linear",
        units: int | Sequence[int] = (32,),
        cell: Cell = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
        learning_rate_init: float = 0.01,
        batch_size: int = 32,
        max_iter: int = 50,
        validation_fraction: float = 0.15,
        n_iter_no_change: int = 15,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.horizon = horizon
        self.window = window
        self.target = target
        self.base = base
        self.units = units
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Say what scikit-learn should know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        # The common checks predict row by row.
        tags._skip_test = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the networks as the bytes of safetensors files."""
        state = dict(super().__getstate__())
        if "models_" in state:
            state["models_"] = [_to_bytes(model) for model in state["models_"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` gave."""
        super().__setstate__(state)
        if "models_" in state:
            self.models_ = [_from_bytes(data) for data in state["models_"]]

    def fit(self, X: Any, y: None = None) -> GRUForecaster:
        """Train on a series.

        Parameters
        ----------
        X : array (n,) or (n, C)
            Rows in the order of time.
        y : None
            Not used; there because scikit-learn's functions pass it.

        Returns
        -------
        self
        """
        _check_network(self)
        _checks.integer("batch_size", self.batch_size, 1)
        _checks.choice("base", self.base, ("linear", "last"))
        horizon = _checks.integer("horizon", self.horizon, 1)
        if self.window is not None:
            _checks.integer("window", self.window, 2)
        values = self._series(X)
        n, columns = values.shape
        targets = list(range(columns))
        if self.target is not None:
            if _checks.integer("target", self.target, 0) >= columns:
                message = f"target: got {self.target}, but X has {columns} columns"
                raise ValueError(message)
            targets = [self.target]
        validation = max(round(self.validation_fraction * n), horizon)
        least = (self.window or 2) + horizon + 9 + validation
        if n < least:
            message = (
                f"X: got {n} rows, expected at least {least}: a window, the horizon of "
                f"{horizon}, ten windows to train on and {validation} rows to validate"
            )
            raise ValueError(message)
        seeds = check_random_state(self.random_state)
        self.n_features_in_ = columns
        self._one = np.ndim(X) == 1 or self.target is not None
        self.models_ = [
            self._trained(values, target, validation, seeds) for target in targets
        ]
        self.series_ = values
        return self

    def predict(self, horizon: int | None = None, X: Any = None) -> Floats:
        """Return the values that follow a series.

        Parameters
        ----------
        horizon : int, optional
            How many steps; by default as many as the network predicts at once. For more
            of them, forecasts are fed back as if they had been seen.
        X : array (n,) or (n, C), optional
            The series to continue; by default the one given to `fit`.

        Returns
        -------
        array (horizon,) or (horizon, C)
            One dimension for a series of one, or one `target`.
        """
        check_is_fitted(self)
        at_once = self.models_[0].metadata["horizon"]
        steps = at_once if horizon is None else _checks.integer("horizon", horizon, 1)
        values = self.series_ if X is None else self._series(X)
        window = self.models_[0].metadata["window"]
        if values.shape[1] != self.n_features_in_ or len(values) < window:
            message = (
                f"X: got shape {values.shape}, expected {self.n_features_in_} columns, "
                f"as in fit, and at least a window of {window} rows"
            )
            raise ValueError(message)
        if steps > at_once and len(self.models_) < values.shape[1]:
            message = (
                f"horizon: got {steps}, expected at most {at_once}: to go on, the "
                "other columns would have to be forecast too"
            )
            raise ValueError(message)
        found = self._next(values)
        while len(found) < steps:
            found = np.vstack((found, self._next(np.vstack((values, found)))))
        return found[:steps, 0] if self._one else found[:steps]

    def score(self, X: Any, y: None = None) -> float:
        """Return R² of the forecast for the rows (n,) or (n, C) that follow.

        Of at least two rows; `y` is not used.
        """
        check_is_fitted(self)
        truth = self._series(X)
        if truth.shape[1] > len(self.models_):
            truth = truth[:, [int(self.models_[0].metadata["target"])]]
        return float(r2_score(truth, self.predict(len(truth))))

    def _series(self, X: Any) -> Floats:
        values = check_array(X, ensure_2d=False, dtype=np.float64, input_name="X")
        return np.asarray(values[:, None] if values.ndim == 1 else values)

    def _trained(
        self,
        values: Floats,
        target: int,
        validation: int,
        seeds: np.random.RandomState,
    ) -> Sequential:
        """Return a network for one column, with what `forecast.reopen` needs."""
        n, columns = values.shape
        horizon = self.horizon
        # `prepare` holds out the last rows to score by: rows that have yet to come, so
        # that nothing of the series is.
        rows = np.vstack((values, np.full((horizon, columns), np.nan)))
        settings = forecast.Settings(
            str(target),
            tuple(str(column) for column in range(columns) if column != target),
            horizon,
            self.window,
            test=horizon,
            validation=validation,
            base=self.base,
        )
        problem = forecast.prepare(_table(rows), settings, np.arange(len(rows)) < n)
        model = _network(self, horizon, "float32", seeds)
        model.build((None, None, columns))
        last = model.layers[-1]  # starts at zero: at first the base is not corrected
        last.set_weights({k: np.zeros_like(w) for k, w in last.weights.items()})
        model.compile(Adam(self.learning_rate_init))
        stop = EarlyStopping(patience=self.n_iter_no_change, restore_best_weights=True)
        model.fit(
            *problem.samples("train"),
            epochs=self.max_iter,
            batch_size=self.batch_size,
            validation_data=problem.samples("validation"),
            seed=_seed(seeds),
            verbose=2 if self.verbose else 0,
            callbacks=[forecast.Anneal(self.learning_rate_init), stop],
        )
        found = forecast.evaluate(problem, model)
        model.metadata = {**forecast.metadata(problem, found), "scores": {}}
        return model

    def _next(self, values: Floats) -> Floats:
        """Return the forecast (horizon, targets) of what follows rows (n, C)."""
        futures = [forecast.reopen(model)(_table(values))[0] for model in self.models_]
        return np.stack([future.values for future in futures], axis=1)


def _table(values: Floats) -> Table:
    return Table({str(index): column for index, column in enumerate(values.T)})
