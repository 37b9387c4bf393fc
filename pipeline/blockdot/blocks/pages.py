"""How much of its mapped files a process keeps in memory.

    a store up to half of the limit      stays mapped as it was read
    a larger one                         the pages of a block are let go after its use, and those of the next one asked
                                         for before it; what is made of a block is kept in a file that is mapped, too

Pages that were let go stay in the system's page cache while there is room there, and come back at the price of a page
fault. Nothing that is computed depends on any of this. Without a limit (the default) all pages stay.
"""

from __future__ import annotations

import ctypes
import mmap
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import memo

# The shares of the limit that mapped pages and remembered arrays may take; the rest is for vectors and the program.
_MAPPED, _REMEMBERED = 2, 4

# mallopt's numbers, and the sizes that glibc goes up to by itself.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 64 << 20)


def stay(nbytes: int, limit: int | None) -> bool:
    """Whether so many bytes of files may stay in the memory of a process with that limit."""
    return limit is None or nbytes <= limit // _MAPPED


def remembered(limit: int | None) -> int:
    """Bytes of arrays that a fit may remember in a process with that limit."""
    return memo.ROOM if limit is None else min(memo.ROOM, limit // _REMEMBERED)


class Pages:
    """What this process may keep, in bytes."""

    def __init__(self) -> None:
        self.limit: int | None = None

    def allow(self, limit: int | None) -> None:
        """Keep to ``limit`` bytes of memory from now on; None for no limit."""
        self.limit = limit
        memo.allow(remembered(limit))

    def hold(self, nbytes: int) -> bool:
        """Whether so many bytes of files may stay in memory."""
        return stay(nbytes, self.limit)


pages = Pages()


def reuse_freed_memory() -> None:
    """Have the C library's allocator keep arrays of some megabytes for the next ones, as it does by itself elsewhere.

    Dask starts workers with a trim threshold, and with any threshold set, glibc never raises the others: each array is
    then mapped, zeroed page by page, and unmapped, which was a third of the time of a wide pass (docs/design.md).
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        for parameter, size in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            libc.mallopt(parameter, size)


class Mapping:
    """A file, mapped to be read."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @property
    def buffer(self) -> mmap.mmap:
        """Its bytes."""
        return self._map

    def release(self) -> None:
        """Let its pages go."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def prefetch(self) -> None:
        """Have the system read its pages, while this process does something else."""
        self._map.madvise(mmap.MADV_WILLNEED)


class Spilled:
    """Arrays in a temporary file that has no name, mapped."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []

    def moved(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same numbers, in a file."""
        if not array.nbytes:
            return array
        with tempfile.TemporaryFile(prefix="blockdot-") as file:
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return np.frombuffer(self._maps[-1], array.dtype).reshape(array.shape)

    def release(self) -> None:
        """Let their pages go."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
