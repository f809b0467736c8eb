"""Stacks: many layers in one call have the bits of one call for each of them."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

import grufast as gf
from grufast import _core
from reference import Array
from tolerances import CELLS, DTYPES, Cell, Dtype, assert_same_bits, gru_case

layers = gf.layers
Keep = Literal["nothing", "states", "gates"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)
pytestmark = pytest.mark.usefixtures("keep_num_threads")

THREADS = (1, 2, 3, 4)
# Fewer than 8 rows wait for each other step by step, or layer follows layer.
ROWS = (1, 2, 5, 7, 8, 33)
KEPT: tuple[Keep, ...] = ("gates", "states")


# The native call


class Call(NamedTuple):
    """A call of a stack and what flows back into it."""

    levels: list[list[_core.Recurrent]]
    x: Array
    h0: list[Array | None]
    dy: Array | None
    dh_n: list[Array | None]


def new_call(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: Sequence[Sequence[int]],
    dtype: Dtype = "float32",
    cell: Cell = "gru",
) -> Call:
    """Random layers of these sizes; every other direction with both states."""
    call = Call([], gru_case(rng, rows, steps, inputs, 1, dtype).x, [], None, [])
    for level in units:
        call.levels.append([])
        for size in level:
            given = len(call.h0) % 2 == 0
            options: dict[str, Any] = {"h0": given, "dh_n": given}
            case = gru_case(rng, rows, 0, inputs, size, dtype, cell, **options)
            call.levels[-1].append(case.new_recurrent())
            call.h0.append(case.h0)
            call.dh_n.append(case.dh_n)
        inputs = sum(level)
    return call._replace(dy=rng.normal(size=(rows, steps, inputs)).astype(dtype))


def variants(call: Call) -> list[Call]:
    """Three calls of one shape: what one left in a workspace is wrong for the others.

    Otherwise a thread that reads too early would find the right values there.
    """
    assert call.dy is not None
    return [call._replace(x=f * call.x, dy=f * call.dy) for f in (1, -1, 0.5)]


GRADIENTS = ("dh0", "dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh")


def one_by_one(call: Call) -> dict[str, Array]:
    """The results of a call for every direction of every level."""
    results: dict[str, Array] = {}
    passes: list[tuple[_core.Recurrent, _core.Workspace, Array]] = []
    x, states = call.x, iter(call.h0)
    for level in call.levels:
        outputs = []
        for d, recurrent in enumerate(level):
            own, workspace = x[:, ::-1] if d else x, _core.Workspace()
            y, last = recurrent.forward(own, next(states), True, workspace)
            assert y is not None
            results[f"h_n {len(passes)}"] = last
            outputs.append(y[:, ::-1] if d else y)
            passes.append((recurrent, workspace, own))
        x = np.concatenate(outputs, axis=-1)
    results["y"] = x
    dy, n = call.dy, len(passes)
    for level in reversed(call.levels):
        n -= len(level)
        parts = []
        column = 0
        for d in range(len(level)):
            recurrent, workspace, own = passes[n + d]
            width = results[f"h_n {n + d}"].shape[1]
            part = None if dy is None else dy[..., column : column + width]
            if part is not None and d:
                part = part[:, ::-1]
            column += width
            dx, *others = recurrent.backward(workspace, own, part, call.dh_n[n + d])
            for name, array in zip(GRADIENTS, others, strict=True):
                results[f"{name} {n + d}"] = array
            parts.append(dx[:, ::-1] if d else dx)
        dy = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    assert dy is not None
    return {**results, "dx": dy}


def at_once(
    call: Call,
    stack: _core.Stack | None = None,
    workspace: _core.Workspace | None = None,
    keep: Keep = "gates",
    lengths: Array | None = None,
    mask: Array | None = None,
) -> dict[str, Array]:
    """The same by a stack; `mask`: of the input."""
    stack, workspace = stack or _core.Stack(call.levels), workspace or _core.Workspace()
    y, last = stack.forward(
        call.x, call.h0, True, workspace, keep, lengths, input_mask=mask
    )
    assert y is not None
    dx, others = stack.backward(workspace, call.x, call.dy, call.dh_n, True, mask)
    assert dx is not None
    results = {"y": y, "dx": dx} | {f"h_n {n}": array for n, array in enumerate(last)}
    names = itertools.product(range(len(last)), GRADIENTS)
    for (n, name), array in zip(names, others, strict=True):
        results[f"{name} {n}"] = array
    return results


def without_gradients(results: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in results.items() if name[0] != "d"}


# (inputs, units of each direction of each level)
SIZES: dict[str, tuple[int, tuple[tuple[int, ...], ...]]] = {
    "one": (5, ((17,),)),
    "two": (20, ((40,), (33,))),
    "equal": (40, ((40,),) * 4),
    "narrowing": (90, ((44,), (31,), (17,), (8,), (3,))),
    "widening": (3, ((8,), (17,), (31,), (40,), (44,))),
    "saw": (7, ((72,), (5,), (33,), (4,), (48,))),
    "both": (70, ((12, 12),)),
    "both, narrowing": (70, ((20, 20), (9, 9), (4, 4))),
    "both, of two sizes": (4, ((20, 7), (3, 40), (16, 1))),
    "mixed": (6, ((33,), (17, 17), (20,), (8, 8), (24,))),
}
# Layers long enough for threads in a single step.
LARGE = 300, ((256,), (256, 256), (300,))
each_size = pytest.mark.parametrize("name", SIZES)


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
@each_size
def test_a_stack_has_the_bits_of_its_layers(
    rng: np.random.Generator, name: str, dtype: Dtype, cell: Cell
) -> None:
    for rows, steps in ((2, 9), (7, 40), (8, 33), (33, 9)):
        *calls, _ = variants(new_call(rng, rows, steps, *SIZES[name], dtype, cell))
        stack, workspace = _core.Stack(calls[0].levels), _core.Workspace()
        gf.set_num_threads(1)
        expected = [one_by_one(call) for call in calls]
        for n, (threads, keep) in enumerate(itertools.product((1, 3), KEPT)):
            gf.set_num_threads(threads)
            results = at_once(calls[n % 2], stack, workspace, keep)
            assert_same_bits(results, expected[n % 2])


@each_cell
@each_size
@pytest.mark.parametrize("rows", ROWS)
def test_the_number_of_threads_changes_no_bit(
    rng: np.random.Generator, rows: int, name: str, cell: Cell
) -> None:
    workspace = _core.Workspace()
    for steps in (1, 5, 8, 9, 100, 300) if rows in (1, 7) else (9, 40):
        calls = variants(new_call(rng, rows, steps, *SIZES[name], cell=cell))
        stack = _core.Stack(calls[0].levels)
        gf.set_num_threads(1)
        expected = [one_by_one(call) for call in calls]
        for n, threads in enumerate(THREADS):
            gf.set_num_threads(threads)
            results = at_once(calls[n % 2], stack, workspace, KEPT[n // 2])
            assert_same_bits(results, expected[n % 2])
            x, h0 = calls[2].x, calls[2].h0
            y, last = stack.forward(x, h0, True, workspace, "nothing")
            assert y is not None
            states = {f"h_n {i}": array for i, array in enumerate(last)}
            assert_same_bits({**states, "y": y}, without_gradients(expected[2]))


@each_dtype
@pytest.mark.parametrize("name", [*SIZES, "large"])
@pytest.mark.parametrize("some", [False, True], ids=["all steps", "lengths"])
def test_an_input_mask_has_the_bits_of_products_made_before(
    rng: np.random.Generator, some: bool, name: str, dtype: Dtype
) -> None:
    for rows, steps in ((1, 40), (2, 9), (7, 100), (33, 30)):
        if name == "large" and rows * steps > 100:
            continue
        inputs, units = LARGE if name == "large" else SIZES[name]
        *calls, _ = variants(new_call(rng, rows, steps, inputs, units, dtype))
        mask = np.where(rng.random((rows, inputs)) < 0.7, 1 / 0.7, 0).astype(dtype)
        lengths = rng.integers(0, steps + 1, rows) if some else None
        gf.set_num_threads(1)
        expected = []
        for call in calls:
            results = at_once(
                call._replace(x=call.x * mask[:, None]), None, None, "gates", lengths
            )
            expected.append(results | {"dx": results["dx"] * mask[:, None]})
        stack, workspace = _core.Stack(calls[0].levels), _core.Workspace()
        for n, (threads, keep) in enumerate(itertools.product((1, 3), KEPT)):
            gf.set_num_threads(threads)
            results = at_once(calls[n % 2], stack, workspace, keep, lengths, mask)
            assert_same_bits(results, expected[n % 2])


def test_an_input_mask_must_fit(rng: np.random.Generator) -> None:
    call = new_call(rng, 2, 3, 4, ((5,),))
    for wrong in (np.ones((2, 5), np.float32), np.ones((4, 2), np.float32).T):
        with pytest.raises(ValueError, match=r"^input_mask: "):
            at_once(call, mask=wrong)
    with pytest.raises(TypeError, match=r"^input_mask: got dtype float64, expected f"):
        at_once(call, mask=np.ones((2, 4)))


@pytest.mark.parametrize("rows", ROWS)
def test_layers_long_enough_for_threads_in_a_single_step(
    rng: np.random.Generator, rows: int
) -> None:
    *calls, _ = variants(new_call(rng, rows, 1, *LARGE))
    stack, workspace = _core.Stack(calls[0].levels), _core.Workspace()
    gf.set_num_threads(1)
    expected = [one_by_one(call) for call in calls]
    for n, threads in enumerate(THREADS):
        gf.set_num_threads(threads)
        assert_same_bits(at_once(calls[n % 2], stack, workspace), expected[n % 2])


@each_size
@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_not_wanted_changes_no_bit(
    rng: np.random.Generator, name: str, threads: int
) -> None:
    gf.set_num_threads(threads)
    for rows, steps in ((2, 100), (9, 40)):
        call = new_call(rng, rows, steps, *SIZES[name])
        stack, workspace = _core.Stack(call.levels), _core.Workspace()
        expected = at_once(call)
        y, last = stack.forward(call.x, call.h0, False, workspace, "gates")
        assert y is None
        assert_same_bits(
            {f"h_n {n}": array for n, array in enumerate(last)},
            {k: a for k, a in expected.items() if k.startswith("h_n")},
        )
        dx, others = stack.backward(workspace, call.x, call.dy, call.dh_n, False)
        assert dx is None
        names = [f"{g} {n}" for n in range(len(last)) for g in GRADIENTS]
        assert_same_bits(
            dict(zip(names, others, strict=True)), {k: expected[k] for k in names}
        )


@each_size
def test_without_gradients_of_the_output_the_states_alone_flow_back(
    rng: np.random.Generator, name: str
) -> None:
    for rows in (2, 9):
        call = new_call(rng, rows, 30, *SIZES[name])._replace(dy=None)
        results = at_once(call)
        assert_same_bits(results, one_by_one(call))
        assert results["dweight_hh 0"].any()
        nothing = call._replace(dh_n=[None] * len(call.dh_n))
        results = at_once(nothing)
        assert not any(a.any() for k, a in results.items() if k[0] == "d")


@each_cell
@each_size
@pytest.mark.parametrize(("rows", "steps"), [(3, 0), (0, 4), (0, 0)])
def test_no_rows_and_no_steps_are_fine(
    rng: np.random.Generator, rows: int, steps: int, name: str, cell: Cell
) -> None:
    gf.set_num_threads(3)
    call = new_call(rng, rows, steps, *SIZES[name], cell=cell)
    for keep in KEPT:
        results = at_once(call, keep=keep)
        assert_same_bits(results, one_by_one(call))
        for n, (h0, dh_n) in enumerate(zip(call.h0, call.dh_n, strict=True)):
            for state, end in ((f"h_n {n}", h0), (f"dh0 {n}", dh_n)):
                expected = np.zeros_like(results[state]) if end is None else end
                np.testing.assert_array_equal(results.pop(state), expected)
        assert not any(array.any() for array in results.values())


@each_dtype
def test_a_used_workspace_gives_the_same_bits_as_a_new_one(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    workspace = _core.Workspace()
    gf.set_num_threads(3)
    for (name, cell), (rows, steps) in zip(
        itertools.product(SIZES, CELLS),
        itertools.cycle([(2, 40), (33, 9), (1, 100), (9, 30), (5, 0)]),
        strict=False,
    ):
        call = new_call(rng, rows, steps, *SIZES[name], dtype, cell)
        assert_same_bits(at_once(call, workspace=workspace), at_once(call))


def test_levels_may_be_of_different_cells_and_instruction_sets(
    rng: np.random.Generator,
) -> None:
    previous = gf.build_info()["isa"]
    kinds = itertools.product(gf.build_info()["isas_available"], CELLS)
    levels, inputs, x = [], 6, gru_case(rng, 9, 30, 6, 1).x
    try:
        for isa, cell in kinds:
            _core.set_isa(isa)
            case = gru_case(rng, 1, 1, inputs, 21, cell=cell)
            levels.append([case.new_recurrent()])
            inputs = 21
    finally:
        _core.set_isa(previous)
    none: list[Array | None] = [None] * len(levels)
    dy = rng.normal(size=(9, 30, 21)).astype(np.float32)
    for rows in (9, 2):
        call = Call(levels, x[:rows], none, dy[:rows], none)
        assert_same_bits(at_once(call), one_by_one(call))


def test_calls_from_several_threads_give_the_same_bits(
    rng: np.random.Generator,
) -> None:
    calls = [
        new_call(rng, rows, 60, *SIZES[name])
        for name, rows in itertools.product(("equal", "mixed"), (2, 12))
    ]
    gf.set_num_threads(3)
    expected = [one_by_one(call) for call in calls]
    stacks = [_core.Stack(call.levels) for call in calls]

    def work(index: int) -> int:
        n = index % len(calls)
        assert_same_bits(at_once(calls[n], stacks[n]), expected[n])
        return n

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(40)))
    assert set(done) == set(range(len(calls)))


# Wrong arguments


def recurrent(
    inputs: int, units: int, dtype: Dtype = "float32", packed: bool = True
) -> _core.Recurrent:
    made = _core.Recurrent("gru", inputs, units, dtype)
    if packed:
        zeros = [np.zeros((3 * units, size), dtype) for size in (inputs, units, 1, 1)]
        made.pack(zeros[0], zeros[1], zeros[2][:, 0], zeros[3][:, 0])
    return made


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (list, "got none"),
        (lambda: [[]], "got none"),
        (lambda: [[recurrent(5, 4)], []], "got 0 layers side by side"),
        (lambda: [[recurrent(5, 4)] * 3], "got 3 layers side by side"),
        (lambda: [[recurrent(5, 4)], [recurrent(5, 4)]], "size of 5, expected 4"),
        (lambda: [[recurrent(5, 4), recurrent(4, 4)]], "size of 4, expected 5"),
        (lambda: [[recurrent(5, 4)] * 2, [recurrent(4, 4)]], "size of 4, expected 8"),
        (
            lambda: [[recurrent(5, 4)], [recurrent(4, 4), recurrent(5, 4)]],
            "size of 5, expected 4",
        ),
        (lambda: [[recurrent(5, 5)], [recurrent(5, 5, "float64")]], "dtypes"),
        (lambda: [[recurrent(5, 5, "float64"), recurrent(5, 5)]], "dtypes"),
    ],
)
def test_levels_that_make_no_stack(levels: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^levels: .*{message}"):
        _core.Stack(levels())


@pytest.mark.parametrize(
    "levels",
    [
        None,
        3,
        "levels",
        [None],
        [[None]],
        [[3]],
        recurrent(5, 4),
        [recurrent(5, 4)],
        [[recurrent(5, 4)], [None]],
        [[_core.Dense(5, 4, "float32", "linear")]],
    ],
    ids=repr,
)
def test_what_is_no_list_of_lists_of_layers_is_refused(levels: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        _core.Stack(levels)


def test_a_stack_of_layers_without_weights_computes_nothing() -> None:
    x = np.zeros((2, 3, 5), np.float32)
    above = recurrent(4, 4, packed=False)
    stack, workspace = _core.Stack([[recurrent(5, 4)], [above]]), _core.Workspace()
    with pytest.raises(ValueError, match="pack"):
        stack.forward(x, [None, None], True, workspace, "gates")
    with pytest.raises(ValueError, match="pack"):
        stack.backward(workspace, x, None, [None, None], True)


@pytest.fixture
def call(rng: np.random.Generator) -> Call:
    return new_call(rng, 3, 4, 5, ((6, 7), (8,)))._replace(
        h0=[rng.normal(size=(3, n)).astype(np.float32) for n in (6, 7, 8)],
        dh_n=[rng.normal(size=(3, n)).astype(np.float32) for n in (6, 7, 8)],
    )


def zeros(*shape: int, dtype: str = "float32") -> Array:
    return np.zeros(shape, dtype)


#: (argument, wrong value, error)
WRONG: list[tuple[str, Any, type[Exception]]] = [
    *(("x", zeros(*shape), ValueError) for shape in ((3, 4), (3, 4, 6), (3, 5), (5,))),
    ("x", zeros(3, 4, 5, dtype="float64"), TypeError),
    ("x", zeros(3, 4, 5).tolist(), TypeError),
    ("x", None, TypeError),
    *((name, [], ValueError) for name in ("h0", "dh_n")),
    *((name, [None] * 2, ValueError) for name in ("h0", "dh_n")),
    *((name, [None] * 4, ValueError) for name in ("h0", "dh_n")),
    *((name, [None, zeros(3, 6), None], ValueError) for name in ("h0", "dh_n")),
    *((name, [None, None, zeros(2, 8)], ValueError) for name in ("h0", "dh_n")),
    *((name, [zeros(6, 3).T, None, None], ValueError) for name in ("h0", "dh_n")),
    *((name, [None, None, zeros(8)], ValueError) for name in ("h0", "dh_n")),
    *(
        (name, [None, None, zeros(3, 8, dtype="float64")], TypeError)
        for name in ("h0", "dh_n")
    ),
    *((name, [None, 3, None], TypeError) for name in ("h0", "dh_n")),
    *(
        ("dy", zeros(*shape), ValueError)
        for shape in ((3, 4, 7), (2, 4, 8), (3, 5, 8), (3, 8), (0,))
    ),
    ("dy", zeros(3, 4, 8, dtype="float64"), TypeError),
    ("dy", zeros(3, 4, 16)[..., ::2], ValueError),
    ("dy", "dy", TypeError),
]


@pytest.mark.parametrize(("name", "value", "error"), WRONG, ids=range(len(WRONG)))
def test_arrays_that_do_not_fit_are_named_and_use_nothing_up(
    call: Call, name: str, value: Any, error: type[Exception]
) -> None:
    stack, workspace = _core.Stack(call.levels), _core.Workspace()
    wrong = {**call._asdict(), name: value}
    if name in ("x", "h0"):
        with pytest.raises(error, match=rf"^{name}: "):
            stack.forward(wrong["x"], wrong["h0"], True, workspace, "gates")
        with pytest.raises(ValueError, match="holds no forward"):
            stack.backward(workspace, call.x, call.dy, call.dh_n, True)
    expected = at_once(call)
    stack.forward(call.x, call.h0, True, workspace, "gates")
    if name != "h0":
        with pytest.raises(error, match=rf"^{name}: "):
            stack.backward(workspace, wrong["x"], wrong["dy"], wrong["dh_n"], True)
    dx, _ = stack.backward(workspace, call.x, call.dy, call.dh_n, True)
    np.testing.assert_array_equal(dx, expected["dx"])


@pytest.mark.parametrize("wrong", [None, 3, "h0"], ids=repr)
def test_states_come_in_a_list(call: Call, wrong: Any) -> None:
    stack, workspace = _core.Stack(call.levels), _core.Workspace()
    with pytest.raises(TypeError):
        stack.forward(call.x, wrong, True, workspace, "gates")
    stack.forward(call.x, call.h0, True, workspace, "gates")
    with pytest.raises(TypeError):
        stack.backward(workspace, call.x, call.dy, wrong, True)


def test_states_to_go_back_to_come_as_the_first_ones_do(call: Call) -> None:
    stack, workspace = _core.Stack(call.levels), _core.Workspace()
    resets = np.ones(call.x.shape[:2], bool)
    small = np.zeros((1, 1), call.x.dtype)
    for wrong, error in (
        (3, TypeError),
        ([], ValueError),
        ([small] * len(call.h0), ValueError),
    ):
        options: dict[str, Any] = {"resets": resets, "reset_states": wrong}
        with pytest.raises(error, match="reset_states"):
            stack.forward(call.x, call.h0, True, workspace, "gates", **options)


@pytest.mark.parametrize("keep", ["all", "", "Gates", "none"])
def test_what_to_keep_has_a_name(call: Call, keep: Any) -> None:
    stack, workspace = _core.Stack(call.levels), _core.Workspace()
    with pytest.raises(ValueError, match=r"^keep: got .*nothing, states, gates"):
        stack.forward(call.x, call.h0, True, workspace, keep)
    with pytest.raises(TypeError):
        stack.forward(call.x, call.h0, True, workspace, None)  # type: ignore[arg-type]
    for workspace_or_none in (None, workspace):
        with pytest.raises(ValueError, match=r"^keep: got .*nothing, states, gates"):
            recurrent(5, 4).forward(call.x, None, True, workspace_or_none, keep)


@pytest.mark.parametrize("wrong", [None, 3, {}], ids=repr)
def test_a_stack_needs_a_workspace(call: Call, wrong: Any) -> None:
    stack = _core.Stack(call.levels)
    with pytest.raises(TypeError):
        stack.forward(call.x, call.h0, True, wrong, "nothing")
    with pytest.raises(TypeError):
        stack.backward(wrong, call.x, call.dy, call.dh_n, True)


def test_backward_needs_a_forward_of_its_own(
    call: Call, rng: np.random.Generator
) -> None:
    stack, workspace = _core.Stack(call.levels), _core.Workspace()

    def backward(of: _core.Stack, like: Call) -> None:
        of.backward(workspace, like.x, like.dy, like.dh_n, True)

    def refused(of: _core.Stack, like: Call) -> None:
        with pytest.raises(ValueError, match=r"^workspace: holds no forward"):
            backward(of, like)

    refused(stack, call)
    stack.forward(call.x, call.h0, True, workspace, "gates")
    backward(stack, call)
    refused(stack, call)
    stack.forward(call.x, call.h0, True, workspace, "gates")
    stack.forward(call.x, call.h0, True, workspace, "nothing")
    refused(stack, call)

    stack.forward(call.x, call.h0, True, workspace, "states")
    for part in ((slice(2), slice(None)), (slice(None), slice(3))):
        assert call.dy is not None
        ends = [None if end is None else end[part[0]] for end in call.dh_n]
        refused(stack, call._replace(x=call.x[part], dy=call.dy[part], dh_n=ends))
    for inputs, units in (
        (5, ((6, 7), (8,), (8,))),
        (5, ((6, 7),)),
        (5, ((7, 6), (8,))),
        (5, ((13,), (8,))),
        (4, ((6, 7), (8,))),
    ):
        other = new_call(rng, 3, 4, inputs, units)
        refused(_core.Stack(other.levels), other)
    other = new_call(rng, 3, 4, 5, ((6, 7), (8,)), cell="gru_reset_before")
    refused(_core.Stack(other.levels), other)
    alone = call.levels[0][0]
    with pytest.raises(ValueError, match=r"^workspace: holds no forward"):
        alone.backward(workspace, call.x, None, None)
    backward(stack, call)  # after all that, it still can


def test_a_workspace_serves_one_thread_at_a_time(rng: np.random.Generator) -> None:
    gf.set_num_threads(1)
    long = new_call(rng, 33, 3000, *SIZES["equal"])
    stack, workspace = _core.Stack(long.levels), _core.Workspace()
    messages: set[str] = set()

    def train() -> Array | None:
        while True:
            try:
                return stack.forward(long.x, long.h0, True, workspace, "nothing")[0]
            except ValueError as error:
                messages.add(str(error))

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        while not training.done():
            with pytest.raises(ValueError, match=r"^workspace: ") as caught:
                stack.backward(workspace, long.x, long.dy, long.dh_n, True)
            messages.add(str(caught.value))
    assert "workspace: another call is using it" in messages
    own = _core.Workspace()
    expected, _ = stack.forward(long.x, long.h0, True, own, "nothing")
    np.testing.assert_array_equal(training.result(), expected)


# Models


def gru(units: int, **options: Any) -> gf.layers.GRU:
    return layers.GRU(units, return_sequences=True, initializer="torch", **options)


def both(units: int, mode: Any = "concat", **options: Any) -> gf.layers.Bidirectional:
    return layers.Bidirectional(gru(units, **options), mode)


def last(units: int) -> gf.layers.GRU:
    return layers.GRU(units, initializer="torch")


STACKS: dict[str, Callable[[], list[Any]]] = {
    "one": lambda: [gru(20)],
    "last": lambda: [last(20)],
    "last of two": lambda: [gru(33), last(20)],
    "last of five": lambda: [gru(20), gru(33), gru(8), gru(40), last(17)],
    "five": lambda: [gru(40), gru(40), gru(40), gru(40), gru(40)],
    "both": lambda: [both(20), both(9)],
    "last of both": lambda: [
        both(12),
        gru(30),
        layers.Bidirectional(last(9), "mul"),
    ],
    "mixed": lambda: [gru(20), both(16), gru(33), both(9), both(24)],
    "broken by merging": lambda: [
        both(20, "sum"),
        gru(16),
        both(12, "mul"),
        both(8, "ave"),
        gru(9),
    ],
    "of different cells": lambda: [
        gru(20, reset_after=False),
        gru(17),
        both(16, reset_after=False),
        gru(12, reset_after=False),
    ],
    "broken by memory": lambda: [
        gru(20, memory="low"),
        gru(17, memory="low"),
        both(9),
        gru(12, memory="low"),
    ],
    "broken by other layers": lambda: [
        layers.Dense(7, "tanh"),
        gru(20),
        both(9),
        layers.Dropout(0.0),
        gru(12),
        last(9),
        layers.Dense(3),
    ],
}
each_stack = pytest.mark.parametrize("name", STACKS)


def model_of(name: str, inputs: int = 5) -> gf.Sequential:
    model = gf.Sequential(STACKS[name](), seed=0)
    model.build((None, None, inputs))
    return model


def by_model(model: gf.Sequential, x: Array, dy: Array) -> dict[str, Array]:
    y, context = model.forward(x)
    dx, grads = model.backward(dy, context)
    return {"y": y, "dx": dx, **grads}


def by_layers(model: gf.Sequential, x: Array, dy: Array) -> dict[str, Array]:
    contexts = []
    y = x
    for layer in model.layers:
        y, context = layer.forward(y)
        contexts.append(context)
    results: dict[str, Array] = {"y": y}
    pairs = list(zip(model.layers, contexts, strict=True))
    for index, (layer, context) in reversed(list(enumerate(pairs))):
        dy, grads = layer.backward(dy, context)
        for name, gradient in grads.items():
            results[f"layers.{index}.{name}"] = gradient
    return {name: results[name] for name in ("y", *model.weights)} | {"dx": dy}


def data(rng: np.random.Generator, model: gf.Sequential, *shape: int) -> list[Array]:
    x = rng.normal(size=(*shape, 5)).astype(np.float32)
    return [x, rng.normal(size=model(x).shape).astype(np.float32)]


@each_stack
@pytest.mark.parametrize("rows", ROWS)
def test_a_model_has_the_bits_of_its_layers(
    rng: np.random.Generator, rows: int, name: str
) -> None:
    model = model_of(name)
    for steps in (1, 9, 60) if rows < 8 else (9, 30):
        gf.set_num_threads(1)
        cases = [data(rng, model, rows, steps) for _ in range(3)]
        expected = [by_layers(model, *case) for case in cases]
        for n, threads in enumerate(THREADS):
            gf.set_num_threads(threads)
            assert_same_bits(by_model(model, *cases[n % 2]), expected[n % 2])
            assert_same_bits({"y": model(cases[2][0])}, {"y": expected[2]["y"]})


@each_stack
def test_repeated_calls_give_the_same_bits(rng: np.random.Generator, name: str) -> None:
    """Whatever was computed in between, in the memory that is used again."""
    gf.set_num_threads(3)
    model = model_of(name)
    shapes = ((1, 30), (33, 9), (9, 40), (2, 1), (3, 100), (33, 2))
    cases = [data(rng, model, *shape) for shape in shapes]
    expected = [by_layers(model, *case) for case in cases]
    for _ in range(2):
        for n in rng.permutation(len(cases)):
            x, dy = cases[n]
            y, context = model.forward(x)
            other = rng.integers(len(cases))
            np.testing.assert_array_equal(model(cases[other][0]), expected[other]["y"])
            dx, grads = model.backward(dy, context)
            assert_same_bits({"y": y, "dx": dx, **grads}, expected[n])


@each_stack
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)], ids=str)
def test_contexts_may_be_open_at_once_and_closed_in_any_order(
    rng: np.random.Generator, name: str, order: tuple[int, ...]
) -> None:
    gf.set_num_threads(3)
    model = model_of(name)
    cases = [data(rng, model, *shape) for shape in ((3, 30), (3, 30), (9, 20))]
    expected = [by_layers(model, *case) for case in cases]
    opened = [model.forward(x) for x, _ in cases]
    for n in order:
        y, context = opened[n]
        dx, grads = model.backward(cases[n][1], context)
        assert_same_bits({"y": y, "dx": dx, **grads}, expected[n])


@each_stack
def test_new_weights_take_effect_at_once(rng: np.random.Generator, name: str) -> None:
    gf.set_num_threads(1)
    model = model_of(name)
    x, dy = data(rng, model, 3, 20)
    before = by_model(model, x, dy)
    for index, layer in enumerate(model.layers):
        layer.set_weights({k: w / 2 for k, w in layer.weights.items()})
        results = by_model(model, x, dy)
        assert_same_bits(results, by_layers(model, x, dy))
        changed = bool(layer.weights)
        assert (results["y"].tobytes() != before["y"].tobytes()) == changed, index
        before = results


@pytest.mark.parametrize("name", sorted(STACKS.keys() - {"last", "one"}))
@pytest.mark.parametrize(("rows", "steps"), [(3, 0), (0, 4), (0, 0)])
def test_a_model_takes_no_rows_and_no_steps(
    rng: np.random.Generator, rows: int, steps: int, name: str
) -> None:
    gf.set_num_threads(3)
    model = model_of(name)
    x, dy = data(rng, model, rows, steps)
    results = by_model(model, x, dy)
    assert_same_bits(results, by_layers(model, x, dy))
    assert results["dx"].shape == x.shape
    for key in model.weights:
        if isinstance(model.layers[int(key.split(".")[1])], layers.GRU):
            assert not results[key].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_buffers_of_several_levels_grow_together(
    rng: np.random.Generator, threads: int
) -> None:
    """The first call of all: levels take turns with memory that must fit the widest.

    Arrays of a megabyte, each a mapping of its own: what is freed too early crashes.
    """
    gf.set_num_threads(threads)
    for stack in ([gru(300), gru(9), gru(40), gru(8)], [both(20), both(16), both(9)]):
        model = gf.Sequential(stack, seed=0)
        x = rng.normal(size=(64, 50, 200)).astype(np.float32)
        y, context = model.forward(x)
        dx, grads = model.backward(y, context)
        assert_same_bits({"y": y, "dx": dx, **grads}, by_layers(model, x, y))
