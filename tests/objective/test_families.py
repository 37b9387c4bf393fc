"""Families: against scikit-learn and scipy, and exact where a mean cannot be told from 1."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_ndtr
from sklearn._loss import HalfBinomialLoss, HalfGammaLoss, HalfPoissonLoss, HalfTweedieLoss, HalfTweedieLossIdentity
from sklearn.metrics import d2_tweedie_score, log_loss, mean_tweedie_deviance

from blockdot.errors import SpecError
from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Gamma, Gaussian, InverseGaussian, Poisson, Tweedie
from blockdot.objective.links import (
    CLogLog,
    Identity,
    Inverse,
    InverseSquared,
    Link,
    Log,
    Power,
    Probit,
)


def rows(n=100, seed=0):
    """Counts, positive numbers, z and s."""
    rng = np.random.default_rng(seed)
    return rng.poisson(1.5, n).astype(float), rng.gamma(2.0, size=n) + 0.1, rng.normal(size=n), rng.random(n) + 0.1


@pytest.mark.parametrize(
    ("ours", "theirs", "positive"),
    [
        (Poisson(), HalfPoissonLoss(), False),
        (Gamma(), HalfGammaLoss(), True),
        (Tweedie(1.0), HalfPoissonLoss(), False),
        (Tweedie(2.0), HalfGammaLoss(), True),
        (Tweedie(1.3), HalfTweedieLoss(power=1.3), False),
        (Tweedie(2.7), HalfTweedieLoss(power=2.7), True),
        (InverseGaussian(), HalfTweedieLoss(power=3.0), True),
        (Tweedie(-0.5), HalfTweedieLoss(power=-0.5), False),
        (Gaussian(Log()), HalfTweedieLoss(power=0.0), False),
    ],
    ids=repr,
)
def test_with_the_logarithmic_link_they_are_scikit_learns_half_losses(ours, theirs, positive):
    counts, numbers, z, s = rows()
    y = numbers if positive else counts
    assert ours.value(y, z, s) == pytest.approx(np.sum(s * theirs.loss(y, z)), rel=1e-12)
    gradient, hessian = theirs.gradient_hessian(y, z)
    np.testing.assert_allclose(ours.value_and_grad(y, z, 1.0)[1], gradient, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.hess_dot(y, z, 1.0, np.ones_like(z)), hessian, rtol=1e-10, atol=1e-12)


def test_other_links_are_scikit_learns_half_losses():
    counts, _, z, s = rows()
    y, z = counts, np.abs(z) + 0.2
    theirs = HalfTweedieLossIdentity(power=1.6)
    ours = Tweedie(1.6, Identity())
    assert ours.deviance(y, z, s) == pytest.approx(2 * np.sum(s * theirs.loss(y, z)), rel=1e-12)
    gradient, hessian = theirs.gradient_hessian(y, z, sample_weight=s)
    np.testing.assert_allclose(ours.value_and_grad(y, z, s)[1], gradient, rtol=1e-12)
    np.testing.assert_allclose(ours.hess_dot(y, z, s, np.ones_like(z)), hessian, rtol=1e-12)
    shares, theirs = np.minimum(counts, 3) / 3, HalfBinomialLoss()
    assert Binomial().value(shares, z, s) == pytest.approx(np.sum(s * theirs.loss(shares, z)), rel=1e-12)


def test_the_powers_of_tweedie_that_have_names():
    counts, numbers, z, s = rows()
    for link in (Log(), Power(0.5)):
        at = z if link == Log() else np.abs(z) + 0.2
        for named, power, y in (
            (Gaussian(link), 0.0, counts),
            (Poisson(link), 1.0, counts),
            (Gamma(link), 2.0, numbers),
            (InverseGaussian(link), 3.0, numbers),
        ):
            value, grad = Tweedie(power, link).value_and_grad(y, at, s)
            assert named.value_and_grad(y, at, s)[0] == value
            assert np.array_equal(named.value_and_grad(y, at, s)[1], grad)
            mu = link.inverse(at)
            assert named.deviance(y, mu, s) == Tweedie(power, link).deviance(y, mu, s)


class Exponential(Link):
    """The logarithm under another name, for which no family has formulas of its own."""

    name = "exponential"

    def link(self, mu):
        return np.log(mu)

    def inverse(self, z):
        return np.exp(z)

    d1 = d2 = inverse


@pytest.mark.parametrize("family", [Poisson, Gamma, InverseGaussian, lambda link: Tweedie(1.4, link)])
def test_the_formulas_of_the_logarithmic_link_are_the_chain_rule(family):
    _, y, z, s = rows()

    plain = family(Exponential())
    value, grad = plain.value_and_grad(y, z, s)
    assert family(Log()).value(y, z, s) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(family(Log()).value_and_grad(y, z, s)[1], grad, rtol=1e-10, atol=1e-12)
    expected = plain.hess_dot(y, z, s, np.ones_like(z))
    np.testing.assert_allclose(family(Log()).hess_dot(y, z, s, np.ones_like(z)), expected, rtol=1e-9, atol=1e-11)


# --- the deviance and the likelihood ---


@pytest.mark.parametrize("power", [-1.2, 0.0, 1.0, 1.01, 1.5, 1.99, 2.0, 2.5, 3.0, 4.0])
def test_the_deviance_is_scikit_learns(power):
    counts, numbers, z, s = rows()
    y = numbers if power >= 2 else counts - (power <= 0)
    mu = np.exp(z)
    found = Tweedie(power).deviance(y, mu, s)
    assert found == pytest.approx(np.sum(s) * mean_tweedie_deviance(y, mu, sample_weight=s, power=power), rel=1e-10)
    if np.average(y, weights=s) > 0:
        null = Tweedie(power).deviance(y, np.full_like(y, np.average(y, weights=s)), s)
        assert 1 - found / null == pytest.approx(d2_tweedie_score(y, mu, sample_weight=s, power=power), rel=1e-10)


@pytest.mark.parametrize(
    "family", [Gaussian(), Poisson(), Gamma(), InverseGaussian(), Tweedie(1.5), Tweedie(-1.0), Binomial()], ids=repr
)
def test_the_deviance_is_twice_the_loss_less_its_least(family):
    _, numbers, z, s = rows()
    y = expit(z) if isinstance(family, Binomial) else numbers
    z = 0.3 + 0.5 * z
    own = family.link.link(y)
    expected = 2 * (family.value(y, z, s) - family.value(y, own, s))
    assert family.deviance(y, family.predict(z), s) == pytest.approx(expected, rel=1e-9)
    assert family.deviance(y, y, s) == pytest.approx(0, abs=1e-12)
    h = 1e-6
    mu = family.predict(z)
    for i in range(3):
        step = h * (np.arange(len(mu)) == i)
        slope = (family.deviance(y, mu + step, s) - family.deviance(y, mu - step, s)) / (2 * h)
        assert slope == pytest.approx((2 * s * (mu - y) / family.variance(mu))[i], rel=1e-4, abs=1e-6)


def test_the_deviance_is_never_negative_and_keeps_its_digits():
    _, y, _, _ = rows()
    for power in (-1.0, 1.0, 1.5, 2.0, 2.5, 3.0):
        assert min(Tweedie(power).deviance(y[i : i + 1], y[i : i + 1], 1.0) for i in range(len(y))) >= 0
    step = 2.0**-40
    for family in (Gaussian(), Gamma(), InverseGaussian()):
        near = family.deviance(np.ones(1), np.array([1 + step]), 1.0)
        assert near == pytest.approx(step**2, rel=1e-9, abs=0)


def test_the_deviance_of_shares():
    counts, _, z, s = rows()
    y, p = np.minimum(counts, 1), expit(z)
    expected = 2 * log_loss(y, p, normalize=False, sample_weight=s)
    assert Binomial().deviance(y, p, s) == pytest.approx(expected, rel=1e-12)


def test_the_deviance_at_the_edges():
    zero, one = np.zeros(1), np.ones(1)
    assert Poisson().deviance(zero, zero, 1.0) == 0
    assert Poisson().deviance(zero, 3 * one, 1.0) == pytest.approx(6.0)
    assert Tweedie(1.5).deviance(zero, zero, 1.0) == 0
    assert Binomial().deviance(one, one, 1.0) == Binomial().deviance(zero, zero, 1.0) == 0
    for family, y, mu in (
        (Poisson(), one, zero),
        (Poisson(), zero, -one),
        (Gamma(), one, -one),
        (Binomial(), one, zero),
        (Binomial(), zero, 2 * one),
        (Tweedie(1.5), one, zero),
        (Poisson(), one, np.nan * one),
    ):
        assert family.deviance(y, mu, 1.0) == np.inf
        assert family.deviance(np.append(y, 1.0), np.append(mu, 0.5), np.array([0.0, 1.0])) < np.inf


def test_the_likelihood_is_scipys():
    counts, y, z, s = rows()
    mu, phi = np.exp(z), 0.7
    p, hits = expit(z), np.minimum(counts, 1)
    for found, expected in (
        (Poisson().loglik(counts, z, s), stats.poisson.logpmf(counts, mu)),
        (Gaussian().loglik(y, z, s, phi), stats.norm.logpdf(y, z, np.sqrt(phi))),
        (Gamma().loglik(y, z, s, phi), stats.gamma.logpdf(y, 1 / phi, scale=mu * phi)),
        (InverseGaussian().loglik(y, z, s, phi), stats.invgauss.logpdf(y, mu * phi, scale=1 / phi)),
        (Binomial().loglik(hits, z, s), stats.bernoulli.logpmf(hits, p)),
    ):
        assert found == pytest.approx(np.sum(s * expected), rel=1e-11)
    assert Binomial().loglik(np.ones(1), np.full(1, 800.0), 1.0) == 0
    assert Binomial().loglik(np.ones(1), np.full(1, -800.0), 1.0) == -800


def test_the_likelihood_of_prior_weights():
    counts, y, z, s = rows()
    s, hits = np.rint(3 * s), np.minimum(counts, 1) / 2
    s[:3] = 0.0
    kept = s > 0.0
    normal = stats.norm.logpdf(y[kept], z[kept], np.sqrt(0.7 / s[kept]))
    assert Gaussian().prior_loglik(y, z, s, 0.7) == pytest.approx(np.sum(normal), rel=1e-11)
    trials = 2 * s
    expected = stats.binom.logpmf(np.rint(trials * hits), trials, expit(z))
    assert Binomial().prior_loglik(hits, z, trials) == pytest.approx(np.sum(expected), rel=1e-11)


def test_the_likelihood_ratio_is_the_deviance():
    counts, y, z, s = rows()
    mu = np.exp(z)
    for family, targets, phi in ((Poisson(), counts, 1.0), (Gamma(), y, 0.7), (InverseGaussian(), y, 0.7)):
        with np.errstate(divide="ignore"):
            ratio = family.loglik(targets, np.log(targets), s, phi) - family.loglik(targets, z, s, phi)
        assert family.deviance(targets, mu, s) == pytest.approx(2 * phi * ratio, rel=1e-10)


# --- the edges of domains ---


def test_outside_of_the_domain_the_loss_is_infinite():
    y, z = np.array([1.0, 1.0]), np.array([0.5, -0.5])
    for family in (Poisson(Identity()), Gamma(Inverse()), InverseGaussian(InverseSquared()), Poisson(Power(0.5))):
        assert family.value(y, z, 1.0) == np.inf
        value, grad = family.value_and_grad(y, z, 1.0)
        assert value == np.inf
        assert np.isfinite(grad[0])
        assert not np.isfinite(grad[1])
    for link in (Log(), Identity(), Inverse()):
        outside = np.array([0.5, -0.5]) if link != Identity() else np.array([-0.5, 1.5])
        for share in (0.0, 0.5, 1.0):
            for where in outside:
                inside = {"log": where < 0, "identity": 0 < where < 1, "inverse": where > 1}[link.name]
                assert np.isfinite(Binomial(link).value(np.array([share]), np.array([where]), 1.0)) == inside


@pytest.mark.parametrize(
    ("family", "z"), [(Poisson(Identity()), -1.0), (Poisson(), 1e4), (Gamma(), -1e4), (Binomial(CLogLog()), 1e4)]
)
def test_a_row_of_no_weight_counts_for_nothing(family, z):
    y, z, s = np.array([0.5, 0.5]), np.array([z, 0.4]), np.array([0.0, 2.0])
    value, grad = family.value_and_grad(y, z, s)
    assert value == family.value(y, z, s) == family.value(y[1:], z[1:], s[1:])
    assert grad.tolist() == [0.0, *family.value_and_grad(y[1:], z[1:], s[1:])[1]]
    assert family.hess_dot(y, z, s, np.ones(2))[0] == 0.0
    assert family.value(y, z, 1.0) == np.inf


def test_a_share_keeps_its_digits_in_both_tails():
    def near(value, rel=1e-13):
        return pytest.approx(value, rel=rel, abs=0)

    one, zero = np.ones(1), np.zeros(1)

    def at(link, y, z):
        z = np.array([z])
        value, grad = Binomial(link).value_and_grad(y, z, 1.0)
        return value, grad[0], Binomial(link).hess_dot(y, z, 1.0, one)[0]

    density = np.exp(-200.0) / np.sqrt(2 * np.pi)
    value, slope, curvature = at(Probit(), one, 20.0)
    assert value == near(-float(log_ndtr(20.0)))
    assert slope == near(-density, 1e-12)
    assert curvature == near(20 * density, 1e-12)
    # Mills' ratio far out: λ(z) = |z| + 1/|z| + …, and λ (λ + z) → 1
    value, slope, curvature = at(Probit(), one, -1e4)
    assert value == near(5e7 + np.log(1e4 * np.sqrt(2 * np.pi)), 1e-14)
    assert slope == near(-(1e4 + 1e-4), 1e-14)
    assert curvature == near(1.0, 1e-6)
    value, slope, curvature = at(CLogLog(), one, -50.0)
    assert (value, slope, curvature) == near((50.0, -1.0, 0.5 * np.exp(-50.0)))
    value, slope, curvature = at(CLogLog(), one, 4.0)
    assert value == near(-np.log1p(-np.exp(-np.exp(4.0))))
    value, slope, curvature = at(CLogLog(), zero, -50.0)
    assert (value, slope, curvature) == near((np.exp(-50.0),) * 3)
    assert at(CLogLog(), one, 1e4) == (0.0, 0.0, 0.0)
    value, slope, curvature = at(Log(), zero, -50.0)
    assert (value, slope, curvature) == near((np.exp(-50.0),) * 3)
    assert at(Log(), one, -1e4) == (1e4, -1.0, 0.0)


def test_the_curvature_of_cloglog_has_no_seam():
    z = np.log(1e-3) + np.array([-1e-12, 1e-12])
    below, above = Binomial(CLogLog()).hess_dot(np.ones(2), z, 1.0, np.ones(2))
    assert below == pytest.approx(above, rel=1e-10)


@pytest.mark.parametrize("power", [-2.0, 1.0, 1.001, 1.5, 1.999, 2.0, 2.5, 3.0])
def test_tweedie_far_out_is_infinite_or_zero_and_never_undefined(power):
    loss = Tweedie(power)
    y, z = np.array([0.5, 0.5]), np.array([-1e4, 1e4])
    if power < 2:
        y, z = np.append(y, [0.0, 0.0]), np.append(z, z)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for i in range(len(y)):
            value, grad = loss.value_and_grad(y[i : i + 1], z[i : i + 1], 1.0)
            curvature = loss.hess_dot(y[i : i + 1], z[i : i + 1], 1.0, np.ones(1))
            assert not np.isnan([value, grad[0], curvature[0]]).any()
            # too large a mean, or too small a one; for p < 1 the slope fades away below, for p > 2 above
            assert grad[0] >= 0 if z[i] > 0 or y[i] == 0 else (grad[0] < 0 or power < 1)


# --- what cannot be ---


def test_powers_that_no_distribution_has():
    for power in (0.5, 1e-9, np.nan, np.inf):
        with pytest.raises(SpecError, match="needed a finite number, at most 0 or at least 1: no distribution"):
            Tweedie(power)


def test_a_link_by_name_is_refused_in_words():
    for make in (Poisson, Binomial, Gaussian):
        with pytest.raises(SpecError, match=r"link is 'log'; needed a Link .* link_named\('log'\)"):
            make("log")


def test_targets_outside_of_the_family():
    assert str(Gamma().check(np.array([1.0, 0.0]))) == "y[1] is 0: Gamma needed numbers above 0"
    assert str(Tweedie(1.5).check(np.array([0.0, -0.5]))) == "y[1] is -0.5: Tweedie needed numbers, at least 0"
    assert str(Tweedie(-1.0).check(np.array([-0.5, np.nan]))) == "y[1] is nan: Tweedie needed finite numbers"
    assert str(Binomial().check(np.array([0.0, 1.5]))) == "y[1] is 1.5: Binomial needed shares, 0 to 1"


def test_the_module_loads_without_scipy_special():
    code = (
        "import sys, blockdot.objective.families; print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["False", "False"]
