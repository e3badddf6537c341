"""Where an OpenAI-compatible server is, and the key for it: from settings and the environment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from dreamprm.config.errors import UserError

HOSTED = "https://api.openai.com/v1"

NO_KEY = "EMPTY"
"""Sent as key where none is set: servers of one's own ignore it, the client library insists on one."""


def api_address(base_url: str | None) -> str:
    """The API's address: as given, else the environment variable OPENAI_BASE_URL, else OpenAI's own.

    Raises:
        UserError: no http address, or one with user, password or query: those would put a secret into files
            and messages.
    """
    address = base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # unbalanced brackets, as in http://[::1/v1
        raise UserError(
            "openai generator: base_url is no address; give one like http://localhost:8000/v1"
        ) from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            "openai generator: base_url must hold no user, password or query; a key belongs into "
            "the environment variable that api_key_env names"
        )
    if not valid:
        raise UserError(f"openai generator: base_url must be like http://localhost:8000/v1, got {address!r}")
    return address


def is_hosted(address: str) -> bool:
    """Whether an address is OpenAI's own."""
    return urlsplit(address).hostname == urlsplit(HOSTED).hostname


def read_key(variable: str, address: str) -> str:
    """The key for an address from an environment variable; `NO_KEY` where it is not set.

    Raises:
        UserError: no key for OpenAI's own address, or one that cannot be a key. The message does not show it.
    """
    key = os.environ.get(variable, "")
    if not key:
        if is_hosted(address):
            raise UserError(
                f"{address} needs a key: set the environment variable {variable}, or give "
                "base_url for another server"
            )
        return NO_KEY
    # Nothing else can be sent in a header, and the HTTP library's message would show the key.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"the key in the environment variable {variable} holds white space or characters "
            "that no key has; set it without them"
        )
    return key
