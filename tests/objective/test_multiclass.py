"""Losses of K classes: against scipy and scikit-learn, the two-class loss, and exact in the tails."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from sklearn._loss import HalfMultinomialLoss
from sklearn.metrics import log_loss

from blockdot.errors import SpecError
from blockdot.objective.losses import Logistic
from blockdot.objective.multiclass import BinaryCrossEntropy, Softmax


def rows(k=5, n=300, seed=0):
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, k, n).astype(float), 3 * rng.normal(size=(n, k))
    return y, z, rng.random(n) + 0.1, rng.normal(size=(n, k))


def one_hot(y, k):
    return (y[:, None] == np.arange(k)).astype(float)


def test_softmax_is_what_scikit_learn_has():
    y, z, s, _ = rows()
    loss, other = Softmax(5), HalfMultinomialLoss(n_classes=5)
    assert loss.value(y, z, s) == pytest.approx(np.sum(s * other.loss(y, z)), rel=1e-13)
    assert loss.value(y, z, 1.0) == pytest.approx(len(y) * log_loss(y, softmax(z, axis=1)), rel=1e-13)
    gradient, probabilities = other.gradient_proba(y, z, sample_weight=s)
    np.testing.assert_allclose(loss.value_and_grad(y, z, s)[1], gradient, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(loss.predict(z), probabilities, rtol=1e-13)
    _, diagonal = other.gradient_hessian(y, z, sample_weight=s)
    np.testing.assert_allclose(loss.hess_diag(y, z, s), diagonal, rtol=1e-11, atol=1e-15)


def test_the_softmax_hessian_by_its_matrix():
    y, z, s, u = rows(3, 20)
    product = Softmax(3).hess_dot(y, z, s, u)
    for i in range(20):
        p = softmax(z[i])
        np.testing.assert_allclose(product[i], s[i] * (np.diag(p) - np.outer(p, p)) @ u[i], rtol=1e-12, atol=1e-15)


def test_the_softmax_knows_differences_only():
    y, z, s, u = rows()
    loss, shift = Softmax(5), np.linspace(-9, 9, len(y))[:, None]
    assert loss.value(y, z + shift, s) == pytest.approx(loss.value(y, z, s), rel=1e-13)
    np.testing.assert_allclose(np.sum(loss.value_and_grad(y, z, s)[1], axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(np.sum(loss.hess_dot(y, z, s, u), axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(np.sum(loss.predict(z), axis=1), 1, rtol=1e-14)


@given(st.floats(-1e4, 1e4), st.sampled_from([0.0, 1.0]))
def test_a_softmax_of_two_is_the_logistic_loss(score, label):
    y, z = np.array([label]), np.array([[0.0, score]])
    loss, value, grad = Softmax(2), *Logistic().value_and_grad(y, z[:, 1], 1.0)
    close = partial(pytest.approx, rel=1e-12, abs=1e-320)  # the least numbers have few digits
    assert loss.value(y, z, 1.0) == close(value)
    assert loss.value_and_grad(y, z, 1.0)[1][0] == pytest.approx([-grad[0], grad[0]], rel=1e-12, abs=1e-320)
    assert loss.predict(z)[0, 1] == pytest.approx(Logistic().predict(z[:, 1])[0], rel=1e-12, abs=1e-320)


def test_the_tails_of_the_softmax_are_exact():
    loss, y = Softmax(3), np.array([0.0])
    z = np.array([[0.0, -50.0, -60.0]])
    beyond = np.exp(-50.0) + np.exp(-60.0)  # 1 + this is 1
    assert loss.value(y, z, 1.0) == pytest.approx(beyond, rel=1e-14, abs=0)
    value, grad = loss.value_and_grad(y, z, 1.0)
    assert value == pytest.approx(beyond, rel=1e-14, abs=0)
    assert grad[0] == pytest.approx([-beyond, np.exp(-50.0), np.exp(-60.0)], rel=1e-14, abs=0)
    far = np.array([[1e4, -1e4, 0.0]])
    assert loss.value(np.array([1.0]), far, 1.0) == 2e4
    assert loss.value_and_grad(np.array([1.0]), far, 1.0)[1].tolist() == [[1.0, -1.0, 0.0]]
    assert loss.predict(far).tolist() == [[1.0, 0.0, 0.0]]


def test_one_against_the_rest_is_the_sum_of_logistic_losses():
    y, z, s, u = rows()
    loss, hot = BinaryCrossEntropy(5), one_hot(y, 5)
    value, grad = loss.value_and_grad(y, z, s)
    parts = [Logistic().value_and_grad(hot[:, c], z[:, c], s) for c in range(5)]
    assert value == pytest.approx(sum(part[0] for part in parts), rel=1e-13)
    np.testing.assert_allclose(grad, np.transpose([part[1] for part in parts]), rtol=1e-13)
    curvature = [Logistic().hess_dot(hot[:, c], z[:, c], s, u[:, c]) for c in range(5)]
    np.testing.assert_allclose(loss.hess_dot(y, z, s, u), np.transpose(curvature), rtol=1e-13)
    np.testing.assert_allclose(loss.predict(z), expit(z), rtol=1e-14)


def test_labels_of_their_own_are_the_same_where_one_holds():
    y, z, s, u = rows()
    loss, hot = BinaryCrossEntropy(5), one_hot(y, 5)
    value, grad = loss.value_and_grad(hot, z, s)
    assert value == pytest.approx(loss.value(y, z, s), rel=1e-13)
    assert loss.value(hot, z, s) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(grad, loss.value_and_grad(y, z, s)[1], rtol=1e-13)
    np.testing.assert_allclose(loss.hess_dot(hot, z, s, u), loss.hess_dot(y, z, s, u), rtol=1e-14)


def test_any_number_of_labels_may_hold():
    _, z, s, _ = rows()
    hot = (np.random.default_rng(1).random(z.shape) < 0.5).astype(float)
    p = expit(z)
    expected = -np.sum(s[:, None] * (hot * np.log(p) + (1 - hot) * np.log1p(-p)))
    assert BinaryCrossEntropy(5).value(hot, z, s) == pytest.approx(expected, rel=1e-11)


def test_the_tails_of_one_against_the_rest_are_exact():
    loss = BinaryCrossEntropy(2)
    z = np.array([[50.0, -60.0]])
    value, grad = loss.value_and_grad(np.array([0.0]), z, 1.0)
    assert value == pytest.approx(np.exp(-50.0) + np.exp(-60.0), rel=1e-14, abs=0)
    assert grad[0] == pytest.approx([-np.exp(-50.0), np.exp(-60.0)], rel=1e-14, abs=0)
    value, grad = loss.value_and_grad(np.array([1.0]), np.array([[1e4, -1e4]]), 1.0)
    assert value == 2e4
    assert grad.tolist() == [[1.0, -1.0]]


def test_a_large_softmax_agrees_with_scipy():
    y, z, s, _ = rows(100, 2000)
    expected = -np.sum(s * log_softmax(z, axis=1)[np.arange(len(y)), y.astype(int)])
    assert Softmax(100).value(y, z, s) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("loss", [Softmax(100), BinaryCrossEntropy(100)], ids=repr)
def test_rows_are_worked_on_in_pieces_and_none_is_lost(loss):
    y, z, s, u = rows(100, 1500)  # three pieces
    for targets in (y, one_hot(y, 100)) if isinstance(loss, BinaryCrossEntropy) else (y,):
        some = [slice(0, 700), slice(700, 701), slice(701, 1500)]
        parts = [loss.value_and_grad(targets[i], z[i], s[i]) for i in some]
        value, grad = loss.value_and_grad(targets, z, s)
        assert value == pytest.approx(sum(part[0] for part in parts), rel=1e-13)
        assert loss.value(targets, z, s) == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(grad, np.vstack([part[1] for part in parts]), rtol=1e-12)
        products = [loss.hess_dot(targets[i], z[i], s[i], u[i]) for i in some]
        np.testing.assert_allclose(loss.hess_dot(targets, z, s, u), np.vstack(products), rtol=1e-10, atol=1e-16)
    np.testing.assert_allclose(loss.predict(z), np.vstack([loss.predict(z[i]) for i in some]), rtol=1e-12)
    if isinstance(loss, Softmax):
        diagonal = [loss.hess_diag(y[i], z[i], s[i]) for i in some]
        np.testing.assert_allclose(loss.hess_diag(y, z, s), np.vstack(diagonal), rtol=1e-12)


def test_no_rows_are_nothing():
    z = np.empty((0, 3))
    for loss in (Softmax(3), BinaryCrossEntropy(3)):
        value, grad = loss.value_and_grad(np.empty(0), z, 1.0)
        assert value == loss.value(np.empty(0), z, 1.0) == 0.0
        assert grad.shape == loss.predict(z).shape == loss.hess_dot(np.empty(0), z, 1.0, z).shape == (0, 3)


def test_what_is_wrong_is_said():
    assert str(BinaryCrossEntropy(3).check(np.array([0.0, 3.0]))) == (
        "y[1] is 3: BinaryCrossEntropy(3) needed class numbers, 0 to 2"
    )
    labels = np.zeros((4, 3))
    labels[2, 1] = 0.5
    assert str(BinaryCrossEntropy(3).check(labels)) == "y[2, 1] is 0.5: BinaryCrossEntropy(3) needed 0 or 1"
    with pytest.raises(SpecError, match="outputs is 1; needed a whole number of classes, at least 2"):
        Softmax(1)
    with pytest.raises(SpecError, match="outputs is 0; needed a whole number of classes, at least 1"):
        BinaryCrossEntropy(0)
    with pytest.raises(SpecError, match=r"outputs is 2\.5; needed a whole number"):
        Softmax(2.5)
    with pytest.raises(SpecError, match="outputs is True; needed a whole number"):
        BinaryCrossEntropy(True)
