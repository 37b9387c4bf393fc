"""Online learning beside Vowpal Wabbit's: ``python -m benchmarks.online [ROWS …]`` prints one table.

    text     from raw text to a model: svmlight for us (bd.stream), VW's own text for VW
    ingest   from svmlight text into a store, and from there to a model
    store    from what was kept of the text (our store, VW's cache) to a model
    loss     progressive: the mean loss of each row before it is learnt from, in the order of the file

The rows are those of the click log, logistic loss, one pass, 2^20 slots. Both learn with their defaults; ours also in a
random order, as ``fit`` does by itself. Each system runs in a process of its own, which starts, imports and compiles
before the clock starts; VW counts its own rows by its own losses. Alternated runs, medians.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.clicklog import SLOTS, clicklog
from benchmarks.rows import CACHE

REPEATS = 3
ROOT = Path(__file__).parents[1]


def write(rows: int) -> tuple[Path, Path]:
    """The rows as svmlight text, and as VW has it."""
    ours, theirs = CACHE / f"online-{rows}.svm", CACHE / f"online-{rows}.vw"
    if ours.exists() and theirs.exists():
        return ours, theirs
    CACHE.mkdir(exist_ok=True)
    X, y = clicklog(rows)
    indptr, ids, values = X.indptr.tolist(), X.indices.tolist(), X.data.tolist()
    with ours.with_suffix(".svm.part").open("w") as svm, theirs.with_suffix(".vw.part").open("w") as vw:
        for i, label in enumerate(y.tolist()):
            start, stop = indptr[i], indptr[i + 1]
            entries = [(j, f":{v:.7g}") for j, v in zip(ids[start:stop], values[start:stop], strict=True)]
            svm.write(f"{label:g} {' '.join(f'{j + 1}{v}' for j, v in entries)}\n")
            short = " ".join(f"{j}{v.removesuffix(':1')}" for j, v in entries)  # VW's text leaves a value of 1 out
            vw.write(f"{'1' if label > 0 else '-1'} | {short}\n")
    for path in (ours, theirs):
        path.with_suffix(f"{path.suffix}.part").rename(path)
    return ours, theirs


class Watch:
    """The time since it was made: of the clock, and of all cores that this process used."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self, rows: float, loss: float) -> dict[str, float]:
        """What is reported of a run."""
        seconds, cores = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        return {"seconds": seconds, "core seconds": cores, "rows": rows, "loss": loss}


def blockdot(text: Path, what: str) -> dict[str, float]:
    """Seconds and progressive loss of ours."""
    import blockdot as bd

    store = text.with_suffix(".blocks")
    with TemporaryDirectory() as directory, text.open() as lines:  # compiled code is loaded
        few = Path(directory) / "few.svm"
        few.write_text("".join(islice(lines, 2000)))
        bd.SGDClassifier(max_iter=1).fit(bd.ingest([str(few)], out=f"{directory}/few.blocks", format="svmlight"))
        bd.SGDClassifier().partial_fit(bd.stream(str(few)), classes=[0, 1])
    watch = Watch()
    if what == "text":
        est = bd.SGDClassifier(shuffle=False).partial_fit(bd.stream(str(text)), classes=[0, 1])
        return watch.read(est.model_.info.fit.rows, est.loss_curve_[-1])
    if what == "ingest" or not store.exists():
        bd.ingest([str(text)], out=str(store), format="svmlight", overwrite=True)
    if what != "ingest":
        watch = Watch()
    data = bd.Dataset.open(store)
    est = bd.SGDClassifier(max_iter=1, shuffle=what == "shuffled").fit(data)
    return watch.read(data.n_rows, est.loss_curve_[-1])


def vw(text: Path, what: str) -> dict[str, float]:
    """Seconds and progressive loss of VW."""
    from vowpalwabbit import Workspace

    Workspace(arg_list=["--quiet"]).finish()
    cache = text.with_suffix(".vwcache")
    options = ["-d", str(text), "--loss_function", "logistic", "-b", str(SLOTS.bit_length() - 1), "--quiet"]
    if what == "store":
        options += ["--cache_file", str(cache)]
        if not cache.exists():
            Workspace(arg_list=[*options, "--noop"]).finish()
    watch = Watch()
    space = Workspace(arg_list=options)
    rows = space.get_weighted_examples()
    found = watch.read(rows, space.get_sum_loss() / rows)
    space.finish()
    return found


RUNS = [
    ("blockdot", "text"), ("vw", "text"), ("blockdot", "ingest"),
    ("blockdot", "store"), ("vw", "store"), ("blockdot", "shuffled"),
]  # fmt: skip


def measured(rows: int) -> dict[tuple[str, str], dict[str, float]]:
    """The medians of alternated runs, each in a process of its own."""
    texts = dict(zip(("blockdot", "vw"), write(rows), strict=True))
    found: dict[tuple[str, str], list[dict[str, float]]] = {run: [] for run in RUNS}
    for _ in range(REPEATS):
        for system, what in RUNS:
            command = [sys.executable, "-m", "benchmarks.online", "--one", system, what, str(texts[system])]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found[system, what].append(json.loads(done.stdout))
    return {run: {key: float(np.median([one[key] for one in many])) for key in many[0]} for run, many in found.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        system, what, path = sys.argv[2:]
        print(json.dumps({"blockdot": blockdot, "vw": vw}[system](Path(path), what)))
    else:
        print(
            "| rows | | seconds | of cores | rows a second | progressive loss |\n| --- | --- | --- | --- | --- | --- |"
        )
        for rows in [int(n) for n in sys.argv[1:]] or [200_000, 1_000_000]:
            for (system, what), one in measured(rows).items():
                seconds, cores, n, loss = one.values()
                print(
                    f"| {rows:,} | {system}, {what} | {seconds:.2f} | {cores:.2f} | {n / seconds:,.0f} | {loss:.5f} |",
                    flush=True,
                )
