"""Samples as files in WebDataset tars: the layout in which a dataset is published and trained on.

A sample `key` is key.target.webp, key.target.mask<subject>.png, key.ref<k>.webp, key.ref<k>.mask.png,
key.points.npy (a row a point, positions in 1/8192 of a side) and key.json (captions, whom a reference shows).
In a dictionary of files the names go without `key.`, and "__key__" holds the key itself.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.geometry import Size
from mosaic.sample import Correspondence, Mask, Picture, Reference, Sample, Subject

UNIT = 8192  # steps of a stored position along a side
AXES = ("reference_y", "reference_x", "target_y", "target_x")
POINT = np.dtype([("reference", "<i2"), *((axis, "<i2") for axis in AXES), ("confidence", "<f2")])


def encode_sample(sample: Sample, quality: int | None = None) -> dict[str, Any]:
    """The sample's files: name → bytes. Pictures are exact, or lossy WebP of a `quality` from 0 to 100.

    ValueError for a key that cannot name files.
    """
    if "." in sample.key or "/" in sample.key:
        raise ValueError(f'The key "{sample.key}" cannot name files: it must hold no dot and no slash.')
    files = {"__key__": sample.key, "target.webp": webp_of(sample.target, quality)}
    files |= {f"target.mask{i}.png": png_of(mask) for i, mask in enumerate(sample.target_masks)}
    for k, reference in enumerate(sample.references):
        files[f"ref{k}.webp"] = webp_of(reference.image, quality)
        files[f"ref{k}.mask.png"] = png_of(reference.mask)
    files["points.npy"] = points_npy(sample.correspondences)
    shown = [{"subject": r.subject.id, "name": r.subject.name} for r in sample.references]
    texts = {"caption": sample.caption, "detailed_caption": sample.detailed_caption, "references": shown}
    files["json"] = json.dumps(texts, ensure_ascii=False, sort_keys=True).encode()
    return files


def decode_sample(files: dict[str, Any]) -> Sample:
    """The sample of `encode_sample`'s files. ValueError, naming the sample, if one is missing or damaged."""
    with _blaming(files["__key__"]):
        return _decode(files)


def outline_sample(files: dict[str, Any]) -> tuple[int, Size]:
    """(K, size of the target) of the same files, in a tenth of the time: no picture is unpacked.

    ValueError as `decode_sample`, for all but damage within a picture.
    """
    with _blaming(files["__key__"]):
        size = _opened(files["target.webp"]).size
        subjects, *_ = _shown(files)
        masks = {f"target.mask{i}.png": size for i in range(len(set(subjects)))}
        masks |= {f"ref{k}.mask.png": _opened(files[f"ref{k}.webp"]).size for k in range(len(subjects))}
        for name, wanted in masks.items():
            if _opened(files[name]).size != wanted:
                raise ValueError(f"{name} has another size than its picture")
        return len(subjects), (size[1], size[0])


@contextmanager
def _blaming(key: str) -> Iterator[None]:
    """What goes wrong with a sample's files as a ValueError that names it."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"The sample {key} lacks {error.args[0]}.") from error
    except Exception as error:  # a broken file can raise nearly anything in a decoder
        raise ValueError(f"The sample {key} is damaged: {error}") from error


def _decode(files: dict[str, Any]) -> Sample:
    target = picture_of(files["target.webp"])  # first, as a sample without one is none
    subjects, (caption, detailed_caption), correspondences = _shown(files)
    return Sample(
        key=files["__key__"],
        target=target,
        target_masks=tuple(mask_of(files[f"target.mask{i}.png"]) for i in range(len(set(subjects)))),
        references=tuple(
            Reference(
                subject=subject,
                image=picture_of(files[f"ref{k}.webp"]),
                mask=mask_of(files[f"ref{k}.mask.png"]),
            )
            for k, subject in enumerate(subjects)
        ),
        correspondences=correspondences,
        caption=caption,
        detailed_caption=detailed_caption,
    )


def _shown(files: dict[str, Any]) -> tuple[list[Subject], tuple[str, str], tuple[Correspondence, ...]]:
    """Whom each reference shows, both captions, and the points of each reference."""
    texts = json.loads(files["json"])
    subjects = [
        Subject(id=_text(shown, "subject"), name=_text(shown, "name")) for shown in texts["references"]
    ]
    table = np.load(io.BytesIO(files["points.npy"]), allow_pickle=False).astype(POINT, casting="no")
    if not np.isin(table["reference"], np.arange(len(subjects))).all():
        raise ValueError("a point belongs to a reference that is not there")
    points = tuple(_points(table[table["reference"] == k]) for k in range(len(subjects)))
    return subjects, (_text(texts, "caption"), _text(texts, "detailed_caption")), points


def _text(texts: dict[str, Any], name: str) -> str:
    """ValueError for what is no text, KeyError for what is not there."""
    if not isinstance(text := texts[name], str):
        raise ValueError(f"its {name} is {json.dumps(text)}, and no text")
    return text


class ShardWriter:
    """Writes one tar. It has its name once it is whole: until `close` it is `path`.partial.

    As a context manager it leaves nothing behind when an exception passes. Same samples, same bytes.
    """

    def __init__(self, path: str | Path, quality: int | None = None) -> None:
        from webdataset import TarWriter  # brings torch along

        self.path, self.quality, self.keys = Path(path), quality, set[str]()
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._file = self._partial.open("wb")
        self._tar = TarWriter(self._file, encoder=False, mtime=0, user="", group="", mode=0o644)

    def write(self, sample: Sample) -> None:
        """Append a sample. ValueError for a key that the shard already holds."""
        if sample.key in self.keys:
            raise ValueError(f"{self.path} already holds a sample {sample.key}.")
        self._tar.write(encode_sample(sample, self.quality))
        self.keys.add(sample.key)

    def close(self) -> None:
        """Finish the tar and give it its name."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self.path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._tar.close()
            self._file.close()
            self._partial.unlink()


def read_shard(path: str | Path) -> Iterator[Sample]:
    """The samples of a tar, in its order. ValueError if the file is no tar, cut off, or a sample damaged."""
    try:
        with tarfile.open(path, "r|") as tar:
            for key, entries in groupby(_entries(tar), key=lambda entry: entry[0]):
                yield decode_sample({"__key__": key} | {name: content for _, name, content in entries})
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a whole tar file: {error}.") from error


def split_name(member: str) -> tuple[str, str]:
    """A member's key and the name of its file, as WebDataset splits them: at the first dot after the last /.

    ("", …) for what belongs to no sample, such as a README.
    """
    folder, slash, base = member.removeprefix("./").rpartition("/")
    key, _, name = base.partition(".")
    return (folder + slash + key, name) if key and name else ("", base)


def _entries(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        file, (key, name) = tar.extractfile(member), split_name(member.name)
        if file is not None and key:
            yield key, name, file.read()


def points_npy(correspondences: Sequence[Correspondence]) -> bytes:
    """The file of a sample's points: one correspondence a reference."""
    rows = map(_rows, range(len(correspondences)), correspondences)
    return _npy(np.concatenate([np.zeros(0, POINT), *rows]))


def _rows(k: int, points: Correspondence) -> NDArray[np.void]:
    rows = np.zeros(len(points), POINT)
    rows["reference"], rows["confidence"] = k, points.confidence
    for i, end in enumerate((points.reference, points.target)):
        rows[AXES[2 * i]], rows[AXES[2 * i + 1]] = np.rint(end.T[::-1] * UNIT)
    return rows


def _points(table: NDArray[np.void]) -> Correspondence:
    y, x, target_y, target_x = (table[axis] / UNIT for axis in AXES)
    reference, target = np.stack((x, y), -1), np.stack((target_x, target_y), -1)
    return Correspondence(reference=reference, target=target, confidence=table["confidence"])


def webp_of(picture: Picture, quality: int | None = None) -> bytes:
    """A picture's file: exact, or lossy of a `quality` from 0 to 100. Same pixels, same bytes."""
    file = io.BytesIO()
    lossless = quality is None  # where quality means effort: 40 takes half the time of 80 and as many bytes
    Image.fromarray(picture).save(file, "WEBP", lossless=lossless, quality=40 if quality is None else quality)
    return file.getvalue()


def png_of(mask: Mask) -> bytes:
    """A mask's file, one bit a pixel."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def picture_of(content: bytes) -> Picture:
    """The picture in a file's bytes, uint8 (H, W, 3). OSError if they are none."""
    return np.array(_opened(content).convert("RGB"))


def mask_of(content: bytes) -> Mask:
    """The mask in a file's bytes, bool (H, W): what is brighter than half. OSError if they are none."""
    return np.asarray(_opened(content).convert("L")) > 127
