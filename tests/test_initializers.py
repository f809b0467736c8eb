"""First weights and penalties: what they draw, what they say, who uses them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from reference import Array

initializers, layers, regularizers = gf.initializers, gf.layers, gf.regularizers
untyped: Any = gf

NAMES = (
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "torch_uniform",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
)


def drawn(initializer: Any, shape: tuple[int, ...] = (400, 300), **more: Any) -> Array:
    return initializers.get(initializer)(shape, np.random.default_rng(0), **more)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_keras_s(name: str) -> None:
    initializer = initializers.get(name)
    assert initializers.get(initializer) is initializer
    assert repr(initializer) == f"{type(initializer).__name__}()"
    weight = initializer((5, 3), np.random.default_rng(0))
    assert weight.dtype == np.float64
    assert weight.shape == (5, 3)
    same = initializer((5, 3), np.random.default_rng(0))
    assert weight.tobytes() == same.tobytes()


# A weight (400, 300) has 300 inputs and 400 outputs.
VARIANCES = {
    "glorot_uniform": 2 / 700,
    "glorot_normal": 2 / 700,
    "he_uniform": 2 / 300,
    "he_normal": 2 / 300,
    "lecun_uniform": 1 / 300,
    "lecun_normal": 1 / 300,
    "torch_uniform": 1 / 300 / 3,
    "random_uniform": 0.05**2 / 3,
    "uniform": 0.05**2 / 3,
    "random_normal": 0.05**2,
    "normal": 0.05**2,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances_are_those_of_the_papers(name: str) -> None:
    weight = drawn(name)
    variance = VARIANCES[name]
    # Five standard deviations of the estimate from 120 000 numbers, at most normal.
    assert abs(weight.var() / variance - 1) < 5 * (2 / weight.size) ** 0.5
    assert abs(weight.mean()) < 5 * (variance / weight.size) ** 0.5
    largest = np.abs(weight).max() / variance**0.5
    if "uniform" in name:
        assert 0.999 < largest / 3**0.5 <= 1
    elif "random" in name or name == "normal":
        assert largest > 4
    else:  # cut at two standard deviations of the uncut one
        assert 0.999 < largest * 0.87962566103423978 / 2 <= 1


@pytest.mark.parametrize(
    "distribution", ["truncated_normal", "untruncated_normal", "uniform"]
)
@pytest.mark.parametrize(
    ("mode", "fan"), [("fan_in", 300), ("fan_out", 400), ("fan_avg", 350)]
)
def test_variance_scaling(distribution: Any, mode: Any, fan: int) -> None:
    initializer = initializers.VarianceScaling(3.0, mode, distribution)
    assert abs(drawn(initializer).var() * fan / 3 - 1) < 0.02


def test_truncated_normal_is_drawn_again_beyond_two_deviations() -> None:
    weight = drawn(initializers.TruncatedNormal(1.0, 0.5))
    assert 1.99 < np.abs((weight - 1) / 0.5).max() <= 2
    # Uniform on the probability scale: no heap at the cuts.
    near = np.mean(np.abs(weight - 1) > 0.95)
    density = (math.erf(2 / 2**0.5) - math.erf(1.9 / 2**0.5)) / math.erf(2 / 2**0.5)
    assert abs(near - density) < 5 * (density / weight.size) ** 0.5


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (1, 4), (1, 1)])
def test_orthogonal_rows_or_columns(shape: tuple[int, int]) -> None:
    q = drawn(initializers.Orthogonal(2.0), shape) / 2
    product = q @ q.T if shape[0] <= shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_matrices_are_uniform() -> None:
    """Both signs of the determinant come up, and every sign of an entry."""
    rng = np.random.default_rng(0)
    draw = initializers.Orthogonal()
    matrices = np.array([draw((3, 3), rng) for _ in range(400)])
    signs = np.linalg.det(matrices).round()
    assert set(signs) == {-1, 1}
    assert abs(signs.mean()) < 5 / 20
    assert np.abs(np.sign(matrices).mean(axis=0)).max() < 5 / 20


def test_identity_and_constants() -> None:
    np.testing.assert_array_equal(
        drawn(initializers.Identity(2.0), (3, 2)), [[2, 0], [0, 2], [0, 0]]
    )
    np.testing.assert_array_equal(
        drawn(initializers.Constant(-0.5), (2,)), [-0.5, -0.5]
    )
    np.testing.assert_array_equal(drawn("zeros", (2,)), [0, 0])
    np.testing.assert_array_equal(drawn("ones", (2,)), [1, 1])


def test_torch_uniform_takes_the_number_that_layers_give() -> None:
    assert 0.49 < np.abs(drawn("torch_uniform", (500,), fan=4)).max() <= 0.5
    assert 0.08 < np.abs(drawn("torch_uniform", (100,))).max() <= 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: untyped.initializers.get("he"),
            ValueError,
            "initializer: got 'he', expected one",
        ),
        (lambda: untyped.initializers.get(None), ValueError, "initializer: got None"),
        (
            lambda: untyped.initializers.Constant(math.inf),
            ValueError,
            "value: got inf, expected a finite",
        ),
        (
            lambda: untyped.initializers.Constant(True),
            TypeError,
            "value: got True, expected a finite",
        ),
        (
            lambda: untyped.initializers.Constant("1"),
            TypeError,
            "value: got '1', expected a finite",
        ),
        (
            lambda: untyped.initializers.RandomUniform(1, 1),
            ValueError,
            "maxval: got 1, expected more than",
        ),
        (
            lambda: untyped.initializers.RandomUniform(math.nan),
            ValueError,
            "minval: got nan",
        ),
        (
            lambda: untyped.initializers.RandomNormal(stddev=-1),
            ValueError,
            "stddev: got -1",
        ),
        (
            lambda: untyped.initializers.TruncatedNormal(mean=None),
            TypeError,
            "mean: got None",
        ),
        (
            lambda: untyped.initializers.VarianceScaling(0),
            ValueError,
            "scale: got 0, expected a number ab",
        ),
        (
            lambda: untyped.initializers.VarianceScaling(mode="in"),
            ValueError,
            "mode: got 'in'",
        ),
        (
            lambda: untyped.initializers.VarianceScaling(distribution=""),
            ValueError,
            "distribution: got ''",
        ),
        (
            lambda: untyped.initializers.Orthogonal(math.nan),
            ValueError,
            "gain: got nan",
        ),
        (
            lambda: drawn("orthogonal", (3,)),
            ValueError,
            r"shape: got \(3,\), expected two sizes",
        ),
        (
            lambda: drawn("identity", (3, 3, 3)),
            ValueError,
            r"shape: got \(3, 3, 3\), expected two",
        ),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


# In layers


def test_dense_uses_its_initializers() -> None:
    layer = layers.Dense(
        3,
        kernel_initializer="identity",
        bias_initializer=initializers.Constant(2.0),
        seed=0,
    )
    layer.build(2)
    np.testing.assert_array_equal(layer.weights["weight"], [[1, 0], [0, 1], [0, 0]])
    np.testing.assert_array_equal(layer.weights["bias"], [2, 2, 2])
    assert repr(layer) == (
        "Dense(3, kernel_initializer='identity', "
        "bias_initializer=Constant(value=2.0), seed=0)"
    )


def test_one_of_them_leaves_the_other_to_the_set() -> None:
    layer = layers.Dense(200, kernel_initializer="zeros", initializer="torch", seed=0)
    layer.build(16)
    assert not layer.weights["weight"].any()
    assert 0.24 < np.abs(layer.weights["bias"]).max() <= 0.25


def test_initializers_of_ones_own() -> None:
    class Counting(initializers.Initializer):
        def __call__(
            self,
            shape: tuple[int, ...],
            rng: np.random.Generator,
            fan: int | None = None,
        ) -> Array:
            return np.arange(math.prod(shape), dtype=np.float64).reshape(shape)

    layer = layers.Dense(2, kernel_initializer=Counting())
    layer.build(3)
    np.testing.assert_array_equal(layer.weights["weight"], [[0, 1, 2], [3, 4, 5]])

    class Wrong(initializers.Initializer):
        def __call__(
            self,
            shape: tuple[int, ...],
            rng: np.random.Generator,
            fan: int | None = None,
        ) -> Array:
            return np.zeros(shape[::-1])

    with pytest.raises(ValueError, match=r"kernel_initializer: got shape \(3, 2\)"):
        layers.Dense(2, kernel_initializer=Wrong()).build(3)


@pytest.mark.parametrize("argument", ["kernel_initializer", "bias_initializer"])
@pytest.mark.parametrize("wrong", ["he", 3, np.zeros, initializers.Zeros])
def test_layers_name_wrong_initializers(argument: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument}: got .*, expected one of 'const"):
        layers.Dense(2, **{argument: wrong})


# Penalties


@pytest.mark.parametrize(
    ("regularizer", "value"),
    [
        (regularizers.L1(0.5), 0.5 * 6),
        (regularizers.L2(0.25), 0.25 * 14),
        (regularizers.L1L2(0.5, 0.25), 0.5 * 6 + 0.25 * 14),
        (regularizers.L1L2(), 0),
        (regularizers.get("l1"), 0.01 * 6),
        (regularizers.get("l2"), 0.01 * 14),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_penalties_and_their_gradients(
    regularizer: gf.regularizers.Regularizer, value: float, dtype: str
) -> None:
    weight = np.array([[1, -2], [3, 0]], dtype)
    assert regularizer(weight) == pytest.approx(value, rel=1e-15)
    gradient = regularizer.gradient(weight)
    assert gradient.dtype == dtype
    if dtype == "float64":
        step = 1e-6
        for index in np.ndindex(2, 2):
            up, down = weight.copy(), weight.copy()
            up[index] += step
            down[index] -= step
            slope = (regularizer(up) - regularizer(down)) / (2 * step)
            assert gradient[index] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: untyped.regularizers.get("l3"),
            ValueError,
            "regularizer: got 'l3', expected one of 'l1', 'l2'",
        ),
        (lambda: untyped.regularizers.L1(-1), ValueError, "l1: got -1"),
        (lambda: untyped.regularizers.L2(math.inf), ValueError, "l2: got inf"),
        (lambda: untyped.regularizers.L1L2(l2="1"), TypeError, "l2: got '1'"),
        (
            lambda: untyped.layers.Dense(1, kernel_regularizer="l3"),
            ValueError,
            "kernel_regularizer: got 'l3'",
        ),
        (
            lambda: untyped.layers.Dense(1, bias_regularizer=0.1),
            ValueError,
            "bias_regularizer: got 0.1",
        ),
    ],
)
def test_wrong_penalties_are_named(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
    assert regularizers.get(None) is None


def penalized() -> gf.Sequential:
    return gf.Sequential(
        [
            layers.Dense(
                4,
                "tanh",
                kernel_regularizer=regularizers.L2(0.1),
                bias_regularizer="l1",
                initializer="torch",
                dtype="float64",
            ),
            layers.TimeDistributed(
                layers.Dense(2, kernel_regularizer="l1", dtype="float64")
            ),
        ],
        seed=0,
    )


def test_layers_say_their_penalties() -> None:
    first, second = penalized().layers
    assert repr(first.penalties()) == "{'weight': L2(l2=0.1), 'bias': L1()}"
    assert repr(second.penalties()) == "{'weight': L1()}"
    assert layers.Dense(2).penalties() == layers.Flatten().penalties() == {}
    assert layers.GRU(2).penalties() == {}
    first.build(3)
    weight, bias = first.weights["weight"], first.weights["bias"]
    expected = 0.1 * (weight**2).sum() + 0.01 * np.abs(bias).sum()
    assert first.penalty() == pytest.approx(expected, rel=1e-14)
    grads = {"weight": np.ones((4, 3)), "bias": np.ones(4)}
    assert first.penalize(grads) == first.penalty()
    np.testing.assert_allclose(grads["weight"], 1 + 0.2 * weight)
    np.testing.assert_allclose(grads["bias"], 1 + 0.01 * np.sign(bias))


def test_training_descends_the_loss_with_its_penalties(
    rng: np.random.Generator,
) -> None:
    """One SGD step moves every weight by the central difference of the loss."""
    model = penalized()
    model.compile(gf.optimizers.SGD(1.0))
    x, y = rng.normal(size=(5, 3, 3)), rng.normal(size=(5, 3, 2))
    model.build(x.shape)
    start = model.get_weights()
    loss = model.evaluate(x, y)
    plain = gf.losses.mse(y, model(x))
    penalty = sum(layer.penalty() for layer in model.layers)
    assert penalty > 0.01
    assert loss == pytest.approx(plain + penalty, rel=1e-14)
    history = model.fit(x, y, batch_size=5, validation_data=(x, y)).history
    assert history["loss"] == [pytest.approx(loss, rel=1e-12)]
    assert history["val_loss"] == [pytest.approx(model.evaluate(x, y), rel=1e-12)]
    after = model.get_weights()
    step = 1e-6
    for name, weight in start.items():
        slope = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            values = []
            for sign in (1, -1):
                moved = weight.copy()
                moved[index] += sign * step
                model.set_weights({**start, name: moved})
                values.append(model.evaluate(x, y))
            slope[index] = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(weight - after[name], slope, atol=1e-8, rtol=1e-6)


def test_penalties_and_initializers_are_kept_in_files(tmp_path: Path) -> None:
    model = penalized()
    model.build((None, 3, 3))
    model.save(tmp_path / "model")
    loaded = gf.load(tmp_path / "model")
    assert repr(loaded) == repr(model)
    wrapped = gf.Sequential(
        [
            layers.TimeDistributed(
                layers.Dense(2, bias_initializer=initializers.Constant(1.0))
            )
        ]
    )
    wrapped.build((None, 3, 3))
    wrapped.save(tmp_path / "wrapped")
    assert repr(gf.load(tmp_path / "wrapped")) == repr(wrapped)


def test_what_files_cannot_name_is_not_written(tmp_path: Path) -> None:
    class Mine(regularizers.L1):
        pass

    model = gf.Sequential([layers.Dense(2, kernel_regularizer=Mine())])
    model.build((None, 3))
    with pytest.raises(ValueError, match="unknown class 'Mine'"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
