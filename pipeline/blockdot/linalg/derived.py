"""New data sets from the rows of one: a block of the new for each block of the old, with the same targets and weights.

    rows as they are seen   diag(r) X diag(c), over the columns of the matrix
    rows of a product       A W, W dense or sparse
    rows thinned out        X with the entries that a sampling keeps (sampling.py)

In memory, or as a store that the workers write block by block, so that nothing the size of the data is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats
from blockdot.blocks.store import WrittenBlock, new_store, write_block
from blockdot.blocks.sums import Pass
from blockdot.linalg.arithmetic import entries
from blockdot.linalg.rows import Rows
from blockdot.linalg.sampling import Sampling
from blockdot.linalg.sparse import Sparse, csr, scale_columns, scale_rows

Out = TypeVar("Out")


@dataclass(frozen=True, eq=False)
class ColumnsOf:
    """The entries of a block's rows as a matrix has them; called with c, where columns are scaled, and r."""

    place: NDArray[np.int64]
    """The column of each feature that occurs."""
    n_columns: int

    layout = Layout()

    def __call__(self, block: Block, *given: Floats | None) -> Sparse:
        *columns, r = given
        rows = entries(block.X)
        scale_rows(rows, r)
        for c in columns:
            scale_columns(rows, c)
        at = self.place[block.places][rows.indices]
        found = csr((rows.data, at, rows.indptr), (block.n_rows, self.n_columns))
        found.sort_indices()
        return found


@dataclass(frozen=True, eq=False)
class SeenRows:
    """The rows of a matrix, scaled, over its columns: a pass that makes them, and what it is given."""

    rows: Rows
    entries: ColumnsOf
    vectors: tuple[Floats, ...]
    each: Sequence[Floats | None]

    def map(self, task: Pass[Out]) -> Iterator[Out]:
        """``task``, which calls the pass, for each block."""
        return self.rows.map(task, *self.vectors, each=self.each)

    def saved(self, out: str | Path, dtype: DTypeLike) -> Dataset:
        """A store of them."""
        task, n_columns = AsBlock(self.entries, dtype), self.entries.n_columns
        return derived(self.rows, task, *self.vectors, each=self.each, n_features=n_columns, out=out)


@dataclass(frozen=True, eq=False)
class AsBlock:
    """A block of the rows that a task makes, dense or sparse."""

    task: Pass[Floats | Sparse]
    dtype: DTypeLike

    @property
    def layout(self) -> Layout:
        return self.task.layout

    def __call__(self, block: Block, *given: Any) -> Block:
        return made_of(csr(self.task(block, *given)), block, self.dtype)


@dataclass(frozen=True, eq=False)
class Thin:
    """A block of the entries that are kept; called with the probabilities of columns, where those have some."""

    sampling: Sampling

    layout = Layout()

    def __call__(self, block: Block, *given: Any) -> Block:
        *columns, (first_row, p) = given
        rows = entries(block.X)
        self.sampling.keep(rows, block, first_row, columns[0] if columns else p)
        return made_of(rows, block, np.float64, block.columns)


def made_of(rows: Sparse, block: Block, dtype: DTypeLike, ids: NDArray[np.int64] | None = None) -> Block:
    """The rows as a block, with all that ``block`` says of its rows; ``ids`` are those of the columns."""
    columns = rows.indices if ids is None else ids[rows.indices]
    return Block.from_rows(
        rows.indptr, columns, rows.data, y=block.y, sample_weight=block.sample_weight, offset=block.offset,
        row_id=block.row_id, group=block.group, dtype=dtype,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Written:
    """Writes the block that a task makes, under the name that is handed out with what the task is handed."""

    task: Pass[Block]
    directory: Path

    @property
    def layout(self) -> Layout:
        return self.task.layout

    def __call__(self, block: Block, *given: Any) -> WrittenBlock:
        *vectors, (name, own) = given
        return write_block(self.task(block, *vectors, own), self.directory, name)


def derived(
    rows: Rows, task: Pass[Block], *vectors: Floats, each: Sequence[Any], n_features: int, out: str | Path | None
) -> Dataset:
    """The data set of the blocks that ``task`` makes: in memory, or a store at ``out``."""
    data = rows.data
    if out is None:
        return Dataset.from_blocks(list(rows.map(task, *vectors, each=each)), n_features)
    with new_store(Path(out)) as writer:
        named = [(f"block-{i:05d}", own) for i, own in enumerate(each)]
        written = list(rows.map(Written(task, writer.directory.absolute()), *vectors, each=named))
        writer.commit(
            written, n_features=n_features, classes=data.classes, files=data.files, rows_read=data.rows_read,
            dropped=data.dropped,
        )  # fmt: skip
    return Dataset.open(out)
