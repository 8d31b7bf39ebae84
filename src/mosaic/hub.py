"""Where a model's files come from: the embedded one, a folder, or the hub; and what is said where none come.

A folder in diffusers' FLUX layout is looked over before anything is loaded. Safetensors alone: what could
only be unpickled is neither fetched nor accepted.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mosaic.about import EMBEDDED

LORA_FILE = "lora.safetensors"  # a model folder's own; others beside it are lora-NAME.safetensors
COMPONENTS = {  # folder → the file that must be in it
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json",
    "text_encoder_2": "config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "transformer": "config.json",
    "vae": "config.json",
}
WEIGHTS = ("text_encoder", "text_encoder_2", "transformer", "vae")
HUB_FILES = ["model_index.json", LORA_FILE, "lora-*.safetensors", *(f"{name}/*" for name in COMPONENTS)]
PICKLED = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5", "*.onnx*"]
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
UNGATED = "embedded needs no download, ostris/Flex.1-alpha (Apache-2.0) no account"


def model_folder(model: str | Path, asked: str = "--model") -> Path:
    """The folder of a model, fetched from the hub where it is named by its id; ValueError without one.

    asked: the option or key that named it, for the messages.
    """
    if (folder := local_folder(model, asked)) is not None:
        return folder

    def fetch() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(str(model), allow_patterns=HUB_FILES, ignore_patterns=PICKLED)

    return Path(from_hub(str(model), fetch, f"{asked} {UNGATED}"))


def local_folder(model: str | Path, asked: str = "--model") -> Path | None:
    """As `model_folder`, but None for the id of a model that would have to be fetched."""
    text = str(model)
    if text == "embedded":
        if not (EMBEDDED / "model_index.json").is_file():
            raise ValueError(f"This installation has no embedded model: give {asked} a folder or a hub id.")
        return EMBEDDED
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{text} is a file, and a model is a folder in diffusers' FLUX layout.")
    if not HUB_ID.fullmatch(text):
        raise ValueError(
            f'There is no model folder {text}: give a folder, a hub id OWNER/NAME, or "embedded".'
        )
    return None


def from_hub(name: str, fetch: Callable[[], str], instead: str = f"--model {UNGATED}") -> str:
    """What `fetch` brings from the hub; ValueError that says what to do where it brings nothing.

    instead: what needs no hub, the end of each sentence.
    """
    from huggingface_hub import errors

    transport: Any = errors.HfHubHTTPError.__bases__[0]  # of the HTTP library under the hub's client
    try:
        return fetch()
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{name} is gated: accept its licence on https://huggingface.co/{name} and log in with a token "
            f"(hf auth login, or the variable HF_TOKEN); {instead}."
        ) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RemoteEntryNotFoundError,
        errors.RevisionNotFoundError,
        errors.HFValidationError,
    ) as error:
        raise ValueError(
            f"The hub shows no {name}: check the name, or log in with a token (HF_TOKEN) if it is private; "
            f"{instead}."
        ) from error
    except (errors.EntryNotFoundError, errors.OfflineModeIsEnabled, transport) as error:
        raise ValueError(
            f"{name} is not on this machine and the hub cannot be reached: check the connection (and "
            f"HF_HUB_OFFLINE), or give a folder; {instead}."
        ) from error
    except OSError as error:
        raise ValueError(f"{name} could not be stored on this machine: {error}.") from error


def check_folder(folder: Path) -> None:
    """ValueError that names the first component a model folder lacks, or what else keeps it from loading."""
    index = _json(folder / "model_index.json", f"{folder} is no model folder in diffusers' FLUX layout")
    kind = index.get("_class_name")
    if kind not in ("FluxPipeline", "MosaicPipeline"):
        raise ValueError(f"{folder} holds a {kind}, and only FLUX.1 models (FluxPipeline) are supported.")
    for name, file in COMPONENTS.items():
        if index.get(name, [None])[0] is None or not (folder / name).is_dir():
            raise ValueError(f"The model folder {folder} lacks its {name}: fetch the whole model again.")
        _json(folder / name / file, f"The model folder {folder} lacks a part of its {name}")
        if name in WEIGHTS:
            _check_weights(folder / name)


def _check_weights(folder: Path) -> None:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    wanted = {file for index in indices for file in _json(index, "")["weight_map"].values()}
    missing = sorted(file for file in wanted if not (folder / file).is_file())
    if missing:
        raise ValueError(f"The model folder lacks {folder.name}/{missing[0]}: fetch the model again.")
    if not any(folder.glob("*.safetensors")):
        pickled = next(
            (file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth")), None
        )
        found = f"only {pickled}, a pickle, which is never loaded" if pickled else "no weights"
        raise ValueError(f"{folder} has {found}: it needs .safetensors.")


def _json(path: Path, problem: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{problem}: there is no {path.name}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}): fetch it again.") from error
    return value if isinstance(value, dict) else {}
