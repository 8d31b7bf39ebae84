"""What a person does with a dataset, step by step: open, filter, turn pages, decide, mend, mark, compare.

A `Desk` is what one browser tab remembers; every function takes one, with what was done, to the next or to
what is shown. Edits go to the reviewer's file at once; nothing else is kept between steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from mosaic.sample import Sample
from mosaic.studio.data.dataset import POINTS, Dataset, Look, Page
from mosaic.studio.data.edits import Edit, Review, read_edits, review_file, reviewers, write_edit
from mosaic.studio.data.filters import Filter, score_names
from mosaic.studio.data.listing import LISTING, Entry, Stamp
from mosaic.studio.data.marking import Question, Table, points_of, questions
from mosaic.studio.data.views import Thumbs, thumbs_of
from mosaic.studio.roots import Roots

PAGE = 12  # samples of a page
NOBODY = "reviewer"  # whose name it is until one is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One browser tab's place in a dataset; path None: none is open."""

    roots: Roots
    path: Path | None = None
    reviewer: str = NOBODY
    filter: Filter = field(default_factory=Filter)
    start: int = 0
    selected: str = ""  # address of a sample
    seed: int = 0  # of the check of points

    @property
    def dataset(self) -> Dataset:
        """ValueError if none is open."""
        if self.path is None:
            raise ValueError("Open a dataset first.")
        return _opened(self.path, self.roots, self.path.stat().st_mtime_ns)

    @property
    def review(self) -> Review:
        """This reviewer's edits as they are on disk."""
        return self.review_of(self.reviewer)

    def review_of(self, reviewer: str) -> Review:
        """Somebody's edits. ValueError for a bad name or a damaged file."""
        file = self.dataset.review_file(reviewer)
        facts = file.stat() if file.exists() else None
        return _review(file, (facts.st_size, facts.st_mtime_ns) if facts else (0, 0))


@lru_cache(maxsize=8)
def _opened(path: Path, roots: Roots, changed: int) -> Dataset:
    return Dataset(path, roots)


@lru_cache(maxsize=32)
def _review(file: Path, stamp: tuple[int, int]) -> Review:
    return Review.of(read_edits(file))


def offered(roots: Roots) -> list[str]:
    """Datasets to choose from: folders."""
    places = roots.places("*.tar", "*.parquet", LISTING)
    return [str(place) for place in places if not _is_scores(place)]


def _is_scores(place: Path) -> bool:
    """A report of `mosaic evaluate` has a Parquet file too."""
    return (place / "scores.parquet").exists()


def open_dataset(desk: Desk, typed: str, reviewer: str) -> Desk:
    """The desk with a dataset on it, first page, nothing chosen. ValueError if it cannot be opened."""
    path, name = desk.roots.find(typed), reviewer.strip() or NOBODY
    review_file(path, name)  # a bad name is told now
    opened = replace(desk, path=path, reviewer=name, filter=Filter(), start=0, selected="")
    return opened if opened.dataset and opened.review is not None else desk


# ---------------------------------------------------------------- pages


def page(desk: Desk) -> Page:
    """The samples of the page, and whether there are more."""
    review = desk.review
    wanted = None if desk.filter == Filter() else lambda entry: desk.filter.holds(entry, review)
    return desk.dataset.page(wanted, desk.start, PAGE)


def turned(desk: Desk, pages: int) -> Desk:
    """Some pages on or back; never before the first or behind the last."""
    start = max(0, desk.start + pages * PAGE)
    moved = replace(desk, start=start)
    return moved if not start or page(moved).entries else desk


def at_page(desk: Desk, number: int) -> Desk:
    """At that page, 1 the first; at the last if there are fewer, where it is known how many there are."""
    start, now = max(0, number - 1) * PAGE, page(desk)
    if now.total is not None:
        start = min(start, max(0, now.total - 1) // PAGE * PAGE)
    return turned(replace(desk, start=0), start // PAGE)


def stepped(desk: Desk, by: int) -> Desk:
    """With the next sample chosen (by = 1) or the one before (by = −1), on the next page if need be."""
    found = [entry.address for entry in page(desk).entries]
    if desk.selected not in found:
        return replace(desk, selected=found[0]) if found else desk
    place = found.index(desk.selected) + by
    if 0 <= place < len(found):
        return replace(desk, selected=found[place])
    moved = turned(desk, by)
    if moved.start == desk.start:  # the first or the last of all
        return desk
    found = [entry.address for entry in page(moved).entries]
    return replace(moved, selected=found[0 if by > 0 else -1])


def filtered(desk: Desk, chosen: Filter) -> Desk:
    """Another filter, from its first page; the same one leaves the page as it is."""
    return desk if chosen == desk.filter else replace(desk, filter=chosen, start=0)


def place_in(found: Page) -> str:
    """ "13 – 24 of 900", without the 900 while parts are unread."""
    if not found.entries:
        return "0 samples"
    total = "" if found.total is None else f" of {found.total:,}"
    return f"{found.start + 1} – {found.start + len(found.entries)}{total}"


def thumbs(desk: Desk, entry: Entry) -> Thumbs:
    """Small pictures of a sample, kept for the next time."""
    return _thumbs(desk.dataset, entry.address, desk.dataset.parts[entry.part].stamp)


@lru_cache(maxsize=600)
def _thumbs(dataset: Dataset, address: str, stamp: Stamp) -> Thumbs:
    return thumbs_of(dataset, dataset.entry(address))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What there is to filter by, and how many samples of each kind; all parts are read for it."""

    subjects: tuple[int, ...]
    verdicts: tuple[str, ...]
    stages: tuple[str, ...]
    scores: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]  # verdict → samples
    problems: tuple[str, ...]


def choices(dataset: Dataset) -> Choices:
    """By one look at every sample's row."""
    entries = list(dataset.entries())
    counts = Counter(entry.verdict for entry in entries)
    return Choices(
        subjects=tuple(sorted({len(entry.nouns) for entry in entries})),
        verdicts=tuple(sorted(counts)),
        stages=tuple(sorted({entry.stage for entry in entries if entry.stage})),
        scores=tuple(score_names(entries)),
        counts=tuple(sorted(counts.items())),
        problems=tuple(dataset.problems()),
    )


# ---------------------------------------------------------------- one sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The sample that is looked at, with the reviewer's words in place of the dataset's."""

    entry: Entry
    look: Look
    caption: str
    detailed_caption: str
    nouns: tuple[tuple[str, str], ...]  # (subject id, noun)


def chosen(desk: Desk) -> Chosen:
    """ValueError if nothing is chosen."""
    if not desk.selected:
        raise ValueError("Choose a sample first.")
    entry, review = desk.dataset.entry(desk.selected), desk.review
    look = look_at(desk, desk.selected)
    said = review.nouns(entry.address)
    subjects = look.sample.subjects if look.sample is not None else ()
    nouns = tuple((subject.id, said.get(subject.id, subject.name)) for subject in subjects)
    return Chosen(
        entry=entry,
        look=look,
        caption=review.value(entry.address, "caption") or entry.caption,
        detailed_caption=review.value(entry.address, "detailed_caption") or entry.detailed_caption,
        nouns=nouns,
    )


def look_at(desk: Desk, address: str) -> Look:
    """What there is to see of a sample; the last few are kept."""
    return _look(desk.dataset, address, desk.dataset.stamp(address))


@lru_cache(maxsize=16)
def _look(dataset: Dataset, address: str, stamp: Stamp) -> Look:
    return dataset.look(dataset.entry(address))


def decide(desk: Desk, value: str | None) -> Edit:
    """Keep or drop the chosen sample; None: undecided again."""
    entry = chosen(desk).entry
    return write(desk, Edit(sample=entry.address, thing="decision", value=value, was=entry.verdict))


def write(desk: Desk, edit: Edit) -> Edit:
    """Into the reviewer's file, at once."""
    return write_edit(desk.dataset.review_file(desk.reviewer), edit)


# ---------------------------------------------------------------- points


def next_question(desk: Desk) -> tuple[Question, Sample] | None:
    """The first point of the check that this reviewer has not marked, and its sample; None once all are.

    Samples that are damaged are passed over.
    """
    marks = [edit for edit in desk.review.edits.values() if edit.thing == "point"]
    marked = {(edit.sample, edit.which, edit.was) for edit in marks}
    for one in _asked(desk.dataset, desk.seed):
        if (one.sample, one.which, one.place) not in marked:
            sample = look_at(desk, one.sample).sample
            if sample is not None and one.reference < len(sample.references):
                return one, sample
    return None


def _asked(dataset: Dataset, seed: int) -> Iterator[Question]:
    samples = [entry.address for entry in dataset.entries() if entry.packed]
    return questions(samples, _tables(dataset), seed)


def _tables(dataset: Dataset) -> Callable[[str], Table]:
    return lambda address: _table(dataset, address, dataset.stamp(address))


@lru_cache(maxsize=20_000)
def _table(dataset: Dataset, address: str, stamp: Stamp) -> Table:
    """A sample's points; none where they are damaged, which looking at the sample tells."""
    try:
        entry = dataset.entry(address)
        return points_of({POINTS: dataset.file(entry, POINTS)})
    except (OSError, ValueError):
        return points_of({})


def mark(desk: Desk, asked: Question, value: str | None) -> Edit:
    """right, wrong or unsure; None takes a mark back."""
    return write(desk, asked.edit(value))


def take_back(desk: Desk) -> Edit | None:
    """The last mark is taken back; None if there is none."""
    marks = [edit for edit in desk.review.edits.values() if edit.thing == "point"]
    return write(desk, marks[-1].model_copy(update={"value": None})) if marks else None


def names(desk: Desk) -> list[str]:
    """Who has edits beside the dataset, the present reviewer among them."""
    return sorted({*reviewers(desk.dataset.path), desk.reviewer})
