"""The compiled products against scipy, for every kind of values and for ranges of rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks import products
from blockdot.blocks.matrix import Matrix

KINDS = ["float32", "float64", "absent"]


@st.composite
def matrices(draw):
    """A CSR and the same as scipy float64: rows may be empty, all of them, and there may be one column, or no row."""
    n, d = draw(st.integers(0, 30)), draw(st.integers(1, 20))
    kind = draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = rng.random((n, d)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rows, columns = np.nonzero(present)
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    values = None if kind == "absent" else rng.normal(size=len(columns)).astype(kind)
    reference = sp.csr_array((np.ones(len(columns)) if values is None else values, (rows, columns)), shape=(n, d))
    return Matrix(indptr, columns.astype(np.uint32), values, d), reference.astype(np.float64), rng


def assert_close(found, expected, magnitude):
    """``expected`` to within rounding, measured by ``magnitude``, the same sum over absolute values."""
    np.testing.assert_array_less(np.abs(found - expected), 1e-14 * magnitude + 1e-300)


@settings(deadline=None, max_examples=150)
@given(matrices())
def test_dot_equals_scipy(case):
    matrix, reference, rng = case
    w = rng.normal(size=matrix.n_columns)
    assert_close(matrix.dot(w), reference @ w, abs(reference) @ np.abs(w))


@settings(deadline=None, max_examples=150)
@given(matrices())
def test_transposed_products_add_to_what_is_there(case):
    matrix, reference, rng = case
    u, before = rng.normal(size=matrix.n_rows), rng.normal(size=matrix.n_columns)
    out = before.copy()
    matrix.add_tdot(u, out)
    assert_close(out, before + reference.T @ u, np.abs(before) + abs(reference).T @ np.abs(u))
    squares = reference.power(2)
    out = before.copy()
    matrix.add_tdot(u, out, squared=True)
    assert_close(out, before + squares.T @ u, np.abs(before) + squares.T @ np.abs(u))


@settings(deadline=None, max_examples=150)
@given(matrices(), st.data())
def test_a_range_of_rows_is_a_view(case, data):
    matrix, reference, rng = case
    start = data.draw(st.integers(0, matrix.n_rows))
    stop = data.draw(st.integers(start, matrix.n_rows))
    part, expected = matrix.rows(start, stop), reference[start:stop]
    assert part.indices is matrix.indices
    assert (part.n_rows, part.nnz) == (stop - start, expected.nnz)
    w, u, out = rng.normal(size=matrix.n_columns), rng.normal(size=stop - start), np.zeros(matrix.n_columns)
    assert np.array_equal(part.dot(w), matrix.dot(w)[start:stop])
    part.add_tdot(u, out)
    assert_close(out, expected.T @ u, abs(expected).T @ np.abs(u))
    assert np.array_equal(part.to_scipy().toarray(), expected.toarray())


@settings(deadline=None, max_examples=50)
@given(matrices())
def test_products_are_adjoint(case):
    matrix, reference, rng = case
    w, u, out = rng.normal(size=matrix.n_columns), rng.normal(size=matrix.n_rows), np.zeros(matrix.n_columns)
    matrix.add_tdot(u, out)
    assert u @ matrix.dot(w) == pytest.approx(out @ w, abs=1e-12 * (1 + abs(reference).sum()) * 10)


def test_sums_of_float32_values_are_float64():
    n = 100_000
    tenth = np.float32(0.1)
    matrix = Matrix(np.array([0, n], np.int32), np.zeros(n, np.uint32), np.full(n, tenth), 1)
    assert matrix.dot(np.ones(1))[0] == pytest.approx(n * float(tenth), rel=1e-13)
    column = Matrix(np.arange(n + 1, dtype=np.int32), np.zeros(n, np.uint32), np.full(n, tenth), 1)
    out = np.zeros(1)
    column.add_tdot(np.ones(n), out)
    assert out[0] == pytest.approx(n * float(tenth), rel=1e-10)
    out = np.zeros(1)
    column.add_tdot(np.ones(n), out, squared=True)
    assert out[0] == pytest.approx(n * float(tenth) ** 2, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_products_do_not_write_to_their_arguments(kind):
    values = None if kind == "absent" else np.array([2.0, 3.0], kind)
    matrix = Matrix(np.array([0, 1, 2], np.int32), np.array([1, 0], np.uint32), values, 2)
    w = np.array([5.0, 7.0])
    for array in (matrix.indptr, matrix.indices, values, w):
        if array is not None:
            array.flags.writeable = False
    a, b = (1.0, 1.0) if values is None else (2.0, 3.0)
    assert matrix.dot(w).tolist() == [7.0 * a, 5.0 * b]
    out = np.zeros(2)
    matrix.add_tdot(w, out)
    assert out.tolist() == [7.0 * b, 5.0 * a]


@settings(deadline=None, max_examples=150)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_add_sorted_equals_dense_addition(a, b, width, seed):
    rng = np.random.default_rng(seed)
    first, second = (np.array(sorted(s), np.int64) for s in (a, b))
    first_rows, second_rows = (rng.normal(size=(len(s), width)) for s in (first, second))
    positions, rows = products.add_sorted(first, first_rows, second, second_rows)
    assert positions.tolist() == sorted(a | b)
    expected = np.zeros((2, 41, width))
    expected[0, first], expected[1, second] = first_rows, second_rows
    assert np.array_equal(rows, (expected[0] + expected[1])[positions])
