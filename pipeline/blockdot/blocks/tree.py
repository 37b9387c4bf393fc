"""The fixed summation tree over block ids: the order of every addition.

    sum[lo, hi)  =  sum[lo, lo + p) + sum[lo + p, hi),      p = the largest power of two below hi − lo

The tree belongs to the data set, not to the workers. Every aligned range of 2^L blocks is a subtree; a run of blocks
is made of a few of them. So a worker folds its run as far as the tree allows and hands back the few sums that are left,
and folding those of all workers gives the same bits for any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, Self, TypeVar


class Summable(Protocol):
    """A partial sum over rows. Sums travel; a mean is made once, at the end.

    What a pass returns is the tree's own: the sum to its right may be added to it in place (``+=``).
    """

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
    def n_calls(self) -> int:
        """How many calls a sum over all blocks is best cut into."""
        ...

    @property
    def shares_memory(self) -> bool:
        """Whether the calls see this process's arrays; if not, data must lie in a store that every worker can read."""
        ...

    def map(self, function: Callable[..., Out], items: Iterable[Item], *shared: object) -> Iterator[Out]:
        """``function(item, *shared)`` for every item, results in the order of the items.

        For a cluster, function, items and shared arguments are pickled; what an earlier call left on a worker is never
        needed. Raises WorkersKilledError for an item whose call killed every worker that tried it.
        """
        ...

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:
        """``function()`` once in each other process that works for this pool now, by the name of the process."""
        ...

    def require(self, question: Callable[[], Out], judge: Callable[[str, Out], None]) -> None:
        """Have each other process judged by its name and its answer: those that work for this pool now, and each that
        comes later before it is given work.

        Raises what ``judge`` raises (a BlockdotError) for one that is there; one that comes later is left out for it.
        """
        ...


@dataclass(frozen=True)
class Span:
    """The blocks start … stop−1."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def leaves(self) -> Iterator[Span]:
        """Its blocks, each by itself."""
        return (Span(i, i + 1) for i in range(self.start, self.stop))


# A cut may lie this share of a span away from where it would even the spans out, to lie at the edge of larger subtrees.
_SLACK = 8


def spans(n_blocks: int, n_spans: int) -> list[Span]:
    """Cut the blocks into at most ``n_spans`` runs of nearly the same length, at the edges of large subtrees."""
    n_spans = max(n_spans, 1)
    grain = 1
    while 2 * grain * _SLACK * n_spans <= n_blocks:
        grain *= 2
    edges = sorted({0, n_blocks, *(round(i * n_blocks / (n_spans * grain)) * grain for i in range(1, n_spans))})
    return [Span(start, stop) for start, stop in pairwise(edges)]


def roots(span: Span, n_blocks: int) -> list[Span]:
    """The subtrees that a run of blocks is made of: what is left of its sums when they are joined."""
    found, start = [], span.start
    while start < span.stop:
        stop, size = start + 1, 2
        while stop < n_blocks and start % size == 0 and min(start + size, n_blocks) <= span.stop:
            stop, size = min(start + size, n_blocks), 2 * size
        found.append(Span(start, stop))
        start = stop
    return found


def joined(parts: Iterable[tuple[Span, S]], n_blocks: int) -> list[tuple[Span, S]]:
    """Add the sums of consecutive subtrees as far as the tree over ``n_blocks`` allows; what is left, in order.

    One sum is held for each level of the tree, at most.
    """
    stack: list[tuple[Span, S]] = []
    for span, total in parts:
        stack.append((span, total))
        while len(stack) > 1 and _are_siblings(stack[-2][0], stack[-1][0], n_blocks):
            right, right_total = stack.pop()
            left, total = stack.pop()
            total += right_total
            stack.append((Span(left.start, right.stop), total))
    return stack


def fold(parts: Iterable[tuple[Span, S]], n_blocks: int) -> S:
    """The sum of all blocks, from the sums of consecutive subtrees."""
    stack = joined(parts, n_blocks)
    if not stack:
        raise ValueError("there is no block to sum over")
    ((whole, total),) = stack
    assert (whole.start, whole.stop) == (0, n_blocks)
    return total


def _are_siblings(left: Span, right: Span, n_blocks: int) -> bool:
    """Whether the two are the halves of a subtree, of which the right one may be cut short by the end of the blocks."""
    end = left.start + 2 * len(left)
    return left.start % (2 * len(left)) == 0 and left.stop == right.start and right.stop == min(end, n_blocks)
