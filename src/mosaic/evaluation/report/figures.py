"""Figures of the page as inline SVG; colours come from its style sheet, text alternatives are in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mosaic.evaluation.statistics import Interval, plain
from mosaic.evaluation.tally import Floats

BINS = 25
WIDTH, HEIGHT, FOOT = 200, 72, 18  # of a histogram: bars, and the scale below
NAMES, PLOT, NUMBERS, ROW = 140, 190, 56, 22  # of whiskers
LEFT, WIDE, TALL = 46, 360, 150  # of curves
COLOURS = 8  # that the style sheet has for curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a histogram shows of one method, in the column's scale."""

    method: str
    values: Sequence[float]
    substitutes: Sequence[float]  # those of the values that stand in for one
    mean: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A mean on a scale: measured with its interval, or as published."""

    name: str
    value: float
    interval: Interval | None = None
    kind: str = "measured"  # or "control", "published"


def histograms(all_scores: Sequence[Scores]) -> list[str]:
    """One SVG a method, over one common range; bars as high as the share of the method's scores."""
    everything = [value for one in all_scores for value in one.values]
    low, high = min(everything), max(everything)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, BINS + 1)
    shares = [
        [np.histogram(values, edges)[0] / len(one.values) for values in (one.values, one.substitutes)]
        for one in all_scores
    ]
    tallest = max(float(found.max()) for found, _ in shares)
    return [
        _histogram(one, found / tallest, held / tallest, low, high)
        for one, (found, held) in zip(all_scores, shares, strict=True)
    ]


def _histogram(one: Scores, shares: Floats, substitutes: Floats, low: float, high: float) -> str:
    def x_of(value: float) -> float:
        return (min(max(value, low), high) - low) / (high - low) * WIDTH

    band = _band(x_of(one.interval.low), x_of(one.interval.high)) if one.interval else ""
    at = x_of(one.mean)
    return (
        f'<svg class="histogram" viewBox="0 -2 {WIDTH} {HEIGHT + FOOT + 2}" role="img" '
        f'aria-label="{escape(_told(one))}">{band}{_bars(shares, "bar")}{_bars(substitutes, "held")}'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
        f'<line class="mean" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT}"/>'
        f'<text x="0" y="{HEIGHT + 14}">{plain(low)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{plain(high)}</text></svg>'
    )


def _bars(shares: Floats, name: str) -> str:
    step = WIDTH / len(shares)
    return "".join(
        f'<rect class="{name}" x="{n * step:.1f}" y="{HEIGHT * (1 - share):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * share:.1f}"/>'
        for n, share in enumerate(shares)
        if share
    )


def _band(left: float, right: float) -> str:
    wide = max(1.0, right - left)
    return f'<rect class="band" x="{left:.1f}" y="0" width="{wide:.1f}" height="{HEIGHT}"/>'


def _told(one: Scores) -> str:
    ends = f"from {plain(min(one.values))} to {plain(max(one.values))}"
    told = f"Scores of {one.method}: {len(one.values)} {ends}, mean {plain(one.mean)}"
    return f"{told}, {len(one.substitutes)} of them substitutes" if one.substitutes else told


def whiskers(points: Sequence[Point], name: str) -> str:
    """Means with their intervals on one scale, a line each; published ones hollow and without interval."""
    low, high = _range(points)
    foot = ROW * len(points) + 16

    def x_of(value: float) -> float:
        return NAMES + (value - low) / (high - low) * PLOT

    lines = [_whisker(point, ROW * n + ROW // 2, x_of) for n, point in enumerate(points)]
    return (
        f'<svg class="whiskers" viewBox="0 0 {NAMES + PLOT + NUMBERS} {foot + 6}" role="img" '
        f'aria-label="{escape(name)} with intervals; the numbers are in the table">{"".join(lines)}'
        f'<text x="{NAMES}" y="{foot}">{plain(low)}</text>'
        f'<text x="{NAMES + PLOT}" y="{foot}" text-anchor="end">{plain(high)}</text></svg>'
    )


def _whisker(point: Point, y: int, x_of: Callable[[float], float]) -> str:
    name, line = escape(_short(point.name)), ""
    if point.interval:
        ends = f'x1="{x_of(point.interval.low):.1f}" x2="{x_of(point.interval.high):.1f}"'
        line = f'<line class="whisker {point.kind}" {ends} y1="{y}" y2="{y}"/>'
    return (
        f'<text class="name" x="{NAMES - 12}" y="{y + 4}" text-anchor="end">{name}</text>'
        f'<line class="guide" x1="{NAMES}" x2="{NAMES + PLOT}" y1="{y}" y2="{y}"/>{line}'
        f'<circle class="dot {point.kind}" cx="{x_of(point.value):.1f}" cy="{y}" r="4.5"/>'
        f'<text x="{NAMES + PLOT + 12}" y="{y + 4}">{plain(point.value)}</text>'
    )


def curves(lines: Sequence[Sequence[Point | None]], parts: Sequence[str], name: str) -> str:
    """Means over parts, a curve a method (M lines of one point or None a part), with their intervals."""
    low, high = _range([point for line in lines for point in line if point])
    step = WIDE / len(parts)

    def y_of(value: float) -> float:
        return (high - value) / (high - low) * TALL

    drawn = [
        _curve(
            [(LEFT + step * (k + 0.5) + 5 * (n - (len(lines) - 1) / 2), p) for k, p in enumerate(line) if p],
            n,
            y_of,
        )
        for n, line in enumerate(lines)
    ]
    ticks = [
        f'<text x="{LEFT + step * (k + 0.5):.1f}" y="{TALL + 16}" text-anchor="middle">{escape(part)}</text>'
        for k, part in enumerate(parts)
    ]
    scale = [
        f'<line class="guide" x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y_of(at):.1f}" y2="{y_of(at):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y_of(at) + 4:.1f}" text-anchor="end">{plain(at)}</text>'
        for at in np.linspace(low, high, 4).tolist()
    ]
    return (
        f'<svg class="curves" viewBox="0 -8 {LEFT + WIDE} {TALL + 30}" role="img" '
        f'aria-label="{escape(name)} over {escape(", ".join(parts))}; the numbers are in the tables">'
        f"{''.join([*scale, *ticks, *drawn])}</svg>"
    )


def _curve(points: Sequence[tuple[float, Point]], n: int, y_of: Callable[[float], float]) -> str:
    """Points (x, point) as a line with dots and whiskers, in the style sheet's colour `n`."""
    path = " ".join(f"{x:.1f},{y_of(point.value):.1f}" for x, point in points)
    marks = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(p.interval.low):.1f}" y2="{y_of(p.interval.high):.1f}"/>'
        for x, p in points
        if p.interval
    ]
    marks += [f'<circle cx="{x:.1f}" cy="{y_of(p.value):.1f}" r="3"/>' for x, p in points]
    return f'<g class="curve c{n % COLOURS}"><polyline points="{path}"/>{"".join(marks)}</g>'


def _range(points: Sequence[Point]) -> tuple[float, float]:
    ends = [point.value for point in points]
    ends += [end for point in points if point.interval for end in (point.interval.low, point.interval.high)]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
