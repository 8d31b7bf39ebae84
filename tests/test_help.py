"""What `--help` tells, what a shell completes, and recipes by name."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from test_cli import SURFACE, stand_in

from mosaic.cli import app, run

ROOT = Path(__file__).parents[1]


def complete(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told for the last word of a line."""
    monkeypatch.setenv("_MOSAIC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out.splitlines()


def test_a_shell_completes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete("mosaic gen", monkeypatch, capsys) == ["generate"]
    assert set(complete("mosaic ", monkeypatch, capsys)) == SURFACE.keys()
    told = complete("mosaic generate hi --visibility ", monkeypatch, capsys)
    assert told == ["full", "release", "isolated"]
    assert "--reference" in complete("mosaic generate hi --re", monkeypatch, capsys)
    assert complete("mosaic train toybox-s", monkeypatch, capsys) == ["toybox-smoke"]


def test_completion_can_be_shown_and_installed(tmp_path: Path) -> None:
    """By a real bash, which then completes a real line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    program = f"""
mosaic() {{ {sys.executable} -m mosaic.cli "$@"; }}
eval "$(mosaic --show-completion)"
complete -p mosaic
mosaic --install-completion
cat {tmp_path}/.bashrc
"""
    done = subprocess.run(
        [bash, "--norc", "-c", program],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "complete -o default -F _mosaic_completion mosaic" in done.stdout
    assert "bash completion installed in" in done.stdout and "mosaic.sh" in done.stdout


def test_help_lists_every_verb_once_with_its_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    listed = capsys.readouterr().out
    assert all(listed.count(f"\n  {name} ") == 1 for name in SURFACE)
    assert "..." not in listed and "into a folder." in " ".join(listed.split())


@pytest.mark.parametrize("name", SURFACE)
def test_help_of_a_verb_ends_with_lines_it_understands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    usage, example = capsys.readouterr().out.split("\nExample:\n")
    needed = name not in ("inspect", "plan", "publish", "studio")
    assert ("--output" in usage.splitlines()[0]) == needed
    for line in example.replace("\\\n", "").strip().splitlines():
        program, verb, *arguments = shlex.split(line)
        assert (program, verb) == ("mosaic", name)
        typer.main.get_command(app).commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize("given", ["toybox-smoke", "toybox-smoke.toml", "recipes/toybox-smoke.toml"])
def test_recipes_are_found_by_name(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Path] = []
    stand_in(monkeypatch, "mosaic.training.run", train=lambda recipe, **_: taken.append(recipe))
    monkeypatch.chdir(tmp_path)
    assert run(["train", given, "--output", "run"]) == 0
    assert taken[0].samefile(ROOT / "recipes" / "toybox-smoke.toml")
    (tmp_path / "recipes").mkdir()
    for own in (
        tmp_path / "toybox-smoke",
        tmp_path / "toybox-smoke.toml",
        tmp_path / "recipes/toybox-smoke.toml",
    ):
        own.touch()
    assert run(["train", given, "--output", "run"]) == 0
    assert taken[1] == Path(given)  # a file that is there comes first
