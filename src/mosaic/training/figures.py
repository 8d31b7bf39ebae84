"""What a step has to tell: its terms as means over micro-steps and processes, gradient norms, the rate."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from mosaic.training.accuracy import ProbeAccuracy
from mosaic.training.parallel import World
from mosaic.training.step import Terms


def values(
    terms: Sequence[Terms], norms: dict[str, float], norm: float, rate: float, world: World
) -> dict[str, float]:
    """By name. Waits for all processes: each has the same terms, but a probe needs a valid point."""
    losses = mean_by_name([term.raw() for term in terms], world)
    hits = mean_by_name([term.accuracies() for term in terms], world, [f.name for f in fields(ProbeAccuracy)])
    told = {f"loss/{name}": value for name, value in losses.items()}
    told |= {f"probe/{name}": value for name, value in hits.items()}
    told |= {"gradient/norm": norm} | {f"gradient/{name}": value for name, value in norms.items()}
    return told | {"lr": rate}


def mean_by_name(
    records: Sequence[dict[str, float]], world: World, names: Iterable[str] = ()
) -> dict[str, float]:
    """Each name's mean over the records of all processes that have it. names: () takes the records' own."""
    names = list(names or dict.fromkeys(name for record in records for name in record))
    found = [[record[name] for record in records if name in record] for name in names]
    totals = world.total([float(sum(numbers)) for numbers in found] + [len(numbers) for numbers in found])
    sums, counts = totals[: len(names)], totals[len(names) :]
    return {name: s / n for name, s, n in zip(names, sums, counts, strict=True) if n}
