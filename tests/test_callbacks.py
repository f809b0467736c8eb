"""Callbacks: hooks, early stopping, checkpoints, progress, plots, Ctrl-C."""

import builtins
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import callbacks, figures
from grufast.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    Logs,
    MeasureTime,
    ModelCheckpoint,
    Plot,
    ProgressBar,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from reference import Array

NAN = float("nan")


def model_and_data(rows: int = 20) -> tuple[gf.Sequential, Array, Array]:
    model = gf.Sequential([gf.layers.GRU(3), gf.layers.Dense(1)], seed=0)
    model.compile("adam", "mse")
    x = np.linspace(-1, 1, rows * 5, dtype=np.float32).reshape(rows, 5, 1)
    return model, x, x[:, -1]


class Recorder(Callback):
    """Writes down which hooks are called, with which logs."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.logs: list[list[str]] = []

    def on_train_begin(self, logs: Logs) -> None:
        self.calls.append("train(")

    def on_train_end(self, logs: Logs) -> None:
        self.calls.append(")train")

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.calls.append(f"epoch{epoch}(")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.calls.append(f"){epoch}")
        self.logs.append(sorted(logs))

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        self.calls.append(f"batch{batch}(")

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self.calls.append(")")
        self.logs.append(sorted(logs))


def test_hooks_are_called_in_keras_order() -> None:
    model, x, y = model_and_data()
    recorder = Recorder()
    model.fit(x, y, epochs=2, batch_size=8, validation_split=0.2, callbacks=[recorder])
    batches = "batch0( ) batch1( )"
    expected = f"train( epoch0( {batches} )0 epoch1( {batches} )1 )train"
    assert " ".join(recorder.calls) == expected
    assert recorder.logs == [["loss"], ["loss"], ["loss", "val_loss"]] * 2
    assert recorder.model is model
    metrics = ["loss", "val_loss"]
    assert recorder.params == {"epochs": 2, "steps": 2, "metrics": metrics}


def test_logs_of_batches_are_means_so_far() -> None:
    class Means(Callback):
        def __init__(self) -> None:
            self.values: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            self.values.append(logs["loss"])

    means = Means()
    model, x, y = model_and_data()
    history = model.fit(x, y, batch_size=8, callbacks=[means], seed=0).history
    assert len(set(means.values)) == 3
    assert history["loss"] == means.values[-1:]


def test_a_callback_can_stop_training_and_change_the_learning_rate() -> None:
    class Stop(Callback):
        def on_epoch_end(self, epoch: int, logs: Logs) -> None:
            self.model.optimizer.learning_rate /= 2
            self.model.stop_training = epoch == 2

    model, x, y = model_and_data()
    assert model.fit(x, y, epochs=10, callbacks=[Stop()]).epoch == [0, 1, 2]
    assert model.optimizer is not None
    assert model.optimizer.learning_rate == 1e-3 / 8
    # The next training starts afresh.
    assert model.fit(x, y, epochs=2).epoch == [0, 1]


def test_no_epochs_change_nothing() -> None:
    model, x, y = model_and_data()
    model.build(x.shape)
    before = model.get_weights()
    recorder = Recorder()
    assert model.fit(x, y, epochs=0, callbacks=[recorder]).history == {}
    assert recorder.calls == ["train(", ")train"]
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(weight, before[name])


# Early stopping


class Counted:
    """Stands for a model whose only weight is the number of its epoch."""

    def __init__(self) -> None:
        self.epoch = -1
        self.stop_training = False

    def get_weights(self) -> dict[str, Array]:
        return {"epoch": np.array(self.epoch)}

    def set_weights(self, weights: Any) -> None:
        self.epoch = int(weights["epoch"])

    def predict(self, x: Array) -> Array:
        return x

    @property
    def weights(self) -> dict[str, Array]:
        return self.get_weights()

    def save(self, path: Any, *, include_optimizer: bool = False) -> None:
        Path(path).write_text(str(self.epoch))
        self.kept_optimizer = include_optimizer


def play(callback: Callback, name: str, values: list[float]) -> Counted:
    """Show a callback these values, one an epoch, until it stops the training."""
    model = Counted()
    callback.set_model(model)
    callback.on_train_begin({})
    for model.epoch, value in enumerate(values):
        callback.on_epoch_end(model.epoch, {"loss": 0.0, name: value})
        if model.stop_training:
            break
    callback.on_train_end({})
    return model


@pytest.mark.parametrize(
    ("options", "values", "stopped", "best"),
    [
        ({}, [3, 2, 1, 1, 0], 3, 2),
        ({"patience": 1}, [3, 2, 1, 1, 0], 3, 2),
        ({"patience": 2}, [3, 2, 1, 1, 0, 1, 1, 0], 6, 4),
        ({"patience": 2}, [3, 4, 2, 4, 1, 4], None, 4),
        ({"patience": 2}, [3, 3, 3, 0], 2, 0),
        ({"patience": 9}, [3, 2, 1], None, 2),
        ({"patience": 1, "min_delta": 0.5}, [3, 2, 1.75, 1], 2, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.75, 2.25, 2], None, 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2], 3, 2),
        ({"patience": 1, "mode": "max", "min_delta": 1}, [1, 2, 3.5, 5], 1, 0),
        ({"patience": 2}, [3, NAN, 2, NAN, NAN, 0], 4, 2),
        ({"patience": 2}, [NAN, 3, 2, 3], None, 2),
    ],
)
def test_early_stopping(
    options: dict[str, Any], values: list[float], stopped: int | None, best: int
) -> None:
    stop = EarlyStopping(**options)
    last = play(stop, "val_loss", values).epoch
    assert (stop.stopped_epoch, stop.best_epoch) == (stopped, best)
    assert last == (len(values) - 1 if stopped is None else stopped)
    restore = EarlyStopping(**options, restore_best_weights=True)
    assert play(restore, "val_loss", values).epoch == best
    # Nothing is left over from an earlier training.
    assert play(restore, "val_loss", values).epoch == best


@pytest.mark.parametrize(
    ("name", "best"), [("val_accuracy", 1), ("auc", 1), ("r2", 1), ("mae", 2)]
)
def test_early_stopping_guesses_the_direction(name: str, best: int) -> None:
    stop = EarlyStopping(name, patience=5)
    play(stop, name, [2, 3, 1])
    assert stop.best_epoch == best


def test_early_stopping_in_fit_restores_the_best_weights() -> None:
    model, x, y = model_and_data()
    model.compile(gf.optimizers.SGD(5.0, momentum=0.9), "mse")
    stop = EarlyStopping(patience=5, restore_best_weights=True)
    data = x, y
    fit = model.fit(x, y, epochs=50, validation_data=data, callbacks=[stop], seed=0)
    losses = fit.history["val_loss"]
    assert stop.best_epoch == int(np.argmin(losses)) == len(losses) - 6
    assert model.evaluate(x, y) == min(losses)


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping(), ModelCheckpoint("never", save_best_only=True)],
    ids=lambda callback: type(callback).__name__,
)
def test_a_number_that_is_not_there_is_an_error(callback: Callback) -> None:
    model, x, y = model_and_data()
    message = "monitor: no 'val_loss' among .'loss'.; pass validation data to fit"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, callbacks=[callback])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": -1}, "patience: got -1"),
        ({"min_delta": -0.1}, "min_delta: got -0.1"),
        ({"mode": "best"}, "mode: got 'best', expected one of 'auto', 'min', 'max'"),
        ({"restore_best_weights": 1}, "restore_best_weights: got 1"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        EarlyStopping(**options)


def test_ctrl_c_leaves_the_best_model(tmp_path: Path) -> None:
    class CtrlC(Callback):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            if len(losses) == 3 and batch == 1:
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch: int, logs: Logs) -> None:
            losses.append(logs["val_loss"])

    losses: list[float] = []
    model, x, y = model_and_data()
    path = tmp_path / "best.safetensors"
    given = [
        CtrlC(),
        EarlyStopping(patience=5, restore_best_weights=True),
        ModelCheckpoint(path, save_best_only=True),
        Plot(tmp_path / "plot.png", x, y),
    ]
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=9, batch_size=8, validation_data=(x, y), callbacks=given)
    assert len(losses) == 3
    assert model.evaluate(x, y) == min(losses) == gf.load(path).evaluate(x, y)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "plot.png"]


# Checkpoints


def test_checkpoints_keep_the_best(tmp_path: Path) -> None:
    path = tmp_path / "best"
    play(ModelCheckpoint(path, save_best_only=True), "val_loss", [3, 1, NAN, 2, 1])
    assert path.read_text() == "1"
    play(ModelCheckpoint(path), "val_loss", [3, 1, NAN, 2, 1])
    assert path.read_text() == "4"


def test_checkpoints_may_be_named_by_their_epoch(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(f"{tmp_path}/{{epoch:02d}}-{{val_loss:.1f}}")
    play(checkpoint, "val_loss", [3, 1.25])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-3.0", "02-1.2"]


# Progress


@pytest.mark.parametrize(
    ("verbose", "terminal", "err", "out"),
    [
        ("auto", False, False, False),
        ("auto", True, True, False),
        (0, True, False, False),
        (1, False, True, False),
        (2, True, False, True),
    ],
)
def test_verbose(
    verbose: Any,
    terminal: bool,
    err: bool,
    out: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x, y = model_and_data()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    model.fit(x, y, epochs=3, validation_split=0.2, verbose=verbose)
    printed = capsys.readouterr()
    assert (bool(printed.err), bool(printed.out)) == (err, out)
    if err:
        last = printed.err.rstrip().rsplit("\r", 1)[-1]
        assert last.startswith("epoch 3/3 100%|")
        assert "loss " in last
        assert "val_loss " in last
    if out:
        assert printed.out.count("\n") == 3
        assert printed.out.startswith("epoch 1/3: ")


def test_a_progress_bar_of_ones_own_stays_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, x, y = model_and_data()
    model.fit(x, y, epochs=2, verbose=1, callbacks=[ProgressBar()])
    assert capsys.readouterr().err.count("100%") == 1


def test_the_bar_starts_where_training_does(capsys: pytest.CaptureFixture[str]) -> None:
    model, x, y = model_and_data()
    model.fit(x, y, epochs=10, initial_epoch=8, verbose=1)
    printed = capsys.readouterr().err.split("\r")
    assert printed[-1].startswith("epoch 10/10 100%")


@pytest.mark.parametrize("columns", [40, 60, 80, 90, 130])
def test_the_bar_shows_whole_numbers_or_none(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
    model, x, y = model_and_data()
    model.compile(metrics=["mae", "rmse"])
    history = model.fit(x, y, epochs=2, validation_split=0.2, verbose=1, seed=0).history
    last = capsys.readouterr().err.rstrip().rsplit("\r", 1)[-1]
    assert len(last) <= columns
    shown = last.partition(", ")[2].removesuffix(", ...").split(", ")
    expected = [f"{name} {values[-1]:.4g}" for name, values in history.items()]
    if len(shown) < len(expected):  # losses first
        expected = [expected[0], expected[3], *expected[1:3], *expected[4:]]
    if columns > 40:  # less than one number
        assert shown == expected[: len(shown)]
    assert len(shown) == {40: 1, 60: 1, 80: 2, 90: 3, 130: 6}[columns]


# Plots


def png_size(path: Path) -> tuple[int, ...]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])


def test_plot_writes_a_picture_during_training(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    seen: list[bool] = []

    class Look(Callback):
        def on_epoch_end(self, epoch: int, logs: Logs) -> None:
            seen.append(path.exists())

    model, x, y = model_and_data()
    plot = Plot(path, x, y, every=2)
    model.fit(x, y, epochs=3, validation_split=0.2, callbacks=[plot, Look()])
    assert seen == [False, True, True]
    with_predictions = png_size(path)
    model.fit(x, y, epochs=1, callbacks=[Plot(path)])
    width, height = png_size(path)
    assert width == with_predictions[0]
    assert height < with_predictions[1]
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.filterwarnings("ignore:the loss is nan:RuntimeWarning")
def test_plot_takes_losses_that_have_no_logarithm(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    for factor in (0.0, NAN):
        model.fit(x, y * np.float32(factor), epochs=2, callbacks=[Plot(tmp_path / "p")])
        png_size(tmp_path / "p")


def test_plot_needs_both_x_and_y() -> None:
    with pytest.raises(ValueError, match="x, y: expected both or neither"):
        Plot("plot.png", x=np.zeros((1, 1, 1)))


def test_plot_says_before_training_what_it_cannot_draw(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    with pytest.raises(ValueError, match=r"cannot draw '.*plot\.xyz': choose"):
        Plot(tmp_path / "plot.xyz")
    with pytest.raises(ValueError, match=f"y: got 3 rows, expected {len(x)} as in x"):
        Plot(tmp_path / "plot.png", x, y[:3])
    before = model.get_weights()
    plot = Plot(tmp_path / "plot.png", x.astype("f8"), y)
    with pytest.raises(TypeError, match="x: got an array of float64"):
        model.fit(x, y, epochs=50, callbacks=[plot])
    after = model.get_weights()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    # A list of sequences is fine.
    model.fit(x, y, callbacks=[Plot(tmp_path / "plot.png", list(x), y)])
    png_size(tmp_path / "plot.png")


def test_the_scale_of_losses_fits_their_range() -> None:
    for last, scale in ((0.5, "linear"), (0.001, "log")):
        curves = {"loss": ([1, 2], [1.0, last])}
        figure = figures.training_figure(curves)
        assert figure.axes[0].get_yscale() == scale


def test_plot_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_import = builtins.__import__

    def without_matplotlib(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return whole_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r'pip install "grufast\[plot\]"'):
        Plot("plot.png")


def test_plot_leaves_pyplot_alone(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np, grufast as gf\n"
        "m = gf.Sequential([gf.layers.GRU(1)])\n"
        "m.compile()\n"
        "x = np.ones((4, 2, 1), 'f4')\n"
        f"plot = gf.callbacks.Plot({str(tmp_path / 'p.png')!r}, x, x[:, 0])\n"
        "m.fit(x, x[:, 0], callbacks=[plot])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    png_size(tmp_path / "p.png")


# What else Keras's callbacks do


@pytest.mark.parametrize(
    ("options", "values", "stopped", "best"),
    [
        # An improvement that does not beat the baseline gives no new patience.
        ({"patience": 2, "baseline": 1.0}, [4, 3, 2, 2, 0], 3, 2),
        ({"patience": 3, "baseline": 2.5}, [4, 3, 2, 2, 2, 2], 5, 2),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 0], 4, 3),
        ({"patience": 1}, [NAN, NAN, 1], 1, 0),
        ({"patience": 0}, [NAN, 1, 2], 2, 1),
    ],
)
def test_early_stopping_as_in_keras(
    options: dict[str, Any], values: list[float], stopped: int, best: int
) -> None:
    stop = EarlyStopping(**options, restore_best_weights=True)
    assert play(stop, "val_loss", values).epoch == best
    assert (stop.stopped_epoch, stop.best_epoch) == (stopped, best)


def test_early_stopping_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    play(EarlyStopping(patience=1, verbose=1), "val_loss", [1, 2, 3])
    assert capsys.readouterr().out == "epoch 2: early stopping\n"
    play(EarlyStopping(patience=9, verbose=1), "val_loss", [1, 2, 3])
    assert capsys.readouterr().out == ""


def test_checkpoints_know_earlier_values(tmp_path: Path) -> None:
    path = tmp_path / "best"
    options: dict[str, Any] = {"save_best_only": True, "initial_value_threshold": 1.5}
    play(ModelCheckpoint(path, **options), "val_loss", [3, 2, 1.6])
    assert not path.exists()
    play(ModelCheckpoint(path, **options), "val_loss", [3, 1, 2])
    assert path.read_text() == "1"
    play(ModelCheckpoint(path, mode="max", **options), "val_loss", [1, 3, 2])
    assert path.read_text() == "1"


def test_checkpoints_make_directories_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a" / "b" / "{epoch}"
    play(ModelCheckpoint(path, verbose=1), "val_loss", [3, 2])
    assert sorted(p.name for p in path.parent.iterdir()) == ["1", "2"]
    assert capsys.readouterr().out == "".join(
        f"epoch {n}: saved to {path.parent / str(n)}\n" for n in (1, 2)
    )


def test_checkpoints_after_batches(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    keep = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.9f}", save_freq=2)
    losses: list[float] = []
    see = LambdaCallback(on_train_batch_end=lambda b, logs: losses.append(logs["loss"]))
    model.fit(x, y, epochs=2, batch_size=8, callbacks=[keep, see])  # 3 batches each
    saved = [f"1-2-{losses[1]:.9f}", f"2-1-{losses[3]:.9f}", f"2-3-{losses[5]:.9f}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == saved


def test_checkpoints_keep_the_optimizer_unless_told(tmp_path: Path) -> None:
    for weights_only in (False, True):
        keep = ModelCheckpoint(tmp_path / "m", save_weights_only=weights_only)
        assert play(keep, "val_loss", [1]).kept_optimizer is not weights_only


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"save_freq": 0}, ValueError, "save_freq: got 0"),
        ({"save_freq": "batch"}, ValueError, "save_freq: got 'batch', expected 'epoc"),
        ({"save_best_only": 1}, TypeError, "save_best_only: got 1"),
        ({"save_weights_only": 1}, TypeError, "save_weights_only: got 1"),
        ({"verbose": 2}, ValueError, "verbose: got 2"),
        ({"initial_value_threshold": "1"}, TypeError, "initial_value_threshold: got"),
        (
            {"save_best_only": True, "save_freq": 3},
            ValueError,
            "monitor: 'val_loss' is known at an epoch's end only; with save_freq=3",
        ),
    ],
)
def test_wrong_settings_of_checkpoints_are_named(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ModelCheckpoint("m", **options)


@pytest.mark.parametrize("field", ["{val_rmse}", "{}", "{batch}"])
def test_fields_that_are_not_there_are_named(tmp_path: Path, field: str) -> None:
    message = r"filepath: '.*' has a field .*, there are .'epoch', 'loss', 'val_loss'."
    with pytest.raises(ValueError, match=message):
        play(ModelCheckpoint(f"{tmp_path}/{field}"), "val_loss", [1])


# Learning rates


def rates(callback: Callback, losses: list[float], rate: float = 1.0) -> list[float]:
    """The learning rates after epochs with such losses."""
    model, _, _ = model_and_data()
    model.compile(gf.optimizers.SGD(rate))
    callback.set_model(model)
    callback.on_train_begin({})
    found = []
    for epoch, loss in enumerate(losses):
        logs = {"loss": 0.0, "val_loss": loss}
        callback.on_epoch_begin(epoch, {})
        assert model.optimizer is not None
        before = model.optimizer.learning_rate
        callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == before
        found.append(model.optimizer.learning_rate)
    return found


@pytest.mark.parametrize(
    ("options", "losses", "expected"),
    [
        ({"patience": 1}, [3, 2, 2, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25, 0.125]),
        ({"patience": 2}, [3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25]),
        (
            {"patience": 1, "cooldown": 1},
            [3, 3, 3, 3, 3],
            [1, 0.5, 0.25, 0.125, 1 / 16],
        ),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3], [1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.3}, [3, 3, 3, 3], [1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2.4], [1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 2, 3], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "monitor": "loss"}, [1, 2], [1, 0.5]),
    ],
)
def test_plateaus_lower_the_learning_rate(
    options: dict[str, Any], losses: list[float], expected: list[float]
) -> None:
    callback = ReduceLROnPlateau(factor=0.5, **{"min_delta": 0.0, **options})
    assert rates(callback, losses) == expected
    assert rates(callback, losses) == expected  # starts afresh


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 1.0}, ValueError, "factor: got 1.0"),
        ({"patience": 1.0}, TypeError, "patience: got 1.0"),
        ({"cooldown": -1}, ValueError, "cooldown: got -1"),
        ({"min_lr": -1.0}, ValueError, "min_lr: got -1.0"),
        ({"min_delta": None}, TypeError, "min_delta: got None"),
        ({"verbose": True}, ValueError, "verbose: got True"),
        ({"mode": "up"}, ValueError, "mode: got 'up'"),
    ],
)
def test_wrong_settings_of_plateaus_are_named(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ReduceLROnPlateau(**options)


def test_a_scheduler_sets_the_learning_rate(capsys: pytest.CaptureFixture[str]) -> None:
    two = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    assert rates(two, [1, 1, 1], 0.8) == [0.8, 0.4, 0.2]
    one = LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1), verbose=1)
    assert rates(one, [1, 1]) == [0.1, 0.2]
    said = capsys.readouterr().out
    assert said == "epoch 1: learning rate 0.1\nepoch 2: learning rate 0.2\n"
    model, x, y = model_and_data()
    history = model.fit(x, y, epochs=2, callbacks=[one]).history
    assert history["learning_rate"] == [0.1, 0.2]


def test_wrong_schedules_are_named() -> None:
    with pytest.raises(TypeError, match="schedule: got 3, expected a function"):
        LearningRateScheduler(3)  # type: ignore[arg-type]
    for value, error in (("fast", TypeError), (-1.0, ValueError), (None, TypeError)):
        schedule: Any = LearningRateScheduler(lambda epoch, rate, value=value: value)
        with pytest.raises(error, match="schedule's learning rate: got"):
            rates(schedule, [1])


@pytest.mark.parametrize(
    "callback", [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("loss")]
)
def test_a_learning_rate_follows_one_rule(callback: Callback) -> None:
    model, x, y = model_and_data()
    model.compile(gf.optimizers.SGD(gf.schedules.ExponentialDecay(0.1, 10, 0.5)))
    message = "sets learning_rate, which already follows ExponentialDecay"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, callbacks=[callback])


# Ends


@pytest.mark.filterwarnings("ignore:the loss is nan:RuntimeWarning")
def test_training_ends_with_the_first_loss_that_is_not_finite() -> None:
    model, x, y = model_and_data()
    y = y.copy()
    y[8:] = np.nan
    ends: list[int] = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(batch))
    options: dict[str, Any] = {"epochs": 3, "batch_size": 4, "shuffle": False}
    history = model.fit(x, y, callbacks=[TerminateOnNaN(), count], **options)
    assert ends == [0, 1, 2]
    assert history.epoch == [0]
    model, _, _ = model_and_data()
    with pytest.raises(RuntimeError, match="the loss is nan after batch 3"):
        model.fit(x, y, callbacks=[TerminateOnNaN(raise_error=True)], **options)


# Functions as callbacks


def test_a_callback_may_be_made_of_functions() -> None:
    model, x, y = model_and_data()
    calls: list[str] = []
    callback = LambdaCallback(
        on_epoch_end=lambda epoch, logs: calls.append(f"{epoch} {sorted(logs)}"),
        on_train_end=lambda logs: calls.append("end"),
    )
    model.fit(x, y, epochs=2, callbacks=[callback])
    assert calls == ["0 ['loss']", "1 ['loss']", "end"]


def test_functions_at_no_hook_are_named() -> None:
    with pytest.raises(
        TypeError, match=r"on_epoch: no such hook, expected one of \['o"
    ):
        LambdaCallback(on_epoch=print)
    with pytest.raises(TypeError, match="on_train_end: got 3, expected a function"):
        LambdaCallback(on_train_end=3)  # type: ignore[arg-type]


# Logs


def csv_rows(path: Path, separator: str = ",") -> list[list[str]]:
    return [line.split(separator) for line in path.read_text().splitlines()]


def test_a_csv_file_has_the_logs_exactly(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("old\n")
    model, x, y = model_and_data()
    model.compile(metrics=["mae"])
    options: dict[str, Any] = {"validation_split": 0.2, "validation_freq": 2}
    log = CSVLogger(path)
    history = model.fit(x, y, epochs=3, callbacks=[log], **options).history
    names = ["epoch", "loss", "mae", "val_loss", "val_mae"]
    head, *rows = csv_rows(path)
    assert head == names
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert [float(row[1]) for row in rows] == history["loss"]
    assert [row[3] for row in rows] == ["NA", repr(history["val_loss"][0]), "NA"]
    # Once more: another file.
    model.fit(x, y, epochs=1, callbacks=[log])
    assert [len(row) for row in csv_rows(path)] == [3, 3]


def test_a_csv_file_may_be_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model, x, y = model_and_data()
    log = CSVLogger(path, separator=";", append=True)
    model.fit(x, y, epochs=2, callbacks=[log])
    model.fit(x, y, epochs=4, initial_epoch=2, callbacks=[log])
    rows = csv_rows(path, ";")
    assert [row[0] for row in rows] == ["epoch", "0", "1", "2", "3"]


def test_a_csv_file_that_cannot_be_written_ends_the_training_first(
    tmp_path: Path,
) -> None:
    model, x, y = model_and_data()
    model.build(x.shape)
    before = model.get_weights()
    with pytest.raises(FileNotFoundError):
        model.fit(x, y, callbacks=[CSVLogger(tmp_path / "absent" / "log.csv")])
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(weight, before[name])
    for separator in ("", ", ", None):
        with pytest.raises(ValueError, match=r"separator: got .*, expected one char"):
            CSVLogger("log.csv", separator=separator)  # type: ignore[arg-type]


def test_tensorboard_reads_the_logs(tmp_path: Path) -> None:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is 58 MB: GRUFAST_TEST_ALSO=tensorboard nox -s tests",
    )
    model, x, y = model_and_data()
    model.compile(metrics=["mae"])
    board = TensorBoard(tmp_path, update_freq=2)
    history = model.fit(
        x, y, epochs=3, batch_size=8, validation_split=0.2, callbacks=[board]
    ).history

    def read(kind: str) -> dict[str, list[tuple[int, float]]]:
        events = accumulators.EventAccumulator(str(tmp_path / kind))
        events.Reload()
        found = {}
        for tag in events.Tags()["tensors"]:
            tensors = events.Tensors(tag)
            values = [e.tensor_proto.float_val[0] for e in tensors]
            found[tag] = list(zip([e.step for e in tensors], values, strict=True))
        return found

    train, validation = read("train"), read("validation")
    assert sorted(train) == ["batch_loss", "batch_mae", "epoch_loss", "epoch_mae"]
    assert sorted(validation) == ["epoch_loss", "epoch_mae"]
    assert [step for step, _ in train["batch_loss"]] == [0, 2, 4]
    for name, events in (
        ("mae", train["epoch_mae"]),
        ("val_loss", validation["epoch_loss"]),
    ):
        assert [step for step, _ in events] == [0, 1, 2]
        np.testing.assert_allclose(
            [value for _, value in events], history[name], rtol=1e-6
        )


def test_tensorboard_gets_keras_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a writer that only notes what it is told."""
    notes: list[tuple[str, str, int]] = []

    class Writer:
        def __init__(self, path: str) -> None:
            self.kind = Path(path).name

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            notes.append((self.kind, tag, step))

        def flush(self) -> None:
            notes.append((self.kind, "flush", -1))

        def close(self) -> None:
            notes.append((self.kind, "close", -1))

    monkeypatch.setattr(callbacks, "_tensorboard_writer", lambda: Writer)
    model, x, y = model_and_data()
    options: dict[str, Any] = {"batch_size": 8, "validation_split": 0.2}
    model.fit(x, y, callbacks=[TensorBoard(tmp_path)], **options)
    assert notes == [
        ("train", "epoch_loss", 0),
        ("validation", "epoch_loss", 0),
        *(("train", "flush", -1), ("validation", "flush", -1)),
        *(("train", "close", -1), ("validation", "close", -1)),
    ]
    notes.clear()
    model.fit(x, y, epochs=2, callbacks=[TensorBoard(update_freq="batch")], **options)
    batches = [note for note in notes if note[1] == "batch_loss"]
    assert batches == [("train", "batch_loss", step) for step in range(4)]


def test_tensorboard_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ImportError, match=r'pip install "grufast\[tensorboard\]"'):
        TensorBoard()


@pytest.mark.parametrize(
    ("freq", "error"), [("never", ValueError), (0, ValueError), (1.5, TypeError)]
)
def test_wrong_frequencies_are_named(freq: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="update_freq: got"):
        TensorBoard(update_freq=freq)


def test_times_add_up() -> None:
    model, x, y = model_and_data()
    clock = MeasureTime()
    for epochs in (3, 2):
        model.fit(x, y, epochs=epochs, callbacks=[clock])
        assert len(clock.epoch_times) == epochs
        assert all(seconds > 0 for seconds in clock.epoch_times)
        assert clock.train_time >= sum(clock.epoch_times)


# Where the number of batches is not known


def test_the_bar_counts_epochs_of_unknown_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, x, y = model_and_data()
    model.fit([(x, y)] * 3, epochs=2, verbose=1)
    printed = capsys.readouterr().err.split("\r")
    assert printed[-1].startswith("epoch 2/2 100%")


# Notebooks


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What IPython, or what stands for it here, was told to show."""
    seen: list[tuple[str, bytes]] = []

    class Handle:
        def update(self, picture: Any) -> None:
            seen.append(("update", picture))

    def display(picture: Any, *, display_id: bool) -> Handle:
        assert display_id
        seen.append(("display", picture))
        return Handle()

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel=None)
    vars(module).update(display=display, Image=lambda data: data)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return seen


def test_a_notebook_shows_the_picture_and_changes_it(
    shown: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, x, y = model_and_data()
    model.fit(x, y, epochs=3, callbacks=[Plot(x=x, y=y, every=2)])
    assert [kind for kind, _ in shown] == ["display", "update"]
    assert all(picture.startswith(b"\x89PNG") for _, picture in shown)
    assert list(tmp_path.iterdir()) == []
    model.fit(x, y, epochs=3, callbacks=[Plot("own.png", every=2)])
    assert [kind for kind, _ in shown[2:]] == ["display", "update"]
    png_size(tmp_path / "own.png")


def test_elsewhere_the_picture_is_a_file(
    shown: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ipython = ModuleType("IPython")  # in a terminal
    vars(ipython)["get_ipython"] = SimpleNamespace
    model, x, y = model_and_data()
    for module in (ipython, None):
        monkeypatch.setitem(sys.modules, "IPython", module)
        model.fit(x, y, callbacks=[Plot()])
        png_size(tmp_path / "training.png")
        (tmp_path / "training.png").unlink()
    assert shown == []


def test_batches_have_their_older_names_too() -> None:
    calls: list[Any] = []

    class Old(Callback):
        def on_batch_begin(self, batch: int, logs: Logs) -> None:
            calls.append(("begin", batch))

        def on_batch_end(self, batch: int, logs: Logs) -> None:
            calls.append(("end", batch, "loss" in logs))

    class Both(Old):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            calls.append(("new", batch))

    model, x, y = model_and_data()
    model.fit(x, y, batch_size=len(x), callbacks=[Old()])
    assert calls == [("begin", 0), ("end", 0, True)]
    calls.clear()
    model.fit(x, y, batch_size=len(x), callbacks=[Both()])
    assert calls == [("begin", 0), ("new", 0)]
