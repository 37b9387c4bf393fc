"""The wire to a scheduler: where it leads, whether others can listen on it, and who answers.

    tcp://HOST:PORT    plain: whoever reaches it can read the data and run code on the workers; on this machine only,
                       unless it is asked for (--insecure)
    tls://HOST:PORT    both ends show a certificate (certificates.py)

A scheduler speaks first. So one byte from it, read before Dask's client is made, tells whether both ends accept each
other, and an answer in words takes no time-out; a client that failed to start can also hang its process later.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from blockdot.errors import ExecutionError, SpecError

_PAUSE = 0.2  # seconds between two tries


@dataclass(frozen=True)
class Address:
    """Where something listens."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``tcp://HOST:PORT`` or ``tls://HOST:PORT``. Raises ValueError, in words."""
        try:
            parts = urlsplit(text)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host, port = "", None, None
        bare = f"{scheme}://{f'[{host}]' if host and ':' in host else host}:{port}"
        if scheme not in ("tcp", "tls") or not host or not port or text.rstrip("/").lower() != bare:
            raise ValueError("needed tcp://HOST:PORT or tls://HOST:PORT, without a user, a password or a path")
        return cls(scheme, host, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether nobody between the two ends can read what passes, or join in: TLS, or this machine alone."""
        return self.scheme == "tls" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address stands for this machine, and is reached from nowhere else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(place[4][0])).is_loopback for place in found)


def refuse_plain(what: str, address: str) -> None:
    """Raise SpecError for an address where others could listen, or run code."""
    try:
        private = Address.parse(address).is_private
    except ValueError:
        private = False
    if not private:
        raise SpecError(
            f"{what} {address} is neither on this machine alone (127.0.0.1) nor behind TLS: whoever reaches it can "
            "read the data and run code. Start the cluster with certificates (blockdot cluster certificates DIR) and "
            "use tls://, or allow it in a network that you trust (--insecure)"
        )


def greet(address: Address, context: ssl.SSLContext | None, wait_seconds: float) -> None:
    """Wait until a scheduler answers at ``address`` and both ends accept each other; ExecutionError says why not."""
    end = time.monotonic() + wait_seconds
    while True:
        try:
            _first_byte(address, context, max(end - time.monotonic(), _PAUSE))
            return
        except ssl.SSLCertVerificationError as error:
            raise ExecutionError(
                f"the certificate of the scheduler at {address} is refused ({error.verify_message}): it was made by "
                "another authority, for another role, or has expired; name the certificates of that cluster "
                "(cluster.certificates)"
            ) from None
        except ssl.SSLError as error:
            raise ExecutionError(_refusal(address, error)) from None
        except OSError as error:
            if time.monotonic() + _PAUSE > end:
                raise ExecutionError(
                    f"no scheduler answers at {address} ({error.strerror or error}); start one (dask scheduler), "
                    "or correct cluster.address; to a scheduler that speaks TLS the address is tls://…"
                ) from None
            time.sleep(_PAUSE)


def _refusal(address: Address, error: ssl.SSLError) -> str:
    reason = str(error.reason or error).lower().replace("_", " ")
    if "alert" in reason:  # what the other end has to say
        return (
            f"the scheduler at {address} refuses the certificate of this client ({reason}): it was made by another "
            "authority than the cluster's; name the certificates of that cluster (cluster.certificates)"
        )
    return f"what listens at {address} does not speak TLS ({reason}); start the scheduler with certificates"


def _first_byte(address: Address, context: ssl.SSLContext | None, timeout: float) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((address.host, address.port), timeout))
        if context is not None:
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=address.host))
        if not connection.recv(1):
            raise ConnectionResetError("the connection was closed without a word")
