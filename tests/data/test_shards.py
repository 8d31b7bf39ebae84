import io
import tarfile

import numpy as np
import pytest

from mosaic.data.shards import UNIT, ShardWriter, decode_sample, encode_sample, read_shard
from mosaic.sample import Correspondence, Reference, Sample, Subject

NAMES = ["json", "points.npy", "ref0.mask.png", "ref0.webp", "ref1.mask.png", "ref1.webp", "ref2.mask.png"]
NAMES += ["ref2.webp", "target.mask0.png", "target.mask1.png", "target.webp"]


def make_sample(key="000001", seed=0, counts=(5, 0, 3)):
    """Three references, the first and the last of one subject."""
    rng = np.random.default_rng(seed)
    subjects = [Subject(id="a", name="Bär"), Subject(id="b", name="duck"), Subject(id="a", name="Bär")]
    return Sample(
        key=key,
        target=rng.integers(0, 256, (48, 32, 3), np.uint8),
        target_masks=tuple(rng.random((2, 48, 32)) < 0.5),
        references=tuple(
            Reference(
                subject=subject,
                image=rng.integers(0, 256, (16, 16 + 16 * k, 3), np.uint8),
                mask=rng.random((16, 16 + 16 * k)) < 0.5,
            )
            for k, subject in enumerate(subjects[: len(counts)])
        ),
        correspondences=tuple(
            Correspondence(reference=rng.random((n, 2)), target=rng.random((n, 2)), confidence=rng.random(n))
            for n in counts
        ),
        caption="ein Bär, left of a duck",
        detailed_caption="“red”\nbear",
    )


def assert_same(a, b):
    assert (a.key, a.caption, a.detailed_caption) == (b.key, b.caption, b.detailed_caption)
    assert np.array_equal(a.target, b.target) and np.array_equal(a.target_masks, b.target_masks)
    assert a.subjects == b.subjects and len(a.references) == len(b.references)
    for one, other in zip(a.references, b.references, strict=True):
        assert one.subject == other.subject
        assert np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)
    for one, other in zip(a.correspondences, b.correspondences, strict=True):
        assert len(one) == len(other)
        assert np.allclose(one.reference, other.reference, atol=0.5 / UNIT)
        assert np.allclose(one.target, other.target, atol=0.5 / UNIT)
        assert np.allclose(one.confidence, other.confidence, atol=5e-4)


def test_a_sample_comes_back_exactly_and_in_the_published_layout():
    sample = make_sample()
    files = encode_sample(sample)
    assert sorted(files.keys() - {"__key__"}) == NAMES
    assert_same(sample, decode_sample(files))
    assert encode_sample(decode_sample(files)) == files


def test_a_point_takes_twelve_bytes():
    sizes = [len(encode_sample(make_sample(counts=(n, 0, 0)))["points.npy"]) for n in (0, 100)]
    assert sizes[1] - sizes[0] == pytest.approx(1200, abs=64)


def test_the_edge_of_a_picture_can_be_stored():
    edge = Correspondence(reference=np.ones((1, 2)), target=np.zeros((1, 2)), confidence=np.ones(1))
    sample = make_sample()
    sample = decode_sample(
        encode_sample(
            Sample(
                key="edge",
                target=sample.target,
                target_masks=sample.target_masks[:1],
                references=sample.references[:1],
                correspondences=(edge,),
                caption="",
                detailed_caption="",
            )
        )
    )
    assert sample.correspondences[0].reference.tolist() == [[1, 1]]


def test_lossy_pictures_are_smaller_and_near():
    smooth = np.mgrid[:48, :32].sum(0).astype(np.uint8)[..., None].repeat(3, 2)
    sample = Sample(key="s", target=smooth, caption="", detailed_caption="")
    assert np.abs(decode_sample(encode_sample(sample, quality=95)).target.astype(int) - smooth).max() < 12
    noisy = make_sample()
    assert len(encode_sample(noisy, quality=0)["target.webp"]) < len(encode_sample(noisy)["target.webp"]) / 4


def test_a_shard_comes_back_in_order(tmp_path):
    samples = [make_sample(f"{i:06d}", seed=i) for i in range(3)]
    with ShardWriter(tmp_path / "train-000000.tar") as shard:
        for sample in samples:
            shard.write(sample)
        assert [file.name for file in tmp_path.iterdir()] == ["train-000000.tar.partial"]
    assert [file.name for file in tmp_path.iterdir()] == ["train-000000.tar"]
    read = list(read_shard(tmp_path / "train-000000.tar"))
    assert len(read) == 3
    for one, other in zip(samples, read, strict=True):
        assert_same(one, other)


def test_same_samples_same_bytes(tmp_path):
    for name in ("a.tar", "b.tar"):
        with ShardWriter(tmp_path / name) as shard:
            shard.write(make_sample())
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_webdataset_reads_it(tmp_path):
    from webdataset import WebDataset

    with ShardWriter(tmp_path / "a.tar") as shard:
        shard.write(make_sample("x"))
        shard.write(make_sample("y"))
    read = list(WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [files["__key__"] for files in read] == ["x", "y"]
    assert_same(decode_sample(read[1]), make_sample("y"))


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "a.tar") as shard:
        shard.write(make_sample())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_keys_must_be_new_and_name_files(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as shard:
        shard.write(make_sample())
        with pytest.raises(ValueError, match="already holds"):
            shard.write(make_sample())
        with pytest.raises(ValueError, match="no dot"):
            shard.write(make_sample("a.b"))
    assert len(list(read_shard(tmp_path / "a.tar"))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_damaged_file_is_named(name):
    files = encode_sample(make_sample())
    with pytest.raises(ValueError, match=f"000001 lacks {name}"):
        decode_sample({key: content for key, content in files.items() if key != name})
    with pytest.raises(ValueError, match="000001 is damaged"):
        decode_sample(files | {name: files[name][: len(files[name]) // 2]})
    with pytest.raises(ValueError, match="000001 is damaged"):
        decode_sample(files | {name: b""})


def test_objects_in_points_are_not_unpickled():
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="damaged"):
        decode_sample(encode_sample(make_sample()) | {"points.npy": file.getvalue()})
    file = io.BytesIO()
    np.save(file, np.zeros((3, 6)))
    with pytest.raises(ValueError, match="damaged"):
        decode_sample(encode_sample(make_sample()) | {"points.npy": file.getvalue()})


def test_a_point_of_no_reference_is_damage():
    files = encode_sample(make_sample(counts=(1, 0, 2)))
    fewer = encode_sample(make_sample(counts=(1, 0)))
    with pytest.raises(ValueError, match="not there"):
        decode_sample(fewer | {"points.npy": files["points.npy"]})


def test_what_is_no_tar_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(ValueError, match="not a whole tar"):
        list(read_shard(tmp_path / "a.tar"))
    with ShardWriter(tmp_path / "b.tar") as shard:
        shard.write(make_sample())
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:5000])
    with pytest.raises(ValueError, match="000001 lacks"):
        list(read_shard(tmp_path / "b.tar"))
    with tarfile.open(tmp_path / "c.tar", "w"):
        pass
    assert list(read_shard(tmp_path / "c.tar")) == []
