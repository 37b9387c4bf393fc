"""Cosine similarities of all pairs of columns, or of rows, of at least a threshold: exactly or by sampling.

    cos(aⱼ, aₖ) = ⟨aⱼ, aₖ⟩ / (‖aⱼ‖ ‖aₖ‖),      0 for a column of zeros

They are the inner products of columns scaled to norm 1 (gram.py). By sampling (sampling.py) those are made from a
thinned copy of the data, with far fewer pairs in each row; the copy lies where the data lie, in memory or as a store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from blockdot.blocks.matrix import Floats
from blockdot.linalg import gram
from blockdot.linalg.derived import Thin, derived
from blockdot.linalg.passes import LargestInRows
from blockdot.linalg.rows import Rows
from blockdot.linalg.sampling import Sampling, probabilities
from blockdot.linalg.view import View


def unit_columns(A: View) -> View:
    """A with each column scaled to norm 1."""
    return A.scaled(None, _inverse(np.sqrt(A.column_squares())))


def unit_rows(A: View) -> View:
    """A with each row scaled to norm 1."""
    return A.scaled(_inverse(np.sqrt(A.row_squares())), None)


def of_columns(A: View, threshold: float, error: float | None, seed: int) -> gram.Pairs:
    """The pairs of columns whose cosine is at least ``threshold`` in size, as positions of features that occur."""
    A.refuse_centred("similarities above a threshold")
    if error is None:
        return gram.of_column_pairs(unit_columns(A), None, threshold)
    norm = np.sqrt(replace(A, c=None).column_squares())
    p = probabilities(norm, A.rows.largest(A.r), error)
    each = list(zip(A.rows.starts[:-1].tolist(), A.rows.cut(None), strict=True))
    with _thinned(A.rows, Sampling(seed, by_row=False), p, each=each) as rows:
        known = A.rows.data.table.find(rows.data.table.ids)
        thin = replace(A, rows=rows, c=(_inverse(norm * p) * _sign(A.c))[known])
        found = gram.of_column_pairs(thin, None, threshold)
    a, b = known[found.a], known[found.b]
    return _with_ones(gram.Pairs(np.minimum(a, b), np.maximum(a, b), found.values), norm * _sign(A.c))


def of_rows(A: View, threshold: float, error: float | None, seed: int) -> gram.Pairs:
    """The pairs of rows whose cosine is at least ``threshold`` in size."""
    A.refuse_centred("similarities above a threshold")
    if error is None:
        return gram.of_row_pairs(unit_rows(A), threshold)
    norm = np.sqrt(replace(A, r=None).row_squares())
    c = np.ones(A.rows.n_occurring) if A.c is None else A.c
    p = probabilities(norm, A.rows.stacked(A.rows.map(LargestInRows(), c), 1)[:, 0], error)
    each = list(zip(A.rows.starts[:-1].tolist(), A.rows.cut(p), strict=True))
    with _thinned(A.rows, Sampling(seed, by_row=True), each=each) as rows:
        known = A.rows.data.table.find(rows.data.table.ids)
        thin = replace(A, rows=rows, r=_inverse(norm * p) * _sign(A.r), c=c[known])
        return _with_ones(gram.of_row_pairs(thin, threshold), norm * _sign(A.r))


@contextmanager
def _thinned(rows: Rows, sampling: Sampling, *vectors: Floats, each: Sequence[Any]) -> Iterator[Rows]:
    """The rows with the entries that are kept, for a while."""
    task, n_features = Thin(sampling), rows.data.n_features
    if rows.data.path is None and rows.pool.shares_memory:
        thin = derived(rows, task, *vectors, each=each, n_features=n_features, out=None)
        yield replace(rows, data=thin)
        return
    with TemporaryDirectory(prefix="blockdot-") as directory:
        out = Path(directory) / "thinned.blocks"
        thin = derived(rows, task, *vectors, each=each, n_features=n_features, out=out)
        yield replace(rows, data=thin)


def _with_ones(found: gram.Pairs, norm: Floats) -> gram.Pairs:
    """A column has the cosine 1 with itself; the sampled sum of its squares says something else."""
    off, same = found.a != found.b, np.flatnonzero(norm)
    return gram.Pairs.joined(
        [gram.Pairs(found.a[off], found.b[off], found.values[off]), gram.Pairs(same, same, np.ones(len(same)))]
    )


def _inverse(norm: Floats) -> Floats:
    return np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0)


def _sign(factor: Floats | None) -> Floats:
    return np.ones(1) if factor is None else np.sign(factor)
