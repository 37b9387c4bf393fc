"""Values on their way between processes: pickled, their large arrays apart.

    parcel  =  head: a pickle without its large arrays (PEP 574)   +   the arrays: with it, or in a file in memory

Processes of one machine hand arrays on through files in a folder that lies in memory: what is written once is mapped by
all, and crosses no socket. A :class:`Mailbox` is such a folder; its owner makes and removes it. Where there is none, or
no room in it, arrays travel with the head. Only heads that came over a connection are unpickled; a file holds numbers.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cloudpickle
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SMALL = 1 << 16
"""Bytes up to which a value travels with the call that needs it."""

_IN_MEMORY = Path("/dev/shm")
_NAME = "blockdot-mail-"


class ParcelLostError(RuntimeError):
    """The arrays of a parcel are not where they were put, or cannot be seen from this process."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """A value, packed."""

    head: bytes
    arrays: tuple[Bytes, ...] = ()
    file: str = ""
    """Where the arrays lie one after the other instead, each at a multiple of a cache line."""
    sizes: tuple[int, ...] = ()

    @classmethod
    def of(cls, value: object) -> Parcel:
        """Pack ``value``, whose arrays are not written to any more. What workers cannot import goes by value."""
        buffers: list[Any] = []  # pickle.PickleBuffer
        head = cloudpickle.dumps(value, protocol=5, buffer_callback=lambda buffer: _is_small(buffer, buffers))
        return cls(head, tuple(np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers))

    @property
    def nbytes(self) -> int:
        """What travels with it."""
        return len(self.head) + sum(array.nbytes for array in self.arrays)

    def __sizeof__(self) -> int:
        return self.nbytes  # or a cluster's scheduler takes it for nothing

    def open(self) -> Any:
        """The value, its large arrays read-only; ParcelLostError if they are gone."""
        return cloudpickle.loads(self.head, buffers=self._mapped() if self.file else list(self.arrays))

    def _mapped(self) -> list[memoryview]:
        try:
            with Path(self.file).open("rb") as file:
                whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise ParcelLostError(f"{self.file}: {error}") from None
        starts = _starts(self.sizes)
        if starts[-1] != len(whole):
            raise ParcelLostError(f"{self.file} has {len(whole)} bytes, expected {starts[-1]}")
        return [whole[start : start + size] for start, size in zip(starts, self.sizes, strict=False)]


class Mailbox:
    """A folder in memory that processes of this machine and user can see.

    Its name holds the process that owns it: what a process left that was killed is swept away by the next.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def made(cls) -> Mailbox | None:
        """A new one; None where this machine has no such folders."""
        if not _IN_MEMORY.is_dir() or not os.access(_IN_MEMORY, os.W_OK):
            return None
        _sweep(_IN_MEMORY)
        return cls(Path(tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-", dir=_IN_MEMORY)))

    def put(self, parcel: Parcel) -> Parcel:
        """The parcel with its arrays in the folder; as it is, where it is small or there is no room."""
        if sum(array.nbytes for array in parcel.arrays) <= SMALL:
            return parcel
        file, sizes = self.path / uuid.uuid4().hex, tuple(array.nbytes for array in parcel.arrays)
        starts = _starts(sizes)
        try:
            with file.open("xb", buffering=0) as out:
                for start, array in zip(starts, parcel.arrays, strict=False):
                    _write_all(out.fileno(), array, start)
                out.truncate(starts[-1])
        except OSError:  # no room in memory, or no folder any more
            with suppress(OSError):
                file.unlink()
            return parcel
        return Parcel(parcel.head, (), str(file), sizes)

    def taken(self, parcel: Parcel) -> Any:
        """The value; its file is gone from the folder, and goes from memory when the value does."""
        value = parcel.open()
        self.drop(parcel)
        return value

    def drop(self, parcel: Parcel) -> None:
        """Remove the parcel's file; who has opened it keeps it."""
        if parcel.file:
            with suppress(OSError):
                Path(parcel.file).unlink()

    def close(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_small(buffer: Any, kept: list[Any]) -> bool:
    """Whether the array shall stay in the pickle; if not, it is kept apart."""
    if memoryview(buffer).nbytes <= 1024:
        return True
    kept.append(buffer)
    return False


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where each array starts, and where the file ends."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + -(-max(size, 1) // 64) * 64)
    return starts


def _write_all(descriptor: int, array: Bytes, start: int) -> None:
    # by write, not by a map: a map of a folder that is full ends the process by a signal, a write by an error
    view, done = memoryview(array.data), 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], start + done)


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"{_NAME}*-*"):
        owner = path.name.removeprefix(_NAME).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)
