"""What a stranger's env answers, checked: a mistake is one line that names the method or agent, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import flatdim, flatten
from numpy.typing import NDArray

LONGEST_VALUE = 80
RESET = ("observations", "infos")
STEP = ("observations", "rewards", "terminations", "truncations", "infos")


def of_reset(env: Any, reply: Any) -> tuple[Mapping[Any, Any], ...]:
    """Observations and infos by agent.

    Raises:
        ValueError: If that is not what `reset` returned.
    """
    return _mappings(env, "reset", RESET, reply)


def of_step(env: Any, reply: Any) -> tuple[Mapping[Any, Any], ...]:
    """Observations, rewards, terminations, truncations and infos by agent.

    Raises:
        ValueError: If that is not what `step` returned.
    """
    return _mappings(env, "step", STEP, reply)


def observation_of(agent: Any, space: Space[Any], seen: Any) -> NDArray[Any]:
    """An observation as a vector `[D]`.

    Raises:
        ValueError: If it does not fit its space, or holds NaN or infinity.
    """
    try:
        flat = np.asarray(flatten(space, seen), np.float32)
    except Exception:  # gymnasium has as many kinds of errors as of spaces
        flat = None
    if flat is None or flat.shape != (flatdim(space),):
        raise ValueError(f"observation of {agent!r}: got {_shown(seen)}, allowed is a value of {space}")
    if not np.isfinite(flat).all():
        raise ValueError(f"observation of {agent!r}: got {_shown(seen)} with NaN or infinity, allowed are numbers")
    return flat


def reward_of(agent: Any, reward: Any) -> float:
    """A reward.

    Raises:
        ValueError: If it is not a number, or not a finite one.
    """
    try:
        number = float(reward)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"reward of {agent!r}: got {_shown(reward)}, allowed is a finite number")
    return number


def _mappings(env: Any, method: str, names: tuple[str, ...], reply: Any) -> tuple[Mapping[Any, Any], ...]:
    """The parts of a reply, each by agent."""
    allowed = f"allowed are {len(names)} dictionaries by agent: {', '.join(names)}"
    kind = type(getattr(env, "unwrapped", env)).__name__
    if not isinstance(reply, tuple | list) or len(reply) != len(names):
        given = f"{len(reply)} values" if isinstance(reply, tuple | list) else _shown(reply)
        raise ValueError(f"{method}: {kind} returned {given}, {allowed}")
    for name, part in zip(names, reply, strict=True):
        if not isinstance(part, Mapping):
            raise ValueError(f"{method}: {kind} returned {_shown(part)} for {name}, {allowed}")
    return tuple(reply)


def _shown(value: Any) -> str:
    """A value as it is shown: an array by its shape, anything else by its first characters."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
