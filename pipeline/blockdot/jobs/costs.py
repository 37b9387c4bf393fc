"""What a pass costs and what a fit holds, from counts and rates alone: the model behind `blockdot plan`.

    seconds of a pass  =  compute + sums + read + wire + fold + fixed
    compute  c · nnz of the busiest process · ((1 − s)/T + s)            T threads, s: the share that holds the lock
    sums     3 (blocks − 1) of a thread · vector / a                     a: bytes of additions a second
    read     bytes of its blocks / r, less what is hidden behind compute  where they do not stay in memory
    wire     vector · hops / b  +  bytes of the subtrees' sums / b         b: bytes a second of what carries them
    fold     3 (their bytes + 6 vectors) / a                              in the driver
    fixed    pass + calls · call

A vector is 8 (width · k + tail) bytes, k the features that occur; a sum over blocks in which fewer than a quarter of
them occur is smaller (layout.py). The subtrees are those of the real tree (tree.py) for the calls that the pool would
make. docs/scaling.md explains each term, and how well the model holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from blockdot.blocks.layout import DENSE_FROM, Layout
from blockdot.blocks.pages import full, places, remembered
from blockdot.blocks.threads import CALLS_A_THREAD
from blockdot.blocks.tree import Span, roots, spans

# Resident bytes of a process that has the libraries loaded and has fitted a few rows (python -m benchmarks.plan).
PROGRAM = 320 << 20
# The head of a call and of its answer: the pass, the store's name, what is small.
CALL_BYTES = 6_000
# Large arguments that stay with the workers (dask.py), and vectors of the objective beside the solver's.
KEPT, EVALUATION = 6, 1
# Matrices of the preconditioner's head, or of the whole Hessian, that are there at the same time, and the sampled rows.
_MATRICES, _ROWS_A_FEATURE, _SAMPLED_COPIES = 5, 16, 4

# Bytes of an entry of a block that is copied, its value and its column, and of a column, with its places.
_COPIED, _COPIED_COLUMN = 12, 24


@dataclass(frozen=True)
class Shape:
    """What the data are, as far as costs depend on it. ``columns``: of all blocks, each one's own added up."""

    rows: int
    nnz: int
    features: int
    """k, those that occur."""
    n_blocks: int
    nbytes: int
    columns: int
    largest: int
    """Bytes of the largest block."""
    occurring: Callable[[float], float]
    """How many features occur in so many rows, about."""


@dataclass(frozen=True)
class Need:
    """What a fit asks for, whatever the data: the layout of w, and what the solver holds."""

    solver: str
    layout: Layout
    vectors: int
    """Of the size of w, held by the solver."""
    side: int = 0
    """The rows of a matrix over features that is factored in the driver; 0 for none."""
    travels: bool = False
    """Whether that matrix is summed over the blocks, or estimated from a sample."""
    matrices: int = 1
    """How many of them there are."""
    columns: int = 1
    """Numbers a row that are made anew when labels are encoded and classes weighed."""
    copies: bool = False
    """Whether the blocks are copied, with their features of one row merged."""

    def matrix(self, features: int) -> int:
        """Bytes of the matrices that are factored, all together."""
        return 8 * self.matrices * (min(features, self.side) + 1) ** 2 if self.side else 0

    def row(self) -> int:
        """Bytes that are remembered of a row: z at two points, its curvature, and its targets as they were made."""
        return 24 * self.layout.width + 8 * self.columns


@dataclass(frozen=True)
class Wire:
    """What carries vectors and sums between the driver and the workers."""

    name: str
    rate: float
    """Bytes a second; infinite where nothing is carried."""
    pass_seconds: float
    call_seconds: float
    is_network: bool = False

    def hops(self, processes: int) -> int:
        """How often one after another a vector is copied until all processes have it."""
        if math.isinf(self.rate):
            return 0
        return 2 + math.ceil(math.log2(max(processes, 1))) if self.is_network else 2

    def copies(self, processes: int) -> int:
        """How many copies of a vector cross it, of a sum always one."""
        if math.isinf(self.rate):
            return 0
        return 1 + processes if self.is_network else 1  # to the scheduler, and to each worker from whoever has it


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second. Those that `plan` does not measure have the figures of docs/scaling.md."""

    nonzero: float
    """Seconds of one thread for a non-zero of a Hessian product: c."""
    add: float = 8e9
    """Bytes a second of adding vectors: a, one thread."""
    read: float = 1e9
    """Bytes a second from storage: r, one machine."""
    serial: float = 0.105
    """The share of a pass that runs under the interpreter's lock: s."""
    fault: float = 0.1
    """The share by which a pass grows whose pages come back from the page cache."""


@dataclass(frozen=True)
class Crew:
    """Who works: ``processes`` of so many ``threads``, on ``cores``."""

    processes: int
    threads: int
    wire: Wire
    limit: int | None = None
    """Of each worker process, bytes."""
    driver_limit: int | None = None
    cores: float = math.inf
    cache: float = math.inf
    """Bytes of files that the memory of one machine can hold beside the processes."""

    @property
    def is_one_process(self) -> bool:
        return math.isinf(self.wire.rate)

    @property
    def calls(self) -> int:
        """Into how many calls a sum is cut (threads.py, dask.py)."""
        return self.processes * self.threads * (CALLS_A_THREAD if self.is_one_process else 1)


@dataclass(frozen=True)
class Holding:
    """What a process holds at most, in bytes, by what it is."""

    name: str
    parts: dict[str, int]
    limit: int | None

    @property
    def is_over(self) -> bool:
        """Whether that is more than it may hold."""
        return self.limit is not None and self.total > self.limit

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Costs:
    """The costs of one fit on one crew."""

    shape: Shape
    need: Need
    crew: Crew
    rates: Rates

    # ---- counts

    @property
    def vector(self) -> int:
        """Bytes of w."""
        return 8 * self.need.layout.size(self.shape.features)

    @cached_property
    def calls(self) -> list[Span]:
        """The runs of blocks that a pass is cut into."""
        return spans(self.shape.n_blocks, self.crew.calls)

    @cached_property
    def subtrees(self) -> list[list[Span]]:
        """What is left of the sums of each call."""
        return [roots(call, self.shape.n_blocks) for call in self.calls]

    @property
    def blocks(self) -> int:
        """Blocks of the process that has most."""
        if self.crew.is_one_process:
            return self.shape.n_blocks
        threads = self.crew.threads
        starts = range(0, len(self.calls), threads)
        return max((sum(len(call) for call in self.calls[i : i + threads]) for i in starts), default=0)

    @property
    def share(self) -> float:
        """Of all data, that of the process that has most."""
        return self.blocks / max(self.shape.n_blocks, 1)

    def sum_bytes(self, blocks: float) -> float:
        """Bytes of a sum over so many blocks."""
        shape, layout = self.shape, self.need.layout
        n = max(shape.n_blocks, 1)
        found = shape.columns / n if blocks <= 1 else shape.occurring(blocks * shape.rows / n)
        if found >= DENSE_FROM * shape.features:
            return self.vector
        return found * 8 * (1 + layout.width) + 8 * layout.tail

    @cached_property
    def sums_in(self) -> float:
        """Bytes of the sums that the driver receives in a pass."""
        sizes: dict[int, float] = {}
        total = 0.0
        for parts in self.subtrees:
            for part in parts:
                if len(part) not in sizes:
                    sizes[len(part)] = self.sum_bytes(len(part))
                total += sizes[len(part)]
        return total

    @property
    def sent(self) -> dict[str, float]:
        """Bytes of a pass that has one new vector, as a product of a Newton step has."""
        if self.crew.is_one_process:
            return {"vector from the driver": 0.0, "sums to the driver": 0.0, "all together": 0.0}
        heads = len(self.calls) * CALL_BYTES
        copies = self.crew.wire.copies(self.crew.processes)
        everything = self.vector * copies + self.sums_in + heads
        return {
            "vector from the driver": float(self.vector),
            "sums to the driver": self.sums_in,
            "all together": everything,
        }

    # ---- memory

    @property
    def mapped(self) -> int:
        """Bytes of the blocks of the process that has most."""
        return int(self.shape.nbytes * self.share)

    @cached_property
    def kept(self) -> int:
        """Of those, how many stay in its memory between passes (pages.py): as many as there is room for."""
        room = full(self.crew.limit) - self._places - sum(self._beside_blocks.values())
        return int(max(min(self.mapped, room), 0))

    def holdings(self) -> list[Holding]:
        """The most that a worker and the driver hold; one process where the workers are its threads."""
        crew = self.crew
        in_use = min(self.mapped, 2 * crew.threads * self._one_block)
        worker = self._beside_blocks | {"blocks": self._places + max(self.kept, in_use)}
        if crew.is_one_process:
            return [Holding("process", worker, crew.limit)]
        driver = self._program | self._driver()
        return [Holding("worker", worker, crew.limit), Holding("driver", driver, crew.driver_limit)]

    @property
    def _program(self) -> dict[str, int]:
        return {"program": PROGRAM, "table of features": 48 * self.shape.features}

    @cached_property
    def _beside_blocks(self) -> dict[str, int]:
        """What a process holds that works on blocks, without them."""
        worker, driver = self._worker(), self._driver() if self.crew.is_one_process else {}
        return self._program | {key: worker.get(key, 0) + driver.get(key, 0) for key in (*worker, *driver)}

    @property
    def _places(self) -> int:
        """Bytes of the places of the columns that lie in memory and not in a file."""
        return int(min(16 * self.shape.columns * self.share, places(self.crew.limit, self.shape.nbytes)))

    @property
    def _one_block(self) -> int:
        return self.shape.largest + 16 * self.shape.columns // max(self.shape.n_blocks, 1)

    @property
    def _takes_all_rows(self) -> bool:
        """Whether the rows are no more than a sample for the matrix would be, and are taken where they are."""
        return bool(self.need.side) and self.shape.rows <= _ROWS_A_FEATURE * self.need.side

    def _worker(self) -> dict[str, int]:
        shape, crew, layout = self.shape, self.crew, self.need.layout
        mean_columns = shape.columns / max(shape.n_blocks, 1)
        rows = int(shape.rows * self.share) * self.need.row()
        if self.need.copies:
            rows += int((_COPIED * shape.nnz + _COPIED_COLUMN * shape.columns) * self.share)
        per_call = max((len(call) for call in self.calls), default=1)
        levels = per_call.bit_length() + 2  # one of each level of the tree, what is added, and the block's own
        one = self.sum_bytes(per_call)
        local = 3 * 8 * int(mean_columns) * layout.width
        sums = crew.threads * int(levels * one + local)
        if self.need.travels or self._takes_all_rows:
            sums += crew.threads * levels * self.need.matrix(shape.features)
        vectors = 0 if crew.is_one_process else KEPT * self.vector
        return {
            "remembered rows": min(rows, remembered(crew.limit)),
            "vectors": vectors,
            "sums": sums,
        }

    def _driver(self) -> dict[str, int]:
        shape, need = self.shape, self.need
        matrix = _MATRICES * need.matrix(shape.features)
        sampled = 0
        if need.side and not need.travels and not self._takes_all_rows:
            sampled = _SAMPLED_COPIES * 12 * int(_ROWS_A_FEATURE * need.side * shape.nnz / max(shape.rows, 1))
        held = shape.n_blocks.bit_length() + 2
        waiting = sum(len(parts) for parts in self.subtrees[: 2 * self.crew.threads])
        folded = held + waiting if self.crew.is_one_process else min(held, sum(map(len, self.subtrees)) + 1)
        return {
            "vectors": (need.vectors + EVALUATION) * self.vector,
            "matrices": matrix + sampled,
            "sums": int(folded * self.sum_bytes(shape.n_blocks / max(len(self.calls), 1))),
        }

    # ---- time

    def seconds(self) -> dict[str, float]:
        """Of one Hessian product, by what it is spent on."""
        shape, crew, rates = self.shape, self.crew, self.rates
        busy = min(crew.threads, max(len(self.calls), 1), crew.cores / crew.processes)  # below 1 where cores are shared
        compute = rates.nonzero * shape.nnz * self.share * max(1 / busy, (1 - rates.serial) / busy + rates.serial)
        share_of_machine = 1.0 if crew.wire.is_network else crew.processes
        per_call = max((len(call) for call in self.calls), default=1)
        read = 0.0
        if self.kept < self.mapped:
            gone = 1 - self.kept / self.mapped
            on_machine = shape.nbytes * min(1.0, self.share * share_of_machine)
            read = rates.fault * compute * gone
            if on_machine > crew.cache:
                read = max(read, gone * on_machine / rates.read - compute)
        added = max(per_call - 1, 0) * 3 * self.sum_bytes(per_call) / rates.add
        added *= len(self.calls) / (busy * crew.processes)
        hops = crew.wire.hops(crew.processes)
        return {
            "compute": compute,
            "sums": added,
            "read": read,
            "wire": (self.vector * hops + self.sums_in * (hops > 0) * (1 if crew.wire.is_network else 2))
            / crew.wire.rate,
            "fold": 3 * (self.sums_in + 6 * self.vector) / rates.add,
            "fixed": crew.wire.pass_seconds + len(self.calls) * crew.wire.call_seconds,
        }

    @property
    def pass_seconds(self) -> float:
        """Of one Hessian product."""
        return sum(self.seconds().values())
