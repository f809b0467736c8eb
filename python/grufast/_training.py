"""A training under way: epochs, batches, callbacks, and what a backup keeps of it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from grufast import _checks, callbacks
from grufast._batches import Batch, Feed
from grufast._checks import Array
from grufast._config import Configured
from grufast.callbacks import (
    BackupAndRestore,
    Callback,
    CallbackList,
    EpochLog,
    History,
    Logs,
    ProgressBar,
)
from grufast.metrics import Metric
from grufast.optimizers import Optimizer


class TrainedModel(callbacks.TrainedModel, Protocol):
    """What a training asks of a model."""

    optimizer: Optimizer | None
    metrics: dict[str, Metric]
    history: History | None

    def writable_weights(self) -> dict[str, Array]: ...

    def _train_batch(
        self,
        batch: Batch,
        rng: np.random.Generator,
        scores: Scores,
        tbptt: tuple[int, int] | None,
    ) -> None: ...


class Seeds:
    """Where the random numbers of a training come from: the same for the same seed."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self.entropy: Any = np.random.SeedSequence(seed).entropy

    def generator(self, stream: int, number: int) -> np.random.Generator:
        """Return the random numbers of an epoch, or of a pass over the rows."""
        seeds = np.random.SeedSequence(self.entropy, spawn_key=(stream, number))
        return np.random.Generator(np.random.Philox(seeds))

    def order_of(self, rows: int) -> Callable[[int], Array]:
        """Return what returns the order of so many rows in a pass over them."""
        return lambda turn: self.generator(_ORDER, turn).permutation(rows)


class Scores:
    """The loss, a mean over rows, and the metrics, over the batches so far."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics
        self._sum = 0.0
        self.rows = 0
        for metric in self._metrics.values():
            metric.reset_state()

    def add(self, loss: float, y: Array, y_pred: Array, weight: Array | None) -> None:
        """Take in a batch."""
        self._sum += loss * len(y)
        self.rows += len(y)
        for metric in self._metrics.values():
            metric.update_state(y, y_pred, weight)

    def logs(self) -> Logs:
        """Return the values by name."""
        logs = {"loss": self._sum / self.rows}
        for name, metric in self._metrics.items():
            logs[name] = float(metric.result())
        return logs

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        metrics = {name: _state_of(metric) for name, metric in self._metrics.items()}
        return {"sum": self._sum, "rows": self.rows, "metrics": metrics}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._sum = float(state["sum"])
        self.rows = _checks.integer("rows", state["rows"], 1)
        for name, metric in self._metrics.items():
            own = state["metrics"][name]
            _checks.names(name, own, _state_of(metric))
            vars(metric).update(own)


def _state_of(metric: Metric) -> dict[str, Any]:
    """Return what a metric has gathered: all that is no setting of it."""
    settings = metric.config
    return {
        name: own
        for name, own in vars(metric).items()
        if name not in settings and not (isinstance(own, Configured) or callable(own))
    }


class Training:
    """A call of `Sequential.fit`: it holds all that decides how training goes on.

    Parameters
    ----------
    model : Sequential
        Built and compiled.
    feed : Feed
        Of the batches.
    validate : callable, optional
        Returns the loss and the metrics of the n-th validation.
    validation_epochs : callable
        Whether to validate after an epoch.
    given : list of Callback
        In the order in which they are called; `BackupAndRestore` comes last.
    first, epochs : int
        The first epoch, and the one before which to end.
    seeds : Seeds
        Where random numbers come from.
    tbptt : tuple of two int, optional
        Steps of truncated back-propagation through time.
    facts : dict of str to str
        What a backup must agree on to be one of this training.
    """

    def __init__(
        self,
        model: TrainedModel,
        feed: Feed,
        validate: Callable[[int, CallbackList], Logs] | None,
        validation_epochs: Callable[[int], bool],
        given: Iterable[Callback],
        *,
        first: int,
        epochs: int,
        seeds: Seeds,
        tbptt: tuple[int, int] | None,
        facts: Mapping[str, str],
    ) -> None:
        given = list(given)
        backups = [c for c in given if isinstance(c, BackupAndRestore)]
        if len(backups) > 1:
            message = "callbacks: expected one BackupAndRestore at most"
            raise ValueError(message)
        self.history = History()
        others = [c for c in given if c not in backups]
        self._callbacks = [*others, self.history, *backups]
        self._backup = backups[0] if backups else None
        self._stateful = [
            callback
            for callback in (*others, self.history)
            if type(callback).get_state is not Callback.get_state
        ]
        self._model = model
        self._feed = feed
        self._validate = validate
        self._validation_epochs = validation_epochs
        self._first = first
        self._seeds = seeds
        self._epochs = epochs
        self._tbptt = tbptt
        self._facts = {
            **facts,
            "tbptt": str(tbptt),
            "seed": str(seeds.seed),
            "callbacks": str([type(c).__name__ for c in self._stateful]),
        }
        self.epoch = first
        """The epoch that is under way, or next."""
        self.batch = 0
        """How many of its batches are done."""
        self.finished = False
        self._rng = seeds.generator(_NOISE, first)
        self._scores = Scores(model.metrics)
        self._logs: Logs = {}

    def run(self) -> History:
        """Train to the end."""
        model = self._model
        names = ["loss", *model.metrics]
        if self._validate:
            names += [f"val_{name}" for name in names]
        params = {"epochs": self._epochs, "steps": self._feed.steps, "metrics": names}
        hooks = CallbackList(self._callbacks, model, params)
        model.stop_training = False
        model.history = self.history
        state = None
        if self._backup:
            self._backup.training = self
            state = self._backup.read()
            self._check(state)
        hooks("on_train_begin", {})
        if self.batch:
            hooks("on_epoch_begin", self.epoch, {})
            self._begin_epoch()
        self._restore(state)
        try:
            # A training that was stopped within an epoch still ends that epoch.
            while self.epoch < self._epochs and not (
                model.stop_training and not self.batch
            ):
                self._run_epoch(hooks)
            self.finished = True
        finally:
            hooks("on_train_end", self._logs)
        return self.history

    def _run_epoch(self, hooks: CallbackList) -> None:
        epoch = self.epoch
        if not self.batch:
            hooks("on_epoch_begin", epoch, {})
            self._begin_epoch()
        if not self._train_epoch(hooks):
            return
        logs = self._scores.logs()
        if self._validate and self._validation_epochs(epoch):
            earlier = sum(map(self._validation_epochs, range(self._first, epoch)))
            for name, value in self._validate(earlier, hooks).items():
                logs[f"val_{name}"] = value
        self._warn_of_losses_that_are_not_finite(logs["loss"])
        self.epoch, self.batch, self._logs = epoch + 1, 0, logs
        hooks("on_epoch_end", epoch, logs)

    def _begin_epoch(self) -> None:
        self._rng = self._seeds.generator(_NOISE, self.epoch)
        self._scores = Scores(self._model.metrics)

    def _train_epoch(self, hooks: CallbackList) -> bool:
        """Train on the batches that are left; return whether there were any."""
        model, scores = self._model, self._scores
        logs: Logs = {}
        if self.batch and model.stop_training:
            return True
        for batch in self._feed.of_epoch(self.epoch, self.batch):
            for hook in hooks.batch_begin:
                hook(self.batch, logs)
            model._train_batch(batch, self._rng, scores, self._tbptt)
            self.batch += 1
            if hooks.batch_end:
                logs = scores.logs()
                for hook in hooks.batch_end:
                    hook(self.batch - 1, logs)
            if model.stop_training:
                return True
        if self._feed.steps is None or self.batch < self._feed.steps:
            self._end_of_stream()
        return self.batch > 0

    def _end_of_stream(self) -> None:
        """Stop, if an iterable brought less than was asked for."""
        if self.batch and self._feed.steps is None:
            return
        self._model.stop_training = True
        asked = f" of {self._feed.steps}" if self._feed.steps else ""
        message = (
            f"x: no more batches after {self.batch}{asked} in epoch {self.epoch + 1} "
            f"of {self._epochs}: training ends"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=6)

    def _warn_of_losses_that_are_not_finite(self, loss: float) -> None:
        before = self.history.history.get("loss", [])
        if math.isfinite(loss) or not all(map(math.isfinite, before)):
            return
        message = (
            f"the loss is {loss} in epoch {self.epoch + 1}: are x and y "
            "finite, and the learning rate small enough?"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=5)

    # Backups

    def state(self) -> dict[str, Any]:
        """Return all that decides how training goes on, in JSON's types and arrays."""
        model = self._model
        assert model.optimizer is not None
        state = {
            "training": self._facts,
            "entropy": self._seeds.entropy,
            "epoch": self.epoch,
            "batch": self.batch,
            "stop_training": model.stop_training,
            "logs": self._logs,
            "weights": model.weights,
            "optimizer": model.optimizer.get_state(model),
            "callbacks": [callback.get_state() for callback in self._stateful],
        }
        if self.batch:
            state["scores"] = self._scores.get_state()
            state["rng"] = _position(self._rng)
        return state

    def _check(self, state: Mapping[str, Any] | None) -> None:
        """Refuse a state of another training; find out where it is in this one."""
        if state is None:
            return
        with self._refusal():
            for name, own in self._facts.items():
                kept = state["training"][name]
                if kept != own:
                    message = f"it is of another training: {name} {kept}, not {own}"
                    raise ValueError(message)
            _checks.weights(state["weights"], self._model.weights)
            self._seeds.entropy = _checks.integer("entropy", state["entropy"], 0)
            self.epoch = _checks.integer("epoch", state["epoch"], self._first)
            self.batch = _checks.integer("batch", state["batch"], 0)

    def _restore(self, state: Mapping[str, Any] | None) -> None:
        """Take up a state; the model's weights stay as they are if that fails."""
        if state is None:
            return
        model = self._model
        assert model.optimizer is not None
        with self._refusal():
            for callback, own in zip(self._stateful, state["callbacks"], strict=True):
                callback.set_state(own)
            if self.batch:
                self._scores.set_state(state["scores"])
                _set_position(self._rng, state["rng"])
            self._logs = {str(k): float(v) for k, v in state["logs"].items()}
            stop = _checks.flag("stop_training", state["stop_training"])
            model.optimizer.set_state(model, state["optimizer"])
            model.set_weights(state["weights"])
            model.stop_training = stop

    @contextmanager
    def _refusal(self) -> Iterator[None]:
        """Say of errors that they are about the backup."""
        assert self._backup is not None
        try:
            yield
        except KeyError as error:
            message = f"it says nothing about {error}"
            raise ValueError(self._backup.refusal(message)) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(self._backup.refusal(str(error))) from error


def _position(rng: np.random.Generator) -> dict[str, Any]:
    """Return how far a generator has come."""
    state: Any = rng.bit_generator.state
    return {
        "counter": state["state"]["counter"],
        "buffer": state["buffer"],
        **{name: int(state[name]) for name in ("buffer_pos", "has_uint32", "uinteger")},
    }


def _set_position(rng: np.random.Generator, position: Mapping[str, Any]) -> None:
    # NumPy believes what it is told, and would read beyond its buffer.
    state: Any = rng.bit_generator.state
    arrays = {"counter": state["state"]["counter"], "buffer": state["buffer"]}
    limits = {"buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}
    for name, own in arrays.items():
        array = position[name]
        if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (
            own.dtype,
            own.shape,
        ):
            message = f"rng: {name} is {array!r:.80}"
            raise ValueError(message)
        own[...] = array
    for name, most in limits.items():
        value = _checks.integer(f"rng: {name}", position[name], 0)
        if value > most:
            message = f"rng: {name} is {value}"
            raise ValueError(message)
        state[name] = value
    rng.bit_generator.state = state


def with_progress(given: object, verbose: object) -> list[Callback]:
    """Return the callbacks, and the one that `verbose` asks for."""
    checked = checked_callbacks(given)
    verbose = _checks.verbosity(verbose)
    if verbose == "auto":
        verbose = int(sys.stderr is not None and sys.stderr.isatty())
    if verbose == 1 and not any(isinstance(c, ProgressBar) for c in checked):
        checked.append(ProgressBar())
    if verbose == 2:
        checked.append(EpochLog())
    return checked


def checked_callbacks(given: object) -> list[Callback]:
    """Return callbacks as a list; None is none."""
    if given is None:
        return []
    if not isinstance(given, Iterable):
        message = f"callbacks: got {given!r}, expected a list of callbacks"
        raise TypeError(message)
    checked = list(given)
    for callback in checked:
        if not isinstance(callback, Callback):
            message = f"callbacks: got {callback!r}, expected a Callback"
            raise TypeError(message)
    return checked


# Streams of random numbers that must not meet although their seeds may be equal.
INIT, _ORDER, _NOISE = range(3)
