"""Bidirectional: two GRUs, one of them from the end, and what becomes of both."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import grufast as gf
from reference import Array
from tolerances import (
    CELLS,
    DTYPES,
    Cell,
    Dtype,
    GRUCase,
    assert_close,
    assert_gru_is_right,
    assert_same_bits,
    exact_gru,
    gru_case,
)

layers = gf.layers

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
MODES: tuple[Any, ...] = ("concat", "sum", "mul", "ave")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)
each_mode = pytest.mark.parametrize("mode", MODES)
each_form = pytest.mark.parametrize(
    "return_sequences", [False, True], ids=["last", "sequences"]
)


def two_cases(rng: np.random.Generator, *sizes: Any, **options: Any) -> list[GRUCase]:
    """A case for each direction, the second one's x reversed."""
    first, second = (gru_case(rng, *sizes, **options) for _ in range(2))
    return [first, second._replace(x=first.x[:, ::-1])]


def gru_of(case: GRUCase, **options: Any) -> gf.layers.GRU:
    reset_after = case.cell == "gru"
    return layers.GRU(
        case.hidden_size, reset_after=reset_after, dtype=case.dtype, **options
    )


def layer_of(
    cases: list[GRUCase], mode: Any = "concat", **options: Any
) -> gf.layers.Bidirectional:
    layer = layers.Bidirectional(gru_of(cases[0], **options), mode)
    layer.build(cases[0].input_size)
    layer.set_weights(
        {
            f"{name}{suffix}": getattr(case, name)
            for case, suffix in zip(cases, layer.suffixes, strict=True)
            for name in WEIGHTS
        }
    )
    return layer


def states(cases: list[GRUCase], name: str) -> Array:
    return np.stack([getattr(case, name) for case in cases])


def merged(mode: str, a: Array, b: Array) -> Array:
    match mode:
        case "concat":
            return np.concatenate([a, b], axis=-1)
        case "sum":
            return a + b
        case "mul":
            return a * b
    return (a + b) / 2


def parted(mode: str, d: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """The gradients for a and b, given the one for `merged`."""
    match mode:
        case "concat":
            return d[..., : a.shape[-1]], d[..., a.shape[-1] :]
        case "sum":
            return d, d
        case "mul":
            return d * b, d * a
    return d / 2, d / 2


# Values


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
@each_mode
@each_form
@pytest.mark.parametrize("state", [False, True], ids=["", "state"])
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"), [(4, 6, 3, 9), (1, 1, 1, 1), (13, 7, 5, 33)]
)
def test_outputs_and_gradients_are_right(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    state: bool,
    return_sequences: bool,
    mode: str,
    dtype: Dtype,
    cell: Cell,
) -> None:
    sizes = rows, steps, inputs, units, dtype, cell
    cases = two_cases(rng, *sizes, h0=state, dy=False, dh_n=state)
    options = {"return_sequences": return_sequences, "return_state": state}
    layer = layer_of(cases, mode, **options)
    h0 = states(cases, "h0") if state else None
    y, context = layer.forward(cases[0].x, initial_state=h0)
    called = layer(cases[0].x, initial_state=h0)

    # What the directions give, and what flows back into each of them.
    a, b = (exact_gru(c)["y" if return_sequences else "h_n"] for c in cases)
    if return_sequences:
        b = b[:, ::-1]
    exact_y = merged(mode, a, b)
    dy = rng.normal(size=exact_y.shape).astype(dtype)
    da, db = parted(mode, dy.astype(np.float64), a, b)
    flows_in: Any = dy
    if state:
        (y, h_n), flows_in = y, (dy, states(cases, "dh_n"))
        np.testing.assert_array_equal(called[1], h_n)
        called = called[0]
    np.testing.assert_array_equal(called, y)
    dx, grads = layer.backward(flows_in, context)
    if return_sequences:
        cases = [cases[0]._replace(dy=da), cases[1]._replace(dy=db[:, ::-1])]
    else:
        ends = [(c.dh_n if c.dh_n is not None else 0) for c in cases]
        cases = [
            c._replace(dh_n=e + d)
            for c, e, d in zip(cases, ends, (da, db), strict=True)
        ]

    longest, floor = max(inputs + units, 3 * units), np.abs([da, db]).max() / units
    assert_close("y", y, exact_y, "forward", longest, 1 / units)
    exact_dx = exact_gru(cases[0])["dx"] + exact_gru(cases[1])["dx"][:, ::-1]
    assert_close("dx", dx, exact_dx, "backward", longest, floor)
    dh0 = grads.pop("initial_state") if state else None
    for d, (c, suffix) in enumerate(zip(cases, layer.suffixes, strict=True)):
        results = {f"d{name}": grads.pop(f"{name}{suffix}") for name in WEIGHTS}
        if state:
            assert dh0 is not None
            results |= {"h_n": h_n[d], "dh0": dh0[d]}
        assert {array.dtype for array in results.values()} == {np.dtype(dtype)}
        assert_gru_is_right(results, c)
    assert not grads


@each_cell
@pytest.mark.usefixtures("isa", "keep_num_threads")
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"),
    [(1, 100, 5, 64), (3, 50, 70, 33), (9, 60, 7, 17), (64, 20, 20, 40)],
)
def test_it_has_the_bits_of_two_grus_on_any_number_of_threads(
    rng: np.random.Generator, rows: int, steps: int, inputs: int, units: int, cell: Cell
) -> None:
    cases = two_cases(rng, rows, steps, inputs, units, cell=cell)
    options = {"return_sequences": True, "return_state": True}
    layer = layer_of(cases, **options)
    expected: dict[str, Array] = {}
    parts: dict[str, list[Array]] = {"y": [], "h_n": [], "dx": [], "initial_state": []}
    for d, (case, suffix) in enumerate(zip(cases, layer.suffixes, strict=True)):
        gru = gru_of(case, **options)
        gru.build(inputs)
        gru.set_weights({name: getattr(case, name) for name in WEIGHTS})
        (y, h_n), context = gru.forward(case.x, initial_state=case.h0)
        dx, grads = gru.backward((case.dy, case.dh_n), context)
        for name, array in (("y", y), ("dx", dx)):
            parts[name].append(array[:, ::-1] if d else array)
        parts["h_n"].append(h_n)
        parts["initial_state"].append(grads.pop("initial_state"))
        expected |= {f"{name}{suffix}": grad for name, grad in grads.items()}
    expected["y"] = np.concatenate(parts["y"], axis=-1)
    expected["dx"] = parts["dx"][0] + parts["dx"][1]
    expected |= {name: np.stack(parts[name]) for name in ("h_n", "initial_state")}

    first, second = cases
    assert first.dy is not None
    assert second.dy is not None
    dy = np.concatenate([first.dy, second.dy[:, ::-1]], axis=-1)
    for threads in (1, 2, 3, 4):
        gf.set_num_threads(threads)
        (y, h_n), context = layer.forward(first.x, initial_state=states(cases, "h0"))
        dx, grads = layer.backward((dy, states(cases, "dh_n")), context)
        assert_same_bits({"y": y, "h_n": h_n, "dx": dx, **grads}, expected)
        y, h_n = layer(first.x, initial_state=states(cases, "h0"))
        assert_same_bits({"y": y, "h_n": h_n}, {k: expected[k] for k in ("y", "h_n")})


@each_mode
@each_form
def test_either_gradient_of_output_and_state_may_be_none(
    rng: np.random.Generator, return_sequences: bool, mode: str
) -> None:
    cases = two_cases(rng, 3, 5, 4, 9, dtype="float64")
    options = {"return_sequences": return_sequences, "return_state": True}
    layer = layer_of(cases, mode, **options)
    h0, dh_n = states(cases, "h0"), states(cases, "dh_n")
    d_output = rng.normal(size=layer(cases[0].x)[0].shape)

    def gradients(*dy: Array | None) -> dict[str, Array]:
        _, context = layer.forward(cases[0].x, initial_state=h0)
        dx, grads = layer.backward(dy, context)
        return {"dx": dx, **grads}

    both, neither = gradients(d_output, dh_n), gradients(None, None)
    first, second = gradients(d_output, None), gradients(None, dh_n)
    for name, expected in both.items():
        assert first[name].any()
        assert second[name].any()
        total = first[name] + second[name]
        np.testing.assert_allclose(total, expected, rtol=1e-11, atol=1e-12)
        assert not neither[name].any()


@each_mode
@each_form
def test_results_are_the_callers_own(
    rng: np.random.Generator, return_sequences: bool, mode: str
) -> None:
    """Writing into them changes neither each other nor the gradients."""
    cases = two_cases(rng, 3, 5, 4, 9)
    options = {"return_sequences": return_sequences, "return_state": True}
    layer = layer_of(cases, mode, **options)

    def gradients(spoil: bool) -> dict[str, Array]:
        (y, h_n), context = layer.forward(cases[0].x)
        if spoil:
            kept = y.copy()
            h_n[...] = 7
            np.testing.assert_array_equal(y, kept)
            y[...] = 7
        dx, grads = layer.backward((np.ones_like(y), np.ones_like(h_n)), context)
        return {"dx": dx, **grads}

    assert_same_bits(gradients(spoil=True), gradients(spoil=False))


@each_cell
@each_mode
@each_form
@pytest.mark.parametrize(("rows", "steps"), [(3, 0), (0, 4), (0, 0)])
def test_no_rows_and_no_steps_are_fine(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    return_sequences: bool,
    mode: str,
    cell: Cell,
) -> None:
    cases = two_cases(rng, rows, steps, 4, 9, cell=cell)
    layer = layer_of(cases, mode, return_sequences=return_sequences)
    h0 = states(cases, "h0")
    y, context = layer.forward(cases[0].x, initial_state=h0)
    width = 18 if mode == "concat" else 9
    assert y.shape == ((rows, steps, width) if return_sequences else (rows, width))
    np.testing.assert_array_equal(layer(cases[0].x, initial_state=h0), y)
    if not return_sequences and steps == 0:
        np.testing.assert_array_equal(y, merged(mode, *h0))
    dx, grads = layer.backward(np.ones_like(y), context)
    assert dx.shape == cases[0].x.shape
    assert grads.pop("initial_state").shape == (2, rows, 9)
    assert grads.keys() == layer.weights.keys()
    assert not any(grad.any() for grad in grads.values())


def test_a_context_is_good_for_one_backward_of_its_layer(
    rng: np.random.Generator,
) -> None:
    cases = two_cases(rng, 3, 5, 4, 9)
    layer, other = layer_of(cases), layer_of(cases)
    y, context = layer.forward(cases[0].x)
    with pytest.raises(ValueError, match=r"context: .* another layer"):
        other.backward(y, context)
    with pytest.raises(ValueError, match=r"dy: got shape \(3, 9\), .* H = 18"):
        layer.backward(y[:, 9:], context)
    layer.backward(y, context)
    with pytest.raises(ValueError, match="context: already used"):
        layer.backward(y, context)
    _, context = layer.forward(cases[0].x)
    layer.set_weights(layer.weights)
    with pytest.raises(ValueError, match="context: the weights have changed"):
        layer.backward(y, context)


# Weights


@each_dtype
def test_weights_are_those_of_both_directions(dtype: Dtype) -> None:
    layer = layers.Bidirectional(layers.GRU(5, dtype=dtype))
    assert layer.weights == {}
    layer.build(3)
    shapes = {"weight_ih": (15, 3), "weight_hh": (15, 5), "bias_ih": (15,)}
    shapes["bias_hh"] = (15,)
    expected = {f"{n}{s}": shapes[n] for s in ("", "_reverse") for n in shapes}
    got = {name: weight.shape for name, weight in layer.weights.items()}
    assert list(got.items()) == list(expected.items())
    assert {weight.dtype for weight in layer.weights.values()} == {np.dtype(dtype)}
    assert layer.count_params() == 2 * 3 * 5 * (3 + 5 + 2)


def test_same_seed_same_first_weights_and_others_in_each_direction() -> None:
    def first_weights(seed: int | None) -> dict[str, Array]:
        gru = layers.GRU(5, initializer="torch", seed=seed)
        layer = layers.Bidirectional(gru)
        layer.build(4)
        return layer.weights

    assert_same_bits(first_weights(1), first_weights(1))
    arrays = [*first_weights(1).values(), *first_weights(2).values()]
    arrays += [*first_weights(None).values(), *first_weights(None).values()]
    assert len({array.tobytes() for array in arrays}) == len(arrays)

    def of_model(seed: int) -> dict[str, Array]:
        model = gf.Sequential([layers.Bidirectional(layers.GRU(5))], seed=seed)
        model.build((None, None, 4))
        return model.get_weights()

    assert_same_bits(of_model(1), of_model(1))
    weights = of_model(1)
    for name in ("layers.0.weight_ih", "layers.0.weight_hh"):
        assert (weights[name] != weights[f"{name}_reverse"]).any()
        assert (weights[name] != of_model(2)[name]).any()


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],
    ids=["copied", "pickled"],
)
def test_a_copy_computes_the_same_and_is_its_own(
    rng: np.random.Generator, copied: Callable[[Any], Any]
) -> None:
    cases = two_cases(rng, 3, 5, 4, 9)
    layer = layer_of(cases, "sum", return_sequences=True, memory="low")
    expected = layer(cases[0].x)
    twin = copied(layer)
    assert repr(twin) == repr(layer)
    np.testing.assert_array_equal(twin(cases[0].x), expected)
    twin.set_weights({k: np.zeros_like(w) for k, w in twin.weights.items()})
    np.testing.assert_array_equal(layer(cases[0].x), expected)
    assert not twin(cases[0].x).any()
    new = copied(layers.Bidirectional(layers.GRU(5)))
    assert not new.built


# In a model


def model_of_two(dtype: Dtype = "float32") -> gf.Sequential:
    options: dict[str, Any] = {"dtype": dtype, "memory": "low"}
    gru = layers.GRU(4, return_sequences=True, **options)
    last = layers.GRU(3, reset_after=False, **options)
    return gf.Sequential(
        [
            layers.Bidirectional(gru, "mul"),
            layers.Bidirectional(last),
            layers.Dense(1, dtype=dtype),
        ],
        seed=0,
    )


@each_dtype
def test_a_loaded_model_is_the_saved_one(
    rng: np.random.Generator, tmp_path: Path, dtype: Dtype
) -> None:
    model, path = model_of_two(dtype), tmp_path / "model.safetensors"
    x = rng.normal(size=(5, 6, 2)).astype(dtype)
    model.compile()
    model.fit(x, x[:, 0, :1], epochs=2, seed=0)
    model.save(path)
    assert load_file(path).keys() == model.weights.keys()
    assert "layers.1.weight_hh_reverse" in model.weights
    same = gf.load(path)
    assert repr(same) == repr(model)
    assert_same_bits(same.weights, model.weights)
    assert same.predict(x).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize(
    "inner",
    [
        {"class": "Dense", "config": {"units": 4}},
        {"class": "GRU", "config": {"units": 5}},
        {"class": "GRU", "config": {"units": {"class": "GRU", "config": {}}}},
        {"class": "os.system", "config": {}},
        {
            "class": "Bidirectional",
            "config": {"layer": {"class": "GRU", "config": {"units": 4}}},
        },
        {"class": "GRU"},
        {},
        "GRU",
        None,
        3,
    ],
    ids=str,
)
def test_a_file_with_another_layer_inside_is_refused(
    tmp_path: Path, inner: Any
) -> None:
    model, path = model_of_two(), tmp_path / "model.safetensors"
    model.build((None, None, 2))
    model.save(path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    description = json.loads(metadata["grufast"])
    description["layers"][0]["config"]["layer"] = inner
    metadata["grufast"] = json.dumps(description)
    save_file(load_file(path), path, metadata)
    with pytest.raises(ValueError, match="cannot be loaded"):
        gf.load(path)


def test_summary_has_a_line_for_both_directions() -> None:
    model = model_of_two()
    model.build((None, 10, 2))
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    first, second = 2 * 3 * 4 * (2 + 4 + 2), 2 * 3 * 3 * (4 + 3 + 2)
    assert [line.split() for line in lines if line[0] in "01"] == [
        ["0", "Bidirectional", "(None,", "10,", "4)", str(first)],
        ["1", "Bidirectional", "(None,", "6)", str(second)],
    ]


@pytest.mark.parametrize(
    ("mode", "return_sequences", "expected"),
    [
        ("concat", True, (None, 7, 10)),
        ("concat", False, (None, 10)),
        ("sum", True, (None, 7, 5)),
        ("ave", False, (None, 5)),
    ],
)
def test_the_shape_of_the_output_is_known_before(
    mode: Any, return_sequences: bool, expected: tuple[int | None, ...]
) -> None:
    gru = layers.GRU(5, return_sequences=return_sequences)
    layer = layers.Bidirectional(gru, mode)
    assert layer.output_shape((None, 7, 3)) == expected
    assert layer(np.zeros((2, 7, 3), np.float32)).shape == (2, *expected[1:])
    with pytest.raises(ValueError, match=r"x: got shape .* C = 3"):
        layer.output_shape((None, 7, 4))


# Wrong arguments


def test_repr_is_the_call_that_makes_it() -> None:
    gru = layers.GRU(5, return_sequences=True, memory="low", seed=2)
    layer = layers.Bidirectional(gru, "ave")
    assert repr(layer) == (
        "Bidirectional(GRU(5, return_sequences=True, memory='low', seed=2), "
        "merge_mode='ave')"
    )
    assert repr(layers.Bidirectional(layers.GRU(5))) == "Bidirectional(GRU(5))"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        5,
        "GRU",
        layers.GRU,
        layers.Dense(5),
        [layers.GRU(5)],
        layers.Bidirectional(layers.GRU(5)),
    ],
    ids=repr,
)
def test_what_is_no_gru_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"layer: got .*, expected a recurrent layer"):
        layers.Bidirectional(wrong)


def test_a_built_gru_is_refused() -> None:
    gru = layers.GRU(5)
    gru.build(3)
    with pytest.raises(ValueError, match=r"layer: GRU\(5\) is built already"):
        layers.Bidirectional(gru)


@each_dtype
@each_form
@pytest.mark.parametrize("state", [False, True], ids=["", "state"])
@pytest.mark.parametrize("lengths", [None, [7, 0, 3]], ids=["", "lengths"])
def test_without_a_merge_mode_both_outputs_are_apart(
    rng: np.random.Generator,
    lengths: Any,
    state: bool,
    return_sequences: bool,
    dtype: Dtype,
) -> None:
    cases = two_cases(rng, 3, 7, 4, 9, dtype)
    options = {"return_sequences": return_sequences, "return_state": state}
    together = layer_of(cases, "concat", **options)
    apart = layer_of(cases, None, **options)
    x, results = cases[0].x, []
    shape = (3, 7, 9) if return_sequences else (3, 9)
    a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    dstates = [rng.normal(size=(2, 3, 9)).astype(dtype)] if state else []
    for layer, dy in ((together, np.concatenate([a, b], axis=-1)), (apart, [a, b])):
        y, context = layer.forward(x, lengths=lengths)
        called = layer(x, lengths=lengths)
        dx, grads = layer.backward((dy, *dstates) if state else dy, context)
        if not state:
            y, called = (y,), (called,)
        if layer is apart:
            assert [type(y[0]), [own.shape for own in y[0]]] == [list, [shape] * 2]
            y, called = ((np.concatenate(v[0], -1), *v[1:]) for v in (y, called))
        names = ("y", "h_n")[: len(y)]
        found = dict(zip(names, y, strict=True))
        found |= {f"called {k}": v for k, v in zip(names, called, strict=True)}
        results.append(found | {"dx": dx} | grads)
    assert_same_bits(*results)


def test_two_outputs_have_two_gradients() -> None:
    layer = layers.Bidirectional(layers.GRU(5), None)
    y, context = layer.forward(np.ones((2, 3, 4), np.float32))
    for wrong in (y[0], y[:1], np.concatenate(y, axis=-1), None):
        with pytest.raises(TypeError, match=r"^dy: expected the list \[forward, back"):
            layer.backward(wrong, context)
    with pytest.raises(ValueError, match=r"^dy\[1\]: got shape \(1, 5\)"):
        layer.backward([y[0], y[1][:1]], context)
    layer.backward(tuple(y), context)


@pytest.mark.parametrize("behind", [[], [layers.Dense(2)], [layers.GRU(3)]], ids=str)
def test_a_model_takes_no_layer_of_two_outputs(behind: list[Any]) -> None:
    both = layers.Bidirectional(layers.GRU(5, return_sequences=True), None)
    message = r"^layers\[1\]: a model cannot pass on two outputs \(merge_mode=None\)"
    with pytest.raises(ValueError, match=message):
        gf.Sequential([layers.Dense(4), both, *behind])
    with pytest.raises(
        ValueError, match=r"^layer: two outputs \(merge_mode=None\) can"
    ):
        layers.TimeDistributed(both)


@pytest.mark.parametrize("mode", ["Concat", "", "max", 3, ["sum"]], ids=repr)
def test_wrong_merge_modes_are_errors(mode: Any) -> None:
    with pytest.raises(ValueError, match=r"merge_mode: got .*'concat', 'sum'"):
        layers.Bidirectional(layers.GRU(5), mode)


@pytest.mark.parametrize(
    "shape",
    [(), (3, 9), (1, 3, 9), (3, 3, 9), (2, 4, 9), (2, 3, 8), (3, 2, 9), (6, 9)],
    ids=str,
)
def test_states_of_the_wrong_shape_are_named(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    cases = two_cases(rng, 3, 5, 4, 9)
    layer = layer_of(cases, return_state=True)
    wrong, x = np.zeros(shape, np.float32), cases[0].x
    got = str(shape).replace("(", r"\(").replace(")", r"\)")
    for method in (layer, layer.forward):
        message = rf"^initial_state: got shape {got}, .*\(2, N, H\)"
        with pytest.raises(ValueError, match=message):
            method(x, initial_state=wrong)
    (y, _), context = layer.forward(x)
    with pytest.raises(ValueError, match=rf"^dh_n: got shape {got}, .*\(2, N, H\)"):
        layer.backward((y, wrong), context)


def test_arrays_of_the_wrong_type_are_named(rng: np.random.Generator) -> None:
    cases = two_cases(rng, 3, 5, 4, 9)
    layer = layer_of(cases)
    x, h0 = cases[0].x, states(cases, "h0")
    y, context = layer.forward(x, initial_state=h0)
    conversions: list[Callable[[Array], Any]]
    conversions = [lambda a: a.astype(np.float64), lambda a: a.tolist(), lambda a: 3]
    for convert in conversions:
        with pytest.raises(TypeError, match=r"^x: "):
            layer(convert(x), initial_state=h0)
        with pytest.raises(TypeError, match=r"^initial_state: "):
            layer(x, initial_state=convert(h0))
        with pytest.raises(TypeError, match=r"^dy: "):
            layer.backward(convert(y), context)
    layer.backward(y, context)
