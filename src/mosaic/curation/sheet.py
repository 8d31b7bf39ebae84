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
from mosaic.pictures.attention import COLORS
from mosaic.sample import Sample

STYLE = """
:root { color-scheme: light dark; }
:root { --page: #f5f6f8; --paper: #fff; --ink: #1f2430; --faint: #667085; --edge: #e1e4ea; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14161b; --paper: #1d2027; --ink: #e6e8ee; --faint: #98a1b0; --edge: #2d323d; }
}
* { box-sizing: border-box; }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 1440px; padding: clamp(1rem, 3vw, 2.5rem); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .8rem; }
h2 span, .faint { color: var(--faint); font-weight: 400; }
dl { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0; }
dl div, figure { background: var(--paper); border: 1px solid var(--edge); border-radius: 10px; }
dl div { padding: .45rem .9rem; } dt { color: var(--faint); font-size: .78rem; }
dd { font-variant-numeric: tabular-nums; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.grid { display: grid; gap: 1rem; }
.grid { grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); }
.rejected { grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); }
figure { margin: 0; overflow: hidden; } figure img { display: block; height: auto; width: 100%; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; padding: .7rem .9rem .8rem; }
ul { display: flex; flex-wrap: wrap; font-size: .82rem; gap: 0 .9rem; list-style: none; margin: .3rem 0 0; }
ul { padding: 0; } .why { color: var(--faint); font-size: .8rem; margin: .2rem 0 0; }
i { border-radius: 50%; display: inline-block; height: .65em; margin-right: .4em; width: .65em; }
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
    """The whole page; pictures are within it. It follows the reader's light or dark, and their width."""
    told = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    figures = [_sample(sample) for sample in samples]
    shown = f"<div class=grid>{''.join(figures)}</div>" if figures else "<p class=faint>There are none.</p>"
    others = "".join(map(_rejected, rejected))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><dl>{told}</dl>"
        f"<h2>Samples <span>references, target, and lines between the points they share</span></h2>{shown}"
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
    points = [
        f"<li><i style='background:{COLORS[k % len(COLORS)]}'></i>{escape(one.subject.name)} {len(found)}"
        for k, (one, found) in enumerate(zip(sample.references, sample.correspondences, strict=True))
    ]
    size, key = "{1} × {0}".format(*sample.size), escape(sample.key, quote=True)
    key = f"<p class=why title='{key}'>{size} · {escape(sample.key[:12])}</p>"
    return _figure(draw_sample(sample), sample.caption, f"<ul>{''.join(points)}</ul>{key}")


def _rejected(one: Rejected) -> str:
    why = f"<p class=why>{escape(one.reason)}</p>"
    if not one.picture:
        return f"<figure><figcaption>{escape(one.caption)}{why}</figcaption></figure>"
    picture = Image.open(io.BytesIO(one.picture)).convert("RGB")
    picture.thumbnail((360, 360))
    return _figure(picture, one.caption, why)


def _figure(picture: Image.Image, caption: str, below: str) -> str:
    """`below` is HTML."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    width, height = picture.size
    return (
        f'<figure><img src="data:image/webp;base64,{data}" width={width} height={height}'
        f' alt="{escape(caption, quote=True)}"><figcaption>{escape(caption)}{below}</figcaption></figure>'
    )
