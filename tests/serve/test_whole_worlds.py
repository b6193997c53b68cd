"""Tests of serving a policy whose agents need each other: whole worlds, never joined, and no loose rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import numpy as np
import pytest

from policies.trial import tried
from serve.client import PolicyClient
from serve.engine import Engine
from serve.models import ServedVersion
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import signature_of

AGENTS = ("ann", "bob", "cid")
NEEDED = "agents that need each other are asked together, the agents of a world at once"
RNG = np.random.default_rng(5)
SEEN = RNG.standard_normal((4, 3, 11)).astype(np.float32)
"""Four worlds of three agents."""


@pytest.fixture(scope="module")
def version(make_bundle: Any, as_version: Any, sketch: Any, tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    """One module that reads whole worlds of three agents."""
    sketches = {"traders": sketch(agents=AGENTS, whole_worlds=True)}
    return as_version(make_bundle(tmp_path_factory.mktemp("talking") / "bundle", sketches), "talking")


@pytest.fixture
def client(version: ServedVersion, serving: Callable[[ServedVersion], httpx.Client]) -> httpx.Client:
    """Asks it."""
    return serving(version)


def wanted(version: ServedVersion, seen: Any, alive: Any = True, **more: Any) -> Any:
    """What the bundle itself says of worlds `[W, A, D]`."""
    rows = np.reshape(seen, (-1, 11))
    there = np.broadcast_to(alive, np.shape(seen)[:2]).reshape(-1)
    return version.policy.infer("shared", rows, alive=there, **more)


def named(world: Any, agents: tuple[str, ...] = AGENTS) -> dict[str, list[float]]:
    """What some agents of a world see, by name."""
    return {agent: world[AGENTS.index(agent)].tolist() for agent in agents}


def test_the_trial_plays_whole_worlds(make_bundle: Any, sketch: Any, tmp_path: Path, version: ServedVersion) -> None:
    """Bundles are tried with as many worlds as rows allow, recurrent ones too, and play the first world alone."""
    sketches = {"traders": sketch(agents=AGENTS, whole_worlds=True, state_size=4)}
    assert tried(make_bundle(tmp_path / "bundle", sketches)).name == "small"
    assert version.policy.team_sizes == {"shared": 3}


def test_tensors_have_an_axis_of_agents(client: httpx.Client, version: ServedVersion) -> None:
    """Metadata and answers of the protocol say `[W, A, …]`; its example is whole worlds; values are the bundle's."""
    metadata = client.get("/v2/models/talking").json()
    assert {each["name"]: each["shape"] for each in metadata["inputs"]} == {
        "observations": [-1, 3, 11],
        "action_mask": [-1, 3, 3],
        "alive": [-1, 3],
    }
    address = client.base_url
    with PolicyClient(str(address)) as asking:
        for binary in (True, False):
            alive = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1]], np.bool_)
            found = asking.infer("talking", {"observations": SEEN, "alive": alive}, binary=binary)
            expected = wanted(version, SEEN, alive)
            assert found.actions.shape == (4, 3, 3)
            np.testing.assert_allclose(found.actions[alive], expected.actions[alive.ravel()], atol=1e-5)
            np.testing.assert_allclose(found.outputs["values"][alive], expected.values[alive.ravel()], atol=1e-5)
    nested = {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [4, 3, 11], "data": SEEN.tolist()}]}
    reply = client.post("/v2/models/talking/infer", json=nested)
    np.testing.assert_allclose(reply.json()["outputs"][0]["data"], wanted(version, SEEN).actions.ravel(), atol=1e-5)


def test_agents_that_are_not_named_are_away(client: httpx.Client, version: ServedVersion) -> None:
    """By name a step is a world; only who is asked is answered, and who is away is not heard."""
    reply = client.post("/v1/policies/talking/act", json={"observations": named(SEEN[0], ("cid", "ann"))}).json()
    assert set(reply["actions"]) == {"ann", "cid"}
    expected = wanted(version, SEEN[:1], [[True, False, True]]).actions
    np.testing.assert_allclose(list(reply["actions"]["cid"].values()), expected[2], atol=1e-5)
    whole = wanted(version, SEEN[:1]).actions
    assert np.abs(whole[2] - expected[2]).max() > 1e-3
    steps = client.post("/v1/policies/talking/act", json={"observations": [named(each) for each in SEEN]}).json()
    found = [[list(step[agent].values()) for agent in AGENTS] for step in steps["actions"]]
    np.testing.assert_allclose(np.reshape(found, (-1, 3)), wanted(version, SEEN).actions, atol=1e-5)


def test_its_own_examples_are_answered(client: httpx.Client) -> None:
    """What the page and the description offer can be sent as it is."""
    described = client.get("/v1/policies/talking").json()
    assert described["modules"]["shared"]["whole_worlds"] is True
    reply = client.post("/v1/policies/talking/act", json=described["example"])
    assert reply.status_code == 200, reply.text
    examples = client.get("/openapi.json").json()["paths"]
    (path,) = (path for path in examples if path.endswith("}/infer") and "versions" not in path)
    body = examples[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    (given,) = (each["value"] for each in body.values())
    assert client.post("/v2/models/talking/infer", json=given).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [2, 11], "data": [0.0] * 22}]},
            f"observations.shape: got [2,11], allowed is [W, 3, 11]: {NEEDED}",
        ),
        (
            {"inputs": [{"name": "observations", "datatype": "FP32", "shape": [1, 2, 11], "data": [0.0] * 22}]},
            f"observations.shape: got [1,2,11], allowed is [W, 3, 11]: {NEEDED}",
        ),
        (
            {
                "inputs": [
                    {"name": "observations", "datatype": "FP32", "shape": [1, 3, 11], "data": [0.0] * 33},
                    {"name": "alive", "datatype": "BOOL", "shape": [1, 3], "data": [False] * 3},
                ]
            },
            "alive[0]: has nobody there, allowed is one true or more in each world",
        ),
        (
            {
                "inputs": [
                    {"name": "observations", "datatype": "FP32", "shape": [1, 3, 11], "data": [0.0] * 32 + [1e30]}
                ]
            },
            "observations.data[0][2][10]: got 1e+30, allowed is -1e+06 to 1e+06",
        ),
    ],
)
def test_loose_rows_are_refused(client: httpx.Client, body: dict[str, Any], said: str) -> None:
    """One line says that the agents of a world are asked together."""
    reply = client.post("/v2/models/talking/infer", json=body)
    assert (reply.status_code, reply.json()["error"]) == (400, said)


def test_loose_rows_by_name_are_refused(client: httpx.Client) -> None:
    """Neither plain rows of the module, nor agents that the team does not know."""
    address = "/v1/policies/talking/act"
    reply = client.post(address, json={"module": "shared", "observations": SEEN[0].tolist()})
    assert (reply.status_code, reply.json()["error"]) == (
        400,
        f'module: got "shared", allowed are observations by agent: {NEEDED}',
    )
    reply = client.post(address, json={"observations": {"dan": SEEN[0, 0].tolist()}})
    assert (reply.status_code, reply.json()["error"]) == (
        400,
        'observations: got agent "dan", allowed are ann, bob, cid',
    )


def test_two_clients_at_once_never_share_a_world(client: httpx.Client, version: ServedVersion) -> None:
    """Two clients with parts of a team, at the same time, again and again: each hears its own world alone."""
    start, rounds = Barrier(2), 30
    teams = (("ann",), ("bob", "cid"))

    def asks(team: tuple[str, ...], world: Any) -> list[Any]:
        body = {"observations": named(world, team)}
        with httpx.Client(base_url=client.base_url) as own:
            found = []
            for _ in range(rounds):
                start.wait(10)
                found.append(own.post("/v1/policies/talking/act", json=body).json()["actions"])
        return found

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(asks, teams, SEEN[:2]))
    for team, world, found in zip(teams, SEEN[:2], answers, strict=True):
        alive = [[agent in team for agent in AGENTS]]
        expected = wanted(version, world[None], alive).actions
        for actions in found:
            assert set(actions) == set(team)
            for agent in team:
                np.testing.assert_allclose(list(actions[agent].values()), expected[AGENTS.index(agent)], atol=1e-5)


def test_the_engine_joins_no_worlds(version: ServedVersion, small_version: ServedVersion) -> None:
    """Requests of the same turn share a call where rows are independent, and none where they are whole worlds."""
    calls: list[tuple[str, int, int]] = []

    async def main() -> list[Any]:
        engine = Engine(on_batch=lambda version, rows, requests: calls.append((version.name, rows, requests)))
        try:
            asked = [
                engine.answer(each, {"shared": ModuleRows(world, alive=alive)})
                for _ in range(2)
                for each, alive in ((version, np.ones(3, np.bool_)), (small_version, None))
                for world in SEEN
            ]
            return await asyncio.gather(*asked)
        finally:
            engine.close()

    answers = asyncio.run(main())
    assert [call for call in calls if call[0] == "talking"] == [("talking", 3, 1)] * 8
    assert max(requests for name, _, requests in calls if name == "small") > 1
    for world, answer in zip(SEEN, answers[:4], strict=True):
        np.testing.assert_allclose(answer["shared"].actions, wanted(version, world[None]).actions, atol=1e-6)


def test_a_world_is_remembered(make_bundle: Any, as_version: Any, sketch: Any, serving: Any, tmp_path: Path) -> None:
    """Where they are recurrent too, a session goes on with every agent's state, also of who was away in between."""
    sketches = {"traders": sketch(agents=AGENTS, whole_worlds=True, state_size=4)}
    version = as_version(make_bundle(tmp_path / "bundle", sketches), "talking")
    asking = serving(version)
    state = np.zeros((3, 4), np.float32)
    for team in (AGENTS, ("ann", "bob"), AGENTS):
        body = {"observations": named(SEEN[0], team), "session": "one"}
        actions = asking.post("/v1/policies/talking/act", json=body).json()["actions"]
        alive = [[agent in team for agent in AGENTS]]
        seen = SEEN[:1] * np.array(alive)[:, :, None]
        expected = wanted(version, seen, alive, state=state)
        for agent in team:
            place = AGENTS.index(agent)
            np.testing.assert_allclose(list(actions[agent].values()), expected.actions[place], atol=1e-5)
        state = expected.state


def test_a_feature_is_taken_away_within_its_world(client: httpx.Client, version: ServedVersion) -> None:
    """An explanation changes one agent's feature and leaves what its team sees as it is."""
    body = {"observations": named(SEEN[0], ("ann", "cid")), "explain": 100}
    found = client.post("/v1/policies/talking/act", json=body).json()["explanations"]
    assert set(found) == {"ann", "cid"}
    alive = np.array([[True, False, True]])
    before = wanted(version, SEEN[:1] * alive[:, :, None], alive).dist_inputs[2, :3]
    cash = next(each for each in found["cid"] if each["feature"] == "cash")
    changed = SEEN[:1] * alive[:, :, None]
    changed[0, 2, 0] = cash["baseline"]
    after = wanted(version, changed, alive).dist_inputs[2, :3]
    effect = np.clip(before, -1, 1) - np.clip(after, -1, 1)
    np.testing.assert_allclose(list(cash["actions"].values()), effect, atol=1e-5)
    golden = version.manifest.golden["shared"]
    there = np.array(golden.alive)
    assert cash["baseline"] == pytest.approx(float(np.array(golden.observations)[there, 0].mean()), abs=1e-6)


def test_its_signature_says_who_lies_where(version: ServedVersion, small_version: ServedVersion) -> None:
    """The team in order; nobody else may come where agents need each other."""
    signature = signature_of(version.policy)
    assert signature.modules["shared"].places == {"ann": 0, "bob": 1, "cid": 2}
    assert signature.common is None
    assert signature_of(small_version.policy).common == "shared"
