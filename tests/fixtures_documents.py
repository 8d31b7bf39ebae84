"""The documents, their shell blocks, and a folder to run these in."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "integrations").rglob("*.md")]
)
BLOCK = re.compile(r"^```sh\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
REASON = re.compile(r"# not run by the tests: (\S.+)\n")
BINARIES = Path(sys.executable).parent
FAR = 4102444800  # the year 2100: newer than pyproject.toml, whoever changes that meanwhile
WRITTEN = {".git", ".venv", "build", "demo", "dist", "runs"}  # not seen by a block: it makes its own


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of shell lines."""

    document: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, as its first line tells the reader."""
        told = REASON.match(self.text)
        return told[1] if told else None

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command, continued lines joined and comments cut."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


BLOCKS = [
    Block(document=name_of(document), text=text)
    for document in DOCUMENTS
    for text in BLOCK.findall(document.read_text(encoding="utf-8"))
]


def workspace(folder: Path) -> Path:
    """The repository by links, without what commands write, and with the pictures the documents name."""
    for entry in ROOT.iterdir():
        if entry.name not in WRITTEN:
            (folder / entry.name).symlink_to(entry)
    _stand_in(folder / ".venv")
    _paint(folder)
    return folder


def _stand_in(environment: Path) -> None:
    """An environment that make finds done: it calls the real one, and nothing can be installed into it."""
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "mosaic"):
        caller = environment / "bin" / name
        caller.write_text(f'#!/bin/sh\nexec "{BINARIES / name}" "$@"\n', encoding="utf-8")
        caller.chmod(0o755)
    done = environment / ".installed"
    done.touch()
    os.utime(done, (FAR, FAR))


def _paint(folder: Path) -> None:
    from PIL import Image

    from mosaic import toybox

    toys = {"bear.png": "bear", "mug.png": "mug", "mug.jpg": "mug", "a.png": "bear", "b.png": "bear"}
    for name, noun in toys.items():
        Image.fromarray(toybox.portrait(noun, seed=11, size=256)[0]).save(folder / name)


def run_block(block: Block, folder: Path) -> None:
    """As a reader's shell would, stopping at the first command that fails; its last words are the message."""
    environment = os.environ | {"PATH": f"{BINARIES}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, f"{block.document}:\n{block.text}\n{done.stdout[-2000:]}"
