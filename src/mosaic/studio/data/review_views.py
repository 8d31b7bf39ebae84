"""Two reviews side by side, as HTML."""

from __future__ import annotations

from html import escape

from mosaic.studio.data.edits import Edit, Review
from mosaic.studio.data.marking import Agreement, agreements, disagreements, precision

MOST = 200  # disagreements that are listed
TITLES = {"decision": "Keep or drop", "point": "Points right or wrong"}


def compared(first: str, one: Review, second: str, other: Review) -> str:
    """Agreement, kappa, each one's precision, where they differ. ValueError for one reviewer twice."""
    if first == second:
        raise ValueError(
            "Choose two different reviewers: another opens the dataset under their own name, and marks."
        )
    rows = "".join(_row(TITLES[thing], found) for thing, found in agreements(one, other).items())
    shares = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="ms-number">{_precision(review)}</td></tr>'
        for name, review in ((first, one), (second, other))
    )
    return (
        '<table class="ms-table"><thead><tr><th scope="col">judged by both</th>'
        '<th scope="col" class="ms-number">how many</th><th scope="col" class="ms-number">same</th>'
        f'<th scope="col" class="ms-number">Cohen\'s kappa</th></tr></thead><tbody>{rows}</tbody></table>'
        "<h4>Share of right points, each by all of their own marks</h4>"
        f'<table class="ms-table"><tbody>{shares}</tbody></table>{_differing(first, one, second, other)}'
    )


def _row(title: str, found: Agreement) -> str:
    share = "–" if found.share is None else f"{found.same} ({100 * found.share:.0f} %)"
    kappa = f"{found.kappa:.2f}".replace("-", "−") if found.kappa is not None else "not defined"
    return (
        f'<tr><th scope="row">{title}</th><td class="ms-number">{found.both}</td>'
        f'<td class="ms-number">{share}</td><td class="ms-number">{kappa if found.both else "–"}</td></tr>'
    )


def _precision(review: Review) -> str:
    found = precision(review)
    if found.value is None or found.interval is None:
        return "nothing marked"
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return f"{100 * found.value:.1f} % <small>[{low:.1f}, {high:.1f}] of {found.decided}</small>"


def _differing(first: str, one: Review, second: str, other: Review) -> str:
    found = disagreements(one, other)
    if not found:
        return "<h4>They differ nowhere</h4>"
    rows = "".join(map(_pair, found[:MOST]))
    more = f'<p class="ms-faint">and {len(found) - MOST} more</p>' if len(found) > MOST else ""
    return (
        f"<h4>Where they differ ({len(found)})</h4>"
        '<div class="ms-scroll" tabindex="0" role="region" aria-label="where they differ">'
        '<table class="ms-table"><thead><tr><th scope="col">sample</th><th scope="col">what</th>'
        f'<th scope="col">{escape(first)}</th><th scope="col">{escape(second)}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{more}"
    )


def _pair(pair: tuple[Edit, Edit]) -> str:
    one, other = pair
    what = f"{one.thing.replace('_', ' ')} {one.which}".strip()
    return (
        f'<tr><th scope="row"><code>{escape(one.sample)}</code></th><td>{escape(what)}</td>'
        f"<td>{escape(str(one.value))}</td><td>{escape(str(other.value))}</td></tr>"
    )
