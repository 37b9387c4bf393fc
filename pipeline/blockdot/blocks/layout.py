"""Parameter vectors over the features that occur, and sums in that space.

A parameter vector is flat: ``width`` numbers for each of the k features that occur in the data set, feature by feature,
then ``tail`` numbers that belong to no feature (an intercept). A block needs the rows of its own features and the tail;
what it gives back is a :class:`FeatureSum` over the same. So what is added, kept and sent grows with the features that
occur in the blocks at hand, not with the width of the space of ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import products
from blockdot.blocks.block import Block, Floats


@dataclass(frozen=True)
class Layout:
    """The shape of a parameter vector: ``width`` numbers a feature, then ``tail`` numbers that belong to none."""

    width: int = 1
    tail: int = 0

    def size(self, n_features: int) -> int:
        """The length of a parameter vector over ``n_features`` features."""
        return n_features * self.width + self.tail

    def split(self, w: Floats) -> tuple[Floats, Floats]:
        """Views: the rows (n_features, width), and the tail."""
        stop = len(w) - self.tail
        return w[:stop].reshape(-1, self.width), w[stop:]

    def gather(self, w: Floats, block: Block) -> Floats:
        """The block's own parameters, in the same layout over the block's columns."""
        rows, tail = self.split(w)
        return np.concatenate([rows[_positions(block)].ravel(), tail])


@dataclass(frozen=True, eq=False)
class FeatureSum:
    """A sum over rows that has ``width`` numbers for each feature that occurred in them, and a tail.

    ``positions`` (ascending) are places among the features of the data set; ``rows[i]`` belongs to ``positions[i]``.
    """

    positions: NDArray[np.int64]
    rows: Floats
    tail: Floats

    @classmethod
    def of(cls, block: Block, local: Floats, layout: Layout) -> FeatureSum:
        """What one block contributes: ``local`` is flat, in ``layout`` over the block's columns."""
        rows, tail = layout.split(local)
        positions = _positions(block)
        order = np.argsort(positions) if block.order is None else block.order
        return cls(positions[order], rows[order], tail)

    def __add__(self, other: FeatureSum) -> FeatureSum:
        if np.array_equal(self.positions, other.positions):
            return FeatureSum(self.positions, self.rows + other.rows, self.tail + other.tail)
        positions, rows = products.add_sorted(self.positions, self.rows, other.positions, other.rows)
        return FeatureSum(positions, rows, self.tail + other.tail)

    def dense(self, n_features: int) -> Floats:
        """The flat vector over all features of the data set, zero where none of the rows has the feature."""
        rows = np.zeros((n_features, self.rows.shape[1]))
        rows[self.positions] = self.rows
        return np.concatenate([rows.ravel(), self.tail])


def _positions(block: Block) -> NDArray[np.int64]:
    if block.positions is None:
        raise ValueError("this block belongs to no data set yet: its columns have no positions")
    return block.positions
