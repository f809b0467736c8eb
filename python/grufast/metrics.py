"""Metrics: functions of (y_true, y_pred) that training reports beside the loss."""

from collections.abc import Callable, Iterable

from grufast._checks import Array
from grufast.losses import mae, mse

__all__ = ["METRICS", "Metric", "get", "mae", "mse"]

Metric = Callable[[Array, Array], float]

METRICS: dict[str, Metric] = {"mse": mse, "mae": mae}
"""The metrics that have names."""


def get(metrics: Iterable[str | Metric]) -> dict[str, Metric]:
    """Return metrics by the name under which `History` keeps them.

    Parameters
    ----------
    metrics : iterable of str or callable
        "mse", "mae", or any ``f(y_true, y_pred) -> float``, called by its
        ``__name__``.

    Examples
    --------
    >>> import grufast as gf
    >>> def worst(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> list(gf.metrics.get(["mae", worst]))
    ['mae', 'worst']
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        message = f'metrics: got {metrics!r}, expected a list such as ["mae"]'
        raise TypeError(message)
    found: dict[str, Metric] = {}
    for metric in metrics:
        if isinstance(metric, str) and metric in METRICS:
            name, function = metric, METRICS[metric]
        elif callable(metric):
            own = getattr(metric, "__name__", type(metric).__name__)
            known = (name for name, function in METRICS.items() if function is metric)
            name, function = next(known, str(own)), metric
        else:
            message = (
                f"metrics: got {metric!r}, expected one of {list(METRICS)} "
                "or a function of y_true and y_pred"
            )
            raise ValueError(message)
        if name in found or name == "loss":
            message = f"metrics: the name {name!r} is taken"
            raise ValueError(message)
        found[name] = function
    return found
