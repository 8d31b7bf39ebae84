"""Reports read back, put together, and shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation.features import Case, Column, PictureFile
from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings
from mosaic.evaluation.report import write
from mosaic.evaluation.report.listing import NAME, read_methods
from mosaic.evaluation.rows import Row, Shown, write_rows
from mosaic.evaluation.statistics import signed
from mosaic.evaluation.summary import Method, Summary, summarise
from mosaic.studio.reports import comparing as reports
from mosaic.studio.reports import views
from mosaic.studio.reports.comparing import Opened, open_reports

from .sets import roots

COLUMNS = (
    Shown(column=Column(name="DINO", model="published", official=True), mean="entries"),
    Shown(
        column=Column(name="confusion", model="other", official=False, lower_is_better=True), mean="entries"
    ),
)
PROMPT = "a <b>bear</b> & a mug"


def benchmark(folder: Path, records: Sequence[int], name: str = "toys") -> Benchmark:
    reference = folder / "data" / "bear.png"
    reference.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "#804020").save(reference)
    subject = BenchSubject(noun="bear", kind="object", reference=reference, photographs=(reference,))
    return Benchmark(
        name=name,
        records=tuple(
            Record(id=f"r{n}", part="single", group="g", prompt=PROMPT, subjects=(subject,), names=("x",))
            for n in records
        ),
        settings={"single": Settings(width=16, height=16, seeds=(1, 2))},
        columns=("DINO", "confusion", "ID-Sim"),
        mean="entries",
        published={"single": {"MOSAIC": {"DINO": 77.4}}},
        deviations=("Sixteen pixels.",),
    )


def method(folder: Path, asked: Benchmark, name: str, control: bool = False) -> Method:
    cases = []
    for n, record in enumerate(asked.records):
        files = []
        for image in range(2):
            file = folder / "pictures" / name / f"{record.id}_{image}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (10 * n, 40, 90)).save(file)
            files.append(PictureFile(file))
        cases.append(Case(method=name, record=record, pictures=tuple(files)))
    return Method(name=name, cases=tuple(cases), control=control, settings={"steps": 4})


def scores(asked: Benchmark, name: str, seed: int, better: float = 0.0) -> list[Row]:
    """A picture's luck is the record's, so that methods can be compared in pairs."""
    rows = []
    for record in asked.records:
        luck = np.random.default_rng(int(record.id[1:])).normal(0, 0.1)
        random = np.random.default_rng([seed, int(record.id[1:])])
        for title in (one.column.title for one in COLUMNS):
            for image in range(2):
                value = float(0.5 + luck + better + random.normal(0, 0.01))
                place = {"part": record.part, "group": record.group, "record": record.id, "image": image}
                rows.append(
                    Row(method=name, column=title, subject=0, photograph=0, value=value, note="", **place)
                )
    return rows


def evaluated(
    folder: Path, names: dict[str, float], records: Sequence[int] = range(8), of: str = "toys"
) -> tuple[Path, Summary]:
    """An output folder as `mosaic evaluate` leaves it, and its summary; a control is the same in all."""
    asked = benchmark(folder, records, of)
    rows = [
        row
        for n, (name, better) in enumerate(names.items())
        for row in scores(asked, name, seed=100 * len(str(folder)) + n, better=better)
    ]
    rows += scores(asked, "pasted", seed=0)
    methods = [
        *(method(folder, asked, name) for name in names),
        method(folder, asked, "pasted", control=True),
    ]
    summary = summarise(rows, COLUMNS, asked, controls=("pasted",), missing={"ID-Sim": "no faces"})
    write(summary, rows, asked, methods, folder, scorers=None)
    return folder, summary


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reports") / "data"
    evaluated(place / "first", {"mosaic": 0.0, "rival": -0.1})
    evaluated(place / "second-run", {"mosaic": 0.2})
    return place


@pytest.fixture
def two(tmp_path: Path, made: Path) -> Path:
    shutil.copytree(made, tmp_path / "data")
    return tmp_path


def opened(place: Path, *names: str) -> Opened:
    return open_reports(names, roots(place, place / "data"))


def test_a_report_alone_says_what_it_was_written_with(tmp_path: Path) -> None:
    _, summary = evaluated(tmp_path / "data" / "first", {"mosaic": 0.0, "rival": -0.1})
    found = opened(tmp_path, "first")
    assert found.summary == summary
    assert found.benchmark.deviations == ("Sixteen pixels.",) and not found.notes
    html = views.tables_of(found)
    assert summary.values and f"{summary.values[0].value:.2f}" in html
    assert "77.40" in html and "ID-Sim is not measured: no faces" in html


def test_methods_of_several_reports_are_summarised_as_of_one(two: Path) -> None:
    found = opened(two, "first", "second-run")
    assert found.summary.methods == ("mosaic (first)", "mosaic (second-run)", "rival", "pasted")
    assert found.summary.controls == {"pasted"}  # the same in both: once
    literal = np.mean([row.value for row in found.rows if row.method == "rival" and row.column == "DINO"])
    value = found.summary.value("rival", "single", "DINO")
    assert value is not None and value.value == pytest.approx(100 * literal) and value.interval is not None
    compared = reports.compared(found, "single", "mosaic (second-run)", "mosaic (first)")
    by_column = {one.column: one for one in compared}
    difference = by_column["DINO"].difference
    assert difference is not None and difference.value == pytest.approx(20, abs=2)
    # paired: what a record is worth is common to both, so the interval is far narrower than either mean's
    assert difference.interval is not None and difference.interval.high - difference.interval.low < 4
    assert value.interval.high - value.interval.low > 8
    assert by_column["DINO"].winner == "mosaic (second-run)"
    assert by_column["confusion [other]"].winner == "mosaic (first)"  # lower is better


def test_a_difference_turned_round_is_the_same_with_the_other_sign(two: Path) -> None:
    found = opened(two, "first")
    there = reports.compared(found, "single", "mosaic", "rival")
    back = reports.compared(found, "single", "rival", "mosaic")
    for one, other in zip(there, back, strict=True):
        assert one.difference and other.difference and one.difference.interval and other.difference.interval
        assert one.difference.value == -other.difference.value
        assert one.difference.interval.low == -other.difference.interval.high
        assert one.winner == other.winner
        assert signed(other.difference.value) in views.differences(found, back)
    assert "not compared" in views.differences(found, reports.compared(found, "single", "mosaic", "mosaic"))


def test_only_shared_records_are_compared_and_that_is_told(tmp_path: Path) -> None:
    evaluated(tmp_path / "data" / "first", {"mosaic": 0.0}, records=range(8))
    evaluated(tmp_path / "data" / "second", {"other": 0.0}, records=range(2, 10))
    found = opened(tmp_path, "first", "second")
    assert {row.record for row in found.rows} == {f"r{n}" for n in range(2, 8)}
    assert "Over the 6 records that all have; 4 others are left out." in found.notes
    evaluated(tmp_path / "data" / "third", {"another": 0.0}, records=range(20, 24))
    with pytest.raises(ValueError, match="share no record"):
        opened(tmp_path, "first", "third")


def test_reports_of_two_benchmarks_are_refused(two: Path) -> None:
    evaluated(two / "data" / "else", {"mosaic": 0.0}, of="photographs")
    with pytest.raises(ValueError, match="photographs, toys"):
        opened(two, "first", "else")
    with pytest.raises(ValueError, match="Choose a report"):
        opened(two)
    with pytest.raises(ValueError, match="at most"):
        opened(two, *["first"] * 9)


def test_reports_of_one_name_are_told_apart(two: Path) -> None:
    evaluated(two / "data" / "again" / "first", {"mosaic": 0.1})
    names = opened(two, "first", "again/first").summary.methods
    assert len(set(names)) == len(names) == 4


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"benchmark": 1}', '{"parts": {"a": 3}}'])
def test_a_damaged_summary_is_refused(two: Path, content: str) -> None:
    (two / "data" / "first" / "summary.json").write_text(content)
    with pytest.raises(ValueError, match="no summary of mosaic evaluate"):
        opened(two, "first")


def test_a_folder_that_holds_no_report_is_told(two: Path) -> None:
    (two / "data" / "other").mkdir()
    with pytest.raises(ValueError, match=r"other holds no report: give an output folder"):
        opened(two, "other")


def test_without_scores_tables_stay_and_cases_go(two: Path) -> None:
    (two / "data" / "first" / "scores.parquet").write_bytes(b"nothing")
    found = opened(two, "first")
    assert "No scores" in found.notes[0] and found.summary.values
    assert reports.cases_of(found, "single", "DINO", "mosaic", 3) == ([], [])
    with pytest.raises(ValueError, match="first has no scores"):
        opened(two, "first", "second-run")
    (two / "data" / "first" / "scores.parquet").unlink()
    assert "No scores" in opened(two, "first").notes[0]


@pytest.mark.parametrize("content", [None, "{", "{}", '{"records": {"a": {}}, "methods": []}'])
def test_without_a_list_of_pictures_the_rest_stays(two: Path, content: str | None) -> None:
    place = two / "data" / "first" / NAME
    place.unlink() if content is None else place.write_text(content)
    found = opened(two, "first")
    assert "evaluate again to see them" in found.notes[0]
    assert "No case can be shown" in views.cases(
        *reports.cases_of(found, "single", "DINO", "mosaic", 3), roots(two)
    )
    assert reports.records_of(found, "single") == {}


def test_nothing_outside_is_read(two: Path) -> None:
    secret = two / "secret"
    evaluated(secret, {"mosaic": 0.0})
    (two / "data" / "link").symlink_to(secret)
    linked = two / "data" / "linked"
    linked.mkdir()
    for name in ("summary.json", "scores.parquet", NAME):
        (linked / name).symlink_to(secret / name)
    for typed in ("../secret", "link", str(secret)):
        with pytest.raises(ValueError, match="There is no"):
            opened(two, typed)
    with pytest.raises(ValueError, match="leads out"):
        opened(two, "linked")
    assert reports.offered(roots(two, two / "data")) == [
        str((two / "data" / name).resolve()) for name in ("first", "second-run")
    ]


def test_pictures_outside_are_not_shown(two: Path) -> None:
    """A list of pictures is a file that anybody may have written."""
    place, outside = two / "data" / "first" / NAME, two / "secret.png"
    Image.new("RGB", (8, 8), "#ff0000").save(outside)
    told = json.loads(place.read_text())
    for pictures in told["methods"][0]["pictures"].values():
        pictures["files"] = [str(outside), "../../../secret.png"]
    told["records"]["r0"]["subjects"][0]["reference"] = str(outside)
    place.write_text(json.dumps(told))
    here = roots(two, two / "data")
    found = open_reports(["first"], here)
    html = views.cases(*reports.cases_of(found, "single", "DINO", "mosaic", 3), here)
    assert "outside what may be opened" in html and html.count("ms-result") == 0
    assert views.thumbnail(PictureFile(outside), here, 64) == ""


# ---------------------------------------------------------------- cases


def test_worst_and_best_are_ranked_by_the_mean_of_an_image(two: Path) -> None:
    found = opened(two, "first")
    worst, best = reports.cases_of(found, "single", "DINO", "mosaic", 3)
    values = {
        (row.record, row.image): 100 * row.value
        for row in found.rows
        if (row.method, row.column) == ("mosaic", "DINO")
    }
    lowest = {record: min(v for (r, _), v in values.items() if r == record) for record, _ in values}
    ranked = sorted(lowest, key=lowest.__getitem__)
    assert [seen.case.record.id for seen in worst] == ranked[:3]
    assert not {seen.case.record.id for seen in worst} & {seen.case.record.id for seen in best}
    upside, _ = reports.cases_of(found, "single", "confusion [other]", "mosaic", 1)
    assert upside[0].score == max(
        100 * row.value for row in found.rows if (row.method, row.column) == ("mosaic", "confusion [other]")
    )
    few, rest = reports.cases_of(found, "single", "DINO", "mosaic", 100)
    assert len(few) == len(rest) == 4  # half and half
    with pytest.raises(ValueError, match="no column"):
        reports.cases_of(found, "single", "nothing", "mosaic", 1)


def test_methods_stand_side_by_side_over_chosen_records(two: Path) -> None:
    here = roots(two, two / "data")
    found = opened(two, "first", "second-run")
    known = reports.records_of(found, "single")
    methods = ["mosaic (first)", "mosaic (second-run)", "nobody"]
    html = views.grid(found, [known["r1"], known["r3"]], methods, "DINO", here)
    assert html.count("<tr>") == 3 and html.count("ms-result") == 4  # nobody has no picture
    literal = 100 * np.mean(
        [r.value for r in found.rows if (r.method, r.record, r.column) == ("mosaic (first)", "r1", "DINO")]
    )
    assert f"{literal:.2f}" in html
    assert "<b>bear</b>" not in html and "&lt;b&gt;bear" in html
    assert "Choose records" in views.grid(found, [], methods, "", here)


def test_a_report_may_be_moved(two: Path) -> None:
    moved = two / "data" / "elsewhere"
    (two / "data" / "first").rename(moved)
    here = roots(two, two / "data")
    found = open_reports(["elsewhere"], here)
    html = views.cases(*reports.cases_of(found, "single", "DINO", "mosaic", 3), here)
    assert html.count("ms-result") == 6


def test_a_grid_of_four_images_is_read_back(tmp_path: Path) -> None:
    asked = benchmark(tmp_path, [0])
    grid = PictureFile(tmp_path / "pictures" / "r0.png")
    quadrants = tuple(PictureFile(grid.path, n) for n in range(4))
    case = Case(method="m", record=asked.records[0], pictures=quadrants, grid=grid)
    from mosaic.evaluation.report.listing import listed

    (tmp_path / NAME).write_text(json.dumps(listed([Method(name="m", cases=(case,))], tmp_path)))
    (read,) = read_methods(tmp_path / NAME)
    assert read.cases[0].pictures == quadrants and read.cases[0].grid == grid
    assert read.cases[0].record.prompt == PROMPT
    assert "/" not in json.loads((tmp_path / NAME).read_text())["records"]["r0"]["subjects"][0]["noun"]


def test_a_changed_report_is_read_again(two: Path) -> None:
    before = len(opened(two, "first").rows)
    place = two / "data" / "first" / "scores.parquet"
    write_rows([], place)
    assert before > 0 and len(opened(two, "first").rows) == 0
