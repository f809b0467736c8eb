"""Masks: who makes them, who hands them on, who leaves padding out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast._checks import Shape
from reference import Array

layers = gf.layers


class Probe(gf.layers.Layer):
    """Keeps the mask that it is given."""

    supports_masking = True

    def __init__(self) -> None:
        self.seen: list[Array | None] = []

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        self.seen.append(mask)
        return x

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._infer(x, mask), ()

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        return dy, {}


def sequences(rng: np.random.Generator) -> tuple[Array, Array]:
    """Sequences (5, 7, 3) padded with 0 to the right, and their mask."""
    x = rng.normal(size=(5, 7, 3))
    mask = np.arange(7) < np.array([7, 4, 1, 0, 6])[:, None]
    x[~mask] = 0
    return x, mask


# Who makes masks


def test_masking_marks_steps_whose_elements_all_have_the_value(
    rng: np.random.Generator,
) -> None:
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    x[0, 2], x[1, 4], x[2, 0, 1] = -2, -2, -2
    layer = layers.Masking(-2)
    expected = np.ones((4, 5), bool)
    expected[0, 2] = expected[1, 4] = False
    np.testing.assert_array_equal(layer.compute_mask(x), expected)
    y, context = layer.forward(x)
    np.testing.assert_array_equal(y, np.where(expected[..., None], x, 0))
    np.testing.assert_array_equal(layer(x), y)
    dx, _ = layer.backward(np.ones_like(y), context)
    np.testing.assert_array_equal(dx, np.ones((4, 5, 3)) * expected[..., None])


def test_masking_adds_to_the_mask_that_is_there(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    first = np.ones((5, 7), bool)
    first[:, 0] = False
    layer = layers.Masking()
    np.testing.assert_array_equal(layer.compute_mask(x, first), mask & first)
    assert not layer(x, mask=first)[:, 0].any()


def test_masking_replaces_what_is_not_a_number() -> None:
    x = np.full((1, 2, 2), np.nan)
    mask = np.array([[True, False]])
    np.testing.assert_array_equal(
        layers.Masking()(x, mask=mask), [[[np.nan, np.nan], [0, 0]]]
    )


def test_embedding_makes_a_mask_if_zero_is_padding() -> None:
    x = np.array([[1, 2, 0], [0, 0, 3]])
    assert layers.Embedding(4, 2).compute_mask(x) is None
    layer = layers.Embedding(4, 2, mask_zero=True)
    np.testing.assert_array_equal(layer.compute_mask(x), x != 0)
    first = np.array([[False, True, True], [True, True, True]])
    np.testing.assert_array_equal(layer.compute_mask(x, first), (x != 0) & first)


# Who hands them on


@pytest.mark.parametrize(
    ("layer", "hands_on"),
    [
        (layers.Activation("tanh"), True),
        (layers.Dense(2), True),
        (layers.Dropout(0.5), True),
        (layers.LayerNormalization(), True),
        (layers.Softmax(), True),
        (layers.TimeDistributed(layers.Flatten()), True),
        (layers.Flatten(), False),
        (layers.GlobalAveragePooling1D(), False),
        (layers.GlobalMaxPooling1D(), False),
        (layers.RepeatVector(2), False),
        (layers.Reshape((-1,)), False),
    ],
    ids=repr,
)
def test_masks_are_handed_on_where_steps_stay_steps(
    layer: gf.layers.Layer, hands_on: bool
) -> None:
    x, mask = np.ones((2, 3, 2), np.float32), np.ones((2, 3), bool)
    assert (layer.compute_mask(x, mask) is mask) == hands_on
    assert layer.compute_mask(x) is None


def test_a_model_hands_masks_from_layer_to_layer(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    probes = [Probe() for _ in range(4)]
    model = gf.Sequential(
        [
            probes[0],
            layers.Masking(),
            probes[1],
            layers.Dense(4, "tanh", dtype="float64"),
            layers.Dropout(0.1),
            layers.LayerNormalization(dtype="float64"),
            layers.TimeDistributed(layers.Dense(2, dtype="float64")),
            layers.Activation("relu"),
            layers.Softmax(),
            probes[2],
            layers.GlobalAveragePooling1D(),
            probes[3],
        ]
    )
    y, context = model.forward(x)
    model.backward(y, context)
    model(x)
    model.predict(x, batch_size=5)
    for calls in zip(*(probe.seen for probe in probes), strict=True):
        assert calls[0] is calls[3] is None
        for seen in calls[1:3]:
            np.testing.assert_array_equal(seen, mask)
    assert len(probes[0].seen) == 3


def test_a_model_takes_a_mask(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    probe = Probe()
    model = gf.Sequential([probe, layers.Dense(2, dtype="float64")], seed=0)
    y = model(x, mask=mask)
    z, context = model.forward(x, mask=mask)
    np.testing.assert_array_equal(y, z)
    assert model.backward(z, context)[0].shape == x.shape
    assert [seen is mask for seen in probe.seen] == [True, True]


def test_the_mask_of_a_batch_is_that_of_its_rows(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    probe = Probe()
    model = gf.Sequential([layers.Masking(), probe], seed=0)
    model.predict(x.astype(np.float32), batch_size=2)
    np.testing.assert_array_equal(np.concatenate(probe.seen), mask)  # type: ignore[arg-type]


# Who leaves padding out


@pytest.mark.parametrize("kind", ["GlobalAveragePooling1D", "GlobalMaxPooling1D"])
def test_pooling_leaves_padding_out(rng: np.random.Generator, kind: str) -> None:
    x, mask = sequences(rng)
    layer: gf.layers.Layer = getattr(layers, kind)()
    pool: Any = np.mean if kind == "GlobalAveragePooling1D" else np.max
    y, context = layer.forward(x, mask=mask)
    np.testing.assert_array_equal(layer(x, mask=mask), y)
    for row in range(5):
        valid = x[row, mask[row]]
        exact = pool(valid, axis=0) if len(valid) else np.zeros(3)
        np.testing.assert_allclose(y[row], exact, rtol=1e-14)
    x[~mask] = np.inf  # padding may hold anything
    np.testing.assert_array_equal(layer(x, mask=mask), y)
    dy = rng.normal(size=y.shape)
    dx, _ = layer.backward(dy, context)
    assert not dx[~mask].any()
    np.testing.assert_allclose(dx.sum(axis=1), dy * mask.max(axis=1, keepdims=True))
    if kind == "GlobalMaxPooling1D":
        assert (np.count_nonzero(dx, axis=1) == mask.max(axis=1, keepdims=True)).all()
    else:
        count = mask.sum(axis=1)[:, None]
        for row in range(5):
            expected = np.broadcast_to(dy[row] / max(count[row], 1), (count[row, 0], 3))
            np.testing.assert_allclose(dx[row, mask[row]], expected)


# Wrong masks


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            np.ones((5, 6), bool),
            ValueError,
            r"mask: got shape \(5, 6\), expected .*\(5, 7\)",
        ),
        (np.ones(5, bool), ValueError, r"mask: got shape \(5,\), expected .*\(5, 7\)"),
        (
            np.ones((5, 7)),
            TypeError,
            r"mask: got an array of float64, expected .* bool",
        ),
        (
            [[True] * 7] * 5,
            TypeError,
            r"mask: got list, expected a NumPy array of bool",
        ),
    ],
)
def test_wrong_masks_are_named(
    rng: np.random.Generator, mask: Any, error: type[Exception], message: str
) -> None:
    x, _ = sequences(rng)
    layer = layers.Masking()
    model = gf.Sequential([layers.Dense(2, dtype="float64")])
    for call in (layer, layer.forward, model, model.forward):
        with pytest.raises(error, match=message):
            call(x, mask=mask)


def test_a_mask_needs_steps() -> None:
    with pytest.raises(ValueError, match=r"mask: got shape \(3,\), expected .*\(3,\)"):
        layers.Activation("relu")(np.ones(3), mask=np.ones(3, bool))


def test_models_with_masks_can_be_kept(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    x = rng.integers(0, 5, (4, 6))
    model = gf.Sequential(
        [layers.Embedding(5, 3, mask_zero=True), layers.GlobalAveragePooling1D()],
        seed=0,
    )
    y = model(x)
    model.save(tmp_path / "model")
    loaded = gf.load(tmp_path / "model")
    assert loaded(x).tobytes() == y.tobytes()
    x[:, -1] = 0
    longer = np.pad(x, ((0, 0), (0, 3)))
    np.testing.assert_allclose(loaded(longer), loaded(x), rtol=1e-6)
