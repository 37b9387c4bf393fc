"""One table: the same bits of every solver, on any number of workers, whatever happens to them during the fit."""

import signal
import time

import model_bits
import numpy as np
import pytest
import scipy.sparse as sp
from dask_processes import Processes
from distributed import Client

import blockdot as bd
from blockdot.blocks.dask import DaskPool
from blockdot.models.architecture import Architecture
from blockdot.models.fit import fit
from blockdot.models.recipe import ONLINE, PROXIMAL, SMOOTH, Recipe

pytestmark = pytest.mark.timeout(300)

SOLVERS = (*SMOOTH, *PROXIMAL, ONLINE)
SITUATIONS = ("1 worker", "2 workers", "3 workers", "4 workers", "scaled during the fit", "killed", "frozen")


class Bench:
    """A cluster that can be brought into each of the situations."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        n, d = 900, 300
        X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.1)
        y = (X[:, :20] @ rng.normal(size=20) + rng.logistic(size=n) > 0).astype(float)
        self.data = bd.Dataset.from_arrays(X, y, block_rows=50).save(folder / "rows.blocks")
        self.processes = Processes(folder)
        self.processes.start_scheduler()
        self.processes.start_worker()
        self.client = Client(self.processes.address, set_as_default=False, timeout=60)
        self.scale(1)

    def alive(self):
        return [worker for worker in self.processes.workers if worker.poll() is None]

    def scale(self, n):
        for worker in self.alive()[n:]:
            self.processes.end(worker)
        for _ in range(n - len(self.alive())):
            self.processes.start_worker()
        deadline = time.monotonic() + 90
        while len(self.client.nthreads()) != n and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.client.nthreads()) == n

    def happen(self, situation):
        """What happens in the middle of the fit."""
        if situation == "scaled during the fit":
            self.processes.start_worker()
            self.processes.end(self.alive()[0])
        elif situation == "killed":
            self.processes.end(self.alive()[0])
        elif situation == "frozen":
            self.alive()[0].send_signal(signal.SIGSTOP)

    def end(self):
        self.client.close(timeout=5)
        self.processes.end_all()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("bits"))
    yield made
    made.end()


def recipe(solver):
    if solver == ONLINE:
        return Recipe("logistic", alpha=1e-2, solver=ONLINE)
    if solver == "gauss-newton":
        return Recipe("logistic", alpha=1e-2, solver=solver, max_iter=4, network=Architecture((3,), "tanh"))
    return Recipe("logistic", alpha=1e-2, l1_ratio=0.5 * (solver in PROXIMAL), solver=solver, tol=1e-6, max_iter=40)


def digest(data, solver, pool, during=None):
    def watch(state):
        if during is not None and state.iteration == 2:
            during()

    model, result = fit(data, recipe(solver), pool, callbacks=[watch])
    assert result.iterations > 2
    return model_bits.digest(model)


@pytest.fixture(scope="module")
def expected(bench):
    return {solver: digest(bench.data, solver, bd.ThreadPool(1)) for solver in SOLVERS}


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_threads(bench, expected, solver):
    assert digest(bench.data, solver, bd.ThreadPool(2)) == expected[solver]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_workers(bench, expected, situation, solver):
    workers = int(situation[0]) if situation[0].isdigit() else 2
    bench.scale(workers)
    happened = []

    def during():
        if not happened:
            happened.append(situation)
            bench.happen(situation)

    with DaskPool(bench.client) as pool:
        try:
            assert digest(bench.data, solver, pool, during) == expected[solver]
        finally:
            if situation == "frozen":
                bench.processes.end(bench.alive()[0])
    assert happened


def test_a_sampled_preconditioner_has_the_same_bits_on_workers(bench, tmp_path, monkeypatch):
    """More rows than are sampled, so that the sample is gathered from the workers; and a solve that asks for it."""
    rng = np.random.default_rng(6)
    n, d = 20_000, 400
    X = sp.random_array((n, d), density=0.02, rng=rng, format="csr")
    y = (X @ rng.normal(0.0, 3.0, d) + rng.logistic(size=n) > 0).astype(float)
    data = bd.Dataset.from_arrays(X, y, block_rows=3000).save(tmp_path / "rows.blocks")
    made = []
    before = bd.Objective.mean_hessian
    monkeypatch.setattr(bd.Objective, "mean_hessian", lambda *given: made.append(given[2]) or before(*given))
    recipe = Recipe("logistic", alpha=1e-5, solver="newton-cg", tol=1e-8)
    expected = model_bits.digest(fit(data, recipe, bd.ThreadPool(2))[0])
    assert made
    bench.scale(2)
    with DaskPool(bench.client) as pool:
        assert model_bits.digest(fit(data, recipe, pool)[0]) == expected
