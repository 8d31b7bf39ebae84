"""Four toy references and a sentence, so that a newcomer sees a picture with two clicks."""

from __future__ import annotations

from PIL import Image

from mosaic.studio.cards import Card
from mosaic.studio.shelf import Shelf

TOYS = {"bear": 11, "duck": 12, "robot": 13, "mug": 14}  # noun → the seed that makes this one toy
PROMPT = "a bear, a duck, a robot and a mug on grass"
SIDE = 256


def toy_cards(shelf: Shelf) -> list[Card]:
    """A card a toy, rendered now."""
    from mosaic.toybox import portrait

    pictures = {noun: Image.fromarray(portrait(noun, seed=seed, size=SIDE)[0]) for noun, seed in TOYS.items()}
    return [Card(name=noun, original=shelf.put(picture)) for noun, picture in pictures.items()]
