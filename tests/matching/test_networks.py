"""The real classes of transformers and diffusers, tiny and random, saved and loaded by path; real weights."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mosaic.matching.dift import FluxDift, StableDiffusionDift
from mosaic.matching.dino import Dino
from mosaic.matching.diysc import Refiner, convert, load_refiner
from mosaic.matching.features import canvas_of
from mosaic.matching.kinds import EMBEDDED, make_extractor, parse
from tests import fixtures_model

SHARED = Path(__file__).parents[3] / "shared" / "weights"
REFINER = SHARED / "diy-sc" / "dinov2-base-768.pth"
REAL_DINO = SHARED / "dinov2-small-finetuned"
PICTURE = (np.random.default_rng(0).random((40, 56, 3)) * 255).astype(np.uint8)


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------- vision transformers


@pytest.fixture(scope="module")
def dino_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("dino")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    three = DINOv3ViTConfig(**size, intermediate_size=64, patch_size=8, num_register_tokens=4, image_size=32)
    registers = Dinov2WithRegistersConfig(**size, patch_size=14, num_register_tokens=4, image_size=56)
    return {
        "dinov2": saved(Dinov2Model(Dinov2Config(**size, patch_size=14, image_size=56)), root / "two"),
        "registers": saved(Dinov2WithRegistersModel(registers), root / "registers"),
        "dinov3": saved(DINOv3ViTModel(three), root / "three"),
    }


@pytest.mark.parametrize("kind", ["dinov2", "registers", "dinov3"])
def test_a_vision_transformer_gives_its_patches(kind: str, dino_folders: dict[str, Path]) -> None:
    from transformers import AutoModel

    extract = Dino(dino_folders[kind], layer=1, patches=4)
    found = extract(PICTURE)
    assert (found.grid.height, found.grid.width, found.values.shape) == (4, 4, (16, 32))
    model = AutoModel.from_pretrained(dino_folders[kind], dtype=torch.float32).eval()
    canvas, _ = canvas_of(PICTURE, 4 * model.config.patch_size)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (canvas - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        hidden = model(pixels, output_hidden_states=True).hidden_states[1][0]
    patches = hidden[len(hidden) - 16 :]
    torch.testing.assert_close(found.values, patches / patches.norm(dim=1, keepdim=True))


def test_layers_and_tokens_beyond_the_network(dino_folders: dict[str, Path]) -> None:
    assert Dino(dino_folders["dinov2"], patches=2, tokens=6)(PICTURE).grid.width == 6
    with pytest.raises(ValueError, match="layers 0 to 2, so no layer 5"):
        Dino(dino_folders["dinov2"], layer=5)
    with pytest.raises(ValueError, match="nowhere"):
        Dino("nowhere/at-all")


# ---------------------------------------------------------------- DIY-SC


def literal_refiner(state: dict[str, torch.Tensor], x: np.ndarray) -> np.ndarray:
    """The bottleneck in NumPy: x (C, h, w)."""

    def normed(v: np.ndarray, name: str) -> np.ndarray:
        groups = v.reshape(32, -1)
        groups = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)
        weight, bias = (state[f"{name}.norm.{end}"].numpy()[:, None, None] for end in ("weight", "bias"))
        return groups.reshape(v.shape) * weight + bias

    def convolved(v: np.ndarray, name: str) -> np.ndarray:
        kernel = state[f"{name}.weight"].double().numpy()
        edge = kernel.shape[-1] // 2
        wide = np.pad(v, ((0, 0), (edge, edge), (edge, edge)))
        out = np.zeros((kernel.shape[0], *v.shape[1:]))
        for i in range(kernel.shape[-1]):
            for j in range(kernel.shape[-1]):
                moved = wide[:, i : i + v.shape[1], j : j + v.shape[2]]
                out += np.einsum("oc,chw->ohw", kernel[:, :, i, j], moved)
        return normed(out, name)

    prefix = "bottleneck_layers.0.0.conv"
    narrow = np.maximum(convolved(x, f"{prefix}1"), 0)
    narrow = np.maximum(convolved(narrow, f"{prefix}2"), 0)
    return np.maximum(x + convolved(narrow, f"{prefix}3"), 0)


def published(folder: Path, channels: int = 64, narrow: int = 32) -> tuple[Path, dict[str, torch.Tensor]]:
    """A .pth as the authors write it, of random numbers."""
    torch.manual_seed(1)
    state = {
        "logit_scale": torch.ones([]),
        "self_logit_scale": torch.ones([]),
        "mixing_weights": torch.ones(1),
    }
    shapes = {1: (narrow, channels, 1, 1), 2: (narrow, narrow, 3, 3), 3: (channels, narrow, 1, 1)}
    for number, shape in shapes.items():
        name = f"bottleneck_layers.0.0.conv{number}"
        state[f"{name}.weight"] = torch.randn(shape) * 0.2
        state[f"{name}.norm.weight"], state[f"{name}.norm.bias"] = torch.rand(shape[0]), torch.randn(shape[0])
    torch.save(state, folder / "best.pth")
    return folder / "best.pth", state


def test_the_refiner_is_the_literal_bottleneck(tmp_path: Path) -> None:
    path, state = published(tmp_path)
    x = torch.randn(1, 64, 5, 4)
    found = load_refiner(path)(x)[0].double().numpy()
    np.testing.assert_allclose(found, literal_refiner(state, x[0].double().numpy()), atol=1e-4)


def test_conversion_keeps_every_number(tmp_path: Path) -> None:
    path, _ = published(tmp_path)
    convert(path, tmp_path / "refiner.safetensors")
    assert set(load_file(tmp_path / "refiner.safetensors")) == set(Refiner(64, 32).state_dict())
    x = torch.randn(1, 64, 3, 3)
    torch.testing.assert_close(load_refiner(tmp_path / "refiner.safetensors")(x), load_refiner(path)(x))


def test_files_that_are_no_refiner_are_refused(tmp_path: Path, dino_folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="There is no DIY-SC refiner"):
        load_refiner(tmp_path / "none.pth")
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="holds no DIY-SC refiner"):
        load_refiner(tmp_path / "other.pth")
    path, _ = published(tmp_path)
    with pytest.raises(ValueError, match="refines 64 channels and the model has 32"):
        Dino(dino_folders["dinov2"], refiner=path)


@pytest.mark.skipif(not REFINER.is_file(), reason="DIY-SC's weights are not there")
def test_the_real_refiner_is_the_literal_bottleneck() -> None:
    state = torch.load(REFINER, map_location="cpu", weights_only=True)
    x = torch.randn(1, 768, 4, 4, generator=torch.Generator().manual_seed(0))
    found = load_refiner(REFINER)(x)[0].double().numpy()
    assert sum(p.numel() for p in load_refiner(REFINER).parameters()) == 628_995 - 3
    np.testing.assert_allclose(found, literal_refiner(state, x[0].double().numpy()), atol=1e-3)


@pytest.mark.skipif(not REAL_DINO.is_dir(), reason="the DINOv2 weights are not there")
def test_real_features_find_a_picture_flipped_places_again() -> None:
    extract = Dino(REAL_DINO, layer=9, patches=8)
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((14, 14, 1))).astype(np.uint8)
    here, there = extract(picture), extract(picture[:, ::-1].copy())
    found = (here.values @ there.values.T).argmax(1).numpy()
    mirrored = np.arange(64).reshape(8, 8)[:, ::-1].ravel()
    assert (found == mirrored).mean() > 0.5


# ---------------------------------------------------------------- DIFT


@pytest.fixture(scope="module")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = fixtures_model.tokenizer(start=True)
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=16,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, sample_size=8,
        attention_head_dim=4, cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=CLIPTextModel(text), tokenizer=tokenizer,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return saved(pipe, tmp_path_factory.mktemp("sd"))


def test_sd_features_are_those_of_the_noised_picture(sd_folder: Path) -> None:
    from diffusers import StableDiffusionPipeline

    extract = StableDiffusionDift(sd_folder, side=64, timestep=261, block=0, draws=2)
    found = extract(PICTURE)
    pipe = StableDiffusionPipeline.from_pretrained(sd_folder, safety_checker=None, dtype=torch.float32)
    canvas, _ = canvas_of(PICTURE, 64)
    outputs: list[torch.Tensor] = []
    pipe.unet.up_blocks[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        latents = pipe.vae.encode(canvas * 2 - 1).latent_dist.mean * pipe.vae.config.scaling_factor
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        noisy = pipe.scheduler.add_noise(latents.expand(2, -1, -1, -1), noise, torch.tensor([261]))
        text = pipe.encode_prompt("", "cpu", 1, False)[0].expand(2, -1, -1)
        pipe.unet(noisy, 261, encoder_hidden_states=text)
    wanted = outputs[0].mean(0).flatten(1).T
    torch.testing.assert_close(found.values, wanted / wanted.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)
    assert found.grid.width == 8
    torch.testing.assert_close(extract(PICTURE).values, found.values)


def test_sd_blocks_and_folders_that_are_not_there(sd_folder: Path) -> None:
    with pytest.raises(ValueError, match="up blocks 0 to 1, so no block 3"):
        StableDiffusionDift(sd_folder, block=3)
    with pytest.raises(ValueError, match="nowhere"):
        StableDiffusionDift("nowhere/at-all")


@functools.cache
def embedded(block: int) -> FluxDift:
    return FluxDift(EMBEDDED, side=64, sigma=0.3, block=block, draws=2)


@pytest.mark.parametrize("block", [1, -1])
def test_flux_features_are_those_of_the_noised_picture(block: int) -> None:
    """mosaic-tiny is FLUX in diffusers' own folder layout: against the full pass, by diffusers."""
    from diffusers import FluxPipeline

    found = embedded(block)(PICTURE)
    pipe = FluxPipeline.from_pretrained(EMBEDDED, dtype=torch.float32)
    canvas, _ = canvas_of(PICTURE, 64)
    outputs: list[torch.Tensor] = []
    blocks = [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks]
    blocks[block].register_forward_hook(lambda module, inputs, output: outputs.append(output[-1]))
    with torch.no_grad():
        config = pipe.vae.config
        clean = (
            pipe.vae.encode(canvas * 2 - 1).latent_dist.mean - config.shift_factor
        ) * config.scaling_factor
        noise = torch.randn(2, *clean.shape[1:], generator=torch.Generator().manual_seed(0))
        packed = pipe._pack_latents(0.7 * clean + 0.3 * noise, 2, clean.shape[1], 8, 8)
        text, pooled, ids = pipe.encode_prompt("", "", device="cpu")
        pipe.transformer(
            packed,
            encoder_hidden_states=text.expand(2, -1, -1),
            pooled_projections=pooled.expand(2, -1),
            timestep=torch.full((2,), 0.3),
            img_ids=pipe._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32),
            txt_ids=ids,
        )
    wanted = outputs[0][:, -16:].mean(0)
    torch.testing.assert_close(found.values, wanted / wanted.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)
    assert (found.grid.height, found.grid.width) == (4, 4)


# ---------------------------------------------------------------- by name


def test_features_are_named_by_words(tmp_path: Path, dino_folders: dict[str, Path]) -> None:
    assert parse("gradients").kind == "gradients"
    assert parse(f"dino={dino_folders['dinov2']}").model == str(dino_folders["dinov2"])  # type: ignore[union-attr]
    assert make_extractor([parse("gradients"), parse("gradients")]).name == "gradients + gradients"
    for word, told in (("eyes", "gradients, dino"), ("gradients=3", "take no value")):
        with pytest.raises(ValueError, match=told):
            parse(word)
    with pytest.raises(ValueError, match="at least one"):
        make_extractor([])
