"""ONNX Runtime as a second oracle of the recurrent layers, where it is installed.

Its recurrent operators know float32 only, and no gradients.
"""

from typing import Any

import numpy as np
import pytest

import cells
from cell_layers import (
    LAYERS,
    ONNX,
    Arrays,
    How,
    Kind,
    first_states,
    how_to_run,
    inferred,
    layer_of,
    new_case,
    outputs,
)
from grufast import layers
from reference import Array
from tolerances import assert_close

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

#: By class: the operator, and which of our gates stand where in its weights.
OPERATORS: dict[Any, tuple[str, list[int]]] = {
    layers.SimpleRNN: ("RNN", [0]),
    layers.LSTM: ("LSTM", [0, 3, 1, 2]),  # i, o, f, g
    layers.GRU: ("GRU", [1, 0, 2]),  # z, r, n
}
INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
OUTPUTS = ["Y", "Y_h", "Y_c"]
#: By our names: ONNX's name, and the factor and the summand of those that have them.
ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "relu": ("Relu",),
    "linear": ("Affine", 1.0, 0.0),
    "softsign": ("Softsign",),
    "elu": ("Elu", 1.0),
    "softplus": ("Softplus",),
}


def activations(kind: Kind) -> list[str]:
    """Names of a cell's activations in the operator's order."""
    hidden = kind.options.get("activation", "tanh")
    gates = kind.options.get("recurrent_activation", "sigmoid")
    return {
        layers.SimpleRNN: [hidden],
        layers.LSTM: [gates, hidden, hidden],
        layers.GRU: [gates, hidden],
    }[kind.layer]


def attributes(kind: Kind, directions: list[str]) -> dict[str, Any]:
    """Attributes of the operator, but for its size."""
    both = len(directions) == 2
    found = [ACTIVATIONS[name] for name in activations(kind)] * len(directions)
    given: dict[str, Any] = {
        "direction": "bidirectional" if both else directions[0],
        "activations": [entry[0] for entry in found],
        "activation_alpha": [entry[1] for entry in found if len(entry) > 1],
        "activation_beta": [entry[2] for entry in found if len(entry) > 2],
    }
    if kind.layer is layers.GRU:
        given["linear_before_reset"] = int(kind.options.get("reset_after", True))
    return {name: value for name, value in given.items() if value != []}


def in_order(a: Array, order: list[int]) -> Array:
    """Rows of gates in another order."""
    blocks = np.split(a, len(order))
    return np.concatenate([blocks[i] for i in order])


def feeds(kind: Kind, given: list[cells.Case], how: How) -> Arrays:
    """Inputs of the operator; `given` has the weights and states of each direction."""
    _, order = OPERATORS[kind.layer]
    weights = [case.arguments["weights"] for case in given]

    def stacked(*names: str) -> Array:
        ordered = [[in_order(w[name], order) for name in names] for w in weights]
        return np.stack([np.concatenate(arrays) for arrays in ordered])

    fed = {
        "X": given[0].arguments["x"].transpose(1, 0, 2),
        "W": stacked("weight_ih"),
        "R": stacked("weight_hh"),
        "B": stacked("bias_ih", "bias_hh"),
    }
    if "weight_peephole" in weights[0]:
        peepholes = [in_order(w["weight_peephole"], [0, 2, 1]) for w in weights]
        fed["P"] = np.stack(peepholes)  # i, o, f
    if "lengths" in how.call:
        fed["sequence_lens"] = how.call["lengths"].astype(np.int32)
    if how.states:
        states = zip(*(first_states(case) for case in given), strict=True)
        names = ("initial_h", "initial_c")
        fed |= {n: np.stack(a) for n, a in zip(names, states, strict=False)}
    return fed


def computed(kind: Kind, fed: Arrays, directions: list[str]) -> list[Array]:
    """Outputs of the operator: Y (T, D, N, H) and last states (D, N, H)."""
    operator, _ = OPERATORS[kind.layer]
    names = [name if name in fed else "" for name in INPUTS]
    while not names[-1]:
        names.pop()
    wanted = OUTPUTS[: 1 + len(kind.cell.states)]
    size = fed["R"].shape[-1]
    node = onnx.helper.make_node(
        operator, names, wanted, hidden_size=size, **attributes(kind, directions)
    )

    def described(name: str, a: Array) -> Any:
        kind_of = onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
        return onnx.helper.make_tensor_value_info(name, kind_of, a.shape)

    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        operator,
        [described(name, a) for name, a in fed.items()],
        [onnx.helper.make_tensor_value_info(n, float32, None) for n in wanted],
    )
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[Array] = session.run(None, fed)
    return found


def both_directions(kind: Kind, given: list[cells.Case], how: How) -> Arrays:
    """What our layer computes in both directions, its states being (2, N, H)."""
    units = first_states(given[0])[0].shape[1]
    inner = kind.make(units, return_sequences=True, return_state=True)
    layer = layers.Bidirectional(inner)
    layer.build(given[0].arguments["x"].shape[-1])
    layer.set_weights(
        {
            f"{name}{suffix}": a
            for suffix, case in zip(("", "_reverse"), given, strict=True)
            for name, a in case.arguments["weights"].items()
        }
    )
    first = [np.stack(a) for a in zip(*map(first_states, given), strict=True)]
    state = first[0] if len(first) == 1 else tuple(first)
    return outputs(given[0], layer(given[0].arguments["x"], state, **how.call))


def assert_agree(
    rng: np.random.Generator, kind: Kind, way: str, size: tuple[int, int, int, int]
) -> None:
    rows, steps, inputs, units = size
    both = way == "both directions"
    how = how_to_run(rng, kind, "lengths" if both else way, rows, steps)
    if "lengths" in how.call:  # of no steps at all their last state is zero
        how.call["lengths"] = how.call["lengths"].clip(min=1)
    given = [new_case(rng, kind, size, "float32") for _ in range(1 + both)]
    if both:
        directions = ["forward", "reverse"]
        actual = both_directions(kind, given, how)
    else:
        layer = layer_of(kind, given[0], **how.options)
        directions = ["reverse" if layer.go_backwards else "forward"]
        actual = inferred(layer, given[0], how)
    y, *last = computed(kind, feeds(kind, given, how), directions)
    y = y.transpose(2, 0, 1, 3).reshape(rows, steps, -1)
    if directions == ["reverse"]:
        y = cells.at_own_time(y)
    if not both:
        last = [a[0] for a in last]
    for name, expected in outputs(given[0], (y, *last)).items():
        longest = max(4 * units, inputs + units)
        assert_close(name, actual[name], expected, "forward", longest, 1 / units)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", [(5, 7, 3, 17), (9, 12, 1, 5), (1, 1, 2, 1)])
@pytest.mark.parametrize(
    ("name", "way"), sorted(ONNX), ids=[" - ".join(pair) for pair in sorted(ONNX)]
)
def test_layers_agree_with_onnx_runtime(
    rng: np.random.Generator, name: str, way: str, size: tuple[int, int, int, int]
) -> None:
    assert_agree(rng, LAYERS[name], way, size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("layer", ["SimpleRNN", "LSTM", "GRU"])
def test_activations_agree_with_onnx_runtime(
    rng: np.random.Generator, layer: str, activation: str
) -> None:
    assert_agree_with(rng, layer, {"activation": activation})


# Bounded ones: products with others let rounding errors grow.
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("activation", ["hard_sigmoid", "sigmoid", "softsign", "tanh"])
@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_activations_of_gates_agree_with_onnx_runtime(
    rng: np.random.Generator, layer: str, activation: str
) -> None:
    assert_agree_with(rng, layer, {"recurrent_activation": activation})


def assert_agree_with(
    rng: np.random.Generator, layer: str, options: dict[str, Any]
) -> None:
    kind = Kind(getattr(layers, layer), getattr(cells, layer)(**options), options)
    assert_agree(rng, kind, "initial state", (4, 3, 2, 9))
