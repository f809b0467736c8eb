"""DEGANN's callbacks."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from grufast import callbacks
from grufast._checks import Array
from grufast.callbacks import Callback, Logs
from grufast.degann.arrays import real

__all__ = [
    "EarlyStopping",
    "LightHistory",
    "LossTracking",
    "MeasureTrainTime",
    "MemoryCleaner",
    "SaveBestModel",
    "VisualizationDense",
    "VisualizationTS",
]


class MemoryCleaner(Callback):
    """Collects garbage after every epoch.

    Examples
    --------
    >>> cleaner = MemoryCleaner()
    """

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Collect."""
        gc.collect()


class MeasureTrainTime(Callback):
    """Fills in ``trained_time`` of the network: training, epochs, prediction; seconds.

    Examples
    --------
    >>> from grufast.degann import IModel
    >>> net = IModel(1, [4], 1, seed=0)
    >>> net.compile(metrics=[])
    >>> x = np.ones((8, 1))
    >>> _ = net.train(x, x, epochs=3, callbacks=[MeasureTrainTime()])
    >>> len(net.network.trained_time["epoch_time"])
    3
    """

    def on_train_begin(self, logs: Logs) -> None:
        """Start the clock of the training."""
        self.model.trained_time |= {"train_time": 0.0, "epoch_time": []}
        self._train = time.perf_counter()

    def on_train_end(self, logs: Logs) -> None:
        """Stop it."""
        self.model.trained_time["train_time"] = time.perf_counter() - self._train

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the clock of the epoch."""
        self._epoch = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Stop it."""
        seconds = time.perf_counter() - self._epoch
        self.model.trained_time["epoch_time"].append(seconds)

    def on_predict_begin(self, logs: Logs) -> None:
        """Start the clock of the prediction."""
        self._predict = time.perf_counter()

    def on_predict_end(self, logs: Logs) -> None:
        """Stop it."""
        self.model.trained_time["predict_time"] = time.perf_counter() - self._predict

    def on_test_begin(self, logs: Logs) -> None:
        """Start the clock of the evaluation, which counts as prediction."""
        self.on_predict_begin(logs)

    def on_test_end(self, logs: Logs) -> None:
        """Stop it."""
        self.on_predict_end(logs)


class LightHistory(Callback):
    """Keeps the logs of the last epoch only; `IModel.train` returns it.

    Attributes
    ----------
    history : dict of str to float
        The logs.
    epoch : int
        The epoch's number, from 0.

    Examples
    --------
    >>> from grufast.degann import IModel
    >>> net = IModel(1, [4], 1, seed=0)
    >>> net.compile(metrics=[])
    >>> x = np.ones((8, 1))
    >>> last = net.train(x, x, epochs=3, callbacks=[LightHistory()])
    >>> last.epoch, list(last.history)
    (2, ['loss'])
    """

    def __init__(self) -> None:
        self.history: dict[str, float] = {}
        self.epoch = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Start at the beginning."""
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take the place of what was before."""
        self.epoch = epoch
        self.history |= logs
        self.model.history = self


class LossTracking(Callback):
    """Keeps the losses of every epoch.

    Attributes
    ----------
    losses, val_losses : list of float
        Of training and of validation.

    Examples
    --------
    >>> from grufast.degann import IModel
    >>> net = IModel(1, [4], 1, seed=0)
    >>> net.compile(metrics=[])
    >>> x, tracking = np.ones((8, 1)), LossTracking()
    >>> _ = net.train(x, x, epochs=3, callbacks=[tracking])
    >>> len(tracking.losses), tracking.val_losses
    (3, [])
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.val_losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Keep them."""
        self.losses += [logs["loss"]]
        if "val_loss" in logs:
            self.val_losses.append(logs["val_loss"])


class EarlyStopping(callbacks.EarlyStopping):
    """Stops training after `patience` epochs without a smaller validation loss.

    Without validation data it does nothing.

    Parameters
    ----------
    patience : int
        How many.

    Attributes
    ----------
    best_val_loss : float
        The smallest so far.

    Examples
    --------
    >>> stop = EarlyStopping(patience=20)
    """

    def __init__(self, patience: int) -> None:
        super().__init__(patience=patience)
        self.best_val_loss = math.inf

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and stop training when patience is over."""
        if "val_loss" in logs:
            self.best_val_loss = min(self.best_val_loss, logs["val_loss"])
            super().on_epoch_end(epoch, logs)


class Exporting(Protocol):
    """What `SaveBestModel` asks of an `IModel`."""

    def export_to_file(self, path: str) -> None:
        """Write a file."""


class SaveBestModel(callbacks.ModelCheckpoint):
    """Saves the network whenever the validation loss is the smallest so far.

    It goes to ``<path>.apg`` and to ``<path>.safetensors``, which `grufast.load` reads
    (DEGANN: ``.h5``). Without validation data it does nothing.

    Parameters
    ----------
    model_save : IModel
        What is trained.
    path : str or path
        Of the files, without ending.

    Attributes
    ----------
    best_val_loss : float
        The smallest so far.

    Examples
    --------
    >>> from grufast.degann import IModel
    >>> net = IModel(1, [4], 1, seed=0)
    >>> save = SaveBestModel(net, "best_Model")
    """

    def __init__(
        self, model_save: Exporting, path: str | os.PathLike[str] = "best_Model"
    ) -> None:
        self.save_best_model_path = os.fspath(path)
        super().__init__(f"{self.save_best_model_path}.safetensors")
        self.model_save = model_save
        self.best_val_loss = math.inf

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save, if it is the best."""
        if logs.get("val_loss", math.inf) < self.best_val_loss:
            self.best_val_loss = logs["val_loss"]
            super().on_epoch_end(epoch, logs)
            self.model_save.export_to_file(self.save_best_model_path)


class VisualizationTS(callbacks.Plot):
    """Draws losses, and predictions against the true function, into a picture.

    Parameters
    ----------
    train_data_x, train_data_y : array-like
        Inputs whose outputs are drawn, and what was trained on.
    val_data_x, val_data_y : array-like
        Not used; DEGANN passes them.
    func_name : str
        Which of `funcs`.
    funcs : list of (callable, str)
        Functions with their names. Without one of that name predictions are drawn
        against `train_data_y`.
    path : str or path, optional
        Of the picture; ``<func_name>.png`` if not given.
    every : int
        Draw after so many epochs, and at the end.

    Examples
    --------
    >>> x = np.linspace(0, 1, 20).reshape(-1, 1)
    >>> funcs = [(lambda x: np.sin(10 * x), "sin")]
    >>> draw = VisualizationTS(x, np.sin(10 * x), x, x, "sin", funcs)
    >>> draw.path
    'sin.png'
    """

    def __init__(
        self,
        train_data_x: Any,
        train_data_y: Any,
        val_data_x: Any,
        val_data_y: Any,
        func_name: str,
        funcs: Iterable[tuple[Callable[[Array], Any], str]],
        *,
        path: str | os.PathLike[str] | None = None,
        every: int = 100,
    ) -> None:
        x = real("train_data_x", train_data_x)
        truth = real("train_data_y", train_data_y)
        for function, name in funcs:
            if name == func_name:
                # The last coordinate of each window is where its output belongs.
                at = x.reshape(len(x), -1)[:, -1]
                truth = np.broadcast_to(real("funcs", function(at)), (len(x),))
        super().__init__(path or f"{func_name}.png", x, truth, every=every)


class VisualizationDense(VisualizationTS):
    """Does what `VisualizationTS` does, for a "DenseNet"."""
