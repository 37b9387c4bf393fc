"""A table becomes rows of numbered features.

    ids     numeric columns | "is missing" of each numeric column | one-hot levels | 2^bits hash slots
            0 … p−1         | p … 2p−1, with missing = "indicator" |               | present if anything is hashed

A numeric feature has the column's value (an explicit zero is not stored); every other feature has the value 1. A value
v of a hashed column c goes to the slot xxh3_64("c=v") mod 2^bits, a cross of a and b to that of "a*b=va*vb"
(Weinberger et al. 2009, without signs); features of a row that meet in a slot are added. A level that is not in the
vocabulary has no feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from blockdot.ingest import holdout
from blockdot.ingest.categories import Codes, cross, encode
from blockdot.ingest.labels import is_missing, read_labels, read_offsets, read_weights
from blockdot.ingest.rows import Floats, Ints, Rows
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Numeric, Split
from blockdot.ingest.table import Table

_NOTHING = -1  # the id of a feature that a row has not


class FittedFeatures(BaseModel):
    """All that is needed to make the same features of other files: the specs, and what a survey of the files found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DataSpec
    features: FeaturesSpec | None = None
    vocabularies: dict[str, tuple[str, ...]] = {}
    """The levels of each one-hot column, sorted."""
    classes: tuple[str, ...] | None = None
    n_features: int | None = None
    """The width of the space of ids; None for svmlight files that were not read yet."""

    @property
    def n_indicators(self) -> int:
        return len(self.numeric) if self.features is not None and self.features.missing == "indicator" else 0

    @property
    def numeric(self) -> tuple[Numeric, ...]:
        return () if self.features is None else self.features.numeric

    @property
    def n_named(self) -> int:
        """How many ids come before the hash slots."""
        return len(self.numeric) + self.n_indicators + sum(len(levels) for levels in self.vocabularies.values())

    @property
    def n_slots(self) -> int:
        hashes = self.features is not None and (self.features.hashed or self.features.crosses)
        return 2**self.features.bits if self.features is not None and hashes else 0


def feature_names(fitted: FittedFeatures, ids: Sequence[int] | NDArray[np.integer] | None = None) -> list[str]:
    """The names of features (default: all): ``distance``, ``distance is missing``, ``carrier=UA``, ``hash:7``.

    A feature of svmlight files is named by its index in the files.
    """
    wanted = range(fitted.n_features or 0) if ids is None else [int(i) for i in ids]
    if fitted.features is None:
        return [str(i + (not fitted.data.zero_based)) for i in wanted]
    named = list(_names(fitted))
    return [named[i] if i < len(named) else f"hash:{i - len(named)}" for i in wanted]


def _names(fitted: FittedFeatures) -> Iterator[str]:
    yield from (numeric.column for numeric in fitted.numeric)
    yield from (f"{numeric.column} is missing" for numeric in fitted.numeric[: fitted.n_indicators])
    for column in () if fitted.features is None else fitted.features.one_hot:  # JSON does not keep the order of a table
        yield from (f"{column}={level}" for level in fitted.vocabularies[column])


def to_rows(table: Table, fitted: FittedFeatures, file: str, *, split: Split | None, predicting: bool) -> Rows:
    """The features and targets of a table; ``file`` is the name of its file for the split.

    Rows without a label are dropped and counted; not so when ``predicting``: then the label may be missing, and so may
    the columns of labels and weights.
    """
    data, n = fitted.data, len(table)
    y = read_labels(table, data.label, fitted.classes) if data.label and data.label.column in table.columns else None
    weight = read_weights(table, data.weight) if data.weight in table.columns and data.weight is not None else None
    test = None if split is None else holdout.by_table(split, table, file, data.row_id)
    kept, dropped = np.ones(n, np.bool_), Counter[str]()
    if y is not None and data.label is not None and not predicting:
        _drop(is_missing(y), f"label {data.label.column} missing", kept, dropped)
    ids, values = _entries(table, fitted, kept, dropped)
    indptr, flat_ids, flat_values = _compressed(ids, values, fitted)
    offset = None if data.offset is None else read_offsets(table, data.offset)
    group = holdout.groups(table, data.row_id) if data.row_id is not None and not predicting else None
    rows = Rows(table.place, table.lines, indptr, flat_ids, flat_values, y, weight, offset, group, test, n, dropped)
    return rows if kept.all() else rows.take(kept)


def _drop(bad: NDArray[np.bool_], reason: str, kept: NDArray[np.bool_], dropped: Counter[str]) -> None:
    """Drop the bad rows that are still there: a row is counted under its first reason."""
    count = int(np.count_nonzero(bad & kept))
    if count:
        dropped[reason] += count
        kept &= ~bad


def _entries(
    table: Table, fitted: FittedFeatures, kept: NDArray[np.bool_], dropped: Counter[str]
) -> tuple[Ints, Floats]:
    """Feature ids and values, a column of each for every column, level or cross; −1 where a row has no feature."""
    spec = fitted.features
    assert spec is not None
    codes = encode(table, spec, spec.categories)
    columns: list[tuple[Ints, Floats | None]] = []
    for j, numeric in enumerate(spec.numeric):
        columns.append(_numeric(table, numeric, j, spec, kept, dropped))
    start = len(fitted.numeric) + fitted.n_indicators
    for name in spec.one_hot:
        levels = {level: start + i for i, level in enumerate(fitted.vocabularies[name])}
        columns.append((codes[name].taken(levels.get(value, _NOTHING) for value in codes[name].values), None))
        start += len(levels)
    for name in spec.hashed:
        columns.append((_slots(name, codes[name], spec.bits) + fitted.n_named, None))
    for names in spec.crosses:
        crossed = cross(codes[name] for name in names)
        columns.append((_slots("*".join(names), crossed, spec.bits) + fitted.n_named, None))
    ids = np.column_stack([column for column, _ in columns])
    values = np.ones(ids.shape)
    for j, (_, column) in enumerate(columns):
        if column is not None:
            values[:, j] = column
    return ids, values


def _numeric(
    table: Table, numeric: Numeric, j: int, spec: FeaturesSpec, kept: NDArray[np.bool_], dropped: Counter[str]
) -> tuple[Ints, Floats]:
    values = table.numbers(numeric.column)
    missing = np.isnan(values)
    if missing.any() and spec.missing == "error":
        row = int(np.argmax(missing))
        found = table.columns[numeric.column][row].as_py()
        raise table.refusal(row, numeric.column, found, 'a number; mend it, or set missing = "indicator"')
    if spec.missing == "drop":
        _drop(missing, f"{numeric.column} missing", kept, dropped)
    values = np.where(missing, 0.0, values)
    if numeric.transform == "log1p":
        values = _log1p(table, numeric.column, values)
    ids = np.where(values == 0, _NOTHING, j)
    if spec.missing == "indicator":
        ids, values = np.where(missing, len(spec.numeric) + j, ids), np.where(missing, 1.0, values)
    return ids, values


def _log1p(table: Table, column: str, values: Floats) -> Floats:
    if (values <= -1).any():
        row = int(np.argmax(values <= -1))
        raise table.refusal(
            row, column, float(values[row]), "a number above -1 for log1p; mend it, or leave out the transform"
        )
    return np.log1p(values)


def _slots(name: str, codes: Codes, bits: int) -> Ints:
    mask = 2**bits - 1
    return codes.taken(xxhash.xxh3_64_intdigest(f"{name}={value}".encode()) & mask for value in codes.values)


def _compressed(ids: Ints, values: Floats, fitted: FittedFeatures) -> tuple[Ints, Ints, Floats]:
    """CSR with ascending ids in each row and equal ids added."""
    present = ids != _NOTHING
    indptr = np.concatenate(([0], np.cumsum(np.count_nonzero(present, axis=1))))
    width = fitted.n_named + fitted.n_slots
    matrix = sp.csr_array((values[present], ids[present], indptr), shape=(len(ids), max(width, 1)))
    matrix.sum_duplicates()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data
