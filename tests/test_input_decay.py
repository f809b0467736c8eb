"""The input of a GRU-D: gaps filled with what values have decayed to.

Values and gradients of few variables are compared with the oracle in test_cells.py.
"""

from typing import Any

import numpy as np
import pytest

import grufast as gf
from cell_layers import (
    LAYERS,
    assert_right,
    generator_of,
    how_to_run,
    layer_of,
    new_case,
    trained,
)
from grufast import _core
from reference import Array
from tolerances import DTYPES, Dtype, assert_same_bits

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def gaps(
    rng: np.random.Generator, rows: int, steps: int, size: int, dtype: Dtype
) -> dict[str, Any]:
    """Arguments of `_core.input_decay`."""
    values = rng.normal(size=(rows, steps, size))
    observed = rng.random(values.shape) < 0.4
    x = np.concatenate([values, observed, rng.exponential(size=values.shape)], axis=-1)
    vectors = {name: rng.normal(size=size) for name in ("weight", "bias", "mean")}
    arrays = {"x": x, **vectors}
    return {
        **{name: a.astype(dtype) for name, a in arrays.items()},
        "backwards": False,
        "mask": rng.random((rows, steps)) < 0.8,
        "resets": rng.random((rows, steps)) < 0.1,
    }


def both_ways(arguments: dict[str, Any], dfilled: Array) -> dict[str, Array]:
    filled, kept = _core.input_decay(keep=True, **arguments)
    assert kept is not None
    dx = np.where(arguments["mask"][..., None], dfilled, 0)
    dweight, dbias = _core.input_decay_backward(kept=kept, dx=dx, **arguments)
    return {"filled": filled, "dx": dx, "dweight": dweight, "dbias": dbias}


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("semantics", ["plain", "resets", "everything"])
@pytest.mark.parametrize("inputs", [7, 16, 17, 40])
def test_many_variables_are_filled_right(
    rng: np.random.Generator, inputs: int, semantics: str, dtype: Dtype
) -> None:
    kind = LAYERS["GRUD"]
    case = new_case(rng, kind, (5, 9, inputs, 4), dtype)
    how = how_to_run(rng, kind, semantics, 5, 9)
    layer = layer_of(kind, case, **how.options)
    twin = generator_of(layer)
    assert_right(trained(layer, case, how), case, how, layer, twin)


@each_dtype
@pytest.mark.usefixtures("isa", "keep_num_threads")
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("rows", "steps", "size"), [(67, 40, 21), (2, 500, 40), (1, 900, 33)]
)
def test_the_number_of_threads_changes_no_bit(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    size: int,
    backwards: bool,
    dtype: Dtype,
) -> None:
    arguments = {**gaps(rng, rows, steps, size, dtype), "backwards": backwards}
    dfilled = rng.normal(size=(rows, steps, 3 * size)).astype(dtype)
    results = []
    for threads in (1, 2, 3, 5):
        gf.set_num_threads(threads)
        results.append(both_ways(arguments, dfilled))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@each_dtype
@pytest.mark.usefixtures("isa")
def test_what_is_not_observed_is_never_looked_at(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    arguments = gaps(rng, 4, 9, 5, dtype)
    dfilled = rng.normal(size=(4, 9, 15)).astype(dtype)
    expected = both_ways(arguments, dfilled)
    x, mask = arguments["x"].copy(), arguments["mask"][..., None]
    x[..., :5][~((x[..., 5:10] > 0) & mask)] = np.nan
    results = both_ways({**arguments, "x": x}, dfilled)
    # Steps that are left out stay as they are.
    np.testing.assert_array_equal(
        results["filled"], np.where(mask, expected["filled"], x)
    )
    for name in ("dx", "dweight", "dbias"):
        np.testing.assert_array_equal(results[name], expected[name])


def test_no_sequences_have_no_gradient() -> None:
    arguments = gaps(np.random.default_rng(0), 0, 3, 2, "float32")
    results = both_ways(arguments, np.zeros((0, 3, 6), np.float32))
    assert results["filled"].shape == (0, 3, 6)
    assert not results["dweight"].any()
    assert not results["dbias"].any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": None}, TypeError, "x: got NoneType, expected an ndarray"),
        ({"x": np.ones((2, 3, 5), np.float32)}, ValueError, "x: got shape "),
        (
            {"x": np.ones((2, 3, 6))},
            TypeError,
            "x: got dtype float64, expected float32",
        ),
        ({"weight": np.ones((1, 2), np.float32)}, ValueError, "weight: got shape "),
        ({"bias": np.ones(3, np.float32)}, ValueError, r"bias: got shape \(3,\)"),
        ({"mean": np.ones((1, 2), np.float32)}, ValueError, "mean: got shape "),
        ({"mask": np.ones((2, 3))}, TypeError, "mask: expected an ndarray of bool"),
        ({"resets": np.ones((2, 4), bool)}, ValueError, "resets: got shape "),
        ({"lengths": [1, 4], "mask": None}, ValueError, "lengths: expected 2 integers"),
        ({"lengths": [1, 3]}, ValueError, "lengths: expected None beside a mask"),
    ],
)
def test_the_core_says_which_argument_is_wrong(
    change: dict[str, Any], error: Any, message: str
) -> None:
    arguments = {**gaps(np.random.default_rng(0), 2, 3, 2, "float32"), **change}
    with pytest.raises(error, match=f"^{message}"):
        _core.input_decay(keep=False, **arguments)


def test_gradients_must_be_there_to_be_changed() -> None:
    arguments = gaps(np.random.default_rng(0), 2, 3, 2, "float32")
    _, kept = _core.input_decay(keep=True, **arguments)
    assert kept is not None
    dx = np.ones((2, 3, 6), np.float32)
    dx.flags.writeable = False
    with pytest.raises(ValueError, match=r"^dx: is read-only"):
        _core.input_decay_backward(kept=kept, dx=dx, **arguments)
    with pytest.raises(ValueError, match=r"^dx: got shape"):
        _core.input_decay_backward(kept=kept, dx=dx[:1], **arguments)
    with pytest.raises(ValueError, match=r"^kept: got shape"):
        _core.input_decay_backward(kept=kept[1:], dx=dx, **arguments)
