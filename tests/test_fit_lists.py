"""Lists of sequences of unequal length: padded in batches, masked, and left out."""

from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast.callbacks import BackupAndRestore, Callback, Logs
from reference import Array

layers = gf.layers
LENGTHS = (3, 7, 1, 5, 7, 2, 4)


def sequences() -> tuple[list[Array], Array]:
    """Sequences of two columns, and their means."""
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((n, 2), np.float32) for n in LENGTHS]
    return x, np.array([own.mean() for own in x], np.float32)[:, None]


def steps_of(x: list[Array]) -> list[Array]:
    """Running sums: a truth for every step."""
    return [np.tanh(own.cumsum(axis=0)[:, :1]) for own in x]


def model_of(return_sequences: bool, metrics: Any = ("mae",)) -> gf.Sequential:
    gru = layers.GRU(4, return_sequences=return_sequences)
    model = gf.Sequential([gru, layers.Dense(1)], seed=0)
    model.compile(gf.optimizers.SGD(0.1), "mse", metrics)
    return model


def bits(model: gf.Sequential) -> bytes:
    return b"".join(weight.tobytes() for weight in model.weights.values())


def test_sequences_are_predicted_as_alone() -> None:
    x, _ = sequences()
    for return_sequences in (False, True):
        model = model_of(return_sequences)
        alone = [model.predict(own[None])[0] for own in x]
        for size in (None, 1, 2, 3):
            together = model.predict(x, batch_size=size)
            assert isinstance(together, list) == return_sequences
            assert len(together) == len(x)
            for one, other in zip(together, alone, strict=True):
                np.testing.assert_array_equal(one, other)
        batch = model.predict_on_batch(x)
        assert [y.shape for y in batch] == [y.shape for y in alone]
        stream = model.predict(iter([x[:4], x[4:]]))
        for one, other in zip(stream, alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_batch_of_sequences_moves_weights_by_their_mean(
    return_sequences: bool,
) -> None:
    """One step of SGD: the mean of the gradients of all rows, or of all steps."""
    x, means = sequences()
    y: Any = steps_of(x) if return_sequences else means
    model = model_of(return_sequences)
    model.build((None, None, 2))
    start = model.get_weights()
    counts = LENGTHS if return_sequences else (1,) * len(x)
    expected = {name: np.zeros_like(weight) for name, weight in start.items()}
    loss = absolute = 0.0
    for own, truth, count in zip(x, y, counts, strict=True):
        y_pred, context = model.forward(own[None])
        target = truth[None].astype(np.float32)
        share = count / sum(counts)
        loss += gf.losses.mse(target, y_pred) * share
        absolute += float(np.abs(target - y_pred).mean()) * share
        _, grads = model.backward(gf.losses.mse.gradient(target, y_pred), context)
        for name, gradient in grads.items():
            expected[name] += gradient * np.float32(share)
    logs = model.evaluate(x, y, return_dict=True)
    assert logs == pytest.approx({"loss": loss, "mae": absolute}, rel=1e-5)
    history = model.fit(x, y, shuffle=False).history
    assert history == {
        "loss": [pytest.approx(loss, rel=1e-5)],
        "mae": [pytest.approx(absolute, rel=1e-5)],
    }
    for name, weight in model.weights.items():
        np.testing.assert_allclose(
            weight, start[name] - 0.1 * expected[name], atol=1e-6, err_msg=name
        )


def test_padding_changes_nothing() -> None:
    """A long sequence of another batch does not matter, nor does one of weight 0."""
    x, y = sequences()
    alone, padded = model_of(False), model_of(False)
    longer = np.ones((40, 2), np.float32)
    alone.fit(x[:3], y[:3], shuffle=False)
    weights = np.array([4 / 3, 4 / 3, 4 / 3, 0])
    padded.fit([*x[:3], longer], y[:4], shuffle=False, sample_weight=weights)
    for name, weight in alone.weights.items():
        np.testing.assert_allclose(weight, padded.weights[name], atol=1e-6)


def test_sequences_of_one_length_are_an_array() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 5, 2), np.float32)
    results = []
    for return_sequences, y in ((True, x[..., :1]), (False, x[:, 0, :1])):
        for inputs, truth in (
            (x, y),
            ([*x], [*y] if return_sequences else y),
        ):
            model = model_of(return_sequences)
            history = model.fit(
                inputs, truth, epochs=2, batch_size=4, seed=0, validation_split=0.5
            )
            results.append((bits(model), history.history["loss"]))
    assert results[0] == results[1]
    assert results[2] == results[3]


def test_lists_go_everywhere_that_arrays_do() -> None:
    x, means = sequences()
    y = steps_of(x)
    model = model_of(True)
    weights = [np.linspace(0, 1, len(own)) for own in x]
    history = model.fit(
        *(x, y),
        epochs=2,
        batch_size=2,
        sample_weight=weights,
        validation_data=(x, y, weights),
        seed=0,
    )
    assert np.isfinite([*history.history.values()]).all()
    rows = np.arange(7.0)
    parts = [(x[:4], y[:4], rows[:4]), (x[4:], y[4:], rows[4:])]
    by_rows, by_parts = model_of(True), model_of(True)
    by_rows.fit(x, y, sample_weight=rows, batch_size=4, shuffle=False)
    by_parts.fit(parts)
    assert bits(by_rows) == bits(by_parts)
    assert by_rows.evaluate(x, y, sample_weight=rows, batch_size=4) == (
        by_rows.evaluate(parts)
    )
    assert by_rows.test_on_batch(x, y) == by_rows.evaluate(x, y)
    logs = by_rows.train_on_batch(x, y, sample_weight=rows, return_dict=True)
    assert list(logs) == ["loss", "mae"]
    # The last part of a list, too.
    model = model_of(False)
    model.fit(x, means, validation_split=0.3, shuffle=False)
    other = model_of(False)
    other.fit(x[:4], means[:4], shuffle=False)
    assert bits(model) == bits(other)


def test_classes_of_sequences_have_weights() -> None:
    x, _ = sequences()
    y = [(own[:, :1] > 0).astype(np.float32) for own in x]
    by_class, by_step = model_of(True), model_of(True)
    by_class.fit(x, y, class_weight={1: 3.0}, shuffle=False)
    by_step.fit(x, y, sample_weight=[1 + 2.0 * own[:, 0] for own in y], shuffle=False)
    assert bits(by_class) == bits(by_step)


def test_training_on_lists_goes_on_where_it_was_broken_off(tmp_path: Any) -> None:
    class Crash(Callback):
        def on_train_batch_end(self, batch: int, logs: Logs) -> None:
            if self.model.stop:
                self.model.stop -= 1
            else:
                raise KeyboardInterrupt

    x, _ = sequences()
    y = steps_of(x)
    options: dict[str, Any] = {"epochs": 4, "batch_size": 3, "seed": 5}
    whole, broken = model_of(True), model_of(True)
    expected = whole.fit(x, y, **options).history
    vars(broken)["stop"] = 4
    path = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        broken.fit(x, y, callbacks=[BackupAndRestore(path, 1), Crash()], **options)
    again = model_of(True)
    history = again.fit(x, y, callbacks=[BackupAndRestore(path, 1)], **options)
    assert history.history == expected
    assert bits(again) == bits(whole)


def test_masks_of_layers_reach_the_loss() -> None:
    """`Masking` finds the padding of an array: nothing else changes."""
    x, _ = sequences()
    y = steps_of(x)
    shape = len(x), max(LENGTHS)
    padded = np.zeros((*shape, 2), np.float32), np.zeros((*shape, 1), np.float32)
    for array, own in zip(padded, (x, y), strict=True):
        for row, sequence in zip(array, own, strict=True):
            row[: len(sequence)] = sequence
    gru = layers.GRU(4, return_sequences=True)
    masking = gf.Sequential([layers.Masking(), gru, layers.Dense(1)], seed=0)
    masking.compile(gf.optimizers.SGD(0.1), "mse", ["mae"])
    lists = model_of(True)
    lists.build((None, None, 2))
    masking.build((None, None, 2))
    for layer, other in zip(masking.layers[1:], lists.layers, strict=True):
        layer.set_weights(other.weights)
    expected = lists.evaluate(x, y)
    assert masking.evaluate(*padded) == pytest.approx(expected, rel=1e-6)
    assert masking.evaluate(*padded, batch_size=2) == masking.evaluate(*padded)
    options: dict[str, Any] = {"epochs": 2, "shuffle": False}
    history = masking.fit(*padded, **options).history
    assert history["loss"] == pytest.approx(lists.fit(x, y, **options).history["loss"])
    for layer, other in zip(masking.layers[1:], lists.layers, strict=True):
        for name, weight in layer.weights.items():
            np.testing.assert_allclose(weight, other.weights[name], atol=1e-6)


def test_lists_of_indices() -> None:
    """An `Embedding` takes sequences of integers."""
    rng = np.random.default_rng(2)
    x = [rng.integers(1, 9, n) for n in LENGTHS]
    y = np.array([own[0] for own in x])
    model = gf.Sequential(
        [layers.Embedding(9, 3), layers.GRU(4), layers.Dense(9)], seed=0
    )
    loss = gf.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(gf.optimizers.Adam(0.1), loss, ["accuracy"])
    history = model.fit(x, y, epochs=60, batch_size=3, seed=0).history
    assert history["accuracy"][-1] == 1
    alone = [model.predict(own[None])[0] for own in x]
    np.testing.assert_array_equal(model.predict(x), alone)
    with pytest.raises(ValueError, match=r"x\[1\]: got the index 9, expected 0 to 8"):
        model.fit([x[0], np.array([9])], y[:2])


X, Y = sequences()
ERRORS: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    ([X[0], 3], Y[:2], {}, TypeError, r"x\[1\]: got int, expected a NumPy array"),
    (
        *([X[0], X[1][:, :1]], Y[:2], {}, ValueError),
        r"x\[1\]: got shape \(7, 1\), expected \(T, C\) with C = 2",
    ),
    ([X[0][:, 0]], Y[:1], {}, ValueError, r"x\[0\]: got shape \(3,\), expected \(T, C"),
    ([X[0], X[1][:0]], Y[:2], {}, ValueError, r"x\[1\]: expected at least one step"),
    ([X[0], np.float32(1)], Y[:2], {}, TypeError, r"x\[1\]: got float32"),
    ([X[0], np.ones((), "f4")], Y[:2], {}, ValueError, r"x\[1\]: got shape \(\)"),
    ([X[0].astype("f8")], Y[:1], {}, TypeError, r"x\[0\]: got an array of float64"),
    (X, Y[:3], {}, ValueError, r"y: got shape \(3, 1\), expected the output's, \(7, 1"),
    (X, [*Y], {}, TypeError, "y: got list, expected a NumPy array"),
    (
        *(X, Y, {"sample_weight": np.ones(3)}),
        *(ValueError, r"sample_weight: got shape \(3,\), expected \(7,\)"),
    ),
    (
        *(X, Y, {"sample_weight": [np.ones(3)] * 7}),
        *(TypeError, "sample_weight: got list"),
    ),
    (X, None, {}, TypeError, "x: in a batch, got ndarray, expected .x, y."),
]
ERRORS_OF_STEPS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (Y, {}, TypeError, r"y: got ndarray, expected a list of 7 arrays \(T_i, ...\)"),
    (steps_of(X)[:3], {}, TypeError, "y: got 3 of them, expected a list of 7 arrays"),
    ([1] * 7, {}, TypeError, "y: got 7 of them, expected a list of 7 arrays"),
    (
        [*steps_of(X)[:6], Y],
        *({}, ValueError, r"y\[6\]: got shape \(7, 1\), expected the output's, \(4, 1"),
    ),
    (
        *(steps_of(X), {"sample_weight": [np.ones(3)] * 7}),
        *(ValueError, r"sample_weight\[1\]: got shape \(3,\), expected \(7,\)"),
    ),
    (
        *(steps_of(X), {"sample_weight": [np.ones(3)]}),
        *(ValueError, "sample_weight: got 1 arrays for 7 rows"),
    ),
]


@pytest.mark.parametrize(("x", "y", "options", "error", "message"), ERRORS)
def test_wrong_sequences_are_named(
    x: Any, y: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = model_of(False)
    for use in (model.fit, model.evaluate):
        with pytest.raises(error, match=message):
            use(x, y, **options)


@pytest.mark.parametrize(
    ("x", "got"),
    [
        ([own.tolist() for own in X], "a list"),
        (tuple(X), "a tuple"),
        (np.array(X, object), "an array of objects"),
        ([], "a list"),
    ],
)
def test_who_has_sequences_in_something_else_is_told_how(x: Any, got: str) -> None:
    model = model_of(False)
    with pytest.raises(TypeError, match=f"x: got {got}, .*for s in x") as caught:
        model.fit(x, Y)
    # What the message advises works.
    advice = str(caught.value).partition("; use ")[2]
    if len(x):
        model.fit(eval(advice, {"np": np, "x": x}), Y)


@pytest.mark.parametrize(("y", "options", "error", "message"), ERRORS_OF_STEPS)
def test_wrong_truths_of_steps_are_named(
    y: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = model_of(True)
    for use in (model.fit, model.evaluate):
        with pytest.raises(error, match=message):
            use(X, y, **options)


def test_layers_that_need_a_length_take_no_lists() -> None:
    model = gf.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile()
    with pytest.raises(ValueError, match=r"leaves the input size of layers\[1\]"):
        model.fit(X, Y)
