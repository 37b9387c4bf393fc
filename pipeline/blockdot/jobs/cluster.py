"""From a [cluster] table to a pool of workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import ExecutionError
from blockdot.jobs.spec import ClusterTable

logger = logging.getLogger(__name__)


@contextmanager
def connect(table: ClusterTable) -> Iterator[Pool]:
    """The pool that ``table`` describes, for the time of the ``with`` block.

    Raises ExecutionError for a scheduler that does not answer in time, or has no workers.
    """
    if table.kind == "threads":
        yield ThreadPool(table.workers)
    elif table.kind == "local":
        with _local(table) as pool:
            yield pool
    else:
        assert table.address is not None
        with _client(table.address, table.wait_seconds) as pool:
            yield pool


@contextmanager
def _local(table: ClusterTable) -> Iterator[Pool]:
    from distributed import LocalCluster

    workers = table.workers or ThreadPool().n_workers
    logger.info("starting %d worker processes on this machine", workers)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=table.threads_per_worker,
            memory_limit=table.memory_limit,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        _client(cluster.scheduler_address, table.wait_seconds) as pool,
    ):
        yield pool


@contextmanager
def _client(address: str, wait_seconds: float) -> Iterator[Pool]:
    from distributed import Client

    from blockdot.blocks.dask import DaskPool

    try:
        client = Client(address, timeout=wait_seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExecutionError(
            f"no scheduler answers at {address} ({error}); start one (dask scheduler), or correct cluster.address"
        ) from None
    with client:
        pool = DaskPool(client, wait_seconds)
        logger.info("connected to %s: %d worker threads", address, pool.n_workers)
        yield pool
