"""The command line.

    blockdot run JOB.toml [--set table.key=value]… [--cluster FILE|ADDRESS] [--resume] [--strict] [--insecure] [--json]
    blockdot ingest | fit | evaluate | predict JOB.toml        the stages alone, with the same options
    blockdot plan JOB.toml [--workers N] [--set …] [--cluster FILE|ADDRESS] [--json]     what the fit needs, beforehand
    blockdot inspect | verify STORE
    blockdot cluster certificates DIR                          for a cluster that speaks TLS

Exit codes: 0 done; 2 wrong usage or job spec; 3 bad data; 4 not converged under --strict; 75 interrupted: run the same
command again with --resume; 1 anything else.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from blockdot import __version__
from blockdot.errors import BlockdotError, DataError, InterruptedRunError
from blockdot.redaction import redacted

if TYPE_CHECKING:
    from blockdot.jobs.reporter import Reporter, Tick
    from blockdot.jobs.stages import Run


class Plain:
    """One plain line for each thing worth reading: for logs and pipes."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Print a line to stderr, so that stdout holds results alone."""
        if not self._quiet:
            click.echo(redacted(text), err=True)

    @contextmanager
    def track(self, what: str) -> Iterator[Tick]:
        """Say that something starts, and no more."""
        self.say(f"{what} …")
        yield lambda _done, _total: None


class Bars(Plain):
    """Progress bars, for a person at a terminal."""

    @contextmanager
    def track(self, what: str) -> Iterator[Tick]:
        """A bar that goes away when the work is done."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def job_command(name: str, text: str) -> Callable[..., None]:
    """A command that runs stages of a job spec."""

    @main.command(name, help=text)
    @click.argument("job", type=click.Path(dir_okay=False, path_type=Path))
    @click.option("--set", "settings", multiple=True, metavar="TABLE.KEY=VALUE", help="Override a key of the spec.")
    @click.option("--cluster", metavar="FILE|ADDRESS", help="Where to run, in the place of [cluster].")
    @click.option("--resume", is_flag=True, help="Go on from the checkpoint of a fit that was interrupted.")
    @click.option("--strict", is_flag=True, help="Exit with 4 when the fit does not converge.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object of results, and nothing else.")
    @click.option("--insecure", is_flag=True, help="Allow a scheduler on another machine without TLS.")
    def command(
        job: Path,
        settings: Sequence[str],
        cluster: str | None,
        resume: bool,
        strict: bool,
        as_json: bool,
        insecure: bool,
    ) -> None:
        from blockdot.jobs.spec import load_job
        from blockdot.jobs.stages import Run

        settings = (*settings, *(["cluster.insecure=true"] if insecure else []))
        run = Run(load_job(job, settings, cluster), _reporter(as_json), strict, resume)
        results = run.run(None if name == "run" else (name,))
        click.echo(json.dumps(results, indent=1, ensure_ascii=False) if as_json else _summary(run, results))

    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Learn from large sparse data by sums of inner products over row blocks."""


job_command("run", "Run a whole job: ingest, fit, evaluate, predict. Stages that are done already are skipped.")
job_command("ingest", "Read the raw files of a job into block stores.")
job_command("fit", "Fit the model of a job to its training store.")
job_command("evaluate", "Compute exact metrics of the fitted model on the test store.")
job_command("predict", "Score the test store, or the raw files in predict.input, into Parquet parts.")


@main.command()
@click.argument("job", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes, or threads of one process.")
@click.option("--set", "settings", multiple=True, metavar="TABLE.KEY=VALUE", help="Override a key of the spec.")
@click.option("--cluster", metavar="FILE|ADDRESS", help="Where to run, in the place of [cluster].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: bytes and seconds.")
def plan(job: Path, workers: int | None, settings: Sequence[str], cluster: str | None, as_json: bool) -> None:
    """Say what the fit of a job will hold, send and take for N workers, before anything runs."""
    from blockdot.jobs.spec import load_job
    from blockdot.jobs.stages import Run

    settings = (*settings, *([] if workers is None else [f"cluster.workers={workers}"]))
    found = Run(load_job(job, settings, cluster)).plan()
    click.echo(json.dumps(found.as_dict(), indent=1, ensure_ascii=False) if as_json else found.text())


@main.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(store: Path, as_json: bool) -> None:
    """Say what a block store holds, from its manifest."""
    from blockdot.blocks.dataset import Dataset

    data = Dataset.open(store)
    facts: dict[str, Any] = {
        "path": str(data.path),
        "digest": data.digest,
        "rows": data.n_rows,
        "blocks": data.n_blocks,
        "non-zeros": data.nnz,
        "features": data.n_features,
        "features that occur": len(data.table),
        "weight": data.weight,
        "labels": data.labels,
        "label columns": data.n_labels,
        "classes": data.classes,
        "files": data.files,
        "rows read": data.rows_read,
        "dropped": data.dropped,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for name, value in facts.items():
        if value not in (None, (), {}):
            if isinstance(value, dict):
                value = tuple(f"{count:,} ({reason})" for reason, count in sorted(value.items()))
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            click.echo(f"{name:20} {shown:,}" if isinstance(shown, (int, float)) else f"{name:20} {shown}")


@main.command()
@click.argument("store", type=click.Path(path_type=Path))
def verify(store: Path) -> None:
    """Read every byte of a block store and list what is wrong with it; exit with 3 if anything is."""
    from blockdot.blocks.store import verify_store

    problems = verify_store(store)
    if problems:
        raise DataError("\n".join(problems))
    click.echo(f"{store}: every block is whole")


@main.group()
def cluster() -> None:
    """What a cluster needs before it starts."""


@cluster.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A machine of the cluster (default: this one).")
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long they are valid.")
def certificates(directory: Path, hosts: Sequence[str], days: int) -> None:
    """Make a certificate authority for one cluster, and the certificates of its scheduler, workers and clients."""
    from blockdot.jobs.authority import LOOPBACK, make_certificates
    from blockdot.jobs.certificates import ROLES

    made = make_certificates(directory, hosts or LOOPBACK, days)
    for path in (made.authority, *(file for role in ROLES for file in made.pair(role))):
        click.echo(str(path))


_INTERRUPTED = (
    "interrupted; run the same command again with --resume: finished stages are kept, and a fit goes on from its "
    "checkpoint"
)
_AGAIN = 10.0  # seconds until an interrupt that was lost is raised again


def entry() -> NoReturn:
    """Run the command line, with every error that we raise told in its own words, and its own exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, _interrupt)
    try:
        main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort, InterruptedRunError):
        signal.setitimer(signal.ITIMER_REAL, 0)
        click.echo(_INTERRUPTED, err=True)
        sys.exit(75)
    except BlockdotError as error:
        click.echo(f"blockdot: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception:  # a mistake of ours: with all that helps to find it, and still without secrets
        click.echo(redacted(traceback.format_exc()), err=True, nl=False)
        sys.exit(1)
    sys.exit(0)


def _interrupt(signum: int, frame: object) -> NoReturn:  # noqa: ARG001
    # Python drops what is raised while it runs a finaliser or a weak reference's callback: then it is raised once more.
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    raise InterruptedRunError("the run was interrupted")


def _reporter(quiet: bool) -> Reporter:
    return Bars(quiet) if sys.stderr.isatty() and not quiet else Plain(quiet)


def _summary(run: Run, results: dict[str, Any]) -> str:
    lines = []
    if "evaluate" in results:
        columns: dict[str, dict[str, float | None]] = dict(sorted(results["evaluate"].items(), reverse=True))
        width = max(18, *map(len, columns["test"]))
        lines.append(" ".join([f"{'metric':{width}}", *(f"{name:>12}" for name in columns)]))
        for metric in columns["test"]:
            values = [columns[name][metric] for name in columns]
            lines.append(" ".join([f"{metric:{width}}", *(_shown(value) for value in values)]))
    directory = run.directory
    places = (directory.train, directory.test, directory.model, directory.metrics, directory.predictions, directory.log)
    return "\n".join(lines + [str(path) for path in places if path.exists()])


def _shown(value: float | None) -> str:
    if value is None:
        return f"{'-':>12}"
    return f"{value:>12,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:>12.6f}"


if __name__ == "__main__":
    entry()
