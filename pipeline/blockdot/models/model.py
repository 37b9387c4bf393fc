"""A fitted model, linear or a network: parameters by feature id, and all that is needed to predict with them.

    DIR/model.json            loss, classes, the feature spec, how the fit ended, the checksum of the weights
    DIR/weights.safetensors   ids (int64, ascending), coef (float64, one a feature that occurred, or K for K outputs,
                              or one for each unit of a network's first layer), tail (the intercepts, later layers)

Nothing is ever unpickled. A feature that did not occur when the model was fitted has the coefficient 0. The bytes
depend on the data and the spec alone, not on the machine, the time, or the number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import safetensors.numpy
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from safetensors import SafetensorError
from typing_extensions import TypeIs

from blockdot import atomic
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import checksum, read_json, read_regular
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.buffers import untouched_zeros
from blockdot.errors import DataError, SpecError, StoreError
from blockdot.models.architecture import AnyPredictor, Architecture, predictor_of
from blockdot.models.kinds import Option, kind_of, make_loss
from blockdot.models.outcomes import Outcome, outcome_of
from blockdot.objective.losses import Loss
from blockdot.objective.passes import Raw
from blockdot.objective.predictors import Linear
from blockdot.vectors import Vector

_LARGEST_WEIGHTS = 2**40

MODEL, WEIGHTS = "model.json", "weights.safetensors"

Paths = str | Path | Sequence[str | Path]
Rows = Dataset | sp.sparray | sp.spmatrix | ArrayLike


class Fit(BaseModel):
    """How the fit ended, for the record."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    alpha: float
    l1_ratio: float = 0.0
    standardize: bool = False
    """Whether the penalty saw features scaled to standard deviation 1."""
    restricted: tuple[str, ...] = ()
    """What else shaped the estimates and is not held here: bounds, groups, weights of features or classes."""
    solver: str
    status: str
    message: str
    iterations: NonNegativeInt
    value: float
    """F at the end; of online learning the progressive loss, of each row before it was learnt from."""
    relative_grad_norm: float | None = None
    """‖∇F‖ at the end over ‖∇F‖ at 0: what is compared with ``tol``. None for online learning."""
    grad_norm: float | None = None
    gap_bound: float | None = None
    """At most so far is ``value`` from the minimum; None where no bound is known, as without a penalty."""
    rows: NonNegativeInt
    store: str | None
    """The digest of the store that the model was fitted to; None for arrays."""


class ModelInfo(BaseModel):
    """What model.json holds beside the checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["blockdot-model"] = "blockdot-model"
    version: Literal[1, 2] = 2
    loss: str
    options: dict[str, Option] = {}
    """Of the loss: see kinds.py."""
    intercept: bool
    network: Architecture | None = None
    """The hidden layers; None for a linear model."""
    n_features: NonNegativeInt
    labels: tuple[float, ...] | None
    """The values of y in a store that stand for 0, 1, …, or the numbers of its columns; None for regression."""
    classes: tuple[str, ...] | None
    """Their names, where the raw labels were text."""
    target_mean: float
    """The weighted mean of y (of 0, 1, …) in the training data: what a constant prediction would be."""
    class_shares: tuple[float, ...] | None = None
    """Each class's, or label's, share of the weight of the training data; None for regression."""
    constant: tuple[float, ...] | None = None
    """The intercepts of the best model without features, where there are offsets or labels that do not vary; None
    where the means say it."""
    features: dict[str, Any] | None
    """How raw files become features; None for a model fitted to arrays."""
    fit: Fit


@dataclass(frozen=True, eq=False)
class Model:
    """Parameters by feature id: ``coef[i]``, a number or K of them, belongs to ``ids[i]`` (ascending).

    ``tail`` holds the intercept, one number or K, or nothing. Of a network ``coef[i]`` has a number for each unit of
    the first layer, and ``tail`` holds the weights of later layers, and then the intercepts of all (network.py).
    """

    info: ModelInfo
    ids: NDArray[np.int64]
    coef: Vector
    tail: Vector

    @cached_property
    def loss(self) -> Loss:
        """The loss that the model was fitted with."""
        return make_loss(self.info.loss, self.info.options)

    @cached_property
    def outcome(self) -> Outcome:
        """What z stands for."""
        return outcome_of(self.info.loss, self.loss, self.info.labels, has_names=self.info.classes is not None)

    @property
    def outputs(self) -> int | None:
        """K; None for a model with one output."""
        found: int | None = getattr(self.loss, "outputs", None)
        return found

    @property
    def predictor(self) -> AnyPredictor:
        """How the parameters become z."""
        return predictor_of(self.info.network, self.info.intercept, self.outputs)

    @property
    def intercept(self) -> Any:
        """b of the outputs, a number, or (K,) numbers; 0 for a model without."""
        size = self.outputs or 1
        b = self.tail[-size:] if len(self.tail) else np.zeros(size)
        return float(b[0]) if self.outputs is None else b

    @property
    def is_classifier(self) -> bool:
        """Whether the model predicts classes."""
        return self.info.labels is not None

    @property
    def is_multilabel(self) -> bool:
        """Whether a row can have any number of the labels."""
        return kind_of(self.info.loss).targets == "labels"

    @property
    def has_probabilities(self) -> bool:
        """Whether the model knows probabilities of its classes."""
        return self.is_classifier and kind_of(self.info.loss).has_probabilities

    @property
    def class_labels(self) -> NDArray[Any]:
        """The classes (or labels of a row), as names where the raw labels were text, otherwise as numbers."""
        if self.info.classes is not None:
            return np.asarray(self.info.classes)
        return np.arange(self.outputs or 0) if self.is_multilabel else np.asarray(self.info.labels)

    @property
    def constant_labels(self) -> NDArray[Any]:
        """Of a model of any number of labels a row, those that all training rows had, or none: they are constants."""
        shares = np.asarray(self.info.class_shares if self.is_multilabel else (), np.float64)
        return self.class_labels[(shares == 0.0) | (shares == 1.0)] if len(shares) else shares

    def dense_coef(self) -> Vector:
        """The coefficients of all ``n_features`` features, 0 for those that did not occur; (K, n_features) for K."""
        try:
            out = untouched_zeros((*self.coef.shape[1:], self.info.n_features))
        except (MemoryError, ValueError, OverflowError):
            raise DataError(
                f"the coefficients of all {self.info.n_features:,} features do not fit in memory; use those of the "
                f"{len(self.ids):,} that occurred: model.ids and model.coef"
            ) from None
        out[..., self.ids] = self.coef.T
        return out

    def sparse_coef(self) -> sp.csr_array:
        """The coefficients of all ``n_features`` features as a sparse array, (1, n_features) or (K, n_features)."""
        rows = self.coef.reshape(len(self.ids), self.outputs or 1).T
        outputs, place = np.nonzero(rows)
        ends = np.concatenate([[0], np.cumsum(np.bincount(outputs, minlength=len(rows)))])
        return sp.csr_array((rows[outputs, place], self.ids[place], ends), shape=(len(rows), self.info.n_features))

    def feature_names(self, ids: NDArray[np.int64]) -> list[Any]:
        """What features are called, by the columns of the raw files that they were made of; else their numbers."""
        if self.info.features is None:
            return list(ids.tolist())
        from blockdot.ingest.features import FittedFeatures, feature_names
        from blockdot.ingest.spec import parse_spec

        fitted = parse_spec(FittedFeatures, self.info.features, "features")
        return list(ids.tolist()) if fitted.features is None else [*feature_names(fitted, ids)]

    def parameters(self, data: Dataset) -> Vector:
        """The parameter vector over the features that occur in ``data``; StoreError if they mean other things."""
        theirs, ours = _meaning(data.features), _meaning(self.info.features)
        if theirs is not None and ours is not None and theirs != ours:
            where = data.path or "this data set"
            raise StoreError(
                f"{where} was ingested with another feature spec than the model was fitted with; "
                "ingest the raw files again with the model's own spec (hand the files to the model)"
            )
        if data.features is None and data.n_features != self.info.n_features:
            raise DataError(f"X has {data.n_features} features; the model was fitted to {self.info.n_features}")
        place = np.minimum(np.searchsorted(self.ids, data.table.ids), max(len(self.ids) - 1, 0))
        coef = np.zeros((len(data.table), *self.coef.shape[1:]))
        if len(self.ids):
            known = self.ids[place] == data.table.ids
            coef[known] = self.coef[place[known]]
        return np.concatenate([coef.ravel(), self.tail])

    def constant(self) -> Model:
        """The model that predicts the training mean whatever the features are: what any model must beat."""
        info = self.info.model_copy(update={"intercept": True, "network": None})
        shares = np.asarray(self.info.class_shares or (1.0 - self.info.target_mean, self.info.target_mean))
        tail = self.outcome.constant(info.target_mean, shares) if info.constant is None else np.array(info.constant)
        return Model(info, self.ids[:0], np.zeros((0, *Linear(True, self.outputs).row_shape)), tail)

    def raw(self, data: Rows | Paths, pool: Pool | None = None, offset: ArrayLike | None = None) -> Vector:
        """z, (n,), or (n, K) for K outputs.

        Parameters
        ----------
        data
            A matrix (n, n_features), a Dataset, or raw files (a path, or a list of paths), which become features
            exactly as the training data did.
        pool
            Where to work; default: the threads of this process.
        offset
            (n,) numbers that are added to z, for a matrix; a Dataset holds its own.
        """
        pool = pool or ThreadPool()
        if offset is not None and (isinstance(data, Dataset) or _is_paths(data)):
            raise DataError("an offset goes with a matrix: a Dataset, and what raw files become, hold their own")
        if _is_paths(data):
            return self._raw_files(data, pool)
        if not isinstance(data, Dataset):
            data = Dataset.from_arrays(data, offset=offset)
        with data.on(pool) as blocks:
            parts = blocks.map(Raw(self.predictor), self.parameters(data))
            return np.concatenate([np.empty(self.predictor.z_shape(0)), *parts])

    def probabilities(self, z: Vector) -> Vector:
        """(n, K) probabilities of the classes at raw predictions z; DataError for a model that has none."""
        return self.outcome.probabilities(z)

    def log_probabilities(self, z: Vector) -> Vector:
        """(n, K) logarithms of the probabilities, finite wherever z is."""
        return self.outcome.log_probabilities(z)

    def decide(self, z: Vector) -> NDArray[Any]:
        """The class of each row, the number that a regression expects, or (n, L) which labels, at raw predictions z."""
        return self.outcome.decide(z, self.class_labels)

    def predict_proba(self, data: Rows | Paths, pool: Pool | None = None, offset: ArrayLike | None = None) -> Vector:
        """(n, K) probabilities of the classes, which sum to 1, or of the labels, which do not; for classifiers."""
        if not self.is_classifier:
            return self.probabilities(np.empty(0))  # says why not
        return self.probabilities(self.raw(data, pool, offset))

    def predict(self, data: Rows | Paths, pool: Pool | None = None, offset: ArrayLike | None = None) -> NDArray[Any]:
        """The class of each row, the number that a regression expects, or (n, L) of 0 and 1 for labels."""
        return self.decide(self.raw(data, pool, offset))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as the directory ``path``, whole or not at all."""
        weights = safetensors.numpy.save({"ids": self.ids, "coef": self.coef, "tail": self.tail})
        content = {"model": self.info.model_dump(mode="json"), "weights": checksum(weights)}
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        with atomic.new_directory(Path(path), overwrite=overwrite) as directory:
            atomic.write_file(directory / WEIGHTS, weights)
            atomic.write_file(directory / MODEL, text)

    def _raw_files(self, paths: Paths, pool: Pool) -> Vector:
        from blockdot.ingest.build import ingest_for_prediction

        if self.info.features is None:
            raise DataError("this model was fitted to arrays: it has no feature spec to read raw files with")
        with TemporaryDirectory(prefix="blockdot-") as directory:
            store = Path(directory) / "rows.blocks"
            ingest_for_prediction(paths, store, self.info.features, pool=pool)
            return self.raw(Dataset.open(store), pool)


def load_model(path: str | Path) -> Model:
    """Load a model directory. Raises StoreError if it is missing, unfinished, damaged, or something else."""
    path = Path(path)
    try:
        content = read_json(path / MODEL)
        weights = read_regular(path / WEIGHTS, _LARGEST_WEIGHTS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{path} is not a model directory: {error.filename} is missing; save the model again"
        ) from None
    try:
        info, expected = ModelInfo.model_validate(content["model"]), str(content["weights"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path / MODEL}: {place}: {first['msg']}; save the model again") from None
    except (KeyError, TypeError):
        raise StoreError(f"{path / MODEL} does not describe a model; save the model again") from None
    if checksum(weights) != expected:
        raise StoreError(
            f"{path / WEIGHTS} was altered or belongs to another model: its checksum is {checksum(weights)}, "
            f"expected {expected}; save the model again"
        )
    return _checked(path, info, weights)


def _checked(path: Path, info: ModelInfo, weights: bytes) -> Model:
    try:
        arrays = safetensors.numpy.load(weights)
        ids, coef, tail = arrays["ids"], arrays["coef"], arrays["tail"]
    except (SafetensorError, KeyError) as error:
        raise StoreError(f"{path / WEIGHTS} does not hold a model's weights: {error}; save the model again") from None
    try:
        outputs = getattr(make_loss(info.loss, info.options), "outputs", None)
    except (SpecError, TypeError) as error:
        raise StoreError(f"{path / MODEL}: {error}; save the model again") from None
    predictor = predictor_of(info.network, info.intercept, outputs)
    sound = (
        (ids.dtype, coef.dtype, tail.dtype) == (np.int64, np.float64, np.float64)
        and ids.ndim == 1
        and coef.shape == (*ids.shape, *predictor.row_shape)
        and tail.shape == (predictor.layout.tail,)
        and bool(np.all(np.diff(ids) > 0))
        and (len(ids) == 0 or (ids[0] >= 0 and ids[-1] < info.n_features))
        and bool(np.all(np.isfinite(coef)) and np.all(np.isfinite(tail)))
    )
    if not sound:
        raise StoreError(f"{path / WEIGHTS} holds arrays of the wrong type, shape or order; save the model again")
    contradiction = _contradiction(info, outputs)
    if contradiction is not None:
        raise StoreError(f"{path / MODEL}: {contradiction}; save the model again")
    return Model(info, ids, coef, tail)


def _contradiction(info: ModelInfo, outputs: int | None) -> str | None:
    """What of a model's description does not agree with the rest of it."""
    if outputs is not None and type(outputs) is not int:
        return f"outputs is {outputs!r}, no whole number"
    targets = kind_of(info.loss).targets
    wanted = 0 if targets == "numbers" else 2 if targets == "two classes" else outputs
    for name, needed, may_lack in (
        ("labels", wanted, False),
        ("classes", wanted, True),
        ("class_shares", wanted, True),
        ("constant", outputs or 1, True),
    ):
        found = getattr(info, name)
        if len(found or ()) != needed and not (may_lack and found is None):
            return f"{len(found or ())} {name} for the loss {info.loss}, which needs {needed}"
    return None


def _meaning(features: dict[str, Any] | None) -> tuple[object, object] | None:
    """The part of a feature spec that says what a feature id stands for."""
    return None if features is None else (features.get("features"), features.get("vocabularies"))


def _is_paths(data: object) -> TypeIs[Paths]:
    if isinstance(data, (str, Path)):
        return True
    return isinstance(data, (list, tuple)) and bool(data) and all(isinstance(item, (str, Path)) for item in data)
