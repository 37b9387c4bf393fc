"""Which rows a model is fitted to, and which it is judged by, for M models of one cross-validation.

    train, test: (n, M) of 0 and 1 for the rows of a block, from the identity of the rows alone

so the folds do not depend on blocks or workers. A number of folds deals the rows out by a hash of their identity
(splitmix64 of the row id and the seed); masks say it row by row: by groups, by time, as scikit-learn's splitters do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.sums import View
from blockdot.errors import DataError, SpecError
from blockdot.vectors import Vector

Mask = NDArray[np.bool_]


class Folds(Protocol):
    """A cross-validation of ``n_folds`` models."""

    @property
    def n_folds(self) -> int: ...

    def train(self, row_id: NDArray[np.int64]) -> Mask:
        """(n, n_folds) which rows each model is fitted to."""
        ...

    def test(self, row_id: NDArray[np.int64]) -> Mask:
        """(n, n_folds) which rows each model is judged by."""
        ...


@dataclass(frozen=True)
class HashedFolds:
    """``n_folds`` folds of about the same size, by a hash of each row's identity."""

    n_folds: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.n_folds >= 2:
            raise SpecError(f"cv is {self.n_folds!r}; needed 2 folds or more")

    def train(self, row_id: NDArray[np.int64]) -> Mask:
        """All rows but those of the fold."""
        return ~self.test(row_id)

    def test(self, row_id: NDArray[np.int64]) -> Mask:
        """The rows of the fold."""
        fold = _splitmix(row_id.astype(np.uint64) + _splitmix(np.uint64(self.seed))) % np.uint64(self.n_folds)
        return np.asarray(fold[:, np.newaxis] == np.arange(self.n_folds, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class GivenFolds:
    """Masks (n_rows, n_folds) over the rows of a data set in memory, whose row ids are 0, 1, …"""

    train_mask: Mask
    test_mask: Mask

    @property
    def n_folds(self) -> int:
        return int(self.train_mask.shape[1])

    def train(self, row_id: NDArray[np.int64]) -> Mask:
        """As given."""
        return self.train_mask[row_id]

    def test(self, row_id: NDArray[np.int64]) -> Mask:
        """As given."""
        return self.test_mask[row_id]


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
    return np.asarray(s[:, np.newaxis] * np.concatenate([folds.train(row_ids(block)), everywhere], axis=1))


def row_ids(block: Block) -> NDArray[np.int64]:
    """The identities of a block's rows; DataError for a data set without."""
    if block.row_id is None:
        raise DataError("these rows have no identities to make folds of: ingest them again")
    return block.row_id


def _splitmix(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Steele, Lea & Flood, *Fast splittable pseudorandom number generators* (OOPSLA 2014), figure 10."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2^64
        z = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
