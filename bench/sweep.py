"""Look for sizes at which grufast is slower than the sizes around them let expect.

    python bench/sweep.py --quick

Walks every axis (hidden size H, batch B, input size C, steps T) around a few points. A
size is suspected if it takes FACTOR times what is expected; then it is measured again,
in turns with its neighbours, and once more. If that stands it is a cliff, and the exit
status is 1.

What is expected is the median of all interpolations, linear in logarithms, between one
of three neighbours on the left and one of three on the right, and no more than a larger
problem takes; of the last size on an axis, nothing. A tile that is not full explains up
to a fifth, noise a few percent: so FACTOR is 1.25.

Units come in vectors: where these have 16 lanes, H = 33 costs what 48 does. Along H
sizes are therefore compared by the size they are padded to, and the fastest of each
number of vectors are compared with each other as well. The stair itself is no cliff;
it is in the picture, and how well padding explains the times is printed.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np
from measure import Shape

import grufast as gf
from grufast import figures as look

FACTOR = 1.25
REACH = 3  # neighbours on either side
SUSPECTS = 100  # measured again, the worst ones
REPEATS = 5
LINEAR = 0.10  # the time per step and row may vary so much

FIELDS = {"H": "hidden", "B": "batch", "C": "inputs", "T": "steps"}
NAMES = {
    "H": "hidden size H (pale: per operation of the padded size)",
    "B": "batch B",
    "C": "input size C",
    "T": "steps T",
}
AROUND_16 = {m + d for m in range(64, 513, 16) for d in (-1, 0, 1, 7)}
SIZES: dict[str, Sequence[int]] = {
    "H": sorted({*range(1, 49), *AROUND_16, 520}),
    "B": (*range(1, 21), 24, 31, 32, 33, 48, 63, 64, 65, 96, 128, 200, 256, 512),
    "C": (*range(1, 41), 47, 48, 49, 63, 64, 65, 96, 127, 128, 129, 200, 256, 257, 512),
    "T": (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
}
BASES = {  # B,T,C,H; the value on the axis itself is not used
    "H": ("32,20,16,1", "1,100,1,1"),
    "B": ("1,50,64,128", "1,20,16,32"),
    "C": ("32,20,1,64", "1,50,1,32"),
    "T": ("32,1,64,128", "1,1,1,32"),
}
FLAT = {"B": 32, "T": 20}  # from here on, at H = 128, the time per step and row is flat
LANES = {"avx512": 16, "avx2": 8}.get(str(gf.build_info()["isa"]), 4)


class Curve(NamedTuple):
    """An axis, and the point it is walked around."""

    axis: str
    base: Shape
    mode: str
    threads: int

    def at(self, value: int) -> Shape:
        return self.base._replace(**{FIELDS[self.axis]: value})

    @property
    def around(self) -> str:
        others = ((k, getattr(self.base, f)) for k, f in FIELDS.items())
        return " ".join(f"{k}={n}" for k, n in others if k != self.axis)

    def __str__(self) -> str:
        many = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.around}, {self.mode}, {many}"


class Point(NamedTuple):
    """A size, what it is compared by, and its time."""

    value: int
    x: int
    seconds: float


class Suspect(NamedTuple):
    """A point of a curve, and how many times what was expected it took."""

    ratio: float
    curve: Curve
    value: int
    among: str
    window: list[Point]
    again: float = math.inf

    @property
    def stands(self) -> bool:
        return self.again > FACTOR

    def __str__(self) -> str:
        verdict = "a cliff" if self.stands else "gone"
        size = f"{self.curve.axis}={self.value} among {self.among}"
        return (
            f"{size:18} {self.ratio:6.2f} {self.again:6.2f}  {verdict:8} {self.curve}"
        )


def padded(hidden: int) -> int:
    return -(-hidden // LANES) * LANES


# --- Measuring ------------------------------------------------------------------------


def visit(curve: Curve, value: int, budget: float) -> float:
    """Check a size, and return the median time of its samples."""
    shape = curve.at(value)
    gf.set_num_threads(curve.threads)
    layer = gf.layers.GRU(
        shape.hidden, return_sequences=True, initializer="torch", seed=0
    )
    noise = np.random.default_rng(0).normal(size=4093).astype("f4")
    x = np.resize(noise, (shape.batch, shape.steps, shape.inputs))
    dy = np.resize(noise, (shape.batch, shape.steps, shape.hidden))

    def infer() -> Any:
        return layer(x)

    def train() -> Any:
        y, context = layer.forward(x)
        return y, layer.backward(dy, context)[0]

    y, dx = (infer(), None) if curve.mode == "infer" else train()
    _check(layer, x, y, dy, dx)
    call: Callable[[], Any] = infer if curve.mode == "infer" else train
    return statistics.median(measure.sample(call, budget))


def _check(layer: Any, x: Any, y: Any, dy: Any, dx: Any) -> None:
    """Compare two rows: the first two steps, and the gradient of x at the last one."""
    reference, rows = measure.oracle(), [0, -1]
    x, y, dy = (a[rows].astype(np.float64) for a in (x, y, dy))
    weights = {name: w.astype(np.float64) for name, w in layer.weights.items()}
    first, _ = reference.gru_forward(x[:, :2], **weights)
    measure.check({"y": y[:, :2]}, {"y": first})
    if dx is not None:
        h0 = y[:, -2] if y.shape[1] > 1 else None
        last = reference.gru_backward(x[:, -1:], **weights, h0=h0, dy=dy[:, -1:])
        measure.check({"dx": dx[rows, -1:]}, {"dx": last.dx})


def walk(
    curves: Sequence[Curve], rounds: int, budget: float, share: int
) -> dict[Curve, dict[int, float]]:
    """Return the least of the times that the rounds found, by size."""
    order = random.Random(0)
    times: dict[Curve, dict[int, float]] = {curve: {} for curve in curves}
    for i in range(rounds):
        for curve, found in times.items():
            values = list(SIZES[curve.axis][::share])
            order.shuffle(values)  # or a slow second would look like a cliff
            for value in values:
                seconds = visit(curve, value, budget)
                found[value] = min(seconds, found.get(value, seconds))
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
    return {curve: dict(sorted(found.items())) for curve, found in times.items()}


# --- Looking for cliffs ---------------------------------------------------------------


def views(curve: Curve, times: dict[int, float]) -> dict[str, list[Point]]:
    """Return lists of points in which there should be no cliff."""
    if curve.axis != "H":
        return {"sizes": [Point(n, n, t) for n, t in times.items()]}
    points = [Point(n, padded(n), t) for n, t in times.items()]
    widths: dict[int, Point] = {}
    for p in points:
        widths[p.x] = min(p, widths.get(p.x, p), key=lambda q: q.seconds)
    return {"sizes": points, "widths": list(widths.values())}


def ratio(points: Sequence[Point], i: int) -> float:
    """Return how many times what is expected a point takes; 0 where nothing is."""
    x, seconds = points[i].x, points[i].seconds
    left, right = points[max(0, i - REACH) : i], points[i + 1 : i + 1 + REACH]
    guesses = []
    for a in left:
        for b in right:
            part = math.log(x / a.x) / math.log(b.x / a.x) if b.x > a.x else 0.5
            guesses.append(a.seconds ** (1 - part) * b.seconds**part)
    limits = [p.seconds for p in right]
    if guesses:
        limits.append(statistics.median(guesses))
    return seconds / min(limits, default=math.inf)


def suspects(times: dict[Curve, dict[int, float]]) -> list[Suspect]:
    """Return all sizes above FACTOR, the worst first."""
    found = []
    for curve, mine in times.items():
        for among, points in views(curve, mine).items():
            for i, p in enumerate(points):
                if (r := ratio(points, i)) > FACTOR:
                    window = points[max(0, i - REACH) : i + 1 + REACH]
                    found.append(Suspect(r, curve, p.value, among, window))
    return sorted(found, key=lambda s: -s.ratio)


def again(suspect: Suspect, times: dict[int, float], budget: float) -> Suspect:
    """Measure a suspect and its neighbours in turns, all anew; the better of calls."""
    curve, points = suspect.curve, suspect.window
    fresh = in_turns(curve, [p.value for p in points], budget)
    for value, seconds in fresh.items():
        times[value] = min(times[value], seconds)
    points = [p._replace(seconds=fresh[p.value]) for p in points]
    place = [p.value for p in points].index(suspect.value)
    return suspect._replace(again=min(suspect.again, ratio(points, place)))


def in_turns(curve: Curve, values: Sequence[int], budget: float) -> dict[int, float]:
    """Return the least times of some visits."""
    fresh = dict.fromkeys(values, math.inf)
    for _ in range(REPEATS):
        for value, seconds in fresh.items():
            fresh[value] = min(seconds, visit(curve, value, budget))
    return fresh


def linearity(times: dict[Curve, dict[int, float]], budget: float) -> dict[str, float]:
    """Return how much the time per step and row varies, as a part of the least one.

    Where it is too much, all are measured again, in turns.
    """
    variation = {}
    for curve, mine in times.items():
        if curve.axis in FLAT and curve.base.hidden == 128:
            values = [n for n in mine if n >= FLAT[curve.axis]]
            each = [mine[n] / n for n in values]
            if max(each) > (1 + LINEAR) * min(each):
                fresh = in_turns(curve, values, budget)
                each = [min(mine[n], fresh[n]) / n for n in values]
            name = f"{curve.axis} = {values[0]}..{values[-1]} at {curve}"
            variation[name] = max(each) / min(each) - 1
    return variation


def stairs(times: dict[Curve, dict[int, float]]) -> dict[str, tuple[float, float]]:
    """Return the least and the most that sizes take of their padded sizes' times."""
    found = {}
    for curve, mine in times.items():
        if curve.axis == "H":
            parts = [t / mine[padded(n)] for n, t in mine.items() if padded(n) in mine]
            found[str(curve)] = min(parts), max(parts)
    return found


# --- Showing --------------------------------------------------------------------------


def work(curve: Curve, value: int) -> float:
    """Return what the picture divides times by: steps and rows, or operations."""
    shape = curve.at(value)
    if curve.axis in FLAT:
        return shape.batch * shape.steps / 1e9
    return shape.flops(curve.mode) / 1e12


def picture(times: dict[Curve, dict[int, float]], cliffs: list[Suspect]) -> Any:
    """Draw the time per work over every axis."""
    axes_names = list(dict.fromkeys(curve.axis for curve in times))
    modes = list(dict.fromkeys(curve.mode for curve in times))
    figure: Any = look.new_figure(11.5, 0.5 + 3.0 * len(axes_names))
    title = "grufast over its sizes"
    figure.suptitle(
        title, x=0.012, ha="left", fontsize=13, color=look.INK, weight="bold"
    )
    panels = figure.subplots(len(axes_names), len(modes), squeeze=False)
    for i, axis in enumerate(axes_names):
        for j, mode in enumerate(modes):
            mine = [c for c in times if (c.axis, c.mode) == (axis, mode)]
            unit = "ns per step and row" if axis in FLAT else "ps per operation"
            look.plain_axes(panels[i, j], mode, unit, NAMES[axis])
            _curves(panels[i, j], mine, times)
            for s in cliffs:
                if s.curve in mine:
                    y = times[s.curve][s.value] / work(s.curve, s.value)
                    panels[i, j].plot(s.value, y, "o", ms=11, mfc="none", mec=look.INK)
    return figure


def _curves(
    axes: Any, curves: list[Curve], times: dict[Curve, dict[int, float]]
) -> None:
    bases = list(dict.fromkeys(curve.base for curve in curves))
    for curve in curves:
        sizes = list(times[curve])
        style: dict[str, Any] = {
            "color": (look.MAIN, look.SECOND)[bases.index(curve.base)],
            "ls": "-" if curve.threads == 1 else (0, (3, 1)),
        }
        label = f"{curve.around}, {curve.threads} thread{'s' * (curve.threads > 1)}"
        each = [t / work(curve, n) for n, t in times[curve].items()]
        axes.plot(sizes, each, lw=1.2, marker=".", ms=3, label=label, **style)
        if curve.axis == "H":
            each = [t / work(curve, padded(n)) for n, t in times[curve].items()]
            axes.plot(sizes, each, lw=0.8, alpha=0.4, **style)
    measure.plain_log(axes.xaxis, 2)
    measure.plain_log(axes.yaxis)
    look.legend(
        axes,
        fontsize=7.5,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderpad=0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default="H,B,C,T")
    parser.add_argument("--modes", default="infer,train")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.02, help="seconds a visit")
    parser.add_argument("--quick", action="store_true", help="a third, in a minute")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    look.require_matplotlib()
    rounds, share, bases = (2, 3, 1) if args.quick else (args.rounds, 1, None)
    curves = [
        Curve(axis, Shape.parse(base), mode, int(threads))
        for axis in args.axes.split(",")
        for base in BASES[axis][:bases]
        for mode in args.modes.split(",")
        for threads in args.threads.split(",")
    ]
    machine = {**measure.machine(), **gf.build_info()}
    if machine["load"] > 0.3:
        print(f"the load is {machine['load']:.1f} already: times will be noisy")
    times = walk(curves, rounds, args.budget, share)
    found = suspects(times)
    checked = found[: SUSPECTS // share]
    if len(found) > len(checked):
        print(f"of {len(found)} suspects only {len(checked)} are measured again")
    checked = [again(s, times[s.curve], args.budget) for s in checked]
    checked = [
        again(s, times[s.curve], args.budget) if s.stands else s for s in checked
    ]
    checked.sort(key=lambda s: -s.again)
    cliffs = [s for s in checked if s.stands]
    steps, padding = linearity(times, args.budget), stairs(times)

    points = sum(map(len, times.values()))
    print(f"{len(found)} suspects in {points} points, {len(cliffs)} cliffs. The worst:")
    print("   times what is expected, at first and measured again")
    for s in checked[: max(15, len(cliffs))]:
        print(f"  {s}")
    if padding:
        print(f"Time of H / time of the next multiple of {LANES}:")
    for name, (low, high) in padding.items():
        print(f"  {low:.2f} to {high:.2f}  {name}")
    if steps:
        print(f"Variation of the time per step and row ({LINEAR:.0%} at most wanted):")
    for name, part in steps.items():
        print(f"  {part:6.1%}  {name}")

    args.out.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine,
        "factor": FACTOR,
        "lanes": LANES,
        "curves": [
            {**c._asdict(), "base": str(c.base), "seconds": times[c]} for c in curves
        ],
        "suspects": [
            {
                **s.curve._asdict(),
                "base": str(s.curve.base),
                "value": s.value,
                "among": s.among,
                "ratio": s.ratio,
                "again": s.again,
                "cliff": s.stands,
            }
            for s in checked
        ],
        "padding": padding,
        "linearity": steps,
    }
    (args.out / "sweep.json").write_text(json.dumps(record, indent=1) + "\n")
    look.write(picture(times, cliffs), args.out / "sweep.png")
    return 1 if cliffs else 0


if __name__ == "__main__":
    sys.exit(main())
