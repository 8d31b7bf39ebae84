"""Recipes: every choice of a run, as typed values read from TOML.

An unknown key is an error that names the nearest known one. Each key answers to a row of the
paper-against-release table, to an ablation or to the machine at hand.
"""

import json
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mosaic.keys import read_tables, validated

Share = typing.Annotated[float, Field(ge=0, le=1)]
Weight = typing.Annotated[float, Field(ge=0)]
Count = typing.Annotated[int, Field(ge=1)]
Natural = typing.Annotated[int, Field(ge=0, lt=2**63)]  # as a seed may be: PyTorch takes 64 bits
Pixels = typing.Annotated[int, Field(ge=16, multiple_of=16)]
Positive = typing.Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of a recipe: no key but those declared, no infinite number, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Kind = typing.TypeVar("Kind", bound=Section)


class CreateSection(Section):
    """A new model folder in diffusers' FLUX layout (`mosaic.training.embedded`)."""

    vae: str = ""  # folder of a trained AutoencoderKL, or "embedded"; "": a random one, for smoke runs
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
    # of weights and activations; the optimiser keeps fp32 copies (fp64 of float64, which is for exact tests)
    dtype: Literal["bfloat16", "float32", "float64"] = "bfloat16"
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"  # how a LoRA's frozen base is stored
    text_cache: str = ""  # folder of text embeddings by caption, so that frozen encoders can leave; "": none
    checkpointing: bool = False  # recompute activations in the backward pass
    device: str = "auto"  # auto: cuda where there is one
    create: CreateSection = CreateSection()


class TrainSection(Section):
    parameters: Literal["base", "lora"] = (
        "lora"  # base: transformer + text encoders; lora: reference tokens alone
    )
    threads: Natural = 0  # 0: what OMP_NUM_THREADS says
    processes: Natural = 0  # a run of another number is refused; 0: as many as were launched
    parallel: Literal["ddp", "fsdp"] = "ddp"  # fsdp: a LoRA's frozen base is spread over the processes


class LoraSection(Section):
    rank: Count = 128
    targets: tuple[str, ...] = ()  # (): the released module list


class ReferencesSection(Section):
    visibility: Literal["full", "release", "isolated"] = "release"
    positions: Literal["width", "diagonal", "frame", "frequency"] = "width"
    pooled: Literal["prompt", "null"] = "prompt"
    canvas: Literal["released", "letterbox"] = "released"  # written into the LoRA's metadata
    time: Share = 0.0  # the noise level references stand at …
    guidance: Weight = 1.0  # … and their guidance; both written into the LoRA's metadata
    # where a reference is dropped or a batch has fewer than the most: "absent": no tokens; "black": a black
    # picture fills every slot, as in the paper; "zeros": dropped latents are 0, none is padded, as released
    missing: Literal["absent", "black", "zeros"] = "absent"


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
    # toybox: scenes rendered and encoded once; endless-toybox: as they are needed; the others: docs/data.md
    source: Literal["toybox", "endless-toybox", "shards", "folder"] = "toybox"
    path: str = ""  # of shards: tars, folders of tars, with * and {000..041}, joined by "::"; or the folder
    window: Count = 4096  # samples of shards or a folder that are shuffled together
    validation: str = ""  # as path, of held-out samples; the toybox has scenes of its own
    references: Count = 8  # a sample of shards or a folder with more references is an error
    aspects: tuple[Positive, ...] = (0.5625, 0.75, 1.0, 1.333, 1.778)  # width / height targets may take
    crop: typing.Annotated[float, Field(gt=0, le=1)] = 1.0  # least share of a side that a random crop keeps …
    keep: Share = 0.9  # … with so much of every subject's mask in it
    flip: Share = 0.0  # share of samples mirrored, left and right in their captions too
    corrupt: Natural = 0  # samples a process may skip as corrupt before it is an error
    keep_latents: bool = False  # keep latents (means) of shards and folders in the cache, by picture
    seed: Natural = 0  # of the scenes; the recipe's own seed orders them
    cache: str = ""  # folder of latents and indexes; "": OUTPUT/latents
    subjects: dict[Natural, Weight] = {
        1: 1.0,
        2: 1.0,
    }  # how often a batch has K subjects, each with its reference
    samples: dict[Natural, Count] | Count = 4096  # different samples kept for each K
    shard: Count = 512  # samples in one shard file
    size: Pixels = 128  # a side of the target; of other aspects, the square root of its pixels
    reference_size: Pixels = 64  # a side of the references' canvas
    points: Count = 16  # at most so many supervised points a reference, drawn anew each time
    detailed: Share = 0.0  # share of samples told with the caption that names looks too
    posterior: Literal["mean", "sample"] = "mean"  # of the autoencoder, for targets …
    reference_posterior: Literal["mean", "sample"] = "mean"  # … and for references
    encoder_dtype: Literal["bfloat16", "float32"] = "float32"  # bf16: 2.5 times faster where the CPU has it
    dropout: Dropout = Dropout()
    workers: Count = 1  # processes that make the toybox's latents; threads that read and prepare samples

    @property
    def given(self) -> bool:
        """Whether samples come from files; else they are toys."""
        return self.source in ("shards", "folder")

    @property
    def most(self) -> int:
        """The most references a batch can have."""
        return self.references if self.given else max(k for k, weight in self.subjects.items() if weight)

    def samples_of(self, subjects: int) -> int:
        return self.samples if isinstance(self.samples, int) else self.samples[subjects]

    @model_validator(mode="after")
    def _samples_for_every_count(self) -> "DataSection":
        if not any(self.subjects.values()):
            raise ValueError("data.subjects needs a weight above 0")
        if isinstance(self.samples, dict) and (missing := sorted(set(self.subjects) - set(self.samples))):
            raise ValueError(f"data.samples has no number for {missing[0]} subjects")
        return self

    @model_validator(mode="after")
    def _a_path_to_read(self) -> "DataSection":
        if self.given and not self.path:
            raise ValueError(f'data.source = "{self.source}" needs data.path')
        if self.validation and not self.given:
            raise ValueError("data.validation is for shards and folders: the toybox has held-out scenes")
        if not self.aspects:
            raise ValueError("data.aspects needs at least one width / height")
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
    average: Literal["probabilities", "logarithms"] = "probabilities"  # of the blocks' rows
    heads: Literal["mean", "joint"] = "mean"  # a softmax a head, then their mean; or one of the whole width
    support: Literal["columns", "visible"] = "columns"  # what a row's softmax runs over: eq. 8, or eq. 7

    @model_validator(mode="after")
    def _rows_that_exist(self) -> "LossSection":
        if self.md_rows == "all" and self.direction == "target_to_ref":
            raise ValueError('md_rows = "all" are rows of references: they need direction = "ref_to_target"')
        return self


class NoiseSection(Section):
    # flux: more noise for more target tokens; a number: μ of the logit-normal levels, 0 being "none"
    shift: Literal["none", "flux"] | float = "flux"


class OptimiserSection(Section):
    kind: Literal["adamw", "adamw8bit"] = "adamw"  # adamw8bit: both moments in 8 bits
    lr: Positive = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: Weight = 0.01  # of matrices; vectors have none
    warmup: Natural = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip: Positive = 1.0  # of the global gradient norm
    steps: Count = 1000
    batch: Count = 1  # of one process
    accumulation: Count = 1
    ema: typing.Annotated[float, Field(ge=0, lt=1)] = 0.999  # 0: none


class OutputSection(Section):
    checkpoint: Count = 1000
    keep: Count = 2
    log: Count = 10
    gradient_norms: Natural = 0  # every so many steps, the norm of each term's gradient; 0: never
    pictures: Natural = 0  # every so many steps, of held-out samples; 0: never
    validation: Natural = 0  # every so many steps, by held-out samples; the best weights are kept; 0: never
    validation_batches: Count = 4  # of optimiser.batch samples each
    wandb: str = ""  # project at Weights & Biases that is sent the same figures; "": none
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

    @model_validator(mode="after")
    def _something_to_validate_by(self) -> "Recipe":
        for key in ("validation", "pictures"):
            if getattr(self.output, key) and self.data.given and not self.data.validation:
                raise ValueError(f"output.{key} needs data.validation, a path of held-out samples")
        return self

    @model_validator(mode="after")
    def _something_to_train(self) -> "Recipe":
        if self.train.parameters == "lora" and not self.data.most:
            raise ValueError("a LoRA is trained on references: give data.subjects a K above 0, with a weight")
        return self

    @model_validator(mode="after")
    def _for_a_frozen_base(self) -> "Recipe":
        spread, quantised = self.train.parallel == "fsdp", self.model.quantize != "none"
        asked = {
            "model.quantize": quantised,
            "model.text_cache": bool(self.model.text_cache),
            'train.parallel = "fsdp"': spread,
        }
        for key in (key for key in asked if asked[key] and self.train.parameters == "base"):
            raise ValueError(f'{key} needs a frozen base: set train.parameters = "lora"')
        if spread and quantised:
            raise ValueError(
                'a quantised base is not spread: set train.parallel = "ddp" or model.quantize = "none"'
            )
        return self


def read_recipe(path: Path, overrides: typing.Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file after `section.key=value` overrides; ValueError says what to change."""
    return read_as(Recipe, path, overrides)


def read_as(kind: type[Kind], path: Path, overrides: typing.Sequence[str] = ()) -> Kind:
    """As `read_recipe`, for another kind of recipe."""
    return validated(kind, read_tables(path, overrides), str(path))


def recipe_of(table: dict[str, Any], name: str = "recipe") -> Recipe:
    """A validated recipe from nested tables."""
    return validated(Recipe, table, name)


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
