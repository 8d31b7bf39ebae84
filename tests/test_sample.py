from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.geometry import Grid, Placement, center_of, token_of
from mosaic.sample import Correspondence, Reference, Sample, Subject

SIZE = (64, 96)


def subject(i):
    return Subject(id=f"toy-{i}", name="bear")


def reference(i, size=(48, 32)):
    return Reference(subject=subject(i), image=np.zeros((*size, 3), np.uint8), mask=np.ones(size, bool))


def correspondence(reference=(), target=(), confidence=()):
    return Correspondence(
        reference=np.reshape(reference, (-1, 2)),
        target=np.reshape(target, (-1, 2)),
        confidence=np.asarray(confidence),
    )


def sample(shown, correspondences, masks=None, size=SIZE, **kwargs):
    count = len(dict.fromkeys(shown))
    return Sample(
        key="a",
        target=np.zeros((*size, 3), np.uint8),
        references=tuple(map(reference, shown)),
        target_masks=tuple(np.zeros((count, *size), bool) if masks is None else masks),
        correspondences=tuple(correspondences),
        caption="a bear to the left of a duck",
        detailed_caption="Left: a red bear.",
        **kwargs,
    )


@st.composite
def samples(draw):
    """Up to four references of up to three subjects, many points on few tokens, overlapping random masks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shown = draw(st.lists(st.integers(0, 2), max_size=4))
    counts = draw(st.lists(st.integers(0, 60), min_size=len(shown), max_size=len(shown)))
    points = [
        correspondence(rng.random((n, 2)), rng.random((n, 2)), rng.integers(0, 4, n) / 4) for n in counts
    ]
    blocks = rng.random((len(set(shown)), SIZE[0] // 8, SIZE[1] // 8)) < draw(st.floats(0, 1))
    return sample(shown, points, np.kron(blocks, np.ones((8, 8), bool)).astype(bool))


grids = st.builds(Grid, st.integers(1, 8), st.integers(1, 8))


def holds(mask, token, grid):
    x, y = center_of(token, grid)
    return mask[int(y * mask.shape[0]), int(x * mask.shape[1])]


def literal_points(sample, grid, own):
    """Eq. 2 in words: for each reference, the set of (u, v, confidence)."""
    best = [{} for _ in sample.references]
    for pairs, points in zip(best, sample.correspondences, strict=True):
        for u, v, c in zip(points.reference, points.target, points.confidence, strict=True):
            pair = int(token_of(u, own)), int(token_of(v, grid))
            pairs[pair] = max(c, pairs.get(pair, 0))
    claims = defaultdict(dict)
    for pairs, i in zip(best, sample.subject_indices, strict=True):
        for (_, v), c in pairs.items():
            claims[v][i] = max(c, claims[v].get(i, 0))

    def owner(v):
        holders = {i: c for i, c in claims[v].items() if holds(sample.target_masks[i], v, grid)}
        rivals = holders or claims[v]
        winners = [i for i, c in rivals.items() if c == max(rivals.values())]
        return winners[0] if len(winners) == 1 else None

    return [
        {(u, v, np.float32(c)) for (u, v), c in pairs.items() if owner(v) == i}
        for pairs, i in zip(best, sample.subject_indices, strict=True)
    ]


def triples(points, k):
    chosen = points.valid[k]
    columns = (points.reference[k][chosen], points.target[k][chosen], points.confidence[k][chosen])
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(samples(), grids, grids)
def test_points_follow_the_words(sample, grid, own):
    points = sample.points_on(grid, [own] * len(sample.references))
    expected = literal_points(sample, grid, own)
    assert points.valid.shape[0] == len(expected)
    for k, pairs in enumerate(expected):
        found = triples(points, k)
        assert len(found) == len(set(found)) and set(found) == pairs


@given(samples(), grids, st.booleans(), st.data())
def test_eq_2_holds_after_flips_and_crops(sample, grid, flipped, data):
    sample = sample.flip() if flipped else sample
    left, top = data.draw(st.integers(0, 48)), data.draw(st.integers(0, 32))
    sample = sample.crop((left, top, left + 48, top + 32))
    points = sample.points_on(grid)
    owners = defaultdict(set)
    for k, i in enumerate(sample.subject_indices):
        for _, v, _ in triples(points, k):
            owners[v].add(i)
    assert all(len(owner) == 1 for owner in owners.values())
    assert points.target.max(initial=0) < grid.size and points.reference.max(initial=0) < Grid(3, 2).size


def test_a_contested_token_goes_to_the_mask_then_to_confidence_then_to_nobody():
    grid, where = Grid(1, 4), [(0.1, 0.5), (0.3, 0.5), (0.6, 0.5), (0.9, 0.5)]
    masks = np.zeros((2, *SIZE), bool)
    masks[1, :, :24] = True  # the first token is the second subject's
    first = correspondence([(0.1, 0.1)] * 4, where, [0.9, 0.9, 0.5, 0.5])
    second = correspondence([(0.1, 0.1)] * 3, where[:3], [0.1, 0.2, 0.5])
    points = sample([0, 1], [first, second], masks).points_on(grid, [Grid(2, 2)] * 2)
    assert triples(points, 0) == [(0, 1, np.float32(0.9)), (0, 3, 0.5)]
    assert triples(points, 1) == [(0, 0, np.float32(0.1))]


def test_views_of_one_subject_share_tokens():
    view = correspondence([(0.5, 0.5)], [(0.5, 0.5)], [1])
    two_views = sample([0, 0], [view, view])
    assert two_views.points_on().valid.sum() == 2 and two_views.subject_indices.tolist() == [0, 0]
    assert sample([0, 1], [view, view]).points_on().valid.sum() == 0


def test_repeated_pairs_count_once_with_their_best_confidence():
    points = correspondence([(0.1, 0.1)] * 3 + [(0.9, 0.1)], [(0.1, 0.1)] * 4, [0.2, 0.8, 0.5, 0.1])
    assert triples(sample([0], [points]).points_on(Grid(2, 2), [Grid(2, 2)]), 0) == [
        (0, 0, np.float32(0.8)),
        (1, 0, np.float32(0.1)),
    ]


def test_no_references_no_points():
    points = sample([], []).points_on()
    assert points.reference.shape == points.valid.shape == (0, 0)


@given(samples(), st.data())
def test_crops_drop_points_and_keep_the_rest_in_place(sample, data):
    left, top = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 60))
    box = left, top, data.draw(st.integers(left + 1, 96)), data.draw(st.integers(top + 1, 64))
    cropped = sample.crop(box)
    for before, after in zip(sample.correspondences, cropped.correspondences, strict=True):
        pixels = before.target * (96, 64)
        inside = ((pixels >= box[:2]) & (pixels <= box[2:])).all(-1)
        assert np.allclose(after.target * cropped.size[::-1] + box[:2], pixels[inside], atol=1e-6)
        assert (after.reference == before.reference[inside]).all()


@given(samples())
def test_flipping_twice_changes_nothing(sample):
    again = sample.flip().flip()
    assert (again.caption, again.detailed_caption) == (sample.caption, sample.detailed_caption)
    assert np.array_equal(again.target_masks, sample.target_masks)
    for before, after in zip(sample.correspondences, again.correspondences, strict=True):
        assert np.allclose(before.target, after.target) and np.allclose(before.reference, after.reference)


def test_a_flip_mirrors_pictures_points_and_words():
    points = correspondence([(0.25, 0.5)], [(0.125, 0.5)], [1])
    flipped = sample([0], [points]).flip()
    assert flipped.correspondences[0].reference.tolist() == [[0.75, 0.5]]
    assert flipped.correspondences[0].target.tolist() == [[0.875, 0.5]]
    assert flipped.caption == "a bear to the right of a duck"
    assert flipped.detailed_caption == "Right: a red bear."


IDIOMS = "all right, right now a right-angled bend, left over bread right next to a dog right behind a mug"


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("the leftmost mug, a right-hand glove", "the rightmost mug, a left-hand glove"),
        ("Left, LEFT and Rightmost; upright", "Right, RIGHT and Leftmost; upright"),
        ("the mug to the right behind the dog", "the mug to the left behind the dog"),
        ("looking rightwards, left of a tree", "looking leftwards, right of a tree"),
        (f"{IDIOMS} on the left", f"{IDIOMS} on the right"),
    ],
)
def test_sides_trade_places_and_idioms_stay(caption, mirrored):
    once = replace(sample([], []), caption=caption).flip()
    assert once.caption == mirrored and once.flip().caption == caption


def test_references_move_to_a_canvas_with_mask_and_points():
    points = correspondence([(0.5, 0.5), (0, 0)], [(0.1, 0.1)] * 2, [1, 1])
    placed = sample([0], [points]).place_references([Placement.letterbox((48, 32), (64, 64), 0.5)])
    assert placed.references[0].size == (64, 64) and placed.references[0].mask.sum() == 32 * 21
    assert np.allclose(placed.correspondences[0].reference, [(31.5 / 64, 0.5), (21 / 64, 0.25)])


def test_resizing_leaves_points_and_takes_masks_along():
    resized = sample([0], [correspondence([(0.5, 0.5)], [(0.3, 0.7)], [1])]).resize(32, 128)
    assert resized.size == (32, 128) and resized.target_masks[0].shape == (32, 128)
    assert np.allclose(resized.correspondences[0].target, [(0.3, 0.7)])


def test_sides_must_hold_whole_tokens_unless_a_grid_is_given():
    odd = sample([], [], size=(50, 96))
    with pytest.raises(ValueError, match="multiples of 16"):
        odd.points_on()
    assert odd.points_on(Grid(3, 6)).valid.shape == (0, 0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: correspondence([(0.5, 1.5)], [(0, 0)], [1]), "lie in"),
        (lambda: correspondence([(0.5, np.nan)], [(0, 0)], [1]), "lie in"),
        (lambda: correspondence([(0.5, 0.5)], [(0, 0)], [1, 1]), "Points must be"),
        (lambda: Subject(id="", name="bear"), "an id and a name"),
        (lambda: reference(0, (0, 4)), "uint8"),
        (lambda: sample([0], []), "a correspondence a reference"),
        (lambda: sample([0], [correspondence()], [np.zeros((4, 4), bool)]), "A target mask"),
        (lambda: sample([0], [correspondence()], []), "a target mask a subject"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_id_has_one_name():
    twin = Reference(
        subject=Subject(id="toy-0", name="duck"),
        image=np.zeros((8, 8, 3), np.uint8),
        mask=np.ones((8, 8), bool),
    )
    with pytest.raises(ValueError, match="two names"):
        Sample(
            key="a",
            target=np.zeros((8, 8, 3), np.uint8),
            references=(reference(0), twin),
            target_masks=(np.zeros((8, 8), bool),) * 2,
            correspondences=(correspondence(), correspondence()),
            caption="",
            detailed_caption="",
        )
