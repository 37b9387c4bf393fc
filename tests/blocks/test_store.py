"""The store: what is written comes back without a copy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_stores import assert_same_data, content, example, names_beside

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.store import verify_store


def arrays_of(block):
    every = (
        block.X.indptr, block.X.indices, block.X.values, block.columns,
        block.y, block.sample_weight, block.offset, block.row_id,
    )  # fmt: skip
    return [array for array in every if array is not None]


@pytest.mark.parametrize("kind", ["float32", "float64", "absent"])
@pytest.mark.parametrize(("full", "labels"), [(True, None), (True, 5), (False, None)])
def test_round_trip(tmp_path, kind, full, labels):
    data = example(kind=kind, full=full, labels=labels)
    path = tmp_path / "deep" / "er" / "rows.blocks"
    assert_same_data(data.save(path), data)
    opened = Dataset.open(str(path))
    assert_same_data(opened, data)
    assert opened.path == path
    opened.verify()
    assert verify_store(path) == []
    assert names_beside(path) == ["rows.blocks"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(0, 8), st.sampled_from(["float32", "float64", "absent"]),
    st.integers(1, 40), st.booleans(),
)  # fmt: skip
def test_any_rows_make_the_round_trip(tmp_path_factory, seed, n, d, kind, block_rows, full):
    data = example(seed, n, d, kind, block_rows, full)
    path = tmp_path_factory.mktemp("stores") / "rows.blocks"
    saved = data.save(path)
    if n:
        assert_same_data(saved, data)
    assert (saved.shape, len(saved.table)) == (data.shape, len(data.table))
    assert verify_store(path) == []


def test_blocks_are_mapped_and_cannot_be_written_to(stored):
    indicators = example(labels=3).save(stored.path.with_name("labels.blocks"))
    for data in (stored, indicators):
        for i in range(data.n_blocks):
            for array in arrays_of(data.source.block(i)):
                assert not array.flags.writeable
                assert not array.flags.owndata
    block = stored.source.block(0)
    with pytest.raises(ValueError, match="read-only"):
        block.X.values[0] = 3.0
    assert stored.source.block(0) is block, "a block is mapped and checked once"


@pytest.mark.parametrize("labels", [None, 3])
def test_nothing_is_copied_when_a_block_is_read(stored, labels):
    """Every array lies inside the mapped file."""
    big = example(n=3000, d=50, block_rows=3000, labels=labels).save(stored.path.with_name("big.blocks"))
    arrays = arrays_of(big.source.block(0))
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = [line[0].split("-") for line in lines if line[-1] == str(big.path / "blocks/part-00000.arrow")]
    ranges = [(int(start, 16), int(end, 16)) for start, end in mapped]
    assert ranges
    for array in arrays:
        first = array.__array_interface__["data"][0]
        assert any(start <= first and first + array.nbytes <= end for start, end in ranges)


def test_the_same_data_give_the_same_bytes(tmp_path):
    first = example().save(tmp_path / "first.blocks")
    second = example().save(tmp_path / "elsewhere" / "second.blocks")
    again = first.save(tmp_path / "copy.blocks")
    assert content(first.path) == content(second.path) == content(again.path)
    assert first.digest == second.digest == again.digest
    assert first.digest != example(seed=8).save(tmp_path / "other.blocks").digest
    assert str(tmp_path).encode() not in b"".join(content(first.path).values())


def test_what_is_known_about_the_features_is_kept(tmp_path):
    data = replace(
        example(),
        features={"bits": 4, "nested": {"a": [1, 2]}},
        classes=("no", "yes"),
        files=("day1.gz",),
        rows_read=50,
        dropped={"no label": 10},
    )
    opened = data.save(tmp_path / "rows.blocks")
    for name in ("features", "classes", "files", "rows_read", "dropped"):
        assert getattr(opened, name) == getattr(data, name)


def test_labels_that_are_many_are_not_counted(tmp_path):
    X, y = np.ones((600, 1)), np.arange(600)
    opened = Dataset.from_arrays(X, y, block_rows=100).save(tmp_path / "many.blocks")
    assert opened.labels is None
    assert opened.has_y
    few = Dataset.from_arrays(X, y % 256, block_rows=100).save(tmp_path / "few.blocks")
    assert few.labels == tuple(map(float, range(256)))
