"""segment: who is who among the found, every score against a literal, and the true models from folders."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception import tiny

from mosaic.curation import instances
from mosaic.curation.stages.segment import Section, SegmentStage, by_phrase, make, measured
from mosaic.curation.verdicts import Bounds, verdict
from mosaic.data.shards import mask_of
from mosaic.perception.found import Found

from .works import painted, target


def box(left: int, top: int, right: int, bottom: int, score: float = 0.9, size: int = 40) -> Found:
    mask = np.zeros((size, size), bool)
    mask[top:bottom, left:right] = True
    return Found(box=(left, top, right, bottom), score=score, mask=mask, mask_score=0.95)


def test_scores_are_literal() -> None:
    bear, mug = box(0, 10, 20, 30, 0.8), box(10, 10, 30, 30, 0.7)
    bear.mask[35:37, 0:10] = True  # a fragment
    chosen, scores = measured([[bear], [mug]])
    assert chosen == [0, 0]
    assert scores["segment/0/box"] == 0.8 and scores["segment/1/mask_score"] == 0.95
    assert scores["segment/0/area"] == 420 / 1600
    assert scores["segment/0/fragments"] == pytest.approx(20 / 420)
    assert scores["segment/0/borders"] == 1 and scores["segment/1/borders"] == 0
    assert scores["segment/0/overlap"] == scores["segment/1/overlap"] == pytest.approx(200 / 620)
    assert scores["segment/0/instances"] == 1


def test_a_thing_goes_to_one_subject_so_that_all_have_one() -> None:
    """Both phrases find both bears, the red one surer for each: the blue one takes what is left."""
    left, right = box(0, 0, 15, 15, 0.9), box(20, 20, 35, 35, 0.6)
    also_left, also_right = box(0, 0, 15, 14, 0.85), box(20, 20, 35, 34, 0.8)
    chosen, scores = measured([[left, right], [also_left, also_right]])
    assert chosen == [0, 1]
    assert scores["segment/0/instances"] == scores["segment/1/instances"] == 1
    assert scores["segment/0/overlap"] == 0


def test_two_of_a_kind_are_counted() -> None:
    _, scores = measured([[box(0, 0, 10, 10), box(20, 20, 30, 30, 0.5), box(0, 0, 10, 9, 0.4)]])
    assert scores["segment/0/instances"] == 2


def test_one_thing_for_two_subjects_overlaps() -> None:
    chosen, scores = measured([[box(0, 0, 10, 10)], [box(0, 0, 10, 10, 0.8)]])
    assert chosen == [0, 0] and scores["segment/1/overlap"] == 1


def test_what_is_not_found_is_no_instance_and_is_rejected() -> None:
    chosen, scores = measured([[], [box(0, 0, 10, 10)]])
    assert chosen == [None, 0] and scores["segment/0/instances"] == 0 and "segment/0/area" not in scores
    assert verdict(scores, {"segment/*/instances": Bounds(least=1, most=1)}).reason.startswith("segment/0/")
    assert measured([]) == ([], {}) and measured([[], []])[0] == [None, None]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_the_assignment_is_the_best_of_all(seed: int, subjects: int) -> None:
    random = np.random.default_rng(seed)
    places = [(0, 0, 9, 9), (12, 0, 21, 9), (0, 12, 9, 21), (24, 24, 33, 33)]
    found = [
        sorted(
            (box(*places[i], score=float(random.uniform(0.3, 1))) for i in random.permutation(4)[:3]),
            key=lambda one: -one.score,
        )
        for _ in range(subjects)
    ]
    groups = instances.grouped(found)
    chosen = instances.assigned(found, groups)
    total = sum(found[i][pick].score for i, pick in enumerate(chosen) if pick is not None)

    def best(index: int, taken: frozenset[int]) -> float:
        if index == subjects:
            return 0.0
        free = [j for j, group in enumerate(groups[index]) if group not in taken]
        options = [found[index][j].score + best(index + 1, taken | {groups[index][j]}) for j in free]
        return max([best(index + 1, taken), *options])

    assert total == pytest.approx(best(0, frozenset()))
    picked = [groups[i][pick] for i, pick in enumerate(chosen) if pick is not None]
    assert len(set(picked)) == subjects


def test_large_masks_are_told_apart_as_small_ones() -> None:
    """Literally, by every pixel, though the groups are told from a part of them."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(12):
        left, top = random.integers(0, 700, 2)
        width, height = random.integers(20, 300, 2)
        found.append(box(left, top, left + width, top + height, float(random.uniform(0.3, 1)), size=1000))
    order = sorted(range(12), key=lambda n: -found[n].score)
    leaders: list[int] = []
    for n in order:
        if not any(instances.iou(found[n].mask, found[leader].mask) > instances.SAME for leader in leaders):
            leaders.append(n)
    (groups,) = instances.grouped([found])
    assert [groups[leader] for leader in leaders] == list(range(len(leaders))) and max(groups) < len(leaders)


class Scripted:
    """Finds the true boxes of `works.target`."""

    name, licence = "scripted", "CC0-1.0"

    def __call__(self, pictures: list, phrases: list) -> list:
        assert phrases == [["a red bear", "a blue mug"]] * len(pictures)
        masks = target()[1]
        found = [Found(box=(8, 10, 38, 50), score=0.91234, mask=masks[0], mask_score=0.9)]
        return [[found, []] for _ in pictures]


def test_files_and_facts() -> None:
    stage = SegmentStage(by_phrase(Scripted()), by="scripted", licence="CC0-1.0", batch=2)
    outcomes = stage([painted(0), painted(1)])
    assert [set(outcome.files) for outcome in outcomes] == [{"target.mask0.png"}] * 2
    assert (mask_of(outcomes[1].files["target.mask0.png"]) == target()[1][0]).all()
    facts = outcomes[0].facts["segment"]
    assert facts["boxes"] == [[[8, 10, 38, 50, 0.9123, 0.9]], []] and facts["chosen"] == [0, None]
    assert facts["licence"] == "CC0-1.0"


def test_the_true_models_from_folders(tmp_path: Path) -> None:
    section = Section(
        detector=str(tiny.grounding_dino(tmp_path / "detector")),
        masker=str(tiny.sam2(tmp_path / "masker")),
        device="cpu",
    )
    stage = make(section)
    outcome = stage([painted()])[0]
    chosen, found = outcome.facts["segment"]["chosen"], outcome.facts["segment"]["boxes"]
    assert len(found) == 2 and all(all(one[4] > 0.3 for one in some) for some in found)
    for i, pick in enumerate(chosen):
        assert pick is not None and outcome.scores[f"segment/{i}/box"] == pytest.approx(
            found[i][pick][4], abs=1e-4
        )
        mask = mask_of(outcome.files[f"target.mask{i}.png"])
        assert outcome.scores[f"segment/{i}/area"] == pytest.approx(mask.mean())
    assert stage([painted()])[0] == outcome
