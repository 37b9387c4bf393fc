"""What does not fit in the memory limit, and what would, by the same model (costs.py): numbers and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from blockdot.jobs.costs import Costs, Holding, Shape

MIB = 1 << 20


def over(costs: Costs) -> list[Holding]:
    """The processes that would hold more than they may."""
    return [holding for holding in costs.holdings() if holding.is_over]


def refusal(costs: Costs) -> str:
    """Which process does not fit, what it is made of, and what would fit."""
    lines = []
    for holding in over(costs):
        parts = ", ".join(f"{name} {in_bytes(size)}" for name, size in holding.parts.items() if size)
        lines.append(
            f"[cluster] memory_limit: the {holding.name} would hold {in_bytes(holding.total)}, and "
            f"{in_bytes(holding.limit or 0)} are allowed ({parts})"
        )
    return "\n".join([*lines, "what would fit: " + "; or ".join(remedies(costs))])


def remedies(costs: Costs) -> list[str]:
    """Changes of which each alone is enough, by the same model."""
    crew, shape = costs.crew, costs.shape
    found = []
    for limit in _limits(min(holding.limit or 0 for holding in over(costs))):
        if not over(replace(costs, crew=replace(crew, limit=limit, driver_limit=limit))):
            found.append(f"memory_limit = {in_bytes(limit, up=True)!r}")
            break
    if crew.threads > 1:
        fewer = [n for n in range(crew.threads - 1, 0, -1) if not over(replace(costs, crew=replace(crew, threads=n)))]
        if fewer:
            key = "workers" if crew.is_one_process else "threads_per_worker"
            found.append(f"{key} = {fewer[0]}")
    features = _most(shape.features, lambda k: not over(replace(costs, shape=_narrower(shape, k))))
    if features:
        found.append(f"at most {features:,} features that occur (fewer features.bits, or a greater min_count)")
    smaller = _most(shape.largest, lambda size: not over(replace(costs, shape=replace(shape, largest=size))))
    if smaller > MIB // 4:
        found.append(f"blocks of at most {in_bytes(smaller)} (a smaller data.block_bytes)")
    return found


def _narrower(shape: Shape, features: int) -> Shape:
    """The same rows, of which so many features occur."""
    columns = shape.columns * features // max(shape.features, 1)
    return replace(shape, features=features, columns=columns)


def _limits(limit: int) -> Iterator[int]:
    size = max(-(-limit // (64 * MIB)), 1)
    while size < 1 << 24:
        yield size * 64 * MIB
        size += max(size // 16, 1)


def _most(bound: int, fits: Callable[[int], bool]) -> int:
    """The largest number below ``bound`` that fits, 0 if none does."""
    low, high = 0, bound
    while high - low > max(1, bound // 1000):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def in_bytes(size: float, *, up: bool = False) -> str:
    """In a unit that is read at a glance; whole MiB, upwards, where it is to be written into a spec."""
    if up:
        return f"{-(-int(size) // MIB)}MiB"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 999.5 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def in_seconds(value: float) -> str:
    """In seconds or thousandths."""
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"
