"""Networks through the one way from data to a model: solvers, starts, scaling, files, and what is refused."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier as SklearnMLP

import blockdot as bd
from blockdot.models.architecture import Architecture, initial_weights
from blockdot.models.fit import fit
from blockdot.models.model import load_model
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe

ONE = bd.ThreadPool(1)
NETWORK = Architecture((7,), "tanh")


def rows(n=400, d=30, classes=3, seed=0):
    """Classes that a product of two features tells, and a linear map does not."""
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.3, rng=rng, format="csr", data_sampler=lambda size: rng.normal(size=size))
    z = X @ rng.normal(size=(d, 2))
    return X, (np.sign(z[:, 0]) * np.sign(z[:, 1]) > 0) + (np.abs(z[:, 0]) > 2) * (classes - 2.0)


def recipe(**how):
    return Recipe(**{"loss": "logistic", "alpha": 1e-3, "network": NETWORK, "tol": 1e-5, "max_iter": 400, **how})


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "gauss-newton", "gradient-descent"])
def test_solvers_end_lower_than_any_linear_model(solver):
    data = bd.Dataset.from_arrays(*rows(seed=3, classes=2))
    model, result = fit(data, recipe(solver=solver, max_iter=60), ONE)
    linear, _ = fit(data, recipe(network=None), ONE)
    assert result.value < 0.75 * linear.info.fit.value
    found, plain, constant = (bd.evaluate(each, data, ONE) for each in (model, linear, model.constant()))
    assert found["accuracy"] > plain["accuracy"] + 0.1
    assert found["log_loss"] < constant["log_loss"]


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared", "poisson"])
@pytest.mark.parametrize("standardize", [False, True])
def test_what_is_reached_is_stationary_and_comes_back_in_the_units_of_the_data(loss, standardize):
    X, y = rows(classes=3 if loss == "softmax" else 2)
    data = bd.Dataset.from_arrays(X @ sp.diags_array(np.linspace(0.1, 5.0, 30)), y)
    model, result = fit(
        data, recipe(loss="logistic" if loss == "softmax" else loss, standardize=standardize, max_iter=3000), ONE
    )
    assert result.converged
    assert result.relative_grad_norm <= 1e-5
    z = model.raw(data)
    w, predictor = model.parameters(data), model.predictor
    objective = bd.Objective(model.loss, predictor, bd.L2(0.0), bd.Blocks(data.encoded(model.info.labels).source
                             if model.is_classifier else data.source, ONE))  # fmt: skip
    weights, _ = predictor.split(w)
    sd = np.ones(len(data.table))
    if standardize:
        dense = data.X.to_scipy().toarray()[:, data.table.ids]
        sd = dense.std(axis=0)
    penalty = 0.5e-3 * (np.sum((weights[0] * sd[:, np.newaxis]) ** 2) + np.sum(weights[1] ** 2))
    assert objective.value(w) + penalty == pytest.approx(result.value, rel=1e-9)
    assert z.shape == ((400, 3) if loss == "softmax" else (400,))


def test_an_l1_penalty_leaves_few_weights():
    data = bd.Dataset.from_arrays(*rows(classes=2))
    dense, _ = fit(data, recipe(alpha=3e-3), ONE)
    sparse, result = fit(data, recipe(alpha=3e-3, l1_ratio=1.0), ONE)
    assert np.count_nonzero(dense.coef) == dense.coef.size
    assert np.count_nonzero(sparse.coef) < 0.8 * sparse.coef.size
    assert result.value < np.log(2)


def test_where_weights_begin_is_drawn_by_feature_and_seed_alone():
    X, y = rows()
    data = bd.Dataset.from_arrays(X, y, block_rows=100)

    def drawn(data, seed=0, activation="relu"):
        network = bd.Network((50, 4), activation, 3)
        return network.split(initial_weights(network, data, seed))

    weights, biases = drawn(data)
    again, _ = drawn(bd.Dataset.from_arrays(X[::-1], y, block_rows=400))
    rarer = sp.csr_array(sp.vstack([X, X[:1]]))
    others, _ = drawn(bd.Dataset.from_arrays(rarer, np.append(y, 0)))
    assert not any(np.any(b) for b in biases)
    np.testing.assert_allclose(np.sort(weights[0].ravel()), np.sort(again[0].ravel()), rtol=1e-12)
    assert others[1].tobytes() == weights[1].tobytes()  # the later layers know nothing of the rows
    for W, bound in zip(weights, [np.sqrt(6 / 30), np.sqrt(6 / 50), np.sqrt(6 / 7)], strict=True):
        assert 0.9 * bound < np.abs(W).max() <= bound
    assert not np.array_equal(drawn(data, seed=1)[0][1], weights[1])
    tanh = drawn(data, activation="tanh")[0]
    assert np.abs(tanh[1]).max() <= np.sqrt(6 / 54)


def test_threads_and_saved_models_change_no_bit(tmp_path):
    X, y = rows()
    data = bd.Dataset.from_arrays(X, y, block_rows=60)
    one, _ = fit(data, recipe(max_iter=20), ONE)
    two, _ = fit(data, recipe(max_iter=20), bd.ThreadPool(2))
    assert one.coef.tobytes() + one.tail.tobytes() == two.coef.tobytes() + two.tail.tobytes()
    one.save(tmp_path / "model")
    read = load_model(tmp_path / "model")
    assert read.info == one.info
    assert read.raw(data).tobytes() == one.raw(data).tobytes()
    assert read.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(400))


def test_a_warm_start_goes_on_and_needs_the_same_layers():
    data = bd.Dataset.from_arrays(*rows())
    first, _ = fit(data, recipe(max_iter=300), ONE)
    again, result = fit(data, recipe(max_iter=300), ONE, start=first)
    assert result.value <= first.info.fit.value
    assert again.info.fit.iterations <= 300
    with pytest.raises(bd.BlockdotError, match="other hidden layers"):
        fit(data, recipe(network=Architecture((8,), "tanh")), ONE, start=first)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_descent_is_scikit_learns_on_digits(activation):
    """The same weights at the start, full batches, a fixed step: the same losses to 1e-8 for 20 steps."""
    X, y = load_digits(return_X_y=True)
    X = X[:, np.any(X, axis=0)] / 16.0  # of a pixel that is never lit there are no weights here
    how = {"activation": activation, "solver": "sgd", "alpha": 1e-3 * len(X), "momentum": 0.0, "batch_size": len(X),
           "shuffle": False, "random_state": 0, "tol": 0.0}  # fmt: skip
    start = SklearnMLP((32, 16), learning_rate_init=1e-300, max_iter=1, **how).fit(X, y)  # which no step has moved
    theirs = SklearnMLP((32, 16), learning_rate_init=0.2, max_iter=20, **how).fit(X, y)
    data = bd.Dataset.from_arrays(X, y)
    network = bd.Network((32, 16), activation, 10)
    blocks = bd.Blocks(data.encoded(tuple(np.unique(y).astype(float))).source, ONE)
    objective = bd.Objective(bd.Softmax(10), network, bd.L2(1e-3), blocks)
    w0 = objective.zeros()
    weights, biases = network.split(w0)
    for ours, found in zip((*weights, *biases), (*start.coefs_, *start.intercepts_), strict=True):
        ours[:] = found[data.table.ids] if ours is weights[0] else found
    result = bd.minimize(objective, bd.GradientDescent(0.2), w0, tol=0.0, max_iter=19)
    np.testing.assert_allclose([point.value for point in result.trace], theirs.loss_curve_, rtol=0, atol=1e-8)


def test_a_file_of_another_shape_is_refused(tmp_path):
    data = bd.Dataset.from_arrays(*rows())
    model, _ = fit(data, recipe(max_iter=3), ONE)
    model.save(tmp_path / "model")
    path = tmp_path / "model/model.json"
    for network, words in [
        ({"hidden": [8], "activation": "tanh"}, "wrong type, shape or order"),
        ({"hidden": [], "activation": "tanh"}, "hidden layers of"),
        ({"hidden": [7], "activation": "swish"}, "swish"),
        (None, "wrong type, shape or order"),
    ]:
        content = json.loads(path.read_text())
        content["model"]["network"] = network
        path.write_text(json.dumps(content))
        with pytest.raises(bd.BlockdotError, match=words):
            load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"lower": 0.0}, "lower goes with a linear model"),
        ({"groups": [0] * 30}, "groups goes with a linear model"),
        ({"fit_intercept": False}, "always has intercepts"),
        ({"solver": "newton-cholesky"}, "needs a linear model"),
        ({"network": None, "solver": "gauss-newton"}, "goes with a network"),
    ],
)
def test_what_does_not_go_together_is_refused(how, words):
    with pytest.raises(bd.BlockdotError, match=words):
        recipe(**how)


def test_what_is_of_linear_models_alone_is_refused():
    data = bd.Dataset.from_arrays(*rows(classes=2))
    model, _ = fit(data, recipe(max_iter=3), ONE)
    with pytest.raises(bd.BlockdotError, match="linear model"):
        bd.infer(model, data)
    with pytest.raises(bd.BlockdotError, match="linear models"):
        fit_path(data, recipe(), ONE, Grid(n_alphas=3), bd.HashedFolds(3))
