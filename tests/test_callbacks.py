"""Callbacks: hooks, early stopping, checkpoints, progress, plots, Ctrl-C."""

import builtins
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast.callbacks import (
    Callback,
    EarlyStopping,
    Logs,
    ModelCheckpoint,
    Plot,
    ProgressBar,
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
    assert recorder.params == {"epochs": 2, "steps": 2}


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

    def save(self, path: Any) -> None:
        Path(path).write_text(str(self.epoch))


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
    callbacks = [
        CtrlC(),
        EarlyStopping(patience=5, restore_best_weights=True),
        ModelCheckpoint(path, save_best_only=True),
        Plot(tmp_path / "plot.png", x, y),
    ]
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            x, y, epochs=9, batch_size=8, validation_data=(x, y), callbacks=callbacks
        )
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
