"""What is in the wheel and in the sdist, and what the model cards in them say."""

import base64
import hashlib
import re
import stat
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from mosaic import __version__

from .conftest import ROOT, Built, build

MODELS = "mosaic/models/mosaic-tiny"
NEVER = re.compile(r"(^|/)(tests?|benchmarks|__pycache__|\.git)(/|$)|\.(pyc|partial|pt|pth|ckpt|bin|pkl)$")


@pytest.fixture(scope="module")
def wheel(built: Built) -> zipfile.ZipFile:
    return zipfile.ZipFile(built.wheel)


def metadata(wheel: zipfile.ZipFile) -> dict[str, list[str]]:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    message = Parser().parsestr(wheel.read(name).decode())
    return {key: message.get_all(key) for key in message.keys()}  # noqa: SIM118


def test_every_file_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "src" / "mosaic"
    wanted = {
        f"mosaic/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(".partial")
    } | {f"mosaic/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == wanted
    assert {"mosaic/py.typed", f"{MODELS}/README.md", f"{MODELS}/lora.safetensors"} <= packed


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if NEVER.search(name)]
    assert {name.split("/")[0] for name in wheel.namelist()} == {"mosaic", f"mosaic-{__version__}.dist-info"}
    assert sum(one.compress_size for one in wheel.infolist()) < 30e6


def test_everybody_may_read_what_is_installed(wheel: zipfile.ZipFile) -> None:
    hidden = [one.filename for one in wheel.infolist() if not (one.external_attr >> 16) & stat.S_IROTH]
    assert not hidden


def test_weights_are_packed_whole(wheel: zipfile.ZipFile) -> None:
    for path in (ROOT / "src").rglob("*.safetensors"):
        assert wheel.read(path.relative_to(ROOT / "src").as_posix()) == path.read_bytes()


def test_the_record_is_right(wheel: zipfile.ZipFile) -> None:
    (record,) = [name for name in wheel.namelist() if name.endswith("/RECORD")]
    lines = [line.rsplit(",", 2) for line in wheel.read(record).decode().splitlines()]
    assert {line[0] for line in lines} == set(wheel.namelist())
    for name, told, _ in lines:
        if told:
            digest = hashlib.sha256(wheel.read(name)).digest()
            assert told == "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_the_metadata_says_version_licence_and_command(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)
    assert (found["Name"], found["Version"]) == (["mosaic"], [__version__])
    assert found["License-Expression"] == ["Apache-2.0"] and "Typing :: Typed" in found["Classifier"]
    assert set(found["License-File"]) == {"LICENSE", "src/mosaic/perception/prompts/LICENSES.md"}
    info = f"mosaic-{__version__}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "mosaic = mosaic.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    needed = " ".join(found["Requires-Dist"])
    assert "torchvision" not in needed and "torch>=2.13" in needed


def test_the_sdist_builds_the_same_wheel(built: Built, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as tar:
        tar.extractall(tmp_path, filter="data")
        names = {name.partition("/")[2] for name in tar.getnames()}
    for name in (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "constraints.txt",
        "tests/conftest.py",
    ):
        assert name in names
    assert {"integrations/comfyui/nodes.py", "recipes/toybox-smoke.toml", "docs/generate.md"} <= names
    assert not [name for name in names if NEVER.search(name) and not re.match("tests|benchmarks|src", name)]
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "dist", "wheel")
    (again,) = (tmp_path / "dist").iterdir()
    files = {one.filename: one.CRC for one in zipfile.ZipFile(again).infolist()}
    assert files == {one.filename: one.CRC for one in wheel.infolist()}


# ---------------------------------------------------------------- words that go along


def test_the_model_card_has_the_figures_of_the_documents() -> None:
    card = (ROOT / "src" / MODELS / "README.md").read_text()
    rows = re.findall(r"^\| K = .*\|$", card, flags=re.MULTILINE)
    assert len(rows) == 11
    documents = (ROOT / "docs" / "training.md").read_text()
    assert not [row for row in rows if row not in documents]


def test_the_model_card_tells_what_the_lora_says_of_itself() -> None:
    from safetensors import safe_open

    card = (ROOT / "src" / MODELS / "README.md").read_text()
    with safe_open(ROOT / "src" / MODELS / "lora.safetensors", "np") as file:
        header = file.metadata()
    told = "`{visibility}` visibility, `{positions}` positions, {canvas} canvas of {canvas_size} pixels"
    assert told.format(**header) in card and header["commit"] in card


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n") and "keepachangelog.com" in text
    heads = re.findall(r"^## \[(.+?)\]( - \d{4}-\d\d-\d\d)?$", text, flags=re.MULTILINE)
    assert heads[0][0] == "Unreleased" or heads[0][0] == __version__
    assert __version__ in [version for version, _ in heads] or heads == [("Unreleased", "")]
    kinds = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"} and "Added" in kinds
