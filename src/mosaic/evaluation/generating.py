"""Pictures for a benchmark, of our model with and without its references, taken up where they stopped.

A finished picture is one whose PNG tells of the very settings that are asked for; it is never made again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from mosaic.evaluation.pictures import part_folder, stems
from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings
from mosaic.pictures import file_hash, load_reference, noisy_white_border, read_recipe, write_png
from mosaic.sample import Reference, Subject

if TYPE_CHECKING:
    from mosaic.pipeline import EncodedReference, MosaicPipeline
    from mosaic.pipeline.guidance import Plan

logger = logging.getLogger(__name__)

MOST_REFERENCES = 8
STEP = 16  # pixels: the sides a model can make are multiples of it
NOISE = 12  # of 255, by which a JPEG's white border may miss white
KEPT = 64  # encoded references
UNFINISHED = ".unfinished"  # folder of the images of grids that are not complete
VERSIONS = "versions"  # of a recipe, which do not decide whether a picture is kept


class Painter(Protocol):
    """Makes the pictures of records; `recipe` is all that decides one of them, as JSON values."""

    def recipe(self, record: Record, settings: Settings, seed: int) -> Mapping[str, Any]: ...

    def picture(self, record: Record, settings: Settings, seed: int) -> Image.Image: ...


def generate(
    pipeline: MosaicPipeline,
    benchmark: Benchmark,
    folder: Path,
    *,
    references: bool = True,
    rank: int = 0,
    world: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Make one process's share of the pictures; `advance` is called for each image, made or found made.

    benchmark: `settled` for the pipeline. references: False for the prompt alone, the baseline. ValueError
    for a record of more than eight references, and for a picture in the folder that was made otherwise.
    """
    check_references(benchmark)
    produce(Model(pipeline, references), benchmark, folder, rank=rank, world=world, advance=advance)


def check_references(benchmark: Benchmark) -> None:
    """ValueError that names the first record with too many."""
    for record in benchmark.records:
        if len(record.subjects) > MOST_REFERENCES:
            raise ValueError(
                f"Record {record.id} of {benchmark.name} has {len(record.subjects)} references, and a "
                f"picture takes at most {MOST_REFERENCES}: score pictures of another method with --images."
            )


def images_of(benchmark: Benchmark, rank: int = 0, world: int = 1) -> int:
    """How many images one process makes."""
    return sum(len(benchmark.settings[one.part].seeds) for one in benchmark.records[rank::world])


# ---------------------------------------------------------------- settings


def settled(
    benchmark: Benchmark,
    pipeline: MosaicPipeline | None = None,
    *,
    steps: int | None = None,
    size: tuple[int, int] | None = None,
) -> Benchmark:
    """The benchmark with the settings its pictures are made with, each difference among its deviations.

    steps, size (width, height): instead of the benchmark's. A side is rounded to a multiple of 16. Guidance
    is the benchmark's for models distilled for it, as those it was published for are, else the model's.
    """
    size = None if size is None else _rounded(size)
    settings, told = dict(benchmark.settings), list(benchmark.deviations)
    for part in benchmark.parts:
        published = settings[part]
        changes: dict[str, Any] = {} if size is None else {"width": size[0], "height": size[1]}
        changes |= {"steps": steps} if steps is not None else {}
        if pipeline is not None:
            changes |= _of_model(pipeline, replace(published, **changes))
        settings[part] = replace(published, **changes)
        told += [line for line in _differences(published, settings[part]) if line not in told]
    return replace(benchmark, settings=settings, deviations=(*told, *_canvas(benchmark, pipeline)))


def _rounded(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(STEP, round(side / STEP) * STEP) for side in size)
    if (width, height) != tuple(size):
        logger.warning(
            f"Sides are multiples of {STEP}: pictures are {width}x{height}, not {size[0]}x{size[1]}."
        )
    return width, height


def _of_model(pipeline: MosaicPipeline, settings: Settings) -> dict[str, Any]:
    """What a model decides: steps and guidance where the benchmark has none, guidance that is its own."""
    from mosaic.pipeline.guidance import check_steps, defaults, first_given

    embedded = bool(pipeline.transformer.config.guidance_embeds)
    few = not (embedded or pipeline.scheduler.config.use_dynamic_shifting)
    steps, guidance = defaults(few_steps=few)
    own = first_given(pipeline.config.default_guidance, guidance)
    pipeline.size(settings.height, settings.width)  # ValueError for what cannot be made
    return {
        "steps": check_steps(first_given(settings.steps, pipeline.config.default_steps, steps)),
        "guidance": settings.guidance if embedded and settings.guidance is not None else own,
    }


def _differences(published: Settings, used: Settings) -> list[str]:
    """Sentences on what is not as published; what the benchmark leaves open is no difference."""
    lines = []
    if (published.width, published.height) != (used.width, used.height):
        lines.append(
            f"Pictures are {used.width}×{used.height} pixels instead of {published.width}×{published.height}."
        )
    if published.steps is not None and published.steps != used.steps:
        lines.append(f"Steps of the sampler are {used.steps} instead of {published.steps}.")
    if published.guidance is not None and published.guidance != used.guidance:
        lines.append(
            f"Guidance is the model's own {used.guidance:g}: the published {published.guidance:g} is for "
            "models distilled for it."
        )
    return lines


def _canvas(benchmark: Benchmark, pipeline: MosaicPipeline | None) -> list[str]:
    """How our references are laid out, beside how the original's are."""
    if pipeline is None or pipeline.lora is None:
        return []
    lora, originals = pipeline.lora, sorted({one.reference for one in benchmark.settings.values()} - {""})
    side = f" of {lora.canvas_size} pixels" if lora.canvas_size else ""
    told = f"MOSAIC's references lie on the {lora.canvas} canvas{side} that its LoRA was trained on"
    return [f"{told}; the original's: {' or '.join(originals)}." if originals else f"{told}."]


# ---------------------------------------------------------------- files


def produce(
    painter: Painter,
    benchmark: Benchmark,
    folder: Path,
    *,
    rank: int = 0,
    world: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Every `world`-th record from `rank` on: a file an image, or a 2 × 2 grid of its images."""
    for record in benchmark.records[rank::world]:
        settings = benchmark.settings[record.part]
        place, names = part_folder(folder, benchmark, record.part), stems(record, settings)[0]
        files = [place / f"{name}.png" for name in names]
        if len(files) == len(settings.seeds):
            for file, seed in zip(files, settings.seeds, strict=True):
                paint(painter, record, settings, seed, file)
                advance()
        else:
            paint_grid(painter, record, settings, files[0], folder / UNFINISHED / record.part, advance)
    if world == 1:  # another process might be about to write there
        for part in benchmark.parts:
            _remove_empty(folder / UNFINISHED / part)


def paint(painter: Painter, record: Record, settings: Settings, seed: int, file: Path) -> None:
    """One image's file, unless it is there already."""
    recipe = as_told(painter.recipe(record, settings, seed))
    if not kept(file, recipe):
        write_png(painter.picture(record, settings, seed), file, recipe)


def paint_grid(
    painter: Painter, record: Record, settings: Settings, file: Path, parts: Path, advance: Callable[[], None]
) -> None:
    """A grid's file: its images one by one, and when there are all of them, together."""
    recipe = as_told(painter.recipe(record, settings, settings.seeds[0])) | {"seed": list(settings.seeds)}
    if kept(file, recipe):
        for _ in settings.seeds:
            advance()
        return
    quarters = [parts / f"{record.id}-{image}.png" for image in range(len(settings.seeds))]
    for seed, quarter in zip(settings.seeds, quarters, strict=True):
        paint(painter, record, settings, seed, quarter)
        advance()
    write_png(grid_of([Image.open(quarter) for quarter in quarters]), file, recipe)
    for quarter in quarters:
        quarter.unlink()


def grid_of(images: Sequence[Image.Image]) -> Image.Image:
    """Four pictures of one size as 2 × 2, row by row, nothing between them."""
    width, height = images[0].size
    grid = Image.new("RGB", (2 * width, 2 * height))
    for quadrant, image in enumerate(images):
        grid.paste(image.convert("RGB"), (quadrant % 2 * width, quadrant // 2 * height))
    return grid


def kept(file: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether the picture is there. ValueError if there is one that was made otherwise."""
    if not file.is_file():
        return False
    there = read_recipe(file)
    names = [name for name in {**there, **recipe} if name != VERSIONS and there.get(name) != recipe.get(name)]
    if names:
        name = names[0]
        raise ValueError(
            f"{file} was made otherwise ({name} {_short(there.get(name))}, not {_short(recipe.get(name))}): "
            "give another --output, or remove its pictures."
        )
    return True


def as_told(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as it comes back from a file."""
    from mosaic import __version__

    told: dict[str, Any] = json.loads(json.dumps({**recipe, VERSIONS: {"mosaic": __version__}}))
    return told


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _remove_empty(folder: Path) -> None:
    """The folder and the one above it, where nothing is left in them."""
    for one in (folder, folder.parent):
        if one.is_dir() and not any(one.iterdir()):
            one.rmdir()


# ---------------------------------------------------------------- our model


class Model:
    """A pipeline as a painter: each reference is encoded once, each prompt once for all its seeds."""

    def __init__(self, pipeline: MosaicPipeline, references: bool = True) -> None:
        self.pipeline, self.references = pipeline, references
        self._encoded = lru_cache(maxsize=KEPT)(self._encode)
        self._planned: tuple[str, Plan] | None = None

    def recipe(self, record: Record, settings: Settings, seed: int) -> dict[str, Any]:
        """Prompt, settings, hashes of weights and references, by name and never by folder."""
        return {
            "record": record.id,
            "prompt": record.prompt,
            "seed": seed,
            "size": [settings.width, settings.height],
            "steps": settings.steps,
            "guidance": settings.guidance,
            "references": told_references(record) if self.references else [],
            "hashes": dict(self.pipeline.weights),
        }

    def picture(self, record: Record, settings: Settings, seed: int) -> Image.Image:
        if self._planned is None or self._planned[0] != record.id:
            self._planned = record.id, self._plan(record, settings)
        return self.pipeline.make(self._planned[1], seed).image

    def _plan(self, record: Record, settings: Settings) -> Plan:
        size = settings.height, settings.width
        subjects = record.subjects if self.references else ()
        return self.pipeline.plan(
            record.prompt,
            [self._encoded(subject.reference, subject.noun, size) for subject in subjects],
            size=size,
            steps=settings.steps,
            guidance=settings.guidance,
        )

    def _encode(self, path: Path, noun: str, size: tuple[int, int]) -> EncodedReference:
        return self.pipeline.encode_references([read_reference(path, noun)], size)[0]


def read_reference(path: Path, noun: str) -> Reference:
    """A benchmark's reference, a subject of its own; a JPEG's not quite white border counts as white."""
    reference = load_reference(noun, path)
    if noisy_white_border(reference.image):
        reference = load_reference(noun, path, tolerance=NOISE)
    return replace(reference, subject=Subject(id=str(path), name=noun))


def told_references(record: Record) -> list[dict[str, str]]:
    """Noun, file name and hash of each reference."""
    return [_told_reference(subject) for subject in record.subjects]


def _told_reference(subject: BenchSubject) -> dict[str, str]:
    return {"name": subject.noun, "file": subject.reference.name, "sha256": _hash(subject.reference)}


@lru_cache(maxsize=4096)
def _hash(path: Path) -> str:
    return file_hash(path)
