"""svmlight text: ``label index:value index:value …  # comment``, one row a line; or ``label,label index:value …``.

Indices ascend and count from 1 (from 0 with ``zero_based``); feature ids count from 0. A line with a label only is a
row of zeros; blank lines and comment lines are no rows; ``qid:n`` is passed over; an explicit zero is
not stored (a number too small for float64 is, as a zero). Where rows have any number of labels, a line that begins
with an index has none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import DataError
from blockdot.ingest import svmlight_kernel as kernel
from blockdot.ingest.labels import LabelLists
from blockdot.ingest.plan import Piece
from blockdot.ingest.rows import Rows
from blockdot.ingest.spec import DataSpec


def read(text: Piece, spec: DataSpec, labels: Sequence[str] | None = None) -> Rows:
    """Parse whole lines. Raises DataError with file, line and column, what was found, and what is needed.

    Where rows have any number of labels, y has a column for each of ``labels``; without them there is no y.
    """
    rows, found = _parse(text, spec)
    if found is None:
        return rows

    def refuse(row: int, label: str, needed: str) -> DataError:
        return DataError(f"{text.place}:{rows.lines[row]}: found the label {label}, needed {needed}")

    return replace(rows, y=None if labels is None else found.indicator(labels, refuse))


def labels_of(text: Piece, spec: DataSpec) -> set[str]:
    """The labels that occur in whole lines, of which each has any number."""
    _, found = _parse(text, spec)
    return set() if found is None else set(found.names)


def _parse(text: Piece, spec: DataSpec) -> tuple[Rows, LabelLists | None]:
    """The rows, with y where each has one label; and their labels where they have any number."""
    raw, listed = np.frombuffer(text.data, np.uint8), spec.label is not None and spec.label.is_list
    n_lines, n_entries = _count(raw, b"\n") + 1, _count(raw, b":")
    n_labels = n_lines + (_count(raw, b",") if listed else 0)
    labels, label_end = np.empty(n_labels), np.empty(n_lines, np.int64)
    line, indptr = np.empty(n_lines, np.int64), np.empty(n_lines + 1, np.int64)
    ids, values = np.empty(n_entries, np.int64), np.empty(n_entries + 1)
    hard = np.empty((n_entries + n_labels, 3), np.int64)
    base = 0 if spec.zero_based else 1
    largest = kernel.MAX_INDEX if spec.n_features is None else spec.n_features - 1 + base
    rows, entries, n_hard, code, place = kernel.parse(
        raw, base, largest, listed, labels, label_end, line, indptr, ids, values, hard
    )
    if code != kernel.GOOD:
        raise _error(text, code, place, largest, listed)
    for target, start, end in hard[:n_hard].tolist():
        value = _convert(text, start, end)
        if target >= 0:
            labels[target] = value
        else:
            values[~target] = value
    lines = line[:rows] + text.first_line
    found = Rows(text.place, lines, indptr[: rows + 1], ids[:entries], values[:entries], read=rows)
    if not listed:
        return replace(found, y=labels[:rows]), None
    counts = np.diff(label_end[:rows], prepend=0)
    return found, LabelLists.of_numbers(np.repeat(np.arange(rows), counts), labels[: counts.sum()], rows)


def _count(raw: NDArray[np.uint8], byte: bytes) -> int:
    """How often a byte occurs: ``bytes.count`` stops at each, and is several times slower where there are many."""
    return int(np.count_nonzero(raw == byte[0]))


def _convert(text: Piece, start: int, end: int) -> float:
    value = float(text.data[start:end])
    if not np.isfinite(value):
        raise _located(text, start, "a number beyond the range of float64", "a finite number; correct it, or scale it")
    return value


def _error(text: Piece, code: int, place: int, largest: int, listed: bool) -> DataError:
    token = _token(text, place)
    if code == kernel.BAD_LABEL:
        if listed:
            return _located(text, place, f"{token!r} as the labels", "numbers with commas between them")
        if "," in token:
            remedy = 'one label a row; set label = { separator = "," } if a row can have several'
            return _located(text, place, f"the labels {token!r}", remedy)
        return _located(text, place, f"{token!r} as the label", _finite(token))
    if code == kernel.BAD_VALUE:
        return _located(text, place, f"{token!r} as a value", _finite(token))
    if code == kernel.BAD_INDEX:
        return _located(text, place, f"{token!r}", "index:value, with a whole number as the index")
    if code == kernel.NEGATIVE_INDEX:
        return _located(text, place, f"the negative index in {token!r}", "an index of at least 1")
    if code == kernel.ZERO_INDEX:
        return _located(
            text,
            place,
            f"the index 0 in {token!r}",
            "an index of at least 1: this file counts from 0; set zero_based = true",
        )
    if code == kernel.LARGE_INDEX:
        return _located(
            text, place, f"the index in {token!r}", f"an index of at most {largest}; correct it, or set n_features"
        )
    if code == kernel.REPEATED_INDEX:
        return _located(
            text, place, f"a second time the index in {token!r}", "each index once a row; add the values up"
        )
    return _located(text, place, f"the index in {token!r} after a larger one", "ascending indices; sort the row")


def _finite(token: str) -> str:
    if token.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return "a finite number; leave a missing value out, or drop the row"
    return "a number"


def _located(text: Piece, place: int, found: str, needed: str) -> DataError:
    line = text.data.count(b"\n", 0, place)
    column = place - text.data.rfind(b"\n", 0, place)
    return DataError(f"{text.place}:{text.first_line + line}: column {column}: found {found}, needed {needed}")


def _token(text: Piece, place: int) -> str:
    rest = text.data[place : place + 60].split(None, 1)
    return rest[0].decode(errors="replace") if rest else ""
