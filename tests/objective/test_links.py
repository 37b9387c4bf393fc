"""Links: their inverses, their derivatives by differences, their tails."""

import numpy as np
import pytest

from blockdot.errors import SpecError
from blockdot.objective.links import (
    LINKS,
    CLogLog,
    Identity,
    Inverse,
    InverseSquared,
    Log,
    Power,
    Probit,
    link_named,
)

ALL_LINKS = [*LINKS.values(), Power(0.0), Power(0.5), Power(1.0), Power(-1.5), Power(3.0)]


def z_of(link, n=41):
    """Points of the link's domain."""
    if isinstance(link, (Inverse, InverseSquared)) or (isinstance(link, Power) and link.power not in (0.0, 1.0)):
        return np.linspace(0.2, 4, n)
    return np.linspace(-3, 3, n)


@pytest.mark.parametrize("link", ALL_LINKS, ids=lambda link: link.name)
def test_a_link_and_its_inverse(link):
    z = z_of(link)
    mu = link.inverse(z)
    np.testing.assert_allclose(link.link(mu), z, rtol=1e-9, atol=1e-12)
    if not isinstance(link, (Identity, Power)):
        assert np.all((mu > link.lowest) & (mu < link.highest))


@pytest.mark.parametrize("link", ALL_LINKS, ids=lambda link: link.name)
def test_the_derivatives_of_a_link_by_differences(link):
    z, h = z_of(link), 1e-5
    for function, derivative in ((link.inverse, link.d1), (link.d1, link.d2)):
        expected = (function(z + h) - function(z - h)) / (2 * h)
        scale = 1 + np.abs(function(z)).max()
        np.testing.assert_allclose(derivative(z), expected, rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("link", [Log(), Probit(), CLogLog(), Identity(), Power(2.0)], ids=lambda link: link.name)
def test_the_tails_of_a_link_by_their_definition_and_by_differences(link):
    z = {"log": np.linspace(-4, -0.1, 41), "identity": np.linspace(0.1, 0.9, 41), "power(2)": np.linspace(0.1, 0.9, 41)}
    z, h = z.get(link.name, np.linspace(-2, 1.2, 41)), 1e-5
    mu = link.inverse(z)
    np.testing.assert_allclose(link.log_tails(z), [np.log(mu), np.log(1 - mu)], rtol=1e-11)
    for function, derivative in ((link.log_tails, link.log_tails_d1), (link.log_tails_d1, link.log_tails_d2)):
        expected = (np.array(function(z + h)) - np.array(function(z - h))) / (2 * h)
        np.testing.assert_allclose(derivative(z), expected, rtol=1e-7, atol=1e-7)


def test_links_do_not_overflow_nor_warn():
    z = np.array([-1e4, -800.0, -1.0, 0.0, 1.0, 800.0, 1e4])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for link in ALL_LINKS:
            results = [link.inverse(z), link.d1(z), link.d2(z)]
            if link.name in ("identity", "logit", "probit", "cloglog"):
                assert np.all(np.isfinite(results))
            tails = [*link.log_tails(z), *link.log_tails_d1(z), *link.log_tails_d2(z)]
            assert link.name not in ("probit", "cloglog") or not np.any(np.isnan(tails))


def test_a_link_outside_of_its_domain_is_not_a_number():
    assert np.isnan(Inverse().inverse(np.zeros(1)))[0]
    for link in (InverseSquared(), Power(0.5), Power(-1.0)):
        assert np.all(np.isnan([link.inverse(np.array([0.0, -1.0])), link.d1(np.array([0.0, -1.0]))]))
    assert Power(1.0).inverse(np.array([-2.0]))[0] == -2.0


def test_links_by_name():
    assert {name: link_named(name).name for name in LINKS} == {name: name for name in LINKS}
    assert link_named("power(0.5)") == Power(0.5)
    assert all(link_named(link.name) == link for link in ALL_LINKS)
    for name in ("loglog", "power(x)", "power"):
        with pytest.raises(SpecError, match=r"needed one of identity, log, logit, .*, or power\(p\) with a number p"):
            link_named(name)
    with pytest.raises(SpecError, match="power of a link is inf"):
        Power(np.inf)
