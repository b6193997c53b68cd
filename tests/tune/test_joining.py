"""Which Ray a run joins, and the one line it gets when that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_configs.errors import ConfigError
from tune.joining import VARIABLE, address_file, announced, start


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is announced but by the test."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def announce(address: str) -> None:
    """Does what `ray start` does."""
    address_file().parent.mkdir(exist_ok=True)
    address_file().write_text(address)


def test_without_a_cluster_a_run_starts_its_own() -> None:
    """Nothing is announced on a fresh machine."""
    assert announced() is None


def test_ray_itself_looks_where_we_look() -> None:
    """The file's place is Ray's own, with and without the variables that move it."""
    from ray._common.utils import get_ray_address_file

    assert str(address_file()) == get_ray_address_file(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_TMPDIR")
        patch.setenv("TMPDIR", "/elsewhere")
        assert str(address_file()) == get_ray_address_file(None) == "/elsewhere/ray/ray_current_cluster"


def test_the_variable_wins_over_what_ray_start_wrote_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a head both may be there; `local` asks for a Ray of its own."""
    announce("10.0.0.2:6379")
    assert announced() == "10.0.0.2:6379"
    monkeypatch.setenv(VARIABLE, "10.0.0.3:6379")
    assert announced() == "10.0.0.3:6379"
    monkeypatch.setenv(VARIABLE, "local")
    assert announced() is None
    monkeypatch.setenv(VARIABLE, "")
    assert announced() == "10.0.0.2:6379"


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001", "head", "head:port"])
def test_an_address_of_something_else_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's and the client's address are taken for a cluster's now and then."""
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(ConfigError, match=f"^RAY_ADDRESS: got '{address}', allowed is HOST:PORT"):
        start({}, 1)


def test_a_cluster_that_is_gone_is_told_at_once(deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try for minutes; what named the address is named."""
    announce(f"127.0.0.1:{deaf}")
    with pytest.raises(
        ConfigError, match=r"ray_current_cluster: got .* no cluster answers there .*; `ray stop` forgets"
    ):
        start({}, 1)
    monkeypatch.setenv(VARIABLE, f"127.0.0.1:{deaf}")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS: got .* no cluster answers there \(Connection refused\)$"):
        start({}, 1)
