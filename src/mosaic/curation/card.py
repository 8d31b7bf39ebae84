"""The dataset card: what is in it, how it was made, by whose licence, and what was left out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOUNS = 25  # most frequent ones told


def total(notes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The statistics of several packed shards added up."""
    found: dict[str, Any] = {"samples": 0, "bytes": 0, "shards": 0}
    for note in notes:
        found["bytes"] += note["bytes"]
        found["shards"] += any(name.endswith(".tar") for name in note["checksums"])
        for key in ("verdicts", "rejected_by", "errors", "subjects", "made_by"):
            _add(found.setdefault(key, {}), note[key])
        for kind, counts in note["nouns"].items():
            _add(found.setdefault("nouns", {}).setdefault(kind, {}), counts)
        for name, values in note["scores"].items():
            found.setdefault("scores", {})[name] = _joined(found.get("scores", {}).get(name), values)
    found["samples"] = found.get("verdicts", {}).get("accepted", 0)
    return found


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        counts[name] = counts.get(name, 0) + value


def _joined(first: Sequence[float] | None, second: Sequence[float]) -> list[float]:
    if first is None:
        return list(second)
    return [
        first[0] + second[0],
        first[1] + second[1],
        min(first[2], second[2]),
        max(first[3], second[3]),
    ]


def card(title: str, name: str, licence: str, found: Mapping[str, Any], recipe: str) -> str:
    """README.md of the dataset, as the hub reads it; `recipe` is the recipe's text."""
    parts = [
        _head(title, name, licence, found),
        _use(name),
        _table("Rows", ("verdict", "rows"), sorted(found.get("verdicts", {}).items())),
        _table("Licence of every part", ("stage", "made by", "licence", "samples"), _licences(found)),
        _table("Subjects a sample", ("subjects", "samples"), sorted(found.get("subjects", {}).items())),
        _table("Rejected by", ("score", "rows"), _most(found.get("rejected_by", {}))),
        _table("Failed by", ("stage and error", "rows"), _most(found.get("errors", {}))),
        _table("Scores", ("score", "values", "mean", "least", "most"), _scores(found)),
        _table("Nouns", ("noun", "subjects", "accepted", "share"), _nouns(found)),
        f"## Recipe\n\n```toml\n{recipe.strip()}\n```\n" if recipe else "",
    ]
    return "\n".join(part for part in parts if part)


def _head(title: str, name: str, licence: str, found: Mapping[str, Any]) -> str:
    sizes = [("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6)]
    size = next((word for word, most in sizes if found["samples"] < most), "1M<n<10M")
    shards = f"{found['shards']} shard{'s' * (found['shards'] != 1)}"
    return f"""---
pretty_name: {title or name}
license: {licence or "other"}
task_categories: [text-to-image]
tags: [personalisation, multi-subject, semantic-correspondence, webdataset]
size_categories: [{size}]
configs:
- config_name: default
  data_files: "{name}-*.tar"
- config_name: rows
  data_files: "{name}-*.parquet"
---

# {title or name}

{found["samples"]} samples in {shards}, {found["bytes"] / 1e6:.1f} MB: a target picture, \
references of the subjects in it, their masks, and points that references and target share.
Made by `mosaic curate`. `samples.html` shows some; `SHA256SUMS` has the checksums.
"""


def _use(name: str) -> str:
    return f"""## Use

`{name}-*.tar` are WebDataset shards that
`mosaic train RECIPE.toml --set data.source=shards --set data.path=THIS_FOLDER` reads.
`{name}-*.parquet` have a row for every sample that was begun, with its verdict, the reason, and every score.
"""


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    top = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return f"## {title}\n\n" + "\n".join(top + lines) + "\n"


def _licences(found: Mapping[str, Any]) -> list[list[str]]:
    """Stage, model, licence, samples; a part that tells no licence is said to tell none."""
    rows = []
    for line, samples in sorted(found.get("made_by", {}).items()):
        stage, by, licence = line.split(" · ", 2)
        rows.append([stage, by or "not told", licence or "not told", str(samples)])
    return rows


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:NOUNS]


def _scores(found: Mapping[str, Any]) -> list[list[str]]:
    return [
        [name, f"{n:.0f}", f"{sum_ / n:.4g}", f"{least:.4g}", f"{most:.4g}"]
        for name, (n, sum_, least, most) in sorted(found.get("scores", {}).items())
    ]


def _nouns(found: Mapping[str, Any]) -> list[list[str]]:
    nouns = found.get("nouns", {"all": {}, "accepted": {}})
    accepted = nouns["accepted"]
    return [
        [noun, str(count), str(accepted.get(noun, 0)), f"{accepted.get(noun, 0) / count:.0%}"]
        for noun, count in _most(nouns["all"])
    ]
