"""Learning rates: η as a function of the number of the step, t = 1, 2, …

    Constant         η
    InverseScaling   η / tᵖ                                       p = ½ suits convex losses (Zinkevich, ICML 2003)
    Cosine           f η + (1 − f) η ½ (1 + cos π (t − 1)/T)      falls to f η at step T + 1, and stays there
    Warmup           η(t) t/T for t < T, then η(t)                a linear rise up to another schedule

Cosine: Loshchilov & Hutter, ICLR 2017, eq. 5, without restarts. Warmup: Goyal et al., arXiv:1706.02677, section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from blockdot.errors import SpecError


class Schedule(Protocol):
    """The learning rate of step t, counted from 1."""

    def __call__(self, t: int, /) -> float: ...


@dataclass(frozen=True)
class Constant:
    """η."""

    rate: float

    def __post_init__(self) -> None:
        _check("rate", self.rate)

    def __call__(self, t: int) -> float:  # noqa: ARG002
        """η."""
        return self.rate


@dataclass(frozen=True)
class InverseScaling:
    """η / tᵖ."""

    rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        _check("rate", self.rate)
        if not 0.0 <= self.power < math.inf:
            raise SpecError(f"power is {self.power!r}; needed a finite number of at least 0 (0.5 is usual)")

    def __call__(self, t: int) -> float:
        """η / tᵖ."""
        return self.rate * math.pow(t, -self.power)


@dataclass(frozen=True)
class Cosine:
    """From η down to ``floor`` η along half a wave of ``steps`` steps."""

    rate: float
    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check("rate", self.rate)
        _check_steps(self.steps)
        if not 0.0 <= self.floor <= 1.0:
            raise SpecError(f"floor is {self.floor!r}; needed a share of the rate, from 0 to 1")

    def __call__(self, t: int) -> float:
        """The rate of step t."""
        done = min((t - 1) / self.steps, 1.0)
        return self.rate * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class Warmup:
    """A linear rise over the first ``steps`` steps to the schedule ``after``."""

    steps: int
    after: Schedule

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, t: int) -> float:
        """The rate of step t."""
        return self.after(t) * min(t / self.steps, 1.0)


def _check(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise SpecError(f"{name} is {value!r}; needed a finite number above 0")


def _check_steps(steps: int) -> None:
    if not steps >= 1:
        raise SpecError(f"steps is {steps!r}; needed a whole number of at least 1")
