"""What a run leaves on the disk: bytes a piece, of each stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mosaic.curation.costs.counting import SIDE, Counts
from mosaic.curation.recipe import Recipe
from mosaic.perception.endpoint import Access

# bytes a pixel of a WebP: of ten photographs at 512 × 512, exact and at quality 95; of toys, exact
EXACT, QUALITY_95, TOYS = 0.86, 0.24, 0.475
HEAD = 768  # of a file in a tar, half a block of padding included
MASK = (500, 2.2)  # bytes of a PNG, and for each pixel of its side: of toys
POINTS = 3400  # 256 points with their confidence: of toys
ROW = 2000  # of all tables together, a sample: of toys
ANSWER = 4096  # a file each, a block of the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Of one stage: pieces, bytes each, and who says so."""

    part: str
    pieces: str
    number: float
    bytes: float
    how: str


ASKS = {"prompts": "model", "judge": "vision", "refer": "vision"}  # stage → its table of a model asked


def files_of(recipe: Recipe, counts: Counts) -> Iterator[Files]:
    """Of all stages the recipe has. Bytes of a packed sample are those of its pieces."""
    every, k = dict[str, float](), counts.subjects
    source = next(iter(recipe.stages))
    yield Files(
        part="tables", pieces="rows", number=counts.samples[source], bytes=ROW, how="measured on toys"
    )
    side = counts.pixels**0.5
    if (first := next((stage for stage in ("import", "paint") if stage in counts), None)) is not None:
        each, how = picture(recipe.stages[first], counts.pixels)
        if first == "import":
            how += f", {SIDE} × {SIDE} assumed"
        every["picture"] = each
        yield Files(part=first, pieces="pictures", number=counts.samples[first], bytes=each, how=how)
    mask = HEAD + MASK[0] + MASK[1] * side
    every["masks"] = k * mask
    if "segment" in counts:
        number = counts.samples["segment"] * k
        yield Files(part="segment", pieces="masks", number=number, bytes=mask, how="by the side, from toys")
    yield from _references(recipe, counts, every)
    every["points"] = k * (POINTS + HEAD)
    if "correspond" in counts:
        number = counts.samples["correspond"] * k
        yield Files(part="correspond", pieces="points", number=number, bytes=POINTS, how="measured on toys")
    for stage, key in ASKS.items():
        section: Any = recipe.stages.get(stage)
        asked: Access | None = getattr(section, key, None)
        if stage in counts and asked is not None and asked.cache:
            number = counts.samples[stage] * (k if stage == "refer" else 1)
            yield Files(
                part=f"{stage} answers", pieces="answers", number=number, bytes=ANSWER, how="a block each"
            )
    if "pack" in counts:
        each = sum(every.values())
        yield Files(part="pack", pieces="samples", number=counts.packed, bytes=each, how="the files above")


def _references(recipe: Recipe, counts: Counts, every: dict[str, float]) -> Iterator[Files]:
    """Made in refer, or brought by an import."""
    section: Any = recipe.stages.get("refer")
    size = section.size if section is not None and not counts.brought else SIDE // 2
    each, how = picture(section if section is not None else recipe.stages[next(iter(recipe.stages))], size**2)
    each += HEAD + MASK[0] + MASK[1] * size
    every["references"] = counts.subjects * each
    part = "import references" if counts.brought else "refer"
    stage = "import" if counts.brought else "refer"
    if stage in counts:
        number = counts.samples[stage] * counts.subjects
        yield Files(part=part, pieces="references", number=number, bytes=each, how=how)


def picture(section: Any, pixels: float) -> tuple[float, str]:
    """Bytes of a WebP with its head in the tar, and who says so."""
    if getattr(section, "kind", "") == "toybox":
        return HEAD + TOYS * pixels, "measured on toys"
    quality: int | None = getattr(section, "quality", None)
    rate = EXACT if quality is None else QUALITY_95
    told = "exact" if quality is None else "quality 95" if quality == 95 else f"as quality 95, not {quality}"
    return HEAD + rate * pixels, f"measured on ten photographs, {told}"
