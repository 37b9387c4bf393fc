"""Standard errors and tests: by dense formulas, and by what they promise; published values are in test_reference.py."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import log_ndtr, xlogy

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
    with pytest.raises(bd.BlockdotError, match="clusters go with kind='clustered'"):
        bd.infer(plain.model_, data, clusters=np.arange(len(y)))
    with pytest.raises(bd.BlockdotError, match="needs the matrix of all parameters"):
        bd.infer(plain.model_, data, features=[0], kind="robust")
    with pytest.raises(bd.BlockdotError, match="needs the covariance of all parameters"):
        bd.infer(plain.model_, data, features=[0]).wald_test([[1.0]])
    whole, part = (
        bd.infer(plain.model_, data),
        bd.infer(plain.model_, bd.Dataset.from_arrays(X[:100], y[:100], s[:100])),
    )
    with pytest.raises(bd.BlockdotError, match="compare models of the same rows"):
        bd.likelihood_ratio_test(whole, part)
    wide = sp.random_array((3000, 2100), density=0.01, rng=np.random.default_rng(1), format="csr")
    many = bd.LogisticRegression(alpha=1e-2).fit(wide, np.arange(3000) % 2)
    with pytest.raises(bd.BlockdotError, match="too many for a matrix of their covariances"):
        bd.infer(many.model_, bd.Dataset.from_arrays(wide, (np.arange(3000) % 2).astype(float)))
    twice = sp.hstack([X, X[:, :1]]).tocsr()
    doubled, _ = fitted(twice, y)
    with pytest.raises(bd.BlockdotError, match="linearly dependent"):
        bd.infer(doubled.model_, bd.Dataset.from_arrays(twice, y))


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_row_that_the_model_is_sure_of_spoils_nothing(link, wrong):
    """μ is 1 to rounding there, and V(μ) 0; the numbers are those of its z, also where y says otherwise."""
    rng = np.random.default_rng(4)
    X = np.append(rng.normal(size=300), 0.0)[:, np.newaxis]
    offset = np.append(np.zeros(300), 30.0 if link == "probit" else 60.0 if link == "logit" else 6.0)
    y = np.append((rng.random(300) < 0.5 + 0.2 * np.tanh(X[:-1, 0])).astype(float), 0.0 if wrong else 1.0)
    s = np.append(np.ones(300), 1e-12)  # it is not to move the estimates
    est = bd.GeneralizedLinearRegressor(family="binomial", link=link, **TIGHT).fit(X, y, s, offset)
    with_it = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s, offset))
    without = bd.infer(est.model_, bd.Dataset.from_arrays(X[:-1], y[:-1]))
    np.testing.assert_allclose(with_it.standard_error, without.standard_error, rtol=1e-6)
    s[-1] = 1.0
    counted = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s, offset))
    assert np.all(np.isfinite(counted.standard_error))
    assert np.isfinite(counted.deviance)
    z = est.intercept_ + offset[-1]
    more = {"logit": 2 * z, "probit": -2 * log_ndtr(-z), "cloglog": 2 * np.exp(z)}[link] if wrong else 0.0
    assert counted.deviance - without.deviance == pytest.approx(more, rel=1e-9, abs=1e-9)
    assert counted.log_likelihood - without.log_likelihood == pytest.approx(-more / 2, rel=1e-9, abs=1e-9)


def test_rows_without_weight_are_absent_ones():
    X, y, s = rows()
    s[::5] = 0.0
    X, y, gone = X.toarray(), np.exp(0.3 * y), s == 0.0
    est = bd.GammaRegressor(**TIGHT).fit(X, y, s)
    for weights in ("frequency", "prior"):
        there = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s), weights=weights)
        absent = bd.infer(est.model_, bd.Dataset.from_arrays(X[~gone], y[~gone], s[~gone]), weights=weights)
        np.testing.assert_allclose(there.standard_error, absent.standard_error, rtol=1e-10)
        for name in ("size", "df_residual", "dispersion", "deviance", "null_deviance", "log_likelihood", "aic", "bic"):
            assert getattr(there, name) == pytest.approx(getattr(absent, name), rel=1e-12), name


def test_the_names_of_a_store_are_those_of_the_columns(tmp_path):
    rng = np.random.default_rng(8)
    lines = [f"{i % 2},{rng.normal():.4f},{rng.choice(['red', 'blue'])}" for i in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["sold,price,colour", *lines]) + "\n")
    features = {"numeric": ["price"], "one_hot": ["colour"]}
    data = bd.ingest(tmp_path / "t.csv", tmp_path / "s", "csv", label="sold", features=features)
    est = bd.LogisticRegression(alpha=1e-3).fit(data)
    found = bd.infer(est.model_, data)
    assert set(found.names) == {"price", "colour=red", "colour=blue", "intercept"}
    assert set(est.named_coef()) == {"price", "colour=red", "colour=blue"}
    one = bd.infer(est.model_, data, features=["price"])
    assert one.standard_error[0] == pytest.approx(found.standard_error[found.names.index("price")], rel=1e-6)


def test_without_an_intercept_the_null_model_is_that_of_the_offsets():
    """As R's glm has it: log 2 a row for a logistic model, e^o for a Poisson one."""
    X, y, s = rows()
    plain, _ = fitted(X, y, s, fit_intercept=False)
    assert bd.infer(plain.model_, bd.Dataset.from_arrays(X, y, s)).null_deviance == pytest.approx(
        2 * np.log(2) * s.sum()
    )
    offset = 0.3 * np.arange(400) / 400
    est = bd.PoissonRegressor(fit_intercept=False, **TIGHT).fit(X, y, s, offset)
    found = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s, offset))
    expected = 2 * np.sum(s * (xlogy(y, y / np.exp(offset)) - y + np.exp(offset)))
    assert found.null_deviance == pytest.approx(expected, rel=1e-12)


def test_tweedie_of_power_0_is_a_normal_model_and_of_1_has_no_likelihood():
    X, y, s = rows()
    data, common = bd.Dataset.from_arrays(X, y, s), {"fit_intercept": True, **TIGHT}
    tweedie = bd.TweedieRegressor(power=0.0, **common).fit(data)
    normal = bd.GeneralizedLinearRegressor(family="gaussian", **common).fit(data)
    for weights in ("frequency", "prior"):
        found, expected = (bd.infer(est.model_, data, weights=weights) for est in (tweedie, normal))
        assert found.aic == pytest.approx(expected.aic, rel=1e-9)
    counts = bd.TweedieRegressor(power=1.0, **common).fit(data)
    assert bd.infer(counts.model_, data).aic is None


def test_a_row_without_weight_may_lie_outside_of_the_domain():
    rng = np.random.default_rng(0)
    X = rng.uniform(0.5, 2.0, (100, 1))
    y, s = rng.poisson((0.3 + X[:, 0]) ** 2).astype(float), np.ones(100)
    X[0], s[0] = -30.0, 0.0
    est = bd.PoissonRegressor(link="power(0.5)", **TIGHT).fit(X[1:], y[1:])
    there = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s))
    for kind in ("model", "robust"):
        there = bd.infer(est.model_, bd.Dataset.from_arrays(X, y, s), kind=kind)
        absent = bd.infer(est.model_, bd.Dataset.from_arrays(X[1:], y[1:]), kind=kind)
        np.testing.assert_allclose(there.standard_error, absent.standard_error, rtol=1e-10)
