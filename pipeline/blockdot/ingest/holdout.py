"""Which rows are held out for testing: the same rows on every machine, however the files are cut.

    by fraction   xxh3_64(key, seed) < fraction · 2^64,   key = "file name NUL line", or the value of the row_id column
    by column     the value is one of the ``test`` values (as text, or as numbers where both are numbers)

The file name is the one of plan.py: relative to the common parent of the inputs. Rows with one value of the row_id
column are one group, which a cross-validation keeps together, too: xxh3_64 of the value, as a signed number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from blockdot.ingest.rule import Rule
from blockdot.ingest.spec import Split
from blockdot.ingest.table import Table

Mask = NDArray[np.bool_]


def by_line(split: Split, file: str, lines: NDArray[np.int64]) -> Mask:
    """Which rows of ``file`` are held out, by the hash of their lines."""
    return np.array([_is_below(split, f"{file}\0{line}") for line in lines.tolist()], np.bool_)


def by_table(split: Split, table: Table, file: str, row_id: str | None) -> Mask:
    """Which rows of a table are held out."""
    if split.column is not None:
        rule = Rule("in", split.test)
        return _by_text(table, split.column, rule.holds_for, np.bool_)
    if row_id is not None:
        return _by_text(table, row_id, lambda text: _is_below(split, text), np.bool_)
    return by_line(split, file, table.lines)


def groups(table: Table, row_id: str) -> NDArray[np.int64]:
    """What the rows of one value of the column ``row_id`` have in common, and others have not."""
    return _by_text(table, row_id, lambda text: xxhash.xxh3_64_intdigest(text.encode()), np.uint64).view(np.int64)


def _is_below(split: Split, key: str) -> bool:
    assert split.fraction is not None
    return xxhash.xxh3_64_intdigest(key.encode(), split.seed) < int(split.fraction * 2**64)


def _by_text(table: Table, column: str, value: Callable[[str], int], kind: type[np.generic]) -> NDArray[Any]:
    """``value`` of each row's text."""
    codes = table.text(column).dictionary_encode()
    places = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if (places < 0).any():
        row = int(np.argmax(places < 0))
        found = table.columns[column][row].as_py()
        needed = "a value, because rows are held together by it; mend it, or remove the row"
        raise table.refusal(row, column, found, needed)
    values = np.array([value(text) for text in codes.dictionary.to_pylist()], kind)
    return values[places] if len(values) else np.zeros(len(table), kind)
