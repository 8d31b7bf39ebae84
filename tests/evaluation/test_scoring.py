"""The engine with an extractor that counts: the models' own parity is held by the metrics' tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation import extractors, scoring
from mosaic.evaluation.extractors import Role, scorers_of
from mosaic.evaluation.features import Ask, Case, Column, PictureFile, Score
from mosaic.evaluation.records import BenchSubject, Record
from mosaic.evaluation.rows import read_rows, write_rows
from mosaic.evaluation.store import FeatureStore


@dataclass
class Means:
    """The mean level of a picture; of a text its length."""

    batch: int = 4
    name: str = "means"
    seen: list[int] = field(default_factory=list)
    fails_at: int | None = None

    def __call__(self, pictures: Sequence, texts: Sequence[str]):
        if self.fails_at is not None and sum(self.seen) >= self.fails_at:
            raise KeyboardInterrupt
        self.seen.append(len(texts))
        return [
            {"value": np.array([len(text) if picture is None else picture.mean()], np.float32)}
            for picture, text in zip(pictures, texts, strict=True)
        ]


class Closeness:
    """How far a made picture's mean is from its references', a column to be computed by hand."""

    column = Column(name="closeness", model="means", official=True)
    roles = ("means",)

    def asks(self, case):
        yield from (Ask("means", made) for made in case.pictures)
        yield from (Ask("means", PictureFile(s.reference)) for s in case.record.subjects)

    def scores(self, case, features):
        for i, made in enumerate(case.pictures):
            for k, subject in enumerate(case.record.subjects):
                pair = features[Ask("means", made)], features[Ask("means", PictureFile(subject.reference))]
                yield Score(image=i, subject=k, value=float(abs(pair[0]["value"] - pair[1]["value"])[0]))


def grey(path: Path, level: int, size: int = 8) -> Path:
    Image.new("RGB", (size, size), (level,) * 3).save(path)
    return path


@pytest.fixture
def means(monkeypatch):
    extractor = Means()
    role = Role(parts={"model": "somebody/means"}, make=lambda parts, device: extractor)
    monkeypatch.setitem(extractors.ROLES, "means", role)
    return extractor


@pytest.fixture
def cases(tmp_path):
    reference = grey(tmp_path / "reference.png", 100)
    subject = BenchSubject(noun="toy", kind="object", reference=reference, photographs=(reference,))
    made = [PictureFile(grey(tmp_path / f"{i}.png", 10 * i)) for i in range(6)]
    return [
        Case(
            method="ours",
            record=Record(
                id=str(i), part="single", group="g", prompt="", subjects=(subject,), names=(str(i),)
            ),
            pictures=tuple(made[2 * i : 2 * i + 2]),
        )
        for i in range(3)
    ]


def run(cases, store, scorers):
    asks = scoring.asks_of([Closeness()], cases)["means"]
    pending = scoring.missing(asks, scorers, store)
    spent = scoring.measure("means", pending, scorers, store)
    return scoring.rows_of([Closeness()], cases, scoring.Lookup(store, scorers)), spent


def test_rows_are_what_a_loop_would_say_and_references_are_measured_once(tmp_path, means, cases):
    rows, spent = run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    assert [row.value for row in rows] == [100, 90, 80, 70, 60, 50]
    assert [(row.record, row.image, row.subject) for row in rows[:2]] == [("0", 0, 0), ("0", 1, 0)]
    assert means.seen == [4, 3] and spent.asks == 7  # six pictures and one reference
    assert 0 <= spent.measuring <= spent.seconds


def test_a_second_run_measures_nothing(tmp_path, means, cases):
    run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    means.seen.clear()
    rows, spent = run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    assert means.seen == [] and spent.asks == 0 and len(rows) == 6


def test_an_interrupted_run_keeps_what_it_measured(tmp_path, means, cases):
    means.fails_at = 4
    store = FeatureStore(tmp_path / "features")
    with pytest.raises(KeyboardInterrupt):
        run(cases, store, scorers_of([]))
    means.fails_at = None
    rows, spent = run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    assert spent.asks == 3 and len(rows) == 6


def test_processes_share_the_work(tmp_path, means, cases):
    """Each takes its share of what is pending; together they have all, none twice."""
    scorers, store = scorers_of([]), FeatureStore(tmp_path / "features")
    pending = scoring.missing(scoring.asks_of([Closeness()], cases)["means"], scorers, store)
    shares = [scoring.share(pending, rank, 2) for rank in range(2)]
    assert not set(shares[0]) & set(shares[1]) and set(shares[0]) | set(shares[1]) == set(pending)
    for one in shares:
        scoring.measure("means", one, scorers, FeatureStore(tmp_path / "features"))
    store.refresh()
    assert len(scoring.rows_of([Closeness()], cases, scoring.Lookup(store, scorers))) == 6


def test_equal_pictures_are_measured_once_whatever_their_names(tmp_path, means):
    asks = [Ask("means", PictureFile(grey(tmp_path / f"{name}.png", 7))) for name in "abc"]
    assert len(scoring.missing(asks, scorers_of([]), FeatureStore(tmp_path / "features"))) == 1


def test_another_model_has_features_of_its_own(tmp_path, means, cases):
    store = FeatureStore(tmp_path / "features")
    run(cases, store, scorers_of([]))
    weights = tmp_path / "model"
    weights.mkdir()
    (weights / "w").write_bytes(b"1")
    _, spent = run(cases, store, scorers_of([f"means={weights}"]))
    assert spent.asks == 7


def test_a_picture_that_changed_is_measured_again(tmp_path, means, cases):
    run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    grey(cases[0].pictures[0].path, 250)
    rows, spent = run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    assert spent.asks == 1 and rows[0].value == 150


def test_a_quadrant_is_a_picture_of_its_own(tmp_path):
    grid = np.zeros((4, 6, 3), np.uint8)
    grid[:2, 3:], grid[2:, :3], grid[2:, 3:] = 1, 2, 3
    Image.fromarray(grid).save(tmp_path / "grid.png")
    read = [PictureFile(tmp_path / "grid.png", i).read() for i in range(4)]
    assert [(one.shape, one.min(), one.max()) for one in read] == [((2, 3, 3), i, i) for i in range(4)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("means", "is not ROLE=MODEL"),
        ("nobody=x", "a role is one of"),
        ("means.tail=x", "means has the parts model"),
    ],
)
def test_a_wrong_scorer_is_told(means, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        scorers_of([given])


def test_a_scorer_can_be_left_out_and_another_model_is_named(means, tmp_path):
    assert "means" not in scorers_of(["means=none"])
    assert scorers_of([]).official("means") and scorers_of([]).name("means") == "somebody/means"
    other = scorers_of([f"means={tmp_path}"])
    assert not other.official("means") and other.name("means") == tmp_path.name


def test_rows_survive_parquet(tmp_path, means, cases):
    rows, _ = run(cases, FeatureStore(tmp_path / "features"), scorers_of([]))
    write_rows(rows, tmp_path / "scores.parquet")
    assert read_rows(tmp_path / "scores.parquet") == rows


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "scores.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no scores of mosaic evaluate"):
        read_rows(tmp_path / "scores.parquet")
