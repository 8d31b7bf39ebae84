"""Where weights come from, and every name they have elsewhere: the only room that knows foreign key names.

BFL's files fuse projections (qkv; qkv and MLP) that diffusers keeps apart, and hold the two halves of the
final adaptive norm the other way round. A LoRA on a fused matrix becomes one low-rank pair a slice, and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from mosaic.model.transformer import MosaicTransformer

BFL_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
LORA_NAMES = ("lora.safetensors", "pytorch_lora_weights.safetensors", "subject_512.safetensors")
SWAPPED = "final_layer.adaLN_modulation.1"  # its output is (shift, scale); diffusers' is (scale, shift)

# BFL module → diffusers modules it fuses, `*` a block's index
MODULES: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    SWAPPED: ("norm_out.linear",),
    "final_layer.linear": ("proj_out",),
    **{
        f"double_blocks.*.{bfl}": tuple(f"transformer_blocks.*.{name}" for name in names)
        for bfl, names in {
            "img_mod.lin": ("norm1.linear",),
            "txt_mod.lin": ("norm1_context.linear",),
            "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "img_attn.norm.query_norm": ("attn.norm_q",),
            "img_attn.norm.key_norm": ("attn.norm_k",),
            "txt_attn.norm.query_norm": ("attn.norm_added_q",),
            "txt_attn.norm.key_norm": ("attn.norm_added_k",),
            "img_attn.proj": ("attn.to_out.0",),
            "txt_attn.proj": ("attn.to_add_out",),
            "img_mlp.0": ("ff.net.0.proj",),
            "img_mlp.2": ("ff.net.2",),
            "txt_mlp.0": ("ff_context.net.0.proj",),
            "txt_mlp.2": ("ff_context.net.2",),
        }.items()
    },
    **{
        f"single_blocks.*.{bfl}": tuple(f"single_transformer_blocks.*.{name}" for name in names)
        for bfl, names in {
            "modulation.lin": ("norm.linear",),
            "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
            "linear2": ("proj_out",),
            "norm.query_norm": ("attn.norm_q",),
            "norm.key_norm": ("attn.norm_k",),
        }.items()
    },
}
OWNERS = {name: bfl for bfl, names in MODULES.items() for name in names}


# ---------------------------------------------------------------- loading


def load_transformer(source: str | Path, **options: Any) -> MosaicTransformer:
    """From a hub id, a folder in diffusers' layout (of the model or of its transformer) or one BFL file.

    options are diffusers' (torch_dtype, quantization_config, revision, …); a file takes torch_dtype alone.
    """
    from mosaic.model.transformer import MosaicTransformer

    path = Path(source)
    if path.is_file():
        return _from_file(path, **options)
    if path.is_dir() and (path / "config.json").is_file():
        return MosaicTransformer.from_pretrained(path, **options)
    return MosaicTransformer.from_pretrained(source, subfolder="transformer", **options)


def _from_file(path: Path, torch_dtype: torch.dtype | None = None) -> MosaicTransformer:
    from mosaic.model.transformer import MosaicTransformer

    state = diffusers_names(load_file(path))
    with torch.device("meta"):
        model = MosaicTransformer(**config_of(state))
    model.load_state_dict(state, assign=True)
    return model.to(torch_dtype) if torch_dtype else model


def config_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config from the shapes of the weights (diffusers' names); rotary axes as FLUX.1's 1 : 3.5 : 3.5."""
    width, channels = state["x_embedder.weight"].shape
    head = state["transformer_blocks.0.attn.norm_q.weight"].shape[0]
    return {
        "in_channels": channels,
        "out_channels": state["proj_out.weight"].shape[0],
        "num_layers": _blocks(state, "transformer_blocks."),
        "num_single_layers": _blocks(state, "single_transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": state["context_embedder.weight"].shape[1],
        "pooled_projection_dim": state["time_text_embed.text_embedder.linear_1.weight"].shape[1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in state,
        "axes_dims_rope": (head // 8, head * 7 // 16, head * 7 // 16),
    }


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in state if key.startswith(prefix)), default=-1)


def lora_file(source: str | Path) -> Path:
    """A LoRA by file, by folder, by hub id (owner/name) or by a file in a hub repository (owner/name/file).

    ValueError if there is none, or more than one that could be meant.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return path / _one_lora([file.name for file in path.iterdir()], source)
    parts = str(source).split("/")
    if len(parts) < 2 or path.is_absolute() or parts[0] in ("", ".", ".."):
        raise ValueError(
            f"There is no LoRA {source}: give a .safetensors file, a folder or a hub id owner/name."
        )
    from huggingface_hub import hf_hub_download, list_repo_files

    repo = "/".join(parts[:2])
    name = "/".join(parts[2:]) or _one_lora(list_repo_files(repo), source)
    return Path(hf_hub_download(repo, name))


def _one_lora(names: list[str], source: str | Path) -> str:
    names = [name for name in names if name.endswith(".safetensors")]
    found = [name for name in LORA_NAMES if name in names] or names
    if not found:
        raise ValueError(f"{source} holds no .safetensors file.")
    if len(found) > 1:
        raise ValueError(f"{source} holds several LoRA files: name one of {', '.join(found)}.")
    return found[0]


# ---------------------------------------------------------------- base weights


def diffusers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Base weights by BFL's (or diffusers') names → by diffusers'. ValueError names an unknown key."""
    if "x_embedder.weight" in state:
        return dict(state)
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        module, leaf = _stripped(key).rsplit(".", 1)
        names, leaf = diffusers_modules(module), "weight" if leaf == "scale" else leaf
        parts = _slices(_swap(value) if module == SWAPPED else value, len(names))
        out |= {f"{name}.{leaf}": part for name, part in zip(names, parts, strict=True)}
    return out


def bfl_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Base weights by diffusers' names → by BFL's. ValueError names an unknown key, or one a fusion lacks."""
    out: dict[str, Tensor] = {}
    for key in state:
        name, leaf = key.rsplit(".", 1)
        module = bfl_module(name)
        names = diffusers_modules(module)
        value = torch.cat([_present(state, f"{each}.{leaf}") for each in names])
        leaf = "scale" if module.endswith(("query_norm", "key_norm")) else leaf
        out[f"{module}.{leaf}"] = _swap(value) if module == SWAPPED else value
    return out


# ---------------------------------------------------------------- LoRA


def diffusers_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A LoRA by BFL's names (or diffusers' already) → by diffusers', one low-rank pair a slice.

    A pair (A, B) on a fused matrix gives each slice A and its own rows of B; where B is block-diagonal, as
    `bfl_lora` writes it, each slice gets its own rank back. What it computes stays the same.
    """
    if not any(_stripped(key).startswith(("double_blocks.", "single_blocks.", "img_in.")) for key in state):
        return dict(state)
    out: dict[str, Tensor] = {}
    for key in state:
        module, side = _stripped(key).rsplit(".lora_", 1)
        names = diffusers_modules(module)
        down, up = (_present(state, f"{key.rsplit('.lora_', 1)[0]}.lora_{x}.weight") for x in "AB")
        pairs = _pairs(down, _swap(up) if module == SWAPPED else up, len(names))
        for name, pair in zip(names, pairs, strict=True):
            out[f"transformer.{name}.lora_{side}"] = pair["AB".index(side[0])]
    return out


def bfl_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A LoRA by diffusers' names → by BFL's: n pairs of rank r of a fused matrix become one of rank n·r.

    A is stacked, B is block-diagonal. ValueError names a key that a fused matrix lacks.
    """
    out: dict[str, Tensor] = {}
    for key in state:
        module = bfl_module(_stripped(key).rsplit(".lora_", 1)[0])
        names = diffusers_modules(module)
        downs, ups = ([_present(state, f"transformer.{n}.lora_{x}.weight") for n in names] for x in "AB")
        up = torch.block_diag(*ups)
        out[f"diffusion_model.{module}.lora_A.weight"] = torch.cat(downs)
        out[f"diffusion_model.{module}.lora_B.weight"] = _swap(up) if module == SWAPPED else up
    return out


def _pairs(down: Tensor, up: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    """(A, B) of a fused matrix of n slices → one pair a slice."""
    ups = _slices(up, n)
    rank, rest = divmod(len(down), n)
    blocks = [part.split(rank, dim=1) for part in ups] if n > 1 and not rest else []
    if blocks and not any(blocks[i][j].any() for i in range(n) for j in range(n) if i != j):
        return [(part, blocks[i][i]) for i, part in enumerate(down.split(rank))]
    return [(down.clone(), part) for part in ups]


# ---------------------------------------------------------------- names


def diffusers_modules(module: str) -> list[str]:
    """A BFL module → the diffusers modules it fuses. ValueError for a name FLUX does not have."""
    general, index = _general(module)
    if general not in MODULES:
        raise ValueError(f'"{module}" is not the name of a FLUX module.')
    return [name.replace("*", index) for name in MODULES[general]]


def bfl_module(module: str) -> str:
    """A diffusers module → the BFL module it is (a slice of). ValueError for a name FLUX does not have."""
    general, index = _general(module)
    if general not in OWNERS:
        raise ValueError(f'"{module}" is not the name of a FLUX module.')
    return OWNERS[general].replace("*", index)


def _general(module: str) -> tuple[str, str]:
    """The name with its block's index as *, and that index."""
    index = re.search(r"(?<=blocks\.)\d+", module)
    return re.sub(r"(?<=blocks\.)\d+", "*", module), index.group() if index else ""


def _stripped(key: str) -> str:
    for prefix in BFL_PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _present(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise ValueError(f'The weights lack the key "{key}".')
    return state[key]


def _slices(value: Tensor, n: int) -> list[Tensor]:
    """Rows of a fused matrix: alone, q·k·v in thirds, or q·k·v·MLP as 1 : 1 : 1 : 4."""
    shares = {1: (1,), 3: (1, 1, 1), 4: (1, 1, 1, 4)}[n]
    unit = len(value) // sum(shares)
    return [part.clone() for part in value.split([unit * share for share in shares])]


def _swap(value: Tensor) -> Tensor:
    """Exchange the two halves of the rows."""
    return torch.cat(value.chunk(2)[::-1])
