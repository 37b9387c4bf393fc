"""Online learning: scikit-learn's checks, the same bits wherever steps are made, features that come later, stops."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils.estimator_checks import parametrize_with_checks

import blockdot as bd

# Whether a row stands there twice or weighs 2, its order among the others and the batches are not the same.
_ORDER = "rows are learnt from in an order: a weight of 2 is one step of twice the gradient, two rows are two steps"
_EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": _ORDER,
    "check_sample_weight_equivalence_on_sparse_data": _ORDER,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        bd.SGDClassifier(max_iter=10),
        bd.SGDClassifier(loss="hinge", optimizer="adagrad", alpha=1e-4, average=True, max_iter=10),
        bd.SGDRegressor(max_iter=20),
    ],
    expected_failed_checks=lambda _: _EXPECTED,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def problem(n=600, d=40, seed=0, classes=2):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.25, rng=rng, format="csr", data_sampler=rng.normal)
    z = X @ rng.normal(size=d) * 2
    y = (z + rng.logistic(size=n) > 0).astype(int) if classes == 2 else np.digitize(z, [-0.7, 0.7])
    return X, y, 100.0 + 20.0 * z + rng.normal(size=n)


def bits(estimator):
    return estimator.coef_.tobytes() + np.asarray(estimator.intercept_).tobytes()


def objective(estimator, X, y, alpha, l1_ratio):
    w = estimator.coef_.ravel()
    z = X @ w + estimator.intercept_[0]
    return np.mean(np.logaddexp(0, z) - y * z) + alpha * (l1_ratio * np.abs(w).sum() + (1 - l1_ratio) / 2 * w @ w)


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "ftrl"},
        {"optimizer": "ftrl", "l1_ratio": 1.0},
        {"optimizer": "ftrl", "l1_ratio": 0.5, "mode": "synchronous"},
        {"optimizer": "sgd", "eta0": 1.0, "learning_rate": "invscaling", "average": 500},
        {"optimizer": "adagrad", "eta0": 0.5},
        {"optimizer": "adam", "learning_rate": "cosine", "eta0": 0.05},
        {"optimizer": "ftrl", "mode": "averaged"},
    ],
    ids=str,
)
def test_many_epochs_come_near_the_minimum_of_the_objective(how):
    """Which features are rare and which are penalised is counted rightly: lazy steps are unbiased."""
    X, y, _ = problem()
    X = X.multiply(np.random.default_rng(5).random(X.shape[1]) ** 2).tocsr()
    alpha, l1_ratio = 0.02, how.get("l1_ratio", 0.0)
    best = bd.LogisticRegression(alpha=alpha, l1_ratio=l1_ratio, tol=1e-8).fit(X, y)
    near = bd.SGDClassifier(alpha=alpha, max_iter=60, batch_size=16, **how).fit(X, y)
    least = objective(best, X, y, alpha, l1_ratio)
    start = np.log(2)
    assert objective(near, X, y, alpha, l1_ratio) - least < 0.02 * (start - least)
    if l1_ratio == 1.0:
        assert abs(np.count_nonzero(near.coef_) - np.count_nonzero(best.coef_)) <= 4
        assert np.count_nonzero(near.coef_) < 0.8 * X.shape[1]


@pytest.mark.parametrize("loss", ["squared_error", "huber", "epsilon_insensitive", "quantile"])
@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad", "adam"])
def test_the_units_of_y_do_not_matter(loss, optimizer):
    X, _, t = problem()
    unit = 1000.0
    ours = bd.SGDRegressor(loss=loss, optimizer=optimizer, epsilon=1.0).fit(X, t)
    other = bd.SGDRegressor(loss=loss, optimizer=optimizer, epsilon=unit).fit(X, unit * t)
    assert ours.score(X, t) > 0.95
    assert other.score(X, unit * t) == pytest.approx(ours.score(X, t), abs=0.01)
    if loss == "squared_error":  # slopes of the others jump, almost, so that rounding shows
        np.testing.assert_allclose(other.predict(X) / unit, ours.predict(X), rtol=1e-6)


def test_counts_with_offsets():
    rng = np.random.default_rng(1)
    X, exposure = rng.normal(size=(4000, 3)), rng.uniform(0.1, 2.0, 4000)
    y = rng.poisson(exposure * np.exp(0.5 * X[:, 0] - 1.0))
    found = bd.SGDRegressor(loss="poisson", max_iter=5).fit(X, y, offset=np.log(exposure))
    np.testing.assert_allclose([*found.coef_, found.intercept_], [0.5, 0.0, 0.0, -1.0], atol=0.1)


@pytest.mark.parametrize("mode", ["sequential", "synchronous", "averaged"])
def test_the_same_bits_for_any_number_of_threads_and_a_store(mode, tmp_path):
    X, y, _ = problem(classes=3)
    ds = bd.Dataset.from_arrays(X, y, block_rows=97)
    stored = ds.save(tmp_path / "s.blocks")
    found = [bd.SGDClassifier(mode=mode, max_iter=2, n_jobs=n).fit(rows) for n, rows in ((1, ds), (2, ds), (3, stored))]
    assert len({bits(est) for est in found}) == 1
    assert bits(bd.SGDClassifier(mode=mode, max_iter=2, random_state=1).fit(ds)) != bits(found[0])
    assert found[0].coef_.shape == (3, 40)
    assert found[0].score(X, y) > 0.7


def test_a_model_is_saved_and_says_how_it_was_made(tmp_path):
    X, y, _ = problem()
    est = bd.SGDClassifier(max_iter=2).fit(X, y)
    est.model_.save(tmp_path / "model")
    again = bd.load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), est.predict_proba(X))
    record = again.info.fit
    assert (record.solver, record.status, record.iterations, record.relative_grad_norm) == (
        "online ftrl", "max_iter", 2, None,
    )  # fmt: skip
    assert record.value == est.loss_curve_[-1]
    assert record.message == f"learnt 2 passes in 150 steps of 8 rows (progressive loss {est.loss_curve_[-1]:.6g})"
    with pytest.raises(bd.BlockdotError, match="online learning"):
        bd.infer(again, bd.Dataset.from_arrays(X, y))


# ---- partial fits


def test_partial_fits_of_all_parts_are_one_pass():
    X, y, _ = problem()
    whole = bd.SGDClassifier(max_iter=1, batch_size=20, shuffle=False).fit(bd.Dataset.from_arrays(X, y))
    parts = bd.SGDClassifier(batch_size=20, shuffle=False)
    for start in range(0, 600, 100):
        parts.partial_fit(X[start : start + 100], y[start : start + 100], classes=[0, 1])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-12)  # columns have another order
    assert (parts.t_, parts.n_iter_, whole.t_) == (30, 6, 30)
    assert np.mean(parts.loss_curve_) == pytest.approx(whole.loss_curve_[0], rel=1e-12)


def test_a_fit_goes_on_with_more_rows():
    X, y, _ = problem(classes=3)
    names = np.array(["a", "b", "c"])[y]
    est = bd.SGDClassifier(max_iter=1, batch_size=20, shuffle=False).fit(X[:400], names[:400])
    est.partial_fit(X[400:], names[400:])
    whole = bd.SGDClassifier(max_iter=1, batch_size=20, shuffle=False).fit(X, names)
    np.testing.assert_allclose(est.coef_, whole.coef_, rtol=1e-9, atol=1e-12)
    assert list(est.classes_) == ["a", "b", "c"]


def test_features_never_seen_before_simply_get_weights():
    width = 2**40
    est, ids = bd.SGDClassifier(batch_size=1), np.array([7, 2**39, 123_456_789_012])
    for i, feature in enumerate(ids):
        X = sp.csr_array((np.ones(4), np.full(4, feature), np.arange(5)), shape=(4, width))
        before = None if i == 0 else (est.model_.ids, est.model_.coef)
        est.partial_fit(bd.Dataset.from_arrays(X, np.full(4, float(i % 2))), classes=[0.0, 1.0])
        if before is not None:
            places = np.searchsorted(est.model_.ids, before[0])
            np.testing.assert_array_equal(est.model_.coef[places], before[1])  # of old features nothing is forgotten
    assert np.array_equal(est.model_.ids, np.sort(ids))
    assert np.all(est.model_.coef[np.argsort(np.argsort(ids))] * [-1, 1, -1] > 0)


def test_partial_fits_say_what_they_need():
    X, y, t = problem()
    with pytest.raises(ValueError, match="one class only"):
        bd.SGDClassifier().partial_fit(X[:5], np.zeros(5))
    est = bd.SGDClassifier().partial_fit(X[:5], np.zeros(5), classes=[0, 1, 2])
    assert est.coef_.shape == (3, 40)
    with pytest.raises(ValueError, match=r"y has the class .*4"):
        est.partial_fit(X[:5], np.full(5, 4))
    with pytest.raises(ValueError, match="others than those of the first call"):
        est.partial_fit(X[:5], np.zeros(5), classes=[0, 1])
    with pytest.raises(ValueError, match="'balanced' needs all rows"):
        bd.SGDClassifier(class_weight="balanced").partial_fit(X, y)
    with pytest.raises(ValueError, match="features"):
        est.partial_fit(X[:5, :30], np.zeros(5))
    regression = bd.SGDRegressor().partial_fit(X[:100], t[:100])
    for start in range(100, 600, 100):
        regression.partial_fit(X[start : start + 100], t[start : start + 100])
    assert regression.score(X, t) > 0.5


# ---- weights, stops, checkpoints


def test_weights_scale_gradients_and_do_not_matter_together():
    X, y, _ = problem()
    one, three = (bd.SGDClassifier().fit(X, y, sample_weight=np.full(600, s)) for s in (1.0, 3.0))
    np.testing.assert_allclose(one.coef_, three.coef_, rtol=1e-9, atol=1e-12)
    heavy = bd.SGDClassifier(class_weight={1: 10.0}).fit(X, y)
    assert heavy.predict(X).mean() > one.predict(X).mean() + 0.1
    zero = bd.SGDClassifier(optimizer="sgd").fit(X, y, sample_weight=np.where(np.arange(600) < 300, 1.0, 0.0))
    np.testing.assert_array_equal(np.flatnonzero(zero.coef_[0]), np.unique(X[:300].indices))


def test_early_stopping_keeps_the_best():
    X, y, _ = problem(n=300, d=200)
    est = bd.SGDClassifier(early_stopping=True, max_iter=200, eta0=0.5, n_iter_no_change=3).fit(X, y)
    assert 3 < est.n_iter_ < 200
    assert est.model_.info.fit.status == "converged"
    assert est.model_.info.fit.message.startswith("the rows held out got no better: learnt")
    best = int(np.argmin(est.validation_losses_))
    again = bd.SGDClassifier(early_stopping=True, max_iter=best + 1, eta0=0.5)
    with pytest.warns(Warning, match=f"learnt {best + 1} passes"):
        again.fit(X, y)
    assert bits(again) == bits(est)


def test_early_stopping_by_rows_of_ones_own():
    X, y, _ = problem()
    names = np.array(["no", "yes"])[y]
    rows = bd.Dataset.from_arrays(X[400:], y[400:].astype(float))
    est = bd.SGDClassifier(early_stopping=True, validation=rows, max_iter=100).fit(X[:400], names[:400])
    p = est.predict_proba(X[400:])[np.arange(200), y[400:]]
    assert min(est.validation_losses_) == pytest.approx(-np.mean(np.log(p)), rel=1e-9)
    other = bd.Dataset.from_arrays(X[400:, :30], y[400:].astype(float))
    with pytest.raises(bd.BlockdotError, match="the rows to stop by have 30 features, the others 40"):
        bd.SGDClassifier(early_stopping=True, validation=other).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="leaves none held out"):
        bd.SGDClassifier(early_stopping=True, validation_fraction=1e-9).fit(X, y)


class InterruptionError(Exception):
    pass


@pytest.mark.parametrize("mode", ["sequential", "synchronous", "averaged"])
def test_what_was_interrupted_goes_on_to_the_same_bits(mode, tmp_path, monkeypatch):
    monkeypatch.setattr("blockdot.models.stochastic._ROWS_A_LEG", 100)
    X, y, _ = problem()
    ds = bd.Dataset.from_arrays(X, y.astype(float), block_rows=97)
    settings = {"mode": mode, "max_iter": 3, "average": True, "early_stopping": True, "n_iter_no_change": 9}
    calls = []

    def interrupt(state):
        calls.append(state.epoch)
        if (len(calls) == 5 and mode != "averaged") or (len(calls) == 2 and mode == "averaged"):
            raise InterruptionError

    with pytest.warns(Warning, match="learnt 3 passes"):
        expected = bd.SGDClassifier(**settings).fit(ds)
    with pytest.raises(InterruptionError):
        bd.SGDClassifier(**settings, checkpoint=tmp_path / "c", callbacks=[interrupt]).fit(ds)
    legs = []
    with pytest.warns(Warning, match="learnt 3 passes"):
        found = bd.SGDClassifier(**settings, checkpoint=tmp_path / "c", n_jobs=1, callbacks=[legs.append]).fit(ds)
    assert bits(found) == bits(expected)
    assert found.loss_curve_ == expected.loss_curve_
    assert found.validation_losses_ == expected.validation_losses_
    assert not list((tmp_path / "c").glob("checkpoint-*"))
    calls.clear()
    with pytest.raises(InterruptionError):
        bd.SGDClassifier(**settings, checkpoint=tmp_path / "c", callbacks=[interrupt]).fit(ds)
    with pytest.raises(bd.BlockdotError, match="is of another fit"):
        bd.SGDClassifier(**settings | {"eta0": 0.2}, checkpoint=tmp_path / "c").fit(ds)


def test_what_diverges_is_named_and_callbacks_stop():
    X, _, t = problem()
    with pytest.warns(Warning, match="diverged, the rate is too high, or the features need scaling"):
        bd.SGDRegressor(optimizer="sgd", eta0=1e6, max_iter=50).fit(X, t)
    est = bd.SGDRegressor(max_iter=50, callbacks=[lambda state: state.iteration == 2]).fit(X, t)
    assert (est.n_iter_, est.model_.info.fit.status) == (2, "stopped")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "rmsprop"}, "optimizer is 'rmsprop'; needed one of ftrl, adagrad, sgd, adam, adamw"),
        ({"learning_rate": "optimal"}, "learning_rate is 'optimal'; needed one of constant, invscaling, cosine"),
        ({"learning_rate": "cosine"}, "a schedule and warmup go with the other optimizers"),
        ({"momentum": 0.9}, "momentum and nesterov go with optimizer = 'sgd', not with 'ftrl'"),
        ({"optimizer": "adam", "l1_ratio": 0.5, "alpha": 0.1}, "an L1 penalty goes with optimizer = 'ftrl'"),
        ({"batch_size": 0}, "batch_size is 0; needed a whole number of at least 1"),
        ({"max_iter": 0}, "epochs is 0; needed a whole number of at least 1"),
        ({"mode": "hogwild"}, "mode is 'hogwild'; needed one of sequential, synchronous, averaged"),
        ({"eta0": -1.0}, "rate is -1.0; needed a finite number above 0"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "the share of rows held out is 1.5"),
        ({"loss": "perceptron"}, "loss is 'perceptron'; needed one of log_loss, hinge, squared_hinge"),
        ({"alpha": -1.0}, "alpha is -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    X, y, _ = problem()
    with pytest.raises(bd.BlockdotError, match=message):
        bd.SGDClassifier(**settings).fit(X, y)


def test_the_other_estimators_learn_online_by_name_and_refuse_what_it_cannot_do():
    X, y, _ = problem()
    est = bd.LogisticRegression(solver="online", alpha=0.0)
    with pytest.warns(Warning, match="learnt 17 passes"):
        est.fit(X, y)
    assert bits(est) == bits(bd.SGDClassifier().fit(X, y))
    with pytest.raises(bd.BlockdotError, match="online learning goes without standardize"):
        bd.LogisticRegression(solver="online", standardize=True).fit(X, y)
    with pytest.raises(bd.BlockdotError, match="for a path of penalties choose another solver"):
        bd.LogisticRegressionCV(solver="online").fit(X, y)
