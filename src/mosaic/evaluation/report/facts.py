"""summary.json: every number with all that is needed to make it again."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.statistics import EXACT, LEVEL, RESAMPLES, SEED
from mosaic.evaluation.summary import Comparison, Method, Summary, Value

LIBRARIES = ("mosaic", "torch", "transformers", "diffusers", "onnxruntime", "numpy", "scipy", "pillow")
WEIGHTS = {".safetensors", ".bin", ".onnx", ".pth", ".pt", ".json", ".txt", ".model"}


def facts(
    summary: Summary, benchmark: Benchmark, methods: Sequence[Method], scorers: Scorers | None
) -> dict[str, object]:
    """All of summary.json."""
    return {
        "benchmark": summary.benchmark,
        "parts": {part: _part(benchmark, part) for part in benchmark.parts},
        "columns": [
            asdict(one.column) | {"title": one.column.title, "mean": one.mean} for one in summary.columns
        ],
        "averaged": list(benchmark.averaged),
        "missing": dict(summary.missing),
        "methods": [_method(method) for method in methods],
        "values": [_value(value) for value in summary.values],
        "comparisons": [_comparison(one) for one in summary.comparisons],
        "groups": [
            {"part": part, "column": column, "group": group, "values": dict(values)}
            for (part, column, group), values in summary.groups.items()
        ],
        "statistics": {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED, "exact_up_to": EXACT},
        "published": {
            part: {name: dict(row) for name, row in rows.items()}
            for part, rows in benchmark.published.items()
        },
        "deviations": deviations_of(benchmark, methods),
        "scorers": scorer_files(scorers) if scorers else {},
        "versions": versions(),
    }


def deviations_of(benchmark: Benchmark, methods: Sequence[Method]) -> list[str]:
    """The benchmark's, then each method's with its name."""
    own = [f"{method.name}: {text}" for method in methods for text in method.deviations]
    return [*benchmark.deviations, *own]


def versions() -> dict[str, str]:
    """Of the libraries that can change a number, where installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def scorer_files(scorers: Scorers) -> dict[str, dict[str, dict[str, str]]]:
    """Role → part → the model and, where its files are at hand, one hash over them."""
    return {
        role: {part: {"model": where} | _hash(where) for part, where in parts.items()}
        for role, parts in scorers.chosen.items()
    }


def _hash(where: str) -> dict[str, str]:
    """SHA-256 of a file, or of the sorted "name hash" lines of a folder; of a hub id its revision."""
    at = Path(where).expanduser() if where else None
    if at is None or not at.exists():
        return _revision(where)
    if at.is_file():
        return {"sha256": _of_file(at)}
    listed = "".join(f"{path.relative_to(at)} {_of_file(path)}\n" for path in _weights(at))
    return {"sha256": hashlib.sha256(listed.encode()).hexdigest()}


def _revision(where: str) -> dict[str, str]:
    """The commit of a hub id that lies in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", where):
        return {}
    for name in ("config.json", "model_index.json"):
        if isinstance(found := try_to_load_from_cache(where, name), str):
            return {"revision": Path(found).parent.name}
    return {}


def _weights(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix in WEIGHTS and path.is_file())


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(benchmark: Benchmark, part: str) -> dict[str, object]:
    records = [record for record in benchmark.records if record.part == part]
    return {"records": len(records), "groups": len({record.group for record in records})} | asdict(
        benchmark.settings[part]
    )


def _method(method: Method) -> dict[str, object]:
    images = Counter[str]()
    for case in method.cases:
        images[case.record.part] += len(case.pictures)
    return {
        "name": method.name,
        "control": method.control,
        "images": dict(images),
        "settings": dict(method.settings),
        "deviations": list(method.deviations),
    }


def _value(value: Value) -> dict[str, object]:
    found = asdict(value) | {"substitutes": dict(value.substitutes)}
    shown = found.pop("interval") or {"low": None, "high": None}
    return found | shown


def _comparison(one: Comparison) -> dict[str, object]:
    difference = one.difference
    shown = difference.interval if difference else None
    return {
        "part": one.part,
        "column": one.column,
        "first": one.first,
        "second": one.second,
        "difference": difference.value if difference else None,
        "low": shown.low if shown else None,
        "high": shown.high if shown else None,
        "p": difference.p if difference else None,
        "winner": one.winner,
        "verdict": one.verdict,
    }


def as_json(found: Mapping[str, object]) -> str:
    """Readable, the same for the same facts; settings that JSON does not know are written as text."""
    return json.dumps(found, indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n"
