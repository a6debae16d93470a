"""The pages of curation in a real browser: the report asks nobody for anything and filters without a script, and a
reviewer needs a keyboard alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from curation_makers import CAPTION, make_dataset

from lumosx.curation import marks
from lumosx.curation.report import ReportInput
from lumosx.curation.report_page import report_html
from lumosx.curation.review import FILE, read_reviews, reviewed
from lumosx.curation.review_server import Desk, ReviewServer
from lumosx.scene.palette import OBJECT_COLOUR

TWO = "//p[@class='prompt'][mark[text()='woman']]"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return make_dataset(tmp_path_factory.mktemp("sea"))


@pytest.fixture(scope="module")
def report(dataset: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    html = tmp_path_factory.mktemp("page") / "report.html"
    html.write_text(report_html(dataset), encoding="utf-8")
    return html


@pytest.fixture
def opened(chromium: Any) -> Iterator[tuple[Any, list[str], list[str]]]:
    """A page, what its console said, and the requests that left it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    console, requests = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page, console, requests
    context.close()


@pytest.fixture
def desk(dataset: ReportInput, tmp_path: Path) -> Iterator[tuple[str, Desk]]:
    """The address of a reviewer's page, and what is behind it."""
    (tmp_path / "blobs").symlink_to(dataset.root / "blobs")
    clips = [(each, dataset.records[each.record.id]) for each in dataset.clips if each.record.id in dataset.records]
    with ReviewServer(Desk(tmp_path, clips, "ada")) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.url, server.desk
        server.shutdown()
        thread.join()


def colours(caption: Any) -> dict[str, str]:
    """The background of every coloured piece of a caption, as "#rrggbb"."""
    pieces = caption.locator("mark").evaluate_all(
        "all => all.map(mark => [mark.innerText, getComputedStyle(mark).backgroundColor])"
    )
    return {text: "#" + bytes(int(part) for part in rgb[4:-1].split(",")).hex() for text, rgb in pieces}


def test_the_report_asks_for_nothing_and_runs_nothing(opened: Any, report: Path) -> None:
    page, console, requests = opened
    page.goto(report.as_uri())
    assert page.title() == "sea: curation"  # the script in a caption did not run
    assert console == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.eval_on_selector_all("img", "all => all.length && all.every(i => i.complete && i.naturalWidth > 0)")


def test_the_funnel_narrows_as_its_numbers_say(opened: Any, report: Path) -> None:
    page, *_ = opened
    page.goto(report.as_uri())
    rows = page.locator("#funnel tr[data-stage]").evaluate_all(
        """rows => rows.map(row => [row.dataset.stage, row.cells[2].innerText, row.cells[3].innerText,
            ...['stayed', 'rejected', 'failed', 'waiting'].map(name => {
                const bar = row.querySelector('.bar'), part = bar.querySelector('.' + name);
                return part ? Math.round(part.getBoundingClientRect().width / bar.clientWidth * 110) / 10 : 0;
            })])"""
    )
    found = {row[0]: row[1:] for row in rows}
    assert found["flow"] == ["11", "8", 8, 3, 0, 0]
    assert found["people"] == ["8", "7", 7, 0, 0, 1]
    assert found["caption"] == ["7", "6", 6, 0, 1, 0]
    assert found["review"] == ["4", "4", 4, 0, 0, 0]


def test_words_have_the_colours_of_their_people(opened: Any, report: Path) -> None:
    page, *_ = opened
    page.goto(report.as_uri())
    caption = page.locator(TWO).first
    assert caption.inner_text() == CAPTION
    found = colours(caption)
    assert found["man"] == found["red hat"] == marks.colour(1)
    assert found["woman"] == found["blue coat"] == marks.colour(2)
    assert found["boat"] == OBJECT_COLOUR


def test_clips_are_filtered_by_what_became_of_them(opened: Any, report: Path) -> None:
    page, *_ = opened
    page.goto(report.as_uri())
    shown = page.locator("article:visible")
    assert shown.count() == 11
    page.get_by_label("flow-low").check()
    assert shown.locator("p > strong").all_inner_texts() == ["flow-low"] * 2
    page.keyboard.press("ArrowLeft")  # a group of radio buttons, as keyboards know it
    assert shown.locator("p > strong").all_inner_texts() == ["kept"] * 4
    page.get_by_label("all 11").check()
    assert shown.count() == 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_a_small_screen(opened: Any, report: Path, scheme: str) -> None:
    page, *_ = opened
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(report.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_reviewer_needs_a_keyboard_alone(opened: Any, desk: tuple[str, Desk], dataset: ReportInput) -> None:
    """Clip by clip: accepts the one with one person, moves the hat of another to its other person and accepts, rejects
    one, takes that back, and leaves."""
    (page, console, requests), (url, behind) = opened, desk
    page.goto(url)
    order = list(behind.clips)
    for place, clip in enumerate(order):
        page.get_by_text(f"{place + 1} of 4,").wait_for()
        assert page.locator("#title").inner_text() == clip
        if len(dataset.records[clip].subjects) == 1:
            page.keyboard.press("a")
            continue
        break
    moved = order[place]
    page.keyboard.press("s")
    page.locator(".attribute[aria-pressed=true]", has_text="red hat").wait_for()
    page.keyboard.press("2")
    page.get_by_text("not judged, 1 moved").wait_for()
    assert page.locator("[aria-label='person 2'] .attribute").all_inner_texts() == ["blue coat", "red hat"]
    assert colours(page.locator(TWO))["red hat"] == marks.colour(2)
    page.keyboard.press("a")
    page.keyboard.press("r")  # the next one, at once
    page.get_by_text(f"{place + 3} of 4,").wait_for()
    page.keyboard.press("u")
    page.get_by_text(f"{place + 2} of 4,").wait_for()
    page.get_by_text("not judged").wait_for()
    page.keyboard.press("k")
    page.get_by_text("accepted, 1 moved").wait_for()

    lines = [line for line in read_reviews(behind.root / FILE) if line.clip == moved]
    assert [(line.verdict, len(line.moves)) for line in lines] == [(None, 1), ("accept", 1)]
    last = json.loads((behind.root / FILE).read_text().splitlines()[-1])
    assert (last["clip"], last["reviewer"], last["verdict"], last["moves"]) == (order[place + 1], "ada", None, [])
    left = reviewed(dataset.records, read_reviews(behind.root / FILE))
    assert set(left) == set(order)
    words = [[part.word for part in person.attributes] for person in left[moved].subjects]
    assert words == [[], ["blue coat", "red hat"]]
    assert console == []
    assert {request.split("?")[0] for request in requests if not request.startswith("data:")} <= {
        url.split("?")[0] + path for path in ("", "sheet", "video", "review")
    }


def test_a_wrong_key_says_what_is_missing_and_the_video_plays(opened: Any, desk: tuple[str, Desk]) -> None:
    (page, console, _), (url, behind) = opened, desk
    page.goto(url)
    page.get_by_text("1 of 4, 0 judged").wait_for()
    page.keyboard.press("2")
    page.get_by_text("select an attribute first").wait_for()
    page.keyboard.press("u")
    page.get_by_text("nothing to undo").wait_for()
    page.keyboard.press("Control+r")  # is the browser's, no rejection
    page.get_by_text("1 of 4, 0 judged").wait_for()
    assert page.evaluate(
        """async () => {
            const video = document.querySelector('video');
            await video.play();
            return await new Promise(done => video.ontimeupdate = () => video.currentTime > 0 && done(true));
        }"""
    )
    assert not (behind.root / FILE).exists()
    assert page.title() == "Review of 4 clips" and console == []
