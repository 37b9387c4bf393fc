"""A store larger than the memory that a process may use: the same bits, within the limit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
import scipy.sparse as sp
from distributed import Client, LocalCluster
from model_bits import digest

import blockdot as bd
from blockdot.blocks import pages
from blockdot.blocks.dask import DaskPool
from blockdot.blocks.pages import Mapping, Pages, Spilled
from blockdot.blocks.store import new_store, write_block
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
RECIPE = Recipe("logistic", alpha=1e-3, max_iter=3, solver="lbfgs")

# The peak of a process's memory, mapped pages included, while it fits; how often pages were let go and asked for; and
# the model's digest.
FIT = """
import hashlib, json, sys
from collections import Counter
import blockdot as bd
from blockdot.blocks.pages import Mapping
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

def status(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))

class Counted:
    calls = Counter()

    def __init__(self, name):
        self.name, self.real = name, getattr(Mapping, name)

    def __get__(self, mapping, _):
        Counted.calls[self.name] += 1
        return self.real.__get__(mapping)

Mapping.release, Mapping.prefetch = Counted("release"), Counted("prefetch")
path, limit = sys.argv[1], json.loads(sys.argv[2])
pool = bd.ThreadPool(2, limit)
small = bd.Dataset.from_arrays([[1.0], [0.0]], [0, 1])
fit(small, Recipe("logistic", alpha=1.0, max_iter=3, solver="lbfgs"), pool)  # the libraries are loaded
before = status("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")  # VmHWM starts anew
model, _ = fit(bd.Dataset.open(path), Recipe("logistic", alpha=1e-3, max_iter=3, solver="lbfgs"), pool)
digest = hashlib.sha256(model.coef.tobytes() + model.tail.tobytes()).hexdigest()
peak = status("VmHWM:")
print(json.dumps({"digest": digest, "peak": peak, "grown": peak - before, **Counted.calls}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sixteen blocks of 40 MB."""
    rng = np.random.default_rng(0)
    rows, a_row, d = 60_000, 80, 50_000
    columns = np.sort(rng.integers(0, d // a_row, (rows, a_row)) + np.arange(a_row) * (d // a_row), axis=1)
    values = rng.normal(size=rows * a_row).astype(np.float32)
    X = sp.csr_array((values, columns.ravel(), np.arange(0, rows * a_row + 1, a_row)), shape=(rows, d))
    block = bd.Dataset.from_arrays(X, (X.sum(axis=1) > 0).astype(float), block_rows=rows).source.block(0)
    path = tmp_path_factory.mktemp("data") / "rows.blocks"
    with new_store(path) as writer:
        writer.commit([write_block(block, writer.directory, f"block-{i}") for i in range(16)], n_features=d)
    assert sum(file.stat().st_size for file in path.rglob("*.arrow")) > 600 * MIB
    return path


def fitted(store, limit):
    command = [sys.executable, "-c", FIT, str(store), json.dumps(limit)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return json.loads(done.stdout)


def test_a_store_larger_than_the_limit_is_fitted_within_it(store):
    free, tight = fitted(store, None), fitted(store, 300 * MIB)
    assert free["grown"] > 600 * MIB, "without a limit all pages stay"
    assert tight["grown"] < 300 * MIB
    assert tight["digest"] == free["digest"]
    assert "release" not in free
    assert tight["prefetch"] > 0.8 * tight["release"], "pages are asked for before they are needed again"


def test_the_more_memory_the_more_pages_stay(store):
    found = {limit: fitted(store, limit * MIB) for limit in (600, 900, 1200, 1800)}
    released = [of.get("release", 0) for of in found.values()]
    assert released == sorted(released, reverse=True)
    assert released[0] > released[1] > released[2] > released[3] == 0
    for limit, of in found.items():
        assert of["peak"] < 0.8 * limit * MIB
    assert len({of["digest"] for of in found.values()}) == 1


def test_dask_does_not_end_a_worker_for_its_mapped_pages(store, tmp_path):
    data = bd.Dataset.open(store)
    expected, _ = fit(data, RECIPE, bd.ThreadPool(2))
    with (
        dask.config.set({"distributed.worker.memory.terminate": 0.9, "distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=640 * MIB,
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster) as client,
        DaskPool(client) as pool,
    ):
        (process,) = client.run(os.getpid).values()
        model, _ = fit(data, RECIPE, pool)
        assert client.run(os.getpid).popitem()[1] == process, "the same process as before"
    assert digest(model) == digest(expected)


def test_what_may_stay(monkeypatch):
    made = Pages()
    monkeypatch.setattr(pages, "resident", lambda: 500.0)
    assert not made.are_too_many(10**15)
    assert made.keep_places(10**15, 10**15)
    try:
        made.allow(1000)
        assert not made.are_too_many(125)
        assert made.are_too_many(126)
        assert made.keep_places(100, 300)
        assert not made.keep_places(101, 300)
        assert not made.keep_places(1, 500)
    finally:
        made.allow(None)


def test_where_the_system_does_not_tell_what_a_process_has_its_pages_are_let_go(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    assert 0 < pages.resident() < 10**12
    monkeypatch.setattr(Path, "read_bytes", missing)
    assert pages.resident() > 10**15


def test_pages_that_were_let_go_come_back(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    mapping = Mapping(path)
    view = np.frombuffer(mapping.buffer, np.uint8)
    spilled = Spilled()
    moved = spilled.moved(np.arange(5000).reshape(50, 100))
    for _ in range(2):
        mapping.prefetch()
        assert view.tobytes() == path.read_bytes()
        assert np.array_equal(moved, np.arange(5000).reshape(50, 100))
        mapping.release()
        spilled.release()
    assert spilled.moved(np.zeros(0)).size == 0
    assert not list(Path(tmp_path).glob("blockdot-*")), "a file without a name"
