"""Models behind a server. `ChatServer` asks one that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, hosted ones."""

import base64
import io
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from PIL import Image

from lumosx.errors import InputError, TransientError
from lumosx.vision import BadAnswer, ModelCard, Picture, Question

BUSY = (408, 429)  # answers that ask for patience; those from 500 on do so as well
CONNECT = 10.0  # seconds until a server must have taken a connection
TIMEOUT = 300.0  # seconds until it must have answered
PAUSES = (1.0, 5.0, 25.0)  # seconds before each further try


class JsonServer:
    """A server that is asked over HTTP and answers in JSON.

    Args:
        url: its base.
        example: an address such as it may have, for messages.
        timeout: seconds until the server must have answered.
        pauses: seconds before each further try, when it is down, busy or broken.
        headers: of every request.
    """

    def __init__(
        self,
        url: str,
        example: str,
        timeout: float = TIMEOUT,
        pauses: Sequence[float] = PAUSES,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url, self._example, self._pauses = url.rstrip("/"), example, pauses
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=CONNECT))

    def _introduced(self, path: str) -> Any:
        """What the server says when it is asked for the first time. A wrong address is soon told.

        Raises:
            InputError: no server answers there, or none of this kind.
        """
        try:
            return self._asked(path, pauses=self._pauses[:1])
        except TransientError as error:
            raise InputError(f"{error}. Start the server, or correct the address") from error

    def _asked(self, path: str, body: dict[str, Any] | None = None, pauses: Sequence[float] | None = None) -> Any:
        """What the server answers to a request, as data; a body makes it a POST.

        Raises:
            TransientError: the server was down, busy or broken in all tries.
            InputError: it refuses, or is no server of this kind; with the address and its message.
        """
        url, trouble = self._url + path, ""
        pauses = self._pauses if pauses is None else pauses
        for pause in (0.0, *pauses):
            time.sleep(pause)
            try:
                response = self._client.request("GET" if body is None else "POST", url, json=body)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise InputError(f"{url}: {error}; give an address such as {self._example}") from error
            except httpx.TransportError as error:  # down, hangs, or breaks off
                trouble = f"{type(error).__name__} {error}".strip()
                continue
            if response.status_code < 500 and response.status_code not in BUSY:
                return self._read(response, url)
            trouble = f"{response.status_code} {response.text[:200]}".strip()
        raise TransientError(f"{url}: no answer in {len(pauses) + 1} tries: {trouble}")

    def _read(self, response: httpx.Response, url: str) -> Any:
        if not response.is_success:
            raise InputError(f"{url}: refused ({response.status_code}): {response.text[:500]}")
        try:
            return response.json()
        except ValueError as error:
            text = f"{url}: answers what is no JSON: {response.text[:200]!r}; give an address such as {self._example}"
            raise InputError(text) from error


class ChatServer(JsonServer):
    """A model that a server runs, such as `vllm serve Qwen/Qwen2.5-VL-32B-Instruct --generation-config vllm` (without
    which vLLM penalises repeated words as the repository says; an answer repeats words of the caption).

    Asked with temperature 0 and a fixed seed; even so a server that batches requests may answer otherwise another
    time. What was answered is kept, so a run is repeatable by its ledger. A schema is sent along for the server to
    hold the model to. The key is taken from OPENAI_API_KEY, if that is set, and kept nowhere.

    Args:
        place: base URL, such as http://localhost:8000/v1.
        device: not used; the server has its own.
        revision: name of the model; None: the only one that the server has.
        tokens: most of an answer.
        timeout: seconds until the server must have answered.
        pauses: seconds before each further try, when it is down, busy or broken.

    Raises:
        InputError: no server answers there, or it has no such model.
    """

    def __init__(
        self,
        place: str,
        device: str = "cpu",
        revision: str | None = None,
        tokens: int = 1024,
        timeout: float = TIMEOUT,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        del device
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(place, "http://localhost:8000/v1", timeout, pauses, headers)
        self._tokens = tokens
        self.card = _card(_chosen(_listed(self._introduced("/models")), revision, self._url))
        self._model = self.card.name

    def answer(self, question: Question) -> str:
        """The answer, without white space around it.

        Raises:
            TransientError: the server was down, busy or broken in all tries.
            InputError: it refuses the question, or is no server of this kind; with the address and its message.
            BadAnswer: the model gave no answer, or one that did not end within the tokens that it may have.
        """
        shown = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in question.pictures]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": [*shown, {"type": "text", "text": question.prompt}]}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": self._tokens,
        }
        if question.schema is not None:
            schema = {"name": "answer", "schema": question.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        given = self._asked("/chat/completions", body)
        try:
            choice = given["choices"][0]
            text, end = choice["message"]["content"], choice.get("finish_reason")
        except (LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{self._url}/chat/completions: answers without choices: {str(given)[:200]}") from error
        if not isinstance(text, str):
            raise BadAnswer(f"{self._model} gave no answer ({end}): {str(choice)[:200]}")
        if end == "length":
            raise BadAnswer(f"the answer did not end within {self._tokens} tokens: ...{text[-80:]!r}", text)
        return text.strip()


def png(picture: Picture) -> str:
    """A picture as PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def data_url(picture: Picture) -> str:
    """A picture as a URL that holds it, as PNG."""
    return f"data:image/png;base64,{png(picture)}"


def _listed(models: Any) -> dict[str, dict[str, Any]]:
    """The models of a server by their names."""
    entries = models.get("data") if isinstance(models, dict) else None
    entries = entries if isinstance(entries, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and "id" in entry}


def _chosen(served: dict[str, dict[str, Any]], name: str | None, url: str) -> dict[str, Any]:
    if name is None and len(served) == 1:
        return next(iter(served.values()))
    if name in served:
        return served[name]
    there = ", ".join(served) or "none"
    if name is None:
        raise InputError(f"{url} has several models or none: write {url}@MODEL with one of them ({there})")
    raise InputError(f"{url} has no model {name}; it has {there}")


def _card(model: dict[str, Any]) -> ModelCard:
    """What a server tells of a model: its name and where its weights come from.

    The address is left out, so that a run can go on with another server of the same model, and `created`, because vLLM
    gives the time of the question. Neither digest nor licence of weights is told, so commercial use is not known to be
    allowed.
    """
    root = str(model.get("root") or model["id"])
    return ModelCard(model["id"], "a server of OpenAI's protocol", root, "not told by the server", False)
