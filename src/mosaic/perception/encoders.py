"""Pictures and sentences to vectors: CLIP, SigLIP, DINO, DINOv2, by hub id or folder.

    encoder = load_encoder("facebook/dinov2-base")
    encoder.pictures([picture, …])   # (N, D), unit length: a product of two is their cosine

What is done to a picture first belongs to the family, not to a file beside the weights: DINO's hub file
squeezes pictures to squares where the published measure crops. N pictures or sentences, D width, S pixels a
side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mosaic.perception.loading import config_of, load_model, opening
from mosaic.perception.sam2 import IMAGENET_MEAN, IMAGENET_STD
from mosaic.sample import Picture

THREADS = min(8, os.cpu_count() or 1)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

Vectors = NDArray[np.float32]  # (N, D), unit length


class Encoder(Protocol):
    """Vectors whose products are cosines."""

    name: str
    width: int

    def pictures(self, pictures: Sequence[Picture]) -> Vectors:
        """uint8 (H, W, 3) of any sizes → (N, D)."""
        ...

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Sentences → (N, D), beside the pictures' vectors. ValueError if the model reads none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a picture becomes the model's square: bicubic by Pillow in whole levels, then mean and spread.

    To the pixel what torchvision's Resize and CenterCrop do, with which CLIP, DINO and DINOv2 were published;
    transformers' processors crop one pixel to the left of it where 3 pixels in 4 are left over.
    """

    side: int
    shortest: int | None  # pixels of the shorter side before the crop; None: stretched to the square
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    def __call__(self, pictures: Sequence[Picture]) -> Tensor:
        """float32 (N, 3, S, S)."""
        with ThreadPoolExecutor(THREADS) as threads:  # Pillow resizes outside the interpreter's lock
            square = np.stack(list(threads.map(self._square, pictures)))
        mean, spread = np.array(self.mean, np.float32), np.array(self.spread, np.float32)
        values = (square.astype(np.float32) / 255 - mean) / spread
        return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()

    def _square(self, picture: Picture) -> Picture:
        image = Image.fromarray(picture)
        if self.shortest is None:
            return np.asarray(image.resize((self.side, self.side), Image.Resampling.BICUBIC))
        short = min(image.size)
        width, height = (int(self.shortest * side / short) for side in image.size)
        left, top = (
            round((width - self.side) / 2),
            round((height - self.side) / 2),
        )  # halves to the even pixel
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(image.crop((left, top, left + self.side, top + self.side)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What models of one architecture share."""

    model: str  # the class of transformers
    prepare: Callable[[Any], Preparation]
    vectors: Callable[[Any, Tensor], Tensor]  # model, pixels (N, 3, S, S) → (N, D)
    padding: str | bool | None = None  # of sentences; None: it reads none


def _projected(model: Any, pixels: Tensor) -> Tensor:
    return model.get_image_features(pixel_values=pixels).pooler_output


def _class_token(model: Any, pixels: Tensor) -> Tensor:
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def _clip(config: Any) -> Preparation:
    side = config.vision_config.image_size
    return Preparation(side=side, shortest=side, mean=CLIP_MEAN, spread=CLIP_STD)


def _siglip(config: Any) -> Preparation:
    return Preparation(side=config.vision_config.image_size, shortest=None, mean=HALF, spread=HALF)


def _dino(config: Any) -> Preparation:
    side = config.image_size
    return Preparation(side=side, shortest=side * 256 // 224, mean=IMAGENET_MEAN, spread=IMAGENET_STD)


def _dinov2(config: Any) -> Preparation:
    """At 256 → 224 as its hub file has it, whatever size it was trained at; whole patches."""
    side = 224 // config.patch_size * config.patch_size
    return Preparation(side=side, shortest=256, mean=IMAGENET_MEAN, spread=IMAGENET_STD)


FAMILIES = {  # by a configuration's model_type
    "clip": Family(model="CLIPModel", prepare=_clip, vectors=_projected, padding=True),
    "siglip": Family(model="SiglipModel", prepare=_siglip, vectors=_projected, padding="max_length"),
    "vit": Family(model="ViTModel", prepare=_dino, vectors=_class_token),
    "dinov2": Family(model="Dinov2Model", prepare=_dinov2, vectors=_class_token),
    "dinov2_with_registers": Family(model="Dinov2WithRegistersModel", prepare=_dinov2, vectors=_class_token),
}


class TransformersEncoder:
    """An `Encoder` of one of FAMILIES; `batch` pictures or sentences are on the device at a time."""

    def __init__(
        self, at: str | Path, *, device: str | None = None, dtype: str = "float32", batch: int = 32
    ) -> None:
        import transformers

        config = config_of(at)
        if config.model_type not in FAMILIES:
            raise ValueError(
                f"{at} is a {config.model_type} model: as an encoder give one of {', '.join(FAMILIES)}."
            )
        self._family = FAMILIES[config.model_type]
        more = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        self._model = load_model(getattr(transformers, self._family.model), at, device, dtype, **more)
        self._prepare = self._family.prepare(config)
        self._at, self._batch = at, batch
        self._tokenizer: Any = None
        self.name = str(at)
        self.width = _width(config)

    def pictures(self, pictures: Sequence[Picture]) -> Vectors:
        """(N, D), unit length."""
        return self._batched(pictures, lambda some: self._family.vectors(self._model, self._pixels(some)))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(N, D), unit length; what is longer than the model reads is cut."""
        if self._family.padding is None:
            raise ValueError(
                f"{self.name} encodes pictures alone: for sentences give a CLIP or SigLIP model."
            )
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self._at)
        return self._batched(texts, self._text_vectors)

    def _pixels(self, pictures: Sequence[Picture]) -> Tensor:
        return self._prepare(pictures).to(self._model.device, self._model.dtype)

    def _text_vectors(self, texts: Sequence[str]) -> Tensor:
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts),
            padding=self._family.padding,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(self._model.device)
        return self._model.get_text_features(**tokens).pooler_output

    @torch.inference_mode()
    def _batched(self, things: Sequence[Any], encode: Callable[[Sequence[Any]], Tensor]) -> Vectors:
        vectors = [
            encode(things[start : start + self._batch]).float()
            for start in range(0, len(things), self._batch)
        ]
        if not vectors:
            return np.zeros((0, self.width), np.float32)
        return torch.nn.functional.normalize(torch.cat(vectors), dim=-1).cpu().numpy()


def load_encoder(
    at: str | Path, *, device: str | None = None, dtype: str = "float32", batch: int = 32
) -> TransformersEncoder:
    """By hub id or folder. device: None, a GPU if there is one. ValueError for what is no such model."""
    return TransformersEncoder(at, device=device, dtype=dtype, batch=batch)


def _tokenizer(at: str | Path) -> Any:
    from transformers import AutoTokenizer

    with opening("The tokenizer", at):
        return AutoTokenizer.from_pretrained(str(at))


def _width(config: Any) -> int:
    if hasattr(config, "projection_dim"):
        return int(config.projection_dim)
    return int(getattr(config, "vision_config", config).hidden_size)
