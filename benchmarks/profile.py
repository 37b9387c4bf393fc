"""Where the time of a fit goes: ``python -m benchmarks.profile [CASE [TOL]]`` prints one table.

Passes over the data are counted and timed as the solver asks for them; what is left is the driver's: vectors, the
preconditioner's factor, the labels, the model. The fit is the fastest of some, all cores, after one of a few rows.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import ours
from benchmarks.cases import load
from blockdot.objective.objective import Objective

PASSES = {
    "value_and_grad": "value and gradient",
    "value_along": "value along a step",
    "hess_vec": "Hessian product",
    "hess_diag": "diagonal of the Hessian (one for the certificate)",
    "mean_hessian": "sample of the rows and its Hessian",
}
REPEATS = 5


@contextmanager
def timed(name: str, spent: dict[str, list[float]]) -> Iterator[None]:
    """Keep the seconds of every call of a method of the objective."""
    method: Callable[..., Any] = getattr(Objective, name)

    def call(self: Objective, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = method(self, *arguments)
        spent[name].append(time.perf_counter() - start)
        return result

    setattr(Objective, name, call)
    try:
        yield
    finally:
        setattr(Objective, name, method)


def fits(case: str, tol: str) -> Iterator[tuple[float, dict[str, list[float]]]]:
    """Seconds of a fit, and of its passes, one fit after another."""
    data = load(case)
    ours.one(None)(data.few(), "1e-6")()
    for _ in range(REPEATS):
        spent: dict[str, list[float]] = defaultdict(list)
        solve = ours.one(None)(data, tol)
        with ExitStack() as stack:
            for name in PASSES:
                stack.enter_context(timed(name, spent))
            start = time.perf_counter()
            solve()
            yield time.perf_counter() - start, spent


def main(case: str, tol: str) -> None:
    """Print the table."""
    total, spent = min(fits(case, tol), key=lambda fit: fit[0])
    print(f"{case}, tol {tol}: {total:.3f} s\n\n| what | times | ms | of the fit |\n| --- | --- | --- | --- |")
    for name, words in PASSES.items():
        if spent[name]:
            print(f"| {words} | {len(spent[name])} | {1e3 * sum(spent[name]):.0f} | {sum(spent[name]) / total:.0%} |")
    rest = total - sum(sum(seconds) for seconds in spent.values())
    print(f"| the driver | | {1e3 * rest:.0f} | {rest / total:.0%} |")


if __name__ == "__main__":
    main(*(sys.argv[1:] + ["clicklog-1m", "3e-3"][len(sys.argv) - 1 :]))
