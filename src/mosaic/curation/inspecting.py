"""What `mosaic inspect` does: count what is in shards, and draw some of their samples on a page."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from mosaic.curation.folder import write_whole
from mosaic.curation.sheet import first_samples, page
from mosaic.data.shards import read_shard
from mosaic.sample import Sample


def inspect(data: Path, output: Path | None = None, samples: int = 24) -> Path:
    """Count and draw the samples of a shard or of a folder of shards; the page's path, which is printed too.

    ValueError if there is no shard, or a shard cannot be read.
    """
    shards = shards_of(data)
    page_at = output or _page_of(data)
    facts = counts_of(shards)
    html = page(data.name or str(data), facts, first_samples(shards, samples), [])
    write_whole(page_at, html.encode())
    console = Console()
    for name, value in facts:
        console.print(f"{name:>22}  {value}", markup=False, highlight=False)
    console.print(f"{'page':>22}  {page_at}", markup=False, highlight=False, soft_wrap=True)
    return page_at


def _page_of(data: Path) -> Path:
    """Beside the shards; never over the sheet of `mosaic curate`, which shows what was rejected too."""
    if not data.is_dir():
        return data.with_suffix(".html")
    return data / ("inspected.html" if any(data.glob("*.parquet")) else "samples.html")


def shards_of(data: Path) -> list[Path]:
    """The tars of a folder, or the one."""
    if data.is_dir():
        if not (shards := sorted(data.glob("*.tar"))):
            raise ValueError(f"{data} holds no shard: give a .tar, or a folder with .tar files in it.")
        return shards
    if not data.is_file():
        raise ValueError(f"{data} does not exist: give a .tar, or a folder with .tar files in it.")
    return [data]


def counts_of(shards: Sequence[Path]) -> list[tuple[str, str]]:
    """What a person wants to know of a dataset at a glance."""
    sizes, subjects, nouns = Counter[str](), Counter[int](), Counter[str]()
    references, points, samples = 0, list[int](), 0
    for sample in _all(shards):
        samples += 1
        sizes["{1}×{0}".format(*sample.size)] += 1
        subjects[len(sample.subjects)] += 1
        nouns.update(subject.name for subject in sample.subjects)
        references += len(sample.references)
        points += [len(one) for one in sample.correspondences]
    return [
        ("shards", str(len(shards))),
        ("samples", str(samples)),
        ("references", str(references)),
        ("subjects a sample", _listed(sorted(subjects.items()))),
        ("target sizes", _listed(sizes.most_common(6))),
        (
            "points a reference",
            f"{sum(points) / max(1, len(points)):.0f} ({min(points, default=0)} at least)",
        ),
        ("references without", str(sum(not count for count in points))),
        ("nouns", _listed(nouns.most_common(12))),
    ]


def _all(shards: Sequence[Path]) -> Iterator[Sample]:
    return (sample for shard in shards for sample in read_shard(shard))


def _listed(counts: Sequence[tuple[object, int]]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts)
