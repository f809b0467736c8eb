"""Optimizers against the formulas, and what they refuse."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reference
from grufast import layers, losses, optimizers
from reference import Array
from tolerances import DTYPES, Dtype, assert_close

STEPS = 5


def exact_sgd(momentum: float, nesterov: bool) -> Callable[[Array, list[Array]], Array]:
    def run(weight: Array, gradients: list[Array]) -> Array:
        velocity = np.zeros_like(weight)
        for gradient in gradients:
            weight, velocity = reference.sgd(
                weight, gradient, velocity, 0.1, momentum, nesterov
            )
        return weight

    return run


def exact_adam(weight: Array, gradients: list[Array]) -> Array:
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        weight, m, v = reference.adam(
            weight, gradient, m, v, step, 0.1, 0.8, 0.99, 1e-7
        )
    return weight


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("optimizer", "exact"),
    [
        (optimizers.SGD(0.1), exact_sgd(0.0, False)),
        (optimizers.SGD(0.1, momentum=0.9), exact_sgd(0.9, False)),
        (optimizers.SGD(0.1, momentum=0.9, nesterov=True), exact_sgd(0.9, True)),
        (optimizers.Adam(0.1, beta_1=0.8, beta_2=0.99), exact_adam),
    ],
    ids=["sgd", "momentum", "nesterov", "adam"],
)
def test_updates_are_right(
    rng: np.random.Generator,
    optimizer: optimizers.Optimizer,
    exact: Callable[[Array, list[Array]], Array],
    dtype: Dtype,
) -> None:
    optimizer = copy.deepcopy(optimizer)
    weights = {
        name: rng.normal(size=shape).astype(dtype)
        for name, shape in {"a": (7, 5), "b": (3,), "none": (0, 4)}.items()
    }
    history: list[dict[str, Array]] = []
    before = {name: weight.astype(np.float64) for name, weight in weights.items()}
    for _ in range(STEPS):
        grads = {
            name: rng.normal(size=weight.shape).astype(dtype)
            for name, weight in weights.items()
        }
        optimizer.update(weights, grads)
        history.append(grads)
    for name, weight in weights.items():
        gradients = [grads[name].astype(np.float64) for grads in history]
        assert_close(name, weight, exact(before[name], gradients), "update", STEPS)


def test_a_layer_sees_its_new_weights_at_once() -> None:
    layer = layers.GRU(3, seed=0)
    x = np.ones((2, 4, 1), np.float32)
    h0 = np.zeros((2, 3), np.float32)
    before, context = layer.forward(x, initial_state=h0)
    _, grads = layer.backward(np.ones_like(before), context)
    assert "initial_state" in grads
    optimizers.SGD(0.1).update(layer, grads)
    # A step against the gradient of the sum makes the sum smaller.
    assert layer(x).sum() < before.sum()


def test_a_context_from_before_an_update_is_refused() -> None:
    layer = layers.Dense(1, seed=0)
    x = np.ones((2, 4), np.float32)
    y, context = layer.forward(x)
    _, stale = layer.forward(x)
    _, grads = layer.backward(y, context)
    optimizers.SGD(0.1).update(layer, grads)
    with pytest.raises(ValueError, match="weights have changed since its forward"):
        layer.backward(y, stale)


def test_one_optimizer_keeps_the_weights_of_two_layers_apart() -> None:
    def trained(shared: bool) -> list[bytes]:
        pair = [layers.Dense(2, seed=seed) for seed in (1, 2)]
        adam = [optimizers.Adam(0.1)] * 2
        if not shared:
            adam = [optimizers.Adam(0.1) for _ in pair]
        x = np.ones((3, 4), np.float32)
        for _ in range(3):
            for layer, optimizer in zip(pair, adam, strict=True):
                y, context = layer.forward(x)
                _, grads = layer.backward(losses.mse.gradient(y * 0, y), context)
                optimizer.update(layer, grads)
        return [layer.weights["weight"].tobytes() for layer in pair]

    assert trained(shared=True) == trained(shared=False)


def test_the_learning_rate_may_change() -> None:
    optimizer = optimizers.SGD(0.1)
    weights, grads = {"w": np.zeros(1)}, {"w": np.ones(1)}
    optimizer.update(weights, grads)
    optimizer.learning_rate = 0.5
    optimizer.update(weights, grads)
    assert weights["w"][0] == pytest.approx(-0.6)
    assert optimizer.config["learning_rate"] == 0.5
    with pytest.raises(ValueError, match="learning_rate: got -1"):
        optimizer.learning_rate = -1


@pytest.mark.parametrize(
    ("weights", "grads", "error", "message"),
    [
        ({"a": np.ones(2)}, {}, ValueError, "grads: no .'a'."),
        (
            {"a": np.ones(2)},
            {"a": np.ones(2), "b": np.ones(2)},
            ValueError,
            "unknown .'b'.",
        ),
        (
            {"b": np.ones(2), "a": np.ones(2)},
            {"b": np.ones(2), "a": np.ones(3)},
            ValueError,
            r"grads\['a'\]: got shape \(3,\), expected \(2\)",
        ),
        ({"a": np.ones(2)}, {"a": np.ones(2, "f4")}, TypeError, "'a'.: .* of float32"),
        ({"a": np.ones(2)}, {"a": None}, TypeError, r"grads\['a'\]: got None"),
        (
            {"a": np.ones(2, int)},
            {"a": np.ones(2, int)},
            ValueError,
            "dtype: got .*int",
        ),
        (
            {"a": np.ones((2, 2)).T[:1]},
            {"a": np.ones((1, 2))},
            ValueError,
            "a: expected a writable C-contiguous array",
        ),
        (
            {"a": np.broadcast_to(1.0, 2)},
            {"a": np.ones(2)},
            ValueError,
            "a: .*writable",
        ),
        ({"a": [1.0]}, {"a": np.ones(1)}, ValueError, "a: expected a writable"),
    ],
)
def test_wrong_gradients_change_nothing(
    weights: dict[str, Any],
    grads: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    before = copy.deepcopy(weights)
    with pytest.raises(error, match=message):
        optimizers.Adam().update(weights, grads)
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, before[name])


def test_gradients_come_in_any_layout_and_weights_in_any_rank() -> None:
    weights = {"scalar": np.array(1.0), "matrix": np.ones((2, 3))}
    gradient = np.arange(6.0).reshape(3, 2).T
    optimizers.SGD(1.0).update(weights, {"scalar": np.array(3.0), "matrix": gradient})
    np.testing.assert_array_equal(weights["scalar"], -2.0)
    np.testing.assert_array_equal(weights["matrix"], 1 - gradient)


def test_a_layers_views_are_not_updated_behind_its_back() -> None:
    layer = layers.Dense(1)
    layer.build(2)
    grads = {name: np.ones_like(weight) for name, weight in layer.weights.items()}
    with pytest.raises(ValueError, match="writable"):
        optimizers.SGD().update(layer.weights, grads)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (optimizers.SGD, {"learning_rate": -1.0}, "learning_rate: got -1.0"),
        (optimizers.SGD, {"learning_rate": "fast"}, "learning_rate: got 'fast'"),
        (optimizers.SGD, {"learning_rate": float("nan")}, "learning_rate: got nan"),
        (optimizers.SGD, {"learning_rate": float("inf")}, "learning_rate: got inf"),
        (optimizers.SGD, {"momentum": 1.0}, r"momentum: got 1.0, .* in \[0, 1\)"),
        (optimizers.SGD, {"nesterov": 1}, "nesterov: got 1, expected True or False"),
        (optimizers.Adam, {"beta_1": 1}, "beta_1: got 1"),
        (optimizers.Adam, {"epsilon": -1e-9}, "epsilon: got -1e-09"),
        (optimizers.get, {"optimizer": "lion"}, "optimizer: got 'lion'"),
        (losses.get, {"loss": "hinge"}, "loss: got 'hinge'"),
        (losses.get, {"loss": None}, "loss: got None"),
    ],
)
def test_wrong_settings_are_named(
    make: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(**arguments)


# Losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["mse", "mae"])
def test_losses_are_right(rng: np.random.Generator, name: str, dtype: Dtype) -> None:
    y_true = rng.normal(size=(9, 4, 3)).astype(dtype)
    y_pred = rng.normal(size=(9, 4, 3)).astype(dtype)
    loss = losses.get(name)
    value, gradient = loss.value_and_gradient(y_true, y_pred)
    assert (value, gradient.tobytes()) == (
        loss(y_true, y_pred),
        loss.gradient(y_true, y_pred).tobytes(),
    )
    exact_value, exact_gradient = getattr(reference, name)(
        y_pred.astype(np.float64), y_true.astype(np.float64)
    )
    assert value == pytest.approx(exact_value, rel=8 * float(np.finfo(dtype).eps))
    assert_close("gradient", gradient, exact_gradient, "backward")


def test_a_loss_broadcasts_nothing() -> None:
    with pytest.raises(
        ValueError, match=r"y_true has shape \(4,\) and y_pred \(4, 1\)"
    ):
        losses.mse(np.ones(4), np.ones((4, 1)))
