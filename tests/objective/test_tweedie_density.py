"""The density of a Poisson number of gamma variables: by its definition, and a probability in all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from blockdot.objective.families import Gamma, Tweedie
from blockdot.objective.tweedie_density import log_density


def parts(mu, phi, p):
    """The rate of the number of gamma variables, and their shape and scale."""
    return mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)


@settings(max_examples=60, deadline=None)
@given(st.floats(1.05, 1.95), st.floats(0.05, 20.0), st.floats(0.2, 5.0), st.just(0.0) | st.floats(1e-6, 40.0))
def test_it_is_the_sum_over_the_number_of_variables(p, mu, phi, y):
    rate, shape, scale = parts(mu, phi, p)
    found = log_density(np.array([y]), np.array([mu]), np.array([phi]), p)[0]
    if y == 0.0:
        assert found == pytest.approx(-rate)
        return
    n = np.arange(1, 20_000)
    terms = stats.poisson.logpmf(n, rate) + stats.gamma.logpdf(y, n * shape, scale=scale)
    assert found == pytest.approx(np.logaddexp.reduce(terms), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("p", [1.2, 1.5, 1.8])
def test_it_adds_up_to_one(p):
    mu, phi = 2.0, 0.7
    density = lambda y: np.exp(log_density(np.array([y]), np.array([mu]), np.array([phi]), p)[0])  # noqa: E731
    positive = integrate.quad(density, 1e-12, 60.0, limit=400, points=[0.1, 1.0, 5.0])[0]
    assert density(0.0) + positive == pytest.approx(1.0, abs=1e-6)


def test_many_rows_with_few_and_many_terms_are_each_as_alone():
    rng = np.random.default_rng(0)
    y, mu = np.append(rng.gamma(1.0, 3.0, 500), [0.0, 1e6, 1e-9]), rng.uniform(0.5, 5.0, 503)
    phi = np.append(rng.uniform(1e-4, 2.0, 500), [1.0, 1.0, 1.0])
    together = log_density(y, mu, phi, 1.5)
    alone = [log_density(y[[i]], mu[[i]], phi[[i]], 1.5)[0] for i in range(503)]
    np.testing.assert_allclose(together, alone, rtol=1e-10)


def test_weights_and_other_powers():
    y, z, s = np.array([1.0, 0.0, 2.5]), np.array([0.1, 0.3, -0.2]), np.array([2.0, 1.0, 0.0])
    family = Tweedie(1.5)
    each = log_density(y, np.exp(z), np.full(3, 0.8), 1.5)
    assert family.loglik(y, z, s, 0.8) == pytest.approx(2 * each[0] + each[1])
    precise = log_density(y[:2], np.exp(z[:2]), 0.8 / s[:2], 1.5)
    assert family.prior_loglik(y, z, s, 0.8) == pytest.approx(np.sum(precise))
    assert family.loglik(y, z, 1.0, 0.8) == pytest.approx(np.sum(each))
    assert Tweedie(2.0).loglik(y[[0, 2]], z[[0, 2]], 1.0, 0.8) == Gamma().loglik(y[[0, 2]], z[[0, 2]], 1.0, 0.8)
    assert np.isnan(Tweedie(2.5).loglik(y[[0]], z[[0]], 1.0, 0.8))


def test_the_saddle_point_goes_on_where_the_series_ends():
    y, mu = np.array([2.0, 2.0]), np.array([2.0001, 2.0001])
    peak = 1e7 * np.array([0.999999, 1.000001])
    phi = y**0.5 / (0.5 * peak)
    below, beyond = log_density(y, mu, phi, 1.5)
    assert beyond == pytest.approx(below, abs=1e-4)
    tiny = log_density(np.array([2.0, 0.0]), np.array([2.0, 2.0]), np.array([1e-28, 1e-28]), 1.5)
    assert np.isfinite(tiny[0])
    assert tiny[1] < -1e27
    assert Tweedie(1.5).loglik(y, np.log(y), 1.0, 0.0) == np.inf
    assert np.isnan(Tweedie(1.0).loglik(y, np.log(y), 1.0, 1.0))
