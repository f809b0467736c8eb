"""Instruction sets: what is built, what is chosen, what is forced, what is refused."""

import importlib.metadata
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
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
    assert_close,
    assert_gru_is_right,
    assert_same_bits,
    gru_case,
    native_gru,
)

AVAILABLE = grufast.build_info()["isas_available"]
SLOWEST_FIRST = ("baseline", "avx2", "avx512")


@pytest.fixture(autouse=True)
def _keep_isa() -> Iterator[None]:
    previous = grufast.build_info()["isa"]
    yield
    _core.set_isa(previous)


def run_python(code: str, isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "GRUFAST_ISA"}
    if isa is not None:
        environment["GRUFAST_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_build_info_says_what_this_build_is() -> None:
    info = grufast.build_info()
    assert set(info) == {
        *("version", "compiler", "openmp"),
        *("isas_built", "isas_available", "isa"),
    }
    assert info["version"] == grufast.__version__
    assert info["version"] == importlib.metadata.version("grufast")
    assert info["compiler"]
    assert isinstance(info["openmp"], bool)
    assert set(info["isas_available"]) <= set(info["isas_built"])
    assert info["isa"] in info["isas_available"]
    assert "baseline" in info["isas_available"]


def test_build_info_is_the_callers_own_copy() -> None:
    grufast.build_info()["isas_available"].clear()
    assert grufast.build_info()["isas_available"] == AVAILABLE


def test_the_fastest_available_isa_is_the_default() -> None:
    done = run_python("import grufast; print(grufast.build_info()['isa'])", None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == max(AVAILABLE, key=SLOWEST_FIRST.index)


@pytest.mark.parametrize("isa", AVAILABLE)
def test_the_environment_forces_an_isa(isa: str) -> None:
    done = run_python(
        "import grufast, numpy as np\n"
        "y = grufast.layers.GRU(5, seed=0)(np.ones((2, 3, 4), np.float32))\n"
        "assert np.isfinite(y).all()\n"
        "print(grufast.build_info()['isa'])",
        isa,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


def unusable_names() -> list[str]:
    """Names that are wrong, and right ones that this machine cannot run."""
    known = {*grufast.build_info()["isas_built"], "avx2", "avx512", "neon"}
    return ["avx3", "AVX512-ish", "avx", *sorted(known - set(AVAILABLE))]


@pytest.mark.parametrize("isa", unusable_names())
def test_an_unusable_isa_in_the_environment_fails_the_import(isa: str) -> None:
    done = run_python("import grufast", isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError")), last
    assert "GRUFAST_ISA" in last
    assert all(name in last for name in (isa, *AVAILABLE))


@pytest.mark.parametrize("isa", ["", *unusable_names()])
def test_an_unusable_isa_is_an_error_that_lists_the_usable_ones(isa: str) -> None:
    before = grufast.build_info()["isa"]
    with pytest.raises(ValueError, match=r".*".join(AVAILABLE)):
        _core.set_isa(isa)
    assert grufast.build_info()["isa"] == before


@pytest.mark.parametrize("isa", [None, 2, ["baseline"]])
def test_an_isa_that_is_no_string_is_an_error(isa: Any) -> None:
    with pytest.raises(TypeError):
        _core.set_isa(isa)


def test_set_isa_is_what_build_info_says() -> None:
    for isa in AVAILABLE:
        _core.set_isa(isa)
        assert grufast.build_info()["isa"] == isa


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [7, 17, 100])
def test_isas_agree(
    rng: np.random.Generator, units: int, dtype: Dtype, cell: Cell
) -> None:
    case = gru_case(rng, 9, 40, 17, units, dtype, cell)
    results = {}
    for isa in AVAILABLE:
        _core.set_isa(isa)
        results[isa] = native_gru(case)
    for a, b in itertools.combinations(AVAILABLE, 2):
        for name, actual in results[a].items():
            other = results[b][name].astype(np.float64)
            longest = 4 * max(9 * 40, 3 * units)  # both have errors: twice the units
            assert_close(name, actual, other, "forward", longest)


@pytest.mark.parametrize(("packed", "used"), list(itertools.permutations(AVAILABLE, 2)))
def test_weights_packed_under_one_isa_serve_under_another(
    rng: np.random.Generator, packed: str, used: str
) -> None:
    case = gru_case(rng, 5, 7, 3, 21)
    _core.set_isa(packed)
    recurrent = case.new_recurrent()
    dense = _core.Dense(21, 5, "float32", "tanh")
    dense.pack(case.weight_hh[:5], case.bias_hh[:5])
    h = native_gru(case, recurrent)["h_n"]
    expected = dense.forward(h)
    _core.set_isa(used)
    assert_gru_is_right(native_gru(case, recurrent), case)
    assert_close("y", dense.forward(h), expected.astype(np.float64), "forward", 4 * 21)


@pytest.mark.parametrize(
    ("before", "after"), list(itertools.permutations(AVAILABLE, 2))
)
def test_a_backward_under_another_isa_than_its_forward_is_right_or_refused(
    rng: np.random.Generator, before: str, after: str
) -> None:
    case = gru_case(rng, 5, 7, 3, 21)
    recurrent, workspace = case.new_recurrent(), _core.Workspace()
    _core.set_isa(before)
    recurrent.forward(case.x, case.h0, True, workspace)
    _core.set_isa(after)
    try:
        dx, *_ = recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    except ValueError as error:
        assert "forward" in str(error)  # noqa: PT017 (either is right)
    else:
        assert_gru_is_right({"dx": dx}, case)


def test_an_isa_gives_the_same_bits_after_others_were_used(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 5, 7, 3, 21)
    workspace = _core.Workspace()
    expected: dict[str, dict[str, Array]] = {}
    for isa in (*AVAILABLE, *AVAILABLE[::-1]):
        _core.set_isa(isa)
        results = native_gru(case, workspace=workspace)
        assert_same_bits(results, expected.setdefault(isa, results))
