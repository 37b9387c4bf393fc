"""Who is told how a run goes on: a person at a terminal, or a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tick = Callable[[int, int | None], None]


class Reporter(Protocol):
    """Who is told."""

    def say(self, text: str) -> None:
        """A line worth reading."""
        ...

    def track(self, what: str) -> AbstractContextManager[Tick]:
        """Follow something long: call the tick with how much is done, and of how much, where that is known."""
        ...


class Quiet:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def track(self, what: str) -> Iterator[Tick]:  # noqa: ARG002
        """Nothing."""
        yield lambda _done, _total: None
