"""Expressions, and a worker that is killed where a comparison would not end."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from answer_questions import question

from dreamprm.answers import build_checker, symbolic
from dreamprm.config.errors import UserError

needs_math_verify = pytest.mark.skipif(
    not symbolic.installed(), reason="math-verify is not installed: pip install 'dreamprm[math]'"
)


@pytest.fixture(scope="module")
def checker():
    made = build_checker("symbolic", timeout=20.0)
    yield made
    made.close()


@needs_math_verify
@pytest.mark.parametrize(
    "stated, answer, expected",
    [
        ("\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt{2}}", "right"),
        ("(x+1)^2", "x^2+2x+1", "right"),
        ("(x+1)^2", "x^2+x+1", "wrong"),
        ("(3,-4)", "(3, -4)", "right"),
        ("(-4,3)", "(3,-4)", "wrong"),
        ("2^{10}", "1024", "right"),
        ("2**10", "1024", "right"),
        ("pi/2", "\\frac{\\pi}{2}", "right"),
        ("44 + 2sqrt(756)", "2\\sqrt{756}+44", "right"),
        ("120^\\circ", "120", "right"),
        ("[0,1)", "[0, 1]", "wrong"),
        ("\\{2, 1\\}", "\\{1, 2\\}", "right"),
        ("8-6\\pi", "8", "wrong"),
        ("\\frac{}{}", "2", "undecided"),
        ("it cannot be determined", "2", "undecided"),
        ("2", "it is two", "undecided"),
        ("2" * 500, "2", "undecided"),
    ],
)
def test_expressions(checker, stated, answer, expected):
    assert checker.check(f"\\boxed{{{stated}}}", question(answer)).verdict == expected


@needs_math_verify
@pytest.mark.parametrize(
    "response, expected",
    [
        ("We add the sides.\nSo the length of AB is $6\\sqrt{2}$.", "right"),
        ("Final answer: it is \\sqrt{72}", "right"),
        ("We add the sides.\nSo the length of AB is $6$.", "wrong"),
        ("We add.\n$6\\sqrt{2} + 0 + 0 + 0 + 0 + 0 + 0 + 0 + 0 + 0 + 0$", "undecided"),
        ("", "undecided"),
        ("We add the sides.\nSo the length is that of AB.", "undecided"),
    ],
)
def test_a_formula_that_ends_a_sentence(checker, response, expected):
    assert checker.check(response, question("6\\sqrt{2}")).verdict == expected


@needs_math_verify
def test_one_worker_serves_all_comparisons(checker):
    checker.check("\\boxed{x}", question("y"))
    first = checker._worker.process.pid
    checker.check("\\boxed{z}", question("y"))
    assert checker._worker.process.pid == first


@needs_math_verify
def test_a_worker_that_does_not_survive_is_replaced():
    checker = build_checker("symbolic", timeout=2.0)
    try:
        for tower, half in (("9^{9^{9^{9}}}", "2/4"), ("1000000000!", "\\frac{\\sqrt{4}}{4}")):
            assert checker.check(f"\\boxed{{{half}}}", question("\\frac12")).verdict == "right"
            before = checker._worker.process  # type: ignore[attr-defined]
            start = time.perf_counter()
            judgement = checker.check(f"\\boxed{{{tower}}}", question("1"))
            assert time.perf_counter() - start < 10
            assert (judgement.verdict, judgement.extracted) == ("undecided", tower)
            assert "not compared within 2 s" in judgement.reason
            assert before.poll() is not None
        assert checker.check("\\boxed{x}", question("x")).verdict == "right"
        checker._worker.process.kill()  # type: ignore[attr-defined]
        assert checker.check("\\boxed{x}", question("x")).verdict == "right"  # it is not asked again
        judgement = checker.check("\\boxed{y}", question("x"))
        assert judgement.verdict == "undecided" and "crashed its worker" in judgement.reason
        assert checker.check("\\boxed{y}", question("x")).verdict == "wrong"  # what it died of is
    finally:
        checker.close()


@needs_math_verify
def test_closing_ends_the_worker_and_a_later_call_starts_another(checker):
    assert checker.check("\\boxed{x}", question("x")).verdict == "right"
    process = checker._worker.process
    checker.close()
    checker.close()  # twice is no error
    assert process.poll() is not None
    assert checker.check("\\boxed{x}", question("x")).verdict == "right"


@needs_math_verify
def test_calls_from_several_threads_get_their_own_replies(checker):
    wrong = []

    def check(value):
        for other in (value, value + 1):
            expected = "right" if other == value else "wrong"
            if checker.check(f"\\boxed{{{value} x}}", question(f"{other} x")).verdict != expected:
                wrong.append((value, other))

    threads = [threading.Thread(target=check, args=(value,)) for value in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_math_verify
def test_a_worker_answers_line_by_line_until_its_input_ends():
    pairs = [("\\frac{1}{2}", "0.5"), ("x^2", "x^3"), ("1", "\\frac{1}"), ("2\\pi", "2\\pi")]
    done = subprocess.run(
        [sys.executable, "-P", symbolic.__file__.replace("symbolic.py", "symbolic_worker.py"), "20", "2048"],
        input="".join(json.dumps({"reference": one, "stated": other}) + "\n" for one, other in pairs),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    ready, *replies = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": "math_verify"}
    assert [reply["verdict"] for reply in replies] == ["equal", "different", "unread", "equal"]


@needs_math_verify
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker's own alarm needs POSIX")
def test_a_worker_ends_itself_when_its_parent_is_gone():
    """Its own alarm fires inside one long multiplication, where no Python code runs."""
    worker = subprocess.Popen(
        [sys.executable, "-P", symbolic.__file__.replace("symbolic.py", "symbolic_worker.py"), "1.0", "2048"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with worker:
        assert "ready" in worker.stdout.readline()
        worker.stdin.write('{"reference": "1", "stated": "9^{9^{9^{9}}}"}\n')
        worker.stdin.flush()
        assert worker.wait(timeout=20) < 0  # by a signal


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(symbolic, "installed", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'dreamprm\[math\]'"):
        build_checker("symbolic")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"timeout": 0}, "timeout must be > 0"),
        ({"timeout": float("nan")}, "timeout must be > 0"),
        ({"memory_mb": 100}, "memory_mb must be 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message):
        build_checker("symbolic", **settings)


@pytest.mark.parametrize(
    "text, words",
    [
        ("\\frac{\\sqrt{3}}{2}", False),
        ("sin(x)", False),
        ("44 + 2sqrt(756)", False),
        ("no solution", True),
        ("abc", True),
        ("3 or 4", False),
        ("it is 3", True),
        ("x = 5", False),
    ],
)
def test_prose_is_told_from_formulas(text, words):
    assert symbolic.reads_as_words(text) is words
