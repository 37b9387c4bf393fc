"""Who the workers of a cluster are, where each call belongs, and which of them have gone silent.

    seats    one for each thread of each worker; the i-th of a few calls belongs to the i-th seat, pass after pass,
             so that a worker meets the blocks again whose pages and whose z it has
    silent   a worker whose heartbeat has not been renewed for some seconds of this process's clock: frozen, or cut off

A worker keeps its seats while it is there; one that comes takes the seats of one that went.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Seconds without a heartbeat. Dask's workers send one every half second, of more than 200 workers every n/200 + 1 s.
_SILENT = 4.0
_BEATS = 8.0


@dataclass
class Crew:
    """The workers that the scheduler knows."""

    seats: list[str] = field(default_factory=list)
    silent: frozenset[str] = frozenset()
    alarms: int = 0
    """How often a worker has gone, or gone silent."""
    _beats: dict[str, tuple[float, float]] = field(default_factory=dict)  # the last heartbeat, and when it was new here

    def update(self, threads: Mapping[str, int], heartbeats: Mapping[str, float], now: float) -> None:
        """What the scheduler says: the threads and the last heartbeat (by its own clock) of each worker."""
        # Dask leaves a task for ever that was meant for a worker that went when it was the last (2026.8)
        gone = self.workers - set(threads)
        left = dict(threads)
        places: list[str | None] = []
        for worker in self.seats:
            left[worker] = left.get(worker, 0) - 1
            places.append(worker if left[worker] >= 0 else None)
        new = [worker for worker in sorted(left) for _ in range(left[worker])]
        filled = [place if place is not None else (new.pop(0) if new else None) for place in places]
        self.seats = [worker for worker in (*filled, *new) if worker is not None]

        for worker, beat in heartbeats.items():
            if self._beats.get(worker, (None,))[0] != beat:
                self._beats[worker] = (beat, now)
        self._beats = {worker: self._beats[worker] for worker in heartbeats}
        patience = max(_SILENT, _BEATS * (len(heartbeats) / 200 + 0.5))
        silent = frozenset(worker for worker, (_, new) in self._beats.items() if now - new > patience)
        self.alarms += bool(gone or silent - self.silent)
        self.silent = silent

    @property
    def workers(self) -> set[str]:
        """Those that are there, silent ones too."""
        return set(self.seats)

    @property
    def healthy(self) -> list[str]:
        """Those that answer."""
        return sorted(self.workers - self.silent)
