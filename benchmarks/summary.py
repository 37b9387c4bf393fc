"""From the runs of a case to times: how long a system takes to reach a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.one import REFERENCE
from benchmarks.race import best, gap
from benchmarks.systems import BY_NAME

OURS = ("blockdot-1", "blockdot-all")
OUR_PATHS = ("path-1", "path-all")


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

    The objective of a run that was ended is unknown, so ``above`` holds for the settings tried, not for all settings;
    ``reached`` is the least gap of those that ended.
    """

    seconds: float | None
    above: float | None = None
    setting: str | None = None
    system: str | None = None
    reached: float | None = None


def rungs(case: dict[str, Any]) -> list[Rung]:
    """The rungs of a case, system by system in the order of the ladder."""
    optimum = best(case["runs"])
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in case["runs"]:
        groups.setdefault((run["system"], run["setting"]), []).append(run)
    order = [REFERENCE, *BY_NAME]
    found = [_rung(*name, runs, optimum) for name, runs in groups.items()]
    return sorted(found, key=lambda rung: order.index(rung.system) if rung.system in order else len(order))


def _rung(system: str, setting: str, runs: list[dict[str, Any]], optimum: np.ndarray) -> Rung:
    good = [run for run in runs if "values" in run]
    if len(good) <= len(runs) / 2:  # a setting that fails as often as not counts as failed
        bad = next(run for run in runs if "failed" in run)
        above = float(bad["limit"]) if bad.get("over") else None
        return Rung(system, setting, len(runs), np.nan, np.nan, np.nan, np.nan, bad["failed"], above)
    seconds, conversion, peak = (
        float(np.median([run[key] for run in good])) for key in ("seconds", "conversion", "peak")
    )
    worst = max(gap(run, optimum) for run in good)  # a system that is not deterministic is held to its worst run
    return Rung(system, setting, len(good), seconds, conversion, peak, worst)


def time_to(case: dict[str, Any], system: str, goal: float) -> Time:
    """The smallest median time of a rung of ``system`` whose gap is at most ``goal``."""
    mine = [rung for rung in rungs(case) if rung.system == system]
    good = [rung for rung in mine if rung.failed is None]
    there = [rung for rung in good if rung.gap <= goal]
    reached = min((rung.gap for rung in good), default=None)
    if there:
        fastest = min(there, key=lambda rung: rung.seconds)
        return Time(fastest.seconds, None, fastest.setting, system, reached)
    above = max((rung.above for rung in mine if rung.above is not None), default=None)
    return Time(None, above, None, system, reached)


def best_time(case: dict[str, Any], systems: Sequence[str], goal: float) -> Time:
    """The smallest time of several systems; the limit where none got there and each that ran met it."""
    ran = {run["system"] for run in case["runs"]}
    times = [time_to(case, system, goal) for system in systems if system in ran]
    there = [time for time in times if time.seconds is not None]
    if there:
        return min(there, key=lambda time: time.seconds or 0.0)
    reached = min((time.reached for time in times if time.reached is not None), default=None)
    limits = [time.above for time in times if time.above is not None]
    return Time(None, min(limits) if limits and len(limits) == len(times) else None, reached=reached)
