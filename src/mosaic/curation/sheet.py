"""samples.html: samples with their correspondences as lines, and others with why they were not taken."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from mosaic.curation.drawing import draw_sample
from mosaic.data.shards import read_shard
from mosaic.sample import Sample

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1320px; padding: 0 1rem; }
body { color: #1f2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } .faint { color: #8a909c; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); }
figure { border: 1px solid #e3e5ea; border-radius: 8px; margin: 0; overflow: hidden; }
figure img { display: block; width: 100%; } figcaption { padding: .6rem .8rem; font-size: .85rem; }
.rejected { grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A sample that was not taken: what there is of its picture, and why."""

    caption: str
    reason: str
    picture: bytes = b""


def page(
    title: str, facts: Sequence[tuple[str, str]], samples: Iterable[Sample], rejected: Sequence[Rejected]
) -> str:
    """The whole page; pictures are within it."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    shown = "".join(map(_sample, samples)) or "<p>There are none.</p>"
    others = "".join(map(_rejected, rejected))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><table>{rows}</table><h2>Samples</h2><div class=grid>{shown}</div>"
        + (f"<h2>Not taken</h2><div class='grid rejected'>{others}</div>" if others else "")
        + "</html>\n"
    )


def first_samples(shards: Sequence[Path], count: int) -> Iterator[Sample]:
    """`count` samples, as evenly from the shards as they have them."""
    left = count
    for n, shard in enumerate(shards):
        share = -(-left // (len(shards) - n))
        for sample, _ in zip(read_shard(shard), range(share), strict=False):
            left -= 1
            yield sample


def _sample(sample: Sample) -> str:
    counts = ", ".join(
        f"{reference.subject.name} {len(points)}"
        for reference, points in zip(sample.references, sample.correspondences, strict=True)
    )
    height, width = sample.size
    return _figure(
        draw_sample(sample),
        sample.caption,
        f"{sample.key[:12]} · {width}×{height} · points: {counts or 'none'}",
    )


def _rejected(one: Rejected) -> str:
    if not one.picture:
        return f"<figure><figcaption>{escape(one.caption)}<br>{escape(one.reason)}</figcaption></figure>"
    picture = Image.open(io.BytesIO(one.picture)).convert("RGB")
    picture.thumbnail((360, 360))
    return _figure(picture, one.caption, one.reason)


def _figure(picture: Image.Image, caption: str, below: str) -> str:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/webp;base64,{data}" alt="{escape(caption, quote=True)}">'
        f"<figcaption>{escape(caption)}<br><span class=faint>{escape(below)}</span></figcaption></figure>"
    )
