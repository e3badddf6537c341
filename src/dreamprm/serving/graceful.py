"""uvicorn around a service, and how it stops: new requests are refused, accepted ones answered."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from dreamprm.serving.app import Service

_KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A server whose first SIGTERM or Ctrl-C lets it finish what it has accepted; the second ends it at once.

    Args:
        service: what answers.
        stop_seconds: how long it may go on after it was told to stop.
        say: receives a line when it is told to stop.
    """

    def __init__(
        self, service: Service, *, stop_seconds: float, say: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                service.app(),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(stop_seconds)),
            )
        )
        self._service, self._say = service, say
        self._again: int | None = None

    def serve_on(self, listening: socket.socket) -> None:
        """Listen on a bound socket and serve until told to stop; blocks.

        Raises:
            KeyboardInterrupt: a second signal came.
        """
        try:
            self.run(sockets=[listening])
        finally:
            self._service.close()
        if self._again is not None:
            signal.raise_signal(self._again)

    def tell(self) -> None:
        """Tell it to stop, from any thread."""
        self._service.stop()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while it serves. One that the process was started to ignore stays ignored, and
        the process is not ended by a signal that it has obeyed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: finish; the next: end."""
        del frame
        if self.should_exit:
            self._again, self.force_exit = sig, True
            return
        self._say("stopping: requests that were accepted are answered, new ones refused")
        self.tell()
