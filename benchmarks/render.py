"""docs/benchmarks.md from benchmarks/results.json: nothing in it is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.one import REFERENCE
from benchmarks.race import ONCE_ABOVE, PATIENCE, best, gap
from benchmarks.roofline import MEMORY_BINDS
from benchmarks.summary import OUR_PATHS, OURS, Time, rungs, time_to
from benchmarks.systems import ALL, BY_NAME, OTHER_PROBLEM
from benchmarks.targets import targets

ROUNDING = 2.2e-16
OUR_OWN = tuple(system.name for system in ALL if system.module == "blockdot")

METHOD = f"""\
All systems minimise F(w, b) = (1/S) Σ s ℓ(y, x·w + b) + α [ρ ‖w‖₁ + (1−ρ)/2 ‖w‖²], S = Σ s; b is free, except where a
peer can only penalise it. ℓ is log(1 + exp(−t z)) with t = ±1 for the logistic, log Σ exp(z_c) − z_y for the softmax,
half the unit deviance for Poisson and Tweedie; each case says its loss, α and ρ (ρ = 0 is L2, 1 is L1, otherwise the
elastic net). Systems are compared by the **time to a relative gap** (F − F*)/F*, never by where their own stopping
rules end: each has a ladder of settings from loose to tight, and its time to a gap is the smallest median time of a
setting that gets there (in its worst run). F is computed by the harness from each system's coefficients, with NumPy and
SciPy in float64. F* is the smallest F of any run of any system, a tight blockdot fit (the reference) among them; the
harness bounds how far the reference is above the minimum (by strong convexity, or for L1 by the dual), and the page
says how near another system has come to it.

Each run is a process of its own that first fits some 1,000 rows (tightly, where Numba compiles a solver as it is used),
so that nothing is compiled or imported on the clock (Vowpal Wabbit needs no such fit). The clock covers the fit alone;
converting the rows to a system's own input is timed apart. BLAS has one thread, OpenMP one for each core where a system
gains from it. Round 1 climbs each ladder until the tightest gap is reached, a setting takes longer than the limit and
is ended, or {PATIENCE} settings in a row have brought nothing; the later rounds alternate the systems and repeat the
settings that their times come from, those of at most {ONCE_ABOVE:g} s. Peak memory is that of the whole process, the
rows as loaded included. In the tables, > t means that no setting that ended got there and that a tighter one was ended
by the limit t (how near it had come is not known), < a ratio against such a limit, and — that the tightest setting of
the ladder did not get there."""


WHY = 'Why a target is missed, with a profile of the fit: docs/design.md, "Targets that are missed".'
NNZ_A_ROW = 39  # of the click logs
PARTS = ("start-up", "roofline", "scaling", "memory", "out-of-core", "networks")


def document(results: dict[str, Any]) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        "Made by `make bench`, from `benchmarks/results.json`; do not edit. Parts of it: "
        "`.venv-bench/bin/python -m benchmarks --help`." + _total(results),
        "## Targets",
        _targets(results),
        WHY,
        *_caveats(results),
        "## Method",
        METHOD,
        "Systems: " + "; ".join(f"**{s.name}** {s.note}" for s in ALL) + ".",
        "## Machine",
        _machines(results),
        "## Time to a gap",
    ]
    for name, case in results.get("cases", {}).items():
        parts += _case(name, case)
    if "start-up" in results:
        seconds = results["start-up"]["commands"].items()
        rows = [(command, f"{median:.3f}") for command, median in seconds]
        parts += ["## Start-up", _table(("command", "seconds, median"), rows)]
    if "roofline" in results:
        parts += ["## Roofline", _roofline(results["roofline"])]
    if "scaling" in results:
        parts += ["## Scaling", _scaling(results["scaling"])]
    if "memory" in results:
        parts += ["## Memory", _memory(results["memory"])]
    if "out-of-core" in results:
        parts += ["## Out of core", _out_of_core(results["out-of-core"])]
    if "networks" in results:
        parts += ["## Networks", _networks(results["networks"])]
    return "\n\n".join(parts) + "\n"


def _sections(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    parts = {key: results[key] for key in PARTS if key in results}
    return {**results.get("cases", {}), **parts}


def _total(results: dict[str, Any]) -> str:
    sections = _sections(results).values()
    if not sections or not all("seconds" in section for section in sections):
        return ""
    minutes = round(sum(section["seconds"] for section in sections) / 60)
    return f" All of it took {minutes // 60} h {minutes % 60} min."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def _targets(results: dict[str, Any]) -> str:
    words = {True: "met", False: "missed", None: "not shown"}
    if _caveats(results):  # no verdict from figures that settle nothing
        words = dict.fromkeys(words, "preliminary")
    rows = [
        (t.what, t.aim, t.reached or "not measured", words[t.met] if t.reached else "")
        for t in targets(results)
    ]  # fmt: skip
    return _table(("what", "target", "reached", ""), rows)


def _caveats(results: dict[str, Any]) -> list[str]:
    """Why some figures settle nothing yet: the ``preliminary`` of a case or a part, which its next run removes."""
    sections = _sections(results).items()
    return [f"**Preliminary, {name}:** {part['preliminary']}" for name, part in sections if "preliminary" in part]


def _machines(results: dict[str, Any]) -> str:
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, section in _sections(results).items():
        facts = {**section["machine"], "date": section["date"]}
        groups.setdefault(tuple(facts.items()), []).append(name)
    return "\n\n".join(
        f"{', '.join(names)}: " + "; ".join(f"{key} {value}" for key, value in facts) + "."
        for facts, names in groups.items()
    )


def _case(name: str, case: dict[str, Any]) -> list[str]:
    if "skipped" in case:
        return [f"### {name}", f"Skipped: {case['skipped']}."]
    goals = case["goals"]
    limits = " or ".join(f"{limit:g}" for limit in sorted({run["limit"] for run in case["runs"]}))
    intro = (
        f"{case['problem']}. {case['rows']:,} rows × {case['columns']:,} columns, {case['nnz']:,} non-zeros; "
        f"{_optimum(case)}; {case['rounds']} rounds, at most {limits} s a run."
    )
    head = ["seconds to a gap of", *(f"{goal:g}" for goal in goals), "conversion, s", "peak, MiB"]
    parts = [f"### {name}", intro, _table(head, _times(case)), "Ours over theirs, one thread / all cores:"]
    parts.append(_table(["to a gap of", *(f"{goal:g}" for goal in goals)], _ratios(case)))
    parts += _left_out(case)
    kept = {system: date for system, date in case.get("earlier", {}).items() if system != REFERENCE}
    if kept:
        parts.append(
            "Kept from an earlier call, so not alternated with the others: "
            + "; ".join(f"{system} ({date})" for system, date in kept.items())
            + "."
        )
    steps = [
        (r.system, r.setting, *((r.failed, "", "") if r.failed else (_seconds(r.seconds), _gap(r.gap), r.runs)))
        for r in rungs(case)
    ]
    details = _table(("system", "setting", "seconds (median)", "gap", "runs"), steps)
    return [*parts, "<details><summary>Every setting</summary>", details, "</details>"]


def _optimum(case: dict[str, Any]) -> str:
    """F*, what is certain about it, and how near another system has come."""
    optimum = best(case["runs"])
    least = f"F* = {optimum[0]:.10f}" if len(optimum) == 1 else f"F* = {optimum.min():.6f} … {optimum.max():.6f}"
    tight = [run for run in case["runs"] if run["system"] == REFERENCE and "values" in run]
    words = [least]
    if tight:
        above = max(gap(tight[-1], optimum), 0.0)
        words.append(f"the reference is {_gap(above)} above it")
        if "bound" in tight[-1]:
            words[-1] += f", by its bound at most {max(tight[-1]['bound'], ROUNDING):.1e} above the minimum"
    others = [r for r in rungs(case) if r.failed is None and r.system not in (REFERENCE, *OUR_OWN)]
    if others:
        nearest = min(others, key=lambda rung: rung.gap)
        words.append(f"the nearest other system, {nearest.system}, {_gap(nearest.gap)}")
    return "; ".join(words)


def _left_out(case: dict[str, Any]) -> list[str]:
    """Who takes no part, and why; those who solve other problems together."""
    groups: dict[str, list[str]] = {}
    for system, why in case["absent"].items():
        groups.setdefault(why, []).append(system)
    return [f"Not in it: {', '.join(systems)}: {why}." for why, systems in groups.items() if why != OTHER_PROBLEM]


def _raced(case: dict[str, Any]) -> list[str]:
    ran = {run["system"] for run in case["runs"]}
    return [name for name in BY_NAME if name in ran]


def _times(case: dict[str, Any]) -> Iterable[list[object]]:
    everything = rungs(case)
    for system in _raced(case):
        mine = [rung for rung in everything if rung.system == system]
        good = [rung for rung in mine if rung.failed is None]
        cells = [_time(time_to(case, system, goal)) for goal in case["goals"]]
        if not good:
            yield [system, f"failed: {mine[0].failed}", *[""] * (len(cells) + 1)]
            continue
        if time_to(case, system, case["goals"][-1]).seconds is None:
            cells[-1] += f" (reached {_gap(min(rung.gap for rung in good))})"
        peak = max(rung.peak for rung in good) / 2**20
        yield [system, *cells, _seconds(max(rung.conversion for rung in good)), f"{peak:,.0f}"]


def _ratios(case: dict[str, Any]) -> Iterable[list[object]]:
    for system in _raced(case):
        if system not in (*OURS, *OUR_PATHS):
            yield [system, *(_ratio(case, system, goal) for goal in case["goals"])]


def _ratio(case: dict[str, Any], system: str, goal: float) -> str:
    theirs = time_to(case, system, goal)
    mine = OUR_PATHS if case["runs"] and len(best(case["runs"])) > 1 else OURS
    ours = [time_to(case, name, goal).seconds for name in mine]
    if theirs.seconds is None and theirs.above is None:
        return "—"
    below = "" if theirs.seconds is not None else "< "
    against = theirs.seconds or theirs.above or 1.0
    return " / ".join("—" if mine is None else f"{below}{mine / against:.3g}" for mine in ours)


def _time(time: Time) -> str:
    if time.seconds is not None:
        return _seconds(time.seconds)
    return "—" if time.above is None else f"> {time.above:g}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.3g}"


def _gap(value: float) -> str:
    return "0" if value <= 0 else f"{value:.1e}"


def _roofline(section: dict[str, Any]) -> str:
    bandwidth = section["bandwidth"]
    speeds = ", ".join(f"{speed / 1e9:.1f} GB/s on {threads}" for threads, speed in bandwidth.items())
    intro = (
        f"{section['case']}, in memory. Read bandwidth of this machine by threads: {speeds}. Bytes are those a pass "
        f"reads from memory; above {MEMORY_BINDS:.0%} of the bandwidth memory binds, and else what the cores do. The "
        "last column but one is the speed beside that of a Hessian product on rows that stay in the second-level cache."
    )
    rows = []
    for row in section["passes"]:
        rate = row["bytes"] / row["seconds"]
        share = rate / bandwidth[str(row["threads"])]
        binds = "memory" if share >= MEMORY_BINDS else "loads, stores and arithmetic"
        rows.append((
            row["pass"], row["values"], row["threads"], f"{row['seconds'] * 1e3:.1f}", f"{row['nnz_per_ns']:.2f}",
            f"{row['bytes'] / row['nnz']:.2f}", f"{rate / 1e9:.1f}", f"{share:.0%}",
            f"{row['nnz_per_ns'] / row['cached_nnz_per_ns']:.0%}", binds,
        ))  # fmt: skip
    head = (
        "pass", "values", "threads", "ms", "non-zeros/ns", "bytes a non-zero", "GB/s", "of bandwidth",
        "of the speed in cache", "binds",
    )  # fmt: skip
    return intro + "\n\n" + _table(head, rows)


def _scaling(section: dict[str, Any]) -> str:
    rows = [
        (row["pass"], row["pool"], row["workers"], row["case"], f"{row['seconds'] * 1e3:.2f}",
         f"{row['seconds'] * 1e9 / row['nnz']:.3f}")
        for row in sorted(section["passes"], key=lambda row: row["pass"])
    ]  # fmt: skip
    table = _table(("pass", "pool", "workers", "data", "ms", "ns a non-zero"), rows)
    costs = [
        (row["pass"], row["pool"], row["workers"], f"{row['seconds'] * 1e3:.2f}", f"{_outgrown(row, section):,.0f}")
        for row in section["fixed"]
    ]
    head = ("pass", "pool", "workers", "fixed cost, ms", "a tenth of a pass from so many rows on")
    fixed = _table(head, sorted(costs))
    parts = [
        "Seconds of a pass over a block store (median), on threads and on worker processes of one machine.", table,
        "What a pass costs before its first non-zero: where a line through the sizes meets 0.", fixed,
    ]  # fmt: skip
    if section.get("wide"):
        first = section["wide"][0]
        parts += [
            f"A wide store, {first['features']:,} features that occur and {first['nnz']:,} non-zeros, on two workers:",
            _table(
                ("pass", "pool", "ms"), [(r["pass"], r["pool"], f"{r['seconds'] * 1e3:.0f}") for r in section["wide"]]
            ),
        ]
    return "\n\n".join(parts)


def _outgrown(fixed: dict[str, Any], section: dict[str, Any]) -> float:
    """Rows from which on a fixed cost is at most a tenth of a pass, to two digits."""
    same = ("pass", "pool", "workers")
    runs = [row for row in section["passes"] if all(row[key] == fixed[key] for key in same)]
    largest = max(runs, key=lambda row: row["nnz"])
    a_row = (largest["seconds"] - fixed["seconds"]) / largest["nnz"] * NNZ_A_ROW
    return float(f"{9 * max(fixed['seconds'], 0.0) / a_row:.1e}")


def _memory(section: dict[str, Any]) -> str:
    names = {
        "store": "block store, on disk", "vector": "one parameter vector", "before": "anonymous, before the fit",
        "anonymous": "anonymous, peak of the fit", "resident": "resident, peak, pages of the store included",
    }  # fmt: skip
    own = (section["anonymous"] - section["before"]) / section["vector"]
    rows = [(name, f"{section[key] / 2**20:,.1f}") for key, name in names.items()]
    parts = [
        f"A fit of {section['case']} from its memory-mapped store, all cores, tol {section['tol']:g}, "
        f"{section['iterations']} iterations. The fit's own memory is {own:.0f} parameter vectors; most of it are "
        "numbers of rows (z at two points, the curvature, a tile's sums: 24 bytes a row and more), and the sample and "
        "the factor of the preconditioner.",
        _table(("what", "MiB"), rows),
    ]
    if section.get("policies"):
        parts += [
            "Poisson regression on insurance policies, ours from a memory-mapped store, without a memory_limit and "
            "within what glum needs for a tenth of the rows; glum's in memory on tabmat's categorical matrices. Each "
            "in a process of its own (MiB):",
            _table(
                ("system", "rows", "memory_limit", "input on disk", *list(names.values())[2:], "gap to the others"),
                _policies(section),
            ),
        ]
    return "\n\n".join(parts)


def _policies(section: dict[str, Any]) -> Iterable[list[object]]:
    for row in section["policies"]:
        least = min(other["value"] for other in section["policies"] if other["rows"] == row["rows"])
        sizes = [f"{row[name] / 2**20:,.0f}" for name in ("input", "before", "anonymous", "resident")]
        limit = "none" if row["limit"] is None else f"{row['limit'] / 2**20:,.0f}"
        yield [row["who"], f"{row['rows']:,}", limit, *sizes, _gap(row["value"] / least - 1)]


def _out_of_core(section: dict[str, Any]) -> str:
    names = {"free": "none", "limited": f"{section['limit'] / 2**20:,.0f} MiB", "free again": "none, again"}
    bits = "The models have the same bits." if section["same bits"] else "THE MODELS DIFFER."
    rows = [
        (limit, f"{run['peak'] / 2**20:,.0f}", f"{run['seconds']:.1f}", f"{run['pass']:.2f}")
        for name, limit in names.items()
        for run in [section[name]]
    ]
    return "\n\n".join(
        [
            f"L-BFGS, 8 iterations, on a store of {section['store'] / 1e9:.2f} GB, two threads; resident memory counts "
            f"the pages of the store that are mapped. {bits}",
            _table(("memory_limit", "peak resident, MiB", "fit, s", "a pass, s"), rows),
        ]
    )


def _networks(section: dict[str, Any]) -> str:
    rows = [
        (run["epochs"], run["system"], f"{run['seconds']:.1f}", f"{run['right']:.4f}", f"{run['peak'] / 2**20:,.0f}")
        for run in section["runs"]
    ]
    return "\n\n".join(
        [
            "20 newsgroups, words hashed to 2¹⁸ columns, tf-idf: 9,000 rows to learn from, the others to judge by; one "
            "hidden layer of 64 rectifiers, Adam, batches of 200, each system with its own rate.",
            _table(("epochs", "system", "fit, s", "right on other rows", "peak resident, MiB"), rows),
        ]
    )
