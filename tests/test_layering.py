"""Who imports whom, what an import costs, and whether the examples run."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import grufast as gf

PACKAGE = Path(inspect.getfile(gf)).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)

ALLOWED: dict[str, set[str]] = {
    "_checks": set(),
    "_config": set(),
    "_files": set(),
    "_sparse": {"_checks"},
    "initializers": {"_checks", "_config"},
    "regularizers": {"_checks", "_config"},
    "layers.base": {"_checks", "_config", "_sparse", "initializers", "regularizers"},
    "layers.basic": {"_core", "_checks", "_sparse", "layers.base"},
    "layers.recurrent": {
        "_core",
        "_checks",
        "initializers",
        "layers.base",
        "regularizers",
    },
    "layers.shapes": {"_checks", "layers.base"},
    "layers.wrappers": {"_checks", "layers.base", "regularizers"},
    "layers": {
        "initializers",
        "layers.base",
        "layers.basic",
        "layers.recurrent",
        "layers.shapes",
        "layers.wrappers",
        "regularizers",
    },
    "losses": {"_core", "_checks", "_config"},
    "metrics": {"_checks", "_config", "losses"},
    "schedules": {"_checks", "_config"},
    "optimizers": {"_core", "_checks", "_config", "_sparse", "schedules"},
    "figures": {"_files"},
    "callbacks": {"_checks", "figures", "saving"},
    "_batches": {"_checks"},
    "_training": {
        "_batches",
        "_checks",
        "_config",
        "callbacks",
        "metrics",
        "optimizers",
    },
    "saving": {"_checks", "_files"},
    "model": {
        "_batches",
        "_checks",
        "_config",
        "_training",
        "callbacks",
        "layers",
        "layers.base",
        "layers.recurrent",
        "losses",
        "metrics",
        "optimizers",
        "saving",
    },
    "data": {"_checks"},
    "forecast": {
        "_files",
        "data",
        "figures",
        "model",
        "layers",
        "optimizers",
        "callbacks",
    },
    "degann.arrays": {"_checks"},
    "degann.losses": {"_checks", "layers", "losses", "optimizers"},
    "degann.callbacks": {"_checks", "callbacks", "degann.arrays"},
    "degann.plan": {"_checks", "callbacks", "degann.callbacks", "layers", "model"},
    "degann.apg": {"_checks", "_core", "degann.plan", "layers"},
    "degann.imodel": {
        "_checks",
        "_files",
        "callbacks",
        "degann.apg",
        "degann.arrays",
        "degann.callbacks",
        "degann.losses",
        "degann.plan",
        "initializers",
        "model",
    },
    "degann": {"callbacks", "degann.callbacks", "degann.imodel", "degann.losses"},
    "sklearn": {
        "_checks",
        "callbacks",
        "data",
        "forecast",
        "layers",
        "losses",
        "model",
        "optimizers",
    },
    "demo": {
        "data",
        "figures",
        "forecast",
        "model",
        "layers",
        "optimizers",
        "callbacks",
    },
    "cli": {
        "_core",
        "_files",
        "callbacks",
        "data",
        "demo",
        "figures",
        "forecast",
        "model",
    },
    "__init__": {
        "_core",
        "callbacks",
        "data",
        "degann",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "model",
        "optimizers",
        "regularizers",
        "schedules",
        "sklearn",
    },
    "__main__": {"cli"},
}


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    path = PACKAGE / (module.replace(".", "/") + ".py")
    if not path.exists():
        path = path.with_suffix("") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "grufast." * (node.level > 0) + (node.module or "")
            start = start.rstrip(".")
            # From the package itself come modules; from a module, its contents.
            names = (
                [f"grufast.{alias.name}" for alias in node.names]
                if start == "grufast"
                else [start]
            )
        else:
            continue
        found |= {
            name.removeprefix("grufast.")
            for name in names
            if name.startswith("grufast.")
        }
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    assert imports(module) <= ALLOWED[module]


def test_the_allowed_imports_have_no_circle() -> None:
    remaining = dict(ALLOWED)
    while remaining:
        leaves = {name for name, uses in remaining.items() if not uses & set(remaining)}
        assert leaves, f"a circle among {sorted(remaining)}"
        remaining = {k: uses for k, uses in remaining.items() if k not in leaves}


def test_importing_brings_only_what_is_needed() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import grufast\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(loaded) & {"tqdm", "matplotlib", "safetensors", "torch", "sklearn"}


def test_other_modules_come_at_their_first_use() -> None:
    code = (
        "import sys, grufast as gf\n"
        "names = {'grufast.data', 'grufast.degann', 'grufast.sklearn'}\n"
        "print(len(names & set(sys.modules)), gf.data.windows.__name__,\n"
        "      gf.degann.IModel.__name__, hasattr(gf, 'backend'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "windows", "IModel", "False"]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__main__"])
def test_examples_run(module: str) -> None:
    name = "grufast" if module == "__init__" else f"grufast.{module}"
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize(
    "module",
    [
        gf.callbacks,
        gf.initializers,
        gf.layers,
        gf.losses,
        gf.metrics,
        gf.optimizers,
        gf.regularizers,
        gf.schedules,
    ],
)
def test_public_names_exist_and_are_documented(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
