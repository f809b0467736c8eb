"""Optimizers against the formulas, PyTorch and Keras, and what they refuse."""

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
import reference
from grufast import _core, layers, losses, optimizers, schedules
from grufast._config import describe, rebuild
from grufast.optimizers import SparseRows
from reference import Array
from tolerances import DTYPES, Dtype, assert_close, assert_same_bits

STEPS = 6
SHAPES = {
    "matrix": (7, 5),
    "large": (300, 67),
    "vector": (17,),
    "lanes": (8,),
    "one": (1,),
    "scalar": (),
    "none": (0, 4),
}
KERAS = json.loads((Path(__file__).parent / "data/keras_optimizers.json").read_text())

each_dtype = pytest.mark.parametrize("dtype", DTYPES)

Make = Callable[[], optimizers.Optimizer]


def make_all() -> list[optimizers.Optimizer]:
    """Return an optimizer of every kind that has a path of its own."""
    return [
        optimizers.SGD(0.1),
        optimizers.SGD(0.1, momentum=0.9),
        optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        optimizers.SGD(0.1, weight_decay=0.5),
        optimizers.Adam(0.1),
        optimizers.Adam(0.1, beta_1=0.8, beta_2=0.7, epsilon=0.1, amsgrad=True),
        optimizers.AdamW(0.1, weight_decay=0.2),
        optimizers.RMSprop(0.1),
        optimizers.RMSprop(0.1, rho=0.7, momentum=0.5, epsilon=0.1),
        optimizers.RMSprop(0.1, centered=True),
        optimizers.RMSprop(0.1, centered=True, momentum=0.5),
        optimizers.Adagrad(0.1),
        optimizers.Adagrad(0.5, initial_accumulator_value=0.0, epsilon=0.1),
        optimizers.Adadelta(1.0, rho=0.8, epsilon=0.1),
        optimizers.Adafactor(0.1),
        optimizers.Adafactor(0.5, clip_threshold=0.5, epsilon_2=0.1, weight_decay=0.1),
        optimizers.Adamax(0.1, beta_1=0.8, beta_2=0.7, epsilon=0.1),
        optimizers.Ftrl(0.5),
        optimizers.Ftrl(
            0.5,
            learning_rate_power=-0.7,
            l1_regularization_strength=0.1,
            l2_regularization_strength=0.2,
            l2_shrinkage_regularization_strength=0.3,
            beta=0.4,
        ),
        optimizers.Lion(0.1),
        optimizers.Nadam(0.1, beta_1=0.8, beta_2=0.7, epsilon=0.1, weight_decay=0.1),
    ]


#: What NumPy computes.
PLAIN = (
    optimizers.Adadelta,
    optimizers.Adafactor,
    optimizers.Adamax,
    optimizers.Ftrl,
    optimizers.Lion,
    optimizers.Nadam,
)

each_optimizer = pytest.mark.parametrize("optimizer", make_all(), ids=repr)


def exact(
    optimizer: Any, weight: Array, gradients: list[Array]
) -> tuple[Array, dict[str, Array]]:
    """Return the weight and its slots after all gradients, by the formulas."""
    rate = optimizer.learning_rate
    w: Array = weight
    slots: dict[str, Any] = dict.fromkeys("abc", np.zeros_like(weight))
    kept: dict[str, Array] = {}
    if isinstance(optimizer, optimizers.Adagrad | optimizers.Ftrl):
        slots["a"] = np.full_like(weight, optimizer.initial_accumulator_value)
    if isinstance(optimizer, optimizers.Adafactor) and weight.ndim == 2:
        slots["a"] = np.zeros(len(weight)), np.zeros(weight.shape[1])
    for step, g in enumerate(gradients, 1):
        a, b, c = slots.values()
        w = w - rate * (optimizer.weight_decay or 0) * w
        match optimizer:
            case optimizers.SGD(momentum=momentum, nesterov=nesterov):
                w, a = reference.sgd(w, g, a, rate, momentum, nesterov)
                kept = {"velocity": a} if momentum else {}
            case optimizers.Adam(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
                settings = step, rate, beta_1, beta_2, epsilon
                if optimizer.amsgrad:
                    w, a, b, c = reference.amsgrad(w, g, a, b, c, *settings)
                    kept = {"m": a, "v": b, "v_hat": c}
                else:
                    w, a, b = reference.adam(w, g, a, b, *settings)
                    kept = {"m": a, "v": b}
            case optimizers.RMSprop(rho=rho, momentum=momentum, epsilon=epsilon):
                centered = optimizer.centered
                w, a, b, c = reference.rmsprop(
                    w, g, a, b, c, rate, rho, momentum, epsilon, centered
                )
                kept = {"velocity": a}
                kept |= {"momentum": b} if momentum else {}
                kept |= {"average_gradient": c} if centered else {}
            case optimizers.Adagrad(epsilon=epsilon):
                w, a = reference.adagrad(w, g, a, rate, epsilon)
                kept = {"accumulator": a}
            case optimizers.Adadelta(rho=rho, epsilon=epsilon):
                w, a, b = reference.adadelta(w, g, a, b, rate, rho, epsilon)
                kept = {"accumulated_grad": a, "accumulated_delta_var": b}
            case optimizers.Adafactor():
                w, a = reference.adafactor(
                    w,
                    g,
                    a,
                    step,
                    rate,
                    optimizer.beta_2_decay,
                    optimizer.epsilon_1,
                    optimizer.epsilon_2,
                    optimizer.clip_threshold,
                )
                names = ("r", "c") if isinstance(a, tuple) else ("velocity",)
                arrays = a if isinstance(a, tuple) else (a,)
                kept = dict(zip(names, arrays, strict=True))
            case optimizers.Adamax(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
                w, a, b = reference.adamax(
                    w, g, a, b, step, rate, beta_1, beta_2, epsilon
                )
                kept = {"m": a, "u": b}
            case optimizers.Nadam(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
                w, a, b = reference.nadam(
                    w, g, a, b, step, rate, beta_1, beta_2, epsilon
                )
                kept = {"m": a, "v": b}
            case optimizers.Lion(beta_1=beta_1, beta_2=beta_2):
                w, a = reference.lion(w, g, a, rate, beta_1, beta_2)
                kept = {"momentum": a}
            case optimizers.Ftrl():
                w, a, b = reference.ftrl(
                    w,
                    g,
                    a,
                    b,
                    rate,
                    optimizer.learning_rate_power,
                    optimizer.l1_regularization_strength,
                    optimizer.l2_regularization_strength,
                    optimizer.l2_shrinkage_regularization_strength,
                    optimizer.beta,
                )
                kept = {"accumulator": a, "linear": b}
            case _:
                raise AssertionError(optimizer)
        slots = {"a": a, "b": b, "c": c}
    return w, kept


def random_arrays(rng: np.random.Generator, dtype: Dtype) -> dict[str, Array]:
    return {
        name: np.array(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()
    }


def wide(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def assert_updates_are_right(
    rng: np.random.Generator,
    optimizer: optimizers.Optimizer,
    dtype: Dtype,
    clip: Callable[[list[Array]], list[Array]] = lambda gradients: gradients,
) -> None:
    weights = random_arrays(rng, dtype)
    before = wide(weights)
    history: list[dict[str, Array]] = []
    for _ in range(STEPS):
        grads = random_arrays(rng, dtype)
        optimizer.update(weights, grads)
        clipped = clip([*wide(grads).values()])
        history.append(dict(zip(grads, clipped, strict=True)))
    state = optimizer.get_state(weights)
    for name, weight in weights.items():
        gradients = [grads[name] for grads in history]
        expected, kept = exact(optimizer, before[name], gradients)
        assert_close(name, weight, expected, "update", STEPS, floor=1.0)
        for slot, array in kept.items():
            actual = state.pop(f"{name}/{slot}")
            assert_close(f"{name}/{slot}", actual, array, "update", STEPS, floor=1.0)
        if f"{name}/step" in state:
            empty = isinstance(optimizer, PLAIN) and not weight.size
            assert state.pop(f"{name}/step") == (0 if empty else STEPS)
        state.pop(f"{name}/u_product", None)
    assert state.pop("iterations") == optimizer.iterations == STEPS
    assert state == {"learning_rate": optimizer.learning_rate}


# The formulas


@each_dtype
@each_optimizer
@pytest.mark.usefixtures("isa")
def test_updates_are_right(
    rng: np.random.Generator, optimizer: optimizers.Optimizer, dtype: Dtype
) -> None:
    assert_updates_are_right(rng, copy.deepcopy(optimizer), dtype)


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("clipvalue", reference.clip_values),
        ("clipnorm", reference.clip_norms),
        ("global_clipnorm", reference.clip_global_norm),
    ],
)
@pytest.mark.parametrize("limit", [0.5, 5.0, 50.0, 500.0])
def test_clipping_is_right(
    rng: np.random.Generator,
    name: str,
    clip: Callable[[list[Array], float], list[Array]],
    limit: float,
    dtype: Dtype,
) -> None:
    settings: dict[str, Any] = {name: limit}
    for optimizer in (optimizers.SGD(0.1, **settings), optimizers.Adam(**settings)):
        assert_updates_are_right(rng, optimizer, dtype, lambda g: clip(g, limit))


def test_amsgrad_agrees_with_hand_computed_steps() -> None:
    one, none = np.ones(1), np.zeros(1)
    settings = 0.1, 0.5, 0.5, 0.0
    w, m, v, v_hat = reference.amsgrad(one, 2 * one, none, none, none, 1, *settings)
    assert (m[0], v[0], v_hat[0]) == (1.0, 2.0, 2.0)
    assert w[0] == pytest.approx(1 - 0.1 * 2 / 2, rel=1e-15)
    # v falls to 1, v_hat stays 2: m^ = 0.5 / 0.75, v^ = 2 / 0.75.
    w, m, v, v_hat = reference.amsgrad(w, none, m, v, v_hat, 2, *settings)
    assert (m[0], v[0], v_hat[0]) == (0.5, 1.0, 2.0)
    assert w[0] == pytest.approx(0.9 - 0.1 * 0.5 / 0.75 / (2 / 0.75) ** 0.5, rel=1e-15)


def test_rmsprop_agrees_with_hand_computed_steps() -> None:
    one, none = np.ones(1), np.zeros(1)
    # v = 2, mean = 1, v - mean^2 = 1; then v = 1, mean = 0.5, v - mean^2 = 0.75.
    for centered, below in ((False, (2.25, 1.25)), (True, (1.25, 1.0))):
        settings = 0.1, 0.5, 0.5, 0.25, centered
        w, v, total, mean = reference.rmsprop(one, 2 * one, none, none, none, *settings)
        first = 0.1 * 2 / below[0] ** 0.5
        assert (v[0], mean[0]) == (2.0, 1.0)
        assert w[0] == pytest.approx(1 - first, rel=1e-15)
        w, v, total, mean = reference.rmsprop(w, none, v, total, mean, *settings)
        assert (v[0], mean[0]) == (1.0, 0.5)
        assert w[0] == pytest.approx(1 - 1.5 * first, rel=1e-15)
        w, *_ = reference.rmsprop(w, one, none, none, none, *settings)
        last = 0.1 / ((0.25 if centered else 0.5) + 0.25) ** 0.5
        assert w[0] == pytest.approx(1 - 1.5 * first - last, rel=1e-15)


def test_adagrad_agrees_with_hand_computed_steps() -> None:
    w, a = reference.adagrad(np.ones(1), np.full(1, 2.0), np.zeros(1), 0.1, 0.0)
    assert (w[0], a[0]) == (0.9, 4.0)
    w, a = reference.adagrad(w, np.full(1, 3.0), a, 0.1, 3.0)
    assert (w[0], a[0]) == (pytest.approx(0.9 - 0.3 / 4, rel=1e-15), 13.0)


def test_clipping_agrees_with_hand_computed_norms() -> None:
    gradients = [np.array([3.0, 4.0]), np.array([12.0]), np.zeros(2)]
    for clip, expected in (
        (reference.clip_values, [[2.0, 2.0], [2.0], [0.0, 0.0]]),
        (reference.clip_norms, [[1.2, 1.6], [2.0], [0.0, 0.0]]),
        (reference.clip_global_norm, [[6 / 13, 8 / 13], [24 / 13], [0.0, 0.0]]),
    ):
        for actual, values in zip(clip(gradients, 2.0), expected, strict=True):
            np.testing.assert_allclose(actual, values, rtol=1e-15)
        for actual, same in zip(clip(gradients, 13.0), gradients, strict=True):
            np.testing.assert_array_equal(actual, same)


@each_dtype
@pytest.mark.usefixtures("isa")
def test_norms_are_those_of_numbers_whose_squares_are_not(dtype: Dtype) -> None:
    large = 1e30 if dtype == "float32" else 1e150
    weights = {"w": np.zeros(70, dtype), "v": np.zeros(3, dtype)}
    grads = {"w": np.full(70, large, dtype), "v": np.zeros(3, dtype)}
    for settings in ({"clipnorm": 1.0}, {"global_clipnorm": 1.0}):
        weights["w"][...] = 0
        optimizers.SGD(1.0, **settings).update(weights, grads)  # type: ignore[arg-type]
        np.testing.assert_allclose(weights["w"], -(70**-0.5), rtol=1e-6)
        np.testing.assert_array_equal(weights["v"], 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@each_optimizer
def test_a_gradient_that_is_no_number_is_not_hidden(
    optimizer: optimizers.Optimizer, bad: float
) -> None:
    for settings in ({}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}):
        own = type(optimizer)(**optimizer.config | settings)
        weights = {"w": np.ones(40), "v": np.ones(3)}
        grads = {"w": np.ones(40), "v": np.ones(3)}
        grads["w"][33] = bad
        for _ in range(2):
            own.update(weights, grads)
        # Lion takes nothing but the sign, which infinity has.
        signed = isinstance(own, optimizers.Lion) and np.isinf(bad) and not settings
        assert np.isfinite(weights["w"][33]) == signed
        assert np.isnan(weights["v"]).all() == ("global_clipnorm" in settings)


def test_cut_values_may_come_from_infinity() -> None:
    weights = {"w": np.zeros(3)}
    grads = {"w": np.array([np.inf, -np.inf, np.nan])}
    optimizers.SGD(1.0, clipvalue=2.0).update(weights, grads)
    np.testing.assert_array_equal(weights["w"], [-2, 2, np.nan])


def test_a_variance_of_nothing_is_not_negative() -> None:
    # Rounding leaves v - mean^2 below -epsilon in some of these.
    weights = {"w": np.zeros(1000, np.float32)}
    grads = {"w": np.linspace(10, 11, 1000, dtype=np.float32)}
    optimizer = optimizers.RMSprop(centered=True, epsilon=1e-12)
    for _ in range(300):
        optimizer.update(weights, grads)
    assert np.isfinite(weights["w"]).all()


@pytest.mark.usefixtures("isa", "keep_num_threads")
@each_dtype
@each_optimizer
def test_the_number_of_threads_changes_no_bit(
    rng: np.random.Generator, optimizer: optimizers.Optimizer, dtype: Dtype
) -> None:
    shapes = {"a": 100_003, "b": 1, "c": 777, "d": 20_000}
    arrays = [
        {name: rng.normal(size=n).astype(dtype) for name, n in shapes.items()}
        for _ in range(3)
    ]
    rows = np.unique(rng.integers(0, 2000, 300))
    sparse = SparseRows(
        rows, rng.normal(size=(len(rows), 10)).astype(dtype), (2000, 10)
    )

    def results(config: dict[str, Any]) -> dict[str, Array]:
        own = type(optimizer)(**config)
        weights = copy.deepcopy(arrays[0]) | {"e": np.ones((2000, 10), dtype)}
        for grads in arrays[1:]:
            own.update(weights, {**grads, "e": sparse})
        return weights | own.get_state(weights)

    for settings in ({}, {"global_clipnorm": 3.0}, {"clipnorm": 0.1}):
        config = optimizer.config | settings
        gf.set_num_threads(1)
        expected = results(config)
        for threads in (2, 3, 7):
            gf.set_num_threads(threads)
            assert_same_bits(results(config), expected)


def test_a_weight_gets_the_same_bits_whatever_else_is_updated(
    rng: np.random.Generator,
) -> None:
    start = random_arrays(rng, "float32")
    grads = random_arrays(rng, "float32")
    for optimizer in make_all():
        together, alone = copy.deepcopy(start), copy.deepcopy(start)
        first, second, third = (copy.deepcopy(optimizer) for _ in range(3))
        first.update(together, grads)
        for name in alone:
            second.update({name: alone[name]}, {name: grads[name]})
        assert_same_bits(together, alone)
        pairs = [({n: start[n]}, {n: grads[n]}) for n in start]
        third.update_all(pairs)
        assert_same_bits(together, start)
        assert (first.iterations, third.iterations) == (1, 1)
        start = copy.deepcopy(together)


def test_both_dtypes_in_one_update(rng: np.random.Generator) -> None:
    weights: dict[str, Array] = {"a": np.zeros(9, np.float32), "b": np.zeros(5)}
    grads: dict[str, Array] = {"a": np.full(9, 4, np.float32), "b": np.full(5, 5.0)}
    optimizers.SGD(1.0, global_clipnorm=1.0).update(weights, grads)
    norm = (9 * 16 + 5 * 25) ** 0.5
    np.testing.assert_allclose(weights["a"], -4 / norm, rtol=1e-6)
    np.testing.assert_allclose(weights["b"], -5 / norm, rtol=1e-14)


# PyTorch and Keras


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("ours", "name", "theirs"),
    [
        (optimizers.SGD(0.1), "SGD", {}),
        (optimizers.SGD(0.1, momentum=0.9), "SGD", {"momentum": 0.9}),
        (
            optimizers.SGD(0.1, momentum=0.9, nesterov=True),
            "SGD",
            {"momentum": 0.9, "nesterov": True},
        ),
        (optimizers.Adam(0.1, epsilon=1e-8), "Adam", {}),
        (
            optimizers.Adam(0.1, beta_1=0.5, beta_2=0.9, epsilon=0.1),
            "Adam",
            {"betas": (0.5, 0.9), "eps": 0.1},
        ),
        (
            optimizers.Adam(0.1, beta_2=0.6, amsgrad=True, epsilon=0.01),
            "Adam",
            {"betas": (0.9, 0.6), "amsgrad": True, "eps": 0.01},
        ),
        (
            optimizers.AdamW(0.1, weight_decay=0.3, epsilon=1e-8),
            "AdamW",
            {"weight_decay": 0.3},
        ),
        # With PyTorch's epsilon outside of the root, only 0 is the same in both.
        (optimizers.RMSprop(0.1, epsilon=0), "RMSprop", {"alpha": 0.9, "eps": 0}),
        (
            optimizers.RMSprop(0.1, rho=0.8, momentum=0.5, centered=True, epsilon=0),
            "RMSprop",
            {"alpha": 0.8, "momentum": 0.5, "centered": True, "eps": 0},
        ),
        (
            optimizers.Adagrad(0.1, epsilon=0),
            "Adagrad",
            {"initial_accumulator_value": 0.1, "eps": 0},
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, optimizers.Optimizer) else "",
)
def test_twenty_steps_agree_with_pytorch(
    rng: np.random.Generator,
    ours: optimizers.Optimizer,
    name: str,
    theirs: dict[str, Any],
    dtype: Dtype,
) -> None:
    torch = pytest.importorskip("torch")

    def tensor(a: Array, **options: Any) -> Any:
        return torch.tensor(a.astype(np.float64), **options)

    weight = rng.normal(size=(7, 19)).astype(dtype)
    expected = tensor(weight, requires_grad=True)
    optimizer = copy.deepcopy(ours)
    reference_optimizer = getattr(torch.optim, name)([expected], lr=0.1, **theirs)
    for _ in range(20):
        gradient = rng.normal(size=weight.shape).astype(dtype)
        optimizer.update({"w": weight}, {"w": gradient})
        expected.grad = tensor(gradient)
        reference_optimizer.step()
    assert_close("w", weight, expected.detach().numpy(), "update", 20, floor=1.0)


@each_dtype
@pytest.mark.usefixtures("isa")
def test_sparse_adam_is_pytorchs(rng: np.random.Generator, dtype: Dtype) -> None:
    torch = pytest.importorskip("torch")
    weight = rng.normal(size=(30, 19)).astype(dtype)
    expected = torch.tensor(weight.astype(np.float64), requires_grad=True)
    theirs = torch.optim.SparseAdam([expected], lr=0.01)
    ours = optimizers.Adam(0.01)
    for step in range(1, 11):
        ours.epsilon = 1e-8 / (1 - ours.beta_2**step) ** 0.5
        rows = np.unique(rng.integers(0, 30, 12))
        values = rng.normal(size=(len(rows), 19)).astype(dtype)
        ours.update({"w": weight}, {"w": SparseRows(rows, values, weight.shape)})
        expected.grad = torch.sparse_coo_tensor(
            rows[None], values.astype(np.float64), weight.shape, check_invariants=True
        )
        theirs.step()
    assert_close("w", weight, expected.detach().numpy(), "update", 10, floor=1.0)


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    "record",
    KERAS["optimizers"],
    ids=[f"{r['class']}-{r['config']}" for r in KERAS["optimizers"]],
)
def test_steps_agree_with_recorded_ones_of_keras(
    record: dict[str, Any], dtype: Dtype
) -> None:
    optimizer = rebuild(record, optimizers.OPTIMIZERS)
    weights = {str(i): np.array(a, dtype) for i, a in enumerate(KERAS["start"])}
    epsilon = getattr(optimizer, "epsilon", None)
    for step, arrays in enumerate(KERAS["gradients"], 1):
        if isinstance(optimizer, optimizers.Adam):
            # Keras's epsilon meets a mean square that is not corrected yet.
            optimizer.epsilon = epsilon / (1 - optimizer.beta_2**step) ** 0.5
        grads = {str(i): np.array(a, dtype) for i, a in enumerate(arrays)}
        optimizer.update(weights, grads)
        for i, expected in enumerate(record["weights"].get(str(step), [])):
            exact = np.array(expected)
            assert_close(f"{step}", weights[str(i)], exact, "update", step, floor=1.0)
    assert step == max(map(int, record["weights"]))


# In use


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


def test_a_schedule_is_asked_before_every_update() -> None:
    schedule = schedules.PiecewiseConstantDecay([0, 2], [1.0, 0.1, 0.01])
    optimizer = optimizers.SGD(schedule)
    weights, grads = {"w": np.zeros(1)}, {"w": np.ones(1)}
    for step, (rate, total) in enumerate(
        [(1.0, -1.0), (0.1, -1.1), (0.1, -1.2), (0.01, -1.21)]
    ):
        assert optimizer.iterations == step
        assert optimizer.learning_rate == rate
        optimizer.update(weights, grads)
        assert weights["w"][0] == pytest.approx(total)
    optimizer.learning_rate /= 2  # a number takes the schedule's place
    assert optimizer.config["learning_rate"] == 0.005
    optimizer.update(weights, grads)
    assert weights["w"][0] == pytest.approx(-1.215)
    optimizer.learning_rate = schedule
    assert optimizer.config["learning_rate"] is schedule


def test_a_schedule_of_ones_own_must_give_a_rate() -> None:
    class Own(schedules.Schedule):
        def __init__(self, value: Any) -> None:
            self.value = value

        def __call__(self, step: int) -> float:
            return self.value  # type: ignore[no-any-return]

    weights, grads = {"w": np.zeros(1)}, {"w": np.ones(1)}
    optimizers.SGD(Own(np.float32(0.5))).update(weights, grads)
    assert weights["w"] == -0.5
    for value in (-0.1, float("nan"), float("inf"), None):
        optimizer = optimizers.SGD(Own(value))
        with pytest.raises(
            (TypeError, ValueError), match=f"learning_rate: got {value}"
        ):
            optimizer.update(weights, grads)
        assert (weights["w"].item(), optimizer.iterations) == (-0.5, 0)


def test_files_name_optimizers_with_their_schedules() -> None:
    rate = schedules.CosineDecay(0.0, 9, 0.1, warmup_target=1.0, warmup_steps=3)
    for optimizer in [*make_all(), optimizers.Adam(rate), optimizers.AdamW(clipnorm=2)]:
        assert optimizers.storable(optimizer)
        description = json.loads(json.dumps(describe(optimizer)))
        same = rebuild(description, optimizers.OPTIMIZERS)
        assert type(same) is type(optimizer)
        assert repr(same) == repr(optimizer)

    class Own(schedules.Schedule):
        def __call__(self, step: int) -> float:
            return 1.0

    class OwnSGD(optimizers.SGD):
        pass

    assert not optimizers.storable(optimizers.SGD(Own()))
    assert not optimizers.storable(OwnSGD())
    assert not optimizers.storable(None)


def test_a_model_keeps_its_optimizer_and_schedule_in_its_file(tmp_path: Path) -> None:
    model = gf.Sequential([layers.Dense(1)], seed=0)
    model.build((None, 2))
    schedule = schedules.PolynomialDecay(0.1, 5, cycle=True)
    model.compile(optimizers.AdamW(schedule, global_clipnorm=1.0))
    model.save(tmp_path / "m.safetensors")
    same = gf.load(tmp_path / "m.safetensors")
    assert repr(same.optimizer) == repr(model.optimizer)
    assert "PolynomialDecay(0.1, 5, cycle=True)" in repr(same.optimizer)


def test_a_model_is_updated_once_a_batch() -> None:
    model = gf.Sequential(
        [layers.GRU(3, return_sequences=True), layers.GRU(3), layers.Dense(1)], seed=0
    )
    mine = gf.Sequential(
        [layers.GRU(3, return_sequences=True), layers.GRU(3), layers.Dense(1)], seed=0
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4, 2)).astype(np.float32)
    y = rng.normal(size=(6, 1)).astype(np.float32)
    model.compile(optimizers.Adam(0.1, global_clipnorm=0.1))
    model.fit(x, y, epochs=3, batch_size=6, shuffle=False, seed=0)
    assert model.optimizer is not None
    assert model.optimizer.iterations == 3
    optimizer = optimizers.Adam(0.1, global_clipnorm=0.1)
    for _ in range(3):
        y_pred, context = mine.forward(x)
        grads = mine.backward(losses.mse.gradient(y, y_pred), context)[1]
        optimizer.update(mine, grads)
    assert_same_bits(model.get_weights(), mine.get_weights())


@pytest.mark.parametrize(
    "name",
    [
        "SGD", "adam", "AdamW", "rmsprop", "ADAGRAD", "adadelta", "Adafactor",
        "adamax", "FTRL", "lion", "nadam",
    ],
)  # fmt: skip
def test_names_stand_for_new_optimizers(name: str) -> None:
    optimizer = optimizers.get(name)
    assert type(optimizer).__name__.lower() == name.lower()
    assert repr(optimizer) == f"{type(optimizer).__name__}()"
    assert optimizers.get(name) is not optimizer
    assert optimizers.get(optimizer) is optimizer


# State


@each_dtype
@each_optimizer
def test_a_restored_optimizer_goes_on_to_the_same_bits(
    rng: np.random.Generator, optimizer: optimizers.Optimizer, dtype: Dtype
) -> None:
    one = copy.deepcopy(optimizer)
    weights = random_arrays(rng, dtype)
    for _ in range(3):
        one.update(weights, random_arrays(rng, dtype))
    one.learning_rate /= 3
    state = one.get_state(weights)
    kept = copy.deepcopy(state)
    restored = copy.deepcopy(weights)
    other = copy.deepcopy(optimizer)
    other.set_state(restored, state)
    assert other.learning_rate == one.learning_rate
    for _ in range(3):
        grads = random_arrays(rng, dtype)
        one.update(weights, grads)
        other.update(restored, grads)
    assert_same_bits(weights, restored)
    assert_same_bits(one.get_state(weights), other.get_state(restored))
    assert_same_bits(state, kept)  # copies, both ways


def test_the_state_of_a_model_has_the_names_of_its_weights() -> None:
    model = gf.Sequential([layers.GRU(2), layers.Dense(1)], seed=0)
    model.build((None, None, 3))
    state = optimizers.Adam().get_state(model)
    assert state.keys() == {"iterations", "learning_rate"} | {
        f"{name}/{slot}" for name in model.weights for slot in ("m", "v", "step")
    }
    assert all(not state[f"{name}/m"].any() for name in model.weights)


def test_a_state_brings_its_schedule_or_what_took_its_place() -> None:
    weights, grads = {"w": np.zeros(1)}, {"w": np.ones(1)}
    schedule = schedules.ExponentialDecay(0.1, 1, 0.5)
    one, two = optimizers.SGD(schedule), optimizers.SGD(schedule)
    one.update(weights, grads)
    state = one.get_state(weights)
    assert state.keys() == {"iterations"}
    two.set_state(weights, state)
    assert two.learning_rate == 0.05
    one.learning_rate = 0.02
    two.set_state(weights, one.get_state(weights))
    assert two.config["learning_rate"] == 0.02
    with pytest.raises(ValueError, match=r"state: no .'learning_rate'."):
        optimizers.SGD().set_state(weights, state)


def test_momenta_do_not_come_with_a_copy() -> None:
    optimizer = optimizers.Adam(0.1)
    optimizer.update({"w": np.zeros(1)}, {"w": np.ones(1)})
    for same in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert (repr(same), same.iterations) == ("Adam(learning_rate=0.1)", 0)


def broken_states() -> list[tuple[str, Any, str]]:
    return [
        ("iterations", None, "'iterations'.: got None, expected an int64 array"),
        ("iterations", np.array(-1), "'iterations'.: got array.-1., .*at least 0"),
        ("iterations", np.array([1]), "'iterations'"),
        ("iterations", np.array(1.0), "'iterations'"),
        ("learning_rate", np.array(-1.0), "'learning_rate'.: got -1.0"),
        ("learning_rate", np.array(np.nan), "'learning_rate'.: got nan"),
        ("learning_rate", np.array(0.1, np.float32), "'learning_rate'.*of float32"),
        ("learning_rate", np.array([0.1]), "'learning_rate'.: got shape"),
        ("a/step", np.array(1, np.int32), "'a/step'.: got .*int64"),
        ("a/m", np.ones(3), r"'a/m'.: got shape \(3,\), expected \(2\)"),
        ("b/v", np.ones(3, np.float32), "'b/v'.*of float32"),
        ("b/v", [1, 2, 3], "'b/v'.: got list"),
        ("b/w", np.ones(3), "state: unknown .'b/w'."),
    ]


@pytest.mark.parametrize(("name", "value", "message"), broken_states())
def test_a_wrong_state_changes_nothing(name: str, value: Any, message: str) -> None:
    weights = {"a": np.zeros(2), "b": np.zeros(3)}
    optimizer = optimizers.Adam(0.1)
    optimizer.update(weights, {"a": np.ones(2), "b": np.ones(3)})
    before = optimizer.get_state(weights)
    other = {key: np.array(array + 1) for key, array in before.items()}
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.set_state(weights, other | {name: value})
    assert_same_bits(optimizer.get_state(weights), before)


def test_a_state_must_be_whole() -> None:
    weights = {"a": np.zeros(2), "b": np.zeros(3)}
    optimizer = optimizers.Adam(0.1)
    state = optimizer.get_state(weights)
    for name in state:
        rest = {key: array for key, array in state.items() if key != name}
        with pytest.raises(ValueError, match=f"state: no .'{name}'."):
            optimizer.set_state(weights, rest)
    with pytest.raises(TypeError, match="state: got NoneType, expected a dict"):
        optimizer.set_state(weights, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="target: got int"):
        optimizer.get_state(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="target: got int"):
        optimizer.set_state(3, state)  # type: ignore[arg-type]


# Rows


@each_dtype
@each_optimizer
@pytest.mark.usefixtures("isa")
def test_rows_are_updated_as_the_whole_matrix_is(
    rng: np.random.Generator, optimizer: optimizers.Optimizer, dtype: Dtype
) -> None:
    lazy = type(optimizer) is optimizers.Adam
    sparse, dense = copy.deepcopy(optimizer), copy.deepcopy(optimizer)
    start = rng.normal(size=(50, 7)).astype(dtype)
    one, two = {"w": start.copy()}, {"w": start.copy()}
    touched: set[int] = set()
    for step in range(3):
        # Adam's other rows go on moving where it sees zeros: the same rows each time.
        seed = 0 if lazy else step
        rows = np.unique(np.random.default_rng(seed).integers(0, 50, 20))
        touched |= set(rows.tolist())
        values = rng.normal(size=(len(rows), 7)).astype(dtype)
        gradient = SparseRows(rows, values, (50, 7))
        sparse.update(one, {"w": gradient})
        dense.update(two, {"w": gradient.to_dense()})
    assert_same_bits(one, two)
    assert_same_bits(sparse.get_state(one), dense.get_state(two))
    left = sorted(set(range(50)) - touched)
    assert left
    assert one["w"][sorted(touched)].tobytes() != start[sorted(touched)].tobytes()


def test_adam_leaves_rows_without_a_gradient_alone() -> None:
    weights = {"w": np.zeros((3, 2))}
    adam = optimizers.Adam(0.1)
    adam.update(weights, {"w": np.ones((3, 2))})
    before = weights["w"].copy()
    rows = SparseRows(np.array([1]), np.ones((1, 2)), (3, 2))
    adam.update(weights, {"w": rows})
    np.testing.assert_array_equal(weights["w"][[0, 2]], before[[0, 2]])
    assert (weights["w"][1] < before[1]).all()
    assert adam.get_state(weights)["w/step"] == 2
    # With weight decay they are not left alone.
    adamw = optimizers.AdamW(0.1)
    adamw.update(weights, {"w": rows})
    assert (weights["w"][[0, 2]] != before[[0, 2]]).all()


@each_dtype
@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_rows_are_clipped_as_the_whole_matrix_is(
    rng: np.random.Generator, clip: str, dtype: Dtype
) -> None:
    rows = SparseRows(
        np.array([0, 3, 4]), rng.normal(size=(3, 9)).astype(dtype), (6, 9)
    )
    settings: dict[str, Any] = {clip: 0.5}
    weights = [{"w": np.zeros((6, 9), dtype), "b": np.zeros(4, dtype)} for _ in "ab"]
    both: tuple[Any, Any] = rows, rows.to_dense()
    for own, gradient in zip(weights, both, strict=True):
        optimizer = optimizers.SGD(1.0, **settings)
        optimizer.update(own, {"w": gradient, "b": np.ones(4, dtype)})
    for name in weights[0]:
        assert_close(name, weights[0][name], wide(weights[1])[name], "update")


def test_no_rows_change_nothing() -> None:
    weights = {"w": np.ones((3, 2))}
    rows = SparseRows(np.zeros(0, np.int64), np.ones((0, 2)), (3, 2))
    for optimizer in (optimizers.SGD(0.1), optimizers.Adam(clipnorm=1.0)):
        optimizer.update(weights, {"w": rows})
    np.testing.assert_array_equal(weights["w"], 1)
    assert repr(rows) == "<SparseRows: 0 rows of (3, 2), float64>"
    np.testing.assert_array_equal(rows.to_dense(), 0)


@pytest.mark.parametrize(
    ("indices", "values", "shape", "message"),
    [
        ([0, 1], np.ones((2, 3)), (4, 3), "indices: got list, expected an array of"),
        (np.arange(2.0), np.ones((2, 3)), (4, 3), "indices: got float64"),
        (np.arange(2, dtype="i4"), np.ones((2, 3)), (4, 3), "indices: got int32"),
        (np.array([[1]]), np.ones((1, 3)), (4, 3), r"indices: got shape \(1, 1\)"),
        (np.array([1, 1]), np.ones((2, 3)), (4, 3), "ascending numbers from 0 to 3"),
        (np.array([2, 1]), np.ones((2, 3)), (4, 3), "ascending"),
        (np.array([-1, 1]), np.ones((2, 3)), (4, 3), "ascending"),
        (np.array([1, 4]), np.ones((2, 3)), (4, 3), "ascending"),
        (np.array([1]), np.ones((2, 3)), (4, 3), r"values: got shape \(2, 3\)"),
        (np.array([1]), np.ones((1, 3), int), (4, 3), "values: .*int64"),
        (np.array([1]), np.ones((1, 3)), (4, 3, 1), r"shape: got \(4, 3, 1\)"),
        (np.array([1]), np.ones((1, 3)), (4, 3.0), r"shape.1.: got 3.0"),
    ],
)
def test_wrong_rows_are_named(
    indices: Any, values: Any, shape: Any, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SparseRows(indices, values, shape)


def test_rows_must_fit_their_weight() -> None:
    rows = SparseRows(np.array([1]), np.ones((1, 3)), (4, 3))
    for weight in (np.ones((5, 3)), np.ones((4, 3), np.float32), np.ones(12)):
        with pytest.raises(ValueError, match=r"grads.'w'.: got <SparseRows: 1 rows of"):
            optimizers.SGD().update({"w": weight}, {"w": rows})
    # Numbers that were right when the rows were made.
    rows.indices[0] = 4
    with pytest.raises(ValueError, match="row numbers must ascend from 0 to 3"):
        optimizers.SGD().update({"w": np.ones((4, 3))}, {"w": rows})


# Errors


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
            r"grads\['a'\]: got shape \(3,\), expected \(2,\)",
        ),
        (
            {"a": np.ones(2)},
            {"a": np.ones(2, "f4")},
            TypeError,
            "'a'.: got dtype float32",
        ),
        ({"a": np.ones(2)}, {"a": None}, TypeError, r"grads\['a'\]: got None"),
        (
            {"a": np.ones(2)},
            [np.ones(2)],
            TypeError,
            "grads: got list, expected a dict",
        ),
        (
            {"a": np.ones(2)},
            {"a": np.ma.masked_equal([1.0, 2.0], 1)},
            TypeError,
            r"grads\['a'\]: got a masked array",
        ),
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
    grads: Any,
    error: type[Exception],
    message: str,
) -> None:
    before = copy.deepcopy(weights)
    optimizer = optimizers.Adam()
    good = {"good": np.ones(3)}
    with pytest.raises(error, match=message):
        optimizer.update_all([(good, {"good": np.ones(3)}), (weights, grads)])
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, before[name])
    np.testing.assert_array_equal(good["good"], 1)
    assert optimizer.iterations == 0


@each_optimizer
def test_weights_must_not_share_memory(optimizer: optimizers.Optimizer) -> None:
    optimizer = copy.copy(optimizer)
    whole = np.arange(10.0).reshape(5, 2)
    target = {"a": whole[:3], "b": whole[2:]}
    grads = {name: np.ones((3, 2)) for name in target}
    with pytest.raises(ValueError, match="target: two of its weights share memory"):
        optimizer.update(target, grads)
    np.testing.assert_array_equal(whole, np.arange(10.0).reshape(5, 2))
    assert optimizer.iterations == 0


def test_weights_may_be_neighbours() -> None:
    whole = np.ones(10)
    grads = {"a": np.ones(6), "b": np.ones(5)}
    optimizers.SGD(1.0).update(
        {"a": whole[:5], "b": whole[5:]}, {**grads, "a": grads["b"]}
    )
    np.testing.assert_array_equal(whole, 0)


def test_names_may_be_any_keys() -> None:
    weights: dict[Any, Any] = {0: np.ones(2), (1, "a"): np.ones(3)}
    grads: dict[Any, Any] = {0: np.ones(2), (1, "a"): np.ones(3)}
    optimizers.SGD(1.0).update(weights, grads)
    assert not weights[0].any()
    with pytest.raises(ValueError, match=r"\(1, 'a'\)'\]: got shape \(2,\)"):
        optimizers.SGD().update(weights, grads | {(1, "a"): np.ones(2)})
    weights[0].flags.writeable = False
    with pytest.raises(ValueError, match="0: expected a writable"):
        optimizers.SGD().update(weights, grads)


@pytest.mark.parametrize("target", [None, 3, [np.ones(2)], "weights"])
def test_a_target_has_weights(target: Any) -> None:
    name = type(target).__name__
    with pytest.raises(TypeError, match=f"target: got {name}, expected a layer, a mod"):
        optimizers.SGD().update(target, {"a": np.ones(2)})


def test_a_weight_that_became_read_only_is_refused() -> None:
    weights, grads = {"w": np.ones(2)}, {"w": np.ones(2)}
    optimizer = optimizers.Adam()
    optimizer.update(weights, grads)
    before = weights["w"].copy()
    weights["w"].flags.writeable = False
    with pytest.raises(ValueError, match="w: is read-only"):
        optimizer.update(weights, grads)
    np.testing.assert_array_equal(weights["w"], before)
    assert optimizer.iterations == 1


def test_gradients_come_in_any_layout_and_weights_in_any_rank() -> None:
    weights = {"scalar": np.array(1.0), "matrix": np.ones((2, 3))}
    gradient = np.arange(6.0).reshape(3, 2).T
    unaligned = np.empty(49, np.uint8)[1:].view(np.float64).reshape(2, 3)
    unaligned[...] = gradient
    for given in (gradient, np.flip(np.flip(gradient).copy()), unaligned):
        weights["matrix"][...] = 1
        optimizers.SGD(1.0).update(weights, {"scalar": np.array(1.0), "matrix": given})
        np.testing.assert_array_equal(weights["matrix"], 1 - gradient)
    np.testing.assert_array_equal(weights["scalar"], -2.0)


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
        (optimizers.SGD, {"weight_decay": -0.1}, "weight_decay: got -0.1"),
        (optimizers.SGD, {"clipnorm": 0}, "clipnorm: got 0, expected a number above 0"),
        (optimizers.SGD, {"clipvalue": -1}, "clipvalue: got -1"),
        (optimizers.SGD, {"global_clipnorm": float("nan")}, "global_clipnorm: got nan"),
        (optimizers.SGD, {"global_clipnorm": True}, "global_clipnorm: got True"),
        (
            optimizers.Adam,
            {"clipnorm": 1, "clipvalue": 2},
            "clipnorm, clipvalue, global_clipnorm: got 1, 2, None, expected at most",
        ),
        (optimizers.Adam, {"beta_1": 1}, "beta_1: got 1"),
        (optimizers.Adam, {"beta_2": -0.5}, "beta_2: got -0.5"),
        (optimizers.Adam, {"epsilon": -1e-9}, "epsilon: got -1e-09"),
        (optimizers.Adam, {"amsgrad": "yes"}, "amsgrad: got 'yes'"),
        (optimizers.AdamW, {"weight_decay": "0.1"}, "weight_decay: got '0.1'"),
        (optimizers.RMSprop, {"rho": 1.0}, "rho: got 1.0"),
        (optimizers.RMSprop, {"momentum": 1.0}, "momentum: got 1.0"),
        (optimizers.RMSprop, {"epsilon": -1.0}, "epsilon: got -1.0"),
        (optimizers.RMSprop, {"centered": 0}, "centered: got 0"),
        (
            optimizers.Adagrad,
            {"initial_accumulator_value": -1},
            "initial_accumulator_value: got -1",
        ),
        (optimizers.Adagrad, {"epsilon": None}, "epsilon: got None"),
        (
            optimizers.Adafactor,
            {"beta_2_decay": 0.5},
            "beta_2_decay: got 0.5, .*most 0",
        ),
        (optimizers.Adafactor, {"clip_threshold": 0}, "clip_threshold: got 0"),
        (optimizers.Ftrl, {"learning_rate_power": 1}, "learning_rate_power: got 1"),
        (optimizers.Ftrl, {"beta": -1}, "beta: got -1"),
        (optimizers.get, {"optimizer": "tiger"}, "optimizer: got 'tiger'"),
        (optimizers.get, {"optimizer": None}, "optimizer: got None, expected an Opt"),
        (optimizers.get, {"optimizer": optimizers.SGD}, "optimizer: got <class"),
        (losses.get, {"loss": "hinge"}, "loss: got 'hinge'"),
        (losses.get, {"loss": None}, "loss: got None"),
    ],
)
def test_wrong_settings_are_named(
    make: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(**arguments)


# The native calls


def native_calls() -> dict[str, Callable[[Any, Any], None]]:
    """Return the native steps, of states and gradients, by the names they keep."""
    names = ["weight"]
    shared = 0.1, None, None, None, None
    return {
        "velocity": lambda s, g: _core.sgd_step(names, s, g, *shared, 0.9, False),
        "m v v_hat step": lambda s, g: _core.adam_step(
            names, s, g, *shared, 0.9, 0.9, 1e-7
        ),
        "velocity momentum average_gradient": lambda s, g: _core.rmsprop_step(
            names, s, g, *shared, 0.9, 0.9, 1e-7
        ),
        "accumulator": lambda s, g: _core.adagrad_step(names, s, g, *shared, 1e-7),
    }


@pytest.mark.parametrize("names", native_calls())
def test_native_steps_refuse_arrays_they_cannot_update_in_place(names: str) -> None:
    step = native_calls()[names]
    slots = ("weight", *names.split())

    def state(**changed: Any) -> list[tuple[Any, ...]]:
        arrays: dict[str, Any] = {name: np.ones((4, 6), np.float32) for name in slots}
        if "step" in arrays:
            arrays["step"] = np.array(0)
        return [tuple((arrays | changed).values())]

    gradient = np.ones((4, 6), np.float32)
    step(state(), [gradient])
    read_only = np.ones((4, 6), np.float32)
    read_only.flags.writeable = False
    for name in slots:
        unfit: tuple[Any, ...] = (
            np.ones((4, 5), np.float32),
            np.ones((4, 6)),
            np.ones((6, 4), np.float32).T,
            read_only,
            [1.0] * 24,
            np.array(-1),
        )
        for wrong in unfit:
            shown = "weight|grads" if name == "weight" else name
            with pytest.raises((TypeError, ValueError), match=shown):
                step(state(**{name: wrong}), [gradient])
    for name in slots:
        if name in ("v_hat", "average_gradient"):
            step(state(**{name: None}), [gradient])
        else:
            with pytest.raises((TypeError, ValueError), match=name):
                step(state(**{name: None}), [gradient])
    refused: tuple[Any, ...] = (
        np.ones((6, 4), np.float32),
        np.ones((4, 6)),
        None,
        (),
        (np.array([0]),),
        (np.array([0.0]), gradient[:1]),
        (np.array([[0]]), gradient[:1]),
        (np.array([0, 2, 4, 6])[::2], gradient[:2]),
        (np.array([4]), gradient[:1]),
        (np.array([-1]), gradient[:1]),
        (np.array([1, 1]), gradient[:2]),
        (np.array([1, 2]), gradient[:1]),
        (np.array([1]), np.ones((1, 6))),
    )
    for wrong in refused:
        with pytest.raises((TypeError, ValueError), match=r"grads.'weight'.:"):
            step(state(), [wrong])
    for states in ([], [()], [(gradient,)], [[*state()[0]]], [None], state() * 2):
        with pytest.raises((TypeError, ValueError), match=r"states|gradients"):
            step(states, [gradient])
    vector = [tuple(np.ones(4, np.float32) for _ in slots)]
    if "step" not in slots:
        with pytest.raises(
            ValueError, match=r"grads.'weight'.: expected an array, or row"
        ):
            step(vector, [(np.array([1]), np.ones((1, 1), np.float32))])


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
