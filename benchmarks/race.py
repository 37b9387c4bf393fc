"""The race: every system climbs its ladder of settings, in rounds, each run in a process of its own.

Round 1 climbs until the relative gap is at most the tightest goal, a run fails or takes longer than the limit, or some
settings in a row have brought nothing. The later rounds repeat, system by system, the settings that its times to the
goals come from, if they took at most ``ONCE_ABOVE`` seconds. Stored are the objective and the seconds of each run; gaps
are computed when the tables are made, against the smallest objective of any run.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Case
from benchmarks.one import REFERENCE
from benchmarks.systems import BY_NAME, System

ONCE_ABOVE = 20.0
AROUND = 900.0  # seconds that loading, warming up and converting may take, on top of the limit
TIGHT = "1e-11"  # the tolerance of the reference
PATIENCE = 3  # settings in a row that may bring nothing
ROOT = Path(__file__).parents[1]
Run = dict[str, Any]
Section = dict[str, Any]


def race(
    case: Case, systems: Sequence[System], rounds: int, limits: Mapping[str, float], kept: Sequence[Run]
) -> Iterator[Section]:
    """The section of a case, once after each run, so that it can be kept.

    ``limits`` are the seconds that a run of each system, and of the reference, may take. ``kept`` are runs of other
    systems, and those of these systems that the same call has made before it was interrupted: they are not made again.
    """
    began = time.monotonic()
    rows, columns = case.X.shape
    absent = {system.name: why for system in systems if (why := system.lacks(case)) is not None}
    runs: list[Run] = [*kept]
    section: Section = {
        "rows": int(rows),
        "columns": int(columns),
        "nnz": int(case.X.nnz),
        "problem": case.problem.words,
        "goals": list(case.problem.goals),
        "rounds": rounds,
        "absent": absent,
        "runs": runs,
    }
    for system, setting, number in _due(case, [s for s in systems if s.name not in absent], rounds, runs):
        run = run_one(case, system, setting, limits[system])
        runs.append({**run, "round": number})
        yield {**section, "seconds": time.monotonic() - began}
    yield {**section, "seconds": time.monotonic() - began}


def _due(case: Case, systems: Sequence[System], rounds: int, runs: list[Run]) -> Iterator[tuple[str, str, int]]:
    """The runs that are to be made, each after the one before it has been added to ``runs``."""

    def is_done(system: str, setting: str, number: int) -> bool:
        return any((r["system"], r["setting"], r.get("round")) == (system, setting, number) for r in runs)

    if not is_done(REFERENCE, TIGHT, 1):
        yield REFERENCE, TIGHT, 1
    for system in systems:
        for i, setting in enumerate(system.ladder):
            if not is_done(system.name, setting, 1):
                yield system.name, setting, 1
            if _is_over(system, i, runs, min(case.problem.goals)):
                break
    for number in range(2, rounds + 1):
        for system in systems:
            for setting in _repeated(system, runs, case.problem.goals):
                if not is_done(system.name, setting, number):
                    yield system.name, setting, number


def _is_over(system: System, i: int, runs: list[Run], tightest: float) -> bool:
    """Whether the ladder ends at its i-th setting."""
    climbed = [_first(system.name, setting, runs) for setting in system.ladder[: i + 1]]
    if "failed" in climbed[-1]:
        return True
    gaps = [gap(run, best(runs)) for run in climbed]
    if gaps[-1] <= tightest:
        return True
    return len(gaps) > PATIENCE and min(gaps[-PATIENCE:]) > 0.9 * min(gaps[:-PATIENCE])


def _repeated(system: System, runs: list[Run], goals: Sequence[float]) -> list[str]:
    """The settings that, by their first runs, are the fastest to one of the goals."""
    first = [_first(system.name, setting, runs) for setting in system.ladder]
    good = [run for run in first if "values" in run]
    fastest = set()
    for goal in goals:
        there = [run for run in good if gap(run, best(runs)) <= goal]
        if there:
            fastest.add(min(there, key=lambda run: run["seconds"])["setting"])
    return [run["setting"] for run in good if run["setting"] in fastest and run["seconds"] <= ONCE_ABOVE]


def _first(system: str, setting: str, runs: list[Run]) -> Run:
    found = (run for run in runs if (run["system"], run["setting"]) == (system, setting))
    return next(found, {"setting": setting, "failed": "not run"})


def best(runs: Sequence[Run]) -> NDArray[np.float64]:
    """F*: the smallest objective of any run, of each minimum that is looked for."""
    found = [run["values"] for run in runs if "values" in run]
    return np.min(found, axis=0) if found else np.array([np.nan])


def gap(run: Run, optimum: NDArray[np.float64]) -> float:
    """(F − F*) / F*, the largest one of several minima."""
    return float(np.max((np.asarray(run["values"]) - optimum) / np.abs(optimum)))


def run_one(case: Case, system: str, setting: str, limit: float) -> Run:
    """One run in a process of its own: its seconds, memory and objective, or why there are none."""
    run = _measured(case, system, setting, limit)
    _say(case, system, run)
    return run


def _measured(case: Case, system: str, setting: str, limit: float) -> Run:
    run: Run = {"system": system, "setting": setting, "limit": limit, "date": datetime.date.today().isoformat()}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        out = Path(directory) / "run.npz"
        command = [sys.executable, "-m", "benchmarks.one", case.name, system, setting, "--limit", str(limit)]
        code, errors = _call([*command, "--out", str(out)], _threads(system), limit + AROUND)
        if code is None or code == -signal.SIGALRM:
            return {**run, "failed": f"over the time limit of {limit:g} s", "over": True}
        if code != 0 or not out.exists():
            return {**run, "failed": _last_words(code, errors), "over": False}
        with np.load(out) as got:
            for name in ("seconds", "conversion", "peak"):
                run[name] = float(got[name])
            w, b = np.asarray(got["w"], np.float64), np.asarray(got["b"], np.float64)
        values = case.values(w, b)
        if not np.all(np.isfinite(values)):
            return {**run, "failed": "the objective is not finite", "over": False}
        if system == REFERENCE:
            run["bound"] = float(np.max(case.problem.bounds(case.rows, w, b) / np.abs(values)))
    return {**run, "values": values.tolist()}


def _threads(system: str) -> dict[str, str]:
    omp = BY_NAME[system].threads if system in BY_NAME else 1
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": str(omp)}


def _call(command: list[str], environment: dict[str, str], limit: float) -> tuple[int | None, str]:
    """The exit code (None: over the limit) and what was written to stderr; nothing of its group is left behind."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        errors.seek(0)
        return code, errors.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(code: int, errors: str) -> str:
    """The last line that a failed run wrote, without the paths of this machine."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}" + (", out of memory" if code == -signal.SIGKILL else "")
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    words = lines[-1] if lines else f"exit code {code}"
    return words.replace(str(ROOT), ".").replace(str(Path.home()), "~")[:160]


def _say(case: Case, system: str, run: Run) -> None:
    if "failed" in run:
        print(f"{case.name} {system} {run['setting']}: {run['failed']}", flush=True)
        return
    print(
        f"{case.name} {system} {run['setting']}: {run['seconds']:.3f} s, F = {np.mean(run['values']):.10f}, "
        f"conversion {run['conversion']:.2f} s, {run['peak'] / 2**20:.0f} MiB",
        flush=True,
    )
