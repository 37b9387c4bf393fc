"""Which rows a model is fitted to, and which it is judged by, for M models of one cross-validation.

    train, test: (n, M) of 0 and 1 for the rows of a block, from the identity of the rows alone

so the folds do not depend on blocks or workers:

    hashed   a number of folds, dealt out by a hash of the row's identity (splitmix64 of it and a seed); what belongs
             to one group, such as all rows of a customer, has one identity and falls in one fold
    time     rows in their order, each model judged by what came next after the rows that it was fitted to
    given    masks, row by row, as scikit-learn's splitters make them
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.identity import splitmix
from blockdot.blocks.sums import Blocks, RowPass, View
from blockdot.errors import DataError, SpecError
from blockdot.vectors import Vector

Mask = NDArray[np.bool_]


class Folds(Protocol):
    """A cross-validation of ``n_folds`` models."""

    @property
    def n_folds(self) -> int: ...

    def settled(self, blocks: Blocks) -> Folds:
        """The folds of these rows, where something must be known of all of them before."""
        ...

    def train(self, block: Block) -> Mask:
        """(n, n_folds) which rows each model is fitted to."""
        ...

    def test(self, block: Block) -> Mask:
        """(n, n_folds) which rows each model is judged by."""
        ...


@dataclass(frozen=True)
class HashedFolds:
    """``n_folds`` folds of about the same size, by a hash of each row's identity: of its group, where it has one."""

    n_folds: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_number(self.n_folds)

    def settled(self, blocks: Blocks) -> HashedFolds:  # noqa: ARG002
        """The same."""
        return self

    def train(self, block: Block) -> Mask:
        """All rows but those of the fold."""
        return ~self.test(block)

    def test(self, block: Block) -> Mask:
        """The rows of the fold."""
        identity = (row_ids(block) if block.group is None else block.group).astype(np.uint64)
        fold = splitmix(identity + splitmix(np.uint64(self.seed))) % np.uint64(self.n_folds)
        return np.asarray(fold[:, np.newaxis] == np.arange(self.n_folds, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class TimeFolds:
    """The past against what came next: the rows, in their order, are cut into ``n_folds`` + 1 parts.

    Model m is fitted to the parts 0 … m and judged by part m + 1, as scikit-learn's ``TimeSeriesSplit`` does. The order
    is that of the files, as they were named (those of a glob or a folder by their names), and of their lines.
    """

    n_folds: int
    starts: NDArray[np.int64] | None = None
    """(n_folds + 1,) the row ids that the parts 1, 2, … begin with, and what is above all; found by ``settled``."""

    def __post_init__(self) -> None:
        _check_number(self.n_folds)

    def settled(self, blocks: Blocks) -> TimeFolds:
        """With the row ids where the parts begin. Raises DataError for rows out of order, and for too few."""
        runs = list(blocks.map(_Order()))
        counts = np.array([run.rows for run in runs])
        after = [run.first for run in runs[1:]]
        if not all(run.ascends for run in runs) or any(
            run.last >= first for run, first in zip(runs[:-1], after, strict=True)
        ):
            raise DataError("these rows are not in the order of their files and lines: ingest them again")
        n, ends = int(np.sum(counts)), np.cumsum(counts)
        size = n // (self.n_folds + 1)
        if size == 0:
            raise DataError(f"{n} rows cannot be cut into {self.n_folds + 1} parts: use fewer folds")
        starts = []
        for rank in range(n - self.n_folds * size, n, size):
            place = int(np.searchsorted(ends, rank, side="right"))
            (block,) = blocks.take([place])
            starts.append(int(row_ids(block)[rank - ends[place] + counts[place]]))
        return replace(self, starts=np.array([*starts, np.iinfo(np.int64).max]))

    def train(self, block: Block) -> Mask:
        """The rows before the part."""
        return np.asarray(row_ids(block)[:, np.newaxis] < self._starts[:-1])

    def test(self, block: Block) -> Mask:
        """The rows of the part."""
        ids = row_ids(block)[:, np.newaxis]
        return np.asarray((self._starts[:-1] <= ids) & (ids < self._starts[1:]))

    @property
    def _starts(self) -> NDArray[np.int64]:
        assert self.starts is not None, "settled first"
        return self.starts


class _Run(NamedTuple):
    """The rows of a block: how many, the ids of the first and the last, and whether they ascend."""

    rows: int
    first: int
    last: int
    ascends: bool


@dataclass(frozen=True)
class _Order(RowPass):
    def __call__(self, block: Block) -> _Run:
        ids = row_ids(block)
        return _Run(len(ids), int(ids[0]), int(ids[-1]), bool(np.all(np.diff(ids) > 0)))


@dataclass(frozen=True, eq=False)
class GivenFolds:
    """Masks (n_rows, n_folds) over the rows of a data set in memory, whose row ids are 0, 1, …"""

    train_mask: Mask
    test_mask: Mask

    @property
    def n_folds(self) -> int:
        return int(self.train_mask.shape[1])

    def settled(self, blocks: Blocks) -> GivenFolds:  # noqa: ARG002
        """The same."""
        return self

    def train(self, block: Block) -> Mask:
        """As given."""
        return self.train_mask[row_ids(block)]

    def test(self, block: Block) -> Mask:
        """As given."""
        return self.test_mask[row_ids(block)]


@dataclass(frozen=True, eq=False)
class FoldedSource(View):
    """The blocks of ``source`` with weights (n, M): those of each fold's model, and last those of all rows.

    ``scale`` (M,) brings each model's weights to the same sum.
    """

    folds: Folds
    scale: Vector

    def block(self, index: int) -> Block:
        """Block ``index``."""
        block = self.source.block(index)
        return replace(block, sample_weight=fold_weights(block, self.folds) * self.scale)


def fold_weights(block: Block, folds: Folds) -> Vector:
    """(n, M) the weight of each row for the model of each fold, and last for that of all rows."""
    s = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
    everywhere = np.ones((block.n_rows, 1), np.bool_)
    return np.asarray(s[:, np.newaxis] * np.concatenate([folds.train(block), everywhere], axis=1))


def row_ids(block: Block) -> NDArray[np.int64]:
    """Where the rows of a block are among all rows; DataError for a data set without."""
    if block.row_id is None:
        raise DataError("these rows have no identities to make folds of: ingest them again")
    return block.row_id


def _check_number(n_folds: object) -> None:
    if not (isinstance(n_folds, (int, np.integer)) and n_folds >= 2):
        raise SpecError(f"cv is {n_folds!r}; needed 2 folds or more")
