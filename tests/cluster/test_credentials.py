"""Tokens and certificates."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509

from cluster import credentials
from cluster.credentials import certified, certify, ensure_token, has_certificate, tls_folder, token_path


def test_token_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is made once, long and random, and only its owner may read it, even if it was made by somebody laxer."""
    monkeypatch.setenv("HOME", str(tmp_path))
    token = ensure_token()
    assert len(token) >= 32
    assert stat.S_IMODE(token_path().stat().st_mode) == 0o600
    token_path().chmod(0o644)
    assert ensure_token() == token
    assert stat.S_IMODE(token_path().stat().st_mode) == 0o600


def test_certificates_prove_who_is_who(tmp_path: Path) -> None:
    """With the certificate two processes shake hands at the addresses it names; elsewhere, or without it, not."""
    certify(tmp_path, ["127.0.0.1"])
    shake(tmp_path, client(tmp_path), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, client(tmp_path), "10.9.9.9")
    stranger = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(tmp_path, stranger, "127.0.0.1")
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600


def test_certificate_follows_the_cluster(tmp_path: Path) -> None:
    """It stays while the addresses do, and is made anew when they change; loopback is always among them."""
    certify(tmp_path, ["10.0.0.1", "head.example"])
    first = (tmp_path / "server.crt").read_bytes()
    certify(tmp_path, ["head.example", "10.0.0.1"])
    assert (tmp_path / "server.crt").read_bytes() == first
    certify(tmp_path, ["10.0.0.1", "10.0.0.2"])
    names = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert {str(each.value) for each in names.value} == {"10.0.0.1", "10.0.0.2", "127.0.0.1", "localhost"}


def test_a_machine_is_in_the_certificate_by_name_and_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray calls a machine by its address, whatever the file calls it; a new one needs a new certificate."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(credentials, "resolved", lambda name: {"head.example": "10.0.0.1"}.get(name, name))
    assert not has_certificate("mine")
    assert not certified("mine", "10.0.0.1")
    certify(tls_folder("mine"), ["head.example", "10.0.0.2"])
    assert has_certificate("mine")
    assert [certified("mine", name) for name in ("head.example", "10.0.0.1", "10.0.0.2", "10.0.0.3")] == [True] * 3 + [
        False
    ]


def client(folder: Path) -> ssl.SSLContext:
    """One that trusts the authority and shows the certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


def shake(folder: Path, context: ssl.SSLContext, name: str) -> None:
    """Connects a client to a server that wants a certificate too, and has a byte come back."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    server.verify_mode = ssl.CERT_REQUIRED
    here, there = socket.socketpair()

    def answer() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as secured:
                secured.sendall(secured.recv(1))
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with context.wrap_socket(here, server_hostname=name) as secured:
            secured.sendall(b"x")
            if secured.recv(1) != b"x":
                raise ConnectionError("the server hung up")
    finally:
        here.close()
        thread.join(timeout=10)
