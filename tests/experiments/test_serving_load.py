"""The load test of serving: both ways get the same answers, and its page tells what was measured."""

from __future__ import annotations

from served import ToldScorer, serving

from experiments.serving_load import WORKLOADS, bodies, measure, page


def test_it_measures_both_ways_and_says_whether_the_target_is_met() -> None:
    (short,) = [one for one in WORKLOADS if one.name == "short group"]
    with serving(ToldScorer()) as server:
        point = measure(server.port, short, requests=4, repetitions=2, clients=2)
    assert point.difference == 0.0 < point.deviation
    assert [len(speeds) for speeds in point.speeds.values()] == [2, 2]
    assert [len(seconds) for seconds in point.seconds.values()] == [8, 8]
    point.speeds = {"one by one": [1.0, 2.0], "16 clients": [5.0, 9.0]}
    text = page([point], command="the command", requests=4, repetitions=2, settings="")
    assert "short group 4.75 (4.50-5.00), met." in text and "default settings" in text


def test_requests_of_a_group_share_their_question() -> None:
    group, questions = WORKLOADS[2:]
    assert len({body.split(b'"candidates"')[0] for body in bodies(group, 18)}) == 2
    assert len({body.split(b'"candidates"')[0] for body in bodies(questions, 4)}) == 4
