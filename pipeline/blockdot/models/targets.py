"""The targets of a data set, looked at once before a fit: classes, means, and whether the loss can take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks
from blockdot.errors import DataError, SpecError
from blockdot.ingest.rows import LINE_BITS
from blockdot.models.kinds import kind_of
from blockdot.objective.losses import Fault, Loss
from blockdot.objective.passes import targets, weights
from blockdot.vectors import Vector

ClassWeight = Mapping[Any, float] | str | None


class Misfit(NamedTuple):
    """A target that a loss cannot take, and the identity of its row."""

    fault: Fault
    row_id: int | None

    @classmethod
    def of(cls, fault: Fault, block: Block) -> Misfit:
        return cls(fault, None if block.row_id is None else int(block.row_id[fault.place[0]]))


@dataclass(frozen=True, eq=False)
class Tally:
    """Σ s, Σ s y and Σ s y², Σ s of each class, whether there are offsets, and the first target that is wrong."""

    weight: float
    total: float
    squares: float
    classes: Vector
    has_offset: bool
    fault: Misfit | None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.weight + other.weight,
            self.total + other.total,
            self.squares + other.squares,
            self.classes + other.classes,
            self.has_offset or other.has_offset,
            self.fault or other.fault,
        )

    @property
    def mean(self) -> float:
        """The weighted mean of y."""
        return self.total / self.weight

    @property
    def deviation(self) -> float:
        """The weighted population standard deviation of y."""
        return float(np.sqrt(max(self.squares / self.weight - self.mean**2, 0.0)))

    @property
    def shares(self) -> tuple[float, ...]:
        """Each class's share of the weight."""
        return tuple((self.classes / self.weight).tolist())


@dataclass(frozen=True)
class TallyPass:
    """A block's tally, for a loss, and so many classes (0 for a regression)."""

    loss: Loss
    n_classes: int
    layout: Layout = field(default_factory=Layout)

    def __call__(self, block: Block) -> Tally:
        y = targets(block)
        s = np.broadcast_to(np.asarray(weights(block), np.float64), y.shape)
        check = getattr(self.loss, "check", None)
        fault = check(y) if callable(check) else None
        classes = np.zeros(0)
        if self.n_classes:
            classes = np.asarray(np.bincount(y.astype(np.intp), s, self.n_classes), np.float64)
        return Tally(
            block.weight,
            float(np.sum(s * y)),
            float(np.sum(s * y**2)),
            classes,
            has_offset=block.offset is not None,
            fault=None if fault is None else Misfit.of(fault, block),
        )


def checked(data: Dataset, blocks: Blocks, loss: Loss, n_classes: int = 0) -> Tally:
    """The tally of all blocks; DataError, with the row's place, for a target that the loss cannot take."""
    found = blocks.sum(TallyPass(loss, n_classes))
    if found.fault is not None:
        fault, row = found.fault
        raise DataError(f"{_place(data, row)}: the target is {fault.found:g}; {fault.needed}: mend or drop the row")
    return found


def _place(data: Dataset, row_id: int | None) -> str:
    if row_id is None:
        return str(data.path or "y")
    if data.files:
        return f"{data.files[row_id >> LINE_BITS]}:{row_id & ((1 << LINE_BITS) - 1)}"
    return f"y[{row_id}]"


def tally(data: Dataset, blocks: Blocks, loss: Loss, n_classes: int) -> Tally:
    """What :func:`checked` gives; DataError, too, for rows without weight, and for a class without."""
    found = checked(data, blocks, loss, n_classes)
    where = data.path or "y"
    if not found.weight > 0:
        raise DataError(f"{where}: the weights of all rows add up to {found.weight:g}; needed more than 0")
    if n_classes and np.count_nonzero(found.classes) < n_classes:
        raise DataError(f"{where}: all the weight lies on one class; needed rows of both that count" if n_classes == 2
                        else f"{where}: a class has no weight; needed rows of every class that count")  # fmt: skip
    return found


def class_labels(data: Dataset, loss: str) -> tuple[float, ...] | None:
    """The labels that a classifier with that loss tells apart, ascending; None for a regression.

    Raises DataError for text labels in a regression, one class only, and more than two where two are needed.
    """
    where, kind = data.path or "y", kind_of(loss)
    if kind.targets == "numbers":
        if data.classes is not None:
            raise DataError(
                f"{where} has text labels ({', '.join(data.classes[:5])}); a regression needs numbers: "
                "fit a logistic model, or name a numeric label"
            )
        return None
    if data.labels is None:
        raise DataError(f"{where} has more than 256 distinct labels; a classifier needs fewer classes")
    found = ", ".join(f"{label:g}" for label in data.labels[:5])
    if len(data.labels) < 2:
        raise DataError(f"{where} has one class only (labels: {found}); needed at least 2 to tell apart")
    if kind.targets == "two classes" and len(data.labels) != 2:
        raise DataError(
            f"{where} has {len(data.labels)} classes (labels: {found}); the loss {loss} needs exactly 2 to tell apart"
        )
    return data.labels


def class_factors(
    weight: ClassWeight, labels: tuple[float, ...], names: NDArray[Any] | tuple[Any, ...], classes: Vector
) -> tuple[float, ...]:
    """What the weights of the rows of each class are multiplied by.

    Parameters
    ----------
    weight
        A number for each class (those that are not named have 1), or "balanced": S / (K S_c), so that each of the K
        classes weighs the same in sum.
    labels, names
        The classes as y has them, and as the user knows them.
    classes
        S_c, the weight of each class.
    """
    if weight is None:
        return (1.0,) * len(labels)
    if isinstance(weight, str):
        if weight != "balanced":
            raise SpecError(
                f"class_weight is {weight!r}; needed 'balanced', a mapping from classes to weights, or None"
            )
        return tuple((np.sum(classes) / (len(labels) * classes)).tolist())
    unknown = [label for label in weight if label not in list(names) and label not in labels]
    if unknown:
        raise SpecError(f"class_weight names {unknown[0]!r}; the classes are {', '.join(map(str, names))}")
    factors = tuple(float(weight.get(name, weight.get(label, 1.0))) for label, name in zip(labels, names, strict=True))
    if not all(factor >= 0 for factor in factors):
        raise SpecError("class_weight has a negative weight; needed 0 or more")
    return factors
