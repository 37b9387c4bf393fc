"""The driver's vectors: sums by their definition, in an order that no CPU decides."""

import math
from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdot import vector_kernel
from blockdot.vectors import inner, norm


@given(st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_the_inner_product_by_exact_sums(n, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    terms = [Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert inner(a, b) == pytest.approx(float(sum(terms)), abs=1e-15 * float(1 + sum(map(abs, terms))))
    assert norm(a) == math.sqrt(inner(a, a))


def test_the_order_of_additions():
    """Eight chains, which are added in pairs; what is left over goes to the first."""
    a, b = np.random.default_rng(0).normal(size=(2, 8 * 5 + 3))
    chains = [0.0] * 8
    for i in range(len(a)):
        chains[i % 8 if i < 40 else 0] += a[i] * b[i]
    s = chains
    assert inner(a, b) == ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))


def test_any_numbers_in_any_memory():
    a = np.arange(20.0)
    read_only = a.copy()
    read_only.flags.writeable = False
    assert inner(a[::2], a[::2]) == inner(read_only[::2], a[::2]) == float(np.sum(np.arange(0, 20, 2) ** 2))
    assert inner(read_only, np.arange(20)) == 2470.0
    assert inner(np.array([np.inf, 1.0]), np.ones(2)) == np.inf
    assert math.isnan(inner(np.array([np.nan, 1.0]), np.ones(2)))


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 2), (2, 2)), ((), ())])
def test_nothing_beside_the_arrays_is_read(a, b):
    with pytest.raises(ValueError, match="vectors of one length are needed"):
        inner(np.ones(a), np.ones(b))


def test_nothing_is_contracted_to_other_bits():
    """A fused multiply-add has other bits than a product and a sum, and only some CPUs have it."""
    kernel = numba.njit(vector_kernel.inner.py_func)  # not from the cache
    kernel(np.ones(9), np.ones(9))
    for assembly in kernel.inspect_asm().values():
        assert "vfmadd" not in assembly
