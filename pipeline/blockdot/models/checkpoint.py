"""Checkpoints of a fit: a directory of JSON and safetensors in which nothing half-written is ever read.

    DIR/checkpoint-N.json        what the fit is of, its parts, its last state: written last, with a checksum of all
    DIR/state-N.safetensors      the arrays of the last state
    DIR/part-N-I.safetensors     those of part I, written once, by checkpoint N; later checkpoints name it again

Every file is written aside, flushed and renamed (atomic.py). The last two checkpoints are kept: where the last one is
damaged, the one before it is used. Nothing is ever unpickled, and types come from the program (records.py).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

import blockdot
from blockdot import atomic
from blockdot.blocks.manifest import FileEntry, checksum, read_json
from blockdot.errors import SpecError, StoreError
from blockdot.models.records import Record, encode

logger = logging.getLogger(__name__)

_KEPT = 2
_MANIFEST = re.compile(r"checkpoint-(\d{8})\.json")
_ARRAYS = r"^(state|part)-[0-9-]+\.safetensors$"
_OURS = re.compile(r"\.?(checkpoint|state|part)-[0-9-]+\.(json|safetensors)(\.partial)?")
_REMEDY = "remove the directory, or begin the fit again without it"


class _Entry(FileEntry):
    file: Annotated[str, Field(pattern=_ARRAYS)]


class Stored(BaseModel):
    """A record: its tree, and the file of its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tree: Any
    arrays: _Entry


class _Manifest(BaseModel):
    """What checkpoint-N.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["blockdot-checkpoint"] = "blockdot-checkpoint"
    version: Literal[1] = 1
    library: str
    subject: dict[str, Any]
    """What the fit is of: the data by their digest, the recipe, and all else that decides the result."""
    numerics: dict[str, str]
    parts: tuple[Stored, ...]
    state: Stored | None
    digest: str = ""

    def seal(self) -> str:
        """The checksum of all else."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return checksum(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())

    def to_json(self) -> bytes:
        """The bytes of the file."""
        content = self.model_dump(mode="json") | {"digest": self.seal()}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    def files(self) -> set[str]:
        """The files that it names."""
        return {stored.arrays.file for stored in (*self.parts, *([] if self.state is None else [self.state]))}


class Saved(NamedTuple):
    """A checkpoint as it was read: where the parts that are done are stored, and the record of the last state."""

    parts: tuple[Stored, ...]
    state: Record | None
    numerics: dict[str, str]


class Checkpoints:
    """The checkpoints of one fit, in the directory ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: list[tuple[int, _Manifest]] = []  # of this fit, the last one last

    def open(self) -> None:
        """Make the directory; StoreError if it cannot be made or written to, now and not at the first checkpoint."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.write_error(self.path, error) from error
        probe = self.path / "probe"
        atomic.write_file(probe, bytes(4096))
        probe.unlink()

    def read(self, subject: dict[str, Any]) -> Saved | None:
        """The last checkpoint that is whole; None where there is none.

        Raises SpecError for one of another subject or another version of the library, StoreError where all are damaged.
        """
        damaged = []
        for number in reversed(self._numbers()):
            try:
                manifest = self._manifest(number)
                _require_same(self.path, manifest, subject)
                for part in manifest.parts:
                    self.record(part)  # it is looked at now, while there is another checkpoint to go back to
                state = None if manifest.state is None else self.record(manifest.state)
            except _DamagedError as error:
                damaged.append(str(error))
                continue
            for text in damaged:
                logger.warning("%s; the checkpoint before it is used", text)
            self._kept = [(number, manifest)]
            return Saved(manifest.parts, state, manifest.numerics)
        if damaged:
            raise StoreError(f"no checkpoint can be used: {'; '.join(damaged)}; {_REMEDY}")
        return None

    def are_there(self) -> bool:
        """Whether there are checkpoints."""
        return bool(self._numbers())

    def write(
        self, subject: dict[str, Any], numerics: dict[str, str], parts: Sequence[object], state: object | None
    ) -> tuple[Stored, ...]:
        """Write a checkpoint and remove those that are not kept; where the parts are stored now. Raises StoreError."""
        number = max(self._numbers(), default=0) + 1
        stored = tuple(
            part if isinstance(part, Stored) else self._stored(f"part-{number:08d}-{i}", part)
            for i, part in enumerate(parts)
        )
        last = None if state is None else self._stored(f"state-{number:08d}", state)
        manifest = _Manifest(library=blockdot.__version__, subject=subject, numerics=numerics, parts=stored, state=last)
        atomic.write_file(self._path(number), manifest.to_json())
        self._kept = [*self._kept, (number, manifest)][-_KEPT:]
        self._remove_others()
        return stored

    def clear(self) -> None:
        """Remove all checkpoints, because the fit has ended."""
        for file in self._files():
            file.unlink(missing_ok=True)

    def _remove_others(self) -> None:
        kept = {name for number, manifest in self._kept for name in (self._path(number).name, *manifest.files())}
        for file in self._files():
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Our files, manifests first: a file of arrays must not go before what names it."""
        return sorted(file for file in self.path.iterdir() if _OURS.fullmatch(file.name))

    def _numbers(self) -> list[int]:
        names = (_MANIFEST.fullmatch(file.name) for file in self.path.iterdir())
        return sorted(int(name[1]) for name in names if name is not None)

    def _path(self, number: int) -> Path:
        return self.path / f"checkpoint-{number:08d}.json"

    def _stored(self, name: str, value: object) -> Stored:
        record = value if isinstance(value, Record) else encode(value)
        arrays = {str(i): np.ascontiguousarray(array) for i, array in enumerate(record.arrays)}
        data = safetensors.numpy.save(arrays)
        atomic.write_file(self.path / f"{name}.safetensors", data)
        entry = _Entry(file=f"{name}.safetensors", size=len(data), checksum=checksum(data))
        return Stored(tree=record.tree, arrays=entry)

    def _manifest(self, number: int) -> _Manifest:
        path = self._path(number)
        try:
            manifest = _Manifest.model_validate(read_json(path))
            seal = manifest.seal()
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise _DamagedError(f"{path} does not describe a checkpoint: {place}: {first['msg']}") from None
        except (OSError, ValueError, RecursionError) as error:  # nested too deep; numbers that are none
            raise _DamagedError(f"{path} cannot be read ({error})") from None
        if manifest.digest != seal:
            raise _DamagedError(f"{path} was altered: its checksum is {seal}, expected {manifest.digest}")
        return manifest

    def record(self, stored: Stored) -> Record:
        """What is stored, with its arrays; StoreError where they are not what was written."""
        path, entry = self.path / stored.arrays.file, stored.arrays
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size == entry.size else b""
        except OSError as error:
            raise _DamagedError(f"{path} cannot be read ({error.strerror})") from None
        if size != entry.size:
            raise _DamagedError(f"{path} was altered: it has {size:,} bytes, expected {entry.size:,}")
        if checksum(data) != entry.checksum:
            raise _DamagedError(f"{path} was altered: its checksum is {checksum(data)}, expected {entry.checksum}")
        try:
            arrays = safetensors.numpy.load(data)
            return Record(stored.tree, tuple(arrays[str(i)].copy() for i in range(len(arrays))))
        except (SafetensorError, KeyError) as error:
            raise _DamagedError(f"{path} does not hold the arrays of a checkpoint ({error})") from None


class _DamagedError(StoreError):
    """A checkpoint that cannot be used; the one before it may be."""


def _require_same(path: Path, manifest: _Manifest, subject: dict[str, Any]) -> None:
    if manifest.library != blockdot.__version__:
        raise SpecError(
            f"the checkpoint in {path} was written by blockdot {manifest.library}, this is {blockdot.__version__}: "
            f"go on with that version, or {_REMEDY}"
        )
    for place, found, needed in _differences(manifest.subject, subject, ""):
        raise SpecError(
            f"the checkpoint in {path} is of another fit: its {place} is {_shown(found)}, and here it is "
            f"{_shown(needed)}; {_REMEDY}"
        )


def _differences(found: Any, needed: Any, place: str) -> list[tuple[str, Any, Any]]:
    """Where two descriptions differ, and what is there in each."""
    if isinstance(found, dict) and isinstance(needed, dict):
        return [
            difference
            for key in {**needed, **found}
            for difference in _differences(found.get(key), needed.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if json.dumps(found) == json.dumps(needed) else [(place, found, needed)]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
