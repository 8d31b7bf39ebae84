"""SAM 2's pictures and masks against transformers' own processor, torchvision's two calls stood in for."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers.image_processing_backends as backends
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mosaic.perception import sam2

from .tiny import random_picture

SIDE = 128


def resize(image: Tensor, size: tuple[int, int], interpolation: str, antialias: bool) -> Tensor:
    """torchvision's resize of uint8 (…, C, H, W) where torch has a kernel for it: bilinear, whole levels."""
    assert image.dtype == torch.uint8 and interpolation == "bilinear"
    batch = image if image.ndim == 4 else image[None]
    large = functional.interpolate(batch, list(size), mode=interpolation, antialias=antialias)
    return large if image.ndim == 4 else large[0]


def normalize(image: Tensor, mean: Any, std: Any, inplace: bool = False) -> Tensor:
    mean, std = (torch.as_tensor(value).view(-1, 1, 1) for value in (mean, std))
    return (image - mean) / std


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """transformers' Sam2Processor; what it imports of torchvision beside the two calls is not used here."""
    names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[names[-1]].batched_nms = None  # type: ignore[attr-defined]
    modes = SimpleNamespace(BILINEAR="bilinear", LANCZOS="lanczos", BICUBIC="bicubic")
    calls = SimpleNamespace(
        resize=resize, normalize=normalize, InterpolationMode=modes, grayscale_to_rgb=lambda image: image
    )
    monkeypatch.setattr(backends, "tvF", calls, raising=False)
    monkeypatch.setattr(backends, "pil_torch_interpolation_mapping", {2: "bilinear"}, raising=False)
    module = importlib.import_module("transformers.models.sam2.image_processing_sam2")
    pictures = module.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    processing = importlib.import_module("transformers.models.sam2.processing_sam2")
    made = object.__new__(processing.Sam2Processor)  # its constructor wants torchvision itself
    made.image_processor, made.target_size, made.point_pad_value = pictures, SIDE, -10
    yield made
    sys.modules.pop("transformers.models.sam2.image_processing_sam2")


@pytest.mark.parametrize("size", [(60, 90), (200, 130), (SIDE, SIDE)])
def test_pixels_and_boxes_are_those_of_the_processor(processor: Any, size: tuple[int, int]) -> None:
    picture = random_picture(*size)
    boxes = np.array([[3.5, 4, 40, 50], [0, 0, size[1], size[0]]], np.float32)
    theirs = processor(images=picture, input_boxes=[boxes.tolist()], return_tensors="pt")
    ours = sam2.pixel_values([picture], SIDE)
    torch.testing.assert_close(ours, theirs["pixel_values"], rtol=0, atol=2e-6)
    torch.testing.assert_close(sam2.scaled_boxes(boxes, size, SIDE), theirs["input_boxes"], rtol=0, atol=1e-4)


def test_masks_are_those_of_the_processor(processor: Any) -> None:
    logits = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs = processor.post_process_masks([logits], [(60, 90)])[0]
    ours = sam2.full_masks(logits[:, 0], (60, 90))
    assert (ours == theirs[:, 0].numpy()).all()
    assert 0.3 < ours.mean() < 0.7


def test_the_resize_is_pillows_within_a_level() -> None:
    picture = random_picture(300, 200)
    ours = sam2.pixel_values([picture], SIDE)[0].permute(1, 2, 0).numpy()
    pillow = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    levels = (ours * sam2.IMAGENET_STD + sam2.IMAGENET_MEAN) * 255
    assert np.abs(levels - pillow).max() <= 1.01
    assert np.abs(levels - pillow).mean() < 0.1


def test_no_boxes_have_no_masks() -> None:
    assert sam2.full_masks(torch.zeros(0, 32, 32), (60, 90)).shape == (0, 60, 90)
