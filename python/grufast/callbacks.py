"""Callbacks: what happens beside training, at Keras's hooks."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from grufast import _checks, figures
from grufast._checks import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Callback",
    "EarlyStopping",
    "EpochLog",
    "History",
    "ModelCheckpoint",
    "Plot",
    "ProgressBar",
]

Logs = Mapping[str, float]
Mode = Literal["auto", "min", "max"]


class TrainedModel(Protocol):
    """What callbacks ask of a model."""

    stop_training: bool

    def get_weights(self) -> dict[str, Array]:
        """Return copies."""

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy in."""

    def predict(self, x: Array) -> Array:
        """Return the output."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file."""


class Callback:
    """Does something during `Sequential.fit`; subclass it and override hooks.

    ``self.model`` is the model; setting ``self.model.stop_training = True`` ends
    training after the epoch. ``self.params`` has ``"epochs"`` and ``"steps"`` (batches
    in an epoch). `logs` has ``"loss"`` and the metrics' names, as means over the epoch
    so far, and at an epoch's end also ``"val_loss"`` and so on. Epochs and batches
    count from 0.

    Examples
    --------
    >>> import grufast as gf
    >>> class Halve(gf.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.model.optimizer.learning_rate /= 2
    """

    model: Any = None
    params: Mapping[str, int]

    def set_model(self, model: TrainedModel) -> None:
        """Take the model that is about to be trained."""
        self.model = model

    def set_params(self, params: Mapping[str, int]) -> None:
        """Take the sizes of the training to come."""
        self.params = params

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also when an exception such as Ctrl-C ended it."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a batch and its update."""


class CallbackList:
    """Calls the hooks of many callbacks, and those of a batch only where there are."""

    def __init__(
        self,
        callbacks: Iterable[Callback],
        model: TrainedModel,
        params: Mapping[str, int],
    ) -> None:
        self._callbacks = list(callbacks)
        for callback in self._callbacks:
            callback.set_params(params)
            callback.set_model(model)
        self.batch_begin = self._overriding("on_train_batch_begin")
        self.batch_end = self._overriding("on_train_batch_end")

    def _overriding(self, hook: str) -> list[Callable[[int, Logs], None]]:
        return [
            getattr(callback, hook)
            for callback in self._callbacks
            if getattr(type(callback), hook) is not getattr(Callback, hook)
        ]

    def __call__(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks, in order."""
        for callback in self._callbacks:
            getattr(callback, hook)(*arguments)


class History(Callback):
    """What `Sequential.fit` returns: the logs of every epoch.

    Attributes
    ----------
    history : dict of str to list of float
        ``"loss"``, ``"val_loss"`` and the metrics, a value an epoch.
    epoch : list of int
        The epochs' numbers, from 0 or ``initial_epoch``.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the logs."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


class _Monitor:
    """Knows whether a monitored number is the best so far."""

    def __init__(self, name: str, mode: Mode, min_delta: float) -> None:
        self.name = name
        mode = _checks.choice("mode", mode, ("auto", "min", "max"))
        if mode == "auto":
            mode = "max" if name.endswith(("acc", "accuracy", "auc", "r2")) else "min"
        self._sign = -1 if mode == "max" else 1
        self._min_delta = min_delta
        self._best = math.inf

    def improves(self, logs: Logs) -> bool:
        """Compare with the best so far, and take its place if better; NaN never is."""
        if self.name not in logs:
            hint = "; pass validation data to fit" * self.name.startswith("val_")
            message = f"monitor: no {self.name!r} among {list(logs)}{hint}"
            raise ValueError(message)
        value = self._sign * logs[self.name]
        if not value < self._best - self._min_delta:
            return False
        self._best = value
        return True


class EarlyStopping(Callback):
    """Stops training when a number has stopped improving.

    Parameters
    ----------
    monitor : str
        Which of the logs to watch.
    min_delta : float
        A change of less is no improvement.
    patience : int
        Training stops after so many epochs without improvement.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" is "max" for names that end in
        "acc", "accuracy", "auc" or "r2".
    restore_best_weights : bool
        Whether the model ends with the weights of its best epoch, however training
        ended.

    Attributes
    ----------
    best_epoch : int
        Epoch of the best value.
    stopped_epoch : int or None
        Epoch after which training was stopped.

    Examples
    --------
    >>> import grufast as gf
    >>> stop = gf.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        min_delta: float = 0.0,
        patience: int = 0,
        mode: Mode = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        self.monitor = monitor
        self.min_delta = _checks.real("min_delta", min_delta)
        self.patience = _checks.integer("patience", patience, 0)
        self.mode = mode
        self.restore_best_weights = _checks.flag(
            "restore_best_weights", restore_best_weights
        )
        self._reset()

    def _reset(self) -> None:
        self._monitor = _Monitor(self.monitor, self.mode, self.min_delta)
        self._best_weights: dict[str, Array] | None = None
        self._wait = 0
        self.best_epoch = 0
        self.stopped_epoch: int | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Forget earlier trainings."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and stop training when patience is over."""
        if self._monitor.improves(logs):
            self._wait = 0
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
            return
        self._wait += 1
        if self._wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights, if asked to."""
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)


class ModelCheckpoint(Callback):
    """Saves the model after every epoch, or after every best one so far.

    Parameters
    ----------
    path : str or path
        Of the file, which is replaced atomically. It may name fields such as
        ``"model-{epoch:03d}-{val_loss:.4f}.safetensors"``; `epoch` counts from 1 there.
    monitor : str
        Which of the logs to watch, with `save_best_only`.
    save_best_only : bool
        Whether to save only epochs that are the best so far.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.

    Examples
    --------
    >>> import grufast as gf
    >>> keep = gf.callbacks.ModelCheckpoint("best.safetensors", save_best_only=True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode = "auto",
    ) -> None:
        self.path = os.fspath(path)
        self.monitor = monitor
        self.mode = mode
        self.save_best_only = _checks.flag("save_best_only", save_best_only)
        self._monitor = _Monitor(monitor, mode, 0.0)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save the model."""
        if not self.save_best_only or self._monitor.improves(logs):
            self.model.save(self.path.format(epoch=epoch + 1, **logs))


def _summary(logs: Logs) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in logs.items())


_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class ProgressBar(Callback):
    """A tqdm bar over the whole training, with the current losses; on stderr.

    `Sequential.fit` adds one by itself on a terminal.
    """

    _bar: Any = None

    def on_train_begin(self, logs: Logs) -> None:
        """Show the bar."""
        from tqdm import tqdm

        size = shutil.get_terminal_size()  # 80 x 24 for a terminal that says 0 x 0
        self._bar = tqdm(
            total=self.params["epochs"] * self.params["steps"],
            bar_format=_BAR,
            ncols=size.columns,
            nrows=size.lines,
        )
        self._logs: Logs = {}

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Show which epoch it is."""
        epochs = self.params["epochs"]
        self._bar.set_description_str(f"epoch {epoch + 1}/{epochs}", refresh=False)
        self._bar.update(epoch * self.params["steps"] - self._bar.n)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Show the losses."""
        self._bar.set_postfix_str(_summary(logs), refresh=False)

    def on_train_end(self, logs: Logs) -> None:
        """Leave the bar where it is."""
        if self._bar is not None:
            self._bar.close()


class EpochLog(Callback):
    """A line an epoch on standard output: `Sequential.fit` with ``verbose=2``."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line."""
        seconds = time.perf_counter() - self._start
        count = f"epoch {epoch + 1}/{self.params['epochs']}"
        sys.stdout.write(f"{count}: {seconds:.3f} s, {_summary(logs)}\n")
        sys.stdout.flush()


class Plot(Callback):
    """Draws the training's course into a picture, during training.

    The upper half has the losses; given `x` and `y`, the lower half has the model's
    predictions for `x` against `y`: the first output of the first step, over the rows.

    Parameters
    ----------
    path : str or path
        Of the picture, which is replaced atomically; the ending names the format, PNG
        without one.
    x, y : ndarray, optional
        What to predict and the truth.
    every : int
        Draw after so many epochs, and at the end.

    Raises
    ------
    ImportError
        Without matplotlib, which ``pip install "grufast[plot]"`` brings.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Array | None = None,
        y: Array | None = None,
        *,
        every: int = 10,
    ) -> None:
        figures.require_matplotlib()
        if (x is None) != (y is None):
            message = "x, y: expected both or neither"
            raise ValueError(message)
        self.path = os.fspath(path)
        self.x = x
        self.y = y
        self.every = _checks.integer("every", every, 1)
        self._history = History()

    def on_train_begin(self, logs: Logs) -> None:
        """Start new curves."""
        self._history = History()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Draw, every so often."""
        self._history.on_epoch_end(epoch, logs)
        if (epoch + 1) % self.every == 0:
            self._draw()

    def on_train_end(self, logs: Logs) -> None:
        """Draw the end state."""
        if self._history.epoch:
            self._draw()

    def _draw(self) -> None:
        figure = figures.new_figure(8, 3.6 if self.x is None else 6.4)
        panels = figure.subplots(1 if self.x is None else 2, squeeze=False)[:, 0]
        _draw_losses(panels[0], self._history)
        if self.x is not None and self.y is not None:
            _draw_predictions(panels[1], self.y, self.model.predict(self.x))
        figures.write(figure, self.path)


def _draw_losses(axes: Axes, history: History) -> None:
    epochs = [epoch + 1 for epoch in history.epoch]
    title = ""
    for name, label, color in (
        ("loss", "training", figures.FOURTH),
        ("val_loss", "validation", figures.SECOND),
    ):
        if name not in history.history:
            continue
        values = history.history[name]
        axes.plot(epochs, values, color=color, label=label, lw=1.6)
        finite = [value if math.isfinite(value) else math.inf for value in values]
        best = min(range(len(values)), key=finite.__getitem__)
        axes.plot(epochs[best], values[best], "o", color=color, ms=5)
        title = f"Loss (best {label} {values[best]:.3g} in epoch {epochs[best]})"
    if min(history.history["loss"]) > 0:
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True)
    _finish(axes, title, "epoch")


def _draw_predictions(axes: Axes, truth: Array, predicted: Array) -> None:
    for values, label, color, width, alpha in (
        (truth, "truth", figures.TRUTH, 2.6, 0.4),
        (predicted, "prediction", figures.MAIN, 1.3, 1.0),
    ):
        series = values.reshape(len(values), -1)[:, 0]
        axes.plot(series, color=color, label=label, lw=width, alpha=alpha)
    _finish(axes, "Predictions against the truth", "row")


def _finish(axes: Axes, title: str, xlabel: str) -> None:
    figures.plain_axes(axes, title, xlabel=xlabel)
    axes.margins(x=0.01)
    # Above the axes, where no curve can run through it.
    figures.legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
