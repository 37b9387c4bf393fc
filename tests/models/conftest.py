"""What tests of models share: a cluster of two worker processes."""

import pytest


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    local = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=2, worker_dashboard_address="127.0.0.1:0", **local) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
