"""Clusters and data that are not there, by the model that `plan` uses: where the driver, the network and the tree end.

    rows of 39 non-zeros, 13 numbers and 26 categories, whose levels follow Zipf's law:
    features that occur in m draws  =  Σ_j 1 − (1 − p_j)^m,      p_j = 1/(j H_D),      D slots

Machines of 8 threads, 10 Gbit/s, 1 GB/s from storage, one worker process each. Three designs: as it is built; with the
sums of a process folded there and passed on in a tree of processes; and with the features shared out among drivers,
too. The latter two are not built: they are what the figures ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from blockdot.blocks.layout import Layout
from blockdot.jobs.costs import Costs, Crew, Need, Rates, Shape
from blockdot.jobs.plan import NETWORK
from blockdot.solvers import NewtonCG

WORKERS = (10, 100, 1_000, 10_000)
ROWS = (10**9, 10**10, 10**11, 10**12)

SLOTS = 1 << 20

_A_ROW, _BYTES_A_ROW, _BLOCK_ROWS, _THREADS = 39, 156, 262_144, 8
_DRAWS_A_ROW = 26
# Seconds of one thread for a non-zero of a product: docs/benchmarks.md, clicklog-1m.
_RATES = Rates(nonzero=0.588e-9)
_LIMIT = 32 << 30
_FAN_IN = 16


def zipf(slots: int, draws: float) -> float:
    """How many of ``slots`` occur in so many draws: the sum over j, on a grid of their logarithm."""
    j = np.unique(np.geomspace(1, slots, 2_000).round())
    counts = np.diff(np.append(j, slots + 1.0))
    middle = j + (counts - 1) / 2
    p = 1.0 / (middle * (math.log(slots) + 0.5772156649))
    return float(np.einsum("i,i", counts, -np.expm1(draws * np.log1p(-np.minimum(p, 0.5)))))


def click_log(rows: int, slots: int) -> Shape:
    """A click log hashed into ``slots``."""

    def occurring(n: float) -> float:
        return zipf(slots, n * _DRAWS_A_ROW)

    n_blocks = max(rows // _BLOCK_ROWS, 1)
    return Shape(
        rows=rows,
        nnz=rows * _A_ROW,
        features=round(occurring(rows)),
        n_blocks=n_blocks,
        nbytes=rows * _BYTES_A_ROW,
        columns=round(n_blocks * occurring(rows / n_blocks)),
        largest=_BLOCK_ROWS * _BYTES_A_ROW,
        occurring=occurring,
    )


def simulated(workers: int, rows: int, slots: int) -> Costs:
    """A Newton-CG fit of that click log on so many machines."""
    solver = NewtonCG()
    need = Need(solver.name, Layout(1, 1), solver.vectors, solver.head)
    crew = Crew(workers, _THREADS, NETWORK, _LIMIT, cache=_LIMIT)
    return Costs(click_log(rows, slots), need, crew, _RATES)


@dataclass(frozen=True)
class Designs:
    """Seconds of a pass, three times."""

    costs: Costs

    @property
    def built(self) -> float:
        """Each thread's sums go to the driver."""
        return self.costs.pass_seconds

    @property
    def tree(self) -> float:
        """A process folds its threads' sums, processes fold each other's, so many at a time; the driver gets one."""
        return self._sharded(1)

    @property
    def shards(self) -> int:
        """Into how many ranges the features are best cut: more would cost more calls than they save."""
        costs = self.costs
        a_call = costs.crew.wire.rate * costs.crew.wire.call_seconds
        return max(1, min(costs.crew.processes, self._levels * _FAN_IN, int(costs.vector / a_call)))

    @property
    def sharded(self) -> float:
        """A tree for each range of the features, all at the same time, their nodes spread over the processes."""
        return self._sharded(self.shards)

    @property
    def _levels(self) -> int:
        return max(math.ceil(math.log(max(self.costs.crew.processes, 2), _FAN_IN)), 1)

    def _sharded(self, shards: int) -> float:
        costs, wire, processes = self.costs, self.costs.crew.wire, self.costs.crew.processes
        received = self._levels * min(_FAN_IN, processes) / shards  # vectors, by the process that receives most
        # whoever holds which range, a whole vector leaves each process, and one comes back
        carried = max(received, 1.0) + max(wire.hops(processes) / shards, 1.0)
        added = received + (costs.crew.threads - 1) + 6 / shards
        calls = self._levels * _FAN_IN + shards
        seconds = costs.seconds()
        return (
            seconds["compute"] + seconds["sums"] + seconds["read"] + costs.vector * carried / wire.rate
            + 3 * costs.vector * added / costs.rates.add + wire.pass_seconds + calls * wire.call_seconds
        )  # fmt: skip


def table(slots: int = SLOTS) -> Iterator[str]:
    """A table in Markdown, a line for each number of workers and rows."""
    yield (
        "| workers | rows | features | blocks a worker | driver holds | sums to the driver | compute | read | wire | "
        "fold | tasks | a pass | binds | with a tree | with shards |"
    )
    yield "| ---: " * 15 + "|"
    for rows in ROWS:
        for workers in WORKERS:
            costs = simulated(workers, rows, slots)
            seconds, designs = costs.seconds(), Designs(costs)
            (driver,) = (holding for holding in costs.holdings() if holding.name == "driver")
            binds = max(seconds, key=lambda name, s=seconds: s[name])  # type: ignore[misc]
            numbers = [seconds[name] for name in ("compute", "read", "wire", "fold", "fixed")]
            cells = [
                f"{workers:,}", f"10^{round(math.log10(rows))}", f"{costs.shape.features / 1e6:.1f} M",
                f"{costs.blocks:,}", f"{driver.total / 2**30:.1f} GiB", f"{costs.sums_in / 2**30:,.1f} GiB",
                *map(_cell, numbers), _cell(designs.built), binds, _cell(designs.tree),
                f"{_cell(designs.sharded)} ({designs.shards})",
            ]  # fmt: skip
            yield "| " + " | ".join(cells) + " |"


def _cell(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
