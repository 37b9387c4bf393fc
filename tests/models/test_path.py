"""Paths and cross-validation in shared passes: equal to one fit for each α and fold, however the rows are cut."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit

import blockdot as bd
from blockdot.models.folds import HashedFolds
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe


def rows(n=300, d=20, seed=0, *, binary=True):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.3, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    z = X @ (rng.normal(size=d) * (rng.random(d) < 0.4)) + 0.3
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * z))).astype(float) if binary else z + 0.3 * rng.normal(size=n)
    return X, y, rng.uniform(0.5, 2.0, n)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("binary", [True, False])
def test_a_shared_path_equals_one_fit_for_each_alpha_and_fold(l1_ratio, binary):
    X, y, s = rows(binary=binary)
    data = bd.Dataset.from_arrays(X, y, s, block_rows=70)
    loss, one = ("logistic", bd.LogisticRegression) if binary else ("squared", bd.LinearRegression)
    folds = HashedFolds(3)
    alphas = [0.1, 0.03, 0.01]
    recipe = Recipe(loss, l1_ratio=l1_ratio, tol=1e-9, max_iter=500)
    model, found = fit_path(data, recipe, bd.ThreadPool(2), Grid(alphas), folds)
    assert found.alphas.tolist() == alphas
    test = folds.test(np.arange(len(y)))
    assert np.all(test.sum(axis=1) == 1)
    for i, alpha in enumerate(alphas):
        whole = one(alpha=alpha, l1_ratio=l1_ratio, tol=1e-10, max_iter=500).fit(X, y, s)
        np.testing.assert_allclose(found.coef[i], whole.coef_.ravel(), atol=1e-6)
        assert found.intercept[i] == pytest.approx(float(np.ravel(whole.intercept_)[0]), abs=1e-6)
        for m in range(3):
            out = test[:, m]
            part = one(alpha=alpha, l1_ratio=l1_ratio, tol=1e-10, max_iter=500).fit(X[~out], y[~out], s[~out])
            z = X[out] @ part.coef_.ravel() + part.intercept_
            lost = np.logaddexp(0, z) - y[out] * z if binary else 0.5 * (y[out] - z) ** 2
            assert found.losses[i, m] == pytest.approx(np.average(lost, weights=s[out]), rel=1e-5)
    assert model.info.fit.alpha == alphas[found.best]
    best = one(alpha=alphas[found.best], l1_ratio=l1_ratio, tol=1e-10, max_iter=500).fit(X, y, s).model_.info.fit
    assert model.info.fit.value == pytest.approx(best.value, rel=1e-8)
    assert model.info.fit.grad_norm < 1e-6
    assert (model.info.fit.gap_bound is None) == (l1_ratio == 1.0)
    np.testing.assert_allclose(model.dense_coef(), found.coef[found.best])


def test_the_path_begins_where_the_lasso_leaves_nothing():
    X, y, s = rows()
    data = bd.Dataset.from_arrays(X, y, s)
    recipe = Recipe("logistic", l1_ratio=1.0, tol=1e-9, max_iter=500)
    _, found = fit_path(data, recipe, bd.ThreadPool(1), Grid(n_alphas=12), HashedFolds(3))
    assert np.max(np.abs(found.coef[0])) < 1e-6
    assert np.max(np.abs(found.coef[1])) > 1e-3
    assert found.alphas[-1] == pytest.approx(1e-3 * found.alphas[0])
    assert np.all(np.diff(found.alphas) < 0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_path_has_the_same_bits_on_any_number_of_threads(threads):
    X, y, s = rows()
    data = bd.Dataset.from_arrays(X, y, s, block_rows=60)
    recipe = Recipe("logistic", l1_ratio=0.9)
    runs = [fit_path(data, recipe, bd.ThreadPool(n), Grid(n_alphas=5), HashedFolds(3))[1] for n in (1, threads)]
    assert runs[0].coef.tobytes() == runs[1].coef.tobytes()
    assert runs[0].losses.tobytes() == runs[1].losses.tobytes()


@pytest.mark.parametrize(
    "cv",
    [
        4,
        KFold(3),
        TimeSeriesSplit(3),
        list(GroupKFold(3).split(np.zeros(300), groups=np.arange(300) // 7)),
    ],
)
def test_the_estimator_takes_folds_as_scikit_learn_has_them(cv):
    X, y, s = rows()
    est = bd.LogisticRegressionCV(cv=cv, n_alphas=6, l1_ratio=1.0).fit(X, y, s)
    assert est.loss_path_.shape == (6, cv if isinstance(cv, int) else 3)
    assert est.alpha_ in est.alphas_
    assert est.coef_path_.shape == (6, 20)
    assert est.score(X, y) > 0.6
    np.testing.assert_allclose(est.predict_proba(X).sum(axis=1), 1.0)


def test_one_standard_error_chooses_a_simpler_model():
    X, y, _ = rows(binary=False)
    best = bd.ElasticNetCV(cv=5, n_alphas=20).fit(X, y)
    simple = bd.ElasticNetCV(cv=5, n_alphas=20, rule="1se").fit(X, y)
    assert simple.alpha_ > best.alpha_
    assert best.score(X, y) > simple.score(X, y)


def test_what_a_path_refuses_is_said():
    X, y, _ = rows()
    with pytest.raises(bd.BlockdotError, match="cv is 1; needed 2 folds or more"):
        bd.LogisticRegressionCV(cv=1).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="rule is 'min'"):
        bd.LogisticRegressionCV(rule="min").fit(X, y)
    data = bd.Dataset.from_arrays(X, np.arange(300.0) % 3)
    with pytest.raises(bd.BlockdotError, match="softmax has several"):
        fit_path(data, Recipe("logistic"), bd.ThreadPool(1), Grid(), HashedFolds(3))
    with pytest.raises(bd.BlockdotError, match="the loss quantile has a kink"):
        fit_path(bd.Dataset.from_arrays(X, y), Recipe("quantile"), bd.ThreadPool(1), Grid(), HashedFolds(3))
