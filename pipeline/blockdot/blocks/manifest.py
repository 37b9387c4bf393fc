"""The manifest of a block store: what the directory must hold, written last.

``manifest.json`` lists every file with its size and xxh3-128 checksum, so that a file that is missing, truncated,
altered or from another store is found before a number of it is used. Its own ``digest`` covers all of that: two stores
with the same digest hold the same bytes. It contains no time and no path of the machine that wrote it.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Literal

import xxhash
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from blockdot.errors import StoreError

MANIFEST = "manifest.json"

_LARGEST_JSON = 2**30  # a manifest has some 300 bytes a block


class FileEntry(BaseModel):
    """One file of the store."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: str
    size: NonNegativeInt
    checksum: str

    @classmethod
    def of(cls, file: str, data: bytes | memoryview) -> FileEntry:
        """The entry for a file ``file`` (relative to the store) with the content ``data``."""
        return cls(file=file, size=len(data), checksum=checksum(data))


class BlockEntry(FileEntry):
    """One block: its file and what is in it. ``labels`` counts each value of y, where they are few."""

    rows: NonNegativeInt
    nnz: NonNegativeInt
    columns: NonNegativeInt
    weight: float
    labels: tuple[tuple[float, int], ...] | None


def _not_a_store(path: Path) -> str:
    """Why the directory ``path`` without a manifest is none, and where one may be meant."""
    inside = sorted(found.parent.name for found in path.glob(f"*/{MANIFEST}"))
    if inside:
        return f"{path} is a directory with block stores in it, and none itself: name one of them ({', '.join(inside)})"
    names = sorted(found.name for found in path.iterdir())
    held = f"what is there is {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else "it is empty"
    return (
        f"{path} has no {MANIFEST}: it is not a block store, or one that was never finished; {held}; "
        "name another directory, or ingest it again"
    )


class Manifest(BaseModel):
    """What a store holds. ``n_features`` is the width of the space of ids; ``n_occurring`` (k) of them occur."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["blockdot-store"] = "blockdot-store"
    version: Literal[1, 2, 3] = 2
    """1 knew no dense columns, 2 no targets of several columns. A store has the least that can say what it holds, and
    those of all are read."""
    rows: NonNegativeInt
    nnz: NonNegativeInt
    n_features: NonNegativeInt
    n_occurring: NonNegativeInt
    table: FileEntry
    """The features that occur: id, count, sum and sum of squares, most frequent first."""
    blocks: tuple[BlockEntry, ...]
    classes: tuple[str, ...] | None
    """The labels that y = 0, 1, … (or the columns of y) stand for, where the raw labels were text."""
    n_labels: PositiveInt | None = None
    """L, where a row has any number of L labels: y is (rows, L) then."""
    features: dict[str, Any] | None
    """How raw files become features (see blockdot.ingest)."""
    files: tuple[str, ...]
    rows_read: NonNegativeInt
    dropped: dict[str, int]
    digest: str = ""

    def sealed(self) -> Manifest:
        """The same manifest with its digest."""
        return self.model_copy(update={"digest": self._digest()})

    def to_json(self) -> bytes:
        """The bytes of manifest.json."""
        return json.dumps(self._content() | {"digest": self.digest}, indent=1, sort_keys=True).encode() + b"\n"

    def _digest(self) -> str:
        return checksum(json.dumps(self._content(), sort_keys=True, separators=(",", ":")).encode())

    def _content(self) -> dict[str, Any]:
        """All but the digest; what earlier versions did not know is left out where there is none of it."""
        unknown = {"n_labels"} if self.n_labels is None else set()
        return self.model_dump(mode="json", exclude={"digest", *unknown})

    @classmethod
    def read(cls, store: Path) -> Manifest:
        """Read and check the manifest of the directory ``store``."""
        path = store / MANIFEST
        if not store.is_dir():
            raise StoreError(f"{store}: there is no such store; `blockdot ingest` or bd.ingest makes one")
        try:
            manifest = cls.model_validate(read_json(path))
        except FileNotFoundError:
            raise StoreError(_not_a_store(store)) from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise StoreError(f"{path}: {place or 'the whole'}: {first['msg']}; ingest the store again") from None
        if manifest.digest != manifest._digest():
            raise StoreError(f"{path} was altered: its content does not match its digest; ingest the store again")
        manifest._refuse_strange_names(path)
        manifest._refuse_contradictions(path)
        return manifest

    def _refuse_strange_names(self, path: Path) -> None:
        for entry in (self.table, *self.blocks):
            parts = Path(entry.file).parts
            if Path(entry.file).is_absolute() or ".." in parts or not parts or "\0" in entry.file:
                raise StoreError(f"{path}: the file name {entry.file!r} points outside the store")

    def _refuse_contradictions(self, path: Path) -> None:
        for name in ("rows", "nnz"):
            stated, found = getattr(self, name), sum(getattr(entry, name) for entry in self.blocks)
            if stated != found:
                raise StoreError(f"{path}: {name} is {stated}, and its blocks have {found}; ingest the store again")
        if max(self.n_features, self.rows, self.nnz, self.rows_read) >= 2**63:
            raise StoreError(f"{path}: a count beyond 2^63; ingest the store again")


def checksum(data: bytes | memoryview) -> str:
    """The xxh3-128 of ``data``, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(data)


def read_json(path: Path) -> Any:
    """Parse a JSON file, refusing what is not JSON, keys that occur twice, NaN, and files of absurd size."""
    text = read_regular(path, _LARGEST_JSON)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not valid JSON ({error}); it was damaged or written by something else") from None


def read_regular(path: Path, largest: int) -> bytes:
    """The bytes of a plain file: opening a pipe would wait for ever, and reading a device never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a plain file; it was put there by something else")
    if status.st_size > largest:
        raise StoreError(f"{path} has {status.st_size:,} bytes; such a file never has more than {largest:,}")
    return path.read_bytes()


def _refuse_constant(text: str) -> object:
    raise ValueError(f"the number {text}")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twice!r} occurs twice")
    return result
