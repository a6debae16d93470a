"""The report in a real browser: it shows clips and numbers, asks nobody for anything, fits small screens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_makers import make_results

from lumosx.cli.bench_report import command


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    html = folder / "page" / "report.html"
    command(make_results(folder), html)
    return html


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, what its console said, and the requests that left the file."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    console, requests = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url[:80]))
    page.goto(report.as_uri())
    yield page, console, [url for url in requests if not url.startswith("data:")]
    context.close()


def test_nothing_is_asked_for_and_nothing_complained_about(opened: Any, report: Path) -> None:
    page, console, requests = opened
    assert page.title() == "ours and baseline"  # what strangers wrote did not run
    assert console == []
    assert requests == [report.as_uri()]


def test_every_clip_and_picture_is_decoded(opened: Any) -> None:
    page, *_ = opened
    page.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    sizes = page.eval_on_selector_all("video", "videos => videos.map(v => [v.videoWidth, v.videoHeight, v.error])")
    assert sizes == [[64, 48, None]] * 6
    assert page.eval_on_selector_all("img", "all => all.length && all.every(i => i.complete && i.naturalWidth > 0)")


def test_a_clip_plays(opened: Any) -> None:
    page, *_ = opened
    assert page.evaluate(
        """async () => {
            const video = document.querySelector('video');
            await video.play();
            return await new Promise(done => video.ontimeupdate = () => video.currentTime > 0 && done(true));
        }"""
    )


def test_the_worst_clip_is_first_and_the_confusions_have_their_numbers(opened: Any) -> None:
    page, *_ = opened
    assert page.eval_on_selector_all("article h3", "all => all.map(h => h.firstChild.data.trim())") == ["c", "b", "a"]
    tables = page.locator("#confusion table")
    assert tables.locator("caption").all_inner_texts() == ["ours", "baseline"]
    # on the owner, on the other one, on nobody: `ours` has two clips, one with people exchanged
    numbers = tables.first.locator("tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.querySelectorAll('th, td')].map(cell => cell.innerText))"
    )
    cells = {name.split()[0]: [cell.split("owner")[-1].strip() for cell in row] for name, *row in numbers}
    assert cells == {slot: ["7/16", "7/16", "2/16"] for slot in ("cap", "hat", "skirt", "sweater")}
    exchanged = page.locator("article").nth(1).locator("table.confusion").first
    assert exchanged.locator("caption").inner_text() == "ours: seen on whom"
    assert exchanged.locator("td.owner .of").all_inner_texts() == ["/8"] * 4
    assert [text.strip()[-3:] for text in exchanged.locator("td.owner").all_inner_texts()] == ["0/8"] * 4
    assert exchanged.locator("td.other").all_inner_texts() == ["7/8"] * 4
    assert exchanged.locator("td.verdict").all_inner_texts() == ["swap"] * 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_screen_and_can_be_read(opened: Any, scheme: str, width: int) -> None:
    page, *_ = opened
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert contrast(*page.evaluate("['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])")) >= 7
    dim = page.eval_on_selector(".summary", "p => getComputedStyle(p).color")
    assert contrast(dim, page.evaluate("getComputedStyle(document.body).backgroundColor")) >= 4.5


def test_a_keyboard_opens_what_is_folded(opened: Any) -> None:
    page, *_ = opened
    folded = page.locator("article details").first
    folded.locator("summary").focus()
    assert not folded.evaluate("d => d.open")
    page.keyboard.press("Enter")
    assert folded.evaluate("d => d.open")


def contrast(first: str, second: str) -> float:
    """WCAG 2's ratio of two colours as a browser states them: "rgb(r, g, b)"."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
