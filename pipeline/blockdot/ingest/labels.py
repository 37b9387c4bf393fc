"""Targets, weights and offsets of a table.

y       the number; or 1 where a rule holds, else 0; or the place of the text among the sorted classes
weight  a number ≥ 0, never missing (zero is allowed: the row counts in no sum)
offset  a number or its logarithm, never missing
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import DataError
from blockdot.ingest.rule import Rule, as_number
from blockdot.ingest.spec import Label, Offset
from blockdot.ingest.table import Table

Floats = NDArray[np.float64]


def read_labels(table: Table, label: Label, classes: Sequence[str] | None) -> Floats:
    """One target a row, NaN where the label is missing. Raises DataError for one that is none of the classes."""
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
