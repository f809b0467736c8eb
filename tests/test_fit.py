"""What fit, evaluate and predict take: arrays, iterables, weights, validations."""

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast.callbacks import HOOKS, Callback, LambdaCallback, Logs
from reference import Array

layers = gf.layers
Batches = list[tuple[Array, ...]]


class Weighted(gf.losses.Loss):
    """The mean square, with weights; remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> float:
        self.seen.append(sample_weight)
        return float(np.mean((y_pred - y_true) ** 2 * self._factor(sample_weight)))

    def gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> Array:
        slope = 2 * (y_pred - y_true) / y_pred.size
        gradient: Array = slope * self._factor(sample_weight)
        return gradient.astype(y_pred.dtype)

    def value_and_gradient(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[float, Array]:
        arguments = y_true, y_pred, sample_weight
        return self(*arguments), self.gradient(*arguments)

    @staticmethod
    def _factor(sample_weight: Array | None) -> Any:
        return 1 if sample_weight is None else sample_weight[..., None]


def data(rows: int = 20, outputs: int = 1) -> tuple[Array, Array]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, 6, 2), np.float32)
    return x, rng.standard_normal((rows, outputs), np.float32)


def small(loss: Any = "mse", metrics: Any = ("mae",), **gru: Any) -> gf.Sequential:
    model = gf.Sequential([layers.GRU(4, **gru), layers.Dense(1)], seed=0)
    model.compile(gf.optimizers.Adam(0.01), loss, metrics)
    return model


def bits(model: gf.Sequential) -> bytes:
    return b"".join(weight.tobytes() for weight in model.weights.values())


def cut(x: Array, y: Array, size: int = 8) -> Batches:
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


class Again:
    """Can be read again and again, a new generator each time."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.readings = 0

    def __iter__(self) -> Iterator[Any]:
        self.readings += 1
        yield from self.batches


# Iterables


@pytest.mark.parametrize("kind", [list, Again], ids=["a list", "an iterable"])
def test_an_iterable_trains_as_the_rows_do(kind: Callable[[Batches], Any]) -> None:
    x, y = data()
    rows, stream = small(), small()
    options: dict[str, Any] = {"epochs": 3, "seed": 0}
    history = rows.fit(
        x, y, batch_size=8, shuffle=False, validation_data=(x, y), **options
    )
    source = kind(cut(x, y))
    other = stream.fit(source, validation_data=(x, y), **options)
    assert bits(rows) == bits(stream)
    assert other.history == history.history
    if isinstance(source, Again):
        assert source.readings == 3


def test_a_generator_is_one_epoch() -> None:
    x, y = data()
    rows, stream = small(), small()
    rows.fit(x, y, batch_size=8, shuffle=False)
    history = stream.fit(iter(cut(x, y)))
    assert bits(rows) == bits(stream)
    assert history.epoch == [0]


def test_a_generator_that_ends_too_early_ends_the_training() -> None:
    x, y = data()
    with pytest.warns(
        RuntimeWarning, match="x: no more batches after 0 in epoch 2 of 3: training en"
    ) as warned:
        history = small().fit(iter(cut(x, y)), epochs=3)
    assert warned[0].filename == __file__
    assert history.epoch == [0]
    with pytest.warns(RuntimeWarning, match="after 1 of 2 in epoch 2 of 3"):
        history = small().fit(iter(cut(x, y)), epochs=3, steps_per_epoch=2)
    assert history.epoch == [0, 1]


def test_epochs_of_some_steps_go_on_through_the_batches() -> None:
    x, y = data(24)
    y[:, 0] = np.repeat(np.arange(3), 8)
    seen: list[float] = []

    class Spy(Weighted):
        def __call__(self, y_true: Array, y_pred: Array, *more: Any) -> float:
            seen.append(float(y_true[0, 0]))
            return super().__call__(y_true, y_pred, *more)

    for source in (cut(x, y), Again(cut(x, y)), itertools.cycle(cut(x, y))):
        seen.clear()
        model = small(Spy())
        assert model.fit(source, epochs=3, steps_per_epoch=2).epoch == [0, 1, 2]
        assert seen == [0, 1, 2, 0, 1, 2]
    seen.clear()
    options: dict[str, Any] = {"batch_size": 8, "shuffle": False}
    small(Spy()).fit(x, y, epochs=3, steps_per_epoch=2, **options)
    assert seen == [0, 1, 2, 0, 1, 2]


def test_passes_over_rows_are_shuffled_each_anew() -> None:
    x, y = data(12)
    y[:, 0] = np.arange(12)
    orders = []

    class Spy(Weighted):
        def __call__(self, y_true: Array, y_pred: Array, *more: Any) -> float:
            orders.extend(y_true[:, 0].tolist())
            return super().__call__(y_true, y_pred, *more)

    small(Spy()).fit(x, y, batch_size=4, epochs=2, seed=1)
    whole = orders[:]
    orders.clear()
    small(Spy()).fit(x, y, batch_size=4, epochs=6, steps_per_epoch=1, seed=1)
    assert orders == whole
    assert sorted(whole[:12]) == sorted(whole[12:]) == list(range(12))
    assert whole[:12] != whole[12:]


def test_batches_may_bring_weights() -> None:
    x, y = data(16)
    weights = np.linspace(0, 2, 16)
    by_rows, by_batches = (small(Weighted(), metrics=()) for _ in range(2))
    options: dict[str, Any] = {"epochs": 2}
    by_rows.fit(x, y, sample_weight=weights, batch_size=8, shuffle=False, **options)
    batches = [(*b, weights[8 * i : 8 * i + 8]) for i, b in enumerate(cut(x, y))]
    by_batches.fit(batches, **options)
    assert bits(by_rows) == bits(by_batches)


def test_evaluate_and_predict_take_iterables() -> None:
    x, y = data(16)
    model = small()
    whole = model.evaluate(x, y, return_dict=True)
    parts = model.evaluate(iter(cut(x, y)), return_dict=True)
    assert list(parts) == list(whole)
    np.testing.assert_allclose([*parts.values()], [*whole.values()], rtol=1e-6)
    first = model.evaluate(x[:8], y[:8])
    assert model.evaluate(itertools.cycle(cut(x, y)), steps=1) == pytest.approx(first)
    expected = model.predict(x)
    for batches in (iter([x[:8], x[8:]]), Again(cut(x, y)), tuple(cut(x, y))):
        np.testing.assert_array_equal(model.predict(batches), expected)
    some = model.predict(itertools.cycle([x[:8], x[8:]]), steps=3)
    np.testing.assert_array_equal(some, model.predict(np.concatenate([x, x[:8]])))


def test_validations_take_iterables() -> None:
    x, y = data(16)
    expected = small().fit(x, y, epochs=4, seed=0, validation_data=(x, y)).history
    for batches in (cut(x, y), Again(cut(x, y))):
        model = small()
        found = model.fit(x, y, epochs=4, seed=0, validation_data=batches).history
        np.testing.assert_allclose(
            found["val_loss"], expected["val_loss"], rtol=1e-6, atol=0
        )
    history = small().fit(
        *(x, y),
        epochs=4,
        seed=0,
        validation_data=itertools.cycle(cut(x, y)),
        validation_steps=2,
    )
    np.testing.assert_allclose(
        history.history["val_loss"], expected["val_loss"], rtol=1e-6, atol=0
    )


class Dataset:
    """Batches by number, in another order after each reading, as Keras's PyDataset."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.readings = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        return self._batches[index]  # of a list: from -1 on, and 9 is an error

    def on_epoch_end(self) -> None:
        self._batches = self._batches[::-1]
        self.readings += 1


class IterableDataset(Dataset):
    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        return map(self.__getitem__, range(len(self)))


@pytest.mark.parametrize("kind", [Dataset, IterableDataset])
def test_batches_may_come_by_number(kind: type[Dataset]) -> None:
    x, y = data()
    expected = small()
    for turn in (cut(x, y), cut(x, y)[::-1], cut(x, y)):
        expected.fit(turn)
    model, batches = small(), kind(cut(x, y))
    model.fit(batches, epochs=3, validation_data=Dataset(cut(x, y)))
    assert batches.readings == 3
    for name, weight in expected.weights.items():
        assert model.weights[name].tobytes() == weight.tobytes()
    assert model.evaluate(kind(cut(x, y))) == expected.evaluate(cut(x, y))
    many = small()
    many.fit(kind(cut(x, y)), steps_per_epoch=len(cut(x, y)), epochs=3)
    assert many.predict(x).tobytes() == model.predict(x).tobytes()


ITERABLES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": []}, ValueError, "x: expected at least one batch"),
    ({"x": [3]}, TypeError, "x: in a batch, got int, expected .x, y. or .x, y, sam"),
    ({"x": [(1,)]}, TypeError, "x: in a batch, got tuple, expected"),
    ({"x": [data()[0]]}, TypeError, "x: in a batch, got ndarray, expected"),
    ({"x": [(data()[0], 3)]}, TypeError, "x: in a batch, y: got int"),
    (
        {"x": [(data()[0], data()[1][:3])]},
        ValueError,
        r"x: in a batch, y: got shape \(3, 1\), expected",
    ),
    (
        {"x": [(*data(), np.ones(3))]},
        ValueError,
        r"x: in a batch, sample_weight: got shape \(3,\), expected \(20,\)",
    ),
    ({"x": [data()], "batch_size": 4}, ValueError, "batch_size: got 4, but an iterabl"),
    ({"x": [data()], "sample_weight": np.ones(20)}, ValueError, "sample_weight: got"),
    ({"x": [data()], "validation_split": 0.5}, ValueError, "validation_split: got 0.5"),
    ({"x": [data()], "steps_per_epoch": 0}, ValueError, "steps_per_epoch: got 0"),
    ({"x": {"x": data()[0]}}, TypeError, "x: got dict"),
    ({"x": "ab"}, TypeError, "x: got str"),
    ({"x": data()[0]}, TypeError, "y: got None"),
    (
        {"x": [data()], "validation_data": []},
        ValueError,
        "validation_data: expected at least one batch",
    ),
    (
        {"x": [data()], "validation_data": [3, 4, 5, 6]},
        TypeError,
        "validation_data: in a batch, got int",
    ),
    (
        {"x": [data()], "validation_data": iter([data()]), "epochs": 2},
        ValueError,
        "validation_data: a generator can be read once, for 2 validations",
    ),
    (
        {"x": [data()], "validation_data": [data()], "validation_batch_size": 3},
        ValueError,
        "validation_batch_size: got 3, but an iterable",
    ),
    ({"x": [data()], "validation_data": 3}, TypeError, "an iterable of them, got int"),
    (
        {"x": [data()], "validation_data": (*data(), np.ones(3))},
        ValueError,
        r"validation_data: sample_weight: got shape \(3,\)",
    ),
    ({"x": [data()], "validation_steps": 0}, ValueError, "validation_steps: got 0"),
    ({"x": [data()], "validation_freq": 0}, ValueError, "validation_freq: got 0"),
    ({"x": [data()], "validation_freq": [1, 0]}, ValueError, "validation_freq: got 0"),
    ({"x": [data()], "validation_freq": "1"}, TypeError, "validation_freq: got '1'"),
]


@pytest.mark.parametrize(("options", "error", "message"), ITERABLES)
def test_wrong_iterables_are_named_before_training(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = small()
    model.build((None, None, 2))
    before = bits(model)
    with pytest.raises(error, match=message):
        model.fit(**options)
    assert bits(model) == before


def test_evaluate_and_predict_name_wrong_iterables() -> None:
    x, y = data()
    model = small()
    with pytest.raises(ValueError, match="batch_size: got 3"):
        model.evaluate([(x, y)], batch_size=3)
    with pytest.raises(ValueError, match="sample_weight: got"):
        model.evaluate([(x, y)], sample_weight=np.ones(20))
    with pytest.raises(ValueError, match="batch_size: got 3"):
        model.predict(iter([x]), batch_size=3)
    with pytest.raises(ValueError, match="steps: got 0"):
        model.predict(iter([x]), steps=0)
    with pytest.raises(TypeError, match="x: in a batch, x: got int"):
        model.predict(iter([3]))
    with pytest.raises(ValueError, match="x: expected at least one batch"):
        model.predict(iter([]))


def test_a_later_batch_that_does_not_fit_is_named() -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"x: in a batch, y: got shape \(3, 1\)"):
        small().fit([(x, y), (x, y[:3])])


def test_validations_that_find_nothing_are_an_error() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="validation_data: no batches are left"):
        small().fit(
            *(x, y), epochs=3, validation_data=iter([(x, y)] * 2), validation_steps=1
        )


# Weights


def test_weights_of_zero_leave_rows_out() -> None:
    x, y = data(16)
    weights = np.repeat([2.0, 0.0], 8)
    half, weighted = small(Weighted(), ()), small(Weighted(), ())
    half.fit(x[:8], y[:8], shuffle=False)
    weighted.fit(x, y, sample_weight=weights, shuffle=False)
    for name, weight in half.weights.items():
        np.testing.assert_allclose(weight, weighted.weights[name], atol=1e-6)
    assert weighted.evaluate(x, y, sample_weight=weights) == pytest.approx(
        weighted.evaluate(x[:8], y[:8])
    )


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "?"])
def test_weights_may_be_any_numbers(dtype: str) -> None:
    x, y = data(6)
    loss = Weighted()
    weights = np.array([1, 0, 1, 1, 0, 1]).astype(dtype)
    small(loss, ()).fit(x, y, sample_weight=weights, shuffle=False)
    np.testing.assert_array_equal(loss.seen[0], [1, 0, 1, 1, 0, 1])


def test_steps_have_weights() -> None:
    x, _ = data(6)
    loss = Weighted()
    model = small(loss, (), return_sequences=True)
    weights = np.arange(36.0).reshape(6, 6)
    model.fit(x, x[..., :1], sample_weight=weights, shuffle=False)
    np.testing.assert_array_equal(loss.seen[0], weights)


def test_the_split_takes_its_weights_along() -> None:
    x, y = data(10)
    weights = np.arange(10.0)
    loss = Weighted()
    options: dict[str, Any] = {"shuffle": False, "validation_split": 0.2}
    model = small(loss, ())
    model.fit(x, y, sample_weight=weights, class_weight=dict.fromkeys(range(9), 2.0))
    loss.seen.clear()
    model.fit(x, y, sample_weight=weights, **options)
    np.testing.assert_array_equal(loss.seen[0], weights[:8])
    np.testing.assert_array_equal(loss.seen[1], weights[8:])
    loss.seen.clear()
    model.fit(x, y, validation_data=(x[:3], y[:3], weights[:3]), shuffle=False)
    assert loss.seen[0] is None
    np.testing.assert_array_equal(loss.seen[1], weights[:3])


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.array([[0], [1], [1], [0]], "f4"), [3, 5, 5, 3]),
        (np.array([0, 1, 1, 2], "f4"), [3, 5, 5, 1]),
    ],
    ids=["columns", "vector"],
)
def test_classes_have_weights(y: Array, expected: list[float]) -> None:
    x, _ = data(4)
    loss = Weighted()
    model = small(loss, ())
    options: dict[str, Any] = {"class_weight": {0: 3.0, 1: 5.0}}
    model.fit(x, y, shuffle=False, validation_data=(x, y), **options)
    np.testing.assert_array_equal(loss.seen[0], expected)
    assert loss.seen[1] is None  # not in validations
    weights = np.array([1.0, 2, 3, 4])
    model.fit(x, y, shuffle=False, sample_weight=weights, **options)
    np.testing.assert_array_equal(loss.seen[2], expected * weights)
    model.fit([(x, y, weights)], **options)
    np.testing.assert_array_equal(loss.seen[3], expected * weights)
    model.train_on_batch(x, y, **options)
    np.testing.assert_array_equal(loss.seen[4], expected)


def test_classes_of_wide_outputs_have_weights() -> None:
    x, _ = data(4)
    loss = Weighted()
    model = gf.Sequential([layers.GRU(3)])
    model.compile("sgd", loss)
    y = np.eye(3, dtype=np.float32)[[0, 2, 1, 2]]
    model.fit(x, y, shuffle=False, class_weight={2: 7.0, 1: 0.5})
    np.testing.assert_array_equal(loss.seen[0], [1, 7, 0.5, 7])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("units", "loss", "classes"),
    [
        (3, "sparse_categorical_crossentropy", 3),
        (3, "categorical_crossentropy", 3),
        (1, "binary_crossentropy", 2),
        (1, "mse", None),
    ],
)
def test_weights_of_classes_that_cannot_be_are_refused(
    units: int, loss: str, classes: int | None, stream: bool
) -> None:
    x, _ = data(4)
    y: Array = np.array([0, 1, 1, 0])
    if loss == "categorical_crossentropy":
        y = np.eye(3, dtype=np.float32)[y]
    elif not classes:
        y = y.astype(np.float32)
    model = gf.Sequential(
        [layers.GRU(units, "sigmoid"), layers.Dense(units, "sigmoid")]
    )
    model.compile("sgd", loss)
    given: dict[str, Any] = {"x": [(x, y)]} if stream else {"x": x, "y": y}
    # One that does not occur weighs nothing, one that is not named weighs 1.
    model.fit(**given, class_weight={1: 2.0, (classes or 8) - 1: 3.0})
    if classes:
        before = bits(model)
        message = f"class_weight: got the class {classes}, expected 0 to {classes - 1}"
        with pytest.raises(ValueError, match=message):
            model.fit(**given, class_weight={0: 1.0, classes: 2.0})
        assert bits(model) == before


def test_a_model_has_the_history_of_its_last_training() -> None:
    x, y = data(6)
    model = small()
    assert not model.history
    for epochs in (2, 1):
        assert model.fit(x, y, epochs=epochs) is model.history
        assert model.history.epoch == [*range(epochs)]


def test_a_training_broken_off_leaves_its_history() -> None:
    class Stop(gf.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    x, y = data(6)
    model = small()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, callbacks=[Stop()])
    assert model.history is not None
    assert len(model.history.history["loss"]) == 1


def test_a_trained_model_goes_with_its_last_reference() -> None:
    x, y = data(6)
    model = small()
    history = model.fit(x, y)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()
    assert history.epoch == [0]


def test_metrics_take_no_sample_weights() -> None:
    """As in Keras, where only `weighted_metrics` do."""
    x, y = data(6)
    model = small(Weighted())
    model.build(x.shape)
    expected = model.evaluate(x, y)
    found = model.evaluate(x, y, sample_weight=np.arange(6.0))
    assert found[1] == expected[1]
    assert found[0] != expected[0]


WEIGHTS: list[tuple[Any, type[Exception], str]] = [
    ([1.0] * 20, TypeError, "sample_weight: got list, expected a NumPy array of num"),
    (np.array(["a"] * 20), TypeError, "sample_weight: got an array of <U1"),
    (np.ones(19), ValueError, r"sample_weight: got shape \(19,\), expected \(20,\)"),
    (np.ones((20, 1)), ValueError, r"sample_weight: got shape \(20, 1\), expected"),
    (np.ones(()), ValueError, r"sample_weight: got shape \(\)"),
    (np.full(20, np.nan), ValueError, "sample_weight: expected finite numbers"),
]


@pytest.mark.parametrize(("weights", "error", "message"), WEIGHTS)
def test_wrong_weights_are_named(
    weights: Any, error: type[Exception], message: str
) -> None:
    x, y = data()
    model = small(Weighted(), ())
    for use in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(error, match=message):
            use(x, y, sample_weight=weights)
    sequences = small(return_sequences=True)
    message = r"got shape \(20, 5\), expected \(20,\) or \(20, 6\)"
    with pytest.raises(ValueError, match=message):
        sequences.fit(x, x[..., :1], sample_weight=np.ones((20, 5)))


# Validations


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        (1, [0, 1, 2, 3, 4]),
        (2, [1, 3]),
        (9, []),
        ([1, 5], [0, 4]),
        (range(3, 5), [2, 3]),
    ],
)
def test_validations_come_as_often_as_asked(freq: Any, expected: list[int]) -> None:
    x, y = data()
    seen = []

    class See(Callback):
        def on_epoch_end(self, epoch: int, logs: Logs) -> None:
            if "val_loss" in logs:
                seen.append(epoch)

    history = small().fit(
        *(x, y), epochs=5, validation_split=0.2, validation_freq=freq, callbacks=[See()]
    )
    assert seen == expected
    assert len(history.history.get("val_loss", [])) == len(expected)
    assert len(history.history["loss"]) == 5


def test_callbacks_wait_for_validations() -> None:
    x, y = data()
    stop = gf.callbacks.EarlyStopping(patience=1, min_delta=1e9)
    history = small().fit(
        *(x, y), epochs=9, validation_split=0.2, validation_freq=3, callbacks=[stop]
    )
    assert history.epoch == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="monitor: no 'val_rmse' among"):
        small().fit(
            *(x, y),
            validation_split=0.2,
            callbacks=[gf.callbacks.EarlyStopping("val_rmse")],
        )


def test_the_size_of_validation_batches_changes_nothing() -> None:
    x, y = data()
    histories = [
        small().fit(
            *(x, y), epochs=2, seed=0, validation_split=0.5, validation_batch_size=size
        )
        for size in (None, 1, 3)
    ]
    assert histories[0].history == histories[1].history == histories[2].history


# Single batches


def test_train_on_batch_is_an_epoch_of_one_batch() -> None:
    x, y = data()
    fitted, trained = small(), small()
    for _ in range(3):
        history = fitted.fit(x, y, batch_size=20, shuffle=False).history
        logs = trained.train_on_batch(x, y, return_dict=True)
        assert logs == {name: values[0] for name, values in history.items()}
    assert bits(fitted) == bits(trained)
    assert trained.test_on_batch(x, y) == fitted.evaluate(x, y)
    assert trained.train_on_batch(x, y) == fitted.train_on_batch(
        x, y, sample_weight=None
    )
    np.testing.assert_array_equal(trained.predict_on_batch(x), trained(x))
    assert isinstance(small(metrics=()).train_on_batch(x, y), float)


def test_single_batches_are_checked() -> None:
    x, y = data()
    model = small()
    uses: list[Any] = [model.train_on_batch, model.test_on_batch]
    for use in uses:
        with pytest.raises(TypeError, match="y: got None"):
            use(x, None)
        with pytest.raises(ValueError, match=r"y: got shape \(3, 1\)"):
            use(x, y[:3])
        with pytest.raises(TypeError, match="return_dict: got 1"):
            use(x, y, return_dict=1)
    with pytest.raises(TypeError, match="x: got None"):
        model.predict_on_batch(None)  # type: ignore[arg-type]
    model = gf.Sequential([layers.GRU(1)])
    for use in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="the model is not compiled"):
            use(x, y)


# Hooks


def recorder() -> tuple[Callback, list[str]]:
    calls: list[str] = []

    def record(name: str) -> Callable[..., None]:
        return lambda *arguments: calls.append(name.removeprefix("on_"))

    return LambdaCallback(**{name: record(name) for name in HOOKS}), calls


def test_hooks_of_tests_and_predictions() -> None:
    x, y = data()
    model = small()
    callback, calls = recorder()
    model.evaluate(x, y, batch_size=10, callbacks=[callback])
    batch = ["test_batch_begin", "test_batch_end"]
    tests = ["test_begin", *batch * 2, "test_end"]
    assert calls == tests
    calls.clear()
    model.evaluate(cut(x, y, 10), callbacks=[callback])
    assert calls == tests
    calls.clear()
    model.predict(x, batch_size=10, callbacks=[callback])
    batch = ["predict_batch_begin", "predict_batch_end"]
    assert calls == ["predict_begin", *batch * 2, "predict_end"]
    calls.clear()
    model.predict(iter([x, x]), callbacks=[callback])
    assert calls == ["predict_begin", *batch * 2, "predict_end"]
    calls.clear()
    model.fit(
        *(x, y),
        validation_data=(x, y),
        validation_batch_size=10,
        batch_size=20,
        callbacks=[callback],
    )
    train = ["train_begin", "epoch_begin", "train_batch_begin", "train_batch_end"]
    assert calls == [*train, *tests, "epoch_end", "train_end"]
    assert callback.model is model
    for use in (partial(model.evaluate, x, y), partial(model.predict, x)):
        with pytest.raises(TypeError, match="callbacks: got 3, expected a list"):
            use(callbacks=3)
        with pytest.raises(TypeError, match="callbacks: got 'c', expected a Callback"):
            use(callbacks=["c"])


def test_hooks_of_tests_get_the_results() -> None:
    x, y = data()
    model = small()
    ends: list[Logs] = []
    callback = LambdaCallback(
        on_test_end=ends.append,
        on_test_batch_end=lambda batch, logs: ends.append(dict(logs)),
    )
    logs = model.evaluate(cut(x, y, 10), callbacks=[callback], return_dict=True)
    assert len(ends) == 3
    assert ends[0] != ends[1] == ends[2] == logs
    ends.clear()
    logs = model.evaluate(x, y, callbacks=[callback], return_dict=True)
    assert ends == [{}, logs]


def test_training_stops_after_the_batch_that_says_so() -> None:
    x, y = data()
    callback, calls = recorder()

    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            self.model.stop_training = batch == 1

    history = small().fit(
        *(x, y),
        epochs=3,
        batch_size=4,
        validation_data=(x, y),
        callbacks=[Stop(), callback],
    )
    assert calls.count("train_batch_end") == 2
    assert calls[-1] == "train_end"
    assert history.epoch == [0]
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae"}
