"""The compiled softmax loss: what it is by its definition, for any shape, and what it makes of what is no number."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from blockdot.objective import softmax_kernel
from blockdot.objective.multiclass import Softmax


@given(st.integers(0, 700), st.integers(2, 40), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_it_is_the_loss_by_its_definition(n, k, weighted, turned, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 10.0 ** rng.integers(-3, 3)
    z = np.asfortranarray(z) if turned else z
    y, u = rng.integers(0, k, n).astype(float), rng.normal(size=(n, k))
    s = rng.random(n) if weighted else 1.0
    rows, weight = np.arange(n), np.broadcast_to(s, n)[:, np.newaxis]
    loss, p = Softmax(k), softmax(z, axis=1)
    value, grad = loss.value_and_grad(y, z, s)
    assert value == loss.value(y, z, s)
    expected = -np.sum(s * log_softmax(z, axis=1)[rows, y.astype(int)])
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-13 * max(n, 1))  # scipy's differences cancel
    assert grad == pytest.approx(weight * (p - np.eye(k)[y.astype(int)]), rel=1e-9, abs=1e-15)
    assert loss.predict(z) == pytest.approx(p, rel=1e-13)
    product = weight * (p * u - p * np.sum(p * u, axis=1, keepdims=True))
    assert loss.hess_dot(y, z, s, u) == pytest.approx(product, rel=1e-9, abs=1e-14)
    assert loss.hess_diag(y, z, s) == pytest.approx(weight * p * (1 - p), rel=1e-12)


@given(st.integers(2, 3000), st.floats(0.0, 700.0))
def test_the_logarithm_of_many_terms(k, far):
    """The row's class lies far behind k − 1 others that are all the same: log(k − 1 + e^−far) + far."""
    z = np.zeros((1, k))
    z[0, 0] = -far
    expected = np.log1p((k - 2) + np.exp(-far)) + far
    assert Softmax(k).value(np.zeros(1), z, 1.0) == pytest.approx(expected, rel=4e-16 * 4)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_what_is_no_number_stays_none(column, strange):
    z, y = np.zeros((2, 3)), np.ones(2)
    z[1, column] = strange
    loss = Softmax(3)
    value, grad = loss.value_and_grad(y, z, 1.0)
    assert np.isnan(value)
    assert np.isnan(loss.value(y, z, 1.0))
    for cells in (grad, loss.predict(z), loss.hess_dot(y, z, 1.0, np.ones((2, 3)))):
        assert np.isfinite(cells[0]).all()
        assert np.isnan(cells[1]).all()


def test_a_class_that_cannot_be_has_no_probability():
    z = np.array([[0.0, -np.inf, 1.0]])
    value, grad = Softmax(3).value_and_grad(np.zeros(1), z, 1.0)
    assert value == pytest.approx(np.log1p(np.e))
    assert grad[0, 1] == Softmax(3).predict(z)[0, 1] == 0.0


@pytest.mark.parametrize("y", [-1.0, 3.0, np.nan])
def test_a_target_that_is_no_class_is_refused_and_nothing_beside_the_arrays_is_read(y):
    with pytest.raises(IndexError, match="not among the classes"):
        Softmax(3).value(np.array([y]), np.zeros((1, 3)), 1.0)


def test_nothing_is_contracted_to_other_bits():
    """A fused multiply-add has other bits than a product and a sum, and only some CPUs have it."""
    z = np.zeros((4, 3))
    for function, arguments in (
        (softmax_kernel.value_and_grad, (z[:, 0].copy(), z, None, z.copy())),
        (softmax_kernel.hess_dot, (z, None, z, z.copy())),
        (softmax_kernel.probabilities, (z, z.copy())),
    ):
        kernel = numba.njit(error_model="numpy")(function.py_func)  # not from the cache
        kernel(*arguments)
        for assembly in kernel.inspect_asm().values():
            assert "vfmadd" not in assembly
            assert "vfmsub" not in assembly
