"""A folder onto a hub repository: private unless it is to be open, and never open by accident."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def upload(folder: Path, target: str, *, dataset: bool, public: bool) -> str:
    """Creates the repository if need be, sends what is not there yet, then opens it; returns its address.

    ValueError if the hub refuses, cannot be reached, or has the repository open where it is to be private.
    """
    from huggingface_hub import HfApi

    kind = "dataset" if dataset else "model"
    hub = HfApi()
    with _explained(target):
        hub.create_repo(target, repo_type=kind, private=True, exist_ok=True)
        if not public and not _private(hub, target, kind):
            raise ValueError(f"{target} is open to everybody already: say --public, or take another name.")
        hub.upload_folder(repo_id=target, repo_type=kind, folder_path=folder, commit_message="mosaic publish")
        if public:
            hub.update_repo_settings(target, repo_type=kind, private=False)
    return f"{hub.endpoint}/{'datasets/' if dataset else ''}{target}"


def _private(hub: Any, target: str, kind: str) -> bool:
    return bool(hub.repo_info(target, repo_type=kind).private)


@contextmanager
def _explained(target: str) -> Iterator[None]:
    """What the hub or the line to it says, as one sentence."""
    from huggingface_hub import errors

    transport: Any = errors.HfHubHTTPError.__bases__[0]  # of the HTTP library under the hub's client
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise ValueError("The hub wants to know who publishes: log in with `hf auth login`.") from error
    except errors.HFValidationError as error:
        raise ValueError(f"{target} is no name of a repository: write it OWNER/NAME.") from error
    except errors.HfHubHTTPError as error:
        raise ValueError(_refusal(target, error)) from error
    except (errors.OfflineModeIsEnabled, transport, ConnectionError) as error:
        raise ValueError(
            f"The hub cannot be reached, so {target} was not published: check the connection and "
            "HF_HUB_OFFLINE, or write it into a folder with --folder DIR."
        ) from error


def _refusal(target: str, error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = getattr(error, "server_message", None) or f"status {status}"
    if status in (401, 403):
        return (
            f"The hub does not let you write to {target} ({said}): log in with a token that may write "
            "(hf auth login, or the variable HF_TOKEN)."
        )
    return f"The hub did not take {target} ({said}): run the same command again to go on."
