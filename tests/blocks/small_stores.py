"""Small data sets to store, what a directory holds, and whether two data sets are the same."""

import numpy as np

from blockdot.blocks.dataset import Dataset


def example(seed=7, n=40, d=12, kind="float32", block_rows=16, full=True, labels=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype("float64" if kind == "float64" else "float32") * (rng.random((n, d)) < 0.3)
    if kind == "absent":
        X = (X != 0).astype(np.float32)
    extra = {"sample_weight": rng.random(n), "offset": rng.normal(size=n)} if full else {}
    y = rng.integers(0, 2, n if labels is None else (n, labels)) if full else None
    return Dataset.from_arrays(X, y, **extra, block_rows=block_rows)


def content(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def names_beside(path):
    return sorted(p.name for p in path.parent.iterdir())


def assert_same_array(found, expected):
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def assert_same_data(found, expected):
    assert found.shape == expected.shape
    for name in ("nnz", "labels", "n_labels", "has_y", "weight", "n_blocks", "rows_read"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("ids", "count", "total", "squares"):
        assert_same_array(getattr(found.table, name), getattr(expected.table, name))
    for i in range(expected.n_blocks):
        a, b = found.source.block(i), expected.source.block(i)
        for name in ("columns", "positions", "y", "sample_weight", "offset", "row_id"):
            assert_same_array(getattr(a, name), getattr(b, name))
        for name in ("indptr", "indices", "values"):
            assert_same_array(getattr(a.X, name), getattr(b.X, name))
