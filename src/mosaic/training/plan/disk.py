"""What a run writes, by part: bytes.

K references, n trained parameters. Latents are bfloat16, at an eighth of the pixels' side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic.training.plan.memory import Encoder, Model
from mosaic.training.plan.shapes import BYTES

RECORD = 2_000  # of one log: a line of JSON and the events of TensorBoard
CAPTIONS = 400  # two captions of a sample
SCENES = 4  # pictures of one sheet
PIXEL = 2.0  # bytes of a pixel as PNG, in the folder and in TensorBoard


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """What a recipe says of its files."""

    trains: str
    dtype: str
    samples: Mapping[int, int]  # samples cached for each K
    size: int  # pixels, a side of the target
    reference_size: int
    points: int  # stored for each reference
    steps: int
    checkpoint: int
    keep: int
    log: int
    pictures: int
    average: bool = True
    eight_bit: bool = False
    captions: int = 0  # different ones whose embeddings are cached
    makes_base: bool = False  # a new base is written first


def disk(model: Model, writing: Writing) -> dict[str, float]:
    """Bytes by part."""
    weights = BYTES[writing.dtype]
    trained = model.trained(writing.trains)
    return {
        "latents": sum(
            count * sample_bytes(k, writing, model.backbone.channels) for k, count in writing.samples.items()
        ),
        "text embeddings": writing.captions * embedding_bytes(model.text, weights),
        "new base": (model.base + model.text_parameters + model.autoencoder) * 4.0 * writing.makes_base,
        # one more while the newest is written
        "checkpoints": (writing.keep + 1) * checkpoint_bytes(trained, writing),
        "final weights": _final(model, writing) * weights,
        "pictures": _sheets(writing) * sheet_bytes(writing),
        "log": writing.steps / writing.log * RECORD,
    }


def sample_bytes(subjects: int, writing: Writing, channels: int) -> float:
    """Latents, points and captions of one sample; channels: of a token."""
    latents = latent_bytes(subjects, writing.size, writing.reference_size, channels)
    return latents + subjects * writing.points * (4 + 4 + 1) + CAPTIONS


def latent_bytes(subjects: int, size: int, reference_size: int, channels: int) -> int:
    """Of a target and its references; channels: of a token, which holds four latents."""
    return channels // 4 * 2 * ((size // 8) ** 2 + subjects * (reference_size // 8) ** 2)


def checkpoint_bytes(trained: int, writing: Writing) -> float:
    """Masters, two moments, the average."""
    full = max(4, BYTES[writing.dtype])
    moments = 2 * (1 + 4 / 256) if writing.eight_bit else 2 * full
    return trained * (full + moments + full * writing.average)


def embedding_bytes(text: tuple[Encoder, ...], weights: int) -> float:
    """Tokens of the first encoder, one vector of the others."""
    if not text:
        return 0
    return weights * (text[0].tokens * text[0].width + sum(encoder.width for encoder in text[1:]))


def sheet_bytes(writing: Writing) -> float:
    """A row a scene: references, truth, result."""
    columns = max(writing.samples, default=1) + 2
    return 2 * PIXEL * SCENES * columns * writing.size**2


def _sheets(writing: Writing) -> int:
    return writing.steps // writing.pictures if writing.pictures else 0


def _final(model: Model, writing: Writing) -> int:
    """The LoRA; of a whole model two, while the newer is written."""
    if writing.trains == "lora":
        return model.lora
    return 2 * (model.base + model.text_parameters + model.autoencoder)
