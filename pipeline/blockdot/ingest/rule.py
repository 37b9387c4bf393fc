"""Rules that make 0 and 1 of a label.

    > n    >= n    < n    <= n          numbers are compared
    == v                                equal as text, or as numbers where both are numbers
    in [a, b, ...]                      equal to one of these

Values may stand in quotation marks; without them, blanks around a value do not count.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ORDER = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")  # one way to read each text: no backtracking


@dataclass(frozen=True)
class Rule:
    """A parsed rule: ``relation`` is one of > >= < <= in; ``values`` are the bound, or what is looked for."""

    relation: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Parse a rule. Raises ValueError with the grammar in its text."""
        match = re.match(r"(>=|<=|==|>|<|in\b)", text.strip())
        if match is None:
            raise ValueError(_refusal(text))
        relation, rest = match.group(), text.strip()[match.end() :].strip()
        if not rest:
            raise ValueError(_refusal(text))
        if relation in _ORDER:
            if not _NUMBER.fullmatch(rest):
                raise ValueError(_refusal(text))
            return cls(relation, (rest,))
        if relation == "==":
            return cls("in", (_unquote(rest),))
        if not (rest.startswith("[") and rest.endswith("]") and rest[1:-1].strip()):
            raise ValueError(_refusal(text))
        return cls("in", tuple(_unquote(part) for part in rest[1:-1].split(",")))

    @property
    def compares_numbers(self) -> bool:
        """Whether every label must be a number."""
        return self.relation in _ORDER

    def holds(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether a rule that compares numbers holds, for each of them."""
        result: NDArray[np.bool_] = _ORDER[self.relation](numbers, float(self.values[0]))
        return result

    def holds_for(self, text: str) -> bool:
        """Whether a label is one of the values."""
        if text in self.values:
            return True
        number = as_number(text)
        return number is not None and any(number == as_number(value) for value in self.values)


def as_number(text: str) -> float | None:
    """The number that ``text`` is, or None; blanks around it do not count, and NaN, Inf and 1_000 are no numbers."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _refusal(text: str) -> str:
    return f"the rule {text!r} is none of: > n, >= n, < n, <= n, == v, in [a, b]"
