"""Instances by phrase with Florence-2's open-vocabulary detection, the detector of XVerseBench.

The model answers in words: the phrase and, for each instance, four of a thousand places. It gives no scores.
n boxes of a phrase; H × W pixels. One picture and one phrase at a time, as the benchmark has it: beams of a
batch are padded, and padding would change answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mosaic.perception.loading import config_of, load_model, opening
from mosaic.perception.segmenter import BOX_THRESHOLD, TEXT_THRESHOLD, Boxes, Detector, Scores
from mosaic.sample import Picture

FLORENCE = (
    "florence-community/Florence-2-large"  # microsoft/Florence-2-large, saved for transformers' own class
)
TASK = "<OPEN_VOCABULARY_DETECTION>"
LONGEST, BEAMS = 1024, 3  # tokens of an answer, and answers followed side by side: Florence-2's own example


class FlorenceDetector:
    """Boxes in pixels (n, 4) of each phrase, in the order of the answer, and a score of 1 for each."""

    def __init__(
        self,
        at: str | Path = FLORENCE,
        *,
        device: str | None = None,
        dtype: str = "float32",
        longest: int = LONGEST,
    ) -> None:
        from transformers import AutoProcessor, Florence2ForConditionalGeneration

        self.name, self._longest = str(at), longest
        self._model = load_model(Florence2ForConditionalGeneration, at, device, dtype)
        with opening("The processor of Florence-2", at):
            self._processor: Any = AutoProcessor.from_pretrained(str(at))

    def __call__(self, picture: Picture, phrases: Sequence[str]) -> list[tuple[Boxes, Scores]]:
        boxes = [boxes_of(self.answer(picture, phrase), picture) for phrase in phrases]
        return [(some, np.ones(len(some), np.float32)) for some in boxes]

    @torch.inference_mode()
    def answer(self, picture: Picture, phrase: str) -> dict[str, Any]:
        """What the processor reads of the model's answer: "bboxes" in pixels, and polygons, if any."""
        model, image = self._model, Image.fromarray(picture)
        inputs = self._processor(text=TASK + phrase_of(phrase), images=image, return_tensors="pt")
        inputs = inputs.to(model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        tokens = model.generate(
            **inputs, max_new_tokens=self._longest, num_beams=BEAMS, do_sample=False, early_stopping=False
        )
        text = self._processor.batch_decode(tokens, skip_special_tokens=False)[0]
        read = self._processor.post_process_generation(text, task=TASK, image_size=image.size)
        return dict(read[TASK])


def phrase_of(phrase: str) -> str:
    """A phrase as it is; ValueError if it has no words. "<" would start one of the model's own words."""
    words = " ".join(phrase.replace("<", " ").replace(">", " ").split())
    if not words:
        raise ValueError("A phrase to look for has no words: give each subject a noun.")
    return words


def boxes_of(answer: dict[str, Any], picture: Picture) -> Boxes:
    """Boxes (n, 4) within the picture, in the order of the answer; polygons are no boxes and are left out."""
    height, width = picture.shape[:2]
    boxes = np.array(answer.get("bboxes", ()), np.float32).reshape(-1, 4)
    boxes = np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def load_detector(
    at: str | Path,
    device: str | None = None,
    *,
    box_threshold: float = BOX_THRESHOLD,
    text_threshold: float = TEXT_THRESHOLD,
) -> FlorenceDetector | Detector:
    """Florence-2 or Grounding DINO, by what its configuration says; the thresholds are the latter's."""
    kind = config_of(at).model_type
    if kind == "florence2":
        return FlorenceDetector(at, device=device)
    if kind == "grounding-dino":
        return Detector(at, device=device, box_threshold=box_threshold, text_threshold=text_threshold)
    raise ValueError(f"{at} is a {kind} model: as a detector give a florence2 or grounding-dino one.")
