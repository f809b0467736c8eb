"""Layers: explicit forward and backward over one array, and weights in a dict."""

from grufast.initializers import INITIALIZERS
from grufast.layers.base import Context, Input, Layer, WeightedLayer
from grufast.layers.basic import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    LayerNormalization,
    Softmax,
)
from grufast.layers.recurrent import (
    GRU,
    GRUD,
    LSTM,
    MGU,
    Bidirectional,
    CellLayer,
    JordanRNN,
    SimpleRNN,
    Stream,
)
from grufast.layers.shapes import (
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Masking,
    RepeatVector,
    Reshape,
)
from grufast.layers.wrappers import TimeDistributed
from grufast.regularizers import REGULARIZERS

__all__ = [
    "GRU",
    "GRUD",
    "LSTM",
    "MGU",
    "Activation",
    "Bidirectional",
    "CellLayer",
    "Context",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "JordanRNN",
    "Layer",
    "LayerNormalization",
    "Masking",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "Softmax",
    "Stream",
    "TimeDistributed",
    "WeightedLayer",
]

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        GRU,
        GRUD,
        LSTM,
        MGU,
        Activation,
        Bidirectional,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        GaussianNoise,
        GlobalAveragePooling1D,
        GlobalMaxPooling1D,
        JordanRNN,
        LayerNormalization,
        Masking,
        RepeatVector,
        Reshape,
        SimpleRNN,
        Softmax,
        TimeDistributed,
    )
}
"""The layers that files can name."""

PARTS: dict[str, type] = {**LAYERS, **INITIALIZERS, **REGULARIZERS}
"""Those, and what their descriptions can name."""
