"""Callbacks: what happens beside training, at Keras's hooks."""

from __future__ import annotations

import csv
import inspect
import math
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TextIO

from grufast import _checks, figures, saving
from grufast._checks import Array

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "EpochLog",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "MeasureTime",
    "ModelCheckpoint",
    "Plot",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]

Logs = dict[str, float]
Mode = Literal["auto", "min", "max"]
SaveFreq = int | Literal["epoch"]


class TrainedModel(Protocol):
    """What callbacks ask of a model."""

    stop_training: bool

    @property
    def weights(self) -> dict[str, Array]:
        """Return read-only views."""

    def get_weights(self) -> dict[str, Array]:
        """Return copies."""

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy in."""

    def predict(self, x: Array) -> Any:
        """Return the output."""

    def save(
        self, filepath: str | os.PathLike[str], *, include_optimizer: bool = False
    ) -> None:
        """Write a file."""


class Callback:
    """Does something during `Sequential.fit`; subclass it and override hooks.

    ``self.model`` is the model; setting ``self.model.stop_training = True`` ends
    training after the batch or the epoch. ``self.params`` has ``"epochs"``, ``"steps"``
    (batches in an epoch; None if an iterable does not say) and ``"metrics"`` (the names
    that logs may have). `logs` has ``"loss"`` and the metrics' names, over the epoch so
    far, and at the end of an epoch with a validation also ``"val_loss"`` and so on.
    Epochs and batches count from 0.

    `Sequential.evaluate` and the validations of `fit` call the hooks of tests,
    `Sequential.predict` those of predictions. Methods ``on_batch_begin`` and
    ``on_batch_end``, as of old, are called as those of training's batches.

    Examples
    --------
    >>> import grufast as gf
    >>> class Halve(gf.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.model.optimizer.learning_rate /= 2
    """

    model: Any = None
    params: Mapping[str, Any] = MappingProxyType({})

    def set_model(self, model: TrainedModel) -> None:
        """Take the model that is about to be used."""
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the sizes of what is to come."""
        self.params = params

    def get_state(self) -> dict[str, Any]:
        """Return what `BackupAndRestore` is to keep: values of JSON's types, arrays."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, perhaps in an earlier process.

        It is called after `on_train_begin`. What cannot be a state raises a KeyError,
        TypeError or ValueError.
        """

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also when an exception such as Ctrl-C ended it."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation; `History` keeps what is added to logs."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a batch and its update."""

    def on_test_begin(self, logs: Logs) -> None:
        """Before an evaluation or a validation."""

    def on_test_end(self, logs: Logs) -> None:
        """After it; `logs` are its results."""

    def on_test_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs) -> None:
        """After it; `logs` are empty where all rows are scored together at the end."""

    def on_predict_begin(self, logs: Logs) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs) -> None:
        """After it."""

    def on_predict_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs) -> None:
        """After it."""


HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


class CallbackList:
    """Calls the hooks of many callbacks, and only those that do something."""

    def __init__(
        self,
        callbacks: Iterable[Callback],
        model: TrainedModel | None,
        params: Mapping[str, Any],
    ) -> None:
        callbacks = list(callbacks)
        for callback in callbacks:
            callback.set_params(params)
            if model is not None:
                callback.set_model(model)
        self._hooks: dict[str, list[Callable[..., object]]] = {
            hook: [own for own in (_own_hook(c, hook) for c in callbacks) if own]
            for hook in HOOKS
        }
        self.batch_begin = self._hooks["on_train_batch_begin"]
        self.batch_end = self._hooks["on_train_batch_end"]

    def __call__(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks, in order."""
        for function in self._hooks[hook]:
            function(*arguments)


def _own_hook(callback: Callback, hook: str) -> Any:
    """Return what a callback does at a hook; None if that is nothing."""
    own = getattr(callback, hook)
    if getattr(own, "__func__", own) is not getattr(Callback, hook):
        return own
    return getattr(callback, _OLDER_NAMES.get(hook, ""), None)


_OLDER_NAMES = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
}


class History(Callback):
    """What `Sequential.fit` returns: the logs of every epoch.

    Attributes
    ----------
    history : dict of str to list of float
        ``"loss"``, ``"val_loss"`` and the metrics, a value an epoch; also
        ``"learning_rate"`` where a callback changes it.
    epoch : list of int
        The epochs' numbers, from 0 or ``initial_epoch``.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> model = gf.Sequential([gf.layers.GRU(2)], seed=0)
    >>> model.compile()
    >>> x, y = np.ones((4, 3, 1), np.float32), np.ones((4, 2), np.float32)
    >>> history = model.fit(x, y, epochs=3, validation_data=(x, y), seed=0)
    >>> history.epoch, sorted(history.history), len(history.history["loss"])
    ([0, 1, 2], ['loss', 'val_loss'], 3)
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def set_model(self, model: TrainedModel) -> None:
        """Keep no reference to the model, which has one to its history."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep the logs."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def get_state(self) -> dict[str, Any]:
        """Return the epochs so far."""
        return {"epoch": self.epoch, "history": self.history}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take up the epochs of an earlier process."""
        self.epoch = [_checks.integer("epoch", epoch, 0) for epoch in state["epoch"]]
        self.history = {
            str(name): [float(value) for value in values]
            for name, values in state["history"].items()
        }


class _Monitor:
    """Knows the number that a callback watches, and the best one so far."""

    def __init__(
        self, name: str, mode: Mode, min_delta: float, best: float | None = None
    ) -> None:
        self.name = name
        mode = _checks.choice("mode", mode, ("auto", "min", "max"))
        if mode == "auto":
            mode = "max" if name.endswith(_LARGER_IS_BETTER) else "min"
        self._sign = -1 if mode == "max" else 1
        self._min_delta = min_delta
        self.best = self._sign * math.inf if best is None else best

    def value(self, callback: Callback, logs: Logs) -> float | None:
        """Return the number; None in an epoch without the validation it is from."""
        if self.name in logs:
            return logs[self.name]
        if self.name in callback.params.get("metrics", ()):
            return None
        hint = "; pass validation data to fit" * self.name.startswith("val_")
        message = f"monitor: no {self.name!r} among {list(logs)}{hint}"
        raise ValueError(message)

    def better(self, value: float, than: float) -> bool:
        """Return whether a value is better; NaN never is."""
        return self._sign * value < self._sign * than - self._min_delta

    def improves(self, value: float) -> bool:
        """Compare with the best so far, and take its place if better."""
        if not self.better(value, self.best):
            return False
        self.best = value
        return True


_LARGER_IS_BETTER = ("acc", "accuracy", "auc", "r2", "precision", "recall", "f1")


def _say(verbose: int, text: str) -> None:
    if verbose:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


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
    verbose : {0, 1}
        Whether to print when training is stopped.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" is "max" for names that end in
        "acc", "accuracy", "auc", "r2", "precision", "recall" or "f1".
    baseline : float, optional
        An epoch counts as an improvement only if it is better than this, too.
    restore_best_weights : bool
        Whether the model ends with the weights of its best epoch, however training
        ended.
    start_from_epoch : int
        Epochs before this one, from 0, are not looked at.

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
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self.monitor = monitor
        self.min_delta = _checks.real("min_delta", min_delta)
        self.patience = _checks.integer("patience", patience, 0)
        self.verbose = _checks.choice("verbose", verbose, (0, 1))
        self.mode = mode
        self.baseline = _optional_real("baseline", baseline)
        self.restore_best_weights = _checks.flag(
            "restore_best_weights", restore_best_weights
        )
        self.start_from_epoch = _checks.integer("start_from_epoch", start_from_epoch, 0)
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
        value = self._monitor.value(self, logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self._wait += 1
        improves = self._monitor.improves(value)
        if improves or (self.restore_best_weights and self._best_weights is None):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
        if improves:
            if self.baseline is None or self._monitor.better(value, self.baseline):
                self._wait = 0
        elif self._wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Restore the best weights, if asked to."""
        if self.stopped_epoch is not None:
            _say(self.verbose, f"epoch {self.stopped_epoch + 1}: early stopping")
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)

    def get_state(self) -> dict[str, Any]:
        """Return what decides when to stop, and the best weights."""
        return {
            "best": self._monitor.best,
            "wait": self._wait,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "best_weights": self._best_weights,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        weights, stopped = state["best_weights"], state["stopped_epoch"]
        if weights is not None:
            weights = _checks.weights(weights, self.model.weights)
        self._monitor.best = float(state["best"])
        self._wait = _checks.integer("wait", state["wait"], 0)
        self.best_epoch = _checks.integer("best_epoch", state["best_epoch"], 0)
        if stopped is not None:
            stopped = _checks.integer("stopped_epoch", stopped, 0)
        self.stopped_epoch = stopped
        self._best_weights = weights


def _optional_real(name: str, value: object) -> float | None:
    return None if value is None else _checks.real(name, value, -math.inf)


class _EveryFewBatches(Callback, ABC):
    """Does something after epochs, or after every so many batches."""

    def __init__(self, save_freq: object) -> None:
        self.save_freq: SaveFreq = "epoch"
        self._epoch = 0
        self._batches = 0
        if save_freq != "epoch":
            if isinstance(save_freq, str):
                message = f"save_freq: got {save_freq!r}, expected 'epoch' or a number"
                raise ValueError(message)
            self.save_freq = _checks.integer("save_freq", save_freq, 1)
            # Hooks of batches cost time: only who needs one has one.
            vars(self)["on_train_batch_end"] = self._count

    def on_train_begin(self, logs: Logs) -> None:
        """Start counting."""
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Note the number."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Act, unless batches are counted."""
        if self.save_freq == "epoch":
            self._act(epoch, None, logs)

    def _count(self, batch: int, logs: Logs) -> None:
        self._batches += 1
        if self._batches == self.save_freq:
            self._batches = 0
            self._act(self._epoch, batch, logs)

    @abstractmethod
    def _act(self, epoch: int, batch: int | None, logs: Logs) -> None: ...


class ModelCheckpoint(_EveryFewBatches):
    """Saves the model after every epoch, or after every best one so far.

    Parameters
    ----------
    filepath : str or path
        Of the file, which is replaced atomically. It may name fields such as
        ``"model-{epoch:03d}-{val_loss:.4f}.safetensors"``; `epoch` (and `batch`, where
        batches are counted) counts from 1 there. Missing directories are made.
    monitor : str
        Which of the logs to watch, with `save_best_only`.
    verbose : {0, 1}
        Whether to print when a file is written.
    save_best_only : bool
        Whether to save only epochs that are the best so far.
    save_weights_only : bool
        Leave the optimizer's state out, which `load` would go on with. The layers are
        always in the file: `load` needs no code of the model's.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    save_freq : "epoch" or int
        Save after every epoch, or after every so many batches; the logs are then those
        of the epoch so far.
    initial_value_threshold : float, optional
        The best value before the first epoch, with `save_best_only`.

    Examples
    --------
    >>> import grufast as gf
    >>> keep = gf.callbacks.ModelCheckpoint("best.safetensors", save_best_only=True)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: Mode = "auto",
        save_freq: SaveFreq = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(save_freq)
        self.filepath = os.fspath(filepath)
        self.monitor = monitor
        self.verbose = _checks.choice("verbose", verbose, (0, 1))
        self.save_best_only = _checks.flag("save_best_only", save_best_only)
        self.save_weights_only = _checks.flag("save_weights_only", save_weights_only)
        self.mode = mode
        self.initial_value_threshold = _optional_real(
            "initial_value_threshold", initial_value_threshold
        )
        self._monitor = _Monitor(monitor, mode, 0.0, self.initial_value_threshold)
        if save_best_only and save_freq != "epoch" and monitor.startswith("val_"):
            message = (
                f"monitor: {monitor!r} is known at an epoch's end only; "
                f"with save_freq={save_freq} watch a number of the training"
            )
            raise ValueError(message)

    def _act(self, epoch: int, batch: int | None, logs: Logs) -> None:
        if self.save_best_only:
            value = self._monitor.value(self, logs)
            if value is None or not self._monitor.improves(value):
                return
        fields = logs if batch is None else {"batch": batch + 1, **logs}
        try:
            path = Path(self.filepath.format(epoch=epoch + 1, **fields))
        except (KeyError, IndexError) as error:
            message = (
                f"filepath: {self.filepath!r} has a field {error}, "
                f"there are {['epoch', *fields]}"
            )
            raise ValueError(message) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path, include_optimizer=not self.save_weights_only)
        _say(self.verbose, f"epoch {epoch + 1}: saved to {path}")

    def get_state(self) -> dict[str, Any]:
        """Return the best value so far, and the batches since the last file."""
        return {"best": self._monitor.best, "batches": self._batches}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        best, batches = float(state["best"]), state["batches"]
        self._batches = _checks.integer("batches", batches, 0)
        self._monitor.best = best


class BackupAndRestore(_EveryFewBatches):
    """Keeps training safe: a killed `fit`, started again, goes on where it was.

    After every epoch, or every so many batches, all that decides how training goes on
    is written to a file: weights, the optimizer's state, the history, random numbers,
    and the state of callbacks that have one. `fit` with the same arguments and an equal
    model takes the file up, and ends with the same bits as if nothing had happened.

    An iterable must bring the same batches again; those that were trained on are read
    and dropped. What layers and losses of your own keep beside weights is not in the
    file, nor are callbacks' attributes that their `get_state` leaves out.

    Parameters
    ----------
    path : str or path
        Of the file, which is replaced atomically: a kill at any moment leaves the old
        one or the new one. Its directory must exist.
    save_freq : "epoch" or int
        Write after every epoch, or after every so many batches.
    delete_checkpoint : bool
        Whether to delete the file when training has come to its end.

    Raises
    ------
    ValueError
        In `fit`, if the file is damaged or of another training; the message says what
        does not fit. The model has not been changed then.
    OSError
        In `fit`, if the file cannot be written; the one before stays.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> import tempfile
    >>> x = np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4, 1)
    >>> def train(path, *callbacks):
    ...     model = gf.Sequential([gf.layers.GRU(3), gf.layers.Dense(1)], seed=0)
    ...     model.compile()
    ...     backup = gf.callbacks.BackupAndRestore(path)
    ...     return model.fit(x, x[:, 0], epochs=5, seed=0,
    ...                      callbacks=[backup, *callbacks])
    >>> class Crash(gf.callbacks.Callback):
    ...     def on_epoch_begin(self, epoch, logs):
    ...         if epoch == 3:
    ...             raise RuntimeError("power cut")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = f"{directory}/backup.safetensors"
    ...     whole = train(path).history
    ...     try:
    ...         train(path, Crash())
    ...     except RuntimeError:
    ...         train(path).history == whole
    True
    """

    training: Any = None
    """What to write the state of; `Sequential.fit` puts it here."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: SaveFreq = "epoch",
        *,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__(save_freq)
        self.path = os.fspath(path)
        self.delete_checkpoint = _checks.flag("delete_checkpoint", delete_checkpoint)

    def read(self) -> dict[str, Any] | None:
        """Return the state in the file; None if there is no file.

        A directory that is not there raises an error now, not after the first epoch.
        """
        if not Path(self.path).parent.is_dir():
            message = f"no directory for the backup {self.path!r}"
            raise FileNotFoundError(message)
        try:
            return saving.read_state(self.path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(self.refusal(str(error))) from error

    def refusal(self, reason: str) -> str:
        """Return the message of an error about the file."""
        return (
            f"the backup {self.path!r} cannot be restored: {reason}; "
            "remove it to start afresh"
        )

    def on_train_begin(self, logs: Logs) -> None:
        """Write the first backup: what stands in its way is known before training."""
        super().on_train_begin(logs)
        if not Path(self.path).exists():
            self._act(0, None, logs)

    def _act(self, epoch: int, batch: int | None, logs: Logs) -> None:
        saving.write_state(self.path, self.training.state())

    def on_train_end(self, logs: Logs) -> None:
        """Delete the file, unless training was broken off."""
        if self.delete_checkpoint and self.training.finished:
            Path(self.path).unlink(missing_ok=True)


class _RateCallback(Callback):
    """Changes the optimizer's learning rate, and logs it."""

    @property
    def _rate(self) -> float:
        rate: object = self.model.optimizer.config["learning_rate"]
        if not isinstance(rate, float):
            message = (
                f"{type(self).__name__} sets learning_rate, "
                f"which already follows {rate!r}"
            )
            raise ValueError(message)
        return rate

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Log the learning rate."""
        logs["learning_rate"] = self._rate


class ReduceLROnPlateau(_RateCallback):
    """Lowers the learning rate when a number has stopped improving.

    Parameters
    ----------
    monitor : str
        Which of the logs to watch.
    factor : float
        What the learning rate is multiplied by, in [0, 1).
    patience : int
        Epochs without improvement before that.
    verbose : {0, 1}
        Whether to print when the learning rate is lowered.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    min_delta : float
        A change of less is no improvement.
    cooldown : int
        Epochs after a change that are not counted.
    min_lr : float
        The learning rate goes no lower.

    Examples
    --------
    >>> import grufast as gf
    >>> lower = gf.callbacks.ReduceLROnPlateau(factor=0.5, patience=5, min_lr=1e-5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.monitor = monitor
        self.factor = _checks.real("factor", factor, 0, 1)
        self.patience = _checks.integer("patience", patience, 0)
        self.verbose = _checks.choice("verbose", verbose, (0, 1))
        self.mode = mode
        self.min_delta = _checks.real("min_delta", min_delta)
        self.cooldown = _checks.integer("cooldown", cooldown, 0)
        self.min_lr = _checks.real("min_lr", min_lr)
        self._reset()

    def _reset(self) -> None:
        self._monitor = _Monitor(self.monitor, self.mode, self.min_delta)
        self._wait = 0
        self._cooling = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Forget earlier trainings."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and lower the learning rate when patience is over."""
        super().on_epoch_end(epoch, logs)
        value = self._monitor.value(self, logs)
        if value is None:
            return
        if self._cooling:
            self._cooling -= 1
            self._wait = 0
        if self._monitor.improves(value):
            self._wait = 0
        elif not self._cooling:
            self._wait += 1
            if self._wait >= self.patience:
                self._lower(epoch)

    def _lower(self, epoch: int) -> None:
        if self._rate > self.min_lr:
            lower = max(self._rate * self.factor, self.min_lr)
            self.model.optimizer.learning_rate = lower
            self._cooling = self.cooldown
            self._wait = 0
            _say(self.verbose, f"epoch {epoch + 1}: learning rate {lower:g}")

    def get_state(self) -> dict[str, Any]:
        """Return what decides when to lower the learning rate."""
        best = self._monitor.best
        return {"best": best, "wait": self._wait, "cooling": self._cooling}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        best = float(state["best"])
        self._wait = _checks.integer("wait", state["wait"], 0)
        self._cooling = _checks.integer("cooling", state["cooling"], 0)
        self._monitor.best = best


class LearningRateScheduler(_RateCallback):
    """Sets the learning rate before every epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate) -> float``, or ``schedule(epoch) -> float``.
    verbose : {0, 1}
        Whether to print the learning rates.

    Examples
    --------
    >>> import grufast as gf
    >>> halve = gf.callbacks.LearningRateScheduler(
    ...     lambda epoch, lr: lr / 2 if epoch % 10 == 9 else lr
    ... )
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = _function("schedule", schedule)
        self.verbose = _checks.choice("verbose", verbose, (0, 1))
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_rate = True
        except TypeError:
            self._takes_rate = False

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the learning rate."""
        rate = self._rate
        rate = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        rate = _checks.real("schedule's learning rate", rate)
        self.model.optimizer.learning_rate = rate
        _say(self.verbose, f"epoch {epoch + 1}: learning rate {rate:g}")


class TerminateOnNaN(Callback):
    """Ends training after a batch with which the loss is not finite any more.

    Parameters
    ----------
    raise_error : bool
        Whether to raise a RuntimeError instead.

    Examples
    --------
    >>> import grufast as gf
    >>> guard = gf.callbacks.TerminateOnNaN()
    """

    def __init__(self, *, raise_error: bool = False) -> None:
        self.raise_error = _checks.flag("raise_error", raise_error)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Look at the loss."""
        if not math.isfinite(logs["loss"]):
            if self.raise_error:
                message = f"the loss is {logs['loss']} after batch {batch + 1}"
                raise RuntimeError(message)
            self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    **hooks : callable
        Functions by the names of the hooks of `Callback`, with their arguments.

    Examples
    --------
    >>> import grufast as gf
    >>> losses = []
    >>> keep = gf.callbacks.LambdaCallback(
    ...     on_epoch_end=lambda epoch, logs: losses.append(logs["loss"])
    ... )
    """

    def __init__(self, **hooks: Callable[..., object]) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                message = f"{name}: no such hook, expected one of {HOOKS}"
                raise TypeError(message)
            _function(name, function)
        vars(self).update(hooks)


class CSVLogger(Callback):
    """Writes the logs into a CSV file, a line an epoch.

    The columns are ``epoch``, from 0, and the logs' names in order; an epoch without a
    validation has NA there. Numbers read back as the same floats.

    Parameters
    ----------
    filename : str or path
        Of the file.
    separator : str
        One character between the values.
    append : bool
        Whether to add to a file that is there, instead of replacing it.

    Examples
    --------
    >>> import grufast as gf
    >>> log = gf.callbacks.CSVLogger("training.csv", append=True)
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        separator: str = ",",
        append: bool = False,
    ) -> None:
        self.filename = os.fspath(filename)
        self.separator = _character("separator", separator)
        self.append = _checks.flag("append", append)
        self._file: TextIO | None = None
        self._columns: list[str] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Open the file; what is in it stays until the first line is written."""
        self.on_train_end(logs)
        self._file = Path(self.filename).open("a", newline="", encoding="utf-8")  # noqa: SIM115
        self._columns = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        assert self._file is not None
        writer = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        if self._columns is None:
            self._columns = sorted({*logs, *self.params.get("metrics", ())})
            if not self.append:
                self._file.truncate(0)
            if not self._size():
                writer.writerow(["epoch", *self._columns])
        writer.writerow([epoch, *(logs.get(name, "NA") for name in self._columns)])
        self._file.flush()

    def on_train_end(self, logs: Logs) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _size(self) -> int:
        assert self._file is not None
        return os.fstat(self._file.fileno()).st_size

    def get_state(self) -> dict[str, Any]:
        """Return how long the file is; that much of it is on the disk now."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        return {"size": self._size(), "columns": self._columns}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there: lines of epochs that will be trained again are cut off."""
        assert self._file is not None
        size, columns = _checks.integer("size", state["size"], 0), state["columns"]
        if columns is not None and size <= self._size():
            self._file.truncate(size)
            self._columns = [str(name) for name in columns]


class TensorBoard(Callback):
    """Writes the logs for TensorBoard, under the names that Keras gives them.

    Below `log_dir` are ``train`` and ``validation``, with ``epoch_loss`` and so on.

    Parameters
    ----------
    log_dir : str or path
        Directory to write to.
    update_freq : "epoch", "batch" or int
        Whether to write ``batch_loss`` and so on too, after every batch or every so
        many.

    Raises
    ------
    ImportError
        Without its library, which ``pip install "grufast[tensorboard]"`` brings.
    ValueError
        If `update_freq` is something else.

    Notes
    -----
    A training that is taken up from a backup writes to the same directories; the steps
    that were trained twice are there twice, with the same values.

    Examples
    --------
    ``tensorboard --logdir logs`` then shows the curves of all runs:

    >>> import grufast as gf
    >>> board = gf.callbacks.TensorBoard("logs/first")  # doctest: +SKIP
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        *,
        update_freq: int | Literal["epoch", "batch"] = "epoch",
    ) -> None:
        self.log_dir = os.fspath(log_dir)
        self.update_freq = update_freq
        self._every = 0
        if update_freq == "batch":
            self._every = 1
        elif isinstance(update_freq, str):
            _checks.choice("update_freq", update_freq, ("epoch", "batch"))
        else:
            self._every = _checks.integer("update_freq", update_freq, 1)
        if self._every:
            # Hooks of batches cost time: only who needs one has one.
            vars(self)["on_train_batch_end"] = self._write_batch
        self._writer_class = _tensorboard_writer()
        self._writers: dict[str, Any] = {}
        self._step = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start from step 0."""
        self._step = 0

    def _write_batch(self, batch: int, logs: Logs) -> None:
        if self._step % self._every == 0:
            for name, value in logs.items():
                self._write("train", f"batch_{name}", value, self._step)
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the logs."""
        for name, value in logs.items():
            kind = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            self._write(kind, tag, value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _write(self, kind: str, tag: str, value: float, step: int) -> None:
        if kind not in self._writers:
            self._writers[kind] = self._writer_class(str(Path(self.log_dir, kind)))
        self._writers[kind].add_scalar(tag, value, step)

    def on_train_end(self, logs: Logs) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def get_state(self) -> dict[str, Any]:
        """Return the number of batches so far."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._step = _checks.integer("step", state["step"], 0)


def _function(name: str, value: object) -> Any:
    if not callable(value):
        message = f"{name}: got {value!r}, expected a function"
        raise TypeError(message)
    return value


def _character(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) != 1:
        message = f"{name}: got {value!r}, expected one character"
        raise ValueError(message)
    return value


def _tensorboard_writer() -> Any:
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        message = 'TensorBoard needs its library: pip install "grufast[tensorboard]"'
        raise ImportError(message) from error
    return Writer


class MeasureTime(Callback):
    """Measures how long training takes.

    Attributes
    ----------
    train_time : float
        Seconds from the beginning to now or the end, with all that callbacks do.
    epoch_times : list of float
        Seconds of every epoch, with its validation.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> model = gf.Sequential([gf.layers.GRU(2)])
    >>> model.compile()
    >>> clock = gf.callbacks.MeasureTime()
    >>> x = np.zeros((4, 3, 1), np.float32)
    >>> _ = model.fit(x, np.zeros((4, 2), np.float32), epochs=3, callbacks=[clock])
    >>> len(clock.epoch_times), sum(clock.epoch_times) <= clock.train_time
    (3, True)
    """

    def __init__(self) -> None:
        self.train_time = 0.0
        self.epoch_times: list[float] = []
        self._start = self._epoch_start = 0.0

    def on_train_begin(self, logs: Logs) -> None:
        """Start the clock."""
        self.train_time = 0.0
        self.epoch_times = []
        self._start = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Note the time."""
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Note the time."""
        now = time.perf_counter()
        self.epoch_times.append(now - self._epoch_start)
        self.train_time = now - self._start

    def on_train_end(self, logs: Logs) -> None:
        """Stop the clock."""
        self.train_time = time.perf_counter() - self._start

    def get_state(self) -> dict[str, Any]:
        """Return the times so far."""
        now = time.perf_counter()
        return {"train_time": now - self._start, "epoch_times": self.epoch_times}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Count on from there."""
        times = [_checks.real("epoch_times", value) for value in state["epoch_times"]]
        self._start -= _checks.real("train_time", state["train_time"])
        self.epoch_times = times


def _summary(logs: Logs) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in logs.items())


_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_AROUND = len(" 100%|#| 00:00:00<00:00:00")


class ProgressBar(Callback):
    """A tqdm bar over the whole training, with the current losses; on stderr.

    `Sequential.fit` adds one by itself on a terminal. Numbers for which the terminal is
    not wide enough are left out; the losses come first then.

    Examples
    --------
    >>> import grufast as gf
    >>> bar = gf.callbacks.ProgressBar()
    """

    _bar: Any = None
    _width = 80

    def on_train_begin(self, logs: Logs) -> None:
        """Show the bar."""
        from tqdm import tqdm

        size = shutil.get_terminal_size()  # 80 x 24 for a terminal that says 0 x 0
        self._steps = self.params["steps"] or 0
        self._width = size.columns
        self._bar = tqdm(
            total=self.params["epochs"] * (self._steps or 1),
            bar_format=_BAR,
            ncols=size.columns,
            nrows=size.lines,
        )
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Show which epoch it is."""
        self._epoch = epoch
        epochs = self.params["epochs"]
        self._bar.set_description_str(f"epoch {epoch + 1}/{epochs}", refresh=False)
        self._move(0)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar."""
        self._move(batch + 1)

    def _move(self, batches: int) -> None:
        """Show so many batches of the epoch; none where an epoch has no known size."""
        done = self._epoch * (self._steps or 1) + (batches if self._steps else 0)
        self._bar.update(done - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Show the losses."""
        self._bar.set_postfix_str(self._fitting(logs), refresh=False)
        if not self._steps:
            self._bar.update()

    def _fitting(self, logs: Logs) -> str:
        """Return as many of the numbers as there is room for: a cut one misleads."""
        epochs = str(self.params["epochs"])
        room = self._width - _AROUND - len(f"epoch {epochs}/{epochs}, ")
        if len(_summary(logs)) <= room:
            return _summary(logs)
        logs = {n: logs[n] for n in sorted(logs, key=lambda n: n.count("loss") == 0)}
        for count in range(len(logs) - 1, 1, -1):
            text = _summary(dict(list(logs.items())[:count])) + ", ..."
            if len(text) <= room:
                return text
        return _summary({"loss": logs["loss"]})

    def on_train_end(self, logs: Logs) -> None:
        """Leave the bar where it is."""
        if self._bar is not None:
            self._bar.close()


class EpochLog(Callback):
    """A line an epoch on standard output: `Sequential.fit` with ``verbose=2``.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> model = gf.Sequential([gf.layers.GRU(2)], seed=0)
    >>> model.compile()
    >>> x = np.zeros((4, 3, 1), np.float32)
    >>> log = gf.callbacks.EpochLog()
    >>> _ = model.fit(x, np.ones((4, 2), np.float32), callbacks=[log])  # doctest: +SKIP
    epoch 1/1: 0.001 s, loss 1
    """

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the line."""
        seconds = time.perf_counter() - self._start
        count = f"epoch {epoch + 1}/{self.params['epochs']}"
        _say(1, f"{count}: {seconds:.3f} s, {_summary(logs)}")


class Plot(Callback):
    """Draws the training's course, during training.

    The upper half has the losses; given `x` and `y`, the lower half has the model's
    predictions for `x` against `y`: the first output of the first step, over the rows.
    In a notebook the picture is shown below the cell and changes as training goes on.

    Parameters
    ----------
    path : str or path, optional
        Of the picture, which is replaced atomically; the ending names the format, PNG
        without one. By default ``training.png``, and in a notebook no file.
    x : ndarray (N, ...) or list of N ndarrays, optional
        What to predict, as `Sequential.predict` takes it.
    y : ndarray (N, ...), optional
        The truth.
    every : int
        Draw after so many epochs, and at the end.

    Raises
    ------
    ImportError
        Without matplotlib, which ``pip install "grufast[plot]"`` brings.
    TypeError, ValueError
        If nothing can be drawn into a file of this name, or `y` has not the rows of
        `x`; when training begins, if the model cannot predict `x`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> import tempfile
    >>> from pathlib import Path
    >>> x = np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4, 1)
    >>> model = gf.Sequential([gf.layers.GRU(3), gf.layers.Dense(1)], seed=0)
    >>> model.compile()
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     plot = gf.callbacks.Plot(f"{directory}/course.png", x, x[:, 0])
    ...     history = model.fit(x, x[:, 0], epochs=3, callbacks=[plot])
    ...     Path(directory, "course.png").exists()
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        x: Any = None,
        y: Array | None = None,
        *,
        every: int = 10,
    ) -> None:
        figures.require_matplotlib()
        if path is not None:
            figures.check_writable(os.fspath(path))
        if (x is None) != (y is None):
            message = "x, y: expected both or neither"
            raise ValueError(message)
        if x is not None and y is not None and len(x) != len(y):
            message = f"y: got {len(y)} rows, expected {len(x)} as in x"
            raise ValueError(message)
        self.path = None if path is None else os.fspath(path)
        self.x = x
        self.y = y
        self.every = _checks.integer("every", every, 1)
        self._display: Any = None
        self._curves: dict[str, tuple[list[int], list[float]]] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Start new curves."""
        self._display = None
        self._curves = {}
        if self.x is not None:
            self.model.predict(self.x[:1])  # what it cannot is known before training

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Draw, every so often."""
        for name in ("loss", "val_loss"):
            if name in logs:
                epochs, values = self._curves.setdefault(name, ([], []))
                epochs.append(epoch + 1)
                values.append(logs[name])
        if (epoch + 1) % self.every == 0:
            self._draw()

    def on_train_end(self, logs: Logs) -> None:
        """Draw the end state."""
        if self._curves:
            self._draw()

    def _draw(self) -> None:
        predicted = None if self.x is None else self.model.predict(self.x)
        figure = figures.training_figure(self._curves, self.y, predicted)
        if _in_notebook():
            self._show(figures.png(figure))
            if self.path is None:
                return
        figures.write(figure, self.path or "training.png")

    def _show(self, picture: bytes) -> None:
        from IPython.display import Image, display

        if self._display is None:
            self._display = display(Image(data=picture), display_id=True)
        else:
            self._display.update(Image(data=picture))

    def get_state(self) -> dict[str, Any]:
        """Return the curves so far."""
        return {"curves": self._curves}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on drawing them."""
        self._curves = {
            str(name): (
                [_checks.integer("epoch", epoch, 0) for epoch in epochs],
                [float(value) for value in values],
            )
            for name, (epochs, values) in state["curves"].items()
        }


def _in_notebook() -> bool:
    """Return whether pictures can be shown below a cell."""
    # Who has not imported IPython is not in one of its notebooks.
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
