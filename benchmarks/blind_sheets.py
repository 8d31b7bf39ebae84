"""Twenty sheets for a blind viewer: a generated picture of four toys, and eight candidates for one of them.

python benchmarks/blind_sheets.py draw DIR      # sheet-00.png …, and answers.json, not to be looked at
python benchmarks/blind_sheets.py score DIR 3,0,5,…   # the viewer's picks, 0 to 7 from the left

The toy asked for is named by its noun; the candidates are eight references of that species, one of them its
own. Chance is one in eight.
"""

import json
import sys
from pathlib import Path

import numpy as np
from mosaic_tiny import SEED, shipped
from PIL import Image, ImageDraw, ImageFont

from mosaic.toybox.batches import generator, portrait
from mosaic.toybox.identity import Split
from mosaic.toybox.render import render
from mosaic.toybox.scene import compose
from mosaic.training.ablation.measuring import generator_of
from mosaic.training.models import base_folder, load_model

SHEETS, SUBJECTS, CANDIDATES, SIDE = 20, 4, 8, 160


def draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recipe = shipped()
    compositions = [compose(generator(2024, n), SUBJECTS, Split.HELD_OUT) for n in range(SHEETS)]
    pictures = generator_of(load_model(recipe, base_folder(recipe, folder)), recipe, SEED)(compositions)
    answers = []
    for n, (composition, picture) in enumerate(zip(compositions, pictures.numpy(), strict=True)):
        rng = generator(2025, n)
        asked, place = int(rng.integers(SUBJECTS)), int(rng.integers(CANDIDATES))
        own = render([composition.references[asked]], SIDE, SIDE).picture[0].numpy()
        noun = composition.scene.toys[asked].species
        shown = [portrait(noun, int(rng.integers(2**31)), SIDE)[0] for _ in range(CANDIDATES)]
        shown[place] = own
        sheet(picture, shown, f"{noun}, in: {composition.caption}").save(folder / f"sheet-{n:02d}.png")
        answers.append(place)
    (folder / "answers.json").write_text(json.dumps(answers) + "\n", encoding="utf-8")


def sheet(picture: np.ndarray, candidates: list[np.ndarray], caption: str) -> Image.Image:
    large = np.asarray(Image.fromarray(picture).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC))
    rows = [np.concatenate(candidates[i : i + 4], 1) for i in (0, 4)]
    image = Image.fromarray(np.concatenate([large, np.concatenate(rows, 0)], 1))
    pen = ImageDraw.Draw(image)
    pen.text((6, 4), caption, fill="black", font=ImageFont.load_default(13))
    for i in range(CANDIDATES):
        pen.text((2 * SIDE + 6 + i % 4 * SIDE, 4 + i // 4 * SIDE), str(i), fill="black")
    return image


def score(folder: Path, picks: str) -> None:
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    hits = [int(pick) == answer for pick, answer in zip(picks.split(","), answers, strict=True)]
    print(f"{sum(hits)} of {len(hits)} right, chance {len(hits) / CANDIDATES:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"] and len(sys.argv) == 3:
        draw(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["score"] and len(sys.argv) == 4:
        score(Path(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(__doc__)
