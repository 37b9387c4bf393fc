"""From the runs of a case to times: how long a system takes to reach a gap, and whether the targets are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.one import REFERENCE
from benchmarks.race import best, gap
from benchmarks.systems import BY_NAME, SKLEARN

OURS = ("blockdot-1", "blockdot-all")
SNAPML = ("snapml", "snapml-tens")
STATED_FOR = "clicklog-1m"  # the targets are about this click log, and are judged on no other


@dataclass(frozen=True)
class Rung:
    """All runs of a system with one setting: medians."""

    system: str
    setting: str
    runs: int
    seconds: float
    conversion: float
    peak: float
    gap: float
    failed: str | None = None
    above: float | None = None
    """The limit that ended its runs, where one did."""


@dataclass(frozen=True)
class Time:
    """Seconds to a gap; or ``above``: the limit that ended a tighter setting, when no setting within it got there.

    The objective of a run that was ended is unknown, so ``above`` holds for the settings tried, not for all settings.
    """

    seconds: float | None
    above: float | None = None
    setting: str | None = None


def rungs(case: dict[str, Any]) -> list[Rung]:
    """The rungs of a case, system by system in the order of the ladder."""
    optimum = best(case["runs"])
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in case["runs"]:
        groups.setdefault((run["system"], run["setting"]), []).append(run)
    order = [REFERENCE, *BY_NAME]
    found = [_rung(*name, runs, optimum, case["limit"]) for name, runs in groups.items()]
    return sorted(found, key=lambda rung: order.index(rung.system) if rung.system in order else len(order))


def _rung(system: str, setting: str, runs: list[dict[str, Any]], optimum: float, limit: float) -> Rung:
    good = [run for run in runs if "value" in run]
    if len(good) <= len(runs) / 2:  # a setting that fails as often as not counts as failed
        bad = next(run for run in runs if "failed" in run)
        return Rung(system, setting, len(runs), np.nan, np.nan, np.nan, np.nan, bad["failed"], _ended_at(bad, limit))
    seconds, conversion, peak = (
        float(np.median([run[key] for run in good])) for key in ("seconds", "conversion", "peak")
    )
    worst = max(run["value"] for run in good)  # a system that is not deterministic is held to its worst run
    return Rung(system, setting, len(good), seconds, conversion, peak, gap(worst, optimum))


def _ended_at(run: dict[str, Any], limit: float) -> float | None:
    """The limit that ended a run; ``limit`` for a run that was kept before each run had its own."""
    return float(run.get("limit", limit)) if run.get("over") else None


def time_to(case: dict[str, Any], system: str, goal: float) -> Time:
    """The smallest median time of a rung of ``system`` whose gap is at most ``goal``."""
    mine = [rung for rung in rungs(case) if rung.system == system]
    reached = [rung for rung in mine if rung.failed is None and rung.gap <= goal]
    if reached:
        fastest = min(reached, key=lambda rung: rung.seconds)
        return Time(fastest.seconds, None, fastest.setting)
    return Time(None, max((rung.above for rung in mine if rung.above is not None), default=None))


def best_time(case: dict[str, Any], systems: Sequence[str], goal: float) -> Time:
    """The smallest time of several systems; the limit where none got there and each that ran met it."""
    ran = {run["system"] for run in case["runs"]}
    times = [time_to(case, system, goal) for system in systems if system in ran]
    reached = [time for time in times if time.seconds is not None]
    if reached:
        return min(reached, key=lambda time: time.seconds or 0.0)
    limits = [time.above for time in times if time.above is not None]
    return Time(None, min(limits) if limits and len(limits) == len(times) else None)


@dataclass(frozen=True)
class Target:
    """What was aimed at, what was reached ("" where it was not measured), and whether that is enough."""

    what: str
    aim: str
    reached: str
    met: bool | None


def targets(results: dict[str, Any]) -> list[Target]:
    """Each target with what was reached."""
    raced = (
        ("LIBLINEAR", ("liblinear",), 1e-4, 15),
        ("Snap ML", SNAPML, 1e-4, 20),
        ("scikit-learn's best", SKLEARN, 1e-4, 60),
        ("LIBLINEAR", ("liblinear",), 1e-6, 30),
    )
    case = results.get("cases", {}).get(STATED_FOR)
    found = [_ratio_target(case, *row) for row in raced]
    roofline = results.get("roofline", {})
    passes = roofline.get("passes", []) if roofline.get("case") == STATED_FOR else []
    for values, aim in (("float32", 2.0), ("absent", 2.6)):
        rate = _pass(passes, "hessian product", values, 2, "nnz_per_ns")
        met = None if rate is None else rate >= aim
        what = f"Hessian product, values {values}, two cores"
        found.append(Target(what, f"≥ {aim} non-zeros/ns", "" if rate is None else f"{rate:.2f}", met))
    for name in ("hessian product", "value and gradient"):
        one, two = (_pass(passes, name, "float32", threads, "seconds") for threads in (1, 2))
        speed = None if one is None or two is None else one / two
        met = None if speed is None else speed >= 1.8
        reached = "" if speed is None else f"{speed:.2f} ×"
        found.append(Target(f"one core to two, {name}, values float32", "≥ 1.8 ×", reached, met))
    wide = {(row["pass"], row["pool"]): row["seconds"] for row in results.get("scaling", {}).get("wide", [])}
    for name in ("hessian product", "value and gradient"):
        threads, dask = wide.get((name, "threads")), wide.get((name, "Dask processes"))
        ratio = None if threads is None or dask is None else dask / threads
        met = None if ratio is None else ratio <= 1.25
        what = f"two Dask processes over two threads, {name}, 1 M features, 40 M non-zeros a worker"
        found.append(Target(what, "≤ 1.25 ×", "" if ratio is None else f"{ratio:.2f} ×", met))
    return found


def _ratio_target(case: dict[str, Any] | None, name: str, systems: Sequence[str], goal: float, aim: int) -> Target:
    what = f"{STATED_FOR} to {goal:g}: blockdot, all cores, over {name}"
    if case is None or "runs" not in case:
        return Target(what, f"≤ 1/{aim}", "", None)
    ours, theirs = best_time(case, ("blockdot-all",), goal), best_time(case, systems, goal)
    if ours.seconds is None:
        return Target(what, f"≤ 1/{aim}", "blockdot did not reach the gap", False)
    if theirs.seconds is not None:
        ratio = theirs.seconds / ours.seconds
        return Target(what, f"≤ 1/{aim}", f"1/{ratio:.1f} ({ours.seconds:.2f} s, {theirs.seconds:.2f} s)", ratio >= aim)
    if theirs.above is None:
        return Target(what, f"≤ 1/{aim}", f"the peer did not reach the gap ({ours.seconds:.2f} s)", None)
    ratio = theirs.above / ours.seconds
    reached = f"below 1/{ratio:.1f} for the settings tried ({ours.seconds:.2f} s, over {theirs.above:g} s)"
    return Target(what, f"≤ 1/{aim}", reached, True if ratio >= aim else None)


def _pass(passes: list[dict[str, Any]], name: str, values: str, threads: int, key: str) -> float | None:
    for row in passes:
        if (row["pass"], row["values"], row["threads"]) == (name, values, threads):
            return float(row[key])
    return None
