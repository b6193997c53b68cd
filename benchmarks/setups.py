"""The same training set up twice: on RLlib as it comes, and on our runner. Hyperparameters and networks are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig as StockConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from algorithms.networks import layers
from algorithms.ppo import PPOConfig
from envs.adapters.rllib import register_envs

HYPERPARAMETERS: dict[str, Any] = {
    "lr": 3e-4,
    "gamma": 0.99,
    "lambda_": 0.95,
    "num_epochs": 4,
    "minibatch_size": 512,
    "clip_param": 0.2,
    "vf_loss_coeff": 0.5,
    "vf_clip_param": float("inf"),
    "entropy_coeff": 0.0,
    "grad_clip": 0.5,
    "use_kl_loss": False,
}


def flat_network(hidden: tuple[int, ...] = (256, 256)) -> dict[str, Any]:
    """Our flat network as `stock_network` is: actor and critic apart, nothing normalised, deviations of 1 at first."""
    return {
        "kind": "flat",
        "hidden_sizes": hidden,
        "share_trunk": False,
        "normalise": False,
        "normalise_values": False,
        "activation": "tanh",
        "std": "network",
        "initial_log_std": 0.0,
        "policy_gain": 1.0,
    }


def stock_network(hidden: tuple[int, ...] = (256, 256)) -> DefaultModelConfig:
    """RLlib's own network, with initial weights drawn as ours are: orthogonal, biases zero."""
    hidden_gain, head_gain = {"gain": layers.hidden_gain("tanh")}, {"gain": 1.0}
    return DefaultModelConfig(
        fcnet_hiddens=list(hidden),
        fcnet_activation="tanh",
        fcnet_kernel_initializer="orthogonal_",
        fcnet_kernel_initializer_kwargs=hidden_gain,
        fcnet_bias_initializer="zeros_",
        head_fcnet_kernel_initializer="orthogonal_",
        head_fcnet_kernel_initializer_kwargs=head_gain,
        head_fcnet_bias_initializer="zeros_",
        vf_share_layers=False,
    )


def stock(
    domain: str,
    env_config: Mapping[str, Any],
    *,
    envs: int,
    env_steps: int,
    hidden: tuple[int, ...] = (256, 256),
    seed: int = 0,
    **training: Any,
) -> StockConfig:
    """RLlib's PPO on the adapter, all agents sharing one network.

    Args:
        domain: Name of the domain.
        env_config: Fields of its config, and `task`.
        envs: Copies of the env that the runner steps.
        env_steps: Steps of an iteration, summed over the envs.
        hidden: Widths of the network's layers.
        seed: Seed of everything.
        **training: Hyperparameters that differ from `HYPERPARAMETERS`.
    """
    register_envs()
    config: StockConfig = (
        StockConfig()
        .environment(domain, env_config=dict(env_config))
        .env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        .training(**{**HYPERPARAMETERS, "train_batch_size_per_learner": env_steps, **training})
        .multi_agent(policies={"shared"}, policy_mapping_fn=shared)
        .rl_module(model_config=stock_network(hidden))
        .debugging(seed=seed, log_level="ERROR")
    )
    return config


def shared(*args: Any, **kwargs: Any) -> str:
    """All agents play with one network."""
    return "shared"


def batched(
    domain: str,
    env_config: Mapping[str, Any],
    *,
    worlds: int,
    steps: int,
    network: Mapping[str, Any],
    seed: int = 0,
    **training: Any,
) -> PPOConfig:
    """Our PPO.

    Args:
        domain: Name of the domain.
        env_config: Fields of its config, and `task`.
        worlds: Worlds stepped together.
        steps: Steps of an iteration in each world.
        network: Fields of `NetworkConfig`.
        seed: Seed of everything.
        **training: Hyperparameters that differ from `HYPERPARAMETERS`.
    """
    fields = dict(env_config)
    task = fields.pop("task", None)
    config: PPOConfig = (
        PPOConfig()
        .environment(domain, env_config=fields)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=worlds, rollout_fragment_length=steps)
        .training(**{**HYPERPARAMETERS, **training})
        .batched(task=task, network=network)
        .debugging(seed=seed, log_level="ERROR")
    )
    return config
