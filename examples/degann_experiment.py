"""Recurrent or dense? Networks that approximate solutions of differential equations.

DEGANN's experiment, on more functions and seeds and with both networks treated alike:

RQ1  Does a recurrent network approximate better than a dense one?
RQ2  By how much, in accuracy and in training time?

Run it, or a small part of it, from the repository's root:

    python examples/degann_experiment.py
    python examples/degann_experiment.py --epochs 20,50 --seeds 2 --functions sin,exp

It writes results.md (tables, and the answers in words), errors.png and curves.png to
--out, and every training to runs.jsonl there: a run that was interrupted goes on where
it stopped. The whole takes about 15 minutes on two idle cores.

The protocol
------------
A function is sampled at 1001 even points of DEGANN's interval. For every seed, 1000 of
them are drawn for training, 500 for validation and 500 for the test, with repetition
and sorted, as DEGANN does. Gaussian noise of 0.1 standard deviations is added to the
training values; validation and test are clean. An input is a window of 10 coordinates
that follow each other in the sample, the output is the value at the last of them
(DEGANN takes the next point's value, whose coordinate the network has not seen). The
first nine points of a sample are no outputs, so the very start of an interval, with the
fast part of the two stiff equations that have one, is hardly in the errors.

Both networks have 5 hidden layers of 30 units with tanh and a linear output: GRU
layers that read the window step by step, or dense layers that see it at once. Both are
trained by Adam, 32 windows a batch, on the same windows in the same order, for the
same number of epochs. The learning rate of each, for every function, is the one of
--rates with the smallest validation error on a sample of its own.

An error is the RMSE on the test windows in standard deviations of the clean function,
so that 1 is a constant and 0.1 the noise, of the weights with the smallest validation
error up to that epoch. Medians are over seeds. Intervals are of 95 %, from 10,000
bootstrap samples of the seeds; ratios are paired by seed, as both networks see the same
sample. Every process trains with one thread; times are CPU seconds of it, which other
programs on the machine hardly lengthen, with validation.
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import grufast as gf
from grufast import data, figures

FUNCTIONS = (
    "hardsin",
    "sin",
    "cosecant",
    "oscillator",
    "rigid_body",
    "stiff_decay",
    "stiff_second_order",
    "robertson",
)
NETWORKS = ("GRU", "dense")
COLOURS = {"GRU": figures.MAIN, "dense": figures.SECOND}
WINDOW, LAYERS, UNITS, BATCH = 10, 5, 30, 32
POINTS, TRAIN, HELD = 1001, 1000, 500
NOISE = 0.1
TUNING_SEED = 1_000_003  # not among the seeds that are reported


# --- One training ---------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A training: what of, with what, and where to look at it."""

    function: str
    network: str
    seed: int
    rate: float
    marks: tuple[int, ...]


@dataclass
class Run:
    """What came of a job.

    Attributes
    ----------
    errors, seconds : list of float
        At every mark: error on the test, and CPU seconds of training so far.
    validation : float
        Smallest validation loss.
    parameters : int
        Of the network.
    x, predicted : list of float
        Test coordinates, and the first output there at the end.
    """

    job: Job
    errors: list[float]
    seconds: list[float]
    validation: float
    parameters: int
    x: list[float]
    predicted: list[float]


@dataclass(frozen=True)
class Sample:
    """Windows (n, 10, 1), scaled values (n, outputs) and last coordinates (n,)."""

    x: np.ndarray
    y: np.ndarray
    at: np.ndarray


@dataclass(frozen=True)
class Problem:
    """A function's three samples, in units of the clean function's deviation."""

    train: Sample
    validation: Sample
    test: Sample

    @classmethod
    def make(cls, function: str, seed: int) -> "Problem":
        """Draw points and noise."""
        x, y = data.approximation(function, POINTS)
        rng = np.random.default_rng(seed)
        y = (y - y.mean(0)) / y.std(0)
        noisy = y + NOISE * rng.standard_normal(y.shape)
        scaled = 2 * (x - x[0]) / (x[-1] - x[0]) - 1

        def sample(size: int, values: np.ndarray) -> Sample:
            rows = np.sort(rng.integers(0, POINTS, size))
            last = rows[WINDOW - 1 :]
            windows = data.windows(scaled[rows].astype("f4"), WINDOW)
            return Sample(windows, values[last].astype("f4"), x[last, 0])

        return cls(sample(TRAIN, noisy), sample(HELD, y), sample(HELD, y))


def network(kind: str, outputs: int, seed: int) -> gf.Sequential:
    """Return five hidden layers and the output layer."""
    layers = gf.layers
    hidden: list[layers.Layer]
    if kind == "GRU":
        hidden = [
            layers.GRU(UNITS, return_sequences=i < LAYERS - 1) for i in range(LAYERS)
        ]
    else:
        dense = [layers.Dense(UNITS, activation="tanh") for _ in range(LAYERS)]
        hidden = [layers.Flatten(), *dense]
    model = gf.Sequential([*hidden, layers.Dense(outputs)], seed=seed)
    model.build((None, WINDOW, 1))
    return model


class Marks(gf.callbacks.Callback):
    """Keeps the best weights, measures them at the marks, and times the training."""

    def __init__(
        self, marks: Sequence[int], test: Sample, spare: gf.Sequential
    ) -> None:
        self.marks, self.test, self.spare = marks, test, spare
        self.best, self.total = math.inf, 0.0
        self.errors: list[float] = []
        self.seconds: list[float] = []

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        self.spare.set_weights(self.model.get_weights())

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.start = time.process_time()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.total += time.process_time() - self.start
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            self.spare.set_weights(self.model.get_weights())
        if epoch + 1 in self.marks:
            error = self.spare.predict(self.test.x) - self.test.y
            self.errors.append(float(np.sqrt(np.mean(error**2))))
            self.seconds.append(self.total)


def train(job: Job) -> Run:
    """Do a job, on one thread."""
    gf.set_num_threads(1)
    problem = Problem.make(job.function, job.seed)
    outputs = problem.test.y.shape[1]
    model = network(job.network, outputs, job.seed)
    marks = Marks(job.marks, problem.test, network(job.network, outputs, job.seed))
    model.compile(gf.optimizers.Adam(job.rate), "mse")
    model.fit(
        problem.train.x,
        problem.train.y,
        epochs=job.marks[-1],
        batch_size=BATCH,
        validation_data=(problem.validation.x, problem.validation.y),
        callbacks=[marks],
        seed=job.seed,
        verbose=0,
    )
    predicted = marks.spare.predict(problem.test.x)[:, 0]
    return Run(
        job,
        marks.errors,
        marks.seconds,
        marks.best,
        model.count_params(),
        problem.test.at.tolist(),
        predicted.tolist(),
    )


class Trainings:
    """Trainings in parallel processes, kept in a file: none is done twice.

    Parameters
    ----------
    path : Path
        Of the file, with a line of JSON for every run.
    processes : int
        How many.
    """

    def __init__(self, path: Path, processes: int) -> None:
        self.path, self.processes = path, processes
        self.done: dict[Job, Run] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # without a line cut off by a kill
            path.write_text(whole, encoding="utf-8")
            for line in whole.splitlines():
                run = Run(**json.loads(line))
                marks = tuple(run.job["marks"])  # type: ignore[index]
                run.job = Job(**(run.job | {"marks": marks}))  # type: ignore[operator]
                self.done[run.job] = run

    def run(self, title: str, jobs: Sequence[Job]) -> list[Run]:
        """Do the jobs; return what came of them, in order."""
        missing = [job for job in jobs if job not in self.done]
        start = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        with (
            context.Pool(self.processes) as pool,
            self.path.open("a", encoding="utf-8") as file,
        ):
            for count, run in enumerate(pool.imap_unordered(train, missing), 1):
                self.done[run.job] = run
                file.write(json.dumps(asdict(run)) + "\n")
                file.flush()
                job, spent = run.job, time.perf_counter() - start
                print(
                    f"{title} {count}/{len(missing)} ({spent:.0f} s): {job.function}, "
                    f"{job.network}, rate {job.rate:g}, seed {job.seed}: "
                    f"error {run.errors[-1]:.4f} in {run.seconds[-1]:.1f} s of CPU",
                    flush=True,
                )
        return [self.done[job] for job in jobs]


# --- All of them ----------------------------------------------------------------------


def tuned_rates(
    trainings: Trainings, functions: Sequence[str], rates: Sequence[float], epochs: int
) -> dict[tuple[str, str], float]:
    """Return the learning rate for each function and network."""
    jobs = [
        Job(function, kind, TUNING_SEED, rate, (epochs,))
        for kind in NETWORKS  # the slow ones first: the processes end together
        for function in functions
        for rate in rates
    ]
    best: dict[tuple[str, str], Run] = {}
    for run in trainings.run("tuning", jobs):
        key = run.job.function, run.job.network
        if key not in best or run.validation < best[key].validation:
            best[key] = run
    return {key: run.job.rate for key, run in best.items()}


def experiment(
    trainings: Trainings,
    functions: Sequence[str],
    seeds: int,
    marks: tuple[int, ...],
    rates: Sequence[float],
    tuning_epochs: int,
) -> list[Run]:
    """Tune, then train with every seed."""
    tuned = tuned_rates(trainings, functions, rates, tuning_epochs)
    jobs = [
        Job(function, kind, seed, tuned[function, kind], marks)
        for kind in NETWORKS
        for function in functions
        for seed in range(seeds)
    ]
    return trainings.run("training", jobs)


# --- What it says ---------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as a cell of a table."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    @property
    def verdict(self) -> str:
        """Which network a ratio dense / GRU speaks for, if for any."""
        if self.low > 1:
            return "GRU"
        return "dense" if self.high < 1 else "neither"


def median(values: np.ndarray) -> Estimate:
    """Return the median of values (seeds,) with its bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(values), (10_000, len(values)))
    low, high = np.percentile(np.median(values[drawn], axis=1), [2.5, 97.5])
    return Estimate(float(np.median(values)), float(low), float(high))


def overall(ratios: np.ndarray) -> Estimate:
    """Return the geometric mean over functions of median ratios (functions, seeds).

    The bootstrap draws functions, and for each of them seeds.
    """
    rng = np.random.default_rng(0)
    logs = np.log(ratios)
    functions, seeds = logs.shape
    picked = rng.integers(0, functions, (10_000, functions, 1))
    drawn = rng.integers(0, seeds, (10_000, functions, seeds))
    means = np.median(logs[picked, drawn], axis=2).mean(1)
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    value = np.exp(np.median(logs, axis=1).mean())
    return Estimate(float(value), float(low), float(high))


class Results:
    """Runs as arrays: errors and seconds by network, (functions, seeds, marks)."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.functions = list(dict.fromkeys(run.job.function for run in runs))
        self.seeds = sorted({run.job.seed for run in runs})
        self.marks = runs[0].job.marks
        self.by_key = {(r.job.network, r.job.function, r.job.seed): r for r in runs}
        self.errors = {kind: self._array(kind, "errors") for kind in NETWORKS}
        self.seconds = {kind: self._array(kind, "seconds") for kind in NETWORKS}
        self.error_ratios = self.errors["dense"] / self.errors["GRU"]
        self.time_ratios = self.seconds["GRU"] / self.seconds["dense"]

    def _array(self, kind: str, name: str) -> np.ndarray:
        return np.array(
            [
                [getattr(self.by_key[kind, f, s], name) for s in self.seeds]
                for f in self.functions
            ]
        )

    def run(self, kind: str, function: str) -> Run:
        """Return the run of the first seed."""
        return self.by_key[kind, function, self.seeds[0]]


def answers(results: Results) -> str:
    """Return the answers to both questions, in words."""
    marks = results.marks
    ratios = results.error_ratios[:, :, -1]
    whole, took = overall(ratios), overall(results.time_ratios[:, :, -1])
    better: dict[str, list[str]] = {"GRU": [], "dense": [], "neither": []}
    for function, own in zip(results.functions, ratios, strict=True):
        better[median(own).verdict].append(function)
    counts = ", ".join(
        f"{title} on {len(names)} ({', '.join(names)})" if names else f"{title} on none"
        for title, names in (
            ("the GRU is better", better["GRU"]),
            ("the dense network is better", better["dense"]),
            ("the interval leaves it open", better["neither"]),
        )
    )
    first = {
        "GRU": "**RQ1: yes.** The recurrent network approximates better than the dense "
        "one over all functions.",
        "dense": "**RQ1: no.** The dense network approximates better than the "
        "recurrent one over all functions.",
        "neither": "**RQ1: not decided.** Over all functions neither network is "
        "reliably better.",
    }[whole.verdict]
    slower = "longer" if took.value > 1 else "shorter"
    lines = [
        f"{first} After {marks[-1]} epochs, of {len(results.functions)} functions: "
        f"{counts}.",
        "",
        f"**RQ2: accuracy.** The dense network's error is {whole} times the GRU's, as "
        "a geometric mean over the functions of the medians over the seeds.",
        "By epochs: "
        + ", ".join(
            f"{mark}: {overall(results.error_ratios[:, :, i])}"
            for i, mark in enumerate(marks)
        )
        + ".",
        "",
        f"**RQ2: training time.** The same epochs take the GRU {took} times as long as "
        f"the dense network ({slower}): CPU seconds of one thread.",
        _at_equal_time(results),
    ]
    return "\n".join(lines)


def _at_equal_time(results: Results) -> str:
    """Compare the GRU at its first mark with the dense network in the same time."""
    spent = np.median(results.seconds["GRU"][:, :, 0], axis=1)
    dense = np.median(results.seconds["dense"], axis=1)
    affordable = [
        max((i for i, s in enumerate(own) if s <= limit), default=None)
        for own, limit in zip(dense, spent, strict=True)
    ]
    if None in affordable:
        return "There is no mark at which the dense network has taken less time."
    pairs = [
        results.errors["dense"][row, :, mark] / results.errors["GRU"][row, :, 0]
        for row, mark in enumerate(affordable)
    ]
    ratio = overall(np.array(pairs))
    winner = {
        "GRU": "still the GRU",
        "dense": "the dense network",
        "neither": "neither reliably",
    }[ratio.verdict]
    epochs = sorted({results.marks[i] for i in affordable if i is not None})
    return (
        f"In the time of {results.marks[0]} epochs of the GRU, the dense network has "
        f"done at least {' or '.join(map(str, epochs))}; its error is then {ratio} "
        f"times the GRU's: better is {winner}."
    )


def report(results: Results, settings: str) -> str:
    """Return the page with tables and answers."""
    marks = results.marks
    last = f"after {marks[-1]} epochs"
    gru, dense = (results.run(kind, results.functions[0]) for kind in NETWORKS)
    lines = [
        "# Recurrent or dense: DEGANN's functions",
        "",
        answers(results),
        "",
        f"## Errors and times {last}",
        "",
        "Test RMSE in standard deviations of the function (noise in training: 0.1), "
        f"medians over {len(results.seeds)} seeds with 95 % intervals; CPU "
        "seconds of one thread.",
        "",
        "| function | GRU | dense | dense / GRU | better | GRU, s | dense, s | rates |",
        "|---|---:|---:|---:|---|---:|---:|---|",
    ]
    for row, function in enumerate(results.functions):
        ratio = median(results.error_ratios[row, :, -1])
        cells = [
            function,
            *(str(median(results.errors[kind][row, :, -1])) for kind in NETWORKS),
            str(ratio),
            ratio.verdict,
            *(
                f"{np.median(results.seconds[kind][row, :, -1]):.1f}"
                for kind in NETWORKS
            ),
            ", ".join(f"{results.run(k, function).job.rate:g}" for k in NETWORKS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Median errors by epochs",
        "",
        "| function | "
        + " | ".join(f"{k}, {m}" for m in marks for k in NETWORKS)
        + " |",
        "|---|" + "---:|" * (len(marks) * len(NETWORKS)),
    ]
    for row, function in enumerate(results.functions):
        found = (
            f"{np.median(results.errors[kind][row, :, i]):.3g}"
            for i in range(len(marks))
            for kind in NETWORKS
        )
        lines.append(f"| {function} | {' | '.join(found)} |")
    lines += ["", "## The functions", ""]
    lines += [f"- {name}: {data.FUNCTIONS[name].formula}" for name in results.functions]
    lines += [
        "",
        f"{settings} GRU: {gru.parameters} parameters, dense: {dense.parameters} (for "
        f"{results.functions[0]}).",
        "",
        "![Errors by epochs](errors.png)",
        "",
        "![Approximations](curves.png)",
        "",
    ]
    return "\n".join(lines)


# --- Pictures -------------------------------------------------------------------------


def _panels(title: str, count: int) -> tuple[Any, Any]:
    columns = min(4, count)
    rows = math.ceil(count / columns)
    figure = figures.new_figure(max(2.9 * columns, 5.0), 2.5 * rows + 0.8)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, weight="bold")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def draw_errors(results: Results, path: Path) -> None:
    """Draw medians and ranges over the seeds by epochs."""
    title = "Test error by epochs: medians and ranges over the seeds; dotted: noise"
    figure, panels = _panels(title, len(results.functions))
    for row, axes in enumerate(panels):
        if row >= len(results.functions):
            axes.set_visible(False)
            continue
        for kind in NETWORKS:
            errors = results.errors[kind][row]
            style = {"color": COLOURS[kind]}
            axes.fill_between(
                results.marks, errors.min(0), errors.max(0), alpha=0.15, lw=0, **style
            )
            axes.plot(
                results.marks, np.median(errors, 0), "o-", ms=3.5, label=kind, **style
            )
        axes.axhline(NOISE, color=figures.GREY, lw=0.8, ls=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes, results.marks)
        figures.plain_axes(axes, results.functions[row], "", "epochs")
    _legend(figure, panels[0])
    figures.write(figure, path)


def _legend(figure: Any, axes: Any) -> None:
    """Name the lines above all panels, where no curve runs."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper right",
        ncols=3,
        frameon=False,
        fontsize=8.5,
    )


def _plain_ticks(axes: Any, marks: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.yaxis.set_major_locator(
        LogLocator(base=10, subs=(1, 1.5, 2, 3, 5, 7), numticks=12)
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_curves(results: Results, path: Path) -> None:
    """Draw what the first seed's networks make of the functions' first output."""
    title = f"Approximations after {results.marks[-1]} epochs, first seed"
    figure, panels = _panels(title, len(results.functions))
    for row, axes in enumerate(panels):
        if row >= len(results.functions):
            axes.set_visible(False)
            continue
        function = results.functions[row]
        x, y = data.approximation(function, POINTS)
        mean, deviation = y[:, 0].mean(), y[:, 0].std()
        axes.plot(
            x[:, 0], y[:, 0], color=figures.TRUTH, lw=4, alpha=0.25, label="truth"
        )
        for kind in NETWORKS:
            run = results.run(kind, function)
            predicted = mean + deviation * np.array(run.predicted)
            axes.plot(run.x, predicted, color=COLOURS[kind], lw=1.1, label=kind)
        figures.plain_axes(axes, function, "", "x")
        axes.margins(x=0.02)
    _legend(figure, panels[0])
    figures.write(figure, path)


# --- The command ----------------------------------------------------------------------


def _numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    return parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="See the top of this file."
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("build/degann_experiment"))
    add(
        "--epochs",
        type=_numbers(int),
        default=(100, 200, 500, 1000),
        help="where to look at each run; the last is where it ends",
    )
    add("--seeds", type=int, default=5)
    add(
        "--functions",
        type=_numbers(str),
        default=FUNCTIONS,
        help=f"among {', '.join(data.FUNCTIONS)}",
    )
    add(
        "--rates",
        type=_numbers(float),
        default=(0.001, 0.003, 0.01, 0.03),
        help="learning rates to choose from",
    )
    add("--tuning-epochs", type=int, default=200)
    add("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    for name in given.functions:
        if name not in data.FUNCTIONS or data.FUNCTIONS[name].inputs > 1:
            parser.error(f"--functions: {name!r} is no function of one input here")
    marks = tuple(sorted(set(given.epochs)))
    if min(*marks, given.seeds, given.tuning_epochs, given.processes, 1) < 1:
        parser.error("--epochs, --seeds, --tuning-epochs, --processes: at least 1")
    figures.require_matplotlib()
    given.out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    tuning_epochs = min(given.tuning_epochs, marks[-1])
    results = Results(
        experiment(
            Trainings(given.out / "runs.jsonl", given.processes),
            given.functions,
            given.seeds,
            marks,
            given.rates,
            tuning_epochs,
        )
    )
    settings = (
        f"{given.seeds} seeds, learning rates chosen among "
        f"{', '.join(f'{rate:g}' for rate in given.rates)} "
        f"after {tuning_epochs} epochs; "
        f"{time.perf_counter() - start:.0f} s with {given.processes} processes."
    )
    page = report(results, settings)
    (given.out / "results.md").write_text(page, encoding="utf-8")
    draw_errors(results, given.out / "errors.png")
    draw_curves(results, given.out / "curves.png")
    print(f"\n{page}\nwrote {given.out}")


if __name__ == "__main__":
    main()
