"""`dreamprm serve`: loads a PRM and answers requests until it is told to stop."""

from __future__ import annotations

import importlib.util
import os
import socket

from dreamprm.client import TOKEN_VARIABLE
from dreamprm.config.errors import UserError
from dreamprm.runtime.process import prepare_process
from dreamprm.scorers.base import StepScorer
from dreamprm.scorers.local import LocalScorer
from dreamprm.scorers.opening import open_scorer, scorer_name
from dreamprm.serving.settings import ServeConfig


def run_serve(config: ServeConfig) -> None:
    """Serve until SIGTERM or Ctrl-C; then answer what was accepted, and return.

    Raises:
        UserError: a package is missing, the address cannot be had, there is no such model, or the token
            cannot be used.
    """
    missing = [
        name for name in ("fastapi", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise UserError(f"serve needs {', '.join(missing)}: pip install 'dreamprm[serve]'")
    token = read_token(config)
    listening = bound_socket(config.host, config.port)
    try:
        prepare_process(config.threads)
        scorer = open_scorer(config)
        if isinstance(scorer, LocalScorer) and scorer.changed is not None:
            raise UserError(scorer.changed)
        _serve(scorer, config, listening, token)
    finally:
        listening.close()


def read_token(config: ServeConfig) -> str | None:
    """The token that requests must bring; None if there is none.

    Raises:
        UserError: a variable was named that is not set, or the token cannot be sent in a header.
    """
    token = os.environ.get(config.token_env, "")
    if not token:
        if config.token_env != TOKEN_VARIABLE or config.token_env in os.environ:
            raise UserError(f"the environment variable {config.token_env} (token_env) is not set, or empty")
        return None
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError(
            f"the token in {config.token_env} contains white space or characters that no header can hold"
        )
    return token


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket on the address, which does not listen yet: clients are refused until the model is loaded.

    Raises:
        UserError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"cannot listen on host={host} port={port}: {error}; choose another port (0: a free one)"
        ) from error
    return made


def _serve(scorer: StepScorer, config: ServeConfig, listening: socket.socket, token: str | None) -> None:
    from dreamprm.serving.app import Service
    from dreamprm.serving.graceful import Server

    service = Service(scorer, config, name=scorer_name(config, config.name), token=token)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    _say(
        f"serving {service.served.model} on http://{shown}:{port}: POST /v1/score, /pooling, /get_reward; "
        "GET /v1/models, /health, /metrics"
    )
    if token is None:
        more = "" if host in ("127.0.0.1", "::1") else "; this address may be reached from other machines"
        _say(f"no token is asked for, as {config.token_env} is not set{more}")
    server = Server(service, stop_seconds=config.stop_seconds, say=_say)
    server.serve_on(listening)
    _say(f"stopped; {service.answered:,} requests were answered with scores")


def _say(line: str) -> None:
    print(line, flush=True)
