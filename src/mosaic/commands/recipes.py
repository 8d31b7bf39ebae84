"""The recipes that come with the program: given by name, wherever the command runs."""

from pathlib import Path

import typer

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "recipes", PACKAGE.parents[1] / "recipes")  # of a wheel, of a checkout


def shipped() -> dict[str, Path]:
    """Name → file, in the order of names; empty where neither folder is there."""
    return {file.stem: file for folder in FOLDERS for file in sorted(folder.glob("*.toml"))}


def recipe_file(given: Path) -> Path:
    """The file itself, else the recipe of that name: NAME, NAME.toml and recipes/NAME.toml are one."""
    if given.exists() or given.parent not in (Path(), Path("recipes")):
        return given
    found = shipped()
    if given.name == given.stem and given.stem not in found:
        names = ", ".join(found)
        raise typer.BadParameter(f"there is no recipe {given}: give a .toml file, or a name: {names}")
    return found.get(given.stem, given)


def complete(typed: str) -> list[str]:
    """The names that a shell offers; it offers files where none fits."""
    return [name for name in shipped() if name.startswith(typed)]
