"""Layers other than Dense and the recurrent ones: values, gradients, rules."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast._sparse import SparseRows
from reference import Array
from tolerances import DTYPES, Dtype, assert_close

layers = gf.layers
untyped: Any = gf.layers
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

Make = Callable[[str], gf.layers.Layer]

#: A layer of a dtype, the shape of an input, and that of the output.
CASES: dict[str, tuple[Make, tuple[int, ...], tuple[int, ...]]] = {
    "dense": (
        lambda dtype: layers.Dense(4, "gelu", dtype=dtype, seed=1),
        (3, 5, 2),
        (3, 5, 4),
    ),
    "dense without bias": (
        lambda dtype: layers.Dense(4, "tanh", use_bias=False, dtype=dtype, seed=1),
        (3, 5, 2),
        (3, 5, 4),
    ),
    "dense softmax": (
        lambda dtype: layers.Dense(4, "softmax", dtype=dtype, seed=1),
        (3, 5, 2),
        (3, 5, 4),
    ),
    "dense selu": (
        lambda dtype: layers.Dense(4, "selu", dtype=dtype, seed=1),
        (3, 5, 2),
        (3, 5, 4),
    ),
    "activation": (lambda _: layers.Activation("elu"), (3, 5), (3, 5)),
    "activation selu": (lambda _: layers.Activation("selu"), (3, 5), (3, 5)),
    "activation exponential": (
        lambda _: layers.Activation("exponential"),
        (3, 5),
        (3, 5),
    ),
    "activation parabolic": (
        lambda _: layers.Activation("parabolic"),
        (3, 5),
        (3, 5),
    ),
    "activation softmax": (lambda _: layers.Activation("softmax"), (3, 5), (3, 5)),
    "softmax": (lambda _: layers.Softmax(), (3, 4, 5), (3, 4, 5)),
    "softmax over steps": (lambda _: layers.Softmax(axis=1), (3, 4, 5), (3, 4, 5)),
    "layer normalization": (
        lambda dtype: layers.LayerNormalization(dtype=dtype),
        (3, 4, 5),
        (3, 4, 5),
    ),
    "flatten": (lambda _: layers.Flatten(), (3, 4, 5), (3, 20)),
    "reshape": (lambda _: layers.Reshape((-1, 2)), (3, 4, 5), (3, 10, 2)),
    "reshape to a number": (lambda _: layers.Reshape(()), (3, 1), (3,)),
    "repeat": (lambda _: layers.RepeatVector(4), (3, 5), (3, 4, 5)),
    "masking": (lambda _: layers.Masking(), (3, 4, 2), (3, 4, 2)),
    "average": (lambda _: layers.GlobalAveragePooling1D(), (3, 4, 5), (3, 5)),
    "maximum": (lambda _: layers.GlobalMaxPooling1D(), (3, 4, 5), (3, 5)),
    "distributed": (
        lambda dtype: layers.TimeDistributed(
            layers.Dense(4, "tanh", dtype=dtype, seed=1)
        ),
        (3, 4, 5),
        (3, 4, 4),
    ),
    "distributed gru": (
        lambda dtype: layers.TimeDistributed(layers.GRU(2, dtype=dtype, seed=1)),
        (2, 3, 4, 5),
        (2, 3, 2),
    ),
    "distributed flatten": (
        lambda _: layers.TimeDistributed(layers.Flatten()),
        (2, 3, 4, 5),
        (2, 3, 20),
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def central(f: Callable[[Array], float], a: Array, step: float = 1e-6) -> Array:
    """The gradient of f at a by central differences."""
    gradient = np.zeros_like(a)
    for index in np.ndindex(a.shape):
        up, down = a.copy(), a.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (f(up) - f(down)) / (2 * step)
    return gradient


def scramble(layer: gf.layers.Layer, rng: np.random.Generator) -> None:
    """Make weights random that are constant at first."""
    layer.set_weights({k: rng.normal(size=w.shape) for k, w in layer.weights.items()})


@each_case
def test_gradients_are_those_of_the_output(rng: np.random.Generator, name: str) -> None:
    make, shape, _ = CASES[name]
    layer, x = make("float64"), rng.normal(size=shape)
    layer(x)
    scramble(layer, rng)
    y, context = layer.forward(x)
    np.testing.assert_array_equal(y, layer(x))
    dy = rng.normal(size=y.shape)
    dx, grads = layer.backward(dy, context)

    def of_input(x: Array) -> float:
        return float((layer(x) * dy).sum())

    np.testing.assert_allclose(dx, central(of_input, x), rtol=1e-6, atol=1e-8)
    weights = {k: w.copy() for k, w in layer.weights.items()}
    assert grads.keys() == weights.keys()
    for key, gradient in grads.items():

        def of_weight(w: Array, key: str = key) -> float:
            layer.set_weights({**weights, key: w})
            return float((layer(x) * dy).sum())

        expected = central(of_weight, weights[key])
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@each_case
@each_dtype
def test_shapes_and_dtypes_are_as_they_say(name: str, dtype: Dtype) -> None:
    make, shape, expected = CASES[name]
    layer = make(dtype)
    y = layer(np.ones(shape, dtype))
    assert y.dtype == dtype
    assert y.shape == expected
    assert layer.output_shape(shape) == expected
    open_shape = layer.output_shape((None, *shape[1:]))
    assert open_shape == (None, *expected[1:])
    y, context = layer.forward(np.ones(shape, dtype))
    dx, grads = layer.backward(y, context)
    assert dx.dtype == dtype
    assert dx.shape == shape
    for key, gradient in grads.items():
        assert gradient.dtype == dtype
        assert gradient.shape == layer.weights[key].shape
    with pytest.raises(ValueError, match="context: already used"):
        layer.backward(y, context)
    _, context = layer.forward(np.ones(shape, dtype))
    with pytest.raises(ValueError, match=r"dy: got shape"):
        layer.backward(np.ones((7, *expected[1:]), dtype), context)
    other = "float32" if dtype == "float64" else "float64"
    with pytest.raises(TypeError, match=f"dy: got an array of {other}"):
        layer.backward(y.astype(other), context)


@each_case
def test_no_rows_give_no_rows(name: str) -> None:
    make, (_, *sizes), (_, *expected) = CASES[name]
    layer = make("float32")
    y, context = layer.forward(np.ones((0, *sizes), np.float32))
    assert y.shape == (0, *expected)
    dx, grads = layer.backward(y, context)
    assert dx.shape == (0, *sizes)
    assert not any(gradient.any() for gradient in grads.values())


@each_case
def test_any_layout_is_read(rng: np.random.Generator, name: str) -> None:
    make, shape, _ = CASES[name]
    layer, x = make("float32"), rng.normal(size=shape).astype(np.float32)
    y, context = layer.forward(x)
    dx, grads = layer.backward(y, context)
    for change in (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    ):
        z, context = layer.forward(change(x))
        np.testing.assert_allclose(z, y, rtol=1e-5, atol=1e-6)
        results = layer.backward(change(y) if y.ndim > 1 else y, context)
        np.testing.assert_allclose(results[0], dx, rtol=1e-4, atol=1e-6)
        for key, gradient in results[1].items():
            np.testing.assert_allclose(gradient, grads[key], rtol=1e-4, atol=1e-6)


@each_case
def test_layers_can_be_copied_and_kept(
    rng: np.random.Generator, tmp_path: Path, name: str
) -> None:
    make, shape, _ = CASES[name]
    layer, x = make("float32"), rng.normal(size=shape).astype(np.float32)
    y = layer(x)
    copies = layer.get_weights()
    assert not any(np.shares_memory(copies[k], w) for k, w in layer.weights.items())
    layer.set_weights(copies)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(same) == repr(layer)
        assert same(x).tobytes() == y.tobytes()
    model = gf.Sequential([layer])
    model.build(shape)
    model.save(tmp_path / "model")
    loaded = gf.load(tmp_path / "model")
    assert repr(loaded) == repr(model)
    assert loaded(x).tobytes() == y.tobytes()


@each_case
def test_other_inputs_are_refused(name: str) -> None:
    make, shape, _ = CASES[name]
    layer = make("float32")
    for call in (layer, layer.forward):
        with pytest.raises(TypeError, match="x: got an array of int64"):
            call(np.ones(shape, np.int64))
        with pytest.raises(TypeError, match="x: got list"):
            call([1.0])  # type: ignore[arg-type]


# Softmax


@each_dtype
def test_softmax_is_stable_and_sums_to_one(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    x = (100 * rng.normal(size=(50, 7))).astype(dtype)
    y = layers.Softmax()(x)
    wide = x.astype(np.longdouble)
    exact = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    assert_close("y", y, exact, "forward", 7)
    big = layers.Softmax()(np.array([[1e30, 0], [-1e30, -1e30]], dtype))
    np.testing.assert_array_equal(big, [[1, 0], [0.5, 0.5]])


@each_dtype
def test_softmax_is_an_activation(rng: np.random.Generator, dtype: Dtype) -> None:
    x = rng.normal(size=(3, 4, 5)).astype(dtype)
    dense = layers.Dense(6, "softmax", dtype=dtype, seed=0)
    parts = [layers.Dense(6, dtype=dtype, seed=0), layers.Softmax()]
    model = gf.Sequential(parts)
    assert dense(x).tobytes() == model(x).tobytes()
    y, context = dense.forward(x)
    same, others = model.forward(x)
    assert y.tobytes() == same.tobytes()
    dy = rng.normal(size=y.shape).astype(dtype)
    dx, grads = dense.backward(dy, context)
    expected, own = model.backward(dy, others)
    assert dx.tobytes() == expected.tobytes()
    assert {f"layers.0.{k}": g.tobytes() for k, g in grads.items()} == {
        k: g.tobytes() for k, g in own.items()
    }
    np.testing.assert_array_equal(layers.Activation("softmax")(x), layers.Softmax()(x))
    with pytest.raises(ValueError, match=r"x: got shape \(\), expected one with axis"):
        layers.Activation("softmax")(np.ones((), dtype))


def test_softmax_of_what_has_none_is_nan() -> None:
    x = np.array([[np.inf, 0], [-np.inf, -np.inf], [np.nan, 1]])
    assert np.isnan(layers.Softmax()(x)).all(axis=1).tolist() == [True] * 3


@pytest.mark.parametrize("axis", [2, -3])
def test_softmax_names_an_axis_that_is_not_there(axis: int) -> None:
    layer = layers.Softmax(axis)
    message = rf"x: got shape \(3, 4\), expected one with axis {axis}"
    with pytest.raises(ValueError, match=message):
        layer(np.ones((3, 4)))
    with pytest.raises(ValueError, match=message):
        layer.output_shape((3, 4))


# Layer normalization


@each_dtype
def test_layer_normalization_is_the_formula(
    rng: np.random.Generator, dtype: Dtype
) -> None:
    layer = layers.LayerNormalization(epsilon=1e-2, dtype=dtype)
    x = (3 + rng.normal(size=(6, 5, 33))).astype(dtype)
    layer(x)
    weights = {k: rng.normal(size=33).astype(dtype) for k in ("gamma", "beta")}
    layer.set_weights(weights)
    wide = x.astype(np.float64)
    mean, variance = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
    exact = weights["gamma"] * (wide - mean) / np.sqrt(variance + 1e-2)
    assert_close("y", layer(x), exact + weights["beta"], "forward", 33, 4)


def test_layer_normalization_begins_as_the_normal_one() -> None:
    layer = layers.LayerNormalization()
    layer.build(3)
    np.testing.assert_array_equal(layer.weights["gamma"], [1, 1, 1])
    np.testing.assert_array_equal(layer.weights["beta"], [0, 0, 0])
    with pytest.raises(ValueError, match=r"\(2, 4\), .* with C = 3"):
        layer(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"\(2, 4\), .* with C = 3"):
        layer.output_shape((2, 4))


# Embedding


@each_dtype
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 4), (0, 3)])
def test_embedding_looks_up_rows(
    rng: np.random.Generator, shape: tuple[int, ...], index: Any, dtype: Dtype
) -> None:
    layer = layers.Embedding(6, 3, dtype=dtype, seed=0)
    x = rng.integers(0, 6, shape).astype(index)
    y, context = layer.forward(x)
    assert y.shape == (*shape, 3) == layer.output_shape(shape)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, layer.weights["weight"][x])
    np.testing.assert_array_equal(y, layer(x))
    dy = rng.normal(size=y.shape).astype(dtype)
    dx, grads = layer.backward(dy, context)
    assert dx is None
    rows = grads["weight"]
    assert isinstance(rows, SparseRows)
    assert rows.values.dtype == dtype
    assert rows.shape == (6, 3)
    np.testing.assert_array_equal(rows.indices, np.unique(x))
    exact = np.zeros((6, 3))
    np.add.at(exact, x, dy.astype(np.float64))
    assert_close("weight", rows.to_dense(), exact, "backward", max(x.size, 1), 1)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.array([[0, 6]]), ValueError, r"x: got the index 6, expected 0 to 5"),
        (np.array([[-1, 7]]), ValueError, r"x: got the index -1, expected 0 to 5"),
        (np.zeros((1, 2)), TypeError, "got an array of float64, expected int32 or int"),
        (np.zeros((1, 2), bool), TypeError, "got an array of bool, expected int32 or"),
        (np.zeros((1, 2), ">i8"), TypeError, "got an array of >i8, expected int32 or"),
        (np.ma.zeros((1, 2), int), TypeError, "got a masked array"),
        ([[0]], TypeError, "x: got a? ?list, expected a NumPy array of int32 or int64"),
        (None, TypeError, "x: got None, expected a NumPy array of int32 or int64"),
    ],
)
def test_embedding_names_what_is_no_index(
    x: Any, error: type[Exception], message: str
) -> None:
    layer = layers.Embedding(6, 3)
    model = gf.Sequential([layers.Embedding(6, 3)])
    for call in (layer, layer.forward, model, model.predict, model.forward):
        with pytest.raises(error, match=message):
            call(x)


def test_embedding_with_padding_takes_sequences() -> None:
    layer = layers.Embedding(6, 3, mask_zero=True)
    with pytest.raises(ValueError, match=r"got shape \(2,\), expected \(N, T\)"):
        layer(np.array([1, 2]))
    with pytest.raises(ValueError, match=r"got shape \(2,\), expected \(N, T\)"):
        layer.output_shape((2,))


@pytest.mark.parametrize(
    ("initializer", "deviation"), [("keras", 0.05 / 3**0.5), ("torch", 1.0)]
)
def test_first_embeddings(initializer: Any, deviation: float) -> None:
    layer = layers.Embedding(300, 200, initializer=initializer, seed=0)
    layer.build(300)
    weight = layer.weights["weight"]
    assert abs(weight.std() / deviation - 1) < 0.02
    if initializer == "keras":
        assert np.abs(weight).max() <= 0.05


def test_embedding_counts_inputs_as_keras_does() -> None:
    layer = layers.Embedding(
        600, 200, embeddings_initializer=gf.initializers.HeUniform(), seed=0
    )
    layer.build(600)
    limit = (6 / 600) ** 0.5
    assert 0.99 * limit < np.abs(layer.weights["weight"]).max() <= limit


@pytest.mark.parametrize("regularizer", [None, "l2"])
@pytest.mark.parametrize("distributed", [False, True])
def test_a_model_can_begin_with_an_embedding(
    rng: np.random.Generator, tmp_path: Path, regularizer: Any, distributed: bool
) -> None:
    first: gf.layers.Layer = layers.Embedding(9, 4, embeddings_regularizer=regularizer)
    stack: list[gf.layers.Layer] = [first, layers.GRU(6), layers.Dense(1)]
    shape: tuple[int, ...] = (60, 5)
    if distributed:
        stack = [layers.TimeDistributed(first), layers.Flatten(), layers.Dense(1)]
        shape = (60, 5, 2)
    model = gf.Sequential(stack, seed=0)
    model.compile(gf.optimizers.SGD(0.1))
    x = rng.integers(1, 9, shape)
    y = (x.reshape(60, -1)[:, :1] > 4).astype(np.float32)
    before = model.evaluate(x, y)
    unused = model.weights["layers.0.weight"][0].copy()
    history = model.fit(x, y, epochs=20, batch_size=20, seed=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.evaluate(x, y) < before
    # Only a penalty moves the row of an integer that does not occur.
    moved = (model.weights["layers.0.weight"][0] != unused).any()
    assert moved == (regularizer is not None)
    model.save(tmp_path / "model")
    assert gf.load(tmp_path / "model")(x).tobytes() == model(x).tobytes()
    y, context = model.forward(x)
    dx, grads = model.backward(y, context)
    assert dx is None
    assert isinstance(grads["layers.0.weight"], SparseRows)


def test_an_embedding_stands_first() -> None:
    with pytest.raises(ValueError, match=r"layers\[1\]: .* takes integers: it must be"):
        gf.Sequential([layers.Flatten(), layers.Embedding(3, 2)])


# Shapes


@pytest.mark.parametrize(
    ("target", "shape", "expected"),
    [
        ((6,), (None, 2, 3), (None, 6)),
        ((3, -1), (None, 2, 3), (None, 3, 2)),
        ((3, -1), (4, None, 3), (4, 3, None)),
        ((-1,), (4,), (4, 1)),
        ((0, -1), (4, 0), (4, 0, 0)),
    ],
)
def test_reshape_says_its_shape(target: Any, shape: Any, expected: Any) -> None:
    assert layers.Reshape(target).output_shape(shape) == expected


@pytest.mark.parametrize(("target", "shape"), [((4,), (2, 3)), ((2, -1), (2, 3))])
def test_reshape_names_what_does_not_fit(target: Any, shape: Any) -> None:
    layer = layers.Reshape(target)
    for call in (layer.output_shape, lambda s: layer(np.ones(s))):
        with pytest.raises(ValueError, match=r"x: got shape \(2, 3\), of which no row"):
            call(shape)


def test_global_maximum_gives_its_gradient_to_the_first() -> None:
    layer = layers.GlobalMaxPooling1D()
    y, context = layer.forward(np.array([[[1.0], [2.0], [2.0]]]))
    dx, _ = layer.backward(3 * y, context)
    assert dx.ravel().tolist() == [0, 6, 0]


@pytest.mark.parametrize("make", [layers.GlobalAveragePooling1D, layers.Masking])
def test_sequences_of_no_steps(make: Callable[[], gf.layers.Layer]) -> None:
    x = np.ones((3, 0, 2))
    for layer in (make(), layers.GlobalMaxPooling1D()):
        y, context = layer.forward(x)
        assert not y.any()
        assert layer.backward(y, context)[0].shape == x.shape


# TimeDistributed


def test_steps_are_rows_of_the_layer_within(rng: np.random.Generator) -> None:
    inner = layers.GRU(4, seed=0)
    layer = layers.TimeDistributed(inner)
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    y = layer(x)
    assert not inner.built  # it has one of its own
    for step in range(3):
        alone = layer.layer(x[:, step])
        np.testing.assert_array_equal(y[:, step], alone)
    assert layer.count_params() == layer.layer.count_params() == 3 * 4 * (6 + 4 + 2)


def test_time_distributed_has_the_weights_of_its_layer() -> None:
    layer = layers.TimeDistributed(
        layers.Dense(2, kernel_regularizer="l1", dtype="float64", seed=5)
    )
    built = [layer.built]
    layer.build(3)
    assert [*built, layer.built] == [False, True]
    assert (layer.dtype, layer.seed) == ("float64", 5)
    assert layer.weight_shapes(3) == {"weight": (2, 3), "bias": (2,)}
    assert list(layer.penalties()) == ["weight"]
    y, context = layer.forward(np.ones((2, 3, 3)))
    layer.set_weights(layer.weights)
    with pytest.raises(ValueError, match="context: the weights have changed"):
        layer.backward(y, context)


def test_dropout_within_time_distributed_follows_the_seed_of_fit(
    rng: np.random.Generator,
) -> None:
    x, y = (rng.normal(size=(8, 3, 2)).astype(np.float32) for _ in range(2))

    def losses(seed: int) -> list[float]:
        drop = layers.TimeDistributed(layers.Dropout(0.5))
        model = gf.Sequential([drop, layers.Dense(2)], seed=0)
        model.compile("sgd")
        return model.fit(x, y, epochs=3, seed=seed).history["loss"]

    assert losses(1) == losses(1) != losses(2)


# Wrong arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: untyped.Activation("cube"), ValueError, "activation: got 'cube'"),
        (lambda: untyped.Softmax(0.5), TypeError, "axis: got 0.5"),
        (
            lambda: untyped.LayerNormalization(epsilon=0),
            ValueError,
            "epsilon: got 0, expected a number above",
        ),
        (
            lambda: untyped.LayerNormalization(epsilon=-1),
            ValueError,
            "epsilon: got -1",
        ),
        (lambda: untyped.LayerNormalization(1), ValueError, "axis: got 1"),
        (lambda: untyped.LayerNormalization(dtype="f2"), ValueError, "dtype: got 'f2'"),
        (lambda: untyped.Embedding(0, 2), ValueError, "input_dim: got 0"),
        (lambda: untyped.Embedding(2, 0), ValueError, "output_dim: got 0"),
        (
            lambda: untyped.Embedding(2**20, 2**20),
            ValueError,
            "would have .* parameters",
        ),
        (lambda: untyped.Embedding(2, 2, mask_zero=1), TypeError, "mask_zero: got 1"),
        (
            lambda: untyped.Embedding(2, 2, embeddings_initializer="he"),
            ValueError,
            "embeddings_initializer: got 'he'",
        ),
        (
            lambda: untyped.Embedding(2, 2, embeddings_regularizer="he"),
            ValueError,
            "embeddings_regularizer: got 'he'",
        ),
        (lambda: untyped.RepeatVector(0), ValueError, "n: got 0"),
        (
            lambda: untyped.Masking(np.nan),
            ValueError,
            "mask_value: got nan, expected a fin",
        ),
        (
            lambda: untyped.Masking("0"),
            TypeError,
            "mask_value: got '0', expected a fin",
        ),
        (lambda: untyped.Reshape(3), TypeError, "target_shape: got 3, expected sizes"),
        (lambda: untyped.Reshape((2.0,)), TypeError, "target_shape: got 2.0"),
        (lambda: untyped.Reshape((-2,)), ValueError, "target_shape: got -2"),
        (lambda: untyped.Reshape((-1, -1)), ValueError, "expected one -1 at most"),
        (
            lambda: untyped.TimeDistributed("gru"),
            TypeError,
            "layer: got 'gru', expected a",
        ),
        (
            lambda: untyped.TimeDistributed(untyped.GRU(2, return_state=True)),
            ValueError,
            "layer: a return_state cannot be passed on",
        ),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_time_distributed_takes_a_new_layer() -> None:
    built = layers.Dense(2)
    built.build(3)
    with pytest.raises(ValueError, match=r"layer: Dense\(2\) is built already"):
        layers.TimeDistributed(built)


@pytest.mark.parametrize(
    ("layer", "shape", "dims"),
    [
        (layers.Flatten(), (), r"\(N, \.\.\.\)"),
        (layers.RepeatVector(2), (2, 3, 4), r"\(N, C\)"),
        (layers.Masking(), (2, 3), r"\(N, T, C\)"),
        (layers.GlobalAveragePooling1D(), (2, 3), r"\(N, T, C\)"),
        (layers.GlobalMaxPooling1D(), (2, 3), r"\(N, T, C\)"),
        (layers.TimeDistributed(layers.Flatten()), (2,), r"\(N, T, \.\.\.\)"),
    ],
)
def test_wrong_shapes_are_named(
    layer: gf.layers.Layer, shape: tuple[int, ...], dims: str
) -> None:
    for call in (layer.output_shape, lambda s: layer(np.ones(s))):
        with pytest.raises(ValueError, match=f"x: got shape .*, expected {dims}"):
            call(shape)


def test_time_distributed_names_the_shape_that_it_was_given() -> None:
    layer = layers.TimeDistributed(layers.Dense(3))
    message = r"x: got shape \(2, 4\); of a step alone, x: got shape \(None,\), expect"
    for call in (layer.output_shape, lambda s: layer(np.ones(s, np.float32))):
        with pytest.raises(ValueError, match=message):
            call((2, 4))


# Against PyTorch


def test_layers_agree_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, dy = rng.normal(size=(4, 6, 5)), rng.normal(size=(4, 6, 5))
    theirs_norm = torch.nn.LayerNorm(5, eps=1e-3, dtype=torch.float64)
    ours_norm = layers.LayerNormalization(dtype="float64")
    ours_norm(x)
    scramble(ours_norm, rng)
    with torch.no_grad():
        theirs_norm.weight.copy_(torch.tensor(ours_norm.weights["gamma"]))
        theirs_norm.bias.copy_(torch.tensor(ours_norm.weights["beta"]))
    for ours, theirs in (
        (layers.Softmax(), torch.nn.Softmax(-1)),
        (ours_norm, theirs_norm),
    ):
        xt = torch.tensor(x, requires_grad=True)
        yt = theirs(xt)
        yt.backward(torch.tensor(dy))
        y, context = ours.forward(x)
        dx, grads = ours.backward(dy, context)
        np.testing.assert_allclose(y, yt.detach().numpy(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(dx, xt.grad.numpy(), rtol=1e-10, atol=1e-13)
    gamma, beta = theirs_norm.weight.grad.numpy(), theirs_norm.bias.grad.numpy()
    np.testing.assert_allclose(grads["gamma"], gamma, rtol=1e-12)
    np.testing.assert_allclose(grads["beta"], beta, rtol=1e-12)


def test_embedding_agrees_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    ours = layers.Embedding(7, 3, dtype="float64", seed=0)
    x, dy = rng.integers(0, 7, (4, 6)), rng.normal(size=(4, 6, 3))
    y, context = ours.forward(x)
    weight = torch.tensor(ours.weights["weight"].copy(), requires_grad=True)
    yt = torch.nn.functional.embedding(torch.tensor(x), weight)
    yt.backward(torch.tensor(dy))
    np.testing.assert_array_equal(y, yt.detach().numpy())
    gradient = ours.backward(dy, context)[1]["weight"].to_dense()
    np.testing.assert_allclose(gradient, weight.grad.numpy(), rtol=1e-12, atol=1e-14)
