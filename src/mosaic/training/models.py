"""The model of a run: what is loaded, what is trained, what is saved."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mosaic import toybox
from mosaic.about import commit
from mosaic.errors import told_of
from mosaic.hub import check_folder, model_folder
from mosaic.model.attention import Probe
from mosaic.model.checkpoint import load_transformer
from mosaic.model.layout import Positions, Visibility
from mosaic.model.lora import (
    LoraMetadata,
    LoraSpec,
    add_lora,
    load_lora,
    lora_parameters,
    opened,
    save_lora,
)
from mosaic.model.quantize import quantization, store_as_fp8
from mosaic.model.transformer import MosaicTransformer
from mosaic.training.embedded import create_model_folder
from mosaic.training.parallel import World, device_of, spread
from mosaic.training.recipe import LossSection, Recipe
from mosaic.training.state import write_folder
from mosaic.training.text import TextEncoders
from mosaic.training.text_cache import TextCache, encoder_key

MADE_FROM = "made_from.json"  # beside a new model: what it is a function of
STATIC = ("model_index.json", "scheduler", "tokenizer", "tokenizer_2", "vae")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingModel:
    """Transformer and text encoders on one device, and the names of the parameters that are trained."""

    folder: Path  # diffusers' layout
    transformer: MosaicTransformer
    text: TextEncoders | TextCache
    trained: dict[str, nn.Parameter]
    device: torch.device
    dtype: torch.dtype
    trains_text: bool

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """T5 tokens (B, S, J) and pooled vectors (B, Pd), with gradients where the encoders are trained."""
        with torch.set_grad_enabled(self.trains_text and torch.is_grad_enabled()):
            text, pooled = self.text(captions)
        return text.to(self.dtype), pooled.to(self.dtype)


def load_model(recipe: Recipe, folder: Path, world: World | None = None) -> TrainingModel:
    """The recipe's model, ready to train; every parameter that is not trained is frozen."""
    world = world or World()
    device = world.device or device_of(recipe.model.device)
    if recipe.model.lora and recipe.train.parameters == "lora":  # before anything large is loaded
        with told_of("model.lora"), opened(recipe.model.lora):
            pass
    dtype = getattr(torch, recipe.model.dtype)
    spreads = recipe.train.parallel == "fsdp" and world.size > 1
    home = torch.device("cpu") if spreads else device  # spread, no device ever holds the whole base
    transformer = _transformer(recipe, folder, dtype, home)
    probed_blocks(recipe.loss, transformer.config.num_layers, transformer.config.num_single_layers)
    text = _text(recipe, folder, dtype, home, device)
    trains_base = recipe.train.parameters == "base"
    trained = _base_parameters(transformer, text) if trains_base else _lora_parameters(transformer, recipe)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    _prepare(transformer, recipe)
    if spreads:
        encoders = [text.text_encoder, text.text_encoder_2] if isinstance(text, TextEncoders) else []
        spread([transformer, *encoders], trained.values(), world)
    return TrainingModel(
        folder=folder,
        transformer=transformer,
        text=text,
        trained=trained,
        device=device,
        dtype=dtype,
        trains_text=trains_base,
    )


def base_folder(recipe: Recipe, output: Path) -> Path:
    """Where the model to start from lies; made new under `output` where the recipe names none.

    ValueError where it is not on this machine and the hub gives none, or where it is not whole.
    """
    if not recipe.model.base:
        return _created(recipe, output)
    with told_of("model.base"):
        folder = model_folder(recipe.model.base, "model.base")
        check_folder(folder)
    return folder


def save_model(model: TrainingModel, folder: Path, recipe: Recipe, name: str) -> None:
    """A whole model folder with the weights as they are now, which says how references were run."""
    assert isinstance(model.text, TextEncoders)  # encoders that are trained are not cached
    for part in STATIC:
        source = model.folder / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["references"] = metadata_of(recipe, name).to_strings()
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    model.transformer.save_pretrained(folder / "transformer")
    model.text.save(folder)


def save_lora_file(model: TrainingModel, path: Path, recipe: Recipe, name: str) -> None:
    """The LoRA with the facts a pipeline needs to run it."""
    save_lora(model.transformer, path, metadata_of(recipe, name))


def metadata_of(recipe: Recipe, name: str) -> LoraMetadata:
    """How references must be run with what a recipe trains; name: the recipe's."""
    references = recipe.references
    return LoraMetadata(
        visibility=Visibility(references.visibility),
        positions=Positions(references.positions),
        reference_pooled=references.pooled,
        canvas=references.canvas,
        reference_time=references.time,
        reference_guidance=references.guidance,
        canvas_size=recipe.data.reference_size,
        base=recipe.model.base,
        recipe=name,
        commit=commit(),
    )


def probed_blocks(loss: LossSection, double: int, single: int) -> frozenset[int]:
    """The blocks whose rows a recipe reads, double blocks first. ValueError for one the model lacks."""
    with told_of("loss.blocks"):
        return Probe(tokens=torch.empty(0), blocks=loss.blocks).chosen(double, single)


def _created(recipe: Recipe, output: Path) -> Path:
    """`output`/start: made anew where an attempt with another recipe left one from which no run has begun."""
    folder, create = output / "start", recipe.model.create
    words = list(create.words or toybox.vocabulary())
    wanted: dict[str, Any] = {"create": create.model_dump(mode="json"), "seed": recipe.seed, "words": words}
    found: dict[str, Any] = {}  # of a model by an older version nothing is known
    if (folder / MADE_FROM).is_file():
        found = json.loads((folder / MADE_FROM).read_text(encoding="utf-8"))
    if found != wanted and not _has_begun(output, folder):

        def make(place: Path) -> None:
            create_model_folder(place, create, words, recipe.seed)
            (place / MADE_FROM).write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

        return write_folder(folder, make)
    for key, before in found.get("create", {}).items():
        if before != wanted["create"].get(key):
            raise ValueError(
                f"model.create.{key} is {wanted['create'].get(key)}, and a run has begun from {folder}, made "
                f"with {before}: set it back, or choose another folder."
            )
    return folder


def _has_begun(output: Path, start: Path) -> bool:
    """Whether a run, or one of an ablation, has saved what continues the new model's weights."""
    kinds = ("checkpoints/step-*", "lora.safetensors")
    saved = any(next(output.glob(f"{place}{kind}"), None) for kind in kinds for place in ("", "*/"))
    return saved and (start / "model_index.json").is_file()


def _transformer(recipe: Recipe, folder: Path, dtype: torch.dtype, device: torch.device) -> MosaicTransformer:
    """The frozen base, in fewer bits where the recipe says so."""
    kind = recipe.model.quantize
    config = quantization(kind, dtype, device.type, f'model.quantize = "{kind}"')
    options: dict[str, Any] = {} if config is None else {"quantization_config": config}
    transformer = load_transformer(str(folder), torch_dtype=dtype, **options).to(device)
    if kind == "fp8":
        store_as_fp8(transformer, dtype)
    transformer.requires_grad_(False)
    return transformer


def _text(
    recipe: Recipe, folder: Path, dtype: torch.dtype, home: torch.device, device: torch.device
) -> TextEncoders | TextCache:
    """The text encoders, or the cache that loads them where a caption is new."""
    if not recipe.model.text_cache:
        return TextEncoders.from_folder(folder, dtype).to(home).requires_grad_(False)
    key = encoder_key(folder, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"), dtype)

    def load() -> TextEncoders:
        return TextEncoders.from_folder(folder, dtype).to(device).requires_grad_(False)

    return TextCache(Path(recipe.model.text_cache), key, device, load)


def _base_parameters(
    transformer: MosaicTransformer, text: TextEncoders | TextCache
) -> dict[str, nn.Parameter]:
    assert isinstance(text, TextEncoders)  # the recipe refuses a cache of encoders that are trained
    named = {f"transformer.{name}": parameter for name, parameter in transformer.named_parameters()}
    return named | dict(text.named_parameters())


def _lora_parameters(transformer: MosaicTransformer, recipe: Recipe) -> dict[str, nn.Parameter]:
    if recipe.model.lora:
        with told_of("model.lora"):
            load_lora(transformer, recipe.model.lora)
    else:
        add_lora(transformer, LoraSpec(rank=recipe.lora.rank, targets=recipe.lora.targets or None))
    wanted = {id(parameter) for parameter in lora_parameters(transformer)}
    trained = {name: p for name, p in transformer.named_parameters() if id(p) in wanted}
    for parameter in trained.values():  # the optimiser has fp32 copies
        parameter.data = parameter.data.to(getattr(torch, recipe.model.dtype))
    return trained


def _prepare(transformer: MosaicTransformer, recipe: Recipe) -> None:
    """Attention backend, checkpointing and compilation, from outside the model."""
    transformer.use_attention(recipe.model.attention)
    if recipe.model.checkpointing:
        transformer.enable_gradient_checkpointing()
    if recipe.model.compile:
        torch._dynamo.config.recompile_limit = 64  # one a block kind, K and batch size
        torch._functorch.config.donated_buffer = False  # a graph may be walked twice, for gradients by term
        transformer.compile_blocks(dynamic=False)
