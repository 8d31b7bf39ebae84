"""Where a model comes from: the embedded one, a folder, or a hub; on which device, in which precision.

Everything is brought to a folder in diffusers' FLUX layout first, which is looked over before anything is
loaded, so that whatever is wrong is said in one sentence. Safetensors alone: nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import PipelineQuantizationConfig

from mosaic.hub import LORA_FILE, WEIGHTS, check_folder, from_hub, model_folder
from mosaic.model import quantize as bits
from mosaic.model.checkpoint import lora_file
from mosaic.perception.loading import quiet
from mosaic.pipeline.memory import explained
from mosaic.pipeline.mosaic_pipeline import MosaicPipeline

logger = logging.getLogger(__name__)

MEBIBYTE = 1 << 20
SMALL = 4 << 30  # bytes of weights that run in float32 on a CPU


def load(
    model: str | Path = "embedded",
    lora: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    offload: str = "none",
    quantize: str = "none",
) -> MosaicPipeline:
    """A pipeline ready to be called.

    model: "embedded", a folder in diffusers' FLUX layout, or a hub id. lora: a file, a hub id (OWNER/NAME or
    OWNER/NAME/FILE), or the NAME of a lora-NAME.safetensors in the model's folder; None takes the folder's
    own lora.safetensors, if it has one. device: None, a GPU if there is one. dtype: None, bfloat16 on a GPU,
    quantised and for large models, else float32. offload: "none", "model", "group" or "sequential", to keep
    weights on the CPU in between. quantize: "none", "fp8", "int8" or "int4" of the transformer's base.
    ValueError, in one sentence, for what is missing or too much.
    """
    found = find(model, lora, device=device, dtype=dtype, offload=offload, quantize=quantize)
    with explained("load this model"):
        pipeline = _from_folder(found.folder, found.dtype, found.config)
        if quantize == "fp8":
            bits.store_as_fp8(pipeline.transformer, found.dtype)
        pipeline.weights = {"model": folder_hash(found.folder)}
        if found.lora is not None:
            pipeline.load_lora(found.lora)
            pipeline.weights["lora"] = sampled_hash(found.lora)
        place(pipeline, found.device, offload)
    if found.device == "cpu" and found.dtype is torch.bfloat16:
        pipeline.transformer.use_attention("math")
    return pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is loaded, and how. config: diffusers' quantisation of the transformer's base."""

    folder: Path
    lora: Path | None
    device: str
    dtype: torch.dtype
    config: Any


def find(
    model: str | Path,
    lora: str | Path | None,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    offload: str = "none",
    quantize: str = "none",
) -> Found:
    """All of `load` that can be refused before anything is loaded; arguments and errors as there."""
    folder = model_folder(model)
    check_folder(folder)
    lora_at = lora_path(lora, folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if offload != "none" and device == "cpu":
        raise ValueError(
            f"--offload {offload} keeps weights away from a GPU, and there is none: leave it out."
        )
    small = device == "cpu" and quantize == "none" and weight_bytes(folder) < SMALL
    dtype = dtype or (torch.float32 if small else torch.bfloat16)
    config = quantization(quantize, dtype, device)
    return Found(folder=folder, lora=lora_at, device=device, dtype=dtype, config=config)


def _from_folder(folder: Path, dtype: torch.dtype, config: Any) -> MosaicPipeline:
    with quiet():
        pipeline = MosaicPipeline.from_pretrained(str(folder), dtype=dtype, quantization_config=config)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False)
    return pipeline


def place(pipeline: MosaicPipeline, device: str, offload: str) -> None:
    """On its device whole, or on the CPU with hooks that bring parts to the GPU while they are needed.

    ValueError for another word than `load` takes.
    """
    if offload == "none":
        pipeline.to(device)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "group":
        pipeline.caches_references = False  # its hooks sit on the transformer's forward
        pipeline.enable_group_offload(
            torch.device(device),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device != "cpu",
        )
    else:
        raise ValueError(f'Offloading is "none", "model", "group" or "sequential", not "{offload}".')


def quantization(kind: str, dtype: torch.dtype, device: str) -> Any:
    """diffusers' configuration of the transformer's base; None for "none" and "fp8", a cast after loading.

    ValueError for another word, or where the device or a package it needs is missing.
    """
    if kind not in ("none", "fp8", "int8", "int4"):
        raise ValueError(f'Quantisation is "none", "fp8", "int8" or "int4", not "{kind}".')
    stored = "nf4" if kind == "int4" else kind
    config = bits.quantization(stored, dtype, device, f"--quantize {kind}")
    return None if config is None else PipelineQuantizationConfig(quant_mapping={"transformer": config})


# ---------------------------------------------------------------- the LoRA


def lora_path(lora: str | Path | None, folder: Path) -> Path | None:
    """A LoRA's file: as named, from the hub, or of the model's folder. ValueError if there is none."""
    if lora is None:
        own = folder / LORA_FILE
        return own if own.is_file() else None
    text = str(lora)
    beside = {path.stem.removeprefix("lora-"): path for path in sorted(folder.glob("lora-*.safetensors"))}
    if text in beside and not Path(text).exists():
        return beside[text]
    slashes = text.count("/")
    no_id = slashes == 0 or (slashes == 1 and text.endswith(".safetensors"))
    if no_id and not Path(text).expanduser().exists():
        named = f", or one that the model has: {', '.join(beside)}" if beside else ""
        raise ValueError(f"There is no LoRA {text}: give a .safetensors file or a hub id OWNER/NAME{named}.")
    path = Path(from_hub(text, lambda: str(lora_file(Path(text).expanduser()))))
    if path.suffix != ".safetensors":
        raise ValueError(f"{text} is no .safetensors file, and nothing else is loaded.")
    return path


# ---------------------------------------------------------------- what is in them


def weight_bytes(folder: Path) -> int:
    """Bytes of all weights."""
    return sum(file.stat().st_size for name in WEIGHTS for file in (folder / name).glob("*.safetensors"))


def folder_hash(folder: Path) -> str:
    """Tells models apart: SHA-256 over `sampled_hash` of every weights file, 16 hex digits."""
    files = sorted(file for name in WEIGHTS for file in (folder / name).glob("*.safetensors"))
    lines = "".join(f"{file.parent.name}/{file.name} {sampled_hash(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def sampled_hash(file: Path, window: int = MEBIBYTE, windows: int = 64) -> str:
    """SHA-256 of a file's size and up to 64 evenly spaced mebibytes, 16 hex digits: all of a small file."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        for i in range(windows):
            start = max(i * window, i * (size - window) // (windows - 1))
            if start >= size:
                break
            stream.seek(start)
            digest.update(stream.read(window))
    return digest.hexdigest()[:16]
