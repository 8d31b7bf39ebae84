"""The stage that matches: exact toys through it, disjoint tokens, masks that were missing, few points."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mosaic.curation.rows import Named, Record, Work
from mosaic.curation.stages.correspond import CorrespondStage, Section, make, missing_masks
from mosaic.data.shards import decode_sample, encode_sample, mask_of, png_of, webp_of
from mosaic.geometry import Grid, token_of
from mosaic.sample import Correspondence, Mask, Picture, Sample
from mosaic.toybox.batches import sample as toy_sample


def as_work(sample: Sample, facts: dict[str, Any] | None = None) -> Work:
    """A sample as the stages before leave it."""
    names = tuple(Named(name=subject.name, looks=subject.id) for subject in sample.subjects)
    record = Record(caption=sample.caption, detailed_caption="", subjects=names, seed=0)
    files = {k: v for k, v in encode_sample(sample).items() if k not in ("__key__", "json", "points.npy")}
    return Work(record=record, files=files, facts=facts or {})


def answered(sample: Sample, work: Work, files: Any) -> Sample:
    """The sample again, with what the stage made."""
    texts = encode_sample(sample)["json"]
    return decode_sample({"__key__": "k", "json": texts} | dict(work.files) | dict(files))


def exact(sample: Sample) -> Any:
    def match(work: Work, k: int, *pictures: Picture | Mask) -> Correspondence:
        np.testing.assert_array_equal(pictures[0], sample.references[k].image)
        np.testing.assert_array_equal(pictures[3], sample.target_masks[sample.subject_indices[k]])
        return sample.correspondences[k]

    return match


def test_points_are_matched_made_disjoint_and_spread() -> None:
    sample = toy_sample(3, subjects=2, size=128)
    work = as_work(sample)
    (outcome,) = CorrespondStage(exact(sample), by="truth", points=40)([work])
    made = answered(sample, work, outcome.files)
    grid = Grid.of_pixels(128, 128)
    claimed = [set(token_of(points.target, grid).tolist()) for points in made.correspondences]
    assert not claimed[0] & claimed[1]
    assert [len(points) for points in made.correspondences] == [40, 40]
    assert outcome.scores["correspond/0/points"] == 40
    assert outcome.scores["correspond/1/confidence"] == 1
    assert 0 <= outcome.scores["correspond/0/shared"] < 0.5
    assert outcome.facts == {"correspond": {"by": "truth"}}
    assert set(outcome.files) == {"points.npy"}


@functools.cache
def two_toys() -> Sample:
    return toy_sample(1, subjects=2, size=64, reference_size=64)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_disjoint_is_the_rule_of_points_on(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    sample = two_toys()
    random = tuple(
        Correspondence(
            reference=rng.random((n, 2)), target=rng.random((n, 2)), confidence=rng.integers(0, 4, n) / 4
        )
        for n in rng.integers(0, 30, 2)
    )
    sample = replace(sample, correspondences=random)
    grid = Grid(side, side)
    apart = sample.disjoint(grid)
    before, after = sample.points_on(grid), apart.points_on(grid)
    np.testing.assert_array_equal(before.valid, after.valid)
    np.testing.assert_array_equal(before.target[before.valid], after.target[after.valid])
    np.testing.assert_array_equal(before.reference[before.valid], after.reference[after.valid])
    tokens = [set(token_of(points.target, grid).tolist()) for points in apart.correspondences]
    assert not tokens[0] & tokens[1]


def test_masks_that_are_missing_are_added() -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    white[8:24, 8:24] = 90
    target = np.zeros((32, 48, 3), np.uint8)
    record = Record(caption="", detailed_caption="", subjects=(Named(name="cup"),), seed=1)
    work = Work(record=record, files={"target.webp": webp_of(target), "ref0.webp": webp_of(white)})
    added = missing_masks(work)
    assert mask_of(added["target.mask0.png"]).all()
    assert mask_of(added["ref0.mask.png"]).sum() == 256
    whole = replace(work, files={**work.files, **added})
    assert missing_masks(whole) == {}
    seen = []

    def match(*arguments: Any) -> Correspondence:
        seen.append(arguments[1])
        return Correspondence(reference=np.zeros((1, 2)), target=np.zeros((1, 2)), confidence=np.ones(1))

    (outcome,) = CorrespondStage(match, by="x")([work])
    assert seen == [0]
    assert set(outcome.files) == {"points.npy", "target.mask0.png", "ref0.mask.png"}


def test_two_views_of_a_subject_share_its_mask() -> None:
    sample = toy_sample(3, subjects=1, size=64, reference_size=64)
    work = as_work(sample, {"references": [0, 0]})
    files = {f"ref1.{end}": work.files[f"ref0.{end}"] for end in ("webp", "mask.png")}
    work = replace(work, files={**work.files, **files})
    asked = []

    def match(of: Work, k: int, *pictures: Any) -> Correspondence:
        asked.append((k, pictures[3].sum()))
        return sample.correspondences[0]

    (outcome,) = CorrespondStage(match, by="x")([work])
    total = sample.target_masks[0].sum()
    assert asked == [(0, total), (1, total)]
    assert outcome.scores["correspond/0/shared"] == outcome.scores["correspond/1/shared"] == 0


def test_a_sample_without_references_is_an_error() -> None:
    record = Record(caption="", detailed_caption="", subjects=(Named(name="cup"),), seed=1)
    picture = np.zeros((32, 32, 3), np.uint8)
    work = Work(
        record=record,
        files={"target.webp": webp_of(picture), "target.mask0.png": png_of(picture[..., 0] > 0)},
    )
    with pytest.raises(ValueError, match="no reference"):
        CorrespondStage(lambda *_: pytest.fail("nothing to match"), by="x")([work])


def test_features_find_the_toy_again() -> None:
    sample = toy_sample(3, subjects=1, size=128)
    stage = make(Section.model_validate({"first": [{"kind": "gradients"}], "second": [], "device": "cpu"}))
    work = as_work(sample)
    (outcome,) = stage([work])
    made = answered(sample, work, outcome.files).correspondences[0]
    truth = sample.correspondences[0]
    near = np.linalg.norm(made.reference[:, None] - truth.reference[None], axis=-1)
    close = near.min(1) < 0.03
    off = np.linalg.norm(made.target - truth.target[near.argmin(1)], axis=1)
    assert close.sum() > 30
    assert np.median(off[close]) < 0.06
    assert outcome.facts == {"correspond": {"by": "gradients"}}


def test_a_section_names_what_it_knows() -> None:
    assert Section().rule.cycle == 2
    with pytest.raises(ValidationError, match="gradients"):
        Section.model_validate({"first": [{"kind": "eyes"}]})
    with pytest.raises(ValidationError):
        Section.model_validate({"first": []})
    with pytest.raises(ValidationError):
        Section.model_validate({"rule": {"patience": 2}})
