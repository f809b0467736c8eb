"""What the machine allows a shape, and a picture of how near grufast comes.

    python bench/roofline.py bench/results/grid.jsonl --limits limits.json

The limits are the JSON of the C++ program bench/cpp/limits.cpp (--benchmark_out): the
peak of multiply-adds, and what is read per second by bytes per thread.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np
from measure import TIMES, Shape, Times, best_times, load


class Limits(NamedTuple):
    """Rates by the number of threads, of all threads together."""

    peak: dict[int, float]  # operations per second
    reads: dict[int, dict[int, float]]  # bytes per second, by bytes of each thread
    caches: dict[int, float]  # bytes per thread, by level

    def flops(self, threads: int) -> float:
        return self.peak.get(threads, self.peak[1] * threads)

    def bandwidth(self, size: float, threads: int) -> float:
        """Bytes per second of threads that read their `size` bytes again and again."""
        known = threads in self.reads
        sizes, rates = zip(
            *sorted(self.reads[threads if known else 1].items()), strict=True
        )
        rate = float(np.interp(np.log2(size), np.log2(sizes), rates))
        return rate if known else rate * threads

    def level(self, size: float) -> str:
        """Name the fastest memory that holds `size` bytes per thread."""
        fitting = [level for level, held in self.caches.items() if size <= held]
        return f"L{min(fitting)}" if fitting else "DRAM"

    def seconds(self, shape: Shape, mode: str, threads: int) -> float:
        """Return the least time for a shape.

        Products over many steps take that of their arithmetic at the peak. Those of
        every step, which wait for the step before, also have to read their weights:
        with few rows the way into registers takes longer. The two follow each other.
        """
        stepwise = recurrent_flops(shape, mode)
        held = step_bytes(shape, mode) / threads
        reading = recurrent_bytes(shape, mode) / self.bandwidth(held, threads)
        at_once = (shape.flops(mode) - stepwise) / self.flops(threads)
        return at_once + max(stepwise / self.flops(threads), reading)


def step_bytes(shape: Shape, mode: str) -> int:
    """Bytes that a layer's every step reads: W_hh, and in a stream W_ih too."""
    columns = shape.hidden + (shape.inputs if mode == "stream" else 0)
    return 4 * 3 * shape.hidden * columns * shape.directions


def recurrent_bytes(shape: Shape, mode: str) -> int:
    """Bytes of weights read in all steps; backward reads them again."""
    passes = 2 if mode in ("train", "adam") else 1
    return step_bytes(shape, mode) * shape.layers * shape.steps * passes


def recurrent_flops(shape: Shape, mode: str) -> int:
    """Operations with these weights: two for each and every row."""
    return recurrent_bytes(shape, mode) // 4 * 2 * shape.batch


def weight_bytes(shape: Shape, mode: str) -> int:
    """Bytes of weights that whole sequences read: W_ih once beside these."""
    passes = 2 if mode in ("train", "adam") else 1
    once = 4 * 3 * shape.hidden * shape.directions * sum(shape.input_sizes)
    return recurrent_bytes(shape, mode) + once * passes


def intensity(shape: Shape, mode: str) -> float:
    """Operations per byte of weights read."""
    return shape.flops(mode) / weight_bytes(shape, mode)


def read_limits(path: Path) -> Limits:
    """Read what Google Benchmark wrote; the best of repetitions and vector widths."""
    document = json.loads(path.read_text())
    peak: dict[int, float] = {}
    reads: dict[int, dict[int, float]] = {}
    for b in document["benchmarks"]:
        name, threads = b["name"], b.get("threads", 1)
        if b.get("aggregate_name", "median") != "median":
            continue
        if re.search(r"\bfma\b.*f32", name):
            peak[threads] = max(b["FLOPS"], peak.get(threads, 0.0))
        elif found := re.search(r"\bread/(\d+)([KM]?)", name):
            size = int(found[1]) * {"K": 1024, "M": 1024**2, "": 1}[found[2]]
            rates = reads.setdefault(threads, {})
            rates[size] = max(b["bytes_per_second"], rates.get(size, 0.0))
    if 1 not in peak or 1 not in reads:
        raise ValueError(f"{path}: no 'fma/f32' and 'read' of one thread in it")
    caches = {
        c["level"]: c["size"] / max(c["num_sharing"], 1)
        for c in document["context"]["caches"]
        if c["type"] != "Instruction"
    }
    return Limits(peak, reads, caches)


def roofline_figure(
    times: dict[tuple[str, Shape], Times], limits: Limits, threads: int, where: str
) -> Any:
    """Draw the times of modes and shapes under the roof of so many threads."""
    from matplotlib.patheffects import withStroke

    from grufast import figures as look

    modes = sorted({mode for mode, _ in times})
    figure = look.new_figure(0.5 + 5.5 * len(modes), 5.4)
    title = "How near the limits of the machine" + (f": {where}" if where else "")
    figure.suptitle(
        title, x=0.012, ha="left", fontsize=13, color=look.INK, weight="bold"
    )
    sizes = {f"L{n}": held / 2 for n, held in sorted(limits.caches.items())}
    sizes["DRAM"] = max(limits.reads[1])
    palette = (look.MAIN, look.THIRD, look.SECOND, look.TRUTH, look.FOURTH)
    colours = dict(zip(sizes, palette, strict=False))
    peak = limits.flops(threads) / 1e9
    low = min(s.flops(m) / t.seconds / 2e9 for (m, s), t in times.items())
    left, right = 0.25, 5 * max(intensity(shape, mode) for mode, shape in times)
    for i, mode in enumerate(modes):
        axes = figure.add_subplot(1, len(modes), i + 1)
        look.plain_axes(axes, mode, "GFLOP/s", "operations per byte of weights read")
        measure.plain_log(axes.xaxis, 2)
        measure.plain_log(axes.yaxis)
        axes.set(xlim=(left, right), ylim=(low, 1.5 * peak))
        axes.plot((left, right), (peak, peak), color=look.INK, lw=1.3)
        peak_label = f"{peak:.0f} GFLOP/s on {threads} thread{'s' * (threads > 1)}"
        small: dict[str, Any] = {"fontsize": 8, "va": "bottom"}
        axes.text(right, 1.04 * peak, peak_label, ha="right", color=look.GREY, **small)
        for level, size in sizes.items():
            slope, colour = limits.bandwidth(size, threads) / 1e9, colours[level]
            knee = peak / slope
            axes.plot(
                (left, knee), (left * slope, peak), color=colour, lw=1.3, alpha=0.7
            )
            axes.text(knee, 1.04 * peak, level, ha="center", color=colour, **small)
        points = []
        for shape in (shape for m, shape in times if m == mode):
            rate = shape.flops(mode) / times[mode, shape].seconds / 1e9
            points.append((intensity(shape, mode), rate, shape))
            colour = colours[limits.level(step_bytes(shape, mode) / threads)]
            axes.plot(*points[-1][:2], "o", color=colour, ms=6.5, mec="white", zorder=3)
        for x, y, text in _apart(points, gap=(peak / low) ** 0.028):
            words = axes.text(x * 1.14, y, text, fontsize=7.5, va="center")
            words.set(
                color=look.GREY, path_effects=[withStroke(linewidth=2, foreground="w")]
            )
        note = f"batch {TIMES} hidden size; the colour is of the fastest\n"
        note += "memory that holds the W_hh of a layer"
        axes.text(
            0.98,
            0.03,
            note,
            transform=axes.transAxes,
            ha="right",
            color=look.GREY,
            **small,
        )
    return figure


def _apart(
    points: list[tuple[float, float, Shape]], gap: float
) -> list[tuple[float, float, str]]:
    """Return labels beside points or below, those of a column a factor `gap` apart."""
    labels: list[tuple[float, float, str]] = []
    for x, y, shape in sorted(points, key=lambda point: -point[1]):
        text = f"{shape.batch}{TIMES}{shape.hidden}"
        text += f", {shape.layers} layers" * (shape.layers > 1)
        text += ", both ways" * (shape.directions > 1)
        near = [b for a, b, _ in labels if 0.25 < a / x < 4]
        labels.append((x, min([y, *(b / gap for b in near)]), text))
    return labels


def main() -> None:
    from grufast import figures as look

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path)
    parser.add_argument("--limits", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    machine, records = load(args.grid)
    threads = max(r["threads"] for r in records)
    times = {
        (mode, shape): t
        for (mode, shape, peer), t in best_times(records).items()
        if peer == "grufast" and mode in ("infer", "train")
    }
    limits = read_limits(args.limits)
    args.out.mkdir(parents=True, exist_ok=True)
    figure = roofline_figure(times, limits, threads, machine.get("cpu", ""))
    look.write(figure, args.out / "roofline.png")


if __name__ == "__main__":
    main()
