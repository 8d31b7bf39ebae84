"""Datasets: painted, curated, looked at; points between two pictures."""

from pathlib import Path
from typing import Annotated

import typer

from mosaic.commands.words import Cutout, File, Folder, Overrides, Recipe, Seed


def toybox(
    output: Folder,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="How many scenes.")] = 64,
    subjects: Annotated[int, typer.Option(metavar="K", min=1, max=8, help="Toys in a scene.")] = 3,
    seed: Seed = 0,
    size: Annotated[int, typer.Option(metavar="PX", min=64, max=2048, help="Side of the target.")] = 128,
) -> None:
    """A dataset of toy scenes with exact correspondences, as shards."""
    from mosaic.toybox.export import write_dataset

    write_dataset(samples=samples, subjects=subjects, seed=seed, size=size, output=output)


def curate(
    recipe: Recipe,
    output: Folder,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="Run import, prompts, paint, judge, segment, refer, correspond or pack alone.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="A", help="Of a running Ray cluster; default: Ray on this machine.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Build a dataset as a recipe says; run again to go on where it stopped."""
    from mosaic.curation.run import curate as curate_recipe

    curate_recipe(recipe, output, only=only, ray_address=ray_address, overrides=list(overrides or ()))


def inspect(
    data: Annotated[Path, typer.Argument(metavar="DIR_OR_SHARD", help="A folder of shards, or one .tar.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page; default: samples.html beside the shards, inspected.html in a curated set.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="How many are shown.")] = 24,
) -> None:
    """What is in a dataset: counts, and a page of samples with their points as lines."""
    from mosaic.curation.inspecting import inspect as inspect_data

    inspect_data(data, output, samples)


def match(
    first: Annotated[Path, typer.Argument(metavar="A", help="A picture of the subject.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another picture of it.")],
    output: File,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=AT]",
            help="gradients, embedded, dino=MODEL, diy-sc=FILE, sd=MODEL, flux=MODEL; several must agree."
            " Default: gradients, the best that needs no download.",
        ),
    ] = None,
    cutout: Cutout = "none",
) -> None:
    """The places two pictures share, as lines (.png) or as numbers (.json)."""
    from mosaic.matching.command import match_files

    match_files(first, second, output, features=list(features or ()), cutout=cutout == "auto")
