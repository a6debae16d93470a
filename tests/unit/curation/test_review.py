"""Reviews: the file that only grows, what follows for records and numbers, and a server that answers its own page
alone."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from curation_makers import make_dataset

from lumosx.curation.report import ReportInput
from lumosx.curation.review import (
    FILE,
    Move,
    Rate,
    Review,
    append,
    apply,
    audit,
    digest,
    kappa,
    placed,
    read_reviews,
    reviewed,
    still_said,
)
from lumosx.curation.review_server import LOOPBACK, Desk, ReviewServer
from lumosx.errors import InputError
from lumosx.records import ClipRecord
from lumosx.scene import Scene

AT = "2026-01-01T00:00:00+00:00"
SWAP = [Move(owner="ann", attribute=0, to="eve"), Move(owner="eve", attribute=0, to="ann")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def record(report: ReportInput) -> ClipRecord:
    """With two people."""
    return list(report.records.values())[1]


def said(record: ClipRecord, verdict: Any = None, moves: list[Move] | None = None, reviewer: str = "ada") -> Review:
    about = digest(record)
    return Review(clip=record.id, reviewer=reviewer, verdict=verdict, moves=moves or [], about=about, at=AT)


# The file


def test_a_review_is_read_as_it_was_written(record: ClipRecord, tmp_path: Path) -> None:
    lines = [said(record, "accept", SWAP), said(record, "reject", reviewer="zoë")]
    for line in lines:
        append(line, tmp_path / "new" / "reviews.jsonl")
    assert read_reviews(tmp_path / "new" / "reviews.jsonl") == lines
    assert read_reviews(tmp_path / "none.jsonl") == []


def test_a_line_that_a_kill_cut_short_says_nothing_and_is_replaced(record: ClipRecord, tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    append(said(record, "accept"), path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_reviews(path) == [said(record, "accept")]
    append(said(record, "reject"), path)
    assert read_reviews(path) == [said(record, "accept"), said(record, "reject")]


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"clip": "a", "reviewer": "b", "verdict": "fine"}'])
def test_a_line_that_is_no_review_is_named(record: ClipRecord, tmp_path: Path, line: str) -> None:
    path = tmp_path / "reviews.jsonl"
    append(said(record), path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"reviews\.jsonl:2: .*mend the line or remove it"):
        read_reviews(path)


def test_threads_that_write_at_once_lose_nothing(record: ClipRecord, tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    names = [f"reviewer {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: append(said(record, "accept", reviewer=name), path), names))
    assert sorted(review.reviewer for review in read_reviews(path)) == sorted(names)


def test_what_still_stands_comes_in_the_order_in_which_it_was_said(record: ClipRecord) -> None:
    lines = [said(record, "accept"), said(record, "reject", reviewer="bob"), said(record, "reject")]
    assert list(still_said(lines).values()) == [said(record, "reject", reviewer="bob"), said(record, "reject")]
    lines.append(said(record, None))  # ada takes all back
    assert list(still_said(lines).values()) == [said(record, "reject", reviewer="bob")]


# What follows for records


def test_a_verdict_keeps_or_drops_a_record(record: ClipRecord) -> None:
    assert apply(record, said(record, "accept")) == record
    assert apply(record, said(record, None)) == record
    assert apply(record, said(record, "reject", SWAP)) is None


def test_moved_attributes_are_bound_to_their_new_owner(record: ClipRecord) -> None:
    moved = apply(record, said(record, "accept", SWAP))
    assert moved is not None
    assert [[part.word for part in person.attributes] for person in moved.subjects] == [["blue coat"], ["red hat"]]
    assert moved.subjects[1].attributes == record.subjects[0].attributes  # the picture goes with the words
    assert [person.faces for person in moved.subjects] == [person.faces for person in record.subjects]
    entities = Scene.from_dict(moved.scene(lambda pictures: None)).entities
    [hat] = [entity for entity in entities if entity.words == ("red hat",)]
    assert hat.subject == 1


def test_one_persons_attributes_come_before_those_that_others_give(record: ClipRecord) -> None:
    assert placed(record, SWAP[:1]) == {"ann": [], "eve": [("eve", 0), ("ann", 0)]}
    assert placed(record, []) == {"ann": [("ann", 0)], "eve": [("eve", 0)]}


def test_a_review_of_another_state_of_a_record_says_nothing(record: ClipRecord) -> None:
    changed = record.model_copy(update={"caption": record.caption + " It rains."})
    assert apply(changed, said(record, "reject")) == changed
    assert audit([said(record, "reject")], {record.id: changed}).usable is None
    rated = record.model_copy(update={"scores": {"flow": 1.0}, "meta": {"licence": "CC0"}, "split": "validation"})
    assert apply(rated, said(record, "reject")) is None  # it is no other state


@pytest.mark.parametrize(
    ("moves", "problem"),
    [
        ([Move(owner="ann", attribute=0, to="bob")], "to 'bob'"),
        ([Move(owner="ann", attribute=1, to="eve")], "attribute 1"),
        ([Move(owner="bob", attribute=0, to="eve")], "of 'bob'"),
        ([SWAP[0], Move(owner="ann", attribute=0, to="ann")], "twice"),
    ],
)
def test_moves_that_cannot_be_are_refused(record: ClipRecord, moves: list[Move], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        apply(record, said(record, "accept", moves))


def test_nobody_is_left_with_nothing(record: ClipRecord) -> None:
    data = record.to_dict()
    del data["subjects"][0]["faces"]
    faceless = ClipRecord.from_dict(data)
    with pytest.raises(InputError, match="ann has neither"):
        apply(faceless, said(faceless, "accept", SWAP[:1]))


def test_reviews_leave_the_records_that_nobody_rejected(report: ReportInput) -> None:
    one, two, three, four = report.records.values()
    left = reviewed(report.records, [said(two, "reject"), said(three, "accept", SWAP), said(four, "accept")])
    assert list(left) == [one.id, three.id, four.id]
    assert left[four.id] == four and left[three.id] != three


# Numbers


def test_kappa_is_that_of_the_textbook() -> None:
    """50 proposals, 20 accepted by both, 15 rejected by both, 5 and 10 by one alone: 0.4."""
    pairs = [("accept", "accept")] * 20 + [("accept", "reject")] * 5
    pairs += [("reject", "accept")] * 10 + [("reject", "reject")] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([("right", "reject"), ("reject", "right")]) == -1
    assert kappa([("right", "right"), ("reject", "reject")]) == 1
    assert kappa([("right", "right")] * 3) is None


def test_the_interval_is_wilsons() -> None:
    """Of 8 in 10: (8 + z²/2 ± z √(8·2/10 + z²/4)) / (10 + z²), z = 1.96."""
    low, high = Rate(8, 10).interval
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert str(Rate(8, 10)) == "80.0% (49.0% to 94.3%) of 10"


def test_an_audit_counts_the_last_verdicts_and_compares_reviewers(report: ReportInput) -> None:
    one, two, three, four = report.records.values()
    lines = [
        said(one, "reject"), said(one, "accept"), said(two, "accept", SWAP), said(three, "reject"), said(four, None),
        said(one, "accept", reviewer="bob"), said(two, "reject", reviewer="bob"), said(three, "reject", reviewer="bob"),
        said(two, "accept", SWAP[:1], reviewer="cy"),
    ]  # fmt: skip
    found = audit(lines, report.records)
    assert found.right == Rate(1, 3) and found.usable == Rate(2, 3)
    assert found.owners == Rate(2, 3)  # one of clip 1, two of clip 2 of which one was moved
    ada_bob, ada_cy, _ = found.agreements
    assert (ada_bob.first, ada_bob.second, ada_bob.clips) == ("ada", "bob", 3)
    assert ada_bob.alike == pytest.approx(2 / 3)
    assert ada_bob.kappa == pytest.approx((2 / 3 - 3 / 9) / (1 - 3 / 9))
    assert (ada_cy.clips, ada_cy.alike, ada_cy.kappa) == (1, 1.0, None)
    assert "ada and bob: 66.7% of 3 clips alike, kappa 0.50" in found.lines()
    assert audit([], report.records).lines() == ["no clip was reviewed"]


# The server


def desk_of(report: ReportInput, root: Path, reviewer: str = "ada") -> Desk:
    (root / "blobs").exists() or (root / "blobs").symlink_to(report.root / "blobs")
    clips = [(each, report.records[each.record.id]) for each in report.clips if each.record.id in report.records]
    return Desk(root, clips, reviewer)


@pytest.fixture
def server(report: ReportInput, tmp_path: Path) -> Iterator[ReviewServer]:
    with ReviewServer(desk_of(report, tmp_path)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: ReviewServer, path: str, body: Any = None, headers: dict[str, str] | None = None, token: str | None = None,
    **query: str,
) -> http.client.HTTPResponse:  # fmt: skip
    """An answer that is read already, its text in `.text`."""
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=20)
    address = f"{path}?{urlencode({'token': server.token if token is None else token, **query})}"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if data is not None else {}
    connection.request("GET" if data is None else "POST", address, data, given | (headers or {}))
    answer = connection.getresponse()
    answer.data = answer.read()  # pyright: ignore[reportAttributeAccessIssue]
    connection.close()
    return answer


def text(answer: Any) -> str:
    return answer.data.decode()


def test_it_listens_to_this_machine_alone(server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/?token={server.token}"


@pytest.mark.parametrize("path", ["/", "/sheet", "/video", "/review", "/else"])
def test_without_the_token_nothing_is_told_or_written(server: ReviewServer, record: ClipRecord, path: str) -> None:
    body = {"clip": record.id, "verdict": "reject", "moves": []} if path == "/review" else None
    for token in ("", "wrong", server.token[:-1], "ä"):
        answer = ask(server, path, body, token=token, clip=record.id)
        assert answer.status == 403 and record.id not in text(answer) and server.token not in text(answer)
    assert not (server.desk.root / FILE).exists()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", ""])
def test_a_request_for_another_host_is_refused(server: ReviewServer, record: ClipRecord, host: str) -> None:
    """A name of a stranger's that was pointed at this machine (DNS rebinding)."""
    assert ask(server, "/", headers={"Host": host}).status == 403
    body = {"clip": record.id, "verdict": "reject", "moves": []}
    assert ask(server, "/review", body, headers={"Host": host}).status == 403
    assert not (server.desk.root / FILE).exists()


def test_the_page_is_told_what_was_said_and_runs_its_own_script_alone(server: ReviewServer, record: ClipRecord) -> None:
    answer = ask(server, "/", headers={"Host": f"localhost:{server.server_port}"})
    assert answer.status == 200 and record.id in text(answer)
    policy = answer.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "frame-ancestors 'none'" in policy
    assert (answer.getheader("Referrer-Policy"), answer.getheader("Cache-Control")) == ("no-referrer", "no-store")


def test_a_review_is_written_and_the_new_sheet_comes_back(server: ReviewServer, record: ClipRecord) -> None:
    moves = [SWAP[0].model_dump()]
    answer = ask(server, "/review", {"clip": record.id, "verdict": "accept", "moves": moves})
    assert answer.status == 200
    assert text(answer).index('aria-label="person 2"') < text(answer).index('data-owner="ann" data-number="0"')
    [line] = read_reviews(server.desk.root / FILE)
    assert (line.clip, line.reviewer, line.verdict, line.moves) == (record.id, "ada", "accept", SWAP[:1])
    assert line.about == digest(record)
    assert text(ask(server, "/sheet", clip=record.id)) == text(answer)  # as it was left
    assert json.dumps({"clip": record.id, "verdict": "accept", "moves": moves}) in text(ask(server, "/"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no JSON", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        ({"verdict": "accept", "moves": []}, 400),
        ({"clip": "CLIP", "verdict": "fine", "moves": []}, 400),
        ({"clip": "CLIP", "verdict": None, "moves": [], "reviewer": "bob"}, 400),
        ({"clip": "CLIP", "verdict": None, "moves": [{"owner": "ann", "attribute": 0, "to": "bob"}]}, 400),
        ({"clip": "CLIP", "verdict": None, "moves": [{"owner": "ann", "attribute": -1, "to": "eve"}]}, 400),
        ({"clip": "../../etc/passwd", "verdict": "accept", "moves": []}, 404),
    ],
)
def test_what_is_no_review_is_refused(server: ReviewServer, record: ClipRecord, body: Any, status: int) -> None:
    if isinstance(body, dict) and body.get("clip") == "CLIP":
        body = body | {"clip": record.id}
    assert ask(server, "/review", body).status == status
    assert not (server.desk.root / FILE).exists()


def test_a_form_of_another_page_and_an_endless_body_are_refused(server: ReviewServer, record: ClipRecord) -> None:
    body = {"clip": record.id, "verdict": "accept", "moves": []}
    assert ask(server, "/review", body, {"Content-Type": "text/plain"}).status == 415
    assert ask(server, "/review", b"", {"Content-Length": "1000000000"}).status == 413
    assert ask(server, "/review", b"", {"Content-Length": "-5"}).status == 413
    assert ask(server, "/else", body).status == 404


@pytest.mark.parametrize("clip", ["", "nobody", "../curation_makers.py", "/etc/passwd"])
def test_only_clips_are_served(server: ReviewServer, clip: str) -> None:
    assert ask(server, "/video", clip=clip).status == 404
    assert ask(server, "/sheet", clip=clip).status == 404


def test_a_player_may_seek(server: ReviewServer, report: ReportInput, record: ClipRecord) -> None:
    whole = (report.root / record.video).read_bytes()

    def part(wanted: str) -> Any:
        return ask(server, "/video", headers={"Range": wanted}, clip=record.id)

    everything = ask(server, "/video", clip=record.id)
    assert (everything.status, everything.data) == (200, whole)  # pyright: ignore[reportAttributeAccessIssue]
    middle = part("bytes=10-19")
    assert (middle.status, middle.data) == (206, whole[10:20])
    assert middle.getheader("Content-Range") == f"bytes 10-19/{len(whole)}"
    assert part("bytes=100-").data == whole[100:]
    assert part("bytes=100-99999999").data == whole[100:]
    assert part(f"bytes={len(whole)}-").status == 416


def test_reviewers_at_once_lose_nothing(server: ReviewServer, record: ClipRecord) -> None:
    bodies = [{"clip": record.id, "verdict": verdict, "moves": []} for verdict in ("accept", "reject")] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: ask(server, "/review", body).status, bodies))
    assert answers == [200] * 16
    assert (
        sorted(str(line.verdict) for line in read_reviews(server.desk.root / FILE)) == ["accept"] * 8 + ["reject"] * 8
    )


def test_a_reviewer_sees_no_others_verdicts(report: ReportInput, record: ClipRecord, tmp_path: Path) -> None:
    append(said(record, "reject", reviewer="bob"), tmp_path / FILE)
    assert [each.verdict for each in desk_of(report, tmp_path).said([record.id])] == [None]
    assert [each.verdict for each in desk_of(report, tmp_path, "bob").said([record.id])] == ["reject"]


def test_a_clip_that_changed_is_to_be_judged_anew(report: ReportInput, record: ClipRecord, tmp_path: Path) -> None:
    append(said(record, "reject").model_copy(update={"about": "0" * 16}), tmp_path / FILE)
    assert [each.verdict for each in desk_of(report, tmp_path).said([record.id])] == [None]


def test_clips_come_in_an_order_of_no_meaning(report: ReportInput, tmp_path: Path) -> None:
    order = list(desk_of(report, tmp_path).clips)
    assert sorted(order) == sorted(report.records) and order != sorted(order)


def test_a_sample_is_the_beginning_of_the_order(report: ReportInput, tmp_path: Path) -> None:
    whole = desk_of(report, tmp_path).clips
    assert list(Desk(tmp_path, list(whole.values())[::-1], "ada", 2).clips) == list(whole)[:2]
