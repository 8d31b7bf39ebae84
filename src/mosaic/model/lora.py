"""LoRA on reference tokens alone: where it goes, how it is applied, and its file (diffusers' PEFT format).

PEFT holds the low-rank pairs beside the base layers, whatever class quantisation gave these; `routed` applies
a pair to the last tokens of a sequence only. Nothing is merged: text and target stay on the base weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mosaic.model.checkpoint import diffusers_lora
from mosaic.model.layout import Positions, Visibility

if TYPE_CHECKING:
    from mosaic.model.transformer import MosaicTransformer

ADAPTER = "mosaic"
PREFIX = "transformer."  # of every key in a LoRA file
TARGETS_KEY = "targets"  # metadata: which modules the file must hold


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSpec:
    """Rank (alpha = rank, so the scale is 1) and target modules; `*` stands for a block's index.

    targets None: the transformer's own `lora_targets`, those of the authors' release.
    """

    rank: int
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraMetadata:
    """How a LoRA must be run. The defaults are the authors' release, `assumed` where a file says nothing."""

    visibility: Visibility = Visibility.RELEASE
    positions: Positions = Positions.WIDTH
    reference_pooled: Literal["prompt", "null"] = "prompt"
    canvas: Literal["released", "letterbox"] = "released"
    canvas_size: int | None = None  # pixels a side; None: the target's size
    reference_time: float = 0.0  # the noise level and the guidance references stand at
    reference_guidance: float = 1.0
    base: str = ""  # the base model it belongs to
    recipe: str = ""
    commit: str = ""
    assumed: bool = False

    def __post_init__(self) -> None:
        """ValueError for a word that is not one of the field's."""
        object.__setattr__(self, "visibility", Visibility(self.visibility))
        object.__setattr__(self, "positions", Positions(self.positions))
        object.__setattr__(self, "reference_time", float(self.reference_time))  # text in a header
        object.__setattr__(self, "reference_guidance", float(self.reference_guidance))
        for name, words in (("reference_pooled", ("prompt", "null")), ("canvas", ("released", "letterbox"))):
            if getattr(self, name) not in words:
                raise ValueError(
                    f'LoRA metadata "{name}" must be one of {words}: "{getattr(self, name)}" is not.'
                )

    def to_strings(self) -> dict[str, str]:
        """For a safetensors header."""
        values = asdict(self) | {"canvas_size": self.canvas_size or ""}
        return {name: str(value) for name, value in values.items() if name != "assumed"}

    @classmethod
    def from_strings(cls, header: Mapping[str, str]) -> LoraMetadata:
        """From a safetensors header; without a `visibility` in it the authors' release is assumed."""
        if "visibility" not in header:
            return cls(assumed=True)
        known: dict[str, Any] = {f.name: header[f.name] for f in fields(cls) if f.name in header}
        size = known.pop("canvas_size", "")
        return cls(**known, canvas_size=int(size) if size else None)


# ---------------------------------------------------------------- routing


def routed(layer: nn.Module, x: Tensor, start: int) -> Tensor:
    """The base layer on all of x (B, L, in), its low-rank branches on x[:, start:] alone → (B, L, out)."""
    if not isinstance(layer, LoraLayer):
        return layer(x)
    y: Tensor = layer.get_base_layer()(x)
    if start >= x.shape[1] or layer.disable_adapters:
        return y
    adapted = y[:, start:]
    for name in layer.active_adapters:
        if name in layer.lora_A:
            low = _linear(layer.lora_B[name], _linear(layer.lora_A[name], x[:, start:]))
            adapted = adapted + low * layer.scaling[name]
    return torch.cat([y[:, :start], adapted], dim=1) if start else adapted


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """In x's dtype: the low-rank weights may be float32 masters under a bf16 base."""
    return layer(x) if layer.weight.dtype == x.dtype else F.linear(x, layer.weight.to(x.dtype))


# ---------------------------------------------------------------- adding, finding


def add_lora(
    transformer: MosaicTransformer, spec: LoraSpec, dtype: torch.dtype | None = torch.float32
) -> None:
    """Put low-rank pairs on the targets (A Gaussian, B zero) and freeze all else.

    dtype: the pairs'; None takes the base's. ValueError if a target names no module, or a LoRA is there.
    """
    if ADAPTER in getattr(transformer, "peft_config", {}):
        raise ValueError("The transformer has a LoRA already: remove it first (transformer.unload_lora()).")
    if spec.rank < 1:
        raise ValueError(f"The rank of a LoRA must be at least 1, not {spec.rank}.")
    names = module_names(transformer, spec.targets or transformer.lora_targets)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.rank,
        init_lora_weights="gaussian",
        target_modules="|".join(re.escape(name) for name in names),
    )
    transformer.requires_grad_(False)
    with transformer.device:
        transformer.add_adapter(config, ADAPTER)
    for parameter in lora_parameters(transformer):
        parameter.requires_grad_(True)
        parameter.data = parameter.data.to(dtype or parameter.dtype)


def lora_parameters(transformer: nn.Module) -> list[nn.Parameter]:
    """The low-rank weights, in the order of the modules."""
    return [p for name, p in transformer.named_parameters() if ".lora_A." in name or ".lora_B." in name]


def module_names(transformer: nn.Module, targets: Iterable[str]) -> list[str]:
    """Full names of the modules the targets mean. ValueError for a target that is no module's name."""
    names = [name for name, module in transformer.named_modules() if hasattr(module, "weight")]
    names += [name for name, module in transformer.named_modules() if isinstance(module, LoraLayer)]
    found: dict[str, None] = {}
    for target in targets:
        pattern = re.compile(re.escape(target).replace(r"\*", r"\d+"))
        matches = [name for name in names if pattern.fullmatch(name)]
        if not matches:
            raise ValueError(f'The LoRA target "{target}" names no module of this transformer.')
        found |= dict.fromkeys(matches)
    return list(found)


def base_state(_: nn.Module, state: dict[str, Tensor], *__: Any) -> None:
    """A state dict without LoRA, in place: the base weights by the names they have alone (a post-hook)."""
    for key in list(state):
        value = state.pop(key)
        if ".lora_" not in key:
            state[key.replace(".base_layer.", ".")] = value


# ---------------------------------------------------------------- files


def lora_state(transformer: nn.Module, adapter: str = ADAPTER) -> dict[str, Tensor]:
    """Low-rank weights by name: transformer.<module>.lora_A.weight (r, in), ….lora_B.weight (out, r)."""
    return {
        f"{PREFIX}{name}.lora_{side}.weight": getattr(layer, f"lora_{side}")[adapter].weight
        for name, layer in transformer.named_modules()
        if isinstance(layer, LoraLayer) and adapter in layer.lora_A
        for side in "AB"
    }


def save_lora(
    transformer: MosaicTransformer, path: str | Path, metadata: LoraMetadata, dtype: torch.dtype | None = None
) -> None:
    """Write the LoRA with its metadata as safetensors, whole or not at all. ValueError if there is none."""
    state = lora_state(transformer)
    if not state:
        raise ValueError("This transformer has no LoRA to save.")
    targets = sorted({re.sub(r"\.\d+\.", ".*.", _module_of(key), count=1) for key in state})
    header = metadata.to_strings() | {TARGETS_KEY: ",".join(targets), "format": "pt"}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    tensors = {key: value.detach().to("cpu", dtype or value.dtype) for key, value in state.items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, partial, metadata=header)
    partial.replace(path)


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """A LoRA's file, to read from. ValueError where there is none, or a broken one."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is broken ({error}): fetch it again.") from error


def load_lora(transformer: MosaicTransformer, path: str | Path) -> LoraMetadata:
    """Read a LoRA file into the transformer, in place of the one it has; the base stays as it is.

    Returns how it must be run. ValueError names a key that is missing, foreign or of a wrong shape.
    """
    with opened(path) as file:
        header: dict[str, str] = file.metadata() or {}
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    targets = tuple(header[TARGETS_KEY].split(",")) if TARGETS_KEY in header else None
    load_lora_state(transformer, state, targets)
    return LoraMetadata.from_strings(header)


def load_lora_state(
    transformer: MosaicTransformer, state: Mapping[str, Tensor], targets: tuple[str, ...] | None = None
) -> None:
    """As `load_lora`, from tensors. targets: the modules it must hold, by default the transformer's own."""
    state = diffusers_lora(state)
    check_lora_state(transformer, state, module_names(transformer, targets or transformer.lora_targets))
    if ADAPTER in getattr(transformer, "peft_config", {}):
        transformer.delete_adapters(ADAPTER)
    options = {"prefix": PREFIX[:-1], "adapter_name": ADAPTER, "low_cpu_mem_usage": True}
    transformer.load_lora_adapter(state, **options)
    transformer.set_adapter(ADAPTER)


def check_lora_state(transformer: nn.Module, state: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """ValueError for a missing or foreign key, or a shape that does not fit its module."""
    expected = {f"{PREFIX}{name}.lora_{side}.weight" for name in names for side in "AB"}
    missing, foreign = expected - state.keys(), state.keys() - expected
    for problem, keys in (("lacks the key", missing), ("has the foreign key", foreign)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ValueError(f'This LoRA does not fit the transformer: it {problem} "{min(keys)}"{more}.')
    for key in (key for key in state if ".lora_A." in key):
        layer: Any = transformer.get_submodule(_module_of(key))
        base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        down, up = (tuple(state[k].shape) for k in (key, key.replace(".lora_A.", ".lora_B.")))
        if (down[1:], up[:1], up[1:]) != ((base.in_features,), (base.out_features,), down[:1]):
            shapes = f"{down} and {up}, not (r, {base.in_features}) and ({base.out_features}, r)"
            raise ValueError(f'This LoRA does not fit the transformer: "{key}" and its pair are {shapes}.')


def _module_of(key: str) -> str:
    return key.removeprefix(PREFIX).rsplit(".lora_", 1)[0]
