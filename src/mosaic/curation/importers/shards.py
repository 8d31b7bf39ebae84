"""Shards in the layout of `mosaic.data.shards`, this project's own: their files are kept as they are."""

import functools
from collections.abc import Iterator, Sequence

from PIL import Image

from mosaic.curation.importers.entry import Entry, Limits, View, attempt
from mosaic.curation.importers.tars import TarSamples
from mosaic.curation.rows import Named
from mosaic.data.shards import decode_sample


class OwnShards:
    """Whole samples, which join at the end."""

    name, licence = "webdataset", ""

    def __init__(self, path: str, limits: Limits) -> None:
        self._tars, self._limits = TarSamples(path), limits

    def __len__(self) -> int:
        return len(self._tars)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, index)) for index in indices)

    def _entry(self, index: int) -> Entry:
        key, files = self._tars[index]
        for name, content in files.items():
            if len(content) > self._limits.most_bytes:
                raise ValueError(f"{name} has more than most_bytes = {self._limits.most_bytes} bytes")
        sample = decode_sample({"__key__": key, **files})
        subjects = sample.subjects
        return Entry(
            target=Image.fromarray(sample.target),
            caption=sample.caption,
            detailed_caption=sample.detailed_caption,
            views=tuple(
                View(
                    named=Named(name=reference.subject.name),
                    subject=str(subjects.index(reference.subject)),
                    picture=Image.fromarray(reference.image),
                )
                for reference in sample.references
            ),
            origin={"key": key},
            files={name: content for name, content in files.items() if name != "json"},
        )
