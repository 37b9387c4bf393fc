"""Blocks: a data set that can be summed over.

    sum(pass, w)  =  Σ over blocks of  pass(block, w[columns of the block])      in the order of the fixed tree
    map(pass, w)  =  the pass's result for each block, in block order
    take(ids)     =  the blocks themselves

A *pass* is a picklable object with a ``layout`` that, called with a block and the block's own part of each vector,
gives that block's result. One that ``gathers_late`` gets a function for each vector instead, and calls those that it
has need of: what is remembered of a block may be all that it wants. What belongs to the rows of one block alone, and
not to the features (its part of a vector over the rows), is handed out with ``each``: one item for each block, which
comes last among the arguments of the pass and travels only to where that block is worked on.
The three verbs are written once; a pool (threads, Dask) says where the calls run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from blockdot.blocks.block import Block
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats
from blockdot.blocks.memo import forget, memo
from blockdot.blocks.tree import Pool, S, Span, fold, joined, spans
from blockdot.errors import ExecutionError, WorkersKilledError

S_co = TypeVar("S_co", covariant=True)
Out = TypeVar("Out")


# Numbers of a vector from which on adding two of them costs more than a call that ends early can make up for.
_WIDE = 1 << 17


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

    def expect(self, blocks: Sequence[int]) -> None:
        """These blocks are about to be asked for, in this order."""
        ...

    def release(self, index: int) -> None:
        """Block ``index`` is not needed any more for now."""
        ...

    def name(self, index: int) -> str:
        """Where block ``index`` is, for messages."""
        ...


class _OverSource:
    """What has the blocks of a source."""

    source: Source

    @property
    def n_blocks(self) -> int:
        return self.source.n_blocks

    @property
    def n_features(self) -> int:
        """k, the number of features that occur; parameter vectors have ``layout.size(k)`` numbers."""
        return self.source.n_features


@dataclass(frozen=True, eq=False)
class View(_OverSource):
    """The blocks of ``source``, seen in another way."""

    source: Source

    def expect(self, blocks: Sequence[int]) -> None:
        """These blocks are about to be asked for, in this order."""
        self.source.expect(blocks)

    def release(self, index: int) -> None:
        """Block ``index`` is not needed any more for now."""
        self.source.release(index)

    def name(self, index: int) -> str:
        """Where block ``index`` is, for messages."""
        return self.source.name(index)


class Pass(Protocol[S_co]):
    """What is done with one block."""

    @property
    def layout(self) -> Layout: ...

    def __call__(self, block: Block, /, *vectors: Any, **_: Any) -> S_co: ...  # as many vectors as it wants


class RowPass:
    """A pass over what belongs to the rows alone: it takes no vector over the features."""

    @property
    def layout(self) -> Layout:
        return Layout()


class Blocks(_OverSource):
    """The blocks of ``source``, worked on by ``pool``."""

    def __init__(self, source: Source, pool: Pool, name: str = "") -> None:
        self.source = source
        self.pool = pool
        self._name = name or uuid.uuid4().hex  # of what each process remembers of the passes over these blocks
        self._once: dict[object, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what this process remembered; a worker forgets when later fits need the room."""
        forget(self._name)

    def view(self, source: Source, pool: Pool | None = None) -> Blocks:
        """Other blocks made of these: what is remembered of both shares the room of one fit, and ends with it."""
        fit = self._name.partition("/")[0]
        return Blocks(source, pool or self.pool, f"{fit}/{uuid.uuid4().hex}")

    def sum(self, task: Pass[S], *vectors: Floats, each: Sequence[Any] | None = None) -> S:
        """Add ``task``'s results over all blocks: the same bits for any pool and any number of workers."""
        # each call leaves a sum as long as a vector to be added here, one after another
        is_wide = any(vector.size > _WIDE for vector in vectors)
        n_calls = self.pool.n_workers if is_wide else self.pool.n_calls
        parts = [_Part.of(span, each) for span in spans(self.n_blocks, n_calls)]
        totals = self._called(_sum_part, parts, task, vectors)
        total: S = fold((piece for pieces in totals for piece in pieces), self.n_blocks)
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
        parts = [_Part.of(Span(i, i + 1), each) for i in wanted]
        for results in self._called(_map_part, parts, task, vectors):
            yield from results

    def _called(
        self, function: Callable[..., list[Out]], parts: Sequence[_Part], task: object, vectors: Iterable[Floats]
    ) -> Iterator[list[Out]]:
        """``function`` of each part. One that killed its workers is tried again alone, block by block."""
        done, shared = 0, (self._name, self.source, task, *vectors)
        while done < len(parts):
            try:
                for result in self.pool.map(function, parts[done:], *shared):
                    yield result
                    done += 1
            except WorkersKilledError:
                yield self._one_by_one(function, parts[done], shared)
                done += 1

    def _one_by_one(self, function: Callable[..., list[Out]], part: _Part, shared: Sequence[object]) -> list[Out]:
        """Most parts that a dead worker had are innocent; the one block that is not is named."""
        results: list[Out] = []
        for leaf in part.leaves():
            try:
                (result,) = self.pool.map(function, [leaf], *shared)
            except WorkersKilledError as error:
                raise ExecutionError(
                    f"{self.source.name(leaf.span.start)} killed every worker that tried it ({error}): look at the "
                    "workers' logs; if they ran out of memory, raise memory_limit or ingest smaller blocks"
                ) from error
            results += result
        return results

    def once(self, key: object, make: Callable[[], Out]) -> Out:
        """What ``make`` gives, made the first time that it is asked for under ``key``."""
        if key not in self._once:
            self._once[key] = make()
        result: Out = self._once[key]
        return result

    def take(self, ids: Sequence[int]) -> list[Block]:
        """The blocks themselves, in this process."""
        return [self.source.block(i) for i in ids]


@dataclass(frozen=True)
class _Part:
    """Some blocks, and what belongs to each of them alone."""

    span: Span
    each: Sequence[Any] | None

    @classmethod
    def of(cls, span: Span, each: Sequence[Any] | None) -> _Part:
        return cls(span, None if each is None else each[span.start : span.stop])

    def leaves(self) -> Iterator[_Part]:
        for i, leaf in enumerate(self.span.leaves()):
            yield _Part(leaf, None if self.each is None else self.each[i : i + 1])


def _map_part(part: _Part, name: str, source: Source, task: Pass[Out], *vectors: Floats) -> list[Out]:
    return [result for _, result in _results(part, name, source, task, vectors)]


def _sum_part(part: _Part, name: str, source: Source, task: Pass[S], *vectors: Floats) -> list[tuple[Span, S]]:
    """What is left of the sums, settled here, where other calls do the same at the same time."""
    totals = joined(_results(part, name, source, task, vectors), source.n_blocks)
    return [(span, total.settled() if hasattr(total, "settled") else total) for span, total in totals]


def _results(
    part: _Part, name: str, source: Source, task: Pass[Out], vectors: Sequence[Floats]
) -> Iterator[tuple[Span, Out]]:
    source.expect(range(part.span.start, part.span.stop))
    for leaf in part.leaves():
        index = leaf.span.start
        remembered = memo(name, index)
        block = replace(remembered.block(partial(source.block, index)), memo=remembered)
        own: Iterable[Any] = (partial(task.layout.gather, vector, block) for vector in vectors)
        if not getattr(task, "gathers_late", False):
            own = (gather() for gather in own)
        result = task(block, *own, *(leaf.each or ()))
        source.release(index)
        yield leaf.span, result
