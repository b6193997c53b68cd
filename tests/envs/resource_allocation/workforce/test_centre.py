"""Tests of centres as files: what comes with Entrepot hangs together, and what does not is said in one line."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from envs.resource_allocation.workforce import CentreError, centre_names, load_centre

SMALL: dict[str, Any] = {
    "name": "small",
    "profiles": {"flat": [1, 1, 1, 1]},
    "skills": {"calls": {"calls": 40, "profile": "flat", "handling": {"mean": 5}, "value": 1}},
    "teams": {"calls": {"shifts": [{"start": 0, "length": 4, "workers": 3}], "wage": 20}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small centre with one thing changed."""
    data = deepcopy(SMALL)
    *way, last = path.split("/")
    place: Any = data
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[last] = value
    return data


def test_centres_that_come_along_can_be_read() -> None:
    """Each by its name."""
    assert "bank" in centre_names()
    for name in centre_names():
        assert load_centre(name).name == name
    assert load_centre(SMALL).steps == 4


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("skills/calls/profile", "round", "skills.calls.profile: got 'round', allowed are flat"),
        ("profiles/other", [1, 2], "profiles: got lengths 2, 4, allowed is one length"),
        ("profiles/flat", [0, 0, 0, 0], "profiles.flat: got 0 in all, allowed is above 0"),
        ("teams/calls/also", {"faxes": 1.0}, "teams.calls.also: got 'faxes', allowed are none"),
        ("teams/calls/also", {"calls": 9.0}, "also.calls: got 9, allowed is 0.05 to 2"),
        (
            "teams/calls/shifts/0/length",
            5,
            "teams.calls.shifts.0: got an end at step 5, allowed is at most 4, the day's",
        ),
        ("skills/calls/handling/cv", 2.0, "cv: got 2, allowed is 1 where handling is exponential"),
        ("teams", {}, "teams"),
    ],
)
def test_what_does_not_hang_together_is_named(path: str, value: Any, said: str) -> None:
    """One line with the key, what was given, and what is allowed."""
    with pytest.raises(CentreError, match=r"^centre: ") as caught:
        load_centre(changed(path, value))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
