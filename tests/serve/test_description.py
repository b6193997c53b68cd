"""What a model is said to be: its examples are requests that it answers, whatever its actions and golden rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from policies.bundle import GRAPH, BundlePolicy
from serve.asgi import make_app
from serve.description import example
from serve.models import Models, ServedModel, ServedVersion
from serve.service import PolicyService
from serve.settings import ServeSettings

SPACES = {
    "continuous": {},
    "one branch": {"choices": (5,)},
    "equal branches": {"choices": (4, 4, 4)},
    "unequal branches": {"choices": (2, 5, 1, 3)},
    "recurrent": {"choices": (3, 2), "state_size": 4},
}


def answered(version: ServedVersion, as_model: Callable[..., ServedModel]) -> dict[str, tuple[int, Any]]:
    """What comes of the advertised examples, sent back as they are: the policy's, and the document's."""

    async def ask() -> dict[str, tuple[int, Any]]:
        service = PolicyService(ServeSettings(), Models({version.name: as_model(version)}))
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            described = (await client.get(f"/v1/policies/{version.name}")).json()
            paths = (await client.get("/openapi.json")).json()["paths"]
            bodies = {f"/v1/policies/{version.name}/act": described["example"]}
            for path, operations in paths.items():
                if path.endswith("/infer") or path.endswith("/act"):
                    content = operations["post"]["requestBody"]["content"]["application/json"]
                    at = path.format(name=version.name, version=version.version)
                    bodies[f"{at}?"] = content["examples"][version.name]["value"]
            found = {}
            for path, body in bodies.items():
                response = await client.post(path, json=body)
                found[path] = (response.status_code, response.json())
            return found

    return asyncio.run(ask())


@pytest.mark.parametrize("masked", ["open", "some", "stuck", "nothing"])
@pytest.mark.parametrize("space", SPACES)
def test_examples_are_answered(
    tmp_path: Path,
    make_bundle: Callable[..., Path],
    as_version: Callable[..., ServedVersion],
    as_model: Callable[..., ServedModel],
    sketch: Any,
    space: str,
    masked: str,
) -> None:
    """Posted back, each example gets a 200; also where golden rows allow nothing in a branch, or are out of bounds."""
    path = make_bundle(tmp_path / "bundle", {"team": sketch(**SPACES[space])})
    policy = as_version(path).policy
    golden = policy.manifest.golden["shared"]
    rows, width = np.array(golden.action_mask).shape
    masks = np.ones((rows, width), np.bool_)
    if masked == "some":
        masks[:, -1] = False
    if masked == "stuck":
        masks[:, -2:] = False
    if masked == "nothing":
        masks[:] = False
    seen = np.array(golden.observations, np.float32)
    seen[:, 0] = 3e7
    changed = golden.model_copy(update={"observations": seen.tolist(), "action_mask": masks.tolist()})
    manifest = policy.manifest.model_copy(update={"golden": {"shared": changed}})
    version = ServedVersion("small", "1", BundlePolicy(manifest, (path / GRAPH).read_bytes()))
    found = answered(version, as_model)
    assert len(found) == 4
    assert {status for status, _ in found.values()} == {200}, found
    assert set(example(version)["observations"]) == {"ann", "bob"}


def test_masks_are_shown(
    tmp_path: Path, make_bundle: Callable[..., Path], as_version: Callable[..., ServedVersion], sketch: Any
) -> None:
    """A golden row whose mask leaves each branch a choice is shown with it."""
    path = make_bundle(tmp_path / "bundle", {"team": sketch(choices=(3, 2))})
    policy = as_version(path).policy
    golden = policy.manifest.golden["shared"]
    mask = (True, False, True, False, True)
    changed = golden.model_copy(update={"action_mask": (mask,) * len(golden.action_mask)})
    manifest = policy.manifest.model_copy(update={"golden": {"shared": changed}})
    version = ServedVersion("small", "1", BundlePolicy(manifest, (path / GRAPH).read_bytes()))
    assert example(version)["action_masks"] == {"ann": list(mask), "bob": list(mask)}
