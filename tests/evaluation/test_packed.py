"""Many records as arrays and a temporary file: read back they are what was put in."""

import errno
import tempfile
from math import comb

import numpy as np
import pytest
from scored_candidates import random_records, write

from dreamprm.config.errors import UserError
from dreamprm.data.readers import read_candidate_records
from dreamprm.data.records import QuestionRecord
from dreamprm.evaluation import packed
from dreamprm.evaluation.packed import PackedQuestions, PackedRecords
from dreamprm.evaluation.selectors import best_of_n_accuracy


def records(tmp_path, questions=5):
    path = write(tmp_path / "a.jsonl", random_records(0, questions=questions))
    return list(read_candidate_records(path, allow_no_image=True, missing_image="keep"))


@pytest.mark.parametrize("in_memory", (1, 10**6))
def test_records_are_the_same_from_memory_and_from_a_file(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(packed, "_IN_MEMORY", in_memory)
    given = records(tmp_path)
    held = PackedRecords(given)
    assert [held[k] for k in (3, 0, 4, -1)] == [given[k] for k in (3, 0, 4, -1)]
    assert list(held) == given and held.ids == [one.id for one in given]


def test_questions_are_kept_by_id(monkeypatch):
    monkeypatch.setattr(packed, "_IN_MEMORY", 1)
    one = QuestionRecord("How many?", (), "A", ("x", "y"), "sums", "choice", None, None, "q1")
    two = QuestionRecord("\ud800 wide?", ("a.png",), "0.5", (), "sums", "float", 1, "cm", "q2")
    held = PackedQuestions([one, two])
    assert (held["q2"], held["q1"]) == (two, one) and "q1" in held and "q3" not in held


def test_a_full_temporary_folder_is_one_message(tmp_path, monkeypatch):
    class Full(tempfile.SpooledTemporaryFile):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(UserError, match="TMPDIR.*No space left on device.*make room"):
        PackedRecords(records(tmp_path))


def test_ranks_count_ties_and_infinities_as_a_search_does():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(50, 6)).astype(float)
    scores[rng.random(scores.shape) < 0.2] = np.inf
    scores[rng.random(scores.shape) < 0.2] = -0.0
    right = rng.random(scores.shape) < 0.5
    ordered = np.sort(scores, axis=1)
    for n in (1, 3, 6):
        expected = []
        for row, values, outcome in zip(ordered, scores, right, strict=True):
            low, high = (np.searchsorted(row, values, side=side) for side in ("left", "right"))
            share = share_within(6, n)
            expected.append((((share[high] - share[low]) / (high - low)) * outcome).sum())
        assert best_of_n_accuracy(scores, right, n).tolist() == expected


def share_within(total, n):
    """The chance that n of `total` candidates lie within k given ones, for each k."""
    return np.array([comb(k, n) / comb(total, n) for k in range(total + 1)])
