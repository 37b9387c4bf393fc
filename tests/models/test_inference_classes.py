"""Standard errors of several classes: statsmodels' numbers, dense formulas, and what they promise."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd

TIGHT = {"tol": 1e-12, "max_iter": 500}


def waves():
    """Rows that any program can make, of three classes."""
    i = np.arange(200.0)
    X = np.column_stack([np.sin(i), np.cos(0.7 * i), (i % 7) / 7])
    y = (3 * i + (i % 5) * (i % 3) + 2 * (X[:, 0] > 0) * (i % 2)).astype(int) % 3
    return X, np.array(["ant", "bee", "cat"])[y]


def rows(n=300, d=4, k=3, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.7, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    X = sp.csr_array(X @ sp.diags_array([0.5, 1.0, 2.0, 4.0][:d]))
    z = X @ (0.5 * rng.normal(size=(d, k))) + np.linspace(0.0, 0.5, k)
    return X, np.argmax(z + rng.gumbel(size=z.shape), axis=1).astype(float), rng.integers(1, 4, n).astype(float)


def dense(X):
    return np.column_stack([X.toarray() if sp.issparse(X) else X, np.ones(X.shape[0])])


def symmetric(est, X, y, s, *, robust=False, cluster=None, prior=False):
    """The covariance of all K (d + 1) numbers of a softmax, class by class, by a pseudo-inverse of the Hessian."""
    A, W = dense(X), np.column_stack([est.coef_, est.intercept_])
    K, m = W.shape
    p = np.exp(A @ W.T)
    p /= p.sum(axis=1, keepdims=True)
    u = p - np.eye(K)[y.astype(int)]
    J = np.einsum("i,iab,ij,il->ajbl", s, np.einsum("ia,ab->iab", p, np.eye(K)) - p[:, :, None] * p[:, None], A, A)
    J = J.reshape(K * m, K * m)
    scores = (u[:, :, None] * A[:, None]).reshape(len(y), -1)
    if robust:
        meat = (scores.T * (s**2 if prior else s)) @ scores
    elif cluster is not None:
        total = np.stack([np.bincount(cluster, s * column) for column in scores.T], axis=1)
        meat = total.T @ total
    else:
        meat = J
    ridge = np.tile(np.append(np.full(m - 1, est.alpha), 0.0), K)
    inverse = np.linalg.pinv(J + np.sum(s) * np.diag(ridge), rcond=1e-10, hermitian=True)
    return inverse @ meat @ inverse


def differences(K, m, reference):
    """The matrix of the differences to the reference, class by class."""
    kept = [c for c in range(K) if c != reference]
    return np.kron(np.eye(K)[kept] - np.eye(K)[reference], np.eye(m))


def test_the_standard_errors_of_statsmodels():
    """MNLogit of statsmodels 0.15.0 on these rows; the robust errors are those of cov_type="HC0"."""
    X, names = waves()
    est = bd.LogisticRegression(alpha=0.0, **TIGHT).fit(X, names)
    data = replace(bd.Dataset.from_arrays(X, np.unique(names, return_inverse=True)[1]), classes=("ant", "bee", "cat"))
    found = bd.infer(est.model_, data)
    assert found.reference == "ant"
    assert found.names == tuple((c, f) for c in ("bee", "cat") for f in (0, 1, 2, "intercept"))
    estimate = [0.34371372, 0.02619159, 0.12289229, -0.92647363, 0.83021195, -0.20513098, -0.02564186, -0.48890542]
    error = [0.27041911, 0.26694328, 0.661843, 0.34203316, 0.2448257, 0.23771252, 0.5880599, 0.30126038]
    robust = [0.27639317, 0.25717494, 0.65140388, 0.33897708, 0.24623423, 0.23942592, 0.58902568, 0.30986642]
    np.testing.assert_allclose(found.estimate, estimate, atol=1e-8)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-7)
    np.testing.assert_allclose(bd.infer(est.model_, data, kind="robust").standard_error, robust, rtol=1e-7)
    assert found.log_likelihood == pytest.approx(-200.38963639155, rel=1e-12)
    assert found.null_deviance == pytest.approx(2 * 206.899150362, rel=1e-9)
    assert found.aic == pytest.approx(416.779272783, rel=1e-11)
    assert found.bic == pytest.approx(443.165811715, rel=1e-11)
    assert found.df_residual == 192
    statistic, freedom, p = found.wald_test(found.selection(2))
    assert (statistic, freedom, p) == (pytest.approx(0.04770454622, rel=1e-8), 2, pytest.approx(0.97642994, rel=1e-7))


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("reference", [None, 0.0, 2.0])
def test_the_covariance_of_differences_by_a_dense_formula(alpha, reference):
    """With a penalty the softmax is symmetric in its classes, and only its differences are known."""
    X, y, s = rows()
    est = bd.LogisticRegression(alpha=alpha, **TIGHT).fit(X, y, s)
    data, cluster = bd.Dataset.from_arrays(X, y, s, block_rows=70), np.arange(len(y)) // 7
    C = differences(3, 5, int(reference or 0))
    W = np.column_stack([est.coef_, est.intercept_]).ravel()
    for options, expected in [
        ({}, symmetric(est, X, y, s)),
        ({"kind": "robust"}, symmetric(est, X, y, s, robust=True)),
        ({"kind": "robust", "weights": "prior"}, symmetric(est, X, y, s, robust=True, prior=True)),
        ({"kind": "clustered", "clusters": cluster}, symmetric(est, X, y, s, cluster=cluster)),
    ]:
        found = bd.infer(est.model_, data, reference=reference, **options)
        np.testing.assert_allclose(found.estimate, C @ W, atol=1e-12)
        np.testing.assert_allclose(found.covariance, C @ expected @ C.T, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(found.standard_error, np.sqrt(np.diag(found.covariance)))
        assert found.reference == (reference or 0.0)
        p, members = est.predict_proba(X), np.eye(3)[y.astype(int)]
        assert found.pearson_chi2 == pytest.approx(np.sum(s[:, None] * (members - p) ** 2 / p), rel=1e-10)
        assert found.deviance == pytest.approx(-2 * np.sum(s * np.log(p[np.arange(300), y.astype(int)])), rel=1e-10)


def test_the_choice_of_the_reference_changes_no_comparison():
    X, y, s = rows(k=4)
    est, data = bd.LogisticRegression(alpha=0.01, **TIGHT).fit(X, y, s), bd.Dataset.from_arrays(X, y, s)
    first, last = bd.infer(est.model_, data), bd.infer(est.model_, data, reference=3.0)
    place = first.names.index((2.0, 1))
    C = np.zeros(len(first.names))
    C[place], C[first.names.index((3.0, 1))] = 1.0, -1.0  # class 2 against class 3
    own = last.names.index((2.0, 1))
    assert C @ first.estimate == pytest.approx(last.estimate[own], rel=1e-10)
    assert np.sqrt(C @ first.covariance @ C) == pytest.approx(last.standard_error[own], rel=1e-9)
    for name in ("deviance", "null_deviance", "pearson_chi2", "log_likelihood", "aic", "bic", "df_residual"):
        assert getattr(first, name) == getattr(last, name), name
    for feature in range(4):
        ours, theirs = first.wald_test(first.selection(feature)), last.wald_test(last.selection(feature))
        assert ours[0] == pytest.approx(theirs[0], rel=1e-8)
        assert ours[1] == theirs[1] == 3


@pytest.mark.parametrize("multi_class", ["softmax", "one-vs-rest"])
def test_integer_weights_equal_repeated_rows(multi_class):
    X, y, s = rows()
    times = np.repeat(np.arange(len(y)), s.astype(int))
    one = bd.LogisticRegression(alpha=0.01, multi_class=multi_class, **TIGHT).fit(X, y, s)
    two = bd.LogisticRegression(alpha=0.01, multi_class=multi_class, **TIGHT).fit(X[times], y[times])
    for options in ({}, {"kind": "robust"}):
        a = bd.infer(one.model_, bd.Dataset.from_arrays(X, y, s), **options)
        b = bd.infer(two.model_, bd.Dataset.from_arrays(X[times], y[times]), **options)
        np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-7, atol=1e-12)
        for name in ("deviance", "null_deviance", "pearson_chi2", "df_residual"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9), name
        assert (a.log_likelihood is None) == (multi_class == "one-vs-rest")


@pytest.mark.parametrize("options", [{}, {"kind": "robust"}, {"kind": "clustered", "clusters": np.arange(300) // 6}])
def test_one_against_the_rest_is_a_model_of_two_classes_for_each(options):
    X, y, s = rows()
    est = bd.LogisticRegression(alpha=0.01, multi_class="one-vs-rest", **TIGHT).fit(X, y, s)
    data = bd.Dataset.from_arrays(X, y, s)
    found = bd.infer(est.model_, data, **options)
    assert found.reference is None
    totals = dict.fromkeys(("deviance", "null_deviance", "pearson_chi2"), 0.0)
    for c in range(3):
        single = bd.LogisticRegression(alpha=0.01, **TIGHT).fit(X, y == c, s)
        own = bd.infer(single.model_, bd.Dataset.from_arrays(X, (y == c).astype(float), s), **options)
        place = [i for i, (label, _) in enumerate(found.names) if label == c]
        np.testing.assert_allclose(found.estimate[place], own.estimate, atol=1e-8)
        np.testing.assert_allclose(found.covariance[np.ix_(place, place)], own.covariance, rtol=1e-6)
        for name in totals:
            totals[name] += getattr(own, name)
    for name, total in totals.items():
        assert getattr(found, name) == pytest.approx(total, rel=1e-8), name


def test_between_the_classes_one_against_the_rest_varies_as_rows_of_one_class_do():
    """H⁻¹ M H⁻¹ with M the covariance of the scores of y that is drawn with these probabilities."""
    X, y, _ = rows(40, k=3)
    est = bd.LogisticRegression(alpha=0.1, multi_class="one-vs-rest", **TIGHT).fit(X, y)
    A, W = dense(X), np.column_stack([est.coef_, est.intercept_])
    p = 1 / (1 + np.exp(-A @ W.T))
    bread = [np.linalg.inv(A.T @ (A * (q * (1 - q))[:, None]) + 40 * 0.1 * np.diag([1, 1, 1, 1, 0])) for q in p.T]
    found = bd.infer(est.model_, bd.Dataset.from_arrays(X, y))
    meat = A.T @ (A * (-p[:, 0] * p[:, 2])[:, None])
    np.testing.assert_allclose(found.covariance[:5, 10:], bread[0] @ meat @ bread[2], rtol=1e-8)


def test_labels_are_models_of_two_classes_and_what_is_between_them_robust():
    X, _, s = rows()
    y = (np.random.default_rng(3).normal(size=(300, 2)) + X[:, :2].toarray() > 0.3).astype(float)
    est, data = bd.LogisticRegression(alpha=0.01, **TIGHT).fit(X, y, s), bd.Dataset.from_arrays(X, y, s)
    plain, robust = bd.infer(est.model_, data), bd.infer(est.model_, data, kind="robust")
    A, H, u = dense(X), [], []
    for c in range(2):
        single = bd.LogisticRegression(alpha=0.01, **TIGHT).fit(X, y[:, c], s)
        own = bd.Dataset.from_arrays(X, y[:, c], s)
        place = slice(5 * c, 5 * c + 5)
        for found, kind in ((plain, "model"), (robust, "robust")):
            expected = bd.infer(single.model_, own, kind=kind).covariance
            np.testing.assert_allclose(found.covariance[place, place], expected, rtol=1e-6)
        p = 1 / (1 + np.exp(-A @ np.append(single.coef_, single.intercept_)))
        H.append(A.T @ (A * (s * p * (1 - p))[:, None]) + s.sum() * 0.01 * np.diag([1, 1, 1, 1, 0]))
        u.append(p - y[:, c])
    assert [label for label, _ in plain.names] == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(plain.covariance[:5, 5:], 0.0)
    between = np.linalg.inv(H[0]) @ (A.T * (s * u[0] * u[1])) @ A @ np.linalg.inv(H[1])
    np.testing.assert_allclose(robust.covariance[:5, 5:], between, rtol=1e-5, atol=1e-9)
    assert plain.log_likelihood is None


@pytest.mark.parametrize("multi_class", ["softmax", "one-vs-rest"])
@pytest.mark.parametrize("standardize", [False, True])
def test_errors_of_single_features_equal_those_of_the_matrix(multi_class, standardize):
    X, y, s = rows()
    est = bd.LogisticRegression(alpha=0.05, multi_class=multi_class, standardize=standardize, **TIGHT).fit(X, y, s)
    data = bd.Dataset.from_arrays(X, y, s)
    whole, some = bd.infer(est.model_, data), bd.infer(est.model_, data, features=[3, 1])
    places = [whole.names.index(name) for name in some.names]
    assert [feature for _, feature in some.names[:2]] == [3, 1]
    assert len(some.names) == (4 if multi_class == "softmax" else 6)
    np.testing.assert_allclose(some.standard_error, whole.standard_error[places], rtol=1e-6)
    np.testing.assert_array_equal(some.estimate, whole.estimate[places])


@pytest.mark.parametrize("k", [2, 3])
def test_a_penalty_on_standardised_features_is_counted_as_it_was(k):
    """The same model as one of standardised features, whose coefficients are σ times as large."""
    X, y, s = rows(k=k)
    inside = bd.LogisticRegression(alpha=0.1, standardize=True, **TIGHT).fit(X, y, s)
    sd = np.sqrt(np.cov(X.toarray().T, fweights=s.astype(int), bias=True).diagonal())
    by_hand = bd.LogisticRegression(alpha=0.1, **TIGHT).fit(X.toarray() / sd, y, s)
    ours = bd.infer(inside.model_, bd.Dataset.from_arrays(X, y, s))
    theirs = bd.infer(by_hand.model_, bd.Dataset.from_arrays(X.toarray() / sd, y, s))
    scale = np.tile(np.append(sd, 1.0), k - 1)
    np.testing.assert_allclose(ours.standard_error, theirs.standard_error / scale, rtol=1e-7)


def test_wald_and_likelihood_ratio_agree_on_large_samples():
    X, y, _ = rows(20_000, d=3, seed=1)
    X = sp.csr_array(sp.hstack([X, np.random.default_rng(2).normal(size=(20_000, 1))]))
    full = bd.infer(bd.LogisticRegression(alpha=0.0, **TIGHT).fit(X, y).model_, bd.Dataset.from_arrays(X, y))
    part = bd.infer(
        bd.LogisticRegression(alpha=0.0, **TIGHT).fit(X[:, :3], y).model_, bd.Dataset.from_arrays(X[:, :3], y)
    )
    wald, freedom, p = full.wald_test(full.selection(3))
    ratio, same, q = bd.likelihood_ratio_test(full, part)
    assert freedom == same == 2
    assert wald == pytest.approx(ratio, rel=0.02)
    assert p == pytest.approx(q, abs=0.02)
    assert full.deviance == pytest.approx(-2 * full.log_likelihood, rel=1e-12)


def test_what_inference_of_several_classes_refuses_is_said():
    X, y, s = rows()
    data = bd.Dataset.from_arrays(X, y, s)
    est = bd.LogisticRegression(alpha=0.01).fit(X, y, s)
    with pytest.raises(bd.BlockdotError, match=r"reference is 'ant'; needed one of the classes 0\.0, 1\.0, 2\.0"):
        bd.infer(est.model_, data, reference="ant")
    rest = bd.LogisticRegression(alpha=0.01, multi_class="one-vs-rest").fit(X, y, s)
    with pytest.raises(bd.BlockdotError, match="reference goes with the softmax of several classes"):
        bd.infer(rest.model_, data, reference=1.0)
    found = bd.infer(rest.model_, data)
    with pytest.raises(bd.BlockdotError, match=r"several models \(one-vs-rest, labels\) have no likelihood"):
        bd.likelihood_ratio_test(found, found)
    with pytest.raises(bd.BlockdotError, match="there is no parameter 9"):
        found.selection(9)
    with pytest.raises(bd.BlockdotError, match="rows of the restriction are linearly dependent"):
        found.wald_test(np.ones((2, len(found.names))))
    lasso = bd.LogisticRegression(alpha=0.01, l1_ratio=1.0).fit(X, y, s)
    with pytest.raises(bd.BlockdotError, match="an L1 penalty chooses features by the data"):
        bd.infer(lasso.model_, data)
    for option, words in [
        ({"lower": 0.0}, "fitted with lower"),
        ({"penalty_weights": np.arange(4.0)}, "fitted with penalty_weights"),
        ({"class_weight": "balanced"}, "fitted with class_weight, which standard errors depend on"),
    ]:
        bounded = bd.LogisticRegression(alpha=0.01, **option).fit(X, y, s)
        with pytest.raises(bd.BlockdotError, match=words):
            bd.infer(bounded.model_, data)
    twice = sp.csr_array(sp.hstack([X, X[:, [0]]]))
    doubled = bd.LogisticRegression(alpha=0.0).fit(twice, y)
    with pytest.raises(bd.BlockdotError, match="linearly dependent"):
        bd.infer(doubled.model_, bd.Dataset.from_arrays(twice, y))
    with pytest.raises(bd.BlockdotError, match="a class has no weight"):
        bd.infer(est.model_, bd.Dataset.from_arrays(X[y > 0], y[y > 0]))
