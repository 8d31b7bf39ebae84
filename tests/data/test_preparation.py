from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.data.preparation import Preparation, crop_box, kept, nearest, on_canvas, target_sizes
from mosaic.geometry import Grid, center_of
from mosaic.sample import Correspondence, Reference, Sample, Subject


def marked(height=48, width=80, spots=((10, 20), (30, 60))):
    """A red and a blue square on grey, each also a reference; points are their middles."""
    target = np.full((height, width, 3), 128, np.uint8)
    masks, references, points = [], [], []
    for i, (y, x) in enumerate(spots):
        shade = np.array([255, 0, 0] if i == 0 else [0, 0, 255], np.uint8)
        target[y - 4 : y + 4, x - 4 : x + 4] = shade
        masks.append(np.zeros((height, width), bool))
        masks[-1][y - 4 : y + 4, x - 4 : x + 4] = True
        image = np.full((40, 40, 3), 255, np.uint8)
        image[8 + 4 * i : 24 + 4 * i, 10:26] = shade
        subject = Subject(id=str(i), name="box")
        references.append(Reference(subject=subject, image=image, mask=image.min(2) < 255))
        here, there = [[18 / 40, (16 + 4 * i) / 40]], [[x / width, y / height]]
        points.append(Correspondence(reference=np.array(here), target=np.array(there), confidence=np.ones(1)))
    return Sample(
        key="m",
        target=target,
        target_masks=tuple(masks),
        references=tuple(references),
        correspondences=tuple(points),
        caption="a box left of a box",
        detailed_caption="a red box left of a blue box",
    )


def test_sizes_have_the_area_and_the_aspects():
    sizes = target_sizes(512, (1.0, 0.75, 4 / 3, 1.78))
    assert sizes[0] == (512, 512)
    for (height, width), aspect in zip(sizes, (1.0, 0.75, 4 / 3, 1.78), strict=True):
        assert height % 16 == width % 16 == 0
        assert abs(height * width / 512**2 - 1) < 0.05 and abs(width / height / aspect - 1) < 0.05
    assert target_sizes(32, (1.0, 1.05)) == ((32, 32),)


def test_the_nearest_aspect():
    sizes = target_sizes(512, (0.5, 1.0, 2.0))
    assert nearest((300, 310), sizes) == sizes[1]
    assert nearest((100, 190), sizes) == sizes[2]
    assert nearest((190, 100), sizes) == sizes[0]


@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    least=st.floats(0.2, 1),
    keep=st.floats(0.5, 1),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    wanted=st.sampled_from(target_sizes(64, (0.5, 1, 2))),
    seed=st.integers(0, 99),
)
def test_a_crop_has_the_aspect_and_keeps_what_it_can(height, width, least, keep, place, wanted, seed):
    mask = np.zeros((height, width), bool)
    y, x = int(place[0] * (height - 10)), int(place[1] * (width - 10))
    mask[y : y + 10, x : x + 10] = True
    box = crop_box((height, width), [mask], wanted, least, keep, np.random.default_rng(seed))
    left, top, right, bottom = box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    tall = min(height, width * wanted[0] / wanted[1])
    assert abs((bottom - top) - (right - left) * wanted[0] / wanted[1]) <= 1.5 + wanted[0] / wanted[1]
    assert bottom - top >= least * tall - 1
    possible = min(1.0, right - left, tall * wanted[1] / wanted[0] / 10, tall / 10)
    assert kept([mask], box) >= min(keep, 0.85 * possible)


def test_a_crop_without_freedom_is_the_largest_that_shows_most():
    mask = np.zeros((40, 80), bool)
    mask[:, 70:] = True
    generator = np.random.default_rng(0)
    assert crop_box((40, 80), [mask], (32, 32), 1.0, 0.9, generator) == (40, 0, 80, 40)
    assert crop_box((40, 80), [], (32, 32), 1.0, 0.9, generator) == (20, 0, 60, 40)
    assert crop_box((40, 80), [], (32, 64), 1.0, 0.9, generator) == (0, 0, 80, 40)


@given(seed=st.integers(0, 500), flip=st.sampled_from([0.0, 1.0]), crop=st.sampled_from([1.0, 0.6]))
def test_points_stay_on_what_they_mark(seed, flip, crop):
    """Both ends of every surviving point lie on the colour of their square, in the pictures as trained on."""
    prepare = Preparation(
        sizes=target_sizes(64, (1.0, 1.6)), crop=crop, flip=flip, canvas="released", reference_size=48
    )
    sample = prepare(marked(), np.random.default_rng(seed))
    assert sample.size == nearest((48, 80), prepare.sizes)
    shown = 0
    for i, (reference, points) in enumerate(zip(sample.references, sample.correspondences, strict=True)):
        assert reference.size == (48, 48)
        channel = 0 if i == 0 else 2
        for picture, ends in ((reference.image, points.reference), (sample.target, points.target)):
            for x, y in ends:
                pixel = picture[int(y * picture.shape[0]), int(x * picture.shape[1])]
                assert pixel[channel] > 200 and pixel[2 - channel] < 60
                shown += 1
    assert shown == 4  # crops keep nine tenths of each square, its middle too


def test_a_mirrored_sample_says_so():
    prepare = Preparation(sizes=((48, 80),), flip=1.0, canvas="letterbox", reference_size=48)
    sample = prepare(marked(), np.random.default_rng(0))
    assert sample.caption == "a box right of a box"
    assert np.array_equal(sample.target, marked().target[:, ::-1])
    plain = replace(prepare, flip=0.0)(marked(), np.random.default_rng(0))
    assert plain.caption == marked().caption and np.array_equal(plain.target, marked().target)


def test_the_released_canvas_cuts_a_photograph_by_its_mask_and_leaves_a_cutout():
    reference = marked().references[0]
    photo = replace(reference, image=np.where(reference.mask[..., None], reference.image, np.uint8(90)))
    cut, plain = on_canvas(photo, "released", 48), on_canvas(reference, "released", 48)
    assert np.array_equal(cut.image, plain.image)
    assert (cut.image[0] == 255).all() and cut.mask.mean() > 0.75  # the square's box fills 0.9 of a side
    boxed = on_canvas(photo, "letterbox", 48)
    assert (boxed.image[0] == 90).all()


@pytest.mark.parametrize("kind", ["released", "letterbox"])
def test_tokens_of_a_prepared_sample_are_its_points(kind):
    prepare = Preparation(sizes=((48, 80),), canvas=kind, reference_size=48)
    found = prepare(marked(), np.random.default_rng(0)).points_on()
    assert found.valid.all() and found.valid.shape == (2, 1)
    target = center_of(found.target[:, 0], Grid(3, 5)) * (80, 48)
    assert (np.abs(target - [(20, 10), (60, 30)]) <= 8).all()
