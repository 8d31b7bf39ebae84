"""Embeddings by caption: equal to the encoders', made once, and the encoders can leave."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mosaic.training import text_cache
from mosaic.training.run import train_recipe
from mosaic.training.text import TextEncoders
from mosaic.training.text_cache import TextCache, encoder_key

from .fake_world import fake_batches
from .test_loop import records


class Encoders:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.loaded = 0

    def load(self) -> "Encoders":
        self.loaded += 1
        return self

    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.asked += captions
        values = torch.tensor([float(len(caption)) for caption in captions])
        return values[:, None, None].expand(-1, 2, 3), values[:, None].expand(-1, 4)


@pytest.fixture
def encoders() -> Encoders:
    return Encoders()


def cache_of(folder: Path, encoders: Encoders, model: str = "m") -> TextCache:
    return TextCache(folder, model, torch.device("cpu"), encoders.load)


def test_a_caption_is_encoded_once_for_all_runs(tmp_path: Path, encoders: Encoders) -> None:
    cache = cache_of(tmp_path, encoders)
    tokens, pooled = cache(["bear", "duck", "bear", ""])
    assert tokens[:, 0, 0].tolist() == pooled[:, 0].tolist() == [4, 4, 4, 0]
    assert tokens.shape == (4, 2, 3) and pooled.shape == (4, 4)
    cache_of(tmp_path, encoders)(["duck"])
    assert encoders.asked == ["bear", "duck", ""]
    cache_of(tmp_path, encoders, "another")(["duck"])
    assert encoders.asked[3:] == ["duck"]


def test_encoders_leave_and_come_back(
    tmp_path: Path, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "IDLE", 3)
    cache = cache_of(tmp_path, encoders)
    for _ in range(3):
        cache(["bear"])
        assert cache.encoders is encoders
    cache(["bear"])
    assert cache.encoders is None
    cache(["duck"])
    assert encoders.loaded == 2


def test_other_weights_or_another_precision_have_another_key(tiny_start: Path, tmp_path: Path) -> None:
    keys = [
        encoder_key(tiny_start, ("text_encoder",), torch.float32),
        encoder_key(tiny_start, ("text_encoder",), torch.bfloat16),
        encoder_key(tiny_start, ("text_encoder_2",), torch.float32),
    ]
    assert len(set(keys)) == 3


def test_a_run_with_the_cache_equals_one_without(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recipe(**model: Any) -> Any:
        return tiny_recipe(
            model={"base": str(tiny_start)} | model,
            train={"parameters": "lora"},
            data={"dropout": {"text": 0.5, "references": 0, "both": 0}, "cache": str(tmp_path / "latents")},
        )

    train_recipe(recipe(), tmp_path / "plain", render=fake_batches)
    cached = recipe(text_cache=str(tmp_path / "text"))
    train_recipe(cached, tmp_path / "first", render=fake_batches)
    monkeypatch.setattr(TextEncoders, "from_folder", None)  # nothing loads them now
    train_recipe(cached, tmp_path / "second", render=fake_batches)
    assert len(list((tmp_path / "text").iterdir())) == 2  # the only caption, and none
    for plain, first, second in zip(
        *(records(tmp_path / name) for name in ("plain", "first", "second")), strict=True
    ):
        assert first == second
        assert first == pytest.approx(plain, rel=1e-5, abs=1e-7)
