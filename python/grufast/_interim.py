"""Stands in for the optimizers' own `get_state` and `set_state`; to be removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grufast import _checks
from grufast._checks import Array


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
