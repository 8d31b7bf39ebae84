import io
import json
import subprocess
import tarfile

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mosaic.data import index as module
from mosaic.data.index import Shard, scan, shards_of
from mosaic.data.shards import POINT, ShardWriter, encode_sample, read_shard, split_name

from .test_shards import assert_same, make_sample


def write(path, count=3, **options):
    with ShardWriter(path) as shard:
        for i in range(count):
            shard.write(make_sample(f"{i:06d}", seed=i, **options))
    return path


def write_files(path, samples):
    """A tar of (key, files) with nothing checked."""
    with tarfile.open(path, "w") as tar:
        for key, files in samples:
            for name, content in files.items():
                if name != "__key__":
                    member = tarfile.TarInfo(f"{key}.{name}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return path


def test_rows_are_what_the_samples_are(tmp_path):
    shard = Shard(path=write(tmp_path / "a.tar"))
    assert [row[:4] for row in shard.index().rows] == [(f"{i:06d}", 3, 48, 32) for i in range(3)]
    for i, sample in reversed(list(enumerate(read_shard(shard.path)))):
        assert_same(shard.read(i), sample)


def test_the_index_is_kept_until_the_shard_changes(tmp_path, monkeypatch):
    path, cache = write(tmp_path / "a.tar"), tmp_path / "cache"
    first = Shard(path=path, cache=cache).index()
    module._index.cache_clear()
    monkeypatch.setattr(module, "scan", None)  # a scan would fail
    assert Shard(path=path, cache=cache).index() == first
    monkeypatch.undo()
    module._index.cache_clear()
    write(path, 2)
    assert len(Shard(path=path, cache=cache).index().rows) == 2


def test_a_shard_packed_by_tar_itself_is_read(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "README").write_text("not a sample")
    for key in ("b", "a"):
        for name, content in encode_sample(make_sample(key)).items():
            if name != "__key__":
                (folder / f"{key}.{name}").write_bytes(content)
    subprocess.run(["tar", "cf", "../a.tar", "--sort=name", "."], cwd=folder, check=True)
    shard = Shard(path=tmp_path / "a.tar")
    assert [row.key for row in shard.index().rows] == ["a", "b"]
    assert_same(shard.read(1), make_sample("b"))
    assert [sample.key for sample in read_shard(shard.path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("member", "parts"),
    [
        ("a.target.webp", ("a", "target.webp")),
        ("./x.y/a.json", ("x.y/a", "json")),
        ("README", ("", "README")),
        (".hidden", ("", ".hidden")),
        ("./", ("", "")),
    ],
)
def test_names_are_split_as_webdataset_does(member, parts):
    assert split_name(member) == parts


def broken(**changes):
    files = encode_sample(make_sample("bad"))
    for name, content in changes.items():
        if content is None:
            del files[name]
        else:
            files[name] = content
    return files


def texts(**changes):
    return json.dumps(json.loads(encode_sample(make_sample())["json"]) | changes).encode()


def outside():
    table = np.zeros(1, POINT)
    table["target_x"] = 9000  # more than 8192 = 1
    file = io.BytesIO()
    np.save(file, table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target.webp": None}, "The sample bad lacks target.webp."),
        ({"points.npy": outside()}, "The sample bad is damaged: Points and confidences must lie in"),
        ({"json": b"{"}, "The sample bad is damaged"),
        ({"json": b'{"captions": []}'}, "bad lacks references"),
        ({"ref1.webp": encode_sample(make_sample())["ref1.webp"][:300]}, "The sample bad is damaged"),
        ({"ref0.mask.png": encode_sample(make_sample())["ref1.mask.png"]}, "ref0.mask.png has another size"),
        ({"target.mask1.png": None}, "lacks target.mask1.png"),
        ({"json": texts(caption=None)}, "The sample bad is damaged: its caption is null, and no text"),
        ({"json": texts(detailed_caption=["a"])}, "its detailed_caption is ["),
        ({"json": texts(references=[{"subject": 1, "name": "x"}])}, "its subject is 1"),
        ({"json": texts(references=None)}, "The sample bad is damaged"),
        ({"json": b"[]"}, "The sample bad is damaged"),
        ({"points.npy": b"PK\x03\x04 a zip"}, "The sample bad is damaged"),
    ],
)
def test_a_bad_sample_is_left_out_and_told(tmp_path, changes, problem):
    good = encode_sample(make_sample("good"))
    shard = Shard(path=write_files(tmp_path / "a.tar", [("bad", broken(**changes)), ("good", good)]))
    assert [row.key for row in shard.index().rows] == ["good"]
    ((key, told),) = shard.index().problems
    assert key == "bad" and problem in told
    assert_same(shard.read(0), make_sample("good"))


def test_what_is_no_tar_has_no_samples_and_one_problem(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 100)
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(bytes(512))  # half an end
    for name in ("a.tar", "b.tar", "c.tar"):
        found = scan(tmp_path / name)
        assert not found.rows
        ((key, problem),) = found.problems
        assert key == "" and "is not a whole tar file" in problem


def test_a_shard_that_is_cut_off_keeps_what_is_whole(tmp_path):
    path = write(tmp_path / "a.tar")
    whole = scan(path)
    content = path.read_bytes()
    for more in (300, 700, 5000):  # in a head, in a picture, between files
        path.write_bytes(content[: whole.rows[1].stop + more])
        cut = scan(path)
        assert cut.rows == whole.rows[:2]
        assert cut.problems


def test_a_shard_that_changes_after_it_was_listed_is_told(tmp_path):
    shard = Shard(path=write(tmp_path / "a.tar"))
    row, whole = shard.index().rows[1], shard.path.read_bytes()
    cut, shifted = whole[: row.start + 700], whole[: row.start] + whole[row.start + 100 :]
    for content in (cut, shifted, whole[: row.start]):
        shard.path.write_bytes(content)
        with pytest.raises(ValueError, match=r"sample 000001 is not where it was: .*a.tar has changed since"):
            shard.read(1)
    first = shard.index().rows[0]
    shard.path.write_bytes(whole[: row.start] + whole[first.start : first.stop])  # another where it was
    with pytest.raises(ValueError, match=r"The sample 000001 lacks target.webp"):
        shard.read(1)


def test_shards_on_the_hub_are_downloaded_first(tmp_path, monkeypatch):
    asked = []

    def download(repository, **options):
        asked.append((repository, options))
        write(tmp_path / "train-000.tar", 1)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    (shard,) = shards_of("hf://datasets/someone/toys/train-*.tar")
    assert shard.path == tmp_path / "train-000.tar"
    assert asked == [("someone/toys", {"repo_type": "dataset", "allow_patterns": "train-*.tar"})]
    with pytest.raises(ValueError, match="should read hf://datasets/OWNER/NAME/PATTERN"):
        shards_of("hf://datasets/someone/toys")


def test_a_hub_that_does_not_answer_is_told(monkeypatch):
    def offline(repository, **_):
        raise LocalEntryNotFoundError("a page of words")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ValueError, match=r"^datasets/a/b is not on this machine and .*data.path takes"):
        shards_of("hf://datasets/a/b/x.tar")


def test_patterns(tmp_path):
    for folder in ("k1", "k2"):
        (tmp_path / folder).mkdir()
        for i in range(3):
            write(tmp_path / folder / f"{i:03d}.tar", 1)

    def names(pattern):
        return [f"{s.path.parent.name}/{s.path.stem}" for s in shards_of(pattern)]

    assert names(str(tmp_path / "k1")) == ["k1/000", "k1/001", "k1/002"]
    assert names(f"{tmp_path}/k{{1,2}}/{{000..001}}.tar") == ["k1/000", "k1/001", "k2/000", "k2/001"]
    assert names(f"{tmp_path}/*") == [f"k{k}/00{i}" for k in (1, 2) for i in range(3)]
    assert names(f"{tmp_path}/k2/*2.tar::{tmp_path}/k2") == ["k2/002", "k2/000", "k2/001"]
    with pytest.raises(ValueError, match=r"there is no shard .*003.tar"):
        shards_of(f"{tmp_path}/k1/{{002..003}}.tar")
    with pytest.raises(ValueError, match="there is no shard"):
        shards_of(str(tmp_path))
