"""What a process remembers between the passes of one fit: one array a row, for each block.

    remembered = compute(block, vectors),    kept under the name of the quantity and a key of what it depends on

Each quantity (z = X w, its curvature) is a pure function of the block and of vectors that the key is a digest of. So
forgetting, on a new worker or for lack of room, costs time and never a bit. Under each name the last one is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blockdot import buffers

if TYPE_CHECKING:
    from blockdot.blocks.block import Block

Array = NDArray[np.float64]

# Bytes of remembered arrays of one fit in one process. What does not fit is computed again; the first to come stay,
# because passes go round the blocks in order, and turning out the oldest would then turn out every one before its use.
ROOM = 2 << 30
_room = ROOM
# Fits that a process remembers at the same time, and of each fit views: workers are not told that one has ended.
_FITS, _VIEWS = 2, 6


class Memo:
    """The remembered arrays of one block, and the block itself as its source made it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.taken = 0
        """Bytes of the shelf's room that are in use here."""
        self._kept: dict[str, tuple[bytes, Array]] = {}
        self._block: Block | None = None

    def block(self, make: Callable[[], Block]) -> Block:
        """The block as its source made it (labels encoded, places looked up, features merged), made where missing."""
        if self._block is not None:
            return self._block
        block = make()
        if self._admits(block.copied + (0 if block.y is None else block.y.nbytes)):
            self._block = block
        return block

    def get(self, name: str, key: bytes) -> Array | None:
        """The array that was kept under ``name`` and ``key``, or None."""
        found = self._kept.get(name)
        return found[1] if found is not None and found[0] == key else None

    def put(self, name: str, key: bytes, array: Array, older: str = "") -> None:
        """Keep ``array``, which is not written to any more, in place of what was kept under ``name``.

        That is kept under ``older`` instead, if there is such a name, and room for both.
        """
        before, oldest = self._kept.pop(name, None), self._kept.get(older)
        if older and before is not None and self._admits(array.nbytes - _size(oldest)):
            self._kept[older], self._kept[name] = before, (key, array)
        elif self._admits(array.nbytes - _size(before)):
            self._kept[name] = (key, array)
        elif before is not None:
            self._kept[name] = before

    def remember(self, name: str, key: bytes, compute: Callable[[], Array]) -> Array:
        """What is kept under ``name`` and ``key``, computed where it is missing."""
        array = self.get(name, key)
        if array is None:
            array = compute()
            self.put(name, key, array)
        return array

    def _admits(self, growth: int) -> bool:
        if not self._shelf.admits(growth):
            return False
        self.taken += growth
        return True


def _size(kept: tuple[bytes, Array] | None) -> int:
    return 0 if kept is None else kept[1].nbytes


class Shelf:
    """The memos of one fit: of its blocks, and of other views of them, by their names."""

    def __init__(self, room: int | None = None) -> None:
        self._memos: OrderedDict[str, dict[int, Memo]] = OrderedDict()
        self._room = _room if room is None else room
        self._lock = Lock()

    def memo(self, index: int, view: str = "") -> Memo:
        """The memo of block ``index`` of a view."""
        with self._lock:
            found = self._memos.setdefault(view, {}).setdefault(index, Memo(self))
            self._memos.move_to_end(view)
            while len(self._memos) > _VIEWS:
                self._drop(next(iter(self._memos)))
        return found

    def drop(self, view: str) -> None:
        """Forget what is remembered of a view, and give its room back."""
        with self._lock:
            self._drop(view)

    def _drop(self, view: str) -> None:
        self._room += sum(memo.taken for memo in self._memos.pop(view, {}).values())

    def admits(self, growth: int) -> bool:
        """Whether there is room for so many bytes more; if so they are taken."""
        with self._lock:
            if growth > self._room:
                return False
            self._room -= growth
            return True


def allow(room: int) -> None:
    """Let the fits that begin from now on remember at most ``room`` bytes each."""
    global _room
    _room = room


_shelves: OrderedDict[str, Shelf] = OrderedDict()
_shelves_lock = Lock()


def memo(blocks: str, index: int) -> Memo:
    """This process's memo of block ``index`` of the blocks with that name: a fit's, or ``fit/view``."""
    fit, _, view = blocks.partition("/")
    with _shelves_lock:
        if fit not in _shelves:
            _shelves[fit] = Shelf()
            while len(_shelves) > _FITS:
                _shelves.popitem(last=False)
                buffers.forget()
        _shelves.move_to_end(fit)
        return _shelves[fit].memo(index, view)


def forget(blocks: str) -> None:
    """Drop the shelf of a fit that has ended, or what is remembered of a view of its blocks."""
    fit, _, view = blocks.partition("/")
    with _shelves_lock:
        shelf = _shelves.get(fit)
        if shelf is None:
            return
        if view:
            shelf.drop(view)
            return
        del _shelves[fit]
    buffers.forget()
