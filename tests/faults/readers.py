"""What each reader must do with any bytes at all: give the right answer, or an error of ours with a place in it.

`test_fuzz.py` feeds these by Hypothesis; by coverage-guided fuzzing (atheris, where it is installed)

    python tests/faults/readers.py svmlight|delimited|store|manifest|model|job [options of libFuzzer]
"""

# ruff: noqa: PT017 - an error may be raised, and need not
from __future__ import annotations

import copy
import json
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from forged_stores import put_file

import blockdot as bd
from blockdot.blocks import opened
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST, checksum
from blockdot.blocks.store import verify_store
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import BlockdotError, DataError, SpecError, StoreError
from blockdot.jobs.spec import load_job
from blockdot.models.model import MODEL, WEIGHTS, load_model
from blockdot.objective.passes import HessDiag, ValueAndGrad
from blockdot.objective.predictors import Linear

# ---- svmlight: the rows that a slow reader finds, one token after another

_NUMBER = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LARGEST = 10**18 - 1

Row = tuple[float, dict[int, float]]


def _number(token: bytes) -> float:
    if not _NUMBER.fullmatch(token):
        raise ValueError(token)
    value = float(token)
    if not np.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise ValueError(token)
    return value


def _svmlight_row(line: bytes) -> Row | None:
    tokens = re.split(rb"[ \t\r]+", line.partition(b"#")[0].strip(b" \t\r"))
    if tokens == [b""]:
        return None
    label = float(tokens[0]) if _NUMBER.fullmatch(tokens[0]) else np.nan
    if not np.isfinite(label):
        raise ValueError(tokens[0])
    row, previous = {}, 0
    for token in tokens[1:]:
        if token.startswith(b"qid:"):
            continue
        index, colon, value = token.partition(b":")
        if not re.fullmatch(rb"[0-9]{1,18}", index) or not colon or not previous < int(index) <= _LARGEST:
            raise ValueError(token)
        previous = int(index)
        if re.search(rb"[1-9]", re.split(rb"[eE]", value)[0]) or not _NUMBER.fullmatch(value):
            row[previous - 1] = _number(value)
    return label, row


def svmlight(data: bytes, folder: Path) -> None:
    """The rows of the slow reader, or an error with the line of a wrong one."""
    path = folder / "rows.svm"
    path.write_bytes(data)
    rows: list[Row] = []
    wrong: set[int] = set()
    for i, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            row = _svmlight_row(line)
        except ValueError:
            wrong.add(i)
            continue
        if row is not None:
            rows.append(row)
    try:
        made = bd.ingest(path, folder / "out.blocks", data={"block_bytes": 16}, pool=ThreadPool(1), overwrite=True)
    except DataError as error:
        place = re.match(re.escape(str(path)) + r":(\d+): ", str(error))
        assert (int(place.group(1)) in wrong) if place else (not rows and not wrong), str(error)
        return
    assert not wrong, wrong
    found = [row for i in range(made.n_blocks) for row in _rows_of(made.source.block(i))]
    assert len(found) == len(rows)
    for (label, row), (found_label, found_row) in zip(rows, found, strict=True):
        assert label == found_label
        assert {i: np.float32(v) for i, v in row.items()} == found_row


def _rows_of(block: Any) -> list[tuple[float, dict[int, np.float32]]]:
    X = block.X
    rows = []
    for i in range(block.n_rows):
        row = {}
        for k in range(X.indptr[i], X.indptr[i + 1]):
            value = np.float32(1) if X.values is None else X.values[k]
            row[int(block.columns[X.indices[k]])] = value
        for j in range(X.n_dense):
            if X.dense[i, j] != 0:
                row[int(block.columns[j])] = X.dense[i, j]
        rows.append((float(block.y[i]), row))
    return rows


# ---- CSV


def delimited(data: bytes, folder: Path) -> None:
    """As many rows as lines, where nothing is quoted; or an error with the file in it."""
    path = folder / "rows.csv"
    quoted = data[:1] == b"\x01"
    data = data.removeprefix(b"\x01")
    path.write_bytes(b"y,a,b\n" + data)
    try:
        made = bd.ingest(
            path, folder / "out.blocks", format="csv", label={"column": "y", "text": False}, overwrite=True,
            data={"block_bytes": 32, "quoted_newlines": quoted}, features={"numeric": ["a"], "hashed": ["b"]},
            pool=ThreadPool(1),
        )  # fmt: skip
    except DataError as error:
        assert str(path) in str(error) or "no rows are left" in str(error), str(error)
        return
    lines = [line for line in data.replace(b"\r\n", b"\n").split(b"\n") if line]
    if b'"' not in data:
        assert made.rows_read == len(lines)
        for line in lines:
            assert line.count(b",") == 2
            line.decode()
        kept = [line.split(b",") for line in lines]
        kept = [fields for fields in kept if fields[0].decode().strip() not in ("", "NA", "NaN", "nan", "null", "NULL")]
        labels = [float(fields[0]) for fields in kept]
        found = [y for i in range(made.n_blocks) for y in made.source.block(i).y]
        assert labels == found
    assert made.rows_read == made.n_rows + sum((made.dropped or {}).values())


# ---- stores


@cache
def _store() -> Path:
    """A store of two blocks with everything in it."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(160, 9)) * (rng.random((160, 9)) < np.linspace(0.1, 0.9, 9))
    made = Dataset.from_arrays(X, rng.integers(0, 2, 160), rng.random(160) + 0.1, rng.normal(size=160), block_rows=80)
    return made.save(Path(tempfile.mkdtemp(prefix="blockdot-fuzz-")) / "rows.blocks").path


def _copy(folder: Path) -> Path:
    path = folder / "rows.blocks"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(_store(), path)
    opened._open.cache_clear()
    return path


def _edited(content: bytes, data: bytes) -> bytes:
    """``content`` with bytes changed, cut out, or put in, as ``data`` says: five bytes an edit."""
    edited = bytearray(content)
    for i in range(0, len(data) - 4, 5):
        kind, place, value = data[i], int.from_bytes(data[i + 1 : i + 4], "big") % (len(edited) + 1), data[i + 4]
        if kind < 128:
            edited[place : place + 1] = bytes([value])
        elif kind < 160:
            edited[place : place + 4] = value.to_bytes(4, "little")
        elif kind < 192:
            edited[place : place + 8] = (2 ** (value % 65) - 1).to_bytes(9, "little")[:8]
        elif kind < 224:
            del edited[place : place + 1 + value]
        else:
            edited[place:place] = bytes([value]) * (1 + value)
    return bytes(edited)


def _used(path: Path) -> None:
    """Read all, and run the compiled loops over it."""
    made = Dataset.open(path)
    w = np.linspace(-1, 1, len(made.table) + 1)
    with made.on(ThreadPool(1)) as blocks:
        for task in (ValueAndGrad(bd.Squared(), Linear()), HessDiag(bd.Squared(), Linear())):
            blocks.sum(task, w)


def store(data: bytes, folder: Path) -> None:
    """A changed file is refused by its name; also where the checksums were made to agree, or it is used as it is."""
    path = _copy(folder)
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    file, agree, edits = names[data[0] % len(names)] if data else names[0], data[1:2] > b"\x80", data[2:]
    good = (path / file).read_bytes()
    bad = _edited(good, edits)
    (path / file).write_bytes(bad)
    if file == MANIFEST:
        if _json(bad) == _json(good):
            return
    elif agree:
        put_file(path, file, bad)
    elif bad == good:
        return
    try:
        _used(path)
    except StoreError as error:
        assert str(path / file) in str(error), str(error)
        assert any(file in problem for problem in verify_store(path))
        return
    assert agree or file == MANIFEST
    assert agree, "a manifest that was changed was believed"


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


# ---- JSON: any part of a document replaced by something else

HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.5, 1e308, float("inf"), float("-inf"),
    float("nan"), "", ".", "..", "../../x", "/etc/passwd", "a\x00b", "\x1b[2J", "\ud800", "9" * 50, "x" * 5000, [], {},
    [[]], [None], {"": ""}, [1, 2, 3], ["a", "a"], {"a": {"b": [1]}}, "softmax", "logistic", "csv", "balanced", "true",
)  # fmt: skip


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    if isinstance(document, dict):
        for key in document:
            found += _places(document[key], (*at, key))
    if isinstance(document, list):
        for i, item in enumerate(document):
            found += _places(item, (*at, i))
    return found


def _with_parts(document: Any, data: bytes) -> Any:
    """The document with parts replaced, removed, or said under another name: three bytes a change."""
    document = copy.deepcopy(document)
    for i in range(0, len(data) - 2, 3):
        places = [place for place in _places(document) if place]
        if not places:
            break
        *above, last = places[data[i] % len(places)]
        holder = document
        for key in above:
            holder = holder[key]
        what = copy.deepcopy(HOSTILE[data[i + 1] % len(HOSTILE)])
        if data[i + 2] < 200:
            holder[last] = what
        elif isinstance(holder, list) or data[i + 2] < 230:
            del holder[last]
        else:
            holder[str(what)] = holder.pop(last)
    return document


def manifest(data: bytes, folder: Path) -> None:
    """A manifest whose digest agrees: an error that names the store, or a store that can be used."""
    path = _copy(folder)
    stated = _with_parts(json.loads((path / MANIFEST).read_bytes()), data[1:])
    if data[:1] < b"\x40":
        (path / MANIFEST).write_text(json.dumps(stated, ensure_ascii=True))
    else:
        stated.pop("digest", None)
        content = json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
        with suppress(ValueError):
            (path / MANIFEST).write_text(json.dumps(stated | {"digest": checksum(content)}))
    try:
        _used(path)
    except (StoreError, SpecError) as error:
        assert str(path) in str(error), str(error)


# ---- models


@cache
def _model() -> Path:
    path = Path(tempfile.mkdtemp(prefix="blockdot-fuzz-")) / "model"
    X = np.random.default_rng(0).normal(size=(60, 4))
    est = bd.LogisticRegression(alpha=1e-2).fit(X, np.array(["a", "b", "c"])[np.argmax(X[:, :3], axis=1)])
    est.model_.save(path)
    return path


def model(data: bytes, folder: Path) -> None:
    """An error that names the model, or a model that predicts finite numbers."""
    path = folder / "model"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(_model(), path)
    content, weights = json.loads((path / MODEL).read_text()), (path / WEIGHTS).read_bytes()
    if data[:1] < b"\x80":
        content = _with_parts(content, data[1:])
    else:
        weights = _edited(weights, data[1:])
        content["weights"] = checksum(weights)
    (path / WEIGHTS).write_bytes(weights)
    (path / MODEL).write_text(json.dumps(content))
    try:
        found = load_model(path)
    except StoreError as error:
        assert str(path) in str(error), str(error)
        return
    rows = np.eye(min(found.info.n_features, 50))
    try:
        z = found.raw(rows, ThreadPool(1))
    except BlockdotError:
        return
    assert np.isfinite(z).all()
    assert len(found.decide(z)) == len(rows)


# ---- job specs

_JOB: dict[str, Any] = {
    "job": {"name": "t", "output": "runs/t"},
    "data": {
        "format": "csv", "train": ["a.csv"], "test": ["b.csv"], "label": {"column": "y", "rule": "> 15"},
        "weight": "w", "missing": ["", "NA"], "block_bytes": 4096, "quoting": True,
    },
    "features": {
        "numeric": [{"column": "a", "transform": "log1p"}], "hashed": ["b"], "one_hot": ["c"], "crosses": [["b", "c"]],
        "bits": 18, "derive": {"d": {"columns": ["e", "f", "g"], "part": "weekday"}},
    },
    "model": {"kind": "logistic", "alpha": 1e-4, "l1_ratio": 0.5, "class_weight": "balanced", "lower": -1.0},
    "solver": {"name": "auto", "tol": 1e-6, "max_iter": 10},
    "cluster": {"kind": "scheduler", "address": "tls://127.0.0.1:8786", "certificates": "c", "workers": 2},
    "predict": {"input": ["n.csv"]},
}  # fmt: skip


def job(data: bytes, folder: Path) -> None:
    """An error that names the file, or a job whose resolved spec is read as the same job, and stays in its folder."""
    path = folder / "job.toml"
    if data[:1] < b"\x60":
        path.write_bytes(_edited(_toml(_JOB).encode(), data[1:]))
    elif data[:1] < b"\x80":
        path.write_bytes(data[1:])
    else:
        path.write_text(_toml(_with_parts(_JOB, data[1:])), encoding="utf-8", errors="surrogatepass")
    try:
        found = load_job(path)
    except SpecError as error:
        assert str(path) in str(error), str(error)
        return
    assert (Path.cwd() / found.output).resolve().is_relative_to(Path.cwd().resolve())
    text = found.to_toml()
    assert tomllib.loads(text)["model"]["kind"] == found.model.kind
    path.write_text(text, encoding="utf-8")
    assert load_job(path) == found


def _toml(value: Any, top: bool = True) -> str:
    if isinstance(value, dict) and top:
        tables = (f"[{json.dumps(str(k))}]\n{_toml(v, False)}" if isinstance(v, dict) else "" for k, v in value.items())
        loose = (f"{json.dumps(str(k))} = {_one(v)}\n" for k, v in value.items() if not isinstance(v, dict))
        return "".join([*loose, *tables])
    return "".join(f"{json.dumps(str(k))} = {_one(v)}\n" for k, v in value.items())


def _one(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_one(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_one, value)) + "]"
    if value is None:
        return "nan"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "svmlight": svmlight, "delimited": delimited, "store": store, "manifest": manifest, "model": model, "job": job,
}  # fmt: skip


def main() -> None:
    """Feed one reader by atheris until it fails, or as long as libFuzzer's options say."""
    import atheris

    reader = READERS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory(prefix="blockdot-fuzz-") as folder:
        atheris.instrument_all()
        atheris.Setup(sys.argv, lambda data: reader(data, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
