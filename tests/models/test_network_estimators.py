"""Networks as estimators: scikit-learn's checks and manners, batches and full gradients, bits, what is refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import blockdot as bd

# Rows that are there twice are dealt into other batches than rows that weigh twice as much, so the steps are others;
# scikit-learn's own networks and SGD models have these two checks on the same list.
WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "batches are dealt out by rows, whatever they weigh"
    for kind in ("dense", "sparse")
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        bd.MLPClassifier(hidden_layer_sizes=(16,)),
        bd.MLPRegressor(hidden_layer_sizes=(16,)),
        bd.MLPClassifier(hidden_layer_sizes=(16,), solver="lbfgs", activation="tanh", alpha=1e-3),
    ],
    expected_failed_checks=lambda estimator: WEIGHTS if estimator.solver == "adam" else {},
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return sp.csr_array(X / 16.0), y


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"solver": "adamw", "learning_rate": "cosine"},
        {"solver": "sgd", "momentum": 0.9, "nesterov": True},
        {"dropout": 0.2, "activation": "gelu"},
        {"mode": "synchronous", "max_iter": 40},
        {"mode": "averaged", "max_iter": 40},
        {"solver": "lbfgs", "max_iter": 60},
        {"solver": "gauss-newton", "max_iter": 12, "activation": "tanh"},
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_digits_are_told_apart_whatever_the_solver(digits, how):
    X, y = digits
    est = bd.MLPClassifier(hidden_layer_sizes=(48, 24), alpha=1e-4, random_state=1, **how).fit(X[:1400], y[:1400])
    assert est.score(X[1400:], y[1400:]) > 0.9
    assert est.loss_curve_[-1] < 0.5 * est.loss_curve_[0]
    assert [W.shape for W in est.coefs_] == [(64, 48), (48, 24), (24, 10)]
    assert [len(b) for b in est.intercepts_] == [48, 24, 10]
    z = X.toarray()
    phi = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "gelu": None}[est.activation]
    if phi is not None:
        for i, (W, b) in enumerate(zip(est.coefs_, est.intercepts_, strict=True)):
            z = (phi(z) if i else z) @ W + b
        np.testing.assert_allclose(est.decision_function(X), z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(est.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("mode", ["sequential", "synchronous", "averaged"])
def test_threads_change_no_bit_and_the_seed_does(digits, mode):
    data = bd.Dataset.from_arrays(digits[0], digits[1], block_rows=300)
    how = {"hidden_layer_sizes": 16, "max_iter": 2, "mode": mode, "dropout": 0.25}

    def bits(**more):
        model = bd.MLPClassifier(**how, **more).fit(data).model_
        return model.coef.tobytes() + model.tail.tobytes()

    assert bits(n_jobs=1) == bits(n_jobs=2)
    assert bits(random_state=0) == bits()
    assert bits(random_state=1) != bits()


def test_a_fit_that_stops_early_keeps_the_best(digits):
    X, y = digits
    est = bd.MLPClassifier(hidden_layer_sizes=(32,), early_stopping=True, max_iter=200, n_iter_no_change=3).fit(X, y)
    assert est.n_iter_ < 200
    assert len(est.validation_losses_) == est.n_iter_
    assert min(est.validation_losses_) < est.validation_losses_[0]


def test_labels_counts_and_pipelines():
    X, Y = make_multilabel_classification(400, 20, n_classes=4, random_state=0)
    labels = bd.MLPClassifier(hidden_layer_sizes=(24,), max_iter=60).fit(X, Y)
    assert labels.predict(X).shape == Y.shape
    assert np.mean(labels.predict(X) == Y) > 0.85
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3))
    rate = np.exp(np.abs(X[:, 0]) - 1.0)
    counts = rng.poisson(rate)
    est = bd.MLPRegressor(hidden_layer_sizes=(16,), loss="poisson", alpha=1e-3, max_iter=20).fit(X, counts)
    assert np.all(est.predict(X) > 0)
    assert np.corrcoef(est.predict(X), rate)[0, 1] > 0.9
    words = ["good fine nice", "bad poor sad", "nice good", "sad bad"] * 20
    text = make_pipeline(HashingVectorizer(n_features=2**18), bd.MLPClassifier(hidden_layer_sizes=4)).fit(
        words, ["up", "down"] * 40
    )
    assert text.predict(["fine good", "poor sad"]).tolist() == ["up", "down"]
    assert text[-1].model_.coef.shape == (6, 4)  # only words that occur have weights
    assert clone(text[-1]).get_params() == text[-1].get_params()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_goes_on_and_a_model_is_saved(digits, tmp_path):
    X, y = digits
    est = bd.MLPClassifier(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=10, warm_start=True).fit(X, y)
    first = est.loss_curve_[-1]
    est.fit(X, y)
    assert est.loss_curve_[0] == pytest.approx(first, rel=1e-9)
    assert est.loss_curve_[-1] < first
    est.model_.save(tmp_path / "model")
    assert np.array_equal(bd.load_model(tmp_path / "model").predict(X), est.predict(X))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"solver": "newton"}, "solver is 'newton'; needed one of ftrl, adagrad"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout goes with a solver that learns batch by batch"),
        ({"solver": "lbfgs", "early_stopping": True}, "early_stopping goes with"),
        ({"activation": "sine"}, "activation is 'sine'"),
        ({"hidden_layer_sizes": ()}, "hidden layers of"),
        ({"hidden_layer_sizes": (4, 0)}, "needed one whole number above 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"l1_ratio": 0.5}, "L1 penalty goes with optimizer = 'ftrl'"),
    ],
)
def test_what_does_not_go_together_is_refused(digits, how, words):
    with pytest.raises(bd.BlockdotError, match=words):
        bd.MLPClassifier(**how).fit(*digits)
    with pytest.raises(bd.BlockdotError, match="loss is 'huber'"):
        bd.MLPRegressor(loss="huber").fit(*digits)
