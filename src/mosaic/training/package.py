"""Makes the model folder that ships: a trained base and its LoRAs, in bfloat16, under 30 MB.

    python -m mosaic.training.package --base runs/base/model --lora runs/lora/lora.safetensors \
        --beside isolated=runs/isolated/lora.safetensors \
        --name mosaic-tiny --size 128 --steps 20 --guidance 2.5 --commit $(git rev-parse --short HEAD) \
        --output src/mosaic/models/mosaic-tiny
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

LIMIT = 30_000_000  # bytes of a model that a package may carry


def package(
    base: Path,
    lora: Path | None,
    output: Path,
    *,
    name: str,
    commit: str,
    beside: Mapping[str, Path] | None = None,
    defaults: Mapping[str, float] | None = None,
) -> int:
    """Writes the folder, replacing what was there but its card; returns its bytes. ValueError beyond `LIMIT`.

    A LoRA's metadata, and what model_index.json says of references, get the shipped base's name in place of
    the run's own folder, and a LoRA the commit where it has none. beside: further LoRAs, each by the name
    that --lora takes. model_index.json gets the `defaults` (default_size, default_steps, default_guidance)
    the pipeline takes.
    """
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial, ignore=shutil.ignore_patterns("optimiser*", "*.partial"))
    for path in partial.rglob("*.safetensors"):
        halve(path, path, {})
    for path in partial.glob("*/config.json"):  # where it was loaded from is nobody's business
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    files = {f"lora-{other}": path for other, path in (beside or {}).items()}
    for stem, path in (files if lora is None else files | {"lora": lora}).items():
        halve(path, partial / f"{stem}.safetensors", {"base": name}, {"commit": commit})
    if (card := output / "README.md").is_file():  # its figures are a person's to renew
        shutil.copyfile(card, partial / "README.md")
    if (index := partial / "model_index.json").is_file():
        told = json.loads(index.read_text()) | dict(defaults or {})
        if "references" in told:  # of a base that was itself trained on them
            told["references"]["base"] = name
        index.write_text(json.dumps(told, indent=2) + "\n")
    size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    if size > LIMIT:
        raise ValueError(
            f"{partial} takes {size / 1e6:.1f} MB, more than the {LIMIT / 1e6:.0f} MB a package may."
        )
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)
    return size


def halve(
    source: Path, target: Path, facts: Mapping[str, str], missing: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file's floats as bfloat16, its metadata beside them.

    Of what the metadata has, `facts` replaces, and `missing` fills what is empty; no new key comes in.
    """
    with safe_open(source, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = dict(file.metadata() or {})
    told = dict(facts) | {key: value for key, value in (missing or {}).items() if not metadata.get(key)}
    known = {key: value for key, value in told.items() if key in metadata}
    save_file({k: _half(t) for k, t in tensors.items()}, target, metadata | known)


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16).contiguous() if tensor.is_floating_point() else tensor


def main() -> None:
    """The command in this file's head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=FILE", help="another LoRA")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--size", type=int, required=True, help="pixels a side")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--guidance", type=float, required=True)
    options = parser.parse_args()
    defaults = {f"default_{key}": getattr(options, key) for key in ("size", "steps", "guidance")}
    size = package(
        options.base,
        options.lora,
        options.output,
        name=options.name,
        commit=options.commit,
        beside={other: Path(file) for other, _, file in (text.partition("=") for text in options.beside)},
        defaults=defaults,
    )
    print(f"{options.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
