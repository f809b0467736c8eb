"""What the benchmark commands share: shapes, the check, the clock, records."""

import importlib
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = list[tuple[Array, Array, Array, Array]]
Record = dict[str, Any]

TIMES = "\N{MULTIPLICATION SIGN}"
STREAM_STEPS = 5  # checked in a stream
# A guard against a wrong formula, which is off by 1e-2 and more; how precise grufast is
# is for the tests to say.
TOLERANCE = 1e-4  # of an array's largest entry


class Shape(NamedTuple):
    """The size of a problem."""

    batch: int
    steps: int
    inputs: int
    hidden: int
    layers: int = 1
    directions: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read "32,100,64,128,1,1", or a name: "b32t100i64h128", "s16"."""
        names = {"s16": (1, 1, 1, 16), "s32": (1, 1, 8, 32), "s128": (1, 1, 64, 128)}
        if text in names:
            return cls(*names[text])
        found = re.fullmatch(r"b(\d+)t(\d+)(?:i(\d+))?h(\d+)(?:l(\d+))?(bi)?", text)
        if found:
            batch, steps, inputs, hidden, layers, both = found.groups()
            sizes = (batch, steps, inputs or hidden, hidden, layers or 1)
            return cls(*map(int, (*sizes, 2 if both else 1)))
        try:
            shape = cls(*map(int, text.split(",")))
        except (TypeError, ValueError):
            raise ValueError(f"shape: got '{text}', expected B,T,C,H,L,D") from None
        if min(shape) < 1 or shape.directions > 2:
            raise ValueError(
                f"shape: got '{text}', expected sizes of 1 or more, D <= 2"
            )
        return shape

    def __str__(self) -> str:
        """The spelling of records."""
        return ",".join(map(str, self))

    @property
    def input_sizes(self) -> list[int]:
        """Of every layer."""
        above = [self.directions * self.hidden] * (self.layers - 1)
        return [self.inputs, *above]

    def flops(self, mode: str) -> int:
        """Operations of the matrix products; backward has twice those of forward."""
        columns = sum(size + self.hidden for size in self.input_sizes)
        forward = (
            2 * 3 * self.hidden * columns * self.directions * self.batch * self.steps
        )
        return forward * (3 if mode in ("train", "adam") else 1)


def problem(shape: Shape, mode: str) -> tuple[Weights, Array]:
    """Weights of every layer and direction, as PyTorch has them, and x (T, B, C)."""
    rng = np.random.default_rng(0)
    hidden, limit = shape.hidden, shape.hidden**-0.5
    weights = []
    for size in shape.input_sizes:
        for _ in range(shape.directions):
            dims = ((3 * hidden, size), (3 * hidden, hidden), 3 * hidden, 3 * hidden)
            a, b, c, d = (rng.uniform(-limit, limit, n).astype("f4") for n in dims)
            weights.append((a, b, c, d))
    steps = STREAM_STEPS if mode == "stream" else shape.steps
    return weights, rng.normal(size=(steps, shape.batch, shape.inputs)).astype("f4")


def oracle() -> Any:
    """Import tests/reference.py."""
    tests = str(Path(__file__).parents[1] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module("reference")


def exact(shape: Shape, mode: str) -> dict[str, Array]:
    """What a peer must compute, by the tests' oracle in float64."""
    reference = oracle()
    weights, inputs = problem(shape, mode)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    wide = [
        {name: a.astype(np.float64) for name, a in zip(names, w, strict=True)}
        for w in weights
    ]
    ways = shape.directions
    layers = [wide[i : i + ways] for i in range(0, len(wide), ways)]

    def turned(a: Array, way: int) -> Array:
        return a[:, ::-1] if way else a

    xs = [inputs.transpose(1, 0, 2).astype(np.float64)]
    for layer in layers:
        ys = [
            turned(reference.gru_forward(turned(xs[-1], i), **w)[0], i)
            for i, w in enumerate(layer)
        ]
        xs.append(np.concatenate(ys, axis=-1))
    y = xs.pop()
    if mode == "stream":
        return {"h": y[:, -1]}
    results = {"y": y.transpose(1, 0, 2)}
    if mode == "infer":
        return results
    d = 2 * y
    for x, layer in zip(reversed(xs), reversed(layers), strict=True):
        parts = np.split(d, ways, axis=-1)
        grads = [
            reference.gru_backward(turned(x, i), **w, dy=turned(part, i))
            for i, (w, part) in enumerate(zip(layer, parts, strict=True))
        ]
        d = np.sum([turned(g.dx, i) for i, g in enumerate(grads)], axis=0)
    return {
        **results,
        "dx": d.transpose(1, 0, 2),
        "dwih": grads[0].dweight_ih,
        "dwhh": grads[0].dweight_hh,
    }


def check(results: dict[str, Array], right: dict[str, Array]) -> None:
    """Raise an ArithmeticError where results are missing or wrong."""
    for name, b in right.items():
        a = np.asarray(results[name])
        if a.shape != b.shape:
            raise ArithmeticError(f"{name} has shape {a.shape}, not {b.shape}")
        error = np.abs(a - b).max() / np.abs(b).max()
        if not error <= TOLERANCE:
            raise ArithmeticError(f"{name} is off by {error:.1e} of its largest entry")


def sample(call: Callable[[], object], budget: float) -> list[float]:
    """Seconds per call: up to ten samples in about `budget` seconds, once warm."""
    clock = time.perf_counter
    start, calls, spent = clock(), 0, 0.0
    while spent < budget / 5:
        call()
        calls += 1
        spent = clock() - start
    count = max(1, round(budget / 10 * calls / spent))
    times: list[float] = []
    end = clock() + budget
    while len(times) < 2 or (len(times) < 10 and clock() < end):
        start = clock()
        for _ in range(count):
            call()
        times.append((clock() - start) / count)
    return times


def machine() -> Record:
    """What a time means nothing without, as far as the standard library knows it."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = found[1]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "system": platform.platform(terse=True),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Times(NamedTuple):
    """A peer's figure for a shape: the better of its thread counts."""

    seconds: float
    threads: int


def load(path: Path) -> tuple[Record, list[Record]]:
    """Read the machine (empty where the file does not say) and the records."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    records = [row for row in rows if "peer" in row]
    return next((row["machine"] for row in rows if "machine" in row), {}), records


def best_times(records: Iterable[Record]) -> dict[tuple[str, Shape, str], Times]:
    """Return figures by mode, shape and peer: medians of the samples of all rounds.

    Rounds that say they were not ``placed`` on a core for each thread count only where
    there is no other.
    """
    samples: dict[tuple[str, Shape, str, int], dict[bool, list[float]]] = {}
    for r in records:
        if "t" in r:
            key = (r["mode"], Shape.parse(r["shape"]), r["peer"], r["threads"])
            by_place = samples.setdefault(key, {True: [], False: []})
            by_place[r.get("placed", True)] += r["t"]
    best: dict[tuple[str, Shape, str], Times] = {}
    for (mode, shape, peer, threads), t in samples.items():
        times = Times(statistics.median(t[True] or t[False]), threads)
        best[mode, shape, peer] = min(times, best.get((mode, shape, peer), times))
    return best


def plain_log(axis: Any, base: int = 10) -> None:
    """Make an axis of a picture logarithmic, labelled with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    subs = (1.0, 2.0, 5.0) if base == 10 else (1.0,)
    axis.set_major_locator(LogLocator(base=base, subs=subs, numticks=12))

    def name(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        crowded = base == 10 and high > 100 * low and f"{value:e}"[0] != "1"
        return "" if crowded else f"{value:g}"

    axis.set_major_formatter(FuncFormatter(name))
    axis.set_minor_locator(NullLocator())
