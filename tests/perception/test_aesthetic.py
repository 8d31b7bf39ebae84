"""The aesthetic head: the published file's names and shape, on the encoder's unit vectors."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mosaic.perception.aesthetic import AestheticPredictor, aesthetic_head
from mosaic.perception.encoders import TransformersEncoder, load_encoder

from . import tiny

NAMES = [f"scoring_head.{layer}.{kind}" for layer in (0, 2, 4, 6, 8) for kind in ("weight", "bias")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TransformersEncoder:
    return load_encoder(tiny.siglip(tmp_path_factory.mktemp("siglip")))


def published(width: int) -> dict[str, torch.Tensor]:
    sizes = [width, 1024, 128, 64, 16, 1]
    random = torch.Generator().manual_seed(0)
    shapes = [shape for a, b in pairwise(sizes) for shape in ((b, a), (b,))]
    return {name: torch.randn(shape, generator=random) for name, shape in zip(NAMES, shapes, strict=True)}


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_the_published_file_scores_as_its_layers_say(
    encoder: TransformersEncoder, tmp_path: Path, ending: str
) -> None:
    state, file = published(encoder.width), tmp_path / f"head{ending}"
    if ending == ".pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    pictures = [tiny.random_picture(50, 70, seed) for seed in range(3)]
    values = torch.from_numpy(encoder.pictures(pictures))
    for layer in (0, 2, 4, 6, 8):
        values = values @ state[f"scoring_head.{layer}.weight"].T + state[f"scoring_head.{layer}.bias"]
    scores = AestheticPredictor(encoder, file)(pictures)
    np.testing.assert_allclose(scores, values[:, 0].numpy(), rtol=2e-5, atol=1e-2)


def test_the_true_width_has_the_published_number_of_weights() -> None:
    assert sum(weight.numel() for weight in aesthetic_head(1152).parameters()) == 1_321_185


def test_another_head_is_refused_in_one_sentence(encoder: TransformersEncoder, tmp_path: Path) -> None:
    save_file(published(encoder.width + 1), tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match="head of the aesthetic score cannot be loaded"):
        AestheticPredictor(encoder, tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"cannot be loaded from .*away"):
        AestheticPredictor(encoder, tmp_path / "away.pth")
