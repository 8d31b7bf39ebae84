"""The model a run starts from: made new where it must be, fetched no more than whole, refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from mosaic.cli import run
from mosaic.hub import HUB_FILES, PICKLED
from mosaic.training.models import MADE_FROM, base_folder

LORA = Path(__file__).parents[2] / "recipes" / "toybox-lora.toml"
PAPER = Path(__file__).parents[2] / "recipes" / "flux-dev-paper.toml"


def heads_of(folder: Path) -> int:
    return json.loads((folder / "transformer" / "config.json").read_text())["num_attention_heads"]


def weights_of(folder: Path) -> bytes:
    return (folder / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes()


# ---------------------------------------------------------------- made new


def test_a_new_model_of_an_attempt_that_failed_is_not_taken_for_another(
    tiny_recipe: Any, tmp_path: Path
) -> None:
    first = base_folder(tiny_recipe(), tmp_path)
    before = weights_of(first)
    assert base_folder(tiny_recipe(), tmp_path) == first and weights_of(first) == before
    assert weights_of(base_folder(tiny_recipe(seed=1), tmp_path)) != before
    more = tiny_recipe().model.create.model_dump() | {"heads": 3}
    assert heads_of(base_folder(tiny_recipe(model={"create": more}), tmp_path)) == 3
    (first / MADE_FROM).unlink()  # as older versions left it
    assert weights_of(base_folder(tiny_recipe(), tmp_path)) == before


@pytest.mark.parametrize("place", ["checkpoints/step-00000002", "release-none-s0/lora.safetensors"])
def test_a_model_that_a_run_began_from_is_never_replaced(
    place: str, tiny_recipe: Any, tmp_path: Path
) -> None:
    folder = base_folder(tiny_recipe(), tmp_path)
    before = weights_of(folder)
    (tmp_path / place).mkdir(parents=True)
    assert base_folder(tiny_recipe(seed=1), tmp_path) == folder and weights_of(folder) == before
    more = tiny_recipe().model.create.model_dump() | {"heads": 3}
    with pytest.raises(ValueError, match=r"model\.create\.heads is 3, and a run has begun .*with 2: set it"):
        base_folder(tiny_recipe(model={"create": more}), tmp_path)
    assert weights_of(folder) == before
    (folder / MADE_FROM).unlink()
    assert base_folder(tiny_recipe(seed=1), tmp_path) == folder and weights_of(folder) == before


# ---------------------------------------------------------------- from a folder or the hub


def test_of_a_hub_s_model_only_what_is_loaded_is_fetched(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tiny_start)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert base_folder(tiny_recipe(model={"base": "somebody/flux"}), tmp_path) == tiny_start
    assert asked == {"name": "somebody/flux", "allow_patterns": HUB_FILES, "ignore_patterns": PICKLED}


@pytest.mark.parametrize(
    ("recipe", "base", "told"),
    [
        (PAPER, "", "black-forest-labs/FLUX.1-dev is not on this machine and the hub cannot be reached"),
        (PAPER, "a/b", "a/b is not on this machine"),
        (PAPER, "missing", "There is no model folder missing: give a folder, a hub id OWNER/NAME"),
        (LORA, "", "There is no model folder runs/base/model"),
        (LORA, "recipes", "recipes is no model folder in diffusers' FLUX layout"),
    ],
)
def test_a_base_that_is_not_there_is_one_sentence(
    recipe: Path,
    base: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    words = [f"model.base={base}"] if base else []
    (tmp_path / "0.tar").touch()  # data is looked for first
    words += [f"data.{key}={tmp_path}" for key in ("path", "validation") if recipe == PAPER]
    words += ["train.processes=0", "model.device=cpu"]
    changes = [part for word in words for part in ("--set", word)]
    assert run(["train", str(recipe), "--output", str(tmp_path / "run"), *changes]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.base: " in line and told in line


# ---------------------------------------------------------------- what else a recipe names


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.device=foo", 'model.device = "foo" is no device of this machine: set it to auto, cpu'),
        ("model.device=cuda:99", 'model.device = "cuda:99" is no device of this machine'),
        ("model.lora=missing.safetensors", "model.lora: there is no file missing.safetensors"),
        ("model.lora=recipes/toybox-lora.toml", "model.lora: recipes/toybox-lora.toml is broken"),
        ("model.create.rope_axes=[5,13,14]", "model.create.rope_axes must be even numbers, not [5, 13, 14]"),
        ("loss.blocks=[99]", "loss.blocks: Probe blocks (99,) must name some of the blocks 0…2"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    change: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke = str(LORA.with_name("toybox-smoke.toml"))
    assert run(["train", smoke, "--output", str(tmp_path / "run"), "--set", change]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "run" / "latents").exists()
