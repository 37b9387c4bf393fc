"""A store to read and to damage."""

import pytest
from small_stores import example


@pytest.fixture
def stored(tmp_path):
    return example().save(tmp_path / "rows.blocks")
