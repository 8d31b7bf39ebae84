"""A renderer that costs nothing, and a recipe small enough for one thread."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WORDS = ("a", "bear", "duck", "and", "on", "grass")


@dataclass
class FakeBatch:
    target: Tensor
    references: Tensor
    reference: Tensor
    point: Tensor
    valid: Tensor
    captions: list[str]
    detailed_captions: list[str]


def fake_batches(
    seed: int, *, subjects: int, size: int, reference_size: int, batch: int, split: str
) -> Iterator[FakeBatch]:
    """Noise with three points a reference, the last of them padding."""
    while True:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, subjects, 3)
        yield FakeBatch(
            target=torch.randint(256, (batch, size, size, 3), generator=generator, dtype=torch.uint8),
            references=torch.randint(
                256,
                (batch, subjects, reference_size, reference_size, 3),
                generator=generator,
                dtype=torch.uint8,
            ),
            reference=torch.randint((reference_size // 16) ** 2, shape, generator=generator),
            point=torch.randint((size // 16) ** 2, shape, generator=generator),
            valid=torch.tensor([True, True, False]).expand(shape).clone(),
            captions=["a bear and a duck"] * batch,
            detailed_captions=["a bear on grass"] * batch,
        )
        seed += 1


TINY: dict[str, Any] = {
    "model": {
        "dtype": "float32",
        "create": {
            "heads": 2,
            "head_width": 16,
            "double_blocks": 1,
            "single_blocks": 1,
            "rope_axes": [4, 6, 6],
            "t5_width": 32,
            "t5_layers": 1,
            "clip_width": 32,
            "clip_layers": 1,
            "text_length": 8,
            "words": WORDS,
        },
    },
    "train": {"parameters": "base"},
    "lora": {"rank": 4},
    "data": {
        "subjects": {1: 1, 2: 1},
        "samples": 8,
        "shard": 4,
        "size": 32,
        "reference_size": 32,
        "points": 4,
    },
    "optimiser": {"lr": 1e-3, "steps": 6, "batch": 2},
    "output": {"log": 1, "checkpoint": 2},
}


def write_start(folder: Path) -> Path:
    """A random model folder with weights of every kind, so that no gradient is zero by construction."""
    from mosaic.model.transformer import MosaicTransformer
    from mosaic.training.embedded import create_model_folder
    from mosaic.training.recipe import CreateSection

    create_model_folder(folder, CreateSection(**TINY["model"]["create"]), WORDS)
    transformer = MosaicTransformer.from_pretrained(folder / "transformer")
    torch.manual_seed(0)
    for parameter in transformer.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    transformer.save_pretrained(folder / "transformer")
    return folder
