"""The compiled logistic loss: its exponential and logarithm to the last digits, and what it makes of them."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdot.objective import elementary_kernel, logistic_kernel
from blockdot.objective.losses import Logistic


@numba.njit
def exponentials(x, out):
    for i in range(x.size):
        out[i] = elementary_kernel.exp(x[i])


@numba.njit
def logarithms(x, out):
    for i in range(x.size):
        out[i] = elementary_kernel.log1p(x[i])


def ulps(found, expected):
    return np.max(np.abs((found - expected) / np.spacing(expected.astype(np.float64))).astype(np.float64))


def places(rng):
    return -np.concatenate(
        [np.linspace(0.0, 760.0, 200_001), 10.0 ** rng.uniform(-300, 2.9, 200_000), [0.0, 1e4, 1e300]]
    )


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="there is no arithmetic here to compare with")
def test_two_units_in_the_last_place():
    x = places(np.random.default_rng(0))
    found = np.empty_like(x)
    exponentials(x, found)
    assert ulps(found, np.exp(x.astype(np.longdouble))) < 2.0
    assert found[-1] == found[-2] == 0.0
    assert found[-3] == 1.0
    e = np.exp(x)
    logarithms(e, found)
    assert ulps(found, np.log1p(e.astype(np.longdouble))) < 2.0


@given(st.integers(0, 1500), st.booleans(), st.integers(0, 2**32 - 1))
def test_it_is_the_loss_by_its_definition(n, weighted, seed):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=n) * 10.0 ** rng.integers(-3, 3), rng.integers(0, 2, n).astype(float)
    s, u = (rng.random(n) if weighted else 1.0), rng.normal(size=n)
    value, grad = Logistic().value_and_grad(y, z, s)
    sigma = 0.5 * (1.0 + np.tanh(0.5 * z))
    assert value == Logistic().value(y, z, s) == pytest.approx(np.sum(s * (np.logaddexp(0.0, z) - y * z)), rel=1e-12)
    assert grad == pytest.approx(s * (sigma - y), abs=1e-15, rel=1e-9)
    assert Logistic().hess_dot(y, z, s, u) == pytest.approx(s * sigma * (1.0 - sigma) * u, abs=1e-15)


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_what_is_no_number_stays_none(y):
    z, y = np.array([0.0, np.nan]), np.full(2, y)
    value, grad = Logistic().value_and_grad(y, z, 1.0)
    assert np.isnan(value)
    assert np.isnan(Logistic().value(y, z, 1.0))
    assert np.isnan(grad).tolist() == [False, True]
    assert np.isnan(Logistic().hess_dot(y, z, 1.0, np.ones(2))).tolist() == [False, True]


def test_nothing_is_contracted_to_other_bits():
    """A fused multiply-add has other bits than a product and a sum, and only some CPUs have it."""
    kernel = numba.njit(error_model="numpy")(logistic_kernel.value_and_grad.py_func)  # not from the cache
    n = np.zeros(8)
    kernel(n, n, None, n.copy())
    for assembly in kernel.inspect_asm().values():
        assert "vfmadd" not in assembly
        assert "vfmsub" not in assembly
