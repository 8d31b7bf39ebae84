"""What each process of `test_parallel` does under torchrun: several runs one after another, in one world."""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from mosaic.training import parallel, saving
from mosaic.training.optimiser import MasterAdamW
from mosaic.training.parallel import World
from mosaic.training.recipe import recipe_of
from mosaic.training.run import Run, train_recipe
from mosaic.training.state import checkpoints
from mosaic.training.stream import Latents, LatentStream
from mosaic.training.validation import Validation
from tests.training.fake_world import fake_batches


def signalled_run(table: dict[str, Any], output: Path, world: World) -> None:
    """The last process is told to stop in its second step."""
    original = MasterAdamW.step

    def step(self: MasterAdamW) -> float:
        if self.steps == 1 and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    MasterAdamW.step = step  # type: ignore[method-assign]
    try:
        train_recipe(recipe_of(table), output, render=fake_batches, world=world, validate=held)
    finally:
        MasterAdamW.step = original  # type: ignore[method-assign]


def full_disk(table: dict[str, Any], output: Path, world: World) -> str:
    """What this process says where the first one finds no room for a checkpoint."""

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    original, saving.save_checkpoint = saving.save_checkpoint, no_space
    try:
        train_recipe(recipe_of(table), output, render=fake_batches, world=world, validate=held)
    except ValueError as error:
        return str(error)
    finally:
        saving.save_checkpoint = original
    return "nothing"


def without_data(table: dict[str, Any], output: Path, world: World) -> str:
    """What this process says where the last one finds no sample in its third step."""
    original = LatentStream.__next__

    def draw(self: LatentStream) -> Latents:
        if self.drawn == 5 and world.rank == world.size - 1:
            raise ValueError("the shard is damaged.")
        return original(self)

    LatentStream.__next__ = draw  # type: ignore[method-assign]
    try:
        train_recipe(recipe_of(table), output, render=fake_batches, world=world, validate=held)
    except ValueError as error:
        return str(error)
    finally:
        LatentStream.__next__ = original  # type: ignore[method-assign]
    return "nothing"


def held(run: Run) -> dict[str, float]:
    """The share of the frozen blocks' weights that lies in this process."""
    blocks = run.model.transformer.transformer_blocks
    frozen = [p for p in blocks.parameters() if not p.requires_grad]
    here = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in frozen)
    return {"held": here / sum(p.numel() for p in frozen)}


def runs_of(tables: dict[str, Any], folder: Path, world: World) -> None:
    """Each recipe, whole."""
    for name, table in tables.items():
        validate = late if name == "validated" else held
        train_recipe(recipe_of(table), folder / name, render=fake_batches, world=world, validate=validate)


def late(run: Run) -> dict[str, float]:
    """The real validation, the last process behind the first, which has its figures first."""
    time.sleep(run.world.rank)
    return Validation(run)(run)


def main(folder: Path, only: bool) -> None:
    tables = json.loads((folder / "recipes.json").read_text())
    world = parallel.join(recipe_of(next(iter(tables.values()))))
    runs_of(tables, folder, world)
    if not only:
        faults(tables, folder, world)
    parallel.leave(world)


def faults(tables: dict[str, Any], folder: Path, world: World) -> None:
    """A run that is stopped and taken up again, one whose disk is full, and who was here."""
    signalled_run(tables["ddp"], folder / "stopped", world)
    found = [path.name for path in checkpoints(folder / "stopped" / "checkpoints")]
    (folder / f"stopped-{world.rank}.txt").write_text(str(found))
    world.wait()
    rest = {"render": fake_batches, "validate": held, "resume": True}
    train_recipe(recipe_of(tables["ddp"]), folder / "stopped", world=world, **rest)
    (folder / f"lost-{world.rank}.txt").write_text(without_data(tables["ddp"], folder / "lost", world))
    world.wait()
    train_recipe(recipe_of(tables["ddp"]), folder / "lost", world=world, **rest)
    (folder / f"full-{world.rank}.txt").write_text(full_disk(tables["ddp"], folder / "full", world))
    sums = [float(t) for t in world.gathered(torch.tensor([world.rank + 1.0]))]
    (folder / f"world-{world.rank}.json").write_text(json.dumps([world.rank, world.size, sums]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), only="--only" in sys.argv)
