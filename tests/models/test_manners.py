"""What users expect of an estimator: offsets in scores, names, sparse coefficients, groups, splitters; and refusals."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold
from sklearn.svm import SVC, LinearSVC

import blockdot as bd
from blockdot.jobs.model_tables import ModelTable
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

TIGHT = {"tol": 1e-10, "max_iter": 500}


def rows(n=300, d=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.7)
    return X, X @ rng.normal(0.0, 0.5, d) + 0.3 * rng.normal(size=n), rng


def test_scores_have_the_offsets_of_their_rows():
    X, z, rng = rows()
    offset = rng.normal(0.0, 1.0, len(z))
    y, s = rng.poisson(np.exp(z + offset)).astype(float), rng.integers(1, 4, len(z)).astype(float)
    for est, target in (
        (bd.PoissonRegressor(alpha=1e-3), y),
        (bd.LinearRegression(alpha=1e-3), y),
        (bd.LogisticRegression(alpha=1e-3), (y > 1).astype(float)),
    ):
        est.fit(X, target, s, offset)
        there = bd.Dataset.from_arrays(X, target, s, offset)
        assert est.score(X, target, s, offset) == pytest.approx(est.score(there), rel=1e-12)
        assert est.score(X, target, s, offset) > est.score(X, target, s)
        with pytest.raises(bd.BlockdotError, match="a Dataset holds its targets, weights and offsets"):
            est.score(there, offset=offset)


def test_the_score_of_a_row_that_the_model_is_sure_of():
    X = np.linspace(-1.0, 1.0, 50)[:, np.newaxis]
    y = (np.arange(50) % 3 > 0).astype(float)
    est = bd.GeneralizedLinearRegressor(family="binomial").fit(X, y)
    est.model_.coef[:] = 1000.0
    assert est.score(X, y) == pytest.approx(est.score(bd.Dataset.from_arrays(X, y)), rel=1e-12)
    assert np.isfinite(est.score(X, y))


def test_a_model_in_which_no_feature_occurs():
    est = bd.LogisticRegression().fit(np.zeros((4, 2)), [0, 1, 0, 1])
    assert est.named_coef() == {}
    assert est.sparsify().coef_.shape == (1, 2)


def test_a_model_predicts_with_offsets():
    X, z, rng = rows()
    offset = rng.normal(size=len(z))
    est = bd.LogisticRegression().fit(X, z > 0, offset=offset)
    model = est.model_
    assert np.array_equal(model.predict(X, offset=offset), est.predict(X, offset))
    assert np.array_equal(model.predict_proba(X, offset=offset), est.predict_proba(X, offset))
    with pytest.raises(bd.BlockdotError, match="an offset goes with a matrix"):
        model.predict(bd.Dataset.from_arrays(X), offset=offset)


def test_an_offset_says_nothing_to_a_softmax():
    X, z, _ = rows()
    y = np.digitize(z, [-0.5, 0.5])
    with pytest.raises(bd.BlockdotError, match="changes no probability of the softmax"):
        bd.LogisticRegression().fit(X, y, offset=z)
    assert bd.LogisticRegression(multi_class="one-vs-rest").fit(X, y, offset=z).n_iter_ > 0


def test_a_dataset_has_no_names_of_an_earlier_frame():
    pandas = pytest.importorskip("pandas")
    X, z, _ = rows()
    est = bd.LinearRegression().fit(pandas.DataFrame(X, columns=list("abcdef")), z)
    assert set(est.named_coef()) == set("abcdef")
    est.fit(bd.Dataset.from_arrays(X, z))
    assert not hasattr(est, "feature_names_in_")
    assert set(est.named_coef()) == set(range(6))


def test_sparse_coefficients_of_more_features_than_fit_in_memory():
    n = 1 << 45
    X = sp.csr_array((np.ones(4), np.array([5, n - 1, 5, 7]), np.array([0, 2, 3, 4])), shape=(3, n))
    est = bd.LogisticRegression(alpha=0.1).fit(bd.Dataset.from_arrays(X, np.array([0.0, 1.0, 1.0]))).sparsify()
    assert est.coef_.shape == (1, n)
    assert est.coef_.nnz == 3
    several = bd.LogisticRegression(alpha=0.1).fit(bd.Dataset.from_arrays(X, np.array([0.0, 1.0, 2.0]))).sparsify()
    assert several.coef_.shape == (3, n)


def test_a_group_is_as_large_as_it_was_said_to_be():
    """Also where one of its features occurs in rows without weight alone: those are as good as absent."""
    X, z, _ = rows(d=4)
    s = np.ones(len(z))
    s[:20] = 0.0
    X[20:, 1] = 0.0
    for groups in ([0, 0, 1, 1], [1, 1, 0, 0]):
        lasso = bd.LinearRegression(alpha=0.1, l1_ratio=1.0, groups=groups, **TIGHT)
        weighed = lasso.fit(X, z, s).coef_.copy()
        np.testing.assert_allclose(lasso.fit(X[20:], z[20:]).coef_, weighed, atol=1e-8)
        assert weighed[0] != 0.0


def test_probabilities_of_a_row_that_is_of_no_class_sum_to_one():
    X, z, _ = rows()
    est = bd.LogisticRegression(multi_class="one-vs-rest").fit(X, np.digitize(z, [-0.5, 0.5]))
    far = est.predict_proba(X[:2], np.array([-2000.0, 0.0]))
    np.testing.assert_allclose(far.sum(axis=1), 1.0)
    np.testing.assert_allclose(far, np.exp(est.predict_log_proba(X[:2], np.array([-2000.0, 0.0]))), rtol=1e-12)


def test_the_splitters_of_scikit_learn_by_groups():
    X, z, rng = rows()
    groups = rng.integers(0, 12, len(z))
    est = bd.ElasticNetCV(n_alphas=5, cv=GroupKFold(3))
    data = bd.Dataset.from_arrays(X, z, groups=groups)
    splits = list(GroupKFold(3).split(X, z, groups))
    given = bd.ElasticNetCV(n_alphas=5, cv=splits).fit(X, z)
    assert np.array_equal(est.fit(data).loss_path_, given.loss_path_)
    with pytest.raises(bd.BlockdotError, match=r"GroupKFold needs the group of each row"):
        est.fit(X, z)
    plain = bd.ElasticNetCV(n_alphas=5, cv=KFold(3))
    assert np.array_equal(plain.fit(data).loss_path_, plain.fit(X, z).loss_path_)


@pytest.mark.parametrize("power", [0.0, -1.0, 1.5])
def test_a_job_and_an_estimator_have_one_link(power):
    table = ModelTable(kind="tweedie", power=power)
    _, options = bd.TweedieRegressor(power=power)._loss()
    assert {"link": "log"} | table.options == options


def test_a_sample_in_which_no_row_counts_is_not_taken():
    """Two of 20,000 rows have a weight, and would not be among those that are sampled."""
    rng = np.random.default_rng(0)
    X, s = rng.normal(size=(20_000, 5)), np.zeros(20_000)
    s[[3, 8]] = 1.0
    y = np.arange(20_000) % 3 == 0
    assert y[3] != y[8]
    est = bd.LogisticRegression(l1_ratio=1.0, alpha=1e-3).fit(X, y, s)
    alone = bd.LogisticRegression(l1_ratio=1.0, alpha=1e-3).fit(X[[3, 8]], y[[3, 8]])
    np.testing.assert_allclose(est.coef_, alone.coef_, atol=1e-4)


REFUSED = {
    "groups and weights": ({"groups": [0, 0, 1], "penalty_weights": [1, 1, 1]}, "goes without penalty_weights"),
    "groups and bounds": ({"groups": [0, 0, 1], "lower": 0.0}, "goes without penalty_weights and bounds"),
    "a step of another solver": ({"solver": "lbfgs", "step": 0.1}, "step goes with solver = 'gradient-descent'"),
    "online with a bound": ({"solver": "online", "lower": 0.0}, "online learning goes without lower"),
    "online with the other bound": ({"solver": "online", "upper": 0.0}, "online learning goes without upper"),
    "online with groups": ({"solver": "online", "groups": [0, 1]}, "online learning goes without groups"),
    "online, standardised": ({"solver": "online", "standardize": True}, "online learning goes without standardize"),
    "an unknown solver": ({"solver": "simplex"}, "solver is 'simplex'; needed one of"),
    "an unknown way with classes": ({"multi_class": "ovo"}, "multi_class is 'ovo'; needed"),
    "a share of L1 above 1": ({"l1_ratio": 1.5}, "l1_ratio is 1.5; needed a number from 0"),
    "a negative penalty": ({"alpha": -1.0}, "alpha is -1.0; needed a finite number, at least 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_go_together_is_refused_in_words(what):
    settings, words = REFUSED[what]
    with pytest.raises(bd.BlockdotError, match=words):
        Recipe("logistic", **settings)


def test_what_the_data_do_not_fit_is_refused_in_words():
    X, z, _ = rows()
    data = bd.Dataset.from_arrays(X, (z > 0).astype(float))
    for settings, words in (
        ({"penalty_weights": [1.0, 2.0]}, r"penalty_weights has the shape \(2,\); needed \(6,\)"),
        ({"lower": [0.0, 0.0]}, r"lower bounds has the shape \(2,\)"),
        ({"penalty_weights": [1, 1, np.nan, 1, 1, 1]}, r"penalty_weights\[2\] is NaN"),
        ({"penalty_weights": [1, 1, -1, 1, 1, 1]}, "negative"),
        ({"lower": 1.0, "upper": 0.0}, "a lower bound is above its upper bound"),
    ):
        with pytest.raises(bd.BlockdotError, match=words):
            fit(data, Recipe("logistic", **settings), bd.ThreadPool(1))
    with pytest.raises(bd.BlockdotError, match="warm_start goes with one alpha"):
        bd.LogisticRegressionCV(warm_start=True).fit(data)


OTHERS = {
    ("hinge", True): lambda C: SVC(kernel="linear", C=C, tol=1e-10),
    ("hinge", False): lambda C: LinearSVC(loss="hinge", C=C, fit_intercept=False, tol=1e-10, max_iter=1_000_000),
    ("squared_hinge", False): lambda C: LinearSVC(C=C, fit_intercept=False, tol=1e-10, max_iter=1_000_000, dual=True),
}


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("intercept", [True, False])
def test_support_vectors_have_a_certified_gap(loss, intercept):
    X, z, _ = rows()
    t = np.where(z > 0, 1.0, -1.0)

    def value(est):
        margin = np.maximum(1.0 - t * est.decision_function(X), 0.0)
        return np.mean(margin if loss == "hinge" else margin**2) + 0.005 * np.sum(est.coef_**2)

    est = bd.LinearSVC(loss=loss, alpha=0.01, fit_intercept=intercept, tol=1e-7, max_iter=2000).fit(X, t)
    bound = est.model_.info.fit.gap_bound
    assert 0.0 < bound < 1e-4 * value(est)
    if (loss, intercept) in OTHERS:
        other = OTHERS[loss, intercept](1.0 / (0.01 * len(t))).fit(X, t)
        assert value(est) - value(other) <= bound


@pytest.mark.parametrize("make", [bd.QuantileRegressor, bd.LinearSVR, bd.HuberRegressor, bd.LinearRegression])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_every_fit_of_a_convex_loss_and_a_penalty_has_a_bound(make, l1_ratio):
    X, z, _ = rows()
    est = make(alpha=0.05, l1_ratio=l1_ratio, standardize=True, tol=1e-6, max_iter=2000).fit(X, z)
    record = est.model_.info.fit
    assert 0.0 <= record.gap_bound < 1e-3 * record.value


def test_penalties_and_bounds_of_some_features_by_their_numbers():
    X, z, _ = rows()
    wide = sp.csr_array(
        (sp.csr_array(X).data, sp.csr_array(X).indices.astype(np.int64), sp.csr_array(X).indptr), (300, 1 << 40)
    )
    dense = bd.LinearRegression(
        alpha=0.1, l1_ratio=0.5, penalty_weights=[1, 0, 1, 1, 3, 1], upper=[9, 9, 0.1, 9, 9, 9], **TIGHT
    )
    few = bd.LinearRegression(alpha=0.1, l1_ratio=0.5, penalty_weights={1: 0.0, 4: 3.0}, upper={2: 0.1}, **TIGHT)
    dense.fit(X, z)
    few.fit(bd.Dataset.from_arrays(wide, z))
    np.testing.assert_allclose(few.model_.coef, dense.coef_, atol=1e-9)
    with pytest.raises(bd.BlockdotError, match="penalty_weights names the feature 17; needed numbers from 0 to 5"):
        bd.LinearRegression(penalty_weights={17: 2.0}).fit(X, z)
    with pytest.raises(bd.BlockdotError, match="lower bounds has NaN"):
        bd.LinearRegression(lower={1: np.nan}).fit(X, z)
