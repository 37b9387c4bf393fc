"""Raw files as a stream of blocks: read once, in order, some ahead by other threads, and kept nowhere.

What must be known of all rows before the first block (vocabularies, the classes of text labels) is found in a first
pass, as for a store; hashed features and svmlight text need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from blockdot.blocks.block import Block
from blockdot.blocks.threads import ThreadPool
from blockdot.ingest import survey
from blockdot.ingest.build import Inputs, prepared, read_chunk
from blockdot.ingest.files import is_compressed
from blockdot.ingest.plan import Chunk, Plan
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Format


@dataclass(frozen=True, eq=False)
class Stream:
    """The rows of raw files, as they are read."""

    work: Plan
    recipe: survey.Recipe
    pool: ThreadPool

    @property
    def n_features(self) -> int | None:
        """The width of the space of features; None where the text does not say it."""
        return self.recipe.fitted.n_features

    @property
    def features(self) -> dict[str, Any]:
        """How raw files become features, for the model."""
        return self.recipe.fitted.model_dump(mode="json")

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, where labels are text."""
        return self.recipe.fitted.classes

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files."""
        return tuple(source.name for source in self.work.sources)

    @property
    def name(self) -> str:
        """The files, for messages."""
        return ", ".join(self.files[:3])

    def __iter__(self) -> Iterator[Block]:
        """The blocks, in the order of files and lines, from the beginning."""
        for whole, chunks in groupby(self.work.chunks, lambda chunk: is_compressed(chunk.source.path)):
            if whole:  # a file that can only be read from its beginning: block by block, here
                yield from (block for chunk in chunks for block in _blocks(chunk, self.recipe))
            else:
                for blocks in self.pool.map(_all_blocks, chunks, self.recipe):
                    yield from blocks


def stream(
    inputs: Inputs,
    format: Format | None = None,
    *,
    label: str | Mapping[str, object] | None = None,
    weight: str | None = None,
    data: DataSpec | Mapping[str, object] | None = None,
    features: FeaturesSpec | Mapping[str, object] | None = None,
    n_threads: int | None = None,
) -> Stream:
    """Raw files to learn from while they are read, by ``partial_fit``; nothing is stored.

    The parameters are those of :func:`blockdot.ingest`; ``n_threads`` read ahead (default: one a core).
    """
    pool = ThreadPool(n_threads)
    given = {"format": format, "label": label, "weight": weight}
    work, fitted = prepared(inputs, given, data, features, None, None, pool)
    return Stream(work, survey.Recipe(fitted, work.block_bytes, None), pool)


def _blocks(chunk: Chunk, recipe: survey.Recipe) -> Iterator[Block]:
    for rows in read_chunk(chunk, recipe):
        if len(rows):
            yield rows.to_block(chunk.source.index, recipe.fitted.data.dtype, once=True)


def _all_blocks(chunk: Chunk, recipe: survey.Recipe) -> list[Block]:
    return list(_blocks(chunk, recipe))
