"""Instances by phrase: Grounding DINO finds boxes, SAM 2 their masks; LangSAM's parts and thresholds.

N pictures, Q phrases of one, n boxes of a phrase; H × W pixels. A picture is looked at alone with its
phrases, so that what is found does not depend on which pictures come with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mosaic.geometry import Size
from mosaic.perception import sam2
from mosaic.perception.found import Found
from mosaic.perception.loading import load_model, opening
from mosaic.sample import Picture

DETECTOR = "IDEA-Research/grounding-dino-base"
MASKER = "facebook/sam2.1-hiera-small"
BOX_THRESHOLD, TEXT_THRESHOLD = 0.3, 0.25  # LangSAM's
MOST = 32  # boxes of a phrase

Boxes = NDArray[np.float32]  # (n, 4)
Scores = NDArray[np.float32]  # (n,)


class GroundedSegmenter:
    """[picture][phrase] → every instance above the thresholds, surest first."""

    licence = "Apache-2.0"  # of both

    def __init__(
        self,
        detector: str | Path = DETECTOR,
        masker: str | Path = MASKER,
        *,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.name = f"{detector} + {masker}"
        self._detect = Detector(
            detector, box_threshold=box_threshold, text_threshold=text_threshold, device=device, dtype=dtype
        )
        self._mask = Masker(masker, device=device, dtype=dtype)

    def __call__(
        self, pictures: Sequence[Picture], phrases: Sequence[Sequence[str]]
    ) -> list[list[list[Found]]]:
        return [self._one(picture, sought) for picture, sought in zip(pictures, phrases, strict=True)]

    def _one(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        if not phrases:
            return []
        boxes, scores = zip(*self._detect(picture, phrases), strict=True)
        masks, mask_scores = self._mask(picture, np.concatenate(boxes))
        found = [
            Found(box=_box(box), score=float(score), mask=mask, mask_score=float(mask_score))
            for box, score, mask, mask_score in zip(
                np.concatenate(boxes), np.concatenate(scores), masks, mask_scores, strict=True
            )
        ]
        ends = np.cumsum([0, *map(len, boxes)])
        return [found[start:end] for start, end in pairwise(ends)]


class Detector:
    """Grounding DINO, one phrase a prompt: boxes in pixels (n, 4) and scores (n,) of each phrase."""

    def __init__(
        self,
        at: str | Path = DETECTOR,
        *,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        from transformers import GroundingDinoForObjectDetection

        self._model = load_model(GroundingDinoForObjectDetection, at, device, dtype)
        self._processor = _detection_processor(at)
        self._thresholds = {"threshold": box_threshold, "text_threshold": text_threshold}

    @torch.inference_mode()
    def __call__(self, picture: Picture, phrases: Sequence[str]) -> list[tuple[Boxes, Scores]]:
        model = self._model
        image = Image.fromarray(picture)
        inputs = self._processor(
            images=[image] * len(phrases),
            text=[prompt_of(phrase) for phrase in phrases],
            padding=True,
            return_tensors="pt",
        ).to(model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        answers = self._processor.post_process_grounded_object_detection(
            model(**inputs),
            inputs["input_ids"],
            target_sizes=[picture.shape[:2]] * len(phrases),
            **self._thresholds,
        )
        return [_surest(answer, (picture.shape[0], picture.shape[1])) for answer in answers]


class Masker:
    """SAM 2: the mask of what is in each box, bool (n, H, W), and how sure it is (n,)."""

    def __init__(self, at: str | Path = MASKER, *, device: str | None = None, dtype: str = "float32") -> None:
        from transformers import Sam2Model

        self._model = load_model(Sam2Model, at, device, dtype)
        self._side = int(self._model.config.prompt_encoder_config.image_size)

    @torch.inference_mode()
    def __call__(self, picture: Picture, boxes: Boxes) -> tuple[NDArray[np.bool_], Scores]:
        size, model = (picture.shape[0], picture.shape[1]), self._model
        if not len(boxes):
            return np.zeros((0, *size), bool), np.zeros(0, np.float32)
        answer = model(
            pixel_values=sam2.pixel_values([picture], self._side).to(model.device, model.dtype),
            input_boxes=sam2.scaled_boxes(boxes, size, self._side).to(model.device),
            multimask_output=False,
        )
        masks = sam2.full_masks(answer.pred_masks[0, :, 0], size)  # (1, n, 1, h, w)
        return masks, answer.iou_scores[0, :, 0].float().cpu().numpy()


def prompt_of(phrase: str) -> str:
    """As Grounding DINO was trained: lower case, ended by the dot that also parts phrases, so none inside."""
    words = " ".join(phrase.lower().replace(".", " ").split())
    if not words:
        raise ValueError("A phrase to look for has no words: give each subject a noun.")
    return words + "."


def _detection_processor(at: str | Path) -> Any:
    """The model's processor, its picture part by Pillow whether torchvision is there or not."""
    from transformers import AutoTokenizer, GroundingDinoProcessor
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
        GroundingDinoImageProcessorPil,
    )

    with opening("The processor of Grounding DINO", at):
        pictures = GroundingDinoImageProcessorPil.from_pretrained(str(at))
        return GroundingDinoProcessor(pictures, AutoTokenizer.from_pretrained(str(at)))


def _surest(answer: Any, size: Size) -> tuple[Boxes, Scores]:
    """Boxes within the picture whose words are above the text threshold, surest first, at most MOST."""
    named = [bool(label.strip()) for label in answer["text_labels"]]
    scores = answer["scores"].float().cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    order = order[np.array(named, bool)[order]][:MOST]
    height, width = size
    boxes = answer["boxes"].float().cpu().numpy()[order].reshape(-1, 4)
    return np.clip(boxes, 0, np.array([width, height] * 2, np.float32)), scores[order]


def _box(box: Boxes) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(side) for side in box)
    return left, top, right, bottom
