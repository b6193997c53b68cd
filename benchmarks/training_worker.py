"""One contender of `benchmarks.training` on RLlib: trains trading iteration by iteration."""

from __future__ import annotations

import sys
import time

import ray

from algorithms.torch_settings import MatmulPrecision
from benchmarks.contender import options, serve


def main(*, kind: str, agents: int, rows: int, worlds: int, precision: MatmulPrecision = "highest") -> None:
    """Serves figures in seconds an iteration.

    Args:
        kind: `ours` or `stock`.
        agents: Traders in the market.
        rows: Agent-steps of an iteration.
        worlds: Worlds, or copies of the env.
        precision: `matmul_precision` of our learner.
    """
    from benchmarks.setups import batched, flat_network, stock

    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        configure_logging=False,
    )  # fmt: skip
    env_config = {"num_agents": agents}
    if kind == "stock":
        config = stock("trading", env_config, envs=worlds, env_steps=rows // agents)
    else:
        config = batched(
            "trading", env_config, worlds=worlds, steps=rows // agents // worlds, network=flat_network()
        ).batched(matmul_precision=precision)
    algorithm = config.build_algo()
    algorithm.train()  # the first iteration allocates, resets and compiles

    def measure() -> float:
        start = time.perf_counter()
        algorithm.train()
        return time.perf_counter() - start

    serve(measure)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main(**options(sys.argv))
