"""Data sets: row blocks in memory or in a store, and what is known about them without reading them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import blockdot
from blockdot import atomic
from blockdot.blocks.arrays import Arrays, Columns, Targets, block_edges, require_weight
from blockdot.blocks.block import Block
from blockdot.blocks.opened import StoreSource, open_store
from blockdot.blocks.soundness import csr_of
from blockdot.blocks.store import new_store, verify_store, write_block
from blockdot.blocks.sums import Blocks, Source, View
from blockdot.blocks.table import FeatureTable
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError, StoreError

_FEW_LABELS = 256


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Blocks that live in this process."""

    items: tuple[Block, ...]
    n_features: int

    @property
    def n_blocks(self) -> int:
        return len(self.items)

    def block(self, index: int) -> Block:
        """Block ``index``."""
        return self.items[index]

    def expect(self, blocks: Sequence[int]) -> None:
        """They are here."""

    def release(self, index: int) -> None:
        """They stay."""

    def name(self, index: int) -> str:
        """Block ``index`` of the arrays."""
        return f"block {index}"


@dataclass(frozen=True, eq=False)
class EncodedSource(View):
    """The blocks of ``source`` with each label replaced by its place 0, 1, … among ``labels`` (ascending)."""

    labels: tuple[float, ...]
    where: str = "y"
    """What the labels are of, for messages."""
    factors: tuple[float, ...] | None = None
    """What the weight of each label's rows is multiplied by; None for 1."""

    def block(self, index: int) -> Block:
        """Block ``index``; DataError for a label that is not among ``labels``."""
        block = self.source.block(index)
        assert block.y is not None
        labels = np.asarray(self.labels)
        place = np.minimum(np.searchsorted(labels, block.y), len(labels) - 1)
        strange = np.flatnonzero(labels[place] != block.y)
        if strange.size:
            row, known = strange[0], ", ".join(f"{label:g}" for label in self.labels)
            raise DataError(
                f"{self.where}: block {index}, row {row}: found the label {block.y[row]:g}, needed one of {known}; "
                "label these rows as the training data are labelled"
            )
        weight = block.sample_weight
        if self.factors is not None:
            factor = np.asarray(self.factors)[place]
            weight = factor if weight is None else weight * factor
        return replace(block, y=place.astype(np.float64), sample_weight=weight)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in blocks. Make one with :meth:`open`, :meth:`from_arrays` or :func:`blockdot.ingest`.

    Attributes
    ----------
    n_rows, nnz
        Rows and stored values.
    n_features
        The width of the space of feature ids; ``len(table)`` of them occur.
    block_rows
        How many rows each block has.
    path, digest
        Of the store; None for a data set in memory.
    classes
        The labels that y = 0, 1, …, or its columns, stand for, where the raw labels were text.
    features
        How raw files become features: what :func:`blockdot.ingest` settled and a model needs to read raw files.
    rows_read, dropped
        Of the raw files: rows read, and how many were dropped for which reason; a split's two stores both have the
        counts of all the files.
    """

    source: Source
    table: FeatureTable
    n_rows: int
    nnz: int
    n_features: int
    labels: tuple[float, ...] | None
    """The distinct values of y, ascending; None when there are more than 256, or no y, or y has several columns."""
    has_y: bool
    weight: float
    block_rows: tuple[int, ...]
    n_labels: int | None = None
    """L, where y is (n, L): 1 where a row has the label of the column, else 0."""
    is_stored: bool = False
    """Whether the blocks lie in files, which other processes can read."""
    path: Path | None = None
    digest: str | None = None
    classes: tuple[str, ...] | None = None
    features: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    rows_read: int = 0
    dropped: dict[str, int] | None = None

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        return (
            f"<Dataset of {self.n_rows:,} rows in {self.n_blocks:,} blocks, {len(self.table):,} of {self.n_features:,} "
            f"features occur, {self.nnz:,} non-zeros: {where}>"
        )

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open the store at ``path``. Raises StoreError if it is missing, unfinished, damaged or of another version."""
        data = cls.described(path)
        return replace(data, has_y=bool(data.n_blocks) and data.source.block(0).y is not None)

    @classmethod
    def described(cls, path: str | Path) -> Dataset:
        """The store at ``path`` as its manifest describes it: no block is read, and targets are taken for granted."""
        source, manifest, table = open_store(Path(path))
        counts = [entry.labels for entry in manifest.blocks]
        values = {label for block in counts if block is not None for label, _ in block}
        few = all(block is not None for block in counts) and len(values) <= _FEW_LABELS and bool(counts)
        return cls(
            source,
            table,
            n_rows=manifest.rows,
            nnz=manifest.nnz,
            n_features=manifest.n_features,
            labels=tuple(sorted(values)) if few else None,
            has_y=True,
            weight=sum(entry.weight for entry in manifest.blocks),
            block_rows=tuple(entry.rows for entry in manifest.blocks),
            n_labels=manifest.n_labels,
            is_stored=True,
            path=source.path,
            digest=manifest.digest,
            classes=manifest.classes,
            features=manifest.features,
            files=manifest.files,
            rows_read=manifest.rows_read,
            dropped=manifest.dropped,
        )

    @classmethod
    def from_arrays(
        cls,
        X: Targets,
        y: Targets | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        block_rows: int | None = None,
    ) -> Dataset:
        """Cut arrays into blocks in memory.

        Parameters
        ----------
        X
            (n, d) matrix, scipy sparse of any format or dense; float32 stays float32, everything else becomes float64.
        y, sample_weight, offset
            (n,) numbers; weights at least 0, not all 0. For rows with any number of L ≥ 2 labels, y is (n, L), dense
            or scipy sparse, of 0 and 1.
        groups
            (n,) labels of any kind: rows of one label stay in one fold of a cross-validation, and are a cluster.
        block_rows
            Rows a block. By default blocks are of equal work: a row counts for its non-zeros and 8 more, so that the
            cut depends on how long the rows are, not on the machine (``blockdot.blocks.arrays``).

        Raises DataError for NaN or infinity, and for labels other than 0 and 1 (with row and column), negative weights,
        or lengths that differ.
        """
        matrix = csr_of(X)
        n, n_features = matrix.shape
        columns = Columns.checked(n, y, sample_weight, offset, groups)
        if n and columns.sample_weight is not None:
            require_weight(float(np.max(columns.sample_weight)))
        if block_rows is not None and block_rows < 1:
            raise SpecError(f"block_rows is {block_rows}; needed at least 1")
        rows = Arrays(matrix.indptr, matrix.indices, matrix.data, columns)
        edges = block_edges([rows]) if block_rows is None else [*range(0, n, block_rows), n]

        def cut(ends: tuple[int, int]) -> Block:
            return rows.rows(*ends).block(ends[0])

        blocks = list(ThreadPool().map(cut, list(pairwise(edges))))
        return cls.from_blocks(blocks, n_features)

    @classmethod
    def from_blocks(cls, blocks: list[Block], n_features: int) -> Dataset:
        """The rows of ``blocks``, in their order, over the ids 0 … n_features−1."""
        table = FeatureTable.merged([FeatureTable.of_block(block) for block in blocks])
        placed = tuple(block.placed(table.locate(block.columns), len(table)) for block in blocks)
        values: set[float] = set()
        for block in blocks:
            if block.y is not None and block.y.ndim == 1 and len(values) <= _FEW_LABELS:
                values |= set(np.unique(block.y).tolist())
        return cls(
            MemorySource(placed, len(table)),
            table,
            n_rows=sum(block.n_rows for block in blocks),
            nnz=sum(block.X.nnz for block in blocks),
            n_features=n_features,
            labels=tuple(sorted(values)) if 0 < len(values) <= _FEW_LABELS else None,
            has_y=bool(blocks) and blocks[0].y is not None,
            weight=sum(block.weight for block in blocks),
            block_rows=tuple(block.n_rows for block in blocks),
            n_labels=blocks[0].n_labels if blocks else None,
            rows_read=sum(block.n_rows for block in blocks),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_features

    @property
    def X(self) -> blockdot.BlockMatrix:
        """The rows as a matrix: products, inner products, decompositions. Nothing is read or copied."""
        return blockdot.BlockMatrix.of(self)

    @cached_property
    def n_blocks(self) -> int:
        """How many blocks the rows are cut into."""
        return self.source.n_blocks

    def encoded(self, labels: tuple[float, ...], factors: tuple[float, ...] | None = None) -> Dataset:
        """The same rows with y replaced by its place 0, 1, … among ``labels``, weights times the label's factor."""
        if not self.has_y:
            raise DataError(
                f"{self.path or 'these rows'}: there are no targets y; ingest them with a label, or hand y in"
            )
        if self.n_labels is not None:
            raise DataError(
                f"{self.path or 'y'} has {self.n_labels} columns, one for each label that a row can have; needed one "
                "class a row"
            )
        places = tuple(float(i) for i in range(len(labels)))
        return replace(self, source=EncodedSource(self.source, labels, str(self.path or "y"), factors), labels=places)

    def save(self, path: str | Path) -> Dataset:
        """Write the blocks as a store at ``path`` and open it."""
        with new_store(Path(path)) as writer:
            written = [
                write_block(self.source.block(i), writer.directory, f"block-{i}") for i in range(self.source.n_blocks)
            ]
            writer.commit(
                written, n_features=self.n_features, features=self.features, classes=self.classes, files=self.files,
                rows_read=self.rows_read, dropped=self.dropped,
            )  # fmt: skip
        return Dataset.open(path)

    @contextmanager
    def on(self, pool: Pool) -> Iterator[Blocks]:
        """The blocks, worked on by ``pool``; spooled to a temporary store where the pool cannot see this memory."""
        if pool.shares_memory or self.is_stored:
            with Blocks(self.source, pool) as blocks:
                yield blocks
            return
        with atomic.temporary_directory() as directory:
            stored = self.save(directory / uuid.uuid4().hex)
            try:
                with Blocks(stored.source, pool) as blocks:
                    yield blocks
            finally:
                stored.forget()

    def forget(self) -> None:
        """Let go of the maps of a store's files in this process, before the files are removed."""
        if isinstance(self.source, StoreSource):
            self.source.forget()

    def verify(self) -> None:
        """Read every byte; StoreError lists all that is wrong."""
        problems = verify_store(self.path) if self.path is not None else []
        if problems:
            raise StoreError("\n".join(problems))
