"""What `mosaic --version` tells: versions, the device pictures are made on, where the embedded model lies.

And the commit, for what is written to be found again.
"""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mosaic import __version__

EMBEDDED = Path(__file__).parent / "models" / "mosaic-tiny"


def about() -> str:
    """Lines of `name value`, the version first. torch is imported, for it knows the device."""
    model = EMBEDDED if (EMBEDDED / "model_index.json").is_file() else "none in this installation"
    lines = {
        "mosaic": __version__,
        "torch": _version("torch"),
        "diffusers": _version("diffusers"),
        "device": _device(),
        "model": f"embedded, {model}",
    }
    return "\n".join(f"{name} {told}" for name, told in lines.items())


def commit() -> str:
    """The commit this code is at, with a + where it was changed since; "" outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not git("ls-files", Path(__file__).name):
        return ""  # installed: a repository around it is somebody else's
    found = git("rev-parse", "--short", "HEAD")
    return found + "+" if found and git("status", "--porcelain", "--", ".") else found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _device() -> str:
    """What `--model` runs on by default."""
    try:
        import torch
    except ModuleNotFoundError:
        return "unknown without torch"
    if not torch.cuda.is_available():
        return f"cpu, {os.cpu_count()} cores"
    memory = torch.cuda.get_device_properties(0).total_memory
    return f"cuda, {torch.cuda.get_device_name(0)}, {memory / 2**30:.0f} GiB"
