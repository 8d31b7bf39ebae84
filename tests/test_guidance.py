"""How passes are combined, and what is chosen where nothing is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_model import draw_subject, write_lora, write_model
from hypothesis import given
from hypothesis import strategies as st

from mosaic.geometry import Grid
from mosaic.pipeline import MosaicPipeline, load
from mosaic.pipeline.guidance import combine
from mosaic.pipeline.latents import noise_of
from mosaic.sample import Reference, Subject

PROMPT = "a photo of a bear and a robot on grass"
FEW = {"steps": 3, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    two_pass = write_model(root / "two-pass", default_size=64, default_steps=3, default_guidance=2.0)
    return {
        "two-pass": two_pass,
        "embedded": write_model(root / "embedded", guidance_embeds=True),
        "few-steps": write_model(root / "few-steps", shifting=False),
        "release": write_lora(two_pass, root / "release.safetensors", canvas_size=32),
    }


@pytest.fixture(scope="module")
def release(folders: dict[str, Path]) -> MosaicPipeline:
    return load(folders["two-pass"], folders["release"])


def reference(index: int, name: str = "bear", side: int = 96) -> Reference:
    image = np.asarray(draw_subject(index, side))
    return Reference(subject=Subject(id=name, name=name), image=image, mask=image.min(axis=2) < 255)


def test_guidance_by_two_passes_is_skipped_at_one(release: MosaicPipeline) -> None:
    encoded = release.encode_references([reference(0)], (64, 64))
    assert release.plan(PROMPT, encoded, guidance=1.0).empty is None
    plan = release.plan(PROMPT, encoded, guidance=2.0)
    assert plan.empty is not None
    assert plan.empty.layout.references == ()


def test_reference_guidance_of_one_changes_nothing(release: MosaicPipeline) -> None:
    encoded = release.encode_references([reference(0)], (64, 64))
    noise = noise_of(0, Grid(4, 4))
    plans = [
        release.plan(PROMPT, encoded, guidance=1.0, reference_guidance=weight) for weight in (None, 1.0, 2.0)
    ]
    with torch.no_grad():
        plain, one, two = (plan.velocity(release.transformer, noise, 0.5)[0] for plan in plans)
        text = plans[1].text.run(release.transformer, noise, 0.5, None).velocity
    assert torch.allclose(plain, one, atol=1e-5)
    assert torch.allclose(two, text + 2 * (plain - text), atol=1e-5)


@given(st.floats(0, 20), st.floats(0, 20))
def test_combine_is_the_formula(guidance: float, reference_guidance: float) -> None:
    full, text, empty = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    combined = combine(full, text, empty, guidance, reference_guidance)
    literal = empty + guidance * (text - empty) + reference_guidance * (full - text)
    assert torch.allclose(combined, literal)
    assert torch.allclose(
        combine(full, None, empty, guidance), combine(full, text, empty, guidance, guidance)
    )
    assert combine(full, None, None, guidance) is full


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 60}, "multiples of 16"),
        ({"height": -16}, "multiples of 16"),
        ({"width": 8192}, "at most 4096"),
        ({"steps": 0}, "steps"),
        ({"steps": -3}, "steps"),
        ({"steps": 10**6}, "steps"),
        ({"guidance": -1.0}, "Guidance"),
        ({"guidance": float("nan")}, "Guidance"),
        ({"reference_guidance": 1e9}, "Guidance"),
        ({"count": 0}, "number of pictures"),
        ({"canvas": "square"}, "canvas"),
        ({"canvas_size": 50}, "multiples of 16"),
        ({"visibility": "none"}, "visibility"),
        ({"positions": "none"}, "positions"),
    ],
)
def test_values_that_make_no_picture(release: MosaicPipeline, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){message}"):
        release(PROMPT, [reference(0)], **FEW | options)


def test_defaults_come_from_the_folder(folders: dict[str, Path]) -> None:
    plan = load(folders["two-pass"]).plan(PROMPT)
    assert (len(plan.sigmas), plan.guidance, plan.full.layout.target) == (4, 2.0, Grid(4, 4))
    plan = load(folders["embedded"]).plan(PROMPT)
    assert (len(plan.sigmas), plan.guidance, plan.full.layout.target) == (29, 3.5, Grid(32, 32))
    plan = load(folders["few-steps"]).plan(PROMPT)
    assert (len(plan.sigmas), plan.guidance, plan.empty) == (5, 1.0, None)
