"""What to fit and how: a loss by its name, a penalty in the user's terms, a solver by name or by the data.

F(w, b) = (1/S) Σ s ℓ(y, x·w + b + o) + α [ ρ Σⱼ pⱼ|wⱼ| + (1−ρ)/2 Σⱼ pⱼ wⱼ² ],     lⱼ ≤ wⱼ ≤ uⱼ
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.errors import SpecError
from blockdot.models.architecture import AnyPredictor, Architecture, predictor_of
from blockdot.models.kinds import Option, kind_of
from blockdot.models.learning import Online
from blockdot.models.targets import ClassWeight
from blockdot.objective.curvature import FullNewton, GaussNewton
from blockdot.objective.objective import Objective
from blockdot.objective.passes import is_coupled
from blockdot.objective.penalties import L2, ElasticNet, GroupLasso, Penalty
from blockdot.objective.scaling import Scaling, Standardized
from blockdot.solvers import (
    LBFGS,
    OWLQN,
    Backtracking,
    GradientDescent,
    NewtonCG,
    NewtonCholesky,
    ProximalGradient,
    ProximalNewton,
)
from blockdot.vectors import Vector

# A Hessian of more features is not made as a matrix: its factor alone would cost more than the products do.
_FEW_FEATURES = 1024
# Nor where rows are longer: the matrix costs the square of the non-zeros of a row, a product twice their number.
_SHORT_ROWS = 128
# Of several outputs each has a matrix of its own, while one product serves them all.
_SHORT_ROWS_OF_SEVERAL = 32

# Batches and epochs of a network, by the number of rows.
_BATCHES, _LEAST_BATCH, _LARGEST_BATCH = 20, 8, 200
_ROWS_SEEN, _LEAST_EPOCHS, _MOST_EPOCHS = 20_000, 20, 200

SMOOTH = ("newton-cg", "newton-cholesky", "gauss-newton", "lbfgs", "gradient-descent")
PROXIMAL = ("proximal-newton", "owl-qn", "proximal-gradient")
ONLINE = "online"
SOLVERS = ("auto", *SMOOTH, *PROXIMAL, ONLINE)
OfFeatures = ArrayLike | Mapping[int, float] | None
AnySolver = (
    NewtonCG | NewtonCholesky | LBFGS | GradientDescent | Backtracking | ProximalNewton | OWLQN | ProximalGradient
)


@dataclass(frozen=True)
class Recipe:
    """What to fit and how.

    Attributes
    ----------
    loss, options
        The loss's name and its options (kinds.py). "logistic" with more than two classes becomes ``multi_class``.
    alpha, l1_ratio, penalty_weights
        α, ρ, and p: one number for each of the ``n_features`` of the data, or by the ids of some of them, 1 for the
        others; None for ones.
    lower, upper
        Bounds of w: a number, or one for each of the ``n_features``, or by the ids of some; None for none.
    groups
        The group 0, 1, … of each of the ``n_features``: a group lasso.
    standardize
        Whether the penalty sees features scaled to standard deviation 1; coefficients come back in the data's units.
    class_weight
        A factor for each class, or "balanced".
    step
        A fixed step for gradient descent; without it the step is searched.
    network
        The hidden layers of a network; None for a linear model. It always has intercepts, and is not convex.
    random_state
        A seed: of the weights that a network begins with, and of the order in which rows are learnt from online.
    online
        How the solver "online" learns; it takes neither ``tol`` nor ``max_iter``.
    """

    loss: str
    options: Mapping[str, Option] = field(default_factory=dict)
    alpha: float = 1e-6
    l1_ratio: float = 0.0
    penalty_weights: OfFeatures = None
    lower: OfFeatures = None
    upper: OfFeatures = None
    groups: ArrayLike | None = None
    penalty: Penalty | None = None
    """A penalty of the user's own, in the place of all the above."""
    fit_intercept: bool = True
    standardize: bool = False
    multi_class: str = "softmax"
    class_weight: ClassWeight = None
    solver: str = "auto"
    step: float | None = None
    tol: float = 1e-6
    max_iter: int = 100
    network: Architecture | None = None
    random_state: int = 0
    online: Online = field(default_factory=Online)

    def __post_init__(self) -> None:
        kind_of(self.loss)
        if self.network is not None:
            self._check_network()
        elif self.solver == "gauss-newton":
            raise SpecError("solver 'gauss-newton' goes with a network (hidden layers): choose newton-cg")
        if self.solver not in SOLVERS:
            raise SpecError(f"solver is {self.solver!r}; needed one of {', '.join(SOLVERS)}")
        if self.step is not None and self.solver != "gradient-descent":
            raise SpecError(f"step goes with solver = 'gradient-descent', not with {self.solver!r}: remove it")
        if self.multi_class not in ("softmax", "one-vs-rest"):
            raise SpecError(f"multi_class is {self.multi_class!r}; needed 'softmax' or 'one-vs-rest'")
        ElasticNet(self.alpha, self.l1_ratio)  # checks both
        if self.solver == ONLINE:
            self._check_online()
        if self.groups is not None and not all(x is None for x in (self.penalty_weights, self.lower, self.upper)):
            raise SpecError("groups (a group lasso) goes without penalty_weights and bounds: leave one of them out")

    def _check_network(self) -> None:
        of_features = ("penalty_weights", "lower", "upper", "groups", "penalty")
        unfit = [name for name in of_features if getattr(self, name) is not None]
        if unfit:
            raise SpecError(f"{unfit[0]} goes with a linear model, not with hidden layers: leave it out")
        if not self.fit_intercept:
            raise SpecError("a network always has intercepts: leave fit_intercept = True")
        if self.solver in ("newton-cholesky", "proximal-newton"):
            raise SpecError(
                f"solver {self.solver!r} needs a linear model: choose lbfgs, newton-cg or gauss-newton for a network, "
                "with an L1 penalty owl-qn"
            )

    def predictor(self, outputs: int | None) -> AnyPredictor:
        """From parameters and features to ``outputs`` raw predictions."""
        dropout = self.online.dropout if self.solver == ONLINE else 0.0
        return predictor_of(self.network, self.fit_intercept, outputs, dropout)

    def learning(self, n_rows: int) -> Online:
        """How to learn from so many rows: a network in larger batches, and in more epochs, than a linear model."""
        if self.network is None:
            return self.online
        size = self.online.batch_size or min(max(n_rows // _BATCHES, _LEAST_BATCH), _LARGEST_BATCH)
        epochs = self.online.epochs or min(max(-(-_ROWS_SEEN // max(n_rows, 1)), _LEAST_EPOCHS), _MOST_EPOCHS)
        return replace(self.online, batch_size=size, epochs=epochs)

    def seen(self, objective: Objective) -> Objective | FullNewton | GaussNewton:
        """The objective as the solver is to see it: of a network with the curvature that the solver is named after."""
        if self.network is None or self.solver not in ("newton-cg", "gauss-newton"):
            return objective
        return FullNewton(objective) if self.solver == "newton-cg" else GaussNewton(objective)

    def _check_online(self) -> None:
        self.online.rule(self.alpha, self.l1_ratio, 1, 1)
        without = {
            "lower": self.lower is not None,
            "upper": self.upper is not None,
            "groups": self.groups is not None,
            "a penalty of its own": self.penalty is not None,
            "standardize": self.standardize,
            "dropout where there are no hidden layers": self.online.dropout > 0.0 and self.network is None,
        }
        for name in (name for name, is_there in without.items() if is_there):
            raise SpecError(f"online learning goes without {name}: leave it out, or choose another solver")

    @property
    def restrictions(self) -> tuple[str, ...]:
        """What shapes the estimates beside ``alpha`` and ``l1_ratio``, by its name."""
        if self.penalty is not None:
            return ("a penalty of its own",)
        parts = {
            "penalty_weights": self.penalty_weights if self.alpha > 0.0 else None,
            "groups": self.groups,
            "lower": self.lower,
            "upper": self.upper,
            "class_weight": self.class_weight,
            "online learning": self.solver if self.solver == ONLINE else None,
        }
        return tuple(name for name, part in parts.items() if part is not None)

    def make_penalty(self, data: Dataset, scaling: Scaling, models: int = 1) -> Penalty:
        """The penalty over the features that occur in ``data``, as the scaled parameters have it.

        For the mean over several ``models`` (columns.py): each of them is penalised by α/M.
        """
        if self.penalty is not None:
            return self.penalty
        alpha = self.alpha / models
        if self.groups is not None:
            groups = _of_features("groups", self.groups, data, np.nan)
            names, places = np.unique(groups, return_inverse=True)
            every, sizes = np.unique(np.asarray(self.groups, np.float64), return_counts=True)
            sizes = sizes[np.searchsorted(every, names)]  # also of features that do not occur
            return GroupLasso(alpha, places.astype(np.int64), self.l1_ratio, models, sizes)
        if self.l1_ratio == 0 and self.penalty_weights is None and self.lower is None and self.upper is None:
            return L2(alpha)
        weights = None if self.penalty_weights is None else self.weights_of(data)
        scale = scaling.sd if isinstance(scaling, Standardized) else np.ones(1)
        lower = _of_features("lower bounds", self.lower, data, -np.inf)[:, np.newaxis] * scale
        upper = _of_features("upper bounds", self.upper, data, np.inf)[:, np.newaxis] * scale
        return ElasticNet(alpha, self.l1_ratio, weights, lower, upper)

    def weights_of(self, data: Dataset) -> Vector:
        """P of the features that occur in ``data``, in the order of their table."""
        return _of_features("penalty_weights", self.penalty_weights, data, 1.0)

    def make_solver(self, objective: Objective, data: Dataset) -> tuple[AnySolver, str]:
        """The solver that the recipe names, or the one that suits the objective and the data, and the reason."""
        if self.solver == ONLINE:
            raise SpecError(
                "online learning minimises nothing to the end: for a path of penalties choose another solver"
            )
        if self.solver == "auto":
            return _choose(objective, data)
        if self.solver == "newton-cholesky" and objective.term is None and _is_flat(objective):
            raise SpecError(
                f"the loss {self.loss} has pieces without curvature, where a Hessian cannot be solved with "
                "unless there is an L2 penalty: choose newton-cg or lbfgs, or alpha > 0"
            )
        descent = Backtracking() if self.step is None else GradientDescent(self.step)
        by_products = _by_products(objective) if self.network is None else NewtonCG(head=0)
        named: dict[str, AnySolver] = {
            "newton-cg": by_products,
            "gauss-newton": by_products,
            "newton-cholesky": NewtonCholesky(),
            "lbfgs": LBFGS(),
            "gradient-descent": descent,
            "proximal-newton": ProximalNewton(),
            "owl-qn": OWLQN(),
            "proximal-gradient": ProximalGradient(),
        }
        return named[self.solver], "as asked for"


def _choose(objective: Objective, data: Dataset) -> tuple[AnySolver, str]:
    """The solver: by the Hessian where there is one, factored where it is small and cheap to make, else by products."""
    loss, term = objective.loss, objective.term
    curved = callable(getattr(loss, "hess_dot", None))
    if not objective.predictor.is_affine:
        return (LBFGS() if term is None else OWLQN()), "a network: gradients alone, and what they say of curvature"
    if term is not None:
        if term.face(objective.zeros(), objective.zeros()) is None:
            return ProximalGradient(), f"{term.name} is linear in no box, so only its prox is used"
        if not curved:
            return OWLQN(), f"{term.name}, and the loss {type(loss).__name__} has no second derivative"
        return ProximalNewton(), f"{term.name}: Newton steps among the features that are not at a kink or a bound"
    if not curved:
        return LBFGS(), f"the loss {type(loss).__name__} has a gradient and no second derivative"
    k, a_row = len(data.table), data.nnz / max(data.n_rows, 1)
    width, by_products = objective.layout.width, _by_products(objective)
    if not objective.penalty.is_diagonal:
        return by_products, "the penalty is known by its products"
    if _is_flat(objective):
        return by_products, "the loss has pieces without curvature, and there is no penalty"
    if width > 1 and (is_coupled(loss) or width * k**2 > _FEW_FEATURES**2 or a_row > _SHORT_ROWS_OF_SEVERAL):
        return by_products, f"{width} outputs: the Hessian is used by products, never made"
    if width > 1:
        return NewtonCholesky(), f"{width} outputs of {k:,} features: their Hessians are small, made in one pass"
    if k <= _FEW_FEATURES and a_row <= _SHORT_ROWS:
        return NewtonCholesky(), f"{k:,} features occur: their Hessian is a small matrix, made in one pass"
    if k <= _FEW_FEATURES:
        return NewtonCG(), f"rows have {a_row:,.0f} non-zeros: products with the Hessian are cheaper than its matrix"
    return NewtonCG(), f"{k:,} features occur: the Hessian is used by products, never made"


def _by_products(objective: Objective) -> NewtonCG:
    """Newton–CG; of several outputs, rough steps are worth more than exact ones (docs/design.md, "Knobs")."""
    return NewtonCG(forcing=0.3) if objective.layout.width > 1 else NewtonCG()


def _is_flat(objective: Objective) -> bool:
    """Whether there may be no curvature at all: on the linear pieces of a loss, without a penalty."""
    return hasattr(objective.loss, "smoothing") and not objective.penalty.strong_convexity > 0.0


def _of_features(name: str, values: OfFeatures, data: Dataset, others: float) -> Vector:
    """A number for each feature that occurs, in the order of the table.

    From one, one for each of n_features, or those of some features by their ids; ``others`` have the rest, or all.
    """
    if values is None:
        return np.full(len(data.table), others)
    if isinstance(values, Mapping):
        strange = [key for key in values if not (isinstance(key, (int, np.integer)) and 0 <= key < data.n_features)]
        if strange:
            raise SpecError(
                f"{name} names the feature {strange[0]!r}; needed numbers from 0 to {data.n_features - 1:,}"
            )
        found = np.array([values.get(int(i), others) for i in data.table.ids], np.float64)
        if np.any(np.isnan(found)):
            raise SpecError(f"{name} has NaN for a feature; needed numbers")
        return found
    array: NDArray[np.float64] = np.asarray(values, np.float64)
    if array.ndim == 0:
        return np.full(len(data.table), float(array))
    if array.shape != (data.n_features,):
        raise SpecError(f"{name} has the shape {array.shape}; needed ({data.n_features},), one for each feature")
    if np.any(np.isnan(array)):
        raise SpecError(f"{name}[{int(np.flatnonzero(np.isnan(array))[0])}] is NaN; needed numbers")
    return array[data.table.ids]
