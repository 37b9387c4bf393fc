"""The rows of a data set on a pool: the three verbs, and vectors over the rows cut as the blocks are.

r = (r_block 0 | r_block 1 | …),      rows are numbered 0 … n−1 in the order of the blocks
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.matrix import Floats
from blockdot.blocks.sums import Pass
from blockdot.blocks.tree import Pool

Out = TypeVar("Out")
Cut = TypeVar("Cut")


@dataclass(frozen=True, eq=False)
class Rows:
    """The n rows of ``data`` over the k features that occur, worked on by ``pool``."""

    data: Dataset
    pool: Pool

    @property
    def n_rows(self) -> int:
        return self.data.n_rows

    @property
    def n_occurring(self) -> int:
        """k."""
        return len(self.data.table)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(blocks + 1,) the number of each block's first row, and n."""
        return np.concatenate([[0], np.cumsum(self.data.block_rows)]).astype(np.int64)

    def cut(self, array: Any) -> list[Any]:
        """The rows of each block: views of an array, rows of a sparse matrix; for None, None for each."""
        pairs = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return [None if array is None else array[start:stop] for start, stop in pairs]

    def map(
        self,
        task: Pass[Out],
        *vectors: Floats,
        each: Sequence[Any] | None = None,
        ids: Sequence[int] | None = None,
    ) -> Iterator[Out]:
        """``task``'s result for each block (or for the blocks ``ids``), in order."""
        with self.data.on(self.pool) as blocks:
            yield from blocks.map(task, *vectors, each=each, ids=ids)

    def sum(self, task: Pass[FeatureSum], *vectors: Floats, like: Layout, each: Sequence[Any] | None = None) -> Floats:
        """The sum of ``task``'s results over all blocks, a flat vector in the layout ``like``; zeros for no rows."""
        total = self.folded(task, *vectors, each=each)
        return np.zeros(like.size(self.n_occurring)) if total is None else total.dense()

    def folded(self, task: Pass[FeatureSum], *vectors: Floats, each: Sequence[Any] | None = None) -> FeatureSum | None:
        """The sum itself, None where there are no blocks."""
        if not self.data.block_rows:
            return None
        with self.data.on(self.pool) as blocks:
            return blocks.sum(task, *vectors, each=each)

    def stacked(self, parts: Iterator[Floats], columns: int) -> Floats:
        """(n, columns) what a pass gave for the rows of each block."""
        out = np.empty((self.n_rows, columns))
        for start, part in zip(self.starts[:-1].tolist(), parts, strict=True):
            out[start : start + len(part)] = part
        return out

    def largest(self, factor: Floats | None = None) -> Floats:
        """(k,) maxᵢ |rᵢ xᵢⱼ| for each feature, r = ``factor`` (1 where None)."""
        largest = np.zeros(self.n_occurring)
        for positions, found in self.map(LargestInColumns(), each=self.cut(factor)):
            largest[positions] = np.maximum(largest[positions], found)
        return largest

    @cached_property
    def ceilings(self) -> Floats:
        """(k,) for each feature a power of two above the size of its largest value; read once."""
        return power_above(self.largest())


def power_above(x: Floats) -> Floats:
    """The smallest powers of two above |x|; 1 for 0."""
    return np.asarray(np.ldexp(1.0, np.frexp(np.abs(x))[1]))


class LargestInColumns:
    """max |rᵢ xᵢⱼ| over the rows of a block, with the positions of its columns."""

    layout = Layout()

    def __call__(self, block: Block, factor: Floats | None) -> tuple[NDArray[np.int64], Floats]:
        largest = np.zeros(len(block.columns))
        stop = 0
        for tile in block.tiles():
            start, stop = stop, stop + tile.n_rows
            rows = tile.X.to_scipy()
            size = np.abs(rows.data, dtype=np.float64)
            if factor is not None:
                size *= np.repeat(np.abs(factor[start:stop]), np.diff(rows.indptr))
            np.maximum.at(largest, rows.indices, size)
        return block.places, largest
