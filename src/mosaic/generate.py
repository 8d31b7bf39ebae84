"""`mosaic generate` and `mosaic encode`: from files and words to files."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mosaic import __version__
from mosaic.geometry import Grid
from mosaic.pictures import file_hash, load_reference, noisy_white_border, read_recipe, write_png
from mosaic.sample import Reference

if TYPE_CHECKING:
    from mosaic.model.reference_cache import ReferenceCache
    from mosaic.pipeline import EncodedReference, MadePicture, MosaicPipeline

MOST_REFERENCES = 8
PLACES = 3  # followed in each reference for the attention pictures
CACHE = ".safetensors"

Named = tuple[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What `mosaic generate` was asked for; None leaves a choice to the LoRA or the model folder."""

    prompt: str
    output: Path
    references: tuple[Named, ...] = ()  # (NAME, FILE); a repeated NAME is a further view of that subject
    model: str = "embedded"
    lora: str | None = None
    seed: int = 0
    steps: int | None = None
    size: tuple[int, int] | None = None  # (width, height)
    guidance: float | None = None
    visibility: str | None = None
    cutout: str = "none"  # or "auto"
    canvas: str | None = None
    count: int = 1
    offload: str = "none"
    quantize: str = "none"
    attention: Path | None = None
    tolerance: int = 0  # of 255, below which a reference counts as white

    def __post_init__(self) -> None:
        """ValueError for what can be refused before anything is read or loaded."""
        if not self.prompt.strip():
            raise ValueError("The prompt is empty: say what the picture shows.")
        if self.output.suffix.lower() != ".png":
            raise ValueError(f"--output {self.output} must end in .png, for a PNG carries its recipe.")
        check_folder_of(self.output)
        if (count := len(self.references)) > MOST_REFERENCES:
            raise ValueError(f"At most {MOST_REFERENCES} references, not {count}: leave some out.")
        if self.cutout not in ("auto", "none"):
            raise ValueError(f'--cutout is "auto" or "none", not "{self.cutout}".')
        if self.count < 1 or self.seed < 0:
            raise ValueError(f"--count starts at 1 and --seed at 0, not at {self.count} and {self.seed}.")
        if self.size is not None:
            Grid.of_pixels(self.size[1], self.size[0])
        if self.attention is not None and self.attention.is_file():
            raise ValueError(f"--attention {self.attention} is a file: name a folder.")
        if self.attention is not None and not self.references:
            raise ValueError("--attention shows where references look: give a --reference.")
        if self.attention is not None and any(file.suffix == CACHE for _, file in self.references):
            raise ValueError("--attention needs the pictures of the references, not their caches.")

    @property
    def files(self) -> list[Path]:
        """The files of `count` pictures: output itself, or numbered from 1."""
        if self.count == 1:
            return [self.output]
        digits = len(str(self.count))
        return [self.output.with_stem(f"{self.output.stem}-{i:0{digits}}") for i in range(1, self.count + 1)]

    @property
    def sampling(self) -> dict[str, Any]:
        """What `MosaicPipeline.plan` takes beside prompt, references and size."""
        return {"steps": self.steps, "guidance": self.guidance, "visibility": self.visibility}


def generate(options: GenerateOptions) -> list[Path]:
    """Make the pictures; returns their files."""
    quiet_libraries()
    references = [read_reference(name, file, options) for name, file in options.references]
    warn_of_names(options.prompt, [name for name, _ in options.references])
    from mosaic.pipeline import load
    from mosaic.pipeline.memory import explained

    pipeline = load(options.model, options.lora, offload=options.offload, quantize=options.quantize)
    with explained("make this picture"):
        return make_pictures(pipeline, references, options)


def make_pictures(
    pipeline: MosaicPipeline, references: Sequence[Reference | ReferenceCache], options: GenerateOptions
) -> list[Path]:
    """Everything after loading: encode once, then a file a seed, each written as soon as it is made."""
    width, height = options.size or (None, None)
    size = pipeline.size(height, width)
    look_over(pipeline, references, size, options)
    encoded = pipeline.encode_references(references, size, options.canvas)
    plan = pipeline.plan(options.prompt, encoded, size=size, **options.sampling)
    request = attention_request(encoded) if options.attention is not None else None
    recipe = recipe_of(options, pipeline, size, plan)
    with progress(options.count * (len(plan.sigmas) - 1)) as advance:
        for i, file in enumerate(options.files):
            made = pipeline.make(plan, options.seed + i, request, lambda step, latents, sigma: advance())
            write_png(made.image, file, recipe | {"seed": made.seed})
            draw_attention(made, encoded, options, file)
    pipeline.maybe_free_model_hooks()
    return options.files


def encode(
    name: str,
    file: Path,
    output: Path,
    *,
    model: str = "embedded",
    lora: str | None = None,
    cutout: str = "none",
    canvas: str | None = None,
) -> Path:
    """Write the cache of a subject's reference for `generate --reference NAME=CACHE`."""
    quiet_libraries()
    if output.suffix != CACHE:
        raise ValueError(f"--output {output} must end in {CACHE}.")
    check_folder_of(output)
    reference = load_reference(name, file, cutout == "auto")
    from mosaic.model.reference_cache import save_cache
    from mosaic.pipeline import load
    from mosaic.pipeline.memory import explained

    with explained("encode this reference"):
        pipeline = load(model, lora)
        encoded = pipeline.encode_references([reference], pipeline.size(), canvas)[0]
        save_cache(pipeline.cache(encoded), output)
    return output


def options_of(png: Path, output: Path, references: Sequence[Named] = (), **instead: Any) -> GenerateOptions:
    """What makes a picture of `generate` again, from its PNG and the files of its references, in their order.

    instead: options that replace the recipe's, as where on this machine its model or LoRA lies.
    ValueError if the PNG carries no recipe, or a file is not the one it was made from. That model and LoRA
    are the same is seen by the hashes of the new PNG.
    """
    recipe = read_recipe(png)
    used = recipe["references"]
    if len(used) != len(references):
        raise ValueError(f"{png} was made from {len(used)} references, not {len(references)}.")
    for (name, file), one in zip(references, used, strict=True):
        if name != one["name"] or file_hash(file) != one["sha256"]:
            raise ValueError(
                f"{png} was made from {one['name']}={one['file']}, and {name}={file} is another."
            )
    known = {field.name for field in fields(GenerateOptions)} & recipe.keys()
    values = {name: recipe[name] for name in known} | {"size": tuple(recipe["size"])}
    return GenerateOptions(**values | {"output": output, "references": tuple(references)} | instead)


# ---------------------------------------------------------------- references


def read_reference(name: str, file: Path, options: GenerateOptions) -> Reference | ReferenceCache:
    """A picture, or what `encode` made of one."""
    if file.suffix != CACHE:
        return load_reference(name, file, options.cutout == "auto", options.tolerance)
    if not file.is_file():
        raise ValueError(f"{file} does not exist: make it with mosaic encode {name}=PICTURE --output {file}.")
    from mosaic.model.reference_cache import load_cache

    return load_cache(file)


def warn_of_names(prompt: str, names: Sequence[str]) -> None:
    """A name the prompt does not mention will hardly be in the picture."""
    for name in dict.fromkeys(names):
        if not mentions(prompt, name):
            say(f'warning: the prompt does not mention "{name}": write it as a word of the prompt')


def mentions(prompt: str, name: str) -> bool:
    """Whether the name is in the prompt as a word, in the plural or not, whatever the case."""
    return mention_of(name).search(prompt) is not None


def mention_of(name: str) -> re.Pattern[str]:
    """What finds a name in a prompt; blanks, hyphens and underscores within it are the same."""
    words = r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", name.strip())))
    return re.compile(rf"(?<!\w){words}(e?s)?(?!\w)", re.IGNORECASE)


def look_over(
    pipeline: MosaicPipeline,
    references: Sequence[Reference | ReferenceCache],
    size: tuple[int, int],
    options: GenerateOptions,
) -> None:
    """A warning for a reference its canvas spoils, ValueError where the picture cannot fit the memory."""
    from mosaic.model.layout import TokenLayout, Visibility
    from mosaic.pipeline import CanvasChoice
    from mosaic.pipeline.memory import check_memory

    lora = pipeline.run_as
    choice = CanvasChoice.of(lora, options.canvas)
    for (_, file), one in zip(options.references, references, strict=True):
        if choice.kind == "released" and isinstance(one, Reference) and noisy_white_border(one.image):
            say(f"warning: the border of {file} is not quite white and counts as subject: try --cutout auto")
    grids = [choice.grid(one, size) if isinstance(one, Reference) else one.grids[0] for one in references]
    visibility = Visibility(options.visibility or lora.visibility)
    cached = TokenLayout(text=0, target=Grid(1, 1), visibility=visibility, positions=lora.positions).cacheable
    check_memory(pipeline, Grid.of_pixels(*size), grids, cached)


# ---------------------------------------------------------------- what is told and written


def recipe_of(
    options: GenerateOptions, pipeline: MosaicPipeline, size: tuple[int, int], plan: Any
) -> dict[str, Any]:
    """All that decides a picture but its seed, for its PNG. Files by name and hash, never by folder."""
    import torch

    values = asdict(options)
    for left_out in ("output", "attention", "count", "references", "seed"):
        del values[left_out]
    layout = plan.full.layout
    decided = {
        "model": name_of(options.model),
        "lora": None if options.lora is None else name_of(options.lora),
        "size": [size[1], size[0]],
        "steps": len(plan.sigmas) - 1,
        "guidance": plan.guidance,
        "visibility": str(layout.visibility),
        "positions": str(layout.positions),
        "reference_tokens": [[grid.width, grid.height] for grid in layout.references],
        "references": [
            {"name": name, "file": file.name, "sha256": file_hash(file)} for name, file in options.references
        ],
        "hashes": dict(pipeline.weights),
        "dtype": str(pipeline.text_encoder_2.dtype).removeprefix("torch."),
        "versions": {"mosaic": __version__, "torch": torch.__version__},
    }
    return values | decided


def name_of(source: str) -> str:
    """A hub id as it is; of a path its last part."""
    path = Path(source).expanduser()
    return path.name if path.exists() else source


def attention_request(encoded: Sequence[EncodedReference]) -> Any:
    """A few places well apart on each reference's subject."""
    from mosaic.pipeline import AttentionRequest, spread_tokens

    chosen = [spread_tokens(r.canvas.mask, r.grid, PLACES) for r in encoded if r.canvas is not None]
    return AttentionRequest(tokens=tuple(chosen))


def draw_attention(
    made: MadePicture, encoded: Sequence[EncodedReference], options: GenerateOptions, file: Path
) -> None:
    """The attention pictures of one picture, under its file's name where there are several."""
    if made.attention is None or options.attention is None:
        return
    from mosaic.pictures.attention import Seen, write_attention

    read = made.attention
    seen = [
        Seen(
            name=name, image=one.canvas.image, mask=one.canvas.mask, grid=one.grid, tokens=tokens, looks=looks
        )
        for (name, _), one, tokens, looks in zip(
            options.references, encoded, read.tokens, read.looks, strict=True
        )
        if one.canvas is not None
    ]
    prefix = "" if options.count == 1 else f"{file.stem}-"
    write_attention(options.attention, made.image, read.target, seen, read.owners, prefix)


@contextmanager
def progress(total: int, unit: str = "steps", what: str = "") -> Iterator[Any]:
    """A bar on stderr with rate and time left; yields what is told how many more are done, one by default."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.2f} {unit}/s" if task.speed else f"– {unit}/s")

    what_of = TextColumn("{task.description}")
    columns = (what_of, BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int = 1) -> None:
            bar.advance(task, done)

        yield advance


def check_folder_of(output: Path) -> None:
    """ValueError if a file cannot be written there."""
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder: name a file in it.")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(
            f"--output {output} cannot be written: {above} is not a folder that may be written to."
        )


def say(text: str) -> None:
    """A line on stderr."""
    print(f"mosaic: {text}", file=sys.stderr)


def quiet_libraries() -> None:
    """Warnings of ours on stderr in our form; of the libraries under us only errors."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.basicConfig(format="mosaic: warning: %(message)s", level=logging.ERROR)
    logging.getLogger("mosaic").setLevel(logging.WARNING)
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # it prints its own
