"""The stages an experiment trains on: its curriculum, or its one task; checked against its env beforehand."""

from __future__ import annotations

import re

import numpy as np

from curriculum.config import Curriculum, Stage, load_curriculum
from envs.registry import get_domain, is_built_in, same_domain
from envs.sampling import random_actions
from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig


def load_stages(config: ExperimentConfig) -> Curriculum | None:
    """The curriculum an experiment names, None if it has none.

    Raises:
        ConfigError: If it cannot be read, is another domain's, or a stage does not fit the env.
    """
    if config.curriculum is None:
        return None
    try:
        curriculum = load_curriculum(config.curriculum)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not same_domain(curriculum.domain, config.domain):
        raise ConfigError(
            f"curriculum: got {config.curriculum!r}, which is for {curriculum.domain!r}, "
            f"allowed is one for {config.domain!r}"
        )
    curriculum = curriculum.model_copy(update={"domain": config.domain})
    check_stages(config, curriculum)
    return curriculum


def stages_of(config: ExperimentConfig) -> Curriculum:
    """What an experiment trains on, as stages: its curriculum, or one stage that is never passed.

    Raises:
        ConfigError: As `load_stages`.
    """
    curriculum = load_stages(config)
    if curriculum is None:
        task = config.typed_task()
        name = re.sub(r"[^a-z0-9_]", "_", task.name.lower())
        stage = Stage(name=name, title=task.name, task=task, promote_at=1e9)
        curriculum = Curriculum(domain=config.domain, stages=(stage,))
        check_stages(config, curriculum)
    return curriculum


def check_stages(config: ExperimentConfig, curriculum: Curriculum) -> None:
    """Raises ConfigError unless the env, as configured, holds every stage; a user's own must also take a step."""
    domain = get_domain(config.domain)
    try:
        env = domain.env(config.env_config(), 1)
        if not is_built_in(config.domain):  # better here than in a process that is started again and again
            env.step(random_actions(env.groups, env.reset(config.seed), np.random.default_rng(config.seed)))
    except (ValueError, OSError) as error:
        raise ConfigError(f"env: {one_line(error).removeprefix('env: ')}") from error
    except Exception as error:
        if is_built_in(config.domain):
            raise
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(f"env: {config.domain} cannot be made and take a step ({what})") from error
    for stage in curriculum.stages:
        try:
            env.admit(stage.task)
        except ValueError as error:
            if config.curriculum is None:
                raise ConfigError(f"task: {one_line(error)}") from error
            where = f"curriculum {config.curriculum}: stage {stage.name}"
            raise ConfigError(f"{where}: {one_line(error)}; without stages: curriculum=null") from error
