"""The oracle itself: its gradients by complex step, its values by plain scalars."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import cells
import reference
from cells import CELLS, SEMANTICS
from reference import ACTIVATIONS, Array

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


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch on one thread, where it is installed."""
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    previous = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(previous)


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


each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@each_activation
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
    with pytest.raises(KeyError, match="maxout"):
        reference.dense_forward(x, weight, bias, "maxout")


def test_sigmoid_is_accurate_at_both_ends_and_does_not_overflow() -> None:
    a = np.array([-np.inf, -1000.0, -700.0, -40.0, 0.0, 40.0, 1000.0, np.inf])
    expected = [0, 0, math.exp(-700), math.exp(-40), 0.5, 1, 1, 1]
    np.testing.assert_allclose(reference.sigmoid(a), expected, rtol=1e-15)
    assert np.isnan(reference.sigmoid(np.array([np.nan])))


def test_relu_keeps_nan() -> None:
    y = reference.relu(np.array([-1.0, 2.0, np.nan]))
    np.testing.assert_array_equal(y, [0.0, 2.0, np.nan])


POINTS = np.array([-40.0, -3.5, -2.5, -1.0, -1e-3, 1e-3, 0.7, 2.9, 3.5, 40.0])


@each_activation
def test_activations_agree_with_pytorch(torch: Any, activation: str) -> None:
    functional = torch.nn.functional
    theirs = {
        "linear": lambda a: a,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        # The slope of their hardsigmoid is rounded to float32.
        "hard_sigmoid": lambda a: functional.relu6(a + 3) / 6,
        "relu": functional.relu,
        "softsign": functional.softsign,
        "elu": functional.elu,
        "gelu": functional.gelu,
        "swish": functional.silu,
        # Theirs is linear above its threshold.
        "softplus": lambda a: functional.softplus(a, threshold=50),
    }[activation]
    a = torch.tensor(POINTS, requires_grad=True)
    y = theirs(a)
    y.sum().backward()
    ours = ACTIVATIONS[activation]
    np.testing.assert_allclose(ours.f(POINTS), y.detach(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(ours.derivative(POINTS), a.grad, rtol=1e-13, atol=1e-15)


@each_activation
def test_derivatives_of_activations_agree_with_complex_step(activation: str) -> None:
    f, derivative = ACTIVATIONS[activation]
    expected = f(POINTS + 1j * STEP).imag / STEP
    np.testing.assert_allclose(derivative(POINTS), expected, rtol=1e-12, atol=1e-25)


@each_activation
def test_activations_neither_overflow_nor_lose_a_nan_nor_the_dtype(
    activation: str,
) -> None:
    f, derivative = ACTIVATIONS[activation]
    far = f(np.array([-1000.0, 1000.0]))
    slope = derivative(np.array([-1000.0, 1000.0]))
    bounded = activation in {"tanh", "sigmoid", "hard_sigmoid", "softsign"}
    below = {"linear": -1000.0, "tanh": -1.0, "softsign": -1000 / 1001, "elu": -1.0}
    above = {"softsign": 1000 / 1001}.get(activation, 1.0 if bounded else 1000.0)
    np.testing.assert_allclose(far, [below.get(activation, 0.0), above], atol=1e-300)
    flat = [1001.0**-2, 1001.0**-2] if activation == "softsign" else [0.0, 0.0]
    linear = [float(activation == "linear"), 1.0]
    np.testing.assert_allclose(slope, flat if bounded else linear, atol=1e-300)
    assert np.isnan(f(np.array([np.nan]))).all()
    single = np.linspace(-5, 5, 7, dtype=np.float32)
    assert {f(single).dtype, derivative(single).dtype} == {np.dtype(np.float32)}


def test_activations_at_hand_computed_points() -> None:
    def at(name: str, a: float) -> float:
        return float(ACTIVATIONS[name].f(np.array(a)))

    assert at("hard_sigmoid", 1.5) == pytest.approx(0.75)
    assert at("softsign", -3.0) == pytest.approx(-0.75)
    assert at("elu", -1.0) == pytest.approx(math.exp(-1) - 1)
    assert at("elu", -1e-12) == pytest.approx(-1e-12, rel=1e-11, abs=0)
    assert at("swish", 2.0) == pytest.approx(2 / (1 + math.exp(-2)))
    assert at("softplus", 0.0) == pytest.approx(math.log(2))
    assert at("gelu", 0.5) == pytest.approx(0.25 * (1 + math.erf(0.5 / math.sqrt(2))))


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


# Every cell, run in every way

each_cell = pytest.mark.parametrize("cell", CELLS)
each_semantics = pytest.mark.parametrize("semantics", SEMANTICS)
Options = dict[str, Any]


def arguments_by_name(case: cells.Case) -> dict[str, Array]:
    """What a case can be differentiated by."""
    weights, x, inputs, states = case.arguments.values()
    names = {**weights, "x": x, **inputs, **states}
    return {name: a for name, a in names.items() if name != "observed"}


def substitute(case: cells.Case, name: str, a: Array) -> dict[str, Any]:
    if name == "x":
        return {**case.arguments, "x": a}
    groups = ("weights", "inputs", "states")
    group = next(g for g in groups if name in case.arguments[g])
    return {**case.arguments, group: {**case.arguments[group], name: a}}


def loss(case: cells.Case, options: Options, name: str, a: Array) -> Any:
    y, last = cells.forward(case.cell, **substitute(case, name, a), **options)
    return (y * case.dy).sum() + sum((last[k] * d).sum() for k, d in case.dlast.items())


def gradients(case: cells.Case, options: Options) -> dict[str, Array]:
    return cells.backward(
        case.cell, **case.arguments, dy=case.dy, dlast=case.dlast, **options
    )


def assert_slopes(rng: np.random.Generator, case: cells.Case, options: Options) -> None:
    """Compare gradients with complex steps of all arguments, in random directions."""
    actual = gradients(case, options)
    for name, a in arguments_by_name(case).items():
        assert actual[name].shape == a.shape, name
        direction = rng.normal(size=a.shape)
        slope = loss(case, options, name, a + 1j * STEP * direction).imag / STEP
        parts = actual[name] * direction
        limit = 1e-12 * max(1.0, float(np.abs(parts).sum()))
        assert parts.sum() == pytest.approx(slope, rel=1e-12, abs=limit), name


@each_cell
def test_gradients_of_cells_agree_with_complex_step(
    rng: np.random.Generator, cell: str
) -> None:
    case = cells.random_case(rng, cell, outputs=4)
    actual = gradients(case, {})
    for name, a in arguments_by_name(case).items():

        def f(a: Array, name: str = name) -> Any:
            return loss(case, {}, name, a)

        expected = complex_step(f, a)
        assert np.abs(expected).max() > 0, name
        np.testing.assert_allclose(
            actual.pop(name), expected, rtol=1e-12, atol=1e-13, err_msg=name
        )
    assert set(actual) <= {"x_last0"}


@each_semantics
@each_cell
def test_gradients_of_cells_agree_with_complex_step_however_they_are_run(
    rng: np.random.Generator, cell: str, semantics: str
) -> None:
    case = cells.random_case(rng, cell, rows=3, steps=6, outputs=4)
    assert_slopes(rng, case, cells.random_semantics(rng, semantics, case))


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid", "linear"])
@each_activation
@each_cell
def test_gradients_of_cells_agree_with_complex_step_for_any_activation(
    rng: np.random.Generator, cell: str, activation: str, gate: str
) -> None:
    names = {"activation": activation, "recurrent_activation": gate}
    if cell in {"SimpleRNN", "JordanRNN"}:
        names.pop("recurrent_activation")
    if cell == "JordanRNN":
        names["output_activation"] = gate
    changed = dataclasses.replace(CELLS[cell], **names)
    case = cells.random_case(rng, changed, steps=3, outputs=4)
    assert_slopes(rng, case, {})
    plain = cells.forward(cell, **case.arguments).y
    y = cells.forward(changed, **case.arguments).y
    default = names == {name: getattr(CELLS[cell], name) for name in names}
    assert np.array_equal(plain, y) == default


@each_cell
def test_gradients_of_cells_with_fewer_weights(
    rng: np.random.Generator, cell: str
) -> None:
    case = cells.random_case(rng, cell)
    for name in ("bias_ih", "bias_hh", "bias_ho"):
        case.arguments["weights"].pop(name, None)
        assert_slopes(rng, case, {})
    zeros = {k: np.zeros(s) for k, s in cells.weight_shapes(cell, 3, 5).items()}
    weights = {**zeros, **case.arguments["weights"]}
    given = cells.forward(cell, **{**case.arguments, "weights": weights}).y
    np.testing.assert_array_equal(cells.forward(cell, **case.arguments).y, given)


def one_by_one(case: cells.Case, options: Options) -> cells.Result:
    """One row and one step at a time, from calls of one step without any options."""
    rows, steps, _ = case.dy.shape
    how = cells.Semantics(**options)
    arguments = case.arguments
    weights = dict(arguments["weights"])
    y = np.zeros(case.dy.shape)
    lasts: dict[str, list[Array]] = {name: [] for name in case.cell.states}
    for row in range(rows):
        factors = how.recurrent_mask
        if isinstance(factors, np.ndarray):
            weights["weight_hh"] = arguments["weights"]["weight_hh"] * factors[row]
        initial = {k: a[row : row + 1] for k, a in arguments["states"].items()}
        if "x_last" in case.cell.states:
            initial["x_last0"] = arguments["inputs"]["x_mean"][None]
        carried = {f"{k}0": a[row : row + 1] for k, a in how.carried.items()}
        states, output = initial | carried, np.zeros(case.dy.shape[2])
        for k in range(steps):
            t = steps - 1 - k if how.reverse else k
            valid = how.mask is None or how.mask[row, t]
            if how.lengths is not None and t >= how.lengths[row]:
                valid = False
            if not valid:
                y[row, k] = output if how.padded_output == "repeat" else 0
                continue
            if how.resets is not None and how.resets[row, t]:
                states = initial
            now = (slice(row, row + 1), slice(t, t + 1))
            new = cells.forward(
                case.cell,
                weights,
                arguments["x"][now],
                {
                    k: a[now] if a.ndim == 3 else a
                    for k, a in arguments["inputs"].items()
                },
                states,
            ).last
            for name, zone in how.zone.items():
                old = states[f"{name}0"]
                if isinstance(zone, float):
                    new[name] = zone * old + (1 - zone) * new[name]
                else:
                    new[name] = np.where(zone[row, t], old, new[name])
            states = {f"{name}0": a for name, a in new.items()}
            output = new["h"][0]
            y[row, k] = output
        for name, a in lasts.items():
            a.append(states[f"{name}0"])
    return cells.Result(y, {name: np.concatenate(a) for name, a in lasts.items()})


@each_semantics
@each_cell
def test_cells_agree_with_one_step_at_a_time_however_they_are_run(
    rng: np.random.Generator, cell: str, semantics: str
) -> None:
    case = cells.random_case(rng, cell, rows=4, steps=6, outputs=4)
    options = cells.random_semantics(rng, semantics, case)
    y, last = cells.forward(cell, **case.arguments, **options)
    expected = one_by_one(case, options)
    np.testing.assert_allclose(y, expected.y, rtol=1e-12, atol=1e-14)
    assert set(last) == set(expected.last) == set(CELLS[cell].states)
    for name, a in expected.last.items():
        np.testing.assert_allclose(last[name], a, rtol=1e-12, atol=1e-14)
    plain = cells.forward(cell, **case.arguments).y
    assert np.allclose(y, plain) == (semantics == "plain")


def test_padding_resets_and_directions_of_a_cell_that_can_be_read() -> None:
    # A running sum: h' = x + h, from 100.
    weights = {"weight_ih": np.ones((1, 1)), "weight_hh": np.ones((1, 1))}
    x = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])[..., None]
    mask = np.array([[False, True, False, True, False]])

    def run(**options: Any) -> tuple[list[float], float]:
        states = {"h0": np.full((1, 1), 100.0)}
        cell = cells.SimpleRNN(activation="linear")
        y, last = cells.forward(cell, weights, x, None, states, **options)
        return y.ravel().tolist(), float(last["h"][0, 0])

    assert run() == ([101, 103, 107, 115, 131], 131)
    assert run(lengths=np.array([2])) == ([101, 103, 0, 0, 0], 103)
    assert run(lengths=np.array([0])) == ([0, 0, 0, 0, 0], 100)
    assert run(mask=mask) == ([0, 102, 0, 110, 0], 110)
    assert run(mask=mask, padded_output="repeat") == ([0, 102, 102, 110, 110], 110)
    both = {"mask": mask, "lengths": np.array([3])}
    assert run(**both) == ([0, 102, 0, 0, 0], 102)
    assert run(reverse=True) == ([116, 124, 128, 130, 131], 131)
    reverse = {"reverse": True, "lengths": np.array([2])}
    assert run(**reverse) == ([0, 0, 0, 102, 103], 103)
    assert run(**reverse, padded_output="repeat") == ([0, 0, 0, 102, 103], 103)
    resets = np.array([[False, False, True, True, False]])
    assert run(resets=resets) == ([101, 103, 104, 108, 124], 124)
    # What is padded does not happen, its reset neither.
    assert run(resets=resets, mask=mask) == ([0, 102, 0, 108, 0], 108)
    assert run(resets=resets, mask=~resets) == ([101, 103, 0, 0, 119], 119)
    assert run(resets=resets, reverse=True) == ([116, 108, 104, 106, 107], 107)
    assert run(recurrent_mask=np.full((1, 1), 0.5)) == (
        [51, 27.5, 17.75, 16.875, 24.4375],
        24.4375,
    )
    zone = {"h": resets[..., None]}
    assert run(zone=zone) == ([101, 103, 103, 103, 119], 119)
    assert run(zone={"h": 1.0}) == ([100] * 5, 100)
    with pytest.raises(ValueError, match="last"):
        run(padded_output="last")


def test_outputs_at_their_own_time() -> None:
    y = np.arange(12).reshape(2, 3, 2)
    np.testing.assert_array_equal(cells.at_own_time(y)[:, 0], y[:, 2])
    np.testing.assert_array_equal(cells.at_own_time(cells.at_own_time(y)), y)


@each_cell
def test_padding_may_hold_anything(rng: np.random.Generator, cell: str) -> None:
    case = cells.random_case(rng, cell)
    mask = np.array([[True, False, True, True], [True, True, False, False]])
    dirty = case.arguments["x"].copy()
    dirty[~mask] = np.nan
    arguments = {**case.arguments, "x": dirty}
    y, _ = cells.forward(cell, **case.arguments, mask=mask)
    np.testing.assert_array_equal(cells.forward(cell, **arguments, mask=mask).y, y)
    expected = gradients(case, {"mask": mask})
    actual = gradients(case._replace(arguments=arguments), {"mask": mask})
    for name, a in expected.items():
        np.testing.assert_array_equal(actual[name], a)
    assert not actual["x"][~mask].any()


@each_cell
def test_cells_over_no_steps_return_their_initial_states(
    rng: np.random.Generator, cell: str
) -> None:
    case = cells.random_case(rng, cell, steps=0)
    y, last = cells.forward(cell, **case.arguments)
    assert y.shape == (2, 0, 5)
    actual = gradients(case, {})
    for name, d in case.dlast.items():
        np.testing.assert_array_equal(last[name], case.arguments["states"][f"{name}0"])
        np.testing.assert_array_equal(actual[f"{name}0"], d)
    assert not actual["weight_hh"].any()


@each_cell
def test_cells_with_an_empty_batch(rng: np.random.Generator, cell: str) -> None:
    case = cells.random_case(rng, cell, rows=0)
    assert cells.forward(cell, **case.arguments).y.shape == (0, 4, 5)
    actual = gradients(case, {})
    assert actual["x"].shape == (0, 4, 3)
    assert not actual["weight_hh"].any()


@each_cell
def test_cells_start_from_zeros_where_no_state_is_given(
    rng: np.random.Generator, cell: str
) -> None:
    case = cells.random_case(rng, cell)
    zeros = {k: np.zeros_like(a) for k, a in case.arguments["states"].items()}
    given = case._replace(arguments={**case.arguments, "states": zeros})
    without = case._replace(arguments={**case.arguments, "states": None})
    y = cells.forward(cell, **without.arguments).y
    np.testing.assert_array_equal(y, cells.forward(cell, **given.arguments).y)
    expected = gradients(given, {})
    for name, a in gradients(without, {}).items():
        np.testing.assert_array_equal(a, expected[name])
        assert np.abs(a).max() > 0


@each_semantics
@each_cell
def test_cells_compute_in_the_dtype_they_are_given(
    rng: np.random.Generator, cell: str, semantics: str
) -> None:
    case = cells.random_case(rng, cell, dtype=np.float32)
    options = cells.random_semantics(rng, semantics, case)
    y, last = cells.forward(cell, **case.arguments, **options)
    results = [y, *last.values(), *gradients(case, options).values()]
    assert {a.dtype for a in results} == {np.dtype(np.float32)}


@each_cell
def test_gradients_of_dy_and_of_last_states_add_up(
    rng: np.random.Generator, cell: str
) -> None:
    case = cells.random_case(rng, cell)
    both = gradients(case, {})
    first = cells.backward(cell, **case.arguments, dy=case.dy)
    second = cells.backward(cell, **case.arguments, dlast=case.dlast)
    for name, a in both.items():
        total = first[name] + second[name]
        np.testing.assert_allclose(a, total, rtol=1e-12, atol=1e-13)


# Cells beside other programs


@RESET_FORMS
def test_gru_of_both_oracles(rng: np.random.Generator, reset_after: bool) -> None:
    case = cells.random_case(rng, cells.GRU(reset_after=reset_after))
    weights, h0 = case.arguments["weights"], case.arguments["states"]["h0"]
    same = {"x": case.arguments["x"], "h0": h0, "reset_after": reset_after, **weights}
    y, last = cells.forward(case.cell, **case.arguments)
    y_other, _ = reference.gru_forward(**same)
    np.testing.assert_allclose(y, y_other, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(last["h"], y[:, -1])
    others = reference.gru_backward(**same, dy=case.dy, dh_n=case.dlast["h"])
    for name, a in gradients(case, {}).items():
        expected = getattr(others, f"d{name}")
        np.testing.assert_allclose(a, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "cell", "options"),
    [
        ("LSTM", cells.LSTM(), {}),
        ("GRU", cells.GRU(), {}),
        ("RNN", cells.SimpleRNN(), {"nonlinearity": "tanh"}),
        ("RNN", cells.SimpleRNN(activation="relu"), {"nonlinearity": "relu"}),
    ],
)
def test_cells_agree_with_pytorch(
    rng: np.random.Generator,
    torch: Any,
    kind: str,
    cell: cells.Cell,
    options: Options,
) -> None:
    case = cells.random_case(rng, cell, rows=3, steps=7, inputs=4, units=6)
    weights, x, _, states = case.arguments.values()
    theirs = getattr(torch.nn, kind)(
        4, 6, batch_first=True, dtype=torch.float64, **options
    )
    for name, a in weights.items():
        getattr(theirs, f"{name}_l0").data = torch.tensor(a)
    inputs = {k: torch.tensor(a, requires_grad=True) for k, a in states.items()}
    inputs["x"] = torch.tensor(x, requires_grad=True)
    initial = [inputs[k][None] for k in states]
    y, last = theirs(inputs["x"], tuple(initial) if kind == "LSTM" else initial[0])
    lasts = last if kind == "LSTM" else (last,)
    dlasts = [torch.tensor(d[None]) for d in case.dlast.values()]
    torch.autograd.backward([y, *lasts], [torch.tensor(case.dy), *dlasts])

    result = cells.forward(cell, **case.arguments)
    np.testing.assert_allclose(result.y, y.detach(), rtol=1e-12, atol=1e-14)
    for a, b in zip(result.last.values(), lasts, strict=True):
        np.testing.assert_allclose(a, b.detach()[0], rtol=1e-12, atol=1e-14)
    for name, a in gradients(case, {}).items():
        tensor = inputs[name] if name in inputs else getattr(theirs, f"{name}_l0")
        np.testing.assert_allclose(a, tensor.grad, rtol=1e-11, atol=1e-13)


def test_layer_norm_agrees_with_pytorch(rng: np.random.Generator, torch: Any) -> None:
    p, dn = rng.normal(size=(2, 4, 7))
    p[0] *= 1e-3  # so small that eps counts
    tensor = torch.tensor(p, requires_grad=True)
    n = torch.nn.functional.layer_norm(tensor, (7,), eps=1e-5)
    n.backward(torch.tensor(dn))
    np.testing.assert_allclose(cells.layer_norm(p), n.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        cells.layer_norm_backward(p, dn), tensor.grad, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    "cell", [cells.GRU(layer_norm=True), cells.LSTM(layer_norm=True)]
)
def test_layer_norm_cells_agree_with_pytorchs_layer_norm(
    rng: np.random.Generator, torch: Any, cell: cells.Cell
) -> None:
    case = cells.random_case(rng, cell, rows=3, steps=5)
    weights, x, _, states = case.arguments.values()
    w = {k: torch.tensor(a, requires_grad=True) for k, a in weights.items()}
    x, h = torch.tensor(x), torch.tensor(states["h0"])
    c = torch.tensor(states.get("c0", states["h0"]))

    def normed(u: Any, side: str) -> Any:
        p = torch.nn.functional.linear(u, w[f"weight_{side}"])
        gain, bias = w[f"gain_{side}"], w[f"bias_{side}"]
        return torch.nn.functional.layer_norm(p, p.shape[-1:], gain, bias, 1e-5)

    outputs = []
    for t in range(x.shape[1]):
        a, q = normed(x[:, t], "ih"), normed(h, "hh")
        if isinstance(cell, cells.LSTM):
            i, f, g, o = (a + q).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        else:
            (a_r, a_z, a_n), (q_r, q_z, q_n) = a.chunk(3, dim=1), q.chunk(3, dim=1)
            z = torch.sigmoid(a_z + q_z)
            h = z * h + (1 - z) * torch.tanh(a_n + torch.sigmoid(a_r + q_r) * q_n)
        outputs.append(h)
    y = torch.stack(outputs, dim=1)
    y.backward(torch.tensor(case.dy))
    ours = cells.forward(cell, **case.arguments).y
    np.testing.assert_allclose(ours, y.detach(), rtol=1e-12, atol=1e-14)
    actual = cells.backward(cell, **case.arguments, dy=case.dy)
    for name, tensor in w.items():
        np.testing.assert_allclose(actual[name], tensor.grad, rtol=1e-10, atol=1e-12)


# Cells as loops over single numbers


def sigma(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def dot(a: list[float], b: list[float]) -> float:
    return sum((p * q for p, q in zip(a, b, strict=True)), 0.0)


def scalar_mgu(w: dict[str, Any], x: list[Any], h: list[float]) -> list[list[float]]:
    units, states = len(h), []
    for x_t in x:
        f = []
        for j in range(units):
            a = dot(w["weight_ih"][j], x_t) + dot(w["weight_hh"][j], h)
            f.append(sigma(a + w["bias_ih"][j] + w["bias_hh"][j]))
        fh = [p * q for p, q in zip(f, h, strict=True)]
        new = []
        for j in range(units):
            row = units + j
            a = dot(w["weight_ih"][row], x_t) + dot(w["weight_hh"][row], fh)
            n = math.tanh(a + w["bias_ih"][row] + w["bias_hh"][row])
            new.append((1 - f[j]) * h[j] + f[j] * n)
        h = new
        states.append(h)
    return states


def scalar_peephole_lstm(
    w: dict[str, Any], x: list[Any], h: list[float], c: list[float]
) -> list[list[float]]:
    units, states = len(h), []
    p = w["weight_peephole"]
    for x_t in x:
        new_h, new_c = [], []
        for j in range(units):
            i, f, g, o = (
                dot(w["weight_ih"][row], x_t)
                + dot(w["weight_hh"][row], h)
                + w["bias_ih"][row]
                + w["bias_hh"][row]
                for row in range(j, 4 * units, units)
            )
            i, f = sigma(i + p[j] * c[j]), sigma(f + p[units + j] * c[j])
            new_c.append(f * c[j] + i * math.tanh(g))
            o = sigma(o + p[2 * units + j] * new_c[j])
            new_h.append(o * math.tanh(new_c[j]))
        h, c = new_h, new_c
        states.append(h)
    return states


def scalar_jordan(w: dict[str, Any], x: list[Any], y: list[float]) -> list[list[float]]:
    states = []
    for x_t in x:
        h = []
        for j in range(len(w["weight_ih"])):
            a = dot(w["weight_ih"][j], x_t) + dot(w["weight_hh"][j], y)
            h.append(math.tanh(a + w["bias_ih"][j]))
        y = [
            dot(row, h) + e for row, e in zip(w["weight_ho"], w["bias_ho"], strict=True)
        ]
        states.append(y)
    return states


@pytest.mark.parametrize(
    ("cell", "loop"),
    [
        ("MGU", scalar_mgu),
        ("LSTM peephole", scalar_peephole_lstm),
        ("JordanRNN", scalar_jordan),
    ],
)
def test_cells_agree_with_a_scalar_loop(
    rng: np.random.Generator, cell: str, loop: Callable[..., list[list[float]]]
) -> None:
    case = cells.random_case(rng, cell, rows=3, steps=5, outputs=2)
    weights, x, _, states = case.arguments.values()
    lists = {name: a.tolist() for name, a in weights.items()}
    y = cells.forward(cell, **case.arguments).y
    for row in range(3):
        initial = [a[row].tolist() for a in states.values()]
        expected = loop(lists, x[row].tolist(), *initial)
        np.testing.assert_allclose(y[row], expected, rtol=1e-12, atol=1e-14)


def scalar_grud(
    w: dict[str, Any],
    x: list[Any],
    m: list[Any],
    delta: list[Any],
    mean: list[float],
    h: list[float],
) -> list[list[float]]:
    units, inputs, states = len(h), len(mean), []
    last = list(mean)
    for x_t, m_t, d_t in zip(x, m, delta, strict=True):
        seen = []
        for k in range(inputs):
            e = w["decay_input_weight"][k] * d_t[k] + w["decay_input_bias"][k]
            gamma = math.exp(-max(0.0, e))
            missing = gamma * last[k] + (1 - gamma) * mean[k]
            seen.append(x_t[k] if m_t[k] else missing)
            last[k] = x_t[k] if m_t[k] else last[k]
        decayed = []
        for j in range(units):
            e = dot(w["decay_state_weight"][j], d_t) + w["decay_state_bias"][j]
            decayed.append(h[j] * math.exp(-max(0.0, e)))

        def gate(row: int, of: list[float], seen: Any = seen, m_t: Any = m_t) -> float:
            a = dot(w["weight_ih"][row], seen) + dot(w["weight_mask"][row], m_t)
            biases: float = w["bias_ih"][row] + w["bias_hh"][row]
            return a + dot(w["weight_hh"][row], of) + biases

        r = [sigma(gate(j, decayed)) for j in range(units)]
        rh = [p * q for p, q in zip(r, decayed, strict=True)]
        h = []
        for j in range(units):
            z = sigma(gate(units + j, decayed))
            n = math.tanh(gate(2 * units + j, rh))
            h.append((1 - z) * n + z * decayed[j])
        states.append(h)
    return states


def test_grud_agrees_with_a_scalar_loop(rng: np.random.Generator) -> None:
    case = cells.random_case(rng, "GRUD", rows=4, steps=6)
    weights, x, inputs, states = case.arguments.values()
    lists = {name: a.tolist() for name, a in weights.items()}
    y, last = cells.forward("GRUD", **case.arguments)
    for row in range(4):
        expected = scalar_grud(
            lists,
            x[row].tolist(),
            inputs["observed"][row].tolist(),
            inputs["delta"][row].tolist(),
            inputs["x_mean"].tolist(),
            states["h0"][row].tolist(),
        )
        np.testing.assert_allclose(y[row], expected, rtol=1e-12, atol=1e-14)
        for k in range(3):
            seen = x[row, inputs["observed"][row, :, k], k]
            value = seen[-1] if len(seen) else inputs["x_mean"][k]
            assert last["x_last"][row, k] == value


def test_grud_with_all_observed_at_once_is_a_gru(rng: np.random.Generator) -> None:
    case = cells.random_case(rng, "GRUD")
    weights, x, inputs, states = case.arguments.values()
    inputs = {**inputs, "observed": np.ones_like(x, bool), "delta": np.zeros_like(x)}
    weights = {**weights, "decay_state_bias": np.full(5, -1.0)}
    y, _ = cells.forward("GRUD", weights, x, inputs, states)
    gru = {k: weights[k] for k in NAMES[1:5]}
    gru["bias_ih"] = gru["bias_ih"] + weights["weight_mask"].sum(axis=1)
    expected, _ = reference.gru_forward(x, **gru, **states, reset_after=False)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-15)


def test_grud_never_looks_at_values_that_are_not_observed(
    rng: np.random.Generator,
) -> None:
    case = cells.random_case(rng, "GRUD")
    hidden = ~case.arguments["inputs"]["observed"]
    x = np.where(hidden, np.nan, case.arguments["x"])
    dirty = case._replace(arguments={**case.arguments, "x": x})
    expected = gradients(case, {})
    for name, a in gradients(dirty, {}).items():
        np.testing.assert_array_equal(a, expected[name])
    assert not expected["x"][hidden].any()


def test_gradients_of_grud_for_its_last_observed_values(
    rng: np.random.Generator,
) -> None:
    case = cells.random_case(rng, "GRUD", rows=3)
    states = {**case.arguments["states"], "x_last0": rng.normal(size=(3, 3))}
    dlast = {**case.dlast, "x_last": rng.normal(size=(3, 3))}
    arguments = {**case.arguments, "states": states}
    given = case._replace(arguments=arguments, dlast=dlast)
    assert_slopes(rng, given, {})
    assert_slopes(rng, given, cells.random_semantics(rng, "everything", case))


def test_layer_norm_needs_reset_after() -> None:
    with pytest.raises(ValueError, match="reset_after"):
        cells.GRU(reset_after=False, layer_norm=True)


@pytest.mark.parametrize("biases", [1, 2])
@each_cell
def test_parameters_are_as_many_as_the_formulas_say(cell: str, biases: int) -> None:
    for m, n, o in ((1, 1, 1), (3, 5, 4), (7, 2, 3)):
        shapes = cells.weight_shapes(cell, m, n, o)
        if biases == 1 and not getattr(CELLS[cell], "reset_after", False):
            shapes.pop("bias_hh", None)
        total = sum(math.prod(shape) for shape in shapes.values())
        assert cells.parameter_count(cell, m, n, o, biases=biases) == total


def test_parameter_counts_in_figures() -> None:
    figures = {
        "SimpleRNN": 32_896,
        "JordanRNN": 3 * 128**2 + 2 * 128,
        "LSTM": 131_584,
        "LSTM peephole": 131_968,
        "GRU": 99_072,
        "GRU reset_before": 98_688,
        "MGU": 65_792,
    }
    assert figures == {cell: cells.parameter_count(cell, 128, 128) for cell in figures}
    assert cells.parameter_count("LSTM", 128, 128, biases=2) == 132_096
