"""XVerseBench: all 300 records from the real files, the graphs of their questions, and the kitten."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mosaic.evaluation.protocols import xversebench
from mosaic.evaluation.records import Benchmark

from .bench import SHARED, needs_data, write_json, write_picture

GRAPH = {
    "prompt": "a kitten on a mat",
    "qid2tuple": {"1": "entity - whole", "2": "entity - whole", "3": "relation - spatial"},
    "qid2dependency": {"1": [0], "2": [0], "3": [1, 2]},
    "qid2question": {"1": "Is there a kitten?", "2": "Is there a mat?", "3": "Is the kitten on the mat?"},
}


def record(index: int, *files: str, prompt: str = GRAPH["prompt"]) -> dict:
    inputs = [{"image_path": f"assets/XVerseBench/{file}", "caption": "a kitten"} for file in files]
    words = [[k, "kitten", "kitten", 0] for k in range(len(files))]
    return {"index": index, "prompt": prompt, "modulation": [{"src_inputs": inputs, "use_words": words}]}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "xversebench"
    write_picture(root / "assets/XVerseBench/animal/02_cat.jpg")
    write_picture(root / "assets/XVerseBench/human/00_boy.jpg")
    for part, files in (("single", 1), ("multi", 2)):
        given = ("animal/02_kitten.jpg", "human/00_boy.jpg")[:files]
        write_json(root / f"XVerseBench_{part}.json", [record(0, *given)])
        write_json(root / f"XVerseBench_{part}_DSG.json", [GRAPH])
    return tmp_path


@pytest.fixture(scope="module")
def real() -> Benchmark:
    return xversebench.read(SHARED)


@needs_data
class TestTheRealFiles:
    def test_all_records_resolve(self, real: Benchmark) -> None:
        assert Counter(one.part for one in real.records) == {"single": 90, "multi": 210}
        assert Counter(len(one.subjects) for one in real.records) == {1: 90, 2: 120, 3: 90}
        files = {subject.reference for one in real.records for subject in one.subjects}
        assert all(file.is_file() for file in files)
        assert len(files) == 134 - 0  # 02_kitten counts as 02_cat, which nothing else uses

    def test_kinds_are_counted_as_the_protocol_counts_them(self, real: Benchmark) -> None:
        people = Counter(one.part for one in real.records for s in one.subjects if s.kind == "person")
        others = Counter(one.part for one in real.records for s in one.subjects if s.kind != "person")
        assert people == {"single": 20, "multi": 180}
        assert others == {"single": 70, "multi": 330}
        assert sum(len({s.noun for s in one.subjects}) < len(one.subjects) for one in real.records) == 14

    def test_groups_are_combinations_of_kinds(self, real: Benchmark) -> None:
        groups = Counter(one.group for one in real.records if one.part == "multi")
        assert Counter(groups.values()) == {20: 6, 10: 9}

    def test_questions_are_those_of_the_prompt(self, real: Benchmark) -> None:
        counts = Counter(dict.fromkeys(real.parts, 0))
        for part in real.parts:
            graphs = json.loads((SHARED / f"xversebench/XVerseBench_{part}_DSG.json").read_text())
            mine = [one for one in real.records if one.part == part]
            for one, graph in zip(mine, graphs, strict=True):
                assert one.prompt == graph["prompt"]
                assert {str(q.id): q.text for q in one.questions} == graph["qid2question"]
                for question in one.questions:
                    listed = graph["qid2dependency"][str(question.id)]
                    assert list(question.parents) == [parent for parent in listed if parent != 0]
            counts[part] = sum(len(one.questions) for one in mine)
        assert counts == {"single": 399, "multi": 1517}

    def test_parents_are_questions_of_the_same_record(self, real: Benchmark) -> None:
        for one in real.records:
            ids = {question.id for question in one.questions}
            assert all(set(q.parents) <= ids - {q.id} for q in one.questions)

    def test_the_kitten_is_a_cat_and_keeps_its_word(self, real: Benchmark) -> None:
        by_id = {one.id: one for one in real.records}
        cats = [
            (one.id, s.noun) for one in real.records for s in one.subjects if s.reference.name == "02_cat.jpg"
        ]
        assert cats == [("single-9", "kitten"), ("multi-201", "kitten")]
        assert "kitten" in by_id["single-9"].prompt
        assert any("02_kitten.jpg" in line for line in real.deviations)

    def test_every_file_name_is_its_own(self, real: Benchmark) -> None:
        for part in real.parts:
            names = [name for one in real.records if one.part == part for name in one.names]
            assert len(set(names)) >= len(names) - 90  # names without a space to replace come twice
            assert not any("/" in name for name in names)
            ours = [one.names[0] for one in real.records if one.part == part]
            assert len(set(ours)) == len(ours)

    def test_nouns_are_in_the_captions(self, real: Benchmark) -> None:
        for part in real.parts:
            listed = json.loads((SHARED / f"xversebench/XVerseBench_{part}.json").read_text())
            mine = [one for one in real.records if one.part == part]
            for one, source in zip(mine, listed, strict=True):
                captions = [given["caption"] for given in source["modulation"][0]["src_inputs"]]
                assert all(s.noun in caption for s, caption in zip(one.subjects, captions, strict=True))


def test_settings_and_columns_are_as_published() -> None:
    assert xversebench.SETTINGS.seeds == (42, 43, 44, 45)
    assert (xversebench.SETTINGS.width, xversebench.SETTINGS.steps, xversebench.SETTINGS.guidance) == (
        768,
        28,
        3.5,
    )
    assert xversebench.SETTINGS.grid


def test_a_kitten_of_its_own_is_taken(tiny: Path) -> None:
    kitten = write_picture(tiny / "xversebench/assets/XVerseBench/animal/02_kitten.jpg")
    benchmark = xversebench.read(tiny)
    assert benchmark.records[0].subjects[0].reference == kitten
    assert not any("02_kitten.jpg" in line for line in benchmark.deviations)


def test_corrected_has_other_columns(tiny: Path) -> None:
    published, corrected = (xversebench.read(tiny, corrected=flag) for flag in (False, True))
    assert published.columns[:4] == published.averaged == ("DPG", "ID-Sim", "IP-Sim", "AES")
    assert "ID-Sim (assigned)" in corrected.columns
    assert not {"ID-Sim", "IP-Sim", "AES"} & set(corrected.columns)
    assert any("Corrected" in line for line in corrected.deviations)


def test_a_missing_reference_is_named(tiny: Path) -> None:
    (tiny / "xversebench/assets/XVerseBench/human/00_boy.jpg").unlink()
    with pytest.raises(ValueError, match=r"00_boy\.jpg of record multi-0 is missing"):
        xversebench.read(tiny)


def test_other_questions_are_refused(tiny: Path) -> None:
    write_json(tiny / "xversebench/XVerseBench_multi_DSG.json", [GRAPH | {"prompt": "a kitten"}])
    with pytest.raises(ValueError, match="other prompts in XVerseBench_multi_DSG"):
        xversebench.read(tiny)
    shutil.rmtree(tiny / "xversebench")
    with pytest.raises(ValueError, match=r"holds no xversebench/XVerseBench_single\.json"):
        xversebench.read(tiny)
