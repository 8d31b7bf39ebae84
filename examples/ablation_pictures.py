"""Pictures of an ablation's runs, after the paper's Fig. 5 and Fig. 6: the same scenes, cell beside cell.

python examples/ablation_pictures.py scenes    RUNS FILE.png   # references, each cell's picture, the true one
python examples/ablation_pictures.py attention RUNS FILE.png   # where the same places of the references look

RUNS is the folder of `mosaic train recipes/ablation.toml --output RUNS`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import mosaic
from mosaic.generate import attention_request
from mosaic.pictures.attention import INK, Seen, Sheet, draw_looks
from mosaic.sample import Reference, Subject
from mosaic.toybox.instruments.measure import exam
from mosaic.toybox.render import render
from mosaic.toybox.scene import Composition

SIDE, GAP, TITLE = 192, 12, 26  # pixels of the sheet
DRAWN = {"height": 128, "width": 128}


def pipeline_of(run: Path) -> Any:
    """A run's LoRA on the base it was trained on; a run of the base is a model folder of its own."""
    if (run / "model").is_dir():
        return mosaic.load(run / "model")
    base = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["model"]["base"]
    return mosaic.load(base, run / "lora.safetensors")


def references_of(composition: Composition, side: int = 64) -> list[Reference]:
    """Its toys as references, each with its mask."""
    shown = render(list(composition.references), side, side)
    masks = shown.masks(1)[:, 0].numpy()
    return [
        Reference(subject=Subject(id=str(k), name=toy.species), image=shown.picture[k].numpy(), mask=masks[k])
        for k, toy in enumerate(composition.scene.toys)
    ]


def truth(composition: Composition) -> Image.Image:
    """The scene as the toybox renders it."""
    return Image.fromarray(render([composition.scene], 128, 128).picture[0].numpy())


def scenes(pipelines: dict[str, Any], compositions: Sequence[Composition], **options: Any) -> Image.Image:
    """Fig. 5: a row a scene."""
    titles = ["references", *pipelines, "truth"]
    sheet = Sheet(len(titles) * (SIDE + GAP) + GAP, len(compositions) * (SIDE + GAP) + GAP + TITLE)
    for column, title in enumerate(titles):
        sheet.text(title, GAP + column * (SIDE + GAP) + SIDE / 2, 5, 17, INK)
    for row, composition in enumerate(compositions):
        references = references_of(composition)
        made = [
            pipeline(composition.caption, references, seed=row, **options).images[0]
            for pipeline in pipelines.values()
        ]
        for column, picture in enumerate([mosaic_of(references), *made, truth(composition)]):
            place = (GAP + column * (SIDE + GAP), TITLE + row * (SIDE + GAP))
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST), *place)
    return sheet.done()


def mosaic_of(references: Sequence[Reference]) -> Image.Image:
    """Up to four, or nine, references in a square."""
    wide = 2 if len(references) <= 4 else 3
    side = references[0].image.shape[0]
    square = Image.new("RGB", (wide * side, wide * side), "white")
    for k, reference in enumerate(references):
        square.paste(Image.fromarray(reference.image), (k % wide * side, k // wide * side))
    return square


def attention(pipelines: dict[str, Any], composition: Composition, **options: Any) -> Image.Image:
    """Fig. 6: a cell's picture beside another's, lines from the same places of the references."""
    drawn = [looks(pipeline, composition, **options) for pipeline in pipelines.values()]
    sheet = Image.new("RGB", (sum(one.width for one in drawn), drawn[0].height + TITLE), "white")
    left = 0
    for title, one in zip(pipelines, drawn, strict=True):
        head = Sheet(one.width, TITLE)
        head.text(title, one.width / 2, 5, 17, INK)
        sheet.paste(head.done(), (left, 0))
        sheet.paste(one, (left, TITLE))
        left += one.width
    return sheet


def looks(pipeline: Any, composition: Composition, **options: Any) -> Image.Image:
    """One picture with its references; the places depend on the references' masks alone."""
    size = pipeline.size(options.pop("height"), options.pop("width"))
    encoded = pipeline.encode_references(references_of(composition), size)
    plan = pipeline.plan(composition.caption, encoded, size=size, **options)
    made = pipeline.make(plan, 0, attention_request(encoded))
    read = made.attention
    seen = [
        Seen(
            name=toy.species,
            image=one.canvas.image,
            mask=one.canvas.mask,
            grid=one.grid,
            tokens=tokens,
            looks=rows,
        )
        for toy, one, tokens, rows in zip(
            composition.scene.toys, encoded, read.tokens, read.looks, strict=True
        )
    ]
    return draw_looks(made.image, read.target, seen)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command lines above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=("scenes", "attention"))
    parser.add_argument("runs", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--cells", nargs="+", default=["release-none", "release-sca", "release-both"])
    parser.add_argument("--seed", type=int, default=0, help="of the runs")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="the first scene, of the measures' own exam")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    asked = parser.parse_args(arguments)
    pipelines = {cell: pipeline_of(asked.runs / f"{cell}-s{asked.seed}") for cell in asked.cells}
    chosen = exam(asked.subjects, asked.first + asked.scenes).compositions[asked.first :]
    options = DRAWN | {"steps": asked.steps, "guidance": asked.guidance}
    sheet = (
        scenes(pipelines, chosen, **options)
        if asked.kind == "scenes"
        else attention(pipelines, chosen[0], **options)
    )
    sheet.save(asked.file)
    print(asked.file)


if __name__ == "__main__":
    main()
