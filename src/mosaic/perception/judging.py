"""What a vision-language model is asked about pictures: bounded marks, a one-sentence reason before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from mosaic.perception.endpoint import Endpoint
from mosaic.sample import Picture

Mark = Literal[0, 1, 2, 3, 4]
SYSTEM = (
    "You judge pictures for a training set, strictly and by what is visible alone. Marks: 0 unusable, "
    "1 poor, 2 mediocre, 3 good, 4 flawless. Answer with JSON alone."
)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubjectVerdict(_Answer):
    """One subject in one picture."""

    seen: Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]  # instances; 9: nine or more
    whole: Mark  # how little of it is cut off or hidden
    clear: Mark  # how well it can be told apart and recognised


class PictureVerdict(_Answer):
    """A picture against its caption and subjects, in their order."""

    reason: str
    quality: Mark  # no artefacts, blur, extra limbs, text
    coherence: Mark  # light, scale and contact of the subjects make one scene, as the caption says
    subjects: tuple[SubjectVerdict, ...]


class PairVerdict(_Answer):
    """Whether two pictures show one and the same individual."""

    reason: str
    shape: Mark
    colours: Mark
    details: Mark  # patterns, marks, accessories, face
    viewpoint: Mark  # how much it differs: 0 the same picture, 4 another side


def judge_picture(
    endpoint: Endpoint, picture: Picture, caption: str, nouns: Sequence[str]
) -> dict[str, float]:
    """{"quality", "coherence", "clarity", "once", "tokens_in", "tokens_out"}; the first three 0 to 4.

    clarity: the worst subject's smaller of whole and clear; once: the share of subjects seen exactly once.
    ValueError if the endpoint has no such answer.
    """
    listed = "\n".join(f"{index + 1}. {noun}" for index, noun in enumerate(nouns))
    question = (
        f"The picture was made for this caption: {caption}\nIts subjects, to be judged in order:\n{listed}"
    )
    answer = endpoint.ask(_verdict_on(len(nouns)), SYSTEM, question, [picture])
    verdict = answer.value
    clarity = min((min(subject.whole, subject.clear) for subject in verdict.subjects), default=4)
    once = sum(subject.seen == 1 for subject in verdict.subjects) / max(1, len(nouns))
    return {
        "quality": float(verdict.quality),
        "coherence": float(verdict.coherence),
        "clarity": float(clarity),
        "once": once if nouns else 1.0,
        "tokens_in": float(answer.tokens_in),
        "tokens_out": float(answer.tokens_out),
    }


def _verdict_on(subjects: int) -> type[PictureVerdict]:
    """The schema with exactly so many subjects, so that another number is asked for again."""
    exactly = Annotated[tuple[SubjectVerdict, ...], Field(min_length=subjects, max_length=subjects)]
    return create_model("PictureVerdict", __base__=PictureVerdict, subjects=(exactly, ...))


def judge_pair(endpoint: Endpoint, first: Picture, second: Picture, noun: str) -> dict[str, float]:
    """{"identity", "viewpoint", "tokens_in", "tokens_out"}; identity is the mean of three marks, 0 to 4."""
    answer = endpoint.ask(
        PairVerdict,
        SYSTEM,
        f"Do both pictures show the very same {noun}, the second from another side? 4: no difference of "
        "identity. Judge shape, colours and details apart, and how much the viewpoint differs.",
        [first, second],
    )
    verdict = answer.value
    return {
        "identity": (verdict.shape + verdict.colours + verdict.details) / 3,
        "viewpoint": float(verdict.viewpoint),
        "tokens_in": float(answer.tokens_in),
        "tokens_out": float(answer.tokens_out),
    }
