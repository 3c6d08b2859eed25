"""Why Ray did not start, or let nobody in, out of its own words."""

import pytest

from cluster.machine.ray_output import REDIS_TRIES, is_hopeless, why_no_way_in, why_not_started

NO_REDIS = (
    "[2026-11-28 21:21:41,438 E 8960 8960] (ray_init) redis_context.cc:562: Failed to connect to Redis due to: "
    "RedisError: Could not establish connection to Redis 127.0.0.1:1 (context.err = 1).. Will retry in 500ms.\n"
)
TRACE = "/usr/lib/libpython3.11.so.1.0(+0x250a40) [0x7f9e21e50a40] _PyEval_Vector\n"


def test_redis_that_does_not_answer_is_named_before_the_stack_trace_behind_it() -> None:
    assert why_not_started(NO_REDIS + TRACE).startswith("Redis at 127.0.0.1:1 does not answer")


def test_start_is_hopeless_once_redis_was_asked_often_enough() -> None:
    assert not is_hopeless(NO_REDIS * (REDIS_TRIES - 1))
    assert is_hopeless(NO_REDIS * REDIS_TRIES)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("Exception: The current node timed out during startup. This could happen because …", "too busy"),
        ("OSError: [Errno 28] No space left on device: '/tmp/x'", "a disk is full"),
        ("OSError: [Errno 12] Cannot allocate memory", "no memory was left"),
        ("OSError: [Errno 24] Too many open files", "ulimit -n 65536"),
        ("Traceback\n  File x\nValueError: The port is taken.\n" + TRACE, "ValueError: The port is taken"),
        ("nothing of use", ""),
    ],
)
def test_cause_of_a_start_that_failed(output: str, why: str) -> None:
    assert why in why_not_started(output)
    assert bool(why) == bool(why_not_started(output))


def test_other_version_is_told_with_both() -> None:
    words = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
        "This process on node 10.0.0.3 was started with:\n    Ray: 2.59.0\n    Python: 3.11.7\n"
    )
    why = why_no_way_in(RuntimeError(words))
    assert why.startswith("Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.7 This process on node 10.0.0.3")
    assert "the same wheel" in why


def test_other_errors_are_told_by_their_first_words() -> None:
    assert why_no_way_in(ConnectionError("ray client\n closed.")) == "ConnectionError: ray client closed"
    assert why_no_way_in(ConnectionError()) == "ConnectionError"
