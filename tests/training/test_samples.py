"""Shards, folders and endless toys to latents: what `open_source` gives."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mosaic import toybox
from mosaic.data.index import _index, scan
from mosaic.data.shards import read_shard
from mosaic.toybox.export import write_dataset
from mosaic.training.latents import encode_pictures
from mosaic.training.samples import Encoder, open_source
from mosaic.training.stream import Latents

from .test_loop import Killed, assert_equal, go, kill_in_step, newest


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 3 samples: 7 of one toy, 5 of two toys."""
    folder = tmp_path_factory.mktemp("toys")
    for subjects, samples in ((1, 7), (2, 5)):
        write_dataset(
            samples=samples, subjects=subjects, seed=3, size=64, output=folder / f"k{subjects}", shard=3
        )
    return folder


@pytest.fixture
def opened(tiny_recipe: Any, tiny_start: Path, tmp_path: Path, toys: Path) -> Any:
    """opened(batch=2, rank=0, world=1, **data): a source over the toys."""

    def make(batch: int = 2, rank: int = 0, world: int = 1, **data: Any) -> Any:
        shards = {"source": "shards", "path": f"{toys}/k{{1,2}}", "size": 32, "window": 8}
        recipe = tiny_recipe(data=shards | data, optimiser={"batch": batch}, references=REFERENCES)
        model: Any = SimpleNamespace(device=torch.device("cpu"))
        return open_source(recipe, model, tiny_start, tmp_path, rank, world)

    return make


REFERENCES = {"canvas": "letterbox"}


def same(a: Latents, b: Latents) -> bool:
    tensors = ("target", "references", "points_reference", "points_target", "points_valid", "subjects")
    return a.captions == b.captions and all(torch.equal(getattr(a, n), getattr(b, n)) for n in tensors)


def joined(parts: list[Latents]) -> Latents:
    tensors = ("target", "references", "points_reference", "points_target", "points_valid", "subjects")
    return Latents(
        captions=[caption for part in parts for caption in part.captions],
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in tensors},
    )


def test_a_batch_is_of_one_k_with_the_points_of_the_recipe(opened: Any) -> None:
    source, counts = opened(points=5), set()
    for _ in range(5):
        batch = next(source)
        k = batch.references.shape[1]
        counts.add(k)
        assert batch.target.shape == (2, 16, 4, 4) and batch.references.shape == (2, k, 16, 4, 4)
        assert batch.points_valid.shape == (2, k, 5) and batch.points_valid.dtype == torch.bool
        assert batch.points_target.dtype == torch.long and int(batch.points_target.max()) < 4
        assert batch.subjects.tolist() == [list(range(k))] * 2
        pairs = torch.stack([batch.points_reference, batch.points_target], -1)[batch.points_valid]
        assert len(pairs) > 0
    assert counts == {1, 2}


def test_latents_are_those_of_the_pictures(opened: Any, toys: Path, tiny_start: Path) -> None:
    """An epoch holds every sample of the shards, encoded as `encode_pictures` does."""
    source = opened(batch=1, size=64, reference_size=64)
    vae = source.encode.vae
    samples = [s for path in sorted(toys.rglob("*.tar")) for s in read_shard(path)]
    found = [next(source) for _ in samples]
    assert len(found) == 12
    for sample in samples:
        wanted = encode_pictures(vae, torch.from_numpy(sample.target)[None], "mean", torch.Generator())
        (own,) = [b for b in found if torch.equal(b.target, wanted.to(torch.bfloat16))]
        assert own.captions == [sample.caption]
        picture = torch.from_numpy(sample.references[0].image)[None]
        reference = encode_pictures(vae, picture, "mean", torch.Generator())[0]
        assert torch.equal(own.references[0, 0], reference.to(torch.bfloat16))


RANDOM = {"crop": 0.6, "flip": 0.5, "detailed": 0.5, "posterior": "sample", "points": 3}


@pytest.mark.parametrize("source", ["shards", "endless-toybox"])
def test_two_processes_and_threads_see_what_one_sees(opened: Any, source: str) -> None:
    one = opened(batch=4, source=source, **RANDOM)
    two = [opened(batch=2, rank=r, world=2, workers=3, source=source, **RANDOM) for r in range(2)]
    for _ in range(2):
        assert same(next(one), joined([next(part) for part in two]))
        assert one.state_dict() == two[0].state_dict() == two[1].state_dict()


@pytest.mark.parametrize(("source", "taken"), [("shards", 0), ("shards", 4), ("endless-toybox", 1)])
def test_a_source_goes_on_where_it_was(opened: Any, source: str, taken: int) -> None:
    first = opened(source=source, **RANDOM)
    for _ in range(taken):
        next(first)
    state = json.loads(json.dumps(first.state_dict()))
    wanted = [next(first) for _ in range(2)]
    again = opened(source=source, workers=2, **RANDOM)
    next(again)  # what was prepared ahead is dropped
    again.load_state_dict(state)
    assert again.state_dict() == state
    for batch in wanted:
        assert same(next(again), batch)
    halves = [opened(batch=1, rank=r, world=2, source=source, **RANDOM) for r in range(2)]
    for half in halves:
        half.load_state_dict(state)
    assert same(joined([next(half) for half in halves]), wanted[0])


def test_augmentation_is_new_in_each_epoch(opened: Any, toys: Path, tmp_path: Path) -> None:
    only = f"{toys}/k1/toybox-000002.tar"  # one sample
    first = opened(batch=1, path=only, crop=0.5)
    assert not torch.equal(next(first).target, next(first).target)
    plain = opened(batch=1, path=only)
    assert same(next(plain), next(plain)) is False  # other points are drawn …
    assert torch.equal(next(plain).target, next(plain).target)  # … of the same picture


def test_kept_latents_are_the_same_and_are_not_made_again(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, kept = opened(), opened(keep_latents=True)
    for _ in range(3):
        assert same(next(plain), next(kept))
    files = list((tmp_path / "latents" / "pictures").rglob("*.safetensors"))
    assert len(files) >= 6 and not list(tmp_path.rglob("*.tmp"))
    again, wanted = opened(keep_latents=True), opened()
    monkeypatch.setattr(Encoder, "_encoded", None)  # would fail
    batch = next(again)
    monkeypatch.undo()
    assert same(batch, next(wanted))


def damage(path: Path, key: str) -> None:
    """A mask whose head is whole and whose pixels are not: seen when it is unpacked."""
    content = bytearray(path.read_bytes())
    start = content.index(f"{key}.ref0.mask.png".encode())
    content[content.index(b"IDAT", start) + 6] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_sample_is_told_and_another_of_its_kind_stands_in(
    opened: Any, toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = tmp_path / "bad.tar"
    shutil.copy(toys / "k2" / "toybox-000000.tar", shard)
    keys = [row.key for row in scan(shard).rows]
    damage(shard, keys[1])
    assert len(scan(shard).rows) == 3
    parts = [opened(batch=1, rank=r, world=3, path=str(shard), corrupt=1, workers=2) for r in range(3)]
    one = opened(batch=3, path=str(shard), corrupt=1)
    for _ in range(2):
        batch = next(one)
        assert same(batch, joined([next(part) for part in parts]))
        assert len(set(batch.captions)) == 2  # one is seen twice
    told = [json.loads(line) for line in (tmp_path / "corrupt.jsonl").read_text().splitlines()]
    assert {(line["shard"], line["key"]) for line in told} == {(str(shard), keys[1])}
    assert f"{shard}: The sample {keys[1]} is damaged" in capsys.readouterr().err
    with pytest.raises(ValueError, match=rf"allows 0; the last in {shard}: The sample {keys[1]} is damaged"):
        [next(source) for source in [opened(batch=3, path=str(shard))] * 2]


def test_nothing_whole_of_a_kind_is_an_error(opened: Any, toys: Path, tmp_path: Path) -> None:
    shard = tmp_path / "bad.tar"
    shutil.copy(toys / "k1" / "toybox-000002.tar", shard)
    damage(shard, scan(shard).rows[0].key)
    with pytest.raises(ValueError, match="Every sample like"):
        next(opened(batch=1, path=str(shard), corrupt=5))


def test_what_is_no_shard_is_an_error(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no tar" * 500)
    with pytest.raises(ValueError, match=r"no.tar: It is not a whole tar file.*raise data.corrupt"):
        next(opened(path=str(tmp_path / "no.tar")))
    with pytest.raises(ValueError, match="no sample that can be used"):
        next(opened(path=str(tmp_path / "no.tar"), corrupt=1))
    with pytest.raises(ValueError, match="there is no shard"):
        opened(path=str(tmp_path / "nowhere"))


def test_more_references_than_the_recipe_takes_are_an_error(opened: Any) -> None:
    with pytest.raises(ValueError, match=r"toybox-3-2-\d+ of .* has 2 references, .*data.references = 1"):
        [next(source) for source in [opened(references=1)] * 6]


def test_a_path_is_needed(tiny_recipe: Any) -> None:
    with pytest.raises(ValueError, match=r'data.source = "folder" needs data.path'):
        tiny_recipe(data={"source": "folder"})


def test_endless_toys_are_the_toybox(opened: Any) -> None:
    source = opened(batch=1, source="endless-toybox", seed=9, subjects={2: 1}, size=64, reference_size=64)
    captions = [next(source).captions[0] for _ in range(3)]
    assert captions == [toybox.sample(9, subjects=2, index=i, size=64).caption for i in range(3)]


def test_a_folder_with_pictures_of_every_shape(opened: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"wide": (90, 50), "tall": (50, 90), "square": (70, 70), "wider": (95, 50)}
    for name, (width, height) in sizes.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / f"{name}.png")
    views = [{"name": "cat", "picture": "tall.png"}, {"name": "cat", "picture": "square.png"}]
    entries = [
        {
            "target": f"{name}.png",
            "caption": name,
            "references": [*views, {"name": "hat", "picture": "wide.png"}],
        }
        for name in sizes
    ]
    (tmp_path / "samples.json").write_text(json.dumps(entries))
    source = opened(batch=1, source="folder", path=str(tmp_path), aspects=[0.5, 1.0, 2.0], crop=0.8, flip=0.5)
    shapes = {}
    for _ in entries:
        batch = next(source)
        shapes[batch.captions[0]] = tuple(batch.target.shape[-2:])
        assert batch.subjects.tolist() == [[0, 0, 1]]
        assert not batch.points_valid.any()
    assert shapes == {"wide": (2, 6), "wider": (2, 6), "tall": (6, 2), "square": (4, 4)}
    pair = next(opened(batch=2, source="folder", path=str(tmp_path), aspects=[0.5, 1.0, 2.0]))
    assert set(pair.captions) == {"wide", "wider"}


def test_a_run_over_shards_that_is_killed_resumes_to_the_bit(
    tiny_recipe: Any, tiny_start: Path, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"source": "shards", "path": f"{toys}/k{{1,2}}", "size": 32, "crop": 0.7, "flip": 0.5, "window": 8}
    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        train={"parameters": "lora"},
        data=data,
        optimiser={"accumulation": 2},
    )
    whole = go(recipe, tmp_path / "whole")
    kill_in_step(monkeypatch, 5)
    with pytest.raises(Killed):
        go(recipe, tmp_path / "cut")
    monkeypatch.undo()
    assert go(recipe, tmp_path / "cut", resume=True) == whole
    assert_equal(newest(tmp_path / "whole"), newest(tmp_path / "cut"))


def test_another_set_of_shards_on_resume_is_refused(opened: Any, toys: Path) -> None:
    state = opened().state_dict()
    with pytest.raises(ValueError, match="other shards"):
        opened(path=f"{toys}/k1").load_state_dict(state)


def test_a_shard_packed_again_with_fewer_samples_is_refused_on_resume(
    opened: Any, toys: Path, tmp_path: Path
) -> None:
    shard = tmp_path / "a.tar"
    shutil.copy(toys / "k1" / "toybox-000000.tar", shard)
    source = opened(batch=1, path=str(shard))
    next(source)
    shutil.copy(toys / "k1" / "toybox-000002.tar", shard)  # one sample of three
    _index.cache_clear()  # as in another process
    with pytest.raises(ValueError, match=r"a.tar holds other samples \(1\) than .* \(3\)"):
        opened(batch=1, path=str(shard)).load_state_dict(source.state_dict())


@pytest.mark.parametrize(("before", "now"), [("endless-toybox", "shards"), ("shards", "endless-toybox")])
def test_another_source_on_resume_is_refused(opened: Any, before: str, now: str) -> None:
    state = opened(source=before).state_dict()
    with pytest.raises(ValueError, match=f'data.source is "{now}", and was "{before}"'):
        opened(source=now).load_state_dict(state)


def test_other_aspects_on_resume_move_what_waits(opened: Any, tmp_path: Path) -> None:
    for i, (width, height) in enumerate([(90, 50), (50, 90), (70, 70)]):
        Image.new("RGB", (width, height)).save(tmp_path / f"{i}.png")
    entries = [{"target": f"{i}.png", "caption": str(i)} for i in range(3)]
    (tmp_path / "samples.json").write_text(json.dumps(entries))
    options = {"source": "folder", "path": str(tmp_path)}
    source = opened(batch=2, **options, aspects=[0.5, 1.0, 2.0])
    next(source)
    assert len(source.state_dict()["waiting"]) == 2
    again = opened(batch=2, **options, aspects=[1.0])
    again.load_state_dict(source.state_dict())
    assert [len(places) for places in again.state_dict()["waiting"].values()] == [2]
    assert next(again).target.shape == (2, 16, 4, 4)
