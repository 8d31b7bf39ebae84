"""What one piece takes, and where the figure is from. Seconds of one GPU, or of one core.

L tokens of a pass, M width. A piece is what a line of the plan counts: a picture, a view, a reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TOKEN = 16  # pixels a side
TEXT = 512  # tokens, where the recipe's arguments have no max_sequence_length
H100 = 989.0  # dense bfloat16 TFLOP/s by its data sheet, which the assumed seconds are for


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device, and the share of its peak that is reached: its rate for matrix products."""

    name: str
    peak: float  # dense bfloat16 TFLOP/s
    utilisation: float

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise ValueError(
                f"--utilisation is a share of the peak rate, above 0 and at most 1, not {self.utilisation}."
            )

    @property
    def rate(self) -> float:
        """TFLOP/s."""
        return self.peak * self.utilisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Seconds a piece; None: nobody told."""

    seconds: float | None
    on: str  # "GPU" or "core"
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a diffusion transformer: passes is 2 where guidance takes a second one."""

    width: int
    blocks: int
    passes: int = 1

    def step(self, tokens: int) -> float:
        """TFLOP of a step: 24 M² a token in each block's layers, 4 M L² in its attention."""
        layers, attention = 24 * self.width**2 * tokens, 4 * self.width * tokens**2
        return self.passes * self.blocks * (layers + attention) / 1e12


FLUX = Shape(width=3072, blocks=57)
QWEN = Shape(width=3072, blocks=60, passes=2)
SHAPES: Mapping[str, Shape] = {
    "black-forest-labs/FLUX.1-dev": FLUX,
    "black-forest-labs/FLUX.1-Kontext-dev": FLUX,
    "black-forest-labs/FLUX.1-schnell": FLUX,
    "black-forest-labs/FLUX.2-klein-4B": Shape(width=3072, blocks=25),
    "Qwen/Qwen-Image": QWEN,
    "Qwen/Qwen-Image-Edit-2509": QWEN,
}

# seconds of an H100 a piece, none of them measured here
ASSUMED: Mapping[str, float] = {
    "aesthetic": 0.01,
    "question": 0.09,  # of a vision-language model of 8 B parameters
    "phrase": 0.06,  # Grounding DINO
    "masks": 0.05,  # SAM 2, of one picture
    "encoder": 0.01,  # DINOv2, of one reference
    "sd": 0.035,  # a draw of DIFT at 768 pixels, of a reference and its target
    "dino": 0.07,  # at 840 pixels, of both
    "diy-sc": 0.07,
}
# seconds of a core (Zen 4 at 2.6 GHz, one thread, a busy machine), a piece or a pixel of a piece
MEASURED: Mapping[str, float] = {
    "prompts toybox": 0.016,
    "prompts": 0.0008,
    "paint pixel": 2.0e-6,
    "judge pixel": 1.0e-7,
    "segment": 0.02,
    "refer pixel": 2.4e-6,
    "correspond": 0.02,
    "gradients": 0.2,
    "embedded": 0.7,
    "pack": 0.007,
}
MADE_HERE = "measured, one Zen 4 core"


def diffusion(model: str, tokens: int, steps: int, gpu: Gpu) -> Rate:
    """Of one picture of `steps` steps."""
    if model not in SHAPES:
        return Rate(seconds=None, on="GPU", how=f"not known for {model or 'a model without a name'}")
    step = SHAPES[model].step(tokens)
    how = f"derived: {steps} steps of {step:.1f} TFLOP ({tokens} tokens) at {gpu.utilisation:.0%} of the peak"
    return Rate(seconds=step * steps / gpu.rate, on="GPU", how=how)


def assumed(gpu: Gpu, times: Mapping[str, float]) -> Rate:
    """The sum of `times` of the assumed pieces, scaled by the peaks from an H100 to another GPU."""
    seconds = sum(ASSUMED[piece] * count for piece, count in times.items()) * H100 / gpu.peak
    told = " + ".join(f"{count:g} × {1000 * ASSUMED[piece]:g} ms {piece}" for piece, count in times.items())
    scaled = "" if gpu.peak == H100 else ", of an H100, scaled by the peaks"
    return Rate(seconds=seconds, on="GPU", how=f"assumed: {told}{scaled}")


def measured(piece: str, times: float = 1) -> Rate:
    """On a core here."""
    return Rate(seconds=MEASURED[piece] * times, on="core", how=MADE_HERE)
