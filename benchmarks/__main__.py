"""``python -m benchmarks``: measure, merge into results.json, write benchmarks.md. See ``--help``."""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import cases, machine, memory, race, render, roofline, scaling
from benchmarks.systems import BY_NAME, chosen

ROOT = Path(__file__).parents[1]
PARTS = ("cases", "roofline", "scaling", "memory")
BIG = "clicklog-1m"


def main() -> None:
    """The command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the run in progress is ended, too
    options = _options()
    results_path = (options.out_dir or ROOT / "benchmarks") / "results.json"
    page = (options.out_dir or ROOT / "docs") / "benchmarks.md"
    parts = options.only or (("cases",) if options.case or options.systems else PARTS)
    if "render" not in parts:
        _measure(options, parts, results_path)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render.document(_read(results_path)), encoding="utf-8")
    print(f"wrote {page.name} and {results_path.name}")


def _measure(options: argparse.Namespace, parts: tuple[str, ...], path: Path) -> None:
    sized = options.size or BIG
    if "cases" in parts:
        for name in options.case or cases.DEFAULT:
            for section in _race(name, options, _read(path)):
                _keep(path, "cases", name, section)
    more: dict[str, Callable[[], dict[str, Any]]] = {
        "roofline": lambda: roofline.measure(sized),
        "scaling": lambda: scaling.measure(scaling.CASES + (("clicklog-10m",) if options.ten_million else ())),
        "memory": lambda: memory.measure(sized),
    }
    for part, measure in more.items():
        if part in parts:
            _keep(path, None, part, measure())


def _race(name: str, options: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        case = cases.load(name, options.data)
    except cases.AbsentError as error:
        print(f"{name}: skipped, {error}", flush=True)
        yield {"skipped": str(error)}
        return
    systems = [s for s in chosen(options.systems) if s.suits(case) or options.systems]
    earlier = []
    if options.systems:  # the other systems' runs of an earlier call stay
        again = {system.name for system in systems}
        earlier = [run for run in before.get("cases", {}).get(name, {}).get("runs", []) if run["system"] not in again]
    when = before["cases"][name]["date"] if earlier else ""
    for section in race.race(case, systems, options.rounds, options.limit, earlier):
        yield {**section, "earlier": {run["system"]: run.get("date", when) for run in earlier}}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _keep(path: Path, group: str | None, name: str, section: dict[str, Any]) -> None:
    """Put ``section`` into the file at once, beside what is there: a run that is cut short loses nothing."""
    results = _read(path)
    home = results.setdefault(group, {}) if group else results
    home[name] = {"machine": machine.facts(), "date": datetime.date.today().isoformat(), **section}
    if group == "cases":
        order = [*cases.DEFAULT, *sorted(set(home) - set(cases.DEFAULT))]
        results[group] = {key: home[key] for key in order if key in home}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    part.rename(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare blockdot with its peers.")
    known = f"{', '.join(cases.DEFAULT)}; not by default: clicklog-10m, or any clicklog-<n>k"
    parser.add_argument("--case", action="append", help=f"only this case (repeatable): {known}")
    parser.add_argument("--systems", nargs="+", help=f"only these systems, or their first words: {', '.join(BY_NAME)}")
    parser.add_argument("--only", action="append", choices=[*PARTS, "render"], help="only this part (repeatable)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each setting (default 3)")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds that a run may take (default 200)")
    parser.add_argument("--data", type=Path, default=cases.DATA, help="folder of raw data (default ../shared/data)")
    parser.add_argument("--out-dir", type=Path, help="write results.json and benchmarks.md there instead")
    parser.add_argument("--size", help=f"the click log of roofline and memory (default {BIG})")
    parser.add_argument("--ten-million", action="store_true", help="add clicklog-10m to scaling")
    return parser.parse_args()


if __name__ == "__main__":
    main()
