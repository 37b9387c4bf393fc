"""Who may join a cluster and listen to it: TLS with certificates made here, on real processes; plain TCP refused."""

import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from command_line import bytes_of
from dask_processes import address_of, scheduler, those_at_work, waited_for, worker

from blockdot.errors import ExecutionError, SpecError, StoreError
from blockdot.jobs import authority, wire
from blockdot.jobs.authority import make_certificates
from blockdot.jobs.certificates import ROLES, Certificates
from blockdot.jobs.cluster import connect
from blockdot.jobs.spec import ClusterTable, load_job

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The folder of a cluster's certificates, made by the command line."""
    path = tmp_path_factory.mktemp("tls") / "ours"
    command = [sys.executable, "-m", "blockdot", "cluster", "certificates", path]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return Certificates(path)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Those of another cluster."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "others")


def options(certificates, role):
    certificate, key = certificates.pair(role)
    return ["--tls-ca-file", certificates.authority, "--tls-cert", certificate, "--tls-key", key]


@pytest.fixture(scope="module")
def tls_cluster(certificates, tmp_path_factory):
    """A scheduler and two workers from the command line, with the made certificates; the address, and the logs."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder, *options(certificates, "scheduler")):
        address = address_of(folder)
        theirs = options(certificates, "worker")
        with worker(folder, "a", address, *theirs), worker(folder, "b", address, *theirs):
            yield address, folder


@pytest.fixture(scope="module")
def plain_cluster(tmp_path_factory):
    """A scheduler on 127.0.0.1 and a worker on 127.0.0.2, without TLS: its address."""
    folder = tmp_path_factory.mktemp("plain")
    with scheduler(folder, host="tcp://127.0.0.1"):
        address = address_of(folder)
        with worker(folder, "a", address, host="127.0.0.2"):
            yield address


def table(address, certificates=None, **more):
    folder = None if certificates is None else str(certificates.path)
    return ClusterTable(kind="scheduler", address=address, certificates=folder, wait_seconds=20, **more)


# --- certificates ---


def test_only_the_owner_may_read_the_keys(certificates):
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in certificates.path.iterdir()}
    assert set(files) == {"ca.pem", *(f"{role}{end}.pem" for role in ROLES for end in ("", "-key"))}
    assert {mode for name, mode in files.items() if name.endswith("-key.pem")} == {0o600}
    assert b"PRIVATE" not in certificates.authority.read_bytes(), "the key that signs is kept nowhere"
    certificates.check(ROLES)


def test_certificates_are_not_written_over(certificates):
    with pytest.raises(StoreError, match="exists already"):
        make_certificates(certificates.path)


def test_a_host_that_is_no_name(tmp_path):
    with pytest.raises(SpecError, match="'bücher'"):
        make_certificates(tmp_path / "certs", ["bücher"])


def test_certificates_that_are_missing_or_do_not_belong_together(certificates, others, tmp_path):
    with pytest.raises(SpecError, match=r"no file \S+ca\.pem"):
        Certificates(tmp_path).check(["client"])
    mixed = Certificates(tmp_path)
    for path in certificates.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "client-key.pem").write_bytes(others.pair("client")[1].read_bytes())
    mixed.check(["worker"])
    with pytest.raises(SpecError, match=r"client\.pem and client-key\.pem cannot be used together"):
        mixed.check(["client"])
    mixed.authority.write_text("no certificate")
    with pytest.raises(SpecError, match=r"ca\.pem is not a certificate"):
        mixed.check([])


def test_an_encrypted_key_is_refused_and_nobody_is_asked(certificates, tmp_path):
    from cryptography.hazmat.primitives import serialization as s

    for path in certificates.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    key = s.load_pem_private_key((tmp_path / "client-key.pem").read_bytes(), None)
    locked = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"hunter2"))
    (tmp_path / "client-key.pem").write_bytes(locked)
    with pytest.raises(SpecError, match="encrypted"):
        Certificates(tmp_path).check(["client"])


def test_expired_certificates_say_since_when(tmp_path, monkeypatch):
    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=400)

    monkeypatch.setattr(authority, "datetime", Then)
    made = make_certificates(tmp_path / "old")
    with pytest.raises(SpecError, match=f"expired on {datetime.now(UTC) - timedelta(days=35):%Y-%m-%d}"):
        made.check(["client"])


def test_without_the_package_cryptography(tmp_path):
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from blockdot.cli import entry; sys.argv = ['blockdot', 'cluster', 'certificates', sys.argv[1]]; entry()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "c"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'blockdot[tls]'" in done.stderr


# --- a cluster that speaks TLS ---


def test_a_fit_over_tls_has_the_bytes_of_threads(tls_cluster, certificates, blockdot, job, tmp_path):
    address, _ = tls_cluster
    assert address.startswith("tls://127.0.0.1:")
    threads = blockdot("run", *job(tmp_path / "threads"))
    assert threads.returncode == 0, threads.stderr
    there = job(tmp_path / "tls", **{"cluster.certificates": certificates.path, "cluster.address": address})
    done = blockdot("run", *there, "--cluster", ROOT / "cluster/tls.toml")
    assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "tls") == bytes_of(tmp_path / "threads")
    assert f"connected to {address}" in (tmp_path / "tls/log.jsonl").read_text()


def test_certificates_by_the_configuration_of_dask(tls_cluster, certificates):
    import dask
    import distributed  # noqa: F401 - its own configuration must be there before ours is laid over it

    certificate, key = certificates.pair("client")
    tls = {"ca-file": certificates.authority, "client.cert": certificate, "client.key": key}
    found = {f"distributed.comm.tls.{name}": str(path) for name, path in tls.items()}
    with dask.config.set(found), connect(table(tls_cluster[0])) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def test_a_client_without_certificates_is_refused_in_words(tls_cluster, blockdot, job, tmp_path):
    done = blockdot("run", *job(tmp_path / "run"), "--cluster", tls_cluster[0])
    assert done.returncode == 2
    assert "asks for certificates, and none are given" in done.stderr
    assert "--set cluster.certificates=DIR" in done.stderr


def test_a_client_of_another_authority_is_refused_in_words(tls_cluster, others, blockdot, job, tmp_path):
    there = job(tmp_path / "run", **{"cluster.certificates": others.path})
    start = time.monotonic()
    done = blockdot("run", *there, "--cluster", tls_cluster[0])
    assert time.monotonic() - start < 30, "no time-out is waited for"
    assert done.returncode == 1
    assert f"the certificate of the scheduler at {tls_cluster[0]} is refused" in done.stderr
    assert "another authority" in done.stderr


def test_the_scheduler_refuses_a_certificate_of_another_authority(tls_cluster, certificates, others, tmp_path):
    (tmp_path / "ca.pem").write_bytes(certificates.authority.read_bytes())
    for path in others.pair("client"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (
        pytest.raises(ExecutionError, match="refuses the certificate of this client") as caught,
        connect(table(tls_cluster[0], Certificates(tmp_path))),
    ):
        pass
    assert "unknown ca" in str(caught.value)


def test_a_worker_of_another_authority_cannot_join(tls_cluster, certificates, others):
    address, folder = tls_cluster
    log = folder / "scheduler.log"
    before = len(log.read_text())
    with worker(folder, "stranger", address, *options(others, "worker")):
        waited_for(log, "TLS handshake failed", after=before)
    with connect(table(address, certificates)) as pool:
        assert pool.n_workers == 2


def test_a_client_cannot_pose_as_the_scheduler(certificates, tmp_path):
    with (
        scheduler(tmp_path, *options(certificates, "client")),
        pytest.raises(ExecutionError, match="unsuitable certificate purpose"),
        connect(table(address_of(tmp_path), certificates)),
    ):
        pass


def test_both_ends_speak_the_same(tls_cluster, certificates, plain_cluster):
    plain = tls_cluster[0].replace("tls://", "tcp://")
    with (
        pytest.raises(ExecutionError, match="to a scheduler that speaks TLS the address is tls://"),
        connect(table(plain).model_copy(update={"wait_seconds": 1.0})),
    ):
        pass
    with (
        pytest.raises(ExecutionError, match="does not speak TLS"),
        connect(table(plain_cluster.replace("tcp://", "tls://"), certificates)),
    ):
        pass


@pytest.mark.parametrize("secure", [False, True])
def test_local_workers_listen_on_this_machine_alone(secure, certificates, caplog):
    folder = str(certificates.path) if secure else None
    local = ClusterTable(kind="local", workers=2, certificates=folder)
    me = psutil.Process()
    before = set(me.children(recursive=True))  # the clusters of the other tests
    with caplog.at_level("INFO", "blockdot"), connect(local) as pool:
        assert list(pool.map(abs, [-3, 4])) == [3, 4]
        assert f"connected to {'tls' if secure else 'tcp'}://127.0.0.1:" in caplog.text
        found = [
            place.laddr.ip
            for process in {me, *me.children(recursive=True)} - before
            for place in process.net_connections("inet")
            if place.status == psutil.CONN_LISTEN
        ]
    assert len(found) >= 5, "scheduler and workers, and their dashboards"
    assert set(found) == {"127.0.0.1"}


# --- plain TCP ---


def test_plain_tcp_off_this_machine_is_refused_in_words(blockdot, job, tmp_path):
    done = blockdot("run", *job(tmp_path / "run"), "--cluster", "tcp://192.0.2.1:8786")
    assert done.returncode == 2
    assert "the scheduler at tcp://192.0.2.1:8786 is neither on this machine alone" in done.stderr
    assert "--insecure" in done.stderr
    assert "blockdot cluster certificates" in done.stderr


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "tcp://[2001:db8::1]:8786", "tcp://0.0.0.0:8786"])
def test_plain_tcp_off_this_machine_is_refused_before_a_byte_is_sent(address, monkeypatch):
    def sent(*arguments, **options):
        raise AssertionError("something was sent")

    monkeypatch.setattr(wire.socket, "create_connection", sent)
    with pytest.raises(SpecError, match="behind TLS"), connect(table(address)):
        pass


@pytest.mark.parametrize(
    ("found", "alone"),
    [(["127.0.0.1"], True), (["127.0.0.1", "::1"], True), (["127.0.0.1", "10.0.0.5"], False), ([], False)],
)
def test_a_name_is_this_machine_if_all_its_addresses_are(found, alone, monkeypatch):
    def resolve(host, port):
        if not found:
            raise OSError("no such host")
        return [(0, 0, 0, "", (address, 0)) for address in found]

    monkeypatch.setattr(wire.socket, "getaddrinfo", resolve)
    assert wire.is_loopback("somewhere") is alone


@pytest.mark.parametrize(
    ("ours", "who"),
    [("127.0.0.1", "a worker at tcp://127.0.0.2:"), ("127.0.0.2", "the scheduler at tcp://127.0.0.1:")],
)
def test_workers_and_scheduler_are_looked_at_and_insecure_allows_them(plain_cluster, ours, who, monkeypatch):
    """For these two tests one of the two addresses stands for another machine."""
    monkeypatch.setattr(wire, "is_loopback", lambda host: host == ours)
    with pytest.raises(SpecError, match=f"{who}\\d+ is neither"), connect(table(plain_cluster)):
        pass
    with connect(table(plain_cluster, insecure=True)) as pool:
        assert list(pool.map(abs, [-1])) == [1]


@pytest.mark.parametrize("insecure", [False, True])
def test_a_worker_that_comes_later_is_looked_at_before_anything_is_sent_to_it(insecure, tmp_path, monkeypatch, caplog):
    """127.0.0.2 stands for another machine."""
    monkeypatch.setattr(wire, "is_loopback", lambda host: host == "127.0.0.1")
    with scheduler(tmp_path, host="tcp://127.0.0.1"):
        address = address_of(tmp_path)
        with worker(tmp_path, "a", address), connect(table(address, insecure=insecure)) as pool:
            assert pool.n_workers == 1
            with worker(tmp_path, "b", address, host="127.0.0.2"):
                pool.cluster.client.wait_for_workers(2, timeout=60)
                there = pool.cluster.client.nthreads()
                pool.cluster.meet(anew=True)
                at_work = those_at_work(pool)
                assert at_work == {name for name in there if insecure or "127.0.0.1" in name}
                asked = pool.cluster.client.run(lambda: "blockdot.blocks.cluster" in sys.modules)
                assert asked == {name: name in at_work for name in there}, "no greeting was sent to it either"
    told = [message for message in caplog.messages if "is left out, and the work goes on without it" in message]
    assert len(told) == (not insecure)
    assert all("a worker at tcp://127.0.0.2:" in message and "--insecure" in message for message in told)


def test_insecure_is_said_on_the_command_line(plain_cluster, blockdot, job, tmp_path):
    done = blockdot("ingest", *job(tmp_path / "run"), "--cluster", plain_cluster, "--insecure")
    assert done.returncode == 0, done.stderr
    assert "insecure = true" in (tmp_path / "run/job.toml").read_text()


@pytest.mark.parametrize(
    ("address", "more", "words"),
    [
        ("ucx://127.0.0.1:8786", {}, "needed tcp://HOST:PORT or tls://HOST:PORT"),
        ("tls://ada:hunter2@127.0.0.1:8786", {}, "without a user, a password or a path"),
        ("tcp://127.0.0.1", {}, "needed tcp://HOST:PORT"),
        ("tcp://127.0.0.1:x", {}, "needed tcp://HOST:PORT"),
        ("tcp://127.0.0.1:8786/path", {}, "without a user, a password or a path"),
        ("tcp://127.0.0.1:8786", {"cluster.certificates": "DIR"}, "certificates go with an address tls://"),
        (None, {"cluster.certificates": "DIR"}, "certificates go with worker processes"),
        ("tls://127.0.0.1:9", {"cluster.certificates": "NOWHERE"}, "no file NOWHERE/ca.pem"),
    ],
)
def test_addresses_and_certificates_that_do_not_go_together(address, more, words, job, tmp_path):
    spec, *settings = job(tmp_path / "run", **more)
    with pytest.raises(SpecError) as caught, connect(load_job(spec, settings[1::2], address).cluster):
        pass
    assert words in str(caught.value)
    assert "hunter2" not in repr(caught.value)
