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

from blockdot.blocks import rows_kernel
from blockdot.blocks.block import Block
from blockdot.blocks.matrix import Floats
from blockdot.buffers import empty


@dataclass(frozen=True)
class Layout:
    """The shape of a parameter vector: ``width`` numbers a feature, then ``tail`` numbers that belong to none."""

    width: int = 1
    tail: int = 0
    tail_weights: int = 0
    """How many numbers of the tail, the first ones, are weights (of a network's later layers), as those of features
    are: a penalty sees them. The others (intercepts) are free."""

    @property
    def free(self) -> int:
        """How many numbers, the last ones, no penalty sees."""
        return self.tail - self.tail_weights

    def intercepts(self, tail: Floats) -> Floats:
        """A view of the ``width`` numbers of the tail that are added to what the rows give; none where there are none.

        They are the first of those that are free.
        """
        return tail[self.tail_weights : self.tail_weights + self.width]

    def size(self, n_features: int) -> int:
        """The length of a parameter vector over ``n_features`` features."""
        return n_features * self.width + self.tail

    def split(self, w: Floats) -> tuple[Floats, Floats]:
        """Views: the rows (n_features, width), and the tail."""
        stop = len(w) - self.tail
        return w[:stop].reshape(-1, self.width), w[stop:]

    def gather(self, w: Floats, block: Block) -> Floats:
        """The block's own parameters, in the same layout over the block's columns; not to be written to."""
        rows, tail = self.split(w)
        if len(rows) < block.n_features:
            raise IndexError(f"the vector has {len(rows)} features, the places of the block go to {block.n_features}")
        if block.in_order and len(rows) == block.n_features and w.flags.c_contiguous and w.flags.writeable:
            return w  # what may not be written to (another process's) is another type to compiled loops
        own = empty(len(block.places) * self.width + self.tail, w.dtype)
        own_rows, own_tail = self.split(own)
        # one copy and no buffer: several times as fast as rows[places]; the places were found in the table, and the
        # vector has them all, so none is clipped
        np.take(rows, block.places, axis=0, out=own_rows, mode="clip")
        own_tail[:] = tail
        return own


# From this share of the features on, a sum has a row for each of them: added plainly, not by merging.
DENSE_FROM = 0.25


@dataclass(frozen=True, eq=False)
class FeatureSum:
    """A sum over rows that has ``width`` numbers for each feature that occurred in them, and a tail.

    ``flat`` holds the rows and the tail, as a parameter vector does. ``positions`` are places among the ``n_features``
    of the data set; ``rows[i]`` belongs to ``positions[i]``. Where at least a quarter of the features occurred, what is
    added up has a row for every feature, and ``positions`` is None; the part of a block that has not all of them is in
    the order of its columns until then. Otherwise positions ascend. Which of the two depends on the blocks summed over
    alone.
    """

    positions: NDArray[np.int64] | None
    flat: Floats
    width: int
    tail_size: int
    n_features: int

    @classmethod
    def of(cls, block: Block, local: Floats, layout: Layout) -> FeatureSum:
        """What one block contributes: ``local`` is flat, in ``layout`` over the block's columns, and not used again."""
        positions = None if block.in_order else block.places
        own = cls(positions, local, layout.width, layout.tail, block.n_features)
        if positions is None or not own._is_few:
            return own
        order = np.argsort(positions) if block.order is None else block.order
        return cls.made(positions[order], own.rows[order], own.tail, block.n_features)

    @classmethod
    def made(cls, positions: NDArray[np.int64] | None, rows: Floats, tail: Floats, n_features: int) -> FeatureSum:
        """Of rows (·, width) and a tail; ``positions`` ascend, or are None where there is a row for every feature."""
        return cls(positions, np.concatenate([rows.ravel(), tail]), rows.shape[1], tail.size, n_features)

    @property
    def rows(self) -> Floats:
        """(·, width), a view."""
        return self.flat[: self.flat.size - self.tail_size].reshape(-1, self.width)

    @property
    def tail(self) -> Floats:
        """What belongs to no feature, a view."""
        return self.flat[self.flat.size - self.tail_size :]

    def __iadd__(self, other: FeatureSum) -> FeatureSum:
        """The sum, in the memory of this one where that has a row for every feature and may be written to."""
        tail = self.tail + other.tail
        if self._is_few and other._is_few and self.positions is not None and other.positions is not None:
            positions, rows = rows_kernel.add_sorted(self.positions, self.rows, other.positions, other.rows)
            return FeatureSum.made(positions, rows, tail, self.n_features).settled()
        full, more = (self, other) if self.positions is None or other.positions is not None else (other, self)
        total = full if full is self and full._is_own else full._spread()
        rows = total.rows
        if more.positions is None:
            rows += more.rows
        else:
            rows_kernel.add_rows(more.positions, more.rows, rows)
        total.tail[:] = tail
        return total

    def __add__(self, other: FeatureSum) -> FeatureSum:
        total = self if self.positions is not None else self._spread()
        total += other
        return total

    def settled(self) -> FeatureSum:
        """The same, its positions ascending or None."""
        return self if self.positions is None or self._is_few else self._spread()

    def dense(self) -> Floats:
        """The flat vector over all features of the data set, zero where none of the rows has the feature.

        It may be written to; it is the sum's own where that has a row for every feature.
        """
        return self.flat if self._is_own else self._spread().flat

    @property
    def _is_few(self) -> bool:
        return self.positions is not None and len(self.positions) < DENSE_FROM * self.n_features

    @property
    def _is_own(self) -> bool:
        """Whether there is a row for every feature, in memory that may be written to: another process's may not."""
        return self.positions is None and self.flat.flags.writeable

    def _spread(self) -> FeatureSum:
        """A copy with a row for every feature."""
        flat = empty(self.n_features * self.width + self.tail_size, self.flat.dtype)
        full = FeatureSum(None, flat, self.width, self.tail_size, self.n_features)
        if self.positions is None:
            flat[:] = self.flat
        else:
            rows_kernel.spread_rows(self.positions, self.rows, full.rows)
            full.tail[:] = self.tail
        return full
