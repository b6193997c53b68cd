"""Who may do what, and how often."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from serve.errors import Forbidden, TooManyRequests, Unauthorized
from serve.guard import ANYONE, LOOK_SECONDS, Guard, scope_of
from serve.keys import KeysError, KeysFile


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The time it is."""
        return self.now


@pytest.fixture
def keys(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path / "keys.json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_keys_everybody_may() -> None:
    """A guard without a file lets everything pass, as nobody in particular."""
    assert Guard(None).check({}, "infer", "trading") is ANYONE
    assert Guard(None).open


@pytest.mark.parametrize(
    "headers",
    [
        lambda key: {"authorization": f"Bearer {key}"},
        lambda key: {"authorization": f"bearer  {key} "},
        lambda key: {"x-api-key": key},
        lambda key: {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": key},
    ],
)
def test_a_good_key_is_taken_from_either_header(keys: KeysFile, headers: object) -> None:
    """The key may come as a bearer token or in a header of its own, beside what a proxy wants for itself."""
    key = keys.add("alice")
    guard = Guard(keys)
    assert guard.check(headers(key), "infer", "trading").name == "alice"  # type: ignore[operator]
    assert not guard.open


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "key: got none"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "key: got none"),
        ({"authorization": "Bearer "}, "not known"),
        ({"authorization": "Bearer ek_wrong"}, "not known"),
        ({"x-api-key": "ÿ\udcff" * 100_000}, "not known"),
    ],
)
def test_a_missing_or_wrong_key_is_a_401(keys: KeysFile, headers: dict[str, str], says: str) -> None:
    """Whatever is not a good key is refused, without saying more than that."""
    keys.add("alice")
    with pytest.raises(Unauthorized, match=says) as caught:
        Guard(keys).check(headers, "infer", "trading")
    assert caught.value.headers["www-authenticate"] == "Bearer"


def test_a_name_or_a_hash_is_no_key(keys: KeysFile) -> None:
    """What stands in the file opens nothing."""
    keys.add("alice")
    (entry,) = keys.read()
    for given in (entry.name, entry.sha256):
        with pytest.raises(Unauthorized):
            Guard(keys).check(bearer(given), "infer", "trading")


def test_scopes_and_models_hold(keys: KeysFile) -> None:
    """A key does what it is for, with the models it is for; the refusal names both."""
    key = keys.add("alice", scopes=["infer"], models=["trading", "supply"])
    guard = Guard(keys)
    caller = guard.check(bearer(key), "infer", "supply")
    assert caller.may_ask("trading")
    assert not caller.may_ask("secret")
    with pytest.raises(Forbidden, match="scope 'metrics', its scopes are infer"):
        guard.check(bearer(key), "metrics")
    with pytest.raises(Forbidden, match="model 'secret', its models are supply, trading"):
        guard.check(bearer(key), "infer", "secret")


def test_a_rate_is_a_bucket(keys: KeysFile, clock: Clock) -> None:
    """After a burst a key gets its rate, is told when to come back, and a rest fills no more than the burst."""
    headers = bearer(keys.add("alice", rate=4.0, burst=3))
    guard = Guard(keys, clock=clock.read)
    waits = []

    def granted(tries: int) -> int:
        done = 0
        for _ in range(tries):
            try:
                guard.check(headers, "infer", "trading")
            except TooManyRequests as refusal:
                waits.append(refusal.retry_after)
                break
            done += 1
        return done

    assert granted(10) == 3
    clock.now += 0.5
    assert granted(10) == 2
    clock.now += 3600.0
    assert granted(10) == 3
    assert waits == pytest.approx([0.25] * 3)


def test_replicas_share_a_rate(keys: KeysFile, clock: Clock) -> None:
    """Over all replicas together a key gets no more than its rate and its burst."""
    headers = bearer(keys.add("alice", rate=8.0, burst=8))
    guards = [Guard(keys, 4, clock=clock.read) for _ in range(4)]
    granted = 0
    for step in range(41):
        clock.now = 1000.0 + step * 0.25
        for guard in guards:
            for _ in range(5):
                try:
                    guard.check(headers, "infer", "trading")
                    granted += 1
                except TooManyRequests:
                    break
    assert granted == 8 + 8 * 10


def test_one_key_does_not_use_up_another(keys: KeysFile, clock: Clock) -> None:
    """Every key has a bucket of its own, and refusals for other reasons cost nothing."""
    greedy, modest = bearer(keys.add("greedy", rate=1.0, burst=1)), bearer(keys.add("modest", rate=1.0, burst=1))
    guard = Guard(keys, clock=clock.read)
    guard.check(greedy, "infer")
    with pytest.raises(TooManyRequests, match="key 'greedy' has used up its 1 requests a second"):
        guard.check(greedy, "infer")
    with pytest.raises(Forbidden):
        guard.check(modest, "metrics")
    assert guard.check(modest, "infer").name == "modest"


def test_a_change_is_noticed_within_a_second(keys: KeysFile, clock: Clock) -> None:
    """New keys begin and revoked ones end without a restart; buckets of the others are not refilled by it."""
    alice, bob = keys.add("alice"), keys.add("bob", rate=0.001, burst=1)
    guard = Guard(keys, clock=clock.read)
    guard.check(bearer(alice), "infer")
    guard.check(bearer(bob), "infer")
    keys.revoke("alice")
    carol = keys.add("carol")
    clock.now += LOOK_SECONDS
    with pytest.raises(Unauthorized, match="revoked"):
        guard.check(bearer(alice), "infer")
    assert guard.check(bearer(carol), "infer").name == "carol"
    with pytest.raises(TooManyRequests):
        guard.check(bearer(bob), "infer")


@pytest.mark.parametrize("damage", ["{", None])
def test_a_damaged_file_changes_nothing(
    keys: KeysFile, clock: Clock, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys stay as they were, trouble is logged once, and a repaired file is read again."""
    alice = keys.add("alice")
    guard = Guard(keys, clock=clock.read)
    good = keys.path.read_text()
    keys.path.unlink()
    if damage is not None:
        keys.path.write_text(damage)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            clock.now += LOOK_SECONDS
            assert guard.check(bearer(alice), "infer").name == "alice"
    assert len(caplog.records) == 1
    assert "keys stay as they were" in caplog.text
    keys.path.unlink(missing_ok=True)
    keys.path.write_text(good)
    bob = keys.add("bob")
    clock.now += LOOK_SECONDS
    assert guard.check(bearer(bob), "infer").name == "bob"


def test_a_guard_does_not_begin_without_its_file(keys: KeysFile) -> None:
    """A service told to ask for keys does not start open because it found none."""
    with pytest.raises(KeysError, match="cannot read"):
        Guard(keys)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v2/models/trading/infer", "infer"),
        ("POST", "/v1/policies/trading/act", "infer"),
        ("POST", "/v2/models/trading/versions/3/infer", "infer"),
        ("POST", "/v2/repository/index", "read"),
        ("GET", "/v2/models/trading", "read"),
        ("GET", "/v2", "read"),
        ("GET", "/v1/policies", "read"),
        ("GET", "/metrics", "metrics"),
        ("HEAD", "/metrics", "metrics"),
        ("GET", "/v2/health/live", None),
        ("GET", "/v2/health/ready", None),
        ("GET", "/", None),
        ("GET", "/page/app.js", None),
        ("POST", "/", "infer"),
        ("DELETE", "/v2/health/live/x", "read"),
    ],
)
def test_every_route_has_a_scope(method: str, path: str, scope: str | None) -> None:
    """Only health, the page and the documentation are open; a route nobody thought of needs a key."""
    assert scope_of(method, path) == scope
