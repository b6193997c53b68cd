"""What keeps strangers out: the token that every request needs, and certificates for those who want TLS too."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.description import resolved
from policies.files import write_text

VALID = timedelta(days=365)
"""How long a certificate holds."""


def token_path() -> Path:
    """Where the token lies, here and on every node: where Ray looks for it."""
    return Path.home() / ".ray" / "auth_token"


def tls_folder(cluster: str) -> Path:
    """Where a cluster's certificate is kept here."""
    return Path.home() / ".entrepot" / "tls" / cluster


def has_certificate(cluster: str) -> bool:
    """Whether a cluster was started with TLS: its certificate is kept, and so it stays encrypted."""
    return (tls_folder(cluster) / "server.key").is_file()


def certified(cluster: str, address: str) -> bool:
    """Whether a machine is in a cluster's certificate."""
    return {address, resolved(address)} <= _names(tls_folder(cluster) / "server.crt")


def ensure_token() -> str:
    """The token, made if there is none, and readable by its owner alone.

    Ray makes one too, in a file that everybody may read.
    """
    path = token_path()
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        write_text(path, secrets.token_hex(32), mode=0o600)
    path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def certify(folder: Path, addresses: Sequence[str]) -> None:
    """Makes an authority and one certificate for all nodes of a cluster, unless those there are still do.

    Ray has every process prove itself to every other (`RAY_USE_TLS`), as server and as client. The authority's key is
    thrown away: nobody can add a machine to the certificate, not even us; a changed cluster gets a new one.

    Args:
        folder: Where `ca.crt`, `server.crt` and `server.key` go.
        addresses: IP addresses or host names of the nodes; what names stand for, and loopback, are added.
    """
    names = sorted({*addresses, *map(resolved, addresses), "127.0.0.1", "localhost"})
    if _holds(folder / "server.crt", names) and (folder / "server.key").is_file():
        return
    now = datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name, name = _name("entrepot cluster authority"), _name("entrepot cluster node")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(name, authority_name, key.public_key(), now)
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_text(folder / "server.key", private.decode(), mode=0o600)
    write_text(folder / "ca.crt", authority.public_bytes(serialization.Encoding.PEM).decode())
    write_text(folder / "server.crt", certificate.public_bytes(serialization.Encoding.PEM).decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + VALID)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _holds(path: Path, names: Sequence[str]) -> bool:
    """Whether there is a certificate for just these names that is good for another month."""
    if _names(path) != set(names):
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30)


def _names(path: Path) -> set[str]:
    """Whom a certificate is for; nobody if there is none."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return set()
    return {str(each.value) for each in held}
