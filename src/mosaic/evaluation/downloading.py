"""The benchmarks' files for users: from the folder they name, or fetched once into a cache and checked.

What is fetched lies in GitHub repositories at fixed revisions (downloads.toml). A revision's tree lists every
file with its hash; a file that is there with that hash is not fetched again, half a file is continued.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("downloads.toml")
NEEDS = {  # benchmark → what it is read from
    "dreambench": ("dreambench",),
    "xversebench": ("xversebench",),
    "lamicbench": ("lamicbench",),
    "many": ("dreambench", "xversebench"),
    "toybox": (),
}
CACHE = "MOSAIC_BENCHMARKS"  # environment variable: the folder fetched files are kept in
THREADS, CHUNK, PATIENCE = 4, 1 << 18, 30.0  # downloads at once, bytes a read, seconds without an answer
HALF = ".part"  # suffix of a file that is not complete
LISTS = ".fetched"  # folder of the lists of files that are all there


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files of one repository at one revision, and where they go."""

    repository: str
    revision: str
    licence: str
    files: Mapping[str, str]  # path or folder of the repository → place in the data folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Whom to ask for the list of files, and whom for the files."""

    lists: str = "https://api.github.com/repos"
    files: str = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file to be fetched."""

    url: str
    place: str  # from the data folder
    size: int
    blob: str  # its hash, as Git has it


def data_of(benchmark: str, data: Path | None) -> Path | None:
    """The data folder: the one given, else the cache, filled first; None where none is needed.

    ValueError in one sentence if there is neither.
    """
    if data is not None:
        if not data.is_dir():
            raise ValueError(f"--data {data} is no folder: docs/benchmarks.md says what it holds.")
        return data
    into = cache_folder()
    needed = [source for name in NEEDS[benchmark] for source in sources(name)]
    if any(not _list_of(source, into).is_file() for source in needed):
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            raise ValueError(
                f"{benchmark} needs pictures and prompts that are not here, and nothing is fetched while "
                "HF_HUB_OFFLINE is set: name their folder with --data, or unset it."
            )
        fetch(needed, into)
    return into if needed else None


def cache_folder() -> Path:
    """Where fetched files are kept."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE) or above / "mosaic" / "benchmarks").expanduser()


def sources(name: str) -> list[Source]:
    """Of downloads.toml."""
    return [Source(**one) for one in tomllib.loads(SOURCES.read_text(encoding="utf-8"))[name]]


def fetch(wanted: Sequence[Source], into: Path, hosts: Hosts = Hosts()) -> None:
    """Fetch what is missing of the sources; of several processes one does and the others wait.

    ValueError in one sentence if a host does not answer, a file is not what the list says, or nothing can be
    written; run again, it goes on where it stopped.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    from mosaic.generate import progress

    (into / LISTS).mkdir(parents=True, exist_ok=True)
    with WeakFileLock(into / LISTS / "lock"):
        for source in wanted:
            kept = _list_of(source, into)
            if kept.is_file():
                continue
            logger.warning(f"fetching {source.repository} into {into} (licence: {source.licence})")
            listed = list(listing(source, hosts))
            with progress(len(listed), "files", source.repository) as advance:
                fetch_all(listed, into, advance)
            _write(kept, json.dumps([one.place for one in listed], indent=1).encode())


def fetch_all(listed: Sequence[Listed], into: Path, advance: Callable[[], None]) -> None:
    """Several files at once; the first that fails ends it."""
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            for _ in threads.map(lambda one: fetch_file(one, into), listed):
                advance()
        except BaseException:  # an interruption too: what waits is not begun
            threads.shutdown(cancel_futures=True)
            raise


def listing(source: Source, hosts: Hosts) -> Iterator[Listed]:
    """The wanted files of a revision. ValueError if one that is wanted is not in it."""
    url = f"{hosts.lists}/{source.repository}/git/trees/{source.revision}?recursive=1"
    with _opened(url) as answer:
        tree = json.loads(answer.read())
    blobs = {one["path"]: one for one in tree["tree"] if one["type"] == "blob"}
    for wanted, place in source.files.items():
        found = [path for path in blobs if path == wanted or path.startswith(f"{wanted}/")]
        if not found or tree.get("truncated"):
            raise ValueError(f"{source.repository} lists no {wanted} at {source.revision[:12]}: give --data.")
        for path in found:
            yield Listed(
                url=f"{hosts.files}/{source.repository}/{source.revision}/{quote(path)}",
                place=place + path.removeprefix(wanted),
                size=blobs[path]["size"],
                blob=blobs[path]["sha"],
            )


def fetch_file(one: Listed, into: Path) -> Path:
    """One file, continued where half of it is there. ValueError if it is not what was listed."""
    file = into / one.place
    if file.is_file() and blob_hash(file) == one.blob:
        return file
    half = file.with_name(file.name + HALF)
    half.parent.mkdir(parents=True, exist_ok=True)
    there = half.stat().st_size if half.is_file() else 0
    if there < one.size:
        with _opened(one.url, there) as answer, half.open("ab" if answer.status == 206 else "wb") as stream:
            _copy(answer, stream, one.url)
    if half.stat().st_size < one.size:
        raise ValueError(f"{one.url} broke off in the middle: run the command again to go on.")
    if blob_hash(half) != one.blob:
        half.unlink()
        raise ValueError(
            f"{one.url} is not what its revision lists (wrong checksum): fetch it again, or give --data."
        )
    half.replace(file)
    return file


def blob_hash(file: Path) -> str:
    """Git's SHA-1 of a file's content."""
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _copy(answer: Any, stream: Any, url: str) -> None:
    """To the end of the answer; what has come before a break stays."""
    try:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise ValueError(
            f"{url} broke off in the middle ({error}): run the command again to go on."
        ) from error


def _opened(url: str, start: int = 0) -> Any:
    """An answer, from byte `start` on where the host can do that."""
    headers = {"User-Agent": "mosaic", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        return urlopen(Request(url, headers=headers), timeout=PATIENCE)
    except HTTPError as error:
        why = "too many questions for now, try later" if error.code in (403, 429) else error.reason
        raise ValueError(f"{url} answers {error.code} ({why}): give --data if that stays so.") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"{url} cannot be reached ({reason}): check the connection, or give --data."
        ) from error


def _list_of(source: Source, into: Path) -> Path:
    """The list that says a source is complete; other files or another revision make another list."""
    told = json.dumps([source.repository, source.revision, dict(source.files)])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    return into / LISTS / f"{source.repository.replace('/', '-')}-{digest}.json"


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + HALF)
    partial.write_bytes(data)
    partial.replace(file)
