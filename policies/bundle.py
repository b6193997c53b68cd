"""A trained policy as a folder that needs no training code: one ONNX graph and a manifest. Never a pickle.

policy.onnx      all modules, normalisers inside; for each module `m` the inputs `m.observations` [N, D] and
                 `m.action_mask` [N, M], the outputs `m.action_dist_inputs` [N, P] and, unless the critic was
                 central, `m.values` [N]; of recurrent modules also the input `m.state` [N, H], zeros at an episode's
                 start, and the output `m.next_state` [N, H]
manifest.json    what it is for, who plays with which module, spaces, hashes, figures, and golden observations with
                 the outputs they must give
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx.utils
import onnxruntime
from numpy.typing import NDArray
from pydantic import ValidationError

from envs.base import BoolArray, FloatArray
from policies.decoding import env_actions, greedy, log_prob, sample
from policies.manifest import FileEntry, Manifest
from policies.network import NetworkPolicy, Rows

GRAPH = "policy.onnx"
MANIFEST = "manifest.json"
TOLERANCE = 1e-5
"""Golden outputs are reproduced within this, absolutely and relatively."""


class BundleError(ValueError):
    """A bundle cannot be read, trusted or written; the message is one line."""


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


class _Outputs(NamedTuple):
    """What the graph says of a module's rows."""

    dist_inputs: FloatArray
    values: FloatArray | None
    state: FloatArray | None


class _Part(NamedTuple):
    """A module's part of the graph; `outputs` names what it gives, and `fields` where that goes in `_Outputs`."""

    session: onnxruntime.InferenceSession
    outputs: list[str]
    fields: list[str]


_FIELDS = {"action_dist_inputs": "dist_inputs", "values": "values", "next_state": "state"}
"""Outputs of the graph, in the order they are asked for, and where they go in `_Outputs`."""


class BundlePolicy(NetworkPolicy):
    """A loaded bundle. It may be called from several threads at once.

    Args:
        manifest: What it is.
        graph: The ONNX graph.
        threads: Threads a call may use.
    """

    def __init__(self, manifest: Manifest, graph: bytes, *, threads: int = 1) -> None:
        groups = {name: entry.group(name) for name, entry in manifest.groups.items()}
        super().__init__(groups, manifest.parts(), manifest.recurrent)
        self.manifest = manifest
        self.name = manifest.name
        self._parts = _load_parts(graph, list(self.modules), self.state_sizes, threads)

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
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
    ) -> Inference:
        """Answers rows of observations of one module.

        Args:
            module: Id of the module.
            observations: Float32 `[N, D]`.
            action_mask: Bool `[N, M]`, true where allowed; everything is, if None.
            state: Recurrent state, float32 `[N, H]`, where the module has one; that of an episode's start, if None.
            deterministic: Take the most likely actions instead of sampling.
            rng: Source of randomness; needed to sample.

        Raises:
            ValueError: If the module is unknown, an array has the wrong shape, or there is nothing to sample with.
        """
        rows = self._checked(module, observations, action_mask, state)
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

    def verify(self) -> None:
        """Plays the golden observations.

        Raises:
            BundleError: If an output is off by more than `TOLERANCE`; names the module, expected and found.
        """
        for module, golden in self.manifest.golden.items():
            rows = Rows(
                np.array(golden.observations, np.float32),
                np.array(golden.action_mask, np.bool_),
                None if golden.state is None else np.array(golden.state, np.float32),
            )
            found = self._run(module, rows)
            for name, wanted, got in (
                ("action_dist_inputs", golden.action_dist_inputs, found.dist_inputs),
                ("values", golden.values, found.values),
                ("next_state", golden.next_state, found.state),
            ):
                if wanted is not None and got is not None:
                    check_close(f"bundle: golden {module}.{name}", np.array(wanted, np.float32), got)

    def _run(self, module: str, rows: Rows) -> _Outputs:
        """What the module's part of the graph makes of rows."""
        part = self._parts[module]
        feeds = {f"{module}.observations": rows.observations, f"{module}.action_mask": rows.masks}
        size = self.state_sizes.get(module)
        if size is not None:
            state = rows.state
            feeds[f"{module}.state"] = np.zeros((len(rows.observations), size), np.float32) if state is None else state
        found = dict(zip(part.fields, part.session.run(part.outputs, feeds), strict=True))
        return _Outputs(found["dist_inputs"], found.get("values"), found.get("state"))

    def _checked(
        self, module: str, observations: FloatArray, action_mask: BoolArray | None, state: FloatArray | None
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
        return Rows(observations, masks, state)


def save_bundle(path: str | Path, graph: bytes, manifest: Manifest) -> Manifest:
    """Writes a bundle aside, then moves it into place; an older bundle there is replaced.

    Args:
        path: The bundle's folder.
        graph: The ONNX graph.
        manifest: What it is; hashes are filled in.

    Returns:
        The manifest as written.

    Raises:
        BundleError: If the folder cannot be written, or holds something that is not a bundle. Nothing half-written
            is left behind, and an older bundle stays as it was.
    """
    entry = FileEntry(sha256=hashlib.sha256(graph).hexdigest(), size=len(graph))
    manifest = manifest.model_copy(update={"files": {GRAPH: entry}})
    manifest = manifest.model_copy(update={"sha256": manifest.digest()})
    text = json.dumps(manifest.model_dump(mode="json"), allow_nan=False)
    _install(Path(path), {GRAPH: graph, MANIFEST: text.encode()})
    return manifest


def copy_bundle(source: str | Path, target: str | Path) -> Path:
    """Copies a sound bundle, as `save_bundle` writes one.

    Returns:
        The folder of the copy, absolute.

    Raises:
        BundleError: If the bundle is not sound, or cannot be written.
    """
    _, contents = _contents(Path(source))
    return _install(Path(target), contents)


def load_bundle(path: str | Path, *, verify: bool = False, threads: int = 1) -> BundlePolicy:
    """Loads a bundle and checks that it is what was written.

    Args:
        path: The bundle's folder.
        verify: Also play the golden observations.
        threads: Threads a call may use.

    Raises:
        BundleError: If a file is missing, malformed, or not the one the manifest names.
    """
    path = Path(path)
    manifest, contents = _contents(path)
    try:
        policy = BundlePolicy(manifest, contents[GRAPH], threads=threads)
    except BundleError:
        raise
    except Exception as error:  # onnxruntime raises several types of its own
        raise BundleError(f"bundle: {path / GRAPH} is not a graph that runs ({_one_line(error)})") from error
    if verify:
        policy.verify()
    return policy


def load_manifest(path: str | Path) -> Manifest:
    """Reads a bundle's manifest and checks its own hash.

    Raises:
        BundleError: If it is missing, malformed, of an unknown format, or changed.
    """
    file = Path(path) / MANIFEST
    try:
        manifest = Manifest.model_validate_json(_read(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "JSON"
        raise BundleError(f"bundle: {file} is malformed at {where} ({_one_line(first['msg'])})") from error
    if manifest.sha256 != (found := manifest.digest()):
        raise BundleError(f"bundle: {file} has sha256 {found}, expected {manifest.sha256}")
    if unsafe := [name for name in manifest.files if Path(name).name != name]:
        raise BundleError(f"bundle: {file} names the file {unsafe[0]!r}, allowed are names without folders")
    return manifest


def check_close(what: str, wanted: FloatArray, found: FloatArray) -> None:
    """Raises BundleError, naming the value that is furthest off, unless all are within `TOLERANCE`."""
    if wanted.shape != found.shape:
        raise BundleError(f"{what}: found shape {found.shape}, expected {wanted.shape}")
    off = np.abs(found - wanted) - TOLERANCE * np.abs(wanted)
    if wanted.size and not off.max() <= TOLERANCE:  # written so that NaN, which compares false, fails
        worst = np.unravel_index(int(np.argmax(np.nan_to_num(off, nan=np.inf))), off.shape)
        place = [int(index) for index in worst]
        raise BundleError(f"{what}{place}: found {found[worst]:.8g}, expected {wanted[worst]:.8g}")


def _load_parts(graph: bytes, modules: list[str], state_sizes: Mapping[str, int], threads: int) -> dict[str, _Part]:
    """One session a module: asked about one of a hundred, the runtime would go through the whole graph.

    Raises:
        BundleError: If the graph lacks a module's policy or its recurrent state.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors come back as exceptions; ours are one line
    model = onnx.load_model_from_string(graph)
    names = {output.name for output in model.graph.output}
    extractor = onnx.utils.Extractor(model)
    parts = {}
    for module in modules:
        needed = ["action_dist_inputs"] + ["next_state"] * (module in state_sizes)
        if missing := [name for name in needed if f"{module}.{name}" not in names]:
            raise BundleError(f"bundle: {GRAPH} lacks the output '{module}.{missing[0]}', which {MANIFEST} needs")
        found = [name for name in _FIELDS if f"{module}.{name}" in names]
        outputs = [f"{module}.{name}" for name in found]
        part = graph
        if len(modules) > 1:
            inputs = ["observations", "action_mask"] + ["state"] * (module in state_sizes)
            part = extractor.extract_model([f"{module}.{name}" for name in inputs], outputs).SerializeToString()
        session = onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])
        parts[module] = _Part(session, outputs, [_FIELDS[name] for name in found])
    return parts


def _contents(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """A bundle's manifest and all its files, by name, if they are what was written."""
    manifest = load_manifest(path)
    contents = {MANIFEST: _read(path / MANIFEST)}
    for name, entry in manifest.files.items():
        contents[name] = _read(path / name)
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != entry.sha256:
            raise BundleError(f"bundle: {path / name} has sha256 {found}, expected {entry.sha256}")
    if GRAPH not in contents:
        raise BundleError(f"bundle: {path / MANIFEST} names no {GRAPH}")
    return manifest, contents


def _install(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Writes files aside and moves their folder into place, where an older bundle may be."""
    path = path.absolute()
    aside: Path | None = None
    try:
        if path.exists() and not (path / MANIFEST).is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise BundleError(f"bundle: {path} exists and is not a bundle, allowed is a new path or an older bundle")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        aside.chmod(0o755)  # mkdtemp's folders are private; a bundle is read by others
        for name, content in contents.items():
            _write(aside / name, content)
        _move(aside, path)
    except OSError as error:
        raise BundleError(f"bundle: cannot write {path} ({error.strerror or error})") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    return path


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"bundle: cannot read {file} ({error.strerror or error})") from error


def _write(file: Path, content: bytes) -> None:
    """Writes a file through to the disk, so that a full one is noticed before the bundle is moved into place."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _move(source: Path, target: Path) -> None:
    """Puts a folder in the place of another, which comes back if that fails."""
    if not target.exists():
        source.replace(target)
        return
    former = source.with_name(source.name + ".former")
    target.replace(former)
    try:
        source.replace(target)
    except OSError:
        former.replace(target)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
