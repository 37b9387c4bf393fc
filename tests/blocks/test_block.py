"""Blocks: how features are numbered, and tiles."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.block import Block
from blockdot.errors import DataError


def dense(block, width):
    out = np.zeros((block.n_rows, width))
    out[:, block.columns] = block.X.to_scipy().toarray()[:, : len(block.columns)]
    return out


@st.composite
def rows(draw):
    """CSR rows in the space of ids, not sorted; ids lie close together or far apart."""
    n, d = draw(st.integers(0, 25)), draw(st.integers(1, 15))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1, 3, 10**9, 2**57]))
    table = np.sort(rng.choice(4 * d, size=d, replace=False)).astype(np.int64) * spread
    counts = rng.integers(0, d + 1, n) * (rng.random(n) < 0.8)
    ids = np.concatenate([np.empty(0, np.int64), *(rng.permutation(table)[:c] for c in counts)])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    values = draw(st.sampled_from([None, "ones", "some"]))
    if values is not None:
        values = np.ones(len(ids)) if values == "ones" else rng.integers(2, 9, len(ids)).astype(np.float64)
    return indptr, ids, values


@settings(deadline=None, max_examples=200)
@given(rows(), st.sampled_from([np.float32, np.float64]))
def test_features_are_numbered_by_frequency_then_id(case, dtype):
    indptr, ids, values = case
    before = [None if array is None else array.copy() for array in case]
    for array in case:
        if array is not None:
            array.flags.writeable = False
    block = Block.from_rows(indptr, ids, values, dtype=dtype)
    for array, copy in zip(case, before, strict=True):
        assert copy is None or np.array_equal(array, copy)
    occurring, counts = np.unique(ids, return_counts=True)
    expected = sorted(zip(-counts, occurring, strict=True))
    assert block.columns.tolist() == [int(feature) for _, feature in expected]
    assert block.columns.dtype == np.int64
    assert (block.X.indptr.dtype, block.X.indices.dtype) == (np.int32, np.uint32)
    assert (block.n_rows, block.X.nnz, block.X.n_columns) == (len(indptr) - 1, len(ids), len(occurring))
    for i in range(block.n_rows):
        local = block.X.indices[block.X.indptr[i] : block.X.indptr[i + 1]].astype(np.int64)
        assert np.all(np.diff(local) > 0), "the entries of a row ascend"
        part = slice(indptr[i], indptr[i + 1])
        given_ones = np.ones(indptr[i + 1] - indptr[i]) if values is None else values[part]
        stored = np.ones(len(local)) if block.X.values is None else block.X.values[block.X.indptr[i] :][: len(local)]
        found = dict(zip(block.columns[local].tolist(), stored.tolist(), strict=True))
        assert found == dict(zip(ids[part].tolist(), given_ones.tolist(), strict=True))


@settings(deadline=None, max_examples=100)
@given(rows(), st.integers(0, 2**32 - 1))
def test_the_same_rows_give_the_same_bytes(case, seed):
    indptr, ids, values = case
    first = Block.from_rows(indptr, ids, values)
    rng = np.random.default_rng(seed)
    order = np.concatenate([np.empty(0, np.int64), *(a + rng.permutation(b - a) for a, b in pairwise(indptr))])
    second = Block.from_rows(indptr, ids[order], None if values is None else values[order])
    for name in ("indptr", "indices", "values"):
        a, b = getattr(first.X, name), getattr(second.X, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and a.tobytes() == b.tobytes())
    assert first.columns.tobytes() == second.columns.tobytes()


def test_values_that_are_all_one_are_absent():
    indptr, ids = np.array([0, 2, 3]), np.array([4, 9, 4])
    assert Block.from_rows(indptr, ids, np.ones(3)).X.values is None
    kept = Block.from_rows(indptr, ids, np.array([1.0, 1.0, 2.0])).X.values
    assert kept is not None
    assert kept.dtype == np.float32


def test_an_explicit_zero_is_kept():
    block = Block.from_rows(np.array([0, 1]), np.array([3]), np.array([0.0]))
    assert block.X.nnz == 1
    assert block.columns.tolist() == [3]


@pytest.mark.parametrize("far", [1, 10**15])
def test_a_negative_id_is_refused(far):
    with pytest.raises(DataError, match="-5 is negative"):
        Block.from_rows(np.array([0, 2]), np.array([far, -5]), None)


def test_a_block_without_entries():
    block = Block.from_rows(np.zeros(4, np.int64), np.empty(0, np.int64), np.empty(0))
    assert (block.n_rows, block.X.nnz, len(block.columns)) == (3, 0, 0)
    assert block.X.dot(np.empty(0)).tolist() == [0.0, 0.0, 0.0]
    assert block.X.n_columns == 0


def test_weight_is_the_sum_of_weights_or_the_number_of_rows():
    indptr, ids = np.array([0, 1, 2]), np.array([0, 1])
    assert Block.from_rows(indptr, ids, None).weight == 2.0
    assert Block.from_rows(indptr, ids, None, sample_weight=np.array([0.5, 3.0])).weight == 3.5


@pytest.mark.parametrize("size", [1, 3, 7, 10, 100])
def test_tiles_are_the_rows_in_order_without_a_copy(size):
    rng = np.random.default_rng(3)
    present = rng.random((10, 6)) < 0.5
    indptr, ids = np.concatenate([[0], np.cumsum(present.sum(axis=1))]), np.nonzero(present)[1]
    y, weight, offset = rng.normal(size=(3, 10))
    block = Block.from_rows(indptr, ids, rng.normal(size=len(ids)), y=y, sample_weight=weight, offset=offset)
    tiles = list(block.tiles(size))
    assert sum(tile.n_rows for tile in tiles) == 10
    assert all(tile.n_rows <= size for tile in tiles)
    for name, whole in (("y", y), ("sample_weight", weight), ("offset", offset)):
        assert np.array_equal(np.concatenate([getattr(tile, name) for tile in tiles]), whole)
        assert all(np.shares_memory(getattr(tile, name), whole) for tile in tiles)
    assert np.array_equal(np.vstack([dense(tile, 6) for tile in tiles]), dense(block, 6))
    assert all(np.shares_memory(tile.X.values, block.X.values) for tile in tiles)
    none = Block.from_rows(indptr, ids, None)
    assert all(tile.y is None and tile.sample_weight is None and tile.offset is None for tile in none.tiles(size))
