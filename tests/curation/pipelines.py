"""Tiny random FLUX pipelines as folders, loaded as a hub model would be."""

import json
from pathlib import Path

from fixtures_model import write_model


def flux(folder: Path) -> Path:
    """FluxPipeline with guidance embeddings, as FLUX.1-dev."""
    return write_model(folder, guidance_embeds=True)


def kontext(folder: Path) -> Path:
    """FluxKontextPipeline: the same parts under another name."""
    write_model(folder, guidance_embeds=True)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxKontextPipeline"}))
    return folder
