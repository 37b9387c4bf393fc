"""Piecewise quadratic losses: against their definitions, the corners they round, and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import huber
from sklearn._loss import HuberLoss, PinballLoss
from sklearn.metrics import hinge_loss, mean_pinball_loss

from blockdot.errors import SpecError
from blockdot.objective.robust import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Quantile,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)


def rows(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), 2 * rng.normal(size=n), rng.random(n) + 0.1


def classes(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, n).astype(float), 2 * rng.normal(size=n), rng.random(n) + 0.1


def one(loss, y, z):
    return loss.value(np.array([y]), np.array([z]), 1.0)


def test_huber_is_what_scipy_and_scikit_learn_have():
    y, z, s = rows()
    loss = Huber(0.8)
    assert loss.value(y, z, s) == pytest.approx(np.sum(s * huber(0.8, y - z)), rel=1e-13)
    other = HuberLoss(delta=0.8)
    assert loss.value(y, z, s) == pytest.approx(np.sum(s * other.loss(y, z)), rel=1e-13)
    gradient, hessian = other.gradient_hessian(y, z)
    np.testing.assert_allclose(loss.value_and_grad(y, z, 1.0)[1], gradient, rtol=1e-13)
    np.testing.assert_allclose(loss.hess_dot(y, z, 1.0, np.ones_like(z)), hessian, rtol=1e-13)
    assert 0 < np.sum(hessian) < len(y)


def test_the_squared_losses_by_definition():
    y, z, s = rows()
    tube = np.maximum(0, np.abs(y - z) - 0.3)
    assert SquaredEpsilonInsensitive(0.3).value(y, z, s) == pytest.approx(np.sum(s * tube**2), rel=1e-13)
    y, z, s = classes()
    behind = np.maximum(0, 1 - (2 * y - 1) * z)
    assert SquaredHinge().value(y, z, s) == pytest.approx(np.sum(s * behind**2), rel=1e-13)
    assert np.all((behind > 0) == (SquaredHinge().hess_dot(y, z, 1.0, np.ones_like(z)) == 2))


def test_without_a_tube_the_squared_loss_is_twice_the_squared_one():
    loss = SquaredEpsilonInsensitive(0.0)
    y = np.array([1.0, 1.0, 1.0])
    z = np.array([1.0, 0.0, 3.0])
    assert loss.value(y, z, 1.0) == 5.0
    assert loss.value_and_grad(y, z, 1.0)[1].tolist() == [0.0, -2.0, 4.0]
    assert loss.hess_dot(y, z, 1.0, np.ones(3)).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("smoothing", [1e-9, 0.1, 3.0])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_the_pinball_loss_is_above_by_at_most_the_bound(quantile, smoothing):
    y, z, _ = rows()
    loss = Quantile(quantile, smoothing)
    exact = len(y) * mean_pinball_loss(y, z, alpha=quantile)
    assert exact == pytest.approx(np.sum(PinballLoss(quantile=quantile).loss(y, z)), rel=1e-13)
    bias = exact - loss.value(y, z, 1.0)
    assert -1e-12 <= bias <= len(y) * loss.bias_bound + 1e-12
    assert loss.bias_bound == pytest.approx(smoothing / 2 * max(quantile, 1 - quantile) ** 2, rel=1e-14)


@pytest.mark.parametrize("smoothing", [1e-9, 0.1, 3.0])
def test_the_hinge_loss_is_above_by_at_most_the_bound(smoothing):
    y, z, _ = classes()
    bias = len(y) * hinge_loss(y, z) - Hinge(smoothing).value(y, z, 1.0)
    assert -1e-12 <= bias <= len(y) * Hinge(smoothing).bias_bound + 1e-12
    assert Hinge(smoothing).bias_bound == pytest.approx(smoothing / 2, rel=1e-14)


@pytest.mark.parametrize("smoothing", [1e-9, 0.1, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_the_insensitive_loss_is_above_by_at_most_the_bound(epsilon, smoothing):
    y, z, _ = rows()
    loss = EpsilonInsensitive(epsilon, smoothing)
    bias = np.sum(np.maximum(0, np.abs(y - z) - epsilon)) - loss.value(y, z, 1.0)
    assert -1e-12 <= bias <= len(y) * loss.bias_bound + 1e-12
    assert loss.bias_bound == pytest.approx(smoothing / 2, rel=1e-14)


@pytest.mark.parametrize("loss", [Quantile(0.2, 0.7), Hinge(0.7), EpsilonInsensitive(0.1, 0.7)])
def test_the_bound_is_reached(loss):
    exact = one(replace(loss, smoothing=1e-12), 0, 50)
    assert exact - one(loss, 0, 50) == pytest.approx(loss.bias_bound, rel=1e-9)


@given(st.floats(-3, 3), st.floats(0.05, 0.95), st.floats(0.01, 2))
def test_smoothing_is_the_moreau_envelope(r, quantile, h):
    def at(x):
        return max(quantile * x, (quantile - 1) * x) + (x - r) ** 2 / (2 * h)

    found = minimize_scalar(at, bounds=(min(r, 0) - 3, max(r, 0) + 3), method="bounded", options={"xatol": 1e-10})
    assert one(Quantile(quantile, h), r, 0.0) == pytest.approx(found.fun, abs=1e-7)


def test_a_tiny_smoothing_does_not_overflow():
    y, z = np.zeros(3), np.array([-1e4, 0.0, 1e4])
    with np.errstate(all="raise"):
        value, grad = Quantile(0.25, 1e-308).value_and_grad(y, z, 1.0)
    assert value == pytest.approx(1e4, rel=1e-15)
    np.testing.assert_allclose(grad, [-0.25, 0.0, 0.75], rtol=1e-15)


def test_a_quantile_minimises_the_pinball_loss():
    y, _, _ = rows(1001)
    loss = Quantile(0.3, 1e-6)
    best = minimize_scalar(lambda z: loss.value(y, np.full_like(y, z), 1.0), bracket=(-1, 1), tol=1e-10).x
    assert best == pytest.approx(np.quantile(y, 0.3), abs=1e-3)


def test_predictions():
    z = np.array([-2.0, 0.0, 3.0])
    for loss in (Huber(), Quantile(), EpsilonInsensitive(), SquaredEpsilonInsensitive()):
        assert np.array_equal(loss.predict(z), z)
    for loss in (Hinge(), SquaredHinge()):
        assert loss.predict(z).tolist() == [0.0, 0.0, 1.0]


def test_only_what_rounds_a_corner_has_a_bias():
    for loss in (Huber(), SquaredHinge(), SquaredEpsilonInsensitive()):
        assert not hasattr(loss, "bias_bound")
        assert not hasattr(loss, "smoothing")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Huber(0.0), "delta is 0.0; needed a finite number above 0"),
        (lambda: Huber(np.inf), "delta is inf; needed a finite number above 0"),
        (lambda: Quantile(1.0), "quantile is 1.0; needed a number between 0 and 1"),
        (lambda: Quantile(np.nan), "quantile is nan; needed a number between 0 and 1"),
        (lambda: Quantile(0.5, 0.0), "smoothing is 0.0; needed a finite number above 0"),
        (lambda: Hinge(-1.0), "smoothing is -1.0; needed a finite number above 0"),
        (lambda: EpsilonInsensitive(-0.1), "epsilon is -0.1; needed a finite number, at least 0"),
        (lambda: EpsilonInsensitive(0.1, np.nan), "smoothing is nan; needed a finite number above 0"),
        (lambda: SquaredEpsilonInsensitive(np.inf), "epsilon is inf; needed a finite number, at least 0"),
    ],
)
def test_options_that_make_no_sense(make, message):
    with pytest.raises(SpecError, match=message):
        make()
