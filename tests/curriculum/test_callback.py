"""The curriculum inside RLlib, held to an algorithm that plays the cue env."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.utils import force_list

from curriculum.callback import CurriculumCallback
from curriculum.config import Curriculum, Stage
from curriculum.references import measure_references
from envs.base import Task
from envs.cue import CueTask
from policies.heuristics import Baselines, baselines


def stage(name: str, entities: int) -> Stage:
    task = CueTask(entities=entities, max_steps=5)
    return Stage(name=name, title=name, task=task, promote_at=0.5, min_episodes=10)


CURRICULUM = Curriculum(domain="cue", stages=(stage("easy", 1), stage("hard", 3)), window=20, rehearsal=1.0)


@dataclass
class FakeAlgorithm:
    """What the callback may rely on, and nothing else."""

    env: str = "cue"
    finished_episodes: list[Any] = field(default_factory=list)
    sent: list[list[Task]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = SimpleNamespace(env=self.env, env_config={}, num_envs_per_env_runner=4, num_env_runners=2)

    def set_tasks(self, tasks: list[Task]) -> None:
        """Takes down what was sent."""
        self.sent.append(tasks)

    def finish(self, task: str, mean_return: float, count: int) -> None:
        """Pretends that an iteration finished `count` equal episodes."""
        self.finished_episodes = [SimpleNamespace(task=task, mean_return=mean_return)] * count


def started(**options: Any) -> tuple[CurriculumCallback, FakeAlgorithm]:
    callback, algorithm = CurriculumCallback(CURRICULUM, reference_episodes=64, **options), FakeAlgorithm()
    callback.on_algorithm_init(algorithm=algorithm)
    return callback, algorithm


def train(callback: CurriculumCallback, algorithm: FakeAlgorithm) -> dict[str, Any]:
    result: dict[str, Any] = {}
    callback.on_train_result(algorithm=algorithm, result=result)
    return result


def test_references_are_what_theory_says() -> None:
    """Five perfect steps earn 5; uniform actions, for four evenly spaced cues, 1 - (1/3 + 5/9) / 4 a step."""
    callback, _ = started()
    assert callback.references["hard"].informed == pytest.approx(5.0)
    assert callback.references["hard"].naive == pytest.approx(5 * (1 - (1 / 3 + 5 / 9) / 4), abs=0.05)


def test_first_tasks_are_sent_to_all_worlds() -> None:
    """Before training every world of both runners gets the first stage."""
    _, algorithm = started()
    assert [[task.name for task in tasks] for tasks in algorithm.sent] == [["easy"] * 8]


def test_scores_promote_and_new_tasks_are_sent() -> None:
    """Optimal episodes promote; then about half of the worlds rehearse; results carry flat keys."""
    callback, algorithm = started()
    algorithm.finish("easy", 5.0, 12)
    result = train(callback, algorithm)
    assert sorted(task.name for task in algorithm.sent[-1]) == ["easy"] * 3 + ["hard"] * 5
    assert result["curriculum/stage"] == 1
    assert result["curriculum/stage_name"] == "hard"
    assert result["curriculum/event"] == "promoted on easy"
    assert result["curriculum/scores/easy"] == pytest.approx(1.0)
    assert "curriculum/score" not in result  # no episode of the new stage yet
    assert not any(isinstance(value, dict) for value in result.values())


def test_episodes_of_other_tasks_do_not_count() -> None:
    """Rehearsed stages are reported but do not move the stage, and unknown tasks are ignored."""
    callback, algorithm = started()
    algorithm.finish("hard", 5.0, 30)
    assert train(callback, algorithm)["curriculum/scores/hard"] == pytest.approx(1.0)
    algorithm.finish("unheard_of", 5.0, 30)
    train(callback, algorithm)
    assert callback.manager.total_episodes == 0
    assert len(algorithm.sent) == 1


def test_tasks_are_sent_again_to_whoever_lost_them() -> None:
    """A loaded checkpoint and recreated training runners get the present stage; evaluation runners do not."""
    callback, algorithm = started()
    algorithm.finish("easy", 5.0, 12)
    train(callback, algorithm)
    lost = {"algorithm": algorithm, "env_runner_group": None, "env_runner_indices": [1]}
    callback.on_env_runners_recreated(**lost, is_evaluation=True)
    assert len(algorithm.sent) == 2
    callback.on_env_runners_recreated(**lost, is_evaluation=False)
    callback.on_checkpoint_loaded(algorithm=algorithm)
    assert algorithm.sent[1] == algorithm.sent[2] == algorithm.sent[3]


def test_state_goes_on_in_a_new_callback() -> None:
    """A fresh callback restored from JSON stands on the same stage with the same references."""
    callback, algorithm = started()
    algorithm.finish("easy", 5.0, 12)
    train(callback, algorithm)
    other, fresh = started()
    other.set_state(json.loads(json.dumps(callback.get_state())))
    other.on_checkpoint_loaded(algorithm=fresh)
    assert fresh.sent[-1] == algorithm.sent[-1]
    algorithm.finish("hard", 2.0, 4)
    fresh.finish("hard", 2.0, 4)
    assert train(other, fresh) == train(callback, algorithm)


def test_rllib_builds_it_from_a_partial() -> None:
    """`config.callbacks` takes a partial, keeps it through copies and pickling, and calling it makes the callback."""
    config = PPOConfig().callbacks([partial(CurriculumCallback, curriculum=CURRICULUM)])
    copied = cloudpickle.loads(cloudpickle.dumps(config.copy()))
    again = PPOConfig.from_dict(copied.to_dict())
    (built,) = [make() for make in force_list(again.callbacks_class)]
    assert built.manager.curriculum == CURRICULUM


def test_mistakes_are_found_before_training() -> None:
    """Another env, a task too large for the env, and a stage whose oracle does not win are refused at once."""
    with pytest.raises(ValueError, match="curriculum: got one for 'cue', allowed is one for the env, 'trading'"):
        CurriculumCallback(CURRICULUM).on_algorithm_init(algorithm=FakeAlgorithm(env="trading"))
    large = Curriculum(domain="cue", stages=(stage("large", 9),))
    with pytest.raises(ValueError, match="entities: got 9, allowed is at most 3"):
        CurriculumCallback(large).on_algorithm_init(algorithm=FakeAlgorithm())
    cue = baselines("cue")
    backwards = Baselines("repeat", "random", cue.policies)
    with pytest.raises(ValueError, match=r"task easy: random earns .* the informed policy beats the naive one"):
        started(yardsticks=backwards)


def test_references_are_measured_once() -> None:
    """The same tasks in the same process are not played again; another seed or env config is."""
    calls = []

    def counting() -> Any:
        calls.append(1)
        return cue.policies["random"]()

    cue = baselines("cue")
    sticks = Baselines("random", "repeat", {**cue.policies, "random": counting})
    tasks = [CueTask(name="once", entities=2, max_steps=3)]
    first = measure_references("cue", {}, tasks, episodes=32, yardsticks=sticks)
    assert measure_references("cue", None, tasks, episodes=32, yardsticks=sticks) == first
    assert len(calls) == 1
    measure_references("cue", {}, tasks, episodes=32, seed=1, yardsticks=sticks)
    measure_references("cue", {"num_agents": 1}, tasks, episodes=32, yardsticks=sticks)
    assert len(calls) == 3
    assert np.isfinite(first["once"].naive)


def test_exams_score_the_policy_without_exploration() -> None:
    """With exams it is the policy's own play that counts, every so many iterations, and not training."""
    graded = CURRICULUM.model_copy(update={"exam_every": 2, "exam_episodes": 12})
    callback, algorithm = CurriculumCallback(graded, reference_episodes=64), FakeAlgorithm()
    algorithm.as_policy = lambda: baselines("cue").policies["repeat"]()  # type: ignore[attr-defined]
    callback.on_algorithm_init(algorithm=algorithm)
    algorithm.finish("easy", -100.0, 50)
    for iteration in (1, 2):
        result: dict[str, Any] = {"training_iteration": iteration}
        callback.on_train_result(algorithm=algorithm, result=result)
        assert result["curriculum/stage_name"] == ("easy" if iteration == 1 else "hard")
        assert result["curriculum/sampled"] < -1  # what training episodes scored is said beside it
    assert callback.manager.total_episodes == 12
