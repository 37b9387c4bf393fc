"""How much of its mapped files a process keeps in memory.

    pages of a block       stay after its use while what the process has in memory, and the blocks in use, are at most
                           5/8 of the limit; beyond that they are let go, and asked for again one block ahead
    places of its columns  are made in memory; at most (limit/2 − the store)/2 bytes of them stay there, and the others
                           lie in a file that is mapped, too

So of a store that does not fit, as much stays as there is room for, and a larger limit never leaves less room for the
rest: what cannot be let go grows by at most half of what the limit grows by (places by a quarter, what a fit remembers
by a quarter). Pages that were let go stay in the system's page cache while there is room there, and come back at the
price of a page fault. Nothing that is computed depends on any of this. Without a limit (the default) all stays.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import memo

# The share of the limit at which pages are let go: Dask takes measures from 0.7 on. And of what is remembered.
_FULL, _REMEMBERED = 5 / 8, 4

# mallopt's numbers, and the sizes that glibc goes up to by itself.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 64 << 20)


def full(limit: int | None) -> float:
    """Bytes from which on a process with that limit lets pages go."""
    return math.inf if limit is None else _FULL * limit


def places(limit: int | None, store: int) -> float:
    """Bytes of places that may stay in the memory of a process with that limit, beside a store of that size."""
    return math.inf if limit is None else max(limit // 2 - store, 0) // 2


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

    def are_too_many(self, in_use: int) -> bool:
        """Whether a block that is not needed now should be let go, for the sake of blocks of so many bytes that are."""
        return self.limit is not None and resident() + in_use > full(self.limit)

    def keep_places(self, nbytes: int, store: int) -> bool:
        """Whether so many bytes of places may stay in memory, beside a store of that size."""
        return nbytes <= places(self.limit, store)


pages = Pages()


def resident() -> float:
    """Bytes of this process that are in memory, mapped pages too; infinitely many where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE
    except OSError:
        return math.inf


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

    def prefetch(self) -> None:
        """Have the system read their pages, while this process does something else."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_WILLNEED)
