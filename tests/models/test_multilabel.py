"""Rows with any number of labels: as one fit of two classes a label, as scikit-learn, to the same bits everywhere."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.metrics as peer
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import get_tags

import blockdot as bd
from blockdot.errors import DataError, SpecError
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

ALPHA = 0.02
POOL = bd.ThreadPool(2)


def rows(n=260, d=7, shares=(0.1, 0.4, 0.6, 0.9), seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.5, rng=rng, format="csr")
    X.data = rng.normal(1.0, 1.0, size=X.nnz)
    z = X @ rng.normal(size=(d, len(shares))) + rng.logistic(size=(n, len(shares)))
    Y = (z > [np.quantile(column, 1 - share) for column, share in zip(z.T, shares, strict=True)]).astype(int)
    return X, Y, rng.integers(0, 4, n), 0.5 * rng.normal(size=n)


def tight(**more):
    return bd.LogisticRegression(**{"alpha": ALPHA, "tol": 1e-11, "max_iter": 2000, **more})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fit_intercept": False},
        {"standardize": True},
        {"alpha": 0.01, "l1_ratio": 1.0},
        {"alpha": 0.01, "l1_ratio": 0.5, "penalty_weights": [1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 1.0], "standardize": True},
        {"lower": -0.2, "upper": 0.3},
        {"solver": "lbfgs"},
    ],
    ids=str,
)
def test_the_answer_is_that_of_a_fit_of_two_classes_for_each_label(settings):
    X, Y, s, o = rows()
    together = tight(**settings).fit(X, Y, s, o)
    apart = [tight(**settings).fit(X, y, s, o) for y in Y.T]
    np.testing.assert_allclose(together.coef_, np.vstack([est.coef_ for est in apart]), atol=2e-8)
    np.testing.assert_allclose(together.intercept_, np.concatenate([est.intercept_ for est in apart]), atol=2e-8)
    np.testing.assert_allclose(
        together.predict_proba(X, o), np.column_stack([est.predict_proba(X, o)[:, 1] for est in apart]), atol=1e-8
    )
    np.testing.assert_allclose(np.exp(together.predict_log_proba(X, o)), together.predict_proba(X, o), rtol=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_matrix, np.ndarray.tolist])
def test_scikit_learn_has_the_same_answer_in_the_same_shapes(form):
    X, Y, _, _ = rows()
    ours = tight().fit(X, form(Y))
    theirs = OneVsRestClassifier(SklearnLogistic(C=1 / (ALPHA * len(Y)), tol=1e-12, max_iter=5000)).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, np.vstack([e.coef_ for e in theirs.estimators_]), atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, np.concatenate([e.intercept_ for e in theirs.estimators_]), atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-4)
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == theirs.predict(X).dtype
    assert ours.score(X, Y) == theirs.score(X, Y) == peer.accuracy_score(Y, ours.predict(X))
    assert np.array_equal(ours.classes_, theirs.classes_)
    assert ours.classes_.dtype == theirs.classes_.dtype
    assert ours.intercept_.shape == (4,)


def test_scikit_learn_knows_what_it_takes():
    mine, other = get_tags(bd.LogisticRegression()), get_tags(MLPClassifier())
    assert mine.classifier_tags.multi_label is other.classifier_tags.multi_label is True
    assert not get_tags(bd.LinearSVC()).classifier_tags.multi_label
    assert get_tags(bd.LogisticRegressionCV()).classifier_tags.multi_label


def test_a_dataset_and_its_store_equal_the_arrays(tmp_path):
    X, Y, s, o = rows()
    data = bd.Dataset.from_arrays(X, Y, s, o, block_rows=60)
    stored, arrays = tight().fit(data.save(tmp_path / "rows.blocks")), tight().fit(X, Y, s, o)
    np.testing.assert_allclose(stored.coef_, arrays.coef_, atol=1e-9)
    assert stored.classes_.tolist() == arrays.classes_.tolist() == [0, 1, 2, 3]
    assert stored.score(data) == pytest.approx(np.average(np.all(arrays.predict(X, o) == Y, axis=1), weights=s))


def test_weights_are_repeated_rows_and_order_does_not_matter():
    X, Y, s, o = rows()
    times, order = np.repeat(np.arange(len(Y)), s), np.random.default_rng(1).permutation(len(Y))
    expected = tight().fit(X, Y, s, o).coef_
    for found in (
        tight().fit(X[times], Y[times], offset=o[times]),
        tight().fit(X[s > 0], Y[s > 0], s[s > 0], o[s > 0]),
        tight().fit(X[order], Y[order], s[order], o[order]),
    ):
        np.testing.assert_allclose(found.coef_, expected, atol=1e-8)


@pytest.mark.timeout(240)
def test_the_same_bits_on_threads_and_on_workers(client):
    """Also of labels that do not vary, whose targets the fit replaces."""
    X, Y, s, o = rows()
    Y[:, 1] = 0
    data = bd.Dataset.from_arrays(X, Y, s, o, block_rows=30)
    recipe = Recipe("logistic", alpha=1e-3, tol=1e-9)

    def bits(pool):
        model, _ = fit(data, recipe, pool)
        metrics = bd.evaluate(model, data, pool)
        return model.coef.tobytes() + model.tail.tobytes() + repr((metrics, model.info)).encode()

    expected = bits(bd.ThreadPool(1))
    assert bits(bd.ThreadPool(3)) == expected
    assert bits(bd.DaskPool(client)) == expected


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.01, "l1_ratio": 1.0}, {"standardize": True}], ids=str)
@pytest.mark.parametrize("value", [0, 1])
def test_a_label_that_does_not_vary_is_a_constant(settings, value, tmp_path):
    X, Y, s, o = rows()
    Y[s > 0, 2] = value  # rows without weight say nothing
    with pytest.warns(
        UserWarning, match="every training row has these labels, or none has: 2; there is nothing to lea"
    ):
        est = tight(**settings).fit(X, Y, s)
    S = s.sum()
    p = (value * S + 0.5) / (S + 1)
    np.testing.assert_allclose(est.coef_[2], 0.0, atol=1e-12)
    assert est.intercept_[2] == pytest.approx(np.log(p / (1 - p)), rel=1e-12)
    np.testing.assert_allclose(est.predict_proba(X)[:, 2], p, rtol=1e-9)
    assert set(est.predict(X)[:, 2]) == {value}
    others = tight(**settings).fit(X, Y[:, [0, 1, 3]], s)
    np.testing.assert_allclose(est.coef_[[0, 1, 3]], others.coef_, atol=1e-8)
    est.model_.save(tmp_path / "model")
    loaded = bd.load_model(tmp_path / "model")
    assert loaded.constant_labels.tolist() == [2]
    assert np.array_equal(loaded.raw(X), est.decision_function(X))
    constant = bd.evaluate(loaded.constant(), bd.Dataset.from_arrays(X, Y, s), POOL)
    q = np.average(Y, axis=0, weights=s)[[0, 1, 3]]
    expected = -np.sum(q * np.log(q) + (1 - q) * np.log(1 - q)) - np.log(p if value else 1 - p)
    assert constant["log_loss"] == pytest.approx(expected, rel=1e-10)
    with pytest.warns(UserWarning, match="these labels"):
        shifted = tight(**settings).fit(X, Y, s, o)
    assert np.all(np.isfinite(shifted.model_.info.constant))
    assert set(shifted.predict(X)[:, 2]) == {value}


def test_without_an_intercept_a_label_that_no_row_has_is_fitted_as_any():
    """The L2 penalty keeps its parameters finite, and nothing is made up."""
    X, Y, _, _ = rows()
    Y[:, 0] = 0
    with pytest.warns(UserWarning, match="these labels"):
        est = tight(fit_intercept=False).fit(X, Y)
    z = est.decision_function(X)[:, 0]
    gradient = X.T @ (1 / (1 + np.exp(-z))) / len(Y) + ALPHA * est.coef_[0]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-9)
    assert np.all(np.isfinite(est.model_.constant().tail))


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    X, Y, _, _ = rows()
    est = tight(warm_start=True).fit(X, Y)
    cold = est.n_iter_
    assert est.fit(X, Y).n_iter_ == 0
    assert est.set_params(alpha=0.019).fit(X, Y).n_iter_ < cold
    with pytest.raises(SpecError, match="the model to start from has 4 outputs, this one 3"):
        est.fit(X, Y[:, :3])


def test_a_rare_label_costs_no_more_iterations():
    """Its intercept starts at its log odds, to which Newton steps from 0 come down by about 1 each."""
    X, Y, _, _ = rows(n=3000, shares=(0.5, 0.4))
    rare = (np.arange(3000) < 2).astype(int)[:, np.newaxis]
    usual, with_rare = tight(alpha=1e-3, tol=1e-8).fit(X, Y), tight(alpha=1e-3, tol=1e-8).fit(X, np.hstack([Y, rare]))
    assert with_rare.n_iter_ <= usual.n_iter_ + 2


def test_a_model_of_labels_survives_saving(tmp_path):
    X, Y, _, _ = rows()
    est = tight().fit(X, Y)
    est.model_.save(tmp_path / "one")
    loaded = bd.load_model(tmp_path / "one")
    assert np.array_equal(loaded.predict(X), est.predict(X))
    assert np.array_equal(loaded.predict_proba(X), est.predict_proba(X))
    assert loaded.info.class_shares == pytest.approx(Y.mean(axis=0))
    assert loaded.is_multilabel
    assert loaded.class_labels.tolist() == [0, 1, 2, 3]
    loaded.save(tmp_path / "two")
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_metrics_of_a_model_are_those_of_scikit_learn():
    X, Y, s, o = rows()
    data = bd.Dataset.from_arrays(X, Y, s, o, block_rows=50)
    est = tight().fit(data)
    found = bd.evaluate(est.model_, data, POOL)
    z, answer = est.decision_function(X, o), est.predict(X, o)
    assert found["roc_auc_macro"] == pytest.approx(peer.roc_auc_score(Y, z, average="macro", sample_weight=s))
    assert found["average_precision_micro"] == pytest.approx(
        peer.average_precision_score(Y, z, average="micro", sample_weight=s)
    )
    assert found["f1_micro"] == pytest.approx(peer.f1_score(Y, answer, average="micro", sample_weight=s))
    assert found["hamming_loss"] == pytest.approx(peer.hamming_loss(Y, answer, sample_weight=s))
    constant = bd.evaluate(est.model_.constant(), data, POOL)
    assert constant["log_loss"] > found["log_loss"]


@pytest.mark.parametrize("settings", [{}, {"l1_ratio": 1.0, "standardize": True}], ids=str)
def test_one_penalty_for_all_labels_is_chosen_by_cross_validation(settings):
    """A fold has the models of its training rows, judged by their log loss on its own, summed over the labels."""
    X, Y, s, _ = rows()
    s = s + 1.0
    alphas, folds = [0.1, 0.03, 0.01], list(KFold(3, shuffle=True, random_state=0).split(X))
    est = bd.LogisticRegressionCV(alphas=alphas, cv=folds, tol=1e-10, max_iter=2000, **settings).fit(X, Y, s)
    expected = np.empty((3, 3))
    for a, alpha in enumerate(alphas):
        for m, (train, test) in enumerate(folds):
            one = tight(alpha=alpha, **settings).fit(X[train], Y[train], s[train])
            judged = bd.evaluate(one.model_, bd.Dataset.from_arrays(X[test], Y[test], s[test]), POOL)
            expected[a, m] = judged["log_loss"]
    np.testing.assert_allclose(est.loss_path_, expected, rtol=1e-7)
    weights = [s[test].sum() for _, test in folds]
    assert est.alpha_ == alphas[int(np.argmin(np.average(expected, axis=1, weights=weights)))]
    whole = tight(alpha=est.alpha_, **settings).fit(X, Y, s)
    np.testing.assert_allclose(est.coef_, whole.coef_, atol=1e-7)
    assert est.coef_path_.shape == (3, 4, 7)
    assert np.array_equal(est.predict(X), whole.predict(X))


def test_what_does_not_fit_is_refused_in_words():
    X, Y, _, _ = rows()
    with pytest.raises(DataError, match=r"y\[0, 0\] is -1; needed 0 or 1"):
        tight().fit(X, 2 * Y - 1)
    with pytest.raises(
        ValueError, match=r"y has the shape \(260, 4\) and values other than two: needed one class a row"
    ):
        tight().fit(X, Y + np.arange(4))
    with pytest.raises(SpecError, match="class_weight goes with classes that exclude each other"):
        tight(class_weight="balanced").fit(X, Y)
    with pytest.warns(DataConversionWarning), pytest.raises(ValueError, match="one class only"):
        tight().fit(X, np.ones((260, 1)))
    data = bd.Dataset.from_arrays(X, Y)
    with pytest.raises(
        DataError, match="y has 4 label columns; the loss squared-hinge needs one target a row: fit a log"
    ):
        bd.LinearSVC().fit(data)
    with pytest.raises(DataError, match="the loss squared needs one target a row"):
        bd.LinearRegression().fit(data)
    with pytest.raises(DataError, match=r"fold \d .* leaves no row with the label 1 to learn from: use fewer folds"):
        bd.LogisticRegressionCV(cv=2, n_alphas=2).fit(X, np.column_stack([Y[:, 0], np.arange(260) == 7]))
    with pytest.raises(DataError, match="y has one target a row; the loss multi-label needs a column of 0 and 1"):
        fit(bd.Dataset.from_arrays(X, Y[:, 0]), Recipe("multi-label"), POOL)
    model = tight().fit(data).model_
    for other, words in (
        (Y[:, 0], "one target a row"),
        (Y[:, :2], "2 label columns"),
        (None, "there are no targets y"),
    ):
        with pytest.raises(DataError, match=words):
            bd.evaluate(model, bd.Dataset.from_arrays(X, other), POOL)
    single = tight().fit(X, Y[:, 0]).model_
    with pytest.raises(DataError, match="y has 4 columns, one for each label"):
        bd.evaluate(single, data, POOL)
    with pytest.raises(DataError, match="4 label columns; a regression needs one number a row"):
        bd.evaluate(bd.LinearRegression().fit(X, Y[:, 0]).model_, data, POOL)


def test_a_target_that_is_no_label_is_named_by_row_and_label():
    """As a store of another program may have it: arrays are refused at the door."""
    X, Y, _, _ = rows()
    data = bd.Dataset.from_arrays(X, Y, block_rows=100)
    data.source.block(1).y[17, 3] = 0.5
    with pytest.raises(DataError, match=r"y\[117\]: the target of the label 3 is 0.5; .* needed 0 or 1: mend or drop"):
        tight().fit(data)
