"""svmlight text: ``label index:value index:value …  # comment``, one row a line.

Indices ascend and count from 1 (from 0 with ``zero_based``); feature ids count from 0. A line with a label only is a
row of zeros; blank lines and comment lines are no rows; ``qid:n`` is passed over; an explicit zero is
not stored (a number too small for float64 is, as a zero).
"""

from __future__ import annotations

import numpy as np

from blockdot.errors import DataError
from blockdot.ingest import svmlight_kernel as kernel
from blockdot.ingest.plan import Piece
from blockdot.ingest.rows import Rows
from blockdot.ingest.spec import DataSpec


def read(text: Piece, spec: DataSpec) -> Rows:
    """Parse whole lines. Raises DataError with file, line and column, what was found, and what is needed."""
    raw = np.frombuffer(text.data, np.uint8)
    n_lines, n_entries = text.data.count(b"\n") + 1, text.data.count(b":")
    y, line, indptr = np.empty(n_lines), np.empty(n_lines, np.int64), np.empty(n_lines + 1, np.int64)
    ids, values = np.empty(n_entries, np.int64), np.empty(n_entries + 1)
    hard = np.empty((n_entries + n_lines, 3), np.int64)
    base = 0 if spec.zero_based else 1
    largest = kernel.MAX_INDEX if spec.n_features is None else spec.n_features - 1 + base
    rows, entries, n_hard, code, place = kernel.parse(raw, base, largest, y, line, indptr, ids, values, hard)
    if code != kernel.GOOD:
        raise _error(text, code, place, largest)
    for target, start, end in hard[:n_hard].tolist():
        value = _convert(text, start, end)
        if target >= 0:
            y[target] = value
        else:
            values[~target] = value
    lines = line[:rows] + text.first_line
    return Rows(text.place, lines, indptr[: rows + 1], ids[:entries], values[:entries], y=y[:rows], read=rows)


def _convert(text: Piece, start: int, end: int) -> float:
    value = float(text.data[start:end])
    if not np.isfinite(value):
        raise _located(text, start, "a number beyond the range of float64", "a finite number; correct it, or scale it")
    return value


def _error(text: Piece, code: int, place: int, largest: int) -> DataError:
    token = _token(text, place)
    if code == kernel.BAD_LABEL:
        if "," in token:
            return _located(text, place, f"the labels {token!r}", "one label a row; several are not supported")
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
