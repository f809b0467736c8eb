"""The recurrent layers against values that Keras has computed.

They are in data/keras_recurrent.json; data/keras_recurrent.py writes it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cell_layers import KERAS, LAYERS
from reference import Array

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "keras_recurrent.json").read_text(
        encoding="utf-8"
    )
)
#: Keras's class and arguments by the layers' names.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SimpleRNN": ("SimpleRNN", {}),
    "SimpleRNN relu": ("SimpleRNN", {"activation": "relu"}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU reset_before": ("GRU", {"reset_after": False}),
}
UNITS = 3


def weights_of(cell: str, recorded: list[Any]) -> dict[str, Array]:
    """Keras's weights in our layout: rows for columns; a GRU's gates are z, r, n."""
    kernel, recurrent, bias = map(np.array, recorded)
    rows = np.arange(kernel.shape[1])
    if cell == "GRU":
        z, r, n = np.split(rows, 3)
        rows = np.concatenate([r, z, n])
    weights = {"weight_ih": kernel.T[rows], "weight_hh": recurrent.T[rows]}
    biases = np.atleast_2d(bias)[:, rows]
    return weights | dict(zip(("bias_ih", "bias_hh"), biases, strict=False))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("name", "way"), sorted(KERAS))
def test_layers_agree_with_keras(name: str, way: str) -> None:
    cell, config = CASES[name]
    (values,) = [c[2] for c in RECORDED["cases"] if c[:2] == [cell, config]]
    weights = weights_of(cell, values["weights"])
    layer = LAYERS[name].make(
        UNITS,
        return_sequences=True,
        return_state=True,
        go_backwards="go_backwards" in way,
        padded_output="repeat" if way == "repeat" else "zero",
        bias="double" if "bias_hh" in weights else "single",
        dtype="float64",
    )
    layer.build(2)
    layer.set_weights(weights)
    masked = "mask" in way or way == "repeat"
    mask = np.array(RECORDED["mask"], bool) if masked else None
    results = layer(np.array(RECORDED["x"]), mask=mask)
    assert len(results) == len(values["ways"][way])
    for actual, expected in zip(results, values["ways"][way], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
