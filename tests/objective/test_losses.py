"""Losses and penalties: derivatives against differences, no overflow, and the proximal map by its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.layout import Layout
from blockdot.errors import SpecError
from blockdot.objective.losses import Logistic, Squared
from blockdot.objective.penalties import L2

LOSSES = [Squared(), Logistic()]
EXTREMES = np.array([-1e4, -800.0, -40.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 40.0, 800.0, 1e4])


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def loss(request):
    return request.param


def some_rows(loss, seed=0, n=50):
    rng = np.random.default_rng(seed)
    z = 3 * rng.normal(size=n)
    y = rng.normal(size=n) if isinstance(loss, Squared) else rng.integers(0, 2, n).astype(float)
    return y, z, rng.random(n) + 0.1, rng.normal(size=n)


def row_values(loss, y, z, s):
    """s ℓ(y, z) for each row by itself."""
    return np.array([loss.value(y[i : i + 1], z[i : i + 1], s[i : i + 1]) for i in range(len(y))])


def test_values_by_definition():
    y, z, s, _ = some_rows(Squared())
    assert Squared().value(y, z, s) == pytest.approx(np.sum(s * (y - z) ** 2) / 2, rel=1e-14)
    y, z, s, _ = some_rows(Logistic())
    p = 1 / (1 + np.exp(-z))
    expected = -np.sum(s * (y * np.log(p) + (1 - y) * np.log1p(-p)))
    assert Logistic().value(y, z, s) == pytest.approx(expected, rel=1e-12)


def test_value_and_gradient_agree_with_value(loss):
    y, z, s, _ = some_rows(loss)
    assert loss.value_and_grad(y, z, s)[0] == pytest.approx(loss.value(y, z, s), rel=1e-15)
    assert loss.value_and_grad(y, z, s)[1].shape == z.shape


def test_the_gradient_by_differences(loss):
    y, z, s, _ = some_rows(loss)
    h = 1e-5
    differences = (row_values(loss, y, z + h, s) - row_values(loss, y, z - h, s)) / (2 * h)
    np.testing.assert_allclose(loss.value_and_grad(y, z, s)[1], differences, rtol=1e-7, atol=1e-9)


def test_the_curvature_by_differences(loss):
    y, z, s, u = some_rows(loss)
    h = 1e-5
    differences = (loss.value_and_grad(y, z + h, s)[1] - loss.value_and_grad(y, z - h, s)[1]) / (2 * h)
    np.testing.assert_allclose(loss.hess_dot(y, z, s, u), differences * u, rtol=1e-7, atol=1e-9)


def test_weight_one_for_all_is_the_number_one(loss):
    y, z, _, u = some_rows(loss)
    ones = np.ones_like(y)
    assert loss.value(y, z, 1.0) == loss.value(y, z, ones)
    assert np.array_equal(loss.value_and_grad(y, z, 1.0)[1], loss.value_and_grad(y, z, ones)[1])
    assert np.array_equal(loss.hess_dot(y, z, 1.0, u), loss.hess_dot(y, z, ones, u))


def test_the_gradient_vanishes_where_the_prediction_is_the_target(loss):
    _, z, s, _ = some_rows(loss)
    np.testing.assert_allclose(loss.value_and_grad(loss.predict(z), z, s)[1], 0.0, atol=1e-15)


def test_inputs_are_not_written_to(loss):
    arrays = some_rows(loss)
    for array in arrays:
        array.flags.writeable = False
    y, z, s, u = arrays
    loss.value(y, z, s)
    loss.value_and_grad(y, z, s)
    loss.hess_dot(y, z, s, u)
    loss.predict(z)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_nothing_overflows(loss, target):
    y, s, u = np.full_like(EXTREMES, target), np.ones_like(EXTREMES), np.ones_like(EXTREMES)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, grad = loss.value_and_grad(y, EXTREMES, s)
        results = (value, loss.value(y, EXTREMES, s), grad, loss.hess_dot(y, EXTREMES, s, u), loss.predict(EXTREMES))
    assert all(np.all(np.isfinite(result)) for result in results)
    assert value >= 0
    assert np.all(results[3] >= 0)


def test_the_tails_of_the_logistic_loss_are_exact():
    one, loss = np.ones(1), Logistic()
    far = np.array([1e4])
    assert loss.value(one, far, one) == 0.0
    assert loss.value(0 * one, far, one) == 1e4
    assert loss.value(one, -far, one) == 1e4
    assert loss.value(0 * one, -far, one) == 0.0
    # e^z, where 1 + e^z would be 1
    assert loss.value(0 * one, np.array([-50.0]), one) == pytest.approx(np.exp(-50.0), rel=1e-14)
    assert loss.predict(np.array([-700.0]))[0] == pytest.approx(np.exp(-700.0), rel=1e-12)
    assert loss.predict(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert loss.hess_dot(one, np.array([-50.0]), one, one)[0] == pytest.approx(np.exp(-50.0), rel=1e-14)
    assert loss.hess_dot(one, np.array([50.0]), one, one)[0] == pytest.approx(np.exp(-50.0), rel=1e-14)


@given(st.floats(-1e4, 1e4))
def test_the_logistic_loss_is_symmetric(z):
    z, one, zero = np.array([z]), np.ones(1), np.zeros(1)
    rounding = 1e-15 * (1 + abs(z[0]))
    assert Logistic().value(one, z, one) == pytest.approx(Logistic().value(zero, -z, one), rel=1e-12, abs=rounding)
    assert Logistic().predict(z)[0] == pytest.approx(1 - Logistic().predict(-z)[0], abs=1e-15)


def test_predictions():
    z = np.array([-2.0, 0.0, 3.0])
    assert np.array_equal(Squared().predict(z), z)
    np.testing.assert_allclose(Logistic().predict(z), 1 / (1 + np.exp(-z)), rtol=1e-15)


# --- penalties ---


@st.composite
def penalised(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = Layout(draw(st.integers(1, 3)), draw(st.integers(0, 2)))
    w = rng.normal(size=layout.size(draw(st.integers(0, 6))))
    return L2(draw(st.sampled_from([0.0, 1e-3, 0.7, 20.0]))), layout, w, rng


@settings(deadline=None)
@given(penalised())
def test_l2_by_definition(case):
    penalty, layout, w, rng = case
    features = len(w) - layout.tail
    mask = np.arange(len(w)) < features
    assert penalty.value(w, layout) == pytest.approx(penalty.alpha / 2 * np.sum(w[mask] ** 2), rel=1e-14)
    assert np.array_equal(penalty.grad(w, layout), penalty.alpha * w * mask)
    v = rng.normal(size=len(w))
    assert np.array_equal(penalty.hess_dot(v, layout), penalty.alpha * v * mask)


@settings(deadline=None)
@given(penalised(), st.sampled_from([1e-3, 1.0, 30.0]))
def test_prox_minimises_what_it_says(case, step):
    penalty, layout, v, rng = case
    before = v.copy()

    def distance(w):
        return np.sum((w - v) ** 2) / 2 + step * penalty.value(w, layout)

    w = penalty.prox(v, step, layout)
    assert np.array_equal(v, before)
    np.testing.assert_allclose(w - v + step * penalty.grad(w, layout), 0.0, atol=1e-13)
    assert np.array_equal(w[len(w) - layout.tail :], v[len(v) - layout.tail :])
    for scale in (1e-3, 0.1, 1.0):
        assert distance(w) <= distance(w + scale * rng.normal(size=len(w))) + 1e-12


@pytest.mark.parametrize("alpha", [-1e-9, np.nan, np.inf, -np.inf])
def test_a_strength_that_makes_no_sense(alpha):
    with pytest.raises(SpecError, match="needed a finite number, at least 0"):
        L2(alpha)
