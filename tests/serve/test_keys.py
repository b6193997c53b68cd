"""API keys at rest."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve.keys import KeysError, KeysFile, digest


@pytest.fixture
def keys(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path / "secrets" / "keys.json")


def test_a_key_is_shown_once_and_kept_as_a_hash(keys: KeysFile) -> None:
    """The file holds the key's hash and rights, never the key, and only its owner may read it."""
    secret = keys.add("alice", scopes=["infer", "metrics"], models=["trading"], rate=5.0, burst=10)
    assert secret.startswith("ek_")
    assert len(secret) >= 43
    assert secret not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    (key,) = keys.read()
    assert key.sha256 == digest(secret)
    assert (key.name, key.scopes, key.models, key.rate, key.burst) == (
        "alice",
        ("infer", "metrics"),
        ("trading",),
        5.0,
        10,
    )
    assert key.revoked is None


def test_keys_differ_and_keep_their_order(keys: KeysFile) -> None:
    """No two keys are the same, and they are listed as they were made."""
    secrets = {keys.add(name) for name in ("c", "a", "b")}
    assert len(secrets) == 3
    assert [key.name for key in keys.read()] == ["c", "a", "b"]


def test_a_revoked_key_stays_listed(keys: KeysFile) -> None:
    """Revoking dates the key; a second time, and of an unknown one, it is refused with the names there are."""
    keys.add("alice")
    keys.add("bob")
    assert keys.revoke("alice").revoked is not None
    assert [key.revoked is None for key in keys.read()] == [False, True]
    for name in ("alice", "carol"):
        with pytest.raises(KeysError, match=f"name: got '{name}', allowed are bob"):
            keys.revoke(name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "al ice"}, "name: got 'al ice'"),
        ({"name": "taken"}, "name: got 'taken', which another key has"),
        ({"scopes": ["infer", "write"]}, "scopes: got 'write'"),
        ({"scopes": []}, "scopes: got "),
        ({"models": [""]}, "models: got ''"),
        ({"models": []}, "models: got "),
        ({"rate": 0.0}, "rate: got 0.0"),
        ({"rate": float("nan")}, "rate: got nan"),
        ({"burst": 0}, "burst: got 0"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_line(keys: KeysFile, change: dict[str, object], says: str) -> None:
    """A wrong value is named with what was given, and the file stays as it was."""
    keys.add("taken")
    before = keys.path.read_bytes()
    with pytest.raises(KeysError, match=f"^{says}") as caught:
        keys.add(**{"name": "new", **change})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert keys.path.read_bytes() == before


def test_a_file_that_others_may_write_is_refused(keys: KeysFile) -> None:
    """Whoever can write the file can let himself in, so nobody else may."""
    keys.add("alice")
    keys.path.chmod(0o620)
    with pytest.raises(KeysError, match="has mode 620, allowed is 600"):
        keys.read()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "malformed at JSON"),
        ('{"keys": [{"name": "a"}]}', r"malformed at keys\.0\.sha256"),
        ('{"format_version": 2}', "malformed at format_version"),
        ('{"keys": [], "more": 1}', "malformed at more"),
    ],
)
def test_a_malformed_file_says_where(keys: KeysFile, text: str, says: str) -> None:
    """The first place that is wrong is named."""
    keys.path.parent.mkdir()
    keys.path.write_text(text)
    with pytest.raises(KeysError, match=says):
        keys.read()
    with pytest.raises(KeysError, match=says):
        keys.add("alice")
    assert keys.path.read_text() == text


def test_two_keys_of_one_hash_are_refused(keys: KeysFile) -> None:
    """A file edited by hand cannot give one key two sets of rights."""
    keys.add("alice")
    content = json.loads(keys.path.read_text())
    content["keys"].append({**content["keys"][0], "name": "bob"})
    keys.path.write_text(json.dumps(content))
    with pytest.raises(KeysError, match="two keys of the same sha256"):
        keys.read()


def test_a_missing_file_is_one_line(keys: KeysFile) -> None:
    """Reading what is not there names the file."""
    with pytest.raises(KeysError, match=r"cannot read .*keys\.json \(No such file"):
        keys.read()


def test_several_processes_add_at_once(keys: KeysFile) -> None:
    """Of keys made at the same time none is lost."""
    code = (
        "import sys; from serve.keys import KeysFile; "
        "[KeysFile(sys.argv[1]).add(f'{sys.argv[2]}{i}') for i in range(5)]"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(keys.path), name], cwd=Path(__file__).parents[2])
        for name in "abc"
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert {key.name for key in keys.read()} == {f"{name}{i}" for name in "abc" for i in range(5)}
    assert {path.name for path in keys.path.parent.iterdir()} == {"keys.json", "keys.json.lock"}
