"""A run that is told to leave while its latents are made leaves at once, with all its processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "toybox-smoke.toml"


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_latents_under_way_are_left(number: signal.Signals, status: int, tmp_path: Path) -> None:
    more = ["data.samples=4000", "data.workers=2", f"data.cache={tmp_path / 'latents'}"]
    command = [sys.executable, "-m", "mosaic.cli", "train", str(RECIPE), "--output", str(tmp_path / "run")]
    command += [word for change in more for word in ("--set", change)]
    run = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "latents").glob("*.safetensors")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        run.send_signal(number)
        assert run.wait(60) == status, run.stderr.read()
        whole = list((tmp_path / "latents").glob("*.safetensors"))
        assert 0 < len(whole) < 250  # it did not make them all first
        while alive(run.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(run.pid)  # nor did a worker stay behind
    finally:
        if alive(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
