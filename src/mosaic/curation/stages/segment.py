"""segment: where each subject is in the target, and whether there is one of it, whole and apart.

Files      target.mask<subject>.png for each subject that was found
Scores     segment/<subject>/… instances (different things the phrase found; 0: none), box, mask_score, area
           (share of the picture), overlap (with another subject's mask, intersection over union), borders
           (sides of the picture touched), fragments (share outside the largest part)
Facts      "segment": by (model), licence, and every box with its scores, so that they can be looked at again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation import instances
from mosaic.curation.protocols import Segmenter, Stage
from mosaic.curation.rows import Outcome, Work
from mosaic.data.shards import picture_of, png_of
from mosaic.perception.found import Found
from mosaic.sample import Picture

Find = Callable[[Sequence[Work], Sequence[Picture]], Sequence[Sequence[Sequence[Found]]]]
"""Samples and their targets → [sample][subject] → instances, surest first."""


class Section(BaseModel):
    """[segment] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["toybox", "grounded"] = "grounded"
    detector: str = "IDEA-Research/grounding-dino-base"  # hub ids or folders
    masker: str = "facebook/sam2.1-hiera-small"
    box_threshold: float = Field(0.3, ge=0, le=1)  # LangSAM's; what lies below is not even kept
    text_threshold: float = Field(0.25, ge=0, le=1)
    device: str | None = None
    dtype: str = "float32"
    batch: int = Field(8, ge=1)


def make(section: Section) -> Stage:
    """The stage with its models loaded."""
    return {"toybox": _toybox, "grounded": _grounded}[section.kind](section)


def _toybox(section: Section) -> Stage:
    from mosaic.curation import toybox_backends

    licence = toybox_backends.LICENCE
    return SegmentStage(toybox_backends.find(), by="toybox", licence=licence, batch=section.batch)


def _grounded(section: Section) -> Stage:
    segmenter = grounded_segmenter(section)
    return SegmentStage(
        by_phrase(segmenter), by=segmenter.name, licence=segmenter.licence, batch=section.batch
    )


def grounded_segmenter(section: Section) -> Segmenter:
    """Grounding DINO and SAM 2 as the section has them."""
    from mosaic.perception.segmenter import GroundedSegmenter

    return GroundedSegmenter(
        section.detector,
        section.masker,
        box_threshold=section.box_threshold,
        text_threshold=section.text_threshold,
        device=section.device,
        dtype=section.dtype,
    )


def by_phrase(segmenter: Segmenter) -> Find:
    """One phrase a subject: its noun with its looks."""

    def find(works: Sequence[Work], pictures: Sequence[Picture]) -> Sequence[Sequence[Sequence[Found]]]:
        return segmenter(pictures, [[named.phrase for named in work.record.subjects] for work in works])

    return find


class SegmentStage:
    """Finds, tells apart, measures."""

    def __init__(self, find: Find, *, by: str, licence: str, batch: int) -> None:
        self._find, self.batch = find, batch
        self._made = {"by": by, "licence": licence}

    def __call__(self, work: Sequence[Work]) -> list[Outcome]:
        pictures = [picture_of(one.files["target.webp"]) for one in work]
        found = self._find(work, pictures)
        return [self._outcome(one, subjects) for one, subjects in zip(work, found, strict=True)]

    def _outcome(self, work: Work, found: Sequence[Sequence[Found]]) -> Outcome:
        chosen, scores = measured(found)
        files = {
            f"target.mask{i}.png": png_of(found[i][pick].mask)
            for i, pick in enumerate(chosen)
            if pick is not None and found[i][pick].mask.any()
        }
        facts = self._made | {"boxes": [[_boxed(one) for one in some] for some in found], "chosen": chosen}
        return Outcome(id=work.id, scores=scores, facts={"segment": facts}, files=files)


def measured(found: Sequence[Sequence[Found]]) -> tuple[list[int | None], dict[str, float]]:
    """[subject] → instances ⇒ which is the subject's (None: none), and every score."""
    groups = instances.grouped(found)
    chosen = instances.assigned(found, groups)
    masks = [None if pick is None else found[i][pick].mask for i, pick in enumerate(chosen)]
    scores: dict[str, float] = {}
    for i, (pick, mask) in enumerate(zip(chosen, masks, strict=True)):
        scores[f"segment/{i}/instances"] = float(instances.things(groups, chosen, i))
        if pick is None or mask is None:
            continue
        values = {
            "box": found[i][pick].score,
            "mask_score": found[i][pick].mask_score,
            "area": instances.area(mask),
            "overlap": instances.overlap(masks, i),
            "borders": float(instances.borders(mask)),
            "fragments": instances.fragments(mask),
        }
        scores |= {f"segment/{i}/{name}": value for name, value in values.items()}
    return chosen, scores


def _boxed(found: Found) -> list[Any]:
    """left, top, right, bottom in pixels, score of the box, score of the mask."""
    return [*(round(side, 1) for side in found.box), round(found.score, 4), round(found.mask_score, 4)]
