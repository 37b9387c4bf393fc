"""What is handed to an estimator, checked as scikit-learn checks it, becomes a data set.

    arrays, frames            →  blocks in memory; for a cluster, blocks in a temporary store, without a copy in memory
    Dask arrays and frames    →  chunk by chunk into a temporary store, cut as the same rows in one array would be

So the model has the same bits whatever its rows were handed in as.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight, _check_y, validate_data

from blockdot.blocks.arrays import Arrays, Columns
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.matrix import Floats
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError
from blockdot.ingest.collections import LazyRows, gathered, is_lazy, with_columns
from blockdot.ingest.spool import Entered, HeldPart, Piece, Spool, spooling

_FEATURES = ("n_features_in_", "feature_names_in_")


@contextmanager
def taken_in(
    estimator: Any, pool: Pool, X: Any, y: Any, sample_weight: Any, offset: Any, *, reset: bool = True
) -> Iterator[Dataset]:
    """The rows as a data set, until the end of the fit. The estimator learns its classes from them, and its features.

    Without ``reset`` it knows its features already, and the rows must have them.
    """
    if is_lazy(X):
        with spooling(pool, estimator.client) as spool:
            yield _spooled(estimator, spool, LazyRows.of(X, y, sample_weight, offset, client=estimator.client), reset)
        return
    X, y, sample_weight, offset = gathered(*with_columns(X, y, sample_weight, offset), client=estimator.client)
    matrix, target = validated(estimator, X, y, reset=reset)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, matrix, dtype=np.float64)
    target, names = _encoded(estimator, target)
    if pool.shares_memory:
        yield replace(Dataset.from_arrays(matrix, target, sample_weight, offset), classes=names)
        return
    rows = Arrays.checked(matrix, Columns.checked(matrix.shape[0], target, sample_weight, offset))
    with spooling(ThreadPool()) as spool:
        yield spool.dataset([HeldPart(rows, matrix.shape[1])], Columns(), [None], names)


def validated(estimator: Any, X: Any, y: Any = "no_validation", *, reset: bool = True) -> Any:
    """X, or X and y, as scikit-learn checks them; ``reset`` sets the estimator's features."""
    return validate_data(
        estimator,
        X,
        y,
        reset=reset,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        **({} if isinstance(y, str) else {"y_numeric": estimator._numeric, "multi_output": estimator._multi_label}),
    )


@contextmanager
def rows_of(estimator: Any, pool: Pool, X: Any, offset: Any) -> Iterator[Dataset]:
    """The rows of a Dask collection, with the features that the estimator was fitted to, as a data set."""
    rows = LazyRows.of(X, None, None, offset, client=estimator.client)
    with spooling(pool, estimator.client) as spool:
        pieces = spool.pieces(rows, _Door(type(estimator), _learnt(estimator)))
        held = Columns.checked(sum(piece.n_rows for piece in pieces), offset=rows.held[2])
        yield spool.dataset(pieces, held, [None] * len(pieces), None)


def _encoded(estimator: Any, target: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Targets of all rows as numbers, and the names of the classes that the numbers stand for, where they are text."""
    places, classes = estimator._numbered(target)
    numbers, names = estimator._named(classes, places.shape[1] if places.ndim == 2 else None)
    return places if numbers is None else numbers[places], names


def _spooled(estimator: Any, spool: Spool, rows: LazyRows, reset: bool) -> Dataset:
    y, sample_weight, offset = rows.held
    if y is None and rows.slots[0] is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    pieces = spool.pieces(rows, _Door(type(estimator), None if reset else _learnt(estimator)))
    if reset:
        _learn_features(estimator, pieces[0])
    n = sum(piece.n_rows for piece in pieces)
    numbers: list[Floats | None] = [None] * len(pieces)
    if y is not None:
        y = _check_y(y, multi_output=estimator._multi_label, y_numeric=estimator._numeric, estimator=estimator)
        y, names = _encoded(estimator, y)
    else:
        names, numbers = _classes_of(estimator, pieces)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, np.broadcast_to(0.0, (n, 1)), dtype=np.float64)
    return spool.dataset(pieces, Columns.checked(n, y, sample_weight, offset), numbers, names)


def _learnt(estimator: Any) -> dict[str, Any]:
    return {name: getattr(estimator, name, None) for name in _FEATURES}


def _learn_features(estimator: Any, piece: Piece) -> None:
    estimator.n_features_in_ = piece.n_features
    if piece.names is not None:
        estimator.feature_names_in_ = np.asarray(piece.names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def _classes_of(estimator: Any, pieces: list[Piece]) -> tuple[tuple[str, ...] | None, list[Floats | None]]:
    """The names of the classes of all pieces, and for each piece the numbers that stand for its own."""
    found = [piece.classes for piece in pieces if piece.classes is not None]
    if not found:
        _, names = estimator._named(None, pieces[0].n_labels)
        return names, [None] * len(pieces)
    try:
        classes = np.unique(np.concatenate(found))
    except TypeError as error:
        raise DataError(f"y has labels of several types: {error}; needed all text, or all numbers") from None
    numbers, names = estimator._named(classes, None)
    return names, [numbers[np.searchsorted(classes, labels)] for labels in found]


@dataclass(frozen=True)
class _Door:
    """A chunk of rows, as an estimator of that ``kind`` takes it, or one that has ``learnt`` its features."""

    kind: type[Any]
    learnt: dict[str, Any] | None = None

    def __call__(self, X: Any, y: Any, sample_weight: Any, offset: Any) -> Entered:
        estimator = self.kind()
        for name, value in (self.learnt or {}).items():
            if value is not None:
                setattr(estimator, name, value)
        reset = self.learnt is None
        with _row_named(X, y):
            found = validated(estimator, X, *(() if y is None else (y,)), reset=reset)
        matrix, target = (found, None) if y is None else found
        places, classes = (None, None) if target is None else estimator._numbered(target)
        names = getattr(estimator, "feature_names_in_", None)
        return Entered(matrix, places, sample_weight, offset, classes, None if names is None else tuple(names))


@contextmanager
def _row_named(*arrays: Any) -> Iterator[None]:
    """Say of an error which row has the first number that is none."""
    try:
        yield
    except ValueError as error:
        row = next((row for array in arrays if array is not None and (row := _strange_row(array)) is not None), None)
        raise ValueError(str(error) if row is None else f"row {row}: {error}") from error


def _strange_row(array: Any) -> int | None:
    """The first row with an entry that is no finite number; None where there is none, or that cannot be said."""
    if hasattr(array, "tocoo"):
        entries = array.tocoo()
        rows = entries.coords[0][~np.isfinite(entries.data)]
        return int(rows.min()) if rows.size else None
    try:
        numbers = np.asarray(array, np.float64)
    except (ValueError, TypeError):  # text
        return None
    rows = np.flatnonzero(~np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)) if numbers.ndim else numbers[:0]
    return int(rows[0]) if rows.size else None
