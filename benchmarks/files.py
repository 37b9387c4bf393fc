"""How a case is solved by the systems that read files: Vowpal Wabbit and Spark.

The text is written once for each case and kept in the cache, with the seconds that it took; both systems then work from
their own binary form of it (Vowpal Wabbit's cache file, Spark's cached data frame).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.ours import MOST_ITERATIONS, Answer, Solve
from benchmarks.rows import CACHE

VW_CONSTANT = 11650396  # the id of Vowpal Wabbit's constant feature


def _text(case: Case, suffix: str, label: Callable[[float], str], first: int, more: Callable[[Path], None]) -> Path:
    """The rows as text, ``label id:value …``, with ids from ``first``; ``more`` is done once, when it is written."""
    path = CACHE / f"{case.name}.{suffix}"
    if not path.exists():
        start = time.perf_counter()
        part = path.with_suffix(f".part-{suffix}")
        with part.open("w") as out:
            out.writelines(_lines(case, label, first))
        part.rename(path)
        more(path)
        (CACHE / f"{case.name}.{suffix}.json").write_text(json.dumps(time.perf_counter() - start))
    return path


def _lines(case: Case, label: Callable[[float], str], first: int) -> Iterator[str]:
    token = "%d:%.9g".__mod__
    ids, values = case.X.indices, case.X.data
    for i, y in enumerate(case.y.tolist()):
        start, stop = case.X.indptr[i], case.X.indptr[i + 1]
        row = zip((ids[start:stop] + first).tolist(), values[start:stop].tolist(), strict=True)
        yield f"{label(y)} {' '.join(map(token, row))}\n"


def seconds_to_write(case: Case, system: str) -> float:
    """The seconds that the kept text took; 0 for a system that has none."""
    path = CACHE / f"{case.name}.{'svm' if system == 'spark' else 'vw'}.json"
    return float(json.loads(path.read_text())) if path.exists() and system.split("-")[0] in ("vw", "spark") else 0.0


def _vw(case: Case, passes: str, options: Callable[[Case], list[str]]) -> Solve:
    from vowpalwabbit import Workspace

    width = case.X.shape[1]
    bits = max(width - 1, 1).bit_length()
    while VW_CONSTANT % (1 << bits) < width:  # the constant needs a slot that no feature has
        bits += 1
    cache = CACHE / f"{case.name}.vw.cache"

    def store(text: Path) -> None:
        cache.unlink(missing_ok=True)
        _workspace(Workspace, text, cache, bits, "--noop").finish()

    text = _text(case, "vw", lambda y: "1 |" if y > 0 else "-1 |", 0, store)
    more = ["--loss_function", "logistic", "--holdout_off", "--passes", passes, *options(case)]

    def solve() -> Answer:
        space = _workspace(Workspace, text, cache, bits, *more)
        return _vw_answer(space, width, bits)

    return solve


def _workspace(kind: Any, text: Path, cache: Path, bits: int, *more: str) -> Any:
    return kind(arg_list=["-d", str(text), "--cache_file", str(cache), "-b", str(bits), "--quiet", *more])


def _vw_answer(space: Any, width: int, bits: int) -> Answer:
    """The weights; with L2 the online learner keeps them up to a factor, which a prediction shows."""
    constant = space.get_weight(VW_CONSTANT % (1 << bits))
    w = np.array([space.get_weight(i) for i in range(width)])
    busiest = int(np.argmax(np.abs(w)))
    raw = w[busiest] + constant
    factor = space.predict(f"| {busiest}:1") / raw if abs(raw) > 1e-6 else 1.0
    factor = 1.0 if abs(factor - 1) < 1e-4 else factor
    return w * factor, np.array(constant * factor)


def _bfgs(_: Case) -> list[str]:
    return ["--bfgs", "--l2", "1", "--no_bias_regularization", "--termination", "0"]  # it penalises the sum: α n = 1


def _online(case: Case) -> list[str]:
    return ["--l2", repr(case.one.alpha)]


vw_bfgs = partial(_vw, options=_bfgs)
vw_sgd = partial(_vw, options=_online)


def spark(case: Case, tol: str) -> Solve:
    """Spark MLlib on two local threads, in its own process."""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.sql import SparkSession

    text = _text(case, "svm", lambda y: f"{y:g}", 1, lambda _: None)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    frame = session.read.format("libsvm").option("numFeatures", case.X.shape[1]).load(str(text)).coalesce(2).cache()
    frame.count()
    problem = case.one
    options = {"regParam": problem.alpha, "elasticNetParam": problem.l1_ratio, "standardization": False}
    est = LogisticRegression(tol=float(tol), maxIter=MOST_ITERATIONS, **options)

    def solve() -> Answer:
        model = est.fit(frame)
        w = np.asarray(model.coefficientMatrix.toArray(), np.float64)
        return np.squeeze(w.T), np.squeeze(np.asarray(model.interceptVector.toArray(), np.float64))

    return solve
