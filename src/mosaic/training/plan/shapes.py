"""What a plan is a function of: the transformer's numbers, its LoRA, one micro-step of one process.

B batch, K references, P points, S text, T target, R tokens of one reference, N = S + T, L packed length,
H heads, D head width, M = H·D model width, C channels, J text channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

DOUBLE, SINGLE = "transformer_blocks", "single_transformer_blocks"
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
CHUNK = 1 << 26  # logits of probe rows held at a time, as `mosaic.model.attention` has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """The transformer's config in letters."""

    double: int  # blocks with two streams
    single: int  # blocks with one
    heads: int
    head_width: int
    channels: int = 64  # C of a packed latent token
    text_width: int  # J
    pooled_width: int
    guidance: bool = False

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    @property
    def blocks(self) -> int:
        return self.double + self.single

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a transformer/config.json. ValueError names the key that is missing."""
        try:
            return cls(
                double=int(config["num_layers"]),
                single=int(config["num_single_layers"]),
                heads=int(config["num_attention_heads"]),
                head_width=int(config["attention_head_dim"]),
                channels=int(config["in_channels"]),
                text_width=int(config["joint_attention_dim"]),
                pooled_width=int(config["pooled_projection_dim"]),
                guidance=bool(config["guidance_embeds"]),
            )
        except KeyError as error:
            raise ValueError(f"The transformer's config lacks {error}: is it a FLUX transformer?") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """A LoRA: which linear layers it adapts, by their full names."""

    rank: int = 0
    modules: frozenset[str] = frozenset()

    def has(self, *names: str) -> int:
        """How many of these it adapts."""
        return len(self.modules & set(names))


@dataclass(frozen=True, kw_only=True, slots=True)
class Micro:
    """One forward and backward pass of one process. Without references a LoRA has no backward pass."""

    batch: int = 1
    text: int
    target: int
    references: int = 0  # K
    reference: int = 0  # R
    rows: int = 0  # probe rows of one reference: P, or R for MD over all rows; 0: no probe
    probed: frozenset[int] | None = frozenset()  # blocks whose rows are read, double blocks first; None: all
    columns: Literal["target", "references", "visible"] = "target"
    visibility: Literal["full", "release", "isolated"] = "release"
    attention: Literal["sdpa", "math"] = "sdpa"
    trains: Literal["base", "lora"] = "lora"
    checkpointing: bool = False
    dtype: Literal["float64", "float32", "bfloat16"] = "bfloat16"
    on_cpu: bool = False  # where QK-norm keeps its input in float32

    @property
    def main(self) -> int:
        """N."""
        return self.text + self.target

    @property
    def adapted(self) -> int:
        """ΣR, the tokens a LoRA acts on."""
        return self.references * self.reference

    @property
    def image(self) -> int:
        """T + ΣR."""
        return self.target + self.adapted

    @property
    def length(self) -> int:
        """L."""
        return self.main + self.adapted

    @property
    def bytes(self) -> int:
        """Of one activation."""
        return BYTES[self.dtype]

    @property
    def norm_bytes(self) -> int:
        """Of one value that QK-norm keeps for its backward pass."""
        return max(4, self.bytes) if self.on_cpu else self.bytes

    @property
    def learns(self) -> bool:
        """Whether there is a backward pass at all."""
        return self.trains == "base" or self.adapted > 0

    @property
    def dense(self) -> bool:
        """Whether everything sees everything."""
        return self.visibility == "full" or not self.references

    @property
    def row_columns(self) -> int:
        """Columns a probe row's softmax runs over."""
        if self.columns == "visible":
            return self.length
        return self.target if self.columns == "target" else self.adapted

    def is_probed(self, block: int) -> bool:
        return bool(self.rows and self.references) and (self.probed is None or block in self.probed)

    def drops_early(self, block: int, of: Backbone) -> bool:
        """Whether the target alone goes on: after the last block, where no LoRA waits for its gradient."""
        return self.trains == "base" and self.references > 0 and block == of.blocks - 1 and of.single > 0

    def main_pairs(self, final: bool = False) -> int:
        """Query–key pairs of the attention call of text and target (of everything, where dense)."""
        queries = self.target if final else self.length if self.dense else self.main
        return queries * self.length

    def reference_pairs(self, final: bool = False) -> int:
        """Pairs of the references' own short attentions."""
        if self.dense or final:
            return 0
        return self.adapted * (self.reference + (self.main if self.visibility == "release" else 0))


def starts(of: Backbone, adapter: Adapter, micro: Micro) -> int:
    """The first block whose input has a gradient: −1 where the embedding already has one."""
    if micro.trains == "base" or "x_embedder" in adapter.modules:
        return -1
    found = [i for i in range(of.blocks) if any(name.startswith(prefix(i, of)) for name in adapter.modules)]
    return min(found, default=of.blocks)


def prefix(block: int, of: Backbone) -> str:
    """What the names of a block's layers begin with."""
    return f"{DOUBLE}.{block}." if block < of.double else f"{SINGLE}.{block - of.double}."
