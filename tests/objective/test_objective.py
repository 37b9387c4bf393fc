"""The objective against dense numpy and against differences, and any cut into blocks against the whole."""

import cloudpickle
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks.dataset import Dataset
from blockdot.errors import DataError
from blockdot.objective import passes
from blockdot.objective.losses import Logistic, Squared
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear

LOSSES = [Squared(), Logistic()]
POOL = bd.ThreadPool(2)


def objective(data, loss, alpha=0.0, intercept=True, pool=POOL):
    return bd.Objective(loss, Linear(intercept), L2(alpha), bd.Blocks(data.source, pool))


class Dense:
    """The same mathematics by dense numpy, in the space of all d features; what it is given are the whole arrays."""

    def __init__(self, X, y, s, offset, loss, alpha, intercept):
        n, d = X.shape
        self.J = np.hstack([X, np.ones((n, 1))]) if intercept else X
        self.y, self.loss = y, loss
        self.s = np.ones(n) if s is None else s
        self.offset = np.zeros(n) if offset is None else offset
        self.alpha = alpha * (np.arange(self.J.shape[1]) < d)

    def z(self, w):
        return self.J @ w + self.offset

    def value(self, w):
        z = self.z(w)
        terms = (self.y - z) ** 2 / 2 if isinstance(self.loss, Squared) else np.logaddexp(0, z) - self.y * z
        return np.sum(self.s * terms) / self.s.sum() + np.sum(self.alpha * w**2) / 2

    def grad(self, w):
        z = self.z(w)
        residual = z - self.y if isinstance(self.loss, Squared) else 1 / (1 + np.exp(-z)) - self.y
        return self.J.T @ (self.s * residual) / self.s.sum() + self.alpha * w

    def hessian(self, w):
        p = 1 / (1 + np.exp(-self.z(w)))
        curvature = np.ones_like(p) if isinstance(self.loss, Squared) else p * (1 - p)
        return self.J.T @ ((self.s * curvature)[:, np.newaxis] * self.J) / self.s.sum() + np.diag(self.alpha)


@st.composite
def problems(draw):
    """Arrays, a loss, and how many rows a block has; columns may be empty, and so may rows and blocks."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(0, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < draw(st.sampled_from([0.05, 0.5, 1.0])))
    if draw(st.booleans()):
        X = (X != 0).astype(float)
    loss = draw(st.sampled_from(LOSSES))
    y = rng.normal(size=n) if isinstance(loss, Squared) else rng.integers(0, 2, n).astype(float)
    s = rng.random(n) + 0.01 if draw(st.booleans()) else None
    if s is not None and n > 1:
        s[rng.random(n) < 0.2] = 0.0
        s[0] = 1.0
    offset = rng.normal(size=n) if draw(st.booleans()) else None
    return X, y, s, offset, loss, draw(st.sampled_from([0.0, 0.3])), draw(st.booleans()), rng


def expand(data, vector, intercept):
    """From the features that occur to all of them."""
    out = np.zeros(data.n_features + intercept)
    out[data.table.ids] = vector[: len(data.table)]
    if intercept:
        out[-1] = vector[-1]
    return out


@settings(deadline=None, max_examples=200)
@given(problems(), st.integers(1, 45))
def test_any_cut_into_blocks_equals_dense_numpy_on_the_whole(problem, block_rows):
    X, y, s, offset, loss, alpha, intercept, rng = problem
    data = Dataset.from_arrays(X, y, s, offset, block_rows=block_rows)
    found, dense = objective(data, loss, alpha, intercept), Dense(X, y, s, offset, loss, alpha, intercept)
    assert found.size == len(data.table) + intercept
    w, v = rng.normal(size=(2, found.size))
    wide_w, wide_v = expand(data, w, intercept), expand(data, v, intercept)
    close = {"rtol": 1e-11, "atol": 1e-13}
    value, grad = found.value_and_grad(w)
    np.testing.assert_allclose(value, dense.value(wide_w), **close)
    np.testing.assert_allclose(found.value(w), value, rtol=1e-15)
    np.testing.assert_allclose(expand(data, grad, intercept), dense.grad(wide_w), **close)
    hessian = dense.hessian(wide_w)
    np.testing.assert_allclose(expand(data, found.hess_vec(w, v), intercept), hessian @ wide_v, **close)
    occurring = expand(data, np.ones(found.size), intercept) == 1
    np.testing.assert_allclose(
        expand(data, found.hess_diag(w), intercept)[occurring], np.diag(hessian)[occurring], **close
    )


@settings(deadline=None, max_examples=100)
@given(problems(), st.integers(1, 45), st.sampled_from([1, 2, 3]))
def test_any_cut_into_blocks_equals_one_block(problem, block_rows, threads):
    X, y, s, offset, loss, alpha, intercept, rng = problem
    whole = objective(Dataset.from_arrays(X, y, s, offset, block_rows=1000), loss, alpha, intercept)
    cut_data = Dataset.from_arrays(X, y, s, offset, block_rows=block_rows)
    cut = objective(cut_data, loss, alpha, intercept, bd.ThreadPool(threads))
    w, v = rng.normal(size=(2, whole.size))
    close = {"rtol": 1e-11, "atol": 1e-14}
    np.testing.assert_allclose(cut.value(w), whole.value(w), **close)
    np.testing.assert_allclose(cut.value_and_grad(w)[1], whole.value_and_grad(w)[1], **close)
    np.testing.assert_allclose(cut.hess_vec(w, v), whole.hess_vec(w, v), **close)
    np.testing.assert_allclose(cut.hess_diag(w), whole.hess_diag(w), **close)


def example(loss, n=60, d=5, **cut):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.6)
    y = rng.normal(size=n) if isinstance(loss, Squared) else rng.integers(0, 2, n).astype(float)
    return Dataset.from_arrays(X, y, rng.random(n), rng.normal(size=n), **cut), rng


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("intercept", [True, False])
def test_derivatives_by_differences(loss, intercept):
    data, rng = example(loss, block_rows=13)
    found = objective(data, loss, 0.2, intercept)
    w, v = rng.normal(size=(2, found.size))
    h = 1e-5
    steps = h * np.eye(found.size)
    gradient = np.array([found.value(w + e) - found.value(w - e) for e in steps]) / (2 * h)
    np.testing.assert_allclose(found.value_and_grad(w)[1], gradient, rtol=1e-6, atol=1e-9)
    product = (found.value_and_grad(w + h * v)[1] - found.value_and_grad(w - h * v)[1]) / (2 * h)
    np.testing.assert_allclose(found.hess_vec(w, v), product, rtol=1e-6, atol=1e-9)
    diagonal = [found.hess_vec(w, e)[j] for j, e in enumerate(np.eye(found.size))]
    np.testing.assert_allclose(found.hess_diag(w), diagonal, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_tiles_add_up_to_the_block(loss, monkeypatch):
    data, rng = example(loss, block_rows=60)
    found = objective(data, loss, 0.2)
    w, v = rng.normal(size=(2, found.size))

    def everything():
        value, grad = found.value_and_grad(w)
        return np.concatenate([[value, found.value(w)], grad, found.hess_vec(w, v), found.hess_diag(w)])

    whole = everything()
    monkeypatch.setattr(bd.Linear, "tile_rows", 7)
    tiled = everything()
    assert not np.array_equal(tiled, whole), "the tiles were not smaller"
    np.testing.assert_allclose(tiled, whole, rtol=1e-11, atol=1e-14)


def test_nothing_that_is_handed_in_is_written_to():
    data, rng = example(Logistic(), block_rows=7)
    found = objective(data, Logistic(), 0.1)
    w, v = rng.normal(size=(2, found.size))
    w.flags.writeable = v.flags.writeable = False
    first = found.value_and_grad(w)[1]
    kept = first.copy()
    found.value(w)
    found.hess_vec(w, v)
    found.hess_diag(w)
    assert np.array_equal(found.value_and_grad(w)[1], kept)
    assert np.array_equal(first, kept)


def test_raw_is_z_with_the_offset():
    data, rng = example(Squared(), block_rows=11)
    for intercept in (True, False):
        w = rng.normal(size=len(data.table) + intercept)
        blocks = bd.Blocks(data.source, POOL)
        z = np.concatenate(list(blocks.map(passes.Raw(Linear(intercept)), w)))
        expected = []
        for block in blocks.take(range(data.n_blocks)):
            own = w[block.positions]
            expected.append(block.X.to_scipy() @ own + (w[-1] if intercept else 0.0) + block.offset)
        np.testing.assert_allclose(z, np.concatenate(expected), rtol=1e-13, atol=1e-14)


def test_values_of_float32_are_summed_in_float64():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)).astype(np.float32)
    y = rng.normal(size=500)
    w = rng.normal(size=5)
    narrow = objective(Dataset.from_arrays(X, y, block_rows=99), Squared())
    wide = objective(Dataset.from_arrays(X.astype(float), y, block_rows=99), Squared())
    np.testing.assert_allclose(narrow.value_and_grad(w)[1], wide.value_and_grad(w)[1], rtol=1e-13, atol=1e-15)


def test_rows_of_weight_zero_and_a_total_of_zero():
    X, y = np.eye(4), np.zeros(4)
    found = objective(Dataset.from_arrays(X, y, [0, 0, 2, 0], block_rows=2), Squared())
    assert found.value(np.array([9.0, 9.0, 3.0, 9.0, 1.0])) == 8.0
    halves = Dataset.from_arrays(X, y, [0, 0, 2, 0], block_rows=2)
    nothing = Dataset.from_blocks([halves.source.block(0)], 4)
    with pytest.raises(DataError, match="add up to 0"):
        objective(nothing, Squared()).value(np.zeros(3))


def test_rows_without_targets():
    found = objective(Dataset.from_arrays(np.eye(2)), Squared())
    for call in (found.value, found.value_and_grad, found.hess_diag):
        with pytest.raises(DataError, match="no targets y"):
            call(found.zeros())


@pytest.mark.parametrize("task", [passes.Value, passes.ValueAndGrad, passes.HessVec, passes.HessDiag])
def test_passes_travel(task):
    sent = task(Logistic(), Linear(False))
    arrived = cloudpickle.loads(cloudpickle.dumps(sent))
    assert arrived == sent
    assert arrived.layout == Linear(False).layout


# --- the textbook ---


@pytest.mark.parametrize("block_rows", [100, 15], ids=["one block", "seven blocks"])
def test_gradient_descent_makes_the_steps_of_the_textbook(block_rows):
    """theta ← theta − 0.01 · Xᵀ (X theta − y) / n, a thousand times."""
    rng = np.random.default_rng(42)
    n = 100
    X = rng.normal(size=(n, 1))
    y = 3.0 * X[:, 0] + 0.5 * rng.normal(size=n)
    theta, by_hand = np.zeros(1), []
    for _ in range(1000):
        theta = theta - 0.01 * X.T @ (X @ theta - y) / n
        by_hand.append(theta)

    data = bd.Dataset.from_arrays(X, y, block_rows=block_rows)
    assert data.n_blocks == (1 if block_rows == 100 else 7)
    iterates = []

    def keep(state):
        iterates.append(state.w)

    with data.on(bd.ThreadPool()) as blocks:
        textbook = bd.Objective(bd.Squared(), bd.Linear(intercept=False), bd.L2(0.0), blocks)
        result = bd.minimize(
            textbook, bd.GradientDescent(0.01), textbook.zeros(), tol=0.0, max_iter=1000, callbacks=[keep]
        )
    assert result.iterations == len(iterates) == 1000
    np.testing.assert_allclose(np.array(iterates), np.array(by_hand), rtol=1e-12, atol=0)
    assert np.array_equal(result.w, iterates[-1])


def test_least_squares_reach_the_normal_equations():
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(80, 6)), rng.normal(size=80)
    data = Dataset.from_arrays(sp.csr_array(X), y, block_rows=9)
    found = objective(data, Squared(), 0.05, intercept=False)
    result = bd.minimize(found, bd.LBFGS(), found.zeros(), tol=1e-12, max_iter=500)
    expected = np.linalg.solve(X.T @ X / 80 + 0.05 * np.eye(6), X.T @ y / 80)
    np.testing.assert_allclose(expand(data, result.w, False), expected, rtol=1e-9)
