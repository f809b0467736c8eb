"""memory="low": states alone are kept, the bits are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import _core
from reference import Array
from tolerances import CELLS, DTYPES, Cell, Dtype, assert_same_bits, gru_case

layers = gf.layers
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)
each_number_of_directions = pytest.mark.parametrize("directions", [1, 2])


def layer_of(
    directions: int, units: int, memory: Any, **options: Any
) -> gf.layers.GRU | gf.layers.Bidirectional:
    options |= {"return_sequences": True, "return_state": True, "seed": 0}
    options |= {"initializer": "torch"}  # whose biases are not zero
    gru = layers.GRU(units, memory=memory, **options)
    return gru if directions == 1 else layers.Bidirectional(gru)


def trained(layer: Any, x: Array, h0: Array, dy: Array, dh_n: Array) -> dict[str, Any]:
    (y, h_n), context = layer.forward(x, initial_state=h0)
    dx, grads = layer.backward((dy, dh_n), context)
    return {"y": y, "h_n": h_n, "dx": dx, **grads}


# The same bits

# Gates are computed again for 256 rows at a time: steps that are one such chunk, a step
# more or less, part of one, and several.
SIZES = (
    *((1, 1), (1, 255), (1, 256), (1, 257), (1, 700)),
    *((3, 85), (3, 86), (3, 200), (9, 28), (9, 29), (9, 100)),
    *((33, 7), (33, 8), (33, 30), (64, 4), (64, 5), (64, 20), (300, 3)),
)


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa", "keep_num_threads")
@each_number_of_directions
@pytest.mark.parametrize("units", [7, 40])
def test_low_memory_changes_no_bit(
    rng: np.random.Generator, units: int, directions: int, dtype: Dtype, cell: Cell
) -> None:
    options = {"dtype": dtype, "reset_after": cell == "gru"}
    fast, low = (layer_of(directions, units, m, **options) for m in ("fast", "low"))
    state = (2,) if directions == 2 else ()
    for rows, steps in SIZES:
        shapes = (rows, steps, 5), (*state, rows, units)
        x, h0, dh_n = (
            rng.normal(size=shape).astype(dtype) for shape in (*shapes, shapes[1])
        )
        dy = rng.normal(size=(rows, steps, directions * units)).astype(dtype)
        gf.set_num_threads(1)
        expected = trained(fast, x, h0, dy, dh_n)
        for threads in (1, 3):
            gf.set_num_threads(threads)
            assert_same_bits(trained(low, x, h0, dy, dh_n), expected)
        y, h_n = low(x, initial_state=h0)
        assert_same_bits({"y": y, "h_n": h_n}, {k: expected[k] for k in ("y", "h_n")})


@pytest.mark.parametrize("rows", [2, 20])
def test_low_memory_changes_no_bit_of_a_model(
    rng: np.random.Generator, rows: int
) -> None:
    x = rng.normal(size=(rows, 150, 3)).astype(np.float32)

    def results(*memory: Any) -> dict[str, Array]:
        first, second, third = (
            layers.GRU(size, return_sequences=True, memory=m)
            for size, m in zip((20, 15, 12), memory, strict=True)
        )
        stack = [first, layers.Bidirectional(second), third, layers.Dense(1)]
        model = gf.Sequential(stack, seed=0)
        model.compile()
        y, context = model.forward(x)
        dx, grads = model.backward(np.ones_like(y), context)
        model.fit(x, x[..., :1], epochs=2, batch_size=8, seed=0)
        return {
            "y": y,
            "dx": dx,
            **grads,
            **{f"w {k}": v for k, v in model.weights.items()},
        }

    expected = results("fast", "fast", "fast")
    for memory in (
        ("low", "low", "low"),
        ("low", "low", "fast"),
        ("fast", "low", "low"),
    ):
        assert_same_bits(results(*memory), expected)


@each_cell
@each_number_of_directions
@pytest.mark.parametrize(("rows", "steps"), [(3, 0), (0, 4), (0, 0)])
def test_no_rows_and_no_steps_are_fine(
    rng: np.random.Generator, rows: int, steps: int, directions: int, cell: Cell
) -> None:
    x = np.zeros((rows, steps, 5), np.float32)
    h0 = rng.normal(size=((2, rows, 9) if directions == 2 else (rows, 9)))
    h0 = h0.astype(np.float32)
    dy = np.ones((rows, steps, 9 * directions), np.float32)
    layer = layer_of(directions, 9, "low", reset_after=cell == "gru")
    results = trained(layer, x, h0, dy, 2 * h0)
    assert results.pop("dx").shape == x.shape
    np.testing.assert_array_equal(results.pop("h_n"), h0)
    np.testing.assert_array_equal(results.pop("initial_state"), 2 * h0)
    assert results.pop("y").shape == dy.shape
    assert results.keys() == layer.weights.keys()
    assert not any(grad.any() for grad in results.values())


def test_a_workspace_serves_calls_that_keep_different_things(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 9, 70, 5, 20)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    expected: dict[str, Array] = {}
    keeps: tuple[_core.Keep, ...] = ("states", "gates", "states", "states", "gates")
    for keep in keeps:
        recurrent.forward(case.x, case.h0, True, workspace, "nothing")
        recurrent.forward(case.x, case.h0, False, workspace, keep)
        gradients = recurrent.backward(workspace, case.x, case.dy, case.dh_n)
        results = dict(zip("abcdef", gradients, strict=True))
        expected = expected or results
        assert_same_bits(results, expected)


# The memory


@each_cell
@pytest.mark.parametrize(("directions", "part"), [(1, 0.25), (2, 0.3)])
def test_low_memory_takes_a_small_part_of_the_memory(
    directions: int, part: float, cell: Cell
) -> None:
    """Two directions also have gradients for x beside each other, in either case."""
    x = np.zeros((64, 200, 64), np.float32)

    def taken(memory: str) -> int:
        layer = layer_of(directions, 256, memory, reset_after=cell == "gru")
        (y, _), context = layer.forward(x)
        layer.backward((y, None), context)
        (workspace,) = layer._run._workspaces
        return workspace.nbytes

    states = directions * 64 * 200 * 256 * 4
    assert states <= taken("low") <= part * taken("fast")


# The argument


@pytest.mark.parametrize("value", ["Low", "", "none", None, 1, True, ["low"]], ids=repr)
def test_wrong_values_are_errors(value: Any) -> None:
    with pytest.raises(ValueError, match=r"memory: got .*, expected one of 'fast', 'l"):
        layers.GRU(5, memory=value)


def test_it_is_shown_and_saved(tmp_path: Path) -> None:
    low, fast = layers.GRU(5, memory="low"), layers.GRU(5)
    assert repr(low) == "GRU(5, memory='low')"
    assert repr(fast) == "GRU(5)"
    assert (fast.memory, layers.Bidirectional(low).memory) == ("fast", "low")
    model = gf.Sequential([low])
    model.build((None, None, 3))
    model.save(tmp_path / "model.safetensors")
    (loaded,) = gf.load(tmp_path / "model.safetensors").layers
    assert isinstance(loaded, layers.GRU)
    assert loaded.memory == "low"
