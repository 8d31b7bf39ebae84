"""Training, and what it will take."""

from pathlib import Path
from typing import Annotated

import typer

from mosaic.commands.words import Folder, Overrides, Recipe, finite


def train(
    recipe: Recipe,
    output: Folder,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint, if any.")
    ] = False,
) -> None:
    """Train as a recipe says."""
    from mosaic.training.run import train as train_recipe

    train_recipe(recipe=recipe, output=output, overrides=list(overrides or ()), resume=resume)


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="H100, 4090, …; cpu: this one. Default: all; of a curation H100."),
    ] = None,
    utilisation: Annotated[
        float,
        typer.Option(metavar="U", min=0, max=1, callback=finite, help="Share of the peak rate reached."),
    ] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Numbers for a program.")] = False,
) -> None:
    """What memory, time, tokens and disk a recipe takes, before it runs."""
    from mosaic.curation.recipe import is_curation

    if is_curation(recipe):
        _plan_curation(recipe, list(overrides or ()), gpu or "H100", utilisation, as_json)
        return
    from mosaic.training.plan import plan_recipe, show

    show(plan_recipe(recipe, list(overrides or ()), gpu, utilisation), as_json)


def _plan_curation(recipe: Path, overrides: list[str], gpu: str, utilisation: float, as_json: bool) -> None:
    """The costs of a curation recipe on a device of training's table."""
    from mosaic.curation.costs.lines import plan_recipe
    from mosaic.curation.costs.rates import Gpu
    from mosaic.curation.costs.report import show
    from mosaic.training.plan.devices import device_of

    device = device_of(gpu)
    on = Gpu(name=device.name, peak=device.bfloat16, utilisation=utilisation)
    show(plan_recipe(recipe, overrides, on), as_json)
