"""Forecasts of sunspots and of CO2 in the air, walk-forward."""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from networks import Plan, import_torch, same_in_torch
from numpy.typing import NDArray
from report import package_file, table, write

from grufast import data, figures, forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Doubles = NDArray[np.float64]

GRUFAST, TORCH, AR = "GRU, grufast", "GRU, PyTorch", "AR of statsmodels"
COLOURS = {
    GRUFAST: figures.MAIN,
    TORCH: figures.SECOND,
    AR: figures.THIRD,
    forecast.LINEAR: figures.TRUTH,
    forecast.SEASONAL: figures.FOURTH,
    forecast.NAIVE: figures.RULE,
}


@dataclass(frozen=True)
class Task:
    """A series of statsmodels, and the folds it is cut into."""

    file: str
    target: str
    season: int
    horizon: int
    folds: int
    test_size: int


TASKS = {
    "sunspots, 24 years": Task("sunspots", "SUNACTIVITY", 11, 24, 3, 48),
    "sunspots, 52 years": Task("sunspots", "SUNACTIVITY", 11, 52, 2, 72),
    "CO2, 24 weeks": Task("co2", "co2", 52, 24, 3, 156),
    "CO2, 52 weeks": Task("co2", "co2", 52, 52, 3, 156),
}


def problems(task: Task, settings: forecast.Settings) -> Iterator[forecast.Problem]:
    """Give the folds: each is trained on all rows before the ones it is tested on."""
    file = f"datasets/{task.file}/{task.file}.csv"
    path = package_file("statsmodels", "statsmodels==0.15.0", file)
    rows = data.read_csv(path, [task.target])
    rows, observed = data.fill_missing(rows, "interpolate")
    for _, test in data.walk_forward(len(rows), task.folds, test_size=task.test_size):
        columns = {name: column[: test.stop] for name, column in rows.columns.items()}
        dates = None if rows.dates is None else rows.dates[: test.stop]
        part = replace(rows, columns=columns, dates=dates)
        yield forecast.prepare(part, settings, observed[: test.stop])


def autoregression(problem: forecast.Problem) -> Doubles:
    """Return forecasts (N, H) of statsmodels's AR from the problem's windows.

    Its order, at most the window, is the best by BIC. It is fitted to the training and
    validation rows, and continues each window step by step.
    """
    ar_model = importlib.import_module("statsmodels.tsa.ar_model")
    known = problem.values[: problem.split.validation.stop, 0]
    most = min(problem.frame.window, len(known) // 3)
    lags = ar_model.ar_select_order(known, maxlag=most, ic="bic").ar_lags or [1]
    constant, *weights = ar_model.AutoReg(known, lags=lags, trend="c").fit().params
    starts = problem.origins["test"] - problem.frame.window + 1
    past = data.windows(problem.values, problem.frame.window)[starts][:, :, 0]
    return continued(past, float(constant), np.array(weights), problem.frame.horizon)


def continued(past: Doubles, constant: float, weights: Doubles, steps: int) -> Doubles:
    """Return what an autoregression expects after each window (N, W): (N, steps).

    The first of its weights is that of the last value.
    """
    width = past.shape[1]
    for _ in range(steps):
        recent = past[:, : -len(weights) - 1 : -1]
        past = np.concatenate((past, (constant + recent @ weights)[:, None]), axis=1)
    return past[:, width:]


def torch_forecast(problem: forecast.Problem) -> tuple[Doubles, float]:
    """Train the network of `forecast.train` in PyTorch: its forecasts, CPU seconds."""
    torch = import_torch()
    settings = problem.settings
    torch.manual_seed(settings.seed)
    channels = problem.values.shape[1]
    plan = Plan(settings.horizon, settings.units)
    network = same_in_torch(plan, forecast.build(settings, channels), channels)
    start = time.process_time()
    x, y, x_val, y_val = (
        torch.from_numpy(array)
        for part in ("train", "validation")
        for array in problem.samples(part)
    )
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-7)
    mse = torch.nn.functional.mse_loss
    best, kept, kept_epoch = math.inf, network.state_dict(), 0
    for epoch in range(settings.epochs):
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
        optimizer.param_groups[0]["lr"] = settings.learning_rate * max(cosine, 1e-3)
        for rows in torch.randperm(len(x)).split(settings.batch_size):
            optimizer.zero_grad()
            mse(network(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(mse(network(x_val), y_val))
        if loss < best:
            best, kept_epoch = loss, epoch
            kept = {name: w.clone() for name, w in network.state_dict().items()}
        elif epoch - kept_epoch >= settings.patience:
            break
    seconds = time.process_time() - start
    network.load_state_dict(kept)
    look = problem.frame.look(problem.values, problem.origins["test"])
    with torch.no_grad():
        found = network(torch.from_numpy(look.x.astype("f4"))).numpy()
    correction = found.astype(np.float64) * problem.unit
    return problem.frame.restore(correction + problem.linear(look.x), look), seconds


@dataclass
class Errors:
    """Squared errors (N, H) of each fold's windows, and CPU seconds of training.

    A value that was filled in does not count: its error is NaN.
    """

    squares: list[Doubles]
    seconds: float = 0.0

    def rmse(self) -> float:
        return float(np.sqrt(np.nanmean(np.concatenate(self.squares))))

    def by_lead(self) -> Doubles:
        return np.asarray(np.sqrt(np.nanmean(np.concatenate(self.squares), axis=0)))


def walk(task: Task, settings: forecast.Settings) -> dict[str, Errors]:
    """Train on every fold, and score all methods from the same windows."""
    errors: dict[str, Errors] = {}
    for problem in problems(task, settings):
        start = time.process_time()
        model, _ = forecast.train(problem, verbose=0)
        seconds = {GRUFAST: time.process_time() - start}
        evaluation = forecast.evaluate(problem, model)
        forecasts = dict(evaluation.forecasts)
        forecasts[GRUFAST] = forecasts.pop(forecast.NETWORK)
        forecasts[TORCH], seconds[TORCH] = torch_forecast(problem)
        forecasts[AR] = autoregression(problem)
        observed = data.windows(problem.observed[:, None], task.horizon)
        counts = observed[evaluation.origins + 1][:, :, 0]
        for name in COLOURS:
            squares = np.where(
                counts, (forecasts[name] - evaluation.truth) ** 2, np.nan
            )
            one = errors.setdefault(name, Errors([]))
            one.squares.append(squares)
            one.seconds += seconds.get(name, 0.0)
    return errors


def forecasts(out: Path, seeds: int, quick: bool) -> str:
    """Forecast all series, and report."""
    runs: dict[str, list[dict[str, Errors]]] = {}
    for title, task in TASKS.items():
        settings = forecast.Settings(
            task.target, horizon=task.horizon, season=task.season, test=task.test_size
        )
        if quick:
            settings = replace(settings, epochs=2)
        runs[title] = [walk(task, replace(settings, seed=s)) for s in range(seeds)]
    sizes = ""
    for title, task in TASKS.items():
        windows = sum(len(fold) for fold in runs[title][0][AR].squares)
        sizes += (
            f"- {title}: {task.folds} folds of {task.test_size} rows, "
            f"{windows} windows scored.\n"
        )
    text = f"{sizes}\n{rmse_table(runs)}"
    write(out, "series", text, rmse_figure(runs))
    return text


def rmse_table(runs: dict[str, list[dict[str, Errors]]]) -> str:
    """Return the RMSE of all methods for all series, and times of training."""
    rows = []
    for name in COLOURS:
        row, seconds = [name], 0.0
        for seeds in runs.values():
            found = [run[name] for run in seeds]
            values = [one.rmse() for one in found]
            cell = f"{statistics.median(values):.3f}"
            if name in (GRUFAST, TORCH) and len(values) > 1:
                cell += f" ({min(values):.3f} to {max(values):.3f})"
            row.append(cell)
            seconds += statistics.median(one.seconds for one in found)
        rows.append([*row, f"{seconds:.1f}" if name in (GRUFAST, TORCH) else ""])
    return table(["RMSE", *runs, "training, CPU s"], rows)


def rmse_figure(runs: dict[str, list[dict[str, Errors]]]) -> Figure:
    """Draw the errors by lead, the median of the seeds."""
    figure = figures.new_figure(10, 6.8)
    panels: Sequence[Any] = figure.subplots(2, 2).flat
    for axes, (title, seeds) in zip(panels, runs.items(), strict=True):
        figures.plain_axes(axes, title, "RMSE", "steps ahead")
        for name, colour in COLOURS.items():
            curve = np.median([run[name].by_lead() for run in seeds], axis=0)
            leads = np.arange(1, len(curve) + 1)
            style = "--" if name == TORCH else "-"
            axes.plot(leads, curve, color=colour, ls=style, lw=1.6, label=name)
        axes.set_ylim(bottom=0)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False)
    return figure
