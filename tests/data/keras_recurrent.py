"""Writes keras_recurrent.json: what Keras computes, for test_cells_keras.py.

Run it where Keras 3 is installed: ``python tests/data/keras_recurrent.py``.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

keras.config.set_floatx("float64")
rng = np.random.default_rng(0)
ROWS, STEPS, INPUTS, UNITS = 4, 5, 2, 3

x = rng.normal(size=(ROWS, STEPS, INPUTS))
mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]])

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu"}),
    ("LSTM", {}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
]
WAYS: list[tuple[str, dict[str, Any], bool]] = [
    ("plain", {}, False),
    ("go_backwards", {"go_backwards": True}, False),
    ("mask", {"zero_output_for_mask": True}, True),
    ("repeat", {}, True),
    ("go_backwards, mask", {"go_backwards": True, "zero_output_for_mask": True}, True),
]


def values(name: str, config: dict[str, Any]) -> dict[str, Any]:
    weights: list[Any] | None = None
    recorded: dict[str, Any] = {}
    for way, options, masked in WAYS:
        layer = getattr(layers, name)(
            UNITS, return_sequences=True, return_state=True, **config, **options
        )
        layer.build(x.shape)
        if weights is None:
            weights = [0.6 * rng.normal(size=w.shape) for w in layer.get_weights()]
        layer.set_weights(weights)
        y, *last = layer(x, mask=mask.astype(bool) if masked else None)
        recorded[way] = [np.round(np.asarray(a), 15).tolist() for a in (y, *last)]
    assert weights is not None
    return {"weights": [w.tolist() for w in weights], "ways": recorded}


recorded = {
    "keras": keras.__version__,
    "x": x.tolist(),
    "mask": mask.tolist(),
    "cases": [[name, config, values(name, config)] for name, config in LAYERS],
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(recorded) + "\n", encoding="utf-8")
