"""Categories: columns as places among their distinct values, so that each value is looked at once.

A missing value is a level of its own, ``<missing>``. A cross of columns has the values of its columns joined by ``*``.
A derived column is a part of a date; it is missing where the date is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blockdot.ingest.spec import Calendar, FeaturesSpec
from blockdot.ingest.table import Table

MISSING = "<missing>"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, eq=False)
class Codes:
    """The place of each row's value among ``values``, which are distinct."""

    places: NDArray[np.int64]
    values: list[str]

    def taken(self, values: Iterable[int]) -> NDArray[np.int64]:
        """One number of ``values`` (one for each distinct value) for each row."""
        return np.fromiter(values, np.int64, len(self.values))[self.places]


def encode(table: Table, spec: FeaturesSpec, names: Iterable[str]) -> dict[str, Codes]:
    """Columns of a table, or derived columns, as categories."""
    return {name: _codes(_category(table, spec, name)) for name in names}


def cross(columns: Iterable[Codes]) -> Codes:
    """The combinations of values that occur."""
    return reduce(_cross_two, columns)


def _cross_two(a: Codes, b: Codes) -> Codes:
    pairs, places = np.unique(a.places * len(b.values) + b.places, return_inverse=True)
    firsts, seconds = np.divmod(pairs, max(len(b.values), 1))
    values = [f"{a.values[i]}*{b.values[j]}" for i, j in zip(firsts.tolist(), seconds.tolist(), strict=True)]
    return Codes(places, values)


def _category(table: Table, spec: FeaturesSpec, name: str) -> pa.Array:
    calendar = spec.derive.get(name)
    return table.text(name) if calendar is None else _derive(table, calendar)


def _codes(text: pa.Array) -> Codes:
    encoded = text.fill_null(MISSING).dictionary_encode()
    return Codes(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist())


def _derive(table: Table, calendar: Calendar) -> pa.Array:
    """The part of each date; each distinct date is read once."""
    parts = [table.text(name) for name in calendar.sources]
    dates = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "-")
    encoded = dates.dictionary_encode()
    read = _date_reader(calendar)
    values = []
    for text in encoded.dictionary.to_pylist():
        try:
            values.append(_part(read(text), calendar.part))
        except ValueError:
            row = pc.index(dates, text).as_py()
            names = ", ".join(calendar.sources)
            raise table.refusal(row, names, text, "a date; mend it, or state its form in layout") from None
    return pa.array(values, pa.string()).take(encoded.indices)


def _date_reader(calendar: Calendar) -> Callable[[str], datetime]:
    if calendar.columns is not None:
        return lambda text: datetime(*(int(part) for part in text.split("-")))  # type: ignore[arg-type]
    layout = calendar.layout
    if layout is None:
        return datetime.fromisoformat
    return lambda text: datetime.strptime(text, layout)


def _part(date: datetime, part: str) -> str:
    return _WEEKDAYS[date.weekday()] if part == "weekday" else str(getattr(date, part))
