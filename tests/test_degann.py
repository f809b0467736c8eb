"""DEGANN's face: its scripts, its files, its losses and callbacks, its experiment."""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import grufast as gf
from grufast import degann
from grufast.degann import IModel
from grufast.losses import snake_case

HERE = Path(__file__).parent
#: Both sides compute in float32 and round sums and functions in their own ways: results
#: were up to 0.6 of this apart.
SINGLE: Any = {"rtol": 1e-6, "atol": 1e-6}
RECORDED = sorted((HERE / "data").glob("degann_*.apg"))
EXPERIMENT = HERE.parent / "examples" / "degann_experiment.py"


def sine(points: int = 60) -> tuple[Any, Any]:
    x = np.linspace(0, 1, points).reshape(-1, 1)
    return x, np.sin(10 * x)


def windows(points: int = 60, steps: int = 10) -> tuple[Any, Any]:
    x, y = sine(points)
    every = [x[i : i + steps] for i in range(points - steps)]
    return np.array(every), y[steps:]


def dense(**arguments: Any) -> IModel:
    given: dict[str, Any] = {
        "block_size": [5, 4],
        "activation_func": "tanh",
        "seed": 0,
    } | arguments
    return IModel(input_size=1, output_size=1, **given)


def recurrent(**arguments: Any) -> IModel:
    return dense(net_type="GRUNet", **arguments)


def compiled(net: IModel, **arguments: Any) -> IModel:
    net.compile(**({"optimizer": "Adam", "metrics": []} | arguments))
    return net


# --- Scripts


def test_a_script_written_for_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train_x, train_y = windows(80)
    val_x, val_y = windows(40)
    funcs = [(lambda x: np.sin(10 * x), "sin")]
    net = IModel(
        input_size=1,
        output_size=1,
        net_type="GRUNet",
        block_size=[6] * 3,
        activation_func="tanh",
        seed=0,  # not DEGANN's: no luck in a test
    )
    net.compile(optimizer="Adam", loss_func="RootMeanSquaredError", metrics=[])
    before = net.evaluate(train_x, train_y, verbose=0)
    measured = degann.MeasureTrainTime()
    tracking = degann.LossTracking()
    history = net.train(
        train_x,
        train_y,
        validation_data=(val_x, val_y),
        epochs=6,
        verbose=0,
        callbacks=[
            measured,
            tracking,
            degann.EarlyStopping(patience=100),
            degann.SaveBestModel(net),
            degann.MemoryCleaner(),
            degann.VisualizationTS(train_x, train_y, val_x, val_y, "sin", funcs),
        ],
        seed=0,
    )
    net.export_to_file("GRU_IModel_full")
    after = net.evaluate(train_x, train_y, verbose=0)
    assert after < before
    assert len(measured.model.trained_time["epoch_time"]) == 6
    assert (
        sum(net.network.trained_time["epoch_time"])
        <= (net.network.trained_time["train_time"])
    )
    assert tracking.losses == history.history["loss"]
    assert tracking.val_losses == history.history["val_loss"]
    assert (tmp_path / "sin.png").read_bytes().startswith(b"\x89PNG")
    for name in ("best_Model", "GRU_IModel_full"):
        other = IModel(input_size=1, block_size=[2], output_size=1)
        other.from_file(name)
        assert other.get_shape == [6, 6, 6]
    np.testing.assert_array_equal(other.predict(val_x), net.predict(val_x))
    saved = gf.load("best_Model.safetensors")
    best = IModel(input_size=1, block_size=[2], output_size=1)
    best.from_file("best_Model")
    x = val_x.astype("f4")
    np.testing.assert_array_equal(saved.predict(x), best.predict(x))
    assert capsys.readouterr().out == ""


def test_both_orders_of_arguments() -> None:
    ours = IModel(1, [3, 4], 2, seed=0, activation_func="tanh")
    theirs = IModel(1, 2, [3, 4], seed=0, activation_func="tanh")  # type: ignore[arg-type]
    named = IModel(
        output_size=2, input_size=1, block_size=[3, 4], seed=0, activation_func="tanh"
    )
    for net in (theirs, named):
        assert net.to_dict() == ours.to_dict()


@pytest.mark.parametrize("make", [IModel.create_neuralnet, IModel.create_neuron])
def test_short_ways_to_a_network(make: Callable[..., IModel]) -> None:
    net = make(2, 3, [40, 50], seed=1)
    assert (net.get_input_size, net.get_output_size) == (2, 3)
    assert net.get_shape == [40, 50]
    assert net.get_activations == ["sigmoid", "sigmoid"]
    weights = np.concatenate([w.ravel() for w in net.network.weights.values()])
    np.testing.assert_allclose(weights.std(), 0.05, rtol=0.05)
    np.testing.assert_allclose(weights.mean(), 0, atol=0.005)
    given = make(
        2, 3, [4], activation="tanh", weight=np.ones, biases=np.zeros, name="own"
    )
    assert given.get_name == "own"
    np.testing.assert_array_equal(given.feedforward(np.zeros((1, 2))), 0)


def test_first_weights_are_uniform() -> None:
    net = IModel(1, [200, 200], 1, seed=3)
    weights = np.concatenate([w.ravel() for w in net.network.weights.values()])
    assert -1 <= weights.min() < -0.99
    assert 0.99 < weights.max() < 1
    np.testing.assert_allclose(weights.std(), 1 / np.sqrt(3), rtol=0.02)
    recurrent_weights = recurrent(block_size=[20]).network.weights
    for name in ("weight_ih", "bias_ih", "bias_hh"):
        assert 0.7 < np.abs(recurrent_weights[f"layers.0.{name}"]).max() < 1
    own = recurrent_weights["layers.0.weight_hh"]  # (3 * 20, 20)
    # Sums of 60 products in float32.
    np.testing.assert_allclose(own.T @ own, np.eye(20), atol=1e-5)


def test_same_seed_same_bits() -> None:
    x, y = sine()
    found = []
    for seed in (0, 0, 1):
        net = compiled(dense(seed=seed, dropout_rate=0.2))
        net.train(x, y, epochs=3, verbose=0, seed=seed)
        found.append(net.predict(x))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_properties() -> None:
    net = IModel(3, [4, 5], 2, activation_func=["tanh", "relu", "linear"], name="n")
    assert net.get_name == "n"
    assert net.get_shape == [4, 5]
    assert net.get_input_size == 3
    assert net.get_output_size == 2
    assert net.get_activations == ["tanh", "relu"]
    net.set_name("other")
    assert str(net).splitlines() == [
        "DenseNet other",
        "Dense: weight (4, 3), bias (4,)",
        "Dense: weight (5, 4), bias (5,)",
        "Dense: weight (2, 5), bias (2,)",
    ]
    shown = str(recurrent(block_size=[2], is_debug=True)).splitlines()
    assert shown[1].startswith("GRU: weight_ih (6, 1)")
    assert shown[1].endswith(", tanh")
    assert shown[2].endswith(", linear")


def test_networks_are_what_they_say() -> None:
    net = dense(activation_func=["tanh", "relu", "sigmoid"])
    kinds = [layer.activation for layer in net.network.layers]  # type: ignore[attr-defined]
    assert kinds == ["tanh", "relu", "sigmoid"]
    # One name fewer: the last is the output's too, as DEGANN has it.
    net = dense(activation_func=["tanh", "relu"])
    kinds = [layer.activation for layer in net.network.layers]  # type: ignore[attr-defined]
    assert kinds == ["tanh", "relu", "relu"]
    assert len(dense(block_size=[]).network.layers) == 1
    layers = recurrent(dropout_rate=0.5, return_sequences=True).network.layers
    assert [type(layer).__name__ for layer in layers] == [
        "GRU", "Dropout", "GRU", "Dropout", "Dense",
    ]  # fmt: skip
    net = recurrent(return_sequences=True)
    assert net.feedforward(np.zeros((2, 7, 1))).shape == (2, 7, 1)
    assert recurrent().feedforward(np.zeros((2, 7, 1))).shape == (2, 1)


def test_feedforward_predict_and_evaluate_agree() -> None:
    x, y = sine()
    net = compiled(dense(), metrics=["MeanAbsoluteError"])
    answer = net.feedforward(x)
    assert type(answer.numpy()) is np.ndarray
    np.testing.assert_array_equal(answer.numpy(), net.predict(x))
    error = net.predict(x) - y
    loss, mae = net.evaluate(x, y, batch_size=7)
    np.testing.assert_allclose(
        [loss, mae], [np.mean(error**2), np.mean(abs(error))], 1e-5
    )
    assert net.evaluate(x, y, return_dict=True) == {
        "loss": loss,
        "mean_absolute_error": mae,
    }
    first = np.arange(60) < 30
    half = net.evaluate(x, y, sample_weight=first.astype(float))[0]
    np.testing.assert_allclose(half, np.mean(first[:, None] * error**2), 1e-5)


def test_default_metrics_are_reported() -> None:
    net = dense()
    net.compile()
    x, y = sine()
    history = net.train(x, y, epochs=2, validation_split=0.25, mini_batch_size=8)
    names = ["loss", "mean_squared_error", "mean_absolute_error"]
    names.append("mean_squared_logarithmic_error")
    assert sorted(history.history) == sorted(names + [f"val_{n}" for n in names])
    np.testing.assert_allclose(
        history.history["loss"], history.history["mean_squared_error"], SINGLE["rtol"]
    )
    assert isinstance(net.network.optimizer, gf.optimizers.SGD)
    assert net.network.optimizer.learning_rate == 1e-2


def test_debugging_logs_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = sine()
    net = compiled(dense(is_debug=True, name="seen"))
    tracking = degann.LossTracking()
    given = [tracking]
    net.train(x, y, epochs=3, callbacks=given)
    header, *rows = (tmp_path / "log_seen.csv").read_text().split()
    assert header == "epoch,loss"
    logged = [float(row.split(",")[1]) for row in rows]
    np.testing.assert_allclose(logged, tracking.losses, rtol=1e-6)
    assert given == [tracking]


def test_clear_history() -> None:
    x, y = sine()
    net = compiled(dense())
    net.train(x, y, epochs=1, verbose=0)
    net.evaluate(x, y)
    assert net.network.history is not None
    net.clear_history()
    assert net.network.history is None


def test_the_default_candidate_is_a_sigmoid() -> None:
    net = IModel(1, [3], 1, net_type="GRUNet")
    assert net.network.layers[0].activation == "sigmoid"  # type: ignore[attr-defined]


# --- Arrays


@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "u1"])
def test_real_arrays_are_taken_as_float32(dtype: str) -> None:
    net = dense()
    x = np.arange(5).reshape(-1, 1)
    expected = net.network(x.astype("f4"))
    np.testing.assert_array_equal(net.predict(x.astype(dtype)), expected)
    np.testing.assert_array_equal(net.predict(x.tolist()), expected)


def bad_arguments() -> dict[str, tuple[Callable[[], object], type[Exception], str]]:
    x, y = sine()

    def train(**given: Any) -> Callable[[], object]:
        arguments = {"x_data": x, "y_data": y, "epochs": 1, "verbose": 0} | given
        return lambda: compiled(dense()).train(**arguments)

    return {
        "net_type": (
            lambda: dense(net_type="LSTM"),
            ValueError,
            "net_type: got 'LSTM', expected one of 'DenseNet', 'GRUNet'",
        ),
        "no block_size": (
            lambda: dense(block_size=None),
            TypeError,
            "block_size: got None, expected a list of sizes",
        ),
        "size": (lambda: dense(block_size=[3, 0]), ValueError, "block_size: got 0"),
        "no layer": (
            lambda: recurrent(block_size=[]),
            ValueError,
            "block_size: a GRUNet needs at least one layer",
        ),
        "input_size": (lambda: IModel(0, [1], 1), ValueError, "input_size: got 0"),
        "output_size": (lambda: IModel(1, [1], 0), ValueError, "output_size: got 0"),
        "activation": (
            lambda: dense(activation_func="cube"),
            ValueError,
            "activation_func: got 'cube', expected one of .*'tanh'",
        ),
        "activations": (
            lambda: dense(activation_func=["tanh"] * 4),
            ValueError,
            "activation_func: got 4 names, expected 3",
        ),
        "no name": (
            lambda: dense(activation_func=[1, 2]),
            TypeError,
            "activation_func: got 1, expected a string",
        ),
        "no list": (
            lambda: dense(activation_func=np.tanh),
            TypeError,
            "activation_func: got .*expected a name or a list",
        ),
        "gru activations": (
            lambda: recurrent(activation_func=["tanh"] * 3),
            TypeError,
            "a GRUNet takes one name",
        ),
        "recurrent_activation": (
            lambda: recurrent(recurrent_activation=None),
            TypeError,
            "recurrent_activation: got None, expected a string",
        ),
        "return_sequences": (
            lambda: recurrent(return_sequences=1),
            TypeError,
            "return_sequences: got 1",
        ),
        "dropout_rate": (
            lambda: dense(dropout_rate=1.0),
            ValueError,
            "dropout_rate: got 1.0",
        ),
        "decorator_params": (
            lambda: dense(decorator_params=[{"beta": 1}]),
            ValueError,
            "decorator_params: got .* no activation here takes any",
        ),
        "is_debug": (lambda: dense(is_debug=1), TypeError, "is_debug: got 1"),
        "name": (lambda: dense(name=3), TypeError, "name: got 3, expected a string"),
        "seed": (lambda: dense(seed=-1), ValueError, "seed: got -1"),
        "weight_init": (
            lambda: dense(weight_init=lambda shape: np.ones(3)),
            ValueError,
            r"weight_init: made shape \(3,\), asked for \(1, 5\)",
        ),
        "bias_init": (
            lambda: dense(bias_init=lambda shape: 0.0),
            ValueError,
            r"bias_init: made shape \(\), asked for \(5,\)",
        ),
        "optimizer": (
            lambda: dense().compile(optimizer="LossScaleOptimizer"),
            ValueError,
            "optimizer: got 'LossScaleOptimizer', expected one of .*'Adam'",
        ),
        "loss_func": (
            lambda: dense().compile(loss_func="mse"),
            ValueError,
            "loss_func: got 'mse', expected one of 'Huber'",
        ),
        "metric": (
            lambda: dense().compile(metrics=["mse"]),
            ValueError,
            "metrics: got 'mse', expected one of 'Huber'",
        ),
        "metrics": (
            lambda: dense().compile(metrics="MeanSquaredError"),
            TypeError,
            "metrics: got 'MeanSquaredError', expected a list of names",
        ),
        "rate": (lambda: dense().compile(rate=-1.0), ValueError, "rate: got -1.0"),
        "not compiled": (
            lambda: dense().train(x, y),
            ValueError,
            "the model is not compiled",
        ),
        "mini_batch_size": (
            train(mini_batch_size=0),
            ValueError,
            "mini_batch_size: got 0",
        ),
        "text": (train(x_data=["a"]), TypeError, "x_data: got <U1, expected real"),
        "complex": (
            train(y_data=y.astype(complex)),
            TypeError,
            "y_data: got complex128, expected real numbers",
        ),
        "large": (
            train(x_data=x * 1e300),
            ValueError,
            "x_data: has numbers that float32 cannot hold",
        ),
        "shape": (train(x_data=x.T), ValueError, r"x: got shape \(1, 60\)"),
        "validation_data": (
            train(validation_data=x),
            TypeError,
            r"validation_data: expected the tuple \(x, y\)",
        ),
        "validation text": (
            train(validation_data=(["a"], y)),
            TypeError,
            "validation_data: got <U1",
        ),
        "verbose": (
            lambda: compiled(dense()).evaluate(x, y, verbose=7),  # type: ignore[arg-type]
            ValueError,
            "verbose: got 7",
        ),
        "inputs": (
            lambda: dense().feedforward(None),
            TypeError,
            "inputs: got object, expected real numbers",
        ),
    }


@pytest.mark.parametrize("case", bad_arguments())
def test_bad_arguments_are_named(case: str) -> None:
    act, error, message = bad_arguments()[case]
    with pytest.raises(error, match=message):
        act()


# --- Losses


def test_losses_are_those_of_degann(rng: np.random.Generator) -> None:
    t, p = rng.uniform(0.5, 2, (2, 6, 3))
    beyond = np.maximum(abs(t - p) - 1, 0)
    expected = {
        "Huber": np.mean((t - p) ** 2 - beyond**2) / 2,
        "LogCosh": np.mean(np.log(np.cosh(t - p))),
        "MeanAbsoluteError": np.mean(abs(t - p)),
        "MeanAbsolutePercentageError": 100 * np.mean(abs((t - p) / t)),
        "MaxAbsolutePercentageError": 100 * np.max(abs((t - p) / t)),
        "MeanSquaredError": np.mean((t - p) ** 2),
        "RootMeanSquaredError": np.sqrt(np.mean((t - p) ** 2)),
        "MeanSquaredLogarithmicError": np.mean((np.log1p(p) - np.log1p(t)) ** 2),
        "RelativeAbsoluteError": np.sum(abs(t - p)) / np.sum(abs(t - np.mean(t))),
        "MaxAbsoluteDeviation": np.max(abs(t - p)),
    }
    known = degann.get_all_loss_functions()
    assert list(known) == list(expected)
    assert list(degann.get_all_metric_functions()) == list(known)
    for name, value in expected.items():
        np.testing.assert_allclose(known[name](t, p), value, 1e-6, err_msg=name)
        assert repr(degann.get_loss(name)) == repr(known[name])
        assert repr(degann.get_metric(name)) == repr(known[name])


@pytest.mark.parametrize("name", degann.get_all_loss_functions())
def test_a_network_learns_by_every_loss(name: str, rng: np.random.Generator) -> None:
    x, y = sine(100)
    net = compiled(
        dense(
            block_size=[16, 16],
            activation_func=["tanh", "tanh", "linear"],
            weight_init=lambda shape: rng.normal(0, 0.3, shape),
            bias_init=np.ones,  # below 0 the logarithmic error is flat
        ),
        loss_func=name,
        metrics=[name],
        rate=3e-3,
    )
    before, metric = net.evaluate(x, y + 3)
    np.testing.assert_allclose(metric, before, SINGLE["rtol"])
    history = net.train(x, y + 3, epochs=40, verbose=0, seed=0)
    assert net.evaluate(x, y + 3)[0] < before / 2
    assert list(history.history) == ["loss", snake_case(name)]


def test_all_of_deganns_names_are_known() -> None:
    activations = "elu relu gelu selu exponential linear sigmoid hard_sigmoid swish"
    activations += " tanh softplus softsign parabolic"
    assert list(degann.get_all_activations()) == activations.split()
    for name in activations.split():
        assert degann.get(name).activation == name
        assert dense(activation_func=name).get_activations == [name, name]
    # DEGANN also lists LossScaleOptimizer, but makes it without what it needs.
    optimizers = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop"
    assert {*degann.get_all_optimizers()} == {*optimizers.split(), "SGD"}
    for name in (*optimizers.split(), "SGD"):
        assert degann.get_optimizer(name).__name__ == name
        net = compiled(dense(), optimizer=name, rate=0.5)
        assert type(net.network.optimizer).__name__ == name
        x, y = sine()
        before = net.evaluate(x, y)
        net.train(x, y, epochs=2, verbose=0, seed=0)
        assert net.evaluate(x, y) != before
    for get in (degann.get, degann.get_loss, degann.get_metric, degann.get_optimizer):
        with pytest.raises(ValueError, match="name: got 'cube', expected one of"):
            get("cube")


# --- Callbacks


def test_early_stopping_counts_and_may_do_nothing() -> None:
    x, y = sine()
    stop = degann.EarlyStopping(2)
    net = compiled(dense(), rate=0.0)
    tracking = degann.LossTracking()
    net.train(x, y, validation_data=(x, y), epochs=9, callbacks=[stop, tracking])
    assert len(tracking.losses) == 3  # the first one, and two without better
    assert stop.best_val_loss == tracking.val_losses[0]
    tracking = degann.LossTracking()
    net.train(x, y, epochs=4, callbacks=[degann.EarlyStopping(2), tracking])
    assert len(tracking.losses) == 4
    with pytest.raises(ValueError, match="patience: got -1"):
        degann.EarlyStopping(-1)


def test_save_best_model_saves_the_best(tmp_path: Path) -> None:
    x, y = sine()
    net = compiled(dense(), rate=0.05)
    save = degann.SaveBestModel(net, tmp_path / "b")
    tracking = degann.LossTracking()
    calls = [save, tracking]
    net.train(x, y, validation_data=(x, y), epochs=15, callbacks=calls, seed=0)
    assert save.best_val_loss == min(tracking.val_losses)
    net.from_file(tmp_path / "b")
    np.testing.assert_allclose(net.evaluate(x, y), min(tracking.val_losses), rtol=1e-6)
    other = tmp_path / "none"
    net.train(x, y, epochs=1, callbacks=[degann.SaveBestModel(net, other)])
    assert not list(tmp_path.glob("none*"))


def test_light_history_keeps_the_last_epoch() -> None:
    x, y = sine()
    light = degann.LightHistory()
    tracking = degann.LossTracking()
    net = compiled(dense())
    history = net.train(x, y, epochs=3, callbacks=[light, tracking])
    assert history is light
    assert net.network.history is light
    assert light.epoch == 2
    assert light.history == {"loss": tracking.losses[-1]}


def test_time_is_measured() -> None:
    x, y = sine()
    net = compiled(dense())
    assert net.network.trained_time == {
        "train_time": 0.0,
        "epoch_time": [],
        "predict_time": 0.0,
    }
    measure = degann.MeasureTrainTime()
    net.train(x, y, epochs=2, callbacks=[measure])
    net.train(x, y, epochs=3, callbacks=[measure])
    times = net.network.trained_time
    assert len(times["epoch_time"]) == 3
    assert times["train_time"] > 0
    net.predict(x, callbacks=[measure, degann.LossTracking()])
    predicted = times["predict_time"]
    assert predicted > 0
    net.evaluate(x, y, callbacks=[measure])
    assert times["predict_time"] not in (0, predicted)


@pytest.mark.parametrize("kind", [degann.VisualizationTS, degann.VisualizationDense])
def test_pictures_have_the_true_function(kind: Any, tmp_path: Path) -> None:
    x, y = sine()
    funcs = [(np.cos, "cos"), (lambda x: np.sin(10 * x), "sin"), (lambda x: 1, "one")]
    for name, truth in (("sin", y[:, 0]), ("one", np.ones(60)), ("absent", y)):
        path = tmp_path / f"{name}.png"
        draw = kind(x, y, x, y, name, funcs, path=path, every=1)
        np.testing.assert_allclose(draw.y, truth, atol=1e-6)
        compiled(dense()).train(x, y, epochs=1, callbacks=[draw])
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TypeError, match="train_data_x: got <U1"):
        kind(["a"], y, x, y, "sin", funcs)
    with pytest.raises(TypeError, match="train_data_y: got <U1"):
        kind(x, ["a"], x, y, "sin", funcs)
    with pytest.raises(TypeError, match="funcs: got object"):
        kind(x, y, x, y, "sin", [(lambda x: None, "sin")])


# --- Files


def test_files_written_by_degann_are_there() -> None:
    assert len(RECORDED) >= 4


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_files_written_by_degann_load(path: Path) -> None:
    recorded = json.loads(path.with_suffix(".json").read_text())
    net = IModel(1, [1], 1, activation_func="tanh")
    net.from_file(path.with_suffix(""))
    assert net.get_shape == recorded["block_size"]
    assert net.get_name == recorded["name"]
    assert net.get_activations == recorded["activations"][:-1]
    x = np.array(recorded["x"])
    for answer in (net.predict(x), net.feedforward(x)):
        np.testing.assert_allclose(answer, recorded["prediction"], **SINGLE)
    # What we write of it has all that DEGANN wrote, in its words.
    text = path.read_text()
    theirs = json.loads(text[text.index("{") :])
    ours = net.to_dict()
    assert {key: ours[key] for key in theirs} == theirs


@pytest.mark.parametrize("kind", [dense, recurrent])
@pytest.mark.parametrize("blocks", [[3], [4, 2, 5]])
def test_files_come_back(
    kind: Callable[..., IModel], blocks: list[int], tmp_path: Path
) -> None:
    net = kind(block_size=blocks, dropout_rate=0.25, name="kept")
    net.export_to_file(tmp_path / "net")
    lines = (tmp_path / "net.apg").read_text().split("\n")
    assert lines[0] == ""
    assert lines[1] == "Package: grufast"
    assert lines[4] == "{"  # DEGANN passes over four lines
    other = dense(block_size=[7])
    other.from_file(str(tmp_path / "net"))
    assert other.to_dict() == net.to_dict()
    assert other.get_name == "kept"
    assert other.get_shape == blocks
    steps = () if kind is dense else (6,)
    x = np.random.default_rng(0).standard_normal((5, *steps, 1))
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_dense_networks_without_hidden_layers_come_back() -> None:
    net = dense(block_size=[])
    other = dense()
    other.from_dict(net.to_dict())
    assert other.to_dict() == net.to_dict()


def test_a_loaded_network_trains_on_as_compiled() -> None:
    x, y = sine()
    net = compiled(dense(), optimizer="SGD", rate=0.5)
    net.from_dict(dense(block_size=[8]).to_dict())
    assert net.network.optimizer is not None
    assert net.network.optimizer.learning_rate == 0.5
    net.train(x, y, epochs=1)


def bad_files() -> dict[str, tuple[Callable[[Any], object], str]]:
    def put(*path: Any) -> Callable[[Any], object]:
        *where, key, value = path

        def act(config: Any) -> None:
            for step in where:
                config = config[step]
            config[key] = value

        return act

    def drop(*path: Any) -> Callable[[Any], object]:
        *where, key = path

        def act(config: Any) -> None:
            for step in where:
                config = config[step]
            del config[key]

        return act

    return {
        "type": (put("net_type", "CNN"), "net_type: got 'CNN', expected one of"),
        "type of type": (put("net_type", 3), "net_type: got 3, expected a string"),
        "no type": (drop("net_type"), "it says nothing about 'net_type'"),
        "no name": (drop("name"), "it says nothing about 'name'"),
        "name": (put("name", None), "name: got None, expected a string"),
        "no out": (drop("out_layer"), "it says nothing about 'out_layer'"),
        "out": (put("out_layer", 3), "out_layer: got int, expected a JSON object"),
        "layers": (put("layer", {}), "layer: got dict, expected a list"),
        "layer": (put("layer", 0, []), r"layer\[0\]: got list, expected a JSON obj"),
        "fewer": (put("block_size", [5, 4, 3]), "layer: got 2, expected 3 as in bl"),
        "size": (put("block_size", [5, 3]), r"layer\[1\].* got shape .* expected"),
        "huge": (put("block_size", [5, 10**9]), "got shape|would have"),
        "negative": (put("input_size", -1), "input_size: got -1"),
        "output": (put("output_size", "1"), "output_size: got '1'"),
        "ragged": (
            put("out_layer", "biases", [[1], 2]),
            "out_layer.biases: expected an array of numbers",
        ),
        "text": (
            put("out_layer", "biases", ["1"]),
            "out_layer.biases: expected an array of numbers",
        ),
        "missing": (drop("out_layer", "biases"), "it says nothing about 'biases'"),
        "dropout": (put("dropout_rate", 1), "dropout_rate: got 1"),
    }


@pytest.mark.parametrize("case", bad_files())
@pytest.mark.parametrize("kind", [dense, recurrent])
def test_bad_files_are_refused(
    kind: Callable[..., IModel], case: str, tmp_path: Path
) -> None:
    spoil, message = bad_files()[case]
    config = kind().to_dict()
    spoil(config)
    path = tmp_path / "bad.apg"
    path.write_text("\n\n\n\n" + json.dumps(config))
    net = dense(block_size=[7])
    before = net.to_dict()
    with pytest.raises(ValueError, match=message) as caught:
        net.from_file(tmp_path / "bad")
    assert str(caught.value).startswith(f"{str(path)!r} cannot be loaded: ")
    with pytest.raises(ValueError, match=message):
        net.from_dict(config)
    assert net.to_dict() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "cube"}, None),
        ({"decorator_params": [["beta", 1.0]]}, "decorator_params: got"),
    ],
)
def test_unknown_activations_in_files(change: dict[str, Any], message: str) -> None:
    config = dense().to_dict()
    config["layer"][0] |= change
    with pytest.raises(ValueError, match=message or "activation_func: got 'cube'"):
        dense().from_dict(config)


def test_later_files_of_degann_load() -> None:
    config = dense().to_dict()
    assert config["net_type"] == "MyDense"
    other = dense(block_size=[1])
    other.from_dict(config | {"net_type": "TFDense"})
    assert other.to_dict() == config


def test_files_without_weights_are_refused() -> None:
    # As DEGANN's fork describes its GRU.
    described = {"net_type": "GRU", "name": "net", "input_size": 1, "gru_units": 30}
    with pytest.raises(ValueError, match="it holds no weights: DEGANN leaves those"):
        dense().from_dict(described)
    with pytest.raises(ValueError, match="config: got list, expected a JSON object"):
        dense().from_dict([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it holds no JSON object"),
        (b"\xff{", "can't decode"),
        (b"\n\n\n\n{", "Expecting"),
        (b'\n\n\n\n{"a":' + b"[" * 100_000, "not a network's JSON|Expecting"),
    ],
)
def test_damaged_files_are_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.apg").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        dense().from_file(tmp_path / "bad")
    assert "cannot be loaded" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        dense().from_file(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        dense().export_to_file(tmp_path / "absent" / "net")


# --- The experiment


@pytest.fixture(scope="module")
def experiment() -> Iterator[ModuleType]:
    if not EXPERIMENT.exists():
        pytest.skip("the tests are without the repository around them")
    monkeypatched = pytest.MonkeyPatch()
    monkeypatched.syspath_prepend(EXPERIMENT.parent)
    yield importlib.import_module(EXPERIMENT.stem)
    monkeypatched.undo()


def test_its_samples_are_what_the_text_says(experiment: Any) -> None:
    training, _, test = experiment.samples("oscillator", 0)
    for part, size in ((training, 1000), (test, 500)):
        assert part.x.shape == (size - 9, 10, 1)
        assert part.y.shape == (size - 9, 2)
        last = part.x[:, -1, 0]
        np.testing.assert_allclose(2 * part.at - 1, last, atol=1e-6)
        np.testing.assert_array_equal(part.x[9:, 0], part.x[:-9, -1])
        assert np.all(np.diff(last) >= 0)
    clean = np.stack([np.cos(10 * test.at), np.sin(10 * test.at)], 1)
    for y, pure in zip(test.y.T, clean.T, strict=True):
        assert np.corrcoef(y, pure)[0, 1] > 0.999999
    noise = training.y[:, 1]
    pure = np.sin(10 * training.at)
    residual = noise - np.polyval(np.polyfit(pure, noise, 1), pure)
    np.testing.assert_allclose(residual.std(), 0.1, rtol=0.1)


@pytest.mark.parametrize("kind", ["GRU", "dense"])
def test_it_keeps_the_best_weights(experiment: Any, kind: str) -> None:
    run = experiment.train(experiment.Job("sin", kind, 0, 0.01, (2, 4)))
    assert len(run["errors"]) == len(run["seconds"]) == 2
    assert 0 < run["seconds"][0] < run["seconds"][1]
    again = experiment.train(experiment.Job("sin", kind, 0, 0.01, (2,)))
    assert again["errors"] == run["errors"][:1]
    assert run["parameters"] == (25_321 if kind == "GRU" else 4_081)
    test = experiment.samples("sin", 0)[2]
    error = np.array(run["predicted"]) - test.y[:, 0]
    np.testing.assert_allclose(np.sqrt(np.mean(error**2)), run["errors"][-1], rtol=1e-5)


def made_up(experiment: Any, gru: list[float], took: float = 9.0) -> Any:
    """Results in which the dense network's errors are about 1, the GRU's as given."""
    spread = 1 + 0.01 * np.arange(5)
    errors = np.ones((5, len(gru), 2, 2)) * spread[:, None, None, None]
    errors[:, :, experiment.GRU] *= np.array(gru)[:, None]
    seconds = np.ones_like(errors) * [10, 100]
    seconds[:, :, experiment.GRU] *= took
    rates = np.full((len(gru), 2), 0.01)
    names = [f"f{f}" for f in range(len(gru))]
    return experiment.Results(names, (10, 100), rates, errors, seconds, [])


def test_the_answer_follows_from_the_figures(experiment: Any) -> None:
    text = experiment.answers(made_up(experiment, [0.5, 0.5, 0.5]))
    assert "**RQ1: yes." in text
    assert "the GRU is better with every seed on 3 (f0, f1, f2)" in text
    assert "error is 2 (2 to 2) times the GRU's" in text
    assert "an epoch of the GRU takes 9 (9 to 9) times as long" in text
    assert "10 epochs of the GRU the dense network has done 10 or more;" in text
    text = experiment.answers(made_up(experiment, [2.0, 4.0], took=12.0))
    assert "**RQ1: no." in text
    assert "the dense network is better with every seed on 2 (f0, f1)" in text
    assert "the dense network has done 100 or more;" in text
    assert "better is the dense network" in text
    results = made_up(experiment, [2.0, 0.5, 1.0], took=0.5)
    results.errors[0, 2, experiment.GRU] *= 2
    text = experiment.answers(results)
    assert "**RQ1: not decided." in text
    assert "the GRU is better with every seed on 1 (f1)" in text
    assert "the seeds disagree on 1 (f2)" in text
    assert "At no number of epochs" in text


def test_the_learning_rate_with_the_smallest_mean_loss_is_taken(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {0.001: (1.0, 9.0), 0.003: (2.0, 4.0), 0.01: (3.0, 3.1), 0.03: (0.5, 99.0)}

    def train(job: Any) -> dict[str, float]:
        loss = losses[job.rate][experiment.TUNING_SEEDS.index(job.seed)]
        faster = job.network == "dense" and job.rate == 0.01
        return {"validation": loss / 2 if faster else loss}

    monkeypatch.setattr(experiment, "train", train)
    tuned = experiment.tuned_rates(["sin", "exp"], 7, tmp_path / "runs.jsonl")
    np.testing.assert_array_equal(tuned, [[0.003, 0.01]] * 2)


def test_intervals_cover_what_they_should(experiment: Any) -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.standard_normal((2000, 6)))
    found = [experiment.median(own) for own in values]
    inside = np.mean([own.low <= 1 <= own.high for own in found])
    # 2000 trials have a standard error of 0.004.
    np.testing.assert_allclose(inside, 1 - 2**-5, atol=0.015)
    whole = experiment.overall(np.exp(0.1 * rng.standard_normal((5, 8)) + np.log(3)))
    assert whole.low < 3 < whole.high
    assert whole.high / whole.low < 1.3


def test_it_runs(
    experiment: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(experiment, "RATES", (0.01,))
    command = ["--epochs", "1", "2", "--seeds", "2"]
    command += ["--functions", "hardsin", "oscillator", "--out", str(tmp_path)]
    experiment.main(command)
    page = (tmp_path / "results.md").read_text()
    assert "| hardsin |" in page
    assert "| oscillator |" in page
    assert "**RQ1:" in page
    for name in ("degann_errors.png", "degann_curves.png"):
        assert name in page
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "training 8/8" in capsys.readouterr().out
    runs = tmp_path / "runs.jsonl"
    lines = runs.read_text().splitlines()[1:]  # each starts with a line's end
    assert len(lines) == 2 * 2 * 2 + 8
    # Killed while it wrote its last line: only that training is done again.
    runs.write_text("\n".join(["", *lines[:-1], lines[-1][:20]]))
    experiment.main(command)
    assert "training 1/1" in capsys.readouterr().out
    *before, cut, again = runs.read_text().splitlines()[1:]
    assert before == lines[:-1]
    assert cut == lines[-1][:20]
    assert json.loads(again)["errors"] == json.loads(lines[-1])["errors"]


def test_its_networks_beside_keras_learn(experiment: Any) -> None:
    for kind in experiment.NETWORKS:
        few, more = (
            experiment.train_beside(experiment.Side("sin", kind, 0, "grufast", epochs))
            for epochs in (2, 12)
        )
        assert more["validation"] < few["validation"]
        assert more["cpu"] > 0
        assert more["clock"] > 0


def test_it_writes_a_table_beside_keras(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(job: Any) -> dict[str, float]:
        keras = job.library == "Keras"
        slow = 10 if job.network == "GRU" else 1
        return {
            "validation": 0.1 * (job.seed + 1) + keras,
            "cpu": (0.04 if keras else 0.001) * slow,
            "clock": 0.06 if keras else 0.002,
        }

    monkeypatch.setattr(experiment, "train_beside", train)
    command = ["--keras", "--seeds", "3", "--functions", "sin", "exp", "--epochs", "5"]
    experiment.main([*command, "--out", str(tmp_path)])
    rows = (tmp_path / "keras.md").read_text().splitlines()
    errors = "0.2 (0.1 to 0.3) | 1.2 (1.1 to 1.3)"
    faster = "40 (40 to 40) | 30 (30 to 30)"
    assert f"| sin, GRU | {errors} | 10 | 400 | {faster} |" in rows
    assert f"| exp, dense | {errors} | 1 | 40 | {faster} |" in rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--functions", "cube"], "invalid choice: 'cube'"),
        (["--functions", "multidim"], "invalid choice: 'multidim'"),
        (["--seeds", "0"], "--seeds: at least 1"),
        (["--epochs", "0", "5"], "--seeds: at least 1"),
        (["--epochs", "x"], "argument --epochs: invalid"),
    ],
)
def test_its_options_are_checked(
    experiment: Any,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        experiment.main(options)
    assert message in capsys.readouterr().err


# --- The package itself


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize("activation", sorted(degann.get_all_activations()))
def test_degann_reads_our_files(activation: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="DEGANN runs on TensorFlow")
    theirs = pytest.importorskip("degann.networks.imodel", reason="DEGANN is missing")
    ours = dense(activation_func=activation)
    ours.export_to_file(tmp_path / "net")
    net = theirs.IModel(1, [1], 1)
    net.from_file(str(tmp_path / "net"))
    x, _ = sine()
    np.testing.assert_allclose(net.predict(x), ours.predict(x), **SINGLE)


@pytest.mark.filterwarnings("ignore")
def test_degann_has_the_same_names_and_losses(rng: np.random.Generator) -> None:
    pytest.importorskip("tensorflow", reason="DEGANN runs on TensorFlow")
    theirs = pytest.importorskip("degann.networks", reason="DEGANN is missing")
    t, p = rng.uniform(0.5, 2, (2, 6, 3)).astype(np.float32)
    known = degann.get_all_loss_functions()
    assert [*theirs.get_all_loss_functions()] == [*known]
    for name, loss in theirs.get_all_loss_functions().items():
        np.testing.assert_allclose(known[name](t, p), float(loss(t, p)), SINGLE["rtol"])
    for name, function in theirs.get_all_activations().items():
        expected = np.asarray(function(t - 1))
        found = degann.get(name)(t - 1)
        np.testing.assert_allclose(found, expected, **SINGLE, err_msg=name)
    missing = {*theirs.get_all_optimizers()} - {*degann.get_all_optimizers()}
    assert missing == {"LossScaleOptimizer"}
