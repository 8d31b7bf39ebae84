"""An encoder that is made: what diffusers' AutoencoderKL computes is the projection, whatever its widths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from mosaic import toybox
from mosaic.training.autoencoder import AutoencoderRecipe, create, crops, train
from mosaic.training.principal import patches, principal_components, set_encoder
from mosaic.training.recipe import OptimiserSection, recipe_of


def recipe(**changes: object) -> AutoencoderRecipe:
    small = {"encoder": "principal", "parts": "decoder", "crop": 32, "subjects": (1, 2), "channels": 20}
    return AutoencoderRecipe.model_validate(small | {"widths": (16, 48, 56, 96), "groups": 8} | changes)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return crops(3, 0, 16, 64, (2,))


def by_numpy(pictures: torch.Tensor, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Deviations and directions of 8 × 8 patches, cut out in a loop, by singular values."""
    found = [
        picture[:, y : y + 8, x : x + 8].reshape(-1)
        for picture in pictures.double().numpy()
        for y in range(0, picture.shape[1], 8)
        for x in range(0, picture.shape[2], 8)
    ]
    seen = np.stack(found)
    _, values, directions = np.linalg.svd(seen - seen.mean(0), full_matrices=False)
    return values[:channels] / np.sqrt(len(seen) - 1), directions[:channels]


def test_components_are_those_of_a_singular_value_decomposition(pictures: torch.Tensor) -> None:
    deviations, directions = by_numpy(pictures, 12)
    made = principal_components(pictures, 12)
    rows = made.weight.double().numpy()
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(np.abs(np.sum(rows * directions, axis=1)), lengths, rtol=1e-5)
    evened = np.sqrt(deviations)  # a component's deviation after it was divided by its root
    np.testing.assert_allclose(lengths * deviations / evened, (lengths * deviations / evened)[0], rtol=1e-5)
    latents = patches(pictures) @ made.weight.T + made.bias
    assert abs(float(latents.mean())) < 1e-5 and float(latents.std()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("channels", "widths", "groups"),
    [(16, (32, 48, 64, 96), 16), (32, (16, 48, 64, 128), 8), (20, (16, 64, 64, 96), 4)],
)
def test_the_encoder_computes_the_projection(
    channels: int, widths: tuple[int, ...], groups: int, pictures: torch.Tensor
) -> None:
    made = principal_components(pictures, channels)
    vae = create(recipe(parts="all", encoder="trained", channels=channels, widths=widths, groups=groups))
    set_encoder(vae, made)
    shown = next(toybox.batches(4, subjects=2, batch=2)).target[:, :96]
    other = shown.permute(0, 3, 1, 2).float() / 127.5 - 1
    wanted = (patches(other) @ made.weight.T + made.bias).view(2, 12, 16, channels).permute(0, 3, 1, 2)
    with torch.no_grad():
        posterior = vae.encode(other).latent_dist
        rounded = vae.bfloat16().encode(other.bfloat16()).latent_dist.mean.float()
    torch.testing.assert_close(posterior.mean, wanted, atol=1e-3, rtol=0)
    assert float(posterior.std.max()) < 1e-3
    assert float((rounded - wanted).std()) < 0.01  # of latents that deviate by 1


def test_a_made_encoder_stays_as_it_was_made(tmp_path: Path) -> None:
    section = OptimiserSection(lr=1e-3, steps=2, batch=2, ema=0.9)
    asked = recipe(checkpoint=1, log=1, optimiser=section)
    train(asked, tmp_path)
    trained, made = AutoencoderKL.from_pretrained(tmp_path / "model"), create(asked)
    before, after = made.state_dict(), trained.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved and all(name.startswith("decoder.") for name in moved)
    assert (trained.config.scaling_factor, trained.config.shift_factor) == (1.0, 0.0)


def test_a_new_model_takes_the_channels_of_its_autoencoder(tmp_path: Path) -> None:
    from mosaic.training.embedded import create_model_folder

    create(recipe()).save_pretrained(tmp_path / "vae")
    tiny = {"heads": 1, "head_width": 16, "rope_axes": [4, 6, 6], "double_blocks": 1, "single_blocks": 1}
    asked = recipe_of({"model": {"create": tiny | {"vae": str(tmp_path / "vae")}}}).model.create
    folder = create_model_folder(tmp_path / "model", asked, ["bear"])
    from mosaic import MosaicPipeline

    assert MosaicPipeline.from_pretrained(folder).transformer.config.in_channels == 80


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"widths": (16, 48, 56, 56)}, "20 principal components fit an encoder"),
        ({"widths": (8, 48, 56, 96)}, "20 principal components fit an encoder"),
        ({"channels": 60, "widths": (16, 48, 64, 96)}, "not \\[16, 48, 64, 96\\]"),
        ({"channels": 200, "widths": (16, 48, 256, 512)}, "1 to 192 principal components, not 200"),
        ({"parts": "all"}, 'set parts = "decoder"'),
        ({"start": "runs/vae"}, "start names one, runs/vae"),
    ],
)
def test_mistakes_say_what_to_change(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        create(recipe(**change))
