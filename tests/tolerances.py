"""How close the fast code must come to the exact result: the only table of it.

A result is compared with the float64 oracle on the same (already rounded) inputs. Its
error is measured relative to the largest entry of the exact array, in units of the
dtype's rounding error `eps`, and may grow with the square root of the longest sum
behind an entry, as rounding errors of random sign do. With few units all of a result
may cancel, so a GRU's results are also allowed the errors of what they are made of:
states of about 1 and the incoming gradients, shared by H units. Wrong kernels are wrong
by thousands of these units: `test_core.py` plants faults to prove it.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

import reference
from grufast import _core
from reference import Array

Dtype = Literal["float32", "float64"]
Cell = Literal["gru", "gru_reset_before"]

DTYPES: tuple[Dtype, ...] = ("float32", "float64")
CELLS: tuple[Cell, ...] = ("gru", "gru_reset_before")

#: Units of eps allowed per square root of the longest sum.
UNITS = {"forward": 3.0, "backward": 5.0, "update": 4.0}


def assert_close(
    name: str,
    actual: Array,
    exact: Array,
    kind: str,
    longest_sum: int = 1,
    floor: float = 0.0,
) -> None:
    """Raise an AssertionError that says where `actual` is too far from `exact`."""
    assert isinstance(actual, np.ndarray), f"{name} is {type(actual).__name__}"
    assert actual.shape == exact.shape, f"{name}: {actual.shape} != {exact.shape}"
    finite = np.isfinite(exact)
    # NaN where NaN, and infinities of the same sign.
    np.testing.assert_array_equal(
        np.where(finite, 0, exact), np.where(np.isfinite(actual), 0, actual), name
    )
    if not finite.any():
        return
    info = np.finfo(actual.dtype)
    scale = max(np.abs(exact[finite]).max(), floor)
    error = np.abs(np.where(finite, actual, 0) - np.where(finite, exact, 0))
    worst = np.unravel_index(error.argmax(), error.shape)
    allowed = UNITS[kind] * float(info.eps) * np.sqrt(longest_sum) * scale
    allowed += 4 * float(info.smallest_subnormal)
    assert error[worst] <= allowed, (
        f"{name}{[int(i) for i in worst]} is {actual[worst]!r}, exactly "
        f"{exact[worst]!r}: off by {error[worst]:.3g}, allowed {allowed:.3g}"
    )


class GRUCase(NamedTuple):
    """One call of a GRU and what flows back into it."""

    cell: Cell
    x: Array
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    h0: Array | None
    dy: Array | None
    dh_n: Array | None

    @property
    def dtype(self) -> Dtype:
        return "float32" if self.weight_hh.dtype == np.float32 else "float64"

    @property
    def input_size(self) -> int:
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.weight_hh.shape[1])

    def changed(self, **arrays: Any) -> "GRUCase":
        """The same case with other arrays, right ones or wrong ones."""
        return self._replace(**arrays)

    def new_recurrent(self) -> _core.Recurrent:
        recurrent = _core.Recurrent(
            self.cell, self.input_size, self.hidden_size, self.dtype
        )
        recurrent.pack(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return recurrent


def gru_case(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    input_size: int,
    hidden_size: int,
    dtype: Dtype = "float32",
    cell: Cell = "gru",
    h0: bool = True,
    dy: bool = True,
    dh_n: bool = True,
) -> GRUCase:
    """Random inputs of a size at which gates are neither linear nor saturated."""

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(dtype)

    def uniform(*shape: int, limit: float) -> Array:
        return rng.uniform(-limit, limit, size=shape).astype(dtype)

    gates = 3 * hidden_size
    return GRUCase(
        cell,
        x=normal(rows, steps, input_size),
        weight_ih=uniform(gates, input_size, limit=2 * input_size**-0.5),
        weight_hh=uniform(gates, hidden_size, limit=hidden_size**-0.5),
        bias_ih=uniform(gates, limit=1.0),
        bias_hh=uniform(gates, limit=1.0),
        h0=normal(rows, hidden_size) if h0 else None,
        dy=normal(rows, steps, hidden_size) if dy else None,
        dh_n=normal(rows, hidden_size) if dh_n else None,
    )


def native_gru(
    case: GRUCase,
    recurrent: _core.Recurrent | None = None,
    workspace: _core.Workspace | None = None,
) -> dict[str, Array]:
    """Everything the core computes for a case: forward, backward."""
    recurrent = recurrent or case.new_recurrent()
    workspace = workspace or _core.Workspace()
    y, h_n = recurrent.forward(case.x, case.h0, True, workspace)
    assert y is not None
    gradients = recurrent.backward(workspace, case.x, case.dy, case.dh_n)
    names = reference.GRUGradients._fields
    return {"y": y, "h_n": h_n, **dict(zip(names, gradients, strict=True))}


def exact_gru(case: GRUCase) -> dict[str, Array]:
    """The same by the float64 oracle."""

    def wide(a: Array | None) -> Array | None:
        return None if a is None else a.astype(np.float64)

    arguments: dict[str, Any] = {
        name: wide(getattr(case, name))
        for name in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0")
    }
    reset_after = case.cell == "gru"
    y, h_n = reference.gru_forward(**arguments, reset_after=reset_after)
    gradients = reference.gru_backward(
        **arguments, dy=wide(case.dy), dh_n=wide(case.dh_n), reset_after=reset_after
    )
    return {"y": y, "h_n": h_n, **gradients._asdict()}


def assert_gru_is_right(results: Mapping[str, Array], case: GRUCase) -> None:
    """Compare the results given (some or all) of a case with the oracle's."""
    exact = exact_gru(case)
    rows, steps, inputs = case.x.shape
    hidden = case.hidden_size
    gate_sum = max(inputs + hidden, 3 * hidden)
    flows_in = [a for a in (case.dy, case.dh_n) if a is not None and a.size > 0]
    incoming = max((np.abs(a).max() for a in flows_in), default=0.0)
    for name, result in results.items():
        if name in ("y", "h_n"):
            assert_close(name, result, exact[name], "forward", gate_sum, 1 / hidden)
        elif name in ("dx", "dh0"):
            floor = incoming / hidden
            assert_close(name, result, exact[name], "backward", gate_sum, floor)
        else:
            longest = max(gate_sum, rows * steps)
            floor = incoming / hidden * float(rows * steps) ** 0.5
            assert_close(name, result, exact[name], "backward", longest, floor)


def assert_same_bits(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    """Compare two sets of results bit by bit (zeros by sign, NaN equal to itself)."""
    assert a.keys() == b.keys()
    for name, left in a.items():
        right = b[name]
        assert (left.shape, left.dtype) == (right.shape, right.dtype), name
        if left.tobytes() != right.tobytes():
            differ = (left != right) & ~(np.isnan(left) & np.isnan(right))
            message = f"{name} differs in {differ.sum()} of {left.size} entries"
            raise AssertionError(message)
