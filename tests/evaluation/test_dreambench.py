"""DreamBench: all 1500 records from the real files, and what is said of files that are not there."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mosaic.evaluation.protocols import BENCHMARKS, dreambench, files
from mosaic.evaluation.records import Benchmark

from .bench import SHARED, needs_data, write_json, write_picture


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two subjects with three photographs, a record each and one of both."""
    root = tmp_path / "dreambooth"
    for subject in ("cat", "wolf_plushie"):
        for i in range(3):
            write_picture(root / "dataset" / subject / f"{i:02}.jpg")
    one = {"prompt": "a cat in the snow", "image_paths": ["./dreambooth/dataset/cat/01.jpg"]}
    both = {
        "prompt": "a cat and a stuffed animal",
        "image_paths": ["./dreambooth/dataset/cat/01.jpg", "./dreambooth/dataset/wolf_plushie/02.jpg"],
    }
    write_json(root / "dreambench_singleip.json", [one])
    write_json(root / "dreambench_multiip.json", [both])
    return tmp_path


@pytest.fixture(scope="module")
def real() -> Benchmark:
    return dreambench.read(SHARED)


@needs_data
class TestTheRealFiles:
    def test_all_records_resolve(self, real: Benchmark) -> None:
        assert Counter(one.part for one in real.records) == {"single": 750, "multi": 750}
        assert len({one.id for one in real.records}) == 1500
        references = {subject.reference for one in real.records for subject in one.subjects}
        assert len(references) == 30
        assert all(file.is_absolute() and file.is_file() for file in references)

    def test_they_are_the_records_of_the_file(self, real: Benchmark) -> None:
        for part in ("single", "multi"):
            listed = json.loads((SHARED / f"dreambooth/dreambench_{part}ip.json").read_text())
            mine = [one for one in real.records if one.part == part]
            for i, (record, one) in enumerate(zip(mine, listed, strict=True)):
                assert record.prompt == one["prompt"]
                assert record.names == (f"{i}_{{image}}",)
                paths = [str(subject.reference.relative_to(SHARED)) for subject in record.subjects]
                assert [f"./{path}" for path in paths] == one["image_paths"]

    def test_groups_are_subjects_and_pairs_of_25_prompts(self, real: Benchmark) -> None:
        groups = Counter((one.part, one.group) for one in real.records)
        assert len(groups) == 60
        assert set(groups.values()) == {25}

    def test_photographs_are_all_of_the_subject(self, real: Benchmark) -> None:
        counts = {one.group: len(one.subjects[0].photographs) for one in real.records if one.part == "single"}
        assert Counter(counts.values()) == {5: 18, 6: 10, 4: 2}
        assert sum(counts.values()) == 158
        assert all(s.reference in s.photographs for one in real.records for s in one.subjects)

    def test_nouns_are_the_words_of_the_prompt(self, real: Benchmark) -> None:
        assert all(s.noun in one.prompt for one in real.records for s in one.subjects)
        doubled = {
            one.group for one in real.records if len({s.noun for s in one.subjects}) < len(one.subjects)
        }
        assert len(doubled) == 6
        kinds = Counter(
            "+".join(sorted(s.kind for s in one.subjects)) for one in real.records if one.part == "multi"
        )
        assert kinds == {"object+object": 250, "animal+animal": 250, "animal+object": 250}

    def test_corrected_leaves_the_reference_out(self, real: Benchmark) -> None:
        corrected = dreambench.read(SHARED, corrected=True)
        for one, other in zip(real.records, corrected.records, strict=True):
            for subject, without in zip(one.subjects, other.subjects, strict=True):
                assert set(subject.photographs) - set(without.photographs) == {subject.reference}
        assert any("Corrected" in line for line in corrected.deviations)

    @pytest.mark.parametrize("limit", [1, 4, 30, 47, 750, 9999])
    def test_a_limit_is_spread_over_groups(self, real: Benchmark, limit: int) -> None:
        for part in ("single", "multi"):
            taken = [one for one in dreambench.read(SHARED, limit=limit).records if one.part == part]
            assert len(taken) == min(limit, 750)
            groups = Counter(one.group for one in taken)
            assert len(groups) == min(limit, 30)
            assert max(groups.values()) - min(groups.values()) <= 1
            order = [one.id for one in real.records]
            assert [one.id for one in taken] == sorted((one.id for one in taken), key=order.index)

    def test_a_limit_spreads_prompts_too(self) -> None:
        taken = [one for one in dreambench.read(SHARED, limit=30).records if one.part == "single"]
        backgrounds = {one.prompt.replace(one.subjects[0].noun, "") for one in taken}
        assert len(backgrounds) > 20


def test_settings_are_those_of_the_code() -> None:
    published = files.published("dreambench")
    assert published["single"]["MOSAIC"] == {
        "CLIP-I": 84.30,
        "CLIP-T": 31.64,
        "DINO": 77.40,
        "UnifiedReward": 4.40,
        "HPSv3": 14.36,
    }
    assert published["multi"]["UNO"]["DINO"] == 54.22
    assert len(published["single"]) == 9  # eight methods and the photographs themselves
    assert published["multi, ablation"]["MD alone"] == {"CLIP-I": 75.10, "CLIP-T": 31.70, "DINO": 55.24}


def test_published_averages_are_those_of_their_columns() -> None:
    """As printed, to a rounding of the last digit."""
    tables = files.published("xversebench")
    for part in ("single", "multi"):
        assert len(tables[part]) == 6
        for method, row in tables[part].items():
            mean = sum(row[name] for name in ("DPG", "ID-Sim", "IP-Sim", "AES")) / 4
            assert abs(mean - row["AVG"]) < 0.0101, method
    for method, row in tables["overall"].items():
        assert (
            abs((tables["single"][method]["AVG"] + tables["multi"][method]["AVG"]) / 2 - row["AVG"]) < 0.0101
        )


def test_a_small_copy_reads_and_one_image_is_made(tiny: Path) -> None:
    for data in (tiny, tiny / "dreambooth"):  # the folder itself will do
        read = BENCHMARKS["dreambench"](data, work=tiny / "work")
        assert [one.group for one in read.records] == ["cat", "cat+wolf_plushie"]
        assert read.settings["single"].seeds == (3407,)
        assert (read.settings["multi"].width, read.settings["multi"].steps) == (512, 25)


def test_a_missing_reference_is_named(tiny: Path) -> None:
    (tiny / "dreambooth/dataset/wolf_plushie/02.jpg").unlink()
    with pytest.raises(ValueError, match=r"wolf_plushie/02\.jpg of record multi-0 is missing"):
        dreambench.read(tiny)


def test_a_pair_without_its_second_is_named(tiny: Path) -> None:
    one = {"prompt": "a cat", "image_paths": ["./dreambooth/dataset/cat/01.jpg"]}
    write_json(tiny / "dreambooth/dreambench_multiip.json", [one])
    with pytest.raises(ValueError, match="multi-0 has 1 references and not 2"):
        dreambench.read(tiny)


def test_a_broken_or_missing_list_is_named(tiny: Path) -> None:
    (tiny / "dreambooth/dreambench_multiip.json").write_text("[{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"dreambench_multiip\.json is no JSON"):
        dreambench.read(tiny)
    (tiny / "dreambooth/dreambench_multiip.json").unlink()
    with pytest.raises(ValueError, match=r"dreambench_multiip\.json is missing"):
        dreambench.read(tiny)


def test_no_data_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAIC_BENCHMARKS", str(tmp_path / "nothing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="name their folder with --data"):
        BENCHMARKS["dreambench"](None, work=tmp_path)
    with pytest.raises(ValueError, match=r"holds no dreambooth/dreambench_singleip\.json"):
        BENCHMARKS["dreambench"](tmp_path, work=tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        BENCHMARKS["dreambench"](tmp_path / "gone", work=tmp_path)
    with pytest.raises(ValueError, match="--limit must be at least 1"):
        files.limited([], 0)
