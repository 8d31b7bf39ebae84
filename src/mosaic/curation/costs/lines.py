"""A recipe's lines: work by stage and part, questions to language models, and files."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mosaic.curation.costs import rates
from mosaic.curation.costs.counting import Counts, counts_of
from mosaic.curation.costs.files import Files, files_of
from mosaic.curation.costs.questions import Questions, questions_of
from mosaic.curation.costs.rates import Gpu, Rate, assumed, diffusion, measured
from mosaic.curation.recipe import Recipe, read_recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One part of a stage: how many pieces, seconds each (None: not known), on what, and who says so."""

    part: str  # it begins with the stage
    pieces: str
    number: float
    seconds: float | None
    on: str
    how: str

    @property
    def hours(self) -> float | None:
        return None if self.seconds is None else self.number * self.seconds / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a recipe takes."""

    name: str
    gpu: Gpu
    counts: Counts
    lines: tuple[Line, ...]
    questions: tuple[Questions, ...]
    files: tuple[Files, ...]
    price: tuple[float, float] | None  # dollars of a million tokens in, and out

    def hours(self, on: str) -> float:
        """Of all lines on GPUs or cores whose rate is known."""
        return sum(line.hours or 0.0 for line in self.lines if line.on == on)

    @property
    def tokens(self) -> tuple[float, float]:
        """In, out."""
        return (
            sum(one.number * one.tokens_in for one in self.questions),
            sum(one.number * one.tokens_out for one in self.questions),
        )

    @property
    def dollars(self) -> float | None:
        if self.price is None:
            return None
        return sum(count * price / 1e6 for count, price in zip(self.tokens, self.price, strict=True))

    @property
    def bytes(self) -> float:
        return sum(one.number * one.bytes for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: hours, tokens, dollars, bytes."""
        totals = {"gpu_hours": self.hours("GPU"), "core_hours": self.hours("core"), "bytes": self.bytes}
        totals |= {"tokens_in": self.tokens[0], "tokens_out": self.tokens[1]}
        told = asdict(self) | totals | {"dollars": self.dollars}
        told["lines"] = [asdict(line) | {"hours": line.hours} for line in self.lines]
        return told


def plan_recipe(path: Path, overrides: Sequence[str], gpu: Gpu) -> Costs:
    """The costs of a recipe file. ValueError for a recipe that cannot be read, in one sentence."""
    return costs_of(read_recipe(Path(path), list(overrides)), Path(path).stem, gpu)


def costs_of(recipe: Recipe, name: str, gpu: Gpu) -> Costs:
    """The costs of a recipe on a GPU; nothing is loaded but, of an import without `samples`, its list."""
    counts = counts_of(recipe)
    questions = tuple(questions_of(recipe, counts))
    price = recipe.plan.price
    model = getattr(recipe.stages.get("prompts"), "model", None)
    if price is None and model is not None and any(model.price):
        price = model.price
    return Costs(
        name=name,
        gpu=gpu,
        counts=counts,
        lines=tuple(_told(recipe, line) for line in _lines(recipe, counts, questions, gpu)),
        questions=questions,
        files=tuple(files_of(recipe, counts)),
        price=price,
    )


def _told(recipe: Recipe, line: Line) -> Line:
    """With the recipe's own figure where it has one."""
    if line.part not in recipe.plan.seconds:
        return line
    told = asdict(line) | {"seconds": recipe.plan.seconds[line.part], "how": "as the recipe's [plan] says"}
    return Line(**told)


def _lines(recipe: Recipe, counts: Counts, questions: Sequence[Questions], gpu: Gpu) -> Iterator[Line]:
    makers = {
        "prompts": _prompts,
        "paint": _paint,
        "judge": _judge,
        "segment": _segment,
        "refer": _refer,
        "correspond": _correspond,
    }
    for stage, number in counts.samples.items():
        if stage in makers:
            for part, pieces, count, rate in makers[stage](recipe.stages[stage], number, counts, gpu):
                yield Line(part=part, pieces=pieces, number=count, **asdict(rate))
        if stage == "pack":
            yield Line(part="pack", pieces="samples", number=counts.packed, **asdict(measured("pack")))
    for one in questions:
        if one.own:
            rate = assumed(gpu, {"question": 1})
            yield Line(part=f"{one.stage} questions", pieces="questions", number=one.number, **asdict(rate))


Part = tuple[str, str, float, Rate]
"""Its name, what a piece of it is, how many, what one takes."""


def _prompts(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    yield "prompts", "prompts", number, measured("prompts toybox" if section.kind == "toybox" else "prompts")


def _paint(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    pixels = section.width * section.height
    if section.kind == "toybox":
        yield "paint", "pictures", number, measured("paint pixel", pixels)
        return
    tokens = pixels // rates.TOKEN**2 + _text(section)
    yield "paint", "pictures", number, diffusion(section.model, tokens, section.steps, gpu)


def _judge(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    yield "judge", "pictures", number, measured("judge pixel", counts.pixels)
    if section.aesthetic is not None:
        yield "judge aesthetic", "pictures", number, assumed(gpu, {"aesthetic": 1})


def _segment(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    if section.kind == "toybox":
        yield "segment", "samples", number, measured("segment")
        return
    yield "segment", "samples", number, assumed(gpu, {"phrase": counts.subjects, "masks": 1})


def _refer(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    views = number * counts.subjects
    if section.kind == "toybox":
        yield "refer", "views", views, measured("refer pixel", section.size**2)
        return
    if section.kind == "diffusers" and not counts.brought:
        tokens = 2 * (section.side // rates.TOKEN) ** 2 + _text(section)
        yield "refer", "views", views, diffusion(section.model, tokens, section.steps, gpu)
    pieces = {"phrase": 1.0, "masks": 1.0} if section.segmenter else {}
    pieces |= {"encoder": 1.0} if section.encoder else {}
    if pieces:
        yield "refer checks", "views", views, assumed(gpu, pieces)


def _correspond(section: Any, number: float, counts: Counts, gpu: Gpu) -> Iterator[Part]:
    references = number * counts.subjects
    if section.kind == "toybox":
        yield "correspond", "references", references, measured("correspond")
        return
    features = [*section.first, *section.second]
    pieces = {one.kind: float(getattr(one, "draws", 1)) for one in features if one.kind in rates.ASSUMED}
    if pieces:
        yield "correspond", "references", references, assumed(gpu, pieces)
    for one in features:
        if one.kind == "flux":
            tokens = (one.side // rates.TOKEN) ** 2 + _text(one)
            yield "correspond flux", "references", references, _dift(one, tokens, gpu)
        elif one.kind in rates.MEASURED:
            yield f"correspond {one.kind}", "references", references, measured(one.kind)


def _dift(features: Any, tokens: int, gpu: Gpu) -> Rate:
    """A part of a pass, of reference and target, for each draw."""
    share = (features.block + 1) / rates.FLUX.blocks
    seconds = 2 * features.draws * share * rates.FLUX.step(tokens) / gpu.rate
    return Rate(
        seconds=seconds, on="GPU", how=f"derived: {2 * features.draws} passes to block {features.block}"
    )


def _text(section: Any) -> int:
    return int(getattr(section, "arguments", {}).get("max_sequence_length", rates.TEXT))
