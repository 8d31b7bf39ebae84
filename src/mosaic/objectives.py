"""The three losses as pure functions: flow matching, semantic correspondence (SCA), disentanglement (MD).

B batch, K references, P points a reference, T target tokens. `rows` (B, K, P, T) are the probabilities of
eq. 8, averaged over heads and blocks; `valid` (B, K, P) tells points from padding, whose rows may hold
anything. Everything is computed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ALIGN_FLOOR = 1e-9  # added under the logarithm of SCA, as released
DISTANCE_FLOOR = 1e-8  # added under the logarithms of the distances, as released


def flow_matching_loss(
    velocity: Tensor, noise: Tensor, clean: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean squared error of the velocity against noise − clean, all (B, …); `weight` (B,), one a sample."""
    error = (_full(velocity) - (_full(noise) - _full(clean))).square().flatten(1).mean(1)  # (B,)
    return (error if weight is None else error * weight).mean()


def correspondence_loss(
    rows: Tensor, targets: Tensor, valid: Tensor, reduction: str = "per_reference"
) -> Tensor:
    """SCA, eq. 10: −log of the probability of each point's target token `targets` (B, K, P).

    "per_reference": mean over the points of a reference, then over the references that have one; "flat": over
    all points of a sample, as released. Then over the batch, where a sample without points counts as 0.
    ValueError for shapes that do not fit, or another reduction.
    """
    _check(rows, valid)
    hit = _full(rows).gather(-1, targets.where(valid, 0)[..., None])[..., 0]  # (B, K, P)
    surprise = -(hit.where(valid, 1) + ALIGN_FLOOR).log()
    if reduction == "flat":
        return _mean(_mean(surprise.flatten(1), valid.flatten(1)))
    if reduction == "per_reference":
        return _mean(_mean(_mean(surprise, valid), valid.any(-1)))
    raise ValueError(f'The reduction must be "per_reference" or "flat", not "{reduction}".')


def disentanglement_loss(
    rows: Tensor, valid: Tensor, distance: str = "symmetric_kl", subjects: Tensor | None = None
) -> Tensor:
    """MD, eq. 11–14, ≤ 0: minus the mean distance between the mean rows of references of different subjects.

    The mean runs over pairs of references that both have a valid point, then over the batch, where a sample
    without such a pair counts as 0. `subjects` (B, K): which subject a reference shows; None: each its own.
    `distance`: "symmetric_kl", eq. 13, or "jensen_shannon", as released. ValueError for another, or shapes
    that do not fit.
    """
    _check(rows, valid)
    if distance not in DISTANCES:
        raise ValueError(f'The distance must be one of {", ".join(DISTANCES)}, not "{distance}".')
    first, second = torch.triu_indices(rows.shape[1], rows.shape[1], offset=1, device=rows.device)
    pushed = valid.any(-1)[:, first] & valid.any(-1)[:, second]  # (B, K(K−1)/2)
    if subjects is not None:
        pushed = pushed & (subjects[:, first] != subjects[:, second])
    pattern = mean_pattern(rows, valid)
    return -_mean(_mean(DISTANCES[distance](pattern[:, first], pattern[:, second]), pushed))


def mean_pattern(rows: Tensor, valid: Tensor) -> Tensor:
    """Eq. 12: the mean of a reference's valid rows, normalised to sum 1: (B, K, T); without one, zeros."""
    total = _full(rows).where(valid[..., None], 0).sum(-2)
    return total / total.sum(-1, keepdim=True).clamp(min=DISTANCE_FLOOR)


def symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    """Eq. 13: ½ KL(p‖q) + ½ KL(q‖p) of distributions (…, T), in nats; at most −log of the floor, 18.4."""
    return ((p - q) * ((p + DISTANCE_FLOOR).log() - (q + DISTANCE_FLOOR).log())).sum(-1) / 2


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen–Shannon divergence of distributions (…, T), in nats: at most log 2, as released."""
    middle = ((p + q) / 2 + DISTANCE_FLOOR).log()
    from_p = (p * ((p + DISTANCE_FLOOR).log() - middle)).sum(-1)
    from_q = (q * ((q + DISTANCE_FLOOR).log() - middle)).sum(-1)
    return (from_p + from_q) / 2


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "symmetric_kl": symmetric_kl,
    "jensen_shannon": jensen_shannon,
}


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(values: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Mean along the last axis of the chosen values; 0 where none is."""
    chosen = torch.ones_like(values, dtype=torch.bool) if chosen is None else chosen
    return values.where(chosen, 0).sum(-1) / chosen.sum(-1).clamp(min=1)


def _check(rows: Tensor, valid: Tensor) -> None:
    if rows.ndim != 4 or valid.shape != rows.shape[:3]:
        shapes = f"{tuple(rows.shape)} and {tuple(valid.shape)}"
        raise ValueError(f"Rows must be (B, K, P, T) and valid (B, K, P), not {shapes}.")
