"""A table: some rows of a file as Arrow columns, with the line of each row for messages.

A text that is one of the ``missing`` tokens is null, as is a null or NaN of a Parquet file. Numbers may have blanks
around them; categories are taken as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blockdot.errors import DataError
from blockdot.ingest.rule import as_number

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, each an Arrow array; ``lines`` are the lines (Parquet: rows) of the file ``place``, from 1."""

    place: str
    lines: NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def refusal(self, row: int, column: str, found: object, needed: str) -> DataError:
        """The error for the value of ``column`` in a row; ``needed`` says what is needed, and what to do."""
        return DataError(f"{self.place}:{self.lines[row]}: column {column!r}: found {found!r}, needed {needed}")

    def text(self, name: str) -> pa.Array:
        """A column as strings, null where missing."""
        return self._null_where_missing(self._strings(name))

    def parts(self, name: str, separator: str) -> tuple[NDArray[np.intp], pa.Array, NDArray[np.bool_]]:
        """The parts of a column's texts between separators: whose each is, the parts, and which rows are missing.

        Blanks around a part do not count, and a part without anything else is none: an empty text has no parts. The
        items of a column of lists are its parts.
        """
        column = self.columns[name]
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            lists = column
        else:
            strings = self._strings(name)
            is_empty = pc.fill_null(pc.equal(strings, ""), False)
            lists = pc.split_pattern(pc.if_else(is_empty, strings, self._null_where_missing(strings)), separator)
        items = pc.list_flatten(lists)
        try:
            text = pc.utf8_trim_whitespace(items.cast(pa.string()).fill_null(""))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"{self.place}: column {name!r}: found lists of {items.type}, needed lists of text; "
                "write it as another type"
            ) from None
        some = pc.not_equal(text, "")
        rows = pc.list_parent_indices(lists).filter(some).to_numpy(zero_copy_only=False).astype(np.intp)
        return rows, text.filter(some), lists.is_null().to_numpy(zero_copy_only=False)

    def numbers(self, name: str) -> Floats:
        """A column as float64, NaN where missing. Raises DataError for other text, NaN and Inf."""
        column = self.columns[name]
        if not _is_text(column.type):
            return self._refuse_infinite(name, self._cast(name, pa.float64()).to_numpy(zero_copy_only=False))
        text = self._null_where_missing(pc.utf8_trim_whitespace(self._strings(name)))
        try:
            numbers = text.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            numbers = self._slow_numbers(name, text)
        present = text.is_valid().to_numpy(zero_copy_only=False)
        self._refuse_first(name, np.isnan(numbers) & present)
        return self._refuse_infinite(name, numbers)

    def _strings(self, name: str) -> pa.Array:
        column = self.columns[name]
        return column if pa.types.is_string(column.type) else self._cast(name, pa.string())

    def _cast(self, name: str, kind: pa.DataType) -> pa.Array:
        column = self.columns[name]
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        try:
            return column.cast(kind, safe=pa.types.is_string(kind))  # bytes that are not UTF-8 are refused
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"{self.place}: column {name!r}: found the type {column.type}, needed one that reads as {kind}; "
                "leave the column out, or write it as another type"
            ) from None

    def _null_where_missing(self, text: pa.Array) -> pa.Array:
        if not self.missing:
            return text
        absent = pc.is_in(text, value_set=pa.array(self.missing, pa.string()))
        return pc.if_else(absent, pa.scalar(None, pa.string()), text)

    def _slow_numbers(self, name: str, text: pa.Array) -> Floats:
        """One Python number for each distinct text: finds the text that is no number."""
        codes = text.dictionary_encode()
        values = [as_number(value) for value in codes.dictionary.to_pylist()]
        places = codes.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        self._refuse_first(name, np.array([value is None for value in values] + [False])[places])
        numbers: Floats = np.array([*values, np.nan], np.float64)[places]
        return numbers

    def _refuse_infinite(self, name: str, numbers: Floats) -> Floats:
        self._refuse_first(name, np.isinf(numbers))
        return numbers

    def _refuse_first(self, name: str, bad: NDArray[np.bool_]) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            remedy = "a finite number; mend it, or add it to the words for no value (missing)"
            raise self.refusal(row, name, self.columns[name][row].as_py(), remedy)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
