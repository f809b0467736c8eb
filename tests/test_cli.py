"""The commands, in process and, for Ctrl-C, as a process."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import grufast as gf
from grufast import cli, demo
from grufast.data import Step, format_dates

PNG = b"\x89PNG"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    n = 200
    dates = Step("microsecond", 86_400_000_000).after(np.datetime64("2024-01-01"), n)
    y = 50 + 10 * np.sin(2 * np.pi * np.arange(n) / 7)
    y += np.random.default_rng(0).standard_normal(n)
    rows = [
        f"{day},{v:.4f},{2 * v:.4f}\n"
        for day, v in zip(format_dates(dates), y, strict=True)
    ]
    path = tmp_path / "sales.csv"
    path.write_text("date,units,double\n" + "".join(rows))
    return path


def forecast(series: Path, *more: str) -> list[str]:
    start = ["forecast", str(series), "--target", "units", "--horizon", "7"]
    return [*start, "--units", "4", "--epochs", "3", "--window", "14", *more]


def test_forecast_and_predict(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("forecast.png", "model.safetensors", "next.csv")
    plot, model, out = (str(tmp_path / name) for name in names)
    arguments = forecast(series, "--plot", plot, "--save", model, "--out", out)
    assert cli.main([*arguments, "--features", "double"]) == 0
    report = capsys.readouterr()
    for word in ("GRU", "linear autoregression", "seasonal naive", "naive", "season 7"):
        assert word in report.out
    assert "\x1b" not in report.out + report.err
    assert Path(plot).read_bytes().startswith(PNG)
    with Path(out).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["date"] for row in rows][:2] == ["2024-07-20", "2024-07-21"]
    meta = gf.load(model).metadata
    assert meta["target"] == "units"
    assert (meta["window"], meta["horizon"]) == (14, 7)

    again = tmp_path / "again.csv"
    picture = tmp_path / "again.png"
    arguments = ["predict", model, str(series), "--out", str(again)]
    assert cli.main([*arguments, "--plot", str(picture)]) == 0
    assert again.read_text() == Path(out).read_text()
    assert picture.read_bytes().startswith(PNG)

    short = tmp_path / "short.csv"
    short.write_text("date,units,double\n2024-01-01,1,2\n2024-01-02,2,4\n")
    capsys.readouterr()
    assert cli.main(["predict", model, str(short)]) == 2
    assert "2 rows are too few: the model sees 14" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    other.write_text("date,units\n2024-01-01,1\n")
    assert cli.main(["predict", model, str(other)]) == 2
    assert "no column 'double'" in capsys.readouterr().err


def test_same_seed_same_report(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for _ in range(2):
        assert cli.main(forecast(series)) == 0
        table = capsys.readouterr().out.split("held-out tail")[1]
        outputs.append(table.split("(the GRU learnt")[0])
    assert outputs[0] == outputs[1]


def test_quiet(series: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(forecast(series, "--quiet")) == 0
    assert capfd.readouterr() == ("", "")


ERRORS = {
    "no command": [],
    "unknown command": ["dance"],
    "no file": ["forecast", "none.csv", "--target", "units"],
    "no target": ["forecast", "FILE"],
    "no column": ["forecast", "FILE", "--target", "unit"],
    "twice": ["forecast", "FILE", "--target", "units", "--features", "units"],
    "not a number": ["forecast", "FILE", "--target", "date", "--date", "none"],
    "horizon": ["forecast", "FILE", "--target", "units", "--horizon", "0"],
    "too long": ["forecast", "FILE", "--target", "units", "--horizon", "10000000000"],
    "fraction": ["forecast", "FILE", "--target", "units", "--test-fraction", "2"],
    "directory": ["forecast", "FILE", "--target", "units", "--save", "no/where.st"],
    "picture": ["forecast", "FILE", "--target", "units", "--plot", "x.docx"],
    "encoding": ["forecast", "FILE", "--target", "units", "--encoding", "klingon"],
    "not a model": ["predict", "FILE", "FILE"],
    "no model": ["predict", "none.safetensors", "FILE"],
}


@pytest.mark.parametrize("arguments", ERRORS.values(), ids=ERRORS.keys())
def test_errors_are_one_line(
    series: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    given = [str(series) if word == "FILE" else word for word in arguments]
    assert cli.main(given) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("grufast: error: ")
    assert err.count("\n") == 1


def test_debug_shows_the_error(series: Path) -> None:
    with pytest.raises(ValueError, match="no column"):
        cli.main(["forecast", str(series), "--target", "x", "--debug"])


def test_predict_wants_a_forecaster(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = gf.Sequential([gf.layers.GRU(2)], seed=0)
    model.build((None, None, 1))
    for metadata, message in (
        ({}, "not a forecaster"),
        ({"task": "forecast"}, "damaged"),
    ):
        model.save(tmp_path / "m.safetensors", metadata=metadata)
        assert cli.main(["predict", str(tmp_path / "m.safetensors"), str(series)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "forecast", "predict", "demo", "info"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command.split(), "--help"]) == 0
    assert "example" in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for word in (gf.build_info()["isa"], "threads", "numpy"):
        assert word in out


# A process started in the background may have inherited that SIGINT is ignored.
LISTENING = (
    "import runpy, signal, sys; sys.argv[0] = 'grufast';"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('grufast', run_name='__main__')"
)


def test_ctrl_c_keeps_the_best(series: Path, tmp_path: Path) -> None:
    model, plot = tmp_path / "model.safetensors", tmp_path / "forecast.png"
    log = tmp_path / "log"
    arguments = forecast(series, "--save", str(model), "--plot", str(plot))
    arguments += ["--epochs", "1000000", "--patience", "1000000"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTENING, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        # The picture appears during training, after a few seconds.
        end = time.monotonic() + 40
        while not plot.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
    text = log.read_text()
    assert status == cli.INTERRUPTED, text
    assert "stopped by Ctrl-C" in text
    assert "Traceback" not in text
    assert gf.load(model).metadata["scores"]["GRU"]["rmse"] > 0


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not demo.run(tmp_path / "demo", epochs=(2, 2), sunspot_epochs=2, verbose=0)
    out = capsys.readouterr().out
    for word in ("seasonal naive", "0.038197", "published", "sunspots"):
        assert word in out
    for name in ("sunspots", "hardsin"):
        assert (tmp_path / "demo" / f"{name}.png").read_bytes().startswith(PNG)
        gf.load(tmp_path / "demo" / f"{name}.safetensors")


def test_hardsin_parts() -> None:
    problem = demo.Hardsin.make(0)
    assert not set(problem.train) & set(problem.validation)
    assert len(problem.train) + len(problem.validation) == 991
    clean, _ = problem.samples(problem.train)
    noisy, truth = problem.samples(problem.train, noisy=True)
    assert 0.09 < (noisy - clean).std() / problem.y.std() < 0.11
    assert np.isin(truth, problem.y.astype("f4")).all()
    assert 0.009 < demo.noise_optimum(problem) < 0.012


def test_help_is_fast() -> None:
    code = (
        "import sys; from grufast.cli import main; main(['--help']);"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
