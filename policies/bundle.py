"""A trained policy as a folder that needs no training code: one ONNX graph and a manifest. Never a pickle.

policy.onnx      all modules, normalisers inside; for each module `m` the inputs `m.observations` [N, D] and
                 `m.action_mask` [N, M], the outputs `m.action_dist_inputs` [N, P] and, unless the critic was
                 central, `m.values` [N]; of recurrent modules also the input `m.state` [N, H], zeros at an episode's
                 start, and the output `m.next_state` [N, H]. Modules whose agents need each other have whole worlds in
                 the place of rows, [W, A, …] for [N, …], and the input `m.alive` [W, A]
manifest.json    what it is for, who plays with which module, spaces, hashes, figures, and golden observations with
                 the outputs they must give
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from envs.base import BoolArray, FloatArray
from policies import limits
from policies.decoding import env_actions, greedy, log_prob, sample
from policies.folder import GRAPH, MANIFEST, BundleError, check_size, install, one_line, read
from policies.golden import check_close, golden_of
from policies.graph import OUTPUTS, load_parts
from policies.manifest import FileEntry, Manifest
from policies.network import NetworkPolicy, Rows

__all__ = [
    "GRAPH",
    "MANIFEST",
    "BundleError",
    "BundlePolicy",
    "Inference",
    "check_close",
    "copy_bundle",
    "load_bundle",
    "load_manifest",
    "save_bundle",
]


@dataclass(frozen=True)
class Inference:
    """What a policy answers to rows of observations.

    Attributes:
        actions: As the env takes them, float32 or int64 `[N, K]`.
        log_probs: Logarithm of the density, or probability, of the actions before clipping, `[N]`.
        values: The critic's values `[N]`, where the bundle has them.
        dist_inputs: Inputs of the action distribution, `[N, P]`.
        state: The next recurrent state `[N, H]`, where the module has one.
    """

    actions: NDArray[Any]
    log_probs: FloatArray
    values: FloatArray | None
    dist_inputs: FloatArray
    state: FloatArray | None = None

    def of(self, rows: BoolArray) -> Inference:
        """What is answered to some of the rows."""
        arrays = [getattr(self, field.name) for field in fields(self)]
        chosen: Any = [None if array is None else array[rows] for array in arrays]
        return Inference(*chosen)


class _Outputs(NamedTuple):
    """What the graph says of a module's rows."""

    dist_inputs: FloatArray
    values: FloatArray | None
    state: FloatArray | None


class BundlePolicy(NetworkPolicy):
    """A loaded bundle. It may be called from several threads at once.

    Args:
        manifest: What it is.
        graph: The ONNX graph.
        threads: Threads a call may use.

    Raises:
        BundleError: If the graph has something in it that may not be, or does not fit the manifest.
    """

    def __init__(self, manifest: Manifest, graph: bytes, *, threads: int = 1) -> None:
        groups = {name: entry.group(name) for name, entry in manifest.groups.items()}
        super().__init__(groups, manifest.parts(), manifest.recurrent, manifest.whole_worlds)
        self.manifest = manifest
        self.name = manifest.name
        spaces = {module: self.spaces_of(module) for module in self.modules}
        self._parts = load_parts(graph, spaces, self.state_sizes, threads, self.team_sizes)

    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Runs each module's part of the graph."""
        return {module: self._run(module, given).dist_inputs for module, given in rows.items()}

    def advance(self, rows: Mapping[str, Rows]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Runs each module's part of the graph, and keeps the states that recurrent ones return."""
        outputs = {module: self._run(module, given) for module, given in rows.items()}
        states = {module: output.state for module, output in outputs.items() if output.state is not None}
        return {module: output.dist_inputs for module, output in outputs.items()}, states

    def infer(
        self,
        module: str,
        observations: FloatArray,
        action_mask: BoolArray | None = None,
        *,
        state: FloatArray | None = None,
        alive: BoolArray | None = None,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
    ) -> Inference:
        """Answers rows of observations of one module.

        Args:
            module: Id of the module.
            observations: Float32 `[N, D]`.
            action_mask: Bool `[N, M]`, true where allowed; everything is, if None.
            state: Recurrent state, float32 `[N, H]`, where the module has one; that of an episode's start, if None.
            alive: Who is there, bool `[N]`, where the module reads whole worlds: then rows come world by world, each
                with all agents in the order of `agents_of`.
            deterministic: Take the most likely actions instead of sampling.
            rng: Source of randomness; needed to sample.

        Raises:
            ValueError: If the module is unknown, an array has the wrong shape, or there is nothing to sample with.
        """
        rows = self._checked(module, observations, action_mask, state, alive)
        dist_inputs, values, state = self._run(module, rows)
        space = self.spaces_of(module).action_space
        if deterministic:
            raw = greedy(dist_inputs, space)
        elif rng is None:
            raise ValueError("rng: got None, allowed for sampling is a numpy.random.Generator")
        else:
            raw = sample(dist_inputs, space, rng)
        actions = env_actions(raw, space, rows.masks)
        return Inference(actions, log_prob(dist_inputs, raw, space), values, dist_inputs, state)

    def has_values(self, module: str) -> bool:
        """Whether the bundle holds the critic of a module."""
        return "values" in self._parts[module].fields

    def golden(self, module: str) -> tuple[Rows, dict[str, FloatArray]]:
        """A module's golden observations, and the outputs that they must give; see `policies.golden.golden_of`."""
        has_values, team_size = self.has_values(module), self.team_sizes.get(module)
        return golden_of(self.manifest, module, self.spaces_of(module), has_values=has_values, team_size=team_size)

    def verify(self) -> None:
        """Plays the golden observations of every module, all together and the first one, or the first world, alone.

        Raises:
            BundleError: If a module has none or they have another shape, or an output is off by more than
                `policies.golden.TOLERANCE`; names the module, expected and found.
        """
        for module in self.modules:
            rows, wanted = self.golden(module)
            first = rows.first(self.team_sizes.get(module, 1))
            for given, what in ((rows, ""), (first, " alone")):
                found = self._run(module, given)
                for name, output in wanted.items():
                    expected = output[: len(given.observations)]
                    check_close(f"bundle: golden {module}.{name}{what}", expected, getattr(found, OUTPUTS[name]))

    def _run(self, module: str, rows: Rows) -> _Outputs:
        """What the module's part of the graph makes of rows."""
        part = self._parts[module]
        feeds: dict[str, NDArray[Any]] = {
            f"{module}.observations": rows.observations,
            f"{module}.action_mask": rows.masks,
        }
        size = self.state_sizes.get(module)
        if size is not None:
            state = rows.state
            feeds[f"{module}.state"] = np.zeros((len(rows.observations), size), np.float32) if state is None else state
        agents = self.team_sizes.get(module)
        if agents is None:
            outputs = part.session.run(part.outputs, feeds)
        else:
            assert rows.alive is not None
            feeds[f"{module}.alive"] = rows.alive
            worlds = {name: array.reshape(-1, agents, *array.shape[1:]) for name, array in feeds.items()}
            outputs = [array.reshape(-1, *array.shape[2:]) for array in part.session.run(part.outputs, worlds)]
        found = dict(zip(part.fields, outputs, strict=True))
        return _Outputs(found["dist_inputs"], found.get("values"), found.get("state"))

    def _checked(
        self,
        module: str,
        observations: FloatArray,
        action_mask: BoolArray | None,
        state: FloatArray | None,
        alive: BoolArray | None,
    ) -> Rows:
        """One module's rows, if they have the right shapes."""
        if module not in self.modules:
            raise ValueError(f"module: got {module!r}, allowed are {', '.join(self.modules)}")
        group = self.spaces_of(module)
        observations = np.asarray(observations, np.float32)
        if observations.ndim != 2 or observations.shape[1] != group.layout.size:
            raise ValueError(f"observations: got shape {observations.shape}, allowed is [N, {group.layout.size}]")
        shape = (len(observations), group.mask_size)
        masks = np.ones(shape, np.bool_) if action_mask is None else np.asarray(action_mask, np.bool_)
        if masks.shape != shape:
            raise ValueError(f"action_mask: got shape {masks.shape}, allowed is {shape}")
        if state is not None:
            state = np.asarray(state, np.float32)
            wanted = (len(observations), self.state_sizes[module]) if module in self.state_sizes else None
            if state.shape != wanted:
                raise ValueError(f"state: got shape {state.shape}, allowed is {wanted or 'none'}")
        agents = self.team_sizes.get(module)
        if agents is None:
            return Rows(observations, masks, state)
        if alive is None:
            raise ValueError(
                f"alive: got None, allowed for module {module!r}, which reads whole worlds of {agents} agents, is bool "
                "[N]"
            )
        alive = np.asarray(alive, np.bool_)
        if alive.shape != shape[:1] or len(alive) % agents:
            raise ValueError(
                f"alive: got shape {alive.shape} beside {len(observations)} rows, allowed is one a row, for whole "
                f"worlds of {agents} agents"
            )
        return Rows(observations, masks, state, alive)


def save_bundle(path: str | Path, graph: bytes, manifest: Manifest) -> Manifest:
    """Writes a bundle aside, then moves it into place; an older bundle there is replaced.

    Args:
        path: The bundle's folder.
        graph: The ONNX graph.
        manifest: What it is; hashes are filled in.

    Returns:
        The manifest as written.

    Raises:
        BundleError: If it is larger than a bundle may be, or the folder cannot be written, or holds something that is
            not a bundle. Nothing half-written is left behind, and an older bundle stays as it was.
    """
    entry = FileEntry(sha256=hashlib.sha256(graph).hexdigest(), size=len(graph))
    manifest = manifest.model_copy(update={"files": {GRAPH: entry}})
    manifest = manifest.model_copy(update={"sha256": manifest.digest()})
    contents = {GRAPH: graph, MANIFEST: json.dumps(manifest.model_dump(mode="json"), allow_nan=False).encode()}
    for name, content in contents.items():
        check_size(Path(path) / name, len(content))
    _check_values(Path(path) / MANIFEST, contents[MANIFEST])
    install(Path(path), contents)
    return manifest


def copy_bundle(source: str | Path, target: str | Path) -> Path:
    """Copies a sound bundle, as `save_bundle` writes one.

    Returns:
        The folder of the copy, absolute.

    Raises:
        BundleError: If the bundle is not sound, or cannot be written.
    """
    _, contents = _contents(Path(source))
    return install(Path(target), contents)


def load_bundle(path: str | Path, *, verify: bool = False, threads: int = 1) -> BundlePolicy:
    """Loads a bundle and checks that it is what was written, within `policies.limits`.

    Args:
        path: The bundle's folder.
        verify: Also play the golden observations, of which there must be some for every module.
        threads: Threads a call may use.

    Raises:
        BundleError: If a file is missing, malformed, too large, or not the one the manifest names.
    """
    path = Path(path)
    manifest, contents = _contents(path)
    try:
        policy = BundlePolicy(manifest, contents[GRAPH], threads=threads)
        if verify:
            policy.verify()
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # onnxruntime raises several types of its own
        raise BundleError(f"bundle: {path / GRAPH} is not a graph that runs ({one_line(error)})") from error
    return policy


def load_manifest(path: str | Path) -> Manifest:
    """Reads a bundle's manifest and checks its own hash.

    Raises:
        BundleError: If it is missing, malformed, too large, of an unknown format, or changed.
    """
    return _parsed(Path(path) / MANIFEST, read(Path(path), MANIFEST))


def _parsed(file: Path, content: bytes) -> Manifest:
    """What a manifest's bytes say."""
    _check_values(file, content)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key)[:60] for key in first["loc"]) or "JSON"
        raise BundleError(
            f"bundle: {file} is malformed at {where} (got {_shown(first['input'])}: {one_line(first['msg'])})"
        ) from error
    if manifest.sha256 != (found := manifest.digest()):
        raise BundleError(f"bundle: {file} has sha256 {found}, expected {manifest.sha256[:64]}")
    if others := [name for name in manifest.files if name != GRAPH]:
        raise BundleError(
            f"bundle: {file} names the file {others[0][:60]!r}, allowed are names without folders: {GRAPH} alone"
        )
    if GRAPH not in manifest.files:
        raise BundleError(f"bundle: {file} names no {GRAPH}")
    return manifest


def _check_values(file: Path, content: bytes) -> None:
    """Raises BundleError if a manifest has too many values: they take many times the bytes once they are read."""
    if (values := content.count(b",")) > limits.MANIFEST_VALUES:
        raise BundleError(f"bundle: {file} has {values} values, allowed are at most {limits.MANIFEST_VALUES}")


def _contents(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """A bundle's manifest and all its files, by name, if they are what was written."""
    contents = {MANIFEST: read(path, MANIFEST)}
    manifest = _parsed(path / MANIFEST, contents[MANIFEST])
    contents[GRAPH] = read(path, GRAPH)
    found, expected = hashlib.sha256(contents[GRAPH]).hexdigest(), manifest.files[GRAPH].sha256
    if found != expected:
        raise BundleError(f"bundle: {path / GRAPH} has sha256 {found}, expected {expected}")
    return manifest, contents


def _shown(given: object) -> str:
    """What a manifest has in the place of something else."""
    if isinstance(given, (list, tuple, dict, str)) and len(given) > 10:
        return f"{len(given)} {'characters' if isinstance(given, str) else 'entries'}"
    text = one_line(repr(given))
    return text if len(text) <= 80 else f"{text[:80]}…"
