"""Values as JSON and arrays, so that nothing is ever unpickled.

    encode(value)        →  Record(tree, arrays)         the tree is JSON; an array in it is {"array": its number},
                                                         or {"transposed": …} of one that lies by columns
    decode(kind, record) →  the value, bit for bit

A value is None, a truth value, a number, a text, an enum, an array, a tuple or a named tuple of such: all that a
solver's state may hold. The record does not say what it is of: its types are read from the annotations of ``kind``, so
that a file cannot choose what is made of it. :func:`describe` is for what is compared and never read back.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.manifest import checksum
from blockdot.errors import SpecError, StoreError

T = TypeVar("T")
Array = NDArray[Any]

_FEW = 16  # numbers that are described one by one


class Record(NamedTuple):
    """A value: JSON, and the arrays that it refers to by their number."""

    tree: Any
    arrays: tuple[Array, ...]


def encode(value: object) -> Record:
    """The record of ``value``; SpecError for a type that has none."""
    arrays: list[Array] = []
    return Record(_encoded(value, arrays), tuple(arrays))


def _encoded(value: object, arrays: list[Array]) -> Any:
    if isinstance(value, np.ndarray):
        # Sums over an array run in the order in which it lies: one by columns must come back as one.
        by_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        arrays.append(value.T if by_columns else value)
        return {"transposed" if by_columns else "array": len(arrays) - 1}
    if isinstance(value, enum.Enum):
        return _encoded(value.value, arrays)
    if isinstance(value, np.generic):
        return _encoded(value.item(), arrays)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        parts = [_encoded(part, arrays) for part in value]
        return dict(zip(_fields(type(value)), parts, strict=True)) if _is_named(type(value)) else parts
    raise SpecError(f"a {type(value).__qualname__} cannot be kept in a checkpoint: {_KEPT}")


_KEPT = "needed None, numbers, texts, enums, arrays, tuples and named tuples of these"


def decode(kind: type[T], record: Record) -> T:
    """The value of type ``kind``; StoreError for a record of something else."""
    return cast(T, _decoded(kind, record.tree, record.arrays, kind.__name__))


def _decoded(kind: Any, tree: Any, arrays: Sequence[Array], place: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is np.ndarray or origin is np.ndarray:
        return _array(parts, tree, arrays, place)
    if origin in (UnionType, Union):
        if tree is None and NoneType in parts:
            return None
        others = [part for part in parts if part is not NoneType]
        if len(others) == 1:
            return _decoded(others[0], tree, arrays, place)
    elif origin is tuple:
        return _tuple(parts, tree, arrays, place)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if tree in [member.value for member in kind]:
            return kind(tree)
        raise _strange(place, f"one of {', '.join(str(member.value) for member in kind)}", tree)
    elif isinstance(kind, type) and _is_named(kind):
        return _named(kind, tree, arrays, place)
    elif kind in (NoneType, bool, int, float, str):
        return _plain(kind, tree, place)
    raise SpecError(f"{place} is of the type {kind}, which cannot be kept in a checkpoint: {_KEPT}")


def _plain(kind: Any, tree: Any, place: str) -> Any:
    if kind is float:
        if tree in ("nan", "inf", "-inf") or (isinstance(tree, (int, float)) and not isinstance(tree, bool)):
            return float(tree)
    elif isinstance(tree, kind) and (kind is bool or not isinstance(tree, bool)):
        return tree
    raise _strange(place, kind.__name__, tree)


def _array(parts: tuple[Any, ...], tree: Any, arrays: Sequence[Array], place: str) -> Array:
    ((way, number),) = tree.items() if isinstance(tree, dict) and len(tree) == 1 else [("", None)]
    if way not in ("array", "transposed") or type(number) is not int or not 0 <= number < len(arrays):
        raise _strange(place, "an array", tree)
    wanted = get_args(parts[1])[0] if parts else None
    found = arrays[number].T if way == "transposed" else arrays[number]
    if isinstance(wanted, type) and found.dtype != wanted:
        raise _strange(place, f"an array of {np.dtype(wanted)}", f"one of {found.dtype}")
    return found


def _tuple(parts: tuple[Any, ...], tree: Any, arrays: Sequence[Array], place: str) -> tuple[Any, ...]:
    if not isinstance(tree, list):
        raise _strange(place, "a list", tree)
    kinds = (parts[0],) * len(tree) if parts[-1:] == (...,) else parts
    if len(kinds) != len(tree):
        raise _strange(place, f"{len(kinds)} values", f"{len(tree)}")
    return tuple(
        _decoded(kind, part, arrays, f"{place}[{i}]") for i, (kind, part) in enumerate(zip(kinds, tree, strict=True))
    )


def _named(kind: type[Any], tree: Any, arrays: Sequence[Array], place: str) -> Any:
    if not isinstance(tree, dict) or set(tree) != set(_fields(kind)):
        raise _strange(place, f"the fields {', '.join(_fields(kind))}", list(tree) if isinstance(tree, dict) else tree)
    hints = get_type_hints(kind)
    return kind(**{name: _decoded(hints[name], tree[name], arrays, f"{place}.{name}") for name in _fields(kind)})


def _is_named(kind: type[Any]) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _fields(kind: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = kind._fields
    return found


def _strange(place: str, needed: str, found: object) -> StoreError:
    shown = found if isinstance(found, str) else repr(found)
    return StoreError(f"{place}: needed {needed}, found {shown[:80]}; this was damaged, or written by something else")


def describe(value: object) -> Any:
    """JSON that names a value: equal for equal values, arrays by their checksums; SpecError where nothing names it."""
    if isinstance(value, enum.Enum):
        return describe(value.value)
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, Sequence) and (len(value) <= _FEW or not _are_numbers(value)):
        return [describe(item) for item in value]
    if isinstance(value, Sequence) or hasattr(value, "__array__"):
        return _described_array(np.asarray(value))
    if callable(value) and "<" not in (name := getattr(value, "__qualname__", "<")):
        return f"{value.__module__}.{name}"
    raise SpecError(
        f"{value!r} has no name that a checkpoint could be told by: make it a frozen dataclass of numbers and arrays, "
        "or a function of a module; or fit without a checkpoint"
    )


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, (bool, int, float, np.generic)) for value in values)


def _described_array(array: Array) -> Any:
    if array.dtype.kind not in "biuf":
        return [describe(item) for item in array.tolist()]
    if array.ndim == 1 and len(array) <= _FEW:
        return [describe(item) for item in array.tolist()]
    return f"{array.dtype} {array.shape} {checksum(np.ascontiguousarray(array).data)}"
