"""Schedules against their formulas and Keras, and what they refuse."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grufast import schedules
from grufast._config import describe, rebuild

KERAS = json.loads((Path(__file__).parent / "data/keras_optimizers.json").read_text())


@pytest.mark.parametrize(
    "record",
    KERAS["schedules"],
    ids=[f"{r['class']}-{r['config']}" for r in KERAS["schedules"]],
)
def test_rates_agree_with_recorded_ones_of_keras(record: dict[str, Any]) -> None:
    schedule = rebuild(record, schedules.SCHEDULES)
    rates = [schedule(step) for step in record["steps"]]
    assert rates == pytest.approx(record["values"], rel=1e-12, abs=1e-16)
    assert all(type(rate) is float for rate in rates)


def test_all_schedules_are_compared_with_keras() -> None:
    assert {record["class"] for record in KERAS["schedules"]} == set(
        schedules.SCHEDULES
    )


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (
            schedules.ExponentialDecay(1.0, 10, 0.25),
            {0: 1.0, 5: 0.5, 10: 0.25, 20: 0.0625},
        ),
        (
            schedules.ExponentialDecay(1.0, 10, 0.25, staircase=True),
            {0: 1.0, 9: 1.0, 10: 0.25, 19: 0.25},
        ),
        (schedules.InverseTimeDecay(1.0, 10, 2.0), {0: 1.0, 5: 0.5, 10: 1 / 3}),
        (
            schedules.InverseTimeDecay(1.0, 10, 1.0, staircase=True),
            {0: 1.0, 9: 1.0, 10: 0.5, 29: 1 / 3},
        ),
        (
            schedules.PolynomialDecay(1.0, 10, 0.5, power=2.0),
            {0: 1.0, 5: 0.625, 10: 0.5, 99: 0.5},
        ),
        (
            schedules.PolynomialDecay(1.0, 10, 0.0, cycle=True),
            {0: 1.0, 5: 0.5, 10: 0.0, 11: 0.45, 20: 0.0, 21: 0.3},
        ),
        (
            schedules.CosineDecay(1.0, 12, alpha=0.5),
            {0: 1.0, 4: 0.875, 6: 0.75, 12: 0.5, 99: 0.5},
        ),
        (
            schedules.CosineDecay(0.5, 12, warmup_target=1.0, warmup_steps=4),
            {0: 0.5, 1: 0.625, 4: 1.0, 8: 0.75, 10: 0.5, 16: 0.0, 99: 0.0},
        ),
        (
            schedules.CosineDecay(0.5, 12, warmup_target=1.0),
            {0: 1.0, 6: 0.5},
        ),
        (
            schedules.PiecewiseConstantDecay([2, 5.5], [1.0, 0.5, 0.25]),
            {0: 1.0, 2: 1.0, 3: 0.5, 5: 0.5, 6: 0.25},
        ),
        (schedules.PiecewiseConstantDecay([], [0.5]), {0: 0.5, 9: 0.5}),
    ],
    ids=repr,
)
def test_rates_are_those_of_the_formula(
    schedule: schedules.Schedule, rates: dict[int, float]
) -> None:
    assert {step: schedule(step) for step in rates} == pytest.approx(rates, rel=1e-14)


def test_a_growing_rate_may_leave_all_bounds() -> None:
    assert schedules.ExponentialDecay(1.0, 1, 10.0)(1000) == math.inf


@pytest.mark.parametrize(
    "schedule",
    [rebuild(record, schedules.SCHEDULES) for record in KERAS["schedules"]],
    ids=repr,
)
def test_schedules_are_described_by_their_arguments(
    schedule: schedules.Schedule,
) -> None:
    description = json.loads(json.dumps(describe(schedule)))
    same = rebuild(description, schedules.SCHEDULES)
    assert repr(same) == repr(schedule)
    assert same.config == schedule.config
    for step in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match="step: got"):
            schedule(step)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step: got -1, expected an integer of at lea"):
        schedule(-1)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (schedules.ExponentialDecay, (-0.1, 10, 0.5), "initial_learning_rate: got -0"),
        (schedules.ExponentialDecay, (0.1, 0, 0.5), "decay_steps: got 0"),
        (schedules.ExponentialDecay, (0.1, 2.5, 0.5), "decay_steps: got 2.5"),
        (schedules.ExponentialDecay, (0.1, 10, -1), "decay_rate: got -1"),
        (schedules.ExponentialDecay, (0.1, 10, 0.5, 1), "staircase: got 1"),
        (schedules.InverseTimeDecay, ("0.1", 10, 1), "initial_learning_rate: got '0"),
        (schedules.InverseTimeDecay, (0.1, -1, 1), "decay_steps: got -1"),
        (schedules.InverseTimeDecay, (0.1, 10, math.nan), "decay_rate: got nan"),
        (schedules.InverseTimeDecay, (0.1, 10, 1, None), "staircase: got None"),
        (schedules.PolynomialDecay, (math.inf, 10), "initial_learning_rate: got inf"),
        (schedules.PolynomialDecay, (0.1, True), "decay_steps: got True"),
        (schedules.PolynomialDecay, (0.1, 10, -0.1), "end_learning_rate: got -0.1"),
        (schedules.PolynomialDecay, (0.1, 10, 0, -1), "power: got -1"),
        (schedules.PolynomialDecay, (0.1, 10, 0, 1, 2), "cycle: got 2"),
        (schedules.CosineDecay, (None, 10), "initial_learning_rate: got None"),
        (schedules.CosineDecay, (0.1, 0), "decay_steps: got 0"),
        (schedules.CosineDecay, (0.1, 10, -0.1), "alpha: got -0.1"),
        (
            lambda: schedules.CosineDecay(0.1, 10, warmup_steps=5),
            (),
            "warmup_steps: got 5, but no warmup_target",
        ),
        (
            lambda: schedules.CosineDecay(0.1, 9, warmup_target=-1, warmup_steps=5),
            (),
            "warmup_target: got -1",
        ),
        (
            lambda: schedules.CosineDecay(0.1, 9, warmup_target=1, warmup_steps=-5),
            (),
            "warmup_steps: got -5",
        ),
        (
            schedules.PiecewiseConstantDecay,
            ([1, 2], [0.1, 0.2]),
            "values: got 2, expected one more than the 2 boundaries",
        ),
        (
            schedules.PiecewiseConstantDecay,
            ([2, 2], [1, 2, 3]),
            r"boundaries: got \[2, 2\], expected ascending steps",
        ),
        (schedules.PiecewiseConstantDecay, ([3, 2], [1, 2, 3]), "boundaries: got"),
        (schedules.PiecewiseConstantDecay, ([-1], [1, 2]), r"boundaries\[0\]: got -1"),
        (schedules.PiecewiseConstantDecay, ([1], [1, "2"]), r"values\[1\]: got '2'"),
        (schedules.PiecewiseConstantDecay, (1, [1]), "boundaries: got 1, expected a l"),
        (schedules.PiecewiseConstantDecay, ([1], 0.1), "values: got 0.1, expected a l"),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(*arguments)
