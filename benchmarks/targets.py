"""The targets: what was aimed at, what was reached, and whether that is enough.

A target about time is one about the ratio of two medians to the same gap, in one run on one machine, ours with all
cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import cases
from benchmarks.one import REFERENCE
from benchmarks.summary import Time, best_time
from benchmarks.systems import ALL

SNAPML = ("snapml", "snapml-tens")
SKLEARN = tuple(s.name for s in ALL if s.module == "sklearn" and not s.name.startswith("sklearn-cv"))
SKLEARN_F64 = tuple(name for name in SKLEARN if not name.endswith("-f32"))
GLUM = ("glum", "glum-categorical")
L1_PEERS = ("liblinear", "skglm", *SNAPML, "sklearn-saga")
SEPARATE = ("separate-all",)
STATED_FOR = "clicklog-1m"  # the targets of products and of L2 logistic regression are about this click log


@dataclass(frozen=True)
class Target:
    """What was aimed at, what was reached ("" where it was not measured), and whether that is enough."""

    what: str
    aim: str
    reached: str
    met: bool | None


@dataclass(frozen=True)
class Ratio:
    """Ours is to take at most 1/``factor`` of the time of the fastest of some peers to a gap."""

    case: str
    goal: float
    name: str
    """What the peers are called together."""
    peers: Sequence[str]
    factor: float
    ours: str = "blockdot-all"

    def judged(self, results: dict[str, Any]) -> Target:
        """What was reached."""
        aim = f"≤ 1/{self.factor:g}" if self.factor != 1 else "≤ 1"
        what = f"{self.case} to {self.goal:g}: {self.ours} over {self.name}"
        case = results.get("cases", {}).get(self.case)
        if case is None or "runs" not in case:
            return Target(what, aim, "", None)
        ours, theirs = (best_time(case, systems, self.goal) for systems in ((self.ours,), self.peers))
        return Target(what, aim, *self._verdict(ours, theirs))

    def _verdict(self, ours: Time, theirs: Time) -> tuple[str, bool | None]:
        if ours.seconds is None:
            return f"blockdot did not reach the gap ({_gap(ours)})", False
        mine = f"{ours.seconds:.3g} s"
        if theirs.seconds is not None:
            ratio = theirs.seconds / ours.seconds
            words = f"{_over(ratio)} ({mine}; {theirs.system} {theirs.seconds:.3g} s)"
            return words, ratio >= self.factor
        if theirs.above is None:
            return f"not reached by the peers ({_gap(theirs)}); {mine}", None
        ratio = theirs.above / ours.seconds
        words = f"below {_over(ratio)} ({mine}; not reached within {theirs.above:g} s, {_gap(theirs)})"
        return words, True if ratio >= self.factor else None


RATIOS = (
    Ratio(STATED_FOR, 1e-4, "LIBLINEAR", ("liblinear",), 15),
    Ratio(STATED_FOR, 1e-4, "Snap ML", SNAPML, 20),
    Ratio(STATED_FOR, 1e-4, "scikit-learn's best", SKLEARN, 60),
    Ratio(STATED_FOR, 1e-6, "LIBLINEAR", ("liblinear",), 30),
    Ratio("clicklog-200k-l1", 1e-4, "the best of LIBLINEAR, skglm, Snap ML, saga", L1_PEERS, 10),
    Ratio("clicklog-200k-elastic-net", 1e-4, "the best of skglm, saga", L1_PEERS, 10),
    Ratio("20news-softmax", 5e-4, "scikit-learn's best in float64, as blockdot computes", SKLEARN_F64, 5),
    Ratio("20news-softmax", 5e-4, "scikit-learn's best, float32 too", SKLEARN, 5),
    *(
        Ratio(f"{rows}-{loss}", 1e-6, "glum", GLUM, 1)
        for rows in ("motor", "policies-163k")
        for loss in ("poisson", "tweedie")
    ),
    *(
        Ratio(case, 1e-4, "100 fits of its own", SEPARATE, 4, "path-all")
        for case in ("a9a-path", "clicklog-200k-path", "clicklog-200k-l1-path")
    ),
)


def limit(case: str, system: str) -> float:
    """Seconds that a run may take: as many as a target needs, where one is about the system."""
    judged = {name for ratio in RATIOS if ratio.case == case for name in (ratio.ours, *ratio.peers)}
    return cases.LIMITS.get(case, cases.LIMIT) if system in judged | {REFERENCE} else cases.LIMIT


def targets(results: dict[str, Any]) -> list[Target]:
    """Each target with what was reached."""
    others = (_memory, _products, _dask, _startup)
    return [*(ratio.judged(results) for ratio in RATIOS), *(target for part in others for target in part(results))]


def _memory(results: dict[str, Any]) -> Iterator[Target]:
    """Ten times the policies under the memory of glum: of the whole process, beside glum with the tenth of them."""
    found = results.get("memory", {}).get("policies", [])
    theirs = {row["rows"]: row["resident"] for row in found if row["who"] == "glum"}
    ours = {row["rows"]: row["resident"] for row in found if row["who"] == "blockdot" and row["limit"] is not None}
    for rows in (163_000, 1_630_000):
        what = f"peak memory, Poisson: blockdot with {10 * rows:,} policies from a store, over glum with {rows:,}"
        if 10 * rows not in ours or rows not in theirs:
            yield Target(what, "≤ 1", "", None)
        else:
            mine, other = ours[10 * rows] / 2**20, theirs[rows] / 2**20
            yield Target(what, "≤ 1", f"{mine / other:.2f} ({mine:,.0f} MiB, {other:,.0f} MiB)", mine <= other)


def _products(results: dict[str, Any]) -> Iterator[Target]:
    roofline = results.get("roofline", {})
    passes = roofline.get("passes", []) if roofline.get("case") == STATED_FOR else []
    for values, aim in (("float32", 2.0), ("absent", 2.6)):
        rate = _pass(passes, "hessian product", values, 2, "nnz_per_ns")
        met = None if rate is None else rate >= aim
        what = f"Hessian product, values {values}, two cores"
        yield Target(what, f"≥ {aim} non-zeros/ns", "" if rate is None else f"{rate:.2f}", met)
    for name in ("hessian product", "value and gradient"):
        one, two = (_pass(passes, name, "float32", threads, "seconds") for threads in (1, 2))
        speed = None if one is None or two is None else one / two
        met = None if speed is None else speed >= 1.8
        reached = "" if speed is None else f"{speed:.3f} ×"
        yield Target(f"one core to two, {name}, values float32", "≥ 1.8 ×", reached, met)


def _dask(results: dict[str, Any]) -> Iterator[Target]:
    wide = {(row["pass"], row["pool"]): row["seconds"] for row in results.get("scaling", {}).get("wide", [])}
    for name in ("hessian product", "value and gradient"):
        threads, dask = wide.get((name, "threads")), wide.get((name, "Dask processes"))
        ratio = None if threads is None or dask is None else dask / threads
        met = None if ratio is None else ratio <= 1.25
        what = f"two Dask processes over two threads, {name}, 1 M features, 40 M non-zeros a worker"
        yield Target(what, "≤ 1.25 ×", "" if ratio is None else f"{ratio:.2f} ×", met)


def _startup(results: dict[str, Any]) -> Iterator[Target]:
    seconds = results.get("start-up", {}).get("commands", {})
    for command, most in (("blockdot --help", 0.3), ("python -c 'import blockdot'", 0.5)):
        found = seconds.get(command)
        reached = "" if found is None else f"{found:.3f} s"
        yield Target(command, f"< {most} s", reached, None if found is None else found < most)


def _over(ratio: float) -> str:
    return f"1/{ratio:.1f}" if ratio >= 1 else f"{1 / ratio:.2f}"


def _gap(time: Time) -> str:
    return "no setting ended" if time.reached is None else f"gap {max(time.reached, 0.0):.1e}"


def _pass(passes: list[dict[str, Any]], name: str, values: str, threads: int, key: str) -> float | None:
    for row in passes:
        if (row["pass"], row["values"], row["threads"]) == (name, values, threads):
            return float(row[key])
    return None
