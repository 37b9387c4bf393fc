"""Real matrices against scipy: a census one-hot coded, messages as hashed words, numbers of many sizes."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import svds
from sklearn.datasets import load_svmlight_file
from sklearn.feature_extraction.text import HashingVectorizer

import blockdot as bd

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not beside the checkout")


def census():
    return sp.csr_array(load_svmlight_file(str(DATA / "svmlight" / "a9a"))[0])


def messages():
    text = (DATA / "text" / "sms_spam.tsv").read_text("utf-8", errors="replace").splitlines()
    return sp.csr_array(HashingVectorizer(n_features=1 << 16, norm=None).transform(text))


def hearts():
    return sp.csr_array(load_svmlight_file(str(DATA / "svmlight" / "heart_scale"))[0])


@pytest.mark.parametrize("read", [census, messages, hearts])
@pytest.mark.parametrize("reproducible", [False, True])
def test_real_matrices(read, reproducible):
    A = read()
    n, d = A.shape
    X = bd.Dataset.from_arrays(A, block_rows=n // 5 + 1).X
    X = X.reproducible() if reproducible else X
    rng = np.random.default_rng(0)
    w, R = rng.normal(size=d), rng.normal(size=(n, 3))
    np.testing.assert_allclose(X @ w, A @ w, atol=1e-12)
    np.testing.assert_allclose(X.T @ R, A.T @ R, atol=1e-10)
    np.testing.assert_allclose(X.norms(0), np.sqrt(A.multiply(A).sum(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(X.norms(1), np.sqrt(A.multiply(A).sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(X.inner(A), A.multiply(A).sum(), rtol=1e-12)
    some = A[: min(n, 2000)]
    few = bd.Dataset.from_arrays(some, block_rows=700).X
    few = few.reproducible() if reproducible else few
    exact = sp.csr_array(some.T @ some)
    exact.data[np.abs(exact.data) < 3.0] = 0.0
    difference = few.gram(threshold=3.0) - exact
    assert np.abs(difference.data).max(initial=0.0) < 1e-9
    _, s, _ = svds(A.astype(float), 5, rng=np.random.default_rng(0))
    np.testing.assert_allclose(X.svd(5, method="lanczos").s, s[::-1], rtol=1e-10)


def test_cosines_of_words_by_sampling():
    """The frequent ones, which the sampling thins out."""
    A = census()
    X = bd.Dataset.from_arrays(A, block_rows=9000).X
    exact = X.cosine_similarity()
    error = 0.02
    found = X.cosine_similarity(0.3, error=error).toarray()
    strong = np.abs(exact) >= 0.3 + 5 * error
    assert strong.sum() > 200
    assert np.all(np.abs(found - exact)[strong] < 5 * error)
    assert np.all(np.abs(exact[found != 0]) > 0.3 - 5 * error)
