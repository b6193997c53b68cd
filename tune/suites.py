"""What an experiment's policies are examined on, during training and after it."""

from __future__ import annotations

from curriculum.config import Curriculum
from envs.registry import get_domain, same_domain
from evaluation.suite import Scenario, Suite, Validation, load_suite, suite_path
from rllib_configs.errors import ConfigError
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of

EPISODES = 256
"""Episodes of each scenario, where the suite is made up from the stages."""


def scored(config: ExperimentConfig) -> bool:
    """Whether the learner is evaluated during training."""
    return config.evaluation.interval > 0


def suite_of(config: ExperimentConfig) -> Suite:
    """The suite that an experiment names, its domain's, or one made up of held-out seeds of its stages.

    Raises:
        ConfigError: If the suite cannot be read, or is another domain's.
    """
    stages = stages_of(config)
    source = config.evaluation.suite
    if source is None and not (suite_path(config.domain).is_file() and _fits(config)):
        suite = held_out(config.domain, stages)
    else:
        try:
            suite = load_suite(source or config.domain)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    if not same_domain(suite.domain, config.domain):
        raise ConfigError(
            f"evaluation.suite: got {source!r}, which is for {suite.domain!r}, allowed is one for {config.domain!r}"
        )
    known = {stage.name for stage in stages.stages}
    validation = Validation(
        seed=suite.validation.seed,
        episodes=config.evaluation.episodes,
        stages=tuple(name for name in suite.validation.stages if name in known),
    )
    suite = suite.model_copy(update={"domain": config.domain, "validation": validation})
    return shortened(suite, config.evaluation.final_episodes)


def _fits(config: ExperimentConfig) -> bool:
    """Whether the domain's suite can be played: somebody's own network, say, without a curriculum, is not in it."""
    if config.curriculum is not None:
        return True
    env = get_domain(config.domain).env(config.env_config())
    try:
        for scenario in load_suite(config.domain).scenarios:
            for task in () if scenario.env else scenario.tasks:
                env.admit(task)
    except ValueError:
        return False
    return True


def shortened(suite: Suite, episodes: int | None) -> Suite:
    """The suite with at most so many episodes of each scenario; as it is if None."""
    if episodes is None:
        return suite
    scenarios = tuple(s.model_copy(update={"episodes": min(s.episodes, episodes)}) for s in suite.scenarios)
    return suite.model_copy(update={"scenarios": scenarios})


def held_out(domain: str, stages: Curriculum) -> Suite:
    """A suite of every stage on seeds that training never uses."""
    scenarios = tuple(
        Scenario(
            name=stage.name,
            title=f"{stage.title}, held-out seeds",
            kind="held_out",
            description=stage.description,
            stage=stage.name,
            task=stage.task,
            episodes=EPISODES,
        )
        for stage in stages.stages
    )
    return Suite(domain=domain, title=f"{domain}: held-out seeds", scenarios=scenarios)
