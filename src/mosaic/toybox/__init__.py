"""The embedded world: toys, poses, scenes, captions, exact correspondences."""

from mosaic.toybox.batches import ToyBatch, batches, portrait, sample
from mosaic.toybox.identity import Identity, Split
from mosaic.toybox.scene import compose, vocabulary
from mosaic.toybox.species import NOUNS

__all__ = ["NOUNS", "Identity", "Split", "ToyBatch", "batches", "compose", "portrait", "sample", "vocabulary"]
