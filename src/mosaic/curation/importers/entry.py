"""A sample as a reader finds it, and the files it becomes. Where it joins the run follows from what it has.

H × W pixels; masks bool (H, W), P points.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from mosaic.curation.rows import Named
from mosaic.data.shards import png_of, points_npy, webp_of
from mosaic.pictures import on_white, read_picture
from mosaic.sample import Correspondence, Mask, Picture

ASPECT = 0.02  # how much a mask's aspect may differ from its picture's, relatively
Joins = str  # "segment", "refer", "correspond" or "pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a picture may be. Masks too."""

    most_bytes: int = 64 << 20
    most_pixels: int = 100_000_000
    longest: int = 2048  # a side longer than this is shrunk to it, with its picture; 0: none is


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One reference of an entry."""

    named: Named
    picture: Image.Image
    subject: str = ""  # views of one subject share an id; "": the noun
    mask: Mask | None = None  # of the size of the picture, or of its aspect
    target_mask: Mask | None = None
    points: Correspondence | None = None

    @property
    def id(self) -> str:
        return self.subject or self.named.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sample: a target, what it shows, and the references there are."""

    target: Image.Image
    caption: str
    detailed_caption: str = ""  # "": the caption
    subjects: tuple[Named, ...] = ()  # where there are no views
    views: tuple[View, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)  # names without "import/"
    origin: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # already in the layout of shards; {}: to be made


class Reader(Protocol):
    """Data in one format. What it finds at an index never depends on which others it was asked for."""

    name: str
    licence: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """An entry, or why there is none, for each index in order; a few in memory at a time."""
        ...


def attempt(make: Callable[[], Entry]) -> Entry | ValueError:
    """The entry, or what is wrong with its data as a ValueError with a sentence."""
    try:
        return make()
    except KeyError as error:
        return ValueError(f"it lacks {error.args[0]}")
    except (OSError, TypeError, ValueError, AttributeError, IndexError) as error:
        return ValueError(" ".join(str(error).split()) or type(error).__name__)


def load(content: bytes, name: str, limits: Limits) -> Image.Image:
    """The picture in a file's bytes, RGB or RGBA, upright, at most `longest` a side.

    ValueError if it is no picture, damaged, beyond the limits, or of one colour.
    """
    picture = _loaded(content, name, limits)
    if all(low == high for low, high in _ranges(picture)):
        raise ValueError(f"{name} is of one colour")
    if limits.longest and max(picture.size) > limits.longest:
        picture.thumbnail((limits.longest, limits.longest), Image.Resampling.LANCZOS)
    return picture


def load_mask(content: bytes, name: str, limits: Limits) -> Mask:
    """A mask from a file's bytes: white, or opaque, is True. ValueError as `load`, but one colour is well."""
    picture = _loaded(content, name, limits)
    band = picture.getchannel("A") if picture.mode == "RGBA" else picture.convert("L")
    return np.asarray(band) > 127


def fitted(mask: Mask, size: tuple[int, int], what: str) -> Mask:
    """The mask at (width, height), by nearest. ValueError if its aspect is another."""
    height, width = mask.shape
    if abs(width * size[1] / (height * size[0]) - 1) > ASPECT:
        raise ValueError(f"the mask of {what} is {width}×{height}, its picture {size[0]}×{size[1]}")
    if (width, height) == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def digest_of(picture: Image.Image) -> str:
    """16 hexadecimal digits of a picture's pixels."""
    content = f"{picture.mode} {picture.size}".encode() + picture.tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def in_order(views: Sequence[View]) -> list[View]:
    """The first view of each subject, then the others: reference k shows subject k, as the stages expect."""
    first: dict[str, int] = {}
    for k, view in enumerate(views):
        first.setdefault(view.id, k)
    return [views[k] for k in first.values()] + [v for k, v in enumerate(views) if k not in first.values()]


def files_of(entry: Entry, quality: int | None) -> dict[str, bytes]:
    """The entry's files; target masks or points of some subjects alone are left out. Views as `in_order`."""
    target = _plain(entry.target)
    files = {"target.webp": webp_of(target, quality)}
    masks: dict[str, Mask | None] = {}
    for view in entry.views:
        masks[view.id] = view.target_mask if masks.get(view.id) is None else masks[view.id]
    if all(mask is not None for mask in masks.values()):
        for i, (name, mask) in enumerate(masks.items()):
            assert mask is not None
            files[f"target.mask{i}.png"] = png_of(fitted(mask, entry.target.size, f"{name} in the target"))
    for k, view in enumerate(entry.views):
        files[f"ref{k}.webp"] = webp_of(_plain(view.picture), quality)
        if view.mask is not None:
            files[f"ref{k}.mask.png"] = png_of(fitted(view.mask, view.picture.size, view.named.name))
    points = [view.points for view in entry.views if view.points is not None]
    if entry.views and len(points) == len(entry.views):
        files["points.npy"] = points_npy(points)
    return files


def joins_at(files: dict[str, bytes], subjects: int, views: int) -> Joins:
    """The first stage whose work is not there yet."""
    if not all(f"target.mask{i}.png" in files for i in range(subjects)):
        return "segment"
    if views < subjects or not all(f"ref{k}.mask.png" in files for k in range(views)):
        return "refer"
    return "pack" if "points.npy" in files else "correspond"


def _loaded(content: bytes, name: str, limits: Limits) -> Image.Image:
    if len(content) > limits.most_bytes:
        raise ValueError(f"{name} has {len(content)} bytes, more than most_bytes = {limits.most_bytes}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `most_pixels` is the limit here
            with Image.open(io.BytesIO(content)) as head:  # reads no pixels
                width, height = head.size
    except Image.DecompressionBombError:
        width, height = limits.most_pixels, 2
    except OSError:
        width, height = 0, 0  # `read_picture` has the words for it
    if width * height > limits.most_pixels:
        raise ValueError(f"{name} has more than most_pixels = {limits.most_pixels} pixels")
    return read_picture(content, name)


def _ranges(picture: Image.Image) -> list[tuple[float, float]]:
    found = picture.getextrema()
    return [found] if isinstance(found[0], float | int) else list(found)


def _plain(picture: Image.Image) -> Picture:
    return np.asarray(on_white(picture))
