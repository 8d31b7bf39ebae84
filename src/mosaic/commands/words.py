"""Arguments and options that several commands have, and how their text is read."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from mosaic.commands.recipes import complete, recipe_file


def name_and_file(text: str) -> tuple[str, Path]:
    """NAME=FILE."""
    name, equals, file = text.partition("=")
    if not (equals and name.strip() and file):
        raise typer.BadParameter(
            f"{text!r} is not NAME=FILE, for example bear=bear.png", param_hint="NAME=FILE"
        )
    return name.strip(), Path(file).expanduser()


def name_and_folder(text: str) -> tuple[str, Path]:
    """[NAME=]DIR; without a NAME the folder's own."""
    name, equals, folder = text.partition("=")
    path = Path(folder if equals else text).expanduser()
    return (name.strip() if equals else path.name), path


def width_and_height(text: str) -> tuple[int, int]:
    """WxH."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is not WxH in pixels, for example 512x512", param_hint="--size")
    return int(width), int(height)


def seed_of_torch(value: int) -> int:
    """BadParameter for what torch takes for no seed."""
    if not 0 <= value < 2**63:
        raise typer.BadParameter(f"{value} is not in the range 0<=x<2**63")
    return value


def finite(value: float | None) -> float | None:
    """BadParameter for infinity and NaN."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Prompt = Annotated[
    str,
    typer.Argument(metavar="PROMPT", help="What the picture shows; name each subject by its noun."),
]
References = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="A picture of the subject NAME; repeat NAME for a further view."),
]
Model = Annotated[
    str, typer.Option(metavar="M", help="embedded, a folder in diffusers' layout, or a hub id.")
]
Lora = Annotated[str | None, typer.Option(metavar="L", help="A file or hub id; default: the model's own.")]
Seed = Annotated[int, typer.Option(metavar="N", callback=seed_of_torch, help="Same seed, same result.")]
Steps = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the sampler; default: the model's.")
]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="In pixels, multiples of 16; default: the model's.")
]
Guidance = Annotated[
    float | None,
    typer.Option(
        metavar="G",
        min=0,
        max=100,
        callback=finite,
        help="How closely to follow the prompt; default: the model's.",
    ),
]
Sight = Annotated[
    Literal["full", "release", "isolated"] | None,
    typer.Option(help="What a reference sees; default: as the LoRA was trained."),
]
Cutout = Annotated[Literal["auto", "none"], typer.Option(help="auto removes a photograph's background.")]
Canvas = Annotated[
    Literal["released", "letterbox"] | None,
    typer.Option(help="How a reference is laid out; default: as the LoRA was trained."),
]
Count = Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Pictures, of seeds N, N+1, …")]
Offload = Annotated[
    Literal["none", "model", "group", "sequential"], typer.Option(help="Keep resting weights in main memory.")
]
Quantize = Annotated[
    Literal["none", "int8", "int4", "fp8"], typer.Option(help="Store the base in fewer bits; the LoRA stays.")
]
Attention = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Also draw where regions of the references look.")
]
Recipe = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        callback=recipe_file,
        autocompletion=complete,
        help="A .toml file, or the name of one that comes with the program.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="section.key=value", help="Change a value of the recipe; repeatable."),
]
File = Annotated[Path, typer.Option("--output", metavar="FILE", help="The file to write.")]
Folder = Annotated[Path, typer.Option("--output", metavar="DIR", help="The folder to write into.")]
