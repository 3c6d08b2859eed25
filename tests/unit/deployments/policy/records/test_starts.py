"""Starts of engines: phases, how long they took, and how a start is told beside earlier ones."""

from dataclasses import replace

import pytest

from deployments.policy.records.starts import (
    CALLED,
    ENGINE,
    FAILED,
    GATE,
    GRAPHS,
    LOAD,
    MEASURE,
    MOST_KEPT,
    READY,
    WEIGHTS,
    Start,
    alike,
    beginning,
    durations,
    entered,
    going,
    is_late,
    key,
    phase_of_line,
    read,
    told,
    too_many,
    usual_s,
    usual_whole_s,
    written,
)

NEW = Start("scout", "abc", "10.0.0.2", "0.1.0", 1000.0)
LOADING = replace(NEW, phases=((WEIGHTS, 1000.0), (ENGINE, 1002.0), (LOAD, 1010.0)))


#: One more start on node a, long after.
LATER = replace(NEW, node="a", began=5000.0, phases=((LOAD, 5010.0),))


def at(after_s: float, node: str, load_s: float, outcome: str = READY) -> Start:
    """A start of node `node`, so much later than the first one."""
    phases = ((LOAD, 1010.0 + after_s), (GATE, 1010.0 + after_s + load_s))
    return replace(NEW, node=node, began=1000.0 + after_s, phases=phases, ended=1015.0 + after_s + load_s, outcome=outcome)


def earlier(load_s: float, outcome: str = READY) -> Start:
    return replace(LOADING, phases=(*LOADING.phases, (GATE, 1010.0 + load_s)), ended=1015.0 + load_s, outcome=outcome)


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("INFO … vllm.v1.worker.gpu_model_runner: Starting to load model /models/scout...", LOAD),
        ("INFO … default_loader: Loading weights took 95.41 seconds", MEASURE),
        ("INFO … kv_cache_utils: GPU KV cache size: 5,760 tokens, Maximum concurrency …", GRAPHS),
        ("INFO … something else", None),
    ],
)
def test_line_of_vllm_begins_a_phase(text: str, phase: str | None) -> None:
    assert phase_of_line(text) == phase


def test_phases_go_forward_only() -> None:
    assert NEW.phase == ""
    one = entered(entered(NEW, WEIGHTS, 1001.0), LOAD, 1005.0)
    assert one.phase == LOAD
    assert entered(one, LOAD, 1006.0) is one
    assert entered(one, ENGINE, 1006.0) is one
    assert entered(one, MEASURE, 1004.0).phases[-1] == (MEASURE, 1005.0), "another machine's clock may be behind"
    assert entered(NEW, WEIGHTS, 990.0).phases == ((WEIGHTS, 1000.0),)
    assert list(CALLED) == [WEIGHTS, ENGINE, LOAD, MEASURE, GRAPHS, GATE]


def test_durations_are_those_of_phases_that_are_over() -> None:
    assert durations(LOADING) == {WEIGHTS: 2.0, ENGINE: 8.0}
    assert durations(earlier(95)) == {WEIGHTS: 2.0, ENGINE: 8.0, LOAD: 95.0, GATE: 5.0}


def test_usual_is_the_median_of_starts_that_came_up() -> None:
    past = [earlier(90), earlier(95), earlier(200), earlier(1, FAILED), NEW]
    assert usual_s(past, LOAD) == 95
    assert usual_s(past, GRAPHS) is None
    assert usual_whole_s(past) == 110
    assert usual_whole_s([NEW]) is None


def test_start_is_told_beside_earlier_ones() -> None:
    assert told(LOADING, [earlier(95)], 1051.0) == "loading weights, 41 s of about 95 s"
    assert told(LOADING, [], 1051.0) == "loading weights, 41 s (no earlier start to compare)"
    assert told(NEW, [], 1003.0) == "beginning, 3 s"


def test_first_start_of_a_release_on_a_node_is_told_beside_first_ones_and_a_later_one_beside_later_ones() -> None:
    """The first one fetches weights and compiles."""
    known = [at(0, node, load_s) for node, load_s in (("a", 300), ("b", 310))]
    known += [at(1000, node, load_s) for node, load_s in (("a", 20), ("b", 22), ("a", 24))]
    assert told(LATER, known, 5051.0) == "loading weights, 41 s of about 22 s"
    assert told(replace(LATER, node="new"), known, 5051.0) == "loading weights, 41 s of about 5 min"
    assert told(replace(LATER, release="0.2.0"), known, 5051.0) == "loading weights, 41 s of about 5 min"
    assert is_late(LATER, known, 5093.0)
    assert not is_late(replace(LATER, node="new"), known, 5093.0)


def test_starts_that_begin_together_on_a_new_node_are_all_first_ones() -> None:
    """The first that is ready leaves the others what they were."""
    known = [at(0, "b", 300), at(1000, "b", 20), at(4000, "a", 61)]
    assert told(replace(LATER, began=4000.5), known, 5051.0) == "loading weights, 41 s of about 3 min"


def test_first_start_that_failed_leaves_its_node_as_it_was() -> None:
    known = [at(0, "b", 300), at(0, "a", 1, FAILED), at(1000, "b", 20)]
    assert [durations(one)[LOAD] for one in alike(LATER, known)] == [300, 1]


def test_start_like_no_earlier_one_is_told_beside_all() -> None:
    known = [at(0, "a", 300)]
    assert alike(LATER, known) is known


def test_start_is_late_beyond_three_times_the_usual_and_a_minute() -> None:
    assert not is_late(LOADING, [earlier(10)], 1079.0)
    assert is_late(LOADING, [earlier(10)], 1081.0)
    assert is_late(LOADING, [earlier(100)], 1311.0)
    assert not is_late(LOADING, [], 9999.0)
    assert not is_late(NEW, [earlier(10)], 9999.0)


def test_start_is_read_as_it_was_written() -> None:
    done = replace(earlier(95), outcome=FAILED, error="ValueError: no")
    assert read(written(done)) == done
    assert read(written(NEW)) == NEW


@pytest.mark.parametrize("text", ["", "3", "[]", "{}", '{"phases": []}', written(replace(NEW, phases=(("of a later release", 1.0),)))])
def test_text_that_is_no_start_is_none(text: str) -> None:
    assert read(text) is None


def test_starts_of_a_model_sort_by_time_and_the_oldest_go() -> None:
    keys = [key(replace(NEW, began=float(number), replica=f"r{number}")) for number in range(MOST_KEPT + 2)]
    assert sorted(keys) == keys
    assert too_many([*reversed(keys)]) == keys[:2]
    assert too_many(keys[:MOST_KEPT]) == []
    assert all(name.startswith(beginning("scout")) for name in keys)
    assert not keys[0].startswith(beginning("scou"))


def test_starts_that_go_on_are_the_newest_that_have_not_ended() -> None:
    killed, begun, known = (replace(LOADING, replica=name) for name in ("killed", "begun", "known"))
    kept = [earlier(30), killed, begun, known]
    assert going(kept, {"known"}, 1) == [begun]
    assert going(kept, {"known"}, 5) == [killed, begun]
    assert going(kept, (), 0) == []
