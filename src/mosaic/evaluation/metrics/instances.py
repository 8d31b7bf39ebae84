"""Do the things of a picture look like their references? IP-Sim of XVerseBench, and what it leaves open.

As coded there (eval/tools/florence_sam.py, dino.py, idip_sam-dino_score.py): a detector finds the noun, SAM 2
cuts each instance out, DINO compares it with the whole reference. K subjects, n crops, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Feature, Features, PictureFile, Score
from mosaic.evaluation.metrics.assignment import Floats, assigned, best, cosines, per_thing
from mosaic.evaluation.metrics.columns import column_of, seen
from mosaic.evaluation.records import BenchSubject
from mosaic.sample import Picture

ROLE = "instances"
KINDS = ("animal", "object", "clothes")  # people are ID-Sim's, and a scene is no instance
FIRST = 3  # crops of a noun that the published score looks at
MOST = 8  # kept for records whose subjects share a noun
PLAIN, PADDED = 0, 1  # rows of a reference's vectors

Boxes = NDArray[np.float32]  # (n, 4)
Detect = Callable[[Picture, Sequence[str]], Sequence[tuple[Boxes, NDArray[np.float32]]]]
Cut = Callable[[Picture, Boxes], tuple[NDArray[np.bool_], NDArray[np.float32]]]


class InstanceExtractor:
    """An `Extractor` by a noun: {"vectors": (n, D), "boxes": (n, 4)} of its instances, in order (MOST).

    Without a noun it takes the picture for a reference: as it is and padded to a white square, (2, D).
    """

    batch = 4

    def __init__(self, detect: Detect, cut: Cut, encoder: Any, name: str) -> None:
        self.name = name
        self._detect, self._cut, self._encoder = detect, cut, encoder

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> Sequence[Feature]:
        found = [self._crops(picture, text) for picture, text in zip(seen(pictures), texts, strict=True)]
        return encoded(self._encoder, found)

    def _crops(self, picture: Picture, noun: str) -> tuple[list[Picture], Boxes]:
        if not noun:
            return [picture, squared(picture)], np.zeros((2, 4), np.float32)
        boxes, _ = self._detect(picture, [noun])[0]
        masks, _ = self._cut(picture, boxes[:MOST])
        return cutouts(picture, boxes[:MOST], masks)


def load_instances(parts: Mapping[str, str], device: str | None) -> InstanceExtractor:
    """The role's extractor of its parts. ValueError in one sentence for a model that cannot be loaded."""
    from mosaic.perception.encoders import load_encoder
    from mosaic.perception.florence import load_detector
    from mosaic.perception.segmenter import Masker

    detect, cut = load_detector(parts["detector"], device), Masker(parts["masker"], device=device)
    encoder = load_encoder(parts["encoder"], device=device)
    return InstanceExtractor(detect, cut, encoder, " + ".join(parts.values()))


def encoded(encoder: Any, found: Sequence[tuple[Sequence[Picture], Boxes]]) -> list[Feature]:
    """Crops of several pictures by one call of the encoder."""
    vectors = encoder.pictures([crop for crops, _ in found for crop in crops])
    ends = np.cumsum([len(crops) for crops, _ in found])
    rows = np.split(vectors, ends[:-1])
    return [{"vectors": some, "boxes": boxes} for some, (_, boxes) in zip(rows, found, strict=True)]


def cutouts(picture: Picture, boxes: Boxes, masks: NDArray[np.bool_]) -> tuple[list[Picture], Boxes]:
    """Instances on white, cropped to their boxes, padded to squares; those too small are left out."""
    crops, kept = list[Picture](), list[int]()
    for index, mask in enumerate(masks):
        left, top, right, bottom = (int(side) for side in boxes[index])
        white = np.where(mask[..., None], picture, np.uint8(255))[top:bottom, left:right]
        if not too_small(white.shape[1], white.shape[0], picture.shape[1]):
            crops.append(squared(white))
            kept.append(index)
    return crops, boxes[kept]


def too_small(width: int, height: int, across: int) -> bool:
    """A crop in a picture `across` pixels wide: w · h < m² or min(w, h) < ⌊m / 4⌋, with m = ⌊across / 20⌋."""
    least = across // 20
    return width * height < max(1, least**2) or min(width, height) < least // 4


def squared(picture: Picture) -> Picture:
    """In the middle of a white square."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), 255, np.uint8)
    square[top : top + height, left : left + width] = picture
    return square


class _Instances:
    """What the columns share: whom they look at, and what they ask."""

    roles: tuple[str, ...] = (ROLE,)
    row = PLAIN

    def __init__(self, name: str, scorers: Scorers) -> None:
        self.column = column_of(name, scorers, ROLE)

    def asks(self, case: Case) -> Iterator[Ask]:
        for _, subject in subjects_of(case, KINDS):
            yield Ask(ROLE, PictureFile(subject.reference))
            yield from (Ask(ROLE, picture, subject.noun) for picture in case.pictures)

    def reference(self, subject: BenchSubject, features: Features) -> NDArray[np.float32]:
        """(D,)."""
        return np.asarray(features[Ask(ROLE, PictureFile(subject.reference))]["vectors"][self.row])


class IpSim(_Instances):
    """Each reference's cosine to the most similar of its noun's first three cut-outs; 0 where none is."""

    def __init__(self, scorers: Scorers) -> None:
        super().__init__("IP-Sim", scorers)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for image, picture in enumerate(case.pictures):
            for index, subject in subjects_of(case, KINDS):
                crops = features[Ask(ROLE, picture, subject.noun)]["vectors"][:FIRST]
                value = best(cosines(self.reference(subject, features)[None], crops))[0]
                note = "" if len(crops) else not_found(subject)
                yield Score(image=image, subject=index, value=float(value), note=note)


class IpSimPadded(IpSim):
    """The same with the reference padded to a square too, so that a tall one keeps its ends."""

    row = PADDED

    def __init__(self, scorers: Scorers) -> None:
        _Instances.__init__(self, "IP-Sim (padded)", scorers)


class IpSimAssigned(_Instances):
    """IP-Sim where an instance serves one reference alone, whichever nouns found it."""

    def __init__(self, scorers: Scorers) -> None:
        super().__init__("IP-Sim (assigned)", scorers)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        chosen = list(subjects_of(case, KINDS))
        if not chosen:
            return
        subjects = [subject for _, subject in chosen]
        references = np.stack([self.reference(subject, features) for subject in subjects])
        for image, picture in enumerate(case.pictures):
            similar = similarities(ROLE, picture, subjects, references, features, at_least=FIRST)
            values, has = assigned(similar)
            for place, (index, subject) in enumerate(chosen):
                note = "" if has[place] else missing(subject, similar[place])
                yield Score(image=image, subject=index, value=float(values[place]), note=note)


def similarities(
    role: str,
    picture: PictureFile,
    subjects: Sequence[BenchSubject],
    references: NDArray[np.floating],
    features: Features,
    *,
    at_least: int,
) -> Floats:
    """Of references (K, D) to the things of a picture (K, t); −∞ where the subject's noun found it not.

    Of a noun count its first `at_least` crops, or one for each subject it names, if these are more.
    """
    nouns = [subject.noun for subject in subjects]
    found = []
    for noun in dict.fromkeys(nouns):
        feature, limit = features[Ask(role, picture, noun)], max(at_least, nouns.count(noun))
        found.append((noun, feature["vectors"][:limit], feature["boxes"][:limit]))
    return per_thing(references, nouns, found)


def subjects_of(case: Case, kinds: Sequence[str]) -> Iterator[tuple[int, BenchSubject]]:
    """Those of the given kinds with their places in the record."""
    return ((index, one) for index, one in enumerate(case.record.subjects) if one.kind in kinds)


def missing(subject: BenchSubject, similar: Floats) -> str:
    """Why a subject has no thing of its own."""
    return f"no {subject.noun} left for this reference" if np.isfinite(similar).any() else not_found(subject)


def not_found(subject: BenchSubject) -> str:
    """The note of a value that is 0 for want of a crop."""
    return f"no {subject.noun} found in the picture"
