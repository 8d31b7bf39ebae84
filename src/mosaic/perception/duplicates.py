"""Pictures that are nearly the same: by a 64-bit perceptual hash, or by their embeddings.

N pictures, D width of an embedding.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
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


class Hashes:
    """Hashes kept so far, and which of them is near to another one: exact, and quick for millions.

    Two hashes that differ in at most `most` bits are equal in one of most + 1 bands of bits, so only those
    that share a band are compared.
    """

    def __init__(self, most: int = 6) -> None:
        if not 0 <= most <= 64:
            raise ValueError(f"Two hashes differ in 0 to 64 bits: at most {most} is no threshold.")
        self._most = most
        edges = [64 * i // (most + 1) for i in range(most + 2)]
        self._bands = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]
        self._sharing: dict[tuple[int, int], tuple[array[int], array[int]]] = {}  # hashes, their numbers
        self._count = 0

    def nearest(self, value: int) -> tuple[int, int] | None:
        """(number, bits that differ) of the first kept one within `most` bits; None if there is none."""
        found = [self._first(key, value) for key in self._keys(value) if key in self._sharing]
        return min((one for one in found if one is not None), default=None)

    def add(self, value: int) -> None:
        """Keep a hash; its number is that of those before it."""
        for key in self._keys(value):
            hashes, numbers = self._sharing.setdefault(key, (array("Q"), array("Q")))
            hashes.append(value)
            numbers.append(self._count)
        self._count += 1

    def _keys(self, value: int) -> Iterator[tuple[int, int]]:
        return ((low, value >> low & mask) for low, mask in self._bands)

    def _first(self, key: tuple[int, int], value: int) -> tuple[int, int] | None:
        hashes, numbers = self._sharing[key]
        distance = np.bitwise_count(np.frombuffer(hashes, np.uint64) ^ np.uint64(value))
        near = np.flatnonzero(distance <= self._most)
        return (numbers[near[0]], int(distance[near[0]])) if near.size else None
