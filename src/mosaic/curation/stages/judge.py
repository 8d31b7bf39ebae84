"""judge: is the picture good, is each subject clear, is it one scene?

Scores     judge/sharpness (variance of the Laplacian at 512 pixels), exposure, unclipped, colours (0 to 1);
           with an aesthetic model judge/aesthetic (1 to 10); with a vision-language model judge/quality,
           coherence, clarity (0 to 4), once (share of the subjects seen exactly once), tokens_in, tokens_out
Facts      "judge": by (models), hash (64-bit perceptual hash, 16 hexadecimal digits, to find near-duplicates)
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.protocols import Judge, Stage
from mosaic.curation.rows import Outcome, Record, Work
from mosaic.data.shards import picture_of
from mosaic.perception.duplicates import perceptual_hash
from mosaic.perception.endpoint import Access, Endpoint
from mosaic.sample import Picture


class AestheticSection(BaseModel):
    """[judge.aesthetic] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str  # file of Aesthetic Predictor V2.5's head
    encoder: str = "google/siglip-so400m-patch14-384"  # hub id or folder
    device: str | None = None
    dtype: str = "float32"


class VisionSection(Access):
    """[judge.vision] of a recipe: the model behind an endpoint, and how many questions at a time."""

    concurrency: int = Field(8, ge=1)


class Section(BaseModel):
    """[judge] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["toybox", "models"] = "models"
    aesthetic: AestheticSection | None = None
    vision: VisionSection | None = None
    batch: int = Field(16, ge=1)


def make(section: Section) -> Stage:
    """The stage with its models loaded."""
    judges = {"toybox": _toybox, "models": _models}[section.kind](section)
    return JudgeStage([QualityJudge(), *judges], section.batch)


def _toybox(section: Section) -> list[Judge]:
    return []  # what is rendered is right; the pixels are measured all the same


def _models(section: Section) -> list[Judge]:
    judges: list[Judge] = []
    if section.aesthetic is not None:
        judges.append(AestheticJudge(section.aesthetic))
    if section.vision is not None:
        judges.append(VisionJudge(section.vision))
    return judges


class JudgeStage:
    """All scores of several judges."""

    def __init__(self, judges: Sequence[Judge], batch: int) -> None:
        self._judges, self.batch = judges, batch

    def __call__(self, work: Sequence[Work]) -> list[Outcome]:
        pictures = [picture_of(one.files["target.webp"]) for one in work]
        scores: list[dict[str, float]] = [{} for _ in work]
        for judge in self._judges:
            for known, new in zip(scores, judge(pictures, [one.record for one in work]), strict=True):
                known |= {f"judge/{name}": value for name, value in new.items()}
        by = " + ".join(judge.name for judge in self._judges)
        return [
            Outcome(id=one.id, scores=found, facts={"judge": {"by": by, "hash": hash_of(picture)}})
            for one, picture, found in zip(work, pictures, scores, strict=True)
        ]


def hash_of(picture: Picture) -> str:
    """The perceptual hash in 16 hexadecimal digits."""
    return f"{perceptual_hash(picture):016x}"


# ---------------------------------------------------------------- judges


class QualityJudge:
    """What pixels tell without a model."""

    name = "pixels"

    def __call__(self, pictures: Sequence[Picture], records: Sequence[Record]) -> list[dict[str, float]]:
        from mosaic.perception.quality import quality

        return [quality(picture) for picture in pictures]


class AestheticJudge:
    """How pictures please."""

    def __init__(self, section: AestheticSection) -> None:
        from mosaic.perception.aesthetic import AestheticPredictor
        from mosaic.perception.encoders import load_encoder

        encoder = load_encoder(section.encoder, device=section.device, dtype=section.dtype)
        self._predict = AestheticPredictor(encoder, section.head)
        self.name = self._predict.name

    def __call__(self, pictures: Sequence[Picture], records: Sequence[Record]) -> list[dict[str, float]]:
        return [{"aesthetic": float(score)} for score in self._predict(pictures)]


class VisionJudge:
    """A vision-language model's marks, several pictures asked about at a time."""

    def __init__(self, section: VisionSection) -> None:
        self._endpoint, self._concurrency = endpoint_of(section), section.concurrency
        self.name = section.model

    def __call__(self, pictures: Sequence[Picture], records: Sequence[Record]) -> list[dict[str, float]]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(self._one, pictures, records))

    def _one(self, picture: Picture, record: Record) -> dict[str, float]:
        from mosaic.perception.judging import judge_picture

        caption = record.detailed_caption or record.caption
        return judge_picture(self._endpoint, picture, caption, [named.phrase for named in record.subjects])


def endpoint_of(section: VisionSection) -> Endpoint:
    """The section's endpoint."""
    return Endpoint(Access(**section.model_dump(exclude={"concurrency"})))
