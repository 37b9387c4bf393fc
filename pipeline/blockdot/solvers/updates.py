"""Update rules of stochastic descent: what a gradient of some rows does to the parameters.

    u, slots  =  update(g, slots, at)        w ← w + u        one step;   chain(a, b): what a gives is b's gradient

    Clip, ClipNorm   g within ±c;  g scaled to a norm of at most c
    Decay            g + α p w / q                      before an adaptive rule the L2 penalty, after it decoupled decay
    Momentum         m ← β m + g,   m;  Nesterov g + β m
    AdaGrad          G ← G + g²,    g / (√G + ε)
    Adam             m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,   m/(1−β₁ⁿ) / (√(v/(1−β₂ⁿ)) + ε)
    Descend          − η(t) g                                                              (schedules.py)
    FTRL             n ← n + g²,  z ← z + g − (√n − √n_before)/η w
                     w ← 0 where |z| ≤ λ₁ p,  else − (z − sign(z) λ₁ p) / ((β + √n)/η + λ₂ p),     λᵢ = lᵢ + αᵢ t
    Average          the mean of all w so far, beside them

A rule is settings only, pure, and elementwise but for the norm of ClipNorm. What it remembers are its *slots*: arrays
in the shape of the parameters. So any part of the parameters can be updated with its part of the slots, and updates are
*lazy*: a step is given the parameters that its rows touch, and others are not looked at. ``at`` has the parameters w,
the number t = 1, 2, … of the step, p ≥ 0, by which a parameter is penalised (0 for an intercept), and q, the share of
the steps that touch it. What lazy means:

    Clip, ClipNorm, AdaGrad, Descend, Average     nothing: where g is 0 the dense rule does nothing either
    FTRL              nothing, with λ that stay; with λ that grow, w is made anew when it is touched, and in the end
    Decay             a parameter decays when it is touched, by as much more as it is touched rarely: in the mean over
                      the steps by α p w, the gradient of the penalty (Recht et al., NIPS 2011, eq. 3)
    Momentum, Adam    a parameter has steps of its own, those that touch it: m and v rest meanwhile, and n counts them

FTRL's λ₁ and λ₂ penalise the sum of the losses of all steps, λ₁ Σ p|w| + λ₂/2 Σ p w².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from blockdot.errors import SpecError
from blockdot.solvers.schedules import Constant, Schedule
from blockdot.vectors import Vector, norm

Slots = tuple[Vector, ...]


class At(NamedTuple):
    """Where and when a step is made, of the parameters that it touches."""

    w: Vector
    t: int = 1
    """The number of the step, from 1."""
    penalized: Vector | float = 1.0
    """p, at least 0."""
    share: Vector | float = 1.0
    """q, above 0 and at most 1; 1 where every step touches the parameter."""


class Update(Protocol):
    """A pair of pure functions, and the number of the slots that they pass on."""

    @property
    def slots(self) -> int: ...

    def init(self, at: At) -> Slots:
        """The slots before step ``at.t`` of parameters that no step has touched."""
        ...

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:
        """What is added to w, and the slots after the step."""
        ...

    def result(self, slots: Slots, at: At) -> Vector:
        """What to predict with after step ``at.t``: w, or what stands for it."""
        ...


class _Stateless:
    slots: int = 0

    def init(self, at: At) -> Slots:  # noqa: ARG002
        """None."""
        return ()

    def result(self, slots: Slots, at: At) -> Vector:  # noqa: ARG002
        """The parameters themselves."""
        return at.w


class _Zeros(_Stateless):
    """A rule whose slots begin at 0."""

    def init(self, at: At) -> Slots:
        """Zeros."""
        return tuple(np.zeros_like(at.w) for _ in range(self.slots))


@dataclass(frozen=True)
class Chain:
    """One rule after another, each with its own slots."""

    parts: tuple[Update, ...]

    @property
    def slots(self) -> int:
        """Those of all parts, in order."""
        return sum(part.slots for part in self.parts)

    def init(self, at: At) -> Slots:
        """Those of all parts."""
        return tuple(slot for part in self.parts for slot in part.init(at))

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:
        """What the last part gives."""
        after: Slots = ()
        start = 0
        for part in self.parts:
            stop = start + part.slots
            g, own = part.update(g, slots[start:stop], at)
            after += own
            start = stop
        return g, after

    def result(self, slots: Slots, at: At) -> Vector:
        """What the last part says, for it is what made w."""
        last = self.parts[-1]
        return last.result(slots[len(slots) - last.slots :], at)


def chain(*parts: Update) -> Chain:
    """What each part gives is the gradient of the next; what the last gives is added to w."""
    return Chain(parts)


@dataclass(frozen=True)
class Clip(_Stateless):
    """Every number of the gradient within ±``limit``."""

    limit: float

    def __post_init__(self) -> None:
        _check("limit", self.limit, low_is_good=False)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """The clipped gradient."""
        return np.clip(g, -self.limit, self.limit), ()


@dataclass(frozen=True)
class ClipNorm(_Stateless):
    """The gradient scaled to a norm of at most ``limit``. Pascanu et al., ICML 2013, algorithm 1."""

    limit: float

    def __post_init__(self) -> None:
        _check("limit", self.limit, low_is_good=False)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """The scaled gradient."""
        length = norm(g)
        return g * (self.limit / length) if length > self.limit else g, ()


@dataclass(frozen=True)
class Decay(_Stateless):
    """g + α p w / q.

    As the gradient of α/2 Σ p w² before an adaptive rule; decoupled from the gradient after it (Loshchilov & Hutter,
    ICLR 2019, algorithm 2, with a decay of η α).
    """

    alpha: float

    def __post_init__(self) -> None:
        _check("alpha", self.alpha)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """The gradient with the decay."""
        return (g + (self.alpha * at.penalized / at.share) * at.w if self.alpha else g), ()


@dataclass(frozen=True)
class Momentum(_Zeros):
    """m ← β m + g, and m; with ``nesterov`` g + β m.

    Sutskever et al., ICML 2013, eqs. 1 and 3, with the rate outside of m; Nesterov's in the form of Bengio et al.,
    ICASSP 2013, eq. 7, where w stands for the point that is looked ahead to.
    """

    beta: float = 0.9
    nesterov: bool = False

    slots = 1

    def __post_init__(self) -> None:
        _check_share("beta", self.beta)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """The running sum."""
        m = self.beta * slots[0] + g
        return (g + self.beta * m if self.nesterov else m), (m,)


@dataclass(frozen=True)
class AdaGrad(_Zeros):
    """G ← G + g², and g / (√G + ε). Duchi, Hazan & Singer, JMLR 12 (2011), the diagonal case."""

    epsilon: float = 1e-10

    slots = 1

    def __post_init__(self) -> None:
        _check("epsilon", self.epsilon, low_is_good=False)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """The scaled gradient."""
        total = slots[0] + g * g
        return g / (np.sqrt(total) + self.epsilon), (total,)


@dataclass(frozen=True)
class Adam(_Zeros):
    """Moments that fade, freed of their bias to 0. Kingma & Ba, ICLR 2015, algorithm 1; slots m, v, n.

    n counts the steps that touched a parameter; where all steps do, n = t and this is the algorithm as published.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    slots = 3

    def __post_init__(self) -> None:
        _check_share("beta1", self.beta1)
        _check_share("beta2", self.beta2)
        _check("epsilon", self.epsilon, low_is_good=False)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """m̂ / (√v̂ + ε)."""
        m = self.beta1 * slots[0] + (1.0 - self.beta1) * g
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * (g * g)
        n = slots[2] + 1.0
        mean = m / (1.0 - self.beta1**n)
        return mean / (np.sqrt(v / (1.0 - self.beta2**n)) + self.epsilon), (m, v, n)


@dataclass(frozen=True)
class Descend(_Stateless):
    """− η(t) g."""

    rate: Schedule

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:  # noqa: ARG002
        """Down along g."""
        return -self.rate(at.t) * g, ()


@dataclass(frozen=True)
class FTRL:
    """Follow the regularised leader, proximally. McMahan et al., KDD 2013, algorithm 1; slots z, n.

    ``rate`` η and ``beta`` β are the paper's α and β, ``l1`` and ``l2`` its λ₁ and λ₂, once for all steps. ``alpha``
    and ``l1_ratio`` ρ penalise each step by α [ρ Σ p|w| + (1−ρ)/2 Σ p w²] (McMahan, AISTATS 2011, table 1): λ₁ grows by
    α ρ a step, λ₂ by α (1−ρ). An L1 part makes parameters exactly 0.
    """

    rate: float = 0.1
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    alpha: float = 0.0
    l1_ratio: float = 0.0

    slots = 2

    def __post_init__(self) -> None:
        _check("rate", self.rate, low_is_good=False)
        for name in ("beta", "l1", "l2", "alpha"):
            _check(name, getattr(self, name))
        if not 0.0 <= self.l1_ratio <= 1.0:
            raise SpecError(f"l1_ratio is {self.l1_ratio!r}; needed a number from 0 (L2 alone) to 1 (L1 alone)")

    def init(self, at: At) -> Slots:
        """N = 0, and the z at which w is what it is: 0 for 0."""
        l1, l2 = self._strengths(at.t - 1)
        strength = self.beta / self.rate + l2 * at.penalized
        return -(at.w * strength + np.sign(at.w) * (l1 * at.penalized)), np.zeros_like(at.w)

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:
        """From w to the leader of all steps so far."""
        z, n = slots
        after = n + g * g
        root = np.sqrt(after)
        z = z + g - ((root - np.sqrt(n)) / self.rate) * at.w
        return self._leader(z, root, at) - at.w, (z, after)

    def result(self, slots: Slots, at: At) -> Vector:
        """The leader of all steps, also of those that did not touch a parameter."""
        return self._leader(slots[0], np.sqrt(slots[1]), at) if self.alpha else at.w

    def _leader(self, z: Vector, root: Vector, at: At) -> Vector:
        l1, l2 = self._strengths(at.t)
        strength = (self.beta + root) / self.rate
        if l2:
            strength = strength + l2 * at.penalized
        beyond = np.sign(z) * np.maximum(np.abs(z) - l1 * at.penalized, 0.0) if l1 else z
        return -np.divide(beyond, strength, out=np.zeros_like(z), where=strength > 0.0)

    def _strengths(self, t: int) -> tuple[float, float]:
        """λ₁ and λ₂ after t steps."""
        grown = self.alpha * t
        return self.l1 + grown * self.l1_ratio, self.l2 + grown * (1.0 - self.l1_ratio)


@dataclass(frozen=True)
class Average(_Zeros):
    """The mean of w after each of the steps from ``after`` + 1 on. Polyak & Juditsky, SIAM J. Control 30 (1992).

    The slot holds Σ (t − after − 1) u_t, so that the mean of T − after such w is w_T less the slot over T − after, and
    a parameter that is not touched costs nothing (after Xu, arXiv:1107.2490). It comes last in a chain.
    """

    after: int = 0

    slots = 1

    def update(self, g: Vector, slots: Slots, at: At) -> tuple[Vector, Slots]:
        """The same step."""
        past = at.t - self.after - 1
        return g, (slots[0] + past * g if past > 0 else slots[0],)

    def result(self, slots: Slots, at: At) -> Vector:
        """The mean; w itself while there is nothing to average."""
        return at.w - slots[0] / (at.t - self.after) if at.t > self.after else at.w


# ---- the rules by their names


def sgd(rate: Schedule | float, *, momentum: float = 0.0, nesterov: bool = False, alpha: float = 0.0) -> Chain:
    """Stochastic gradient descent with an L2 penalty α, and momentum."""
    inertia = (Momentum(momentum, nesterov),) if momentum else ()
    return chain(Decay(alpha), *inertia, Descend(_schedule(rate)))


def adagrad(rate: Schedule | float = 0.05, *, alpha: float = 0.0, epsilon: float = 1e-10) -> Chain:
    """AdaGrad with an L2 penalty α."""
    return chain(Decay(alpha), AdaGrad(epsilon), Descend(_schedule(rate)))


def adam(rate: Schedule | float = 1e-3, *, alpha: float = 0.0, beta1: float = 0.9, beta2: float = 0.999) -> Chain:
    """Adam with an L2 penalty α in the gradient."""
    return chain(Decay(alpha), Adam(beta1, beta2), Descend(_schedule(rate)))


def adamw(rate: Schedule | float = 1e-3, *, alpha: float = 0.0, beta1: float = 0.9, beta2: float = 0.999) -> Chain:
    """Adam with decay that is decoupled from the gradient: w loses η α p w a step."""
    return chain(Adam(beta1, beta2), Decay(alpha), Descend(_schedule(rate)))


def _schedule(rate: Schedule | float) -> Schedule:
    return Constant(float(rate)) if isinstance(rate, (int, float)) else rate


def _check(name: str, value: float, *, low_is_good: bool = True) -> None:
    if not ((value >= 0.0 if low_is_good else value > 0.0) and value < math.inf):
        raise SpecError(f"{name} is {value!r}; needed a finite number {'of at least' if low_is_good else 'above'} 0")


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise SpecError(f"{name} is {value!r}; needed a number from 0 to below 1")
