"""The survey: a pass over the files before the blocks are made, only where something must be learned from them.

    vocabulary of a one-hot column   levels in at least ``min_count`` rows that have a label and are not held out
    classes                          all labels that occur, if labels are text

Both are sorted, so they depend on the rows and not on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.ingest import delimited, holdout, parquet
from blockdot.ingest.categories import encode
from blockdot.ingest.columns import columns_of
from blockdot.ingest.features import FittedFeatures
from blockdot.ingest.labels import label_is_text
from blockdot.ingest.plan import Chunk, Plan, pieces
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Split
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


def fit(plan: Plan, data: DataSpec, features: FeaturesSpec, split: Split | None, pool: Pool) -> FittedFeatures:
    """Learn what must be learned from the files."""
    recipe = Recipe(FittedFeatures(data=data, features=features), plan.block_bytes, split)
    with_text = _labels_are_text(plan, recipe)
    survey = _Survey()
    if with_text or features.one_hot:
        for part in pool.map(_survey_chunk, plan.chunks, recipe, with_text):
            survey.add(part)
    if with_text and not survey.labels and data.label is not None:
        raise DataError(
            f"every label in the column {data.label.column!r} is missing; needed some; check the column's name"
        )
    vocabularies = {name: _vocabulary(survey, name, features.min_count) for name in features.one_hot}
    fitted = FittedFeatures(
        data=data,
        features=features,
        vocabularies=vocabularies,
        classes=tuple(sorted(survey.labels)) if with_text else None,
    )
    return fitted.model_copy(update={"n_features": fitted.n_named + fitted.n_slots})


def _labels_are_text(plan: Plan, recipe: Recipe) -> bool:
    label = recipe.fitted.data.label
    if label is None or label.rule is not None:
        return False
    if label.text is not None:
        return label.text
    only_label = replace(recipe, fitted=recipe.fitted.model_copy(update={"features": None}))
    first = next(iter(tables(plan.chunks[0], only_label)), None) if plan.chunks else None
    return first is not None and label_is_text(first, label)


def _survey_chunk(chunk: Chunk, recipe: Recipe, with_text: bool) -> _Survey:
    survey = _Survey()
    for table in tables(chunk, recipe):
        survey.add(_survey_table(table, chunk.source.name, recipe, with_text))
    return survey


def _survey_table(table: Table, file: str, recipe: Recipe, with_text: bool) -> _Survey:
    data, spec = recipe.fitted.data, recipe.fitted.features
    assert spec is not None
    counted, labels = np.ones(len(table), np.bool_), set[str]()
    if data.label is not None:
        text = table.text(data.label.column)
        counted = text.is_valid().to_numpy(zero_copy_only=False)
        labels = set(text.unique().drop_null().to_pylist()) if with_text else labels
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
