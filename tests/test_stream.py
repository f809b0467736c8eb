"""A GRU fed one step at a time."""

import gc
from typing import Any

import numpy as np
import pytest

import grufast as gf
from reference import Array
from tolerances import DTYPES, Dtype


def built(units: int, inputs: int, **options: Any) -> gf.layers.GRU:
    layer = gf.layers.GRU(units, return_sequences=True, seed=1, **options)
    layer.build(inputs)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(
    ("inputs", "units"), [(1, 1), (1, 16), (8, 32), (5, 37), (64, 128), (30, 300)]
)
def test_steps_have_the_bits_of_the_whole_sequence(
    rng: np.random.Generator,
    isa: str,
    inputs: int,
    units: int,
    reset_after: bool,
    dtype: Dtype,
) -> None:
    layer = built(units, inputs, reset_after=reset_after, dtype=dtype)
    x = rng.normal(size=(1, 7, inputs)).astype(dtype)
    h0 = rng.normal(size=(1, units)).astype(dtype)
    stream, out = layer.stream(), np.empty(units, dtype)
    for state in (None, h0, None):
        y = layer(x, initial_state=state)
        stream.reset(None if state is None else state[0])
        for t in range(7):
            assert stream.step(x[0, t], out) is out
            np.testing.assert_array_equal(out, y[0, t])
        np.testing.assert_array_equal(stream.state, out)


def test_a_stream_keeps_its_weights_and_itself_alive(rng: np.random.Generator) -> None:
    layer = built(9, 3)
    x = rng.normal(size=(1, 1, 3)).astype("f")
    y = layer(x)
    step = layer.stream().step
    layer.set_weights({k: np.zeros_like(w) for k, w in layer.weights.items()})
    del layer
    gc.collect()
    np.testing.assert_array_equal(step(x[0, 0], np.empty(9, "f")), y[0, 0])


def read_only(size: int) -> Array:
    array = np.zeros(size, "f")
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        (np.zeros(4, "f"), np.zeros(9, "f"), ValueError, r"x: got shape \(4,\)"),
        (np.zeros((1, 3), "f"), np.zeros(9, "f"), ValueError, "x: got shape"),
        (np.zeros(3), np.zeros(9, "f"), TypeError, "x: got dtype float64"),
        (np.zeros(3, ">f4"), np.zeros(9, "f"), TypeError, "x: got dtype >f4"),
        (np.zeros(6, "f")[::2], np.zeros(9, "f"), ValueError, "x: .*contiguous"),
        ([0.0, 0.0, 0.0], np.zeros(9, "f"), TypeError, "x: got list"),
        (None, np.zeros(9, "f"), TypeError, "x: got NoneType"),
        (np.zeros(3, "f"), np.zeros(8, "f"), ValueError, "out: got shape"),
        (np.zeros(3, "f"), np.zeros(9), TypeError, "out: got dtype"),
        (np.zeros(3, "f"), np.zeros(18, "f")[::2], ValueError, "out: .*contiguous"),
        (np.zeros(3, "f"), read_only(9), ValueError, "out: is read-only"),
        (np.zeros(3, "f"), None, TypeError, "out: got NoneType"),
    ],
)
def test_a_wrong_argument_of_step_is_named_and_changes_nothing(
    x: Any, out: Any, error: type[Exception], match: str
) -> None:
    stream = built(9, 3).stream()
    stream.reset(np.full(9, 0.5, "f"))
    with pytest.raises(error, match=match):
        stream.step(x, out)
    np.testing.assert_array_equal(stream.state, np.full(9, 0.5, "f"))


def test_step_takes_two_arguments() -> None:
    step: Any = built(9, 3).stream().step
    with pytest.raises(TypeError, match="step: got 1 arguments"):
        step(np.zeros(3, "f"))


def test_a_wrong_state_is_named() -> None:
    stream = built(9, 3).stream()
    with pytest.raises(ValueError, match=r"state: .*\(8,\)"):
        stream.reset(np.zeros(8, "f"))
    with pytest.raises(TypeError, match=r"state: .*float64"):
        stream.reset(np.zeros(9))


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_stream_begins_with_the_learned_state(
    rng: np.random.Generator, kind: str
) -> None:
    options: dict[str, Any] = {"learn_initial_state": True, "return_sequences": True}
    layer = getattr(gf.layers, kind)(4, **options, seed=1)
    layer.build(3)
    drawn = {k: rng.normal(size=w.shape).astype("f") for k, w in layer.weights.items()}
    layer.set_weights(drawn)
    x = rng.normal(size=(1, 5, 3)).astype("f")
    y = layer(x)
    stream, out = layer.stream(), np.empty(4, "f")
    layer.set_weights({k: 2 * w for k, w in drawn.items()})
    for _ in range(2):
        first = [drawn[f"initial_{name}"] for name in layer.states]
        np.testing.assert_array_equal(np.atleast_2d(stream.state), first)
        for t in range(5):
            np.testing.assert_array_equal(stream.step(x[0, t], out), y[0, t])
        stream.reset()


def test_a_layer_that_is_not_built_has_no_stream() -> None:
    with pytest.raises(ValueError, match="build"):
        gf.layers.GRU(3).stream()
