"""What can be handed in: every kind of matrix, frame and collection gives the same bits."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd


def rows(n=120, d=8, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, d), density=0.4, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz)
    return X, (rng.random(n) < 0.5).astype(float), rng.uniform(0.5, 2.0, n)


def parameters(est):
    return np.append(est.coef_.ravel(), est.intercept_)


def fitted(X, y, **more):
    return bd.LogisticRegression(alpha=0.01, tol=1e-9).fit(X, y, **more)


def with_int64(X):
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return wide


def dask_array(X, *, chunk, known=True):
    chunks = [sp.csr_matrix(X[i : i + 50]) for i in range(0, X.shape[0], 50)]
    import dask

    size = [np.nan if not known else c.shape[0] for c in chunks]
    parts = [
        da.from_delayed(dask.delayed(chunk)(c), (n, X.shape[1]), dtype=float) for c, n in zip(chunks, size, strict=True)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


MATRICES = {
    "csc": lambda X: X.tocsc(),
    "coo": lambda X: X.tocoo(),
    "csr_matrix": sp.csr_matrix,
    "int64 indices": with_int64,
    "dense": lambda X: X.toarray(),
    "list": lambda X: X.toarray().tolist(),
    "Fortran order": lambda X: np.asfortranarray(X.toarray()),
    "Dask, dense chunks": lambda X: da.from_array(X.toarray(), chunks=(37, 5)),
    "Dask, sparse chunks": lambda X: dask_array(X, chunk=sp.csr_matrix),
    "Dask, sparse chunks of unknown size": lambda X: dask_array(X, chunk=sp.csr_matrix, known=False),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_every_kind_of_matrix_gives_the_same_bits(kind):
    X, y, _ = rows()
    expected, found = fitted(X, y), fitted(MATRICES[kind](X), y)
    assert parameters(found).tobytes() == parameters(expected).tobytes()
    z = found.decision_function(MATRICES[kind](X))
    assert z.tobytes() == expected.decision_function(X).tobytes()


def test_frames_name_their_columns():
    pd = pytest.importorskip("pandas")
    X, y, s = rows()
    names = [f"x{j}" for j in range(8)]
    frame = pd.DataFrame(X.toarray(), columns=names)
    plain = fitted(X, y, sample_weight=s)
    whole = frame.assign(label=y, weight=s)
    for found in (
        fitted(frame, y, sample_weight=s),
        fitted(frame, pd.Series(y), sample_weight=pd.Series(s)),
        fitted(whole, "label", sample_weight="weight"),
    ):
        assert parameters(found).tobytes() == parameters(plain).tobytes()
        assert found.feature_names_in_.tolist() == names
        assert found.named_coef() == dict(zip(names, plain.coef_[0].tolist(), strict=True))
    with pytest.raises(bd.BlockdotError, match="there is no column 'lable'; the columns are x0"):
        fitted(whole, "lable")
    with pytest.raises(bd.BlockdotError, match="'label' names a column, and csr_array has no named columns"):
        fitted(X, "label")


def test_dask_frames_are_frames():
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    X, y, _ = rows()
    frame = pd.DataFrame(X.toarray(), columns=[f"x{j}" for j in range(8)]).assign(label=y)
    lazy = dd.from_pandas(frame, npartitions=3)
    found = fitted(lazy, y="label")
    assert parameters(found).tobytes() == parameters(fitted(X, y)).tobytes()
    assert found.feature_names_in_.tolist() == [f"x{j}" for j in range(8)]


def test_polars_frames_are_frames():
    pl = pytest.importorskip("polars")
    X, y, _ = rows()
    frame = pl.DataFrame(X.toarray(), schema=[f"x{j}" for j in range(8)]).with_columns(pl.Series("label", y))
    found = fitted(frame, "label")
    assert parameters(found).tobytes() == parameters(fitted(X, y)).tobytes()


def test_pipelines_with_vectorisers():
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    texts = [f"word{i % 7} word{i % 3} other{i % 5}" for i in range(60)]
    labels = ["even" if i % 7 % 2 == 0 else "odd" for i in range(60)]
    for vectoriser in (TfidfVectorizer(), HashingVectorizer(n_features=2**18)):
        pipeline = make_pipeline(vectoriser, bd.LogisticRegression(alpha=1e-4))
        search = GridSearchCV(pipeline, {"logisticregression__alpha": [1e-4, 1e-2]}, cv=3).fit(texts, labels)
        assert search.best_score_ > 0.8
        assert set(search.predict(texts)) == {"even", "odd"}
