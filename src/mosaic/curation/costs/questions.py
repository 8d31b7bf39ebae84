"""What language models are asked, in tokens: assumed, as nothing was asked here."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mosaic.curation.costs.counting import Counts
from mosaic.curation.recipe import Recipe

# tokens in and out of one question; a picture of 768 pixels is 576
PROMPT, PICTURE, PAIR = (400, 150), (930, 120), (1350, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Of one stage to one model. own: it is served on a machine of one's own, and takes its GPU."""

    stage: str
    model: str
    number: float
    tokens_in: int
    tokens_out: int
    own: bool


def questions_of(recipe: Recipe, counts: Counts) -> Iterator[Questions]:
    """Of all stages that ask."""
    asked: dict[str, tuple[str, float, tuple[int, int]]] = {
        "prompts": ("model", 1, PROMPT),
        "judge": ("vision", 1, PICTURE),
        "refer": ("vision", counts.subjects, PAIR),
    }
    for stage, (key, each, tokens) in asked.items():
        model: Any = getattr(recipe.stages.get(stage), key, None)
        if stage not in counts or model is None or isinstance(model, str):
            continue
        yield Questions(
            stage=stage,
            model=model.model,
            number=counts.samples[stage] * each,
            tokens_in=tokens[0],
            tokens_out=tokens[1],
            own=is_own(model.base_url),
        )


def is_own(base_url: str) -> bool:
    """Whether an endpoint is on this machine or on a private network."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host
