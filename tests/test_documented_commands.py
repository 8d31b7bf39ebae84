"""Every shell block of the documents is run, or its first line says why not; all are held to the program.

Blocks of one document run one after another in one folder, as its reader's would. The quick ones are run in
this process, where torch is there already; the others, as a shell runs them, by `pytest -m slow`.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main
from fixtures_documents import BLOCKS, ROOT, Block, run_block, workspace

from mosaic.cli import app, run
from mosaic.curation.recipe import is_curation
from mosaic.curation.recipe import read_recipe as read_curation
from mosaic.training.ablation.cells import is_ablation, read_ablation
from mosaic.training.recipe import read_recipe

QUICK = ("docs/generate.md", "docs/matching.md", "docs/plan.md")
RUN = [block for block in BLOCKS if block.reason is None]
SLOW = sorted({block.document for block in RUN} - set(QUICK))
COMMANDS = [(block.document, words) for block in BLOCKS for words in block.commands]
CALLS = [(document, words) for document, words in COMMANDS if Path(words[0]).name == "mosaic"]
MODULES = [words[words.index("-m") + 1] for _, words in COMMANDS if "-m" in words]
READERS = {"train", "plan", "curate"}  # verbs that take a recipe


def test_there_are_blocks_of_both_kinds() -> None:
    assert len(RUN) > 15
    assert len(CALLS) > 30


def test_nothing_is_run_that_serves_or_sends() -> None:
    verbs = [(block.document, words[1]) for block in RUN for words in block.commands if words[0] == "mosaic"]
    assert not [one for one in verbs if one[1] in ("studio", "publish")]


@pytest.mark.parametrize("tutorial", ["maker", "researcher", "dataset-builder"])
def test_tutorials_are_run(tutorial: str) -> None:
    run_here = [block for block in RUN if block.document == f"docs/tutorial-{tutorial}.md"]
    assert len(run_here) >= 3


@pytest.mark.parametrize(("document", "words"), CALLS, ids=lambda value: str(value)[:60])
def test_commands_are_understood(document: str, words: list[str]) -> None:
    verb, *arguments = words[1:]
    typer.main.get_command(app).commands[verb].make_context(verb, list(arguments))
    if verb in READERS:
        read_any(ROOT / arguments[0], settings_of(arguments))


def settings_of(arguments: list[str]) -> list[str]:
    """What follows each --set."""
    return [value for option, value in pairwise(arguments) if option == "--set"]


def read_any(recipe: Path, settings: list[str]) -> None:
    """As the command would; ValueError for a recipe or key that is not there."""
    if is_curation(recipe):
        read_curation(recipe, settings)
    elif is_ablation(recipe):
        read_ablation(recipe, settings)
    else:
        read_recipe(recipe, settings)


@pytest.mark.parametrize("module", sorted({name for name in MODULES if name.startswith("mosaic")}))
def test_modules_are_there(module: str) -> None:
    file = ROOT / "src" / module.replace(".", "/")
    assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file()


def test_files_of_the_repository_are_there() -> None:
    named = {
        found
        for block in BLOCKS
        for found in re.findall(r"\b(?:recipes|examples|tests|benchmarks)/\S+\.(?:toml|py)", block.text)
    }
    assert named and not [file for file in sorted(named) if not (ROOT / file).is_file()]


@pytest.mark.parametrize("document", QUICK)
def test_quick_blocks_run(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path))
    lines = [words for block in blocks_run(document) for words in block.commands]
    assert lines
    for words in lines:
        assert Path(words[0]).name == "mosaic"
        assert run(words[1:]) == 0, " ".join(words)


@pytest.mark.slow
@pytest.mark.parametrize("document", SLOW)
def test_blocks_run(document: str, tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    for block in blocks_run(document):
        run_block(block, folder)


def blocks_run(document: str) -> list[Block]:
    return [block for block in RUN if block.document == document]
