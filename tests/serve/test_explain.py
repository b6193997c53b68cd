"""Explanations: what the network does not look at has no effect, and what it does look at has the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from serve.errors import BadRequest
from serve.explain import check_cost, explain
from serve.models import ServedVersion
from serve.protocol import act
from serve.settings import ServeSettings

LIMITS = ServeSettings()
ROW = [0.3, -0.7, 1.0, 0.2, -0.4, 0.9, 0.5, 0.6, 1.0, 1.0, 0.0]
"""XOM does not exist."""


def asked(version: ServedVersion, body: dict[str, Any]) -> act.ActRequest:
    """A request, as the service reads it."""
    return act.parse(act.load(orjson.dumps(body), {}, LIMITS), version, LIMITS)


def explained(version: ServedVersion, body: dict[str, Any]) -> dict[str, Any]:
    """Explanations by module."""
    request = asked(version, body)
    answers = {
        module: version.policy.infer(module, rows.observations, rows.masks, state=rows.state)
        for module, rows in request.rows.items()
    }
    return dict(explain(request, answers, version)())


def test_effect_is_the_change_of_the_action(small_version: ServedVersion) -> None:
    """Each effect is what the bundle itself says when that feature alone is replaced by its golden mean."""
    found = explained(small_version, {"observations": {"ann": ROW}, "explain": 100})["shared"][0]
    golden = np.array(small_version.manifest.golden["shared"].observations, np.float32)
    policy = small_version.policy
    before = policy.infer("shared", np.array([ROW], np.float32)).actions[0]
    by_name = {each["feature"]: each for each in found}
    exists = golden[:, 8] > 0.5
    for name, column, baseline in (("cash", 0, golden[:, 0].mean()), ("AAPL.price", 2, golden[exists, 2].mean())):
        changed = np.array([ROW], np.float32)
        changed[0, column] = baseline
        wanted = before - policy.infer("shared", changed).actions[0]
        np.testing.assert_allclose(list(by_name[name]["actions"].values()), wanted, atol=1e-6)
        assert by_name[name]["baseline"] == pytest.approx(float(baseline), abs=1e-6)
        assert by_name[name]["value"] == np.float32(ROW[column])
        assert by_name[name]["effect"] == pytest.approx(float(np.abs(wanted).sum()), abs=1e-5)
    assert list(by_name["cash"]["actions"]) == ["AAPL", "MSFT", "XOM"]


def test_largest_effects_come_first(small_version: ServedVersion) -> None:
    """As many as asked for, in order."""
    body = {"observations": {"ann": ROW, "bob": ROW[::-1]}, "explain": 4}
    for row in explained(small_version, body)["shared"]:
        effects = [each["effect"] for each in row]
        assert len(effects) == 4
        assert effects == sorted(effects, reverse=True)


def test_absent_entities_are_left_out(small_version: ServedVersion) -> None:
    """An entity that does not exist explains nothing; the existence of one that does is a feature."""
    names = {
        each["feature"]
        for each in explained(small_version, {"observations": {"ann": ROW}, "explain": 100})["shared"][0]
    }
    assert not any(name.startswith("XOM.") for name in names)
    assert "AAPL.exists" in names


def test_discrete_choices_are_explained_by_their_probability(team_version: ServedVersion) -> None:
    """Of a discrete action, the effect is on the log-probability of the choice made, branch by branch."""
    found = explained(team_version, {"observations": {"cid": ROW}, "explain": 1})["first"][0][0]
    seen = np.array([ROW, ROW], np.float32)
    layout = team_version.policy.spaces_of("first").layout
    seen[1, layout.names.index(found["feature"])] = found["baseline"]
    answer = team_version.policy.infer("first", seen)
    wanted = []
    for branch, (start, stop) in enumerate(((0, 3), (3, 5))):
        logits = answer.dist_inputs[:, start:stop].astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        chosen = int(answer.actions[0, branch])
        wanted.append(log_probs[0, chosen] - log_probs[1, chosen])
    np.testing.assert_allclose(found["actions"], wanted, atol=1e-5)


def test_masked_actions_and_state_are_respected(recurrent_version: ServedVersion, small_version: ServedVersion) -> None:
    """A masked action is not explained; a recurrent one is, in the state that it was taken in."""
    body = {"observations": {"ann": ROW}, "action_masks": {"ann": [False, True, True]}, "explain": 3}
    assert all(each["actions"]["AAPL"] == 0 for each in explained(small_version, body)["shared"][0])
    body = {"observations": {"ann": ROW}, "explain": 3}
    fresh = explained(recurrent_version, body)["shared"]
    later = explained(recurrent_version, body | {"state": {"ann": [0.9, -0.9, 0.5, 0.1]}})["shared"]
    assert fresh != later


def test_too_much_to_explain_is_refused(small_version: ServedVersion) -> None:
    """The cost grows with rows and features, and is limited."""
    with pytest.raises(
        BadRequest, match=r"^explain: got 1500 rows, which take 16500 more to explain, allowed are 16384"
    ):
        check_cost(asked(small_version, {"observations": [{"ann": ROW}] * 1500, "explain": 1}), small_version)
