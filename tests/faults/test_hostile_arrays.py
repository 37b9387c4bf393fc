"""Arrays that lie about themselves: the right answer or an error in words, never a write outside an array.

scipy checks a matrix when it is made; here its parts are changed afterwards, as a careless or hostile caller can.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from forged_stores import put
from hypothesis import given
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.numbering import pack
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import BlockdotError, DataError, SpecError
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear


def matrix(format="csr"):
    """6 by 5, 9 entries."""
    rng = np.random.default_rng(3)
    dense = np.zeros((6, 5))
    dense.ravel()[rng.choice(30, 9, replace=False)] = rng.integers(1, 9, 9)
    return sp.coo_array(dense).asformat(format)


def as_dense(data):
    """What the blocks of a data set hold, in full."""
    out = np.zeros((data.n_rows, data.n_features))
    start = 0
    for i in range(data.n_blocks):
        block = data.source.block(i)
        out[start : start + block.n_rows, block.columns] = block.X.to_scipy().toarray()
        start += block.n_rows
    return out


def spoilt(format, **parts):
    X = matrix(format)
    for name, change in parts.items():
        setattr(X, name, change(getattr(X, name).copy()))
    return X


def cut(array):
    return array[:-2]


CRAFTED = {
    "csr index too large": ("csr", {"indices": put(3, 5)}, "indices from 0 to 5 for a width of 5"),
    "csr index huge": ("csr", {"indices": put(3, 2**31 - 1)}, "2147483647"),
    "csr index negative": ("csr", {"indices": put(0, -1)}, "indices from -1"),
    "csr index beyond 2^32": ("csr", {"indices": lambda a: put(2, 2**40)(a.astype(np.int64))}, "1099511627776"),
    "csr indices that are floats": ("csr", {"indices": lambda a: a.astype(float)}, "float64"),
    "csr fewer indices": ("csr", {"indices": cut}, "an indptr up to 9 for 7 indices"),
    "csr fewer values": ("csr", {"data": cut}, "for 9 indices and 7 values"),
    "csr values of two dimensions": ("csr", {"data": lambda a: a[:, np.newaxis]}, "dimensions"),
    "csr indptr beyond the end": ("csr", {"indptr": put(-1, 10**6)}, "an indptr up to 1,000,000"),
    "csr indptr that descends": ("csr", {"indptr": put(2, 9)}, "that ascend from 0"),
    "csr indptr that is negative": ("csr", {"indptr": put(1, -4)}, "that ascend from 0"),
    "csr indptr that begins late": ("csr", {"indptr": put(0, 1)}, "that ascend from 0"),
    "csr indptr too short": ("csr", {"indptr": cut}, "an indptr that is not 7 numbers"),
    "csc index too large": ("csc", {"indices": put(3, 6)}, "for a width of 6"),
    "csc indptr beyond the end": ("csc", {"indptr": put(-1, 10**6)}, "an indptr up to 1,000,000"),
    "bsr index too large": ("bsr", {"indices": put(0, 99)}, "99"),
    "coo row too large": ("coo", {"row": put(0, 6)}, "out of range"),
    "coo column negative": ("coo", {"col": put(0, -1)}, "out of range"),
    "coo fewer values": ("coo", {"data": cut}, "not one for each value"),
    "dia fewer lines": ("dia", {"data": lambda a: a[:-1]}, "not one line of data for each offset"),
    "lil column too large": ("lil", {"rows": put(2, [0, 77])}, "columns in row 2"),
    "lil fewer values": ("lil", {"data": put(0, [])}, "columns in row 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", CRAFTED)
def test_parts_that_do_not_fit_are_named(what):
    format, parts, words = CRAFTED[what]
    X = spoilt(format, **parts)
    with pytest.raises(DataError, match=words) as caught:
        Dataset.from_arrays(X)
    assert f"X is a {format} matrix of the shape (6, 5)" in str(caught.value)
    with pytest.raises(DataError, match=words):
        bd.LinearRegression().fit(X, np.arange(6.0))


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"])
def test_every_format_that_is_sound_is_read(format):
    X = matrix(format)
    before = X.copy()
    assert np.array_equal(as_dense(Dataset.from_arrays(X)), matrix().toarray())
    assert (before != X).nnz == 0


def test_rows_that_are_unsorted_or_say_a_column_twice_are_put_in_order():
    indptr, indices = np.array([0, 3, 3, 6]), np.array([4, 0, 4, 2, 1, 2])
    values = np.arange(1.0, 7.0)
    X = sp.csr_array((values, indices, indptr), shape=(3, 5))
    X.has_sorted_indices = X.has_canonical_format = True  # a lie, which scipy believes
    data = Dataset.from_arrays(X)
    assert np.array_equal(as_dense(data), [[2, 0, 0, 0, 4], [0] * 5, [0, 5, 10, 0, 0]])
    assert X.indices.tolist() == [4, 0, 4, 2, 1, 2]
    assert X.data.tolist() == values.tolist()


@pytest.mark.parametrize("width", [2**32 + 3, 2**40, 2**62])
def test_feature_ids_beyond_32_bits(width):
    X = sp.csr_array((np.ones(3), np.array([0, width - 1, width - 2]), np.array([0, 2, 3])), shape=(2, width))
    data = Dataset.from_arrays(X, [0.0, 1.0])
    assert data.n_features == width
    assert sorted(data.table.ids.tolist()) == [0, width - 2, width - 1]
    est = bd.LinearRegression(alpha=1e-3).fit(data)
    assert est.model_.predict(X).shape == (2,)
    if width >= 2**40:
        with pytest.raises(DataError, match=r"do not fit in memory.*model\.ids"):
            est.model_.dense_coef()


def test_entries_that_were_left_behind_the_end_do_not_count():
    X = matrix()
    X.indices, X.data = np.append(X.indices, [99, -7]), np.append(X.data, [np.nan, 1.0])
    assert np.array_equal(as_dense(Dataset.from_arrays(X)), matrix().toarray())


SMALL = st.integers(-3, 9)


@st.composite
def any_csr(draw):
    """A shape, and parts that may or may not fit it."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 5))
    length = draw(st.integers(0, 8))
    if draw(st.booleans()):
        ends = sorted(draw(st.lists(st.integers(0, length), min_size=rows, max_size=rows)))
        indptr = [0, *ends]
        indices = draw(st.lists(st.integers(0, max(columns - 1, 0)), min_size=length, max_size=length))
    else:
        indptr = draw(st.lists(SMALL, min_size=1, max_size=6))
        indices = draw(st.lists(SMALL, max_size=8))
    data = draw(st.lists(st.sampled_from([1.0, 2.0, 0.0, -3.0]), min_size=0, max_size=8))
    if draw(st.booleans()):
        data = (data + [1.0] * len(indices))[: len(indices)]
    kind = draw(st.sampled_from([np.int32, np.int64]))
    return (rows, columns), np.array(indptr, kind), np.array(indices, kind), np.array(data)


def by_hand(shape, indptr, indices, data):
    """What the parts mean, entry by entry; None if they mean nothing."""
    rows, columns = shape
    if len(indptr) != rows + 1 or indptr[0] != 0 or np.any(np.diff(indptr) < 0):
        return None
    if indptr[-1] > len(indices) or len(indices) != len(data):
        return None
    out = np.zeros(shape)
    for i in range(rows):
        for k in range(indptr[i], indptr[i + 1]):
            if not 0 <= indices[k] < columns:
                return None
            out[i, indices[k]] += data[k]
    return out


def test_any_parts_are_read_rightly_or_refused(examples):
    @examples(150)
    @given(any_csr(), st.integers(1, 5))
    def check(parts, block_rows):
        shape, indptr, indices, data = parts
        X = sp.csr_array(shape)
        X.indptr, X.indices, X.data = indptr, indices, data
        expected = by_hand(*parts)
        if expected is None:
            with pytest.raises(DataError):
                Dataset.from_arrays(X, block_rows=block_rows)
            return
        made = Dataset.from_arrays(X, block_rows=block_rows)
        if shape[0]:
            assert np.array_equal(as_dense(made), expected)
        w = np.arange(1.0, shape[1] + 1)
        with made.on(ThreadPool(1)) as blocks:
            found = [block.X.dot(w[block.columns]) for block in blocks.take(range(blocks.n_blocks))]
        if found:
            assert np.allclose(np.concatenate(found), expected @ w)

    check()


@pytest.mark.parametrize(
    ("indptr", "ids", "values"),
    [([0, 3], [0, 1], [1.0, 1.0]), ([1, 2], [0, 1], [1.0, 1.0]), ([0, 2, 1, 2], [0, 1], None), ([], [], None),
     ([0, 2], [0, 1], [1.0]), ([0, 1], [-1], None)],
)  # fmt: skip
def test_the_numbering_refuses_parts_that_do_not_fit(indptr, ids, values):
    stored = None if values is None else np.array(values, np.float32)
    with pytest.raises(DataError):
        pack(np.array(indptr, np.int64), np.array(ids, np.int64), stored)


def test_a_block_with_a_feature_twice_gets_no_places():
    block = Block.from_rows(np.array([0, 2]), np.array([3, 5]), None)
    with pytest.raises(DataError, match="two columns of a block are the feature"):
        block.placed(np.array([1, 1]), 4)


# --- losses and vectors of the user's own ---


class Strange:
    """A loss whose arrays have other shapes than z."""

    name = "strange"

    def __init__(self, wrong, shape):
        self.wrong, self.shape = wrong, shape

    def _array(self, z, what):
        return np.zeros(self.shape(len(z))) if self.wrong == what else np.ones_like(z)

    def value(self, y, z, s):
        return float(np.sum(z * z))

    def value_and_grad(self, y, z, s):
        return self.value(y, z, s), self._array(z, "grad")

    def hess_dot(self, y, z, s, u):
        return self._array(z, "hess")

    def predict(self, z):
        return z


SHAPES = {
    "longer": lambda n: n + 1000,
    "shorter": lambda n: max(n - 1, 0),
    "empty": lambda n: 0,
    "a column": lambda n: (n, 1),
    "a number": lambda n: (),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wrong", ["grad", "hess"])
def test_a_loss_that_returns_another_shape(wrong, shape):
    data = Dataset.from_arrays(matrix(), np.arange(6.0))
    with data.on(ThreadPool(1)) as blocks:
        objective = Objective(Strange(wrong, SHAPES[shape]), Linear(), L2(1e-3), blocks)
        w = np.zeros(objective.size)
        with pytest.raises(SpecError, match=r"the loss returned an array of the shape \(.*\); needed \(6,\)"):
            objective.value_and_grad(w) if wrong == "grad" else objective.hess_vec(w, np.ones_like(w))


@pytest.mark.parametrize("length", [0, 3, 4, 7, 100])
def test_a_parameter_vector_of_another_length(length):
    data = Dataset.from_arrays(matrix(), np.arange(6.0))
    with data.on(ThreadPool(1)) as blocks:
        objective = Objective(bd.Squared(), Linear(), L2(1e-3), blocks)
        for call in (objective.value, objective.value_and_grad, objective.hess_diag):
            with pytest.raises(SpecError, match="the parameter vector has the shape"):
                call(np.zeros(length))
        with pytest.raises(BlockdotError):
            objective.hess_vec(np.zeros(objective.size), np.zeros(length))


def test_a_layout_never_reaches_beyond_a_vector():
    """What is gathered for a block is by its own positions: a vector that is too short is an error, not a read."""
    data = Dataset.from_arrays(matrix())
    block = data.source.block(0)
    with pytest.raises(IndexError):
        Layout(1, 0).gather(np.zeros(len(data.table) - 1), block)
