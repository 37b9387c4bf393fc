"""Blocks: a data set that can be summed over.

    sum(pass, w)  =  Σ over blocks of  pass(block, w[columns of the block])      in the order of the fixed tree
    map(pass, w)  =  the pass's result for each block, in block order
    take(ids)     =  the blocks themselves

A *pass* is a picklable object with a ``layout`` that, called with a block and the block's own part of each vector,
gives that block's result. What belongs to the rows of one block alone, and not to the features (its part of a vector
over the rows), is handed out with ``each``: one item for each block, which comes last among the arguments of the pass
and travels only to where that block is worked on.
The three verbs are written once; a pool (threads, Dask) says where the calls run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self, TypeVar

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats
from blockdot.blocks.memo import forget, shelf
from blockdot.blocks.tree import Pool, S, Subtree, fold, subtrees

S_co = TypeVar("S_co", covariant=True)
Out = TypeVar("Out")

# Subtrees a worker: enough to even out unequal blocks, few enough for a cluster, where each is a task (about 2 ms).
_SUBTREES_A_WORKER = 4


class Source(Protocol):
    """Where blocks come from: picklable, immutable, the same on every worker."""

    @property
    def n_blocks(self) -> int: ...

    @property
    def n_features(self) -> int:
        """k, the number of features that occur."""
        ...

    def block(self, index: int) -> Block:
        """Block ``index``, with its positions among the features that occur."""
        ...


class Pass(Protocol[S_co]):
    """What is done with one block."""

    @property
    def layout(self) -> Layout: ...

    def __call__(self, block: Block, /, *vectors: Any, **_: Any) -> S_co: ...  # as many vectors as it wants


class Blocks:
    """The blocks of ``source``, worked on by ``pool``."""

    def __init__(self, source: Source, pool: Pool) -> None:
        self.source = source
        self.pool = pool
        self._fit = uuid.uuid4().hex  # names what each process remembers of the passes over these blocks
        self._once: dict[object, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what this process remembered; a worker forgets when later fits need the room."""
        forget(self._fit)

    @property
    def n_blocks(self) -> int:
        return self.source.n_blocks

    @property
    def n_features(self) -> int:
        """k, the number of features that occur; parameter vectors have ``layout.size(k)`` numbers."""
        return self.source.n_features

    def sum(self, task: Pass[S], *vectors: Floats, each: Sequence[Any] | None = None) -> S:
        """Add ``task``'s results over all blocks: the same bits for any pool and any number of workers."""
        parts = subtrees(self.n_blocks, _SUBTREES_A_WORKER * self.pool.n_workers)
        items = [(part, None if each is None else each[part.start : part.stop]) for part in parts]
        totals = self.pool.map(_fold_subtree, items, self._fit, self.source, task, *vectors)
        total: S = fold(zip(parts, totals, strict=True))
        return total

    def map(
        self,
        task: Pass[Out],
        *vectors: Floats,
        ids: Sequence[int] | None = None,
        each: Sequence[Any] | None = None,
    ) -> Iterator[Out]:
        """``task``'s result for each block (or for the blocks ``ids``), in order."""
        wanted = range(self.n_blocks) if ids is None else ids
        items = [(i, None if each is None else each[i : i + 1]) for i in wanted]
        return self.pool.map(_run_one, items, self._fit, self.source, task, *vectors)

    def once(self, key: object, make: Callable[[], Out]) -> Out:
        """What ``make`` gives, made the first time that it is asked for under ``key``."""
        if key not in self._once:
            self._once[key] = make()
        result: Out = self._once[key]
        return result

    def take(self, ids: Sequence[int]) -> list[Block]:
        """The blocks themselves, in this process."""
        return [self.source.block(i) for i in ids]


def _run_one(
    item: tuple[int, Sequence[Any] | None], fit: str, source: Source, task: Pass[Out], *vectors: Floats
) -> Out:
    index, own = item
    memo = shelf(fit).memo(index)
    block = replace(memo.block(lambda: source.block(index)), memo=memo)
    result: Out = task(block, *(task.layout.gather(v, block) for v in vectors), *(own or ()))
    return result


def _fold_subtree(
    item: tuple[Subtree, Sequence[Any] | None], fit: str, source: Source, task: Pass[S], *vectors: Floats
) -> S:
    subtree, each = item
    leaves = (
        (Subtree(i, i + 1), None if each is None else each[i - subtree.start : i - subtree.start + 1])
        for i in range(subtree.start, subtree.stop)
    )
    total: S = fold((leaf, _run_one((leaf.start, own), fit, source, task, *vectors)) for leaf, own in leaves)
    return total
