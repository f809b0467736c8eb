"""BackupAndRestore: killed at any moment, training ends with the same bits.

Run as a program, this file is the training that is killed: see `main`.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast.callbacks import (
    HOOKS,
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    Logs,
    MeasureTime,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from reference import Array

layers = gf.layers
pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork")


def data() -> tuple[Array, Array]:
    x = np.random.default_rng(3).standard_normal((20, 5, 2), np.float32)
    return x, np.tanh(x.sum(axis=(1, 2)))[:, None]


def new_model(optimizer: Any = None, seed: int = 1) -> gf.Sequential:
    stack = [
        layers.GRU(4, return_sequences=True),
        layers.Dropout(0.3),
        layers.GRU(3),
        layers.Dense(1),
    ]
    model = gf.Sequential(stack, seed=seed)
    model.compile(optimizer or gf.optimizers.Adam(0.05), "mse", ["mae"])
    return model


def bits(model: gf.Sequential) -> dict[str, str]:
    return {name: weight.tobytes().hex() for name, weight in model.weights.items()}


# The training that is killed


def train(folder: Path, save_freq: Any, *more: Callback) -> None:
    """Train from the beginning or from the backup; leave the results in the folder."""
    gf.set_num_threads(1)
    x, y = data()
    stop = EarlyStopping(patience=5, min_delta=1e-3, restore_best_weights=True)
    callbacks = [
        *more,
        BackupAndRestore(folder / "backup", save_freq),
        LearningRateScheduler(lambda epoch, rate: rate * 0.98),
        ReduceLROnPlateau(patience=1, factor=0.5, min_delta=1e-2, cooldown=1),
        ModelCheckpoint(folder / "best", save_best_only=True),
        CSVLogger(folder / "log.csv"),
        stop,
    ]
    model = new_model()
    history = model.fit(
        x,
        y,
        epochs=14,
        batch_size=4,
        validation_split=0.2,
        callbacks=callbacks,
        seed=7,
    )
    results = {
        "weights": bits(model),
        "best": (folder / "best").read_bytes().hex(),
        "history": history.history,
        "epoch": history.epoch,
        "log": (folder / "log.csv").read_text(),
        "stopping": [stop.best_epoch, stop.stopped_epoch],
    }
    new = folder / "results.new"
    new.write_text(json.dumps(results))
    new.rename(folder / "results")


def slowly() -> Callback:
    """Make an epoch last some milliseconds on any machine."""
    return LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.0007))


def killer(event: int) -> Callback:
    """Kill the process at its n-th hook."""
    count = itertools.count(1)

    def hook(*_: Any) -> None:
        if next(count) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    return LambdaCallback(**dict.fromkeys(HOOKS, hook))


def forked(work: Callable[[], None]) -> int:
    """Start a process that does some work; return its number."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended_by(child: int) -> int:
    """Return the signal that ended a process, or 0 if it came to its end."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.waitstatus_to_exitcode(status) == 0
    return 0


def kill_at_random(folder: Path, save_freq: Any, seed: int) -> int:
    """Start and kill until the training has ended; return the number of kills.

    Later ones come more slowly: a busy machine gets to the end, too.
    """
    draw = random.Random(seed)
    for kills in itertools.count():
        child = forked(lambda: train(folder, save_freq, slowly()))
        time.sleep(0.01 * 1.1**kills * draw.expovariate(1))
        os.kill(child, signal.SIGKILL)
        if not ended_by(child) or (folder / "results").exists():
            return kills
    raise AssertionError


def kill_at_every_hook(folder: Path, save_freq: Any) -> int:
    """Kill at the first hook, at the second of the next process, and so on."""
    for event in itertools.count(1):
        child = forked(partial(train, folder, save_freq, killer(event)))
        if not ended_by(child):
            return event - 1
    raise AssertionError


def main(job: str, *arguments: str) -> None:
    """Do a job in a process that has no threads yet, so that it can fork."""
    import safetensors.numpy  # noqa: F401  (once, not in every child)

    folder = Path(arguments[0])
    save_freq = "epoch" if arguments[1] == "epoch" else int(arguments[1])
    if job == "train":
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        train(folder, save_freq, slowly())
    elif job == "random":
        kills = kill_at_random(folder, save_freq, int(arguments[2]))
        sys.stdout.write(f"{kills}\n")
    elif job == "hooks":
        sys.stdout.write(f"{kill_at_every_hook(folder, save_freq)}\n")


def do(job: str, folder: Path, *arguments: Any) -> int:
    """Run `main` in an interpreter of its own; return the number of kills."""
    folder.mkdir()
    command = [sys.executable, __file__, job, str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    before = gf.get_num_threads()
    train(folder, "epoch")
    gf.set_num_threads(before)
    assert not (folder / "backup").exists()
    return json.loads((folder / "results").read_text())


def assert_same(folder: Path, expected: Any) -> None:
    assert json.loads((folder / "results").read_text()) == expected
    assert not (folder / "backup").exists()


def test_the_training_shows_what_it_should(expected: Any) -> None:
    """It stops early, after several learning rates, with weights of an old epoch."""
    best, stopped = expected["stopping"]
    assert 0 < best < stopped < 13
    rates = expected["history"]["learning_rate"]
    falls = {round(b / a, 3) for a, b in itertools.pairwise(rates)}
    assert falls == {0.98, 0.49}
    assert len(expected["log"].splitlines()) == stopped + 2


@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
def test_killed_at_random_moments(
    tmp_path: Path, expected: Any, save_freq: Any
) -> None:
    kills = 0
    for seed in itertools.count():
        folder = tmp_path / str(seed)
        kills += do("random", folder, save_freq, seed)
        assert_same(folder, expected)
        if kills >= 25:
            break


@pytest.mark.parametrize("save_freq", ["epoch", 2])
def test_killed_at_every_hook(tmp_path: Path, expected: Any, save_freq: Any) -> None:
    folder = tmp_path / "folder"
    assert do("hooks", folder, save_freq) >= 20
    assert_same(folder, expected)


def test_killed_with_the_whole_interpreter(tmp_path: Path, expected: Any) -> None:
    draw = random.Random(5)
    command = [sys.executable, __file__, "train", str(tmp_path), "1"]
    for kills in itertools.count():
        with subprocess.Popen(command, stdout=subprocess.PIPE) as trainer:
            assert trainer.stdout is not None
            assert trainer.stdout.readline() == b"ready\n"
            if kills == 6:
                break
            time.sleep(draw.uniform(0, 0.06))
            trainer.kill()
    assert trainer.returncode == 0
    assert_same(tmp_path, expected)


# Broken off in the same process


class Crash(Callback):
    """Breaks off at the n-th batch of the training."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


def batches(rows: int = 4) -> list[tuple[Array, Array]]:
    x, y = data()
    return [(x[i : i + rows], y[i : i + rows]) for i in range(0, len(x), rows)]


def endless() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    while True:
        x = rng.standard_normal((4, 5, 2), np.float32)
        yield x, x[:, -1, :1]


FEEDS: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: dict(zip("xy", data(), strict=True)),
    "parts of passes": lambda: {
        **dict(zip("xy", data(), strict=True)),
        "steps_per_epoch": 3,
        "batch_size": 4,
    },
    "in order": lambda: {
        **dict(zip("xy", data(), strict=True)),
        "shuffle": False,
        "batch_size": 4,
    },
    "a list of batches": lambda: {"x": batches()},
    "a list, around and around": lambda: {"x": batches(), "steps_per_epoch": 4},
    "a generator": lambda: {
        "x": endless(),
        "steps_per_epoch": 4,
        "validation_data": endless(),
        "validation_steps": 2,
    },
    "a late start": lambda: {
        "x": endless(),
        "steps_per_epoch": 4,
        "initial_epoch": 2,
        "validation_data": endless(),
        "validation_steps": 2,
        "validation_freq": 2,
    },
    "one reading": lambda: {"x": iter(batches(2)), "epochs": 1},
}


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
def test_broken_off_training_goes_on_to_the_same_bits(
    tmp_path: Path, feed: str, save_freq: Any
) -> None:
    def trained(*callbacks: Callback) -> tuple[dict[str, str], Any, Any]:
        model = new_model(gf.optimizers.SGD(0.05, momentum=0.9))
        arguments = {"epochs": 5, "seed": 4, **FEEDS[feed]()}
        try:
            fitted = model.fit(**arguments, callbacks=callbacks)
        except KeyboardInterrupt:
            return {}, None, None
        return bits(model), fitted.history, fitted.epoch

    path = tmp_path / "backup"
    whole = trained()
    for stop in (2, 3, 7):
        assert (
            not trained(Crash(stop), BackupAndRestore(path, save_freq))[0] or stop > 5
        )
        assert trained(BackupAndRestore(path, save_freq)) == whole
        assert not path.exists()


@pytest.mark.parametrize(
    "metrics", [["r2", "f1", "last_step_mse", "mape"], [lambda y, p: float(y.mean())]]
)
def test_metrics_and_schedules_go_on(tmp_path: Path, metrics: Any) -> None:
    def trained(*callbacks: Callback) -> tuple[dict[str, str], Any]:
        x = data()[0]
        stack = [layers.GRU(3, return_sequences=True), layers.Dense(1)]
        model = gf.Sequential(stack, seed=0)
        rate = gf.schedules.ExponentialDecay(0.1, 3, 0.5)
        model.compile(gf.optimizers.AdamW(rate), "mse", metrics)
        y = (x[..., :1] > 0).astype(np.float32)
        options: dict[str, Any] = {"epochs": 3, "batch_size": 4, "seed": 0}
        history = model.fit(x, y, callbacks=callbacks, **options)
        return bits(model), history.history

    path = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        trained(Crash(7), BackupAndRestore(path, 1))
    np.testing.assert_equal(trained(BackupAndRestore(path, 1)), trained())


def test_without_a_seed_the_numbers_drawn_are_kept(tmp_path: Path) -> None:
    """A training without a seed goes on with the random numbers it began with."""
    x, y = data()
    seen: list[Any] = []

    class See(gf.losses.MeanSquaredError):
        def value_and_gradient(self, y_true: Array, y_pred: Array, *more: Any) -> Any:
            seen.append(sorted(y_true[:, 0].tolist()))
            return super().value_and_gradient(y_true, y_pred, *more)

    path = tmp_path / "backup"
    for crash in (Crash(3), Crash(99)):
        model = new_model()
        model.compile("sgd", See())
        backup = BackupAndRestore(path, 1)
        try:
            model.fit(x, y, batch_size=4, epochs=1, callbacks=[crash, backup])
        except KeyboardInterrupt:
            assert len(seen) == 3
    assert sorted(itertools.chain(*seen)) == sorted(y[:, 0].tolist())


def test_the_backup_may_be_kept(tmp_path: Path) -> None:
    x, y = data()
    path = tmp_path / "backup"
    backup = BackupAndRestore(path, delete_checkpoint=False)
    model = new_model()
    first = model.fit(x, y, epochs=2, seed=0, callbacks=[backup])
    again = new_model()
    second = again.fit(x, y, epochs=2, seed=0, callbacks=[backup])
    assert bits(again) == bits(model)
    assert second.history == first.history
    # More epochs go on from there.
    whole = new_model().fit(x, y, epochs=4, seed=0)
    third = again.fit(x, y, epochs=4, seed=0, callbacks=[backup])
    assert third.history == whole.history
    assert path.exists()


def test_a_stop_within_an_epoch_is_kept(tmp_path: Path) -> None:
    """Stopped after two batches, killed before the epoch's end: it still ends there."""

    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            self.model.stop_training = batch == 1

    x, y = data()
    path = tmp_path / "backup"
    whole = new_model().fit(x, y, epochs=3, batch_size=4, seed=0, callbacks=[Stop()])
    assert whole.epoch == [0]
    broken = LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
    backup = BackupAndRestore(path, 1)
    with pytest.raises(ZeroDivisionError):
        new_model().fit(
            x, y, epochs=3, batch_size=4, seed=0, callbacks=[Stop(), broken, backup]
        )
    callbacks = [Stop(), BackupAndRestore(path, 1)]
    rest = new_model().fit(x, y, epochs=3, batch_size=4, seed=0, callbacks=callbacks)
    assert rest.history == whole.history


def test_times_go_on(tmp_path: Path) -> None:
    x, y = data()
    path = tmp_path / "backup"
    clocks = [MeasureTime(), MeasureTime()]
    options: dict[str, Any] = {"epochs": 4, "batch_size": 20}
    callbacks = [clocks[0], Crash(2), BackupAndRestore(path)]
    with pytest.raises(KeyboardInterrupt):
        new_model().fit(x, y, callbacks=callbacks, **options)
    new_model().fit(x, y, callbacks=[clocks[1], BackupAndRestore(path)], **options)
    assert clocks[1].epoch_times[:2] == clocks[0].epoch_times
    assert len(clocks[1].epoch_times) == 4
    assert clocks[1].train_time > sum(clocks[1].epoch_times)


# Backups that do not fit


def write_backup(path: Path, **options: Any) -> None:
    model = options.pop("model", None) or new_model()
    x, y = options.pop("data", data())
    callbacks = [*options.pop("callbacks", ()), Crash(7), BackupAndRestore(path, 2)]
    arguments = {"epochs": 3, "batch_size": 5, "seed": 0, "validation_split": 0.2}
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=callbacks, **{**arguments, **options})


X, Y = data()
OTHERS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "seed": (lambda: {"seed": 1}, "seed 0, not 1"),
    "no seed": (lambda: {"seed": None}, "seed 0, not None"),
    "model's seed": (lambda: {"model": new_model(seed=2)}, "model's seed 1, not 2"),
    "rows": (lambda: {"data": (X[:15], Y[:15])}, r"data x \(16, .* not x \(12, "),
    "steps": (lambda: {"data": (X[:, 1:], Y)}, r"data x \(16, 5, 2\), .*\(16, 4, 2\)"),
    "batches": (lambda: {"batch_size": 4}, "data .* batches of 5, .* batches of 4"),
    "order": (lambda: {"shuffle": False}, "shuffle True, not False"),
    "epochs of": (lambda: {"steps_per_epoch": 2}, "data .* 4 batches .* 2 batches"),
    "validation": (lambda: {"validation_data": (X, Y)}, r"(data|validation) x \(16, "),
    "class weights": (lambda: {"class_weight": {0: 2.0}}, "data .* sample_weight None"),
    "optimizer": (
        lambda: {"model": new_model(gf.optimizers.SGD(0.1))},
        "optimizer Adam .* not SGD",
    ),
    "settings": (
        lambda: {"model": new_model(gf.optimizers.Adam(0.05, beta_1=0.8))},
        "optimizer Adam .*0.9.* not Adam .*0.8",
    ),
    "callbacks": (
        lambda: {"callbacks": [EarlyStopping()]},
        r"callbacks \['History'\], not \['EarlyStopping', 'History'\]",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_backup_of_another_training_is_refused(tmp_path: Path, other: str) -> None:
    path = tmp_path / "backup"
    write_backup(path)
    before = path.read_bytes()
    make, message = OTHERS[other]
    options = make()
    model = options.setdefault("model", new_model())
    model.build(X.shape)
    weights = bits(model)
    match = f"the backup '.*' cannot be restored: it is of another training: {message}"
    with pytest.raises(ValueError, match=match):
        write_backup(path, **options)
    assert bits(model) == weights
    assert path.read_bytes() == before


def test_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    write_backup(path)
    model = gf.Sequential([layers.GRU(4), layers.Dense(1)], seed=1)
    model.compile(gf.optimizers.Adam(0.05), "mse", ["mae"])
    with pytest.raises(ValueError, match=r"another training: layers .*, not .GRU\(4\)"):
        write_backup(path, model=model)
    model = new_model()
    model.compile(gf.optimizers.Adam(0.05), "mae")
    with pytest.raises(ValueError, match=r"another training: loss MeanS.*, not MeanA"):
        write_backup(path, model=model)


def test_a_changed_learning_rate_is_the_backups(tmp_path: Path) -> None:
    """Callbacks change it, so it is no sign of another training."""
    path = tmp_path / "backup"
    write_backup(path)
    model = new_model(gf.optimizers.Adam(0.5))
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            X,
            Y,
            epochs=3,
            batch_size=5,
            seed=0,
            validation_split=0.2,
            callbacks=[Crash(0), BackupAndRestore(path)],
        )
    assert model.optimizer is not None
    assert model.optimizer.learning_rate == 0.05


def test_a_missing_directory_is_said_before_training(tmp_path: Path) -> None:
    model = new_model()
    model.build(X.shape)
    before = bits(model)
    backup = BackupAndRestore(tmp_path / "absent" / "backup")
    with pytest.raises(
        FileNotFoundError, match=r"no directory for the backup '.*absent"
    ):
        model.fit(X, Y, callbacks=[backup])
    assert bits(model) == before
    with pytest.raises(IsADirectoryError):
        model.fit(X, Y, callbacks=[BackupAndRestore(tmp_path)])


def test_one_backup_is_enough(tmp_path: Path) -> None:
    backups = [BackupAndRestore(tmp_path / name) for name in "ab"]
    with pytest.raises(ValueError, match="callbacks: expected one BackupAndRestore"):
        new_model().fit(X, Y, callbacks=backups)


@pytest.mark.parametrize(
    ("save_freq", "error"),
    [(0, ValueError), (-1, ValueError), ("batch", ValueError), (1.5, TypeError)],
)
def test_wrong_frequencies_are_named(save_freq: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="save_freq: got"):
        BackupAndRestore("backup", save_freq)


class Odd(Callback):
    """Has a state that is whatever it is told."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


def test_states_of_ones_own_callbacks_come_back(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    state = {
        "number": 1,
        "nothing": None,
        "text": "ö\n",
        "floats": [0.1, float("inf"), -1e-310],
        "scalar": np.float64(0.1),
        "flag": np.bool(True),
        "arrays": {"a": np.arange(3), "b": [np.zeros((0, 2), np.float32)]},
    }
    write_backup(path, callbacks=[Odd(state)])
    odd = Odd({})
    new_model().fit(
        X,
        Y,
        epochs=3,
        batch_size=5,
        seed=0,
        validation_split=0.2,
        callbacks=[odd, BackupAndRestore(path)],
    )
    np.testing.assert_equal(odd.state, state)
    assert type(odd.state["scalar"]) is np.float64
    assert odd.state["arrays"]["b"][0].dtype == np.float32


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1, 2}}, "callbacks/0/a: cannot keep {1, 2}"),
        ({"a": {1: 2}}, r"callbacks/0/a: got the keys \[1\], expected other strings"),
        ({"$tensor": 1}, "callbacks/0: got the keys"),
        ({"a": np.array(["b"])}, "callbacks/0/a: cannot keep an array of <U1"),
        ({"a": np.zeros(1, np.longdouble)}, "callbacks/0/a: cannot keep an array of"),
    ],
)
def test_states_that_no_file_can_hold_are_named(
    tmp_path: Path, state: Any, message: str
) -> None:
    path = tmp_path / "backup"
    with pytest.raises(TypeError, match=message):
        new_model().fit(X, Y, callbacks=[Odd(state), BackupAndRestore(path)])
    assert not path.exists()


if __name__ == "__main__":
    main(*sys.argv[1:])
