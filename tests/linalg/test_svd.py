"""Decompositions against NumPy's and scikit-learn's, by both methods, of matrices of every shape and rank."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import decomposition

import blockdot as bd
from blockdot.errors import NotConvergedError, SpecError

METHODS = pytest.mark.parametrize("method", ["randomized", "lanczos"])


def decaying(rng, n, d, rate):
    """Singular values 1, rate, rate², … ."""
    k = min(n, d)
    u, v = np.linalg.qr(rng.normal(size=(n, k)))[0], np.linalg.qr(rng.normal(size=(d, k)))[0]
    return u * rate ** np.arange(k) @ v.T


def check(A, found, k, tol=1e-9):
    """The definition: orthonormal vectors, values that are NumPy's, A v = s u and Aᵀ u = s v."""
    u, s, vt = found
    expected = np.linalg.svd(A, compute_uv=False)[:k]
    scale = max(expected[0], 1e-300)
    assert (u.shape, s.shape, vt.shape) == ((len(A), k), (k,), (k, A.shape[1]))
    np.testing.assert_allclose(s, expected, atol=tol * scale, rtol=0)
    assert np.all(np.diff(s) <= 0)
    np.testing.assert_allclose(u.T @ u, np.eye(k), atol=1e-11)
    np.testing.assert_allclose(vt @ vt.T, np.eye(k), atol=1e-11)
    np.testing.assert_allclose(A @ vt.T, u * s, atol=1e-9 * scale)
    np.testing.assert_allclose(A.T @ u, vt.T * s, atol=np.sqrt(tol) * scale)


@METHODS
@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**32 - 1), st.data())
def test_any_shape_and_any_rank(method, n, d, seed, data):
    rng = np.random.default_rng(seed)
    rank = data.draw(st.integers(0, min(n, d)))
    A = decaying(rng, n, d, 0.7)
    A = A[:, :rank] @ rng.normal(size=(rank, d))
    if data.draw(st.booleans()):
        A[:, rng.random(d) < 0.3] = 0.0
    X = bd.Dataset.from_arrays(A, block_rows=data.draw(st.integers(1, n))).X
    occurring = len(X.view.rows.data.table)
    if not occurring:
        return
    k = data.draw(st.integers(1, min(n, occurring)))
    check(A, X.svd(k, method=method), k)
    check(A.T, X.T.svd(k, method=method), k)


@METHODS
def test_many_more_columns_than_are_asked_for(method):
    rng = np.random.default_rng(1)
    A = decaying(rng, 400, 150, 0.8)
    A[np.abs(A) < 1e-3] = 0.0
    X = bd.Dataset.from_arrays(A, block_rows=90).X
    check(A, X.svd(6, method=method), 6)
    check(A - A.mean(axis=0), X.centred().svd(6, method=method), 6)
    wide = bd.Dataset.from_arrays(A.T, block_rows=40).X
    check(A.T, wide.svd(6, method=method), 6)


def test_lanczos_finds_what_sampling_cannot_tell_apart():
    """A flat spectrum: no gap for the sampled basis to use."""
    rng = np.random.default_rng(2)
    X = bd.Dataset.from_arrays(sp.random_array((600, 200), density=0.05, rng=rng, data_sampler=rng.normal)).X
    A = X.toarray()
    check(A, X.svd(8, method="lanczos"), 8)
    exact = np.linalg.svd(A, compute_uv=False)[:8]
    near = X.svd(8)
    assert np.all(near.s <= exact * (1 + 1e-12))
    assert np.all(near.s >= 0.97 * exact)
    closer = X.svd(8, n_iter=30)
    assert np.sum(exact - closer.s) < np.sum(exact - near.s)


def test_small_singular_values_are_not_lost_in_squares():
    """Eigenvalues of AᵀA would know nothing of values below 1e-8."""
    A = decaying(np.random.default_rng(3), 80, 10, 0.03)
    found = bd.Dataset.from_arrays(A).X.svd(8)
    np.testing.assert_allclose(found.s, 0.03 ** np.arange(8.0), rtol=1e-4)


@METHODS
def test_signs_and_seeds(method):
    rng = np.random.default_rng(4)
    X = bd.Dataset.from_arrays(decaying(rng, 200, 60, 0.5), block_rows=64).X
    found, again = X.svd(3, method=method), X.on(bd.ThreadPool(1)).svd(3, method=method)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, again, strict=True))
    largest = np.argmax(np.abs(found.vt), axis=1)
    assert np.all(found.vt[np.arange(3), largest] > 0)
    other = X.svd(3, method=method, random_state=5)
    assert other.vt.tobytes() != found.vt.tobytes()
    np.testing.assert_allclose(other.vt, found.vt, atol=1e-9)


@pytest.mark.parametrize("centre", [0.0, 50.0])
def test_principal_components_are_those_of_scikit_learn(centre):
    rng = np.random.default_rng(5)
    A = decaying(rng, 300, 40, 0.6) + centre * (rng.random(40) < 0.5)
    found = bd.Dataset.from_arrays(A, block_rows=70).X.pca(4)
    peer = decomposition.PCA(4, svd_solver="full").fit(A)
    signs = np.sign(np.sum(found.components * peer.components_, axis=1))
    np.testing.assert_allclose(found.components, peer.components_ * signs[:, np.newaxis], atol=1e-8)
    np.testing.assert_allclose(found.scores, peer.transform(A) * signs, atol=1e-8)
    np.testing.assert_allclose(found.explained_variance, peer.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(found.explained_variance_ratio, peer.explained_variance_ratio_, rtol=1e-7)
    np.testing.assert_allclose(found.singular_values, peer.singular_values_, rtol=1e-9)
    np.testing.assert_allclose(found.mean, A.mean(axis=0), atol=1e-12)


def test_nothing_but_zeros():
    A = np.zeros((6, 30))
    A[0, :] = 1.0
    X = bd.Dataset.from_arrays(A).X.scale(rows=np.zeros(6))
    for method in ("randomized", "lanczos"):
        u, s, vt = X.svd(2, method=method)
        assert s.tolist() == [0.0, 0.0]
        np.testing.assert_allclose(u.T @ u, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(vt @ vt.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"k": 0}, SpecError, "k is 0; needed 1 to 20: there are 50 rows, and 20 features occur"),
        ({"k": 21}, SpecError, "k is 21"),
        ({"k": 2, "method": "power"}, SpecError, "method is 'power'; needed 'randomized' or 'lanczos'"),
        ({"k": 2, "n_iter": -1}, SpecError, "n_iter is -1"),
    ],
)
def test_what_cannot_be_is_said(options, error, words):
    X = bd.Dataset.from_arrays(np.random.default_rng(0).normal(size=(50, 20))).X
    with pytest.raises(error, match=words):
        X.svd(**options)


def test_values_that_do_not_converge_are_an_error(monkeypatch):
    from scipy.sparse.linalg import eigsh

    from blockdot.linalg import svd

    monkeypatch.setattr(svd, "eigsh", lambda *args, **options: eigsh(*args, **options, maxiter=1))
    rng = np.random.default_rng(6)
    X = bd.Dataset.from_arrays(sp.random_array((600, 400), density=0.02, rng=rng)).X
    with pytest.raises(NotConvergedError, match="of 20 singular values converged; ask for a larger tol"):
        X.svd(20, method="lanczos")
