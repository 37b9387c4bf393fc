"""Job specs: TOML files with the tables [job] [data] [features] [model] [solver] [cluster] [evaluate] [predict].

Paths are relative to the folder in which the command is started. Unknown tables and keys are refused, with the nearest
known one; so is every value of the wrong type, before anything runs. A spec may come from somebody else: the output
that a file names lies below the folder in which the command is started; one elsewhere is said on the command line.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ByteSize, Field, ValidationError, model_validator

from blockdot.errors import SpecError
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Split
from blockdot.jobs.model_tables import ModelTable, SolverTable, Table
from blockdot.jobs.wire import Address
from blockdot.redaction import without_secrets


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Inputs = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class JobTable(Table):
    """[job]: its name, and the run directory (default ``runs/NAME``)."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$")  # and never "." or ".."
    output: str | None = Field(default=None, pattern=r"^[^\x00]+$")
    reproducible: Literal["warn", "strict"] = "warn"
    """What to do where workers, or the machine that wrote a checkpoint, compute other bits than this process."""


class DataTable(DataSpec):
    """[data]: the files, how to read them, and what is held out for testing: ``test`` files, or a ``split``."""

    train: Inputs
    test: Inputs | None = None
    split: Split | None = None

    @model_validator(mode="after")
    def _one_test_set(self) -> Self:
        if self.test is not None and self.split is not None:
            raise ValueError("test files and a split are two ways to say what is held out; leave one of them out")
        return self

    def reading(self) -> DataSpec:
        """How to read the files, without which files they are."""
        return DataSpec.model_validate({name: getattr(self, name) for name in DataSpec.model_fields})


class ClusterTable(Table):
    """[cluster]: threads of this process, worker processes on this machine, or a scheduler that runs already."""

    kind: Literal["threads", "local", "scheduler"] = "threads"
    workers: int | None = Field(default=None, ge=1)
    """Threads, or worker processes; default: one a core."""
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: Literal["auto"] | ByteSize = "auto"
    """Of each process, such as "4GiB": a store that does not fit is mapped again in each pass. "auto": a worker process
    has its share of the machine, threads have no limit."""
    address: str | None = None
    """Of the scheduler, such as "tls://10.0.0.5:8786", or "tcp://127.0.0.1:8786" on this machine."""
    certificates: str | None = None
    """The folder that `blockdot cluster certificates` made; default: those of Dask's configuration, if any."""
    insecure: bool = False
    """Whether a scheduler and workers on other machines may be spoken to without TLS: see wire.py."""
    wait_seconds: float = Field(default=60.0, gt=0)
    """How long to wait for the scheduler and its first worker."""

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        if self.kind == "scheduler" and self.address is None:
            raise ValueError('kind = "scheduler" needs address, such as "tcp://127.0.0.1:8786"')
        if self.kind != "scheduler" and self.address is not None:
            raise ValueError(f'address goes with kind = "scheduler", not with {self.kind!r}')
        if self.address is not None:
            scheme = Address.parse(self.address).scheme
            if self.certificates is not None and scheme != "tls":
                raise ValueError("certificates go with an address tls://HOST:PORT, not with a plain one")
        if self.certificates is not None and self.kind == "threads":
            raise ValueError("certificates go with worker processes, not with threads: remove them")
        return self


class EvaluateTable(Table):
    """[evaluate]: whether to compare with a constant prediction (the mean of the training targets)."""

    constant: bool = True


class PredictTable(Table):
    """[predict]: raw files to score; the default is the test set."""

    input: Inputs | None = None


class Job(Table):
    """A whole job spec."""

    job: JobTable
    data: DataTable
    features: FeaturesSpec | None = None
    model: ModelTable
    solver: SolverTable = SolverTable()
    cluster: ClusterTable = ClusterTable()
    evaluate: EvaluateTable = EvaluateTable()
    predict: PredictTable = PredictTable()

    @property
    def output(self) -> Path:
        """The run directory."""
        return Path(self.job.output or f"runs/{self.job.name}")

    def to_toml(self) -> str:
        """The resolved spec: every key, with its value; ``***`` where a value holds a secret."""
        tables = self.model_dump(mode="json", exclude_none=True)
        return "\n".join(_toml_table(name, table) for name, table in tables.items())


def load_job(path: str | Path, settings: Sequence[str] = (), cluster: str | None = None) -> Job:
    """Read a job spec.

    Parameters
    ----------
    path
        A TOML file.
    settings
        ``table.key=value`` overrides; the value is TOML, or else a plain string.
    cluster
        A cluster TOML file or the address of a scheduler, in the place of [cluster].

    Raises SpecError with the file, the table and key, what was found and what is needed.
    """
    tables = _read_toml(Path(path))
    for setting in settings:
        _apply(tables, setting)
    if cluster is not None:
        tables["cluster"] = _cluster_table(cluster)
        for setting in settings:
            if setting.startswith("cluster."):
                _apply(tables, setting)
    try:
        job = Job.model_validate(tables)
    except ValidationError as error:
        raise SpecError(_explain(Path(path), error)) from None
    if not any(setting.partition("=")[0].strip() == "job.output" for setting in settings):
        _refuse_output_elsewhere(Path(path), job.output)
    return job


def _refuse_output_elsewhere(path: Path, output: Path) -> None:
    """A run replaces what it finds in its folder: where that is must not be up to a file that may be anybody's."""
    here = Path.cwd().resolve()
    try:
        stays = (here / output).resolve().is_relative_to(here)
    except (OSError, RuntimeError):  # links that lead to each other
        stays = False
    if not stays:
        raise SpecError(
            f"{path}: [job] output: {output} leads out of the folder {here}; a spec may write below it only: "
            f"say so on the command line (--set job.output={output}), or change it"
        )


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.toml")], n=1)
        guess = f"; the nearest one is {path.parent / near[0]}" if near else "; correct the path"
        raise SpecError(f"{path}: there is no such file{guess}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # also numbers too long, and tables too deep, to be read
        raise SpecError(f"{path} is not valid TOML: {error}") from None


def _cluster_table(cluster: str) -> dict[str, object]:
    if "://" in cluster:
        return {"kind": "scheduler", "address": cluster}
    tables = _read_toml(Path(cluster))
    if set(tables) != {"cluster"} or not isinstance(tables["cluster"], dict):
        raise SpecError(f"{cluster}: a cluster file has one table, [cluster]; found {', '.join(tables) or 'none'}")
    return tables["cluster"]


def _apply(tables: dict[str, object], setting: str) -> None:
    try:
        setting.encode()
    except UnicodeEncodeError:
        raise SpecError(f"--set {setting!a}: needed UTF-8") from None
    key, equals, text = setting.partition("=")
    names = key.strip().split(".")
    if not equals or len(names) < 2:
        raise SpecError(f"--set {setting}: needed table.key=value, such as model.alpha=1e-5")
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    table: object = tables
    for name in names[:-1]:
        table = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise SpecError(f"--set {setting}: {'.'.join(names[:-1])} is not a table")
    table[names[-1]] = value


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = tuple(part for part in problem["loc"] if not str(part).startswith("function-"))
        table, keys = place[0] if place else "", ".".join(str(part) for part in place[1:])
        where = f"{path}: [{table}] {keys}".rstrip() if place else str(path)
        if problem["type"] == "extra_forbidden":
            known = _known(Job, place[:-1])
            near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.0)
            guess = f"; the nearest known one is {near[0]!r}" if near else ""
            lines.append(f"{where}: there is no such {'key' if keys else 'table'}{guess} (known: {', '.join(known)})")
        elif problem["type"] == "missing":
            lines.append(f"{where}: this {'key' if keys else 'table'} is needed and is not there")
        else:
            found = "" if isinstance(problem["input"], Mapping) else f" (found {problem['input']!r})"
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}")
    return "\n".join(lines)


def _known(model: type[BaseModel], place: Sequence[object]) -> list[str]:
    """The keys that are known at a place, found by walking down the models' fields."""
    for part in place:
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, tuple, dict) or get_args(annotation):
        return next((model for model in map(_model_in, get_args(annotation)) if model is not None), None)
    return None


def _toml_table(name: str, table: Mapping[str, object]) -> str:
    return "".join([f"[{name}]\n", *(f"{key} = {_toml_value(value)}\n" for key, value in table.items())])


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        items = ", ".join(f"{_toml_text(str(k))} = {_toml_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {items} }}" if items else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(v) for v in value)}]"
    if isinstance(value, float):
        return repr(value)
    return _toml_text(without_secrets(value)) if isinstance(value, str) else json.dumps(value)


def _toml_text(text: str) -> str:
    # as JSON has it, but for pairs of surrogates, which TOML does not know, and DEL, which it does not let stand
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
