"""`mosaic curate` as a person calls it: a Ray of its own, killed in mid-run, and trained on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mosaic.data.shards import read_shard

ROOT = Path(__file__).parents[2]
SMALL = ["samples=6", "shard=2", "prompts.subjects=[2]", "paint.width=96", "paint.height=96"]
SMALL += ["refer.side=64", "refer.size=64"]


def start(output: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mosaic.cli", "curate", str(ROOT / "recipes" / "curate-toybox.toml")]
    command += ["--output", str(output), *more]
    for change in SMALL:
        command += ["--set", change]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".partial")
    }


@pytest.mark.slow
def test_killed_in_mid_run_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    victim = start(tmp_path / "cut")
    deadline = time.time() + 300
    while not list((tmp_path / "cut").glob("stages/segment/*.json")) and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "cut" / "README.md").exists()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("stages/*/*.json")}
    assert finished
    for name in ("cut", "whole"):
        process = start(tmp_path / name)
        assert process.wait(timeout=300) == 0, process.stderr.read().decode()  # type: ignore[union-attr]
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert all(
        path.stat().st_mtime_ns == before for path, before in finished.items() if "pack" not in str(path)
    )
    shards = sorted((tmp_path / "whole").glob("*.tar"))
    assert len(shards) == 3 and sum(1 for shard in shards for _ in read_shard(shard)) == 6


@pytest.mark.slow
def test_one_stage_alone(tmp_path: Path) -> None:
    assert start(tmp_path, "--only", "prompts").wait(timeout=300) == 0
    assert [path.name for path in (tmp_path / "stages").iterdir() if list(path.glob("*.parquet"))] == [
        "prompts"
    ]
    process = start(tmp_path, "--only", "import")
    assert process.wait(timeout=60) == 2
    told = process.stderr.read().decode()  # type: ignore[union-attr]
    assert told == (
        "mosaic: --only import: the recipe has prompts, paint, judge, segment, refer, correspond, pack.\n"
    )
