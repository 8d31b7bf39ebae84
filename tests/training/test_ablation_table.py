"""The ablation's table on ledgers made by hand, with intervals known beforehand."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mosaic.training.ablation.__main__ import main, tables
from mosaic.training.ablation.ledger import Entry, read_ledger, write_entry
from mosaic.training.ablation.table import Column, Comparison, interval

ENTRY = Entry(
    group="release", cell="none", place=0, seed=0, changes={}, recipe="r", start="s", commit="c", machine="m",
    steps=10, samples=40, losses={"flow": 0.4}, probe={"exact": 0.5},
    measure={"scenes": 2, "steps": 12, "guidance": 2.0, "last": 5},
    measures={"4": {"identity": {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 8.0}}},
)  # fmt: skip


def ledger(**identities: Sequence[float]) -> list[Entry]:
    """Entries with an identity a seed; the flow loss is a tenth of it."""

    def entry(cell: str, seed: int, value: float) -> Entry:
        place = list(identities).index(cell)
        measures = {"4": {"identity": {"mean": value, "low": None, "high": None, "count": 8.0}}}
        return replace(
            ENTRY, cell=cell, place=place, seed=seed, losses={"flow": value / 10}, measures=measures
        )

    return [
        entry(cell, seed, value) for cell, values in identities.items() for seed, value in enumerate(values)
    ]


IDENTITY = Column(title="identity % (K = 4)", path=("measures", "4", "identity", "mean"), scale=100)


def test_intervals_are_student_s() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.n == 3
    assert found.high - 2 == pytest.approx(4.302653 / np.sqrt(3))  # t(0.975, 2) and a deviation of 1
    assert interval([0.0, 1.0]).high == pytest.approx(0.5 + 12.7062 * np.sqrt(0.5) / np.sqrt(2), rel=1e-4)
    assert interval([5.0]).low == -np.inf and not interval([5.0]).excludes_zero
    assert interval([float("nan"), 1.0]).n == 1


def test_differences_are_paired_by_seed() -> None:
    compared = Comparison(ledger(none=[0.1, 0.5, 0.9], both=[0.2, 0.6, 1.0]))
    found = compared.difference("both", "none", IDENTITY)
    assert found.mean == pytest.approx(10) and found.high - found.low < 1e-6  # though each cell spreads by 80
    assert "**both**" in compared.verdict(IDENTITY)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            {"none": [0.5, 0.6, 0.7], "both": [0.6, 0.5, 0.9]},
            "no winner: both leads, within the noise of none",
        ),
        ({"none": [0.5], "both": [0.9]}, "no winner: both leads, and fewer than two seeds"),
        ({"none": [0.1, 0.1, 0.1], "sca": [0.51, 0.50, 0.52], "both": [0.5, 0.51, 0.53]}, "noise of sca"),
        ({"none": [0.1, 0.12, 0.11], "sca": [0.30, 0.31, 0.32], "both": [0.8, 0.81, 0.83]}, r"\*\*both\*\*"),
        ({"none": [0.5, 0.6]}, "nothing to compare"),
        ({"none": [0.0, 0.0], "sca": [0.0, 0.0]}, "no winner: none, sca have the same figure"),
    ],
)
def test_no_winner_is_named_inside_the_noise(cells: dict[str, list[float]], words: str) -> None:
    assert re.search(words, Comparison(ledger(**cells)).verdict(IDENTITY))


def test_a_winner_must_lead_over_all_at_the_level_of_all() -> None:
    """One comparison at 95 % holds; of four, each at 98.75 %, it does not."""
    lead = [0.02, 0.10, 0.07]
    cells = {"best": [0.8] * 3} | {f"c{i}": [0.8 - d for d in lead] for i in range(4)}
    assert "**best**" not in Comparison(ledger(**cells)).verdict(IDENTITY)
    pair = Comparison(ledger(best=[0.8] * 4, other=[0.74, 0.72, 0.75, 0.73]))
    assert "**best**" in pair.verdict(IDENTITY)


def test_less_is_better_for_a_loss() -> None:
    loss = Column(title="loss flow", path=("losses", "flow"), lower=True)
    assert "**none**" in Comparison(ledger(none=[0.1, 0.12], both=[0.5, 0.52])).verdict(loss)


def test_the_table_says_it_all(tmp_path: Path) -> None:
    for entry in ledger(none=[0.10, 0.12, 0.14], both=[0.30, 0.31, 0.35]):
        write_entry(tmp_path, entry)
    main(["table", str(tmp_path), "--output", str(tmp_path / "table.md")])
    text = (tmp_path / "table.md").read_text()
    assert "## release" in text and "| none | 3 | 0.0120 ± 0.0050 |" in text
    assert "| both | 3 | **+0.0200 [" in text and "identity % (K = 4): **both**" in text
    assert "6 runs of 10 steps (40 samples) from the weights s" in text
    minus = tables(read_ledger(tmp_path), ["release"], "both")
    assert "| none | 3 | **-0.0200 [" in minus


def test_groups_stand_in_one_table() -> None:
    other = [replace(entry, group="screening", cell="rank") for entry in ledger(none=[0.3])]
    text = tables([*other, *ledger(none=[0.2, 0.3])], ["release", "screening"])
    assert "| release/none | 2 |" in text and "| screening/rank | 1 |" in text


@pytest.mark.parametrize("change", [{"start": "t"}, {"steps": 11}, {"measure": {"scenes": 9}}])
def test_runs_that_differ_in_more_are_not_compared(change: dict[str, Any]) -> None:
    entries = ledger(none=[0.1], both=[0.2])
    with pytest.raises(ValueError, match="cannot be compared"):
        Comparison([entries[0], replace(entries[1], **change)])
