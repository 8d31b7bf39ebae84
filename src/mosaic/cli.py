"""The command line: one thin command a verb.

A command turns text into typed values and calls one function; that function, and torch with it, is imported
inside, so that `mosaic --help` answers at once. Exit status: 0 done, 2 a mistake (one sentence on stderr,
no traceback), 130 interrupted. With MOSAIC_DEBUG=1 a mistake shows its traceback instead.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from mosaic import __version__
from mosaic.errors import explain, one_line

INTERRUPTED = 130
MISTAKE = 2

app = typer.Typer(
    name="mosaic",
    help="Several reference pictures and a sentence in, one picture out, every subject itself.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `mosaic` command: run, then end the process with the exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the process's own) and return its exit status."""
    try:
        status = app(arguments, prog_name="mosaic", standalone_mode=False)
    except typer.TyperException as error:
        return _report(getattr(error, "format_message", error.__str__)())
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sentence = explain(error)
        if sentence is None or os.environ.get("MOSAIC_DEBUG", "0") != "0":
            raise
        return _report(sentence)
    if status == INTERRUPTED:
        print("mosaic: interrupted", file=sys.stderr)
    return int(status or 0)


def _report(sentence: str) -> int:
    print(f"mosaic: {one_line(sentence)}", file=sys.stderr)
    return MISTAKE


def _name_and_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (equals and name.strip() and file):
        raise typer.BadParameter(
            f"{text!r} is not NAME=FILE, for example bear=bear.png", param_hint="NAME=FILE"
        )
    return name.strip(), Path(file).expanduser()


def _width_and_height(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is not WxH in pixels, for example 512x512", param_hint="--size")
    return int(width), int(height)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Prompt = Annotated[str, typer.Argument(help="What the picture shows; name each subject by its noun.")]
References = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="A picture of the subject NAME; repeat NAME for a further view."),
]
Model = Annotated[
    str, typer.Option(metavar="M", help="embedded, a folder in diffusers' layout, or a hub id.")
]
Lora = Annotated[str | None, typer.Option(metavar="L", help="A file or hub id; default: the model's own.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Same seed, same result.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the sampler.")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="In pixels, multiples of 16.")]
Guidance = Annotated[
    float | None,
    typer.Option(metavar="G", min=0, max=100, callback=_finite, help="How closely to follow the prompt."),
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
File = Annotated[Path, typer.Option("--output", metavar="FILE", help="The file to write.")]
Folder = Annotated[Path, typer.Option("--output", metavar="DIR", help="The folder to write into.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"mosaic {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def generate(
    prompt: Prompt,
    output: File,
    reference: References = None,
    model: Model = "embedded",
    lora: Lora = None,
    seed: Seed = 0,
    steps: Steps = None,
    size: Size = None,
    guidance: Guidance = None,
    visibility: Sight = None,
    cutout: Cutout = "none",
    canvas: Canvas = None,
    count: Count = 1,
    offload: Offload = "none",
    quantize: Quantize = "none",
    attention: Attention = None,
) -> None:
    """A picture of a prompt in which every reference keeps its identity."""
    references = tuple(_name_and_file(text) for text in reference or ())
    pixels = None if size is None else _width_and_height(size)
    from mosaic import generate as room

    options = room.GenerateOptions(
        prompt=prompt,
        references=references,
        model=model,
        lora=lora,
        seed=seed,
        steps=steps,
        size=pixels,
        guidance=guidance,
        visibility=visibility,
        cutout=cutout,
        canvas=canvas,
        count=count,
        offload=offload,
        quantize=quantize,
        output=output,
        attention=attention,
    )
    room.generate(options)


@app.command()
def encode(
    reference: Annotated[str, typer.Argument(metavar="NAME=FILE", help="A subject's noun and its picture.")],
    output: File,
    model: Model = "embedded",
    lora: Lora = None,
    cutout: Cutout = "none",
    canvas: Canvas = None,
) -> None:
    """A subject's reference cache, computed once; --reference NAME=CACHE takes it (isolated weights)."""
    name, file = _name_and_file(reference)
    from mosaic import generate as room

    room.encode(name, file, output, model=model, lora=lora, cutout=cutout, canvas=canvas)


@app.command()
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


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml")],
    output: Folder,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="section.key=value", help="Change a value of the recipe; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint, if any.")
    ] = False,
) -> None:
    """Train as a recipe says."""
    from mosaic.training.run import train as train_recipe

    train_recipe(recipe=recipe, output=output, overrides=list(overrides or ()), resume=resume)


@app.command()
def curate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml")],
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
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="section.key=value", help="Change a value of the recipe; repeatable."),
    ] = None,
) -> None:
    """Build a dataset as a recipe says; run again to go on where it stopped."""
    from mosaic.curation.run import curate as curate_recipe

    curate_recipe(recipe, output, only=only, ray_address=ray_address, overrides=list(overrides or ()))


@app.command()
def inspect(
    data: Annotated[Path, typer.Argument(metavar="DIR_OR_SHARD", help="A folder of shards, or one .tar.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; default: samples.html beside the shards.")
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="How many are shown.")] = 24,
) -> None:
    """What is in a dataset: counts, and a page of samples with their points as lines."""
    from mosaic.curation.inspecting import inspect as inspect_data

    inspect_data(data, output, samples)


@app.command()
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
    """The places two pictures share, as lines."""
    from mosaic.matching.command import match_files

    match_files(first, second, output, features=list(features or ()), cutout=cutout == "auto")


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="section.key=value", help="Change a value of the recipe; repeatable."),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="H100, 4090, …; cpu measures this one. Default: all of the table."),
    ] = None,
    utilisation: Annotated[
        float,
        typer.Option(metavar="U", min=0, max=1, callback=_finite, help="Share of the peak rate reached."),
    ] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Numbers for a program.")] = False,
) -> None:
    """What memory, time and disk a recipe takes, before it runs."""
    from mosaic.training.plan import plan_recipe, show

    show(plan_recipe(recipe, list(overrides or ()), gpu, utilisation), as_json)


if __name__ == "__main__":
    main()
