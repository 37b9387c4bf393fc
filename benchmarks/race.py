"""The race: every system climbs its ladder of settings, in rounds, each run in a process of its own.

Round 1 climbs until the relative gap is at most the tightest goal, a run fails, or a run takes longer than the limit.
The later rounds repeat, system by system, the runs that took at most ``ONCE_ABOVE`` seconds. Stored are the objective
and the seconds of each run; gaps are computed when the tables are made, against the smallest objective of any run.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.one import REFERENCE
from benchmarks.systems import BY_NAME, System

GOALS = (1e-2, 1e-3, 1e-4, 1e-6)
ONCE_ABOVE = 30.0
AROUND = 900.0  # seconds that loading, warming up and converting may take, on top of the limit
ROOT = Path(__file__).parents[1]
Run = dict[str, Any]
Section = dict[str, Any]


def race(case: Case, systems: Sequence[System], rounds: int, limit: float, earlier: Sequence[Run]) -> Iterator[Section]:
    """The section of a case, once after each run, so that it can be kept. ``earlier`` runs of other systems stay."""
    rows, columns = case.X.shape
    absent: dict[str, str] = {}
    runs: list[Run] = [*earlier]
    section: Section = {
        "rows": int(rows),
        "columns": int(columns),
        "nnz": int(case.X.nnz),
        "alpha": case.alpha,
        "limit": limit,
        "rounds": rounds,
        "absent": absent,
        "runs": runs,
    }
    racing = []
    for system in systems:
        why = system.absent()
        if why is None:
            racing.append(system)
        else:
            absent[system.name] = why
            print(f"{case.name} {system.name}: absent, {why}", flush=True)
    runs.append(run_one(case, REFERENCE, "1e-9", limit))
    yield section
    for number in range(1, rounds + 1):
        for system in racing:
            for setting in _settings(system, runs, number):
                runs.append(run_one(case, system.name, setting, limit))
                yield section
                if number == 1 and _ends(runs[-1], runs):
                    break


def _settings(system: System, runs: list[Run], number: int) -> list[str]:
    if number == 1:
        return list(system.ladder)
    first = (run for run in runs if run["system"] == system.name)
    quick = {run["setting"] for run in first if run.get("seconds", np.inf) <= ONCE_ABOVE}
    return [setting for setting in system.ladder if setting in quick]


def _ends(run: Run, runs: list[Run]) -> bool:
    return "failed" in run or gap(run["value"], best(runs)) <= min(GOALS)


def best(runs: Sequence[Run]) -> float:
    """F*: the smallest objective of any run."""
    return min((run["value"] for run in runs if "value" in run), default=float("nan"))


def gap(value: float, optimum: float) -> float:
    """(F − F*) / F*."""
    return (value - optimum) / abs(optimum)


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
            value = case.value(np.asarray(got["w"], np.float64), float(got["b"]))
    if not np.isfinite(value):
        return {**run, "failed": "the objective is not finite", "over": False}
    return {**run, "value": value}


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
        return f"ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    words = lines[-1] if lines else f"exit code {code}"
    return words.replace(str(ROOT), ".").replace(str(Path.home()), "~")[:160]


def _say(case: Case, system: str, run: Run) -> None:
    if "failed" in run:
        print(f"{case.name} {system} {run['setting']}: {run['failed']}", flush=True)
        return
    print(
        f"{case.name} {system} {run['setting']}: {run['seconds']:.3f} s, F = {run['value']:.10f}, "
        f"conversion {run['conversion']:.2f} s, {run['peak'] / 2**20:.0f} MiB",
        flush=True,
    )
