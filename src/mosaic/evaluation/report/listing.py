"""cases.json: which picture of which method shows which record, so that a report can be looked at again.

Pictures within the report's folder are named relative to it, so that it can be moved; others by their whole
path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mosaic.evaluation.features import Case, PictureFile
from mosaic.evaluation.records import BenchSubject, Record
from mosaic.evaluation.summary import Method

NAME = "cases.json"


def listed(methods: Sequence[Method], output: Path) -> dict[str, Any]:
    """What is written: records with their prompts and references, and each method's pictures of them."""
    records = {case.record.id: case.record for method in methods for case in method.cases}
    return {
        "records": {id: _record(record, output) for id, record in records.items()},
        "methods": [
            {
                "name": method.name,
                "control": method.control,
                "pictures": {case.record.id: _pictures(case, output) for case in method.cases},
            }
            for method in methods
        ],
    }


def read_methods(path: Path) -> list[Method]:
    """The methods with their cases; photographs are the reference alone. ValueError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        records = {id: _read_record(id, told, path.parent) for id, told in found["records"].items()}
        return [_read_method(told, records, path.parent) for told in found["methods"]]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no cases of mosaic evaluate: {error!r}.") from error


def _record(record: Record, output: Path) -> dict[str, Any]:
    subjects = [
        {"noun": one.noun, "kind": one.kind, "reference": _named(one.reference, output)}
        for one in record.subjects
    ]
    return {"part": record.part, "group": record.group, "prompt": record.prompt, "subjects": subjects}


def _pictures(case: Case, output: Path) -> dict[str, Any]:
    """One file an image, or the one that holds all of them."""
    if case.grid is not None:
        return {"grid": _named(case.grid.path, output), "images": len(case.pictures)}
    return {"files": [_named(picture.path, output) for picture in case.pictures]}


def _named(path: Path, output: Path) -> str:
    whole, folder = path.absolute(), output.absolute()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def _read_record(id: str, told: Mapping[str, Any], folder: Path) -> Record:
    subjects = [
        BenchSubject(
            noun=one["noun"],
            kind=one["kind"],
            reference=folder / one["reference"],
            photographs=(folder / one["reference"],),
        )
        for one in told["subjects"]
    ]
    return Record(
        id=id,
        part=told["part"],
        group=told["group"],
        prompt=told["prompt"],
        subjects=tuple(subjects),
        names=(),
    )


def _read_method(told: Mapping[str, Any], records: Mapping[str, Record], folder: Path) -> Method:
    cases = [_case(told["name"], records[id], where, folder) for id, where in told["pictures"].items()]
    return Method(name=told["name"], cases=tuple(cases), control=bool(told["control"]))


def _case(method: str, record: Record, where: Mapping[str, Any], folder: Path) -> Case:
    if "grid" in where:
        grid = PictureFile(folder / where["grid"])
        pictures = [PictureFile(grid.path, quadrant) for quadrant in range(int(where["images"]))]
        return Case(method=method, record=record, pictures=tuple(pictures), grid=grid)
    files = [PictureFile(folder / file) for file in where["files"]]
    return Case(method=method, record=record, pictures=tuple(files))
