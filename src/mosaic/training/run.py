"""The training loop, top to bottom: recipe → latents → model → steps → checkpoints → the final files.

`train` is what the command line calls, `python -m mosaic.training.run RECIPE --output DIR [--resume]` too.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import diffusers
import torch
import transformers
from PIL import Image

from mosaic.errors import exits_in_words
from mosaic.keys import kind_of
from mosaic.training import parallel
from mosaic.training.ablation.cells import is_ablation
from mosaic.training.figures import values
from mosaic.training.holding import held
from mosaic.training.journal import Journal, Pace, Silence, wandb_mirror
from mosaic.training.latents import Render, prepare_latents
from mosaic.training.models import TrainingModel, base_folder, load_model
from mosaic.training.optimiser import MasterAdamW, gradient_norm
from mosaic.training.parallel import World
from mosaic.training.recipe import Recipe, read_recipe
from mosaic.training.saving import describe, finish, restore, save
from mosaic.training.speed import operations, peak
from mosaic.training.state import checkpoints, full_disk_in_words
from mosaic.training.step import Terms, training_terms
from mosaic.training.stop import Stop
from mosaic.training.stream import Latents, LatentStream, Source
from mosaic.training.text_cache import TextCache
from mosaic.training.validation import Validation

MOST_LOST = 20  # steps in a row with a gradient that is not finite

Validate = Callable[["Run"], dict[str, float]]


def train(recipe: Path, output: Path, overrides: Sequence[str] = (), resume: bool = False) -> None:
    """Train as the recipe file says, into `output`; with `resume`, from its newest checkpoint if it has one.

    SIGTERM and SIGINT save and leave; SIGINT then raises KeyboardInterrupt. ValueError: a user's mistake.
    A recipe of kind "ablation" is many runs, each resumed where it stands (`mosaic.training.ablation`).
    """
    if is_ablation(recipe):
        from mosaic.training.ablation.running import ablate  # it calls this room

        return ablate(recipe, output, overrides)
    if kind_of(recipe) == "autoencoder":
        raise ValueError(
            f"{recipe} is trained by python -m mosaic.training.autoencoder {recipe} --output {output}."
        )
    read = read_recipe(recipe, overrides)
    world = parallel.join(read)
    train_recipe(read, output, resume=resume, name=Path(recipe).stem, world=world)
    parallel.leave(world)


def train_recipe(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    name: str = "",
    render: Render | None = None,
    validate: Validate | None = None,
    world: World | None = None,
) -> None:
    """As `train`, from a recipe in memory; `render` stands in for the toybox.

    validate: called on every process each output.validation steps, with the averaged weights in the model;
    what it measures by name goes into the log as validation/NAME. world: the processes; None: this one alone.
    """
    output, world = Path(output), world or World()
    if checkpoints(output / "checkpoints") and not resume:
        raise ValueError(
            f"{output} holds a run already: add --resume to go on with it, or choose another folder."
        )
    check_packages(recipe)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    with Stop() as stop, full_disk_in_words(output), nullcontext() if world.rank else held(output):
        run = prepare(recipe, output, name, render, world)
        restore(run)
        describe(run)
        run.validate = validate or (Validation(run) if recipe.output.validation and not run.done else None)
        stop.running = True
        loop(run, stop)
        finish(run)
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt


def check_packages(recipe: Recipe) -> None:
    """ModuleNotFoundError for a package that a run wants only after hours of making latents, and lacks."""
    mirrored, eight_bits = bool(recipe.output.wandb), recipe.optimiser.kind == "adamw8bit"
    for package, wanted in {"tensorboard": True, "wandb": mirrored, "torchao": eight_bits}.items():
        if wanted and find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package}", name=package)


@dataclass(kw_only=True, slots=True)
class Run:
    """Everything a run carries from step to step."""

    recipe: Recipe
    name: str
    output: Path
    model: TrainingModel
    optimiser: MasterAdamW
    stream: Source
    world: World
    render: Render | None = None  # None: the toybox
    validate: Validate | None = None
    saved: int = 0  # the step of the newest checkpoint
    shown: list[Latents] = field(default_factory=list)  # what pictures are drawn of, read when first needed

    @property
    def step(self) -> int:
        return self.optimiser.steps

    @property
    def done(self) -> bool:
        return self.step >= self.recipe.optimiser.steps


def prepare(
    recipe: Recipe, output: Path, name: str, render: Render | None, world: World | None = None
) -> Run:
    """Model, latents and optimiser, at step 0."""
    world = world or World()
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
    if recipe.data.given:
        from mosaic.training.samples import check_paths

        check_paths(recipe.data)  # before a base is fetched
    output.mkdir(parents=True, exist_ok=True)
    with world.first_before_others():
        folder = base_folder(recipe, output)
    torch.manual_seed(recipe.seed)  # of the LoRA's initial weights, equal on all processes
    model = load_model(recipe, folder, world)
    stream = open_stream(recipe, model, output, render, world)
    if isinstance(model.text, TextCache) and isinstance(stream, LatentStream):
        model.text.fill(["", *stream.captions()][world.rank :: world.size])
        model.text.release()
        world.wait()
    return Run(
        recipe=recipe,
        name=name,
        output=output,
        model=model,
        optimiser=MasterAdamW(model.trained, recipe.optimiser, world),
        stream=stream,
        world=world,
        render=render,
    )


def open_stream(
    recipe: Recipe, model: TrainingModel, output: Path, render: Render | None, world: World
) -> Source:
    """The batches of this process."""
    if recipe.data.source != "toybox":
        from mosaic.training.samples import open_source

        source = open_source(recipe, model, model.folder, output, world.rank, world.size)
        world.wait()  # the first shards are indexed, as long as that takes
        return source
    cache = Path(recipe.data.cache or output / "latents")
    prepare_latents(cache, recipe.data, model.folder / "vae", render, rank=world.rank, world=world.size)
    world.wait()
    return LatentStream(
        cache, recipe.data, recipe.optimiser.batch, recipe.seed, rank=world.rank, world=world.size
    )


def loop(run: Run, stop: Stop) -> None:
    """Steps until the recipe's last or a signal."""
    out = run.recipe.output
    with open_journal(run) as journal:
        while not run.done and not stop.agreed(run.world):
            terms, norms = micro_steps(run, drawn(run), due(out.gradient_norms, run.step))
            norm = run.optimiser.step()
            tell_lost(run)
            if due(out.log, run.step) or run.done or norms:
                told = values(terms, norms, norm, run.optimiser.rate, run.world)
                journal.record(run.step, told)
            with journal.aside():
                if due(out.pictures, run.step):
                    draw(run, journal)
                if run.validate is not None and due(out.validation, run.step):
                    with run.optimiser.averaged():
                        found = run.validate(run)
                    journal.record(run.step, {f"validation/{name}": value for name, value in found.items()})
            if due(out.checkpoint, run.step):
                save(run)
        if run.saved != run.step:
            save(run)


def tell_lost(run: Run) -> None:
    """Says that a step moved nothing. ValueError where so many did in a row that none will."""
    lost = run.optimiser.lost
    if lost == MOST_LOST:
        raise ValueError(
            f"The gradients of the last {lost} steps, up to {run.step}, were not finite: the run has "
            "diverged. Lower optimiser.lr or the losses' weights, and begin anew or from an older checkpoint."
        )
    if lost and not run.world.rank:
        print(f"step {run.step}: the gradient is not finite, the weights stay as they were", file=sys.stderr)


def due(every: int, step: int) -> bool:
    """Whether something is to be done after this many steps; `every` 0: never."""
    return bool(every) and step % every == 0


def open_journal(run: Run) -> Journal | Silence:
    """The first process tells, the others are silent."""
    if run.world.rank:
        return Silence()
    recipe, section = run.recipe, run.recipe.optimiser
    pace = Pace(
        samples=section.batch * section.accumulation * run.world.size,
        operations=operations(recipe, run.model.folder),
        peak=peak(run.model.device, recipe.model.dtype),
    )
    project, facts = recipe.output.wandb, recipe.model_dump(mode="json")
    mirror = wandb_mirror(project, run.output, facts) if project else None
    return Journal(run.output, run.step, section.steps, pace, mirror)


def drawn(run: Run) -> list[Latents]:
    """A step's micro-batches. Where a process finds no more, all save the steps that are done.

    ValueError then, on every process.
    """
    before, error = run.stream.state_dict(), None
    batches: list[Latents] = []
    try:
        batches += [next(run.stream) for _ in range(run.recipe.optimiser.accumulation)]
    except ValueError as caught:
        error = caught
    if not run.world.highest(int(error is not None)):
        return batches
    run.stream.load_state_dict(before)
    if run.saved != run.step:
        save(run)
    raise error or ValueError("Another process could not read its samples: its message says why.")


def micro_steps(
    run: Run, batches: Sequence[Latents], wants_norms: bool
) -> tuple[list[Terms], dict[str, float]]:
    """Forward and backward over one step's micro-batches; gradients are left with the optimiser."""
    count, done = len(batches), []
    norms: dict[str, float] = {}
    first, trained = run.world.rank * run.recipe.optimiser.batch, run.model.trained
    for micro, batch in enumerate(batches):
        terms = training_terms(run.model, batch, run.recipe, run.step, micro, first)
        if wants_norms and not norms and len(terms.weighted) > 1:
            norms = {name: gradient_norm(t, trained, run.world) for name, t in terms.weighted.items()}
        if terms.loss.requires_grad:  # a LoRA has no part in a batch without references
            terms.loss.backward()
        run.optimiser.collect(count)
        done.append(terms)
    return done, norms


def draw(run: Run, journal: Journal | Silence) -> None:
    """Pictures of fixed prompts, references and seeds with the averaged weights.

    Every process draws them, as each holds a part of a base that is spread, and the first one keeps them.
    """
    from mosaic.training.pictures import preview_sheet, shown

    if not run.shown:
        run.shown = list(shown(run.model, run.recipe, run.output, run.render))
    with run.optimiser.averaged():
        sheet = preview_sheet(run.model, run.recipe, run.shown)
    if not run.world.rank:
        path = run.output / "pictures" / f"step-{run.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(sheet).save(path)
    journal.picture(run.step, "pictures", sheet)


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
    with exits_in_words(parser):
        train(options.recipe, options.output, options.overrides, options.resume)


if __name__ == "__main__":
    main()
