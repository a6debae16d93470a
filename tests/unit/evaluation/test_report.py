"""The report as data and as a page, read by a parser of its own: the numbers in it, and that nothing gets out of it."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
from report_makers import make_results

from lumosx.cli.bench_report import command
from lumosx.errors import InputError
from lumosx.evaluation import report_page
from lumosx.evaluation.report import confusion_by_slot, load_runs, problems, worst_first
from lumosx.evaluation.report_media import video_uri
from lumosx.pipelines.video import write_clip


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_results(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(outs: list[Path]) -> str:
    html = outs[0].parent / "page" / "report.html"
    command(outs, html)
    return html.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_problems_are_those_without_a_value_and_say_why(outs: list[Path]) -> None:
    found = {(p.run, p.case, p.status): (p.metrics, p.reason) for p in problems(load_runs(outs))}
    every = ["ArcSim", "BindAcc", "swap"]
    assert found == {
        ("ours", "c", "missing"): (every, "there is no video of it"),
        ("baseline", "a", "error"): (every, "InputError: <script>document.title = 'run'</script>"),
    }


def test_the_first_runs_missing_clip_is_the_worst_then_its_low_scores(outs: list[Path]) -> None:
    ours, baseline = load_runs(outs)
    assert [case for case, _ in worst_first([ours, baseline], "BindAcc")] == ["c", "b", "a"]
    assert [case for case, _ in worst_first([baseline, ours], "BindAcc")] == ["a", "b", "c"]
    assert [case for case, _ in worst_first([ours], "swap")] == ["c", "b", "a"]  # less is better: 0.75, then 0


def test_confusions_of_a_slot_are_summed_over_clips_by_the_number_of_the_owner(outs: list[Path]) -> None:
    """Of `ours`: in a all is on its owner on 7 of 8 looks, in b on the other one, c is missing."""
    table = confusion_by_slot(load_runs(outs)[0])
    assert table is not None
    assert table.columns == [0, 1, "nobody"]
    rows = {(row.name, row.owner, row.right): (row.counts, row.looks) for row in table.rows}
    assert rows == {
        ("cap", 1, 1): ([7, 7, 2], 16),
        ("hat", 0, 0): ([7, 7, 2], 16),
        ("skirt", 1, 1): ([7, 7, 2], 16),
        ("sweater", 0, 0): ([7, 7, 2], 16),
    }


def test_runs_of_two_protocols_are_refused(outs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_bytes((outs[1] / "results.parquet").read_bytes())
    card = json.loads((outs[1] / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"protocol": "release"}))
    with pytest.raises(InputError, match=r"release.* do not compare"):
        load_runs([outs[0], tmp_path])
    with pytest.raises(InputError, match="twice"):
        load_runs([outs[0], outs[0]])


def test_the_page_holds_means_and_confusions(page: str) -> None:
    """BindAcc of `ours`: strict (1 + 0.25 + 0) / 3, measured 1.25 / 2."""
    text = " ".join(Tags(page).text.split())
    assert re.search(r"BindAcc ↑ more is better ?0\.417 0\.00–1\.00 ?0\.625 0\.25–1\.00 ?3 \(1 missing\)", text)
    assert text.index("Errors and missing") < text.index("there is no video of it") < text.index("Strict: what")
    assert "research only" in text and "not allowed" in text  # the licence of a model, on the card


def test_the_likeness_of_one_clip_has_no_interval(outs: list[Path]) -> None:
    run = load_runs(outs)[1]
    [row, *_] = (row for row in run.results.rows if row.metric == "ArcSim" and row.value is not None)
    alone = replace(run, results=replace(run.results, rows=[row]))
    text = " ".join(Tags(report_page.report_html([alone], {}, worst=0)).text.split())
    assert re.search(rf"ArcSim ↑ more is better ?{row.value:.3f} \? ?{row.value:.3f} \? ?1", text)


def test_whatever_strangers_wrote_stays_text(page: str) -> None:
    tags = Tags(page)
    assert "<script>document.title" in tags.text
    assert not tags.all("script") and not tags.all("b")


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    tags = Tags(page)
    links = [value for _, attributes in tags.tags for key, value in attributes.items() if key in ("src", "href")]
    assert links and all(link and link.startswith(("data:", "#")) for link in links)
    policy = next(m["content"] for m in tags.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_references_have_alternative_texts_and_clips_have_names(page: str) -> None:
    tags = Tags(page)
    assert {image["alt"] for image in tags.all("img")} >= {
        "Reference picture: cat, person 1", "Reference picture: cap, person 2", "Reference picture: street"
    }  # fmt: skip
    assert [video["aria-label"] for video in tags.all("video")] == [
        "c, ground truth", "b by ours", "b by baseline", "b, ground truth", "a by ours", "a, ground truth"
    ]  # fmt: skip


def test_a_clip_that_cannot_be_shown_says_why(page: str) -> None:
    text = Tags(page).text
    assert re.search(r"baseline/videos/c\.mp4: no video that can be read", text)
    assert re.search(r"baseline/videos/a\.mp4: no video that can be read \(No such file", text)


def test_a_full_page_leaves_clips_out_and_says_so(outs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "BUDGET", 1)
    tags = Tags(report_page.report_html(load_runs(outs[:1]), {}, worst=2))
    assert len(tags.all("video")) == 1
    tags = Tags(report_page.report_html(load_runs(outs[:1]), {}, worst=3))
    assert "left out, the page is full" in tags.text and "ours/videos/a.mp4" in tags.text


def test_without_its_cases_a_report_shows_the_scores_and_says_what_is_not_shown(tmp_path: Path) -> None:
    outs = make_results(tmp_path)
    (tmp_path / "cases.yaml").rename(tmp_path / "moved.yaml")
    html = tmp_path / "report.html"
    command(outs, html)
    tags = Tags(html.read_text(encoding="utf-8"))
    assert "References, captions and ground truths are not shown" in tags.text and not tags.all("img")
    command(outs, html, cases=tmp_path / "moved.yaml")
    assert Tags(html.read_text(encoding="utf-8")).all("img")


def test_an_unknown_metric_is_refused_with_those_there_are(outs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ArcSim, BindAcc, swap"):
        command(outs, tmp_path / "report.html", by="BindAc")
    assert not (tmp_path / "report.html").exists()


def test_clips_are_made_small_and_keep_rate_and_aspect(tmp_path: Path) -> None:
    clip = write_clip(np.zeros((7, 480, 832, 3), np.uint8), tmp_path / "clip.mp4", 16)
    data = base64.b64decode(video_uri(clip).removeprefix("data:video/mp4;base64,"))
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate or 0)) == (444, 256, 16)
        assert stream.codec_context.name == "h264"
        assert len(list(container.decode(stream))) == 7


def test_a_video_without_frames_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.mp4: no video"):
        video_uri(tmp_path / "empty.mp4")
