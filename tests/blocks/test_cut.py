"""Where arrays are cut into blocks: at rows that make the work equal, wherever the rows lie."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from blockdot.blocks import arrays
from blockdot.blocks.arrays import Arrays, Columns, block_edges, blocks_for
from blockdot.blocks.dataset import Dataset


class Lengths:
    """Rows of which nothing is known but how many entries they have."""

    def __init__(self, lengths):
        self.lengths = np.asarray(lengths, np.int64)
        self.n_rows, self.n_entries, self.looks = len(lengths), int(self.lengths.sum()), 0

    def entries_before(self):
        self.looks += 1
        return np.concatenate([[0], np.cumsum(self.lengths)])


def edges_of(lengths):
    return block_edges([Lengths(lengths)])


def costs_of(lengths, edges):
    """Of each block."""
    costs = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64) + 8)])
    return np.diff(costs[edges])


def in_parts(lengths, cuts):
    return [Lengths(lengths[a:b]) for a, b in pairwise([0, *sorted(cuts), len(lengths)])]


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Sixteen blocks of rows that cost 320, and no block of more than 20 rows: a few rows show what many would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_ENTRIES", 20)
        patch.setattr(arrays, "_MOST_ROWS", 20)
        yield


ROWS = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 500), st.just(0)), max_size=120)


@given(lengths=ROWS)
def test_a_block_ends_with_the_row_that_brings_it_to_its_share(lengths):
    """The rule once more, row by row and with fractions in place of the rounded share."""
    n, total = len(lengths), sum(lengths) + 8 * len(lengths)
    expected, cost = [0], 0
    for row, length in enumerate(lengths, 1):
        cost += length + 8
        full = cost * blocks_for(total) >= total or cost * n >= total * 20
        if full or row - expected[-1] == 20 or row == n:
            expected.append(row)
            cost = 0
    assert edges_of(lengths) == expected


@given(lengths=ROWS)
def test_blocks_hold_all_rows_and_none_is_empty_or_long_or_costs_more_than_its_share_and_a_row(lengths):
    edges, n = edges_of(lengths), len(lengths)
    assert (edges[0], edges[-1]) == (0, n)
    rows, costs = np.diff(edges), costs_of(lengths, edges)
    assert np.all((rows > 0) & (rows <= 20))
    total = sum(lengths) + 8 * n
    blocks = blocks_for(total)
    most = np.array([8 + max(lengths[a:b]) for a, b in pairwise(edges)])
    assert np.all(costs * blocks < total + most * blocks)
    enough = (costs * blocks >= total) | (costs * n >= total * 20) | (rows == 20)
    assert np.all(enough[:-1])
    assert len(rows) <= max(blocks, -(-n // 20)) + n // 20


@given(lengths=ROWS, data=st.data())
def test_the_parts_that_rows_come_in_do_not_matter(lengths, data):
    cuts = data.draw(st.lists(st.integers(0, len(lengths)), max_size=12))
    parts = in_parts(lengths, cuts)
    edges = block_edges(parts)
    assert edges == edges_of(lengths)
    ends = np.cumsum([0, *(part.n_rows for part in parts)])
    for part, begin, end in zip(parts, ends[:-1], ends[1:], strict=True):
        assert part.looks <= any(begin <= edge <= end for edge in edges[1:])  # once, and only where a block ends


@given(lengths=ROWS, seed=st.integers(0, 99))
def test_neither_the_values_nor_the_format_nor_zeros_that_are_there_matter(lengths, seed):
    rng, d = np.random.default_rng(seed), 40
    lengths = np.minimum(lengths, d).astype(int)
    X = np.zeros((len(lengths), d))
    for row, length in enumerate(lengths):
        X[row, rng.permutation(d)[:length]] = rng.normal(size=length) + 9
    zeros = sp.csr_array(((X != 0) | (rng.random(X.shape) < 0.3)).astype(float))
    zeros.data = -X[zeros.tocoo().coords]  # some of them −0.0
    expected = edges_of(lengths)
    for form in (X, X.astype(np.float32), sp.csc_array(X), zeros, sp.csr_array(zeros[:, ::-1])):
        assert block_edges([Arrays.checked(form, Columns())]) == expected
        assert np.cumsum([0, *Dataset.from_arrays(form).block_rows]).tolist() == expected


@given(n=st.integers(0, 1000), length=st.integers(0, 1000), whole=st.booleans())
def test_rows_of_one_length_lie_equally_many_in_a_block(n, length, whole):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_MOST_ROWS", 20 if whole else 131_072)
        size = min(max(-(-n // blocks_for((length + 8) * n)), 1), arrays._MOST_ROWS)
        assert edges_of([length] * n) == [*range(0, n, size), n]


@pytest.fixture
def real_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "_ENTRIES", 1 << 18)
    monkeypatch.setattr(arrays, "_MOST_ROWS", 131_072)


@pytest.mark.parametrize(
    ("n", "length", "blocks"),
    [(0, 0, 0), (1, 0, 1), (65_535, 0, 1), (65_536, 0, 2), (32, 16_375, 1), (32, 16_376, 2), (200_000, 0, 4),
     (524_287, 0, 8), (524_288, 0, 16), (524_288, 2_000, 16), (2_621_440, 400, 20), (2_621_441, 400, 21), (3, 10**9, 3),
     (1 << 21, 1 << 40, 16)],
)  # fmt: skip
def test_the_default_cut_is_as_coarse_as_the_work_of_a_pass_allows(real_blocks, n, length, blocks):
    edges = edges_of(np.full(n, length))
    assert len(edges) - 1 == blocks
    assert len(set(np.diff(edges)[:-1])) <= 1


@pytest.mark.parametrize("order", [np.sort, lambda lengths: np.sort(lengths)[::-1], np.asarray])
def test_texts_are_cut_into_equal_work(real_blocks, order):
    """As many and as long as those of 20 newsgroups, the longest last, first or anywhere."""
    lengths = order(np.random.default_rng(0).lognormal(4.3, 0.8, 11_314).astype(int))
    edges = edges_of(lengths)
    costs = costs_of(lengths, edges)
    assert len(costs) == 4
    assert costs.max() < 1.01 * costs.mean()
    if order is np.sort:
        assert costs_of(lengths, [0, 2829, 5658, 8487, 11_314]).max() > 2 * costs.mean()  # of equal rows


def test_long_rows_behind_a_great_many_short_ones(real_blocks):
    """The cap binds where rows are short, and what is left is of equal work."""
    lengths = np.repeat([0, 200], [1_500_000, 1_500_000])
    edges = edges_of(lengths)
    assert edges[:12] == [*range(0, 1_500_000, 131_072)]
    costs = costs_of(lengths, edges)
    share = int(np.ceil(costs.sum() * 131_072 / len(lengths)))
    assert np.all((costs[12:-1] >= share) & (costs[12:-1] < share + 208))
