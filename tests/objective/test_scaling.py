"""Standardising by a change of variables: against an objective over data that were standardised, dense, by hand."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.objective.passes import is_coupled
from blockdot.objective.scaling import AsIs, Standardized, standardized

LOSSES = [bd.Logistic(), bd.Softmax(outputs=3), bd.BinaryCrossEntropy(outputs=3)]


def rows(n=60, d=7, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.4, rng=rng, format="csr")
    X.data = rng.normal(3.0, 2.0, size=X.nnz)
    return X, rng.integers(0, classes, n).astype(float), rng.uniform(0.1, 2.0, n)


def pair(loss, intercept, penalty, classes):
    """The objective with a change of variables, and the same over dense data that were standardised."""
    X, y, s = rows(classes=classes)
    data = bd.Dataset.from_arrays(X, y, s, block_rows=17)
    predictor = bd.Linear(intercept, getattr(loss, "outputs", None))
    blocks = bd.Blocks(data.source, bd.ThreadPool(1))
    scaling = standardized(blocks, centre=intercept)
    dense = X.toarray()[:, data.table.ids]
    mean = np.average(dense, axis=0, weights=s)
    sd = np.sqrt(np.average((dense - mean) ** 2, axis=0, weights=s))
    np.testing.assert_allclose(scaling.sd[:, 0], sd, rtol=1e-12)
    np.testing.assert_allclose(scaling.mean[:, 0], mean if intercept else 0.0, rtol=1e-12)
    standard = bd.Dataset.from_arrays((dense - (mean if intercept else 0.0)) / sd, y, s)
    theirs = bd.Objective(loss, predictor, penalty, bd.Blocks(standard.source, bd.ThreadPool(1)))
    return bd.Objective(loss, predictor, penalty, blocks, scaling), theirs, standard.table.ids


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("intercept", [True, False])
def test_a_change_of_variables_equals_standardised_data(loss, intercept):
    classes = getattr(loss, "outputs", None) or 2
    F, G, places = pair(loss, intercept, bd.L2(0.3), classes)
    layout, rng = F.layout, np.random.default_rng(1)
    w, v = rng.normal(size=(2, F.size))

    def to(x):
        rows, tail = layout.split(x)
        return np.concatenate([rows[places].ravel(), tail])  # G's feature i is F's feature places[i]

    assert F.value(w) == pytest.approx(G.value(to(w)), rel=1e-12)
    value, grad = F.value_and_grad(w)
    assert value == pytest.approx(F.value(w), rel=1e-14)
    np.testing.assert_allclose(to(grad), G.value_and_grad(to(w))[1], atol=1e-13)
    np.testing.assert_allclose(to(F.hess_vec(w, v)), G.hess_vec(to(w), to(v)), atol=1e-12)
    np.testing.assert_allclose(to(F.hess_diag(w)), G.hess_diag(to(w)), atol=1e-12)
    assert F.value_along(w, v, 0.7) == pytest.approx(F.value(w + 0.7 * v), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("intercept", [True, False])
def test_a_matrix_of_each_output_is_its_part_of_the_hessian(loss, intercept):
    """Of all rows the sample is the whole, so the estimate is exact."""
    F, _, _ = pair(loss, intercept, bd.L2(0.3), getattr(loss, "outputs", None) or 2)
    w = np.random.default_rng(2).normal(size=F.size)
    H = np.stack([F.hess_vec(w, e) for e in np.eye(F.size)])
    found = F.sampled_hessian(w, 10**6)
    assert len(found) == F.layout.width
    for places, matrix in found:
        np.testing.assert_allclose(matrix, H[np.ix_(places, places)], atol=1e-12)
    all_places, mean = F.mean_hessian(w, 10**6)
    assert all_places.tolist() == [places.tolist() for places, _ in found]
    np.testing.assert_allclose(mean, np.mean([matrix for _, matrix in found], axis=0), atol=1e-12)
    few, of_few = F.mean_hessian(w, 2)  # of a sample
    assert few.tolist() == [[*places[:2], *places[len(places) - intercept :]] for places, _ in found]
    assert of_few.shape == (2 + intercept, 2 + intercept)
    covered = np.sort(np.concatenate([places for places, _ in found]))
    assert covered.tolist() == list(range(F.size))
    if is_coupled(loss):
        with pytest.raises(bd.BlockdotError, match="couples several outputs"):
            F.hessians(w)
        return
    assert sum(places.size for places, _ in F.hessians(w)) == F.size
    for places, matrix in F.hessians(w):
        np.testing.assert_allclose(matrix, H[np.ix_(places, places)], atol=1e-12)


def test_there_and_back_again():
    layout, rng = bd.Linear(True, 2).layout, np.random.default_rng(3)
    scaling = Standardized(rng.normal(size=(4, 1)), rng.uniform(1, 2, (4, 1)))
    w = rng.normal(size=layout.size(4))
    np.testing.assert_allclose(scaling.inward(scaling.outward(w, layout), layout), w, rtol=1e-14)
    assert AsIs().outward(w, layout) is w


def test_a_constant_column_keeps_its_scale():
    X = np.column_stack([np.full(20, 2004.0), np.arange(20.0)])
    data = bd.Dataset.from_arrays(X, np.arange(20.0))
    scaling = standardized(bd.Blocks(data.source, bd.ThreadPool(1)), centre=True)
    assert scaling.sd[data.table.ids == 0].tolist() == [[1.0]]
