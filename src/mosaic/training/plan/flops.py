"""Floating-point operations of a training step: two for each multiplication and addition of a matrix product.

B batch, K references, S text, T target, R tokens of one reference, L packed length, M width, V modulation
vectors (2 where there are references). Normalisation, GELU, softmax and rotary positions are left out, as is
customary: below 1 % of a large model.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from mosaic.training.plan.shapes import CHUNK, Adapter, Backbone, Micro, prefix, starts


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """Of the forward pass, the backward pass, and of what is computed a second time on its way."""

    forward: float = 0
    backward: float = 0
    recompute: float = 0  # checkpointing; the score matrices a fused attention does not keep

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.recompute

    def __add__(self, other: Self) -> "Flops":
        return Flops(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            recompute=self.recompute + other.recompute,
        )

    def __mul__(self, times: float) -> "Flops":
        return Flops(
            forward=self.forward * times, backward=self.backward * times, recompute=self.recompute * times
        )


class Product(NamedTuple):
    """y = x·W for `tokens` rows of x, with a low-rank branch on `adapted` of them."""

    name: str
    tokens: int
    n_in: int
    n_out: int
    adapted: int = 0
    flows: bool = True  # x has a gradient


def flops_of_step(of: Backbone, adapter: Adapter, micro: Micro) -> Flops:
    """One micro-step of the transformer on one process, its whole batch; text encoders are not in it."""
    first = starts(of, adapter, micro)
    outside = _products([*embedding(of, micro), *head(of, micro)], adapter, micro)
    return sum((block_flops(i, of, adapter, micro, first) for i in range(of.blocks)), outside) * micro.batch


def block_flops(block: int, of: Backbone, adapter: Adapter, micro: Micro, first: int) -> Flops:
    """One block, one sample."""
    found = _products(block_products(block, of, micro, first), adapter, micro)
    found += attention_flops(of, micro, micro.drops_early(block, of), block >= first)
    if micro.is_probed(block):
        found += probe_flops(of, micro)
    if micro.checkpointing and micro.learns and block >= first:
        found += Flops(recompute=found.forward)
    return found


def attention_flops(of: Backbone, micro: Micro, final: bool = False, learns: bool = True) -> Flops:
    """Scores and values of what is seen; a fused backward pass computes the scores again."""
    pairs = micro.main_pairs(final) + micro.reference_pairs(final)
    forward = 4 * of.width * pairs
    learns = learns and micro.learns
    again = micro.attention == "sdpa"
    return Flops(forward=forward, backward=2 * forward * learns, recompute=forward / 2 * (learns and again))


def probe_flops(of: Backbone, micro: Micro) -> Flops:
    """Logits of the probe's rows."""
    rows = micro.references * micro.rows
    forward = 2 * of.width * rows * micro.row_columns
    chunked = micro.batch * of.heads * rows * micro.row_columns > CHUNK
    return Flops(forward=forward, backward=2 * forward, recompute=forward * chunked)


def text_flops(parameters: float, tokens: int, batch: int, trained: bool) -> Flops:
    """An encoder of so many parameters outside its embedding table."""
    forward = 2 * parameters * tokens * batch
    return Flops(forward=forward, backward=2 * forward * trained)


# ---------------------------------------------------------------- the products of each part


def embedding(of: Backbone, micro: Micro) -> Iterator[Product]:
    """Tokens and modulation vectors."""
    width, vectors = of.width, 2 if micro.references else 1
    trained = micro.trains == "base"
    yield Product("x_embedder", micro.image, of.channels, width, micro.adapted, flows=False)
    yield Product("context_embedder", micro.text, of.text_width, width, flows=trained)
    inputs = {"timestep": 256, "text": of.pooled_width} | ({"guidance": 256} if of.guidance else {})
    for part, n_in in inputs.items():
        name = f"time_text_embed.{part}_embedder.linear"
        yield Product(f"{name}_1", vectors, n_in, width, flows=trained and part == "text")
        yield Product(f"{name}_2", vectors, width, width, flows=trained)


def head(of: Backbone, micro: Micro) -> Iterator[Product]:
    """The target's tokens to its velocity."""
    yield Product("norm_out.linear", 1, of.width, 2 * of.width, flows=micro.trains == "base")
    yield Product("proj_out", micro.target, of.width, of.channels)


def block_products(block: int, of: Backbone, micro: Micro, first: int) -> Iterator[Product]:
    """The linear layers of one block, one sample; first: see `starts`."""
    kind = _double if block < of.double else _single
    return kind(block, of, micro, block > first)


def _double(block: int, of: Backbone, micro: Micro, flows: bool) -> Iterator[Product]:
    name, width, image, text = prefix(block, of), of.width, micro.image, micro.text
    trained, ref = micro.trains == "base", micro.adapted
    spoken = flows and (trained or block > 0)  # text has a gradient once it has met an image token's
    vectors = 2 if micro.references else 1
    yield Product(f"{name}norm1.linear", vectors, width, 6 * width, vectors - 1, flows=trained)
    yield Product(f"{name}norm1_context.linear", 1, width, 6 * width, flows=trained)
    for part in "qkv":
        yield Product(f"{name}attn.to_{part}", image, width, width, ref, flows)
        yield Product(f"{name}attn.add_{part}_proj", text, width, width, flows=spoken)
    yield Product(f"{name}attn.to_out.0", image, width, width, ref)
    yield Product(f"{name}attn.to_add_out", text, width, width)
    for part, tokens, adapted in (("ff", image, ref), ("ff_context", text, 0)):
        yield Product(f"{name}{part}.net.0.proj", tokens, width, 4 * width, adapted)
        yield Product(f"{name}{part}.net.2", tokens, 4 * width, width, adapted)


def _single(block: int, of: Backbone, micro: Micro, flows: bool) -> Iterator[Product]:
    name, width, length, ref = prefix(block, of), of.width, micro.length, micro.adapted
    vectors = 2 if micro.references else 1
    last = micro.drops_early(block, of)
    kept, kept_ref = (micro.target, 0) if last else (length, ref)
    yield Product(f"{name}norm.linear", vectors, width, 3 * width, vectors - 1, micro.trains == "base")
    for part in "qkv":
        yield Product(f"{name}attn.to_{part}", length, width, width, ref, flows)
    yield Product(f"{name}proj_mlp", kept, width, 4 * width, kept_ref, flows)
    yield Product(f"{name}proj_out", kept, 5 * width, width, kept_ref)


def _products(products: Iterable[Product], adapter: Adapter, micro: Micro) -> Flops:
    return sum((_product(product, adapter, micro) for product in products), Flops())


def _product(p: Product, adapter: Adapter, micro: Micro) -> Flops:
    """Base weights: the input's gradient where it has one, their own where they are trained."""
    base = 2 * p.tokens * p.n_in * p.n_out
    rank = adapter.rank if p.name in adapter.modules else 0
    down, up = 2 * p.adapted * rank * p.n_in, 2 * p.adapted * rank * p.n_out
    trained = micro.trains == "base"
    backward = base * (p.flows + trained) + 2 * up + down * (1 + p.flows)
    return Flops(forward=base + down + up, backward=backward * micro.learns)
