"""Stores whose files were changed, with a manifest that agrees: as somebody would make them who writes both."""

import json

import numpy as np
import pytest

from blockdot.blocks import opened
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST, FileEntry, Manifest
from blockdot.blocks.store import verify_store
from blockdot.errors import StoreError


def reseal(path, change):
    """Change what the manifest of the store ``path`` says, and give it the digest that belongs to that."""
    stated = json.loads((path / MANIFEST).read_bytes())
    change(stated)
    stated.pop("digest", None)
    (path / MANIFEST).write_bytes(Manifest.model_validate(stated).sealed().to_json())


def put_file(path, file, data):
    """Replace a file of a store by ``data``, with a manifest that agrees."""
    (path / file).write_bytes(data)

    def change(stated):
        for entry in (stated["table"], *stated["blocks"]):
            if entry["file"] == file:
                entry.update(FileEntry.of(file, data).model_dump())

    reseal(path, change)


def read_all(path):
    """Open a store as a new process would, and read every block."""
    opened._open.cache_clear()
    data = Dataset.open(path)
    for i in range(data.n_blocks):
        data.source.block(i)


def refuse(path, *words):
    """What is said of a store that is refused when it is opened or read; verify says it, too, with all ``words``."""
    with pytest.raises(StoreError) as caught:
        read_all(path)
    found = verify_store(path)
    assert found
    for text in (str(caught.value), "\n".join(found)):
        for word in words:
            assert str(word) in text
    return str(caught.value)


def put(place, value):
    """A change of an array."""

    def change(array):
        array[place] = value
        return array

    return change


def store_with_everything(folder):
    """The path of a store of three blocks: dense columns, values, weights, offsets."""
    rng = np.random.default_rng(7)
    n = 300
    X = rng.normal(size=(n, 12)) * (rng.random((n, 12)) < np.linspace(0.1, 0.9, 12))
    data = Dataset.from_arrays(X, rng.integers(0, 2, n), rng.random(n) + 0.1, rng.normal(size=n), block_rows=100)
    assert data.source.block(0).X.n_dense > 0
    return data.save(folder / "rows.blocks").path
