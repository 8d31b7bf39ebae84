"""Bytes that a micro-step keeps from its forward to its backward pass, block by block, and its working peak.

B batch, K references, P probe rows a reference, S text, T target, R tokens of one reference, N = S + T,
L packed length, I = T + ΣR, H heads, M width. Everything counted is what autograd keeps of
`mosaic.model.blocks`: inputs of adapted or trained layers, of norms and GELU, gated values, q, k, v, and
the score matrices where attention is `math`. Tensors of a vector a sample are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mosaic.training.plan.shapes import CHUNK, Adapter, Backbone, Micro, prefix, starts


@dataclass(frozen=True, kw_only=True, slots=True)
class Activations:
    """At the fullest moment of a micro-step: bytes kept for later, of them probe rows, and worked with."""

    kept: float = 0
    rows: float = 0
    working: float = 0
    block: int = 0  # the block whose backward pass is the fullest moment

    @property
    def total(self) -> float:
        return self.kept + self.rows + self.working


def activations(of: Backbone, adapter: Adapter, micro: Micro, gradients: Sequence[float] = ()) -> Activations:
    """The fullest moment of forward and backward pass.

    gradients: bytes of the gradients each block leaves, which gather while the activations go.
    """
    first = starts(of, adapter, micro)
    if not micro.learns:
        return Activations(working=forward_only(of, micro))
    live = [block >= first for block in range(of.blocks)]
    rows = [row_bytes(i, of, micro) * live[i] for i in range(of.blocks)]
    kept = [block_bytes(i, of, adapter, micro) * live[i] for i in range(of.blocks)]
    stays = [block_input(of, micro) * alive for alive in live] if micro.checkpointing else kept
    moments = []
    for block in (i for i in range(of.blocks) if live[i]):
        own = working(block, of, adapter, micro)
        if micro.checkpointing:
            own += kept[block] + rows[block] - stays[block]
        moments.append(
            Activations(
                kept=sum(stays[: block + 1]) + outside(of, adapter, micro),
                rows=0 if micro.checkpointing else sum(rows[: block + 1]),
                working=max(0.0, own),
                block=block,
            )
        )
    later = [sum(gradients[moment.block + 1 :]) for moment in moments]
    return max(zip(moments, later, strict=True), key=lambda pair: pair[0].total + pair[1])[0]


def forward_only(of: Backbone, micro: Micro) -> float:
    """A pass that keeps nothing: the widest layer's input and output."""
    scores = of.heads * micro.main_pairs() * (micro.attention == "math")
    return micro.batch * micro.bytes * (12 * of.width * micro.length + 2 * scores)


# ---------------------------------------------------------------- what is kept


def block_bytes(block: int, of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """A block's own, probe rows left out."""
    name = prefix(block, of)
    streams = (
        _double(name, of, adapter, micro) if block < of.double else _single(block, name, of, adapter, micro)
    )
    final = micro.drops_early(block, of)
    return micro.batch * (of.width * streams + attention_bytes(of, micro, final))


def attention_bytes(of: Backbone, micro: Micro, final: bool = False) -> float:
    """q, k, v, the references' own copies of them, the output or the scores; one sample."""
    queries = micro.target if final else micro.length
    packed, ref = 2 * micro.length + (micro.length if micro.attention == "sdpa" else queries), micro.adapted
    beside = 2 * (ref + micro.references * micro.main) if micro.visibility == "release" else 2 * ref
    several = micro.batch > 1 and micro.references > 1
    apart = 0 if micro.dense or final else beside
    if micro.attention == "math":
        scores = micro.main_pairs(final) + micro.reference_pairs(final)
        return micro.bytes * (of.width * (packed + apart) + of.heads * scores)
    if micro.visibility == "isolated":  # views of the packed keys, copied where there are several of several
        apart *= several
    apart += ref * several * (not micro.dense and not final)  # queries
    output = queries
    return micro.bytes * of.width * (packed + apart + output) + 4 * of.heads * queries


def row_bytes(block: int, of: Backbone, micro: Micro) -> float:
    """The probe's probabilities of a block, in float32; of many rows only what they are computed from."""
    if not micro.is_probed(block):
        return 0
    rows = micro.references * micro.rows
    logits = micro.batch * of.heads * rows * micro.row_columns
    inputs = micro.batch * micro.bytes * of.width * (2 * rows + micro.row_columns * (micro.batch > 1))
    result = 4 * micro.batch * rows * micro.row_columns
    return inputs + (4 * logits if logits <= CHUNK else result)


def block_input(of: Backbone, micro: Micro) -> float:
    """What checkpointing keeps of a block."""
    return micro.batch * micro.bytes * of.width * micro.length


def outside(of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """The last block's tokens, the final norm, the loss."""
    last = micro.length if not micro.drops_early(of.blocks - 1, of) else micro.target
    tokens = of.width * (last + micro.target * (1 + (micro.trains == "base")))
    ends = of.channels * (micro.image + 4 * micro.target) + of.text_width * micro.text
    return micro.batch * (micro.bytes * tokens + 4 * ends)


def _double(name: str, of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """Bytes of a double block's two streams for one sample and one channel, attention left out."""
    a, image, text, ref = micro.bytes, micro.image, micro.text, micro.adapted
    trained, norms = micro.trains == "base", (4 if micro.trains == "base" else 2) * micro.norm_bytes
    several = micro.batch > 1
    attended = 0 if micro.dense and micro.attention == "sdpa" else micro.length  # concatenated, or a view
    if trained:
        own = 2 + 4 + 8 + 2  # norms' inputs, gates and scales, GELU's input and output, modulated inputs
        output = image + text if several else attended
        return a * (own * (image + text) + output) + norms * (image + text)
    adapts = adapter.has
    reads = adapts(*(f"{name}attn.to_{part}" for part in "qkv"))
    kept = 2 * image + 4 * image + 4 * image * adapts(f"{name}norm1.linear")
    kept += _input(reads, image, ref, several) + _input(adapts(f"{name}ff.net.0.proj"), image, ref, several)
    kept += _input(adapts(f"{name}attn.to_out.0"), attended, ref, several)
    kept += 4 * _input(adapts(f"{name}ff.net.2"), image, ref, several)
    return a * (kept + 6 * text) + norms * (image + text)


def _single(block: int, name: str, of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """As `_double`, of a single block."""
    a, length, ref = micro.bytes, micro.length, micro.adapted
    trained, norms = micro.trains == "base", (4 if micro.trains == "base" else 2) * micro.norm_bytes
    if trained:
        inner = micro.target if micro.drops_early(block, of) else length
        return a * (3 * length + (4 + 5 + 1) * inner) + norms * length
    several, adapts = micro.batch > 1, adapter.has
    reads = adapts(*(f"{name}attn.to_{part}" for part in "qkv"), f"{name}proj_mlp")
    kept = length + 4 * length + 2 * length * adapts(f"{name}norm.linear")
    kept += _input(reads, length, ref, several) + 5 * _input(adapts(f"{name}proj_out"), length, ref, several)
    return a * kept + norms * length


def _input(layers: int, tokens: int, adapted: int, several: bool) -> int:
    """Tokens kept for `layers` adapted layers of one input: a view of the whole, or of each sample a copy."""
    return layers * adapted if several else tokens * (layers > 0)


# ---------------------------------------------------------------- what is worked with


def working(block: int, of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """What the backward pass of a block holds at its fullest, less what it has let go by then."""
    return max(0.0, _of_last_layer(block, of, adapter, micro), _of_scores(block, of, micro))


def _of_last_layer(block: int, of: Backbone, adapter: Adapter, micro: Micro) -> float:
    """Gradients of the widest input: the base's, the branch's padded to all tokens, and their sum."""
    double, name = block < of.double, prefix(block, of)
    tokens, wide = (micro.image, 4) if double else (micro.length, 5)
    if micro.drops_early(block, of):
        tokens = micro.target
    if not adapter.has(f"{name}ff.net.2" if double else f"{name}proj_out"):
        return micro.batch * micro.bytes * of.width * tokens * (wide + 4)  # GELU's and the residual's too
    gone = wide if micro.batch == 1 else 0
    return micro.batch * micro.bytes * of.width * tokens * (3 * wide - gone - 1)


def _of_scores(block: int, of: Backbone, micro: Micro) -> float:
    """Two score matrices beside the kept one, after what came behind the attention has been let go."""
    if micro.attention != "math":
        return 0
    final = micro.drops_early(block, of)
    own, main = micro.reference_pairs(final), micro.main_pairs(final)
    pairs = max(2 * own, 2 * main - own)
    copies = 2 * (micro.adapted + micro.references * micro.main) if micro.visibility == "release" else 0
    copies = 0 if micro.dense or final else copies
    gone = (9 if block < of.double else 10) * (micro.target if final else micro.length)
    return micro.batch * micro.bytes * (of.heads * pairs + of.width * (copies + 3 * micro.length - gone))
