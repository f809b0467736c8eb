"""Truncated back-propagation through time: `fit` over pieces of long sequences."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cells
import grufast as gf
from cell_layers import LAYERS
from grufast._checks import Shape
from grufast.callbacks import BackupAndRestore, Callback, LambdaCallback, Logs
from reference import Array

layers = gf.layers
Arrays = dict[str, Array]

ROWS, STEPS, INPUTS, UNITS = 3, 11, 2, 3
PIECES = [(1, 1), (4, 4), (4, 5), (4, 6), (3, 7), (1, 5), (2, 40), (11, 11), (30, 31)]
each_pieces = pytest.mark.parametrize(("k1", "k2"), PIECES)
STEPWISE = [name for name in LAYERS if name != "GRUD"]


def data(dtype: Any = np.float32, steps: int = STEPS) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((ROWS, steps, INPUTS)).astype(dtype)
    return x, np.tanh(x.cumsum(axis=1) / 2)


def ragged() -> tuple[list[Array], list[Array]]:
    """Sequences that end in different pieces; one has but one step."""
    x, y = data()
    lengths = (6, 11, 1)
    return (
        [own[:n] for own, n in zip(x, lengths, strict=True)],
        [own[:n] for own, n in zip(y, lengths, strict=True)],
    )


def bits(model: gf.Sequential) -> bytes:
    return b"".join(weight.tobytes() for weight in model.weights.values())


def gru(units: int = UNITS, **options: Any) -> Any:
    return layers.GRU(units, return_sequences=True, **options)


def lstm(units: int = UNITS, **options: Any) -> Any:
    return layers.LSTM(units, return_sequences=True, **options)


def compiled(
    *stack: Any, optimizer: Any = None, loss: Any = "mse", metrics: Any = ("mae",)
) -> gf.Sequential:
    model = gf.Sequential(stack, seed=1)
    model.compile(optimizer or gf.optimizers.SGD(0.1), loss, metrics)
    return model


# The formulas: updates by hand


def loss_gradient(y: Array, y_pred: Array, valid: Array) -> tuple[float, Array]:
    """The mean square of the valid steps, and its gradient for y_pred."""
    error = (y_pred - y) * valid[..., None]
    terms = valid.sum() * y.shape[2]
    return float((error**2).sum() / terms), 2 * error / terms


def truncated(
    cell: cells.Cell,
    w: Arrays,
    dense: Arrays,
    x: Array,
    y: Array,
    mask: Array,
    k1: int,
    k2: int,
    rate: float,
) -> float:
    """Train a cell and a dense layer above; return the mean loss of the valid steps."""
    states: Arrays = {}
    start = 0
    total = 0.0
    for first in range(0, x.shape[1], k1):
        new = np.arange(first, min(first + k1, x.shape[1]))
        run = np.arange(start, new[-1] + 1)
        options: dict[str, Any] = {"states": states, "mask": mask[:, run]}
        h, _ = cells.forward(cell, w, x[:, run], **options)
        out = h @ dense["weight"].T + dense["bias"]
        valid = mask[:, new]
        loss, dnew = loss_gradient(y[:, new], out[:, -len(new) :], valid)
        total += loss * valid.sum()
        dout = np.zeros_like(out)
        dout[:, -len(new) :] = dnew
        ddense = {"weight": np.einsum("nto,nth->oh", dout, h), "bias": dout.sum((0, 1))}
        dw = cells.backward(cell, w, x[:, run], dy=dout @ dense["weight"], **options)
        # The next window starts k2 steps before its end, at a state of this one.
        next_start = max(first + 2 * k1 - k2, 0)
        passed = run[run < next_start]
        if len(passed):
            options["mask"] = mask[:, passed]
            last = cells.forward(cell, w, x[:, passed], **options).last
            states = {f"{name}0": a for name, a in last.items()}
        start = next_start
        for name in w:
            w[name] = w[name] - rate * dw[name]
        for name in dense:
            dense[name] = dense[name] - rate * ddense[name]
    return float(total / mask.sum())


def assert_trains_as_the_formulas(
    name: str, k1: int, k2: int, mask: Array | None = None, **options: Any
) -> None:
    kind = LAYERS[name]
    x, y = data(np.float64)
    layer = kind.make(UNITS, return_sequences=True, dtype="float64", **options)
    masking = layers.Masking(9.0)
    model = compiled(masking, layer, layers.Dense(INPUTS, dtype="float64"), metrics=())
    valid = np.ones((ROWS, STEPS), bool)
    if mask is not None:
        valid = mask
        x[~valid] = 9.0
    model.build(x.shape)
    w: Arrays = {k: a.copy() for k, a in layer.weights.items()}
    dense: Arrays = {k: a.copy() for k, a in model.layers[2].weights.items()}
    expected = [truncated(kind.cell, w, dense, x, y, valid, k1, k2, 0.1)]
    expected += [truncated(kind.cell, w, dense, x, y, valid, k1, k2, 0.1)]
    history = model.fit(x, y, epochs=2, tbptt=(k1, k2), shuffle=False).history
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-11)
    for key, a in w.items():
        np.testing.assert_allclose(
            layer.weights[key], a, rtol=1e-9, atol=1e-12, err_msg=key
        )
    for key, a in dense.items():
        np.testing.assert_allclose(model.layers[2].weights[key], a, rtol=1e-9)


@each_pieces
@pytest.mark.parametrize("name", ["GRU", "LSTM", "JordanRNN more outputs"])
def test_updates_are_those_of_the_formulas(name: str, k1: int, k2: int) -> None:
    assert_trains_as_the_formulas(name, k1, k2)


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("name", STEPWISE)
def test_every_cell_runs_in_pieces(name: str, memory: str) -> None:
    assert_trains_as_the_formulas(name, 3, 5, memory=memory)


@each_pieces
def test_masked_steps_are_left_out(k1: int, k2: int) -> None:
    """Holes, a row that ends, one that begins late; no piece is without a step."""
    mask = np.ones((ROWS, STEPS), bool)
    mask[0, 5:], mask[1, :4], mask[2, 2:9:3] = False, False, False
    for name in ("GRU", "LSTM"):
        assert_trains_as_the_formulas(name, k1, k2, mask)


# The same through layer calls, with the states as arguments


def by_hand(
    stack: list[Any],
    x: Array,
    y: Array,
    pieces: tuple[int, int],
    mask: Array | None = None,
) -> None:
    """Train layers of which the recurrent ones have ``return_state=True``."""
    k1, k2 = pieces
    initial: dict[int, Any] = dict.fromkeys(range(len(stack)))
    states, start = initial, 0

    def run(
        first: int, stop: int, states: dict[int, Any]
    ) -> tuple[Array, list[Any], dict[int, Any]]:
        above = np.ascontiguousarray(x[:, first:stop])
        own = None if mask is None else mask[:, first:stop].copy()
        contexts, last = [], {}
        for index, layer in enumerate(stack):
            if isinstance(layer, layers.CellLayer):
                (above, *found), context = layer.forward(above, states[index], mask=own)
                last[index] = tuple(found) if len(found) > 1 else found[0]
            else:
                above, context = layer.forward(above, mask=own)
            contexts.append(context)
        return above, contexts, last

    for first in range(0, x.shape[1], k1):
        stop = min(first + k1, x.shape[1])
        next_start = max(first + 2 * k1 - k2, 0)
        out, contexts, _ = run(start, stop, states)
        weight = gf.losses.masked_weights(None if mask is None else mask[:, first:stop])
        new = out[:, first - start :].copy()
        dy = np.zeros_like(out)
        dy[:, first - start :] = gf.losses.mse.gradient(
            y[:, first:stop].copy(), new, weight
        )
        found = []
        for layer, context in zip(stack[::-1], contexts[::-1], strict=True):
            recurrent = isinstance(layer, layers.CellLayer)
            given = (dy, *[None] * len(layer.states)) if recurrent else dy
            dy, grads = layer.backward(given, context)
            found.append((layer, grads))
        if next_start > start:
            states = run(start, min(next_start, stop), states)[2]
        start = next_start
        for layer, grads in found:
            gf.optimizers.SGD(0.1).update(layer, grads)


STACKS: dict[str, Callable[..., list[Any]]] = {
    "GRU": lambda **o: [gru(**o), layers.Dense(2)],
    "LSTM, learned start": lambda **o: [
        lstm(learn_initial_state=True, **o),
        layers.Dense(2),
    ],
    "a stack in one call": lambda **o: [
        gru(4, **o),
        lstm(3, **o),
        layers.JordanRNN(2, 3, return_sequences=True, **o),
        layers.Dense(2),
    ],
    "a stack in several": lambda **o: [
        layers.Dense(4, "tanh"),
        lstm(4, **o),
        layers.LayerNormalization(),
        gru(3, learn_initial_state=True, **o),
        layers.TimeDistributed(layers.Dense(2)),
        layers.Activation("tanh"),
    ],
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("pieces", [(4, 4), (11, 11), (3, 8), (2, 3)])
@pytest.mark.parametrize("name", STACKS)
def test_fit_is_a_loop_over_pieces(
    name: str, pieces: tuple[int, int], masked: bool
) -> None:
    x: Any
    y: Any
    x, y = data()
    stack = STACKS[name](return_state=True)
    model = compiled(*STACKS[name]())
    model.build(x.shape)
    for layer, own in zip(stack, model.layers, strict=True):
        if own.weights:
            layer.build(_input_size(own))
            layer.set_weights(own.weights)
    mask = None
    if masked:
        x, y = ragged()
        mask = np.arange(STEPS) < np.array([len(a) for a in x])[:, None]
        whole = np.zeros((2, ROWS, STEPS, 2), np.float32)
        for i, own in enumerate(x):
            whole[0, i, : len(own)], whole[1, i, : len(own)] = own, y[i]
        by_hand(stack, whole[0], whole[1], pieces, mask)
    else:
        by_hand(stack, x, y, pieces)
    model.fit(x, y, tbptt=pieces, shuffle=False)
    for layer, own in zip(stack, model.layers, strict=True):
        for key, weight in own.weights.items():
            np.testing.assert_array_equal(weight, layer.weights[key], key)


def _input_size(layer: Any) -> int:
    size: int = getattr(layer, "layer", layer).input_size
    return size


# One piece is training without pieces


def noisy(**options: Any) -> list[Any]:
    return [
        lstm(4, dropout=0.2, recurrent_dropout=0.3, zoneout=(0.1, 0.2), **options),
        gru(3, zoneout=0.2, kernel_regularizer="l2", **options),
        layers.Dropout(0.4),
        layers.Dense(2),
    ]


def weights_of(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(2).uniform(0, 2, shape)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: dict(zip("xy", data(), strict=True)),
    "lists": lambda: dict(zip("xy", ragged(), strict=True)),
    "weights of rows": lambda: {
        **dict(zip("xy", data(), strict=True)),
        "sample_weight": weights_of((ROWS,)),
    },
    "weights of steps": lambda: {
        **dict(zip("xy", data(), strict=True)),
        "sample_weight": weights_of((ROWS, STEPS)),
    },
    "weights in lists": lambda: {
        **dict(zip("xy", ragged(), strict=True)),
        "sample_weight": [weights_of((len(own),)) for own in ragged()[0]],
    },
    "classes": lambda: {
        **dict(zip("xy", data(), strict=True)),
        "class_weight": {0: 0.5, 1: 3.0},
    },
    "batches": lambda: {"x": [data(), data(steps=5)]},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tbptt", [11, (11, 11), (11, 30), (40, 40), [12, 13]])
def test_a_piece_of_all_steps_changes_no_bit(case: str, tbptt: Any) -> None:
    results = []
    for more in ({}, {"tbptt": tbptt}):
        model = compiled(
            *noisy(),
            optimizer=gf.optimizers.Adam(0.02),
            metrics=["mae", gf.metrics.R2Score()],
        )
        options: dict[str, Any] = {"epochs": 3, "seed": 7, **CASES[case](), **more}
        if case != "batches":
            options["batch_size"] = 2
        history = model.fit(**options).history
        results.append((bits(model), history))
    assert results[0] == results[1]


# States and reports: with weights that stand still the pieces are the whole


def symmetric(y_true: Array, y_pred: Array) -> float:
    """A metric of no sum over steps: a batch must come as one."""
    return float(np.median(np.abs(y_true - y_pred)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pieces", [(1, 1), (4, 4), (4, 7), (2, 9), (11, 11)])
def test_still_weights_report_what_evaluate_does(
    case: str, pieces: tuple[int, int]
) -> None:
    for stack in (
        [gru(learn_initial_state=True), layers.Dense(2)],
        [lstm(4), layers.Dense(3, "tanh"), gru(), lstm(2, kernel_regularizer="l1")],
        [layers.JordanRNN(2, 3, return_sequences=True), layers.Dense(2)],
        [layers.JordanRNN(4, 2, return_sequences=True)],
        [layers.MGU(3, return_sequences=True), layers.Dense(2)],
    ):
        optimizer = gf.optimizers.SGD(0.0)
        metrics = ["mae", symmetric] if case == "arrays" else ["mae"]
        model = compiled(*stack, optimizer=optimizer, metrics=metrics)
        options = CASES[case]()
        history = model.fit(**options, tbptt=pieces, shuffle=False).history
        if case == "classes":
            classes = gf.losses.class_weights(options["y"], options.pop("class_weight"))
            options["sample_weight"] = classes
        expected = model.evaluate(**options, return_dict=True)
        assert history.keys() == expected.keys()
        for name, values in history.items():
            assert values == [pytest.approx(expected[name], rel=2e-6)], name


@pytest.mark.parametrize("padded", [slice(4, 8), slice(0, 9), slice(None)])
def test_a_piece_of_padding_alone_counts_nothing(padded: slice) -> None:
    x, y = data()
    x[:, padded] = 9
    stack = [gru(kernel_regularizer="l2"), layers.Dense(2)]
    still = gf.optimizers.SGD(0.0)
    model = compiled(layers.Masking(9.0), *stack, optimizer=still)
    history = model.fit(x, y, tbptt=(4, 6), shuffle=False).history
    expected = model.evaluate(x, y, return_dict=True)
    for name, values in history.items():
        assert values == [pytest.approx(expected[name], rel=1e-6, nan_ok=True)], name


def test_the_loss_is_the_mean_of_the_updates() -> None:
    """Over steps that count: a short piece and an ended row have less of them."""
    x, y = ragged()
    seen: list[tuple[float, float]] = []

    class Spy(gf.losses.MeanSquaredError):
        def value_and_gradient(
            self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
        ) -> tuple[float, Array]:
            found = super().value_and_gradient(y_true, y_pred, sample_weight)
            assert sample_weight is not None
            seen.append((found[0], int(np.count_nonzero(sample_weight))))
            return found

    model = compiled(gru(), layers.Dense(2), loss=Spy())
    logs: list[float] = []
    spy = LambdaCallback(on_train_batch_end=lambda _, own: logs.append(own["loss"]))
    history = model.fit(x, y, tbptt=(4, 6), shuffle=False, callbacks=[spy])
    assert [count for _, count in seen] == [9, 6, 3]
    mean = sum(loss * count for loss, count in seen) / 18
    assert history.history["loss"] == [pytest.approx(mean, rel=1e-12)] == logs


# Noise


def test_the_same_seed_has_the_same_bits() -> None:
    x, y = data()
    found = []
    for seed in (3, 3, 4):
        model = compiled(*noisy())
        model.fit(x, y, epochs=2, tbptt=(3, 5), seed=seed)
        found.append(bits(model))
    assert found[0] == found[1] != found[2]


@pytest.mark.usefixtures("keep_num_threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    found = []
    for threads in (1, 2, 3):
        gf.set_num_threads(threads)
        model = compiled(*noisy())
        model.fit(*data(), epochs=2, tbptt=(3, 5), seed=0)
        found.append(bits(model))
    assert found[0] == found[1] == found[2]


#: Of the steps: none; ends of rows, whose order another end changes; holes.
NOISY_MASKS: dict[str, Array | None] = {
    "all": None,
    "lengths": np.arange(STEPS) < np.array([7, 11, 3, 0])[:, None],
    "holes": np.array(
        [
            [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
            [1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0],
            [0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        ],
        bool,
    ),
}


@pytest.mark.parametrize("steps", NOISY_MASKS)
@pytest.mark.parametrize("ahead", range(STEPS + 1))
@pytest.mark.parametrize("make", [gru, lstm])
def test_noise_is_carried_on_as_it_was(make: Any, ahead: int, steps: str) -> None:
    """The states within a window are those that its outputs come of."""
    mask = NOISY_MASKS[steps]
    x = np.random.default_rng(5).normal(size=(4, STEPS, INPUTS)).astype(np.float32)
    noise = {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.3}
    model = compiled(make(padded_output="repeat", **noise))
    model.build(x.shape)
    y, saved = model._train(x, np.random.default_rng(0), mask, ahead=ahead)
    (states,) = saved.carried
    if not ahead:
        assert states is None
    else:
        np.testing.assert_array_equal(states[0], y[:, ahead - 1])


# Layers that carry states from batch to batch


def cut(x: Array, y: Array, size: int) -> list[tuple[Array, Array]]:
    parts = range(0, x.shape[1], size)
    return [
        (x[:, i : i + size].copy(), y[:, i : i + size].copy()) for i in map(int, parts)
    ]


def both(**options: Any) -> list[Any]:
    return [
        gru(4, learn_initial_state=True, **options),
        lstm(3, **options),
        layers.Dense(2),
    ]


def test_pieces_are_batches_for_stateful_layers() -> None:
    x, y = data()
    batches = compiled(*both(stateful=True))
    batches.fit(cut(x, y, 4))
    pieces = compiled(*both())
    pieces.fit(x, y, tbptt=4, shuffle=False)
    assert bits(batches) == bits(pieces)


@pytest.mark.parametrize("pieces", [(3, 3), (2, 5), (3, 20)])
def test_stateful_layers_go_on_after_the_last_piece(pieces: tuple[int, int]) -> None:
    x, y = data()
    still = gf.optimizers.SGD(0.0)
    model = compiled(*both(stateful=True), optimizer=still)
    whole = compiled(*both(), optimizer=still)
    whole.build(x.shape)
    expected = whole(np.concatenate([x, x], axis=1))
    model.fit(x, y, tbptt=pieces, shuffle=False)
    np.testing.assert_allclose(model(x), expected[:, STEPS:], atol=1e-6)
    # And within a batch each window starts where it should.
    one, other = (compiled(*both(stateful=s)) for s in (False, True))
    for own in (one, other):
        own.fit(x, y, tbptt=pieces, shuffle=False)
    assert bits(one) == bits(other)


@pytest.mark.parametrize("make", [gru, lstm])
def test_first_states_have_a_gradient_where_they_are_the_first_ones(
    make: Callable[..., Any],
) -> None:
    x, _ = data()
    layer = make(learn_initial_state=True, stateful=True)
    states = np.ones((ROWS, UNITS), np.float32)
    given: Any = states if len(layer.states) == 1 else (states, states)
    y, context = layer.forward(x, given)
    grads = layer.backward(np.ones_like(y), context)[1]
    assert not grads["initial_h"].any()
    assert np.any(grads["initial_state"])
    layer.reset_states()
    for first in (True, False):
        y, context = layer.forward(x)
        grads = layer.backward(np.ones_like(y), context)[1]
        assert grads["initial_h"].any() == first


# Beside the rest of fit


def test_callbacks_see_batches_and_optimizers_updates() -> None:
    x, y = data()
    ends: list[int] = []

    class Ends(Callback):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            ends.append(batch)
            assert self.params["steps"] == 2

    model = compiled(gru(), layers.Dense(2))
    model.fit(x, y, batch_size=2, epochs=3, tbptt=(4, 8), callbacks=[Ends()])
    assert ends == [0, 1] * 3
    assert model.optimizer is not None
    assert model.optimizer.iterations == 3 * 2 * 3


def test_integers_and_classes() -> None:
    """An `Embedding` that makes masks, and indices of classes (N, T)."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 7, (4, 9))
    y = np.roll(x, 1, axis=1) % 3
    x[0, 5:] = 0
    loss = "sparse_categorical_crossentropy"
    results = []
    for tbptt in (None, 9, 4, (2, 5)):
        model = compiled(
            layers.Embedding(7, 4, mask_zero=True),
            gru(8),
            layers.Dense(3),
            layers.Softmax(),
            loss=loss,
            optimizer=gf.optimizers.Adam(0.03),
            metrics=["accuracy"],
        )
        options: dict[str, Any] = {"epochs": 30, "shuffle": False, "tbptt": tbptt}
        history = model.fit(x, y, class_weight={0: 2.0}, **options).history
        assert history["loss"][-1] < 0.7 * history["loss"][0]
        results.append(bits(model))
    assert results[0] == results[1]
    assert len(set(results)) == 3


def test_validation_runs_whole_sequences() -> None:
    x, y = data()
    model = compiled(gru(), layers.Dense(2))
    history = model.fit(x, y, tbptt=3, validation_data=(x, y)).history
    assert history["val_loss"] == [model.evaluate(x, y, return_dict=True)["loss"]]


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    x, y = data()
    path = tmp_path / "backup"

    def train(*callbacks: Callback, tbptt: Any = (3, 5)) -> bytes:
        model = compiled(*noisy(), optimizer=gf.optimizers.Adam(0.02))
        options: dict[str, Any] = {"epochs": 3, "batch_size": 1, "seed": 2}
        model.fit(x, y, callbacks=callbacks, tbptt=tbptt, **options)
        return bits(model)

    count = itertools.count()
    crash = LambdaCallback(on_train_batch_begin=lambda *_: 1 / (next(count) - 5))
    with pytest.raises(ZeroDivisionError):
        train(crash, BackupAndRestore(path, 1))
    for other in (None, (3, 6)):
        with pytest.raises(ValueError, match=r"another training: tbptt \(3, 5\), not "):
            train(BackupAndRestore(path, 1), tbptt=other)
    assert train(BackupAndRestore(path, 1)) == train()


def test_a_long_series_is_learned() -> None:
    """One row: a wave in noise, whose phase only a state can know."""
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(2001) / 3)
    noise = wave + rng.normal(0, 0.5, 2001)
    x = noise[None, :-1, None].astype(np.float32)
    y = wave[None, 1:, None].astype(np.float32)
    model = compiled(gru(8), layers.Dense(1), optimizer=gf.optimizers.Adam(0.01))
    history = model.fit(x, y, epochs=6, tbptt=(20, 40), seed=0).history
    assert history["loss"][-1] < 0.1 * wave.var()


# What it refuses


class Own(layers.Layer):
    """A layer of one's own: three times its input."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return 3 * x

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return 3 * x, ()

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return 3 * dy, {}


class OwnByStep(Own):
    """The same, which says that it goes step by step."""

    stepwise = True


REFUSED: dict[str, tuple[list[Any], int]] = {
    "GRU": ([gru(), layers.GRU(3), layers.Dense(2)], 1),
    "GRUD": ([layers.GRUD(3, return_sequences=True)], 0),
    "LSTM": ([lstm(go_backwards=True)], 0),
    "Bidirectional": ([gru(), layers.Bidirectional(gru())], 1),
    "Flatten": ([gru(), layers.Flatten(), layers.Dense(2)], 1),
    "Reshape": ([gru(), layers.Reshape((-1, 2))], 1),
    "RepeatVector": ([layers.GRU(3), layers.RepeatVector(5), gru()], 0),
    "GlobalAveragePooling1D": ([gru(), layers.GlobalAveragePooling1D()], 1),
    "GlobalMaxPooling1D": ([gru(), layers.GlobalMaxPooling1D()], 1),
    "Softmax": ([gru(), layers.Softmax(axis=1)], 1),
    "Own": ([Own(), gru()], 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_need_whole_sequences_are_refused(name: str) -> None:
    stack, index = REFUSED[name]
    model = compiled(*stack)
    found = type(stack[index]).__name__
    with pytest.raises(
        ValueError,
        match=rf"tbptt: layers\[{index}\] \({found}\) cannot run a sequence in p",
    ):
        model.fit(*data(), tbptt=4)
    assert not model.built


def test_a_layer_of_ones_own_may_go_step_by_step() -> None:
    x, y = data()
    results = []
    for first in (OwnByStep(), layers.TimeDistributed(layers.Reshape((2,)))):
        model = compiled(first, gru(), layers.Dense(2))
        own = x if isinstance(first, OwnByStep) else 3 * x
        model.fit(own, y, tbptt=(3, 4), shuffle=False)
        results.append(bits(model))
    assert results[0] == results[1]


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (0, ValueError, "tbptt: got 0, expected"),
    ((4, 0), ValueError, "tbptt: got 0, expected"),
    (2.0, TypeError, "tbptt: got 2.0"),
    (True, TypeError, "tbptt: got True"),
    ("4", TypeError, "tbptt: got '4'"),
    ((4, 3), ValueError, r"tbptt: got \(4, 3\), expected \(k1, k2\) with k2 >= k1"),
    ((4,), ValueError, r"tbptt: got \(4,\), expected \(k1, k2\)"),
    ([4, 5, 6], ValueError, r"tbptt: got \[4, 5, 6\], expected \(k1, k2\)"),
]


@pytest.mark.parametrize(("tbptt", "error", "match"), ERRORS)
def test_bad_pieces(tbptt: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        compiled(gru(), layers.Dense(2)).fit(*data(), tbptt=tbptt)


def test_there_must_be_a_state_to_carry() -> None:
    with pytest.raises(ValueError, match="tbptt: expected a recurrent layer in the mo"):
        compiled(layers.Dense(2)).fit(*data(), tbptt=4)


def test_there_must_be_a_truth_for_every_step() -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"y: got shape \(3, 2\), expected the output"):
        compiled(gru(), layers.Dense(2)).fit(x, y[:, -1], tbptt=4)

    class Last(gf.losses.MeanSquaredError):
        """Takes a truth for the last step alone."""

        def target(self, y_true: object, *_: Any) -> Array:
            assert isinstance(y_true, np.ndarray)
            return y_true

    model = compiled(gru(), layers.Dense(2), loss=Last())
    with pytest.raises(
        ValueError, match=r"y: got shape \(3, 2\), but tbptt takes one "
    ):
        model.fit(x, y[:, -1].copy(), tbptt=4)
