"""`--ray-address`: a wrong one is one sentence within seconds; a right one is a cluster of two nodes."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mosaic.cli import run
from mosaic.curation import address

from .test_curate import content, start

RECIPE = Path(__file__).parents[2] / "recipes" / "curate-toybox.toml"


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    """Something that listens and is no Ray cluster."""
    server = HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed() -> str:
    """A port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def refused(where: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    began = time.monotonic()
    assert run(["curate", str(RECIPE), "--output", str(folder), "--ray-address", where]) == 2
    assert time.monotonic() - began < 60  # Ray alone takes 120 and ends the process
    told = capsys.readouterr().err
    assert told.startswith(f"mosaic: --ray-address {where}") and told.count("\n") == 1
    return told


def test_nothing_listens_there(closed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no Ray cluster answers there (Connection refused): give HOST:PORT" in refused(
        closed, tmp_path, capsys
    )
    assert "no Ray cluster answers there" in refused("nowhere.invalid:6379", tmp_path, capsys)


def test_something_else_listens_there(
    web_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "what answers there is no Ray cluster" in refused(web_server, tmp_path, capsys)


@pytest.mark.parametrize("where", ["gibberish", "10.0.0.1", "10.0.0.1:", "host:99999", ":6379", "ray://"])
def test_no_address_at_all(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no address of a Ray cluster: give HOST:PORT" in refused(where, tmp_path, capsys)


def test_a_silent_listener_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "PATIENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ValueError, match=r"no Ray cluster answers there \(timed out\)"):
            address.check(f"127.0.0.1:{silent.getsockname()[1]}")


def test_no_cluster_on_this_machine(tmp_path: Path) -> None:
    """In a process of its own: Ray may be running in this one."""
    running = (one.read_bytes() for one in Path("/proc").glob("[0-9]*/cmdline") if one.exists())
    if any(b"gcs_server" in line.split(b"\0")[0] for line in running):
        pytest.skip("a cluster is running on this machine")
    command = [sys.executable, "-m", "mosaic.cli", "curate", str(RECIPE), "--output", str(tmp_path)]
    done = subprocess.run(
        [*command, "--ray-address", "auto"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "RAY_TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--ray-address auto: Could not find any running Ray instance" in done.stderr


@pytest.mark.slow
def test_the_command_on_a_cluster_of_two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    wide = ["--set", "workers.together={count=2,cpus=2}", "--set", "pack.duplicates=2"]
    node = {"num_cpus": 2, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        cluster.add_node(**node)  # either node has room for one of the two workers
        process = start(tmp_path / "cluster", "--ray-address", cluster.address, *wide)
        assert process.wait(timeout=900) == 0, process.stderr.read().decode()  # type: ignore[union-attr]
    finally:
        cluster.shutdown()
    process = start(tmp_path / "alone", *wide)
    assert process.wait(timeout=900) == 0, process.stderr.read().decode()  # type: ignore[union-attr]
    assert content(tmp_path / "cluster") == content(tmp_path / "alone")
    assert len(list((tmp_path / "cluster").glob("toybox-*.tar"))) == 3
