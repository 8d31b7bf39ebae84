"""correspond: the points that each reference shares with the target; a target token is one subject's alone.

Files      points.npy, and a mask for what has none: all of a target, what is not white of a reference
Scores     correspond/<k>/… points (kept of reference k), confidence (their mean, 0 without any), shared (of
           those matched, the share that another subject claimed: eq. 2 takes it away)
Facts      "correspond": by (matchers)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.assembling import assembled
from mosaic.curation.protocols import Matcher, Stage
from mosaic.curation.rows import Outcome, Work
from mosaic.data.shards import picture_of, png_of, points_npy
from mosaic.geometry import TOKEN, Grid
from mosaic.matching.kinds import DinoFeatures, Features, StableDiffusionFeatures
from mosaic.matching.rule import Rule
from mosaic.matching.spread import MOST_POINTS, thinned
from mosaic.pictures.canvas import WHITE
from mosaic.sample import Correspondence, Mask, Picture, Sample

Match = Callable[[Work, int, Picture, Mask, Picture, Mask], Correspondence]
"""A sample, which reference, that with its mask, the target with the subject's mask → the points of both."""


class Section(BaseModel):
    """[correspond] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["toybox", "features"] = "features"
    first: tuple[Features, ...] = Field(default=(StableDiffusionFeatures(kind="sd"),), min_length=1)
    second: tuple[Features, ...] = (DinoFeatures(kind="dino"),)  # must agree; (): the first alone
    rule: Rule = Rule()
    points: int = Field(default=MOST_POINTS, ge=1)  # at most so many a reference
    device: str | None = None
    batch: int = Field(default=4, ge=1)


def make(section: Section) -> Stage:
    """The stage with its models loaded."""
    return {"toybox": _toybox, "features": _features}[section.kind](section)


def _toybox(section: Section) -> Stage:
    from mosaic.curation import toybox_backends

    return CorrespondStage(toybox_backends.match, by="toybox", points=section.points, batch=section.batch)


def _features(section: Section) -> Stage:
    from mosaic.matching.kinds import make_extractor
    from mosaic.matching.matcher import FeatureMatcher
    from mosaic.perception.loading import device_of

    device = str(device_of(section.device))
    parts = [part for part in (section.first, section.second) if part]
    matcher = FeatureMatcher([make_extractor(part, device) for part in parts], section.rule)
    return CorrespondStage(by_matcher(matcher), by=matcher.name, points=section.points, batch=section.batch)


def by_matcher(matcher: Matcher) -> Match:
    """A matcher that needs to know nothing of the sample."""
    return lambda work, k, *pictures: matcher(*pictures)


class CorrespondStage:
    """Matches every reference, makes their target tokens disjoint, keeps those well apart."""

    def __init__(self, match: Match, *, by: str, points: int = MOST_POINTS, batch: int = 4) -> None:
        self._match, self._by, self._points, self.batch = match, by, points, batch

    def __call__(self, work: Sequence[Work]) -> list[Outcome]:
        """An outcome a sample. ValueError for one without references, or whose files are no sample."""
        return [self._outcome(one) for one in work]

    def _outcome(self, work: Work) -> Outcome:
        added = missing_masks(work)
        files = {name: content for name, content in work.files.items() if name != "points.npy"}
        _, sample = assembled(work, files | added)
        if not sample.references:
            raise ValueError("There is no reference whose points could be sought: refer made none.")
        matched = replace(sample, correspondences=tuple(self._matched(work, sample)))
        apart = matched.disjoint(_grid(sample))
        kept = tuple(thinned(points, self._points) for points in apart.correspondences)
        scores: dict[str, float] = {}
        for k, (before, after, points) in enumerate(
            zip(matched.correspondences, apart.correspondences, kept, strict=True)
        ):
            found = _measured(before, after, points)
            scores |= {f"correspond/{k}/{name}": value for name, value in found.items()}
        new = added | {"points.npy": points_npy(kept)}
        return Outcome(id=work.id, scores=scores, facts={"correspond": {"by": self._by}}, files=new)

    def _matched(self, work: Work, sample: Sample) -> list[Correspondence]:
        return [
            self._match(work, k, one.image, one.mask, sample.target, sample.target_masks[subject])
            for k, (one, subject) in enumerate(zip(sample.references, sample.subject_indices, strict=True))
        ]


def missing_masks(work: Work) -> dict[str, bytes]:
    """Masks that an imported sample came without: all of a target, what is not white of a reference."""
    files = work.files
    shown = work.facts.get("references", range(sum(f"ref{k}.webp" in files for k in range(len(files)))))
    added = {}
    for k in range(len(shown)):
        if f"ref{k}.mask.png" not in files and f"ref{k}.webp" in files:
            added[f"ref{k}.mask.png"] = png_of(picture_of(files[f"ref{k}.webp"]).min(axis=2) < WHITE)
    lacking = [f"target.mask{i}.png" for i in range(len(set(shown))) if f"target.mask{i}.png" not in files]
    if lacking and "target.webp" in files:
        everywhere = png_of(np.ones(picture_of(files["target.webp"]).shape[:2], bool))
        added |= dict.fromkeys(lacking, everywhere)
    return added


def _grid(sample: Sample) -> Grid:
    """The target's tokens; the last of a side may be a little larger where 16 does not divide it."""
    return Grid(max(1, sample.size[0] // TOKEN), max(1, sample.size[1] // TOKEN))


def _measured(before: Correspondence, after: Correspondence, kept: Correspondence) -> dict[str, float]:
    return {
        "points": float(len(kept)),
        "confidence": float(kept.confidence.mean()) if len(kept) else 0.0,
        "shared": 1 - len(after) / len(before) if len(before) else 0.0,
    }
