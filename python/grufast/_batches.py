"""Batches: from arrays, from lists of sequences, and from what iterables bring."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from grufast._checks import Array

Column = Array | list[Array]
"""An array (N, ...), or N sequences (T_i, ...) of any lengths."""


class Numbered(Protocol):
    """Batches by number, as a PyDataset of Keras has them."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one."""


class Batch(NamedTuple):
    """What is computed with at once.

    x (N, ...), y (N, ...), weight (N,) or (N, T); mask (N, T) is True where a step of a
    sequence is there, or None if all are; lengths (N,) are those of a list.
    """

    x: Array
    y: Array | None
    weight: Array | None
    mask: Array | None
    lengths: Array | None


def windows(batch: Batch, k1: int, k2: int) -> Iterator[tuple[Batch, int, int]]:
    """Yield what runs for each k1 steps of a batch: those, and k2 - k1 before them.

    These are x and mask of all these steps, y and weight of the k1 steps; the number of
    the steps before them; and after how many steps the next window starts.
    """
    assert batch.y is not None
    steps = batch.x.shape[1]
    if batch.y.shape[:2] != batch.x.shape[:2]:
        message = (
            f"y: got shape {batch.y.shape}, but tbptt takes one with the steps of x, "
            f"{(*batch.x.shape[:2], '...')}"
        )
        raise ValueError(message)
    for first in range(0, max(steps, 1), k1):
        stop = min(first + k1, steps)
        start = max(first + k1 - k2, 0)
        next_start = stop if stop == steps else max(stop + k1 - k2, 0)
        x = batch.x[:, start:stop]
        mask = None if batch.mask is None else batch.mask[:, start:stop]
        weight = batch.weight
        if weight is not None and weight.ndim > 1:
            weight = weight[:, first:stop]
        part = Batch(x, batch.y[:, first:stop], weight, mask, None)
        yield part, first - start, next_start - start


class Rows:
    """Checked x, y and weights: each an array, or a list of sequences."""

    def __init__(
        self, x: Column, y: Column | None = None, weight: Column | None = None
    ) -> None:
        self.x, self.y, self.weight = self._columns = x, y, weight
        self._buffers: dict[int, Array] = {}
        self.lengths: Array | None = None
        if isinstance(x, list):
            self.lengths = np.array([len(sequence) for sequence in x])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.x)

    def __str__(self) -> str:
        """Return the shapes."""
        names = zip(("x", "y", "sample_weight"), self._columns, strict=True)
        return ", ".join(f"{n} {_sizes(column)}" for n, column in names)

    def split(self, first: int) -> tuple[Rows, Rows]:
        """Return the rows before `first`, and the others."""
        before, after = slice(first), slice(first, None)
        return self._part(before), self._part(after)

    def _part(self, rows: slice) -> Rows:
        y = None if self.y is None else self.y[rows]
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.x[rows], y, weight)

    def batch(self, rows: slice | Array) -> Batch:
        """Return some rows; good until the next call, which may use their memory."""
        x, y, weight = (self._taken(index, rows) for index in range(3))
        assert x is not None
        mask = lengths = None
        if self.lengths is not None:
            lengths = self.lengths[rows]
            if (lengths != x.shape[1]).any():
                mask = np.arange(x.shape[1]) < lengths[:, None]
        return Batch(x, y, weight, mask, lengths)

    def _taken(self, index: int, rows: slice | Array) -> Array | None:
        column = self._columns[index]
        if column is None:
            return None
        if isinstance(column, list):
            indices = range(len(column))[rows] if isinstance(rows, slice) else rows
            return padded([column[i] for i in indices])
        # np.take would copy all of an array that is not contiguous, such as a view of
        # sliding windows, for every batch; its mode "raise" would buffer the output.
        if isinstance(rows, slice) or not column.flags.c_contiguous:
            return column[rows]
        buffer = self._buffers.get(index)
        if buffer is None or len(buffer) < len(rows):
            buffer = np.empty((len(rows), *column.shape[1:]), column.dtype)
            self._buffers[index] = buffer
        return column.take(rows, axis=0, out=buffer[: len(rows)], mode="clip")


def _sizes(column: Column | None) -> str:
    if isinstance(column, list):
        steps = sum(map(len, column))
        return f"{len(column)} sequences of {steps} steps x {column[0].shape[1:]}"
    return str(None if column is None else column.shape)


def padded(sequences: list[Array]) -> Array:
    """Return sequences (T_i, ...) side by side, with zeros after their ends."""
    steps = max(map(len, sequences))
    first = sequences[0]
    together = np.zeros((len(sequences), steps, *first.shape[1:]), first.dtype)
    for row, sequence in zip(together, sequences, strict=True):
        row[: len(sequence)] = sequence
    return together


class Feed(Protocol):
    """Where the batches of epochs come from."""

    steps: int | None
    """Batches in an epoch, if that is known."""

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from its batch `first` on."""


class RowFeed:
    """Epochs over rows: once through all, or `steps` batches and on from there.

    `order` returns the order of the rows in a pass; None: as they are.
    """

    def __init__(
        self,
        rows: Rows,
        size: int,
        steps: int | None = None,
        order: Callable[[int], Array] | None = None,
    ) -> None:
        self._rows = rows
        self._size = size
        self._parts = math.ceil(len(rows) / size)
        self._order = order
        self.steps: int | None = steps or self._parts

    def __str__(self) -> str:
        """Return shapes and sizes."""
        return f"{self._rows} in batches of {self._size}, {self.steps} batches an epoch"

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from its batch `first` on."""
        assert self.steps is not None
        order, order_of = None, -1
        for at in range(epoch * self.steps + first, (epoch + 1) * self.steps):
            turn, part = divmod(at, self._parts)
            rows = slice(part * self._size, (part + 1) * self._size)
            if self._order is None:
                yield self._rows.batch(rows)
                continue
            if turn != order_of:
                order, order_of = self._order(turn), turn
            assert order is not None
            yield self._rows.batch(order[rows])


class StreamFeed:
    """Epochs from an iterable of batches.

    With `steps` an epoch is so many batches, on and on; what can be read again starts
    anew when it ends. Without, an epoch is all that one reading brings. `check` makes a
    `Batch` of what was read; the first one is checked here.
    """

    def __init__(
        self,
        name: str,
        batches: Any,
        check: Callable[[Any], Batch],
        steps: int | None = None,
        first_epoch: int = 0,
    ) -> None:
        self.steps = steps
        self._name = name
        self._batches = batches
        self._check = check
        self._iterator = self._opened()
        self.once = self._iterator is batches
        self._fresh = True
        self._read = 0
        self._brought = False
        self._first_epoch = first_epoch
        start = list(itertools.islice(self._iterator, 1))
        if not start:
            message = f"{name}: expected at least one batch"
            raise ValueError(message)
        self._checked(start[0])
        self._iterator = itertools.chain(start, self._iterator)

    def __str__(self) -> str:
        """Return what it is."""
        return "an iterable of batches"

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from its batch `first` on.

        What was read by an earlier call of `fit`, that was killed, is read and dropped.
        """
        if self.steps is None:
            items = itertools.islice(self._reading(), first, None)
        else:
            start = (epoch - self._first_epoch) * self.steps + first
            stop = start - first + self.steps
            before = self._read
            items = itertools.islice(self._endless(), start - before, stop - before)
        for item in items:
            yield self._checked(item)

    def _reading(self) -> Iterator[Any]:
        """Return one reading of all batches, or of what is left of them."""
        if not (self._fresh or self.once):
            self._iterator = self._opened()
        self._fresh = False
        return self._iterator

    def _endless(self) -> Iterator[Any]:
        while True:
            for item in self._iterator:
                self._brought = True
                self._read += 1
                yield item
            if self.once or not self._brought:
                return
            self._iterator, self._brought = self._opened(), False

    def _opened(self) -> Iterator[Any]:
        """Return a new reading."""
        plain = not hasattr(self._batches, "on_epoch_end")
        if plain and isinstance(self._batches, Iterable):
            return iter(self._batches)
        return _dataset(self._batches)

    def _checked(self, item: Any) -> Batch:
        try:
            return self._check(item)
        except (TypeError, ValueError) as error:
            message = f"{self._name}: in a batch, {error}"
            raise type(error)(message) from None


def is_stream(value: object) -> bool:
    """Return whether a value can be an iterable of batches."""
    if isinstance(value, np.ndarray | str | bytes | memoryview | Mapping | type):
        return False
    numbered = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return isinstance(value, Iterable) or numbered


def _dataset(batches: Any) -> Iterator[Any]:
    """Yield batches by their numbers, and say so at the end: a PyDataset of Keras."""
    if isinstance(batches, Iterable):
        yield from batches
    else:
        for index in range(len(batches)):
            yield batches[index]
    ended = getattr(batches, "on_epoch_end", None)
    if ended is not None:
        ended()


def is_sequences(value: object) -> bool:
    """Return whether a value is meant as a list of sequences."""
    return isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value)
