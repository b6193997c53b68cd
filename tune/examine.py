"""Examines a bundle, given by its folder or by its name in the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from curriculum.config import Curriculum, Stage, load_curriculum, template_path
from envs.registry import get_domain, same_domain
from evaluation.compare import compare
from evaluation.results import Comparison
from evaluation.suite import Suite, load_suite, suite_path
from policies.bundle import BundlePolicy, load_bundle
from rllib_configs.errors import ConfigError
from tune.suites import held_out, shortened
from tune.tracking_uri import absolute_uri, artifact_root


def examine(
    policy: str,
    *,
    suite: str | None = None,
    episodes: int | None = None,
    tracking_uri: str = "sqlite:///mlflow.db",
    progress: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compares a bundle with its domain's baselines.

    Args:
        policy: Folder of a bundle, or `MODEL@VERSION` or `MODEL@ALIAS`.
        suite: A suite by name or path; the domain's own if None, or held-out seeds of the bundle's task.
        episodes: Most episodes of each scenario.
        tracking_uri: Where the registry is.
        progress: Told the title of each scenario.

    Raises:
        ConfigError: If `policy` is neither, or the suite is another domain's.
        policies.bundle.BundleError: If the bundle is not what was written.
        policies.registry.RegistryError: If there is no such model or version.
    """
    if episodes is not None and episodes < 2:
        raise ConfigError(f"episodes: got {episodes}, allowed is 2 or more, or there is no interval")
    bundle = open_policy(policy, tracking_uri)
    manifest = bundle.manifest
    chosen = shortened(_suite(bundle, suite), episodes)
    if not same_domain(chosen.domain, manifest.domain):
        raise ConfigError(
            f"suite: got {suite!r}, which is for {chosen.domain!r}, allowed is one for {manifest.domain!r}"
        )
    chosen = chosen.model_copy(update={"domain": manifest.domain})
    return compare(chosen, manifest.env_config, {bundle.name: bundle}, progress=progress)


def open_policy(policy: str, tracking_uri: str) -> BundlePolicy:
    """Loads a bundle from its folder or from the registry."""
    if Path(policy).is_dir():
        return load_bundle(policy, verify=True)
    name, at, version = policy.partition("@")
    if not at:
        raise ConfigError(
            f"policy: got {policy!r}, allowed is the folder of a bundle, or MODEL@VERSION or MODEL@ALIAS, such as "
            "trading@champion"
        )
    from policies.registry import ModelRegistry

    uri = absolute_uri(tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        return load_bundle(ModelRegistry(uri, artifact_root(uri)).fetch(name, version, Path(folder) / "bundle"))


def _suite(bundle: BundlePolicy, source: str | None) -> Suite:
    domain = bundle.manifest.domain
    if source is not None or suite_path(domain).is_file():
        return load_suite(source or domain)
    if template_path(domain).is_file():
        return held_out(domain, load_curriculum(domain))
    task = get_domain(domain).task_type.model_validate(bundle.manifest.task or {})
    stage = Stage(name="task", title=task.name, task=task, promote_at=1e9)
    return held_out(domain, Curriculum(domain=domain, stages=(stage,)))
