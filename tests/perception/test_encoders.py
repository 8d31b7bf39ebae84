"""Encoders by the true classes from folders: pre-processing as transformers', vectors, texts, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from mosaic.perception.encoders import CLIP_MEAN, CLIP_STD, HALF, Preparation, load_encoder
from mosaic.perception.sam2 import IMAGENET_MEAN, IMAGENET_STD

from . import tiny
from .tiny import random_picture

SHARED = Path(__file__).parents[3] / "shared"
PICTURES = [random_picture(60, 90), random_picture(81, 40, 1), random_picture(33, 33, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("encoders")
    for name in ("clip", "siglip", "dino", "dinov2"):
        getattr(tiny, name)(root / name)
    return root


def test_preparations_are_those_of_transformers() -> None:
    clip = Preparation(side=32, shortest=32, mean=CLIP_MEAN, spread=CLIP_STD)
    siglip = Preparation(side=32, shortest=None, mean=HALF, spread=HALF)
    dinov2 = Preparation(side=28, shortest=36, mean=IMAGENET_MEAN, spread=IMAGENET_STD)
    crop = {"height": 28, "width": 28}
    theirs = [
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        BitImageProcessorPil(
            size={"shortest_edge": 36}, crop_size=crop, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
        ),
    ]
    for ours, processor in zip((clip, siglip, dinov2), theirs, strict=True):
        for picture in PICTURES:
            expected = processor(images=Image.fromarray(picture), return_tensors="pt").pixel_values
            torch.testing.assert_close(ours([picture]), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("height", range(30, 46))
def test_the_crop_is_torchvisions(height: int) -> None:
    """round((long - side) / 2) of the resized picture, whatever is left over."""
    picture = random_picture(height, 30)
    prepare = Preparation(side=28, shortest=28, mean=(0.0, 0.0, 0.0), spread=(1.0, 1.0, 1.0))
    long = int(28 * height / 30)
    resized = np.asarray(Image.fromarray(picture).resize((28, long), Image.Resampling.BICUBIC))
    top = round((long - 28) / 2.0)
    expected = resized[top : top + 28].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(prepare([picture])[0].numpy(), expected)


@pytest.mark.parametrize("name", ["clip", "siglip", "dino", "dinov2"])
def test_vectors_do_not_depend_on_the_batch(folder: Path, name: str) -> None:
    encoder = load_encoder(folder / name, batch=2)
    together = encoder.pictures(PICTURES)
    assert together.shape == (3, encoder.width) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for picture, vector in zip(PICTURES, together, strict=True):
        np.testing.assert_allclose(encoder.pictures([picture])[0], vector, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-4
    assert encoder.pictures([]).shape == (0, encoder.width)


def test_the_vector_is_the_models_own(folder: Path) -> None:
    """Literally: CLIP's projected features, DINOv2's class token after its last norm."""
    crop = {"height": 32, "width": 32}
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop)(
        images=Image.fromarray(PICTURES[0]), return_tensors="pt"
    ).pixel_values
    with torch.no_grad():
        model = CLIPModel.from_pretrained(folder / "clip").eval()
        clip = model.visual_projection(model.vision_model(pixels).pooler_output)[0].numpy()
    np.testing.assert_allclose(
        load_encoder(folder / "clip").pictures(PICTURES[:1])[0], clip / np.linalg.norm(clip), atol=1e-5
    )
    prepare = Preparation(side=224, shortest=256, mean=IMAGENET_MEAN, spread=IMAGENET_STD)
    with torch.no_grad():
        states = (
            Dinov2Model.from_pretrained(folder / "dinov2").eval()(prepare(PICTURES[:1])).last_hidden_state
        )
    token = states[0, 0].numpy()
    np.testing.assert_allclose(
        load_encoder(folder / "dinov2").pictures(PICTURES[:1])[0], token / np.linalg.norm(token), atol=1e-5
    )


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_texts_lie_beside_pictures(folder: Path, name: str) -> None:
    encoder = load_encoder(folder / name)
    long = "a red bear and the dog on grass " * 20
    vectors = encoder.texts(["a red bear", "the dog on grass", long])
    assert vectors.shape == (3, encoder.width)
    np.testing.assert_allclose(encoder.texts(["a red bear"])[0], vectors[0], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_mistakes_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"encodes pictures alone.*CLIP or SigLIP"):
        load_encoder(folder / "dinov2").texts(["a bear"])
    with pytest.raises(ValueError, match=r"cannot be loaded from .*nothing.*hub id, or a folder"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"is a sam2 model: as an encoder give one of clip"):
        load_encoder(tiny.sam2(tmp_path / "sam2"))
    (folder / "clip" / "model.safetensors").rename(tmp_path / "away")
    with pytest.raises(ValueError, match="A CLIPModel cannot be loaded"):
        load_encoder(folder / "clip")
    (tmp_path / "away").rename(folder / "clip" / "model.safetensors")
    with pytest.raises(ValueError, match='precision is "auto"'):
        load_encoder(folder / "clip", dtype="int3")


@pytest.mark.skipif(not (SHARED / "weights/dinov2-small-finetuned").is_dir(), reason="no real weights here")
def test_real_photographs_of_one_subject_are_nearer_than_of_two() -> None:
    encoder = load_encoder(SHARED / "weights/dinov2-small-finetuned", device="cpu")
    assert encoder.width == 384
    names = ("dog", "clock", "rc_car")
    photographs = []
    for name in names:
        files = sorted((SHARED / "benchmarks/dreambooth/dataset" / name).glob("*.jpg"))[:2]
        photographs += [np.asarray(Image.open(file).convert("RGB")) for file in files]
    if len(photographs) < 6:
        pytest.skip("no photographs here")
    vectors = encoder.pictures(photographs)
    similar = vectors @ vectors.T
    same = [similar[2 * i, 2 * i + 1] for i in range(3)]
    different = [similar[i, j] for i in range(6) for j in range(6) if i // 2 != j // 2]
    assert min(same) > np.mean(different)
    assert np.mean(same) > np.mean(different) + 0.2
