"""Model files: the same bits again, whole at every moment, harmless if damaged."""

import itertools
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import grufast as gf
from grufast import saving
from grufast.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
)
from reference import Array

layers = gf.layers


def trained(dtype: str = "float32") -> tuple[gf.Sequential, Array]:
    model = gf.Sequential(
        [
            layers.GRU(3, return_sequences=True, reset_after=False, dtype=dtype),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(2, "tanh", dtype=dtype, seed=7),
        ],
        seed=0,
    )
    model.compile(gf.optimizers.SGD(0.05, momentum=0.9), "mae", ["mse"])
    x = np.linspace(0, 1, 60).reshape(5, 4, 3).astype(dtype)
    model.fit(x, x[:, 0, :2], epochs=2, seed=0)
    return model, x


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_is_the_saved_one(path: Path, dtype: str) -> None:
    model, x = trained(dtype)
    model.save(path, metadata={"columns": ["a", "b"], "scale": [0.1, 1e-300]})
    same = gf.load(str(path))
    assert repr(same) == repr(model)
    assert same.weights.keys() == model.weights.keys()
    for name, weight in same.weights.items():
        assert weight.dtype == dtype
        assert weight.tobytes() == model.weights[name].tobytes()
    assert same.predict(x).tobytes() == model.predict(x).tobytes()
    assert same.metadata == {"columns": ["a", "b"], "scale": [0.1, 1e-300]}
    assert repr(same.optimizer) == "SGD(learning_rate=0.05, momentum=0.9)"
    assert same.evaluate(x, x[:, 0, :2]) == model.evaluate(x, x[:, 0, :2])
    lines: tuple[list[str], list[str]] = [], []
    model.summary(print_fn=lines[0].append)
    same.summary(print_fn=lines[1].append)
    assert lines[0] == lines[1]
    content = path.read_bytes()
    same.save(path)
    assert path.read_bytes() == content


def test_a_loaded_model_trains_on(path: Path) -> None:
    model, x = trained()
    model.save(path)
    same = gf.load(path)
    y = x[:, 0, :2]
    model.compile("sgd")
    same.compile("sgd")
    for each in (model, same):
        each.fit(x, y, epochs=2, seed=3)
    assert same.predict(x).tobytes() == model.predict(x).tobytes()


def test_files_are_plain_safetensors(path: Path) -> None:
    from safetensors.numpy import load_file

    model, _ = trained()
    model.save(path)
    tensors = load_file(path)
    assert tensors.keys() == model.weights.keys()
    assert "layers.0.weight_ih" in tensors
    np.testing.assert_array_equal(
        tensors["layers.3.bias"], model.layers[3].weights["bias"]
    )


def test_what_is_not_compiled_or_of_ones_own_loads_uncompiled(path: Path) -> None:
    class Own(gf.losses.MeanSquaredError):
        pass

    def own(y_true: Array, y_pred: Array) -> float:
        return 0.0

    model, x = trained()
    model.optimizer = model.loss = None
    for settings in (None, {"loss": Own()}, {"metrics": [own]}):
        if settings is not None:
            model.compile(**settings)
        model.save(path)
        same = gf.load(path)
        assert same.optimizer is None
        assert same.predict(x).tobytes() == model.predict(x).tobytes()


def test_only_built_models_can_be_saved(path: Path) -> None:
    with pytest.raises(ValueError, match="the model is not built"):
        gf.Sequential([layers.GRU(1)]).save(path)


@pytest.mark.parametrize(
    "metadata", [{"a": np.float32(1)}, {"a": {1, 2}}, {"a": float("nan")}, {(1, 2): 3}]
)
def test_metadata_must_be_json(path: Path, metadata: dict[Any, Any]) -> None:
    model, _ = trained()
    with pytest.raises((TypeError, ValueError)):
        model.save(path, metadata=metadata)
    assert not path.exists()


# Whole at every moment


def test_a_failed_save_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = trained()
    model.save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space left"):
                model.save(path, metadata={"new": True})
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    model, _ = trained()
    with pytest.raises(FileNotFoundError, match=r"no such directory: .*absent'"):
        model.save(tmp_path / "absent" / "m.safetensors")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(path: Path) -> None:
    model, _ = trained()
    umask = os.umask(0o027)
    try:
        model.save(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link = path.with_name("link")
    link.symlink_to(path.name)
    model.save(link, metadata={"through": "link"})
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert gf.load(path).metadata == {"through": "link"}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_during_save_leaves_a_whole_file(path: Path) -> None:
    model = gf.Sequential([layers.GRU(64), layers.Dense(1)], seed=0)
    model.build((None, None, 8))
    model.save(path, metadata={"count": -1})
    code = (
        "import itertools, sys, grufast as gf\n"
        "model = gf.load(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "for count in itertools.count():\n"
        "    model.save(sys.argv[1], metadata={'count': count})\n"
    )
    counts = []
    for wait in (0.0, 0.003, 0.011, 0.017, 0.029, 0.5, 2.0):
        arguments = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as saver:
            assert saver.stdout is not None
            saver.stdout.readline()
            time.sleep(wait)
            saver.send_signal(signal.SIGKILL)
        same = gf.load(path)
        counts.append(same.metadata["count"])
        for name, weight in same.weights.items():
            np.testing.assert_array_equal(weight, model.weights[name])
    assert max(counts) >= 0


# Damaged files


def header_and_data(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def file_of(header: Any, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


@pytest.fixture
def content(path: Path) -> bytes:
    model, _ = trained()
    model.save(path, metadata={"note": "ö"})
    return path.read_bytes()


def assert_refused(path: Path, content: bytes, message: str = "") -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"safetensors' cannot be loaded: .") as e:
        gf.load(path)
    assert message in str(e.value)


def test_a_file_cut_at_any_byte_is_refused(path: Path, content: bytes) -> None:
    for length in range(len(content)):
        assert_refused(path, content[:length])
    assert_refused(path, content + b"\0")


def test_absent_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        gf.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        gf.load(tmp_path)
    with pytest.raises(TypeError):
        gf.load(None)  # type: ignore[arg-type]


def test_random_damage_is_refused_or_harmless(
    path: Path, content: bytes, rng: np.random.Generator
) -> None:
    """Bytes of the header at random: a ValueError, or a model that works."""
    length = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for at in rng.integers(0, length, size=rng.integers(1, 4)):
            damaged[at] = rng.choice(list(b'0123456789{}[]",:-.eEn \0\xff'))
        path.write_bytes(damaged)
        try:
            gf.load(path).predict(np.zeros((1, 4, 3), np.float32))
        except ValueError:
            refused += 1
    assert refused > 200


LIES: list[tuple[Any, str]] = [
    (2**63, "header"),
    (2**40, "header"),
    ([], ""),
    ("not JSON", ""),
    ("[" * 100_000, ""),
    ({}, "no description"),
]


@pytest.mark.parametrize(("lie", "message"), LIES, ids=lambda lie: str(lie)[:12])
def test_a_lying_header_is_refused(path: Path, lie: Any, message: str) -> None:
    match lie:
        case int():
            assert_refused(path, lie.to_bytes(8, "little") + b"{}", message)
        case str():
            assert_refused(path, file_of(lie.encode(), b""), message)
        case _:
            assert_refused(path, file_of(lie, b""), message)


def test_sizes_that_lie_cost_no_memory(path: Path, content: bytes) -> None:
    header, data = header_and_data(content)
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 200_000
    huge = 2**31 - 1
    entry = {"dtype": "F32", "shape": [huge, huge], "data_offsets": [0, 2**40]}
    assert_refused(path, file_of({**header, "layers.3.bias": entry}, data))
    description = json.loads(header["__metadata__"]["grufast"])
    for units, size in ((20_000, 3), (3, 10**8), (10**12, 3), (3, 10**18)):
        description["layers"][0]["config"]["units"] = units
        description["input_shape"] = [None, 4, size]
        header["__metadata__"]["grufast"] = json.dumps(description)
        assert_refused(path, file_of(header, data))
    description["layers"][0]["config"] |= {"units": 3, "input_shape": [4, 10**7]}
    description["input_shape"] = [None, 4, 3]
    header["__metadata__"]["grufast"] = json.dumps(description)
    path.write_bytes(file_of(header, data))
    assert gf.load(path).weights["layers.0.weight_ih"].shape == (9, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit


CHANGES: list[tuple[tuple[Any, ...], Any, str]] = [
    (("version",), 2, "not of version 1"),
    (("layers",), None, ""),
    (("layers",), [], "at least one layer"),
    (("layers",), 3, ""),
    (("layers", 0), "GRU", "expected a class and its config"),
    (("layers", 0, "class"), "os.system", "unknown class 'os.system'"),
    (("layers", 0, "class"), "Layer", "unknown class 'Layer'"),
    (("layers", 0, "class"), ["GRU"], "expected a class and its config"),
    (("layers", 0, "config"), {}, "units"),
    (("layers", 0, "config", "units"), 4, "layers.0.weight_ih is F32 (9, 3), expected"),
    (("layers", 0, "config", "units"), 3.0, "units: got 3.0"),
    (("layers", 0, "config", "units"), -3, "units: got -3"),
    (("layers", 0, "config", "dtype"), "float64", "expected one dtype"),
    (("layers", 0, "config", "bias"), True, "bias"),
    (("layers", 0, "config", "__class__"), 1, "__class__"),
    (("layers", 0, "config", "return_sequences"), False, "layers.3.weight is F32"),
    (("layers", 3, "config", "activation"), "exec", "activation: got 'exec'"),
    (("layers", 1, "config", "rate"), float("nan"), "rate: got nan"),
    (("layers", 1, "config", "seed"), 1e400, "seed"),
    (("input_shape",), None, ""),
    (("input_shape",), [], "x: got shape ()"),
    (("input_shape",), [None, 4, 4], "layers.0.weight_ih is F32 (9, 3), expected"),
    (("input_shape",), [None, 4, True], "input_shape: got True"),
    (("input_shape",), [None, None, 3], "leaves the input size of layers[3]"),
    (("input_shape",), [None, 4, -3], "input_shape: got -3"),
    (("compile", "optimizer", "class"), "Tiger", "unknown class 'Tiger'"),
    (("compile", "optimizer", "config", "momentum"), 2, "momentum: got 2"),
    (("compile", "loss"), "mae", "expected a class and its config"),
    (("compile", "metrics"), ["exec"], "metrics: got 'exec'"),
    (("compile", "metrics"), 1, ""),
    (("compile",), [], ""),
    (("metadata",), 3, ""),
]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    CHANGES,
    ids=[".".join(map(str, c[0])) + f"={c[1]!s:.20}" for c in CHANGES],
)
def test_descriptions_that_make_no_model(
    path: Path, content: bytes, place: tuple[Any, ...], value: Any, message: str
) -> None:
    header, data = header_and_data(content)
    description = json.loads(header["__metadata__"]["grufast"])
    *parents, last = place
    part = description
    for key in parents:
        part = part[key]
    part[last] = value
    header["__metadata__"]["grufast"] = json.dumps(description)
    assert_refused(path, file_of(header, data), message)


def test_descriptions_that_are_not_there(path: Path, content: bytes) -> None:
    header, data = header_and_data(content)
    whole = json.loads(header["__metadata__"]["grufast"])
    for key in whole:
        description = {name: value for name, value in whole.items() if name != key}
        header["__metadata__"]["grufast"] = json.dumps(description)
        assert_refused(path, file_of(header, data), key)
    for text in ("", "{", "3", "[]", "null", "[" * 100_000, '{"version": 1}'):
        header["__metadata__"]["grufast"] = text
        assert_refused(path, file_of(header, data), "description")
    del header["__metadata__"]
    assert_refused(path, file_of(header, data), "no description of a grufast model")


def test_tensors_that_do_not_fit(path: Path, content: bytes) -> None:
    header, _ = header_and_data(content)
    metadata = header["__metadata__"]
    tensors = {name: weight.copy() for name, weight in gf.load(path).weights.items()}

    def assert_tensors_refused(message: str, **changed: Array | None) -> None:
        both = {**tensors, **{k.replace("_3_", ".3."): v for k, v in changed.items()}}
        kept = {name: array for name, array in both.items() if array is not None}
        assert_refused(path, save(kept, metadata), message)

    bias = tensors["layers.3.bias"]
    assert_tensors_refused("'layers.3.bias' is missing", layers_3_bias=None)
    assert_tensors_refused("'layers.3.extra' belongs to no layer", layers_3_extra=bias)
    assert_tensors_refused("layers.3.bias is F32 (1, 2)", layers_3_bias=bias[None])
    for dtype in ("f8", "f2", "i4", "?"):
        assert_tensors_refused("layers.3.bias is", layers_3_bias=bias.astype(dtype))
    for names in itertools.combinations(tensors, 2):
        swapped = dict(zip(names, (tensors[n] for n in names[::-1]), strict=True))
        if swapped[names[0]].shape != swapped[names[1]].shape:
            assert_refused(path, save({**tensors, **swapped}, metadata), "expected")


# The optimizer's state


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: gf.optimizers.Adam(0.01),
        lambda: gf.optimizers.SGD(0.05, momentum=0.9),
        lambda: gf.optimizers.SGD(0.05),
        lambda: gf.optimizers.AdamW(gf.schedules.ExponentialDecay(0.1, 2, 0.5)),
        lambda: gf.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    ],
    ids=["Adam", "momentum", "SGD", "a schedule", "RMSprop"],
)
def test_training_goes_on_with_the_same_bits(
    path: Path, optimizer: Callable[[], Any]
) -> None:
    model, x = trained()
    y = x[:, 0, :2]
    model.compile(optimizer(), "mse")
    model.fit(x, y, epochs=3, seed=1)
    model.save(path, include_optimizer=True)
    same = gf.load(path)
    content = path.read_bytes()
    same.save(path, include_optimizer=True)
    assert path.read_bytes() == content
    for each in (model, same):
        each.fit(x, y, epochs=6, initial_epoch=3, seed=1)
    for name, weight in model.weights.items():
        assert same.weights[name].tobytes() == weight.tobytes()


def test_a_learning_rate_that_was_changed_is_kept(path: Path) -> None:
    model, _ = trained()
    assert model.optimizer is not None
    model.optimizer.learning_rate = 0.1 + 0.2
    for include in (True, False):
        model.save(path, include_optimizer=include)
        same = gf.load(path)
        assert same.optimizer is not None
        assert same.optimizer.learning_rate == 0.1 + 0.2


def test_the_state_is_in_the_file_only_if_asked_for(path: Path) -> None:
    from safetensors.numpy import load_file

    model, _ = trained()
    model.save(path)
    assert load_file(path).keys() == model.weights.keys()
    model.save(path, include_optimizer=True)
    names = load_file(path).keys() - model.weights.keys()
    velocities = {f"optimizer/{name}/velocity" for name in model.weights}
    assert names == velocities | {"optimizer/iterations", "optimizer/learning_rate"}
    # Whom `load` will not know has no state.
    model.optimizer = None
    model.save(path, include_optimizer=True)
    assert load_file(path).keys() == model.weights.keys()
    with pytest.raises(TypeError, match="include_optimizer: got 1"):
        model.save(path, include_optimizer=1)  # type: ignore[arg-type]


def test_states_that_do_not_fit_are_refused(path: Path) -> None:
    from safetensors.numpy import load_file

    model, _ = trained()
    model.save(path, include_optimizer=True)
    header, _ = header_and_data(path.read_bytes())
    metadata, tensors = header["__metadata__"], load_file(path)
    key = "optimizer/layers.3.bias/velocity"
    for wrong in (
        tensors[key][:1],
        tensors[key].astype("f8"),
        tensors[key].astype("i4"),
    ):
        assert_refused(path, save({**tensors, key: wrong}, metadata))
    assert_refused(path, save({**tensors, "optimizer/x/y": tensors[key]}, metadata))
    description = json.loads(metadata["grufast"])
    description["compile"] = None
    metadata = {"grufast": json.dumps(description)}
    assert_refused(path, save(tensors, metadata), "an optimizer's state, but does not")


# Where files cannot be written

FULL_DISK = """
import resource, signal, sys
import numpy as np
import grufast as gf
from grufast.callbacks import BackupAndRestore, Callback, EarlyStopping

path, job = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class Fill(Callback):
    def on_epoch_end(self, epoch, logs):
        if epoch == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
model.compile()
x = np.linspace(0, 1, 80, dtype="f4").reshape(20, 4, 1)
stop = EarlyStopping("loss", patience=9, restore_best_weights=True)
callbacks = [Fill(), stop]
if job == "backup":
    callbacks.append(BackupAndRestore(path))
try:
    model.fit(x, x[:, 0], epochs=9, seed=0, callbacks=callbacks)
    model.save(path)
except OSError as error:
    print(error)
    print(stop.best_epoch, model.evaluate(x, x[:, 0]) > 0)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("job", ["backup", "save"])
def test_a_full_disk_leaves_the_old_file(path: Path, job: str) -> None:
    """With a limit on the size of files, which the system enforces in the same way."""
    if job == "save":
        trained()[0].save(path)
    before = path.read_bytes() if path.exists() else b""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), job],
        capture_output=True,
        text=True,
        check=True,
    )
    error, state = run.stdout.splitlines()
    assert error == f"[Errno 27] File too large: '{path}'"
    assert list(path.parent.iterdir()) == [path]
    if job == "save":
        assert path.read_bytes() == before
        assert state == "8 True"
        gf.load(path)
    else:
        assert state == "3 True"  # and the callbacks have been told of the end
        assert saving.read_state(path)["epoch"] == 3


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    """Also for root, whom permissions do not stop."""
    model, x = trained()
    before = weights_of(model)
    y = x[:, 0, :2]
    (tmp_path / "file").write_text("a file")
    for folder in (tmp_path / "file", Path("/proc/sys")):
        if not folder.exists():  # not on Linux
            continue
        place = folder / "m"
        with pytest.raises(OSError, match=str(folder)):
            model.save(place)
        with pytest.raises(OSError, match=str(folder)):
            model.fit(x, y, callbacks=[BackupAndRestore(place)])
        with pytest.raises(OSError, match=str(folder)):
            model.fit(x, y, callbacks=[CSVLogger(place)])
    assert weights_of(model) == before
    assert (tmp_path / "file").read_text() == "a file"


READ_ONLY = """
import os, sys
import numpy as np
import grufast as gf
from grufast.callbacks import BackupAndRestore, CSVLogger

folder = sys.argv[1]
model = gf.Sequential([gf.layers.GRU(2)], seed=0)
model.compile()
x = np.zeros((4, 3, 1), "f4")
model.fit(x, x[:, :2, 0], callbacks=[BackupAndRestore(f"{folder}/m")])
before = model.get_weights()
model.save(f"{folder}/m")
os.chmod(folder, 0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # nobody: permissions hold for him
for use in (
    lambda: model.save(f"{folder}/m"),
    lambda: model.fit(x, x[:, :2, 0], callbacks=[BackupAndRestore(f"{folder}/b")]),
    lambda: model.fit(x, x[:, :2, 0], callbacks=[CSVLogger(f"{folder}/c")]),
):
    try:
        use()
    except PermissionError as error:
        print(error)
assert all((before[name] == model.weights[name]).all() for name in before)
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_read_only_directory_leaves_the_old_file() -> None:
    folder = Path(tempfile.mkdtemp())  # anybody can come here; not so to tmp_path
    try:
        command = [sys.executable, "-c", READ_ONLY, str(folder)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.stderr == ""
        assert run.stdout.splitlines() == [
            f"[Errno 13] Permission denied: '{folder / name}'" for name in "mbc"
        ]
        folder.chmod(0o755)
        assert [path.name for path in folder.iterdir()] == ["m"]
        gf.load(folder / "m")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Damaged backups


def backed_up(path: Path, *callbacks: Callback, crash: bool = False) -> gf.Sequential:
    """Train with a backup; perhaps break off at the second batch."""

    def broken(batch: int, logs: Any) -> None:
        if crash and batch == 1:
            raise KeyboardInterrupt

    model = gf.Sequential([layers.GRU(1), layers.Dense(1)], seed=0)
    model.compile(gf.optimizers.SGD(0.1, momentum=0.5))
    x = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2, 1)
    model.fit(
        *(x, x[:, 0]),
        epochs=2,
        batch_size=3,
        seed=0,
        callbacks=[
            *callbacks,
            LambdaCallback(on_train_batch_begin=broken),
            EarlyStopping("loss", patience=3, restore_best_weights=True),
            BackupAndRestore(path, 1),
        ],
    )
    return model


def weights_of(model: gf.Sequential) -> list[bytes]:
    return [weight.tobytes() for weight in model.weights.values()]


@pytest.fixture
def backup(path: Path) -> bytes:
    with pytest.raises(KeyboardInterrupt):
        backed_up(path, crash=True)
    return path.read_bytes()


def assert_backup_refused(path: Path, content: bytes, message: str = "") -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the backup '.*' cannot be restored: .") as e:
        backed_up(path)
    assert message in str(e.value)
    assert str(e.value).endswith("; remove it to start afresh")
    assert path.read_bytes() == content


def test_a_whole_backup_is_taken_up(path: Path, backup: bytes) -> None:
    expected = weights_of(backed_up(path.with_name("other")))
    assert path.read_bytes() == backup
    assert weights_of(backed_up(path)) == expected


def test_a_backup_cut_at_any_byte_is_refused(path: Path, backup: bytes) -> None:
    for length in range(len(backup)):
        path.write_bytes(backup[:length])
        with pytest.raises(ValueError):  # noqa: PT011
            saving.read_state(path)
    for length in (0, 1, 8, 100, len(backup) - 1):
        assert_backup_refused(path, backup[:length])
    assert_backup_refused(path, backup + b"\0")


def test_any_changed_bit_of_a_backup_is_found(
    path: Path, backup: bytes, rng: np.random.Generator
) -> None:
    whole = saving.read_state(path)
    harmless = 0
    for place in rng.permutation(8 * len(backup))[:1000]:
        damaged = bytearray(backup)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            state = saving.read_state(path)
        except ValueError:
            continue
        # Of the header's padding or the like: it means the same.
        np.testing.assert_equal(state, whole)
        harmless += 1
    assert harmless < 50


LIES_OF_BACKUPS: list[tuple[tuple[Any, ...], Any, str]] = [
    (("epoch",), -1, "epoch: got -1"),
    (("epoch",), "1", "epoch: got '1'"),
    (("batch",), 1.0, "batch: got 1.0"),
    (("entropy",), None, "entropy: got None"),
    (("stop_training",), 1, "stop_training: got 1"),
    (("logs",), [], ""),
    (("logs",), {"loss": "low"}, ""),
    (("training",), {}, "it says nothing about 'layers'"),
    (("training",), 3, ""),
    (("weights",), {}, "weights: no ["),
    (("weights", "layers.1.bias"), {"$tensor": "absent"}, "'absent' is missing"),
    (("weights", "layers.1.bias"), {"$tensor": ["a"]}, "['a'] is missing"),
    (("weights", "layers.1.bias"), 0.0, "layers.1.bias: got float"),
    (("weights", "layers.1.bias"), {"$tensor": "weights/layers.1.weight"}, "got shape"),
    (("optimizer",), None, ""),
    (("optimizer", "layers.1.bias/velocity"), {"$tensor": "rng/buffer"}, ""),
    (("callbacks",), [], ""),
    (("callbacks",), None, ""),
    (("callbacks", 0, "best"), "high", ""),
    (("callbacks", 0, "wait"), -1, "wait: got -1"),
    (("callbacks", 0, "best_weights"), {}, "weights: no ["),
    (("callbacks", 1, "epoch"), [0.5], "epoch: got 0.5"),
    (("callbacks", 1, "history"), {"loss": 3}, ""),
    (("scores", "rows"), 0, "rows: got 0"),
    (("scores", "sum"), "all", ""),
    (("rng",), {}, "it says nothing about 'counter'"),
    (("rng", "counter"), 3, "rng: counter is 3"),
    (("rng", "counter"), {"$tensor": "weights/layers.1.bias"}, "rng: counter is"),
    (("rng", "buffer_pos"), 5, "rng: buffer_pos is 5"),
    (("rng", "buffer_pos"), -1, "rng: buffer_pos: got -1"),
    (("rng", "buffer_pos"), 2**40, "rng: buffer_pos is 1099511627776"),
    (("rng", "has_uint32"), 2, "rng: has_uint32 is 2"),
    (("rng", "uinteger"), 2**32, "rng: uinteger is 4294967296"),
]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    LIES_OF_BACKUPS,
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else None,
)
def test_backups_that_lie_are_refused(
    path: Path, backup: bytes, place: tuple[Any, ...], value: Any, message: str
) -> None:
    """Of somebody who knows how to make the checksum fit."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    header, _ = header_and_data(backup)
    state = json.loads(header["__metadata__"]["grufast.backup"])
    *parents, last = place
    part = state
    for key in parents:
        part = part[key]
    assert last in part if isinstance(part, dict) else last < len(part)
    part[last] = value
    text = json.dumps(state)
    metadata = {"grufast.backup": text, "crc32": str(saving._checksum(text, tensors))}
    before: list[list[bytes]] = []
    see = LambdaCallback(
        on_train_begin=lambda logs: before.append(weights_of(see.model)),
    )
    path.write_bytes(save(tensors, metadata))
    with pytest.raises(ValueError, match=r"cannot be restored: .*; remove it") as e:
        backed_up(path, see)
    assert message in str(e.value)
    for weights in before:
        assert weights_of(see.model) == weights


def test_models_are_no_backups_and_backups_no_models(path: Path, backup: bytes) -> None:
    assert_refused(path, backup, "no description of a grufast model")
    model, _ = trained()
    model.save(path)
    content = path.read_bytes()
    assert_backup_refused(path, content, "no description of a grufast backup")
    assert_backup_refused(path, file_of({}, b""), "no description of a grufast backup")
    for text in ("[]", "3", "{", "[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000):
        checksum = str(saving._checksum(text, {}))
        header = {"__metadata__": {"grufast.backup": text, "crc32": checksum}}
        assert_backup_refused(path, file_of(header, b""), "description")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "it is a zip archive, such as Keras's .keras"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, such as Keras's .h5"),
    ],
)
def test_files_of_others_are_named(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(start + bytes(100))
    with pytest.raises(ValueError, match=message):
        gf.load(path)
