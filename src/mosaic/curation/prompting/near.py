"""How near a prompt is to those before it: Jaccard similarity of their character n-grams, found by MinHash.

N texts, H hashes a signature.
"""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GRAM = 4  # characters
HASHES = 64
SLACK = 0.15  # 64 hashes err by 0.06 (standard deviation): what is this near to the best is compared exactly,
CANDIDATES = 16  # so many of them, the last ones
PRIME = (1 << 31) - 1

_rng = np.random.default_rng(20260101)
_FACTORS = _rng.integers(1, PRIME, HASHES, dtype=np.uint64)  # (H,)
_SHIFTS = _rng.integers(0, PRIME, HASHES, dtype=np.uint64)  # (H,)


def grams(text: str) -> frozenset[str]:
    """The n-grams of a text in small letters with single spaces; a shorter text is one itself."""
    plain = " ".join(text.lower().split())
    return frozenset(plain[i : i + GRAM] for i in range(max(1, len(plain) - GRAM + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the n-grams of both that they have in common, in [0, 1]."""
    return len(one & other) / len(one | other)


def signature(text_grams: frozenset[str]) -> NDArray[np.uint64]:
    """(H,) minima of H hashes over the n-grams; two agree in about as many places as their Jaccard tells."""
    hashed = np.fromiter((zlib.crc32(g.encode()) % PRIME for g in text_grams), np.uint64, len(text_grams))
    return np.asarray(((hashed[:, None] * _FACTORS + _SHIFTS) % PRIME).min(0))


class Neighbours:
    """The nearest of the `window` texts before one, of an endless list of texts that can be made anew.

    Text i is compared with texts i − window … i − 1 as they are, whether these were dropped or not: so what
    is said of i depends on the list alone, not on where shards begin, nor on what was asked before.
    """

    def __init__(self, text: Callable[[int], str], window: int) -> None:
        self._text, self._window = text, window
        self._room = 2 * window + 1
        self._held = np.full(self._room, -1, np.int64)  # which text is at i mod room
        self._signatures = np.zeros((self._room, HASHES), np.uint64)

    def nearest(self, index: int) -> tuple[int, float]:
        """(number of the most similar text before, similarity); (−1, 0) for the first."""
        before = np.arange(max(0, index - self._window), index)
        if not before.size:
            return -1, 0.0
        for i in before[self._held[before % self._room] != before]:
            self._keep(int(i))
        self._keep(index)
        same = self._signatures[before % self._room] == self._signatures[index % self._room]  # (N, H)
        estimates = same.mean(1)
        likely = before[estimates >= estimates.max() - SLACK][-CANDIDATES:]
        own = grams(self._text(index))
        similarity, number = max((jaccard(own, grams(self._text(int(i)))), -int(i)) for i in likely)
        return -number, similarity

    def _keep(self, index: int) -> None:
        place = index % self._room
        if self._held[place] != index:
            self._signatures[place] = signature(grams(self._text(index)))
            self._held[place] = index
