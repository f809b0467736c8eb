"""Writes docs/reference.md: the public names, from ``__all__`` and the docstrings.

Run it after a change of either: ``python tests/doc_reference.py``.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from grufast import (
    callbacks,
    data,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
)
from grufast.losses import Loss

HEAD = """\
# Reference

Every public name, with the first line of its docstring. `help(gf.layers.GRU)` shows
the rest: parameters, shapes, errors, the formula and an example. This page is made by
`python tests/doc_reference.py`.

Losses, metrics, optimizers, initializers, regularizers and activations can be given by
name: `model.compile("adam", loss="mse", metrics=["mae"])`. They are Keras's names, and
short ones.
"""

MODULES = {
    "Layers": layers,
    "Losses": losses,
    "Metrics": metrics,
    "Optimizers": optimizers,
    "Schedules of the learning rate": schedules,
    "Callbacks": callbacks,
    "Initializers": initializers,
    "Regularizers": regularizers,
    "Data": data,
}


def public(module: ModuleType) -> list[str]:
    """Names in ``__all__``, or the documented ones of a module without it."""
    found = getattr(module, "__all__", None)
    if found is None:
        found = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", None) == module.__name__
            and (inspect.isclass(value) or inspect.isfunction(value))
        ]
    return sorted(found, key=lambda name: (not name[0].isupper(), name.lower()))


def rows(module: ModuleType) -> Iterator[str]:
    """Lines of a table; the loss `mse` is in that of its class."""
    values = {name: getattr(module, name) for name in public(module)}
    for name, value in values.items():
        if isinstance(value, Loss):
            continue
        short = [
            k for k, v in values.items() if isinstance(v, Loss) and type(v) is value
        ]
        names = ", ".join(f"`{n}`" for n in (name, *short))
        yield f"| {names} | {first_line(value)} |"


def first_line(value: object) -> str:
    """Return the first paragraph of a docstring in Markdown, for a table's cell."""
    doc = inspect.getdoc(value)
    assert doc, value
    text = doc.split("\n\n")[0].replace("\n", " ").replace("``", "`")
    code = text.split("`")
    code[::2] = [re.sub(r"([|*<])", r"\\\1", words) for words in code[::2]]
    return "`".join(code)


def page() -> str:
    parts = [HEAD]
    for title, module in MODULES.items():
        place = module.__name__
        if module is not data:  # all others come with `import grufast as gf`
            place = place.replace("grufast", "gf", 1)
        lines = "\n".join(rows(module))
        parts.append(f"## {title}\n\nIn `{place}`.\n\n| name | |\n|---|---|\n{lines}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "docs" / "reference.md"
    path.write_text(page(), encoding="utf-8")
