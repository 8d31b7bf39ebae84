"""The files that the stages left, joined to a sample of `mosaic.data.shards`; what packing measures of it."""

import json
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from mosaic.curation.rows import Work
from mosaic.data.shards import decode_sample, points_npy
from mosaic.geometry import TOKEN, Grid, token_of
from mosaic.sample import Sample


def assembled(work: Work, files: Mapping[str, bytes]) -> tuple[dict[str, bytes], Sample]:
    """A sample's files in the order of the layout, and the sample they decode to.

    ValueError if one is missing or damaged: what is packed can be read.
    """
    shown = [work.record.subjects[index] for index in _shows(work, files)]
    ids = [f"{work.id}-{index}" for index in _shows(work, files)]
    texts = {
        "caption": work.record.caption,
        "detailed_caption": work.record.detailed_caption,
        "references": [{"subject": id, "name": named.name} for id, named in zip(ids, shown, strict=True)],
    }
    kept = {name: content for name, content in sorted(files.items()) if _is_part(name)}
    kept.setdefault("points.npy", points_npy(()))
    kept["json"] = json.dumps(texts, ensure_ascii=False, sort_keys=True).encode()
    return kept, decode_sample({"__key__": work.id, **kept})


def _shows(work: Work, files: Mapping[str, bytes]) -> list[int]:
    """The subject that each reference shows."""
    count = sum(f"ref{k}.webp" in files for k in range(len(files)))
    return [int(index) for index in work.facts.get("references", range(count))]


def _is_part(name: str) -> bool:
    return name.startswith(("target.", "ref")) or name == "points.npy"


def measured(sample: Sample) -> dict[str, float]:
    """pack/<k>/points of each reference; pack/shared: target tokens that two subjects claim (eq. 2: 0)."""
    height, width = sample.size
    grid = Grid(max(1, height // TOKEN), max(1, width // TOKEN))
    claims: dict[int, set[int]] = {}
    for subject, points in zip(sample.subject_indices, sample.correspondences, strict=True):
        claims.setdefault(int(subject), set()).update(np.unique(token_of(points.target, grid)).tolist())
    shared = set().union(*(a & b for a, b in combinations(claims.values(), 2)))
    counts = {f"pack/{k}/points": float(len(c)) for k, c in enumerate(sample.correspondences)}
    return counts | {"pack/shared": float(len(shared))}
