"""Tests of copies of a stranger's envs."""

from __future__ import annotations

import random
from collections import deque
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from envs.adapters.copies import CopyError, difference, packed, unpacked


class Thing:
    """Holds what it is given."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


class Slim:
    """Has slots."""

    __slots__ = ("a", "b")


class Forgetful(Thing):
    """Does not pickle its window."""

    def __getstate__(self) -> dict[str, Any]:
        """Without it."""
        return {name: part for name, part in self.__dict__.items() if name != "window"}


def _slim(a: Any) -> Slim:
    made = Slim()
    made.a = a
    return made


def _round() -> Thing:
    thing = Thing(name="round", rng=np.random.default_rng(0), dice=random.Random(0), nan=float("nan"))
    thing.me, thing.parts = thing, [thing, Thing(owner=thing)]
    thing.add = lambda x: thing.name + x
    thing.jump = thing.rng.normal
    return thing


PAIRS: list[tuple[Any, Any, str]] = [
    (1, 1.0, "all of it is a float, was a int"),
    ({"a": [1, (2, 3)]}, {"a": [1, (2, 4)]}, "['a'][1][1] differs"),
    ({"a": 1}, {"b": 1}, "['a'] is missing"),
    (Thing(a=1), Thing(a=1, b=2), "b was not there"),
    (Thing(a=Thing(b=None)), Thing(a=Thing(b=3)), "a.b is a int, was None"),
    (np.arange(3), np.array([0, 1, 9]), "all of it differs"),
    (np.array([Thing(a=1)]), np.array([Thing(a=2)]), "[0].a differs"),
    (deque([1, 2]), deque([1]), "[1] is missing"),
    ({1, 2}, {1}, ".__len__() differs"),
    (_slim(1), _slim(2), "a differs"),
    ({Thing(a=1): 5}, {Thing(a=1): 6}, "[0] differs"),
]


@pytest.mark.parametrize(("one", "other", "where"), PAIRS)
def test_a_difference_is_found_wherever_it_is(one: Any, other: Any, where: str) -> None:
    """Its place is named; a deep copy has none."""
    assert difference(one, other) == where.lstrip(".")
    assert difference(one, deepcopy(one)) == ""


def test_random_generators_are_compared_by_where_they_stand() -> None:
    """A generator that has drawn is not one that has not."""
    for make in (np.random.default_rng, np.random.RandomState, random.Random):
        one, other = make(3), make(3)
        assert difference(one, other) == ""
        one.random()  # type: ignore[attr-defined]
        assert difference(one, other) != ""


def test_what_is_unpacked_is_what_was_packed() -> None:
    """Objects that hold themselves, closures over them and their methods come back, and go on alike."""
    one = _round()
    (copy,) = unpacked(packed([one]))
    assert copy.me is copy
    assert copy.jump() == one.jump()
    copy.name = "square"
    assert (copy.add("!"), one.add("!")) == ("square!", "round!")


def test_what_a_copy_lacks_is_refused() -> None:
    """An env that leaves part of itself behind is an error that names the part; one that cannot be pickled, why."""
    with pytest.raises(CopyError, match=r"^env: a copy of Forgetful is not what was copied \(window is missing\)$"):
        packed([Forgetful(window=1, a=1)])
    with pytest.raises(CopyError, match=r"^env: Thing cannot be copied \(.*generator.*\)$"):
        packed([Thing(steps=(step for step in ()))])
