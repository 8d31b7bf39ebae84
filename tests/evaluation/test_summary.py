"""What tables are filled from: values, substitutes, comparisons by pair, averages, who may be called best."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mosaic.evaluation.features import Column
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.rows import Row, Shown
from mosaic.evaluation.statistics import holm
from mosaic.evaluation.summary import Summary, summarise
from tests.evaluation.invented import benchmark, rows_of, shown

COLUMNS = (shown("DINO"), shown("ID-Sim", model="other.onnx"))
QUALITY = {"ours": 0.2, "theirs": 0.0, "copy-paste": 0.3}


def summary_of(quality: dict[str, float] = QUALITY, columns: Sequence[Shown] = COLUMNS) -> Summary:
    bench = benchmark()
    return summarise(rows_of(bench, columns, quality), columns, bench, controls=["copy-paste"])


def test_values_are_means_in_the_columns_scale() -> None:
    bench = benchmark()
    rows = rows_of(bench, COLUMNS, QUALITY)
    found = summarise(rows, COLUMNS, bench).value("ours", "single", "DINO")
    mine = [row.value for row in rows if (row.method, row.part, row.column) == ("ours", "single", "DINO")]
    assert found is not None
    assert found.value == pytest.approx(100 * np.mean(mine))
    assert found.interval is not None and found.interval.holds(found.value)
    assert (found.records, found.entries) == (12, len(mine))


def test_substitutes_are_counted_by_their_note() -> None:
    bench = benchmark()
    rows = rows_of(bench, COLUMNS, QUALITY)
    held = [n for n, row in enumerate(rows) if (row.method, row.part) == ("ours", "multi")][:3]
    for n in held:
        rows[n] = replace(rows[n], note="no face in the picture", value=0.0)
    value = summarise(rows, COLUMNS, bench).value("ours", "multi", rows[held[0]].column)
    assert value is not None and value.substitutes == {"no face in the picture": 3}


def test_a_column_of_another_model_keeps_that_models_name() -> None:
    found = summary_of()
    assert found.value("ours", "single", "ID-Sim [other.onnx]") is not None
    assert found.value("ours", "single", "ID-Sim") is None


def test_the_best_is_better_than_every_method_controls_aside() -> None:
    found = summary_of()
    assert found.best("single", "DINO") == "ours"
    assert summary_of({"ours": 0.0, "theirs": 0.0}).best("single", "DINO") is None
    assert summary_of({"ours": 0.2, "theirs": 0.2, "third": 0.0}).best("single", "DINO") is None
    assert summary_of({"ours": 0.2}).best("single", "DINO") is None


def test_where_less_is_better_the_lowest_is_best() -> None:
    column = shown("confusion", lower_is_better=True)
    assert summary_of(columns=[column]).best("single", "confusion") == "theirs"


def test_p_values_are_adjusted_over_all_columns_and_parts_of_a_pair() -> None:
    from mosaic.evaluation import summary

    adjusted = summary_of({"ours": 0.02, "theirs": 0.0}).comparisons
    plain: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "holm", lambda p_values: plain.extend(p_values) or list(p_values))
        summary_of({"ours": 0.02, "theirs": 0.0})
    assert len(adjusted) == 4  # two columns, two parts
    assert [one.difference.p for one in adjusted if one.difference] == holm(plain)


def test_scores_of_other_records_are_not_compared_and_say_so() -> None:
    bench = benchmark()
    rows = rows_of(bench, COLUMNS, {"ours": 0.2, "theirs": 0.0})
    gone = bench.records[0].id
    rows = [one for one in rows if (one.method, one.column, one.record) != ("ours", "DINO", gone)]
    found = summarise(rows, COLUMNS, bench)
    one = next(one for one in found.comparisons if (one.part, one.column) == ("single", "DINO"))
    assert one.winner is None
    assert one.verdict == "not compared: their scores are of different records"
    assert found.best("single", "DINO") is None
    assert found.value("ours", "single", "DINO") is not None


def test_a_method_without_a_record_at_all_is_an_error_that_names_it() -> None:
    bench = benchmark()
    gone = bench.records[0].id
    rows = [one for one in rows_of(bench, COLUMNS, QUALITY) if (one.method, one.record) != ("ours", gone)]
    with pytest.raises(ValueError, match=f"ours has no score of 1 of 24 records \\({gone}\\)"):
        summarise(rows, COLUMNS, bench)


def test_columns_that_are_not_there_say_why() -> None:
    bench = replace(benchmark(), columns=("DINO", "ID-Sim", "DPG", "AES"))
    rows = rows_of(bench, COLUMNS, QUALITY)
    found = summarise(rows, COLUMNS, bench, missing={"DPG": "left out with --scorer questions=none"})
    assert found.missing == {
        "DPG": "left out with --scorer questions=none",
        "AES": "no scorer for it was chosen",
    }


def test_a_column_that_found_nothing_to_score_says_so() -> None:
    bench = benchmark()
    rows = rows_of(bench, COLUMNS[:1], QUALITY)
    assert summarise(rows, COLUMNS, bench).missing == {"ID-Sim": "no record has what it scores"}


def averaged() -> tuple[Benchmark, list[Row], Summary]:
    bench = replace(benchmark(), averaged=("DINO", "ID-Sim"), mean="entries")
    columns = [replace(one, mean="entries") for one in COLUMNS]
    rows = rows_of(bench, columns, QUALITY)
    rows = [one for one in rows if one.column == "DINO" or int(one.record[-1]) % 2]  # half have a face
    return bench, rows, summarise(rows, columns, bench)


def test_the_average_is_of_columns_then_of_parts() -> None:
    _, rows, found = averaged()
    title = "AVG [of the columns here]"

    def of(part: str, column: str) -> float:
        return float(
            100 * np.mean([r.value for r in rows if (r.method, r.part, r.column) == ("ours", part, column)])
        )

    parts = {part: (of(part, "DINO") + of(part, "ID-Sim [other.onnx]")) / 2 for part in ("single", "multi")}
    for part, expected in (parts | {"overall": sum(parts.values()) / 2}).items():
        value = found.value("ours", part, title)
        assert value is not None and value.value == pytest.approx(expected)
        assert value.interval is not None and value.interval.holds(expected)
    assert found.best("overall", title) is not None


def test_without_one_of_its_columns_there_is_no_average() -> None:
    bench, rows, _ = averaged()
    found = summarise([one for one in rows if one.column == "DINO"], COLUMNS[:1], bench)
    assert "overall" not in found.parts
    assert not [value for value in found.values if value.column.startswith("AVG")]


def test_parts_are_drawn_independently() -> None:
    """The same scores in two parts: with the same draws the mean of both would spread like one."""
    bench, rows, _ = averaged()
    copied = [one for one in rows if one.part == "single"]
    copied += [
        replace(one, part="multi", record=one.record.replace("single", "multi"), group="x") for one in copied
    ]
    found = summarise(copied, [replace(one, mean="entries") for one in COLUMNS], bench)
    single, multi = (found.value("ours", part, "DINO") for part in ("single", "multi"))
    assert single is not None and multi is not None
    assert single.value == pytest.approx(multi.value)
    assert single.interval != multi.interval
    title = "AVG [of the columns here]"
    one, both = (found.value("ours", part, title) for part in ("single", "overall"))
    assert one is not None and one.interval is not None and both is not None and both.interval is not None
    ratio = (both.interval.high - both.interval.low) / (one.interval.high - one.interval.low)
    assert 0.6 < ratio < 0.8  # 1/√2


def test_columns_have_their_models_name() -> None:
    column = Column(name="DINO", model="tiny", official=False)
    assert column.title == "DINO [tiny]"
