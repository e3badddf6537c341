"""Mathematical expressions, compared by math-verify in a process that can be killed."""

from __future__ import annotations

import importlib.util
import json
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from dreamprm.answers.base import Checker, Judgement, read_stated
from dreamprm.answers.numeric import read_number
from dreamprm.answers.plain import plain
from dreamprm.answers.quantity import DENIED, read_quantity
from dreamprm.answers.units import canonical_unit, converted
from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.data.records import QuestionRecord
from dreamprm.responses import Stated

_LONGEST = 400
"""Longer answers are prose, or would exceed the time limit in parsing."""

_KEPT_REPLIES = 4096

_START_SECONDS = 120.0
"""How long a worker may take to import sympy on a busy machine."""


def timeout_setting() -> Any:
    """The declaration of `SymbolicChecker.timeout`, shared with the checker that passes it on."""
    return setting(5.0, "seconds for one comparison of expressions; after that it is undecided", above=0)


@dataclass
class SymbolicChecker(Checker):
    """Right if the two expressions are equal: `\\frac{\\sqrt2}{2}` equals `1/\\sqrt{2}`.

    Use it for expressions, tuples, sets, intervals and equations. The comparison is done by math-verify
    (github.com/huggingface/Math-Verify, based on sympy). Exact numbers must be equal; of two of which one is
    written with decimals, the difference may be 1e-6 of their size (math-verify's six decimals alone would
    take 1/20! for 1/21!). An exact number that rounds to a decimal reference (`\\pi` and 3.14) is undecided.
    One worker process serves all calls, one at a time (calls from several threads wait for each other); it
    starts with the first call (about half a second) and is replaced after a comparison that ended it. Such
    comparisons are undecided, and so are answers that are words or that math-verify cannot read. In a
    sentence, the formula that ends it after "is" is compared ("The length is 6\\sqrt{2}").

    Attributes:
        timeout: seconds for one comparison, > 0; after that the worker is killed.
        memory_mb: limit of the worker's address space in MiB, >= 512, if the system supports it (Linux); 0:
            no limit.

    Raises:
        UserError: math-verify is not installed, or a setting is out of range.
    """

    timeout: float = timeout_setting()
    memory_mb: int = setting(
        2048, "limit of the worker's address space in MiB, >= 512 (on Linux); 0: no limit", minimum=0
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    _worker: _Worker | None = field(default=None, init=False, repr=False, compare=False)
    # Many candidates of a question state the same answer. A reply that the worker died of is not kept.
    _replies: OrderedDict[tuple[str, str], dict[str, Any]] = field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.memory_mb != 0 and self.memory_mb < 512:
            raise UserError(
                f"memory_mb must be 0 (no limit) or >= 512, got {self.memory_mb}; sympy alone needs about 200"
            )
        if not installed():
            raise UserError(
                "symbolic answers need math-verify: pip install 'dreamprm[math]', or choose another checker"
            )

    def check(self, response: str, question: QuestionRecord) -> Judgement:
        """Judge by mathematical equality; `extracted` is the answer as written."""
        stated = read_stated(response)
        if isinstance(stated, Judgement):
            return stated
        return self.compare(stated, question.answer)

    def compare(self, stated: Stated, reference: str) -> Judgement:
        """Judge an answer that has already been extracted from a response."""
        extracted = plain(stated.text)
        if reads_as_words(extracted):
            # "The length of AB is 6\\sqrt{2}": the formula that ends a sentence.
            verbs = list(re.finditer(r"\b(?:is|are|equals?)\b[\s:]*", extracted))
            end = extracted[verbs[-1].end() :] if verbs else ""
            if end and not reads_as_words(end) and not DENIED.search(extracted):
                extracted = end
        elif not stated.marked:
            return Judgement("undecided", extracted, "no answer is marked")
        if reads_as_words(without_unit(plain(reference))[0]) and read_quantity(reference) is None:
            return Judgement("undecided", extracted, "the reference is words, not an expression")
        if reads_as_words(without_unit(extracted)[0]) and read_number(extracted) is None:
            return Judgement("undecided", extracted, f"{stated.how}: words, not an expression")
        if len(extracted) > _LONGEST:
            return Judgement("undecided", extracted, f"{stated.how}: longer than {_LONGEST} characters")
        for text, whose in ((plain(reference), "the reference"), (extracted, stated.how)):
            if _COMPOUND.search(text):
                reason = f"{whose}: a time of day or a quantity in several units"
                return Judgement("undecided", extracted, reason)
        right, unit = without_unit(plain(reference))
        given, own = without_unit(extracted)
        quantity = read_number(extracted)
        if quantity is not None:
            # As in a vote, a number counts by its value: five is 5, and 25 percent 0.25.
            value = quantity.value / 100 if quantity.percent else quantity.value
            given, own = _decimal(value) or str(value), quantity.unit
        if own in (None, "rad") and unit == "\u00b0" and "\\pi" in given:
            given = rf"({given}) \cdot \frac{{180}}{{\pi}}"
        elif own == "\u00b0" and unit in (None, "rad") and "\\pi" in right:
            given = rf"({given}) \cdot \frac{{\pi}}{{180}}"
        elif unit is not None and own is not None and unit != own:
            factor = converted(Fraction(1), own, unit)
            if factor is None or converted(Fraction(0), own, unit):
                return Judgement("undecided", extracted, f"{stated.how}: the units differ, {own} and {unit}")
            given = rf"({given}) \cdot ({factor})"
        if _RELATION.match(given) and not _RELATION.match(right) or re.search(r"[-+*/=]\s*$", given):
            return Judgement("undecided", extracted, f"{stated.how}: an inequality, or cut off")
        reply = self._ask(right, given)
        if reply["verdict"] == "unread":
            return Judgement("undecided", extracted, f"{stated.how}: {reply['what']}")
        if reply["verdict"] == "equal":
            return Judgement("right", extracted, f"{stated.how}: equal expressions")
        if not stated.marked:
            return Judgement("undecided", extracted, "no answer is marked, and the last line has another one")
        return Judgement("wrong", extracted, f"{stated.how}: unequal expressions")

    def close(self) -> None:
        """Stop the worker; a later call starts a new one."""
        with self._lock:
            self._stop()

    def _ask(self, reference: str, stated: str) -> dict[str, Any]:
        """The worker's reply; `unread`, with the reason, if the worker did not survive the request."""
        pair = (reference, stated)
        with self._lock:
            if pair in self._replies:
                self._replies.move_to_end(pair)
                return self._replies[pair]
            if self._worker is None:
                self._worker = _Worker(self.timeout, self.memory_mb)
            try:
                reply = self._worker.ask({"reference": reference, "stated": stated}, self.timeout)
            except TimeoutError:
                self._stop()
                return {"verdict": "unread", "what": f"not compared within {self.timeout:g} s"}
            except EOFError:
                self._stop()
                return {"verdict": "unread", "what": "the comparison crashed its worker (out of memory?)"}
            except BaseException:
                # Interrupted (Ctrl-C): a late reply would be taken for the reply to the next request.
                self._stop()
                raise
            self._replies[pair] = reply
            if len(self._replies) > _KEPT_REPLIES:
                self._replies.popitem(last=False)
            return reply

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def installed() -> bool:
    """Whether math-verify is installed (the extra `math`)."""
    return importlib.util.find_spec("math_verify") is not None


def _decimal(value: Fraction) -> str | None:
    """A number in decimals; None if it is whole or its decimals do not end soon."""
    text = f"{float(value):.12f}".rstrip("0") if abs(value) < 10**6 else ""
    return text if text and value.denominator != 1 and Fraction(text) == value else None


_RELATION = re.compile(r"\s*(?:[<>]|\\[lg]eq?\b)")
# A unit after a number, a bracket, a root or \pi: 12\pi cm^2. One letter needs a space: 2m is a product.
_UNIT_AT_END = re.compile(
    r"^(?P<number>.*(?:[\d)}]|\\pi))(?P<space>\s*)"
    r"(?P<unit>(?:square |cubic |sq\.? |cu\.? )?[a-zA-Z\u03bc\u03a9]+"
    r"(?:\s*\^\s*\{?[23]\}?)?(?:\s*(?:/|per)\s*[a-zA-Z]+(?:\s*\^\s*\{?[23]\}?)?)?|\u00b0)$"
)


def without_unit(text: str) -> tuple[str, str | None]:
    """An expression and the unit after it, `12\\pi` and `cm^2`; None if it has none."""
    match = _UNIT_AT_END.match(text) if len(text) <= _LONGEST else None
    unit = canonical_unit(match["unit"]) if match is not None else None
    if match is None or unit is None or (not match["space"] and len(match["unit"]) == 1 and unit != "\u00b0"):
        return text, None
    return match["number"].strip(), unit


def reads_as_words(text: str) -> bool:
    """Whether an answer is prose, whose letters a formula parser would read as a product of variables."""
    return _WORDS.search(_NAMES.sub(" ", text)) is not None


# 1:30 pm, 2 m 50 cm, 5'6", 3 h 20: a formula parser would take the letters for factors, or drop them.
_COMPOUND = re.compile(
    r"\d\s*[ap]\.?m\b\.?|\d\s*['\u2032]\s*\d|\d\s*[\"\u2033]|\d\s?(?P<unit>[^\W\d_]{1,3})\.?\s+\d+(?:\.\d+)?"
    r"(?:\s?[^\W\d_]{1,3})?$",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"\\[a-zA-Z]+"
    r"|(?<![a-zA-Z])(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)|log|exp|sqrt|min|max|mod|and)(?![a-zA-Z])"
)
_WORDS = re.compile(
    r"[^\W\d_]{3,}|(?<![a-zA-Z])(?:is|it|to|of|no|in|at|we|be|as|by|if|do|so)(?![a-zA-Z])", re.IGNORECASE
)


class _Worker:
    """A process that compares expressions; it runs until it is killed or its parent ends."""

    def __init__(self, timeout: float, memory_mb: int) -> None:
        # -P: modules of ours in the worker's folder must not shadow others.
        # Its own session: Ctrl-C goes only to the parent, which decides what to stop.
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                str(Path(__file__).with_name("symbolic_worker.py")),
                str(2 * timeout + 5),
                str(memory_mb),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _kill, self.process)
        # A thread reads the lines, so that waiting can have a time limit on every system.
        self._lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=_forward, args=(self.process.stdout, self._lines), daemon=True).start()
        try:
            self._read(_START_SECONDS)
        except (TimeoutError, EOFError) as error:
            self.kill()
            raise RuntimeError(
                "the worker process for comparing expressions did not start; "
                "does `python -c 'import math_verify'` work?"
            ) from error

    def ask(self, request: dict[str, str], timeout: float) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            TimeoutError: there was no reply in time.
            EOFError: the worker ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise EOFError from error
        return self._read(timeout)

    def kill(self) -> None:
        """Kill the process and close its pipes."""
        self._finalizer()

    def _read(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            raise EOFError
        reply: dict[str, Any] = json.loads(line)
        return reply


def _forward(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Put every line of a stream into a queue, and "" at its end."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    if process.stdin is not None:
        try:
            process.stdin.close()
        except OSError:
            pass  # unwritten data no longer has a reader
    process.wait()
