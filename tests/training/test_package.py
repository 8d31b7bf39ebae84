"""The shipped folder: bfloat16, small, with facts about itself instead of a run's folders."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mosaic.training import package as packaging
from mosaic.training.package import package


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
    base, lora = tmp_path / "base", tmp_path / "lora.safetensors"
    (base / "vae").mkdir(parents=True)
    save_file(
        {"weight": torch.randn(8, 8), "count": torch.arange(3)},
        base / "vae" / "model.safetensors",
        {"format": "pt"},
    )
    (base / "vae" / "optimiser.pt").write_bytes(b"state of a run")
    save_file({"a": torch.randn(4, 8)}, lora, {"visibility": "release", "base": "runs/base", "commit": ""})
    return base, lora


def test_weights_are_halved_and_facts_filled_in(run: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    (run[0] / "vae" / "config.json").write_text('{"_name_or_path": "/home/somebody", "width": 4}')
    trained = {"base": "/home/somebody/start", "visibility": "isolated"}
    (run[0] / "model_index.json").write_text(
        json.dumps({"_class_name": "FluxPipeline", "references": trained})
    )
    size = package(run[0], run[1], output, name="tiny", commit="abc", defaults={"default_size": 128})
    index = json.loads((output / "model_index.json").read_text())
    assert json.loads((output / "vae" / "config.json").read_text()) == {"width": 4}
    assert index.pop("references") == {"base": "tiny", "visibility": "isolated"}
    assert index == {"_class_name": "FluxPipeline", "default_size": 128}
    with safe_open(output / "vae" / "model.safetensors", "pt") as file:
        assert (
            file.get_tensor("weight").dtype is torch.bfloat16
            and file.get_tensor("count").dtype is torch.int64
        )
        assert file.metadata() == {"format": "pt"}
    with safe_open(output / "lora.safetensors", "pt") as file:
        assert file.metadata() == {"visibility": "release", "base": "tiny", "commit": "abc"}
    assert not (output / "vae" / "optimiser.pt").exists()
    assert size == sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def test_a_lora_beside_keeps_the_commit_it_was_trained_at(run: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "isolated.safetensors"
    save_file(
        {"a": torch.randn(4, 8)}, other, {"visibility": "isolated", "base": "embedded", "commit": "old"}
    )
    package(run[0], run[1], tmp_path / "out", name="tiny", commit="abc", beside={"isolated": other})
    with safe_open(tmp_path / "out" / "lora-isolated.safetensors", "pt") as file:
        assert file.metadata() == {"visibility": "isolated", "base": "tiny", "commit": "old"}
        assert file.get_tensor("a").dtype is torch.bfloat16
    with safe_open(tmp_path / "out" / "lora.safetensors", "pt") as file:
        assert file.metadata()["commit"] == "abc"


def test_too_large_a_model_leaves_the_old_one(
    run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    package(run[0], None, output, name="tiny", commit="abc")
    monkeypatch.setattr(packaging, "LIMIT", 100)
    with pytest.raises(ValueError, match="MB"):
        package(run[0], run[1], output, name="tiny", commit="abc")
    assert (output / "vae" / "model.safetensors").exists() and not (output / "lora.safetensors").exists()
