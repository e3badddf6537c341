"""A real browser for the tests of pages: headless, without network, spoken to over a pipe.

It speaks Chromium's DevTools protocol (https://chromedevtools.github.io/devtools-protocol/): JSON messages,
each ended by a NUL byte, read by the browser on file descriptor 3 and written on 4. Unlike `--dump-dom` and
`--screenshot`, this gives windows narrower than 500 pixels, the level of console messages and every request,
and one start serves any number of pages.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

VARIABLE = "DREAMPRM_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_TALLEST = 12_000  # pixels of a screenshot; more than 16384 cannot be drawn at once
_CLOSING = 5.0  # seconds

# Moves the two pipe ends to 3 and 4, where the browser looks for them, then becomes the browser. They are
# first copied to higher numbers, since one may stand where the other is to go.
_LAUNCH = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]\n"
    "os.dup2(ends[0], 3)\n"
    "os.dup2(ends[1], 4)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


def find_browser() -> str | None:
    """The path of a browser: that of DREAMPRM_BROWSER, else the first of NAMES; None where there is none.

    Raises: FileNotFoundError where DREAMPRM_BROWSER names no program.
    """
    given = os.environ.get(VARIABLE)
    if given:
        found = shutil.which(given)
        if found is None:
            raise FileNotFoundError(f"{VARIABLE} must name a program, got {given!r}")
        return found
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Opened:
    """What a page was in the browser.

    Attributes:
        found: the value of the probe.
        messages: warnings and errors of the console, uncaught exceptions among them.
        requests: what the page asked for beside itself; data: addresses need no request.
        screenshot: the whole page, or its first 12000 pixels.
    """

    found: Any
    messages: tuple[str, ...]
    requests: tuple[str, ...]
    screenshot: Image.Image


@contextmanager
def browser(folder: Path, *, seconds: float = 60.0) -> Iterator[Browser]:
    """A running browser with a profile of its own below `folder`; all its processes end with the block.

    Args: seconds: the longest that it may take to answer.
    Raises: FileNotFoundError where there is none (`find_browser`).
    """
    program = find_browser()
    if program is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is a program; set {VARIABLE}")
    command = [
        program,
        "--headless=new",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-extensions",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-pipe",
    ]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # refused to root otherwise; the pages are our own
    with (folder / "browser.log").open("wb") as log:
        read_end, commands = os.pipe()
        answers, write_end = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(read_end), str(write_end), *command],
            pass_fds=(read_end, write_end),
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
        os.close(read_end)
        os.close(write_end)
        running = Browser(commands, answers, folder / "browser.log", seconds)
        try:
            yield running
            running.call("Browser.close")
            process.wait(_CLOSING)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has closed, with all that it started
                pass
            process.wait(_CLOSING)
            os.close(commands)
            os.close(answers)


class Browser:
    """A running browser; made by `browser`.

    Args: commands, answers: our ends of the pipes; log: what it writes to its console; seconds: the longest
        that an answer may take.
    """

    def __init__(self, commands: int, answers: int, log: Path, seconds: float) -> None:
        self._commands, self._answers, self._log, self._seconds = commands, answers, log, seconds
        self._pending = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def opened(
        self,
        page: Path,
        *,
        width: int,
        height: int = 900,
        scheme: str = "light",
        media: str = "screen",
        probe: str = "null",
        keys: Sequence[str] = (),
    ) -> Opened:
        """Load a page in a window of its own, press keys, run the probe, and take a screenshot.

        Args:
            page: an HTML file.
            width, height: of the window in pixels.
            scheme: "light" or "dark", what the page is told that its reader prefers.
            media: "screen" or "print".
            probe: a JavaScript expression; its value, or what its promise gives, must be JSON.
            keys: pressed one after another, such as "Tab".

        Raises: RuntimeError where the page cannot be loaded or the probe throws; TimeoutError.
        """
        self._events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            session,
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        address = page.resolve().as_uri()
        gone = self.call("Page.navigate", session, url=address)
        if "errorText" in gone:
            raise RuntimeError(f"{address} did not load: {gone['errorText']}")
        self._wait_for("Page.loadEventFired")
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    session,
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode={"Tab": 9}.get(key, 0),
                )
        found = self._value(session, probe)
        screenshot = self._screenshot(session, width)
        events = list(self._events)
        self.call("Target.closeTarget", targetId=target)
        return Opened(found, tuple(_messages(events)), tuple(_requests(events, address)), screenshot)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol.

        Raises: RuntimeError with the browser's message where it refuses; TimeoutError.
        """
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        os.write(
            self._commands,
            json.dumps(message if session is None else message | {"sessionId": session}).encode() + b"\0",
        )
        while (answer := self._next()).get("id") != number:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + self._seconds
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the browser did not answer in {self._seconds:g} s{self._said()}")
            more = os.read(self._answers, 1 << 20)
            if not more:
                raise RuntimeError(f"the browser has ended{self._said()}")
            self._pending += more
        message, self._pending = self._pending.split(b"\0", 1)
        return dict(json.loads(message))

    def _said(self) -> str:
        return f"; it wrote: {self._log.read_text(errors='replace')[-2000:]}"

    def _wait_for(self, event: str) -> None:
        while not any(one.get("method") == event for one in self._events):
            self._events.append(self._next())

    def _value(self, session: str, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"the probe failed: {_thrown(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def _screenshot(self, session: str, width: int) -> Image.Image:
        size = self.call("Page.getLayoutMetrics", session)["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], _TALLEST), "scale": 1}
        answer = self.call(
            "Page.captureScreenshot", session, format="png", captureBeyondViewport=True, clip=clip
        )
        return Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")


def _thrown(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])


def _messages(events: Sequence[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        held = event["params"]
        match event["method"]:
            case "Runtime.exceptionThrown":
                yield f"exception: {_thrown(held['exceptionDetails'])}"
            case "Log.entryAdded" if held["entry"]["level"] in ("warning", "error"):
                entry = held["entry"]
                yield f"{entry['level']}: {entry['text']} {entry.get('url', '')}".rstrip()
            case "Runtime.consoleAPICalled" if held["type"] in ("warning", "error", "assert"):
                words = (str(one.get("value", one.get("description"))) for one in held["args"])
                yield f"{held['type']}: {' '.join(words)}"


def _requests(events: Sequence[dict[str, Any]], page: str) -> Iterator[str]:
    for event in events:
        if event["method"] == "Network.requestWillBeSent":
            address = event["params"]["request"]["url"]
            if address.partition("#")[0] != page and not address.startswith("data:"):
                yield address
