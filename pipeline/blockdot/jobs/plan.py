"""What a fit will need, before it runs: `blockdot plan`, and the refusal of what cannot fit.

    job + manifest of the store + products over a few blocks, timed  →  Costs (costs.py)  →  words, or a table

Nothing is fitted and, but for the timed products, no block is read. Where the store is not there yet, the raw files say
how many rows there are, about; the rest is known when they are ingested.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import FeatureSum
from blockdot.blocks.manifest import Manifest
from blockdot.blocks.memo import Shelf
from blockdot.blocks.pages import pages
from blockdot.blocks.sums import Blocks, Pass
from blockdot.blocks.table import FeatureTable
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import SpecError
from blockdot.ingest.sample import Sampled, sampled
from blockdot.jobs.costs import Costs, Crew, Need, Rates, Shape, Wire
from blockdot.jobs.model_tables import FoldsTable
from blockdot.jobs.room import in_bytes, in_seconds, over, refusal, remedies
from blockdot.jobs.spec import ClusterTable, Job
from blockdot.models.fit import by_classes, merges
from blockdot.models.kinds import make_loss
from blockdot.models.recipe import ONLINE, Recipe
from blockdot.objective import passes
from blockdot.objective.objective import Objective, head_of_each
from blockdot.objective.predictors import Linear
from blockdot.objective.scaling import AsIs
from blockdot.vectors import Vector

MIB = 1 << 20

# Fixed costs of a pass and of a call: docs/benchmarks.md (31 ms of two calls, 0.3 ms on threads).
THREADS = Wire("threads of one process", float("inf"), 0.3e-3, 0.02e-3)
MAILBOX = Wire("memory of one machine", 4e9, 0.026, 0.002)
NETWORK = Wire("a network of 10 Gbit/s", 1.25e9, 0.026, 0.002, is_network=True)


def recipe_of(job: Job) -> Recipe:
    """What the job's [model] and [solver] say."""
    table, solver = job.model, job.solver
    return Recipe(
        table.loss,
        table.options,
        alpha=table.alpha,
        l1_ratio=table.l1_ratio,
        lower=table.lower,
        upper=table.upper,
        fit_intercept=table.fit_intercept,
        standardize=table.standardize,
        multi_class=table.multi_class or "softmax",
        class_weight=table.class_weight,
        network=table.network,
        solver=solver.name,
        step=solver.step,
        tol=solver.tol,
        max_iter=solver.max_iter,
        online=solver.online,
    )


# ---- what there is


def shape_of(manifest: Manifest, table: FeatureTable) -> Shape:
    """The shape of a store, by its manifest and its table of features."""
    counts, times = np.unique(np.minimum(table.count, manifest.rows), return_counts=True)

    def occurring(rows: float) -> float:
        """Σ_j 1 − (1 − rows/n)^(rows with feature j): rows drawn at random."""
        if rows >= manifest.rows:
            return float(len(table))
        return float(np.einsum("i,i", times, -np.expm1(counts * np.log1p(-rows / manifest.rows))))

    return Shape(
        rows=manifest.rows,
        nnz=manifest.nnz,
        features=len(table),
        n_blocks=len(manifest.blocks),
        nbytes=sum(entry.size for entry in manifest.blocks),
        columns=sum(entry.columns for entry in manifest.blocks),
        largest=max((entry.size for entry in manifest.blocks), default=0),
        occurring=occurring,
    )


def objective_of(job: Job, data: Dataset) -> tuple[Objective, Need]:
    """The objective that the job will minimise, over blocks of which none is read, and what its fit needs.

    Raises what a fit would raise for a loss, a penalty and a solver that do not go together.
    """
    recipe, _ = by_classes(recipe_of(job), data)
    loss = make_loss(recipe.loss, recipe.options)
    outputs = getattr(loss, "outputs", None)
    blocks = Blocks(data.source, ThreadPool(1))
    objective = Objective(loss, recipe.predictor(outputs), recipe.make_penalty(data, AsIs()), blocks)
    layout = objective.layout
    if job.model.is_path:  # one model a fold, and that of all rows
        models = (job.model.cv or FoldsTable()).folds + 1
        layout = Linear(recipe.fit_intercept, models * (outputs or 1)).layout
    solver = recipe.online if recipe.solver == ONLINE else recipe.make_solver(objective, data)[0]
    travels = "hessians" in solver.needs
    side, matrices = (len(data.table) if travels else getattr(solver, "head", 0)), layout.width
    if "mean_hessian" in solver.needs:
        matrices = 1
    elif side and not travels:
        side = head_of_each(side, matrices)
    scaled = 2 if recipe.standardize else 0
    return objective, Need(
        solver.name,
        layout,
        solver.vectors + scaled,
        side,
        travels,
        matrices,
        columns=2 if recipe.class_weight is not None else 1,
        copies=not job.model.is_path and merges(data, recipe),
    )


def crew_of(table: ClusterTable) -> Crew:
    """The workers that [cluster] asks for. SpecError where it does not say how many."""
    cores = len(os.sched_getaffinity(0))
    limit = None if table.memory_limit == "auto" else int(table.memory_limit)
    free = _memory("MemAvailable")
    if table.kind == "threads":
        return Crew(1, table.workers or cores, THREADS, limit, limit, cores, free)
    if table.kind == "local":
        processes = table.workers or cores
        own = limit
        if own is None:  # as Dask shares a machine out
            own = int(_memory("MemTotal") * min(1.0, table.threads_per_worker / (os.cpu_count() or 1)))
        return Crew(processes, table.threads_per_worker, MAILBOX, own, limit, cores, free)
    if table.workers is None:
        raise SpecError(
            "[cluster] workers: how many worker processes the scheduler has is not asked for before a run: "
            "say it (--workers N), and how many threads each has (--set cluster.threads_per_worker=N)"
        )
    return Crew(table.workers, table.threads_per_worker, NETWORK, limit, limit, cache=limit or 0)


def crew_at(table: ClusterTable, pool: Pool) -> Crew:
    """The workers that are there, with the limits that they have."""
    limits = [limit for limit in pool.everywhere(_limit_here).values() if limit is not None]
    asked = None if table.memory_limit == "auto" else int(table.memory_limit)
    threads = pool.n_workers if pool.shares_memory else table.threads_per_worker
    processes = max(pool.n_workers // threads, 1)
    wire = THREADS if pool.shares_memory else MAILBOX if table.kind == "local" else NETWORK
    return Crew(processes, threads, wire, min(limits, default=asked), asked)


def _limit_here() -> int | None:
    return pages.limit


def _memory(name: str) -> int:
    """Bytes, from /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) << 10
    raise SpecError(f"/proc/meminfo has no {name}: this is no Linux, which blockdot needs")


# ---- the short measurement

_REPEATS, _ENOUGH = 5, 1.0  # rounds of products, and seconds after which to take no more
_LOOK, _MOST = 64 * MIB, 16  # bytes of blocks, and blocks: at least two


def measured(objective: Objective, data: Dataset, layout_width: int) -> Rates:
    """Rates of this machine, one thread: products over a few blocks, additions of their sums, and a read of a file."""
    middle = data.n_blocks // 2
    path = Path(data.source.name(middle))
    read = _read_rate(path)
    several = min(max(_LOOK // max(path.stat().st_size, 1), 2), data.n_blocks, _MOST)
    shelf, first = Shelf(), max(middle - several // 2, 0)
    blocks = [replace(data.source.block(i), memo=shelf.memo(i)) for i in range(first, first + several)]
    task, vectors = _product(objective)
    layout = objective.layout

    def products() -> None:
        # one block after another, as in a pass: one alone would stay in the caches of the CPU, and be faster
        for block in blocks:
            task(block, *(layout.gather(vector, block) for vector in vectors))

    nonzeros = sum(block.X.nnz for block in blocks)
    rows, tail = np.zeros((max(len(data.table), 1 << 16), layout.width)), np.zeros(layout.tail)
    one = FeatureSum.made(None, rows, tail, len(rows))
    return Rates(
        nonzero=_shortest(products) / max(nonzeros, 1) * layout_width / layout.width,
        add=3 * rows.nbytes / _shortest(lambda: one + one),
        read=read,
    )


def _product(objective: Objective) -> tuple[Pass[passes.Partial], tuple[Vector, ...]]:
    """A product of the Hessian with a vector and what it is given, or where the loss has none, a gradient."""
    w, v = np.full((2, objective.size), 1e-3)  # not at 0, where there is no product to time
    if callable(getattr(objective.loss, "hess_dot", None)):
        return passes.HessVec(objective.loss, objective.predictor, b"plan"), (w, v)
    return passes.ValueAndGrad(objective.loss, objective.predictor, b"plan"), (w,)


def _shortest(call: Callable[[], object]) -> float:
    """Seconds of the fastest call after the first, which compiles and remembers."""
    call()
    found: list[float] = []
    while len(found) < _REPEATS and sum(found) < _ENOUGH:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return max(min(found), 1e-9)


def _read_rate(path: Path) -> float:
    """Bytes a second of a file that is not in the page cache, if the system lets it go."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start, size = time.perf_counter(), 0
        while size < 256 * MIB and (data := file.read(16 * MIB)):
            size += len(data)
        return size / max(time.perf_counter() - start, 1e-6)


# ---- the plan

_LADDER = (1, 2, 4, 8, 16, 64, 256, 1024)


@dataclass(frozen=True)
class Plan:
    """What is known before a job runs: of the raw files where there is no store yet, else the costs."""

    job: Job
    raw: Sampled | None
    costs: Costs | None

    def as_dict(self) -> dict[str, object]:
        """The numbers: bytes and seconds."""
        if self.costs is None:
            assert self.raw is not None
            return {"store": None, "raw": self.raw._asdict(), "next": "ingest"}
        costs = self.costs
        shape, crew = costs.shape, costs.crew
        return {
            "store": {
                "rows": shape.rows, "nnz": shape.nnz, "features": shape.features, "blocks": shape.n_blocks,
                "bytes": shape.nbytes, "bytes_a_block": shape.nbytes / max(shape.n_blocks, 1),
            },
            "solver": costs.need.solver,
            "workers": {
                "processes": crew.processes, "threads": crew.threads, "memory_limit": crew.limit,
                "wire": crew.wire.name, "pages_stay": costs.kept == costs.mapped,
            },
            "memory": {holding.name: holding.parts | {"total": holding.total} for holding in costs.holdings()},
            "fits": not over(costs),
            "would_fit": remedies(costs) if over(costs) else [],
            "pass": {
                "tasks": len(costs.calls), "bytes": costs.sent, "seconds": costs.seconds(),
                "total_seconds": costs.pass_seconds,
            },
            "workers_seconds": {n: found.pass_seconds for n, found in self.ladder()},
        }  # fmt: skip

    def ladder(self) -> Iterator[tuple[int, Costs]]:
        """The same with other numbers of workers."""
        assert self.costs is not None
        crew = self.costs.crew
        most = crew.cores if not crew.wire.is_network else max(crew.processes * 16, 64)
        for n in _LADDER:
            if n <= 2 * most:
                changed = replace(crew, threads=n) if crew.is_one_process else replace(crew, processes=n)
                yield n, replace(self.costs, crew=changed)

    def text(self) -> str:
        """The plan in words."""
        return "\n".join(_without_store(self) if self.costs is None else _with_store(self, self.costs))


def _without_store(plan: Plan) -> list[str]:
    raw = plan.raw
    assert raw is not None
    rows = (
        f"{raw.rows:,} rows" if raw.is_exact else f"about {raw.rows:,} rows (the first {in_bytes(raw.looked_at)} say)"
    )
    return [
        f"raw files: {raw.files:,}, {in_bytes(raw.nbytes)}, {rows}",
        "which features occur, and so what a fit holds, sends and takes, is known when they are read:",
        "run the stage ingest first (blockdot ingest, the same arguments), then plan again",
    ]


def _with_store(plan: Plan, costs: Costs) -> list[str]:
    shape, crew, sent = costs.shape, costs.crew, costs.sent
    mean = shape.nbytes / max(shape.n_blocks, 1)
    lines = [
        f"store     {shape.rows:,} rows, {shape.nnz:,} non-zeros, {shape.features:,} features that occur",
        f"          {shape.n_blocks:,} blocks of {in_bytes(mean)}, the largest {in_bytes(shape.largest)}; "
        f"{in_bytes(shape.nbytes)} in all",
        f"solver    {costs.need.solver}, parameters of {in_bytes(costs.vector)}",
        f"workers   {crew.processes} x {crew.threads} threads, by {crew.wire.name}; memory limit "
        + ("none" if crew.limit is None else in_bytes(crew.limit)),
        "pages     " + _pages(costs),
        "",
        "memory    at most",
    ]
    for holding in costs.holdings():
        parts = ", ".join(f"{name} {in_bytes(size)}" for name, size in holding.parts.items() if size)
        lines.append(f"{holding.name:9} {in_bytes(holding.total)}: {parts}")
    lines += [
        "",
        f"a pass    {len(costs.calls):,} tasks; "
        + (
            "nothing is sent"
            if crew.is_one_process
            else f"{in_bytes(sent['vector from the driver'])} from the driver, "
            f"{in_bytes(sent['sums to the driver'])} to it, {in_bytes(sent['all together'])} in all"
        ),
        f"          {in_seconds(costs.pass_seconds)}: "
        + ", ".join(f"{name} {in_seconds(value)}" for name, value in costs.seconds().items() if value),
        "",
        f"{'threads' if crew.is_one_process else 'workers':9} " + " ".join(f"{n:>9,}" for n, _ in plan.ladder()),
        "a pass    " + " ".join(f"{in_seconds(found.pass_seconds):>9}" for _, found in plan.ladder()),
    ]
    return lines + (["", *refusal(costs).splitlines()] if over(costs) else [])


def _pages(costs: Costs) -> str:
    if costs.kept == costs.mapped:
        return "stay mapped"
    if costs.kept:
        return f"{in_bytes(costs.kept)} stay mapped; those of the other blocks are let go after their use"
    return "of a block are let go after its use"


def planned(job: Job, store: Path | None) -> Plan:
    """The plan of a job whose training store is ``store``; None where there is none of this spec yet."""
    if store is None:
        return Plan(job, sampled(job.data.train, job.data.reading()), None)
    data = Dataset.described(store)
    crew = crew_of(job.cluster)
    objective, need = objective_of(job, data)
    return Plan(
        job,
        None,
        Costs(shape_of(Manifest.read(store), data.table), need, crew, measured(objective, data, need.layout.width)),
    )


def require_room(job: Job, store: Path, crew: Crew) -> None:
    """See that the fit of ``job`` fits in the memory limit; no block is read.

    Raises SpecError with what is needed, and what would fit.
    """
    if crew.limit is not None or crew.driver_limit is not None:
        data = Dataset.described(store)
        _, need = objective_of(job, data)
        costs = Costs(shape_of(Manifest.read(store), data.table), need, crew, Rates(0.0))
        if over(costs):
            raise SpecError(refusal(costs))
