"""The columns that are read of a file, and whether they are there."""

from __future__ import annotations

import difflib

from blockdot.errors import DataError, SpecError
from blockdot.ingest.features import FittedFeatures
from blockdot.ingest.plan import Source
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Split


def columns_of(source: Source, fitted: FittedFeatures, split: Split | None, *, predicting: bool) -> tuple[str, ...]:
    """The columns to read, each once. When ``predicting``, those of labels and weights only if the file has them.

    Raises DataError for a column that is not there, naming the one with the nearest name.
    """
    data, present = fitted.data, source.columns or ()
    optional = [name for name in (data.label and data.label.column, data.weight) if name]
    if predicting:
        optional = [name for name in optional if name in present]
    needed = [*optional, *_needed(data, fitted.features, split)]
    if data.row_id is not None and not predicting:
        needed.append(data.row_id)
    for name in needed:
        if name not in present:
            raise DataError(_absence(source, name))
    return tuple(dict.fromkeys(needed))


def _needed(data: DataSpec, features: FeaturesSpec | None, split: Split | None) -> list[str]:
    names = [data.offset.column] if data.offset else []
    if split is not None:
        names += [split.column] if split.column else []
    if features is not None:
        names += [numeric.column for numeric in features.numeric]
        for name in features.categories:
            names += features.derive[name].sources if name in features.derive else [name]
    return names


def refuse_leaks(data: DataSpec, features: FeaturesSpec) -> None:
    """Refuse the label as a feature: a model would learn to read it off."""
    if data.label is not None and data.label.column in _needed(
        data.model_copy(update={"offset": None}), features, None
    ):
        raise SpecError(f"the label {data.label.column!r} is also a feature; take it out of the features")


def refuse_shadows(source: Source, features: FeaturesSpec) -> None:
    """Refuse a derived column with the name of a column of the file: one of the two would be meant, but which?"""
    for name in features.derive:
        if name in (source.columns or ()):
            raise SpecError(
                f"derive.{name}: {source.path} has a column of that name; give the derived one another name"
            )


def _absence(source: Source, name: str) -> str:
    columns = source.columns or ()
    if len(columns) == 1:
        mark = max(",;\t|", key=columns[0].count)
        if mark in columns[0]:
            return (
                f"{source.path}: there is no column {name!r}: the first line is one column, with {mark!r} in it "
                f"{columns[0].count(mark)} times; if that is what separates columns, set delimiter = {mark!r}"
            )
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.0)
    nearest = f"; the nearest is {near[0]!r}" if near else ""
    shown = ", ".join(columns[:12]) + (", …" if len(columns) > 12 else "")
    return f"{source.path}: there is no column {name!r}{nearest}; the file has {shown}; correct the name"
