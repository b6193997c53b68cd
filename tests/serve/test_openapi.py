"""The OpenAPI document: the service does what it says, whatever is thrown at it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve.api import make_api
from serve.guard import Guard
from serve.keys import KeysFile
from serve.models import Models
from serve.service import PolicyService
from serve.settings import ServeSettings

EXAMPLES = 20


@pytest.fixture(scope="session")
def api_schema(local_url: str) -> Any:
    """The document, as a client fetches it."""
    return schemathesis.openapi.from_url(f"http://{local_url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_service_keeps_its_word(api_schema: Any, mode: GenerationMode) -> None:
    """Statuses, types and bodies are those of the document; what breaks it is refused; nothing is a 5xx.

    What the document allows may still be refused with a 400: that widths fit the model cannot be said in a schema.
    """
    asked: set[str] = set()

    def fuzz(operation: Any) -> None:
        @given(case=operation.as_strategy(generation_mode=mode), real=st.sampled_from(["small", "team", "recurrent"]))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any, real: str) -> None:
            asked.add(operation.label)
            if operation.body:
                # Names made up are all unknown: bodies would never be read.
                case.path_parameters.update(dict.fromkeys(case.path_parameters, "1") | {"name": real})
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        ask()

    for result in api_schema.get_all_operations():
        operation = result.ok()
        # Only what takes a body or a query can be given a wrong one.
        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            fuzz(operation)
    assert {"POST /v2/models/{name}/infer", "POST /v1/policies/{name}/act"} <= asked


def test_examples_work(http: httpx.Client) -> None:
    """Each example of `infer` and `act` is answered with 200."""
    paths = http.get("/openapi.json").json()["paths"]
    tried = 0
    for path, operations in paths.items():
        if not path.endswith(("/infer", "/act")):
            continue
        content = operations["post"]["requestBody"]["content"]["application/json"]
        for name, example in content["examples"].items():
            reply = http.post(path.format(name=name, version="1"), json=example["value"])
            assert reply.status_code == 200, (path, name, reply.text)
            tried += 1
    assert tried == 9


def test_document_is_whole(http: httpx.Client) -> None:
    """The lean routes are there, and no 422, which this service never sends."""
    document = http.get("/openapi.json").json()
    assert {"/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer", "/v1/policies/{name}/act"} <= set(
        document["paths"]
    )
    statuses = {status for path in document["paths"].values() for each in path.values() for status in each["responses"]}
    assert "422" not in statuses
    assert {"200", "400", "404", "429"} <= statuses


def test_document_names_no_models_where_keys_are_wanted(local_service: PolicyService, tmp_path: Any) -> None:
    """The document is open to all, and models are not, where a key is needed to see them."""
    keys = KeysFile(tmp_path / "keys.json")
    keys.add("someone", scopes=("infer",))
    guard = Guard(keys)
    guarded = PolicyService(ServeSettings(), Models(local_service.models.models), guard=guard)

    async def fetch() -> str:
        transport = httpx.ASGITransport(make_api(guarded))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.get("/openapi.json")).text

    text = asyncio.run(fetch())
    assert "MSFT" not in text
    assert "team" not in text.replace("a team", "")
