"""Losses against the formulas and against Keras, and what they refuse."""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import _core, losses
from reference import Array
from tolerances import DTYPES, Dtype, assert_close

each_dtype = pytest.mark.parametrize("dtype", DTYPES)

# The formulas, also for complex predictions


def absolute(a: Array) -> Array:
    result: Array = a * np.sign(a.real)
    return result


def at_least(a: Array, low: float) -> Array:
    result: Array = np.where(a.real < low, low, a)
    return result


def clipped(p: Array) -> Array:
    result: Array = np.where(p.real > 1 - 1e-7, 1 - 1e-7, at_least(p, 1e-7))
    return result


def log_softmax(z: Array) -> Array:
    d = z - z.real.max(axis=-1, keepdims=True)
    result: Array = d - np.log(np.exp(d).sum(axis=-1, keepdims=True))
    return result


def binary(t: Array, p: Array) -> Any:
    return -(t * np.log(clipped(p)) + (1 - t) * np.log(1 - clipped(p)))


def binary_logits(t: Array, z: Array) -> Any:
    positive, negative = np.log(1 + np.exp(z)), np.log(1 + np.exp(-z))
    return t * negative + (1 - t) * positive


def huber(delta: float) -> Callable[[Array, Array], Array]:
    def terms(t: Array, p: Array) -> Array:
        e = p - t
        inside = np.abs(e.real) <= delta
        beyond: Array = delta * absolute(e) - delta**2 / 2
        return np.where(inside, e * e / 2, beyond)

    return terms


def relative_error(t: Array, p: Array) -> Array:
    return absolute(p / np.where(np.abs(t) <= 1e-6, 1, t) - 1)


def mape(t: Array, p: Array) -> Array:
    return 100 * absolute(p - t) / np.maximum(np.abs(t), 1e-7)


def msle(t: Array, p: Array) -> Array:
    result: Array = np.log(1 + at_least(p, 1e-7)) - np.log(1 + at_least(t, 1e-7))
    return result**2


def smoothed(t: Array, smoothing: float) -> Any:
    return t * (1 - smoothing) + smoothing / t.shape[-1]


def categorical(t: Array, p: Array) -> Array:
    q = clipped(p / p.sum(axis=-1, keepdims=True))
    result: Array = -(t * np.log(q)).sum(axis=-1, keepdims=True)
    return result


def categorical_logits(t: Array, z: Array) -> Array:
    result: Array = -(t * log_softmax(z)).sum(axis=-1, keepdims=True)
    return result


# Loss, formula of the terms, kind of truth, kind of predictions.
Terms = Callable[[Array, Array], Any]
MEANS: list[tuple[losses.Loss, Terms, str, str]] = [
    (losses.mse, lambda t, p: (p - t) ** 2, "real", "real"),
    (losses.mae, lambda t, p: absolute(p - t), "real", "real"),
    (losses.huber, huber(1.0), "real", "real"),
    (losses.Huber(0.2), huber(0.2), "real", "real"),
    (losses.log_cosh, lambda t, p: np.log(np.cosh(p - t)), "real", "real"),
    (losses.mape, mape, "real", "real"),
    (losses.msle, msle, "real", "real"),
    (losses.relative_error, relative_error, "real", "real"),
    (losses.binary_crossentropy, binary, "probability", "probability"),
    (
        losses.BinaryCrossentropy(label_smoothing=0.2),
        lambda t, p: binary(0.8 * t + 0.1, p),
        *("label", "probability"),
    ),
    (
        losses.BinaryCrossentropy(from_logits=True),
        binary_logits,
        *("probability", "real"),
    ),
    (
        losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
        lambda t, p: binary_logits(0.8 * t + 0.1, p),
        *("label", "real"),
    ),
]
CATEGORICAL: list[tuple[losses.Loss, Terms, str, str]] = [
    (losses.categorical_crossentropy, categorical, "probability", "probability"),
    (
        losses.CategoricalCrossentropy(label_smoothing=0.3),
        lambda t, p: categorical(smoothed(t, 0.3), p),
        *("one-hot", "probability"),
    ),
    (
        losses.CategoricalCrossentropy(from_logits=True),
        categorical_logits,
        *("probability", "real"),
    ),
    (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3),
        lambda t, p: categorical_logits(smoothed(t, 0.3), p),
        *("one-hot", "real"),
    ),
]


def numbers(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    if kind == "probability":
        return rng.uniform(0.05, 0.95, size=shape)
    if kind == "label":
        return rng.integers(0, 2, size=shape).astype(np.float64)
    if kind == "one-hot":
        return np.eye(shape[-1])[rng.integers(0, shape[-1], size=shape[:-1])]
    return rng.normal(size=shape)


def weights_of(rng: np.random.Generator, rank: int, shape: tuple[int, ...]) -> Any:
    """Weights for the first `rank` dimensions, some of them 0; None for rank 0."""
    samples = shape[:-1] or shape
    if not rank:
        return None
    return rng.choice([0.0, 0.3, 1.0, 2.5], size=samples[:rank])


def spread(weights: Array | None, shape: tuple[int, ...]) -> Array:
    """The weight of every element."""
    if weights is None:
        return np.ones(shape)
    ones = (1,) * (len(shape) - weights.ndim)
    return np.broadcast_to(weights.reshape(weights.shape + ones), shape)


def complex_step(f: Callable[[Array], Any], a: Array) -> Array:
    """The gradient of f at `a`, exact to rounding."""
    gradient = np.zeros(a.shape)
    for index in np.ndindex(a.shape):
        shifted = a.astype(np.complex128)
        shifted[index] += 1e-30j
        gradient[index] = f(shifted).imag / 1e-30
    return gradient


def check(
    loss: losses.Loss,
    exact: Callable[[Array], Any],
    y_true: Array,
    y_pred: Array,
    weights: Array | None,
) -> None:
    """Compare value and gradient with those of a formula of the predictions."""
    value, gradient = loss.value_and_gradient(y_true, y_pred, weights)
    assert isinstance(value, float)
    assert value == loss(y_true, y_pred, weights)
    assert gradient.tobytes() == loss.gradient(y_true, y_pred, weights).tobytes()
    assert gradient.dtype == y_pred.dtype
    assert gradient.flags.c_contiguous
    wide = y_pred.astype(np.float64)
    eps = float(np.finfo(y_pred.dtype).eps)
    expected = float(np.real(exact(wide)))
    assert value == pytest.approx(expected, rel=8 * eps, abs=8 * eps)
    assert_close("gradient", gradient, complex_step(exact, wide), "backward", 4)


SHAPES = [(1, 1), (5, 1), (4, 7), (3, 4, 2), (2, 3, 2, 3)]


@each_dtype
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("shape", [(6,), *SHAPES])
@pytest.mark.parametrize("case", MEANS, ids=lambda case: repr(case[0]))
def test_means_of_terms_are_right(
    rng: np.random.Generator,
    case: tuple[losses.Loss, Terms, str, str],
    shape: tuple[int, ...],
    rank: int,
    dtype: Dtype,
) -> None:
    loss, terms, truth, prediction = case
    y_true = numbers(rng, truth, shape).astype(dtype)
    y_pred = numbers(rng, prediction, shape).astype(dtype)
    weights = weights_of(rng, min(rank, max(1, len(shape) - 1)) if rank else 0, shape)
    wide, each = y_true.astype(np.float64), spread(weights, shape)

    def exact(p: Array) -> Any:
        return (terms(wide, p) * each).sum() / p.size

    check(loss, exact, y_true, y_pred, weights)


@each_dtype
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CATEGORICAL, ids=lambda case: repr(case[0]))
def test_categorical_crossentropy_is_right(
    rng: np.random.Generator,
    case: tuple[losses.Loss, Terms, str, str],
    shape: tuple[int, ...],
    rank: int,
    dtype: Dtype,
) -> None:
    loss, terms, truth, prediction = case
    y_true = numbers(rng, truth, shape).astype(dtype)
    y_pred = numbers(rng, prediction, shape).astype(dtype)
    weights = weights_of(rng, min(rank, len(shape) - 1), shape)
    wide, each = y_true.astype(np.float64), spread(weights, (*shape[:-1], 1))

    def exact(p: Array) -> Any:
        return (terms(wide, p) * each).sum() / each.size

    check(loss, exact, y_true, y_pred, weights)


@each_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_class_indices_are_worth_their_one_hot_rows(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    from_logits: bool,
    smoothing: float,
    dtype: Dtype,
) -> None:
    kind = "real" if from_logits else "probability"
    y_pred = numbers(rng, kind, shape).astype(dtype)
    classes = rng.integers(0, shape[-1], size=shape[:-1])
    one_hot = np.eye(shape[-1], dtype=dtype)[classes]
    weights = weights_of(rng, 1, shape)
    sparse = losses.SparseCategoricalCrossentropy(from_logits, smoothing)
    dense = losses.CategoricalCrossentropy(from_logits, smoothing)
    value, gradient = sparse.value_and_gradient(classes, y_pred, weights)
    expected, exact = dense.value_and_gradient(one_hot, y_pred, weights)
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(expected, rel=4 * eps, abs=4 * eps)
    assert_close("gradient", gradient, exact.astype(np.float64), "backward", 1)
    for integers in (classes.astype(np.uint8), classes[..., None].astype(np.int32)):
        again = sparse.value_and_gradient(integers, y_pred, weights)
        assert (value, gradient.tobytes()) == (again[0], again[1].tobytes())


@each_dtype
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("shape", [(6,), *SHAPES])
def test_rmse_is_the_root_of_the_mean(
    rng: np.random.Generator, shape: tuple[int, ...], rank: int, dtype: Dtype
) -> None:
    y_true, y_pred = rng.normal(size=(2, *shape)).astype(dtype)
    weights = weights_of(rng, min(rank, max(1, len(shape) - 1)) if rank else 0, shape)
    if weights is not None:
        weights.flat[0] = 1.0
    wide, each = y_true.astype(np.float64), spread(weights, shape)

    def exact(p: Array) -> Any:
        return np.sqrt(((p - wide) ** 2 * each).sum() / p.size)

    check(losses.rmse, exact, y_true, y_pred, weights)


def test_rmse_of_exact_predictions_has_no_slope() -> None:
    value, gradient = losses.rmse.value_and_gradient(np.ones((2, 1)), np.ones((2, 1)))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_rmse_of_negative_weights_is_no_number() -> None:
    assert math.isnan(losses.rmse(np.zeros((1, 1)), np.ones((1, 1)), np.array([-1.0])))


@each_dtype
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("shape", [(6,), (5, 1), (4, 7), (3, 4, 2)])
def test_relative_absolute_error_is_right(
    rng: np.random.Generator, shape: tuple[int, ...], rank: int, dtype: Dtype
) -> None:
    y_true, y_pred = rng.normal(size=(2, *shape)).astype(dtype)
    weights = weights_of(rng, min(rank, max(1, len(shape) - 1)) if rank else 0, shape)
    if weights is not None:
        weights.flat[:2] = 1.0
    wide, each = y_true.astype(np.float64), spread(weights, shape)
    mean = np.average(wide, weights=each)

    def exact(p: Array) -> Any:
        return (absolute(p - wide) * each).sum() / (np.abs(wide - mean) * each).sum()

    check(losses.relative_absolute_error, exact, y_true, y_pred, weights)


def test_relative_absolute_error_of_a_constant_divides_by_one() -> None:
    y_true, y_pred = np.full((3, 1), 0.1), np.array([[0.2], [0.1], [-0.2]])
    assert losses.relative_absolute_error(y_true, y_pred) == pytest.approx(0.4)


@each_dtype
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_maxima_are_right(
    rng: np.random.Generator, relative: bool, weighted: bool, dtype: Dtype
) -> None:
    y_true, y_pred = rng.normal(size=(2, 6, 4, 3)).astype(dtype)
    weights = weights_of(rng, 2, y_pred.shape) if weighted else None
    wide = y_true.astype(np.float64)
    counts = spread(weights, y_pred.shape) > 0

    def exact(p: Array) -> Any:
        errors = absolute(p - wide) * (100 / np.abs(wide) if relative else 1)
        return errors[counts][errors[counts].real.argmax()]

    loss = (
        losses.max_absolute_percentage_error
        if relative
        else losses.max_absolute_deviation
    )
    check(loss, exact, y_true, y_pred, weights)


def test_equal_maxima_share_the_gradient() -> None:
    y_pred = np.array([[2.0], [-2.0], [1.0]])
    gradient = losses.max_absolute_deviation.gradient(np.zeros((3, 1)), y_pred)
    np.testing.assert_array_equal(gradient, [[0.5], [-0.5], [0.0]])


def test_a_maximum_of_nothing_is_zero() -> None:
    weights = np.zeros(2)
    value, gradient = losses.max_absolute_deviation.value_and_gradient(
        np.zeros((2, 1)), np.ones((2, 1)), weights
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("loss", losses.NAMES.values(), ids=repr)
def test_nan_is_not_hidden(loss: losses.Loss) -> None:
    y_pred = np.array([[0.5, np.nan], [0.25, 0.75]])
    y_true = np.array([0, 1]) if "Sparse" in repr(loss) else np.array([[0.0, 1]] * 2)
    assert math.isnan(loss(y_true, y_pred))


# Probabilities at their limits


@each_dtype
def test_certain_and_wrong_predictions_have_a_finite_loss_and_a_gradient(
    dtype: Dtype,
) -> None:
    y_pred = np.array([[1.0, 0.0], [1.0, 0.0]], dtype)
    y_true = np.array([[0.0, 1.0], [1.0, 0.0]], dtype)
    for loss in (losses.binary_crossentropy, losses.categorical_crossentropy):
        value, gradient = loss.value_and_gradient(y_true, y_pred)
        assert value == pytest.approx(-math.log(1e-7) / 2, rel=0.01)
        assert np.isfinite(gradient).all()
        assert gradient[0, 1] < -1e6
        assert abs(gradient[1]).max() <= 1


@each_dtype
def test_binary_logits_of_any_size_are_exact(dtype: Dtype) -> None:
    big = float(np.finfo(dtype).max)
    z = np.array([big, -big, 100.0, -100.0, 30.0, -30.0, 0.0], dtype)[:, None]
    loss = losses.BinaryCrossentropy(from_logits=True)
    for t, sign in ((0.0, 1), (1.0, -1)):
        truth = np.full_like(z, t)
        for row in range(len(z)):
            part = slice(row, row + 1)
            value, gradient = loss.value_and_gradient(truth[part], z[part])
            x = sign * float(z[row, 0])
            expected = x if x > 50 else math.log1p(math.exp(x))
            assert value == pytest.approx(
                expected, rel=1e-6 if dtype[-2:] == "32" else 1e-15
            )
            slope = sign if x > 50 else sign * math.exp(x) / (1 + math.exp(x))
            assert gradient[0, 0] == pytest.approx(slope, rel=1e-6, abs=1e-300)


# Keras

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data/keras_losses.json").read_text(encoding="utf-8")
)
INPUTS = {name: np.array(value) for name, value in RECORDED["inputs"].items()}


@pytest.mark.parametrize(
    "case",
    RECORDED["cases"],
    ids=lambda case: " ".join(map(str, case[:4])),
)
def test_values_are_those_of_keras(case: Any) -> None:
    name, config, truth, prediction, values = case
    loss = getattr(losses, name)(**config)
    y_true, y_pred = INPUTS[truth], INPUTS[prediction]
    steps, mask = INPUTS["steps"], INPUTS["mask"]
    for key, weights in {
        "none": None,
        "rows": INPUTS["rows"],
        "steps": steps,
        "mask": losses.masked_weights(mask),
        "mask and steps": losses.masked_weights(mask, steps),
    }.items():
        # Keras rounds the log 2 of LogCosh to float32.
        close = pytest.approx(values[key], rel=1e-8 if name == "LogCosh" else 1e-12)
        assert loss(y_true, y_pred, weights) == close, key


def test_rmse_is_that_of_keras() -> None:
    value = losses.rmse(INPUTS["y_true"], INPUTS["y_pred"])
    assert value == pytest.approx(RECORDED["rmse"], rel=1e-14)


# The kernel of softmax and cross-entropy

CLASSES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100, 1000)


def kernel_case(
    rng: np.random.Generator, rows: int, classes: int, dtype: Dtype, scale: float = 3.0
) -> tuple[Array, Array, Array, Array]:
    """Logits, classes, probabilities that do not add up to 1, weights."""
    return (
        (rng.normal(size=(rows, classes)) * scale).astype(dtype),
        rng.integers(0, classes, size=rows),
        rng.uniform(0, 1, size=(rows, classes)).astype(dtype),
        rng.uniform(0, 2, size=rows).astype(dtype),
    )


def exact_kernel(
    y_true: Array, logits: Array, weights: Array | None, smoothing: float
) -> tuple[Array, Array]:
    rows, classes = logits.shape
    t = np.eye(classes)[y_true] if y_true.ndim == 1 else y_true.astype(np.float64)
    t = smoothed(t, smoothing)
    log_p = log_softmax(logits.astype(np.float64))
    share = np.full(rows, 1.0) if weights is None else weights.astype(np.float64)
    gradient = t.sum(axis=1, keepdims=True) * np.exp(log_p) - t
    losses = -np.where(t == 0, 0, t * np.where(t == 0, 0, log_p)).sum(axis=1)
    return losses, gradient * share[:, None] / rows


@pytest.mark.usefixtures("isa")
@each_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("classes", CLASSES)
def test_the_kernel_is_right(
    rng: np.random.Generator,
    classes: int,
    sparse: bool,
    smoothing: float,
    dtype: Dtype,
) -> None:
    for rows in (1, 2, 5, 9, 33):
        logits, indices, dense, weights = kernel_case(rng, rows, classes, dtype)
        truth = indices if sparse else dense
        for given in (None, weights):
            actual, gradient = _core.softmax_cross_entropy(
                truth, logits, given, smoothing, True
            )
            exact, exact_gradient = exact_kernel(truth, logits, given, smoothing)
            scale = 1.0 if sparse else classes / 2
            assert_close("losses", actual, exact, "forward", classes, scale)
            assert gradient is not None
            floor = scale / rows
            assert_close("gradient", gradient, exact_gradient, "backward", 4, floor)
        alone, nothing = _core.softmax_cross_entropy(
            truth, logits, None, smoothing, False
        )
        assert nothing is None
        assert alone.tobytes() == actual.tobytes()


@pytest.mark.usefixtures("isa")
@each_dtype
@pytest.mark.parametrize("classes", [1, 3, 16, 37])
def test_a_rows_bits_do_not_depend_on_the_others(
    rng: np.random.Generator, classes: int, dtype: Dtype
) -> None:
    logits, indices, dense, weights = kernel_case(rng, 32, classes, dtype)
    for truth in (indices, dense):
        values, gradient = _core.softmax_cross_entropy(
            truth, logits, weights, 0.1, True
        )
        assert gradient is not None
        for row in range(32):
            part = slice(row, row + 1)
            alone = _core.softmax_cross_entropy(
                truth[part], logits[part], weights[part], 0.1, True
            )
            assert alone[0].tobytes() == values[part].tobytes()
            assert alone[1] is not None
            # 1/32 is exact.
            assert (alone[1] / 32).tobytes() == gradient[part].tobytes()


@pytest.mark.usefixtures("isa", "keep_num_threads")
@each_dtype
def test_threads_do_not_change_a_bit(rng: np.random.Generator, dtype: Dtype) -> None:
    logits, indices, _, weights = kernel_case(rng, 3001, 37, dtype)
    results = set()
    for threads in (1, 2, 3, 8):
        gf.set_num_threads(threads)
        values, gradient = _core.softmax_cross_entropy(
            indices, logits, weights, 0.1, True
        )
        assert gradient is not None
        results.add((values.tobytes(), gradient.tobytes()))
    assert len(results) == 1


@pytest.mark.usefixtures("isa")
@each_dtype
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("classes", [2, 5, 8, 21])
def test_the_kernel_is_stable_for_any_finite_logits(
    rng: np.random.Generator, classes: int, sparse: bool, dtype: Dtype
) -> None:
    big = float(np.finfo(dtype).max)
    for scale in (1e-30, 1e-3, 50.0, 1e4, big / 100, -big / 100):
        logits, indices, _, _ = kernel_case(rng, 9, classes, dtype, scale)
        truth = indices if sparse else np.eye(classes, dtype=dtype)[indices]
        actual, gradient = _core.softmax_cross_entropy(truth, logits, None, 0.0, True)
        exact, exact_gradient = exact_kernel(truth, logits, None, 0.0)
        with np.errstate(over="ignore"):
            exact = exact.astype(dtype).astype(np.float64)
        assert_close("losses", actual, exact, "forward", 4, 1.0)
        assert gradient is not None
        assert_close("gradient", gradient, exact_gradient, "backward", 4, 1 / 9)
    for value in (big, -big, 0.0):
        logits = np.full((1, classes), value, dtype)
        truth = np.array([0]) if sparse else np.eye(classes, dtype=dtype)[:1]
        actual, gradient = _core.softmax_cross_entropy(truth, logits, None, 0.0, True)
        assert actual[0] == pytest.approx(math.log(classes), rel=1e-6)
        assert gradient is not None
        assert gradient[0, 1] == pytest.approx(1 / classes, rel=1e-6)


@pytest.mark.usefixtures("isa")
@each_dtype
def test_the_ends_of_the_range_at_once(dtype: Dtype) -> None:
    big = float(np.finfo(dtype).max)
    logits = np.array([[big, -big, 0.0], [-big, 0.0, big]], dtype)
    losses_, gradient = _core.softmax_cross_entropy(
        np.array([0, 0]), logits, None, 0.0, True
    )
    np.testing.assert_array_equal(losses_, [0, np.inf])  # the second is 2 big
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [-0.5, 0, 0.5]])
    dense = np.eye(3, dtype=dtype)[[0, 1]]
    losses_, gradient = _core.softmax_cross_entropy(dense, logits, None, 0.0, True)
    np.testing.assert_array_equal(losses_, [0, big])
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [0, -0.5, 0.5]])


@pytest.mark.usefixtures("isa")
@each_dtype
@pytest.mark.parametrize("classes", [3, 8, 19])
def test_a_class_of_minus_infinity_is_impossible(
    rng: np.random.Generator, classes: int, dtype: Dtype
) -> None:
    logits, _, _, _ = kernel_case(rng, 2, classes, dtype)
    logits[:, 1] = -np.inf
    rest = np.delete(logits, 1, axis=1)
    for truth, smaller in (
        (np.array([0, 0]), np.array([0, 0])),
        (
            np.eye(classes, dtype=dtype)[[0, 0]],
            np.eye(classes - 1, dtype=dtype)[[0, 0]],
        ),
    ):
        values, gradient = _core.softmax_cross_entropy(truth, logits, None, 0.0, True)
        exact, exact_gradient = exact_kernel(smaller, rest, None, 0.0)
        assert_close("losses", values, exact, "forward", classes, 1.0)
        assert gradient is not None
        np.testing.assert_array_equal(gradient[:, 1], 0)
        kept = np.delete(gradient, 1, axis=1)
        assert_close("gradient", kept, exact_gradient, "backward", 4, 0.5)
    impossible, _ = _core.softmax_cross_entropy(
        np.array([1, 1]), logits, None, 0.0, True
    )
    assert np.isposinf(impossible).all()


@pytest.mark.usefixtures("isa")
@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("classes", [1, 3, 16, 20])
def test_logits_that_are_no_numbers_spoil_their_row_alone(
    rng: np.random.Generator, classes: int, value: float, dtype: Dtype
) -> None:
    logits, indices, dense, _ = kernel_case(rng, 3, classes, dtype)
    for truth in (indices, dense):
        for column in {0, classes // 2, classes - 1}:
            spoilt = logits.copy()
            spoilt[1, column] = value
            values, gradient = _core.softmax_cross_entropy(
                truth, spoilt, None, 0.0, True
            )
            np.testing.assert_array_equal(np.isnan(values), [False, True, False])
            assert gradient is not None
            np.testing.assert_array_equal(
                np.isnan(gradient).any(axis=1), [False, True, False]
            )


@pytest.mark.usefixtures("isa")
def test_logits_may_have_any_row_stride_and_weights_may_be_zero(
    rng: np.random.Generator,
) -> None:
    wide = rng.normal(size=(6, 20))
    truth = rng.integers(0, 9, size=3)
    weights = np.array([1.0, 0.0, 2.0])
    strided = _core.softmax_cross_entropy(truth, wide[::2, 3:12], weights, 0.0, True)
    plain = wide[::2, 3:12].copy()
    packed = _core.softmax_cross_entropy(truth, plain, weights, 0.0, True)
    for a, b in zip(strided, packed, strict=True):
        assert a is not None
        assert b is not None
        assert a.tobytes() == b.tobytes()
    assert strided[1] is not None
    np.testing.assert_array_equal(strided[1][1], 0)


def test_the_kernel_takes_no_rows() -> None:
    values, gradient = _core.softmax_cross_entropy(
        np.zeros(0, np.int64), np.zeros((0, 3)), None, 0.0, True
    )
    assert values.shape == (0,)
    assert gradient is not None
    assert gradient.shape == (0, 3)


def test_the_kernel_may_be_called_from_many_threads(rng: np.random.Generator) -> None:
    logits, indices, _, weights = kernel_case(rng, 500, 11, "float32")

    def run(_: int) -> bytes:
        values, gradient = _core.softmax_cross_entropy(
            indices, logits, weights, 0.1, True
        )
        assert gradient is not None
        return values.tobytes() + gradient.tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(run, range(32)))) == 1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"y_pred": [[1.0]]}, TypeError, "y_pred: got list, expected an ndarray"),
        ({"y_pred": np.ones((2, 3), int)}, TypeError, "y_pred: got dtype int64"),
        (
            {"y_pred": np.ones(3)},
            ValueError,
            r"y_pred: got shape \(3,\), expected \(any",
        ),
        ({"y_pred": np.ones((2, 0))}, ValueError, "y_pred: got no classes"),
        ({"y_pred": np.ones((3, 2)).T}, ValueError, "y_pred: its last dimension"),
        ({"y_true": [0, 1]}, TypeError, "y_true: got list"),
        ({"y_true": np.zeros(2)}, TypeError, "y_true: got dtype float64, .* int64"),
        ({"y_true": np.zeros(2, np.int32)}, TypeError, "y_true: got dtype int32"),
        ({"y_true": np.zeros(3, int)}, ValueError, r"y_true: got shape \(3,\)"),
        ({"y_true": np.array([0, 3])}, ValueError, "got the class 3, expected 0 to 2"),
        (
            {"y_true": np.array([0, -1])},
            ValueError,
            "got the class -1, expected 0 to 2",
        ),
        ({"y_true": np.zeros((2, 2))}, ValueError, r"y_true: got shape \(2, 2\)"),
        (
            {"y_true": np.zeros((2, 3), np.float32)},
            TypeError,
            "y_true: got dtype float32",
        ),
        ({"y_true": np.zeros((3, 2)).T}, ValueError, "y_true: "),
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight: got shape \(3,\)"),
        (
            {"sample_weight": np.ones(2, int)},
            TypeError,
            "sample_weight: got dtype int64",
        ),
        ({"sample_weight": 1.0}, TypeError, "sample_weight: got float"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing: got 1.0"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing: got -0.1"),
        ({"label_smoothing": math.nan}, ValueError, "label_smoothing: got nan"),
    ],
)
def test_the_kernel_names_what_is_wrong(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {
        "y_true": np.array([0, 2]),
        "y_pred": np.ones((2, 3)),
        "sample_weight": np.ones(2),
        "label_smoothing": 0.0,
        "need_gradient": True,
    } | changed
    with pytest.raises(error, match=message):
        _core.softmax_cross_entropy(**arguments)


# Arguments


@pytest.mark.parametrize("loss", losses.NAMES.values(), ids=repr)
def test_any_layout_is_taken_and_gradients_are_contiguous(
    rng: np.random.Generator, loss: losses.Loss
) -> None:
    sparse = "Sparse" in repr(loss)
    y_pred = rng.uniform(0.1, 0.9, size=(3, 4, 5))
    y_true = rng.integers(0, 5, size=(3, 4)) if sparse else rng.uniform(size=(3, 4, 5))
    weights = rng.uniform(size=(3, 4))
    expected = loss.value_and_gradient(y_true, y_pred, weights)

    def unaligned(a: Array) -> Array:
        raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        raw[...] = a
        return raw

    for layout in (np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2], unaligned):
        value, gradient = loss.value_and_gradient(
            layout(y_true), layout(y_pred), layout(weights)
        )
        assert value == pytest.approx(expected[0], rel=1e-14)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-13, atol=1e-15)
        assert gradient.flags.c_contiguous


def test_subclasses_of_arrays_are_plain_arrays(rng: np.random.Generator) -> None:
    class Labelled(np.ndarray[Any, np.dtype[np.float64]]):
        pass

    y_true, y_pred = rng.uniform(0.1, 0.9, size=(2, 4, 3))
    weights = rng.uniform(size=4)
    for loss in (losses.mse, losses.categorical_crossentropy):
        expected = loss.value_and_gradient(y_true, y_pred, weights)
        value, gradient = loss.value_and_gradient(
            y_true.view(Labelled), y_pred.view(Labelled), weights.view(Labelled)
        )
        assert value == expected[0]
        assert type(gradient) is np.ndarray
        assert gradient.tobytes() == expected[1].tobytes()


@pytest.mark.parametrize("loss", losses.NAMES.values(), ids=repr)
def test_weights_may_be_any_numbers(
    rng: np.random.Generator, loss: losses.Loss
) -> None:
    sparse = "Sparse" in repr(loss)
    y_pred = rng.uniform(0.1, 0.9, size=(4, 5)).astype(np.float32)
    y_true = rng.integers(0, 5, size=4) if sparse else y_pred[::-1].copy()
    expected = loss.value_and_gradient(y_true, y_pred, np.array([1.0, 0.0, 1.0, 1.0]))
    for kind in (np.float32, np.int8, bool):
        weights = np.array([1, 0, 1, 1], kind)
        value, gradient = loss.value_and_gradient(y_true, y_pred, weights)
        assert value == expected[0]
        assert gradient.tobytes() == expected[1].tobytes()


PAIR: dict[str, Any] = {"y_true": np.ones((2, 3)), "y_pred": np.ones((2, 3))}
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"y_pred": [[1.0]]}, TypeError, "y_pred: got list, expected a NumPy array"),
    ({"y_pred": np.ones((2, 3), int)}, TypeError, "y_pred: got an array of int64"),
    (
        {"y_pred": np.ones((0, 3))},
        ValueError,
        r"y_pred: got shape \(0, 3\), .* one sample",
    ),
    ({"y_pred": np.array(1.0)}, ValueError, r"y_pred: got shape \(\)"),
    ({"y_true": None}, TypeError, "y_true: got None"),
    (
        {"y_true": np.ones((2, 3), np.float32)},
        TypeError,
        "y_true: got an array of float32, expected float64",
    ),
    (
        {"y_true": np.ones((2, 1))},
        ValueError,
        r"y_true has shape \(2, 1\) and y_pred \(2, 3\)",
    ),
    (
        {"sample_weight": [1.0, 1.0]},
        TypeError,
        "sample_weight: got list, expected a NumPy array of numbers",
    ),
    (
        {"sample_weight": np.array(["a", "b"])},
        TypeError,
        "sample_weight: got an array of <U1, expected a NumPy array of numbers",
    ),
    (
        {"sample_weight": np.ones((2, 3))},
        ValueError,
        r"sample_weight: got shape \(2, 3\), expected \(2,\)$",
    ),
    ({"sample_weight": np.array(1.0)}, ValueError, r"sample_weight: got shape \(\)"),
    (
        {
            **{name: np.ones((2, 3, 4)) for name in PAIR},
            "sample_weight": np.ones((2, 4)),
        },
        ValueError,
        r"sample_weight: got shape \(2, 4\), expected \(2,\) or \(2, 3\)",
    ),
    (
        {"sample_weight": np.ma.masked_array(np.ones(2))},
        TypeError,
        "sample_weight: got MaskedArray",
    ),
]


@pytest.mark.parametrize(
    "loss", [losses.mse, losses.categorical_crossentropy], ids=repr
)
@pytest.mark.parametrize(("changed", "error", "message"), WRONG)
def test_wrong_arrays_are_named(
    loss: losses.Loss, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    for use in (loss, loss.gradient, loss.value_and_gradient):
        with pytest.raises(error, match=message):
            use(**{**PAIR, **changed})


def test_categories_need_a_last_dimension() -> None:
    with pytest.raises(ValueError, match=r"y_pred: got shape \(3,\), expected \(N, "):
        losses.categorical_crossentropy(np.ones(3), np.ones(3))


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    ("y_true", "error", "message"),
    [
        (np.zeros(2), TypeError, "y_true: got an array of float64, .* integers"),
        ([0, 1], TypeError, "y_true: got list, expected a NumPy array of integers"),
        (np.zeros(3, int), ValueError, r"y_true: got shape \(3,\), expected \(2,\)"),
        (np.zeros((2, 3), int), ValueError, r"y_true: got shape \(2, 3\)"),
        (np.array([0, 3]), ValueError, "y_true: got .*class.* 3, expected 0 to 2"),
        (np.array([0, -1]), ValueError, "y_true: got .*class.* -1.*, expected 0 to 2"),
        (
            np.array([0, 9], np.uint8),
            ValueError,
            "classes from 0 to 9, expected 0 to 2",
        ),
    ],
)
def test_wrong_classes_are_named(
    from_logits: bool, y_true: Any, error: type[Exception], message: str
) -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits)
    with pytest.raises(error, match=message):
        loss(y_true, np.full((2, 3), 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Huber(0.0), "delta: got 0.0, expected a number above 0"),
        (lambda: losses.Huber(-1), "delta: got -1"),
        (lambda: losses.Huber(math.inf), "delta: got inf"),
        (lambda: losses.BinaryCrossentropy(1), "from_logits: got 1, expected True or"),  # type: ignore[arg-type]
        (lambda: losses.CategoricalCrossentropy("no"), "from_logits: got 'no'"),  # type: ignore[arg-type]
        (
            lambda: losses.BinaryCrossentropy(label_smoothing=1.0),
            r"label_smoothing: got 1.0, expected a number in \[0, 1\)",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy(label_smoothing=-0.1),
            "label_smoothing: got -0.1",
        ),
        (
            lambda: losses.get("hinge"),
            "loss: got 'hinge', expected a Loss, .* or one of .'mse', 'rmse'",
        ),
        (lambda: losses.get(None), "loss: got None"),  # type: ignore[arg-type]
    ],
)
def test_wrong_settings_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# Truth


@pytest.mark.parametrize("loss", [losses.mse, losses.binary_crossentropy], ids=repr)
def test_the_last_size_may_be_missing_where_it_is_one(loss: losses.Loss) -> None:
    y = np.array([0.0, 1.0, 0.5])
    np.testing.assert_array_equal(loss.target(y, (3, 1), "float64"), y[:, None])
    y = np.ones((3, 4))
    assert loss.target(y, (3, 4, 1), "float64").shape == (3, 4, 1)
    assert loss.target(y, (3, 4), "float64") is not None
    for shape in ((3, 1), (4, 3), (3, 4, 2), (1, 3, 4)):
        with pytest.raises(
            ValueError, match=r"y: got shape \(3, 4\), expected the output"
        ):
            loss.target(y, shape, "float64")


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint64])
def test_labels_may_be_integers(kind: Any) -> None:
    y = np.array([[0, 1], [1, 0]], kind)
    for loss in (losses.binary_crossentropy, losses.categorical_crossentropy):
        target = loss.target(y, (2, 2), "float32")
        assert target.dtype == np.float32
        np.testing.assert_array_equal(target, y)


def test_class_indices_become_int64() -> None:
    loss = losses.sparse_categorical_crossentropy
    for kind in (np.int8, np.uint64, np.int64):
        y = np.array([[0, 2], [1, 0]], kind)
        for given in (y, y[..., None]):
            target = loss.target(given, (2, 2, 3), "float32")
            assert target.dtype == np.int64
            np.testing.assert_array_equal(target, y)
    assert loss.target(np.zeros(0, int), (0, 3), "float32").shape == (0,)


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        ("mse", [1.0], TypeError, "y: got list"),
        (
            "mse",
            np.ones(2, int),
            TypeError,
            "y: got an array of int64, expected float32",
        ),
        ("mse", np.ones(2), TypeError, "y: got an array of float64, expected float32"),
        ("mse", np.ma.ones(2), TypeError, "y: got a masked array"),
        ("binary_crossentropy", np.ones(2), TypeError, "y: got an array of float64"),
        ("binary_crossentropy", np.array([1, 2]), ValueError, "y: got the value 2, "),
        (
            "binary_crossentropy",
            np.array([1, -1], np.float32),
            ValueError,
            "y: got the value -1, expected probabilities, from 0 to 1",
        ),
        (
            "categorical_crossentropy",
            np.array([0, 1]),
            ValueError,
            r"y: got shape \(2,\), .* \(2, 3\); SparseCategoricalCrossentropy takes",
        ),
        ("categorical_crossentropy", None, TypeError, "y: got None"),
        (
            "sparse_categorical_crossentropy",
            np.ones(2, np.float32),
            TypeError,
            "y: got an array of float32, expected a NumPy array of integers",
        ),
        (
            "sparse_categorical_crossentropy",
            np.ones((2, 3), int),
            ValueError,
            r"y: got shape \(2, 3\), expected \(2,\): an index",
        ),
        (
            "sparse_categorical_crossentropy",
            np.array([1, 3]),
            ValueError,
            "y: got classes from 1 to 3, expected 0 to 2",
        ),
        (
            "sparse_categorical_crossentropy",
            np.array([1, 2**63], np.uint64),
            ValueError,
            "expected 0 to 2",
        ),
    ],
)
def test_wrong_truth_is_named(
    loss: str, y: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        losses.get(loss).target(y, (2, 3), "float32")


# Weights


def test_masked_weights_make_means_over_valid_steps(rng: np.random.Generator) -> None:
    y_true, y_pred = rng.normal(size=(2, 4, 6, 3))
    mask = np.arange(6) < np.array([6, 3, 1, 0])[:, None]
    weights = losses.masked_weights(mask)
    expected = ((y_pred - y_true)[mask] ** 2).mean()
    assert losses.mse(y_true, y_pred, weights) == pytest.approx(expected, rel=1e-14)
    gradient = losses.mse.gradient(y_true, y_pred, weights)
    np.testing.assert_array_equal(gradient[~mask], 0)
    rows = rng.uniform(size=4)
    assert weights is not None
    both: Any = losses.masked_weights(mask, rows)
    np.testing.assert_allclose(both, weights * rows[:, None], rtol=1e-15)
    steps = rng.uniform(size=(4, 6))
    both = losses.masked_weights(mask, steps)
    np.testing.assert_allclose(both, weights * steps, rtol=1e-15)
    unscaled: Any = losses.masked_weights(mask, steps, scaled=False)
    np.testing.assert_array_equal(unscaled, mask * steps)
    assert losses.masked_weights(None, rows) is rows
    assert losses.masked_weights(None) is None


def test_a_mask_of_nothing_gives_zero() -> None:
    weights = losses.masked_weights(np.zeros((2, 3), bool))
    np.testing.assert_array_equal(weights, np.zeros((2, 3)))
    assert losses.mse(np.zeros((2, 3, 1)), np.ones((2, 3, 1)), weights) == 0


@pytest.mark.parametrize(
    ("mask", "weights", "error", "message"),
    [
        (np.ones((2, 3)), None, TypeError, "mask: got an array of float64, .* bools"),
        ([[True]], None, TypeError, "mask: got list, expected a NumPy array of bools"),
        (
            np.ones(3, bool),
            None,
            ValueError,
            r"mask: got shape \(3,\), expected \(N, T",
        ),
        (
            np.ones((2, 3), bool),
            np.ones(3),
            ValueError,
            r"sample_weight: got shape \(3,\), expected \(2,\) or \(2, 3\)",
        ),
    ],
)
def test_wrong_masks_are_named(
    mask: Any, weights: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        losses.masked_weights(mask, weights)


def test_classes_have_weights() -> None:
    weight = {0: 0.5, 2: 3.0}
    classes = np.array([0, 1, 2, 2])
    expected = np.array([0.5, 1.0, 3.0, 3.0])
    np.testing.assert_array_equal(losses.class_weights(classes, weight), expected)
    np.testing.assert_array_equal(
        losses.class_weights(np.eye(3)[classes], weight), expected
    )
    steps = classes.reshape(2, 2)
    np.testing.assert_array_equal(
        losses.class_weights(steps, weight), expected.reshape(2, 2)
    )
    np.testing.assert_array_equal(
        losses.class_weights(np.eye(3)[steps], weight), expected.reshape(2, 2)
    )
    binary = np.array([0.0, 1.0, 0.2, 0.8], np.float32)
    for truth in (binary, binary[:, None]):
        np.testing.assert_array_equal(
            losses.class_weights(truth, {1: 4.0}), [1.0, 4.0, 1.0, 4.0]
        )


@pytest.mark.parametrize(
    ("y_true", "class_weight", "error", "message"),
    [
        ([0, 1], {0: 1.0}, TypeError, "y_true: got list"),
        (np.array(["a"]), {0: 1.0}, TypeError, "y_true: got an array of <U1"),
        (
            np.array([0]),
            [1.0],
            TypeError,
            r"class_weight: got \[1.0\], expected a dict",
        ),
        (np.array([0]), {"a": 1.0}, TypeError, "class_weight: a class: got 'a'"),
        (np.array([0]), {-1: 1.0}, ValueError, "class_weight: a class: got -1"),
        (np.array([0]), {1.0: 1.0}, TypeError, "class_weight: a class: got 1.0"),
        (np.array([0]), {True: 1.0}, TypeError, "class_weight: a class: got True"),
        (np.array([0]), {0: -1.0}, ValueError, r"class_weight\[0\]: got -1.0"),
        (np.array([0]), {0: math.nan}, ValueError, r"class_weight\[0\]: got nan"),
        (np.array([0]), {0: "x"}, TypeError, r"class_weight\[0\]: got 'x'"),
    ],
)
def test_wrong_class_weights_are_named(
    y_true: Any, class_weight: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        losses.class_weights(y_true, class_weight)


# Names


@pytest.mark.parametrize("short", losses.NAMES)
def test_every_loss_has_its_names(short: str) -> None:
    loss = losses.NAMES[short]
    name = type(loss).__name__
    assert getattr(losses, short) is loss
    assert losses.get(short) is losses.get(name) is losses.get(loss) is loss
    assert losses.LOSSES[name] is type(loss) is getattr(losses, name)
    assert {short, name} <= set(losses.__all__)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mean_squared_error", "MeanSquaredError()"),
        ("root_mean_squared_error", "RootMeanSquaredError()"),
        ("log_cosh", "LogCosh()"),
        ("mean_absolute_percentage_error", "MeanAbsolutePercentageError()"),
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy()"),
    ],
)
def test_kerass_names_of_functions_are_known(name: str, loss: str) -> None:
    assert repr(losses.get(name)) == loss


def test_losses_train_a_classifier(rng: np.random.Generator) -> None:
    """Gradients point down: a model learns from each of the cross-entropies."""
    x = rng.normal(size=(90, 2)).astype(np.float32)
    classes = np.argmax(x @ np.array([[1, -1, 0.3], [0.2, 1, -1]]), axis=1)
    for loss in (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        losses.CategoricalCrossentropy(from_logits=True),
        losses.BinaryCrossentropy(from_logits=True),
    ):
        model = gf.Sequential([gf.layers.Dense(3)], seed=0)
        truth = (
            classes if "Sparse" in repr(loss) else np.eye(3)[classes].astype(np.float32)
        )
        optimizer = gf.optimizers.Adam(0.1)
        y = loss.target(truth, (90, 3), "float32")
        for _ in range(150):
            output, context = model.forward(x)
            _, grads = model.backward(loss.gradient(y, output), context)
            optimizer.update(model, grads)
        assert (model(x).argmax(axis=1) == classes).mean() > 0.95
