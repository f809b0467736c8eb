"""CSV files, missing values, splits, windows, padding, functions and series."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares
from scipy.special import ellipj

from grufast import data


def write(directory: Path, content: str | bytes) -> Path:
    path = directory / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


GOOD = {
    "plain": ("a,b\n1,2\n3,4\n", [1, 3]),
    "bom": ("\ufeffa,b\n1,2\n3,4\n", [1, 3]),
    "utf-16": ("a;b\n1;2\n3;4\n".encode("utf-16"), [1, 3]),
    "semicolon, decimal comma": ("a;b\n1,5;2\n3;4\n", [1.5, 3]),
    "tab": ("a\tb\n1\t2\n3\t4\n", [1, 3]),
    "bar": ("a|b\n1|2\n3|4\n", [1, 3]),
    "one column": ("a\n1\n3\n", [1, 3]),
    "crlf and blank lines": ("a,b\r\n1,2\r\n\r\n3,4\r\n,\r\n", [1, 3]),
    "comment": ("# source: x, y\n\na,b\n1,2\n3,4\n", [1, 3]),
    "quotes": ('"a","b ""c"""\n"1","2"\n" 3 ","x\ny"\n', [1, 3]),
    "missing words": ("a,b\n1,2\nNA,2\nnan,2\n,2\n?,1\n", [1] + 4 * [np.nan]),
    "no newline at the end": ("a,b\n1e0,2\n3,4", [1, 3]),
    "text elsewhere": ("s,a\nx,1\ny,3\n", [1, 3]),
    "unneeded duplicates": ("a,b,b\n1,2,2\n3,4,4\n", [1, 3]),
}


@pytest.mark.parametrize(("content", "expected"), GOOD.values(), ids=GOOD.keys())
def test_good_files(
    tmp_path: Path, content: str | bytes, expected: list[float]
) -> None:
    table = data.read_csv(write(tmp_path, content), ["a"])
    np.testing.assert_array_equal(table.columns["a"], expected)
    assert table.dates is None


BAD = {
    "empty": ("", "is empty"),
    "comment only": ("# nothing\n\n", "is empty"),
    "header only": ("a,b\n", "no rows"),
    "missing column": ("b,c\n1,2\n", "no column 'a'; its columns are: b, c"),
    "no header": ("1,2\n3,4\n", "header missing"),
    "duplicate": ("a,b,a\n1,2,3\n", "2 columns named 'a'"),
    "text": ("a,b\n1,2\n\nx1,3\n", r"line 4: column 'a' has 'x1', not a number"),
    "infinite": ("a,b\n1,2\ninf,3\n", r"line 3: column 'a' has 'inf', not a finite"),
    "ragged": ("a,b\n1,2\n3\n", r"line 3: 1 cells where the header has 2"),
    "encoding": ("a,b\n1,2\n3,é\n".encode("latin-1"), r"line 3: not UTF-8"),
    "binary": (b"a,b\n1,\0\n", "not a text file"),
    "bad date": (
        "date,a\n" + "".join(f"2020-01-{i:02d},1\n" for i in range(1, 32))
        + "".join(f"2020-03-{i:02d},1\n" for i in range(1, 32)) + "soon,2\n",
        r"line 64: column 'date' has 'soon', not a date like '2020-01-01'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        data.read_csv(write(tmp_path, content), ["a"])
    assert "\n" not in str(caught.value)


DATES = {
    "iso": (["2024-01-01", "2024-01-02", "2024-01-03"], "day", "2024-01-04"),
    "times": (["2024-01-01 00:00", "2024-01-01 01:00"], "hour", "2024-01-01 02:00:00"),
    "zone": (["2024-01-01T00:00Z", "2024-01-01T00:30Z"], "30 minutes",
             "2024-01-01 01:00:00"),
    "months": (["1949-11", "1949-12"], "month", "1950-01-01"),
    "month ends": (["2023-12-31", "2024-01-31"], "month", "2024-02-29"),
    "quarters": (["1959Q3", "1959Q4"], "quarter", "1960-01-01"),
    "years": (["1700.0", "1701.0"], "year", "1702"),
    "compact": (["19580329", "19580405"], "week", "1958-04-12"),
    "american": (["12/30/2023", "12/31/2023"], "day", "2024-01-01"),
    "european": (["30/12/2023", "31/12/2023"], "day", "2024-01-01"),
    "either, by steadiness": (["01/02/2023", "01/03/2023", "01/04/2023"], "day",
                              "2023-01-05"),
    "german": (["30.12.2023", "31.12.2023"], "day", "2024-01-01"),
    "names": (["Nov-1-1995", "Dec-1-1995"], "month", "1996-01-01"),
    "month names": (["Nov 1995", "Dec 1995"], "month", "1996-01-01"),
    "unix": (["1700000000", "1700000060"], "minute", "2023-11-14 22:15:20"),
    "business": (["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"],
                 "business day", "2024-01-10"),
    "gap": (["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-06"], "day",
            "2024-01-07"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "step", "following"), DATES.values(), ids=DATES.keys()
)
def test_dates(tmp_path: Path, cells: list[str], step: str, following: str) -> None:
    rows = "".join(f'"{cell}",{i}\n' for i, cell in enumerate(cells))
    table = data.read_csv(write(tmp_path, "date,a\n" + rows), ["a"])
    assert table.dates is not None
    assert table.step is not None
    assert str(table.step) == step
    assert data.format_dates(table.step.after(table.dates[-1], 2))[0] == following


def test_what_is_no_date(tmp_path: Path) -> None:
    for header, cells in ("timestamp", "012"), ("id", ["2001", "2002", "2003"]):
        rows = "".join(f"{cell},1\n" for cell in cells)
        assert (
            data.read_csv(write(tmp_path, f"{header},a\n{rows}"), ["a"]).dates is None
        )
    path = write(tmp_path, "date,a\n2024-01-01,1\n2024-01-02,2\n")
    assert data.read_csv(path, ["a"], date="none").dates is None


def test_order_of_time(tmp_path: Path) -> None:
    path = write(tmp_path, "day,a\n2024-01-03,3\n2024-01-02,2\n2024-01-01,1\n")
    table = data.read_csv(path)
    np.testing.assert_array_equal(table.columns["a"], [1, 2, 3])
    assert "backwards" in table.notes[0]
    panel = "day,a\n2024-01-01,3\n2024-01-02,2\n2024-01-03,2\n2024-01-01,1\n"
    with pytest.raises(ValueError, match=r"line 5: 'day' repeats 2024-01-01"):
        data.read_csv(write(tmp_path, panel), ["a"], date="day")


def test_months_keep_to_their_ends() -> None:
    step = data.Step("month", 1)
    found = step.after(np.datetime64("2024-01-30"), 2).astype("M8[D]").astype(str)
    assert found.tolist() == ["2024-02-29", "2024-03-30"]


def test_seasons_of_the_calendar() -> None:
    hour = 3_600_000_000
    assert data.Step("microsecond", hour).seasons()[:2] == [24, 168]
    assert data.Step("month", 3).seasons() == [4]
    assert data.Step("month", 12).seasons() == []
    assert data.Step("microsecond", 7 * 24 * hour).seasons() == [52]


def test_missing(tmp_path: Path) -> None:
    text = (
        "date,a\n2024-01-01,\n2024-01-02,2\n2024-01-03,\n2024-01-05,5\n2024-01-06,6\n"
    )
    table = data.read_csv(write(tmp_path, text), ["a"])
    with pytest.raises(ValueError, match=r"2 empty cells .* 2024-01-01.*--missing"):
        data.fill_missing(table)
    filled, observed = data.fill_missing(table, "interpolate")
    np.testing.assert_allclose(filled.columns["a"], [2, 3, 4, 5, 6])
    np.testing.assert_array_equal(observed, [1, 0, 0, 1, 1])
    assert filled.dates is not None
    assert data.format_dates(filled.dates)[2] == "2024-01-04"
    dropped, observed = data.fill_missing(table, "drop")
    np.testing.assert_array_equal(dropped.columns["a"], [2, 5, 6])
    assert observed.all()


def test_absent_dates_are_noted() -> None:
    dates = np.array(["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05"], "M8[us]")
    table = data.Table({"a": np.arange(4.0)}, dates, "d", data.infer_step(dates))
    kept, _ = data.fill_missing(table)
    assert len(kept) == 4
    assert "1 dates are absent" in kept.notes[0]
    filled, _ = data.fill_missing(table, "interpolate")
    np.testing.assert_allclose(filled.columns["a"], [0, 1, 1.5, 2, 3])


def test_windows_are_views() -> None:
    values = np.arange(20.0).reshape(10, 2)
    cut = data.windows(values, 4)
    assert cut.shape == (7, 4, 2)
    assert np.shares_memory(cut, values)
    np.testing.assert_array_equal(cut[3], values[3:7])
    assert cut.strides[-1] == values.itemsize
    with pytest.raises(ValueError, match="length: got 0"):
        data.windows(values, 0)
    with pytest.raises(ValueError, match="windows of 11 rows need as many"):
        data.windows(values, 11)


def test_time_split() -> None:
    split = data.time_split(10, 2, 3)
    rows = np.arange(10)
    assert [rows[s].tolist() for s in (split.train, split.validation, split.test)] == [
        [0, 1, 2, 3, 4], [5, 6], [7, 8, 9],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="cannot be split"):
        data.time_split(5, 2, 3)


def test_scaler_returns() -> None:
    values = np.random.default_rng(0).normal(5, 3, (50, 2))
    scaler = data.Scaler.fit(values)
    scaled = scaler.transform(values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(0), 1)
    np.testing.assert_allclose(scaler.inverse(scaled), values)


@pytest.mark.parametrize(
    ("values", "length", "error", "message"),
    [
        (np.arange(9.0), 3, ValueError, r"values: got shape \(9,\).*values\[:, None\]"),
        (
            np.zeros((9, 2, 2)),
            3,
            ValueError,
            r"got shape \(9, 2, 2\), expected \(n, C\)",
        ),
        ([1.0, 2.0], 1, TypeError, "values: got list, expected a NumPy array"),
        (np.zeros((9, 1)), 3.0, TypeError, "length: got 3.0, expected an integer"),
    ],
)
def test_what_windows_cannot_cut_is_named(
    values: Any, length: Any, error: type[Exception], message: str
) -> None:
    for cut in (data.windows, data.window_pairs):
        with pytest.raises(error, match=message):
            cut(values, length)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((100, 0.2, 0.2), TypeError, "validation: got 0.2, expected an integer"),
        ((10, 2, 3.0), TypeError, "test: got 3.0, expected an integer"),
        (("10", 2, 3), TypeError, "n: got '10'"),
        (
            (10, 0, 3),
            ValueError,
            "validation: got 0, expected an integer of at least 1",
        ),
        ((10, 2, -3), ValueError, "test: got -3"),
    ],
)
def test_splits_are_by_whole_rows(
    sizes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.time_split(*sizes)


def test_constant_columns_are_scaled_to_zero() -> None:
    values = np.stack([np.full(7, 0.1), np.arange(7.0)], 1)
    scaler = data.Scaler.fit(values)
    scaled = scaler.transform(values)
    # Six sums and a division are rounded in the mean of seven numbers; what is not near
    # zero may be off by its last few bits.
    off = 7 * np.spacing(0.1)
    np.testing.assert_allclose(scaled[:, 0], 0, atol=off)
    np.testing.assert_allclose(scaled[:, 1].std(), 1, rtol=1e-15)
    np.testing.assert_allclose(scaler.inverse(scaled), values, rtol=1e-15, atol=off)
    assert scaler.transform(values + 1)[0, 0] == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([[1.0], [2.0]], TypeError, "values: got list, expected a NumPy array"),
        (np.array([["a"]]), TypeError, "values: got an array of <U1"),
        (
            np.zeros((0, 2)),
            ValueError,
            r"values: got shape \(0, 2\), expected \(n, C\)",
        ),
        (np.array(1.0), ValueError, r"values: got shape \(\)"),
        (np.array([[1.0], [np.nan]]), ValueError, "values: expected finite numbers"),
    ],
)
def test_what_cannot_be_scaled_is_named(
    values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.Scaler.fit(values)
    scaler = data.Scaler.fit(np.arange(6.0).reshape(3, 2))
    for use in (scaler.transform, scaler.inverse):
        with pytest.raises(ValueError, match=r"shape \(3, 3\), expected the columns"):
            use(np.ones((3, 3)))
        with pytest.raises(TypeError, match="values: got list"):
            use([[1.0, 2.0]])  # type: ignore[arg-type]


@pytest.mark.parametrize("points", [0, -1, 2.0, "9"])
def test_hardsin_takes_a_number_of_points(points: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"points: got {points!r}"):
        data.hardsin(points)


def test_hardsin() -> None:
    x, y = data.hardsin()
    assert 0 < x[0] < x[-1] == 2
    np.testing.assert_allclose(y[500], np.sin(np.log(x[500] ** np.sin(10 * x[500]))))


def test_many_rows(tmp_path: Path) -> None:
    rows = "".join(f"{i % 97}.5,x,{i}\n" for i in range(30_000))
    table = data.read_csv(write(tmp_path, "a,b,c\n" + rows), ["a", "c"])
    assert len(table) == 30_000
    assert table.columns["c"][-1] == 29_999


def test_window_pairs_are_views() -> None:
    values = np.arange(20.0).reshape(10, 2)
    x, y = data.window_pairs(values, 4, 3)
    assert x.shape == (4, 4, 2)
    assert y.shape == (4, 3, 2)
    assert np.shares_memory(x, values)
    assert np.shares_memory(y, values)
    np.testing.assert_array_equal(x[2], values[2:6])
    np.testing.assert_array_equal(y[2], values[6:9])
    with pytest.raises(ValueError, match="windows of 11 rows"):
        data.window_pairs(values, 10)
    with pytest.raises(ValueError, match="horizon: got 0"):
        data.window_pairs(values, 4, 0)
    with pytest.raises(ValueError, match="length: got 0"):
        data.window_pairs(values, 0)


def test_walk_forward() -> None:
    # What scikit-learn's TimeSeriesSplit returns for the same arguments.
    def rows(
        n: int,
        splits: int,
        test_size: int | None = None,
        max_train_size: int | None = None,
        gap: int = 0,
    ) -> list[tuple[list[int], list[int]]]:
        every = list(range(n))
        return [
            (every[train], every[test])
            for train, test in data.walk_forward(
                n, splits, test_size=test_size, max_train_size=max_train_size, gap=gap
            )
        ]

    assert rows(6, 5)[0] == ([0], [1])
    assert rows(6, 5)[-1] == ([0, 1, 2, 3, 4], [5])
    assert rows(12, 3, test_size=2) == [
        ([0, 1, 2, 3, 4, 5], [6, 7]),
        ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9]),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11]),
    ]
    assert rows(12, 3, test_size=2, gap=2, max_train_size=3) == [
        ([1, 2, 3], [6, 7]),
        ([3, 4, 5], [8, 9]),
        ([5, 6, 7], [10, 11]),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 5, "splits": 5}, "5 rows cannot be split 5 times with tests of 0 rows"),
        ({"n": 9, "splits": 2, "test_size": 3, "gap": 3}, "and a gap of 3"),
        ({"n": 0}, "n: got 0"),
        ({"n": 9, "splits": 0}, "splits: got 0"),
        ({"n": 9, "test_size": 0}, "test_size: got 0"),
        ({"n": 9, "gap": -1}, "gap: got -1"),
        ({"n": 9, "max_train_size": 0}, "max_train_size: got 0"),
    ],
)
def test_walk_forward_refuses(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.walk_forward(**arguments)


# --- Sequences of unequal length


RAGGED = [[1], [2, 3, 4], [], [5, 6]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [[0, 0, 1], [2, 3, 4], [0, 0, 0], [0, 5, 6]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 4], [0, 0, 0], [5, 6, 0]]),
        ({"maxlen": 2}, [[0, 1], [3, 4], [0, 0], [5, 6]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [0, 0], [5, 6]]),
        ({"maxlen": 1, "value": 9}, [[1], [4], [9], [6]]),
        ({"maxlen": 4, "value": -1}, [[-1] * 3 + [1], [-1, 2, 3, 4], [-1] * 4,
                                      [-1, -1, 5, 6]]),
        ({"maxlen": 0}, [[], [], [], []]),
    ],
)  # fmt: skip
def test_pad_sequences(arguments: dict[str, Any], expected: list[list[int]]) -> None:
    padded = data.pad_sequences(RAGGED, **arguments)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, expected)


def test_pad_sequences_of_vectors(rng: np.random.Generator) -> None:
    series = [rng.standard_normal((n, 2)) for n in (3, 0, 5)]
    padded = data.pad_sequences(series, dtype="float32", padding="post", value=np.nan)
    assert padded.shape == (3, 5, 2)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded[0, :3], series[0].astype("f4"))
    assert np.isnan(padded[0, 3:]).all()
    assert np.isnan(padded[1]).all()
    assert data.pad_sequences([], maxlen=3).shape == (0, 3)
    assert data.pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("sequences", "arguments", "error", "message"),
    [
        ([[1.5]], {}, ValueError, r"sequences\[0\]: int32 cannot hold it"),
        ([[1], [2**40]], {}, ValueError, r"sequences\[1\]: int32 cannot hold it"),
        ([[1]], {"value": 0.5}, ValueError, "value: int32 cannot hold it"),
        ([[1]], {"value": -1, "dtype": "uint8"}, ValueError, "value: uint8 cannot"),
        ([[1e300]], {"dtype": "float32"}, ValueError, "float32 cannot hold it"),
        ([[1]], {"dtype": "U4"}, TypeError, "dtype: got <U4, expected one of real"),
        ([[[1, 2]], [[1]]], {}, ValueError, r"\[1\]: its steps have shape \(1,\), exp"),
        ([[[1], [2, 3]]], {}, ValueError, r"sequences\[0\]: its steps differ in shape"),
        ([1, 2], {}, ValueError, r"sequences\[0\]: got the single number 1"),
        (["ab"], {}, TypeError, r"sequences\[0\]: got <U2, expected real numbers"),
        ("ab", {}, TypeError, "sequences: got str, expected a list"),
        (3, {}, TypeError, "sequences: got int, expected a list"),
        ([[1]], {"padding": "left"}, ValueError, "padding: got 'left'"),
        ([[1]], {"truncating": "left"}, ValueError, "truncating: got 'left'"),
        ([[1]], {"maxlen": -1}, ValueError, "maxlen: got -1"),
    ],
)
def test_pad_sequences_refuses(
    sequences: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.pad_sequences(sequences, **arguments)


def test_buckets(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 60, 101)
    series = [np.full((n, 2), i, np.float32) for i, n in enumerate(lengths)]
    batches = data.Buckets(series, np.arange(101), 8, seed=3, value=-1.0)
    assert len(batches) == 13
    orders = []
    for _ in range(2):
        seen: list[int] = []
        padding = 0
        for x, y in batches:
            assert x.dtype == np.float32
            assert x.shape == (len(y), lengths[y].max(), 2)
            for row, index in zip(x, y, strict=True):
                np.testing.assert_array_equal(row[-lengths[index] :], index)
                assert (row[: -lengths[index]] == -1).all()
            padding += int((lengths[y].max() - lengths[y]).sum())
            seen += y.tolist()
        assert sorted(seen) == list(range(101))
        assert padding < lengths.sum() / 10
        orders.append(seen)
    assert orders[0] != orders[1]
    again = data.Buckets(series, np.arange(101), 8, seed=3)
    again.epoch = 1
    assert [int(i) for _, y in again for i in y] == orders[1]


def test_buckets_without_targets_or_shuffling() -> None:
    tokens = [np.arange(n) for n in (3, 1, 2)]
    batches = data.Buckets(tokens, batch_size=2, shuffle=False, padding="post")
    assert [x.tolist() for x in batches] == [[[0, 0], [0, 1]], [[0, 1, 2]]]


@pytest.mark.parametrize(
    ("sequences", "arguments", "error", "message"),
    [
        ([], {}, ValueError, "sequences: expected at least one"),
        ([np.ones(2), np.ones(2, "f4")], {}, TypeError, "one dtype, got float32, fl"),
        ([np.ones(2)], {"targets": np.ones(2)}, ValueError, "targets: .* of 1 rows"),
        ([np.ones(2)], {"targets": [1]}, ValueError, "targets: .* of 1 rows"),
        ([np.ones(2)], {"batch_size": 0}, ValueError, "batch_size: got 0"),
        ([np.ones(2)], {"shuffle": 1}, TypeError, "shuffle: got 1"),
        ([np.ones(2)], {"padding": "no"}, ValueError, "padding: got 'no'"),
        ([np.ones(2)], {"seed": -1}, ValueError, "seed: got -1"),
    ],
)
def test_buckets_refuse(
    sequences: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.Buckets(sequences, **arguments)


# --- Functions and series

# Right side of y' = f(x, y), first values and where they hold.
EQUATIONS: dict[str, tuple[Callable[..., Any], list[float], float]] = {
    "exp": (lambda x, y: 3 * y, [1], 0),
    "const": (lambda x, y: 0 * y, [1], 0),
    "growth": (lambda x, y: y, [1], 0),
    "decay": (lambda x, y: -y, [1], 0),
    "sin": (lambda x, y: [y[1], -100 * y[0]], [0, 10], 0),
    "damped_sin": (
        lambda x, y: [y[1], -y[1] / 5 - y[0] - np.exp(-x / 5) * np.cos(x) / 5],
        [0, 1],
        0,
    ),
    "rational": (lambda x, y: -(y - 2 * x) / x, [20.1], 0.1),
    "cosecant": (
        lambda x, y: (1 - y * np.cos(x)) / np.sin(x),
        [2.1 / np.sin(0.1)],
        0.1,
    ),
    "oscillator": (lambda x, y: [-100 * y[1], y[0]], [10, 0], 0),
    "stiff_decay": (lambda x, y: -15 * y, [1], 0),
    "stiff_second_order": (
        lambda x, y: [y[1], -1001 * y[1] - 1000 * y[0]],
        [1, 0],
        0,
    ),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_formulas_solve_their_equations(name: str) -> None:
    right_side, initial, start = EQUATIONS[name]
    x, y = data.approximation(name, 101)
    assert (x[0, 0], x[-1, 0]) == data.FUNCTIONS[name].interval
    solved = data.solve_ode(right_side, initial, x[:, 0], start=start)
    outputs = y.shape[1]
    np.testing.assert_allclose(y, solved[:, :outputs], rtol=1e-7, atol=1e-8)


def test_the_rigid_body_follows_jacobi() -> None:
    x, y = data.approximation("rigid_body", 200)
    sn, cn, dn, _ = ellipj(x[:, 0], 0.5)
    np.testing.assert_allclose(y, np.stack((sn, cn, dn), 1), atol=1e-8)


def test_robertson_reaches_its_published_values() -> None:
    # E. Hairer, G. Wanner, Solving Ordinary Differential Equations II: at x = 40.
    x, y = data.approximation("robertson", 11)
    assert x[-1, 0] == 40
    np.testing.assert_allclose(y[-1], [0.7158271, 9.185535e-6, 0.2841637], rtol=1e-5)
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-9)


@pytest.mark.parametrize("name", data.FUNCTIONS)
def test_every_function_is_finite_and_named(name: str) -> None:
    function = data.FUNCTIONS[name]
    x, y = data.approximation(name, 50, seed=0)
    assert x.shape == (50, function.inputs)
    assert np.isfinite(y).all()
    assert function.formula
    np.testing.assert_array_equal(function(x), y)


def test_functions_of_several_inputs() -> None:
    x, y = data.approximation("multidim", 7, seed=1)
    expected = np.sin(5 * x[:, 0]) * np.log2(1 + x[:, 1]) / np.sqrt(1 + x[:, 2])
    np.testing.assert_allclose(y[:, 0], expected)
    np.testing.assert_array_equal(x, data.approximation("multidim", 7, seed=1)[0])
    assert not np.array_equal(x, data.approximation("multidim", 7, seed=2)[0])
    x, y = data.approximation("ode", 7, seed=1)
    np.testing.assert_array_equal(y[:, 0], -x[:, 1])


def test_simple_functions() -> None:
    x = np.linspace(0.05, 1, 20)
    expected = {
        "lin": x + x,
        "log": np.log1p(x),
        "gauss": np.exp(-12.5 * (x - 0.5) ** 2),
        "hyperbol": (x * x + 0.5) / (x + 0.1),
        "sig": 0.5 + np.tanh(x / 2) / 2,
        "expexp": np.e / np.exp(np.exp(-x)),
        "hardsin": np.sin(np.log(x ** np.sin(10 * x))),
    }
    for name, y in expected.items():
        np.testing.assert_allclose(
            data.FUNCTIONS[name](x[:, None])[:, 0], y, rtol=1e-12
        )
    assert data.FUNCTIONS["hardsin"](np.zeros((1, 1))) == 0  # its limit


def test_noise_is_measured_in_deviations() -> None:
    _, clean = data.approximation("oscillator", 4001)
    _, noisy = data.approximation("oscillator", 4001, noise=0.1, seed=0)
    ratio = (noisy - clean).std(0) / clean.std(0)
    np.testing.assert_allclose(ratio, 0.1, rtol=0.05)
    _, same = data.approximation("oscillator", 4001, noise=0.1, seed=0)
    np.testing.assert_array_equal(noisy, same)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cube"}, "name: got 'cube', expected one of 'exp'"),
        ({"name": "sin", "points": 0}, "points: got 0"),
        ({"name": "sin", "noise": -1.0}, "noise: got -1.0"),
        ({"name": "sin", "seed": -1}, "seed: got -1"),
        ({"name": "sin", "interval": (1.0, 1.0)}, r"interval: got \(1.0, 1.0\)"),
        ({"name": "sin", "interval": (0.0, np.inf)}, "interval: got"),
        ({"name": "hardsin", "interval": (-1.0, 1.0)}, r"not finite .* in \[-1, 1\]"),
        ({"name": "rigid_body", "interval": (-1.0, 1.0)}, "x: got -1 to 1, expected"),
    ],
)
def test_approximation_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.approximation(**arguments)


def test_solve_ode(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.array([2.0, 0.5, 2.0, 0.0])
    y = data.solve_ode(lambda x, y: -y, [3.0], x)
    np.testing.assert_allclose(y[:, 0], 3 * np.exp(-x), rtol=1e-8)
    assert data.solve_ode(lambda x, y: y, [1.0, 2.0], np.array([])).shape == (0, 2)
    at_start = data.solve_ode(lambda x, y: y, [1.0, 2.0], np.array([1.0]), start=1.0)
    assert at_start.tolist() == [[1.0, 2.0]]
    with pytest.raises(ValueError, match="x: got 0 to 1, expected numbers fr"):
        data.solve_ode(lambda x, y: y, [1.0], np.array([0.0, 1.0]), start=0.5)
    with pytest.raises(ValueError, match="could not be solved"):
        data.solve_ode(lambda x, y: y * y, [1.0], np.array([2.0]))
    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(ImportError, match=r'pip install "grufast\[ode\]"'):
        data.approximation("robertson")


def test_two_waves() -> None:
    series = data.two_waves(500, 51, seed=0)
    assert series.shape == (500, 51, 1)
    np.testing.assert_array_equal(series, data.two_waves(500, 51, seed=0))
    assert not np.array_equal(series, data.two_waves(500, 51, seed=1))
    noise = series - data.two_waves(500, 51, noise=0.0, seed=0)
    assert np.abs(noise).max() <= 0.05
    np.testing.assert_allclose(noise.std(), 0.1 / np.sqrt(12), rtol=0.02)
    # Without noise each is a sum of sines of two frequencies, within their ranges.
    t = np.linspace(0, 1, 200)
    for wave in data.two_waves(10, 200, noise=0.0, seed=2)[:, :, 0]:
        grid = [(f, g) for f in np.arange(10, 21) for g in np.arange(20, 41)]
        start = min(
            grid, key=lambda pair: float(np.abs(two_sines(pair, t, wave)[0]).max())
        )
        found = least_squares(
            lambda pair, wave=wave: two_sines(pair, t, wave)[0], start, xtol=1e-12
        )
        error, amplitudes = two_sines(found.x, t, wave)
        assert np.abs(error).max() < 1e-6
        assert 10 <= found.x[0] <= 20 <= found.x[1] <= 40
        np.testing.assert_allclose(amplitudes, [0.5, 0.2], rtol=1e-4)


def two_sines(pair: Any, t: Any, wave: Any) -> tuple[Any, Any]:
    """Error and amplitudes of the best sines of two frequencies."""
    columns = np.stack([f(w * t) for w in pair for f in (np.sin, np.cos)], 1)
    weights = np.linalg.lstsq(columns, wave)[0]
    return columns @ weights - wave, np.hypot(weights[::2], weights[1::2])


def test_mackey_glass_solves_its_equation() -> None:
    # The method of steps: within each delay it is an ordinary equation.
    tau, pieces = 17.0, 6

    def right_side(t: float, x: Any) -> Any:
        past = solutions[-1](t - tau)[0] if solutions else 1.2
        return 0.2 * past / (1 + past**10) - 0.1 * x

    solutions: list[Any] = []
    x = [1.2]
    for piece in range(pieces):
        ends = piece * tau, (piece + 1) * tau
        solved = solve_ivp(
            right_side, ends, x, dense_output=True, rtol=1e-10, atol=1e-12,
            max_step=1.0,
        )  # fmt: skip
        solutions.append(solved.sol)
        x = solved.y[:, -1]
    times = np.arange(0, pieces * tau)
    expected = [solutions[int(t // tau)](t)[0] for t in times]
    found = data.mackey_glass(len(times))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)
    half = data.mackey_glass(2 * len(times) - 1, step=0.5)
    np.testing.assert_allclose(half[::2], found, atol=1e-6)
    np.testing.assert_array_equal(data.mackey_glass(5, discard=20), found[20:25])
    assert data.mackey_glass(0).shape == (0, 1)
    long = data.mackey_glass(3000, discard=500)
    assert 0.2 < long.min() < 0.6
    assert 1.2 < long.max() < 1.5


def test_lorenz_solves_its_equations() -> None:
    def right_side(_: float, p: Any) -> Any:
        x, y, z = p
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    times = np.arange(100) * 0.02
    expected = data.solve_ode(right_side, [1, 2, 20], times.astype("f8"))
    found = data.lorenz(100, initial=(1, 2, 20))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    later = data.lorenz(10, initial=(1, 2, 20), discard=90)
    np.testing.assert_array_equal(later, found[90:])
    assert data.lorenz(0).shape == (0, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.two_waves(-1, 5), "n: got -1"),
        (lambda: data.two_waves(1, 0), "steps: got 0"),
        (lambda: data.two_waves(1, 5, noise=-0.1), "noise: got -0.1"),
        (lambda: data.mackey_glass(-1), "n: got -1"),
        (lambda: data.mackey_glass(5, step=0.0), "step: got 0.0, .* above 0"),
        (lambda: data.mackey_glass(5, initial=0.0), "initial: got 0.0"),
        (lambda: data.mackey_glass(5, discard=-1), "discard: got -1"),
        (lambda: data.mackey_glass(5, tau=0.0), "tau: got 0, expected a multiple"),
        (lambda: data.mackey_glass(5, tau=1.03), "a multiple of 0.1"),
        (lambda: data.lorenz(5, step=-1.0), "step: got -1.0"),
        (lambda: data.lorenz(5, initial=(1.0, 2.0)), "initial: .* three numbers"),  # type: ignore[arg-type]
        (lambda: data.lorenz(5, discard=-1), "discard: got -1"),
    ],
)
def test_generators_refuse(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
