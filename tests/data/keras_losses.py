"""Writes keras_losses.json: what Keras computes, for test_losses.py to compare with.

Run it where Keras 3 is installed: ``python tests/data/keras_losses.py``.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import losses, metrics

keras.config.set_floatx("float64")
rng = np.random.default_rng(0)
SHAPE = (4, 3, 5)

inputs: dict[str, Any] = {
    "y_true": rng.normal(size=SHAPE),
    "y_pred": rng.normal(size=SHAPE),
    "positive": rng.uniform(0.1, 3, size=SHAPE),
    "labels": rng.integers(0, 2, size=SHAPE).astype(np.float64),
    "classes": rng.integers(0, 5, size=SHAPE[:2]),
    "rows": rng.uniform(0, 2, size=4),
    "steps": rng.uniform(0, 2, size=SHAPE[:2]),
    "mask": np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool),
}
inputs["probabilities"] = rng.uniform(0.05, 0.95, size=SHAPE)
inputs["probabilities"][0, 0] = [0, 1, 0.5, 1e-9, 1 - 1e-9]
inputs["one_hot"] = np.eye(5)[inputs["classes"]]
inputs["softmax"] = np.exp(inputs["y_pred"])
inputs["softmax"] /= inputs["softmax"].sum(axis=-1, keepdims=True)
logits = {"from_logits": True}
smooth = {"label_smoothing": 0.1}

# Name, arguments, truth, predictions.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("MeanSquaredError", {}, "y_true", "y_pred"),
    ("MeanAbsoluteError", {}, "y_true", "y_pred"),
    ("Huber", {}, "y_true", "y_pred"),
    ("Huber", {"delta": 0.3}, "y_true", "y_pred"),
    ("LogCosh", {}, "y_true", "y_pred"),
    ("MeanAbsolutePercentageError", {}, "y_true", "y_pred"),
    ("MeanAbsolutePercentageError", {}, "labels", "y_pred"),
    ("MeanSquaredLogarithmicError", {}, "positive", "probabilities"),
    ("MeanSquaredLogarithmicError", {}, "y_true", "y_pred"),
    ("BinaryCrossentropy", {}, "labels", "probabilities"),
    ("BinaryCrossentropy", smooth, "labels", "probabilities"),
    ("BinaryCrossentropy", logits, "labels", "y_pred"),
    ("BinaryCrossentropy", logits | smooth, "labels", "y_pred"),
    ("CategoricalCrossentropy", {}, "one_hot", "softmax"),
    ("CategoricalCrossentropy", {}, "one_hot", "probabilities"),
    ("CategoricalCrossentropy", smooth, "one_hot", "softmax"),
    ("CategoricalCrossentropy", logits, "one_hot", "y_pred"),
    ("CategoricalCrossentropy", logits | smooth, "one_hot", "y_pred"),
    ("SparseCategoricalCrossentropy", {}, "classes", "softmax"),
    ("SparseCategoricalCrossentropy", logits, "classes", "y_pred"),
]


def values(name: str, config: dict[str, Any], truth: str, prediction: str) -> Any:
    loss = getattr(losses, name)(**config)
    y_true, y_pred = inputs[truth], inputs[prediction]
    masked = keras.ops.convert_to_tensor(y_pred)
    keras.src.backend.set_keras_mask(
        masked, keras.ops.convert_to_tensor(inputs["mask"])
    )
    weighted = {
        "none": loss(y_true, y_pred),
        "rows": loss(y_true, y_pred, inputs["rows"][:, None]),
        "steps": loss(y_true, y_pred, inputs["steps"]),
        "mask": loss(y_true, masked),
        "mask and steps": loss(y_true, masked, inputs["steps"]),
    }
    return {key: float(value) for key, value in weighted.items()}


rmse = metrics.RootMeanSquaredError()
rmse.update_state(inputs["y_true"], inputs["y_pred"])
recorded = {
    "keras": keras.__version__,
    "inputs": {name: value.tolist() for name, value in inputs.items()},
    "cases": [[*case, values(*case)] for case in CASES],
    "rmse": float(rmse.result()),
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(recorded) + "\n", encoding="utf-8")
