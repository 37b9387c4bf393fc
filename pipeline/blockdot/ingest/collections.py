"""Tables and Dask collections that are handed in: their columns by name, their partitions put together in order.

    frame, "label"  →  the other columns, that column           Dask array or frame  →  one matrix, its chunks in order

A collection is computed where its own client or scheduler computes; what comes back is cut into blocks as any matrix
is, so the answer has the bits of the same data handed in as one matrix. Chunk sizes need not be known, and chunks may
be dense, scipy.sparse, or sparse.COO. Data that do not fit the memory of this process are what block stores are for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from blockdot.blocks.soundness import check_parts
from blockdot.errors import DataError


def with_columns(X: Any, *others: Any) -> tuple[Any, ...]:
    """X without the columns that the ``others`` name, and the others, columns of X in the place of their names."""
    names = [name for name in others if isinstance(name, str)]
    if not names:
        return (X, *others)
    if not hasattr(X, "columns"):
        raise DataError(f"{names[0]!r} names a column, and {type(X).__name__} has no named columns: hand the values in")
    known = [str(column) for column in X.columns]
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(f"there is no column {missing[0]!r}; the columns are {', '.join(known[:20])}")
    kept = [column for column in X.columns if column not in names]
    return (X[kept], *(X[name] if isinstance(name, str) else name for name in others))


def gathered(*collections: Any) -> tuple[Any, ...]:
    """Each Dask collection computed, and its partitions stacked; what is none is given back as it is.

    Raises DataError for a sparse matrix with parts that do not fit: whoever works on it next would crash.
    """
    for item in collections:
        check_parts(item)
    lazy = [item for item in collections if _is_dask(item)]
    if not lazy:
        return collections
    import dask

    done = iter(dask.compute(*[_partitions(item) for item in lazy]))
    return tuple(_stacked(next(done)) if _is_dask(item) else item for item in collections)


def _is_dask(item: object) -> bool:
    return callable(getattr(item, "__dask_graph__", None)) and item.__dask_graph__() is not None  # type: ignore[attr-defined]


def _partitions(item: Any) -> list[Any]:
    """The row partitions of an array, a frame, or a column, in order."""
    if hasattr(item, "rechunk") and item.ndim == 2 and item.numblocks[1] > 1:
        item = item.rechunk({1: -1})
    return list(np.ravel(item.to_delayed()))


def _stacked(parts: list[Any]) -> Any:
    parts = [_plain(part) for part in parts]
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
