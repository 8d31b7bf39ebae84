"""Pictures that are nearly the same: by a 64-bit perceptual hash, or by their embeddings.

N pictures, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.sample import Picture

SIDE, LOW = 32, 8  # of the picture hashed, and of the frequencies kept


def perceptual_hash(picture: Picture) -> int:
    """64 bits that small changes of size, compression and brightness leave nearly alone (DCT, "pHash").

    The 8 × 8 lowest frequencies of the 32 × 32 grey picture, each above the median of the 63 that vary.
    """
    from scipy.fft import dctn

    grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:LOW, :LOW].ravel()
    low = np.where(np.abs(low) < 1e-6, 0.0, low)  # rounding must not decide a one-coloured picture's bits
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming(first: int, second: int) -> int:
    """How many of the 64 bits differ; up to about 6 is the same picture."""
    return (first ^ second).bit_count()


def near_hashes(hashes: Iterable[int], most: int = 6) -> list[int]:
    """Of each hash the index of the first one kept that differs in at most `most` bits; its own if none."""
    kept, values, first = list[int](), np.zeros(0, np.uint64), list[int]()
    for index, value in enumerate(hashes):
        distance = np.bitwise_count(values ^ np.uint64(value))
        near = np.flatnonzero(distance <= most)
        if near.size:
            first.append(kept[int(near[0])])
        else:
            kept.append(index)
            values = np.append(values, np.uint64(value))
            first.append(index)
    return first


def near_embeddings(embeddings: NDArray[np.floating], least: float = 0.95) -> list[int]:
    """The same by cosine: of each row (N, D) the first one kept that is as near as `least`, or its own."""
    rows = np.asarray(embeddings, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    kept, first = list[int](), list[int]()
    for index, row in enumerate(rows):
        near = np.flatnonzero(rows[kept] @ row >= least) if kept else np.zeros(0, int)
        first.append(kept[int(near[0])] if near.size else index)
        if not near.size:
            kept.append(index)
    return first
