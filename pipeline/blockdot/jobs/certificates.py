"""The certificates of a cluster that speaks TLS: which files they are, and whether they can be used.

    DIR/ca.pem                            the authority's certificate: who is signed by it belongs to the cluster
    DIR/scheduler.pem  scheduler-key.pem  of the scheduler     DIR/worker.pem  worker-key.pem  of the workers
    DIR/client.pem     client-key.pem     of who starts jobs; it opens connections, and cannot pose as a server

Dask asks both ends of a connection for a certificate and takes every one that the authority signed: it compares no host
names and knows no revocation. So the authority must be a private one, for this cluster alone (authority.py makes it).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blockdot.errors import SpecError

ROLES = ("scheduler", "worker", "client")
_MAKE = "make a new set (blockdot cluster certificates DIR)"


@dataclass(frozen=True)
class Certificates:
    """The files in the folder ``path``."""

    path: Path

    @property
    def authority(self) -> Path:
        """The certificate that the others are checked against."""
        return self.path / "ca.pem"

    def pair(self, role: str) -> tuple[Path, Path]:
        """The certificate of a role, and its key."""
        return self.path / f"{role}.pem", self.path / f"{role}-key.pem"

    def check(self, roles: Sequence[str]) -> None:
        """See that the files for ``roles`` are there, belong together and are valid; SpecError names the file."""
        for path in (self.authority, *(file for role in roles for file in self.pair(role))):
            if not path.is_file():
                raise SpecError(
                    f"cluster.certificates: there is no file {path}; name the folder that "
                    "`blockdot cluster certificates` made"
                )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._check_authority(context)
        for role in roles:
            certificate, key = self.pair(role)
            try:
                context.load_cert_chain(certificate, key, password=_no_password)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise SpecError(
                    f"cluster.certificates: {certificate} and {key.name} cannot be used together "
                    f"({_reason(error)}); {_MAKE}"
                ) from None

    def _check_authority(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(self.authority)
        except OSError as error:
            raise SpecError(
                f"cluster.certificates: {self.authority} is not a certificate ({_reason(error)}); {_MAKE}"
            ) from None
        for known in context.get_ca_certs():
            ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(known["notAfter"])), UTC)
            if ends < datetime.now(UTC):
                raise SpecError(
                    f"cluster.certificates: {self.authority} expired on {ends:%Y-%m-%d}; {_MAKE}, "
                    "and start the cluster again with it"
                )


def _no_password() -> str:
    """OpenSSL would ask for it on the terminal, and a job would wait there for ever."""
    raise ValueError("the key is encrypted, and nobody is asked for its password")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).lower().replace("_", " ")
