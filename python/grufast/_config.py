"""Objects that are described by the arguments of their constructor."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any


class Configured:
    """Keeps every argument of its constructor as an attribute of the same name."""

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Return the names of the constructor's arguments, and their defaults."""
        parameters = signature(cls).parameters.items()
        return {name: parameter.default for name, parameter in parameters}

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make an object like this one."""
        return {name: getattr(self, name) for name in self._parameters()}

    def __repr__(self) -> str:
        """Return the call that makes an object like this one."""
        arguments, config = [], self.config
        for name, default in self._parameters().items():
            value = config[name]
            if default is Parameter.empty:
                arguments.append(repr(value))
            elif value != default:
                arguments.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"


def describe(thing: Configured) -> dict[str, Any]:
    """Return what `rebuild` needs, in JSON's types."""
    config = {
        name: describe(value) if isinstance(value, Configured) else value
        for name, value in thing.config.items()
    }
    return {"class": type(thing).__name__, "config": config}


def rebuild(description: Any, classes: Mapping[str, type]) -> Any:
    """Make the object that `describe` described, if its class is one of `classes`.

    An argument may be such an object too, and so may its arguments, three deep: a
    penalty of a layer in both directions, at every step.
    """
    return _rebuilt(description, classes, 3)


def _rebuilt(description: Any, classes: Mapping[str, type], depth: int) -> Any:
    match description:
        case {"class": str(name), "config": dict(config)} if name in classes:
            arguments = {
                key: _rebuilt(value, classes, depth - 1)
                if depth and isinstance(value, dict)
                else value
                for key, value in config.items()
            }
            return classes[name](**arguments)
        case {"class": str(name)}:
            message = f"unknown class {name!r}; expected one of {sorted(classes)}"
        case _:
            message = f"expected a class and its config, got {description!r:.80}"
    raise ValueError(message)
