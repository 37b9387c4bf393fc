"""The matrix against plain arrays: every shape, any cut into blocks, views, and either way of adding up."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks.block import Block
from blockdot.errors import DataError, SpecError

VALUES = [
    lambda rng, shape: np.ones(shape),
    lambda rng, shape: rng.normal(size=shape),
    lambda rng, shape: rng.integers(-4, 5, shape).astype(float),
    lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-5, 6, shape),
]


def dataset(A, sizes, dtype=np.float64):
    """The rows of an array in blocks of these sizes, the last with what is left; a block may have no row."""
    blocks, start = [], 0
    for size in [*sizes, len(A)]:
        part = A[start : start + size]
        rows, columns = np.nonzero(part)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(part)))])
        identity = np.arange(start, start + len(part))
        blocks.append(Block.from_rows(indptr, columns, part[rows, columns], row_id=identity, dtype=dtype))
        start += len(part)
    return bd.Dataset.from_blocks(blocks, A.shape[1])


@st.composite
def matrices(draw, least_rows=0, views=2, centred=True):
    """A block matrix, which may be a view, the same as an array, and the same with every sign taken away.

    The last bounds what rounding errors are measured by; centring adds up what it takes off.
    """
    n, d = draw(st.integers(least_rows, 80)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 2.0]))
    A = np.where(rng.random((n, d)) < share * rng.random(d), draw(st.sampled_from(VALUES))(rng, (n, d)), 0.0)
    X, size = dataset(A, draw(st.lists(st.integers(0, 70), max_size=5))).X, np.abs(A)
    if draw(st.booleans()):
        X = X.reproducible()
    for kind in draw(st.lists(st.sampled_from(["rows", "columns", "both", "centred"]), max_size=views)):
        if kind == "centred":
            if centred and n:
                X, A, size = X.centred(), A - A.mean(axis=0), size + size.mean(axis=0)
            continue
        r, c = np.ones(n) if kind == "columns" else rng.normal(size=n), np.ones(d)
        c = c if kind == "rows" else rng.normal(size=d)
        X, A, size = X.scale(r, c), r[:, np.newaxis] * A * c, np.abs(r[:, np.newaxis] * c) * size
    return X, A, size, rng


def over_rows(size, others):
    """Σᵢ of terms without signs, (d, k), and what sums on grids may lose: 2^-79 of the largest possible term."""
    largest = np.multiply.outer(size.max(axis=0, initial=0.0), others.max(axis=0, initial=0.0))
    return size.T @ others + 1e12 * len(size) * 2.0**-77 * largest


sparse = st.composite(lambda draw: draw(matrices(centred=False)))()


def assert_close(found, expected, size):
    """Equal to within rounding, measured by ``size``, the same sums without signs."""
    found = found.toarray() if sp.issparse(found) else found
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_array_less(np.abs(np.asarray(found) - expected), 1e-12 * np.asarray(size) + 1e-300)


@settings(max_examples=150)
@given(matrices(), st.sampled_from([None, 0, 1, 2, 7]))
def test_products_on_either_side(case, k):
    X, A, size, rng = case
    n, d = A.shape
    assert X.shape == (n, d)
    assert X.T.shape == (d, n)
    assert X.T.T is X
    w, r = rng.normal(size=d if k is None else (d, k)), rng.normal(size=n if k is None else (n, k))
    w.flags.writeable = r.flags.writeable = False
    assert_close(X @ w, A @ w, size @ np.abs(w))
    assert_close(X.T @ r, A.T @ r, over_rows(size, np.abs(r)))
    assert_close(r.T @ X, r.T @ A, over_rows(size, np.abs(r)).T)
    assert_close(w.T @ X.T, w.T @ A.T, np.abs(w.T) @ size.T)
    assert (X @ w).dtype == np.float64
    assert_close(X @ w.tolist(), A @ w, size @ np.abs(w))


@settings(max_examples=100)
@given(sparse, st.integers(1, 5), st.sampled_from([sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix]))
def test_products_with_sparse_matrices(case, k, kind):
    X, A, size, rng = case
    n, d = A.shape
    S = rng.normal(size=(d, k)) * (rng.random((d, k)) < 0.4)
    Q = rng.normal(size=(n, k)) * (rng.random((n, k)) < 0.4)
    for found, expected, terms in [
        (X @ kind(S), A @ S, size @ np.abs(S)),
        (X.T @ kind(Q), A.T @ Q, over_rows(size, np.abs(Q))),
        (kind(Q).T @ X, Q.T @ A, over_rows(size, np.abs(Q)).T),
        (kind(S).T @ X.T, S.T @ A.T, np.abs(S).T @ size.T),
    ]:
        assert sp.issparse(found)
        assert_close(found, expected, terms)


@settings(max_examples=100)
@given(matrices())
def test_norms_means_and_copies(case):
    X, A, size, _ = case
    for axis in (0, 1):
        squares = np.diag(over_rows(size, size)) if axis == 0 else np.sum(size**2, axis=axis)
        assert_close(X.norms(axis) ** 2, np.sum(A**2, axis=axis), 10 * squares)
        assert np.array_equal(X.T.norms(1 - axis), X.norms(axis))
    assert_close(X.norm() ** 2, np.sum(A**2), 10 * np.sum(size**2))
    assert X.T.norm() == X.norm()
    assert_close(X.toarray(), A, size)
    assert np.array_equal(X.T.toarray(), X.toarray().T)
    if len(A):
        assert_close(X.means(), A.mean(axis=0), size.max(axis=0))


@settings(max_examples=100)
@given(matrices(), st.data())
def test_inner_products_with_rows_that_are_cut_elsewhere(case, data):
    X, A, size, rng = case
    B = rng.normal(size=A.shape) * (rng.random(A.shape) < 0.5)
    other = dataset(B, data.draw(st.lists(st.integers(0, 70), max_size=5))).X
    expected, mean = np.sum(A * B), np.sum(np.abs(B)) / max(B.size, 1)
    terms = 10 * np.sum(size * np.abs(B)) + 10 * np.sum(size) * mean
    assert_close(X.inner(other), expected, terms)
    assert_close(X.inner(B), expected, terms)
    assert_close(X.inner(sp.csc_array(B)), expected, terms)
    assert_close(other.inner(X), expected, terms)
    assert_close(X.T.inner(B.T), expected, terms)
    assert_close(X.T.inner(other.T), expected, terms)
    assert_close(X.inner(X), np.sum(A**2), 10 * np.sum(size**2))
    if len(A):
        moved = B - B.mean(axis=0)
        terms = 20 * np.sum(size * (np.abs(B) + np.abs(B).mean(axis=0))) + 20 * np.sum(size) * np.sum(np.abs(B)) / max(
            B.size, 1
        )
        assert_close(X.inner(other.centred()), np.sum(A * moved), terms)


@settings(max_examples=100)
@given(matrices())
def test_gram_matrices(case):
    X, A, size, rng = case
    d = rng.normal(size=len(A))
    weighted = A.T @ (d[:, np.newaxis] * A)
    assert_close(X.gram(), A.T @ A, 10 * over_rows(size, size))
    assert_close(X.gram(d), weighted, 10 * np.abs(d).max(initial=0.0) * over_rows(size, size))
    assert np.array_equal(X.gram(), X.gram().T)
    assert_close(X.T.gram(), A @ A.T, 10 * size @ size.T)


@settings(max_examples=100)
@given(sparse, st.sampled_from([0.0, 0.3, 2.0]))
def test_pairs_of_at_least_a_threshold(case, threshold):
    X, A, size, rng = case
    d = rng.normal(size=len(A))
    for found, exact, terms in [
        (X.gram(threshold=threshold), A.T @ A, over_rows(size, size)),
        (X.gram(d, threshold), A.T @ (d[:, np.newaxis] * A), np.abs(d).max(initial=0.0) * over_rows(size, size)),
        (X.T.gram(threshold), A @ A.T, size @ size.T),
    ]:
        assert sp.issparse(found)
        close = np.abs(np.abs(exact) - threshold) <= 1e-12 * terms  # either answer is right
        expected = np.where(np.abs(exact) >= threshold, exact, 0.0)
        assert_close(np.where(close, 0.0, found.toarray()), np.where(close, 0.0, expected), terms)
        assert (found != found.T).nnz == 0


@settings(max_examples=50)
@given(sparse, st.sampled_from([np.float32, np.float64]))
def test_products_as_new_data_sets(case, dtype):
    X, A, size, rng = case
    W = rng.normal(size=(A.shape[1], 3)) * (rng.random((A.shape[1], 3)) < 0.5)
    for other in (W, sp.csr_array(W)):
        made = X.matmul(other, dtype=dtype)
        assert made.block_rows == X.view.rows.data.block_rows
        assert made.n_features == 3
        scale = 1.0 if dtype == np.float64 else 1e6
        assert_close(made.X.toarray(), A @ W, scale * (size @ np.abs(W)))
        identities = [made.source.block(i).row_id for i in range(made.n_blocks)]
        assert np.array_equal(np.concatenate(identities), np.arange(len(A)))


def test_a_view_reads_and_copies_nothing():
    class Untouched:
        n_blocks, n_features = 1, 3

        def expect(self, blocks):
            raise AssertionError("read")

    X = dataset(np.eye(3), []).X
    rows = X.view.rows.data
    object.__setattr__(rows, "source", Untouched())
    view = X.T.scale([1, 2, 3], [3, 2, 1]).T.occurring().reproducible().on(bd.ThreadPool(1))
    assert view.shape == (3, 3)
    with pytest.raises(AssertionError, match="read"):
        view @ np.ones(3)


def test_float32_values_are_added_up_in_float64():
    A = np.full((4096, 2), 0.1, np.float32)
    X = bd.Dataset.from_arrays(A).X
    for arithmetic in (X, X.reproducible()):
        assert_close(arithmetic.T @ np.ones(4096), np.full(2, 4096 * float(np.float32(0.1))), 409.6)
        assert_close(arithmetic.gram(), np.full((2, 2), 4096 * float(np.float32(0.1)) ** 2), 40.96)
        assert_close(arithmetic.gram(threshold=0).toarray(), arithmetic.gram(), 40.96)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda X: X @ np.ones(4), DataError, r"a matrix of 6 rows and 3 columns .* shape \(4,\); needed \(3,\)"),
        (lambda X: X.T @ np.ones((3, 2)), DataError, r"needed \(6,\) or \(6, K\)"),
        (lambda X: X @ np.ones((3, 1, 1)), DataError, "needed"),
        (lambda X: X @ np.float64(3.0), DataError, r"shape \(\)"),
        (lambda X: X @ (1j * np.ones(3)), DataError, "needed real numbers"),
        (lambda X: X @ np.array(["a", "b", "c"]), DataError, "needed real numbers"),
        (lambda X: X @ sp.csr_array(np.ones((4, 1))), DataError, "needed"),
        (lambda X: X.T @ X, SpecError, r"X.gram\(\) is XᵀX"),
        (lambda X: X.norms(2), SpecError, "axis is 2; needed 0"),
        (lambda X: X.T.norms("rows"), SpecError, "axis is 'rows'"),
        (lambda X: X.scale(rows=[1.0]), DataError, r"rows has the shape \(1,\); needed \(6,\)"),
        (lambda X: X.scale(columns=[1, np.nan, 2]), DataError, r"columns\[1\] is not finite"),
        (lambda X: X.gram([1.0]), DataError, "weights has the shape"),
        (lambda X: X.gram(threshold=-1.0), SpecError, "threshold is -1.0; needed a number of at least 0"),
        (lambda X: X.gram(threshold=float("nan")), SpecError, "threshold is nan"),
        (lambda X: X.inner(np.ones((6, 4))), DataError, r"shapes \(6, 3\) and \(6, 4\)"),
        (lambda X: X.inner(np.ones((5, 3))), DataError, r"shapes \(6, 3\) and \(5, 3\)"),
        (lambda X: X.centred() @ sp.csr_array(np.eye(3)), SpecError, "centred matrix would be dense"),
        (lambda X: X.centred().gram(threshold=1.0), SpecError, "centred matrix would be dense"),
        (lambda X: X.centred().to_scipy(), SpecError, "centred matrix would be dense"),
        (lambda X: X.reproducible() @ np.array([1.0, np.inf, 0.0]), DataError, "NaN or infinite"),
        (lambda X: X.reproducible().T @ np.full(6, np.nan), DataError, "NaN or infinite"),
        (lambda X: X.reproducible().T @ np.full(6, 1e308), SpecError, "too large for reproducible sums"),
        (lambda X: X.matmul(np.ones(3)), DataError, r"needed \(3, K\)"),
    ],
)
def test_what_cannot_be_is_said(call, error, words):
    with pytest.raises(error, match=words):
        call(dataset(np.arange(18.0).reshape(6, 3), [2]).X)


def test_too_many_columns_for_a_dense_matrix():
    X = bd.Dataset.from_arrays(sp.csr_array(([1.0], ([0], [5000])), shape=(3, 6000))).X
    with pytest.raises(SpecError, match=r"6,000 columns .* give a threshold"):
        X.gram()
    assert X.occurring().gram().tolist() == [[1.0]]
    assert X.gram(threshold=0.5)[[5000], [5000]] == 1.0
    with pytest.raises(SpecError, match="5,000 rows"):
        dataset(np.eye(5)[:, :2], []).X.T.__class__(bd.Dataset.from_arrays(np.ones((5000, 1))).X).gram()


def test_no_rows_and_no_entries():
    for A in (np.empty((0, 4)), np.zeros((5, 4))):
        for X in (bd.Dataset.from_arrays(A).X, bd.Dataset.from_arrays(A).X.reproducible()):
            n = len(A)
            assert np.array_equal(X @ np.ones((4, 2)), np.zeros((n, 2)))
            assert np.array_equal(X.T @ np.ones(n), np.zeros(4))
            assert np.array_equal(X.gram(), np.zeros((4, 4)))
            assert X.gram(threshold=0.0).nnz == X.T.gram(threshold=0.0).nnz == 0
            assert (X @ sp.csr_array(np.eye(4))).shape == (n, 4)
            assert (X.T @ sp.csr_array(np.ones((n, 2)))).nnz == 0
            assert np.array_equal(X.norms(0), np.zeros(4))
            assert X.norm() == X.inner(A) == 0.0
            assert X.to_scipy().shape == (n, 4)
    with pytest.raises(DataError, match="no means"):
        bd.Dataset.from_arrays(np.empty((0, 4))).X.centred()
