"""paint: a true diffusers pipeline from a folder, a seed a record."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from mosaic.curation.diffusers_backends import LICENCES
from mosaic.curation.rows import Outcome, Work
from mosaic.curation.stages.paint import Section, make
from mosaic.data.shards import picture_of

from .pipelines import flux
from .works import record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux(tmp_path_factory.mktemp("flux") / "model")


def section(folder: Path, **more: Any) -> Section:
    usual = {"model": str(folder), "width": 48, "height": 32, "steps": 2, "device": "cpu"}
    return Section(**(usual | {"arguments": {"guidance_scale": 3.5, "max_sequence_length": 16}} | more))


def painted(outcomes: list[Outcome]) -> list[np.ndarray]:
    return [picture_of(outcome.files["target.webp"]) for outcome in outcomes]


def test_a_record_is_what_the_pipeline_paints_of_its_seed(folder: Path) -> None:
    works = [Work(record=record(seed)) for seed in (5, 2**63 - 1)]
    outcomes = list(make(section(folder))(works))
    assert [outcome.id for outcome in outcomes] == [work.id for work in works]
    assert all(outcome.status == "done" and set(outcome.files) == {"target.webp"} for outcome in outcomes)
    pipeline = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for work, picture in zip(works, painted(outcomes), strict=True):
        expected = pipeline(
            work.record.detailed_caption,
            height=32,
            width=48,
            num_inference_steps=2,
            guidance_scale=3.5,
            max_sequence_length=16,
            generator=torch.Generator().manual_seed(work.record.seed),
            output_type="np",
        ).images[0]
        assert picture.shape == (32, 48, 3)
        assert np.abs(picture - expected * 255).max() <= 0.51
    first, second = painted(outcomes)
    assert np.abs(first.astype(float) - second).mean() > 1


def test_bytes_do_not_depend_on_company(folder: Path) -> None:
    stage = make(section(folder, quality=90))
    works = [Work(record=record(seed)) for seed in (1, 2)]
    together = [outcome.files for outcome in stage(works)]
    assert [stage([work])[0].files for work in works] == together
    assert make(section(folder, quality=90))(works[1:])[0].files == together[1]


def test_who_made_it_by_which_licence(folder: Path) -> None:
    facts = make(section(folder))([Work(record=record())])[0].facts["paint"]
    assert facts == {"by": str(folder), "licence": "not stated: set licence in the recipe"}
    stated = make(section(folder, licence="Apache-2.0"))([Work(record=record())])[0].facts["paint"]
    assert stated["licence"] == "Apache-2.0"
    assert "Non-Commercial" in LICENCES[Section().model]


def test_mistakes_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"A diffusers pipeline cannot be loaded from .*none"):
        make(section(tmp_path / "none"))
    with pytest.raises(ValueError, match="FluxPipeline knows no argument guidance: take it out"):
        make(section(folder, arguments={"guidance": 2.0}))
    with pytest.raises(ValueError, match="there is none"):
        make(section(folder, offload="model"))
    with pytest.raises(ValueError, match="'toybox' or 'diffusers'"):
        section(folder, kind="brush")


def test_a_picture_of_nan_is_an_error_not_black(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make(section(folder))
    vae = stage._painter._pipeline.vae
    monkeypatch.setattr(vae.config, "scaling_factor", float("nan"))
    with pytest.raises(ValueError, match="painted no numbers: try dtype"):
        stage([Work(record=record())])
