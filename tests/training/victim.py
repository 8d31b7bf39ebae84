"""A training process that kills itself at a chosen file operation: as sudden as a machine that goes down."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from mosaic.training.recipe import recipe_of
from mosaic.training.run import train_recipe

from .fake_world import fake_batches

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.rmtree"}


def live(table: dict[str, Any], output: Path, deadly: int = 0) -> None:
    """Train, from where the folder stands; die at the deadly-th operation on a file of the run (0: never).

    The number of operations of a whole run is left in OUTPUT.count.
    """
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(output)):
            return
        seen += 1
        if seen == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    train_recipe(recipe_of(table), output, render=fake_batches, resume=True)
    count = seen
    output.with_suffix(".count").write_text(str(count))
