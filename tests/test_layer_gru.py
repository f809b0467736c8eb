"""The GRU layer against the oracle, and the rules of its weights and contexts."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from grufast import layers
from reference import Array
from tolerances import (
    CELLS,
    DTYPES,
    Cell,
    Dtype,
    GRUCase,
    assert_gru_is_right,
    gru_case,
)

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cell = pytest.mark.parametrize("cell", CELLS)


def layer_of(case: GRUCase, **options: Any) -> layers.GRU:
    layer = layers.GRU(
        case.hidden_size,
        reset_after=case.cell == "gru",
        dtype=case.dtype,
        **options,
    )
    layer.build(case.input_size)
    layer.set_weights({name: getattr(case, name) for name in WEIGHTS})
    return layer


# Values


@each_cell
@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("return_state", [False, True], ids=["", "state"])
@pytest.mark.parametrize("return_sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("h0", [False, True], ids=["", "h0"])
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"), [(4, 6, 3, 9), (1, 1, 1, 1), (13, 40, 7, 33)]
)
def test_outputs_and_gradients_are_right(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    h0: bool,
    return_sequences: bool,
    return_state: bool,
    dtype: Dtype,
    cell: Cell,
) -> None:
    case = gru_case(rng, rows, steps, inputs, units, dtype, cell, h0=h0)
    layer = layer_of(case, return_sequences=return_sequences, return_state=return_state)
    # What flows back into the output and into the state, and their sum at h_n.
    assert case.dh_n is not None
    d_output = case.dy if return_sequences else rng.normal(size=(rows, units))
    assert d_output is not None
    d_output = d_output.astype(dtype)
    d_state = case.dh_n if return_state else np.zeros_like(case.dh_n)
    if return_sequences:
        case = case._replace(dh_n=d_state)
    else:
        case = case._replace(dy=None, dh_n=d_output + d_state)

    output, context = layer.forward(case.x, initial_state=case.h0)
    called = layer(case.x, initial_state=case.h0)
    results: dict[str, Array] = {}
    if return_state:
        assert isinstance(output, tuple)
        y, results["h_n"] = output
        np.testing.assert_array_equal(called[0], y)
        np.testing.assert_array_equal(called[1], results["h_n"])
        dx, grads = layer.backward((d_output, d_state), context)
    else:
        y = output
        np.testing.assert_array_equal(called, y)
        dx, grads = layer.backward(d_output, context)
    results["y" if return_sequences else "h_n"] = y
    assert set(grads) == {*WEIGHTS, *(["initial_state"] if h0 else [])}
    if h0:
        results["dh0"] = grads.pop("initial_state")
    results["dx"] = dx
    results |= {f"d{name}": grad for name, grad in grads.items()}
    assert {a.dtype for a in results.values()} == {np.dtype(dtype)}
    assert_gru_is_right(results, case)


@each_cell
@pytest.mark.parametrize("return_sequences", [False, True])
def test_either_gradient_of_output_and_state_may_be_none(
    rng: np.random.Generator, return_sequences: bool, cell: Cell
) -> None:
    case = gru_case(rng, 3, 5, 4, 9, "float64", cell)
    layer = layer_of(case, return_sequences=return_sequences, return_state=True)
    d_output = case.dy if return_sequences else case.dh_n

    def gradients(*dy: Array | None) -> dict[str, Array]:
        _, context = layer.forward(case.x, initial_state=case.h0)
        dx, grads = layer.backward(dy, context)
        return {"dx": dx, **grads}

    both = gradients(d_output, case.dh_n)
    first, second = gradients(d_output, None), gradients(None, case.dh_n)
    neither = gradients(None, None)
    for name, expected in both.items():
        total = first[name] + second[name]
        np.testing.assert_allclose(total, expected, rtol=1e-11, atol=1e-12)
        assert not neither[name].any()


def test_results_are_the_callers_own(rng: np.random.Generator) -> None:
    case = gru_case(rng, 3, 5, 4, 9)
    layer = layer_of(case, return_sequences=True, return_state=True)
    y, h_n = layer(case.x)
    kept = y.copy()
    h_n[...] = 7
    np.testing.assert_array_equal(y, kept)
    layer = layer_of(case, return_state=True)
    y, h_n = layer(case.x)
    h_n[...] = 7
    np.testing.assert_array_equal(y, kept[:, -1])


@each_cell
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(("rows", "steps"), [(3, 0), (0, 4), (0, 0)])
def test_no_rows_and_no_steps_are_fine(
    rng: np.random.Generator, rows: int, steps: int, return_sequences: bool, cell: Cell
) -> None:
    case = gru_case(rng, rows, steps, 4, 9, cell=cell)
    layer = layer_of(case, return_sequences=return_sequences)
    y, context = layer.forward(case.x, initial_state=case.h0)
    assert y.shape == ((rows, steps, 9) if return_sequences else (rows, 9))
    if not return_sequences and steps == 0:
        np.testing.assert_array_equal(y, case.h0)
    dx, grads = layer.backward(np.ones_like(y), context)
    assert dx.shape == case.x.shape
    assert grads["initial_state"].shape == (rows, 9)
    assert not any(grads[name].any() for name in WEIGHTS)


@each_cell
def test_state_carries_a_stream_on(rng: np.random.Generator, cell: Cell) -> None:
    case = gru_case(rng, 3, 10, 4, 9, cell=cell)
    layer = layer_of(case, return_sequences=True, return_state=True)
    y, h_n = layer(case.x)
    state = None
    for t in range(10):
        step, state = layer(case.x[:, t : t + 1], initial_state=state)
        np.testing.assert_array_equal(step[:, 0], y[:, t])
    np.testing.assert_array_equal(state, h_n)


@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda a: a[::-1].copy()[::-1],
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: np.moveaxis(np.moveaxis(a, 0, 1).copy(), 0, 1),
    ],
    ids=["Fortran order", "reversed", "every other column", "time-major"],
)
def test_the_layout_of_arrays_changes_no_bit(
    rng: np.random.Generator, arrange: Any
) -> None:
    case = gru_case(rng, 4, 6, 5, 9)
    layer = layer_of(case, return_sequences=True)
    assert case.dy is not None
    y, context = layer.forward(case.x, initial_state=case.h0)
    dx, grads = layer.backward(case.dy, context)
    y2, context = layer.forward(arrange(case.x), initial_state=arrange(case.h0))
    dx2, grads2 = layer.backward(arrange(case.dy), context)
    np.testing.assert_array_equal(y2, y)
    np.testing.assert_array_equal(dx2, dx)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grads2[name], grad)


def test_calls_from_several_threads_give_the_same_bits(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 8, 30, 4, 33)
    layer = layer_of(case, return_sequences=True)

    def work(_: int) -> tuple[bytes, bytes]:
        y, context = layer.forward(case.x)
        dx = layer.backward(y, context)[0]
        return layer(case.x).tobytes(), dx.tobytes()

    expected = work(0)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(40))) == {expected}


# Weights


@each_dtype
def test_weights_have_the_shapes_of_the_contract(dtype: Dtype) -> None:
    layer = layers.GRU(5, dtype=dtype)
    assert layer.weights == {}
    layer.build(3)
    shapes = {name: weight.shape for name, weight in layer.weights.items()}
    assert shapes == {
        "weight_ih": (15, 3),
        "weight_hh": (15, 5),
        "bias_ih": (15,),
        "bias_hh": (15,),
    }
    assert list(shapes) == list(WEIGHTS)
    for weight in layer.weights.values():
        assert type(weight) is np.ndarray
        assert weight.dtype == dtype


def test_the_first_call_builds_the_layer(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    called, forwarded, built = (layers.GRU(5, seed=1) for _ in range(3))
    built.build(4)
    np.testing.assert_array_equal(called(x), built(x))
    np.testing.assert_array_equal(forwarded.forward(x)[0], built(x))
    assert called.weights["weight_ih"].shape == (15, 4)


def test_building_again_keeps_the_weights_and_the_size() -> None:
    layer = layers.GRU(5)
    layer.build(4)
    before = {name: weight.copy() for name, weight in layer.weights.items()}
    layer.build(4)
    for name, weight in layer.weights.items():
        np.testing.assert_array_equal(weight, before[name])
    with pytest.raises(ValueError, match=r"input_size: got 3.*4"):
        layer.build(3)


def test_same_seed_same_first_weights() -> None:
    def first_weights(seed: int | None) -> bytes:
        layer = layers.GRU(5, seed=seed)
        layer.build(4)
        return layer.weights["weight_hh"].tobytes()

    assert first_weights(1) == first_weights(1)
    assert len({first_weights(seed) for seed in (0, 1, 2, None, None)}) == 5


def test_first_weights_break_the_symmetry_of_units_and_keep_the_state_bounded() -> None:
    layer = layers.GRU(40, seed=0)
    layer.build(20)
    weights = layer.weights
    for name in ("weight_ih", "weight_hh"):
        assert len(np.unique(weights[name])) == weights[name].size
        assert 0.01 < weights[name].std() < 0.5
        assert abs(weights[name].mean()) < 0.02


def test_weights_are_read_only_and_the_dict_is_a_copy(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    layer = layer_of(case)
    expected = layer(case.x)
    for weight in layer.weights.values():
        with pytest.raises(ValueError, match="read-only"):
            weight[...] = 0
    layer.weights.clear()
    assert list(layer.weights) == list(WEIGHTS)
    np.testing.assert_array_equal(layer(case.x), expected)


def test_set_weights_copies_and_takes_effect_at_once(rng: np.random.Generator) -> None:
    first, second = gru_case(rng, 2, 3, 4, 5), gru_case(rng, 2, 3, 4, 5)
    layer = layer_of(first)
    before = layer(first.x)
    weights = {name: getattr(second, name).copy() for name in WEIGHTS}
    layer.set_weights(weights)
    for name, weight in weights.items():
        np.testing.assert_array_equal(layer.weights[name], weight)
        weight[...] = np.nan
    np.testing.assert_array_equal(layer(first.x), layer_of(second)(first.x))
    assert (layer(first.x) != before).any()


def test_set_weights_takes_what_weights_gave(rng: np.random.Generator) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    one, other = layer_of(case), layers.GRU(5)
    other.build(4)
    other.set_weights(one.weights)
    np.testing.assert_array_equal(other(case.x), one(case.x))
    one.set_weights(dict(reversed(list(one.weights.items()))))
    np.testing.assert_array_equal(other(case.x), one(case.x))


def test_a_layer_and_its_memory_go_with_its_last_name() -> None:
    layer = layers.GRU(4, seed=0)
    x = np.zeros((2, 3, 1), np.float32)
    y, context = layer.forward(x)
    layer.backward(np.ones_like(y), context)
    gone = weakref.ref(layer)
    gc.disable()
    try:
        del layer, context
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],
    ids=["copied", "pickled"],
)
def test_a_copy_of_a_layer_computes_the_same_and_is_its_own(
    rng: np.random.Generator, copied: Any
) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    layer = layer_of(case, return_sequences=True)
    expected = layer(case.x)
    twin = copied(layer)
    np.testing.assert_array_equal(twin(case.x), expected)
    twin.set_weights({k: np.zeros_like(w) for k, w in twin.weights.items()})
    np.testing.assert_array_equal(layer(case.x), expected)
    assert not twin(case.x).any()


# Contexts


def test_a_context_is_good_for_one_backward_of_its_layer(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    layer, other = layer_of(case), layer_of(case)
    y, context = layer.forward(case.x)
    with pytest.raises(ValueError, match="context"):
        other.backward(y, context)
    layer.backward(y, context)
    with pytest.raises(ValueError, match="context"):
        layer.backward(y, context)
    for wrong in (None, 3, (case.x,), "context"):
        with pytest.raises(TypeError, match="context"):
            layer.backward(y, wrong)  # type: ignore[arg-type]


def test_a_context_from_before_set_weights_is_refused(rng: np.random.Generator) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    layer = layer_of(case)
    y, context = layer.forward(case.x)
    layer.set_weights(layer.weights)
    with pytest.raises(ValueError, match="context"):
        layer.backward(y, context)


def test_a_backward_that_fails_leaves_the_context_good(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 2, 3, 4, 5)
    layer = layer_of(case)
    y, context = layer.forward(case.x)
    with pytest.raises(ValueError, match="dy"):
        layer.backward(y[:1], context)
    layer.backward(y, context)


def test_contexts_may_be_open_at_once_and_closed_in_any_order(
    rng: np.random.Generator,
) -> None:
    case = gru_case(rng, 4, 7, 3, 17)
    layer = layer_of(case, return_sequences=True)
    inputs = [
        rng.normal(size=(n, t, 3)).astype(np.float32)
        for n, t in ((1, 7), (4, 2), (9, 9), (2, 30))
    ]

    def gradients(y: Array, context: layers.Context) -> bytes:
        dx, grads = layer.backward(y, context)
        return b"".join(a.tobytes() for a in (dx, *grads.values()))

    expected = [gradients(*layer.forward(x)) for x in inputs]
    for order in ([2, 0, 3, 1], [0, 1, 2, 3]):
        opened = [layer.forward(x) for x in inputs]
        for i in order:
            assert gradients(*opened[i]) == expected[i]
