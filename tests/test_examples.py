"""The studies in examples/, at sizes that take seconds."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import long_memory as study
import networks
import numpy as np
import pytest
import report
import sequences
import series
import text
import waves

import grufast as gf
from grufast import data, forecast

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


# Results on real data


PLANS = {
    "two ways, two layers": networks.Plan(3, units=5, layers=2, bidirectional=True),
    "noise": networks.Plan(3, units=5, noise=0.3, shift=0.2, largest_norm=0.1),
    "words": networks.Plan(3, units=5, vocabulary=9, noise=0.2, weight_decay=0.1),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_network_is_the_same_in_pytorch(
    name: str, rng: np.random.Generator
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    plan = replace(PLANS[name], epochs=3, batch_size=4)
    lengths = [1, 4, 2, 7, 3, 5, 2]
    if plan.vocabulary:
        x = [rng.integers(0, 9, n) for n in lengths]
    else:
        x = [rng.standard_normal((n, 2)).astype(np.float32) for n in lengths]
    y = rng.integers(0, 3, 7)
    first = networks.make_model(plan, networks.channels_of(plan, x), 3).predict(x)
    own, other = (
        fit(plan, x, y, "crossentropy", 3) for fit in networks.LIBRARIES.values()
    )
    np.testing.assert_allclose(own.predict(x), other.predict(x), rtol=1e-3, atol=1e-5)
    assert np.abs(own.predict(x) - first).max() > 1e-3  # they have learned something
    assert min(own.seconds, other.seconds) > 0


def test_all_steps_are_the_same_in_pytorch(rng: np.random.Generator) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    plan = networks.Plan(2, units=4, all_steps=True, epochs=2, batch_size=3)
    x = rng.standard_normal((8, 5, 1)).astype(np.float32)
    y = rng.standard_normal((8, 5, 2)).astype(np.float32)
    own, other = (fit(plan, x, y, "mse", 0) for fit in networks.LIBRARIES.values())
    assert own.predict(x).shape == (8, 5, 2)
    np.testing.assert_allclose(own.predict(x), other.predict(x), rtol=1e-3, atol=1e-5)


def test_an_epoch_has_every_sequence_once_with_its_class(
    rng: np.random.Generator,
) -> None:
    x = rng.standard_normal((10, 4, 2)).astype(np.float32)
    plan = networks.Plan(3, batch_size=4, noise=0.5, shift=0.5)
    batches = networks.Batches(x, np.arange(10), plan, 0)
    epochs = [list(batches), list(batches)]
    for epoch in epochs:
        assert [len(y) for _, y in epoch] == [4, 4, 2]
        order = np.concatenate([y for _, y in epoch])
        np.testing.assert_array_equal(np.sort(order), np.arange(10))
        np.testing.assert_array_equal(np.concatenate([x for x, _ in epoch]), x[order])
    assert epochs[0][0][1].tolist() != epochs[1][0][1].tolist()
    listed = networks.Batches(list(x), np.arange(10), plan, 0)
    parts = [(noisy, y) for noisy, y in listed]
    np.testing.assert_array_equal(parts[0][1], epochs[0][0][1])
    changes = (
        np.concatenate([noisy for noisy, _ in parts])
        - x[np.concatenate([y for _, y in parts])]
    )
    # The shift is that of all steps, the noise that of each.
    assert changes.mean(axis=1).std() == pytest.approx(0.5 * 1.25**0.5, rel=0.4)
    assert (changes - changes.mean(axis=1, keepdims=True)).std() > 0.3


def test_a_ts_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    path.write_text("# said\n@classLabel true 1 2\n@data\n1,2,3:4,5,6:2\n7:8:1\n")
    x, y = sequences.read_ts(path)
    np.testing.assert_array_equal(x[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(x[1], [[7, 8]])
    np.testing.assert_array_equal(y, [1, 0])
    assert x[0].dtype == np.float32


def test_a_fifth_of_each_class_is_chosen() -> None:
    y = np.repeat([0, 1, 2], [10, 25, 4])
    chosen = sequences.fifth_of_each(y)
    assert [int(chosen[y == label].sum()) for label in range(3)] == [2, 5, 0]
    np.testing.assert_array_equal(chosen, sequences.fifth_of_each(y))


def test_sequences_are_scaled_by_those_to_train_on(rng: np.random.Generator) -> None:
    x = [
        rng.normal(3, [1, 9], (n, 2)).astype(np.float32)  # two scales
        for n in (4, 6, 5, 9)
    ]
    test = np.array([False, True, False, False])
    split = sequences.Split.of(x, np.arange(4), test).standardised()
    np.testing.assert_array_equal(split.y, [0, 2, 3])
    np.testing.assert_array_equal(split.y_test, [1])
    steps = np.concatenate(split.x)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-5)
    slope = (split.x_test[0][1] - split.x_test[0][0]) / (x[1][1] - x[1][0])
    whole = np.concatenate([x[0], x[2], x[3]])
    np.testing.assert_allclose(slope, 1 / whole.std(axis=0), rtol=1e-3)


def test_recordings_are_cut_into_frames_and_mirrored(
    rng: np.random.Generator,
) -> None:
    recording = rng.standard_normal((450, 6)).astype(np.float32)
    cuts = sequences.cut(recording)
    assert cuts.shape == (3, 40, 30)
    np.testing.assert_array_equal(cuts[1].reshape(200, 6), recording[100:300])
    # The acceleration by turning, w x r, of the mirror image is its mirror image.
    motion = rng.standard_normal((9, 6))
    image = sequences.mirrored(motion)
    np.testing.assert_array_equal(image[:, :3], motion[:, :3] * [-1, 1, 1])
    whole = np.concatenate([np.cross(motion[:, 3:], motion[:, :3]), motion[:, 3:]], 1)
    np.testing.assert_allclose(
        np.cross(image[:, 3:], image[:, :3]), sequences.mirrored(whole)[:, :3]
    )


def test_a_missing_package_is_named() -> None:
    with pytest.raises(SystemExit, match="pip install --no-deps no_such==1"):
        report.package_file("no_such", "no_such==1", "x.csv")
    with pytest.raises(SystemExit, match=r"x\.csv is missing.*grufast==9"):
        report.package_file("grufast", "grufast==9", "x.csv")
    found = report.package_file("grufast", "grufast", "datasets/sunspots.csv")
    assert found.is_file()


def test_words_are_numbered_by_the_texts_they_are_in(tmp_path: Path) -> None:
    path = tmp_path / "news.tab"
    path.write_text("Category\tText\nd\tstring\nclass\t\n\nb\ta a b\na\tb c a\n")
    news = text.read_tab(path)
    assert (news.texts, news.topics) == (["a a b", "b c a"], ["b", "a"])
    words = text.vocabulary(news.texts)
    assert words == {"a": 1, "b": 2}
    found = [one.tolist() for one in text.encode(["c b a b", ""], words, 3)]
    assert found == [[0, 2, 1], [0]]
    assert text.encode(["a"], words)[0].dtype == np.int64


def test_measures_of_topics_are_those_of_scikit_learn(
    rng: np.random.Generator,
) -> None:
    scores = pytest.importorskip("sklearn.metrics", reason="no scikit-learn")
    y, found = rng.integers(0, 4, (2, 60))
    values = text.measures(y, found, 4)
    assert values["accuracy"] == pytest.approx(scores.accuracy_score(y, found))
    expected = scores.precision_recall_fscore_support(y, found, average="macro")
    for name, value in zip(["precision", "recall", "F1"], expected, strict=False):
        assert values[name] == pytest.approx(value), name


def test_the_baseline_learns_words() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    texts = ["wheat rose", "wheat and corn", "ships sail", "ships and corn"]
    train = text.News(texts, ["grain", "grain", "ship", "ship"])
    found, seconds = text.baseline(train, text.News(["ships rose", "wheat"], []))
    assert found == ["ship", "grain"]
    assert seconds > 0


def test_an_autoregression_is_continued() -> None:
    past = np.array([[9.0, 1, 2], [0, 0, 1]])
    found = series.continued(past, 0.5, np.array([2.0, -1.0]), 2)
    np.testing.assert_allclose(found, [[3.5, 5.5], [2.5, 4.5]])


def test_filled_in_values_do_not_count() -> None:
    errors = series.Errors([np.array([[1.0, np.nan]]), np.array([[9.0, 4.0]])])
    assert errors.rmse() == pytest.approx((14 / 3) ** 0.5)
    np.testing.assert_allclose(errors.by_lead(), [5**0.5, 2])


def test_the_forecast_in_pytorch_starts_as_the_linear_one(
    rng: np.random.Generator,
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    wave = np.sin(np.arange(200) / 3) + 0.1 * rng.standard_normal(200)
    settings = forecast.Settings("y", horizon=4, season=19, epochs=1, learning_rate=0.0)
    problem = forecast.prepare(data.Table({"y": wave}), settings)
    found, seconds = series.torch_forecast(problem)
    model = forecast.build(settings, 1)
    evaluation = forecast.evaluate(problem, model)
    np.testing.assert_allclose(found, evaluation.forecasts[forecast.LINEAR], rtol=1e-6)
    assert seconds > 0


def test_three_ways_to_forecast_ten_steps() -> None:
    ramp = np.arange(60, dtype=np.float32)[None, :, None] + np.zeros((2, 1, 1), "f4")
    x, truth = ramp[:, :50], ramp[:, 50:, 0]
    shapes = [waves.targets(ramp, way).shape for way in waves.WAYS]
    assert shapes == [(2, 1), (2, 10), (2, 50, 10)]
    np.testing.assert_array_equal(waves.targets(ramp, waves.WAYS[1]), truth)
    np.testing.assert_array_equal(waves.targets(ramp, waves.WAYS[2])[:, -1], truth)
    answers = {
        waves.WAYS[0]: lambda x: x[:, -1] + 1,
        waves.WAYS[1]: lambda x: x[:, -1] + np.arange(1, 11),
        waves.WAYS[2]: lambda x: x + np.arange(1, 11),
    }
    for way, answer in answers.items():
        np.testing.assert_array_equal(waves.predict_ten(answer, x, way), truth)


def test_reports_are_tables() -> None:
    scores = {"grufast": [0.9, 0.8], "PyTorch": [0.7, 0.75]}
    found = sequences.accuracy_table(scores, {"grufast": [1, 2], "PyTorch": [4, 8]})
    assert "| grufast | 0.9000 | 0.8000 | 0.8500 | 1.50 |\n" in found
    assert "| PyTorch | 0.7000 | 0.7500 | 0.7250 | 6.00 |\n" in found
    x = [np.zeros((n, 2), np.float32) for n in (3, 5)]
    split = sequences.Split(x, np.arange(2), x[:1], np.zeros(1, np.int64))
    words = sequences.describe([split], networks.Plan(4))
    assert words.startswith(
        "2 sequences to train on and 1 to test with, 2 channels, 3 to 5 steps, 4 "
    )


def test_the_command_refuses_what_it_does_not_know() -> None:
    script = str(EXAMPLES / "real_data")
    for wrong in (["letters"], ["vowels", "--seeds", "0"]):
        command = [sys.executable, script, *wrong]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "usage:" in done.stderr
