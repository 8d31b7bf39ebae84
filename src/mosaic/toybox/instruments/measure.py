"""How much of what was asked for a picture shows: presence, identity, leakage, pose.

Definitions are in docs/toybox-measures.md. Letters: S scenes, T toys a scene, N found toys, A attributes.
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mosaic.toybox.batches import generator
from mosaic.toybox.identity import Identity, Split
from mosaic.toybox.instruments.candidates import Question, as_tensor, questions
from mosaic.toybox.instruments.reading import Found, Instruments, identity_scores, instruments
from mosaic.toybox.instruments.shots import COLOUR_OF, WORN_BY
from mosaic.toybox.scene import Composition, compose
from mosaic.toybox.species import NOUNS

log = logging.getLogger(__name__)
Generate = Callable[[Sequence[Composition]], Tensor]
SUBJECTS, SCENES, SEED, BATCH = (1, 2, 3, 4, 6), 256, 2026, 32
MEASURES = ("presence", "identity", "leakage", "leakage_chance", "pose", "surplus")
SURE = 0.5  # probability from which a part's colour counts as read
TURNED = 10.0  # degrees the scene's pose must differ from the reference's to tell whose was taken
RESAMPLES = 1000
Counts = dict[str, tuple[float, float]]  # a measure's hits and what they are out of, in one scene


@dataclass(frozen=True, kw_only=True, slots=True)
class Exam:
    """Scenes to be drawn and what will be asked about them; the same for every generator."""

    compositions: tuple[Composition, ...]
    asked: tuple[tuple[Question, ...], ...]


@lru_cache(maxsize=8)
def exam(subjects: int, scenes: int = SCENES, seed: int = SEED) -> Exam:
    """The exam with `subjects` held-out toys a scene; scene n depends on the seed, K and n alone."""
    compositions = tuple(
        compose(generator(seed, subjects, n), subjects, Split.HELD_OUT) for n in range(scenes)
    )
    rngs = [generator(seed, subjects, n, 1) for n in range(scenes)]
    asked: list[tuple[Question, ...]] = []
    for start in range(0, scenes, BATCH):
        asked += questions(compositions[start : start + BATCH], rngs[start : start + BATCH])
    return Exam(compositions=compositions, asked=tuple(asked))


def assign(found: Found, composition: Composition, asked: Sequence[Question]) -> list[int]:
    """Which found toy stands for each toy asked for, -1 for none: one to one, species for species.

    Of a species, as many found toys are looked at as were asked for, the surest; equal species share them out
    so that the identities fit best.
    """
    result = [-1] * len(asked)
    for species in {toy.species for toy in composition.scene.toys}:
        wanted = [k for k, toy in enumerate(composition.scene.toys) if toy.species == species]
        have = (found.species == NOUNS.index(species)).nonzero()[: len(wanted), 0]
        truths = as_tensor([asked[k] for k in wanted])[:, 0]
        scores = identity_scores(found.take(have).logs, truths)
        for row, column in zip(*linear_sum_assignment(scores.numpy(), maximize=True), strict=True):
            result[wanted[column]] = int(have[row])
    return result


def judge(found: Found, composition: Composition, asked: Sequence[Question], stranger: Composition) -> Counts:
    """Hits and totals of every measure in one scene. `stranger` is another scene, for leakage by chance."""
    assigned = assign(found, composition, asked)
    seen = [(k, n) for k, n in enumerate(assigned) if n >= 0]
    toys = len(asked)
    identified = sum(_identified(found, n, asked[k]) for k, n in seen)
    poses = [_pose(float(found.yaw[n]), asked[k]) for k, n in seen]
    own = [toy.identity for toy in composition.scene.toys]
    strange = [toy.identity for toy in stranger.scene.toys]
    parts = [_parts(found, n, own[k], own[:k] + own[k + 1 :]) for k, n in seen]
    chance = [_parts(found, n, own[k], strange[:k] + strange[k + 1 :]) for k, n in seen]
    return {
        "presence": (len(seen), toys),
        "identity": (identified, toys),
        "leakage": _sum(parts),
        "leakage_chance": _sum(chance),
        "pose": _sum(poses),
        "surplus": (len(found) - len(seen), toys),
    }


def _sum(pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
    return float(sum(hit for hit, _ in pairs)), float(sum(total for _, total in pairs))


def _identified(found: Found, index: int, question: Question) -> bool:
    one = found.take(torch.tensor([index]))
    scores = identity_scores(one.logs, torch.from_numpy(question.candidates))[0]
    return bool(scores[0] > scores[1:].max())


def _pose(yaw: float, question: Question) -> tuple[int, int]:
    if abs(question.yaw - question.reference_yaw) < TURNED:
        return 0, 0
    return int(abs(yaw - question.yaw) < abs(yaw - question.reference_yaw)), 1


def _colours(identity: Identity) -> dict[str, int]:
    """Colours that an identity shows, by attribute."""
    names = COLOUR_OF.values()
    return {n: getattr(identity, n) for n in names if n not in WORN_BY or getattr(identity, WORN_BY[n])}


def _parts(found: Found, index: int, own: Identity, others: Sequence[Identity]) -> tuple[int, int]:
    """Parts of a found toy in that part's colour of another reference, of those that could be."""
    hits = total = 0
    for name in COLOUR_OF.values():
        foreign = {_colours(o)[name] for o in others if name in _colours(o)} - set(_colours(own).values())
        worn = name not in WORN_BY or int(found.logs[WORN_BY[name]][index].argmax()) > 0
        sure = float(found.logs[name][index].max().exp()) >= SURE
        if foreign and worn and sure:
            total += 1
            hits += int(found.logs[name][index].argmax()) in foreign
    return hits, total


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, its 95 % bootstrap interval over scenes, and the count it is out of; NaN out of nothing."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if not self.count:
            return "–"
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def estimate(hits: NDArray[np.float64], totals: NDArray[np.float64], seed: int = 0) -> Estimate:
    """The ratio of sums over scenes (S,), scenes drawn again with replacement for the interval."""
    if not totals.sum():
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    again = np.random.default_rng(seed).integers(len(hits), size=(RESAMPLES, len(hits)))
    ratios = hits[again].sum(1) / np.maximum(totals[again].sum(1), 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(hits.sum() / totals.sum()), float(low), float(high), int(totals.sum()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Every measure for every number of subjects."""

    name: str
    scenes: int
    seed: int
    rows: dict[int, dict[str, Estimate]]

    def to_markdown(self) -> str:
        """Rows by number of subjects, in per cent."""
        head = f"| {self.name} | " + " | ".join(m.replace("_", " ") for m in MEASURES) + " |"
        lines = [head, "|" + "---|" * (len(MEASURES) + 1)]
        for subjects, row in self.rows.items():
            lines.append(f"| K = {subjects} | " + " | ".join(str(row[m]) for m in MEASURES) + " |")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The same as JSON, shares from 0 to 1."""
        return json.dumps(asdict(self), indent=1)


def score(pictures: Tensor, sheet: Exam, tools: Instruments | None = None) -> list[Counts]:
    """Judges pictures uint8 (S, H, W, 3), one for each scene of an exam."""
    if len(pictures) != len(sheet.compositions):
        raise ValueError(
            f"{len(sheet.compositions)} scenes were asked for, {len(pictures)} pictures were given."
        )
    found = (tools or instruments()).look(pictures)
    half = len(sheet.compositions) // 2
    strangers = sheet.compositions[half:] + sheet.compositions[:half]
    return [
        judge(found.take(found.which == n), composition, asked, stranger)
        for n, (composition, asked, stranger) in enumerate(
            zip(sheet.compositions, sheet.asked, strangers, strict=True)
        )
    ]


def benchmark(
    generate: Generate,
    subjects: Sequence[int] = SUBJECTS,
    scenes: int = SCENES,
    seed: int = SEED,
    name: str = "pictures",
    tools: Instruments | None = None,
) -> Table:
    """Judges a generator: `generate` turns up to 32 compositions into pictures uint8 (N, H, W, 3)."""
    rows = {}
    for count in subjects:
        sheet = exam(count, scenes, seed)
        batches = [sheet.compositions[start : start + BATCH] for start in range(0, scenes, BATCH)]
        counts = score(torch.cat([generate(batch) for batch in batches]), sheet, tools)
        table = np.array([[c[m] for m in MEASURES] for c in counts], np.float64)  # (S, measures, 2)
        rows[count] = {m: estimate(table[:, i, 0], table[:, i, 1]) for i, m in enumerate(MEASURES)}
        log.info("%s K=%d: %s", name, count, ", ".join(f"{m} {rows[count][m]}" for m in MEASURES))
    return Table(name=name, scenes=scenes, seed=seed, rows=rows)


def main() -> None:
    """`python -m mosaic.toybox.instruments.measure --control true`."""
    from mosaic.toybox.instruments.controls import CONTROLS, control

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", nargs="+", choices=CONTROLS, required=True)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--subjects", type=int, nargs="+", default=list(SUBJECTS))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--vae", type=Path, help="folder of the autoencoder, for roundtrip")
    parser.add_argument("--output", type=Path, help="folder for the tables as JSON")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in arguments.control:
        table = benchmark(
            control(name, arguments.vae), arguments.subjects, arguments.scenes, arguments.seed, name
        )
        print(table.to_markdown())
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            (arguments.output / f"{name}.json").write_text(table.to_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
