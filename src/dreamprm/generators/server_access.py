"""Where an OpenAI-compatible server is and what opens it: its address, and a key that no file holds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from dreamprm.config.errors import UserError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SECRET = re.compile(r"api[-_]?key|authorization|bearer|password|secret|access[-_]?token", re.IGNORECASE)


def require_no_key(variable: str, fields: Mapping[str, Any]) -> None:
    """Check that no setting holds a key itself, which would be stored in every configuration file.

    Args:
        variable: the setting `api_key_env`.
        fields: the setting `extra_body`.

    Raises:
        UserError: without showing what was given.
    """
    # Names of variables are words; keys are long, with digits and letters of both cases, or many digits.
    digits, mixed = sum(map(str.isdigit, variable)), variable not in (variable.lower(), variable.upper())
    random = len(variable) >= 24 and digits >= (1 if mixed else 4) and variable not in os.environ
    if not _VARIABLE.fullmatch(variable) or random:
        raise UserError(
            "openai generator: api_key_env must be the name of an environment variable, such as "
            "OPENAI_API_KEY; what was given looks like a key itself, which no file may hold (not shown here)"
        )
    waiting: list[Any] = [fields]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            found = next((name for name in part if _SECRET.search(str(name))), None)
            if found is not None:
                raise UserError(
                    f"openai generator: extra_body must not hold {found!r}: it would be stored in files; "
                    "set the environment variable that api_key_env names"
                )
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


HOSTED = "https://api.openai.com/v1"

NO_KEY = "EMPTY"
"""Sent as the key if none is set: self-hosted servers ignore it, but the client library requires one."""


def api_address(base_url: str | None) -> str:
    """The API's address: as given, or the environment variable OPENAI_BASE_URL, or OpenAI's
    own.

    Raises:
        UserError: it is not an http address, or it has a user, password or query, which would put a secret
            into files and messages.
    """
    address = base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # unbalanced brackets, as in http://[::1/v1
        raise UserError(
            "openai generator: base_url is not a valid address; give one like http://localhost:8000/v1"
        ) from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            "openai generator: base_url must not contain a user, password or query; a key belongs in "
            "the environment variable that api_key_env names"
        )
    if not valid:
        raise UserError(f"openai generator: base_url must be like http://localhost:8000/v1, got {address!r}")
    return address


def is_hosted(address: str) -> bool:
    """Whether an address is OpenAI's own."""
    return urlsplit(address).hostname == urlsplit(HOSTED).hostname


def read_key(variable: str, address: str) -> str:
    """The key for an address, from an environment variable; `NO_KEY` if it is not set.

    Raises:
        UserError: no key for OpenAI's own address, or a malformed one. The message does not show
            it.
    """
    key = os.environ.get(variable, "")
    if not key:
        if is_hosted(address):
            raise UserError(
                f"{address} needs a key: set the environment variable {variable}, or give "
                "base_url for another server"
            )
        return NO_KEY
    # Such characters cannot be sent in a header, and the HTTP library's error message would show the key.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"the key in the environment variable {variable} contains white space or characters "
            "that cannot be part of a key; set it without them"
        )
    return key
