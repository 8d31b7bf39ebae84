"""AES: the published head on SigLIP's unit vector, of the whole grid; per image beside it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from perception import tiny
from PIL import Image
from safetensors.torch import save_file
from transformers import SiglipModel

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.metrics import METRICS
from mosaic.perception.aesthetic import head_file

from .cases import case_of, file_of, measured, table


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    root = tmp_path_factory.mktemp("aesthetic")
    backbone = tiny.siglip(root / "siglip")
    random = torch.Generator().manual_seed(0)
    head = {}
    for layer, (before, after) in zip((0, 2, 4, 6, 8), pairwise([16, 1024, 128, 64, 16, 1]), strict=True):
        head[f"scoring_head.{layer}.weight"] = torch.randn(after, before, generator=random) / before**0.5
        head[f"scoring_head.{layer}.bias"] = torch.randn(after, generator=random)
    save_file(head, root / "head.safetensors")
    return backbone, root / "head.safetensors", head


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pictures")
    quadrants = [tiny.random_picture(48, 48, n) for n in range(4)]
    grid = np.concatenate([np.concatenate(quadrants[:2], 1), np.concatenate(quadrants[2:], 1)])
    path = file_of(folder, "grid", grid)
    return case_of([PictureFile(path, q) for q in range(4)], grid=path), grid, quadrants


@torch.no_grad()
def literal(parts: tuple, picture: np.ndarray) -> float:
    """Stretched to the square, −1 to 1, the pooled vector over its length, five linear layers."""
    backbone, _, head = parts
    square = Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(square, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    value = SiglipModel.from_pretrained(backbone).eval().vision_model(pixels).pooler_output[0]
    value = value / value.norm()
    for layer in (0, 2, 4, 6, 8):
        value = head[f"scoring_head.{layer}.weight"] @ value + head[f"scoring_head.{layer}.bias"]
    return float(value[0])


def scored(name: str, cases: list, parts: tuple, batch: int = 4) -> dict:
    chosen = scorers_of([f"aesthetic.backbone={parts[0]}", f"aesthetic.head={parts[1]}"], "cpu")
    metric = METRICS[name](chosen)
    assert not metric.column.official and metric.column.title == f"{name} [head.safetensors + siglip]"
    return table(metric, cases, measured(metric, cases, chosen.load("aesthetic"), batch))


def test_aes_is_of_the_whole_grid(case: tuple, parts: tuple) -> None:
    values = scored("AES", [case[0]], parts)
    assert values == {("record", None, None, None): pytest.approx(literal(parts, case[1]), abs=2e-5)}


def test_aes_per_image_is_of_each(case: tuple, parts: tuple) -> None:
    values = scored("AES (images)", [case[0]], parts)
    assert list(values) == [("record", image, None, None) for image in range(4)]
    assert list(values.values()) == pytest.approx([literal(parts, q) for q in case[2]], abs=2e-5)
    assert np.std(list(values.values())) > 1e-3
    assert scored("AES (images)", [case[0]], parts, batch=1) == pytest.approx(values, abs=1e-5)


def test_without_a_grid_both_are_of_each_image(case: tuple, parts: tuple, tmp_path: Path) -> None:
    files = [file_of(tmp_path, str(n), picture) for n, picture in enumerate(case[2])]
    alone = case_of(files)
    assert scored("AES", [alone], parts) == scored("AES (images)", [alone], parts)
    assert len(scored("AES", [alone], parts)) == 4


def test_the_head_is_a_file_or_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = "https://example.org/heads/head.pth"
    asked = []
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda at, to, progress: (asked.append(at), Path(to).write_bytes(b"")),
    )
    assert head_file(tmp_path / "head.pth") == tmp_path / "head.pth"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=r"head of the aesthetic score cannot be loaded from https://example.org"
    ):
        head_file(url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for _ in range(2):
        assert head_file(url) == tmp_path / "checkpoints" / "head.pth"
    assert asked == [url]
