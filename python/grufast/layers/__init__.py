"""Layers: explicit forward and backward over one array, and weights in a dict."""

from grufast.layers.base import Context, Layer, WeightedLayer
from grufast.layers.basic import Dense, Dropout, Flatten
from grufast.layers.recurrent import GRU, Bidirectional, Stream

__all__ = [
    "GRU",
    "Bidirectional",
    "Context",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "Stream",
    "WeightedLayer",
]

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (GRU, Bidirectional, Dense, Dropout, Flatten)
}
"""The layers that files can name."""
