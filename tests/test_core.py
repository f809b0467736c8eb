"""The native module against the float64 oracle, under each instruction set."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import reference
from grufast import _core
from reference import Array
from tolerances import (
    CELLS,
    DTYPES,
    Cell,
    Dtype,
    GRUCase,
    assert_close,
    assert_gru_is_right,
    assert_same_bits,
    exact_gru,
    gru_case,
    native_gru,
)

pytestmark = pytest.mark.usefixtures("isa")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)

WIDTHS = (1, 3, 7, 8, 15, 16, 17, 31, 33, 48, 100)
ROWS = (1, 2, 3, 5, 8, 9, 13, 33)
STEPS = (1, 2, 7, 40)


def covering_sizes() -> list[tuple[int, int, int, int]]:
    """(rows, steps, inputs, units) so that every pair of values occurs."""
    return [
        (ROWS[(i + j) % len(ROWS)], STEPS[(i + j + i // 2) % len(STEPS)], c, h)
        for (i, h), (j, c) in itertools.product(enumerate(WIDTHS), enumerate(WIDTHS))
    ]


def test_the_list_of_sizes_covers_every_pair() -> None:
    sizes = covering_sizes()
    values = (ROWS, STEPS, WIDTHS, WIDTHS)
    for a, b in itertools.combinations(range(4), 2):
        covered = {(size[a], size[b]) for size in sizes}
        assert covered == set(itertools.product(values[a], values[b]))


# The GRU against the oracle


@each_cell
@each_dtype
@pytest.mark.parametrize(("rows", "steps", "inputs", "units"), covering_sizes())
def test_gru_is_right_at_awkward_sizes(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    dtype: Dtype,
    cell: Cell,
) -> None:
    h0 = bool(rng.integers(2))
    case = gru_case(rng, rows, steps, inputs, units, dtype, cell, h0=h0)
    assert_gru_is_right(native_gru(case), case)


@each_cell
@each_dtype
@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 3, 17), (5, 20, 48)])
def test_gru_is_right_over_many_steps(
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    units: int,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, rows, 300, inputs, units, dtype, cell)
    assert_gru_is_right(native_gru(case), case)


# rows × steps just under, at and just over 64, 256, 512 and 1024
AROUND_CHUNKS = (
    *((1, 63), (1, 64), (1, 65), (3, 21), (2, 32), (5, 13)),
    *((1, 255), (1, 256), (1, 257), (13, 19), (8, 32), (3, 86)),
    *((7, 73), (8, 64), (9, 57), (1, 513), (31, 33), (32, 32), (25, 41)),
    *((64, 5), (65, 4), (256, 2), (257, 2), (511, 3), (1024, 1), (1025, 2)),
)


@each_cell
@each_dtype
@pytest.mark.parametrize(("rows", "steps"), AROUND_CHUNKS)
def test_gru_is_right_around_chunk_boundaries(
    rng: np.random.Generator, rows: int, steps: int, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, rows, steps, 5, 19, dtype, cell)
    assert_gru_is_right(native_gru(case), case)


@each_cell
@each_dtype
@pytest.mark.parametrize("h0", [True, False], ids=["h0", ""])
@pytest.mark.parametrize(
    ("dy", "dh_n"),
    [(True, False), (False, True), (True, True), (False, False)],
    ids=["dy", "dh_n", "dy+dh_n", "no gradient"],
)
@pytest.mark.parametrize(
    ("rows", "steps", "units"), [(1, 1, 17), (3, 7, 16), (9, 33, 5)]
)
def test_gru_is_right_whichever_optional_arrays_are_given(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    units: int,
    dy: bool,
    dh_n: bool,
    h0: bool,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, rows, steps, 4, units, dtype, cell, h0=h0, dy=dy, dh_n=dh_n)
    results = native_gru(case)
    assert_gru_is_right(results, case)
    if not (dy or dh_n):
        assert not any(a.any() for name, a in results.items() if name[0] == "d")


@each_cell
@each_dtype
@pytest.mark.parametrize("h0", [True, False], ids=["h0", ""])
@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (2, 7), (13, 40), (0, 3), (2, 0)])
def test_forward_gives_the_same_bits_with_and_without_a_workspace_or_sequences(
    rng: np.random.Generator, rows: int, steps: int, h0: bool, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, rows, steps, 9, 21, dtype, cell, h0=h0)
    recurrent = case.new_recurrent()
    y, h_n = recurrent.forward(case.x, case.h0, True, _core.Workspace())
    assert y is not None
    for workspace in (None, _core.Workspace()):
        none, last = recurrent.forward(case.x, case.h0, False, workspace)
        assert none is None
        assert_same_bits({"h_n": last}, {"h_n": h_n})
    sequences, last = recurrent.forward(case.x, case.h0, True, None)
    assert sequences is not None
    assert_same_bits({"y": sequences, "h_n": last}, {"y": y, "h_n": h_n})
    if steps > 0:
        assert_same_bits({"h_n": y[:, -1]}, {"h_n": h_n})


@each_cell
@each_dtype
def test_gradients_are_the_same_bits_when_the_workspace_came_without_sequences(
    rng: np.random.Generator, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 11, 9, 21, dtype, cell)
    expected = native_gru(case)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    recurrent.forward(case.x, case.h0, False, workspace)
    gradients = recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    names = reference.GRUGradients._fields
    assert_same_bits(
        dict(zip(names, gradients, strict=True)), {k: expected[k] for k in names}
    )


@each_cell
@each_dtype
def test_gradients_without_dx_are_the_same_bits(
    rng: np.random.Generator, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 11, 9, 21, dtype, cell)
    expected = native_gru(case)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    recurrent.forward(case.x, case.h0, True, workspace)
    dx, *others = recurrent.backward(workspace, case.x, case.dy, case.dh_n, False)
    assert dx is None
    names = reference.GRUGradients._fields[1:]
    assert_same_bits(
        dict(zip(names, others, strict=True)), {k: expected[k] for k in names}
    )


@each_cell
@each_dtype
@pytest.mark.parametrize("h0", [True, False], ids=["h0", ""])
def test_no_steps_give_the_initial_state_back(
    rng: np.random.Generator, h0: bool, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 4, 0, 3, 5, dtype, cell, h0=h0)
    results = native_gru(case)
    assert results["y"].shape == (4, 0, 5)
    assert results["dx"].shape == (4, 0, 3)
    expected = np.zeros((4, 5), dtype) if case.h0 is None else case.h0
    np.testing.assert_array_equal(results["h_n"], expected)
    np.testing.assert_array_equal(results["dh0"], case.dh_n)
    assert not any(results[k].any() for k in results if "weight" in k or "bias" in k)
    assert_gru_is_right(results, case)


@each_cell
@each_dtype
@pytest.mark.parametrize("steps", [0, 4])
def test_no_rows_give_empty_states_and_zero_weight_gradients(
    rng: np.random.Generator, steps: int, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 0, steps, 3, 5, dtype, cell)
    results = native_gru(case)
    assert results["y"].shape == (0, steps, 5)
    assert results["dx"].shape == (0, steps, 3)
    assert results["dweight_hh"].shape == (15, 5)
    assert not any(a.any() for a in results.values())
    assert {a.dtype for a in results.values()} == {np.dtype(dtype)}


@each_dtype
def test_results_are_new_writable_contiguous_arrays(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    case = gru_case(rng, 3, 4, 5, 6, dtype)
    for name, result in native_gru(case).items():
        assert result.dtype == dtype
        assert result.flags.c_contiguous, name
        assert result.flags.writeable, name
        assert not any(
            np.shares_memory(result, a) for a in case if isinstance(a, np.ndarray)
        )


@each_cell
@each_dtype
def test_a_call_changes_none_of_its_inputs(
    rng: np.random.Generator, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 9, 7, 18, dtype, cell)
    before = [a.copy() for a in case if isinstance(a, np.ndarray)]
    native_gru(case)
    after = [a for a in case if isinstance(a, np.ndarray)]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@each_cell
def test_weights_may_be_packed_again(rng: np.random.Generator, cell: Cell) -> None:
    first = gru_case(rng, 3, 7, 6, 19, cell=cell)
    second = gru_case(rng, 3, 7, 6, 19, cell=cell)
    recurrent = first.new_recurrent()
    native_gru(first, recurrent)
    recurrent.pack(second.weight_ih, second.weight_hh, second.bias_ih, second.bias_hh)
    assert_same_bits(native_gru(second, recurrent), native_gru(second))


def test_packed_weights_are_copies(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 7, 6, 19)
    recurrent = case.new_recurrent()
    expected = native_gru(case, recurrent)
    for a in (case.weight_ih, case.weight_hh, case.bias_ih, case.bias_hh):
        a[...] = np.nan
    assert_same_bits(native_gru(case, recurrent), expected)


# Planted faults: the comparison must see each of them


def gates_swapped(case: GRUCase) -> dict[str, Array]:
    def swap(a: Array) -> Array:
        r, z, n = np.split(a, 3)
        return np.concatenate([z, r, n])

    return native_gru(
        case._replace(
            weight_ih=swap(case.weight_ih),
            weight_hh=swap(case.weight_hh),
            bias_ih=swap(case.bias_ih),
            bias_hh=swap(case.bias_hh),
        )
    )


def bias_of_n_dropped(case: GRUCase) -> dict[str, Array]:
    bias_hh = case.bias_hh.copy()
    bias_hh[2 * case.hidden_size :] = 0
    return native_gru(case._replace(bias_hh=bias_hh))


def bias_moved_across_the_reset_gate(case: GRUCase) -> dict[str, Array]:
    return native_gru(case._replace(bias_ih=case.bias_hh, bias_hh=case.bias_ih))


def other_reset_form(case: GRUCase) -> dict[str, Array]:
    return native_gru(case._replace(cell=CELLS[1 - CELLS.index(case.cell)]))


def weight_hh_transposed(case: GRUCase) -> dict[str, Array]:
    gates = [np.ascontiguousarray(u.T) for u in np.split(case.weight_hh, 3)]
    return native_gru(case._replace(weight_hh=np.concatenate(gates)))


def h0_ignored(case: GRUCase) -> dict[str, Array]:
    return native_gru(case._replace(h0=None))


def h0_of_the_next_row(case: GRUCase) -> dict[str, Array]:
    assert case.h0 is not None
    return native_gru(case._replace(h0=np.roll(case.h0, 1, axis=0)))


def y_one_step_late(case: GRUCase) -> dict[str, Array]:
    results = native_gru(case)
    assert case.h0 is not None
    y = np.concatenate([case.h0[:, None], results["y"][:, :-1]], axis=1)
    return {**results, "y": y}


def last_step_forgotten(case: GRUCase) -> dict[str, Array]:
    results = native_gru(case)
    return {**results, "h_n": results["y"][:, -2].copy()}


def last_row_left_out_of_the_weight_gradient(case: GRUCase) -> dict[str, Array]:
    assert case.h0 is not None
    assert case.dy is not None
    assert case.dh_n is not None
    fewer = case._replace(
        x=case.x[:-1], h0=case.h0[:-1], dy=case.dy[:-1], dh_n=case.dh_n[:-1]
    )
    dweight_hh = native_gru(fewer)["dweight_hh"]
    return {**native_gru(case), "dweight_hh": dweight_hh}


def dh_n_ignored(case: GRUCase) -> dict[str, Array]:
    return native_gru(case._replace(dh_n=None))


def last_unit_not_computed(case: GRUCase) -> dict[str, Array]:
    results = native_gru(case)
    results["y"][..., -1] = 0
    return results


def one_entry_off_by_a_hundred_eps(case: GRUCase) -> dict[str, Array]:
    results = native_gru(case)
    worst = np.unravel_index(np.abs(results["dx"]).argmax(), results["dx"].shape)
    results["dx"][worst] *= 1 + 100 * np.finfo(case.dtype).eps
    return results


FAULTS = (
    gates_swapped,
    bias_of_n_dropped,
    bias_moved_across_the_reset_gate,
    other_reset_form,
    weight_hh_transposed,
    h0_ignored,
    h0_of_the_next_row,
    y_one_step_late,
    last_step_forgotten,
    last_row_left_out_of_the_weight_gradient,
    dh_n_ignored,
    last_unit_not_computed,
    one_entry_off_by_a_hundred_eps,
)


@each_dtype
@pytest.mark.parametrize("units", [3, 16, 33])
@pytest.mark.parametrize(
    ("plant", "cell"),
    [
        pytest.param(plant, cell, id=f"{plant.__name__}-{cell}")
        for plant, cell in itertools.product(FAULTS, CELLS)
        # The two biases only add up where the reset gate comes before.
        if (plant, cell) != (bias_moved_across_the_reset_gate, "gru_reset_before")
    ],
)
def test_a_planted_fault_fails_the_comparison(
    rng: np.random.Generator,
    plant: Callable[[GRUCase], dict[str, Array]],
    units: int,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, 4, 6, 5, units, dtype, cell)
    assert_gru_is_right(native_gru(case), case)
    faulty = plant(case)
    with pytest.raises(AssertionError, match="exactly"):
        assert_gru_is_right(faulty, case)


# Layouts of the arrays


def in_bytes_at_an_offset(a: Array, offset: int) -> Array:
    """The same values at an address `offset` bytes past a multiple of 64."""
    buffer = np.zeros(a.nbytes + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    moved = buffer[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def with_gaps(a: Array, axis: int) -> Array:
    """The same values as every third index of a larger array filled with NaN."""
    shape = list(a.shape)
    shape[axis] *= 3
    larger = np.full(shape, np.nan, a.dtype)
    index = [slice(None)] * a.ndim
    index[axis] = slice(1, None, 3)
    larger[tuple(index)] = a
    return larger[tuple(index)]


def with_padded_rows(a: Array) -> Array:
    """The same values as the first columns of wider rows filled with NaN."""
    wider = np.full((*a.shape[:-1], a.shape[-1] + 5), np.nan, a.dtype)
    wider[..., : a.shape[-1]] = a
    return wider[..., : a.shape[-1]]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "rows of a larger batch": lambda a: with_gaps(a, 0),
    "steps of a longer sequence": lambda a: with_gaps(a, 1),
    "columns of wider rows": with_padded_rows,
    "time-major": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
    "reversed batch": lambda a: a[::-1].copy()[::-1],
    "reversed time": lambda a: a[:, ::-1].copy()[:, ::-1],
    "reversed both": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "one element off alignment": lambda a: in_bytes_at_an_offset(a, a.itemsize),
    "three elements off alignment": lambda a: in_bytes_at_an_offset(a, 3 * a.itemsize),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "a field of records": lambda a: a.view([("row", a.dtype, (a.shape[-1],))])[
        "row"
    ].reshape(a.shape),
}


@each_dtype
@pytest.mark.parametrize("inputs", [1, 4, 17])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_x_changes_no_bit(
    rng: np.random.Generator, layout: str, inputs: int, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, inputs, 17, dtype)
    moved = LAYOUTS[layout](case.x)
    np.testing.assert_array_equal(moved, case.x)
    assert_same_bits(native_gru(case._replace(x=moved)), native_gru(case))


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_dy_changes_no_bit(
    rng: np.random.Generator, layout: str, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, 4, 17, dtype)
    assert case.dy is not None
    moved = case._replace(dy=LAYOUTS[layout](case.dy))
    assert_same_bits(native_gru(moved), native_gru(case))


@each_dtype
@pytest.mark.parametrize("name", ["h0", "dh_n"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_states_in_any_layout_are_read_right_or_refused(
    rng: np.random.Generator, layout: str, name: str, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, 4, 17, dtype)
    state = LAYOUTS[layout](getattr(case, name)[:, None])[:, 0]
    moved = case.changed(**{name: state})
    if state.flags.c_contiguous:
        assert_same_bits(native_gru(moved), native_gru(case))
        return
    try:
        results = native_gru(moved)
    except ValueError as error:
        assert str(error).startswith(f"{name}:")  # noqa: PT017 (either is right)
    else:
        assert_same_bits(results, native_gru(case))


@each_dtype
def test_x_may_be_one_sequence_broadcast_over_the_batch_or_one_step_over_time(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, 5, 17, dtype)
    for part in (case.x[:1], case.x[:, :1], case.x[:1, :1]):
        x = np.broadcast_to(part, case.x.shape)
        results = native_gru(case._replace(x=x))
        assert_same_bits(results, native_gru(case._replace(x=x.copy())))


@each_dtype
def test_x_in_fortran_order_is_read_right_or_refused(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, 5, 17, dtype)
    for x in (np.asfortranarray(case.x), with_gaps(case.x, 2), case.x[..., ::-1]):
        moved = case._replace(x=x)
        try:
            results = native_gru(moved)
        except (TypeError, ValueError) as error:
            assert str(error).startswith("x:")  # noqa: PT017 (either is right)
        else:
            assert_gru_is_right(results, moved)


@each_dtype
def test_x_that_is_not_aligned_to_its_items_is_read_right_or_refused(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    case = gru_case(rng, 6, 8, 5, 17, dtype)
    for offset in (1, 2, case.x.itemsize // 2, 7):
        moved = case._replace(x=in_bytes_at_an_offset(case.x, offset))
        try:
            results = native_gru(moved)
        except (TypeError, ValueError) as error:
            assert str(error).startswith("x:")  # noqa: PT017 (either is right)
        else:
            assert_same_bits(results, native_gru(case))


@each_cell
def test_weights_in_any_layout_pack_to_the_same_bits_or_are_refused(
    rng: np.random.Generator, cell: Cell
) -> None:
    case = gru_case(rng, 3, 4, 5, 17, cell=cell)
    expected = native_gru(case)
    for name in ("weight_ih", "weight_hh"):
        a = getattr(case, name)
        for moved in (np.asfortranarray(a), with_padded_rows(a), with_gaps(a, 1)):
            try:
                results = native_gru(case.changed(**{name: moved}))
            except (TypeError, ValueError) as error:
                assert str(error).startswith(f"{name}:")  # noqa: PT017 (either is right)
            else:
                assert_same_bits(results, expected)


# Extreme values


@each_cell
@each_dtype
@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
def test_saturated_gates_are_right(
    rng: np.random.Generator, size: float, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 6, 1, 19, dtype, cell)
    # Products far from 0: a sum that cancels would have the errors of its terms.
    case = case._replace(
        x=(case.x + np.copysign(1, case.x)) * np.asarray(size, dtype),
        weight_ih=case.weight_ih + np.copysign(0.25, case.weight_ih).astype(dtype),
    )
    results = native_gru(case)
    assert_gru_is_right({k: results[k] for k in ("y", "h_n")}, case)
    assert all(np.isfinite(a).all() for a in results.values())


@each_cell
@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("units", [3, 17])
def test_nan_and_infinity_in_x_go_where_numpy_takes_them(
    rng: np.random.Generator, value: float, units: int, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 6, 7, units, dtype, cell)
    case.x[2, 3, 4] = value
    results = native_gru(case)
    with np.errstate(invalid="ignore"):
        assert_gru_is_right({k: results[k] for k in ("y", "h_n")}, case)
        exact = exact_gru(case)
    assert np.isnan(exact["y"][2, 3:]).all() == np.isnan(value)
    # Other rows know nothing of it.
    clean = case._replace(x=np.nan_to_num(case.x, posinf=0.0, neginf=0.0))
    others = [0, 1, 3, 4]
    expected = native_gru(clean)
    for name in ("y", "h_n", "dx", "dh0"):
        assert results[name][others].tobytes() == expected[name][others].tobytes()


@each_cell
@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_h0_stay_in_their_row_and_cannot_hide(
    rng: np.random.Generator, value: float, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 3, 7, 17, dtype, cell)
    assert case.h0 is not None
    case.h0[2, 4] = value
    y = native_gru(case)["y"]
    with np.errstate(invalid="ignore"):
        exact = exact_gru(case)["y"]
    # A gate of NumPy's may be exactly 0 and turn infinities into NaN where the core's
    # is 1e-18 and keeps them.
    finite = np.isfinite(exact)
    assert_close("y", np.where(finite, y, 0), np.where(finite, exact, 0), "forward", 51)
    assert not np.isfinite(y[2, :, 4]).any()
    if np.isnan(value):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))


@each_cell
@each_dtype
def test_a_nan_gradient_of_one_row_stays_in_its_row_of_dx(
    rng: np.random.Generator, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 5, 6, 7, 17, dtype, cell)
    expected = native_gru(case)
    assert case.dy is not None
    case.dy[2, 3, 4] = np.nan
    results = native_gru(case)
    assert np.isnan(results["dx"][2, :4]).all()
    assert np.isfinite(results["dx"][2, 4:]).all()
    assert np.isnan(results["dweight_ih"]).any()
    others = [0, 1, 3, 4]
    for name in ("y", "h_n", "dx", "dh0"):
        a, b = results[name][others], expected[name][others]
        assert a.tobytes() == b.tobytes(), name


@each_cell
@each_dtype
@pytest.mark.parametrize("units", [3, 17])
def test_denormal_states_are_not_flushed_to_zero(
    rng: np.random.Generator, units: int, dtype: Dtype, cell: Cell
) -> None:
    tiny = np.finfo(dtype).tiny
    case = gru_case(rng, 5, 3, 4, units, dtype, cell)
    assert case.h0 is not None
    zeros = np.zeros(3 * units, dtype)
    case = case._replace(
        x=(case.x * tiny / 8).astype(dtype),
        h0=(case.h0 * tiny / 8).astype(dtype),
        bias_ih=zeros,
        bias_hh=zeros,
    )
    y = native_gru(case)["y"]
    assert np.abs(y).max() < tiny
    exact = exact_gru(case)["y"]
    spacing = np.finfo(dtype).smallest_subnormal
    if dtype == "float32":  # in float64 the oracle itself rounds to this spacing
        assert np.abs(y - exact).max() <= 8 * units * spacing
    assert np.count_nonzero(y) > 0.9 * y.size
    assert_close("y", y, exact, "forward", 16 * units)


def test_denormals_of_the_caller_survive_a_call(rng: np.random.Generator) -> None:
    native_gru(gru_case(rng, 8, 40, 7, 33))
    tiny = np.finfo(np.float32).tiny
    assert np.array([tiny], np.float32) * np.float32(0.5) > 0


# The activations alone: one step of one unit that only sees its input


ACTIVATIONS = ("linear", "tanh", "sigmoid", "relu")


def activated(activation: Any, a: Array) -> Array:
    dense = _core.Dense(
        1, 1, "float32" if a.dtype == np.float32 else "float64", activation
    )
    dense.pack(np.ones((1, 1), a.dtype), np.zeros(1, a.dtype))
    return dense.forward(a[:, None])[:, 0]


def whole_range(dtype: Dtype) -> Array:
    parts = (
        [0.0, 1e-30, 1e-8],
        np.geomspace(1e-6, 100, 4001),
        np.linspace(0, 30, 4001),
    )
    a = np.concatenate(parts).astype(dtype)
    return np.concatenate([-a, a])


@each_dtype
def test_activations_are_accurate_over_the_whole_range(dtype: Dtype) -> None:
    a = whole_range(dtype)
    info = np.finfo(dtype)
    functions: dict[str, Callable[[Array], Array]]
    functions = {"tanh": np.tanh, "sigmoid": reference.sigmoid}
    for activation, f in functions.items():
        y, exact = activated(activation, a), f(a.astype(np.float64))
        assert np.abs(y).max() <= 1
        # Where the exact value is denormal, it is enough to be as small.
        error = np.abs(y - exact) / np.maximum(np.abs(exact), 2 * info.tiny)
        assert (error <= 4 * info.eps)[np.abs(exact) > 2 * info.tiny].all(), (
            activation,
            a[error.argmax()],
        )
        assert error.max() <= 1


@each_dtype
def test_tanh_is_odd(dtype: Dtype) -> None:
    a = whole_range(dtype)
    np.testing.assert_array_equal(activated("tanh", -a), -activated("tanh", a))


# The workspace


@each_dtype
def test_a_used_workspace_gives_the_same_bits_as_a_new_one(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    workspace = _core.Workspace()
    for cell, (rows, steps, inputs, units) in itertools.product(
        CELLS,
        [(3, 5, 7, 9), (33, 40, 8, 17), (1, 1, 1, 1), (2, 0, 3, 4), (8, 70, 3, 33)],
    ):
        case = gru_case(rng, rows, steps, inputs, units, dtype, cell)
        assert_same_bits(native_gru(case, workspace=workspace), native_gru(case))


def test_a_workspace_may_change_dtype_and_grows_as_needed(
    rng: np.random.Generator,
) -> None:
    workspace = _core.Workspace()
    assert workspace.nbytes == 0
    sizes = []
    for dtype in ("float32", "float64", "float32"):
        case = gru_case(rng, 9, 12, 7, 17, dtype)
        assert_same_bits(native_gru(case, workspace=workspace), native_gru(case))
        sizes.append(workspace.nbytes)
    states = 9 * 12 * 17
    assert states * 4 <= sizes[0] <= sizes[1] <= sizes[2]
    assert sizes[2] < 100 * states * 8


def test_a_forward_that_fails_leaves_no_half_filled_workspace(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    with pytest.raises(ValueError, match="x"):
        recurrent.forward(case.x[..., :4], None, True, workspace)
    with pytest.raises(ValueError, match=r"forward"):
        recurrent.backward(workspace, case.x, case.dy, case.dh_n)


def test_backward_needs_its_own_forward(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    with pytest.raises(ValueError, match="forward"):
        recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    recurrent.forward(case.x, case.h0, True, workspace)
    recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    with pytest.raises(ValueError, match="forward"):
        recurrent.backward(workspace, case.x, case.dy, case.dh_n)


def test_backward_of_another_layer_is_refused(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    workspace = _core.Workspace()
    case.new_recurrent().forward(case.x, case.h0, True, workspace)
    for other in (
        case._replace(cell="gru_reset_before"),
        gru_case(rng, 3, 4, 5, 7),
        gru_case(rng, 3, 4, 4, 6),
        gru_case(rng, 3, 4, 5, 6, "float64"),
    ):
        with pytest.raises((TypeError, ValueError)):
            other.new_recurrent().backward(workspace, other.x, other.dy, other.dh_n)


# Several Python threads at once


@each_cell
def test_concurrent_calls_give_the_same_bits_as_serial_ones(
    rng: np.random.Generator, cell: Cell
) -> None:
    shared = gru_case(rng, 1, 1, 9, 33, cell=cell)
    recurrent = shared.new_recurrent()
    cases = []
    for i in range(24):
        fed = gru_case(rng, 1 + 5 * (i % 4), 10 + i, 9, 33, cell=cell)
        cases.append(shared._replace(x=fed.x, h0=fed.h0, dy=fed.dy, dh_n=fed.dh_n))

    def infer(case: GRUCase) -> dict[str, Array]:
        y, h_n = recurrent.forward(case.x, case.h0, True, None)
        assert y is not None
        return {"y": y, "h_n": h_n}

    def train(case: GRUCase) -> dict[str, Array]:
        return native_gru(case, recurrent)

    works: list[Callable[[GRUCase], dict[str, Array]]] = [infer, train]
    for work in works:
        serial = [work(case) for case in cases]
        with ThreadPoolExecutor(4) as pool:
            for a, b in zip(serial, pool.map(work, cases * 2), strict=False):
                assert_same_bits(a, b)


def test_threads_that_share_a_workspace_get_an_error_or_the_right_bits(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 8, 60, 9, 64)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    exact, _ = recurrent.forward(case.x, case.h0, True, None)

    def work(_: int) -> bool:
        try:
            y, _h_n = recurrent.forward(case.x, case.h0, True, workspace)
        except ValueError as error:
            assert "workspace" in str(error)  # noqa: PT017
            return False
        np.testing.assert_array_equal(y, exact)
        return True

    with ThreadPoolExecutor(4) as pool:
        worked = list(pool.map(work, range(200)))
    assert any(worked)


# Wrong arguments


def pack_and_run(recurrent: _core.Recurrent, case: GRUCase) -> None:
    recurrent.pack(case.weight_ih, case.weight_hh, case.bias_ih, case.bias_hh)
    native_gru(case, recurrent)


def wrong_shapes(case: GRUCase) -> list[tuple[str, Array]]:
    assert case.h0 is not None
    return [
        ("x", case.x[0]),
        ("x", case.x[None]),
        ("x", case.x[..., :-1]),
        ("x", np.zeros((3, 4, 0), np.float32)),
        ("h0", case.h0[0]),
        ("h0", case.h0[:, :-1]),
        ("h0", case.h0[:-1]),
        ("h0", case.h0[:, None]),
    ]


def test_forward_names_the_array_of_the_wrong_shape(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent = case.new_recurrent()
    for name, array in wrong_shapes(case):
        arguments = {"x": case.x, "h0": case.h0, name: array}
        got = r".*".join(str(n) for n in array.shape)
        with pytest.raises(ValueError, match=rf"\b{name}\b.*{got}"):
            recurrent.forward(arguments["x"], arguments["h0"], True, None)  # type: ignore[arg-type]


def test_backward_names_the_array_of_the_wrong_shape(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    recurrent.forward(case.x, case.h0, True, workspace)
    assert case.dy is not None
    assert case.dh_n is not None
    for name, array in (
        ("x|dy|workspace", case.x[:, :-1]),
        ("x|dy|workspace", case.x[:-1]),
        ("x", case.x[0]),
        ("x", case.x[..., :-1]),
        ("dy", case.dy[:, :-1]),
        ("dy", case.dy[:-1]),
        ("dy", case.dy[..., :-1]),
        ("dy", case.dy[:, 0]),
        ("dh_n", case.dh_n[:-1]),
        ("dh_n", case.dh_n[:, :-1]),
        ("dh_n", case.dh_n[0]),
    ):
        wrong = case.changed(**{name.split("|")[0]: array})
        with pytest.raises(ValueError, match=rf"^({name}):"):
            recurrent.backward(workspace, wrong.x, wrong.dy, wrong.dh_n)
    # None of these used the workspace up.
    dx, *_ = recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    assert_gru_is_right({"dx": dx}, case)


@pytest.mark.parametrize(
    "name", ["x", "h0", "dy", "dh_n", "weight_ih", "weight_hh", "bias_ih", "bias_hh"]
)
@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.float16),
        lambda a: a.astype(np.int32),
        lambda a: a.astype(np.complex64),
        lambda a: a.astype(object),
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.tolist(),
        lambda a: "array",
        lambda a: 3,
    ],
    ids=[
        "float64",
        "float16",
        "int32",
        "complex64",
        "object",
        "swapped",
        "list",
        "str",
        "int",
    ],
)
def test_an_array_of_the_wrong_type_is_refused_by_name(
    rng: np.random.Generator, name: str, convert: Callable[[Array], Any]
) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent = case.new_recurrent()
    wrong = case.changed(**{name: convert(getattr(case, name))})
    with pytest.raises(TypeError, match=rf"^{name}:"):
        pack_and_run(recurrent, wrong)


@pytest.mark.parametrize("name", ["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_a_required_array_may_not_be_none(rng: np.random.Generator, name: str) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    recurrent = case.new_recurrent()
    with pytest.raises(TypeError, match=rf"^{name}:"):
        pack_and_run(recurrent, case.changed(**{name: None}))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_ih", (18, 4)),
        ("weight_ih", (17, 5)),
        ("weight_ih", (5, 18)),
        ("weight_ih", (90,)),
        ("weight_hh", (18, 5)),
        ("weight_hh", (6, 18)),
        ("weight_hh", (3, 6, 6)),
        ("bias_ih", (17,)),
        ("bias_ih", (6,)),
        ("bias_ih", (18, 1)),
        ("bias_hh", (0,)),
        ("bias_hh", (36,)),
    ],
)
def test_pack_names_the_weight_of_the_wrong_shape(
    rng: np.random.Generator, name: str, shape: tuple[int, ...]
) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    arrays = {
        k: getattr(case, k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    arrays[name] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        case.new_recurrent().pack(**arrays)


def test_a_pack_that_fails_leaves_the_weights_as_they_were(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 3, 4, 5, 6)
    other = gru_case(rng, 3, 4, 5, 6)
    recurrent = case.new_recurrent()
    with pytest.raises(ValueError, match="bias_hh"):
        recurrent.pack(
            other.weight_ih, other.weight_hh, other.bias_ih, other.bias_hh[:-1]
        )
    assert_same_bits(native_gru(case, recurrent), native_gru(case))


def test_a_layer_without_weights_computes_nothing(rng: np.random.Generator) -> None:
    recurrent = _core.Recurrent("gru", 5, 6, "float32")
    case = gru_case(rng, 3, 4, 5, 6)
    with pytest.raises(ValueError, match="pack"):
        recurrent.forward(case.x, None, True, None)
    dense = _core.Dense(5, 2, "float32", "linear")
    with pytest.raises(ValueError, match="pack"):
        dense.forward(case.x[0])


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        (("gru2", 3, 4, "float32"), ValueError, "cell"),
        (("", 3, 4, "float32"), ValueError, "cell"),
        ((None, 3, 4, "float32"), TypeError, "cell"),
        (("gru", 0, 4, "float32"), ValueError, "input_size"),
        (("gru", -1, 4, "float32"), ValueError, "input_size"),
        (("gru", 2**40, 4, "float32"), ValueError, "input_size"),
        (("gru", 2**80, 4, "float32"), (TypeError, ValueError), "input_size"),
        (("gru", 3.0, 4, "float32"), TypeError, "input_size"),
        (("gru", "3", 4, "float32"), TypeError, "input_size"),
        (("gru", None, 4, "float32"), TypeError, "input_size"),
        (("gru", 3, 0, "float32"), ValueError, "hidden_size"),
        (("gru", 3, -4, "float32"), ValueError, "hidden_size"),
        (("gru", 3, 2**62, "float32"), ValueError, "hidden_size"),
        (("gru", 3, 4, "float16"), ValueError, "dtype"),
        (("gru", 3, 4, "f4"), ValueError, "dtype"),
        (("gru", 3, 4, None), TypeError, "dtype"),
    ],
)
def test_wrong_sizes_and_names_of_a_recurrent_layer_are_errors(
    arguments: Any, error: Any, name: str
) -> None:
    with pytest.raises(error, match=name):
        _core.Recurrent(*arguments)


# Dense


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("units", [1, 3, 8, 17, 33, 100])
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 13, 257])
def test_dense_is_right_at_awkward_sizes(
    rng: np.random.Generator,
    rows: int,
    units: int,
    activation: Any,
    dtype: Dtype,
) -> None:
    for inputs in (1, 7, 16, 33):
        weight = rng.normal(scale=inputs**-0.5, size=(units, inputs)).astype(dtype)
        x = rng.normal(size=(rows, inputs)).astype(dtype)
        bias, dy = (rng.normal(size=s).astype(dtype) for s in (units, (rows, units)))
        dense = _core.Dense(inputs, units, dtype, activation)
        dense.pack(weight, bias)
        y = dense.forward(x)
        wide_x, wide_w, wide_b, wide_dy = (
            a.astype(np.float64) for a in (x, weight, bias, dy)
        )
        exact = reference.dense_forward(wide_x, wide_w, wide_b, activation)
        # A few entries may all cancel: allow the errors of what they are made of.
        size_x, size_w, size_dy = (np.abs(a).max() for a in (x, weight, dy))
        assert_close("y", y, exact, "forward", inputs, max(1, size_x * size_w))
        dx, dweight, dbias = dense.backward(x, y, dy)
        assert dx is not None
        longest = max(rows, inputs, units)
        for name, actual, expected, factor in zip(
            ("dx", "dweight", "dbias"),
            (dx, dweight, dbias),
            reference.dense_backward(wide_x, wide_w, wide_b, wide_dy, activation),
            (size_w, size_x, 1),
            strict=True,
        ):
            floor = size_dy * factor
            assert_close(name, actual, expected, "backward", longest, floor)
        none, *others = dense.backward(x, y, dy, need_dx=False)
        assert none is None
        assert_same_bits(
            dict(zip("wb", others, strict=True)), {"w": dweight, "b": dbias}
        )


@each_dtype
def test_dense_with_no_rows_gives_empty_results(dtype: Dtype) -> None:
    dense = _core.Dense(3, 2, dtype, "tanh")
    dense.pack(np.ones((2, 3), dtype), np.ones(2, dtype))
    x, y = np.zeros((0, 3), dtype), np.zeros((0, 2), dtype)
    assert dense.forward(x).shape == (0, 2)
    dx, dweight, dbias = dense.backward(x, y, y)
    assert dx is not None
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dweight, np.zeros((2, 3)))
    np.testing.assert_array_equal(dbias, np.zeros(2))


@each_dtype
def test_dense_reads_strided_rows(rng: np.random.Generator, dtype: Dtype) -> None:
    x = rng.normal(size=(6, 5)).astype(dtype)
    dense = _core.Dense(5, 9, dtype, "tanh")
    dense.pack(rng.normal(size=(9, 5)).astype(dtype), np.zeros(9, dtype))
    y = dense.forward(x)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected = dense.backward(x, y, dy)
    for arrange in (
        lambda a: with_gaps(a, 0),
        with_padded_rows,
        lambda a: a[::-1].copy()[::-1],
        lambda a: in_bytes_at_an_offset(a, a.itemsize),
    ):
        moved = arrange(x)
        assert dense.forward(moved).tobytes() == y.tobytes()
        results = dense.backward(moved, y, dy)
        for a, b in zip(results, expected, strict=True):
            assert a is not None
            assert b is not None
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_takes_nan_and_infinity_where_numpy_does(activation: Any) -> None:
    x = np.array([[np.nan], [np.inf], [-np.inf], [1.0]], np.float32)
    dense = _core.Dense(1, 1, "float32", activation)
    one = np.ones((1, 1), np.float32)
    dense.pack(one, np.zeros(1, np.float32))
    exact = reference.dense_forward(x.astype(np.float64), one, np.zeros(1), activation)
    assert_close("y", dense.forward(x), exact, "forward")


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ((0, 2, "float32", "linear"), ValueError, "input_size"),
        ((3, -2, "float32", "linear"), ValueError, "units"),
        ((3, 2**62, "float32", "linear"), ValueError, "units"),
        ((3, 2, "float", "linear"), ValueError, "dtype"),
        ((3, 2, "float32", "selu"), ValueError, "activation"),
        ((3, 2, "float32", None), TypeError, "activation"),
    ],
)
def test_wrong_sizes_and_names_of_a_dense_layer_are_errors(
    arguments: Any, error: Any, name: str
) -> None:
    with pytest.raises(error, match=name):
        _core.Dense(*arguments)


def test_dense_names_the_array_that_is_wrong() -> None:
    def zeros(*shape: int, dtype: str = "float32") -> Any:
        return np.zeros(shape, dtype)

    dense = _core.Dense(3, 2, "float32", "relu")
    for name, weight, bias in (
        ("weight", zeros(3, 2), zeros(2)),
        ("weight", zeros(2), zeros(2)),
        ("bias", zeros(2, 3), zeros(3)),
        ("bias", zeros(2, 3), zeros(2, 1)),
    ):
        with pytest.raises(ValueError, match=name):
            dense.pack(weight, bias)
    dense.pack(zeros(2, 3), zeros(2))
    for x in (zeros(4, 2), zeros(3), zeros(4, 1, 3)):
        with pytest.raises(ValueError, match="x"):
            dense.forward(x)
    x, y = zeros(4, 3), zeros(4, 2)
    for name, arguments in {
        "x": (zeros(4, 2), y, y),
        "kept": (x, zeros(4, 3), y),
        "dy": (x, y, zeros(3, 2)),
    }.items():
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            dense.backward(*arguments)
    wide = zeros(4, 2, dtype="float64")
    with pytest.raises(TypeError, match=r"dy.*float64.*float32"):
        dense.backward(x, y, wide)
    with pytest.raises(TypeError, match="x"):
        dense.forward(zeros(4, 3, dtype="int64"))
    with pytest.raises(TypeError, match="x"):
        dense.forward(None)  # type: ignore[arg-type]
