"""The summation tree: the same bits however the leaves are shared out, and sums over features."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.table import FeatureTable
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Span, fold, joined, roots, spans
from blockdot.errors import DataError, SpecError


def by_definition(leaves):
    """sum[lo, hi) = sum[lo, lo + p) + sum[lo + p, hi), p the largest power of two below hi − lo."""
    if len(leaves) == 1:
        return leaves[0]
    p = 1
    while 2 * p < len(leaves):
        p *= 2
    return by_definition(leaves[:p]) + by_definition(leaves[p:])


def shared_out(leaves, n_spans):
    n = len(leaves)
    pieces = [joined(((leaf, leaves[leaf.start]) for leaf in span.leaves()), n) for span in spans(n, n_spans)]
    return fold((piece for some in pieces for piece in some), n)


@dataclass(frozen=True)
class Written:
    """A sum that remembers its brackets."""

    text: str

    def __add__(self, other):
        return Written(f"({self.text}+{other.text})")


@pytest.mark.parametrize("n", range(1, 40))
def test_every_way_to_share_out_gives_the_tree_of_the_definition(n):
    leaves = [Written(str(i)) for i in range(n)]
    for at_most in range(1, n + 3):
        assert shared_out(leaves, at_most) == by_definition(leaves)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=200), st.integers(0, 50))
def test_bits_do_not_depend_on_the_number_of_workers(numbers, at_most):
    assert shared_out(numbers, at_most) == by_definition(numbers)


@given(st.integers(0, 3000), st.integers(-2, 100))
def test_spans_cover_all_blocks_and_differ_little(n, n_spans):
    parts = spans(n, n_spans)
    assert len(parts) <= max(n_spans, 1)
    assert [block for part in parts for block in range(part.start, part.stop)] == list(range(n))
    assert all(len(part) > 0 for part in parts)
    share = n / max(n_spans, 1)
    assert all(len(part) <= share + max(1, share / 4) for part in parts)


@given(st.integers(1, 3000), st.integers(1, 64))
def test_few_sums_are_left_of_a_span(n, n_spans):
    """What travels: at most two sums a level of the tree, and one where the spans fit it."""
    left = [len(joined(((leaf, 0) for leaf in span.leaves()), n)) for span in spans(n, n_spans)]
    assert max(left) <= 2 * math.log2(8 * 4)
    if n == n_spans * (n // n_spans) and (n // n_spans) & (n // n_spans - 1) == 0:
        assert set(left) == {1}


def test_no_block_has_no_sum():
    with pytest.raises(ValueError, match="no block"):
        fold([], 0)


@dataclass(frozen=True)
class Identify:
    layout: Layout = Layout(width=1, tail=1)  # noqa: RUF009

    def __call__(self, block, *vectors):
        rows = np.zeros(0) if not vectors else vectors[0]
        return Written(",".join(str(i) for i in block.row_id)) if not vectors else rows


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return Dataset.from_arrays(rng.normal(size=(23, 7)) * (rng.random((23, 7)) < 0.4), block_rows=2)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_three_verbs(data, workers):
    assert data.n_blocks == 12
    blocks = Blocks(data.source, ThreadPool(workers))
    assert (blocks.n_blocks, blocks.n_features) == (12, len(data.table))
    leaves = [Written(",".join(map(str, block.row_id))) for block in blocks.take(range(12))]
    assert blocks.sum(Identify()) == by_definition(leaves)
    assert list(blocks.map(Identify())) == leaves
    assert list(blocks.map(Identify(), ids=[5, 2, 5])) == [leaves[5], leaves[2], leaves[5]]
    w = np.arange(len(data.table) + 1.0)
    for block, own in zip(blocks.take(range(12)), blocks.map(Identify(), w), strict=True):
        assert own[:-1].tolist() == block.positions.tolist()
        assert own[-1] == w[-1]


@dataclass(frozen=True)
class Own:
    """What was handed out for each block, after the vectors."""

    layout: Layout = Layout()  # noqa: RUF009

    def __call__(self, block, *given):
        w, own = given if len(given) == 2 else (None, *given)
        return Written(f"{block.row_id[0]}:{own}:{0 if w is None else len(w) == len(block.columns)}")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_block_is_given_what_is_its_own(data, workers):
    blocks = Blocks(data.source, ThreadPool(workers))
    each = [f"item {i}" for i in range(12)]
    leaves = [Written(f"{2 * i}:item {i}:0") for i in range(12)]
    assert data.block_rows == (*[2] * 11, 1)
    assert blocks.sum(Own(), each=each) == by_definition(leaves)
    assert list(blocks.map(Own(), each=each)) == leaves
    assert list(blocks.map(Own(), ids=[5, 2], each=each)) == [leaves[5], leaves[2]]
    w = np.zeros(len(data.table))
    assert next(blocks.map(Own(), w, each=each)) == Written("0:item 0:True")


def test_threads_keep_the_order_of_the_items_and_hand_errors_on():
    pool = ThreadPool(3)
    assert list(pool.map(lambda item, shift: item + shift, range(100), 7)) == list(range(7, 107))
    assert list(pool.map(abs, [])) == []

    def strange(item):
        if item == 5:
            raise DataError("block 5 is strange")
        return item

    results = pool.map(strange, range(50))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="block 5 is strange"):
        next(results)


def test_threads_do_not_run_far_ahead():
    started = []
    results = ThreadPool(2).map(started.append, range(10_000))
    next(results)
    results.close()
    assert len(started) < 20


@pytest.mark.parametrize("n", [0, -1])
def test_a_pool_needs_a_thread(n):
    with pytest.raises(SpecError, match="at least 1"):
        ThreadPool(n)


@st.composite
def feature_sums(draw):
    """Blocks of a data set with k features, something for each of their features, and the layout."""
    k, width, tail = draw(st.sampled_from([1, 2, 5, 12, 60])), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = Layout(width, tail)
    sums = []
    for _ in range(draw(st.integers(1, 6))):
        positions = rng.permutation(k)[: rng.integers(0, rng.choice([k, k // 3 + 1]) + 1)].astype(np.int64)
        n = len(positions)
        block = Block.from_rows(np.array([0, n]), np.arange(n), None)
        block = replace(block, positions=positions, n_features=k)
        local = rng.normal(size=layout.size(n))
        expected = np.zeros(layout.size(k))
        expected[: k * width].reshape(k, width)[positions] = local[: n * width].reshape(n, width)
        expected[k * width :] = local[n * width :]
        sums.append((FeatureSum.of(block, local, layout), expected))
    return sums, k


@settings(deadline=None, max_examples=200)
@given(feature_sums())
def test_sums_over_features_add_as_dense_vectors_do(case):
    parts, _ = case
    for part, expected in parts:
        assert np.array_equal(part.dense(), expected)
        settled = part.settled()
        assert np.array_equal(settled.dense(), expected)
        assert settled.positions is None or np.all(np.diff(settled.positions) > 0)
    total = by_definition([part for part, _ in parts])
    assert np.array_equal(total.dense(), by_definition([expected for _, expected in parts]))


def test_gather_takes_the_rows_of_the_block_and_the_tail():
    block = Block.from_rows(np.array([0, 2]), np.array([10, 20]), None)
    layout = Layout(width=2, tail=1)
    w = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 99])
    with pytest.raises(ValueError, match="no data set"):
        layout.gather(w, block)
    assert layout.gather(w, replace(block, positions=np.array([3, 1]))).tolist() == [6, 7, 2, 3, 99]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 10))
def test_the_table_of_features(seed, n, block_rows):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (n, 8)) * (rng.random((n, 8)) < 0.5)
    table = Dataset.from_arrays(X, block_rows=block_rows).table
    counts = np.count_nonzero(X, axis=0)
    occurring = sorted(np.flatnonzero(counts), key=lambda j: (-counts[j], j))
    assert table.ids.tolist() == occurring
    assert table.ids.dtype == table.count.dtype == np.int64
    assert table.count.tolist() == counts[occurring].tolist()
    assert table.total.tolist() == X.sum(axis=0)[occurring].tolist()
    assert table.squares.tolist() == (X**2).sum(axis=0)[occurring].tolist()
    assert table.locate(table.ids).tolist() == list(range(len(table)))
    assert table.find(np.array([-7, 8, 10**12])).tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match="feature 8 is not among"):
        table.locate(np.array([8]))


def test_the_table_of_nothing():
    table = FeatureTable.merged([])
    assert len(table) == 0
    assert table.find(np.array([3])).tolist() == [-1]


@pytest.mark.parametrize("n_blocks", [1, 2, 7, 8, 11, 64, 100])
def test_roots_are_what_joining_leaves(n_blocks):
    for start in range(n_blocks):
        for stop in range(start + 1, n_blocks + 1):
            left = joined(((Span(i, i + 1), 1) for i in range(start, stop)), n_blocks)
            assert roots(Span(start, stop), n_blocks) == [span for span, _ in left]


def test_threads_say_of_an_overflow_what_their_caller_says():
    def overflow(number):
        return np.float64(1e308) * number

    with np.errstate(over="ignore"):
        assert list(ThreadPool(2).map(overflow, [10.0] * 9)) == [np.inf] * 9
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        list(ThreadPool(2).map(overflow, [10.0] * 9))
