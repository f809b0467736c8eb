"""The studies in examples/, at sizes that take seconds."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import long_memory as study
import numpy as np
import pytest

import grufast as gf

EXAMPLES = Path(__file__).parents[1] / "examples"
JOB = study.Job("adding", "GRU", length=12, updates=30, gradients=False)


def test_the_study_writes_its_report_and_pictures(tmp_path: Path) -> None:
    script = EXAMPLES / "long_memory.py"
    options = ["--quick", "--steps", "2", "--out", str(tmp_path)]
    command = [sys.executable, str(script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for cell in study.CELLS:
        rows = [row for row in report.splitlines() if f"| {cell} |" in row]
        assert len(rows) == 4, cell  # adding twice, copy, gradients
    for name in ("adding", "copy", "gradients"):
        file = f"long_memory_{name}.png"
        assert file in report
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def test_adding_targets_are_the_sums_of_marked_values(
    rng: np.random.Generator,
) -> None:
    x, y = study.adding_batch(rng, 50, 13)
    values, markers = x[:, :, 0], x[:, :, 1]
    np.testing.assert_array_equal(markers[:, :6].sum(axis=1), 1)
    np.testing.assert_array_equal(markers[:, 6:].sum(axis=1), 1)
    np.testing.assert_allclose((values * markers).sum(axis=1), y[:, 0], rtol=1e-6)
    assert values.min() >= 0
    assert values.max() < 1
    assert len(np.unique(values)) > 600


def test_copy_wants_the_symbols_at_the_end(rng: np.random.Generator) -> None:
    x, y = study.copy_batch(rng, 40, 7)
    shown = x.argmax(axis=2)
    assert x.shape == (40, 27, 10)
    np.testing.assert_array_equal(x.sum(axis=2), 1)
    np.testing.assert_array_equal(shown[:, :10], y[:, -10:])
    assert set(np.unique(y[:, -10:])) == set(range(1, 9))
    assert not y[:, :-10].any()
    # The sign comes T - 1 blanks behind the symbols, and ten steps before the end.
    np.testing.assert_array_equal(shown[:, 16], 9)
    assert not np.delete(shown[:, 10:], 6, axis=1).any()


def test_recall_counts_the_last_ten_steps() -> None:
    y = np.zeros((2, 15), int)
    y[:, -10:] = np.arange(10) % 8 + 1
    logits = np.eye(9)[y]
    assert study.recalled(y, logits) == 1
    logits[0, -1] = np.eye(9)[0]
    logits[:, :5] = np.eye(9)[8]
    assert study.recalled(y, logits) == pytest.approx(19 / 20)


def test_the_baseline_is_the_loss_of_guessing(rng: np.random.Generator) -> None:
    _, y = study.copy_batch(rng, 30, 7)
    logits = np.full((*y.shape, 9), -50.0)
    logits[:, :-10, 0] = 50
    logits[:, -10:, 1:] = 0
    loss = gf.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert loss(y, logits) == pytest.approx(study.copy_baseline(7), rel=1e-6)


@pytest.mark.parametrize("w", study.POWERS)
def test_backward_of_a_linear_unit_is_a_power(w: float) -> None:
    assert study.power_by_backward(w, 128) == pytest.approx(w**128, rel=1e-12)


@pytest.mark.parametrize("cell", study.CELLS)
def test_gradient_norms_are_those_of_differences(
    cell: str, rng: np.random.Generator
) -> None:
    layer = study.CELLS[cell](3, dtype="float64", seed=4)
    model = gf.Sequential([layer, gf.layers.Dense(1, dtype="float64")], seed=5)
    x = rng.standard_normal((5, 6, 2))
    model.build(x.shape)
    norms = study.gradient_norms(model, x)

    count = len(layer.states)
    slopes = []
    for state in range(count):
        for unit in range(3):
            h = np.zeros((count, 5, 3))
            h[state, :, unit] = 1e-5
            ends = [layer(x, (*a,) if count > 1 else a[0]) for a in (h, -h)]
            slopes.append(model.layers[1](ends[0]) - model.layers[1](ends[1]))
    first = np.linalg.norm(np.hstack(slopes) / 2e-5, axis=1)
    last = np.linalg.norm(model.layers[1].weights["weight"])
    assert norms.shape == (7,)
    assert norms[-1] == 1
    assert norms[0] == pytest.approx(np.median(first / last), rel=1e-7)


@pytest.mark.parametrize("cell", study.CELLS)
def test_training_is_repeatable_and_learns(cell: str) -> None:
    job = replace(JOB, cell=cell)
    once, again = study.train(job), study.train(job)
    assert (once.scores, once.loss) == (again.scores, again.loss)
    assert once.updates == list(range(1, 31))
    assert once.scores[-1] < once.scores[0]
    assert once.loss == pytest.approx(once.scores[-1], rel=1e-6)
    assert once.baseline == pytest.approx(1 / 6, rel=0.1)


def test_learning_rates_fall_at_the_end() -> None:
    rate = study.LateFall(5e-3, 100)
    rates = [rate(step) for step in range(100)]
    assert rates[0] == rates[59] == 5e-3
    assert math.isclose(rates[-1], 0.02 * rates[0])
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--processes", "-1"]])
def test_bad_numbers_are_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        study.main(wrong)
    assert f"{wrong[1]}: expected 1 or more" in capsys.readouterr().err
