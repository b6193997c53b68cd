"""What the tests of serving share."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import pytest
import uvicorn
from filelock import FileLock
from gymnasium.spaces import Box, MultiDiscrete
from onnx import TensorProto, helper, numpy_helper

from envs.base import AgentGroup
from envs.layout import ObservationLayout
from policies.bundle import BundlePolicy, load_bundle, save_bundle
from policies.manifest import GoldenEntry, GroupEntry, Manifest
from policies.registry import ModelRegistry, Score
from serve.api import make_api
from serve.asgi import make_app
from serve.keys import KeysFile
from serve.models import Models, ServedModel, ServedVersion
from serve.ports import free_ports
from serve.service import PolicyService
from serve.settings import ServeSettings

# -- S2: small bundles, made without any training code ---------------------------------------------------------------


@dataclass(frozen=True)
class Sketch:
    """A group of agents, and the small network that plays it.

    Attributes:
        agents: Their ids.
        modules: The module of each; one name: all play it.
        entities: Names of the entities.
        choices: Choices of each branch; none: continuous, one action an entity.
        state_size: Width of the recurrent state; 0: none.
        values: Whether there is a critic.
        whole_worlds: Whether each agent hears the mean of what all those who are there see.
    """

    agents: tuple[str, ...] = ("ann", "bob")
    modules: tuple[str, ...] = ("shared",)
    entities: tuple[str, ...] = ("AAPL", "MSFT", "XOM")
    choices: tuple[int, ...] = ()
    state_size: int = 0
    values: bool = True
    whole_worlds: bool = False

    def group(self, name: str) -> AgentGroup:
        """The group, with observations of 2 + 3 N features."""
        per_entity = 0 if self.choices else 1
        layout = ObservationLayout(("cash", "drawdown"), ("price", "held"), self.entities, per_entity)
        space = MultiDiscrete(list(self.choices)) if self.choices else Box(-1, 1, (len(self.entities),), np.float32)
        return AgentGroup(name, self.agents, space, layout)

    def by_agent(self) -> tuple[str, ...]:
        """The module of each agent."""
        return self.modules if len(self.modules) > 1 else self.modules * len(self.agents)


TEAM = {
    "traders": Sketch(),
    "clerks": Sketch(("cid", "dan"), ("first", "second"), choices=(3, 2), values=False),
}
"""Two groups: one plays a shared continuous module with a critic, each agent of the other a discrete one of its own."""


def small_graph(sketches: Mapping[str, Sketch], seed: int) -> bytes:
    """One layer a module; recurrent ones have a minimal gated unit (Zhou et al. 2016) before it."""
    rng = np.random.default_rng(seed)
    nodes, inputs, outputs, weights = [], [], [], []

    def weight(name: str, *shape: int) -> str:
        weights.append(numpy_helper.from_array((rng.standard_normal(shape) * 0.5).astype(np.float32), name))
        return name

    def node(kind: str, output: str, *given: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(given), [output], **attributes))
        return output

    for name, sketch in sketches.items():
        group = sketch.group(name)
        size, actions, state_size = group.layout.size, group.num_actions, sketch.state_size
        for m in dict.fromkeys(sketch.modules):
            seen, mask = f"{m}.observations", f"{m}.action_mask"
            row: list[Any] = ["n", len(sketch.agents)] if sketch.whole_worlds else ["n"]
            inputs += [
                helper.make_tensor_value_info(seen, TensorProto.FLOAT, [*row, size]),
                helper.make_tensor_value_info(mask, TensorProto.BOOL, [*row, group.mask_size]),
            ]
            if sketch.whole_worlds:
                inputs.append(helper.make_tensor_value_info(f"{m}.alive", TensorProto.BOOL, row))
                for axis, place in (("last", -1), ("agents", 1)):
                    weights.append(numpy_helper.from_array(np.array([place], np.int64), f"{m}.{axis}"))
                flags = node("Cast", f"{m}.flags", f"{m}.alive", to=TensorProto.FLOAT)
                there = node("Unsqueeze", f"{m}.there", flags, f"{m}.last")
                said = node("ReduceSum", f"{m}.said", node("Mul", f"{m}.loud", seen, there), f"{m}.agents")
                mean = node("Div", f"{m}.mean", said, node("ReduceSum", f"{m}.team", there, f"{m}.agents"))
                heard = node("Add", f"{m}.heard", node("Sub", f"{m}.silence", seen, seen), mean)
                seen, size = node("Concat", f"{m}.all", seen, heard, axis=-1), 2 * size
            features, width = seen, size
            if state_size:
                state = f"{m}.state"
                inputs.append(helper.make_tensor_value_info(state, TensorProto.FLOAT, [*row, state_size]))
                both = node("Concat", f"{m}.both", seen, state, axis=-1)
                gate = node(
                    "Sigmoid",
                    f"{m}.gate",
                    node("MatMul", f"{m}.g", both, weight(f"{m}.G", size + state_size, state_size)),
                )
                kept = node("Mul", f"{m}.kept", gate, state)
                fresh = node("Concat", f"{m}.fresh", seen, kept, axis=-1)
                new = node(
                    "Tanh", f"{m}.new", node("MatMul", f"{m}.w", fresh, weight(f"{m}.W", size + state_size, state_size))
                )
                step = node("Mul", f"{m}.step", gate, node("Sub", f"{m}.change", new, state))
                features, width = node("Add", f"{m}.next_state", state, step), state_size
                outputs.append(helper.make_tensor_value_info(features, TensorProto.FLOAT, [*row, state_size]))
            columns = group.mask_size
            head = node("MatMul", f"{m}.head", features, weight(f"{m}.H", width, columns))
            weights.append(numpy_helper.from_array(np.float32(-1e9 if sketch.choices else 0.0), f"{m}.masked"))
            masked = node(
                "Where", f"{m}.open" if not sketch.choices else f"{m}.action_dist_inputs", mask, head, f"{m}.masked"
            )
            if not sketch.choices:
                weights.append(numpy_helper.from_array(np.full(actions, -1.0, np.float32), f"{m}.log_std"))
                zero = node("Sub", f"{m}.zero", head, head)
                spread = node("Add", f"{m}.spread", zero, f"{m}.log_std")
                node("Concat", f"{m}.action_dist_inputs", masked, spread, axis=-1)
            outputs.append(helper.make_tensor_value_info(f"{m}.action_dist_inputs", TensorProto.FLOAT, [*row, None]))
            if sketch.values:
                weights.append(numpy_helper.from_array(np.array([-1], np.int64), f"{m}.axis"))
                node(
                    "Squeeze",
                    f"{m}.values",
                    node("MatMul", f"{m}.v", features, weight(f"{m}.V", width, 1)),
                    f"{m}.axis",
                )
                outputs.append(helper.make_tensor_value_info(f"{m}.values", TensorProto.FLOAT, row))
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def golden_of(policy: BundlePolicy, module: str, rows: int = 8) -> GoldenEntry:
    """Made-up observations, every third entity absent, and what the bundle makes of them; some agents are away."""
    rng = np.random.default_rng(1)
    agents = policy.team_sizes.get(module)
    rows *= agents or 1
    alive = None if agents is None else np.arange(rows) % 4 != 3
    group = policy.spaces_of(module)
    layout = group.layout
    seen = rng.standard_normal((rows, layout.size)).astype(np.float32)
    present = (np.arange(rows)[:, None] + np.arange(layout.num_entities)) % 3 != 0
    seen[:, layout.mask_slice] = present
    seen[:, layout.entity_slice] *= np.repeat(present, len(layout.entity_features), axis=1)
    masks = np.ones((rows, group.mask_size), np.bool_)
    size = policy.state_sizes.get(module)
    state = None if size is None else rng.standard_normal((rows, size)).astype(np.float32)
    found = policy.infer(module, seen, masks, state=state, alive=alive)
    return GoldenEntry(
        observations=seen.tolist(),
        action_mask=masks.tolist(),
        action_dist_inputs=found.dist_inputs.tolist(),
        values=None if found.values is None else found.values.tolist(),
        state=None if state is None else state.tolist(),
        next_state=None if found.state is None else found.state.tolist(),
        alive=None if alive is None else alive.tolist(),
    )


def write_bundle(
    path: Path, sketches: Mapping[str, Sketch] | None = None, *, seed: int = 0, name: str = "small"
) -> Path:
    """Writes a bundle of small networks with random weights.

    Args:
        path: The bundle's folder.
        sketches: The groups; by default `{"traders": Sketch()}`, one shared module.
        seed: Seed of the weights: other seeds act otherwise.
        name: Name of the policy.
    """
    sketches = sketches or {"traders": Sketch()}
    graph = small_graph(sketches, seed)
    manifest = Manifest(
        name=name,
        created="2026-01-01T00:00:00+00:00",
        domain="cue",
        env_config={},
        groups={group: GroupEntry.of(sketch.group(group), sketch.by_agent()) for group, sketch in sketches.items()},
        golden={},
        recurrent={m: sketch.state_size for sketch in sketches.values() if sketch.state_size for m in sketch.modules},
        whole_worlds=tuple(m for sketch in sketches.values() if sketch.whole_worlds for m in sketch.modules),
        metrics={"score": 0.5},
    )
    policy = BundlePolicy(manifest, graph)
    golden = {module: golden_of(policy, module) for module in policy.modules}
    save_bundle(path, graph, manifest.model_copy(update={"golden": golden}))
    return path


def served_version(path: Path, name: str = "small", version: str = "1", aliases: Sequence[str] = ()) -> ServedVersion:
    """A bundle as the service holds it."""
    return ServedVersion(name, version, load_bundle(path, verify=True), tuple(aliases))


def served_model(*versions: ServedVersion) -> ServedModel:
    """A model that serves the first of its versions."""
    first = versions[0]
    aliases = {alias: each.version for each in versions for alias in each.aliases}
    return ServedModel(first.name, first.version, "champion", {each.version: each for each in versions}, aliases)


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """`write_bundle`, for tests to make bundles with."""
    return write_bundle


@pytest.fixture(scope="session")
def small_version(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    """One shared module, continuous, with a critic; agents ann and bob; 11 features."""
    return served_version(write_bundle(tmp_path_factory.mktemp("small") / "bundle"))


@pytest.fixture(scope="session")
def team_version(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    """Three modules; see `TEAM`."""
    return served_version(write_bundle(tmp_path_factory.mktemp("team") / "bundle", TEAM), "team")


@pytest.fixture(scope="session")
def recurrent_version(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    """One shared recurrent module with a state of 4."""
    sketches = {"traders": Sketch(state_size=4)}
    return served_version(write_bundle(tmp_path_factory.mktemp("recurrent") / "bundle", sketches), "recurrent")


@pytest.fixture(scope="session")
def as_version() -> Callable[..., ServedVersion]:
    """`served_version`, for tests to load bundles with."""
    return served_version


@pytest.fixture(scope="session")
def as_model() -> Callable[..., ServedModel]:
    """`served_model`, for tests to make models with."""
    return served_model


@pytest.fixture(scope="session")
def sketch() -> type[Sketch]:
    """`Sketch`, to describe bundles with."""
    return Sketch


@pytest.fixture(scope="session")
def local_service(
    small_version: ServedVersion, team_version: ServedVersion, recurrent_version: ServedVersion
) -> PolicyService:
    """A service in this process, open to all, with the models small, team and recurrent."""
    models = [served_model(version) for version in (small_version, team_version, recurrent_version)]
    return PolicyService(ServeSettings(), Models({model.name: model for model in models}))


@pytest.fixture(scope="session")
def local_app(local_service: PolicyService) -> Any:
    """The service as an ASGI app, front door included."""
    return make_app(local_service, make_api(local_service))


@pytest.fixture(scope="session")
def local_url(local_app: Any, listening: Callable[[Any], AbstractContextManager[str]]) -> Iterator[str]:
    """`host:port` of the app behind a real socket."""
    with listening(local_app) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="session")
def http(local_url: str) -> Iterator[httpx.Client]:
    """An HTTP client of the app."""
    with httpx.Client(base_url=f"http://{local_url}", timeout=30) as client:
        yield client


@pytest.fixture
def serving(
    listening: Callable[[Any], AbstractContextManager[str]],
) -> Iterator[Callable[[ServedVersion], httpx.Client]]:
    """Serves a version until the test ends, under its own name; gives a client."""
    with ExitStack() as stack:

        def serve(version: ServedVersion) -> httpx.Client:
            service = PolicyService(ServeSettings(), Models({version.name: served_model(version)}))
            stack.callback(service.close)
            url = stack.enter_context(listening(make_app(service, make_api(service))))
            return stack.enter_context(httpx.Client(base_url=url, timeout=30))

        yield serve


# -- S2: end ---------------------------------------------------------------------------------------------------------


# -- S3: services that listen -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def listening() -> Callable[[Any], AbstractContextManager[str]]:
    """Lets an ASGI app, such as `make_app` makes, listen on a free port as long as a `with` lasts; gives its URL."""

    @contextmanager
    def listen(app: Any) -> Iterator[str]:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(20)

    return listen


# -- S3: end ---------------------------------------------------------------------------------------------------------


# -- S1: the whole service, on Ray with HAProxy ------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A service that runs.

    Attributes:
        url: Where it answers.
        key: A key to everything.
        registry: Its registry, in which `small` has versions 1 to 5; 1 is the champion.
        process: The process of `entrepot serve`.
        log_dir: Folder of its access log.
        port: Its port.
    """

    url: str
    key: str
    registry: ModelRegistry
    process: psutil.Process
    log_dir: Path
    port: int

    def replicas(self) -> list[psutil.Process]:
        """Processes of its replicas."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ServeReplica:entrepot:PolicyServer" in " ".join(process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="session")
def small_registry(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> ModelRegistry:
    """A registry with five versions of `small`, which act differently; the first is the champion."""
    folder = tmp_path_factory.mktemp("registry")
    registry = ModelRegistry(new_database(folder), folder / "artifacts")
    for seed in range(5):
        bundle = write_bundle(folder / f"bundle-{seed}", seed=seed)
        registry.register(bundle, "small", Score(1.0 - seed / 10, 0.0, 1.0, "exam"))
    return registry


@pytest.fixture(scope="module")
def service(
    small_registry: ModelRegistry,
    tmp_path_factory: pytest.TempPathFactory,
    one_at_a_time: FileLock,
    end_program: Callable[..., None],
) -> Iterator[Service]:
    """`entrepot serve` with two replicas, keys, a model of the registry (`small`) and a recurrent one (`gru`).

    It ends with the module: idle, it would still take time from the tests that follow.
    """
    folder = tmp_path_factory.mktemp("service")
    bundle = write_bundle(folder / "gru", {"traders": Sketch(state_size=4)}, name="gru")
    scopes = ("infer", "read", "metrics")
    key = KeysFile(folder / "keys.json").add("tests", scopes=scopes)
    (port,) = free_ports(1)
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "entrepot.py"), "serve", "--models", f"small@champion,{bundle}"]
    command += ["--port", str(port), "--replicas", "2"]  # the keys.json beside it is used
    command += ["--log-dir", str(folder / "logs"), "--tracking-uri", small_registry.tracking_uri]
    command += ["--set", "poll_seconds=0.2", "--set", "keep_seconds=10"]
    with ExitStack() as stack:
        with one_at_a_time:
            output = stack.enter_context((folder / "output.txt").open("w"))
            started = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(end_program, started, number=signal.SIGINT)
            end = time.monotonic() + 180
            while "Ctrl-C" not in (folder / "output.txt").read_text():
                assert started.poll() is None, (folder / "output.txt").read_text()
                assert time.monotonic() < end, "the service did not come up"
                time.sleep(0.2)
        url = f"http://127.0.0.1:{port}"
        yield Service(url, key, small_registry, psutil.Process(started.pid), folder / "logs", port)


# -- S1: end -----------------------------------------------------------------------------------------------------------
