"""The demo player in a real browser, against a real service."""

import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.store import embedded_valkey
from tests.service import artifacts
from tests.service.processes import free_port, http, process, until

QUEUE = "#queue li"


def opened(page: Page, address: str, listener: str) -> None:
    """Open the player as a listener of its own."""
    page.goto(address)
    expect(page.locator(QUEUE).first).to_be_visible()
    page.fill("#listener", listener)
    page.click("text=Switch")
    expect(page.locator("#ribbon li")).to_have_count(0)


def test_a_listener_plays_skips_likes_and_sees_what_changed(page: Page, address: str) -> None:
    opened(page, address, "journey")
    first = page.locator(QUEUE).first.get_attribute("data-track")

    page.click("#play")
    expect(page.locator("#ribbon li.played")).to_have_count(1)
    expect(page.locator(f"{QUEUE}[data-track={first}]")).to_have_count(0)

    page.click("#skip")
    expect(page.locator("#ribbon li.skipped")).to_have_count(1)
    expect(page.locator("#last-skip")).to_be_visible()
    expect(page.locator("#skip-summary")).to_contain_text("You skipped")
    expect(page.locator("#ribbon li.played")).to_have_count(1)  # the next track starts by itself

    page.click("#like")
    expect(page.locator("#ribbon li.liked")).to_have_count(1)
    page.click("#dislike")
    expect(page.locator("#ribbon li.disliked")).to_have_count(1)
    expect(page.locator("#calls tr").filter(has_text="POST /v1/events")).to_have_count(6)


def test_what_a_skip_did_is_said_in_numbers(page: Page, address: str) -> None:
    """Artist a had two tracks of three and has one left; b2 is the only new track. Without an artist only new tracks count."""
    page.goto(address)
    told = page.evaluate(
        """async () => {
            const { effectOfSkip } = await import("/web/changes.js");
            const [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(id => ({ track_id: id, artist: id[0] }));
            return [a1, { track_id: "x" }].map(skipped => effectOfSkip(skipped, [a1, a2, b1], [b1, b2, a2]));
        }"""
    )

    assert told == ["1 of the 3 tracks is new. Tracks of a: 2 before, 1 now.", "1 of the 3 tracks is new."]


def test_why_a_track_moved_is_said_where_the_page_knows_it(page: Page, address: str) -> None:
    """By the artist of the track that was liked or skipped. Of a move against the action nothing is said."""
    page.goto(address)
    told = page.evaluate(
        """async () => {
            const { compare } = await import("/web/changes.js");
            const [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(id => ({ track_id: id, artist: id[0] }));
            const changes = (type, track) => compare([b1, a2, a1], [a2, b1, b2], { type, track }).rows;
            const rows = (type, track) => changes(type, track).map(row => [row.kind, row.why]);
            return [rows("like", a1), rows("skip", b2), compare([], [a1], null).rows.map(row => row.kind)];
        }"""
    )

    assert told == [
        [["up", "same artist as the track that you liked"], ["down", ""], ["new", ""]],
        [["up", ""], ["down", "same artist as the track that you skipped"], ["new", ""]],
        ["same"],
    ]


def test_a_listener_who_comes_back_sees_what_the_model_remembers(page: Page, address: str) -> None:
    """The plays before the session, skips among them, stand below the session."""
    events = [
        {
            "event_id": f"old-{place}",
            "user_id": "back again",
            "track_id": f"t{place}",
            "type": type,
            "at": f"2026-01-0{place}T00:00:00Z",
        }
        for place, type in enumerate(("complete", "skip", "complete"), 1)
    ]
    httpx.post(f"{address}/v1/events", json={"events": events}).raise_for_status()
    opened(page, address, "back again")

    expect(page.locator("#earlier")).to_have_text("Before this session the model reads 3 plays, 1 of them skipped.")
    expect(page.locator("#earlier-ribbon li")).to_have_count(3)
    expect(page.locator("#earlier-ribbon li.skipped")).to_have_count(1)
    page.click("#play")
    expect(page.locator("#ribbon li")).to_have_count(1)
    expect(page.locator("#earlier-ribbon li")).to_have_count(3)


def test_a_play_of_the_past_can_be_played_again(page: Page, address: str) -> None:
    """The bars below the session carry titles. One that is clicked plays at once, and the track before it counts as skipped."""
    events = [
        {"event_id": f"{at}", "user_id": "replay", "track_id": f"t{at}", "type": "complete", "at": f"2026-01-{at:02}T00:00:00Z"}
        for at in range(1, 15)
    ]
    httpx.post(f"{address}/v1/events", json={"events": events}).raise_for_status()
    opened(page, address, "replay")
    expect(page.get_by_role("button", name=re.compile(r"title t\d+: played. Play again"))).to_have_count(14)
    page.click("#play")
    expect(page.locator("#ribbon li.played")).to_have_count(1)

    page.get_by_role("button", name="title t3: played. Play again").click()

    expect(page.locator("#now-title")).to_have_text("title t3")
    expect(page.locator("#ribbon li")).to_have_count(2)
    expect(page.locator("#ribbon li.skipped")).to_have_count(1)


def test_every_control_has_a_key(page: Page, address: str) -> None:
    opened(page, address, "keys")
    page.locator("#queue-heading").focus()

    page.keyboard.press("p")
    expect(page.locator("#play")).to_have_text("Pause")
    page.keyboard.press("p")
    expect(page.locator("#play")).to_have_text("Play")
    page.keyboard.press("k")
    expect(page.locator("#clock")).to_contain_text(re.compile(r"^0:1\d"))
    page.keyboard.press("j")
    expect(page.locator("#clock")).to_contain_text(re.compile(r"^0:0\d"))
    page.keyboard.press("l")
    expect(page.locator("#ribbon li.liked")).to_have_count(1)
    page.keyboard.press("s")
    expect(page.locator("#last-skip")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator("#ribbon li.disliked")).to_have_count(1)


def test_a_refused_name_is_said_to_be_wrong(page: Page, address: str) -> None:
    """A field of the page drops line breaks, but keeps a tab. The last listener's queue goes, and the name is not kept."""
    opened(page, address, "before")

    page.fill("#listener", "with\ttab")
    page.click("text=Switch")

    expect(page.locator("#notice")).to_have_text("No queue: user_id: found a control character; an id has none.")
    expect(page.locator(QUEUE)).to_have_count(0)
    page.reload()
    expect(page.locator(QUEUE).first).to_be_visible()
    expect(page.locator("#listener")).to_have_value("before")


def test_a_name_may_be_as_long_as_an_id(page: Page, address: str) -> None:
    """Two names of 256 bytes that differ at the end are two listeners. One byte more is refused, and nothing is cut."""
    longest = ["a" * 255 + end for end in "bc"]
    opened(page, address, longest[0])
    page.click("#play")
    expect(page.locator("#ribbon li")).to_have_count(1)
    plays = [len(httpx.get(f"{address}/v1/users/{name}/session").json()["session"]) for name in longest]
    assert plays == [1, 0]

    page.fill("#listener", "é" * 128 + "d")
    page.click("text=Switch")

    said = "No queue: user_id: found 257 bytes of UTF-8; an id has at most 256."
    expect(page.locator("#notice")).to_have_text(said)
    expect(page.locator("#listener")).to_have_value("é" * 128 + "d")


def test_keys_do_nothing_while_a_person_types(page: Page, address: str) -> None:
    opened(page, address, "typing")

    page.locator("#listener").press_sequentially("pslr")

    expect(page.locator("#play")).to_have_text("Play")
    expect(page.locator("#ribbon li")).to_have_count(0)


def test_a_track_that_ends_is_complete_and_the_next_one_starts(page: Page, address: str) -> None:
    opened(page, address, "ending")
    page.select_option("#speed", "60")

    page.click("#play")
    page.locator("#position").fill("199")

    expect(page.locator("#ribbon li.played")).to_have_count(2)


def test_the_album_gap_has_a_slider_for_the_keyboard(page: Page, address: str) -> None:
    """t0 and t1 are on one album, t2 and t3 on the next. With a gap of 2, neighbours are on different albums."""
    opened(page, address, "albums")
    expect(page.locator(QUEUE).nth(1)).to_have_attribute("data-track", "t1")
    slider = page.get_by_label("Album gap")

    slider.press("ArrowRight")
    slider.press("ArrowRight")

    expect(page.locator("#calls tr").filter(has_text="album_gap=2").first).to_be_visible()
    expect(page.locator(QUEUE).nth(0)).to_have_attribute("data-track", "t0")
    expect(page.locator(QUEUE).nth(1)).to_have_attribute("data-track", "t2")


def test_rules_change_the_queue_and_say_why(page: Page, address: str) -> None:
    """A slider and the switch change the next request. With nothing heard a track is popular, after a play it has a reason."""
    opened(page, address, "rules")
    page.locator("input[name=artist_gap]").fill("3")
    expect(page.locator("#calls tr").filter(has_text="artist_gap=3").first).to_be_visible()
    page.locator("input[name=explain]").check()
    expect(page.locator(QUEUE).first).to_contain_text("popular")
    page.locator("input[name=explore]").fill("0.5")
    expect(page.locator(QUEUE).filter(has_text="explored").first).to_be_visible()
    page.locator("input[name=explore]").fill("0")

    page.click("#play")
    expect(page.locator(QUEUE).filter(has_text=re.compile("fits what you played: .* 100 %")).first).to_be_visible()
    page.locator("input[name=novelty]").fill("-1")
    expect(page.locator(QUEUE)).to_have_count(0)  # nothing else was heard

    assert Axe().run(page).violations_count == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violation(page: Page, address: str, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    opened(page, address, f"axe-{scheme}-{width}")
    page.click("#play")
    page.click("#skip")
    expect(page.locator("#last-skip")).to_be_visible()

    found = Axe().run(page)

    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing is cut off at the side


def test_redis_dies_and_comes_back_under_the_player(page: Page, tmp_path: Path) -> None:
    """Popular tracks continue the queue, and the page says so, also that events were not stored. Afterwards it works as
    before.
    """
    artifact, port = artifacts.build(tmp_path / "artifacts", catalogue=True), free_port()
    with ExitStack() as first:
        url = first.enter_context(embedded_valkey.running(tmp_path))
        settings = {"artifact": artifact, "redis_url": url, "redis_timeout": 0.5}
        with process("-m", "service", port=port, log=tmp_path / "log", **settings):
            opened(page, f"http://127.0.0.1:{port}", "unlucky")
            page.click("#play")
            expect(page.locator("#ribbon li.played")).to_have_count(1)

            first.close()  # Redis is down
            page.click("#skip")
            said = "The skip was not stored: Redis is out of reach. Do it again; nothing counts twice."
            expect(page.locator("#notice")).to_have_text(said)
            page.click("text=Switch")
            expect(page.locator("#notice")).to_contain_text("Degraded")
            expect(page.locator(QUEUE)).not_to_have_count(0)

            with embedded_valkey.running(tmp_path), http(port) as client:  # it is back at the same address
                until(lambda: client.get("/readyz").status_code == 200)
                page.click("text=Switch")
                expect(page.locator("#notice")).to_be_hidden()
