"""The model of a run: what is loaded, what is trained, what is saved."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mosaic.about import EMBEDDED, commit
from mosaic.model.checkpoint import load_transformer
from mosaic.model.layout import Positions, Visibility
from mosaic.model.lora import LoraMetadata, LoraSpec, add_lora, load_lora, lora_parameters, save_lora
from mosaic.model.quantize import quantization, store_as_fp8
from mosaic.model.transformer import MosaicTransformer
from mosaic.training.embedded import create_model_folder
from mosaic.training.parallel import World, spread
from mosaic.training.recipe import Recipe
from mosaic.training.text import TextEncoders
from mosaic.training.text_cache import TextCache, encoder_key

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
    device = world.device or torch.device(_device(recipe))
    dtype = getattr(torch, recipe.model.dtype)
    spreads = recipe.train.parallel == "fsdp" and world.size > 1
    home = torch.device("cpu") if spreads else device  # spread, no device ever holds the whole base
    transformer = _transformer(recipe, folder, dtype, home)
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
    """Where the model to start from lies; made new under `output` where the recipe names none."""
    name = recipe.model.base
    if not name:
        return _created(recipe, output / "start")
    if name == "embedded":
        return EMBEDDED
    if Path(name).is_dir():
        if not (Path(name) / "model_index.json").is_file():
            raise ValueError(f"model.base: {name} is no model folder (no model_index.json).")
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name))


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


def _created(recipe: Recipe, folder: Path) -> Path:
    if (folder / "model_index.json").is_file():
        return folder
    words = recipe.model.create.words
    if not words:
        from mosaic import toybox

        words = tuple(toybox.vocabulary())
    return create_model_folder(folder, recipe.model.create, words, recipe.seed)


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


def _device(recipe: Recipe) -> str:
    if recipe.model.device != "auto":
        return recipe.model.device
    return "cuda" if torch.cuda.is_available() else "cpu"
