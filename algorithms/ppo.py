"""PPO on batched worlds: RLlib's, with sampling and learning that cost little more than the networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms import ppo as rllib_ppo
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.core.learner.learner import Learner
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from algorithms.algorithm import BatchedAlgorithm
from algorithms.config import BatchedConfig, at_least, between, checked, two
from algorithms.constraints import MULTIPLIER, Constraints
from algorithms.gae import explained_variance, standardised
from algorithms.lagrangian import MultiplierSettings
from algorithms.learner import PPOLearner
from algorithms.networks.module import ActorCriticModule
from algorithms.networks.protocol import PolicyNetwork
from algorithms.on_policy import ActorCriticCollector
from algorithms.ppo_settings import PPOSettings
from algorithms.rollout import Rollout, acted, counted, joined, spread
from algorithms.trajectory import Trajectory


class PPOConfig(BatchedConfig, rllib_ppo.PPOConfig):
    """PPO's settings.

    All of RLlib's, with defaults that suit batched worlds, and those of `BatchedConfig.batched`:

        PPOConfig().environment("trading", env_config={"num_agents": 4}).batched(policies="shared").build_algo()

    Attributes:
        deviation, deviation_steps: As in `PPOSettings`.
        limits: By cost, the most that it may be in an episode, as `Final.metrics` has it: mean over agents.
        multiplier: Fields of `MultiplierSettings`.
        sequence: Steps of the sequences that networks with memory learn from; None: a whole rollout.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or PPO)
        self.lr = 3e-4
        self.gamma = 0.99
        self.lambda_ = 0.95
        self.num_epochs = 4
        self.minibatch_size = 512
        self.clip_param = 0.2
        self.vf_loss_coeff = 0.5
        self.vf_clip_param = float("inf")
        self.entropy_coeff = 0.0
        self.grad_clip = 0.5
        self.grad_clip_by = "global_norm"
        self.deviation: tuple[float, float] | None = None
        self.deviation_steps = 1_000_000
        self.sequence: int | None = None
        self.limits: dict[str, float] = {}
        self.multiplier: dict[str, Any] = dict(MULTIPLIER)

    def get_default_learner_class(self) -> type[Learner]:
        """Our learner."""
        return PPOLearner

    def collector(self, module: PolicyNetwork, trajectory: Trajectory) -> ActorCriticCollector:
        """Rows with generalised advantages."""
        assert isinstance(module, ActorCriticModule)
        return ActorCriticCollector(
            module,
            trajectory,
            gamma=self.gamma,
            lambda_=self.lambda_,
            explore=self.exploration(),
            sequence=self.sequence,
        )

    def takes_whole_worlds(self) -> bool:
        """It does: minibatches keep worlds together."""
        return True

    def takes_sequences(self) -> bool:
        """It does: minibatches are of sequences."""
        return True

    def reads_costs(self) -> tuple[str, ...]:
        """Those that have limits."""
        return tuple(self.limits)

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            at_least(1, num_epochs=self.num_epochs, minibatch_size=self.minibatch_size)
            between(0, 1, lambda_=self.lambda_)
            at_least(1, deviation_steps=self.deviation_steps)
            if self.deviation is not None:
                two("deviation", self.deviation, 1e-6, math.inf)
            if self.sequence is not None:
                at_least(1, sequence=self.sequence)
            checked(MultiplierSettings, self.multiplier, "multiplier")
            if not (self.use_critic and self.use_gae):
                raise ValueError("use_critic, use_gae: got False, allowed is True: advantages come from the critic")
        super().validate()

    def _meet_agents(self) -> None:
        """Lays down the networks; only now, with a world at hand, is it known how many rows an iteration has."""
        super()._meet_agents()
        if unknown := [name for name in self.limits if name not in self.costs]:
            known = ", ".join(self.costs) or "none: this env counts no costs"
            raise ValueError(f"limits: got {unknown[0]!r}, allowed are {known}")
        steps = self.rollout_steps()
        if self.sequence is not None and steps % self.sequence:
            raise ValueError(f"sequence: got {self.sequence}, allowed is a divisor of the {steps} steps of a rollout")
        rows = steps * self._rows_a_step()
        if self.minibatch_size > rows and not self.in_evaluation:
            raise ValueError(
                f"minibatch_size: got {self.minibatch_size}, allowed is at most {rows}, the agent-steps of an iteration"
            )


class PPO(BatchedAlgorithm, rllib_ppo.PPO):
    """Proximal policy optimisation (Schulman et al. 2017) for teams in batched worlds, within limits if there are any.

    Attributes:
        constraints: Holds the multipliers; None without limits.
    """

    def setup(self, config: Any) -> None:
        """Makes runners and learners; called by RLlib."""
        self.constraints: Constraints | None = None
        super().setup(config)
        if self.config.limits:
            self.constraints = Constraints(self.config)

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        """Default settings."""
        return PPOConfig()

    def training_step(self) -> None:
        """Samples with all runners that are there, learns from it, and sends the new networks out."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts = self.sample_runners()
        self.log_rollouts(rollouts)
        if self.constraints is not None:
            self.constraints.update(self, rollouts)
        batch = self._train_batch(rollouts)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=batch,
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self.metrics.peek(
                        (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
                    )
                },
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
                shuffle_batch_per_epoch=self.config.shuffle_batch_per_epoch,
                round=self.rounds,  # with the seed it makes the order of minibatches, which so has no state to lose
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.send_weights()
        self.rounds += 1

    def _train_batch(self, rollouts: Sequence[Rollout]) -> MultiAgentBatch:
        """Joins the runners' rows, and standardises advantages over each module's agents that count."""
        batches: dict[str, Any] = {}
        for module_id in rollouts[0].batches:
            rows = joined(rollouts, module_id)
            estimates = counted(rows, Postprocessing.ADVANTAGES)
            if not estimates.size:
                continue
            # What the critic explains is asked of advantages as they are: targets less these are its values.
            self.metrics.log_value(
                (LEARNER_RESULTS, module_id, LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY),
                explained_variance(estimates, counted(rows, Postprocessing.VALUE_TARGETS)),
                window=1,
            )
            if self.constraints is not None:
                estimates = self.constraints.penalised(rows)
            rows[Postprocessing.ADVANTAGES] = spread(rows, standardised(estimates))
            batches[module_id] = SampleBatch(rows)
            batches[module_id].count = acted(rows)  # what RLlib logs as trained on: worlds are as many as their agents
        return MultiAgentBatch(batches, env_steps=sum(rollout.env_steps() for rollout in rollouts))

    def own_state(self) -> dict[str, Any]:
        """The multipliers, where there are limits."""
        return {} if self.constraints is None else self.constraints.get_state()

    def set_own_state(self, state: dict[str, Any]) -> None:
        """Restores what `own_state` returned."""
        if self.constraints is not None and state:
            self.constraints.set_state(state)


def configure(settings: PPOSettings) -> PPOConfig:
    """PPO's configuration from its section of an experiment's."""
    config = PPOConfig().training(
        lr=settings.lr,
        gamma=settings.gamma,
        lambda_=settings.gae_lambda,
        clip_param=settings.clip,
        vf_clip_param=math.inf if settings.value_clip is None else settings.value_clip,
        vf_loss_coeff=settings.value_weight,
        entropy_coeff=settings.entropy_weight,
        use_kl_loss=settings.kl_weight > 0,
        kl_coeff=settings.kl_weight,
        kl_target=settings.kl_target,
        num_epochs=settings.epochs,
        minibatch_size=settings.minibatch,
        grad_clip=settings.grad_clip,
    )
    config.noise_correlation = settings.noise_correlation
    config.deviation, config.deviation_steps = settings.deviation, settings.deviation_steps
    config.sequence = settings.sequence
    config.limits, config.multiplier = dict(settings.limits), settings.multiplier.model_dump()
    return config
