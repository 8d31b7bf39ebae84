"""The training loop, top to bottom: recipe → latents → model → steps → checkpoints → the final files.

`train` is what the command line calls, `python -m mosaic.training.run RECIPE --output DIR [--resume]` too.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import diffusers
import torch
import transformers

from mosaic.training.journal import Journal
from mosaic.training.latents import Render, prepare_latents
from mosaic.training.models import TrainingModel, base_folder, load_model, save_lora_file, save_model
from mosaic.training.optimiser import MasterAdamW, gradient_norm
from mosaic.training.recipe import Recipe, canonical, differences, read_recipe
from mosaic.training.state import (
    checkpoints,
    load_checkpoint,
    publish_folder,
    save_checkpoint,
    settle_folder,
)
from mosaic.training.step import Terms, training_terms
from mosaic.training.stream import LatentStream


def train(recipe: Path, output: Path, overrides: Sequence[str] = (), resume: bool = False) -> None:
    """Train as the recipe file says, into `output`; with `resume`, from its newest checkpoint if it has one.

    SIGTERM and SIGINT save and leave; SIGINT then raises KeyboardInterrupt. ValueError: a user's mistake.
    """
    train_recipe(read_recipe(recipe, overrides), output, resume=resume, name=Path(recipe).stem)


def train_recipe(
    recipe: Recipe, output: Path, *, resume: bool = False, name: str = "", render: Render | None = None
) -> None:
    """As `train`, from a recipe in memory; `render` stands in for the toybox."""
    output = Path(output)
    if checkpoints(output / "checkpoints") and not resume:
        raise ValueError(
            f"{output} holds a run already: add --resume to go on with it, or choose another folder."
        )
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    with Stop() as stop:
        run = prepare(recipe, output, name, render)
        restore(run)
        stop.running = True
        loop(run, stop)
        finish(run)
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt


@dataclass(kw_only=True, slots=True)
class Run:
    """Everything a run carries from step to step."""

    recipe: Recipe
    name: str
    output: Path
    model: TrainingModel
    optimiser: MasterAdamW
    stream: LatentStream
    render: Render | None = None  # None: the toybox
    saved: int = 0  # the step of the newest checkpoint

    @property
    def step(self) -> int:
        return self.optimiser.steps

    @property
    def done(self) -> bool:
        return self.step >= self.recipe.optimiser.steps


def prepare(recipe: Recipe, output: Path, name: str, render: Render | None) -> Run:
    """Model, latents and optimiser, at step 0."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.json").write_text(canonical(recipe) + "\n", encoding="utf-8")
    torch.manual_seed(recipe.seed)  # of the LoRA's initial weights
    folder = base_folder(recipe, output)
    cache = Path(recipe.data.cache or output / "latents")
    prepare_latents(cache, recipe.data, folder / "vae", render)
    model = load_model(recipe, folder)
    return Run(
        recipe=recipe,
        name=name,
        output=output,
        model=model,
        optimiser=MasterAdamW(model.trained, recipe.optimiser),
        stream=LatentStream(cache, recipe.data, recipe.optimiser.batch, recipe.seed),
        render=render,
    )


def loop(run: Run, stop: "Stop") -> None:
    """Steps until the recipe's last or a signal."""
    section, out = run.recipe.optimiser, run.recipe.output
    with Journal(run.output, run.step, section.steps, section.batch * section.accumulation) as journal:
        while not run.done and not stop.signal:
            wants_norms = bool(out.gradient_norms) and run.step % out.gradient_norms == 0
            terms, norms = micro_steps(run, wants_norms)
            norm = run.optimiser.step()
            if run.step % out.log == 0 or run.done or norms:
                journal.record(run.step, values(terms, norms, norm, run.optimiser.rate))
            if out.pictures and run.step % out.pictures == 0:
                draw(run, journal)
            if run.step % out.checkpoint == 0:
                save(run)
        if run.saved != run.step:
            save(run)


def micro_steps(run: Run, wants_norms: bool) -> tuple[list[Terms], dict[str, float]]:
    """Forward and backward over one step's micro-batches; gradients are left with the optimiser."""
    count, done = run.recipe.optimiser.accumulation, []
    norms: dict[str, float] = {}
    for micro in range(count):
        terms = training_terms(run.model, next(run.stream), run.recipe, run.step, micro)
        if wants_norms and not norms and len(terms.weighted) > 1:
            norms = {name: gradient_norm(term, run.model.trained) for name, term in terms.weighted.items()}
        if terms.loss.requires_grad:  # a LoRA has no part in a batch without references
            terms.loss.backward()
        run.optimiser.collect(count)
        done.append(terms)
    return done, norms


def values(terms: list[Terms], norms: dict[str, float], norm: float, rate: float) -> dict[str, float]:
    """What one step has to tell, by name."""
    told = {f"loss/{name}": value for name, value in mean_by_name([term.raw() for term in terms]).items()}
    told |= {
        f"probe/{name}": value for name, value in mean_by_name([term.accuracies() for term in terms]).items()
    }
    told |= {"gradient/norm": norm} | {f"gradient/{name}": value for name, value in norms.items()}
    return told | {"lr": rate}


def mean_by_name(records: list[dict[str, float]]) -> dict[str, float]:
    """Each name's mean over the records that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    found = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(numbers) / len(numbers) for name, numbers in found.items()}


def save(run: Run) -> None:
    """A checkpoint to resume from, and beside it the averaged weights as another program would load them."""
    facts = {
        "step": run.step,
        "stream": run.stream.state_dict(),
        "recipe": run.recipe.model_dump(mode="json"),
    }
    tensors = run.optimiser.state_tensors() | {"random": {"torch": torch.get_rng_state()}}
    save_checkpoint(run.output / "checkpoints", run.step, tensors, facts, run.recipe.output.keep)
    run.saved = run.step
    publish(run)


def publish(run: Run) -> None:
    """The averaged weights: OUTPUT/lora.safetensors, or the folder OUTPUT/model."""
    with run.optimiser.averaged():
        if run.recipe.train.parameters == "lora":
            save_lora_file(run.model, run.output / "lora.safetensors", run.recipe, run.name)
        else:
            publish_folder(run.output / "model", str(run.step), lambda folder: save_model(run.model, folder))


def restore(run: Run) -> None:
    """Continue from the newest checkpoint; start from nothing where there is none."""
    found = checkpoints(run.output / "checkpoints")
    if not found:
        return
    tensors, facts = load_checkpoint(found[-1])
    torch.set_rng_state(tensors["random"]["torch"])
    run.optimiser.load_state_tensors(tensors, facts["step"])
    run.stream.load_state_dict(facts["stream"])
    run.saved = run.step
    for key, (before, now) in differences(facts["recipe"], run.recipe).items():
        print(f"resuming with {key} = {now}, which was {before}", file=sys.stderr)


def finish(run: Run) -> None:
    """The final files, once every step is done; a kill may have come between a checkpoint and these."""
    if run.done:
        publish(run)
        settle_folder(run.output / "model")


def draw(run: Run, journal: Journal) -> None:
    """Pictures of fixed prompts, references and seeds with the averaged weights."""
    from mosaic.training.pictures import preview_sheet

    with run.optimiser.averaged():
        sheet = preview_sheet(run.model, run.recipe, run.output, run.step, run.render)
    journal.picture(run.step, "pictures", sheet)


@dataclass(kw_only=True, slots=True)
class Stop:
    """Remembers the first SIGTERM or SIGINT of a running loop; otherwise they end the run at once."""

    running: bool = False
    signal: int = 0
    before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal or not self.running:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(0)
        self.signal = number


def main() -> None:
    """The command line without the `mosaic` command."""
    parser = argparse.ArgumentParser(
        prog="python -m mosaic.training.run", description="Train as a recipe says."
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", metavar="section.key=value", action="append", default=[])
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    try:
        train(options.recipe, options.output, options.overrides, options.resume)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130)


if __name__ == "__main__":
    main()
