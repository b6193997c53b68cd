"""Trains on a cluster whose nodes come and go; prints what happened as one line of JSON. Run by test_remote_runners."""

from __future__ import annotations

import json
import time

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PATIENCE = 60
"""Iterations go on until what is waited for has happened, at most so long [s]."""


@ray.remote(num_cpus=1)
class Trial:
    """What Tune makes of a trial: an actor in the one bundle that `default_resource_request` asks for."""

    def __init__(self):
        from algorithms import remote_runners
        from algorithms.ppo import PPOConfig

        remote_runners.GRACE, remote_runners.GRACE_RATIO = 0.1, 0.0
        config = PPOConfig().environment("cue").training(minibatch_size=256, num_epochs=1)
        config.env_runners(num_env_runners=2, num_envs_per_env_runner=8, rollout_fragment_length=16)
        self.algorithm = config.build_algo()

    def train(self):
        """One iteration; returns its figures."""
        result = self.algorithm.train()
        group = self.algorithm.env_runner_group
        runners = group.foreach_env_runner(
            lambda runner: (runner.worker_index, ray.get_runtime_context().get_node_id()), local_env_runner=False
        )
        return {
            "rows": result["env_runners"]["num_env_steps_sampled"],
            "healthy": result["fault_tolerance"]["num_healthy_workers"],
            "restarts": result["fault_tolerance"]["num_remote_worker_restarts"],
            "wanted": result["runners_wanted"],
            "nodes": dict(runners),
            "here": ray.get_runtime_context().get_node_id(),
            "bundles": len(ray.util.get_current_placement_group().bundle_specs),
        }

    def stop(self):
        """Ends it."""
        self.algorithm.stop()


def until(trial, condition):
    """Trains until an iteration's figures meet a condition; returns them."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        figures = ray.get(trial.train.remote())
        if condition(figures):
            return figures
    raise SystemExit(f"it did not happen within {PATIENCE} s; the last iteration: {figures}")


def main():
    """A node for the trial and one for a runner; another node joins; the first runner's is lost; a third joins."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    from algorithms.ppo import PPO, PPOConfig

    asked = PPO.default_resource_request(PPOConfig().environment("cue").env_runners(num_env_runners=2))
    group = placement_group(asked.bundles)
    ray.get(group.ready())  # on the head, as long as there is no other node
    first = cluster.add_node(num_cpus=1)
    trial = Trial.options(
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    ).remote()
    happened = {"alone": [ray.get(trial.train.remote()) for _ in range(3)][-1]}
    second = cluster.add_node(num_cpus=1)
    happened["added"] = until(trial, lambda figures: figures["rows"] == 2 * 8 * 16)
    cluster.remove_node(first, allow_graceful=False)
    happened["lost"] = until(trial, lambda figures: figures["healthy"] == 1 and figures["rows"] == 8 * 16)
    third = cluster.add_node(num_cpus=1)
    happened["replaced"] = until(trial, lambda figures: figures["rows"] == 2 * 8 * 16)
    happened["nodes"] = [node.node_id for node in (first, second, third)]
    ray.get(trial.stop.remote(), timeout=PATIENCE)
    print(json.dumps(happened), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
