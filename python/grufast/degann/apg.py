"""Networks as dicts of JSON's types, which DEGANN's ``.apg`` files hold.

A file has four lines of text, then a JSON object: ``net_type`` ("MyDense" or "GRU"),
``name``, ``input_size``, ``block_size``, ``output_size``, ``layer`` (a list) and
``out_layer``. A dense layer has ``weights`` (inputs, units), ``biases``, ``activation``
and more; a GRU layer, which DEGANN writes without weights, has the arrays of
`grufast.layers.GRU` under their names.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from grufast._checks import Array
from grufast._core import __version__
from grufast.degann.plan import Network, Plan, check_decorators, word
from grufast.layers import GRU, WeightedLayer

_NET_TYPES = {"DenseNet": "MyDense", "GRUNet": "GRU"}
_LATER = {"TFDense": "DenseNet"}  # what DEGANN calls it after 1.1.5
# DEGANN passes over four lines, whatever they say.
_HEADER = f"\nPackage: grufast\nversion: {__version__}\nFormat: apg of DEGANN 1.1.5\n"


class Description(NamedTuple):
    """A network as data: weights by name for every layer that has some."""

    plan: Plan
    name: str
    weights: list[dict[str, Array]]


def describe(plan: Plan, name: str, network: Network) -> dict[str, Any]:
    """Return a network in JSON's types."""
    *hidden, out = network.weighted
    described: dict[str, Any] = {
        "net_type": _NET_TYPES[plan.net_type],
        "name": name,
        "input_size": plan.input_size,
        "block_size": list(plan.block_size),
        "output_size": plan.output_size,
        "dropout_rate": plan.dropout_rate,
    }
    if plan.net_type == "DenseNet":
        pairs = zip(hidden, plan.activations, strict=False)
        described["layer"] = [_describe_dense(*pair) for pair in pairs]
    else:
        described |= {
            "gru_units": plan.block_size[0],
            "count_size": len(plan.block_size),
            "activation": plan.activations[0],
            "recurrent_activation": plan.recurrent_activation,
            "return_sequences": plan.return_sequences,
        }
        described["layer"] = [
            {key: weight.tolist() for key, weight in layer.weights.items()}
            for layer in hidden
        ]
    described["out_layer"] = _describe_dense(out, plan.activations[-1])
    return described


def _describe_dense(layer: WeightedLayer, activation: str) -> dict[str, Any]:
    weight = layer.weights["weight"]
    return {
        "shape": weight.shape[0],
        "inp_size": weight.shape[1],
        "weights": weight.T.tolist(),
        "biases": layer.weights["bias"].tolist(),
        "layer_type": "TensorflowDense",
        "dtype": layer.dtype,
        "activation": activation,
        "decorator_params": None,
    }


def encode(description: Mapping[str, Any]) -> bytes:
    """Return a file's content."""
    return (_HEADER + json.dumps(description, indent=2)).encode()


def decode(content: bytes) -> Description:
    """Return what a file's content describes, or raise a ValueError."""
    text = content.decode()
    if "{" not in text:
        message = "it holds no JSON object"
        raise ValueError(message)
    try:
        return read(json.loads(text[text.index("{") :]))
    except RecursionError as error:
        message = f"it is not a network's JSON: {error}"
        raise ValueError(message) from None


def read(config: Any) -> Description:
    """Return what `describe` described; its sizes must be those of its arrays.

    Raises
    ------
    ValueError
        If something is missing or does not fit.
    """
    try:
        return _read(_mapping("config", config))
    except KeyError as error:
        message = f"it says nothing about {error}"
        raise ValueError(message) from None
    except TypeError as error:
        raise ValueError(str(error)) from None


def _read(config: Mapping[str, Any]) -> Description:
    net_type = word("net_type", config["net_type"])
    kinds = {name: kind for kind, name in _NET_TYPES.items()} | _LATER
    if net_type not in kinds:
        message = f"net_type: got {net_type!r}, expected one of {sorted(kinds)}"
        raise ValueError(message)
    if net_type == "GRU" and "layer" not in config:
        message = "it holds no weights: DEGANN leaves those of a GRUNet out"
        raise ValueError(message)
    layers = config["layer"]
    if not isinstance(layers, list):
        message = f"layer: got {type(layers).__name__}, expected a list"
        raise TypeError(message)
    layers = [_mapping(f"layer[{i}]", layer) for i, layer in enumerate(layers)]
    out = _mapping("out_layer", config["out_layer"])
    if net_type == "GRU":
        activations = config["activation"]
    else:
        activations = [layer["activation"] for layer in (*layers, out)]
    more = ("recurrent_activation", "return_sequences", "dropout_rate")
    plan = Plan.checked(
        kinds[net_type],
        config["input_size"],
        config["block_size"],
        config["output_size"],
        activations,
        **{key: config[key] for key in more if key in config},
    )
    if len(layers) != len(plan.block_size):
        message = f"layer: got {len(layers)}, expected {len(plan.block_size)} as in "
        raise ValueError(message + "block_size")
    inputs = (plan.input_size, *plan.block_size)
    read_hidden = _gru_weights if net_type == "GRU" else _dense_weights
    weights = [
        read_hidden(f"layer[{i}]", layer, below, size)
        for i, (layer, below, size) in enumerate(
            zip(layers, inputs, plan.block_size, strict=False)
        )
    ]
    weights.append(_dense_weights("out_layer", out, inputs[-1], plan.output_size))
    return Description(plan, word("name", config["name"]), weights)


def _dense_weights(
    name: str, layer: Mapping[str, Any], inputs: int, units: int
) -> dict[str, Array]:
    check_decorators(layer.get("decorator_params"))
    return {
        "weight": _array(f"{name}.weights", layer["weights"], (inputs, units)).T,
        "bias": _array(f"{name}.biases", layer["biases"], (units,)),
    }


def _gru_weights(
    name: str, layer: Mapping[str, Any], inputs: int, units: int
) -> dict[str, Array]:
    return {
        key: _array(f"{name}.{key}", layer[key], shape)
        for key, shape in GRU(units).weight_shapes(inputs).items()
    }


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        message = f"{name}: got {type(value).__name__}, expected a JSON object"
        raise TypeError(message)
    return value


def _array(name: str, values: Any, shape: tuple[int, ...]) -> Array:
    try:
        array = np.asarray(values)
        numbers = array.astype(np.float32) if array.dtype.kind in "iuf" else None
    except ValueError:
        numbers = None
    if numbers is None:
        message = f"{name}: expected an array of numbers"
        raise ValueError(message)
    if numbers.shape != shape:
        message = f"{name}: got shape {numbers.shape}, expected {shape}"
        raise ValueError(message)
    return numbers
