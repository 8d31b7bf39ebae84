"""judge: scores of pixels, of the aesthetic head, of a vision-language model; failures are said."""

import json
from pathlib import Path

import numpy as np
import openai._base_client
import pytest
import torch
from perception import tiny
from perception.stub_server import StubServer, reply, status
from safetensors.torch import save_file

from mosaic.curation.rows import Work
from mosaic.curation.stages.judge import AestheticSection, Section, VisionSection, make
from mosaic.curation.verdicts import Bounds, verdict
from mosaic.data.shards import webp_of
from mosaic.perception.aesthetic import aesthetic_head
from mosaic.perception.duplicates import hamming, perceptual_hash

from .works import painted, record, target

PIXELS = {"judge/sharpness", "judge/exposure", "judge/unclipped", "judge/colours"}


def test_pixels_alone_need_nothing() -> None:
    outcome = make(Section())([painted()])[0]
    assert set(outcome.scores) == PIXELS and outcome.status == "done" and not outcome.files
    assert outcome.facts["judge"]["by"] == "pixels"
    value = int(outcome.facts["judge"]["hash"], 16)
    assert hamming(value, perceptual_hash(target()[0])) == 0


def test_one_colour_is_rejected_by_thresholds_that_keep_a_picture() -> None:
    empty = Work(record=record(1), files={"target.webp": webp_of(np.full((64, 96, 3), 120, np.uint8))})
    thresholds = {"judge/sharpness": Bounds(least=20), "judge/colours": Bounds(least=0.05)}
    good, bad = (verdict(outcome.scores, thresholds) for outcome in make(Section())([painted(), empty]))
    assert good.accepted and not bad.accepted and bad.reason.startswith("judge/sharpness is 0")


def test_aesthetic_scores_of_a_batch(tmp_path: Path) -> None:
    tiny.siglip(tmp_path / "siglip")
    torch.manual_seed(0)
    save_file(
        {f"scoring_head.{name}": value for name, value in aesthetic_head(16).state_dict().items()},
        tmp_path / "head.safetensors",
    )
    aesthetic = AestheticSection(
        head=str(tmp_path / "head.safetensors"), encoder=str(tmp_path / "siglip"), device="cpu"
    )
    stage = make(Section(aesthetic=aesthetic))
    other = Work(record=record(1), files={"target.webp": webp_of(target()[0][::-1].copy())})
    together = [outcome.scores["judge/aesthetic"] for outcome in stage([painted(), other])]
    alone = [stage([work])[0].scores["judge/aesthetic"] for work in (painted(), other)]
    assert together == pytest.approx(alone, abs=1e-5) and together[0] != together[1]


def said(subjects: int) -> str:
    one = {"seen": 1, "whole": 3, "clear": 4}
    return json.dumps({"reason": "r", "quality": 4, "coherence": 3, "subjects": [one] * subjects})


def test_a_vision_language_model_judges_against_the_prompt() -> None:
    with StubServer([reply(said(2))]) as server:
        stage = make(Section(vision=VisionSection(base_url=server.url, model="stub", concurrency=3)))
        outcomes = stage([painted(seed) for seed in range(4)])
    for outcome in outcomes:
        assert set(outcome.scores) == PIXELS | {
            f"judge/{name}" for name in ("quality", "coherence", "clarity", "once", "tokens_in", "tokens_out")
        }
        assert outcome.scores["judge/clarity"] == 3 and outcome.scores["judge/once"] == 1
        assert outcome.facts["judge"]["by"] == "pixels + stub"
    text = server.requests[0]["messages"][1]["content"][0]["text"]
    assert "a red bear and a blue mug on grass" in text and "1. a red bear\n2. a blue mug" in text


def test_an_endpoint_that_fails_raises_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    with StubServer([status(500)]) as server:
        stage = make(Section(vision=VisionSection(base_url=server.url, model="stub", retries=0)))
        with pytest.raises(ValueError, match=r"The model stub at .* answered 500"):
            stage([painted()])


def test_a_damaged_target_is_an_error() -> None:
    broken = Work(record=record(), files={"target.webp": webp_of(target()[0])[:40]})
    with pytest.raises(OSError):
        make(Section())([broken])
