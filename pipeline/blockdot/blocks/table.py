"""The features that occur in a data set, numbered 0 … k−1, most frequent first.

Solvers work in this numbering: a parameter vector has k rows, however wide the space of feature ids is. For each
feature: its id, in how many rows it occurs, and the sum and the sum of squares of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.matrix import Floats
from blockdot.errors import DataError


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """One entry a feature: id, count of rows, Σ value, Σ value²."""

    ids: NDArray[np.int64]
    count: NDArray[np.int64]
    total: Floats
    squares: Floats

    @classmethod
    def of_block(cls, block: Block) -> FeatureTable:
        """The features of one block, in its own order (which is by frequency, then id)."""
        ones = np.ones(block.n_rows)
        count = block.X.counts()
        total, squares = np.zeros(len(block.columns)), np.zeros(len(block.columns))
        block.X.add_tdot(ones, total)
        block.X.add_tdot(ones, squares, squared=True)
        return cls(block.columns, count, total, squares)

    @classmethod
    def merged(cls, tables: Sequence[FeatureTable]) -> FeatureTable:
        """The features of several blocks; sums are added in the order given."""
        if not tables:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
        ids, place = np.unique(np.concatenate([t.ids for t in tables]), return_inverse=True)

        def added(parts: list[Floats]) -> Floats:
            return np.bincount(place, np.concatenate(parts), len(ids)).astype(np.float64, copy=False)

        count = added([t.count.astype(np.float64) for t in tables]).astype(np.int64)
        order = np.lexsort((ids, -count))
        total, squares = added([t.total for t in tables]), added([t.squares for t in tables])
        return cls(ids[order], count[order], total[order], squares[order])

    def __len__(self) -> int:
        return len(self.ids)

    def locate(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of ``ids``, each of which must occur."""
        place = self.find(ids)
        if np.any(place < 0):
            raise DataError(f"feature {ids[place < 0][0]} is not among the {len(self)} features of this data set")
        return place

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of ``ids``, −1 for those that do not occur."""
        if len(self) == 0:
            return np.full(len(ids), -1, np.int64)
        sorted_ids, order = self._by_id
        place = np.minimum(np.searchsorted(sorted_ids, ids), len(self) - 1)
        return np.where(sorted_ids[place] == ids, order[place], -1)

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.ids)
        return self.ids[order], order
