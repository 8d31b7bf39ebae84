"""The built wheel in an environment of its own, without a network.

`test_it_generates_offline` takes the libraries from this environment, which saves 1.3 GB: it shows
what the wheel brings and that nothing is fetched, not that pip finds the libraries. That is shown by
`test_pip_finds_everything`, which needs a registry, and by `.ci/run`.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from PIL import Image

from mosaic import __version__
from mosaic.pictures import read_recipe

from .conftest import ROOT, Built

pytestmark = pytest.mark.slow

NO_NETWORK = """
import socket


def refuse(self, address, *_):
    raise OSError(f"a connection to {address} was asked for")


socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda host, *_, **__: refuse(None, host)
"""


def environment(folder: Path, libraries: Path | None) -> Path:
    """A fresh venv; libraries: site-packages that it may read beside its own. Returns its own."""
    venv.create(folder, with_pip=True, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    if libraries is not None:
        (own / "libraries.pth").write_text(f"{libraries}\n")  # a path in a .pth: no .pth of theirs is read
    return own


def run(folder: Path, *command: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """From an empty folder, with nothing of this repository in sight."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MOSAIC", "HF_", "VIRTUAL_ENV"))
    }
    where = folder / "elsewhere"
    where.mkdir(exist_ok=True)
    clean |= {"HOME": str(where), "OMP_NUM_THREADS": "1"} | extra
    program = [str(folder / "bin" / str(command[0])), *map(str, command[1:])]
    return subprocess.run(program, cwd=where, env=clean, capture_output=True, text=True, check=False)


def make_a_picture(folder: Path) -> None:
    """mosaic generate with two references, on the embedded model."""
    drawn = folder / "elsewhere"
    drawn.mkdir(exist_ok=True)
    for name, color in (("bear", "brown"), ("mug", "navy")):
        image = Image.new("RGB", (64, 64), "white")
        image.paste(color, (16, 16, 48, 48))
        image.save(drawn / f"{name}.png")
    line = ["a bear and a mug on grass", "--reference", "bear=bear.png", "--reference", "mug=mug.png"]
    done = run(
        folder, "mosaic", "generate", *line, "--steps", "2", "--output", "r.png", "--attention", "maps"
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(drawn / "r.png").size == (128, 128)
    assert read_recipe(drawn / "r.png")["versions"]["mosaic"] == __version__
    assert (drawn / "maps" / "looks.png").is_file()


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel; its Python cannot connect to anything."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    own = environment(folder, Path(sysconfig.get_paths()["purelib"]))
    pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", built.wheel]
    done = run(folder, "python", *pip)
    assert done.returncode == 0, done.stderr
    (own / "sitecustomize.py").write_text(NO_NETWORK)
    return folder


def test_it_generates_offline(installed: Path) -> None:
    (own,) = installed.glob("lib/python*/site-packages")
    told = run(installed, "mosaic", "--version")
    assert told.stdout.startswith(f"mosaic {__version__}\n"), told.stderr
    assert f"model embedded, {own / 'mosaic' / 'models' / 'mosaic-tiny'}" in told.stdout
    blocked = run(installed, "python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:1')")
    assert "was asked for" in blocked.stderr
    make_a_picture(installed)


def test_recipes_are_found_by_name(installed: Path) -> None:
    done = run(installed, "mosaic", "plan", "recipes/toybox-smoke.toml", "--gpu", "cpu")
    assert done.returncode == 0 and "toybox-smoke" in done.stdout, done.stderr


def test_a_missing_extra_is_named_by_its_packages(installed: Path) -> None:
    (own,) = installed.glob("lib/python*/site-packages")
    hidden = own / "gradio.py"
    hidden.write_text("raise ModuleNotFoundError('none', name='gradio')")
    try:
        done = run(installed, "mosaic", "studio")
    finally:
        hidden.unlink()
    assert done.returncode == 2
    told = shlex.split(done.stderr.partition("needs the package gradio: pip install ")[2])
    assert {word.partition(">=")[0] for word in told} == {"gradio", "starlette", "pyarrow"}


def test_it_is_typed_for_others(installed: Path, tmp_path: Path) -> None:
    """mypy takes the types of the installed package, for py.typed is there."""
    program = "from mosaic.geometry import Grid\n\nreveal_type(Grid.of_pixels(64, 64).size)\n"
    (tmp_path / "user.py").write_text(program)
    python = ["--python-executable", str(installed / "bin" / "python")]
    check = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", *python, "user.py"]
    told = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'Revealed type is "int"' in told.stdout.replace("builtins.", ""), told.stdout


@pytest.mark.network
def test_pip_finds_everything(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    environment(folder, None)
    pins = ["-c", ROOT / "constraints.txt"]
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = run(folder, "python", "-m", "pip", "install", "--quiet", *pins, built.wheel, **given)
    assert done.returncode == 0, done.stderr
    make_a_picture(folder)
