"""Targets, weights and offsets of a table.

y       the number; or 1 where a rule holds, else 0; or the place of the text among the sorted classes; or, for rows
        with any number of labels, a column for each label, 1 where the row has it
weight  a number ≥ 0, never missing (zero is allowed: the row counts in no sum)
offset  a number or its logarithm, never missing
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import DataError
from blockdot.ingest.rule import Rule, as_number
from blockdot.ingest.spec import Label, Offset
from blockdot.ingest.table import Table

Floats = NDArray[np.float64]
Refusal = Callable[[int, str, str], DataError]
"""The error for a row, its label, and what was needed."""

_ROOM = 2**30  # bytes of the targets of one block


@dataclass(frozen=True, eq=False)
class LabelLists:
    """Any number of labels in each of ``n_rows`` rows: row ``rows[k]`` has the label ``names[codes[k]]``."""

    rows: NDArray[np.intp]
    codes: NDArray[np.intp]
    names: list[str]
    n_rows: int

    @classmethod
    def of_numbers(cls, rows: NDArray[np.intp], numbers: Floats, n_rows: int) -> LabelLists:
        """Of labels that are numbers: ``2.0`` and ``2`` are the same."""
        values, codes = np.unique(numbers, return_inverse=True)
        names = [str(int(value)) if value == np.floor(value) else repr(value) for value in values.tolist()]
        return cls(rows, codes, names, n_rows)

    def indicator(self, labels: Sequence[str], refuse: Refusal) -> Floats:
        """(n_rows, L) of 1 where a row has the label of the column, else 0; DataError for one that is none of them."""
        if self.n_rows * len(labels) * 8 > _ROOM:
            raise DataError(
                f"{self.n_rows:,} rows with a target for each of {len(labels):,} labels take more than 1 GiB in one "
                "block: set a smaller block_bytes"
            )
        place = {name: i for i, name in enumerate(labels)}
        places = np.array([place.get(name, -1) for name in self.names], np.intp)[self.codes]
        if np.any(places < 0):
            k = int(np.argmax(places < 0))
            shown = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
            needed = f"one of the labels {shown}; mend it, or fit again with rows that have it"
            raise refuse(int(self.rows[k]), self.names[self.codes[k]], needed)
        out = np.zeros((self.n_rows, len(labels)))
        out[self.rows, places] = 1.0
        return out


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels by their size where all of them are numbers, else as text."""
    numbers = {label: as_number(label) for label in labels}
    if None in numbers.values():
        return tuple(sorted(numbers))
    return tuple(sorted(numbers, key=lambda label: (numbers[label], label)))


def label_lists(table: Table, label: Label) -> tuple[LabelLists, NDArray[np.bool_]]:
    """The labels of each row, and which rows have no field that says them."""
    assert label.separator is not None
    rows, parts, missing = table.parts(label.column, label.separator)
    codes = parts.dictionary_encode()
    places = codes.indices.to_numpy(zero_copy_only=False).astype(np.intp)
    return LabelLists(rows, places, codes.dictionary.to_pylist(), len(table)), missing


def is_missing(y: Floats) -> NDArray[np.bool_]:
    """Which rows have no target."""
    return np.asarray(np.isnan(y if y.ndim == 1 else y[:, 0]))


def read_labels(table: Table, label: Label, classes: Sequence[str] | None) -> Floats:
    """One target a row, or a column for each label, NaN where the field is missing.

    Raises DataError for one that is none of the classes.
    """
    if label.is_list:
        found, missing = label_lists(table, label)
        y = found.indicator(classes or (), lambda row, name, needed: table.refusal(row, label.column, name, needed))
        y[missing] = np.nan
        return y
    if label.rule is not None:
        rule = Rule.parse(label.rule)
        if rule.compares_numbers:
            numbers = table.numbers(label.column)
            return np.where(np.isnan(numbers), np.nan, rule.holds(numbers))
        return _by_text(table, label.column, lambda text: float(rule.holds_for(text)))
    if classes is not None:
        return _places(table, label.column, classes)
    try:
        return table.numbers(label.column)
    except DataError as error:
        remedy = f'if labels are names of classes, set label = {{column = "{label.column}", text = true}}'
        raise DataError(f"{error}; {remedy}") from None


def rule_labels(y: Floats, label: Label | None) -> Floats:
    """The labels of svmlight rows as they are, or 1 where the rule holds and 0 elsewhere."""
    if label is None or label.rule is None:
        return y
    rule = Rule.parse(label.rule)
    if rule.compares_numbers:
        return rule.holds(y).astype(np.float64)
    values, places = np.unique(y, return_inverse=True)
    return np.array([float(rule.holds_for(repr(value))) for value in values.tolist()])[places]


def label_is_text(table: Table, label: Label) -> bool:
    """Whether the first label that is not missing is no number."""
    present = table.text(label.column).drop_null()
    return len(present) > 0 and as_number(present[0].as_py()) is None


def read_weights(table: Table, column: str) -> Floats:
    """One weight a row. Raises DataError for one that is negative or missing."""
    weights = table.numbers(column)
    bad = ~(weights >= 0)
    if bad.any():
        row = int(np.argmax(bad))
        found = table.columns[column][row].as_py()
        raise table.refusal(row, column, found, "a weight of at least 0; mend it, or remove the row")
    return weights


def read_offsets(table: Table, offset: Offset) -> Floats:
    """One offset a row. Raises DataError for one that is missing, or has no logarithm where that is asked for."""
    numbers = table.numbers(offset.column)
    needs_log = offset.transform == "log"
    bad = ~(numbers > 0) if needs_log else np.isnan(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        found = table.columns[offset.column][row].as_py()
        needed = "a number above 0 to take the logarithm of" if needs_log else "a number as the offset"
        raise table.refusal(row, offset.column, found, f"{needed}; mend it, or remove the row")
    return np.log(numbers) if needs_log else numbers


def _places(table: Table, column: str, classes: Sequence[str]) -> Floats:
    place = {text: float(i) for i, text in enumerate(classes)}
    places = _by_text(table, column, lambda text: place.get(text, -1.0))
    if (places < 0).any():
        row = int(np.argmax(places < 0))
        needed = f"one of the classes {', '.join(classes)}; mend it, or fit again with rows of that class"
        raise table.refusal(row, column, table.columns[column][row].as_py(), needed)
    return places


def _by_text(table: Table, column: str, value: Callable[[str], float]) -> Floats:
    """``value`` of each distinct text, taken by row; NaN where missing."""
    codes = table.text(column).dictionary_encode()
    values = np.array([*(value(text) for text in codes.dictionary.to_pylist()), np.nan])
    found: Floats = values[codes.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]
    return found
