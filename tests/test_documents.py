"""What README and docs say is there: links lead somewhere, rooms are told of, the environment is as told.

Their commands are test_documented_commands.py's, the site test_site.py's.
"""

import re
from pathlib import Path

import pytest
from fixtures_documents import DOCUMENTS, ROOT, name_of


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
    assert "\n".join(install) + "\n```" in readme
    variables = {"$(PYTHON)": "python3", "$(BIN)": ".venv/bin", "$(VENV)": ".venv", " $(PIP_FLAGS)": ""}
    for variable, value in variables.items():
        makefile = makefile.replace(variable, value)
    assert "\n".join(f"\t{line}" for line in install) in makefile
