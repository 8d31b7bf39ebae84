"""LAMICBench: all 120 records from the real files; boxes and areas of its samples do no harm."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mosaic.evaluation.protocols import lamicbench
from mosaic.evaluation.records import Benchmark

from .bench import SHARED, needs_data, write_json, write_picture


@pytest.fixture(scope="module")
def real() -> Benchmark:
    return lamicbench.read(SHARED)


@needs_data
class TestTheRealFiles:
    def test_all_records_resolve(self, real: Benchmark) -> None:
        assert Counter(one.part for one in real.records) == {"two": 60, "three": 40, "four": 20}
        counts = {"two": 2, "three": 3, "four": 4}
        assert all(len(one.subjects) == counts[one.part] for one in real.records)
        references = [subject.reference for one in real.records for subject in one.subjects]
        assert len(references) == 320
        assert all(file.is_file() for file in references)

    def test_kinds_are_the_folders(self, real: Benchmark) -> None:
        for one in real.records:
            for subject in one.subjects:
                folders = subject.reference.relative_to(SHARED / "lamicbench/dataset/images").parts
                wanted = {"human": "person"}.get(folders[0], folders[0])
                assert subject.kind == wanted
        four = [[s.kind for s in one.subjects] for one in real.records if one.part == "four"]
        assert sum("scene" in kinds for kinds in four) == 19
        assert sum("clothes" in kinds for kinds in four) == 3
        assert max(Counter(kinds).most_common(1)[0][1] for kinds in four) < 4  # never four of a kind

    def test_questions_are_those_of_the_prompt(self, real: Benchmark) -> None:
        counts = Counter()
        for one in real.records:
            counts[one.part] += len(one.questions)
            ids = {question.id for question in one.questions}
            assert all(set(q.parents) <= ids - {q.id} for q in one.questions)
        assert counts == {"two": 364, "three": 297, "four": 188}

    def test_prompts_and_nouns_are_those_of_the_file(self, real: Benchmark) -> None:
        for part in real.parts:
            listed = json.loads((SHARED / f"lamicbench/{part.title()}-Reference.json").read_text())
            mine = [one for one in real.records if one.part == part]
            for one, (sample, source) in zip(mine, listed.items(), strict=True):
                assert (one.prompt, one.names[0]) == (source["prompt"], sample)
                said = [source[f"ref_img_{k + 1}"]["SAD"]["id"] for k in range(len(one.subjects))]
                assert all(words.endswith(s.noun) for words, s in zip(said, one.subjects, strict=True))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "lamicbench"
    kinds = ("human/00_boy", "clothes/midwearing/00_coat", "scene/00_barn", "animal/00_fox")
    for kind in kinds:
        write_picture(root / f"dataset/images/{kind}.jpg")
    for count, (part, joint) in enumerate((("Two", "-"), ("Three", "-"), ("Four", "_")), start=2):
        sample: dict[str, object] = {"prompt": part, "CEI": "", "first_stage_ratio": 0.1}
        for k, kind in enumerate(kinds[:count], start=1):
            sample[f"ref_img_{k}"] = {
                "image_path": f"./dataset/images/{kind}.jpg",
                "SAD": {"id": f"a {kind[-3:]}", "desc": "keep appearance"},
                "bbox": [0.0, 0.0, 0.5, 1.0],
                "to_area": 262144,
                "de-overlap": True,
            }
        graph = {"prompt": part, "qid2dependency": {"1": [0]}, "qid2question": {"1": "Is it?"}}
        write_json(root / f"{part}-Reference.json", {"sample_000": sample})
        write_json(root / f"{part}{joint}Reference_DSG.json", {"sample_000": graph})
    return tmp_path


def test_what_it_does_not_need_is_passed_over(tiny: Path) -> None:
    benchmark = lamicbench.read(tiny)
    four = benchmark.records[2]
    assert [s.kind for s in four.subjects] == ["person", "clothes", "scene", "animal"]
    assert [s.noun for s in four.subjects] == ["boy", "oat", "arn", "fox"]
    assert benchmark.settings["four"].seeds == (42, 44, 46, 48)
    assert any("no scorer" in line for line in benchmark.deviations)


def test_faults_are_named(tiny: Path) -> None:
    questions = tiny / "lamicbench/Three-Reference_DSG.json"
    write_json(questions, {"sample_000": {"prompt": "another"}})
    with pytest.raises(ValueError, match="sample_000 of three references has other questions"):
        lamicbench.read(tiny)
    questions.unlink()
    with pytest.raises(ValueError, match=r"Three-Reference_DSG\.json is missing"):
        lamicbench.read(tiny)
    (tiny / "lamicbench/dataset/images/clothes/midwearing/00_coat.jpg").unlink()
    with pytest.raises(ValueError, match=r"00_coat\.jpg of record two-sample_000 is missing"):
        lamicbench.read(tiny)
