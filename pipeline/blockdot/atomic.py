"""Files and directories that appear whole or not at all.

Everything is written aside, flushed to the disk, and renamed into place; what a crash leaves behind carries the ending
``.partial``, which no reader opens. A directory is written aside under one name, by who holds its lock, and the next
writer removes what is left of it. A file is written aside under a name of its own by each attempt, because a call on a
cluster can be made a second time while the first still runs; who next holds the lock of its directory sweeps it up.
Locks are ``flock`` locks: the kernel drops them when their process ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from blockdot.errors import ExecutionError, StoreError

_ATTEMPT = re.compile(r"\..+\.[0-9a-f]{16}\.partial")


def write_file(path: Path, data: bytes | memoryview, mode: int = 0o666) -> None:
    """Write ``data`` to ``path``: the old content or the new, never a mixture. Raises StoreError with path and size.

    Of several that write it at the same time, the last to end counts. ``mode`` says who may read and write it, before
    the umask of the process.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        try:
            with os.fdopen(_created(aside, os.O_WRONLY | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error, len(data)) from error


def sweep(directory: Path) -> None:
    """Remove the files that writers who were killed left in ``directory``: for who holds its lock, when nobody writes.

    A writer that lives would lose its file, and say so. Raises StoreError for a directory that cannot be written to.
    """
    try:
        for file in directory.iterdir():
            if _ATTEMPT.fullmatch(file.name):
                file.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(directory, error) from error


@contextmanager
def new_directory(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside ``path`` that becomes ``path`` when the block ends without an error.

    Raises
    ------
    StoreError
        ``path`` exists and ``overwrite`` is false, or the place cannot be written to.
    ExecutionError
        Another process is writing the same ``path`` now.
    """
    _refuse_existing(path, overwrite)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_path = path.with_name(f".{path.name}.lock")
        with locked(lock_path, f"{path} is being written by another process; wait for it, or choose another place"):
            _refuse_existing(path, overwrite)  # another process may have finished it before we got the lock
            _discard(aside)  # left by a process that was killed: its lock is gone
            aside.mkdir()
            try:
                yield aside
                _swap(aside, path)
            finally:
                _discard(aside)
                lock_path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new directory among the temporary files, removed when the block ends."""
    path = Path(tempfile.mkdtemp(prefix="blockdot-"))
    try:
        yield path
    finally:
        _discard(path)


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; raise ExecutionError with the text ``busy`` if another holds it."""
    while True:
        try:
            file = os.fdopen(_created(path, os.O_WRONLY | os.O_APPEND), "a")
        except OSError as error:
            raise write_error(path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExecutionError(busy) from None
            if not _is_at(file, path):  # its holder removed it between our two calls: lock the file that is there now
                continue
            yield
            return


def _created(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file to write to, and no symbolic link: one that somebody laid where we write could lead anywhere."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off what SIGINT, SIGTERM and SIGALRM do until the block has ended. (Only the main thread handles signals.)"""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: set[int] = set()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    handlers = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not of Python
    try:
        for number in handlers:
            signal.signal(number, lambda given, _: pending.add(given))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for given in sorted(pending):
            signal.raise_signal(given)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_error(path: Path, error: OSError, size: int | None = None) -> StoreError:
    """The error for a write that the operating system refused, with the remedy where there is an obvious one."""
    remedy = {
        errno.ENOSPC: "free some room, or choose another disk",
        errno.EDQUOT: "free some of your quota, or choose another disk",
        errno.EACCES: "choose a directory that you may write to",
        errno.EPERM: "choose a directory that you may write to",
        errno.ELOOP: "a symbolic link lies where the file should be written: remove it",
        errno.EROFS: "choose a directory on a disk that can be written to",
    }.get(error.errno or 0, "nothing was kept of it; mend the cause and run it again")
    what = f" ({size:,} bytes)" if size is not None else ""
    return StoreError(f"cannot write {path}{what}: {error.strerror or error}; {remedy}")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise StoreError(f"{path} exists already; choose another place, remove it, or allow it to be overwritten")


def rename_directory(aside: Path, path: Path) -> None:
    """Flush the finished directory ``aside`` to the disk and rename it to ``path``, replacing what was there."""
    try:
        _swap(aside, path)
    except OSError as error:
        raise write_error(path, error) from error


def _swap(aside: Path, path: Path) -> None:
    for file in sorted(aside.rglob("*")):
        if _ATTEMPT.fullmatch(file.name):  # of a call that was made again, and is not needed any more
            file.unlink(missing_ok=True)
        else:
            _sync(file)
    _sync(aside)
    old = _gone(path)
    _remove(old)
    if path.exists():
        path.rename(old)  # a directory that is not empty cannot be renamed over
    aside.rename(path)
    _sync(path.parent)
    _remove(old)


def _discard(path: Path) -> None:
    """Remove a directory, if it is there, into which calls may still write: another failed, or they were made again.

    It is renamed before, so that they find no place to write to: what they wrote while the files are removed would
    stay, or the removal fail and hide why they are removed. One that cannot be removed is left to the next writer.
    """
    gone = _gone(path)
    with suppress(OSError):
        _remove(gone)
        path = path.rename(gone)
    for _ in range(2):  # one that had found its place before we renamed it may still make its file: nothing after it
        shutil.rmtree(path, ignore_errors=True)


def _gone(path: Path) -> Path:
    """The name under which the directory ``path`` is removed."""
    return path.with_name(f".{path.name.strip('.')}.old.partial")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
