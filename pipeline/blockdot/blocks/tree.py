"""The fixed summation tree over block ids: the order of every addition.

    sum[lo, hi)  =  sum[lo, lo + p) + sum[lo + p, hi),      p = the largest power of two below hi − lo

The tree belongs to the data set, not to the workers. Every aligned range of 2^L blocks is a subtree, so a worker can
fold whole subtrees and hand back their roots, and folding those roots gives the same bits for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar


class Summable(Protocol):
    """A partial sum over rows. Sums travel; a mean is made once, at the end."""

    def __add__(self, other: Any, /) -> Self: ...


S = TypeVar("S", bound=Summable)
Item = TypeVar("Item")
Out = TypeVar("Out")


class Pool(Protocol):
    """Where work is done: threads of this process, or the workers of a cluster."""

    @property
    def n_workers(self) -> int:
        """How many calls run at the same time."""
        ...

    @property
    def shares_memory(self) -> bool:
        """Whether the calls see this process's arrays; if not, data must lie in a store that every worker can read."""
        ...

    def map(self, function: Callable[..., Out], items: Iterable[Item], *shared: object) -> Iterator[Out]:
        """``function(item, *shared)`` for every item, results in the order of the items.

        Vectors come last among the shared arguments. For a cluster, function, items and shared arguments are pickled;
        what an earlier call left on a worker is never needed.
        """
        ...

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:
        """``function()`` once in each other process that works for this pool now, by the name of the process."""
        ...


@dataclass(frozen=True)
class Subtree:
    """The blocks start … stop−1: an aligned subtree of the summation tree."""

    start: int
    stop: int


def subtrees(n_blocks: int, at_most: int) -> list[Subtree]:
    """Cut the tree over ``n_blocks`` blocks into the smallest aligned subtrees that number ``at_most`` or fewer."""
    size = 1
    while -(-n_blocks // size) > max(at_most, 1):
        size *= 2
    return [Subtree(start, min(start + size, n_blocks)) for start in range(0, n_blocks, size)]


def fold(parts: Iterable[tuple[Subtree, S]]) -> S:
    """Add the sums of consecutive subtrees in the order of the tree, holding at most one sum for each of its levels."""
    stack: list[tuple[Subtree, S]] = []
    for subtree, total in parts:
        stack.append((subtree, total))
        while len(stack) > 1 and _are_siblings(stack[-2][0], stack[-1][0]):
            _join(stack)
    if not stack:
        raise ValueError("there is no block to sum over")
    while len(stack) > 1:
        _join(stack)
    return stack[0][1]


def _are_siblings(left: Subtree, right: Subtree) -> bool:
    size = left.stop - left.start
    return right.stop - right.start == size and left.start % (2 * size) == 0


def _join(stack: list[tuple[Subtree, S]]) -> None:
    right, right_total = stack.pop()
    left, left_total = stack.pop()
    stack.append((Subtree(left.start, right.stop), left_total + right_total))
