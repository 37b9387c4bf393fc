"""Estimators: scikit-learn's own checks, scikit-learn's optima, and the promises about weights, blocks and bits."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import blockdot as bd

A9A = Path(__file__).parents[3] / "shared/data/svmlight/a9a"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        bd.LinearRegression(),
        bd.LinearRegression(alpha=0.01, l1_ratio=0.5, standardize=True),
        bd.HuberRegressor(),
        bd.QuantileRegressor(alpha=0.01),
        bd.LinearSVR(alpha=0.01),
        bd.PoissonRegressor(alpha=0.01),
        bd.GammaRegressor(alpha=0.01),
        bd.TweedieRegressor(power=1.5, alpha=0.01),
        bd.GeneralizedLinearRegressor(),
        bd.LogisticRegression(),
        bd.LogisticRegression(multi_class="one-vs-rest"),
        bd.LinearSVC(alpha=0.01),
        bd.LinearSVC(alpha=0.01, loss="hinge"),
        bd.LogisticRegressionCV(n_alphas=5, cv=3),
        # weights equal repeated rows to 1e-7: where a fit may stop by tol is a matter of its last bits
        bd.ElasticNetCV(n_alphas=5, cv=3, tol=1e-9),
        bd.PoissonRegressorCV(n_alphas=5, cv=3),
        bd.TweedieRegressorCV(n_alphas=5, cv=3),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def problem(n=300, d=20, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.3, rng=rng, format="csr")
    z = X @ rng.normal(size=d) * 3
    return X, (z + rng.logistic(size=n) > 0).astype(int), z + rng.normal(size=n), rng.integers(0, 4, n)


def logistic(**kwargs):
    return bd.LogisticRegression(alpha=1e-2, tol=1e-10, max_iter=2000, **kwargs)


def linear(**kwargs):
    return bd.LinearRegression(alpha=1e-2, tol=1e-11, max_iter=2000, **kwargs)


def parameters(estimator):
    return np.append(estimator.coef_.ravel(), estimator.intercept_)


@pytest.mark.skipif(not A9A.exists(), reason="needs the a9a files in ../shared/data/svmlight")
def test_a9a_as_scikit_learn():
    X, y = load_svmlight_file(str(A9A))
    X_test, y_test = load_svmlight_file(f"{A9A}.t", n_features=X.shape[1])
    n = len(y)
    ours = bd.LogisticRegression(alpha=1 / n, tol=1e-9, max_iter=3000).fit(X, y)
    theirs = SklearnLogistic(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)

    def value(w, b):
        z = X @ w + b
        return np.mean(np.logaddexp(0, z) - (y > 0) * z) + w @ w / (2 * n)

    best = value(theirs.coef_[0], theirs.intercept_[0])
    assert value(ours.coef_[0], ours.intercept_[0]) == pytest.approx(best, rel=1e-8)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    aucs = [roc_auc_score(y_test > 0, model.decision_function(X_test)) for model in (ours, theirs)]
    assert round(aucs[0], 4) == round(aucs[1], 4)


def test_the_optima_of_scikit_learn():
    X, y, t, _ = problem()
    ours, theirs = logistic().fit(X, y), SklearnLogistic(C=1 / (1e-2 * 300), tol=1e-12, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(parameters(ours), parameters(theirs), atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    ridge = Ridge(alpha=1e-2 * 300, tol=1e-12, solver="sparse_cg").fit(X, t)
    np.testing.assert_allclose(parameters(linear().fit(X, t)), parameters(ridge), atol=1e-6)


@pytest.mark.parametrize("make", [logistic, linear])
def test_integer_weights_equal_repeated_rows_and_zero_weights_absent_ones(make):
    X, y, t, s = problem()
    target = y if make is logistic else t
    repeated = np.repeat(np.arange(len(s)), s)
    weighted = make().fit(X, target, sample_weight=s)
    np.testing.assert_allclose(parameters(weighted), parameters(make().fit(X[repeated], target[repeated])), atol=1e-6)


@pytest.mark.parametrize("make", [logistic, linear])
def test_a_dataset_equals_its_arrays(make, tmp_path):
    X, y, t, s = problem()
    target = y if make is logistic else t
    ds = bd.Dataset.from_arrays(X, target, s)
    arrays, stored = make().fit(X, target, sample_weight=s), make().fit(ds.save(tmp_path / "s"))
    assert np.array_equal(parameters(arrays), parameters(stored))
    assert stored.score(ds) == pytest.approx(arrays.score(X, target, sample_weight=s), rel=1e-12)
    cut = make().fit(bd.Dataset.from_arrays(X, target, s, block_rows=11))
    np.testing.assert_allclose(parameters(cut), parameters(arrays), atol=1e-6)


def test_the_same_bits_for_any_number_of_threads():
    X, y, _, s = problem()
    ds = bd.Dataset.from_arrays(X, y, s, block_rows=13)
    bits = {parameters(logistic(n_jobs=n).fit(ds)).tobytes() for n in (1, 2, 3, None)}
    assert len(bits) == 1


def test_labels_of_any_two_kinds():
    X, y, _, _ = problem()
    names = np.array(["no", "yes"])[y]
    est = logistic().fit(X, names)
    assert est.classes_.tolist() == ["no", "yes"]
    assert est.score(X, names) == logistic().fit(X, y * 7 - 3).score(X, y * 7 - 3)


def test_what_cannot_be_fitted_is_refused_in_words():
    X, _, t, _ = problem()
    with pytest.raises(bd.BlockdotError, match="one class only"):
        logistic().fit(bd.Dataset.from_arrays(X, np.ones(300)))
    with pytest.raises(bd.BlockdotError, match="more than 256 distinct labels"):
        logistic().fit(bd.Dataset.from_arrays(X, t))
    with pytest.raises(ValueError, match="one class only"):
        logistic().fit(X, np.ones(300, int))
    with pytest.raises(bd.BlockdotError, match="holds its targets"):
        linear().fit(bd.Dataset.from_arrays(X, t), t)
    with pytest.raises(bd.BlockdotError, match="solver is 'newton'"):
        linear(solver="newton").fit(X, t)


def test_a_warm_start_begins_where_the_last_fit_ended():
    X, y, _, _ = problem()
    est = logistic(warm_start=True).fit(X, y)
    cold = est.n_iter_
    assert est.fit(X, y).n_iter_ <= 1 < cold


def test_gradient_descent_reaches_the_same_optimum():
    X, y, _, _ = problem()
    slow = bd.LogisticRegression(alpha=1e-2, tol=1e-7, max_iter=20_000, solver="gradient-descent").fit(X, y)
    np.testing.assert_allclose(parameters(slow), parameters(logistic().fit(X, y)), atol=1e-5)


def test_evaluation_is_scikit_learns_whatever_the_blocks():
    X, y, t, s = problem()
    s = s + 1
    pool = bd.ThreadPool(2)
    est, ds = logistic().fit(X, y, sample_weight=s), bd.Dataset.from_arrays(X, y, s, block_rows=17)
    metrics = bd.evaluate(est.model_, ds, pool)
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(y, est.decision_function(X), sample_weight=s), rel=1e-12)
    assert metrics["log_loss"] == pytest.approx(log_loss(y, est.predict_proba(X), sample_weight=s), rel=1e-10)
    reg = linear().fit(X, t)
    r2 = bd.evaluate(reg.model_, bd.Dataset.from_arrays(X, t, block_rows=17), pool)["r2"]
    assert r2 == pytest.approx(r2_score(t, reg.predict(X)), rel=1e-12)


def test_a_warm_start_may_change_the_intercept():
    X, y, _, _ = problem()
    est = logistic(warm_start=True).fit(X, y)
    without = est.set_params(fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(parameters(without), parameters(logistic(fit_intercept=False).fit(X, y)), atol=1e-5)


def test_weight_on_one_class_only_is_refused():
    X, y, _, _ = problem()
    with pytest.raises(bd.BlockdotError, match="all the weight lies on one class"):
        logistic().fit(bd.Dataset.from_arrays(X, y, y.astype(float)))


def test_paths_and_strange_parameters_are_refused_in_words():
    X, y, _, _ = problem()
    with pytest.raises(bd.BlockdotError, match=r"bd\.ingest"):
        logistic().fit("a.svm")
    with pytest.raises(bd.BlockdotError, match=r"model_\.predict"):
        logistic().fit(X, y).predict("a.svm")
    with pytest.raises(bd.BlockdotError, match="alpha is None"):
        bd.LinearRegression(alpha=None).fit(X, y)
    with pytest.raises(bd.BlockdotError, match=r"n_threads is 1\.5"):
        linear(n_jobs=1.5).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="block_rows is -1"):
        bd.Dataset.from_arrays(X, y, block_rows=-1)


def test_text_classes_are_compared_by_name(tmp_path):
    for name, labels in (("a", "no yes"), ("b", "yes zzz")):
        first, second = labels.split()
        (tmp_path / f"{name}.csv").write_text("y,x\n" + f"{first},0\n{second},1\n" * 20)
        features = {"numeric": ["x"]}
        bd.ingest(tmp_path / f"{name}.csv", tmp_path / name, "csv", label="y", features=features)
    a, b = bd.Dataset.open(tmp_path / "a"), bd.Dataset.open(tmp_path / "b")
    est = logistic().fit(a)
    assert est.score(a) == 1
    with pytest.raises(bd.BlockdotError, match="has the classes yes, zzz, the model no, yes"):
        est.score(b)
    with pytest.raises(bd.BlockdotError, match="a regression needs numbers"):
        linear().fit(a)
