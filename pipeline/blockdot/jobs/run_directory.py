"""The run directory: what a job has made so far, and for which inputs.

    DIR/job.toml        the resolved spec        DIR/train.blocks  DIR/test.blocks   the block stores
    DIR/log.jsonl       one JSON object a line   DIR/model/                          the model
    DIR/metrics.json    the metrics              DIR/predictions/                    Parquet parts, manifest last
    DIR/checkpoints/    of a fit that has not ended (models/checkpoint.py)
    DIR/stages/NAME.json   a receipt: the key of the inputs that the stage was done for, and what it made

A receipt is written when its stage is done. A stage whose receipt has the key of today's inputs, and whose outputs are
still what the receipt says, is skipped. One process works in a run directory at a time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from blockdot import atomic
from blockdot.blocks.manifest import checksum, read_json, read_regular
from blockdot.errors import SpecError, StoreError
from blockdot.models import journal
from blockdot.redaction import redacted

_LARGEST = 2**40


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.train = path / "train.blocks"
        self.test = path / "test.blocks"
        self.scored = path / "predict.blocks"
        self.model = path / "model"
        self.metrics = path / "metrics.json"
        self.predictions = path / "predictions"
        self.log = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"

    @contextmanager
    def opened(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the directory for this process, log to log.jsonl, and ``tell`` of warnings and of checkpoints."""
        if self.path.exists() and not self.path.is_dir():
            raise SpecError(f"job.output: {self.path} is a file; needed a folder, new or of an earlier run")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.write_error(self.path, error) from error
        for path in (self.log, self.checkpoints, self.path / ".lock", self.path / "stages"):
            if path.is_symlink():  # what is written there would be written elsewhere
                raise SpecError(f"job.output: {path} is a symbolic link; remove it, or choose another output")
        busy = f"{self.path} is in use by another run; wait for it, or choose another output (--set job.output=DIR)"
        with atomic.locked(self.path / ".lock", busy):
            for folder in (self.path, self.path / "stages"):
                if folder.exists():
                    atomic.sweep(folder)
            handlers = (_JsonLines(self.log, encoding="utf-8", delay=True), _Told(tell))
            package = logging.getLogger("blockdot")
            for handler in handlers:
                package.addHandler(handler)
            level = package.level
            package.setLevel(logging.INFO)
            try:
                yield
            finally:
                package.setLevel(level)
                for handler in handlers:
                    package.removeHandler(handler)
                    handler.close()

    def write_spec(self, spec: str) -> None:
        """Keep the resolved spec that the outputs were made by."""
        atomic.write_file(self.path / "job.toml", spec.encode())

    def forget(self, stage: str) -> None:
        """Remove a stage's receipt, so that it is done again."""
        self._receipt_path(stage).unlink(missing_ok=True)

    def receipt(self, stage: str) -> Mapping[str, object]:
        """The receipt of a stage, empty when there is none that can be read."""
        try:
            content = read_json(self._receipt_path(stage))
        except (OSError, StoreError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_receipt(self, stage: str, key: str, made: Mapping[str, object]) -> None:
        """Note that ``stage`` is done for the inputs with ``key``, and what it made."""
        path = self._receipt_path(stage)
        path.parent.mkdir(exist_ok=True)
        atomic.write_file(path, as_json({"key": key, "made": made}))

    def _receipt_path(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"


class _JsonLines(logging.FileHandler):
    """One JSON object a line: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "time": time,
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        return json.dumps(entry, ensure_ascii=False)


class _Told(logging.Handler):
    """Warnings, and what the journal of a fit says, as lines for the person who waits."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING or (record.name == journal.__name__ and record.levelno >= logging.INFO):
            self._tell(record.getMessage())


def as_json(content: object) -> bytes:
    """Readable JSON, keys in order; numbers that are not finite are refused."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def digest_of(*content: object) -> str:
    """A checksum of JSON-able content: the key of a stage's inputs."""
    return checksum(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def file_digest(path: Path) -> str | None:
    """The checksum of a small file; None when it is not there."""
    try:
        return checksum(read_regular(path, _LARGEST))
    except (OSError, StoreError):
        return None
