"""Text embeddings on disk, by caption: frozen encoders answer each caption once, and may leave the memory.

S text tokens, J text channels, Pd pooled channels. A file holds T5 tokens (S, J) and the pooled vector (Pd).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Encode = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
IDLE = 64  # batches in a row without a new caption, after which the encoders are let go


class TextCache:
    """Called as the encoders are: captions → tokens (B, S, J), pooled (B, Pd), on the encoders' device.

    `load` brings the encoders; it is called when a caption is new. `model` tells models apart in one folder.
    """

    def __init__(self, folder: Path, model: str, device: torch.device, load: Callable[[], Encode]) -> None:
        self.folder, self.model, self.device, self.load = Path(folder), model, device, load
        self.encoders: Encode | None = None
        self.idle = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.idle = 0 if self.fill(captions) else self.idle + 1
        if self.idle >= IDLE:
            self.release()
        found = [load_file(self.path(caption), device=str(self.device)) for caption in captions]
        return torch.stack([one["tokens"] for one in found]), torch.stack([one["pooled"] for one in found])

    def fill(self, captions: Iterable[str]) -> int:
        """Encode the captions that are not there yet, one by one; how many these were."""
        new = [caption for caption in dict.fromkeys(captions) if not self.path(caption).exists()]
        for caption in new:
            self.encoders = self.encoders or self.load()
            with torch.no_grad():
                tokens, pooled = self.encoders([caption])
            path = self.path(caption)
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            save_file({"tokens": tokens[0].contiguous(), "pooled": pooled[0].contiguous()}, partial)
            partial.replace(path)
        return len(new)

    def release(self) -> None:
        """Let the encoders go; the next new caption brings them back."""
        if self.encoders is not None:
            self.encoders = None
            torch.cuda.empty_cache()

    def path(self, caption: str) -> Path:
        """The file of a caption."""
        return self.folder / f"{hashlib.sha256(f'{self.model}:{caption}'.encode()).hexdigest()}.safetensors"


def encoder_key(folder: Path, parts: Sequence[str], dtype: torch.dtype) -> str:
    """Tells a folder's parts apart: names, sizes, first and last mebibyte of their files, and the dtype."""
    digest = hashlib.sha256(str(dtype).encode())
    for file in sorted(f for part in parts for f in (folder / part).iterdir() if f.is_file()):
        digest.update(f"{file.parent.name}/{file.name} {file.stat().st_size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 20))
            stream.seek(max(0, file.stat().st_size - (1 << 20)))
            digest.update(stream.read())
    return digest.hexdigest()[:16]
