"""The survey: a pass over the files before the blocks are made, only where something must be learned from them.

    vocabulary of a one-hot column   levels in at least ``min_count`` rows that have a label and are not held out
    classes                          all labels that occur, if labels are text or a row has any number of them

Both are sorted, so they depend on the rows and not on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.ingest import delimited, holdout, parquet, svmlight
from blockdot.ingest.categories import encode
from blockdot.ingest.columns import columns_of
from blockdot.ingest.features import FittedFeatures
from blockdot.ingest.labels import in_order, label_is_text, label_lists
from blockdot.ingest.plan import Chunk, Plan, pieces
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Label, Split
from blockdot.ingest.table import Table


@dataclass(frozen=True)
class Recipe:
    """What turns a chunk into rows."""

    fitted: FittedFeatures
    block_bytes: int
    split: Split | None = None
    predicting: bool = False


@dataclass
class _Survey:
    levels: dict[str, Counter[str]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)

    def add(self, other: _Survey) -> None:
        for name, counts in other.levels.items():
            self.levels.setdefault(name, Counter()).update(counts)
        self.labels |= other.labels


def tables(chunk: Chunk, recipe: Recipe) -> Iterator[Table]:
    """The tables of a chunk of a tabular file, with the columns that the recipe uses."""
    data = recipe.fitted.data
    needed = columns_of(chunk.source, recipe.fitted, recipe.split, predicting=recipe.predicting)
    if data.format == "parquet":
        yield from parquet.read(chunk, needed, data, recipe.block_bytes)
    else:
        for piece in pieces(chunk, recipe.block_bytes, whole=data.quoted_newlines):
            yield delimited.read(piece, needed, data)


def fit(plan: Plan, data: DataSpec, features: FeaturesSpec | None, split: Split | None, pool: Pool) -> FittedFeatures:
    """Learn what must be learned from the files; ``features`` is None for svmlight files, which hold them."""
    recipe = Recipe(FittedFeatures(data=data, features=features), plan.block_bytes, split)
    with_names, survey = _labels_have_names(plan, recipe), _Survey()
    if with_names or (features is not None and features.one_hot):
        for part in pool.map(_survey_chunk, plan.chunks, recipe, with_names):
            survey.add(part)
    classes = _classes(survey, data.label) if with_names and data.label is not None else None
    if features is None:
        return FittedFeatures(data=data, n_features=data.n_features, classes=classes)
    vocabularies = {name: _vocabulary(survey, name, features.min_count) for name in features.one_hot}
    fitted = FittedFeatures(data=data, features=features, vocabularies=vocabularies, classes=classes)
    return fitted.model_copy(update={"n_features": fitted.n_named + fitted.n_slots})


def _classes(survey: _Survey, label: Label) -> tuple[str, ...]:
    """The names of all labels, in order; DataError where there is none."""
    if not survey.labels:
        where = f"every label in the column {label.column!r} is missing" if label.column else "no row has a label"
        raise DataError(f"{where}; needed some; check the {'name of the column' if label.column else 'files'}")
    return in_order(survey.labels) if label.is_list else tuple(sorted(survey.labels))


def _labels_have_names(plan: Plan, recipe: Recipe) -> bool:
    """Whether labels are not numbers as they are, but names that must all be known before the first block is made."""
    label = recipe.fitted.data.label
    if label is None or label.rule is not None:
        return False
    if label.is_list or recipe.fitted.features is None:
        return label.is_list
    if label.text is not None:
        return label.text
    only_label = replace(recipe, fitted=recipe.fitted.model_copy(update={"features": None}))
    first = next(iter(tables(plan.chunks[0], only_label)), None) if plan.chunks else None
    return first is not None and label_is_text(first, label)


def _survey_chunk(chunk: Chunk, recipe: Recipe, with_names: bool) -> _Survey:
    survey, data = _Survey(), recipe.fitted.data
    if recipe.fitted.features is None:
        for piece in pieces(chunk, recipe.block_bytes):
            survey.labels |= svmlight.labels_of(piece, data)
        return survey
    for table in tables(chunk, recipe):
        survey.add(_survey_table(table, chunk.source.name, recipe, recipe.fitted.features, with_names))
    return survey


def _survey_table(table: Table, file: str, recipe: Recipe, spec: FeaturesSpec, with_names: bool) -> _Survey:
    data = recipe.fitted.data
    counted, labels = np.ones(len(table), np.bool_), set[str]()
    if data.label is not None and data.label.is_list:
        found, missing = label_lists(table, data.label)
        counted, labels = ~missing, set(found.names)
    elif data.label is not None:
        text = table.text(data.label.column)
        counted = text.is_valid().to_numpy(zero_copy_only=False)
        labels = set(text.unique().drop_null().to_pylist()) if with_names else labels
    if recipe.split is not None:
        counted = counted & ~holdout.by_table(recipe.split, table, file, data.row_id)
    levels = {}
    for name, codes in encode(table, spec, spec.one_hot).items():
        counts = np.bincount(codes.places[counted], minlength=len(codes.values))
        levels[name] = Counter({value: int(n) for value, n in zip(codes.values, counts, strict=True) if n})
    return _Survey(levels, labels)


def _vocabulary(survey: _Survey, name: str, min_count: int) -> tuple[str, ...]:
    levels = tuple(sorted(level for level, n in survey.levels.get(name, Counter()).items() if n >= min_count))
    if not levels:
        raise SpecError(f"one_hot: no level of {name!r} occurs in {min_count} rows or more; lower min_count")
    return levels
