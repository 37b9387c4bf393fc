"""Dask: the same bits as threads, for any number of workers, also when one of them dies."""

import os
import signal
import time
from contextlib import contextmanager

import dask
import numpy as np
import pytest
import scipy.sparse as sp
from distributed import Client, LocalCluster

from blockdot.blocks.dask import DaskPool
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.numerics import fingerprint, require_agreement
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError, ExecutionError
from blockdot.models.fit import Recipe, fit
from blockdot.objective.losses import Logistic
from blockdot.objective.multiclass import BinaryCrossEntropy
from blockdot.objective.passes import ValueAndGrad
from blockdot.objective.predictors import Linear

pytestmark = pytest.mark.timeout(240)


class Cluster(LocalCluster):
    """A cluster that does not mind a worker that dies before it has heard of it (distributed raises KeyError)."""

    def _update_worker_status(self, op, msg):
        if op == "add" or msg in self.scheduler_info["workers"]:
            super()._update_worker_status(op, msg)


@contextmanager
def connected(folder, allowed_failures):
    """A client of two worker processes; a call is given up when more workers than that have died of it."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": allowed_failures}),
        Cluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=str(folder),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with connected(tmp_path_factory.mktemp("dask"), 1) as client:
        yield client


@pytest.fixture(scope="module")
def data():
    """17 blocks that differ in their features."""
    rng = np.random.default_rng(11)
    n, d = 600, 60
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < rng.random(d) ** 3)
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) > 0).astype(float)
    return Dataset.from_arrays(X, y, rng.random(n) + 0.5, 0.1 * rng.normal(size=n), block_rows=36)


@pytest.fixture(scope="module")
def stored(data, tmp_path_factory):
    return data.save(tmp_path_factory.mktemp("data") / "rows.blocks")


def scaled(client, n):
    client.cluster.scale(n)
    client.wait_for_workers(n, timeout=60)
    deadline = time.monotonic() + 60
    while len(client.nthreads()) != n and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(client.nthreads()) == n
    return DaskPool(client)


def bits(total):
    vector = total.vector
    parts = (np.float64(total.value), np.float64(total.weight), vector.dense())
    return b"".join(part.tobytes() for part in parts)


def summed(data, pool, w):
    with data.on(pool) as blocks:
        return blocks.sum(ValueAndGrad(Logistic(), Linear()), w)


def pass_of(action):
    """A pass that does ``action``. Its class is made here: the workers cannot import this file, so it goes by value."""

    class Pass:
        layout = Layout()

        def __call__(self, block, *vectors):
            return action(block)

    return Pass()


def test_results_come_in_the_order_of_the_items(client):
    pool = scaled(client, 2)
    assert pool.n_workers == 2
    assert not pool.shares_memory

    def slow_at_first(item, factor, shift):
        time.sleep(0.05 if item == 0 else 0.0)
        return item * factor + shift

    assert list(pool.map(slow_at_first, range(40), 3, 1)) == [3 * i + 1 for i in range(40)]
    assert list(pool.map(abs, [])) == []
    assert list(pool.map(abs, [-2, -2, -2])) == [2, 2, 2]


def test_calls_are_made_each_time(client):
    """No result of an earlier call stands in for a new one."""
    pool = scaled(client, 2)

    def moment(item):
        return time.time_ns()

    assert len({*pool.map(moment, [1, 1, 1]), *pool.map(moment, [1, 1, 1])}) == 6


def test_nothing_stays_on_the_cluster(client):
    pool = scaled(client, 2)
    list(pool.map(abs, range(20), *[]))
    abandoned = pool.map(abs, range(20))
    next(abandoned)
    abandoned.close()
    deadline = time.monotonic() + 20
    while any(client.has_what().values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(client.has_what().values())


@pytest.mark.parametrize("where", ["memory", "store"])
def test_sums_have_the_same_bits_everywhere(client, data, stored, where):
    rows = data if where == "memory" else stored
    w = np.random.default_rng(1).normal(size=len(data.table) + 1)
    expected = bits(summed(data, ThreadPool(1), w))
    for threads in (1, 2, 3):
        assert bits(summed(rows, ThreadPool(threads), w)) == expected
    for workers in (1, 3, 2):
        assert bits(summed(rows, scaled(client, workers), w)) == expected


@pytest.mark.parametrize("where", ["memory", "store"])
def test_sums_over_several_label_columns_have_the_same_bits_everywhere(client, data, tmp_path, where):
    rng = np.random.default_rng(4)
    X, rows = sp.random_array((500, 40), density=0.2, rng=rng, format="csr"), rng.integers(0, 2, (500, 3))
    labelled = Dataset.from_arrays(X, rows, rng.random(500), block_rows=36)
    labelled = labelled if where == "memory" else labelled.save(tmp_path / "labels.blocks")
    w = rng.normal(size=3 * (len(labelled.table) + 1))

    def of(pool):
        with labelled.on(pool) as blocks:
            return bits(blocks.sum(ValueAndGrad(BinaryCrossEntropy(3), Linear(outputs=3)), w))

    assert {of(pool) for pool in (ThreadPool(1), ThreadPool(2), scaled(client, 3), scaled(client, 2))} == {
        of(ThreadPool(3))
    }


def test_data_in_memory_are_spooled_and_the_spool_is_removed(client, data):
    with data.on(scaled(client, 2)) as blocks:
        path = blocks.source.path
        assert path.is_dir()
        assert [block.row_id[0] for block in blocks.take([0, 1])] == [0, 36]
    assert not path.exists()


def test_map_over_blocks(client, stored):
    with stored.on(scaled(client, 2)) as blocks:
        rows = list(blocks.map(pass_of(lambda block: block.n_rows)))
    assert rows == [stored.source.block(i).n_rows for i in range(stored.n_blocks)]


def test_each_block_is_given_what_is_its_own(client, stored):
    class Pass:
        layout = Layout()

        def __call__(self, block, own):
            return float(block.n_rows * own[0])

    each = [np.full(3, float(i)) for i in range(stored.n_blocks)]
    expected = [float(n * i) for i, n in enumerate(stored.block_rows)]
    with stored.on(scaled(client, 2)) as blocks:
        assert list(blocks.map(Pass(), each=each)) == expected
        assert blocks.sum(Pass(), each=each) == sum(expected)


@pytest.mark.parametrize("error", [DataError("block 9 is strange"), ZeroDivisionError("no")], ids=["ours", "any"])
def test_an_error_in_a_task_arrives_as_itself(client, stored, error):
    def fail(block):
        if block.row_id[0] >= 300:
            raise error
        return 0.0

    with stored.on(scaled(client, 2)) as blocks, pytest.raises(type(error), match=str(error)) as caught:
        blocks.sum(pass_of(fail))
    assert type(caught.value) is type(error)


def test_targets_that_are_missing_are_named_on_a_worker_as_here(client):
    rows = Dataset.from_arrays(np.eye(6), block_rows=2)
    for pool in (ThreadPool(2), scaled(client, 2)):
        with pytest.raises(DataError, match="no targets y"):
            summed(rows, pool, np.zeros(7))


def test_a_fit_survives_the_death_of_a_worker_with_the_same_bits(client, data, stored):
    recipe = Recipe("logistic", alpha=1e-3, tol=1e-8, max_iter=100)
    expected, ended = fit(data, recipe, ThreadPool(2))
    assert ended.converged
    pool = scaled(client, 2)
    killed = []

    def kill_one(state):
        if state.iteration in (2, 5):
            process = next(iter(client.run(os.getpid).values()))
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    model, result = fit(stored, recipe, pool, callbacks=[kill_one])
    assert len(set(killed)) == 2
    assert result.trace == ended.trace
    assert model.ids.tobytes() == expected.ids.tobytes()
    assert model.coef.tobytes() == expected.coef.tobytes()
    assert model.tail.tobytes() == expected.tail.tobytes()


def test_a_sum_survives_a_worker_that_dies_in_the_middle_of_a_task(client, stored, tmp_path):
    marker = str(tmp_path / "died")

    def die_once(block):
        if block.row_id[0] == 0:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return block.weight
            os.kill(os.getpid(), signal.SIGKILL)
        return block.weight

    with stored.on(scaled(client, 2)) as blocks:
        total = blocks.sum(pass_of(die_once))
        assert (tmp_path / "died").exists()
        assert total == blocks.sum(pass_of(die_once))


@pytest.mark.parametrize("allowed_failures", [0, 99])
def test_a_task_that_kills_every_worker_is_given_up(stored, tmp_path, allowed_failures):
    """By the scheduler's count of its deaths, or by ours."""

    def die(block):
        os.kill(os.getpid(), signal.SIGKILL)

    named = r"part-00000\.arrow killed every worker"
    # a cluster of its own: it may have no workers left when this is over
    with (
        connected(tmp_path, allowed_failures) as client,
        stored.on(DaskPool(client)) as blocks,
        pytest.raises(ExecutionError, match=named),
    ):
        blocks.sum(pass_of(die))


def test_every_worker_is_asked_for_its_numerics(client):
    found = DaskPool(client).everywhere(fingerprint)
    assert found == dict.fromkeys(client.nthreads(), fingerprint())
    require_agreement(DaskPool(client), strict=True)
    with pytest.raises(ZeroDivisionError):
        DaskPool(client).everywhere(lambda: 1 / 0)
