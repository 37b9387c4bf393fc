"""The search satisfies the conditions it names, down to rounding error, or says why it cannot."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blockdot.errors import SpecError
from blockdot.solvers import Accepted, NoStep, Reason, StrongWolfe


class Curve:
    """A function of one variable as an objective."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope
        self.calls = 0

    def value_and_grad(self, w):
        self.calls += 1
        return self.value(w[0]), np.array([self.slope(w[0])])


def search(curve, x, direction, first=1.0, **options):
    w = np.array([x])
    value, grad = curve.value_and_grad(w)
    curve.calls = 0
    found = StrongWolfe(**options).search(curve, w, value, grad, np.array([direction]), first)
    assert w[0] == x
    assert found.evaluations == curve.calls
    return found


def assert_strong_wolfe(curve, x, direction, found, c1=1e-4, c2=0.9):
    value, slope = curve.value(x), curve.slope(x) * direction
    assert isinstance(found, Accepted), found
    assert found.w[0] == x + found.step * direction
    assert found.value == curve.value(found.w[0])
    assert found.grad[0] == curve.slope(found.w[0])
    assert found.value <= value + c1 * found.step * slope + 1e-12 * abs(value)
    assert abs(found.grad[0] * direction) <= c2 * abs(slope)


@settings(deadline=None, max_examples=300)
@given(
    curvature=st.floats(1e-3, 1e3),
    wave=st.floats(0.0, 5.0),
    frequency=st.floats(0.1, 5.0),
    phase=st.floats(0.0, 6.0),
    kink=st.floats(0.0, 10.0),
    x=st.floats(-20.0, 20.0),
    length=st.floats(1e-3, 1e3),
    first=st.floats(1e-4, 1e4),
    curvature_condition=st.sampled_from([0.9, 0.1]),
)
def test_strong_wolfe_holds(curvature, wave, frequency, phase, kink, x, length, first, curvature_condition):
    curve = Curve(
        lambda t: 0.5 * curvature * t * t + wave * math.cos(frequency * t + phase) + kink * math.sqrt(1.0 + t * t),
        lambda t: (
            curvature * t - wave * frequency * math.sin(frequency * t + phase) + kink * t / math.sqrt(1.0 + t * t)
        ),
    )
    assume(abs(curve.slope(x)) > 1e-3)
    direction = -math.copysign(length, curve.slope(x))
    found = search(curve, x, direction, first, curvature=curvature_condition)
    assert_strong_wolfe(curve, x, direction, found, c2=curvature_condition)


def test_a_first_trial_that_satisfies_both_conditions_is_taken():
    found = search(Curve(lambda t: 0.5 * t * t, lambda t: t), 1.0, -1.0)
    assert (found.step, found.evaluations) == (1.0, 1)


@pytest.mark.parametrize("first", [1e-12, 1e-6, 1e6, 1e12])
def test_cubic_interpolation_finds_the_minimum_of_a_quadratic_at_once(first):
    curve = Curve(lambda t: 0.5 * (t - 3.0) ** 2, lambda t: t - 3.0)
    found = search(curve, 0.0, 1.0, first, curvature=0.001)
    assert_strong_wolfe(curve, 0.0, 1.0, found, c2=0.001)
    assert found.evaluations <= 15  # growth is at most tenfold a trial, shrinking a hundredfold


def test_it_works_where_rounding_hides_every_decrease():
    # Around 1e-9 the values are all the same number: only the slopes know where the minimum is.
    curve = Curve(lambda t: 1e3 + 0.5 * t * t, lambda t: t)
    assert curve.value(1e-9) == curve.value(0.0)
    for first in (1e-3, 1.0, 1.99, 1e3):
        found = search(curve, 1e-9, -1e-9, first, curvature=0.1)
        assert isinstance(found, Accepted)
        assert abs(found.w[0]) <= 1e-10
        assert found.evaluations <= 4  # the secant of the slopes; a cubic through equal values would only bisect


def test_it_is_not_misled_by_noise_in_the_values():
    rng = np.random.default_rng(0)
    curve = Curve(lambda t: 10.0 * (1.0 + 1e-14 * rng.normal()) + 0.5 * t * t, lambda t: t)
    for _ in range(100):
        found = search(curve, 1e-8, -1e-8, 10.0 ** rng.uniform(-3, 3), curvature=0.5)
        assert isinstance(found, Accepted)
        assert abs(found.w[0]) <= 0.5e-8


def test_an_increase_beyond_rounding_is_not_taken_for_noise():
    # The slope at 1 is flat enough for the curvature condition, and the decrease demanded (1e-16) drowns in rounding,
    # but the value has risen by 1e-11.
    curve = Curve(lambda t: 1.0 if t < 0.5 else 1.0 + 1e-11, lambda t: -1e-12 if t < 0.5 else 0.0)
    found = search(curve, 0.0, 1.0)
    assert isinstance(found, NoStep)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_trials_that_are_not_finite_are_too_long(bad):
    curve = Curve(lambda t: t - math.log(t) if 0 < t < 50 else bad, lambda t: 1 - 1 / t if 0 < t < 50 else math.nan)
    found = search(curve, 1e-3, 1.0, 1e6)
    assert_strong_wolfe(curve, 1e-3, 1.0, found)
    assert found.evaluations <= 10  # a tenth each time
    found = search(curve, 40.0, -1.0, 1e6)
    assert_strong_wolfe(curve, 40.0, -1.0, found)
    assert found.evaluations <= 10


def test_failures_are_named():
    square = Curve(lambda t: t * t, lambda t: 2.0 * t)
    assert search(square, 1.0, 1.0) == NoStep(Reason.NOT_DESCENT, 0)
    assert search(square, 0.0, 1.0) == NoStep(Reason.NOT_DESCENT, 0)
    assert search(square, 1.0, math.nan) == NoStep(Reason.NOT_DESCENT, 0)
    assert search(square, 1.0, -1.0, 1e-20) == NoStep(Reason.TOO_SMALL, 0)
    line = Curve(lambda t: -t, lambda t: -1.0)
    assert search(line, 0.0, 1.0) == NoStep(Reason.UNBOUNDED, 40)
    wrong = Curve(lambda t: t, lambda t: -1.0)
    found = search(wrong, 1.0, 1.0, max_evaluations=7)
    assert found == NoStep(Reason.TOO_MANY, 7)
    assert search(wrong, 1.0, 1.0, max_evaluations=400).reason is Reason.TOO_SMALL


@pytest.mark.parametrize(
    "options",
    [
        {"sufficient": 0.0},
        {"sufficient": 0.95},
        {"curvature": 1.0},
        {"curvature": math.nan},
        {"sufficient": 0.3, "curvature": 0.5},
        {"max_evaluations": 0},
    ],
)
def test_conditions_that_no_step_need_satisfy_are_refused(options):
    with pytest.raises(SpecError, match="StrongWolfe"):
        StrongWolfe(**options)
