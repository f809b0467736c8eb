"""Stands in for what other branches bring; to be removed when they are merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grufast import _checks
from grufast._checks import Array


class Streamed:
    """A function of (y_true, y_pred) as a metric: its mean over batches, by rows.

    `grufast.metrics.get` is to return metrics with this interface.
    """

    def __init__(self, function: Callable[[Array, Array], float]) -> None:
        self.function = function
        self.config = {"function": function, "config": None}
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        self.total, self.rows = 0.0, 0

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        self.total += float(self.function(y_true, y_pred)) * len(y_true)
        self.rows += len(y_true)

    def result(self) -> float:
        """Return the mean."""
        return self.total / self.rows


def streamed(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics as objects with state: then `metrics` itself."""
    return {
        name: metric if hasattr(metric, "update_state") else Streamed(metric)
        for name, metric in metrics.items()
    }


def masked_weights(mask: Array | None, sample_weight: Array | None) -> Array | None:
    """Return what `grufast.losses.masked_weights` will."""
    if mask is None:
        return sample_weight
    weights: Array = mask * (mask.size / max(int(np.count_nonzero(mask)), 1))
    if sample_weight is not None:
        weights *= sample_weight if sample_weight.ndim == 2 else sample_weight[:, None]
    return weights


def class_weights(y_true: Array, class_weight: Mapping[int, float]) -> Array:
    """Return what `grufast.losses.class_weights` will."""
    y = y_true
    if y.dtype.kind == "f" and y.ndim > 1 and y.shape[-1] > 1:
        y = y.argmax(axis=-1)
    elif y.dtype.kind == "f":
        y = np.round(y if y.ndim == 1 else y[..., 0])
    weights = np.ones(y.shape)
    for index, value in class_weight.items():
        weights[y == index] = _checks.real(f"class_weight[{index!r}]", value)
    return weights


def target(loss: Any, y: object, shape: Any, dtype: _checks.DType) -> Array:
    """Return what `loss.target(y, shape, dtype)` will."""
    if hasattr(loss, "target"):
        checked: Array = loss.target(y, shape, dtype)
        return checked
    own = _checks.array("y", y, dtype, "...")
    if own.shape != shape and (*own.shape, 1) == shape:
        own = own[..., None]
    if own.shape != shape:
        message = f"y: got shape {own.shape}, expected the output's, {shape}"
        raise ValueError(message)
    return own


def mask_of(saved: Any) -> Array | None:
    """Return the mask of the output that training saved: then `saved.mask`."""
    return getattr(saved, "mask", None)


def infer_masked(model: Any, x: Array, mask: Array | None) -> tuple[Array, Any]:
    """Return what `model._infer_masked(x, mask)` will."""
    if hasattr(model, "_infer_masked"):
        y, mask = model._infer_masked(x, mask)
        return y, mask
    return (model._infer(x) if mask is None else model._infer(x, mask)), None


def get_state(optimizer: Any, model: Any) -> dict[str, Array]:
    """Return what `optimizer.get_state(model)` will."""
    if hasattr(optimizer, "get_state"):
        state: dict[str, Array] = optimizer.get_state(model)
        return state
    found: dict[str, Array] = {"learning_rate": np.array(optimizer.learning_rate)}
    steps = 0
    for name, weight in model.writable_weights().items():
        kept = (optimizer._states.get(id(weight)) or (weight, None))[1]
        if isinstance(kept, np.ndarray):
            found[f"{name}/velocity"] = kept
        elif kept is not None:
            found |= {f"{name}/m": kept.m, f"{name}/v": kept.v}
            steps = kept.step
    found["iterations"] = np.array(steps)
    return found


def set_state(optimizer: Any, model: Any, state: Mapping[str, Any]) -> None:
    """Do what `optimizer.set_state(model, state)` will."""
    if hasattr(optimizer, "set_state"):
        optimizer.set_state(model, state)
        return
    weights = model.writable_weights()
    for key, array in state.items():
        name, _, _ = key.rpartition("/")
        if name in weights:
            dtype = _checks.dtype(weights[name].dtype)
            _checks.like(key, array, dtype, weights[name].shape)
        elif key not in ("iterations", "learning_rate"):
            message = f"state: unknown {key!r}"
            raise ValueError(message)
    optimizer.learning_rate = float(state["learning_rate"])
    for key, array in state.items():
        name, _, slot = key.rpartition("/")
        if name not in weights:
            continue
        weight = weights[name]
        states = optimizer._states
        kept = (states.get(id(weight)) or optimizer._first_state(name, weight))[1]
        if slot == "velocity":
            kept[...] = array
        else:
            getattr(kept, slot)[...] = array
            kept.step = int(state["iterations"])
