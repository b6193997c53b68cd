"""Tries a bundle in a process of its own, with limits: what hangs, or takes all memory, takes only that process along.

There the bundle is loaded, its golden observations are played, and each module plays as many rows as a request may
bring. What is returned are the very bytes that were tried. As the cost of a checked graph (`policies.graph`) depends on
the number of rows alone, what passed may be loaded into a process that must live.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies import limits
from policies.bundle import BundlePolicy, load_bundle
from policies.decoding import inputs_size
from policies.folder import LARGEST, BundleError, one_line, read

_ROOT = Path(__file__).parents[1]
_REMEMBERED = 1_000
_passed: dict[tuple[str, ...], dict[str, str]] = {}
"""What is known of bundles that passed in the life of this process, by the hashes of their files; the oldest first."""


@dataclass(frozen=True)
class Tried:
    """A sound bundle.

    Attributes:
        name: Name of the policy.
        domain: The domain it plays.
        sha256: The manifest's hash.
        files: All its files by name: the bytes that were tried.
    """

    name: str
    domain: str
    sha256: str
    files: Mapping[str, bytes]


def tried(path: str | Path) -> Tried:
    """Reads a bundle and tries it, if the same bytes have not passed before.

    Args:
        path: The bundle's folder.

    Raises:
        BundleError: If it is not sound, takes too long or too much memory, or changes under way.
    """
    path = Path(path).absolute()
    files = {name: read(path, name) for name in LARGEST}
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in files.values())
    known = _passed.get(hashes)
    if known is None:
        found = _run(path, sum(map(len, files.values())))
        if found.pop("hashes").split() != list(hashes):
            raise BundleError(f"bundle: {path} changed while it was tried, allowed is one that stays as it is")
        if len(_passed) >= _REMEMBERED:
            _passed.pop(next(iter(_passed)), None)
        known = _passed[hashes] = found
    return Tried(files=files, **known)


def _run(path: Path, size: int) -> dict[str, str]:
    """What the process that tries a bundle says of it.

    Args:
        path: The bundle's folder.
        size: Size of its files [bytes].
    """
    memory = limits.TRIAL_BYTES + limits.TRIAL_BYTES_PER_BYTE * size
    here = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "policies.trial", str(path), str(memory), str(limits.TRIAL_CPU_SECONDS)]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
            timeout=limits.TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(
            f"bundle: {path} took longer than {limits.TRIAL_SECONDS:g} s to be tried, allowed is less"
        ) from None
    if ended.returncode == -signal.SIGXCPU:
        raise BundleError(
            f"bundle: {path} takes more than {limits.TRIAL_CPU_SECONDS} s of a processor to be tried, allowed is less"
        )
    try:
        found: dict[str, str] = json.loads(ended.stdout)
    except ValueError:
        raise BundleError(
            f"bundle: {path} ended the process that tried it (exit status {ended.returncode}), allowed is one that runs"
        ) from None
    if "memory" in found:
        raise BundleError(f"bundle: {path} takes too much memory with many rows, allowed are {memory} bytes")
    if "error" in found:
        raise BundleError(found["error"])
    return found


def _main(path: str, memory: str, seconds: str) -> None:
    """Tries a bundle here, under limits, and prints what came of it as JSON."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    for kind, most in (
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_CPU, spent + int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        softer = most - 1 if kind == resource.RLIMIT_CPU else most  # its signal says why; the hard one only kills
        resource.setrlimit(kind, (softer, most))
    try:
        policy = load_bundle(path, verify=True)
        _strain(policy)
        manifest = policy.manifest
        hashes = [hashlib.sha256(read(Path(path), name)).hexdigest() for name in LARGEST]
        found = {"name": manifest.name, "domain": manifest.domain, "sha256": manifest.sha256}
        found["hashes"] = " ".join(hashes)
    except Exception as error:
        if isinstance(error, MemoryError) or any(word in str(error) for word in ("bfc_arena", "bad_alloc")):
            found = {"memory": "too much"}
        else:
            found = {"error": str(error) if isinstance(error, BundleError) else f"bundle: {path}: {one_line(error)}"}
    print(json.dumps(found))


def _strain(policy: BundlePolicy) -> None:
    """Has each module play as many rows as a request may bring: its golden ones, again and again.

    Raises:
        BundleError: If what it gives has not as many rows.
    """
    share = min(1.0, limits.TRIED_MODULES / len(policy.modules))
    for module in policy.modules:
        group, size = policy.spaces_of(module), policy.state_sizes.get(module, 0)
        golden, _ = policy.golden(module)
        agents = policy.team_sizes.get(module, 1)
        widest = max(group.layout.size, group.mask_size, inputs_size(group.action_space), size)
        rows = agents * max(1, int(share * min(limits.TRIED_ROWS, limits.TRIED_VALUES // widest) / agents))
        each = np.arange(rows) % len(golden.observations)
        state = None if golden.state is None else golden.state[each]
        alive = None if golden.alive is None else golden.alive[each]
        found = policy.infer(module, golden.observations[each], golden.masks[each], state=state, alive=alive)
        for name, given in (
            ("values", found.values),
            ("action_dist_inputs", found.dist_inputs),
            ("state", found.state),
        ):
            if given is not None and len(given) != rows:
                raise BundleError(f"bundle: {module}.{name} of {rows} rows has {len(given)}, allowed are as many")


if __name__ == "__main__":
    _main(*sys.argv[1:])
