"""The forecasting task: season, baselines, frame, honesty, the future."""

import dataclasses

import numpy as np
import pytest

from grufast import data, forecast
from grufast.data import Floats, Table
from grufast.forecast import Settings


def wave(n: int = 240, season: int = 12, trend: float = 0.0, seed: int = 0) -> Floats:
    t = np.arange(n)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(n)
    return np.asarray(np.sin(2 * np.pi * t / season) + trend * t + noise)


def quick(**changes: object) -> Settings:
    settings = Settings("y", horizon=4, window=16, units=4, epochs=2)
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def test_naive_by_hand() -> None:
    values = np.array([1.0, 2, 3, 4, 5])
    np.testing.assert_array_equal(
        forecast.naive(values, np.array([1, 3]), 2), [[2, 2], [4, 4]]
    )
    np.testing.assert_array_equal(
        forecast.seasonal_naive(values, np.array([2, 4]), 5, 3),
        [[1, 2, 3, 1, 2], [3, 4, 5, 3, 4]],
    )


def test_linear_finds_a_linear_rule() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 5, 2))
    weight = rng.standard_normal((10, 3))
    y = x.reshape(300, 10) @ weight + 2
    linear = forecast.Linear.fit(x[:200], y[:200], x[200:], y[200:])
    np.testing.assert_allclose(linear.weight[:-1], weight, atol=1e-5)
    np.testing.assert_allclose(linear.weight[-1], 2, atol=1e-5)


def test_score_by_hand() -> None:
    truth = np.array([[1.0, 2], [3, 4]])
    off = truth + np.array([[3.0, 0], [4, 0]])
    found = forecast.score(off, truth)
    assert found.rmse == pytest.approx(2.5)
    assert found.mae == pytest.approx(1.75)
    np.testing.assert_allclose(found.by_lead, [np.sqrt(12.5), 0])
    counts = np.array([[True, True], [False, True]])
    assert forecast.score(off, truth, counts).mae == 1


@pytest.mark.parametrize("season", [4, 7, 12, 52])
@pytest.mark.parametrize("trend", [0.0, 0.05])
def test_season_is_found(season: int, trend: float) -> None:
    assert forecast.find_season(wave(8 * season + 40, season, trend)) == season


def test_no_season() -> None:
    rng = np.random.default_rng(0)
    assert forecast.find_season(rng.standard_normal(400)) == 0
    assert forecast.find_season(np.cumsum(rng.standard_normal(40))) in (
        0,
        *range(2, 14),
    )
    # The calendar stands in.
    month = data.Step("month", 1)
    assert forecast.find_season(rng.standard_normal(400), month) == 12


def test_windows_and_targets() -> None:
    values = np.arange(20.0)[:, None] ** 2
    frame = forecast.Frame(data.Scaler.fit(values), 5, 3)
    origins = np.array([4, 10])
    look = frame.look(values, origins)
    assert look.x.shape == (2, 5, 1)
    np.testing.assert_allclose(look.x[:, -1, 0], 0)  # relative to the last value
    targets = frame.targets(values, origins, look)
    np.testing.assert_allclose(
        frame.restore(targets, look), [[25, 36, 49], [121, 144, 169]]
    )


def test_prepare_does_not_look_ahead() -> None:
    """Nothing that is fitted changes when the held-out tail does."""
    y = wave()
    problem = forecast.prepare(Table({"y": y}), quick())
    train, test = problem.split.train, problem.split.test
    for part, origins in problem.origins.items():
        rows = {"train": train, "validation": problem.split.validation, "test": test}
        assert origins.min() + 1 >= rows[part].start
        assert origins.max() + problem.frame.horizon < rows[part].stop
    other = y.copy()
    other[test] = 1e3
    again = forecast.prepare(Table({"y": other}), quick())
    np.testing.assert_array_equal(problem.frame.scaler.mean, y[train].mean())
    for field in ("season", "unit"):
        assert getattr(problem, field) == getattr(again, field)
    np.testing.assert_array_equal(problem.linear.weight, again.linear.weight)
    for part in ("train", "validation"):
        for one, two in zip(problem.samples(part), again.samples(part), strict=True):
            np.testing.assert_array_equal(one, two)


def test_filled_rows_are_no_origins_and_no_truth() -> None:
    y = wave()
    observed = np.ones(len(y), bool)
    observed[-10] = False
    problem = forecast.prepare(Table({"y": y}), quick(), observed)
    assert len(y) - 10 not in problem.origins["test"]
    model, _ = forecast.train(problem, verbose=0)
    before = forecast.evaluate(problem, model).scores[forecast.NAIVE]
    spoilt = y.copy()
    spoilt[-10] += 100
    # The naive forecast sees the row as truth only, as it is no origin.
    changed = dataclasses.replace(problem, values=spoilt[:, None])
    found = forecast.evaluate(changed, model).scores[forecast.NAIVE]
    assert (found.rmse, found.mae) == (before.rmse, before.mae)
    seen = dataclasses.replace(changed, observed=np.ones(len(y), bool))
    assert forecast.evaluate(seen, model).scores[forecast.NAIVE].rmse > 2 * before.rmse


def test_same_seed_same_forecast() -> None:
    runs = []
    for seed in (0, 0, 1):
        problem = forecast.prepare(Table({"y": wave()}), quick(seed=seed))
        model, _ = forecast.train(problem, verbose=0)
        runs.append(forecast.evaluate(problem, model).forecasts[forecast.NETWORK])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("base", ["linear", "last"])
def test_learns_a_season_on_a_trend(base: str) -> None:
    table = Table({"y": wave(400, trend=0.02)})
    settings = quick(base=base, units=16, epochs=15, window=24)
    problem = forecast.prepare(table, settings)
    model, training = forecast.train(problem, verbose=0)
    scores = forecast.evaluate(problem, model).scores
    assert list(scores) == ["GRU", "linear autoregression", "seasonal naive", "naive"]
    assert scores["GRU"].rmse < 0.5 * scores["naive"].rmse
    assert training.best_epoch == np.argmin(training.val_loss) + 1


def test_network_starts_from_its_base() -> None:
    problem = forecast.prepare(Table({"y": wave()}), quick())
    found = forecast.evaluate(problem, forecast.build(problem.settings, 1)).forecasts
    np.testing.assert_allclose(found["GRU"], found["linear autoregression"])


def test_features_are_seen() -> None:
    rng = np.random.default_rng(0)
    driver = rng.standard_normal(400)
    y = np.concatenate(([0.0], driver[:-1])) + 0.01 * rng.standard_normal(400)
    table = Table({"y": y, "driver": driver})
    with_driver = quick(features=("driver",), horizon=1)
    rmse = []
    for settings in (with_driver, quick(horizon=1)):
        problem = forecast.prepare(table, settings)
        model, _ = forecast.train(problem, verbose=0)
        rmse.append(forecast.evaluate(problem, model).scores["GRU"].rmse)
    assert rmse[0] < 0.2 * rmse[1]


def test_errors() -> None:
    table = Table({"y": wave(60), "flat": np.ones(60)})
    with pytest.raises(
        ValueError, match=r"60 rows are too few: .* at least (\d+)"
    ) as e:
        forecast.prepare(table, quick(horizon=24))
    needed = int(str(e.value).split("at least ")[1].split(";")[0])
    forecast.prepare(Table({"y": wave(needed)}), quick(horizon=24))
    with pytest.raises(ValueError, match="too few"):
        forecast.prepare(Table({"y": wave(needed - 1)}), quick(horizon=24))
    with pytest.raises(ValueError, match="'flat' is constant"):
        forecast.prepare(table, quick(features=("flat",)))
    with pytest.raises(ValueError, match="test: 2 rows are fewer than the horizon"):
        forecast.prepare(table, quick(test=2))


def test_long_series_are_thinned() -> None:
    problem = forecast.prepare(Table({"y": wave(3000)}), quick(limit=200))
    assert all(len(rows) <= 200 for rows in problem.origins.values())


def test_future_continues_the_dates() -> None:
    month = data.Step("month", 1)
    dates = month.after(np.datetime64("1999-12-01"), 240)
    table = Table({"y": wave()}, dates, "when", month)
    problem = forecast.prepare(table, quick())
    model, _ = forecast.train(problem, verbose=0)
    future = forecast.ahead(problem, model, forecast.evaluate(problem, model))
    lines = future.csv("y", "when").decode().splitlines()
    assert lines[0] == "when,y,y_p10,y_p90"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01",
    ]  # fmt: skip
    np.testing.assert_array_less(future.low, future.high)
