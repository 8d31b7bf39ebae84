"""Makes the instruments from a recipe: shots, training, round trips, training on both, calibration.

Each stage leaves its files in a work folder and is passed over when they are there.
"""

import argparse
import json
import logging
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mosaic.toybox.instruments.calibration import freeze
from mosaic.toybox.instruments.controls import RoundTrip
from mosaic.toybox.instruments.network import Detector, Reader, read_back
from mosaic.toybox.instruments.reading import FOLDER
from mosaic.toybox.instruments.shots import Shots, cache, load
from mosaic.toybox.instruments.training import Lesson, Lessons, train
from mosaic.toybox.instruments.wear import wear

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a version of the instruments is made."""

    version: str
    start: str  # the frozen version to go on from; "": from nothing
    seed: int
    scenes: int  # rendered in all
    held: int  # the last of them, for calibration
    steps: tuple[int, int]  # on renders alone, then with round trips
    rates: tuple[tuple[float, float], tuple[float, float]]  # first and last of each
    batch: int  # scenes a step
    round_trips: int  # training scenes that also pass the autoencoder
    latent_noise: float  # at most, in standard deviations of the latents


def read_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; ValueError names what is missing or unknown."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe(**{key: _frozen(value) for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def make(recipe: Recipe, work: Path, vae: Path, output: Path) -> dict[str, object]:
    """Runs the stages that have not been run; returns the card of the frozen version."""
    torch.manual_seed(recipe.seed)
    cache(work / "shots", recipe.scenes, recipe.seed)
    shots = load(work / "shots", recipe.scenes, recipe.seed)
    taught = recipe.scenes - recipe.held
    first, second = work / "first.safetensors", work / "second.safetensors"
    if not first.exists() and not second.exists():
        lessons = Lessons(part(shots, 0, taught), None, recipe.seed)
        frozen = FOLDER / f"{recipe.start}.safetensors"
        networks = read_back(frozen) if recipe.start else (Detector(), Reader())
        train(networks, lessons, first, recipe.steps[0], recipe.rates[0], recipe.batch)
    tripped = _round_trips(shots.pictures[: recipe.round_trips], work / "trips.npy", vae, recipe)
    held = _round_trips(shots.pictures[taught:], work / "held.npy", vae, recipe)
    if not second.exists():
        lessons = Lessons(part(shots, 0, taught), tripped, recipe.seed + 1)
        train(read_back(first), lessons, second, recipe.steps[1], recipe.rates[1], recipe.batch)
    kept = part(shots, taught, recipe.scenes)
    return freeze(second, [*_worn(kept, kept.pictures), *_worn(kept, held)], output, recipe.version)


def part(shots: Shots, start: int, end: int) -> Shots:
    """The scenes from `start` up to `end`."""
    names = ("pictures", "slots", "species", "identities", "yaws")
    return Shots(**{name: getattr(shots, name)[start:end] for name in names})


def _round_trips(pictures: np.ndarray, path: Path, vae: Path, recipe: Recipe) -> np.ndarray:
    """The pictures behind the autoencoder, made once."""
    if not path.exists():
        log.info("round trips of %d pictures", len(pictures))
        made = RoundTrip(vae, recipe.latent_noise, recipe.seed).pictures(torch.from_numpy(pictures)).numpy()
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, made)
        partial.replace(path)
    return np.load(path)


def _worn(shots: Shots, pictures: np.ndarray, batch: int = 50) -> list[Lesson]:
    """Lessons of all scenes in order, worn as in training, from the given pictures of them."""
    teacher = Lessons(shots, None, seed=5)
    result = []
    for start in range(0, len(pictures), batch):
        which = np.arange(start, min(start + batch, len(pictures)))
        plain = torch.from_numpy(np.array(pictures[which])).permute(0, 3, 1, 2).float() / 255
        result.append(teacher.lesson(which, wear(plain, teacher.random)))
    return result


def main() -> None:
    """`python -m mosaic.toybox.instruments.make recipes/instruments.toml --vae DIR --work DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--vae", type=Path, required=True, help="folder of the embedded model's autoencoder")
    parser.add_argument("--work", type=Path, required=True, help="folder for shots and weights on the way")
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = read_recipe(arguments.recipe)
    torch.set_num_threads(1)
    print(json.dumps(make(recipe, arguments.work, arguments.vae, arguments.output), indent=1))


if __name__ == "__main__":
    main()
