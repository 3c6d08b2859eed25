"""`deployments.policy.routing`: filter, score, pick."""

import pytest

from deployments.policy.routing import unavailable


@pytest.mark.parametrize(
    ("ever_ready", "code", "word"), [(False, "engine_starting", "is starting"), (True, "engine_gone", "a replacement")]
)
def test_error_says_whether_it_was_ever_there(ever_ready: bool, code: str, word: str) -> None:
    error = unavailable("llama", ever_ready, 5)
    assert (error.status, error.reason, error.retry_after_s) == (503, code, 5)
    assert word in error.message
    assert error.message.endswith("Try again in 5 s.")
