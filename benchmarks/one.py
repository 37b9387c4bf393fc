"""One measurement in a process of its own: ``python -m benchmarks.one CASE SYSTEM SETTING --out FILE.npz``.

Loads the case, converts it, and times the fit alone. A fit over ``--limit`` seconds is ended by the alarm signal.
"""

from __future__ import annotations

import argparse
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import psutil

from benchmarks import files, ours
from benchmarks.cases import Case, load
from benchmarks.ours import Solve
from benchmarks.systems import BY_NAME

WARM_UP = 60.0  # seconds that a fit of a few rows may take, beside the limit: what is compiled, is compiled then
REFERENCE = "reference"  # a tight blockdot fit, which ends itself at the limit


def peak_bytes() -> int:
    """The largest resident memory so far of this process and of those it started.

    Read from VmHWM: ru_maxrss would also count what the process that started this one held at that moment.
    """
    me = psutil.Process()
    return sum(_high_water(process.pid) for process in [me, *me.children(recursive=True)])


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _prepare(case: Case, system: str, setting: str, limit: float) -> Solve:
    if system == REFERENCE:
        return ours.reference(case, setting, limit)
    return BY_NAME[system].prepare(case, setting)


def measure(case: Case, system: str, setting: str, limit: float, out: Path) -> None:
    """Convert, solve, and write the seconds of each, the peak memory, w and b to ``out``."""
    if not system.startswith("vw"):  # the others have code to compile and import, or a process to start
        first = setting if system == REFERENCE else BY_NAME[system].warm_up
        signal.setitimer(signal.ITIMER_REAL, limit + WARM_UP)  # some solvers never end on some machines
        _prepare(case.few(), system, first, limit)()
        signal.setitimer(signal.ITIMER_REAL, 0)
    start = time.perf_counter()
    solve = _prepare(case, system, setting, limit)
    conversion = time.perf_counter() - start + files.seconds_to_write(case, system)
    if system != REFERENCE:
        signal.setitimer(signal.ITIMER_REAL, limit)
    start = time.perf_counter()
    w, b = solve()
    seconds = time.perf_counter() - start
    signal.setitimer(signal.ITIMER_REAL, 0)
    np.savez(out, w=w, b=b, seconds=seconds, conversion=conversion, peak=peak_bytes())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time one fit.")
    parser.add_argument("case")
    parser.add_argument("system", choices=[*BY_NAME, REFERENCE])
    parser.add_argument("setting")
    parser.add_argument("--limit", type=float, default=200.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # peers warn that they did not converge, or of what they deprecate
    measure(load(options.case), options.system, options.setting, options.limit, options.out)
    print(f"{options.case} {options.system} {options.setting}: {float(np.load(options.out)['seconds']):.3f} s")


if __name__ == "__main__":
    main()
