"""Features by their ids, in the order in which they first came: what is learnt from rows that nobody has counted.

place of id  =  how many other ids came before it        a hash table that grows, no matter how wide the space is
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import batch_kernel


class Registry:
    """The ids so far. ``ids`` are those that are known already, at the places 0, 1, …"""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self._known, self._count = np.empty(0, np.int64), 0
        self._slots = np.full(1, -1, np.int64)
        self.places(ids)

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids, by their places."""
        return self._known[: self._count]

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the ids are; those that never came before get the next places."""
        self._make_room(self._count + len(ids))
        places = np.empty(len(ids), np.int64)
        self._count = batch_kernel.enter(ids, self._slots, self._known, self._count, places)
        return places

    def _make_room(self, count: int) -> None:
        if count > len(self._known):
            known = np.empty(2 * count, np.int64)
            known[: self._count] = self.ids
            self._slots = np.full(1 << (4 * count).bit_length(), -1, np.int64)
            batch_kernel.enter(self.ids, self._slots, known, 0, np.empty(self._count, np.int64))
            self._known = known
