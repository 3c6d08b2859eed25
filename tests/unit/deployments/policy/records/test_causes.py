"""The true cause of a start that failed."""

import pytest

from deployments.policy.records.causes import KILLED, MOST_CHARACTERS, cause

GENERIC = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
LOG = [
    "INFO 2026-11-28T17:28:33.495Z vllm.v1.worker: Starting to load model",
    "ERROR 2026-11-28T17:28:34.019Z vllm.v1.engine.core: EngineCore failed to start.",
    "    Traceback (most recent call last):",
    "      File x",
    "    torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "(EngineCore pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "RuntimeError: Engine core initialization failed. See root cause above.",
]


def test_own_error_is_the_cause_where_it_says_what_is_wrong() -> None:
    assert cause("NotFit: scout may not serve: its canary is wrong.\nmore", LOG) == "NotFit: scout may not serve: its canary is wrong."


def test_cause_is_that_of_the_process_that_failed_first() -> None:
    assert cause(GENERIC, LOG) == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert cause(GENERIC, ["AssertionError"]) == "AssertionError"


def test_error_of_our_own_keeps_all_its_sentences() -> None:
    error = "WeightsError: Too little disk; nothing was downloaded.\n10.0.0.2: 9 TiB are still to come to /hub. Make room."
    assert cause(error, LOG) == error.replace("\n", " ")


def test_value_that_pydantic_refuses_is_told_and_not_their_number() -> None:
    words = "  Value error, The checkpoint has model type `llama9` [type=value_error, input_value=ArgsKwargs((), {})]\n    For more"
    assert cause(f"ValidationError: 1 validation error for ModelConfig\n{words}", []) == (
        "ValidationError: The checkpoint has model type `llama9`"
    )
    assert cause("ValidationError: 2 validation errors for ModelConfig\nx\n  Input should be 1", []).endswith("for ModelConfig")


def test_process_that_ended_without_a_word_was_killed() -> None:
    assert cause(GENERIC, LOG[:1]).startswith(KILLED)


@pytest.mark.parametrize("error", ["", "\n \n"])
def test_error_without_a_message_is_told_so(error: str) -> None:
    assert cause(error, []) == "no message"


def test_cause_is_cut() -> None:
    assert len(cause("ValueError: " + "x" * 9999, [])) == MOST_CHARACTERS
