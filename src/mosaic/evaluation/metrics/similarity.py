"""CLIP-I, DINO and DINOv2: whole picture against every photograph of a subject. CLIP-T: against the prompt.

As bytedance/UNO's and MIP-Adapter's scorers have it: nothing is cut out, every photograph counts, and a
cosine with the prompt that is below 0 counts as 0. D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mosaic.evaluation.features import Ask, Case, Column, Extractor, Feature, Features, PictureFile, Score
from mosaic.evaluation.metrics.columns import cosine
from mosaic.sample import Picture

if TYPE_CHECKING:
    from mosaic.perception.encoders import Encoder


class PhotographSimilarity:
    """cos(image, photograph): a score for every image, subject and photograph of it."""

    def __init__(self, column: Column, role: str) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (role,)

    def asks(self, case: Case) -> Iterator[Ask]:
        for picture in case.pictures:
            yield self._ask(picture)
        for subject in case.record.subjects:
            for path in subject.photographs:
                yield self._ask(PictureFile(path))

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        """−1 to 1."""
        for image, picture in enumerate(case.pictures):
            made = features[self._ask(picture)]["vector"]
            for subject, shown in enumerate(case.record.subjects):
                for photograph, path in enumerate(shown.photographs):
                    value = cosine(made, features[self._ask(PictureFile(path))]["vector"])
                    yield Score(image=image, value=value, subject=subject, photograph=photograph)

    def _ask(self, picture: PictureFile) -> Ask:
        return Ask(self.roles[0], picture)


class PromptSimilarity:
    """max(0, cos(image, prompt)), weight 1: a score for every image."""

    def __init__(self, column: Column, role: str) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (role,)

    def asks(self, case: Case) -> Iterator[Ask]:
        yield Ask(self.roles[0], None, case.record.prompt)
        for picture in case.pictures:
            yield Ask(self.roles[0], picture)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        """0 to 1."""
        prompt = features[Ask(self.roles[0], None, case.record.prompt)]["vector"]
        for image, picture in enumerate(case.pictures):
            made = features[Ask(self.roles[0], picture)]["vector"]
            yield Score(image=image, value=max(0.0, cosine(made, prompt)))


class EncoderExtractor:
    """{"vector": (D,)} of a picture, or of a text where there is none."""

    batch = 32

    def __init__(self, encoder: Encoder) -> None:
        self.name, self._encoder = encoder.name, encoder

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> list[Feature]:
        features: list[Feature] = [{} for _ in pictures]
        shown = [index for index, picture in enumerate(pictures) if picture is not None]
        told = [index for index, picture in enumerate(pictures) if picture is None]
        if shown:
            vectors = self._encoder.pictures([picture for picture in pictures if picture is not None])
            for index, vector in zip(shown, vectors, strict=True):
                features[index] = {"vector": vector}
        if told:
            vectors = self._encoder.texts([texts[index] for index in told])
            for index, vector in zip(told, vectors, strict=True):
                features[index] = {"vector": vector}
        return features


def load_clip(parts: Mapping[str, str], device: str | None) -> Extractor:
    """Half precision on a GPU, as OpenAI's loader has it; float32 elsewhere."""
    from mosaic.perception.encoders import load_encoder
    from mosaic.perception.loading import device_of

    dtype = "float16" if device_of(device).type == "cuda" else "float32"
    return EncoderExtractor(load_encoder(parts["model"], device=device, dtype=dtype))


def load_dino(parts: Mapping[str, str], device: str | None) -> Extractor:
    """float32 everywhere."""
    from mosaic.perception.encoders import load_encoder

    return EncoderExtractor(load_encoder(parts["model"], device=device))
