"""Ten steps ahead of the series of two waves and noise, in three ways."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from networks import LIBRARIES, Floats, Plan
from numpy.typing import NDArray
from report import COLOURS, table, write

from grufast import data, figures, forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAST, AHEAD = 50, 10
WAYS = ("one step, repeated", "vector", "sequence to sequence")


def targets(series: Floats, way: str) -> Floats:
    """Return what follows the first 50 steps: (N, 1), (N, 10), or (N, 50, 10)."""
    if way == "sequence to sequence":
        return np.stack([series[:, i : i + PAST, 0] for i in range(1, AHEAD + 1)], 2)
    count = 1 if way == "one step, repeated" else AHEAD
    return np.ascontiguousarray(series[:, PAST : PAST + count, 0])


def predict_ten(predict: Callable[[Any], NDArray[Any]], x: Floats, way: str) -> Any:
    """Return forecasts (N, 10) after x (N, 50, 1)."""
    if way == "one step, repeated":
        seen = x
        for _ in range(AHEAD):
            following = predict(np.ascontiguousarray(seen[:, -PAST:]))
            seen = np.concatenate((seen, following[:, :, None]), axis=1)
        return seen[:, PAST:, 0]
    found = predict(x)
    return found if way == "vector" else found[:, -1]


def linear(train: Floats, held: Floats, x: Floats) -> NDArray[np.float64]:
    """Return the forecasts (N, 10) of a ridge regression on the 50 steps."""
    parts = []
    for part in (train, held):
        whole = part.astype(float)
        parts += [whole[:, :PAST], whole[:, PAST:, 0]]
    return forecast.Linear.fit(*parts)(x.astype(float))


def ten_steps(out: Path, seeds: int, quick: bool) -> str:
    """Forecast in three ways, and report."""
    count, epochs = (1000, 3) if quick else (10_000, 10)
    series = data.two_waves(count, PAST + AHEAD, seed=0).astype(np.float32)
    train, held, test = np.split(series, [7 * count // 10, 9 * count // 10])
    x, x_test = (np.ascontiguousarray(part[:, :PAST]) for part in (train, test))
    truth = test[:, PAST:, 0]
    squares: dict[tuple[str, str], list[NDArray[Any]]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    text = ""
    for seed in range(seeds):
        for way, (library, fit) in itertools.product(WAYS, LIBRARIES.items()):
            y = targets(train, way)
            plan = Plan(
                y.shape[-1],
                units=32,
                all_steps=way == "sequence to sequence",
                epochs=epochs,
                batch_size=32,
                learning_rate=1e-2,
            )
            fitted = fit(plan, x, y, "mse", seed)
            found = predict_ten(fitted.predict, x_test, way)
            squares.setdefault((way, library), []).append((found - truth) ** 2)
            seconds.setdefault((way, library), []).append(fitted.seconds)
        # After every seed, so that a run that is stopped leaves what it found.
        methods = {
            **squares,
            ("linear", ""): [(linear(train, held, x_test) - truth) ** 2],
            ("naive", ""): [(test[:, PAST - 1] - truth) ** 2],
        }
        text = (
            f"{len(train)} series to train on, {len(held)} for the linear model's "
            f"penalty, {len(test)} to test with; {epochs} epochs; {seed + 1} seeds; "
            f"the noise alone has an mse of {0.1**2 / 12:.6f}.\n\n"
            + mse_table(methods, seconds)
        )
        write(out, "waves", text, mse_figure(methods))
    return text


def mse_table(
    squares: dict[tuple[str, str], list[NDArray[Any]]],
    seconds: dict[tuple[str, str], list[float]],
) -> str:
    """Return the errors of all ways, over ten steps and of the last one."""
    rows = []
    for (way, library), runs in squares.items():
        values = [float(one.mean()) for one in runs]
        last = statistics.median(float(one[:, -1].mean()) for one in runs)
        spread = cpu = ""
        if library:
            spread = f"{min(values):.6f} to {max(values):.6f}"
            cpu = f"{statistics.median(seconds[way, library]):.1f}"
        name = f"{way}, {library}" if library else way
        rows.append([name, f"{statistics.median(values):.6f}", spread, f"{last:.6f}"])
        rows[-1].append(cpu)
    return table(
        ["mse", "median", "of all seeds", "step 10", "training, CPU s (median)"], rows
    )


def mse_figure(squares: dict[tuple[str, str], list[NDArray[Any]]]) -> Figure:
    """Draw the errors by step, the median of the seeds."""
    figure = figures.new_figure(8.5, 4.4)
    axes = figure.subplots()
    figures.plain_axes(axes, "Two waves and noise", "mse", "steps ahead")
    marks = dict(zip([*WAYS, "linear", "naive"], "os^Dx", strict=True))
    for (way, library), runs in squares.items():
        axes.plot(
            np.arange(1, AHEAD + 1),
            np.median([one.mean(axis=0) for one in runs], axis=0),
            color=COLOURS.get(library, figures.FOURTH),
            marker=marks[way],
            ls="-" if library != "PyTorch" else "--",
            lw=1.3,
            ms=4,
            label=f"{way}, {library}" if library else way,
        )
    noise = 0.1**2 / 12
    axes.axhline(noise, color=figures.GREY, ls=":", lw=1, label="the noise alone")
    axes.set_yscale("log")
    axes.set_xticks(range(1, AHEAD + 1))
    figures.legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
