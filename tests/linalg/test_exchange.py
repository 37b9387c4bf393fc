"""From and to scipy, NumPy, Dask arrays, Parquet and stores."""

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from dask import delayed

import blockdot as bd
from blockdot.blocks.block import Block
from blockdot.errors import DataError, StoreError


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(9)
    A = rng.normal(size=(200, 12)) * (rng.random((200, 12)) < 0.3)
    A[:, 4] = 0.0
    A[10] = 0.0
    y, s, o = rng.integers(0, 3, 200).astype(float), rng.random(200) + 0.5, rng.normal(size=200)
    return bd.Dataset.from_arrays(A, y, s, o, block_rows=70), A


def same_rows(found, expected, *, targets=True):
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    assert found.block_rows == expected.block_rows
    for i in range(expected.n_blocks if targets else 0):
        a, b = found.source.block(i), expected.source.block(i)
        for name in ("y", "sample_weight", "offset", "row_id", "group"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize(
    "kind", [sp.csr_array, sp.csc_matrix, sp.coo_array, np.asarray, lambda A: A.tolist(), lambda A: sp.lil_array(A)]
)
def test_from_and_to_scipy_and_numpy(case, kind):
    _, A = case
    X = bd.BlockMatrix.of(kind(A))
    assert np.array_equal(X.toarray(), A)
    back = X.to_scipy()
    assert isinstance(back, sp.csr_array)
    assert back.has_sorted_indices
    assert (back != sp.csr_array(A)).nnz == 0
    assert np.array_equal(X.T.to_scipy().toarray(), A.T)


def scaled(case):
    data, A = case
    r, c = np.linspace(-1, 1, 200), np.linspace(1, 2, 12)
    return data.X.scale(r, c), r[:, np.newaxis] * A * c


def test_a_saved_view_has_the_targets_of_its_rows(case, tmp_path):
    data, A = case
    view, expected = scaled(case)
    saved = view.save(tmp_path / "scaled.blocks")
    np.testing.assert_allclose(saved.X.toarray(), expected, rtol=1e-15)
    assert bd.Dataset.open(tmp_path / "scaled.blocks").digest == saved.digest
    same_rows(data.X.save(tmp_path / "as-is.blocks"), data)
    half = view.save(tmp_path / "half.blocks", dtype=np.float32)
    assert half.source.block(0).X.to_scipy().dtype == np.float32
    few = data.X.occurring().save(tmp_path / "few.blocks")
    assert np.array_equal(few.X.toarray(), np.delete(A, 4, axis=1))
    with pytest.raises(StoreError, match="exists already"):
        data.X.save(tmp_path / "few.blocks")


def test_a_product_as_a_store_trains_as_the_array_does(case, tmp_path):
    data, A = case
    directions = data.X.centred().svd(3).vt.T
    stored = data.X.centred().matmul(directions, tmp_path / "scores.blocks")
    np.testing.assert_allclose(stored.X.toarray(), (A - A.mean(axis=0)) @ directions, atol=1e-13)
    assert stored.path == tmp_path / "scores.blocks"
    in_memory = data.X.centred().matmul(directions)
    same_rows(in_memory, stored)
    one_vs_rest = bd.LogisticRegression(alpha=0.1, multi_class="one-vs-rest")  # offsets say nothing to a softmax
    found = one_vs_rest.fit(stored).coef_
    y = np.concatenate([data.source.block(i).y for i in range(3)])
    s = np.concatenate([data.source.block(i).sample_weight for i in range(3)])
    assert found.shape == (3, 3)
    assert y.shape == s.shape
    np.testing.assert_allclose(found, one_vs_rest.fit(in_memory).coef_, atol=1e-12)
    hashed = sp.random_array((12, 5), density=0.5, rng=np.random.default_rng(1))
    sparse = data.X.matmul(hashed, tmp_path / "hashed.blocks")
    np.testing.assert_allclose(sparse.X.toarray(), A @ hashed.toarray(), atol=1e-14)
    assert sparse.n_features == 5


def test_dask_arrays_out(case, tmp_path):
    data, A = case
    for source in (data, data.save(tmp_path / "rows.blocks")):
        array = source.X.to_dask()
        assert array.shape == A.shape
        assert array.chunks == ((70, 70, 60), (12,))
        assert array.dtype == np.float64
        chunk = array.blocks[1].compute(scheduler="synchronous")
        assert isinstance(chunk, sp.csr_array)
        assert np.array_equal(chunk.toarray(), A[70:140])
        assert np.array_equal(array.compute(scheduler="synchronous").toarray(), A)
    view, expected = scaled(case)
    np.testing.assert_allclose(view.to_dask().compute(scheduler="synchronous").toarray(), expected, rtol=1e-15)
    nothing = bd.Dataset.from_arrays(np.empty((0, 3))).X.to_dask()
    assert nothing.shape == (0, 3)
    dense = data.X.to_dask().map_blocks(lambda chunk: chunk.toarray(), dtype=float, meta=np.empty((0, 0)))
    np.testing.assert_allclose(dense.sum(axis=0).compute(scheduler="synchronous"), A.sum(axis=0))


def test_dask_arrays_in(case):
    data, A = case
    for array in (
        da.from_array(A, chunks=(70, 5)),
        da.from_array(A, chunks=(70, 12)).map_blocks(sp.csr_array),
        data.X.to_dask(),
        da.concatenate([da.from_delayed(delayed(A[i : i + 70]), (np.nan, 12), float) for i in (0, 70, 140)]),
    ):
        X = bd.BlockMatrix.of(array)
        assert np.array_equal(X.toarray(), A)
        assert X.view.rows.data.block_rows == (70, 70, 60)
        identities = [X.view.rows.data.source.block(i).row_id for i in range(3)]
        assert np.array_equal(np.concatenate(identities), np.arange(200))
    with pytest.raises(DataError, match="needed 2"):
        bd.BlockMatrix.of(da.zeros(5))


@pytest.mark.parametrize("out", [None, "read.blocks"])
def test_parquet_both_ways(case, tmp_path, out):
    data, _ = case
    data.X.to_parquet(tmp_path / "rows.parquet")
    files = sorted(path.name for path in (tmp_path / "rows.parquet").iterdir())
    assert files == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    back = bd.BlockMatrix.from_parquet(tmp_path / "rows.parquet", None if out is None else tmp_path / out)
    same_rows(back.view.rows.data, data)
    assert back.shape == (200, 12)
    one = bd.BlockMatrix.from_parquet(tmp_path / "rows.parquet" / files[1])
    assert np.array_equal(one.toarray(), data.X.toarray()[70:140])
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert frame.columns.tolist() == ["indices", "values", "y", "weight", "offset", "row_id"]
    assert frame.shape == (200, 6)


def test_labels_and_groups_stay_with_their_rows(tmp_path):
    rng = np.random.default_rng(3)
    blocks = []
    for n in (4, 3):
        A = sp.csr_array(rng.integers(0, 3, (n, 5)).astype(float))
        y, group = rng.integers(0, 2, (n, 2)).astype(float), rng.integers(0, 9, n)
        blocks.append(Block.from_rows(A.indptr, A.indices, A.data, y=y, group=group, dtype=np.float64))
    data = bd.Dataset.from_blocks(blocks, 5)
    data.X.to_parquet(tmp_path / "rows.parquet")
    same_rows(bd.BlockMatrix.from_parquet(tmp_path / "rows.parquet").view.rows.data, data)
    same_rows(data.X.save(tmp_path / "rows.blocks"), data)
    same_rows(data.X.matmul(np.eye(5)), data)


def test_parquet_of_others(tmp_path):
    """Large lists, other numbers, absent values, several row groups, a folder with notes in it."""
    folder = tmp_path / "rows"
    folder.mkdir()
    table = pa.table({"indices": pa.array([[3, 1], [], [0]], pa.large_list(pa.int32())), "y": [1, 2, 3]})
    pq.write_table(table, folder / "b.parquet", row_group_size=2)
    pq.write_table(pa.table({"indices": [[2]], "values": pa.array([[0.5]], pa.list_(pa.float32())), "y": [0.0]}),
                   folder / "a.parquet")  # fmt: skip
    (folder / "_metadata.parquet").write_bytes(b"not read")
    X = bd.BlockMatrix.from_parquet(folder)
    assert X.toarray().tolist() == [[0, 0, 0.5, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert X.view.rows.data.block_rows == (1, 2, 1)
    assert X.view.rows.data.labels == (0.0, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"values": [[1.0]]}, "row group 0 has no column 'indices'; it has values"),
        ({"indices": [1]}, "indices has the type int64; needed lists"),
        ({"indices": [[1], None]}, "indices has empty cells"),
        ({"indices": [["a"]]}, "cannot be read as lists of int64"),
        ({"indices": [[1, None]]}, "indices has numbers that are missing"),
        ({"indices": [[-1]]}, "negative"),
        ({"indices": [[1, 2], [3, 3]]}, "an index occurs twice in a row"),
        ({"indices": [[1]], "values": [[1.0, 2.0]]}, "differ in length"),
        ({"indices": [[1]], "values": [[float("nan")]]}, "NaN or infinite"),
        ({"indices": [[1]], "y": [None]}, "y has cells that are empty"),
        ({"indices": [[1]], "y": ["yes"]}, "y cannot be read as numbers"),
        ({"indices": [[1]], "weight": [float("inf")]}, "weight has cells that are empty or not finite"),
    ],
)
def test_parquet_that_cannot_be_read(tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=words):
        bd.BlockMatrix.from_parquet(tmp_path / "rows.parquet", tmp_path / "out.blocks")
    assert not (tmp_path / "out.blocks").exists()


def test_files_that_are_no_parquet(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        bd.BlockMatrix.from_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        bd.BlockMatrix.from_parquet(tmp_path / "missing.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no Parquet file"):
        bd.BlockMatrix.from_parquet(tmp_path / "empty")
    table = pa.table({"indices": [[1]]}).replace_schema_metadata({"n_columns": "many"})
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(DataError, match="n_columns is b'many'"):
        bd.BlockMatrix.from_parquet(tmp_path / "odd.parquet")
