"""`many`: its prompts are drawn again to the byte, name everyone, and never two alike."""

import re
from collections import Counter

import pytest

from mosaic.evaluation.protocols import drawing, many
from mosaic.evaluation.protocols.files import read_json

from .bench import SHARED, needs_data

PROMPTS = read_json(many.PROMPTS)["prompts"]


def test_the_file_is_what_the_seed_draws() -> None:
    assert drawing.as_json(drawing.draw()) == many.PROMPTS.read_text(encoding="utf-8")


def test_fifty_prompts_for_each_number_of_subjects() -> None:
    assert Counter(len(one["subjects"]) for one in PROMPTS) == dict.fromkeys(range(1, 9), 50)
    assert len({one["id"] for one in PROMPTS}) == 400
    assert len({one["prompt"] for one in PROMPTS}) == 400


def test_everyone_is_named_once_and_no_two_are_alike() -> None:
    for one in PROMPTS:
        nouns = [noun for _, noun, _, _ in one["subjects"]]
        files = [file for _, _, _, file in one["subjects"]]
        assert len(set(files)) == len(files)
        assert len({noun.split()[-1].lower() for noun in nouns}) == len(nouns)
        for noun in nouns:
            found = re.findall(rf"(?<!\w){re.escape(noun)}(?!\w)", one["prompt"], flags=re.IGNORECASE)
            assert len(found) == 1, (noun, one["prompt"])
        assert one["place"] in one["prompt"]
        assert not re.search(r"\ba [aeio]", one["prompt"], flags=re.IGNORECASE)
        assert one["prompt"].endswith(".")


def test_families_do_not_meet() -> None:
    marks = {one.file: one.marks for one in drawing.drawables()}
    for prompt in PROMPTS:
        seen = [mark for _, _, _, file in prompt["subjects"] for mark in marks[file]]
        families = [mark for mark in seen if mark.startswith("family ")]
        assert len(families) == len(set(families)), prompt["prompt"]


def test_subjects_are_used_about_equally() -> None:
    everyone = {one.file for one in drawing.drawables()}
    assert len(everyone) == len(drawing.drawables()) > 100
    used = Counter(file for one in PROMPTS for *_, file in one["subjects"])
    assert set(used) == everyone
    people = {one.file for one in drawing.drawables() if one.kind == "person"}
    for subjects in range(1, 9):
        kinds = Counter(
            kind for one in PROMPTS if len(one["subjects"]) == subjects for kind, *_ in one["subjects"]
        )
        assert all(kinds[kind] >= 0.08 * kinds.total() for kind in ("person", "animal", "object"))
    assert all(used[file] >= 4 for file in people)


@needs_data
def test_all_records_resolve() -> None:
    benchmark = many.read(SHARED)
    assert benchmark.parts == tuple(f"K={subjects}" for subjects in range(1, 9))
    for record, prompt in zip(benchmark.records, PROMPTS, strict=True):
        assert [str(s.reference.relative_to(SHARED)) for s in record.subjects] == [
            file for *_, file in prompt["subjects"]
        ]
        assert all(s.reference.is_file() for s in record.subjects)
        assert len(record.questions) == len(record.subjects) + 1
    first = benchmark.records[60]
    assert first.questions[0].text == f"Is there {PROMPTS[60]['subjects'][0][2]}?"


def test_both_collections_are_needed(tmp_path) -> None:
    (tmp_path / "dreambooth/dataset").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no xversebench/assets/XVerseBench"):
        many.read(tmp_path)
