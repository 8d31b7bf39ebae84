"""The cache of latents and the stream over it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mosaic.training.latents import prepare_latents, shard_path
from mosaic.training.stream import LatentStream

from .fake_world import fake_batches


def silent(_: str) -> None: ...


def made(data: Any, folder: Path, start: Path) -> Path:
    prepare_latents(folder, data, start / "vae", fake_batches, silent)
    return folder


def test_a_missing_shard_is_made_again_and_equal(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    data = tiny_recipe().data
    made(data, tmp_path, tiny_start)
    path = shard_path(tmp_path, 2, 1)
    others = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.safetensors") if p != path}
    before = path.read_bytes()
    path.unlink()
    made(data, tmp_path, tiny_start)
    assert path.read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in others} == others


@pytest.mark.slow  # each process imports diffusers
def test_two_processes_make_what_one_makes(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        made(tiny_recipe(data={"workers": workers}).data, tmp_path / str(workers), tiny_start)
    files = [sorted((tmp_path / str(w)).glob("*.safetensors")) for w in (1, 2)]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_a_cache_of_another_seed_is_refused(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    made(tiny_recipe().data, tmp_path, tiny_start)
    with pytest.raises(ValueError, match="seed = 0, this recipe has 1"):
        made(tiny_recipe(data={"seed": 1}).data, tmp_path, tiny_start)


def test_an_epoch_drops_and_repeats_nothing(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    data = tiny_recipe(data={"subjects": {2: 1}}).data
    made(data, tmp_path, tiny_start)
    stream = LatentStream(tmp_path, data, batch=3, seed=0)
    rows = torch.cat([next(stream).target for _ in range(8)]).flatten(1).float()  # 24 of 8: three epochs
    for epoch in rows.split(8):
        assert len(epoch.unique(dim=0)) == 8
    assert not torch.equal(rows[:8], rows[8:16])


def test_the_state_of_another_source_is_refused(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    stream = LatentStream(made(tiny_recipe().data, tmp_path, tiny_start), tiny_recipe().data, batch=3, seed=0)
    stream.load_state_dict({"drawn": 1, "taken": {"1": 3}})  # of a run saved before states had their source
    with pytest.raises(ValueError, match=r'data.source is "toybox", and was "endless-toybox"'):
        stream.load_state_dict(stream.state_dict() | {"source": "endless-toybox"})


def test_the_stream_goes_on_where_it_was(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    data = tiny_recipe().data
    made(data, tmp_path, tiny_start)
    stream = LatentStream(tmp_path, data, batch=3, seed=5)
    for _ in range(4):
        next(stream)
    state = stream.state_dict()
    wanted = [next(stream) for _ in range(4)]
    again = LatentStream(tmp_path, data, batch=3, seed=5)
    again.load_state_dict(state)
    for a, b in zip(wanted, again, strict=False):
        assert torch.equal(a.target, b.target) and torch.equal(a.points_target, b.points_target)
        assert a.captions == b.captions


def test_batches_have_one_k_and_the_points_of_the_recipe(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    for points in (1, 2, 8):
        data = tiny_recipe(data={"points": points, "detailed": 1.0}).data
        made(data, tmp_path, tiny_start)
        batch = next(LatentStream(tmp_path, data, batch=2, seed=0))
        k = batch.references.shape[1]
        assert batch.target.shape == (2, 16, 4, 4) and batch.references.shape == (2, k, 16, 4, 4)
        assert batch.points_valid.shape == (2, k, points)
        assert (batch.points_valid.sum(-1) == min(points, 2)).all()
        assert batch.captions == ["a bear on grass"] * 2


def test_scenes_without_subjects_have_no_references(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    data = tiny_recipe(data={"subjects": {0: 1}}).data
    made(data, tmp_path, tiny_start)
    batch = next(LatentStream(tmp_path, data, batch=2, seed=0))
    assert batch.references.shape == (2, 0, 16, 4, 4)
    assert batch.points_valid.shape == (2, 0, 4)
