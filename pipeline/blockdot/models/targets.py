"""The targets of a data set, looked at once before a fit: classes, means, and whether the loss can take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.sums import Blocks, RowPass, View
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
    """Σ s, Σ s y and Σ s y², whether there are offsets, and the first target that is wrong.

    ``classes`` and ``others`` are Σ s of the rows of each class (with each label), and of the other rows; empty for
    numbers. Of a row with L labels y is the mean over them.
    """

    weight: float
    total: float
    squares: float
    classes: Vector
    others: Vector
    has_offset: bool
    fault: Misfit | None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.weight + other.weight,
            self.total + other.total,
            self.squares + other.squares,
            self.classes + other.classes,
            self.others + other.others,
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
        """Each class's, or label's, share of the weight: 0 or 1 exactly where no row has it, or every one."""
        return tuple((self.classes / (self.classes + self.others)).tolist())

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Of each class or label, whether no row has it, or every one."""
        return np.asarray((self.classes == 0.0) | (self.others == 0.0))

    @property
    def smoothed_shares(self) -> Vector:
        """The shares; of a label that no row has, or every one, (P + ½)/(S + 1), P being the weight of its rows.

        Krichevsky & Trofimov, *IEEE Trans. Inf. Theory* 27 (1981).
        """
        more = np.where(self.is_constant, 0.5, 0.0)
        return np.asarray((self.classes + more) / (self.classes + self.others + 2.0 * more))


@dataclass(frozen=True)
class TallyPass(RowPass):
    """A block's tally, for a loss, and so many classes (0 for a regression)."""

    loss: Loss
    n_classes: int

    def __call__(self, block: Block) -> Tally:
        y = targets(block)
        s = np.broadcast_to(np.asarray(weights(block), np.float64), (block.n_rows,))
        check = getattr(self.loss, "check", None)
        fault = check(y) if callable(check) else None
        columns = y.reshape(block.n_rows, block.n_labels or 1)
        classes, others = self._classes(y, s)
        return Tally(
            block.weight,
            float(np.sum(s * np.mean(columns, axis=1))),
            float(np.sum(s * np.mean(columns**2, axis=1))),
            classes,
            others,
            has_offset=block.offset is not None,
            fault=None if fault is None else Misfit.of(fault, block),
        )

    def _classes(self, y: Vector, s: Vector) -> tuple[Vector, Vector]:
        if y.ndim == 2:
            return np.einsum("i,ic->c", s, y), np.einsum("i,ic->c", s, 1.0 - y)
        if not self.n_classes:
            return np.zeros(0), np.zeros(0)
        classes = np.asarray(np.bincount(y.astype(np.intp), s, self.n_classes), np.float64)
        return classes, np.where(np.eye(self.n_classes, dtype=bool), 0.0, classes).sum(axis=1)


def checked(data: Dataset, blocks: Blocks, loss: Loss, n_classes: int = 0) -> Tally:
    """The tally of all blocks; DataError, with the row's place, for a target that the loss cannot take."""
    found = blocks.sum(TallyPass(loss, n_classes))
    if found.fault is not None:
        fault, row = found.fault
        place, of = _place(data, row), ""
        if data.n_labels is not None:
            of = f" of the label {label_names(data)[fault.place[1]]}"
        raise DataError(f"{place}: the target{of} is {fault.found:g}; {fault.needed}: mend or drop the row")
    return found


def label_names(data: Dataset) -> tuple[Any, ...]:
    """What the columns of y are called: by the names of the labels, or by their numbers."""
    return tuple(range(data.n_labels or 0)) if data.classes is None else data.classes


def _place(data: Dataset, row_id: int | None) -> str:
    if row_id is None:
        return str(data.path or "y")
    if data.files:
        return f"{data.files[row_id >> LINE_BITS]}:{row_id & ((1 << LINE_BITS) - 1)}"
    return f"y[{row_id}]"


def tally(data: Dataset, blocks: Blocks, loss: Loss, n_classes: int) -> Tally:
    """What :func:`checked` gives; DataError, too, for rows without weight, and for a class without.

    A label, unlike a class, may be one that no row has: see :func:`smoothed`.
    """
    found = checked(data, blocks, loss, n_classes)
    where = data.path or "y"
    if not found.weight > 0:
        raise DataError(f"{where}: the weights of all rows add up to {found.weight:g}; needed more than 0")
    if data.n_labels is None and np.count_nonzero(found.classes) < n_classes:
        raise DataError(f"{where}: all the weight lies on one class; needed rows of both that count" if n_classes == 2
                        else f"{where}: a class has no weight; needed rows of every class that count")  # fmt: skip
    return found


@dataclass(frozen=True, eq=False)
class SmoothedSource(View):
    """The blocks of ``source`` with a share in the place of 0 and 1 in the ``columns`` of y."""

    columns: NDArray[np.intp]
    shares: Vector

    def block(self, index: int) -> Block:
        """Block ``index``."""
        block = self.source.block(index)
        y = targets(block).copy()
        y[:, self.columns] = self.shares
        return replace(block, y=y)


@contextmanager
def smoothed(blocks: Blocks, found: Tally) -> Iterator[Blocks]:
    """The blocks, with the share (P + ½)/(S + 1) for y of each label that no row has, or every one.

    The best intercept of such a label is infinite. With this share it is the log odds of the share, and the best w is
    the least of the penalty: the label is predicted by a constant that half a row of the other kind would move.
    """
    columns = np.flatnonzero(found.is_constant)
    if not columns.size:
        yield blocks
        return
    with blocks.view(SmoothedSource(blocks.source, columns, found.smoothed_shares[columns])) as view:
        yield view


def class_labels(data: Dataset, loss: str) -> tuple[float, ...] | None:
    """The labels that a classifier with that loss tells apart, ascending; None for a regression.

    Where a row can have any number of labels, they are the numbers of the columns of y.

    Raises DataError for targets of another kind than the loss needs, text labels in a regression, one class only, and
    more than two where two are needed.
    """
    where, kind = data.path or "y", kind_of(loss)
    if kind.targets == "labels":
        if data.n_labels is None:
            raise DataError(f"{where} has one target a row; the loss {loss} needs a column of 0 and 1 for each label")
        return tuple(float(column) for column in range(data.n_labels))
    if data.n_labels is not None:
        raise DataError(
            f"{where} has {data.n_labels} label columns; the loss {loss} needs one target a row: fit a logistic model, "
            "or one column at a time"
        )
    if kind.targets == "numbers":
        if data.classes is not None:
            raise DataError(
                f"{where} has text labels ({', '.join(data.classes[:5])}); a regression needs numbers: "
                "fit a logistic model, or name a numeric label"
            )
        return None
    if data.labels is None:
        raise DataError(
            f"{where} has more than 256 distinct labels; a classifier takes at most as many: merge rare ones, or "
            "fit a regression if they are numbers"
        )
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
