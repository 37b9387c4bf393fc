"""Networks: every derivative by finite differences, by an independent automatic differentiation, and over any cut."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.objective.activations import ACTIVATIONS, activation_named
from blockdot.objective.passes import raw

LOSSES = {
    "softmax": (bd.Softmax(3), 3),
    "labels": (bd.BinaryCrossEntropy(4), 4),
    "squared": (bd.Squared(), None),
    "logistic": (bd.Logistic(), None),
    "poisson": (bd.Poisson(), None),
}


def targets(name, n, rng):
    return {
        "softmax": lambda: rng.integers(3, size=n).astype(float),
        "labels": lambda: rng.integers(2, size=(n, 4)).astype(float),
        "squared": lambda: rng.normal(size=n),
        "logistic": lambda: rng.integers(2, size=n).astype(float),
        "poisson": lambda: rng.poisson(1.0, size=n).astype(float),
    }[name]()


def problem(name, hidden=(5, 3), activation="tanh", n=40, d=12, alpha=0.1, seed=0, threads=1, block_rows=None):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.4, rng=rng, format="csr")
    loss, outputs = LOSSES[name]
    arrays = (X, targets(name, n, rng), rng.uniform(0.5, 2.0, n), rng.normal(size=n))
    data = bd.Dataset.from_arrays(*arrays, block_rows=block_rows)
    blocks = bd.Blocks(data.source, bd.ThreadPool(threads))
    F = bd.Objective(loss, bd.Network(hidden, activation, outputs), bd.L2(alpha), blocks)
    return F, data, arrays, np.random.default_rng(seed + 1).normal(size=F.size) * 0.7


def numeric(function, w, v, h=1e-5):
    """The derivative along v, by central differences of fourth order."""
    ends = [function(w + t * h * v) for t in (-2, -1, 1, 2)]
    return (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_finite_differences(name):
    phi = activation_named(name)
    z = np.concatenate([np.linspace(-6, 6, 100), [-30.0, 30.0]])
    a = phi.value(z)
    np.testing.assert_allclose(phi.slope(z, a), numeric(phi.value, z, 1.0, 1e-4), atol=1e-9)
    slope = numeric(lambda z: phi.slope(z, phi.value(z)), z, 1.0, 1e-4)
    np.testing.assert_allclose(phi.bend(z, a), slope, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_do_not_overflow(name):
    phi, z = activation_named(name), np.array([-1e4, -1e3, 0.0, 1e3, 1e4])
    a = phi.value(z)
    assert np.all(np.isfinite([a, phi.slope(z, a), phi.bend(z, a)]))


@pytest.mark.parametrize("hidden", [(4,), (5, 3), (3, 4, 2)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_by_finite_differences(name, activation, hidden):
    F, _, _, w = problem(name, hidden, activation)
    v = np.random.default_rng(5).normal(size=F.size)
    value, grad = F.value_and_grad(w)
    assert value == F.value(w)
    assert grad @ v == pytest.approx(numeric(F.value, w, v), abs=1e-7)
    product = numeric(lambda w: F.value_and_grad(w)[1], w, v)
    np.testing.assert_allclose(F.hess_vec(w, v), product, atol=1e-7)
    size, slope = F.grad_norm_and_grad(w)
    assert size == pytest.approx(np.linalg.norm(grad), rel=1e-12)
    assert slope @ v == pytest.approx(numeric(lambda w: np.linalg.norm(F.value_and_grad(w)[1]), w, v), abs=1e-7)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("name", LOSSES)
def test_gauss_newton_is_the_curvature_of_the_loss_between_two_jacobians(name, activation):
    F, data, (_, y, s, _), w = problem(name, activation=activation)
    v = np.random.default_rng(5).normal(size=F.size)
    z = raw_of(F, data, w)
    J = np.stack([numeric(lambda w: raw_of(F, data, w), w, e) for e in np.eye(F.size)], axis=-1)
    u = J @ v
    H = F.loss.hess_dot(y, z, s, u)
    expected = np.tensordot(J, H, axes=(tuple(range(z.ndim)), tuple(range(z.ndim)))) / s.sum()
    np.testing.assert_allclose(F.gauss_newton_vec(w, v), expected + F.penalty.hess_dot(v, F.layout), atol=1e-7)
    assert v @ F.gauss_newton_vec(w, v) > 0
    assert np.abs(F.gauss_newton_vec(w, v) - F.hess_vec(w, v)).max() > 1e-3  # they are two things
    view = bd.GaussNewton(F)
    assert np.array_equal(view.hess_vec(w, v), F.gauss_newton_vec(w, v))
    c = F.loss.hess_diag(y, z, s) if name == "softmax" else F.loss.hess_dot(y, z, s, np.ones_like(z))
    diagonal = np.sum(c[..., np.newaxis] * J**2, axis=tuple(range(z.ndim))) / s.sum()
    diagonal += F.penalty.hess_diag(F.size, F.layout)
    np.testing.assert_allclose(view.hess_diag(w), diagonal, atol=1e-7)


def raw_of(F, data, w):
    block = data.source.block(0)
    return raw(F.predictor, block, F.layout.gather(w, block))


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_by_an_independent_library(name):
    """The same network written for HIPS autograd: value, gradient, Hessian and its products."""
    autograd = pytest.importorskip("autograd", reason="the package autograd is not installed")
    anp = pytest.importorskip("autograd.numpy")
    F, data, (X, y, s, o), w = problem(name)
    X, S = X.toarray()[:, data.table.ids], s.sum()
    k, (h1, h2), out = X.shape[1], F.predictor.hidden, F.predictor.outputs or 1

    def raw(w):
        W1, rest = w[: k * h1].reshape(k, h1), w[k * h1 :]
        W2, rest = rest[: h1 * h2].reshape(h1, h2), rest[h1 * h2 :]
        W3, rest = rest[: h2 * out].reshape(h2, out), rest[h2 * out :]
        b1, b2, b3 = rest[:h1], rest[h1 : h1 + h2], rest[h1 + h2 :]
        return anp.dot(anp.tanh(anp.dot(anp.tanh(anp.dot(X, W1) + b1), W2) + b2), W3) + b3 + o[:, None]

    def value(w):
        z = raw(w)
        one = z[:, 0]
        losses = {
            "softmax": lambda: anp.log(anp.sum(anp.exp(z), axis=1)) - z[np.arange(len(y)), y.astype(int) % out],
            "labels": lambda: anp.sum(anp.log(1 + anp.exp(z)) - y.reshape(len(z), -1) * z, axis=1),
            "squared": lambda: 0.5 * (y - one) ** 2,
            "logistic": lambda: anp.log(1 + anp.exp(one)) - y * one,
            "poisson": lambda: anp.exp(one) - y * one,
        }[name]()
        weights = w[: k * h1 + h1 * h2 + h2 * out]
        return anp.sum(s * losses) / S + 0.05 * anp.sum(weights**2)

    v = np.random.default_rng(5).normal(size=F.size)
    shift = value(w) - F.value(w)  # Poisson's constant
    if name != "poisson":
        assert abs(shift) < 1e-12
    np.testing.assert_allclose(F.value_and_grad(w)[1], autograd.grad(value)(w), atol=1e-10)
    np.testing.assert_allclose(F.hess_vec(w, v), autograd.hessian_vector_product(value)(w, v), atol=1e-10)
    norm = autograd.grad(lambda w: anp.sqrt(anp.sum(autograd.grad(value)(w) ** 2)))
    np.testing.assert_allclose(F.grad_norm_and_grad(w)[1], norm(w), atol=1e-10)
    J, z = autograd.jacobian(raw)(w), raw_of(F, data, w)
    u = F.loss.hess_dot(y, z, s, (J @ v).reshape(z.shape)).reshape(len(X), out)
    product = np.einsum("nkp,nk->p", J, u) / S + F.penalty.hess_dot(v, F.layout)
    np.testing.assert_allclose(F.gauss_newton_vec(w, v), product, atol=1e-10)
    np.testing.assert_allclose(F.hess_diag_estimate(w, 4, 1), hutchinson(autograd.hessian(value)(w), 4, 1), atol=1e-10)


def hutchinson(H, probes, seed):
    signs = np.where(np.random.default_rng(seed).random((probes, len(H))) < 0.5, -1.0, 1.0)
    return np.mean([v * (H @ v) for v in signs], axis=0)


def test_the_estimated_diagonal_comes_near_the_diagonal():
    F, _, _, w = problem("softmax")
    exact = np.array([F.hess_vec(w, e)[i] for i, e in enumerate(np.eye(F.size))])
    off = np.stack([F.hess_vec(w, e) for e in np.eye(F.size)]) - np.diag(exact)
    found = F.hess_diag_estimate(w, 200)
    assert np.all(np.abs(found - exact) < 5 * np.sqrt(np.sum(off**2, axis=1) / 200) + 1e-12)
    with pytest.raises(bd.BlockdotError, match="probes is 0"):
        F.hess_diag_estimate(w, 0)


def test_a_linear_map_has_one_curvature():
    rng = np.random.default_rng(3)
    X = sp.random_array((50, 6), density=0.5, rng=rng, format="csr")
    with bd.Dataset.from_arrays(X, rng.integers(2, size=50).astype(float)).on(bd.ThreadPool(1)) as blocks:
        F = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(0.1), blocks)
        w, v = rng.normal(size=(2, F.size))
        assert np.array_equal(F.hess_vec(w, v), F.gauss_newton_vec(w, v))
        assert np.array_equal(F.hess_diag(w), F.gauss_newton_diag(w))


@pytest.mark.parametrize("name", ["softmax", "poisson"])
def test_threads_change_no_bit_and_blocks_no_digit(name):
    def answers(**how):
        F, _, _, w = problem(name, (8,), n=500, d=30, **how)
        v = np.random.default_rng(5).normal(size=F.size)
        return np.concatenate(
            [F.value_and_grad(w)[1], F.hess_vec(w, v), F.gauss_newton_vec(w, v), F.gauss_newton_diag(w)]
        )

    assert answers(block_rows=37).tobytes() == answers(block_rows=37, threads=2).tobytes()
    np.testing.assert_allclose(answers(block_rows=37), answers(block_rows=500), rtol=1e-9, atol=1e-12)


def test_tiles_of_a_wide_layer_change_no_digit():
    F, data, (X, y, s, o), w = problem("softmax", (300,), n=700, d=5, alpha=0.0)
    assert F.predictor.tile_rows < 700
    W, b = F.predictor.split(w)
    z = np.tanh(X.toarray()[:, data.table.ids] @ W[0] + b[0]) @ W[1] + b[1] + o[:, np.newaxis]
    assert F.value(w) == pytest.approx(F.loss.value(y, z, s) / s.sum(), rel=1e-12)


def test_dropout_leaves_units_out_by_its_noise_alone_and_is_differentiated_as_it_is():
    F, _, _, w = problem("softmax", (6, 5), alpha=0.0)
    network = bd.Network((6, 5), "tanh", 3, dropout=0.5)
    assert network.thinned(7) == network.thinned(7) != network.thinned(8)
    thin = [bd.Objective(F.loss, p, F.penalty, F.blocks) for p in (network, network.thinned(7), network.thinned(8))]
    values = [G.value(w) for G in (F, *thin)]
    assert values[0] == values[1]
    assert len(set(values)) == 3
    v = np.random.default_rng(5).normal(size=F.size)
    assert thin[1].value_and_grad(w)[1] @ v == pytest.approx(numeric(thin[1].value, w, v), abs=1e-7)
    product = numeric(lambda w: thin[1].value_and_grad(w)[1], w, v)
    np.testing.assert_allclose(thin[1].hess_vec(w, v), product, atol=1e-7)


def test_dropout_leaves_the_expected_z_where_it_is():
    """With units that are linear, the mean over what is left out is the whole network."""
    F, data, _, w = problem("softmax", (6,), "identity")
    thin = bd.Network((6,), "identity", 3, dropout=0.3)
    drawn = [raw_of(replace(F, predictor=thin.thinned(i)), data, w) for i in range(2000)]
    deviation = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(np.mean(drawn, axis=0) - raw_of(F, data, w)) < 5 * deviation + 1e-12)


def test_penalties_see_all_weights_and_no_bias():
    F, _, _, w = problem("squared", (4, 3), alpha=0.2)
    weights, biases = F.predictor.split(w)
    squares = sum(np.sum(W**2) for W in weights)
    assert F.penalty.value(w, F.layout) == pytest.approx(0.1 * squares, rel=1e-12)
    for penalty in (F.penalty, bd.ElasticNet(0.2)):
        free = F.predictor.split(penalty.grad(w, F.layout))
        assert all(np.array_equal(g, 0.2 * W) for g, W in zip(free.weights, weights, strict=True))
        assert not any(np.any(g) for g in free.biases)
    lasso = bd.ElasticNet(0.2, 1.0).term(F.size, F.layout)
    assert lasso.value(w) == pytest.approx(0.2 * sum(np.sum(np.abs(W)) for W in weights), rel=1e-12)
    assert biases[-1].shape == (1,)


@pytest.mark.parametrize("view", [bd.GaussNewton, bd.FullNewton])
def test_second_order_reaches_values_that_first_order_is_above(view):
    """Rows that a network of the same shape has labelled."""
    F, data, arrays, w = problem("softmax", (8,), n=300, d=20, alpha=1e-3)
    y = np.argmax(raw_of(F, data, 3 * w[::-1]), axis=1).astype(float)
    blocks = bd.Blocks(bd.Dataset.from_arrays(arrays[0], y).source, bd.ThreadPool(1))
    F = replace(F, blocks=blocks)
    newton = bd.minimize(view(F), bd.NewtonCG(), w, tol=1e-5, max_iter=40 if view is bd.GaussNewton else 300)
    plain = bd.minimize(F, bd.Backtracking(), w, tol=1e-5, max_iter=newton.evaluations // 2)
    assert newton.value < plain.value
    if view is bd.FullNewton:
        assert newton.converged


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bd.Network(()), r"hidden layers of \(\) units"),
        (lambda: bd.Network((3, 0)), "needed one whole number above 0"),
        (lambda: bd.Network((3,), "swish"), "activation is 'swish'; needed one of identity, relu"),
        (lambda: bd.Network((3,), dropout=1.0), "dropout is 1.0"),
    ],
)
def test_what_is_no_network_is_refused(make, words):
    with pytest.raises(bd.BlockdotError, match=words):
        make()


def test_a_matrix_of_second_derivatives_is_refused():
    F, _, _, w = problem("squared", (1,))
    with pytest.raises(bd.BlockdotError, match="not linear"):
        F.hessians(w)
    with pytest.raises(bd.BlockdotError, match="known by its products"):
        F.hess_diag(w)
