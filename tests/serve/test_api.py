"""The routes over HTTP: what clients of the Open Inference Protocol and people find, and how they are refused."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest

from serve.api import make_api
from serve.models import Models, ServedVersion
from serve.service import PolicyService
from serve.settings import ServeSettings

ROW = [0.1 * index for index in range(11)]
TENSOR = {"name": "observations", "shape": [1, 11], "datatype": "FP32", "data": ROW}


def test_health(http: httpx.Client) -> None:
    """Alive, and ready as there are models."""
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}


def test_not_ready_without_models() -> None:
    """Alive but not ready, with a 503, until a model is loaded."""
    app = make_api(PolicyService(ServeSettings(), Models()))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            ready = await client.get("/v2/health/ready")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/openapi.json")).status_code == 200

    asyncio.run(ask())


def test_nothing_is_inferred_without_the_front(local_service: PolicyService) -> None:
    """The app behind the front documents `infer` and `act`, and does not answer them: it asks for no key."""

    async def ask() -> None:
        app = make_api(local_service)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            for path in ("/v2/models/small/infer", "/v2/models/small/versions/1/infer", "/v1/policies/small/act"):
                assert (await client.post(path, json={"inputs": [TENSOR]})).status_code == 404
            assert "/v2/models/{name}/infer" in (await client.get("/openapi.json")).json()["paths"]

    asyncio.run(ask())


def test_what_there_is(http: httpx.Client) -> None:
    """Server, models, versions, readiness, and Triton's index."""
    assert http.get("/v2").json()["name"] == "entrepot"
    assert http.get("/v2/models/team").json()["versions"] == ["1"]
    assert http.get("/v2/models/small/versions").json() == {"name": "small", "versions": ["1"], "aliases": {}}
    assert http.get("/v2/models/small/versions/1").json() == http.get("/v2/models/small").json()
    assert http.get("/v2/models/small/ready").json()["ready"] is True
    assert http.get("/v2/models/small/versions/1/ready").json()["version"] == "1"
    index = http.post("/v2/repository/index", json={"ready": True}).json()
    assert {"name": "recurrent", "version": "1", "state": "READY", "reason": ""} in index
    assert http.post("/v2/repository/index").json() == index
    assert [each["name"] for each in http.get("/v1/policies").json()["policies"]] == ["small", "team", "recurrent"]


def test_description_has_an_example_that_works(http: httpx.Client) -> None:
    """A policy's page has agents, features and actions, and an example that `act` takes as it is."""
    for name in ("small", "team", "recurrent"):
        found = http.get(f"/v1/policies/{name}", params={"version": "1"}).json()
        assert found["current"] == found["version"] == "1"
        assert found["metrics"] == {"score": 0.5}
        reply = http.post(f"/v1/policies/{name}/act", json=found["example"])
        assert reply.status_code == 200, reply.text
        agents = [agent for group in found["groups"].values() for agent in group["agents"]]
        assert sorted(reply.json()["actions"]) == sorted(agents)
    group = http.get("/v1/policies/small").json()["groups"]["traders"]
    assert group["features"][:3] == ["cash", "drawdown", "AAPL.price"]
    assert group["actions"] == {"kind": "continuous", "size": 3, "choices": [], "names": ["AAPL", "MSFT", "XOM"]}


def test_infer_and_act_agree(http: httpx.Client, small_version: ServedVersion) -> None:
    """Both routes give the bundle's own action, to the bit, pinned or not."""
    wanted = small_version.policy.infer("shared", np.array([ROW], np.float32)).actions[0]
    for path in ("/v2/models/small/infer", "/v2/models/small/versions/1/infer"):
        reply = http.post(path, json={"inputs": [TENSOR]}).json()
        np.testing.assert_array_equal(np.array(reply["outputs"][0]["data"], np.float32), wanted)
    reply = http.post("/v1/policies/small/act", json={"observations": {"ann": ROW}, "version": "1"}).json()
    np.testing.assert_array_equal(np.array(list(reply["actions"]["ann"].values()), np.float32), wanted)


def test_seed_repeats_a_sample(http: httpx.Client) -> None:
    """The same seed draws the same action, another seed another one."""
    body = {"observations": {"ann": ROW}, "deterministic": False, "seed": 1}
    first, again, other = (
        http.post("/v1/policies/small/act", json=each).json()["actions"] for each in (body, body, body | {"seed": 2})
    )
    assert first == again != other


def test_session_is_state_kept_here(http: httpx.Client) -> None:
    """A session goes on as if the client had sent the state back and forth, by `act` and by `infer`."""
    state, carried, kept = None, [], []
    for step in range(3):
        body = {"observations": {"ann": [step + x for x in ROW]}}
        reply = http.post("/v1/policies/recurrent/act", json=body | ({"state": state} if state else {})).json()
        state = reply["state"]
        carried.append(reply["actions"])
        kept.append(http.post("/v1/policies/recurrent/act", json=body | {"session": "a"}).json()["actions"])
    assert kept == carried
    assert carried[0] != carried[1]
    outputs = [
        http.post("/v2/models/recurrent/infer", json={"inputs": [TENSOR], "parameters": {"session": session}}).json()[
            "outputs"
        ]
        for session in ("b", "b", "c")
    ]
    assert outputs[0] == outputs[2] != outputs[1]


def test_explanation_on_request(http: httpx.Client) -> None:
    """`explain` names features by agent; without it there are none."""
    body: dict[str, Any] = {"observations": {"ann": ROW, "bob": ROW}}
    found = http.post("/v1/policies/small/act", json=body | {"explain": 2}).json()["explanations"]
    assert [len(found[agent]) for agent in ("ann", "bob")] == [2, 2]
    assert set(found["ann"][0]) == {"feature", "value", "baseline", "effect", "actions"}
    assert "explanations" not in http.post("/v1/policies/small/act", json=body).json()


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2/models/other", 404, "model: got 'other', allowed are recurrent, small, team"),
        ("GET", "/v2/models/other/ready", 404, "model: got 'other'"),
        ("POST", "/v2/models/other/infer", 404, "model: got 'other'"),
        ("POST", "/v1/policies/other/act", 404, "model: got 'other'"),
        ("GET", "/v2/models/small/versions/9", 404, "version of 'small': got '9', allowed are 1"),
        ("POST", "/v2/models/small/versions/9/infer", 404, "version of 'small': got '9'"),
        ("GET", "/v1/policies/small?version=9", 404, "version of 'small': got '9'"),
        ("GET", "/nowhere", 404, "path: got '/nowhere', allowed are those of /docs"),
        ("GET", "/v2/models/small/infer", 405, "method: got GET, allowed is POST"),
        ("DELETE", "/v2/models/small", 405, "method: got DELETE, allowed is GET"),
    ],
)
def test_refusals_are_one_sentence(http: httpx.Client, method: str, path: str, status: int, message: str) -> None:
    """Unknown models, versions, paths and methods have their status, and one sentence as `error`."""
    content = b"{}" if method == "POST" else None
    body = {"inputs": [TENSOR]} if path.endswith("infer") else {"observations": {"ann": ROW}}
    reply = http.request(method, path, json=body if content else None)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert reply.json()["error"].startswith(message)
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"raedy": true}', b'{"ready": 1}', b'{"repository_name": 3}'])
def test_index_minds_its_body(http: httpx.Client, body: bytes) -> None:
    """The index takes `ready` and nothing else."""
    reply = http.post("/v2/repository/index", content=body)
    assert (reply.status_code, list(reply.json())) == (400, ["error"])


def test_large_body_of_a_small_route_is_refused(http: httpx.Client) -> None:
    """Routes that read little read little, however the body is sent."""
    for content in (b" " * 100_000, iter([b" " * 50_000] * 3)):
        assert http.post("/v2/repository/index", content=content).status_code == 413


def test_api_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    """The page of the API loads scripts and styles from the service itself."""
    page = http.get("/docs").text
    assert "cdn." not in page
    assert "https://" not in page
    for path in ("/docs/static/swagger-ui-bundle.js", "/docs/static/swagger-ui.css", "/docs/static/favicon.png"):
        assert path in page
        assert http.get(path).status_code == 200


def test_metrics_are_text(http: httpx.Client) -> None:
    """Figures come as Prometheus reads them."""
    reply = http.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert "entrepot_requests" in reply.text
