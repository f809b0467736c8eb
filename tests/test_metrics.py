"""Metrics against the formulas and scikit-learn, cut into batches in several ways."""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import losses, metrics
from reference import Array

ROWS = 60
CUTS = (ROWS, 23, 7, 1)


@pytest.fixture
def sklearn() -> Any:
    reason = "scikit-learn is the oracle of this test"
    return pytest.importorskip("sklearn.metrics", reason=reason)


def batches(size: int, *arrays: Any) -> Iterator[list[Any]]:
    for first in range(0, ROWS, size):
        part = slice(first, first + size)
        yield [None if a is None else a[part] for a in arrays]


def streamed(metric: metrics.Metric, size: int, *arrays: Any) -> float:
    metric.reset_state()
    for part in batches(size, *arrays):
        metric.update_state(*part)
    return metric.result()


def check(
    metric: metrics.Metric, expected: float, y_true: Array, y_pred: Array, weights: Any
) -> None:
    """Compare with a value, however the rows are cut into batches."""
    assert metric(y_true, y_pred, weights) == pytest.approx(expected, rel=1e-12)
    for size in CUTS:
        result = streamed(metric, size, y_true, y_pred, weights)
        assert isinstance(result, float)
        assert result == pytest.approx(expected, rel=1e-12), size


def weights_of(rng: np.random.Generator, weighted: bool) -> Any:
    return rng.choice([0.0, 0.5, 1.0, 3.0], size=ROWS) if weighted else None


each_weighting = pytest.mark.parametrize("weighted", [False, True])
Score = Callable[..., float]

# Regression


@each_weighting
@pytest.mark.parametrize("outputs", [0, 1, 3])
@pytest.mark.parametrize(
    ("name", "function", "factor"),
    [
        ("mse", "mean_squared_error", 1),
        ("mae", "mean_absolute_error", 1),
        ("rmse", "root_mean_squared_error", 1),
        ("mape", "mean_absolute_percentage_error", 100),
        ("r2", "r2_score", 1),
    ],
)
def test_regression_is_that_of_sklearn(
    sklearn: Any,
    rng: np.random.Generator,
    name: str,
    function: str,
    factor: float,
    outputs: int,
    weighted: bool,
) -> None:
    y_true, y_pred = rng.normal(size=(2, ROWS, outputs) if outputs else (2, ROWS))
    y_pred = y_true + 0.3 * y_pred
    weights = weights_of(rng, weighted)
    expected = factor * getattr(sklearn, function)(
        y_true, y_pred, sample_weight=weights
    )
    if name == "rmse":  # there the root is taken before the mean over outputs
        mse = sklearn.mean_squared_error(y_true, y_pred, sample_weight=weights)
        expected = math.sqrt(mse)
    (metric,) = metrics.get([name]).values()
    check(metric, expected, y_true, y_pred, weights)
    if outputs:
        steps = (ROWS // 4, 4, outputs)
        by_step = None if weights is None else weights.reshape(steps[:2])
        value = metric(y_true.reshape(steps), y_pred.reshape(steps), by_step)
        assert value == pytest.approx(expected, rel=1e-12)


@each_weighting
def test_regression_is_right(rng: np.random.Generator, weighted: bool) -> None:
    y_true, y_pred = rng.normal(size=(2, ROWS, 2))
    weights = weights_of(rng, weighted)
    each = np.ones(ROWS) if weights is None else weights
    error = y_pred - y_true
    squared = np.average((error**2).mean(axis=1), weights=each)
    mean = np.average(y_true, axis=0, weights=each)
    variance = np.average((y_true - mean) ** 2, axis=0, weights=each)
    residual = np.average(error**2, axis=0, weights=each)
    relative = np.abs(error) / np.abs(y_true)
    for name, expected in {
        "mse": squared,
        "rmse": math.sqrt(squared),
        "mae": np.average(np.abs(error).mean(axis=1), weights=each),
        "mape": 100 * np.average(relative.mean(axis=1), weights=each),
        "r2": (1 - residual / variance).mean(),
    }.items():
        check(metrics.get([name])[name], expected, y_true, y_pred, weights)


def test_r2_of_a_constant_is_that_of_sklearn(sklearn: Any) -> None:
    y_true = np.full((ROWS, 1), 0.1)  # whose mean is not exact
    right, wrong = y_true.copy(), y_true + 1
    metric = metrics.R2Score()
    check(metric, 1.0, y_true, right, None)
    check(metric, 0.0, y_true, wrong, None)
    whole = np.full((4, 1), 2.0)
    assert metric(whole, whole) == sklearn.r2_score(whole, whole) == 1
    assert metric(whole, whole + 1) == sklearn.r2_score(whole, whole + 1) == 0


def test_r2_is_stable_far_from_zero(rng: np.random.Generator) -> None:
    y_true = rng.normal(size=(ROWS, 1))
    y_pred = y_true + 0.1 * rng.normal(size=(ROWS, 1))
    expected = metrics.r2(y_true, y_pred)
    far = 2.0**26  # a power of two: the differences lose 26 bits, no more
    for size in CUTS:
        value = streamed(metrics.R2Score(), size, y_true + far, y_pred + far)
        assert value == pytest.approx(expected, rel=1e-6)


def test_r2_needs_two_samples_and_some_weight() -> None:
    metric = metrics.R2Score()
    assert math.isnan(metric.result())
    metric.update_state(np.ones((1, 1)), np.ones((1, 1)))
    assert math.isnan(metric.result())
    metric.update_state(np.zeros((1, 1)), np.ones((1, 1)))
    assert metric.result() == -1
    assert math.isnan(metric(np.ones((2, 1)), np.ones((2, 1)), np.zeros(2)))


@each_weighting
def test_last_step_mse_is_right(rng: np.random.Generator, weighted: bool) -> None:
    y_true, y_pred = rng.normal(size=(2, ROWS, 5, 2))
    weights = weights_of(rng, weighted)
    each = np.ones(ROWS) if weights is None else weights
    squares = ((y_true - y_pred)[:, -1] ** 2).mean(axis=1)
    expected = np.average(squares, weights=each)
    check(metrics.LastStepMeanSquaredError(), expected, y_true, y_pred, weights)


def test_last_step_mse_finds_the_end_of_padded_sequences(
    rng: np.random.Generator,
) -> None:
    y_true, y_pred = rng.normal(size=(2, ROWS, 5, 2))
    lengths = rng.integers(0, 6, size=ROWS)
    mask = np.arange(5) < lengths[:, None]
    valid = lengths > 0
    ends = (y_true - y_pred)[valid, lengths[valid] - 1]
    expected = (ends**2).mean()
    weights = mask.astype(np.float64)
    check(metrics.LastStepMeanSquaredError(), expected, y_true, y_pred, weights)


def test_last_step_mse_needs_steps() -> None:
    with pytest.raises(
        ValueError, match=r"y_pred: got shape \(2, 3\), expected \(N, T"
    ):
        metrics.last_step_mse(np.ones((2, 3)), np.ones((2, 3)))


# Accuracies


def classified(
    rng: np.random.Generator, classes: int
) -> tuple[Array, Array, Array, Array]:
    """Indices, one-hot rows, probabilities, predicted indices."""
    indices = rng.integers(0, classes, size=ROWS)
    one_hot = np.eye(classes)[indices]
    scores = rng.uniform(size=(ROWS, classes)) + 0.7 * one_hot
    return (
        indices,
        one_hot,
        scores / scores.sum(axis=1, keepdims=True),
        scores.argmax(1),
    )


@each_weighting
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_categorical_accuracies_are_right(
    rng: np.random.Generator, classes: int, weighted: bool
) -> None:
    indices, one_hot, scores, predicted = classified(rng, classes)
    weights = weights_of(rng, weighted)
    expected = np.average(indices == predicted, weights=weights)
    sparse, dense = metrics.SparseCategoricalAccuracy(), metrics.CategoricalAccuracy()
    check(sparse, expected, indices, scores, weights)
    check(sparse, expected, indices[:, None].astype(np.uint8), scores, weights)
    check(dense, expected, one_hot, scores, weights)
    for truth in (indices, indices[:, None], one_hot, one_hot.astype(int)):
        check(metrics.Accuracy(), expected, truth, scores, weights)
    check(metrics.Accuracy(), expected, indices, predicted, weights)


@each_weighting
@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1), (ROWS, 3)])
def test_binary_accuracy_is_right(
    rng: np.random.Generator, shape: tuple[int, ...], weighted: bool
) -> None:
    y_true = rng.integers(0, 2, size=shape)
    y_pred = np.clip(0.5 * y_true + rng.uniform(0, 0.8, size=shape), 0, 1)
    weights = weights_of(rng, weighted)
    for threshold in (0.5, 0.8):
        right = ((y_pred > threshold) == y_true).reshape(ROWS, -1).mean(axis=1)
        expected = np.average(right, weights=weights)
        check(
            metrics.BinaryAccuracy(threshold=threshold),
            expected,
            y_true,
            y_pred,
            weights,
        )
        if threshold == 0.5 and shape[-1] != 3:
            check(metrics.Accuracy(), expected, y_true.ravel(), y_pred, weights)


def test_binary_accuracy_of_logits() -> None:
    metric = metrics.BinaryAccuracy(threshold=0.0)
    assert metric(np.array([1.0, 0.0]), np.array([0.2, -3.0])) == 1


@each_weighting
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_top_k_accuracy_is_right(
    rng: np.random.Generator, k: int, weighted: bool
) -> None:
    indices, one_hot, scores, _ = classified(rng, 7)
    weights = weights_of(rng, weighted)
    best = np.argsort(-scores, axis=1)[:, :k]
    expected = np.average((best == indices[:, None]).any(axis=1), weights=weights)
    check(metrics.TopKCategoricalAccuracy(k), expected, one_hot, scores, weights)
    check(metrics.SparseTopKCategoricalAccuracy(k), expected, indices, scores, weights)


def test_top_k_accuracy_is_that_of_sklearn(
    sklearn: Any, rng: np.random.Generator
) -> None:
    indices, _, scores, _ = classified(rng, 7)
    weights = weights_of(rng, True)
    expected = sklearn.top_k_accuracy_score(
        indices, scores, k=3, sample_weight=weights, labels=range(7)
    )
    metric = metrics.SparseTopKCategoricalAccuracy(3)
    check(metric, expected, indices, scores, weights)


def test_top_k_accuracy_counts_ties_and_no_nan() -> None:
    scores = np.array([[0.2, 0.2, 0.6], [np.nan, 0.5, 0.5]])
    metric = metrics.SparseTopKCategoricalAccuracy(2)
    assert metric(np.array([0, 0]), scores) == 0.5
    assert metric(np.array([1, 1]), scores) == 1


def test_masked_steps_do_not_count_however_they_are_cut(
    rng: np.random.Generator,
) -> None:
    y_true, y_pred = rng.normal(size=(2, ROWS, 5, 2))
    mask = np.arange(5) < rng.integers(0, 6, size=ROWS)[:, None]
    weights = losses.masked_weights(mask, scaled=False)
    error = (y_true - y_pred)[mask]
    for name, expected in {
        "mae": np.abs(error).mean(),
        "rmse": math.sqrt((error**2).mean()),
        "huber": losses.huber(y_true[mask], y_pred[mask]),
        "r2": metrics.r2(y_true[mask], y_pred[mask]),
    }.items():
        check(metrics.get([name])[name], expected, y_true, y_pred, weights)


def test_accuracies_count_every_step(rng: np.random.Generator) -> None:
    indices, _, scores, predicted = classified(rng, 3)
    mask = rng.integers(0, 2, size=ROWS).astype(bool)
    expected = (indices == predicted)[mask].mean()
    weights = losses.masked_weights(mask.reshape(-1, 4))
    for name in ("accuracy", "acc", "sparse_categorical_accuracy"):
        (metric,) = metrics.get([name]).values()
        value = metric(indices.reshape(-1, 4), scores.reshape(-1, 4, 3), weights)
        assert value == pytest.approx(expected, rel=1e-14)


# Precision, recall, F1

SCORES: list[tuple[str, type[Any]]] = [
    ("precision", metrics.Precision),
    ("recall", metrics.Recall),
    ("f1", metrics.F1Score),
]
each_score = pytest.mark.parametrize(("name", "metric"), SCORES)


def formula(name: str, average: str, own: Array, seen: Array, weights: Any) -> float:
    """The score as scikit-learn's manual defines it."""
    each = np.ones(len(own)) if weights is None else weights
    present = [1] if average == "binary" else sorted({*own.tolist(), *seen.tolist()})

    def score(hits: float, predicted: float, true: float) -> float:
        precision = hits / predicted if predicted else 0.0
        recall = hits / true if true else 0.0
        if name == "f1":
            both = precision + recall
            return 2 * precision * recall / both if both else 0.0
        return precision if name == "precision" else recall

    counts = [
        (
            each[(own == c) & (seen == c)].sum(),
            each[seen == c].sum(),
            each[own == c].sum(),
        )
        for c in present
    ]
    if average == "micro":
        return score(*(sum(column) for column in zip(*counts, strict=True)))
    scores = [score(*c) for c in counts]
    if average == "weighted":
        return float(np.average(scores, weights=[c[2] for c in counts]))
    return float(np.mean(scores))


@each_weighting
@each_score
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_of_classes_are_right(
    rng: np.random.Generator,
    name: str,
    metric: type[Any],
    average: str,
    classes: int,
    weighted: bool,
) -> None:
    indices, _, _, _ = classified(rng, classes)
    indices[indices == 4] = 0  # a class that does not occur
    one_hot = np.eye(classes)[indices]
    scores = rng.uniform(size=(ROWS, classes)) + 0.7 * one_hot
    if classes > 5:
        scores[:, [4, 5]] = 0  # nor do predictions of it and of the next
    predicted = scores.argmax(axis=1)
    weights = weights_of(rng, weighted)
    expected = formula(name, average, indices, predicted, weights)
    for truth in (indices, indices[:, None], one_hot):
        check(metric(average), expected, truth, scores, weights)
    check(metric(average), expected, indices, predicted, weights)
    (named,) = metrics.get([f"{name}_{average}"]).values()
    check(named, expected, indices, scores, weights)


@each_weighting
@each_score
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_scores_of_classes_are_those_of_sklearn(
    sklearn: Any,
    rng: np.random.Generator,
    name: str,
    metric: type[Any],
    average: str,
    weighted: bool,
) -> None:
    indices, _, scores, predicted = classified(rng, 5)
    weights = weights_of(rng, weighted)
    expected = getattr(sklearn, f"{name}_score")(
        indices, predicted, average=average, sample_weight=weights
    )
    check(metric(average), expected, indices, scores, weights)


@each_weighting
@each_score
def test_binary_scores_are_right(
    rng: np.random.Generator, name: str, metric: type[Any], weighted: bool
) -> None:
    y_true = rng.integers(0, 2, size=ROWS)
    y_pred = np.clip(0.4 * y_true + rng.uniform(0, 0.8, size=ROWS), 0, 1)
    weights = weights_of(rng, weighted)
    for average in ("binary", "macro", "micro", "weighted"):
        expected = formula(name, average, y_true, y_pred > 0.5, weights)
        for truth, scores in (
            (y_true, y_pred),
            (y_true, y_pred[:, None]),
            (y_true[:, None].astype(np.float64), y_pred[:, None]),
            (y_true, np.stack([1 - y_pred, y_pred], axis=1)),
            (y_true, (y_pred > 0.5).astype(int)),
            (y_true.astype(bool), y_pred > 0.5),
        ):
            check(metric(average), expected, truth, scores, weights)
        logits = np.log(y_pred / (1 - y_pred + 1e-12) + 1e-12)
        check(metric(average, threshold=0.0), expected, y_true, logits, weights)
    expected = formula(name, "binary", y_true, y_pred > 0.7, weights)
    check(metric(threshold=0.7), expected, y_true, y_pred, weights)


@each_weighting
@each_score
def test_binary_scores_are_those_of_sklearn(
    sklearn: Any, rng: np.random.Generator, name: str, metric: type[Any], weighted: bool
) -> None:
    y_true = rng.integers(0, 2, size=ROWS)
    y_pred = np.clip(0.4 * y_true + rng.uniform(0, 0.8, size=ROWS), 0, 1)
    weights = weights_of(rng, weighted)
    expected = getattr(sklearn, f"{name}_score")(
        y_true, y_pred > 0.5, sample_weight=weights
    )
    check(metric(), expected, y_true, y_pred, weights)


@each_weighting
@each_score
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_columns_may_be_labels_of_their_own(
    sklearn: Any,
    rng: np.random.Generator,
    name: str,
    metric: type[Any],
    average: str,
    weighted: bool,
) -> None:
    y_true = rng.integers(0, 2, size=(ROWS, 4))
    y_true[:, 3] = 0
    y_pred = np.clip(0.4 * y_true + rng.uniform(0, 0.7, size=(ROWS, 4)), 0, 1)
    weights = weights_of(rng, weighted)
    expected = getattr(sklearn, f"{name}_score")(
        y_true,
        y_pred > 0.5,
        average=average,
        sample_weight=weights,
        zero_division=0,
    )
    check(metric(average, threshold=0.5), expected, y_true, y_pred, weights)


@each_score
def test_what_never_occurs_scores_zero(name: str, metric: type[Any]) -> None:
    zeros = np.zeros(4, int)
    assert metric()(zeros, zeros) == 0
    assert metric("macro")(zeros, zeros) == 1  # class 0 alone
    assert metric("weighted")(zeros, zeros, np.zeros(4)) == 0


@each_score
def test_classes_may_appear_late(name: str, metric: type[Any]) -> None:
    own, seen = np.array([0, 1, 1, 5, 2]), np.array([0, 1, 3, 5, 5])
    made = metric("macro")
    for part in (slice(0, 2), slice(2, 3), slice(3, 5)):
        made.update_state(own[part], seen[part])
    expected = formula(name, "macro", own, seen, None)
    assert made.result() == pytest.approx(expected, rel=1e-14)


def test_scores_count_every_step(rng: np.random.Generator) -> None:
    y_true = rng.integers(0, 2, size=(ROWS, 3))
    y_pred = rng.uniform(size=(ROWS, 3, 1))
    weights = rng.uniform(size=(ROWS, 3))
    expected = formula(
        "f1", "binary", y_true.ravel(), y_pred.ravel() > 0.5, weights.ravel()
    )
    check(metrics.F1Score(), expected, y_true[..., None], y_pred, weights)
    check(metrics.F1Score(), expected, y_true, y_pred, weights)


# Perplexity


@each_weighting
@pytest.mark.parametrize("from_logits", [False, True])
def test_perplexity_is_right(
    rng: np.random.Generator, from_logits: bool, weighted: bool
) -> None:
    indices, one_hot, scores, _ = classified(rng, 5)
    weights = weights_of(rng, weighted)
    own = scores[np.arange(ROWS), indices]
    expected = np.exp(-np.average(np.log(own), weights=weights))
    y_pred = np.log(scores) + 3 if from_logits else scores
    metric = metrics.Perplexity(from_logits)
    check(metric, expected, indices, y_pred, weights)
    check(metric, expected, one_hot, y_pred, weights)
    steps = indices.reshape(-1, 4)
    by_step = None if weights is None else weights.reshape(-1, 4)
    value = metric(steps, y_pred.reshape(-1, 4, 5), by_step)
    assert value == pytest.approx(expected, rel=1e-12)


# State


@pytest.mark.parametrize("name", metrics.NAMES)
def test_calls_leave_the_state_alone(rng: np.random.Generator, name: str) -> None:
    (metric,) = metrics.get([name]).values()
    assert math.isnan(metric.result())
    if name in ("mse", "mae", "rmse", "mape", "r2", "last_step_mse"):
        y_true, y_pred = rng.normal(size=(2, 4, 3, 2))
    else:
        y_true = rng.integers(0, 2, size=(4, 3))
        y_pred = rng.uniform(0.1, 0.9, size=(4, 3, 2))
    metric.update_state(y_true[:2], y_pred[:2])
    before = metric.result()
    assert metric(y_true, y_pred) != before
    assert metric.result() == before
    other = copy.deepcopy(metric)
    metric.update_state(y_true[2:], y_pred[2:])
    assert other.result() == before
    assert metric.result() == pytest.approx(metric(y_true, y_pred), rel=1e-13)
    metric.reset_state()
    assert math.isnan(metric.result())


# Names

KERAS = {
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "root_mean_squared_error": "RootMeanSquaredError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "r2_score": "R2Score",
    "accuracy": "Accuracy",
    "binary_accuracy": "BinaryAccuracy",
    "categorical_accuracy": "CategoricalAccuracy",
    "sparse_categorical_accuracy": "SparseCategoricalAccuracy",
    "top_k_categorical_accuracy": "TopKCategoricalAccuracy",
    "sparse_top_k_categorical_accuracy": "SparseTopKCategoricalAccuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1_score": "F1Score",
}


@pytest.mark.parametrize(("name", "cls"), KERAS.items())
def test_kerass_names_are_known(name: str, cls: str) -> None:
    for given in (name, cls):
        ((key, metric),) = metrics.get([given]).items()
        assert key == metric.name == given
        assert type(metric).__name__ == cls
    made = getattr(metrics, cls)()
    assert made.name == name
    assert metrics.get([made]) == {name: made}
    assert list(metrics.get([type(made)])) == [name]


def test_functions_losses_and_metrics_are_told_apart() -> None:
    def own(y_true: Array, y_pred: Array) -> float:
        return 0.0

    class Own(losses.MeanSquaredError):
        pass

    found = metrics.get(
        [
            metrics.mae,
            losses.mse,
            losses.rmse,
            "huber",
            losses.LogCosh,
            losses.MeanSquaredLogarithmicError(),
            Own(),
            own,
            np.max,
        ]
    )
    assert [repr(metric) for metric in found.values()] == [
        "MeanAbsoluteError(name='mae')",
        "MeanSquaredError(name='mse')",
        "RootMeanSquaredError(name='rmse')",
        "LossMetric(Huber(), 'huber')",
        "LossMetric(LogCosh(), 'log_cosh')",
        "LossMetric(MeanSquaredLogarithmicError(), 'msle')",
        "LossMetric(Own(), 'Own')",
        f"FunctionMetric({own!r}, 'own')",
        f"FunctionMetric({np.max!r}, 'max')",
    ]
    assert all(name == metric.name for name, metric in found.items())


def test_named_metrics_are_new_each_time() -> None:
    for given in ("mse", metrics.mse, losses.mse, metrics.MeanSquaredError):
        first, second = (next(iter(metrics.get([given]).values())) for _ in range(2))
        assert first is not second


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("mae", TypeError, r"metrics: got 'mae', expected a list such as"),
        (3, TypeError, "metrics: got 3, expected a list"),
        (["r3"], ValueError, "metrics: got 'r3', expected one of .'mse', 'mae'"),
        ([3], ValueError, "metrics: got 3, expected one of .* or a function of y_true"),
        ([None], ValueError, "metrics: got None"),
        (["mae", metrics.mae], ValueError, "metrics: the name 'mae' is taken"),
        ([metrics.R2Score("loss")], ValueError, "metrics: the name 'loss' is taken"),
    ],
)
def test_wrong_metrics_are_named(
    given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        metrics.get(given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.R2Score(""), "name: got '', expected a name"),
        (lambda: metrics.R2Score(3), "name: got 3"),  # type: ignore[arg-type]
        (
            lambda: metrics.TopKCategoricalAccuracy(0),
            "k: got 0, expected an integer of",
        ),
        (
            lambda: metrics.BinaryAccuracy(threshold="x"),  # type: ignore[arg-type]
            "threshold: got 'x'",
        ),
        (lambda: metrics.BinaryAccuracy(threshold=math.nan), "threshold: got nan"),
        (lambda: metrics.Recall(threshold=math.inf), "threshold: got inf"),
        (lambda: metrics.Perplexity(1), "from_logits: got 1"),  # type: ignore[arg-type]
        (
            lambda: metrics.F1Score("samples"),  # type: ignore[arg-type]
            "average: got 'samples', expected one of 'binary', 'macro', 'micro', 'weig",
        ),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


HALF = np.full((2, 3), 0.5)
BINARY = np.full((2, 1), 0.5)


@pytest.mark.parametrize(
    ("name", "y_true", "y_pred", "error", "message"),
    [
        ("mse", [1.0], HALF, TypeError, "y_true: got list"),
        (
            "mse",
            HALF,
            HALF.astype(np.float32),
            TypeError,
            "y_true: .* expected float32",
        ),
        ("r2", HALF[:, :2], HALF, ValueError, r"y_true has shape \(2, 2\) and y_pred"),
        (
            "accuracy",
            [1],
            HALF,
            TypeError,
            "y_true: got list, expected a NumPy array of",
        ),
        ("accuracy", np.ones(2), [[0.5]], TypeError, "y_pred: got list"),
        ("accuracy", np.array(["a"]), HALF, TypeError, "y_true: got an array of <U1"),
        (
            "accuracy",
            np.ones(2),
            HALF,
            TypeError,
            "y_true: got an array of float64, .* i",
        ),
        (
            "accuracy",
            np.array([0, 3]),
            HALF,
            ValueError,
            "y_true: got classes from 0 to 3",
        ),
        ("accuracy", np.zeros(3, int), HALF, ValueError, r"y_true: got shape \(3,\)"),
        ("accuracy", HALF[:, :2], HALF, ValueError, r"y_true has shape \(2, 2\)"),
        (
            "accuracy",
            np.array([0, 2]),
            BINARY,
            ValueError,
            "y_true: got the value 2, exp",
        ),
        ("accuracy", np.array([0, -1]), BINARY, ValueError, "y_true: got the value -1"),
        (
            "accuracy",
            np.array([0, math.nan]),
            BINARY,
            ValueError,
            "y_true: got the value nan, expected numbers from 0 to 1",
        ),
        (
            "accuracy",
            np.zeros(3, int),
            np.zeros(2, int),
            ValueError,
            "y_true has shape",
        ),
        (
            "categorical_accuracy",
            np.zeros(2),
            np.zeros(2),
            ValueError,
            r"y_pred: got shape \(2,\), expected \(N, ..., K\)",
        ),
        ("f1", np.zeros(2, int), HALF, ValueError, "average: 'binary' is for two cla"),
        (
            "f1",
            np.array([-1, 0]),
            np.zeros(2, int),
            ValueError,
            "y_true: got the class -1",
        ),
        (
            "f1",
            np.zeros(2, int),
            np.array([-1, 0]),
            ValueError,
            "y_pred: got the class -1",
        ),
        (
            "f1",
            np.zeros(2),
            np.zeros(2, int),
            TypeError,
            "y_true: .*float64, .* as y_pred",
        ),
        (
            "recall_macro",
            np.zeros(2),
            HALF,
            TypeError,
            "y_true: got an array of float64",
        ),
        ("perplexity", [0], HALF, TypeError, "y_true: got list"),
        ("perplexity", np.array([0, 7]), HALF, ValueError, "y_true: got classes"),
    ],
)
def test_wrong_arrays_are_named(
    name: str, y_true: Any, y_pred: Any, error: type[Exception], message: str
) -> None:
    (metric,) = metrics.get([name]).values()
    with pytest.raises(error, match=message):
        metric.update_state(y_true, y_pred)


@pytest.mark.parametrize("name", ["mse", "r2", "accuracy", "f1", "perplexity"])
def test_wrong_weights_are_named(name: str) -> None:
    (metric,) = metrics.get([name]).values()
    y_true: Array = BINARY if name in ("mse", "r2") else np.array([0, 0])
    for weights, error, message in (
        (np.ones(3), ValueError, r"sample_weight: got shape \(3,\), expected \(2,\)"),
        ([1.0, 1.0], TypeError, "sample_weight: got list"),
    ):
        with pytest.raises(error, match=message):
            metric.update_state(y_true, BINARY, weights)  # type: ignore[arg-type]


# Functions


def test_functions_are_averaged_by_rows(rng: np.random.Generator) -> None:
    def mean(y_true: Array, y_pred: Array) -> float:
        return float(np.mean(y_pred))

    (metric,) = metrics.get([mean]).values()
    y = rng.normal(size=(ROWS, 2))
    check(metric, y.mean(), y, y, None)
    with pytest.raises(
        TypeError, match="'mean' is a function without a parameter samp"
    ):
        metric.update_state(y, y, np.ones(ROWS))


def test_functions_with_weights_get_them(rng: np.random.Generator) -> None:
    def mean(y_true: Array, y_pred: Array, sample_weight: Any = None) -> float:
        return float(np.average(y_pred, axis=0, weights=sample_weight)[0])

    (metric,) = metrics.get([mean]).values()
    y, weights = rng.normal(size=(ROWS, 1)), rng.uniform(size=ROWS)
    check(metric, np.average(y[:, 0], weights=weights), y, y, weights)


def test_a_builtin_is_a_function_without_weights() -> None:
    metric = metrics.FunctionMetric(max, "max")
    with pytest.raises(TypeError, match="'max' is a function without a parameter"):
        metric.update_state(np.ones(2), np.ones(2), np.ones(2))


# In models


def test_models_keep_their_metrics_in_files(tmp_path: Path) -> None:
    model = gf.Sequential([gf.layers.GRU(3), gf.layers.Dense(1)], seed=0)
    chosen: list[Any] = ["mae", "huber", metrics.F1Score("macro", 0.2), "r2"]
    model.compile("adam", losses.Huber(0.5), chosen)
    x, y = np.ones((6, 4, 2), np.float32), np.ones((6, 1), np.float32)
    history = model.fit(x, y, seed=0).history
    assert list(history) == ["loss", "mae", "huber", "f1_score", "r2"]
    path = tmp_path / "m.safetensors"
    model.save(path)
    same = gf.load(path)
    assert repr(same.metrics) == repr(model.metrics)
    assert repr(same.loss) == "Huber(delta=0.5)"
    expected = model.evaluate(x, y, return_dict=True)
    assert same.evaluate(x, y, return_dict=True) == expected
    for own in (losses.Huber(0.3), lambda a, b: 0.0):
        model.compile("adam", "mse", [own])
        model.save(path)
        assert gf.load(path).optimizer is None
