"""The probe's choices beside its defaults, against textbook formulas; what references stand at."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mosaic.model import attention
from mosaic.model.attention import Probe, ProbePlan, attention_rows
from mosaic.model.layout import TokenLayout, Visibility
from mosaic.model.lora import LoraMetadata
from mosaic.model.mixed import forward_mixed
from mosaic.model.reference_cache import encode_reference

from .test_attention import mask
from .tiny import SIZES, error, inputs, layout, transformer


def probe(packed: TokenLayout, batch: int = 2, **choices: object) -> Probe:
    """Token 1 and token 0 of each reference's grid, or of the target's."""
    return Probe(tokens=torch.tensor([1, 0]).expand(batch, len(packed.references), 2), **choices)  # type: ignore[arg-type]


def textbook(q: Tensor, k: Tensor, packed: TokenLayout, one: Probe) -> Tensor:
    """Rows (B, K·P, columns) from the whole map, its mask and a loop over heads."""
    target, first = packed.target_span, packed.reference_spans[0].start
    forward = one.direction == "ref_to_target"
    starts = [span.start if forward else packed.text for span in packed.reference_spans]
    queries = [start + token for start in starts for token in (1, 0)]
    columns = target.slice if forward else slice(first, packed.length)
    joint, heads = one.heads == "joint", []
    if joint:
        q, k = q.flatten(2)[:, :, None], k.flatten(2)[:, :, None]
    for h in range(q.shape[2]):
        logits = q[:, :, h] @ k[:, :, h].mT / q.shape[-1] ** 0.5
        if one.support == "visible":
            logits = logits.masked_fill(~mask(packed), -torch.inf).softmax(-1)[..., columns]
        else:
            logits = logits[..., columns].softmax(-1)
        heads.append(logits[:, queries])
    return torch.stack(heads).mean(0)


@pytest.mark.parametrize("chunk", [1 << 26, 100], ids=["whole", "chunked"])
@pytest.mark.parametrize("visibility", [Visibility.FULL, Visibility.RELEASE])
@pytest.mark.parametrize("direction", ["ref_to_target", "target_to_ref"])
@pytest.mark.parametrize("heads", ["mean", "joint"])
@pytest.mark.parametrize("support", ["columns", "visible"])
def test_rows_equal_the_textbook(
    support: str, heads: str, direction: str, visibility: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "CHUNK", chunk)
    packed = layout(visibility=visibility)
    one = probe(packed, support=support, heads=heads, direction=direction)
    q, k = torch.randn(2, 2, packed.length, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()
    assert error(attention_rows(q, k, ProbePlan.of(one, packed)), textbook(q, k, packed, one)) < 1e-6


def test_isolated_references_do_not_see_the_columns() -> None:
    packed = layout(visibility=Visibility.ISOLATED)
    with pytest.raises(ValueError, match='support "columns"'):
        ProbePlan.of(probe(packed, support="visible"), packed)
    ProbePlan.of(probe(packed, support="visible", direction="target_to_ref"), packed)


def test_logarithms_are_averaged_over_blocks() -> None:
    one = inputs(layout())
    rows = replace(one, probe=probe(one.layout, average="logarithms", per_block=True)).run(transformer())
    assert rows.block_rows is not None
    assert error(rows.rows, rows.block_rows.log().mean(0).exp()) < 1e-6
    plain = replace(one, probe=probe(one.layout)).run(transformer()).rows
    assert error(plain, rows.block_rows.mean(0)) < 1e-6 < error(plain, rows.rows)


def test_probes_of_other_choices_run_apart() -> None:
    model, one = transformer(), inputs(layout())
    several = [
        replace(one, probe=probe(one.layout, **choices))
        for choices in ({}, {"average": "logarithms"}, {"heads": "joint"}, {"support": "visible"})
    ]
    for mixed, alone in zip(
        forward_mixed(model, several), (each.run(model) for each in several), strict=True
    ):
        assert error(mixed.rows, alone.rows) < 1e-6


def test_references_stand_where_the_layout_says() -> None:
    model, plain = transformer(), inputs(layout())
    velocity = plain.run(model).velocity
    for change in ({"reference_time": 0.4}, {"reference_guidance": 3.0}):
        moved = replace(plain, layout=replace(plain.layout, **change)).run(model).velocity
        assert error(moved, velocity) > 1e-5
        vector = model._reference_vector(plain.pooled, torch.float32, replace(plain.layout, **change))
        at = {"reference_time": 0.0, "reference_guidance": 1.0} | change
        timestep, guidance = (torch.full((2,), value * 1000) for value in at.values())
        assert error(vector, model.time_text_embed(timestep, guidance, plain.pooled)) == 0


def test_a_cache_stands_there_too() -> None:
    model = transformer()
    packed = layout(SIZES[:1], visibility=Visibility.ISOLATED, reference_time=0.3, reference_guidance=2.0)
    one = inputs(packed, batch=1)
    cache = encode_reference(model, one.references[0], SIZES[0], one.pooled, time=0.3, guidance=2.0)
    with torch.no_grad():
        cached = model(
            one.target, one.text, one.pooled, one.timestep, one.guidance, layout=packed, cache=cache
        )
        assert error(cached.velocity, one.run(model).velocity) < 1e-5


def test_a_lora_file_says_where_its_references_stand() -> None:
    facts = LoraMetadata(reference_time=0.1, reference_guidance=3.5)
    assert LoraMetadata.from_strings(facts.to_strings()) == facts
    assert LoraMetadata().reference_time == 0 and LoraMetadata().reference_guidance == 1
