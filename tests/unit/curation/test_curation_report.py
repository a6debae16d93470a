"""The report as data and as a page, read by a parser of its own: every record accounted for, nothing that runs."""

import random
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from curation_makers import CAPTION, make_dataset
from hypothesis import given
from hypothesis import strategies as st

from lumosx.curation import marks
from lumosx.curation.pipeline import STAGES
from lumosx.curation.report import (
    CHARTS,
    KEPT,
    ReportInput,
    funnel,
    histograms,
    number,
    packing_steps,
    problems,
    sample,
)
from lumosx.curation.report_page import report_html
from lumosx.curation.review import Move, Review, digest
from lumosx.curation.run import Standing
from lumosx.curation.sheets import found_sheet, pieces, record_sheet
from lumosx.curation.sources import Clip
from lumosx.curation.stage import Failed
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.values import FlowStrength
from lumosx.scene.palette import OBJECT_COLOUR


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def page(report: ReportInput) -> str:
    return report_html(report)


class Page(HTMLParser):
    """Start tags with their attributes, all text, and the cells of the table rows that name a stage."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.rows = "", dict[str, list[str]]()
        self.row: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            stage = dict(attrs).get("data-stage")
            self.row = self.rows.setdefault(stage, []) if stage else None
        if tag == "td" and self.row is not None:
            self.row.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.row:
            self.row[-1] += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def review(report: ReportInput, place: int, verdict: str | None, *moves: Move, reviewer: str = "ada") -> Review:
    record = list(report.records.values())[place]
    data = {"clip": record.id, "reviewer": reviewer, "verdict": verdict, "moves": moves, "about": digest(record)}
    return Review.model_validate(data | {"at": "2026-01-01T00:00:00+00:00"}, strict=False)


def test_the_funnel_accounts_for_every_record(report: ReportInput) -> None:
    steps = funnel(report.clips, report.clip_kinds)
    found = {step.stage: (step.came, step.rejected, step.failed, step.waiting, step.stayed) for step in steps}
    assert found == {
        "technical": (11, 0, 0, 0, 11),
        "flow": (11, 3, 0, 0, 8),
        "people": (8, 0, 0, 1, 7),
        "caption": (7, 0, 1, 0, 6),
        "entities": (6, 1, 0, 0, 5),
        "faces": (5, 0, 0, 0, 5),
        "attributes": (5, 0, 0, 0, 5),
        "video": (5, 0, 0, 0, 5),
    }
    reasons = [(reason.code, reason.count, reason.thresholds) for reason in steps[1].reasons]
    assert reasons == [("flow-low", 2, [0.05]), ("flow-high", 1, [2.0])]
    [videos] = funnel(report.sources, report.source_kinds)
    assert (videos.stage, videos.came, videos.failed, videos.stayed) == ("shots", 2, 1, 1)


def test_packing_and_reviews_end_the_funnel(report: ReportInput) -> None:
    judged = replace(report, reviews=[review(report, 1, "reject"), review(report, 2, "accept")])
    packing, reviewing = packing_steps(judged)
    assert (packing.came, packing.waiting, packing.stayed) == (5, 1, 4)
    assert (reviewing.came, reviewing.rejected, reviewing.stayed) == (4, 1, 3)


def test_outcomes_name_the_numbers_that_decided(report: ReportInput) -> None:
    told = [(report.outcome(each), report.why(each)) for each in report.clips]
    assert told[0] == (KEPT, "passed all stages")
    assert told[4] == ("flow-low", "flow: too little moves: 0.01, threshold 0.05")
    assert told[6] == ("flow-high", "flow: too much moves: 7.5, threshold 2")
    assert told[7] == ("waiting", "people: not measured yet")
    assert told[8][0] == "failed" and told[8][1].startswith("caption failed: ServerError: no answer about")
    assert told[9] == ("no-subjects", "entities: the caption names nobody")
    assert told[10] == ("not-packed", "passed all stages, and waits to be packed")
    stuck = replace(report, unpackable={report.clips[10].record.id: "words differ"})
    assert stuck.why(report.clips[10]) == "passed all stages, but cannot be packed: words differ"
    assert (packing_steps(stuck)[0].failed, packing_steps(stuck)[0].waiting) == (1, 0)


def test_a_histogram_holds_all_values_and_the_thresholds(report: ReportInput) -> None:
    charts = {(chart.stage, chart.label.split(",")[0]): chart for chart in histograms(report.clips, report.stages)}
    flow = charts["flow", "flow"]
    assert flow.total == 11  # the rejected ones as well
    assert flow.thresholds == [("least", 0.05), ("most", 2.0)]
    assert all(0 < flow.place(value) < 1 for _, value in flow.thresholds)
    assert flow.low == 0  # of what is never negative
    low = int(flow.place(0.01) * len(flow.counts)), int(flow.place(0.5) * len(flow.counts))
    assert (flow.counts[low[0]], flow.counts[low[1]], flow.counts[-1]) == (2, 8, 1)


def test_a_value_far_out_does_not_squeeze_the_others(report: ReportInput) -> None:
    values = [*[0.01 * place for place in range(1, 201)], 1e6]
    standings = [
        Standing(report.clips[0].record, {Motion: FlowStrength(value=value, pairs=[value])}) for value in values
    ]
    [chart] = histograms(standings, report.stages)
    assert chart.total == 201 and chart.high < 3 and chart.counts[-1] >= 1


def test_charts_know_the_thresholds_of_their_stages() -> None:
    for chart in CHARTS:
        [kind] = [kind for kind in STAGES if kind.gives is chart.gives]
        thresholds = {each.name for each in fields(kind) if each.metadata.get("use") == "threshold"}
        assert set(chart.thresholds) <= thresholds, chart.label


def test_errors_that_differ_by_the_path_alone_are_one(report: ReportInput) -> None:
    standings = [
        Standing(each.record, stopped=(Captioning, Failed("OSError", f"{each.record.id}: gone")))
        for each in report.clips
    ]
    standings.append(Standing(report.clips[0].record, stopped=(Captioning, Failed("OSError", "other"))))
    first, second = (Standing(each.record) for each in report.clips[:2])
    unpackable = dict.fromkeys((first.record.id, second.record.id), "words")
    found = problems([*standings, first, second], unpackable)
    assert [(each.stage, each.type, each.message, each.count) for each in found] == [
        ("caption", "OSError", "…: gone", 11), ("packing", "cannot be packed", "words", 2),
        ("caption", "OSError", "other", 1),
    ]  # fmt: skip
    names = sorted(each.record.called for each in report.clips)
    assert [each.examples for each in found[:2]] == [names[:3], sorted((first.record.called, second.record.called))]


@pytest.mark.parametrize("count", [0, 1, 7, 9, 60])
def test_the_sample_is_as_even_over_outcomes_as_can_be(report: ReportInput, count: int) -> None:
    chosen = sample(report, count)
    sizes = {name: sum(report.outcome(each) == name for each in report.clips) for name in chosen}
    assert sum(map(len, chosen.values())) == min(count, 11)
    for name, own in chosen.items():
        assert all(report.outcome(each) == name for each in own)
        if len(own) < sizes[name]:  # then no other outcome has more, but for the rest of a round
            assert max(map(len, chosen.values())) <= len(own) + 1


def test_the_sample_does_not_depend_on_the_order_of_clips(report: ReportInput) -> None:
    clips = list(report.clips)
    random.Random(0).shuffle(clips)
    ids = [
        {name: [each.record.id for each in own] for name, own in sample(one, 9).items()}
        for one in (report, replace(report, clips=clips))
    ]
    assert ids[0] == ids[1]


@given(st.text(max_size=20), st.data())
def test_pieces_of_a_caption_are_the_caption(text: str, data: st.DataObject) -> None:
    places = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(places, places, st.just("#000000"), st.just("x")), max_size=4))
    made = pieces(text, [(min(a, b), max(a, b), colour, whose) for a, b, colour, whose in spans])
    assert "".join(piece.text for piece in made) == text


def test_words_inside_of_others_have_the_inner_colour() -> None:
    made = pieces("a red hat", [(0, 9, "#111111", "outer"), (2, 5, "#222222", "inner")])
    assert [(piece.text, piece.whose) for piece in made] == [("a ", "outer"), ("red", "inner"), (" hat", "outer")]


def test_what_stages_found_and_what_a_record_says_have_the_same_colours(report: ReportInput) -> None:
    """Words of person 1 in the colour of box 1, of person 2 in that of box 2."""
    standing = report.clips[1]
    expected = {
        "man": marks.colour(1), "red hat": marks.colour(1), "woman": marks.colour(2), "blue coat": marks.colour(2),
        "boat": OBJECT_COLOUR,
    }  # fmt: skip
    for sheet in (
        found_sheet(standing, report.root),
        record_sheet(standing, report.records[standing.record.id], report.root),
    ):
        assert "".join(piece.text for piece in sheet.caption) == CAPTION
        coloured = {piece.text: piece.colour for piece in sheet.caption if piece.colour}
        assert expected.items() <= coloured.items()
        assert [(person.number, person.noun) for person in sheet.people] == [(1, "man"), (2, "woman")]
        assert [frame.note for frame in sheet.frames] == ["frame 4", "frame 40, as the tagger saw it", "frame 76"]


def test_a_clip_without_kept_frames_shows_those_of_its_source(report: ReportInput) -> None:
    bare = Standing(report.clips[0].record)
    frames = found_sheet(bare, report.root).frames
    assert [frame.note for frame in frames] == [f"frame {number} of the source" for number in (4, 44, 83)]
    assert all(frame.uri.startswith("data:image/jpeg;base64,") for frame in frames)


def test_pictures_that_are_gone_say_so(report: ReportInput) -> None:
    clip = report.clips[0].record
    assert isinstance(clip, Clip)
    lost = Standing(replace(clip, source=replace(clip.source, path=Path("/nowhere.mp4"))))
    [frame] = found_sheet(lost, report.root).frames
    assert not frame.uri and "/nowhere.mp4" in frame.note
    empty = record_sheet(report.clips[1], report.records[report.clips[1].record.id], report.root / "elsewhere")
    assert all(not shot.uri and "cannot be shown" in shot.note for shot in [*empty.frames, *empty.people[0].faces])


def test_the_page_holds_the_funnel_and_the_rest(page: str) -> None:
    read = Page(page)
    assert [cell.strip() for cell in read.rows["flow"]][1:5] == ["11", "8", "72.7 %", "72.7 %"]
    assert "flow-low 2 threshold 0.05 · too little moves" in " ".join(read.rows["flow"][5].split())
    assert read.rows["packing"][1:3] == ["5", "4"]
    text = " ".join(read.text.split())
    assert "2 videos, 11 clips, 4 packed (36.4 %)" in text
    assert "no answer about … <b>" in text and "ServerError may pass" in text
    assert "again.mp4day.mp4" in text  # a copy and what it is one of
    assert "no clip was reviewed" in text
    assert read.text.count("as the tagger saw it") == 5  # of the clips whose people were named


def test_the_page_is_inert_and_whole(page: str) -> None:
    read = Page(page)
    assert not read.all("script") and not read.all("b")
    assert "<script>document.title = 'run'</script>" in read.text
    links = [value for _, found in read.tags for key, value in found.items() if key in ("src", "href")]
    assert links and all(link and link.startswith(("data:", "#")) for link in links)
    [policy] = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv")]
    assert policy and policy.startswith("default-src 'none'")
    ids = [found["id"] for _, found in read.tags if "id" in found]
    assert len(ids) == len(set(ids))


def test_the_page_shows_reviews_and_what_they_did(report: ReportInput) -> None:
    lines = [
        review(report, 1, "accept", Move(owner="ann", attribute=0, to="eve")),
        review(report, 2, "reject"),
        review(report, 3, "accept"),
    ]
    text = " ".join(Page(report_html(replace(report, reviews=lines))).text.split())
    assert "right as curated: 33.3% (6.1% to 79.2%) of 3" in text
    assert "review passed all stages, but a reviewer rejected it" in text
    assert re.search(r"2 videos, 11 clips, 3 packed", text)


def test_a_page_of_nothing_says_so(report: ReportInput) -> None:
    nothing = replace(report, sources=[], clips=[], records={})
    text = " ".join(Page(report_html(nothing)).text.split())
    assert "0 videos, 0 clips, 0 packed" in text and "None: every measurement came about." in text


@pytest.mark.parametrize(("value", "text"), [(0.05, "0.05"), (81, "81"), (720.0, "720"), (2.0, "2"), (1234.5, "1234")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
