"""What a run leaves on the disk, and how it is taken up again: checkpoints, and the averaged weights."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mosaic.training.models import save_lora_file, save_model
from mosaic.training.parallel import World
from mosaic.training.recipe import canonical, differences
from mosaic.training.state import (
    checkpoints,
    load_checkpoint,
    publish_folder,
    save_checkpoint,
    settle_folder,
)
from mosaic.training.validation import forget_best

if TYPE_CHECKING:
    from mosaic.training.run import Run


def save(run: "Run") -> None:
    """A checkpoint to resume from, and beside it the averaged weights as another program would load them."""
    facts = {
        "step": run.step,
        "stream": run.stream.state_dict(),
        "processes": run.world.size,
        "recipe": run.recipe.model_dump(mode="json"),
    }
    tensors = run.optimiser.state_tensors() | {"random": random_states(run.world)}

    def write() -> None:
        save_checkpoint(run.output / "checkpoints", run.step, tensors, facts, run.recipe.output.keep)
        publish(run)

    run.world.first_alone(write)
    run.saved = run.step


def random_states(world: World) -> dict[str, Tensor]:
    """PyTorch's own generators of every process. No sample depends on them; a foreign module might."""
    states = {f"cpu-{i}": state for i, state in enumerate(world.gathered(torch.get_rng_state()))}
    if torch.cuda.is_available():
        states |= {f"cuda-{i}": state for i, state in enumerate(world.gathered(torch.cuda.get_rng_state()))}
    return states


def publish(run: "Run") -> None:
    """The averaged weights: OUTPUT/lora.safetensors, or the folder OUTPUT/model."""
    with run.optimiser.averaged():
        if run.recipe.train.parameters == "lora":
            save_lora_file(run.model, run.output / "lora.safetensors", run.recipe, run.name)
        else:
            write_model = partial(save_model, run.model, recipe=run.recipe, name=run.name)
            publish_folder(run.output / "model", str(run.step), write_model)


def restore(run: "Run") -> None:
    """Continue from the newest checkpoint; start from nothing where there is none."""
    found = checkpoints(run.output / "checkpoints")
    if found:
        resume(run, found[-1])
    run.world.first_alone(partial(forget_best, run.output, run.step))


def resume(run: "Run", checkpoint: Path) -> None:
    """Weights, optimiser, place in the data and random states of a checkpoint."""
    tensors, facts = load_checkpoint(checkpoint)
    set_random_states(tensors["random"], run.world)
    run.optimiser.load_state_tensors(tensors, facts["step"])
    run.stream.load_state_dict(facts["stream"])
    run.saved = run.step
    if run.world.rank == 0:
        tell_changes(facts, run)
        if run.done:
            print(f"already at step {run.step}: raise optimiser.steps to train on", file=sys.stderr)


def describe(run: "Run") -> None:
    """OUTPUT/recipe.json, what the weights there are made by: not written where nothing is left to do."""

    def write() -> None:
        path = run.output / "recipe.json"
        path.with_suffix(".tmp").write_text(canonical(run.recipe) + "\n", encoding="utf-8")
        path.with_suffix(".tmp").replace(path)

    if not run.done:
        run.world.first_alone(write)


def set_random_states(states: dict[str, Tensor], world: World) -> None:
    """Those of this process; one the checkpoint does not know keeps its own."""
    if f"cpu-{world.rank}" in states:
        torch.set_rng_state(states[f"cpu-{world.rank}"])
    if torch.cuda.is_available() and f"cuda-{world.rank}" in states:
        torch.cuda.set_rng_state(states[f"cuda-{world.rank}"])


def tell_changes(facts: dict[str, Any], run: "Run") -> None:
    """What a resumed run does otherwise than the one before."""
    changed = differences(facts["recipe"], run.recipe)
    if facts.get("processes", run.world.size) != run.world.size:
        changed |= {"processes": (facts["processes"], run.world.size)}
    for key, (before, now) in changed.items():
        print(f"resuming with {key} = {now}, which was {before}", file=sys.stderr)


def finish(run: "Run") -> None:
    """The final files, once every step is done; a kill may have come between a checkpoint and these."""

    def write() -> None:
        publish(run)
        settle_folder(run.output / "model")

    if run.done:
        run.world.first_alone(write)
