"""What each process of a test of `test_parallel` does: the first one takes longer than a step may take."""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import accelerate  # noqa: F401 (before the clock runs)
import torch

from mosaic.training import parallel
from mosaic.training.recipe import recipe_of

PATIENCE = 8.0  # seconds


def together(folder: Path, rank: str) -> None:
    """Both have started, however slow the machine."""
    (folder / f"here-{rank}").touch()
    while len(list(folder.glob("here-*"))) < 2:
        time.sleep(0.05)


def main(folder: Path, rank: str) -> None:
    parallel.PATIENCE = timedelta(seconds=PATIENCE)
    together(folder, rank)
    world = parallel.join(recipe_of({"model": {"device": "cpu"}}))
    with world.first_before_others():
        if not world.rank:
            time.sleep(1.5 * PATIENCE)
            (folder / "base").touch()
        found = (folder / "base").exists()
    world.first_alone(lambda: time.sleep(1.5 * PATIENCE))
    assert world.total([1.0]) == [2.0]
    (folder / f"found-{world.rank}").write_text(f"{found} {len(world.gathered(torch.zeros(1)))}")
    parallel.leave(world)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ["RANK"])
