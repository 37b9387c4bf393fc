"""Where a path goes on: polynomials through the last points, and what they leave alone."""

import numpy as np
import pytest

import blockdot as bd
from blockdot.models import path
from blockdot.models.extrapolation import ahead, later
from blockdot.models.folds import HashedFolds
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe

RATIOS = [1.0, 0.5, 0.25, 0.125]
UNEVEN = [1.0, 0.7, 0.3, 0.1]


@pytest.mark.parametrize("alphas", [RATIOS, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("degree", [0, 1])
def test_a_polynomial_in_log_alpha_is_met(alphas, degree):
    c = np.random.default_rng(0).uniform(1.0, 2.0, (degree + 1, 5))
    at = [np.polynomial.polynomial.polyval(-np.log(alpha), c) for alpha in alphas]
    found = ahead(np.array(at[1:3]), alphas[1:3], alphas[3])
    np.testing.assert_allclose(found, at[3], rtol=1e-12)


def test_a_line_of_even_ratios_by_hand():
    points = np.array([[2.0, 4.0], [4.0, 3.5]])
    assert ahead(points, RATIOS[:2], RATIOS[2]) == pytest.approx([2 * 4 - 2, 2 * 3.5 - 4])
    assert ahead(points[1:], RATIOS[:2], RATIOS[2]).tolist() == [4.0, 3.5]


def test_what_is_zero_or_would_change_its_sign_is_zero():
    points = np.array([[1.0, 0.3, -0.2], [0.5, 0.0, 0.1]])
    assert ahead(points, [1.0, 0.5], 0.25).tolist() == [0.0, 0.0, pytest.approx(0.4)]


@pytest.mark.parametrize(
    ("alphas", "alpha"),
    [((1.0, 0.9), 1e-6), ((1.0, 0.0), 0.0), ((1.0, 0.5), 0.0), ((0.5, 0.5), 0.25), ((1.0, 0.5), 0.5)],
    ids=["a leap", "zeros", "to zero", "the same twice", "the last again"],
)
def test_it_stays_where_nothing_is_known(alphas, alpha):
    points = np.array([[1.0], [2.0]])
    assert ahead(points, alphas, alpha).tolist() == [2.0]


def test_two_points_are_kept():
    points = np.zeros((1, 2))
    for i in range(5):
        points = later(points, np.full(2, float(i)))
    assert points.tolist() == [[3.0, 3.0], [4.0, 4.0]]


def rows():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 12))
    return (
        X,
        rng.poisson(np.exp(X[:, 0] - 0.5 * X[:, 1])).astype(float),
        (X[:, 0] + rng.normal(size=400) > 0).astype(float),
    )


@pytest.mark.parametrize(
    ("loss", "options"),
    [("logistic", {}), ("logistic", {"l1_ratio": 0.7}), ("poisson", {}), ("squared-hinge", {}),
     ("logistic", {"l1_ratio": 0.5, "lower": 0.0, "upper": 0.2})],
)  # fmt: skip
@pytest.mark.parametrize("alphas", [np.geomspace(0.3, 1e-3, 8), [1.0, 1e-4, 0.0]], ids=["even", "leaps"])
def test_a_path_is_the_same_wherever_it_starts(loss, options, alphas, monkeypatch):
    X, counts, y = rows()
    data = bd.Dataset.from_arrays(X, counts if loss == "poisson" else y)
    recipe = Recipe(loss, tol=1e-9, max_iter=5000, **options)

    def walked():
        return fit_path(data, recipe, bd.ThreadPool(1), Grid(alphas), HashedFolds(3))[1]

    found = walked()
    monkeypatch.setattr(path, "ahead", lambda points, alphas, alpha: points[-1])
    expected = walked()
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-3, atol=2e-4)


def test_a_start_that_leads_nowhere_is_given_up(monkeypatch):
    X, counts, _ = rows()
    data, recipe = bd.Dataset.from_arrays(X, counts), Recipe("poisson", tol=1e-8, max_iter=500)
    grid, folds = Grid([0.3, 0.1, 0.03]), HashedFolds(3)
    expected = fit_path(data, recipe, bd.ThreadPool(1), grid, folds)[1]
    monkeypatch.setattr(path, "ahead", lambda points, alphas, alpha: 1e6 * (points[-1] + 1.0))
    found = fit_path(data, recipe, bd.ThreadPool(1), grid, folds)[1]
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-5, atol=1e-6)
