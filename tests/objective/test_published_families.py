"""Fits of generalised linear models that were published."""

import numpy as np
import pytest

from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Gamma, Gaussian, InverseGaussian, Poisson, Tweedie
from blockdot.objective.links import (
    CLogLog,
    Identity,
    Inverse,
    InverseSquared,
    Log,
    Logit,
    Power,
    Probit,
)


def fit(family, X, y, s=1.0):
    """Newton's method from the targets themselves, with halved steps: as R's glm.fit, with the observed Hessian."""
    z = family.link.link(family.targets_start(y))
    w = np.linalg.lstsq(X, z, rcond=None)[0]
    for _ in range(50):
        value, grad = family.value_and_grad(y, X @ w, s)
        curvature = family.hess_dot(y, X @ w, s, np.ones_like(y))
        step = np.linalg.solve(X.T @ (curvature[:, None] * X), X.T @ grad)
        length = 1.0
        while not family.value(y, X @ (w - length * step), s) <= value + 1e-12 * abs(value):
            length /= 2
        w = w - length * step
    assert np.linalg.norm(X.T @ family.value_and_grad(y, X @ w, s)[1]) < 1e-8 * np.linalg.norm(np.abs(X).T @ np.abs(y))
    return w, family.predict(X @ w)


def test_dobsons_trial():
    """R, ?glm: Dobson (1990), page 93."""
    y = np.array([18, 17, 15, 20, 10, 20, 25, 13, 12.0])
    outcome, treatment = np.tile([0, 1, 2], 3), np.repeat([0, 1, 2], 3)
    X = np.column_stack([np.ones(9), outcome == 1, outcome == 2, treatment == 1, treatment == 2]).astype(float)
    w, mu = fit(Poisson(), X, y)
    np.testing.assert_allclose(w, [3.045, -0.4543, -0.2930, 0, 0], atol=5e-4)
    assert Poisson().deviance(y, mu, 1.0) == pytest.approx(5.1291, abs=5e-5)
    assert Poisson().deviance(y, np.full(9, y.mean()), 1.0) == pytest.approx(10.5814, abs=5e-5)
    assert -2 * Poisson().loglik(y, np.log(mu), 1.0) + 10 == pytest.approx(56.76, abs=5e-3)


@pytest.mark.parametrize(
    ("times", "coefficients", "deviance", "null"),
    [
        ([118, 58, 42, 35, 27, 25, 21, 19, 18], [-0.01655438, 0.01534311], 0.01673, 3.51283),
        ([69, 35, 26, 21, 18, 16, 13, 12, 12], [-0.02390848, 0.02359922], 0.01267, 3.118557),
    ],
)
def test_clotting_times_of_blood(times, coefficients, deviance, null):
    """R, ?glm: McCullagh & Nelder (1989), pages 300–302. The inverse link, the start of which is the targets."""
    y = np.array(times, float)
    X = np.column_stack([np.ones(9), np.log([5, 10, 15, 20, 30, 40, 60, 80, 100])])
    family = Gamma(Inverse())
    w, mu = fit(family, X, y)
    np.testing.assert_allclose(w, coefficients, rtol=1e-6)
    assert family.deviance(y, mu, 1.0) == pytest.approx(deviance, abs=5e-6)
    assert family.deviance(y, np.full(9, y.mean()), 1.0) == pytest.approx(null, abs=5e-6)


@pytest.mark.parametrize(
    ("link", "coefficients", "deviance"),
    [
        (Logit(), [-60.717, 34.270], 11.2322),
        (Probit(), [-34.935, 19.728], 10.1198),
        (CLogLog(), [-39.572, 22.041], 3.4464),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_beetles_killed_by_gas(link, coefficients, deviance):
    """Bliss (1935), in Dobson, *An Introduction to Generalized Linear Models*, section on dose–response models."""
    dose = np.array([1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839])
    beetles, killed = np.array([59, 60, 62, 56, 63, 59, 62, 60.0]), np.array([6, 13, 18, 28, 52, 53, 61, 60.0])
    X, y = np.column_stack([np.ones(8), dose]), killed / beetles
    w, mu = fit(Binomial(link), X, y, beetles)
    np.testing.assert_allclose(w, coefficients, atol=1.5e-3)
    assert Binomial(link).deviance(y, mu, beetles) == pytest.approx(deviance, abs=5e-4)


@pytest.mark.parametrize(
    "family",
    [
        *(Gaussian(link) for link in (Identity(), Log(), Inverse(), Logit())),
        *(Poisson(link) for link in (Log(), Identity(), Power(0.5), Inverse(), Logit())),
        *(Binomial(link) for link in (Logit(), Probit(), CLogLog(), Log(), Identity())),
        *(Tweedie(power) for power in (-1.0, 0.0, 1.5)),
    ],
    ids=repr,
)
def test_a_start_for_every_row_is_inside_of_the_domain(family):
    y = np.array([0.0, 1e-9, 0.5, 1.0]) if isinstance(family, Binomial) else np.array([-3.0, 0.0, 1e-9, 2.0, 1e6])
    if family.check(y) is not None:
        y = y[1:]
    z = family.link.link(family.targets_start(y))
    assert np.all(np.isfinite(z))
    assert np.isfinite(family.value(y, z, 1.0))


@pytest.mark.parametrize("family", [Gamma(Inverse()), Gamma(Identity()), InverseGaussian(InverseSquared())], ids=repr)
def test_positive_targets_are_their_own_start(family):
    y = np.array([1e-3, 1.0, 1e3])
    assert np.array_equal(family.targets_start(y), y)
