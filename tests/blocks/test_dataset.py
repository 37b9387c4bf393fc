"""Data sets from arrays: what is refused and where it is, and that every cut holds the same rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks import arrays
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError


def rebuilt(data):
    """X (dense), y, weights, offsets and row ids, put together from the blocks."""
    X = np.zeros(data.shape)
    columns = {name: [] for name in ("y", "sample_weight", "offset", "row_id")}
    start = 0
    for i in range(data.n_blocks):
        block = data.source.block(i)
        local = block.X.to_scipy().toarray()[:, : len(block.columns)]
        X[start : start + block.n_rows, block.columns] = local
        start += block.n_rows
        for name, parts in columns.items():
            parts.append(getattr(block, name))
    assert start == data.n_rows
    absent = {name: all(part is None for part in parts) for name, parts in columns.items()}
    return X, {name: None if absent[name] else np.concatenate(parts) for name, parts in columns.items()}


FORMATS = [sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix, sp.lil_array, np.asarray, np.ndarray.tolist]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.bool, np.uint8])
def test_any_matrix(form, dtype):
    rng = np.random.default_rng(1)
    dense = (rng.integers(1, 5, (11, 6)) * (rng.random((11, 6)) < 0.4)).astype(dtype)
    dense[0, 0] = 1
    data = Dataset.from_arrays(form(dense), block_rows=4)
    X, _ = rebuilt(data)
    assert np.array_equal(X, dense)
    assert (data.n_rows, data.n_features, data.nnz, data.n_blocks) == (11, 6, np.count_nonzero(dense), 3)
    values = [data.source.block(i).X.values for i in range(3)]
    kept = np.float32 if dtype is np.float32 and form is not np.ndarray.tolist else np.float64
    assert all(v is None or v.dtype == kept for v in values)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 30), st.integers(0, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_cut_holds_the_same_rows(n, d, block_rows, seed):
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.4)
    y, weight, offset = rng.normal(size=(3, n))
    weight = np.abs(weight)
    data = Dataset.from_arrays(dense, y, weight, offset, block_rows=block_rows)
    X, columns = rebuilt(data)
    assert np.array_equal(X, dense)
    assert data.n_blocks == -(-n // block_rows)
    if n:
        assert np.array_equal(columns["y"], y)
        assert np.array_equal(columns["sample_weight"], weight)
        assert np.array_equal(columns["offset"], offset)
        assert columns["row_id"].tolist() == list(range(n))
        assert data.weight == pytest.approx(weight.sum())
    assert data.has_y == (n > 0)


def test_absent_columns_stay_absent():
    data = Dataset.from_arrays(np.eye(3))
    _, columns = rebuilt(data)
    assert columns["y"] is None
    assert columns["sample_weight"] is None
    assert columns["offset"] is None
    assert not data.has_y
    assert data.labels is None
    assert data.weight == 3.0


def test_labels_are_the_distinct_targets():
    assert Dataset.from_arrays(np.eye(4), [3, 1, 3, -1], block_rows=1).labels == (-1.0, 1.0, 3.0)
    assert Dataset.from_arrays(np.eye(300), np.arange(300.0), block_rows=7).labels is None


def test_zeros_that_are_there_do_not_change_the_cut(monkeypatch):
    monkeypatch.setattr(arrays, "_ENTRIES", 90)
    X = np.zeros((20, 3))
    X[::2] = 1.0
    there = sp.csr_array((X.ravel(), np.tile(np.arange(3), 20), np.arange(0, 61, 3)), shape=X.shape)
    assert there.nnz == 60
    assert Dataset.from_arrays(there).block_rows == Dataset.from_arrays(X).block_rows == (10, 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array], ids=lambda form: form.__name__)
def test_a_value_that_is_not_finite_is_named_by_row_and_column(bad, form):
    X = np.zeros((5, 4))
    X[0, 1], X[3, 2] = 1.0, bad
    with pytest.raises(DataError, match=rf"X\[3, 2\] is {bad}"):
        Dataset.from_arrays(form(X), block_rows=2)


def test_the_row_is_right_after_empty_rows():
    X = sp.csr_array(([np.nan], ([4], [7])), shape=(6, 9))
    with pytest.raises(DataError, match=r"X\[4, 7\] is nan"):
        Dataset.from_arrays(X)


@pytest.mark.parametrize("name", ["y", "sample_weight", "offset"])
class TestColumns:
    def test_not_finite(self, name):
        column = np.array([1.0, 1.0, np.nan, 1.0])
        with pytest.raises(DataError, match=rf"{name}\[2\] is nan"):
            Dataset.from_arrays(np.eye(4), **{name: column}, block_rows=1)

    @pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (0,), ()])
    def test_another_length(self, name, shape):
        with pytest.raises(DataError, match=rf"{name} has the shape .*needed \(4,\)"):
            Dataset.from_arrays(np.eye(4), **{name: np.ones(shape)})

    @pytest.mark.parametrize("column", [["a", "b"], [None, {}], [[1], [1, 2]]])
    def test_not_numbers(self, name, column):
        with pytest.raises(DataError, match=f"{name} cannot be read as numbers"):
            Dataset.from_arrays(np.eye(2), **{name: column})


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csr_array, sp.coo_matrix, np.ndarray.tolist])
def test_a_column_of_targets_for_each_label(form):
    Y = np.random.default_rng(3).integers(0, 2, (11, 4))
    data = Dataset.from_arrays(np.eye(11), form(Y), block_rows=4)
    _, columns = rebuilt(data)
    assert np.array_equal(columns["y"], Y)
    assert (data.n_labels, data.labels, data.has_y) == (4, None, True)
    for i in range(data.n_blocks):
        block = data.source.block(i)
        assert block.y.dtype == np.float64
        assert block.y.flags.c_contiguous
        assert np.array_equal(np.concatenate([tile.y for tile in block.tiles(rows=3)]), block.y)
    with pytest.raises(DataError, match="y has 4 columns, one for each label that a row can have; needed one class"):
        data.encoded((0.0, 1.0))


@pytest.mark.parametrize("bad", [0.5, -1.0, 2.0, np.nan])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_a_label_that_is_neither_there_nor_not_is_named_by_row_and_column(bad, form):
    Y = np.zeros((5, 3))
    Y[3, 1] = bad
    with pytest.raises(DataError, match=rf"y\[3, 1\] is {bad:g}; needed 0 or 1"):
        Dataset.from_arrays(np.eye(5), form(Y), block_rows=2)


@pytest.mark.parametrize("shape", [(4, 3), (5, 1), (5, 0), (5, 2, 2)])
def test_label_columns_of_another_shape(shape):
    with pytest.raises(DataError, match=r"y has the shape .*needed \(5,\).* or \(5, L\)"):
        Dataset.from_arrays(np.eye(5), np.ones(shape))


def test_a_negative_weight():
    with pytest.raises(DataError, match=r"sample_weight\[3\] is -0.5"):
        Dataset.from_arrays(np.eye(5), sample_weight=[1, 0, 2, -0.5, 3])


def test_weights_that_are_all_zero():
    with pytest.raises(DataError, match="every sample_weight is"):
        Dataset.from_arrays(np.eye(3), sample_weight=np.zeros(3))


@pytest.mark.parametrize("X", [np.zeros(3), np.zeros((2, 2, 2)), 5.0], ids=["1-D", "3-D", "0-D"])
def test_x_needs_two_dimensions(X):
    with pytest.raises(DataError, match="needed 2: rows and features"):
        Dataset.from_arrays(X)


@pytest.mark.parametrize(
    "X", [np.array([["a"]]), np.array([[1j]]), np.array([[object()]]), np.array([["2020-01-01"]], "M8[D]")]
)
def test_x_needs_real_numbers(X):
    with pytest.raises(DataError, match="needed real numbers"):
        Dataset.from_arrays(X)


def unsorted_with_duplicates(index_type=np.int32):
    """[[0, 0, 5], [0, 0, 0], [4, 0, 0]], its entries not sorted and one given in two parts."""
    return sp.csr_array(
        (
            np.array([2.0, 3.0, 1.0, -1.0, 4.0]),
            np.array([2, 2, 1, 1, 0], index_type),
            np.array([0, 4, 4, 5], index_type),
        ),
        shape=(3, 3),
    )


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_duplicates_are_summed_and_inputs_not_written_to(index_type):
    X = unsorted_with_duplicates(index_type)
    y, weight, offset = np.array([0.0, 1.0, 0.0]), np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    arrays = (X.data, X.indices, X.indptr, y, weight, offset)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    data = Dataset.from_arrays(X, y, weight, offset, block_rows=2)
    found, _ = rebuilt(data)
    assert found.tolist() == [[0, 0, 5], [0, 0, 0], [4, 0, 0]]
    for array, copy in zip(arrays, before, strict=True):
        assert np.array_equal(array, copy)
    assert not X.has_sorted_indices


def test_dense_and_canonical_inputs_are_not_written_to_either():
    X = np.array([[2.0, 0.0], [1.0, 3.0]])
    matrix = sp.csr_array(X)
    matrix.sum_duplicates()
    for array in (X, matrix.data, matrix.indices, matrix.indptr):
        array.flags.writeable = False
    for form in (X, matrix):
        data = Dataset.from_arrays(form, [0, 1], block_rows=1)
        with data.on(ThreadPool(2)) as blocks:
            assert len(blocks.take([0, 1])) == 2
    assert matrix.toarray().tolist() == X.tolist()


def test_entries_that_cancel_are_explicit_zeros_or_nothing():
    """1 and −1 at the same place: the feature may count as occurring, the product is 0 all the same."""
    data = Dataset.from_arrays(unsorted_with_duplicates())
    block = data.source.block(0)
    assert block.X.dot(np.ones(block.X.n_columns)).tolist() == [5.0, 0.0, 4.0]


def test_wide_matrices_with_64_bit_indices():
    width = 2**40
    X = sp.coo_array(([1.0, 2.0, 3.0], ([0, 1, 1], [2**35, 5, 2**40 - 1])), shape=(2, width)).tocsr()
    assert X.indices.dtype == np.int64
    data = Dataset.from_arrays(X, block_rows=1)
    assert data.shape == (2, width)
    assert sorted(data.table.ids.tolist()) == [5, 2**35, 2**40 - 1]
    assert data.source.block(1).columns.tolist() == [5, 2**40 - 1]
    assert data.source.block(1).X.indices.dtype == np.uint32


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_no_features(form):
    data = Dataset.from_arrays(form(np.empty((3, 0))), [1, 2, 3])
    assert data.shape == (3, 0)
    assert len(data.table) == data.nnz == 0
    assert data.source.block(0).y.tolist() == [1.0, 2.0, 3.0]


def test_no_rows():
    data = Dataset.from_arrays(np.empty((0, 4)))
    assert (data.shape, data.n_blocks, len(data.table)) == ((0, 4), 0, 0)


def test_one_row():
    data = Dataset.from_arrays([[0.0, 7.0]], [1.0], [2.0], [3.0])
    assert (data.shape, data.n_blocks, data.nnz, data.weight) == ((1, 2), 1, 1, 2.0)
    assert data.table.ids.tolist() == [1]


def test_rows_without_entries():
    data = Dataset.from_arrays(np.zeros((5, 3)), np.arange(5), block_rows=2)
    assert (data.n_blocks, data.nnz, len(data.table)) == (3, 0, 0)
    X, columns = rebuilt(data)
    assert not X.any()
    assert columns["y"].tolist() == [0, 1, 2, 3, 4]


def test_encoded_replaces_labels_by_places():
    data = Dataset.from_arrays(np.eye(4), [7, -2, 7, -2], block_rows=3)
    encoded = data.encoded(data.labels)
    assert encoded.labels == (0.0, 1.0)
    assert [encoded.source.block(i).y.tolist() for i in (0, 1)] == [[1, 0, 1], [0]]
    assert data.source.block(0).y.tolist() == [7, -2, 7]


def test_a_strange_label_is_named_by_block_and_row():
    data = Dataset.from_arrays(np.eye(4), [0, 1, 1, 5], block_rows=3)
    with pytest.raises(DataError, match="block 1, row 0: found the label 5, needed one of 0, 1"):
        data.encoded((0.0, 1.0)).source.block(1)


def test_data_in_memory_are_summed_where_they_are_and_verify():
    data = Dataset.from_arrays(np.eye(4), block_rows=2)
    with data.on(ThreadPool(1)) as blocks:
        assert blocks.source is data.source
    data.verify()


def test_a_data_set_is_shown_in_a_line(tmp_path):
    data = Dataset.from_arrays(np.eye(4)[:, :3], np.zeros(4), block_rows=2)
    assert repr(data) == "<Dataset of 4 rows in 2 blocks, 3 of 3 features occur, 3 non-zeros: in memory>"
    assert repr(data.save(tmp_path / "rows.blocks")).endswith(f"non-zeros: {tmp_path / 'rows.blocks'}>")
