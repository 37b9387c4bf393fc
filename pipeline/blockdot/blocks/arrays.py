"""Arrays that hold one row after another: checked at the door, and cut into blocks of equal work.

    cost of a row = its entries other than 0, + 8
    share = cost of all n rows · min(1 / blocks, 131 072 / n),     blocks = 16, or 8, 4, 2, 1 where they would be small

A block ends with the row that brings its cost to the share, or else with its 131 072nd row; the last one has what is
left. So no block costs more than its share and one row, and rows of one length lie min(⌈n / blocks⌉, 131 072) in a
block. A share is small below a quarter of a million: a pass spends more on such a block than on what is in it
(docs/design.md). The cut depends on the lengths of the rows alone, and is found in whole numbers, so that results
depend neither on the machine nor on how the rows came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.matrix import Floats
from blockdot.blocks.soundness import csr_of
from blockdot.errors import DataError

Targets = sp.sparray | sp.spmatrix | ArrayLike


_ENTRIES, _A_ROW, _MOST_ROWS = 1 << 18, 8, 131_072


class Counted(Protocol):
    """Rows whose entries are counted."""

    @property
    def n_rows(self) -> int: ...

    @property
    def n_entries(self) -> int:
        """How many numbers other than 0 they have."""
        ...

    def entries_before(self) -> NDArray[np.int64]:
        """(n + 1,): how many numbers other than 0 the rows before each one have, and at the end all of them."""
        ...


def blocks_for(cost: int) -> int:
    """Into how many blocks rows of that cost are cut, where none would have too many rows."""
    blocks = 16
    while blocks > 1 and cost < blocks * _ENTRIES:
        blocks //= 2
    return blocks


def block_edges(parts: Sequence[Counted]) -> list[int]:
    """The rows 0 < … < n at which n rows are cut into blocks: those of ``parts``, in order, whatever parts they lie in.

    Only parts in which a block ends are asked for more than their totals, one at a time. [0] for no rows.
    """
    part_costs = [part.n_entries + _A_ROW * part.n_rows for part in parts]
    n, total = sum(part.n_rows for part in parts), sum(part_costs)
    share = min(-(-total // blocks_for(total)), -(-total * _MOST_ROWS // max(n, 1)))
    edges, row, cost, paid = [0], 0, 0, 0  # paid: for the rows before the last edge; row and cost: before the part
    for part, part_cost in zip(parts, part_costs, strict=True):
        before = None
        while edges[-1] + _MOST_ROWS < row + part.n_rows or paid + share < cost + part_cost:
            before = _cost_before(part) if before is None else before
            ends = int(np.searchsorted(before, paid + share - cost))
            edges.append(min(row + ends, edges[-1] + _MOST_ROWS))
            paid = cost + int(before[edges[-1] - row])
        row, cost = row + part.n_rows, cost + part_cost
    return edges if edges[-1] == n else [*edges, n]


def _cost_before(part: Counted) -> NDArray[np.int64]:
    """(n + 1,): of the rows before each one, and at the end of all."""
    return part.entries_before() + _A_ROW * np.arange(part.n_rows + 1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Columns:
    """What goes with each row, beside its features; None for what there is not."""

    y: Floats | None = None
    """(n,), or (n, L) of 0 and 1."""
    sample_weight: Floats | None = None
    offset: Floats | None = None
    group: NDArray[np.int64] | None = None

    @classmethod
    def checked(
        cls,
        n: int,
        y: Targets | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Of n rows; DataError, with the row, for what is no finite number, a negative weight, another length."""
        weights = _column("sample_weight", sample_weight, n)
        if weights is not None and weights.size and weights.min() < 0:
            row = int(np.argmin(weights))
            raise DataError(f"sample_weight[{row}] is {weights[row]:g}; needed at least 0")
        return cls(_targets(y, n), weights, _column("offset", offset, n), _places("groups", groups, n))

    def rows(self, start: int, stop: int) -> Columns:
        """The rows start … stop−1, views."""

        def part(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[start:stop]

        return Columns(part(self.y), part(self.sample_weight), part(self.offset), part(self.group))


def require_weight(total: float) -> None:
    """DataError where the weights of all rows add up to nothing."""
    if not total > 0:
        raise DataError("every sample_weight is zero: there is nothing to learn from")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Rows in CSR form, canonical, with what goes with them. ``ids`` are ids of features. Never written to."""

    indptr: NDArray[np.integer]
    ids: NDArray[np.integer]
    values: NDArray[np.floating]
    columns: Columns

    @classmethod
    def checked(cls, X: Targets, columns: Columns) -> Self:
        """Of a matrix (n, d) of any kind; DataError for what is no finite number, with row and column."""
        matrix = csr_of(X)
        return cls(matrix.indptr, matrix.indices, matrix.data, columns)

    @classmethod
    def joined(cls, parts: Sequence[Arrays], columns: Columns) -> Self:
        """The rows of all parts, in order; float64 where one of them is."""
        counts = [np.diff(part.indptr).astype(np.int64) for part in parts]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
        ids = np.concatenate([part.ids for part in parts], dtype=np.int64)  # as a block wants them: one copy, not two
        return cls(indptr, ids, np.concatenate([part.values for part in parts]), columns)

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_entries(self) -> int:
        """How many numbers other than 0 there are: what lies here as a zero does not count."""
        return int(np.count_nonzero(self.values))

    def entries_before(self) -> NDArray[np.int64]:
        """(n + 1,): how many of them the rows before each one have, and at the end all of them."""
        zeros = np.flatnonzero(self.values == 0)  # mostly none: cheaper than to add up what is not 0
        return np.asarray(self.indptr, np.int64) - np.searchsorted(zeros, self.indptr)

    def rows(self, start: int, stop: int) -> Arrays:
        """The rows start … stop−1, views of the entries."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - self.indptr[start]
        return Arrays(indptr, self.ids[first:last], self.values[first:last], self.columns.rows(start, stop))

    def block(self, first: int) -> Block:
        """A block of all these rows, the first of which is row ``first`` of the data set."""
        row_id = np.arange(first, first + self.n_rows, dtype=np.int64)
        columns = self.columns
        return Block.from_rows(
            self.indptr,
            self.ids,
            self.values,
            y=columns.y,
            sample_weight=columns.sample_weight,
            offset=columns.offset,
            group=columns.group,
            row_id=row_id,
            dtype=self.values.dtype,
        )


def _targets(y: Targets | None, n: int) -> Floats | None:
    """(n,) numbers; or (n, L) of 0 and 1, one row after another in memory."""
    if y is None:
        return None
    array = _numbers("y", y)
    if array.ndim != 2 or array.shape[1] < 2 or len(array) != n:
        return _column("y", array, n, f" or ({n}, L), one of 0 and 1 for each of L >= 2 labels")
    strange = np.argwhere((array != 0.0) & (array != 1.0))
    if strange.size:
        row, label = strange[0]
        raise DataError(
            f"y[{row}, {label}] is {array[row, label]:g}; needed 0 or 1, whether the row has the label of that column"
        )
    return np.ascontiguousarray(array)


def _column(name: str, values: ArrayLike | None, n: int, also: str = "") -> Floats | None:
    if values is None:
        return None
    column = _numbers(name, values)
    if column.shape != (n,):
        raise DataError(f"{name} has the shape {column.shape}; needed ({n},), one number for each row of X{also}")
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] is {column[bad[0]]}; needed finite numbers")
    return column


def _numbers(name: str, values: Any) -> Floats:
    try:
        return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}") from None


def _places(name: str, labels: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    """The number of each row's label among the distinct ones, ascending."""
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (n,):
        raise DataError(f"{name} has the shape {array.shape}; needed ({n},), one label for each row of X")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)
