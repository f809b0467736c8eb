"""Model files: arrays as safetensors, everything else as JSON in its header.

A file holds the tensors ``layers.<index>.<weight>`` and, under the key ``grufast`` of
the header's ``__metadata__``, a JSON object: ``version`` of this layout, ``layers``,
``input_shape``, ``compile`` (null if not compiled) and the caller's ``metadata``.
Nothing in a file is executed.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grufast._checks import Array
from grufast._files import write_atomic

__all__ = ["ModelFile", "write"]

_KEY = "grufast"
_VERSION = 1
_DTYPES = {"F32": "float32", "F64": "float64"}


def write(
    path: str | os.PathLike[str],
    description: Mapping[str, Any],
    tensors: dict[str, Array],
) -> None:
    """Write a model file atomically."""
    from safetensors.numpy import save

    header = json.dumps({"version": _VERSION, **description}, allow_nan=False)
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
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        # safe_open maps the file, which an empty or special one does not allow.
        with path.open("rb") as file:
            if not file.read(1):
                message = "the file is empty"
                raise ValueError(message)
        untyped: Any = safe_open
        try:
            self._file = untyped(path, framework="numpy")
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        metadata = self._file.metadata() or {}
        if _KEY not in metadata:
            message = "it has tensors, but no description of a grufast model"
            raise ValueError(message)
        try:
            description = json.loads(metadata[_KEY])
        except (ValueError, RecursionError) as error:
            message = f"its description is not JSON: {error}"
            raise ValueError(message) from None
        if not isinstance(description, dict) or description.get("version") != _VERSION:
            message = f"its description is not of version {_VERSION}"
            raise ValueError(message)
        self.description: dict[str, Any] = description

    def tensors(
        self, expected: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> dict[str, Array]:
        """Return the tensors, whose dtypes and shapes must be the expected ones."""
        names = set(self._file.keys())
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
