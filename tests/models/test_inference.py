"""Standard errors and tests: by dense formulas, and by what they promise; published values are in test_reference.py."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd

TIGHT = {"alpha": 0.0, "tol": 1e-12, "max_iter": 200}


def rows(n=400, d=5, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.7, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    z = X @ np.array([0.5, -0.3, 0.0, 0.2, 0.0]) - 0.1
    return X, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float), rng.integers(1, 4, n).astype(float)


def dense(X):
    return np.column_stack([X.toarray(), np.ones(X.shape[0])])


def fitted(X, y, s=None, **more):
    est = bd.LogisticRegression(**{**TIGHT, **more}).fit(X, y, s)
    return est, np.concatenate([est.coef_[0], est.intercept_])


def test_the_covariances_of_a_logistic_model_by_dense_formulas():
    X, y, s = rows()
    est, w = fitted(X, y, s)
    data, A = bd.Dataset.from_arrays(X, y, s, block_rows=90), dense(X)
    p = 1 / (1 + np.exp(-A @ w))
    bread = np.linalg.inv(A.T @ (A * (s * p * (1 - p))[:, None]))
    model = bd.infer(est.model_, data)
    np.testing.assert_allclose(model.estimate, w)
    np.testing.assert_allclose(model.covariance, bread, rtol=1e-8)
    unit, scores = A * (p - y)[:, None], A * (s * (p - y))[:, None]
    robust = bd.infer(est.model_, data, kind="robust")
    np.testing.assert_allclose(robust.covariance, bread @ (unit.T * s) @ unit @ bread, rtol=1e-8)
    prior = bd.infer(est.model_, data, kind="robust", weights="prior")
    np.testing.assert_allclose(prior.covariance, bread @ scores.T @ scores @ bread, rtol=1e-8)
    cluster = np.arange(len(y)) // 8
    summed = np.stack([np.bincount(cluster, column) for column in scores.T], axis=1)
    clustered = bd.infer(est.model_, data, kind="clustered", clusters=[f"c{i}" for i in cluster])
    np.testing.assert_allclose(clustered.covariance, bread @ summed.T @ summed @ bread, rtol=1e-8)


def test_the_groups_of_a_store_are_its_clusters(tmp_path):
    X, y, s = rows()
    est, _ = fitted(X, y, s)
    customer = np.random.default_rng(5).integers(0, 50, 400)
    given = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s), kind="clustered", clusters=customer)
    store = bd.Dataset.from_arrays(X, y, s, groups=customer, block_rows=60).save(tmp_path / "s")
    np.testing.assert_allclose(bd.infer(est.model_, store, kind="clustered").covariance, given.covariance, rtol=1e-10)
    with pytest.raises(bd.BlockdotError, match="clusters go with data in memory"):
        bd.infer(est.model_, store, kind="clustered", clusters=customer)


def test_integer_weights_equal_repeated_rows():
    X, y, s = rows()
    times = np.repeat(np.arange(len(y)), s.astype(int))
    one, _ = fitted(X, y, s)
    two, _ = fitted(X[times], y[times])
    a = bd.infer(one.model_, bd.Dataset.from_arrays(X, y, s))
    b = bd.infer(two.model_, bd.Dataset.from_arrays(X[times], y[times]))
    np.testing.assert_allclose(a.standard_error, b.standard_error, rtol=1e-8)
    for name in ("deviance", "null_deviance", "pearson_chi2", "log_likelihood", "aic", "bic", "df_residual"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9), name


def test_errors_of_single_features_equal_those_of_the_matrix():
    X, y, s = rows()
    est, _ = fitted(X, y, s, alpha=0.01)
    data = bd.Dataset.from_arrays(X, y, s)
    whole, some = bd.infer(est.model_, data), bd.infer(est.model_, data, features=[3, 1])
    np.testing.assert_allclose(some.standard_error, whole.standard_error[[3, 1]], rtol=1e-6)
    assert some.estimate.tolist() == whole.estimate[[3, 1]].tolist()
    assert some.covariance is None


def test_wald_and_likelihood_ratio_agree_on_large_samples():
    X, y, _ = rows(20_000, seed=1)
    est, _ = fitted(X, y)
    smaller, _ = fitted(X[:, [0, 1, 3]], y)
    full = bd.infer(est.model_, bd.Dataset.from_arrays(X, y))
    part = bd.infer(smaller.model_, bd.Dataset.from_arrays(X[:, [0, 1, 3]], y))
    R = np.zeros((2, 6))
    R[0, 2], R[1, 4] = 1.0, 1.0
    wald, freedom, p = full.wald_test(R)
    ratio, same, q = bd.likelihood_ratio_test(full, part)
    assert freedom == same == 2
    assert wald == pytest.approx(ratio, rel=0.02)
    assert p == pytest.approx(q, abs=0.02)
    single = np.eye(6)[0]
    assert full.wald_test(single)[2] == pytest.approx(full.p_value[0], rel=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(60, 2))
    hits = 0
    for _ in range(200):
        y = X @ [0.5, -1.0] + 2.0 + rng.normal(size=60)
        est = bd.LinearRegression(**TIGHT).fit(X, y)
        low, high = bd.infer(est.model_, bd.Dataset.from_arrays(X, y)).confidence_interval(0.9)[0]
        hits += low <= 0.5 <= high
    assert 165 <= hits <= 194  # 180 expected, standard deviation 4.2


def test_what_inference_refuses_is_said():
    X, y, s = rows()
    data = bd.Dataset.from_arrays(X, y, s)
    lasso = bd.LogisticRegression(alpha=0.01, l1_ratio=1.0).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="an L1 penalty chooses features by the data"):
        bd.infer(lasso.model_, data)
    svm = bd.LinearSVC(alpha=0.1).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="squared-hinge is no likelihood"):
        bd.infer(svm.model_, data)
    plain, _ = fitted(X, y)
    with pytest.raises(bd.BlockdotError, match="needs clusters"):
        bd.infer(plain.model_, data, kind="clustered")
    with pytest.raises(bd.BlockdotError, match="feature 17 does not occur"):
        bd.infer(plain.model_, data, features=[17])
    twice = sp.hstack([X, X[:, :1]]).tocsr()
    doubled, _ = fitted(twice, y)
    with pytest.raises(bd.BlockdotError, match="linearly dependent"):
        bd.infer(doubled.model_, bd.Dataset.from_arrays(twice, y))
