"""CSV files, dates, missing values, splits, scaling and windows."""

from pathlib import Path

import numpy as np
import pytest

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
    for length in (0, 11):
        with pytest.raises(ValueError, match="windows of"):
            data.windows(values, length)


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


def test_hardsin() -> None:
    x, y = data.hardsin()
    assert 0 < x[0] < x[-1] == 2
    np.testing.assert_allclose(y[500], np.sin(np.log(x[500] ** np.sin(10 * x[500]))))


def test_many_rows(tmp_path: Path) -> None:
    rows = "".join(f"{i % 97}.5,x,{i}\n" for i in range(30_000))
    table = data.read_csv(write(tmp_path, "a,b,c\n" + rows), ["a", "c"])
    assert len(table) == 30_000
    assert table.columns["c"][-1] == 29_999
