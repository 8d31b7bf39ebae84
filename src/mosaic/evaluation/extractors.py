"""Which model plays which role: by hub id or path, chosen on the command line, loaded when first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from mosaic import __version__
from mosaic.evaluation.features import Extractor

NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a role needs: its parts with their published models, the first one the main part."""

    parts: Mapping[str, str]  # part → hub id or file; "" where nothing is published that can be had by id
    make: Callable[[Mapping[str, str], str | None], Extractor]  # parts, device (None: a GPU if there is one)
    asked: bool = False  # only where it is asked for: a model of billions of weights


def _by(module: str, maker: str) -> Callable[[Mapping[str, str], str | None], Extractor]:
    """The function `maker` of metrics/`module`.py, imported when it is needed: torch comes with it."""

    def make(parts: Mapping[str, str], device: str | None) -> Extractor:
        made: Extractor = getattr(import_module(f"mosaic.evaluation.metrics.{module}"), maker)(parts, device)
        return made

    return make


DINO = "facebook/dino-vits16"
AESTHETIC_HEAD = (
    "https://github.com/discus0434/aesthetic-predictor-v2-5/raw/main/models/aesthetic_predictor_v2_5.pth"
)
ROLES: dict[str, Role] = {
    "clip": Role(parts={"model": "openai/clip-vit-base-patch32"}, make=_by("similarity", "load_clip")),
    "dino": Role(parts={"model": DINO}, make=_by("similarity", "load_dino")),
    "dinov2": Role(parts={"model": "facebook/dinov2-base"}, make=_by("similarity", "load_dino")),
    "aesthetic": Role(
        parts={"head": AESTHETIC_HEAD, "backbone": "google/siglip-so400m-patch14-384"},
        make=_by("aesthetic", "load_aesthetic"),
    ),
    "hps": Role(
        parts={"weights": "MizzenAI/HPSv3", "base": "Qwen/Qwen2-VL-7B-Instruct"},
        make=_by("preference", "load_hps"),
        asked=True,
    ),
    "reward": Role(
        parts={"model": "CodeGoat24/UnifiedReward-qwen-7b"},
        make=_by("preference", "load_reward"),
        asked=True,
    ),
    # the published one, mPLUG, comes with ModelScope alone
    "questions": Role(parts={"model": ""}, make=_by("questions", "load_questions")),
    # XVerseBench's: facer's RetinaFace, which cannot live here, and model_ir_se50.pth, which no hub id has
    "faces": Role(parts={"embedder": "", "detector": ""}, make=_by("faces", "load_faces")),
    "instances": Role(
        parts={
            "detector": "florence-community/Florence-2-large",
            "masker": "facebook/sam2.1-hiera-large",
            "encoder": DINO,
        },
        make=_by("instances", "load_instances"),
    ),
    "crops": Role(
        parts={"detector": "IDEA-Research/grounding-dino-tiny", "encoder": DINO},
        make=_by("cropped", "load_crops"),
    ),
    "toys": Role(parts={"instruments": "v2"}, make=_by("toys", "load_toys")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """The models chosen for the roles of one evaluation."""

    chosen: Mapping[str, Mapping[str, str]]  # role → part → where; a role left out is not there
    device: str | None = None

    def load(self, role: str) -> Extractor:
        """ValueError in one sentence if it cannot be."""
        return ROLES[role].make(self.chosen[role], self.device)

    def __contains__(self, role: str) -> bool:
        return role in self.chosen

    def name(self, role: str) -> str:
        """Of the role's models, the published ones left unsaid unless all are."""
        parts, given = ROLES[role].parts, self.chosen[role]
        other = [short(given[part]) for part in parts if given[part] != parts[part]]
        return " + ".join(other) if other else " + ".join(parts.values())

    def official(self, role: str) -> bool:
        """Whether every part is the published model."""
        return all(self.chosen[role][part] == where and where for part, where in ROLES[role].parts.items())

    def fingerprint(self, role: str) -> str:
        """Under which features are kept: its models, by content where they are at hand, and the device."""
        from mosaic.perception.loading import device_of

        parts = [f"{part} {content(where)}" for part, where in self.chosen[role].items()]
        return ", ".join([f"mosaic {__version__}", device_of(self.device).type, *parts])


def short(where: str) -> str:
    """A folder's or file's last part; the model of an endpoint, URL#MODEL; a hub id as it is."""
    if "://" in where:
        address, _, model = where.partition("#")
        return model or address.rpartition("/")[2]
    path = Path(where).expanduser()
    return path.name if path.exists() else where


@cache
def content(where: str) -> str:
    """A hash of the file, or of the files of a folder; a hub id as it is."""
    from mosaic.pipeline.loading import sampled_hash

    path = Path(where).expanduser()
    if not path.exists():
        return where
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    lines = "".join(f"{file.relative_to(path)} {sampled_hash(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def scorers_of(given: Iterable[str], device: str | None = None) -> Scorers:
    """From ROLE=AT or ROLE.PART=AT; AT `none` leaves the role out. ValueError names the known ones."""
    chosen = {role: dict(one.parts) for role, one in ROLES.items() if not one.asked}
    for text in given:
        name, _, at = text.partition("=")
        role, _, part = name.partition(".")
        if role not in ROLES or not at:
            raise ValueError(f"--scorer {text} is not ROLE=MODEL: a role is one of {', '.join(ROLES)}.")
        parts = ROLES[role].parts
        part = part or next(iter(parts))
        if part not in parts:
            raise ValueError(f"--scorer {text}: {role} has the parts {', '.join(parts)}.")
        if at == NONE:
            chosen.pop(role, None)
        else:
            chosen.setdefault(role, dict(parts))[part] = at
    return Scorers(chosen=chosen, device=device)


def absence(role: str) -> str:
    """Why a role has no scorer."""
    if ROLES[role].asked:
        part, where = next(iter(ROLES[role].parts.items()))
        return f"made where it is asked for, with --scorer {role}={where or part.upper()}"
    return f"left out with --scorer {role}=none"
