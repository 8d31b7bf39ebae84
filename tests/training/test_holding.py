"""A folder is one process's at a time."""

import threading
from pathlib import Path
from typing import Any

import pytest

from mosaic.cli import run as command
from mosaic.training import holding
from mosaic.training.autoencoder import AutoencoderRecipe
from mosaic.training.autoencoder import train as train_autoencoder
from mosaic.training.holding import Taken, held
from mosaic.training.latents import prepare_latents, shard_path
from mosaic.training.run import train_recipe

from .fake_world import fake_batches
from .other import other_process


def test_a_folder_is_refused_while_another_process_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    wanted = pytest.raises(Taken, match=rf"^another process is at work in {folder}: wait for it")
    with other_process(folder), wanted, held(folder, patience=0):
        pytest.fail("two processes hold one folder")
    with held(folder, patience=0), held(folder, patience=0):  # again within one process
        pass
    with other_process(folder):  # and it was let go
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.kill()
        process.wait()
        with held(tmp_path, patience=0):
            pass


def test_it_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with other_process(tmp_path) as process:
        threading.Timer(0.3, process.kill).start()
        with held(tmp_path, patience=60):
            assert process.wait() != 0
    assert capsys.readouterr().err == f"another process is at work in {tmp_path}: waiting for it\n"


def test_two_runs_do_not_train_in_one_folder(
    tiny_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "PATIENCE", 0.1)
    with other_process(tmp_path), pytest.raises(Taken, match="wait for it or stop it, or choose"):
        train_recipe(tiny_recipe(), tmp_path, render=fake_batches, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with other_process(tmp_path), pytest.raises(Taken):
        train_autoencoder(AutoencoderRecipe(), tmp_path)


def test_the_command_says_it_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(holding, "PATIENCE", 0.1)
    with other_process(tmp_path):
        assert command(["train", "toybox-smoke", "--output", str(tmp_path)]) == 2
    assert "another process is at work in" in capsys.readouterr().err.splitlines()[-1]


def test_latents_another_run_has_made_are_not_made_again(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    data = tiny_recipe().data

    def make() -> None:
        prepare_latents(tmp_path, data, tiny_start / "vae", fake_batches, said.append)

    make()
    shards = len(list(tmp_path.glob("*.safetensors")))
    path = shard_path(tmp_path, 2, 1)
    whole = path.read_bytes()
    path.unlink()
    said.clear()
    with other_process(tmp_path) as process:

        def the_other_makes_it() -> None:
            path.write_bytes(whole)
            process.kill()

        threading.Timer(0.3, the_other_makes_it).start()
        make()
    assert not said and len(list(tmp_path.glob("*.safetensors"))) == shards
