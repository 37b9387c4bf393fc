"""Classes, weights of classes, offsets, standardisation: as scikit-learn has them, or as repeated rows would."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

import blockdot as bd

ALPHA = 0.02


def rows(n=240, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.5, rng=rng, format="csr")
    X.data = rng.normal(1.0, 1.0, size=X.nnz)
    z = X @ rng.normal(size=(d, classes)) + rng.gumbel(size=(n, classes))
    return X, np.argmax(z, axis=1), rng.integers(0, 4, n)


def tight(**more):
    return bd.LogisticRegression(**{"alpha": ALPHA, "tol": 1e-10, "max_iter": 500, **more})


def test_softmax_is_that_of_scikit_learn():
    X, y, s = rows()
    ours = tight().fit(X, y, s)
    theirs = SklearnLogistic(C=1 / (ALPHA * s.sum()), tol=1e-10, max_iter=5000).fit(X, y, s)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_ - theirs.intercept_.mean(), atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), ours.predict_proba(X), atol=1e-12)
    assert ours.score(X, y) == theirs.score(X, y)
    assert ours.decision_function(X).shape == (240, 3)


def test_one_against_the_rest_is_that_of_scikit_learn():
    X, y, _ = rows()
    ours = tight(multi_class="one-vs-rest").fit(X, y)
    theirs = OneVsRestClassifier(SklearnLogistic(C=1 / (ALPHA * len(y)), tol=1e-10, max_iter=5000)).fit(X, y)
    np.testing.assert_allclose(ours.coef_, [e.coef_[0] for e in theirs.estimators_], atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("multi_class", ["softmax", "one-vs-rest"])
def test_names_of_classes_come_back(multi_class, tmp_path):
    X, y, _ = rows()
    names = np.array(["zebra", "ant", "mole"])[y]
    est = tight(multi_class=multi_class).fit(X, names)
    assert est.classes_.tolist() == ["ant", "mole", "zebra"]
    assert set(est.predict(X)) <= set(names)
    est.model_.save(tmp_path / "model")
    loaded = bd.load_model(tmp_path / "model")
    assert loaded.predict(X).tolist() == est.predict(X).tolist()
    np.testing.assert_allclose(loaded.predict_proba(X), est.predict_proba(X), rtol=1e-14)
    data = bd.Dataset.from_arrays(X, y)
    assert tight(multi_class=multi_class).fit(data).score(data) == pytest.approx(est.score(X, names))


def test_metrics_of_several_classes():
    from sklearn.metrics import log_loss

    X, y, s = rows()
    data = bd.Dataset.from_arrays(X, y, s)
    est = tight().fit(data)
    found = bd.evaluate(est.model_, data, bd.ThreadPool(2))
    assert found["log_loss"] == pytest.approx(log_loss(y, est.predict_proba(X), sample_weight=s))
    assert found["accuracy"] == pytest.approx(np.average(est.predict(X) == y, weights=s))
    constant = bd.evaluate(est.model_.constant(), data, bd.ThreadPool(2))
    shares = np.bincount(y, s) / s.sum()
    assert constant["log_loss"] == pytest.approx(-np.sum(shares * np.log(shares)))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_weight_is_a_factor_of_the_weights_of_its_rows(classes):
    X, y, s = rows(classes=classes)
    factor = {0: 2.0, classes - 1: 0.5}
    named = tight(class_weight=factor).fit(X, y, s)
    by_hand = tight().fit(X, y, s * np.array([factor.get(c, 1.0) for c in y]))
    np.testing.assert_allclose(named.coef_, by_hand.coef_, atol=1e-12)
    balanced = tight(class_weight="balanced").fit(X, y, s)
    share = s.sum() / (classes * np.bincount(y, s))
    np.testing.assert_allclose(balanced.coef_, tight().fit(X, y, s * share[y]).coef_, atol=1e-12)
    with pytest.raises(bd.BlockdotError, match="class_weight names 'none'; the classes are 0"):
        tight(class_weight={"none": 1.0}).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="needed 'balanced'"):
        tight(class_weight="fair").fit(X, y)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.7])
def test_standardising_is_a_standard_scaler(l1_ratio):
    X, y, s = rows(classes=2)
    s = s + 1.0
    inside = tight(standardize=True, l1_ratio=l1_ratio).fit(X, y, s)
    scaler = StandardScaler().fit(X.toarray(), sample_weight=s)
    outside = tight(l1_ratio=l1_ratio).fit(scaler.transform(X.toarray()), y, s)
    np.testing.assert_allclose(inside.coef_, outside.coef_ / scaler.scale_, atol=1e-7)
    expected = outside.intercept_ - np.sum(outside.coef_ * scaler.mean_ / scaler.scale_)
    np.testing.assert_allclose(inside.intercept_, expected, atol=1e-7)


@pytest.mark.parametrize(
    "est",
    [
        bd.PoissonRegressor(alpha=0.01, tol=1e-10),
        bd.LogisticRegression(alpha=0.01, tol=1e-10),
        bd.LogisticRegression(alpha=0.01, l1_ratio=0.5, tol=1e-10, max_iter=500),
        bd.HuberRegressor(alpha=0.01, tol=1e-10),
        bd.LinearSVC(alpha=0.01, tol=1e-10),
    ],
    ids=lambda est: type(est).__name__,
)
def test_weights_are_repeated_rows_and_order_does_not_matter(est):
    X, y, s = rows(classes=2)
    o = np.linspace(-0.5, 0.5, len(y))
    times, order = np.repeat(np.arange(len(y)), s), np.random.default_rng(1).permutation(len(y))
    found = [
        est.fit(X, y, s, o).coef_.copy(),
        est.fit(X[times], y[times], offset=o[times]).coef_.copy(),
        est.fit(X[s > 0], y[s > 0], s[s > 0], o[s > 0]).coef_.copy(),
        est.fit(X[order], y[order], s[order], o[order]).coef_.copy(),
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)


def test_an_exposure_is_an_offset():
    X, _, _ = rows()
    rng = np.random.default_rng(2)
    exposure = rng.uniform(0.1, 3.0, 240)
    y = rng.poisson(exposure * np.exp(0.3 * X.toarray()[:, 0] - 1.0)).astype(float)
    rates = bd.PoissonRegressor(alpha=0.01, tol=1e-10).fit(X, y / exposure, exposure)
    counts = bd.PoissonRegressor(alpha=0.01 * exposure.mean(), tol=1e-10).fit(X, y, offset=np.log(exposure))
    np.testing.assert_allclose(rates.coef_, counts.coef_, atol=1e-7)
    np.testing.assert_allclose(counts.predict(X, np.log(exposure)), exposure * counts.predict(X), rtol=1e-12)


def test_log_probabilities_do_not_overflow():
    X = np.array([[1.0], [-1.0]])
    est = tight(alpha=1e-3).fit(X, [0, 1])
    far = est.predict_log_proba(np.array([[1e4], [-1e4]]))
    assert np.all(np.isfinite(far))
    assert far[0, 1] < -1000


def test_coefficients_can_be_sparse():
    X, y, _ = rows(classes=2)
    est = tight(alpha=0.1, l1_ratio=1.0).fit(X, y)
    dense = est.coef_
    assert 0 < np.count_nonzero(dense) < dense.size
    assert sp.issparse(est.sparsify().coef_)
    assert np.array_equal(est.coef_.toarray(), dense)
    assert np.array_equal(est.densify().coef_, dense)
    assert set(est.named_coef()) == set(np.flatnonzero(dense[0]).tolist())


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    X, y, _ = rows()
    est = tight(warm_start=True, alpha=0.02).fit(X, y)
    cold = est.n_iter_
    assert est.fit(X, y).n_iter_ == 0
    assert est.set_params(alpha=0.01999).fit(X, y).n_iter_ < cold
