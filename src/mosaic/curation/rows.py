"""What is known of a sample while it is made: its record, the outcomes of its stages, its files.

A sample's files carry the names of `mosaic.data.shards` ("target.webp", "target.mask0.png", "ref0.webp",
"ref0.mask.png", "points.npy"), so that packing is joining.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Files = Mapping[str, bytes]
STAGES = ("import", "prompts", "paint", "judge", "segment", "refer", "correspond", "pack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A subject as a prompt knows it."""

    name: str  # the noun a caption calls it by
    looks: str = ""  # the noun phrase with its looks; "": the noun alone

    @property
    def phrase(self) -> str:
        """What to look for in a picture."""
        return self.looks or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a sample is made from, known before anything is painted. Its id is that of its content."""

    caption: str  # nouns and places alone
    detailed_caption: str  # looks too
    subjects: tuple[Named, ...]
    seed: int  # of everything drawn for this sample
    origin: dict[str, str] = field(default_factory=dict)  # where it is from, by whose licence, made by what

    @property
    def id(self) -> str:
        """32 hexadecimal digits that are the same for the same record on any machine."""
        content = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one stage did to one sample. A failure is an outcome, never an exception that ends a run.

    Scores are named "stage/score", those of one subject or reference "stage/0/score"; whether they are good
    enough is for `verdicts` to say, by thresholds that can be moved later. Facts are small JSON values the
    later stages need.
    """

    id: str
    status: Literal["done", "failed"] = "done"
    error: str = ""  # one sentence where it failed
    scores: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)  # new ones alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A sample as a stage receives it: what all stages before have found, merged."""

    record: Record
    scores: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.record.id
