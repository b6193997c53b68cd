"""Listeners hear of their experiment only, and cannot harm it."""

from __future__ import annotations

import pytest

from tune.events import Event, EventKind, StopAskedError, ask_to_stop, check_asked, forget_asking, listening, publish


def test_listeners_hear_their_own_experiment_while_they_listen() -> None:
    """Neither other experiments' events nor those after the context arrive."""
    heard: list[Event] = []
    mine, other = Event(EventKind.PROGRESS, "mine"), Event(EventKind.PROGRESS, "other")
    with listening("mine", heard.append):
        publish(mine)
        publish(other)
    publish(mine)
    assert heard == [mine]


def test_a_failing_listener_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others still hear, and the failure is logged."""
    heard: list[Event] = []

    def fails(event: Event) -> None:
        raise RuntimeError("broken")

    with listening("x", fails, heard.append):
        publish(Event(EventKind.STARTED, "x"))
    assert len(heard) == 1
    assert "a listener failed" in caplog.text


def test_an_experiment_can_be_asked_to_stop() -> None:
    """Asking holds for that name, until it is taken back."""
    ask_to_stop("x")
    check_asked("y")
    with pytest.raises(StopAskedError):
        check_asked("x")
    forget_asking("x")
    check_asked("x")
