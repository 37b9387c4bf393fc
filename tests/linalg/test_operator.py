"""scipy.sparse.linalg drives the matrix unchanged; least squares against NumPy."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import linalg as peers

import blockdot as bd
from blockdot.errors import DataError, SpecError
from blockdot.linalg import least_squares


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(8)
    A = sp.random_array((300, 60), density=0.1, rng=rng, data_sampler=rng.normal).toarray()
    A[np.arange(60), np.arange(60)] += 2.0
    return bd.Dataset.from_arrays(A, block_rows=70).X, A, rng.normal(size=300)


def views(X, A):
    r, c = np.linspace(1, 2, len(A)), np.linspace(-1, 1, A.shape[1])
    yield X, A
    yield X.T, A.T
    yield X.centred(), A - A.mean(axis=0)
    yield X.scale(r, c).T, (r[:, np.newaxis] * A * c).T


@pytest.mark.parametrize("solver", ["arpack", "lobpcg", "propack"])
def test_svds(case, solver):
    X, A, _ = case
    for matrix, array in views(X, A):
        op, rng = matrix.as_linear_operator(), np.random.default_rng(0)
        _, s, _ = peers.svds(op, 4, solver=solver, rng=rng, maxiter=500)
        np.testing.assert_allclose(np.sort(s)[::-1], np.linalg.svd(array, compute_uv=False)[:4], rtol=1e-5)


@pytest.mark.parametrize("method", [peers.lsqr, peers.lsmr])
def test_lsqr_and_lsmr(case, method):
    X, A, y = case
    found = method(X.as_linear_operator(), y, atol=1e-14, btol=1e-14)[0]
    np.testing.assert_allclose(found, np.linalg.lstsq(A, y)[0], atol=1e-9)


def test_cg_on_the_normal_equations(case):
    X, A, y = case
    op = X.as_linear_operator()
    shifted = op.T @ op + 0.5 * peers.aslinearoperator(sp.eye_array(60))
    found, status = peers.cg(shifted, op.rmatvec(y), rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(found, np.linalg.solve(A.T @ A + 0.5 * np.eye(60), A.T @ y), atol=1e-9)


def test_the_operator_is_the_matrix(case):
    X, A, _ = case
    for matrix, array in views(X, A):
        op = matrix.as_linear_operator()
        assert op.shape == array.shape
        assert op.dtype == np.float64
        rng = np.random.default_rng(1)
        w, W = rng.normal(size=array.shape[1]), rng.normal(size=(array.shape[1], 3))
        r, R = rng.normal(size=array.shape[0]), rng.normal(size=(array.shape[0], 3))
        for found, expected in [
            (op @ w, array @ w), (op.matvec(w[:, np.newaxis]), array @ w[:, np.newaxis]), (op @ W, array @ W),
            (op.T @ r, array.T @ r), (op.H @ R, array.T @ R),
            (op.rmatvec(r), array.T @ r), (op.rmatmat(R), array.T @ R),
        ]:  # fmt: skip
            np.testing.assert_allclose(found, expected, atol=1e-11)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 10.0]))
def test_least_squares_and_ridge_are_those_of_numpy(n, d, seed, alpha):
    rng = np.random.default_rng(seed)
    A, y = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.6), rng.normal(size=n)
    X = bd.Dataset.from_arrays(A, block_rows=int(rng.integers(1, n + 1))).X
    if alpha == 0.0:
        found, expected = X.lstsq(y, tol=1e-14), np.linalg.pinv(A, rcond=1e-12) @ y
    else:
        found, expected = X.ridge(y, alpha, tol=1e-14), np.linalg.solve(A.T @ A + alpha * np.eye(d), A.T @ y)
    singular = np.linalg.svd(A, compute_uv=False)
    if singular[singular > 1e-10].min(initial=1.0) > 1e-2:
        assert found.converged
        assert found.status == "converged"
        np.testing.assert_allclose(found.coef, expected, atol=1e-7)
        np.testing.assert_allclose(
            found.residual_norm**2, np.sum((A @ expected - y) ** 2) + alpha * np.sum(expected**2), atol=1e-7
        )


def test_least_squares_of_a_transpose_and_of_a_view(case):
    X, A, y = case
    for matrix, array in views(X, A):
        target = np.resize(y, len(array))
        found = matrix.ridge(target, 0.3, tol=1e-13)
        expected = np.linalg.solve(array.T @ array + 0.3 * np.eye(array.shape[1]), array.T @ target)
        np.testing.assert_allclose(found.coef, expected, atol=1e-7)


def test_how_least_squares_end(case):
    X, _, y = case
    cut_off = X.lstsq(y, max_iter=2)
    assert (cut_off.status, cut_off.converged, cut_off.n_iter) == ("max_iter", False, 2)
    assert X.lstsq(np.zeros(300)).coef.tolist() == [0.0] * 60


@pytest.mark.parametrize(
    ("reason", "status"),
    [*((i, "converged") for i in (0, 1, 2, 4, 5)), (3, "ill conditioned"), (6, "ill conditioned"), (7, "max_iter")],
)
def test_the_reasons_of_scipy_have_names(case, monkeypatch, reason, status):
    monkeypatch.setattr(least_squares, "lsmr", lambda *_, **__: (np.zeros(60), reason, 5, 1.0, 0.1, 1.0, 1.0, 0.0))
    found = case[0].lstsq(case[2])
    assert (found.status, found.n_iter, found.residual_norm, found.gradient_norm) == (status, 5, 1.0, 0.1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda X: X.lstsq(np.ones(299)), DataError, r"y has the shape \(299,\); needed \(300,\)"),
        (lambda X: X.lstsq(np.full(300, np.nan)), DataError, r"y\[0\] is not finite"),
        (lambda X: X.ridge(np.ones(300), -1.0), SpecError, "alpha is -1.0"),
        (lambda X: X.lstsq(np.ones(300), tol=-1.0), SpecError, "tol is -1.0"),
        (lambda X: X.lstsq(np.ones(300), max_iter=0), SpecError, "max_iter is 0"),
    ],
)
def test_what_cannot_be_is_said(case, call, error, words):
    with pytest.raises(error, match=words):
        call(case[0])
