"""Let DEGANN write the files that test_degann.py reads.

    pip download degann==1.1.5 --no-deps && unzip degann-1.1.5-*.whl -d degann_wheel
    PYTHONPATH=degann_wheel python tests/data/record_degann.py

with a Python that has Keras 3 and TensorFlow. Beside each .apg goes a .json with
inputs and DEGANN's predictions.
"""

import importlib
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CASES = [
    ("one", 1, [3], 1, ["tanh", "linear"]),
    ("two", 2, [4, 3], 2, ["sigmoid", "tanh", "sigmoid"]),
    ("three", 1, [5, 2, 4], 1, ["relu", "sigmoid", "tanh", "linear"]),
    ("none", 3, [], 2, ["tanh"]),
    ("more", 1, [5, 4, 3], 1, ["elu", "tanh", "softplus", "linear"]),
    ("gelu", 1, [5], 1, ["gelu", "linear"]),
    ("others", 2, [4, 4, 4], 1, ["swish", "hard_sigmoid", "softsign", "linear"]),
    ("rare", 1, [3, 3], 1, ["selu", "exponential", "linear"]),
    ("parabolic", 1, [3], 1, ["parabolic", "linear"]),
]


def main() -> None:
    """Write them."""
    imodel = importlib.import_module("degann.networks.imodel")
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    for name, inputs, blocks, outputs, activations in CASES:
        net = imodel.IModel(
            inputs, blocks, outputs, activation_func=activations, name=f"net_{name}"
        )
        path = HERE / f"degann_{name}"
        net.export_to_file(str(path))
        x = rng.uniform(-1, 1, (6, inputs)).astype(np.float32)
        recorded = {
            "name": f"net_{name}",
            "block_size": blocks,
            "activations": activations,
            "x": x.tolist(),
            "prediction": net.predict(x).tolist(),
        }
        path.with_suffix(".json").write_text(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    main()
