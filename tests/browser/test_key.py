"""The player of a locked service asks for a key: by keyboard, for assistive technology, and for this tab only."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.service import artifacts
from tests.service.http.access.signing import SECRET, token
from tests.service.processes import free_port, process

KEY = "web-secret"
QUEUE, DIALOG = "#queue li", "#key-dialog"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with a key."""
    folder, port = tmp_path_factory.mktemp("locked"), free_port()
    artifact = artifacts.build(folder / "artifacts", catalogue=True)
    settings = {"artifact": artifact, "state_dir": folder, "api_keys": f"web:{KEY}", "jwt_key": SECRET}
    with process("-m", "service", port=port, log=folder / "log", **settings):
        yield f"http://127.0.0.1:{port}"


def test_a_person_enters_a_key_by_keyboard(page: Page, locked: str) -> None:
    """A wrong one is said, and asked for again. The right one opens the player, also when the page is loaded again."""
    page.goto(locked)
    expect(page.locator("#key")).to_be_focused()
    expect(page.get_by_role("dialog", name="This service asks for a key")).to_be_visible()
    page.keyboard.press("Enter")  # nothing is no key
    expect(page.locator(DIALOG)).to_be_visible()

    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("this key is not known")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#key")).to_have_value("")

    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(DIALOG)).to_have_count(0)
    expect(page.locator(QUEUE).first).to_be_visible()
    page.reload()
    expect(page.locator(QUEUE).first).to_be_visible()
    page.click("#play")
    expect(page.locator("#ribbon li.played")).to_have_count(1)

    assert KEY not in page.content()
    assert page.evaluate("Object.values(localStorage).join()").count(KEY) == 0


def test_the_key_is_for_this_tab(browser: Browser, locked: str) -> None:
    """Another tab of the same browser asks again."""
    with browser.new_context() as context:
        page, other = context.new_page(), context.new_page()
        page.goto(locked)
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        expect(page.locator(QUEUE).first).to_be_visible()
        other.goto(locked)

        expect(other.locator(DIALOG)).to_be_visible()


@pytest.mark.parametrize("how", ["Escape", "Cancel"])
def test_a_person_may_give_none(page: Page, locked: str, how: str) -> None:
    """What was typed is not used. The page says why it is empty, and asks again when something is done."""
    page.goto(locked)
    page.fill("#key", KEY)
    if how == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notice")).to_contain_text("No queue: this path needs a key")
    expect(page.locator(QUEUE)).to_have_count(0)
    page.click("text=Switch")

    expect(page.locator(DIALOG)).to_be_visible()


def test_listener_token_opens_its_own_listener(page: Page, locked: str) -> None:
    """And says so at another one."""
    page.goto(locked)
    page.fill("#key", token("ann"))
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("a listener token opens the paths of its own user alone")
    page.fill("#listener", "ann")
    page.click("text=Switch")

    expect(page.locator(QUEUE).first).to_be_visible()
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violation_in_the_dialog(page: Page, locked: str, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(locked)
    expect(page.locator(DIALOG)).to_be_visible()

    found = Axe().run(page)

    assert found.violations_count == 0, found.generate_report()
