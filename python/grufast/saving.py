"""Model files and backups: arrays as safetensors, all else as JSON in the header.

A model file holds the tensors ``layers.<index>.<weight>``, perhaps the optimizer's
state as ``optimizer/<weight>/<slot>``, and, under the key ``grufast`` of the header's
``__metadata__``, a JSON object: ``version`` of this layout, ``layers``,
``input_shape``, ``compile`` (null if not compiled) and the caller's ``metadata``.

A backup of a training holds, under ``grufast.backup``, a JSON object in which every
array stands as ``{"$tensor": name}`` (a NumPy number as ``$scalar``), and a checksum
of everything.

Nothing in a file is executed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grufast._checks import Array
from grufast._files import write_atomic

__all__ = ["ModelFile", "read_state", "write", "write_state"]

_KEY = "grufast"
_VERSION = 1
_DTYPES = {"F32": "float32", "F64": "float64"}
_OPTIMIZER = "optimizer/"
_OTHERS = {
    b"PK\x03\x04": "a zip archive, such as Keras's .keras or PyTorch's .pt",
    b"\x89HDF": "an HDF5 file, such as Keras's .h5",
}
"""What users may have instead, by the first bytes."""


def write(
    path: str | os.PathLike[str],
    description: Mapping[str, Any],
    weights: Mapping[str, Array],
    optimizer: Mapping[str, Array],
) -> None:
    """Write a model file atomically."""
    from safetensors.numpy import save

    header = json.dumps({"version": _VERSION, **description}, allow_nan=False)
    tensors = dict(weights)
    tensors |= {_OPTIMIZER + name: array for name, array in optimizer.items()}
    write_atomic(path, save(tensors, {_KEY: header}))


class ModelFile:
    """A model file open for reading; nothing large is read before `tensors`.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is damaged or not a model's; the message says what is wrong.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = _opened(path)
        self.description = _description(self._file, _KEY, "model")
        if self.description.get("version") != _VERSION:
            message = f"its description is not of version {_VERSION}"
            raise ValueError(message)

    def tensors(
        self, expected: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> dict[str, Array]:
        """Return the tensors, whose dtypes and shapes must be the expected ones."""
        names = {n for n in self._file.keys() if not n.startswith(_OPTIMIZER)}  # noqa: SIM118
        missing = sorted(expected.keys() - names)
        unknown = sorted(names - expected.keys())
        for title, wrong in ("is missing", missing), ("belongs to no layer", unknown):
            if wrong:
                message = f"the tensor {wrong[0]!r} {title}"
                raise ValueError(message)
        for name, (dtype, shape) in expected.items():
            entry = self._file.get_slice(name)
            got = _DTYPES.get(entry.get_dtype()), tuple(entry.get_shape())
            if got != (dtype, shape):
                message = (
                    f"{name} is {entry.get_dtype()} {got[1]}, expected {dtype} {shape}"
                )
                raise ValueError(message)
        return {name: self._file.get_tensor(name) for name in expected}

    def optimizer_state(self) -> dict[str, Array]:
        """Return the optimizer's arrays; none if the file has none."""
        return {
            name.removeprefix(_OPTIMIZER): _tensor(self._file, name)
            for name in self._file.keys()  # noqa: SIM118
            if name.startswith(_OPTIMIZER)
        }


def _opened(path: str | os.PathLike[str]) -> Any:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    # safe_open maps the file, which an empty or special one does not allow.
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        message = "the file is empty"
        raise ValueError(message)
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            message = f"it is {kind}, not a safetensors file of grufast's"
            raise ValueError(message)
    untyped: Any = safe_open
    try:
        return untyped(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _description(file: Any, key: str, kind: str) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if key not in metadata:
        message = f"it has tensors, but no description of a grufast {kind}"
        raise ValueError(message)
    try:
        description = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        message = f"its description is not JSON: {error}"
        raise ValueError(message) from None
    if not isinstance(description, dict):
        message = f"its description is {type(description).__name__}, expected a dict"
        raise ValueError(message)
    return description


def _tensor(file: Any, name: str) -> Array:
    try:
        array: Array = file.get_tensor(name)
    except Exception as error:
        # Of a dtype that NumPy does not have; safetensors raises what it likes.
        message = f"the tensor {name!r} cannot be read: {error}"
        raise ValueError(message) from None
    return array


# Backups

_STATE_KEY = "grufast.backup"
_CHECKSUM = "crc32"
_ARRAY, _SCALAR = "$tensor", "$scalar"


def write_state(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write a dict of JSON's types and arrays atomically.

    Floats keep their bits, also NaN and infinities; tuples become lists.
    """
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    text = json.dumps(_without_arrays(state, "", tensors))
    metadata = {_STATE_KEY: text, _CHECKSUM: str(_checksum(text, tensors))}
    write_atomic(path, save(tensors, metadata))


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `write_state` wrote.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If a bit of it has changed, or it is another kind of file.
    """
    file = _opened(path)
    description = _description(file, _STATE_KEY, "backup")
    tensors = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    metadata = file.metadata()
    if metadata.get(_CHECKSUM) != str(_checksum(metadata[_STATE_KEY], tensors)):
        message = "it is damaged: its checksum is another one"
        raise ValueError(message)
    try:
        state: dict[str, Any] = _with_arrays(description, tensors)
    except RecursionError:
        message = "its description is nested too deeply"
        raise ValueError(message) from None
    return state


def _without_arrays(value: Any, name: str, tensors: dict[str, Array]) -> Any:
    """Return the value in JSON's types, with its arrays put into `tensors`."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            message = f"{name}: cannot keep an array of {value.dtype}"
            raise TypeError(message)
        while name in tensors:
            name += "+"
        tensors[name] = np.asarray(value, value.dtype.newbyteorder("="))
        return {_SCALAR if isinstance(value, np.generic) else _ARRAY: name}
    if isinstance(value, Mapping):
        marked = _ARRAY in value or _SCALAR in value
        if marked or not all(isinstance(key, str) for key in value):
            message = f"{name}: got the keys {list(value)}, expected other strings"
            raise TypeError(message)
        return {
            key: _without_arrays(item, f"{name}/{key}".lstrip("/"), tensors)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _without_arrays(item, f"{name}/{index}", tensors)
            for index, item in enumerate(value)
        ]
    if value is not None and not isinstance(value, bool | int | float | str):
        message = f"{name}: cannot keep {value!r:.80}"
        raise TypeError(message)
    return value


def _with_arrays(value: Any, tensors: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), None)
    if mark not in (_ARRAY, _SCALAR):
        return {key: _with_arrays(item, tensors) for key, item in value.items()}
    name = value[mark]
    if not isinstance(name, str) or name not in tensors:
        message = f"the tensor {name!r} is missing"
        raise ValueError(message)
    return tensors[name] if mark == _ARRAY else tensors[name][()]


def _checksum(text: str, tensors: Mapping[str, Array]) -> int:
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total
