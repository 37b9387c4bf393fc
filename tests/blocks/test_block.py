"""Blocks: how features are numbered, and tiles."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.numbering import _distinct
from blockdot.errors import DataError


def dense(block, width):
    out = np.zeros((block.n_rows, width))
    out[:, block.columns] = block.X.to_scipy().toarray()[:, : len(block.columns)]
    return out


@st.composite
def rows(draw):
    """CSR rows in the space of ids, not sorted: few, or enough for dense columns; some are longer than 48 entries.

    Ids lie close together or far apart. A column that has values has values other than 1.
    """
    n, d = draw(st.integers(0, 25) | st.integers(60, 90)), draw(st.integers(1, 15) | st.just(70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1, 3, 10**9, 2**54]))
    table = np.sort(rng.choice(4 * d, size=d, replace=False)).astype(np.int64) * spread
    share = rng.choice([0.05, 0.5, 0.6, 0.9, 1.0], d)
    chosen = [rng.permutation(np.flatnonzero(rng.random(d) < share * (rng.random() < 0.9))) for _ in range(n)]
    columns = np.concatenate([np.empty(0, np.int64), *chosen])
    indptr = np.concatenate([[0], np.cumsum([len(c) for c in chosen], dtype=np.int64)])
    has_values = {"none": share < 0, "some": rng.random(d) < 0.5, "frequent": share > 0.5}
    kind = draw(st.sampled_from(["absent", *has_values]))
    if kind == "absent":
        return indptr, table[columns], None
    return indptr, table[columns], np.where(has_values[kind][columns], rng.integers(2, 9, len(columns)), 1.0)


@settings(max_examples=200)
@given(rows(), st.sampled_from([np.float32, np.float64]))
def test_dense_columns_come_first_then_the_most_frequent_then_the_lowest_id(case, dtype):
    indptr, ids, values = case
    before = [None if array is None else array.copy() for array in case]
    for array in case:
        if array is not None:
            array.flags.writeable = False
    block = Block.from_rows(indptr, ids, values, dtype=dtype)
    for array, copy in zip(case, before, strict=True):
        assert copy is None or np.array_equal(array, copy)
    n, given_values = len(indptr) - 1, np.ones(len(ids)) if values is None else values
    mixed = set(ids[given_values != 1].tolist())
    occurring = [(int(i), int(c)) for i, c in zip(*np.unique(ids, return_counts=True), strict=True)]
    full = {i for i, count in occurring if n >= 64 and 2 * count > n and i in mixed}
    expected = sorted(occurring, key=lambda pair: (pair[0] not in full, -pair[1], pair[0]))
    assert block.columns.tolist() == [feature for feature, _ in expected]
    assert block.X.counts().tolist() == [count for _, count in expected]
    assert block.X.n_dense == len(full)
    assert (block.columns.dtype, block.X.indptr.dtype, block.X.indices.dtype) == (np.int64, np.int32, np.uint32)
    assert all(array is None or array.dtype == dtype for array in (block.X.values, block.X.dense))
    assert (block.X.values is None) == (mixed <= full)
    for a, b in pairwise(block.X.indptr):
        assert np.all(np.diff(block.X.indices[a:b].astype(np.int64)) > 0), "the entries of a row ascend"
    place = {feature: i for i, (feature, _) in enumerate(expected)}
    same = np.zeros((n, len(occurring)))
    same[np.repeat(np.arange(n), np.diff(indptr)), [place[i] for i in ids.tolist()]] = given_values
    assert np.array_equal(block.X.to_scipy().toarray(), same)


@settings(max_examples=100)
@given(rows(), st.integers(0, 2**32 - 1))
def test_the_same_rows_give_the_same_bytes(case, seed):
    indptr, ids, values = case
    first = Block.from_rows(indptr, ids, values)
    rng = np.random.default_rng(seed)
    order = np.concatenate([np.empty(0, np.int64), *(a + rng.permutation(b - a) for a, b in pairwise(indptr))])
    second = Block.from_rows(indptr, ids[order], None if values is None else values[order])
    for name in ("indptr", "indices", "values", "dense"):
        a, b = getattr(first.X, name), getattr(second.X, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and a.tobytes() == b.tobytes())
    assert first.columns.tobytes() == second.columns.tobytes()


@pytest.mark.parametrize(
    ("n", "count", "value", "n_dense"), [(64, 33, 2, 1), (64, 32, 2, 0), (64, 64, 1, 0), (63, 63, 2, 0), (65, 33, 0, 0)]
)
def test_when_a_column_is_dense(n, count, value, n_dense):
    """In at least 64 rows, in more than half of them, with a value other than 1 (0 too) in one of them."""
    indptr = np.concatenate([np.arange(count), np.full(n - count + 1, count)])
    block = Block.from_rows(indptr, np.full(count, 7), np.append(np.ones(count - 1), value))
    assert block.X.n_dense == n_dense
    assert block.columns.tolist() == [7]


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


@pytest.mark.parametrize("n", [63, 65])
def test_a_column_with_an_explicit_zero_is_never_dense(n):
    """In a dense column the entry could not be told from an absent one, and counts would depend on the block's size."""
    X = Block.from_rows(np.arange(n + 1), np.full(n, 7), np.append(np.full(n - 1, 2.0), 0.0)).X
    assert X.dense is None
    assert (X.nnz, X.counts().tolist()) == (n, [n])


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


@given(st.lists(st.integers(0, 2**62) | st.integers(0, 3) | st.integers(0, 2**20).map(lambda i: i << 40)))
def test_ids_are_told_apart_as_sorting_does(ids):
    array = np.array(ids, np.int64)
    for found, expected in zip(_distinct(array), np.unique(array, return_inverse=True), strict=True):
        assert np.array_equal(found, expected)


def test_a_block_in_the_order_of_the_data_set_takes_vectors_as_they_are():
    X = np.array([[1.0, 2.0, 3.0], [0.0, 2.0, 3.0], [0.0, 0.0, 3.0]])
    ends, ids = np.array([0, 3, 5, 6]), np.array([0, 1, 2, 1, 2, 2])
    block = Block.from_rows(ends, ids, X[X != 0])
    assert block.columns.tolist() == [2, 1, 0]
    layout, w = Layout(2, 1), np.arange(7.0)
    here = block.placed(np.arange(3), 3)
    assert here.in_order
    assert layout.gather(w, here) is w
    read_only = w.copy()
    read_only.flags.writeable = False
    assert layout.gather(read_only, here).flags.writeable
    for places, of in (([2, 1, 0], 3), ([0, 1, 2], 4)):
        there = here.placed(np.array(places), of)
        assert not there.in_order
        own = layout.gather(np.arange(2.0 * of + 1.0), there)
        assert own.tolist() == [*np.ravel([(2.0 * p, 2.0 * p + 1.0) for p in places]), 2.0 * of]
    product = np.arange(7.0)
    assert FeatureSum.of(here, product, layout).dense() is product
    assert FeatureSum.of(block.placed(np.array([2, 1, 0]), 3), product, layout).dense().tolist() == [
        4,
        5,
        2,
        3,
        0,
        1,
        6,
    ]
