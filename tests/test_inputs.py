"""The bad input table: an error that names the argument, or a right result."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import layers
from reference import Array

N, T, C, H = 3, 4, 5, 6


def gru(**options: Any) -> layers.GRU:
    layer = layers.GRU(H, seed=0, **options)
    layer.build(C)
    return layer


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def values(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class Refuses:
    """What has an array interface of sorts but is no array."""

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise RuntimeError

    def __len__(self) -> int:
        return N


#: Things that are no float32 array of any shape.
NO_ARRAYS: dict[str, Callable[[Array], Any]] = {
    "None": lambda a: None,
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()),
    "a string": lambda a: "array",
    "bytes": lambda a: a.tobytes(),
    "a memoryview": lambda a: a.data,
    "a number": lambda a: 1.0,
    "a NumPy scalar": lambda a: np.float32(1),
    "a dict": lambda a: {"x": a},
    "a generator": lambda a: (row for row in a),
    "the type ndarray": lambda a: np.ndarray,
    "an object that refuses": lambda a: Refuses(),
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int64": lambda a: a.astype(np.int64),
    "int32": lambda a: a.astype(np.int32),
    "uint8": lambda a: a.astype(np.uint8),
    "bool": lambda a: a.astype(np.bool),
    "complex64": lambda a: a.astype(np.complex64),
    "object": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "dates": lambda a: a.astype(np.int64).astype("datetime64[s]"),
    "records": lambda a: a.view([("value", np.float32)]),
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "masked": np.ma.masked_invalid,
}
each_no_array = pytest.mark.parametrize("wrong", NO_ARRAYS)

#: float32 arrays that hold the same values in unusual ways.
UNUSUAL: dict[str, Callable[[Array], Array]] = {
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "in Fortran order": np.asfortranarray,
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "strided": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "unaligned": lambda a: np.frombuffer(
        b"\0" + a.tobytes(), a.dtype, offset=1
    ).reshape(a.shape),
    "a subclass": lambda a: a.view(np.recarray),
    "a matrix row": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "memory of a bytearray": lambda a: np.ndarray(
        a.shape, a.dtype, bytearray(a.tobytes())
    ),
}
each_unusual = pytest.mark.parametrize("arrange", UNUSUAL)


def names(argument: str) -> str:
    return rf"\b{argument}\b"


# The GRU layer


@each_no_array
@pytest.mark.parametrize("built", [True, False], ids=["built", "new"])
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_gru_refuses_an_x_that_is_no_array_of_its_dtype(
    method: str, built: bool, wrong: str
) -> None:
    layer = gru() if built else layers.GRU(H)
    with pytest.raises(TypeError, match=names("x")):
        getattr(layer, method)(NO_ARRAYS[wrong](zeros(N, T, C)))
    assert layer.built == built


@pytest.mark.parametrize("wrong", sorted(NO_ARRAYS.keys() - {"None"}))
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_gru_refuses_a_state_that_is_no_array_of_its_dtype(
    method: str, wrong: str
) -> None:
    with pytest.raises(TypeError, match=names("initial_state")):
        getattr(gru(), method)(
            zeros(N, T, C), initial_state=NO_ARRAYS[wrong](zeros(N, H))
        )


@each_no_array
def test_gru_refuses_a_gradient_that_is_no_array_of_its_dtype(wrong: str) -> None:
    layer = gru()
    y, context = layer.forward(zeros(N, T, C))
    with pytest.raises(TypeError, match=names("dy")):
        layer.backward(NO_ARRAYS[wrong](y), context)
    layer = gru(return_state=True)
    (y, h_n), context = layer.forward(zeros(N, T, C))
    if wrong != "None":
        with pytest.raises(TypeError, match=names("dy")):
            layer.backward((NO_ARRAYS[wrong](y), h_n), context)
        with pytest.raises(TypeError, match=names("dh_n")):
            layer.backward((y, NO_ARRAYS[wrong](h_n)), context)
    layer.backward((y, h_n), context)


@each_no_array
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_gru_refuses_weights_that_are_no_arrays_of_its_dtype(
    name: str, wrong: str
) -> None:
    layer = gru()
    before = {k: w.copy() for k, w in layer.weights.items()}
    weights = {k: np.ones_like(w) for k, w in before.items()}
    with pytest.raises(TypeError, match=names(name)):
        layer.set_weights(weights | {name: NO_ARRAYS[wrong](weights[name])})
    for k, w in layer.weights.items():
        np.testing.assert_array_equal(w, before[k])


def test_a_wrong_dtype_is_named_beside_the_right_one() -> None:
    for dtype, other in (("float32", "float64"), ("float64", "float32")):
        layer = layers.GRU(H, dtype=dtype)
        for method in (layer, layer.forward):
            with pytest.raises(TypeError, match=rf"x.*{other}.*{dtype}"):
                method(np.zeros((N, T, C), other))
        layer(np.zeros((N, T, C), dtype))
        with pytest.raises(TypeError, match=rf"initial_state.*{other}.*{dtype}"):
            layer(np.zeros((N, T, C), dtype), np.zeros((N, H), other))
        dense = layers.Dense(2, dtype=dtype)
        with pytest.raises(TypeError, match=rf"x.*{other}.*{dtype}"):
            dense(np.zeros((N, C), other))


@pytest.mark.parametrize(
    "shape",
    [
        *[(), (C,), (T, C), (N, T), (1, N, T, C), (0,)],
        *[(N, T, C - 1), (N, T, C + 1), (N, T, 0), (N, C, T), (T, 0, 1)],
    ],
    ids=str,
)
def test_gru_refuses_an_x_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    layer = gru()
    for method in (layer, layer.forward):
        with pytest.raises(ValueError, match=names("x")) as caught:
            method(zeros(*shape))
        assert str(shape) in str(caught.value)  # what it got
        assert str(C) in str(caught.value)  # and what it expected


@pytest.mark.parametrize("shape", [(), (C,), (N, C), (1, N, T, C), (N, T, 0)], ids=str)
def test_a_new_gru_refuses_an_x_of_the_wrong_rank_and_stays_new(
    shape: tuple[int, ...],
) -> None:
    layer = layers.GRU(H)
    with pytest.raises(ValueError, match=r"\b(x|input_size)\b"):
        layer(zeros(*shape))
    assert not layer.built


@pytest.mark.parametrize(
    "shape",
    [(), (H,), (N,), (1, H), (N + 1, H), (N, H - 1), (H, N), (N, T, H), (1, N, H)],
    ids=str,
)
def test_gru_refuses_a_state_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    layer = gru()
    for method in (layer, layer.forward):
        with pytest.raises(ValueError, match=names("initial_state")) as caught:
            method(zeros(N, T, C), initial_state=zeros(*shape))
        message = str(caught.value)
        assert str(shape) in message
        assert str(N) in message
        assert str(H) in message


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("return_state", [True, False])
def test_gru_refuses_a_gradient_of_the_wrong_shape(
    return_sequences: bool, return_state: bool
) -> None:
    layer = gru(return_sequences=return_sequences, return_state=return_state)
    output, context = layer.forward(zeros(N, T, C))
    y = output[0] if return_state else output
    for shape in ((), (N,), (N, H, 1, 1), y.shape[:-1], (*y.shape[:-1], H + 1)):
        for wrong in ((1 + N, *y.shape[1:]), shape):
            gradient = (zeros(*wrong), None) if return_state else zeros(*wrong)
            with pytest.raises(ValueError, match=names("dy")):
                layer.backward(gradient, context)
    if return_state:
        for wrong in ((N,), (N, H + 1), (N + 1, H), (N, 1, H)):
            with pytest.raises(ValueError, match=names("dh_n")):
                layer.backward((y, zeros(*wrong)), context)
        for gradients in (y, (y,), (y, None, None), None):
            with pytest.raises((TypeError, ValueError), match=names("dy")):
                layer.backward(gradients, context)
    else:
        with pytest.raises(TypeError, match=names("dy")):
            layer.backward((y, None), context)
    layer.backward(output, context)  # after all that, it still can


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_ih", (3 * H, C + 1)),
        ("weight_ih", (C, 3 * H)),
        ("weight_ih", (3 * H * C,)),
        ("weight_ih", (3, H, C)),
        ("weight_hh", (4 * H, H)),
        ("weight_hh", (H, H)),
        ("weight_hh", ()),
        ("bias_ih", (H,)),
        ("bias_ih", (3 * H, 1)),
        ("bias_hh", (2, 3 * H)),
        ("bias_hh", (0,)),
    ],
)
def test_gru_refuses_weights_of_the_wrong_shape(
    name: str, shape: tuple[int, ...]
) -> None:
    layer = gru()
    before = {k: w.copy() for k, w in layer.weights.items()}
    weights = {k: np.ones_like(w) for k, w in before.items()}
    with pytest.raises(ValueError, match=names(name)) as caught:
        layer.set_weights(weights | {name: zeros(*shape)})
    assert str(shape) in str(caught.value)
    for k, w in layer.weights.items():
        np.testing.assert_array_equal(w, before[k])


def test_gru_refuses_weights_of_the_wrong_names() -> None:
    layer = gru()
    weights = dict(layer.weights)
    missing = {k: w for k, w in weights.items() if k != "bias_hh"}
    for wrong, name in (
        (missing, "bias_hh"),
        (weights | {"kernel": zeros(1)}, "kernel"),
        (missing | {"bias_h": weights["bias_hh"]}, "bias_h"),
        ({}, "weight_ih"),
    ):
        with pytest.raises(ValueError, match=names(name)):
            layer.set_weights(wrong)
    for no_dict in (None, list(weights.values()), 3, "weights"):
        with pytest.raises(TypeError, match=names("weights")):
            layer.set_weights(no_dict)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="build"):
        layers.GRU(H).set_weights(weights)


@each_unusual
def test_gru_reads_arrays_of_unusual_memory_right(arrange: str) -> None:
    unusual = UNUSUAL[arrange]
    layer = gru(return_sequences=True, return_state=True)
    x, h0, dy, dh_n = values(N, T, C), values(N, H), values(N, T, H), values(N, H)
    (y, h_n), context = layer.forward(x, initial_state=h0)
    dx, grads = layer.backward((dy, dh_n), context)

    layer.set_weights({k: unusual(w) for k, w in layer.weights.items()})
    for output in (
        layer(unusual(x), initial_state=unusual(h0)),
        layer.forward(unusual(x), initial_state=unusual(h0))[0],
    ):
        np.testing.assert_array_equal(output[0], y)
        np.testing.assert_array_equal(output[1], h_n)
        assert type(output[0]) is np.ndarray
    _, context = layer.forward(unusual(x), initial_state=unusual(h0))
    dx2, grads2 = layer.backward((unusual(dy), unusual(dh_n)), context)
    np.testing.assert_array_equal(dx2, dx)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grads2[name], grad)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e-45])
def test_extreme_values_in_x_stay_in_their_row(value: float) -> None:
    layer = gru(return_sequences=True)
    x = values(N, T, C)
    expected = layer(x)
    x[1, 2, 3] = value
    y, context = layer.forward(x)
    np.testing.assert_array_equal(y[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(y[1, :2], expected[1, :2])
    assert np.isnan(y[1, 2:]).all() == np.isnan(value)
    assert np.isfinite(y[1, 2:]).all() == (not np.isnan(value))
    dx, _ = layer.backward(np.ones_like(y), context)
    assert np.isfinite(dx[[0, 2]]).all()


def test_an_x_that_claims_more_rows_than_memory_has_is_an_error() -> None:
    layer = gru()
    for rows in (2**50, 2**58):  # more than addresses, whatever the system promises
        x = np.broadcast_to(zeros(1, 1, C), (rows, 1, C))
        for method in (layer, layer.forward):
            with pytest.raises((MemoryError, ValueError)):
                method(x)


WRONG_SIZES: tuple[Any, ...] = (0, -1, 2**40, 2**80)
NO_SIZES: tuple[Any, ...] = (None, 2.0, "3", True, [3], np.float32(3), 1j, np.arange(2))


@pytest.mark.parametrize("make", [layers.GRU, layers.Dense])
def test_impossible_numbers_of_units_are_errors(make: Callable[[Any], Any]) -> None:
    for units in WRONG_SIZES:
        with pytest.raises(ValueError, match=r"units|parameters"):
            make(units)
    for units in NO_SIZES:
        with pytest.raises(TypeError, match=names("units")):
            make(units)
    assert make(np.int64(3)).units == 3


@pytest.mark.parametrize("make", [layers.GRU, layers.Dense])
def test_impossible_input_sizes_are_errors(make: Callable[[Any], Any]) -> None:
    for size in WRONG_SIZES:
        with pytest.raises(ValueError, match=r"input_size|parameters"):
            make(3).build(size)
    for size in NO_SIZES:
        with pytest.raises(TypeError, match=names("input_size")):
            make(3).build(size)


def test_a_size_between_what_fits_and_what_overflows_is_an_error_not_a_crash() -> None:
    for units, size in ((30_000, 1), (1, 2**31), (2**15, 2**15)):
        with pytest.raises(ValueError, match=r"units|input_size|parameters"):
            layers.GRU(units).build(size)


@pytest.mark.parametrize(
    "dtype", ["float16", "int32", "double precision", "", None, 3, float, "object"]
)
@pytest.mark.parametrize("make", [layers.GRU, layers.Dense])
def test_impossible_dtypes_are_errors(make: Any, dtype: Any) -> None:
    if dtype is float:  # float is NumPy's name for float64
        assert make(3, dtype=dtype).dtype == "float64"
        return
    with pytest.raises((TypeError, ValueError), match=r"dtype.*float32.*float64"):
        make(3, dtype=dtype)


@pytest.mark.parametrize("name", ["return_sequences", "return_state", "reset_after"])
@pytest.mark.parametrize("value", [None, 1, 0, "yes", [], np.array([True, False])])
def test_flags_are_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=names(name)):
        layers.GRU(3, **{name: value})


@pytest.mark.parametrize("seed", [-1, 1.5, "seed", [1, 2], True])
def test_impossible_seeds_are_errors(seed: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=names("seed")):
        layers.GRU(3, seed=seed)


# The Dense layer


@each_no_array
def test_dense_refuses_what_is_no_array_of_its_dtype(wrong: str) -> None:
    layer = layers.Dense(2, seed=0)
    no_array = NO_ARRAYS[wrong]
    with pytest.raises(TypeError, match=names("x")):
        layer(no_array(zeros(N, C)))
    assert not layer.built
    y, context = layer.forward(zeros(N, C))
    with pytest.raises(TypeError, match=names("x")):
        layer.forward(no_array(zeros(N, C)))
    with pytest.raises(TypeError, match=names("dy")):
        layer.backward(no_array(y), context)
    for name, weight in layer.weights.items():
        with pytest.raises(TypeError, match=names(name)):
            layer.set_weights(dict(layer.weights) | {name: no_array(weight)})


def test_dense_refuses_wrong_shapes() -> None:
    layer = layers.Dense(2)
    for no_rows in ((), (C,)):
        with pytest.raises(ValueError, match=names("x")):
            layer(zeros(*no_rows))
    assert not layer.built
    y, context = layer.forward(zeros(N, T, C))
    assert y.shape == (N, T, 2)
    shape: tuple[int, ...]
    for shape in ((), (N, C - 1), (N, T, C + 1), (N, T, 0)):
        with pytest.raises(ValueError, match=names("x")):
            layer(zeros(*shape))
    for shape in ((), (N, 2), (N, T, 3), (T, N, 2), (N * T, 2)):
        with pytest.raises(ValueError, match=names("dy")):
            layer.backward(zeros(*shape), context)
    for name, shape in (("weight", (C, 2)), ("weight", (2,)), ("bias", (2, 1))):
        with pytest.raises(ValueError, match=names(name)):
            layer.set_weights(dict(layer.weights) | {name: zeros(*shape)})


@each_unusual
@pytest.mark.parametrize("rows", [(N,), (N, T)], ids=str)
def test_dense_reads_arrays_of_unusual_memory_right(
    rows: tuple[int, ...], arrange: str
) -> None:
    unusual = UNUSUAL[arrange]
    layer = layers.Dense(2, activation="tanh", seed=0)
    x, dy = values(*rows, C), values(*rows, 2)
    y, context = layer.forward(x)
    dx, grads = layer.backward(dy, context)
    layer.set_weights({k: unusual(w) for k, w in layer.weights.items()})
    np.testing.assert_array_equal(layer(unusual(x)), y)
    y2, context = layer.forward(unusual(x))
    dx2, grads2 = layer.backward(unusual(dy), context)
    np.testing.assert_array_equal(y2, y)
    np.testing.assert_array_equal(dx2, dx)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grads2[name], grad)


@pytest.mark.parametrize("shape", [(0, C), (0, T, C), (N, 0, C)])
def test_dense_takes_no_rows(shape: tuple[int, ...]) -> None:
    layer = layers.Dense(2)
    y, context = layer.forward(zeros(*shape))
    assert y.shape == (*shape[:-1], 2)
    dx, grads = layer.backward(y, context)
    assert dx.shape == shape
    assert not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize("activation", ["cube", "", False, 3, np.tanh, "Tanh"])
def test_impossible_activations_are_errors(activation: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"activation.*sigmoid"):
        layers.Dense(2, activation=activation)


# The model


def model() -> gf.Sequential:
    made = gf.Sequential([layers.GRU(4), layers.Dense(2)], seed=0)
    made.compile(optimizer=gf.optimizers.SGD(0.1), loss="mse")
    return made


def weights_of(made: gf.Sequential) -> dict[str, Array]:
    return {name: weight.copy() for name, weight in made.weights.items()}


@each_no_array
def test_fit_refuses_data_that_are_no_arrays_of_its_dtype(wrong: str) -> None:
    no_array = NO_ARRAYS[wrong]
    x, y = zeros(N, T, C), zeros(N, 2)
    for method in ("fit", "evaluate"):
        with pytest.raises(TypeError, match=names("x")):
            getattr(model(), method)(no_array(x), y)
        with pytest.raises(TypeError, match=names("y")):
            getattr(model(), method)(x, no_array(y))
    for method in ("predict", "__call__"):
        batches = method == "predict" and wrong == "a generator"
        with pytest.raises(ValueError if batches else TypeError, match=names("x")):
            getattr(model(), method)(no_array(x))
    if wrong != "None":
        for data in ((no_array(x), y), (x, no_array(y)), no_array(x)):
            with pytest.raises(TypeError, match="validation_data"):
                model().fit(x, y, validation_data=data)


@pytest.mark.parametrize(
    ("x", "y", "name"),
    [
        ((T, C), (N, 2), "x"),
        ((C,), (N, 2), "x"),
        ((), (N, 2), "x"),
        ((N, T, 1, C), (N, 2), "x"),
        ((N, T, 0), (N, 2), "x|input_size|input_shape"),
        ((0, T, C), (0, 2), "x"),
        ((N, T, C), (N, 1), "y"),
        ((N, T, C), (N, 3), "y"),
        ((N, T, C), (N,), "y"),
        ((N, T, C), (N + 1, 2), "y"),
        ((N, T, C), (N - 1, 2), "y"),
        ((N, T, C), (N, T, 2), "y"),
        ((N, T, C), (2, N), "y"),
        ((N, T, C), (), "y"),
        ((N, T, C), (0, 2), "y"),
    ],
    ids=str,
)
def test_fit_refuses_data_of_wrong_shapes(
    x: tuple[int, ...], y: tuple[int, ...], name: str
) -> None:
    for method in ("fit", "evaluate"):
        with pytest.raises(ValueError, match=rf"\b({name})\b"):
            getattr(model(), method)(zeros(*x), zeros(*y))


def test_a_model_keeps_its_input_size_and_says_so() -> None:
    made = model()
    made.fit(values(N, T, C), values(N, 2))
    before = weights_of(made)
    for call in (made, made.predict):
        with pytest.raises(ValueError, match=rf"\bx\b.*{C}"):
            call(zeros(N, T, C + 1))
    with pytest.raises(ValueError, match=rf"\bx\b.*{C}"):
        made.fit(zeros(N, T, C + 1), zeros(N, 2))
    for name, weight in made.weights.items():
        np.testing.assert_array_equal(weight, before[name])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"epochs": -1}, ValueError),
        ({"epochs": 1.5}, TypeError),
        ({"epochs": "3"}, TypeError),
        ({"epochs": None}, TypeError),
        ({"epochs": True}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -32}, ValueError),
        ({"batch_size": 2.0}, TypeError),
        ({"batch_size": "all"}, TypeError),
        ({"validation_split": -0.1}, ValueError),
        ({"validation_split": 1.0}, ValueError),
        ({"validation_split": 0.99}, ValueError),
        ({"validation_split": np.nan}, ValueError),
        ({"validation_split": "half"}, TypeError),
        ({"validation_split": None}, TypeError),
        ({"validation_data": 3}, TypeError),
        ({"validation_data": (zeros(N, T, C),)}, TypeError),
        ({"validation_data": (zeros(N, T, C + 1), zeros(N, 2))}, ValueError),
        ({"validation_data": (zeros(N, T, C), zeros(N, 3))}, ValueError),
        ({"shuffle": "yes"}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 1.5}, TypeError),
        ({"verbose": "loud"}, ValueError),
        ({"callbacks": [3]}, TypeError),
        ({"callbacks": 3}, TypeError),
    ],
    ids=repr,
)
def test_fit_refuses_wrong_settings_before_it_trains(
    options: dict[str, Any], error: type[Exception]
) -> None:
    made = model()
    made.build((None, None, C))
    before = weights_of(made)
    (name,) = options
    with pytest.raises(error, match=names(name)):
        made.fit(values(N, T, C), values(N, 2), **options)
    for key, weight in made.weights.items():
        np.testing.assert_array_equal(weight, before[key])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"optimizer": "tiger"}, "optimizer"),
        ({"optimizer": None}, "optimizer"),
        ({"loss": "hinge"}, "loss"),
        ({"loss": np.mean}, "loss"),
        ({"metrics": ["accuracy!"]}, "metrics"),
        ({"metrics": 3}, "metrics"),
    ],
    ids=repr,
)
def test_compile_refuses_what_it_does_not_know(
    options: dict[str, Any], name: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{name[:-1]}"):
        gf.Sequential([layers.Dense(1)]).compile(**options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fit_on_values_that_are_not_finite_warns_and_does_not_crash(
    value: float,
) -> None:
    made = model()
    x, y = values(N, T, C), values(N, 2)
    y[1, 0] = value
    with pytest.warns(RuntimeWarning, match="loss"), np.errstate(all="ignore"):
        history = made.fit(x, y, epochs=2)
    assert not np.isfinite(history.history["loss"]).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: gf.optimizers.SGD(-0.1),
        lambda: gf.optimizers.SGD(np.nan),
        lambda: gf.optimizers.Adam(np.inf),
        lambda: gf.optimizers.Adam("fast"),  # type: ignore[arg-type]
        lambda: gf.optimizers.Adam(None),  # type: ignore[arg-type]
    ],
)
def test_impossible_learning_rates_are_errors(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=names("learning_rate")):
        make()


@each_unusual
def test_fit_reads_arrays_of_unusual_memory_right(arrange: str) -> None:
    unusual = UNUSUAL[arrange]
    x, y = values(N, T, C), values(N, 2)
    plain, other = model(), model()
    plain.fit(x, y, epochs=2, batch_size=2, seed=0)
    other.fit(unusual(x), unusual(y), epochs=2, batch_size=2, seed=0)
    for name, weight in plain.weights.items():
        np.testing.assert_array_equal(other.weights[name], weight)
    np.testing.assert_array_equal(other.predict(unusual(x)), plain.predict(x))


@pytest.mark.parametrize(
    "stack",
    [
        [None],
        [layers.GRU(3), "dense"],
        [layers.GRU],
        [layers.GRU(3, return_state=True)],
        [layers.GRU(3, dtype="float64"), layers.Dense(1)],
    ],
    ids=str,
)
def test_impossible_stacks_of_layers_are_errors(stack: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="layers"):
        gf.Sequential(stack)


def test_a_gru_on_the_last_state_of_another_names_the_layer() -> None:
    made = gf.Sequential([layers.GRU(3), layers.GRU(3)])
    with pytest.raises(ValueError, match=r"layers\[1\]"):
        made.predict(zeros(N, T, C))
