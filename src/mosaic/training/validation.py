"""Validation during a run: the same held-out samples, noise and noise levels each time, averaged weights.

B batch, K references. Nothing is dropped, cropped or mirrored. The best weights so far, by the flow-matching
loss, are kept beside the newest: OUTPUT/best.safetensors (LoRA) or OUTPUT/best, and best.json says how good.
"""

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from mosaic.training.latents import Render, Rendered, encode_pictures
from mosaic.training.models import TrainingModel, save_lora_file, save_model
from mosaic.training.recipe import Dropout, Recipe
from mosaic.training.state import publish_folder
from mosaic.training.step import training_terms
from mosaic.training.stream import Latents

if TYPE_CHECKING:
    from mosaic.training.run import Run

SEED = 2  # of the scenes, their order, and their noise
BEST = "best.json"


class Validation:
    """Measures a run by held-out batches, read and encoded before it begins; keeps the best weights."""

    def __init__(self, run: "Run") -> None:
        self.batches = list(held_out(run.recipe, run.model, run.output, run.render))

    def __call__(self, run: "Run") -> dict[str, float]:
        """Mean flow, sca and md of the batches, the probe's hits, and its hits in each block by itself."""
        recipe = undisturbed(run.recipe)
        found = [measure(run.model, batch, recipe, i) for i, batch in enumerate(self.batches)]
        names = dict.fromkeys(name for one in found for name in one)
        means = {name: float(np.mean([one[name] for one in found if name in one])) for name in names}
        keep_best(run, means)
        return means


@torch.no_grad()
def measure(model: TrainingModel, batch: Latents, recipe: Recipe, index: int) -> dict[str, float]:
    """What one batch tells; its noise depends on `index` alone."""
    with torch.compiler.set_stance("force_eager"):  # graphs of training are for gradients and other sizes
        terms = training_terms(model, batch, recipe, index, per_block=True)
    return terms.raw() | terms.accuracies() | terms.block_accuracies()


def undisturbed(recipe: Recipe) -> Recipe:
    """The recipe with a seed of its own, in which nothing is dropped and pictures stay as they are."""
    quiet = {"dropout": Dropout(references=0, text=0, both=0), "crop": 1.0, "flip": 0.0, "seed": SEED}
    quiet |= {"path": recipe.data.validation, "posterior": "mean", "reference_posterior": "mean"}
    return recipe.model_copy(update={"seed": SEED, "data": recipe.data.model_copy(update=quiet)})


def held_out(recipe: Recipe, model: TrainingModel, output: Path, render: Render | None) -> Iterator[Latents]:
    """The recipe's batches of validation: toybox scenes of each K in turn, or data.validation."""
    count = recipe.output.validation_batches
    if recipe.data.given:
        from mosaic.training.samples import open_source

        try:
            source = open_source(undisturbed(recipe), model, model.folder, output)
            yield from [next(source) for _ in range(count)]
        except ValueError as error:
            raise ValueError(f"data.validation: {str(error).removeprefix('data.path: ')}") from error
        return
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").to(model.device).eval()
    subjects = [k for k, weight in sorted(recipe.data.subjects.items()) if k and weight] or [0]
    for i in range(count):
        yield as_latents(scenes(recipe, subjects[i % len(subjects)], i // len(subjects), render), vae)


def scenes(recipe: Recipe, subjects: int, index: int, render: Render | None) -> Rendered:
    """Batch `index` of validation scenes with K = `subjects`."""
    if render is None:
        from mosaic import toybox

        render = toybox.batches
    data = recipe.data
    options = {"size": data.size, "reference_size": data.reference_size, "batch": recipe.optimiser.batch}
    stream: Any = render(SEED + index, subjects=subjects, **options, split="validation")
    return next(stream)


@torch.no_grad()
def as_latents(batch: Rendered, vae: AutoencoderKL) -> Latents:
    """Rendered scenes encoded, with all their points."""
    shape = batch.references.shape[:2]
    references = encode_pictures(vae, batch.references.flatten(0, 1), "mean", torch.Generator())
    return Latents(
        target=encode_pictures(vae, batch.target, "mean", torch.Generator()),
        references=references.unflatten(0, shape),
        points_reference=batch.reference,
        points_target=batch.point,
        points_valid=batch.valid,
        captions=list(batch.captions),
    )


def keep_best(run: "Run", found: dict[str, float]) -> None:
    """Publish the weights in the model if no validation before was as good. The first process decides."""

    def write() -> None:
        if not found["flow"] < best_before(run.output):
            return
        if run.recipe.train.parameters == "lora":
            save_lora_file(run.model, run.output / "best.safetensors", run.recipe, run.name)
        else:
            write_model = partial(save_model, run.model, recipe=run.recipe, name=run.name)
            publish_folder(run.output / "best", str(run.step), write_model)
        record = run.output / BEST
        temporary = record.with_suffix(".tmp")
        temporary.write_text(json.dumps({"step": run.step} | found, indent=1) + "\n", encoding="utf-8")
        temporary.replace(record)

    run.world.first_alone(write)


def best_before(output: Path) -> float:
    """The flow-matching loss of the best weights kept; infinite where none are."""
    record = output / BEST
    return json.loads(record.read_text(encoding="utf-8"))["flow"] if record.exists() else math.inf


def forget_best(output: Path, step: int) -> None:
    """Drop a best that lies ahead of a run: it is of another recipe, or the run will make it again."""
    record = output / BEST
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["step"] > step:
        for left in (output / "best.safetensors", output / "best", record):  # the record last: it tells
            left.unlink(missing_ok=True)
