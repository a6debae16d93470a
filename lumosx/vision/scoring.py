"""Quality and aesthetics by Q-Align, which runs in an environment of its own."""

import math
from collections.abc import Sequence
from typing import Any

from lumosx.errors import InputError
from lumosx.vision import ModelCard, Picture
from lumosx.vision.server import PAUSES, TIMEOUT, JsonServer, png

CARD = {"name": str, "source": str, "revision": str, "licence": str, "commercial": bool}


class QAlign(JsonServer):
    """Q-Align (Wu et al. 2024) behind `scripts/q_align_server.py`, since its code needs transformers 4.36.

    The paper filters by it (section A.3). It does not say how a clip is shown to it: here frame by frame, with the
    mean as the clip's score. What the card says is what the server says of itself; so is the trust in its code.

    Args:
        place: base URL, such as http://localhost:8765.
        device: not used; the server has its own.
        timeout: seconds until the server must have answered.
        pauses: seconds before each further try, when it is down, busy or broken.

    Raises:
        InputError: no such server answers there.
    """

    def __init__(
        self, place: str, device: str = "cpu", timeout: float = TIMEOUT, pauses: Sequence[float] = PAUSES
    ) -> None:
        del device
        super().__init__(place, "http://localhost:8765", timeout, pauses)
        self.card = _card(self._introduced("/card"), self._url)

    def score(self, frames: Sequence[Picture]) -> tuple[float, float]:
        """(quality, aesthetic) from 1 to 5, the means over the frames.

        Raises:
            TransientError: the server was down, busy or broken in all tries.
            InputError: it refuses, or is no server of this kind; with the address and its message.
            RuntimeError: the model gave no numbers.
        """
        given = self._asked("/score", {"pictures": [png(frame) for frame in frames]})
        try:
            scores = float(given["quality"]), float(given["aesthetic"])
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(f"{self._url}/score: answers without scores: {str(given)[:200]}") from error
        if not all(map(math.isfinite, scores)):
            raise RuntimeError(f"{self.card.name} gave {given}")
        return scores


def _card(told: Any, url: str) -> ModelCard:
    if not isinstance(told, dict) or {name: type(value) for name, value in told.items()} != CARD:
        raise InputError(f"{url}/card: not what scripts/q_align_server.py says of itself: {str(told)[:200]}")
    return ModelCard(**told)
