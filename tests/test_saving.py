"""Model files: the same bits again, whole at every moment, harmless if damaged."""

import itertools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import grufast as gf
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
    model.summary(lines[0].append)
    same.summary(lines[1].append)
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
    for wait in (0.0, 0.003, 0.011, 0.017, 0.029):
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
    (("compile", "optimizer", "class"), "Lion", "unknown class 'Lion'"),
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
