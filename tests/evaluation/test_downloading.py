"""The downloader against a server of its own: checksums, half a download, what is said when it fails."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from mosaic.evaluation import downloading
from mosaic.evaluation.downloading import Hosts, Source, blob_hash, data_of, fetch

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "data/list.json": b'["a"]',
    "data/pictures/02_polar bear.jpg": bytes(range(256)) * 400,
    "data/pictures/more/03.jpg": b"x" * 70_000,
    "README.md": b"not wanted",
}


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Host:
    """What the server serves, and what it does wrong."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    url: str = ""
    cut: dict[str, int] = field(default_factory=dict)  # path → bytes after which the answer breaks off
    ranges: bool = True
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def hosts(self) -> Hosts:
        return Hosts(lists=f"{self.url}/repos", files=f"{self.url}/raw")


class Handler(BaseHTTPRequestHandler):
    host: Host

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, start = unquote(self.path), self.headers.get("Range")
        self.host.asked.append((path.rpartition("/")[2], start))
        if self.host.status != 200:
            self.send_error(self.host.status)
        elif path == f"/repos/some/where/git/trees/{REVISION}?recursive=1":
            self.answer(json.dumps({"tree": self.tree(), "truncated": False}).encode())
        elif path.startswith(f"/raw/some/where/{REVISION}/"):
            name = path.removeprefix(f"/raw/some/where/{REVISION}/")
            self.answer(self.host.files[name], start, self.host.cut.get(name))
        else:
            self.send_error(404)

    def tree(self) -> list[dict[str, object]]:
        blobs = [
            {"path": path, "type": "blob", "size": len(data), "sha": git_hash(data)}
            for path, data in FILES.items()
        ]
        return [*blobs, {"path": "data", "type": "tree", "sha": "0" * 40}]

    def answer(self, data: bytes, start: str | None = None, cut: int | None = None) -> None:
        first = int(re.fullmatch(r"bytes=(\d+)-", start)[1]) if start and self.host.ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first : None if cut is None else first + cut])


@pytest.fixture
def host() -> Iterator[Host]:
    served = Host()
    handler = type("OneHandler", (Handler,), {"host": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


SOURCE = Source(
    repository="some/where",
    revision=REVISION,
    licence="CC0",
    files={"data/list.json": "bench/list.json", "data/pictures": "bench/assets"},
)


def whole(into: Path) -> None:
    assert (into / "bench/list.json").read_bytes() == FILES["data/list.json"]
    assert (into / "bench/assets/02_polar bear.jpg").read_bytes() == FILES["data/pictures/02_polar bear.jpg"]
    assert (into / "bench/assets/more/03.jpg").read_bytes() == FILES["data/pictures/more/03.jpg"]
    assert not list(into.rglob("*.part"))
    assert not list(into.rglob("README.md"))


def test_git_counts_as_git_does(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert blob_hash(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_wanted_files_come_to_their_places_once(host: Host, tmp_path: Path) -> None:
    fetch([SOURCE], tmp_path, host.hosts)
    whole(tmp_path)
    assert len(host.asked) == 4
    fetch([SOURCE], tmp_path, host.hosts)
    assert len(host.asked) == 4


def test_a_wrong_checksum_is_refused_and_removed(host: Host, tmp_path: Path) -> None:
    host.files["data/pictures/more/03.jpg"] = b"y" * 70_000
    with pytest.raises(ValueError, match=r"more/03\.jpg is not what its revision lists \(wrong checksum\)"):
        fetch([SOURCE], tmp_path, host.hosts)
    assert not list(tmp_path.rglob("*03.jpg*"))
    host.files = dict(FILES)
    fetch([SOURCE], tmp_path, host.hosts)
    whole(tmp_path)


@pytest.mark.parametrize("ranges", [True, False])
def test_half_a_download_is_continued(host: Host, tmp_path: Path, ranges: bool) -> None:
    name = "data/pictures/02_polar bear.jpg"
    host.cut[name], host.ranges = 30_000, ranges
    with pytest.raises(ValueError, match="broke off in the middle"):
        fetch([SOURCE], tmp_path, host.hosts)
    assert (tmp_path / "bench/assets/02_polar bear.jpg.part").stat().st_size == 30_000
    host.cut, host.asked = {}, []
    fetch([SOURCE], tmp_path, host.hosts)
    whole(tmp_path)
    assert ("02_polar bear.jpg", "bytes=30000-") in host.asked
    assert ("list.json", None) not in host.asked  # what is there is not fetched again


def test_half_of_another_file_is_not_made_whole(host: Host, tmp_path: Path) -> None:
    half = tmp_path / "bench/assets/02_polar bear.jpg.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"z" * 1000)
    with pytest.raises(ValueError, match="wrong checksum"):
        fetch([SOURCE], tmp_path, host.hosts)
    fetch([SOURCE], tmp_path, host.hosts)
    whole(tmp_path)


@pytest.mark.parametrize(("status", "said"), [(404, "answers 404"), (403, "try later"), (500, "answers 500")])
def test_refusals_are_one_sentence(host: Host, tmp_path: Path, status: int, said: str) -> None:
    host.status = status
    with pytest.raises(ValueError, match=said) as error:
        fetch([SOURCE], tmp_path, host.hosts)
    assert "--data" in str(error.value)


def test_what_a_revision_lacks_is_named(host: Host, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="some/where lists no data/none at 0123456789ab"):
        fetch([replace(SOURCE, files={"data/none": "x"})], tmp_path, host.hosts)


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    nowhere = Hosts(lists="http://127.0.0.1:9/repos", files="http://127.0.0.1:9/raw")
    with pytest.raises(ValueError, match=r"cannot be reached .* give --data"):
        fetch([SOURCE], tmp_path, nowhere)


def test_the_folder_given_or_the_cache(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAIC_BENCHMARKS", str(tmp_path / "cache"))
    monkeypatch.setattr(downloading, "sources", lambda name: [SOURCE])
    assert data_of("dreambench", tmp_path) == tmp_path
    assert data_of("toybox", None) is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="dreambench needs pictures and prompts that are not here"):
        data_of("dreambench", None)
    fetch([SOURCE], tmp_path / "cache", host.hosts)
    assert data_of("dreambench", None) == tmp_path / "cache"


def test_every_benchmark_has_its_sources() -> None:
    for needs in downloading.NEEDS.values():
        for name in needs:
            for source in downloading.sources(name):
                assert re.fullmatch(r"[0-9a-f]{40}", source.revision)
                assert source.licence and source.files


@pytest.mark.network
@pytest.mark.parametrize("name", ["dreambench", "xversebench", "lamicbench"])
def test_the_real_hosts_list_what_is_wanted(name: str) -> None:
    for source in downloading.sources(name):
        assert list(downloading.listing(source, Hosts()))
