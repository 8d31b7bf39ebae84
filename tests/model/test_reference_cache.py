from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mosaic.model.attention import Probe
from mosaic.model.layout import Positions, Visibility
from mosaic.model.mixed import Inputs
from mosaic.model.reference_cache import ReferenceCache, encode_reference, load_cache, save_cache
from mosaic.model.transformer import MosaicTransformer, TransformerOutput

from .tiny import error, inputs, layout, transformer


def isolated(**options: object) -> Inputs:
    """References with the null pooled vector, as a cache that outlives a prompt wants them."""
    one = inputs(layout(visibility=Visibility.ISOLATED, **options))
    return replace(one, reference_pooled=torch.zeros_like(one.pooled))


def encode(model: MosaicTransformer, one: Inputs, pooled: Tensor | None = None) -> list[ReferenceCache]:
    pairs = zip(one.references, one.layout.references, strict=True)
    return [encode_reference(model, reference, grid, pooled) for reference, grid in pairs]


def run(
    model: MosaicTransformer, one: Inputs, cache: ReferenceCache, probe: Probe | None = None
) -> TransformerOutput:
    with torch.no_grad():
        return model(
            one.target,
            one.text,
            one.pooled,
            one.timestep,
            one.guidance,
            layout=one.layout,
            cache=cache,
            probe=probe,
        )


@pytest.mark.parametrize("positions", [Positions.WIDTH, Positions.DIAGONAL, Positions.FRAME])
def test_cached_equals_uncached(positions: Positions) -> None:
    model, one = transformer(), isolated(positions=positions)
    cache = ReferenceCache.join(encode(model, one))
    assert error(run(model, one, cache).velocity, one.run(model).velocity) < 1e-5


def test_one_cache_for_every_prompt_step_and_slot() -> None:
    model, one = transformer(), isolated()
    caches = encode(model, one)
    other = replace(isolated(), text=one.text + 1, pooled=one.pooled * 2, timestep=one.timestep / 3)
    order = [2, 3, 0, 1]
    moved = replace(
        other,
        layout=replace(other.layout, references=tuple(other.layout.references[i] for i in order)),
        references=tuple(other.references[i] for i in order),
    )
    cache = ReferenceCache.join([caches[i] for i in order])
    assert error(run(model, moved, cache).velocity, moved.run(model).velocity) < 1e-5


def test_the_prompts_pooled_vector() -> None:
    model, one = transformer(), replace(isolated(), reference_pooled=None)
    cache = ReferenceCache.join(encode(model, one, one.pooled))
    assert error(run(model, one, cache).velocity, one.run(model).velocity) < 1e-5


def test_one_cache_for_a_batch() -> None:
    """Encoded once, used by every sample of a batch."""
    model, one = transformer(), isolated()
    same = replace(one, references=tuple(r[:1].expand(2, -1, -1) for r in one.references))
    cache = ReferenceCache.join(encode(model, replace(one, references=tuple(r[:1] for r in one.references))))
    assert len(cache.keys[0]) == 1
    assert error(run(model, same, cache).velocity, same.run(model).velocity) < 1e-5


def test_rows_of_cached_references() -> None:
    model, one = transformer(), isolated()
    cache = ReferenceCache.join(encode(model, one))
    probe = Probe(tokens=torch.randint(24, (2, 4, 3)), direction="target_to_ref")
    expected = replace(one, probe=probe).run(model).rows
    assert error(run(model, one, cache, probe).rows, expected) < 1e-6
    with pytest.raises(ValueError, match="target_to_ref"):
        run(model, one, cache, Probe(tokens=torch.zeros(2, 4, 1, dtype=torch.long)))


@pytest.mark.parametrize("visibility", [Visibility.FULL, Visibility.RELEASE])
def test_other_visibilities_refuse(visibility: Visibility) -> None:
    model, one = transformer(), isolated()
    cache = ReferenceCache.join(encode(model, one))
    seen = replace(one, layout=replace(one.layout, visibility=visibility))
    with pytest.raises(ValueError, match=f'"{visibility}".*only "isolated"'):
        run(model, seen, cache)
    with pytest.raises(ValueError, match=f'"{visibility}".*only "isolated"'):
        model.encode(seen.references, seen.pooled, seen.layout)


def test_a_base_of_its_own_refuses() -> None:
    """Under `frequency` a reference's distances among its own tokens depend on its slot."""
    model, one = transformer(), isolated(positions=Positions.FREQUENCY)
    with pytest.raises(ValueError, match="depend on their slot"):
        run(model, one, ReferenceCache.join(encode(model, one)))


def test_file_round_trip(tmp_path: Path) -> None:
    model, one = transformer(), isolated()
    cache = encode_reference(model, one.references[1], one.layout.references[1], metadata={"lora": "1f"})
    save_cache(cache, tmp_path / "new" / "bear.safetensors")
    again = load_cache(tmp_path / "new" / "bear.safetensors")
    assert (again.grids, again.metadata) == (cache.grids, {"lora": "1f"})
    assert all(
        torch.equal(a, b) for a, b in zip(again.keys + again.values, cache.keys + cache.values, strict=True)
    )
    assert again.to(dtype=torch.bfloat16).keys[0].dtype == torch.bfloat16
    assert not list(tmp_path.rglob("*.partial"))


def test_mistakes_are_named(tmp_path: Path) -> None:
    model, one = transformer(), isolated()
    caches = encode(model, one)
    with pytest.raises(ValueError, match=r"holds references of 4×4 tokens"):
        run(model, one, caches[0])
    with pytest.raises(ValueError, match="different weights"):
        ReferenceCache.join([caches[0], replace(caches[1], metadata={"lora": "2e"})])
    three = replace(one, layout=replace(one.layout, references=one.layout.references[:1]))
    doubled = replace(caches[0], keys=tuple(k.repeat(2, 1, 1, 1) for k in caches[0].keys))
    with pytest.raises(ValueError, match="batch of 4"):
        run(model, three, doubled)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not a reference cache"):
        load_cache(tmp_path / "x.safetensors")
