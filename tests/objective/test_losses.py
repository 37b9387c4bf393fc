"""Losses: derivatives against differences, no overflow, weights that count rows; and the ridge by its definition."""

from dataclasses import FrozenInstanceError
from typing import NamedTuple

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Gamma, Gaussian, InverseGaussian, Poisson, Tweedie
from blockdot.objective.links import CLogLog, Identity, Inverse, InverseSquared, Log, Power, Probit
from blockdot.objective.losses import Logistic, Squared
from blockdot.objective.multiclass import BinaryCrossEntropy, Softmax
from blockdot.objective.robust import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Quantile,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)

EXTREMES = np.array([-1e4, -800.0, -40.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 40.0, 800.0, 1e4])


class Case(NamedTuple):
    """A loss, what its targets are, and the z of its domain."""

    loss: object
    targets: str
    domain: str = "real"


CASES = {
    "squared": Case(Squared(), "real"),
    "logistic": Case(Logistic(), "binary"),
    "huber": Case(Huber(0.7), "real"),
    "quantile": Case(Quantile(0.3, 0.5), "real"),
    "hinge": Case(Hinge(0.5), "binary"),
    "squared hinge": Case(SquaredHinge(), "binary"),
    "epsilon insensitive": Case(EpsilonInsensitive(0.2, 0.5), "real"),
    "squared epsilon insensitive": Case(SquaredEpsilonInsensitive(0.2), "real"),
    "gaussian": Case(Gaussian(), "real"),
    "gaussian log": Case(Gaussian(Log()), "real"),
    "gaussian inverse": Case(Gaussian(Inverse()), "real", "positive"),
    "poisson": Case(Poisson(), "counts"),
    "poisson identity": Case(Poisson(Identity()), "counts", "positive"),
    "poisson root": Case(Poisson(Power(0.5)), "counts", "positive"),
    "poisson power 0": Case(Poisson(Power(0.0)), "counts"),
    "poisson power 1": Case(Poisson(Power(1.0)), "counts", "positive"),
    "gamma": Case(Gamma(), "positive"),
    "gamma inverse": Case(Gamma(Inverse()), "positive", "positive"),
    "gamma identity": Case(Gamma(Identity()), "positive", "positive"),
    "inverse gaussian": Case(InverseGaussian(), "positive"),
    "inverse gaussian inverse squared": Case(InverseGaussian(InverseSquared()), "positive", "positive"),
    "tweedie -0.5": Case(Tweedie(-0.5), "real"),
    "tweedie 0": Case(Tweedie(0.0), "real"),
    "tweedie 1": Case(Tweedie(1.0), "counts"),
    "tweedie 1.1": Case(Tweedie(1.1), "counts"),
    "tweedie 1.5": Case(Tweedie(), "counts"),
    "tweedie 1.9": Case(Tweedie(1.9), "counts"),
    "tweedie 2": Case(Tweedie(2.0), "positive"),
    "tweedie 2.5": Case(Tweedie(2.5), "positive"),
    "tweedie 3": Case(Tweedie(3.0), "positive"),
    "tweedie 1.5 root": Case(Tweedie(1.5, Power(0.5)), "counts", "positive"),
    "binomial": Case(Binomial(), "shares"),
    "binomial probit": Case(Binomial(Probit()), "shares"),
    "binomial cloglog": Case(Binomial(CLogLog()), "shares"),
    "binomial log": Case(Binomial(Log()), "shares", "negative"),
    "binomial identity": Case(Binomial(Identity()), "shares", "share"),
    "softmax": Case(Softmax(4), "classes"),
    "softmax of two": Case(Softmax(2), "two classes"),
    "one against the rest": Case(BinaryCrossEntropy(4), "classes"),
    "labels": Case(BinaryCrossEntropy(4), "labels"),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


def draw_targets(kind, rng, n):
    return {
        "real": lambda: rng.normal(size=n),
        "binary": lambda: rng.integers(0, 2, n).astype(float),
        "counts": lambda: rng.poisson(1.0, n).astype(float),
        "positive": lambda: rng.gamma(2.0, size=n) + 0.1,
        "shares": lambda: rng.integers(0, 4, n) / 3,
        "classes": lambda: rng.integers(0, 4, n).astype(float),
        "two classes": lambda: rng.integers(0, 2, n).astype(float),
        "labels": lambda: rng.integers(0, 2, (n, 4)).astype(float),
    }[kind]()


def draw_z(domain, rng, shape):
    z = rng.normal(size=shape)
    return {
        "real": 2 * z,
        "positive": np.abs(z) + 0.3,
        "negative": -np.abs(z) - 0.1,
        "share": 0.1 + 0.8 / (1 + np.exp(-z)),
    }[domain]


def some_rows(case, seed=0, n=50):
    """y, z, s and u."""
    rng = np.random.default_rng(seed)
    outputs = case.loss.outputs
    shape = n if outputs is None else (n, outputs)
    return (
        draw_targets(case.targets, rng, n),
        draw_z(case.domain, rng, shape),
        rng.random(n) + 0.1,
        rng.normal(size=shape),
    )


def row_values(loss, y, z, s):
    """s ℓ(y, z) for each row by itself."""
    return np.array([loss.value(y[i : i + 1], z[i : i + 1], s[i : i + 1]) for i in range(len(y))])


def columns(z):
    """For each output, what is 1 there and 0 in the others: a step along it."""
    if z.ndim == 1:
        yield np.ones_like(z)
        return
    for c in range(z.shape[1]):
        step = np.zeros_like(z)
        step[:, c] = 1
        yield step


def test_values_by_definition():
    y, z, s, _ = some_rows(CASES["squared"])
    assert Squared().value(y, z, s) == pytest.approx(np.sum(s * (y - z) ** 2) / 2, rel=1e-14)
    y, z, s, _ = some_rows(CASES["logistic"])
    p = 1 / (1 + np.exp(-z))
    expected = -np.sum(s * (y * np.log(p) + (1 - y) * np.log1p(-p)))
    assert Logistic().value(y, z, s) == pytest.approx(expected, rel=1e-12)


def test_value_and_gradient_agree_with_value(case):
    y, z, s, _ = some_rows(case)
    value, grad = case.loss.value_and_grad(y, z, s)
    assert value == pytest.approx(case.loss.value(y, z, s), rel=1e-14)
    assert np.isfinite(value)
    assert grad.shape == z.shape
    assert np.linalg.norm(grad) > 0.1


def test_the_gradient_by_differences(case):
    y, z, s, _ = some_rows(case)
    h = 1e-5
    grad = case.loss.value_and_grad(y, z, s)[1]
    scale = 1 + np.abs(row_values(case.loss, y, z, s)).max()
    for step in columns(z):
        higher, lower = (row_values(case.loss, y, z + t * step, s) for t in (h, -h))
        found = grad if z.ndim == 1 else np.sum(grad * step, axis=1)
        np.testing.assert_allclose(found, (higher - lower) / (2 * h), rtol=1e-7, atol=1e-9 * scale)


def test_the_curvature_by_differences(case):
    y, z, s, u = some_rows(case)
    h = 1e-5
    higher, lower = (case.loss.value_and_grad(y, z + t * u, s)[1] for t in (h, -h))
    scale = 1 + np.abs(higher).max()
    product = case.loss.hess_dot(y, z, s, u)
    np.testing.assert_allclose(product, (higher - lower) / (2 * h), rtol=1e-7, atol=1e-9 * scale)
    assert np.linalg.norm(product) > 0.1


def test_the_diagonal_of_the_curvature_is_that_of_its_products(case):
    y, z, s, _ = some_rows(case)
    found = getattr(case.loss, "hess_diag", None)
    for step in columns(z):
        product = case.loss.hess_dot(y, z, s, step)
        if found is None:  # pointwise: a step along one output moves no other slope
            assert np.all(product[step == 0] == 0)
        else:
            np.testing.assert_allclose(
                np.sum(found(y, z, s) * step, axis=1), np.sum(product * step, axis=1), rtol=1e-12
            )


def test_self_concordance_by_differences(case):
    bound = getattr(case.loss, "self_concordance", None)
    if bound is None:
        return
    h = 1e-4
    for seed in range(5):
        y, z, s, _ = some_rows(case, seed)
        below, here, above = (case.loss.hess_dot(y, z + t, s, np.ones_like(z)) for t in (-h, 0.0, h))
        assert np.all(np.abs(above - below) / (2 * h) <= bound * here * (1 + 1e-6) + 1e-9)


def test_weight_one_for_all_is_the_number_one(case):
    loss, (y, z, _, u) = case.loss, some_rows(case)
    ones = np.ones(len(y))
    assert loss.value(y, z, 1.0) == loss.value(y, z, ones)
    assert np.array_equal(loss.value_and_grad(y, z, 1.0)[1], loss.value_and_grad(y, z, ones)[1])
    assert np.array_equal(loss.hess_dot(y, z, 1.0, u), loss.hess_dot(y, z, ones, u))
    if hasattr(loss, "hess_diag"):
        assert np.array_equal(loss.hess_diag(y, z, 1.0), loss.hess_diag(y, z, ones))


def test_whole_weights_are_repeated_rows(case):
    loss, (y, z, _, u) = case.loss, some_rows(case)
    times = np.arange(len(y)) % 4
    s, again = times.astype(float), np.repeat(np.arange(len(y)), times)
    assert loss.value(y, z, s) == pytest.approx(loss.value(y[again], z[again], 1.0), rel=1e-12)
    starts = np.flatnonzero(np.diff(again, prepend=-1))
    for weighted, repeated in (
        (loss.value_and_grad(y, z, s)[1], loss.value_and_grad(y[again], z[again], 1.0)[1]),
        (loss.hess_dot(y, z, s, u), loss.hess_dot(y[again], z[again], 1.0, u[again])),
    ):
        summed = np.add.reduceat(repeated, starts, axis=0)
        np.testing.assert_allclose(weighted[times > 0], summed, rtol=1e-12, atol=1e-14)
        assert np.all(weighted[times == 0] == 0)


def test_the_gradient_vanishes_where_the_prediction_is_the_target(case):
    if isinstance(case.loss, (Hinge, SquaredHinge, Quantile, Softmax, BinaryCrossEntropy)):
        return
    _, z, s, _ = some_rows(case)
    y = case.loss.predict(z)
    per_digit = np.abs(case.loss.hess_dot(y, z, s, np.ones_like(z)))
    assert np.all(np.abs(case.loss.value_and_grad(y, z, s)[1]) <= 1e-14 * (1 + per_digit))


def test_the_start_is_the_best_constant(case):
    start = getattr(case.loss, "start_z", None)
    if start is None:
        return
    y, z, s, _ = some_rows(case)
    y = np.abs(y)  # a mean that every link takes
    outputs = case.loss.outputs
    members = y if outputs is None or y.ndim == 2 else np.eye(outputs)[y.astype(int)]
    z[:] = start(np.average(members, axis=0, weights=s))
    np.testing.assert_allclose(np.sum(case.loss.value_and_grad(y, z, s)[1], axis=0), 0.0, atol=1e-12)


def test_inputs_are_not_written_to(case):
    arrays = some_rows(case)
    for array in arrays:
        array.flags.writeable = False
    loss, (y, z, s, u) = case.loss, arrays
    for weights in (s, 1.0):
        loss.value(y, z, weights)
        loss.value_and_grad(y, z, weights)
        loss.hess_dot(y, z, weights, u)
    loss.predict(z)
    loss.check(y)
    if hasattr(loss, "hess_diag"):
        loss.hess_diag(y, z, s)


def test_a_loss_travels_and_stays_as_it_is(case):
    arrived = cloudpickle.loads(cloudpickle.dumps(case.loss))
    y, z, s, _ = some_rows(case)
    assert arrived == case.loss
    assert arrived.value(y, z, s) == case.loss.value(y, z, s)
    with pytest.raises(FrozenInstanceError):
        case.loss.anything = 1


# what e^z, or a power of it, makes infinite: these losses are where they are
EXPONENTIAL = (Gaussian, Poisson, Gamma, InverseGaussian, Tweedie)


def extreme_rows(case):
    """Every extreme z of the domain with each of the targets, and for K outputs every pair of extremes."""
    z = {
        "real": EXTREMES,
        "positive": np.array([1e-4, 1.0, 40.0, 800.0, 1e4]),
        "negative": np.array([-1e4, -800.0, -40.0, -1.0, -1e-9]),
        "share": np.array([1e-9, 0.5, 1 - 1e-9]),
    }[case.domain]
    targets = {
        "real": [-2.0, 0.0, 3.0],
        "positive": [1e-3, 1.0, 1e3],
        "counts": [0.0, 1.0, 50.0],
        "shares": [0.0, 0.25, 1.0],
    }.get(case.targets, [0.0, 1.0])
    if case.loss.outputs is None:
        return np.repeat(targets, len(z)), np.tile(z, len(targets))
    first, second = np.repeat(z, len(z)), np.tile(z, len(z))
    z = np.zeros((len(first), case.loss.outputs))
    z[:, 0], z[:, 1] = first, second
    rows = np.vstack([z] * len(targets))
    y = np.repeat(targets, len(z))
    return (y, rows) if case.targets != "labels" else (np.repeat(y[:, None], 4, axis=1), rows)


def test_nothing_warns_and_nothing_is_lost(case):
    loss, (y, z) = case.loss, extreme_rows(case)
    s, u = np.ones(len(y)), np.ones_like(z)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, grad = loss.value_and_grad(y, z, s)
        values = row_values(loss, y, z, s)
        results = (grad, loss.hess_dot(y, z, s, u), loss.predict(z), loss.value(y, z, s), value)
    if isinstance(loss, EXPONENTIAL) or isinstance(getattr(loss, "link", None), CLogLog):
        far = np.abs(z) > 40
        assert np.all(values > -np.inf)
        assert np.all(np.isfinite(values[~far]))
        if not isinstance(loss, (Gaussian, Tweedie)) or getattr(loss, "power", 0) != 0:
            assert not any(np.any(np.isnan(result)) for result in results)
    else:
        assert all(np.all(np.isfinite(result)) for result in results)
        assert np.all(values >= 0)
        assert np.all(loss.hess_dot(y, z, s, u) >= 0)


BAD_TARGETS = {
    "real": [np.nan, np.inf],
    "binary": [-1.0, 2.0, 0.5, np.nan],
    "counts": [-1.0, np.nan, np.inf],
    "positive": [0.0, -1.0, np.nan, np.inf],
    "shares": [-0.1, 1.1, np.nan],
    "classes": [-1.0, 4.0, 0.5, np.nan, np.inf],
    "two classes": [-1.0, 2.0, 0.5, np.nan],
    "labels": [-1.0, 2.0, 0.5, np.nan],
}


def test_targets_are_checked(case):
    y, _, _, _ = some_rows(case)
    assert case.loss.check(y) is None
    assert case.loss.check(y[:0]) is None
    for bad in BAD_TARGETS[case.targets]:
        wrong = y.copy()
        wrong[3:5] = bad
        place = "3, 0" if y.ndim == 2 else "3"
        assert str(case.loss.check(wrong)).startswith(f"y[{place}] is {bad:g}: {type(case.loss).__name__}")


def test_what_is_wrong_with_targets_is_said_in_full():
    y = np.array([0.0, 2.0, 1.0, -1.0, -2.0])
    strange = y + np.array([0, 0, np.nan, 0, 0])
    assert str(Squared().check(strange)) == "y[2] is nan: Squared needed finite numbers"
    assert str(Logistic().check(y)) == "y[1] is 2: Logistic needed 0 or 1"
    assert str(Poisson().check(y)) == "y[3] is -1: Poisson needed counts, at least 0"
    assert str(Softmax(3).check(y)) == "y[3] is -1: Softmax(3) needed class numbers, 0 to 2"


def test_a_start_where_no_constant_is_best():
    assert Logistic().start_z(0.0) == Logistic().start_z(1.0) == 0.0
    assert BinaryCrossEntropy(3).start_z(0.25) == pytest.approx(np.log(1 / 3))
    for family, mean in ((Poisson(), 0.0), (Poisson(Inverse()), 0.0), (Gaussian(Log()), -1.0), (Binomial(), 1.0)):
        start = np.array([family.start_z(mean)])
        assert np.isfinite(family.value(np.array([max(mean, 0.0)]), start, 1.0))


def test_the_tails_of_the_logistic_loss_are_exact():
    one, loss = np.ones(1), Logistic()
    far = np.array([1e4])
    assert loss.value(one, far, one) == 0.0
    assert loss.value(0 * one, far, one) == 1e4
    assert loss.value(one, -far, one) == 1e4
    assert loss.value(0 * one, -far, one) == 0.0
    # e^z, where 1 + e^z would be 1
    assert loss.value(0 * one, np.array([-50.0]), one) == pytest.approx(np.exp(-50.0), rel=1e-14, abs=0)
    assert loss.predict(np.array([-700.0]))[0] == pytest.approx(np.exp(-700.0), rel=1e-12, abs=0)
    assert loss.predict(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert loss.hess_dot(one, np.array([-50.0]), one, one)[0] == pytest.approx(np.exp(-50.0), rel=1e-14, abs=0)
    assert loss.hess_dot(one, np.array([50.0]), one, one)[0] == pytest.approx(np.exp(-50.0), rel=1e-14, abs=0)


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
