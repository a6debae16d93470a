"""The page of `lumosx curate review`, served to browsers on this machine alone.

Other pages in the same browser can send requests to this server, and can point a name of their own at it (DNS
rebinding): so every request must state a secret token, and the host it was meant for. Clips come in a random order, so
that whatever was judged so far is a fair sample.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from jinja2 import Template
from markupsafe import Markup
from pydantic import Field, ValidationError

from lumosx.curation.review import FILE, Move, Review, append, apply, digest, placed, read_reviews, shuffled, still_said
from lumosx.curation.run import Standing
from lumosx.curation.sheets import record_sheet
from lumosx.errors import InputError
from lumosx.pages import resource, style, template
from lumosx.records import ClipRecord, Model

LOOPBACK = "127.0.0.1"
MOST = 65536  # bytes of a request
TEXT, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
POLICY = "Content-Security-Policy"
HEADERS = {
    POLICY: "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


class Said(Model):
    """What the page sends: all that a reviewer says of a clip."""

    clip: str
    verdict: Literal["accept", "reject"] | None
    moves: list[Move] = Field(max_length=100)


class Refused(Exception):
    """A request that is not answered, and the status that says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Desk:
    """What one reviewer is shown and says.

    Args:
        root: the data set's folder.
        clips: with what packing chose of each, before reviews.
        reviewer: who judges.
        sample: so many of the clips, drawn at random; None: all.
    """

    def __init__(
        self, root: Path, clips: Sequence[tuple[Standing, ClipRecord]], reviewer: str, sample: int | None = None
    ) -> None:
        self.root, self.reviewer, self.path = root, reviewer, root / FILE
        order = sorted(clips, key=lambda clip: shuffled(clip[1].id, 0))[:sample]
        self.clips = {record.id: (standing, record) for standing, record in order}

    def said(self, clips: Iterable[str]) -> list[Said]:
        """What the reviewer said of each of these clips as it is now. Raises KeyError: no such clip."""
        mine = {
            clip: review for (clip, who), review in still_said(read_reviews(self.path)).items() if who == self.reviewer
        }
        return [self._known(clip, mine.get(clip)) for clip in clips]

    def sheet(self, said: Said) -> str:
        """The clip's contact sheet with attributes moved, as HTML; it shows what a rejected clip would be.

        Raises:
            KeyError: no such clip. InputError: the moves cannot be.
        """
        standing, record = self.clips[said.clip]
        moved = apply(record, self._review(said.model_copy(update={"verdict": None})))
        assert moved is not None  # without a verdict it is not rejected
        made = record_sheet(standing, moved, self.root, placed(record, said.moves))
        return _sheets().module.sheet(made, buttons=True)  # pyright: ignore[reportAttributeAccessIssue]

    def say(self, said: Said) -> str:
        """Writes it down; the sheet as it is then. Raises as `sheet` does, and then nothing is written."""
        html = self.sheet(said)
        append(self._review(said), self.path)
        return html

    def video(self, clip: str) -> bytes:
        """The clip's file. Raises KeyError or OSError: there is none."""
        return (self.root / self.clips[clip][1].video).read_bytes()

    def _known(self, clip: str, review: Review | None) -> Said:
        record = self.clips[clip][1]
        if review is None or review.about != digest(record):
            return Said(clip=clip, verdict=None, moves=[])
        return Said(clip=clip, verdict=review.verdict, moves=review.moves)

    def _review(self, said: Said) -> Review:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        about = digest(self.clips[said.clip][1])
        return Review(
            clip=said.clip, reviewer=self.reviewer, verdict=said.verdict, moves=said.moves, about=about, at=at
        )


class ReviewServer(ThreadingHTTPServer):
    """Serves a desk on loopback. `port` 0: a free one. `url` is for the reviewer's browser and holds the token."""

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        self.desk, self.token = desk, secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ReviewServer
    timeout = 30  # seconds that a silent browser keeps a thread

    def do_GET(self) -> None:
        self._answer(lambda: self._get(self._checked()))

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the token would stand in it."""

    def _answer(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Refused as refused:
            self._send(refused.status, TEXT, refused.text.encode())
        except (ConnectionError, TimeoutError):
            pass  # the browser went away
        except Exception as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, f"{type(error).__name__}: {error}".encode())

    def _checked(self) -> dict[str, str]:
        """The query of a request that came from our page."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):
            raise Refused(HTTPStatus.FORBIDDEN, "this server is for 127.0.0.1 alone")
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if not hmac.compare_digest(query.get("token", "").encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "open the whole address that `lumosx curate review` printed")
        return query

    def _get(self, query: dict[str, str]) -> None:
        desk, path, clip = self.server.desk, urlsplit(self.path).path, query.get("clip", "")
        try:
            if path == "/":
                self._send(HTTPStatus.OK, HTML, _page(desk).encode(), {POLICY: _policy()})
            elif path == "/sheet":
                self._send(HTTPStatus.OK, HTML, desk.sheet(*desk.said([clip])).encode())
            elif path == "/video":
                self._send_video(desk.video(clip))
            else:
                raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        except (KeyError, FileNotFoundError) as error:
            raise Refused(HTTPStatus.NOT_FOUND, "no such clip") from error

    def _post(self) -> None:
        body = self._body()  # first of all: what is not read when a connection ends can cost the answer
        self._checked()
        if urlsplit(self.path).path != "/review":
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a review is sent as JSON")
        try:
            html = self.server.desk.say(Said.model_validate_json(body))
        except ValidationError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"no review: {error.errors(include_url=False)[0]['msg']}") from error
        except KeyError as error:
            raise Refused(HTTPStatus.NOT_FOUND, "no such clip") from error
        except InputError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        self._send(HTTPStatus.OK, HTML, html.encode())

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a review is at most {MOST} bytes, and says its length")
        return self.rfile.read(int(length))

    def _send_video(self, data: bytes) -> None:
        """All of it, or the range that a player asks for when somebody seeks."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        last = min(int(wanted[2]), len(data) - 1) if wanted and wanted[2] else len(data) - 1
        if start > last:
            raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such range")
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        place = {"Content-Range": f"bytes {start}-{last}/{len(data)}"} if wanted else {}
        self._send(status, "video/mp4", data[start : last + 1], {"Accept-Ranges": "bytes", **place})

    def _send(self, status: HTTPStatus, kind: str, data: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _page(desk: Desk) -> str:
    known = {"clips": [said.model_dump() for said in desk.said(desk.clips)]}
    text = json.dumps(known).replace("<", "\\u003c")  # no tag inside of a script
    look = style("lumosx.curation", "sheet.css", "review.css")
    page = template("lumosx.curation", "review.html.j2")
    return page.render(reviewer=desk.reviewer, total=len(desk.clips), known=Markup(text), style=look, script=_script())


def _policy() -> str:
    """Our script and style run, nothing else does, and nobody frames the page."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _script() -> Markup:
    return resource("lumosx.curation", "review.js")


@cache
def _sheets() -> Template:
    return template("lumosx.curation", "sheet.html.j2")
