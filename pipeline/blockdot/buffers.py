"""Arrays whose memory is used again.

A fresh array of some MB can cost more than what is computed into it: its pages come from the system one by one, each
of them zeroed, and go back when it dies (docs/design.md, "What a fresh array costs"). The arrays of a pass and of a
solver's step live for a moment, and the next pass wants the same ones. So they are taken from here; an array that
nobody refers to any more, nor to a view of it, has given its memory back.
"""

from __future__ import annotations

import math
import mmap as system
from collections import deque
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Shape = int | tuple[int, ...]

# Bytes from which on memory is kept: what is smaller, the allocator itself keeps at hand.
_LEAST = 1 << 18
# All pages at once, where the system can: one by one, as they are written to, they take longer.
_AT_ONCE: int = getattr(system, "MAP_POPULATE", 0)

_spare: dict[int, deque[mmap]] = {}
"""Memory that waits for its next use, by its size; a deque is used by several threads without a lock."""


def empty(shape: Shape, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """An array of that shape, C-contiguous, whose numbers are whatever was there before."""
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    kind = np.dtype(dtype)
    n_bytes = int(size) * kind.itemsize
    if n_bytes < _LEAST:
        return np.empty(shape, kind)
    grain = 1 << (n_bytes.bit_length() - 4)  # an eighth of it at most is left over
    room = -(-n_bytes // grain) * grain
    try:
        memory = _spare[room].pop()
    except (KeyError, IndexError):
        memory = _mapped(room, _AT_ONCE)
    return np.asarray(_Loan(memory, shape if isinstance(shape, tuple) else (shape,), kind.str))


def zeros(shape: Shape, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """The same, filled with 0."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def untouched_zeros(shape: Shape) -> NDArray[np.float64]:
    """Zeros that take memory page by page as they are written to, and give it back to the system.

    As ``np.zeros``, which asks for huge pages: to get and clear these took five times as long (docs/design.md).
    """
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    if size * 8 < _LEAST:
        return np.zeros(shape)
    return np.frombuffer(_mapped(size * 8), np.float64).reshape(shape)


def forget() -> None:
    """Give the memory that waits back to the system."""
    _spare.clear()


def _mapped(n_bytes: int, how: int = 0) -> mmap:
    try:
        return mmap(-1, n_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS | how)
    except OSError as error:
        raise MemoryError(f"there is no room for an array of {n_bytes:,} bytes: {error.strerror}") from error


class _Loan:
    """Owns what arrays look at; when the last of them is gone, its memory waits for the next."""

    __slots__ = ("__array_interface__", "_memory")

    def __init__(self, memory: mmap, shape: tuple[int, ...], kind: str) -> None:
        self._memory = memory
        address = np.frombuffer(memory, np.uint8).ctypes.data
        self.__array_interface__: dict[str, Any] = {
            "shape": tuple(int(length) for length in shape),
            "typestr": kind,
            "data": (address, False),
            "version": 3,
        }

    def __del__(self, spare: dict[int, deque[mmap]] = _spare, new: type[deque[mmap]] = deque) -> None:
        spare.setdefault(len(self._memory), new()).append(self._memory)  # by arguments: at the end globals are gone
