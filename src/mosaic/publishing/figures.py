"""The figures of a card: from an evaluation's summary.json, every number with its interval."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mosaic.publishing.paths import without_paths

SUMMARY = "All of it, with counts and comparisons: [evaluation/summary.json](evaluation/summary.json)."


def read_figures(folder: Path) -> dict[str, Any]:
    """The facts `mosaic evaluate` left in a folder, paths shortened. ValueError if there are none."""
    path = folder / "summary.json" if folder.is_dir() else folder
    if not path.is_file():
        raise ValueError(f"--evaluation {folder} holds no summary.json: give a folder of mosaic evaluate.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = {"benchmark", "parts", "columns", "methods", "values"} - found.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is broken ({error}): evaluate again.") from error
    if missing:
        raise ValueError(f"{path} lacks {min(missing)}: it is not what mosaic evaluate writes.")
    return dict(without_paths(found))


def figures_section(found: Mapping[str, Any]) -> str:
    """Markdown: a table a part, methods as columns, then how far the numbers can be trusted."""
    parts = [f"### {found['benchmark']}"]
    for part, about in found["parts"].items():
        if rows := _rows(found, part):
            told = table(["measure", *map(_title, found["methods"])], rows)
            parts.append(f"{part}, {about.get('records', '?')} records:\n\n{told}")
    return "\n\n".join([*parts, *_notes(found), SUMMARY]) + "\n"


def _rows(found: Mapping[str, Any], part: str) -> list[list[str]]:
    values = {(v["method"], v["column"]): v for v in found["values"] if v["part"] == part}
    rows = []
    for column in found["columns"]:
        cells = [_cell(values.get((method["name"], column["title"]))) for method in found["methods"]]
        if any(cell != "–" for cell in cells):
            rows.append([column["title"] + (" ↓" if column.get("lower_is_better") else ""), *cells])
    return rows


def _title(method: Mapping[str, Any]) -> str:
    return str(method["name"]) + (" (control)" if method.get("control") else "")


def _cell(value: Mapping[str, Any] | None) -> str:
    """81.98 [80.11, 83.70]"""
    if value is None or value.get("value") is None:
        return "–"
    low, high = value.get("low"), value.get("high")
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{value['value']:.2f}{interval}"


def _notes(found: Mapping[str, Any]) -> list[str]:
    statistics, notes = found.get("statistics", {}), []
    if "level" in statistics:
        notes.append(
            f"In brackets: {100 * statistics['level']:.0f} % intervals, {statistics.get('resamples', '?')} "
            f"bootstrap resamples, seed {statistics.get('seed', '?')}. What is titled NAME [model] was "
            "measured by another model than the published one and compares with no published table."
        )
    notes += [
        f"{method['name']}: " + ", ".join(told) + "."
        for method in found["methods"]
        if (told := list(_settings(method.get("settings", {}))))
    ]
    if found.get("deviations"):
        notes.append("Deviations from the protocol: " + " ".join(found["deviations"]))
    if found.get("versions"):
        notes.append(
            "Measured with " + ", ".join(f"{name} {v}" for name, v in found["versions"].items()) + "."
        )
    return notes


def _settings(settings: Mapping[str, object]) -> Iterator[str]:
    words = {True: "yes", False: "no"}
    for key, value in settings.items():
        if value is not None and key not in ("folder", "hashes"):
            yield f"{key} {words[value] if isinstance(value, bool) else value}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in row) + " |"
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
