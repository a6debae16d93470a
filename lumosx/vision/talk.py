"""Models that answer questions about pictures and score them, in this process: Qwen's vision-language models, by
transformers.

None of these has run on the published weights in this repository's tests: they run tiny random models of the same
classes, saved and loaded the same way.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from lumosx.completeness import expect_none_missing
from lumosx.errors import InputError
from lumosx.vision import BadAnswer, ModelCard, Picture, Question
from lumosx.vision.places import Place, find, load_image_processor, load_part

# By model type: class and name.
QWEN = {
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, "Qwen2.5-VL"),
    "qwen3_vl": (Qwen3VLForConditionalGeneration, "Qwen3-VL"),
}
# All have Apache-2.0 but two sizes of Qwen2.5-VL, which are known by the width of their language model.
APACHE = ("Apache-2.0", True)
LICENCES = {
    ("qwen2_5_vl", 2048): ("Qwen Research License (3B): non-commercial", False),
    ("qwen2_5_vl", 8192): ("Qwen License (72B): commercial below 100 million users a month", True),
}
LEVELS = ("excellent", "good", "fair", "poor", "bad")  # of Q-Align, worth 5 to 1


class QwenVl:
    """Qwen2.5-VL (Bai et al. 2025) or Qwen3-VL (2025), told apart by the model's type.

    The paper matches attributes by Qwen2.5-VL-32B and captions by VILA. VILA's weights are non-commercial and
    transformers has no class for it, so a Qwen captions here as well.

    Decoding is greedy, without the penalty on repeated words of the repositories' own settings, since an answer repeats
    words of the caption. The network is read when the first question comes, in the precision of its file. It runs on
    one device: a model that needs several is served by vLLM and asked through `server.ChatServer`, which also holds the
    model to a question's schema; here the prompt alone asks for it.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository.
        device: of torch.
        tokens: most of an answer.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there, or no such model.
    """

    def __init__(self, place: str | Path, device: str = "cpu", tokens: int = 1024, revision: str | None = None) -> None:
        self._place, self._device, self._tokens = find(place, revision), device, tokens
        config = load_part(AutoConfig, self._place)
        if config.model_type not in QWEN:
            wanted = " or ".join(QWEN)
            raise InputError(f"{self._place.source}: a model of type {config.model_type}; wanted is {wanted}")
        self._kind, name = QWEN[config.model_type]
        licence = LICENCES.get((config.model_type, config.text_config.hidden_size), APACHE)
        self.card = ModelCard(name, self._place.source, self._place.revision, *licence)

    @torch.inference_mode()
    def answer(self, question: Question) -> str:
        """The answer, without white space around it.

        Raises:
            InputError: the network cannot be read.
            BadAnswer: the answer did not end within the tokens that it may have.
        """
        asked = self._prepared(question.pictures, question.prompt)
        given = self._model.generate(**asked)[0, asked["input_ids"].shape[1] :]
        text = self._processor.decode(given, skip_special_tokens=True).strip()
        if int(given[-1]) not in self._ends:
            raise BadAnswer(f"the answer did not end within {self._tokens} tokens: ...{text[-80:]!r}", text)
        return text

    @torch.inference_mode()
    def score(self, frames: Sequence[Picture]) -> tuple[float, float]:
        """(quality, aesthetic) from 1 to 5, the means over the frames, by the formula of Q-Align (Wu et al. 2024).

        The answer to "How would you rate the quality of this image?" is begun with "The quality of the image is"; what
        the model takes for the next word is looked up for five levels alone, from excellent to bad, and the score is
        the mean of their worth, 5 to 1. For aesthetics that word stands in the place of quality.

        The scale is not Q-Align's: that model was trained on people's scores to answer so, this one was not. Where
        thresholds belong must be seen from its scores.

        Raises:
            InputError: the network cannot be read, or its tokenizer does not tell the levels apart.
        """
        scores = [[self._rated(frame, aspect) for aspect in ("quality", "aesthetics")] for frame in frames]
        quality, aesthetic = np.mean(scores, axis=0)
        return float(quality), float(aesthetic)

    def _rated(self, frame: Picture, aspect: str) -> float:
        levels = self._levels  # before the network is read
        begun = f"The {aspect} of the image is"
        asked = self._prepared([frame], f"How would you rate the {aspect} of this image?", begun)
        logits = self._model(**asked, use_cache=False, logits_to_keep=1).logits[0, -1, levels]
        return float(logits.cpu().double().softmax(0) @ torch.arange(len(LEVELS), 0, -1).double())

    def _prepared(self, pictures: Sequence[Picture], prompt: str, begun: str | None = None) -> Any:
        """What the network takes: a prompt after its pictures, and the beginning of the answer if that is told."""
        shown = [{"type": "image", "image": Image.fromarray(picture)} for picture in pictures]
        talk = [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
        if begun:
            talk.append({"role": "assistant", "content": [{"type": "text", "text": begun}]})
        return self._processor.apply_chat_template(
            talk,
            add_generation_prompt=begun is None,
            continue_final_message=begun is not None,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._device)

    @cached_property
    def _levels(self) -> list[int]:
        """The first token of each level where it follows other words, as Q-Align takes it."""
        words = [f" {level}" for level in LEVELS]
        tokens = [ids[0] for ids in self._processor.tokenizer(words, add_special_tokens=False).input_ids]
        if len(set(tokens)) < len(tokens):
            begin = ", ".join(f"{level} {token}" for level, token in zip(LEVELS, tokens, strict=True))
            raise InputError(f"{self._place.source}: levels begin with the same token ({begin}), so it cannot score")
        return tokens

    @cached_property
    def _model(self) -> Any:
        model, report = load_part(self._kind, self._place, dtype="auto", output_loading_info=True)
        expect_none_missing(self._place.source, self._kind.__name__, report["missing_keys"])
        own = model.generation_config  # would sample
        model.generation_config = GenerationConfig(
            max_new_tokens=self._tokens, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )
        return model.to(self._device).eval()

    @cached_property
    def _processor(self) -> Any:
        return _processor(self._place)

    @property
    def _ends(self) -> list[int]:
        """Tokens that end an answer."""
        ends = self._model.generation_config.eos_token_id
        return ends if isinstance(ends, list) else [ends]


class PictureProcessor(Qwen3VLProcessor):
    """What prepares pictures and text, less what prepares videos, which needs torchvision. For pictures those of
    Qwen2.5-VL and Qwen3-VL are the same."""

    # transformers takes the parts of a processor from the names of these arguments
    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)


def _processor(place: Place) -> PictureProcessor:
    tokenizer = load_part(AutoTokenizer, place)
    stated, _ = PictureProcessor.get_processor_dict(place.path, local_files_only=True)
    template = stated.get("chat_template") or tokenizer.chat_template  # older repositories have it in one of them only
    if not template:
        raise InputError(f"{place.source}: has no chat template; take a model that was trained to answer (Instruct)")
    return PictureProcessor(load_image_processor(place), tokenizer, chat_template=template)
