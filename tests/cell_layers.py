"""Every recurrent layer beside its cell in the oracle, and every way to run it.

`LAYERS` and `SEMANTICS` are the parameters of test_cells.py; docs/coverage.md is made
from them too. `exact` says what a layer must return: randomness is drawn here a second
time, from a copy of the layer's generator.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import cells
from grufast import layers
from reference import Array
from tolerances import Dtype, assert_close

Arrays = dict[str, Array]


class Kind(NamedTuple):
    """A recurrent layer: its class, what it is made with, and its oracle."""

    layer: Any
    cell: cells.Cell
    options: Mapping[str, Any] = {}
    outputs: float = 1.0  # of a JordanRNN: its outputs per unit
    one_bias: bool = True  # whether bias="single" is allowed

    def output_size(self, units: int) -> int:
        return max(1, round(self.outputs * units))

    def make(self, units: int, **options: Any) -> Any:
        if isinstance(self.cell, cells.JordanRNN):
            options["outputs"] = self.output_size(units)
        return self.layer(units, **self.options, **options)


SOFT: dict[str, Any] = {
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
}
SWISH: dict[str, Any] = {"activation": "swish", "recurrent_activation": "hard_sigmoid"}

LAYERS: dict[str, Kind] = {
    "SimpleRNN": Kind(layers.SimpleRNN, cells.SimpleRNN()),
    "SimpleRNN relu": Kind(
        layers.SimpleRNN, cells.SimpleRNN("relu"), {"activation": "relu"}
    ),
    "SimpleRNN softsign": Kind(
        layers.SimpleRNN, cells.SimpleRNN("softsign"), {"activation": "softsign"}
    ),
    "JordanRNN": Kind(layers.JordanRNN, cells.JordanRNN(), one_bias=False),
    "JordanRNN fewer outputs": Kind(
        layers.JordanRNN,
        cells.JordanRNN("tanh", "sigmoid"),
        {"output_activation": "sigmoid"},
        outputs=0.4,
        one_bias=False,
    ),
    "JordanRNN more outputs": Kind(
        layers.JordanRNN,
        cells.JordanRNN("softsign", "tanh"),
        {"activation": "softsign", "output_activation": "tanh"},
        outputs=1.5,
        one_bias=False,
    ),
    "LSTM": Kind(layers.LSTM, cells.LSTM()),
    "LSTM peephole": Kind(layers.LSTM, cells.LSTM(peephole=True), {"peephole": True}),
    "LSTM layer_norm": Kind(
        layers.LSTM, cells.LSTM(layer_norm=True), {"layer_norm": True}
    ),
    "LSTM peephole layer_norm": Kind(
        layers.LSTM,
        cells.LSTM(peephole=True, layer_norm=True),
        {"peephole": True, "layer_norm": True},
    ),
    "LSTM softsign": Kind(layers.LSTM, cells.LSTM(**SOFT), SOFT),
    "GRU": Kind(layers.GRU, cells.GRU(), one_bias=False),
    "GRU reset_before": Kind(
        layers.GRU, cells.GRU(reset_after=False), {"reset_after": False}
    ),
    "GRU layer_norm": Kind(
        layers.GRU, cells.GRU(layer_norm=True), {"layer_norm": True}, one_bias=False
    ),
    "GRU softsign": Kind(layers.GRU, cells.GRU(**SOFT), SOFT, one_bias=False),
    "GRU swish reset_before": Kind(
        layers.GRU,
        cells.GRU(reset_after=False, **SWISH),
        {"reset_after": False, **SWISH},
    ),
    "MGU": Kind(layers.MGU, cells.MGU()),
    "GRUD": Kind(layers.GRUD, cells.GRUD()),
}


#: What also runs in both directions, and how.
BIDIRECTIONAL = (
    "SimpleRNN",
    "SimpleRNN relu",
    "JordanRNN",
    "LSTM",
    "LSTM peephole",
    "LSTM layer_norm",
    "LSTM peephole layer_norm",
    "LSTM softsign",
    "GRU",
    "GRU reset_before",
    "GRU layer_norm",
    "GRU softsign",
    "GRU swish reset_before",
    "MGU",
)
BIDIRECTIONAL_WAYS = ("initial state", "lengths", "mask", "repeat")


class How(NamedTuple):
    """How a layer is run: its options, and a call's arguments besides x."""

    options: dict[str, Any]
    call: dict[str, Any]
    states: bool = True  # whether the call is given the first states


RECURRENT_DROPOUT, DROPOUT, ZONEOUT = 0.3, 0.25, (0.2, 0.4)

SEMANTICS = (
    "plain",
    "initial state",
    "lengths",
    "mask",
    "repeat",
    "resets",
    "go_backwards",
    "go_backwards, lengths",
    "go_backwards, mask",
    "learned initial state",
    "one bias",
    "dropout",
    "recurrent dropout",
    "zoneout",
    "zoneout, lengths",
    "everything",
)
RANDOM = {
    "dropout",
    "recurrent dropout",
    "zoneout",
    "zoneout, lengths",
    "everything",
}


def allowed(kind: Kind, semantics: str) -> bool:
    return kind.one_bias or semantics != "one bias"


PAIRS = [
    (name, semantics)
    for name, kind in LAYERS.items()
    for semantics in SEMANTICS
    if allowed(kind, semantics)
]

#: Layers that can carry their states from call to call: all but the GRU-D, whose last
#: observed values would be lost.
STATEFUL = [name for name in LAYERS if name != "GRUD"]


def how_to_run(
    rng: np.random.Generator, kind: Kind, semantics: str, rows: int, steps: int
) -> How:
    """Random lengths, masks and the like of a kind of `SEMANTICS`."""
    lengths = rng.integers(0, steps + 1, size=rows)
    lengths[:2] = (steps, 0)[: len(lengths)]
    mask = rng.random((rows, steps)) < 0.6
    resets = rng.random((rows, steps)) < 0.3
    own = [name for name in kind.cell.states if name != "x_last"]
    zoneout: Any = ZONEOUT[0] if len(own) == 1 else ZONEOUT
    match semantics:
        case "plain":
            return How({}, {}, states=False)
        case "initial state":
            return How({}, {})
        case "lengths":
            return How({}, {"lengths": lengths})
        case "mask":
            return How({}, {"mask": mask})
        case "repeat":
            return How({"padded_output": "repeat"}, {"mask": mask})
        case "resets":
            return How({}, {"resets": resets})
        case "go_backwards":
            return How({"go_backwards": True}, {})
        case "go_backwards, lengths":
            return How({"go_backwards": True}, {"lengths": lengths})
        case "go_backwards, mask":
            return How({"go_backwards": True}, {"mask": mask})
        case "learned initial state":
            return How(
                {"learn_initial_state": True}, {"lengths": lengths}, states=False
            )
        case "one bias":
            return How({"bias": "single"}, {})
        case "dropout":
            return How({"dropout": DROPOUT}, {})
        case "recurrent dropout":
            return How({"recurrent_dropout": RECURRENT_DROPOUT}, {})
        case "zoneout":
            return How({"zoneout": zoneout}, {})
        case "zoneout, lengths":
            return How({"zoneout": zoneout}, {"lengths": lengths})
        case "everything":
            options = {
                "padded_output": "repeat",
                "go_backwards": True,
                "dropout": DROPOUT,
                "recurrent_dropout": RECURRENT_DROPOUT,
                "zoneout": zoneout,
            }
            return How(options, {"mask": mask, "resets": resets})
    raise ValueError(semantics)


# A layer and its results


def new_case(
    rng: np.random.Generator,
    kind: Kind,
    size: tuple[int, int, int, int],
    dtype: Dtype,
    one_bias: bool = False,
) -> cells.Case:
    rows, steps, inputs, units = size
    if getattr(kind.cell, "layer_norm", False):
        inputs = max(inputs, 2)  # of a single one all gradients cancel
        # Where h is near 0 in all units, normalised U h is nearly a step. Over many
        # steps a few units are there so often that rounding errors of the arguments
        # alone grow beyond the tolerances.
        units = units if steps == 1 else max(units, 5)
    case = cells.random_case(
        rng, kind.cell, rows, steps, inputs, units, kind.output_size(units), dtype
    )
    if one_bias:
        del case.arguments["weights"]["bias_hh"]
    return case


def layer_input(case: cells.Case) -> Array:
    """x; of a GRU-D the values, whether they were observed, and the times since."""
    x: Array = case.arguments["x"]
    more = case.arguments["inputs"]
    if not more:
        return x
    observed = more["observed"].astype(x.dtype)
    return np.concatenate([x, observed, more["delta"]], axis=-1)


def first_states(case: cells.Case) -> list[Array]:
    return [case.arguments["states"][f"{name}0"] for name in case.dlast]


def layer_of(kind: Kind, case: cells.Case, **options: Any) -> Any:
    """A layer with a case's weights; learned first states are those of row 0."""
    weights = case.arguments["weights"]
    units, inputs = weights["weight_ih"].shape
    units = (
        weights["weight_ih"].shape[0]
        // cells.weight_shapes(kind.cell, inputs, 1)["weight_ih"][0]
    )
    if isinstance(kind.cell, cells.GRUD):
        options["x_mean"] = case.arguments["inputs"]["x_mean"].tolist()
    layer = kind.make(
        units,
        **{"return_sequences": True, "return_state": True, "seed": 7, **options},
        dtype=case.dy.dtype.name,
    )
    layer.build(inputs)
    learned = {}
    if layer.learn_initial_state:
        states = zip(case.dlast, first_states(case), strict=True)
        learned = {f"initial_{name}": a[0] for name, a in states}
    layer.set_weights(weights | learned)
    return layer


def initial_state(case: cells.Case) -> Any:
    states = first_states(case)
    return states[0] if len(states) == 1 else tuple(states)


def outputs(case: cells.Case, output: tuple[Array, ...]) -> Arrays:
    y, *last = output
    names = [f"{name}_n" for name in case.dlast]
    return {"y": y, **dict(zip(names, last, strict=True))}


def inferred(layer: Any, case: cells.Case, how: How) -> Arrays:
    state = initial_state(case) if how.states else None
    return outputs(case, layer(layer_input(case), state, **how.call))


def trained(layer: Any, case: cells.Case, how: How) -> Arrays:
    """Everything a layer computes for a case: forward, backward."""
    state = initial_state(case) if how.states else None
    x = layer_input(case)
    output, context = layer.forward(x, state, **how.call)
    dx, grads = layer.backward((case.dy, *case.dlast.values()), context)
    assert dx.shape == x.shape
    results = outputs(case, output)
    if case.arguments["inputs"]:
        results["dx"], _, results["ddelta"] = np.split(dx, 3, axis=-1)
    else:
        results["dx"] = dx
    states = grads.pop("initial_state", ())
    states = (states,) if isinstance(states, np.ndarray) else states
    names = [f"d{name}0" for name in case.dlast]
    results |= dict(zip(names, states, strict=bool(states)))
    assert grads.keys() == layer.weights.keys()
    return results | {f"d{name}": a for name, a in grads.items()}


# What they must be


def wide(value: Any) -> Any:
    """Floats as float64."""
    if isinstance(value, dict):
        return {name: wide(a) for name, a in value.items()}
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float64) if is_float else value


def mixed(x: Array) -> Array:
    """The 32 bits of x, mixed: C. Wellons' "lowbias32"."""
    bits = 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & bits
    x = ((x ^ (x >> 15)) * 0x846CA68B) & bits
    mixed: Array = x ^ (x >> 16)
    return mixed


def drawn_zone(
    seed: int,
    state: int,
    rate: float,
    valid: Array,
    reverse: bool,
    size: int,
    dtype: Any,
) -> Array:
    """Which units (N, T, size) keep their state.

    A row's steps count from its first valid one in the order of computation.
    """
    ahead = -1 if reverse else 1
    step = valid[:, ::ahead].cumsum(axis=1)[:, ::ahead] - valid
    row = np.arange(len(valid))[:, None]
    key = mixed(np.full_like(step, (seed + state) % 2**32).astype(np.uint64))
    key = mixed(key ^ step.astype(np.uint64))
    key = mixed(key ^ row.astype(np.uint64))
    draw = mixed(key[..., None] ^ np.arange(size, dtype=np.uint64))
    number = np.dtype(dtype).type
    below: Array = draw.astype(dtype) * number(2.0**-32) < number(rate)
    return below


def drawn_mask(
    rng: np.random.Generator, rate: float, rows: int, size: int, dtype: Any
) -> Array:
    kept = rng.random((rows, size), np.float32) >= rate
    return np.where(kept, np.dtype(dtype).type(1 / (1 - rate)), 0).astype(dtype)


def oracle_options(
    case: cells.Case, how: How, layer: Any, rng: np.random.Generator | None
) -> dict[str, Any]:
    """`cells.Semantics` of a run; `rng`: the layer's generator, None at inference."""
    options: dict[str, Any] = dict(how.call)
    options["reverse"] = layer.go_backwards
    options["padded_output"] = layer.padded_output
    rows, steps, width = case.dy.shape
    dtype = case.dy.dtype
    if rng is not None and layer.recurrent_dropout > 0:
        mask = drawn_mask(rng, layer.recurrent_dropout, rows, layer.size, dtype)
        options["recurrent_mask"] = mask[:, :width]
    if any(layer.zones):
        names = [*case.dlast]
        if rng is None:
            rates = [float(dtype.type(rate)) for rate in layer.zones]
            options["zone"] = dict(zip(names, rates, strict=True))
        else:
            seed = int(rng.integers(2**32))
            given = {k: v for k, v in how.call.items() if k != "resets"}
            valid = cells.Semantics(**given).valid(rows, steps)
            options["zone"] = {
                name: drawn_zone(
                    seed, index, rate, valid, layer.go_backwards, width, dtype
                )
                for index, (name, rate) in enumerate(
                    zip(names, layer.zones, strict=True)
                )
            }
    return options


def oracle_arguments(case: cells.Case, how: How, layer: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {**case.arguments}
    if layer.learn_initial_state:
        arguments["states"] = {
            name: np.tile(a[:1], (len(a), 1))
            for name, a in case.arguments["states"].items()
        }
    elif not how.states:
        arguments["states"] = {
            name: np.zeros_like(a) for name, a in case.arguments["states"].items()
        }
    return {name: wide(value) for name, value in arguments.items()}


def exact(
    case: cells.Case, how: How, layer: Any, rng: np.random.Generator | None
) -> Arrays:
    """What `trained` must return or, without `rng`, `inferred`."""
    arguments = oracle_arguments(case, how, layer)
    dropped: Array | None = None
    if rng is not None and layer.dropout > 0:
        rows, _, inputs = layer_input(case).shape
        dropped = wide(drawn_mask(rng, layer.dropout, rows, inputs, case.dy.dtype))
    options = wide(oracle_options(case, how, layer, rng))
    if rng is None:
        y, last = cells.forward(case.cell, **arguments, **options)
        return {"y": y, **{f"{name}_n": last[name] for name in case.dlast}}
    results = run_with_dropout(case, arguments, options, dropped)
    if layer.learn_initial_state:
        for name in case.dlast:
            results[f"dinitial_{name}"] = results[f"d{name}0"].sum(axis=0)
    if not how.states:
        for name in case.dlast:
            del results[f"d{name}0"]
    for name in ("dx_last0", "dx_mean"):  # not what a layer returns
        results.pop(name, None)
    return results


def run_with_dropout(
    case: cells.Case,
    arguments: dict[str, Any],
    options: dict[str, Any],
    dropped: Array | None,
) -> Arrays:
    """Results of the oracle where inputs are multiplied on their way into products.

    That is what weights with multiplied columns do, other ones for each row.
    """
    given = wide(case.dy), wide(case.dlast)
    if dropped is None:
        return run(case.cell, arguments, options, *given)
    by_row = []
    names = ["weight_ih", "weight_mask", "decay_state_weight"]
    for row in range(len(dropped)):
        mine = slice(row, row + 1)
        own = {**arguments, "weights": {**arguments["weights"]}}
        parts = 3 if case.arguments["inputs"] else 1
        factors = dict(zip(names, np.split(dropped[row], parts), strict=False))
        for name, factor in factors.items():
            own["weights"][name] = own["weights"][name] * factor
        for name in ("x", "states"):
            own[name] = rows_of(own[name], mine)
        sequences = {k: a for k, a in own["inputs"].items() if a.ndim > 1}
        own["inputs"] = own["inputs"] | rows_of(sequences, mine)
        alone = run(
            case.cell, own, rows_of(options, mine), *(rows_of(a, mine) for a in given)
        )
        for name, factor in factors.items():
            alone[f"d{name}"] *= factor
        by_row.append(alone)
    weights = {f"d{name}" for name in (*arguments["weights"], "x_mean")}
    results = {}
    for name in by_row[0]:
        found = [alone[name] for alone in by_row]
        results[name] = np.sum(found, 0) if name in weights else np.concatenate(found)
    return results


def run(
    cell: cells.Cell, arguments: Any, options: Any, dy: Array, dlast: Arrays
) -> Arrays:
    y, last = cells.forward(cell, **arguments, **options)
    gradients = cells.backward(cell, **arguments, **options, dy=dy, dlast=dlast)
    ends = {f"{name}_n": last[name] for name in dlast}
    return {"y": y, **ends, **{f"d{name}": a for name, a in gradients.items()}}


def rows_of(value: Any, rows: slice) -> Any:
    """The rows of every array."""
    if isinstance(value, dict):
        return {name: rows_of(a, rows) for name, a in value.items()}
    return value[rows] if isinstance(value, np.ndarray) else value


def nearly(case: cells.Case) -> cells.Case:
    """A case whose arguments differ by about a rounding error."""
    rng = np.random.default_rng(0)

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(a) for name, a in value.items()}
        if value.dtype.kind != "f":
            return value
        noise = rng.normal(size=value.shape)
        return value.astype(np.float64) * (1 + np.finfo(value.dtype).eps * noise)

    return case._replace(arguments=changed(case.arguments))


def generator_of(layer: Any) -> np.random.Generator:
    """A twin of the generator that the layer's next call draws from."""
    twin: np.random.Generator = copy.deepcopy(layer._rng)
    return twin


def assert_right(
    actual: Arrays,
    case: cells.Case,
    how: How,
    layer: Any,
    rng: np.random.Generator | None,
) -> None:
    """Compare with `exact` as `tolerances.assert_gru_is_right` does."""
    expected = exact(case, how, layer, copy.deepcopy(rng))
    assert actual.keys() == expected.keys()

    @functools.cache
    def moved() -> Arrays:
        return exact(nearly(case), how, layer, copy.deepcopy(rng))

    rows, steps, width = case.dy.shape
    weights = case.arguments["weights"]
    gates, inputs = weights["weight_ih"].shape
    units = max(weights["weight_hh"].shape[1], width)
    flows_in = [a for a in (case.dy, *case.dlast.values()) if a.size]
    incoming = max((float(abs(a).max()) for a in flows_in), default=0.0)
    gate_sum = max(gates, inputs + units)
    for name, result in actual.items():
        if name == "y" or name.endswith("_n"):
            kind, longest, floor = "forward", gate_sum, 1 / units
        elif name in ("dx", "ddelta") or name.endswith("0"):
            kind, longest, floor = "backward", gate_sum, incoming / units
        else:
            kind, longest = "backward", max(gate_sum, rows * steps)
            floor = incoming / units * float(rows * steps) ** 0.5
        if result.dtype == np.float64:
            scale = max(abs(expected[name]).max(initial=0), floor)
            error = abs(result - expected[name]).max(initial=0)
            assert error <= 1e-10 * scale, name
        assert_close_or_moved(name, result, expected, moved, kind, longest, floor=floor)


def assert_close_or_moved(
    name: str,
    result: Array,
    expected: Arrays,
    moved: Callable[[], Arrays],
    kind: str,
    longest: int,
    floor: float,
) -> None:
    """Compare with `expected` by `tolerances`; `moved` has the same of `nearly`.

    Where rounding errors grow over the steps, or a normalisation divides by little, a
    result may also be as wrong as rounded arguments make it.
    """
    try:
        assert_close(name, result, expected[name], kind, longest, floor)
    except AssertionError:
        growth = abs(moved()[name] - expected[name]).max(initial=0)
        growth /= np.finfo(result.dtype).eps
        assert_close(name, result, expected[name], kind, longest, floor + growth)


# What other libraries have too

PYTORCH = {
    (name, way)
    for name in ("SimpleRNN", "SimpleRNN relu", "LSTM", "GRU")
    for way in ("initial state", "lengths", "both directions")
}
KERAS = {
    (name, way)
    for name in ("SimpleRNN", "SimpleRNN relu", "LSTM", "GRU", "GRU reset_before")
    for way in ("plain", "go_backwards", "mask", "repeat", "go_backwards, mask")
}
ONNX = {
    (name, way)
    for name in (
        "SimpleRNN",
        "SimpleRNN relu",
        "SimpleRNN softsign",
        "LSTM",
        "LSTM peephole",
        "LSTM softsign",
        "GRU",
        "GRU reset_before",
        "GRU softsign",
    )
    for way in (
        "plain",
        "initial state",
        "lengths",
        "go_backwards",
        "go_backwards, lengths",
        "both directions",
    )
}
