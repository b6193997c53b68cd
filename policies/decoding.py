"""From what a network puts out to actions, in NumPy: what serving and evaluation need of a distribution.

The formulas are those of `algorithms.networks.distributions`, where the learners use them in torch.
"""

from __future__ import annotations

from functools import cache
from math import log, tau
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.base import BoolArray, FloatArray

ActionSpace = Box | MultiDiscrete
MASKED_LOGIT = -1e9
_LOW, _HIGH = np.float32(-1), np.float32(1)


def inputs_size(space: ActionSpace) -> int:
    """Width of a distribution's inputs: `mean | log_std`, or all branches' logits."""
    if isinstance(space, MultiDiscrete):
        return int(space.nvec.sum())
    return 2 * int(np.prod(space.shape))


def greedy(dist_inputs: FloatArray, space: ActionSpace) -> NDArray[Any]:
    """The most likely actions (the first, if tied).

    Args:
        dist_inputs: `[..., 2K]` (`mean | log_std`) or `[..., sum(nvec)]` (logits).
        space: The action space.

    Returns:
        Float32 `[..., K]`, unclipped, or int64 `[..., K]`.
    """
    if isinstance(space, MultiDiscrete):
        return _table(dist_inputs, space).argmax(axis=-1)
    return _mean_log_std(dist_inputs)[0]


def sample(dist_inputs: FloatArray, space: ActionSpace, rng: np.random.Generator) -> NDArray[Any]:
    """Draws actions; shapes as for `greedy`.

    Choices are drawn as the largest of `logit + Gumbel noise` (Gumbel 1954).
    """
    if isinstance(space, MultiDiscrete):
        table = _table(dist_inputs, space)
        waits = np.maximum(rng.standard_exponential(table.shape), np.finfo(np.float64).tiny)
        return (table - np.log(waits)).argmax(axis=-1)
    mean, log_std = _mean_log_std(dist_inputs)
    noise = rng.standard_normal(mean.shape, dtype=np.float32)
    return np.asarray(mean + np.exp(log_std) * noise, np.float32)


def log_prob(dist_inputs: FloatArray, actions: NDArray[Any], space: ActionSpace) -> FloatArray:
    """Logarithm of the density, or probability, of unclipped `actions` `[..., K]`; float32 `[...]`."""
    if isinstance(space, MultiDiscrete):
        return branch_log_probs(dist_inputs, actions, space).sum(axis=-1)
    mean, log_std = _mean_log_std(dist_inputs)
    distance = (actions - mean) * np.exp(-log_std)
    density = np.add.reduce(-0.5 * distance * distance - log_std, axis=-1) - 0.5 * log(tau) * mean.shape[-1]
    return np.asarray(density, np.float32)


def branch_log_probs(dist_inputs: FloatArray, actions: NDArray[Any], space: MultiDiscrete) -> FloatArray:
    """Logarithm of the probability of the choice in each branch; float32 `[..., K]`."""
    table = _table(dist_inputs, space)
    shifted = table - table.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, actions[..., None], axis=-1)[..., 0]
    return np.asarray(chosen - np.log(np.exp(shifted).sum(axis=-1)), np.float32)


def env_actions(actions: NDArray[Any], space: ActionSpace, mask: BoolArray | None = None) -> NDArray[Any]:
    """What `BatchedEnv.step` takes: continuous actions clipped to [-1, 1], and 0 where a dimension is masked.

    Args:
        actions: As `greedy` or `sample` returned them, `[..., K]`.
        space: The action space.
        mask: True where allowed, `[..., K]`; discrete choices need none, for a masked one is never drawn.

    Returns:
        Float32 or int64 `[..., K]`, a new array.
    """
    if isinstance(space, MultiDiscrete):
        return np.asarray(actions, np.int64)
    # A service decodes single rows by the thousand: `np.clip` and `np.split` cost more there than the network.
    clipped = np.minimum(np.maximum(actions, np.float32(-1)), np.float32(1), dtype=np.float32)
    return clipped if mask is None else np.where(mask, clipped, np.float32(0))


def _mean_log_std(dist_inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Views of the two halves, `[..., K]` each."""
    size = dist_inputs.shape[-1] // 2
    return dist_inputs[..., :size], dist_inputs[..., size:]


def _table(logits: FloatArray, space: MultiDiscrete) -> FloatArray:
    """Logits by branch, `[..., K, largest branch]`; branches that are shorter are filled up with masked ones."""
    sizes = tuple(int(size) for size in space.nvec)
    if min(sizes) == max(sizes):
        return logits.reshape(*logits.shape[:-1], len(sizes), sizes[0])
    fill = np.full((*logits.shape[:-1], 1), MASKED_LOGIT, logits.dtype)
    table: FloatArray = np.concatenate([logits, fill], axis=-1)[..., _padding_index(sizes)]
    return table


@cache
def _padding_index(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Where each entry of the `[K, largest branch]` table lies in `logits | fill`."""
    starts = np.cumsum((0, *sizes[:-1]))[:, None]
    choice = np.arange(max(sizes))
    return np.where(choice < np.array(sizes)[:, None], starts + choice, sum(sizes))
