"""The matrix on real worker processes: the same bits as on threads, for every kind of pass."""

import numpy as np
import pytest
import scipy.sparse as sp
from distributed import Client, LocalCluster

import blockdot as bd

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        Client(cluster) as client,
        bd.DaskPool(client) as pool,
    ):
        yield pool


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    rng = np.random.default_rng(12)
    A = sp.random_array((700, 40), density=0.2, rng=rng, data_sampler=rng.normal)
    data = bd.Dataset.from_arrays(A, rng.random(700), block_rows=60)
    return data.save(tmp_path_factory.mktemp("data") / "rows.blocks")


def bits(result):
    if isinstance(result, tuple):
        return b"".join(bits(part) for part in result)
    if sp.issparse(result):
        return bits(result.toarray())
    if isinstance(result, bd.Dataset):
        return bits(result.X.toarray()) + repr(result.block_rows).encode()
    return np.asarray(result).tobytes()


RNG = np.random.default_rng(13)
W, R, R1 = RNG.normal(size=(40, 3)), RNG.normal(size=(700, 3)), RNG.normal(size=700)
S = sp.csr_array(W * (RNG.random(W.shape) < 0.4))
Q = sp.csr_array(R * (RNG.random(R.shape) < 0.4))

VERBS = {
    "product": lambda X: X @ W,
    "transposed": lambda X: X.T @ R,
    "left": lambda X: R1 @ X,
    "sparse": lambda X: X @ S,
    "transposed sparse": lambda X: X.T @ Q,
    "gram": lambda X: X.gram(R1),
    "pairs": lambda X: X.gram(threshold=0.3),
    "rows": lambda X: X.T.gram(0.3),
    "norms": lambda X: (X.norms(0), X.norms(1)),
    "inner": lambda X: (X.inner(X), X.inner(np.ones((700, 40)))),
    "cosines": lambda X: X.cosine_similarity(0.1),
    "sampled": lambda X: X.cosine_similarity(0.1, error=0.15),
    "sampled rows": lambda X: X.T.cosine_similarity(0.5, error=0.3),
    "svd": lambda X: tuple(X.svd(4)),
    "lanczos": lambda X: tuple(X.svd(4, method="lanczos", tol=1e-3)),
    "lstsq": lambda X: X.ridge(R1, 0.1, max_iter=5).coef,
    "copy": lambda X: X.to_scipy(),
    "product rows": lambda X: X.matmul(W),
}


@pytest.mark.parametrize("arithmetic", ["plain", "reproducible"])
@pytest.mark.parametrize("verb", VERBS)
def test_the_same_bits_as_on_threads(pool, stored, verb, arithmetic):
    X = stored.X.scale(np.linspace(0.5, 2, 700), np.linspace(-1, 1, 40))
    X = X.reproducible() if arithmetic == "reproducible" else X
    expected = bits(VERBS[verb](X.on(bd.ThreadPool(1))))
    assert bits(VERBS[verb](X.on(bd.ThreadPool(3)))) == expected
    assert bits(VERBS[verb](X.on(pool))) == expected


@pytest.mark.parametrize("verb", ["product", "transposed", "gram", "norms", "svd"])
def test_centred_views(pool, stored, verb):
    X = stored.X.scale(rows=np.linspace(0.5, 2, 700)).centred()
    assert bits(VERBS[verb](X.on(pool))) == bits(VERBS[verb](X.on(bd.ThreadPool(2))))


def test_rows_in_memory_are_spooled(pool):
    rng = np.random.default_rng(14)
    A = rng.normal(size=(100, 5))
    X = bd.Dataset.from_arrays(A, block_rows=30).X
    assert bits(X.on(pool).T @ np.ones(100)) == bits(X.T @ np.ones(100))
    assert X.on(pool).inner(A) == X.inner(A)
    assert bits(X.on(pool).cosine_similarity(0.1, error=0.3)) == bits(X.cosine_similarity(0.1, error=0.3))


def test_new_stores_are_written_by_the_workers(pool, stored, tmp_path):
    made = [stored.X.on(where).matmul(S, tmp_path / name) for where, name in ((pool, "a"), (bd.ThreadPool(2), "b"))]
    assert made[0].digest == made[1].digest
    scaled = stored.X.scale(columns=np.arange(40.0))
    saved = [scaled.on(where).save(tmp_path / name) for where, name in ((pool, "c"), (bd.ThreadPool(2), "d"))]
    assert saved[0].digest == saved[1].digest
    for where, name in ((pool, "e"), (bd.ThreadPool(1), "f")):
        stored.X.on(where).to_parquet(tmp_path / name)
    parts = [[path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "ef"]
    assert parts[0] == parts[1]


def test_a_long_vector_over_the_rows(pool, tmp_path):
    """26 MB: each block's part goes to it alone, without a complaint of Dask's about large messages."""
    n = 400_000
    A = sp.csr_array((np.ones(n), (np.arange(n), np.arange(n) % 3)), shape=(n, 3))
    X = bd.Dataset.from_arrays(A, block_rows=200_000).save(tmp_path / "long.blocks").X
    expected = np.repeat(np.bincount(np.arange(n) % 3)[:, np.newaxis], 8, axis=1)
    np.testing.assert_array_equal(X.on(pool).T @ np.ones((n, 8)), expected)
