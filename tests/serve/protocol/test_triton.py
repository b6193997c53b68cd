"""Triton's own client, unchanged, against the service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from serve.models import ServedVersion


@pytest.fixture(scope="module")
def client(local_url: str) -> Any:
    """The client."""
    with triton.InferenceServerClient(local_url) as client:
        yield client


def inputs(seen: np.ndarray, *, binary: bool) -> list[Any]:
    tensor = triton.InferInput("observations", list(seen.shape), "FP32")
    tensor.set_data_from_numpy(seen, binary_data=binary)
    mask = triton.InferInput("action_mask", [len(seen), 3], "BOOL")
    mask.set_data_from_numpy(np.tile([True, False, True], (len(seen), 1)), binary_data=binary)
    return [tensor, mask]


def test_health_and_metadata(client: Any) -> None:
    """Liveness, readiness, metadata and the index are as the client expects them."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("small")["inputs"][0] == {
        "name": "observations",
        "datatype": "FP32",
        "shape": [-1, 11],
    }
    assert {"small", "team", "recurrent"} == {each["name"] for each in client.get_model_repository_index()}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(
    client: Any, small_version: ServedVersion, binary_in: bool, binary_out: bool, compression: str | None
) -> None:
    """Binary or JSON, compressed or not, in and out: the same numbers, to the bit."""
    seen = np.random.default_rng(0).standard_normal((5, 11)).astype(np.float32)
    result = client.infer(
        "small",
        inputs(seen, binary=binary_in),
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("actions", "log_probs")],
        request_id="r",
        request_compression_algorithm=compression,
    )
    wanted = small_version.policy.infer("shared", seen, np.tile([True, False, True], (5, 1)))
    np.testing.assert_array_equal(result.as_numpy("actions"), wanted.actions)
    np.testing.assert_array_equal(result.as_numpy("log_probs"), wanted.log_probs)
    assert result.get_response()["id"] == "r"
    assert result.get_response()["model_version"] == "1"


def test_outputs_and_parameters(client: Any) -> None:
    """Without named outputs all come, as bytes; parameters go through."""
    seen = np.zeros((1, 11), np.float32)
    draws = [
        client.infer("small", inputs(seen, binary=True), parameters={"deterministic": False, "seed": seed})
        for seed in (1, 1, 2)
    ]
    first, again, other = (draw.as_numpy("actions").tolist() for draw in draws)
    assert first == again != other
    assert draws[0].as_numpy("values").shape == (1,)


def test_errors_reach_the_client(client: Any) -> None:
    """The client shows the sentence."""
    with pytest.raises(InferenceServerException, match=r"observations.shape: got \[1,7\], allowed is \[N, 11\]"):
        client.infer("small", inputs(np.zeros((1, 7), np.float32), binary=True))
    with pytest.raises(InferenceServerException, match="version of 'small': got '9'"):
        client.infer("small", inputs(np.zeros((1, 11), np.float32), binary=True), model_version="9")
