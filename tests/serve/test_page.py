"""The page at `/`, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from serve.api import make_api
from serve.asgi import make_app
from serve.guard import Guard
from serve.keys import KeysFile
from serve.models import Models, ServedModel, ServedVersion
from serve.service import PolicyService
from serve.settings import ServeSettings

Listening = Callable[[Any], AbstractContextManager[str]]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium found; `make test-tools` as root, or `apt-get install chromium`, installs it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def url(
    small_version: ServedVersion,
    team_version: ServedVersion,
    as_model: Callable[..., ServedModel],
    listening: Listening,
) -> Iterator[str]:
    """A service with a model of one module and one of several."""
    models = Models({"small": as_model(small_version), "team": as_model(team_version)})
    service = PolicyService(ServeSettings(), models)
    with listening(make_app(service, make_api(service))) as address:
        yield address
    service.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must not cause errors, nor ask anything of another address than its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    troubles: list[str] = []
    asked: set[str] = set()
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: asked.add(request.url.split("/")[2]) if "://" in request.url else None)
    yield opened
    context.close()
    refused = [text for text in troubles if "Failed to load resource" in text]  # what a test provokes: 400s and 401s
    assert troubles == refused
    assert len(asked) == 1


def ready(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#act")).to_be_enabled()


@contextmanager
def answered(page: Page) -> Iterator[None]:
    """What is done inside makes the page ask; waits until the answer is shown."""
    with page.expect_response("**/act") as response:
        yield
    expect(page.locator("#json")).to_contain_text(response.value.json()["request_id"])


def actions(page: Page) -> dict[str, float]:
    rows = page.locator("#actions tr").all()
    return {row.locator("th").inner_text(): float(row.locator("td.value").inner_text()) for row in rows}


def test_a_person_acts_in_one_click(page: Page, url: str, small_version: ServedVersion) -> None:
    """The page comes filled with a golden example, and a click shows the very actions that the policy gives to it."""
    ready(page, url)
    expect(page.locator("#health")).to_have_text("Ready")
    expect(page.locator("#model")).to_have_value("small")
    golden = small_version.manifest.golden["shared"]
    assert float(page.get_by_label("cash", exact=True).input_value()) == pytest.approx(
        golden.observations[0][0], abs=1e-5
    )
    page.get_by_role("button", name="Act", exact=True).click()
    expect(page.locator("#result")).to_be_visible()
    wanted = small_version.policy.infer("shared", [golden.observations[0]], [golden.action_mask[0]])  # type: ignore[arg-type]
    assert actions(page) == pytest.approx(
        dict(zip(("AAPL", "MSFT", "XOM"), map(float, wanted.actions[0]), strict=True)), abs=6e-4
    )
    assert wanted.values is not None
    facts = page.locator("#facts").inner_text()
    assert f"{wanted.values[0]:.3f}" in facts
    assert f"{wanted.log_probs[0]:.3f}" in facts
    assert "VERSION\n1" in facts.upper()


def test_the_chart_is_drawn_to_scale(page: Page, url: str) -> None:
    """A bar is as long as its action, to the right of the middle if positive and to the left if not."""
    ready(page, url)
    page.emulate_media(reduced_motion="reduce")  # or bars glide to their place
    with answered(page):
        page.locator("#act").click()
    for row in page.locator("#actions tr").all():
        value = float(row.locator("td.value").inner_text())
        track, fill = row.locator(".track").bounding_box(), row.locator(".fill").bounding_box()
        assert track is not None
        assert fill is not None
        middle = track["x"] + track["width"] / 2
        end = fill["x"] + fill["width"] if value >= 0 else fill["x"]
        assert end - middle == pytest.approx(value * track["width"] / 2, abs=2)


def test_a_change_changes_the_answer_and_can_be_undone(page: Page, url: str) -> None:
    """Editing a feature moves the actions, without a click where that is wished; the example brings them back."""
    ready(page, url)
    with answered(page):
        page.get_by_label("at every change").check()
    before = actions(page)
    with answered(page):
        page.get_by_label("MSFT price").fill("3.5")
    expect(page.get_by_label("MSFT price")).to_have_class("changed")
    assert actions(page) != before
    with answered(page):
        page.get_by_role("button", name="Back to the example").click()
    assert actions(page) == before


def test_an_explanation_names_features(page: Page, url: str) -> None:
    """The effects come with the answer, largest first; for one action they have signs."""
    ready(page, url)
    page.locator("#explain").select_option("5")
    page.locator("#act").click()
    expect(page.locator("#effects tr")).to_have_count(5)
    sizes = [float(text) for text in page.locator("#effects td.value").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size >= 0 for size in sizes)
    free = next(name for name, action in actions(page).items() if abs(action) < 1)  # nothing moves one at its limit
    page.locator("#effect-on").select_option(free)
    signed = page.locator("#effects td.value").all_inner_texts()
    assert any(text.startswith("+") for text in signed)
    assert any(text.startswith("-") for text in signed)
    page.locator("#explain").select_option("0")
    page.locator("#act").click()
    expect(page.locator("#explanation")).to_be_hidden()


def test_discrete_agents_and_masks(page: Page, url: str) -> None:
    """Of a team any agent can be asked; a choice that is masked is not made."""
    ready(page, url)
    page.locator("#model").select_option("team")
    page.locator("#agent").select_option("cid")
    page.locator("#mask-set summary").click()
    expect(page.locator("#mask input")).to_have_count(5)
    for choice in (0, 2):
        page.locator(f"#mask-{choice}").uncheck()
    page.locator("#act").click()
    expect(page.locator("#actions tr")).to_have_count(2)
    assert page.locator("#actions td.value").all_inner_texts()[0] == "1 of 0…2"
    expect(page.locator("#actions caption")).to_contain_text("What cid chooses")
    page.locator("#mask-1").uncheck()
    page.locator("#act").click()
    expect(page.locator("#error")).to_contain_text("allows nothing in branch 0")


def test_a_late_description_is_dropped(page: Page, url: str) -> None:
    """Where one policy's description comes after another has been chosen, the form stays the other's."""
    ready(page, url)
    held: list[Route] = []
    page.route("**/v1/policies/team", lambda route: held.append(route))
    with page.expect_request("**/v1/policies/team"):
        page.locator("#model").select_option("team")
    with page.expect_response("**/v1/policies/small"):
        page.locator("#model").select_option("small")
    expect(page.locator("#act")).to_be_enabled()
    with page.expect_response("**/v1/policies/team") as late:
        held[0].continue_()
    late.value.finished()
    page.wait_for_timeout(100)
    assert page.locator("#agent option").all_inner_texts() == ["ann", "bob"]


def test_a_sample_is_drawn_by_its_seed(page: Page, url: str) -> None:
    """Sampling asks for a seed, and the same seed gives the same actions."""
    ready(page, url)
    expect(page.locator("#seed")).to_be_disabled()
    page.get_by_label("most likely action").uncheck()
    found = []
    for seed in ("1", "2", "1"):
        page.locator("#seed").fill(seed)
        with answered(page):
            page.locator("#act").click()
        found.append(actions(page))
    assert found[0] == found[2] != found[1]


def test_what_is_no_number_is_refused_at_the_field(page: Page, url: str) -> None:
    """An empty field is named, marked and focused, and nothing is sent; an absurd one is refused by the service."""
    ready(page, url)
    page.get_by_label("drawdown", exact=True).fill("")
    page.locator("#act").click()
    expect(page.locator("#error")).to_have_text("drawdown: this is not a number.")
    expect(page.get_by_label("drawdown", exact=True)).to_be_focused()
    expect(page.get_by_label("drawdown", exact=True)).to_have_attribute("aria-invalid", "true")
    page.get_by_label("drawdown", exact=True).fill("1e30")
    page.locator("#act").click()
    expect(page.locator("#error")).to_contain_text("drawdown")
    expect(page.locator("#error")).to_contain_text("1e+30")
    page.get_by_label("drawdown", exact=True).fill("0")
    page.locator("#act").click()
    expect(page.locator("#error")).to_be_hidden()


def test_the_curl_line_asks_the_same(page: Page, url: str) -> None:
    """What is shown for the shell is a request with the observation as it stands."""
    ready(page, url)
    page.get_by_label("cash", exact=True).fill("0.123")
    page.locator("#act").click()
    expect(page.locator("#result")).to_be_visible()
    line = page.locator("#curl").text_content()
    assert line is not None
    assert f"{url}/v1/policies/small/act" in line
    assert '"cash":0.123' in line


def test_a_key_is_asked_for_and_kept_to_the_tab(
    browser: Browser,
    page: Page,
    tmp_path: Path,
    small_version: ServedVersion,
    as_model: Callable[..., ServedModel],
    listening: Listening,
) -> None:
    """Without a key the page says so and shows a field; with one it works, and the key is gone with the tab."""
    keys = KeysFile(tmp_path / "keys.json")
    key = keys.add("person")
    service = PolicyService(ServeSettings(), Models({"small": as_model(small_version)}), guard=Guard(keys))
    with listening(make_app(service, make_api(service))) as address:
        page.goto(address)
        expect(page.locator("#error")).to_contain_text("key: got none")
        page.get_by_label("API key").fill("ek_wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#error")).to_contain_text("not known")
        page.get_by_label("API key").fill(key)
        page.get_by_label("API key").press("Enter")
        expect(page.locator("#act")).to_be_enabled()
        page.locator("#act").click()
        expect(page.locator("#actions tr")).to_have_count(3)
        line = page.locator("#curl").text_content()
        assert line is not None
        assert key not in page.content()
        assert "$ENTREPOT_KEY" in line
        assert page.evaluate("Object.keys(localStorage).length") == 0
        other = page.context.new_page()
        other.goto(address)
        expect(other.locator("#error")).to_contain_text("key: got none")
    service.close()


def test_light_and_dark(page: Page, url: str, browser: Browser) -> None:
    """The page follows the system, and the button's choice outlasts a visit; text stays readable in both."""

    def contrast(of: Page, selector: str) -> float:
        return float(
            of.evaluate(
                """selector => {
                    const colour = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((x) => {
                        const part = Number(x) / 255;
                        return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
                    });
                    const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
                    let behind = document.querySelector(selector);
                    const ink = light(colour(getComputedStyle(behind).color));
                    const clear = 'rgba(0, 0, 0, 0)';
                    while (getComputedStyle(behind).backgroundColor === clear) behind = behind.parentElement;
                    const paper = light(colour(getComputedStyle(behind).backgroundColor));
                    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
                }""",
                selector,
            )
        )

    ready(page, url)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for selector in ("h1", "legend", "label", "#act", "#entities thead th", ".health", "nav a"):
        assert contrast(page, selector) >= 4.5, selector
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    for selector in ("h1", "legend", "label", "#act", "#entities thead th", ".health", "nav a"):
        assert contrast(page, selector) >= 4.5, selector
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    context = browser.new_context(color_scheme="dark")
    other = context.new_page()
    other.goto(url)
    assert other.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    context.close()


def test_every_control_has_a_name_and_the_keyboard_suffices(page: Page, url: str) -> None:
    """A screen reader has a name for all that can be operated, and Enter in a field acts."""
    ready(page, url)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, a')].filter((each) =>
            !each.labels?.length && !each.getAttribute('aria-label') && !each.textContent.trim())
            .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    page.get_by_label("cash", exact=True).press("Enter")
    expect(page.locator("#actions tr")).to_have_count(3)
    assert page.locator("#answer").get_attribute("aria-labelledby") == "answer-title"


def test_a_phone_shows_it_all(browser: Browser, url: str) -> None:
    """On a narrow screen nothing but the table of entities scrolls sideways."""
    context = browser.new_context(viewport={"width": 360, "height": 700})
    phone = context.new_page()
    ready(phone, url)
    phone.locator("#act").click()
    expect(phone.locator("#actions tr")).to_have_count(3)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_the_documentation_opens(page: Page, url: str) -> None:
    """The page leads to the API's documentation, which needs nothing from elsewhere either."""
    ready(page, url)
    page.get_by_role("link", name="API").click()
    expect(page.locator(".opblock").first).to_be_visible()


def test_agents_that_need_each_other_are_asked_together(
    page: Page, make_bundle: Any, as_version: Any, sketch: Any, serving: Any, tmp_path: Path
) -> None:
    """Beside the agent that is shown goes what its team sees in the example, of those who are there."""
    sketches = {"traders": sketch(agents=("ann", "bob", "cid"), whole_worlds=True)}
    version = as_version(make_bundle(tmp_path / "bundle", sketches), "talking")
    ready(page, str(serving(version).base_url))
    with answered(page):
        page.get_by_role("button", name="Act", exact=True).click()
    golden = version.manifest.golden["shared"]
    rows, masks = np.array(golden.observations[:3], np.float32), np.array(golden.action_mask[:3])
    wanted = version.policy.infer("shared", rows, masks, alive=np.array(golden.alive[:3]))
    shown = dict(zip(("AAPL", "MSFT", "XOM"), map(float, wanted.actions[0]), strict=True))
    assert actions(page) == pytest.approx(shown, abs=6e-4)
