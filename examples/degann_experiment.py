"""Recurrent or dense? Networks that approximate solutions of differential equations.

DEGANN's experiment, on more functions and seeds and with both networks treated alike:

RQ1  Does a recurrent network approximate better than a dense one?
RQ2  By how much, in accuracy and in training time?

    pip install ".[plot,ode]"
    python examples/degann_experiment.py
    python examples/degann_experiment.py --epochs 20 50 --seeds 2 --functions sin exp
    python examples/degann_experiment.py --keras --epochs 30 --functions sin rigid_body

The first run takes about 30 minutes of one core. It writes results.md (tables, and the
answers in words) and two pictures to --out, and every training to runs.jsonl there: a
run that was interrupted goes on where it stopped. The last trains such networks in
`grufast.degann` and in DEGANN and Keras, in turn, where TensorFlow and degann are
installed; see `docs/degann.md` for the results of both.

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
layers that read the window step by step, or dense layers that see all of it at once.
Both are trained by Adam, 32 windows a batch, on the same windows, for the same number
of epochs. The learning rate of each, for every function, is the one of RATES with the
smallest validation error (geometric mean) after 200 epochs on two samples that are not
reported.

An error is the RMSE on the test windows in standard deviations of the clean function,
so that 1 is a constant and 0.1 the noise, of the weights with the smallest validation
error up to that epoch. Values are medians over seeds with their range, which holds the
true median with a probability of 97 % for six seeds (94 % for five). Ratios are
paired by seed, as both networks see the same sample.

Trainings run one after the other on one thread, GRU and dense in turn. Times are CPU
seconds, which other programs on the machine lengthen little, with validation.
"""

import argparse
import functools
import importlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import grufast as gf
from grufast import data, degann, figures

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
NETWORKS = {"GRU": figures.MAIN, "dense": figures.SECOND}
GRU, DENSE = range(2)  # their places in arrays
LIBRARIES = ("grufast", "Keras")
WINDOW, LAYERS, UNITS, BATCH = 10, 5, 30, 32
POINTS, TRAIN, HELD = 1001, 1000, 500
NOISE = 0.1
SEEDS = 6
RATES, TUNING_EPOCHS = (0.001, 0.003, 0.01, 0.03), 200
SIDE_RATE = 0.003
TUNING_SEEDS = (1_000_003, 1_000_033)  # not among the seeds that are reported

Record = dict[str, Any]  # of a training; a line of JSON


# --- One training ---------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A training: of what, with what, and after which epochs to look at it."""

    function: str
    network: str
    seed: int
    rate: float
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Windows (n, 10, 1), scaled values (n, outputs) and last coordinates (n,)."""

    x: np.ndarray
    y: np.ndarray
    at: np.ndarray


def samples(function: str, seed: int) -> tuple[Sample, Sample, Sample]:
    """Draw points for training, validation and test, and the noise of training."""
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

    return sample(TRAIN, noisy), sample(HELD, y), sample(HELD, y)


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


class Best(gf.callbacks.Callback):
    """Keeps the best weights in another model, and measures them after some epochs."""

    def __init__(self, kept: gf.Sequential, test: Sample, epochs: Sequence[int]):
        self.kept, self.test, self.epochs = kept, test, epochs
        self.validation = math.inf
        self.errors: list[float] = []
        self.seconds: list[float] = []

    def on_train_begin(self, logs: Mapping[str, float]) -> None:
        self.start = time.process_time()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if logs["val_loss"] < self.validation:
            self.validation = logs["val_loss"]
            self.kept.set_weights(self.model.get_weights())
        if epoch + 1 in self.epochs:
            self.seconds.append(time.process_time() - self.start)
            error = self.kept.predict(self.test.x) - self.test.y
            self.errors.append(float(np.sqrt(np.mean(error**2))))


def train(job: Job) -> Record:
    """Return what comes of a job.

    ``errors`` on the test and CPU ``seconds`` so far, after each of `job.epochs`; the
    smallest ``validation`` loss; the number of ``parameters``; the first outputs
    ``predicted`` for the test windows by the best weights.
    """
    gf.set_num_threads(1)
    training, validation, test = samples(job.function, job.seed)
    model, kept = (network(job.network, test.y.shape[1], job.seed) for _ in range(2))
    best = Best(kept, test, job.epochs)
    model.compile(gf.optimizers.Adam(job.rate), "mse")
    model.fit(
        training.x,
        training.y,
        epochs=job.epochs[-1],
        batch_size=BATCH,
        validation_data=(validation.x, validation.y),
        callbacks=[best],
        seed=job.seed,
        verbose=0,
    )
    return {
        "errors": best.errors,
        "seconds": best.seconds,
        "validation": best.validation,
        "parameters": model.count_params(),
        "predicted": kept.predict(test.x)[:, 0].tolist(),
    }


# --- All of them ----------------------------------------------------------------------


def records_in(path: Path) -> dict[str, Record]:
    """Return the records of a file by job, without a line cut off by a kill."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[json.dumps(record["job"])] = record
    return found


def train_all(
    title: str, jobs: Sequence[Any], do: Callable[[Any], Record], path: Path
) -> list[Record]:
    """Do those jobs that are not in the file yet; return the records of all."""
    records = records_in(path)
    keys = [json.dumps(asdict(job)) for job in jobs]
    missing = [at for at, key in enumerate(keys) if key not in records]
    with path.open("a", encoding="utf-8") as file:
        for count, at in enumerate(missing, 1):
            record = {"job": asdict(jobs[at])} | do(jobs[at])
            records[keys[at]] = record
            file.write(f"\n{json.dumps(record)}")
            file.flush()
            print(f"{title} {count}/{len(missing)}: {jobs[at]}", flush=True)
    return [records[key] for key in keys]


def tuned_rates(functions: Sequence[str], epochs: int, path: Path) -> np.ndarray:
    """Return the learning rates (functions, networks)."""
    jobs = [
        Job(function, kind, seed, rate, (epochs,))
        for function in functions
        for rate in RATES
        for kind in NETWORKS
        for seed in TUNING_SEEDS
    ]
    records = train_all("tuning", jobs, train, path)
    shape = len(functions), len(RATES), len(NETWORKS), len(TUNING_SEEDS)
    losses = np.reshape([record["validation"] for record in records], shape)
    best: np.ndarray = np.array(RATES)[np.log(losses).mean(-1).argmin(1)]
    return best


@dataclass(frozen=True)
class Results:
    """What came of the experiment.

    Attributes
    ----------
    functions, epochs : list of str, of int
        Rows of the tables; after which epochs errors were measured.
    rates : ndarray (functions, networks)
        Learning rates.
    errors, seconds : ndarray (seeds, functions, networks, epochs)
        Errors on the test, and CPU seconds so far.
    records : list of dict
        Of the first seed: for each function and network.
    """

    functions: Sequence[str]
    epochs: Sequence[int]
    rates: np.ndarray
    errors: np.ndarray
    seconds: np.ndarray
    records: Sequence[Record]

    @property
    def error_ratios(self) -> np.ndarray:
        """Return dense / GRU (seeds, functions, epochs)."""
        ratios: np.ndarray = self.errors[:, :, DENSE] / self.errors[:, :, GRU]
        return ratios


def experiment(
    functions: Sequence[str], seeds: int, epochs: tuple[int, ...], path: Path
) -> Results:
    """Tune, then train with every seed."""
    tuned = tuned_rates(functions, min(TUNING_EPOCHS, epochs[-1]), path)
    jobs = [
        Job(function, kind, seed, float(rate), epochs)
        for seed in range(seeds)
        for function, own in zip(functions, tuned, strict=True)
        for kind, rate in zip(NETWORKS, own, strict=True)
    ]
    records = train_all("training", jobs, train, path)
    errors, seconds = (
        np.reshape([r[name] for r in records], (seeds, *tuned.shape, len(epochs)))
        for name in ("errors", "seconds")
    )
    return Results(functions, epochs, tuned, errors, seconds, records[: tuned.size])


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
    def better(self) -> str:
        """Which network a ratio of errors dense / GRU speaks for, if for any."""
        if self.low > 1:
            return "GRU"
        return "dense" if self.high < 1 else "open"


def median(values: np.ndarray) -> Estimate:
    """Return the median and the range of values (seeds,)."""
    return Estimate(float(np.median(values)), values.min(), values.max())


def overall(ratios: np.ndarray) -> Estimate:
    """Return the geometric mean over functions of median ratios (seeds, functions).

    Its interval of 95 % is from 10,000 bootstrap samples, which draw functions and, for
    each of them, seeds.
    """
    rng = np.random.default_rng(0)
    logs = np.log(ratios.T)
    functions, seeds = logs.shape
    picked = rng.integers(0, functions, (10_000, functions, 1))
    drawn = rng.integers(0, seeds, (10_000, functions, seeds))
    means = np.median(logs[picked, drawn], axis=2).mean(1)
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    return Estimate(float(np.exp(np.median(logs, axis=1).mean())), low, high)


def answers(results: Results) -> str:
    """Return the answers to both questions, in words."""
    ratios, seconds, epochs = results.error_ratios, results.seconds, results.epochs
    whole = overall(ratios[:, :, -1])
    took = overall(seconds[:, :, GRU, -1] / seconds[:, :, DENSE, -1])
    first = {
        "GRU": "yes. Over all functions the recurrent network approximates better.",
        "dense": "no. Over all functions the dense network approximates better.",
        "open": "not decided. Over all functions neither network is reliably better.",
    }[whole.better]
    counts = []
    for key, title in (
        ("GRU", "the GRU is better with every seed"),
        ("dense", "the dense network is better with every seed"),
        ("open", "the seeds disagree"),
    ):
        names = [
            function
            for function, own in zip(results.functions, ratios[:, :, -1].T, strict=True)
            if median(own).better == key
        ]
        listed = f" ({', '.join(names)})" if names else ""
        counts.append(f"{title} on {len(names)}{listed}")
    course = (f"{n}: {overall(ratios[:, :, i])}" for i, n in enumerate(epochs))
    return (
        f"**RQ1: {first}** After {epochs[-1]} epochs, of {len(results.functions)} "
        f"functions: {', '.join(counts)}.\n\n"
        f"**RQ2, accuracy:** the dense network's error is {whole} times the GRU's. By "
        f"epochs: {', '.join(course)}.\n\n"
        f"**RQ2, training time:** an epoch of the GRU takes {took} times as long as "
        f"one of the dense network. {at_equal_time(results)}\n\n"
        "Ratios are geometric means over the functions of medians over the seeds, with "
        "bootstrap intervals of 95 % over both.\n\n"
    )


def at_equal_time(results: Results) -> str:
    """Compare the GRU, where first looked at, with the dense network in that time."""
    middle = np.median(results.seconds, axis=0)
    affordable = (middle[:, DENSE] <= middle[:, GRU, :1]).sum(1) - 1  # by function
    if affordable.min() < 0:
        return "At no number of epochs in the tables has the dense one taken less time."
    dense = results.errors[:, np.arange(len(affordable)), DENSE, affordable]
    ratio = overall(dense / results.errors[:, :, GRU, 0])
    done = " or ".join(str(results.epochs[at]) for at in np.unique(affordable))
    winner = {"GRU": "the GRU", "dense": "the dense network", "open": "neither"}
    return (
        f"In the time of {results.epochs[0]} epochs of the GRU the dense network has "
        f"done {done} or more; its error is then {ratio} times the GRU's: better is "
        f"{winner[ratio.better]}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown; all columns but the first are of numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def report(results: Results) -> str:
    """Return answers and tables."""
    epochs, errors = results.epochs, results.errors
    rows, course = [], []
    for f, function in enumerate(results.functions):
        ratio = median(results.error_ratios[:, f, -1])
        seconds = np.median(results.seconds[:, f, :, -1], axis=0)
        row = [function, *(median(errors[:, f, k, -1]) for k in (GRU, DENSE)), ratio]
        row += [ratio.better, *(f"{value:.1f}" for value in seconds)]
        rows.append(row + [f"{rate:g}" for rate in results.rates[f]])
        middle = np.median(errors[:, f], axis=0).T.ravel()
        course.append([function, *(f"{value:.3g}" for value in middle)])
    marks = ["function", *(f"{kind}, {n}" for n in epochs for kind in NETWORKS)]
    header = ["function", *NETWORKS, "dense / GRU", "better"]
    header += [f"{kind}, {what}" for what in ("s", "rate") for kind in NETWORKS]
    sizes = [record["parameters"] for record in results.records]
    return (
        f"{answers(results)}"
        f"Test errors after {epochs[-1]} epochs in standard deviations of the function "
        f"(noise in training: {NOISE}), medians and ranges of {len(errors)} seeds; CPU "
        "seconds of training; learning rates:\n\n"
        f"{table(header, rows)}\n"
        "Median errors by epochs:\n\n"
        f"{table(marks, course)}\n"
        f"The GRU has {sizes[GRU]:,} parameters, the dense network {sizes[DENSE]:,} "
        f"({results.functions[0]}).\n\n"
        "![Errors by epochs](degann_errors.png)\n\n"
        "![Approximations](degann_curves.png)\n\n"
    ) + "".join(f"- {f}: {data.FUNCTIONS[f].formula}\n" for f in results.functions)


# --- Pictures -------------------------------------------------------------------------


def draw(
    title: str, results: Results, panel: Callable[[Any, int], None], path: Path
) -> None:
    """Draw a panel for every function, and name the lines above all."""
    functions = results.functions
    columns = min(4, len(functions))
    rows = math.ceil(len(functions) / columns)
    figure = figures.new_figure(max(2.9 * columns, 5.0), 2.5 * rows + 0.8)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, weight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for at, axes in enumerate(panels):
        if at < len(functions):
            panel(axes, at)
        else:
            axes.set_visible(False)
    names = panels[0].get_legend_handles_labels()
    style: dict[str, Any] = {"ncols": 3, "frameon": False, "fontsize": 8.5}
    figure.legend(*names, loc="outside upper right", **style)
    figures.write(figure, path)


def draw_errors(results: Results, path: Path) -> None:
    """Draw medians and ranges over the seeds by epochs."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    def panel(axes: Any, at: int) -> None:
        for kind, (name, colour) in enumerate(NETWORKS.items()):
            errors = results.errors[:, at, kind]
            low, high = errors.min(0), errors.max(0)
            axes.fill_between(results.epochs, low, high, alpha=0.15, lw=0, color=colour)
            middle = np.median(errors, 0)
            axes.plot(results.epochs, middle, "o-", ms=3.5, label=name, color=colour)
        axes.axhline(NOISE, color=figures.GREY, lw=0.8, ls=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(FixedLocator(results.epochs))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=12))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        figures.plain_axes(axes, results.functions[at], "", "epochs")

    title = "Test error by epochs: medians and ranges over the seeds; dotted: noise"
    draw(title, results, panel, path)


def draw_curves(results: Results, path: Path) -> None:
    """Draw what the first seed's networks make of the functions' first output."""

    def panel(axes: Any, at: int) -> None:
        function = results.functions[at]
        x, y = data.approximation(function, POINTS)
        x, y = x[:, 0], y[:, 0]
        axes.plot(x, y, color=figures.TRUTH, lw=4, alpha=0.25, label="truth")
        test = samples(function, seed=0)[2]
        for kind, (name, colour) in enumerate(NETWORKS.items()):
            record = results.records[at * len(NETWORKS) + kind]
            predicted = y.mean() + y.std() * np.array(record["predicted"])
            axes.plot(test.at, predicted, color=colour, lw=1.1, label=name)
        figures.plain_axes(axes, function, "", "x")
        axes.margins(x=0.02)

    title = f"Approximations after {results.epochs[-1]} epochs, first seed"
    draw(title, results, panel, path)


# --- Beside DEGANN and Keras ----------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """The same training by `grufast.degann`, or by DEGANN and Keras."""

    function: str
    network: str
    seed: int
    library: str
    epochs: int


@functools.cache
def tensorflow() -> Any:
    """Return TensorFlow, on one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def side_model(job: Side, outputs: int) -> Any:
    """Return a network with DEGANN's first weights and Adam, compiled."""
    dense = job.network == "dense"
    sizes = (WINDOW if dense else 1, [UNITS] * LAYERS, outputs)
    tanh = ["tanh"] * LAYERS + ["linear"] if dense else "tanh"
    how: Any = (SIDE_RATE, "Adam", "MeanSquaredError", [])
    if job.library == "grufast":
        kind = "DenseNet" if dense else "GRUNet"
        net = degann.IModel(*sizes, tanh, net_type=kind, seed=job.seed)
        net.compile(*how)
        return net.network
    # Keras draws as it likes: with its seed set it has one order of rows in all epochs.
    tf = tensorflow()
    keras = tf.keras
    if dense:
        theirs = importlib.import_module("degann.networks").IModel(*sizes, tanh)
        theirs.compile(*how)
        return theirs.network
    layers = keras.layers  # those of GRUNet in DEGANN's fork, which is on no index
    first = tf.random_uniform_initializer(-1, 1)
    own = {"kernel_initializer": first, "bias_initializer": first}
    more = [True] * (LAYERS - 1) + [False]
    hidden = [layers.GRU(UNITS, return_sequences=each, **own) for each in more]
    model = keras.Sequential([*hidden, layers.Dense(outputs, **own)])
    model.compile(keras.optimizers.Adam(SIDE_RATE), "mse")
    return model


def train_beside(job: Side) -> Record:
    """Return the smallest ``validation`` RMSE, ``cpu`` and ``clock`` s per epoch.

    The first epoch, in which Keras prepares, does not count.
    """
    gf.set_num_threads(1)
    training, validation, _ = samples(job.function, job.seed)
    x, held = training.x, validation.x
    if job.network == "dense":
        x, held = x[:, :, 0], held[:, :, 0]
    model = side_model(job, training.y.shape[1])
    ends: list[tuple[float, float]] = []
    library = gf if job.library == "grufast" else tensorflow().keras
    watch = library.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(
            (time.process_time(), time.perf_counter())
        )
    )
    history = model.fit(
        x,
        training.y,
        epochs=job.epochs,
        batch_size=BATCH,
        validation_data=(held, validation.y),
        callbacks=[watch],
        verbose=0,
        **({"seed": job.seed} if library is gf else {}),
    )
    cpu, clock = np.median(np.diff(ends, axis=0), axis=0)
    error = math.sqrt(min(history.history["val_loss"]))
    return {"validation": error, "cpu": cpu, "clock": clock}


def beside(functions: Sequence[str], seeds: int, epochs: int, path: Path) -> str:
    """Train in both libraries in turn; return the table."""
    jobs = [
        Side(function, kind, seed, library, epochs)
        for seed in range(seeds)
        for function in functions
        for kind in NETWORKS
        for library in LIBRARIES
    ]
    records = train_all("beside", jobs, train_beside, path)
    shape = seeds, len(functions), len(NETWORKS), len(LIBRARIES)
    errors, cpu, clock = (
        np.reshape([record[name] for record in records], shape)
        for name in ("validation", "cpu", "clock")
    )
    faster, sooner = (times[..., 1] / times[..., 0] for times in (cpu, clock))
    rows = []
    for at in np.ndindex(len(functions), len(NETWORKS)):
        here = (slice(None), *at)
        row = [f"{functions[at[0]]}, {list(NETWORKS)[at[1]]}"]
        row += map(str, map(median, errors[here].T))
        row += [f"{1e3 * value:.3g}" for value in np.median(cpu[here], axis=0)]
        rows.append([*row, median(faster[here]), median(sooner[here])])
    header = [f"{name}, {what}" for what in ("error", "ms") for name in LIBRARIES]
    header = ["function, network", *header, "CPU time, times", "clock, times"]
    return (
        f"Smallest validation errors (RMSE) in {epochs} epochs at a learning rate of "
        f"{SIDE_RATE}; CPU time of an epoch with validation, and by what the other "
        f"library's is longer; medians and ranges of {seeds} seeds:\n\n"
        f"{table(header, rows)}"
    )


# --- The command ----------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    known = [name for name, one in data.FUNCTIONS.items() if one.inputs == 1]
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="See the top of this file."
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("build/degann_experiment"))
    add(
        "--epochs",
        type=int,
        nargs="+",
        default=[100, 200, 500, 1000],
        help="where to look at each run; the last is where it ends",
    )
    add("--seeds", type=int, default=SEEDS)
    add("--functions", nargs="+", choices=known, default=FUNCTIONS, metavar="NAME")
    add("--keras", action="store_true", help="compare with DEGANN and Keras instead")
    given = parser.parse_args(arguments)
    epochs = tuple(sorted(set(given.epochs)))
    if min(*epochs, given.seeds) < 1:
        parser.error("--epochs, --seeds: at least 1")
    for name in given.functions:
        samples(name, 0)  # what is missing for it is missing now, not minutes later
    given.out.mkdir(parents=True, exist_ok=True)
    if given.keras:
        path = given.out / "keras.jsonl"
        page = beside(given.functions, given.seeds, epochs[-1], path)
        (given.out / "keras.md").write_text(page, encoding="utf-8")
    else:
        figures.require_matplotlib()
        path = given.out / "runs.jsonl"
        results = experiment(given.functions, given.seeds, epochs, path)
        page = report(results)
        (given.out / "results.md").write_text(page, encoding="utf-8")
        draw_errors(results, given.out / "degann_errors.png")
        draw_curves(results, given.out / "degann_curves.png")
    print(f"\n{page}\nwrote {given.out}")


if __name__ == "__main__":
    main()
