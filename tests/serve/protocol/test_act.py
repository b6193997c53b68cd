"""Named observations: any subset of a team, in the env's units, and refusals that name agent and feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serve.errors import BadRequest
from serve.models import ServedVersion
from serve.protocol import act
from serve.settings import ServeSettings

LIMITS = ServeSettings(max_rows=32)
WIDTH = 11
NAMES = [
    "cash", "drawdown", "AAPL.price", "AAPL.held", "MSFT.price", "MSFT.held", "XOM.price", "XOM.held",
    "AAPL.exists", "MSFT.exists", "XOM.exists",
]  # fmt: skip
ROW = [0.1 * index for index in range(WIDTH)]
ANN = {"observations": {"ann": ROW}}


def parsed(version: ServedVersion, body: Any) -> act.ActRequest:
    """A request, as the service reads it."""
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    return act.parse(act.load(text, {}, LIMITS), version, LIMITS)


def answered(version: ServedVersion, request: act.ActRequest) -> dict[str, Any]:
    """The answers of the bundle itself."""
    return {
        module: version.policy.infer(module, rows.observations, rows.masks, state=rows.state)
        for module, rows in request.rows.items()
    }


def replied(version: ServedVersion, body: Any) -> Any:
    """The response's JSON."""
    request = parsed(version, body)
    content, headers = act.render(request, answered(version, request), version, "r-1")
    assert headers == [(b"content-type", b"application/json")]
    return orjson.loads(content)


@given(seen=arrays(np.float32, (2, WIDTH), elements=st.floats(-1e6, 1e6, width=32)))
def test_names_and_lists_mean_the_same(small_version: ServedVersion, seen: Any) -> None:
    """A row by name, in any order, is the row in the layout's order, to the bit."""
    backwards = dict(reversed(list(zip(NAMES, seen[1].tolist(), strict=True))))
    request = parsed(small_version, {"observations": {"ann": seen[0].tolist(), "bob": backwards}})
    np.testing.assert_array_equal(request.rows["shared"].observations, seen)


def test_answer_is_named(small_version: ServedVersion) -> None:
    """Actions are by agent and entity, to the bit what the bundle gives; model, version and request are named."""
    reply = replied(small_version, {"observations": {"bob": ROW, "ann": ROW[::-1]}, "session": "s"})
    wanted = small_version.policy.infer("shared", np.array([ROW, ROW[::-1]], np.float32))
    assert {key: reply[key] for key in ("model", "version", "request_id", "session")} == {
        "model": "small",
        "version": "1",
        "request_id": "r-1",
        "session": "s",
    }
    assert list(reply["actions"]) == ["bob", "ann"]
    assert list(reply["actions"]["bob"]) == ["AAPL", "MSFT", "XOM"]
    np.testing.assert_array_equal(np.array(list(reply["actions"]["ann"].values()), np.float32), wanted.actions[1])
    np.testing.assert_array_equal(np.float32(reply["log_probs"]["bob"]), wanted.log_probs[0])
    np.testing.assert_array_equal(np.float32(reply["values"]["ann"]), wanted.values[1])


def test_whole_team_and_part_of_it(team_version: ServedVersion) -> None:
    """Each agent is answered by its own module; discrete actions are integers; who is not asked is not answered."""
    team = {"cid": ROW, "bob": ROW, "dan": ROW, "ann": ROW}
    reply = replied(team_version, {"observations": team})
    assert sorted(reply["actions"]) == sorted(team)
    for agent, module in (("cid", "first"), ("dan", "second")):
        wanted = team_version.policy.infer(module, np.array([ROW], np.float32))
        assert reply["actions"][agent] == wanted.actions[0].tolist()
    assert sorted(reply["values"]) == ["ann", "bob"]
    assert list(replied(team_version, {"observations": {"dan": ROW}})["actions"]) == ["dan"]


def test_newcomers_play_with_the_shared_module(small_version: ServedVersion, team_version: ServedVersion) -> None:
    """Where just one module plays whole groups, an agent of any name is one of them."""
    assert list(replied(small_version, {"observations": {"zoe": ROW}})["actions"]) == ["zoe"]
    assert "values" in replied(team_version, {"observations": {"zoe": ROW}})


def test_several_steps(small_version: ServedVersion) -> None:
    """A list of steps is answered by lists of the same length, each step with its own agents."""
    body = {"observations": [{"ann": ROW}, {"ann": ROW[::-1], "bob": ROW}], "action_masks": [{"ann": [True] * 3}, {}]}
    reply = replied(small_version, body)
    assert [list(step) for step in reply["actions"]] == [["ann"], ["ann", "bob"]]
    assert reply["actions"][0]["ann"] == reply["actions"][1]["bob"] != reply["actions"][1]["ann"]
    assert len(reply["log_probs"]) == len(reply["values"]) == 2
    assert isinstance(replied(small_version, {"observations": [{"ann": ROW}]})["actions"], list)


def test_plain_rows(team_version: ServedVersion) -> None:
    """With a module's name, rows go in and rows come out."""
    reply = replied(team_version, {"module": "second", "observations": [ROW, ROW], "action_masks": [[True] * 5] * 2})
    wanted = team_version.policy.infer("second", np.array([ROW, ROW], np.float32))
    assert reply["actions"] == wanted.actions.tolist()
    assert len(reply["log_probs"]) == 2


def test_masks_hold(team_version: ServedVersion) -> None:
    """A masked dimension is 0, and a masked choice is never made; agents without a mask may do all."""
    masks = {"ann": [False, True, False], "cid": [False, False, True, False, True]}
    reply = replied(team_version, {"observations": {"ann": ROW, "bob": ROW, "cid": ROW}, "action_masks": masks})
    assert reply["actions"]["ann"]["AAPL"] == reply["actions"]["ann"]["XOM"] == 0.0
    assert reply["actions"]["bob"]["AAPL"] != 0.0
    assert reply["actions"]["cid"] == [2, 1]


def test_state_goes_on(recurrent_version: ServedVersion) -> None:
    """State of an answer, sent with the next request, or kept for its session, gives the same actions."""
    body = {"observations": {"ann": ROW, "bob": ROW[::-1]}}
    first = replied(recurrent_version, body)
    assert len(first["state"]["bob"]) == 4
    second = replied(recurrent_version, body | {"state": first["state"]})
    assert second["actions"] != first["actions"]
    request = parsed(recurrent_version, body | {"session": "s"})
    kept = request.memory(answered(recurrent_version, request))
    only_bob = parsed(recurrent_version, {"observations": {"bob": ROW[::-1]}, "session": "s"}).with_memory(kept)
    answer = answered(recurrent_version, only_bob)["shared"].actions[0]
    np.testing.assert_array_equal(np.array(list(second["actions"]["bob"].values()), np.float32), answer)
    after = only_bob.memory(answered(recurrent_version, only_bob))
    assert set(after["shared"]) == {"bob"}  # what is remembered of others stays as it is
    newcomer = parsed(recurrent_version, {"observations": {"zoe": ROW}}).with_memory(kept)
    assert newcomer.rows["shared"].state is not None
    assert not newcomer.rows["shared"].state.any()


def test_version_and_session_are_known_early() -> None:
    """Both can be read before a version has been chosen; a number may be a number."""
    for version in ("3", 3):
        loaded = act.load(orjson.dumps({"version": version, "session": "s"}), {}, LIMITS)
        assert (loaded.version, loaded.session) == ("3", "s")


def named(**changes: Any) -> dict[str, Any]:
    """A row by name, changed."""
    return {"observations": {"ann": dict(zip(NAMES, ROW, strict=True)) | changes}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"observations": {"ann": [1, 2', r"^body: got no valid JSON"),
        ({}, r"^observations: got null, allowed is an object with an observation for each agent \(ann,"),
        ({"observations": {}}, r"^observations: got an object of 0"),
        ({"observations": []}, r"^observations: got 0 steps, allowed are 1 to 32"),
        ({"observations": [{"ann": ROW}, {}]}, r"^observations\[1\]: got an object of 0"),
        ({"observations": [{"ann": ROW}] * 33}, r"^observations: got 33 steps"),
        ({"observations": {f"a{i}": ROW for i in range(33)}}, r"^observations: got 33 rows and more, allowed are 32"),
        ({"observations": {"ann": ROW[:3]}}, r'^observations\["ann"\]: got 3 numbers, allowed are 11'),
        ({"observations": {"ann": None}}, r'^observations\["ann"\]: got null'),
        ({"observations": {"ann": [*ROW[:10], None]}}, r'^observations\["ann"\]\["XOM.exists"\]: got null'),
        ({"observations": {"ann": [*ROW[:10], "1"]}}, r'^observations\["ann"\]\["XOM.exists"\]: got "1"'),
        ({"observations": {"ann": ROW, "bob": [*ROW[:10], [1]]}}, r"^observations: got lists in lists"),
        ({"observations": {"ann": [*ROW[:9], 2e6, 0]}}, r'^observations\["ann"\]\["MSFT.exists"\]: got 2e\+06'),
        ({"observations": [{"ann": ROW}, {"bob": [1e300] * 11}]}, r'^observations\[1\]\["bob"\]\["cash"\]: got 1e'),
        (named(cash=None), r'^observations\["ann"\]\["cash"\]: got null'),
        (named(cush=1), r'^observations\["ann"\]: got unknown features: "cush"; allowed are cash, .* 6 more'),
        ({"observations": {"ann": {"cash": 1}}}, r"lacks 10 of 11 features: drawdown, .*, MSFT.held and 5 more$"),
        (ANN | {"action_masks": {"bob": [True] * 3}}, r'lacks agent "bob", which'),
        (ANN | {"action_masks": {"ann": [True]}}, r'^action_masks\["ann"\]: got an array of 1'),
        (ANN | {"action_masks": {"ann": [1, 1, 0]}}, r'^action_masks\["ann"\]\[0\]: got 1'),
        (ANN | {"action_masks": [{}]}, r"^action_masks: got an array of 1, allowed is an object"),
        ({"observations": [{"ann": ROW}], "action_masks": {}}, r"^action_masks: got an object of 0, allowed is a list"),
        ({"observations": {"cid": ROW}, "action_masks": {"cid": [False] * 5}}, r'^action_masks\["cid"\]: allows'),
        (ANN | {"state": {"ann": [0]}}, r'^state\["ann"\]: is given, but module shared has none'),
        ({"observations": [ROW], "module": "third"}, r'^module: got "third", allowed are shared, first, second'),
        ({"observations": [ROW[:3]], "module": "first"}, r"^observations: got shape \[1, 3\], allowed is \[N, 11\]"),
        ({"observations": [], "module": "first"}, r"^observations: got shape \[0\]"),
        ({"observations": [[3e6, *ROW[1:]]], "module": "first"}, r"^observations\[0\]\[0\]: got 3e\+06"),
        ({"observations": [ROW], "module": "first", "action_masks": [[True]]}, r"^action_masks: got shape \[1, 1\]"),
        ({"observations": [ROW], "module": "first", "state": [[0]]}, r"^state: is given, but module first has none"),
        ({"observation": {}}, r'^"observation": is not known, allowed are observations, action_masks'),
        (ANN | {"explain": True}, r"^explain: got true, allowed is a whole number from 0"),
        (ANN | {"explain": 101}, r"^explain: got 101"),
        (ANN | {"deterministic": "no"}, r'^deterministic: got "no"'),
        (ANN | {"seed": 1.5}, r"^seed: got 1.5"),
        (ANN | {"version": []}, r"^version: got an array of 0"),
        (ANN | {"session": 5}, r"^session: got 5"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(team_version: ServedVersion, body: Any, message: str) -> None:
    """Whatever is wrong is one sentence with the agent and the feature, and a 400."""
    with pytest.raises(BadRequest, match=message) as caught:
        parsed(team_version, body)
    assert "\n" not in caught.value.message


def test_unknown_agents_are_refused_where_no_module_is_shared(
    sketch: Any, make_bundle: Any, as_version: Any, tmp_path: Any
) -> None:
    """If each agent has a module of its own, nobody can say who a stranger is."""
    alone = {"traders": sketch(modules=("one", "two"))}
    version = as_version(make_bundle(tmp_path / "bundle", alone))
    with pytest.raises(BadRequest, match=r'^observations: got agent "zoe", allowed are ann, bob'):
        parsed(version, {"observations": {"zoe": ROW}})


def test_state_must_fit(recurrent_version: ServedVersion) -> None:
    """A state of another width, or not of numbers, is refused with the agent's name."""
    body = {"observations": {"ann": ROW}}
    with pytest.raises(BadRequest, match=r'^state\["ann"\]: got an array of 3, allowed is a list of 4 numbers'):
        parsed(recurrent_version, body | {"state": {"ann": [0.0] * 3}})
    with pytest.raises(BadRequest, match=r'^state\["ann"\]\[3\]: got null'):
        parsed(recurrent_version, body | {"state": {"ann": [0.0, 0.0, 0.0, None]}})
    with pytest.raises(BadRequest, match=r'^state\["ann"\]\[0\]: got 1e\+07'):
        parsed(recurrent_version, body | {"state": {"ann": [1e7, 0.0, 0.0, 0.0]}})
