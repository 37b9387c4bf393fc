"""Block stores as one process sees them: opened once, blocks mapped when they are first used.

A worker that cannot see a store's folder keeps copies of the files that it needs in a folder of its own, its cache.
What is not there yet it asks for, by NotHereError; whoever can see the store sends the files (dask.py), and the call is
made again. A copy is checked as an original is: by the size and checksum that the manifest names.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from blockdot import atomic
from blockdot.blocks.block import Block
from blockdot.blocks.manifest import MANIFEST, Manifest
from blockdot.blocks.pages import Mapping, Spilled, pages
from blockdot.blocks.store import check_size, placed, read_block, read_table
from blockdot.blocks.table import FeatureTable
from blockdot.errors import StoreError

# Stores that a cache holds at the same time.
_STORES = 3


class NotHereError(StoreError):
    """Files of a store that this process cannot see, and has no copies of yet."""

    def __init__(self, store: Path, digest: str, files: tuple[str, ...]) -> None:
        super().__init__(store, digest, files)
        self.store, self.digest, self.files = store, digest, files

    def __str__(self) -> str:
        return f"{self.store} cannot be seen from here, and there are no copies of {', '.join(self.files)}"


@dataclass(frozen=True)
class StoreSource:
    """The blocks of the store at ``path`` with the manifest digest ``digest``: a few bytes that any worker can use."""

    path: Path
    digest: str

    @property
    def n_blocks(self) -> int:
        return len(_open(self.path, self.digest).manifest.blocks)

    @property
    def n_features(self) -> int:
        return len(_open(self.path, self.digest).table)

    def block(self, index: int) -> Block:
        """Block ``index``, mapped; checked when it is first used in this process."""
        return _open(self.path, self.digest).block(index)

    def expect(self, blocks: Sequence[int]) -> None:
        """Ask for the files of these blocks, where this process needs copies of them."""
        _open(self.path, self.digest).expect(blocks)

    def release(self, index: int) -> None:
        """Let the pages of block ``index`` go, where memory is short."""
        _open(self.path, self.digest).release(index)

    def forget(self) -> None:
        """Let go of the maps of its blocks in this process: room of files that are removed is free only then."""
        _open(self.path, self.digest).forget()

    def name(self, index: int) -> str:
        """The file of block ``index``."""
        return str(self.path / _open(self.path, self.digest).manifest.blocks[index].file)


class _OpenStore:
    """The manifest, the table of features, and the blocks mapped so far."""

    def __init__(self, path: Path, copied_from: Path | None = None) -> None:
        self.path, self._original = path, copied_from
        self.manifest = Manifest.read(path)
        self._ask_for([self.manifest.table.file])
        self.table = read_table(path, self.manifest)
        self._size = sum(entry.size for entry in self.manifest.blocks)
        self._blocks: dict[int, Block] = {}
        self._files: dict[int, tuple[Mapping, Spilled]] = {}
        self._next: dict[int, int] = {}
        self._in_use: set[int] = set()  # of the passes that go on now
        self._gone: set[int] = set()  # mapped blocks whose pages were let go
        self._places = 0  # bytes of them in memory

    def block(self, index: int) -> Block:
        if index not in self._blocks:  # two threads may both map it: the maps are equal, and one of them is kept
            self._blocks[index] = self._mapped(index)
        return self._blocks[index]

    def _mapped(self, index: int) -> Block:
        entry = self.manifest.blocks[index]
        block, mapping = read_block(self.path, entry, self.manifest.n_labels)
        block = placed(self.path / entry.file, block, self.table)
        spilled = Spilled()
        assert block.positions is not None
        nbytes = block.positions.nbytes + (0 if block.order is None else block.order.nbytes)
        if pages.keep_places(self._places + nbytes, self._size):
            self._places += nbytes
        else:
            order = None if block.order is None else spilled.moved(block.order)
            block = replace(block, positions=spilled.moved(block.positions), order=order)
        self._files[index] = mapping, spilled
        return block

    def expect(self, blocks: Sequence[int]) -> None:
        self._ask_for([self.manifest.blocks[index].file for index in blocks if index not in self._blocks])
        if not blocks:
            return
        self._next.update(pairwise(blocks))
        self._next.pop(blocks[-1], None)
        self._in_use.add(blocks[0])
        for index in blocks[:2]:
            self._prefetch(index)

    def release(self, index: int) -> None:
        """The next block is in use now; of the one after it the pages are asked for."""
        self._in_use.discard(index)
        following = self._next.get(index)
        if following is not None:
            self._in_use.add(following)
        if pages.are_too_many(sum(self.manifest.blocks[i].size for i in tuple(self._in_use))):
            for file in self._files.get(index, ()):
                file.release()
            self._gone.add(index)
        if following in self._next:
            self._prefetch(self._next[following])

    def _prefetch(self, index: int) -> None:
        if index in self._gone:
            self._gone.discard(index)
            for file in self._files.get(index, ()):
                file.prefetch()

    def forget(self) -> None:
        self._blocks.clear()
        self._files.clear()
        self._in_use.clear()
        self._gone.clear()
        self._places = 0

    def _ask_for(self, files: Sequence[str]) -> None:
        if self._original is not None:
            missing = tuple(file for file in files if not (self.path / file).exists())
            if missing:
                raise NotHereError(self._original, self.manifest.digest, missing)


@lru_cache(maxsize=16)
def _open(path: Path, digest: str) -> _OpenStore:
    copied = copies.store(digest)
    if copied is None or (path / MANIFEST).exists():
        opened = _OpenStore(path)
    elif (copied / MANIFEST).exists():
        opened = _OpenStore(copied, path)
    else:
        raise NotHereError(path, digest, (MANIFEST,))
    if opened.manifest.digest != digest:
        raise StoreError(
            f"{path} changed since it was opened: its digest was {digest} and is {opened.manifest.digest}; "
            "open it again"
        )
    return opened


def open_store(path: Path) -> tuple[StoreSource, Manifest, FeatureTable]:
    """Open a store: read its manifest, and see that every file is there with its size.

    Raises StoreError, naming the file, what was expected and what was found.
    """
    path = path.absolute()
    manifest = Manifest.read(path)
    for entry in (manifest.table, *manifest.blocks):
        check_size(path, entry)
    return StoreSource(path, manifest.digest), manifest, _open(path, manifest.digest).table


class Copies:
    """Where this process keeps copies of stores that it cannot see; nowhere, until it is given a folder."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def use(self, folder: Path) -> None:
        """Keep copies in ``folder`` from now on."""
        self._folder = folder

    def store(self, digest: str) -> Path | None:
        """The folder of the copies of the store with that digest."""
        return None if self._folder is None else self._folder / digest

    def receive(self, digest: str, file: str, data: bytes | memoryview) -> None:
        """Keep ``data`` as the copy of the store's file of that name; the oldest stores make room."""
        if self._folder is None:
            raise StoreError("this process keeps no copies of stores")
        folder = self._folder / digest
        path = folder / file
        if Path(digest).name != digest or Path(file).is_absolute() or ".." in Path(file).parts:
            raise StoreError(f"the file name {file!r} of the store {digest!r} points outside the cache")
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(path, data)
        others = sorted((other for other in self._folder.iterdir() if other != folder), key=lambda o: o.stat().st_mtime)
        for old in others[: max(len(others) + 1 - _STORES, 0)]:
            shutil.rmtree(old, ignore_errors=True)


copies = Copies()
