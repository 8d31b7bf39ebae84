"""Do the people of a picture have the faces of their references? ID-Sim, an assigned version, and ID-Conf.

ID-Sim is XVerseBench's (eval/tools/face_id.py, idip_face_score.py), ID-Conf is UMO's
(eval/id_conf_xversebench.py). K human references of a record, n faces of a picture, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Feature, Features, PictureFile, Score
from mosaic.evaluation.metrics.assignment import Floats, Ints, assigned, best, cosines, merged, things
from mosaic.evaluation.metrics.columns import column_of, seen
from mosaic.perception.faces import (
    FaceDetector,
    FaceEmbedder,
    every_face,
    first_face,
    load_face_detector,
    load_face_embedder,
)
from mosaic.sample import Picture

ROLE = "faces"
FIRST = "first"  # the text that asks for a reference's one face
NO_FACE, NO_REFERENCE_FACE = "no face found in the picture", "no face found in the reference"
NONE_LEFT = "no face left for this reference"
SAME_FACE = 0.5  # of the union of two boxes


class FaceExtractor:
    """An `Extractor`: the faces of pictures, or the first face of references, as unit vectors.

    A picture has {"vectors": (n, D), "boxes": (n, 4)}: every face found, its box grown by 1.3 and cropped,
    found again in the crop and aligned; zeros where it is not found again. A reference, asked for with FIRST,
    has one row or none.
    """

    batch = 8

    def __init__(self, detect: FaceDetector, embed: FaceEmbedder) -> None:
        self.name = f"{detect.name} + {embed.name}"
        self._detect, self._embed = detect, embed

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> Sequence[Feature]:
        found = [self._faces(picture, text) for picture, text in zip(seen(pictures), texts, strict=True)]
        vectors = iter(self._embed([face for faces in found for face, _ in faces if face is not None]))
        nothing = np.zeros(self._embed.width, np.float32)
        rows = [[nothing if face is None else next(vectors) for face, _ in faces] for faces in found]
        return [
            {
                "vectors": np.array(some, np.float32).reshape(-1, self._embed.width),
                "boxes": np.array([box for _, box in faces], np.float32).reshape(-1, 4),
            }
            for some, faces in zip(rows, found, strict=True)
        ]

    def _faces(self, picture: Picture, text: str) -> Sequence[tuple[Picture | None, NDArray[np.float32]]]:
        if text == FIRST:
            face = first_face(picture, self._detect)
            return [] if face is None else [(face, np.zeros(4, np.float32))]
        return every_face(picture, self._detect)


def load_faces(parts: Mapping[str, str], device: str | None) -> FaceExtractor:
    """The role's extractor of its parts. ValueError in one sentence for a file that cannot be loaded."""
    if not parts["detector"] or not parts["embedder"]:
        raise ValueError(
            "No face models are published by id: give --scorer faces.detector=FILE and --scorer "
            "faces.embedder=FILE (docs/subject-metrics.md says which), or --scorer faces=none."
        )
    detect = load_face_detector(parts["detector"])
    return FaceExtractor(detect, load_face_embedder(parts["embedder"], device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One picture's faces beside the human references of its record."""

    image: int
    subjects: tuple[int, ...]  # K, their places in the record
    known: NDArray[np.bool_]  # (K,) whether the reference shows a face
    similarities: Floats  # (K, n), 0 where a face could not be aligned
    face: Ints  # (n,) which of the picture's faces each is: in a crowd two crops can hold the same one


class _Faces:
    """What the columns share: whom they look at, and what they ask."""

    roles: tuple[str, ...] = (ROLE,)

    def __init__(self, name: str, scorers: Scorers) -> None:
        self.column = column_of(name, scorers, ROLE)

    def asks(self, case: Case) -> Iterator[Ask]:
        people = _people(case)
        for index in people:
            yield _reference(case, index)
        if people:
            yield from (Ask(ROLE, picture) for picture in case.pictures)

    def beside(self, case: Case, features: Features) -> Iterator[Beside]:
        """Nothing for a record without people."""
        people = _people(case)
        found = [features[_reference(case, index)]["vectors"] for index in people]
        if not people:
            return
        references = np.stack([one[0] if len(one) else np.zeros(one.shape[1], one.dtype) for one in found])
        for image, picture in enumerate(case.pictures):
            feature = features[Ask(ROLE, picture)]
            yield Beside(
                image=image,
                subjects=people,
                known=np.array([len(one) > 0 for one in found]),
                similarities=cosines(references, feature["vectors"]),
                face=things(feature["boxes"], SAME_FACE),
            )


class IdSim(_Faces):
    """Each human reference's cosine to the most similar face of a picture; 0 where there is none."""

    def __init__(self, scorers: Scorers) -> None:
        super().__init__("ID-Sim", scorers)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for beside in self.beside(case, features):
            for place, value in enumerate(best(beside.similarities)):
                yield _score(beside, place, value, _why(beside, place))


class IdSimAssigned(_Faces):
    """The same where a face serves one reference alone: the assignment of the largest sum."""

    def __init__(self, scorers: Scorers) -> None:
        super().__init__("ID-Sim (assigned)", scorers)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for beside in self.beside(case, features):
            values, has = np.zeros(len(beside.subjects)), np.zeros(len(beside.subjects), bool)
            similar = merged(beside.similarities, beside.face)
            values[beside.known], has[beside.known] = assigned(similar[beside.known])
            for place, value in enumerate(values):
                left = "" if has[place] else NONE_LEFT
                yield _score(beside, place, value, _why(beside, place) or left)


class IdConf(_Faces):
    """How far a reference's best face is ahead of its second, in pictures of two faces or more; 1 at most."""

    def __init__(self, scorers: Scorers) -> None:
        super().__init__("ID-Conf", scorers)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for beside in self.beside(case, features):
            for place, similar in enumerate(beside.similarities):
                if len(similar) > 1:
                    yield _score(beside, place, confidence(similar), _why(beside, place))


def confidence(similarities: Floats) -> float:
    """min(1, (s₁ − s₂) / s₁) of the two largest of (n ≥ 2,); 0 unless s₁ > 0."""
    second, first = np.sort(similarities)[-2:]
    return float(min(1.0, (first - second) / first)) if first > 0 else 0.0


def _people(case: Case) -> tuple[int, ...]:
    return tuple(index for index, one in enumerate(case.record.subjects) if one.kind == "person")


def _reference(case: Case, index: int) -> Ask:
    return Ask(ROLE, PictureFile(case.record.subjects[index].reference), FIRST)


def _why(beside: Beside, place: int) -> str:
    if not beside.known[place]:
        return NO_REFERENCE_FACE
    return "" if beside.similarities[place].any() else NO_FACE


def _score(beside: Beside, place: int, value: float, note: str) -> Score:
    return Score(image=beside.image, subject=beside.subjects[place], value=float(value), note=note)
