"""Tables and Dask collections that are handed in: their columns by name, their row chunks one after another.

    frame, "label"  →  the other columns, that column           Dask array or frame  →  chunks, each computed by itself

Chunks may be dense, scipy.sparse, sparse.COO or pandas frames, and their sizes need not be known. Without a client a
chunk is computed by the scheduler that Dask would take, and nothing of it is kept: memory is that of one chunk and of
what it is made from, and a collection whose chunks are all made from all others (a shuffle, an array cut anew) is made
again for each of them: persist it, or give a client. With a client all chunks are one graph on its workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from blockdot.blocks.soundness import check_parts
from blockdot.errors import DataError, ExecutionError

Out = TypeVar("Out")


def with_columns(X: Any, *others: Any) -> tuple[Any, ...]:
    """X without the columns that the ``others`` name, and the others, columns of X in the place of their names."""
    names = named_columns(X, *others)
    if not names:
        return (X, *others)
    kept = [column for column in X.columns if column not in names]
    return (X[kept], *(X[name] if isinstance(name, str) else name for name in others))


def named_columns(X: Any, *others: Any) -> list[str]:
    """The names among ``others``; DataError for one that is no column of X."""
    names = [name for name in others if isinstance(name, str)]
    if names and not hasattr(X, "columns"):
        raise DataError(f"{names[0]!r} names a column, and {type(X).__name__} has no named columns: hand the values in")
    known = [str(column) for column in X.columns] if names else []
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(f"there is no column {missing[0]!r}; the columns are {', '.join(known[:20])}")
    return names


def is_lazy(item: object) -> bool:
    """Whether it is a Dask collection."""
    return callable(getattr(item, "__dask_graph__", None)) and item.__dask_graph__() is not None  # type: ignore[attr-defined]


def gathered(*columns: Any, client: Any = None) -> tuple[Any, ...]:
    """Each Dask collection computed whole, its chunks stacked; what is none is given back as it is.

    With a ``client`` its workers compute. Raises DataError for a sparse matrix with parts that do not fit: whoever
    works on it next would crash.
    """
    for item in columns:
        check_parts(item)
    return tuple(
        _stacked(list(_Chunks.of(item).each(_first, client, here=True))) if is_lazy(item) else item for item in columns
    )


@dataclass(frozen=True, eq=False)
class LazyRows:
    """A Dask array or frame, and what goes with its rows: in its own columns, in chunks like its chunks, or held here.

    Attributes
    ----------
    held
        For each of the others what is in this process's memory: it was handed in so, or its chunks are not those of X,
        and it was computed whole. None for the others, which come with the chunks.
    """

    chunks: _Chunks
    slots: tuple[str | int | None, ...]
    """How each of the others is found in a chunk: a column of X, a place among the parts of the chunk, or nowhere."""
    held: tuple[Any, ...]

    @classmethod
    def of(cls, X: Any, *others: Any, client: Any = None) -> LazyRows:
        """The rows of X. DataError for a name that is no column of X, and for a collection without rows."""
        named_columns(X, *others)
        sizes = _sizes(X)
        parts, held, slots = [X], [], []
        for item in others:
            together = is_lazy(item) and _fit(sizes, _sizes(item))
            slots.append(item if isinstance(item, str) else len(parts) if together else None)
            held.append(None if slots[-1] is not None else gathered(item, client=client)[0])
            if together:
                parts.append(item)
        return cls(_Chunks.of(*parts), tuple(slots), tuple(held))

    def each(self, function: Callable[..., Out], client: Any = None, *, here: bool = False) -> Iterator[Out]:
        """``function(X, *others)`` of each chunk in order, None for those of the others that are held.

        Without a client it runs here, on one chunk at a time, otherwise on the client's workers, where the chunks are;
        with ``here`` the chunks are computed there, and come here one at a time. DataError, with the number of the
        chunk, for what is wrong in it.
        """
        return self.chunks.each(_OnRows(function, self.slots), client, here=here)


@dataclass(frozen=True, eq=False)
class _Chunks:
    """The row chunks of one or more collections with the same chunks: a graph, and its keys for each chunk."""

    graph: dict[Any, Any]
    keys: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, *collections: Any) -> _Chunks:
        graph: dict[Any, Any] = {}
        keys = []
        for item in collections:  # nothing is fused, so that what they have in common is made once for each chunk
            delayed = np.ravel(_in_rows(item).to_delayed(optimize_graph=False))
            graph.update(delayed[0].dask if len(delayed) else {})
            keys.append([part.key for part in delayed])
        return cls(graph, tuple(zip(*keys, strict=True)))

    def each(self, function: Callable[..., Out], client: Any = None, *, here: bool = False) -> Iterator[Out]:
        """``function(*parts)`` of each chunk, in order."""
        run = self._here if client is None or here else self._there
        return run(function, client)

    def _here(self, function: Callable[..., Out], client: Any) -> Iterator[Out]:
        import dask
        from dask.delayed import Delayed
        from dask.optimization import cull

        for i, keys in enumerate(self.keys):
            graph, _ = cull(self.graph, list(keys))
            parts = dask.compute(*(Delayed(key, graph) for key in keys), scheduler=client, optimize_graph=False)
            yield _called(function, i, *parts)

    def _there(self, function: Callable[..., Out], client: Any) -> Iterator[Out]:
        from distributed import KilledWorker

        futures = deque(self._begun(function, client, range(len(self.keys))))
        killed: set[int] = set()
        try:
            for i in range(len(self.keys)):
                if i not in killed and isinstance(futures[0].exception(), KilledWorker):  # waits
                    lost = [isinstance(future.exception(), KilledWorker) for future in futures]
                    killed.update(i + j for j, gone in enumerate(lost) if gone)
                    client.cancel([future for future, gone in zip(futures, lost, strict=True) if gone])
                future = futures.popleft()
                result: Out = self._alone(function, client, i) if i in killed else future.result()
                yield result
        finally:
            client.cancel(list(futures))

    def _begun(self, function: Callable[..., Any], client: Any, chunks: Sequence[int]) -> list[Any]:
        """The calls of ``chunks`` on the workers, by keys of their own: what became of earlier calls is not asked."""
        from dask import delayed
        from dask.delayed import Delayed

        call, shared = delayed(_called, pure=False), delayed(function, pure=False)
        tasks = [call(shared, i, *(Delayed(key, self.graph) for key in self.keys[i])) for i in chunks]
        begun: list[Any] = client.compute(tasks, optimize_graph=False)
        return begun

    def _alone(self, function: Callable[..., Any], client: Any, index: int) -> Any:
        """A chunk that died with its worker, once more: it may have had the bad luck to lie beside the guilty one."""
        from distributed import KilledWorker

        (future,) = self._begun(function, client, [index])
        try:
            return future.result()
        except KilledWorker as error:
            raise ExecutionError(
                f"chunk {index} killed every worker that tried it ({error}): look at the workers' logs; if they ran "
                "out of memory, hand in smaller chunks"
            ) from error


@dataclass(frozen=True)
class _OnRows:
    """``function`` of X and the others, of the parts that a chunk consists of."""

    function: Callable[..., Any]
    slots: tuple[str | int | None, ...]

    def __call__(self, X: Any, *parts: Any) -> Any:
        n = X.shape[0]
        for part in parts:
            if part.shape[0] != n:
                raise DataError(f"X has {n} rows and what goes with them {part.shape[0]}: give both the same chunks")
        others = [parts[slot - 1] if isinstance(slot, int) else slot for slot in self.slots]
        return self.function(*with_columns(X, *others))


def _called(function: Callable[..., Out], index: int, *parts: Any) -> Out:
    """``function(*parts)``; what it says about the rows is said of chunk ``index``."""
    try:
        return function(*(_plain(part) for part in parts))
    except (ValueError, TypeError) as error:
        raise DataError(f"chunk {index}: {error}") from error


def _sizes(item: Any) -> tuple[float, ...]:
    """The rows of each chunk, NaN where they are not known."""
    chunks, partitions = getattr(item, "chunks", None), getattr(item, "npartitions", None)
    if isinstance(chunks, tuple) and chunks:  # a Delayed has every attribute
        return tuple(float(size) for size in chunks[0])
    if isinstance(partitions, int) and hasattr(item, "ndim"):  # a bag has no columns
        return (np.nan,) * partitions
    raise DataError(f"{type(item).__name__} has no rows: needed a Dask array, or a Dask frame or a column of one")


def _fit(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether two collections have the same chunks, as far as their sizes are known."""
    return len(ours) == len(theirs) and all(
        a == b or np.isnan(a) or np.isnan(b) for a, b in zip(ours, theirs, strict=True)
    )


def _in_rows(item: Any) -> Any:
    """The collection in chunks of whole rows; a frame with what its query needs of its sources."""
    if hasattr(item, "optimize"):
        return item.optimize(fuse=False)
    return item.rechunk({1: -1}) if item.ndim == 2 and item.numblocks[1] > 1 else item


def _first(part: Any) -> Any:
    return part


def _stacked(parts: list[Any]) -> Any:
    if any(sp.issparse(part) for part in parts):
        return sp.vstack([sp.csr_array(part) for part in parts], format="csr")
    if hasattr(parts[0], "columns"):
        import pandas as pd

        return pd.concat(parts)
    return np.concatenate([np.asarray(part) for part in parts])


def _plain(part: Any) -> Any:
    """A chunk of sparse.COO as scipy has it."""
    part = part.to_scipy_sparse() if hasattr(part, "to_scipy_sparse") else part
    check_parts(part)
    return part
