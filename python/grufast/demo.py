"""``grufast demo``: two problems, two pictures, two models.

Sunspots since 1700 go through the forecasting task. The other problem, *hardsin*, is to
approximate f(x) = sin(ln(x^(sin 10x))) on (0, 2] from 1001 points; a log of a Keras GRU
of the same size, which learns f from x, is published with the fork Denigmma/degann.

The protocol for hardsin
------------------------
Windows of 10 consecutive values predict the next one. A random third of the 991 windows
is for validation, always on clean values; the others are trained on (in the published
run 1000 points, and half as many for validation), in two stages of one training of 500
epochs:

1. for 100 epochs the inputs carry Gaussian noise of 0.1 standard deviations of f, drawn
   once; the values to predict are clean;
2. for 400 epochs they are clean.

In each stage Adam's learning rate falls from 0.003 to zero along a cosine, and the
weights of the epoch that is best in validation are kept, so the figure reported has
been selected on the same points, as is usual for a validation loss.

The noise is taken away after the first stage because training on it aims elsewhere: the
predictor with the least squared error on inputs with that noise has an RMSE of about
0.0107 on clean ones (`noise_optimum` computes it). On clean windows least squares with
ten coefficients is better still than the network: this is a training to look at, not a
case for networks.

The published figure
--------------------
The log ends with a validation loss of 0.001459 and does not say which loss that is. It
is a mean squared error: the losses of the first epochs, 0.19, are the variance of f
(0.188), where a root would be 0.43. So the RMSE is 0.0382. Its windows hold ten x and
not ten f(x), and its training values are noisy to the end: what is compared is the same
network on the same function, with an easier problem here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grufast import data, figures, forecast
from grufast.callbacks import Callback, EarlyStopping
from grufast.data import Floats
from grufast.layers import GRU, Dense
from grufast.model import Sequential
from grufast.optimizers import Adam

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Say = Callable[[str], object]
Verbose = Literal["auto", 0, 1, 2]

PUBLISHED_MSE, PUBLISHED_EPOCHS, PUBLISHED_SECONDS = 0.001459, 500, 0.164
PUBLISHED_RMSE = PUBLISHED_MSE**0.5
WINDOW = 10
NOISE = 0.1


def run(
    out: Path,
    *,
    say: Say = print,
    verbose: Verbose = "auto",
    seed: int = 0,
    epochs: tuple[int, int] = (100, 400),
    sunspot_epochs: int = 50,
    seconds: float = 80.0,
) -> bool:
    """Train on both problems; leave pictures and models in a directory.

    Parameters
    ----------
    out : Path
        The directory, made if it is not there.
    say : callable
        Takes the report, piece by piece.
    verbose : {"auto", 0, 1, 2}
        For `Sequential.fit`.
    seed : int
        Of weights, noise and shuffling: same seed, same numbers.
    epochs : tuple of int
        Of the two stages of hardsin.
    sunspot_epochs : int
        At most, for the sunspots.
    seconds : float
        After so long hardsin is stopped, whatever it has reached; on a machine as slow
        as that the result depends on the clock.

    Returns
    -------
    bool
        Whether Ctrl-C ended it.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures.require_matplotlib()
    say("1. Sunspots since 1700: the next 11 years\n")
    if forecast.run(
        sunspots(seed, sunspot_epochs),
        plot=out / "sunspots.png",
        save=out / "sunspots.safetensors",
        out=out / "sunspots-forecast.csv",
        source="sunspots.csv",
        say=say,
        verbose=verbose,
    ):
        return True
    say(
        "\n2. hardsin: f(x) = sin(ln(x^(sin 10x))) on (0, 2], the next value from ten\n"
    )
    found = hardsin(
        out, seed=seed, epochs=epochs, seconds=seconds, say=say, verbose=verbose
    )
    say(f"\nwrote {out}/sunspots.png, {out}/hardsin.png and their models:")
    say(f"  grufast predict {out}/sunspots.safetensors YOUR.csv")
    return found


def sunspots(seed: int = 0, epochs: int = 50) -> forecast.Problem:
    """Return the sunspots as a forecasting problem, 11 years (a cycle) ahead."""
    source = resources.files("grufast") / "datasets" / "sunspots.csv"
    with resources.as_file(source) as path:
        table = data.read_csv(path)
    settings = forecast.Settings("sunspots", horizon=11, seed=seed, epochs=epochs)
    return forecast.prepare(table, settings)


# --- hardsin --------------------------------------------------------------------------


@dataclass(frozen=True)
class Hardsin:
    """The approximation problem.

    Attributes
    ----------
    x, y : float64 (1001,)
        The function.
    noisy : float64 (1001,)
        The function with noise.
    train, validation : int64 (N,)
        Windows, by the row of their first value.
    """

    x: Floats
    y: Floats
    noisy: Floats
    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    @classmethod
    def make(cls, seed: int = 0, points: int = 1001) -> Hardsin:
        """Draw noise and split."""
        x, y = data.hardsin(points)
        rng = np.random.default_rng(seed)
        order = rng.permutation(points - WINDOW)
        third = round(len(order) / 3)
        noise = NOISE * y.std() * rng.standard_normal(points)
        return cls(x, y, y + noise, np.sort(order[third:]), np.sort(order[:third]))

    def samples(
        self, rows: NDArray[np.int64], *, noisy: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return windows (N, 10, 1) and the clean values that follow (N, 1)."""
        values = self.noisy if noisy else self.y
        x = data.windows(values.astype("f4")[:, None], WINDOW)[rows]
        return x, self.y[rows + WINDOW, None].astype("f4")


def noise_optimum(problem: Hardsin) -> float:
    """Return the RMSE on clean windows of the optimal predictor for noisy ones.

    The mean of the next value given a window, under noise of `NOISE` standard
    deviations and every place of the grid alike.
    """
    every = data.windows(problem.y[:, None], WINDOW)[: len(problem.y) - WINDOW, :, 0]
    following = problem.y[WINDOW:]
    apart = ((every[problem.validation][:, None] - every[None]) ** 2).sum(-1)
    weight = np.exp(-apart / (2 * (NOISE * problem.y.std()) ** 2))
    mean = weight @ following / weight.sum(1)
    return float(np.sqrt(np.mean((mean - following[problem.validation]) ** 2)))


class _Deadline(Callback):
    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.passed = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if time.monotonic() > self.at:
            self.passed = self.model.stop_training = True


def hardsin(
    out: Path,
    *,
    seed: int,
    epochs: tuple[int, int],
    seconds: float,
    say: Say,
    verbose: Verbose,
) -> bool:
    """Train five GRU layers of 30 units on hardsin, compare with the published run.

    Returns whether Ctrl-C ended it.
    """
    problem = Hardsin.make(seed)
    stack = [GRU(30, return_sequences=i < 4) for i in range(5)]
    model = Sequential([*stack, Dense(1)], seed=seed)
    model.build((None, WINDOW, 1))
    model.compile(optimizer=Adam(3e-3), loss="mse")
    x_val, y_val = problem.samples(problem.validation)
    limit = noise_optimum(problem)
    say(
        f"train {len(problem.train)} windows, validation {len(problem.validation)}, "
        f"always clean; 5 GRU layers of 30 units, {model.count_params()} parameters; "
        f"Adam, batch 32"
    )
    done = forecast.Training()
    stages: list[Stage] = []
    deadline = _Deadline(seconds)

    def join(stage: forecast.Training) -> forecast.Training:
        """Put a stage after what has been done, as RMSE."""
        return forecast.Training(
            done.loss + [v**0.5 for v in stage.loss],
            done.val_loss + [v**0.5 for v in stage.val_loss],
            len(done.loss) + stage.best_epoch if stage.best_epoch else 0,
            done.seconds + stage.seconds,
            stage.interrupted,
        )

    def draw(stage: forecast.Training) -> None:
        figures.write(_picture(problem, model, join(stage)), out / "hardsin.png")

    redraw = forecast.Redraw(draw)
    for count, noisy in zip(epochs, (True, False), strict=True):
        redraw.history.clear()
        stage = forecast.run_fit(
            model,
            *problem.samples(problem.train, noisy=noisy),
            epochs=count,
            batch_size=32,
            validation_data=(x_val, y_val),
            seed=seed,
            verbose=verbose,
            callbacks=[
                forecast.Anneal(3e-3),
                EarlyStopping(patience=count, restore_best_weights=True),
                deadline,
                redraw,
            ],
        )
        if stage.best_epoch:
            done = join(stage)
            stages.append(Stage(len(stage.loss), done.val_loss[done.best_epoch - 1]))
        done.interrupted = stage.interrupted
        if stage.interrupted or deadline.passed:
            break
    if not done.best_epoch:
        raise KeyboardInterrupt(forecast.NOTHING_KEPT)
    figures.write(_picture(problem, model, done), out / "hardsin.png")
    rmse = stages[-1].rmse
    model.save(
        out / "hardsin.safetensors",
        metadata={"task": "hardsin", "validation_rmse": rmse, "seed": seed},
    )
    say("\n" + _table(stages, done.seconds / len(done.loss)))
    say(_remarks(problem, limit))
    if deadline.passed:
        say(f"(stopped after {done.seconds:.0f} s: this machine is slow today)")
    return done.interrupted


class Stage(NamedTuple):
    """A part of the training, and the error of the weights kept at its end."""

    epochs: int
    rmse: float


def _table(stages: list[Stage], seconds: float) -> str:
    names = ("grufast, noisy inputs", "  then clean inputs")
    rows = [(name, *stage) for name, stage in zip(names, stages, strict=False)]
    rows.append(("published, Keras GRU", PUBLISHED_EPOCHS, PUBLISHED_RMSE))
    lines = [f"  {'':<26}  {'epochs':>6}  {'s / epoch':>9}  {'validation RMSE':>15}"]
    for i, (name, epochs, rmse) in enumerate(rows):
        each = seconds if i < len(stages) else PUBLISHED_SECONDS
        lines.append(f"  {name:<26}  {epochs:>6}  {each:>9.4f}  {rmse:>15.6f}")
    return "\n".join(lines)


def _remarks(problem: Hardsin, limit: float) -> str:
    step = problem.y[problem.validation + WINDOW] - problem.y[problem.validation + 9]
    x, y = problem.samples(problem.train)
    x_val, y_val = problem.samples(problem.validation)
    fit = np.linalg.lstsq(x[:, :, 0].astype("f8"), y.astype("f8"))[0]
    linear = float(np.sqrt(np.mean((x_val[:, :, 0] @ fit - y_val) ** 2)))
    return "\n".join(
        (
            "The same: function, 1001 points, windows of 10, layers and units, Adam,",
            "batch 32. Not the same: its windows hold x and not f(x), which is harder,",
            "its points were drawn at random, the values to learn were noisy to the",
            "end, its candidate gate was a sigmoid, its machine is not stated. Its",
            f"RMSE is the root of the published mean squared error, {PUBLISHED_MSE}.",
            "For comparison:",
            f"  the optimal predictor for noisy inputs, on clean ones: {limit:.6f}",
            f"  least squares on clean inputs: {linear:.1e}",
            f"  repeating the last value: {float(np.sqrt(np.mean(step**2))):.6f}",
        )
    )


def _picture(problem: Hardsin, model: Sequential, done: forecast.Training) -> Figure:
    rows = problem.validation
    x, y = problem.samples(rows)
    predicted = model.predict(x)[:, 0].astype(np.float64)
    at = problem.x[rows + WINDOW]
    best = done.val_loss[done.best_epoch - 1] if done.best_epoch else np.nan
    return figures.approximation_figure(
        f"hardsin: sin(ln(x^(sin 10x))), validation RMSE {best:.6f}",
        figures.Line(problem.x, problem.y),
        figures.Line(problem.x, problem.noisy),
        figures.Line(at, predicted),
        np.abs(predicted - y[:, 0]),
        figures.Losses(done.loss, done.val_loss, done.best_epoch),
        PUBLISHED_RMSE,
    )


__all__: list[Any] = ["Hardsin", "hardsin", "noise_optimum", "run", "sunspots"]
