"""grufast: GRU training and inference at the speed of the CPU.

Examples
--------
Learn the next value of a sine from the ten before it:

>>> import grufast as gf
>>> import numpy as np
>>> wave = np.sin(np.arange(400, dtype=np.float32) / 5)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 11)
>>> x, y = windows[:, :10, None], windows[:, 10:]
>>> model = gf.Sequential([gf.layers.GRU(16), gf.layers.Dense(1)], seed=0)
>>> model.compile(optimizer=gf.optimizers.Adam(1e-2), loss="mse")
>>> history = model.fit(x, y, epochs=20, validation_split=0.2, seed=0)
>>> history.history["val_loss"][-1] < 0.01
True
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from grufast import (
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
)
from grufast._core import __version__, build_info, get_num_threads, set_num_threads
from grufast.layers import Input
from grufast.model import Sequential, load

if TYPE_CHECKING:
    from grufast import data, degann, sklearn

__all__ = [
    "Input",
    "Sequential",
    "__version__",
    "build_info",
    "callbacks",
    "data",
    "degann",
    "get_num_threads",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "schedules",
    "set_num_threads",
    "sklearn",
]


def __getattr__(name: str) -> ModuleType:
    """Import what not every program needs, at its first use."""
    if name in ("data", "degann", "sklearn"):
        return import_module(f"grufast.{name}")
    message = f"module 'grufast' has no attribute {name!r}"
    raise AttributeError(message)
