"""Policies over HTTP: our service against RLlib's example of one, on the same machine, in turns.

Both serve the same kind of network (64 inputs, two layers of 256, 8 choices) from one replica. Ours checks a key,
validates every request, counts it and writes an access log; the example does none of that. Theirs goes through Serve's
own proxy and ours through the HAProxy that Ray ships, each as it is started by default, but for one setting: by default
a replica of Serve takes five requests at once, which makes the example ever slower as connections are added. Here it
takes as many as come.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from benchmarks.contender import MARK, ROOT
from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar, ratio_bar
from benchmarks.load import Call, offer
from envs.base import AgentGroup
from envs.layout import ObservationLayout
from serve.ports import free_ports

FEATURES, HIDDEN, CHOICES = 64, (256, 256), 8
CONCURRENCY = (1, 16, 64)
BATCH = 256
MAX_ONGOING = 256
OURS, EXAMPLE = "ours", "RLlib's example"
LEAST, AIM = 8.0, 15.0
DECISIONS = 100_000.0
SHARE = 0.6
"""The rate at which response times are compared, as a share of what the slower of the two can answer."""


def run(
    *, repeats: int = 5, seconds: float = 4.0, replicas: int = 1, progress: Callable[[str], None] = print
) -> BenchmarkResult:
    """Measures throughput, response times at one rate, and decisions a second in batches.

    Args:
        repeats: Rounds; each contender is measured once a round.
        seconds: Length of each measurement [s].
        replicas: Processes of our service.
        progress: Called with a line after each measurement.
    """
    bars: list[Bar] = []
    runs: dict[str, Any] = {}
    least = float("inf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = prepare(folder)
        ports = free_ports(2)
        with (
            service("ours", folder, ports[0], replicas=replicas, log_dir=str(folder)),
            service("RLlib", folder, ports[1], max_ongoing_requests=MAX_ONGOING),
        ):
            ours, example, binary, batch = calls(folder, ports, key)
            for connections in CONCURRENCY:
                found = interleave(
                    {
                        f"{OURS}, {connections} connections": partial(throughput, ours, connections, seconds),
                        f"{EXAMPLE}, {connections} connections": partial(throughput, example, connections, seconds),
                    },
                    repeats,
                    progress=progress,
                )
                runs.update({f"{who} [requests/s]": figures for who, figures in found.items()})
                one, other = found.values()
                bars += [median_bar(f"{who} [requests/s]", figures) for who, figures in found.items()]
                bars.append(ratio_bar(f"{connections} connections: ours over RLlib's example", one, other, LEAST))
                least = min(least, median(one), median(other))
            rate = SHARE * least
            found = interleave(
                {
                    OURS: lambda: offer(ours, CONCURRENCY[1], seconds, rate=rate).p99,
                    EXAMPLE: lambda: offer(example, CONCURRENCY[1], seconds, rate=rate).p99,
                },
                repeats,
                progress=progress,
            )
            runs.update({f"{who}, p99 at {rate:.0f} requests/s [ms]": figures for who, figures in found.items()})
            bars += [median_bar(f"{who}, p99 at {rate:.0f} requests/s [ms]", times) for who, times in found.items()]
            shares = [a / b for a, b in zip(*found.values(), strict=True)]
            bars.append(median_bar("p99 at one rate: ours over RLlib's example", shares, 0.2, at_most=True))
            found = interleave(
                {
                    f"decisions/s, {BATCH} rows a request, binary": lambda: BATCH * throughput(binary, 4, seconds),
                    f"decisions/s, {BATCH} rows a request, JSON": lambda: BATCH * throughput(batch, 4, seconds),
                },
                repeats,
                progress=progress,
            )
            runs.update(found)
            one, other = found.values()
            bars.append(median_bar(next(iter(found)), one, DECISIONS))
            bars.append(median_bar(list(found)[1], other))
    return BenchmarkResult(bars, runs)


def throughput(call: Call, connections: int, seconds: float) -> float:
    """Responses a second."""
    return offer(call, connections, seconds).rate


def prepare(folder: Path) -> str:
    """Makes a bundle, an RLModule of the same sizes, and a key; returns the key."""
    from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    from algorithms.export import export_bundle
    from algorithms.mapping import PolicyMapping
    from algorithms.networks.config import NetworkConfig
    from algorithms.networks.module import ActorCriticModule, module_spec
    from serve.keys import KeysFile

    layout = ObservationLayout(tuple(f"feature_{n}" for n in range(FEATURES)))
    group = AgentGroup("agents", ("agent",), MultiDiscrete([CHOICES]), layout)
    network = NetworkConfig(kind="flat", hidden_sizes=HIDDEN, share_trunk=False, normalise=False)
    module = module_spec(group, network).build()
    assert isinstance(module, ActorCriticModule)
    export_bundle(
        folder / "bundle",
        {"shared": module},
        PolicyMapping("shared", {group.name: group}),
        name="bench",
        domain="benchmark",
        env_config={},
    )
    spec = RLModuleSpec(
        module_class=DefaultPPOTorchRLModule,
        observation_space=Box(-np.inf, np.inf, (FEATURES,), np.float32),
        action_space=Discrete(CHOICES),
        model_config=DefaultModelConfig(fcnet_hiddens=list(HIDDEN), fcnet_activation="tanh", vf_share_layers=False),
    )
    spec.build().save_to_path(folder / "module")
    return KeysFile(folder / "keys.json").add("benchmark", scopes=("infer",))


def calls(folder: Path, ports: Sequence[int], key: str) -> tuple[Call, Call, Call, Call]:
    """One observation for ours and for the example, then a batch for ours, in binary and as JSON."""
    rows = np.random.default_rng(0).standard_normal((BATCH, FEATURES)).astype(np.float32)
    url = f"http://127.0.0.1:{ports[0]}/v2/models/bench/infer"
    auth = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def infer(rows: np.ndarray[Any, Any], **described: Any) -> dict[str, Any]:
        return {"inputs": [{"name": "observations", "shape": list(rows.shape), "datatype": "FP32", **described}]}

    def written(name: str, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    one = written("one.json", json.dumps(infer(rows[:1], data=rows[0].tolist())).encode())
    plain = written("plain.json", json.dumps({"observation": rows[0].tolist()}).encode())
    many = written("many.json", json.dumps(infer(rows, data=rows.ravel().tolist())).encode())
    asked = infer(rows, parameters={"binary_data_size": rows.nbytes}) | {"parameters": {"binary_data_output": True}}
    header = json.dumps(asked).encode()
    binary = written("many.bin", header + rows.tobytes())
    return (
        Call(url, one, auth),
        Call(f"http://127.0.0.1:{ports[1]}/act", plain, {"content-type": "application/json"}),
        Call(
            url,
            binary,
            auth | {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))},
        ),
        Call(url, many, auth),
    )


@contextmanager
def service(which: str, folder: Path, port: int, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """Runs `benchmarks.serving_worker` until the block is left.

    Raises:
        RuntimeError: If it ends before it is ready, with the last of what it had to say.
    """
    given = json.dumps({"which": which, "folder": str(folder), "port": port, **settings})
    with (folder / f"{which}.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving_worker", given],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            text=True,
        )
        try:
            assert process.stdout is not None
            if not any(line.startswith(MARK) for line in process.stdout):
                log.seek(0)
                raise RuntimeError(f"{which}: did not start\n" + "\n".join(log.read().splitlines()[-15:]))
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
