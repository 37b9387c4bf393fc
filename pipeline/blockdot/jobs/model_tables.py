"""The tables [model] and [solver] of a job spec: what to fit, in the user's terms, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from blockdot.errors import SpecError
from blockdot.models.architecture import Architecture
from blockdot.models.folds import Folds, HashedFolds, TimeFolds
from blockdot.models.learning import Online


class Table(BaseModel):
    """A table of a job spec: what is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# What a kind of model is called elsewhere: the loss (models/kinds.py), and the keys of [model] that are its options.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "linear": ("squared", ()),
    "logistic": ("logistic", ("multi_class", "class_weight")),
    "svc": ("squared-hinge", ("hinge", "class_weight")),
    "huber": ("huber", ("delta",)),
    "quantile": ("quantile", ("quantile",)),
    "svr": ("epsilon-insensitive", ("epsilon",)),
    "poisson": ("poisson", ("link",)),
    "gamma": ("gamma", ("link",)),
    "inverse-gaussian": ("inverse-gaussian", ("link",)),
    "tweedie": ("tweedie", ("power", "link")),
}


class FoldsTable(Table):
    """cv: how many folds, or a table that says, too, how they are dealt out."""

    folds: int = Field(default=5, ge=2)
    by: Literal["identity", "time"] = "identity"
    """By a hash of the row's identity (the value of the row_id column, where one is named), or in the order of rows."""
    seed: int = Field(default=0, ge=0, lt=2**64)

    def make(self) -> Folds:
        """The folds."""
        return HashedFolds(self.folds, self.seed) if self.by == "identity" else TimeFolds(self.folds)


def _layers(value: object) -> object:
    return [value] if isinstance(value, int) else value


def _folds(value: object) -> object:
    return {"folds": value} if isinstance(value, int) else value


class ModelTable(Table):
    """[model]: which loss, and how strong the penalty α [ρ ‖w‖₁ + (1−ρ)/2 ‖w‖²] is. Other keys go with some kinds."""

    kind: Literal[
        "logistic", "linear", "svc", "huber", "quantile", "svr", "poisson", "gamma", "inverse-gaussian", "tweedie"
    ]
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_layers)] = ()
    """How many units each hidden layer of a network has, one number or several; none for a linear model."""
    activation: str | None = None
    """What the units of the hidden layers do (default "relu")."""
    alpha: float = Field(default=1e-6, ge=0, allow_inf_nan=False)
    l1_ratio: float = Field(default=0.0, ge=0, le=1)
    fit_intercept: bool = True
    standardize: bool = False
    lower: float | None = None
    """The least value of every coefficient; 0 for non-negative ones."""
    upper: float | None = None
    class_weight: Literal["balanced"] | None = None
    multi_class: Literal["softmax", "one-vs-rest"] | None = None
    hinge: Literal["squared", "plain"] | None = None
    """Of svc: the square of the hinge (the default), or the hinge itself."""
    delta: float | None = Field(default=None, gt=0)
    epsilon: float | None = Field(default=None, ge=0)
    quantile: float | None = Field(default=None, gt=0, lt=1)
    power: float | None = None
    link: str | None = None
    alphas: Literal["path"] | tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = None
    """Choose alpha by cross-validation: from these, or from a path that begins where an L1 penalty leaves nothing."""
    n_alphas: int = Field(default=100, ge=1)
    cv: Annotated[FoldsTable | None, BeforeValidator(_folds)] = None
    """Folds of the cross-validation (default 5)."""
    rule: Literal["best", "1se"] = "best"

    @model_validator(mode="after")
    def _one_way_to_say_alpha(self) -> Self:
        if self.is_path and "alpha" in self.model_fields_set:
            raise ValueError("alpha is chosen by cross-validation where alphas or cv are given: leave one of them out")
        return self

    @model_validator(mode="after")
    def _network_is_whole(self) -> Self:
        if self.activation is not None and not self.hidden:
            raise ValueError("activation goes with hidden layers: say hidden = [64], or remove it")
        if self.hidden and self.is_path:
            raise ValueError("alphas and cv go with linear models, not with hidden layers: give one alpha")
        try:
            _ = self.network
        except SpecError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def network(self) -> Architecture | None:
        """The hidden layers; None for a linear model."""
        return Architecture.of(self.hidden, self.activation or "relu") if self.hidden else None

    @property
    def is_path(self) -> bool:
        """Whether alpha is chosen by cross-validation."""
        return self.alphas is not None or self.cv is not None

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        ours = _KINDS[self.kind][1]
        for key in {key for _, keys in _KINDS.values() for key in keys} - set(ours):
            if getattr(self, key) is not None:
                theirs = ", ".join(f'"{kind}"' for kind, (_, keys) in _KINDS.items() if key in keys)
                raise ValueError(f"{key} goes with kind = {theirs}, not with {self.kind!r}: remove it")
        if self.kind == "tweedie" and self.power is None:
            raise ValueError('kind = "tweedie" needs power, such as 1.5')
        return self

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return "hinge" if self.hinge == "plain" else _KINDS[self.kind][0]

    @property
    def options(self) -> dict[str, float | str]:
        """The options of the loss."""
        of_loss = ("delta", "epsilon", "quantile", "power", "link")
        found = {key: getattr(self, key) for key in of_loss}
        if self.power is not None and self.power <= 0.0 and self.link is None:
            found["link"] = "identity"  # as TweedieRegressor has it: such y need not be above 0
        return {key: value for key, value in found.items() if value is not None}


class SolverTable(Table):
    """[solver]: how to minimise. ``step`` is a fixed step for gradient descent; without it the step is searched.

    ``name = "online"`` learns batch by batch instead, and has keys of its own (models/learning.py), in the place of
    ``tol`` and ``max_iter``.
    """

    name: Literal[
        "auto", "newton-cg", "newton-cholesky", "gauss-newton", "lbfgs", "gradient-descent",
        "proximal-newton", "owl-qn", "proximal-gradient", "online",
    ] = "auto"  # fmt: skip
    step: float | None = Field(default=None, gt=0)
    tol: float = Field(default=1e-6, ge=0)
    max_iter: int = Field(default=1000, ge=1)
    checkpoint_every: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """Seconds between two checkpoints, or more: they take no more than a fiftieth of the time. 0: every iteration."""
    optimizer: str | None = None
    """Of online learning: "ftrl" (the default), "adagrad", "sgd", "adam", "adamw"."""
    rate: float | None = Field(default=None, gt=0)
    schedule: str | None = None
    batch_size: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    shuffle: bool | None = None
    average: bool | None = None
    mode: str | None = None
    """How steps are made: "sequential" (the default), "synchronous", "averaged"."""
    held_out: float | None = Field(default=None, gt=0, lt=1)
    """The share of the training rows that are held out to stop by."""
    patience: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _online_keys_go_with_online(self) -> Self:
        given = [key for key in _ONLINE if getattr(self, key) is not None]
        if given and self.name != "online":
            raise ValueError(f'{given[0]} goes with name = "online", not with {self.name!r}: remove it')
        fields = type(self).model_fields  # a resolved spec has all keys
        strange = [key for key in ("step", "tol", "max_iter") if getattr(self, key) != fields[key].default]
        if self.name == "online" and strange:
            raise ValueError(
                f'{strange[0]} goes with another solver; name = "online" has epochs, and held_out to stop by'
            )
        try:
            _ = self.online
        except SpecError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def online(self) -> Online:
        """How online learning learns."""
        found = {key: getattr(self, key) for key in _ONLINE}
        return Online(**{key: value for key, value in found.items() if value is not None})


_ONLINE = (
    "optimizer", "rate", "schedule", "batch_size", "epochs", "shuffle", "average", "mode", "held_out", "patience",
)  # fmt: skip
