"""Tests of the key to flat observations."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.layout import EntityTable, ObservationLayout

LAYOUT = ObservationLayout(("cash", "age"), ("price", "rsi"), ("AAPL", "IBM", "MSFT"), 1)


def test_size_is_own_plus_table_plus_mask() -> None:
    """Two own features, three entities of two features and three mask values make eleven."""
    assert LAYOUT.size == 2 + 3 * 2 + 3
    assert LAYOUT.num_entities == 3


def test_names_follow_the_documented_order() -> None:
    """The names spell out own features, the table row by row, then the mask."""
    assert LAYOUT.names == (
        *("cash", "age"),
        *("AAPL.price", "AAPL.rsi", "IBM.price", "IBM.rsi", "MSFT.price", "MSFT.rsi"),
        *("AAPL.exists", "IBM.exists", "MSFT.exists"),
    )


@settings(deadline=None)
@given(own=st.integers(0, 4), features=st.integers(0, 4), entities=st.integers(0, 5))
def test_slices_partition_the_vector(own: int, features: int, entities: int) -> None:
    """Whatever the sizes, the three slices cover every feature once, in order, and there is a name for each."""
    layout = ObservationLayout(
        tuple(f"o{i}" for i in range(own)),
        tuple(f"f{i}" for i in range(features)),
        tuple(f"e{i}" for i in range(entities)),
    )
    numbers = np.arange(layout.size)
    parts = [numbers[s] for s in (layout.own_slice, layout.entity_slice, layout.mask_slice)]
    assert [part.size for part in parts] == [own, entities * features, entities]
    np.testing.assert_array_equal(np.concatenate(parts), numbers)
    assert len(set(layout.names)) == layout.size


def test_views_find_what_the_names_say() -> None:
    """Each accessor returns the numbers whose names it stands for, whatever axes come first."""
    observation = np.arange(2 * 4 * LAYOUT.size, dtype=np.float32).reshape(2, 4, LAYOUT.size)
    place = {name: i for i, name in enumerate(LAYOUT.names)}
    np.testing.assert_array_equal(LAYOUT.own_of(observation)[..., 1], observation[..., place["age"]])
    np.testing.assert_array_equal(LAYOUT.entities_of(observation)[..., 1, 1], observation[..., place["IBM.rsi"]])
    np.testing.assert_array_equal(LAYOUT.mask_of(observation)[..., 2], observation[..., place["MSFT.exists"]])
    prices = LAYOUT.feature_of(observation, "price")
    assert prices.shape == (2, 4, 3)
    np.testing.assert_array_equal(prices[..., 0], observation[..., place["AAPL.price"]])


def test_accessors_are_views_that_can_be_written_through() -> None:
    """What is written through an accessor lands in the flat vector."""
    observation = np.zeros(LAYOUT.size, np.float32)
    LAYOUT.entities_of(observation)[2, 0] = 7.0
    LAYOUT.mask_of(observation)[0] = 1.0
    assert observation[LAYOUT.names.index("MSFT.price")] == 7.0
    assert observation[LAYOUT.names.index("AAPL.exists")] == 1.0


def test_unknown_feature_is_named_with_those_allowed() -> None:
    """A feature that does not exist is one line with what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"^feature: got 'beta', allowed are price, rsi$"):
        LAYOUT.feature_of(np.zeros(LAYOUT.size, np.float32), "beta")


MORE = (EntityTable("jobs", ("cores",), ("job_0", "job_1")), EntityTable("machines", ("free", "up"), ("machine_0",)))


def test_further_tables_follow_the_first() -> None:
    """Each has its values and then its mask, is found by name and by place, and survives the way through JSON."""
    layout = ObservationLayout(("age",), ("price",), ("AAPL", "IBM"), 1, MORE)
    assert layout.names == (
        *("age", "AAPL.price", "IBM.price", "AAPL.exists", "IBM.exists"),
        *("job_0.cores", "job_1.cores", "job_0.exists", "job_1.exists"),
        *("machine_0.free", "machine_0.up", "machine_0.exists"),
    )
    assert layout.size == len(layout.names)
    numbers = np.arange(layout.size, dtype=np.float32)
    assert [layout.names[i] for i in layout.places[2].values_of(numbers)[0].astype(int)] == [
        "machine_0.free",
        "machine_0.up",
    ]
    assert layout.mask_of(numbers).tolist() == [3, 4]
    assert ObservationLayout.of(json.loads(json.dumps(asdict(layout)))) == layout


@pytest.mark.parametrize(
    ("first", "more", "said"),
    [
        ((), MORE, "more: got 2 tables, allowed are none where there is no first one"),
        (("AAPL",), (MORE[0], MORE[0]), "more: got the table 'jobs' twice"),
        (("AAPL",), (EntityTable("entities", ("x",), ("y",)),), "more: got the table 'entities' twice"),
        (("AAPL",), (EntityTable("jobs", (), ("y",)),), "more: got the table 'jobs' without features or entities"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    first: tuple[str, ...], more: tuple[EntityTable, ...], said: str
) -> None:
    """In one line that names the table."""
    with pytest.raises(ValueError, match=f"^{said}"):
        ObservationLayout((), ("price",), first, 0, more)
