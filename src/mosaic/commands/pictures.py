"""Pictures: made, encoded, and made in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from mosaic.commands.words import (
    Attention,
    Canvas,
    Count,
    Cutout,
    File,
    Guidance,
    Lora,
    Model,
    Offload,
    Prompt,
    Quantize,
    References,
    Seed,
    Sight,
    Size,
    Steps,
    name_and_file,
    width_and_height,
)


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
    references = tuple(name_and_file(text) for text in reference or ())
    pixels = None if size is None else width_and_height(size)
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


def encode(
    reference: Annotated[str, typer.Argument(metavar="NAME=FILE", help="A subject's noun and its picture.")],
    output: File,
    model: Model = "embedded",
    lora: Lora = None,
    cutout: Cutout = "none",
    canvas: Canvas = None,
) -> None:
    """A subject's reference cache, computed once; --reference NAME=CACHE takes it (isolated weights)."""
    name, file = name_and_file(reference)
    from mosaic import generate as room

    room.encode(name, file, output, model=model, lora=lora, cutout=cutout, canvas=canvas)


def studio(
    model: Model = "embedded",
    lora: Lora = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Of the page; 0 takes a free one.")
    ] = 7860,
    host: Annotated[
        str, typer.Option(metavar="H", help="Address it listens on; default: this machine alone.")
    ] = "127.0.0.1",
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pictures, references and subjects are kept.")
    ] = None,
    offload: Offload = "none",
    quantize: Quantize = "none",
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A folder of datasets and reports the page may open; repeatable."),
    ] = None,
) -> None:
    """MOSAIC in the browser: references and a sentence in, a picture out, and why it looks as it does."""
    from mosaic.studio.app import serve
    from mosaic.studio.options import StudioOptions, default_folder

    serve(
        StudioOptions(
            model=model,
            lora=lora,
            port=port,
            host=host,
            folder=folder or default_folder(),
            offload=offload,
            quantize=quantize,
            data=tuple(data or ()),
        )
    )
