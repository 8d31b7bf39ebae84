"""What can be shown to others: scores, and what is published."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mosaic.commands.words import Folder, Lora, name_and_folder, width_and_height

Benchmark = Annotated[
    str, typer.Argument(metavar="BENCHMARK", help="toybox, dreambench, xversebench, lamicbench or many.")
]
Judged = Annotated[
    str | None, typer.Option(metavar="M", help="As of generate; default: embedded, none with --images alone.")
]
Images = Annotated[
    list[str] | None, typer.Option(metavar="[NAME=]DIR", help="Pictures another method made; repeatable.")
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the benchmark's pictures and prompts lie.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N records of each part.")]
Part = Annotated[
    str | None, typer.Option(metavar="PART", help="One part of the benchmark alone: single, multi, K=4.")
]
Steps = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1000, help="Of the sampler; default: the benchmark's.")
]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="In pixels, multiples of 16; default: the benchmark's.")
]
Scorer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE[.PART]=MODEL|none",
        help="Another model for a scorer, by id or path, or none to leave its columns out; repeatable.",
    ),
]
Corrected = Annotated[bool, typer.Option("--corrected", help="The corrected variant of the protocol.")]
Questions = Annotated[
    Path | None,
    typer.Option(metavar="FILE.jsonl", help="Write DPG's questions for another model; score nothing."),
]
Row = Annotated[
    list[str] | None,
    typer.Option(metavar="RECORD", help="Shown in grid.png, methods side by side; repeatable."),
]
Device = Annotated[str | None, typer.Option(metavar="D", help="cuda, cuda:1, cpu; default: a GPU if any.")]


def evaluate(
    benchmark: Benchmark,
    output: Folder,
    model: Judged = None,
    lora: Lora = None,
    images: Images = None,
    data: Data = None,
    limit: Limit = None,
    part: Part = None,
    steps: Steps = None,
    size: Size = None,
    scorer: Scorer = None,
    corrected: Corrected = False,
    questions: Questions = None,
    row: Row = None,
    device: Device = None,
) -> None:
    """Score pictures on a benchmark, made by a model or brought; run again to go on where it stopped."""
    from mosaic.evaluation import command as room

    options = room.EvaluateOptions(
        benchmark=benchmark,
        output=output,
        data=data,
        model=model,
        lora=lora,
        images=tuple(map(name_and_folder, images or ())),
        part=part,
        limit=limit,
        rows=tuple(row or ()),
        steps=steps,
        size=None if size is None else width_and_height(size),
        scorers=tuple(scorer or ()),
        corrected=corrected,
        questions=questions,
        device=device,
    )
    print(room.evaluate(options))


def publish(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A LoRA, a run's or a model's folder, a folder of shards."),
    ],
    target: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the hub.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write it there and send nothing.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Open it to everybody; else it is private.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(metavar="ID", help="As the hub writes it, apache-2.0; default: the base's.")
    ] = None,
    people: Annotated[
        Literal["none", "synthetic", "consented"] | None,
        typer.Option(help="Whose pictures went into it; docs/consent.md."),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Figures of mosaic evaluate for the card.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.png", help="Shown on the card; repeatable.")
    ] = None,
) -> None:
    """Put a LoRA, a model or a dataset with its card on a hub, private by default, or into a folder."""
    from mosaic.publishing.bundle import Extras
    from mosaic.publishing.command import PublishOptions
    from mosaic.publishing.command import publish as publish_it

    extras = Extras(licence=licence, people=people, evaluation=evaluation, pictures=tuple(picture or ()))
    options = PublishOptions(source=source, target=target, folder=folder, public=public, extras=extras)
    print(publish_it(options))
