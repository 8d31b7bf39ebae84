"""What README and docs say can be done: links lead somewhere, commands are understood, rooms are told of."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from mosaic.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def commands_of(document: Path) -> list[str]:
    """Lines of the shell blocks that call mosaic, continued lines joined, comments cut."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"(\.venv/bin/)?mosaic ", line)]


COMMANDS = [(name_of(document), line) for document in DOCUMENTS for line in commands_of(document)]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 5


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_commands_are_understood(document: str, line: str) -> None:
    verb, *arguments = shlex.split(line, comments=True)[1:]
    typer.main.get_command(app).commands[verb].make_context(verb, arguments)
    for recipe in re.findall(r"recipes/\S+\.toml", line):
        assert (ROOT / recipe).is_file(), f"{document} speaks of {recipe}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    local = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in local if not (document.parent / link).exists()]
    assert not missing


def test_architecture_tells_of_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {
        path.stem for path in (ROOT / "src" / "mosaic").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    rooms -= {"__init__", "__pycache__", "models"}
    assert not [room for room in sorted(rooms) if f"| `{room}` |" not in text]


def test_the_makefile_installs_as_the_readme_says() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    install = ["python3 -m venv .venv", '.venv/bin/pip install -c constraints.txt -e ".[dev]"']
    assert "```sh\n" + "\n".join(install) + "\n```" in readme
    variables = {"$(PYTHON)": "python3", "$(BIN)": ".venv/bin", "$(VENV)": ".venv", " $(PIP_FLAGS)": ""}
    for variable, value in variables.items():
        makefile = makefile.replace(variable, value)
    assert "\n".join(f"\t{line}" for line in install) in makefile
