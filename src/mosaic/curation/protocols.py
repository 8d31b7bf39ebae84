"""What a stage is, and the generators and judges it sees only through these protocols.

H × W pixels, uint8 RGB; masks bool (H, W); boxes left, top, right, bottom in pixels.
"""

from collections.abc import Sequence
from typing import Protocol

from mosaic.curation.rows import Named, Outcome, Record, Work
from mosaic.perception.found import Found as Found
from mosaic.sample import Correspondence, Mask, Picture


class Stage(Protocol):
    """One step for samples of a shard; made once a worker, which is when its models are loaded.

    It answers every sample it is given, in order, with an outcome of that id. If it raises, it is given the
    samples one by one, and the one it raises for is failed with the error as its sentence.
    """

    batch: int  # samples it likes to be given at a time

    def __call__(self, work: Sequence[Work]) -> Sequence[Outcome]: ...


class Writer(Protocol):
    """Writes prompts: record `index` of a seed depends on these alone."""

    def __call__(self, indices: Sequence[int]) -> Sequence[Record]: ...


class Source(Protocol):
    """Where a run's records come from: `stages.prompts.make` and `stages.importing.make` answer with one.

    What it says of an index depends on its section and the index alone: a damaged row or a prompt that could
    not be had is a record with a failed outcome, in order, never an exception. Of its facts, "joins"
    names the stage an imported sample goes on with: "segment", "refer", "correspond" or "pack".
    """

    def __len__(self) -> int:
        """How many indices there are; sys.maxsize for a source that can go on."""
        ...

    def __call__(self, indices: Sequence[int]) -> Sequence[tuple[Record, Outcome]]: ...


class Painter(Protocol):
    """Text to pictures, one a record; the record's seed draws it. `licence` is that of its outputs."""

    name: str
    licence: str

    def __call__(self, records: Sequence[Record]) -> Sequence[Picture]: ...


class Segmenter(Protocol):
    """Finds every instance of each phrase in each picture: `[picture][phrase]` → instances, surest first."""

    name: str
    licence: str

    def __call__(
        self, pictures: Sequence[Picture], phrases: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Sequence[Found]]]: ...


class Judge(Protocol):
    """Scores pictures of records, by name, e.g. {"sharpness": 0.7, "aesthetic": 5.1}; higher is better."""

    name: str

    def __call__(
        self, pictures: Sequence[Picture], records: Sequence[Record]
    ) -> Sequence[dict[str, float]]: ...


class PairJudge(Protocol):
    """Scores whether a reference shows the subject of a cut-out: {"similarity": 0.8, …}."""

    name: str

    def __call__(
        self, cutouts: Sequence[Picture], references: Sequence[Picture], subjects: Sequence[Named]
    ) -> Sequence[dict[str, float]]: ...


class Editor(Protocol):
    """Subjects on white → the same subjects from a new viewpoint, on white; a seed draws each."""

    name: str
    licence: str

    def __call__(
        self, cutouts: Sequence[Picture], subjects: Sequence[Named], seeds: Sequence[int]
    ) -> Sequence[Picture]: ...


class Matcher(Protocol):
    """Points of a reference (within its mask) found again in a target (within the subject's mask)."""

    name: str

    def __call__(
        self, reference: Picture, reference_mask: Mask, target: Picture, target_mask: Mask
    ) -> Correspondence: ...
