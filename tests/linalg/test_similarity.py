"""Cosines of all pairs: exact against scikit-learn, sampled within the bound that is stated."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import cosine_similarity

import blockdot as bd
from blockdot.errors import SpecError


@pytest.fixture(scope="module")
def words():
    """Rows that have a few of many columns, some columns in most rows, some pairs of columns nearly the same."""
    rng = np.random.default_rng(7)
    n, d = 3000, 60
    A = (rng.random((n, d)) < 0.9 * rng.random(d) ** 4) * rng.uniform(0.5, 1.0, (n, d))
    for j in range(0, 20, 2):
        A[:, j + 1] = np.where(rng.random(n) < 0.8, A[:, j], A[:, j + 1]) * 3.0
    A[:, 59] = 0.0
    return A


@pytest.mark.parametrize("threshold", [None, 0.0, 0.3, 0.9])
def test_exact_cosines_are_those_of_scikit_learn(words, threshold):
    X = bd.Dataset.from_arrays(words, block_rows=700).X
    for matrix, rows in ((X, words.T), (bd.Dataset.from_arrays(words[:300], block_rows=70).X.T, words[:300])):
        exact = cosine_similarity(rows)
        found = matrix.cosine_similarity(threshold)
        if threshold is not None:
            assert sp.issparse(found)
            found, exact = found.toarray(), np.where(np.abs(exact) >= threshold, exact, 0.0)
        np.testing.assert_allclose(found, exact, atol=1e-12)


@pytest.mark.parametrize("error", [0.05, 0.15])
@pytest.mark.parametrize("transposed", [False, True])
def test_sampled_cosines_have_no_bias_and_the_error_that_was_asked_for(words, error, transposed):
    """64 seeds: each pair's mean within 5 standard errors of the mean, its spread within what 64 draws allow."""
    A = words if not transposed else np.ascontiguousarray(words.T)
    X = bd.Dataset.from_arrays(A, block_rows=700).X
    X, exact = (X.T if transposed else X), cosine_similarity(words.T)
    draws = np.array([X.cosine_similarity(0.0, error=error, random_state=i).toarray() for i in range(64)])
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - exact), 5.0 * error / 8.0)
    spread = np.sqrt(np.mean((draws - exact) ** 2, axis=0))
    np.testing.assert_array_less(spread, 1.6 * error)
    assert np.max(spread) > 0.3 * error, "the sampling does something"
    t = 4.0 * error  # the bound of Bernstein's inequality
    bound = 2.0 * np.exp(-(t**2) / (2.0 * error * (error + t / 3.0)))
    assert np.mean(np.abs(draws - exact) >= t, axis=0).max() <= bound + 3.0 * np.sqrt(bound / 64)
    assert np.array_equal(draws[0], draws[0].T)
    assert np.all(np.diag(draws[0])[np.linalg.norm(words, axis=0) > 0] == 1.0)


def test_the_sample_depends_on_the_seed_and_the_rows_alone(words, tmp_path):
    data = bd.Dataset.from_arrays(words, block_rows=700)
    first = data.X.cosine_similarity(0.3, error=0.1)
    stored = data.save(tmp_path / "rows.blocks")
    for X in (data.X.on(bd.ThreadPool(1)), stored.X, stored.X.on(bd.ThreadPool(3))):
        again = X.cosine_similarity(0.3, error=0.1)
        assert (again != first).nnz == 0
    assert (data.X.cosine_similarity(0.3, error=0.1, random_state=1) != first).nnz > 0
    other_cut = bd.Dataset.from_arrays(words, block_rows=333).X.cosine_similarity(0.3, error=0.1)
    np.testing.assert_allclose(other_cut.toarray(), first.toarray(), atol=1e-12)


def test_a_sample_takes_fewer_pairs(words):
    """Of frequent columns; how many does not grow with the rows."""
    from blockdot.linalg import similarity

    taken = []
    real = similarity.gram.of_column_pairs

    def counting(A, *rest):
        taken.append(A.rows.data.nnz)
        return real(A, *rest)

    for times in (1, 4):
        X = bd.Dataset.from_arrays(np.tile(words, (times, 1))).X
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(similarity.gram, "of_column_pairs", counting)
            X.cosine_similarity(0.3, error=0.2)
    assert taken[0] < 0.3 * np.count_nonzero(words)
    assert taken[1] < 2.6 * taken[0]  # the number that is kept of a column grows with the root of its entries


def test_views_have_their_own_cosines(words):
    rng = np.random.default_rng(3)
    r, c = rng.choice([-1.0, 0.7, 1.2], len(words)), rng.choice([-2.0, 0.0, 1.0, 5.0], words.shape[1])
    X, A = bd.Dataset.from_arrays(words, block_rows=700).X.scale(r, c), r[:, np.newaxis] * words * c
    exact = cosine_similarity(A.T)
    np.testing.assert_allclose(X.cosine_similarity(0.0).toarray(), exact, atol=1e-12)
    sampled = X.cosine_similarity(0.0, error=0.05).toarray()
    assert 1e-3 < np.max(np.abs(sampled - exact)) < 0.25
    assert np.array_equal(np.diag(sampled), (np.linalg.norm(A, axis=0) > 0).astype(float))
    centred = bd.Dataset.from_arrays(words[:, 30:32]).X.centred()
    np.testing.assert_allclose(centred.cosine_similarity(), np.corrcoef(words[:, 30:32].T), atol=1e-10)
    few, B = bd.Dataset.from_arrays(A[:200], block_rows=70).X.T, A[:200]
    assert np.max(np.abs(few.cosine_similarity(0.0, error=0.4).toarray() - cosine_similarity(B))) < 2.0


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        ({"threshold": 0.5, "error": 0.0}, "error is 0.0; needed between 0 and 1"),
        ({"threshold": 0.5, "error": float("nan")}, "error is nan"),
        ({"error": 0.1}, "need a threshold"),
        ({"threshold": -0.5}, "threshold is -0.5"),
    ],
)
def test_what_cannot_be_is_said(words, options, words_):
    X = bd.Dataset.from_arrays(words[:50]).X
    for matrix in (X, X.T):
        with pytest.raises(SpecError, match=words_):
            matrix.cosine_similarity(**options)
    with pytest.raises(SpecError, match="centred"):
        X.centred().cosine_similarity(0.5)
