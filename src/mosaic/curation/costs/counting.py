"""How many pieces come to each stage of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosaic.curation.recipe import Recipe, make
from mosaic.curation.rows import STAGES

ACCEPTED: Mapping[str, float] = {"judge": 0.7, "segment": 0.6, "refer": 0.6, "correspond": 0.95}
SUBJECTS: Mapping[str, float] = {"subjects200k": 1, "uno-1m": 1, "imig-100k": 3}  # else 2
JOINS: Mapping[str, str] = {"imig-100k": "correspond"}  # else segment; a guess that the data decides
SIDE = 1024  # of an imported picture, assumed
BROUGHT = ("subjects200k", "uno-1m", "imig-100k")  # imports that have references


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Samples that come to each stage of a recipe, and what they are."""

    samples: Mapping[str, float]  # by stage, those that the recipe has and the samples do not pass by
    packed: float
    subjects: float  # a sample
    pixels: int  # of a target
    brought: bool  # whether the references are there from the start
    how: str  # which shares go on

    def __contains__(self, stage: str) -> bool:
        return stage in self.samples


def counts_of(recipe: Recipe) -> Counts:
    """ValueError if the data of an import without `samples` is not there."""
    left = float(recipe.samples or len(make("import", recipe.stages["import"])))
    first, kind = next(iter(recipe.stages)), getattr(recipe.stages.get("import"), "kind", "")
    joins = _joins(recipe.stages.get("import"))
    samples, shares = dict[str, float](), dict[str, float]()
    for stage in recipe.stages:
        if stage != first and STAGES.index(stage) < STAGES.index(joins):
            continue
        samples[stage] = left
        share = _share(recipe, stage)
        if share < 1:
            shares[stage] = share
        left *= share
    told = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())
    return Counts(
        samples=samples,
        packed=left,
        subjects=_subjects(recipe),
        pixels=_pixels(recipe),
        brought=kind in BROUGHT or bool(getattr(recipe.stages.get("import"), "columns", None)),
        how=f"assumed to go on: {told}" if told else "all are assumed to go on",
    )


def _share(recipe: Recipe, stage: str) -> float:
    """Of the toybox all go on; else as [plan] says, or as assumed."""
    if getattr(recipe.stages[stage], "kind", "") == "toybox":
        return float(recipe.plan.accepted.get(stage, 1.0))  # type: ignore[call-overload]
    return float(recipe.plan.accepted.get(stage, ACCEPTED.get(stage, 1.0)))  # type: ignore[call-overload]


def _subjects(recipe: Recipe) -> float:
    if recipe.plan.subjects is not None:
        return recipe.plan.subjects
    if "prompts" in recipe.stages:
        counts = recipe.stages["prompts"].subjects  # type: ignore[attr-defined]
        return float(sum(counts) / len(counts))
    section: Any = recipe.stages["import"]
    return float(len(section.subjects) or SUBJECTS.get(section.kind, 2))


def _pixels(recipe: Recipe) -> int:
    paint: Any = recipe.stages.get("paint")
    return SIDE**2 if paint is None else int(paint.width * paint.height)


def _joins(section: Any) -> str:
    """The stage that an import's samples go on with, as far as its kind tells."""
    if section is None:
        return STAGES[0]
    if section.kind == "subjects200k" and section.annotations:
        return "pack"
    if section.kind == "webdataset" and section.columns is None:
        return "pack"
    return JOINS.get(section.kind, "segment")
