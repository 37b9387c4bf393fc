"""Features by their ids in the order in which they first came, and rows that are gone through once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdot.blocks.batches import Table
from blockdot.blocks.block import Block
from blockdot.blocks.registry import Registry
from blockdot.errors import DataError

IDS = st.integers(0, 2**62) | st.integers(0, 9) | st.integers(0, 2**20).map(lambda i: i << 40)


@given(st.lists(st.lists(IDS, max_size=40), max_size=12))
def test_places_are_in_the_order_of_coming(parts):
    registry, expected = Registry(np.array(parts[0] if parts else [], np.int64)), {}
    for part in parts:
        for i in part:
            expected.setdefault(i, len(expected))
        places = registry.places(np.array(part, np.int64))
        assert places.tolist() == [expected[i] for i in part]
        assert len(registry) == len(expected)
        assert registry.ids.tolist() == list(expected)


def test_a_table_grows_and_keeps_what_it_holds():
    table = Table.of([np.arange(5.0), np.arange(5.0) + 10], 2, 1)
    before = table.take(np.array([0, 1]))
    table.grow(2, [0.0, 1.0])
    assert len(table.rows) == 2
    table.grow(3, [0.0, 1.0])
    assert len(table.rows) == 6
    assert np.array_equal(table.take(np.array([0, 1])), before)
    assert np.array_equal(table.take(np.array([4])), [[0.0, 0.0, 4.0], [1.0, 1.0, 14.0]])


@pytest.mark.parametrize("top", [9, 2**40])
@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 0.0, 3.0], None])
def test_rows_that_are_gone_through_once_have_the_same_entries(top, values):
    indptr, ids = np.array([0, 2, 2, 4]), np.array([0, top, 3, top])
    stored = None if values is None else np.array(values)
    once, kept = (Block.from_rows(indptr, ids, stored, y=np.arange(3.0), once=flag) for flag in (True, False))
    for block in (once, kept):
        found = block.X.to_scipy().tocoo()
        entries = zip(
            found.coords[0].tolist(), block.columns[found.coords[1]].tolist(), found.data.tolist(), strict=True
        )
        expected = zip([0, 0, 2, 2], ids.tolist(), values or [1.0] * 4, strict=True)
        assert sorted(entries) == sorted(expected)
    assert (once.X.n_columns == 16) == (top == 9)
    assert (once.X.values is None) == (kept.X.values is None)
    with pytest.raises(DataError, match="feature id -1 is negative"):
        Block.from_rows(indptr, np.array([0, 1, -1, 2]), None, once=True)
