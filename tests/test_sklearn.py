"""The scikit-learn estimators: its own checks, sequences, training, pickles, errors."""

import contextlib
import io
import itertools
import os
import pickle
import pickletools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.class_weight import compute_sample_weight

import grufast as gf
from grufast.sklearn import GRUClassifier, GRUForecaster, GRURegressor
from reference import Array

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("one_thread")
both = pytest.mark.parametrize("kind", [GRURegressor, GRUClassifier])


@pytest.fixture
def one_thread(keep_num_threads: None) -> None:
    """No second thread, which networks this small would mostly wait for."""
    gf.set_num_threads(1)


def small(kind: Any = GRURegressor, **changes: Any) -> Any:
    options = {"units": 6, "max_iter": 3, "random_state": 0, **changes}
    return kind(**options)


def data(n: int = 40, steps: int = 7, channels: int = 1, seed: int = 0) -> Any:
    """Sequences whose last steps decide, as X (n, T, C), a number and a label each."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, steps, channels))
    y = x[:, -3:].sum((1, 2))
    return x, y, np.array(["low", "high"])[(y > 0).astype(int)]


def target(kind: Any, y: Array, labels: Array) -> Array:
    return y if kind is GRURegressor else labels


def outputs(estimator: Any, x: Any) -> Array:
    """All that an estimator says about sequences."""
    name = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    values: Array = getattr(estimator, name)(x)
    return values


def ragged(n: int = 30, channels: int = 2) -> Any:
    """Sequences of 2 to 6 steps, what they add up to, and whether that is positive."""
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((rng.integers(2, 7), channels)) for _ in range(n)]
    y = np.array([s.sum() for s in x])
    return x, y, np.where(y > 0, "up", "down")


# scikit-learn's own checks


def check_name(check: Any) -> str:
    name: str = getattr(check, "func", check).__name__
    return name


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(*case, id=f"{kind.__name__}-{check_name(case[1])}")
        for kind in (GRURegressor, GRUClassifier)
        for case in estimator_checks.estimator_checks_generator(kind())
    ],
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


PARAMETER_CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_mixin_order,
]


@pytest.mark.parametrize("check", PARAMETER_CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_checks_of_the_forecasters_parameters(check: Any) -> None:
    # Those that fit take rows for independent samples, and call predict(X).
    check("GRUForecaster", GRUForecaster())


# Sequences


@both
def test_columns_are_steps(kind: Any) -> None:
    x, y, labels = data()
    flat = small(kind).fit(x[:, :, 0], target(kind, y, labels))
    deep = small(kind).fit(x, target(kind, y, labels))
    assert_array_equal(outputs(flat, x[:, :, 0]), outputs(deep, x))
    assert (flat.n_features_in_, deep.n_features_in_) == (7, 1)
    # A network of one channel takes sequences of any length, of any kind.
    assert_array_equal(outputs(deep, x[:, :4, 0]), outputs(flat, x[:, :4]))
    listed = [x[0, :4, 0], x[1, :, 0]]
    assert_array_equal(outputs(deep, listed)[:1], outputs(flat, x[:1, :4]))


@both
def test_channels_may_come_first(kind: Any) -> None:
    x, y, labels = data(channels=3)
    ntc = small(kind).fit(x, target(kind, y, labels))
    nct = small(kind, input_layout="NCT").fit(
        x.transpose(0, 2, 1), target(kind, y, labels)
    )
    assert_array_equal(outputs(nct, x.transpose(0, 2, 1)), outputs(ntc, x))
    mixed = [x[0], x[1, :4]]
    assert_array_equal(outputs(nct, [s.T for s in mixed]), outputs(ntc, mixed))


@both
def test_lists_of_one_length_are_arrays(kind: Any) -> None:
    x, y, labels = data(channels=2)
    array = small(kind).fit(x, target(kind, y, labels))
    for items in list(x), x.tolist(), tuple(x):
        listed = small(kind).fit(items, target(kind, y, labels))
        assert_array_equal(outputs(listed, items), outputs(array, x))


@both
@pytest.mark.parametrize("channels", [1, 2])
def test_lists_of_unequal_length(kind: Any, channels: int) -> None:
    x, y, labels = ragged(120, channels)
    if channels == 1:
        x = [s[:, 0] for s in x]
    model = small(kind, units=16, max_iter=60, batch_size=16, tol=0)
    model.fit(x, target(kind, y, labels))
    assert model.score(x, target(kind, y, labels)) > 0.9
    together = outputs(model, x)
    alone = np.concatenate([outputs(model, [s]) for s in x])
    assert_array_equal(together, alone)
    as_objects = np.empty(len(x), object)
    as_objects[:] = x
    assert_array_equal(outputs(model, as_objects), together)


@both
def test_the_dtype_is_that_of_x_or_the_one_asked_for(kind: Any) -> None:
    x, y, labels = data()
    for given, asked, expected in [
        (np.float64, None, "float64"),
        (np.float32, None, "float32"),
        (np.int64, None, "float64"),
        (np.float64, "float32", "float32"),
        (np.float32, "float64", "float64"),
    ]:
        model = small(kind, dtype=asked).fit(x.astype(given), target(kind, y, labels))
        assert model.model_.dtype == expected
        assert outputs(model, x).dtype == np.float64
        assert outputs(model, [x[0, :3], x[1]]).dtype == np.float64
    mixed = [x[0].astype(np.float32), *x[1:, :5]]
    assert small(kind).fit(mixed, target(kind, y, labels)).model_.dtype == "float64"


# What is learnt


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("units", [12, (12,), [8, 8], np.array([8, 8])])
def test_networks(units: Any, bidirectional: bool) -> None:
    x, y, _ = data(300, channels=2)
    model = small(
        units=units, bidirectional=bidirectional, dropout=0.05, max_iter=150, tol=0
    ).fit(x[:200], y[:200])
    assert model.score(x[200:], y[200:]) > 0.7
    layers = [type(layer).__name__ for layer in model.model_.layers]
    cell = "Bidirectional" if bidirectional else "GRU"
    assert layers == [cell, "Dropout"] * np.size(units) + ["Dense"]


@pytest.mark.parametrize(
    ("cell", "layer"), [("gru", "GRU"), ("lstm", "LSTM"), ("rnn", "SimpleRNN")]
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_cells(cell: str, layer: str, bidirectional: bool) -> None:
    x, _, labels = ragged(120)
    model = small(
        GRUClassifier, cell=cell, bidirectional=bidirectional, units=12, max_iter=120
    ).fit(x, labels)
    assert model.score(x, labels) > 0.85
    first: Any = model.model_.layers[0]
    assert type(first.layer if bidirectional else first).__name__ == layer
    series = forecaster(cell=cell, bidirectional=bidirectional).fit(waves())
    assert series.predict(10).shape == (10, 2)


def test_several_targets() -> None:
    x, y, _ = data(60)
    several = np.stack([y, 100 - 5 * y], axis=1)
    model = small(max_iter=100).fit(x, several)
    assert model.predict(x).shape == (60, 2)
    assert model.n_outputs_ == 2
    assert r2_score(several, model.predict(x), multioutput="raw_values").min() > 0.5
    column = small().fit(x, y[:, None])
    assert_array_equal(column.predict(x)[:, 0], small().fit(x, y).predict(x))
    assert column.predict(x).shape == (60, 1)


def test_the_unit_of_the_target_does_not_matter() -> None:
    x, y, _ = data()
    once = small(max_iter=20).fit(x, y).predict(x)
    again = small(max_iter=20).fit(x, 1024 * y + 512).predict(x)
    assert_allclose(again, 1024 * once + 512, rtol=1e-9)


def test_a_constant_target_is_predicted() -> None:
    x, y, _ = data()
    found = small(max_iter=300).fit(x, np.full_like(y, 7.5)).predict(x)
    assert_allclose(found, 7.5, atol=0.1)


@both
def test_weights_count_rows(kind: Any) -> None:
    x, y, labels = data(30)
    y = target(kind, y, labels)
    rng = np.random.default_rng(0)
    times = rng.integers(0, 4, 30)
    weighted = small(kind, max_iter=10).fit(x, y, times)
    repeated = small(kind, max_iter=10).fit(x.repeat(times, 0), y.repeat(times))
    assert_allclose(outputs(weighted, x), outputs(repeated, x), rtol=1e-9)
    plain = small(kind, max_iter=10).fit(x, y)
    assert not np.allclose(outputs(weighted, x), outputs(plain, x), rtol=1e-3)
    same = small(kind, max_iter=10).fit(x, y, np.full(30, 0.25))
    assert_array_equal(outputs(same, x), outputs(plain, x))


def test_weights_of_classes() -> None:
    x, _, labels = data(50)
    x, labels = x[5:], labels[5:]
    labels[:30] = "high"
    balanced = small(GRUClassifier, class_weight="balanced").fit(x, labels)
    weights = compute_sample_weight("balanced", labels)
    by_row = small(GRUClassifier).fit(x, labels, weights)
    assert_array_equal(outputs(balanced, x), outputs(by_row, x))
    given = {label: weights[labels == label][0] for label in ("high", "low")}
    by_dict = small(GRUClassifier, class_weight=given).fit(x, labels)
    assert_array_equal(outputs(balanced, x), outputs(by_dict, x))
    plain = small(GRUClassifier).fit(x, labels)
    assert outputs(balanced, x)[:, 1].mean() > outputs(plain, x)[:, 1].mean()


def test_labels_and_probabilities() -> None:
    x, y, _ = data(200)
    labels = np.digitize(y, [-1, 1]) * 10 - 10
    model = small(GRUClassifier, max_iter=100, units=16).fit(x, labels)
    assert_array_equal(model.classes_, [-10, 0, 10])
    probabilities = model.predict_proba(x)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(model.predict(x), model.classes_[probabilities.argmax(axis=1)])
    assert model.score(x, labels) > 0.8


# Training


@both
def test_the_seed_decides(kind: Any) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)

    def found(seed: Any) -> Array:
        model = small(kind, random_state=seed, dropout=0.2, batch_size=8)
        return outputs(model.fit(x, y), x)

    expected = found(3)
    assert_array_equal(found(3), expected)
    assert_array_equal(found(np.int64(3)), expected)
    assert_array_equal(found(np.random.RandomState(3)), expected)
    assert not np.array_equal(found(4), expected)
    assert not np.array_equal(found(None), found(None))
    own = np.random.RandomState(3)
    assert not np.array_equal(found(own), found(own))


def test_threads_change_no_bit() -> None:
    x, y, _ = data(64, 50)
    found = []
    for threads in 1, 2, 3:
        gf.set_num_threads(threads)
        found.append(small(units=40).fit(x, y).predict(x))
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


@both
def test_passes_one_by_one_are_a_fit(kind: Any) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)
    options = {"classes": ["low", "high"]} if kind is GRUClassifier else {}
    whole = small(kind, max_iter=5, batch_size=16, dropout=0.1).fit(x, y)
    steps = small(kind, batch_size=16, dropout=0.1)
    for number in range(5):
        steps.partial_fit(x, y, **(options if number == 0 else {}))
    assert_array_equal(outputs(steps, x), outputs(whole, x))
    assert steps.n_iter_ == whole.n_iter_ == 5
    assert steps.loss_curve_ == whole.loss_curve_
    assert steps.loss_ == steps.loss_curve_[-1]


def test_partial_fit_knows_classes_that_come_later() -> None:
    x, _, labels = data()
    model = small(GRUClassifier)
    model.partial_fit(x[labels == "low"], labels[labels == "low"], ["low", "high"])
    assert model.predict_proba(x).shape == (40, 2)
    model.partial_fit(x, labels, classes=["high", "low"])
    assert_array_equal(model.classes_, ["high", "low"])


@both
def test_warm_start_goes_on(kind: Any) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)
    cold = small(kind).fit(x, y).fit(x, y)
    assert cold.n_iter_ == 3
    assert_array_equal(outputs(cold, x), outputs(small(kind).fit(x, y), x))
    warm = small(kind, warm_start=True).fit(x, y)
    first = warm.loss_
    # The same network in other words; after loading, arrays are not identical.
    warm.set_params(max_iter=4, units=np.array([6]))
    warm = pickle.loads(pickle.dumps(warm)).fit(x, y)
    assert warm.n_iter_ == len(warm.loss_curve_) == 7
    assert warm.loss_ < first


@both
def test_training_ends_when_nothing_improves(kind: Any) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)
    model = small(kind, max_iter=500, tol=0.01, n_iter_no_change=4).fit(x, y)
    assert 5 < model.n_iter_ < 500
    losses = model.loss_curve_
    better = [now <= min(losses[:i]) - 0.01 for i, now in enumerate(losses) if i]
    assert better[-6:] == [True, *[False] * 5]
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None


@both
def test_early_stopping_keeps_the_best_weights(kind: Any) -> None:
    x, y, labels = data(60)
    y = target(kind, y, labels)
    model = small(
        kind, max_iter=300, early_stopping=True, validation_fraction=0.25, tol=0
    ).fit(x, y)
    assert model.n_iter_ == len(model.validation_scores_) < 300
    assert model.best_validation_score_ == max(model.validation_scores_)
    _, held = train_test_split(
        np.arange(60),
        test_size=0.25,
        random_state=model._shuffling,
        stratify=None if kind is GRURegressor else y,
    )
    assert_allclose(model.score(x[held], y[held]), model.best_validation_score_)


def test_verbose_writes_the_losses(capsys: pytest.CaptureFixture[str]) -> None:
    x, y, _ = data()
    model = small(max_iter=2, verbose=True, early_stopping=True).fit(x, y)
    written = capsys.readouterr().out.splitlines()
    assert written[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert written[1] == f"Validation score: {model.validation_scores_[0]:.6f}"
    assert len(written) == 4
    small().fit(x, y)
    assert capsys.readouterr().out == ""


def test_rows_stay_in_order_without_shuffling() -> None:
    x, y, _ = data()
    model = small(shuffle=False, batch_size=16, max_iter=1).fit(x, y)
    by_hand = gf.Sequential(
        [gf.layers.GRU(6, dtype="float64"), gf.layers.Dense(1, dtype="float64")]
    )
    start = small(max_iter=1, learning_rate_init=0.0).fit(x, y).model_
    by_hand.build((None, None, 1))
    by_hand.set_weights(start.get_weights())
    by_hand.compile(gf.optimizers.Adam(0.01), "mse")
    scaled = (y - y.mean()) / y.std()
    by_hand.fit(x, scaled[:, None], batch_size=16, shuffle=False)
    for name, weight in by_hand.weights.items():
        assert_allclose(model.model_.weights[name], weight, rtol=1e-9, atol=1e-12)


# Pipelines, searches, pickles


@both
def test_pipelines_and_searches(kind: Any) -> None:
    x, y, labels = data(60)
    y = target(kind, y, labels)
    pipeline = make_pipeline(StandardScaler(), small(kind))
    scores = cross_val_score(pipeline, x[:, :, 0], y, cv=3)
    assert scores.shape == (3,)
    step = kind.__name__.lower()
    grid = {f"{step}__units": [3, (4, 4)], f"{step}__batch_size": [16]}
    searches = [
        GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs).fit(x[:, :, 0], y)
        for jobs in (1, 2)
    ]
    for name in "mean_test_score", "std_test_score":
        assert_array_equal(searches[0].cv_results_[name], searches[1].cv_results_[name])
    assert_array_equal(searches[0].predict(x[:, :, 0]), searches[1].predict(x[:, :, 0]))


@both
def test_searches_take_channels_and_lists(kind: Any) -> None:
    x, y, labels = data(30, channels=2)
    y = target(kind, y, labels)
    assert len(cross_val_score(small(kind), x, y, cv=3, n_jobs=2)) == 3
    x, y, labels = ragged()
    y = target(kind, y, labels)
    search = GridSearchCV(small(kind), {"units": [2, 3]}, cv=3, n_jobs=2).fit(x, y)
    assert search.predict(x[:4]).shape == (4,)


def classes_named(pickled: bytes) -> set[str]:
    """What a pickle would import from grufast."""
    strings = [arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str)]
    return {
        f"{module}.{name}"
        for module, name in itertools.pairwise(strings)
        if module.startswith("grufast")
    }


@both
def test_pickles_hold_the_bytes_of_a_model_file(kind: Any, tmp_path: Path) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)
    model = small(kind, early_stopping=True).fit(x, y)
    pickled = pickle.dumps(model)
    assert classes_named(pickled) == {f"grufast.sklearn.{kind.__name__}"}
    model.model_.save(tmp_path / "model.safetensors", include_optimizer=True)
    assert (tmp_path / "model.safetensors").read_bytes() in pickled
    same = pickle.loads(pickled)
    assert_array_equal(outputs(same, x), outputs(model, x))
    assert vars(same).keys() == vars(model).keys()
    unfitted = small(kind)
    assert pickle.loads(pickle.dumps(unfitted)).get_params() == unfitted.get_params()
    # Training goes on with the same bits, and neither knows the other.
    same.set_params(early_stopping=False).partial_fit(x, y)
    assert same.n_iter_ == model.n_iter_ + 1
    assert not np.array_equal(outputs(same, x), outputs(model, x))
    model.set_params(early_stopping=False).partial_fit(x, y)
    assert_array_equal(outputs(same, x), outputs(model, x))


@both
def test_a_clone_knows_nothing(kind: Any) -> None:
    x, y, labels = data()
    fresh = clone(small(kind).fit(x, target(kind, y, labels)))
    with pytest.raises(NotFittedError):
        fresh.predict(x)


def test_jobs_share_the_cores() -> None:
    if "GRUFAST_NUM_THREADS" in os.environ or "OMP_NUM_THREADS" in os.environ:
        pytest.skip("the environment sets the threads of every process")
    code = "__import__('grufast').get_num_threads()"
    threads = joblib.Parallel(n_jobs=2)(joblib.delayed(eval)(code) for _ in range(2))
    assert max(threads) <= max(1, joblib.cpu_count() // 2)


# Forecasts


def waves(n: int = 260, columns: int = 2) -> Array:
    rng = np.random.default_rng(0)
    t = np.arange(n)[:, None] + 7 * np.arange(columns)
    noise = 0.05 * rng.standard_normal((n, columns))
    return np.asarray(np.sin(t / 4) + noise + 3 * np.arange(columns))


def forecaster(**changes: Any) -> GRUForecaster:
    options = {"horizon": 8, "units": 6, "max_iter": 3, "random_state": 0, **changes}
    return GRUForecaster(**options)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("base", ["linear", "last"])
def test_forecasts_follow_the_series(columns: int, base: str) -> None:
    series = waves(columns=columns)
    model = forecaster(base=base, max_iter=30).fit(series[:-20])
    assert model.score(series[-20:]) > 0.8
    assert len(model.models_) == model.n_features_in_ == columns
    assert_array_equal(model.predict(), model.predict(8))
    assert_array_equal(model.predict(3), model.predict()[:3])
    assert_array_equal(model.predict(5, X=series[:-20]), model.predict(5))
    assert not np.array_equal(model.predict(5, X=series), model.predict(5))


def test_one_series_has_one_dimension() -> None:
    series = waves(columns=1)
    flat = forecaster().fit(series[:, 0])
    assert flat.predict(11).shape == (11,)
    assert_array_equal(flat.predict(11), forecaster().fit(series).predict(11)[:, 0])


def test_one_column_can_be_the_target() -> None:
    series = waves()
    model = forecaster(target=1, max_iter=20).fit(series[:-8])
    assert model.predict().shape == (8,)
    assert len(model.models_) == 1
    assert model.score(series[-8:]) > 0.7
    # It looks at the other column.
    changed = series[:-8].copy()
    changed[-5:, 0] += 1
    assert not np.array_equal(model.predict(X=changed), model.predict())


def test_beyond_the_horizon_forecasts_are_fed_back() -> None:
    series = waves()
    model = forecaster().fit(series)
    far = model.predict(20)
    assert far.shape == (20, 2)
    longer = np.vstack((series, far[:8]))
    assert_array_equal(model.predict(X=longer), far[8:16])


def test_every_row_of_the_series_is_used() -> None:
    """The last rows validate and are seen by the forecast; none is held out."""
    series = waves(columns=1)[:, 0]
    model = forecaster(horizon=2, window=4).fit(series)
    for row in -1, -3, -4:
        changed = series.copy()
        changed[row] += 0.5
        assert not np.array_equal(model.predict(X=changed), model.predict())
    changed = series.copy()
    changed[-5] += 0.5
    assert_array_equal(model.predict(X=changed), model.predict())
    assert np.isfinite(model.predict(9)).all()


def test_forecasters_in_searches() -> None:
    search = GridSearchCV(
        forecaster(),
        {"units": [4, (4, 4)], "bidirectional": [False, True]},
        cv=TimeSeriesSplit(2, test_size=8),
        n_jobs=2,
    ).fit(waves())
    assert search.predict(4).shape == (4, 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_forecasters_have_seeds_and_pickles() -> None:
    series = waves()
    model = forecaster(dropout=0.1).fit(series)
    assert_array_equal(forecaster(dropout=0.1).fit(series).predict(), model.predict())
    other = forecaster(dropout=0.1, random_state=1).fit(series)
    assert not np.array_equal(other.predict(), model.predict())
    pickled = pickle.dumps(model)
    assert classes_named(pickled) == {"grufast.sklearn.GRUForecaster"}
    assert_array_equal(pickle.loads(pickled).predict(20), model.predict(20))
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(forecaster())).predict()


def test_a_verbose_forecaster_writes_the_losses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    forecaster(verbose=True, max_iter=2).fit(waves(columns=1))
    assert capsys.readouterr().out.count("val_loss") == 2


# Errors


@both
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"units": 0}, ValueError, "units: got 0, expected an integer of at least 1"),
        ({"units": (4, 2.5)}, TypeError, "units: got 2.5, expected an integer"),
        ({"units": ()}, ValueError, r"units: got \(\), expected an integer or several"),
        ({"units": ""}, ValueError, "units: got '', expected an integer or several"),
        ({"units": "12"}, TypeError, "units: got '1', expected an integer"),
        ({"cell": "GRU"}, ValueError, "cell: got 'GRU', expected one of 'gru', 'lstm'"),
        ({"bidirectional": 1}, TypeError, "bidirectional: got 1, expected True or"),
        ({"dropout": 1.0}, ValueError, r"dropout: got 1.0, expected a number in"),
        ({"learning_rate_init": -1}, ValueError, "learning_rate_init: got -1"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0, expected an integer"),
        ({"batch_size": "all"}, TypeError, "batch_size: got 'all', expected an"),
        ({"max_iter": 0}, ValueError, "max_iter: got 0, expected an integer of"),
        ({"tol": None}, TypeError, "tol: got None, expected a number"),
        ({"shuffle": "no"}, TypeError, "shuffle: got 'no', expected True or False"),
        ({"early_stopping": 1}, TypeError, "early_stopping: got 1, expected True or"),
        ({"warm_start": 0}, TypeError, "warm_start: got 0, expected True or False"),
        ({"validation_fraction": 1.5}, ValueError, "validation_fraction: got 1.5"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: got 0, expected"),
        ({"input_layout": "TNC"}, ValueError, "input_layout: got 'TNC', expected one"),
        ({"dtype": "float16"}, ValueError, "dtype: got 'float16', expected"),
        ({"verbose": "yes"}, TypeError, "verbose: got 'yes', expected True or False"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
    ],
)
def test_parameters_are_checked(
    kind: Any, changes: Any, error: type[Exception], message: str
) -> None:
    x, y, labels = data()
    with pytest.raises(error, match=message):
        small(kind, **changes).fit(x, target(kind, y, labels))


@both
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.ones(3), np.ones((3, 1))], "X: expected a list of sequences"),
        ([np.ones(3), 1.0], "X: expected a list of sequences"),
        ([np.ones((1, 2, 3)), np.ones((2, 2, 3))], "X: expected a list of sequences"),
        ([[1.0, [2.0]], [1.0]], "X: expected a list of sequences"),
        ([np.ones((3, 2)), np.ones((4, 3))], r"X\[1\]: got a sequence of shape \(4,"),
        ([np.ones(3), np.full(2, np.nan)], r"Input X\[1\] contains NaN"),
        ([np.ones(3), np.ones(0)], "0 sample"),
        ([np.ones((3, 2)), np.ones((3, 0))], "0 feature"),
        (np.ones((2, 0, 3)), r"X: got shape \(2, 0, 3\), expected no size zero"),
        (np.ones((2, 3, 0)), r"X: got shape \(2, 3, 0\), expected no size zero"),
        (np.ones((2, 3, 4, 1)), "Found array with dim 4"),
        (np.full((2, 3, 1), np.inf), "Input X contains infinity"),
        (np.ones(2), "Expected 2D array, got 1D array"),
        ([], "Expected 2D array, got 1D array"),
        ([1.0, 2.0], "Expected 2D array, got 1D array"),
        ([["a"], ["b"]], "could not convert string"),
    ],
)
def test_sequences_are_checked(kind: Any, x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(kind).fit(x, np.arange(2))


@both
def test_sequences_must_fit_the_network(kind: Any) -> None:
    x, y, labels = data(channels=2)
    model = small(kind).fit(x, target(kind, y, labels))
    for wrong, channels in (x[:, :, :1], 1), (x[:, :, 0], 1), ([x[0, :, 0]], 1):
        message = f"X: got sequences of {channels} channels, expected 2, as in fit"
        with pytest.raises(ValueError, match=message):
            model.predict(wrong)
        if kind is GRURegressor:
            with pytest.raises(ValueError, match=message):
                model.partial_fit(wrong, y[: len(wrong)])
    flat = small(kind).fit(x[:, :, 0], target(kind, y, labels))
    with pytest.raises(ValueError, match=r"X has 5 features, but .* expecting 7"):
        flat.predict(x[:, :5, 0])


@both
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(39), r"sample_weight: got shape \(39,\), expected \(40,\)"),
        (np.ones((40, 1)), r"sample_weight: got shape \(40, 1\), expected \(40,\)"),
        (np.r_[-1.0, np.ones(39)], "sample_weight: expected weights that are not neg"),
        (np.zeros(40), "sample_weight: expected weights .* not all zero"),
        (np.full(40, np.nan), "Input sample_weight contains NaN"),
    ],
)
def test_weights_are_checked(kind: Any, weights: Array, message: str) -> None:
    x, y, labels = data()
    with pytest.raises(ValueError, match=message):
        small(kind).fit(x, target(kind, y, labels), weights)


def test_targets_are_checked() -> None:
    x, y, _ = data()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(x, y[:-1])
    with pytest.raises(ValueError, match="GRURegressor requires y to be passed"):
        small().fit(x, None)
    with pytest.raises(ValueError, match="Found array with dim 3"):
        small().fit(x, y[:, None, None])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        small().fit(x, np.full(40, np.nan))
    with pytest.raises(ValueError, match="Unknown label type"):
        small(GRUClassifier).fit(x, y)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        small(GRUClassifier).fit(x, np.ones((40, 2), int))
    model = small().fit(x, y)
    with pytest.raises(ValueError, match=r"y: got shape \(40, 2\), expected \(n,\)"):
        model.partial_fit(x, np.stack([y, y], axis=1))
    model = small(warm_start=True).fit(x, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match=r"y: got shape \(40,\), expected \(n, 2\)"):
        model.fit(x, y)


def test_classes_are_checked() -> None:
    x, _, labels = data()
    model = small(GRUClassifier)
    with pytest.raises(ValueError, match="classes: expected all labels in the first"):
        model.partial_fit(x, labels)
    with pytest.raises(ValueError, match=r"y: got the labels \['low'\], expected some"):
        model.partial_fit(x, labels, classes=["high", "none"])
    model = small(GRUClassifier, warm_start=True).fit(x, labels)
    with pytest.raises(ValueError, match=r"classes: got \['low', 'x'\], expected"):
        model.partial_fit(x, labels, classes=["low", "x"])
    with pytest.raises(ValueError, match=r"y: got the labels \['x'\], expected some"):
        model.fit(x, np.full(40, "x"))
    model.set_params(class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight: 'balanced' needs all rows"):
        model.partial_fit(x, labels)
    model = small(GRUClassifier, class_weight={"low": 0, "high": 0})
    with pytest.raises(ValueError, match="class_weight: every row got a weight"):
        model.fit(x, labels)


@both
def test_what_cannot_go_on_says_so(kind: Any) -> None:
    x, y, labels = data()
    y = target(kind, y, labels)
    model = small(kind, warm_start=True).fit(x, y)
    with pytest.raises(ValueError, match="the network was made with"):
        model.set_params(units=7).fit(x, y)
    with pytest.raises(ValueError, match="early_stopping: partial_fit cannot stop"):
        small(kind, early_stopping=True).partial_fit(x, y)


@both
def test_validation_needs_rows(kind: Any) -> None:
    x, y, _ = data(9)
    model = small(kind, early_stopping=True)
    y = target(kind, y, np.array(["a", "b", "b"] * 3))
    message = "validation_fraction: 0.1 of 9 rows is 1|test_size = 1 should be greater"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y)


@both
def test_a_loss_that_is_not_finite_ends_training(kind: Any) -> None:
    x, y, labels = data()
    model = small(kind, learning_rate_init=1e200, max_iter=50)
    message = "the loss is (nan|inf) after [0-9]+ iterations: scale X"
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        model.fit(x, target(kind, y, labels))


@pytest.mark.parametrize(
    ("changes", "series", "error", "message"),
    [
        ({"horizon": 0}, waves(), ValueError, "horizon: got 0, expected an integer"),
        ({"window": 1}, waves(), ValueError, "window: got 1, expected an integer"),
        ({"target": -1}, waves(), ValueError, "target: got -1, expected an integer"),
        ({"target": 2}, waves(), ValueError, "target: got 2, but X has 2 columns"),
        ({"base": "none"}, waves(), ValueError, "base: got 'none', expected one of"),
        ({"batch_size": "auto"}, waves(), TypeError, "batch_size: got 'auto'"),
        ({"units": 0}, waves(), ValueError, "units: got 0, expected an integer"),
        ({}, waves(26), ValueError, "X: got 26 rows, expected at least 27: a window"),
        ({"window": 20}, waves(40), ValueError, "X: got 40 rows, expected at least 45"),
        ({}, np.ones(100), ValueError, "column '0' is constant"),
        ({}, np.full(100, np.nan), ValueError, "Input X contains NaN"),
        ({}, np.ones((9, 9, 9)), ValueError, "Found array with dim 3"),
    ],
)
def test_forecasters_check(
    changes: Any, series: Array, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        forecaster(**changes).fit(series)


def test_the_fewest_rows_are_enough() -> None:
    assert forecaster().fit(waves(27)).predict().shape == (8, 2)
    assert forecaster(window=20).fit(waves(45)).predict().shape == (8, 2)


def test_forecasts_are_checked() -> None:
    series = waves()
    model = forecaster(target=0, window=12).fit(series)
    with pytest.raises(ValueError, match="horizon: got 0, expected an integer of at"):
        model.predict(0)
    with pytest.raises(TypeError, match="horizon: got array"):
        model.predict(series)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon: got 9, expected at most 8"):
        model.predict(9)
    with pytest.raises(ValueError, match=r"X: got shape \(260, 1\), expected 2"):
        model.predict(X=series[:, 0])
    with pytest.raises(ValueError, match=r"X: got shape \(11, 2\), .* of 12 rows"):
        model.predict(X=series[:11])
    with pytest.raises(NotFittedError):
        forecaster().score(series)


def test_the_module_says_what_it_needs() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import grufast.sklearn"
    run = python(code)
    assert run.returncode == 1
    assert 'needs scikit-learn: pip install "grufast[sklearn]"' in run.stderr


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    alone = {**os.environ, "GRUFAST_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=alone
    )


# Pages and examples


def test_the_page_is_right() -> None:
    page = ROOT / "docs" / "sklearn.md"
    if not page.exists():
        pytest.skip("the wheel's tests have no docs")
    blocks = re.findall(
        r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", page.read_text(), re.DOTALL
    )
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for code, expected in blocks:
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            exec(code, names)
        assert written.getvalue() == expected


def test_the_search_falls_back_without_dask() -> None:
    example = ROOT / "examples" / "sklearn_search.py"
    if not example.exists():
        pytest.skip("the wheel's tests have no examples")
    code = (
        "import runpy, sys; sys.modules['dask'] = None;"
        "sys.argv = ['search', '--max-iter', '1', '--workers', '1'];"
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
    assert 'Dask is not installed (pip install "dask[distributed]")' in run.stdout
    assert "accuracy on the digits held out: 0." in run.stdout
