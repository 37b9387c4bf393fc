"""What can go wrong, in words.

Every error that blockdot raises on purpose is a :class:`BlockdotError`. Its text says where (file and line, block and
row, table and key), what was found, what is needed, and what to do. The class decides the exit code of the command
line: 2 for wrong usage or a wrong job spec, 3 for bad data, 4 for a fit that did not converge under ``--strict``,
75 for a run that was interrupted and can be resumed. Secrets in a text are struck out before anybody sees it.
"""

from __future__ import annotations

from blockdot.redaction import redacted


class BlockdotError(Exception):
    """Base of all errors raised on purpose; its text is written for the person who reads it."""

    exit_code = 1

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redacted(part) if isinstance(part, str) else part for part in arguments))


class SpecError(BlockdotError, ValueError):
    """A job spec, an option or an argument that cannot be honoured."""

    exit_code = 2


class DataError(BlockdotError, ValueError):
    """Input data that cannot be read as what it claims to be; names file and line, or block and row."""

    exit_code = 3


class StoreError(DataError):
    """A store, model or prediction set that is missing, damaged, half-written, or not the one that is needed."""


class ExecutionError(BlockdotError, RuntimeError):
    """Workers, clusters and locks: the data are fine, the machinery is not."""


class WorkersKilledError(ExecutionError):
    """A call that killed every worker that tried it, or had the bad luck to be there each time."""


class NotConvergedError(BlockdotError, RuntimeError):
    """A fit that stopped before its tolerance, where that was declared to be an error."""

    exit_code = 4


class InterruptedRunError(BlockdotError, RuntimeError):
    """A run stopped by SIGINT or SIGTERM; what was finished is kept, and the same command goes on from there."""

    exit_code = 75
