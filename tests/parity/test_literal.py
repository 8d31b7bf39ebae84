"""The packed forward against a literal one: token by token, weight by name, nothing shared with the package.

Written from the definitions: each token has its own conditioning vector and its own list of tokens it sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from model.tiny import CONFIG, error, inputs, layout, pick, transformer
from torch import Tensor

from mosaic.model.attention import Probe
from mosaic.model.layout import Positions, Visibility
from mosaic.model.mixed import Inputs


@dataclass
class Token:
    span: str | int  # "text", "target" or the reference's number
    position: tuple[int, int, int]
    base: float
    h: Tensor
    vector: Tensor

    @property
    def adapted(self) -> bool:
        return isinstance(self.span, int)

    def sees(self, other: Token, visibility: str) -> bool:
        if not self.adapted or visibility == "full":
            return True
        return other.span == self.span or (visibility == "release" and not other.adapted)


class Literal:
    """One sample."""

    def __init__(self, weights: dict[str, Tensor], one: Inputs) -> None:
        self.weights, self.visibility = weights, str(one.layout.visibility)
        self.queries: list[list[Tensor]] = []  # of each block and token, (H, D)
        self.keys: list[list[Tensor]] = []
        noisy = self.vector(one.timestep, one.guidance, one.pooled)
        pooled = one.pooled if one.reference_pooled is None else one.reference_pooled
        clean = self.vector(torch.zeros(1), torch.ones(1), pooled)
        scheme, width = str(one.layout.positions), one.layout.target.width
        self.tokens = [
            Token("text", (0, 0, 0), 1e4, self.linear("context_embedder", x), noisy) for x in one.text[0]
        ]
        for i, x in enumerate(one.target[0]):
            self.tokens.append(
                Token("target", (0, i // width, i % width), 1e4, self.linear("x_embedder", x), noisy)
            )
        left = up = 0
        for k, (grid, reference) in enumerate(
            zip(one.layout.references, one.references, strict=True), start=1
        ):
            left, up = left + grid.width, up + grid.height
            for i, x in enumerate(reference[0]):
                row, column = divmod(i, grid.width)
                position, base = {
                    "width": ((0, row, column - left), 1e4),
                    "diagonal": ((0, row - up, column - left), 1e4),
                    "frame": ((k, row, column), 1e4),
                    "frequency": ((0, row + 1, column + 1), 1e4 * 2**k),
                }[scheme]
                self.tokens.append(Token(k, position, base, self.linear("x_embedder", x, True), clean))

    def linear(self, name: str, x: Tensor, adapted: bool = False) -> Tensor:
        if f"{name}.base_layer.weight" not in self.weights:
            return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        y = F.linear(x, self.weights[f"{name}.base_layer.weight"], self.weights[f"{name}.base_layer.bias"])
        a, b = (self.weights[f"{name}.lora_{side}.mosaic.weight"] for side in "AB")
        return y + b @ (a @ x) if adapted else y

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.linear_2", F.silu(self.linear(f"{name}.linear_1", x)))

    def vector(self, time: Tensor, guidance: Tensor | None, pooled: Tensor) -> Tensor:
        total = self.mlp("time_text_embed.text_embedder", pooled[0])
        total = total + self.mlp("time_text_embed.timestep_embedder", sinusoid(1000 * float(time)))
        assert guidance is not None
        return total + self.mlp("time_text_embed.guidance_embedder", sinusoid(1000 * float(guidance)))

    def run(self) -> Tensor:
        for i in range(CONFIG["num_layers"]):
            self.double(f"transformer_blocks.{i}")
        for i in range(CONFIG["num_single_layers"]):
            self.single(f"single_transformer_blocks.{i}")
        out = []
        for token in self.tokens:
            if token.span == "target":
                scale, shift = self.linear("norm_out.linear", F.silu(token.vector)).chunk(2)
                out.append(self.linear("proj_out", layer_norm(token.h) * (1 + scale) + shift))
        return torch.stack(out)

    def double(self, block: str) -> None:
        mods, qkv = [], []
        for t in self.tokens:
            norm, names = (
                "norm1_context",
                ("add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"),
            )
            if t.span != "text":
                norm, names = "norm1", ("to_q", "to_k", "to_v", "norm_q", "norm_k")
            mod = self.linear(f"{block}.{norm}.linear", F.silu(t.vector), t.adapted).chunk(6)
            x = layer_norm(t.h) * (1 + mod[1]) + mod[0]
            mods.append(mod)
            qkv.append(self.qkv(f"{block}.attn", names, x, t))
        for t, mod, a in zip(self.tokens, mods, self.attention(qkv), strict=True):
            out, ff = ("to_add_out", "ff_context") if t.span == "text" else ("to_out.0", "ff")
            t.h = t.h + mod[2] * self.linear(f"{block}.attn.{out}", a, t.adapted)
            x = layer_norm(t.h) * (1 + mod[4]) + mod[3]
            x = F.gelu(self.linear(f"{block}.{ff}.net.0.proj", x), approximate="tanh")
            t.h = t.h + mod[5] * self.linear(f"{block}.{ff}.net.2", x, t.adapted)

    def single(self, block: str) -> None:
        mods, qkv, mlps = [], [], []
        for t in self.tokens:
            mod = self.linear(f"{block}.norm.linear", F.silu(t.vector), t.adapted).chunk(3)
            x = layer_norm(t.h) * (1 + mod[1]) + mod[0]
            mods.append(mod)
            mlps.append(F.gelu(self.linear(f"{block}.proj_mlp", x, t.adapted), approximate="tanh"))
            qkv.append(self.qkv(f"{block}.attn", ("to_q", "to_k", "to_v", "norm_q", "norm_k"), x, t))
        for t, mod, mlp, a in zip(self.tokens, mods, mlps, self.attention(qkv), strict=True):
            t.h = t.h + mod[2] * self.linear(f"{block}.proj_out", torch.cat([a, mlp]), t.adapted)

    def qkv(self, attn: str, names: tuple[str, ...], x: Tensor, t: Token) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (
            self.linear(f"{attn}.{name}", x, t.adapted).view(CONFIG["num_attention_heads"], -1)
            for name in names[:3]
        )
        q, k = (rms_norm(y, self.weights[f"{attn}.{n}.weight"]) for y, n in ((q, names[3]), (k, names[4])))
        return turn(q, t), turn(k, t), v

    def attention(self, qkv: list[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
        self.queries.append([q for q, _, _ in qkv])
        self.keys.append([k for _, k, _ in qkv])
        out = []
        for token, (q, _, _) in zip(self.tokens, qkv, strict=True):
            seen = [j for j, other in enumerate(self.tokens) if token.sees(other, self.visibility)]
            keys, values = (torch.stack([qkv[j][i] for j in seen], dim=1) for i in (1, 2))  # (H, seen, D)
            weights = torch.einsum("hd,hjd->hj", q, keys).div(math.sqrt(q.shape[-1])).softmax(-1)
            out.append(torch.einsum("hj,hjd->hd", weights, values).flatten())
        return out

    def map(self, rows: list[int], columns: list[int], block: int) -> Tensor:
        """The full softmax of rows over columns, mean over heads."""
        q = torch.stack([self.queries[block][i] for i in rows], dim=1)
        k = torch.stack([self.keys[block][j] for j in columns], dim=1)
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).mean(0)

    def where(self, span: str | int) -> list[int]:
        return [i for i, token in enumerate(self.tokens) if token.span == span]


def layer_norm(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + 1e-6).sqrt()


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def sinusoid(value: float) -> Tensor:
    """In float32, as everywhere: an angle of 3500 is exact to 1e-4 only."""
    angles = torch.tensor(value) * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    return torch.cat([angles.cos(), angles.sin()])


def turn(x: Tensor, token: Token) -> Tensor:
    """Each pair of channels by its axis's position: x (H, D)."""
    out, start = x.clone(), 0
    for size, position in zip(CONFIG["axes_dims_rope"], token.position, strict=True):
        for i in range(0, size, 2):
            angle = position * token.base ** (-i / size)
            a, b = x[:, start + i], x[:, start + i + 1]
            out[:, start + i] = a * math.cos(angle) - b * math.sin(angle)
            out[:, start + i + 1] = b * math.cos(angle) + a * math.sin(angle)
        start += size
    return out


def literal(one: Inputs, sample: int = 0) -> tuple[Literal, Tensor]:
    """The literal pass of one sample, and its velocity."""
    pass_ = Literal(transformer().state_dict(), pick(one, sample))
    with torch.no_grad():
        return pass_, pass_.run()


CASES = [(v, Positions.WIDTH) for v in Visibility] + [(Visibility.RELEASE, p) for p in list(Positions)[1:]]


@pytest.mark.parametrize(("visibility", "positions"), CASES, ids=lambda value: str(value))
def test_velocity(visibility: Visibility, positions: Positions) -> None:
    """LoRA on, four references of three sizes, two samples."""
    one = inputs(layout(visibility=visibility, positions=positions))
    velocity = one.run(transformer()).velocity
    for sample in range(2):
        assert error(velocity[sample], literal(one, sample)[1]) <= 1e-5


def test_null_pooled_vector() -> None:
    one = inputs(layout())
    null = replace(one, reference_pooled=torch.zeros_like(one.pooled))
    assert error(null.run(transformer()).velocity[0], literal(null)[1]) <= 1e-5
    assert error(null.run(transformer()).velocity, one.run(transformer()).velocity) > 1e-4


def test_references_matter_and_so_does_each_visibility() -> None:
    outs = [inputs(layout(visibility=v)).run(transformer()).velocity for v in Visibility]
    outs.append(inputs(layout(())).run(transformer()).velocity)
    assert all(error(a, b) > 1e-4 for i, a in enumerate(outs) for b in outs[:i])


@pytest.mark.parametrize("blocks", ["all", "double", (1, 3)], ids=str)
def test_rows_are_those_of_the_full_softmax(blocks: object) -> None:
    one = inputs(layout())
    tokens = torch.stack([torch.randint(grid.size, (2, 6)) for grid in one.layout.references], dim=1)
    chosen = {"all": (0, 1, 2, 3), "double": (0, 1)}.get(str(blocks), blocks)
    probe = Probe(tokens=tokens, blocks=blocks, per_block=True)  # type: ignore[arg-type]
    out = replace(one, probe=probe).run(transformer())
    assert out.rows is not None and out.rows.shape == (2, 4, 6, one.layout.target.size)
    pass_, _ = literal(one)
    for k in range(4):
        queries = [pass_.where(k + 1)[int(u)] for u in tokens[0, k]]
        maps = torch.stack([pass_.map(queries, pass_.where("target"), int(b)) for b in chosen])
        assert error(out.rows[0, k], maps.mean(0)) <= 1e-5
        assert out.block_rows is not None and error(out.block_rows[:, 0, k], maps) <= 1e-5


def test_rows_of_target_tokens_over_all_references() -> None:
    one = inputs(layout())
    tokens = torch.randint(one.layout.target.size, (2, 4, 3))
    out = replace(one, probe=Probe(tokens=tokens, direction="target_to_ref")).run(transformer())
    pass_, _ = literal(one)
    columns = [i for k in (1, 2, 3, 4) for i in pass_.where(k)]
    for k in range(4):
        queries = [pass_.where("target")[int(v)] for v in tokens[0, k]]
        maps = torch.stack([pass_.map(queries, columns, b) for b in range(4)])
        assert out.rows is not None and error(out.rows[0, k], maps.mean(0)) <= 1e-5
