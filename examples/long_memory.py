"""Why gates exist: how far back Elman, LSTM and GRU layers can learn.

    python examples/long_memory.py --out build/long_memory

trains each of them on two problems in which the answer depends on inputs from long ago,
with longer and longer sequences, and writes a report with tables and pictures.

The adding problem (Hochreiter and Schmidhuber 1997; in this form Le et al. 2015, arXiv
1504.00941): every step has a value from [0, 1) and a marker. One step of the first half
and one of the second are marked; the target is the sum of their values. Always
answering 1 has a mean squared error of 1/6.

Copy memory (Arjovsky et al. 2016, arXiv 1511.06464): ten symbols, each one of eight,
are followed by T - 1 blanks, a sign to begin, and ten more blanks, during which the
symbols are to be repeated. Guessing has a mean cross-entropy of 10 ln 8 / (T + 20).

How far the last output depends on the state after step t is measured on its way through
backpropagation, as the norm of that gradient.

Every training is a process of its own with one thread. `docs/long_memory.md` says what
came out.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import grufast as gf
from grufast import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
Task = Literal["adding", "copy"]

CELLS: dict[str, Any] = {
    "Elman": gf.layers.SimpleRNN,
    "LSTM": gf.layers.LSTM,
    "GRU": gf.layers.GRU,
}
COLOURS = {"Elman": figures.THIRD, "LSTM": figures.SECOND, "GRU": figures.MAIN}

ROWS = 32  # of a batch
UNITS = {"adding": 64, "copy": 128}
UPDATES = {"adding": 3000, "copy": 4000}
LENGTHS = {"adding": (50, 100, 200, 400), "copy": (10, 30, 100)}
QUICK_UPDATES = {"adding": 1500, "copy": 1500}
QUICK_LENGTHS = {"adding": (50, 100), "copy": (10,)}
LEARNING_RATES = {"Elman": 1e-3, "LSTM": 5e-3, "GRU": 5e-3}
LARGEST_NORM = 1.0
POINTS = 25  # of a learning curve
GRADIENT_LENGTH = 200  # the longest adding problem whose gradients are drawn
SOLVED = 1e-3
SYMBOLS, ALPHABET = 10, 8
BLANK, BEGIN = 0, ALPHABET + 1
POWERS = (0.5, 0.9, 1.1, 1.5)
POWER_STEPS = 128


# The problems


def adding_batch(
    rng: np.random.Generator, rows: int, length: int
) -> tuple[Floats, Floats]:
    """Return inputs (N, T, 2), values and markers, and sums (N, 1)."""
    x = np.zeros((rows, length, 2), np.float32)
    x[:, :, 0] = rng.random((rows, length), np.float32)
    row = np.arange(rows)
    first = rng.integers(0, length // 2, rows)
    second = rng.integers(length // 2, length, rows)
    x[row, first, 1] = x[row, second, 1] = 1
    return x, (x[row, first, 0] + x[row, second, 0])[:, None]


def copy_batch(
    rng: np.random.Generator, rows: int, delay: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Return inputs (N, T + 20, 10), one-hot, and classes (N, T + 20)."""
    symbols = rng.integers(1, ALPHABET + 1, (rows, SYMBOLS))
    shown = np.full((rows, delay + 2 * SYMBOLS), BLANK)
    shown[:, :SYMBOLS] = symbols
    shown[:, SYMBOLS + delay - 1] = BEGIN
    wanted = np.full_like(shown, BLANK)
    wanted[:, -SYMBOLS:] = symbols
    return np.eye(ALPHABET + 2, dtype=np.float32)[shown], wanted


def recalled(y_true: NDArray[Any], y_pred: NDArray[Any]) -> float:
    """Return the part of the symbols that are repeated rightly."""
    hits = y_pred[:, -SYMBOLS:].argmax(axis=-1) == y_true[:, -SYMBOLS:]
    return float(hits.mean())


def copy_baseline(delay: int) -> float:
    """Return the cross-entropy of knowing when to speak, and guessing what."""
    return SYMBOLS * math.log(ALPHABET) / (delay + 2 * SYMBOLS)


# Training


@dataclass(frozen=True)
class Job:
    """One training: a cell on a problem of a length."""

    task: Task
    cell: str
    length: int
    updates: int
    gradients: bool
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it: scores on held-out sequences after some of the updates.

    The score is the mean squared error (adding) or the part recalled (copy). Seconds
    are of CPU time. `norms` are those of `gradient_norms` before and after training.
    """

    job: Job
    updates: list[int]
    scores: list[float]
    seconds: list[float]
    loss: float
    baseline: float
    norms: tuple[NDArray[Any], NDArray[Any]] | None

    @property
    def solved(self) -> int | None:
        """Index of the first score with an error below `SOLVED`."""
        return next((i for i, s in enumerate(self.scores) if s < SOLVED), None)


def make_model(job: Job) -> gf.Sequential:
    """Return the cell under a dense layer."""
    recurrent = CELLS[job.cell](UNITS[job.task], return_sequences=job.task == "copy")
    dense = gf.layers.Dense(1 if job.task == "adding" else ALPHABET + 1)
    return gf.Sequential([recurrent, dense], seed=job.seed)


class LateFall(gf.schedules.Schedule):
    """A rate that falls to a fiftieth over the last two fifths of the updates."""

    def __init__(self, rate: float, updates: int) -> None:
        self.rate, self.updates = rate, updates

    def __call__(self, step: int) -> float:
        """Return the rate after `step` updates."""
        left = (self.updates - step - 1) / (0.4 * self.updates)
        return self.rate * min(1.0, max(0.02, left))


def train(job: Job) -> Outcome:
    """Train on new sequences in every update."""
    loss: gf.losses.Loss
    score: Callable[[Any, Any], float]
    make: Callable[[np.random.Generator, int, int], tuple[Any, Any]]
    if job.task == "adding":
        loss, make, score, held_out = gf.losses.mse, adding_batch, gf.losses.mse, 1000
    else:
        loss = gf.losses.SparseCategoricalCrossentropy(from_logits=True)
        make, score, held_out = copy_batch, recalled, 400
    rng = np.random.Generator(np.random.Philox(job.seed))
    x_test, y_test = make(rng, held_out, job.length)
    model = make_model(job)
    model.build(x_test.shape)
    rate = LateFall(LEARNING_RATES[job.cell], job.updates)
    optimizer = gf.optimizers.Adam(rate, global_clipnorm=LARGEST_NORM)
    before = gradient_norms(model, x_test) if job.gradients else None

    updates, scores, seconds = [], [], []
    every = max(1, job.updates // POINTS)
    start = time.process_time()
    for update in range(1, job.updates + 1):
        x, y = make(rng, ROWS, job.length)
        y_pred, context = model.forward(x)
        _, grads = model.backward(loss.gradient(y, y_pred), context)
        optimizer.update(model, grads)
        if update % every == 0 or update == job.updates:
            updates.append(update)
            scores.append(float(score(y_test, model.predict(x_test))))
            seconds.append(time.process_time() - start)

    return Outcome(
        job,
        updates,
        scores,
        seconds,
        float(loss(y_test, model.predict(x_test))),
        float(np.var(y_test)) if job.task == "adding" else copy_baseline(job.length),
        None if before is None else (before, gradient_norms(model, x_test)),
    )


# Gradients


def gradient_norms(
    model: gf.Sequential, x: NDArray[Any], rows: int = 64
) -> NDArray[Any]:
    """Return how the last output depends on the states after steps 0 to T.

    Parameters
    ----------
    model : Sequential
        A recurrent layer that returns its last state, and a dense layer.
    x : ndarray (N, T, C)
        Sequences.
    rows : int
        How many of them to take.

    Returns
    -------
    norms : float64 (T + 1,)
        Medians over sequences of the norm of d y / d h_t, of an LSTM d y / d (h_t,
        c_t), over that of d y / d h_T. In double precision, where 1e-300 is not zero.
    """
    recurrent, dense = model.layers
    config = {**recurrent.config, "dtype": "float64", "return_state": True}
    layer: Any = type(recurrent)(**config)
    layer.build(x.shape[-1])
    layer.set_weights({k: w.astype(float) for k, w in recurrent.weights.items()})
    x = x[:rows].astype(float)

    # One step a call: backward then says the gradient for every state on its way.
    states: Any = np.zeros((len(x), layer.units))
    if len(layer.states) > 1:
        states = tuple(states for _ in layer.states)
    contexts = []
    for t in range(x.shape[1]):
        (_, *after), context = layer.forward(x[:, t : t + 1], states)
        states = tuple(after) if len(after) > 1 else after[0]
        contexts.append(context)
    last = np.repeat(dense.weights["weight"].astype(float), len(x), axis=0)
    gradients: tuple[Any, ...] = (last, *[None] * (len(layer.states) - 1))
    norms = [norm_of_rows([last])]
    for context in reversed(contexts):
        _, grads = layer.backward((None, *gradients), context)
        first = grads["initial_state"]
        gradients = first if isinstance(first, tuple) else (first,)
        norms.append(norm_of_rows(gradients))
    medians: NDArray[Any] = np.median(np.array(norms[::-1]) / norms[0], axis=1)
    return medians


def norm_of_rows(parts: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return the Euclidean norm of each row (N,) of arrays side by side."""
    norms: NDArray[Any] = np.linalg.norm(np.hstack([*parts]), axis=1)
    return norms


def power_by_backward(w: float, steps: int) -> float:
    """Return d h_T / d h_0 of h_t = w h_(t-1), which is w to the power of T."""
    layer = gf.layers.SimpleRNN(1, activation="linear", dtype="float64")
    layer.build(1)
    layer.set_weights({**layer.weights, "weight_hh": np.array([[w]])})
    x, h_0 = np.zeros((1, steps, 1)), np.ones((1, 1))
    _, context = layer.forward(x, h_0)
    _, grads = layer.backward(np.ones((1, 1)), context)
    return float(grads["initial_state"][0, 0])


# Pictures


def new_figure(title: str, height: float) -> Figure:
    """Return a figure with a title, of a size for a page."""
    figure = figures.new_figure(8.6, height)
    figure.suptitle(
        title, x=0.012, ha="left", fontsize=13, color=figures.INK, weight="bold"
    )
    return figure


def curves_figure(title: str, outcomes: Sequence[Outcome]) -> Figure:
    """Draw the learning curves of one problem, a panel for each length."""
    task = outcomes[0].job.task
    lengths = sorted({o.job.length for o in outcomes})
    figure = new_figure(title, 3.2)
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, length in zip(panels, lengths, strict=True):
        for o in outcomes:
            if o.job.length == length:
                style = {"color": COLOURS[o.job.cell], "lw": 1.8, "label": o.job.cell}
                axes.plot(o.updates, o.scores, **style)
        label = "" if axes is not panels[0] else SCORES[task]
        figures.plain_axes(axes, f"T = {length}", label, "updates")
        axes.locator_params(axis="x", integer=True, nbins=4)
    first = panels[0]
    if task == "adding":
        first.set_yscale("log")
        rule(panels, 1 / 6, "always 1: 1/6")
        rule(panels, SOLVED, f"{SOLVED:g}")
    else:
        first.set_ylim(0, 1.05)
        rule(panels, 1 / ALPHABET, "guessing: 1/8", lift=-3)
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        frameon=False,
        fontsize=9.5,
    )
    return figure


SCORES = {"adding": "mean squared error", "copy": "symbols recalled"}


def rule(panels: Iterable[Axes], height: float, text: str, lift: float = 3) -> None:
    """Draw a dashed line through panels, with a word above or below in the first."""
    for index, axes in enumerate(panels):
        axes.axhline(height, color=figures.GREY, lw=0.9, ls=(0, (3, 2)), zorder=1)
        if index == 0:
            axes.annotate(
                text,
                (1, height),
                xycoords=("axes fraction", "data"),
                xytext=(0, lift),
                textcoords="offset points",
                ha="right",
                va="bottom" if lift > 0 else "top",
                fontsize=8.5,
                color=figures.GREY,
            )


def gradients_figure(
    title: str, before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]
) -> Figure:
    """Draw the norms of gradients (T + 1,) of each cell over time."""
    figure = new_figure(title, 3.8)
    panels = figure.subplots(1, 2, sharey=True)
    names = ("With the first weights", "After training")
    for axes, name, norms in zip(panels, names, (before, after), strict=True):
        for cell, values in norms.items():
            plain = cell in COLOURS
            axes.plot(
                values,
                color=COLOURS.get(cell, figures.FOURTH),
                lw=2.0 if plain else 1.5,
                ls="-" if plain else (0, (3, 1.5)),
                label=cell,
            )
        figures.plain_axes(axes, name, "", "step t of the state")
        axes.set_yscale("log")
        axes.margins(x=0.01)
        figures.legend(axes, loc="lower right")
    panels[0].set_ylabel("gradient, over that at the end", fontsize=9)
    return figure


# The report


def adding_table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the rows of a Markdown table."""
    lines = [
        "| T | cell | MSE at the end | of always the mean | below 0.001 after | time |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for o in outcomes:
        at = o.solved
        reached = "never"
        if at is not None:
            reached = f"{o.updates[at]} updates, {o.seconds[at]:.0f} s"
        lines.append(
            f"| {o.job.length} | {o.job.cell} | {o.scores[-1]:.3g} | {o.baseline:.3f} "
            f"| {reached} | {o.seconds[-1]:.0f} s |"
        )
    return lines


def copy_table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the rows of a Markdown table."""
    lines = [
        "| T | cell | symbols recalled | cross-entropy | of guessing | time |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for o in outcomes:
        lines.append(
            f"| {o.job.length} | {o.job.cell} | {100 * o.scores[-1]:.1f} % "
            f"| {o.loss:.4f} | {o.baseline:.4f} | {o.seconds[-1]:.0f} s |"
        )
    return lines


def power_table() -> list[str]:
    """Return the rows of a Markdown table."""
    lines = ["| w | gradient by backward | w ** 128 |", "|---:|---:|---:|"]
    for w in POWERS:
        value = power_by_backward(w, POWER_STEPS)
        lines.append(f"| {w} | {value:.3g} | {w**POWER_STEPS:.3g} |")
    return lines


def gradient_table(norms: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> list[str]:
    """Return the rows of a Markdown table: what is left at the first state."""
    lines = ["| cell | first weights | after training |", "|---|---:|---:|"]
    for cell, (before, after) in norms.items():
        lines.append(f"| {cell} | {before[0]:.2g} | {after[0]:.2g} |")
    return lines


def jobs_of(quick: bool, steps: int | None) -> list[Job]:
    """Return all trainings, the longest first."""
    lengths = QUICK_LENGTHS if quick else LENGTHS
    updates = QUICK_UPDATES if quick else UPDATES
    drawn = max(t for t in lengths["adding"] if t <= GRADIENT_LENGTH)
    tasks: tuple[Task, ...] = ("adding", "copy")
    jobs = [
        Job(task, cell, t, steps or updates[task], task == "adding" and t == drawn)
        for task in tasks
        for t in lengths[task]
        for cell in CELLS
    ]
    weight = {"Elman": 1, "LSTM": 4, "GRU": 3}
    return sorted(jobs, key=lambda j: -j.length * weight[j.cell] * UNITS[j.task])


def run(jobs: Sequence[Job], processes: int) -> list[Outcome]:
    """Train in processes of one thread each; say what has ended."""
    spawn = multiprocessing.get_context("spawn")
    outcomes = []
    with ProcessPoolExecutor(processes, spawn, gf.set_num_threads, (1,)) as pool:
        for o in pool.map(train, jobs):
            name = f"{o.job.task}, T = {o.job.length}, {o.job.cell}"
            print(f"{name:<26} {o.scores[-1]:8.2g} {o.seconds[-1]:6.0f} s", flush=True)
            outcomes.append(o)
    order = list(CELLS)
    return sorted(outcomes, key=lambda o: (o.job.length, order.index(o.job.cell)))


def uniform_norms(job: Job) -> NDArray[Any]:
    """Return `gradient_norms` of an Elman layer with small uniform first weights."""
    rng = np.random.Generator(np.random.Philox(job.seed))
    x, _ = adding_batch(rng, 64, job.length)
    layer = gf.layers.SimpleRNN(UNITS["adding"], initializer="torch")
    model = gf.Sequential([layer, gf.layers.Dense(1)], seed=job.seed)
    model.build(x.shape)
    return gradient_norms(model, x)


def write_report(out: Path, outcomes: Sequence[Outcome], seconds: float) -> None:
    """Write report.md and its pictures into a folder."""
    adding = [o for o in outcomes if o.job.task == "adding"]
    copying = [o for o in outcomes if o.job.task == "copy"]
    norms = {o.job.cell: o.norms for o in adding if o.norms is not None}
    drawn = next(o.job for o in adding if o.norms is not None)
    before = {cell: pair[0] for cell, pair in norms.items()}
    before["Elman, uniform weights"] = uniform_norms(drawn)
    after = {cell: pair[1] for cell, pair in norms.items()}

    title = "Adding problem: error on held-out sequences"
    figures.write(curves_figure(title, adding), out / "long_memory_adding.png")
    title = "Copy memory: symbols recalled after T steps"
    figures.write(curves_figure(title, copying), out / "long_memory_copy.png")
    title = f"Gradient of the output for the state after step t, T = {drawn.length}"
    picture = gradients_figure(title, before, after)
    figures.write(picture, out / "long_memory_gradients.png")
    lines = [
        "# Long memory",
        "",
        f"All of it took {seconds / 60:.1f} minutes. Times below are CPU time.",
        "",
        f"## w to the power of {POWER_STEPS}",
        "",
        *power_table(),
        "",
        "## Adding problem",
        "",
        *adding_table(adding),
        "",
        "![Errors by update](long_memory_adding.png)",
        "",
        "## Copy memory",
        "",
        *copy_table(copying),
        "",
        "![Symbols recalled by update](long_memory_copy.png)",
        "",
        "## Gradients",
        "",
        f"Norm at the first of {drawn.length} steps, over that at the last:",
        "",
        *gradient_table(norms),
        "",
        "![Norms of gradients over time](long_memory_gradients.png)",
        "",
    ]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def positive(text: str) -> int:
    """Return a number from 1 on, for argparse."""
    value = int(text)
    if value < 1:
        message = f"{text}: expected 1 or more"
        raise argparse.ArgumentTypeError(message)
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description="Elman, LSTM and GRU on problems with long memory."
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("build/long_memory"), help="folder to write")
    add("--quick", action="store_true", help="short sequences, about half a minute")
    add("--steps", type=positive, help="updates of each training")
    add("--processes", type=positive, default=2, help="trainings at a time")
    options = parser.parse_args(arguments)
    figures.require_matplotlib()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    outcomes = run(jobs_of(options.quick, options.steps), options.processes)
    write_report(options.out, outcomes, time.perf_counter() - start)
    print(f"{options.out / 'report.md'}")


if __name__ == "__main__":
    main()
