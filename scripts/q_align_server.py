# /// script
# requires-python = "==3.11.*"
# dependencies = [
#     "accelerate==0.25.0",
#     "huggingface-hub==0.20.3",
#     "icecream==2.1.8",
#     "numpy==1.26.4",
#     "pillow==11.3.0",
#     "protobuf==4.25.8",
#     "sentencepiece==0.1.99",
#     "torch==2.2.2",
#     "transformers==4.36.1",
# ]
# ///
"""Serves Q-Align (OneAlign, Wu et al. 2024) to `lumosx curate`, on this machine alone.

    uv run scripts/q_align_server.py                           # in an environment of its own, made by uv
    lumosx curate run videos --out dataset --model scorer=q-align:http://localhost:8765

    GET  /card                                                 what the model is
    POST /score  {"pictures": [PNG in base64, ...]}            {"quality": 3.9, "aesthetic": 2.7}

The model's own code, which this runs at a fixed commit, works with transformers 4.36 and no longer with that of
LumosX. It needs a GPU with about 20 GB and downloads 16 GB when it first runs. Its code reads its tokenizer from the
main branch of its repository, whichever commit is asked for.

Neither weights nor this environment were at hand where this was written: what is tested is the server, with a stand-in
for the model. So check yours first. By the model's card the quality of fig/singapore_flyer.jpg, a picture of
https://github.com/Q-Future/Q-Align, is 1.911:

    uv run scripts/q_align_server.py --check singapore_flyer.jpg
"""

import argparse
import base64
import contextlib
import io
import json
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

LOOPBACK = "127.0.0.1"
SOURCE, REVISION = "q-future/one-align", "dcc603b95aa0ebd82afa696d4a1e20d11fc80ddb"  # main since May 2024
CARD = {
    "name": "Q-Align (OneAlign)",
    "source": SOURCE,
    "revision": REVISION,
    "licence": "MIT by its card; made from LLaMA 2 (its licence: commercial below 700 million users a month)",
    "commercial": True,
}


def load(device: str) -> Any:
    """The model, as its card loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        SOURCE,
        revision=REVISION,
        trust_remote_code=True,
        attn_implementation="eager",
        torch_dtype=torch.float16,
        device_map=device,
    ).eval()


def scores(model: Any, pictures: list[Image.Image]) -> dict[str, float]:
    """The means over the pictures; the model takes each alone."""
    return {
        name: float(model.score(pictures, task_=task, input_="image").float().mean())
        for name, task in (("quality", "quality"), ("aesthetic", "aesthetics"))
    }


def decoded(body: bytes) -> list[Image.Image]:
    """The pictures of a request. Raises what it likes if it has none."""
    pictures = [base64.b64decode(text, validate=True) for text in json.loads(body)["pictures"]]
    if not pictures:
        raise ValueError("no pictures")
    return [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]


class Server(ThreadingHTTPServer):
    """Answers several at once, and asks the model for one at a time. Port 0: a free one."""

    daemon_threads = True

    def __init__(self, model: Any, port: int) -> None:
        super().__init__((LOOPBACK, port), Handler)
        self.model, self.turn = model, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """The card."""
        if self.path == "/card":
            self._reply(200, CARD)
        else:
            self._reply(404, {"error": "there is GET /card and POST /score"})

    def do_POST(self) -> None:
        """Scores. 400: the request is wrong. 500: the model failed."""
        if self.path != "/score":
            return self._reply(404, {"error": "there is GET /card and POST /score"})
        try:
            pictures = decoded(self.rfile.read(int(self.headers["Content-Length"])))
        except Exception as error:
            return self._reply(400, {"error": f"{type(error).__name__}: {error}"})
        try:
            with self.server.turn:
                found = scores(self.server.model, pictures)
        except Exception as error:
            traceback.print_exc()
            return self._reply(500, {"error": f"{type(error).__name__}: {error}"})
        self._reply(200, found)

    def _reply(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a clip helps nobody."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves Q-Align to `lumosx curate`, on this machine alone.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--check", type=Path, metavar="PICTURE", help="print the scores of a picture and end")
    asked = parser.parse_args()
    model = load(asked.device)
    if asked.check:
        return print(scores(model, [Image.open(asked.check).convert("RGB")]))
    with Server(model, asked.port) as server:
        print(f"--model scorer=q-align:http://localhost:{server.server_port}\nCtrl+C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
