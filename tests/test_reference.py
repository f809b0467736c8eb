"""The oracle itself: its gradients by complex step, its values by plain scalars."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reference
from reference import Array

STEP = 1e-30
RESET_FORMS = pytest.mark.parametrize("reset_after", [True, False])
NAMES = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0")


def complex_step(f: Callable[[Array], Any], a: Array) -> Array:
    """The gradient of f at `a`, exact to rounding."""
    gradient = np.zeros(a.shape)
    for index in np.ndindex(a.shape):
        shifted = a.astype(np.complex128)
        shifted[index] += 1j * STEP
        gradient[index] = f(shifted).imag / STEP
    return gradient


def gru_arguments(
    rng: np.random.Generator, n: int = 2, t: int = 4, c: int = 3, h: int = 5
) -> dict[str, Array]:
    shapes = ((n, t, c), (3 * h, c), (3 * h, h), (3 * h,), (3 * h,), (n, h))
    return {k: rng.normal(size=s) for k, s in zip(NAMES, shapes, strict=True)}


@RESET_FORMS
@pytest.mark.parametrize("name", NAMES)
def test_gru_gradients_agree_with_complex_step(
    rng: np.random.Generator, name: str, reset_after: bool
) -> None:
    arguments = gru_arguments(rng)
    dy, dh_n = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 5))

    def loss(a: Array) -> Any:
        y, h_n = reference.gru_forward(
            **{**arguments, name: a}, reset_after=reset_after
        )
        return (y * dy).sum() + (h_n * dh_n).sum()

    gradients = reference.gru_backward(
        **arguments, dy=dy, dh_n=dh_n, reset_after=reset_after
    )
    np.testing.assert_allclose(
        getattr(gradients, f"d{name}"),
        complex_step(loss, arguments[name]),
        rtol=1e-12,
        atol=1e-13,
    )


@RESET_FORMS
def test_gru_gradients_of_dy_and_dh_n_add_up(
    rng: np.random.Generator, reset_after: bool
) -> None:
    arguments = gru_arguments(rng)
    dy, dh_n = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 5))

    def gradients(dy: Array | None, dh_n: Array | None) -> reference.GRUGradients:
        return reference.gru_backward(
            **arguments, dy=dy, dh_n=dh_n, reset_after=reset_after
        )

    parts = zip(
        gradients(dy, dh_n), gradients(dy, None), gradients(None, dh_n), strict=True
    )
    for both, first, second in parts:
        assert np.abs(first).max() > 0
        assert np.abs(second).max() > 0
        np.testing.assert_allclose(both, first + second, rtol=1e-12, atol=1e-13)


def scalar_gru(arguments: dict[str, Array], row: int, reset_after: bool) -> Array:
    """One row's states, one Python number at a time."""
    x, w, u, b, c, h0 = (arguments[k].tolist() for k in NAMES)
    units = len(h0[0])
    h = h0[row]
    states = []

    def gate(which: int, j: int, x_t: list[float], h: list[float]) -> tuple[float, ...]:
        k = which * units + j
        return (
            b[k] + math.fsum(a * e for a, e in zip(w[k], x_t, strict=True)),
            c[k] + math.fsum(a * e for a, e in zip(u[k], h, strict=True)),
        )

    for x_t in x[row]:
        r = [1 / (1 + math.exp(-sum(gate(0, j, x_t, h)))) for j in range(units)]
        z = [1 / (1 + math.exp(-sum(gate(1, j, x_t, h)))) for j in range(units)]
        rh = [a * e for a, e in zip(r, h, strict=True)]
        new = []
        for j in range(units):
            if reset_after:
                of_x, of_h = gate(2, j, x_t, h)
                n = math.tanh(of_x + r[j] * of_h)
            else:
                n = math.tanh(sum(gate(2, j, x_t, rh)))
            new.append((1 - z[j]) * n + z[j] * h[j])
        h = new
        states.append(h)
    return np.array(states)


@RESET_FORMS
def test_gru_agrees_with_a_scalar_loop(
    rng: np.random.Generator, reset_after: bool
) -> None:
    arguments = gru_arguments(rng, n=3, t=5, c=2, h=4)
    y, h_n = reference.gru_forward(**arguments, reset_after=reset_after)
    for row in range(3):
        expected = scalar_gru(arguments, row, reset_after)
        np.testing.assert_allclose(y[row], expected, rtol=1e-13, atol=1e-14)
        np.testing.assert_array_equal(h_n[row], y[row, -1])


def test_gru_with_one_unit_agrees_with_a_hand_computed_step() -> None:
    # r = z = sigmoid(0) = 1/2; n = tanh(1 + r * (2 * 3 + 4)) or tanh(1 + 2 r 3 + 4)
    arguments = {
        "x": np.ones((1, 1, 1)),
        "weight_ih": np.array([[0.0], [0.0], [1.0]]),
        "weight_hh": np.array([[0.0], [0.0], [2.0]]),
        "bias_ih": np.zeros(3),
        "bias_hh": np.array([0.0, 0.0, 4.0]),
        "h0": np.full((1, 1), 3.0),
    }
    for reset_after, a in ((True, 6.0), (False, 8.0)):
        _, h_n = reference.gru_forward(**arguments, reset_after=reset_after)
        assert h_n[0, 0] == pytest.approx(0.5 * math.tanh(a) + 1.5, rel=1e-15)


@RESET_FORMS
def test_gru_without_h0_starts_from_zeros(
    rng: np.random.Generator, reset_after: bool
) -> None:
    arguments = gru_arguments(rng)
    del arguments["h0"]
    h0 = np.zeros((2, 5))
    dy = rng.normal(size=(2, 4, 5))
    without = reference.gru_backward(**arguments, dy=dy, reset_after=reset_after)
    given = reference.gru_backward(**arguments, h0=h0, dy=dy, reset_after=reset_after)
    for a, b in zip(without, given, strict=True):
        np.testing.assert_array_equal(a, b)


@RESET_FORMS
def test_gru_over_no_steps_returns_its_initial_state(
    rng: np.random.Generator, reset_after: bool
) -> None:
    arguments = gru_arguments(rng, t=0)
    y, h_n = reference.gru_forward(**arguments, reset_after=reset_after)
    assert y.shape == (2, 0, 5)
    np.testing.assert_array_equal(h_n, arguments["h0"])
    dh_n = rng.normal(size=(2, 5))
    gradients = reference.gru_backward(**arguments, dh_n=dh_n, reset_after=reset_after)
    np.testing.assert_array_equal(gradients.dh0, dh_n)
    assert not gradients.dweight_hh.any()


@RESET_FORMS
def test_gru_computes_in_the_dtype_it_is_given(
    rng: np.random.Generator, reset_after: bool
) -> None:
    arguments = {k: a.astype(np.float32) for k, a in gru_arguments(rng).items()}
    y, h_n = reference.gru_forward(**arguments, reset_after=reset_after)
    gradients = reference.gru_backward(**arguments, dy=y, reset_after=reset_after)
    assert {a.dtype for a in (y, h_n, *gradients)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid", "relu"])
def test_dense_gradients_agree_with_complex_step(
    rng: np.random.Generator, activation: str
) -> None:
    arguments = {
        "x": rng.normal(size=(2, 3, 4)),
        "weight": rng.normal(size=(5, 4)),
        "bias": rng.normal(size=5),
    }
    dy = rng.normal(size=(2, 3, 5))
    gradients = reference.dense_backward(**arguments, dy=dy, activation=activation)
    for name, gradient in zip(arguments, gradients, strict=True):

        def loss(a: Array, name: str = name) -> Any:
            y = reference.dense_forward(**{**arguments, name: a}, activation=activation)
            return (y * dy).sum()

        expected = complex_step(loss, arguments[name])
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)


def test_dense_agrees_with_hand_computed_values() -> None:
    x = np.array([[1.0, -2.0]])
    weight = np.array([[3.0, 1.0], [0.5, 1.0]])
    bias = np.array([0.25, 0.5])
    functions: dict[str, Callable[[float], float]] = {
        "linear": lambda a: a,
        "tanh": math.tanh,
        "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
        "relu": lambda a: max(a, 0.0),
    }
    for activation, f in functions.items():
        y = reference.dense_forward(x, weight, bias, activation)
        np.testing.assert_allclose(y, [[f(1.25), f(-1.0)]], rtol=1e-15)
    with pytest.raises(ValueError, match="gelu"):
        reference.dense_forward(x, weight, bias, "gelu")


def test_sigmoid_is_accurate_at_both_ends_and_does_not_overflow() -> None:
    a = np.array([-np.inf, -1000.0, -700.0, -40.0, 0.0, 40.0, 1000.0, np.inf])
    expected = [0, 0, math.exp(-700), math.exp(-40), 0.5, 1, 1, 1]
    np.testing.assert_allclose(reference.sigmoid(a), expected, rtol=1e-15)
    assert np.isnan(reference.sigmoid(np.array([np.nan])))


def test_relu_keeps_nan() -> None:
    y = reference.relu(np.array([-1.0, 2.0, np.nan]))
    np.testing.assert_array_equal(y, [0.0, 2.0, np.nan])


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_loss_gradients_agree_with_complex_step(
    rng: np.random.Generator, name: str
) -> None:
    loss = getattr(reference, name)
    prediction, target = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    _, gradient = loss(prediction, target)
    expected = complex_step(lambda p: loss(p, target)[0], prediction)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_losses_are_means_over_all_elements() -> None:
    prediction = np.array([[1.0, 2.0], [3.0, 4.0]])
    target = np.array([[1.0, 4.0], [0.0, 3.0]])
    assert reference.mse(prediction, target)[0] == (0 + 4 + 9 + 1) / 4
    assert reference.mae(prediction, target)[0] == (0 + 2 + 3 + 1) / 4
    assert reference.mae(prediction, target)[1][0, 0] == 0  # at the kink


def test_sgd_agrees_with_hand_computed_steps() -> None:
    w, g = np.array([1.0]), np.array([2.0])
    plain, _ = reference.sgd(w, g, np.zeros(1), 0.1)
    assert plain[0] == pytest.approx(0.8, rel=1e-15)
    # v: -0.2, then 0.5 * -0.2 - 0.2 = -0.3
    weight, v = reference.sgd(w, g, np.zeros(1), 0.1, momentum=0.5)
    weight, v = reference.sgd(weight, g, v, 0.1, momentum=0.5)
    assert (weight[0], v[0]) == pytest.approx((0.5, -0.3), rel=1e-15)
    # Nesterov: 1 + 0.5 * -0.2 - 0.2 = 0.7, then 0.7 + 0.5 * -0.3 - 0.2 = 0.35
    weight, v = reference.sgd(w, g, np.zeros(1), 0.1, momentum=0.5, nesterov=True)
    weight, v = reference.sgd(weight, g, v, 0.1, momentum=0.5, nesterov=True)
    assert (weight[0], v[0]) == pytest.approx((0.35, -0.3), rel=1e-14)


def test_adam_agrees_with_hand_computed_steps() -> None:
    w = np.array([1.0])
    # Step 1: m̂ = g and v̂ = g², so w moves by lr g / (|g| + eps).
    w1, m, v = reference.adam(
        w, np.array([0.5]), np.zeros(1), np.zeros(1), 1, learning_rate=0.1
    )
    assert m[0] == pytest.approx(0.05, rel=1e-14)
    assert v[0] == pytest.approx(0.00025, rel=1e-12)
    assert w1[0] == pytest.approx(1 - 0.1 * 0.5 / (0.5 + 1e-8), rel=1e-14)
    # Step 2: m = 0.045 - 0.1 = -0.055, v = 0.00024975 + 0.001 = 0.00124975.
    w2, m, v = reference.adam(w1, np.array([-1.0]), m, v, 2, learning_rate=0.1)
    assert m[0] == pytest.approx(-0.055, rel=1e-13)
    assert v[0] == pytest.approx(0.00124975, rel=1e-12)
    m_hat, v_hat = -0.055 / 0.19, 0.00124975 / 0.001999
    moved = 0.1 * m_hat / (math.sqrt(v_hat) + 1e-8)
    assert w2[0] == pytest.approx(w1[0] - moved, rel=1e-13)
