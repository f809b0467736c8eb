"""Keras's arguments by position are the same ones here."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import grufast as gf

RECORD: dict[str, list[tuple[str, Any]]] = json.loads(
    (Path(__file__).parent / "data" / "keras_names.json").read_text()
)

#: What differs; examples/keras_to_grufast.md says so, but for classes to derive from.
OTHERS = {
    "Sequential.compile": ["optimizer", "loss", "metrics"],
    "callbacks.BackupAndRestore": ["path", "save_freq"],
    "losses.SparseCategoricalCrossentropy": ["from_logits", "label_smoothing"],
    "metrics.Metric": ["name"],
    "metrics.Precision": ["average", "threshold", "name"],
    "metrics.R2Score": ["name"],
    "metrics.Recall": ["average", "threshold", "name"],
    "optimizers.Optimizer": [
        "learning_rate",
        "weight_decay",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
    ],
}


def shared() -> dict[str, Any]:
    found = {}
    for path in RECORD:
        module, name = path.split(".")
        home: Any = getattr(gf, module)
        if name in getattr(home, "__all__", vars(home)):
            found[path] = getattr(home, name)
    return found


SHARED = shared()


def by_position(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter
    return [p.name for p in parameters if p.kind is kinds.POSITIONAL_OR_KEYWORD]


@pytest.mark.parametrize("path", SHARED)
def test_arguments_by_position_are_keras_own(path: str) -> None:
    own = [name for name in by_position(SHARED[path]) if name != "self"]
    keras = [name for name, _ in RECORD[path]]
    assert own == OTHERS.get(path, keras[: len(own)])
    assert path not in OTHERS or own != keras[: len(own)]


def test_layers_take_what_programs_give_by_position() -> None:
    assert len(SHARED) > 80
    layers = gf.layers
    assert by_position(layers.GRU)[:3] == [
        "units",
        "activation",
        "recurrent_activation",
    ]
    assert by_position(layers.LSTM) == by_position(layers.GRU)
    assert by_position(layers.SimpleRNN) == ["units", "activation"]
    assert by_position(layers.Dense) == ["units", "activation", "use_bias"]
    fit = by_position(gf.Sequential.fit)
    assert fit[1:6] == ["x", "y", "batch_size", "epochs", "verbose"]


def test_weights_cannot_be_left_out_of_training() -> None:
    """Rather an error than layers that are trained all the same."""
    model: Any = gf.Sequential([gf.layers.GRU(4), gf.layers.Dense(1)])
    for frozen in (model, *model.layers):
        assert frozen.trainable
        with pytest.raises(AttributeError, match="trainable"):
            frozen.trainable = False
