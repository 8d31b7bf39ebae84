"""docs/recipes.md, written from the heads of recipes/*.toml.

python examples/recipes_page.py docs/recipes.md
"""

import re
import sys
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
GROUPS = {
    "FLUX.1-dev": "flux-dev",
    "The toybox and the embedded model": ("toybox", "instruments", "ablation"),
    "Datasets": ("curate", "semalign"),
}
UNITS = {"s": 1, "minute": 60, "hour": 3600}
DURATION = re.compile(r"(?:under a|(\d[\d ]*(?:\.\d+)?)) (?:(minute|hour)s?(?: of an? [A-Z]\w+)?|(s)\b)")
MARGIN = 10  # spaces before a line that goes on with a field; a line with fewer is of a table

INTRODUCTION = """\
# Recipes

A recipe says by its head what it aims at, on which hardware, how long it takes, what to expect, and
whether anybody has run it. This page is those heads: `python examples/recipes_page.py docs/recipes.md` writes
it, and a test holds the two together. *Measured* is what was seen on the machine that the head names;
*derived* is arithmetic ([mosaic plan](plan.md)), no observation. No recipe of FLUX.1-dev has been run yet.

A command takes a recipe's file or its name: `mosaic train toybox-smoke --output runs/smoke`. An installed
wheel brings them all along; a file of yours that is there comes first.
"""


def head_of(recipe: Path) -> tuple[str, dict[str, str], list[str]]:
    """The title, the fields in their order, and the lines of a table that a head may have."""
    head = takewhile(lambda line: line.startswith("#"), recipe.read_text(encoding="utf-8").splitlines())
    title, *lines = (line[1:].rstrip() for line in head)
    fields: dict[str, list[str]] = {}
    table = []
    for line in filter(None, lines):
        begun = re.match(r" ([A-Z]\w+(?: at)?) {2,}(\S.*)", line)
        if begun:
            fields[begun[1]] = [begun[2]]
        elif line.startswith(" " * MARGIN):
            fields[list(fields)[-1]].append(line.strip())
        else:
            table.append(line.strip())
    return title.strip(" ."), {name: " ".join(parts) for name, parts in fields.items()}, table


def duration(time: str) -> str:
    """The longest time that the field names: of parts and their sum that is the sum."""
    found = DURATION.finditer(time)
    longest = max(found, key=_seconds, default=None)
    return longest[0] if longest else "not known"


def _seconds(found: re.Match[str]) -> float:
    return float((found[1] or "1").replace(" ", "")) * UNITS[found[2] or found[3]]


def first(text: str, stops: str = r"[,;:.](?=\s|$)| \(") -> str:
    return re.split(stops, text)[0].strip()


def row(name: str, title: str, fields: dict[str, str]) -> str:
    status = first(fields["Status"], r"\.(?=\s|$)")
    return line_of(f"[{name}](#{name})", title, first(fields["Hardware"]), duration(fields["Time"]), status)


def line_of(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def section(name: str, title: str, fields: dict[str, str], table: list[str]) -> str:
    rows = [line_of(f"**{field}**", text) for field, text in fields.items()]
    shown = ["", "```text", *table, "```"] if table else []
    return "\n".join(
        [
            f"### {name}",
            "",
            title if title.endswith("?") else f"{title}.",
            "",
            "| | |",
            "|---|---|",
            *rows,
            *shown,
            "",
        ]
    )


def page(folder: Path = ROOT / "recipes") -> str:
    """The whole page; KeyError where a head lacks its hardware, time or status."""
    heads = {recipe.stem: head_of(recipe) for recipe in sorted(folder.glob("*.toml"))}
    groups = grouped(list(heads))
    rows = [row(name, *heads[name][:2]) for names in groups.values() for name in names]
    parts = [INTRODUCTION, "| recipe | what | hardware | time | status |\n|---|---|---|---|---|", *rows]
    for group, names in groups.items():
        parts += [f"\n## {group}\n", *(section(name, *heads[name]) for name in names)]
    return "\n".join(parts).rstrip() + "\n"


def grouped(names: list[str]) -> dict[str, list[str]]:
    """Each group's recipes; ValueError for one that no group takes."""
    found = {group: [name for name in names if name.startswith(start)] for group, start in GROUPS.items()}
    left = set(names) - {name for group in found.values() for name in group}
    if left:
        raise ValueError(f"No group of the page takes {', '.join(sorted(left))}: extend GROUPS.")
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
