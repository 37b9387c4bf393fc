"""What the columns of a matrix stand for.

Products are made over the k features that occur; a matrix has either a column for each id 0 … n_features−1 of the data
set, or one for each feature that occurs, by ascending id. An id space may be far wider than memory (2⁴⁰ hash slots), so
an array over all ids is refused where it would be huge and nearly all zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.matrix import Floats
from blockdot.blocks.table import FeatureTable
from blockdot.errors import SpecError
from blockdot.linalg.sparse import Entries, Sparse, csr, empty

# Bytes of an array over all columns that is made without a question.
_ROOM = 2 << 30


@dataclass(frozen=True, eq=False)
class Columns:
    """``place[j]`` is the column of the j-th feature that occurs; there are ``size`` columns."""

    place: NDArray[np.int64]
    size: int
    occurring: NDArray[np.int64] | None = None
    """The ids of the columns, where only features that occur have one."""

    @classmethod
    def all_of(cls, table: FeatureTable, n_features: int) -> Columns:
        """A column for each id."""
        return cls(table.ids, n_features)

    @classmethod
    def occurring_in(cls, table: FeatureTable) -> Columns:
        """A column for each feature that occurs, by ascending id."""
        order = np.argsort(table.ids)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return cls(place, len(order), table.ids[order])

    @property
    def ids(self) -> NDArray[np.int64]:
        """(size,) the feature id of each column."""
        if self.occurring is not None:
            return self.occurring
        self.refuse_wide(1)
        return np.arange(self.size, dtype=np.int64)

    def gather(self, w: Floats) -> Floats:
        """(k, K) the rows of ``w`` (size, K) that belong to features that occur."""
        return w[self.place]

    def gather_sparse(self, s: Entries) -> Sparse:
        """The same of a sparse matrix; of no more work than it has entries, however many rows."""
        order = np.argsort(self.place)
        if not len(order):
            return empty(0, s.shape[1])
        found = order[np.minimum(np.searchsorted(self.place, s.row, sorter=order), len(order) - 1)]
        kept = self.place[found] == s.row
        return csr((s.data[kept], (found[kept], s.col[kept])), (len(order), s.shape[1]))

    def spread(self, g: Floats) -> Floats:
        """(size, …) zeros, and ``g`` (k, …) at the columns of the features that occur."""
        self.refuse_wide(int(np.prod(g.shape[1:])))
        out = np.zeros((self.size, *g.shape[1:]))
        out[self.place] = g
        return out

    def both_sides(self, G: Floats) -> Floats:
        """(size, size) zeros, and ``G`` (k, k) at the pairs of features that occur."""
        return self.spread(np.ascontiguousarray(self.spread(G).T)).T

    def refuse_wide(self, width: int) -> None:
        """SpecError where ``width`` numbers a column would be a huge array of zeros."""
        size = 8 * self.size * max(width, 1)
        if size > _ROOM and 4 * len(self.place) < self.size:
            raise SpecError(
                f"an array over all {self.size:,} columns would take {size / 1e9:,.0f} GB, and {len(self.place):,} of "
                "them occur: take X.occurring(), which has those alone (X.occurring().columns are their ids)"
            )
