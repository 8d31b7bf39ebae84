"""Recipes: every choice of a run, as typed values read from TOML.

An unknown key is an error that names the nearest known one. Each key answers to a row of the
paper-against-release table, to an ablation or to the machine at hand.
"""

import difflib
import json
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

Share = typing.Annotated[float, Field(ge=0, le=1)]
Weight = typing.Annotated[float, Field(ge=0)]
Count = typing.Annotated[int, Field(ge=1)]
Natural = typing.Annotated[int, Field(ge=0)]
Pixels = typing.Annotated[int, Field(ge=16, multiple_of=16)]
Positive = typing.Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of a recipe: no key but those declared, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = typing.TypeVar("Kind", bound=Section)


class CreateSection(Section):
    """A new model folder in diffusers' FLUX layout (`mosaic.training.embedded`)."""

    vae: str = ""  # folder of a trained AutoencoderKL; "": a random one, for smoke runs
    heads: Count = 4
    head_width: typing.Annotated[int, Field(ge=8, multiple_of=8)] = 64
    double_blocks: Natural = 2
    single_blocks: Natural = 4
    rope_axes: tuple[int, int, int] = (8, 28, 28)  # sum = head_width
    t5_width: Count = 128
    t5_layers: Count = 2
    clip_width: Count = 128
    clip_layers: Count = 2
    text_length: typing.Annotated[int, Field(ge=4)] = 32
    words: tuple[str, ...] = ()  # (): the toybox's vocabulary

    @model_validator(mode="after")
    def _axes_fill_the_head(self) -> "CreateSection":
        if sum(self.rope_axes) != self.head_width:
            raise ValueError(
                f"rope_axes must sum to head_width {self.head_width}, they sum to {sum(self.rope_axes)}"
            )
        return self


class ModelSection(Section):
    base: str = ""  # folder or hub id to start from; "": made new from [model.create]
    lora: str = ""  # a LoRA to start from (train.parameters = "lora")
    attention: Literal["sdpa", "math"] = "sdpa"  # math: bmm + softmax, twice as fast in bf16 on a CPU
    compile: bool = False  # torch.compile of the repeated blocks
    dtype: Literal["bfloat16", "float32"] = (
        "bfloat16"  # of weights and activations; the optimiser keeps fp32 copies
    )
    checkpointing: bool = False  # recompute activations in the backward pass
    device: str = "auto"  # auto: cuda where there is one
    create: CreateSection = CreateSection()


class TrainSection(Section):
    parameters: Literal["base", "lora"] = (
        "lora"  # base: transformer + text encoders; lora: reference tokens alone
    )
    threads: Natural = 0  # 0: what OMP_NUM_THREADS says


class LoraSection(Section):
    rank: Count = 128
    targets: tuple[str, ...] = ()  # (): the released module list


class ReferencesSection(Section):
    visibility: Literal["full", "release", "isolated"] = "release"
    positions: Literal["width", "diagonal", "frame", "frequency"] = "width"
    pooled: Literal["prompt", "null"] = "prompt"
    canvas: Literal["released", "letterbox"] = "released"  # written into the LoRA's metadata


class Dropout(Section):
    """Shares of samples trained without references, without text, without both: for guidance."""

    references: Share = 0.05
    text: Share = 0.05
    both: Share = 0.05

    @model_validator(mode="after")
    def _shares(self) -> "Dropout":
        if self.references + self.text + self.both > 1:
            raise ValueError("the shares of data.dropout must sum to at most 1")
        return self


class DataSection(Section):
    source: Literal["toybox"] = "toybox"
    seed: Natural = 0  # of the scenes; the recipe's own seed orders them
    cache: str = ""  # folder of latent shards; "": OUTPUT/latents
    subjects: dict[Natural, Weight] = {
        1: 1.0,
        2: 1.0,
    }  # how often a batch has K subjects, each with its reference
    samples: dict[Natural, Count] | Count = 4096  # different samples kept for each K
    shard: Count = 512  # samples in one shard file
    size: Pixels = 128
    reference_size: Pixels = 64
    points: Count = 16  # at most so many supervised points a reference, drawn anew each time
    detailed: Share = 0.0  # share of samples told with the caption that names looks too
    posterior: Literal["mean", "sample"] = "mean"  # of the autoencoder, for target and references alike
    encoder_dtype: Literal["bfloat16", "float32"] = "float32"  # bf16: 2.5 times faster where the CPU has it
    dropout: Dropout = Dropout()
    workers: Count = 1  # processes that render and encode

    def samples_of(self, subjects: int) -> int:
        return self.samples if isinstance(self.samples, int) else self.samples[subjects]

    @model_validator(mode="after")
    def _samples_for_every_count(self) -> "DataSection":
        if not any(self.subjects.values()):
            raise ValueError("data.subjects needs a weight above 0")
        if isinstance(self.samples, dict) and (missing := sorted(set(self.subjects) - set(self.samples))):
            raise ValueError(f"data.samples has no number for {missing[0]} subjects")
        return self


class LossSection(Section):
    alpha: Weight = 0.4  # of SCA (eq. 15)
    beta: Weight = 0.6  # of MD
    sca_reduction: Literal["per_reference", "flat"] = "per_reference"
    md_distance: Literal["jensen_shannon", "symmetric_kl"] = "jensen_shannon"
    md_rows: Literal["points", "all"] = "points"
    md_start: Natural = 0  # steps with MD at weight 0 …
    md_ramp: Natural = 0  # … then so many to reach beta
    direction: Literal["ref_to_target", "target_to_ref"] = "ref_to_target"
    blocks: Literal["all", "double"] | tuple[int, ...] = "all"

    @model_validator(mode="after")
    def _rows_that_exist(self) -> "LossSection":
        if self.md_rows == "all" and self.direction == "target_to_ref":
            raise ValueError('md_rows = "all" are rows of references: they need direction = "ref_to_target"')
        return self


class NoiseSection(Section):
    shift: Literal["none", "flux"] = "flux"  # flux: more noise for more target tokens


class OptimiserSection(Section):
    lr: Positive = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: Weight = 0.01  # of matrices; vectors have none
    warmup: Natural = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip: Positive = 1.0  # of the global gradient norm
    steps: Count = 1000
    batch: Count = 1
    accumulation: Count = 1
    ema: typing.Annotated[float, Field(ge=0, lt=1)] = 0.999  # 0: none


class OutputSection(Section):
    checkpoint: Count = 1000
    keep: Count = 2
    log: Count = 10
    gradient_norms: Natural = 0  # every so many steps, the norm of each term's gradient; 0: never
    pictures: Natural = 0  # every so many steps; 0: never
    picture_steps: Count = 12
    guidance: Weight = 3.0


class Recipe(Section):
    seed: Natural = 0
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    lora: LoraSection = LoraSection()
    references: ReferencesSection = ReferencesSection()
    data: DataSection = DataSection()
    loss: LossSection = LossSection()
    noise: NoiseSection = NoiseSection()
    optimiser: OptimiserSection = OptimiserSection()
    output: OutputSection = OutputSection()


def read_recipe(path: Path, overrides: typing.Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file after `section.key=value` overrides; ValueError says what to change."""
    return read_as(Recipe, path, overrides)


def read_as(kind: type[Kind], path: Path, overrides: typing.Sequence[str] = ()) -> Kind:
    """As `read_recipe`, for another kind of recipe."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the recipe {path} is not valid TOML: {error}.") from error
    for override in overrides:
        set_key(table, override)
    return validated(kind, table, str(path))


def recipe_of(table: dict[str, Any], name: str = "recipe") -> Recipe:
    """A validated recipe from nested tables."""
    return validated(Recipe, table, name)


def validated(kind: type[Kind], table: dict[str, Any], name: str) -> Kind:
    """Tables as a recipe of a kind; ValueError names the first key that is wrong."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{name}: {_sentence(error.errors()[0], kind)}") from error


def set_key(table: dict[str, Any], override: str) -> None:
    """Apply one `section.key=value` in place; the value is read as TOML, else taken as a plain string."""
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ValueError(f"--set takes section.key=value, not {override!r}.")
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {override}: {key} is not a section of the recipe.")
    table[keys[-1]] = _value(text.strip())


def canonical(recipe: Recipe) -> str:
    """The recipe as one line of JSON, equal for equal recipes."""
    return json.dumps(recipe.model_dump(mode="json"), sort_keys=True)


def differences(before: dict[str, Any], now: Recipe) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between a recipe's stored tables and a recipe."""
    old, new = _flat(before), _flat(now.model_dump(mode="json"))
    return {key: (old.get(key), new.get(key)) for key in new | old if old.get(key) != new.get(key)}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(error: ErrorDetails, kind: type[Section]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {path}{_nearest(path, kind)}"
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{path}: {message}." if path else f"{message}."


def _nearest(path: str, kind: type[Section]) -> str:
    known = list(known_keys(kind))
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
    leaf = difflib.get_close_matches(
        path.rpartition(".")[2], [key.rpartition(".")[2] for key in known], n=1, cutoff=0.8
    )
    same_leaf = [key for key in known if leaf and key.rpartition(".")[2] == leaf[0]]
    best = difflib.get_close_matches(path, same_leaf, n=1, cutoff=0.0) or close
    return f"; did you mean {best[0]}?" if best else "."


def known_keys(section: type[BaseModel], prefix: str = "") -> typing.Iterator[str]:
    """Every key of a section and of the sections in it, dotted."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
