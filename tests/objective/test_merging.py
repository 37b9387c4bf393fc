"""Merged features: the same objective over shorter vectors, and the same fit."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.blocks.dataset import MemorySource
from blockdot.blocks.table import FeatureTable
from blockdot.objective import merging
from blockdot.objective.merging import Merged, Unmerged, are_many, merged
from blockdot.objective.passes import Raw

K = 3


def texts(seed, rows=60, common=12, rare=90, ones=False):
    """Rows with some common features (one of them in most rows), and rare ones that occur once each."""
    rng = np.random.default_rng(seed)
    X = np.zeros((rows, common + rare))
    X[:, :common] = rng.normal(size=(rows, common)) * (rng.random((rows, common)) < 0.3)
    X[:, 0] = rng.normal(size=rows)
    some = rng.integers(0, rows - 5, rare)  # the last rows have none
    X[some, np.arange(common, common + rare)] = rng.normal(size=rare)
    if ones:
        X = (X != 0).astype(float)
    X = X[:, rng.permutation(X.shape[1])]
    return X, rng.integers(0, K, rows).astype(float)


def objectives(X, y, alpha=0.05, block_rows=17):
    data = bd.Dataset.from_arrays(X, y, block_rows=block_rows)
    blocks = bd.Blocks(data.source, bd.ThreadPool(2))
    with merged(blocks, data.table) as (view, how):
        made = [bd.Objective(bd.Softmax(K), bd.Linear(outputs=K), bd.L2(alpha), b) for b in (blocks, view)]
        yield data, how, *made


@pytest.mark.parametrize("ones", [False, True])
def test_it_is_the_same_objective(ones):
    for data, how, F, G in objectives(*texts(1, ones=ones)):
        assert isinstance(how, Merged)
        single = np.count_nonzero(data.table.count == 1)
        assert how.first == len(data.table) - single
        assert G.blocks.n_features == how.first + len(np.unique(how.owner)) < len(data.table) - 20
        rng = np.random.default_rng(2)
        theta, v = rng.normal(size=(2, G.size))
        w, u = (how.outward(each, F.layout) for each in (theta, v))
        assert F.value(w) == pytest.approx(G.value(theta), rel=1e-13)
        _, grad = G.value_and_grad(theta)
        np.testing.assert_allclose(how.outward(grad, F.layout), F.value_and_grad(w)[1], atol=1e-14)
        np.testing.assert_allclose(how.outward(G.hess_vec(theta, v), F.layout), F.hess_vec(w, u), atol=1e-14)
        for a, b in ((theta, w), (grad, how.outward(grad, F.layout))):
            assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=1e-13)
        np.testing.assert_allclose(how.inward(w, F.layout), theta, rtol=1e-12)


def test_inward_keeps_z_and_is_the_shortest_that_does():
    for _, how, F, G in objectives(*texts(3)):
        w = np.random.default_rng(4).normal(size=F.size)
        theta = how.inward(w, F.layout)
        assert F.value(w) - G.value(theta) > 0.1  # the penalty of what z does not see
        back = how.outward(theta, F.layout)
        for point in (w, back):
            z = np.concatenate(list(F.blocks.map(Raw(F.predictor), point)))
            np.testing.assert_allclose(z, np.concatenate(list(G.blocks.map(Raw(G.predictor), theta))), atol=1e-12)
        np.testing.assert_allclose(back @ (w - back), 0.0, atol=1e-10)  # a projection: what is left is orthogonal


def test_entries_that_are_zero_and_rows_that_are_empty():
    X = sp.csr_array(texts(5)[0])
    X.data[np.bincount(X.indices)[X.indices] == 1] = 0.0  # entries that lie there as zeros
    X = sp.csr_array(sp.vstack([X, sp.csr_array((3, X.shape[1]))]))
    y = np.arange(X.shape[0]) % float(K)
    for _, how, F, G in objectives(X, y, alpha=0.05):
        assert isinstance(how, Merged)
        assert not np.any(how.share)
        theta = np.random.default_rng(6).normal(size=G.size)
        unseen = theta[how.first * K : -K]  # what no row sees is penalised, and is 0 in the parameters of the data
        assert G.value(theta) - F.value(how.outward(theta, F.layout)) == pytest.approx(0.025 * unseen @ unseen)


def test_sizes_neither_overflow_nor_vanish():
    X, y = texts(13)
    single = np.count_nonzero(X, axis=0) == 1
    X[:, single] *= np.where(np.arange(single.sum()) % 2, 1e200, 1e-200)
    for _, how, _, _ in objectives(X, y):
        assert np.all(np.isfinite(how.share))
        norms = np.sqrt(np.bincount(how.owner, how.share**2))
        np.testing.assert_allclose(norms, 1.0, rtol=1e-12)


def test_few_such_features_are_left_alone():
    for data, how, F, G in objectives(*texts(7, common=70, rare=20)):
        assert not are_many(data.table)
        assert isinstance(how, Unmerged)
        assert F.blocks is G.blocks
    X = np.column_stack([np.random.default_rng(9).normal(size=(200, 40)), np.eye(200)])  # one a row: nothing would go
    for data, how, F, G in objectives(X, np.arange(200) % float(K)):
        assert are_many(data.table)
        assert isinstance(how, Unmerged)
        assert F.blocks is G.blocks
    assert not are_many(FeatureTable.merged([]))


@pytest.mark.parametrize("wrong", ["all", "two blocks"])
def test_counts_that_are_not_those_of_the_blocks_are_refused(wrong):
    X, y = texts(14, rows=200, rare=600)
    X[:, 0] = 0.5  # stored in full, in blocks of this size
    twice = int(np.argmax(np.count_nonzero(X, axis=0)[1:])) + 1
    X[:, twice] = 0.0
    X[[10, 150], twice] = 1.0
    data = bd.Dataset.from_arrays(X, y, block_rows=100)
    count = data.table.count.copy()
    count[slice(None) if wrong == "all" else data.table.ids == twice] = 1
    order = np.argsort(-count, kind="stable")  # as a table is
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    table = FeatureTable(data.table.ids[order], count[order], data.table.total[order], data.table.squares[order])
    items = tuple(block.placed(place[block.places], len(order)) for block in data.source.items)
    blocks = bd.Blocks(MemorySource(items, len(order)), bd.ThreadPool(1))
    with pytest.raises(bd.BlockdotError, match="ingest the data again"), merged(blocks, table):
        pass


@pytest.mark.parametrize("in_full", [0, 2])
def test_a_block_with_most_of_the_features_has_them_all(in_full, monkeypatch):
    X, y = texts(15, rows=200, common=30, rare=600)
    if not in_full:
        X[::3] *= 0.0
        X[1::3, np.count_nonzero(X, axis=0) > 50] = 0.0
    found = []
    monkeypatch.setattr(merging, "_IN_FULL", 10.0)
    for most in (0.0, 0.4, 2.0):
        monkeypatch.setattr(merging, "_MOST", most)
        for data, how, _, G in objectives(X, y, block_rows=100):
            assert isinstance(how, Merged)
            assert any(data.source.block(i).X.n_dense for i in range(2)) == bool(in_full)
            blocks = [G.blocks.source.block(i) for i in range(2)]
            assert [block.in_order for block in blocks] == [most < 1.0] * 2
            assert all(block.X.n_dense == 0 or most > 1.0 for block in blocks)
            rng = np.random.default_rng(16)
            theta, v = rng.normal(size=(2, G.size))
            found.append(np.concatenate([[G.value(theta)], G.value_and_grad(theta)[1], G.hess_vec(theta, v)]))
    np.testing.assert_allclose(found[0], found[2], rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(found[0], found[1])


def test_a_block_with_much_in_full_is_left_as_it_is():
    X, y = texts(17, rows=200, common=30, rare=600)
    X[:, :9] = 0.5
    for _, _, _, G in objectives(X, y, block_rows=100):
        blocks = [G.blocks.source.block(i) for i in range(2)]
        assert all(block.X.n_dense and not block.in_order for block in blocks)
