"""Sequential: gradients, training, its rules, and the errors it gives."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from reference import Array

layers = gf.layers


def sine(rows: int = 200, steps: int = 10) -> tuple[Array, Array]:
    """Windows of a sine and the value after each."""
    wave = np.sin(np.arange(rows + steps, dtype=np.float32) / 5)
    windows = np.lib.stride_tricks.sliding_window_view(wave, steps + 1)
    return windows[:, :steps, None], windows[:, steps:]


def small(seed: int | None = 0, dropout: float = 0.0) -> gf.Sequential:
    model = gf.Sequential(
        [
            layers.GRU(6, return_sequences=True),
            layers.Dropout(dropout),
            layers.GRU(5),
            layers.Dense(1),
        ],
        seed=seed,
    )
    model.compile(gf.optimizers.Adam(1e-2), "mse", ["mae"])
    return model


def bits(model: gf.Sequential) -> bytes:
    return b"".join(weight.tobytes() for weight in model.weights.values())


# Gradients


@pytest.mark.parametrize("loss", ["mse", "mae"])
@pytest.mark.parametrize(
    "stack",
    [
        lambda: [
            layers.GRU(3, return_sequences=True, dtype="float64"),
            layers.GRU(4, reset_after=False, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ],
        lambda: [
            layers.Dense(3, "tanh", dtype="float64"),
            layers.GRU(3, return_sequences=True, dtype="float64"),
            layers.Flatten(),
            layers.Dense(4, "sigmoid", dtype="float64"),
            layers.Dense(2, "relu", dtype="float64", initializer="torch"),
        ],
        lambda: [layers.Flatten(), layers.Dense(2, dtype="float64")],
    ],
    ids=["gru", "mixed", "flat"],
)
def test_training_descends_the_gradient_of_the_loss(
    rng: np.random.Generator, stack: Callable[[], list[gf.layers.Layer]], loss: str
) -> None:
    """One SGD step moves every weight by the central difference of the loss."""
    model = gf.Sequential(stack(), seed=3)
    model.compile(gf.optimizers.SGD(1.0), loss)
    x, y = rng.normal(size=(5, 4, 2)), 3 + rng.normal(size=(5, 2))
    model.build(x.shape)
    start = model.get_weights()
    model.fit(x, y, batch_size=5)
    after = model.get_weights()
    step = 1e-6
    for name, weight in start.items():
        slope = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            values = []
            for sign in (1, -1):
                moved = weight.copy()
                moved[index] += sign * step
                model.set_weights({**start, name: moved})
                values.append(model.evaluate(x, y))
            slope[index] = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(weight - after[name], slope, atol=1e-8, rtol=1e-6)


def test_training_equals_the_explicit_loop() -> None:
    x, y = (np.ascontiguousarray(a) for a in sine(64))
    model = small()
    model.build(x.shape)
    stack = [copy.deepcopy(model.layers[index]) for index in (0, 2, 3)]
    model.fit(x, y, batch_size=16, shuffle=False, epochs=2)

    optimizer = gf.optimizers.Adam(1e-2)
    for _ in range(2):
        for first in range(0, len(x), 16):
            part = slice(first, first + 16)
            output, contexts = x[part], []
            for layer in stack:
                output, context = layer.forward(output)
                contexts.append(context)
            dy = gf.losses.mse.gradient(y[part], output)
            updates = []
            for layer, context in zip(stack[::-1], contexts[::-1], strict=True):
                dy, grads = layer.backward(dy, context)
                updates.append((layer, grads))
            for layer, grads in updates:
                optimizer.update(layer, grads)
    for layer, index in zip(stack, (0, 2, 3), strict=True):
        for name, weight in layer.weights.items():
            np.testing.assert_array_equal(weight, model.layers[index].weights[name])


# A loop of one's own


def wide() -> gf.Sequential:
    """Every kind of layer, in float64."""
    gru = layers.GRU(3, return_sequences=True, dtype="float64")
    return gf.Sequential(
        [
            layers.Dense(3, "tanh", dtype="float64"),
            layers.GRU(4, return_sequences=True, dtype="float64", memory="low"),
            layers.Dropout(0.4, seed=5),
            layers.Bidirectional(gru, "mul"),
            layers.GRU(2, return_sequences=True, reset_after=False, dtype="float64"),
            layers.Flatten(),
            layers.Dense(2, "sigmoid", dtype="float64"),
        ],
        seed=3,
    )


def test_backward_gives_the_gradients_of_forward(rng: np.random.Generator) -> None:
    """By central differences, with the same mask of dropout for every evaluation."""
    x, dy = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 2))
    model = wide()
    model.build(x.shape)
    weights = model.get_weights()

    def evaluated(x: Array, changed: dict[str, Array]) -> Any:
        fresh = wide()  # its dropout starts from its seed
        fresh.build(x.shape)
        fresh.set_weights({**weights, **changed})
        y, context = fresh.forward(x)
        return float((dy * y).sum()), fresh, context

    _, fresh, context = evaluated(x, {})
    dx, grads = fresh.backward(dy, context)
    assert dx.shape == x.shape
    assert (fresh(x) != fresh.forward(x)[0]).any()  # dropout is on in forward alone
    assert list(grads) == list(weights)
    step = 1e-6
    for name, gradient in {"x": dx, **grads}.items():
        array = x if name == "x" else weights[name]
        slope = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * step
                changed = {} if name == "x" else {name: moved}
                values.append(evaluated(moved if name == "x" else x, changed)[0])
            slope[index] = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(gradient, slope, atol=1e-8, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "optimizer",
    [lambda: gf.optimizers.Adam(1e-2), lambda: gf.optimizers.SGD(0.1, momentum=0.9)],
    ids=["Adam", "SGD"],
)
def test_an_update_of_the_model_is_what_fit_does_with_a_batch(
    optimizer: Callable[[], Any],
) -> None:
    x, y = (np.ascontiguousarray(a) for a in sine(40))
    fitted, own = small(), small()
    fitted.compile(optimizer(), "mse")
    mine = optimizer()
    for _ in range(3):
        fitted.fit(x, y, batch_size=40, shuffle=False)
        y_pred, context = own.forward(x)
        _, grads = own.backward(gf.losses.mse.gradient(y, y_pred), context)
        assert list(grads) == list(own.weights)
        mine.update(own, grads)
        assert bits(own) == bits(fitted)


def test_the_first_forward_builds_the_model() -> None:
    x, _ = sine()
    forwarded, built = small(), small()
    built.build(x.shape)
    y, context = forwarded.forward(x)
    assert forwarded.built
    np.testing.assert_array_equal(y, built(x))
    dx, grads = forwarded.backward(y, context)
    assert (dx.shape, dx.dtype.name) == (x.shape, "float32")
    assert {k: (g.shape, g.dtype) for k, g in grads.items()} == {
        k: (w.shape, w.dtype) for k, w in built.weights.items()
    }


def test_a_model_without_weights_has_gradients_for_x_alone(
    rng: np.random.Generator,
) -> None:
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    model = gf.Sequential([layers.Dropout(0.5, seed=0), layers.Flatten()])
    y, context = model.forward(x)
    dx, grads = model.backward(np.ones_like(y), context)
    assert grads == {}
    np.testing.assert_array_equal(dx * x, y.reshape(x.shape))


def test_a_context_of_a_model_is_good_for_one_backward_of_it() -> None:
    x, _ = sine(20)
    model, other = small(), small()
    other.build(x.shape)
    y, context = model.forward(x)
    with pytest.raises(ValueError, match=r"context: .* another layer's forward"):
        other.backward(y, context)
    with pytest.raises(ValueError, match=r"context: .* another layer's forward"):
        model.layers[-1].backward(y, context)
    wrong: list[tuple[Any, type[Exception]]] = [
        *((y[:1], ValueError), (y[:, 0], ValueError), (y[..., None], ValueError)),
        *((y.astype(np.float64), TypeError), (y.tolist(), TypeError)),
        (None, TypeError),
    ]
    for dy, error in wrong:
        with pytest.raises(error, match=r"^dy: got"):
            model.backward(dy, context)
    model.backward(y, context)  # after all that, it still can
    with pytest.raises(ValueError, match="context: already used"):
        model.backward(y, context)
    hidden, context_of_layer = model.layers[0].forward(x)
    with pytest.raises(ValueError, match=r"context: .* another layer's forward"):
        model.backward(hidden, context_of_layer)
    for no_context in (None, 3, (x,), "context"):
        with pytest.raises(TypeError, match="context: got"):
            model.backward(y, no_context)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.set_weights(model.weights),
        lambda model: model.layers[0].set_weights(model.layers[0].weights),
        lambda model: model.layers[3].writable_weights(),
        lambda model: gf.optimizers.SGD(0.0).update(
            model, {k: np.zeros_like(w) for k, w in model.weights.items()}
        ),
        lambda model: model.fit(*sine(20)),
    ],
    ids=["set_weights", "a layer's", "writable_weights", "update", "fit"],
)
def test_a_context_from_before_a_change_of_weights_is_refused(
    change: Callable[[gf.Sequential], object],
) -> None:
    x, _ = sine(20)
    model = small()
    y, context = model.forward(x)
    change(model)
    with pytest.raises(ValueError, match="context: the weights have changed"):
        model.backward(y, context)


def test_forward_checks_x() -> None:
    model = small()
    for x, error in (
        (np.zeros((6, 4)), TypeError),
        (np.zeros((6, 4), np.float32), ValueError),
        ([[[1.0]]], TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match=r"^x: got"):
            model.forward(x)  # type: ignore[arg-type]
    assert not model.built


# Training


def test_it_learns_the_next_value_of_a_sine() -> None:
    x, y = sine(400)
    model = gf.Sequential([layers.GRU(16), layers.Dense(1)], seed=0)
    model.compile(gf.optimizers.Adam(1e-2), "mse", ["mae"])
    history = model.fit(x, y, epochs=30, validation_split=0.2, seed=0).history
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}
    assert {len(values) for values in history.values()} == {30}
    assert history["loss"][0] > 0.1
    assert history["val_loss"][-1] < 1e-3


@pytest.mark.parametrize("loss", ["mse", "mae"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_names_stand_for_losses_and_optimizers(optimizer: str, loss: str) -> None:
    x, y = sine()
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)], seed=0)
    model.compile(optimizer, loss)
    losses = model.fit(x, y, epochs=5, seed=0).history["loss"]
    assert losses == sorted(losses, reverse=True)


def test_same_seed_same_bits() -> None:
    x, y = sine()

    def trained(seed: int | None, fit_seed: int | None) -> bytes:
        model = small(seed, dropout=0.2)
        model.fit(x, y, epochs=3, validation_split=0.25, seed=fit_seed)
        return bits(model)

    assert trained(1, 2) == trained(1, 2)
    assert len({trained(*seeds) for seeds in ((1, 2), (2, 2), (1, 3))}) == 3
    assert trained(None, 2) != trained(None, 2)
    assert trained(1, None) != trained(1, None)


def test_same_seed_same_bits_in_another_process() -> None:
    code = (
        "import hashlib, numpy as np, grufast as gf\n"
        "L = gf.layers\n"
        "m = gf.Sequential([L.GRU(33), L.Dropout(0.1), L.Dense(1)], seed=5)\n"
        "m.compile()\n"
        "x = np.linspace(0, 1, 600, dtype='f4').reshape(50, 4, 3)\n"
        "m.fit(x, x[:, 0, :1], epochs=2, seed=6)\n"
        "w = b''.join(v.tobytes() for v in m.weights.values())\n"
        "print(hashlib.sha256(w).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != ""


def test_training_in_two_parts_gives_the_same_bits() -> None:
    x, y = sine()
    whole, parts = small(dropout=0.2), small(dropout=0.2)
    history = whole.fit(x, y, epochs=5, seed=1).history
    first = parts.fit(x, y, epochs=2, seed=1)
    second = parts.fit(x, y, epochs=5, initial_epoch=2, seed=1)
    assert bits(whole) == bits(parts)
    assert history["loss"] == first.history["loss"] + second.history["loss"]
    assert second.epoch == [2, 3, 4]


def test_the_layout_of_the_data_changes_no_bit() -> None:
    x, y = sine()
    results = set()
    for change in (np.ascontiguousarray, np.asfortranarray, lambda a: a):
        for shuffle in (True, False):
            model = small()
            model.fit(change(x), change(y), seed=0, shuffle=shuffle)
            results.add((shuffle, bits(model)))
    assert len(results) == 2


def test_batches_cover_every_row_once() -> None:
    seen: list[float] = []

    class Spy(gf.losses.MeanSquaredError):
        def value_and_gradient(
            self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
        ) -> tuple[float, Array]:
            seen.extend(y_true[:, 0].tolist())
            return super().value_and_gradient(y_true, y_pred, sample_weight)

    x = np.zeros((10, 1, 1), np.float32)
    y = np.arange(10, dtype=np.float32)
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", Spy())
    model.fit(x, y, batch_size=4, epochs=2, seed=0)
    first, second = seen[:10], seen[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second != sorted(second)
    seen.clear()
    model.fit(x, y, batch_size=100, shuffle=False)
    assert seen == list(range(10))


def test_the_split_takes_the_last_rows() -> None:
    x = np.zeros((10, 1, 1), np.float32)
    y = np.arange(10, dtype=np.float32)
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile(gf.optimizers.SGD(0.0), "mse")
    model.build(x.shape)
    history = model.fit(x, y, validation_split=0.3, seed=0).history
    assert history["loss"] == [pytest.approx(np.mean(y[:7] ** 2))]
    assert history["val_loss"] == [pytest.approx(np.mean(y[7:] ** 2))]
    data = x[:2], y[:2]
    history = model.fit(x, y, validation_split=0.3, validation_data=data).history
    assert history["loss"] == [pytest.approx(np.mean(y**2))]
    assert history["val_loss"] == [pytest.approx(0.5)]


def test_reported_losses_are_means_over_rows() -> None:
    """A last batch that is smaller weighs less."""
    x = np.zeros((5, 1, 1), np.float32)
    y = np.array([0, 0, 0, 0, 5], np.float32)
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile(gf.optimizers.SGD(0.0), "mse", ["mae"])
    history = model.fit(x, y, batch_size=4, shuffle=False).history
    assert history == {"loss": [pytest.approx(5)], "mae": [pytest.approx(1)]}


def test_dropout_is_off_outside_training() -> None:
    x, y = sine()
    model = small(dropout=0.5)
    model.compile(gf.optimizers.SGD(0.0), "mse")
    history = model.fit(x, y, validation_data=(x, y), seed=0).history
    assert history["val_loss"] == [model.evaluate(x, y)]
    assert history["loss"] != history["val_loss"]
    np.testing.assert_array_equal(model.predict(x), model.predict(x))


def test_metrics_are_functions() -> None:
    def worst(y_true: Array, y_pred: Array) -> float:
        return float(np.abs(y_true - y_pred).max())

    x, y = sine()
    model = small()
    model.compile("adam", gf.losses.MeanSquaredError(), [gf.metrics.mae, worst])
    history = model.fit(x, y, validation_data=(x, y), seed=0).history
    logs = model.evaluate(x, y, return_dict=True)
    assert list(logs) == ["loss", "mae", "worst"]
    assert logs["worst"] == np.abs(model.predict(x) - y).max()
    assert model.evaluate(x, y) == list(logs.values())
    assert history["val_worst"] == [logs["worst"]]


def test_a_loss_that_is_not_finite_warns_once() -> None:
    x, y = sine()
    model = small()
    with pytest.warns(RuntimeWarning, match="the loss is nan in epoch 1") as warned:
        model.fit(x, y * np.float32("nan"), epochs=3)
    assert len(warned) == 1
    assert warned[0].filename == __file__


# Use


@pytest.mark.parametrize("batch_size", [None, 1, 7, 200, 1000])
def test_predictions_do_not_depend_on_the_batch_size(batch_size: int | None) -> None:
    x, _ = sine()
    model = small()
    np.testing.assert_array_equal(model.predict(x, batch_size=batch_size), model(x))


def test_the_gradient_of_ones_own_loss_is_checked() -> None:
    class Own(gf.losses.MeanSquaredError):
        change: Callable[[Array], Array]

        def gradient(
            self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
        ) -> Array:
            return type(self).change(super().gradient(y_true, y_pred, sample_weight))

        value_and_gradient = gf.losses.Loss.value_and_gradient

    x, y = sine()
    y = np.repeat(y, 2, axis=1)
    weights = []
    for layout in (np.asfortranarray, np.ascontiguousarray):
        Own.change = layout
        model = gf.Sequential([layers.GRU(3), layers.Dense(2)], seed=0)
        model.compile("adam", Own())
        model.fit(x, y, seed=0)
        weights.append(bits(model))
    assert weights[0] == weights[1]
    wrong: list[tuple[Any, type[Exception]]] = [
        (np.ravel, ValueError),
        (lambda a: a.astype(np.float64), TypeError),
    ]
    for Own.change, error in wrong:
        with pytest.raises(error, match=r"loss\.gradient: got"):
            model.fit(x, y)


def test_large_predictions_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = sine()
    model = small()
    whole = model.predict(x)
    parts: list[int] = []
    infer = gf.Sequential._infer_masked

    def spy(model: gf.Sequential, x: Array) -> Any:
        parts.append(len(x))
        return infer(model, x)

    monkeypatch.setattr("grufast.model._MOST_ELEMENTS", 10 * 6 * 64)
    monkeypatch.setattr(gf.Sequential, "_infer_masked", spy)
    np.testing.assert_array_equal(model.predict(x), whole)
    assert parts == [64, 64, 64, 8]


def test_no_rows_and_any_number_of_steps_can_be_predicted() -> None:
    model = small()
    assert model.predict(np.zeros((0, 10, 1), np.float32)).shape == (0, 1)
    assert model.predict(np.zeros((2, 3, 1), np.float32)).shape == (2, 1)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_is_trained_by_itself(copied: Any) -> None:
    x, y = sine()
    model = small()
    model.fit(x, y, seed=0)
    before = bits(model)
    other = copied(model)
    assert bits(other) == before
    other.fit(x, y, seed=0)
    assert bits(other) != before == bits(model)
    prediction, context = other.forward(x)
    assert other.backward(prediction, context)[1].keys() == model.weights.keys()


def test_summary_counts_parameters() -> None:
    model = gf.Sequential(
        [
            layers.GRU(30, return_sequences=True),
            layers.Dropout(0.1),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    with pytest.raises(ValueError, match="the model is not built"):
        model.summary()
    model.build((None, 10, 4))
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    gru, dense = 3 * 30 * (4 + 30 + 2), 300 * 2 + 2
    assert [line.split() for line in lines if line[0] in "0123t"] == [
        ["0", "GRU", "(None,", "10,", "30)", f"{gru:,}"],
        ["1", "Dropout", "(None,", "10,", "30)", "0"],
        ["2", "Flatten", "(None,", "300)", "0"],
        ["3", "Dense", "(None,", "2)", str(dense)],
        ["total", f"{gru + dense:,}"],
    ]
    assert model.count_params() == gru + dense


def test_a_summary_makes_room_for_long_names() -> None:
    model = gf.Sequential(
        [
            layers.GRU(1000, return_sequences=True, name="the_first_one_of_them_all"),
            layers.GlobalAveragePooling1D(),
            layers.Reshape((10, 10, 10, 1)),
        ]
    )
    model.build((None, None, 4))
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    header, rule, first, second, third, *_, total = lines
    assert first.startswith("0  the_first_one_of_them_all (GRU) (None, None, 1000) ")
    assert {len(line) for line in lines} == {len(rule)}
    start = header.index("output shape")
    assert {line.index("(None,") for line in (first, second, third)} == {start}
    assert total.endswith(f" {model.count_params():,}")


# Layers that come one by one


def test_layers_added_one_by_one_make_the_same_model() -> None:
    x, y = sine()
    whole = small()
    whole.build(x.shape)
    firsts: Any = (
        [gf.Input((10, 1)), layers.GRU(6, return_sequences=True)],
        [layers.GRU(6, return_sequences=True, input_shape=(10, 1))],
        [layers.GRU(6, return_sequences=True, input_shape=(None, 1))],
    )
    for first in firsts:
        model = gf.Sequential(seed=0)
        for layer in first:
            model.add(layer)
        model.add(layers.Dropout(0.0))
        assert list(model.weights) == list(whole.weights)[:4]
        model.add(layers.GRU(5))
        model.add(layers.Dense(1))
        assert bits(model) == bits(whole)
    model.compile(gf.optimizers.Adam(1e-2), "mse", ["mae"])
    assert model.fit(x, y, seed=0).history == whole.fit(x, y, seed=0).history


def test_layers_come_and_go() -> None:
    x, y = sine()
    model = small()
    model.fit(x, y, seed=0)
    below = {k: w for k, w in model.get_weights().items() if "layers.3" not in k}
    dense = model.layers[-1]
    assert model.pop() is dense
    assert model.predict(x).shape == (200, 5)
    model.add(layers.Dense(2, "softmax"))
    assert {**model.get_weights(), **below}.keys() == model.weights.keys()
    for name, weight in below.items():
        np.testing.assert_array_equal(model.weights[name], weight)
    optimizer = gf.optimizers.Adam(1e-2)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, (y > 0)[:, 0], epochs=20, seed=0).history
    assert history["accuracy"][-1] > 0.9
    count = len(model.layers)
    with pytest.raises(ValueError, match=r"layers\[4\] \(GRU\): x: got shape"):
        model.add(layers.GRU(3))
    assert len(model.layers) == count
    assert model.predict(x).shape == (200, 2)
    while model.layers:
        model.pop()
    assert not model.built
    model.add(layers.Dense(1, dtype="float64"))
    assert model(np.ones((2, 3))).dtype == np.float64


def test_a_context_from_before_another_layer_is_refused() -> None:
    x, _ = sine(20)
    model = small()
    y, context = model.forward(x)
    last = model.pop()
    with pytest.raises(ValueError, match="context: the weights have changed"):
        model.backward(y, context)
    model.add(last)
    with pytest.raises(ValueError, match="context: the weights have changed"):
        model.backward(y, context)


def test_layers_are_found_by_name_and_index(tmp_path: Path) -> None:
    inner = layers.LSTM(4, return_sequences=True, name="inner")
    model = gf.Sequential(
        [
            layers.Masking(name="mask"),
            layers.Bidirectional(inner, name="both"),
            layers.TimeDistributed(layers.Dense(3), name="steps"),
            layers.LayerNormalization(name="normal"),
            layers.GaussianNoise(0.1, name="noise"),
            layers.Flatten(name="flat"),
            layers.Activation("tanh", name="squash"),
            layers.Dense(1, name="out"),
        ],
        seed=0,
    )
    model.build((None, 5, 2))
    names = ["mask", "both", "steps", "normal", "noise", "flat", "squash", "out"]
    model.save(tmp_path / "model")
    same = copy.deepcopy(model)
    for one in (model, same, gf.load(tmp_path / "model")):
        assert [layer.name for layer in one.layers] == names
        assert repr(one) == repr(model)
        for index, name in enumerate(names):
            assert one.get_layer(name) is one.layers[index]
            assert one.get_layer(index=index) is one.layers[index]
    for wrong in ({}, {"name": "in"}, {"index": 8}, {"name": "out", "index": 7}):
        with pytest.raises(ValueError, match=r"expected one of \['mask', .* below 8"):
            model.get_layer(**wrong)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    x, y = sine()
    model, other = small(0), small(1)
    model.fit(x, y, seed=0)
    model.save_weights(tmp_path / "model")
    other.load_weights(tmp_path / "model")
    assert bits(other) == bits(model)
    other.load_weights(tmp_path / "model")  # and where there are weights
    before = bits(other)
    wider = gf.Sequential([layers.GRU(7), layers.Dense(1)])
    wider.build(x.shape)
    wider.save(tmp_path / "wider")
    with pytest.raises(ValueError, match=r"weights: .*layers\.1\.weight"):
        other.load_weights(tmp_path / "wider")
    with pytest.raises(FileNotFoundError):
        other.load_weights(tmp_path / "nothing")
    assert bits(other) == before


def test_predictions_take_verbose_and_print_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, (x, y) = small(), data()
    verbose: Any
    for verbose in ("auto", 0, 1, 2, False, True):
        model.predict(x, verbose=verbose)
        model.evaluate(x, y, verbose=verbose)
    assert capsys.readouterr() == ("", "")
    for use in (model.predict, lambda x, **o: model.evaluate(x, y, **o)):
        with pytest.raises(ValueError, match="verbose: got 'yes', expected one of"):
            use(x, verbose="yes")  # type: ignore[arg-type]
    model.fit(x, y, verbose=False)
    assert capsys.readouterr() == ("", "")
    model.fit(x, y, verbose=True)
    assert "epoch 1/1" in capsys.readouterr().err


def test_weights_go_in_and_out_by_name() -> None:
    model = small()
    model.build((None, None, 1))
    assert list(model.weights)[:2] == ["layers.0.weight_ih", "layers.0.weight_hh"]
    assert list(model.weights)[-2:] == ["layers.3.weight", "layers.3.bias"]
    saved = model.get_weights()
    x, y = sine()
    model.fit(x, y)
    model.set_weights(saved)
    assert bits(model) == b"".join(weight.tobytes() for weight in saved.values())
    wrong = {**saved, "layers.3.bias": np.zeros(2, np.float32)}
    wrong["layers.0.weight_ih"] = saved["layers.0.weight_ih"] + 1
    with pytest.raises(ValueError, match=r"layers.3.bias: got shape \(2,\), .* \(1\)"):
        model.set_weights(wrong)
    np.testing.assert_array_equal(
        model.weights["layers.0.weight_ih"], saved["layers.0.weight_ih"]
    )


# Errors


def data(x: Any = None, y: Any = None, rows: int = 6) -> tuple[Any, Any]:
    x = np.zeros((rows, 4, 2), np.float32) if x is None else x
    y = np.zeros((rows, 1), np.float32) if y is None else y
    return x, y


def test_targets_of_one_dimension_are_columns() -> None:
    x, y = sine()
    results = []
    for targets in (y, y[:, 0]):
        model = small()
        model.fit(x, targets, seed=0, validation_data=(x, targets))
        results.append((bits(model), model.evaluate(x, targets)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (
            np.zeros((6, 4)),
            None,
            TypeError,
            "x: got an array of float64, expected floa",
        ),
        (
            np.zeros((6, 4), "f4"),
            None,
            ValueError,
            r"x: got shape \(6, 4\), expected \(N",
        ),
        (
            np.zeros((6, 4, 3), "f4"),
            None,
            ValueError,
            r"x: got shape \(6, 4, 3\), expected \(N, T, C\) with C = 2",
        ),
        ([[[1.0]]], None, TypeError, "x: got a list"),
        (
            np.zeros((0, 4, 2), "f4"),
            np.zeros((0, 1), "f4"),
            ValueError,
            "x: .* one row",
        ),
        (
            None,
            np.zeros((6, 1)),
            TypeError,
            'y: .* float64, .* use y.astype."float32".',
        ),
        (None, [1.0] * 6, TypeError, "y: got list"),
        (None, np.zeros((5, 1), "f4"), ValueError, r"y: got shape \(5, 1\)"),
        (
            None,
            np.zeros(5, "f4"),
            ValueError,
            r"y: .*, expected the output's, \(6, 1\)",
        ),
        (None, np.zeros((6, 2), "f4"), ValueError, r"y: got shape \(6, 2\)"),
        (None, np.zeros((6, 1, 1), "f4"), ValueError, r"y: got shape \(6, 1, 1\)"),
        (None, np.zeros((), "f4"), ValueError, r"y: got shape \(\)"),
    ],
)
def test_wrong_data_is_named(
    x: Any, y: Any, error: type[Exception], message: str
) -> None:
    model = small()
    model.build((None, None, 2))
    before = bits(model)
    for use in (model.fit, model.evaluate):
        with pytest.raises(error, match=message):
            use(*data(x, y))
    with pytest.raises(error, match=f"validation_data: {message}"):
        model.fit(*data(), validation_data=data(x, y))
    if y is None:
        with pytest.raises(error, match=message):
            model.predict(x)
    assert bits(model) == before


def test_targets_of_one_dimension_fit_no_wider_output() -> None:
    model = gf.Sequential([layers.GRU(2)])
    model.compile()
    with pytest.raises(ValueError, match=r"y: got shape \(6,\), .* \(6, 2\)"):
        model.fit(*data(y=np.zeros(6, np.float32)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs: got -1"),
        ({"epochs": 2.0}, TypeError, "epochs: got 2.0"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"batch_size": True}, TypeError, "batch_size: got True"),
        ({"validation_split": 1.0}, ValueError, "validation_split: got 1.0"),
        ({"validation_split": 0.9}, ValueError, "0.9 of 6 rows leaves a part empty"),
        ({"validation_data": 3}, TypeError, r"validation_data: expected the tuple"),
        ({"callbacks": [print]}, TypeError, "callbacks: got <built-in function print>"),
        ({"verbose": 3}, ValueError, "verbose: got 3, expected one of 'auto', 0"),
        ({"shuffle": "batch"}, TypeError, "shuffle: got 'batch'"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch: got -1"),
        ({"seed": 0.5}, TypeError, "seed: got 0.5"),
    ],
)
def test_wrong_settings_of_fit_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small().fit(*data(), **arguments)


@pytest.mark.parametrize(
    ("stack", "error", "message"),
    [
        ([layers.GRU], TypeError, r"layers\[0\]: got <class .*, expected a Layer"),
        (
            [layers.GRU(1, return_state=True)],
            ValueError,
            r"layers\[0\]: .*return_state",
        ),
        ([layers.GRU(1), layers.Dense(1, dtype="float64")], ValueError, "one dtype"),
        ([layers.Flatten()] * 2, ValueError, "each layer may stand in the list once"),
        (
            [layers.GRU(1), gf.Input((4, 2))],
            ValueError,
            r"layers\[1\]: an Input stands before",
        ),
        ([gf.Input((4, 2))] * 2, ValueError, r"layers\[0\]: an Input stands before"),
        (
            [gf.Input((2,)), layers.GRU(1)],
            ValueError,
            r"x: got shape \(None, 2\), expected \(N, T, C\)",
        ),
        (
            [layers.Flatten(), layers.Embedding(3, 2)],
            ValueError,
            r"layers\[1\]: .* it must be first",
        ),
    ],
)
def test_layers_that_make_no_model(
    stack: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gf.Sequential(stack)


def test_a_model_without_layers_says_so() -> None:
    model = gf.Sequential()
    model.compile()
    x, y = data()
    for use in (
        lambda: model.build((None, 4, 2)),
        lambda: model.predict(x),
        lambda: model.fit(x, y),
        model.pop,
    ):
        with pytest.raises(ValueError, match="expected at least one layer"):
            use()
    model.add(gf.Input((4, 2)))
    assert not model.built


def test_layers_that_do_not_fit_are_named() -> None:
    model = gf.Sequential([layers.GRU(3), layers.GRU(3)])
    with pytest.raises(
        ValueError, match=r"layers\[1\] \(GRU\): x: got shape \(2, 3\), e"
    ):
        model(np.zeros((2, 4, 1), np.float32))
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)])
    with pytest.raises(
        ValueError, match=r"leaves the input size of layers\[1\] .Dense"
    ):
        model.build((None, None, 3))
    model.build((None, 2, 3))
    with pytest.raises(ValueError, match=r"layers\[1\] \(Dense\): .* with C = 6"):
        model.predict(np.zeros((1, 3, 3), np.float32))


def test_training_needs_compile() -> None:
    model = gf.Sequential([layers.GRU(1)])
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="the model is not compiled"):
            use(*data())


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ("mae", TypeError, r"expected a list such as \[.mae.\]"),
        (["r3"], ValueError, "metrics: got 'r3', expected one of .'mse', 'mae'."),
        (["mae", gf.metrics.mae], ValueError, "the name 'mae' is taken"),
    ],
)
def test_wrong_metrics_are_named(
    metrics: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small().compile(metrics=metrics)


def test_who_forgot_the_sequences_is_reminded() -> None:
    x = np.zeros((3, 4, 2), np.float32)
    for between in ([], [layers.Dropout(0.5)]):
        model = gf.Sequential([layers.LSTM(3), *between, layers.GRU(3)])
        message = (
            r"GRU\): x: got shape .*; layers\[0\] \(LSTM\) needs return_sequences=T"
        )
        with pytest.raises(ValueError, match=message):
            model.predict(x)
    whole = layers.GRU(3, return_sequences=True)
    for stack in ([whole, layers.Flatten()], [layers.Flatten()]):
        model = gf.Sequential([*stack, layers.GRU(3)])
        with pytest.raises(ValueError, match=r"expected \(N, T, C\)$"):
            model.predict(x)


def test_a_loss_that_is_a_function_is_refused_with_what_it_lacks() -> None:
    model = gf.Sequential([layers.Dense(1)])
    with pytest.raises(ValueError, match="a function has no gradient: make it a subcl"):
        model.compile(loss=lambda y_true, y_pred: 0.0)  # type: ignore[arg-type]


def test_an_input_shows_its_shape() -> None:
    assert repr(gf.Input((None, 3))) == "Input((None, 3))"
