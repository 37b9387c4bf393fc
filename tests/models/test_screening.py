"""Features left out: the rest is the same problem over fewer columns, and a path ends where it would have without."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks.matrix import Matrix
from blockdot.models import screening
from blockdot.objective.penalties import ElasticNet
from blockdot.objective.scaling import standardized
from blockdot.objective.screening import screened, strong

POOL = bd.ThreadPool(2)


def rows(n=240, d=60, seed=0, density=0.2):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=density, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    X = sp.hstack([sp.csr_array(rng.normal(size=(n, 2))), X]).tocsr()  # two columns that are stored in full
    z = X @ np.where(rng.random(d + 2) < 0.15, rng.normal(0.0, 2.0, d + 2), 0.0)
    return X, (z + 0.5 * rng.normal(size=n) > 0).astype(float)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 12),
    st.integers(1, 12),
    st.integers(0, 3),
    st.sampled_from([None, np.float32, np.float64]),
)
def test_a_matrix_keeps_some_of_its_columns(seed, n, columns, n_dense, dtype):
    rng = np.random.default_rng(seed)
    n_dense = min(n_dense, columns)
    whole = rng.normal(size=(n, columns)) * (rng.random((n, columns)) < 0.5)
    if dtype is None:
        whole[:, n_dense:] = whole[:, n_dense:] != 0.0
    sparse = sp.csr_array(whole[:, n_dense:])
    values = None if dtype is None else sparse.data.astype(dtype)
    dense = whole[:, :n_dense].copy() if n_dense else None
    indices = (sparse.indices + n_dense).astype(np.uint32)
    matrix = Matrix(sparse.indptr.astype(np.int32), indices, values, columns, dense)
    first = int(rng.integers(0, n + 1))
    kept = rng.random(columns) < 0.5
    found = matrix.rows(first, n).keep(kept)
    assert found.n_columns == kept.sum()
    assert (found.values is None) == (values is None)
    expected = matrix.rows(first, n).to_scipy().toarray()[:, kept]
    np.testing.assert_array_equal(found.to_scipy().toarray(), expected)


@pytest.mark.parametrize("scaled", [False, True])
def test_what_is_left_is_the_same_objective_where_the_others_are_zero(scaled):
    X, y = rows()
    rng = np.random.default_rng(1)
    data = bd.Dataset.from_arrays(X, y, rng.uniform(0.5, 2.0, 240), 0.2 * rng.normal(size=240), block_rows=70)
    blocks = bd.Blocks(data.source, POOL)
    scaling = {"scaling": standardized(blocks, centre=True)} if scaled else {}
    penalty = ElasticNet(0.1, 0.5, rng.uniform(0.5, 2.0, 62), lower=rng.uniform(-3.0, -2.0, (62, 1)))
    F = bd.Objective(bd.Logistic(), bd.Linear(), penalty, blocks, **scaling)
    kept = np.flatnonzero(rng.random(62) < 0.4)
    with screened(F, kept) as few:
        v, u = rng.normal(size=(2, few.objective.size))
        w, t = few.outward(v), few.outward(u)
        assert np.array_equal(few.inward(w), v)
        value, grad = F.value_and_grad(w)
        found = few.objective.value_and_grad(v)
        assert found[0] == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(found[1], few.inward(grad), atol=1e-12)
        np.testing.assert_allclose(few.objective.hess_vec(v, u), few.inward(F.hess_vec(w, t)), atol=1e-12)
        assert few.objective.term.value(v) == pytest.approx(F.term.value(w))
        with pytest.raises(bd.BlockdotError):
            few.objective.value(w)


def test_the_strong_rule():
    layout = bd.Linear(True, 2).layout
    grad = np.array([3.0, 0.0, 0.9, 0.9, 0.1, -1.6, 9.0, 9.0])
    l1 = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    zero = np.zeros(8)
    assert strong(l1, 1.0, grad, (zero,), layout).tolist() == [0, 2]
    assert strong(l1, 1.5, grad, (zero,), layout).tolist() == [0, 1, 2]
    assert strong(l1, 1.0, grad, (zero, np.eye(8)[3]), layout).tolist() == [0, 1, 2]


CASES = {
    "lasso": (bd.LogisticRegressionCV, {"l1_ratio": 1.0}),
    "elastic net, standardised": (bd.LogisticRegressionCV, {"l1_ratio": 0.7, "standardize": True}),
    "weighted": (bd.LogisticRegressionCV, {"l1_ratio": 1.0, "penalty_weights": np.r_[0.0, np.linspace(0.5, 2.0, 61)]}),
    "bounded": (bd.LogisticRegressionCV, {"l1_ratio": 1.0, "lower": 0.0}),
    "least squares": (bd.ElasticNetCV, {"l1_ratio": 0.9}),
    "counts": (bd.PoissonRegressorCV, {"l1_ratio": 1.0}),
    "bounds beside 0": (bd.LogisticRegressionCV, {"l1_ratio": 1.0, "lower": {7: 0.5}, "upper": {9: -0.1}}),
    "no intercept": (bd.LogisticRegressionCV, {"l1_ratio": 1.0, "fit_intercept": False}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wrong", [False, True])
def test_a_path_ends_where_it_would_have_with_all_features(case, wrong, monkeypatch, caplog):
    """Also where the rule is wrong: what was left out comes back."""
    make, settings_ = CASES[case]
    X, y = rows()
    est = make(n_alphas=12, eps=1e-2, cv=3, tol=1e-7, max_iter=500, **settings_)
    expected = est.fit(X, y).coef_path_
    made = []
    before = screening.screened

    def watched(objective, kept):
        made.append(len(kept))
        return before(objective, kept)

    monkeypatch.setattr(screening, "screened", watched)
    monkeypatch.setattr(screening, "MANY", 10)
    if wrong:
        monkeypatch.setattr(
            screening, "strong", lambda l1, weaker, grad, ends, layout: strong(l1, -1.0, grad, ends, layout)
        )
    with caplog.at_level(logging.INFO, "blockdot.models.screening"):
        found = est.fit(X, y)
    if case == "bounds beside 0":  # what is left out would be 0, and they must not be
        assert not made
        return
    assert made
    assert min(made) < 40
    assert "come back" in caplog.text or not wrong
    np.testing.assert_allclose(found.coef_path_, expected, atol=2e-5 * np.abs(expected).max())


def test_screened_paths_have_the_same_bits_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(screening, "MANY", 10)
    X, y = rows(n=900)
    data = bd.Dataset.from_arrays(X, y, block_rows=100)
    one, two = (bd.LogisticRegressionCV(l1_ratio=1.0, n_alphas=10, cv=3, n_jobs=n).fit(data) for n in (1, 2))
    assert np.array_equal(one.coef_path_, two.coef_path_)
    assert np.array_equal(one.loss_path_, two.loss_path_)


def test_callbacks_hear_of_all_features_and_can_stop(monkeypatch):
    monkeypatch.setattr(screening, "MANY", 10)
    X, y = rows()
    shapes, calls = set(), []
    est = bd.LogisticRegressionCV(
        l1_ratio=1.0, n_alphas=8, eps=0.05, cv=3, callbacks=[lambda state: shapes.add(state.w.shape)]
    )
    est.fit(X, y)
    assert shapes == {(4 * 62 + 4,)}
    stop = bd.LogisticRegressionCV(
        l1_ratio=1.0, n_alphas=8, eps=0.05, cv=3, callbacks=[lambda _: calls.append(1) or True]
    )
    with pytest.warns(match="asked to stop"):
        stop.fit(X, y)
    assert len(calls) == 8
