"""From raw files to block stores: every chunk of every file on its own, on threads or on a cluster.

A piece of a file becomes one block of the training store and, with a split, one of the test store; pieces without rows
on a side make no block there. Which rows a block holds depends on the files and the spec alone, so the stores have the
same bytes whoever made them. A first pass over the files (the survey) is made only where something must be known of all
rows before the first block: the vocabularies of one-hot columns, and the classes of text labels.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.store import StoreWriter, WrittenBlock, new_store, write_block
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.ingest import holdout, survey, svmlight
from blockdot.ingest.columns import refuse_leaks, refuse_shadows
from blockdot.ingest.features import FittedFeatures, to_rows
from blockdot.ingest.labels import rule_labels
from blockdot.ingest.plan import Chunk, Plan, pieces, plan
from blockdot.ingest.rows import Rows
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Format, Split, parse_spec

logger = logging.getLogger(__name__)

Inputs = str | Path | Sequence[str | Path]
Progress = Callable[[int, int | None], None]


def ingest(
    inputs: Inputs,
    out: str | Path,
    format: Format | None = None,
    *,
    label: str | Mapping[str, object] | None = None,
    weight: str | None = None,
    data: DataSpec | Mapping[str, object] | None = None,
    features: FeaturesSpec | Mapping[str, object] | None = None,
    split: Split | Mapping[str, object] | None = None,
    test_out: str | Path | None = None,
    pool: Pool | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Read raw files into a block store.

    Parameters
    ----------
    inputs
        Paths, globs, folders, or ``package:NAME/path`` for a file of an installed package; one or a list.
    out
        Where the store is made. It appears when it is whole, or not at all.
    format, label, weight
        "svmlight" (default), "csv", "tsv" or "parquet"; the columns of targets and weights.
    data
        Further options of :class:`DataSpec`, or all of them.
    features
        How columns become features (:class:`FeaturesSpec`); needed for tables, not for svmlight.
    split, test_out
        Which rows are held out (:class:`Split`), and where their store is made.
    pool
        Where to work: :class:`ThreadPool` (default) or :class:`DaskPool`. The bytes are the same for any.
    progress
        Called with how many chunks are done, and of how many.
    overwrite
        Whether stores that exist already are replaced.

    Returns
    -------
    Dataset
        The training rows; open ``test_out`` for those held out. Its ``rows_read`` and ``dropped`` count rows.

    Raises
    ------
    SpecError
        For options that cannot be honoured.
    DataError
        For input that is not what it claims to be, with file, line, what was found, and what is needed.
    """
    pool = pool or ThreadPool()
    held = None if split is None else parse_spec(Split, split, "split")
    given = {"format": format, "label": label, "weight": weight}
    work, fitted = prepared(inputs, given, data, features, held, test_out, pool)
    outs = [Path(out)] if test_out is None else [Path(out), Path(test_out)]
    recipe = survey.Recipe(fitted, work.block_bytes, held)
    _build(work, recipe, outs, pool, progress, overwrite)
    return Dataset.open(out)


def prepared(
    inputs: Inputs,
    given: Mapping[str, object],
    data: DataSpec | Mapping[str, object] | None,
    features: FeaturesSpec | Mapping[str, object] | None,
    held: Split | None,
    test_out: object,
    pool: Pool,
) -> tuple[Plan, FittedFeatures]:
    """Where the rows are, and how they become features: what is known before the first of them is read."""
    spec = _data_spec(data, {name: value for name, value in given.items() if value is not None})
    wanted = None if features is None else parse_spec(FeaturesSpec, features, "features")
    _check_options(spec, wanted, held, test_out)
    work = plan(inputs, spec, pool)
    if wanted is not None:
        refuse_leaks(spec, wanted)
        for source in work.sources:
            refuse_shadows(source, wanted)
    return work, survey.fit(work, spec, wanted, held, pool)


def ingest_for_prediction(
    inputs: Inputs,
    out: str | Path,
    fitted: Mapping[str, object],
    *,
    pool: Pool | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    needs_label: bool = False,
) -> Dataset:
    """Read raw files with the feature spec of a store or a model (``Dataset.features``).

    Without ``needs_label`` every row is kept, and labels and weights are not read; with it, rows are treated as in
    training, for evaluation.
    """
    pool = pool or ThreadPool()
    known = parse_spec(FittedFeatures, fitted, "features")
    work = plan(inputs, known.data, pool)
    reading = known
    if not needs_label:  # neither labels nor weights are read, so no row is lost for the lack of one
        label = known.data.label if known.data.format == "svmlight" else None  # it says how the text is to be read
        unlabelled = known.data.model_copy(update={"label": label, "weight": None})
        reading = known.model_copy(update={"data": unlabelled})
    recipe = survey.Recipe(reading, work.block_bytes, predicting=not needs_label)
    _build(work, recipe, [Path(out)], pool, progress, overwrite, saved=known)
    return Dataset.open(out)


@dataclass(frozen=True)
class _Done:
    """What a chunk became: the blocks of each side, and counts."""

    blocks: tuple[list[WrittenBlock], ...]
    read: int
    dropped: Mapping[str, int]


def _build(
    work: Plan,
    recipe: survey.Recipe,
    outs: Sequence[Path],
    pool: Pool,
    progress: Progress | None,
    overwrite: bool,
    saved: FittedFeatures | None = None,
) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(new_store(path, overwrite=overwrite)) for path in outs]
        directories = tuple(writer.directory for writer in writers)
        results = []
        for done in pool.map(_build_chunk, work.chunks, recipe, directories):
            results.append(done)
            if progress is not None:
                progress(len(results), len(work.chunks))
        dropped: Counter[str] = Counter()
        for done in results:
            dropped.update(done.dropped)
        read = sum(done.read for done in results)
        for side, (writer, path) in enumerate(zip(writers, outs, strict=True)):
            blocks = [block for done in results for block in done.blocks[side]]
            _check_side(blocks, path, ("training", "test")[side] if recipe.split is not None else "", read, dropped)
            _commit(writer, blocks, work, saved or recipe.fitted, read, dropped)
    logger.info("%d rows read, %d dropped: %s", read, sum(dropped.values()), dict(dropped))


def _commit(
    writer: StoreWriter,
    blocks: list[WrittenBlock],
    work: Plan,
    fitted: FittedFeatures,
    read: int,
    dropped: Counter[str],
) -> None:
    writer.commit(
        blocks,
        n_features=fitted.n_features,
        features=fitted.model_dump(mode="json"),
        classes=fitted.classes,
        files=[source.name for source in work.sources],
        rows_read=read,
        dropped=dict(sorted(dropped.items())),
    )


def _build_chunk(chunk: Chunk, recipe: survey.Recipe, directories: tuple[Path, ...]) -> _Done:
    blocks: tuple[list[WrittenBlock], ...] = tuple([] for _ in directories)
    read, dropped = 0, Counter[str]()
    dtype, source = recipe.fitted.data.dtype, chunk.source
    for i, rows in enumerate(read_chunk(chunk, recipe)):
        read += rows.read
        dropped.update(rows.dropped)
        sides = [rows] if rows.test is None else [rows.take(~rows.test), rows.take(rows.test)]
        for side, part in enumerate(sides):
            if len(part):
                name = f"{source.index:05d}-{chunk.start:015d}-{i:05d}"
                blocks[side].append(write_block(part.to_block(source.index, dtype), directories[side], name))
    return _Done(blocks, read, dropped)


def read_chunk(chunk: Chunk, recipe: survey.Recipe) -> Iterator[Rows]:
    """The rows of each piece of a chunk."""
    data, split, file = recipe.fitted.data, recipe.split, chunk.source.name
    if data.format != "svmlight":
        for table in survey.tables(chunk, recipe):
            yield to_rows(table, recipe.fitted, file, split=split, predicting=recipe.predicting)
        return
    for piece in pieces(chunk, recipe.block_bytes):
        rows = svmlight.read(piece, data, None if recipe.predicting else recipe.fitted.classes)
        test = None if split is None else holdout.by_line(split, file, rows.lines)
        y = None if recipe.predicting or rows.y is None else rule_labels(rows.y, data.label)
        yield replace(rows, test=test, y=y)


def _data_spec(data: DataSpec | Mapping[str, object] | None, given: dict[str, object]) -> DataSpec:
    if isinstance(data, DataSpec):
        if given:
            raise SpecError(f"{next(iter(given))} is given twice: data holds it already; leave one of them out")
        return data
    return parse_spec(DataSpec, {"format": "svmlight"} | dict(data or {}) | given, "data")


def _check_options(data: DataSpec, features: FeaturesSpec | None, split: Split | None, test_out: object) -> None:
    if data.format == "svmlight" and features is not None:
        raise SpecError("svmlight files hold features already: leave features out, or give another format")
    if data.format != "svmlight" and features is None:
        raise SpecError(f"the format {data.format!r} needs features: which columns become features, and how")
    if (split is None) != (test_out is None):
        raise SpecError("split and test_out go together: which rows are held out, and where their store is made")
    if split is not None and split.column is not None and data.format == "svmlight":
        raise SpecError("svmlight files have no columns to split by; use split.fraction")


def _check_side(blocks: list[WrittenBlock], path: Path, side: str, read: int, dropped: Counter[str]) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none dropped"
    if not blocks:
        where = f"the {side} set {path}" if side else str(path)
        raise DataError(
            f"no rows are left for {where}: {read} read, {reasons}; check the files, the label and the split"
        )
    if not sum(block.entry.weight for block in blocks) > 0:
        raise DataError(f"every weight is zero in the rows for {path}; needed at least one above 0")
