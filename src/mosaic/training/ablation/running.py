"""Runs what is missing of an ablation, one run after another, and writes each into the ledger."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mosaic import launched
from mosaic.about import commit
from mosaic.training.ablation.cells import AblationRecipe, Job, read_ablation
from mosaic.training.ablation.ledger import (
    Entry,
    entry_path,
    machine,
    means_of_last,
    read_entry,
    recipe_digest,
    weights_digest,
    write_entry,
)
from mosaic.training.ablation.measuring import measures
from mosaic.training.holding import FOREVER, Taken, held
from mosaic.training.models import base_folder
from mosaic.training.recipe import Recipe
from mosaic.training.run import train_recipe
from mosaic.training.state import checkpoints
from mosaic.training.stop import Stop


def ablate(path: Path, output: Path, overrides: Sequence[str] = ()) -> None:
    """Every run of an ablation recipe that the ledger lacks, each in OUTPUT/NAME, from where it stood.

    Several processes may do this at once: each takes the next run that no other is at work on. SIGTERM and
    SIGINT save and leave, as in one run. ValueError: a user's mistake, or a ledger line of the same name that
    was made otherwise.
    """
    if launched.asked() > 1:
        raise ValueError("an ablation runs in one process: launch it with `mosaic train` alone.")
    ablation, jobs = read_ablation(path, overrides)
    output = Path(output)
    ledger = Path(ablation.ledger or output / "ledger")
    refuse_other_starts(jobs)
    with Stop():  # between runs a signal ends the process at once
        with held(output, FOREVER):
            jobs = from_one_start(jobs, output)
            start = start_digest(jobs[0].recipe, output)
        missing = [job for job in jobs if not has_entry(ledger, job, start, ablation)]
        for number, job in enumerate(missing, start=1):
            try:
                with held(output / job.name, patience=0):
                    if has_entry(ledger, job, start, ablation):
                        continue  # another process has made it since
                    say(f"{job.name}, {number} of {len(missing)} missing runs")
                    train_recipe(job.recipe, output / job.name, resume=True, name=job.name)
                    if not finished(job.recipe, output / job.name):
                        return  # SIGTERM: it is saved
                    write_entry(ledger, entry_of(job, output / job.name, start, ablation))
            except Taken:
                say(f"{job.name} is left to the process that is at work on it")


def say(text: str) -> None:
    """Where the ablation stands."""
    print(f"ablation: {text}", file=sys.stderr, flush=True)


def refuse_other_starts(jobs: Sequence[Job]) -> None:
    """ValueError for runs that do not all start from the same weights."""
    start = jobs[0].recipe.model
    for job in jobs:
        if (job.recipe.model.base, job.recipe.model.lora) != (start.base, start.lora):
            raise ValueError(
                f"{job.name} starts from other weights: all runs of an ablation start from the same."
            )


def from_one_start(jobs: Sequence[Job], output: Path) -> list[Job]:
    """The runs with the warm start and the latents they share; a model to be created is created once."""
    return [_shared(job, jobs[0].recipe, output) for job in jobs]


def _shared(job: Job, first: Recipe, output: Path) -> Job:
    recipe = job.recipe
    changes: dict[str, Any] = {}
    if not recipe.model.base:
        changes["model"] = recipe.model.model_copy(update={"base": str(base_folder(first, output))})
    if not recipe.data.cache:
        changes["data"] = recipe.data.model_copy(update={"cache": str(output / "latents")})
    return replace(job, recipe=recipe.model_copy(update=changes))


def start_digest(recipe: Recipe, output: Path) -> str:
    """Of the base and of the LoRA, if any, that all runs start from."""
    base = base_folder(recipe, output)
    return weights_digest(base / "transformer", *([recipe.model.lora] if recipe.model.lora else []))


def has_entry(ledger: Path, job: Job, start: str, ablation: AblationRecipe) -> bool:
    """Whether the ledger has this run. ValueError if it has one of this name that was made otherwise."""
    path = entry_path(ledger, job.name)
    if not path.exists():
        return False
    entry = read_entry(path)
    wanted: dict[str, Any] = {
        "recipe": recipe_digest(job.recipe),
        "start": start,
        "measure": ablation.measure.model_dump(mode="json"),
    }
    for name, value in wanted.items():
        if getattr(entry, name) != value:
            raise ValueError(
                f"{path} was made with another {name} ({getattr(entry, name)}, now {value}): "
                "choose another ledger, or remove the file for its run to be made again."
            )
    return True


def finished(recipe: Recipe, folder: Path) -> bool:
    """Whether the run in a folder reached its last step."""
    found = checkpoints(folder / "checkpoints")
    return bool(found) and int(re.sub(r"\D", "", found[-1].name)) >= recipe.optimiser.steps


def entry_of(job: Job, folder: Path, start: str, ablation: AblationRecipe) -> Entry:
    """The line of a finished run, measured now."""
    section, optimiser = ablation.measure, job.recipe.optimiser
    losses, probe = means_of_last(folder / "log.jsonl", optimiser.steps, section.last)
    return Entry(
        group=job.group,
        cell=job.cell,
        place=job.place,
        seed=job.seed,
        changes=job.changes,
        recipe=recipe_digest(job.recipe),
        start=start,
        commit=commit(),
        machine=machine(),
        steps=optimiser.steps,
        samples=optimiser.steps * optimiser.batch * optimiser.accumulation,
        losses=losses,
        probe=probe,
        measure=section.model_dump(mode="json"),
        measures=measures(job.recipe, folder, section),
    )
