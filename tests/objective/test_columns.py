"""Several models as columns: their sum, its derivatives, and scalings of their own."""

import numpy as np
import pytest

import blockdot as bd
from blockdot.blocks.sums import View
from blockdot.objective.columns import Columns
from blockdot.objective.passes import is_coupled
from blockdot.objective.robust import Hinge
from blockdot.objective.scaling import Standardized, standardized

N, M = 30, 3
LOSSES = [bd.Logistic(), bd.Softmax(outputs=4), bd.BinaryCrossEntropy(outputs=4), Hinge()]


def problem(loss, seed=0):
    rng = np.random.default_rng(seed)
    k = getattr(loss, "outputs", None)
    y = rng.integers(0, k or 2, N).astype(float)
    z, u = rng.normal(size=(2, N, M * (k or 1)))
    return Columns.of(loss, M), k, y, z, rng.uniform(0.0, 2.0, (N, M)), u


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_sum_of_the_models_and_its_derivatives(loss):
    columns, k, y, z, s, u = problem(loss)
    assert columns.outputs == z.shape[1]
    assert is_coupled(columns) == is_coupled(loss)
    own = [z[:, m] if k is None else z[:, m * k : (m + 1) * k] for m in range(M)]
    assert columns.value(y, z, s) == pytest.approx(sum(loss.value(y, own[m], s[:, m]) for m in range(M)), rel=1e-13)
    value, grad = columns.value_and_grad(y, z, s)
    assert value == pytest.approx(columns.value(y, z, s), rel=1e-13)
    h = 1e-6
    slope = (columns.value(y, z + h * u, s) - columns.value(y, z - h * u, s)) / (2 * h)
    assert np.sum(grad * u) == pytest.approx(slope, rel=1e-7)
    product = columns.hess_dot(y, z, s, u)
    if not isinstance(loss, Hinge):  # which has no second derivative at its seams
        ahead, behind = (columns.value_and_grad(y, z + t * u, s)[1] for t in (h, -h))
        np.testing.assert_allclose(product, (ahead - behind) / (2 * h), atol=1e-8)
    if is_coupled(columns):
        unit = [columns.hess_dot(y, z, s, np.eye(z.shape[1])[c] + np.zeros_like(z))[:, c] for c in range(z.shape[1])]
        np.testing.assert_allclose(columns.hess_diag(y, z, s), np.transpose(unit), rtol=1e-12)
    expected = np.concatenate([np.reshape(loss.predict(part), (N, -1)) for part in own], axis=1)
    np.testing.assert_array_equal(columns.predict(z), expected)


def test_a_smoothed_loss_is_smoothed_in_every_column():
    columns, _, y, z, s, _ = problem(Hinge())
    sharp = columns.smoothed(1e-9)
    assert sharp.smoothing == 1e-9
    assert sharp.bias_bound == Hinge(1e-9).bias_bound
    exact = np.sum(s * np.maximum(0.0, 1.0 - (2.0 * y - 1.0)[:, np.newaxis] * z))
    assert sharp.value(y, z, s) == pytest.approx(exact, abs=1e-7)
    assert not hasattr(Columns.of(bd.Logistic(), 2), "smoothing")


@pytest.mark.parametrize("k", [None, 2])
def test_each_model_is_scaled_by_the_moments_of_its_own_weights(k):
    rng = np.random.default_rng(4)
    X, y = rng.normal(3.0, 2.0, (N, 5)), rng.integers(0, 2, N).astype(float)
    s = rng.uniform(0.0, 2.0, (N, M)) * (rng.random((N, M)) < 0.7)
    data = bd.Dataset.from_arrays(X, y, block_rows=7)

    class Weighed(View):
        def block(self, index):
            block = self.source.block(index)
            return type(block)(**{**vars(block), "sample_weight": s[block.row_id]})

    blocks = bd.Blocks(Weighed(data.source), bd.ThreadPool(1))
    found = standardized(blocks, centre=True, models=M)
    for m in range(M):
        mean = np.average(X, axis=0, weights=s[:, m])
        variance = np.average((X - mean) ** 2, axis=0, weights=s[:, m])
        np.testing.assert_allclose(found.mean[:, m], mean[data.table.ids], rtol=1e-12)
        np.testing.assert_allclose(found.sd[:, m], np.sqrt(variance)[data.table.ids], rtol=1e-12)
    loss = bd.Logistic() if k is None else bd.Softmax(outputs=k)
    columns = Columns.of(loss, M)
    scaling = found.repeated(k or 1)
    F = bd.Objective(columns, bd.Linear(True, columns.outputs), bd.L2(0.2), blocks, scaling)
    w, v = rng.normal(size=(2, F.size))
    np.testing.assert_allclose(scaling.inward(scaling.outward(w, F.layout), F.layout), w, rtol=1e-12)
    h, (_, grad) = 1e-6, F.value_and_grad(w)
    assert grad @ v == pytest.approx((F.value(w + h * v) - F.value(w - h * v)) / (2 * h), rel=1e-6)
    H = np.stack([F.hess_vec(w, e) for e in np.eye(F.size)])
    np.testing.assert_allclose(F.hess_diag(w), np.diag(H), rtol=1e-10)
    for places, matrix in F.sampled_hessian(w, 10**6):
        np.testing.assert_allclose(matrix, H[np.ix_(places, places)], atol=1e-12)
    assert F.mean_hessian(w, 10**6)[0].tolist() == [places.tolist() for places, _ in F.sampled_hessian(w, 10**6)]
    of_last = found.of(slice(M - 1, M))
    assert isinstance(of_last, Standardized)
    np.testing.assert_array_equal(of_last.sd, found.sd[:, -1:])
