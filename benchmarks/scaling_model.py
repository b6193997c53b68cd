"""A model, on paper, of how long an iteration takes with any number of remote runners.

    iteration = slowest of n runners + n calls + n rollouts through memory, or over the network
              + joining them + one learner's update + weights to n runners + the rest

Every parameter is measured with one runner or two, but for the network's bandwidth, which is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

GIGABIT = 1e9 / 8 * 0.94
"""What a link of 1 Gbit/s carries beside its protocols' own bytes [bytes/s]."""


@dataclass(frozen=True)
class Parameters:
    """What was measured.

    Attributes:
        sampling: How long a runner took to sample, time by time, by its number of worlds [s].
        handing_over: How long it takes until a sampled rollout is in Ray's store, by number of worlds [s].
        rollout_bytes: Bytes of a rollout, by number of worlds.
        rows: Agent-steps of a rollout, by number of worlds.
        call: Time of the main process for a call to one runner and its answer [s].
        fetching: Time of the main process for one byte of a rollout that is in Ray's store on the same node [s].
        joining: Time to join the rollouts to a batch, a row [s].
        update: Time of the learner, a row [s].
        weights: Time until the first runner has new weights [s].
        weight_bytes: Bytes of the weights.
        rest: Everything else in an iteration: metrics, mostly [s].
    """

    sampling: Mapping[int, Sequence[float]]
    handing_over: Mapping[int, float]
    rollout_bytes: Mapping[int, int]
    rows: Mapping[int, int]
    call: float
    fetching: float
    joining: float
    update: float
    weights: float
    weight_bytes: int
    rest: float


@dataclass(frozen=True)
class Iteration:
    """Where an iteration's time goes, part by part [s].

    Attributes:
        sampling: Until the slowest runner is done.
        transfer: Until all rollouts are in the main process.
        joining: Until they are one batch.
        update: The learner's.
        weights: Until all runners have new weights.
        rest: Everything else.
    """

    sampling: float
    transfer: float
    joining: float
    update: float
    weights: float
    rest: float

    @property
    def total(self) -> float:
        """The whole iteration [s]."""
        return sum(asdict(self).values())


def predict(
    parameters: Parameters, runners: int, worlds: int, *, bandwidth: float | None = None, runners_a_core: int = 1
) -> Iteration:
    """The iteration of `runners` runners with `worlds` worlds each.

    Args:
        parameters: What was measured.
        runners: Remote runners.
        worlds: Worlds of each.
        runners_a_core: How many share a core when they hand their rollouts over, one after another; replayed ones do.
        bandwidth: Of the main node's link, which all rollouts and weights go through one after another, as if each
            runner had a node of its own [bytes/s]; None: all are on the main process' node.
    """
    p = parameters
    sent, received = (runners * amount for amount in (p.weight_bytes, p.rollout_bytes[worlds]))
    rows = runners * p.rows[worlds]
    return Iteration(
        sampling=expected_maximum(p.sampling[worlds], runners) + runners_a_core * p.handing_over[worlds],
        transfer=runners * p.call + received * p.fetching + (received / bandwidth if bandwidth else 0.0),
        joining=rows * p.joining,
        update=rows * p.update,
        weights=p.weights + (runners - 1) * p.call + (sent / bandwidth if bandwidth else 0.0),
        rest=p.rest,
    )


def expected_maximum(samples: Sequence[float], draws: int) -> float:
    """The mean of the largest of `draws` values drawn from `samples` with replacement."""
    ordered, count = sorted(samples), len(samples)
    return sum(
        value * ((rank / count) ** draws - ((rank - 1) / count) ** draws) for rank, value in enumerate(ordered, start=1)
    )
