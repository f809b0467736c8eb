"""Threads and batches change no bit; threads are set, bounded and survive a fork."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import grufast
from grufast import _core
from reference import Array
from tolerances import (
    CELLS,
    DTYPES,
    Cell,
    Dtype,
    assert_same_bits,
    gru_case,
    native_gru,
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)
pytestmark = pytest.mark.usefixtures("keep_num_threads")

THREADS = (2, 3, 7)


# The same bits


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"),
    [
        (1, 1, 1, 1),
        (5, 7, 3, 17),
        (64, 30, 20, 100),
        (1, 50, 8, 256),
        (2, 50, 256, 256),
        (3, 50, 33, 256),
        (33, 40, 16, 48),
        (9, 300, 4, 31),
        (300, 5, 7, 40),
        (8, 12, 300, 15),
        (9, 3, 4, 840),  # weights so large that threads share out the units
    ],
)
def test_the_number_of_threads_changes_no_bit_of_a_gru(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, rows, steps, inputs, units, dtype, cell)
    recurrent = case.new_recurrent()
    grufast.set_num_threads(1)
    expected = native_gru(case, recurrent)
    for threads in THREADS:
        grufast.set_num_threads(threads)
        assert_same_bits(native_gru(case, recurrent), expected)
        y, h_n = recurrent.forward(case.x, case.h0, True, None)
        assert y is not None
        assert_same_bits(
            {"y": y, "h_n": h_n}, {"y": expected["y"], "h_n": expected["h_n"]}
        )


@pytest.mark.skipif(
    not (sys.platform == "linux" and grufast.build_info()["openmp"]),
    reason="counts OpenMP's threads in /proc",
)
def test_large_work_does_start_the_threads_and_small_work_does_not() -> None:
    done = run_python(
        """
import os, grufast
import numpy as np
def threads():
    return len(os.listdir("/proc/self/task"))
small, large = (grufast.layers.GRU(units, seed=0) for units in (32, 256))
grufast.set_num_threads(3)
before = threads()
small(np.zeros((1, 1, 1), np.float32))
print(threads() - before)
large(np.zeros((64, 20, 1), np.float32))
print(threads() - before)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "2"]


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("rows", "inputs", "units"), [(3000, 40, 70), (5, 300, 300), (20_000, 3, 1)]
)
def test_the_number_of_threads_changes_no_bit_of_a_dense_layer(
    rng: np.random.Generator, rows: int, inputs: int, units: int, dtype: Dtype
) -> None:
    x = rng.normal(size=(rows, inputs)).astype(dtype)
    dy = rng.normal(size=(rows, units)).astype(dtype)
    dense = _core.Dense(inputs, units, dtype, "tanh")
    dense.pack(
        rng.normal(scale=inputs**-0.5, size=(units, inputs)).astype(dtype),
        rng.normal(size=units).astype(dtype),
    )

    def results() -> dict[str, Array]:
        y = dense.forward(x)
        dx, dweight, dbias = dense.backward(x, y, dy)
        assert dx is not None
        return {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}

    grufast.set_num_threads(1)
    expected = results()
    for threads in THREADS:
        grufast.set_num_threads(threads)
        assert_same_bits(results(), expected)


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("inputs", "units"), [(3, 5), (20, 48), (5, 100)])
def test_a_row_has_the_same_bits_in_any_batch(
    rng: np.random.Generator,
    inputs: int,
    units: int,
    threads: int,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, 37, 12, inputs, units, dtype, cell)
    assert case.h0 is not None
    assert case.dy is not None
    assert case.dh_n is not None
    recurrent = case.new_recurrent()
    grufast.set_num_threads(threads)
    whole = native_gru(case, recurrent)
    for size in (1, 2, 3, 5, 8, 11):
        for first in range(0, 37, size):
            rows = slice(first, first + size)
            part = case._replace(
                x=case.x[rows],
                h0=case.h0[rows],
                dy=case.dy[rows],
                dh_n=case.dh_n[rows],
            )
            results = native_gru(part, recurrent)
            names = ("y", "h_n", "dx", "dh0")
            assert_same_bits(
                {name: results[name] for name in names},
                {name: whole[name][rows] for name in names},
            )


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
def test_a_sequence_in_pieces_has_the_same_bits_as_in_one(
    rng: np.random.Generator, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 3, 100, 5, 33, dtype, cell)
    recurrent = case.new_recurrent()
    y, h_n = recurrent.forward(case.x, case.h0, True, None)
    state, pieces = case.h0, []
    for steps in np.split(case.x, [1, 2, 30, 95], axis=1):
        piece, state = recurrent.forward(steps, state, True, None)
        assert piece is not None
        pieces.append(piece)
    assert y is not None
    assert state is not None
    assert_same_bits(
        {"y": np.concatenate(pieces, axis=1), "h_n": state}, {"y": y, "h_n": h_n}
    )


# Many threads of Python's


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [3, 20])
@pytest.mark.parametrize("kind", ["both", "stack", "low"])
def test_threads_of_python_that_share_a_model_get_the_right_bits(
    rng: np.random.Generator, kind: str, rows: int, threads: int
) -> None:
    def gru(units: int, memory: Any = "fast") -> grufast.layers.GRU:
        return grufast.layers.GRU(units, return_sequences=True, memory=memory)

    both = grufast.layers.Bidirectional
    stacks: dict[str, list[Any]] = {
        "both": [both(gru(40), "mul")],
        "stack": [gru(32), gru(32), both(gru(20)), gru(9)],
        "low": [gru(32, "low"), both(gru(20, "low"))],
    }
    grufast.set_num_threads(threads)
    model = grufast.Sequential(stacks[kind], seed=0)
    inputs = [
        rng.normal(size=(rows, steps, 5)).astype(np.float32) for steps in (40, 7, 90)
    ]

    def infer(n: int) -> bytes:
        return model(inputs[n % 3]).tobytes()

    def train(n: int) -> bytes:
        y, context = model.forward(inputs[n % 3])
        dx, grads = model.backward(y, context)
        return b"".join(a.tobytes() for a in (y, dx, *grads.values()))

    def work(n: int) -> bytes:
        return infer(n) if n % 2 else train(n)

    expected = [work(n) for n in range(6)]
    assert len(set(expected)) == 6
    with ThreadPoolExecutor(4) as pool:
        for n, result in enumerate(pool.map(work, range(60))):
            assert result == expected[n % 6], n


def test_the_first_call_may_come_from_many_threads(rng: np.random.Generator) -> None:
    """It builds the layers, packs their weights and makes the native stack."""
    x = rng.normal(size=(3, 20, 5)).astype(np.float32)

    def new_model() -> grufast.Sequential:
        gru = grufast.layers.GRU(30, return_sequences=True)
        above = grufast.layers.Bidirectional(grufast.layers.GRU(20))
        return grufast.Sequential([gru, above], seed=0)

    expected = new_model()(x).tobytes()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            model = new_model()
            calls = [pool.submit(model, x) for _ in range(4)]
            assert {call.result().tobytes() for call in calls} == {expected}


# Setting the number of threads


def test_the_number_of_threads_is_what_was_set() -> None:
    for n in (1, 2, 5, np.int64(3)):
        grufast.set_num_threads(n)  # type: ignore[arg-type]
        got = grufast.get_num_threads()
        assert got == n
        assert type(got) is int


@pytest.mark.parametrize("n", [0, -1, 10**9, 2**80])
def test_an_impossible_number_of_threads_is_an_error(n: int) -> None:
    before = grufast.get_num_threads()
    error = ValueError if n < 2**31 else (TypeError, ValueError)
    with pytest.raises(error, match=rf"(?s)\bn\b.*{n}"):
        grufast.set_num_threads(n)
    assert grufast.get_num_threads() == before


@pytest.mark.parametrize("n", ["2", 1.5, 2.0, None, True, [2]])
def test_a_number_of_threads_that_is_no_integer_is_an_error(n: Any) -> None:
    before = grufast.get_num_threads()
    with pytest.raises(TypeError, match=r"\bn\b"):
        grufast.set_num_threads(n)
    assert grufast.get_num_threads() == before


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter without this one's thread settings."""
    ours = ("GRUFAST_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in ours} | variables
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GRUFAST_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"GRUFAST_NUM_THREADS": "1", "OMP_NUM_THREADS": "3"}, 1),
    ],
    ids=["own", "OpenMP's", "OpenMP's nested", "both"],
)
def test_the_environment_sets_the_number_of_threads(
    variables: dict[str, str], expected: int
) -> None:
    done = run_python("import grufast; print(grufast.get_num_threads())", **variables)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == expected


def test_without_settings_there_is_a_thread_for_each_usable_cpu() -> None:
    done = run_python(
        "import os, grufast\n"
        "usable = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')"
        " else os.cpu_count()\n"
        "print(grufast.get_num_threads(), usable)"
    )
    assert done.returncode == 0, done.stderr
    threads, usable = map(int, done.stdout.split())
    assert 1 <= threads <= usable


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "4x", "99999999999", " "])
def test_a_bad_number_of_threads_in_the_environment_fails_the_import(
    value: str,
) -> None:
    done = run_python("import grufast", GRUFAST_NUM_THREADS=value)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError")), last
    assert "GRUFAST_NUM_THREADS" in last
    assert value in last


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("rows", [64, 3])
@pytest.mark.parametrize(
    "layer",
    [
        "L.GRU(64, return_sequences=True, seed=0)",
        "L.Bidirectional(L.GRU(64, return_sequences=True, seed=0))",
        "grufast.Sequential([L.GRU(32, return_sequences=True)"
        " for _ in range(3)], seed=0)",
    ],
    ids=["GRU", "Bidirectional", "stack"],
)
def test_a_process_forked_after_use_computes_the_same_bits(
    layer: str, rows: int
) -> None:
    done = run_python(
        f"""
layer, rows = {layer!r}, {rows}
"""
        """
import os
import warnings
import grufast
import numpy as np
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the point
grufast.set_num_threads(3)
L = grufast.layers
layer = eval(layer)
x = np.random.default_rng(0).normal(size=(rows, 30, 16)).astype(np.float32)

def results():
    y, context = layer.forward(x)
    dx, grads = layer.backward(y, context)
    return b"".join(a.tobytes() for a in (y, dx, *grads.values()))

before = results()
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = results() == before
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if results() == before else 1)
        _, status = os.waitpid(grandchild, 0)
        os._exit(0 if same and status == 0 else 1)
    assert results() == before  # the parent's threads still work
    _, status = os.waitpid(child, 0)
    assert status == 0, status
grufast.set_num_threads(2)
assert results() == before
print("done")
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
