"""Terms that are not smooth: the prox by its definition, the residual as the least subgradient, faces as linear."""

import numpy as np
import pytest

import blockdot as bd
from blockdot.objective.terms import Groups, Separable

SIZE = 9


def separable(seed=0, *, bounds=True):
    rng = np.random.default_rng(seed)
    l1 = rng.uniform(0.0, 1.0, SIZE) * (rng.random(SIZE) < 0.8)
    lower = np.where(rng.random(SIZE) < 0.5, -rng.uniform(0, 1, SIZE), -np.inf) if bounds else np.full(SIZE, -np.inf)
    upper = np.where(rng.random(SIZE) < 0.5, rng.uniform(0, 1, SIZE), np.inf) if bounds else np.full(SIZE, np.inf)
    lower[0], upper[1] = 0.0, 0.0
    return Separable(l1, lower, upper)


GROUPS = Groups(0.4, np.array([0, 0, 1, 1, 1, 2, 3, 3]), SIZE)
TERMS = [separable(0), separable(1, bounds=False), separable(2), GROUPS]


def inside(term, w):
    return np.clip(w, term.lower, term.upper) if isinstance(term, Separable) else w


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_the_prox_by_its_definition(term, step):
    rng = np.random.default_rng(3)
    v = 2 * rng.normal(size=SIZE)
    w = term.prox(v, step)

    def model(x):
        return 0.5 * np.sum((x - v) ** 2) / step + term.value(x)

    best = model(w)
    assert np.isfinite(best)
    for scale in (1e-4, 1e-2, 1.0):
        for _ in range(200):
            assert best <= model(inside(term, w + scale * rng.normal(size=SIZE))) + 1e-12


@pytest.mark.parametrize("term", TERMS)
def test_the_residual_is_zero_exactly_at_the_minimum_of_a_quadratic(term):
    """The prox minimises ½‖w − v‖² + R(w), whose gradient at w is w − v."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        v = 2 * rng.normal(size=SIZE)
        w = term.prox(v, 1.0)
        np.testing.assert_allclose(term.residual(w, w - v), 0.0, atol=1e-14)
        other = inside(term, w + 0.1 * rng.normal(size=SIZE))
        assert np.linalg.norm(term.residual(other, other - v)) > 1e-3


@pytest.mark.parametrize("term", TERMS)
def test_the_residual_gives_the_steepest_descent(term):
    """−residual is a direction of descent with the slope −‖residual‖² (Hiriart-Urruty & Lemaréchal, VIII.1.1)."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        w, grad = inside(term, rng.normal(size=SIZE) * (rng.random(SIZE) < 0.5)), rng.normal(size=SIZE)
        r, t = term.residual(w, grad), 1e-7
        fall = (t * -r @ grad + term.value(w - t * r) - term.value(w)) / t
        assert fall == pytest.approx(-r @ r, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("term", TERMS[:3])
def test_a_term_is_linear_on_its_face_on_the_side_of_descent(term):
    rng = np.random.default_rng(6)
    for _ in range(30):
        w, grad = inside(term, rng.normal(size=SIZE) * (rng.random(SIZE) < 0.5)), rng.normal(size=SIZE)
        r = term.residual(w, grad)
        face = term.face(w, r)
        assert np.all(face.lower <= w)
        assert np.all(w <= face.upper)
        for point in (w - 1e-9 * r, np.clip(rng.normal(size=SIZE), face.lower, face.upper)):
            assert term.value(point) == pytest.approx(term.value(w) + face.slope @ (point - w), abs=1e-12)
        np.testing.assert_allclose(grad + face.slope, np.where(r != 0, r, grad + face.slope))


def test_the_tail_is_free_of_penalties():
    layout = bd.Linear(True, 3).layout
    size = layout.size(4)
    term = bd.ElasticNet(1.0, 0.5, np.arange(4.0), lower=0.0).term(size, layout)
    assert term.l1[-3:].tolist() == [0, 0, 0]
    assert term.l1[:12].tolist() == np.repeat(0.5 * np.arange(4.0), 3).tolist()
    assert np.all(np.isneginf(term.lower[-3:]))
    grouped = bd.GroupLasso(1.0, np.array([0, 1, 1, 0])).term(size, layout)
    v = np.ones(size)
    assert grouped.prox(v, 100.0).tolist() == [0.0] * 12 + [1.0] * 3


def test_what_a_penalty_refuses_is_said():
    with pytest.raises(bd.BlockdotError, match=r"l1_ratio is 1\.5; needed a number from 0"):
        bd.ElasticNet(1.0, 1.5)
    with pytest.raises(bd.BlockdotError, match="penalty_weights has a number that is negative"):
        bd.ElasticNet(1.0, 0.5, np.array([1.0, -1.0]))
    with pytest.raises(bd.BlockdotError, match="a lower bound is above its upper bound"):
        bd.ElasticNet(1.0, 0.5, lower=1.0, upper=0.0)
    with pytest.raises(bd.BlockdotError, match=r"has \(3,\) numbers; needed \(4,\)"):
        bd.ElasticNet(1.0, 0.5, np.ones(3)).hess_diag(5, bd.Linear().layout)
    with pytest.raises(bd.BlockdotError, match="takes one step for all"):
        GROUPS.prox(np.ones(SIZE), np.ones(SIZE))


@pytest.mark.parametrize(
    "penalty",
    [
        bd.L2(0.7),
        bd.ElasticNet(0.7, 0.4, np.array([0.0, 1.0, 2.0, 0.5, 1.0, 3.0])),
        bd.GroupLasso(0.7, np.array([0, 1, 1, 0, 2, 2]), 0.3),
        bd.Tikhonov(lambda w: np.convolve(w, [-1.0, 2.5, -1.0], mode="same"), np.full(6, 2.5)),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_the_smooth_part_of_a_penalty_agrees_with_its_derivatives(penalty):
    layout, rng = bd.Linear().layout, np.random.default_rng(7)
    w, v, h = rng.normal(size=7), rng.normal(size=7), 1e-6
    numeric = (penalty.value(w + h * v, layout) - penalty.value(w - h * v, layout)) / (2 * h)
    assert penalty.grad(w, layout) @ v == pytest.approx(numeric, rel=1e-7)
    np.testing.assert_allclose(
        penalty.hess_dot(v, layout), (penalty.grad(w + h * v, layout) - penalty.grad(w - h * v, layout)) / (2 * h),
        atol=1e-8,
    )  # fmt: skip
    columns = [penalty.hess_dot(e, layout)[i] for i, e in enumerate(np.eye(7))]
    np.testing.assert_allclose(penalty.hess_diag(7, layout), columns)
    assert penalty.grad(w, layout)[-1] == 0.0
    alpha = penalty.strong_convexity
    H = np.stack([penalty.hess_dot(e, layout) for e in np.eye(7)])[:6, :6]
    assert np.linalg.eigvalsh(H - alpha * np.eye(6)).min() >= -1e-12


def test_a_penalty_by_its_products_is_fitted():
    """A second difference as a penalty: the fit is the solution of the linear system that it stands for."""
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    data = bd.Dataset.from_arrays(X, y)
    order = np.argsort(data.table.ids)
    D = np.diff(np.eye(6), 2, axis=0)
    gamma = D.T @ D

    def product(w):
        out = np.empty(6)
        out[order] = gamma @ w[order]
        return out

    with data.on(bd.ThreadPool(1)) as blocks:
        F = bd.Objective(bd.Squared(), bd.Linear(False), bd.Tikhonov(product), blocks)
        found = bd.minimize(F, bd.NewtonCG(), F.zeros(), tol=1e-12).w[order]
        with pytest.raises(bd.BlockdotError, match="known by products"):
            F.hessians(F.zeros())
    np.testing.assert_allclose(found, np.linalg.solve(X.T @ X / 50 + gamma, X.T @ y / 50), rtol=1e-8)
