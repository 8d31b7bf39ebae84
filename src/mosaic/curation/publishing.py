"""After packing: the card, the checksums and the sheet of samples; a push to a hub repository by option."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mosaic.curation.card import card, total
from mosaic.curation.folder import write_whole
from mosaic.curation.sheet import Rejected, first_samples, page
from mosaic.curation.stages.pack import Section, note_of
from mosaic.curation.worker import Plan, files_before, merged

REJECTED = 12  # of all shards, in the sheet


def publish(plan: Plan, section: Section, recipe: str) -> None:
    """Write README.md, SHA256SUMS and samples.html beside the shards, and push them if the recipe says so."""
    notes = [note for shard in range(plan.shards) if (note := _note(plan.folder, shard)) is not None]
    sums = {name: sum_ for note in notes for name, sum_ in note["checksums"].items()}
    _drop_old(plan.folder, section.name, set(sums))
    found = total(notes)
    text = card(section.title, section.name, section.licence, found, recipe)
    write_whole(plan.folder / "README.md", text.encode())
    lines = "".join(f"{sum_}  {name}\n" for name, sum_ in sorted(sums.items()))
    write_whole(plan.folder / "SHA256SUMS", lines.encode())
    if section.sheet:
        shards = [plan.folder / name for name in sorted(sums) if name.endswith(".tar")]
        samples = first_samples(shards, section.sheet)
        html = page(section.title or section.name, _facts(found), samples, list(_rejected(plan)))
        write_whole(plan.folder / "samples.html", html.encode())
    if section.hub:
        push(plan.folder, section)


def push(folder: Path, section: Section) -> None:
    """Upload what was packed to a dataset repository of the hub; what is there already is not sent again.

    ValueError if the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    packed = [f"{section.name}-*.tar", f"{section.name}-*.parquet"]
    try:
        hub = HfApi()
        hub.create_repo(section.hub, repo_type="dataset", private=section.private, exist_ok=True)
        hub.upload_folder(
            repo_id=section.hub,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[*packed, "README.md", "SHA256SUMS", "samples.html"],
        )
    except (HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"pack.hub: {section.hub} could not be pushed to ({error}); the folder {folder} is complete: "
            "log in with `hf auth login` and run --only pack again."
        ) from error


def _note(folder: Path, shard: int) -> dict[str, Any] | None:
    path = note_of(folder, shard)
    return json.loads(path.read_bytes()) if path.exists() else None


def _drop_old(folder: Path, name: str, packed: set[str]) -> None:
    """Shards of a larger packing before this one."""
    for path in [*folder.glob(f"{name}-*.tar"), *folder.glob(f"{name}-*.parquet")]:
        if path.name not in packed and path.stem.removeprefix(f"{name}-").isdecimal():
            path.unlink()


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    verdicts = [(name, str(count)) for name, count in sorted(found.get("verdicts", {}).items())]
    size = [("shards", str(found["shards"])), ("bytes", f"{found['bytes'] / 1e6:.1f} MB")]
    reasons = sorted(found.get("rejected_by", {}).items(), key=lambda pair: -pair[1])[:5]
    return verdicts + size + [(f"rejected by {name}", str(count)) for name, count in reasons]


def _rejected(plan: Plan) -> Iterator[Rejected]:
    """A few samples that were rejected, with their targets."""
    left = REJECTED
    step = plan.steps[-1]
    for shard in range(plan.shards):
        note = _note(plan.folder, shard)
        if left <= 0 or note is None or not note["shown"]:
            continue
        reasons = {id: reason for id, _, reason in note["shown"][:left]}
        left -= len(reasons)
        places = files_before(plan, step, shard)
        for work, _, _ in merged(plan, step, shard):
            if work.id in reasons:
                target = places.get(work.id, {}).get("target.webp")
                picture = target.read() if target is not None else b""
                yield Rejected(caption=work.record.caption, reason=reasons[work.id], picture=picture)
