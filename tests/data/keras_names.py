"""Records the arguments of Keras's classes and methods for test_keras_names.py.

Run with Keras 3 (last with 3.15): ``python tests/data/keras_names.py``. Those are kept
whose names are in grufast, too.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import keras

HERE = Path(__file__).parent
MODULES = {
    "layers": keras.layers,
    "losses": keras.losses,
    "metrics": keras.metrics,
    "optimizers": keras.optimizers,
    "schedules": keras.optimizers.schedules,
    "callbacks": keras.callbacks,
    "initializers": keras.initializers,
    "regularizers": keras.regularizers,
}


def arguments(function: Any) -> list[tuple[str, Any]]:
    """Return names and defaults; a default that is no number or word is "..."."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            default = parameter.default
            plain = default is None or isinstance(default, bool | int | float | str)
            found.append((parameter.name, default if plain else "..."))
    return found[1:]  # without self


def main() -> None:
    """Write keras_names.json."""
    sources = (HERE.parents[1] / "python" / "grufast").rglob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    names = {*re.findall(r"^ *(?:class|def) (\w+)", text, re.MULTILINE)}
    record = {}
    for module, things in MODULES.items():
        for name, thing in inspect.getmembers(things, inspect.isclass):
            if name in names:
                record[f"{module}.{name}"] = arguments(thing.__init__)
    for name, method in inspect.getmembers(keras.Sequential, inspect.isfunction):
        if name in names and not name.startswith("_"):
            record[f"Sequential.{name}"] = arguments(method)
    lines = [f"{json.dumps(name)}: {json.dumps(own)}" for name, own in record.items()]
    path = HERE / "keras_names.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
