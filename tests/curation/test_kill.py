"""SIGKILL at any file operation, and again: the same rows, the same bytes, no finished shard repeated."""

import multiprocessing
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mosaic.curation.folder import StageFolder

from . import victim

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.curation.victim", "pyarrow.parquet"])  # loaded once


def start(folder: Path, deadly: int = 0) -> Any:
    process = SERVER.Process(target=victim.live, args=(folder, folder.with_suffix(".calls"), deadly))
    process.start()
    process.join(60)
    return process.exitcode


def content(folder: Path) -> dict[str, bytes]:
    """All but what was being written when the process died."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.endswith(".partial")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left in peace."""
    folder = tmp_path_factory.mktemp("kill") / "whole"
    assert start(folder) == 0
    assert len(list(folder.glob("set-*.parquet"))) == 3
    return folder


def finished(folder: Path) -> set[tuple[str, int]]:
    stages = ("prompts", "paint", "segment")
    return {(s, n) for s in stages for n in range(3) if StageFolder(folder, s).parts(n)}


def calls(folder: Path) -> Counter[tuple[str, int]]:
    """How often each stage was asked for a sample of each shard."""
    path = folder.with_suffix(".calls")
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(
        (stage, int(number) // 4) for stage, *numbers in map(str.split, lines) for number in numbers
    )


def killed_again_and_again(folder: Path, whole: Path, kills: int, seed: int) -> None:
    draw, operations = random.Random(seed), int(whole.with_suffix(".count").read_text())
    for _ in range(kills):
        done, asked = finished(folder), calls(folder)
        assert start(folder, draw.randint(1, operations // 2)) in (-signal.SIGKILL, 0)
        assert done <= finished(folder)  # what was finished stays
        for place, count in calls(folder).items():
            assert count == asked[place] or place not in done  # and is not repeated
    assert start(folder) == 0
    assert content(folder) == content(whole)


def test_killed_at_any_file_operation_it_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "cut", whole, kills=10, seed=1)


@pytest.mark.slow
def test_killed_at_every_file_operation(whole: Path, tmp_path: Path) -> None:
    operations = int(whole.with_suffix(".count").read_text())
    for deadly in range(1, operations + 1):
        folder = tmp_path / str(deadly)
        assert start(folder, deadly) == -signal.SIGKILL
        assert start(folder) == 0
        assert content(folder) == content(whole), f"killed at operation {deadly}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_killed_many_times(seed: int, whole: Path, tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "cut", whole, kills=25, seed=seed)
