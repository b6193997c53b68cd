"""What RLlib's checkpoints leave out, so that a resumed run goes on as if it had never stopped.

RLlib saves weights, optimizers and metrics. Beside them a run consists of its worlds, in the middle of their episodes
and with their random streams; of the tasks they are playing; of what callbacks remember (a curriculum's stage); and of
how many rollouts there have been, which keys all other randomness.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.algorithm import BatchedAlgorithm

logger = logging.getLogger(__name__)

COMPONENT_RUN = "run"
"""Key of this part in the algorithm's state."""


def capture_run(algorithm: BatchedAlgorithm) -> dict[str, Any]:
    """The state of everything that is not a network."""
    group = algorithm.env_runner_group
    if algorithm.remote:
        worlds = group.foreach_env_runner("get_worlds", local_env_runner=False)
    else:
        worlds = [algorithm.env_runner.get_worlds()]
    return {
        "rounds": algorithm.rounds,
        "tasks": [task.model_dump() for task in algorithm.tasks],
        "worlds": {state["worker_index"]: state for state in worlds},
        "episode_stats": dict(algorithm.episode_stats),
        "counters": dict(algorithm._counters),
        "own": algorithm.own_state(),
        "callbacks": {
            name: callback.get_state()
            for name, callback in _callbacks(algorithm).items()
            if hasattr(callback, "get_state")
        },
    }


def restore_run(algorithm: BatchedAlgorithm, state: Mapping[str, Any]) -> None:
    """Restores what `capture_run` returned.

    Where a run is resumed with other runners, or other numbers of worlds, it keeps all but the worlds that have no
    successor of the same size; what plays in their place begins afresh.
    """
    algorithm.rounds = state["rounds"]
    algorithm.episode_stats = dict(state["episode_stats"])
    algorithm.set_own_state(state.get("own", {}))
    algorithm._counters.clear()
    algorithm._counters.update(state["counters"])
    algorithm.tasks = [algorithm.domain.task_type.model_validate(task) for task in state["tasks"]]
    _restore_worlds(algorithm, state["worlds"])
    callbacks = _callbacks(algorithm)
    for name, remembered in state["callbacks"].items():
        if name in callbacks:
            callbacks[name].set_state(remembered)
        else:
            logger.warning("The checkpoint holds the state of %s, which this run does not have.", name)


def _restore_worlds(algorithm: BatchedAlgorithm, worlds: Mapping[int, Mapping[str, Any]]) -> None:
    group = algorithm.env_runner_group
    indices = group.healthy_env_runner_ids() if algorithm.remote else [0]
    size = algorithm.config.num_envs_per_env_runner
    # A single remote runner and a local one without others are in the same place, and play the same worlds.
    places = {max(index - 1, 0): state for index, state in worlds.items() if state["num_worlds"] == size}
    going_on = [index for index in indices if max(index - 1, 0) in places]
    afresh = [index for index in indices if index not in going_on]
    if afresh or len(going_on) < len(worlds):
        logger.warning(
            "The run had other runners or worlds when it was saved: those of %d of its %d runners go on, and %d begin "
            "new episodes.",
            len(going_on),
            len(worlds),
            len(afresh),
        )
    if afresh:
        algorithm.restart_worlds(afresh)
    if going_on == [0]:
        algorithm.env_runner.set_worlds(places[0])
    elif going_on:
        group.foreach_env_runner(
            "set_worlds",
            kwargs=[{"state": places[index - 1]} for index in going_on],
            remote_worker_ids=going_on,
            local_env_runner=False,
        )


def _callbacks(algorithm: BatchedAlgorithm) -> dict[str, Any]:
    """The run's callbacks, by names that the next run will give them too."""
    return {f"{place}:{type(callback).__qualname__}": callback for place, callback in enumerate(algorithm.callbacks)}
