"""Dense, activations, Dropout and Flatten: against formulas, and their rules."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import grufast as gf
import reference
from grufast import _core, layers
from reference import Array
from tolerances import DTYPES, Dtype, assert_close

ACTIVATIONS = tuple(reference.ACTIVATIONS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def exact(a: Array) -> Array:
    return a.astype(np.float64)


# Dense


@each_activation
@each_dtype
@pytest.mark.parametrize(
    ("rows", "inputs", "units"),
    [((4,), 3, 5), ((1,), 1, 1), ((33,), 17, 8), ((3, 6), 16, 31), ((2, 3, 4), 5, 2)],
)
def test_dense_is_right(
    rng: np.random.Generator,
    rows: tuple[int, ...],
    inputs: int,
    units: int,
    dtype: Dtype,
    activation: Any,
) -> None:
    layer = layers.Dense(units, activation, dtype=dtype, initializer="torch", seed=1)
    x = rng.normal(size=(*rows, inputs)).astype(dtype)
    dy = rng.normal(size=(*rows, units)).astype(dtype)
    y, context = layer.forward(x)
    dx, grads = layer.backward(dy, context)
    np.testing.assert_array_equal(layer(x), y)

    weight, bias = exact(layer.weights["weight"]), exact(layer.weights["bias"])
    assert (weight.shape, bias.shape) == ((units, inputs), (units,))
    wide = exact(x), weight, bias
    y_exact = reference.dense_forward(*wide, activation)
    dx_exact, dweight, dbias = reference.dense_backward(*wide, exact(dy), activation)
    longest = max(int(np.prod(rows)), inputs, units)
    floor = 1 / units  # a few entries may all cancel
    assert_close("y", y, y_exact, "forward", inputs, floor)
    for name, actual, expected in (
        ("dx", dx, dx_exact),
        ("dweight", grads["weight"], dweight),
        ("dbias", grads["bias"], dbias),
    ):
        floor = float(np.prod(rows)) ** 0.5 / units
        assert_close(name, actual, expected, "backward", longest, floor)


@pytest.mark.parametrize("rows", [(0,), (0, 5), (5, 0)])
def test_dense_takes_no_rows(rows: tuple[int, ...]) -> None:
    layer = layers.Dense(3)
    y, context = layer.forward(np.zeros((*rows, 2), np.float32))
    dx, grads = layer.backward(np.zeros((*rows, 3), np.float32), context)
    assert (y.shape, dx.shape) == ((*rows, 3), (*rows, 2))
    assert not any(grad.any() for grad in grads.values())


def test_dense_reads_any_layout(rng: np.random.Generator) -> None:
    layer = layers.Dense(4, "tanh", seed=0)
    x = rng.normal(size=(6, 5, 3)).astype(np.float32)
    dy = rng.normal(size=(6, 5, 4)).astype(np.float32)

    def results(x: Array, dy: Array) -> tuple[bytes, ...]:
        y, context = layer.forward(x)
        dx, grads = layer.backward(dy, context)
        return tuple(a.tobytes() for a in (y, dx, *grads.values()))

    expected = results(x, dy)
    for change in (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    ):
        assert results(change(x), change(dy)) == expected


@pytest.mark.parametrize("initializer", ["keras", "torch"])
def test_first_weights_stay_within_their_limits(initializer: Any) -> None:
    layer = layers.Dense(200, initializer=initializer, seed=0)
    layer.build(100)
    weight, bias = layer.weights["weight"], layer.weights["bias"]
    limit = {"keras": (6 / 300) ** 0.5, "torch": 0.1}[initializer]
    assert 0.99 * limit < np.abs(weight).max() <= limit
    assert bias.any() == (initializer == "torch")


def test_dense_can_be_copied() -> None:
    layer = layers.Dense(2, "relu", seed=0)
    layer.build(3)
    x = np.ones((1, 3), np.float32)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(same) == repr(layer) == "Dense(2, activation='relu', seed=0)"
        np.testing.assert_array_equal(same(x), layer(x))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0, 2.0]], TypeError, "x: got list, expected a NumPy array of float32"),
        (None, TypeError, "x: got None, expected a NumPy array of float32"),
        (np.ones((2, 3)), TypeError, 'float64, expected float32; use x.astype."float3'),
        (np.ones((2, 3), int), TypeError, "x: got an array of int64, expected float32"),
        (np.ones((2, 3), ">f4"), TypeError, "x: got an array of >f4, expected float32"),
        (np.ma.ones((2, 3), "f4"), TypeError, "x: got a masked array"),
        (np.ones(3, "f4"), ValueError, r"x: got shape \(3,\), expected \(N, ..., C\)"),
        (np.ones((2, 4), "f4"), ValueError, r"\(2, 4\), .* with C = 3"),
    ],
)
def test_a_wrong_x_is_named(x: Any, error: type[Exception], message: str) -> None:
    layer = layers.Dense(2)
    layer.build(3)
    for call in (layer, layer.forward):
        with pytest.raises(error, match=message):
            call(x)


def test_a_wrong_dy_is_named_and_leaves_the_context_good() -> None:
    layer = layers.Dense(2)
    y, context = layer.forward(np.ones((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"dy: got shape .*, expected \(4, 5, 2\)$"):
        layer.backward(y[:, :4], context)
    with pytest.raises(TypeError, match="dy: got an array of float64"):
        layer.backward(y.astype(np.float64), context)
    layer.backward(y, context)
    with pytest.raises(ValueError, match="context: already used"):
        layer.backward(y, context)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 0}, ValueError, "units: got 0, expected an integer of at least 1"),
        ({"units": True}, TypeError, "units: got True"),
        ({"units": 2.0}, TypeError, "units: got 2.0"),
        ({"units": 10**10}, ValueError, "would have 2e[+]10 parameters"),
        ({"units": 1, "activation": "cube"}, ValueError, "activation: got 'cube'"),
        ({"units": 1, "dtype": "float16"}, ValueError, "dtype: got 'float16'"),
        ({"units": 1, "dtype": None}, ValueError, "dtype: got None"),
        ({"units": 1, "initializer": "he"}, ValueError, "initializer: got 'he'"),
        ({"units": 1, "seed": -1}, ValueError, "seed: got -1"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        layers.Dense(**arguments)


@pytest.mark.parametrize("dtype", [np.float64, np.dtype("f8"), "f8", "double"])
def test_a_dtype_may_be_written_as_numpy_does(dtype: Any) -> None:
    assert layers.Dense(1, dtype=dtype).dtype == "float64"


# Activations


#: As they are computed without cancellation, in long double.
EXACT: dict[str, Callable[[Array], Array]] = {
    "linear": lambda a: a,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.where(a > 0, a, 0),
    "hard_sigmoid": lambda a: np.clip(a + 3, 0, 6) / 6,
    "softsign": lambda a: a / (1 + np.abs(a)),
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "gelu": reference.ACTIVATIONS["gelu"].f,  # in double
    "swish": lambda a: a / (1 + np.exp(-a)),
    "softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
}


def whole_range(dtype: Dtype) -> Array:
    """Both signs: zero, denormals, all magnitudes, and what is between 0 and 100."""
    info = np.finfo(dtype)
    parts = (
        [0.0, float(info.smallest_subnormal), float(info.tiny) * 0.7],
        np.geomspace(float(info.tiny), float(info.max) / 2, 3001),
        np.geomspace(1e-6, 100, 4001),
        np.linspace(0, 40, 8001),
    )
    a = np.concatenate(parts).astype(dtype)
    return np.concatenate([-a, a])


@each_activation
@each_dtype
@pytest.mark.usefixtures("isa")
def test_activations_are_accurate_over_the_whole_range(
    dtype: Dtype, activation: Any
) -> None:
    a, info = whole_range(dtype), np.finfo(dtype)
    y = layers.Activation(activation)(a)
    wide = a.astype(np.longdouble)
    with np.errstate(over="ignore"):
        exact = EXACT[activation](wide)
    allowed = np.full(a.shape, 4.0)
    if activation == "gelu":  # an error of an exponent is one of the result
        allowed += np.clip(wide, -100, 0) ** 2
    # Exponentials below the smallest normal number count as 0.
    floor = 2 * info.tiny * np.maximum(1, np.abs(wide))
    error = np.abs(y - exact)
    wrong = error > np.maximum(allowed * info.eps * np.abs(exact), floor)
    assert not wrong.any(), (a[wrong][:5], y[wrong][:5], exact[wrong][:5])


@each_activation
@each_dtype
@pytest.mark.usefixtures("isa")
def test_slopes_are_accurate_over_the_whole_range(
    dtype: Dtype, activation: Any
) -> None:
    a, info = whole_range(dtype), np.finfo(dtype)
    kinks = {"relu": [0], "elu": [], "hard_sigmoid": [-3, 3]}.get(activation, [])
    a = a[~np.isin(a, kinks)]
    layer = layers.Activation(activation)
    _, context = layer.forward(a)
    dx, _ = layer.backward(np.ones_like(a), context)
    wide = a.astype(np.longdouble)
    if activation in ("gelu", "swish"):  # their limits, without 0 times infinity
        wide = np.clip(wide, -50, 50)
    exact = reference.ACTIVATIONS[activation].derivative(wide)
    error = np.abs(dx - exact)
    assert error.max() <= 10 * info.eps, (a[error.argmax()], error.max() / info.eps)


@each_activation
@each_dtype
def test_slopes_at_infinity_are_their_limits(dtype: Dtype, activation: Any) -> None:
    layer = layers.Activation(activation)
    _, context = layer.forward(np.array([-np.inf, np.inf], dtype))
    dx, _ = layer.backward(np.ones(2, dtype), context)
    if activation == "softsign":  # whose value there is NaN
        assert np.isnan(dx).all()
        return
    low = {"linear": 1}.get(activation, 0)
    high = {"tanh": 0, "sigmoid": 0, "hard_sigmoid": 0}.get(activation, 1)
    np.testing.assert_allclose(dx, [low, high], atol=2 * float(np.finfo(dtype).tiny))


@each_activation
@each_dtype
@pytest.mark.usefixtures("isa")
def test_activations_take_nan_and_infinity_as_numpy_does(
    dtype: Dtype, activation: Any
) -> None:
    a = np.array([np.nan, np.inf, -np.inf], dtype)
    with np.errstate(invalid="ignore"):
        exact = reference.ACTIVATIONS[activation].f(a.astype(np.float64))
    assert_close("y", layers.Activation(activation)(a), exact, "forward")


@pytest.mark.parametrize("activation", ["linear", "tanh", "softsign"])
@each_dtype
def test_odd_activations_are_odd_to_the_bit(dtype: Dtype, activation: Any) -> None:
    layer, a = layers.Activation(activation), whole_range(dtype)
    assert layer(-a).tobytes() == (-layer(a)).tobytes()


@each_activation
def test_the_number_of_threads_changes_no_bit(
    rng: np.random.Generator, keep_num_threads: None, activation: Any
) -> None:
    layer = layers.Activation(activation)
    a, dy = rng.normal(size=(2, 100_003)).astype(np.float32)
    results = []
    for threads in (1, 3):
        gf.set_num_threads(threads)
        y, context = layer.forward(a)
        dx, _ = layer.backward(dy, context)
        results.append(y.tobytes() + dx.tobytes())
    assert results[0] == results[1]


def test_the_core_names_what_is_wrong_with_an_activation() -> None:
    a = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="activation: got 'selu', expected one of: li"):
        _core.activate("selu", a)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="activation: got 'selu', expected one of: li"):
        _core.activate_backward("selu", a, a)  # type: ignore[arg-type]
    for x in (a[None], a[::2]):
        with pytest.raises(ValueError, match="x: "):
            _core.activate("tanh", x)
    with pytest.raises(TypeError, match="x: got list"):
        _core.activate("tanh", [1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="kept: got dtype int64"):
        _core.activate_backward("tanh", np.ones(3, int), a)
    with pytest.raises(TypeError, match="dy: got dtype float64"):
        _core.activate_backward("tanh", a, a.astype(np.float64))
    with pytest.raises(ValueError, match=r"dy: got shape \(2,\), expected \(3,\)"):
        _core.activate_backward("tanh", a, a[:2])


def test_activations_agree_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs: dict[str, Callable[[Any], Any]] = {
        "linear": lambda a: a,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "hard_sigmoid": functional.hardsigmoid,
        "softsign": functional.softsign,
        "elu": functional.elu,
        "gelu": functional.gelu,
        "swish": functional.silu,
        "softplus": functional.softplus,
    }
    assert theirs.keys() == reference.ACTIVATIONS.keys()
    a, dy = 3 * rng.normal(size=(2, 500))
    for activation, f in theirs.items():
        tensor = torch.tensor(a, requires_grad=True)
        value = f(tensor)
        value.backward(torch.tensor(dy))
        layer = layers.Activation(activation)  # type: ignore[arg-type]
        y, context = layer.forward(a)
        dx, _ = layer.backward(dy, context)
        # torch leaves out what is below exp(-20) in softplus.
        np.testing.assert_allclose(y, value.detach().numpy(), rtol=1e-9, atol=1e-14)
        # torch's slope of hardsigmoid is a sixth in float32.
        rtol = 1e-7 if activation == "hard_sigmoid" else 1e-8
        np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=rtol, atol=1e-13)


# Dropout


@each_dtype
def test_dropout_zeroes_its_part_and_keeps_the_mean(dtype: Dtype) -> None:
    layer = layers.Dropout(0.25, seed=0)
    x = np.ones((500, 400), dtype)
    y, context = layer.forward(x)
    assert y.dtype == dtype
    assert set(np.unique(y)) == {0, np.dtype(dtype).type(1 / 0.75)}
    # Five standard deviations of the mean of 200 000 draws.
    assert abs(np.mean(y == 0) - 0.25) < 5 * (0.25 * 0.75 / y.size) ** 0.5
    dx, grads = layer.backward(3 * x, context)
    np.testing.assert_array_equal(dx, 3 * y)
    assert grads == {}


def test_dropout_does_nothing_at_inference() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(layers.Dropout(0.9)(x), x)


def test_dropout_of_rate_zero_keeps_all() -> None:
    x = np.ones((50, 50), np.float32)
    y, _ = layers.Dropout(0).forward(x)
    np.testing.assert_array_equal(y, x)


def test_dropout_masks_follow_the_seed() -> None:
    x = np.ones((50, 50), np.float32)

    def masks(seed: int) -> bytes:
        layer = layers.Dropout(0.5, seed=seed)
        first, second = layer.forward(x)[0], layer.forward(x)[0]
        assert (first != second).any()
        return bytes(first.tobytes() + second.tobytes())

    assert masks(1) == masks(1) != masks(2)


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan"), "0.5", True, None])
def test_a_rate_is_a_number_below_one(rate: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"rate: got .* in \[0, 1\)"):
        layers.Dropout(rate)


# GaussianNoise


@each_dtype
def test_noise_is_normal_in_training_alone(dtype: Dtype) -> None:
    layer = layers.GaussianNoise(0.25, seed=0)
    x = np.full((500, 400), 3, dtype)
    np.testing.assert_array_equal(layer(x), x)
    y, context = layer.forward(x)
    assert y.dtype == dtype
    noise = (exact(y) - 3) / 0.25
    # Five standard deviations of mean, variance and kurtosis of 200 000 draws.
    assert abs(noise.mean()) < 5 / noise.size**0.5
    assert abs((noise**2).mean() - 1) < 5 * (2 / noise.size) ** 0.5
    assert abs((noise**4).mean() - 3) < 5 * (96 / noise.size) ** 0.5
    dx, grads = layer.backward(y, context)
    np.testing.assert_array_equal(dx, y)
    assert grads == {}


def test_noise_follows_the_seed() -> None:
    x = np.zeros((5, 4, 2), np.float32)
    same = [layers.GaussianNoise(1, seed=2).forward(x)[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (layers.GaussianNoise(1, seed=3).forward(x)[0] != same[0]).any()
    weights = []
    for seed in (0, 0, 1):
        model = gf.Sequential([layers.GaussianNoise(1), layers.GRU(2)], seed=0)
        model.compile()
        model.fit(x, np.ones((5, 2), np.float32), seed=seed)
        weights.append(model.weights["layers.1.weight_ih"].tobytes())
    assert weights[0] == weights[1] != weights[2]


def test_noise_of_zero_keeps_all_and_of_less_is_none() -> None:
    x = np.ones((3, 2))
    np.testing.assert_array_equal(layers.GaussianNoise(0).forward(x)[0], x)
    for wrong in (-0.1, float("nan"), "1", None):
        with pytest.raises((TypeError, ValueError), match="stddev: got"):
            layers.GaussianNoise(wrong)  # type: ignore[arg-type]


# What all layers can be given


def test_other_names_of_activations() -> None:
    assert layers.Dense(1, "silu").activation == "swish"
    assert layers.Dense(1, None).activation == "linear"
    assert repr(layers.Activation("silu")) == "Activation('swish')"
    given: dict[str, Any] = {"activation": None, "recurrent_activation": "silu"}
    gru = layers.GRU(2, **given)
    assert (gru.activation, gru.recurrent_activation) == ("linear", "swish")
    with pytest.raises(ValueError, match="activation: got 'softmax', expected one of"):
        layers.GRU(2, activation="softmax")  # type: ignore[arg-type]


MAKES: dict[str, Any] = {
    "Dense": lambda **o: layers.Dense(2, **o),
    "Activation": lambda **o: layers.Activation("tanh", **o),
    "Softmax": layers.Softmax,
    "Dropout": lambda **o: layers.Dropout(0.1, **o),
    "GaussianNoise": lambda **o: layers.GaussianNoise(0.1, **o),
    "LayerNormalization": layers.LayerNormalization,
    "Embedding": lambda **o: layers.Embedding(3, 2, **o),
    "Flatten": layers.Flatten,
    "Reshape": lambda **o: layers.Reshape((-1,), **o),
    "RepeatVector": lambda **o: layers.RepeatVector(2, **o),
    "Masking": layers.Masking,
    "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": layers.GlobalMaxPooling1D,
    "TimeDistributed": lambda **o: layers.TimeDistributed(layers.Flatten(), **o),
    "Bidirectional": lambda **o: layers.Bidirectional(layers.GRU(2), **o),
    "GRU": lambda **o: layers.GRU(2, **o),
    "GRUD": lambda **o: layers.GRUD(2, **o),
    "LSTM": lambda **o: layers.LSTM(2, **o),
    "MGU": lambda **o: layers.MGU(2, **o),
    "JordanRNN": lambda **o: layers.JordanRNN(2, **o),
    "SimpleRNN": lambda **o: layers.SimpleRNN(2, **o),
}


@pytest.mark.parametrize("name", MAKES)
def test_layers_have_a_name_and_the_inputs_shape(name: str) -> None:
    make = MAKES[name]
    layer = make(name="it", input_shape=(4, 6))
    assert (layer.name, layer.input_shape) == ("it", (4, 6))
    assert layer.config["name"] == "it"
    assert repr(layer).endswith("name='it')")
    assert make().name is make().input_shape is None
    assert repr(make()).count("name") == 0
    for wrong, error, message in (
        ({"name": 3}, TypeError, "name: got 3, expected a name"),
        ({"name": ""}, TypeError, "name: got '', expected a name"),
        ({"input_shape": 3}, TypeError, "input_shape: got 3, expected a tuple"),
        ({"input_shape": ()}, TypeError, r"input_shape: got \(\), expected a tuple"),
        ({"input_shape": (-1,)}, ValueError, "input_shape: got -1, expected an int"),
        ({"titel": "it"}, TypeError, rf"{name}: unknown arguments \['titel'\]"),
    ):
        with pytest.raises(error, match=message):
            make(**wrong)


def test_every_layer_is_tested_for_its_name() -> None:
    assert MAKES.keys() == layers.LAYERS.keys()


# Without biases


def test_dense_without_bias_is_right(rng: np.random.Generator) -> None:
    layer = layers.Dense(5, "tanh", use_bias=False, dtype="float64", seed=1)
    x, dy = rng.normal(size=(7, 3)), rng.normal(size=(7, 5))
    y, context = layer.forward(x)
    (weight,) = layer.weights.values()
    wide = x, weight, np.zeros(5)
    np.testing.assert_allclose(y, reference.dense_forward(*wide, "tanh"), rtol=1e-12)
    dx, grads = layer.backward(dy, context)
    dx_exact, dweight, _ = reference.dense_backward(*wide, dy, "tanh")
    np.testing.assert_allclose(dx, dx_exact, rtol=1e-12, atol=1e-14)
    assert grads.keys() == {"weight"}
    np.testing.assert_allclose(grads["weight"], dweight, rtol=1e-12, atol=1e-14)


CELLS: dict[str, Any] = {
    "GRU": layers.GRU,
    "GRU, reset before": lambda n, **o: layers.GRU(n, reset_after=False, **o),
    "GRU, normalized": lambda n, **o: layers.GRU(n, layer_norm=True, **o),
    "GRUD": layers.GRUD,
    "LSTM": layers.LSTM,
    "LSTM, single": lambda n, **o: layers.LSTM(n, bias="single", **o),
    "MGU": layers.MGU,
    "SimpleRNN": layers.SimpleRNN,
    "both ways": lambda n, use_bias=True, **o: layers.Bidirectional(
        layers.GRU(n, use_bias=use_bias, **o)
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers_without_biases_are_those_with_zeros(
    name: str, rng: np.random.Generator
) -> None:
    without = CELLS[name](4, use_bias=False, seed=0)
    with_zeros = CELLS[name](4, seed=0)
    for layer in (without, with_zeros):
        layer.build(3)
    names = [n for n in with_zeros.weights if not n.startswith("bias_")]
    assert list(without.weights) == names
    zeros = {n: np.zeros_like(w) for n, w in with_zeros.weights.items()}
    with_zeros.set_weights({**zeros, **without.weights})
    size = 9 if name == "GRUD" else 3
    x = rng.normal(size=(5, 6, size)).astype(np.float32)
    results = []
    for layer in (without, with_zeros):
        y, context = layer.forward(x)
        dx, grads = layer.backward(np.ones_like(y), context)
        own = b"".join(grads[n].tobytes() for n in names)
        results.append((y.tobytes(), layer(x).tobytes(), dx.tobytes(), own))
        assert list(grads) == list(layer.weights)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(2, use_bias=False, bias_regularizer="l2", seed=0),
        layers.GRU(2, use_bias=False, bias_regularizer="l2", seed=0),
        layers.LSTM(2, bias="single", bias_regularizer="l2", seed=0),
    ],
)
def test_penalties_on_biases_that_are_not_there_are_none(layer: layers.Layer) -> None:
    model = gf.Sequential([layer])
    model.compile()
    x = np.ones((3, 4, 2), np.float32)
    shape = model.predict(x).shape
    assert layer.penalties().keys() == layer.weights.keys() & {"bias_ih"}
    model.fit(x, np.ones(shape, np.float32))


def test_a_jordan_network_has_biases() -> None:
    with pytest.raises(ValueError, match=r"bias: .*, got use_bias=False"):
        layers.JordanRNN(2, use_bias=False)
    with pytest.raises(TypeError, match="use_bias: got 1, expected True or False"):
        layers.Dense(2, use_bias=1)  # type: ignore[arg-type]


# Flatten


@pytest.mark.parametrize("shape", [(4, 10, 3), (4, 3), (4,), (0, 2, 3), (2, 0, 3)])
def test_flatten_keeps_rows(shape: tuple[int, ...]) -> None:
    layer = layers.Flatten()
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    y, context = layer.forward(x)
    assert y.shape == (shape[0], int(np.prod(shape[1:]))) == layer.output_shape(shape)
    np.testing.assert_array_equal(y.ravel(), x.ravel())
    dx, grads = layer.backward(y, context)
    np.testing.assert_array_equal(dx, x)
    assert grads == {}


@pytest.mark.parametrize("layer", [layers.Flatten(), layers.Dropout(0.5)])
def test_layers_without_weights_take_no_integers(layer: layers.Layer) -> None:
    with pytest.raises(
        TypeError, match="x: got an array of int64, expected float32 or"
    ):
        layer(np.ones((2, 2), np.int64))
    assert layer.weights == {}
    layer.set_weights({})
    with pytest.raises(ValueError, match="unknown"):
        layer.set_weights({"weight": np.ones(1)})
