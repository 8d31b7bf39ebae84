"""The instruments find toys and tell who they are; the measures say what they should of known pictures."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mosaic.toybox.batches import generator
from mosaic.toybox.identity import ACCESSORIES, COLOURS, Identity, Split, random_identity
from mosaic.toybox.instruments import controls
from mosaic.toybox.instruments.candidates import CANDIDATES, NEAR, Question, questions
from mosaic.toybox.instruments.look import boxes, crop, squares
from mosaic.toybox.instruments.measure import (
    Estimate,
    Exam,
    Table,
    assign,
    benchmark,
    estimate,
    exam,
    judge,
    score,
)
from mosaic.toybox.instruments.network import CROP, SHAPES
from mosaic.toybox.instruments.reading import Found, identity_scores, instruments
from mosaic.toybox.instruments.shots import (
    ATTRIBUTES,
    COLOUR_OF,
    NOTHING,
    SIZE,
    WORN_BY,
    Slot,
    draw,
    part_slots,
    shoot,
)
from mosaic.toybox.scene import Composition, compose
from mosaic.toybox.species import NOUNS
from mosaic.toybox.toy import Toy, model

SCENES = 12


def seen(toys: list[tuple[str, Identity]], *, sure: float = 0.99, yaw: float = 0.0) -> Found:
    """What perfect instruments would find of these toys in one picture."""
    logs = {}
    for index, name in enumerate(ATTRIBUTES):
        count = SHAPES.get(name, len(COLOURS))
        rows = torch.full((len(toys), count), (1 - sure) / (count - 1))
        for n, (_, identity) in enumerate(toys):
            rows[n, getattr(identity, name)] = sure
        logs[name] = rows.log()
        assert ATTRIBUTES[index] == name
    return Found(
        which=torch.zeros(len(toys), dtype=torch.long),
        box=torch.zeros(len(toys), 4),
        species=torch.tensor([NOUNS.index(species) for species, _ in toys], dtype=torch.long),
        confidence=torch.linspace(0.9, 0.5, len(toys)) if toys else torch.zeros(0),
        logs=logs,
        yaw=torch.full((len(toys),), yaw),
    )


def scene_of(*species: str, seed: int = 0) -> Composition:
    rng = np.random.default_rng(seed)
    composition = compose(rng, len(species), Split.HELD_OUT)
    toys = tuple(
        Toy(species=s, identity=t.identity) for s, t in zip(species, composition.scene.toys, strict=True)
    )
    references = tuple(replace(r, toys=(t,)) for r, t in zip(composition.references, toys, strict=True))
    return replace(composition, scene=replace(composition.scene, toys=toys), references=references)


def asked_of(composition: Composition) -> tuple[Question, ...]:
    return questions([composition], [np.random.default_rng(1)])[0]


# what the instruments learn from


def test_every_part_has_the_slot_of_its_colour() -> None:
    for n, species in enumerate(NOUNS):
        toy = Toy(species=species, identity=random_identity(np.random.default_rng(n), Split.INSTRUMENTS))
        slots, rgb = part_slots(toy), model(toy).rgb
        assert len(slots) == len(rgb)
        assert {Slot.PRIMARY, Slot.SECONDARY} <= set(slots.tolist())
        assert (Slot.ACCESSORY in slots) == bool(toy.identity.accessory)
        for slot in set(slots.tolist()) - {Slot.FIXED}:
            assert len(np.unique(rgb[slots == slot], axis=0)) == 1


def test_shots_show_what_they_say_and_only_instruments_identities() -> None:
    scenes = draw(3, 0, 4)
    shots = shoot(scenes)
    assert all(toy.identity.split is Split.INSTRUMENTS for scene in scenes for toy in scene.toys)
    assert shots.pictures.shape == (4, SIZE, SIZE, 3) and shots.slots.shape == (4, SIZE, SIZE)
    for n, scene in enumerate(scenes):
        owners = set((shots.slots[n][shots.slots[n] != NOTHING] // 8).tolist())
        assert owners == set(range(len(scene.toys))) and (shots.species[n] >= 0).sum() == len(scene.toys)
    again = shoot(draw(3, 2, 1))
    assert np.array_equal(again.pictures[0], shots.pictures[2])


def test_boxes_are_tight_and_crops_show_them() -> None:
    slots = np.full((SIZE, SIZE), NOTHING, np.uint8)
    slots[20:40, 30:90] = 8 * 1 + Slot.ACCENT
    box, area = boxes(slots, 2)
    assert box[1].tolist() == [30, 20, 90, 40] and area.tolist() == [0, 1200]
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[:, :, 20:40, 30:90] = 1
    view = crop(picture, torch.tensor([0]), squares(torch.from_numpy(box[1:])))[0, 0]
    inside = CROP / 1.25  # a box is 60 wide and 20 high, its crop 75 by 75
    assert view.shape == (CROP, CROP)
    assert view.sum() == pytest.approx(inside * inside / 3, rel=0.02)
    assert view[CROP // 2, CROP // 2] == 1 and view[0, 0] == 0


# whom a toy is told apart from


def test_candidates_are_the_truth_sixteen_near_ones_and_strangers() -> None:
    composition = compose(generator(5), 4, Split.HELD_OUT)
    for toy, question in zip(composition.scene.toys, asked_of(composition), strict=True):
        assert question.candidates.shape == (CANDIDATES, len(fields(Identity)))
        rows = {tuple(row) for row in question.candidates.tolist()}
        assert len(rows) == CANDIDATES
        truth = question.candidates[0]
        assert truth.tolist() == [getattr(toy.identity, name) for name in ATTRIBUTES]
        apart = (question.candidates != truth).sum(1)
        free = ATTRIBUTES.index("accessory_colour")  # comes and goes with the accessory
        assert (
            (question.candidates != truth)[1 : NEAR + 1].sum(1)
            - (question.candidates != truth)[1 : NEAR + 1, free]
            <= 1
        ).all()
        assert apart[1 : NEAR + 1].max() <= 2 and apart[NEAR + 1 :].min() >= 1


def test_questions_depend_on_their_own_scene_alone() -> None:
    scenes = [compose(generator(5, n), 3, Split.HELD_OUT) for n in range(3)]
    together = questions(scenes, [np.random.default_rng(n) for n in range(3)])
    alone = questions(scenes[2:], [np.random.default_rng(2)])
    for one, other in zip(together[2], alone[0], strict=True):
        assert np.array_equal(one.candidates, other.candidates)


# measures, on what perfect instruments would say


def test_what_was_asked_for_scores_all() -> None:
    composition = scene_of("bear", "duck", "mug")
    asked = asked_of(composition)
    toys = [(toy.species, toy.identity) for toy in composition.scene.toys]
    counts = judge(seen(toys), composition, asked, scene_of("cat", "car", "lamp", seed=9))
    assert counts["presence"] == counts["identity"] == (3, 3)
    assert counts["leakage"][0] == counts["surplus"][0] == 0


def test_the_order_of_finds_does_not_matter() -> None:
    composition = scene_of("bear", "duck", "bear", "mug")
    asked, stranger = asked_of(composition), scene_of("cat", "car", "lamp", "boat", seed=9)
    toys = [(toy.species, toy.identity) for toy in composition.scene.toys]
    results = [
        judge(seen([toys[i] for i in order]), composition, asked, stranger)
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1))
    ]
    assert results[0] == results[1] == results[2] and results[0]["identity"] == (4, 4)


def test_equal_species_are_assigned_one_to_one_by_identity() -> None:
    composition = scene_of("bear", "bear", "bear")
    asked = asked_of(composition)
    toys = [("bear", toy.identity) for toy in composition.scene.toys]
    assert assign(seen([toys[2], toys[0], toys[1]]), composition, asked) == [1, 2, 0]
    assert sorted(assign(seen([toys[1]]), composition, asked)) == [-1, -1, 0]
    assert assign(seen([toys[1]]), composition, asked)[1] == 0
    twice = judge(seen([toys[0], toys[0], toys[0]]), composition, asked, composition)
    assert twice["presence"] == (3, 3) and twice["identity"] == (1, 3)


def test_the_absent_is_a_miss_and_the_uninvited_is_surplus() -> None:
    composition = scene_of("bear", "duck")
    asked = asked_of(composition)
    bear = ("bear", composition.scene.toys[0].identity)
    counts = judge(seen([bear, ("lamp", bear[1])]), composition, asked, scene_of("cat", "car", seed=9))
    assert counts["presence"] == counts["identity"] == (1, 2) and counts["surplus"] == (1, 2)
    nothing = judge(seen([]), composition, asked, scene_of("cat", "car", seed=9))
    assert nothing["presence"] == nothing["identity"] == (0, 2) and nothing["leakage"] == (0, 0)


def test_more_finds_than_asked_for_do_not_help() -> None:
    composition = scene_of("bear")
    stranger = random_identity(np.random.default_rng(8), Split.HELD_OUT)
    found = seen([("bear", stranger), ("bear", composition.scene.toys[0].identity)])
    counts = judge(found, composition, asked_of(composition), scene_of("cat", seed=9))
    assert counts["presence"] == (1, 1) and counts["identity"] == (0, 1) and counts["surplus"] == (1, 1)


PLAIN = Identity(
    primary=0, secondary=1, accent=2, pattern=0, accessory=0, accessory_colour=0,
    badge=0, badge_colour=0, width=2, head=2, limbs=2,
)  # fmt: skip


def test_leakage_counts_parts_in_the_colour_of_another_reference() -> None:
    other = replace(PLAIN, primary=5, secondary=1, accent=6, accessory=1, accessory_colour=7)
    composition = scene_of("bear", "duck")
    toys = tuple(
        Toy(species=t.species, identity=i)
        for t, i in zip(composition.scene.toys, (PLAIN, other), strict=True)
    )
    composition = replace(composition, scene=replace(composition.scene, toys=toys))
    asked, stranger = asked_of(composition), scene_of("cat", "car", seed=9)

    def leaks(first: Identity, second: Identity) -> tuple[float, float]:
        return judge(seen([("bear", first), ("duck", second)]), composition, asked, stranger)["leakage"]

    # the secondary colours are equal and tell nothing: 2 parts of each toy count; a hat where there is one
    assert leaks(PLAIN, other) == (0, 4)
    assert leaks(replace(PLAIN, primary=5), other) == (1, 4)
    assert leaks(replace(PLAIN, primary=9), other) == (0, 4)  # wrong, but nobody's
    assert leaks(replace(PLAIN, accessory=2, accessory_colour=7), other) == (1, 5)
    assert leaks(other, PLAIN)[0] == 5


def test_pose_is_the_scene_s_or_the_reference_s() -> None:
    composition = scene_of("bear")
    question = asked_of(composition)[0]
    toys = [("bear", composition.scene.toys[0].identity)]
    for yaw, wanted in ((question.yaw, 1.0), (question.reference_yaw, 0.0)):
        assert judge(seen(toys, yaw=yaw), composition, (question,), composition)["pose"] == (wanted, 1)
    same = replace(question, reference_yaw=question.yaw + 3)
    assert judge(seen(toys), composition, (same,), composition)["pose"] == (0, 0)


def test_what_is_not_worn_has_no_colour() -> None:
    found = seen([("bear", PLAIN)])
    rows = [PLAIN, replace(PLAIN, accessory_colour=3), replace(PLAIN, badge_colour=4)]
    candidates = torch.tensor([[getattr(i, name) for name in ATTRIBUTES] for i in rows])
    assert identity_scores(found.logs, candidates)[0].unique().numel() == 1
    assert set(WORN_BY) < set(COLOUR_OF.values()) and ACCESSORIES[0] == "nothing"


def test_an_estimate_is_the_ratio_with_an_interval_around_it() -> None:
    hits, totals = np.array([1.0, 2, 0, 1] * 30), np.array([2.0, 2, 2, 2] * 30)
    found = estimate(hits, totals)
    assert found.mean == 0.5 and found.count == 240 and 0.4 < found.low < 0.5 < found.high < 0.6
    assert estimate(hits, totals) == found
    assert str(estimate(hits, 0 * totals)) == "–"


def test_a_table_says_what_it_holds() -> None:
    row = {
        m: Estimate(0.5, 0.4, 0.6, 10)
        for m in ("presence", "identity", "leakage", "leakage_chance", "pose", "surplus")
    }
    table = Table(name="a generator", scenes=4, seed=1, rows={1: row})
    assert "| K = 1 | 50.0 [40.0, 60.0] |" in table.to_markdown() and '"presence"' in table.to_json()


# the frozen instruments


@pytest.fixture(scope="module")
def sheet() -> Exam:
    return exam(4, SCENES, 17)


def total(counts: list[dict[str, tuple[float, float]]], name: str) -> float:
    return sum(c[name][0] for c in counts) / sum(c[name][1] for c in counts)


def test_true_renders_score_about_all(sheet: Exam) -> None:
    counts = score(controls.true(sheet.compositions), sheet)
    # v2: 93 to 98 % of identities over 64 scenes; 99 % is the goal (docs/toybox-measures.md)
    assert total(counts, "presence") >= 0.97 and total(counts, "identity") >= 0.9
    assert (
        total(counts, "leakage") <= 0.03 and total(counts, "pose") >= 0.9 and total(counts, "surplus") <= 0.03
    )


def test_swapped_references_score_chance(sheet: Exam) -> None:
    counts = score(controls.swapped(sheet.compositions), sheet)
    assert total(counts, "presence") >= 0.95 and total(counts, "identity") <= 0.08


def test_pasted_references_have_the_reference_s_pose(sheet: Exam) -> None:
    assert total(score(controls.pasted(sheet.compositions), sheet), "pose") <= 0.35


def test_mixed_up_references_leak(sheet: Exam) -> None:
    counts = score(controls.rotated(sheet.compositions), sheet)
    assert total(counts, "leakage") >= 0.5 > 2 * total(counts, "leakage_chance")


def test_nothing_is_found_where_nothing_is(sheet: Exam) -> None:
    grey = torch.full((2, SIZE, SIZE, 3), 128, dtype=torch.uint8)
    assert len(instruments().look(grey)) == 0


def test_pictures_of_other_sizes_are_brought_to_size(sheet: Exam) -> None:
    small = controls.true(sheet.compositions[:2])
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    one, other = (instruments().look(pictures) for pictures in (small, large))
    whom = [sorted(zip(f.which.tolist(), f.species.tolist(), strict=True)) for f in (one, other)]
    assert whom[0] == whom[1]


def test_batches_change_nothing(sheet: Exam) -> None:
    pictures = controls.true(sheet.compositions[:5])
    together, apart = instruments().look(pictures), instruments().look(pictures, batch=2)
    assert together.which.tolist() == apart.which.tolist()
    assert torch.allclose(together.logs["primary"], apart.logs["primary"], atol=1e-3)


def test_a_generator_must_draw_every_scene(sheet: Exam) -> None:
    with pytest.raises(ValueError, match="12 scenes were asked for, 3 pictures"):
        score(torch.zeros(3, SIZE, SIZE, 3, dtype=torch.uint8), sheet)


def test_the_benchmark_hands_out_compositions_and_gives_a_table() -> None:
    table = benchmark(controls.true, subjects=(1,), scenes=4, seed=17, name="true")
    assert table.rows[1]["presence"].count == 4 and table.rows[1]["leakage"].count == 0
    assert "| K = 1 |" in table.to_markdown()
