"""Writes toybox samples as WebDataset shards, the layout `mosaic train` and the curation pipeline read."""

import json
from pathlib import Path

from rich.progress import track

from mosaic.data.shards import ShardWriter
from mosaic.toybox.batches import sample
from mosaic.toybox.scene import MOST_TOYS

SHARD = 250  # samples a shard


def write_dataset(
    *,
    samples: int,
    subjects: int,
    seed: int,
    size: int,
    output: Path,
    split: str = "train",
    shard: int = SHARD,
) -> list[Path]:
    """Writes `samples` scenes of `subjects` toys at `size` pixels; returns all shards, old and new.

    A shard appears whole or not at all, so an interrupted call goes on where it stopped. A folder made with
    other numbers is refused. Raises ValueError for numbers that make no dataset.
    """
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, not {samples}.")
    if not 1 <= subjects <= MOST_TOYS:
        raise ValueError(f"--subjects must be 1 to {MOST_TOYS}, not {subjects}.")
    if not 64 <= size <= 2048 or size % 16:
        raise ValueError(f"--size must be a multiple of 16 between 64 and 2048, not {size}.")
    output.mkdir(parents=True, exist_ok=True)
    _claim(
        output,
        {
            "samples": samples,
            "subjects": subjects,
            "seed": seed,
            "size": size,
            "split": split,
            "shard": shard,
        },
    )
    starts = range(0, samples, shard)
    paths = [output / f"toybox-{number:06d}.tar" for number in range(len(starts))]
    for path, start in track(list(zip(paths, starts, strict=True)), description="toybox shards"):
        if path.exists():
            continue
        with ShardWriter(path) as writer:
            for index in range(start, min(start + shard, samples)):
                writer.write(
                    sample(seed, subjects=subjects, index=index, size=size, reference_size=size, split=split)
                )
    return paths


def _claim(output: Path, numbers: dict[str, object]) -> None:
    """Says in the folder what it holds, or refuses a folder that holds something else."""
    card = output / "toybox.json"
    if card.exists() and json.loads(card.read_text()) != numbers:
        raise ValueError(
            f"{output} holds another toybox dataset ({card.read_text()}); choose another folder."
        )
    partial = card.with_suffix(".partial")
    partial.write_text(json.dumps(numbers))
    partial.replace(card)
