"""Which GPU makes a picture of a size from so many references, kept how: an estimate, said to be one.

Weights as they rest on the device, and what a pass or the decoder needs beside them, by
`pipeline.memory.needed`. Bytes throughout; nothing is loaded for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mosaic.geometry import Grid

if TYPE_CHECKING:
    from mosaic.pipeline import MosaicPipeline

GIB = 1 << 30
STORED = {"none": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5 + 4 / 64}  # bytes a weight, scales included
CONTEXT, HOLES, FITS = 0.75 * GIB, 1.05, 0.97  # libraries' own; between tensors; of a device's memory
GROUPS = 2  # blocks on the device at a time under --offload group: one runs, one arrives
FLUX, RANK = "FLUX.1-dev", 128  # the model that is estimated unloaded, with a LoRA of the paper's rank
# (offload, quantize), what costs the least time first
WAYS = (
    ("none", "none"),
    ("none", "fp8"),
    ("model", "none"),
    ("model", "fp8"),
    ("model", "int4"),
    ("group", "none"),
    ("sequential", "none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Parameters of a model's parts, and what `needed` asks of a pipeline."""

    name: str
    base: int
    lora: int
    text: tuple[int, ...]  # each encoder
    autoencoder: int
    largest: int  # the largest layer that is moved alone
    blocks: int
    asked: Any  # of pipeline.memory.needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One device: the first way that fits it, or None; GiB."""

    device: str
    has: float
    needs: float
    way: tuple[str, str] | None


def weights_of(pipeline: MosaicPipeline, name: str) -> Weights:
    """Of a loaded model, as it would be in bfloat16 on a GPU."""
    import torch

    sizes = dict.fromkeys(("base", "lora", "largest"), 0)
    for key, parameter in pipeline.transformer.named_parameters():
        sizes["lora" if ".lora_" in key else "base"] += parameter.numel()
        sizes["largest"] = max(sizes["largest"], parameter.numel())
    text = [
        sum(p.numel() for p in part.parameters()) for part in (pipeline.text_encoder, pipeline.text_encoder_2)
    ]
    config = pipeline.transformer.config
    return Weights(
        name=name,
        base=sizes["base"],
        lora=sizes["lora"],
        text=tuple(text),
        autoencoder=sum(p.numel() for p in pipeline.vae.parameters()),
        largest=sizes["largest"],
        blocks=config.num_layers + config.num_single_layers,
        asked=SimpleNamespace(
            transformer=SimpleNamespace(config=config, attention="sdpa"),
            text_encoder_2=SimpleNamespace(dtype=torch.bfloat16),
            tokenizer_2=pipeline.tokenizer_2,
            vae=pipeline.vae,
        ),
    )


def flux_dev() -> Weights:
    """Of FLUX.1-dev, from its public configs, and a LoRA of RANK on the layers adapted by default."""
    import torch

    from mosaic.model.lora import module_names
    from mosaic.model.transformer import MosaicTransformer
    from mosaic.training.plan import reading

    config, text = reading.FLUX_DEV_TRANSFORMER, reading.FLUX_DEV_TEXT
    with torch.device("meta"):
        transformer = MosaicTransformer(**config)
    sizes = [parameter.numel() for parameter in transformer.parameters()]
    adapted = [
        transformer.get_submodule(name) for name in module_names(transformer, transformer.lora_targets)
    ]
    return Weights(
        name=FLUX,
        base=sum(sizes),
        lora=RANK * sum(sum(layer.weight.shape) for layer in adapted),
        text=tuple(encoder.parameters for encoder in text),
        autoencoder=reading.FLUX_DEV_AUTOENCODER,
        largest=max(*sizes, *(encoder.table for encoder in text)),
        blocks=config["num_layers"] + config["num_single_layers"],
        asked=SimpleNamespace(
            transformer=SimpleNamespace(config=SimpleNamespace(**config), attention="sdpa"),
            text_encoder_2=SimpleNamespace(dtype=torch.bfloat16),
            tokenizer_2=SimpleNamespace(model_max_length=512),
            vae=SimpleNamespace(config=SimpleNamespace(block_out_channels=(128, 256, 512, 512))),
        ),
    )


def needs(
    weights: Weights, target: Grid, references: Sequence[Grid], way: tuple[str, str], cached: bool
) -> float:
    """Bytes on the device at the fullest moment."""
    from mosaic.pipeline.memory import needed

    offload, quantize = way
    branch = STORED[quantize] * weights.base + 2 * weights.lora
    others = [2 * size for size in (*weights.text, weights.autoencoder)]
    resting = {
        "none": branch + sum(others),
        "model": max(branch, *others),
        "group": max(GROUPS * branch / weights.blocks, 2 * weights.largest),
        "sequential": 2.0 * weights.largest,
    }[offload]
    return HOLES * (resting + needed(weights.asked, target, references, cached)) + CONTEXT


def forecasts(
    weights: Weights, target: Grid, references: Sequence[Grid], cached: bool = False
) -> list[Forecast]:
    """Every device of the table, smallest first."""
    from mosaic.training.plan.devices import DEVICES

    sizes = {way: needs(weights, target, references, way, cached) / GIB for way in WAYS}
    found = []
    for device in sorted(DEVICES.values(), key=lambda one: (one.memory, one.name)):
        way = next((way for way in WAYS if sizes[way] <= FITS * device.memory), None)
        least = sizes[way] if way else min(sizes.values())
        found.append(Forecast(device=device.name, has=device.memory, needs=least, way=way))
    return found


def told(way: tuple[str, str] | None) -> str:
    """A way as the options that ask for it."""
    if way is None:
        return "does not fit"
    offload, quantize = way
    options = [f"--offload {offload}"] * (offload != "none") + [f"--quantize {quantize}"] * (
        quantize != "none"
    )
    return " ".join(options) or "as it is"
