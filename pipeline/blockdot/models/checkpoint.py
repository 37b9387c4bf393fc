"""Checkpoints of a fit: a directory of JSON and safetensors in which nothing half-written is ever read.

    DIR/checkpoint-N.json        what the fit is of, its parts, its last state: written last, with a checksum of all
    DIR/state-N.safetensors      the arrays of the last state
    DIR/part-N-I.safetensors     those of part I, written once, by checkpoint N; later checkpoints name it again
    DIR/start-N.safetensors      where the next part starts, where that is not in the parts

Every file is written aside, flushed and renamed (atomic.py). The last two checkpoints are kept: where the last one is
damaged, the one before it is used. Nothing is ever unpickled, and types come from the program (records.py).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
_LOCK = ".lock"
_MANIFEST = re.compile(r"checkpoint-(\d{8})\.json")
_ARRAYS = r"^(state|part|start)-[0-9-]+\.safetensors$"
_OURS = re.compile(r"(checkpoint|state|part|start)-[0-9-]+\.(json|safetensors)")
_REMEDY = "remove the directory, or begin the fit anew (a job: without --resume)"


class _Entry(FileEntry):
    file: Annotated[str, Field(pattern=_ARRAYS)]


class Stored(BaseModel):
    """A record: the name of its type, its tree, and the file of its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
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
    start: Stored | None
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

    def records(self) -> list[Stored]:
        """All that it names."""
        return [stored for stored in (*self.parts, self.start, self.state) if stored is not None]


class Progress(NamedTuple):
    """What a fit has done: its parts, where the next one starts, and the last state of the minimisation under way.

    Each is a value, or :class:`Stored` in a checkpoint until the fit asks for it, and so says of which type it must be.
    """

    parts: tuple[object, ...] = ()
    start: object | None = None
    """None for a start that follows from the parts."""
    state: object | None = None

    def __str__(self) -> str:
        done = f"{len(self.parts)} parts done" if self.parts else ""
        state: Any = self.state.tree if isinstance(self.state, Stored) else self.state
        iteration = state.get("iteration") if isinstance(state, dict) else getattr(state, "iteration", None)
        return ", ".join(filter(None, [done, "" if iteration is None else f"iteration {iteration}"])) or "nothing done"


class Checkpoints:
    """The checkpoints of one fit, in the directory ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: list[tuple[int, _Manifest]] = []  # of this fit, the last one last

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the directory and hold it for this fit.

        Raises StoreError where it cannot be written to, now and not at the first checkpoint, and ExecutionError where
        another fit holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.write_error(self.path, error) from error
        busy = f"{self.path} is in use by another fit; wait for it, or choose another directory for the checkpoints"
        with atomic.locked(self.path / _LOCK, busy):
            atomic.sweep(self.path)
            probe = self.path / "probe"
            atomic.write_file(probe, bytes(4096))
            probe.unlink()
            yield

    def read(self, subject: dict[str, Any]) -> tuple[Progress, dict[str, str]] | None:
        """The last checkpoint that is whole, and the numerics that it was computed with; None where there is none.

        Raises SpecError for one of another subject or another version of the library, StoreError where all are damaged.
        """
        damaged = []
        for number in reversed(self._numbers()):
            try:
                manifest = self._manifest(number)
                _require_same(self.path, manifest, subject)
                for stored in manifest.records():
                    self.record(stored)  # they are looked at now, while there is another checkpoint to go back to
            except _DamagedError as error:
                damaged.append(str(error))
                continue
            for text in damaged:
                logger.warning("%s; the checkpoint before it is used", text)
            self._kept = [(number, manifest)]
            return Progress(manifest.parts, manifest.start, manifest.state), manifest.numerics
        if damaged:
            raise StoreError(f"no checkpoint can be used: {'; '.join(damaged)}; {_REMEDY}")
        return None

    def are_there(self) -> bool:
        """Whether there are checkpoints."""
        return bool(self._numbers())

    def write(self, subject: dict[str, Any], numerics: dict[str, str], progress: Progress) -> Progress:
        """Write a checkpoint and remove those not kept; the progress as it is stored now. Raises StoreError."""
        number = max(self._numbers(), default=0) + 1
        parts = tuple(self._stored(f"part-{number:08d}-{i}", part) for i, part in enumerate(progress.parts))
        start = None if progress.start is None else self._stored(f"start-{number:08d}", progress.start)
        state = None if progress.state is None else self._stored(f"state-{number:08d}", progress.state)
        manifest = _Manifest(
            library=blockdot.__version__, subject=subject, numerics=numerics, parts=parts, start=start, state=state
        )
        atomic.write_file(self._path(number), manifest.to_json())
        self._kept = [*self._kept, (number, manifest)][-_KEPT:]
        self._remove_others()
        return Progress(parts, start, progress.state)

    def clear(self) -> None:
        """Remove all checkpoints, because the fit has ended."""
        for file in (*self._files(), self.path / _LOCK):
            file.unlink(missing_ok=True)

    def _remove_others(self) -> None:
        kept = {self._path(number).name for number, _ in self._kept}
        kept |= {stored.arrays.file for _, manifest in self._kept for stored in manifest.records()}
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
        if isinstance(value, Stored):
            return value
        record = encode(value)
        arrays = {str(i): np.ascontiguousarray(array) for i, array in enumerate(record.arrays)}
        data = safetensors.numpy.save(arrays)
        atomic.write_file(self.path / f"{name}.safetensors", data)
        entry = _Entry(file=f"{name}.safetensors", size=len(data), checksum=checksum(data))
        return Stored(kind=type(value).__name__, tree=record.tree, arrays=entry)

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
