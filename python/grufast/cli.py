"""The command line: ``grufast`` and ``python -m grufast``.

Errors are one line on standard error and exit status 2. Ctrl-C ends a training with the
best weights so far, which are scored, reported and saved; the exit status is then 130.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from grufast._files import write_atomic

INTERRUPTED = 130
_FAILED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        The exit status: 0, 2 after an error, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["forecast", "missing.csv", "--target", "y"])
    2
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as leaving:  # argparse has said why
        return int(leaving.code or 0)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone: no second complaint at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as stop:
        print(f"\ngrufast: stopped {stop}".rstrip(), file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if options.debug:
            raise
        print(f"grufast: error: {_message(error)}", file=sys.stderr)
        return _FAILED
    return status


def _message(error: Exception) -> str:
    """Say what went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


# --- Commands -------------------------------------------------------------------------


def _forecast(options: argparse.Namespace) -> int:
    from grufast import data, forecast

    _check_outputs(options.plot, options.save, options.out)
    features = tuple(
        name.strip() for name in (options.features or "").split(",") if name.strip()
    )
    for name in (options.target, *features):
        if [options.target, *features].count(name) > 1:
            msg = f"column '{name}' is named twice in --target and --features"
            raise ValueError(msg)
    settings = forecast.Settings(
        target=options.target,
        features=features,
        horizon=options.horizon,
        window=options.window,
        season=options.season,
        test=options.test,
        test_fraction=options.test_fraction,
        units=options.units,
        layers=options.layers,
        dropout=options.dropout,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        patience=options.patience,
        seed=options.seed,
        base=options.base,
    )
    table = data.read_csv(
        options.file,
        [options.target, *features],
        date=options.date,
        encoding=options.encoding,
    )
    table, observed = data.fill_missing(table, options.missing)
    interrupted = forecast.run(
        forecast.prepare(table, settings, observed),
        plot=options.plot,
        save=options.save,
        out=options.out,
        source=Path(options.file).name,
        say=_say(options.quiet),
        verbose=0 if options.quiet else "auto",
        more_metadata={"missing": options.missing, "date": options.date},
    )
    return INTERRUPTED if interrupted else 0


def _predict(options: argparse.Namespace) -> int:
    from grufast import data, forecast
    from grufast.model import load

    _check_outputs(options.plot, options.out)
    forecaster = forecast.reopen(load(options.model))
    settings, meta = forecaster.settings, forecaster.model.metadata
    table = data.read_csv(
        options.file,
        [settings.target, *settings.features],
        date=options.date or meta.get("date", "auto"),
        encoding=options.encoding,
    )
    missing = options.missing or meta.get("missing", "error")
    table, _ = data.fill_missing(table, missing)
    future, notes = forecaster(table)
    say = _say(options.quiet)
    for note in (*table.notes, *notes):
        say(f"note: {note}")
    if options.out:
        write_atomic(options.out, future.csv(settings.target, table.date_column))
    if options.plot:
        from grufast import figures

        figures.write(
            forecast.continuation_picture(table, settings.target, future), options.plot
        )
    most = len(future.values) if not options.out else 6
    say(forecast.preview(future, settings.target, table.date_column, most))
    written = [path for path in (options.plot, options.out) if path]
    if written:
        say("wrote " + ", ".join(written))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from grufast import demo

    interrupted = demo.run(
        Path(options.out),
        say=_say(options.quiet),
        verbose=0 if options.quiet else "auto",
        seed=options.seed,
    )
    return INTERRUPTED if interrupted else 0


def _info(options: argparse.Namespace) -> int:
    del options
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from grufast import _core

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    build = _core.build_info()
    rows = {
        "grufast": build["version"],
        "compiler": build["compiler"],
        "openmp": "yes" if build["openmp"] else "no",
        "isa": f"{build['isa']} (GRUFAST_ISA chooses)",
        "isas available": " ".join(build["isas_available"]),
        "isas built": " ".join(build["isas_built"]),
        "threads": f"{_core.get_num_threads()} (GRUFAST_NUM_THREADS chooses)",
        "python": f"{platform.python_version()}, {platform.machine()}",
        "numpy": installed("numpy"),
        "safetensors": installed("safetensors"),
        "matplotlib": installed("matplotlib"),
    }
    for name, value in rows.items():
        print(f"{name:<15} {value}")
    return 0


# --- Help -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_FAILED, f"grufast: error: {message} (see {self.prog} --help)\n")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _part(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError
    return value


def _chance(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


# argparse names the type in its message: invalid positive integer value: 'x'
_count.__name__ = "positive integer"
_natural.__name__ = "whole number"
_part.__name__ = "fraction between 0 and 1"
_chance.__name__ = "fraction"
_rate.__name__ = "positive number"

_EXAMPLES = {
    "forecast": """\
example:
  grufast forecast sales.csv --target units --horizon 28 \\
      --plot sales.png --save sales.safetensors --out next.csv

The newest rows (--test) are held out: the table shows what the GRU and three simple
forecasts got wrong on them. The model that is saved, and that forecasts beyond the end,
is the one in the table: it is not fitted again on the held-out rows.""",
    "predict": """\
example:
  grufast predict sales.safetensors sales-of-may.csv --out june.csv --plot june.png""",
    "demo": """\
example:
  grufast demo --out grufast-demo

Trains on sunspots since 1700 and on a function that is hard to approximate, and leaves
two pictures and two models in the directory. Takes less than two minutes.""",
    "info": "example:\n  grufast info",
}


def _parser() -> _Parser:
    parser = _Parser(
        prog="grufast",
        description="Train a GRU on a CSV file and forecast with it.",
        epilog="examples:\n  grufast demo\n"
        "  grufast forecast data.csv --target y --horizon 24 --plot forecast.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], about: str
    ) -> Callable[..., argparse.Action]:
        sub = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show where errors arise")
        if name != "info":
            sub.add_argument("--quiet", action="store_true", help="print errors only")
        return sub.add_argument

    _add_forecast(
        command("forecast", _forecast, "train on a CSV file and forecast what follows")
    )
    _add_predict(
        command("predict", _predict, "forecast what follows a CSV file, with a model")
    )
    add = command("demo", _demo, "train on two real problems")
    add("--out", metavar="DIR", default="grufast-demo", help="default: %(default)s")
    add("--seed", type=_natural, default=0, metavar="N", help="default: %(default)s")
    command("info", _info, "say what is installed and what this machine can do")
    return parser


def _add_forecast(add: Callable[..., argparse.Action]) -> None:
    add("file", metavar="FILE.csv", help="header line, then a row a time step")
    add("--target", required=True, metavar="COLUMN", help="what to forecast")
    add("--features", metavar="A,B", help="further columns the forecast may look at")
    add(
        "--horizon",
        type=_count,
        default=24,
        metavar="N",
        help="rows to forecast (default: %(default)s)",
    )
    add(
        "--window",
        type=_count,
        metavar="N",
        help="rows a forecast looks at (default: 60, more for a long season, fewer for "
        "a short file)",
    )
    add(
        "--date",
        default="auto",
        metavar="COLUMN",
        help="date column, or none (default: found by its name and content)",
    )
    add(
        "--missing",
        choices=("error", "interpolate", "drop"),
        default="error",
        help="empty cells: refuse, draw straight lines (and fill in absent dates), or "
        "leave the row out (default: %(default)s)",
    )
    add(
        "--season",
        type=_natural,
        metavar="N",
        help="rows in a season, 0 for none (default: found in the training part)",
    )
    add("--test", type=_count, metavar="N", help="rows to hold out")
    add(
        "--test-fraction",
        type=_part,
        default=0.2,
        metavar="F",
        help="part of the rows to hold out (default: %(default)s)",
    )
    add(
        "--base",
        choices=("linear", "last"),
        default="linear",
        help="what the GRU learns to correct: the linear autoregression or the last "
        "value (default: %(default)s)",
    )
    add(
        "--units",
        type=_count,
        default=32,
        metavar="N",
        help="units in a GRU layer (default: %(default)s)",
    )
    add(
        "--layers",
        type=_count,
        default=1,
        metavar="N",
        help="GRU layers (default: %(default)s)",
    )
    add(
        "--dropout",
        type=_chance,
        default=0.0,
        metavar="F",
        help="after each GRU layer (default: %(default)s)",
    )
    add(
        "--epochs",
        type=_count,
        default=50,
        metavar="N",
        help="most passes over the training part (default: %(default)s)",
    )
    add(
        "--patience",
        type=_count,
        default=15,
        metavar="N",
        help="stop after so many epochs without improvement (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=_count,
        default=32,
        metavar="N",
        help="windows in an update (default: %(default)s)",
    )
    add(
        "--learning-rate",
        type=_rate,
        default=1e-2,
        metavar="X",
        help="of Adam, at first (default: %(default)s)",
    )
    add(
        "--seed",
        type=_natural,
        default=0,
        metavar="N",
        help="same seed, same result (default: %(default)s)",
    )
    add("--plot", metavar="PNG", help="write a picture; also .svg or .pdf")
    add("--save", metavar="MODEL", help="write the model (safetensors)")
    add("--out", metavar="CSV", help="write the forecast")
    add(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of the file (default: utf-8)",
    )


def _add_predict(add: Callable[..., argparse.Action]) -> None:
    add("model", metavar="MODEL", help="written by grufast forecast --save")
    add("file", metavar="FILE.csv", help="with the columns the model was trained on")
    add("--out", metavar="CSV", help="write the forecast")
    add("--plot", metavar="PNG", help="write a picture; also .svg or .pdf")
    add(
        "--date",
        metavar="COLUMN",
        help="date column, or none (default: as in training)",
    )
    add(
        "--missing",
        choices=("error", "interpolate", "drop"),
        help="empty cells (default: as in training)",
    )
    add(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of the file (default: utf-8)",
    )


def _say(quiet: bool) -> Callable[[str], None]:
    """Return what prints a report: at once, also into a pipe."""

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    return say


def _check_outputs(plot: str | None, *others: str | None) -> None:
    """Find out before a training, not after it, that a file cannot be written."""
    if plot:
        from grufast import figures

        figures.check_writable(plot)
    for path in (plot, *others):
        if path and not Path(path).resolve().parent.is_dir():
            msg = f"{path}: no such directory"
            raise ValueError(msg)
        if path and Path(path).is_dir():
            msg = f"{path} is a directory"
            raise ValueError(msg)
