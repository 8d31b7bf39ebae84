"""Where a model comes from: the embedded one, a folder, or a hub; on which device, in which precision.

Everything is brought to a folder in diffusers' FLUX layout first, which is looked over before anything is
loaded, so that whatever is wrong is said in one sentence. Safetensors alone: nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import PipelineQuantizationConfig

from mosaic.about import EMBEDDED
from mosaic.model import quantize as bits
from mosaic.model.checkpoint import lora_file
from mosaic.perception.loading import quiet
from mosaic.pipeline.memory import explained
from mosaic.pipeline.mosaic_pipeline import MosaicPipeline

logger = logging.getLogger(__name__)

LORA_FILE = "lora.safetensors"  # a model folder's own; others beside it are lora-NAME.safetensors
COMPONENTS = {  # folder → the file that must be in it
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json",
    "text_encoder_2": "config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "transformer": "config.json",
    "vae": "config.json",
}
WEIGHTS = ("text_encoder", "text_encoder_2", "transformer", "vae")
HUB_FILES = ["model_index.json", LORA_FILE, "lora-*.safetensors", *(f"{name}/*" for name in COMPONENTS)]
PICKLED = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5", "*.onnx*"]
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
MEBIBYTE = 1 << 20
SMALL = 4 << 30  # bytes of weights that run in float32 on a CPU
UNGATED = "--model embedded needs no download, ostris/Flex.1-alpha (Apache-2.0) no account"


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


# ---------------------------------------------------------------- folders


def model_folder(model: str | Path) -> Path:
    """The folder of a model, fetched from the hub where it is named by its id; ValueError without one."""
    text = str(model)
    if text == "embedded":
        if not (EMBEDDED / "model_index.json").is_file():
            raise ValueError("This installation has no embedded model: give --model a folder or a hub id.")
        return EMBEDDED
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{text} is a file, and a model is a folder in diffusers' FLUX layout.")
    if not HUB_ID.fullmatch(text):
        raise ValueError(
            f'There is no model folder {text}: give a folder, a hub id OWNER/NAME, or "embedded".'
        )

    def fetch() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(text, allow_patterns=HUB_FILES, ignore_patterns=PICKLED)

    return Path(from_hub(text, fetch))


def check_folder(folder: Path) -> None:
    """ValueError that names the first component a model folder lacks, or what else keeps it from loading."""
    index = _json(folder / "model_index.json", f"{folder} is no model folder in diffusers' FLUX layout")
    kind = index.get("_class_name")
    if kind not in ("FluxPipeline", "MosaicPipeline"):
        raise ValueError(f"{folder} holds a {kind}, and only FLUX.1 models (FluxPipeline) are supported.")
    for name, file in COMPONENTS.items():
        if index.get(name, [None])[0] is None or not (folder / name).is_dir():
            raise ValueError(f"The model folder {folder} lacks its {name}: fetch the whole model again.")
        _json(folder / name / file, f"The model folder {folder} lacks a part of its {name}")
        if name in WEIGHTS:
            _check_weights(folder / name)


def _check_weights(folder: Path) -> None:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    wanted = {file for index in indices for file in _json(index, "")["weight_map"].values()}
    missing = sorted(file for file in wanted if not (folder / file).is_file())
    if missing:
        raise ValueError(f"The model folder lacks {folder.name}/{missing[0]}: fetch the model again.")
    if not any(folder.glob("*.safetensors")):
        pickled = next(
            (file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth")), None
        )
        found = f"only {pickled}, a pickle, which is never loaded" if pickled else "no weights"
        raise ValueError(f"{folder} has {found}: it needs .safetensors.")


def _json(path: Path, problem: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{problem}: there is no {path.name}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}): fetch it again.") from error
    return value if isinstance(value, dict) else {}


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


def from_hub(name: str, fetch: Callable[[], str]) -> str:
    """What `fetch` brings from the hub; ValueError that says what to do where it brings nothing."""
    from huggingface_hub import errors

    transport: Any = errors.HfHubHTTPError.__bases__[0]  # of the HTTP library under the hub's client
    try:
        return fetch()
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{name} is gated: accept its licence on https://huggingface.co/{name} and log in with a token "
            f"(hf auth login, or the variable HF_TOKEN); {UNGATED}."
        ) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RemoteEntryNotFoundError,
        errors.RevisionNotFoundError,
        errors.HFValidationError,
    ) as error:
        raise ValueError(
            f"The hub shows no {name}: check the name, or log in with a token (HF_TOKEN) if it is private; "
            f"{UNGATED}."
        ) from error
    except (errors.EntryNotFoundError, errors.OfflineModeIsEnabled, transport) as error:
        raise ValueError(
            f"{name} is not on this machine and the hub cannot be reached: check the connection (and "
            f"HF_HUB_OFFLINE), or give a folder; {UNGATED}."
        ) from error
    except OSError as error:
        raise ValueError(f"{name} could not be stored on this machine: {error}.") from error


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
