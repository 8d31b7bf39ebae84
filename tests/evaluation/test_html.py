"""index.html: it calls nothing from elsewhere, takes nothing for markup, shows the right pictures."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.evaluation.features import Case, PictureFile
from mosaic.evaluation.report import thumbnails, write
from mosaic.evaluation.report.cases import Seen, all_seen, extremes
from mosaic.evaluation.report.figures import Point, Scores, curves, histograms, whiskers
from mosaic.evaluation.report.thumbnails import Thumbnails
from mosaic.evaluation.rows import Row
from mosaic.evaluation.statistics import Interval
from mosaic.evaluation.summary import summarise
from tests.evaluation.invented import benchmark, draw, methods_of, record, rows_of, shown

COLUMNS = (shown("DINO"), shown("ID-Sim", model="<b>other</b>.onnx"))
QUALITY = {"ours": 0.2, "<script>alert(1)</script>": 0.0, "copy-paste": 0.3}
EMPTY = {"meta", "link", "img", "br", "hr", "input", "circle", "line", "rect", "polyline"}


class Page(HTMLParser):
    """Elements with their attributes; asserts that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    bench = benchmark(folder)
    rows = rows_of(bench, COLUMNS, QUALITY)
    rows[0] = replace(rows[0], value=0.0, note="no face & <nothing>")
    methods = methods_of(bench, folder, list(QUALITY), ["copy-paste"])
    summary = summarise(rows, COLUMNS, bench, controls=["copy-paste"])
    write(summary, rows, bench, methods, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "index.html").read_text(encoding="utf-8"))


def test_it_calls_nothing_from_elsewhere(page: Page, written: Path) -> None:
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    style = "".join(page.text)
    assert "url(" not in style and "@import" not in style
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
    for image in page.all("img"):
        assert (written / (image["src"] or "")).is_file()
    for link in page.all("a"):
        assert (link["href"] or "").startswith("#") or link["href"] == "grid.png"


def test_links_lead_to_what_is_there_and_ids_are_unique(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    within = {link["href"] or "" for link in page.all("a")} - {"grid.png"}
    assert {href[1:] for href in within} <= ids.keys()
    for attributes in page.all("section"):
        assert attributes["aria-labelledby"] in ids


def test_names_and_prompts_are_text_and_not_markup(page: Page) -> None:
    text = " ".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "a cat <in> the “jungle” &" in text
    assert "no face & <nothing>" in text
    assert not page.all("script") and not page.all("in") and not page.all("nothing")


def test_a_screen_reader_finds_its_way(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] for image in page.all("img"))
    for svg in page.all("svg"):
        assert svg["role"] == "img" and svg["aria-label"]
    for head in page.all("th"):
        assert head["scope"] in {"col", "row", "rowgroup"}
    scrolled = [attributes for attributes in page.all("div") if "scroll" in (attributes.get("class") or "")]
    assert scrolled and all(one["tabindex"] == "0" and one["aria-label"] for one in scrolled)


def test_light_dark_and_narrow_are_cared_for(page: Page) -> None:
    style = "".join(page.text)
    assert "prefers-color-scheme: dark" in style
    assert any((one.get("content") or "").startswith("width=device-width") for one in page.all("meta"))


def test_substitutes_settings_and_deviations_are_told(page: Page) -> None:
    text = " ".join(" ".join(page.text).split())
    assert "1 of 24" in text
    assert "64×48" in text and "7, 8" in text
    assert "Photographs are 640 pixels." in text
    assert "ours: 4 steps instead of 28." in text


def test_thumbnails_are_small_each_once_and_of_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MOST", 2)
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "9999.webp").write_bytes(b"of an earlier report")
    (tmp_path / "thumbnails" / "mine.txt").write_bytes(b"not ours")
    Image.fromarray(np.zeros((300, 600, 3), np.uint8)).save(tmp_path / "wide.png")
    kept = Thumbnails(tmp_path / "thumbnails")
    first = kept.add(PictureFile(tmp_path / "wide.png"), 100)
    assert first == kept.add(PictureFile(tmp_path / "wide.png"), 100)
    assert first is not None
    assert kept.add(PictureFile(tmp_path / "wide.png", 3), 100) is not None
    assert kept.add(PictureFile(draw(tmp_path / "new.png", "red")), 100) is None
    kept.write()
    with Image.open(tmp_path / first) as image:
        assert image.size == (100, 50) and image.format == "WEBP"
    assert sorted(path.name for path in (tmp_path / "thumbnails").iterdir()) == [
        "0000.webp",
        "0001.webp",
        "mine.txt",
    ]


def test_a_result_that_is_no_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    kept = Thumbnails(tmp_path / "thumbnails")
    kept.add(PictureFile(tmp_path / "broken.png"), 100)
    with pytest.raises(ValueError, match=r"broken\.png"):
        kept.write()


def seen_of(values: dict[str, list[float]]) -> list[Seen]:
    """Record → a score an image."""
    cases = [
        Case(
            method="ours",
            record=replace(record(Path("nowhere"), "single", 1, 0, 1), id=name),
            pictures=tuple(PictureFile(Path(f"{name}-{n}.png")) for n in range(len(found))),
        )
        for name, found in values.items()
    ]
    rows = [
        Row(
            method="ours",
            part="single",
            group="cat",
            record=name,
            column="DINO",
            image=n,
            subject=0,
            photograph=photograph,
            value=value + 0.1 * (2 * photograph - 1),
            note="",
        )
        for name, found in values.items()
        for n, value in enumerate(found)
        for photograph in (0, 1)
    ]
    return all_seen(rows, cases, shown("DINO").column)


def ids(found: Sequence[Seen]) -> list[tuple[str, int | None]]:
    return [(one.case.record.id, one.image) for one in found]


def test_worst_and_best_are_of_the_image_and_no_record_comes_twice() -> None:
    seen = seen_of({"a": [0.1, 0.9], "b": [0.2, 0.3], "c": [0.5, 0.8], "d": [0.4, 0.4]})
    worst, best = extremes(seen, shown("DINO").column, 2)
    assert ids(worst) == [("a", 0), ("b", 0)]
    assert ids(best) == [("c", 1), ("d", 1)]
    assert worst[0].score == pytest.approx(10)  # the mean over photographs, in the column's scale
    assert worst[0].picture.path.name == "a-0.png"


def test_where_less_is_better_the_worst_is_the_highest() -> None:
    seen = seen_of({"a": [0.1], "b": [0.2], "c": [0.5]})
    worst, best = extremes(seen, shown("confusion", lower_is_better=True).column, 1)
    assert ids(worst) == [("c", 0)] and ids(best) == [("a", 0)]


@given(
    st.dictionaries(st.text("abc", min_size=1), st.lists(st.floats(0, 1), min_size=1, max_size=3)),
    st.integers(1, 5),
)
def test_worst_and_best_of_anything(values: dict[str, list[float]], count: int) -> None:
    worst, best = extremes(seen_of(values), shown("DINO").column, count)
    records = [one.case.record.id for one in (*worst, *best)]
    assert len(records) == len(set(records)) == min(2 * count, len(values))
    assert [one.score for one in worst] == sorted(one.score for one in worst)


def test_a_score_of_all_images_shows_the_grid() -> None:
    (one, *_) = seen_of({"a": [0.1, 0.9]})
    whole = replace(one, image=None)
    assert whole.picture.path.name == "a-0.png"
    grid = PictureFile(Path("grid.png"))
    assert replace(whole, case=replace(one.case, grid=grid)).picture == grid


scores = st.builds(
    Scores,
    method=st.text(max_size=8),
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=20),
    substitutes=st.just([0.0]),
    mean=st.floats(-100, 100),
    interval=st.none() | st.just(Interval(low=-300, high=300)),
)
NAMESPACED = st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), max_size=8)
points = st.builds(
    Point, name=NAMESPACED, value=st.floats(-9, 9), interval=st.none() | st.just(Interval(low=-9, high=9))
)


@given(st.lists(scores.map(lambda one: replace(one, method="<&>")), min_size=1, max_size=3))
def test_histograms_are_svg_with_as_many_bars_as_scores_need(found: list[Scores]) -> None:
    for one, svg in zip(found, histograms(found), strict=True):
        rects = ElementTree.fromstring(svg).findall("rect")
        bars = [rect for rect in rects if rect.get("class") == "bar"]
        assert 1 <= len(bars) <= len(one.values)
        assert all(0 <= float(rect.get("height", "nan")) <= 72.05 for rect in rects)


@given(st.lists(points, min_size=1, max_size=5))
def test_whiskers_and_curves_are_svg_within_their_frame(found: list[Point]) -> None:
    tree = ElementTree.fromstring(whiskers(found, "<DINO>"))
    assert len(tree.findall("circle")) == len(found)
    _, _, width, height = map(float, tree.get("viewBox", "").split())
    for circle in tree.findall("circle"):
        assert 0 <= float(circle.get("cx", "nan")) <= width and 0 <= float(circle.get("cy", "nan")) <= height
    lines = [[*found[:2], None], [None, *found[:1], *found[:1]]]
    assert len(ElementTree.fromstring(curves(lines, ["K=1", "K=2", "K<3"], "a & b")).findall("g")) == 2
