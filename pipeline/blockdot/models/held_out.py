"""Rows that are held out: a share of them, by a hash of each row's identity, so the same rows on any worker.

They are not taken out of their blocks: of a view of the rows to learn from their weight is 0, of a view of the rows to
judge by that of all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.identity import splitmix
from blockdot.blocks.sums import Blocks, RowPass, View
from blockdot.errors import DataError
from blockdot.models.folds import row_ids


@dataclass(frozen=True, eq=False)
class HeldOut(View):
    """The blocks of ``source`` where rows have weight that are, or are not, ``held``: a share, by their identity."""

    share: float
    seed: int
    held: bool

    def block(self, index: int) -> Block:
        """Block ``index``."""
        block = self.source.block(index)
        identity = (row_ids(block) if block.group is None else block.group).astype(np.uint64)
        drawn = splitmix(identity ^ splitmix(np.uint64(self.seed))) < np.uint64(int(self.share * 2.0**64))
        weight = np.where(drawn == self.held, 1.0, 0.0)
        return replace(block, sample_weight=weight if block.sample_weight is None else weight * block.sample_weight)


@dataclass(frozen=True)
class _Weight(RowPass):
    def __call__(self, block: Block) -> float:
        return block.weight


@contextmanager
def held_out(blocks: Blocks, share: float | None, seed: int) -> Iterator[tuple[Blocks, Blocks | None, float | None]]:
    """The blocks to learn from, those to stop by, and the weight of the first."""
    if share is None:
        yield blocks, None, None
        return
    views = (HeldOut(blocks.source, share, seed, held) for held in (False, True))
    with blocks.view(next(views)) as training, blocks.view(next(views)) as testing:
        weight, other = training.sum(_Weight()), testing.sum(_Weight())
        if not (weight > 0.0 and other > 0.0):
            none = "to learn from" if other > 0.0 else "held out"
            raise DataError(
                f"a share of {share:g} of the rows leaves none {none}: choose another, or hand in rows to stop by"
            )
        yield training, testing, weight
