"""Bundles: written whole or not at all, and trusted only if they are what was written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms.export import export_bundle
from algorithms.mapping import PolicyMapping
from algorithms.networks.module import module_spec
from envs.registry import get_domain
from policies.bundle import GRAPH, MANIFEST, BundleError, check_close, copy_bundle, load_bundle, save_bundle
from policies.manifest import Manifest

MODULE = "shared"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of the tiny env; tests work on copies."""
    torch.manual_seed(0)
    env = get_domain("cue").env({}, 1)
    mapping = PolicyMapping("shared", env.groups)
    modules = {name: module_spec(mapping.module_spaces(name)).build() for name in mapping.modules}
    path = tmp_path_factory.mktemp("bundles") / "sound"
    export_bundle(path, modules, mapping, name="team", domain="cue", env_config={})
    return path


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    shutil.copytree(written, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle: Path, **changes: object) -> None:
    """Changes fields of the manifest and signs it anew, as a careless tool would."""
    plain = json.loads((bundle / MANIFEST).read_text()) | changes
    manifest = Manifest.model_validate(plain)
    (bundle / MANIFEST).write_text(manifest.model_copy(update={"sha256": manifest.digest()}).model_dump_json())


def observations(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 7)).astype(np.float32)


def test_sound_bundle_loads_and_verifies(bundle: Path) -> None:
    """What was written is loaded, with its name and groups, and reproduces its golden observations."""
    policy = load_bundle(bundle, verify=True)
    assert policy.name == "team"
    assert list(policy.modules) == [MODULE]
    assert policy.groups["repeaters"].agent_ids == ("repeater_0", "repeater_1")


@pytest.mark.parametrize("file", [GRAPH, MANIFEST])
def test_changed_file_is_refused(bundle: Path, file: str) -> None:
    """One changed byte in any file is noticed, and the message names the file, what was found and what is expected."""
    content = (bundle / file).read_bytes()
    spoiled = content.replace(b'"team"', b'"tram"') if file == MANIFEST else content[:-1] + bytes([content[-1] ^ 1])
    (bundle / file).write_bytes(spoiled)
    with pytest.raises(BundleError, match=rf"{file} has sha256 [0-9a-f]{{64}}, expected [0-9a-f]{{64}}$"):
        load_bundle(bundle)


@pytest.mark.parametrize("file", [GRAPH, MANIFEST])
def test_missing_file_is_named(bundle: Path, file: str) -> None:
    """A file that is not there is named in one line."""
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=f"cannot read .*{file}") as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"format_version": 2}', "[]"])
def test_malformed_manifest_is_refused(bundle: Path, text: str) -> None:
    """Empty, torn, or foreign manifests raise one line that names the file."""
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="is malformed at") as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_graph_that_is_none_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Bytes that are no ONNX graph are refused in one line, even with the right hash."""
    save_bundle(tmp_path / "other", b"not a graph", load_bundle(bundle).manifest)
    with pytest.raises(BundleError, match=r"policy.onnx is not a graph that runs") as caught:
        load_bundle(tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_golden_observations_catch_another_graph(bundle: Path) -> None:
    """If outputs are not what they were at export, verification says which one, what was found and expected."""
    golden = json.loads((bundle / MANIFEST).read_text())["golden"]
    golden[MODULE]["action_dist_inputs"][3][1] += 0.01
    edit(bundle, golden=golden)
    policy = load_bundle(bundle)
    with pytest.raises(BundleError, match=rf"golden {MODULE}.action_dist_inputs\[3, 1\]: found .*, expected "):
        policy.verify()
    with pytest.raises(BundleError):
        load_bundle(bundle, verify=True)


def test_manifest_cannot_point_outside(bundle: Path) -> None:
    """A manifest that names a file outside its folder is refused."""
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    edit(bundle, files=files | {"../secret": files[GRAPH]})
    with pytest.raises(BundleError, match="without folders"):
        load_bundle(bundle)


def test_graph_and_manifest_must_fit(bundle: Path) -> None:
    """A manifest whose modules the graph does not have is refused."""
    plain = json.loads((bundle / MANIFEST).read_text())
    plain["groups"]["repeaters"]["modules"] = ["other", "other"]
    edit(bundle, groups=plain["groups"])
    with pytest.raises(BundleError, match=r"other\.action_dist_inputs"):
        load_bundle(bundle)


def test_full_disk_leaves_nothing_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fills up while writing, one line says so; a new path stays empty, an older bundle stays whole."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    policy = load_bundle(bundle)
    graph = (bundle / GRAPH).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    for target in (tmp_path / "new" / "bundle", bundle):
        with pytest.raises(BundleError, match=r"cannot write .*No space left on device"):
            save_bundle(target, graph, policy.manifest.model_copy(update={"name": "newer"}))
    assert list((tmp_path / "new").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "new"]
    assert load_bundle(bundle, verify=True).name == "team"


def test_unwritable_folder_is_one_line(bundle: Path, tmp_path: Path) -> None:
    """A path below a file cannot be written, and the message says why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write") as caught:
        copy_bundle(bundle, tmp_path / "file" / "bundle")
    assert "\n" not in str(caught.value)


def test_failed_move_brings_the_older_bundle_back(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new folder cannot be moved into place, the older bundle is put back."""
    replace = Path.replace

    def refuse(source: Path, target: Path) -> Path:
        if target == bundle and not source.name.endswith(".former"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(BundleError, match="cannot write"):
        save_bundle(bundle, (bundle / GRAPH).read_bytes(), load_bundle(bundle).manifest)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    load_bundle(bundle, verify=True)


def test_older_bundle_is_replaced_and_other_folders_are_not(bundle: Path, tmp_path: Path) -> None:
    """Saving over a bundle replaces it; saving over anything else is refused and leaves it alone."""
    policy = load_bundle(bundle)
    graph = (bundle / GRAPH).read_bytes()
    save_bundle(bundle, graph, policy.manifest.model_copy(update={"name": "newer"}))
    assert load_bundle(bundle, verify=True).name == "newer"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("…")
    with pytest.raises(BundleError, match="is not a bundle"):
        save_bundle(precious, graph, policy.manifest)
    assert [p.name for p in precious.iterdir()] == ["thesis.tex"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "precious"]


def test_copy_is_checked(bundle: Path, tmp_path: Path) -> None:
    """A copy is the same bundle; an unsound one is not copied."""
    copy = copy_bundle(bundle, tmp_path / "copy")
    assert load_bundle(copy).manifest == load_bundle(bundle).manifest
    (bundle / GRAPH).write_bytes(b"")
    with pytest.raises(BundleError, match="sha256"):
        copy_bundle(bundle, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_sampling_is_seeded_and_honours_masks(bundle: Path) -> None:
    """The same seed draws the same actions; masked dimensions are 0; the log-probability is that of the draw."""
    policy = load_bundle(bundle)
    seen = observations(50)
    mask = np.tile([True, False, True], (50, 1))
    drawn = [
        policy.infer(MODULE, seen, mask, deterministic=False, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0].actions, drawn[1].actions)
    assert (drawn[0].actions != drawn[2].actions).any()
    assert (drawn[0].actions[:, 1] == 0).all()
    assert (np.abs(drawn[0].actions) <= 1).all()
    greedy = policy.infer(MODULE, seen, mask)
    assert (greedy.log_probs >= drawn[0].log_probs).all()
    assert greedy.values is not None
    assert greedy.values.shape == (50,)


def test_wrong_questions_are_refused(bundle: Path) -> None:
    """An unknown module, a wrong shape, and sampling without a generator are named with what is allowed."""
    policy = load_bundle(bundle)
    with pytest.raises(ValueError, match="module: got 'x', allowed are shared"):
        policy.infer("x", observations(1))
    with pytest.raises(ValueError, match=r"observations: got shape \(7,\), allowed is \[N, 7\]"):
        policy.infer(MODULE, observations(1)[0])
    with pytest.raises(ValueError, match=r"action_mask: got shape \(2, 3\), allowed is \(1, 3\)"):
        policy.infer(MODULE, observations(1), np.ones((2, 3), np.bool_))
    with pytest.raises(ValueError, match="rng"):
        policy.infer(MODULE, observations(1), deterministic=False)


def test_threads_do_not_disturb_each_other(bundle: Path) -> None:
    """Many calls at once answer what one call answers."""
    policy = load_bundle(bundle)
    batches = [observations(count + 1) for count in range(40)]
    expected = [policy.infer(MODULE, batch).dist_inputs for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: policy.infer(MODULE, batch).dist_inputs, batches))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_closeness_notices_nan_and_shape() -> None:
    """NaN is never close, nor is another shape; no rows at all are."""
    with pytest.raises(BundleError, match=r"x\[1\]: found nan, expected 2"):
        check_close("x", np.float32([1, 2]), np.float32([1, np.nan]))
    with pytest.raises(BundleError, match="shape"):
        check_close("x", np.float32([1, 2]), np.float32([1]))
    check_close("x", np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
