"""Paths and cross-validation in shared passes: equal to one fit for each α and fold, however the rows are cut."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit

import blockdot as bd
from blockdot.blocks.sums import View
from blockdot.models.fit import fit
from blockdot.models.folds import HashedFolds
from blockdot.models.kinds import make_loss
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe


def rows(n=300, d=20, seed=0, *, binary=True):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.3, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    z = X @ (rng.normal(size=d) * (rng.random(d) < 0.4)) + 0.3
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * z))).astype(float) if binary else z + 0.3 * rng.normal(size=n)
    return X, y, rng.uniform(0.5, 2.0, n)


def classes(n=300, d=20, k=4, seed=0):
    """Rows of k classes, their features of very different scales."""
    rng = np.random.default_rng(seed)
    X, _, s = rows(n, d, seed)
    X = sp.csr_array(X @ sp.diags_array(np.geomspace(0.2, 5.0, d)))
    z = X @ (rng.normal(size=(d, k)) * (rng.random((d, k)) < 0.4)) + np.linspace(0.0, 1.0, k)
    return X, np.argmax(z + rng.gumbel(size=z.shape), axis=1).astype(float), s


def judged(folds, n):
    """(n, n_folds) which of the rows 0, 1, … each model is judged by."""
    return folds.test(bd.Dataset.from_arrays(np.ones((n, 1)), block_rows=n).source.block(0))


TIGHT = {"tol": 1e-9, "max_iter": 2000}

CASES = {
    "logistic, L2": Recipe("logistic"),
    "logistic, elastic net": Recipe("logistic", l1_ratio=0.5),
    "logistic, lasso": Recipe("logistic", l1_ratio=1.0),
    "logistic, standardised": Recipe("logistic", standardize=True),
    "logistic, lasso, standardised": Recipe("logistic", l1_ratio=1.0, standardize=True),
    "squared, L2": Recipe("squared"),
    "squared, elastic net": Recipe("squared", l1_ratio=0.5),
    "squared, lasso, standardised": Recipe("squared", l1_ratio=1.0, standardize=True),
    "squared, bounds, standardised": Recipe("squared", lower=0.0, upper=0.2, standardize=True),
    "squared, groups": Recipe("squared", l1_ratio=0.9, groups=np.arange(20) // 4),
    "squared, no intercept, standardised": Recipe("squared", standardize=True, fit_intercept=False),
    "huber": Recipe("huber", {"delta": 0.5}, l1_ratio=0.5),
    "softmax, L2": Recipe("softmax"),
    "softmax, elastic net": Recipe("softmax", l1_ratio=0.5),
    "softmax, lasso, standardised": Recipe("softmax", l1_ratio=1.0, standardize=True),
    "softmax, no intercept, standardised": Recipe("softmax", standardize=True, fit_intercept=False),
    "softmax, groups": Recipe("softmax", l1_ratio=0.9, groups=np.arange(20) // 4),
    "one-vs-rest, lasso": Recipe("one-vs-rest", l1_ratio=1.0),
    "one-vs-rest, standardised": Recipe("one-vs-rest", standardize=True),
    "hinge": Recipe("hinge"),
    "quantile": Recipe("quantile", {"quantile": 0.3}),
    "epsilon-insensitive, standardised": Recipe("epsilon-insensitive", {"epsilon": 0.1}, standardize=True),
}


def unshifted(coef):
    """One number more on every class changes nothing, and with L1 alone there may be more than one best such number."""
    return coef - np.mean(coef, axis=0) if coef.ndim == 2 else coef


@pytest.mark.parametrize("recipe", CASES.values(), ids=CASES)
def test_a_shared_path_equals_one_fit_for_each_alpha_and_fold(recipe):
    several = recipe.loss in ("softmax", "one-vs-rest")
    X, y, s = classes() if several else rows(binary=recipe.loss in ("logistic", "hinge"))
    kinked = recipe.loss in ("hinge", "quantile", "epsilon-insensitive")
    recipe, alphas, folds = replace(recipe, **TIGHT), [0.1, 0.03, 0.01], HashedFolds(3)
    if kinked:
        recipe, alphas, X, y, s = replace(recipe, tol=1e-5), [0.1], X[:100], y[:100], s[:100]
    model, found = fit_path(
        bd.Dataset.from_arrays(X, y, s, block_rows=70), recipe, bd.ThreadPool(2), Grid(alphas), folds
    )
    assert found.alphas.tolist() == alphas
    test = judged(folds, len(y))
    assert np.all(test.sum(axis=1) == 1)
    atol = 1e-4 if kinked else 1e-6
    for i, alpha in enumerate(alphas):
        at = replace(recipe, alpha=alpha, tol=0.1 * recipe.tol)

        def fitted(part, at=at):
            return fit(bd.Dataset.from_arrays(X[part], y[part], s[part]), at, bd.ThreadPool(1))[0]

        whole = fitted(np.arange(len(y)))
        np.testing.assert_allclose(unshifted(found.dense_coef(20)[i]), unshifted(whole.dense_coef()), atol=atol)
        np.testing.assert_allclose(found.intercept[i], whole.intercept, atol=atol)
        for m in range(3):
            out = test[:, m]
            part = fitted(~out)
            sharp = {"smoothing": 1e-12} if kinked else {}
            loss = make_loss(recipe.loss, {**part.info.options, **sharp})
            expected = loss.value(y[out], part.raw(X[out]), s[out]) / np.sum(s[out])
            assert found.losses[i, m] == pytest.approx(expected, rel=1e-3 if kinked else 1e-5)
    assert model.info.fit.alpha == alphas[found.best]
    at = replace(recipe, alpha=alphas[found.best], tol=0.1 * recipe.tol)
    best = fit(bd.Dataset.from_arrays(X, y, s), at, bd.ThreadPool(1))[0].info.fit
    assert model.info.fit.value == pytest.approx(best.value, rel=1e-4 if kinked else 1e-8)
    assert model.info.fit.grad_norm < 1e-6
    assert (model.info.fit.gap_bound is None) == (best.gap_bound is None)
    np.testing.assert_allclose(model.dense_coef(), found.dense_coef(20)[found.best])


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


@pytest.mark.timeout(240)
def test_a_path_of_several_classes_has_the_same_bits_on_a_cluster(tmp_path, client):
    X, y, s = classes()
    data = bd.Dataset.from_arrays(X, y, s, groups=np.arange(300) // 3, block_rows=40).save(tmp_path / "s")
    options = {"alphas": [0.1], "l1_ratio": 0.5, "standardize": True, "tol": 1e-2}
    for cv in (3, bd.TimeFolds(3)):
        here = bd.LogisticRegressionCV(cv=cv, **options).fit(data)
        there = bd.LogisticRegressionCV(cv=cv, client=client, **options).fit(data)
        assert there.coef_path_.tobytes() == here.coef_path_.tobytes()
        assert there.loss_path_.tobytes() == here.loss_path_.tobytes()


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


def test_rows_of_a_group_fall_in_one_fold(tmp_path):
    X, y, s = rows()
    customer = np.random.default_rng(5).integers(0, 40, 300)
    names = np.array([f"customer {i}" for i in range(40)])[customer]
    data = bd.Dataset.from_arrays(X, y, s, groups=names, block_rows=50)
    stored = data.save(tmp_path / "s")
    folds = HashedFolds(4)
    test = np.concatenate([folds.test(stored.source.block(i)) for i in range(stored.n_blocks)])
    assert np.all(test.sum(axis=1) == 1)
    assert all(len(np.unique(np.argmax(test[customer == c], axis=1))) == 1 for c in range(40))
    assert np.all(test.sum(axis=0) > 20)
    splits = [(np.flatnonzero(~out), np.flatnonzero(out)) for out in test.T]
    given = bd.LogisticRegressionCV(cv=splits, alphas=[0.1, 0.01]).fit(X, y, s)
    grouped = bd.LogisticRegressionCV(cv=4, alphas=[0.1, 0.01]).fit(stored)
    np.testing.assert_allclose(grouped.loss_path_, given.loss_path_, rtol=1e-12)
    with pytest.raises(bd.BlockdotError, match=r"groups has the shape \(3,\); needed \(300,\)"):
        bd.Dataset.from_arrays(X, y, groups=[1, 2, 3])


@pytest.mark.parametrize(("n", "k"), [(300, 5), (301, 2), (17, 16)])
def test_time_folds_are_those_of_scikit_learn(n, k):
    data = bd.Dataset.from_arrays(np.ones((n, 1)), block_rows=40)
    with data.on(bd.ThreadPool(2)) as blocks:
        folds = bd.TimeFolds(k).settled(blocks)
        train, test = (np.concatenate(list(blocks.map(Which(folds, how)))) for how in ("train", "test"))
    for m, (fit_rows, judged_rows) in enumerate(TimeSeriesSplit(k).split(np.zeros(n))):
        assert np.flatnonzero(train[:, m]).tolist() == fit_rows.tolist()
        assert np.flatnonzero(test[:, m]).tolist() == judged_rows.tolist()


class Which:
    layout = bd.Linear(False).layout

    def __init__(self, folds, how):
        self.folds, self.how = folds, how

    def __call__(self, block):
        return getattr(self.folds, self.how)(block)


def test_time_folds_go_with_a_store_as_with_arrays(tmp_path):
    X, y, s = rows()
    alphas = [0.1, 0.01]
    arrays = bd.LogisticRegressionCV(cv=TimeSeriesSplit(3), alphas=alphas).fit(X, y, s)
    store = bd.Dataset.from_arrays(X, y, s, block_rows=50).save(tmp_path / "s")
    stored = bd.LogisticRegressionCV(cv=bd.TimeFolds(3), alphas=alphas).fit(store)
    np.testing.assert_allclose(stored.loss_path_, arrays.loss_path_, rtol=1e-12)
    with pytest.raises(bd.BlockdotError, match="300 rows cannot be cut into 301 parts"):
        bd.LogisticRegressionCV(cv=bd.TimeFolds(300), alphas=alphas).fit(store)
    with pytest.raises(bd.BlockdotError, match=r"cv is a number of folds, or TimeFolds\(5\)"):
        bd.LogisticRegressionCV(cv=KFold(3), alphas=alphas).fit(store)
    backwards = replace(data := bd.Dataset.from_arrays(X, y, s, block_rows=50), source=Backwards(data.source))
    with pytest.raises(bd.BlockdotError, match="not in the order of their files and lines"):
        bd.LogisticRegressionCV(cv=bd.TimeFolds(3), alphas=alphas).fit(backwards)


class Backwards(View):
    def block(self, index):
        return self.source.block(self.n_blocks - 1 - index)


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
    rare = np.where(np.arange(300) < 2, "rare", np.where(y > 0, "yes", "no"))
    with pytest.raises(bd.BlockdotError, match="leaves no row of the class rare to learn from"):
        bd.LogisticRegressionCV(cv=[(np.arange(300), [0]), (np.arange(2, 300), [0, 1])]).fit(X, rare)
    data = bd.Dataset.from_arrays(X, y)
    with pytest.raises(bd.BlockdotError, match="a penalty of your own has no alpha to choose"):
        fit_path(data, Recipe("logistic", penalty=bd.L2(0.1)), bd.ThreadPool(1), Grid(), HashedFolds(3))


class Counting:
    """The blocks of a source, and how often each was read: products and sums are made of a block that is read."""

    def __init__(self, pool):
        self.pool, self.n_workers, self.shares_memory, self.passes = pool, pool.n_workers, pool.shares_memory, 0
        self.n_calls = pool.n_calls

    def map(self, function, items, *shared):
        self.passes += 1
        return self.pool.map(function, items, *shared)


@pytest.mark.parametrize("multi_class", ["softmax", "one-vs-rest"])
def test_one_read_of_a_block_serves_every_model(multi_class):
    """The passes of a path do not grow with folds and classes, as they would with a fit for each."""
    X, y, s = classes(k=5)
    recipe = Recipe("logistic", multi_class=multi_class, l1_ratio=0.5, standardize=True, tol=1e-6, max_iter=500)
    alphas, passes, data = [0.1, 0.03, 0.01], {}, bd.Dataset.from_arrays(X, y, s, block_rows=50)
    for folds in (2, 12):
        pool = Counting(bd.ThreadPool(1))
        _, found = fit_path(data, recipe, pool, Grid(alphas), HashedFolds(folds))
        evaluations = sum(result.evaluations for result in found.results)
        # beside the solver's passes: two for a sample of the rows and some over it, one for the losses at each alpha,
        # some at the start
        assert evaluations < pool.passes < evaluations + 25
        passes[folds] = pool.passes
    separate = 0
    for alpha in alphas:
        separate += fit(data, replace(recipe, alpha=alpha), bd.ThreadPool(1))[1].evaluations
    assert passes[12] < 1.5 * passes[2] < 3 * separate


def test_a_group_lasso_keeps_the_groups_of_each_model_apart():
    """Folds choose groups for themselves: a group that one of them drops may stay in another."""
    X, y, s = rows(120, binary=False)
    groups = np.arange(20) // 2
    recipe = Recipe("squared", l1_ratio=1.0, groups=groups, tol=1e-10, max_iter=5000)
    data, folds = bd.Dataset.from_arrays(X, y, s), HashedFolds(4)
    _, found = fit_path(data, recipe, bd.ThreadPool(1), Grid(n_alphas=6, eps=0.05), folds)
    assert np.max(np.abs(found.coef[0])) < 1e-8
    assert np.max(np.abs(found.coef[1])) > 1e-3
    out = judged(folds, 120)[:, 0]
    part, _ = fit(
        bd.Dataset.from_arrays(X[~out], y[~out], s[~out]), replace(recipe, alpha=found.alphas[2]), bd.ThreadPool(1)
    )
    expected = 0.5 * np.average((y[out] - part.raw(X[out])) ** 2, weights=s[out])
    assert found.losses[2, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "one-vs-rest", "poisson", "huber"])
def test_a_path_begins_where_nothing_is_left_of_any_output(loss):
    X, y, s = classes()
    offset = np.random.default_rng(1).normal(size=300) if loss == "poisson" else None
    p = np.where(np.arange(20) == 3, 0.0, 1.0) if loss in ("softmax", "huber") else None
    recipe = Recipe(loss, l1_ratio=1.0, penalty_weights=p, tol=1e-8, max_iter=1000)
    data = bd.Dataset.from_arrays(X, y, s, offset)
    _, found = fit_path(data, recipe, bd.ThreadPool(1), Grid(n_alphas=3, eps=0.9), HashedFolds(3))
    coef = np.delete(found.dense_coef(20), 3, axis=-1) if p is not None else found.dense_coef(20)
    assert np.max(np.abs(coef[0])) < 1e-5
    assert np.max(np.abs(coef[1])) > 1e-4
    assert p is None or np.max(np.abs(found.dense_coef(20)[0])) > 0.01


def test_several_classes_by_their_names():
    X, y, s = classes(k=3)
    names = np.array(["ant", "bee", "cat"])[y.astype(int)]
    for multi_class in ("softmax", "one-vs-rest"):
        est = bd.LogisticRegressionCV(multi_class=multi_class, n_alphas=8, cv=4, l1_ratio=0.5).fit(X, names, s)
        assert est.classes_.tolist() == ["ant", "bee", "cat"]
        assert est.coef_path_.shape == (8, 3, 20)
        assert est.intercept_path_.shape == (8, 3)
        place = est.alphas_.tolist().index(est.alpha_)
        np.testing.assert_array_equal(est.coef_, est.coef_path_[place])
        np.testing.assert_array_equal(est.intercept_, est.intercept_path_[place])
        assert est.score(X, names) > 0.6
        np.testing.assert_allclose(est.predict_proba(X).sum(axis=1), 1.0)
