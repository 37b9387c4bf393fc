"""Sums that do not depend on the order: the same bits for any cut into blocks, any layout of a block, any workers."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks import binned_kernel
from blockdot.linalg.arithmetic import Binned


@st.composite
def rows_cut_twice(draw):
    """The same rows in two cuts, many rows a block so that blocks differ in which columns they hold in full."""
    n, d = draw(st.integers(1, 400)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.0, 3.0, 15.0]))
    values = rng.normal(size=(n, d)) * np.exp(spread * rng.normal(size=(n, d)))
    if draw(st.booleans()):
        values = np.ones((n, d))
    A = np.where(rng.random((n, d)) < rng.random(d) * rng.random((n, 1)) * 2, values, 0.0)
    A = sp.csr_array(A.astype(draw(st.sampled_from([np.float32, np.float64]))))
    sizes = draw(st.integers(n // 6 + 1, n)), draw(st.integers(n // 6 + 1, n))
    first, second = (bd.Dataset.from_arrays(A, block_rows=size).X.reproducible() for size in sizes)
    return first.on(bd.ThreadPool(1)), second.on(bd.ThreadPool(3)), A.toarray().astype(float), rng


def same(a, b):
    a, b = (x.toarray() if sp.issparse(x) else np.asarray(x) for x in (a, b))
    return a.dtype == b.dtype == np.float64 and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(max_examples=20)
@given(rows_cut_twice(), st.sampled_from([1, 3]))
def test_every_result_has_the_same_bits_for_any_cut(case, k):
    X, Y, A, rng = case
    n, d = A.shape
    w, u, r, c = rng.normal(size=(d, k)), rng.normal(size=(n, k)), rng.normal(size=n), rng.normal(size=d)
    S = sp.csr_array(w * (rng.random(w.shape) < 0.7))
    Q = sp.csr_array(u * (rng.random(u.shape) < 0.7))
    for make in (lambda M: M, lambda M: M.scale(r, c), lambda M: M.centred(), lambda M: M.scale(r, c).centred()):
        P, R = make(X), make(Y)
        assert same(P @ w, R @ w)
        assert same(P.T @ u, R.T @ u)
        assert same(P.norms(0), R.norms(0))
        assert same(P.norms(1), R.norms(1))
        assert same(P.gram(r), R.gram(r))
        assert same(P.T.gram(), R.T.gram())
        assert P.inner(R) == R.inner(P) == P.inner(P)
        assert P.norm() == R.norm()
        assert same(P.means(), R.means())
    for make in (lambda M: M, lambda M: M.scale(r, c)):
        P, R = make(X), make(Y)
        assert same(P @ S, R @ S)
        assert same(P.T @ Q, R.T @ Q)
        assert same(P.gram(r, 0.1), R.gram(r, 0.1))
        assert same(P.T.gram(0.1), R.T.gram(0.1))
        assert same(P.cosine_similarity(0.2), R.cosine_similarity(0.2))
        assert same(P.T.cosine_similarity(0.2), R.T.cosine_similarity(0.2))


@settings(max_examples=15)
@given(rows_cut_twice())
def test_what_is_made_of_products_has_the_same_bits_too(case):
    X, Y, A, rng = case
    y = rng.normal(size=len(A))
    k = min(*A.shape, len(X.view.rows.data.table))
    for method in ("randomized", "lanczos"):
        if k:
            assert all(same(a, b) for a, b in zip(X.svd(k, method=method), Y.svd(k, method=method), strict=True))
    found, again = X.lstsq(y), Y.lstsq(y)
    assert same(found.coef, again.coef)
    assert found.n_iter == again.n_iter
    assert same(X.cosine_similarity(0.2, error=0.3), Y.cosine_similarity(0.2, error=0.3))
    assert same(X.T.cosine_similarity(0.2, error=0.3), Y.T.cosine_similarity(0.2, error=0.3))


@pytest.mark.parametrize("method", ["randomized", "lanczos"])
def test_decompositions_of_many_columns_have_the_same_bits(method):
    rng = np.random.default_rng(4)
    A = sp.random_array((300, 80), density=0.1, rng=rng, data_sampler=rng.normal)
    found = [bd.Dataset.from_arrays(A, block_rows=size).X.reproducible().svd(3, method=method) for size in (300, 77)]
    assert all(same(a, b) for a, b in zip(*found, strict=True))
    plain = [bd.Dataset.from_arrays(A, block_rows=size).X.svd(3, method=method) for size in (300, 77)]
    assert not all(same(a, b) for a, b in zip(*plain, strict=True)), "the cut matters where it may"


def test_the_order_matters_without_it():
    rng = np.random.default_rng(0)
    A = np.exp(rng.normal(size=(5000, 3)))
    u = rng.normal(size=5000)
    sums = {(bd.Dataset.from_arrays(A, block_rows=size).X.T @ u).tobytes() for size in (5000, 1000, 77)}
    assert len(sums) > 1
    sums = {(bd.Dataset.from_arrays(A, block_rows=size).X.reproducible().T @ u).tobytes() for size in (5000, 1000, 77)}
    assert len(sums) == 1


numbers = (
    st.floats(-1e6, 1e6, allow_subnormal=False) | st.floats(-1e-6, 1e-6) | st.sampled_from([1e100, -1e100, 2.0**-60])
)


def binned_sum(terms):
    """The kernel of sums within a row, on one row of these terms."""
    out = np.full((1, 1), np.nan)
    ends, zeros = np.array([0, len(terms)]), np.zeros(len(terms), np.uint32)
    binned_kernel.dot(ends, zeros, np.asarray(terms, float), None, np.ones((1, 1)), out)
    return out[0, 0]


@settings(max_examples=300)
@given(st.lists(numbers, max_size=60), st.randoms(use_true_random=False))
def test_a_sum_within_a_row_is_good_to_the_largest_term_in_any_order(terms, random):
    exact = sum((Fraction(t) for t in terms), Fraction(0))
    largest = max((abs(t) for t in terms), default=0.0)
    found = binned_sum(terms)
    error = abs(Fraction(found) - exact)
    assert error <= len(terms) * Fraction(largest) / 2**78 + Fraction(math.ulp(float(exact))) * 2
    for _ in range(3):
        random.shuffle(terms)
        assert binned_sum(terms) == found


@settings(max_examples=200)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=60), st.randoms(use_true_random=False), st.data())
def test_a_sum_over_rows_is_good_to_the_bound_in_any_order_and_any_parts(pairs, random, data):
    pairs = [(x, u) for x, u in pairs if abs(x * u) < 1e150]
    exact = sum((Fraction(x * u) for x, u in pairs), Fraction(0))
    arithmetic = Binned(data.draw(st.sampled_from([len(pairs), 10**6, 10**9])))

    def total():
        x, u = (np.array(column, float) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0),) * 2
        parts, cut = [], data.draw(st.integers(0, len(pairs)))
        ceiling = np.array([2.0 ** (np.frexp(np.max(np.abs(x), initial=0.0))[1])])
        factor = arithmetic.factor(u[:, np.newaxis], ceiling)
        for rows in (slice(0, cut), slice(cut, None)):
            folds, n = np.zeros((1, arithmetic.folds, 1)), len(x[rows])
            binned_kernel.add_tdot(
                np.arange(n + 1), np.zeros(n, np.uint32), x[rows], None, u[rows, np.newaxis], ceiling, factor,
                arithmetic.shrink, folds,
            )  # fmt: skip
            parts.append(folds)
        return arithmetic.total((parts[0] + parts[1]).reshape(1, -1))[0, 0]

    found = total()
    bound = max((abs(x) for x, _ in pairs), default=0.0) * max((abs(u) for _, u in pairs), default=0.0)
    assert abs(Fraction(found) - exact) <= len(pairs) * Fraction(bound) / 2**77 + Fraction(math.ulp(float(exact))) * 2
    random.shuffle(pairs)
    assert total() == found


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5]), st.sampled_from([None, np.float32, np.float64]))
def test_columns_do_not_depend_on_each_other_nor_on_what_is_stored_in_full(seed, k, dtype):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(0, 30)), 6
    A = np.where(rng.random((n, d)) < 0.6, 1.0 if dtype is None else rng.normal(size=(n, d)).astype(dtype), 0.0)
    w, u = rng.normal(size=(d, k)), rng.normal(size=(n, k))
    arithmetic, ceiling = Binned(100), np.full(d, 16.0)
    factor, found = arithmetic.factor(u, ceiling), set()
    for full in (0, 2, 6):
        sparse, dense = sp.csr_array(np.concatenate([np.zeros((n, full)), A[:, full:]], axis=1)), None
        if full:
            dense = np.ascontiguousarray(A[:, :full]).astype(dtype or np.float32)
        values = None if dtype is None else sparse.data.astype(dtype)
        X = (sparse.indptr, sparse.indices.astype(np.uint32), values, dense)
        out, folds = np.empty((n, k)), np.zeros((d, arithmetic.folds, k))
        binned_kernel.dot(*X, w, out)
        binned_kernel.add_tdot(*X, u, ceiling, factor, arithmetic.shrink, folds)
        found.add(out.tobytes() + folds.tobytes())
        for c in range(k):
            one, alone = np.empty((n, 1)), np.zeros((d, arithmetic.folds, 1))
            binned_kernel.dot(*X, w[:, [c]].copy(), one)
            binned_kernel.add_tdot(*X, u[:, [c]].copy(), ceiling, factor[[c]], arithmetic.shrink, alone)
            assert same(one[:, 0], out[:, c])
            assert same(alone[:, :, 0], folds[:, :, c])
    assert len(found) == 1
    np.testing.assert_allclose(out, A @ w, atol=1e-13)
    np.testing.assert_allclose(arithmetic.total(folds.reshape(d, -1)), A.T @ u, atol=1e-13)


@pytest.mark.parametrize(("rows", "folds"), [(0, 2), (1, 2), (4000, 2), (5000, 3), (10**6, 3), (10**8, 4), (10**9, 4)])
def test_folds_hold_eighty_bits(rows, folds):
    arithmetic = Binned(rows)
    assert arithmetic.folds == folds
    assert 2 ** (arithmetic.lost - 1) > rows
    assert folds * (53 - arithmetic.lost) >= 80
