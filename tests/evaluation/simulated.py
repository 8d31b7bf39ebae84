"""Simulated scores, and the literal mean of groups."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from hypothesis import strategies as st

from mosaic.evaluation.rows import Row


def row(
    value: float,
    *,
    method: str = "ours",
    group: str = "cat",
    record: str = "r0",
    image: int | None = 0,
    subject: int | None = None,
    photograph: int | None = None,
    column: str = "DINO",
) -> Row:
    return Row(
        method=method,
        part="single",
        group=group,
        record=record,
        column=column,
        image=image,
        subject=subject,
        photograph=photograph,
        value=value,
        note="",
    )


def plain_rows(values: Sequence[float], method: str = "ours", groups: int = 1) -> list[Row]:
    """One score a record, records dealt to groups in turn."""
    return [
        row(value, method=method, record=f"r{n:03d}", group=f"g{n % groups}")
        for n, value in enumerate(values)
    ]


def simulated(seed: int, records: int, methods: Sequence[str] = ("ours",), groups: int = 1) -> list[Row]:
    """Records with an effect of their own, images with another: scores of a record resemble each other."""
    generator = np.random.default_rng(seed)
    found = []
    for n in range(records):
        effect = generator.exponential(0.1)  # skewed, shared by the methods
        for method in methods:
            own = effect + generator.normal(0, 0.05)
            values = own + generator.normal(0, 0.05, (4, 2))
            found += [
                row(
                    float(values[image, subject]),
                    method=method,
                    record=f"r{n:03d}",
                    group=f"g{n % groups}",
                    image=image,
                    subject=subject,
                )
                for image in range(4)
                for subject in range(2)
            ]
    return found


def literal_groups(rows: Sequence[Row]) -> float:
    of_groups = []
    for group in {row.group for row in rows}:
        of_subjects = []
        for subject in {row.subject for row in rows if row.group == group}:
            of_subjects.append(
                fmean(row.value for row in rows if row.group == group and row.subject == subject)
            )
        of_groups.append(fmean(of_subjects))
    return fmean(of_groups)


a_row = st.builds(
    row,
    st.floats(-1, 1),
    group=st.sampled_from("abc"),
    record=st.sampled_from(["1", "2", "3", "4"]),
    image=st.sampled_from([0, 1]),
    subject=st.sampled_from([None, 0, 1]),
)
some_rows = st.lists(a_row, min_size=1, max_size=40).map(
    lambda rows: [replace(one, record=one.group + one.record) for one in rows]
)
kinds = st.sampled_from(["groups", "entries"])
