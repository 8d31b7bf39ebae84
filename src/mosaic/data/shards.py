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
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.sample import Correspondence, Mask, Picture, Reference, Sample, Subject

UNIT = 8192  # steps of a stored position along a side
AXES = ("reference_y", "reference_x", "target_y", "target_x")
POINT = np.dtype([("reference", "<i2"), *((axis, "<i2") for axis in AXES), ("confidence", "<f2")])


def encode_sample(sample: Sample, quality: int | None = None) -> dict[str, Any]:
    """The sample's files: name → bytes. Pictures are exact, or lossy WebP of a `quality` from 0 to 100."""
    if "." in sample.key or "/" in sample.key:
        raise ValueError(f'The key "{sample.key}" cannot name files: it must hold no dot and no slash.')
    files = {"__key__": sample.key, "target.webp": _webp(sample.target, quality)}
    files |= {f"target.mask{i}.png": _png(mask) for i, mask in enumerate(sample.target_masks)}
    for k, reference in enumerate(sample.references):
        files[f"ref{k}.webp"] = _webp(reference.image, quality)
        files[f"ref{k}.mask.png"] = _png(reference.mask)
    files["points.npy"] = _npy(_table(sample))
    shown = [{"subject": r.subject.id, "name": r.subject.name} for r in sample.references]
    texts = {"caption": sample.caption, "detailed_caption": sample.detailed_caption, "references": shown}
    files["json"] = json.dumps(texts, ensure_ascii=False, sort_keys=True).encode()
    return files


def decode_sample(files: dict[str, Any]) -> Sample:
    """The sample of `encode_sample`'s files. ValueError, naming the sample, if one is missing or damaged."""
    try:
        return _decode(files)
    except KeyError as error:
        raise ValueError(f"The sample {files['__key__']} lacks {error.args[0]}.") from error
    except (OSError, EOFError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"The sample {files['__key__']} is damaged: {error}") from error


def _decode(files: dict[str, Any]) -> Sample:
    texts = json.loads(files["json"])
    subjects = [Subject(id=shown["subject"], name=shown["name"]) for shown in texts["references"]]
    table = np.load(io.BytesIO(files["points.npy"]), allow_pickle=False).astype(POINT, casting="no")
    if not np.isin(table["reference"], np.arange(len(subjects))).all():
        raise ValueError("a point belongs to a reference that is not there")
    return Sample(
        key=files["__key__"],
        target=_picture(files["target.webp"]),
        target_masks=tuple(_mask(files[f"target.mask{i}.png"]) for i in range(len(set(subjects)))),
        references=tuple(
            Reference(
                subject=subject, image=_picture(files[f"ref{k}.webp"]), mask=_mask(files[f"ref{k}.mask.png"])
            )
            for k, subject in enumerate(subjects)
        ),
        correspondences=tuple(_points(table[table["reference"] == k]) for k in range(len(subjects))),
        caption=texts["caption"],
        detailed_caption=texts["detailed_caption"],
    )


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


def _entries(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        file = tar.extractfile(member)
        if file is not None:
            key, _, name = member.name.partition(".")
            yield key, name, file.read()


def _table(sample: Sample) -> NDArray[np.void]:
    return np.concatenate(
        [np.zeros(0, POINT), *map(_rows, range(len(sample.references)), sample.correspondences)]
    )


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


def _webp(picture: Picture, quality: int | None) -> bytes:
    file = io.BytesIO()
    lossless = quality is None  # where quality means effort: 40 takes half the time of 80 and as many bytes
    Image.fromarray(picture).save(file, "WEBP", lossless=lossless, quality=40 if quality is None else quality)
    return file.getvalue()


def _png(mask: Mask) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _picture(content: bytes) -> Picture:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def _mask(content: bytes) -> Mask:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")) > 127
