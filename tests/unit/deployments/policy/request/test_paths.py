"""`deployments.policy.request.paths`: what an unknown path may have been meant for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import UnknownPath
from deployments.policy.request.calls import ENDPOINTS
from deployments.policy.request.paths import meant

KNOWN = ("/health", "/v1/models", *ENDPOINTS)
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1//chat/completions", CHAT),
        ("//v1/chat/completions", CHAT),
        ("/v1/chat/completions/", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/v1//v1/chat/completions//", CHAT),
        ("/chat/completions", CHAT),
        ("/V1/Chat/Completions", CHAT),
        ("/v1/chat%2Fcompletions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/v1/models/", "/v1/models"),
        ("/models", "/v1/models"),
        ("/v1/tokenize", "/tokenize"),
        ("/health/", "/health"),
        ("/v1/sleep", None),
        ("/", None),
        ("*", None),
        ("/" * 300 + "v1/models", None),
    ],
)
def test_slips_are_understood(path: str, found: str | None) -> None:
    assert meant(path, KNOWN) == found


@given(st.text())
def test_any_path_means_a_known_one_or_none(path: str) -> None:
    assert meant(path, KNOWN) in (None, *KNOWN)


def test_refusal_names_the_path_and_is_short() -> None:
    assert f"Did you mean {CHAT}?" in UnknownPath("POST", "/chat/completions", meant=CHAT).message
    assert len(UnknownPath("POST", "/" + "x" * 10_000).message) < 400
