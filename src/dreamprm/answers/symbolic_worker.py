"""The worker process of `SymbolicChecker`: compares pairs of expressions with math-verify until it is killed.

It is run by its path, so that nothing from this package is imported. It reads one JSON object per line,
{"reference": LaTeX, "stated": LaTeX}, and answers with {"verdict": "equal" | "different" | "unread",
"what": str}. Simplification may never end (9^{9^{9^9}}); the parent kills this process at its time
limit.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sys
from typing import Any


def serve(seconds: float, memory_mb: int) -> None:
    """Answer requests from standard input until it is closed.

    Args:
        seconds: time limit of a request, longer than the parent's; it ends a worker whose parent is
            gone.
        memory_mb: limit of this process's address space in MiB, against numbers too large to store; 0: none.
    """
    # Libraries may print; only our own lines go to the parent.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit_memory(memory_mb)
    # Takes a third of a second; the parent waits for the line that follows.
    import math_verify

    print(json.dumps({"ready": math_verify.__name__}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        _alarm(seconds)
        try:
            reply = _compare(request["reference"], request["stated"])
        except MemoryError:
            reply = {"verdict": "unread", "what": f"needs more than {memory_mb} MB"}
        except Exception as error:  # a parser of free text may raise anything; the parent reports it
            reply = {"verdict": "unread", "what": f"{type(error).__name__}: {error}"[:200]}
        _alarm(0)
        print(json.dumps(reply), file=answers, flush=True)


def _compare(reference: str, stated: str) -> dict[str, Any]:
    from math_verify import verify

    right = _parsed_reference(reference)
    if not right:
        return {"verdict": "unread", "what": "the reference is not an expression"}
    given = _parsed(stated)
    if not given:
        return {"verdict": "unread", "what": "not an expression"}
    equal = verify(right, given, timeout_seconds=None, raise_on_error=True)
    one, other = right[0], given[0]
    # math-verify reads 1.4 as 7/5, so that only the text tells a rounded number from an exact one.
    written = re.search(r"\d?\.\d", reference + " " + stated) is not None
    if equal and not _agree(one, other, written):
        return {"verdict": "different", "what": ""}
    if not equal and written and _numbers(one, other) and _agree(one, other, written):
        return {"verdict": "equal", "what": ""}
    if not equal and _rounds_to(other, reference):
        return {"verdict": "unread", "what": "the reference is this number, rounded"}
    return {"verdict": "equal" if equal else "different", "what": ""}


# The candidates of a question follow each other. Few are held, as an expression may take much of the memory.
@functools.lru_cache(maxsize=4)
def _parsed_reference(text: str) -> list[Any]:
    return _parsed(text)


def _parsed(text: str) -> list[Any]:
    """What math-verify reads in a text; empty if it is not an expression."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    # Do not use math-verify's own limits: they raise only inside Python code, which one long integer
    # multiplication never reaches.
    found: list[Any] = parse(
        _as_math(text),
        extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()],
        parsing_timeout=None,
        fallback_mode="no_fallback",
        raise_on_error=True,
    )
    return found


def _agree(one: Any, other: Any, written: bool) -> bool:
    """Whether two expressions that math-verify finds equal to six decimals are so in relation to their size.

    Two numbers of which one is written with decimals may differ by 1e-6 of their size; exact ones must be
    equal. Others than numbers (sets, equations) are compared in their elements, where these can be paired.
    """
    import sympy

    if isinstance(one, (sympy.Tuple, sympy.FiniteSet)) and type(one) is type(other):
        pairs = list(zip(one.args, other.args, strict=False))
        return len(one.args) == len(other.args) and all(_agree(a, b, written) for a, b in pairs)
    if not _numbers(one, other) or one == other:
        return True
    difference, size = sympy.N(one - other, 60), sympy.N(other, 60)
    if not (difference.is_number and size.is_number and difference.is_finite and size.is_finite):
        return True
    return bool(abs(difference) <= abs(size) * (sympy.Float("1e-6") if written else sympy.Float("1e-40")))


def _numbers(one: Any, other: Any) -> bool:
    """Whether both are numbers, without variables."""
    import sympy

    return all(isinstance(side, sympy.Expr) and not side.free_symbols for side in (one, other))


def _rounds_to(given: Any, reference: str) -> bool:
    """Whether an exact number is the decimals of the reference, rounded: \\pi for 3.14."""
    import sympy

    decimals = re.fullmatch(r"[-+]?\d+\.(\d+)", reference.strip())
    if decimals is None or not isinstance(given, sympy.Expr) or given.free_symbols:
        return False
    value = sympy.N(given, 30)
    return bool(
        value.is_real and abs(value - sympy.Float(reference, 30)) * 2 <= sympy.Float(10) ** -len(decimals[1])
    )


def _as_math(text: str) -> str:
    """The whole text as one formula, so that no part of it is extracted; ASCII spellings become LaTeX."""
    text = text.replace("**", "^").replace("\u00b0", r"^\circ").replace("$", "")
    text = re.sub(r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi ", text)
    return f"${text}$"


def _alarm(seconds: float) -> None:
    """End this process after this many seconds, whatever it is doing: the default action needs no Python."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(memory_mb: int) -> None:
    if memory_mb and sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
