"""A fit goes on through what happens to a cluster, to the same bits: schedulers and workers in their own processes."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from dask_processes import Processes, those_at_work
from distributed import Client
from model_bits import digest

import blockdot as bd
from blockdot.blocks import cluster as connection
from blockdot.blocks.dask import DaskPool
from blockdot.blocks.numerics import require_agreement
from blockdot.blocks.parcel import Mailbox
from blockdot.errors import ExecutionError
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

pytestmark = [
    pytest.mark.timeout(240),
    # a client of Dask whose scheduler was killed leaves its sockets to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RECIPE = Recipe("logistic", alpha=1e-3, tol=1e-9, max_iter=100, solver="lbfgs")


@pytest.fixture
def processes(tmp_path):
    """A scheduler and two workers."""
    made = Processes(tmp_path)
    try:
        made.start_scheduler()
        for _ in range(2):
            made.start_worker()
        yield made
    finally:
        made.end_all()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """23 blocks in a store, and the digest of the model that threads fit to them."""
    rng = np.random.default_rng(11)
    n, d = 1200, 9000
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.02)
    y = (X[:, :50] @ rng.normal(size=50) + rng.logistic(size=n) > 0).astype(float)
    data = bd.Dataset.from_arrays(X, y, block_rows=53).save(tmp_path_factory.mktemp("data") / "rows.blocks")
    assert data.n_blocks == 23
    model, result = fit(data, RECIPE, bd.ThreadPool(2))
    assert result.converged
    assert result.iterations > 8
    return data, digest(model)


def fitted(stored, pool, during=None, at=4):
    """The digest of the model that ``pool`` fits; ``during`` is called in the ``at``-th iteration."""
    data, expected = stored

    def watch(state):
        if state.iteration == at and during is not None:
            during()

    model, _ = fit(data, RECIPE, pool, callbacks=[watch])
    assert digest(model) == expected


def connected(processes, workers=2):
    client = Client(processes.address, set_as_default=False, timeout=60)
    client.wait_for_workers(workers, timeout=60)
    return client


@pytest.fixture(params=["shared memory", "sockets"])
def way(request, monkeypatch):
    """How large vectors travel."""
    if request.param == "sockets":
        monkeypatch.setattr(Mailbox, "made", lambda: None)
    elif not Path("/dev/shm").is_dir():
        pytest.skip("this machine has no folder in memory")
    return request.param


def test_a_frozen_worker_is_done_without(processes, stored, way):
    with connected(processes) as client, DaskPool(client) as pool:
        began = []

        def freeze():
            began.append(time.monotonic())
            processes.workers[0].send_signal(signal.SIGSTOP)

        fitted(stored, pool, freeze)
        assert time.monotonic() - began[0] < 60
        assert len(pool.cluster.crew.silent) == 1
        assert (pool.cluster.box is not None) == (way == "shared memory")
        processes.workers[0].send_signal(signal.SIGCONT)
        fitted(stored, pool)


def test_workers_that_are_killed_and_others_that_come(processes, stored, way):
    with connected(processes) as client, DaskPool(client) as pool:

        def exchange():
            processes.end(processes.workers[0])
            processes.start_worker()
            processes.start_worker()

        fitted(stored, pool, exchange)
        client.wait_for_workers(3, timeout=60)
        fitted(stored, pool)
        assert pool.n_workers == 3


def test_workers_that_are_asked_to_leave(processes, stored):
    with connected(processes) as client, DaskPool(client) as pool:
        for worker in list(processes.workers):

            def leave(worker=worker):
                processes.start_worker()
                client.wait_for_workers(3, timeout=60)
                worker.terminate()

            fitted(stored, pool, leave)
            assert worker.wait(30) is not None
        assert {worker.poll() for worker in processes.workers[2:]} == {None}


def test_a_scheduler_that_is_killed_and_started_again(processes, stored, way):
    with connected(processes) as client, DaskPool(client) as pool:

        def restart():
            processes.end(processes.scheduler)
            for worker in processes.workers:
                processes.end(worker)
            processes.start_scheduler()
            processes.start_worker()

        fitted(stored, pool, restart)
        assert pool.cluster.client is not client


def test_a_scheduler_that_is_lost_in_the_middle_of_a_pass(processes, stored):
    with connected(processes) as client, DaskPool(client) as pool:

        def restart():
            time.sleep(1.0)
            processes.end(processes.scheduler)
            processes.start_scheduler()
            for worker in processes.workers:
                worker.wait(60)  # Dask's workers end with their scheduler
            processes.start_worker()

        def slow(item):
            time.sleep(0.5)
            return 7 * item

        thread = threading.Thread(target=restart)
        thread.start()
        assert list(pool.map(slow, range(12))) == [7 * i for i in range(12)]
        thread.join()


def test_a_scheduler_that_does_not_come_back_is_named(processes, stored):
    with connected(processes) as client, DaskPool(client, wait_seconds=3) as pool:
        where = f"the scheduler at {processes.address} is gone, and has not come back for 3 s"
        with pytest.raises(ExecutionError, match=where):
            fitted(stored, pool, lambda: processes.end(processes.scheduler))


def test_no_worker_is_left_and_one_comes(processes, stored):
    with connected(processes) as client, DaskPool(client) as pool:

        def leave():
            for worker in processes.workers:
                processes.end(worker)
            threading.Timer(3.0, processes.start_worker).start()

        fitted(stored, pool, leave)


def test_no_worker_is_left_and_none_comes(processes, stored, caplog):
    with connected(processes) as client, DaskPool(client, wait_seconds=3) as pool:

        def leave():
            for worker in processes.workers:
                processes.end(worker)

        with pytest.raises(ExecutionError, match=f"{processes.address} has had no worker .*for 3 s; start one"):
            fitted(stored, pool, leave)
    assert "waiting for a worker" in caplog.text


def test_a_call_that_takes_far_too_long_is_made_again(processes, stored, tmp_path, monkeypatch):
    monkeypatch.setattr("blockdot.blocks.dask._SLOW", 2.0)
    marker = str(tmp_path / "first")

    def stuck_once(item):
        if item == 1:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return item
            time.sleep(3600)
        return item

    with connected(processes) as client, DaskPool(client) as pool:
        assert list(pool.map(stuck_once, [0, 1])) == [0, 1]


def hidden(*folders):
    """The start of a command line that sees ``folders`` empty, in a mount namespace of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mounts = " && ".join(f"mount -t tmpfs none {folder}" for folder in folders)
    before = ["unshare", "--mount", *user, "sh", "-c", f'{mounts} && exec "$@"', "worker"]
    try:
        subprocess.run([*before, "true"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a process cannot be given a file system of its own here: {error}")
    return before


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_workers_that_cannot_see_the_store_are_sent_its_files(tmp_path, stored, machine):
    data, _ = stored
    processes = Processes(tmp_path)
    before = hidden(data.path.parent, *(["/dev/shm"] if machine == "another" else []))
    try:
        processes.start_scheduler()
        for _ in range(2):
            processes.start_worker(*before)
        with connected(processes) as client, DaskPool(client) as pool:

            def exchange():
                """The copies of the worker that comes are sent again."""
                processes.end(processes.workers[0])
                processes.start_worker(*before)

            fitted(stored, pool, exchange)
            assert (pool.cluster.box is None) == (machine == "another")
        copies = [sorted(p.name for p in tmp_path.glob(f"worker-{i}/**/blockdot-stores/*/blocks/*")) for i in (1, 2, 3)]
        names = [Path(entry).name for entry in map(data.source.name, range(data.n_blocks))]
        assert set(copies[1]) | set(copies[2]) == set(names)
        assert copies[0]
        damaged = sorted(tmp_path.glob("worker-2/**/blockdot-stores/*/blocks/*"))[0]
        assert damaged.read_bytes() == (data.path / "blocks" / damaged.name).read_bytes()
    finally:
        processes.end_all()


def test_a_worker_that_gets_a_call_before_its_greeting_asks_for_files_as_others_do(tmp_path, stored, monkeypatch):
    """A worker that was started again at the same address is not greeted a second time."""

    async def not_greeted(self, name):
        self._known[name] = False

    monkeypatch.setattr(connection.Cluster, "_greet", not_greeted)
    processes = Processes(tmp_path)
    before = hidden(stored[0].path.parent)
    try:
        processes.start_scheduler()
        processes.start_worker(*before)
        with connected(processes, 1) as client, DaskPool(client) as pool:
            fitted(stored, pool)
    finally:
        processes.end_all()


def test_a_worker_of_another_version_is_refused(processes, monkeypatch):
    with connected(processes) as client, DaskPool(client) as pool:
        monkeypatch.setattr(connection.blockdot, "__version__", "999")
        with pytest.raises(ExecutionError, match=r"worker tcp://127.0.0.1:\d+ has .*, and this process blockdot 999"):
            pool.map(abs, [1]).__next__()


@pytest.mark.parametrize("strict", [True, False])
def test_a_worker_that_comes_during_a_fit_is_asked_as_the_first_ones_were(processes, stored, strict, caplog):
    other = ["env", "NUMBA_CPU_NAME=nehalem", "OPENBLAS_CORETYPE=Nehalem"]  # computes other numbers
    came, at_work = [], set()

    def join():
        before = set(client.nthreads())
        processes.start_worker(*other)
        client.wait_for_workers(3, timeout=60)
        came.extend(set(client.nthreads()) - before)

    with connected(processes) as client, DaskPool(client) as pool:
        require_agreement(pool, strict=True)
        require_agreement(pool, strict=strict)
        if strict:
            fitted(stored, pool, join)  # to the same bits
        else:
            join()
        deadline = time.monotonic() + 60
        while came[0] not in caplog.text and time.monotonic() < deadline:
            at_work.update(those_at_work(pool))
        at_work.update(those_at_work(pool))
        assert at_work == set(client.nthreads()) - set(came * strict)
        assert pool.n_workers == 3 - strict
    [text] = [message for message in caplog.messages if came[0] in message]
    assert ("is left out, and the work goes on without it" in text) == strict
    assert "computes other bits than this process (computed numbers: " in text


def test_a_worker_that_computes_other_bits_at_the_start_is_an_error_if_that_is_asked_for(processes):
    processes.start_worker("env", "NUMBA_CPU_NAME=nehalem", "OPENBLAS_CORETYPE=Nehalem")
    with connected(processes, 3) as client, DaskPool(client) as pool:
        require_agreement(pool, strict=False)
        with pytest.raises(ExecutionError, match=r"computes other bits .* needs workers that agree"):
            require_agreement(pool, strict=True)


def test_a_class_that_workers_cannot_import_is_an_error_and_no_silence(processes):
    with connected(processes) as client, DaskPool(client) as pool:

        class Broken:
            def __reduce__(self):
                return (__import__, ("a_module_that_nobody_has",))

        with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
            list(pool.map(abs, [1], Broken()))


def test_nothing_is_left_in_memory(processes, stored):
    def mail():
        return set(Path("/dev/shm").glob(f"blockdot-mail-{os.getpid()}-*"))

    before = mail()
    with connected(processes) as client, DaskPool(client) as pool:
        fitted(stored, pool)
        (box,) = mail() - before
        assert len(list(box.iterdir())) <= 8  # the last vectors
    assert mail() == before
