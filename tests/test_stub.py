"""The hand-written stub of the native module says what the module says.

mypy's stubtest notices a missing name but not a renamed argument, so the signatures
that pybind11 puts into the docstrings are compared with those of the stub.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import grufast
from grufast import _core

STUB = Path(grufast.__file__).with_name("_core.pyi")
TYPES_ONLY = {"Activation", "Array", "BuildInfo", "Cell", "Keep", "Rows", "State"}
NOT_FOR_USE = {"Stream.__init__"}  # pybind11's own, which refuses


def stub_signatures() -> dict[str, list[str]]:
    """Argument names by dotted name of function; classes and constants have none."""
    found: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                found[prefix + node.name] = [a.arg for a in node.args.args]
            elif isinstance(node, ast.ClassDef) and node.name not in TYPES_ONLY:
                found[node.name] = []
                visit(node.body, f"{node.name}.")
            elif (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id not in TYPES_ONLY
            ):
                found[prefix + node.target.id] = []

    visit(ast.parse(STUB.read_text()).body, "")
    return found


def native_names() -> set[str]:
    def is_ours(name: str) -> bool:
        return not name.startswith("_") or name == "__version__"

    names = {name for name in dir(_core) if is_ours(name)}
    for name, value in vars(_core).items():
        if inspect.isclass(value):
            members = (m for m in vars(value) if is_ours(m) or m == "__init__")
            names |= {f"{name}.{m}" for m in members}
    return names - NOT_FOR_USE


def resolve(name: str) -> Any:
    value: Any = _core
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_stub_and_module_have_the_same_names() -> None:
    assert set(stub_signatures()) == native_names()


@pytest.mark.parametrize(
    "name", [n for n in stub_signatures() if callable(resolve(n)) and n[0].islower()]
)
def test_functions_take_the_arguments_of_the_stub(name: str) -> None:
    check_arguments(name)


@pytest.mark.parametrize(
    "name",
    [n for n in stub_signatures() if "." in n and inspect.isroutine(resolve(n))],
)
def test_methods_take_the_arguments_of_the_stub(name: str) -> None:
    check_arguments(name)


def check_arguments(name: str) -> None:
    signature = str(resolve(name).__doc__).splitlines()[0]
    native = re.findall(r"(\w+): ", signature.split("->")[0])
    assert native == stub_signatures()[name], signature
