"""Metrics of a model on a data set: scikit-learn's, from memory and from a store, and what cannot be evaluated."""

import numpy as np
import pytest
import sklearn.metrics as peer

import blockdot as bd
from blockdot.errors import DataError

POOL = bd.ThreadPool(2)


def rows(seed=4, n=200, d=7):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.5)
    z = X @ rng.normal(size=d)
    return X, z + rng.normal(size=n), np.where(z + rng.logistic(size=n) > 0, 7.0, -2.0), rng.integers(0, 3, n) + 0.5


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_classification_equals_scikit_learn(weighted, stored, tmp_path):
    X, _, y, s = rows()
    s = s if weighted else None
    data = bd.Dataset.from_arrays(X, y, s, block_rows=33)
    data = data.save(tmp_path / "rows.blocks") if stored else data
    model = bd.LogisticRegression(alpha=1e-3).fit(bd.Dataset.from_arrays(X, y, s)).model_
    found = bd.evaluate(model, data, POOL)
    z, p, positive = model.raw(X), model.predict_proba(X)[:, 1], y == 7
    expected = {
        "rows": 200,
        "weight": 200 if s is None else s.sum(),
        "log_loss": peer.log_loss(positive, p, sample_weight=s),
        "accuracy": peer.accuracy_score(positive, z > 0, sample_weight=s),
        "roc_auc": peer.roc_auc_score(positive, z, sample_weight=s),
        "average_precision": peer.average_precision_score(positive, z, sample_weight=s),
    }
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weighted", [True, False])
def test_regression_equals_scikit_learn(weighted):
    X, t, _, s = rows()
    s = s if weighted else None
    model = bd.LinearRegression(alpha=1e-3).fit(X, t, s).model_
    found = bd.evaluate(model, bd.Dataset.from_arrays(X, t, s, block_rows=33), POOL)
    prediction = model.predict(X)
    expected = {
        "rows": 200,
        "weight": 200 if s is None else s.sum(),
        "rmse": peer.root_mean_squared_error(t, prediction, sample_weight=s),
        "mae": peer.mean_absolute_error(t, prediction, sample_weight=s),
        "r2": peer.r2_score(t, prediction, sample_weight=s),
    }
    assert found == pytest.approx(expected, rel=1e-10)


def test_offsets_count():
    X, t, _, _ = rows()
    offset = 10 * np.sin(np.arange(200.0))
    data = bd.Dataset.from_arrays(X, t + offset, None, offset, block_rows=50)
    with_offset = bd.LinearRegression(alpha=0.0, tol=1e-12, max_iter=1000).fit(data)
    without = bd.LinearRegression(alpha=0.0, tol=1e-12, max_iter=1000).fit(X, t)
    np.testing.assert_allclose(with_offset.coef_, without.coef_, atol=1e-9)
    found = bd.evaluate(with_offset.model_, data, POOL)["rmse"]
    assert found == pytest.approx(peer.root_mean_squared_error(t, without.predict(X)), rel=1e-9)


def test_the_constant_model_is_worth_nothing():
    X, t, y, s = rows()
    regression = bd.LinearRegression().fit(X, t, s).model_.constant()
    assert np.allclose(regression.predict(X), np.average(t, weights=s), rtol=1e-12)
    found = bd.evaluate(regression, bd.Dataset.from_arrays(X, t, s), POOL)
    assert found["r2"] == pytest.approx(0, abs=1e-12)
    for intercept in (True, False):
        est = bd.LogisticRegression(fit_intercept=intercept, max_iter=1000).fit(bd.Dataset.from_arrays(X, y, s))
        constant = est.model_.constant()
        p = np.average(y == 7, weights=s)
        np.testing.assert_allclose(constant.predict_proba(X)[:, 1], p, rtol=1e-12)
        found = bd.evaluate(constant, bd.Dataset.from_arrays(X, y, s), POOL)
        assert found["roc_auc"] == 0.5
        assert found["log_loss"] == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), rel=1e-12)


def test_what_cannot_be_evaluated():
    X, t, y, _ = rows()
    model = bd.LogisticRegression(max_iter=1000).fit(bd.Dataset.from_arrays(X, y)).model_
    strange = y.copy()
    strange[150] = 3
    with pytest.raises(DataError, match=r"block 1, row 50: .*label 3.* -2, 7"):
        bd.evaluate(model, bd.Dataset.from_arrays(X, strange, block_rows=100), POOL)
    regression = bd.LinearRegression().fit(X, t).model_
    with pytest.raises(DataError, match="no targets"):
        bd.evaluate(regression, bd.Dataset.from_arrays(X), POOL)
    only = bd.evaluate(model, bd.Dataset.from_arrays(X[y == 7], y[y == 7]), POOL)
    assert only["roc_auc"] is None
    assert only["accuracy"] is not None


def test_a_model_fitted_to_arrays_knows_its_labels():
    X, _, y, _ = rows()
    est = bd.LogisticRegression(max_iter=1000).fit(X, y)
    assert set(est.predict(X)) == {-2, 7}
    assert set(est.model_.predict(X)) == {-2, 7}
    assert est.score(bd.Dataset.from_arrays(X, y)) == est.score(X, y)


def test_a_classifier_needs_targets_to_be_evaluated():
    X, _, y, _ = rows()
    model = bd.LogisticRegression(max_iter=1000).fit(bd.Dataset.from_arrays(X, y)).model_
    with pytest.raises(DataError, match="no targets"):
        bd.evaluate(model, bd.Dataset.from_arrays(X), POOL)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_counts_with_exposures_have_the_d2_of_their_rates(power):
    """Offsets are in the null model, too: what the exposures alone say is not the merit of the features."""
    rng = np.random.default_rng(3)
    X, exposure = rng.normal(size=(400, 3)), rng.uniform(0.1, 3.0, 400)
    y = rng.poisson(exposure * np.exp(0.3 * X[:, 0] - 0.5)).astype(float)
    counts = bd.Dataset.from_arrays(X, y, None, np.log(exposure), block_rows=90)
    rates = bd.Dataset.from_arrays(X, y / exposure, exposure ** (2.0 - power))
    model = bd.TweedieRegressor(power=power, alpha=0.01, tol=1e-10).fit(counts).model_
    of_counts, of_rates = bd.evaluate(model, counts, POOL), bd.evaluate(model, rates, POOL)
    assert of_counts["d2"] == pytest.approx(of_rates["d2"], rel=1e-8)
    assert 0.02 < of_counts["d2"] < 0.5
    rate = np.sum(y * exposure ** (1.0 - power)) / np.sum(exposure ** (2.0 - power))
    by_hand = np.sum(model.loss.deviance(y, exposure * rate, 1.0))
    assert bd.infer(model, counts).null_deviance == pytest.approx(by_hand, rel=1e-8)


def test_nothing_to_explain_has_no_d2():
    X, offset = np.random.default_rng(4).normal(size=(50, 2)), np.linspace(-1.0, 1.0, 50)
    model = bd.PoissonRegressor(alpha=0.1).fit(X, np.arange(50) % 3).model_
    for y, offsets in ((np.full(50, 0.1), None), (np.zeros(50), None), (np.zeros(50), offset)):
        data = bd.Dataset.from_arrays(X, y, None, offsets)
        assert bd.evaluate(model, data, POOL)["d2"] is None
