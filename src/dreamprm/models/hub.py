"""A saved PRM on a model hub: its folder, with the card, as one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError


def check_repository(name: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        ValueError: naming it.
    """
    from huggingface_hub.errors import HFValidationError  # `--help` does without
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"push_to_hub={name!r} is no repository, such as USER/NAME: {error}") from None


def require_login(name: str, *, api: Any = None) -> None:
    """Refuse to begin hours of work whose result could not be uploaded.

    Raises:
        UserError: nobody is logged in, or the hub cannot be reached.
    """
    try:
        (api or _client()).whoami()
    except Exception as error:  # its own kinds, and those of whichever HTTP library it uses
        raise UserError(
            f"push_to_hub={name}: {first_line(error)}. Log in with `hf auth login` (or set HF_TOKEN), or "
            "leave push_to_hub out and upload the model later"
        ) from error


def push(folder: str | Path, name: str, *, private: bool = True, api: Any = None) -> str:
    """Upload a saved PRM, into a repository that is made if there is none; returns its address.

    Raises:
        UserError: it was refused or the connection failed; the folder stays as it is.
    """
    api, message = api or _client(), "Add a PRM trained by dreamprm"
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder), commit_message=message)
    except Exception as error:
        raise UserError(
            f"the model is saved in {folder}, but could not be uploaded to {name}: {first_line(error)}. "
            f"`hf upload {name} {folder}` uploads it"
        ) from error
    return str(address)


def _client() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def first_line(error: Exception) -> str:
    """What an error says, without what follows: headers and links of a request."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
