"""Write keras_optimizers.json: what Keras's optimizers and schedules compute.

python tests/data/keras_optimizers.py, with Keras 3 and its TensorFlow backend.
"""

import inspect
import json
import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np

STEPS = 8
RECORDED = (1, 2, STEPS)
SHAPES = ((3, 4), (5,))
DECAY = {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.6}

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "weight_decay": 0.3, "momentum": 0.5}),
    ("SGD", {"learning_rate": 0.1, "clipvalue": 0.4}),
    ("SGD", {"learning_rate": 0.1, "clipnorm": 1.2}),
    ("SGD", {"learning_rate": 0.1, "global_clipnorm": 1.2}),
    (
        "SGD",
        {
            "learning_rate": {"class": "ExponentialDecay", "config": DECAY},
            "momentum": 0.5,
        },
    ),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.01}),
    ("Adam", {"learning_rate": 0.1, "beta_2": 0.6, "amsgrad": True}),
    ("Adam", {"learning_rate": 0.1, "global_clipnorm": 0.5, "epsilon": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.1, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.1, "rho": 0.6, "epsilon": 0.01}),
    ("RMSprop", {"learning_rate": 0.1, "momentum": 0.8}),
    ("RMSprop", {"learning_rate": 0.1, "centered": True}),
    ("RMSprop", {"learning_rate": 0.1, "centered": True, "momentum": 0.8}),
    ("Adagrad", {}),
    (
        "Adagrad",
        {"learning_rate": 0.5, "initial_accumulator_value": 0.0, "epsilon": 0.01},
    ),
    ("Adagrad", {"learning_rate": 0.5, "clipnorm": 0.7, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.6, "epsilon": 0.01}),
    ("Adadelta", {"learning_rate": 1.0, "weight_decay": 0.1, "clipnorm": 0.7}),
    ("Adafactor", {}),
    ("Adafactor", {"learning_rate": 0.5, "clip_threshold": 0.5, "epsilon_2": 0.1}),
    ("Adafactor", {"learning_rate": 0.5, "beta_2_decay": -0.3, "epsilon_1": 0.1}),
    ("Adafactor", {"learning_rate": 0.5, "weight_decay": 0.1, "clipvalue": 0.4}),
    ("Adamax", {}),
    ("Adamax", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 0.1}),
    ("Adamax", {"learning_rate": 0.1, "weight_decay": 0.1, "clipnorm": 0.7}),
    ("Ftrl", {}),
    (
        "Ftrl",
        {
            "learning_rate": 0.5,
            "learning_rate_power": -0.7,
            "initial_accumulator_value": 0.0,
            "l1_regularization_strength": 0.1,
            "l2_regularization_strength": 0.2,
            "l2_shrinkage_regularization_strength": 0.3,
            "beta": 0.4,
        },
    ),
    ("Ftrl", {"learning_rate": 0.5, "weight_decay": 0.1, "global_clipnorm": 0.7}),
    ("Lion", {}),
    ("Lion", {"learning_rate": 0.1, "beta_1": 0.4, "beta_2": 0.7}),
    ("Lion", {"learning_rate": 0.1, "weight_decay": 0.1, "clipnorm": 0.7}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 0.1}),
    ("Nadam", {"learning_rate": 0.1, "weight_decay": 0.1, "global_clipnorm": 0.7}),
]

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6},
    ),
    (
        "ExponentialDecay",
        {
            "initial_learning_rate": 0.1,
            "decay_steps": 7,
            "decay_rate": 0.6,
            "staircase": True,
        },
    ),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6},
    ),
    (
        "InverseTimeDecay",
        {
            "initial_learning_rate": 0.1,
            "decay_steps": 7,
            "decay_rate": 0.6,
            "staircase": True,
        },
    ),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 13}),
    (
        "PolynomialDecay",
        {
            "initial_learning_rate": 0.1,
            "decay_steps": 13,
            "end_learning_rate": 0.02,
            "power": 2.5,
            "cycle": True,
        },
    ),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 13}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 13, "alpha": 0.25},
    ),
    (
        "CosineDecay",
        {
            "initial_learning_rate": 0.01,
            "decay_steps": 13,
            "alpha": 0.25,
            "warmup_target": 0.1,
            "warmup_steps": 6,
        },
    ),
    (
        "PiecewiseConstantDecay",
        {"boundaries": [5, 13], "values": [0.1, 0.05, 0.001]},
    ),
]
SCHEDULE_STEPS = [0, 1, 5, 6, 7, 12, 13, 14, 19, 20, 26, 27, 1000]


def wide(cls: Any, config: dict[str, Any]) -> Any:
    """Make a thing with all its numbers in float64.

    Keras's casts from Python's numbers go through float32.
    """
    arguments: dict[str, Any] = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if isinstance(parameter.default, float)
    }
    arguments |= config
    for name, value in arguments.items():
        if isinstance(value, float):
            arguments[name] = np.float64(value)
    if "values" in config:
        arguments["values"] = np.array(config["values"])
    return cls(**arguments)


def cast_wide(cast: Any) -> Any:
    """Return `keras.ops.cast` without its detour through float32, as in Nadam."""
    return lambda x, dtype: cast(np.float64(x) if isinstance(x, float) else x, dtype)


def schedule(name: str, config: dict[str, Any]) -> Any:
    return wide(getattr(keras.optimizers.schedules, name), config)


def trained(
    name: str, config: dict[str, Any], start: list[Any], gradients: list[list[Any]]
) -> dict[str, Any]:
    arguments = dict(config)
    if isinstance(config.get("learning_rate"), dict):
        rate = config["learning_rate"]
        arguments["learning_rate"] = schedule(rate["class"], rate["config"])
    optimizer = wide(getattr(keras.optimizers, name), arguments)
    weights = [keras.Variable(array, dtype="float64") for array in start]
    recorded = {}
    for step, arrays in enumerate(gradients, 1):
        tensors = [keras.ops.convert_to_tensor(a, dtype="float64") for a in arrays]
        optimizer.apply(tensors, weights)
        if step in RECORDED:
            recorded[step] = [np.asarray(w.value).tolist() for w in weights]
    return {"class": name, "config": config, "weights": recorded}


def scheduled(name: str, config: dict[str, Any]) -> dict[str, Any]:
    values = [float(schedule(name, config)(step)) for step in SCHEDULE_STEPS]
    return {"class": name, "config": config, "steps": SCHEDULE_STEPS, "values": values}


def main() -> None:
    keras.backend.set_floatx("float64")
    operations = vars(inspect.getmodule(keras.optimizers.Nadam))["ops"]
    operations.cast = cast_wide(operations.cast)
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in SHAPES]
    gradients = [[rng.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]
    content = {
        "keras": keras.__version__,
        "start": [array.tolist() for array in start],
        "gradients": [[array.tolist() for array in step] for step in gradients],
        "optimizers": [trained(*each, start, gradients) for each in OPTIMIZERS],
        "schedules": [scheduled(*each) for each in SCHEDULES],
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
