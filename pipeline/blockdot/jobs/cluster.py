"""From a [cluster] table to a pool of workers.

What passes between the machines of a cluster is encrypted, or stays on this machine: see wire.py. The pages that Dask
serves about a cluster (dashboards) know no certificates, so those that are started here listen on 127.0.0.1 alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import ExecutionError, SpecError
from blockdot.jobs.certificates import ROLES, Certificates
from blockdot.jobs.spec import ClusterTable
from blockdot.jobs.wire import Address, greet, refuse_plain

if TYPE_CHECKING:
    from distributed.security import Security

logger = logging.getLogger(__name__)


@contextmanager
def connect(table: ClusterTable) -> Iterator[Pool]:
    """The pool that ``table`` describes, for the time of the ``with`` block.

    Raises SpecError for certificates that cannot be used and for a wire that others can listen on, ExecutionError for a
    scheduler that does not answer in time, refuses this client, or has no workers.
    """
    if table.kind == "threads":
        yield ThreadPool(table.workers, None if table.memory_limit == "auto" else table.memory_limit)
    elif table.kind == "local":
        with _local(table) as pool:
            yield pool
    else:
        assert table.address is not None
        address = Address.parse(table.address)
        if not table.insecure:
            refuse_plain("the scheduler at", str(address))
        with _client(address, table, _security(table, ("client",))) as pool:
            yield pool


@contextmanager
def _local(table: ClusterTable) -> Iterator[Pool]:
    import dask
    from distributed import LocalCluster

    workers = table.workers or ThreadPool().n_workers
    security = None if table.certificates is None else _security(table, ROLES)
    logger.info("starting %d worker processes on this machine", workers)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),  # a call that kills two workers is given up
        LocalCluster(
            n_workers=workers,
            threads_per_worker=table.threads_per_worker,
            memory_limit=table.memory_limit,
            processes=True,
            host="127.0.0.1",
            protocol="tcp://" if security is None else "tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        _client(Address.parse(cluster.scheduler_address), table, security) as pool,
    ):
        yield pool


def _security(table: ClusterTable, roles: tuple[str, ...]) -> Security:
    """The certificates of ``roles``: those of the folder that the table names, or of Dask's own configuration."""
    from distributed.security import Security

    if table.certificates is None:
        return Security()
    certificates = Certificates(Path(table.certificates))
    certificates.check(roles)
    files = {"tls_ca_file": certificates.authority}
    for role in roles:
        files[f"tls_{role}_cert"], files[f"tls_{role}_key"] = certificates.pair(role)
    return Security(require_encryption=True, **{name: str(path.absolute()) for name, path in files.items()})


@contextmanager
def _client(address: Address, table: ClusterTable, security: Security | None) -> Iterator[Pool]:
    from distributed import Client

    from blockdot.blocks.dask import DaskPool

    context = None
    if address.scheme == "tls":
        context = security and security.get_connection_args("client").get("ssl_context")
        if context is None:
            raise SpecError(
                f"{address} asks for certificates, and none are given: name their folder "
                "(--set cluster.certificates=DIR), or set distributed.comm.tls in Dask's configuration"
            )
    greet(address, context, table.wait_seconds)
    try:
        client = Client(str(address), timeout=table.wait_seconds, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExecutionError(
            f"no connection to the scheduler at {address} ({error}); see the scheduler's log"
        ) from None
    with client:
        if not table.insecure:  # it may be reached by this machine's own address and listen on others, too
            refuse_plain("the scheduler at", client.scheduler_info()["address"])
        admit = None if table.insecure else partial(refuse_plain, "a worker at")
        with DaskPool(client, table.wait_seconds, admit) as pool:
            logger.info("connected to %s: %d worker threads", address, pool.n_workers)
            yield pool
