"""Batches: a permutation by seed, epoch and block, rows over their own columns, parameters taken out and put back."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks.batch_kernel import shuffled
from blockdot.blocks.batches import Dealing, Table, cut
from blockdot.blocks.threads import ahead


def key(i):
    return np.uint64(i)


@given(st.integers(0, 3000), st.integers(0, 2**64 - 1))
def test_an_order_has_every_row_once_and_its_parts_are_those_of_the_whole(n, name):
    order = shuffled(n, key(name), 0, n)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(shuffled(n, key(name), n // 3, n // 2), order[n // 3 : n // 2])


def test_the_order_is_pinned():
    """Checkpoints of unfinished epochs live by it."""
    assert shuffled(10, key(1), 0, 10).tolist() == PINNED


PINNED = [7, 5, 6, 1, 8, 4, 2, 0, 9, 3]


def test_all_orders_are_as_likely():
    """Of four rows 24 orders, and of many rows any row at any place: chi-square, at five of its deviations."""
    counts = Counter(tuple(shuffled(4, key(i), 0, 4).tolist()) for i in range(24_000))
    assert set(counts) == set(permutations(range(4)))
    chi = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi < 23 + 5 * np.sqrt(2 * 23)
    places = np.zeros((50, 50))
    for i in range(5000):
        places[shuffled(50, key(i), 0, 50), np.arange(50)] += 1
    chi = np.sum((places - 100) ** 2 / 100)
    assert abs(chi - 49 * 49) < 5 * np.sqrt(2 * 49 * 49)


def test_epochs_blocks_and_seeds_have_orders_of_their_own():
    places = [(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in (-1, 0, 1)]
    orders = {Dealing(1, seed).rows(40, epoch, index, 0, 40).tobytes() for seed, epoch, index in places}
    assert len(orders) == len(places)
    assert np.array_equal(Dealing(4, shuffle=False).rows(40, 3, 2, 5, 9), [5, 6, 7, 8])


def data(n=500, d=80, seed=0, dense=2, **more):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.05, rng=rng, format="lil")
    X[:, :dense] = rng.normal(size=(n, dense)) + 5.0
    y, s, o = rng.normal(size=n), rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    return X.tocsr(), bd.Dataset.from_arrays(X.tocsr(), y, s, o, **more)


@pytest.mark.parametrize("dense", [0, 2])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_batches_are_the_rows_in_their_order(size, dense):
    X, ds = data(dense=dense, block_rows=230)
    assert ds.source.block(0).X.n_dense == dense
    for index in range(ds.n_blocks):
        block = ds.source.block(index)
        batches = [batch for part in Dealing(size, 5).cuts(block, 3, index) for batch in part]
        assert [batch.X.n_rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
        order = block.row_id[Dealing(size, 5).rows(block.n_rows, 3, index, 0, block.n_rows)]
        rebuilt = []
        for batch in batches:
            assert len(np.unique(batch.places)) == len(batch.places) == batch.X.n_columns
            own = batch.X.to_scipy()
            assert np.all(np.bincount(own.indices, minlength=batch.X.n_columns)[dense:] > 0)  # of its rows alone
            wide = np.zeros((batch.X.n_rows, X.shape[1]))
            wide[:, ds.table.ids[batch.places]] = own.toarray()
            rebuilt.append(wide)
        assert np.array_equal(np.vstack(rebuilt), X[order].toarray())
        for name in ("y", "sample_weight", "offset"):
            parts = np.concatenate([getattr(batch, name) for batch in batches])
            assert np.array_equal(parts, getattr(block, name)[np.searchsorted(block.row_id, order)])
        assert sum(batch.weight for batch in batches) == pytest.approx(block.weight)


def test_large_blocks_are_cut_some_rows_at_a_time_to_the_same_batches(monkeypatch):
    _, ds = data()
    block = ds.source.block(0)
    whole = [batch for part in Dealing(7).cuts(block, 0, 0) for batch in part]
    monkeypatch.setattr("blockdot.blocks.batches._ROWS_A_CUT", 20)
    parts = list(Dealing(7).cuts(block, 0, 0))
    assert [len(list(part)) for part in parts[:-1]] == [2] * (len(parts) - 1)
    for a, b in zip(whole, [batch for part in parts for batch in part], strict=True):
        assert np.array_equal(a.places, b.places)
        assert np.array_equal(a.X.to_scipy().toarray(), b.X.to_scipy().toarray())


def test_values_that_are_all_one_stay_absent_and_no_rows_are_a_batch_without_any():
    X = sp.csr_array(np.eye(5))
    block = bd.Dataset.from_arrays(X, np.arange(5.0)).source.block(0)
    first, second = cut(block, np.array([4, 0, 2]), 2)
    assert first.X.values is None
    assert (first.y.tolist(), second.y.tolist()) == ([4.0, 0.0], [2.0])
    (none,) = cut(block, np.empty(0, np.int64), 1)
    assert (none.X.n_rows, len(none.places), none.weight) == (0, 0, 0.0)


@pytest.mark.parametrize(("width", "tail"), [(1, 0), (1, 1), (3, 5)])
def test_a_table_takes_out_and_puts_back(width, tail):
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=10 * width + tail) for _ in range(3)]
    table, places = Table.of(vectors, width, tail), np.array([7, 0, 3])
    own = table.take(places)
    for vector, part in zip(vectors, own, strict=True):
        rows = vector[: 10 * width].reshape(10, width)[places].ravel()
        assert np.array_equal(part, np.concatenate([rows, vector[10 * width :]]))
    table.put(places, own + 1.0, 2)
    touched = np.zeros(10 * width + tail, bool)
    touched[: 10 * width].reshape(10, width)[places] = True
    touched[10 * width :] = True
    for s, vector in enumerate(vectors):
        assert np.array_equal(table.vector(s), vector + 1.0 * touched if s < 2 else vector)


def test_one_thread_works_ahead_and_its_errors_arrive_in_their_place():
    made = []

    def items():
        for i in range(3):
            made.append(i)
            yield i
        raise ValueError("the fourth")

    found = []
    with pytest.raises(ValueError, match="the fourth"):
        found.extend(ahead(items()))
    assert made == [0, 1, 2]
    assert list(ahead(iter("abc"))) == ["a", "b", "c"]
    assert list(ahead(iter(()))) == []
