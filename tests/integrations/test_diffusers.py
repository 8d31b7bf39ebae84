"""diffusers and ours: a custom pipeline of theirs, and what their FluxPipeline makes of our LoRA files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FluxPipeline
from fixtures_model import draw_subject, write_lora, write_model
from PIL import Image
from safetensors.torch import load_file

from mosaic.about import EMBEDDED
from mosaic.pipeline import MosaicPipeline, load
from mosaic.sample import Reference, Subject

FOLDER = Path(__file__).parents[2] / "integrations" / "diffusers"
PROMPT = "a photo of a bear and a robot on grass"
FEW = {"height": 64, "width": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("flux")
    model = write_model(root / "flux", guidance_embeds=True, default_size=64)
    return model, write_lora(model, root / "lora.safetensors", visibility="isolated", canvas_size=32)


@pytest.fixture(autouse=True)
def _own_module_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where diffusers copies a pipeline's file to."""
    cache = str(tmp_path_factory.mktemp("modules"))
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", cache)


def custom(model: Path) -> Any:
    return DiffusionPipeline.from_pretrained(model, custom_pipeline=str(FOLDER), trust_remote_code=True)


def flux(model: Path) -> Any:
    pipeline = FluxPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference(name: str, index: int) -> Reference:
    image = np.asarray(draw_subject(index))
    return Reference(subject=Subject(id=name, name=name), image=image, mask=image.min(axis=2) < 255)


def test_a_custom_pipeline_is_ours_under_their_names(made: tuple[Path, Path]) -> None:
    pipeline = custom(made[0])
    assert isinstance(pipeline, MosaicPipeline) and type(pipeline) is not MosaicPipeline
    pipeline.load_lora_weights(made[1].parent, weight_name=made[1].name)
    steps: list[tuple[int, float]] = []
    out = pipeline(
        PROMPT,
        {"bear": draw_subject(0), "robot": [draw_subject(1), draw_subject(2)]},
        num_inference_steps=3,
        guidance_scale=2.0,
        num_images_per_prompt=2,
        generator=torch.Generator().manual_seed(9),
        callback_on_step_end=lambda _, step, sigma, values: steps.append((step, sigma)),
        **FEW,
    )
    ours = load(*made)(
        PROMPT,
        [reference("bear", 0), reference("robot", 1), reference("robot", 2)],
        steps=3,
        guidance=2.0,
        count=2,
        seed=9,
        **FEW,
    )
    assert [np.array_equal(a, b) for a, b in zip(out.images, ours.images, strict=True)] == [True, True]
    assert [step for step, _ in steps] == [0, 1, 2] * 2


def test_the_embedded_model_opens_as_a_custom_pipeline() -> None:
    pipeline = custom(EMBEDDED)
    pipeline.load_lora_weights(EMBEDDED / "lora.safetensors")
    toy = Image.new("RGB", (64, 64), "white")
    toy.paste("red", (16, 16, 48, 48))
    given = {"references": {"mug": toy}, "num_inference_steps": 2}
    numbers = pipeline("a mug on grass", **given, output_type="np").images
    tensor = pipeline("a mug on grass", **given, output_type="pt").images
    assert numbers.shape == (1, 128, 128, 3) and tensor.shape == (1, 3, 128, 128)
    assert np.allclose(numbers[0], tensor[0].permute(1, 2, 0)) and 0 <= numbers.min() <= numbers.max() <= 1
    mask = np.asarray(toy).min(axis=2) < 255
    mug = Reference(subject=Subject(id="mug", name="mug"), image=np.asarray(toy), mask=mask)
    ours = load("embedded")("a mug on grass", [mug], steps=2).images[0]
    assert np.abs(numbers[0] * 255 - np.asarray(ours)).max() < 1e-3


def test_our_folders_say_they_are_flux(made: tuple[Path, Path]) -> None:
    """Without custom_pipeline diffusers opens them as its own FluxPipeline."""
    pipeline = DiffusionPipeline.from_pretrained(EMBEDDED, dtype=torch.float32)
    assert type(pipeline) is FluxPipeline
    call = {"height": 64, "width": 64, "num_inference_steps": 2, "max_sequence_length": 48}
    image = pipeline("a mug on sand", negative_prompt="", true_cfg_scale=2.0, **call).images[0]
    assert image.size == (64, 64)


@pytest.mark.slow
def test_a_model_is_loaded_without_a_word() -> None:
    """transformers would tell that torchvision is not there, which this project does not use."""
    program = [sys.executable, "-c", "import mosaic; mosaic.load()"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_wrong_output_type_is_refused(made: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="output_type"):
        custom(made[0])(PROMPT, output_type="latent")


# ---------------------------------------------------------------- our LoRA in plain diffusers


def picture(pipeline: Any, **options: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(4)
    call = {"num_inference_steps": 3, "guidance_scale": 3.5, "max_sequence_length": 16, "output_type": "np"}
    return pipeline(PROMPT, generator=generator, **FEW, **call, **options).images[0]


def test_plain_diffusers_loads_every_tensor_of_our_lora(made: tuple[Path, Path]) -> None:
    pipeline = flux(made[0])
    pipeline.load_lora_weights(made[1])
    theirs = {
        key.replace(".default_0.", "."): value
        for key, value in pipeline.transformer.state_dict().items()
        if ".lora_" in key
    }
    ours = {key.removeprefix("transformer."): value for key, value in load_file(made[1]).items()}
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in ours)


def test_plain_diffusers_puts_it_where_it_was_not_trained(made: tuple[Path, Path]) -> None:
    """It has no references, so the LoRA falls on text and target; ours leaves these on the base."""
    plain = picture(flux(made[0]))
    pipeline = flux(made[0])
    pipeline.load_lora_weights(made[1])
    assert np.abs(picture(pipeline) - plain).max() > 0.05
    ours = load(*made)(PROMPT, steps=3, guidance=3.5, seed=4, **FEW).images[0]
    assert np.abs(np.asarray(ours) / 255 - plain).max() < 0.5 / 255 + 1e-4
    pipeline.unload_lora_weights()
    assert np.array_equal(picture(pipeline), plain)


def test_plain_diffusers_takes_no_references(made: tuple[Path, Path]) -> None:
    with pytest.raises(TypeError, match="references"):
        picture(flux(made[0]), references=[draw_subject(0)])
