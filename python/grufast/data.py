"""Series in and windows out: CSV files, splits, scaling, padding, made-up series.

Nothing here knows a model. A column is a float64 array with NaN where a cell was empty;
windows over an array are views, never copies.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from grufast import _checks

Floats = NDArray[np.float64]
Dates = NDArray[np.datetime64]
_ONE_DAY, _ONE_MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")
Missing = Literal["error", "interpolate", "drop"]

_MISSING = frozenset(
    ("", "na", "n/a", "nan", "null", "none", "nil", "missing", "#n/a", "-", "?", ".")
)
_DELIMITERS = ",;\t|"
_SAMPLE = 40  # rows looked at to find the delimiter and the date column
_DAY = 86_400_000_000  # microseconds


# --- Calendar steps -------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """The sampling step of a series: from one row to the next.

    Attributes
    ----------
    unit : {"month", "business day", "microsecond"}
        Months and business days are calendar steps; everything else is a fixed time.
    count : int
        How many units.
    month_end : bool
        Monthly steps that stay on the last day of the month.

    Examples
    --------
    >>> step = infer_step(np.array(["2024-01-31", "2024-02-29"], "M8[us]"))
    >>> print(step, step.after(np.datetime64("2024-02-29"), 2).astype("M8[D]"))
    month ['2024-03-31' '2024-04-30']
    """

    unit: Literal["month", "business day", "microsecond"]
    count: int
    month_end: bool = False

    def after(self, last: np.datetime64, n: int) -> Dates:
        """Return the n dates that follow `last`, datetime64[us] (n,)."""
        last = last.astype("M8[us]")
        ahead = np.arange(1, n + 1) * self.count
        if self.unit == "microsecond":
            return last + ahead.astype("m8[us]")
        day = last.astype("M8[D]")
        time_of_day = last - day.astype("M8[us]")
        if self.unit == "business day":
            days = np.busday_offset(day, ahead, roll="backward")
        else:
            month = day.astype("M8[M]")
            months = month + ahead.astype("m8[M]")
            month_ends = (months + _ONE_MONTH).astype("M8[D]") - _ONE_DAY
            days = np.minimum(months.astype("M8[D]") + (day - month), month_ends)
            if self.month_end:
                days = month_ends
        ahead_dates: Dates = days.astype("M8[us]") + time_of_day
        return ahead_dates

    def seasons(self) -> list[int]:
        """Return how many steps a day, a week and a year take, if 2 or more."""
        if self.unit == "month":
            return (
                [12 // self.count] if 12 % self.count == 0 and self.count < 12 else []
            )
        if self.unit == "business day":
            return [5, 260] if self.count == 1 else []
        cycles = [86_400e6, 7 * 86_400e6, 365.25 * 86_400e6]
        lengths = [cycle / self.count for cycle in cycles]
        return [round(n) for n in lengths if n > 1.9 and abs(n - round(n)) < 0.02 * n]

    def __str__(self) -> str:
        """Return the step in words: hour, 15 minutes, quarter."""
        if self.unit != "microsecond":
            count, unit = self.count, self.unit
            if unit == "month" and count % 12 == 0:
                count, unit = count // 12, "year"  # type: ignore[assignment]
            elif unit == "month" and count % 3 == 0:
                count, unit = count // 3, "quarter"  # type: ignore[assignment]
            return unit if count == 1 else f"{count} {unit}s"
        for name, length in (
            ("week", 7 * _DAY),
            ("day", _DAY),
            ("hour", _DAY // 24),
            ("minute", _DAY // 1440),
            ("second", 1_000_000),
            ("ms", 1000),
        ):
            count, rest = divmod(self.count, length)
            if count and not rest:
                plural = name if count == 1 or name == "ms" else f"{name}s"
                return name if count == 1 else f"{count} {plural}"
        return f"{self.count / 1e6:g} s"


def infer_step(dates: Dates) -> Step:
    """Find the step between rows: calendar months, business days, or a fixed time.

    Gaps do not disturb it: the most common step counts.

    Parameters
    ----------
    dates : datetime64 (n,)
        Increasing, n >= 2.

    Examples
    --------
    >>> str(infer_step(np.array(["2024-01-01", "2024-04-01", "2024-07-01"], "M8[us]")))
    'quarter'
    """
    dates = dates.astype("M8[us]")
    days = dates.astype("M8[D]")
    months = days.astype("M8[M]")
    midnight = bool(np.all(dates == days))
    month_step = _mode(np.diff(months).astype(np.int64))
    day_of_month = (days - months).astype(np.int64)
    month_end = bool(np.all((days + _ONE_DAY).astype("M8[M]") > months))
    steady = month_end or np.mean(day_of_month == _mode(day_of_month)) > 0.9
    if midnight and month_step and steady:
        return Step("month", month_step, month_end and bool(np.any(day_of_month < 30)))
    differences = np.diff(dates).astype(np.int64)
    median = float(np.median(differences))
    near = differences[np.abs(differences - median) <= 0.5 * median]  # no gaps
    clock_stands = np.mean(differences == 0) > 0.05  # stamps coarser than the step
    typical = round(float(np.mean(differences if clock_stands else near)))
    if midnight and typical == _DAY and np.any(differences == 3 * _DAY):
        weekdays = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        if np.all(weekdays < 5):
            return Step("business day", 1)
    return Step("microsecond", max(1, typical))


def _mode(values: NDArray[np.int64]) -> int:
    unique, counts = np.unique(values, return_counts=True)
    return int(unique[np.argmax(counts)])


def format_dates(dates: Dates) -> list[str]:
    """Write dates as ISO 8601, no finer than they need; years alone as years.

    Parameters
    ----------
    dates : datetime64 (n,)

    Returns
    -------
    list of str

    Examples
    --------
    >>> format_dates(np.array(["2024-01-31", "2024-02-29"], "M8[us]"))
    ['2024-01-31', '2024-02-29']
    """
    if len(dates) > 1 and np.all(dates == dates.astype("M8[Y]")):
        return [str(year) for year in dates.astype("M8[Y]")]
    units: tuple[Literal["D", "s", "ms", "us"], ...] = ("D", "s", "ms", "us")
    unit = next(u for u in units if np.all(dates == dates.astype(f"M8[{u}]")))
    return [str(d).replace("T", " ") for d in dates.astype(f"M8[{unit}]")]


# --- Dates as people write them -------------------------------------------------------

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:$|[T ])")
_PARTIAL = re.compile(r"(\d{4})(?:\.0*|[-/ ]?([MmQq])?(\d{1,2}))?$")
# Two formats in a group: the day or the month comes first, the whole column tells.
_FORMATS: tuple[tuple[str, ...], ...] = (
    *(
        tuple(date + time for date in group)
        for group in (
            ("%Y/%m/%d",),
            ("%m/%d/%Y", "%d/%m/%Y"),
            ("%d.%m.%Y",),
            ("%d-%m-%Y", "%m-%d-%Y"),
            ("%b-%d-%Y",),
            ("%d-%b-%Y",),
            ("%d-%b-%y",),
            ("%b %d %Y",),
            ("%b %d, %Y",),
            ("%B %d, %Y",),
            ("%d %b %Y",),
            ("%d %B %Y",),
            ("%m/%d/%y", "%d/%m/%y"),
        )
        for time in ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M:%S %p")
    ),
    ("%b %Y",),
    ("%b-%Y",),
    ("%B %Y",),
    ("%Y %b",),
    ("%Y-%b",),
    ("%b-%y",),
)
_DATE_NAME = re.compile(
    r"date|time|month|year|quarter|week|day|period|epoch|\b(?:ds|dt|ts|yr)\b", re.I
)


def _iso(text: str) -> datetime:
    if not _ISO.match(text):
        raise ValueError
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _partial(text: str) -> datetime:
    """Years, months and quarters: 1959, 1959.0, 1949-01, 1949M01, 1959Q1, 194901."""
    found = _PARTIAL.match(text)
    if not found:
        raise ValueError
    year, letter, part = found.groups()
    month = int(part or 1)
    if letter in ("Q", "q"):
        month = {1: 1, 2: 4, 3: 7, 4: 10}.get(month, 0)
    return datetime(int(year), month, 1)


def _compact(text: str) -> datetime:
    """19580329, with a time after a T or a space if there is one."""
    if not re.match(r"[12]\d{7}(?:$|[T ])", text):
        raise ValueError
    return datetime.fromisoformat(text.replace(" ", "T"))


def _epoch(text: str) -> datetime:
    """Seconds, milliseconds or microseconds since 1970."""
    seconds = float(text)
    while abs(seconds) > 1e11:
        seconds /= 1000
    if not abs(seconds) >= 1e8:
        raise ValueError
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _strptime(pattern: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, pattern)


def _date_parsers(
    sample: Sequence[str], named: bool
) -> list[Callable[[str], datetime]]:
    """Return the readings under which every cell of the sample is a date.

    Plain numbers are dates only where the column's name says so.
    """

    def reads(parser: Callable[[str], datetime]) -> bool:
        try:
            return bool([parser(cell) for cell in sample])
        except (ValueError, OverflowError, OSError):
            return False

    singles = [_iso, _compact]
    letters = any(re.search("[a-zA-Z/-]", cell) for cell in sample)
    if named or letters:
        singles += [_partial]
    if named:
        singles += [_epoch]
    for parser in singles:
        if reads(parser):
            return [parser]
    for group in _FORMATS:
        parsers = [p for p in map(_strptime, group) if reads(p)]
        if parsers:
            return parsers
    return []


# --- CSV files ------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Columns of a CSV file, in the order of time.

    Attributes
    ----------
    columns : dict of str to float64 (n,)
        Missing cells are NaN.
    dates : datetime64[us] (n,) or None
        The date column, where there is one.
    date_column : str
        Its name; "" where there is none.
    step : Step or None
        From one row to the next.
    notes : tuple of str
        What the reader of a report should know: sorted rows, gaps.

    Examples
    --------
    >>> table = Table({"sales": np.array([1.0, 2.0, 4.0])})
    >>> len(table), table.dates is None
    (3, True)
    """

    columns: dict[str, Floats]
    dates: Dates | None = None
    date_column: str = ""
    step: Step | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))


def _text(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        msg = (
            f"{path}, line {line}: not {encoding.removesuffix('-sig').upper()} text; "
            f"name its encoding, for instance --encoding latin-1"
        )
        raise ValueError(msg) from error
    except LookupError as error:
        msg = f"unknown encoding '{encoding}'"
        raise ValueError(msg) from error
    if "\0" in text[:10_000]:
        msg = f"{path} is not a text file"
        raise ValueError(msg)
    return text


def _delimiter(text: str) -> str:
    """Return the delimiter that cuts the first lines into most, equally many, cells."""

    def cells(delimiter: str) -> tuple[bool, int]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        widths = [len(row) for row in islice(reader, _SAMPLE) if row]
        return len(set(widths[:-1] or widths)) == 1, widths[0] if widths else 0

    return max(_DELIMITERS, key=lambda d: (cells(d)[1] > 1, *cells(d)))


class _Numbers:
    """Cells to float64, with errors that name the line and the column."""

    def __init__(self, path: Path, lines: Sequence[int], delimiter: str) -> None:
        self.path, self.lines, self.delimiter = path, lines, delimiter

    def read(self, name: str, cells: Sequence[str]) -> Floats:
        try:
            values = np.array(list(map(float, cells)), np.float64)
        except ValueError:
            values = self._with_missing(name, cells)
        if np.any(np.isinf(values)):
            at = int(np.argmax(np.isinf(values)))
            self.fail(name, at, cells[at], "a finite number")
        return values

    def _with_missing(self, name: str, cells: Sequence[str]) -> Floats:
        decimal_comma = self.delimiter != "," and not any("." in c for c in cells)
        values = np.full(len(cells), np.nan)
        for i, cell in enumerate(cells):
            word = cell.strip()
            if word.lower() in _MISSING:
                continue
            try:
                values[i] = float(word.replace(",", ".", 1) if decimal_comma else word)
            except ValueError:
                self.fail(name, i, cell, "a number")
        return values

    def fail(self, name: str, row: int, cell: str, wanted: str) -> None:
        shown = cell if len(cell) <= 30 else cell[:27] + "..."
        msg = f"{self.path}, line {self.lines[row]}: column '{name}' has '{shown}', "
        raise ValueError(msg + f"not {wanted}") from None


def read_csv(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    date: str = "auto",
    encoding: str = "utf-8",
) -> Table:
    """Read numeric columns of a CSV file and its dates.

    The first line is the header; lines that start with # before it are skipped. The
    delimiter (comma, semicolon, tab, bar) and a decimal comma are recognised. Rows come
    back in the order of time: a file that runs backwards is turned round.

    Parameters
    ----------
    path : str or Path
        The file.
    columns : sequence of str, optional
        The columns wanted; all but the date column if not given.
    date : str
        The date column's name, "auto" to look for one, or "none".
    encoding : str
        Of the text; a byte-order mark is recognised.

    Returns
    -------
    Table
        Columns float64 (n,), dates datetime64[us] (n,) or None.

    Examples
    --------
    >>> table = read_csv("co2.csv", ["co2"])            # doctest: +SKIP
    >>> table.columns["co2"].shape, str(table.step)     # doctest: +SKIP
    ((2284,), 'week')
    """
    path = Path(path)
    text = _text(path, encoding)
    skipped = re.match(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*", text)
    start = skipped.end() if skipped else 0
    if not text[start:].strip():
        msg = f"{path} is empty"
        raise ValueError(msg)
    delimiter = _delimiter(text[start : start + 200_000])
    stream = io.StringIO(text[start:], newline="")
    reader = csv.reader(stream, delimiter=delimiter)
    first_line = text.count("\n", 0, start)
    try:
        header = [cell.strip() for cell in next(reader)]
        sample = [row for row in islice(reader, _SAMPLE) if any(map(str.strip, row))]
        if not sample:
            msg = f"{path} has a header and no rows"
            raise ValueError(msg)
        at_date, parsers = _find_date(path, header, sample, date, columns or ())
        wanted = list(columns or [n for i, n in enumerate(header) if i != at_date])
        places = [_column(path, header, name) for name in wanted]
        if at_date is not None:
            places.append(at_date)
        stream.seek(0)
        reader = csv.reader(stream, delimiter=delimiter)
        next(reader)
        cells, lines = _rows(path, reader, len(header), places, first_line)
    except csv.Error as error:
        msg = f"{path}, line {first_line + reader.line_num}: {error}"
        raise ValueError(msg) from error
    numbers = _Numbers(path, lines, delimiter)
    table = Table(
        {name: numbers.read(name, c) for name, c in zip(wanted, cells, strict=False)}
    )
    if at_date is None:
        return table
    name = header[at_date] or "date"
    return _dated(table, numbers, name, cells[-1], parsers)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    """Return where a column stands, or say which there are."""
    count = header.count(name)
    if count == 1:
        return header.index(name)
    shown = ", ".join(h or "(unnamed)" for h in header[:20])
    more = f", ... ({len(header)} in all)" if len(header) > 20 else ""
    if count > 1:
        msg = f"{path} has {count} columns named '{name}'"
    else:
        msg = f"{path} has no column '{name}'; its columns are: {shown}{more}"
        if all(re.fullmatch(r"[-+\d.eE]+", h) for h in header):
            msg += " (is the header missing?)"
    raise ValueError(msg)


def _rows(
    path: Path, reader: Any, width: int, places: Sequence[int], first_line: int
) -> tuple[list[Sequence[str]], list[int]]:
    """Read the wanted columns, and the line of the file where each row ends."""
    kept: list[list[str]] = [[] for _ in places]
    stores = [(store.append, place) for store, place in zip(kept, places, strict=True)]
    lines: list[int] = []
    for row in reader:
        if len(row) != width:
            if not any(map(str.strip, row)):
                continue  # a blank line
            if len(row) < width or any(map(str.strip, row[width:])):
                msg = (
                    f"{path}, line {first_line + reader.line_num}: "
                    f"{len(row)} cells where the header has {width}"
                )
                raise ValueError(msg)
        if not row[places[0]] and not any(map(str.strip, row)):
            continue  # a line of delimiters only
        for append, place in stores:
            append(row[place])
        lines.append(first_line + reader.line_num)
    return list(kept), lines


def _find_date(
    path: Path,
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    date: str,
    numeric: Sequence[str],
) -> tuple[int | None, list[Callable[[str], datetime]]]:
    """Return the date column's place and the possible readings of its cells."""
    if date == "none":
        return None, []

    def parsers(place: int, named: bool) -> list[Callable[[str], datetime]]:
        cells = [row[place].strip() for row in sample if len(row) > place]
        return _date_parsers(cells, named)

    if date != "auto":
        place = _column(path, header, date)
        found = parsers(place, named=True)
        if not found:
            cell = sample[0][place] if len(sample[0]) > place else ""
            msg = (
                f"{path}: column '{date}' has '{cell}', which is not a date known here"
            )
            raise ValueError(msg)
        return place, found
    named = [bool(_DATE_NAME.search(name.replace("_", " "))) for name in header]
    for place in sorted(range(len(header)), key=lambda i: not named[i]):
        if header[place] not in numeric:
            found = parsers(place, named[place])
            if found and _increases(
                [found[0](row[place].strip()) for row in sample if len(row) > place]
            ):
                return place, found
    return None, []


def _increases(dates: Sequence[datetime]) -> bool:
    """Whether a sample runs forwards or backwards (then it can be a time axis)."""
    pairs = list(pairwise(dates))
    forwards = all(a <= b for a, b in pairs) or all(a >= b for a, b in pairs)
    return forwards and (len(dates) == 1 or len(set(dates)) > len(dates) // 2)


def _dated(
    table: Table,
    numbers: _Numbers,
    name: str,
    cells: Sequence[str],
    parsers: Sequence[Callable[[str], datetime]],
) -> Table:
    """Add the dates to a table and bring its rows into their order."""
    readings = []
    for parser in parsers:
        try:
            parsed = [parser(cell.strip()) for cell in cells]
            readings.append(np.array(parsed, "M8[us]"))
        except (ValueError, OverflowError):
            continue
    if not readings:
        for i, cell in enumerate(cells):
            try:
                parsers[0](cell.strip())
            except (ValueError, OverflowError):
                numbers.fail(name, i, cell, f"a date like '{cells[0]}'")
    # Day or month first, and both fit: the reading with the steadier steps.
    dates = min(readings, key=lambda d: len(np.unique(np.diff(d))))
    notes: list[str] = []
    columns = table.columns
    if len(dates) > 1:
        steps = np.diff(dates).astype(np.int64)
        if not np.all(steps >= 0):
            order = np.argsort(dates, kind="stable")
            backwards = bool(np.all(steps <= 0))
            if backwards:
                order = np.arange(len(dates))[::-1]
            repeated = np.flatnonzero(np.diff(dates[order]).astype(np.int64) == 0)
            if len(repeated) and not backwards:
                row = int(order[repeated[0] + 1])
                msg = (
                    f"{numbers.path}, line {numbers.lines[row]}: "
                    f"'{name}' repeats {cells[row]} and the rows are not in the order "
                    f"of time: several series in one file? keep one, or --date none"
                )
                raise ValueError(msg)
            dates = dates[order]
            columns = {key: values[order] for key, values in columns.items()}
            notes.append(
                f"rows {'run backwards' if backwards else 'are not sorted'} in time: "
                "sorted by date"
            )
    step = infer_step(dates) if len(dates) > 1 else None
    return Table(columns, dates, name, step, tuple(notes))


# --- Missing values -------------------------------------------------------------------


def fill_missing(
    table: Table, policy: Missing = "error"
) -> tuple[Table, NDArray[np.bool_]]:
    """Deal with empty cells, and with rows that the calendar says are absent.

    Rows before the first and after the last complete one are cut off in any case where
    `policy` is not "error".

    Parameters
    ----------
    table : Table
        As read.
    policy : {"error", "interpolate", "drop"}
        "error" names the first empty cell. "interpolate" draws straight lines over
        empty cells and absent dates. "drop" leaves out rows with an empty cell, and so
        treats their neighbours as consecutive.

    Returns
    -------
    table : Table
        Without NaN.
    observed : bool (n,)
        False in rows where a value was filled in.

    Raises
    ------
    ValueError
        If cells are empty and `policy` is "error", or fewer than two rows are complete.

    Examples
    --------
    >>> table = Table({"sales": np.array([1.0, np.nan, 4.0])})
    >>> table, observed = fill_missing(table, "interpolate")
    >>> table.columns["sales"], observed
    (array([1. , 2.5, 4. ]), array([ True, False,  True]))
    """
    gaps = _absent_rows(table)
    missing = np.isnan(np.stack(list(table.columns.values())))
    incomplete = missing.any(0)
    if policy == "error" or not (incomplete.any() or gaps):
        if incomplete.any():
            row = int(np.argmax(incomplete))
            name = list(table.columns)[int(np.argmax(missing[:, row]))]
            where = f"row {row + 1}"
            if table.dates is not None:
                where = format_dates(table.dates[row : row + 1])[0]
            empty = int(np.isnan(table.columns[name]).sum())
            msg = (
                f"column '{name}' has {empty} empty cells (the first at {where}): "
                "choose --missing interpolate or --missing drop"
            )
            raise ValueError(msg)
        if gaps:
            note = (
                f"{gaps} dates are absent (step: one {table.step}); rows are taken as "
                "consecutive, --missing interpolate fills them in"
            )
            table = replace(table, notes=(*table.notes, note))
        return table, np.ones(len(table), bool)
    complete = np.flatnonzero(~incomplete)
    if len(complete) < 2:
        msg = "fewer than two rows have a value in every column"
        raise ValueError(msg)
    if policy == "drop":
        note = f"{int(incomplete.sum())} rows with empty cells left out"
        kept = _take(table, complete)
        return replace(kept, notes=(*kept.notes, note)), np.ones(len(kept), bool)
    cut = len(table) - 1 - complete[-1]
    table = _take(table, np.arange(complete[0], complete[-1] + 1))
    if cut:
        note = f"the last {cut} rows are incomplete and left out"
        table = replace(table, notes=(*table.notes, note))
    table = _on_calendar(table) if gaps else table
    missing = np.isnan(np.stack(list(table.columns.values())))
    position = np.arange(len(table))
    columns = {
        name: np.interp(position, position[~gone], values[~gone])
        for (name, values), gone in zip(table.columns.items(), missing, strict=True)
    }
    observed = np.asarray(~missing.any(0))
    note = f"{int((~observed).sum())} rows filled in by interpolation"
    return replace(table, columns=columns, notes=(*table.notes, note)), observed


def _take(table: Table, rows: NDArray[np.intp]) -> Table:
    columns = {name: values[rows] for name, values in table.columns.items()}
    dates = None if table.dates is None else table.dates[rows]
    return replace(table, columns=columns, dates=dates)


def _calendar(table: Table) -> Dates | None:
    """Return every date from first to last, if the rows' dates are all among them."""
    if table.dates is None or table.step is None or table.step.unit == "business day":
        return None
    span = table.dates[-1] - table.dates[0]
    if table.step.unit == "month":
        span_months = np.diff(table.dates[[0, -1]].astype("M8[M]")).astype(int)[0]
        n = span_months // table.step.count
    else:
        n = int(span.astype(np.int64)) // table.step.count
    if n + 1 <= len(table) or n > 3 * len(table):
        return None
    every = np.concatenate((table.dates[:1], table.step.after(table.dates[0], int(n))))
    return every if np.isin(table.dates, every).all() else None


def _absent_rows(table: Table) -> int:
    every = _calendar(table)
    return 0 if every is None else len(every) - len(table)


def _on_calendar(table: Table) -> Table:
    every = _calendar(table)
    if every is None or table.dates is None:
        return table
    at = np.searchsorted(every, table.dates)
    columns = {}
    for name, values in table.columns.items():
        columns[name] = np.full(len(every), np.nan)
        columns[name][at] = values
    return replace(table, columns=columns, dates=every)


# --- Splits, scaling, windows ---------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Rows for training, validation and the held-out tail, in the order of time.

    Attributes
    ----------
    train, validation, test : slice
        As `time_split` makes them.

    Examples
    --------
    >>> split = time_split(10, validation=2, test=3)
    >>> np.arange(10)[split.test]
    array([7, 8, 9])
    """

    train: slice
    validation: slice
    test: slice


def time_split(n: int, validation: int, test: int) -> Split:
    """Cut n rows into train, validation and test: the newest rows are the test.

    Parameters
    ----------
    n : int
        Rows in the order of time.
    validation, test : int
        How many of them, at least one each; training gets the others.

    Returns
    -------
    Split
        Slices of the rows.

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer, or no row is left for training.

    Examples
    --------
    >>> split = time_split(10, validation=2, test=3)
    >>> split.train, split.validation, split.test
    (slice(0, 5, None), slice(5, 7, None), slice(7, 10, None))
    """
    n = _checks.integer("n", n, 0)
    validation, test = (
        _checks.integer(name, rows, 1)
        for name, rows in (("validation", validation), ("test", test))
    )
    train = n - validation - test
    if train < 1:
        msg = f"{n} rows cannot be split into training, {validation} and {test}"
        raise ValueError(msg)
    return Split(slice(0, train), slice(train, n - test), slice(n - test, n))


@dataclass(frozen=True)
class Scaler:
    """Standardise columns: (values - mean) / std.

    Attributes
    ----------
    mean, std : float64 (C,)
        Of the columns. A column whose values are all the same has a `std` of 1: it
        becomes 0.

    Examples
    --------
    >>> scaler = Scaler.fit(np.array([[1.0], [3.0]]))
    >>> scaler.transform(np.array([[5.0]]))
    array([[3.]])
    >>> scaler.inverse(np.array([[3.0]]))
    array([[5.]])
    """

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, values: Floats) -> "Scaler":
        """Take mean and standard deviation over the rows.

        Parameters
        ----------
        values : ndarray (n, C)
            Real and finite numbers; of the part to train on, or the future would have
            a part in what is learned. Several dimensions behind the first one are fine.

        Raises
        ------
        TypeError, ValueError
            If it is not such an array, or has no rows.
        """
        _numbers("values", values)
        if not values.ndim or not len(values):
            msg = f"values: got shape {values.shape}, expected (n, C) with n >= 1"
            raise ValueError(msg)
        if not np.isfinite(values).all():
            msg = "values: expected finite numbers; see fill_missing"
            raise ValueError(msg)
        mean = values.mean(0)
        # Rounding gives equal numbers a standard deviation that is not quite 0.
        constant = (values == values[:1]).all(0)
        return cls(mean, np.where(constant, 1.0, values.std(0)))

    def transform(self, values: Floats) -> Floats:
        """Return values (n, C) scaled."""
        return (self._fitting(values) - self.mean) / self.std

    def inverse(self, values: Floats) -> Floats:
        """Return scaled values (n, C) in their own unit: undo `transform`."""
        return self._fitting(values) * self.std + self.mean

    def _fitting(self, values: Floats) -> Floats:
        _numbers("values", values)
        columns = np.shape(self.mean)
        if values.shape[values.ndim - len(columns) :] != columns:
            msg = (
                f"values: got shape {values.shape}, expected the columns {columns} of "
                "those in fit"
            )
            raise ValueError(msg)
        return values


def _numbers(name: str, values: object) -> None:
    """Refuse what is no array of real numbers."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        got = type(values).__name__
        if isinstance(values, np.ndarray):
            got = f"an array of {values.dtype}"
        msg = f"{name}: got {got}, expected a NumPy array of numbers"
        raise TypeError(msg)


def windows(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Return every run of `length` rows as a read-only view, no copy.

    Parameters
    ----------
    values : (n, C)
        Rows in the order of time.
    length : int
        Rows in a window.

    Returns
    -------
    (n - length + 1, length, C)
        Overlapping windows; window i holds rows i to i + length - 1.

    Examples
    --------
    >>> windows(np.arange(4.0)[:, None], 3)[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]])
    """
    length = _checks.integer("length", length, 1)
    given: object = values
    if not isinstance(given, np.ndarray):
        msg = f"values: got {type(given).__name__}, expected a NumPy array (n, C)"
        raise TypeError(msg)
    if values.ndim != 2:
        msg = f"values: got shape {values.shape}, expected (n, C)"
        if values.ndim == 1:
            msg += "; one column is values[:, None]"
        raise ValueError(msg)
    if length > len(values):
        msg = f"windows of {length} rows need as many rows, got {len(values)}"
        raise ValueError(msg)
    return sliding_window_view(values, length, axis=0).transpose(0, 2, 1)


def window_pairs(
    values: NDArray[Any], length: int, horizon: int = 1
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return windows and the rows that follow each, both as read-only views.

    Parameters
    ----------
    values : (n, C)
        Rows in the order of time.
    length : int
        Rows in a window.
    horizon : int
        Rows that follow.

    Returns
    -------
    x : (n - length - horizon + 1, length, C)
        Windows, as inputs.
    y : (n - length - horizon + 1, horizon, C)
        What follows them, as targets.

    Examples
    --------
    >>> x, y = window_pairs(np.arange(5.0)[:, None], 3)
    >>> x[:, :, 0].tolist(), y[:, :, 0].tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0], [4.0]])
    """
    length = _checks.integer("length", length, 1)
    horizon = _checks.integer("horizon", horizon, 1)
    both = windows(values, length + horizon)
    return both[:, :length], both[:, length:]


def walk_forward(
    n: int,
    splits: int = 5,
    *,
    test_size: int | None = None,
    max_train_size: int | None = None,
    gap: int = 0,
) -> list[tuple[slice, slice]]:
    """Cut n rows into tests one after the other, each after all that it trains on.

    The tests lie side by side up to the last row: those of scikit-learn's
    `TimeSeriesSplit`, as slices.

    Parameters
    ----------
    n : int
        Rows in the order of time.
    splits : int
        How many.
    test_size : int, optional
        Rows of a test; ``n // (splits + 1)`` if not given.
    max_train_size : int, optional
        The training rows are the last so many: a window that moves along. Without it
        they are all rows before the test: a window that grows.
    gap : int
        Rows left out between training and test.

    Returns
    -------
    list of (train, test)
        Slices of the rows.

    Examples
    --------
    >>> for train, test in walk_forward(7, 2, test_size=2):
    ...     print(train, test)
    slice(0, 3, None) slice(3, 5, None)
    slice(0, 5, None) slice(5, 7, None)
    """
    n = _checks.integer("n", n, 1)
    splits = _checks.integer("splits", splits, 1)
    gap = _checks.integer("gap", gap, 0)
    if test_size is None:
        test_size = n // (splits + 1)
    else:
        test_size = _checks.integer("test_size", test_size, 1)
    first = n - splits * test_size
    if test_size < 1 or first - gap < 1:
        msg = (
            f"{n} rows cannot be split {splits} times with tests of {test_size} rows "
            f"and a gap of {gap}"
        )
        raise ValueError(msg)
    found = []
    for start in range(first, n, test_size):
        end = start - gap
        begin = 0
        if max_train_size is not None:
            size = _checks.integer("max_train_size", max_train_size, 1)
            begin = max(0, end - size)
        found.append((slice(begin, end), slice(start, start + test_size)))
    return found


# --- Sequences of unequal length ------------------------------------------------------

Side = Literal["pre", "post"]


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: Side = "pre",
    truncating: Side = "pre",
    value: float = 0.0,
) -> NDArray[Any]:
    """Make one array of sequences of unequal length, as Keras's function of this name.

    Parameters
    ----------
    sequences : list of arrays (T_i, ...) or of lists
        Sequences, whose steps all have the same shape.
    maxlen : int, optional
        Steps of the result; those of the longest sequence if not given.
    dtype : dtype
        Of the result: integers by default, as for tokens; ``"float32"`` for series. It
        must be able to hold what the sequences have.
    padding : {"pre", "post"}
        Where short sequences get `value`: before or after their steps.
    truncating : {"pre", "post"}
        Where long sequences lose steps: at their beginning or at their end.
    value : float
        What to pad with; `grufast.layers.Masking` can find it again.

    Returns
    -------
    ndarray (len(sequences), maxlen, ...)

    Raises
    ------
    TypeError, ValueError
        If steps have different shapes, or `dtype` cannot hold a sequence or `value`.

    Examples
    --------
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    padding = _checks.choice("padding", padding, ("pre", "post"))
    truncating = _checks.choice("truncating", truncating, ("pre", "post"))
    wanted = np.dtype(dtype)
    if wanted.kind not in "biuf":
        msg = f"dtype: got {wanted}, expected one of real numbers"
        raise TypeError(msg)
    rows = _sequences(sequences)
    if maxlen is None:
        maxlen = max(map(len, rows), default=0)
    maxlen = _checks.integer("maxlen", maxlen, 0)
    filling = _held("value", np.asarray(value), wanted)
    step = next((row.shape[1:] for row in rows if len(row)), ())
    padded = np.full((len(rows), maxlen, *step), filling, wanted)
    for index, row in enumerate(rows):
        if not len(row) or not maxlen:
            continue
        if row.shape[1:] != step:
            msg = (
                f"sequences[{index}]: its steps have shape {row.shape[1:]}, expected "
                f"{step} as before"
            )
            raise ValueError(msg)
        kept = row[-maxlen:] if truncating == "pre" else row[:maxlen]
        at = slice(maxlen - len(kept), None) if padding == "pre" else slice(len(kept))
        padded[index, at] = _held(f"sequences[{index}]", kept, wanted)
    return padded


def _sequences(sequences: object) -> list[NDArray[Any]]:
    """Return sequences as arrays (T_i, ...)."""
    if isinstance(sequences, str) or not isinstance(sequences, Sequence | np.ndarray):
        msg = f"sequences: got {type(sequences).__name__}, expected a list of sequences"
        raise TypeError(msg)
    rows = []
    for index, sequence in enumerate(sequences):
        try:
            row = np.asarray(sequence)
        except ValueError as error:
            msg = f"sequences[{index}]: its steps differ in shape"
            raise ValueError(msg) from error
        if row.dtype.kind not in "biuf":
            msg = f"sequences[{index}]: got {row.dtype}, expected real numbers"
            raise TypeError(msg)
        if not row.ndim:
            msg = f"sequences[{index}]: got the single number {sequence!r}"
            raise ValueError(msg)
        rows.append(row)
    return rows


def _held(name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as `dtype`, which must not change them but for rounding."""
    with np.errstate(all="ignore"):
        held = values.astype(dtype)
        if dtype.kind == "f":
            kept = np.array_equal(np.isfinite(held), np.isfinite(values))
        else:
            kept = np.array_equal(held, values)
    if not kept:
        msg = f"{name}: {dtype} cannot hold it; choose another dtype"
        raise ValueError(msg)
    return held


class Buckets:
    """Batches of sequences of similar length, padded no further than their longest.

    An iterable for `grufast.Sequential.fit`: every pass is an epoch. Sequences are
    sorted by length, cut into batches, and the batches shuffled; equal lengths meet in
    another way every time.

    Parameters
    ----------
    sequences : list of arrays (T_i, ...)
        Inputs, all of one dtype, which the batches have too.
    targets : ndarray (len(sequences), ...), optional
        A row for every sequence.
    batch_size : int
        Sequences in a batch; the one of the longest sequences may have fewer.
    shuffle : bool
        Whether batches come in another order in every epoch.
    seed : int, optional
        Of the order: same seed, same order, epoch by epoch.
    padding : {"pre", "post"}
        As in `pad_sequences`.
    value : float
        What to pad with.

    Attributes
    ----------
    epoch : int
        How many passes have begun. Set it to go on where a training stopped.

    Examples
    --------
    >>> series = [np.ones((n, 1), np.float32) for n in (3, 9, 2, 8)]
    >>> batches = Buckets(series, np.arange(4.0), batch_size=2, shuffle=False)
    >>> [(x.shape, y.tolist()) for x, y in batches]
    [((2, 3, 1), [2.0, 0.0]), ((2, 9, 1), [3.0, 1.0])]
    """

    def __init__(
        self,
        sequences: Sequence[NDArray[Any]],
        targets: NDArray[Any] | None = None,
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        seed: int | None = None,
        padding: Side = "pre",
        value: float = 0.0,
    ) -> None:
        self._sequences = _sequences(sequences)
        if not self._sequences:
            msg = "sequences: expected at least one"
            raise ValueError(msg)
        dtypes = sorted({str(row.dtype) for row in self._sequences})
        if len(dtypes) > 1:
            msg = f"sequences: expected one dtype, got {', '.join(dtypes)}"
            raise TypeError(msg)
        self._targets = targets
        given: object = targets
        if given is not None and not (
            isinstance(given, np.ndarray) and given.shape[:1] == (len(self._sequences),)
        ):
            msg = f"targets: expected an array of {len(self._sequences)} rows"
            raise ValueError(msg)
        self._batch_size = _checks.integer("batch_size", batch_size, 1)
        self._shuffle = _checks.flag("shuffle", shuffle)
        self._padding: Side = _checks.choice("padding", padding, ("pre", "post"))
        self._value = value
        self._lengths = np.array([len(row) for row in self._sequences])
        self._entropy = np.random.SeedSequence(_checks.seed(seed)).entropy
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self._sequences) / self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the next epoch: (x, y), or x without targets."""
        batches = self._batches(self.epoch)
        self.epoch += 1
        for rows in batches:
            members = [self._sequences[row] for row in rows]
            x = pad_sequences(
                members,
                dtype=members[0].dtype,
                padding=self._padding,
                value=self._value,
            )
            yield x if self._targets is None else (x, self._targets[rows])

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the rows of every batch."""
        seeds = np.random.SeedSequence(self._entropy, spawn_key=(epoch,))
        rng = np.random.Generator(np.random.Philox(seeds))
        order = np.arange(len(self._lengths))
        if self._shuffle:
            order = rng.permutation(order)
        order = order[np.argsort(self._lengths[order], kind="stable")]
        size = self._batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        if self._shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches


# --- Functions to approximate ---------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A function to approximate; most are solutions of differential equations.

    Attributes
    ----------
    formula : str
        The function, or the equation and its first values.
    interval : tuple of float
        Where every input is taken from.
    values : callable
        Takes an array (n,) for each input and returns one, or a tuple of one for each
        output.
    inputs : int
        How many inputs it has.

    Examples
    --------
    >>> square = Function("x^2", (0, 1), lambda x: x**2)
    >>> square(np.array([[0.5], [1.0]]))
    array([[0.25],
           [1.  ]])
    """

    formula: str
    interval: tuple[float, float]
    values: Callable[..., Any]
    inputs: int = 1

    def __call__(self, x: Floats) -> Floats:
        """Return the values (n, outputs) at points x (n, inputs).

        Examples
        --------
        >>> FUNCTIONS["oscillator"](np.array([[0.0]]))
        array([[10.,  0.]])
        """
        with np.errstate(all="ignore"):
            found = self.values(*np.asarray(x, np.float64).T)
        outputs = found if isinstance(found, tuple) else (found,)
        return np.stack(outputs, axis=-1)


def solve_ode(
    right_side: Callable[[float, Floats], Any],
    initial: Sequence[float],
    x: Floats,
    *,
    start: float = 0.0,
    method: str = "DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Floats:
    """Solve y' = right_side(x, y) with y(start) = initial, through SciPy's `solve_ivp`.

    Parameters
    ----------
    right_side : callable
        From x and y (k,) to y' (k,).
    initial : sequence of k floats
        y at `start`.
    x : float64 (n,)
        Where the solution is wanted, in any order, not before `start`.
    start : float
        Where it starts.
    method : str
        Of `solve_ivp`; "Radau" or "LSODA" for stiff equations.
    rtol, atol : float
        Relative and absolute tolerance.

    Returns
    -------
    float64 (n, k)
        The solution.

    Raises
    ------
    ImportError
        Without SciPy, which ``pip install "grufast[ode]"`` brings.
    ValueError
        If x has points before `start`, or the solver gives up.

    Examples
    --------
    >>> y = solve_ode(lambda x, y: -y, [1.0], np.array([0.0, 1.0]))  # doctest: +SKIP
    >>> y[:, 0].round(6)                                             # doctest: +SKIP
    array([1.      , 0.367879])
    """
    try:
        from scipy.integrate import solve_ivp
    except ImportError as error:
        msg = 'differential equations need SciPy: pip install "grufast[ode]"'
        raise ImportError(msg) from error
    points, places = np.unique(np.asarray(x, np.float64), return_inverse=True)
    if not len(points):
        return np.empty((0, len(initial)))
    if not (np.isfinite(points).all() and points[0] >= start):
        msg = f"x: got {points[0]:g} to {points[-1]:g}, expected numbers from {start:g}"
        raise ValueError(msg)
    if points[-1] == start:
        return np.tile(np.asarray(initial, np.float64), (len(places), 1))
    solution = solve_ivp(
        right_side,
        (start, points[-1]),
        initial,
        method=method,
        t_eval=points,
        rtol=rtol,
        atol=atol,
    )
    if not solution.success:
        msg = f"the equation could not be solved: {solution.message}"
        raise ValueError(msg)
    found: Floats = solution.y.T[places]
    return found


def _rigid_body(x: Floats) -> tuple[Floats, ...]:
    def right_side(_: float, y: Floats) -> list[float]:
        return [y[1] * y[2], -y[0] * y[2], -0.5 * y[0] * y[1]]

    return tuple(solve_ode(right_side, [0, 1, 1], x).T)


def _robertson(x: Floats) -> tuple[Floats, ...]:
    def right_side(_: float, y: Floats) -> list[float]:
        slow, fast, last = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
        return [last - slow, slow - last - fast, fast]

    return tuple(solve_ode(right_side, [1, 0, 0], x, method="Radau").T)


def _hardsin(x: Floats) -> Floats:
    y: Floats = np.sin(np.sin(10 * x) * np.log(x))
    return y


def _hardsin_from_zero(x: Floats) -> Floats:
    at_zero = x == 0
    return np.where(at_zero, 0.0, _hardsin(np.where(at_zero, 1.0, x)))


def _stiff_second_order(x: Floats) -> Floats:
    return (1000 * np.exp(-x) - np.exp(-1000 * x)) / 999


FUNCTIONS: dict[str, Function] = {
    # DEGANN calls these LF_ODE, LH_ODE, NLF_ODE, S_ODE and ST_..., with numbers.
    "exp": Function("y' = 3y, y(0) = 1: e^(3x)", (0, 1), lambda x: np.exp(3 * x)),
    "const": Function("y' = 0, y(0) = 1", (0, 1), np.ones_like),
    "growth": Function("y' = y, y(0) = 1: e^x", (0, 1), np.exp),
    "decay": Function("y' = -y, y(0) = 1: e^(-x)", (0, 5), lambda x: np.exp(-x)),
    "sin": Function(
        "y'' + 100y = 0, y(0) = 0, y'(0) = 10: sin 10x",
        (0, 1),
        lambda x: np.sin(10 * x),
    ),
    "damped_sin": Function(
        "y'' + y'/5 + y + e^(-x/5) cos(x)/5 = 0, y(0) = 0, y(1) = e^(-1/5) sin 1: "
        "e^(-x/5) sin x",
        (0, 1),
        lambda x: np.exp(-x / 5) * np.sin(x),
    ),
    "rational": Function(
        "y' + (y - 2x)/x = 0, y(0.1) = 20.1: x + 2/x", (0.1, 1), lambda x: x + 2 / x
    ),
    "cosecant": Function(
        "y' sin x + y cos x - 1 = 0, y(0.1) = 2.1 / sin 0.1: (x + 2)/sin x",
        (0.1, 1),
        lambda x: (x + 2) / np.sin(x),
    ),
    "oscillator": Function(
        "y0' = -100 y1, y1' = y0, y(0) = (10, 0): (10 cos 10x, sin 10x)",
        (0, 1),
        lambda x: (10 * np.cos(10 * x), np.sin(10 * x)),
    ),
    "rigid_body": Function(
        "Euler's: y0' = y1 y2, y1' = -y0 y2, y2' = -y0 y1 / 2, y(0) = (0, 1, 1)",
        (0, math.pi),
        _rigid_body,
    ),
    "stiff_decay": Function(
        "y' + 15y = 0, y(0) = 1: e^(-15x)", (0, 1), lambda x: np.exp(-15 * x)
    ),
    "stiff_second_order": Function(
        "y'' + 1001y' + 1000y = 0, y(0) = 1, y'(0) = 0: (1000 e^(-x) - e^(-1000x))/999",
        (0, 1),
        _stiff_second_order,
    ),
    "robertson": Function(
        "Robertson's: y0' = -0.04 y0 + 1e4 y1 y2, y2' = 3e7 y1^2, y0 + y1 + y2 = 1, "
        "y(0) = (1, 0, 0)",
        (0, 40),
        _robertson,
    ),
    "lin": Function("2x", (0, 1), lambda x: 2 * x),
    "log": Function("ln(x + 1)", (0, 1), lambda x: np.log(x + 1)),
    "gauss": Function(
        "e^(-(x - 1/2)^2 / 0.08)", (0, 1), lambda x: np.exp(-((x - 0.5) ** 2) / 0.08)
    ),
    "hyperbol": Function(
        "(x^2 + 1/2)/(x + 0.1)", (0, 1), lambda x: (x**2 + 0.5) / (x + 0.1)
    ),
    "sig": Function("1/(1 + e^(-x))", (0, 1), lambda x: 1 / (1 + np.exp(-x))),
    "expexp": Function("e^(1 - e^(-x))", (0, 1), lambda x: np.exp(1 - np.exp(-x))),
    "hardsin": Function("sin(ln(x^(sin 10x)))", (0, 2), _hardsin_from_zero),
    "multidim": Function(
        "sin(5x) log2(1 + y) / sqrt(1 + z)",
        (0, 1),
        lambda x, y, z: np.sin(5 * x) * np.log2(1 + y) / np.sqrt(1 + z),
        inputs=3,
    ),
    "ode": Function(
        "-y, the right side of y' = -y, of x and y", (0, 5), lambda _, y: -y, inputs=2
    ),
}
"""The test functions of DEGANN (github.com/Krekep/degann and its fork by Denigmma,
experiments/functions.py), on the intervals that it uses. The solutions of the rigid
body and of Robertson's equation need SciPy."""


def approximation(
    name: str,
    points: int = 1001,
    *,
    interval: tuple[float, float] | None = None,
    noise: float = 0.0,
    seed: int | None = None,
) -> tuple[Floats, Floats]:
    """Return points of one of `FUNCTIONS`.

    Parameters
    ----------
    name : str
        One of `FUNCTIONS`.
    points : int
        How many: evenly spaced, both ends included; drawn uniformly from the cube where
        the function has several inputs.
    interval : tuple of float, optional
        Where the inputs come from; the function's own if not given.
    noise : float
        Standard deviation of the Gaussian noise on the values, in standard deviations
        of each output.
    seed : int, optional
        Of drawn points and of the noise: same seed, same bits.

    Returns
    -------
    x : float64 (points, inputs)
    y : float64 (points, outputs)

    Examples
    --------
    >>> x, y = approximation("sin", 3)
    >>> x[:, 0], y[:, 0].round(3)
    (array([0. , 0.5, 1. ]), array([ 0.   , -0.959, -0.544]))
    """
    function = FUNCTIONS[_checks.choice("name", name, tuple(FUNCTIONS))]
    points = _checks.integer("points", points, 1)
    noise = _checks.real("noise", noise)
    rng = np.random.Generator(np.random.Philox(_checks.seed(seed)))
    low, high = function.interval if interval is None else interval
    if not (np.isfinite((low, high)).all() and low < high):
        msg = f"interval: got {interval}, expected two numbers, the smaller one first"
        raise ValueError(msg)
    if function.inputs == 1:
        x = np.linspace(low, high, points)[:, None]
    else:
        x = rng.uniform(low, high, (points, function.inputs))
    y = function(x)
    if not np.isfinite(y).all():
        msg = f"interval: {name!r} is not finite everywhere in [{low:g}, {high:g}]"
        raise ValueError(msg)
    if noise:
        y = y + noise * y.std(0) * rng.standard_normal(y.shape)
    return x, y


def hardsin(points: int = 1001) -> tuple[Floats, Floats]:
    """Sample f(x) = sin(ln(x^(sin 10x))) = sin(sin(10x) ln x) on (0, 2].

    Parameters
    ----------
    points : int
        Grid points, evenly spaced; the first is 2 / points, because ln 0 is not.

    Returns
    -------
    x, y : float64 (points,)

    Examples
    --------
    >>> x, y = hardsin()
    >>> x.shape, float(x[-1])
    ((1001,), 2.0)
    """
    points = _checks.integer("points", points, 1)
    x = 2.0 * np.arange(1, points + 1) / points
    return x, _hardsin(x)


# --- Series to forecast ---------------------------------------------------------------


def two_waves(
    n: int, steps: int, *, noise: float = 0.1, seed: int | None = None
) -> Floats:
    """Return sums of two sine waves and noise, over time from 0 to 1.

    ``0.5 sin((t - a)(10 + 10 f)) + 0.2 sin((t - b)(20 + 20 g)) + noise (u - 0.5)`` with
    a, b, f, g drawn from [0, 1) for every series and u for every step: the series of
    A. Geron, Hands-On Machine Learning (2019), chapter 15.

    Parameters
    ----------
    n : int
        Series.
    steps : int
        Their length.
    noise : float
        Width of the uniform noise.
    seed : int, optional
        Same seed, same bits.

    Returns
    -------
    float64 (n, steps, 1)

    Examples
    --------
    >>> series = two_waves(10_000, 50 + 1, seed=0)
    >>> x, y = series[:, :50], series[:, 50]
    >>> x.shape, y.shape
    ((10000, 50, 1), (10000, 1))
    """
    n = _checks.integer("n", n, 0)
    steps = _checks.integer("steps", steps, 1)
    noise = _checks.real("noise", noise)
    rng = np.random.Generator(np.random.Philox(_checks.seed(seed)))
    f, g, a, b = rng.random((4, n, 1))
    t = np.linspace(0, 1, steps)
    series = 0.5 * np.sin((t - a) * (10 + 10 * f))
    series += 0.2 * np.sin((t - b) * (20 + 20 * g))
    series += noise * (rng.random((n, steps)) - 0.5)
    found: Floats = series[:, :, None]
    return found


def mackey_glass(
    n: int,
    *,
    tau: float = 17.0,
    step: float = 1.0,
    initial: float = 1.2,
    discard: int = 0,
) -> Floats:
    """Return a series of Mackey and Glass's equation, chaotic from tau = 17 on.

    ``x'(t) = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)``, with x = `initial` up
    to t = 0 (M. C. Mackey, L. Glass, Science 197, 1977). Solved by the Runge-Kutta
    method of order four in steps of at most 0.1; nothing in it is random.

    Parameters
    ----------
    n : int
        Values.
    tau : float
        The delay, a multiple of the solver's step.
    step : float
        Time between two values.
    initial : float
        Value up to t = 0.
    discard : int
        Values left out at the beginning, where the series still swings in.

    Returns
    -------
    float64 (n, 1)

    Examples
    --------
    >>> mackey_glass(3).round(3)
    array([[1.2  ],
           [1.118],
           [1.043]])
    """
    n = _checks.integer("n", n, 0)
    discard = _checks.integer("discard", discard, 0)
    step = _positive("step", step)
    initial = _positive("initial", initial)
    parts = math.ceil(step / 0.1 - 1e-9)
    h = step / parts
    tau = _checks.real("tau", tau)
    delay = round(tau / h)
    if delay < 1 or abs(delay * h - tau) > 1e-9 * tau:
        msg = f"tau: got {tau:g}, expected a multiple of {h:g}, the solver's step"
        raise ValueError(msg)
    # With room for the past, so that the value at i * h is xs[i + delay].
    xs, slopes = [initial] * (delay + 1), [0.0] * delay

    def slope(x: float, past: float) -> float:
        return 0.2 * past / (1 + past**10) - 0.1 * x

    for i in range(max(n + discard - 1, 0) * parts):
        x, past, later = xs[-1], xs[i], xs[i + 1]
        k1 = slope(x, past)
        slopes.append(k1)
        between = initial
        if i >= delay:  # Hermite's cubic, as exact as the method itself
            between = (past + later) / 2 + h / 8 * (slopes[i] - slopes[i + 1])
        k2 = slope(x + h / 2 * k1, between)
        k3 = slope(x + h / 2 * k2, between)
        k4 = slope(x + h * k3, later)
        xs.append(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(xs[delay::parts][discard : discard + n])[:, None]


def lorenz(
    n: int,
    *,
    step: float = 0.02,
    initial: tuple[float, float, float] = (1.0, 1.0, 1.0),
    discard: int = 0,
) -> Floats:
    """Return a path of Lorenz's equations, which are chaotic.

    ``x' = 10 (y - x)``, ``y' = x (28 - z) - y``, ``z' = x y - 8/3 z`` (E. N. Lorenz,
    Journal of the Atmospheric Sciences 20, 1963). Solved by the Runge-Kutta method of
    order four in steps of at most 0.002; nothing in it is random.

    Parameters
    ----------
    n : int
        Points.
    step : float
        Time between two points.
    initial : tuple of float
        The point at time 0.
    discard : int
        Points left out at the beginning, on the way to the attractor.

    Returns
    -------
    float64 (n, 3)

    Examples
    --------
    >>> lorenz(2).round(3)
    array([[1.   , 1.   , 1.   ],
           [1.049, 1.524, 0.973]])
    """
    n = _checks.integer("n", n, 0)
    discard = _checks.integer("discard", discard, 0)
    step = _positive("step", step)
    point = np.asarray(initial, np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        msg = f"initial: got {initial!r}, expected three numbers"
        raise ValueError(msg)
    parts = math.ceil(step / 0.002 - 1e-9)
    h = step / parts

    def slope(p: Floats) -> Floats:
        x, y, z = p
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    path = np.empty((n + discard, 3))
    for i in range(n + discard):
        path[i] = point
        for _ in range(parts):
            k1 = slope(point)
            k2 = slope(point + h / 2 * k1)
            k3 = slope(point + h / 2 * k2)
            k4 = slope(point + h * k3)
            point = point + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return path[discard:]


def _positive(name: str, value: object) -> float:
    number = _checks.real(name, value)
    if not 0 < number < math.inf:
        msg = f"{name}: got {value!r}, expected a number above 0"
        raise ValueError(msg)
    return number
