"""Freezes trained instruments: sets threshold and temperatures, writes weights and card.

Letters: N toys, A values of an attribute.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mosaic.toybox.instruments.look import crop
from mosaic.toybox.instruments.network import SHAPES, read_back, write
from mosaic.toybox.instruments.reading import Instruments, Settings, peaks
from mosaic.toybox.instruments.shots import ATTRIBUTES, COLOUR_OF, WORN_BY
from mosaic.toybox.instruments.training import Lesson

THRESHOLDS = tuple(round(0.1 + 0.05 * n, 2) for n in range(15))
TEMPERATURES = tuple(0.5 * 1.08**n for n in range(28))
NAMES = (*SHAPES, *COLOUR_OF.values())


def labels(lesson: Lesson, name: str) -> Tensor:
    """(N,) the true value of an attribute, -100 where it is the colour of something not worn."""
    label = lesson.identity[:, ATTRIBUTES.index(name)]
    if name in WORN_BY:
        label = torch.where(lesson.identity[:, ATTRIBUTES.index(WORN_BY[name])] > 0, label, -100)
    return label


@torch.inference_mode()
def temperatures(tools: Instruments, lessons: list[Lesson]) -> dict[str, float]:
    """For each attribute what its logits are divided by so that the labels are likeliest."""
    read = [tools.reader(*_crops(lesson)) for lesson in lessons]
    result = {}
    for name in NAMES:
        logits = torch.cat([r[name] for r in read])
        truth = torch.cat([labels(lesson, name) for lesson in lessons])
        losses = [float(cross_entropy(logits / t, truth)) for t in TEMPERATURES]
        result[name] = round(TEMPERATURES[int(np.argmin(losses))], 3)
    return result


def _crops(lesson: Lesson) -> tuple[Tensor, Tensor]:
    return crop(lesson.pictures, lesson.which, lesson.square), lesson.species


@torch.inference_mode()
def threshold(tools: Instruments, lessons: list[Lesson]) -> tuple[float, dict[str, float]]:
    """The confidence with the best F-score; a found toy is right if it overlaps a true one of its species."""
    scores = {}
    maps = [tools.detector(lesson.pictures) for lesson in lessons]
    for value in THRESHOLDS:
        right = found = real = 0
        for (heat, box), lesson in zip(maps, lessons, strict=True):
            which, boxes, species, _ = peaks(heat, box, value)
            fits = _overlap(boxes, lesson.box) >= 0.5
            fits &= (which[:, None] == lesson.which) & (species[:, None] == lesson.species)
            right, found, real = right + int(fits.any(0).sum()), found + len(which), real + len(lesson.which)
        scores[value] = 2 * right / (found + real)
    best = max(scores, key=lambda value: (scores[value], -value))
    return best, {str(value): round(score, 4) for value, score in scores.items()}


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    shared = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    area = shared.clamp(min=0).prod(-1)
    whole = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return area / (whole[0][:, None] + whole[1] - area)


@torch.inference_mode()
def accuracies(tools: Instruments, lessons: list[Lesson]) -> dict[str, float]:
    """The share of toys whose attribute is read rightly, hidden ones included."""
    read = [tools.read(lesson.pictures, lesson.which, lesson.box, lesson.species) for lesson in lessons]
    result = {}
    for name in NAMES:
        truth = torch.cat([labels(lesson, name) for lesson in lessons])
        right = torch.cat([r[name].argmax(1) for r in read]) == truth
        result[name] = round(float(right[truth >= 0].float().mean()), 4)
    return result


def freeze(weights: Path, lessons: list[Lesson], folder: Path, version: str) -> dict[str, object]:
    """Writes weights (half precision) and card of a version into the folder; returns the card."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{version}.safetensors"
    write(read_back(weights), kept, torch.float16)
    tools = Instruments(*read_back(kept), Settings(0.3, {}))
    best, scores = threshold(tools, lessons)
    card: dict[str, object] = {
        "version": version,
        "settings": {"threshold": best, "temperatures": temperatures(tools, lessons)},
        "f_score": scores,
        "accuracy": accuracies(tools, lessons),
        "parameters": {
            n: sum(p.numel() for p in getattr(tools, n).parameters()) for n in ("detector", "reader")
        },
        "sha256": hashlib.sha256(kept.read_bytes()).hexdigest(),
    }
    (folder / f"{version}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card
