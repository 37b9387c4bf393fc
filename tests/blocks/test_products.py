"""The compiled products on raw arrays; as the products of a matrix they are in test_matrix.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks import rows_kernel
from blockdot.blocks.matrix import Matrix


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (5,)])
def test_sums_of_float32_values_are_float64(dense, shape):
    n = 100_000
    values, expected = np.full(n, 0.1, np.float32), n * float(np.float32(0.1))
    none, nothing = np.empty(0, np.uint32), np.empty(0, np.float32)
    if dense:
        row = Matrix(np.zeros(2, np.int32), none, nothing, n, values.reshape(1, n))
        column = Matrix(np.zeros(n + 1, np.int32), none, nothing, 1, values.reshape(n, 1))
    else:
        row = Matrix(np.array([0, n], np.int32), np.arange(n, dtype=np.uint32), values, n)
        column = Matrix(np.arange(n + 1, dtype=np.int32), np.zeros(n, np.uint32), values, 1)
    np.testing.assert_allclose(row.dot(np.ones((n, *shape))), expected, rtol=1e-10)
    for squared in (False, True):
        out = np.zeros((1, *shape))
        column.add_tdot(np.ones((n, *shape)), out, squared=squared)
        np.testing.assert_allclose(out, expected * (float(np.float32(0.1)) if squared else 1.0), rtol=1e-10)


@settings(max_examples=150)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_add_sorted_equals_dense_addition(a, b, width, seed):
    rng = np.random.default_rng(seed)
    first, second = (np.array(sorted(s), np.int64) for s in (a, b))
    first_rows, second_rows = (rng.normal(size=(len(s), width)) for s in (first, second))
    positions, rows = rows_kernel.add_sorted(first, first_rows, second, second_rows)
    assert positions.tolist() == sorted(a | b)
    expected = np.zeros((2, 41, width))
    expected[0, first], expected[1, second] = first_rows, second_rows
    assert np.array_equal(rows, (expected[0] + expected[1])[positions])
