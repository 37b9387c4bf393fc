"""``python -m benchmarks``: measure, merge into results.json, write benchmarks.md. See ``--help``.

Every run is kept in results.json at once. A call that was interrupted goes on where it was when the same call is made
again, on the same machine; ``--afresh`` starts it anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    cases,
    machine,
    memory,
    networks,
    outofcore,
    race,
    render,
    roofline,
    rows,
    scaling,
    startup,
    targets,
)
from benchmarks.systems import BY_NAME, chosen

ROOT = Path(__file__).parents[1]
PARTS = ("start-up", "roofline", "scaling", "memory", "networks")
LONG = ("out-of-core",)
BIG = "clicklog-1m"
Results = dict[str, Any]


def main() -> None:
    """The command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the run in progress is ended, too
    options = _options()
    path = (options.out_dir or ROOT / "benchmarks") / "results.json"
    page = (options.out_dir or ROOT / "docs") / "benchmarks.md"
    if options.only != ["render"]:
        _measure(options, path)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render.document(_read(path)), encoding="utf-8")
    print(f"wrote {page.name} and {path.name}")


def _measure(options: argparse.Namespace, path: Path) -> None:
    """Make the call, or the rest of it, part by part."""
    only = options.only or [*cases.DEFAULT, *([] if options.systems else PARTS)]
    call = _started(options, only, path)
    size = options.size or BIG
    measures: dict[str, Callable[[], Results]] = {
        "roofline": lambda: roofline.measure(size),
        "scaling": lambda: scaling.measure(scaling.CASES + (("clicklog-10m",) if options.ten_million else ())),
        "memory": lambda: memory.measure(size),
        "networks": networks.measure,
        "start-up": startup.measure,
        "out-of-core": outofcore.measure,
    }
    for name in only:
        if name in call["done"]:
            print(f"{name}: done in this call already", flush=True)
            continue
        if name in measures:
            began = time.monotonic()
            section = measures[name]()
            _keep(path, None, name, {**section, "seconds": time.monotonic() - began})
        else:
            for section in _race(name, options, call, _read(path)):
                _keep(path, "cases", name, section)
        call["done"].append(name)
        _write(path, {**_read(path), "call": call})
    results = _read(path)
    del results["call"]
    _write(path, results)


def _started(options: argparse.Namespace, only: list[str], path: Path) -> Results:
    """The call in ``path`` that this one goes on with, or a new one."""
    asked = {"only": only, "systems": options.systems, "rounds": options.rounds, "limit": options.limit}
    asked |= {"size": options.size, "ten_million": options.ten_million, "machine": machine.facts()}
    results = _read(path)
    before: Results | None = results.get("call")
    if before is not None and before["asked"] == asked and not options.afresh:
        print(f"going on with the call of {before['began']}", flush=True)
        return before
    call = {"began": datetime.datetime.now().isoformat(timespec="seconds"), "asked": asked, "done": []}
    _write(path, {**results, "call": call})
    return call


def _race(name: str, options: argparse.Namespace, call: Results, results: Results) -> Iterator[Results]:
    try:
        case = cases.load(name, options.data)
    except rows.AbsentError as error:
        print(f"{name}: skipped, {error}", flush=True)
        yield {"skipped": str(error)}
        return
    before = results.get("cases", {}).get(name, {})
    goes_on = before.get("call") == call["began"]
    systems = [s for s in chosen(options.systems) if options.systems or s.suits(case)]
    again = {system.name for system in systems}
    kept = before.get("runs", []) if goes_on or options.systems else []
    kept = [run for run in kept if goes_on or run["system"] not in again]
    earlier = before.get("earlier", {}) if goes_on else {run["system"]: run["date"] for run in kept}
    spent = before.get("seconds", 0.0) if goes_on else 0.0
    names = [race.REFERENCE, *(system.name for system in systems)]
    limits = {system: options.limit or targets.limit(name, system) for system in names}
    for section in race.race(case, systems, options.rounds, limits, kept):
        yield {**section, "seconds": spent + section["seconds"], "earlier": earlier, "call": call["began"]}


def _read(path: Path) -> Results:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _keep(path: Path, group: str | None, name: str, section: Results) -> None:
    """Put ``section`` into the file at once, beside what is there: a run that is cut short loses nothing."""
    results = _read(path)
    home = results.setdefault(group, {}) if group else results
    home[name] = {"machine": machine.facts(), "date": datetime.date.today().isoformat(), **section}
    if group == "cases":
        order = [*cases.DEFAULT, *sorted(set(home) - set(cases.DEFAULT))]
        results[group] = {key: home[key] for key in order if key in home}
    _write(path, results)


def _write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    part.rename(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare blockdot with its peers.")
    known = f"{', '.join(cases.DEFAULT)}; {', '.join(PARTS)}; "
    known += f"not by default: {', '.join(LONG)}, {cases.MORE}; render: the page alone"
    limits = ", ".join([f"{cases.LIMIT:g}", *(f"{name} {limit:g}" for name, limit in cases.LIMITS.items())])
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"only these cases and parts: {known}")
    parser.add_argument("--systems", nargs="+", help=f"only these systems, or their first words: {', '.join(BY_NAME)}")
    parser.add_argument("--rounds", type=int, default=2, help="runs of the settings that count (default 2)")
    parser.add_argument(
        "--limit",
        type=float,
        help=f"seconds that a run may take (default {limits}, for systems that a target is about)",
    )
    parser.add_argument("--afresh", action="store_true", help="do not go on with a call that was interrupted")
    parser.add_argument("--data", type=Path, default=rows.DATA, help="folder of raw data (default ../shared/data)")
    parser.add_argument("--out-dir", type=Path, help="write results.json and benchmarks.md there instead")
    parser.add_argument("--size", help=f"the click log of roofline and memory (default {BIG})")
    parser.add_argument("--ten-million", action="store_true", help="add clicklog-10m to scaling")
    return parser.parse_args()


if __name__ == "__main__":
    main()
