"""Id spaces that are wider than memory: what occurs is worked on, and what would be huge is refused."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.blocks.block import Block
from blockdot.errors import SpecError

WIDTH = 1 << 40


@pytest.fixture(scope="module")
def case():
    """50 features of 2^40 occur."""
    rng = np.random.default_rng(10)
    ids = np.sort(rng.choice(WIDTH, 50, replace=False))
    A = rng.normal(size=(300, 50)) * (rng.random((300, 50)) < 0.3)
    blocks = []
    for start in (0, 120):
        part = sp.csr_array(A[start : start + 180 if start else 120])
        blocks.append(Block.from_rows(part.indptr, ids[part.indices], part.data, dtype=np.float64))
    return bd.Dataset.from_blocks(blocks, WIDTH).X, A, ids


def test_what_occurs_is_a_matrix_of_its_own(case):
    X, A, ids = case
    assert X.shape == (300, WIDTH)
    few = X.occurring()
    assert few.shape == (300, 50)
    assert np.array_equal(few.columns, ids)
    assert np.array_equal(few.toarray(), A)
    w, r = np.arange(50.0), np.arange(300.0)
    np.testing.assert_allclose(few @ w, A @ w)
    np.testing.assert_allclose(few.T @ r, A.T @ r)
    np.testing.assert_allclose(few.gram(), A.T @ A, atol=1e-12)
    np.testing.assert_allclose(few.svd(3, method="lanczos").s, np.linalg.svd(A)[1][:3], rtol=1e-9)
    np.testing.assert_allclose(few.norms(0), np.linalg.norm(A, axis=0))
    np.testing.assert_allclose(few.centred().norm(), np.linalg.norm(A - A.mean(axis=0)))
    np.testing.assert_allclose(few.inner(X), np.sum(A**2))


def test_what_needs_no_vector_over_all_ids_works_as_it_is(case, tmp_path):
    X, A, ids = case
    np.testing.assert_allclose(X.norms(1), np.linalg.norm(A, axis=1))
    np.testing.assert_allclose(X.norm(), np.linalg.norm(A))
    np.testing.assert_allclose(X.T.gram(), A @ A.T, atol=1e-12)
    np.testing.assert_allclose(X.T.cosine_similarity(0.0).diagonal(), np.linalg.norm(A, axis=1) > 0)
    S = sp.coo_array((np.ones(3), ([ids[7], ids[9], 5], [0, 1, 1])), shape=(WIDTH, 2))
    np.testing.assert_allclose((X @ S).toarray(), A[:, [7, 9]])
    whole = X.to_scipy()
    assert whole.shape == (300, WIDTH)
    assert np.array_equal(whole.tocoo().col, ids[np.nonzero(A)[1]])
    assert X.save(tmp_path / "wide.blocks").n_features == WIDTH
    X.to_parquet(tmp_path / "wide.parquet")
    assert bd.BlockMatrix.from_parquet(tmp_path / "wide.parquet").shape == (300, WIDTH)


@pytest.mark.parametrize(
    "call",
    [
        lambda X: X.columns,
        lambda X: X.T @ np.ones(300),
        lambda X: np.ones(300) @ X,
        lambda X: X.T @ sp.csr_array(np.ones((300, 1))),
        lambda X: X.norms(0),
        lambda X: X.means(),
        lambda X: X.svd(2),
        lambda X: X.pca(2),
        lambda X: X.gram(threshold=0.5),
        lambda X: X.cosine_similarity(0.5),
    ],
)
def test_a_vector_over_all_ids_is_refused(case, call):
    words = r"1,099,511,627,776 columns would take .* GB, and 50 of them occur: take X.occurring\(\)"
    with pytest.raises(SpecError, match=words):
        call(case[0])


def test_sums_are_refused_before_the_data_are_read(case, monkeypatch):
    X = case[0]
    monkeypatch.setattr(type(X.view.rows), "map", lambda *_, **__: pytest.fail("read"))
    monkeypatch.setattr(type(X.view.rows), "folded", lambda *_, **__: pytest.fail("read"))
    for call in (lambda: X.T @ np.ones(300), lambda: X.norms(0), lambda: X.means(), lambda: X.svd(2),
                 lambda: X.pca(2), lambda: X.gram(threshold=1.0), lambda: X.cosine_similarity(0.5)):  # fmt: skip
        with pytest.raises(SpecError, match="of them occur"):
            call()
