"""The quadratic model over a box: its minimum against scipy, step by step downhill, and the head from any guess."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize

from blockdot.solvers import box_model
from blockdot.solvers.box_model import Box, Head, Metric, least
from blockdot.solvers.preconditioner import correlations


def random_box(seed, columns=40):
    """A Hessian, a gradient, and a box around 0, open to some sides and without inside at others."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(60, columns)) + 2.0 * rng.normal(size=(60, 1))
    lower, upper = -rng.random(columns), rng.random(columns)
    lower[rng.random(columns) < 0.3], upper[rng.random(columns) < 0.3] = -np.inf, np.inf
    lower[:3] = upper[:3] = 0.0
    return A, rng.normal(size=columns) * 20.0, Box(lower, upper)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0, 20, 40])
def test_the_model_is_least_over_the_box(seed, share):
    A, v, box = random_box(seed)
    H = A.T @ A
    free = box.lower < box.upper
    v[~free] = 0.0
    head = np.arange(share)
    metric = Metric(np.diag(H).copy(), [(head, H[np.ix_(head, head)])] if share else [], free)
    s, products = least(lambda u: np.where(free, H @ u, 0.0), v, box, metric, 1e-9, 2000)
    peer = scipy.optimize.lsq_linear(
        A[:, free], -np.linalg.pinv(A[:, free].T) @ v[free], (box.lower[free], box.upper[free]), "bvls", tol=1e-15
    )
    np.testing.assert_allclose(s[free], peer.x, atol=1e-6)
    assert not np.any(s[~free])
    assert products <= (40 if share == 40 else 2000)
    assert box.is_met(s).sum() > 8


@pytest.mark.parametrize("eta", [0.5, 0.1, 1e-3])
def test_every_product_lowers_the_model_and_stays_in_the_box(eta):
    A, v, box = random_box(11)
    H = A.T @ A
    free = box.lower < box.upper
    v[~free] = 0.0
    values = []
    for most in range(1, 30):
        s, _ = least(lambda u: np.where(free, H @ u, 0.0), v, box, Metric(np.diag(H).copy(), [], free), eta, most)
        assert np.all((s >= box.lower) & (s <= box.upper))
        values.append(v @ s + 0.5 * s @ H @ s)
    assert values[0] < 0.0
    assert all(after <= before for before, after in pairwise(values))


def test_a_direction_without_curvature_ends_at_a_bound_or_after_a_step():
    free = np.ones(2, bool)
    metric = Metric(np.ones(2), [], free)
    for upper, expected in ((3.0, 3.0), (np.inf, 1.0)):
        box = Box(np.full(2, -np.inf), np.full(2, upper))
        s, products = least(lambda u: 0.0 * u, np.array([-1.0, 0.0]), box, metric, 0.1, 100)
        assert s.tolist() == [expected, 0.0]
        assert products == 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("close", [0.0, 0.05])
def test_the_head_is_solved_from_any_guess(seed, close, monkeypatch):
    """Exactly: C (x − s) + slope is 0 inside the box, and leads outwards at its bounds. Nearly: below where s is."""
    monkeypatch.setattr(box_model, "_CLOSE", close)
    rng = np.random.default_rng(seed)
    A, slope, box = random_box(seed)
    C = correlations(A.T @ A)
    lower, upper = np.minimum(box.lower, -0.1), np.maximum(box.upper, 0.1)
    s = np.clip(rng.normal(size=40), lower, upper)
    head = Head(C)
    for guess in (s, np.where(rng.random(40) < 0.5, lower, upper)):
        x = head.minimum(s, slope, lower, upper, np.where(np.isfinite(guess), guess, s))
        assert np.all((x >= lower) & (x <= upper))
        assert slope @ (x - s) + 0.5 * (x - s) @ C @ (x - s) < 0.0
        if close == 0.0:
            gradient = C @ (x - s) + slope
            assert np.abs(gradient[(x > lower) & (x < upper)]).max() < 1e-9
            assert gradient[x == lower].min() >= 0.0 >= gradient[x == upper].max()
            assert 5 < np.count_nonzero((x > lower) & (x < upper)) < 35


def test_a_head_that_takes_too_many_exchanges_is_left_to_the_diagonal(monkeypatch):
    monkeypatch.setattr(box_model, "_EXCHANGES", 1)
    monkeypatch.setattr(box_model, "_CLOSE", 0.0)
    A, v, box = random_box(3)
    H, free = A.T @ A, box.lower < box.upper
    with_head = Metric(np.diag(H).copy(), [(np.arange(40), H)], free)
    without = Metric(np.diag(H).copy(), [], free)
    s = np.zeros(40)
    v = np.where(free, v, 0.0)
    np.testing.assert_array_equal(with_head.minimum(s, v, box, 1.0, s), without.minimum(s, v, box, 1.0, s))


def test_an_indefinite_sample_is_no_head():
    free = np.ones(3, bool)
    indefinite = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    metric = Metric(np.array([1.0, 2.0, 4.0]), [(np.arange(3), indefinite)], free)
    assert metric.square(np.ones(3)) == 7.0
    box = Box(np.full(3, -np.inf), np.full(3, np.inf))
    assert metric.minimum(np.zeros(3), np.ones(3), box, 0.5, np.zeros(3)).tolist() == [-2.0, -1.0, -0.5]
