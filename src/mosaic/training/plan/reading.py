"""A recipe and the configs of its base → what the formulas take. No weight is read or downloaded."""

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mosaic.errors import told_of
from mosaic.hub import from_hub, local_folder
from mosaic.model.lora import TARGETS_KEY, module_names, opened
from mosaic.model.transformer import MosaicTransformer
from mosaic.training.models import probed_blocks
from mosaic.training.plan.disk import Writing, embedding_bytes, latent_bytes
from mosaic.training.plan.memory import GIB, Encoder, Holding, Model
from mosaic.training.plan.shapes import BYTES, Adapter, Backbone, Micro
from mosaic.training.recipe import Recipe

MIB = 1 << 20
PATCH = 16  # pixels a side of a token
STORED_POINTS = 33  # a reference in the toybox's latents

FLUX_DEV = "black-forest-labs/FLUX.1-dev"  # its public configs, so that planning for it needs no hub
FLUX_DEV_TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
FLUX_DEV_TEXT = (
    Encoder(parameters=4_762_310_656, table=32_128 * 4096, tokens=512, layers=24, width=4096, heads=64),
    Encoder(parameters=123_060_480, table=49_408 * 768, tokens=77, layers=12, width=768, heads=12),
)
FLUX_DEV_AUTOENCODER = 83_819_683


def model_of(recipe: Recipe) -> Model:
    """Parameters and shape of a recipe's model, counted on the meta device.

    ValueError for a base that is not there, or whose config is no FLUX transformer's.
    """
    config, text, autoencoder = _parts(recipe)
    backbone = Backbone.of(config)
    with torch.device("meta"):
        transformer = MosaicTransformer(**{k: v for k, v in config.items() if not k.startswith("_")})
    rank, names = _lora(recipe, transformer)
    layers = [transformer.get_submodule(name) for name in names]
    lora = rank * sum(sum(layer.weight.shape) for layer in layers)
    return Model(
        backbone=backbone,
        adapter=Adapter(rank=rank, modules=frozenset(names)),
        base=_count(transformer),
        lora=lora,
        text=text,
        autoencoder=autoencoder,
    )


def micros_of(recipe: Recipe, model: Model, on_cpu: bool) -> list[tuple[float, Micro]]:
    """The kinds of micro-steps of a recipe and how often each happens."""
    data, missing = recipe.data, recipe.references.missing
    total = sum(data.subjects.values())
    weights = {k: weight / total for k, weight in sorted(data.subjects.items()) if weight}
    dropped = data.dropout.references + data.dropout.both
    most = max(weights)
    found: list[tuple[float, Micro]] = []
    for k, share in weights.items():
        shown = most if missing == "black" else k
        found.append((share * (1 - dropped), _micro(recipe, model, shown, on_cpu)))
        if dropped:
            hidden = 0 if missing == "absent" else shown
            found.append((share * dropped, _micro(recipe, model, hidden, on_cpu, probes=False)))
    return found


def fullest(micros: list[tuple[float, Micro]]) -> Micro:
    """The one with the most tokens."""
    return max((micro for share, micro in micros if share), key=lambda micro: (micro.length, micro.rows))


def holding_of(recipe: Recipe) -> Holding:
    """How the recipe keeps what it loads."""
    section, processes = recipe.optimiser, max(1, recipe.train.processes)
    stays = recipe.data.source != "toybox"
    return Holding(
        accumulation=section.accumulation,
        eight_bit=section.kind == "adamw8bit",
        average=section.ema > 0,
        quantize=recipe.model.quantize,
        text_stays=stays or not recipe.model.text_cache,  # of other sources the captions are not known before
        autoencoder=recipe.data.encoder_dtype if stays else "",
        processes=processes,
        spread=recipe.train.parallel == "fsdp" and processes > 1,
        second_gradients=recipe.output.gradient_norms > 0,
    )


def writing_of(recipe: Recipe) -> Writing:
    """What the recipe says of its files."""
    data, output = recipe.data, recipe.output
    samples: dict[int, int] = {}
    if data.source == "toybox":
        counts = {k: data.samples_of(k) for k, weight in data.subjects.items() if weight}
        samples = {k: math.ceil(count / data.shard) * data.shard for k, count in counts.items()}
    return Writing(
        trains=recipe.train.parameters,
        dtype=recipe.model.dtype,
        samples=samples,
        size=data.size,
        reference_size=data.reference_size,
        points=STORED_POINTS,
        steps=recipe.optimiser.steps,
        checkpoint=output.checkpoint,
        keep=output.keep,
        log=output.log,
        pictures=output.pictures,
        average=recipe.optimiser.ema > 0,
        eight_bit=recipe.optimiser.kind == "adamw8bit",
        captions=sum(samples.values()) if recipe.model.text_cache else 0,
        makes_base=not recipe.model.base,
    )


def notes_of(recipe: Recipe, model: Model) -> tuple[str, ...]:
    """What the tables leave out: each a sentence."""
    data, section, processes = recipe.data, recipe.optimiser, max(1, recipe.train.processes)
    drawn = section.steps * section.batch * section.accumulation * processes
    found: list[str] = []
    if recipe.train.parallel == "fsdp" and not recipe.train.processes:
        found.append(
            'train.parallel = "fsdp" is planned as one process, which spreads nothing: set train.processes '
            "to as many as will be launched."
        )
    if recipe.model.text_cache and data.source != "toybox":
        caption = embedding_bytes(model.text, BYTES[recipe.model.dtype])
        found.append(_uncounted("model.text_cache", caption, "caption", drawn))
    if data.keep_latents and data.given:
        sample = latent_bytes(data.references, data.size, data.reference_size, model.backbone.channels)
        found.append(_uncounted("data.keep_latents", sample, "sample with all its references", drawn))
    return tuple(found)


def _uncounted(key: str, each: float, what: str, most: int) -> str:
    return (
        f"{key} is not in the table of the disk: {each / MIB:,.2f} MiB a {what}, "
        f"{each * most / GIB:,.1f} GiB if the {most:,} that the run draws all differ."
    )


# ---------------------------------------------------------------- the pieces


def _micro(recipe: Recipe, model: Model, subjects: int, on_cpu: bool, probes: bool = True) -> Micro:
    data, loss, settings = recipe.data, recipe.loss, recipe.model
    reference = (data.reference_size // PATCH) ** 2
    probed = probed_blocks(loss, model.backbone.double, model.backbone.single)
    own = "target" if loss.direction == "ref_to_target" else "references"
    return Micro(
        batch=recipe.optimiser.batch,
        text=model.text[0].tokens,
        target=(data.size // PATCH) ** 2,
        references=subjects,
        reference=reference if subjects else 0,
        rows=(reference if loss.md_rows == "all" else data.points) * probes,
        probed=probed,
        columns="visible" if loss.support == "visible" else own,  # type: ignore[arg-type]
        visibility=recipe.references.visibility,
        attention=settings.attention,
        trains=recipe.train.parameters,
        checkpointing=settings.checkpointing,
        dtype=settings.dtype,
        on_cpu=on_cpu,
    )


def _parts(recipe: Recipe) -> tuple[dict[str, Any], tuple[Encoder, ...], int]:
    """Config of the transformer, text encoders, parameters of the autoencoder."""
    name = recipe.model.base
    if name == FLUX_DEV:
        return FLUX_DEV_TRANSFORMER, FLUX_DEV_TEXT, FLUX_DEV_AUTOENCODER
    if not name:
        return _created(recipe)
    files = ("transformer", "text_encoder_2", "text_encoder", "vae")
    configs = {part: _config(name, f"{part}/config.json") for part in files}
    longest = _config(name, "tokenizer_2/tokenizer_config.json")["model_max_length"]
    return configs["transformer"], _encoders(configs, int(longest)), _autoencoder(configs["vae"])


def _config(name: str, file: str) -> dict[str, Any]:
    """One JSON file of the base's folder, or of its hub id's repository. ValueError where there is none."""

    def fetch() -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(name, file)

    with told_of("model.base"):
        folder = local_folder(name, "model.base")
        path = folder / file if folder else Path(from_hub(name, fetch, f"{FLUX_DEV} is known without a hub"))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"model.base: {name} is no model folder (no {file}).") from error


def _encoders(configs: dict[str, dict[str, Any]], longest: int) -> tuple[Encoder, ...]:
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    from mosaic.training.text import LONGEST

    t5, clip = T5Config(**configs["text_encoder_2"]), CLIPTextConfig(**configs["text_encoder"])
    with torch.device("meta"):
        models = T5EncoderModel(t5), CLIPTextModel(clip)
    lengths = min(longest, LONGEST), clip.max_position_embeddings
    heads = t5.num_heads, clip.num_attention_heads
    return tuple(
        Encoder(
            parameters=_count(model),
            table=config.vocab_size * config.hidden_size,
            tokens=length,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=count,
        )
        for model, config, length, count in zip(models, (t5, clip), lengths, heads, strict=True)
    )


def _autoencoder(config: dict[str, Any]) -> int:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return _count(AutoencoderKL(**{k: v for k, v in config.items() if not k.startswith("_")}))


def _created(recipe: Recipe) -> tuple[dict[str, Any], tuple[Encoder, ...], int]:
    """A model that the run will make: built on the meta device as it will be."""
    from mosaic.training import embedded

    create = recipe.model.create
    words = create.words
    if not words:
        from mosaic import toybox

        words = tuple(toybox.vocabulary())
    tokenizers = [
        embedded.word_tokenizer(words, special, create.text_length)
        for special in (embedded.T5_SPECIAL, embedded.CLIP_SPECIAL)
    ]
    with torch.device("meta"):
        t5, clip = embedded.new_t5(create, tokenizers[0]), embedded.new_clip(create, tokenizers[1])
        transformer = embedded.new_transformer(create)
        vae = embedded.random_autoencoder()
    configs = {"text_encoder_2": t5.config.to_dict(), "text_encoder": clip.config.to_dict()}
    autoencoder = _count(vae)
    if create.vae:
        config = embedded.autoencoder_folder(create.vae) / "config.json"
        autoencoder = _autoencoder(json.loads(config.read_text(encoding="utf-8")))
    return dict(transformer.config), _encoders(configs, create.text_length), autoencoder


def _lora(recipe: Recipe, transformer: MosaicTransformer) -> tuple[int, list[str]]:
    """Rank and adapted modules: the recipe's, or those of the file it starts from."""
    if recipe.train.parameters == "base":
        return 0, []
    targets: tuple[str, ...] = recipe.lora.targets
    rank = recipe.lora.rank
    if recipe.model.lora:
        with told_of("model.lora"):
            rank, targets = _lora_file(Path(recipe.model.lora))
    return rank, module_names(transformer, targets or transformer.lora_targets)


def _lora_file(path: Path) -> tuple[int, tuple[str, ...]]:
    with opened(path) as file:
        targets = (file.metadata() or {}).get(TARGETS_KEY, "")
        down = next((key for key in file.keys() if re.search(r"\.lora_A\.", key)), None)  # noqa: SIM118
        if down is None:
            raise ValueError(f"{path} holds no LoRA in diffusers' format.")
        rank = int(file.get_slice(down).get_shape()[0])
    return rank, tuple(targets.split(",")) if targets else ()


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
