"""The client of OpenAI's protocol, against a real little HTTP server that does as it is told."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lumosx.errors import InputError, TransientError
from lumosx.vision import BadAnswer, Question
from lumosx.vision.registry import Choice
from lumosx.vision.server import ChatServer

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
HANG, DROP = "hang", "drop"


@dataclass
class Told:
    """What the server does: `script` holds the next answers to questions, each (status, body), HANG or DROP; after it
    comes a good one."""

    script: list[Any] = field(default_factory=list)
    models: Any = field(default_factory=lambda: {"data": [{"id": "Qwen/Tiny", "created": 1, "root": "/weights/tiny"}]})
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""


def completion(text: Any, end: str = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": end}]}


@pytest.fixture
def told(monkeypatch) -> Iterator[Told]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    told, done = Told(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            told.asked.append((self.path, dict(self.headers), None))
            self.reply(200, told.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append((self.path, dict(self.headers), body))
            action = told.script.pop(0) if told.script else (200, completion(" a man \n"))
            if action == HANG:
                done.wait(10)
            elif action != DROP:
                self.reply(*action)
            self.close_connection = True

        def reply(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield told
    done.set()
    server.shutdown()
    thread.join()
    server.server_close()


def client(told: Told, **options: Any) -> ChatServer:
    return ChatServer(told.url, **({"pauses": (0.0, 0.0), "timeout": 5.0} | options))


def posts(told: Told) -> list[Any]:
    return [body for path, _, body in told.asked if path == "/v1/chat/completions"]


def test_a_question_as_the_protocol_has_it(told):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    text = client(told, tokens=99).answer(Question([picture, picture[:2]], "Who is it?", SCHEMA))
    assert text == "a man"
    (body,) = posts(told)
    (message,) = body.pop("messages")
    *shown, asked = message["content"]
    assert message["role"] == "user" and asked == {"type": "text", "text": "Who is it?"}
    for part, expected in zip(shown, (picture, picture[:2]), strict=True):
        head, _, data = part["image_url"]["url"].partition(",")
        assert (part["type"], head) == ("image_url", "data:image/png;base64")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), expected)
    assert body == {
        "model": "Qwen/Tiny", "temperature": 0, "seed": 0, "max_tokens": 99,
        "response_format": {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}
        },
    }  # fmt: skip


def test_without_a_schema_none_is_sent(told):
    client(told).answer(Question([], "Who?"))
    assert "response_format" not in posts(told)[0]


@pytest.mark.parametrize("trouble", [(500, {"error": "x"}), (503, b""), (429, {"error": "slow down"}), DROP])
def test_trouble_that_passes_is_waited_for(told, trouble):
    told.script = [trouble, trouble]
    assert client(told).answer(Question([], "Who?")) == "a man"
    assert len(posts(told)) == 3


def test_a_server_that_hangs_once(told):
    told.script = [HANG]
    assert client(told, timeout=0.3).answer(Question([], "Who?")) == "a man"


@pytest.mark.parametrize(
    ("trouble", "message"),
    [((500, b"out of memory"), "500 out of memory"), (HANG, "ReadTimeout"), (DROP, "RemoteProtocolError")],
)
def test_trouble_that_stays_is_for_another_run(told, trouble, message):
    talker = client(told, timeout=0.2)
    told.script = [trouble] * 9
    with pytest.raises(TransientError, match=f"{told.url}/chat/completions: no answer in 3 tries: {message}"):
        talker.answer(Question([], "Who?"))
    assert len(posts(told)) == 3


def test_the_pauses_are_kept(told, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    told.script = [(502, b"")] * 2
    client(told, pauses=(2.0, 7.0)).answer(Question([], "Who?"))
    assert [pause for pause in slept if pause >= 1] == [2.0, 7.0]


def test_a_server_that_went_away(told, monkeypatch):
    talker = client(told)
    talker._url = "http://127.0.0.1:9/v1"  # the port of discard, which nobody serves
    with pytest.raises(TransientError, match="ConnectError"):
        talker.answer(Question([], "Who?"))


def test_a_refusal_names_address_and_reason_and_is_not_repeated(told):
    talker = client(told)
    told.script = [(400, {"error": {"message": "the prompt has 9000 tokens"}})]
    with pytest.raises(InputError, match=rf"{told.url}/chat/completions: refused \(400\).*9000 tokens"):
        talker.answer(Question([], "Who?"))
    assert len(posts(told)) == 1


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"<html>hello</html>", InputError, "no JSON: '<html>hello"),
        (b'{"choices": [', InputError, "no JSON"),
        (b"\xff\xfe", InputError, "no JSON"),
        ({"choices": []}, InputError, "without choices"),
        ({"answer": "a man"}, InputError, "without choices"),
        ([1], InputError, "without choices"),
        (None, InputError, "without choices"),
        (completion(None, "content_filter"), BadAnswer, "gave no answer .content_filter"),
        (completion("a man in a", "length"), BadAnswer, "did not end within 1024 tokens: .*a man in a"),
    ],
)
def test_answers_that_are_none(told, body, error, message):
    talker = client(told)
    told.script = [(200, body)]
    with pytest.raises(error, match=message):
        talker.answer(Question([], "Who?"))


def test_what_there_is_of_an_answer_is_kept(told):
    talker = client(told)
    told.script = [(200, completion("a man in a", "length"))]
    with pytest.raises(BadAnswer) as raised:
        talker.answer(Question([], "Who?"))
    assert raised.value.text == "a man in a"


def test_the_key_is_sent_if_there_is_one(told, monkeypatch):
    client(told).answer(Question([], "Who?"))
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    client(told).answer(Question([], "Who?"))
    sent = [headers.get("Authorization") for _, headers, _ in told.asked]
    assert sent == [None, None, "Bearer sesame", "Bearer sesame"]


def test_the_card_tells_the_model_and_not_where_or_when_it_runs(told):
    first = client(told).card
    assert (first.name, first.revision, first.commercial) == ("Qwen/Tiny", "/weights/tiny", False)
    told.models["data"][0]["created"] = 2  # vLLM gives the time of the question
    assert client(told).card == first
    assert "127.0.0.1" not in json.dumps(first.to_dict())


def test_the_model_is_named_or_the_only_one(told):
    told.models = {"data": [{"id": "a"}, {"id": "b/c"}]}
    choice = Choice.parse(f"server:{told.url}@b/c")
    assert choice.weights == told.url
    assert client(told, revision=choice.revision).card.name == "b/c"
    with pytest.raises(InputError, match=r"several models or none: write .*/v1@MODEL.*\(a, b/c\)"):
        client(told)
    with pytest.raises(InputError, match="has no model d; it has a, b/c"):
        client(told, revision="d")


@pytest.mark.parametrize("models", [{}, [], {"data": None}, {"data": 5}, {"data": ["a"]}])
def test_a_list_of_models_that_is_none(told, models):
    told.models = models
    with pytest.raises(InputError, match="none"):
        client(told)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/"])
def test_no_server_there(told, address):
    with pytest.raises(InputError, match=r"127.0.0.1:9/v1/models: no answer in 2 tries.*Start the server"):
        ChatServer(address, pauses=(0.0, 0.0))


@pytest.mark.parametrize("address", ["localhost:8000/v1", "/weights/tiny", "http://127.0.0.1:port/v1"])
def test_what_is_no_address(told, address):
    with pytest.raises(InputError, match="give an address such as"):
        ChatServer(address)


def test_questions_at_the_same_time(told):
    talker, texts = client(told), []
    ask = [threading.Thread(target=lambda: texts.append(talker.answer(Question([], "Who?")))) for _ in range(8)]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert texts == ["a man"] * 8
