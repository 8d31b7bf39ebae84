"""The annotations the authors released for Subjects200K: masks in mask.zip, two matchers' grids in coord.zip.

A grid is int64 (N, 2): for each of √N × √N patches of the target in raster order, (row, column) of the patch
of the reference that its matcher found nearest, N = 4096. What is taken from them, and how it departs from
the released code, is in docs/importing.md.
"""

import hashlib
import io
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.curation.importers.entry import Limits, load_mask
from mosaic.geometry import Grid, center_of
from mosaic.sample import Correspondence, Mask

MATCHERS = ("dift", "geoaware")
MOST_GRID = 4 << 20  # bytes of a grid's file; 64 KB as released
MOST_POINTS = 256
PIXELS = 1 << 16  # bytes of an IDAT chunk, as Pillow writes them

Cells = NDArray[np.int64]


class Annotations:
    """A folder with mask.zip and coord.zip; either may be missing."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._limits = limits
        self._zips = {name: _opened(folder / f"{name}.zip") for name in ("mask", "coord")}
        if not any(self._zips.values()):
            raise ValueError(f"import.annotations: {folder} holds neither mask.zip nor coord.zip.")

    def mask(self, keys: list[str]) -> Mask | None:
        """The subject in the target under the first key there is; None if there is none."""
        for key in keys:
            if (content := self._read("mask", f"{key}.png", self._limits.most_bytes)) is not None:
                return load_mask(content, f"{key}.png", self._limits)
        return None

    def grids(self, keys: list[str]) -> tuple[Cells, Cells] | None:
        """Both matchers' grids (N, 2) under the first key there is. None if one is not there."""
        for key in keys:
            contents = [self._read("coord", f"{name}/{key}_ref0.pt", MOST_GRID) for name in MATCHERS]
            if all(content is not None for content in contents):
                first, second = (read_grid(content or b"") for content in contents)
                if first.shape != second.shape:
                    raise ValueError(f"the grids of {key} differ in size")
                return first, second
        return None

    def _read(self, which: str, name: str, most: int) -> bytes | None:
        archive = self._zips[which]
        if archive is None:
            return None
        for inside in (f"{which}/{name}", name):
            try:
                member = archive.getinfo(inside)
            except KeyError:
                continue
            if member.file_size > most:
                raise ValueError(f"{inside} unpacks to {member.file_size} bytes, more than {most}")
            try:
                return archive.read(member)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ValueError(f"{inside} in {which}.zip is damaged: {error}") from error
        return None


def read_grid(content: bytes) -> Cells:
    """The tensor in a .pt file's bytes, int64 (N, 2). ValueError for anything else: nothing is unpickled."""
    import torch

    try:
        tensor = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none, or holds objects, raises many kinds
        raise ValueError(f"a grid is no plain tensor: {type(error).__name__}") from error
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.int64 or tensor.dim() != 2:
        raise ValueError("a grid is no int64 tensor of two axes")
    grid = np.asarray(tensor.numpy(), np.int64)
    side = math.isqrt(len(grid))
    if grid.shape != (side * side, 2) or not side or grid.min() < 0 or grid.max() >= side:
        raise ValueError(f"a grid of shape {grid.shape} does not hold places on a square of patches")
    return grid


def agreed_points(first: Cells, second: Cells, mask: Mask, most: int = MOST_POINTS) -> Correspondence:
    """Where both matchers name the same patch and the target's patch lies in the mask, `most` at the most.

    Patches are of the grid as stored, never resampled; a patch's mask is that of its centre (nearest). A
    patch of the reference keeps its first patch of the target in raster order, as released. Confidence 1.
    """
    side = math.isqrt(len(first))
    grid = Grid(side, side)
    centres = center_of(np.arange(grid.size), grid)  # (N, 2), x and y
    height, width = mask.shape
    inside = mask[(centres[:, 1] * height).astype(int), (centres[:, 0] * width).astype(int)]
    targets = np.flatnonzero((first == second).all(1) & inside)
    references = first[targets] @ np.array([side, 1])
    _, kept = np.unique(references, return_index=True)
    kept = np.sort(kept)
    if len(kept) > most:  # evenly over the subject, which is in raster order
        kept = kept[((np.arange(most) + 0.5) * len(kept) / most).astype(int)]
    return Correspondence(
        reference=center_of(references[kept], grid),
        target=centres[targets[kept]],
        confidence=np.ones(len(kept)),
    )


def release_keys(item: str, description: str, panel: Image.Image) -> list[str]:
    """What the authors' files of a pair may be called: it depends on which zlib their PNG encoder had.

    sha256 of "{item}_{description}_{h}", h the first 8 digits of the sha256 of the target panel's PNG file:
    first as Pillow and the classic zlib write it, then as the Pillow here does.
    """
    file = io.BytesIO()
    panel.save(file, "PNG")
    keys = []
    for png in (classic_png(np.asarray(panel)), file.getvalue()):
        digits = hashlib.sha256(png).hexdigest()[:8]
        keys.append(hashlib.sha256(f"{item}_{description}_{digits}".encode()).hexdigest())
    return list(dict.fromkeys(keys))


def classic_png(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture (H, W, 3) as the PNG file that Pillow makes with the classic zlib, byte for byte.

    Wheels of Pillow since 11.1 carry zlib-ng, whose files differ. A row has the filter with the least sum of
    absolute differences; the first of equals in the order of the format.
    """
    height, width, _ = picture.shape
    packer = zlib.compressobj(-1, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    packed = packer.compress(_filtered(picture)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    size = max(PIXELS, width * 4)
    chunks = [_chunk(b"IHDR", head)]
    chunks += [_chunk(b"IDAT", packed[i : i + size]) for i in range(0, len(packed), size)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _filtered(picture: NDArray[np.uint8]) -> bytes:
    """(H, 1 + 3·W) bytes: the number of each row's filter, and the row by it."""
    rows = picture.reshape(len(picture), -1).astype(np.int16)  # (H, 3·W)
    up = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left, corner = (np.hstack([np.zeros_like(a[:, :3]), a[:, :-3]]) for a in (rows, up))
    estimate = left + up - corner
    distances = np.abs(np.stack([estimate - left, estimate - up, estimate - corner]))
    paeth = np.choose(distances.argmin(0), [left, up, corner])
    kinds = np.stack([rows, rows - left, rows - up, rows - paeth]).astype(np.uint8)
    best = np.minimum(kinds, 256 - kinds.astype(np.int32)).sum(2).argmin(0)  # (H,)
    numbers = np.array([0, 1, 2, 4], np.uint8)[best]  # Pillow never takes the third, the average
    return np.hstack([numbers[:, None], kinds[best, np.arange(len(rows))]]).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _opened(path: Path) -> zipfile.ZipFile | None:
    if not path.exists():
        return None
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no whole zip file: fetch it again.") from error
