"""Every recurrent layer, run in every way, against the oracle."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cell_coverage
import cells
import grufast as gf
from cell_layers import (
    BIDIRECTIONAL,
    BIDIRECTIONAL_WAYS,
    LAYERS,
    PAIRS,
    RANDOM,
    STATEFUL,
    Arrays,
    How,
    Kind,
    assert_close_or_moved,
    assert_right,
    drawn_zone,
    first_states,
    generator_of,
    how_to_run,
    inferred,
    initial_state,
    layer_input,
    layer_of,
    nearly,
    new_case,
    oracle_arguments,
    outputs,
    rows_of,
    trained,
    wide,
)
from reference import ACTIVATIONS
from tolerances import DTYPES, Dtype, assert_close, assert_same_bits

layers: Any = gf.layers  # some tests give them what they do not take


each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_layer = pytest.mark.parametrize("name", LAYERS)
each_pair = pytest.mark.parametrize(
    ("name", "semantics"), PAIRS, ids=[" - ".join(pair) for pair in PAIRS]
)

#: Rows, steps, inputs, units: around the numbers of lanes and of a tile's rows.
SIZES = [
    (1, 1, 1, 1),
    (9, 7, 3, 17),
    (3, 30, 1, 5),
    (20, 1, 3, 33),
    (33, 7, 1, 40),
    (1, 30, 3, 40),
    (9, 30, 3, 1),
    (3, 7, 1, 33),
]


#: Of two outputs; and the gradients for them.
MERGE: dict[str, tuple[Any, Any]] = {
    "concat": (
        lambda a, b: np.concatenate([a, b], axis=-1),
        lambda dy, a, b: np.split(dy, 2, axis=-1),
    ),
    "sum": (lambda a, b: a + b, lambda dy, a, b: (dy, dy)),
    "ave": (lambda a, b: (a + b) / 2, lambda dy, a, b: (dy / 2, dy / 2)),
    "mul": (lambda a, b: a * b, lambda dy, a, b: (dy * b, dy * a)),
}
MODES = tuple(MERGE)


X = np.ones((2, 3, 4), np.float32)
H = np.ones((2, 5), np.float32)
FLAGS = np.ones((2, 3), bool)


def sizes_of(pair: int, dtype: Dtype) -> list[tuple[int, int, int, int]]:
    """Two of the sizes, others for each pair."""
    first = pair + 2 * DTYPES.index(dtype)
    return [SIZES[(first + more) % len(SIZES)] for more in (0, 4)]


@each_pair
@each_dtype
@pytest.mark.usefixtures("isa")
def test_outputs_and_gradients_are_right(
    rng: np.random.Generator, name: str, semantics: str, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    for size in sizes_of(PAIRS.index((name, semantics)), dtype):
        case = new_case(rng, kind, size, dtype, one_bias=semantics == "one bias")
        how = how_to_run(rng, kind, semantics, *size[:2])
        layer = layer_of(kind, case, **how.options)
        twin = generator_of(layer)
        results = trained(layer, case, how)
        assert_right(results, case, how, layer, twin)

        low = layer_of(kind, case, **how.options, memory="low")
        assert_same_bits(trained(low, case, how), results)

        called = inferred(layer, case, how)
        if semantics in RANDOM:
            assert_right(called, case, how, layer, None)
        else:
            assert_same_bits(called, {key: results[key] for key in called})


# The same bits


@each_layer
@each_dtype
@pytest.mark.usefixtures("keep_num_threads")
@pytest.mark.parametrize("size", [(33, 12, 3, 40), (3, 12, 3, 130)])
@pytest.mark.parametrize("semantics", ["plain", "resets", "everything"])
def test_the_number_of_threads_changes_no_bit(
    rng: np.random.Generator,
    name: str,
    semantics: str,
    size: tuple[int, int, int, int],
    dtype: Dtype,
) -> None:
    """Threads share rows or, where these are few, units."""
    kind = LAYERS[name]
    case = new_case(rng, kind, size, dtype)
    how = how_to_run(rng, kind, semantics, *size[:2])
    results = []
    for threads, memory in ((1, "fast"), (2, "fast"), (3, "fast"), (3, "low")):
        gf.set_num_threads(threads)
        layer = layer_of(kind, case, **how.options, memory=memory)
        results.append(trained(layer, case, how))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@each_layer
@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("semantics", ["initial state", "lengths", "mask", "resets"])
def test_a_row_alone_has_the_bits_that_it_has_in_a_batch(
    rng: np.random.Generator, name: str, semantics: str, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    size = (9, 7, 3, 17)
    case = new_case(rng, kind, size, dtype)
    how = how_to_run(rng, kind, semantics, *size[:2])
    layer = layer_of(kind, case, **how.options)
    together = inferred(layer, case, how)
    for row in (0, 4, 8):
        mine = slice(row, row + 1)
        names = ("x", "states", "inputs")
        arguments = {**case.arguments}
        for argument in names:
            arguments[argument] = rows_of(arguments[argument], mine)
        alone = case._replace(arguments=arguments)
        own = how._replace(call=rows_of(how.call, mine))
        expected = {key: a[mine] for key, a in together.items()}
        assert_same_bits(inferred(layer, alone, own), expected)


@pytest.mark.parametrize("name", STATEFUL)
@each_dtype
@pytest.mark.usefixtures("isa")
def test_calls_of_a_stateful_layer_go_on_where_the_last_one_ended(
    rng: np.random.Generator, name: str, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    case = new_case(rng, kind, (9, 7, 3, 17), dtype)
    x = layer_input(case)
    whole = layer_of(kind, case)
    layer = layer_of(kind, case, stateful=True)
    y, *last = whole(x)
    for _ in range(2):
        parts = [layer(x[:, :3]), layer.forward(x[:, 3:5])[0], layer(x[:, 5:])]
        assert_same_bits(
            outputs(case, (np.concatenate([part[0] for part in parts], axis=1), *last)),
            outputs(case, (y, *parts[-1][1:])),
        )
        layer.reset_states()
    layer(x)
    with pytest.raises(
        ValueError, match=r"x: got 2 sequences.*belong to 9; call reset"
    ):
        layer(x[:2])


@pytest.mark.parametrize("name", STATEFUL)
@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("more", [False, True], ids=["plain", "everything"])
def test_resets_of_a_stateful_layer_go_back_to_the_first_states(
    rng: np.random.Generator, name: str, more: bool, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    size = (9, 7, 3, 17)
    case = new_case(rng, kind, size, dtype)
    resets, mask = rng.random((9, 7)) < 0.3, rng.random((9, 7)) < 0.7
    resets[0], mask[1], mask[2, 3:] = False, False, False
    options = {
        "learn_initial_state": more,
        "go_backwards": more,
        "padded_output": "repeat" if more else "zero",
    }
    call = {"resets": resets, "mask": mask} if more else {"resets": resets}
    how = How(options, call, states=False)
    x = layer_input(case)
    runs = []
    for memory in ("fast", "low"):
        layer = layer_of(kind, case, **options, stateful=True, memory=memory)
        _, *carried = layer(x)
        runs.append(trained(layer, case, how))
        last = tuple(runs[0][f"{state}_n"] for state in case.dlast)
        plain = layer_of(kind, case, **options)
        again = plain(x, last if len(last) > 1 else last[0])
        assert_same_bits(outputs(case, layer(x)), outputs(case, again))
    assert_same_bits(runs[1], runs[0])
    before = dict(zip(case.dlast, carried, strict=True))
    exact_how = how._replace(call={**call, "carried": before})
    assert_right(runs[0], case, exact_how, layer, generator_of(layer))

    layer.reset_states()
    layer(x)
    assert_same_bits(
        outputs(case, layer(x, **call)), {k: runs[0][k] for k in ("y", *_ends(case))}
    )


@pytest.mark.parametrize("name", STATEFUL)
def test_a_stateful_layer_goes_on_from_states_that_it_is_given(
    rng: np.random.Generator, name: str
) -> None:
    kind = LAYERS[name]
    case = new_case(rng, kind, (3, 7, 3, 5), "float32")
    x, resets = layer_input(case), np.zeros((3, 7), bool)
    resets[:, 4] = True
    layer = layer_of(kind, case, stateful=True)
    given = initial_state(case)
    layer.reset_states(given)
    kept = [a.copy() for a in first_states(case)]
    for a in first_states(case):
        a[:] = 0  # they were copied
    y, *_ = layer(x, resets=resets)
    plain = layer_of(kind, case)
    start = tuple(kept) if len(kept) > 1 else kept[0]
    np.testing.assert_array_equal(y[:, :4], plain(x[:, :4], start)[0])
    np.testing.assert_array_equal(y[:, 4:], plain(x[:, 4:])[0])


def test_states_to_go_on_from_are_checked() -> None:
    layer = layers.LSTM(5, stateful=True)
    both = layers.Bidirectional(layers.MGU(5, stateful=True))
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (layer, H, TypeError, "states: got ndarray, expected the tuple (h, c)"),
        (layer, (H, H[:1]), ValueError, "states: got shape (1, 5), expected (N, H)"),
        (layer, (H[0], H[0]), ValueError, "states: got shape (5,), expected (N, H)"),
        (layer, ([1.0], H), TypeError, "states: got list, expected a NumPy array"),
        (both, H, ValueError, "states: got shape (2, 5), expected (2, N, H)"),
        (layers.GRU(5), H, ValueError, "states: expected None, as the layer is not"),
    ]
    for own, states, error, message in cases:
        with pytest.raises(error, match=re.escape(message)):
            own.reset_states(states)
    both.reset_states(np.stack([H, H]))
    assert both(X).shape == (2, 10)


def _ends(case: Any) -> list[str]:
    return [f"{state}_n" for state in case.dlast]


# Activations


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("cell", [cells.SimpleRNN, cells.LSTM, cells.GRU, cells.MGU])
def test_every_activation_is_right_in_every_place(
    rng: np.random.Generator, cell: Any, activation: str, dtype: Dtype
) -> None:
    places = [field.name for field in dataclasses.fields(cell)]
    chosen = [{p: activation} for p in places if p.endswith("activation")]
    for options in chosen:
        kind = Kind(getattr(layers, cell.__name__), cell(**options), options)
        case = new_case(rng, kind, (3, 5, 3, 5), dtype)
        layer = layer_of(kind, case)
        how = How({}, {})
        assert_right(trained(layer, case, how), case, how, layer, generator_of(layer))


# Dropout and zoneout


@each_layer
@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout", "zoneout"])
def test_the_seed_decides_what_training_draws(
    rng: np.random.Generator, name: str, option: str
) -> None:
    kind = LAYERS[name]
    case = new_case(rng, kind, (3, 7, 3, 5), "float32")
    how = How({option: 0.5}, {})

    def run(seed: int) -> tuple[Arrays, Arrays]:
        layer = layer_of(kind, case, **how.options, seed=seed)
        return trained(layer, case, how), trained(layer, case, how)

    first, second = run(3)
    for results, again in zip((first, second), run(3), strict=True):
        assert_same_bits(results, again)
    assert (first["y"] != second["y"]).any()
    assert (first["y"] != run(4)[0]["y"]).any()


def test_zoneout_keeps_its_part_of_units() -> None:
    valid = np.ones((50, 20), bool)
    kept = drawn_zone(5, 0, 0.3, valid, False, 40, np.float32)
    # Five standard deviations of a mean of 40,000 numbers.
    assert abs(kept.mean() - 0.3) < 5 * (0.3 * 0.7 / kept.size) ** 0.5
    other = drawn_zone(5, 1, 0.3, valid, False, 40, np.float32)
    assert abs((kept & other).mean() - 0.09) < 5 * (0.09 * 0.91 / kept.size) ** 0.5


# Both directions


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("way", BIDIRECTIONAL_WAYS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_both_directions_are_right(
    rng: np.random.Generator, name: str, mode: Any, way: str, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    size = (9, 7, 3, 17)
    case = new_case(rng, kind, size, dtype)
    other = new_case(rng, kind, size, dtype)
    other.arguments["x"] = case.arguments["x"]
    how = how_to_run(rng, kind, way, *size[:2])
    ends = way == "lengths"  # once without sequences
    options = {"return_sequences": not ends, "return_state": True}
    layer = layers.Bidirectional(
        kind.make(17, **options, dtype=dtype, **how.options), mode
    )
    layer.build(3)
    weights = case.arguments["weights"]
    reverse = {f"{k}_reverse": a for k, a in other.arguments["weights"].items()}
    layer.set_weights(weights | reverse)

    state = tuple(
        np.stack([case.arguments["states"][key], other.arguments["states"][key]])
        for key in case.arguments["states"]
    )
    dlast = tuple(np.stack([case.dlast[key], other.dlast[key]]) for key in case.dlast)
    output, context = layer.forward(
        layer_input(case), state if len(state) > 1 else state[0], **how.call
    )
    merged = output[0]
    dy = rng.normal(size=merged.shape).astype(dtype)
    dx, grads = layer.backward((dy, *dlast), context)
    assert_same_bits(
        {
            "y": layer(
                case.arguments["x"], state if len(state) > 1 else state[0], **how.call
            )[0]
        },
        {"y": merged},
    )

    def exactly(case: Any, other: Any) -> Arrays:
        both = []
        for own, backwards in ((case, False), (other, True)):
            arguments = oracle_arguments(own, how, layer.layer)
            semantics = {"padded_output": layer.padded_output, **how.call}
            both.append((own, arguments, {**semantics, "reverse": backwards}))
        y, last = [], []
        for own, arguments, semantics in both:
            ran = cells.forward(own.cell, **arguments, **semantics)
            in_time = cells.at_own_time(ran.y) if semantics["reverse"] else ran.y
            y.append(ran.last["h"] if ends else in_time)
            last.append(ran.last)
        merge, split = MERGE[mode]
        expected = {"y": merge(*y), "dx": 0}
        for key in case.dlast:
            expected[f"{key}_n"] = np.stack([one[key] for one in last])
        for d, (own, arguments, semantics) in enumerate(both):
            mine = split(dy.astype(np.float64), *y)[d]
            into = {key: wide(a) for key, a in own.dlast.items()}
            if ends:
                into["h"] = into["h"] + mine
            elif semantics["reverse"]:
                mine = cells.at_own_time(mine)
            flows_in: dict[str, Any] = {"dy": None if ends else mine, "dlast": into}
            gradients = cells.backward(own.cell, **arguments, **semantics, **flows_in)
            expected["dx"] = expected["dx"] + gradients["x"]
            for key in weights:
                expected[f"d{key}{'_reverse' * d}"] = gradients[key]
        return expected

    @functools.cache
    def moved() -> Arrays:
        near = nearly(case)
        far = nearly(other)
        far.arguments["x"] = near.arguments["x"]
        return exactly(near, far)

    expected = exactly(case, other)
    actual = {"y": merged, "dx": dx, **{f"d{key}": a for key, a in grads.items()}}
    del actual["dinitial_state"]
    for index, key in enumerate(case.dlast):
        actual[f"{key}_n"] = output[1 + index]
    assert actual.keys() == expected.keys()
    for key, value in actual.items():
        kind_of = "backward" if key.startswith("d") else "forward"
        floor = 4 / 17 * (63**0.5 if kind_of == "backward" else 1)
        assert_close_or_moved(key, value, expected, moved, kind_of, 4 * 17, floor)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_both_directions_are_two_layers_with_noise_and_learned_states_too(
    rng: np.random.Generator, name: str
) -> None:
    kind = LAYERS[name]
    options: dict[str, Any] = {
        "return_sequences": True,
        "return_state": True,
        "recurrent_dropout": 0.3,
        "zoneout": 0.2,
        "learn_initial_state": True,
    }
    layer = layers.Bidirectional(kind.make(5, **options, seed=3))
    layer.build(3)
    weights = {
        key: rng.normal(size=a.shape).astype(np.float32) / 2
        for key, a in layer.weights.items()
    }
    layer.set_weights(weights)
    x = rng.normal(size=(9, 7, 3)).astype(np.float32)
    call = {"lengths": rng.integers(0, 8, size=9)}
    twin = generator_of(layer)  # draws for one direction, then for the other
    (y, *last), context = layer.forward(x, **call)
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx, grads = layer.backward((dy, *[None] * len(last)), context)
    inferred_y, *_ = layer(x, **call)

    both = []
    for d, suffix in enumerate(layer.suffixes):
        one = kind.make(5, **options, go_backwards=d == 1)
        one.build(3)
        one.set_weights({key: weights[f"{key}{suffix}"] for key in one.weights})
        one._rng = twin
        own_dy = np.split(dy, 2, axis=-1)[d]
        way = slice(None, None, -1 if d else 1)  # outputs in the order of computation
        (own_y, *own_last), own_context = one.forward(x, **call)
        own_dy = np.ascontiguousarray(own_dy[:, way])
        own_dx, own_grads = one.backward((own_dy, *[None] * len(last)), own_context)
        expected = {f"{key}{suffix}": a for key, a in own_grads.items()}
        expected |= {str(i): a for i, a in enumerate(own_last)}
        actual = {f"{key}{suffix}": grads[f"{key}{suffix}"] for key in own_grads}
        actual |= {str(i): a[d] for i, a in enumerate(last)}
        assert_same_bits(actual, expected)
        both.append((own_y[:, way], own_dx, one(x, **call)[0][:, way]))
    (y_0, dx_0, inferred_0), (y_1, dx_1, inferred_1) = both
    assert_same_bits(
        {"y": y, "inferred": inferred_y, "dx": dx},
        {
            "dx": dx_0 + dx_1,
            "y": np.concatenate([y_0, y_1], axis=-1),
            "inferred": np.concatenate([inferred_0, inferred_1], axis=-1),
        },
    )


# Layers on top of each other


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("masking", [False, True], ids=["", "mask"])
def test_a_model_is_its_layers_one_by_one(
    rng: np.random.Generator, masking: bool, memory: Any
) -> None:
    options: Any = {"return_sequences": True, "dtype": "float64", "memory": memory}
    stack = [
        layers.SimpleRNN(6, **options),
        layers.GRU(5, **options),
        layers.LSTM(4, **options),
        layers.Bidirectional(layers.MGU(3, **options)),
        layers.TimeDistributed(layers.Dense(2, dtype="float64")),
    ]
    first = [layers.Masking()] if masking else []
    model = gf.Sequential([*first, *stack], seed=5)
    x = rng.normal(size=(9, 7, 3))
    valid = np.arange(7) < np.array([7, 3, 0, 5, 1, 7, 2, 6, 4])[:, None]
    if masking:
        x[~valid] = 0
    mask = valid if masking else None
    y, context = model.forward(x)
    dy = rng.normal(size=y.shape)
    dx, grads = model.backward(dy, context)

    value: Any = x
    contexts = []
    for layer in stack:
        value, own = layer.forward(value, mask=mask)
        contexts.append(own)
    expected = {"y": value}
    gradient = dy
    for index in reversed(range(len(stack))):
        gradient, own_grads = stack[index].backward(gradient, contexts[index])
        place = index + len(first)
        expected |= {f"layers.{place}.{k}": a for k, a in own_grads.items()}
    expected["dx"] = gradient * valid[..., None] if masking else gradient
    assert expected.keys() == {"y": y, "dx": dx, **grads}.keys()
    for key, value in {"y": y, "dx": dx, **grads}.items():
        assert_close(key, value, expected[key], "backward", 63)
    np.testing.assert_array_equal(model(x), y)


# Numbers of parameters


@each_layer
@pytest.mark.parametrize("bias", ["double", "single"])
def test_a_summary_has_the_textbooks_counts(name: str, bias: Any) -> None:
    kind = LAYERS[name]
    inputs, units = 7, 10
    if bias == "single" and not kind.one_bias:
        with pytest.raises(ValueError, match=r"^bias: .* got 'single'$"):
            kind.make(units, bias="single")
        return
    layer = kind.make(units, bias=bias, return_sequences=True)
    wide_input = inputs * (3 if name == "GRUD" else 1)
    count = cells.parameter_count(
        kind.cell, inputs, units, kind.output_size(units), 1 + (bias == "double")
    )
    model = gf.Sequential([layer])
    model.build((None, 4, wide_input))
    assert layer.count_params() == model.count_params() == count
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    row, total = lines[2].split(), lines[-1].split()
    assert row[1] == type(layer).__name__
    assert row[-1] == total[-1] == f"{count:,}"


# Errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.LSTM(0), ValueError, "units: got 0, expected"),
        (lambda: layers.LSTM(2.0), TypeError, "units: got 2.0, expected"),
        (lambda: layers.MGU(2, units_=3), TypeError, "unknown arguments ['units_']"),
        (
            lambda: layers.MGU(2, activation="sine"),
            ValueError,
            "activation: got 'sine'",
        ),
        (
            lambda: layers.MGU(2, recurrent_activation=0),
            ValueError,
            "recurrent_activation: got 0",
        ),
        (
            lambda: layers.JordanRNN(2, output_activation="x"),
            ValueError,
            "output_activation: got 'x'",
        ),
        (lambda: layers.JordanRNN(2, 0), ValueError, "outputs: got 0, expected"),
        (
            lambda: layers.GRU(2, bias="single"),
            ValueError,
            "bias: reset_after=True needs both, got 'single'",
        ),
        (
            lambda: layers.JordanRNN(2, bias="single"),
            ValueError,
            "bias: a JordanRNN has one for each product, got 'single'",
        ),
        (
            lambda: layers.GRU(2, layer_norm=True, reset_after=False),
            ValueError,
            "layer_norm: expected False with reset_after=False",
        ),
        (
            lambda: layers.GRU(2, layer_norm=True, activation="relu"),
            ValueError,
            "layer_norm: expected False with other activations than the usual",
        ),
        (
            lambda: layers.LSTM(2, layer_norm=True, recurrent_activation="relu"),
            ValueError,
            "layer_norm: expected False with other activations than the usual",
        ),
        (lambda: layers.LSTM(2, peephole=1), TypeError, "peephole: got 1, expected"),
        (lambda: layers.LSTM(2, layer_norm="no"), TypeError, "layer_norm: got 'no'"),
        (
            lambda: layers.LSTM(2, unit_forget_bias=0),
            TypeError,
            "unit_forget_bias: got 0, expected",
        ),
        (lambda: layers.GRU(2, reset_after=0), TypeError, "reset_after: got 0"),
        (lambda: layers.MGU(2, go_backwards=1), TypeError, "go_backwards: got 1"),
        (lambda: layers.MGU(2, stateful=1), TypeError, "stateful: got 1"),
        (
            lambda: layers.MGU(2, learn_initial_state=1),
            TypeError,
            "learn_initial_state: got 1",
        ),
        (
            lambda: layers.MGU(2, padded_output="x"),
            ValueError,
            "padded_output: got 'x'",
        ),
        (lambda: layers.MGU(2, bias="no"), ValueError, "bias: got 'no'"),
        (lambda: layers.MGU(2, dropout=1.0), ValueError, "dropout: got 1.0, expected"),
        (
            lambda: layers.MGU(2, recurrent_dropout=-0.1),
            ValueError,
            "recurrent_dropout: got -0.1, expected",
        ),
        (lambda: layers.MGU(2, zoneout=1), ValueError, "zoneout: got 1, expected"),
        (lambda: layers.MGU(2, zoneout="x"), TypeError, "zoneout: got 'x', expected"),
        (
            lambda: layers.LSTM(2, zoneout=(0.1,)),
            ValueError,
            "zoneout: got (0.1,), expected a number or one for each of ('h', 'c')",
        ),
        (
            lambda: layers.LSTM(2, zoneout=(0.1, 2)),
            ValueError,
            "zoneout: got 2, expected a number in [0, 1)",
        ),
        (
            lambda: layers.GRUD(2, x_mean=float("nan")),
            ValueError,
            "x_mean: got nan, expected a finite number or C of them",
        ),
        (
            lambda: layers.GRUD(2, x_mean=[[1.0]]),
            ValueError,
            "x_mean: got [[1.0]], expected a finite number",
        ),
        (
            lambda: layers.GRUD(2, x_mean="a"),
            TypeError,
            "x_mean: got 'a', expected a finite number",
        ),
        (
            lambda: layers.GRUD(2, x_mean=[1.0, [2.0]]),
            ValueError,
            "x_mean: got [1.0, [2.0]], expected a finite number",
        ),
        (
            lambda: layers.GRUD.inputs(X, np.arange(2)),
            ValueError,
            "times: got shape (2,), expected numbers of shape (3,) or (2, 3)",
        ),
        (
            lambda: layers.GRUD.inputs(X, ["a", "b", "c"]),
            TypeError,
            "times: got ['a', 'b', 'c'], expected numbers of shape (3,)",
        ),
        (
            lambda: layers.GRUD(2, x_mean=[1.0, 2.0]).build(3),
            ValueError,
            "x_mean: got 2 numbers for 3 inputs",
        ),
        (
            lambda: layers.GRUD(2)(np.ones((1, 2, 4), np.float32)),
            ValueError,
            "x: got shape (1, 2, 4), expected (N, T, 3C)",
        ),
        (
            lambda: layers.Bidirectional(layers.GRUD(2)),
            ValueError,
            "cannot run in both directions",
        ),
        (
            lambda: layers.Bidirectional(layers.MGU(2, go_backwards=True)),
            ValueError,
            "cannot run in both directions",
        ),
        (
            lambda: layers.Bidirectional(layers.JordanRNN(3, 2)),
            ValueError,
            "cannot run in both directions",
        ),
        (
            lambda: layers.MGU(2, go_backwards=True).stream(),
            ValueError,
            "MGU: cannot run as a stream",
        ),
        (lambda: layers.GRUD(2).stream(), ValueError, "GRUD: cannot run as a stream"),
        (
            lambda: layers.LSTM(2, zoneout=(0.0, 0.1)).stream(),
            ValueError,
            "LSTM: cannot run as a stream with zoneout=(0.0, 0.1), expected 0",
        ),
        (
            lambda: layers.Bidirectional(layers.MGU),
            TypeError,
            "layer: got <class 'grufast.layers.recurrent.MGU'>, expected a recurrent",
        ),
        (
            lambda: layers.JordanRNN(3, 2).stream(),
            ValueError,
            "JordanRNN: cannot run as a stream",
        ),
    ],
)
def test_a_layer_says_what_it_cannot_be(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("state", "call", "error", "message"),
    [
        (H, {}, TypeError, "initial_state: got ndarray, expected the tuple (h, c)"),
        ((H,), {}, TypeError, "initial_state: got tuple of 1, expected the tuple (h"),
        (
            (H, H[:1]),
            {},
            ValueError,
            "initial_state: got shape (1, 5), expected (N, H)",
        ),
        ((H, None), {}, TypeError, "initial_state: got None, expected a NumPy array"),
        (
            None,
            {"lengths": [1, 2], "mask": FLAGS},
            ValueError,
            "lengths: expected None beside a mask",
        ),
        (None, {"lengths": [1, 4]}, ValueError, "lengths: got the index 4, expected"),
        (None, {"lengths": [1, -1]}, ValueError, "lengths: got the index -1"),
        (None, {"lengths": [1]}, ValueError, "lengths: got shape (1,), expected"),
        (None, {"lengths": [1.0, 2.0]}, TypeError, "lengths: got an array of float64"),
        (None, {"lengths": []}, ValueError, "lengths: got shape (0,), expected (N)"),
        (None, {"lengths": [[1], [2, 3]]}, ValueError, "lengths: got [[1], [2, 3]], e"),
        (None, {"mask": FLAGS[:, :2]}, ValueError, "mask: got shape (2, 2)"),
        (None, {"mask": FLAGS.astype(int)}, TypeError, "mask: got an array of int64"),
        (None, {"mask": [[True]]}, TypeError, "mask: got list, expected"),
        (None, {"resets": FLAGS[:1]}, ValueError, "resets: got shape (1, 3)"),
        (None, {"resets": X[..., 0]}, TypeError, "resets: got an array of float32"),
    ],
)
def test_a_call_says_what_it_cannot_take(
    state: Any, call: dict[str, Any], error: Any, message: str
) -> None:
    layer = layers.LSTM(5)
    for run in (layer, layer.forward):
        with pytest.raises(error, match=re.escape(message)):
            run(X, state, **call)


def test_both_directions_take_no_resets() -> None:
    layer = layers.Bidirectional(layers.MGU(5))
    message = "resets: a layer in both directions takes none"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(X, resets=FLAGS)


def test_backward_says_which_gradients_it_wants() -> None:
    layer = layers.LSTM(5, return_state=True)
    _, context = layer.forward(X)
    message = "dy: expected the tuple (dy, dh_n, dc_n), as return_state is True"
    for wrong in (H, (H, H)):
        with pytest.raises(TypeError, match=re.escape(message)):
            layer.backward(wrong, context)
    with pytest.raises(ValueError, match=re.escape("dc_n: got shape (1, 5)")):
        layer.backward((H, H, H[:1]), context)
    layer.backward((H, None, None), context)


# The table in the docs


def test_the_coverage_table_is_that_of_these_tests() -> None:
    path = Path(__file__).parents[1] / "docs" / "coverage.md"
    assert path.read_text(encoding="utf-8") == cell_coverage.page(), (
        "run python tests/cell_coverage.py"
    )
