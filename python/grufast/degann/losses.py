"""Losses, metrics and optimizers by DEGANN's names."""

from collections.abc import Mapping
from typing import Any

from grufast import _checks
from grufast.losses import LOSSES, Loss, snake_case
from grufast.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "get_all_loss_functions",
    "get_all_metric_functions",
    "get_all_optimizers",
]

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


def get_all_loss_functions() -> dict[str, type[Loss]]:
    """Return the losses that `IModel.compile` knows, by name."""
    return {name: LOSSES[name] for name in _LOSSES}


def get_all_metric_functions() -> dict[str, type[Loss]]:
    """Return the metrics that `IModel.compile` knows, by name: the losses."""
    return get_all_loss_functions()


def get_all_optimizers() -> dict[str, type[Optimizer]]:
    """Return the optimizers that `IModel.compile` knows, by name."""
    named: dict[str, Any] = dict(OPTIMIZERS)  # where schedules have names, too
    return {k: v for k, v in named.items() if issubclass(v, Optimizer)}


def metric(name: object) -> str:
    """Return the name by which histories keep a metric, in Keras and here."""
    cls: type[Loss] = known("metrics", name, get_all_metric_functions())
    return snake_case(cls.__name__)


def known(argument: str, name: object, classes: Mapping[str, Any]) -> Any:
    """Return one of `classes` by its name."""
    return classes[_checks.choice(argument, name, tuple(classes))]
