"""The worst subject of a picture: DINO of detector crops, one crop a reference, the minimum over subjects.

PSRBench's measure (github.com/wang-shulei/PSR: Grounding DINO tiny, box 0.35, text 0.25, crops of both sides,
DINO v1 ViT-S/16), with two changes: a crop serves one reference, and the minimum stands for the mean, which
hides a subject that is missing. For any benchmark. K subjects, n crops, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Feature, Features, PictureFile, Score
from mosaic.evaluation.metrics.assignment import assigned
from mosaic.evaluation.metrics.columns import column_of, seen
from mosaic.evaluation.metrics.instances import (
    Boxes,
    Detect,
    encoded,
    missing,
    similarities,
    subjects_of,
    too_small,
)
from mosaic.evaluation.records import BenchSubject
from mosaic.sample import Picture

ROLE = "crops"
KINDS = ("person", "animal", "object", "clothes")  # a scene has no box
BOX, TEXT = 0.35, 0.25  # PSRBench's thresholds
MOST = 8


class CropExtractor:
    """An `Extractor` by a noun: {"vectors": (n, D), "boxes": (n, 4)} of its crops, surest first (MOST).

    Without a noun: the whole picture, (1, D).
    """

    batch = 4

    def __init__(self, detect: Detect, encoder: Any, name: str) -> None:
        self.name = name
        self._detect, self._encoder = detect, encoder

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> Sequence[Feature]:
        found = [self._crops(picture, text) for picture, text in zip(seen(pictures), texts, strict=True)]
        return encoded(self._encoder, found)

    def _crops(self, picture: Picture, noun: str) -> tuple[Sequence[Picture], Boxes]:
        if not noun:
            return [picture], np.zeros((1, 4), np.float32)
        boxes, _ = self._detect(picture, [noun])[0]
        return cropped(picture, boxes[:MOST])


def load_crops(parts: Mapping[str, str], device: str | None) -> CropExtractor:
    """The role's extractor of its parts. ValueError in one sentence for a model that cannot be loaded."""
    from mosaic.perception.encoders import load_encoder
    from mosaic.perception.florence import load_detector

    detect = load_detector(parts["detector"], device, box_threshold=BOX, text_threshold=TEXT)
    encoder = load_encoder(parts["encoder"], device=device)
    return CropExtractor(detect, encoder, f"{parts['detector']} ({BOX}, {TEXT}) + {encoder.name}")


def cropped(picture: Picture, boxes: Boxes) -> tuple[list[Picture], Boxes]:
    """Crops in whole pixels, background and all; those too small by IP-Sim's rule are left out."""
    crops, kept = list[Picture](), list[int]()
    for index, box in enumerate(boxes):
        left, top, right, bottom = (int(side) for side in box)
        crop = picture[top:bottom, left:right]
        if not too_small(crop.shape[1], crop.shape[0], picture.shape[1]):
            crops.append(crop)
            kept.append(index)
    return crops, boxes[kept]


class DinoMin:
    """The least of an image's subjects, each by the crop assigned to it; one number an image."""

    roles: tuple[str, ...] = (ROLE,)

    def __init__(self, scorers: Scorers) -> None:
        self.column = column_of("DINO-min (cropped)", scorers, ROLE)

    def asks(self, case: Case) -> Iterator[Ask]:
        return asks(case)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        subjects = [subject for _, subject in subjects_of(case, KINDS)]
        if not subjects:
            return
        references = references_of(subjects, features)
        for image, picture in enumerate(case.pictures):
            similar = similarities(ROLE, picture, subjects, references, features, at_least=MOST)
            values, has = assigned(similar)
            worst = int(values.argmin())
            note = "" if has[worst] else missing(subjects[worst], similar[worst])
            yield Score(image=image, value=float(values[worst]), note=note)


def asks(case: Case) -> Iterator[Ask]:
    """Every subject's noun in every picture and in its reference, and the reference whole."""
    for _, subject in subjects_of(case, KINDS):
        yield from (Ask(ROLE, picture, subject.noun) for picture in case.pictures)
        yield from (Ask(ROLE, PictureFile(subject.reference), text) for text in (subject.noun, ""))


def references_of(subjects: Sequence[BenchSubject], features: Features) -> NDArray[np.float32]:
    """The surest crop of each reference, (K, D); where its noun is not found, the whole reference."""
    rows = []
    for subject in subjects:
        file = PictureFile(subject.reference)
        crops = features[Ask(ROLE, file, subject.noun)]["vectors"]
        rows.append(crops[0] if len(crops) else features[Ask(ROLE, file)]["vectors"][0])
    return np.stack(rows)
