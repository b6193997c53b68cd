"""What happens during an experiment, as values that anyone in the driver process may listen to.

Tune pickles its callbacks and makes new ones when a run is restored, so listeners cannot hang on a callback: they are
looked up by the experiment's name.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

logger = logging.getLogger("entrepot")


class EventKind(StrEnum):
    """What can happen."""

    STARTED = "started"
    PROGRESS = "progress"
    STAGE = "stage"
    EVALUATED = "evaluated"
    CHECKPOINT = "checkpoint"
    RECOVERING = "recovering"
    TRAINED = "trained"
    FINISHING = "finishing"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What.
        experiment: Name of the experiment.
        trial: Id of the trial; empty for the experiment as a whole.
        figures: The flat figures of `tune.figures`, and whatever else belongs to the kind.
    """

    kind: EventKind
    experiment: str
    trial: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


class StopAskedError(RuntimeError):
    """Someone in this process asked the experiment to stop."""


_asked: set[str] = set()
_listeners: dict[str, list[Listener]] = defaultdict(list)


@contextmanager
def listening(experiment: str, *listeners: Listener) -> Iterator[None]:
    """Lets `listeners` hear of everything that happens to an experiment while the context lasts."""
    _listeners[experiment].extend(listeners)
    try:
        yield
    finally:
        for listener in listeners:
            _listeners[experiment].remove(listener)
        if not _listeners[experiment]:
            del _listeners[experiment]


def publish(event: Event) -> None:
    """Tells all listeners of the event's experiment. A listener that fails is logged and never stops training."""
    for listener in tuple(_listeners.get(event.experiment, ())):
        try:
            listener(event)
        except Exception:
            logger.warning("a listener failed on %s", event.kind, exc_info=True)


def ask_to_stop(experiment: str) -> None:
    """Asks an experiment to stop, as a kill would stop it: it can be resumed. Holds until `forget_asking`."""
    _asked.add(experiment)


def forget_asking(experiment: str) -> None:
    """Takes back what `ask_to_stop` asked; called when the experiment has ended, however it did."""
    _asked.discard(experiment)


def check_asked(experiment: str) -> None:
    """Raises StopAskedError if someone asked the experiment to stop."""
    if experiment in _asked:
        raise StopAskedError(f"{experiment}: asked to stop")
