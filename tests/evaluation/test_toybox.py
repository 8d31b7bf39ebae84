"""The toybox as a benchmark: its figures are those of `toybox.instruments.measure`, scene by scene."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import Ask, Case
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.toys import MEASURES, ROLE, composition, load_toys
from mosaic.evaluation.pictures import cases
from mosaic.evaluation.protocols import BENCHMARKS, toybox
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.scoring import asks_of
from mosaic.toybox.instruments import controls
from mosaic.toybox.instruments.measure import exam, score
from mosaic.toybox.render import render

SCENES = 3


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return BENCHMARKS["toybox"](limit=SCENES, work=tmp_path_factory.mktemp("work"))


def made(benchmark: Benchmark, folder: Path, name: str, subjects: int) -> list[Case]:
    """Pictures of a control for the scenes of one K, as files."""
    part = f"K={subjects}"
    pictures = controls.control(name)([composition(toybox.SEED, subjects, n) for n in range(SCENES)])
    records = [one for one in benchmark.records if one.part == part]
    for record, picture in zip(records, pictures.numpy(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{record.id}.png")
    alone = Benchmark(
        name=benchmark.name,
        records=tuple(records),
        settings={part: benchmark.settings[part]},
        columns=benchmark.columns,
        mean=benchmark.mean,
        published={},
        deviations=(),
    )
    return cases(alone, name, folder)


@pytest.mark.parametrize(("name", "subjects"), [("true", 1), ("swapped", 2), ("rotated", 4), ("true", 8)])
def test_figures_equal_the_instruments(
    benchmark: Benchmark, tmp_path: Path, name: str, subjects: int
) -> None:
    found = made(benchmark, tmp_path, name, subjects)
    scorers = scorers_of([])
    metrics = [METRICS[column](scorers) for column in benchmark.columns]
    asks = asks_of(metrics, found)
    assert len(asks[ROLE]) == SCENES  # one look at a picture for all measures
    extractor = scorers.load(ROLE)
    half = asks[ROLE][:2], asks[ROLE][2:]  # in batches as they come
    features = {
        ask: feature
        for some in half
        for ask, feature in zip(
            some, extractor([ask.picture.read() for ask in some], [a.text for a in some]), strict=True
        )
    }
    sheet = exam(subjects, SCENES, toybox.SEED)
    counts = score(torch.from_numpy(np.stack([case.pictures[0].read() for case in found])), sheet)
    for metric in metrics:
        values = [one.value for case in found for one in metric.scores(case, features)]
        measure = MEASURES[metric.column.name]
        hits, totals = (sum(one[measure][i] for one in counts) for i in (0, 1))
        assert len(values) == totals
        if totals:
            assert np.mean(values) == pytest.approx(hits / totals, abs=1e-12), measure
        assert metric.column.title == metric.column.name  # the frozen instruments are the official ones


def test_true_renders_score_high_and_swapped_ones_low(benchmark: Benchmark, tmp_path: Path) -> None:
    identity = METRICS["identity"](scorers_of([]))
    extractor = load_toys({"instruments": "v2"}, None)
    means = {}
    for name in ("true", "swapped"):
        found = made(benchmark, tmp_path / name, name, 2)
        asks = [ask for case in found for ask in identity.asks(case)]
        features = dict(
            zip(asks, extractor([a.picture.read() for a in asks], [a.text for a in asks]), strict=True)
        )
        means[name] = np.mean([one.value for case in found for one in identity.scores(case, features)])
    assert means["true"] > 0.8
    assert means["swapped"] < 0.3


def test_records_are_the_exam(benchmark: Benchmark) -> None:
    assert benchmark.parts == tuple(f"K={subjects}" for subjects in range(1, 9))
    assert len(benchmark.records) == 8 * SCENES
    for subjects in (1, 5):
        for n, composed in enumerate(exam(subjects, SCENES, toybox.SEED).compositions):
            record = next(one for one in benchmark.records if one.id == f"K{subjects}-{n:03}")
            assert record.prompt == composed.caption
            assert [s.noun for s in record.subjects] == [toy.species for toy in composed.scene.toys]
            assert json.loads(record.scene)["stranger"] == (n + SCENES // 2) % SCENES


def test_references_are_the_toys_portraits(benchmark: Benchmark) -> None:
    record = next(one for one in benchmark.records if one.id == "K3-002")
    wanted = render(composition(toybox.SEED, 3, 2).references, 128, 128).picture.numpy()
    for subject, picture in zip(record.subjects, wanted, strict=True):
        assert np.array_equal(np.asarray(Image.open(subject.reference)), picture)
    assert len({s.reference for one in benchmark.records for s in one.subjects}) == 36 * SCENES


def test_references_are_rendered_once(tmp_path: Path) -> None:
    first = toybox.read(limit=1, work=tmp_path)
    files = [s.reference for one in first.records for s in one.subjects]
    files[3].unlink()
    times = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    again = toybox.read(limit=1, work=tmp_path)
    assert again.records == first.records
    assert files[3].is_file()
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    with pytest.raises(ValueError, match="--limit"):
        toybox.read(limit=0, work=tmp_path)


def test_pictures_of_several_sizes_are_looked_at(benchmark: Benchmark) -> None:
    extractor = load_toys({"instruments": "v2"}, None)
    records = [one for one in benchmark.records if one.part == "K=1"][:2]
    scenes = [composition(toybox.SEED, 1, n).scene for n in range(2)]
    small, large = (render([scenes[n]], side, side).picture[0].numpy() for n, side in enumerate((128, 256)))
    features = extractor([small, large], [one.scene for one in records])
    assert [feature["presence"].tolist() for feature in features] == [[1.0, 1.0], [1.0, 1.0]]


def test_no_scene_is_asked_nothing(benchmark: Benchmark) -> None:
    from dataclasses import replace

    metric = METRICS["presence"](scorers_of([]))
    record = replace(benchmark.records[0], scene="")
    assert list(metric.asks(Case(method="x", record=record, pictures=()))) == []
    assert metric.roles == (ROLE,)
    assert isinstance(ROLE, str) and Ask(ROLE, None) == Ask(ROLE, None)


def test_unknown_instruments_are_named() -> None:
    with pytest.raises(ValueError, match=r"no toybox instruments v99: take one of .*v2"):
        load_toys({"instruments": "v99"}, None)
