"""Activations, losses, metrics and optimizers by DEGANN's names."""

from collections.abc import Mapping
from typing import Any

from grufast import _checks
from grufast.layers import Activation
from grufast.losses import LOSSES, Loss, snake_case
from grufast.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "get",
    "get_all_activations",
    "get_all_loss_functions",
    "get_all_metric_functions",
    "get_all_optimizers",
    "get_loss",
    "get_metric",
    "get_optimizer",
]

_ACTIVATIONS: Any = (
    "elu",
    "relu",
    "gelu",
    "selu",
    "exponential",
    "linear",
    "sigmoid",
    "hard_sigmoid",
    "swish",
    "tanh",
    "softplus",
    "softsign",
    "parabolic",
)
_LOSSES = (
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MaxAbsolutePercentageError",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "MeanSquaredLogarithmicError",
    "RelativeAbsoluteError",
    "MaxAbsoluteDeviation",
)


def get_all_activations() -> dict[str, Activation]:
    """Return the activations that `IModel` knows, by name: functions of an array.

    Examples
    --------
    >>> import numpy as np
    >>> get_all_activations()["parabolic"](np.array([-10.0, 2.5]))
    array([-2.,  1.])
    """
    return {name: Activation(name) for name in _ACTIVATIONS}


def get_all_loss_functions() -> dict[str, Loss]:
    """Return the losses that `IModel.compile` knows, by name.

    Examples
    --------
    >>> import numpy as np
    >>> loss = get_all_loss_functions()["MaxAbsoluteDeviation"]
    >>> loss(np.zeros((2, 1)), np.array([[1.0], [-3.0]]))
    3.0
    """
    return {name: LOSSES[name]() for name in _LOSSES}


def get_all_metric_functions() -> dict[str, Loss]:
    """Return the metrics that `IModel.compile` knows, by name: the losses.

    Examples
    --------
    >>> get_all_metric_functions().keys() == get_all_loss_functions().keys()
    True
    """
    return get_all_loss_functions()


def get_all_optimizers() -> dict[str, type[Optimizer]]:
    """Return the optimizers that `IModel.compile` knows, by name.

    Examples
    --------
    >>> get_all_optimizers()["SGD"](learning_rate=0.1)
    SGD(learning_rate=0.1)
    """
    named: dict[str, Any] = dict(OPTIMIZERS)  # where schedules have names, too
    return {k: v for k, v in named.items() if issubclass(v, Optimizer)}


def get(name: str) -> Activation:
    """Return one of `get_all_activations`.

    Examples
    --------
    >>> get("tanh")
    Activation('tanh')
    """
    found: Activation = known("name", name, get_all_activations())
    return found


def get_loss(name: str) -> Loss:
    """Return one of `get_all_loss_functions`.

    Examples
    --------
    >>> get_loss("RootMeanSquaredError")
    RootMeanSquaredError()
    """
    found: Loss = known("name", name, get_all_loss_functions())
    return found


def get_metric(name: str) -> Loss:
    """Return one of `get_all_metric_functions`.

    Examples
    --------
    >>> get_metric("MeanAbsoluteError")
    MeanAbsoluteError()
    """
    return get_loss(name)


def get_optimizer(name: str) -> type[Optimizer]:
    """Return one of `get_all_optimizers`.

    Examples
    --------
    >>> get_optimizer("Adam")(learning_rate=0.01)
    Adam(learning_rate=0.01)
    """
    found: type[Optimizer] = known("name", name, get_all_optimizers())
    return found


def metric(name: object) -> str:
    """Return the name by which histories keep a metric, in Keras and here."""
    loss: Loss = known("metrics", name, get_all_metric_functions())
    return snake_case(type(loss).__name__)


def known(argument: str, name: object, things: Mapping[str, Any]) -> Any:
    """Return one of `things` by its name."""
    return things[_checks.choice(argument, name, tuple(things))]
