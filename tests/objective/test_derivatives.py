"""Values and derivatives: by finite differences, against dense NumPy, and equal for any cut into blocks."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd

LOSSES = [bd.Squared(), bd.Logistic()]


def data(n=40, d=12, seed=0, *, weights=True, offset=True):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.3, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    y = (rng.random(n) < 0.5).astype(float)
    s = rng.uniform(0, 2, n) if weights else None
    o = rng.normal(size=n) if offset else None
    return X, y, s, o


def objective(arrays, loss, *, block_rows=None, alpha=0.1, intercept=True, threads=1):
    ds = bd.Dataset.from_arrays(*arrays, block_rows=block_rows)
    return bd.Objective(loss, bd.Linear(intercept), bd.L2(alpha), bd.Blocks(ds.source, bd.ThreadPool(threads))), ds


def dense_value(arrays, loss, w, ds, alpha, intercept):
    X, y, s, o = arrays
    z = X.toarray()[:, ds.table.ids] @ w[: len(ds.table)] + (w[-1] if intercept else 0) + (0 if o is None else o)
    s = np.ones(len(y)) if s is None else s
    losses = 0.5 * (y - z) ** 2 if isinstance(loss, bd.Squared) else np.logaddexp(0, z) - y * z
    return np.sum(s * losses) / np.sum(s) + alpha / 2 * np.sum(w[: len(ds.table)] ** 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_agrees_with_its_derivatives(loss):
    rng = np.random.default_rng(1)
    z, y, s, u = rng.normal(size=9) * 3, (rng.random(9) < 0.5).astype(float), rng.uniform(0, 2, 9), rng.normal(size=9)
    h = 1e-6
    value, grad = loss.value_and_grad(y, z, s)
    assert value == loss.value(y, z, s)
    for i in range(9):
        e = np.zeros(9)
        e[i] = h
        assert grad[i] == pytest.approx((loss.value(y, z + e, s) - loss.value(y, z - e, s)) / (2 * h), abs=1e-7)
    numeric = (loss.value_and_grad(y, z + h * u, s)[1] - loss.value_and_grad(y, z - h * u, s)[1]) / (2 * h)
    np.testing.assert_allclose(loss.hess_dot(y, z, s, u), numeric, atol=1e-7)


def test_the_logistic_loss_is_exact_where_an_exponential_would_overflow():
    z, y = np.array([1e4, -1e4, 1e4, -1e4]), np.array([1.0, 0.0, 0.0, 1.0])
    value, grad = bd.Logistic().value_and_grad(y, z, 1.0)
    assert value == 2e4
    assert grad.tolist() == [0, 0, 1, -1]
    assert bd.Logistic().predict(z).tolist() == [1, 0, 1, 0]
    assert bd.Logistic().hess_dot(y, z, 1.0, np.ones(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_an_objective_against_dense_numpy_and_finite_differences(loss, intercept, weights):
    arrays = data(weights=weights, offset=weights)
    F, ds = objective(arrays, loss, block_rows=7, intercept=intercept)
    rng = np.random.default_rng(3)
    w, v, h = rng.normal(size=F.size), rng.normal(size=F.size), 1e-6
    value, grad = F.value_and_grad(w)
    assert value == pytest.approx(dense_value(arrays, loss, w, ds, 0.1, intercept), rel=1e-12)
    assert value == F.value(w)
    numeric = (F.value(w + h * v) - F.value(w - h * v)) / (2 * h)
    assert grad @ v == pytest.approx(numeric, abs=1e-7)
    curvature = (F.value_and_grad(w + h * v)[1] - F.value_and_grad(w - h * v)[1]) / (2 * h)
    np.testing.assert_allclose(F.hess_vec(w, v), curvature, atol=1e-7)
    columns = [F.hess_vec(w, e)[i] for i, e in enumerate(np.eye(F.size))]
    np.testing.assert_allclose(F.hess_diag(w), columns, rtol=1e-10)
    H = np.stack([F.hess_vec(w, e) for e in np.eye(F.size)])
    [(places, matrix)] = F.hessians(w)
    assert places.tolist() == list(range(F.size))
    np.testing.assert_allclose(matrix, H, rtol=1e-10, atol=1e-13)
    for t in (0.0, 0.5, 1.0, -2.0):
        assert F.value_along(w, v, t) == pytest.approx(F.value(w + t * v), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_remembered_never_changes_an_answer(loss):
    """The same questions, asked in two orders and of a fresh objective each: the same bits."""
    arrays = data(300, 20, seed=8)
    F, _ = objective(arrays, loss, block_rows=90, threads=2)
    rng = np.random.default_rng(9)
    points, v = rng.normal(size=(3, F.size)), rng.normal(size=F.size)

    def answer(F, i):
        w = points[i % 3]
        match i % 6:
            case 0:
                return F.hess_vec(w, v)
            case 1:
                return F.value_along(w, v, 0.3)
            case 2:
                return F.hess_diag(w)
            case 3:
                return F.value_and_grad(w)[1]
            case 4:
                return F.hessians(w)[0][1]
            case _:
                return F.value_along(w, points[0], 0.7)

    order = list(range(18))
    expected = [answer(objective(arrays, loss, block_rows=90)[0], i) for i in order]
    for _ in range(3):
        for i in order:
            np.testing.assert_array_equal(answer(F, i), expected[i])
        rng.shuffle(order)


def test_vectors_that_are_changed_in_place_are_new_vectors():
    F, _ = objective(data(), bd.Logistic(), block_rows=7)
    w, v = np.zeros(F.size), np.ones(F.size)
    F.hess_vec(w, v)
    w += 0.5
    np.testing.assert_array_equal(F.hess_vec(w, v), objective(data(), bd.Logistic(), block_rows=7)[0].hess_vec(w, v))


def test_a_sample_of_all_rows_is_the_objective_and_a_part_is_close_to_it():
    arrays = data(4000, 8, seed=11)
    F, _ = objective(arrays, bd.Logistic(), block_rows=900)
    w = np.random.default_rng(12).normal(size=F.size)
    assert F.sample(4000) is F
    most = F.sample(3999)
    assert most.blocks.n_blocks <= 4
    assert most.value(w) == pytest.approx(F.value(w), rel=1e-3)
    np.testing.assert_allclose(most.hessians(w)[0][1], F.hessians(w)[0][1], rtol=0.02, atol=1e-3)
    some = F.sample(1000)
    rows = sum(block.n_rows for block in some.blocks.take(range(some.blocks.n_blocks)))
    assert 950 <= rows <= 1050
    assert some.value(w) == pytest.approx(F.value(w), rel=0.1)
    again, _ = objective(arrays, bd.Logistic(), block_rows=900, threads=2)
    assert again.sample(1000).value(w) == some.value(w)


def test_the_objective_of_labels_is_the_sum_of_those_of_each_also_on_a_sample():
    X, _, s, o = data(300, 9, seed=5)
    rng = np.random.default_rng(6)
    Y = (rng.random((300, 3)) < [0.2, 0.5, 0.9]).astype(float)
    F = bd.Objective(
        bd.BinaryCrossEntropy(3),
        bd.Linear(outputs=3),
        bd.L2(0.1),
        bd.Blocks(bd.Dataset.from_arrays(X, Y, s, o, block_rows=70).source, bd.ThreadPool(2)),
    )
    singles = [objective((X, y, s, o), bd.Logistic(), block_rows=70)[0] for y in Y.T]
    w, v = rng.normal(size=(2, F.size))
    for together, apart in ((F, singles), (F.sample(120), [single.sample(120) for single in singles])):

        def columns(vector):
            return vector.reshape(-1, 3).T.copy()

        parts = [single.value_and_grad(own) for single, own in zip(apart, columns(w), strict=True)]
        value, grad = together.value_and_grad(w)
        assert value == pytest.approx(sum(part for part, _ in parts), rel=1e-12)
        np.testing.assert_allclose(columns(grad), [part for _, part in parts], rtol=1e-11, atol=1e-14)
        products = [single.hess_vec(*both) for single, *both in zip(apart, columns(w), columns(v), strict=True)]
        np.testing.assert_allclose(columns(together.hess_vec(w, v)), products, rtol=1e-11, atol=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 1000), st.sampled_from(LOSSES))
def test_any_cut_into_blocks_equals_the_whole(n, block_rows, seed, loss):
    arrays = data(n, 9, seed)
    whole, _ = objective(arrays, loss, block_rows=n)
    cut, _ = objective(arrays, loss, block_rows=block_rows, threads=2)
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=whole.size), rng.normal(size=whole.size)
    for a, b in zip(whole.value_and_grad(w), cut.value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(whole.hess_vec(w, v), cut.hess_vec(w, v), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("block_rows", [100, 15])
def test_the_worked_example_of_the_source_document(block_rows):
    """One feature, 100 random rows, step 0.01, 1,000 times θ ← θ − step · Xᵀ(Xθ − y)/n, on 1 and on 7 blocks."""
    rng = np.random.default_rng(42)
    X = 2 * rng.random((100, 1))
    y = 4 + 3 * X[:, 0] + rng.normal(size=100)
    theta, by_hand = np.zeros(1), []
    for _ in range(1000):
        theta = theta - 0.01 * X.T @ (X @ theta - y) / 100
        by_hand.append(theta[0])
    F, ds = objective((X, y), bd.Squared(), block_rows=block_rows, alpha=0.0, intercept=False)
    assert ds.n_blocks == (1 if block_rows == 100 else 7)
    iterates = []
    result = bd.minimize(
        F, bd.GradientDescent(0.01), F.zeros(), tol=0.0, max_iter=1000, callbacks=[lambda s: iterates.append(s.w[0])]
    )
    assert result.iterations == 1000
    np.testing.assert_allclose(iterates, by_hand, rtol=1e-12)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(bd.BlockdotError, match="zero"):
        bd.Dataset.from_arrays(np.eye(3), [0, 1, 0], [0, 0, 0])


def test_rows_without_targets_are_refused_in_words():
    F, _ = objective((np.eye(3),), bd.Squared())
    with pytest.raises(bd.BlockdotError, match="no targets"):
        F.value(F.zeros())


def test_a_loss_of_ones_own():
    class Quartic:
        def value(self, y, z, s):
            return float(np.sum(s * (z - y) ** 4))

        def value_and_grad(self, y, z, s):
            return self.value(y, z, s), s * 4 * (z - y) ** 3

        def hess_dot(self, y, z, s, u):
            return s * 12 * (z - y) ** 2 * u

        def predict(self, z):
            return z

    F, _ = objective((np.arange(6.0)[:, None], 2 * np.arange(6.0) + 1), Quartic(), block_rows=2, alpha=0.0)
    result = bd.minimize(F, bd.LBFGS(), F.zeros(), tol=1e-12, max_iter=500)
    np.testing.assert_allclose(result.w, [2, 1], atol=1e-2)


def test_a_loss_that_returns_the_wrong_number_of_gradients_is_refused():
    class Short(bd.Squared):
        def value_and_grad(self, y, z, s):
            return 1.0, np.zeros(3)

    F, _ = objective(data(), Short())
    with pytest.raises(bd.BlockdotError, match=r"shape \(3,\); needed \(40,\)"):
        F.value_and_grad(F.zeros())


def test_parameters_of_the_wrong_length_are_refused():
    F, _ = objective(data(), bd.Squared())
    for call in (F.value, F.value_and_grad, F.hess_diag, lambda w: F.hess_vec(F.zeros(), w)):
        with pytest.raises(bd.BlockdotError, match=rf"needed \({F.size},\)"):
            call(np.zeros(F.size + 1))
