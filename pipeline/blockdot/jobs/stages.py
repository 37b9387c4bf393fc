"""The stages of a job: ingest → fit → evaluate → predict.

Each stage has a key: a checksum of the part of the spec that it depends on and of its inputs. A stage that is done for
the same key, and whose outputs are unchanged, is skipped. Where a job runs is in no key: the bytes are the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import blockdot
from blockdot import atomic
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import Manifest
from blockdot.blocks.numerics import require_agreement
from blockdot.blocks.store import verify_store
from blockdot.blocks.tree import Pool
from blockdot.errors import BlockdotError, NotConvergedError, SpecError, StoreError
from blockdot.ingest.build import ingest, ingest_for_prediction
from blockdot.ingest.inputs import resolve
from blockdot.jobs.cluster import connect
from blockdot.jobs.model_tables import FoldsTable
from blockdot.jobs.plan import Plan, crew_at, planned, recipe_of, require_room
from blockdot.jobs.predictions import verified, write_predictions
from blockdot.jobs.reporter import Quiet, Reporter
from blockdot.jobs.run_directory import RunDirectory, as_json, digest_of, file_digest
from blockdot.jobs.spec import Job
from blockdot.models.evaluate import evaluate
from blockdot.models.fit import fit
from blockdot.models.journal import Journal
from blockdot.models.model import MODEL, Model, load_model
from blockdot.models.path import Grid, fit_path
from blockdot.solvers import Result, State

logger = logging.getLogger(__name__)

STAGES = ("ingest", "fit", "evaluate", "predict")


@dataclass
class Run:
    """A job in its run directory.

    ``strict`` makes a fit that did not converge an error; ``resume`` goes on from the checkpoint of one that was
    interrupted.
    """

    job: Job
    reporter: Reporter = field(default_factory=Quiet)
    strict: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        self.directory = RunDirectory(self.job.output)
        self._pool: Pool | None = None

    def run(self, stages: Sequence[str] | None = None) -> dict[str, object]:
        """Run the stages named, in order (default: all that the job has data for); what each made, by its name."""
        if stages is None:
            stages = [stage for stage in STAGES if self._has_data_for(stage)]
            for stage in STAGES:
                if stage not in stages:
                    self.reporter.say(f"{stage}: left out, because the job has no test set (data.test or data.split)")
        results: dict[str, object] = {}
        with self.directory.opened(self.reporter.say), self._connected():
            try:
                for stage in stages:
                    results[stage] = getattr(self, f"_{stage}")()
            except StoreError:
                self._forget_damaged_stores()
                raise
            self.directory.write_spec(self.job.to_toml())
        return results | {"output": str(self.directory.path)}

    def _has_data_for(self, stage: str) -> bool:
        tested = self.job.data.test is not None or self.job.data.split is not None
        return stage in ("ingest", "fit") or tested or (stage == "predict" and self.job.predict.input is not None)

    def _forget_damaged_stores(self) -> None:
        """See to it that the next run ingests again what cannot be read, as the error says."""
        directory = self.directory
        for stage, stores in (("ingest", (directory.train, directory.test)), ("predict-ingest", (directory.scored,))):
            if any(path.exists() and verify_store(path) for path in stores):
                directory.forget(stage)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        with connect(self.job.cluster) as self._pool:
            require_agreement(self._pool, strict=self._is_strict)
            yield

    @property
    def _is_strict(self) -> bool:
        return self.job.job.reproducible == "strict"

    @property
    def pool(self) -> Pool:
        """Where the work is done."""
        assert self._pool is not None
        return self._pool

    # ---- ingest

    def _ingest(self) -> dict[str, object]:
        data = self.job.data
        tests = [] if data.test is None else _identities(data.test)
        trains = _identities(data.train)
        shared = {path for path, *_ in trains} & {path for path, *_ in tests}
        if shared:
            raise SpecError(f"data.test: {min(shared)} is a training file, too; rows must not be in both sets")
        key = digest_of(blockdot.__version__, self._reading(), trains, tests)
        made = self._done("ingest", key, self._ingested)
        if made is None:
            self.directory.forget("ingest")  # from here on there may be a new training store beside an old test store
            self._make_stores()
            made = self._ingested()
            self.directory.write_receipt("ingest", key, made)
        train = self._open_train()
        self.reporter.say(_read_from(train))
        self.reporter.say(_counted("train", train))
        if "test" in made:
            test = Dataset.open(self.directory.test)
            if data.test is not None:
                self.reporter.say(_read_from(test))
            self.reporter.say(_counted("test", test))
        return dict(made)

    def _make_stores(self) -> None:
        data, directory = self.job.data, self.directory
        with self.reporter.track("ingest") as tick:
            ingest(
                data.train,
                directory.train,
                data=data.reading(),
                features=self.job.features,
                split=data.split,
                test_out=directory.test if data.split is not None else None,
                pool=self.pool,
                progress=tick,
                overwrite=True,
            )
            if data.test is not None:
                fitted = Dataset.open(directory.train).features
                assert fitted is not None
                ingest_for_prediction(
                    data.test, directory.test, fitted, pool=self.pool, progress=tick, overwrite=True, needs_label=True
                )

    def _ingested(self) -> dict[str, object]:
        stores = {"train": self.directory.train}
        if self._has_data_for("evaluate"):
            stores["test"] = self.directory.test
        found: dict[str, object] = {name: Dataset.open(path).digest for name, path in stores.items()}
        return found | {"spec": self._reading()}

    def _reading(self) -> str:
        """A digest of how the raw files are read."""
        features = None if self.job.features is None else self.job.features.model_dump(mode="json")
        return digest_of(self.job.data.model_dump(mode="json"), features)

    # ---- fit

    def _fit(self) -> dict[str, object]:
        self._require_room()
        train = self._open_train()
        key = self._fit_key(train.digest)
        made = self._done("fit", key, self._fitted)
        if made is None:
            result = self._fit_model(train, key)
            if result.status == "diverged":
                raise BlockdotError(f"the fit diverged: {result.message}; no model was written")
            made = self._fitted()
        model = load_model(self.directory.model)
        record = model.info.fit
        known = record.gap_bound is not None and record.gap_bound < abs(record.value)  # else it says nothing
        bound = f", at most {record.gap_bound:.2g} above the minimum" if known else ""
        if self.job.model.is_path:
            self.reporter.say(f"fit: cross-validation chose alpha = {record.alpha:.6g}")
        of_value = "" if record.relative_grad_norm is None else f"; objective {record.value:.10g}{bound}"
        self.reporter.say(f"fit: {record.solver} {record.message}{of_value}")
        if len(model.constant_labels):
            names = ", ".join(map(str, model.constant_labels))
            self.reporter.say(f"fit: every row has these labels, or none has, and a constant predicts them: {names}")
        if self.strict and record.status != "converged":
            remedy = ""  # the message has it
            if self.job.solver.name == "online":
                remedy = "; online learning converges where rows are held out to stop by: solver.held_out = 0.1"
            raise NotConvergedError(f"the fit did not converge: {record.message}{remedy}")
        return dict(made) | {
            "alpha": record.alpha,
            "solver": record.solver,
            "status": record.status,
            "iterations": record.iterations,
            "objective": record.value,
            "grad_norm": record.grad_norm,
            "relative_grad_norm": record.relative_grad_norm,
            "gap_bound": record.gap_bound,
        }

    def _require_room(self) -> None:
        """Refuse a fit that the memory limit has no room for, before a block is read; not one that is done already."""
        store = self._train_store()
        if store is not None and self.directory.receipt("fit").get("key") != self._fit_key(Manifest.read(store).digest):
            require_room(self.job, store, crew_at(self.job.cluster, self.pool))

    def plan(self) -> Plan:
        """What the fit will need; nothing is run, and nothing is written."""
        return planned(self.job, self._train_store())

    def _train_store(self) -> Path | None:
        """The training store, if the stage ingest made it by this spec."""
        made = self.directory.receipt("ingest").get("made")
        ours = isinstance(made, dict) and made.get("spec") == self._reading()
        return self.directory.train if ours and self.directory.train.exists() else None

    def _fit_key(self, store: str | None) -> str:
        """Of the fit to the store with that digest."""
        solver = self.job.solver.model_dump(mode="json", exclude={"checkpoint_every"})
        return digest_of(blockdot.__version__, self.job.model.model_dump(mode="json"), solver, store)

    def _fit_model(self, train: Dataset, key: str) -> Result[Any]:
        """Fit and save the model, and write the receipt: only then are the checkpoints of the fit removed."""
        table, solver, recipe = self.job.model, self.job.solver, recipe_of(self.job)
        journal = Journal(
            self.directory.checkpoints, every=solver.checkpoint_every, resume=self.resume, strict=self._is_strict
        )
        learning = recipe.learning(train.n_rows)
        most = learning.epochs_of(train.n_rows) if solver.name == "online" else solver.max_iter
        with self.reporter.track("fit") as tick, journal:

            def watch(state: State) -> None:
                tick(state.iteration, most)

            if table.is_path:
                grid = Grid(None if table.alphas == "path" else table.alphas, table.n_alphas)
                folds = (table.cv or FoldsTable()).make()
                model, found = fit_path(
                    train, recipe, self.pool, grid, folds, rule=table.rule, journal=journal, callbacks=[watch]
                )
                result = found.results[found.best]
            else:
                model, result = fit(train, recipe, self.pool, journal=journal, callbacks=[watch])
            if result.status != "diverged":
                model.save(self.directory.model, overwrite=True)
                self.directory.write_receipt("fit", key, self._fitted())
        return result

    def _fitted(self) -> dict[str, object]:
        load_model(self.directory.model)
        return {"model": file_digest(self.directory.model / MODEL)}

    # ---- evaluate

    def _evaluate(self) -> dict[str, object]:
        model, data = self._open_model(), self._open_test()
        table = self.job.evaluate.model_dump(mode="json")
        key = digest_of(blockdot.__version__, table, self._fitted(), data.digest)
        made = self._done("evaluate", key, self._evaluated)
        if made is None:
            metrics = {"test": evaluate(model, data, self.pool)}
            if self.job.evaluate.constant:
                metrics["constant"] = evaluate(model.constant(), data, self.pool)
            atomic.write_file(self.directory.metrics, as_json(metrics))
            self.directory.write_receipt("evaluate", key, self._evaluated())
        return self.metrics()

    def _evaluated(self) -> dict[str, object]:
        return {"metrics": file_digest(self.directory.metrics)}

    def metrics(self) -> dict[str, object]:
        """What metrics.json says."""
        return cast(dict[str, object], json.loads(self.directory.metrics.read_text()))

    # ---- predict

    def _predict(self) -> dict[str, object]:
        model, data = self._open_model(), self._to_score()
        key = digest_of(blockdot.__version__, self._fitted(), data.digest)
        made = self._done("predict", key, self._predicted)
        if made is None:
            with self.reporter.track("predict") as tick:
                write_predictions(
                    model, data, self.directory.predictions, self.pool, key, lambda done: tick(done, data.n_blocks)
                )
            made = self._predicted()
            self.directory.write_receipt("predict", key, made)
        self.reporter.say(f"predict: {data.n_rows:,} rows scored: {self.directory.predictions}")
        return {"rows": data.n_rows, "predictions": str(self.directory.predictions)}

    def _to_score(self) -> Dataset:
        files = self.job.predict.input
        if files is None:
            return self._open_test()
        model, store = self._open_model(), self.directory.scored
        if model.info.features is None:
            raise SpecError("this model was fitted to arrays: it has no feature spec to read raw files with")
        key = digest_of(blockdot.__version__, model.info.features, _identities(files))
        if self._done("predict-ingest", key, self._scored) is None:
            with self.reporter.track("read") as tick:
                ingest_for_prediction(files, store, model.info.features, pool=self.pool, progress=tick, overwrite=True)
            self.directory.write_receipt("predict-ingest", key, self._scored())
        data = Dataset.open(store)
        self.reporter.say(_read_from(data))
        return data

    def _scored(self) -> dict[str, object]:
        return {"store": Manifest.read(self.directory.scored).digest}

    def _predicted(self) -> dict[str, object]:
        return {"manifest": verified(self.directory.predictions)}

    # ---- what the stages share

    def _done(self, stage: str, key: str, outputs: Callable[[], Mapping[str, object]]) -> Mapping[str, object] | None:
        """What the stage made, if it is done for ``key`` and that is still there; otherwise None."""
        receipt = self.directory.receipt(stage)
        if receipt.get("key") == key:
            try:
                made = outputs()
            except StoreError:
                made = {}
            if made == receipt.get("made"):
                logger.info("%s: done already for the same inputs; skipped", stage)
                self.reporter.say(f"{stage}: done already for the same inputs; skipped")
                return made
        logger.info("%s: started", stage)
        return None

    def _open_train(self) -> Dataset:
        return self._open_store(self.directory.train)

    def _open_test(self) -> Dataset:
        if not self._has_data_for("evaluate"):
            raise SpecError("there is no test set: give data.test or data.split, or files to score in predict.input")
        return self._open_store(self.directory.test)

    def _open_store(self, path: Path) -> Dataset:
        """A store that the stage ingest made, by the spec of this job."""
        receipt = self.directory.receipt("ingest")
        if not path.exists() or not receipt:
            raise StoreError(f"{path} is not there yet: run the stage ingest first (blockdot ingest, or run)")
        if receipt.get("made") != self._ingested():
            raise StoreError(f"{path} was made by another spec: run the stage ingest again (blockdot ingest, or run)")
        return Dataset.open(path)

    def _open_model(self) -> Model:
        if not self.directory.model.exists():
            raise StoreError(f"{self.directory.model} is not there yet: run the stage fit first (blockdot fit, or run)")
        model, train = load_model(self.directory.model), self._open_train()
        if model.info.fit.store != train.digest:
            raise StoreError(
                f"{self.directory.model} was fitted to another store (digest {model.info.fit.store}) than {train.path} "
                f"(digest {train.digest}): run the stage fit again (blockdot fit, or run)"
            )
        if self.directory.receipt("fit").get("key") != self._fit_key(train.digest):
            raise StoreError(
                f"{self.directory.model} was fitted by another spec ([model] or [solver] differ): "
                "run the stage fit again (blockdot fit, or run)"
            )
        return model


def _identities(inputs: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Files, as far as a change of them shows without reading them: path, name, size, time of the last change."""
    found = []
    for path, name in resolve(inputs):
        status = path.stat()
        found.append((str(path), name, status.st_size, status.st_mtime_ns))
    return found


def _counted(name: str, data: Dataset) -> str:
    blocks = "1 block" if data.n_blocks == 1 else f"{data.n_blocks} blocks"
    return f"{name}: {data.n_rows:,} rows in {blocks}, {len(data.table):,} features occur, {data.nnz:,} non-zeros"


def _read_from(data: Dataset) -> str:
    dropped = ", ".join(f"{count:,} ({reason})" for reason, count in sorted((data.dropped or {}).items()))
    files = "1 file" if len(data.files) == 1 else f"{len(data.files)} files"
    return f"read {data.rows_read:,} rows of {files}; dropped {dropped or 'none'}"
