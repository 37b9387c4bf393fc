"""Dask collections: taken in chunk by chunk, to the bits of the same rows in one array."""

import gc
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

import blockdot as bd
from blockdot.blocks import arrays

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")

N, D = 9_000, 6


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where temporary stores are made; nothing is left there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(arrays, "_ENTRIES", 20_000)  # four blocks
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def rows(seed=0):
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((N, D)) < 0.5, rng.normal(size=(N, D)), 0.0)
    y = (X[:, 0] + rng.normal(size=N) > 0).astype(np.int64)
    return X, y, rng.uniform(0.5, 2.0, N), rng.normal(size=N)


def logistic(X, y, **more):
    options = {name: more.pop(name) for name in ("client", "class_weight") if name in more}
    return bd.LogisticRegression(alpha=1e-3, tol=1e-8, **options).fit(X, y, **more)


def saved(est, folder):
    """The bytes of the model."""
    place = folder / "model"
    est.model_.save(place)
    content = {path.name: path.read_bytes() for path in place.iterdir()}
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    return content


def unknown(x):
    """The same array, whose chunks have no known sizes."""
    parts = [da.from_delayed(part, (np.nan, *x.shape[1:]), dtype=x.dtype) for part in np.ravel(x.to_delayed()).tolist()]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def lazily(array, chunk):
    return da.from_array(array, chunks=(chunk, *array.shape[1:]))


CHUNKS = {
    "as they come": lambda X, y, s, o: [lazily(a, 1_700) for a in (X, y, s, o)],
    "of unknown size": lambda X, y, s, o: [unknown(lazily(a, 1_700)) for a in (X, y, s, o)],
    "one": lambda X, y, s, o: [lazily(a, N) for a in (X, y, s, o)],
    "cut across": lambda X, y, s, o: [da.from_array(X, chunks=(2_000, 4)), *(lazily(a, 2_000) for a in (y, s, o))],
    "not the same": lambda X, y, s, o: [lazily(X, 1_700), lazily(y, 900), lazily(s, N), unknown(lazily(o, 800))],
    "X alone": lambda X, y, s, o: [lazily(X, 1_700), y, s.tolist(), o],
    "X alone, of unknown size": lambda X, y, s, o: [unknown(lazily(X, 1_700)), y, s, lazily(o, 500)],
    "y alone": lambda X, y, s, o: [X, lazily(y, 500), lazily(s, 600), o],
}


@pytest.mark.parametrize("kind", CHUNKS)
def test_any_chunks_give_the_model_of_one_array(kind, folder):
    X, y, s, o = rows()
    assert bd.Dataset.from_arrays(X).n_blocks == 4
    plain = logistic(X, y, sample_weight=s, offset=o)
    X_, y_, s_, o_ = CHUNKS[kind](X, y, s, o)
    found = logistic(X_, y_, sample_weight=s_, offset=o_)
    assert saved(found, folder) == saved(plain, folder)
    assert found.n_features_in_ == D
    assert not hasattr(found, "feature_names_in_")
    z = found.decision_function(X_, offset=o_)
    assert isinstance(z, np.ndarray)
    assert z.tobytes() == plain.decision_function(X, offset=o).tobytes()
    assert found.predict_proba(X_).tobytes() == plain.predict_proba(X).tobytes()
    assert found.predict(X_).tobytes() == plain.predict(X).tobytes()


@pytest.mark.parametrize("chunk", [1_700, 300, N])
def test_rows_of_very_different_length_with_zeros_among_their_numbers(chunk, folder):
    """The longest last, and half of what lies there is 0."""
    rng = np.random.default_rng(4)
    lengths = np.sort(np.minimum(rng.lognormal(1.5, 1.2, N), 100)).astype(int)
    indptr = np.concatenate([[0], np.cumsum(2 * lengths)])
    ids = np.concatenate([np.sort(rng.choice(200, 2 * length, replace=False)) for length in lengths])
    X = sp.csr_array((rng.normal(size=len(ids)), ids, indptr), shape=(N, 200))
    X.data[np.concatenate([rng.permutation(np.arange(2 * length) < length) for length in lengths])] = 0.0
    y = rng.integers(0, 2, N)
    found = bd.Dataset.from_arrays(X).block_rows
    costs = [lengths[a:b].sum() + 8 * (b - a) for a, b in pairwise(np.cumsum([0, *found]))]
    assert len(found) == 4
    assert max(costs) < 1.01 * np.mean(costs)
    assert max(found) > 2 * min(found)
    parts = [
        da.from_delayed(dask.delayed(X[a:b]), (b - a, 200), dtype=float) for a, b in pairwise([*range(0, N, chunk), N])
    ]
    plain = logistic(X, y)
    assert saved(logistic(da.concatenate(parts), y), folder) == saved(plain, folder)


def test_sparse_chunks_some_of_them_empty_and_float32(folder):
    X, y, _, _ = rows()
    X = X.astype(np.float32)
    edges = [0, 0, 10, 10, 5_000, 9_000, 9_000]
    parts = [dask.delayed(sp.csr_matrix)(X[a:b]) for a, b in pairwise(edges)]
    lazy = da.concatenate(
        [da.from_delayed(part, (np.nan, D), dtype=np.float32) for part in parts], allow_unknown_chunksizes=True
    )
    plain, found = logistic(X, y), logistic(lazy, y)
    assert saved(found, folder) == saved(plain, folder)
    assert found.decision_function(lazy).tobytes() == plain.decision_function(X).tobytes()
    with pytest.raises(bd.BlockdotError, match="X has no rows: all of its chunks are empty"):
        logistic(da.zeros((0, D)), y[:0])


def test_frames_columns_by_name_categories_and_text(folder):
    X, y, s, o = rows()
    several = bd.LogisticRegression(alpha=1e-3, multi_class="one-vs-rest")  # offsets say nothing to a softmax
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(s=s, o=o)
    frame["kind"] = np.array(["rose", "ash", "oak"])[(y + (X[:, 1] > 0.5)).astype(int)]
    frame["tree"] = frame["kind"].astype("category")
    names = list("abcdef")
    plain = clone(several).fit(frame[names], frame["kind"], sample_weight=s, offset=o)
    for label, other in (("kind", "tree"), ("tree", "kind")):
        lazy = dd.from_pandas(frame.drop(columns=other), npartitions=5)
        found = clone(several).fit(lazy, label, sample_weight="s", offset="o")
        assert saved(found, folder) == saved(plain, folder)
        assert found.feature_names_in_.tolist() == names
        assert found.classes_.tolist() == ["ash", "oak", "rose"]
        kept = lazy[names]
        assert found.predict(kept).tolist() == plain.predict(frame[names]).tolist()
        assert found.score(kept, lazy[label]) == plain.score(frame[names], frame["kind"])
        apart = clone(several).fit(kept, lazy[label], sample_weight=lazy["s"], offset=lazy["o"])
        assert saved(apart, folder) == saved(plain, folder)
    with pytest.raises(bd.BlockdotError, match="there is no column 'lable'; the columns are a, b"):
        bd.LogisticRegression().fit(lazy, "lable")
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(kept.rename(columns={"a": "z"}))


def test_labels_that_no_one_chunk_has_all_of(folder):
    """Sorted rows: each chunk has one class only, and some classes begin where others end."""
    X, _, _, _ = rows()
    for y in (np.repeat([3, 7, 9], 3_000), np.repeat(["a", "bbb", "cc"], 3_000), np.repeat([0.0, 1.5, 9], 3_000)):
        if y.dtype.kind == "f":
            with pytest.raises(bd.BlockdotError, match="chunk 3: Unknown label type: continuous"):
                logistic(lazily(X, 1_000), lazily(y, 1_000))
            continue
        plain, found = logistic(X, y), logistic(lazily(X, 1_000), lazily(y, 1_000))
        assert saved(found, folder) == saved(plain, folder)
        assert found.classes_.tolist() == plain.classes_.tolist()
    with pytest.raises(ValueError, match="Only binary classification is supported"):
        bd.LinearSVC().fit(lazily(X, 1_000), lazily(np.repeat([3, 7, 9], 3_000), 1_000))
    with pytest.raises(ValueError, match="y has one class only"):
        logistic(lazily(X, 1_000), lazily(np.ones(N), 1_000))


def test_several_labels_a_row_and_numbers(folder):
    X, y, s, _ = rows()
    labels = np.column_stack([y, X[:, 1] > 0.3, X[:, 2] > -0.2]).astype(float)
    plain, found = logistic(X, labels), logistic(lazily(X, 1_700), lazily(labels, 1_700))
    assert saved(found, folder) == saved(plain, folder)
    assert found.classes_.tolist() == [0, 1, 2]
    counts = np.floor(np.exp(X[:, 0] / 4) * 2)
    plain = bd.PoissonRegressor(alpha=1e-3).fit(X, counts, sample_weight=s)
    found = bd.PoissonRegressor(alpha=1e-3).fit(lazily(X, 1_700), lazily(counts, 1_700), sample_weight=lazily(s, 1_700))
    assert saved(found, folder) == saved(plain, folder)
    assert found.predict(lazily(X, 1_700)).tobytes() == plain.predict(X).tobytes()
    assert found.score(lazily(X, 1_700), lazily(counts, 1_700)) == plain.score(X, counts)


def test_cross_validation_with_a_splitter(folder):
    from sklearn.model_selection import KFold

    X, y, _, _ = rows()
    est = bd.LogisticRegressionCV(n_alphas=3, cv=KFold(3))
    plain = est.fit(X, y).coef_.copy()
    assert est.fit(lazily(X, 1_700), lazily(y, 1_700)).coef_.tobytes() == plain.tobytes()


def spoilt(X, row, column, value):
    X = X.copy()
    X[row, column] = value
    return X


def test_what_is_wrong_is_said_with_its_chunk_and_row():
    X, y, _, o = rows()
    lazy = lazily(X, 1_000)
    with pytest.raises(bd.BlockdotError, match="chunk 4: row 17: Input X contains NaN"):
        logistic(lazily(spoilt(X, 4_017, 2, np.nan), 1_000), y)
    frame = dd.from_pandas(pd.DataFrame(spoilt(X, 4_017, 2, np.inf)).assign(label=y), npartitions=9)
    with pytest.raises(bd.BlockdotError, match="chunk 4: row 17: Input X contains infinity"):
        logistic(frame.rename(columns=str), "label")
    sparse = lazily(spoilt(X, 4_017, 2, np.nan), 1_000).map_blocks(sp.csr_matrix)
    with pytest.raises(bd.BlockdotError, match="chunk 4: row 17: Input X contains NaN"):
        logistic(sparse, y)
    with pytest.raises(bd.BlockdotError, match=r"chunk 8: sample_weight\[999\] is -1; needed at least 0"):
        logistic(lazy, y, sample_weight=lazily(np.where(np.arange(N) == 8_999, -1.0, 1.0), 1_000))
    with pytest.raises(bd.BlockdotError, match=r"chunk 2: offset\[0\] is inf; needed finite numbers"):
        logistic(lazy, y, offset=lazily(np.where(np.arange(N) == 2_000, np.inf, 0.0), 1_000))
    with pytest.raises(bd.BlockdotError, match="every sample_weight is zero"):
        logistic(lazy, y, sample_weight=da.zeros(N, chunks=1_000))
    with pytest.raises(bd.BlockdotError, match="chunk 0: X has 1000 rows and what goes with them 900: give both"):
        logistic(unknown(lazy), unknown(lazily(y[:8_100], 900)))
    with pytest.raises(bd.BlockdotError, match=r"y has the shape \(8999,\); needed \(9000,\)"):
        logistic(lazy, y[:-1])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        logistic(lazy, None)
    with pytest.raises(bd.BlockdotError, match=r"Delayed.* has no rows: needed a Dask array"):
        logistic(dask.delayed(X), y)
    wide = da.concatenate(
        [da.from_delayed(dask.delayed(X[:, :d]), (np.nan, D), dtype=float) for d in (D, D - 1)],
        allow_unknown_chunksizes=True,
    )
    with pytest.raises(bd.BlockdotError, match="chunk 1 has 5 columns and chunk 0 6; needed the same in all"):
        logistic(wide, np.tile(y, 2))
    found = logistic(lazy, y)
    with pytest.raises(bd.BlockdotError, match="chunk 0: X has 5 features, but LogisticRegression is expecting 6"):
        found.predict(lazy[:, :5])
    with pytest.raises(bd.BlockdotError, match="chunk 3: row 5: Input X contains NaN"):
        found.predict(lazily(spoilt(X, 3_005, 1, np.nan), 1_000))
    with pytest.raises(bd.BlockdotError, match=r"offset has the shape \(8999,\); needed \(9000,\)"):
        found.decision_function(lazy, offset=o[:-1])
    with pytest.raises(bd.BlockdotError, match="chunk 0: X has 1 features"):
        found.predict(da.zeros((5, 1)))


def test_each_chunk_is_computed_once_and_not_before_it_is_needed():
    X, y, _, _ = rows()
    calls = []

    def chunk(i):
        calls.append(i)
        return np.column_stack([X[i * 1_000 : (i + 1) * 1_000], y[i * 1_000 : (i + 1) * 1_000]])

    parts = [da.from_delayed(dask.delayed(chunk)(i), (1_000, D + 1), dtype=float) for i in range(9)]
    both = da.concatenate(parts)
    logistic(both[:, :-1], both[:, -1])
    assert calls == list(range(9))
    calls.clear()
    frame = dd.from_map(
        lambda i: pd.DataFrame(chunk(i)).rename(columns=str),
        range(9),
        meta=pd.DataFrame(chunk(0)[:0]).rename(columns=str),
    )
    calls.clear()
    logistic(frame[list("012345")], frame["6"])
    assert calls == list(range(9))


def test_a_lazy_prediction_is_one_line():
    X, y, _, _ = rows()
    found = logistic(X, y)
    lazy = lazily(X, 1_000).map_blocks(found.model_.predict, drop_axis=1, dtype=float)
    assert lazy.compute().tolist() == found.predict(X).tolist()


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    local = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, worker_dashboard_address="127.0.0.1:0", **local) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("sees", [True, False])
def test_workers_take_in_their_chunks(client, folder, monkeypatch, sees):
    """Those that see the spool's folder write there; for others the chunks come here one by one."""
    from blockdot.blocks.dask import DaskPool

    X, y, s, _ = rows()
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(label=np.where(y > 0, "yes", "no"), s=s)
    plain = logistic(frame[list("abcdef")], frame["label"], sample_weight=s)
    lazy = client.persist(dd.from_pandas(frame, npartitions=4))
    asked, run = [], DaskPool.everywhere

    def everywhere(self, function):
        answers = run(self, function)
        if list(answers.values()) != [True, True]:  # another question than whether they see the folder
            return answers
        asked.append(answers)
        return dict.fromkeys(answers, sees)

    monkeypatch.setattr(DaskPool, "everywhere", everywhere)
    found = logistic(lazy, "label", sample_weight="s", client=client)
    assert len(asked) == 1
    assert saved(found, folder) == saved(plain, folder)
    assert found.predict(lazy[list("abcdef")]).tolist() == plain.predict(frame[list("abcdef")]).tolist()
    apart = client.persist(dd.from_pandas(frame["label"], npartitions=3))  # in other chunks than X: gathered
    found = logistic(lazy[list("abcdef")], apart, sample_weight=s, client=client)
    assert saved(found, folder) == saved(plain, folder)
    with pytest.raises(bd.BlockdotError, match="chunk 1: row 250: Input X contains NaN"):
        logistic(lazily(spoilt(X, 1_250, 0, np.nan), 1_000), y, client=client)


def test_arrays_for_a_cluster_are_written_block_by_block(client, folder, monkeypatch):
    """And not held as blocks, too: nothing of Dataset.from_arrays, or of its spooling, is needed."""
    X, y, s, _ = rows()
    plain = logistic(sp.csr_array(X), y, sample_weight=s)
    monkeypatch.setattr(bd.Dataset, "from_arrays", None)
    monkeypatch.setattr(bd.Dataset, "save", None)
    found = logistic(sp.csr_array(X), y, sample_weight=s, client=client, class_weight={0: 1.0, 1: 1.0})
    assert found.coef_.tobytes() == plain.coef_.tobytes()


def test_a_chunk_that_kills_its_worker_is_named(client):
    X, y, _, _ = rows()

    def chunk(i):
        if i == 1:
            os._exit(1)
        return X[:10]

    lazy = da.concatenate([da.from_delayed(dask.delayed(chunk)(i), (10, D), dtype=float) for i in range(3)])
    with pytest.raises(bd.BlockdotError, match="chunk 1 killed every worker that tried it"):
        logistic(lazy, y[:30], client=client)


def test_the_room_of_a_temporary_store_is_given_back(folder):
    """Files that are removed take up room for as long as they are mapped."""
    X, y, _, _ = rows()
    logistic(lazily(X, 1_000), y).predict(lazily(X, 1_000))
    gc.collect()
    maps = Path("/proc/self/maps").read_text("utf-8").splitlines()
    assert [line for line in maps if str(folder) in line and "features.arrow" not in line] == []


MEASURED = """
import gc, resource, sys
import dask.array as da, numpy as np
import blockdot as bd

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def chunk(block_info=None):
    rows = block_info[None]["array-location"][0]
    rng = np.random.default_rng(rows[0])
    X = np.zeros((rows[1] - rows[0], 50))
    X[:, ::10] = rng.normal(size=(len(X), 5))
    return X

def collection(chunks):
    X = da.map_blocks(chunk, chunks=((25_000,) * chunks, (50,)), dtype=float)
    return X, (X[:, 0] > 0).astype(int)

est = bd.LogisticRegression(alpha=1e-3, max_iter=3, n_jobs=2, tol=1e-2)
est.fit(*collection(2)).predict(collection(2)[0])
before = peak()
X, y = collection(40)
est.fit(X, y)
fitted = peak()
est.predict(X)
print(X.nbytes / 2**20, fitted - before, peak() - fitted)
"""


def test_memory_is_that_of_a_few_chunks(folder):
    """400 MB in 40 chunks that are made when they are asked for, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr
    size, fit, predict = map(float, run.stdout.split())
    assert size > 380
    assert fit < 0.4 * size
    assert predict < 0.2 * size
    assert Path(folder).exists()
