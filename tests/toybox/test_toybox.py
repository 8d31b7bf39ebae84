"""The toybox renders what it says, and its correspondences are exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic.toybox.batches import batches, generator, portrait, sample, shoot
from mosaic.toybox.correspond import match
from mosaic.toybox.identity import VARIED, Identity, Split, identity_count, random_identity, vary
from mosaic.toybox.render import render
from mosaic.toybox.scene import Scene, caption, compose, vocabulary
from mosaic.toybox.solids import Solid, intersect, normal
from mosaic.toybox.species import NOUNS
from mosaic.toybox.toy import Pose, Toy, model


def test_enough_species_and_identities() -> None:
    assert len(NOUNS) >= 12 and identity_count() >= 10**9
    assert {"bear", "duck", "robot", "mug"} <= set(NOUNS) and "grass" in vocabulary()


def test_splits_share_no_identity() -> None:
    seen: dict[Split, set[Identity]] = {}
    for split in Split:
        seen[split] = {random_identity(np.random.default_rng(seed), split) for seed in range(200)}
        assert all(identity.split is split for identity in seen[split])
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


@pytest.mark.parametrize("attribute", VARIED)
def test_a_varied_attribute_is_the_only_one_and_shows(attribute: str) -> None:
    rng = np.random.default_rng(4)
    identity = random_identity(rng)
    while not (identity.accessory and identity.pattern):
        identity = random_identity(rng)
    other = vary(identity, attribute, rng)
    changed = {
        name for name in Identity.__dataclass_fields__ if getattr(identity, name) != getattr(other, name)
    }
    assert attribute in changed and changed <= {attribute, "accessory_colour"}
    scenes = [portrait_of(Toy(species="bear", identity=i)) for i in (identity, other)]
    first, second = render(scenes, 64, 64).picture.float()
    assert ((first - second).abs().amax(-1) > 24).sum() >= 8


def portrait_of(toy: Toy) -> Scene:
    scene = compose(np.random.default_rng(0), 1).references[0]
    return Scene(toys=(toy,), poses=(Pose(),), camera=scene.camera, light=scene.light)


@pytest.mark.parametrize("kind", Solid)
def test_rays_meet_solids_on_their_surface(kind: Solid) -> None:
    torch.manual_seed(0)
    start = torch.nn.functional.normalize(torch.randn(400, 3, dtype=torch.float64), dim=-1) * 5
    towards = torch.rand(400, 3, dtype=torch.float64) - 0.5 - start
    shape = torch.full((400, 1), 0.6, dtype=torch.float64)
    t = intersect(kind, tuple(start.T[..., None]), tuple(towards.T[..., None]), shape)[:, 0]  # type: ignore[arg-type]
    hit = t.isfinite()
    assert hit.float().mean() > 0.5
    point = (start + t[:, None] * towards)[hit]
    assert inside(kind, point * 0.999).all() and not inside(kind, point - 1e-3 * towards[hit]).any()
    out = torch.nn.functional.normalize(normal(kind, point, shape[hit, 0]), dim=-1)
    assert ((out * towards[hit]).sum(-1) <= 1e-6).float().mean() > 0.97  # it faces the viewer


def inside(kind: Solid, point: torch.Tensor) -> torch.Tensor:
    """A literal statement of each solid's volume, shape 0.6."""
    x, y, z = point.unbind(-1)
    if kind is Solid.ELLIPSOID:
        return x**2 + y**2 + z**2 <= 1
    if kind is Solid.BOX:
        return point.abs().amax(-1) <= 1
    if kind is Solid.CONE:
        return (z.abs() <= 1) & (x**2 + y**2 <= (1 - 0.2 * (z + 1)) ** 2)
    return x**2 + y**2 + (z - z.clamp(-0.6, 0.6)) ** 2 <= 1


@pytest.mark.parametrize("subjects", [1, 3, 6])
def test_warping_references_reproduces_the_target(subjects: int) -> None:
    """Colour, light aside, agrees for over 85 % of warped pixels (88 % at K = 3 and 6)."""
    compositions = tuple(compose(generator(5, i), subjects) for i in range(4))
    target, references = shoot(compositions, 192, 192)
    matches = match(target, references, subjects)
    here = references.picture[
        matches.sample * subjects + matches.reference, at(matches.here, 192, 1), at(matches.here, 192, 0)
    ]
    there = target.picture[matches.sample, at(matches.there, 192, 1), at(matches.there, 192, 0)]
    hue = [torch.nn.functional.normalize(side.float() + 1, dim=-1) for side in (here, there)]
    close = (hue[0] - hue[1]).norm(dim=-1) < 0.1  # light changes brightness, never hue
    assert len(close) > 2000 * subjects
    assert close.float().mean() > 0.85  # the rest are pixels of mixed colour on outlines and pattern borders


def test_a_match_is_the_same_spot_of_the_same_part() -> None:
    """The spot the target shows there is the reference's, but for the size of a pixel."""
    compositions = tuple(compose(generator(9, i), 3) for i in range(3))
    target, references = shoot(compositions, 192, 192)
    matches = match(target, references, 3)
    fine, small = target.toy.shape[1], references.toy.shape[1]
    place = (matches.sample, at(matches.there, fine, 1), at(matches.there, fine, 0))
    scene = matches.sample * 3 + matches.reference
    spot = (scene, at(matches.here, small, 1), at(matches.here, small, 0))
    part = (
        references.part[spot]
        - references.parts.first[scene, 0]
        + target.parts.first[matches.sample, matches.reference]
    )
    same = part == target.part[place]
    assert same.float().mean() > 0.97  # the rest lie on seams between parts
    frame = target.parts.frame[part[same]][:, :, :3]
    apart = (target.local[place][same] - references.local[spot][same])[..., None]
    assert (frame @ apart).norm(dim=1).quantile(0.99) < 0.03  # a toy is about 1 tall


def at(points: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    return (points[:, axis] * size).long()


@pytest.mark.parametrize("subjects", [2, 5, 8])
def test_points_never_land_on_another_toy(subjects: int) -> None:
    compositions = tuple(compose(generator(6, i), subjects) for i in range(3))
    target, references = shoot(compositions, 96, 96)
    matches = match(target, references, subjects)
    fine = target.toy.shape[1]
    landed = target.toy[matches.sample, at(matches.there, fine, 1), at(matches.there, fine, 0)]
    assert (landed == matches.reference).all()


def test_the_viewpoint_really_changes() -> None:
    for i in range(20):
        composition = compose(generator(7, i), 3)
        for pose, scene in zip(composition.scene.poses, composition.references, strict=True):
            assert abs(pose.yaw - scene.poses[0].yaw) >= 15


def test_something_is_hidden() -> None:
    """Occlusion: not every surface spot of a reference is seen in the target."""
    target, references = shoot(tuple(compose(generator(8, i), 6) for i in range(4)), 96, 96)
    seen = len(match(target, references, 6).sample) / (references.part >= 0).sum()
    assert 0.3 < seen < 0.9


def test_a_batch_depends_on_its_place_alone() -> None:
    first = batches(3, subjects=2, batch=4)
    next(first)
    here, there = next(first), next(batches(3, subjects=2, batch=4, start=1))
    assert torch.equal(here.target, there.target) and torch.equal(here.references, there.references)
    assert torch.equal(here.point, there.point) and here.captions == there.captions


def test_batch_points_are_disjoint_between_references() -> None:
    batch = next(batches(2, subjects=6, batch=8))
    for points, valid in zip(batch.point, batch.valid, strict=True):
        owned = [set(p[v].tolist()) for p, v in zip(points, valid, strict=True)]
        assert sum(map(len, owned)) == len(set().union(*owned))


def test_captions_name_every_toy_and_only_the_detailed_one_tells_looks() -> None:
    composition = compose(generator(1), 4)
    plain, detailed = (caption(composition.scene, places=True, detailed=d) for d in (False, True))
    assert all(toy.species in plain and toy.species in detailed for toy in composition.scene.toys)
    assert "limbs" in detailed and "limbs" not in plain
    assert set(detailed.replace(",", " ,").split()) <= set(vocabulary())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), subjects=st.integers(1, 8), size=st.sampled_from([64, 96]))
def test_samples_are_valid(seed: int, subjects: int, size: int) -> None:
    made = sample(seed, subjects=subjects, size=size, reference_size=64)
    assert len(made.references) == subjects and made.size == (size, size)
    assert all(r.mask.any() for r in made.references)
    tokens = made.points_on()
    assert tokens.target.max() < (size // 16) ** 2 and tokens.reference.max() < 16


def test_scenes_without_toys_and_too_many_toys() -> None:
    empty = next(batches(0, subjects=0, batch=2))
    assert empty.references.shape[1] == 0 and empty.target.float().std() > 0
    with pytest.raises(ValueError, match="0 to 8 toys"):
        compose(generator(0), 9)


def test_portraits_are_the_same_twice_and_leave_a_white_border() -> None:
    (first, mask), (second, _) = portrait("bear", 4, 96), portrait("bear", 4, 96)
    assert (first == second).all() and (first[~mask][:96] > 250).all() and 0.05 < mask.mean() < 0.7


@pytest.mark.parametrize("species", NOUNS)
def test_a_portrait_fills_its_picture_as_the_released_canvas_would(species: str) -> None:
    for seed in range(3):
        _, mask = portrait(species, seed, 200)
        (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0))
        assert max(bottom - top, right - left) + 1 == pytest.approx(0.9 * 200, abs=4)
        assert top + bottom == pytest.approx(199, abs=5) and left + right == pytest.approx(199, abs=5)


def test_models_are_shared_and_finite() -> None:
    toy = Toy(species="robot", identity=random_identity(np.random.default_rng(0)))
    assert model(toy) is model(toy) and np.isfinite(model(toy).frame).all()
