"""A certificate authority for one cluster: `blockdot cluster certificates DIR`.

The authority's own key is thrown away when the certificates are signed: nobody can add a member later, and since Dask
knows no revocation, the answer to a lost key or a new member is a new set for all. All expire on the same day.

The keys are elliptic-curve ones (P-256), made by the package ``cryptography`` (`pip install 'blockdot[tls]'`). The
other way would be the program ``openssl``: what it takes and prints differs between versions, it is missing in many
container images, and the keys would pass through files. Using certificates needs the standard library alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blockdot import atomic
from blockdot.errors import SpecError
from blockdot.jobs.certificates import ROLES, Certificates

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
except ImportError:
    raise SpecError(
        "making certificates needs the package cryptography, which is not there: pip install 'blockdot[tls]'"
    ) from None

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CLOCKS_DIFFER = timedelta(minutes=5)


def make_certificates(path: str | Path, hosts: Sequence[str] = LOOPBACK, days: int = 365) -> Certificates:
    """Make an authority and a certificate for each role in the new folder ``path``; only its owner may read the keys.

    Parameters
    ----------
    hosts
        Names and addresses of the machines, for programs that compare them (Dask does not).
    days
        How long the certificates are valid.

    Raises SpecError for a host that is no name, StoreError for a folder that exists or cannot be written to.
    """
    authority = _Authority(timedelta(days=days), [_host(host) for host in hosts])
    made = Certificates(Path(path))
    with atomic.new_directory(made.path) as directory:
        atomic.write_file(directory / made.authority.name, authority.pem)
        for role in ROLES:
            certificate, key = made.pair(role)
            signed, secret = authority.signed(role)
            atomic.write_file(directory / certificate.name, signed)
            atomic.write_file(directory / key.name, secret, mode=0o600)
    return made


class _Authority:
    """A key that signs, for as long as this object lives."""

    def __init__(self, lasts: timedelta, hosts: Sequence[x509.GeneralName]) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._hosts = x509.SubjectAlternativeName(hosts)
        self._starts = datetime.now(UTC) - _CLOCKS_DIFFER
        self._ends = datetime.now(UTC) + lasts
        self._name = _named("blockdot cluster")
        public = self._key.public_key()
        extensions = (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_usage(signs_certificates=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
        )
        self.pem = self._sign(self._name, public, extensions)

    def signed(self, role: str) -> tuple[bytes, bytes]:
        """A new certificate for ``role``, and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [Purpose.CLIENT_AUTH] if role == "client" else [Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH]
        extensions = (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage(purposes), False),
            (self._hosts, False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        )
        certificate = self._sign(_named(f"blockdot {role}"), key.public_key(), extensions)
        return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def _sign(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> bytes:
        builder = x509.CertificateBuilder(
            self._name, subject, public, x509.random_serial_number(), self._starts, self._ends
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise SpecError(f"--host {text!r}: needed a host name in plain letters, or an address") from None
