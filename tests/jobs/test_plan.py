"""What `blockdot plan` says beforehand, against what real fits send and hold; and what is refused before it runs."""

import json
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot import buffers
from blockdot.blocks import dask, parcel
from blockdot.blocks.layout import Layout
from blockdot.blocks.manifest import Manifest
from blockdot.blocks.threads import CALLS_A_THREAD
from blockdot.blocks.tree import spans
from blockdot.cli import main
from blockdot.errors import SpecError
from blockdot.jobs import costs
from blockdot.jobs.costs import Costs, Crew, Need, Rates, Shape
from blockdot.jobs.plan import MAILBOX, NETWORK, THREADS, objective_of, require_room, shape_of
from blockdot.jobs.room import in_bytes, over, refusal, remedies
from blockdot.jobs.spec import load_job
from blockdot.jobs.stages import Run
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe
from blockdot.objective.scaling import AsIs
from blockdot.solvers import NewtonCG

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
RATES = Rates(1e-9)
NEED = Need("Newton-CG", Layout(1, 1), NewtonCG().vectors, NewtonCG().head)


def made(path, rows, features, a_row, block_rows):
    rng = np.random.default_rng(0)
    levels = features // a_row
    indices = (levels ** rng.random((rows, a_row)) - 1).astype(np.int64) + np.arange(a_row) * levels
    indptr = np.arange(0, rows * a_row + 1, a_row)
    X = sp.csr_array((rng.normal(size=rows * a_row).astype(np.float32), indices.ravel(), indptr), (rows, features))
    return bd.Dataset.from_arrays(X, (X.sum(axis=1) > 0).astype(float), block_rows=block_rows).save(path)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Eleven blocks of which no single one has a quarter of the features that occur."""
    return made(tmp_path_factory.mktemp("wide") / "wide.blocks", 33_000, 200_000, 8, 3_000)


def costs_of(data, crew, need=NEED):
    return Costs(shape_of(Manifest.read(data.path), data.table), need, crew, RATES)


# ---- bytes


class Spy:
    """Counts what goes to the workers and what comes back, by parcels."""

    def __init__(self, monkeypatch):
        self.out = self.back = self.calls = 0
        send, opened = dask.DaskPool.send, dask._Errand.opened

        def sending(pool, value):
            found = send(pool, value)
            if parcel.Parcel.of(value).nbytes > parcel.SMALL:
                self.out += parcel.Parcel.of(value).nbytes
            return found

        def opening(errand, answer):
            self.back += len(answer.head) + sum(answer.sizes) + sum(array.nbytes for array in answer.arrays)
            self.calls += 1
            return opened(errand, answer)

        monkeypatch.setattr(dask.DaskPool, "send", sending)
        monkeypatch.setattr(dask._Errand, "opened", opening)


@pytest.mark.parametrize("way", ["mailbox", "network"])
def test_a_pass_sends_what_was_predicted(wide, monkeypatch, way):
    if way == "network":
        monkeypatch.setattr(parcel.Mailbox, "made", classmethod(lambda _: None))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None) as c,
        Client(c) as client,
        bd.DaskPool(client) as pool,
        wide.on(pool) as blocks,
    ):
        client.wait_for_workers(2)
        objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(1e-4), blocks)
        w = objective.zeros()
        objective.hess_vec(w, w + 1.0)
        spy = Spy(monkeypatch)
        objective.hess_vec(w, w + 2.0)
    wire = MAILBOX if way == "mailbox" else NETWORK
    found = costs_of(wide, Crew(2, 1, wire))
    assert spy.calls == len(found.calls) == 2
    assert spy.out == pytest.approx(2 * found.sent["vector from the driver"], rel=0.01), "w is asked for by its name"
    assert spy.back == pytest.approx(found.sent["sums to the driver"], rel=0.1)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_sum_is_cut_as_threads_cut_it(threads):
    assert Crew(1, threads, THREADS).calls == bd.ThreadPool(threads).n_calls


def test_a_thin_sum_is_smaller_than_a_vector(wide):
    found = costs_of(wide, Crew(11, 1, NETWORK))
    assert found.sum_bytes(1) < 0.7 * found.vector
    assert found.sum_bytes(11) == found.vector
    threads = costs_of(wide, Crew(1, 4, THREADS))
    assert set(threads.sent.values()) == {0.0}


def test_how_many_features_occur_in_some_rows(wide):
    shape = shape_of(Manifest.read(wide.path), wide.table)
    for blocks in (1, 4, 11):
        seen = len(np.unique(np.concatenate([wide.source.block(i).columns for i in range(blocks)])))
        assert shape.occurring(blocks * 3_000) == pytest.approx(seen, rel=0.03)


# ---- memory

# The most that a process holds while it fits, or is a worker of a fit (no pages of others: its resident memory).
HELD = """
import json, os, sys
import blockdot as bd
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

def peak(pid="self"):
    return next(int(line.split()[1]) << 10 for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM:"))

if __name__ == "__main__":
    path, kind = sys.argv[1:]
    recipe = Recipe("logistic", alpha=1e-6, max_iter=2, tol=1e-9)
    if kind == "threads":
        fit(bd.Dataset.open(path), recipe, bd.ThreadPool(2))
        print(json.dumps({"process": peak()}))
    else:
        from distributed import Client, LocalCluster
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
                          dashboard_address=None) as cluster, Client(cluster) as client, bd.DaskPool(client) as pool:
            client.wait_for_workers(2)
            fit(bd.Dataset.open(path), recipe, pool)
            workers = [peak(pid) for pid in client.run(os.getpid).values()]
        print(json.dumps({"worker": max(workers), "driver": peak()}))
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_processes_hold_is_within_the_plan(tmp_path, kind):
    """At most what was said, and at least half of it."""
    data = made(tmp_path / "big.blocks", 120_000, 800_000, 40, 15_000)
    crew = Crew(1, 2, THREADS) if kind == "threads" else Crew(2, 1, MAILBOX)
    said = {holding.name: holding.total for holding in costs_of(data, crew).holdings()}
    script = tmp_path / "held.py"
    script.write_text(HELD)
    done = subprocess.run(
        [sys.executable, script, data.path, kind], check=True, capture_output=True, text=True, timeout=200
    )
    held = json.loads(done.stdout.splitlines()[-1])
    assert held.keys() == said.keys()
    for name, size in held.items():
        assert 0.5 * said[name] < size < 1.15 * said[name], (name, size / MIB, said[name] / MIB)


@pytest.mark.parametrize(
    ("solver", "l1_ratio"),
    [("newton-cg", 0), ("lbfgs", 0), ("gradient-descent", 0), ("proximal-newton", 1), ("owl-qn", 1),
     ("proximal-gradient", 1)],
)  # fmt: skip
def test_a_solver_holds_the_vectors_that_it_says(solver, l1_ratio, monkeypatch):
    monkeypatch.setattr(buffers, "_LEAST", 1 << 60)  # so that all arrays are NumPy's, which can be counted
    rng = np.random.default_rng(0)
    k, rows = 120_000, 1_500
    spread = np.concatenate([np.arange(k), rng.integers(0, 100, rows * 10)])
    owner = np.concatenate([np.arange(k) % rows, np.repeat(np.arange(rows), 10)])
    X = sp.csr_array((rng.normal(size=len(spread)), (owner, spread)), shape=(rows, k))
    data = bd.Dataset.from_arrays(X, (X.sum(axis=1) > 0).astype(float), block_rows=rows)
    recipe = Recipe("logistic", alpha=1e-4, l1_ratio=l1_ratio, solver=solver, max_iter=14)
    with data.on(bd.ThreadPool(1)) as blocks:
        objective = bd.Objective(bd.Logistic(), bd.Linear(), recipe.make_penalty(data, AsIs()), blocks)
        nothing = np.zeros((0, 0), int), np.zeros((0, 0))
        object.__setattr__(objective, "sampled_hessian", lambda w, m: [])  # the matrices are counted apart
        object.__setattr__(objective, "mean_hessian", lambda w, m: nothing)
        made_solver, _ = recipe.make_solver(objective, data)
        objective.value_and_grad(objective.zeros())
        tracemalloc.start()
        try:
            bd.minimize(
                objective, made_solver, objective.zeros(), max_iter=3 if solver == "proximal-newton" else 14, tol=0.0
            )
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    said = made_solver.vectors + costs.EVALUATION
    assert 0.5 * said < most / (8 * (k + 1)) < 1.1 * said


# ---- refusal


def test_what_cannot_fit_is_refused_with_what_would(wide):
    tight = costs_of(wide, Crew(1, 2, THREADS, 100 * MIB, 100 * MIB))
    assert [holding.name for holding in over(tight)] == ["process"]
    text = refusal(tight)
    assert re.search(r"\[cluster\] memory_limit: the process would hold \d+ MiB, and 100 MiB are allowed", text)
    (enough,) = re.findall(r"memory_limit = '(\d+)MiB'", text)
    limit = int(enough) * MIB
    assert not over(replace(tight, crew=replace(tight.crew, limit=limit, driver_limit=limit)))
    less = limit - 64 * MIB
    assert over(replace(tight, crew=replace(tight.crew, limit=less, driver_limit=less)))


LIMITS = [64 * MIB * i for i in range(4, 400, 3)]


@settings(max_examples=200)
@given(
    size=st.integers(1, 20_000),
    features=st.integers(1, 50_000_000),
    columns=st.integers(1, 16_000_000),
    n_blocks=st.integers(1, 200),
    rows=st.integers(1, 10**9),
    width=st.integers(1, 4),
    crew=st.sampled_from([Crew(1, 2, THREADS), Crew(4, 2, NETWORK), Crew(2, 1, MAILBOX)]),
)
def test_more_memory_is_never_worse(size, features, columns, n_blocks, rows, width, crew):
    """What has room in a limit has room in each larger one; as many pages stay, or more; a pass takes no longer."""
    shape = Shape(
        rows, 40 * rows, features, n_blocks, size * MIB, n_blocks * columns, size * MIB // n_blocks, lambda _: features
    )
    need = replace(NEED, layout=replace(NEED.layout, width=width))
    found = [Costs(shape, need, replace(crew, limit=limit, driver_limit=limit), RATES) for limit in LIMITS]
    fits = [not over(costs) for costs in found]
    assert fits == sorted(fits)
    kept = [costs.kept for costs in found]
    assert all(more >= less for less, more in pairwise(kept[fits.index(True) :] if any(fits) else []))
    seconds = [costs.pass_seconds for costs in found]
    assert all(more <= less * (1 + 1e-12) for less, more in pairwise(seconds))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1023.9 * 1024, "1 MiB"),
        (5 << 30, "5 GiB"),
        (5 << 50, "5,120 TiB"),
    ],
)
def test_sizes_in_words(size, words):
    assert in_bytes(size) == words


def test_fewer_features_are_said_where_they_are_what_is_too_much(wide):
    shape = replace(shape_of(Manifest.read(wide.path), wide.table), features=400_000_000, columns=10**9)
    tight = Costs(shape, NEED, Crew(4, 2, NETWORK, 8 << 30, 8 << 30), RATES)
    assert {holding.name for holding in over(tight)} == {"worker", "driver"}
    (features,) = re.findall(r"at most ([\d,]+) features", " ".join(remedies(tight)))
    assert 10**6 < int(features.replace(",", "")) < 4 * 10**8


@pytest.fixture
def ingested(svmlight_file, tmp_path):
    settings = [f"data.train={svmlight_file}", "data.block_bytes=4000", f"job.output={tmp_path / 'run'}"]
    spec = str(ROOT / "jobs/svmlight.toml")
    Run(load_job(spec, settings)).run(["ingest"])
    return spec, settings, tmp_path / "run"


def plan(spec, settings, *more):
    arguments = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(main, ["plan", spec, *arguments, *more], standalone_mode=False)


def test_a_fit_is_refused_before_a_block_is_read(ingested):
    spec, settings, out = ingested
    for block in (out / "train.blocks" / "blocks").iterdir():
        block.write_bytes(bytes(block.stat().st_size))  # reading one would be another error
    with pytest.raises(SpecError, match="memory_limit: the process would hold") as refused:
        Run(load_job(spec, [*settings, "cluster.memory_limit=50MiB"])).run(["fit"])
    assert "what would fit" in str(refused.value)
    assert refused.value.exit_code == 2
    assert not (out / "model").exists()


def test_a_fit_that_is_done_is_not_refused(ingested):
    spec, settings, _ = ingested
    Run(load_job(spec, settings)).run(["fit"])
    Run(load_job(spec, [*settings, "cluster.memory_limit=50MiB"])).run(["fit"])


def test_workers_say_their_own_limits(ingested):
    spec, settings, out = ingested
    job = load_job(spec, settings)
    with pytest.raises(SpecError, match="the worker would hold"):
        require_room(job, out / "train.blocks", Crew(2, 1, MAILBOX, 64 * MIB))


# ---- the command


def test_plan_as_json(ingested):
    spec, settings, out = ingested
    before = sorted(path.name for path in out.iterdir())
    found = json.loads(plan(spec, settings, "--json", "--workers", "3").output)
    manifest = Manifest.read(out / "train.blocks")
    assert found["store"]["rows"] == manifest.rows
    assert found["store"]["features"] == manifest.n_occurring
    assert found["store"]["bytes"] == sum(entry.size for entry in manifest.blocks)
    assert found["workers"]["threads"] == 3
    assert found["pass"]["tasks"] == len(spans(len(manifest.blocks), 3 * CALLS_A_THREAD))
    assert found["pass"]["total_seconds"] == pytest.approx(sum(found["pass"]["seconds"].values()))
    assert found["fits"]
    assert found["would_fit"] == []
    assert all(sum(v for k, v in part.items() if k != "total") == part["total"] for part in found["memory"].values())
    assert sorted(path.name for path in out.iterdir()) == before, "nothing is written"


def test_plan_in_words(ingested):
    spec, settings, _ = ingested
    text = plan(spec, settings, "--cluster", str(ROOT / "cluster/local.toml"), "--workers", "2").output
    assert "2 x 1 threads, by memory of one machine" in text
    assert "worker  " in text
    assert "driver  " in text
    assert re.search(r"2 tasks; \d", text)
    assert "tasks; nothing is sent" in plan(spec, settings).output
    text = plan(spec, [*settings, "cluster.memory_limit=50MiB"]).output
    assert "what would fit: memory_limit = " in text


def test_a_scheduler_does_not_say_how_many_workers_it_has(ingested):
    spec, settings, _ = ingested
    address = ("--cluster", "tcp://127.0.0.1:8786")
    assert "how many worker processes" in str(plan(spec, settings, *address).exception)
    found = json.loads(plan(spec, settings, *address, "--workers", "100", "--json").output)
    assert found["workers"]["processes"] == 100
    assert found["workers"]["wire"] == NETWORK.name


def test_errors_of_the_spec_and_of_the_solver(ingested):
    spec, settings, _ = ingested
    assert isinstance(plan(spec, [*settings, "model.alhpa=1"]).exception, SpecError)
    assert isinstance(plan(spec, [*settings, "model.kind=linear", "model.delta=1"]).exception, SpecError)


def test_a_path_holds_a_model_for_each_fold_and_one_of_all_rows(ingested, tmp_path):
    spec, settings, out = ingested
    several = tmp_path / "path.toml"
    several.write_text(Path(spec).read_text().replace("alpha = 1e-4", "cv = 4"))
    store = bd.Dataset.described(out / "train.blocks")
    one, five = (objective_of(load_job(job, settings), store)[1] for job in (spec, several))
    assert (one.layout, five.layout) == (Layout(1, 1), Layout(5, 5))
    assert five.row() == 5 * 24 + 8
    found = json.loads(plan(str(several), settings, "--json").output)
    assert found["pass"]["seconds"]["compute"] > 0


def test_before_ingest_the_raw_files_are_estimated(svmlight_file, tmp_path):
    settings = [f"data.train={svmlight_file}", f"job.output={tmp_path / 'run'}"]
    text = plan(str(ROOT / "jobs/svmlight.toml"), settings).output
    assert "about 600 rows" in text
    assert "run the stage ingest first" in text
    assert not (tmp_path / "run").exists()


# ---- the simulation


def test_a_fit_is_the_same_whether_it_was_planned_or_not(ingested):
    spec, settings, out = ingested
    job = load_job(spec, settings)
    plan(spec, settings, "--json")
    found = Run(job).run(["fit"])["fit"]
    data = bd.Dataset.open(out / "train.blocks")
    _, result = fit(data, Recipe("logistic", alpha=1e-4, max_iter=1000), bd.ThreadPool(1))
    assert found["objective"] == result.value
