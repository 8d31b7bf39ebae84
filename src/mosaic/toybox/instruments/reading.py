"""The frozen instruments at work: pictures in, found toys out, each with what it looks like.

Letters: B pictures, N found toys of all pictures, M candidates, A attributes or values of one.
"""

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from mosaic.toybox.instruments.look import crop, squares
from mosaic.toybox.instruments.network import SHAPES, STRIDE, YAWS, Detector, Reader, read_back
from mosaic.toybox.instruments.shots import ATTRIBUTES, COLOUR_OF, SIZE, WORN_BY

FOLDER = Path(__file__).parents[2] / "models" / "toybox-instruments"
VERSION = "v2"
NAMES = (*SHAPES, *COLOUR_OF.values(), "yaw")  # what is read of a toy
APART = 5  # cells: no two toys are found in one window of this side


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Toys found in B pictures, the surest first; `logs` holds log-probabilities (N, A) by attribute."""

    which: Tensor  # (N,) long, the picture
    box: Tensor  # (N, 4) left, top, right, bottom in pixels of a 128 × 128 picture
    species: Tensor  # (N,) long
    confidence: Tensor  # (N,)
    logs: dict[str, Tensor]
    yaw: Tensor  # (N,) degrees, as the camera sees it

    def __len__(self) -> int:
        return len(self.which)

    def take(self, chosen: Tensor) -> Self:
        """Some of the toys, by index or mask."""
        plain = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "logs"}
        return type(self)(logs={name: value[chosen] for name, value in self.logs.items()}, **plain)


@dataclass(frozen=True, slots=True)
class Settings:
    """What was calibrated: the confidence a toy is found from, and what divides each attribute's logits."""

    threshold: float
    temperatures: dict[str, float]


class Instruments:
    """Detector and reader with their settings; `Instruments.load()` gives the frozen ones."""

    def __init__(self, detector: Detector, reader: Reader, settings: Settings) -> None:
        self.detector, self.reader, self.settings = detector.eval(), reader.eval(), settings

    @classmethod
    def load(cls, version: str = VERSION, folder: Path = FOLDER) -> Self:
        """The instruments of a version."""
        settings = json.loads((folder / f"{version}.json").read_text(encoding="utf-8"))["settings"]
        return cls(*read_back(folder / f"{version}.safetensors"), Settings(**settings))

    @torch.inference_mode()
    def look(self, pictures: Tensor, batch: int = 32) -> Found:
        """Every toy in pictures uint8 (B, H, W, 3) of any size; they are brought to 128 × 128."""
        parts = [self._look(chunk, start * batch) for start, chunk in enumerate(pictures.split(batch))]
        plain = {
            f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Found) if f.name != "logs"
        }
        return Found(logs={name: torch.cat([p.logs[name] for p in parts]) for name in parts[0].logs}, **plain)

    def _look(self, pictures: Tensor, first: int) -> Found:
        seen = at_size(pictures)
        heat, boxes = self.detector(seen)
        which, box, species, confidence = peaks(heat, boxes, self.settings.threshold)
        logs = self.read(seen, which, box, species)
        yaw = (logs.pop("yaw").exp() * torch.tensor(YAWS)).sum(1)
        return Found(which=which + first, box=box, species=species, confidence=confidence, logs=logs, yaw=yaw)

    def read(self, seen: Tensor, which: Tensor, box: Tensor, species: Tensor) -> dict[str, Tensor]:
        """Log-probabilities of attributes and yaw, for boxes (N, 4) in pictures (B, 3, 128, 128)."""
        logits, heat = self.reader(crop(seen, which, squares(box)), species), self.settings.temperatures
        return {name: (logits[name] / heat.get(name, 1.0)).log_softmax(1) for name in NAMES}


@lru_cache(maxsize=1)
def instruments() -> Instruments:
    """The frozen instruments, loaded once."""
    return Instruments.load()


def at_size(pictures: Tensor) -> Tensor:
    """Pictures uint8 (B, H, W, 3) as float (B, 3, 128, 128) in [−1, 1]."""
    seen = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    if seen.shape[-2:] != (SIZE, SIZE):
        seen = interpolate(seen, size=(SIZE, SIZE), mode="bilinear", antialias=True).clamp(-1, 1)
    return seen


def peaks(heat: Tensor, box: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Toys from the detector's maps: (which, box, species, confidence), by picture and falling confidence."""
    best, species = heat.float().sigmoid().max(1)
    top = (best == max_pool2d(best[:, None], APART, 1, APART // 2)[:, 0]) & (best >= threshold)
    which, row, column = top.nonzero(as_tuple=True)
    confidence = best[which, row, column]
    order = torch.argsort(which - confidence / 2, stable=True)
    which, row, column = which[order], row[order], column[order]
    offset, size = box.float()[which, :, row, column].split(2, 1)
    middle = (torch.stack([column, row], 1) + 0.5 + offset) * STRIDE
    half = size.clamp(-2, 4).exp() * STRIDE / 2
    return which, torch.cat([middle - half, middle + half], 1), species[which, row, column], confidence[order]


def identity_scores(logs: dict[str, Tensor], candidates: Tensor) -> Tensor:
    """Log-likelihood (N, M) of candidates (M, A): the sum over attributes; what is not worn has no colour."""
    total = torch.zeros(len(logs["primary"]), len(candidates))
    for index, name in enumerate(ATTRIBUTES):
        told = logs[name][:, candidates[:, index]]
        if name in WORN_BY:
            told = told * (candidates[:, ATTRIBUTES.index(WORN_BY[name])] > 0)
        total += told
    return total
