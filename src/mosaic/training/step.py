"""One micro-step: latents and captions in, loss terms out.

B batch, K references, P points, T target tokens, R tokens of one reference, C channels. Each sample has its
own generator, seeded by (seed, step, micro-step, its index in the batch of all processes): a resumed run
draws the same, and so do one process with a batch of 2·B and two with B each.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.attention import Probe
from mosaic.model.latents import pack_latents
from mosaic.model.layout import Positions, TokenLayout, Visibility
from mosaic.model.transformer import TransformerOutput
from mosaic.objectives import correspondence_loss, disentanglement_loss, flow_matching_loss
from mosaic.sampling import add_noise, sample_sigma
from mosaic.training.accuracy import probe_accuracy
from mosaic.training.missing import with_missing
from mosaic.training.models import TrainingModel
from mosaic.training.recipe import Dropout, LossSection, Recipe
from mosaic.training.stream import Latents


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Loss terms of a micro-step with their graphs and weights, and the probe rows they were read from."""

    terms: dict[str, Tensor]
    weights: dict[str, float]
    rows: Tensor | None = None  # (B, K, P, T) at the points; None: no reference took part
    points: "Points | None" = None
    block_rows: Tensor | None = None  # (N, B, K, P, T), the same of each probed block by itself

    @property
    def weighted(self) -> dict[str, Tensor]:
        return {name: self.weights[name] * term for name, term in self.terms.items() if self.weights[name]}

    @property
    def loss(self) -> Tensor:
        return torch.stack(list(self.weighted.values())).sum()

    def raw(self) -> dict[str, float]:
        """The terms before weighting."""
        return {name: float(term.detach()) for name, term in self.terms.items()}

    def accuracies(self) -> dict[str, float]:
        """How often the rows peak at their points, and chance."""
        if self.rows is None or self.points is None:
            return {}
        found = probe_accuracy(self.rows, self.points.labels, self.points.valid, self.points.grid)
        return {} if found is None else asdict(found)

    def block_accuracies(self) -> dict[str, float]:
        """The same for each probed block, in their order; chance is that of `accuracies`."""
        told: dict[str, float] = {}
        for i, rows in enumerate(() if self.block_rows is None else self.block_rows):
            one = replace(self, rows=rows).accuracies()
            told |= {f"block{i:02d}/{name}": one[name] for name in ("exact", "near") if name in one}
        return told


def training_terms(
    model: TrainingModel,
    latents: Latents,
    recipe: Recipe,
    step: int,
    micro: int = 0,
    first: int = 0,
    *,
    per_block: bool = False,
) -> Terms:
    """Flow matching, SCA and MD of one batch. Dropped references take part in nothing.

    first: index of its first sample in the batch of all processes. per_block: keep each block's rows as well.
    """
    key = (recipe.seed, step, micro)
    own = [seeded(*key, 1 + first + i) for i in range(len(latents.captions))]  # 0 would be as good as absent
    shown, captions = drop(latents.captions, recipe.data.dropout, seeded(*key), own)
    latents = with_missing(latents, shown, recipe, model)
    full = torch.promote_types(model.dtype, torch.float32)
    clean = pack_latents(latents.target.to(model.device, full))  # (B, T, C)
    noise = torch.stack([torch.randn(clean.shape[1:], generator=g) for g in own]).to(clean)
    sigma = torch.cat([sample_sigma(1, clean.shape[1], g, recipe.noise.shift) for g in own]).to(clean)
    points = supervised_points(latents, recipe.loss, model.device) if shown else None
    probe = None if points is None else replace(points.probe(recipe.loss), per_block=per_block)
    out = predict(model, add_noise(clean, noise, sigma), sigma, captions, latents, recipe, probe)
    terms = {"flow": flow_matching_loss(out.velocity, noise, clean)}
    if points is None or out.rows is None:
        return Terms(terms=terms, weights={"flow": 1.0})
    return Terms(
        terms=terms | attention_terms(out.rows, points, recipe.loss),
        weights={"flow": 1.0, "sca": recipe.loss.alpha, "md": md_weight(recipe.loss, step)},
        rows=points.of_rows(out.rows).detach(),
        points=points,
        block_rows=None if out.block_rows is None else points.of_rows(out.block_rows.detach()),
    )


def predict(
    model: TrainingModel,
    noisy: Tensor,
    sigma: Tensor,
    captions: list[str],
    latents: Latents,
    recipe: Recipe,
    probe: Probe | None = None,
    guidance: float = 1.0,
) -> TransformerOutput:
    """Velocity and probe rows of noisy target tokens (B, T, C) at sigma (B,).

    guidance: what a model that embeds it is told; training and validation tell 1.
    """
    text, pooled = model.encode(captions)
    layout = layout_of(latents, text.shape[1], recipe)
    references = [pack_latents(r.to(model.device, model.dtype)) for r in latents.references.unbind(1)]
    output: TransformerOutput = model.transformer(
        noisy.to(model.dtype),
        text,
        pooled,
        sigma.to(model.dtype),
        torch.full_like(sigma, guidance) if model.transformer.config.guidance_embeds else None,
        layout=layout,
        references=references,
        reference_pooled=torch.zeros_like(pooled) if recipe.references.pooled == "null" else None,
        probe=probe,
    )
    return output


def layout_of(latents: Latents, text: int, recipe: Recipe) -> TokenLayout:
    """The token layout of a batch."""
    target, reference = grids_of(latents)
    return TokenLayout(
        text=text,
        target=target,
        references=(reference,) * latents.references.shape[1],
        visibility=Visibility(recipe.references.visibility),
        positions=Positions(recipe.references.positions),
        reference_time=recipe.references.time,
        reference_guidance=recipe.references.guidance,
    )


def grids_of(latents: Latents) -> tuple[Grid, Grid]:
    """Token grids of target and reference: latents are packed 2 × 2."""
    target, reference = (
        Grid(x.shape[-2] // 2, x.shape[-1] // 2) for x in (latents.target, latents.references)
    )
    return target, reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Supervised points of a batch in the direction of the recipe: row tokens, the column each should hit."""

    tokens: Tensor  # long (B, K, P), the row's token
    labels: Tensor  # long (B, K, P), the column
    valid: Tensor  # bool (B, K, P)
    grid: Grid  # of the columns (of one reference, for target_to_ref)
    all_rows: int  # 0, or R: every token of a reference is probed, for MD over all rows
    subjects: Tensor | None = None  # long (B, K), whom a reference shows; None: each its own

    def probe(self, loss: LossSection) -> Probe:
        tokens = self.tokens
        if self.all_rows:
            tokens = torch.arange(self.all_rows, device=tokens.device).expand(*tokens.shape[:2], -1)
        return Probe(
            tokens=tokens.contiguous(),
            blocks=loss.blocks,
            direction=loss.direction,
            average=loss.average,
            heads=loss.heads,
            support=loss.support,
        )

    def of_rows(self, rows: Tensor) -> Tensor:
        """The rows (…, B, K, P, T) of the points among the probed ones."""
        if not self.all_rows:
            return rows
        index = self.tokens.where(self.valid, 0)[..., None].expand(*rows.shape[:-2], -1, rows.shape[-1])
        return rows.gather(-2, index)


def supervised_points(latents: Latents, loss: LossSection, device: torch.device) -> Points | None:
    """None where there is no reference; eq. 9 gives the columns of `target_to_ref`."""
    subjects = latents.references.shape[1]
    if not subjects:
        return None
    target, reference = grids_of(latents)
    u, v, valid = (
        x.to(device) for x in (latents.points_reference, latents.points_target, latents.points_valid)
    )
    shows = None if latents.subjects is None else latents.subjects.to(device)
    if loss.direction == "ref_to_target":
        all_rows = reference.size if loss.md_rows == "all" else 0
        return Points(tokens=u, labels=v, valid=valid, grid=target, all_rows=all_rows, subjects=shows)
    offset = reference.size * torch.arange(subjects, device=device)[:, None]
    return Points(tokens=v, labels=u + offset, valid=valid, grid=reference, all_rows=0, subjects=shows)


def attention_terms(rows: Tensor, points: Points, loss: LossSection) -> dict[str, Tensor]:
    """SCA and MD of probed rows."""
    own = points.of_rows(rows)
    md_valid = points.valid.any(-1, keepdim=True).expand(rows.shape[:3]) if points.all_rows else points.valid
    return {
        "sca": correspondence_loss(own, points.labels, points.valid, loss.sca_reduction),
        "md": disentanglement_loss(rows, md_valid, loss.md_distance, points.subjects),
    }


def md_weight(loss: LossSection, step: int) -> float:
    """β after `md_start` steps without it and `md_ramp` steps of linear growth."""
    if step < loss.md_start:
        return 0.0
    return loss.beta * min(1.0, (step - loss.md_start) / loss.md_ramp) if loss.md_ramp else loss.beta


def drop(
    captions: list[str], dropout: Dropout, shared: torch.Generator, own: list[torch.Generator]
) -> tuple[bool, list[str]]:
    """Whether the batch keeps its references, and its captions with some emptied.

    References are dropped for a whole micro-batch of all processes (`shared`), so that their tokens are not
    computed; a sample's chances of each of the three cases are those of the recipe.
    """
    without = dropout.references + dropout.both
    shown = float(torch.rand((), generator=shared)) >= without
    silent = dropout.text / (1 - without) if shown else dropout.both / without
    draws = [float(torch.rand((), generator=generator)) for generator in own]
    return shown, ["" if draw < silent else caption for draw, caption in zip(draws, captions, strict=True)]


def seeded(*key: int) -> torch.Generator:
    """A generator on the CPU that depends on the key alone."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    )
