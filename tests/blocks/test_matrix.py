"""The rows of a block against scipy: every kind of values, any share of dense columns, one vector or many, any range.

All arrays that a matrix holds are read-only here, and so are its arguments: no product can write to them.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.matrix import Matrix


def frozen(array):
    if array is not None:
        array.flags.writeable = False
    return array


def build(whole, present, n_dense, dtype, absent):
    rows, columns = np.nonzero(present[:, n_dense:])
    return Matrix(
        frozen(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(whole)))]).astype(np.int32)),
        frozen((columns + n_dense).astype(np.uint32)),
        None if absent else frozen(whole[rows, columns + n_dense].astype(dtype)),
        whole.shape[1],
        frozen(whole[:, :n_dense].astype(dtype)) if n_dense else None,
    )


@st.composite
def matrices(draw):
    """A matrix, often a range of the rows of a larger one, and the same as a plain array; rows, columns, all may be 0.

    The values of its sparse entries are float32, float64 or absent, and any number of its columns is dense.
    """
    n, k = draw(st.integers(0, 30)), draw(st.integers(0, 20))
    n_dense = draw(st.integers(0, k))
    dtype, absent = draw(st.sampled_from([np.float32, np.float64])), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = rng.random((n, k)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    whole = np.where(present, rng.normal(size=(n, k)).astype(dtype).astype(float), 0.0)
    if absent:
        whole[:, n_dense:] = present[:, n_dense:]
    start = draw(st.integers(0, n) | st.just(0))
    stop = draw(st.integers(start, n) | st.just(n))
    return build(whole, present, n_dense, dtype, absent).rows(start, stop), whole[start:stop], rng


many = st.none() | st.integers(1, 10) | st.sampled_from([16, 20, 64])
"""One vector, or so many columns."""


def vectors(rng, size, columns):
    return frozen(rng.normal(size=size if columns is None else (size, columns)))


def assert_close(found, expected, magnitude):
    """``expected`` to within rounding, measured by ``magnitude``, the same sum over absolute values."""
    assert found.dtype == np.float64
    np.testing.assert_array_less(np.abs(found - expected), 1e-14 * magnitude + 1e-300)


@settings(max_examples=200)
@given(matrices(), many)
def test_dot_adds_to_what_is_there(case, columns):
    matrix, whole, rng = case
    w, before = vectors(rng, matrix.n_columns, columns), vectors(rng, matrix.n_rows, columns)
    out, X = before.copy(), sp.csr_array(whole)
    matrix.add_dot(w, out)
    assert_close(out, before + X @ w, np.abs(before) + abs(X) @ np.abs(w))
    assert_close(matrix.dot(w), X @ w, abs(X) @ np.abs(w))


@settings(max_examples=200)
@given(matrices(), many, st.booleans())
def test_transposed_products_add_to_what_is_there(case, columns, squared):
    matrix, whole, rng = case
    u, before = vectors(rng, matrix.n_rows, columns), vectors(rng, matrix.n_columns, columns)
    out, X = before.copy(), sp.csr_array(whole**2 if squared else whole)
    matrix.add_tdot(u, out, squared=squared)
    assert_close(out, before + X.T @ u, np.abs(before) + abs(X).T @ np.abs(u))


def check_normal(matrix, shift, rng):
    """To the same bits without dense rows, whose sums the compiler may add up in another order at another place."""
    v, c = vectors(rng, matrix.n_columns, None), vectors(rng, matrix.n_rows, None)
    before = rng.normal(size=matrix.n_columns)
    found, expected, u = before.copy(), before.copy(), np.full(matrix.n_rows, shift)
    total = matrix.add_normal(v, shift, c, found)
    matrix.add_dot(v, u)
    u *= c
    matrix.add_tdot(u, expected)
    assert_close(np.float64(total), np.sum(u), np.sum(np.abs(u)))
    if matrix.dense is None:
        assert np.array_equal(found, expected)
    size = abs(matrix.to_scipy())
    assert_close(found, expected, np.abs(before) + size.T @ (np.abs(c) * (abs(shift) + size @ np.abs(v))))


@settings(max_examples=200)
@given(matrices(), st.sampled_from([0.0, 0.7]))
def test_a_normal_product_is_that_of_its_parts(case, shift):
    matrix, _, rng = case
    check_normal(matrix, shift, rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, None])
@pytest.mark.parametrize("n_dense", [0, 3])
@pytest.mark.parametrize("first", [0, 7])
def test_a_normal_product_of_more_rows_than_the_cache_holds_is_that_of_its_parts(n_dense, dtype, first):
    """Rows of 10 to 30 kB, some of them a view: each run of 128 rows is multiplied twice before the next."""
    rng = np.random.default_rng(0)
    rows, row, columns = 300, 2500, 6000
    X = np.sort(rng.random((rows, columns - n_dense)).argsort(axis=1)[:, :row], axis=1) + n_dense
    dense = rng.normal(size=(rows, n_dense)) if n_dense else None
    ends = np.arange(rows + 1, dtype=np.int32) * row
    values = None if dtype is None else rng.normal(size=X.size).astype(dtype)
    matrix = Matrix(ends, X.astype(np.uint32).ravel(), values, columns, dense)
    check_normal(matrix.rows(first, rows), 0.7, rng)


@settings(max_examples=100)
@given(matrices(), st.integers(1, 12))
def test_columns_do_not_depend_on_each_other(case, columns):
    matrix, _, rng = case
    w, u = vectors(rng, matrix.n_columns, columns), vectors(rng, matrix.n_rows, columns)
    together = np.zeros((matrix.n_columns, columns))
    matrix.add_tdot(u, together)
    for c in range(columns):
        assert np.array_equal(matrix.dot(w)[:, [c]], matrix.dot(np.ascontiguousarray(w[:, [c]])))
        alone = np.zeros((matrix.n_columns, 1))
        matrix.add_tdot(np.ascontiguousarray(u[:, [c]]), alone)
        assert np.array_equal(together[:, [c]], alone)


@settings(max_examples=200)
@given(matrices(), st.data())
def test_gram_adds_one_entry_of_each_pair(case, data):
    """Columns have any places, or none (negative); there may be places without a column."""
    matrix, whole, rng = case
    size = data.draw(st.integers(0, matrix.n_columns + 2))
    place = rng.integers(-3, 0, matrix.n_columns)
    kept = rng.permutation(matrix.n_columns)[: data.draw(st.integers(0, min(size, matrix.n_columns)))]
    place[kept] = rng.permutation(size)[: len(kept)]
    u, before = frozen(rng.random(matrix.n_rows)), frozen(rng.normal(size=(size, size)))
    out = before.copy()
    matrix.add_gram(frozen(place), u, out)

    def both(a):
        return a + a.T - np.diag(np.diag(a))

    expected, magnitude = both(before), both(np.abs(before))
    at, X = np.ix_(place[kept], place[kept]), whole[:, kept]
    expected[at] += X.T @ (u[:, np.newaxis] * X)
    magnitude[at] += np.abs(X).T @ (u[:, np.newaxis] * np.abs(X))
    assert_close(both(out), expected, magnitude)


@settings(max_examples=150)
@given(matrices(), many, st.data())
def test_a_range_of_rows_is_a_view(case, columns, data):
    matrix, whole, rng = case
    start = data.draw(st.integers(0, matrix.n_rows))
    stop = data.draw(st.integers(start, matrix.n_rows))
    part = matrix.rows(start, stop)
    assert part.indices is matrix.indices
    assert part.values is matrix.values
    assert np.shares_memory(part.indptr, matrix.indptr)
    assert part.n_dense == matrix.n_dense
    assert part.dense is None or part.dense.base is not None
    w = vectors(rng, matrix.n_columns, columns)
    assert np.array_equal(part.dot(w), matrix.dot(w)[start:stop])
    assert np.array_equal(part.to_scipy().toarray(), whole[start:stop])


@settings(max_examples=100)
@given(matrices())
def test_the_same_as_a_scipy_matrix(case):
    matrix, whole, _ = case
    X = matrix.to_scipy()
    assert X.shape == whole.shape
    assert np.array_equal(X.toarray(), whole)
    assert (matrix.nnz, X.nnz) == (np.count_nonzero(whole),) * 2
    assert matrix.counts().tolist() == np.count_nonzero(whole, axis=0).tolist()


@settings(max_examples=100)
@given(matrices())
def test_squares_are_a_copy_in_float64(case):
    matrix, whole, _ = case
    squared = matrix.squared()
    assert np.array_equal(squared.to_scipy().toarray(), whole**2)
    assert (squared.n_rows, squared.n_columns, squared.n_dense) == (matrix.n_rows, matrix.n_columns, matrix.n_dense)
    assert squared.values is None if matrix.values is None else squared.values.dtype == np.float64


@settings(max_examples=100)
@given(matrices(), st.data())
def test_rows_are_taken_in_any_order_and_more_than_once(case, data):
    matrix, whole, rng = case
    size = data.draw(st.integers(0, 2 * matrix.n_rows))
    rows = rng.integers(0, max(matrix.n_rows, 1), size)
    taken = matrix.take(frozen(rows))
    assert (taken.indptr.dtype, taken.indices.dtype) == (np.int32, np.uint32)
    assert (taken.n_rows, taken.n_columns, taken.n_dense) == (size, matrix.n_columns, matrix.n_dense)
    assert np.array_equal(taken.to_scipy().toarray(), whole[rows])
    w = vectors(rng, matrix.n_columns, None)
    assert np.array_equal(taken.dot(w), matrix.dot(w)[rows])


@settings(max_examples=50)
@given(matrices(), st.data())
def test_a_product_reads_the_bytes_of_its_rows(case, data):
    matrix, _, _ = case
    cut = data.draw(st.integers(0, matrix.n_rows))
    parts = matrix.rows(0, cut), matrix.rows(cut, matrix.n_rows)
    each = 4 if matrix.values is None else 4 + matrix.values.itemsize
    entries = int(matrix.indptr[-1]) - int(matrix.indptr[0])
    assert matrix.nbytes == 4 * (matrix.n_rows + 1) + each * entries + (matrix.dense.nbytes if matrix.n_dense else 0)
    assert sum(part.nbytes for part in parts) == matrix.nbytes + 4  # both count the number between them


@pytest.mark.parametrize("values", [None, np.array([2.0, 3.0])])
def test_to_scipy_is_a_copy(values):
    X = Matrix(np.array([0, 2], np.int32), np.array([0, 1], np.uint32), values, 2)
    before = X.to_scipy().toarray()
    X.to_scipy().data[:] = 99.0
    assert np.array_equal(X.to_scipy().toarray(), before)
