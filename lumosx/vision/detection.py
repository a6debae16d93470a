"""Where things and people are in a picture: OWLv2, Florence-2, Grounding DINO and RT-DETRv2, by transformers.

None of these has run on the published weights in this repository's tests: they run tiny random models of the same
classes, saved and loaded the same way.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2ForObjectDetection,
    RTDetrV2ForObjectDetection,
)
from transformers.models.owlv2.modeling_owlv2 import Owlv2ObjectDetectionOutput

from lumosx.errors import InputError
from lumosx.vision import Found, ModelCard, Picture
from lumosx.vision.pictures import pixel_values, tokenized
from lumosx.vision.places import find, load_image_processor, load_model, load_part

FLORENCE_TASK = "<OPEN_VOCABULARY_DETECTION>"


class OwlDetector:
    """OWLv2 (Minderer et al. 2023), which gives each phrase many boxes with scores. The release uses
    google/owlv2-base-patch16-ensemble.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository.
        device: of torch.
        threshold: only boxes with a score above.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there, or no such model.
    """

    def __init__(
        self, place: str | Path, device: str = "cpu", threshold: float = 0.1, revision: str | None = None
    ) -> None:
        found = find(place, revision)
        self.card = ModelCard("OWLv2", found.source, found.revision, "Apache-2.0", True)
        self.threshold = threshold
        self._model = load_model(Owlv2ForObjectDetection, found, device)
        self._processor = load_image_processor(found)
        self._tokenizer = load_part(AutoTokenizer, found)

    @torch.inference_mode()
    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        """For every phrase what it names, as if it was asked for alone, the surest first. Boxes may reach over the
        picture's edges. A phrase longer than the model's 16 tokens is cut there."""
        if not phrases:
            return []
        pixels = pixel_values(self._processor, [picture], self._model.device)
        output = self._model(pixel_values=pixels, **tokenized(self._tokenizer, phrases, self._model))
        return [self._of_phrase(output, index, picture) for index in range(len(phrases))]

    def _of_phrase(self, output: Any, index: int, picture: Picture) -> list[Found]:
        # given all phrases, the processor keeps each box for its best one alone, and a "hat" would take the "red hat"
        alone = Owlv2ObjectDetectionOutput(
            logits=output.logits[..., index : index + 1],
            pred_boxes=output.pred_boxes,
        )
        (result,) = self._processor.post_process_object_detection(
            alone, threshold=self.threshold, target_sizes=[picture.shape[:2]]
        )
        return _surest_first(result["boxes"], result["scores"])


class FlorenceDetector:
    """Florence-2 (Xiao et al. 2024), which answers a phrase with boxes in words of its own and no scores. The release
    uses Florence-2-large-ft to find a person by a description.

    Only repositories in transformers' own format load, such as florence-community/Florence-2-large-ft; those of
    microsoft bring code for older versions.

    Args and errors as `OwlDetector`.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        found = find(place, revision)
        self.card = ModelCard("Florence-2", found.source, found.revision, "MIT", True)
        self._model = load_model(Florence2ForConditionalGeneration, found, device)
        self._processor = load_part(Florence2Processor, found)

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        """For every phrase the boxes in the order of the answer, each with a score of 1."""
        return [self._boxes(Image.fromarray(picture), phrase) for phrase in phrases]

    @torch.inference_mode()
    def _boxes(self, image: Image.Image, phrase: str) -> list[Found]:
        asked = self._processor(text=FLORENCE_TASK + phrase, images=image, return_tensors="pt").to(self._model.device)
        tokens = self._model.generate(**asked, num_beams=3, max_new_tokens=1024, do_sample=False)
        (text,) = self._processor.batch_decode(tokens, skip_special_tokens=False)
        answer = self._processor.post_process_generation(text=text, task=FLORENCE_TASK, image_size=image.size)
        return [Found(_box(box), 1.0) for box in answer[FLORENCE_TASK]["bboxes"]]


class GroundingDino:
    """Grounding DINO (Liu et al. 2023), such as IDEA-Research/grounding-dino-base. Each phrase is asked alone, because
    the words of several in one question answer for each other. It loads when it is first asked.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository.
        device: of torch.
        threshold: only boxes with a score above: how well the best of a question's tokens fits.
        text_threshold: only boxes that one of the phrase's own tokens fits better than that; the marks around a phrase
            can fit a box as well. Both are the paper's (section A.4).
        revision: of a hub repository.

    Raises:
        InputError: nothing is there. That it is no such model shows when it is first asked.
    """

    def __init__(
        self,
        place: str | Path,
        device: str = "cpu",
        threshold: float = 0.5,
        text_threshold: float = 0.45,
        revision: str | None = None,
    ) -> None:
        self._found, self._device = find(place, revision), device
        self.threshold, self.text_threshold = threshold, text_threshold
        name = f"Grounding DINO (box {threshold:g}, text {text_threshold:g})"
        self.card = ModelCard(name, self._found.source, self._found.revision, "Apache-2.0", True)

    @cached_property
    def _model(self) -> Any:
        return load_model(GroundingDinoForObjectDetection, self._found, self._device)

    @cached_property
    def _processor(self) -> Any:
        return GroundingDinoProcessor(load_image_processor(self._found), load_part(AutoTokenizer, self._found))

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        """For every phrase what it names, the surest first. Boxes may reach over the picture's edges."""
        return [self._boxes(picture, phrase) for phrase in phrases]

    @torch.inference_mode()
    def _boxes(self, picture: Picture, phrase: str) -> list[Found]:
        model, processor = self._model, self._processor
        question = (
            phrase.lower().replace(".", " ").strip() + "."
        )  # as it was trained; one inside would divide the phrase
        asked = processor(images=Image.fromarray(picture), text=question, return_tensors="pt").to(self._device)
        output = model(**asked)
        (result,) = processor.post_process_grounded_object_detection(
            output,
            asked["input_ids"],
            threshold=self.threshold,
            text_threshold=self.text_threshold,
            target_sizes=[picture.shape[:2]],
        )
        # of no box it gives one empty text
        found = zip(result["boxes"].tolist(), result["scores"].tolist(), result["text_labels"], strict=False)
        named = [Found(_box(box), score) for box, score, words in found if words.strip(" .")]
        return sorted(named, key=lambda one: -one.score)


class RtDetrPeople:
    """RT-DETRv2 (Lv et al. 2024) trained on COCO, such as PekingU/rtdetr_v2_r50vd: its class "person".

    Args and errors as `OwlDetector`.
    """

    def __init__(
        self, place: str | Path, device: str = "cpu", threshold: float = 0.5, revision: str | None = None
    ) -> None:
        found = find(place, revision)
        self.card = ModelCard("RT-DETRv2", found.source, found.revision, "Apache-2.0", True)
        self.threshold = threshold
        self._model = load_model(RTDetrV2ForObjectDetection, found, device)
        self._processor = load_image_processor(found)
        classes = {name: label for label, name in self._model.config.id2label.items()}
        if "person" not in classes:
            raise InputError(f"{found.source}: a detector without the class 'person'; take one trained on COCO")
        self._person = classes["person"]

    @torch.inference_mode()
    def detect(self, picture: Picture) -> list[Found]:
        """Whole people, the surest first."""
        output = self._model(pixel_values=pixel_values(self._processor, [picture], self._model.device))
        (result,) = self._processor.post_process_object_detection(
            output, threshold=self.threshold, target_sizes=[picture.shape[:2]]
        )
        people = result["labels"] == self._person
        return _surest_first(result["boxes"][people], result["scores"][people])


def _surest_first(boxes: torch.Tensor, scores: torch.Tensor) -> list[Found]:
    found = [Found(_box(box), score) for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)]
    return sorted(found, key=lambda one: -one.score)


def _box(corners: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = corners
    return float(x0), float(y0), float(x1), float(y1)
